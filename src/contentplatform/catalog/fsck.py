"""The catalog's part of fsck: do records, ledger, renditions and search index say the same, and is it true?

I9 status is true, I10 provenance, I6 a record shows the store's current version, I13 a deleted file shows nothing,
I3 no entry or index row refers to nothing, I21 nothing waits for nobody. Renditions are compared by the hash that the
store keeps for them; that stored bytes still have that hash is the store's own check (I2).

The checks run beside writers: what looks wrong is reported only if record and entry stayed as they were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from contentplatform.catalog.port import (
    Catalog,
    ChecksCounters,
    ChecksSearchIndex,
    HasSearchIndex,
    LedgerEntry,
    Record,
    Rendition,
    SearchQuery,
    walk_records,
)
from contentplatform.errors import ErrorCode, NotFound
from contentplatform.findings import Check, CheckRun, Finding, Severity
from contentplatform.media import PROCESSING_TYPES, ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, ObjectStore, ObjectVersion, walk

INDEX_LAG_LIMIT_SECONDS: Final = 60.0
"""The index lags a second behind while anybody works; after a minute, nobody does."""
_ENDED: Final = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})
_WAITING: Final = frozenset({ProcessingStatus.PENDING, ProcessingStatus.PROCESSING})
_REFUSED: Final = frozenset({ErrorCode.TYPE_MISMATCH, ErrorCode.KEY})
"""What ingest refuses without trying."""
_SHOWN_FIELDS: Final = (
    "status", "kind", "size_bytes", "content_type", "claimed_type", "file_hash", "hash_verified", "processed_at",
    "error", "error_code", "note", "renditions",
)  # fmt: skip
"""What a record shows of its version's ledger entry, unchanged."""
_RECONCILE: Final = "Run `contentplatform worker`: it looks at every key again"


def catalog_checks(
    catalog: Catalog, store: ObjectStore, *, is_live: Callable[[str], bool] | None = None
) -> tuple[Check, ...]:
    """Every check of the catalog; ``is_live`` tells of an execution's name whether it exists and has not ended."""
    checks = CatalogChecks(catalog, store, is_live)
    return checks.originals, checks.records, checks.ledger, checks.search_index, checks.counters


class CatalogChecks:
    """The checks, each a callable of its own."""

    def __init__(self, catalog: Catalog, store: ObjectStore, is_live: Callable[[str], bool] | None) -> None:
        self._catalog = catalog
        self._store = store
        self._is_live = is_live

    # -- records ---------------------------------------------------------------------------------------------

    def originals(self, _run: CheckRun) -> Iterator[Finding]:
        """I6: the catalog knows every file that the store holds."""
        for version in walk(self._store, BucketRole.PRIMARY):
            try:
                self._catalog.get(file_id(version.key))
            except NotFound:
                if self._head(BucketRole.PRIMARY, version.key) is not None:
                    yield _leak("I6", version.key, "the store has a file that the catalog doesn't know", _RECONCILE)

    def records(self, _run: CheckRun) -> Iterator[Finding]:
        """I6, I9, I13: what a record shows is what store and ledger say."""
        for deleted in (False, True):
            for record in walk_records(self._catalog, SearchQuery(deleted=deleted)):
                found = list(self._record(record))
                if found and self._unchanged(record):
                    yield from found

    def _record(self, record: Record) -> Iterator[Finding]:
        key = record.file_path
        if record.file_id != file_id(key):
            yield _damage("I9", key, f"its file_id {record.file_id} is not that of its key", "Restore the catalog")
        yield from self._current_version(record)
        try:
            entry = self._catalog.get_entry(record.file_id, record.version_id)
        except NotFound:
            yield _damage("I9", key, f"version {record.version_id} has no ledger entry", _reprocess(key))
            return
        yield from _disagreements(record, entry)
        yield from self._public_renditions(record)

    def _current_version(self, record: Record) -> Iterator[Finding]:
        key = record.file_path
        current = self._head(BucketRole.PRIMARY, key)
        if record.deleted_at is not None:
            if current is not None:
                yield _leak("I6", key, "the record says deleted, the store has a current version", _RECONCILE)
        elif current is None:
            yield _damage("I6", key, "the record shows a file, the store has no current version of it", _RECONCILE)
        elif current.version_id != record.version_id:
            message = f"the record shows version {record.version_id}, the store's current one is {current.version_id}"
            yield _leak("I6", key, message, _RECONCILE)

    def _public_renditions(self, record: Record) -> Iterator[Finding]:
        key = record.file_path
        for rendition in record.renditions:
            shown = self._head(BucketRole.PROCESSED, rendition.key)
            if record.deleted_at is not None:
                if shown is not None:
                    message = f"the file is deleted, but its {rendition.name} is still public"
                    repair = f"Run `contentplatform undelete {key}`, then `contentplatform remove {key}`"
                    yield _damage("I13", key, message, repair)
            elif record.status is ProcessingStatus.COMPLETED:
                wrong = _wrong(rendition, shown)
                if wrong:
                    yield _damage("I9", key, f"the public {rendition.name} {wrong}", _reprocess(key))

    # -- the ledger ------------------------------------------------------------------------------------------

    def ledger(self, _run: CheckRun) -> Iterator[Finding]:
        """I3, I9, I10: every version's entry belongs to a record and tells the truth."""
        for status in ProcessingStatus:
            for entry in self._entries(status):
                found = list(self._entry(entry))
                if found and self._entry_unchanged(entry):
                    yield from found

    def _entry(self, entry: LedgerEntry) -> Iterator[Finding]:
        try:
            record = self._catalog.get(entry.file_id)
        except NotFound:
            subject = f"{entry.file_id}, version {entry.version_id}"
            yield _leak(
                "I3", subject, "a ledger entry without a record", "Run `contentplatform fsck --rebuild-catalog`"
            )
            return
        version = self._head(BucketRole.PRIMARY, record.file_path, entry.version_id)
        if version is None:
            return  # deleted for good: a line of history, which nothing has to bear out any more
        subject = f"{record.file_path}, version {entry.version_id}"
        repair = _reprocess(record.file_path)
        if version.sha256 is not None and version.sha256 != entry.file_hash:
            yield _damage("I10", subject, "the ledger has another hash than the stored version", repair)
        if entry.status is ProcessingStatus.COMPLETED:
            yield from self._completed(entry, subject, repair)
        elif entry.status is ProcessingStatus.FAILED:
            yield from _failed(entry, subject, repair)
        elif entry.status in _WAITING and self._is_live is not None and not self._is_live(entry.execution):
            yield _leak("I9", subject, f"it is {entry.status}, but nobody works on it", repair)

    def _completed(self, entry: LedgerEntry, subject: str, repair: str) -> Iterator[Finding]:
        if not entry.recipe:
            yield _damage("I10", subject, "it is completed by no known recipe", repair)
        if PROCESSING_TYPES[entry.kind] and not entry.renditions and not entry.note:
            yield _damage("I9", subject, "it is completed, but has no renditions, and no note says why", repair)
        for rendition in entry.renditions:
            wrong = _wrong(rendition, self._head(BucketRole.PROCESSED, rendition.stored_key))
            if wrong:
                yield _damage("I9", subject, f"it is completed, but its {rendition.name} {wrong}", repair)

    # -- search ----------------------------------------------------------------------------------------------

    def search_index(self, run: CheckRun) -> Iterator[Finding]:
        """I3, I21: every record can be found, and nothing waits long for that."""
        index = self._catalog
        if not isinstance(index, ChecksSearchIndex):
            return
        gaps = tuple(index.index_gaps())
        if run.repair:
            index.requeue(gaps)
        for identifier in gaps:
            message = "the search index doesn't say what the record says"
            yield _damage("I3", identifier, message, "Run `contentplatform fsck --repair`", repaired=run.repair)
        lag = self._catalog.index_lag_seconds() if isinstance(self._catalog, HasSearchIndex) else 0.0
        if lag > INDEX_LAG_LIMIT_SECONDS:
            message = f"records have waited {lag:.0f} s to be found"
            repair = "Run `contentplatform worker`, or search once"
            yield Finding("I21", "the search index", Severity.WARNING, message, repair)

    def counters(self, run: CheckRun) -> Iterator[Finding]:
        """I3: what is told of the whole library without looking at it is what the records say."""
        counting = self._catalog
        if not isinstance(counting, ChecksCounters):
            return
        gaps = tuple(counting.counter_gaps())
        if gaps and run.repair:
            counting.recount()
        for gap in gaps:
            message = "it doesn't say what the records say"
            yield _damage("I3", gap, message, "Run `contentplatform fsck --repair`", repaired=run.repair)

    # -- looking ---------------------------------------------------------------------------------------------

    def _head(self, bucket: BucketRole, key: str, version_id: str | None = None) -> ObjectVersion | None:
        try:
            return self._store.head(bucket, key, version_id=version_id)
        except NotFound:
            return None

    def _entries(self, status: ProcessingStatus) -> Iterable[LedgerEntry]:
        cursor: str | None = None
        while True:
            page, cursor = self._catalog.entries_with(status, cursor=cursor)
            yield from page
            if cursor is None:
                return

    def _unchanged(self, record: Record) -> bool:
        try:
            return self._catalog.get(record.file_id).revision == record.revision
        except NotFound:
            return False

    def _entry_unchanged(self, entry: LedgerEntry) -> bool:
        try:
            return self._catalog.get_entry(entry.file_id, entry.version_id).revision == entry.revision
        except NotFound:
            return False


def _disagreements(record: Record, entry: LedgerEntry) -> Iterator[Finding]:
    """Where a record shows something else than its version's entry; while work is under way it may."""
    if entry.status not in _ENDED:
        return
    different = [name for name in _SHOWN_FIELDS if getattr(record, name) != getattr(entry, name)]
    if different:
        message = f"record and ledger differ in {', '.join(different)}"
        yield _damage("I9", record.file_path, message, _reprocess(record.file_path))


def _failed(entry: LedgerEntry, subject: str, repair: str) -> Iterator[Finding]:
    if entry.error_code is None or not entry.error:
        yield _damage("I9", subject, "it failed without saying why", repair)
    if entry.attempts < 1 and entry.error_code not in _REFUSED:
        yield _damage("I9", subject, "it failed without having been tried", repair)


def _wrong(rendition: Rendition, stored: ObjectVersion | None) -> str:
    """What is wrong with a rendition's object, in words; empty if nothing is."""
    if stored is None:
        return "is missing"
    if stored.size_bytes != rendition.size_bytes or stored.sha256 not in {None, rendition.sha256}:
        return "has other bytes than the ledger says"
    return ""


def _reprocess(key: str) -> str:
    return f"Run `contentplatform reprocess {key}`"


def _damage(invariant: str, subject: str, message: str, repair: str, *, repaired: bool = False) -> Finding:
    return Finding(invariant, subject, Severity.DAMAGE, message, repair, repaired)


def _leak(invariant: str, subject: str, message: str, repair: str) -> Finding:
    return Finding(invariant, subject, Severity.LEAK, message, repair)
