"""Passwords: what is taken as one, and Argon2id over it."""

from __future__ import annotations

import threading
import unicodedata
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from contentplatform.accounts.credentials import Randomness
from contentplatform.errors import InvalidRequest

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LENGTH_LIMIT: Final = 256
"""Characters. Argon2 would take more, and hash it before it could be refused."""
_DISTINCT_CHARACTERS: Final = 5
_NAME_LENGTH: Final = 4
"""Names of fewer letters are in too many words."""
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_AT_ONCE: Final = 2
"""Hashes at work in this process: each takes its memory, and whoever tries passwords must not take it all."""


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """What one hash costs: by default the second choice of RFC 9106, for machines with little memory."""

    passes: int = 3
    memory_kib: int = 65_536
    lanes: int = 4


USUAL_COST: Final = Argon2Cost()


class Passwords:
    """Hashes passwords and compares them.

    Args:
        random: salts.
        cost: of a hash that is made now; older ones tell their own.
    """

    def __init__(self, random: Randomness, cost: Argon2Cost = USUAL_COST) -> None:
        self._random = random
        self._cost = cost
        self._nobodys = _unknown_hash(random, cost)
        self._turn = threading.BoundedSemaphore(_AT_ONCE)

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher, Type  # noqa: PLC0415 - most commands have to do with no password

        return PasswordHasher(
            time_cost=self._cost.passes,
            memory_cost=self._cost.memory_kib,
            parallelism=self._cost.lanes,
            hash_len=_DIGEST_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )

    def hashed(self, password: str) -> str:
        """What is kept of a password: algorithm, cost, salt and hash in one text."""
        with self._turn:
            return self._hasher.hash(_prepared(password), salt=self._random(_SALT_BYTES))

    def matches(self, password: str, kept: str | None) -> bool:
        """Whether this is the password; with nothing kept False, after as long a time.

        One that is too long to be a password is refused without a look at what is kept.
        """
        if len(password) > LENGTH_LIMIT:
            return False
        from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415 - as above

        with self._turn:
            try:
                self._hasher.verify(kept or self._nobodys, _prepared(password))
            except (VerificationError, InvalidHashError):
                return False
        return kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether a hash was made at another cost than is asked for now."""
        return self._hasher.check_needs_rehash(kept)


def check_password(password: str, name: str, *, shortest: int) -> None:
    """Raise InvalidRequest for what is too easily guessed, or too long. No rules of digits and signs: length counts."""
    doing = "setting a password"
    if len(password) < shortest:
        raise InvalidRequest(doing, f"it must have at least {shortest} characters", hint="Several words do well")
    if len(password) > LENGTH_LIMIT:
        raise InvalidRequest(doing, f"it may have at most {LENGTH_LIMIT} characters")
    is_named = len(name) >= _NAME_LENGTH and name in password.casefold()
    if len(set(password)) < _DISTINCT_CHARACTERS or is_named:
        raise InvalidRequest(doing, "it is too easily guessed", hint="Several words do well, without the user's name")


def _prepared(password: str) -> bytes:
    """The same bytes, however a keyboard composed the characters."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


def _unknown_hash(random: Randomness, cost: Argon2Cost) -> str:
    """A hash of which nobody knows the password, made without the time that hashing takes."""
    salt, digest = (b64encode(random(size)).rstrip(b"=").decode() for size in (_SALT_BYTES, _DIGEST_BYTES))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"
