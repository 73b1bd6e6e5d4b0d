"""What the API answers and takes, as the description shows it; names as in the glossary."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from contentplatform.accounts.port import Role, Scope
from contentplatform.catalog.port import ChangeKind
from contentplatform.clock import parse_timestamp
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.sharing.port import TargetKind
from contentplatform.workflow.port import ExecutionStatus

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""UTC, ISO 8601, microseconds, ``Z``."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileId = Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="A file's identifier: the MD5 of its key.")]


def _encodable(text: str) -> str:
    text.encode("utf-8")  # half of a surrogate pair, which JSON can spell, is a ValueError here
    return text


_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def _moment(text: object) -> datetime:
    if isinstance(text, datetime):
        return text
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        raise ValueError("a moment is written as 2026-01-31T12:00:00Z")
    try:
        return parse_timestamp(text.upper())
    except OverflowError as error:
        raise ValueError("it is out of the calendar") from error


When = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment that somebody sends: RFC 3339."""
Words = Annotated[str, AfterValidator(_encodable)]
"""Text that somebody sends."""
Key = Annotated[Words, Field(min_length=1, max_length=900, description="The name of a file: 1 to 900 bytes of UTF-8.")]


class Answer(BaseModel):
    """What the API answers: exactly these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(BaseModel):
    """What the API takes: a field that it doesn't know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rendition(Answer):
    """One rendition of the current version."""

    name: str
    key: str
    content_type: str
    size: int
    sha256: str
    width: int | None = None
    height: int | None = None
    url: str | None = Field(description="The public link, which names these bytes; null where the file is private.")


class FileType(Answer):
    """What a file is, and what is done with it."""

    type: MediaKind
    requires_processing: bool
    processing_types: list[str]


class File(Answer):
    """A file and its current version."""

    file_id: FileId
    file_path: str = Field(description="The key.")
    file_name: str
    folder_path: str
    file_extension: str
    bucket: str
    version_id: str
    size: int = Field(description="Bytes.")
    content_type: str = Field(description="By what the bytes are.")
    claimed_type: str | None
    upload_time: Moment
    indexed_at: Moment
    processed_at: Moment | None
    file_hash: str = Field(description="SHA-256, hex; empty while it is not known yet.")
    hash_verified: bool
    metadata: FileType
    processing_status: ProcessingStatus
    processing_metadata: dict[str, Any]
    processing_error: str | None
    processing_error_code: str | None
    note: str | None
    tags: list[str]
    title: str | None
    description: str | None
    credit: str | None
    rights_until: Moment | None
    deleted_at: Moment | None
    renditions: list[Rendition]


class FilePage(Answer):
    """A page of files, the newest upload first."""

    items: list[File]
    next: str | None = Field(description="The cursor of the next page; null: this was the last.")


SearchLimit = Annotated[int, Field(ge=1, le=1_000)]


class FileFilter(BaseModel):
    """What to look for; every condition given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[Words, Field(max_length=1_000)] = Field(default="", description="Words; the last may be a beginning.")
    kind: MediaKind | None = None
    status: Literal["pending", "processing", "completed", "failed"] | None = None
    tag: Annotated[Words, Field(max_length=100)] | None = None
    folder: Annotated[Words, Field(max_length=900)] | None = Field(default=None, description="And those below it.")
    uploaded_from: When | None = Field(default=None, description="Included.")
    uploaded_before: When | None = Field(default=None, description="Excluded.")
    size_from: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(default=None, description="Bytes, included.")
    size_to: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(default=None, description="Bytes, included.")
    file_hash: Sha256 | None = None
    deleted: bool = Field(default=False, description="Removed files instead of those that are there.")


class FileQuery(FileFilter):
    """What to look for, and which page of it."""

    cursor: Annotated[Words, Field(max_length=2_000)] | None = None
    limit: SearchLimit = 100


class FileEdit(Asked):
    """What a person changes of a file; a field that is left out stays, an empty text or null clears it."""

    title: Words | None = Field(default=None, max_length=10_000)
    description: Words | None = Field(default=None, max_length=10_000)
    credit: Words | None = Field(default=None, max_length=10_000)
    rights_until: When | None = None
    add_tags: list[Words] = Field(default=[], max_length=100)
    remove_tags: list[Words] = Field(default=[], max_length=100)


class TagEdit(Asked):
    """Tags to add and to take away."""

    add: list[Words] = Field(default=[], max_length=100)
    remove: list[Words] = Field(default=[], max_length=100)


class Move(Asked):
    """Where a file is to be."""

    key: Key


class Started(Answer):
    """An execution that was started."""

    execution: str


class Version(Answer):
    """One version of a file, or a delete marker."""

    version_id: str
    created_at: Moment
    size: int
    sha256: str | None
    storage_class: str
    is_latest: bool
    is_delete_marker: bool
    processing_status: ProcessingStatus | None = Field(description="Null where nothing is known of it.")
    processing_error: str | None
    note: str | None
    renditions: list[str] = Field(description="Their names.")


class VersionList(Answer):
    """Every version of a file, the newest first."""

    items: list[Version]


class RenditionList(Answer):
    """Every rendition of a version."""

    items: list[Rendition]


class LinkWish(Asked):
    """A signed link that is wanted."""

    rendition: str | None = Field(
        default=None, description="A rendition's name; left out: the original.", max_length=100
    )
    expires_in_seconds: int = Field(default=3_600, ge=1, le=604_800)


class Link(Answer):
    """A link that works until a moment, for whoever holds it."""

    url: str
    expires_at: Moment


# -- pages ---------------------------------------------------------------------------------------------------------

Cursor = Annotated[Words, Field(max_length=2_000, description="Where the page before ended.")]


class PageQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: Cursor | None = None
    limit: SearchLimit = 100


class SmallPageQuery(BaseModel):
    """Which page, of at most 100."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 100


# -- executions ----------------------------------------------------------------------------------------------------


class Execution(Answer):
    """One run of the workflow for one version."""

    name: str
    status: ExecutionStatus
    state: str
    lane: str
    file_id: str
    version_id: str
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    pending_reason: str | None = Field(description="While it is pending: why, in words.")
    error: str | None
    cause: str | None
    input: dict[str, Any]
    output: dict[str, Any] | None


class ExecutionPage(Answer):
    """A page of executions, the newest first."""

    items: list[Execution]
    next: str | None


class ExecutionQuery(SmallPageQuery):
    """Which executions."""

    status: ExecutionStatus | None = None
    file_id: FileId | None = None


class HistoryEvent(Answer):
    """One thing that happened in an execution."""

    sequence: int
    at: Moment
    state: str
    event: str
    attempt: int
    input: dict[str, Any] | None
    output: dict[str, Any] | None
    error: str | None
    cause: str | None


class History(Answer):
    """Everything that happened in an execution, in order."""

    items: list[HistoryEvent]


class Cancel(Asked):
    """Why an execution is to be stopped."""

    reason: Words = Field(default="cancelled over the API", min_length=1, max_length=500)


# -- search --------------------------------------------------------------------------------------------------------


class Figure(Answer):
    """How many files."""

    count: int
    capped: bool = Field(description="There are this many or more.")


class Facet(Figure):
    """How many files have one value."""

    value: str


class Facets(Answer):
    """What a search finds, counted by what it can be narrowed to; the most frequent first."""

    total: Figure
    kinds: list[Facet]
    statuses: list[Facet]
    tags: list[Facet]
    folders: list[Facet]


class FolderQuery(PageQuery):
    """The folders of which folder."""

    parent: Annotated[Words, Field(max_length=900, description="Empty: the top.")] = ""


class Folder(Answer):
    """A folder, and how many files are in it and below."""

    path: str
    files: int


class FolderPage(Answer):
    """A page of folders, by name."""

    items: list[Folder]
    next: str | None


class SimilarFile(Answer):
    """A file that looks like another."""

    file: File
    distance: int = Field(description="In how many of 64 bits they differ.")


class SimilarList(Answer):
    """What looks alike, the nearest first."""

    items: list[SimilarFile]


# -- collections ---------------------------------------------------------------------------------------------------


class Collection(Answer):
    """Files that a person put together, in their order."""

    collection_id: str
    name: str
    description: str
    cover: str | None = Field(description="The file_id of the file that stands for it; null: its first.")
    owner: str
    created_at: Moment
    changed_at: Moment
    files: int


class CollectionPage(Answer):
    """A page of collections, by name."""

    items: list[Collection]
    next: str | None


class CollectionWish(Asked):
    """A collection that is wanted."""

    name: Words = Field(min_length=1, max_length=200)
    description: Words = Field(default="", max_length=10_000)


class CollectionEdit(Asked):
    """What is to change; what is left out stays, an empty text or null clears."""

    name: Words | None = Field(default=None, max_length=200)
    description: Words | None = Field(default=None, max_length=10_000)
    cover: Words | None = Field(default=None, max_length=64)


class FileIds(Asked):
    """Some files."""

    file_ids: list[FileId] = Field(min_length=1, max_length=500)


class Arrangement(FileIds):
    """Where some files are to stand."""

    before: FileId | None = Field(default=None, description="The file before which they stand; null: at the end.")


# -- the edge ------------------------------------------------------------------------------------------------------


class InvalidationQuery(SmallPageQuery):
    """Which invalidations."""


class InvalidationSummary(Answer):
    """An invalidation in a list."""

    id: str
    status: str
    created_at: Moment


class InvalidationPage(Answer):
    """A page of invalidations, the newest first."""

    items: list[InvalidationSummary]
    next: str | None


class Invalidation(InvalidationSummary):
    """One request to forget paths."""

    reference: str
    paths: list[str]


class InvalidationWish(Asked):
    """What the edge is to forget: a file's renditions, or exact paths."""

    file_id: FileId | None = None
    paths: list[Annotated[Words, Field(max_length=4_000)]] | None = Field(default=None, min_length=1, max_length=3_000)
    reference: Words | None = Field(
        default=None, min_length=1, max_length=128, description="The same reference is the same invalidation."
    )


# -- many files at once --------------------------------------------------------------------------------------------


class BulkAct(StrEnum):
    """What can be done with many files at once."""

    TAG = "tag"
    MOVE = "move"
    DELETE = "delete"
    UNDELETE = "undelete"
    REPROCESS = "reprocess"


class BulkWish(Asked):
    """One act on many files."""

    act: Annotated[BulkAct, Field(strict=False)]
    file_ids: list[FileId] = Field(min_length=1, max_length=500)
    add_tags: list[Words] = Field(default=[], max_length=100)
    remove_tags: list[Words] = Field(default=[], max_length=100)
    folder: Words | None = Field(default=None, max_length=900, description="Where to move them; empty: the top.")


class ItemProblem(Answer):
    """Why one of them failed."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    hint: str | None = None
    error: str | None = None
    code: str | None = None


class BulkItem(Answer):
    """What became of one file."""

    file_id: str
    file_path: str | None
    execution: str | None
    problem: ItemProblem | None


class BulkOutcome(Answer):
    """What became of each, in the order in which they were given."""

    items: list[BulkItem]
    done: int
    failed: int


# -- people and programs -------------------------------------------------------------------------------------------

Password = Annotated[Words, Field(min_length=1, max_length=256)]
Lax = Field(strict=False)
"""An enumeration is spelled as text."""


class User(Answer):
    """Somebody who can sign in."""

    id: str
    name: str
    role: Role
    folder: str = Field(description="All that exists for them; empty: everything.")
    quota_bytes: int | None
    used_bytes: int
    created_at: Moment
    password_is_generated: bool
    disabled_at: Moment | None
    signed_in_at: Moment | None


class NewUser(User):
    """A new user."""

    password: str | None = Field(description="The one that was made up, told this once; null: it was given.")


class UserList(Answer):
    """All users, by name."""

    items: list[User]


class UserWish(Asked):
    """A user who is wanted."""

    name: Words = Field(min_length=1, max_length=64)
    role: Annotated[Role, Lax]
    password: Password | None = None
    folder: Words = Field(default="", max_length=900)
    quota_bytes: int | None = Field(default=None, ge=0, lt=2**62)


class UserEdit(Asked):
    """What is to change of a user; what is left out stays."""

    role: Annotated[Role, Lax] | None = None
    folder: Words | None = Field(default=None, max_length=900)
    quota_bytes: int | None = Field(default=None, ge=0, lt=2**62, description="Null: no limit.")
    password: Password | None = None
    disabled: bool | None = None


class Me(Answer):
    """Who asks."""

    id: str
    name: str
    role: Role
    scopes: list[Scope]
    folder: str
    via: str
    quota_bytes: int | None
    used_bytes: int


class NewPassword(Asked):
    """Another password."""

    current: Password
    password: Password


class Session(Answer):
    """Somebody is signed in with one browser."""

    id: str
    created_at: Moment
    last_seen_at: Moment
    expires_at: Moment
    source: str
    agent: str
    is_this: bool


class SessionList(Answer):
    """Where somebody is signed in, the newest first."""

    items: list[Session]


class Token(Answer):
    """Lets a program act for a user."""

    id: str
    user_id: str
    name: str
    scopes: list[Scope]
    folder: str
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None


class NewToken(Token):
    """A new token."""

    secret: str = Field(description="Told this once.")


class TokenList(Answer):
    """Tokens, the newest first."""

    items: list[Token]


class TokenQuery(BaseModel):
    """Whose tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: Annotated[Words, Field(max_length=64)] | None = None
    all: bool = False


class TokenWish(Asked):
    """A token that is wanted."""

    name: Words = Field(min_length=1, max_length=100, description="What for.")
    scopes: list[Annotated[Scope, Lax]] = Field(min_length=1, max_length=3)
    folder: Words = Field(default="", max_length=900)
    lifetime_days: int | None = Field(default=None, ge=1, le=3_660)
    user_id: Words | None = Field(default=None, max_length=64, description="Whose; left out: yours.")


class AuditQuery(SmallPageQuery):
    """Which entries."""

    who_id: Annotated[Words, Field(max_length=64)] = ""
    act: Annotated[Words, Field(max_length=100, description="Acts that begin so.")] = ""


class AuditEntry(Answer):
    """One thing that was done, or refused."""

    sequence: int
    at: Moment
    who: str
    who_id: str
    via: str
    act: str
    subject: str
    details: dict[str, Any]
    digest: str


class AuditPage(Answer):
    """A page of the audit log, the newest first."""

    items: list[AuditEntry]
    next: str | None


# -- links ---------------------------------------------------------------------------------------------------------


class Share(Answer):
    """A link that shows files."""

    id: str
    target: TargetKind
    name: str = Field(description="A file_id, a folder, or a collection's identifier.")
    created_by: str
    created_at: Moment
    expires_at: Moment | None
    allow_originals: bool
    title: str
    has_password: bool
    revoked_at: Moment | None
    suspended: bool = Field(description="Who made it is disabled or removed: it doesn't work, unless that changes.")
    views: int
    last_used_at: Moment | None


class Secret(Answer):
    """The secret of a link."""

    secret: str = Field(description="Told this once.")
    path: str


class NewShare(Share):
    """A new share."""

    secret: str = Field(description="Told this once.")
    path: str


class SharePage(Answer):
    """A page of shares, the newest first."""

    items: list[Share]
    next: str | None


class ShareQuery(SmallPageQuery):
    """Which shares."""

    file_id: FileId | None = None


class ShareWish(Asked):
    """What is to be shared: one of file_id, folder and collection_id."""

    file_id: FileId | None = None
    folder: Words | None = Field(default=None, min_length=1, max_length=900)
    collection_id: Words | None = Field(default=None, min_length=1, max_length=64)
    title: Words = Field(default="", max_length=1_000)
    expires_at: When | None = None
    allow_originals: bool = False
    password: Password | None = None


class UploadLink(Answer):
    """A link that takes files in."""

    id: str
    folder: str
    created_by: str
    created_at: Moment
    expires_at: Moment | None
    message: str
    max_files: int | None
    max_bytes: int | None
    max_file_bytes: int | None
    kinds: list[MediaKind]
    revoked_at: Moment | None
    suspended: bool = Field(description="Who made it is disabled or removed: it doesn't work, unless that changes.")
    used_files: int
    used_bytes: int


class NewUploadLink(UploadLink):
    """A new upload link."""

    secret: str = Field(description="Told this once.")
    path: str


class UploadLinkPage(Answer):
    """A page of upload links, the newest first."""

    items: list[UploadLink]
    next: str | None


Limit = Annotated[int, Field(ge=1, lt=2**62)]


class UploadLinkWish(Asked):
    """What is to be taken in, and how much of it."""

    folder: Words = Field(min_length=1, max_length=900)
    message: Words = Field(default="", max_length=1_000)
    expires_at: When | None = None
    max_files: Limit | None = None
    max_bytes: Limit | None = None
    max_file_bytes: Limit | None = None
    kinds: list[Annotated[MediaKind, Lax]] = Field(default=[], max_length=5)


# -- webhooks ------------------------------------------------------------------------------------------------------


class Webhook(Answer):
    """Where changes are told."""

    id: str
    url: str
    events: list[ChangeKind] = Field(description="Empty: every change.")
    created_by: str
    created_at: Moment
    active: bool
    attempts: int
    due_at: Moment | None
    last_status: str
    last_at: Moment | None
    given_up: int


class NewWebhook(Webhook):
    """A new webhook."""

    secret: str = Field(description="Told this once.")


class WebhookSecret(Answer):
    """What a webhook's messages are signed with."""

    secret: str = Field(description="Told this once.")


class WebhookList(Answer):
    """Every webhook, the newest first."""

    items: list[Webhook]


class WebhookWish(Asked):
    """A webhook that is wanted."""

    url: Words = Field(min_length=1, max_length=2_000)
    events: list[Annotated[ChangeKind, Lax]] = Field(default=[], max_length=20)


class WebhookEdit(Asked):
    """Whether it is told anything."""

    active: bool


class WebhookFailure(Answer):
    """A message that was given up."""

    id: str
    sequence: int
    why: str
    at: Moment


class WebhookFailures(Answer):
    """The oldest messages that were given up."""

    items: list[WebhookFailure]


# -- the server ----------------------------------------------------------------------------------------------------


class Server(Answer):
    """What answers."""

    version: str
    home: str = Field(description="`local` or `aws`.")
    bucket: str = Field(description="The name of the bucket of originals.")
    private_prefix: str = Field(description="Files under it have no public links.")
    public_url: str
    edge_url: str
    workers: int = Field(description="How many are alive; 0: nothing is processed before one is started.")


class TrafficFigures(Answer):
    """What the edge did in some time."""

    requests: int
    bytes_sent: int
    hits: int
    misses: int
    errors: int
    hit_ratio: float | None = Field(description="Null: nothing was asked for.")
    by_status: dict[str, int]


class TrafficHour(TrafficFigures):
    """What the edge did in an hour."""

    hour: Moment


class Traffic(Answer):
    """What the edge did, altogether and by hour."""

    total: TrafficFigures
    items: list[TrafficHour]
