"""Signatures on links, as rules without any key of their own.

**CloudFront** takes a canned policy: which URL, until when, in an exact text that RSA with SHA-1 signs. The policy
itself does not travel: the edge writes it anew from the request, so the URL that is signed must be the very text that
is asked for, its ``?v=`` included.

**The local edge** takes an HMAC with SHA-256 over the same two things. Its keys rotate: the newest signs, the older
ones still verify, until they are taken away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlencode

from contentplatform.errors import InvalidRequest

_CLOUDFRONT_ALPHABET: Final = str.maketrans("+=/", "-_~")
_SECRET_BYTES: Final = 32
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


# -- CloudFront --------------------------------------------------------------------------------------------------


def canned_policy(url: str, expires_at: datetime) -> str:
    """The text that CloudFront compares a signature with: JSON without a blank."""
    statement = {
        "Resource": url,
        "Condition": {"DateLessThan": {"AWS:EpochTime": int(expires_at.timestamp())}},
    }
    return json.dumps({"Statement": [statement]}, separators=(",", ":"), ensure_ascii=False)


def cloudfront_url(url: str, expires_at: datetime, key_pair_id: str, sign: Callable[[bytes], bytes]) -> str:
    """``url`` with the canned policy's parameters behind it.

    Args:
        url: absolute and percent-encoded, exactly as it will be asked for.
        expires_at: whole seconds count.
        key_pair_id: CloudFront's id of the public key.
        sign: RSA PKCS #1 v1.5 with SHA-1 over its argument.
    """
    signature = base64.b64encode(sign(canned_policy(url, expires_at).encode("utf-8"))).decode("ascii")
    told = {
        "Expires": str(int(expires_at.timestamp())),
        "Signature": signature.translate(_CLOUDFRONT_ALPHABET),
        "Key-Pair-Id": key_pair_id,
    }
    return f"{url}{'&' if '?' in url else '?'}{urlencode(told, safe='~')}"


# -- the local edge ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret and its name; the secret never shows in a log."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


def new_key(random: bytes) -> SigningKey:
    """A key of 32 random bytes, named by its hash."""
    if len(random) != _SECRET_BYTES:
        raise InvalidRequest("making a signing key", f"{_SECRET_BYTES} random bytes are needed")
    return SigningKey(hashlib.sha256(b"id of " + random).hexdigest()[:8], random)


def encode_keys(keys: Sequence[SigningKey]) -> str:
    """Keys as the text of a file, the one that signs first."""
    return "".join(f"{key.id} {key.secret.hex()}\n" for key in keys)


def decode_keys(text: str) -> tuple[SigningKey, ...]:
    """The inverse of ``encode_keys``. Raises InvalidRequest for anything else."""
    keys = []
    for line in text.splitlines():
        name, _, secret = line.partition(" ")
        if not _KEY_ID.fullmatch(name) or not re.fullmatch(rf"[0-9a-f]{{{2 * _SECRET_BYTES}}}", secret):
            raise InvalidRequest("reading the keys that sign links", "the file is damaged")
        keys.append(SigningKey(name, bytes.fromhex(secret)))
    if not keys:
        raise InvalidRequest("reading the keys that sign links", "the file is empty")
    return tuple(keys)


def signed_path(path: str, expires_at: datetime, key: SigningKey) -> str:
    """``path`` (percent-encoded, with its ``?v=``) with a signature behind it."""
    expires = int(expires_at.timestamp())
    told = {"Expires": str(expires), "Signature": _signature(path, expires, key), "Key-Id": key.id}
    return f"{path}{'&' if '?' in path else '?'}{urlencode(told)}"


def check_signed_path(target: str, keys: Sequence[SigningKey], now: datetime) -> str:
    """The path, with its ``?v=``, of a request that carries a valid signature.

    Raises:
        InvalidRequest: there is none, it is another's, or its time is over; which one is not told apart for a stranger.
    """
    path, _, query = target.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    told = dict(given)
    version = f"?v={told['v']}" if "v" in told else ""
    expires = told.get("Expires", "")
    key = next((key for key in keys if key.id == told.get("Key-Id")), None)
    if len(told) != len(given) or key is None or not re.fullmatch(r"[0-9]{1,12}", expires):
        raise _refusal()
    expected = _signature(f"{path}{version}", int(expires), key)
    if not hmac.compare_digest(expected.encode(), told.get("Signature", "").encode()):
        raise _refusal()
    if now.timestamp() >= int(expires):
        raise _refusal()
    return f"{path}{version}"


def _signature(path: str, expires: int, key: SigningKey) -> str:
    told = hmac.new(key.secret, f"{path}\n{expires}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(told).rstrip(b"=").decode("ascii")


def _refusal() -> InvalidRequest:
    return InvalidRequest("following a link", "it is not, or no longer, valid", hint="Ask for a new one")
