"""The local home's transcoder: videos to be encoded are rows of a table, and the lane of some worker encodes them.

A job is waiting (``SUBMITTED``, perhaps not before ``due``), at work (``PROGRESSING``, held by a worker under a fencing
token), or ended. Whoever holds a job may report and end it as long as the token is still the one it was given: a worker
that was declared dead, or whose job was cancelled, is refused. Leases and due times are counted in seconds since boot,
so no jump of the wall clock moves them; what was counted since another boot is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Connection, Database, Schema, Transaction
from contentplatform.errors import ErrorCode, NotFound
from contentplatform.processing.port import (
    MediaFacts,
    Rung,
    Transcoder,
    TranscodeRequest,
    TranscodeState,
    TranscodeStatus,
)

SCHEMA: Final = Schema(
    "transcoding",
    (
        """
        CREATE TABLE transcodes (
            sequence      INTEGER PRIMARY KEY,        -- order of arrival
            id            TEXT NOT NULL UNIQUE,
            token         TEXT NOT NULL UNIQUE,       -- the execution that asked for it
            request       TEXT NOT NULL,              -- JSON; empty once it is forgotten
            state         TEXT NOT NULL
                          CHECK (state IN ('SUBMITTED', 'PROGRESSING', 'COMPLETE', 'ERROR', 'CANCELED')),
            percent       INTEGER NOT NULL DEFAULT 0,
            error         TEXT NOT NULL DEFAULT '',
            error_code    TEXT,
            attempts      INTEGER NOT NULL DEFAULT 0, -- that failed for what may pass
            losses        INTEGER NOT NULL DEFAULT 0, -- workers that died over it
            fencing       INTEGER NOT NULL DEFAULT 0, -- token of the last claim
            worker        TEXT,                       -- who holds it
            lease_expires REAL,
            due           REAL,                       -- not before
            boot          TEXT NOT NULL,              -- what lease_expires and due are counted from
            created_at    TEXT NOT NULL,
            ended_at      TEXT,
            CHECK ((state = 'PROGRESSING') = (worker IS NOT NULL)),
            CHECK ((state IN ('SUBMITTED', 'PROGRESSING')) = (ended_at IS NULL))
        ) STRICT;
        CREATE INDEX transcodes_live ON transcodes (state, sequence) WHERE ended_at IS NULL;
        """,
        "ALTER TABLE transcodes ADD COLUMN damage TEXT NOT NULL DEFAULT '' -- what was lost of the original, in words",
    ),
)
RING_TRANSCODE: Final = b"v"
"""The doorbell's signal: a video waits, or one that is held is not wanted any more."""

_TAKE_BACK: Final = "state = 'SUBMITTED', worker = NULL, lease_expires = NULL, percent = 0"
_END: Final = "state = ?, error = ?, error_code = ?, worker = NULL, lease_expires = NULL, due = NULL, ended_at = ?"


class LocalTranscoder(Transcoder):
    """Asks for videos, joined to the unit of work that is open, and tells about them."""

    def __init__(self, database: Database, clock: Clock, ids: IdSource, doorbell: Doorbell) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._doorbell = doorbell

    def submit(self, request: TranscodeRequest) -> str:
        body = json.dumps(_written(request), separators=(",", ":"), allow_nan=False)

        def work(unit: Transaction) -> str:
            unit.run(
                "INSERT INTO transcodes (id, token, request, state, boot, created_at)"
                " VALUES (?, ?, ?, 'SUBMITTED', ?, ?) ON CONFLICT (token) DO NOTHING",
                (self._ids.new_id(), request.token, body, self._clock.boot_id(), timestamp(self._clock.now())),
            )
            unit.after_commit(self._ring)
            return str(unit.value("SELECT id FROM transcodes WHERE token = ?", (request.token,)))

        return self._database.write(work)

    def status(self, job_id: str) -> TranscodeStatus:
        with self._database.read() as view:
            row = view.row("SELECT state, percent, error, error_code, damage FROM transcodes WHERE id = ?", (job_id,))
        if row is None:
            raise NotFound(f"looking for the encoding {job_id}", "there is none of that id")
        state, percent, error, code, damage = row
        known = None if code is None else ErrorCode(code)
        return TranscodeStatus(TranscodeState(state), int(percent), error, known, damage)

    def cancel(self, job_id: str) -> None:
        def work(unit: Transaction) -> None:
            # Above every token that was given, so that whoever holds it is refused from now on.
            unit.run(
                f"UPDATE transcodes SET {_END}, fencing = fencing + 1 WHERE id = ? AND ended_at IS NULL",  # noqa: S608 - constants of this module
                (*_ended(TranscodeState.CANCELED, CANCELLED_WORDS, ErrorCode.CANCELLED, self._clock), job_id),
            )
            unit.after_commit(self._ring)

        self._database.write(work)

    def forget(self, job_id: str) -> None:
        # The row stays, as the same question must find the same job; what was asked is what takes room.
        self._database.write(
            lambda unit: unit.run("UPDATE transcodes SET request = '' WHERE id = ? AND ended_at IS NOT NULL", (job_id,))
        )

    def at_work(self) -> tuple[tuple[str, int], ...]:
        """Who asked for each video that is being encoded just now, by its token, and how many percent are done."""
        with self._database.read() as view:
            rows = view.rows("SELECT token, percent FROM transcodes WHERE state = 'PROGRESSING' ORDER BY sequence")
        return tuple((str(token), int(percent)) for token, percent in rows)

    def _ring(self) -> None:
        self._doorbell.ring(RING_TRANSCODE)


CANCELLED_WORDS: Final = "the encoding was cancelled"


@dataclass(frozen=True, slots=True)
class Claim:
    """One job in the hands of one worker."""

    sequence: int
    fencing: int
    attempts: int
    request: TranscodeRequest


class TranscodeLedger:
    """Every change that workers make to jobs, each in a unit of work of its own.

    Args:
        database: of the data folder.
        clock: for leases and back-off.
        ids: jitter.
        is_dead: whether the worker of that name is certainly gone.
        lease_seconds: how long a worker without a heartbeat is believed to live.
        attempts_allowed: how often what may pass is tried before the job fails.
        losses_allowed: a job that lost so many workers is taken for the cause, and fails.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: IdSource,
        is_dead: Callable[[str], bool],
        *,
        lease_seconds: float,
        attempts_allowed: int,
        losses_allowed: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._is_dead = is_dead
        self._lease_seconds = lease_seconds
        self._attempts_allowed = attempts_allowed
        self._losses_allowed = losses_allowed

    def claim(self, worker: str, folder_jobs: int) -> Claim | None:
        """Take the first job that is due, if no more than ``folder_jobs`` are at work then. None: nothing to do now."""

        def work(unit: Transaction) -> Claim | None:
            self._take_from_lost(unit)
            running = unit.value("SELECT count(*) FROM transcodes WHERE state = 'PROGRESSING'")
            row = self._first_due(unit)
            if row is None or running >= folder_jobs:
                return None
            sequence, fencing, attempts, request = row
            unit.run(
                "UPDATE transcodes SET state = 'PROGRESSING', worker = ?, fencing = ?, lease_expires = ?, boot = ?,"
                " due = NULL WHERE sequence = ?",
                (worker, fencing + 1, self._lease_end(), self._clock.boot_id(), sequence),
            )
            return Claim(sequence, fencing + 1, attempts, _read(json.loads(request)))

        return self._database.write(work) if self._may_claim() else None

    def extend(self, claim: Claim) -> bool:
        """The heartbeat. False: the job was taken away, or cancelled."""
        return self._change(claim, "lease_expires = ?", (self._lease_end(),))

    def note(self, claim: Claim, percent: int) -> bool:
        """Write down how far it is; False as ``extend``."""
        return self._change(claim, "percent = ?", (percent,))

    def is_held(self, claim: Claim) -> bool:
        """Whether the claim is still good."""
        with self._database.read() as view:
            held = view.value(
                "SELECT fencing FROM transcodes WHERE sequence = ? AND ended_at IS NULL", (claim.sequence,)
            )
        return bool(held == claim.fencing)

    def complete(self, claim: Claim, damage: str = "") -> bool:
        """Everything lies where it was asked for; ``damage`` says what was lost of the original.

        False: the claim is not good any more; nothing is written.
        """
        ended = _ended(TranscodeState.COMPLETE, "", None, self._clock)
        return self._change(claim, f"{_END}, percent = 100, damage = ?", (*ended, damage))

    def fail(self, claim: Claim, code: ErrorCode, words: str) -> bool:
        """It can't be done. False as ``complete``."""
        return self._change(claim, _END, _ended(TranscodeState.ERROR, words, code, self._clock))

    def drop(self, claim: Claim) -> bool:
        """Nobody wants it any more. False as ``complete``."""
        ended = _ended(TranscodeState.CANCELED, CANCELLED_WORDS, ErrorCode.CANCELLED, self._clock)
        return self._change(claim, _END, ended)

    def hand_back(self, claim: Claim) -> bool:
        """Let another worker do it, as if it had never been begun. False as ``complete``."""
        return self._change(claim, _TAKE_BACK, ())

    def retry_later(self, claim: Claim) -> float | None:
        """Put it off after a fault that may pass: for how many seconds. None: it was tried often enough."""
        if claim.attempts + 1 >= self._attempts_allowed:
            return None
        seconds: float = _BACK_OFF_SECONDS * 2**claim.attempts * (0.5 + self._ids.fraction())
        due = self._clock.monotonic_seconds() + seconds
        self._change(claim, f"{_TAKE_BACK}, attempts = attempts + 1, due = ?, boot = ?", (due, self._clock.boot_id()))
        return seconds

    def lost(self) -> list[tuple[str, str]]:
        """Each worker that can't be at work any more, with the id of the job that it holds."""
        with self._database.read() as view:
            return [
                (worker, str(view.value("SELECT id FROM transcodes WHERE sequence = ?", (sequence,))))
                for sequence, _, worker in self._lost(view)
            ]

    def take_from_lost(self) -> None:
        """Let other workers do what lost ones hold, as ``claim`` does before it looks for work."""
        self._database.write(self._take_from_lost)

    # -- parts -----------------------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        """Whether a look inside a unit of work could find something: a read that costs nothing."""
        with self._database.read() as view:
            waiting = self._first_due(view) is not None
            return waiting or bool(self._lost(view))

    def _first_due(self, view: Connection) -> tuple[Any, ...] | None:
        return view.row(
            "SELECT sequence, fencing, attempts, request FROM transcodes WHERE state = 'SUBMITTED'"
            " AND (due IS NULL OR due <= ? OR boot <> ?) ORDER BY sequence LIMIT 1",
            (self._clock.monotonic_seconds(), self._clock.boot_id()),
        )

    def _lost(self, view: Connection) -> list[tuple[int, int, str]]:
        """Jobs whose worker can't be at work any more: number, losses, worker."""
        now, boot = self._clock.monotonic_seconds(), self._clock.boot_id()
        held = view.rows(
            "SELECT sequence, losses, worker, lease_expires, boot FROM transcodes WHERE state = 'PROGRESSING'"
        )
        return [
            (sequence, losses, worker)
            for sequence, losses, worker, expires, its_boot in held
            if its_boot != boot or expires <= now or self._is_dead(worker)
        ]

    def _take_from_lost(self, unit: Transaction) -> None:
        for sequence, losses, worker in self._lost(unit):
            if losses + 1 < self._losses_allowed:
                unit.run(
                    f"UPDATE transcodes SET {_TAKE_BACK}, losses = losses + 1, due = NULL, fencing = fencing + 1"  # noqa: S608 - constants of this module
                    " WHERE sequence = ? AND worker = ?",
                    (sequence, worker),
                )
                continue
            words = f"{losses + 1} workers in a row were killed or hung while they encoded it"
            unit.run(
                f"UPDATE transcodes SET {_END}, fencing = fencing + 1 WHERE sequence = ? AND worker = ?",  # noqa: S608
                (*_ended(TranscodeState.ERROR, words, ErrorCode.CRASH, self._clock), sequence, worker),
            )

    def _change(self, claim: Claim, assignments: str, values: tuple[Any, ...]) -> bool:
        changed = self._database.write(
            lambda unit: unit.run(
                f"UPDATE transcodes SET {assignments} WHERE sequence = ? AND fencing = ? AND state = 'PROGRESSING'",  # noqa: S608
                (*values, claim.sequence, claim.fencing),
            )
        )
        return bool(changed)

    def _lease_end(self) -> float:
        return self._clock.monotonic_seconds() + self._lease_seconds


_BACK_OFF_SECONDS: Final = 15.0


def _ended(state: TranscodeState, words: str, code: ErrorCode | None, clock: Clock) -> tuple[Any, ...]:
    return (state.value, words, None if code is None else code.value, timestamp(clock.now()))


def _written(request: TranscodeRequest) -> dict[str, Any]:
    return {
        "token": request.token,
        "file_id": request.file_id,
        "version_id": request.version_id,
        "key": request.key,
        "facts": request.facts.to_json(),
        "rungs": [asdict(rung) for rung in request.rungs],
    }


def _read(value: Mapping[str, Any]) -> TranscodeRequest:
    facts = MediaFacts.from_json(value["facts"])
    return TranscodeRequest(**{**value, "facts": facts, "rungs": tuple(Rung(**rung) for rung in value["rungs"])})
