"""Uploads that go straight to a far store: rows in the shared database, bytes in the store's own transfers.

The store can't commit together with the rows. So an object says by which upload it came: who finds the transfer gone
looks whether there is a version of it, before it is taken for lost.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock, IdSource, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Database, Row, Schema, Transaction
from contentplatform.errors import Conflict, Denied, InvalidRequest, NotFound, PlatformError, RateLimited
from contentplatform.ingest.service import CLAIM_METADATA
from contentplatform.ingest.upload_sessions import UploadRules
from contentplatform.ingest.uploads import (
    Allowance,
    DirectUpload,
    DirectUploads,
    Incomplete,
    NewUpload,
    NoLimits,
    PartToSend,
    TooLarge,
    UploadKind,
    UploadSession,
)
from contentplatform.media import OCTET_STREAM, check_key
from contentplatform.storage.outgoing_files import UPLOAD_METADATA
from contentplatform.storage.parts import SMALLEST_PART_BYTES, PartPlan, TakesParts, plan_parts
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions, check_options, versions_of

SCHEMA: Final = Schema(
    room="direct_uploads",
    migrations=(
        """
        CREATE TABLE direct_uploads (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            length INTEGER NOT NULL CHECK (length > 0),
            part_size_bytes INTEGER NOT NULL CHECK (part_size_bytes > 0),
            created_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            claimed_type TEXT,
            create_only INTEGER NOT NULL,
            transfer TEXT NOT NULL,     -- the store's name of it; empty: not begun
            version_id TEXT
        ) STRICT;
        CREATE INDEX direct_uploads_by_owner ON direct_uploads (owner) WHERE version_id IS NULL;
        CREATE INDEX direct_uploads_by_end ON direct_uploads (expires_at);
        """,
    ),
)
ADDRESS_SECONDS: Final = 3_600
"""How long an address is good at most."""
ADDRESSES_AT_ONCE: Final = 100
_COLUMNS: Final = (
    "id, owner, key, length, part_size_bytes, created_at, expires_at, claimed_type, create_only, transfer, version_id"
)
_EXPIRED_AT_ONCE: Final = 200
_RETRY_AFTER_SECONDS: Final = 60
_CLOCKS_DIFFER: Final = timedelta(days=1)
_NAMED_PARTS: Final = 5
_logger: Final = logging.getLogger(__name__)


class _Row:
    """A session, and what only this module needs of it."""

    def __init__(self, row: Row) -> None:
        self.upload = DirectUpload(
            id=row[0],
            owner=row[1],
            key=row[2],
            length=row[3],
            part_size_bytes=row[4],
            created_at=parse_timestamp(row[5]),
            expires_at=parse_timestamp(row[6]),
            version_id=row[10],
        )
        self.plan = PartPlan(row[3], row[4])
        self.claimed_type: str | None = row[7]
        self.create_only = bool(row[8])
        self.transfer: str = row[9]

    def session(self) -> UploadSession:
        """What an allowance is told: an upload all of whose bytes came."""
        upload = self.upload
        return UploadSession(
            id=upload.id,
            owner=upload.owner,
            key=upload.key,
            kind=UploadKind.WHOLE,
            length=upload.length,
            offset=upload.length,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
            claimed_type=self.claimed_type,
            expected_sha256=None,
            create_only=self.create_only,
            metadata={},
            parts=(),
            version_id=upload.version_id,
        )


class FarUploads(DirectUploads):
    """Uploads into one far store.

    Args:
        database: opened with this module's ``SCHEMA`` among its schemas.
        store: where the versions are.
        parts: its power to take them in parts.
        clock: for when uploads end.
        ids: for their names.
        rules: what is taken.
        allowance: who may send how much.
        part_size_bytes: the smallest part but the last.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        parts: TakesParts,
        clock: Clock,
        ids: IdSource,
        rules: UploadRules,
        allowance: Allowance | None = None,
        *,
        part_size_bytes: int = SMALLEST_PART_BYTES,
    ) -> None:
        self._database = database
        self._store = store
        self._parts = parts
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._allowance = allowance or NoLimits()
        self._part_size_bytes = part_size_bytes

    # -- beginning ---------------------------------------------------------------------------------------------

    def create(self, new: NewUpload) -> DirectUpload:
        self._check(new)
        plan = plan_parts(new.length or 0, at_least_bytes=self._part_size_bytes)
        upload_id, now = self._ids.new_id(), self._clock.now()
        options = _options(new.claimed_type, upload_id)
        check_options(options)
        until = now + timedelta(seconds=self._rules.keep_seconds)
        self._database.write(lambda transaction: self._insert(transaction, new, plan, upload_id, now, until))
        try:
            transfer = self._parts.begin(new.key, options)
        except BaseException:
            self._database.write(lambda transaction: self._end(transaction, upload_id))
            raise
        self._database.write(
            lambda transaction: transaction.run(
                "UPDATE direct_uploads SET transfer = ? WHERE id = ?", (transfer, upload_id)
            )
        )
        return self._with_parts(self._live(upload_id), {})

    def _check(self, new: NewUpload) -> None:
        doing = "sending a file"
        if new.by_link or new.kind is not UploadKind.WHOLE:
            raise Denied(doing, "only whole files of who is signed in go straight to the store")
        if new.length is None:
            raise InvalidRequest(doing, "how many bytes it has must be told")
        if new.length > self._rules.max_bytes:
            raise TooLarge(doing, f"it has {new.length} bytes; at most {self._rules.max_bytes} are taken at once")
        check_key(new.key)
        if new.create_only:
            self._refuse_existing(new.key)

    def _refuse_existing(self, key: str) -> None:
        try:
            self._store.head(BucketRole.PRIMARY, key)
        except NotFound:
            return
        raise Conflict(f"creating {key}", "it exists already")

    def _insert(
        self,
        transaction: Transaction,
        new: NewUpload,
        plan: PartPlan,
        upload_id: str,
        now: datetime,
        until: datetime,
    ) -> None:
        count = transaction.value(
            "SELECT count(*) FROM direct_uploads WHERE owner = ? AND version_id IS NULL", (new.owner,)
        )
        if count >= self._rules.max_open:
            raise RateLimited(
                "beginning an upload",
                f"{count} are open already",
                hint="Finish or end some of them",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        key = self._allowance.begin(new, upload_id, until)
        transaction.run(
            f"INSERT INTO direct_uploads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', NULL)",
            (
                upload_id,
                new.owner,
                key,
                plan.size_bytes,
                plan.part_size_bytes,
                timestamp(now),
                timestamp(until),
                new.claimed_type,
                int(new.create_only),
            ),
        )

    # -- looking -----------------------------------------------------------------------------------------------

    def get(self, upload_id: str) -> DirectUpload:
        row = self._live(upload_id)
        if row.upload.version_id is not None:
            return row.upload
        try:
            return self._with_parts(row, dict(self._parts.there(row.upload.key, row.transfer)))
        except NotFound:
            return self._made_or_lost(row)

    def origin(self) -> str:
        return self._parts.origin()

    def _live(self, upload_id: str) -> _Row:
        with self._database.read() as connection:
            row = _find(connection, upload_id)
        unfinished = row is not None and (row.upload.version_id is not None or row.transfer)
        if row is None or not unfinished or row.upload.expires_at <= self._clock.now():
            raise _no_such(upload_id)
        return row

    def _with_parts(self, row: _Row, there: dict[int, int]) -> DirectUpload:
        upload, plan, now = row.upload, row.plan, self._clock.now()
        seconds = max(1, min(ADDRESS_SECONDS, int((upload.expires_at - now).total_seconds())))
        missing = plan.missing(there)
        gone = set(missing)
        return DirectUpload(
            id=upload.id,
            owner=upload.owner,
            key=upload.key,
            length=upload.length,
            part_size_bytes=upload.part_size_bytes,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
            version_id=None,
            parts_there=tuple(number for number in range(1, plan.count + 1) if number not in gone),
            parts=tuple(
                self._to_send(row, number, seconds, now + timedelta(seconds=seconds))
                for number in missing[:ADDRESSES_AT_ONCE]
            ),
        )

    def _to_send(self, row: _Row, number: int, seconds: int, until: datetime) -> PartToSend:
        size_bytes = row.plan.size_of(number)
        address = self._parts.address(row.upload.key, row.transfer, number, size_bytes, seconds)
        return PartToSend(number, row.plan.first_byte(number), size_bytes, address.url, address.headers, until)

    # -- finishing ---------------------------------------------------------------------------------------------

    def complete(self, upload_id: str) -> DirectUpload:
        row = self._live(upload_id)
        if row.upload.version_id is not None:
            return row.upload
        key = row.upload.key
        try:
            missing = row.plan.missing(self._parts.there(key, row.transfer))
            if missing:
                named = ", ".join(map(str, missing[:_NAMED_PARTS])) + (", …" if len(missing) > _NAMED_PARTS else "")
                raise Incomplete(
                    f"storing {key}",
                    f"of {row.plan.count} parts {len(missing)} are missing: {named}",
                    hint="Ask for the upload again, and send those",
                )
            version_id = self._parts.finish(key, row.transfer, row.plan, create_only=row.create_only)
        except NotFound:
            return self._made_or_lost(row)
        except Incomplete:
            raise
        except Conflict:
            # It can never become a version: whoever asks again begins anew.
            self._give_up(row)
            raise
        return self._finished(row, version_id)

    def _finished(self, row: _Row, version_id: str) -> DirectUpload:
        def work(transaction: Transaction) -> _Row:
            found = _find(transaction, row.upload.id)
            if found is None:
                raise _no_such(row.upload.id)
            if found.upload.version_id is not None:
                return found
            self._allowance.settle(found.session(), version_id)
            end = timestamp(self._clock.now() + timedelta(seconds=self._rules.keep_seconds))
            transaction.run(
                "UPDATE direct_uploads SET version_id = ?, expires_at = ? WHERE id = ?",
                (version_id, end, row.upload.id),
            )
            return _find(transaction, row.upload.id) or found

        return self._database.write(work).upload

    def _made_or_lost(self, row: _Row) -> DirectUpload:
        """The transfer is over: by a version that nobody wrote down, or by the store's rule for what lies around."""
        version_id = self._made(row)
        if version_id is not None:
            return self._finished(row, version_id)
        self._database.write(lambda transaction: self._end(transaction, row.upload.id))
        raise _no_such(row.upload.id)

    def _made(self, row: _Row) -> str | None:
        upload = row.upload
        for version in versions_of(self._store, BucketRole.PRIMARY, upload.key):
            if version.is_delete_marker or version.created_at < upload.created_at - _CLOCKS_DIFFER:
                continue
            full = self._store.head(BucketRole.PRIMARY, upload.key, version_id=version.version_id)
            if full.user_metadata.get(UPLOAD_METADATA) == upload.id:
                return version.version_id
        return None

    # -- ending ------------------------------------------------------------------------------------------------

    def terminate(self, upload_id: str) -> None:
        self._give_up(self._live(upload_id))

    def expire(self) -> int:
        now = timestamp(self._clock.now())
        with self._database.read() as connection:
            over = [
                _Row(row)
                for row in connection.rows(
                    f"SELECT {_COLUMNS} FROM direct_uploads WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
                    (now, _EXPIRED_AT_ONCE),
                )
            ]
        return sum(self._expired(row) for row in over)

    def _expired(self, row: _Row) -> bool:
        try:
            self._give_up(row)
        except PlatformError as error:
            fields = {log.KEY: row.upload.key, log.REASON: error.public}
            log.event(_logger, logging.WARNING, "upload not ended", upload=row.upload.id, **fields)
            return False
        return True

    def _give_up(self, row: _Row) -> None:
        """Free an upload's parts, then forget it; one that became a version meanwhile is counted as that."""
        if row.upload.version_id is None and row.transfer:
            try:
                self._parts.abort(row.upload.key, row.transfer)
            except NotFound:
                version_id = self._made(row)
                if version_id is not None:
                    self._finished(row, version_id)
        self._database.write(lambda transaction: self._end(transaction, row.upload.id))

    def _end(self, transaction: Transaction, upload_id: str) -> None:
        row = _find(transaction, upload_id)
        if row is None:
            return
        if row.upload.version_id is None:
            self._allowance.release(row.session())
        transaction.run("DELETE FROM direct_uploads WHERE id = ?", (upload_id,))


def _options(claimed_type: str | None, upload_id: str) -> PutOptions:
    claim = {CLAIM_METADATA: claimed_type} if claimed_type else {}
    return PutOptions(content_type=claimed_type or OCTET_STREAM, user_metadata={**claim, UPLOAD_METADATA: upload_id})


def _find(connection: Connection, upload_id: str) -> _Row | None:
    row = connection.row(f"SELECT {_COLUMNS} FROM direct_uploads WHERE id = ?", (upload_id,))
    return None if row is None else _Row(row)


def _no_such(upload_id: str) -> NotFound:
    return NotFound(
        f"looking for upload {upload_id[:80]!r}", "there is none, or its time is over", hint="Start it again"
    )
