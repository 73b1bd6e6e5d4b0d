"""The whole catalog as one object of the store: the second way, beside each file's own manifest, to put it back.

One gzip-compressed line a file, each a manifest. It is written now and then; a file's own manifest is newer wherever
both are readable. Beside it lies each collection, as an object of its own.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, Final, cast

from contentplatform import log
from contentplatform.catalog.codec import decode_collection, decode_manifest, encode_collection, encode_manifest
from contentplatform.catalog.port import (
    Catalog,
    Collection,
    Collections,
    LedgerEntry,
    Record,
    SearchQuery,
    walk_records,
)
from contentplatform.errors import Corrupt, NotFound, PlatformError
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions, erase, versions_of, walk
from contentplatform.workflow.publication import MANIFEST_FOLDER

SNAPSHOT_KEY: Final = "catalog/snapshot.jsonl.gz"
COLLECTION_FOLDER: Final = "catalog/collections"
SNAPSHOTS_KEPT: Final = 2
"""The newest, and the one before it, should the newest turn out to be damaged."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back of the catalog."""

    records: int
    damaged: int
    """Manifests, and lines of the snapshot, that could not be read."""


class CatalogSnapshot:
    """Writes the catalog into the store, and puts it back from there."""

    def __init__(self, store: ObjectStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def write_if_due(self, interval_seconds: float, now: datetime) -> int | None:
        """Write unless the newest snapshot is younger than that, whoever wrote it; None if there was no need."""
        try:
            written_at = self._store.head(BucketRole.ANALYTICS, SNAPSHOT_KEY).created_at
        except NotFound:
            return self.write()
        age_seconds = (now - written_at).total_seconds()
        # One from the future was written before the clock was set right: its age can't be told.
        return None if 0 <= age_seconds < interval_seconds else self.write()

    def write(self) -> int:
        """Write every record, deleted ones too, with its ledger; returns how many. Constant memory."""
        with TemporaryFile() as file:
            written = 0
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as lines:
                for record in self._records():
                    lines.write(encode_manifest(record, self._catalog.entries(record.file_id)) + b"\n")
                    written += 1
            file.seek(0)
            self._store.write(
                BucketRole.ANALYTICS, SNAPSHOT_KEY, cast("BinaryIO", file), PutOptions(content_type="application/gzip")
            )
        for version in versions_of(self._store, BucketRole.ANALYTICS, SNAPSHOT_KEY)[SNAPSHOTS_KEPT:]:
            self._store.delete_version(BucketRole.ANALYTICS, SNAPSHOT_KEY, version.version_id)
        return written

    def restore(self) -> Restored:
        """Put what the store knows into an empty catalog; what is in the catalog already is left alone."""
        restored = damaged = 0
        for found in self._manifests():
            damaged += found is None
            restored += found is not None and self._put_back(*found)
        for found in self._snapshot_lines():
            damaged += found is None
            # A file that a manifest redirects was moved after the snapshot was written.
            is_older = found is not None and self._catalog.redirect(found[0].file_id) is not None
            restored += found is not None and not is_older and self._put_back(*found)
        return Restored(restored, damaged)

    def _records(self) -> Iterator[Record]:
        yield from walk_records(self._catalog, SearchQuery())
        yield from walk_records(self._catalog, SearchQuery(deleted=True))

    def _manifests(self) -> Iterator[tuple[Record, tuple[LedgerEntry, ...]] | None]:
        """Every file's own manifest; None for one that can't be read."""
        for version in walk(self._store, BucketRole.ANALYTICS, f"{MANIFEST_FOLDER}/"):
            try:
                with self._store.open(version.bucket, version.key) as reader:
                    yield decode_manifest(reader.read())
            except PlatformError as error:
                _note_unreadable(version.key, error)
                yield None

    def _snapshot_lines(self) -> Iterator[tuple[Record, tuple[LedgerEntry, ...]] | None]:
        """Every line of the snapshots, the newest first; None for what can't be read."""
        for version in versions_of(self._store, BucketRole.ANALYTICS, SNAPSHOT_KEY):
            yield from self._lines(version.version_id)

    def _lines(self, version_id: str) -> Iterator[tuple[Record, tuple[LedgerEntry, ...]] | None]:
        try:
            with self._store.open(BucketRole.ANALYTICS, SNAPSHOT_KEY, version_id=version_id) as reader:
                for line in gzip.GzipFile(fileobj=cast("BinaryIO", reader)):
                    try:
                        yield decode_manifest(line)
                    except Corrupt as error:
                        _note_unreadable(SNAPSHOT_KEY, error)
                        yield None
        except (PlatformError, OSError, EOFError, zlib.error) as error:
            _note_unreadable(SNAPSHOT_KEY, error)
            yield None

    def _put_back(self, record: Record, entries: tuple[LedgerEntry, ...]) -> bool:
        try:
            self._catalog.get(record.file_id)
        except NotFound:
            pass
        else:
            return False
        for entry in entries:
            self._catalog.put_entry(entry)
        self._catalog.put(record)
        for former in record.moved_from:
            self._catalog.put_redirect(former, record.file_id)
        return True


class KeptCollections:
    """Keeps each collection as an object of the store, as it is now, and puts them back from there.

    A collection that follows a moved file is not kept anew: the records lead from the former file_id to the present.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep(self, collection: Collection, file_ids: Sequence[str]) -> None:
        """Write a collection. Only its newest version is kept."""
        key = _collection_key(collection.collection_id)
        before = versions_of(self._store, BucketRole.ANALYTICS, key)
        body = BytesIO(encode_collection(collection, file_ids))
        self._store.write(BucketRole.ANALYTICS, key, body, PutOptions(content_type="application/json"))
        for version in before:
            self._store.delete_version(BucketRole.ANALYTICS, key, version.version_id)

    def drop(self, collection_id: str) -> None:
        """Forget a collection that was deleted."""
        erase(self._store, BucketRole.ANALYTICS, _collection_key(collection_id))

    def restore(self, collections: Collections) -> Restored:
        """Put back what is kept; what is there already is left alone."""
        restored = damaged = 0
        for version in walk(self._store, BucketRole.ANALYTICS, f"{COLLECTION_FOLDER}/"):
            try:
                with self._store.open(version.bucket, version.key) as reader:
                    collections.put_back(*decode_collection(reader.read()))
                restored += 1
            except PlatformError as error:
                _note_unreadable(version.key, error)
                damaged += 1
        return Restored(restored, damaged)


def _collection_key(collection_id: str) -> str:
    return f"{COLLECTION_FOLDER}/{collection_id}.json"


def _note_unreadable(key: str, error: Exception) -> None:
    log.event(_logger, logging.WARNING, "manifest not readable", **{log.KEY: key, log.REASON: str(error)})
