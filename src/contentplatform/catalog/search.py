"""What a word is, and what a query and a cursor mean: the one definition that both homes search by.

An index is fed with words that were cut here, and queries are cut by the same function, so no engine's own tokeniser
is ever a second definition.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from contentplatform.catalog.port import SEARCH_PAGE_LIMIT, Record
from contentplatform.errors import InvalidRequest

TEXT_KEY: Final = "text"
"""Under which processing metadata keep a document's text."""
TEXT_WORD_LIMIT: Final = 2_000
"""So many distinct words of a document's text are indexed."""
QUERY_WORD_LIMIT: Final = 64
WORD_LIMIT_CHARACTERS: Final = 64
"""Longer words are cut, in the index and in queries alike."""
PREFIX_FROM_CHARACTERS: Final = 3

# Letters whose stroke or ligature Unicode does not count as an accent.
_LETTERS: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ħ": "h",
        "ŧ": "t",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "æ": "ae",
        "œ": "oe",
        "ð": "d",
        "þ": "th",
    }
)
# Chinese and Japanese write without spaces: there each character is a word. Korean does write spaces.
_UNSPACED: Final = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD: Final = re.compile(f"(?=\\w)[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_CURSOR_DIGEST_BYTES: Final = 12


def words(text: str) -> list[str]:
    """The words of ``text`` in their order, folded: ``IMG_2041.jpg`` gives ``img``, ``2041``, ``jpg``.

    Case, accents and compatibility forms (full width, ligatures) are folded; everything that is neither letter nor
    digit separates. Cutting words again gives the same words.
    """
    return [found[:WORD_LIMIT_CHARACTERS] for found in _WORD.findall(_folded(text))]


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Folding case can bring characters that decompose further, so it stands between two decompositions.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))
    return bare.casefold().translate(_LETTERS)


@dataclass(frozen=True, slots=True)
class TextQuery:
    """What a text asks for: all of ``exact``, and a word that begins with ``prefix``."""

    exact: tuple[str, ...]
    """Distinct, in the order of their first appearance."""
    prefix: str | None

    @property
    def empty(self) -> bool:
        """Whether the text had no word at all, so that nothing can match it."""
        return not self.exact and self.prefix is None


def text_query(text: str) -> TextQuery | None:
    """What ``text`` asks for; None for a blank text, which asks for everything."""
    if not text.strip():
        return None
    found = words(text)[:QUERY_WORD_LIMIT]
    prefix = found.pop() if found and len(found[-1]) >= PREFIX_FROM_CHARACTERS else None
    return TextQuery(tuple(dict.fromkeys(found)), prefix)


def searchable_words(record: Record) -> tuple[str, ...]:
    """The distinct words by which ``record`` is found."""
    described = " ".join((record.file_path, *record.tags, record.title or "", record.description or ""))
    found = dict.fromkeys(words(described))
    found.update(dict.fromkeys(document_words(record)))
    return tuple(found)


def document_words(record: Record) -> tuple[str, ...]:
    """The first 2 000 distinct words of a document's text; empty for everything else."""
    text = record.processing_metadata.get(TEXT_KEY)
    if not isinstance(text, str):
        return ()
    return tuple(dict.fromkeys(words(text)))[:TEXT_WORD_LIMIT]


def folders_above(key: str) -> tuple[str, ...]:
    """Every folder that holds ``key``: for ``a/b/c.jpg`` these are ``a`` and ``a/b``."""
    return tuple(key[:index] for index, character in enumerate(key) if character == "/" and index > 0)


def check_limit(limit: int, doing: str) -> int:
    """Return ``limit`` if a page may have so many items; else raise InvalidRequest."""
    if not 1 <= limit <= SEARCH_PAGE_LIMIT:
        raise InvalidRequest(doing, f"a page has 1 to {SEARCH_PAGE_LIMIT} items, not {limit}")
    return limit


def write_cursor(place: str, scope: str, key: bytes) -> str:
    """An opaque cursor: ``place`` is where the last page ended, ``scope`` what was asked, ``key`` who answered."""
    body = place.encode("utf-8")
    return base64.urlsafe_b64encode(_digest(body, scope, key) + body).decode("ascii").rstrip("=")


def read_cursor(cursor: str, scope: str, key: bytes) -> str:
    """The place that ``cursor`` stands for.

    Raises:
        InvalidRequest: it was altered, or given for another question or by another catalog.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, body = raw[:_CURSOR_DIGEST_BYTES], raw[_CURSOR_DIGEST_BYTES:]
        if digest == _digest(body, scope, key) and write_cursor(body.decode("utf-8"), scope, key) == cursor:
            return body.decode("utf-8")
    except (UnicodeError, binascii.Error):
        pass  # answered below, as every other cursor that isn't ours
    raise InvalidRequest(
        "reading the next page", "the cursor was not given for this question", hint="Begin again without a cursor"
    )


def _digest(body: bytes, scope: str, key: bytes) -> bytes:
    state = hashlib.blake2b(digest_size=_CURSOR_DIGEST_BYTES, key=key[: hashlib.blake2b.MAX_KEY_SIZE])
    state.update(scope.encode("utf-8", "surrogatepass"))
    state.update(b"\0")
    state.update(body)
    return state.digest()
