"""Which renditions the world sees: manifests, and the public keys that follow them.

Each version's renditions lie under keys of their own (``versions/<file_id>/<version_id>/<recipe>/…``), which nothing
outside can reach and no other version overwrites. A manifest (the ledger entry) names them all at once. The public
keys are copies that follow the record: they can be made again at any time, by anyone, with the same result. What is
taken off a public key is taken off the edge, too; what is replaced there is the workflow's own state to purge.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Final

from contentplatform import log
from contentplatform.catalog.codec import encode_manifest
from contentplatform.catalog.port import Catalog, LedgerEntry, Record, Rendition
from contentplatform.clock import timestamp
from contentplatform.delivery.port import Edge
from contentplatform.delivery.rules import paths_to_purge, raw_edge_key
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.errors import NotFound, PlatformError
from contentplatform.media import ProcessingStatus
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions, erase, versions_of, walk_versions
from contentplatform.together import Beside, in_turn

MANIFEST_FOLDER: Final = "catalog/manifests"
"""Folder in the analytics bucket: one JSON document a file, from which the catalog can be rebuilt."""
DELETED_NOTE: Final = "this version was deleted"
"""The note of a version that was deleted for good, once everything that was made of it is erased."""
_DESCRIPTIVE_FIELDS: Final = ("title", "description", "credit")

_logger = logging.getLogger(__name__)


def manifest_key(file_id: str) -> str:
    """The key of a file's sidecar document in the analytics bucket."""
    return f"{MANIFEST_FOLDER}/{file_id}.json"


class Publication:
    """Keeps records, public keys and sidecar manifests true to the ledger."""

    def __init__(self, store: ObjectStore, catalog: Catalog, edge: Edge, *, beside: Beside = in_turn) -> None:
        self._store = store
        self._catalog = catalog
        self._edge = edge
        self._beside = beside

    def stored_key(self, entry: LedgerEntry, name: str, extension: str) -> str:
        """Where a version's own rendition lies in the processed bucket."""
        return f"{_version_folder(entry)}{entry.recipe or 'none'}/{name}.{extension}"

    def project(self, record: Record, entry: LedgerEntry) -> Record:
        """``record`` showing ``entry``'s version; what a person edited stays, the rest is what the file brought."""
        brought = {name: entry.descriptive.get(name) for name in _DESCRIPTIVE_FIELDS}
        kept = {name: value for name, value in brought.items() if name not in record.edited_fields}
        tags = record.tags if "tags" in record.edited_fields else tuple(entry.descriptive.get("tags", ()))
        return replace(
            record,
            version_id=entry.version_id,
            size_bytes=entry.size_bytes,
            content_type=entry.content_type,
            claimed_type=entry.claimed_type,
            file_hash=entry.file_hash,
            hash_verified=entry.hash_verified,
            kind=entry.kind,
            status=entry.status,
            upload_time=entry.created_at,
            processed_at=entry.processed_at,
            error=entry.error,
            error_code=entry.error_code,
            note=entry.note,
            processing_metadata=entry.processing_metadata,
            renditions=entry.renditions,
            tags=tags,
            title=kept.get("title", record.title),
            description=kept.get("description", record.description),
            credit=kept.get("credit", record.credit),
        )

    def follow(self, entry: LedgerEntry) -> None:
        """Bring record, public keys and sidecar up to date after ``entry`` changed.

        Does nothing where another version is current by now, or the file was moved.

        Raises:
            Conflict: somebody else wrote the record meanwhile; call again.
        """
        try:
            record = self._catalog.get(entry.file_id)
        except NotFound:
            return
        if record.version_id != entry.version_id:
            return
        projected = self.project(record, entry)
        if projected != record:
            record = self._catalog.put(projected)
        crashpoint("steps.manifest_committed")
        self.show(record)

    def note_status(self, entry: LedgerEntry) -> None:
        """Let the record of a current version show ``entry``'s status; nothing else of it is known yet."""
        try:
            record = self._catalog.get(entry.file_id)
        except NotFound:
            return
        if record.version_id == entry.version_id and record.status is not entry.status:
            self._catalog.put(replace(record, status=entry.status))

    def note_progress(self, entry: LedgerEntry, percent: int, stage: str) -> None:
        """Let the record of a current version that is being processed show how far that is.

        What an earlier processing found gives way to it until the end, which brings back what is true then.

        Raises:
            Conflict: somebody else wrote the record meanwhile.
        """
        try:
            record = self._catalog.get(entry.file_id)
        except NotFound:
            return
        progress = {"progress_percent": percent, "stage": stage}
        is_shown = record.version_id == entry.version_id and record.status is ProcessingStatus.PROCESSING
        if is_shown and record.processing_metadata != progress:
            self._catalog.put(replace(record, processing_metadata=progress))

    def show(self, record: Record) -> None:
        """Make the public keys show exactly ``record``'s renditions (none for a deleted file), then its sidecar.

        Raises:
            Unavailable: the edge can't be told that the file is gone from it; all else is done, call again.
        """
        visible = record.deleted_at is None and record.status is ProcessingStatus.COMPLETED
        wanted = {rendition.key: rendition for rendition in record.renditions} if visible else {}
        self._beside([partial(self._show_rendition, rendition) for rendition in wanted.values()])
        entries = self._catalog.entries(record.file_id)
        gone = sorted(pair for pair in _published(record, entries) if pair[0] not in wanted)
        self._beside([partial(self._erase, key) for key in {key for key, _ in gone}])
        crashpoint("steps.plain_keys_written")
        self._edge.keep_images(record.file_id, record.file_hash if visible else "")
        self._write_manifest(record, entries)
        original = raw_edge_key(record.file_path)
        if original is not None and record.deleted_at is not None:
            gone.append((original, ""))
        since = record.deleted_at and timestamp(record.deleted_at)
        self._purge(record.file_id, gone, f"{record.version_id} {since}", must=not visible)

    def shown(self, entry: LedgerEntry, renditions: Iterable[Rendition]) -> tuple[tuple[str, str], ...]:
        """Which of these renditions' public keys show other bytes by now, or did until just now: (key, SHA-256).

        Where the manifest was committed before, by an attempt that was cut off, a key may show the new bytes already:
        then it is what the newest other version showed.
        """
        repeats = entry.status is ProcessingStatus.COMPLETED
        others = [other for other in self._catalog.entries(entry.file_id) if other.version_id != entry.version_id]
        looked_at = tuple(renditions)
        found = []
        for rendition, there in zip(
            looked_at, self._beside([partial(self._shown_at, rendition.key) for rendition in looked_at]), strict=True
        ):
            if there is None:
                continue
            earlier = (old.sha256 for other in others for old in other.renditions if old.key == rendition.key)
            before = next(earlier, there) if repeats and there == rendition.sha256 else there
            if before != rendition.sha256:
                found.append((rendition.key, before))
        return tuple(found)

    def intact(self, entry: LedgerEntry) -> bool:
        """Whether every rendition of a manifest is still stored with its bytes' hash."""
        looks = [partial(self.is_stored, rendition.stored_key, rendition.sha256) for rendition in entry.renditions]
        return all(self._beside(looks))

    def is_stored(self, key: str, sha256: str) -> bool:
        """Whether the processed bucket has exactly these bytes under ``key``."""
        try:
            return self._store.head(BucketRole.PROCESSED, key).sha256 == sha256
        except NotFound:
            return False

    def forget_version(self, entry: LedgerEntry) -> LedgerEntry:
        """Erase all that was made of a version, public or not, after the version itself was deleted for good.

        Public keys that another version shows with the very same bytes go, too: ``show`` that one afterwards.
        """
        for rendition in entry.renditions:
            if self.is_stored(rendition.key, rendition.sha256):
                self._erase(rendition.key)
        gone = [(rendition.key, rendition.sha256) for rendition in entry.renditions]
        self._purge(entry.file_id, gone, f"{entry.version_id} forgotten", must=True)
        self.erase_renditions(entry)
        return self._catalog.put_entry(
            replace(
                entry,
                renditions=(),
                status=ProcessingStatus.SUPERSEDED,
                execution="",
                note=DELETED_NOTE,
            )
        )

    def erase_renditions(self, entry: LedgerEntry) -> None:
        """Erase a version's own renditions, of every recipe, those of an execution that was cut off included."""
        for version in tuple(walk_versions(self._store, BucketRole.PROCESSED, _version_folder(entry))):
            self._store.delete_version(BucketRole.PROCESSED, version.key, version.version_id)

    def write_manifest(self, record: Record) -> None:
        """Write the sidecar document of a file, unless it says so already. Only its newest version is kept."""
        self._write_manifest(record, self._catalog.entries(record.file_id))

    def _write_manifest(self, record: Record, entries: Sequence[LedgerEntry]) -> None:
        body = encode_manifest(record, entries)
        key = manifest_key(record.file_id)
        try:
            before = self._store.head(BucketRole.ANALYTICS, key)
        except NotFound:
            before = None
        if before is not None and before.sha256 == hashlib.sha256(body).hexdigest():
            return
        self._store.write(BucketRole.ANALYTICS, key, BytesIO(body), PutOptions(content_type="application/json"))
        if before is not None:
            self._store.delete_version(BucketRole.ANALYTICS, key, before.version_id)

    def drop_manifest(self, file_id: str) -> None:
        """Take the sidecar away, after a file was moved."""
        erase(self._store, BucketRole.ANALYTICS, manifest_key(file_id))

    def _shown_at(self, key: str) -> str | None:
        """The SHA-256 of what is under a public key; empty where nobody said it, None where nothing is."""
        try:
            return self._store.head(BucketRole.PROCESSED, key).sha256 or ""
        except NotFound:
            return None

    def _purge(self, file_id: str, gone: Sequence[tuple[str, str]], state: str, *, must: bool) -> None:
        """Take keys off the edge. The reference is made of what is asked for, so asking again costs nothing."""
        paths = paths_to_purge(gone)
        told = json.dumps([state, *paths]).encode()
        try:
            self._edge.invalidate(paths, f"off-{file_id}-{hashlib.sha256(told).hexdigest()[:16]}")
        except PlatformError as error:
            if must:
                raise
            log.event(
                _logger, logging.WARNING, "not taken off the edge", **{log.FILE_ID: file_id, log.REASON: error.public}
            )

    def _show_rendition(self, rendition: Rendition) -> None:
        before = versions_of(self._store, BucketRole.PROCESSED, rendition.key)  # none of a file's first version
        if before and self.is_stored(rendition.key, rendition.sha256):
            return
        stored = self._store.head(BucketRole.PROCESSED, rendition.stored_key)
        self._store.write_copy(stored, BucketRole.PROCESSED, rendition.key)
        for version in before:
            self._store.delete_version(BucketRole.PROCESSED, rendition.key, version.version_id)

    def _erase(self, key: str) -> None:
        """Take a derived object away with its whole past: it can be made again, and must not outlive its original."""
        erase(self._store, BucketRole.PROCESSED, key)


def _published(record: Record, entries: Iterable[LedgerEntry]) -> set[tuple[str, str]]:
    """Every public key that any version of a file had, and the SHA-256 of what it showed."""
    of_versions = (rendition for entry in entries for rendition in entry.renditions)
    return {(rendition.key, rendition.sha256) for rendition in (*of_versions, *record.renditions)}


def _version_folder(entry: LedgerEntry) -> str:
    return f"versions/{entry.file_id}/{entry.version_id}/"
