"""What the catalog promises: one record an original, one ledger entry a version, and search over both.

Writes are conditional on a revision: a writer says which revision it has read, and loses with ``Conflict`` if
somebody wrote meanwhile. Nothing here knows wall-clock order. aws: table ``content-metadata`` (records) and table
``content-ledger`` (entries), condition expressions on ``revision`` and ``file_path``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus

SEARCH_PAGE_SIZE: Final = 100
RECORD_LIMIT_BYTES: Final = 300_000
"""A record as JSON stays under this (a DynamoDB item's limit is 400 KB); longer facts are objects beside it."""


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
    """All words, in any order, the last one as a prefix from 3 characters on, case and accents folded, over name,
    folder, tags, title, description and a document's text. Empty: everything."""
    kind: MediaKind | None = None
    status: ProcessingStatus | None = None
    tag: str | None = None
    """Exactly this tag."""
    folder: str | None = None
    """This folder and those below it; empty string: all."""
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
    """One page of records, the newest upload first (ties by file_id)."""

    records: tuple[Record, ...]
    cursor: str | None
    """Opaque; give it back for the next page. None: this was the last. Stable while others write: a record that
    exists throughout is seen exactly once."""


class Catalog(ABC):
    """Records, ledger, search. Safe to use from any thread and from several processes."""

    @abstractmethod
    def get(self, file_id: str) -> Record:
        """The record, deleted or not. aws: GetItem, strongly consistent. Raises NotFound."""

    @abstractmethod
    def put(self, record: Record) -> Record:
        """Store ``record`` if the stored revision is still ``record.revision``; returns it with its new revision.

        aws: PutItem on condition ``revision = :read`` (``attribute_not_exists`` for 0) and equal ``file_path``.

        Raises:
            Conflict: another revision is stored, or another key has the same file_id (an MD5 collision).
            InvalidRequest: the record is over 300 KB.
        """

    @abstractmethod
    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        """Take a record away, with its ledger; with ``moved_to`` (a file_id) a redirect stays. Conditional as ``put``.

        aws: TransactWriteItems of the record and its redirect, the ledger's items after it.
        """

    @abstractmethod
    def redirect(self, file_id: str) -> str | None:
        """The file_id that a moved file has now, followed to its end; None if it was never moved. aws: GetItem."""

    @abstractmethod
    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        """One version's ledger entry. aws: GetItem, strongly consistent. Raises NotFound."""

    @abstractmethod
    def put_entry(self, entry: LedgerEntry) -> LedgerEntry:
        """Store a ledger entry, conditional on its revision as ``put``. aws: PutItem with a condition."""

    @abstractmethod
    def entries(self, file_id: str) -> tuple[LedgerEntry, ...]:
        """Every version's entry, the newest upload first (ties by version_id). aws: Query."""

    @abstractmethod
    def find_processed(self, file_hash: str, recipe: str) -> LedgerEntry | None:
        """Some completed entry with the same content and recipe, whose renditions can be reused; None if there is
        none. aws: Query of the index on file_hash, eventually consistent (a miss only costs work)."""

    @abstractmethod
    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        """A page of records that match, the newest upload first.

        Conditions other than ``text`` and ``tag`` see every acknowledged write; those two may lag up to a second behind.
        aws: index on upload time for empty text, table ``content-search`` (word, newest first) otherwise.

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
        """Entries of one status and the cursor of the next page; with ``other_than_recipe`` only those whose recipe is
        not the one given for their kind (left by an older recipe). Any stable order. aws: index on status."""
