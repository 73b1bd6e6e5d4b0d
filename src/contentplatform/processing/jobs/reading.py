"""What reading a document comes to, whatever its format, and how its text is cleaned, bounded and cut into words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyvips

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.embedded import KEYWORD_LIMIT, clean_text

DOING: Final = "reading the document"
LOCKED: Final = "it is locked with a password"

_INDEXED_WORDS: Final = 2_000
"""So many distinct words of a document are found by search."""
_INDEXED_BYTES: Final = 40_000
"""Of the text that the record carries for search; a record has to stay small."""
_INDEXED_WORD_CHARACTERS: Final = 80
_BLANK_LINES: Final = re.compile(r"\n{4,}")
_KEYWORD_SEPARATORS: Final = re.compile(r"[,;\n]")
_WHOLE_PHRASES: Final = 8
_LINE_ENDS: Final = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE: Final = re.compile(
    # Controls but tab and line feed; soft hyphens; marks that turn the direction of writing, which can make a text
    # look like another one; halves of characters; what Unicode says is no character.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


@dataclass(slots=True)
class Reading:
    """What was found in one document."""

    text: str = ""
    """All of it up to the limit, in reading order; not cleaned yet."""
    preview: str = ""
    """The first screen of it."""
    picture: pyvips.Image | None = None
    """The first page."""
    metadata: dict[str, Any] = field(default_factory=dict)
    descriptive: dict[str, Any] = field(default_factory=dict)


class Collected:
    """Text that grows piece by piece up to a limit."""

    def __init__(self, limit_characters: int) -> None:
        self._pieces: list[str] = []
        self._left = limit_characters
        self._cut = False

    def add(self, piece: str) -> None:
        """Take ``piece``, or as much of it as there is room for."""
        if len(piece) > self._left:
            self._cut = True
            piece = piece[: self._left]
        if piece:
            self._pieces.append(piece)
            self._left -= len(piece)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was taken yet."""
        return not self._pieces

    @property
    def is_full(self) -> bool:
        """Whether reading on is of no use."""
        return self._left == 0

    @property
    def is_cut(self) -> bool:
        """Whether there was more than the limit."""
        return self._cut

    def __str__(self) -> str:
        return "".join(self._pieces)


def cleaned(text: str) -> str:
    """Text as people read it: one kind of line end, no controls, no long gaps, no blanks at the ends of lines."""
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n\n", text).strip("\n")


def indexed(text: str) -> str:
    """The first distinct words of ``text``, as many as search takes: all that the record carries of it."""
    found: dict[str, str] = {}
    size_bytes = 0
    for word in _words(text):
        folded = word.casefold()
        if folded in found:
            continue
        size_bytes += len(word.encode()) + 1
        if len(found) == _INDEXED_WORDS or size_bytes > _INDEXED_BYTES:
            break
        found[folded] = word
    return " ".join(found.values())


def _words(text: str) -> Iterator[str]:
    """What stands between blanks, without the punctuation around it. Search cuts finer; it never has to cut coarser."""
    for found in re.finditer(r"\S+", text):
        whole = found.group()
        # Chinese and Japanese write without blanks: a sentence comes in pieces, for search to cut on.
        for start in range(0, len(whole), _INDEXED_WORD_CHARACTERS):
            word = _stripped(whole[start : start + _INDEXED_WORD_CHARACTERS])
            if word:
                yield word


def _stripped(word: str) -> str:
    start, end = 0, len(word)
    while start < end and not _speaks(word[start]):
        start += 1
    while end > start and not _speaks(word[end - 1]):
        end -= 1
    return word[start:end]


def _speaks(character: str) -> bool:
    # Marks (category M) are the vowels of Arabic, Hebrew, Hindi.
    return character.isalnum() or unicodedata.category(character).startswith("M")


def described(*, title: str = "", description: str = "", keywords: str = "", creator: str = "") -> dict[str, Any]:
    """What a document says of itself for people: only what is there, cleaned."""
    found: dict[str, Any] = {
        "title": clean_text(title),
        "description": clean_text(description),
        "tags": _keywords(clean_text(keywords)),
        "credit": clean_text(creator),
    }
    return {name: value for name, value in found.items() if value}


def _keywords(text: str) -> list[str]:
    parts: Iterable[str] = _KEYWORD_SEPARATORS.split(text)
    if not _KEYWORD_SEPARATORS.search(text) and text.count(" ") >= _WHOLE_PHRASES:
        parts = text.split()  # a list of words without any separator
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))[:KEYWORD_LIMIT]


def broken(private: str = "", *, what: str = "the document") -> ProcessingFailed:
    """The error for a document that holds together nowhere."""
    return ProcessingFailed(
        DOING,
        f"{what} is broken or incomplete",
        code=ErrorCode.DECODE,
        hint="The original is kept; try to save it again in another program",
        private=private,
    )


def over_limit(why: str) -> ProcessingFailed:
    """The error for a document that would take too much, by what it says of itself."""
    return ProcessingFailed(
        DOING, why, code=ErrorCode.LIMIT, hint="The original is kept; an operator can raise the limit"
    )
