"""How the local home finds records: positions, labels, the text index, and the SQL of a search.

* A record's *position* is its place in the order of upload: microseconds since 1970, times 1 024, plus a free slot.
  It is the rowid of the narrow row that filters look at, of the document beside it, and of the row in the text index.
  So every index yields the newest upload first, without sorting, and one number is a cursor for all of them.
* Tags and folders are *labels*: ``(label, position)`` rows to walk. In the text index the labels, kind, status and
  whether it is deleted are tokens beside the words, so that a common word with a rare condition is no long walk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isqrt
from typing import Any, Final

from contentplatform.catalog.codec import decode_record
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.catalog.search import TEXT_KEY, TextQuery, folders_above, searchable_words
from contentplatform.clock import timestamp
from contentplatform.drivers.sqlite import Connection, Transaction
from contentplatform.media import MediaKind, ProcessingStatus

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SLOTS_PER_MICROSECOND: Final = 1_024
_LAST_MICROSECOND: Final = 2**53 - 1
_LAST_POSITION: Final = 2**63 - 1
_LARGEST_INTEGER: Final = 2**63 - 1
_SPILL: Final = 1_000_000 * _SLOTS_PER_MICROSECOND
"""How far a position may lie behind its upload time: a second's worth of slots."""
_FEW: Final = 1_000
"""Up to so many candidates may always be fetched and sorted instead of walked in order."""
_SORTED: Final = 30_000
"""And never more than these."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and its position."""

    position: int
    record: Record

    @property
    def searched(self) -> tuple[Any, ...]:
        """What the row of the text index is made from; cheaper to compare than the words themselves."""
        record = self.record
        text = record.processing_metadata.get(TEXT_KEY)
        return self.position, tokens_of(record), record.title, record.description, text


def find(view: Connection, file_id: str) -> Placed | None:
    """The record of ``file_id`` as it is stored; None if there is none."""
    row = view.row(
        "SELECT position, document FROM catalog_records JOIN catalog_documents USING (position) WHERE file_id = ?",
        (file_id,),
    )
    return None if row is None else Placed(row[0], decode_record(row[1]))


# -- positions ---------------------------------------------------------------------------------------------


def first_position(moment: datetime) -> int:
    """The first position of a moment; moments outside 1970 to 2255 count as the nearest one inside."""
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return min(max(microseconds, 0), _LAST_MICROSECOND) * _SLOTS_PER_MICROSECOND


def free_position(transaction: Transaction, upload_time: datetime) -> int:
    """A position for an upload of this moment that neither a record nor a row of the text index has.

    More than 1 024 uploads of one microsecond go on into the next ones: only a stopped clock does that.
    """
    first = first_position(upload_time)
    while True:
        last = first + _SLOTS_PER_MICROSECOND - 1
        used = transaction.value(
            "SELECT max((SELECT ifnull(max(position), -1) FROM catalog_records WHERE position BETWEEN ?1 AND ?2),"
            " (SELECT ifnull(max(position), -1) FROM catalog_search_rows WHERE position BETWEEN ?1 AND ?2))",
            (first, last),
        )
        if used < last:
            return int(used) + 1 if used >= first else first
        first += _SLOTS_PER_MICROSECOND


# -- labels ------------------------------------------------------------------------------------------------


def change_labels(transaction: Transaction, old: Placed | None, new: Placed | None) -> None:
    """Bring the labels from what a record was to what it is; None: it did not exist, or does no more."""
    old_rows = set() if old is None else _label_rows(old)
    new_rows = set() if new is None else _label_rows(new)
    transaction.run_many(
        "DELETE FROM catalog_labels WHERE label = ? AND deleted = ? AND position = ?", sorted(old_rows - new_rows)
    )
    transaction.run_many("INSERT INTO catalog_labels VALUES (?, ?, ?)", sorted(new_rows - old_rows))


def _label_rows(placed: Placed) -> set[tuple[str, int, int]]:
    deleted = int(placed.record.deleted_at is not None)
    return {(label, deleted, placed.position) for label in labels_of(placed.record)}


def labels_of(record: Record) -> list[str]:
    """The labels of ``record``: one a tag, and one a folder above it."""
    folders = (_label("folder", folder) for folder in folders_above(record.file_path))
    return [*folders, *(_label("tag", tag) for tag in dict.fromkeys(record.tags))]


def tokens_of(record: Record) -> list[str]:
    """What stands beside the words of ``record`` in the text index."""
    return [*labels_of(record), *_state_labels(record.deleted_at, record.kind, record.status)]


def _state_labels(deleted: object, kind: MediaKind | None, status: ProcessingStatus | None) -> list[str]:
    # Being there is no label: nearly everything has it, and following it along would slow rare words down.
    named = (("deleted", "yes" if deleted else None), ("kind", kind), ("status", status))
    return [_label(sort, name) for sort, name in named if name is not None]


def _label(sort: str, name: str) -> str:
    """A tag, folder or state as one token of bounded length; no word of a text ever looks like it."""
    return "#" + hashlib.blake2b(f"{sort} {name}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# -- searching -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Way:
    """One index from which the candidates of a query can be had."""

    source: str
    condition: str
    parameters: tuple[Any, ...]
    position: str = "r.position"
    counted: str | None = None
    """Where as many are, to count them without fetching any; None: in the source."""


def page_statement(
    view: Connection, query: SearchQuery, text: TextQuery | None, before: int | None, limit: int
) -> tuple[str, list[Any]]:
    """The SELECT for one page, the newest first, and its parameters."""
    found, parameters = found_statement(view, query, text, before, limit)
    statement = (
        f"SELECT d.position, d.document FROM ({found}) AS p"  # noqa: S608 - made of literals of this module
        " CROSS JOIN catalog_documents AS d ON d.position = p.position"
    )
    return statement, parameters


def found_statement(
    view: Connection, query: SearchQuery, text: TextQuery | None, before: int | None, limit: int
) -> tuple[str, list[Any]]:
    """The SELECT for the positions of what matches, the newest first, and its parameters."""
    if text is not None:
        return _selection(_text_way(query, text), query, before, limit)
    way = _best_way(view, query, limit)
    if way is not None:
        return _selection(way, query, before, limit)
    # What waits to be indexed is beside what is: together they are everything.
    indexed, parameters = _selection(_text_way(query, TextQuery((), None)), query, before, limit)
    waiting, more = _selection(_WAITING, query, before, limit)
    statement = (
        f"SELECT position FROM (SELECT * FROM ({indexed}) UNION SELECT * FROM ({waiting}))"  # noqa: S608 - as above
        " ORDER BY position DESC LIMIT ?"
    )
    return statement, [*parameters, *more, limit]


def _selection(way: _Way, query: SearchQuery, before: int | None, limit: int) -> tuple[str, list[Any]]:
    conditions, parameters = [way.condition], list(way.parameters)
    for condition, values in _filters(query):
        conditions.append(condition)
        parameters += values
    for condition, bound in _position_bounds(query, before):
        conditions.append(f"{way.position} {condition}")
        parameters.append(bound)
    statement = (
        f"SELECT {way.position} AS position FROM {way.source}"  # noqa: S608 - made of literals; values are parameters
        f" WHERE {' AND '.join(conditions)} ORDER BY {way.position} DESC LIMIT ?"
    )
    return statement, [*parameters, limit]


def _text_way(query: SearchQuery, text: TextQuery) -> _Way:
    states = _state_labels(query.deleted, query.kind, query.status)
    tokens = [f'"{token}"' for token in (*text.exact, *_query_labels(query), *states)]
    if text.prefix is not None:
        tokens.append(f'"{text.prefix}" *')
    return _Way(
        "catalog_search AS s CROSS JOIN catalog_records AS r ON r.position = s.rowid",
        "s.catalog_search MATCH ?",
        (" ".join(tokens),),
        position="s.rowid",
    )


_WAITING: Final = _Way(
    "catalog_search_outbox AS o CROSS JOIN catalog_records AS r ON r.file_id = o.file_id", "TRUE", ()
)
"""What the text index doesn't say right yet."""


def _best_way(view: Connection, query: SearchQuery, limit: int) -> _Way | None:
    """The narrowest index for a query without words; None: the text index knows best what meets all conditions.

    Counting to a thousand costs less than a wrong guess, which would walk the whole library past what it looks for.
    """
    ways = _ordered_ways(query)
    if not ways:
        ways.append(_Way("catalog_records AS r INDEXED BY catalog_by_upload", "r.deleted = ?", (int(query.deleted),)))
    size_way = _size_way(query)
    if len(ways) == 1 and size_way is None:
        return ways[0]
    counted = [(_count(view, way), number, way) for number, way in enumerate(ways)]
    fewest = min(counted)
    if size_way is not None:
        most = _sortable(view, limit) if fewest[0] == _FEW else fewest[0]
        if _count(view, size_way, most) < most:
            return size_way
    tokens = [*_query_labels(query), *_state_labels(query.deleted, query.kind, query.status)]
    if fewest[0] == _FEW and len(tokens) > 1 and _count(view, _WAITING) < _FEW:
        return None
    return fewest[2]


def _ordered_ways(query: SearchQuery) -> list[_Way]:
    deleted = int(query.deleted)
    ways = [
        _Way(
            "catalog_labels AS l CROSS JOIN catalog_records AS r ON r.position = l.position",
            "l.label = ? AND l.deleted = ?",
            (label, deleted),
            position="l.position",
            counted="catalog_labels AS l",
        )
        for label in _query_labels(query)
    ]
    if query.file_hash is not None:
        ways.append(_Way("catalog_records AS r INDEXED BY catalog_by_hash", "r.file_hash = ?", (query.file_hash,)))
    if query.status is not None:
        ways.append(
            _Way(
                "catalog_records AS r INDEXED BY catalog_by_status",
                "r.deleted = ? AND r.status = ?",
                (deleted, query.status.value),
            )
        )
    if query.kind is not None:
        ways.append(
            _Way(
                "catalog_records AS r INDEXED BY catalog_by_kind",
                "r.deleted = ? AND r.kind = ?",
                (deleted, query.kind.value),
            )
        )
    return ways


def _size_way(query: SearchQuery) -> _Way | None:
    if query.size_from_bytes is None and query.size_to_bytes is None:
        return None
    return _Way(
        "catalog_records AS r INDEXED BY catalog_by_size",
        "r.deleted = ? AND r.size_bytes BETWEEN ? AND ?",
        (int(query.deleted), *_size_range(query)),
    )


def _sortable(view: Connection, limit: int) -> int:
    """Up to how many candidates it costs less to fetch and sort them than to walk past all others between them.

    For a page of ``limit`` among n candidates in a library of so many files, that many times ``limit`` through n are
    walked; so it is where n is the root of their product.
    """
    files = view.value("SELECT files FROM catalog_counts WHERE sort = 'all' AND parent = '' AND name = ''")
    return max(_FEW, min(isqrt(limit * int(files or 0)), _SORTED))


def _count(view: Connection, way: _Way, most: int = _FEW) -> int:
    """How many candidates ``way`` has, up to so many."""
    return int(
        view.value(
            f"SELECT count(*) FROM (SELECT 1 FROM {way.counted or way.source} WHERE {way.condition} LIMIT ?)",  # noqa: S608 - generated
            (*way.parameters, most),
        )
    )


def _filters(query: SearchQuery) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every condition but the text, on the row itself: whatever index led there, these see all that is committed."""
    yield "r.deleted = ?", (int(query.deleted),)
    if query.kind is not None:
        yield "r.kind = ?", (query.kind.value,)
    if query.status is not None:
        yield "r.status = ?", (query.status.value,)
    if query.file_hash is not None:
        yield "r.file_hash = ?", (query.file_hash,)
    if query.size_from_bytes is not None or query.size_to_bytes is not None:
        yield "r.size_bytes BETWEEN ? AND ?", _size_range(query)
    if query.uploaded_from is not None:
        yield "r.upload_time >= ?", (timestamp(query.uploaded_from),)
    if query.uploaded_before is not None:
        yield "r.upload_time < ?", (timestamp(query.uploaded_before),)
    for label in _query_labels(query):
        yield (
            "EXISTS (SELECT 1 FROM catalog_labels WHERE label = ? AND deleted = ? AND position = r.position)",
            (label, int(query.deleted)),
        )


def _position_bounds(query: SearchQuery, before: int | None) -> Iterator[tuple[str, int]]:
    """Where in the order of upload to look: what the dates allow, give or take a second, and the cursor."""
    if query.uploaded_from is not None:
        yield ">= ?", first_position(query.uploaded_from)
    upper = [] if before is None else [before]
    if query.uploaded_before is not None:
        upper.append(min(first_position(query.uploaded_before) + _SPILL, _LAST_POSITION))
    if upper:
        yield "< ?", min(upper)


def _query_labels(query: SearchQuery) -> list[str]:
    labels = [] if query.tag is None else [_label("tag", query.tag)]
    return [*labels, _label("folder", query.folder)] if query.folder else labels


def _size_range(query: SearchQuery) -> tuple[int, int]:
    """Both ends, brought into what an SQLite integer can hold."""
    largest = _LARGEST_INTEGER if query.size_to_bytes is None else query.size_to_bytes
    return min(max(query.size_from_bytes or 0, 0), _LARGEST_INTEGER), min(max(largest, -1), _LARGEST_INTEGER)


# -- the text index ------------------------------------------------------------------------------------------


INDEX_GAPS: Final = """
    SELECT file_id FROM (
        SELECT r.file_id FROM catalog_records AS r LEFT JOIN catalog_search_rows AS i USING (file_id)
        WHERE i.position IS NOT r.position
        UNION
        SELECT i.file_id FROM catalog_search_rows AS i LEFT JOIN catalog_records AS r USING (file_id)
        WHERE r.file_id IS NULL OR NOT EXISTS (SELECT 1 FROM catalog_search AS s WHERE s.rowid = i.position)
    )
    WHERE file_id NOT IN (SELECT file_id FROM catalog_search_outbox) ORDER BY file_id
"""


def index_batch(transaction: Transaction, limit: int) -> int:
    """Index the records that have waited longest, at most ``limit``; returns how many that were."""
    waiting = transaction.rows(
        "SELECT sequence, file_id FROM catalog_search_outbox ORDER BY sequence LIMIT ?", (limit,)
    )
    for _, file_id in waiting:
        _index(transaction, file_id)
    if waiting:
        transaction.run("DELETE FROM catalog_search_outbox WHERE sequence <= ?", (waiting[-1][0],))
    return len(waiting)


def _index(transaction: Transaction, file_id: str) -> None:
    """Make the text index say of one file what its record says now."""
    indexed = transaction.value("SELECT position FROM catalog_search_rows WHERE file_id = ?", (file_id,))
    _clear(transaction, indexed)
    known = find(transaction, file_id)
    if known is None:
        return
    # Nobody else's row is there, unless the index was damaged; then this mends it.
    _clear(transaction, known.position)
    tokens = " ".join((*searchable_words(known.record), *tokens_of(known.record)))
    transaction.run("INSERT INTO catalog_search (rowid, words) VALUES (?, ?)", (known.position, tokens))
    transaction.run("INSERT INTO catalog_search_rows VALUES (?, ?)", (file_id, known.position))


def _clear(transaction: Transaction, position: int | None) -> None:
    transaction.run("DELETE FROM catalog_search WHERE rowid = ?", (position,))
    transaction.run("DELETE FROM catalog_search_rows WHERE position = ?", (position,))
