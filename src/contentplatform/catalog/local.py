"""The catalog of the local home: SQLite tables, and an FTS5 index that follows them from an outbox.

* What a search walks (positions, labels, the text index) is explained in index.py.
* ``put`` only notes in the outbox that the words of a record changed. FTS5 merges its segments now and then, and a
  commit that acknowledges an upload must not wait for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from contentplatform.catalog.codec import decode_entry, decode_record, encode_entry, encode_record
from contentplatform.catalog.counting import (
    COUNTING,
    alike,
    change_counts,
    count_matches,
    counter_gaps,
    folders_below,
    recount,
)
from contentplatform.catalog.facets import NOTHING
from contentplatform.catalog.history import HISTORY, change_between, changes_after, newest_change, note_change
from contentplatform.catalog.index import (
    INDEX_GAPS,
    Placed,
    change_labels,
    find,
    free_position,
    index_batch,
    page_statement,
)
from contentplatform.catalog.likeness import check_likeness, hash_of, nearest
from contentplatform.catalog.local_collections import COLLECTIONS, follow_removal
from contentplatform.catalog.port import (
    CHANGES_PAGE_SIZE,
    INDEX_BATCH,
    SEARCH_PAGE_SIZE,
    SIMILAR_DISTANCE,
    SIMILAR_LIMIT,
    Catalog,
    ChangeKind,
    ChangePage,
    Facets,
    FolderPage,
    LedgerEntry,
    Record,
    RecordPage,
    SearchQuery,
    Similar,
)
from contentplatform.catalog.revisions import refuse_collision, refuse_stale
from contentplatform.catalog.search import check_limit, read_cursor, text_query, write_cursor
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Database, Schema, Transaction
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
        COUNTING + HISTORY + COLLECTIONS,
    ),
)


class LocalCatalog(Catalog):
    """The catalog in the shared SQLite file; joins the unit of work that is open."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cursor_key = database.uuid.encode("utf-8")

    # -- records ---------------------------------------------------------------------------------------------

    def get(self, file_id: str) -> Record:
        with self._database.read() as view:
            known = find(view, file_id)
        if known is None:
            raise NotFound(f"looking up file {file_id}", "there is no such file in the catalog")
        return known.record

    def put(self, record: Record) -> Record:
        stored = replace(record, revision=record.revision + 1)
        document = encode_record(stored)
        self._database.write(lambda transaction: self._put(transaction, stored, document))
        return stored

    def _put(self, transaction: Transaction, record: Record, document: str) -> None:
        doing = f"storing the record of {record.file_path}"
        known = find(transaction, record.file_id)
        if known is not None:
            refuse_collision(doing, file_path=record.file_path, stored_path=known.record.file_path)
        refuse_stale(doing, expected=record.revision - 1, stored=None if known is None else known.record.revision)
        if known is not None and known.record.upload_time == record.upload_time:
            placed = Placed(known.position, record)
        else:
            placed = Placed(free_position(transaction, record.upload_time), record)
        _write_rows(transaction, placed, document)
        change_labels(transaction, known, placed)
        change_counts(transaction, known, placed)
        what = change_between(None if known is None else known.record, record)
        note_change(transaction, self._clock.now(), record, what)
        if known is None:
            transaction.run("DELETE FROM catalog_redirects WHERE file_id = ?", (record.file_id,))
        elif known.position != placed.position:
            transaction.run("DELETE FROM catalog_documents WHERE position = ?", (known.position,))
        if known is None or known.searched != placed.searched:
            self._enqueue(transaction, (record.file_id,))

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        if moved_to == file_id:
            raise InvalidRequest(f"moving file {file_id}", "it can't be moved onto itself")
        self._database.write(lambda transaction: self._remove(transaction, file_id, revision, moved_to))

    def _remove(self, transaction: Transaction, file_id: str, revision: int, moved_to: str | None) -> None:
        doing = f"removing file {file_id}"
        known = find(transaction, file_id)
        if known is None:
            raise Conflict(doing, "there is no such file in the catalog")
        refuse_stale(doing, expected=revision, stored=known.record.revision)
        transaction.run("DELETE FROM catalog_records WHERE position = ?", (known.position,))
        transaction.run("DELETE FROM catalog_documents WHERE position = ?", (known.position,))
        transaction.run("DELETE FROM catalog_ledger WHERE file_id = ?", (file_id,))
        change_labels(transaction, known, None)
        change_counts(transaction, known, None)
        follow_removal(transaction, file_id, moved_to)
        what = ChangeKind.REMOVED if moved_to is None else ChangeKind.MOVED
        note_change(transaction, self._clock.now(), known.record, what, moved_to)
        self._enqueue(transaction, (file_id,))
        if moved_to is not None:
            _redirect(transaction, file_id, moved_to)

    def redirect(self, file_id: str) -> str | None:
        with self._database.read() as view:
            found = view.value("SELECT moved_to FROM catalog_redirects WHERE file_id = ?", (file_id,))
        return None if found is None else str(found)

    def put_redirect(self, file_id: str, moved_to: str) -> None:
        def work(transaction: Transaction) -> None:
            if file_id != moved_to and find(transaction, file_id) is None:
                transaction.run("DELETE FROM catalog_redirects WHERE file_id = ?", (file_id,))
                _redirect(transaction, file_id, moved_to)

        self._database.write(work)

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
            rows = view.rows(*page_statement(view, query, text, before, limit + 1))
        page = rows[:limit]
        following = write_cursor(str(page[-1][0]), scope, self._cursor_key) if len(rows) > limit else None
        return RecordPage(tuple(decode_record(document) for _, document in page), following)

    def facets(self, query: SearchQuery) -> Facets:
        text = text_query(query.text)
        if text is not None and text.empty:
            return NOTHING
        with self._database.snapshot() as view:
            return count_matches(view, replace(query, folder=query.folder or None), text)

    def counter_gaps(self) -> tuple[str, ...]:
        """As ``ChecksCounters.counter_gaps``."""
        with self._database.read() as view:
            return counter_gaps(view)

    def recount(self) -> None:
        """As ``ChecksCounters.recount``."""
        self._database.write(recount)

    def folders(self, parent: str = "", *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> FolderPage:
        check_limit(limit, "listing folders")
        scope = f"folders {parent}"
        after = "" if cursor is None else read_cursor(cursor, scope, self._cursor_key)
        with self._database.read() as view:
            found = folders_below(view, parent, after, limit + 1)
        following = write_cursor(found[limit - 1].path, scope, self._cursor_key) if len(found) > limit else None
        return FolderPage(tuple(found[:limit]), following)

    def similar(
        self, file_id: str, *, limit: int = SIMILAR_LIMIT, max_distance: int = SIMILAR_DISTANCE
    ) -> tuple[Similar, ...]:
        check_likeness(limit, max_distance, f"looking for files like {file_id}")
        own = hash_of(replace(self.get(file_id), deleted_at=None))
        if own is None:
            return ()
        with self._database.snapshot() as view:
            near = alike(view, own, max_distance, limit + 1)
        found = [Similar(decode_record(document), far) for far, document in near]
        return nearest((each for each in found if each.record.file_id != file_id), limit)

    # -- what happened ---------------------------------------------------------------------------------------

    def changes(self, after: int, limit: int = CHANGES_PAGE_SIZE) -> ChangePage:
        """As ``HasChanges.changes``."""
        check_limit(limit, "following what happens")
        with self._database.snapshot() as view:
            return changes_after(view, after, limit)

    def newest_change(self) -> int:
        """As ``HasChanges.newest_change``."""
        with self._database.read() as view:
            return newest_change(view)

    # -- the text index --------------------------------------------------------------------------------------

    def index_pending(self, limit: int = INDEX_BATCH) -> int:
        """As ``HasSearchIndex.index_pending``."""
        with self._database.read() as view:
            if view.value("SELECT 1 FROM catalog_search_outbox LIMIT 1") is None:
                return 0
        return self._database.write(lambda transaction: index_batch(transaction, limit))

    def index_lag_seconds(self) -> float:
        """As ``HasSearchIndex.index_lag_seconds``."""
        with self._database.read() as view:
            oldest = view.value("SELECT queued_at FROM catalog_search_outbox ORDER BY sequence LIMIT 1")
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - parse_timestamp(oldest)).total_seconds())

    def index_gaps(self) -> tuple[str, ...]:
        """As ``HasSearchIndex.index_gaps``."""
        # One statement sees one moment: what is at work is never taken for a gap.
        with self._database.read() as view:
            rows = view.rows(INDEX_GAPS)
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


def _redirect(transaction: Transaction, file_id: str, moved_to: str) -> None:
    transaction.run("UPDATE catalog_redirects SET moved_to = ? WHERE moved_to = ?", (moved_to, file_id))
    transaction.run("DELETE FROM catalog_redirects WHERE file_id = ?", (moved_to,))
    transaction.run("INSERT INTO catalog_redirects VALUES (?, ?)", (file_id, moved_to))


def _write_rows(transaction: Transaction, placed: Placed, document: str) -> None:
    record = placed.record
    transaction.run(
        "INSERT INTO catalog_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (file_id) DO UPDATE SET position = excluded.position, revision = excluded.revision,"
        " deleted = excluded.deleted, kind = excluded.kind, status = excluded.status,"
        " size_bytes = excluded.size_bytes, upload_time = excluded.upload_time, file_hash = excluded.file_hash",
        (
            placed.position,
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
    transaction.run(
        "INSERT INTO catalog_documents VALUES (?, ?) ON CONFLICT DO UPDATE SET document = excluded.document",
        (placed.position, document),
    )


# -- writing the ledger --------------------------------------------------------------------------------------


def _put_entry(transaction: Transaction, entry: LedgerEntry, document: str) -> None:
    doing = f"storing the ledger of {entry.file_id}, version {entry.version_id}"
    stored = transaction.value(
        "SELECT revision FROM catalog_ledger WHERE file_id = ? AND version_id = ?", (entry.file_id, entry.version_id)
    )
    refuse_stale(doing, expected=entry.revision - 1, stored=stored)
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
