"""What may be shown in a browser, and under which name the rest is saved (RFC 6266, RFC 8187).

Renditions are made here, so their types are what we say. An original is what somebody uploaded: it is shown where its
bytes are of a type that no browser runs anything of, and else it is a file to save, of no type at all.
"""

from __future__ import annotations

import unicodedata
from typing import Final
from urllib.parse import quote

RENDITION_TYPES: Final = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/webp",
        "video/mp4",
        "audio/mp4",
        "audio/ogg",
        "application/vnd.apple.mpegurl",
        "application/json",
        "text/vtt",
        "text/plain; charset=utf-8",
    }
)
"""Types of renditions, as ``processing`` stores them."""
SHOWN_ORIGINALS: Final = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "audio/mpeg",
        "audio/mp4",
        "audio/ogg",
        "audio/flac",
        "audio/wav",
        "audio/x-wav",
    }
)
"""Types of originals, by what their bytes are, that browsers show and never run."""
_NAME_LIMIT_CHARACTERS: Final = 200


def shown_type(content_type: str, *, is_rendition: bool) -> str:
    """The type under which something is shown; empty: it is saved, as ``application/octet-stream``."""
    allowed = RENDITION_TYPES if is_rendition else SHOWN_ORIGINALS
    return content_type if content_type in allowed else ""


def disposition(name: str) -> str:
    """``Content-Disposition`` of a file that is saved under ``name``: one header, whatever the name holds.

    Old readers get a name of plain ASCII, the others the true one. Slashes would make folders, control and direction
    characters would lie about the ending: they become an underscore.
    """
    safe = "".join("_" if _is_unsafe(character) else character for character in name).strip(" .")
    safe = _shortened(safe) or "file"
    plain = unicodedata.normalize("NFKD", safe).encode("ascii", "ignore").decode("ascii")
    plain = "".join("_" if character in '"\\%;' else character for character in plain).strip(" .") or "file"
    if plain == safe:
        return f'attachment; filename="{plain}"'
    encoded = quote(safe, safe="!#$&+-.^_`|~", encoding="utf-8", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def _is_unsafe(character: str) -> bool:
    return character in "/\\" or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def _shortened(name: str) -> str:
    """The name, cut before its ending where it is too long."""
    if len(name) <= _NAME_LIMIT_CHARACTERS:
        return name
    stem, dot, ending = name.rpartition(".")
    tail = f"{dot}{ending}" if stem and len(ending) <= 10 else ""
    return name[: _NAME_LIMIT_CHARACTERS - len(tail)] + tail
