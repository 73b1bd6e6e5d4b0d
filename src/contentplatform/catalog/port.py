"""What the catalog promises: one record an original, one ledger entry a version, and search over both.

Writes are conditional on a revision: a writer says which revision it has read, and loses with ``Conflict`` if
somebody wrote meanwhile. Nothing here knows wall-clock order. aws: table ``content-metadata`` (records) and table
``content-ledger`` (entries), condition expressions on ``revision`` and ``file_path``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus

SEARCH_PAGE_SIZE: Final = 100
SEARCH_PAGE_LIMIT: Final = 1_000
_WALK_PAGE_SIZE: Final = 500
RECORD_LIMIT_BYTES: Final = 300_000
"""A record, or a ledger entry, as JSON stays under this (a DynamoDB item's limit is 400 KB); longer facts are
objects beside it."""
INDEX_BATCH: Final = 100
"""How many records one call brings into the search index: small, as the writer waits for it."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One rendition of one version."""

    name: str
    """``thumbnail``, ``medium``, ``webp``, …"""
    key: str
    """The public key in the processed bucket, which always shows the current version's rendition."""
    stored_key: str
    """The key of this very version's rendition in the processed bucket; never overwritten by another version."""
    content_type: str
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What happened to one version of one original, and its renditions: the manifest."""

    file_id: str
    version_id: str
    size_bytes: int
    content_type: str
    """By what the bytes are."""
    claimed_type: str | None
    file_hash: str
    """SHA-256 hex digest of the content."""
    hash_verified: bool
    """Whether ``file_hash`` was computed here, or claimed by the client and bound by a checksum."""
    kind: MediaKind
    status: ProcessingStatus
    created_at: datetime
    """When the version was uploaded."""
    recipe: str = ""
    """Which recipe made the renditions; empty before any was tried."""
    execution: str = ""
    """Name of the execution that works, or worked last, on it."""
    attempts: int = 0
    error: str | None = None
    error_code: ErrorCode | None = None
    note: str | None = None
    """What a person should know although nothing failed ("video is kept as it is: …")."""
    renditions: tuple[Rendition, ...] = ()
    processing_metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; what processing found."""
    descriptive: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of itself for people: title, description, tags, credit, rights."""
    processed_at: datetime | None = None
    revision: int = 0
    """0: not stored yet; then 1, 2, …"""


@dataclass(frozen=True, slots=True)
class Record:
    """One original and its current version: the row that people see."""

    file_id: str
    file_path: str
    """The key."""
    version_id: str
    """The current version; the last one for a deleted file."""
    size_bytes: int
    content_type: str
    claimed_type: str | None
    file_hash: str
    hash_verified: bool
    kind: MediaKind
    status: ProcessingStatus
    upload_time: datetime
    """When the current version was uploaded."""
    indexed_at: datetime
    """When this record was first written."""
    processed_at: datetime | None = None
    error: str | None = None
    error_code: ErrorCode | None = None
    note: str | None = None
    processing_metadata: Mapping[str, Any] = field(default_factory=dict)
    renditions: tuple[Rendition, ...] = ()
    tags: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    credit: str | None = None
    rights_until: datetime | None = None
    edited_fields: frozenset[str] = frozenset()
    """Names of descriptive fields that a person set; what a file brings along never overwrites these."""
    deleted_at: datetime | None = None
    moved_from: tuple[str, ...] = ()
    """file_ids that this file had before it was moved, the oldest first; its history is under them."""
    revision: int = 0
    """0: not stored yet; then 1, 2, …"""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for; every condition given must hold."""

    text: str = ""
    """All words, in any order, the last one as a prefix from 3 characters on (a shorter one exactly), case and accents
    folded, over name, folder, tags, title, description and a document's text. Words are what ``catalog.search.words``
    says, in both homes; only the first 64 count. Blank: everything. A text that isn't blank and has no word in it
    finds nothing."""
    kind: MediaKind | None = None
    status: ProcessingStatus | None = None
    tag: str | None = None
    """Exactly this tag."""
    folder: str | None = None
    """This folder, given without a slash at its end, and those below it; empty or None: all."""
    uploaded_from: datetime | None = None
    """Included."""
    uploaded_before: datetime | None = None
    """Excluded."""
    size_from_bytes: int | None = None
    """Included."""
    size_to_bytes: int | None = None
    """Included."""
    file_hash: str | None = None
    deleted: bool = False
    """Deleted files instead of those that are there."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """One page of records, the newest upload first; uploads of the same moment in any order that stays."""

    records: tuple[Record, ...]
    cursor: str | None
    """Opaque; give it back for the next page. None: this was the last. Stable while others write: a record that
    matches, and keeps its upload time, throughout is seen exactly once."""


class Catalog(ABC):
    """Records, ledger, search. Safe to use from any thread and from several processes."""

    @abstractmethod
    def get(self, file_id: str) -> Record:
        """The record, deleted or not. aws: GetItem, strongly consistent. Raises NotFound."""

    @abstractmethod
    def put(self, record: Record) -> Record:
        """Store ``record`` if the stored revision is still ``record.revision``; returns it with its new revision.

        A redirect that stood under its file_id is gone then: the name is in use again.

        aws: PutItem on condition ``revision = :read`` (``attribute_not_exists`` for 0) and equal ``file_path``.

        Raises:
            Conflict: another revision is stored, or another key has the same file_id (an MD5 collision).
            InvalidRequest: the record is over 300 KB, or holds what JSON can't say.
        """

    @abstractmethod
    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        """Take a record away, with its ledger; with ``moved_to`` (the file_id where it is now) a redirect stays.

        Redirects to ``file_id`` point to ``moved_to`` from then on, so chains stay one step long and never loop.
        aws: TransactWriteItems of the record, its redirect and its ledger; more than a hundred entries follow after it.

        Raises:
            Conflict: another revision is stored, or none.
            InvalidRequest: ``moved_to`` is ``file_id`` itself.
        """

    @abstractmethod
    def redirect(self, file_id: str) -> str | None:
        """The file_id that a moved file has now; None where nothing was moved away, or the name is in use again.

        aws: GetItem until there is no further redirect.
        """

    @abstractmethod
    def put_redirect(self, file_id: str, moved_to: str) -> None:
        """Lead a former identifier to a file's own, as ``remove`` does; nothing where it names a file itself.

        Idempotent; for putting a catalog back. aws: PutItem on condition ``attribute_not_exists``.
        """

    @abstractmethod
    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        """One version's ledger entry. aws: GetItem, strongly consistent. Raises NotFound."""

    @abstractmethod
    def put_entry(self, entry: LedgerEntry) -> LedgerEntry:
        """Store a ledger entry, conditional on its revision, with the same errors as ``put``.

        It needs no record: the two are written in any order. aws: PutItem with a condition.
        """

    @abstractmethod
    def entries(self, file_id: str) -> tuple[LedgerEntry, ...]:
        """Every version's entry, the newest upload first (ties by version_id). aws: Query."""

    @abstractmethod
    def find_processed(self, file_hash: str, recipe: str) -> LedgerEntry | None:
        """Some completed entry with the same content and recipe, whose renditions can be reused; None if none is known.

        aws: Query of the index on file_hash, eventually consistent (a miss only costs work).
        """

    @abstractmethod
    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        """A page of records that match, the newest upload first.

        A query with ``text`` may lag up to a second behind; in the aws home every query may, usually well under a
        second: a record that was just written can be missing, but none is ever shown that does not match, or not as
        it is stored now.
        aws: indexes of the table, and table ``content-search`` for words, tags and folders (term, newest first); then
        the records themselves by BatchGetItem, strongly consistent.

        Raises:
            InvalidRequest: a cursor that was not given for this query, or a limit outside 1 to 1 000.
        """

    @abstractmethod
    def entries_with(
        self,
        status: ProcessingStatus,
        *,
        other_than_recipe: Mapping[MediaKind, str] | None = None,
        cursor: str | None = None,
        limit: int = SEARCH_PAGE_SIZE,
    ) -> tuple[tuple[LedgerEntry, ...], str | None]:
        """A page of the entries of one status, in any order that stays, and the cursor of the next page.

        With ``other_than_recipe`` only those whose recipe is not the one given for their kind (left by an older
        recipe); kinds that it doesn't name are left out. aws: index on status, which may lag as a search does. Raises
        InvalidRequest as ``search``.
        """


@runtime_checkable
class ChecksSearchIndex(Protocol):
    """The power of a catalog whose search index is beside the records, and can be held against them."""

    def index_gaps(self) -> Iterable[str]:
        """file_ids whose index row is missing, or left behind, although nothing waits: there should be none."""
        ...

    def requeue(self, file_ids: Iterable[str]) -> None:
        """Let these records be indexed anew. Idempotent."""
        ...


@runtime_checkable
class HasSearchIndex(ChecksSearchIndex, Protocol):
    """The power of a catalog that is asked to keep its search index up to date (aws: the table's stream does it)."""

    def index_pending(self, limit: int = INDEX_BATCH) -> int:
        """Bring at most ``limit`` waiting records into the search index; returns how many were waiting among them.

        Idempotent, safe from several processes, complete or undone after a crash. 0: nothing waits.
        """
        ...

    def index_lag_seconds(self) -> float:
        """How long the oldest waiting record has waited; 0 if none waits."""
        ...


def walk_records(catalog: Catalog, query: SearchQuery) -> Iterator[Record]:
    """Every record that matches, page by page, the newest upload first."""
    cursor: str | None = None
    while True:
        page = catalog.search(query, cursor=cursor, limit=_WALK_PAGE_SIZE)
        yield from page.records
        cursor = page.cursor
        if cursor is None:
            return
