"""Words that every room shares: kinds of media, keys, the identifier of a file, the names and keys of renditions."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

from contentplatform.errors import InvalidRequest

KEY_LIMIT_BYTES: Final = 900
"""Longest key of an original, in UTF-8: with a rendition's folder and extension it still fits S3's 1 024."""
OCTET_STREAM: Final = "application/octet-stream"


class MediaKind(StrEnum):
    """What a file is, and so which way it takes through the workflow."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"
    GENERIC = "generic"


class ProcessingStatus(StrEnum):
    """Where a version stands. ``superseded`` is a version that was replaced before its turn; no record shows it."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    SUPERSEDED = "superseded"


PROCESSING_TYPES: Final[dict[MediaKind, tuple[str, ...]]] = {
    MediaKind.IMAGE: ("thumbnail", "webp_conversion", "metadata_extraction"),
    MediaKind.VIDEO: ("thumbnail", "transcoding", "subtitle_extraction"),
    MediaKind.AUDIO: ("format_conversion", "metadata_extraction"),
    MediaKind.DOCUMENT: ("preview", "text_extraction"),
    MediaKind.GENERIC: (),
}


def check_key(key: str) -> str:
    """Return ``key`` if it may name a file of the platform.

    Keys are data, never paths: ``..``, backslashes and leading slashes are ordinary characters here.

    Raises:
        InvalidRequest: it is empty, longer than 900 bytes of UTF-8, not encodable, or has control characters.
    """
    doing = f"naming a file {key[:80]!r}"
    if not key:
        raise InvalidRequest(doing, "a key can't be empty")
    size = len(_utf8(key))
    if size > KEY_LIMIT_BYTES:
        raise InvalidRequest(doing, f"the key has {size} bytes of UTF-8; at most {KEY_LIMIT_BYTES} are possible")
    if any(_is_control(character) for character in key):
        raise InvalidRequest(doing, "the key has control characters", hint="Rename the file")
    return key


def file_id(key: str) -> str:
    """The identifier of the file under ``key``: the MD5 hex digest of its UTF-8 bytes. Not a checksum.

    Raises:
        InvalidRequest: the key is not valid Unicode.
    """
    return hashlib.md5(_utf8(key), usedforsecurity=False).hexdigest()


def file_name(key: str) -> str:
    """The last segment of ``key``."""
    return key.rpartition("/")[2]


def folder_path(key: str) -> str:
    """``key`` without its last segment and the slash before it; empty at the top."""
    return key.rpartition("/")[0]


def file_extension(key: str) -> str:
    """The extension of the base name, lower case, without the dot; empty if there is none."""
    stem, dot, extension = file_name(key).rpartition(".")
    return extension.lower() if dot and stem else ""


def rendition_key(folder: str, key: str, extension: str, suffix: str = "") -> str:
    """The public key of a rendition: its folder, the original's whole key, the rendition's own suffix and extension.

    ``rendition_key("processed/thumbnails", "a/x.jpg", "jpg")`` is ``processed/thumbnails/a/x.jpg.jpg``, and
    ``rendition_key("video-processed", "clip.mov", "mp4", "_720p")`` is ``video-processed/clip.mov_720p.mp4``.
    """
    return f"{folder}/{key}{suffix}.{extension}"


def _utf8(key: str) -> bytes:
    try:
        return key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"naming a file {key[:80]!r}", "the name is not valid Unicode", hint="Rename the file"
        ) from error


def _is_control(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0
