"""What the API answers and takes, as the description shows it; names as in the glossary."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from contentplatform.clock import parse_timestamp
from contentplatform.media import MediaKind, ProcessingStatus

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


class FileQuery(BaseModel):
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
