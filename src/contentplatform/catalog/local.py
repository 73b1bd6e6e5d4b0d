"""The catalog of the local home: SQLite tables, and an FTS5 index that follows them from an outbox.

* A record's *position* is its place in the order of upload: microseconds since 1970, times 1 024, plus a free slot.
  It is the rowid of the narrow row that filters look at, of the document beside it, and of the row in the text index.
  So every index yields the newest upload first, without sorting, and one number is a cursor for all of them.
* Tags and folders are labels: ``(label, position)`` rows to walk, and tokens in the text index to combine with words.
* ``put`` only notes in the outbox that the words of a record changed. FTS5 merges its segments now and then, and a
  commit that acknowledges an upload must not wait for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contentplatform.catalog.codec import decode_entry, decode_record, encode_entry, encode_record
from contentplatform.catalog.port import (
    INDEX_BATCH,
    SEARCH_PAGE_SIZE,
    Catalog,
    LedgerEntry,
    Record,
    RecordPage,
    SearchQuery,
)
from contentplatform.catalog.search import (
    TextQuery,
    check_limit,
    folders_above,
    read_cursor,
    searchable_words,
    text_query,
    write_cursor,
)
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Database, Schema, Transaction
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.media import MediaKind, ProcessingStatus

SCHEMA: Final = Schema(
    "catalog",
    (
        """
        CREATE TABLE catalog_records (
            position INTEGER PRIMARY KEY,
            file_id TEXT NOT NULL UNIQUE,
            file_path TEXT NOT NULL,
            revision INTEGER NOT NULL,
            deleted INTEGER NOT NULL,
            kind TEXT NOT NULL,
            status TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            upload_time TEXT NOT NULL,
            file_hash TEXT NOT NULL
        ) STRICT;
        CREATE INDEX catalog_by_upload ON catalog_records (deleted);
        CREATE INDEX catalog_by_kind ON catalog_records (deleted, kind);
        CREATE INDEX catalog_by_status ON catalog_records (deleted, status);
        CREATE INDEX catalog_by_hash ON catalog_records (file_hash);
        CREATE INDEX catalog_by_size ON catalog_records (deleted, size_bytes);

        CREATE TABLE catalog_documents (position INTEGER PRIMARY KEY, document TEXT NOT NULL) STRICT;

        CREATE TABLE catalog_labels (
            label TEXT NOT NULL,
            deleted INTEGER NOT NULL,
            position INTEGER NOT NULL,
            PRIMARY KEY (label, deleted, position)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE catalog_redirects (file_id TEXT PRIMARY KEY, moved_to TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE INDEX catalog_redirects_by_target ON catalog_redirects (moved_to);

        CREATE TABLE catalog_ledger (
            sequence INTEGER PRIMARY KEY,
            file_id TEXT NOT NULL,
            version_id TEXT NOT NULL,
            revision INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            status TEXT NOT NULL,
            kind TEXT NOT NULL,
            recipe TEXT NOT NULL,
            file_hash TEXT NOT NULL,
            document TEXT NOT NULL,
            UNIQUE (file_id, version_id)
        ) STRICT;
        CREATE INDEX catalog_ledger_by_file ON catalog_ledger (file_id, created_at DESC, version_id);
        CREATE INDEX catalog_ledger_by_status ON catalog_ledger (status, sequence, kind, recipe);
        CREATE INDEX catalog_ledger_by_content ON catalog_ledger (file_hash, recipe) WHERE status = 'completed';

        CREATE TABLE catalog_search_outbox (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            file_id TEXT NOT NULL UNIQUE,
            queued_at TEXT NOT NULL
        ) STRICT;
        CREATE TABLE catalog_search_rows (file_id TEXT PRIMARY KEY, position INTEGER NOT NULL UNIQUE)
            STRICT, WITHOUT ROWID;
        CREATE VIRTUAL TABLE catalog_search USING fts5(
            words, content='', contentless_delete=1, detail=none,
            prefix='3 4 5 6 7 8 9 10 11 12', tokenize="ascii tokenchars '#'"
        );
        """,
    ),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SLOTS_PER_MICROSECOND: Final = 1_024
_LAST_MICROSECOND: Final = 2**53 - 1
_LAST_POSITION: Final = 2**63 - 1
_LARGEST_INTEGER: Final = 2**63 - 1
_SPILL: Final = 1_000_000 * _SLOTS_PER_MICROSECOND
"""How far a position may lie behind its upload time: a second's worth of slots."""
_FEW: Final = 1_000
"""Up to so many candidates may be fetched and sorted instead of walked in order."""


class LocalCatalog(Catalog):
    """The catalog in the shared SQLite file; joins the unit of work that is open."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cursor_key = database.uuid.encode("utf-8")

    # -- records ---------------------------------------------------------------------------------------------

    def get(self, file_id: str) -> Record:
        with self._database.read() as view:
            found = view.value(
                "SELECT document FROM catalog_records JOIN catalog_documents USING (position) WHERE file_id = ?",
                (file_id,),
            )
        if found is None:
            raise NotFound(f"looking up file {file_id}", "there is no such file in the catalog")
        return decode_record(found)

    def put(self, record: Record) -> Record:
        stored = replace(record, revision=record.revision + 1)
        document = encode_record(stored)
        self._database.write(lambda transaction: self._put(transaction, stored, document))
        return stored

    def _put(self, transaction: Transaction, record: Record, document: str) -> None:
        doing = f"storing the record of {record.file_path}"
        row = transaction.row(
            "SELECT revision, file_path, position FROM catalog_records WHERE file_id = ?", (record.file_id,)
        )
        if row is not None and row[1] != record.file_path:
            raise Conflict(
                doing,
                f"its name has the same MD5 digest as {row[1]}, and only one of the two can be kept",
                hint="Choose another name",
            )
        _refuse_stale(doing, expected=record.revision - 1, stored=None if row is None else row[0])
        if row is None:
            before, position = None, _free_position(transaction, record.upload_time)
            transaction.run("DELETE FROM catalog_redirects WHERE file_id = ?", (record.file_id,))
        else:
            before = decode_record(_document(transaction, row[2]))
            unmoved = before.upload_time == record.upload_time
            position = row[2] if unmoved else _free_position(transaction, record.upload_time)
            if not unmoved:
                transaction.run("DELETE FROM catalog_documents WHERE position = ?", (row[2],))
        _write_row(transaction, record, position)
        transaction.run(
            "INSERT INTO catalog_documents VALUES (?, ?) ON CONFLICT DO UPDATE SET document = excluded.document",
            (position, document),
        )
        old_labels = set() if before is None or row is None else _label_rows(before, row[2])
        _change_labels(transaction, old_labels, _label_rows(record, position))
        if before is None or row is None or row[2] != position or _searched(before) != _searched(record):
            self._enqueue(transaction, (record.file_id,))

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        if moved_to == file_id:
            raise InvalidRequest(f"moving file {file_id}", "it can't be moved onto itself")
        self._database.write(lambda transaction: self._remove(transaction, file_id, revision, moved_to))

    def _remove(self, transaction: Transaction, file_id: str, revision: int, moved_to: str | None) -> None:
        row = transaction.row("SELECT revision, position FROM catalog_records WHERE file_id = ?", (file_id,))
        if row is None or row[0] != revision:
            _refuse_stale(f"removing file {file_id}", expected=revision, stored=None if row is None else row[0])
            raise Conflict(f"removing file {file_id}", "there is no such file in the catalog")
        before = decode_record(_document(transaction, row[1]))
        transaction.run("DELETE FROM catalog_records WHERE position = ?", (row[1],))
        transaction.run("DELETE FROM catalog_documents WHERE position = ?", (row[1],))
        transaction.run("DELETE FROM catalog_ledger WHERE file_id = ?", (file_id,))
        _change_labels(transaction, _label_rows(before, row[1]), set())
        self._enqueue(transaction, (file_id,))
        if moved_to is not None:
            transaction.run("UPDATE catalog_redirects SET moved_to = ? WHERE moved_to = ?", (moved_to, file_id))
            transaction.run("DELETE FROM catalog_redirects WHERE file_id = ?", (moved_to,))
            transaction.run("INSERT INTO catalog_redirects VALUES (?, ?)", (file_id, moved_to))

    def redirect(self, file_id: str) -> str | None:
        with self._database.read() as view:
            found = view.value("SELECT moved_to FROM catalog_redirects WHERE file_id = ?", (file_id,))
        return None if found is None else str(found)

    # -- the ledger ------------------------------------------------------------------------------------------

    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        with self._database.read() as view:
            found = view.value(
                "SELECT document FROM catalog_ledger WHERE file_id = ? AND version_id = ?", (file_id, version_id)
            )
        if found is None:
            raise NotFound(f"looking up version {version_id} of file {file_id}", "the ledger has no such version")
        return decode_entry(found)

    def put_entry(self, entry: LedgerEntry) -> LedgerEntry:
        stored = replace(entry, revision=entry.revision + 1)
        document = encode_entry(stored)
        self._database.write(lambda transaction: _put_entry(transaction, stored, document))
        return stored

    def entries(self, file_id: str) -> tuple[LedgerEntry, ...]:
        with self._database.read() as view:
            rows = view.rows(
                "SELECT document FROM catalog_ledger INDEXED BY catalog_ledger_by_file WHERE file_id = ?"
                " ORDER BY created_at DESC, version_id",
                (file_id,),
            )
        return tuple(decode_entry(document) for (document,) in rows)

    def find_processed(self, file_hash: str, recipe: str) -> LedgerEntry | None:
        with self._database.read() as view:
            found = view.value(
                "SELECT document FROM catalog_ledger INDEXED BY catalog_ledger_by_content"
                " WHERE file_hash = ? AND recipe = ? AND status = 'completed' ORDER BY sequence LIMIT 1",
                (file_hash, recipe),
            )
        return None if found is None else decode_entry(found)

    def entries_with(
        self,
        status: ProcessingStatus,
        *,
        other_than_recipe: Mapping[MediaKind, str] | None = None,
        cursor: str | None = None,
        limit: int = SEARCH_PAGE_SIZE,
    ) -> tuple[tuple[LedgerEntry, ...], str | None]:
        check_limit(limit, "listing ledger entries")
        recipes = None if other_than_recipe is None else sorted(other_than_recipe.items())
        scope = f"entries {status.value} {recipes!r}"
        after = 0 if cursor is None else int(read_cursor(cursor, scope, self._cursor_key))
        condition, parameters = _outdated(recipes)
        statement = (
            "SELECT sequence, document FROM catalog_ledger INDEXED BY catalog_ledger_by_status"  # noqa: S608 - literals
            f" WHERE status = ? AND sequence > ? AND {condition} ORDER BY sequence LIMIT ?"
        )
        with self._database.read() as view:
            rows = view.rows(statement, (status.value, after, *parameters, limit + 1))
        page = rows[:limit]
        following = write_cursor(str(page[-1][0]), scope, self._cursor_key) if len(rows) > limit else None
        return tuple(decode_entry(document) for _, document in page), following

    # -- search ----------------------------------------------------------------------------------------------

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        check_limit(limit, "searching the catalog")
        scope = repr(query)
        before = None if cursor is None else int(read_cursor(cursor, scope, self._cursor_key))
        text = text_query(query.text)
        if text is not None and text.empty:
            return RecordPage((), None)
        with self._database.read() as view:
            statement, parameters = _statement(view, query, text, before)
            rows = view.rows(statement, (*parameters, limit + 1))
        page = rows[:limit]
        following = write_cursor(str(page[-1][0]), scope, self._cursor_key) if len(rows) > limit else None
        return RecordPage(tuple(decode_record(document) for _, document in page), following)

    def index_pending(self, limit: int = INDEX_BATCH) -> int:
        """As ``HasSearchIndex.index_pending``."""
        with self._database.read() as view:
            if view.value("SELECT 1 FROM catalog_search_outbox LIMIT 1") is None:
                return 0
        return self._database.write(lambda transaction: _index_batch(transaction, limit))

    def index_lag_seconds(self) -> float:
        """As ``HasSearchIndex.index_lag_seconds``."""
        with self._database.read() as view:
            oldest = view.value("SELECT queued_at FROM catalog_search_outbox ORDER BY sequence LIMIT 1")
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - parse_timestamp(oldest)).total_seconds())

    def index_gaps(self) -> tuple[str, ...]:
        """As ``HasSearchIndex.index_gaps``."""
        # One statement sees one moment: what is at work is never taken for a gap.
        with self._database.read() as view:
            rows = view.rows(_INDEX_GAPS)
        return tuple(str(file_id) for (file_id,) in rows)

    def requeue(self, file_ids: Iterable[str]) -> None:
        """As ``HasSearchIndex.requeue``."""
        wanted = tuple(file_ids)
        self._database.write(lambda transaction: self._enqueue(transaction, wanted))

    def _enqueue(self, transaction: Transaction, file_ids: Iterable[str]) -> None:
        queued_at = timestamp(self._clock.now())
        transaction.run_many(
            "INSERT INTO catalog_search_outbox (file_id, queued_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(file_id, queued_at) for file_id in file_ids],
        )


# -- writing records -----------------------------------------------------------------------------------------


def _refuse_stale(doing: str, *, expected: int, stored: int | None) -> None:
    if stored == (expected or None):
        return
    if stored is None:
        raise Conflict(doing, "it was removed meanwhile")
    if expected == 0:
        raise Conflict(doing, "it exists already", hint="Read it, then change what you read")
    raise Conflict(
        doing,
        f"somebody else changed it meanwhile (revision {stored} is stored, {expected} was read)",
        hint="Read it again, then change what you read",
    )


def _document(view: Connection, position: int) -> str:
    return str(view.value("SELECT document FROM catalog_documents WHERE position = ?", (position,)))


def _write_row(transaction: Transaction, record: Record, position: int) -> None:
    transaction.run(
        "INSERT INTO catalog_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (file_id) DO UPDATE SET position = excluded.position, revision = excluded.revision,"
        " deleted = excluded.deleted, kind = excluded.kind, status = excluded.status,"
        " size_bytes = excluded.size_bytes, upload_time = excluded.upload_time, file_hash = excluded.file_hash",
        (
            position,
            record.file_id,
            record.file_path,
            record.revision,
            int(record.deleted_at is not None),
            record.kind.value,
            record.status.value,
            record.size_bytes,
            timestamp(record.upload_time),
            record.file_hash,
        ),
    )


def _first_position(moment: datetime) -> int:
    """The first position of a moment; moments outside 1970 to 2255 count as the nearest one inside."""
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return min(max(microseconds, 0), _LAST_MICROSECOND) * _SLOTS_PER_MICROSECOND


def _free_position(transaction: Transaction, upload_time: datetime) -> int:
    """A position for an upload of this moment that neither a record nor a row of the text index has.

    More than 1 024 uploads of one microsecond go on into the next ones: only a stopped clock does that.
    """
    first = _first_position(upload_time)
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


def _label_rows(record: Record, position: int) -> set[tuple[str, int, int]]:
    deleted = int(record.deleted_at is not None)
    return {(label, deleted, position) for label in _labels(record)}


def _labels(record: Record) -> list[str]:
    folders = (_label("folder", folder) for folder in folders_above(record.file_path))
    return [*folders, *(_label("tag", tag) for tag in dict.fromkeys(record.tags))]


def _label(sort: str, name: str) -> str:
    """A tag or folder as one token of bounded length; no word of a text ever looks like it."""
    return "#" + hashlib.blake2b(f"{sort} {name}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _change_labels(transaction: Transaction, old: set[tuple[str, int, int]], new: set[tuple[str, int, int]]) -> None:
    transaction.run_many(
        "DELETE FROM catalog_labels WHERE label = ? AND deleted = ? AND position = ?", sorted(old - new)
    )
    transaction.run_many("INSERT INTO catalog_labels VALUES (?, ?, ?)", sorted(new - old))


def _searched(record: Record) -> tuple[Any, ...]:
    """What the text index is made from; cheaper to compare than the words themselves."""
    return record.file_path, record.tags, record.title, record.description, record.processing_metadata.get("text")


# -- writing the ledger --------------------------------------------------------------------------------------


def _put_entry(transaction: Transaction, entry: LedgerEntry, document: str) -> None:
    doing = f"storing the ledger of {entry.file_id}, version {entry.version_id}"
    stored = transaction.value(
        "SELECT revision FROM catalog_ledger WHERE file_id = ? AND version_id = ?", (entry.file_id, entry.version_id)
    )
    _refuse_stale(doing, expected=entry.revision - 1, stored=stored)
    transaction.run(
        "INSERT INTO catalog_ledger"
        " (file_id, version_id, revision, created_at, status, kind, recipe, file_hash, document)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id, version_id) DO UPDATE SET"
        " revision = excluded.revision, created_at = excluded.created_at, status = excluded.status,"
        " kind = excluded.kind, recipe = excluded.recipe, file_hash = excluded.file_hash, document = excluded.document",
        (
            entry.file_id,
            entry.version_id,
            entry.revision,
            timestamp(entry.created_at),
            entry.status.value,
            entry.kind.value,
            entry.recipe,
            entry.file_hash,
            document,
        ),
    )


def _outdated(recipes: list[tuple[MediaKind, str]] | None) -> tuple[str, list[str]]:
    """The condition for entries that were left by an older recipe, and its parameters."""
    if recipes is None:
        return "TRUE", []
    alternatives = ["(kind = ? AND recipe <> ?)"] * len(recipes) or ["FALSE"]
    return f"({' OR '.join(alternatives)})", [value for kind, recipe in recipes for value in (kind.value, recipe)]


# -- searching -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Way:
    """One index from which the candidates of a query can be had."""

    source: str
    condition: str
    parameters: tuple[Any, ...]
    position: str = "r.position"


def _statement(
    view: Connection, query: SearchQuery, text: TextQuery | None, before: int | None
) -> tuple[str, list[Any]]:
    """The SELECT for one page and its parameters, but for the limit at its end."""
    way = _text_way(query, text) if text is not None else _best_way(view, query)
    conditions, parameters = [way.condition], list(way.parameters)
    for condition, values in _filters(query):
        conditions.append(condition)
        parameters += values
    for condition, bound in _position_bounds(query, before):
        conditions.append(f"{way.position} {condition}")
        parameters.append(bound)
    statement = (
        "SELECT d.position, d.document"  # noqa: S608 - every part is a literal of this module; values are parameters
        f" FROM (SELECT {way.position} AS position FROM {way.source} WHERE {' AND '.join(conditions)}"
        f" ORDER BY {way.position} DESC LIMIT ?) AS p CROSS JOIN catalog_documents AS d ON d.position = p.position"
    )
    return statement, parameters


def _text_way(query: SearchQuery, text: TextQuery) -> _Way:
    tokens = [f'"{token}"' for token in (*text.exact, *_query_labels(query))]
    if text.prefix is not None:
        tokens.append(f'"{text.prefix}" *')
    return _Way(
        "catalog_search AS s CROSS JOIN catalog_records AS r ON r.position = s.rowid",
        "s.catalog_search MATCH ?",
        (" ".join(tokens),),
        position="s.rowid",
    )


def _best_way(view: Connection, query: SearchQuery) -> _Way:
    """The narrowest index for a query without words.

    Counting to a thousand costs less than a wrong guess, which would walk the whole library past what it looks for.
    """
    ways = _ordered_ways(query)
    if not ways:
        ways.append(_Way("catalog_records AS r INDEXED BY catalog_by_upload", "r.deleted = ?", (int(query.deleted),)))
    size_way = _size_way(query)
    if len(ways) == 1 and size_way is None:
        return ways[0]
    counted = [(_count(view, way), number, way) for number, way in enumerate(ways)]
    if size_way is not None and _count(view, size_way) < min(_FEW, min(counted)[0]):
        return size_way
    return min(counted)[2]


def _ordered_ways(query: SearchQuery) -> list[_Way]:
    deleted = int(query.deleted)
    ways = [
        _Way(
            "catalog_labels AS l CROSS JOIN catalog_records AS r ON r.position = l.position",
            "l.label = ? AND l.deleted = ?",
            (label, deleted),
            position="l.position",
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


def _count(view: Connection, way: _Way) -> int:
    """How many candidates ``way`` has, up to a thousand."""
    return int(
        view.value(
            f"SELECT count(*) FROM (SELECT 1 FROM {way.source} WHERE {way.condition} LIMIT ?)",  # noqa: S608 - generated
            (*way.parameters, _FEW),
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
        yield ">= ?", _first_position(query.uploaded_from)
    upper = [] if before is None else [before]
    if query.uploaded_before is not None:
        upper.append(min(_first_position(query.uploaded_before) + _SPILL, _LAST_POSITION))
    if upper:
        yield "< ?", min(upper)


def _query_labels(query: SearchQuery) -> list[str]:
    labels = [] if query.tag is None else [_label("tag", query.tag)]
    return [*labels, _label("folder", query.folder)] if query.folder else labels


def _size_range(query: SearchQuery) -> tuple[int, int]:
    """Both ends, brought into what an SQLite integer can hold."""
    largest = _LARGEST_INTEGER if query.size_to_bytes is None else query.size_to_bytes
    return min(max(query.size_from_bytes or 0, 0), _LARGEST_INTEGER), min(max(largest, -1), _LARGEST_INTEGER)


# -- indexing ------------------------------------------------------------------------------------------------


_INDEX_GAPS: Final = """
    SELECT file_id FROM (
        SELECT r.file_id FROM catalog_records AS r LEFT JOIN catalog_search_rows AS i USING (file_id)
        WHERE i.position IS NOT r.position
        UNION
        SELECT i.file_id FROM catalog_search_rows AS i LEFT JOIN catalog_records AS r USING (file_id)
        WHERE r.file_id IS NULL OR NOT EXISTS (SELECT 1 FROM catalog_search AS s WHERE s.rowid = i.position)
    )
    WHERE file_id NOT IN (SELECT file_id FROM catalog_search_outbox) ORDER BY file_id
"""


def _index_batch(transaction: Transaction, limit: int) -> int:
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
    if indexed is not None:
        transaction.run("DELETE FROM catalog_search WHERE rowid = ?", (indexed,))
        transaction.run("DELETE FROM catalog_search_rows WHERE file_id = ?", (file_id,))
    row = transaction.row(
        "SELECT position, document FROM catalog_records JOIN catalog_documents USING (position) WHERE file_id = ?",
        (file_id,),
    )
    if row is None:
        return
    record = decode_record(row[1])
    tokens = " ".join((*searchable_words(record), *_labels(record)))
    transaction.run("INSERT INTO catalog_search (rowid, words) VALUES (?, ?)", (row[0], tokens))
    transaction.run("INSERT INTO catalog_search_rows VALUES (?, ?)", (file_id, row[0]))
