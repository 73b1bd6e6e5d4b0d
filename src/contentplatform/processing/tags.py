"""Words out of a container, which anybody may have written: cleaned, cut, and what is private set apart."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

TITLE_CHARACTERS: Final = 200
VALUE_CHARACTERS: Final = 1_000
_MOST_TAGS: Final = 64
_ALL_CHARACTERS: Final = 8_000
"""Of all tags together: facts travel through the workflow, whose messages are bounded."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9 _./:-]{0,59}")
_OF_THE_FORMAT: Final = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "duration", "encoder"}
)
_TECHNICAL: Final = re.compile(
    r".*(?:uid|umid|_ul)|(?:product|toolkit|company|application|_statistics).*|(?:bps|number_of_).*"
)
_PRIVATE: Final = re.compile(
    r".*(?:location|gps|serial|owner|\budid\b|content\.identifier|device).*|com\.android\.manufact.*"
)
_WESTERN: Final = codecs.lookup("cp1252")  # found now: a sandboxed child can't load it any more
_KEPT_CONTROLS: Final = "\n\t"
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but letters of Persian and faces of families are made with them."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a container says of itself; names in lower case."""

    public: dict[str, str] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    """Where it was recorded, with which very device, by whom: for the owner's eyes."""


def clean_text(text: str, characters: int) -> str:
    """``text`` in composed Unicode without control characters and writing-direction tricks, cut to ``characters``.

    Bytes that are no UTF-8 came as lone surrogates; old programs wrote them in Windows' Western encoding.
    """
    window = text[: 4 * characters]
    if any("\ud800" <= character <= "\udfff" for character in window):
        window = _WESTERN.decode(window.encode("utf-8", "surrogateescape"), "replace")[0]
    kept = (character for character in window if _is_kept(character))
    return unicodedata.normalize("NFC", "".join(kept)).strip()[:characters].rstrip()


def _is_kept(character: str) -> bool:
    if character in _KEPT_CONTROLS or character in _JOINERS:
        return True
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def clean_title(text: str) -> str:
    """One line of text for a name."""
    return " ".join(clean_text(text, TITLE_CHARACTERS).split())


def clean_tags(raw: Iterable[Mapping[str, str]]) -> Tags:
    """All tags of ``raw``; the first that has a name says what it means. What only the format needs is left out."""
    tags, left = Tags(), _ALL_CHARACTERS
    for name, value in ((name, value) for mapping in raw for name, value in mapping.items()):
        known = clean_text(name, 60).lower()
        if not _NAME.fullmatch(known) or known in _OF_THE_FORMAT or _TECHNICAL.fullmatch(known):
            continue
        kind = tags.private if _PRIVATE.fullmatch(known) else tags.public
        text = clean_text(value, min(VALUE_CHARACTERS, left))
        if text and known not in kind and len(tags.public) + len(tags.private) < _MOST_TAGS:
            kind[known] = text
            left -= len(text)
    return tags
