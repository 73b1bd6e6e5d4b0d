"""Collections of the local home: rows in the database of the catalog, which lets them follow what happens to files.

After every change the whole collection is handed, in the same unit of work, to whoever keeps it outside of the
database: nothing else in the store could tell what people put together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from contentplatform.catalog.codec import decode_record
from contentplatform.catalog.collections import appended, arranged, check_words, name_order, not_there
from contentplatform.catalog.port import (
    SEARCH_PAGE_SIZE,
    Collection,
    CollectionPage,
    Collections,
    RecordPage,
)
from contentplatform.catalog.revisions import refuse_stale
from contentplatform.catalog.search import check_limit, read_cursor, write_cursor
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Database, Transaction
from contentplatform.errors import InvalidRequest, NotFound

COLLECTIONS: Final = """
    CREATE TABLE catalog_collections (
        collection_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        name_order TEXT NOT NULL,
        description TEXT NOT NULL,
        cover TEXT,
        owner TEXT NOT NULL,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL,
        files INTEGER NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX catalog_collections_by_name ON catalog_collections (name_order, collection_id);

    CREATE TABLE catalog_collection_files (
        collection_id TEXT NOT NULL,
        place INTEGER NOT NULL,
        file_id TEXT NOT NULL,
        PRIMARY KEY (collection_id, place)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX catalog_collection_files_by_file ON catalog_collection_files (file_id, collection_id);
"""
_COLUMNS: Final = "collection_id, name, description, cover, owner, created_at, changed_at, files, revision"

Keep = Callable[[Collection, Sequence[str]], None]
"""Keeps a collection and its file_ids."""
Drop = Callable[[str], None]
"""Drops what was kept of a collection."""


class LocalCollections(Collections):
    """Collections in the shared SQLite file; joins the unit of work that is open.

    Args:
        keep: keeps a collection outside of the database, within the unit of work that changes it.
        drop: the opposite.
    """

    def __init__(self, database: Database, clock: Clock, ids: IdSource, *, keep: Keep, drop: Drop) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._keep = keep
        self._drop = drop
        self._cursor_key = database.uuid.encode("utf-8")

    def create(self, name: str, *, description: str = "", owner: str = "") -> Collection:
        check_words(f"making collection {name}", name, description)
        now = self._clock.now()
        made = Collection(self._ids.new_id(), name, description, None, owner, now, now, 0)
        return self._database.write(lambda transaction: self._store(transaction, made, (), ()))

    def get(self, collection_id: str) -> Collection:
        with self._database.read() as view:
            return _find(view, collection_id, f"looking up collection {collection_id}")

    def list(self, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> CollectionPage:
        check_limit(limit, "listing collections")
        after = "\n" if cursor is None else read_cursor(cursor, "collections", self._cursor_key)
        name, _, collection_id = after.partition("\n")
        with self._database.read() as view:
            rows = view.rows(
                f"SELECT {_COLUMNS} FROM catalog_collections"  # noqa: S608 - a literal
                " WHERE (name_order, collection_id) > (?, ?) ORDER BY name_order, collection_id LIMIT ?",
                (name, collection_id, limit + 1),
            )
        page = tuple(_collection(row) for row in rows[:limit])
        following = None
        if len(rows) > limit:
            place = f"{name_order(page[-1].name)}\n{page[-1].collection_id}"
            following = write_cursor(place, "collections", self._cursor_key)
        return CollectionPage(page, following)

    def change(
        self,
        collection_id: str,
        revision: int,
        *,
        name: str | None = None,
        description: str | None = None,
        cover: str | None = None,
    ) -> Collection:
        doing = f"changing collection {collection_id}"
        check_words(doing, name, description)

        def work(transaction: Transaction) -> Collection:
            known = _find(transaction, collection_id, doing)
            refuse_stale(doing, expected=revision, stored=known.revision)
            files = _file_ids(transaction, collection_id)
            chosen = _present_name(transaction, cover) if cover else None
            if chosen is not None and chosen not in files:
                raise InvalidRequest(doing, "the cover is none of its files")
            changed = replace(
                known,
                name=known.name if name is None else name,
                description=known.description if description is None else description,
                cover=known.cover if cover is None else chosen,
            )
            return self._store(transaction, changed, files, files)

        return self._database.write(work)

    def delete(self, collection_id: str, revision: int) -> None:
        doing = f"deleting collection {collection_id}"

        def work(transaction: Transaction) -> None:
            refuse_stale(doing, expected=revision, stored=_find(transaction, collection_id, doing).revision)
            transaction.run("DELETE FROM catalog_collections WHERE collection_id = ?", (collection_id,))
            transaction.run("DELETE FROM catalog_collection_files WHERE collection_id = ?", (collection_id,))
            self._drop(collection_id)

        self._database.write(work)

    # -- files -----------------------------------------------------------------------------------------------

    def add(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        doing = f"adding files to collection {collection_id}"

        def added(transaction: Transaction, there: Sequence[str]) -> Sequence[str]:
            names = [_present_name(transaction, file_id) for file_id in file_ids]
            for name in names:
                if transaction.value("SELECT 1 FROM catalog_records WHERE file_id = ?", (name,)) is None:
                    raise NotFound(doing, f"there is no file {name}")
            return appended(there, names, doing)

        return self._change_files(collection_id, revision, doing, added)

    def take(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        def left(transaction: Transaction, there: Sequence[str]) -> Sequence[str]:
            gone = {_present_name(transaction, file_id) for file_id in file_ids}
            return [file_id for file_id in there if file_id not in gone]

        return self._change_files(collection_id, revision, f"taking files out of collection {collection_id}", left)

    def arrange(
        self, collection_id: str, file_ids: Sequence[str], revision: int, *, before: str | None = None
    ) -> Collection:
        doing = f"arranging collection {collection_id}"

        def moved(transaction: Transaction, there: Sequence[str]) -> Sequence[str]:
            moving = [_present_name(transaction, file_id) for file_id in file_ids]
            return arranged(there, moving, None if before is None else _present_name(transaction, before), doing)

        return self._change_files(collection_id, revision, doing, moved)

    def _change_files(
        self,
        collection_id: str,
        revision: int | None,
        doing: str,
        changed: Callable[[Transaction, Sequence[str]], Sequence[str]],
    ) -> Collection:
        def work(transaction: Transaction) -> Collection:
            known = _find(transaction, collection_id, doing)
            if revision is not None:
                refuse_stale(doing, expected=revision, stored=known.revision)
            there = _file_ids(transaction, collection_id)
            files = changed(transaction, there)
            cover = known.cover if known.cover in files else None
            return self._store(transaction, replace(known, cover=cover), files, there)

        return self._database.write(work)

    def _store(
        self, transaction: Transaction, collection: Collection, files: Sequence[str], there: Sequence[str]
    ) -> Collection:
        stored = replace(collection, revision=collection.revision + 1, changed_at=self._clock.now(), files=len(files))
        _write(transaction, stored)
        _write_files(transaction, stored.collection_id, files, there)
        self._keep(stored, files)
        return stored

    def files(self, collection_id: str, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        doing = "listing the files of a collection"
        check_limit(limit, doing)
        scope = f"collection {collection_id}"
        after = -1 if cursor is None else int(read_cursor(cursor, scope, self._cursor_key))
        with self._database.snapshot() as view:
            _find(view, collection_id, doing)
            rows = view.rows(
                "SELECT c.place, d.document FROM catalog_collection_files AS c"
                " CROSS JOIN catalog_records AS r ON r.file_id = c.file_id AND r.deleted = 0"
                " CROSS JOIN catalog_documents AS d ON d.position = r.position"
                " WHERE c.collection_id = ? AND c.place > ? ORDER BY c.place LIMIT ?",
                (collection_id, after, limit + 1),
            )
        page = rows[:limit]
        following = write_cursor(str(page[-1][0]), scope, self._cursor_key) if len(rows) > limit else None
        return RecordPage(tuple(decode_record(document) for _, document in page), following)

    def file_ids(self, collection_id: str) -> tuple[str, ...]:
        with self._database.snapshot() as view:
            _find(view, collection_id, f"listing the files of collection {collection_id}")
            return _file_ids(view, collection_id)

    def holding(self, file_id: str) -> tuple[Collection, ...]:
        with self._database.snapshot() as view:
            rows = view.rows(
                f"SELECT {_COLUMNS} FROM catalog_collections WHERE collection_id IN"  # noqa: S608 - a literal
                " (SELECT collection_id FROM catalog_collection_files WHERE file_id = ?)"
                " ORDER BY name_order, collection_id",
                (_present_name(view, file_id),),
            )
        return tuple(map(_collection, rows))

    def put_back(self, collection: Collection, file_ids: Sequence[str]) -> None:
        def work(transaction: Transaction) -> None:
            there = transaction.value(
                "SELECT 1 FROM catalog_collections WHERE collection_id = ?", (collection.collection_id,)
            )
            if there is None:
                files = list(dict.fromkeys(_present_name(transaction, file_id) for file_id in file_ids))
                cover = _present_name(transaction, collection.cover) if collection.cover else None
                _write(transaction, replace(collection, files=len(files), cover=cover if cover in files else None))
                _write_files(transaction, collection.collection_id, files, ())

        self._database.write(work)


def follow_removal(transaction: Transaction, file_id: str, moved_to: str | None) -> None:
    """Let all collections follow a file that is moved away, or leave out one that is gone."""
    rows = transaction.rows("SELECT collection_id FROM catalog_collection_files WHERE file_id = ?", (file_id,))
    for (collection_id,) in rows:
        there = (collection_id, moved_to)
        doubled = transaction.value(
            "SELECT 1 FROM catalog_collection_files WHERE collection_id = ? AND file_id = ?", there
        )
        if moved_to is None or doubled:
            transaction.run(
                "DELETE FROM catalog_collection_files WHERE collection_id = ? AND file_id = ?", (collection_id, file_id)
            )
            transaction.run(
                "UPDATE catalog_collections SET files = files - 1 WHERE collection_id = ?", (collection_id,)
            )
        else:
            transaction.run(
                "UPDATE catalog_collection_files SET file_id = ?2 WHERE collection_id = ?1 AND file_id = ?3",
                (*there, file_id),
            )
        transaction.run(
            "UPDATE catalog_collections SET revision = revision + 1, cover = iif(cover = ?3, ?2, cover)"
            " WHERE collection_id = ?1",
            (*there, file_id),
        )


# -- rows ----------------------------------------------------------------------------------------------------


def _find(view: Connection, collection_id: str, doing: str) -> Collection:
    row = view.row(
        f"SELECT {_COLUMNS} FROM catalog_collections WHERE collection_id = ?",  # noqa: S608 - a literal
        (collection_id,),
    )
    if row is None:
        raise not_there(doing)
    return _collection(row)


def _collection(row: Sequence[Any]) -> Collection:
    identifier, name, description, cover, owner, created_at, changed_at, files, revision = row
    created, changed = parse_timestamp(created_at), parse_timestamp(changed_at)
    return Collection(identifier, name, description, cover, owner, created, changed, files, revision)


def _file_ids(view: Connection, collection_id: str) -> tuple[str, ...]:
    rows = view.rows(
        "SELECT file_id FROM catalog_collection_files WHERE collection_id = ? ORDER BY place", (collection_id,)
    )
    return tuple(file_id for (file_id,) in rows)


def _present_name(view: Connection, file_id: str) -> str:
    """What a file is called now, by one of its file_ids."""
    return view.value("SELECT moved_to FROM catalog_redirects WHERE file_id = ?", (file_id,)) or file_id


def _write(transaction: Transaction, collection: Collection) -> None:
    transaction.run(
        "INSERT INTO catalog_collections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " name = excluded.name, name_order = excluded.name_order, description = excluded.description,"
        " cover = excluded.cover, changed_at = excluded.changed_at, files = excluded.files,"
        " revision = excluded.revision",
        (
            collection.collection_id,
            collection.name,
            name_order(collection.name),
            collection.description,
            collection.cover,
            collection.owner,
            timestamp(collection.created_at),
            timestamp(collection.changed_at),
            collection.files,
            collection.revision,
        ),
    )


def _write_files(transaction: Transaction, collection_id: str, files: Sequence[str], there: Sequence[str]) -> None:
    """Bring a collection's rows from the files that are there to ``files``."""
    wanted = set(files)
    left = [file_id for file_id in there if file_id in wanted]
    if list(files[: len(left)]) == left:
        # What stays keeps its places, so that whoever turns the pages isn't led astray.
        transaction.run_many(
            "DELETE FROM catalog_collection_files WHERE collection_id = ? AND file_id = ?",
            [(collection_id, file_id) for file_id in there if file_id not in wanted],
        )
        last = transaction.value(
            "SELECT ifnull(max(place), -1) FROM catalog_collection_files WHERE collection_id = ?", (collection_id,)
        )
        more, first = files[len(left) :], int(last) + 1
    else:
        transaction.run("DELETE FROM catalog_collection_files WHERE collection_id = ?", (collection_id,))
        more, first = files, 0
    transaction.run_many(
        "INSERT INTO catalog_collection_files VALUES (?, ?, ?)",
        [(collection_id, place, file_id) for place, file_id in enumerate(more, first)],
    )
