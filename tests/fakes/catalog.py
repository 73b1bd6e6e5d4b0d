"""A catalog in memory that passes the same contract: dictionaries, and search by the plain meaning of the words.

And records and entries to put into any catalog.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from contentplatform import media
from contentplatform.catalog.codec import encode_entry, encode_record
from contentplatform.catalog.collections import appended, arranged, check_words, name_order, not_there
from contentplatform.catalog.facets import countable_folders, facets_of, is_whole_folder, parent_of, traits_of
from contentplatform.catalog.history import change_between
from contentplatform.catalog.likeness import check_likeness, distance, hash_of, nearest
from contentplatform.catalog.port import (
    CHANGES_PAGE_SIZE,
    COUNT_LIMIT,
    SEARCH_PAGE_SIZE,
    SIMILAR_DISTANCE,
    SIMILAR_LIMIT,
    Catalog,
    Change,
    ChangeKind,
    ChangePage,
    Collection,
    CollectionPage,
    Collections,
    Facets,
    Figure,
    Folder,
    FolderPage,
    LedgerEntry,
    Record,
    RecordPage,
    Rendition,
    SearchQuery,
    Similar,
)
from contentplatform.catalog.revisions import refuse_stale
from contentplatform.catalog.search import check_limit, read_cursor, searchable_words, text_query, write_cursor
from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.media import MediaKind, ProcessingStatus

_CURSOR_KEY = b"in memory"
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
FULL_RENDITION = Rendition("thumbnail", "public", "stored", "image/jpeg", 123, "ab" * 32, 150, 100)


def make_record(key: str = "a/photo.jpg", minute: int = 0, **fields: Any) -> Record:
    """A record of an image, uploaded ``minute`` minutes after noon."""
    record = Record(
        file_id=media.file_id(key),
        file_path=key,
        version_id="v1",
        size_bytes=1_000,
        content_type="image/jpeg",
        claimed_type=None,
        file_hash="0" * 64,
        hash_verified=True,
        kind=MediaKind.IMAGE,
        status=ProcessingStatus.PENDING,
        upload_time=NOON + timedelta(minutes=minute),
        indexed_at=NOON,
    )
    return replace(record, **fields)


def make_entry(key: str = "a/photo.jpg", version_id: str = "v1", minute: int = 0, **fields: Any) -> LedgerEntry:
    """A ledger entry of an image version."""
    entry = LedgerEntry(
        file_id=media.file_id(key),
        version_id=version_id,
        size_bytes=1_000,
        content_type="image/jpeg",
        claimed_type=None,
        file_hash="0" * 64,
        hash_verified=True,
        kind=MediaKind.IMAGE,
        status=ProcessingStatus.PENDING,
        created_at=NOON + timedelta(minutes=minute),
    )
    return replace(entry, **fields)


def matches(record: Record, query: SearchQuery) -> bool:
    """Whether ``query`` should find ``record``: the model that every home is held against."""
    text = text_query(query.text)
    if text is not None:
        found = set(searchable_words(record))
        if text.empty or not found.issuperset(text.exact):
            return False
        if text.prefix is not None and not any(word.startswith(text.prefix) for word in found):
            return False
    return (
        (record.deleted_at is not None) == query.deleted
        and query.kind in {None, record.kind}
        and query.status in {None, record.status}
        and (query.tag is None or query.tag in record.tags)
        and (not query.folder or record.file_path.startswith(query.folder + "/"))
        and (query.uploaded_from is None or record.upload_time >= query.uploaded_from)
        and (query.uploaded_before is None or record.upload_time < query.uploaded_before)
        and (query.size_from_bytes is None or record.size_bytes >= query.size_from_bytes)
        and (query.size_to_bytes is None or record.size_bytes <= query.size_to_bytes)
        and query.file_hash in {None, record.file_hash}
    )


class FakeCatalog(Catalog):
    """Keeps records and entries in dictionaries; sees every write at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._entries: dict[tuple[str, str], LedgerEntry] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._numbers = count(1)
        self._redirects: dict[str, str] = {}
        self.on_removal: list[Callable[[str, str | None], None]] = []
        """Told of every file that is removed, and where it was moved to."""
        self._changes: list[Change] = []
        self.forgotten_changes = 0
        """Up to which number what happened is not known any more."""

    def get(self, file_id: str) -> Record:
        with self._lock:
            if file_id not in self._records:
                raise NotFound(f"looking up file {file_id}", "there is no such file in the catalog")
            return self._records[file_id]

    def put(self, record: Record) -> Record:
        stored = replace(record, revision=record.revision + 1)
        encode_record(stored)
        with self._lock:
            known = self._records.get(record.file_id)
            if known is not None and known.file_path != record.file_path:
                raise Conflict(f"storing {record.file_path}", f"{known.file_path} has the same MD5 digest")
            _check_revision(record.file_id, record.revision, 0 if known is None else known.revision)
            self._records[record.file_id] = stored
            self._redirects.pop(record.file_id, None)
            self._note(stored, change_between(known, stored))
        return stored

    def _note(self, record: Record, what: ChangeKind, moved_to: str | None = None) -> None:
        number = len(self._changes) + 1
        self._changes.append(Change(number, NOON, record.file_id, record.file_path, what, moved_to))

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        if moved_to == file_id:
            raise InvalidRequest(f"moving file {file_id}", "it can't be moved onto itself")
        with self._lock:
            if file_id not in self._records:
                raise Conflict(f"removing file {file_id}", "there is no such file in the catalog")
            _check_revision(file_id, revision, self._records[file_id].revision)
            what = ChangeKind.REMOVED if moved_to is None else ChangeKind.MOVED
            self._note(self._records.pop(file_id), what, moved_to)
            for key in [key for key in self._entries if key[0] == file_id]:
                del self._entries[key]
            if moved_to is not None:
                self._lead(file_id, moved_to)
            for tell in self.on_removal:
                tell(file_id, moved_to)

    def put_redirect(self, file_id: str, moved_to: str) -> None:
        with self._lock:
            if file_id != moved_to and file_id not in self._records:
                self._lead(file_id, moved_to)

    def _lead(self, file_id: str, moved_to: str) -> None:
        self._redirects = {
            source: moved_to if target == file_id else target
            for source, target in self._redirects.items()
            if source != moved_to
        }
        self._redirects[file_id] = moved_to

    def redirect(self, file_id: str) -> str | None:
        with self._lock:
            return self._redirects.get(file_id)

    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        with self._lock:
            if (file_id, version_id) not in self._entries:
                raise NotFound(f"looking up version {version_id} of file {file_id}", "the ledger has no such version")
            return self._entries[file_id, version_id]

    def put_entry(self, entry: LedgerEntry) -> LedgerEntry:
        stored = replace(entry, revision=entry.revision + 1)
        encode_entry(stored)
        key = (entry.file_id, entry.version_id)
        with self._lock:
            known = self._entries.get(key)
            _check_revision(entry.file_id, entry.revision, 0 if known is None else known.revision)
            self._entries[key] = stored
            self._sequences.setdefault(key, next(self._numbers))
        return stored

    def entries(self, file_id: str) -> tuple[LedgerEntry, ...]:
        with self._lock:
            found = sorted((e for e in self._entries.values() if e.file_id == file_id), key=lambda e: e.version_id)
        return tuple(sorted(found, key=lambda entry: entry.created_at, reverse=True))

    def find_processed(self, file_hash: str, recipe: str) -> LedgerEntry | None:
        with self._lock:
            for entry in self._entries.values():
                if (entry.file_hash, entry.recipe, entry.status) == (file_hash, recipe, ProcessingStatus.COMPLETED):
                    return entry
        return None

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        check_limit(limit, "searching the catalog")
        scope = repr(query)
        before = None if cursor is None else read_cursor(cursor, scope, _CURSOR_KEY)
        with self._lock:
            found = sorted((r for r in self._records.values() if matches(r, query)), key=_place, reverse=True)
        rest = [record for record in found if before is None or _place(record) < before]
        page = rest[:limit]
        return RecordPage(
            tuple(page), write_cursor(_place(page[-1]), scope, _CURSOR_KEY) if len(rest) > limit else None
        )

    def facets(self, query: SearchQuery) -> Facets:
        folder = query.folder or ""
        with self._lock:
            found = sorted((r for r in self._records.values() if matches(r, query)), key=_place, reverse=True)
        traits = [traits_of(record) for record in found]
        few = facets_of(traits[:COUNT_LIMIT], folder, capped=len(found) > COUNT_LIMIT)
        exact = facets_of(traits, folder, capped=False)
        if query == SearchQuery():
            return exact
        if is_whole_folder(query):
            return replace(few, total=exact.total, folders=exact.folders)
        single = SearchQuery(kind=query.kind), SearchQuery(status=query.status), SearchQuery(tag=query.tag)
        return replace(few, total=Figure(len(found))) if query in single else few

    def folders(self, parent: str = "", *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> FolderPage:
        check_limit(limit, "listing folders")
        scope = f"folders {parent}"
        after = "" if cursor is None else read_cursor(cursor, scope, _CURSOR_KEY)
        with self._lock:
            living = [record for record in self._records.values() if record.deleted_at is None]
        counts = Counter(
            folder
            for record in living
            for folder in countable_folders(record.file_path)
            if parent_of(folder) == parent and folder > after
        )
        page = [Folder(path, counts[path]) for path in sorted(counts)[:limit]]
        following = write_cursor(page[-1].path, scope, _CURSOR_KEY) if len(counts) > limit else None
        return FolderPage(tuple(page), following)

    def similar(
        self, file_id: str, *, limit: int = SIMILAR_LIMIT, max_distance: int = SIMILAR_DISTANCE
    ) -> tuple[Similar, ...]:
        check_likeness(limit, max_distance, f"looking for files like {file_id}")
        own = hash_of(replace(self.get(file_id), deleted_at=None))
        with self._lock:
            hashed = [(record, hash_of(record)) for record in self._records.values() if record.file_id != file_id]
        found = [
            Similar(record, distance(own, other))
            for record, other in hashed
            if own is not None and other is not None and distance(own, other) <= max_distance
        ]
        return nearest(found, limit)

    def changes(self, after: int, limit: int = CHANGES_PAGE_SIZE) -> ChangePage:
        """As ``HasChanges.changes``."""
        check_limit(limit, "following what happens")
        with self._lock:
            found = [change for change in self._changes if change.sequence > max(after, self.forgotten_changes)]
            gap = after < self.forgotten_changes or after > len(self._changes)
        return ChangePage(tuple(found[:limit]), gap)

    def newest_change(self) -> int:
        """As ``HasChanges.newest_change``."""
        with self._lock:
            return len(self._changes)

    def entries_with(
        self,
        status: ProcessingStatus,
        *,
        other_than_recipe: Mapping[MediaKind, str] | None = None,
        cursor: str | None = None,
        limit: int = SEARCH_PAGE_SIZE,
    ) -> tuple[tuple[LedgerEntry, ...], str | None]:
        check_limit(limit, "listing ledger entries")
        scope = repr((status, other_than_recipe))
        after = 0 if cursor is None else int(read_cursor(cursor, scope, _CURSOR_KEY))
        with self._lock:
            numbered = [(n, self._entries[key]) for key, n in self._living() if n > after]
        rest = [
            (number, entry)
            for number, entry in numbered
            if entry.status is status and _outdated(entry, other_than_recipe)
        ]
        page = rest[:limit]
        following = write_cursor(str(page[-1][0]), scope, _CURSOR_KEY) if len(rest) > limit else None
        return tuple(entry for _, entry in page), following

    def _living(self) -> list[tuple[tuple[str, str], int]]:
        living = [(key, number) for key, number in self._sequences.items() if key in self._entries]
        return sorted(living, key=lambda item: item[1])


class FakeCollections(Collections):
    """Keeps collections in dictionaries, and follows the catalog's files."""

    def __init__(self, catalog: FakeCatalog, clock: Clock, ids: IdSource) -> None:
        self._catalog = catalog
        self._clock = clock
        self._ids = ids
        self._lock = threading.RLock()
        self._known: dict[str, Collection] = {}
        self._files: dict[str, tuple[str, ...]] = {}
        catalog.on_removal.append(self._follow)

    def _follow(self, file_id: str, moved_to: str | None) -> None:
        with self._lock:
            for identifier, files in self._files.items():
                if file_id in files:
                    known = self._known[identifier]
                    renamed = (moved_to if each == file_id else each for each in files)
                    left = tuple(dict.fromkeys(each for each in renamed if each is not None))
                    cover = moved_to if known.cover == file_id else known.cover
                    self._files[identifier] = left
                    self._known[identifier] = replace(known, cover=cover, files=len(left), revision=known.revision + 1)

    def create(self, name: str, *, description: str = "", owner: str = "") -> Collection:
        check_words(f"making collection {name}", name, description)
        now = self._clock.now()
        return self._store(Collection(self._ids.new_id(), name, description, None, owner, now, now, 0), ())

    def _store(self, collection: Collection, files: Sequence[str]) -> Collection:
        stored = replace(collection, revision=collection.revision + 1, changed_at=self._clock.now(), files=len(files))
        with self._lock:
            self._files[stored.collection_id] = tuple(files)
            self._known[stored.collection_id] = stored
        return stored

    def get(self, collection_id: str) -> Collection:
        return self._read(collection_id, None, f"looking up collection {collection_id}")

    def _read(self, collection_id: str, revision: int | None, doing: str) -> Collection:
        with self._lock:
            if collection_id not in self._known:
                raise not_there(doing)
            known = self._known[collection_id]
        if revision is not None:
            refuse_stale(doing, expected=revision, stored=known.revision)
        return known

    def list(self, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> CollectionPage:
        check_limit(limit, "listing collections")
        after = "" if cursor is None else read_cursor(cursor, "collections", _CURSOR_KEY)
        with self._lock:
            rest = sorted(each for each in map(_collection_place, self._known.values()) if each > after)
            page = [self._known[place.rpartition(" ")[2]] for place in rest[:limit]]
        following = write_cursor(rest[limit - 1], "collections", _CURSOR_KEY) if len(rest) > limit else None
        return CollectionPage(tuple(page), following)

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
        with self._lock:
            known = self._read(collection_id, revision, doing)
            chosen = self._present(cover) if cover else None
            if chosen is not None and chosen not in self._files[collection_id]:
                raise InvalidRequest(doing, "the cover is none of its files")
            changed = replace(
                known,
                name=known.name if name is None else name,
                description=known.description if description is None else description,
                cover=known.cover if cover is None else chosen,
            )
            return self._store(changed, self._files[collection_id])

    def _present(self, file_id: str) -> str:
        return self._catalog.redirect(file_id) or file_id

    def delete(self, collection_id: str, revision: int) -> None:
        with self._lock:
            self._read(collection_id, revision, f"deleting collection {collection_id}")
            del self._known[collection_id], self._files[collection_id]

    def add(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        doing = f"adding files to collection {collection_id}"
        with self._lock:
            known = self._read(collection_id, revision, doing)
            names = [self._catalog.get(self._present(file_id)).file_id for file_id in file_ids]
            return self._store(known, appended(self._files[collection_id], names, doing))

    def take(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        with self._lock:
            known = self._read(collection_id, revision, f"taking files out of collection {collection_id}")
            gone = {self._present(file_id) for file_id in file_ids}
            files = [file_id for file_id in self._files[collection_id] if file_id not in gone]
            return self._store(replace(known, cover=known.cover if known.cover in files else None), files)

    def arrange(
        self, collection_id: str, file_ids: Sequence[str], revision: int, *, before: str | None = None
    ) -> Collection:
        doing = f"arranging collection {collection_id}"
        with self._lock:
            known = self._read(collection_id, revision, doing)
            moving = [self._present(file_id) for file_id in file_ids]
            following = None if before is None else self._present(before)
            return self._store(known, arranged(self._files[collection_id], moving, following, doing))

    def files(self, collection_id: str, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        check_limit(limit, "listing the files of a collection")
        scope = f"collection {collection_id}"
        files = list(self.file_ids(collection_id))
        if cursor is not None:
            place, _, last = read_cursor(cursor, scope, _CURSOR_KEY).partition(" ")
            files = files[files.index(last) + 1 if last in files else int(place) :]
        with self._catalog._lock:
            known = self._catalog._records
            shown = [known[each] for each in files if each in known and known[each].deleted_at is None]
        page, following = shown[:limit], None
        if len(shown) > limit:
            number = self.file_ids(collection_id).index(page[-1].file_id)
            following = write_cursor(f"{number} {page[-1].file_id}", scope, _CURSOR_KEY)
        return RecordPage(tuple(page), following)

    def file_ids(self, collection_id: str) -> tuple[str, ...]:
        with self._lock:
            self.get(collection_id)
            return self._files[collection_id]

    def holding(self, file_id: str) -> tuple[Collection, ...]:
        with self._lock:
            holding = [each for key, each in self._known.items() if self._present(file_id) in self._files[key]]
        return tuple(sorted(holding, key=_collection_place))

    def put_back(self, collection: Collection, file_ids: Sequence[str]) -> None:
        with self._lock:
            if collection.collection_id not in self._known:
                files = tuple(dict.fromkeys(map(self._present, file_ids)))
                self._known[collection.collection_id] = replace(collection, files=len(files))
                self._files[collection.collection_id] = files


def _collection_place(collection: Collection) -> str:
    return f"{name_order(collection.name)} {collection.collection_id}"


def _place(record: Record) -> str:
    return f"{timestamp(record.upload_time)} {record.file_id}"


def _outdated(entry: LedgerEntry, recipes: Mapping[MediaKind, str] | None) -> bool:
    return recipes is None or (entry.kind in recipes and recipes[entry.kind] != entry.recipe)


def _check_revision(file_id: str, read: int, stored: int) -> None:
    if read != stored:
        raise Conflict(f"storing {file_id}", f"revision {stored} is stored, {read} was read")
