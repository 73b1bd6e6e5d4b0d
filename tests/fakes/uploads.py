"""Uploads in memory: what the port says in the fewest words, to test with and to test the contract against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from contentplatform.clock import Clock, IdSource
from contentplatform.errors import ChecksumMismatch, Conflict, Denied, InvalidRequest, NotFound, RateLimited
from contentplatform.ingest.upload_sessions import UploadRules
from contentplatform.ingest.uploads import (
    Allowance,
    Appending,
    Busy,
    Checksum,
    NewUpload,
    NoLimits,
    Receiving,
    TooLarge,
    UploadKind,
    Uploads,
    UploadSession,
)
from contentplatform.media import check_key
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions

PRIMARY = BucketRole.PRIMARY


class MemoryUploads(Uploads):
    """Every upload in one dictionary, its bytes in another."""

    def __init__(
        self, store: ObjectStore, clock: Clock, ids: IdSource, rules: UploadRules, allowance: Allowance | None = None
    ) -> None:
        self.store = store
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._allowance = allowance or NoLimits()
        self._receipts: dict[tuple[str, str], tuple[str, str]] = {}
        self.sessions: dict[str, UploadSession] = {}
        self.bytes: dict[str, bytes] = {}
        self.writers: set[str] = set()
        self.used: dict[str, str] = {}

    def create(self, new: NewUpload) -> UploadSession:
        self._check(new)
        parts = [self._part(part_id, new.owner) for part_id in new.parts]
        if new.kind is UploadKind.FINAL:
            if not parts or len(set(new.parts)) != len(parts):
                raise InvalidRequest("joining", "no parts, or one of them twice")
            made = self.used.get(new.parts[0])
            if made is not None and self.sessions[made].parts == new.parts and self.sessions[made].key == new.key:
                return self.sessions[made]
            if any(part.id in self.used for part in parts):
                raise InvalidRequest("joining", "a part is used")
            new = replace(new, length=sum(part.offset for part in parts))
        if len(self.open_sessions(new.owner)) >= self._rules.max_open:
            raise RateLimited("beginning", "too many", retry_after_seconds=1)
        session = self._session(new)
        self.sessions[session.id] = session
        self.bytes[session.id] = b"".join(self.bytes.pop(part.id) for part in parts)
        for part in parts:
            self.used[part.id] = session.id
        return self.record(session.id)

    def _check(self, new: NewUpload) -> None:
        if new.kind is not UploadKind.PARTIAL:
            check_key(new.key)
        elif new.by_link:
            raise Denied("sending", "no parts by link")
        if new.length is not None and new.length > self._rules.max_bytes:
            raise TooLarge("sending", "too large")
        if new.create_only and self._exists(new.key):
            raise Conflict("sending", "it exists")

    def _exists(self, key: str) -> bool:
        try:
            self.store.head(PRIMARY, key)
        except NotFound:
            return False
        return True

    def _part(self, part_id: str, owner: str) -> UploadSession:
        part = self.sessions.get(part_id)
        if part is None or part.owner != owner or not part.partial or not part.complete:
            raise InvalidRequest("joining", "that is no part")
        return part

    def _session(self, new: NewUpload) -> UploadSession:
        now = self._clock.now()
        end = now + timedelta(seconds=self._rules.keep_seconds)
        identifier = self._ids.new_id()
        return UploadSession(
            id=identifier,
            owner=new.owner,
            key=self._allowance.begin(new, identifier, end),
            kind=new.kind,
            length=new.length,
            offset=0,
            created_at=now,
            expires_at=end,
            claimed_type=new.claimed_type,
            expected_sha256=new.expected_sha256,
            create_only=new.create_only,
            metadata=new.metadata,
            parts=new.parts,
            version_id=None,
            by_link=new.by_link,
        )

    def record(self, upload_id: str) -> UploadSession:
        """Note how many bytes there are; the last one makes the version."""
        session = self.sessions[upload_id]
        end = self._clock.now() + timedelta(seconds=self._rules.keep_seconds)
        session = replace(session, offset=len(self.bytes[upload_id]), expires_at=end)
        if session.complete and not session.partial and session.version_id is None:
            try:
                session = replace(session, version_id=self.put(session, self.bytes[upload_id]))
            except (ChecksumMismatch, Conflict):
                del self.sessions[upload_id]
                raise
        self.sessions[upload_id] = session
        return session

    def put(self, session: UploadSession, data: bytes) -> str:
        """Make the version."""
        options = PutOptions(
            content_type=session.claimed_type or "application/octet-stream",
            expected_sha256=session.expected_sha256,
            create_only=session.create_only,
        )
        version = self.store.put(PRIMARY, session.key, BytesIO(data), options)
        self._allowance.settle(session, version.version_id)
        return version.version_id

    def get(self, upload_id: str) -> UploadSession:
        session = self.sessions.get(upload_id)
        if session is None or session.expires_at <= self._clock.now():
            raise NotFound("looking", "no such upload")
        return session

    def append(
        self, upload_id: str, offset: int, *, length: int | None = None, checksum: Checksum | None = None
    ) -> Appending:
        digest = checksum.new() if checksum is not None else None
        session = self.get(upload_id)
        known = session.length if session.length is not None else length
        if session.kind is UploadKind.FINAL:
            raise Denied("adding", "it is put together")
        if length is not None and (length != known or length < session.offset):
            raise InvalidRequest("adding", "another length")
        if offset < 0 or (known is not None and offset > known):
            raise InvalidRequest("adding", "behind the end")
        if length is not None and length > self._rules.max_bytes:
            raise TooLarge("adding", "too large")
        if offset != session.offset:
            raise Conflict("adding", "it stands elsewhere")
        if session.complete:
            raise Denied("adding", "all is there")
        if upload_id in self.writers:
            raise Busy("adding", "somebody is")
        if length is not None:
            self._allowance.resize(session, length)
        self.sessions[upload_id] = replace(session, length=known)
        self.writers.add(upload_id)
        return MemoryAppending(self, upload_id, checksum, digest)

    def terminate(self, upload_id: str) -> None:
        session = self.get(upload_id)
        if upload_id in self.writers:
            raise Busy("ending", "somebody is writing")
        self._forget(session)

    def _forget(self, session: UploadSession) -> None:
        if session.version_id is None and session.id not in self.used:
            self._allowance.release(session)
        del self.sessions[session.id]

    def already_here(self, new: NewUpload, sees: Callable[[str], bool]) -> str | None:
        self._check(new)
        if new.expected_sha256 is None or new.length is None:
            raise InvalidRequest("asking", "what for?")
        there = [
            version
            for version in self.store.list(PRIMARY).objects
            if (version.sha256, version.size_bytes) == (new.expected_sha256, new.length) and sees(version.key)
        ]
        for version in there:
            if version.key == new.key:
                return version.version_id
        if not there:
            return None
        session = self._session(new)
        made = self.store.copy(
            there[0], PRIMARY, session.key, PutOptions(new.claimed_type or "application/octet-stream")
        )
        self._allowance.settle(session, made.version_id)
        return made.version_id

    def receive(self, new: NewUpload, *, idempotency_key: str | None = None) -> Receiving | str:
        made = self._receipts.get((new.owner, idempotency_key or ""))
        if made is not None:
            if made[0] != new.key:
                raise InvalidRequest("storing", "another file")
            return made[1]
        self._check(new)
        return MemoryReceiving(self, new, idempotency_key)

    def make(self, new: NewUpload, data: bytes, idempotency_key: str | None) -> str:
        """Make the version of bytes that came in one go."""
        if new.length is not None and len(data) != new.length:
            raise InvalidRequest("storing", "too few bytes")
        session = self._session(replace(new, length=len(data)))
        try:
            version_id = self.put(session, data)
        except (ChecksumMismatch, Conflict):
            self._allowance.release(session)
            raise
        if idempotency_key:
            self._receipts[new.owner, idempotency_key] = (new.key, version_id)
        return version_id

    def largest(self, new: NewUpload) -> int:
        """The most bytes that one may have."""
        return self._rules.max_bytes if new.length is None else new.length

    def room(self, upload_id: str) -> int:
        """How many bytes an upload takes yet."""
        session = self.sessions[upload_id]
        return (self._rules.max_bytes if session.length is None else session.length) - session.offset

    def open_sessions(self, owner: str) -> Sequence[UploadSession]:
        return [
            session
            for session in self.sessions.values()
            if session.owner == owner and session.version_id is None and session.id not in self.used
        ]

    def expire(self) -> int:
        over = [s for s in self.sessions.values() if s.expires_at <= self._clock.now() and s.id not in self.writers]
        for session in over:
            self._forget(session)
        return len(over)


class MemoryAppending(Appending):
    """A piece."""

    def __init__(self, uploads: MemoryUploads, upload_id: str, checksum: Checksum | None, digest: Any) -> None:
        self._uploads = uploads
        self._id = upload_id
        self._checksum = checksum
        self._digest = digest
        self._data = b""
        self._room = uploads.room(upload_id)

    @property
    def room_bytes(self) -> int | None:
        return None if self._uploads.sessions[self._id].length is None else self._room - len(self._data)

    def write(self, data: bytes | memoryview) -> None:
        if len(self._data) + len(data) > self._room:
            raise InvalidRequest("adding", "too many bytes")
        self._data += bytes(data)

    def end(self) -> UploadSession:
        if self._checksum is not None:
            self._digest.update(self._data)
            if self._digest.digest() != self._checksum.digest:
                self.discard()
                raise ChecksumMismatch("adding", "another checksum")
        self._uploads.writers.discard(self._id)
        self._uploads.bytes[self._id] += self._data
        return self._uploads.record(self._id)

    def cut_off(self) -> UploadSession:
        self._data = b"" if self._checksum is not None else self._data
        self._checksum = None
        return self.end()

    def discard(self) -> None:
        self._uploads.writers.discard(self._id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._id in self._uploads.writers:
            self.cut_off()


class MemoryReceiving(Receiving):
    """Bytes in one go."""

    def __init__(self, uploads: MemoryUploads, new: NewUpload, idempotency_key: str | None) -> None:
        self._uploads = uploads
        self._new = new
        self._idempotency_key = idempotency_key
        self._data = b""

    @property
    def key(self) -> str:
        return self._new.key

    def write(self, data: bytes | memoryview) -> None:
        self._data += bytes(data)
        if len(self._data) > self._uploads.largest(self._new):
            raise TooLarge("storing", "too many bytes")

    def finish(self) -> str:
        return self._uploads.make(self._new, self._data, self._idempotency_key)

    def abandon(self) -> None:
        self._data = b""


def sha256(data: bytes) -> str:
    """The hash as an upload promises it."""
    return hashlib.sha256(data).hexdigest()
