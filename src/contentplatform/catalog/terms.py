"""The rows of table ``content-search``: what a record is found by, and what a query looks under.

A row is a term and a place in the order of upload, so every term is a list of files, the newest first. There is one
for each folder above the file, each tag, each part of a picture's perceptual hash, and for the words: a word has a row
under its first 3, 5, 8, 12, 18, 27 and 40 characters, as far as it is that long (a shorter word under itself), and
words of one record that begin alike share the row, which names them all. A word, or the beginning of one, is looked up
under the longest of these beginnings that it has, and the few other words under it are filtered out by the names in
the rows. So a prefix costs no rows of its own at each length, and the list that is walked holds little else than what
is looked for.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from contentplatform.catalog.items import is_key, record_place, state
from contentplatform.catalog.likeness import hash_of, parts_of, probes
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.catalog.search import TextQuery, folders_above, searchable_words

BEGINNINGS: Final = (3, 5, 8, 12, 18, 27, 40)
"""Lengths in characters; the shortest is where prefixes begin."""
_HASH_PART_BITS: Final = 8
_READABLE_BYTES: Final = 200
"""Longer tags and folders are known by a digest."""

Rows = dict[tuple[str, str], str]
"""Of a record: by term and place, the words that the row stands for (empty for a tag or a folder)."""


@dataclass(frozen=True, slots=True)
class Term:
    """What to look under, and which rows under it count."""

    name: str
    naming: str = ""
    """Only rows whose words contain this; empty: all."""


def rows(record: Record | None) -> Rows:
    """Every row of ``record``; none if there is no record."""
    if record is None:
        return {}
    deleted, where = record.deleted_at is not None, record_place(record)
    named: dict[str, list[str]] = {}
    for word in searchable_words(record):
        for beginning in _beginnings(word):
            named.setdefault(_name("word", beginning, deleted=deleted), []).append(word)
    found = {(name, where): f" {' '.join(sorted(words))} " for name, words in named.items()}
    for folder in folders_above(record.file_path):
        found[_name("folder", folder, deleted=deleted), where] = ""
    for tag in record.tags:
        found[_name("tag", tag, deleted=deleted), where] = ""
    value = hash_of(record)
    if value is not None:
        for number, part in enumerate(parts_of(value, _HASH_PART_BITS)):
            found[_hash_term(number, part), where] = f"{value:016x}"
    return found


def hash_terms(value: int, max_distance: int) -> list[str]:
    """All terms under which hashes within a distance stand; each row's words are the whole hash."""
    return [_hash_term(number, part) for number, part in probes(value, _HASH_PART_BITS, max_distance)]


def _hash_term(number: int, part: int) -> str:
    return _name("hash", f"{number} {part:02x}", deleted=False)


def digest(wanted: Rows) -> str:
    """Tells one set of rows from another."""
    text = json.dumps(sorted((*key, words) for key, words in wanted.items()))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def query_terms(query: SearchQuery, text: TextQuery | None) -> list[Term]:
    """All that a file must stand under to match ``query``."""
    found = []
    if text is not None:
        found += [_word_term(word, deleted=query.deleted) for word in text.exact]
        if text.prefix is not None:
            found.append(_word_term(text.prefix, deleted=query.deleted, prefix=True))
    if query.tag is not None:
        found.append(Term(_name("tag", query.tag, deleted=query.deleted)))
    if query.folder:
        found.append(Term(_name("folder", query.folder, deleted=query.deleted)))
    return found


def matches(record: Record, query: SearchQuery, text: TextQuery | None) -> bool:
    """Whether ``record`` is what ``query`` asks for, by the record itself."""
    return (
        (record.deleted_at is not None) == query.deleted
        and query.kind in {None, record.kind}
        and query.status in {None, record.status}
        and query.file_hash in {None, record.file_hash}
        and (query.tag is None or query.tag in record.tags)
        and (not query.folder or query.folder in folders_above(record.file_path))
        and (query.uploaded_from is None or record.upload_time >= query.uploaded_from)
        and (query.uploaded_before is None or record.upload_time < query.uploaded_before)
        and (query.size_from_bytes is None or record.size_bytes >= query.size_from_bytes)
        and (query.size_to_bytes is None or record.size_bytes <= query.size_to_bytes)
        and (text is None or _says(record, text))
    )


def _says(record: Record, text: TextQuery) -> bool:
    words = set(searchable_words(record))
    prefix = text.prefix
    return words.issuperset(text.exact) and (prefix is None or any(word.startswith(prefix) for word in words))


def _beginnings(word: str) -> list[str]:
    if len(word) < BEGINNINGS[0]:
        return [word]
    return [word[:length] for length in BEGINNINGS if length <= len(word)]


def _word_term(word: str, *, deleted: bool, prefix: bool = False) -> Term:
    beginning = _beginnings(word)[-1]
    # Under a whole beginning every row has the prefix; a word shorter than all of them has its rows for itself.
    alone = beginning == word if prefix else len(word) < BEGINNINGS[0]
    naming = f" {word}" if prefix else f" {word} "
    return Term(_name("word", beginning, deleted=deleted), "" if alone else naming)


def readable(value: str) -> str:
    """``value`` if it can be a part of a key, else a digest of it."""
    if is_key(value, _READABLE_BYTES):
        return value
    return "#" + hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _name(sort: str, value: str, *, deleted: bool) -> str:
    known = readable(value)
    return f"{state(deleted=deleted)} {sort if known == value else f'long {sort}'} {known}"
