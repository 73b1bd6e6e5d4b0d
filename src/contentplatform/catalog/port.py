"""What the catalog promises: one record an original, one ledger entry a version, and search over both.

Writes are conditional on a revision: a writer says which revision it has read, and loses with ``Conflict`` if
somebody wrote meanwhile. Nothing here knows wall-clock order. aws: table ``content-metadata`` (records) and table
``content-ledger`` (entries), condition expressions on ``revision`` and ``file_path``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus

SEARCH_PAGE_SIZE: Final = 100
SEARCH_PAGE_LIMIT: Final = 1_000
_WALK_PAGE_SIZE: Final = 500
RECORD_LIMIT_BYTES: Final = 300_000
"""A record, or a ledger entry, as JSON stays under this (a DynamoDB item's limit is 400 KB); longer facts are
objects beside it."""
COUNT_LIMIT: Final = 1_000
"""Up to so many matches are counted one by one."""
FACET_VALUES: Final = 50
"""So many tags, and so many folders, are counted for people to choose from; the most frequent."""
FACET_NAME_LIMIT_BYTES: Final = 900
"""A longer tag, or name of a folder, is not counted by itself."""
SIMILAR_LIMIT: Final = 100
SIMILAR_DISTANCE: Final = 10
SIMILAR_DISTANCE_LIMIT: Final = 15
"""Of 64 bits; pictures that differ in more have nothing to do with each other."""
COLLECTION_LIMIT: Final = 5_000
"""So many files one collection has at most."""
CHANGES_PAGE_SIZE: Final = 500
CHANGES_KEPT: Final = 100_000
CHANGES_KEPT_DAYS: Final = 7
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

    @property
    def is_quarantined(self) -> bool:
        """Whether malware was found in it: the bytes are kept, and nobody is given them over the network."""
        return self.error_code is ErrorCode.MALWARE


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


@dataclass(frozen=True, slots=True)
class Figure:
    """How many files."""

    count: int
    capped: bool = False
    """There are this many or more."""


@dataclass(frozen=True, slots=True)
class Facets:
    """What a query finds, counted by what it can be narrowed to. Values that nothing has are left out.

    Exact up to 1 000 matches. Beyond that counters tell everything of the whole library (a query without conditions),
    total and folders of a single folder, and the total of a single kind, status or tag; what they don't tell is counted
    among the newest 1 000 matches, and says that it is capped.
    """

    total: Figure
    kinds: Mapping[MediaKind, Figure]
    """The most frequent first, as everywhere here."""
    statuses: Mapping[ProcessingStatus, Figure]
    tags: Mapping[str, Figure]
    """The 50 most frequent."""
    folders: Mapping[str, Figure]
    """The immediate subfolders of the query's folder, by their whole path, with all that is below; the 50 largest."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, and how many files are in it and below."""

    path: str
    files: int


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A page of folders, by their names (the order of their characters)."""

    folders: tuple[Folder, ...]
    cursor: str | None
    """As ``RecordPage.cursor``."""


@dataclass(frozen=True, slots=True)
class Similar:
    """A picture that looks like another."""

    record: Record
    distance: int
    """In how many of 64 bits their perceptual hashes differ; 0: they may be the same picture."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Files that a person put together, in their order, wherever they are kept."""

    collection_id: str
    name: str
    description: str
    cover: str | None
    """The file_id of the file that stands for it; None: its first one."""
    owner: str
    """Who made it, as the caller named them."""
    created_at: datetime
    changed_at: datetime
    files: int
    """How many files are in it, those counted that are deleted and can come back."""
    revision: int = 0
    """0: not stored yet; then 1, 2, … It changes with the files and their order, too, and when a file is moved."""


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """A page of collections, by name (case and accents don't count)."""

    collections: tuple[Collection, ...]
    cursor: str | None
    """As ``RecordPage.cursor``."""


class ChangeKind(StrEnum):
    """What happened to a file, as others are told."""

    ADDED = "added"
    """It has a record now; so does a file at its new name, after ``moved``."""
    REPLACED = "replaced"
    """Another version is current."""
    COMPLETED = "completed"
    FAILED = "failed"
    CHANGED = "changed"
    """Anything else: what it says of itself, or how far its processing is."""
    DELETED = "deleted"
    UNDELETED = "undeleted"
    MOVED = "moved"
    """It is under another name, and has another file_id, from now on."""
    REMOVED = "removed"
    """Nothing is known of it any more."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to one file."""

    sequence: int
    """Larger than that of everything that happened before, in this home."""
    at: datetime
    file_id: str
    file_path: str
    what: ChangeKind
    moved_to: str | None = None
    """The file_id that a moved file has now."""


@dataclass(frozen=True, slots=True)
class ChangePage:
    """What happened since, the oldest first."""

    changes: tuple[Change, ...]
    gap: bool
    """Some of what happened is not known any more: whoever follows has to look at everything anew, and go on from
    ``newest_change``, asked for before."""


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
    def facets(self, query: SearchQuery) -> Facets:
        """Counts of what ``query`` finds, without deleted files unless it asks for them; as late as a search.

        aws: counters that the search table's feed keeps, and a search of at most 1 000 matches.
        """

    @abstractmethod
    def folders(self, parent: str = "", *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> FolderPage:
        """A page of the folders right below ``parent`` ("": the top) that hold a file which is not deleted.

        aws: Query of counters. Raises InvalidRequest as ``search``.
        """

    @abstractmethod
    def similar(
        self, file_id: str, *, limit: int = SIMILAR_LIMIT, max_distance: int = SIMILAR_DISTANCE
    ) -> tuple[Similar, ...]:
        """Files whose pictures look like that of ``file_id``, the nearest first, then the newest upload.

        Neither the file itself nor deleted ones; none if it has no perceptual hash. Complete up to ``max_distance``,
        as late as a search. aws: rows of the search table, by parts of the hash.

        Raises:
            NotFound: no such file.
            InvalidRequest: a limit outside 1 to 1 000, or a distance outside 0 to 15.
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


@runtime_checkable
class ChecksCounters(Protocol):
    """The power of a catalog whose counters can be held against the records at one moment (local)."""

    def counter_gaps(self) -> Iterable[str]:
        """What the counters, or what is counted from, say wrongly, in words: there should be nothing."""
        ...

    def recount(self) -> None:
        """Make all of that anew from the records."""
        ...


@runtime_checkable
class HasChanges(Protocol):
    """The power of a catalog that tells what happened: for whoever follows it (local; the aws home is asked again).

    A change is noted in the unit of work that it belongs to: who sees the record sees the change, and the other way
    round. What is more than 7 days or 100 000 changes ago may be forgotten.
    """

    def changes(self, after: int, limit: int = CHANGES_PAGE_SIZE) -> ChangePage:
        """What happened after the change with that number, at most ``limit``; none: nothing did.

        Raises InvalidRequest as ``search``.
        """
        ...

    def newest_change(self) -> int:
        """The number of the last change; where nothing ever happened, one to begin with."""
        ...


class Collections(ABC):
    """Collections of files. They hold file_ids, and follow a file that is moved. Safe as the catalog is.

    Writes are conditional: ``revision`` is the one that the writer has read. What a method is given may name a file
    by a former file_id, too. A file that is deleted stays in its collections without being shown, and comes back to
    its place with it; one that is removed for good is gone from them. A collection is a person's work, and never
    made from anything else: the local home's snapshots of the catalog hold them.

    aws: table ``content-ledger``: a collection's head, and its files as one item, changed by one transaction.
    """

    @abstractmethod
    def create(self, name: str, *, description: str = "", owner: str = "") -> Collection:
        """Make an empty one. Several may have the same name.

        Raises:
            InvalidRequest: the name is blank or over 200 characters, the description over 10 000.
        """

    @abstractmethod
    def get(self, collection_id: str) -> Collection:
        """One collection. Raises NotFound."""

    @abstractmethod
    def list(self, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> CollectionPage:
        """A page of all collections, by name. Raises InvalidRequest as ``Catalog.search``."""

    @abstractmethod
    def change(
        self,
        collection_id: str,
        revision: int,
        *,
        name: str | None = None,
        description: str | None = None,
        cover: str | None = None,
    ) -> Collection:
        """Rename it, describe it, choose its cover; None leaves a thing as it is, an empty text clears it.

        Raises:
            NotFound: no such collection. Conflict: another revision is stored.
            InvalidRequest: as ``create``; or the cover is none of its files.
        """

    @abstractmethod
    def delete(self, collection_id: str, revision: int) -> None:
        """Take it away; its files stay. Raises NotFound, Conflict."""

    @abstractmethod
    def add(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        """Put files at its end, in this order; those that are in it already stay where they are.

        Without a revision whatever is stored is changed: nothing of what others did meanwhile is lost.

        Raises:
            NotFound: no such collection, or one of the files is not known. Conflict.
            InvalidRequest: it would have more than 5 000 files.
        """

    @abstractmethod
    def take(self, collection_id: str, file_ids: Sequence[str], revision: int | None = None) -> Collection:
        """Take files out of it; those that are not in it don't matter. Raises NotFound, Conflict."""

    @abstractmethod
    def arrange(
        self, collection_id: str, file_ids: Sequence[str], revision: int, *, before: str | None = None
    ) -> Collection:
        """Put some of its files, in this order, before another of them; None: at its end.

        Raises:
            NotFound, Conflict. InvalidRequest: one of them is not in it, or ``before`` is one of those that move.
        """

    @abstractmethod
    def files(self, collection_id: str, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        """A page of its files, in its order, without those that are deleted.

        Stable as long as nobody arranges anew. Raises NotFound; InvalidRequest as ``Catalog.search``.
        """

    @abstractmethod
    def file_ids(self, collection_id: str) -> tuple[str, ...]:
        """All files that are in it, deleted ones too, in its order. Raises NotFound."""

    @abstractmethod
    def holding(self, file_id: str) -> tuple[Collection, ...]:
        """The collections that a file is in, by name."""

    @abstractmethod
    def put_back(self, collection: Collection, file_ids: Sequence[str]) -> None:
        """Store a collection as it was, unless there is one with its id; idempotent, for putting a catalog back."""


def walk_records(catalog: Catalog, query: SearchQuery) -> Iterator[Record]:
    """Every record that matches, page by page, the newest upload first."""
    cursor: str | None = None
    while True:
        page = catalog.search(query, cursor=cursor, limit=_WALK_PAGE_SIZE)
        yield from page.records
        cursor = page.cursor
        if cursor is None:
            return
