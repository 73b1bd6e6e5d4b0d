"""The upload handler: brings catalog and workflow to what the store says of one key.

It is level-triggered. An event names a key and nothing more is believed: the handler reads the key's current version
from the store and writes conditionally, so that order, repetition, and the reconciler, which finds what no event told,
are one path. Delete, undelete and restore change the store and then come here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from contentplatform import log
from contentplatform.catalog.port import Catalog, LedgerEntry, Record, SearchQuery
from contentplatform.clock import Clock
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.errors import Archived, ErrorCode, NotFound, PlatformError, Unavailable
from contentplatform.ingest.hashing import HASHED_AT_ONCE_BYTES, ContentHash, ContentHasher, hash_note, joined_notes
from contentplatform.media import MediaKind, ProcessingStatus, check_key, file_id
from contentplatform.processing.presets import recipe
from contentplatform.processing.probe import HEAD_SIZE_BYTES, Sniffed, claimed_type, mismatch, named, sniff
from contentplatform.storage.port import (
    OBJECT_KEY_LIMIT_BYTES,
    BucketRole,
    ByteRange,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    versions_of,
)
from contentplatform.together import Beside, Together, in_turn, repeated
from contentplatform.workflow.port import ExecutionStatus, Lane, WorkflowEngine, execution_name, next_name
from contentplatform.workflow.publication import DELETED_NOTE, Publication
from contentplatform.workflow.stopping import Stop

CLAIM_METADATA: Final = "claimed-type"
"""User metadata of an original: the content type that its uploader claimed, where that was more than a guess."""
_RAW_VERSION_METADATA: Final = "source-version"


_HASHING_SECONDS: Final = 60.0
"""How long one call goes on hashing a version that is hashed in steps; another goes on after it."""
_RECONCILED_AT_ONCE: Final = 1_000
_STORE: Final = "store"
_CATALOG: Final = "catalog"
_FAILURES_IN_A_ROW: Final = 20
"""After so many a reconciliation gives up: it is not the keys."""

_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconciliation found."""

    keys_seen: int
    keys_mended: int
    keys_failed: int = 0
    """Keys that could not be mended; the log says why. The others were looked at all the same."""
    stopped_at: str | None = None
    """Where to begin the next time, because this one was stopped; None: everything was looked at."""

    def checked(self) -> Reconciled:
        """This, if every key could be mended.

        Raises:
            Unavailable: one could not.
        """
        if self.keys_failed:
            raise Unavailable(
                "reconciling", f"{self.keys_failed} keys could not be taken in", hint="The log names them"
            )
        return self


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a version is processed: as what, by which processor, and what people are told of that."""

    kind: MediaKind
    route: MediaKind
    note: str | None
    refusal: Mapping[str, str] | None


class IngestService:
    """Handles one key at a time; safe to call for the same key from several places at once."""

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        engine: WorkflowEngine,
        publication: Publication,
        clock: Clock,
        together: Together,
        processed_kinds: frozenset[MediaKind],
        hash_limit_bytes: int = HASHED_AT_ONCE_BYTES,
        *,
        beside: Beside = in_turn,
        stop: Stop | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._engine = engine
        self._stop = stop or engine.cancel
        self._publication = publication
        self._clock = clock
        self._together = together
        self._beside = beside
        self._processed_kinds = processed_kinds
        self._hasher = ContentHasher(store, hash_limit_bytes)

    def handle(self, key: str, lane: Lane = Lane.UPLOAD) -> None:
        """Bring everything to what the store says of ``key`` now.

        Raises:
            Corrupt: the current version's bytes are gone.
            Unavailable: a passing fault, or others keep writing the same record.
        """
        found: dict[str, ContentHash] = {}
        entry = repeated(lambda: self._together(lambda: self._handle(key, lane, found)), f"taking in {key}")
        if entry is not None and not entry.file_hash:
            self._hash_on(entry, key)

    def restart(self, file_id: str, version_id: str, lane: Lane) -> str:
        """Process a version anew, as a new execution; returns its name. One that has not ended is left to go on.

        Raises:
            NotFound: there is no such version any more.
        """

        def work() -> str:
            entry = self._catalog.get_entry(file_id, version_id)
            if entry.execution and self.is_live(entry.execution):
                return entry.execution
            key = self._catalog.get(file_id).file_path
            return self._start(self._seen_anew(entry, key), key, lane).execution

        return repeated(lambda: self._together(work), f"processing version {version_id} again")

    def recipe_of(self, kind: MediaKind) -> str:
        """The recipe of files of ``kind`` in this home; those without a processor of their own go the generic way."""
        return recipe(kind if kind in self._processed_kinds else MediaKind.GENERIC)

    def reconcile(self, *, begin: str | None = None, is_over: Callable[[], bool] = lambda: False) -> Reconciled:
        """Find what no event told.

        Keys whose record lags behind the store, records whose object is gone, and versions that wait for an execution
        which ended or never began. A key that can't be mended holds up none of the others.

        Args:
            begin: where an earlier one stopped; None: at the beginning.
            is_over: asked before each key whether to stop. What was mended by then stays so.

        Raises:
            InvalidRequest: ``begin`` is no place to begin at (any more).
            PlatformError: nothing can be mended just now: a service is down, not a key broken.
        """
        seen = mended = failed = failed_in_a_row = 0
        for place, key, lags in self._suspects(begin):
            if is_over():
                return Reconciled(seen, mended, failed, place)
            seen += place.startswith(_STORE)
            try:
                if lags():
                    self.handle(key, Lane.BACKFILL)
                    mended += 1
                failed_in_a_row = 0
            except PlatformError as error:
                failed, failed_in_a_row = failed + 1, failed_in_a_row + 1
                fields = {log.KEY: key, log.REASON: str(error)}
                log.event(_logger, logging.WARNING, "key not reconciled", **fields)
                if failed_in_a_row == _FAILURES_IN_A_ROW:
                    raise
        return Reconciled(seen, mended, failed)

    # -- one key ---------------------------------------------------------------------------------------------

    def _handle(self, key: str, lane: Lane, found: dict[str, ContentHash]) -> LedgerEntry | None:
        """What ``handle`` does, and the current version's entry; hashes that were found stay found when it is repeated.

        A large version may be hashed in here for minutes.
        """
        identifier = file_id(key)
        # Before the versions: what came in meanwhile would look as if its version had been deleted for good.
        entries = {entry.version_id: entry for entry in self._catalog.entries(identifier)}
        versions = versions_of(self._store, BucketRole.PRIMARY, key)
        current = self._current(key)
        record = self._record(identifier)
        forgotten = self._forget_deleted(entries, versions)
        if current is None:
            if record is not None:
                self._hide(record, forgotten)
            return None
        self._supersede(key, entries, versions, current)
        entry = entries.get(current.version_id) or self._new_entry(current, found)
        if self._needs_execution(entry):
            entry = self._start(entry, key, lane)
        elif entry.status is ProcessingStatus.PENDING and not self._has_begun(entry):
            self._hand_over(entry, self._plan(entry, key), key, lane)  # who stored it may have failed before that
        self._point(record, entry, key, shown_anew=bool(forgotten))
        crashpoint("ingest.recorded")
        return entry

    def _hide(self, record: Record, forgotten: Collection[str]) -> None:
        """Show that the file was removed; of a version that was deleted for good no rendition is named any more."""
        renditions = () if record.version_id in forgotten else record.renditions
        hidden = replace(record, renditions=renditions, deleted_at=record.deleted_at or self._clock.now())
        # Also where it is hidden already: whoever hid it may have been cut off before it came off the edge.
        self._publication.show(record if hidden == record else self._catalog.put(hidden))

    def _point(self, record: Record | None, entry: LedgerEntry, key: str, *, shown_anew: bool) -> None:
        """Make the record show ``entry``'s version.

        The public keys follow once the version has ended: while a new version is processed, the renditions of the one
        before stay where they are.
        """
        if record is None:
            self._catalog.put(self._publication.project(self._blank_record(entry, key), entry))
            return
        pointed = self._publication.project(replace(record, deleted_at=None), entry)
        if pointed == record and not shown_anew:
            return
        stored = record if pointed == record else self._catalog.put(pointed)
        if stored.status in {ProcessingStatus.COMPLETED, ProcessingStatus.FAILED}:
            self._publication.show(stored)

    def _new_entry(self, version: ObjectVersion, found: dict[str, ContentHash] | None = None) -> LedgerEntry:
        """The entry of a version seen for the first time, after its raw copy was made.

        Args:
            version: as ``head`` tells it.
            found: hashes by version id, added to; None: nobody needs this one's hash any more.
        """
        works: list[Callable[[], Any]] = [partial(self._sniff, version), partial(self._copy_raw, version)]
        sniffed, copy = self._beside(works)
        if found is None:
            content = ContentHash(version.proven_sha256 or "", verified=version.proven_sha256 is not None)
        else:
            content = found.get(version.version_id) or self._hasher.hash_of(version, copy)
            found[version.version_id] = content
        claim = claimed_type(version.key, version.user_metadata.get(CLAIM_METADATA))
        return LedgerEntry(
            file_id=file_id(version.key),
            version_id=version.version_id,
            size_bytes=version.size_bytes,
            content_type=named(sniffed, claim).content_type,
            claimed_type=claim,
            file_hash=content.sha256,
            hash_verified=content.verified,
            kind=sniffed.kind,
            status=ProcessingStatus.PENDING,
            created_at=version.created_at,
            note=content.note,
        )

    def _seen_anew(self, entry: LedgerEntry, key: str) -> LedgerEntry:
        """The entry with what the bytes are by today's knowledge: an earlier version of the platform knew less."""
        try:
            sniffed = self._sniff(self._store.head(BucketRole.PRIMARY, key, version_id=entry.version_id))
        except Archived:
            return entry  # its bytes can't be looked at now; processing will say so
        return replace(entry, kind=sniffed.kind, content_type=named(sniffed, entry.claimed_type).content_type)

    def _sniff(self, version: ObjectVersion) -> Sniffed:
        if version.size_bytes == 0:
            return sniff(b"", 0)
        window = ByteRange(0, HEAD_SIZE_BYTES - 1)
        with self._store.open(version.bucket, version.key, version_id=version.version_id, byte_range=window) as reader:
            return sniff(reader.read(), version.size_bytes)

    def _copy_raw(self, version: ObjectVersion) -> ObjectVersion | None:
        """Put the version into the data lake, by the hour of its upload; once, however often this runs.

        A key that leaves no room for the hour is refused by the rules of keys, so nobody misses its copy. The copy is
        only told where its hash is of use, because the store has none of the version itself.
        """
        key = raw_key(version.key, version.created_at)
        if len(key.encode()) > OBJECT_KEY_LIMIT_BYTES:
            return None
        with suppress(NotFound):
            there = self._store.head(BucketRole.RAW, key)
            if there.user_metadata.get(_RAW_VERSION_METADATA) == version.version_id:
                return there
        metadata = {**version.user_metadata, _RAW_VERSION_METADATA: version.version_id}
        options = PutOptions(
            content_type=version.content_type, user_metadata=metadata, storage_class=version.storage_class
        )
        if version.proven_sha256 is not None:
            self._store.write_copy(version, BucketRole.RAW, key, options)
            return None
        return self._store.copy(version, BucketRole.RAW, key, options)

    # -- executions ------------------------------------------------------------------------------------------

    def _needs_execution(self, entry: LedgerEntry) -> bool:
        match entry.status:
            case ProcessingStatus.SUPERSEDED:
                return True
            case ProcessingStatus.COMPLETED:
                return not self._publication.intact(entry)
            case ProcessingStatus.FAILED:
                return False
            case ProcessingStatus.PENDING | ProcessingStatus.PROCESSING:
                return not entry.execution or not self.is_live(entry.execution)

    def is_live(self, execution: str) -> bool:
        """Whether there is an execution of this name that has not ended."""
        try:
            return not self._engine.get(execution).status.ended
        except NotFound:
            return False

    def _start(self, entry: LedgerEntry, key: str, lane: Lane) -> LedgerEntry:
        """Store the entry as pending under a new execution, and start that."""
        plan = self._plan(entry, key)
        name = next_name(self._engine, execution_name(entry.file_id, entry.version_id, recipe(plan.route)))
        entry = self._catalog.put_entry(
            replace(
                entry,
                kind=plan.kind,
                status=ProcessingStatus.PENDING,
                execution=name,
                note=plan.note,
                error=None,
                error_code=None,
            )
        )
        self._hand_over(entry, plan, key, lane)
        return entry

    def _plan(self, entry: LedgerEntry, key: str) -> _Plan:
        """How a version is processed."""
        refusal = refusal_of(key, entry.claimed_type, Sniffed(entry.content_type, entry.kind))
        route = entry.kind if entry.kind in self._processed_kinds and refusal is None else MediaKind.GENERIC
        kind = MediaKind.GENERIC if refusal is not None else entry.kind
        note = None
        if refusal is None and kind is not MediaKind.GENERIC and route is MediaKind.GENERIC:
            note = f"kept as it is: this home makes no renditions of {kind.value} files"
        return _Plan(kind, route, joined_notes(hash_note(entry.note), note), refusal)

    def _hand_over(self, entry: LedgerEntry, plan: _Plan, key: str, lane: Lane) -> None:
        """Start the entry's execution; nothing happens where that was done before."""
        data: dict[str, Any] = {
            "bucket": BucketRole.PRIMARY.value,
            "key": key,
            "version_id": entry.version_id,
            "file_id": entry.file_id,
            "kind": plan.kind.value,
            "route": plan.route.value,
            "execution": entry.execution,
        }
        if plan.note is not None:
            data["note"] = plan.note
        if plan.refusal is not None:
            data["refusal"] = plan.refusal
        self._engine.start(entry.execution, file_id=entry.file_id, version_id=entry.version_id, data=data, lane=lane)

    # -- hashes that take long -------------------------------------------------------------------------------

    def _hash_on(self, entry: LedgerEntry, key: str) -> None:
        """Go on hashing a version that is hashed in steps, for a while; what was hashed stays so."""
        until = self._clock.monotonic_seconds() + _HASHING_SECONDS
        version = self._store.head(BucketRole.PRIMARY, key, version_id=entry.version_id)
        while (content := self._hasher.step(version)) is None:
            if self._clock.monotonic_seconds() >= until:
                return
        known = content

        def work() -> None:
            now = self._catalog.get_entry(entry.file_id, entry.version_id)
            facts = dict(now.processing_metadata)
            if "sha256" in facts:
                facts["sha256"] = known.sha256
            others = (now.note or "").removeprefix(hash_note(now.note) or "").removeprefix("; ")
            self._publication.follow(
                self._catalog.put_entry(
                    replace(
                        now,
                        file_hash=known.sha256,
                        hash_verified=known.verified,
                        processing_metadata=facts,
                        note=joined_notes(known.note, others),
                    )
                )
            )

        repeated(lambda: self._together(work), f"recording the hash of {key}")

    # -- other versions --------------------------------------------------------------------------------------

    def _supersede(
        self,
        key: str,
        entries: dict[str, LedgerEntry],
        versions: Sequence[ObjectVersion],
        current: ObjectVersion,
    ) -> None:
        """Mark versions that were replaced before their turn; one that is being processed may finish."""
        for version in versions:
            if version.is_delete_marker or version.version_id == current.version_id:
                continue
            entry = entries.get(version.version_id)
            if entry is None:
                full = self._store.head(BucketRole.PRIMARY, key, version_id=version.version_id)
                self._mark_superseded(self._new_entry(full))
            elif entry.status is ProcessingStatus.PENDING and not self._has_begun(entry):
                if entry.execution:
                    self._cancel(entry.execution, "a newer version replaced this one before its turn")
                self._mark_superseded(entry)
            elif entry.status is ProcessingStatus.PROCESSING and not self.is_live(entry.execution):
                self._mark_superseded(entry)  # who worked on it is gone, and nobody needs it any more

    def _mark_superseded(self, entry: LedgerEntry) -> None:
        self._catalog.put_entry(
            replace(
                entry,
                status=ProcessingStatus.SUPERSEDED,
                execution="",
                note="a newer version replaced this one before its turn",
            )
        )

    def _has_begun(self, entry: LedgerEntry) -> bool:
        try:
            execution = self._engine.get(entry.execution)
        except NotFound:
            return False
        return execution.status is not ExecutionStatus.PENDING or execution.started_at is not None

    def _forget_deleted(self, entries: dict[str, LedgerEntry], versions: Sequence[ObjectVersion]) -> set[str]:
        """Erase what was made of versions that were deleted for good, and stop what is being made; their ids."""
        there = {version.version_id for version in versions}
        forgotten = set()
        for version_id, entry in list(entries.items()):
            if version_id in there or entry.note == DELETED_NOTE:
                continue
            if entry.execution:
                self._cancel(entry.execution, DELETED_NOTE)
            entries[version_id] = self._publication.forget_version(entry)
            forgotten.add(version_id)
        return forgotten

    def _cancel(self, execution: str, reason: str) -> None:
        with suppress(NotFound):  # it was to be started, and never was
            self._stop(execution, reason)

    # -- looking ---------------------------------------------------------------------------------------------

    def _record(self, identifier: str) -> Record | None:
        try:
            return self._catalog.get(identifier)
        except NotFound:
            return None

    def _current(self, key: str) -> ObjectVersion | None:
        try:
            return self._store.head(BucketRole.PRIMARY, key)
        except NotFound:
            return None

    def _blank_record(self, entry: LedgerEntry, key: str) -> Record:
        return Record(
            file_id=entry.file_id,
            file_path=key,
            version_id=entry.version_id,
            size_bytes=entry.size_bytes,
            content_type=entry.content_type,
            claimed_type=entry.claimed_type,
            file_hash=entry.file_hash,
            hash_verified=entry.hash_verified,
            kind=entry.kind,
            status=entry.status,
            upload_time=entry.created_at,
            indexed_at=self._clock.now(),
        )

    # -- reconciling -----------------------------------------------------------------------------------------

    def _suspects(self, begin: str | None) -> Iterator[tuple[str, str, Callable[[], bool]]]:
        """Every key of the store, then every file of the catalog: the page it is on, and whether it needs mending."""
        room, _, position = (begin or "").partition(":")
        if room not in {_STORE, _CATALOG}:
            room, position = _STORE, ""
        following: str | None = position or None
        while room == _STORE:
            place = f"{_STORE}:{following or ''}"
            objects = self._store.list_versions(BucketRole.PRIMARY, continuation=following)  # ``list`` names no version
            for version in objects.objects:
                if version.is_latest and not version.is_delete_marker:
                    yield place, version.key, partial(self._lags, version.key, version.version_id)
            following = objects.continuation
            room = _CATALOG if following is None else _STORE
        while True:
            place = f"{_CATALOG}:{following or ''}"
            records = self._catalog.search(SearchQuery(), cursor=following, limit=_RECONCILED_AT_ONCE)
            for record in records.records:
                yield place, record.file_path, partial(self._is_gone, record.file_path)
            following = records.cursor
            if following is None:
                return

    def _is_gone(self, key: str) -> bool:
        return self._current(key) is None

    def _lags(self, key: str, version_id: str) -> bool:
        record = self._record(file_id(key))
        if record is None or record.version_id != version_id or record.deleted_at is not None or not record.file_hash:
            return True
        if record.status not in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}:
            return False
        try:
            return not self.is_live(self._catalog.get_entry(record.file_id, version_id).execution)
        except NotFound:
            return True


def raw_key(key: str, moment: datetime) -> str:
    """Where a version lies in the data lake: partitioned by the hour of its upload, UTC."""
    return f"year={moment:%Y}/month={moment:%m}/day={moment:%d}/hour={moment:%H}/{key}"


def refusal_of(key: str, claimed: str | None, sniffed: Sniffed) -> Mapping[str, str] | None:
    """Why this file is kept but not processed, as the workflow's ``refusal``; None if nothing is wrong with it."""
    try:
        check_key(key)
    except PlatformError as error:
        return {"error": error.public, "error_code": ErrorCode.KEY.value}
    reason = mismatch(claimed, sniffed)
    return None if reason is None else {"error": reason, "error_code": ErrorCode.TYPE_MISMATCH.value}
