"""What storage promises: the semantics of S3, with nothing that depends on the home.

Strong read-after-write; the last acknowledged write wins; versions are immutable (their tags and storage class are
not part of them); a delete adds a marker; a deleted version leaves a tombstone that nobody can read. Keys are data,
never paths. What is acknowledged is durable.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, Final, Protocol, runtime_checkable

from contentplatform.errors import InvalidRequest
from contentplatform.media import OCTET_STREAM

LIST_PAGE_SIZE: Final = 1_000
"""Most entries of one page, as in S3."""
OBJECT_KEY_LIMIT_BYTES: Final = 1_024
"""Longest key in UTF-8, as in S3."""
TAG_LIMIT: Final = 10
"""Most tags of one object, as in S3."""
USER_METADATA_LIMIT_BYTES: Final = 2_048
"""Names and values together, as in S3."""
CHUNK_SIZE_BYTES: Final = 1 << 20
_FEW_VERSIONS: Final = 50
"""One page holds all versions of nearly every key; a longer page would be read for its neighbours' sake."""
_TAG_NAME_LIMIT: Final = 128
_TAG_VALUE_LIMIT: Final = 256
_METADATA_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class BucketRole(StrEnum):
    """The buckets, by what they are for. Names are settings; nothing derives one from another."""

    PRIMARY = "primary"
    RAW = "raw"
    PROCESSED = "processed"
    ANALYTICS = "analytics"
    BACKUP = "backup"
    LOGS = "logs"


class StorageClass(StrEnum):
    """S3's storage classes that the platform uses."""

    STANDARD = "STANDARD"
    INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
    STANDARD_IA = "STANDARD_IA"
    GLACIER_IR = "GLACIER_IR"
    GLACIER = "GLACIER"
    DEEP_ARCHIVE = "DEEP_ARCHIVE"

    @property
    def archived(self) -> bool:
        """Whether objects of this class must be restored before they can be read."""
        return self in {StorageClass.GLACIER, StorageClass.DEEP_ARCHIVE}


class HashSource(StrEnum):
    """Who says that bytes have this SHA-256."""

    STORE = "store"
    """The store computed it, or checked it, over the stored bytes."""
    BOUND = "bound"
    """Who uploaded them says so; a checksum over the whole object shows that they arrived as they were sent."""
    UPLOADER = "uploader"
    """Who uploaded them says so, and nothing more is known."""


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one object: everything but its bytes."""

    bucket: BucketRole
    key: str
    version_id: str
    size_bytes: int
    sha256: str | None
    """Hex digest of the bytes; None only where nobody has said it yet (aws: uploaded past the platform)."""
    etag: str
    """Opaque, without quotes; equal etags of one key mean equal bytes."""
    content_type: str
    """What the writer said it is."""
    storage_class: StorageClass
    created_at: datetime
    is_latest: bool
    is_delete_marker: bool = False
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    hash_source: HashSource = HashSource.STORE
    """Who vouches for ``sha256``; at home always the store itself."""

    @property
    def proven_sha256(self) -> str | None:
        """The hash if the store itself vouches for it; a claim may be a lie, so nothing is deduplicated by one."""
        return self.sha256 if self.hash_source is HashSource.STORE else None


@dataclass(frozen=True, slots=True)
class PutOptions:
    """How to store an object."""

    content_type: str = OCTET_STREAM
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    """Names are lower-case ASCII tokens, values printable ASCII; 2 KiB together."""
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: StorageClass = StorageClass.STANDARD
    expected_sha256: str | None = None
    """Hex digest; the put fails, and keeps nothing, if the bytes hash to something else."""
    create_only: bool = False
    """Fail if the key has a current object (``If-None-Match: *``)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``first`` to ``last``, both included, from 0; ``last`` None means to the end."""

    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of current objects, by UTF-8 order of their keys."""

    objects: tuple[ObjectVersion, ...]
    common_prefixes: tuple[str, ...]
    """Where a delimiter was given: the distinct prefixes up to it, each counted as an entry, in the same order."""
    continuation: str | None
    """Opaque; give it back for the next page. None: this was the last."""


class ObjectReader(Protocol):
    """An open object: its version, and a stream of the bytes asked for. Closed by its context manager."""

    @property
    def version(self) -> ObjectVersion:
        """What is being read."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, all the rest for -1, empty at the end. A read of a whole object checks its hash.

        Raises:
            Corrupt: the bytes differ from what was stored; raised at the latest instead of the end.
        """
        ...

    def chunks(self) -> Iterator[bytes]:
        """The rest, in pieces of at most 1 MiB."""
        ...


class ObjectStore(ABC):
    """Buckets of versioned objects. Safe to use from any thread and from several processes."""

    @abstractmethod
    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        """Store what ``body`` yields until its end, in constant memory, as the new current version.

        Returns after it is durable. Not idempotent: each put is a version. An event for the key is durable with it.
        aws: upload_fileobj's multipart with a full-object checksum; If-None-Match for create_only; the expected hash
        is compared before CompleteMultipartUpload, which is aborted on a mismatch.

        Raises:
            InvalidRequest: key over 1 024 bytes, bad metadata or tags.
            Conflict: create_only, and the key has a current object.
            ChecksumMismatch: expected_sha256 differs.
            NoSpace: the disk is full.
        """

    def write(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> str:
        """``put`` for those who need no more than the new version's id: a far store is not asked what it wrote."""
        return self.put(bucket, key, body, options).version_id

    @abstractmethod
    def open(
        self, bucket: BucketRole, key: str, *, version_id: str | None = None, byte_range: ByteRange | None = None
    ) -> AbstractContextManager[ObjectReader]:
        """Open an object's current version, or the one named, for reading.

        aws: GetObject with Range and VersionId.

        Raises:
            NotFound: no current object, or no such readable version (a delete marker and a tombstone are not).
            InvalidRequest: the range begins at or behind the end.
            Archived: restore it first.
            Corrupt: the bytes are gone or damaged.
        """

    @abstractmethod
    def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
        """What ``open`` would read, without its bytes. aws: HeadObject. Raises NotFound as ``open``; never Archived."""

    @abstractmethod
    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        """A page of current objects under ``prefix``, ordered by the UTF-8 bytes of their keys.

        Keys that exist throughout a paged listing appear exactly once.
        aws: ListObjectsV2, which tells no hash, no content type, no metadata and no version: version_id is empty there.

        Raises:
            InvalidRequest: a continuation that this store did not give, or a limit outside 1 to 1 000.
        """

    @abstractmethod
    def list_versions(
        self, bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, limit: int = LIST_PAGE_SIZE
    ) -> Listing:
        """A page of versions and delete markers, by key, the newest of a key first; no tombstones.

        aws: ListObjectVersions, which tells no hash, no content type and no metadata.
        """

    @abstractmethod
    def delete(self, bucket: BucketRole, key: str) -> ObjectVersion:
        """Add a delete marker, whether or not the key exists; returns it. An event is durable with it.

        aws: DeleteObject without VersionId.
        """

    @abstractmethod
    def delete_version(self, bucket: BucketRole, key: str, version_id: str) -> None:
        """Delete one version or delete marker for good; the newest one left becomes current. Idempotent.

        Its bytes are freed once nothing else refers to them and a grace period is over. An event for the key is
        durable with it. aws: DeleteObject with VersionId.
        """

    @abstractmethod
    def copy(
        self,
        source: ObjectVersion,
        bucket: BucketRole,
        key: str,
        options: PutOptions | None = None,
    ) -> ObjectVersion:
        """Make ``source``'s bytes the new current version of another (or the same) key, without moving bytes.

        Without options, content type, user metadata, tags and storage class come along. Event as ``put``.
        aws: CopyObject, UploadPartCopy above 5 GB.

        Raises:
            NotFound: the source version is not readable. Archived: restore it first. Conflict: as ``put``.
        """

    def write_copy(self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None = None) -> str:
        """``copy`` for those who need no more than the new version's id."""
        return self.copy(source, bucket, key, options).version_id

    @abstractmethod
    def tags(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> Mapping[str, str]:
        """The object's tags. aws: GetObjectTagging. Raises NotFound as ``head``."""

    @abstractmethod
    def set_tags(self, bucket: BucketRole, key: str, tags: Mapping[str, str], *, version_id: str | None = None) -> None:
        """Replace the object's tags (at most 10). Idempotent. aws: PutObjectTagging. Raises NotFound as ``head``."""


def walk(store: ObjectStore, bucket: BucketRole, prefix: str = "") -> Iterator[ObjectVersion]:
    """Every current object under ``prefix``, page by page."""
    continuation: str | None = None
    while True:
        page = store.list(bucket, prefix=prefix, continuation=continuation)
        yield from page.objects
        continuation = page.continuation
        if continuation is None:
            return


def walk_versions(
    store: ObjectStore, bucket: BucketRole, prefix: str = "", limit: int = LIST_PAGE_SIZE
) -> Iterator[ObjectVersion]:
    """Every version and delete marker under ``prefix``, pages of ``limit`` at a time, the newest of a key first."""
    continuation: str | None = None
    while True:
        page = store.list_versions(bucket, prefix=prefix, continuation=continuation, limit=limit)
        yield from page.objects
        continuation = page.continuation
        if continuation is None:
            return


def versions_of(store: ObjectStore, bucket: BucketRole, key: str) -> tuple[ObjectVersion, ...]:
    """Every version and delete marker of exactly ``key``, the newest first."""
    listed = walk_versions(store, bucket, key, limit=_FEW_VERSIONS)
    return tuple(takewhile(lambda version: version.key == key, listed))  # `key` itself sorts first


def erase(store: ObjectStore, bucket: BucketRole, key: str) -> None:
    """Delete every version and delete marker of exactly ``key`` for good. Idempotent."""
    for version in versions_of(store, bucket, key):
        store.delete_version(bucket, key, version.version_id)


@runtime_checkable
class HasLocalFiles(Protocol):
    """The power of a store whose objects are files of this machine: a job can read them where they lie."""

    def local_file(self, version: ObjectVersion) -> Path:
        """The read-only file that holds the version's bytes. Raises as ``ObjectStore.open``."""
        ...


@runtime_checkable
class TellsChanges(Protocol):
    """The power of a store on this machine: to say within microseconds whether what was read is still so."""

    def newest_change(self) -> int:
        """A number that grows with every commit that changed any version, whichever process made it."""
        ...

    def current_id(self, bucket: BucketRole, key: str) -> str | None:
        """The id of a key's current version; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class StagedMark:
    """A moment in the writing of a staged file."""

    size_bytes: int
    progress: object
    """The store's own."""


class StagedFile(Protocol):
    """A file that becomes an object, in the hands of the one who may write it now. Used by one thread at a time."""

    @property
    def size_bytes(self) -> int:
        """How many bytes are written."""
        ...

    def write(self, data: bytes | memoryview, /) -> None:
        """Add bytes at the end; not durable yet. Large pieces are quickest.

        Raises:
            NoSpace, Unavailable: they could not be written; what was there before is as it was.
        """
        ...

    def mark(self) -> StagedMark:
        """This moment, to come back to."""
        ...

    def back_to(self, mark: StagedMark, /) -> None:
        """Forget what was written since the mark."""
        ...

    def sync(self) -> None:
        """Return once all bytes are durable; may be called beside ``write``, for what was written before.

        Raises:
            NoSpace, Unavailable: nobody knows what is on disk: the file is worth nothing any more.
        """
        ...

    def seal(self) -> None:
        """Let nobody write it any more, durably. Raises as ``sync``."""
        ...

    def sha256(self) -> str:
        """Hex digest of all bytes written."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """All its bytes, in large pieces."""
        ...

    def close(self, *, acknowledged: bool = False) -> None:
        """Let go of it. ``acknowledged``: every byte was, so that what is known of them holds. Idempotent."""
        ...


@runtime_checkable
class TakesStagedFiles(Protocol):
    """The power of a store on this machine's disks: bytes that come piece by piece become an object without a copy.

    A name that was staged is kept, over restarts, until it is adopted or dropped; all else in the folder is garbage.
    """

    def stage(self, name: str, size_bytes: int) -> None:
        """Keep ``name``, a file of which lies nowhere yet. A part of the open unit of work.

        Raises:
            NoSpace: the disk could not hold ``size_bytes`` now.
        """
        ...

    def open_staged(self, name: str, size_bytes: int) -> StagedFile:
        """Open a staged file at its byte ``size_bytes``: made for 0, cut if it is longer. Never waits.

        Raises:
            Conflict: somebody else, in whatever process, has it open.
            Corrupt: fewer bytes are there.
        """
        ...

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Keep others from opening a staged file for a while. Never waits; raises Conflict as ``open_staged``."""
        ...

    def open_unnamed(self) -> StagedFile:
        """A new file for bytes that come in one go; garbage unless it is adopted."""
        ...

    def adopt(
        self,
        staged: StagedFile,
        bucket: BucketRole,
        key: str,
        options: PutOptions,
        also: Callable[[ObjectVersion], None],
    ) -> ObjectVersion:
        """Make all bytes of an open staged file the new current version of ``key``, durably; its name ends.

        ``also`` is called with the new version in the very unit of work that commits it. Whatever fails before that,
        the staged file stays as it is, and a second call is as good as the first. It must be sealed.

        Raises:
            As ``ObjectStore.put``.
        """
        ...

    def drop_staged(self, name: str) -> None:
        """End a name, and free its bytes after the commit. A part of the open unit of work. Idempotent."""
        ...

    def discard(self, staged: StagedFile) -> None:
        """Close an unnamed file and free its bytes; nothing if it was adopted."""
        ...


@runtime_checkable
class KnowsContent(Protocol):
    """The power of a store that finds objects by their bytes."""

    def holders(self, bucket: BucketRole, sha256: str) -> Iterator[ObjectVersion]:
        """The current objects with these bytes whose class can be read at once, the oldest first."""
        ...


def check_object_key(key: str) -> None:
    """Raise InvalidRequest unless S3, and so every home, can store an object under ``key``."""
    doing = f"naming an object {key[:80]!r}"
    try:
        size_bytes = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidRequest(doing, "the key is not valid Unicode") from error
    if not 1 <= size_bytes <= OBJECT_KEY_LIMIT_BYTES:
        raise InvalidRequest(doing, f"the key has {size_bytes} bytes of UTF-8, not 1 to {OBJECT_KEY_LIMIT_BYTES}")
    if "\0" in key:
        raise InvalidRequest(doing, "the key has a NUL character")


def check_options(options: PutOptions) -> None:
    """Raise InvalidRequest unless every home can store an object with these options."""
    doing = "storing an object"
    if not options.content_type or _PRINTABLE.fullmatch(options.content_type) is None:
        raise InvalidRequest(doing, "the content type must be printable ASCII")
    for name, value in options.user_metadata.items():
        if _METADATA_NAME.fullmatch(name) is None or _PRINTABLE.fullmatch(value) is None or value != value.strip():
            raise InvalidRequest(
                doing, f"user metadata {name!r}: a name is a lower-case token, a value printable ASCII, no space around"
            )
    if sum(len(name) + len(value) for name, value in options.user_metadata.items()) > USER_METADATA_LIMIT_BYTES:
        raise InvalidRequest(doing, f"user metadata has more than {USER_METADATA_LIMIT_BYTES} bytes")
    if options.expected_sha256 is not None and _SHA256.fullmatch(options.expected_sha256) is None:
        raise InvalidRequest(doing, "the expected SHA-256 is not 64 lower-case hex digits")
    check_tags(options.tags)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise InvalidRequest unless S3 takes these tags."""
    doing = "tagging an object"
    if len(tags) > TAG_LIMIT:
        raise InvalidRequest(doing, f"{len(tags)} tags; at most {TAG_LIMIT} are possible")
    for name, value in tags.items():
        if not 1 <= len(name) <= _TAG_NAME_LIMIT or len(value) > _TAG_VALUE_LIMIT:
            raise InvalidRequest(
                doing,
                f"tag {name[:80]!r}: a name has 1 to {_TAG_NAME_LIMIT} characters, a value at most {_TAG_VALUE_LIMIT}",
            )
        if not all(_may_be_in_a_tag(character) for character in name + value):
            raise InvalidRequest(
                doing, f"tag {name[:80]!r}: only letters, digits, spaces and _ . : / = + - @ are possible"
            )


def _may_be_in_a_tag(character: str) -> bool:
    return character in "_.:/=+-@" or unicodedata.category(character)[0] in "LNZ"
