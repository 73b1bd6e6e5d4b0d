"""The catalog of the aws home: DynamoDB tables ``content-metadata`` and ``content-ledger``, and the search table.

* A record is one item, written by one conditional PutItem. Nothing else is written with it: the indexes and the
  search table (feed.py) follow by themselves, usually well under a second behind.
* So a listing only says where to look. What a page shows are the records themselves, read strongly consistent, and
  only those that match by what they say then and stand where the listing says: nobody sees anything stale, or twice.
* A redirect is an item of the same table without a revision: a new record simply takes its place.
* Every item carries the id of the write that made it. Where boto repeats a write whose answer got lost, the repetition
  loses its condition to the first try, and knows it by this id.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Final

from contentplatform.catalog.aws_collections import follow_removal
from contentplatform.catalog.dynamodb import (
    READ_BATCH,
    TRANSACTION_LIMIT,
    Expression,
    Refused,
    Tables,
    action,
)
from contentplatform.catalog.facets import facets_of, is_whole_folder, traits_of
from contentplatform.catalog.feed import is_indexed, marked_files, marker_key, markers
from contentplatform.catalog.items import (
    VERSIONS,
    Item,
    content_key,
    entry_key,
    entry_place,
    entry_to_item,
    file_id_of,
    is_entry_key,
    is_key,
    is_record,
    item_to_entry,
    item_to_record,
    listing,
    moment,
    path_of,
    record_place,
    record_to_item,
    revision_of,
)
from contentplatform.catalog.likeness import check_likeness, distance, hash_of, nearest
from contentplatform.catalog.port import (
    COUNT_LIMIT,
    SEARCH_PAGE_SIZE,
    SIMILAR_DISTANCE,
    SIMILAR_LIMIT,
    Catalog,
    Facets,
    Figure,
    FolderPage,
    LedgerEntry,
    Record,
    RecordPage,
    SearchQuery,
    Similar,
    walk_records,
)
from contentplatform.catalog.revisions import refuse_collision, refuse_stale
from contentplatform.catalog.search import TextQuery, check_limit, read_cursor, text_query, write_cursor
from contentplatform.catalog.tables import LEDGER, METADATA, SEARCH, Index, Table
from contentplatform.catalog.tally import (
    count,
    counted,
    folder_total,
    folders_below,
    largest_folders,
    library_facets,
    library_sums,
    tag_total,
    tallies,
)
from contentplatform.catalog.terms import Term, hash_terms, matches, query_terms
from contentplatform.catalog.walk import Listing, Span, candidates
from contentplatform.clock import Clock, IdSource, RandomIds
from contentplatform.drivers.boto import Aws
from contentplatform.errors import Conflict, InvalidRequest, NotFound, Unavailable
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.together import side_by_side

_NUMBER_LIMIT: Final = 10**38 - 1
_TRIES: Final = 5
_TRANSACTION_BYTES: Final = 3_000_000
"""A transaction's items have 4 MB together."""
_GAP_PAUSE_SECONDS: Final = 5.0
_ABSENT: Final = Expression("attribute_not_exists(#revision)")
"""No record and no entry is there; a redirect may be."""


def _index(table: Table, name: str) -> Index:
    return next(index for index in table.indexes if index.name == name)


_BY_UPLOAD_TIME: Final = _index(METADATA, "by-upload-time")
_BY_KIND: Final = _index(METADATA, "by-kind")
_BY_STATUS: Final = _index(METADATA, "by-status")
_BY_FILE_HASH: Final = _index(METADATA, "by-file-hash")
_BY_REDIRECT_TARGET: Final = _index(METADATA, "by-redirect-target")
_BY_CONTENT: Final = _index(LEDGER, "by-content")
_BY_ENTRY_STATUS: Final = _index(LEDGER, "by-entry-status")


class DynamoCatalog(Catalog):
    """The catalog in DynamoDB.

    Args:
        aws: whose tables, and where.
        clock: for the pauses before what DynamoDB left over is asked for again.
        bucket: the name of the primary bucket, which records tell their readers.
        ids: for the ids of writes.
    """

    def __init__(self, aws: Aws, clock: Clock, *, bucket: str, ids: IdSource | None = None) -> None:
        self._tables = Tables(aws, clock)
        self._clock = clock
        self._bucket = bucket
        self._ids = ids or RandomIds()
        self._cursor_key = bucket.encode("utf-8")

    # -- records ---------------------------------------------------------------------------------------------

    def get(self, file_id: str) -> Record:
        doing = f"looking up file {file_id}"
        item = self._find(file_id, doing)
        if item is None or not is_record(item):
            raise NotFound(doing, "there is no such file in the catalog")
        return item_to_record(item)

    def _find(self, file_id: str, doing: str) -> Item | None:
        """The record or redirect under ``file_id``."""
        return self._tables.get(METADATA, {"file_id": {"S": file_id}}, doing) if is_key(file_id) else None

    def put(self, record: Record) -> Record:
        doing = f"storing the record of {record.file_path}"
        stored = replace(record, revision=record.revision + 1)
        item = record_to_item(stored, self._bucket)
        same_path = Expression(" AND #file_path = :path", {"path": item["file_path"]})
        outcome = self._write(METADATA, item, record.revision, same_path, doing)
        if isinstance(outcome, Refused):
            if outcome.item is not None and is_record(outcome.item):
                refuse_collision(doing, file_path=record.file_path, stored_path=path_of(outcome.item))
            refuse_stale(doing, expected=record.revision, stored=_revision(outcome.item))
            raise Unavailable(doing, "it changed while it was being written", hint="Try again")
        if outcome is not None and "moved_to" in outcome:
            # Only where the index was behind as that redirect was made: what led here leads on to where it led.
            self._lead_on(record.file_id, outcome["moved_to"]["S"], doing)
        return stored

    def _write(
        self, table: Table, item: Item, read_revision: int, besides: Expression, doing: str
    ) -> Item | Refused | None:
        """Put an item on condition that the revision which was read is stored."""
        condition = _ABSENT
        if read_revision:
            values = {"read": {"N": str(read_revision)}, **besides.values}
            condition = Expression(f"#revision = :read{besides.text}", values)
        item["write_id"] = {"S": self._ids.new_id()}
        # Only a redirect can stand where nothing was read, and it is small.
        outcome = self._tables.put(table, item, condition, doing, tell_replaced=not read_revision)
        own = isinstance(outcome, Refused) and (outcome.item or {}).get("write_id") == item["write_id"]
        return None if own else outcome

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        doing = f"removing file {file_id}"
        if moved_to is not None and (moved_to == file_id or not is_key(moved_to)):
            raise InvalidRequest(f"moving file {file_id}", "it can't be moved onto itself, or to no file at all")
        stored = Expression("#revision = :read", {"read": {"N": str(revision)}})
        for attempt in range(_TRIES):
            self._refuse_unless_stored(file_id, revision, doing)
            if moved_to is None:
                actions = [action("Delete", METADATA, {"file_id": {"S": file_id}}, stored)]
            else:
                actions = self._redirection(file_id, moved_to, stored, doing)
            entries = self._entry_items(file_id, doing)
            actions += _deletions(entries, TRANSACTION_LIMIT - len(actions))
            if not self._tables.transact(actions, doing):
                break
            self._clock.wait(threading.Event(), 0.05 * 2**attempt)
        else:
            raise Unavailable(doing, "others keep changing what leads to it", hint="Try again")
        left = [
            entry_key(file_id, item["version"]["S"].removeprefix(VERSIONS))
            for item in self._entry_items(file_id, doing)
        ]
        self._tables.write_many(LEDGER, (), left, doing)
        follow_removal(self._tables, file_id, moved_to, doing)

    def _refuse_unless_stored(self, file_id: str, revision: int, doing: str) -> None:
        item = self._find(file_id, doing)
        if item is None or not is_record(item):
            raise Conflict(doing, "there is no such file in the catalog")
        refuse_stale(doing, expected=revision, stored=revision_of(item))

    def redirect(self, file_id: str) -> str | None:
        doing = f"looking for where file {file_id} is now"
        reached, seen = file_id, {file_id}
        while True:
            item = self._find(reached, doing)
            target = None if item is None or is_record(item) or "moved_to" not in item else item["moved_to"]["S"]
            if target is None or target in seen:
                return None if reached == file_id else reached
            seen.add(target)
            reached = target

    def put_redirect(self, file_id: str, moved_to: str) -> None:
        doing = f"leading {file_id} to {moved_to}"
        if not is_key(file_id) or not is_key(moved_to):
            raise InvalidRequest(doing, "these are no identifiers of files")
        for attempt in range(_TRIES):
            if file_id == moved_to or is_record(self._find(file_id, doing)):
                return
            if not self._tables.transact(self._redirection(file_id, moved_to, _ABSENT, doing), doing):
                return
            self._clock.wait(threading.Event(), 0.05 * 2**attempt)
        raise Unavailable(doing, "others keep changing what leads there", hint="Try again")

    def _redirection(self, file_id: str, moved_to: str, condition: Expression, doing: str) -> list[dict[str, Any]]:
        """What leads ``file_id``, and all that led there, to ``moved_to``, which then leads nowhere itself."""
        while len(sources := self._sources(file_id, doing)) > TRANSACTION_LIMIT // 2:
            first = [_lead(source, file_id, moved_to) for source in sources[: TRANSACTION_LIMIT // 2]]
            self._tables.transact(first, doing)
        redirect = {"file_id": {"S": file_id}, "moved_to": {"S": moved_to}}
        actions = [action("Put", METADATA, redirect, condition)]
        target = self._find(moved_to, doing)
        if target is not None and not is_record(target):
            actions.append(action("Delete", METADATA, {"file_id": {"S": moved_to}}, _ABSENT))
        return actions + [_lead(source, file_id, moved_to) for source in sources if source != moved_to]

    def _lead_on(self, file_id: str, moved_to: str, doing: str) -> None:
        for source in self._sources(file_id, doing):
            if source != moved_to:
                self._tables.transact([_lead(source, file_id, moved_to)], doing)

    def _sources(self, file_id: str, doing: str) -> list[str]:
        """The files that are redirected to ``file_id``, by themselves: the index only says where to look."""
        key = Expression("#moved_to = :target", {"target": {"S": file_id}})
        found = self._tables.query_all(METADATA, _BY_REDIRECT_TARGET, key, doing)
        items = self._tables.get_many(METADATA, [{"file_id": item["file_id"]} for item in found], doing)
        return [item["file_id"]["S"] for item in items if item.get("moved_to") == {"S": file_id}]

    # -- the ledger ------------------------------------------------------------------------------------------

    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        doing = f"looking up version {version_id} of file {file_id}"
        item = None
        if is_entry_key(file_id, version_id):
            item = self._tables.get(LEDGER, entry_key(file_id, version_id), doing)
        if item is None:
            raise NotFound(doing, "the ledger has no such version")
        return item_to_entry(item)

    def put_entry(self, entry: LedgerEntry) -> LedgerEntry:
        doing = f"storing the ledger of {entry.file_id}, version {entry.version_id}"
        stored = replace(entry, revision=entry.revision + 1)
        outcome = self._write(LEDGER, entry_to_item(stored), entry.revision, Expression(), doing)
        if isinstance(outcome, Refused):
            refuse_stale(doing, expected=entry.revision, stored=_revision(outcome.item))
            raise Unavailable(doing, "it changed while it was being written", hint="Try again")
        return stored

    def entries(self, file_id: str) -> tuple[LedgerEntry, ...]:
        items = self._entry_items(file_id, f"looking up the versions of file {file_id}")
        found = sorted(map(item_to_entry, items), key=lambda entry: entry.version_id)
        return tuple(sorted(found, key=lambda entry: entry.created_at, reverse=True))

    def _entry_items(self, file_id: str, doing: str) -> list[Item]:
        if not is_key(file_id):
            return []
        key = Expression(
            "#file_id = :file AND begins_with(#version, :versions)",
            {"file": {"S": file_id}, "versions": {"S": VERSIONS}},
        )
        return list(self._tables.query_all(LEDGER, None, key, doing))

    def find_processed(self, file_hash: str, recipe: str) -> LedgerEntry | None:
        doing = f"looking for renditions of content {file_hash}"
        content = content_key(file_hash, recipe)
        if not is_key(content):
            return None
        key = Expression("#content_recipe = :content", {"content": {"S": content}})
        for found in self._tables.query_all(LEDGER, _BY_CONTENT, key, doing):
            item = self._tables.get(LEDGER, {"file_id": found["file_id"], "version": found["version"]}, doing)
            if item is not None and item.get("content_recipe") == {"S": content}:
                return item_to_entry(item)
        return None

    def entries_with(
        self,
        status: ProcessingStatus,
        *,
        other_than_recipe: Mapping[MediaKind, str] | None = None,
        cursor: str | None = None,
        limit: int = SEARCH_PAGE_SIZE,
    ) -> tuple[tuple[LedgerEntry, ...], str | None]:
        doing = "listing ledger entries"
        check_limit(limit, doing)
        recipes = None if other_than_recipe is None else dict(sorted(other_than_recipe.items()))
        scope = f"entries {status.value} {recipes!r}"
        span = Span() if cursor is None else Span(before=read_cursor(cursor, scope, self._cursor_key))
        if recipes is not None and not recipes:
            return (), None
        listings = [Listing(LEDGER, _BY_ENTRY_STATUS, status.value, _outdated(recipes))]
        found: list[tuple[str, LedgerEntry]] = []
        walked = candidates(self._tables, listings, span, limit + 1, doing)
        while len(found) <= limit and (rows := dict(islice(walked, min(limit + 1 - len(found), READ_BATCH)))):
            keys = [{"file_id": row["file_id"], "version": row["version"]} for row in rows.values()]
            entries = {entry_place(entry): entry for entry in self._read_entries(keys, doing)}
            found += [
                (place, entries[place])
                for place in rows
                if place in entries and _is_wanted(entries[place], status, recipes)
            ]
        following = write_cursor(found[limit - 1][0], scope, self._cursor_key) if len(found) > limit else None
        return tuple(entry for _, entry in found[:limit]), following

    def _read_entries(self, keys: list[Item], doing: str) -> Iterator[LedgerEntry]:
        return map(item_to_entry, self._tables.get_many(LEDGER, keys, doing))

    # -- search ----------------------------------------------------------------------------------------------

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        doing = "searching the catalog"
        check_limit(limit, doing)
        scope = repr(query)
        before = None if cursor is None else read_cursor(cursor, scope, self._cursor_key)
        text = text_query(query.text)
        if (text is not None and text.empty) or (query.file_hash and not is_key(query.file_hash)):
            return RecordPage((), None)
        walked = candidates(self._tables, _listings(query, text), _span(query, before), limit + 1, doing)
        found: list[Record] = []
        batch = limit + 1
        while len(found) <= limit and (places := [place for place, _ in islice(walked, min(batch, READ_BATCH))]):
            found += [record for record in self._read(places, doing) if matches(record, query, text)]
            # Where little of what is walked matches, whole batches cost the fewest requests.
            batch = limit + 1 - len(found) if len(found) * 2 > limit else READ_BATCH
        following = None
        if len(found) > limit:
            following = write_cursor(record_place(found[limit - 1]), scope, self._cursor_key)
        return RecordPage(tuple(found[:limit]), following)

    def facets(self, query: SearchQuery) -> Facets:
        doing = "counting files"
        folder = query.folder or ""
        if query == SearchQuery(folder=query.folder) and not folder:
            return library_facets(self._tables, doing)
        page = self.search(query, limit=COUNT_LIMIT)
        capped = page.cursor is not None
        few = facets_of([traits_of(record) for record in page.records], folder, capped=capped)
        if not capped:
            return few
        if is_whole_folder(query):
            total, below = folder_total(self._tables, folder, doing), largest_folders(self._tables, folder, doing)
            return replace(few, total=Figure(total), folders=below)
        return replace(few, total=self._total(query, doing) or few.total)

    def _total(self, query: SearchQuery, doing: str) -> Figure | None:
        """How many files match, where a counter says it."""
        if query == SearchQuery(tag=query.tag) and query.tag is not None:
            return Figure(tag_total(self._tables, query.tag, doing))
        if query == SearchQuery(kind=query.kind) and query.kind is not None:
            return Figure(library_sums(self._tables, doing)[f"kind {query.kind.value}"])
        if query == SearchQuery(status=query.status) and query.status is not None:
            return Figure(library_sums(self._tables, doing)[f"status {query.status.value}"])
        return None

    def folders(self, parent: str = "", *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> FolderPage:
        doing = "listing folders"
        check_limit(limit, doing)
        scope = f"folders {parent}"
        after = "" if cursor is None else read_cursor(cursor, scope, self._cursor_key)
        found = folders_below(self._tables, parent, after, limit + 1, doing)
        following = write_cursor(found[limit - 1].path, scope, self._cursor_key) if len(found) > limit else None
        return FolderPage(tuple(found[:limit]), following)

    def similar(
        self, file_id: str, *, limit: int = SIMILAR_LIMIT, max_distance: int = SIMILAR_DISTANCE
    ) -> tuple[Similar, ...]:
        doing = f"looking for files like {file_id}"
        check_likeness(limit, max_distance, doing)
        own = hash_of(replace(self.get(file_id), deleted_at=None))
        if own is None:
            return ()

        def near(term: str) -> list[str]:
            key = Expression("#term = :term", {"term": {"S": term}})
            return [
                item["newest_first"]["S"]
                for item in self._tables.query_all(SEARCH, None, key, doing)
                if distance(own, int(item["words"]["S"], 16)) <= max_distance
            ]

        under = side_by_side([partial(near, term) for term in hash_terms(own, max_distance)])
        places = sorted({place for found in under for place in found})
        measured = [
            Similar(record, distance(own, value))
            for record in self._read(places, doing)
            if (value := hash_of(record)) is not None and record.file_id != file_id
        ]
        return nearest((each for each in measured if each.distance <= max_distance), limit)

    def _read(self, places: list[str], doing: str) -> Iterator[Record]:
        """The records that stand at ``places`` now, in this order; what a listing says too late is left out."""
        keys: list[Item] = [{"file_id": {"S": file_id_of(each)}} for each in places]
        items = self._tables.get_many(METADATA, keys, doing)
        records = {record_place(record): record for record in map(item_to_record, filter(is_record, items))}
        return (records[place] for place in places if place in records)

    # -- the search table against the records ----------------------------------------------------------------

    def index_gaps(self) -> Iterable[str]:
        """As ``ChecksSearchIndex.index_gaps``: what is still wrong a few seconds after it was seen."""
        suspects = [*self._unindexed(), *self._left_behind()]
        if suspects:
            self._clock.wait(threading.Event(), _GAP_PAUSE_SECONDS)
        doing = "checking the search table"
        for file_id in suspects:
            item = self._find(file_id, doing)
            record = item_to_record(item) if item is not None and is_record(item) else None
            if not self._is_settled({file_id: record}, doing):
                yield file_id

    def _is_settled(self, files: Mapping[str, Record | None], doing: str) -> bool:
        return not list(self._unsettled(files, doing))

    def _unsettled(self, files: Mapping[str, Record | None], doing: str) -> Iterator[str]:
        """Those of some files, each with its record or none, whose marker or counters say something else."""
        known = markers(self._tables, list(files), doing)
        counts = counted(self._tables, list(files), doing)
        for file_id, record in files.items():
            counts_right = counts.get(file_id, frozenset()) == tallies(record)
            if not counts_right or not is_indexed(record, known.get(file_id)):
                yield file_id

    def _unindexed(self) -> Iterator[str]:
        for deleted in (False, True):
            walked = walk_records(self, SearchQuery(deleted=deleted))
            while records := list(islice(walked, READ_BATCH)):
                files = {record.file_id: record for record in records}
                yield from self._unsettled(files, "checking the search table")

    def _left_behind(self) -> Iterator[str]:
        doing = "checking the search table"
        walked = marked_files(self._tables, doing)
        while file_ids := list(islice(walked, READ_BATCH)):
            items = self._tables.get_many(METADATA, [{"file_id": {"S": each}} for each in file_ids], doing)
            there = {item["file_id"]["S"] for item in items if is_record(item)}
            yield from (each for each in file_ids if each not in there)

    def requeue(self, file_ids: Iterable[str]) -> None:
        """As ``ChecksSearchIndex.requeue``: touches the records, so that the table's stream tells of them again."""
        for file_id in file_ids:
            doing = f"having file {file_id} indexed anew"
            marker = markers(self._tables, [file_id], doing).get(file_id)
            there = Expression("attribute_exists(#revision)", {"token": {"S": self._ids.new_id()}})
            if self._tables.update(METADATA, {"file_id": {"S": file_id}}, "SET #reindex = :token", there, doing):
                continue
            count(self._tables, self._clock, file_id, frozenset(), doing)
            if marker is not None:
                # No record, so nothing to tell of: what is left is the marker, unless it is already another's.
                same = Expression("#digest = :digest", {"digest": {"S": marker}})
                self._tables.delete(SEARCH, marker_key(file_id), same, doing)


# -- parts of writes -----------------------------------------------------------------------------------------


def _revision(item: Item | None) -> int | None:
    return revision_of(item) if item is not None and is_record(item) else None


def _lead(source: str, target: str, moved_to: str) -> dict[str, Any]:
    """The part of a transaction that turns a redirect to ``target`` into one to ``moved_to``."""
    condition = Expression("#moved_to = :old", {"old": {"S": target}, "new": {"S": moved_to}})
    return action("Update", METADATA, {"file_id": {"S": source}}, condition, "SET #moved_to = :new")


def _deletions(items: list[Item], room: int) -> list[dict[str, Any]]:
    """As many deletions of entries as a transaction still has room for."""
    largest = max((len(item["document"]["S"].encode("utf-8")) for item in items), default=1)
    taken = items[: min(room, _TRANSACTION_BYTES // largest)]
    keys: list[Item] = [{"file_id": item["file_id"], "version": item["version"]} for item in taken]
    return [action("Delete", LEDGER, key, Expression()) for key in keys]


# -- parts of listings ---------------------------------------------------------------------------------------


def _listings(query: SearchQuery, text: TextQuery | None) -> list[Listing]:
    """All listings in which a match stands; the search table's first, as they tend to be the shortest."""
    sizes = _sizes(query)
    found = [Listing(SEARCH, None, term.name, _naming(term)) for term in query_terms(query, text)]
    if query.file_hash:
        found.append(Listing(METADATA, _BY_FILE_HASH, query.file_hash))
    if query.status is not None:
        where = listing(deleted=query.deleted, value=query.status.value)
        found.append(Listing(METADATA, _BY_STATUS, where, sizes))
    if query.kind is not None:
        found.append(Listing(METADATA, _BY_KIND, listing(deleted=query.deleted, value=query.kind.value), sizes))
    return found or [Listing(METADATA, _BY_UPLOAD_TIME, listing(deleted=query.deleted), sizes)]


def _span(query: SearchQuery, before: str | None) -> Span:
    span = Span()
    if query.uploaded_from is not None:
        span = replace(span, low=moment(query.uploaded_from))
    if query.uploaded_before is not None:
        span = replace(span, before=moment(query.uploaded_before))
    return span if before is None else replace(span, before=min(span.before, before))


def _sizes(query: SearchQuery) -> Expression | None:
    if query.size_from_bytes is None and query.size_to_bytes is None:
        return None
    low, high = query.size_from_bytes, query.size_to_bytes
    values = {
        "smallest": {"N": str(_bounded(-_NUMBER_LIMIT if low is None else low))},
        "largest": {"N": str(_bounded(_NUMBER_LIMIT if high is None else high))},
    }
    return Expression("#size >= :smallest AND #size <= :largest", values)


def _bounded(size: int) -> int:
    return min(max(size, -_NUMBER_LIMIT), _NUMBER_LIMIT)


def _naming(term: Term) -> Expression | None:
    return Expression("contains(#words, :word)", {"word": {"S": term.naming}}) if term.naming else None


def _outdated(recipes: Mapping[MediaKind, str] | None) -> Expression | None:
    """Which entries were left by an older recipe."""
    if recipes is None:
        return None
    parts: list[str] = []
    values: dict[str, dict[str, str]] = {}
    for number, (kind, recipe) in enumerate(recipes.items()):
        parts.append(f"(#kind = :kind{number} AND #recipe <> :recipe{number})")
        values |= {f"kind{number}": {"S": kind.value}, f"recipe{number}": {"S": recipe}}
    return Expression(" OR ".join(parts), values)


def _is_wanted(entry: LedgerEntry, status: ProcessingStatus, recipes: Mapping[MediaKind, str] | None) -> bool:
    outdated = recipes is None or (entry.kind in recipes and recipes[entry.kind] != entry.recipe)
    return entry.status is status and outdated
