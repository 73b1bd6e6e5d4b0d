"""Signatures on links, as rules without any key of their own.

**CloudFront** takes a canned policy: which URL, until when, in an exact text that RSA with SHA-1 signs. The policy
itself does not travel: the edge writes it anew from the request, so the URL that is signed must be the very text that
is asked for, its ``?v=`` included.

**The local edge** takes an HMAC with SHA-256 over the same two things, and over the name under which a file shall be
saved, if one is told. Its keys rotate: the newest signs, the older ones still verify, until they are taken away. Links
to a file are revoked together: each signature counts how often that was done before. A film's signature covers all
renditions of the film, because its playlists name them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from contentplatform.delivery.rules import DOWNLOAD_PARAMETER, LINK_LIMIT_SECONDS, VERSION_PARAMETER, film_stem
from contentplatform.errors import InvalidRequest

_CLOUDFRONT_ALPHABET: Final = str.maketrans("+=/", "-_~")
_SECRET_BYTES: Final = 32
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")

EXPIRES: Final = "Expires"
SIGNATURE: Final = "Signature"
KEY_ID: Final = "Key-Id"
COVERS: Final = "Covers"
FILM: Final = "film"
_PARAMETERS: Final = frozenset({VERSION_PARAMETER, DOWNLOAD_PARAMETER, EXPIRES, SIGNATURE, KEY_ID, COVERS})
"""All that a signed link of the local edge may have; whatever else is there was added by somebody."""


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


_PICTURE_OPTIONS: Final = re.compile(r"^/images/[^/]*/")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signature of the local edge opens."""

    path: str
    """Percent-encoded, with its ``?v=``; of a film's, all that begins with its stem, whatever ``v``."""
    expires: int
    """Seconds since 1970."""
    epoch: int = 0
    """How often links to this were revoked before; it is not in the link, so a link can't claim another one."""
    download: str | None = None
    """The name under which the file is saved; None: it is shown."""
    covers_film: bool = False
    """Whether it opens every rendition of the film: its playlists, and what they refer to."""

    @property
    def text(self) -> str:
        """The very text that is signed. A path has neither a line's end nor a star, so no two grants share one."""
        subject = f"{film_stem(self.path.partition('?')[0])}*" if self.covers_film else self.path
        lines = [subject, str(self.expires)]
        if self.epoch:
            lines.append(f"epoch {self.epoch}")
        if self.download is not None:
            lines.append(f"download {quote(self.download, safe='')}")
        return "\n".join(lines)

    @property
    def subject(self) -> str:
        """Whose links are revoked together: the path without ``v``, or the film, or all pictures of an original."""
        path = self.text.partition("\n")[0].partition("?")[0]
        return _PICTURE_OPTIONS.sub("/images/", path)


def signed_path(grant: Grant, key: SigningKey) -> str:
    """The path of a grant with a signature behind it."""
    told = {
        EXPIRES: str(grant.expires),
        SIGNATURE: _signature(grant, key),
        KEY_ID: key.id,
        **({COVERS: FILM} if grant.covers_film else {}),
        **({DOWNLOAD_PARAMETER: grant.download} if grant.download is not None else {}),
    }
    return f"{grant.path}{'&' if '?' in grant.path else '?'}{urlencode(told)}"


def check_signed_path(
    target: str, keys: Sequence[SigningKey], now: datetime, epoch_of: Callable[[str], int] = lambda _subject: 0
) -> Grant:
    """What a request that carries a valid signature may have.

    Args:
        target: the path, percent-encoded, with the whole query.
        keys: any of them may have signed.
        now: the time.
        epoch_of: how often links to a subject were revoked.

    Raises:
        InvalidRequest: there is no signature, it is another's, it was revoked, or its time is over; which one is not
            told apart for a stranger.
    """
    path, _, query = target.partition("?")
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=len(_PARAMETERS))
    except ValueError as error:
        raise _refusal() from error
    told = dict(given)
    expires = told.get(EXPIRES, "")
    key = next((key for key in keys if key.id == told.get(KEY_ID)), None)
    covers = told.get(COVERS)
    is_known = len(told) == len(given) and told.keys() <= _PARAMETERS and covers in {None, FILM}
    if not is_known or key is None or re.fullmatch(r"[0-9]{1,12}", expires, re.ASCII) is None:
        raise _refusal()
    if covers and not film_stem(path):
        raise _refusal()
    version = f"?{VERSION_PARAMETER}={told[VERSION_PARAMETER]}" if VERSION_PARAMETER in told else ""
    grant = Grant(
        path=f"{path}{version}",
        expires=int(expires),
        download=told.get(DOWNLOAD_PARAMETER),
        covers_film=covers is not None,
    )
    grant = replace(grant, epoch=epoch_of(grant.subject))
    if not hmac.compare_digest(_signature(grant, key).encode(), told.get(SIGNATURE, "").encode("utf-8", "replace")):
        raise _refusal()
    if not now.timestamp() < grant.expires <= now.timestamp() + LINK_LIMIT_SECONDS:
        raise _refusal()
    return grant


def carried(parameters: Mapping[str, str]) -> str:
    """The parameters of a film's signature, as its playlists hand them on."""
    return urlencode({name: parameters.get(name, "") for name in (EXPIRES, SIGNATURE, KEY_ID, COVERS)})


def _signature(grant: Grant, key: SigningKey) -> str:
    told = hmac.new(key.secret, grant.text.encode("utf-8", "replace"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(told).rstrip(b"=").decode("ascii")


def _refusal() -> InvalidRequest:
    return InvalidRequest("following a link", "it is not, or no longer, valid", hint="Ask for a new one")
