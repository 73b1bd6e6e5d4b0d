"""Secrets: how they are drawn, what is kept of them, and what is derived from them."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

Randomness = Callable[[int], bytes]
"""So many random bytes that nobody can foresee: ``os.urandom``."""

TOKEN_PREFIX: Final = "cp_"  # noqa: S105 - by which scanners of source code know our tokens
_SECRET_BYTES: Final = 32
_PASSWORD_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # noqa: S105 - without what is easily confused
_PASSWORD_GROUPS: Final = 5
_GROUP_LENGTH: Final = 5


def new_secret(random: Randomness, prefix: str = "") -> str:
    """A secret of 256 bits, as text that fits into a header."""
    return prefix + urlsafe_b64encode(random(_SECRET_BYTES)).rstrip(b"=").decode("ascii")


def new_password(random: Randomness) -> str:
    """A password that people can read off a screen: five groups of five, 123 bits."""
    letters: list[str] = []
    size = len(_PASSWORD_ALPHABET)
    while len(letters) < _PASSWORD_GROUPS * _GROUP_LENGTH:
        # A byte beyond the last whole multiple would make the first letters more frequent.
        letters += [_PASSWORD_ALPHABET[byte % size] for byte in random(32) if byte < 256 - 256 % size]
    return "-".join("".join(letters[start * _GROUP_LENGTH :][:_GROUP_LENGTH]) for start in range(_PASSWORD_GROUPS))


def digest(secret: str) -> bytes:
    """What is kept of a secret. It has 256 bits of its own, so that nothing slow is needed."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def csrf_token(session_secret: str) -> str:
    """What a form of this session carries: bound to it, derived from it, telling nothing of it."""
    mac = hmac.new(session_secret.encode(errors="replace"), b"contentplatform form", hashlib.sha256).digest()
    return urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def same(given: str, wanted: str) -> bool:
    """Whether two texts are the same, in a time that doesn't tell where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode(errors="replace"))
