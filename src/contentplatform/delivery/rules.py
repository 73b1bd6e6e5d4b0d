"""What the edge serves, to whom, and for how long: policy as data.

The aws home renders these very tuples into a distribution; a local server goes by them. A path of the edge is the key
in the processed bucket, percent-encoded; ``/raw/<rest>`` is the original whose key is ``public/raw/<rest>``, and
nothing else of the primary bucket is reachable.

The private patterns name each folder. A pattern ``processed/*/private/*`` would also catch the file
``a/private/b.jpg``, whose key is not under the private prefix, because CloudFront's ``*`` crosses slashes. A folder
that is not on the list is served to nobody: the buckets' policies let the edge read ``SERVED_PREFIXES`` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from contentplatform.errors import InvalidRequest
from contentplatform.processing.presets import RENDITION_FOLDERS, VIDEO_FOLDER
from contentplatform.storage.port import BucketRole

VERSION_PARAMETER: Final = "v"
"""The one query parameter of the cache key: which bytes are meant."""
DOWNLOAD_PARAMETER: Final = "download"
"""Saves a file instead of showing it, under its own name; a signed link may say another."""
LINK_LIMIT_SECONDS: Final = 366 * 86_400
"""A signature that would hold for longer is refused, however it came about."""
VERSION_LENGTH: Final = 16
"""Hex digits of the SHA-256 that stand in it."""
VERSIONED_CACHE_CONTROL: Final = "public, max-age=31536000, immutable"
UNVERSIONED_CACHE_CONTROL: Final = "max-age=60"
PRIVATE_CACHE_CONTROL: Final = "private, no-store"
"""Of what a signature opened: no cache between may hand it to another."""
ERROR_CACHE_SECONDS: Final = 10
"""How long "there is none" (403, 404) is remembered: what is missing now may be there soon."""
CACHED_ERRORS: Final = (403, 404)
METHODS: Final = ("GET", "HEAD", "OPTIONS")
LOWEST_TLS: Final = "TLSv1.2_2021"
HTTP_VERSIONS: Final = "http2and3"


# -- origins -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """A bucket that the edge reads, and the folder in front of every path."""

    name: str
    bucket: BucketRole
    folder: str = ""
    """Begins with a slash, ends with none; empty: the bucket's root."""


@dataclass(frozen=True, slots=True)
class FunctionOrigin:
    """A function that the edge calls by its address, signed, so that nobody else can."""

    name: str
    function: str
    timeout_seconds: int = 60
    """How long the edge waits for an answer."""


PROCESSED_ORIGIN: Final = Origin("processed", BucketRole.PROCESSED)
RAW_ORIGIN: Final = Origin("raw", BucketRole.PRIMARY, "/public")
ORIGINS: Final = (PROCESSED_ORIGIN, RAW_ORIGIN)

RAW_FOLDER: Final = "raw"
RAW_KEY_PREFIX: Final = "public/raw/"
"""Originals under it are served as they are, under ``/raw/``."""
IMAGE_FOLDERS: Final = ("processed/thumbnails", "processed/medium", "processed/webp")
SERVED_FOLDERS: Final = RENDITION_FOLDERS
"""Folders of the processed bucket with public keys. ``versions/…`` is none of them."""
SERVED_PREFIXES: Final[dict[BucketRole, tuple[str, ...]]] = {
    BucketRole.PROCESSED: tuple(f"{folder}/" for folder in SERVED_FOLDERS),
    BucketRole.PRIMARY: (RAW_KEY_PREFIX,),
}
"""What of each bucket the edge may read; the buckets' policies grant it no more."""


# -- cache and headers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the edge keeps answers by, and for how long where the origin says nothing."""

    name: str
    managed_id: str = ""
    """The id of AWS's own policy of that name; empty: ours, made by the fields below."""
    query_parameters: tuple[str, ...] = ()
    """In the cache key; any other is not."""
    headers: tuple[str, ...] = ()
    """In the cache key, and told to the origin."""
    minimum_seconds: int = 1
    default_seconds: int = 86_400
    maximum_seconds: int = 31_536_000
    compressed: bool = True
    """gzip and Brotli, where the viewer takes them and it helps."""


OPTIMIZED_BY_VERSION: Final = CachePolicy("content-platform-optimized-v", query_parameters=(VERSION_PARAMETER,))
OPTIMIZED: Final = CachePolicy("Managed-CachingOptimized", managed_id="658327ea-f89d-4fab-a63d-7e88639e58f6")
CACHE_POLICIES: Final = (OPTIMIZED_BY_VERSION, OPTIMIZED)


@dataclass(frozen=True, slots=True)
class OriginRequestPolicy:
    """Which of the viewer's headers reach the origin: AWS's own policy of that name."""

    name: str
    managed_id: str
    headers: tuple[str, ...]


CORS_TO_ORIGIN: Final = OriginRequestPolicy(
    "Managed-CORS-S3Origin",
    managed_id="88a5eaf4-2fd4-4709-b370-b4c650ea3fcf",
    headers=("Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"),
)


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """What pages of other origins may do."""

    origins: tuple[str, ...] = ("*",)
    methods: tuple[str, ...] = METHODS
    headers: tuple[str, ...] = ("*",)
    exposed: tuple[str, ...] = ("ETag", "Content-Length", "Content-Range", "Accept-Ranges")
    max_age_seconds: int = 86_400
    credentials: bool = False


@dataclass(frozen=True, slots=True)
class HeaderPolicy:
    """Headers of every answer. ``Cache-Control`` depends on the query: see ``cache_control``."""

    name: str
    cross_origin: CrossOrigin | None = None
    strict_transport_seconds: int = 31_536_000
    content_type_options: str = "nosniff"
    referrer_policy: str = "strict-origin-when-cross-origin"
    content_security_policy: str = (
        "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; sandbox"
    )
    """What somebody uploaded may hold a script; opened from the edge it runs none."""


PLAIN_HEADERS: Final = HeaderPolicy("content-platform-headers")
CORS_HEADERS: Final = HeaderPolicy("content-platform-headers-cors", cross_origin=CrossOrigin())
HEADER_POLICIES: Final = (PLAIN_HEADERS, CORS_HEADERS)


# -- behaviours --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How requests for some paths are answered. Viewers are sent from HTTP to HTTPS everywhere."""

    pattern: str
    """CloudFront's path pattern; empty: every path that no other pattern matches."""
    origin: Origin | FunctionOrigin
    cache: CachePolicy
    headers: HeaderPolicy
    origin_request: OriginRequestPolicy | None = None
    versioned: bool = True
    """Whether ``v`` makes an answer immutable; without, every answer is kept for a minute only."""
    private: bool = False
    """Whether it needs a signature."""
    told_by_origin: bool = False
    """Whether ``Cache-Control`` is the origin's own; else the edge sets it, by ``v``."""
    methods: tuple[str, ...] = METHODS


DEFAULT_BEHAVIOUR: Final = Behaviour("", PROCESSED_ORIGIN, OPTIMIZED_BY_VERSION, PLAIN_HEADERS)
RAW_BEHAVIOUR: Final = Behaviour(
    # This policy has no v in its key, so the edge can't tell versions of an original apart.
    f"{RAW_FOLDER}/*",
    RAW_ORIGIN,
    OPTIMIZED,
    PLAIN_HEADERS,
    CORS_TO_ORIGIN,
    versioned=False,
)
_FOLDER_BEHAVIOURS: Final = tuple(
    Behaviour(f"{folder}/*", PROCESSED_ORIGIN, OPTIMIZED_BY_VERSION, CORS_HEADERS)
    for folder in (*IMAGE_FOLDERS, VIDEO_FOLDER)
)


def behaviours(private_prefix: str) -> tuple[Behaviour, ...]:
    """Every behaviour in the order in which it is tried, the default last.

    Args:
        private_prefix: the setting ``ingest.private_prefix``; empty: nothing is private.
    """
    if not private_prefix:
        return (*_FOLDER_BEHAVIOURS, RAW_BEHAVIOUR, DEFAULT_BEHAVIOUR)
    private = [
        Behaviour(
            f"{folder}/{encoded(private_prefix)}*", PROCESSED_ORIGIN, OPTIMIZED_BY_VERSION, CORS_HEADERS, private=True
        )
        for folder in SERVED_FOLDERS
    ]
    if raw := _private_raw_pattern(private_prefix):
        private.append(
            Behaviour(raw, RAW_ORIGIN, OPTIMIZED, PLAIN_HEADERS, CORS_TO_ORIGIN, versioned=False, private=True)
        )
    return (*private, *_FOLDER_BEHAVIOURS, RAW_BEHAVIOUR, DEFAULT_BEHAVIOUR)


def _private_raw_pattern(private_prefix: str) -> str:
    """The pattern of originals that are private although they lie where originals are served; mostly there are none."""
    if private_prefix.startswith(RAW_KEY_PREFIX):
        return f"{RAW_FOLDER}/{encoded(private_prefix.removeprefix(RAW_KEY_PREFIX))}*"
    return f"{RAW_FOLDER}/*" if RAW_KEY_PREFIX.startswith(private_prefix) else ""


def behaviour_of(path: str, private_prefix: str) -> Behaviour:
    """The behaviour that answers a percent-encoded path, without its query, as CloudFront chooses it."""
    bare = path.removeprefix("/")
    return next(
        behaviour
        for behaviour in behaviours(private_prefix)
        if not behaviour.pattern or matches(behaviour.pattern, bare)
    )


def matches(pattern: str, path: str) -> bool:
    """Whether CloudFront takes a path, without its first slash, for one of a pattern's."""
    regular = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regular, path, re.DOTALL) is not None


def is_private(key: str, private_prefix: str) -> bool:
    """Whether a key of the edge (a rendition's public key, or ``raw/…``) needs a signature."""
    if not private_prefix:
        return False
    if key.startswith(f"{RAW_FOLDER}/"):
        return f"public/{key}".startswith(private_prefix)
    return any(key.startswith(f"{folder}/{private_prefix}") for folder in SERVED_FOLDERS)


def is_served(key: str) -> bool:
    """Whether the edge reaches a key at all, with or without a signature."""
    if any(segment in {".", ".."} for segment in key.split("/")):
        return False  # browsers resolve such a path, however it is encoded, before they ask for it
    return key.startswith((f"{RAW_FOLDER}/", *SERVED_PREFIXES[BucketRole.PROCESSED]))


def raw_edge_key(key: str) -> str | None:
    """Where the original under ``key`` is on the edge; None: it is not reachable."""
    return key.removeprefix("public/") if key.startswith(RAW_KEY_PREFIX) else None


def original_of(key: str) -> str:
    """The key of the original that a public key of the edge shows; empty where it can be none's."""
    if key.startswith(f"{RAW_FOLDER}/"):
        return f"public/{key}"
    for folder in SERVED_FOLDERS:
        if key.startswith(f"{folder}/"):
            stem = key.removeprefix(f"{folder}/").rpartition(".")[0]
            return stem.rpartition("_")[0] if folder == VIDEO_FOLDER else stem
    return ""


_FILM_PART: Final = re.compile(r"(.+_)[A-Za-z0-9-]{1,60}\.[a-z0-9]{1,8}", re.DOTALL)


def film_stem(path: str) -> str:
    """What the paths of all renditions of one film begin with, up to their suffix's underscore; empty: it is of none.

    A suffix has no other underscore and no slash, so no other original's rendition continues this stem like that.
    """
    found = _FILM_PART.fullmatch(path) if path.startswith(f"/{VIDEO_FOLDER}/") else None
    return found[1] if found is not None else ""


def refers_to_others(key: str) -> bool:
    """Whether what is under a key leads a viewer on to other renditions of its film."""
    return key.startswith(f"{VIDEO_FOLDER}/") and key.endswith((".m3u8", "_storyboard.vtt"))


def cache_control(behaviour: Behaviour, version: str | None) -> str:
    """``Cache-Control`` of an answer to a request with this ``v``."""
    return VERSIONED_CACHE_CONTROL if behaviour.versioned and version else UNVERSIONED_CACHE_CONTROL


# -- paths -------------------------------------------------------------------------------------------------------


def encoded(key: str) -> str:
    """A key as it stands in a path: everything but letters, digits, ``-._~`` and ``/`` is percent-encoded.

    So a ``+`` is no space, a ``?`` begins no query, and a ``*`` is no wildcard of an invalidation.

    Raises:
        InvalidRequest: the key is not valid Unicode.
    """
    try:
        return quote(key, safe="/-._~", encoding="utf-8", errors="strict")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"naming {key[:80]!r} on the edge", "the name is not valid Unicode") from error


def path_of(key: str, sha256: str = "") -> str:
    """The path of a key on the edge, with ``?v=`` where the bytes are told by their SHA-256 (hex)."""
    version = f"?{VERSION_PARAMETER}={sha256[:VERSION_LENGTH]}" if sha256 else ""
    return f"/{encoded(key)}{version}"


def key_of(path: str) -> str:
    """The key that a percent-encoded path, without its query, names.

    Raises:
        InvalidRequest: it is not written as ``path_of`` writes it, so it could slip past a pattern.
    """
    try:
        key = unquote_to_bytes(path.removeprefix("/")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("reading a path", "it is not UTF-8") from error
    if not path.startswith("/") or _DISGUISED.search(path):
        raise InvalidRequest("reading a path", "it hides a slash, a dot, a letter or a digit behind a percent sign")
    return key


def paths_to_purge(shown: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Every path under which the edge may keep what was shown as ``(key, sha256)``: with ``v`` and without.

    CloudFront keeps an answer by path *and* ``v``, so each of them is a path of its own to an invalidation. A key that
    the edge does not reach has none.
    """
    found: dict[str, None] = {}
    for key, sha256 in shown:
        if not is_served(key):
            continue
        found[path_of(key)] = None
        if sha256 and not key.startswith(f"{RAW_FOLDER}/"):
            found[path_of(key, sha256)] = None
    return tuple(found)


# -- what runs at the edge itself --------------------------------------------------------------------------------

FUNCTION_RUNTIME: Final = "cloudfront-js-2.0"
_DISGUISED_PATTERN: Final = r"%(2[fF]|2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])|(^|/)\.{1,2}(/|$)"
_DISGUISED: Final = re.compile(_DISGUISED_PATTERN)
"""An encoded slash, or an encoded character that needs no encoding, or a dot segment: no client writes such a path by
accident, and S3 would decode it only after the edge chose a behaviour by it, past the private patterns."""


def disguise_check(path: str) -> str:
    """Whether a path is in disguise, as an expression of JavaScript on the expression ``path``."""
    return f"new RegExp({json.dumps(_DISGUISED_PATTERN)}).test({path})"


def viewer_request_code() -> str:
    """The function in front of the cache, for every behaviour: refuses a path that is written in disguise."""
    return f"""function handler(event) {{
  if ({disguise_check("event.request.uri")}) {{
    return {{ statusCode: 400, statusDescription: 'Bad Request' }};
  }}
  return event.request;
}}
"""


def viewer_response_code(*, versioned: bool) -> str:
    """The function behind the cache: sets ``Cache-Control``. One for behaviours that know ``v``, one for the others."""
    with_version = VERSIONED_CACHE_CONTROL if versioned else UNVERSIONED_CACHE_CONTROL
    return f"""function handler(event) {{
  var asked = event.request.querystring[{json.dumps(VERSION_PARAMETER)}];
  var value = asked && asked.value ? {json.dumps(with_version)} : {json.dumps(UNVERSIONED_CACHE_CONTROL)};
  event.response.headers['cache-control'] = {{ value: value }};
  return event.response;
}}
"""
