"""Collections of the aws home: items of table ``content-ledger`` beside those of versions and executions.

======================  =========================  ==================================================================
partition key           sort key                   holds
======================  =========================  ==================================================================
``collection#<id>``     ``head``                   what it is called, and so on, and its revision
same                    ``files``                  its file_ids, in their order
``collections``         its folded name, its id    nothing: the list of all collections, by name
``<file_id>``           ``c <id>``                 nothing: in which collections to look for a file
======================  =========================  ==================================================================

Head and files change together, in one transaction on condition of the revision. A row of a file is written before the
file is in the collection, and stays when it is taken out: it says where to look, and nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from contentplatform.catalog.collections import appended, arranged, check_words, name_order, not_there
from contentplatform.catalog.dynamodb import READ_BATCH, Expression, Tables, action
from contentplatform.catalog.items import Item, is_key, is_record, item_to_record
from contentplatform.catalog.port import (
    SEARCH_PAGE_SIZE,
    Collection,
    CollectionPage,
    Collections,
    Record,
    RecordPage,
)
from contentplatform.catalog.revisions import refuse_stale
from contentplatform.catalog.search import check_limit, read_cursor, write_cursor
from contentplatform.catalog.tables import LEDGER, METADATA
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.boto import Aws
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.together import repeated

_LIST: Final = "collections"
_ORDER_LIMIT_BYTES: Final = 900
_REDIRECTIONS: Final = 20


@dataclass(frozen=True, slots=True)
class _Stored:
    """A collection with its files."""

    collection: Collection
    files: tuple[str, ...]


class DynamoCollections(Collections):
    """Collections in DynamoDB.

    Args:
        aws: whose tables, and where.
        clock: tells when a collection was changed.
        ids: names new ones.
        cursor_key: makes cursors this platform's own.
    """

    def __init__(self, aws: Aws, clock: Clock, ids: IdSource, *, cursor_key: str) -> None:
        self._tables = Tables(aws, clock)
        self._clock = clock
        self._ids = ids
        self._cursor_key = cursor_key.encode("utf-8")

    def create(self, name: str, *, description: str = "", owner: str = "") -> Collection:
        doing = f"making collection {name}"
        check_words(doing, name, description)
        now = self._clock.now()
        made = Collection(self._ids.new_id(), name, description, None, owner, now, now, 0)
        return self._store(None, _Stored(made, ()), doing)

    def get(self, collection_id: str) -> Collection:
        doing = f"looking up collection {collection_id}"
        item = None
        if is_key(collection_id, _ORDER_LIMIT_BYTES):
            item = self._tables.get(LEDGER, _key(collection_id, "head"), doing)
        if item is None:
            raise not_there(doing)
        return _collection(item)

    def list(self, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> CollectionPage:
        doing = "listing collections"
        check_limit(limit, doing)
        after = None if cursor is None else read_cursor(cursor, _LIST, self._cursor_key)
        found: list[Collection] = []
        everything = Expression("#file_id = :list", {"list": {"S": _LIST}})
        last = None if after is None else {"file_id": {"S": _LIST}, "version": {"S": after}}
        while len(found) <= limit:
            rows = self._tables.query(LEDGER, None, everything, doing, limit=limit + 1 - len(found), after=last)
            found += self._heads([_id_in(item["version"]["S"]) for item in rows.items], doing)
            last = rows.last_key
            if last is None:
                break
        following = None
        if len(found) > limit:
            following = write_cursor(_order(found[limit - 1]), _LIST, self._cursor_key)
        return CollectionPage(tuple(found[:limit]), following)

    def _heads(self, collection_ids: Sequence[str], doing: str) -> Iterable[Collection]:
        items = self._tables.get_many(LEDGER, [_key(each, "head") for each in collection_ids], doing)
        return sorted(map(_collection, items), key=_order)

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
        known = self._read(collection_id, revision, doing)
        chosen = self._present(cover, doing) if cover else None
        if chosen is not None and chosen not in known.files:
            raise InvalidRequest(doing, "the cover is none of its files")
        there = known.collection
        changed = replace(
            there,
            name=there.name if name is None else name,
            description=there.description if description is None else description,
            cover=there.cover if cover is None else chosen,
        )
        return self._store(known, replace(known, collection=changed), doing)

    def delete(self, collection_id: str, revision: int) -> None:
        doing = f"deleting collection {collection_id}"
        known = self._read(collection_id, revision, doing)
        deletions = [
            action("Delete", LEDGER, _key(collection_id, "head"), _is_at(revision)),
            action("Delete", LEDGER, _key(collection_id, "files"), Expression()),
            action("Delete", LEDGER, _listed(known.collection), Expression()),
        ]
        if self._tables.transact(deletions, doing):
            raise Conflict(doing, "somebody else changed it meanwhile", hint="Read it again")
        self._tables.write_many(LEDGER, (), [_of_file(each, collection_id) for each in known.files], doing)

    # -- files -----------------------------------------------------------------------------------------------

    def add(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        doing = f"adding files to collection {collection_id}"
        names = self._known(file_ids, doing)

        def added(there: Sequence[str]) -> Sequence[str]:
            files = appended(there, names, doing)
            rows = [_of_file(each, collection_id) for each in dict.fromkeys(names)]
            self._tables.write_many(LEDGER, rows, (), doing)
            return files

        return self._change_files(collection_id, revision, doing, added)

    def take(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        doing = f"taking files out of collection {collection_id}"
        gone = set(self._present_names(file_ids, doing))
        return self._change_files(
            collection_id, revision, doing, lambda there: [each for each in there if each not in gone]
        )

    def arrange(
        self, collection_id: str, file_ids: Sequence[str], revision: int, *, before: str | None = None
    ) -> Collection:
        doing = f"arranging collection {collection_id}"
        moving = self._present_names(file_ids, doing)
        following = None if before is None else self._present(before, doing)
        return self._change_files(
            collection_id, revision, doing, lambda there: arranged(there, moving, following, doing)
        )

    def _change_files(
        self,
        collection_id: str,
        revision: int | None,
        doing: str,
        changed: Callable[[Sequence[str]], Sequence[str]],
    ) -> Collection:
        def work() -> Collection:
            known = self._read(collection_id, revision, doing)
            files = tuple(changed(known.files))
            cover = known.collection.cover if known.collection.cover in files else None
            return self._store(known, _Stored(replace(known.collection, cover=cover), files), doing)

        return work() if revision is not None else repeated(work, doing)

    def files(self, collection_id: str, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        doing = "listing the files of a collection"
        check_limit(limit, doing)
        scope = f"collection {collection_id}"
        files = self._read(collection_id, None, doing).files
        start = 0
        if cursor is not None:
            place, _, last = read_cursor(cursor, scope, self._cursor_key).partition(" ")
            last = self._present(last, doing)
            start = files.index(last) + 1 if last in files else int(place)
        found: list[tuple[int, Record]] = []
        while start < len(files) and len(found) <= limit:
            batch = files[start : start + READ_BATCH]
            records = {record.file_id: record for record in self._records(batch, doing)}
            found += [
                (start + number, records[file_id])
                for number, file_id in enumerate(batch)
                if file_id in records and records[file_id].deleted_at is None
            ]
            start += len(batch)
        following = None
        if len(found) > limit:
            place_, record = found[limit - 1]
            following = write_cursor(f"{place_} {record.file_id}", scope, self._cursor_key)
        return RecordPage(tuple(record for _, record in found[:limit]), following)

    def file_ids(self, collection_id: str) -> tuple[str, ...]:
        return self._read(collection_id, None, f"listing the files of collection {collection_id}").files

    def holding(self, file_id: str) -> tuple[Collection, ...]:
        doing = f"looking for the collections of file {file_id}"
        if not is_key(file_id, _ORDER_LIMIT_BYTES):
            return ()
        name = self._present(file_id, doing)
        found = [_find(self._tables, each, doing) for each in _pointed(self._tables, name, doing)]
        holding = [each.collection for each in found if each is not None and name in each.files]
        return tuple(sorted(holding, key=_order))

    def put_back(self, collection: Collection, file_ids: Sequence[str]) -> None:
        doing = f"putting collection {collection.collection_id} back"
        files = tuple(dict.fromkeys(self._present_names(file_ids, doing)))
        if _find(self._tables, collection.collection_id, doing) is None:
            rows = [_of_file(each, collection.collection_id) for each in files]
            self._tables.write_many(LEDGER, rows, (), doing)
            writes = _writes(None, _Stored(replace(collection, files=len(files)), files))
            self._tables.transact(writes, doing)

    # -- parts -----------------------------------------------------------------------------------------------

    def _read(self, collection_id: str, revision: int | None, doing: str) -> _Stored:
        known = _find(self._tables, collection_id, doing)
        if known is None:
            raise not_there(doing)
        if revision is not None:
            refuse_stale(doing, expected=revision, stored=known.collection.revision)
        return known

    def _store(self, known: _Stored | None, changed: _Stored, doing: str) -> Collection:
        stored = replace(
            changed.collection,
            revision=changed.collection.revision + 1,
            changed_at=self._clock.now(),
            files=len(changed.files),
        )
        if self._tables.transact(_writes(known, _Stored(stored, changed.files)), doing):
            raise Conflict(doing, "somebody else changed it meanwhile", hint="Read it again")
        return stored

    def _present(self, file_id: str, doing: str) -> str:
        """What a file is called now."""
        return self._present_names([file_id], doing)[0]

    def _present_names(self, file_ids: Sequence[str], doing: str) -> tuple[str, ...]:
        """What files are called now, in their order."""
        names = {file_id: file_id for file_id in file_ids}
        asked = set(names)
        for _ in range(_REDIRECTIONS):
            keys: list[Item] = [{"file_id": {"S": each}} for each in asked if is_key(each, _ORDER_LIMIT_BYTES)]
            items = self._tables.get_many(METADATA, keys, doing)
            led = {item["file_id"]["S"]: item["moved_to"]["S"] for item in items if _is_redirect(item)}
            if not led:
                break
            names = {file_id: led.get(name, name) for file_id, name in names.items()}
            asked = set(led.values())
        return tuple(names[file_id] for file_id in file_ids)

    def _known(self, file_ids: Sequence[str], doing: str) -> tuple[str, ...]:
        """What files are called now. Raises NotFound for one that there is not."""
        names = self._present_names(file_ids, doing)
        there = {record.file_id for record in self._records(names, doing)}
        for file_id, name in zip(file_ids, names, strict=True):
            if name not in there:
                raise NotFound(doing, f"there is no file {file_id}")
        return names

    def _records(self, file_ids: Sequence[str], doing: str) -> tuple[Record, ...]:
        keys: list[Item] = [{"file_id": {"S": each}} for each in file_ids if is_key(each, _ORDER_LIMIT_BYTES)]
        return tuple(item_to_record(item) for item in self._tables.get_many(METADATA, keys, doing) if is_record(item))


def follow_removal(tables: Tables, file_id: str, moved_to: str | None, doing: str) -> None:
    """Let all collections follow a file that was moved away, or leave out one that is gone. Idempotent."""
    for collection_id in _pointed(tables, file_id, doing):

        def follow(collection_id: str = collection_id) -> None:
            known = _find(tables, collection_id, doing)
            if known is None or file_id not in known.files:
                return
            there = known.collection
            renamed = [moved_to if each == file_id else each for each in known.files]
            files = tuple(dict.fromkeys(each for each in renamed if each is not None))
            if moved_to is not None:
                tables.write_many(LEDGER, [_of_file(moved_to, collection_id)], (), doing)
            cover = moved_to if there.cover == file_id else there.cover
            changed = replace(there, revision=there.revision + 1, cover=cover, files=len(files))
            if tables.transact(_writes(known, _Stored(changed, files)), doing):
                raise Conflict(doing, "a collection was changed meanwhile")

        repeated(follow, doing)
        tables.write_many(LEDGER, (), [_of_file(file_id, collection_id)], doing)


# -- items ---------------------------------------------------------------------------------------------------


def _key(collection_id: str, what: str) -> Item:
    return {"file_id": {"S": f"collection#{collection_id}"}, "version": {"S": what}}


def _listed(collection: Collection) -> Item:
    return {"file_id": {"S": _LIST}, "version": {"S": _order(collection)}}


def _of_file(file_id: str, collection_id: str) -> Item:
    return {"file_id": {"S": file_id}, "version": {"S": f"{_POINTER}{collection_id}"}}


_POINTER: Final = "c "


def _order(collection: Collection) -> str:
    """Where a collection stands in the list: its folded name, as far as a key goes, and its id."""
    name = name_order(collection.name).encode("utf-8")[:_ORDER_LIMIT_BYTES].decode("utf-8", "ignore")
    return f"{name} {collection.collection_id}"


def _id_in(order: str) -> str:
    return order.rpartition(" ")[2]


def _is_redirect(item: Item) -> bool:
    return not is_record(item) and "moved_to" in item


def _is_at(revision: int) -> Expression:
    return Expression("#revision = :read", {"read": {"N": str(revision)}})


def _writes(known: _Stored | None, stored: _Stored) -> list[dict[str, Any]]:
    """The parts of the transaction that brings a collection from what is known to what is to be stored."""
    identifier = stored.collection.collection_id
    condition = Expression("attribute_not_exists(#revision)")
    if known is not None:
        condition = _is_at(known.collection.revision)
    head = {**_key(identifier, "head"), **_item(stored.collection)}
    files = {**_key(identifier, "files"), "files": {"S": " ".join(stored.files)}}
    writes = [action("Put", LEDGER, head, condition), action("Put", LEDGER, files, Expression())]
    if known is None or _order(known.collection) != _order(stored.collection):
        writes.append(action("Put", LEDGER, _listed(stored.collection), Expression()))
        if known is not None:
            writes.append(action("Delete", LEDGER, _listed(known.collection), Expression()))
    return writes


def _item(collection: Collection) -> Item:
    document = {
        "collection_id": collection.collection_id,
        "name": collection.name,
        "description": collection.description,
        "cover": collection.cover,
        "owner": collection.owner,
        "created_at": timestamp(collection.created_at),
        "changed_at": timestamp(collection.changed_at),
        "files": collection.files,
    }
    return {"document": {"S": json.dumps(document)}, "revision": {"N": str(collection.revision)}}


def _collection(item: Item) -> Collection:
    document = json.loads(item["document"]["S"])
    times = {name: parse_timestamp(document[name]) for name in ("created_at", "changed_at")}
    return Collection(**{**document, **times}, revision=int(item["revision"]["N"]))


def _find(tables: Tables, collection_id: str, doing: str) -> _Stored | None:
    """A collection with its files, both of one revision."""
    if not is_key(collection_id, _ORDER_LIMIT_BYTES):
        return None
    key = Expression("#file_id = :collection", {"collection": {"S": f"collection#{collection_id}"}})
    items = {item["version"]["S"]: item for item in tables.query_all(LEDGER, None, key, doing)}
    if "head" not in items or "files" not in items:
        return None
    return _Stored(_collection(items["head"]), tuple(items["files"]["files"]["S"].split()))


def _pointed(tables: Tables, file_id: str, doing: str) -> list[str]:
    """The collections in which to look for a file."""
    key = Expression(
        "#file_id = :file AND begins_with(#version, :pointer)",
        {"file": {"S": file_id}, "pointer": {"S": _POINTER}},
    )
    return [item["version"]["S"].removeprefix(_POINTER) for item in tables.query_all(LEDGER, None, key, doing)]
