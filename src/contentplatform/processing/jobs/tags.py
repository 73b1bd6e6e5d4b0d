"""What a film or a sound says of itself: which of it renditions go on saying, and which is for the owner's eyes only.

Only tags of a list are carried over. Of those, a value that holds an e-mail address or a place on the map is private,
whatever tag it is in; so are names of owners, accounts and devices' serial numbers, under whatever name they are kept.
Everything else (encoders' names and settings, checksums, ratings) says nothing to people and is left behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contentplatform.processing.embedded import KEYWORD_LIMIT, clean_text

_ALIASES: Final = {
    "tracknumber": "track",
    "discnumber": "disc",
    "year": "date",
    "originaldate": "date",
    "albumartist": "album_artist",
    "author": "artist",
    "organization": "publisher",
    "label": "publisher",
    "tsrc": "isrc",
    "synopsis": "description",
    "rights": "copyright",
}
"""One name for what different containers call differently; FFmpeg has done most of it."""
_CARRIED: Final = (
    *("title", "artist", "album", "album_artist", "composer", "performer", "track", "disc", "date", "genre"),
    *("description", "comment", "show", "episode_id", "grouping", "publisher", "isrc", "license", "copyright"),
)
_PRIVATE_NAME: Final = re.compile(
    r"location|gps|xyz|geo|serial|owner|purchas|account|apid|email|e-mail|phone|address|encoded.?by|town"
)
_PRIVATE_VALUE: Final = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]{2,}"  # an e-mail address
    r"|[+-]?\d{1,3}\.\d{3,}\s*[,;]?\s*[+-]?\d{1,3}\.\d{3,}"  # a place, as ISO 6709 or as two decimal numbers
)
_OF_A_PROGRAM: Final = re.compile(r"processed by sox|lavf\d|lame|itunnorm|https?://www\.videolan", re.IGNORECASE)
"""Comments that programs leave, and nobody wrote."""
_MOST_TAGS: Final = 64
_MOST_CHARACTERS: Final = 1_000
_MOST_PRIVATE, _PRIVATE_CHARACTERS = 20, 200
_SEPARATORS: Final = re.compile(r"[;/,]")


@dataclass(frozen=True, slots=True)
class Tags:
    """A file's tags, clean and bounded, sorted by whom they are for; names in lower case."""

    public: dict[str, str] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)


def sorted_tags(sources: Iterable[Mapping[str, str]]) -> Tags:
    """The tags of a container and its streams; where two say the same thing the first wins."""
    tags = Tags()
    for source in sources:
        for raw_name, raw_value in list(source.items())[:_MOST_TAGS]:
            name, value = clean_text(raw_name, 80).lower(), _clean(raw_value)
            name = _ALIASES.get(name, name)
            if not value or (name == "comment" and _OF_A_PROGRAM.match(value)):
                continue
            if _PRIVATE_NAME.search(name) or (name in _CARRIED and _PRIVATE_VALUE.search(value)):
                if len(tags.private) < _MOST_PRIVATE:
                    tags.private.setdefault(name, value[:_PRIVATE_CHARACTERS])
            elif name in _CARRIED:
                tags.public.setdefault(name, value)
    return tags


def descriptive(tags: Mapping[str, str]) -> dict[str, Any]:
    """What of the public ``tags`` the catalog shows as a file's own description; the genre becomes its tags."""
    genres = [word.strip() for word in _SEPARATORS.split(tags.get("genre", ""))]
    found = {
        "title": tags.get("title", ""),
        "description": tags.get("description") or tags.get("comment", ""),
        "tags": [word for word in dict.fromkeys(genres) if word][:KEYWORD_LIMIT],
        "credit": tags.get("artist") or tags.get("album_artist") or tags.get("composer", ""),
        "rights": tags.get("copyright") or tags.get("license", ""),
    }
    return {name: value for name, value in found.items() if value}


def _clean(raw: str) -> str:
    # What was no UTF-8 came as half characters; old taggers wrote Latin-1.
    return clean_text(raw.encode("utf-8", "surrogateescape"), _MOST_CHARACTERS)
