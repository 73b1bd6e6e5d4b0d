"""The store in memory: what the port says in the fewest words, to test with and to test the contract against."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import BinaryIO

from contentplatform.clock import Clock, IdSource
from contentplatform.errors import Archived, ChecksumMismatch, Conflict, InvalidRequest, NotFound
from contentplatform.storage.port import (
    CHUNK_SIZE_BYTES,
    LIST_PAGE_SIZE,
    BucketRole,
    ByteRange,
    HashSource,
    Listing,
    ObjectReader,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    check_object_key,
    check_options,
    check_tags,
)


@dataclass(slots=True)
class Kept:
    """One version or delete marker with its bytes and tags."""

    version: ObjectVersion
    data: bytes = b""
    tags: dict[str, str] = field(default_factory=dict)


class MemoryReader:
    """An open object."""

    def __init__(self, version: ObjectVersion, data: bytes) -> None:
        self._version = version
        self._stream = BytesIO(data)

    @property
    def version(self) -> ObjectVersion:
        return self._version

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)

    def chunks(self) -> Iterator[bytes]:
        while piece := self._stream.read(CHUNK_SIZE_BYTES):
            yield piece


class MemoryObjectStore(ObjectStore):
    """Every object in one dictionary; the versions of a key from the oldest to the newest."""

    def __init__(self, clock: Clock, ids: IdSource) -> None:
        self._clock = clock
        self._ids = ids
        self._lock = threading.RLock()
        self._kept: dict[tuple[BucketRole, str], list[Kept]] = {}
        self.events: list[tuple[BucketRole, str]] = []
        """Every change so far, for tests of what reacts to them."""
        self.hashes_copies = True
        """Whether a copy's hash is proven; where not, it is as good as that of its source."""
        self.reads: list[tuple[str, ByteRange | None]] = []
        """Key and range of every read."""

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        check_object_key(key)
        check_options(options)
        data = b"".join(iter(lambda: body.read(CHUNK_SIZE_BYTES), b""))
        return self._add(bucket, key, data, options)

    def _add(self, bucket: BucketRole, key: str, data: bytes, options: PutOptions) -> ObjectVersion:
        sha256 = hashlib.sha256(data).hexdigest()
        if options.expected_sha256 not in {None, sha256}:
            raise ChecksumMismatch(f"storing {key}", "the bytes differ")
        with self._lock:
            if options.create_only and self._current(bucket, key) is not None:
                raise Conflict(f"creating {key}", "it exists already")
            version = ObjectVersion(
                bucket=bucket,
                key=key,
                version_id=self._ids.new_id(),
                size_bytes=len(data),
                sha256=sha256,
                etag=sha256,
                content_type=options.content_type,
                storage_class=options.storage_class,
                created_at=self._clock.now(),
                is_latest=True,
                user_metadata=dict(options.user_metadata),
            )
            return self._keep(Kept(version, data, dict(options.tags)))

    def _keep(self, kept: Kept) -> ObjectVersion:
        place = (kept.version.bucket, kept.version.key)
        self._kept.setdefault(place, []).append(kept)
        self.events.append(place)
        return kept.version

    def upload_past(
        self, key: str, data: bytes, claim: str | None = None, source: HashSource = HashSource.UPLOADER
    ) -> ObjectVersion:
        """Put bytes into the primary bucket as nobody of the platform does: only their uploader says what they are."""
        with self._lock:
            self._add(BucketRole.PRIMARY, key, data, PutOptions())
            kept = self._kept[BucketRole.PRIMARY, key][-1]
            kept.version = replace(kept.version, sha256=claim, hash_source=source)
            return kept.version

    def _versions(self, bucket: BucketRole, key: str) -> list[Kept]:
        return self._kept.get((bucket, key), [])

    def _current(self, bucket: BucketRole, key: str) -> Kept | None:
        versions = self._versions(bucket, key)
        return versions[-1] if versions and not versions[-1].version.is_delete_marker else None

    def _find(self, bucket: BucketRole, key: str, version_id: str | None) -> Kept:
        if version_id is None:
            found = self._current(bucket, key)
        else:
            named = [kept for kept in self._versions(bucket, key) if kept.version.version_id == version_id]
            found = next((kept for kept in named if not kept.version.is_delete_marker), None)
        if found is None:
            raise NotFound(f"looking up {key}", "there is no such object")
        return found

    def _told(self, kept: Kept) -> ObjectVersion:
        newest = self._versions(kept.version.bucket, kept.version.key)[-1]
        return replace(kept.version, is_latest=newest is kept)

    @contextmanager
    def open(
        self, bucket: BucketRole, key: str, *, version_id: str | None = None, byte_range: ByteRange | None = None
    ) -> Iterator[ObjectReader]:
        with self._lock:
            kept = self._find(bucket, key, version_id)
            version = self._told(kept)
            self.reads.append((key, byte_range))
        if version.storage_class.archived:
            raise Archived(f"reading {key}", "restore it first")
        data = kept.data
        if byte_range is not None:
            last = len(data) - 1 if byte_range.last is None else min(byte_range.last, len(data) - 1)
            if not 0 <= byte_range.first <= last:
                raise InvalidRequest(f"reading {key}", "no byte is in the range")
            data = data[byte_range.first : last + 1]
        yield MemoryReader(version, data)

    def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
        with self._lock:
            return self._told(self._find(bucket, key, version_id))

    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        after = _parse(continuation, limit)
        entries: dict[str, ObjectVersion | None] = {}
        with self._lock:
            for of_bucket, key in sorted(self._kept, key=lambda place: place[1].encode()):
                kept = self._current(of_bucket, key)
                if of_bucket is not bucket or kept is None or not key.startswith(prefix):
                    continue
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                entries.setdefault(key if cut < 0 else key[: cut + len(delimiter)], kept.version if cut < 0 else None)
        left = [(name, version) for name, version in entries.items() if name.encode() > after]
        page = left[:limit]
        return Listing(
            objects=tuple(version for _, version in page if version is not None),
            common_prefixes=tuple(name for name, version in page if version is None),
            continuation=_format(page[-1][0].encode()) if len(left) > limit else None,
        )

    def list_versions(
        self, bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, limit: int = LIST_PAGE_SIZE
    ) -> Listing:
        after = _parse(continuation, limit)
        left: list[tuple[bytes, ObjectVersion]] = []
        with self._lock:
            for of_bucket, key in sorted(self._kept, key=lambda place: place[1].encode()):
                if of_bucket is bucket and key.startswith(prefix):
                    newest_first = reversed(list(enumerate(self._versions(bucket, key))))
                    left += [(_order(key, number), self._told(kept)) for number, kept in newest_first]
        left = [entry for entry in left if entry[0] > after]
        return Listing(
            objects=tuple(version for _, version in left[:limit]),
            common_prefixes=(),
            continuation=_format(left[limit - 1][0]) if len(left) > limit else None,
        )

    def delete(self, bucket: BucketRole, key: str) -> ObjectVersion:
        check_object_key(key)
        with self._lock:
            marker = ObjectVersion(
                bucket=bucket,
                key=key,
                version_id=self._ids.new_id(),
                size_bytes=0,
                sha256=None,
                etag="",
                content_type=PutOptions().content_type,
                storage_class=PutOptions().storage_class,
                created_at=self._clock.now(),
                is_latest=True,
                is_delete_marker=True,
            )
            return self._keep(Kept(marker))

    def delete_version(self, bucket: BucketRole, key: str, version_id: str) -> None:
        with self._lock:
            versions = self._versions(bucket, key)
            left = [kept for kept in versions if kept.version.version_id != version_id]
            if len(left) < len(versions):
                self._kept[bucket, key] = left
                self.events.append((bucket, key))

    def copy(
        self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None = None
    ) -> ObjectVersion:
        check_object_key(key)
        if options is not None:
            check_options(options)
        with self._lock:
            kept = self._find(source.bucket, source.key, source.version_id)
            if kept.version.storage_class.archived:
                raise Archived(f"copying {source.key}", "restore it first")
            same = PutOptions(
                kept.version.content_type, kept.version.user_metadata, kept.tags, kept.version.storage_class
            )
            made = self._add(bucket, key, kept.data, options or same)
            if self.hashes_copies:
                return made
            place = self._kept[bucket, key][-1]
            place.version = replace(made, sha256=source.sha256, hash_source=source.hash_source)
            return place.version

    def tags(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> Mapping[str, str]:
        with self._lock:
            return dict(self._find(bucket, key, version_id).tags)

    def set_tags(self, bucket: BucketRole, key: str, tags: Mapping[str, str], *, version_id: str | None = None) -> None:
        check_tags(tags)
        with self._lock:
            self._find(bucket, key, version_id).tags = dict(tags)


def _order(key: str, number: int) -> bytes:
    """Sorts by key, then the newest first; keys have no NUL."""
    return key.encode() + b"\0" + ((1 << 32) - number).to_bytes(5, "big")


def _format(position: bytes) -> str:
    return base64.b64encode(b"here:" + position).decode()


def _parse(continuation: str | None, limit: int) -> bytes:
    if not 1 <= limit <= LIST_PAGE_SIZE:
        raise InvalidRequest("listing objects", f"a page has 1 to {LIST_PAGE_SIZE} entries")
    if continuation is None:
        return b""
    try:
        position = base64.b64decode(continuation, validate=True)
    except ValueError as error:
        raise InvalidRequest("listing objects", "that continuation is not ours") from error
    if not position.startswith(b"here:"):
        raise InvalidRequest("listing objects", "that continuation is not ours")
    return position.removeprefix(b"here:")
