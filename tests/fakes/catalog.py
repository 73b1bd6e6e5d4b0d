"""A catalog in memory that passes the same contract: dictionaries, and search by the plain meaning of the words.

And records and entries to put into any catalog.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from contentplatform import media
from contentplatform.catalog.codec import encode_entry, encode_record
from contentplatform.catalog.port import (
    SEARCH_PAGE_SIZE,
    Catalog,
    LedgerEntry,
    Record,
    RecordPage,
    Rendition,
    SearchQuery,
)
from contentplatform.catalog.search import check_limit, read_cursor, searchable_words, text_query, write_cursor
from contentplatform.clock import timestamp
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
        return stored

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        if moved_to == file_id:
            raise InvalidRequest(f"moving file {file_id}", "it can't be moved onto itself")
        with self._lock:
            if file_id not in self._records:
                raise Conflict(f"removing file {file_id}", "there is no such file in the catalog")
            _check_revision(file_id, revision, self._records[file_id].revision)
            del self._records[file_id]
            for key in [key for key in self._entries if key[0] == file_id]:
                del self._entries[key]
            if moved_to is not None:
                self._lead(file_id, moved_to)

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


def _place(record: Record) -> str:
    return f"{timestamp(record.upload_time)} {record.file_id}"


def _outdated(entry: LedgerEntry, recipes: Mapping[MediaKind, str] | None) -> bool:
    return recipes is None or (entry.kind in recipes and recipes[entry.kind] != entry.recipe)


def _check_revision(file_id: str, read: int, stored: int) -> None:
    if read != stored:
        raise Conflict(f"storing {file_id}", f"revision {stored} is stored, {read} was read")
