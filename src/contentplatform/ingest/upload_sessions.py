"""Resumable uploads at home: rows in the shared database, bytes in staged files beside the blobs.

A piece is written, synced, and only then is the offset in its session's row moved on: the row never says more than is
on disk. While a large piece comes, the offset follows it in steps. The last piece makes the version: the staged file is
linked as a blob, and one commit has the version, its event and the session's end. Whatever a crash leaves between two
of these steps is finished by the next who asks, or by the worker.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from contentplatform import log
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.sqlite import Connection, Database, Row, Schema, Transaction
from contentplatform.errors import (
    ChecksumMismatch,
    Conflict,
    Corrupt,
    Denied,
    InvalidRequest,
    NotFound,
    PlatformError,
    RateLimited,
    Unavailable,
)
from contentplatform.ingest.service import CLAIM_METADATA
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
from contentplatform.media import OCTET_STREAM, check_key
from contentplatform.storage.port import (
    BucketRole,
    KnowsContent,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    StagedFile,
    TakesStagedFiles,
    check_options,
)

SCHEMA: Final = Schema(
    room="uploads",
    migrations=(
        """
        CREATE TABLE upload_sessions (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('whole', 'partial', 'final')),
            length INTEGER,
            "offset" INTEGER NOT NULL CHECK ("offset" >= 0 AND (length IS NULL OR "offset" <= length)),
            created_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            claimed_type TEXT,
            expected_sha256 TEXT,
            create_only INTEGER NOT NULL,
            metadata TEXT NOT NULL,
            parts TEXT NOT NULL,
            by_link INTEGER NOT NULL,
            version_id TEXT,
            part_of TEXT                -- the upload that took a part's bytes
        ) STRICT;
        CREATE INDEX upload_sessions_by_owner ON upload_sessions (owner, created_at) WHERE version_id IS NULL;
        CREATE INDEX upload_sessions_by_end ON upload_sessions (expires_at);

        CREATE TABLE upload_receipts (
            owner TEXT NOT NULL,
            idempotency_key TEXT NOT NULL,
            key TEXT NOT NULL,
            version_id TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            PRIMARY KEY (owner, idempotency_key)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
_COLUMNS: Final = (
    'id, owner, key, kind, length, "offset", created_at, expires_at, claimed_type, expected_sha256, create_only,'
    " metadata, parts, version_id, by_link, part_of"
)
_CHECKPOINTS_AT_ONCE: Final = 4
_EXPIRED_AT_ONCE: Final = 200
_RETRY_AFTER_SECONDS: Final = 60
T = TypeVar("T")
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What is taken, from anybody."""

    max_bytes: int = 5 << 40
    max_open: int = 1_000
    """Unfinished uploads of one owner."""
    keep_seconds: float = 7 * 86_400.0
    """How long an upload lives after its last byte."""
    checkpoint_bytes: int = 128 << 20
    """So much of one piece may come before the offset follows: what a crash costs at most."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A session, and what only this module needs of it."""

    session: UploadSession
    part_of: str | None

    @classmethod
    def of(cls, row: Row) -> _Row:
        session = UploadSession(
            id=row[0],
            owner=row[1],
            key=row[2],
            kind=UploadKind(row[3]),
            length=row[4],
            offset=row[5],
            created_at=parse_timestamp(row[6]),
            expires_at=parse_timestamp(row[7]),
            claimed_type=row[8],
            expected_sha256=row[9],
            create_only=bool(row[10]),
            metadata=json.loads(row[11]),
            parts=tuple(json.loads(row[12])),
            version_id=row[13],
            by_link=bool(row[14]),
        )
        return cls(session, row[15])


class LocalUploads(Uploads):
    """Uploads into one data folder.

    Args:
        database: opened with this module's ``SCHEMA`` and the store's among its schemas.
        store: where the versions are.
        clock: for when uploads end.
        ids: for their names.
        rules: what is taken.
        allowance: who may send how much.
        staging: where bytes are on their way; None: the store itself has the power to stage files, and to find content.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        clock: Clock,
        ids: IdSource,
        rules: UploadRules = UploadRules(),
        allowance: Allowance | None = None,
        *,
        staging: TakesStagedFiles | None = None,
    ) -> None:
        powers = staging or store
        if not isinstance(powers, TakesStagedFiles) or not isinstance(powers, KnowsContent):
            raise TypeError("the store can't stage files")
        self._database = database
        self._store = store
        self.staging: TakesStagedFiles = powers
        self._content: KnowsContent = powers
        self._clock = clock
        self._ids = ids
        self.rules = rules
        self._allowance = allowance or NoLimits()
        self.checkpoints = ThreadPoolExecutor(_CHECKPOINTS_AT_ONCE, thread_name_prefix="upload-checkpoint")

    # -- beginning ---------------------------------------------------------------------------------------------

    def create(self, new: NewUpload) -> UploadSession:
        self._check(new)
        now = self._clock.now()

        def work(transaction: Transaction) -> UploadSession:
            parts = [self._part(transaction, part_id, new.owner) for part_id in new.parts]
            length = sum(part.offset for part in parts) if new.kind is UploadKind.FINAL else new.length
            self._check_length(length)
            self._refuse_too_many(transaction, new.owner)
            session = self._session(replace(new, length=length), now)
            session = replace(session, key=self._allowance.begin(new, session.id, session.expires_at))
            self._insert(transaction, session)
            for part in parts:
                transaction.run("UPDATE upload_sessions SET part_of = ? WHERE id = ?", (session.id, part.id))
            self.staging.stage(session.id, length or 0)
            return session

        if new.kind is UploadKind.FINAL:
            made = self._made_of(new)
            if made is not None:
                return self.get(made.id)
        session = self._database.write(work)
        crashpoint("uploads.created")
        return self._completed(session) if session.complete or session.kind is UploadKind.FINAL else session

    def _check(self, new: NewUpload) -> None:
        if new.kind is not UploadKind.PARTIAL:
            check_key(new.key)
            check_options(_options(new.claimed_type, new.expected_sha256))
        elif new.by_link:
            raise Denied("sending a file", "a link takes no uploads in parts")
        self._check_length(new.length)
        if new.create_only:
            self._refuse_existing(new.key)

    def _check_length(self, length: int | None) -> None:
        if length is not None and length < 0:
            raise InvalidRequest("sending a file", "it can't have fewer than no bytes")
        if length is not None and length > self.rules.max_bytes:
            raise TooLarge("sending a file", f"it has {length} bytes; at most {self.rules.max_bytes} are taken at once")

    def _refuse_existing(self, key: str) -> None:
        try:
            self._store.head(BucketRole.PRIMARY, key)
        except NotFound:
            return
        raise Conflict(f"creating {key}", "it exists already")

    def _refuse_too_many(self, transaction: Transaction, owner: str) -> None:
        count = transaction.value(
            "SELECT count(*) FROM upload_sessions WHERE owner = ? AND version_id IS NULL AND part_of IS NULL", (owner,)
        )
        if count >= self.rules.max_open:
            raise RateLimited(
                "beginning an upload",
                f"{count} are open already",
                hint="Finish or end some of them",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )

    def _session(self, new: NewUpload, now: datetime) -> UploadSession:
        return UploadSession(
            id=self._ids.new_id(),
            owner=new.owner,
            key=new.key,
            kind=new.kind,
            length=new.length,
            offset=0,
            created_at=now,
            expires_at=now + timedelta(seconds=self.rules.keep_seconds),
            claimed_type=new.claimed_type,
            expected_sha256=new.expected_sha256,
            create_only=new.create_only,
            metadata=dict(new.metadata),
            parts=new.parts,
            version_id=None,
            by_link=new.by_link,
        )

    def _insert(self, transaction: Transaction, session: UploadSession) -> None:
        transaction.run(
            f"INSERT INTO upload_sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session.id,
                session.owner,
                session.key,
                session.kind,
                session.length,
                session.offset,
                timestamp(session.created_at),
                timestamp(session.expires_at),
                session.claimed_type,
                session.expected_sha256,
                int(session.create_only),
                json.dumps(dict(session.metadata)),
                json.dumps(session.parts),
                None,
                int(session.by_link),
                None,
            ),
        )

    # -- looking -----------------------------------------------------------------------------------------------

    def get(self, upload_id: str) -> UploadSession:
        row = self._live(upload_id)
        return self._completed(row.session) if _waits_for_its_version(row) else row.session

    def open_sessions(self, owner: str) -> Sequence[UploadSession]:
        with self._database.read() as connection:
            rows = connection.rows(
                f"SELECT {_COLUMNS} FROM upload_sessions WHERE owner = ? AND version_id IS NULL AND part_of IS NULL"
                " ORDER BY created_at, id",
                (owner,),
            )
        return [_Row.of(row).session for row in rows]

    def _live(self, upload_id: str) -> _Row:
        with self._database.read() as connection:
            row = _find(connection, upload_id)
        if row is None or row.session.expires_at <= self._clock.now():
            raise _no_such(upload_id)
        return row

    # -- taking bytes ------------------------------------------------------------------------------------------

    def append(
        self, upload_id: str, offset: int, *, length: int | None = None, checksum: Checksum | None = None
    ) -> Appending:
        digest = None if checksum is None else checksum.new()
        self._refuse_append(self._live(upload_id), offset, length)
        staged = self.open_alone(upload_id)
        try:
            row = self._live(upload_id)  # again, now that nobody else moves it on
            self._refuse_append(row, offset, length)
            if length is not None and row.session.length is None:
                row = self._database.write(lambda transaction: self._set_length(transaction, upload_id, length))
            return _LocalAppending(self, row.session, staged, checksum, digest)
        except BaseException:
            staged.close(acknowledged=True)
            raise

    def open_alone(self, upload_id: str) -> StagedFile:
        """The staged file of an upload, at its offset; an upload whose bytes are gone ends here."""
        session = self._live(upload_id).session
        try:
            return self.staging.open_staged(upload_id, session.offset)
        except Conflict as error:
            raise _busy(upload_id) from error
        except Corrupt as error:
            if self._live(upload_id).session.offset == session.offset:
                self.lose(upload_id, error.why)
            raise

    def _refuse_append(self, row: _Row, offset: int, length: int | None) -> None:
        session, doing = row.session, f"adding to upload {row.session.id}"
        if offset < 0:
            raise InvalidRequest(doing, "an offset can't be below 0")
        if session.kind is UploadKind.FINAL:
            raise Denied(doing, "it is put together of parts")
        if length is not None and session.length is not None and length != session.length:
            raise InvalidRequest(doing, f"its length is {session.length} bytes, which can't be changed")
        if length is not None and length < session.offset:
            raise InvalidRequest(doing, f"{session.offset} bytes are there already")
        self._check_length(length)
        known = session.length if length is None else length
        if known is not None and offset > known:
            raise InvalidRequest(doing, f"byte {offset} lies behind its end, which is at {known}")
        if offset != session.offset:
            raise Conflict(doing, f"it stands at byte {session.offset}, not {offset}")
        if session.version_id is not None or row.part_of is not None or session.complete:
            raise Denied(doing, "all its bytes are there")

    def _set_length(self, transaction: Transaction, upload_id: str, length: int) -> _Row:
        self._allowance.resize(_must_find(transaction, upload_id).session, length)
        transaction.run("UPDATE upload_sessions SET length = ? WHERE id = ?", (length, upload_id))
        return _must_find(transaction, upload_id)

    def room(self, session: UploadSession) -> int | None:
        """How many more bytes an upload takes."""
        end = self.rules.max_bytes if session.length is None else session.length
        return end - session.offset

    def record(self, upload_id: str, offset: int) -> UploadSession:
        """Move the offset on; everything before it is durable."""

        def work(transaction: Transaction) -> UploadSession:
            session = _must_find(transaction, upload_id).session
            if session.length is None:
                self._allowance.resize(session, offset)
            end = timestamp(self._clock.now() + timedelta(seconds=self.rules.keep_seconds))
            transaction.run(
                'UPDATE upload_sessions SET "offset" = ?, expires_at = ? WHERE id = ?', (offset, end, upload_id)
            )
            return _must_find(transaction, upload_id).session

        return self._database.write(work)

    def lose(self, upload_id: str, why: str) -> None:
        """End an upload whose bytes nobody can vouch for."""
        log.event(_logger, logging.ERROR, "upload lost", upload=upload_id, **{log.REASON: why})
        self._database.write(lambda transaction: self._end(transaction, upload_id))

    # -- finishing ---------------------------------------------------------------------------------------------

    def _completed(self, session: UploadSession) -> UploadSession:
        """Make the version of an upload whose bytes are all there; where another is at it, that one does."""
        if session.partial:
            return session
        try:
            staged = self.open_alone(session.id)
        except Busy:
            return self._live(session.id).session
        try:
            row = self._live(session.id)
            if not _waits_for_its_version(row):
                return row.session
            return self.complete(row.session, staged)
        finally:
            staged.close()

    def complete(self, session: UploadSession, staged: StagedFile) -> UploadSession:
        """Make the version of an upload, with its file at hand."""
        try:
            if session.kind is UploadKind.FINAL and not session.complete:
                session = self._join(session, staged)
            return self._adopt(session, staged)
        except (ChecksumMismatch, Conflict, Corrupt):
            # It can never become a version: whoever asks again begins anew.
            self._database.write(lambda transaction: self._end(transaction, session.id))
            raise

    def _adopt(self, session: UploadSession, staged: StagedFile) -> UploadSession:
        options = _options(session.claimed_type, session.expected_sha256, create_only=session.create_only)
        finished: list[UploadSession] = []

        def also(version: ObjectVersion) -> None:
            finished.append(
                self._database.write(lambda transaction: self._finish(transaction, session.id, version.version_id))
            )

        with self._losing(session.id):
            staged.seal()
        self.staging.adopt(staged, BucketRole.PRIMARY, session.key, options, also)
        crashpoint("uploads.committed")
        return finished[-1]

    def _finish(self, transaction: Transaction, upload_id: str, version_id: str) -> UploadSession:
        row = _must_find(transaction, upload_id)
        self._allowance.settle(row.session, version_id)
        end = timestamp(self._clock.now() + timedelta(seconds=self.rules.keep_seconds))
        transaction.run(
            "UPDATE upload_sessions SET version_id = ?, expires_at = ? WHERE id = ?", (version_id, end, upload_id)
        )
        for part_id in row.session.parts:
            self.staging.drop_staged(part_id)
        return _must_find(transaction, upload_id).session

    # -- parts -------------------------------------------------------------------------------------------------

    def _part(self, connection: Connection, part_id: str, owner: str) -> UploadSession:
        doing = "putting an upload together"
        row = _find(connection, part_id)
        if row is None or row.session.owner != owner or row.session.expires_at <= self._clock.now():
            raise InvalidRequest(doing, f"there is no part {part_id[:80]!r}")
        if not row.session.partial:
            raise InvalidRequest(doing, f"{part_id} is an upload of its own, no part")
        if row.part_of is not None:
            raise InvalidRequest(doing, f"part {part_id} belongs to another upload")
        if not row.session.complete:
            raise InvalidRequest(doing, f"part {part_id} is not complete", hint="Send the rest of it first")
        return row.session

    def _made_of(self, new: NewUpload) -> UploadSession | None:
        """The upload that was begun with exactly these parts before: whoever asked did not hear the answer."""
        if not new.parts:
            raise InvalidRequest("putting an upload together", "no part is named")
        if len(set(new.parts)) != len(new.parts):
            raise InvalidRequest("putting an upload together", "a part is named twice")
        with self._database.read() as connection:
            first = _find(connection, new.parts[0])
            made = None if first is None or first.part_of is None else _find(connection, first.part_of)
        if made is None or made.session.owner != new.owner:
            return None
        same = (made.session.parts, made.session.key) == (new.parts, new.key)
        return made.session if same else None

    def _join(self, session: UploadSession, staged: StagedFile) -> UploadSession:
        """Write the parts' bytes one behind the other."""
        for part_id in session.parts:
            part = self._open_part(session.id, part_id)
            try:
                for piece in part.pieces():
                    staged.write(piece)
            finally:
                part.close(acknowledged=True)
        self.sync(session.id, staged)
        crashpoint("uploads.joined")
        return self.record(session.id, staged.size_bytes)

    def _open_part(self, upload_id: str, part_id: str) -> StagedFile:
        with self._database.read() as connection:
            row = _find(connection, part_id)
        if row is None or row.part_of != upload_id:
            raise Conflict("putting an upload together", f"part {part_id} ended meanwhile")
        return self.open_alone(part_id)

    def sync(self, upload_id: str, staged: StagedFile) -> None:
        """Make what was written durable; an upload for which that fails is lost."""
        with self._losing(upload_id):
            staged.sync()

    @contextmanager
    def _losing(self, upload_id: str) -> Iterator[None]:
        try:
            yield
        except PlatformError as error:
            self.lose(upload_id, error.why)
            raise Unavailable(
                f"keeping upload {upload_id}", "the disk failed, and the upload is lost", hint="Start it again"
            ) from error

    # -- ending ------------------------------------------------------------------------------------------------

    def terminate(self, upload_id: str) -> None:
        self._live(upload_id)
        with self._alone(upload_id):
            self._database.write(lambda transaction: self._end(transaction, upload_id))

    @contextmanager
    def _alone(self, upload_id: str) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(self.staging.alone(upload_id))
            except Conflict as error:
                raise _busy(upload_id) from error
            yield

    def _end(self, transaction: Transaction, upload_id: str) -> None:
        """Forget an upload, and what was kept for it unless it became a version."""
        row = _find(transaction, upload_id)
        if row is None:
            return
        if row.session.version_id is None and not self._is_used(transaction, row):
            self._allowance.release(row.session)
            self.staging.drop_staged(upload_id)
            for part_id in row.session.parts:
                transaction.run("UPDATE upload_sessions SET part_of = NULL WHERE id = ?", (part_id,))
        transaction.run("DELETE FROM upload_sessions WHERE id = ?", (upload_id,))

    def _is_used(self, connection: Connection, row: _Row) -> bool:
        """Whether a part's bytes are in a version already."""
        whole = None if row.part_of is None else _find(connection, row.part_of)
        return row.part_of is not None and (whole is None or whole.session.version_id is not None)

    def expire(self) -> int:
        now = timestamp(self._clock.now())
        with self._database.read() as connection:
            over = [
                str(upload_id)
                for (upload_id,) in connection.rows(
                    "SELECT id FROM upload_sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
                    (now, _EXPIRED_AT_ONCE),
                )
            ]
            left = [
                _Row.of(row).session
                for row in connection.rows(
                    f"SELECT {_COLUMNS} FROM upload_sessions WHERE version_id IS NULL AND kind <> 'partial'"
                    " AND (length = \"offset\" OR kind = 'final') AND expires_at > ? LIMIT ?",
                    (now, _EXPIRED_AT_ONCE),
                )
            ]
        ended = sum(self._expire(upload_id, now) for upload_id in over)
        for session in left:
            self._finish_left(session)
        self._database.write(
            lambda transaction: transaction.run("DELETE FROM upload_receipts WHERE expires_at <= ?", (now,))
        )
        return ended

    def _expire(self, upload_id: str, now: str) -> bool:
        """End an upload whose time is over, unless somebody is writing to it this moment."""

        def work(transaction: Transaction) -> bool:
            still = transaction.value(
                "SELECT 1 FROM upload_sessions WHERE id = ? AND expires_at <= ?", (upload_id, now)
            )
            if still:
                self._end(transaction, upload_id)
            return bool(still)

        try:
            with self._alone(upload_id):
                return self._database.write(work)
        except Busy:
            return False

    def _finish_left(self, session: UploadSession) -> None:
        try:
            self._completed(session)
        except PlatformError as error:
            fields = {log.KEY: session.key, log.REASON: error.public}
            log.event(_logger, logging.WARNING, "upload not finished", upload=session.id, **fields)

    # -- in one go ---------------------------------------------------------------------------------------------

    def already_here(self, new: NewUpload, sees: Callable[[str], bool]) -> str | None:
        self._check(new)
        if new.expected_sha256 is None or new.length is None:
            raise InvalidRequest("asking for content", "its SHA-256 and its length are needed")
        found = [
            version
            for version in self._content.holders(BucketRole.PRIMARY, new.expected_sha256)
            if version.size_bytes == new.length and sees(version.key)
        ]
        for version in found:
            if version.key == new.key:
                return version.version_id
        if not found:
            return None
        source = found[-1]
        plain = _options(new.claimed_type, new.expected_sha256, create_only=new.create_only)
        options = replace(plain, storage_class=source.storage_class)  # in another class they would have to be copied

        def work(_transaction: Transaction) -> str:
            session = self._session(new, self._clock.now())
            session = replace(session, key=self._allowance.begin(new, session.id, session.expires_at))
            version = self._store.copy(source, BucketRole.PRIMARY, session.key, options)
            self._allowance.settle(replace(session, offset=version.size_bytes), version.version_id)
            return version.version_id

        return self._database.write(work)

    def receive(self, new: NewUpload, *, idempotency_key: str | None = None) -> Receiving | str:
        if idempotency_key is not None:
            made = self._receipt(new, idempotency_key)
            if made is not None:
                return made
        self._check(new)
        session = self._session(new, self._clock.now())
        if new.by_link:  # its key is one that nobody else is given; should we die, the link frees it by itself
            key = self._together(lambda: self._allowance.begin(new, session.id, session.expires_at))
            session = replace(session, key=key)
        return _LocalReceiving(self, session, self.staging.open_unnamed(), idempotency_key)

    def _together(self, work: Callable[[], T]) -> T:
        return self._database.write(lambda _transaction: work())

    def _receipt(self, new: NewUpload, idempotency_key: str) -> str | None:
        with self._database.read() as connection:
            row = connection.row(
                "SELECT key, version_id FROM upload_receipts WHERE owner = ? AND idempotency_key = ?",
                (new.owner, idempotency_key),
            )
        if row is None:
            return None
        if row[0] != new.key:
            raise InvalidRequest(f"storing {new.key}", "this idempotency key stands for another file")
        return str(row[1])

    def largest(self, session: UploadSession) -> int:
        """How many bytes an upload may have."""
        return self.rules.max_bytes if session.length is None else session.length

    def receive_all(self, session: UploadSession, staged: StagedFile, idempotency_key: str | None) -> str:
        """Make the version of bytes that came in one go."""
        options = _options(session.claimed_type, session.expected_sha256, create_only=session.create_only)

        def also(version: ObjectVersion) -> None:
            self._database.write(lambda transaction: self._note(transaction, session, version, idempotency_key))

        staged.seal()
        version = self.staging.adopt(staged, BucketRole.PRIMARY, session.key, options, also)
        crashpoint("uploads.committed")
        return version.version_id

    def _note(
        self, transaction: Transaction, session: UploadSession, version: ObjectVersion, idempotency_key: str | None
    ) -> None:
        came = replace(session, length=version.size_bytes, offset=version.size_bytes)
        if not session.by_link:
            self._allowance.begin(_as_new(came), came.id, came.expires_at)
        self._allowance.settle(came, version.version_id)
        if idempotency_key is None:
            return
        try:
            transaction.run(
                "INSERT INTO upload_receipts VALUES (?, ?, ?, ?, ?)",
                (came.owner, idempotency_key, came.key, version.version_id, timestamp(came.expires_at)),
            )
        except Conflict as error:
            raise Conflict(f"storing {came.key}", "the same request is on its way twice") from error

    def release(self, session: UploadSession) -> None:
        """Free what was kept for bytes that did not come."""
        if session.by_link:
            self._together(lambda: self._allowance.release(session))


class _LocalAppending(Appending):
    """A piece on its way into a staged file."""

    def __init__(
        self, uploads: LocalUploads, session: UploadSession, staged: StagedFile, checksum: Checksum | None, digest: Any
    ) -> None:
        self._uploads = uploads
        self._session = session
        self._staged = staged
        self._checksum = checksum
        self._digest = digest
        self._begin = staged.mark()
        self._room = uploads.room(session)
        self._recorded = session.offset
        self._checkpoint: Future[UploadSession] | None = None
        self._ended = False

    @property
    def room_bytes(self) -> int | None:
        if self._session.length is None or self._room is None:
            return None
        return self._room - (self._staged.size_bytes - self._begin.size_bytes)

    def write(self, data: bytes | memoryview) -> None:
        size_bytes = self._staged.size_bytes + len(data)
        if self._room is not None and size_bytes - self._begin.size_bytes > self._room:
            raise InvalidRequest(
                f"adding to upload {self._session.id}", f"more bytes came than the {self._room} that were left"
            )
        if self._digest is not None:
            self._digest.update(data)
        self._staged.write(data)
        self._follow()

    def end(self) -> UploadSession:
        if self._digest is not None and self._checksum is not None and self._digest.digest() != self._checksum.digest:
            self.discard()
            raise ChecksumMismatch(
                f"adding to upload {self._session.id}",
                f"the {self._checksum.algorithm} of the piece is another one",
                hint="Send the piece again",
            )
        return self._keep()

    def cut_off(self) -> UploadSession:
        if self._digest is None:
            return self._keep()
        self.discard()
        return self._uploads.get(self._session.id)

    def discard(self) -> None:
        """Back to where it began, or to what was acknowledged since: what was told once is never taken back."""
        try:
            self._wait_for_checkpoint()
            if self._recorded == self._begin.size_bytes:
                self._staged.back_to(self._begin)
        finally:
            self._close(acknowledged=self._recorded == self._begin.size_bytes)

    def _keep(self) -> UploadSession:
        crashpoint("uploads.written")
        try:
            self._wait_for_checkpoint()
            length, size_bytes = self._session.length, self._staged.size_bytes
            if size_bytes == self._recorded and length != size_bytes:
                session = (
                    self._session if self._recorded == self._begin.size_bytes else self._uploads.get(self._session.id)
                )
                self._close(acknowledged=True)
                return session
            self._uploads.sync(self._session.id, self._staged)
            crashpoint("uploads.synced")
            session = self._uploads.record(self._session.id, size_bytes)
            crashpoint("uploads.recorded")
            if session.complete and not session.partial:
                session = self._uploads.complete(session, self._staged)
            self._close(acknowledged=True)
        finally:
            self._close(acknowledged=False)
        return session

    def _follow(self) -> None:
        """Let the offset follow a large piece, beside the writing."""
        if self._digest is not None:
            return  # the piece may have to be forgotten
        if self._checkpoint is not None and self._checkpoint.done():
            self._wait_for_checkpoint()
        if (
            self._checkpoint is None
            and self._staged.size_bytes - self._recorded >= self._uploads.rules.checkpoint_bytes
        ):
            size_bytes = self._staged.size_bytes
            self._recorded = size_bytes
            self._checkpoint = self._uploads.checkpoints.submit(self._sync_and_record, size_bytes)

    def _sync_and_record(self, size_bytes: int) -> UploadSession:
        self._uploads.sync(self._session.id, self._staged)
        return self._uploads.record(self._session.id, size_bytes)

    def _wait_for_checkpoint(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.result()  # one that failed stays: nothing is synced or recorded after it
            self._checkpoint = None

    def _close(self, *, acknowledged: bool) -> None:
        self._ended = True
        self._staged.close(acknowledged=acknowledged)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.cut_off()


class _LocalReceiving(Receiving):
    """Bytes on their way into a temporary file."""

    def __init__(
        self, uploads: LocalUploads, session: UploadSession, staged: StagedFile, idempotency_key: str | None
    ) -> None:
        self._uploads = uploads
        self._session = session
        self._staged = staged
        self._idempotency_key = idempotency_key
        self._largest = uploads.largest(session)
        self._ended = False

    @property
    def key(self) -> str:
        return self._session.key

    def write(self, data: bytes | memoryview) -> None:
        if self._staged.size_bytes + len(data) > self._largest:
            raise TooLarge(f"storing {self.key}", f"more than {self._largest} bytes came")
        self._staged.write(data)

    def finish(self) -> str:
        length = self._session.length
        try:
            if length is not None and self._staged.size_bytes != length:
                raise InvalidRequest(f"storing {self.key}", f"{self._staged.size_bytes} bytes came instead of {length}")
            version_id = self._uploads.receive_all(self._session, self._staged, self._idempotency_key)
        except BaseException:
            self.abandon()
            raise
        self._ended = True
        self._uploads.staging.discard(self._staged)
        return version_id

    def abandon(self) -> None:
        if not self._ended:
            self._ended = True
            self._uploads.staging.discard(self._staged)
            self._uploads.release(self._session)


def _options(claimed_type: str | None, expected_sha256: str | None, *, create_only: bool = False) -> PutOptions:
    return PutOptions(
        content_type=claimed_type or OCTET_STREAM,
        user_metadata={CLAIM_METADATA: claimed_type} if claimed_type else {},
        expected_sha256=expected_sha256,
        create_only=create_only,
    )


def _as_new(session: UploadSession) -> NewUpload:
    """What a session would have been asked for by."""
    return NewUpload(session.owner, session.key, session.length, session.kind, by_link=session.by_link)


def _waits_for_its_version(row: _Row) -> bool:
    session = row.session
    if session.version_id is not None or session.partial:
        return False
    return session.complete or session.kind is UploadKind.FINAL


def _find(connection: Connection, upload_id: str) -> _Row | None:
    row = connection.row(f"SELECT {_COLUMNS} FROM upload_sessions WHERE id = ?", (upload_id,))
    return None if row is None else _Row.of(row)


def _must_find(connection: Connection, upload_id: str) -> _Row:
    row = _find(connection, upload_id)
    if row is None:
        raise _no_such(upload_id)
    return row


def _busy(upload_id: str) -> Busy:
    return Busy(
        f"writing to upload {upload_id}", "another request is writing to it", hint="Wait until that one has ended"
    )


def _no_such(upload_id: str) -> NotFound:
    return NotFound(
        f"looking for upload {upload_id[:80]!r}", "there is none, or its time is over", hint="Start it again"
    )
