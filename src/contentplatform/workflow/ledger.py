"""The tables behind executions, and every change that workers make to them, each in the caller's unit of work.

An execution is *ready* (pending, no ``due``), *waiting* (pending until ``due``), *running* (held by a worker under a
fencing token) or ended. A worker's lease covers all that it holds. Whoever holds an execution may move it on as long
as the token is still the one it was given: a worker that was declared dead, timed out or cancelled is refused.

Leases, due times and deadlines are counted in seconds since boot, so that no jump of the wall clock moves them; what
was counted since another boot is taken as over (leases, waits) or starts anew (deadlines).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.drivers.sqlite import Connection, Row, Schema, Transaction
from contentplatform.errors import ErrorCode
from contentplatform.workflow.definition import DATA_LIMIT_BYTES, TIMEOUT, TOO_MUCH_DATA, StateMachine, Wait, reachable
from contentplatform.workflow.interpreter import (
    End,
    Move,
    RetryLater,
    RunTask,
    TaskFailure,
    Visit,
    WaitFor,
    enter,
    failed,
    rescue,
    succeeded,
    waited,
)
from contentplatform.workflow.port import ExecutionStatus

SCHEMA: Final = Schema(
    "workflow",
    (
        """
        CREATE TABLE executions (
            sequence    INTEGER PRIMARY KEY,          -- order of arrival
            name        TEXT NOT NULL UNIQUE,
            base_name   TEXT NOT NULL,                -- the name without -r<n>: one version and recipe
            file_id     TEXT NOT NULL,
            version_id  TEXT NOT NULL,
            lane        INTEGER NOT NULL,
            status      TEXT NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
            state       TEXT NOT NULL,
            input       TEXT NOT NULL,
            data        TEXT NOT NULL,                -- what the current state is given
            created_at  TEXT NOT NULL,
            started_at  TEXT,
            ended_at    TEXT,
            error       TEXT,
            cause       TEXT,
            events      INTEGER NOT NULL DEFAULT 0,   -- how many rows of history there are
            retries     TEXT NOT NULL DEFAULT '[]',   -- of the current state, for each of its retriers
            losses      INTEGER NOT NULL DEFAULT 0,   -- workers that died in the current state
            token       INTEGER NOT NULL DEFAULT 0,   -- of the last claim
            worker      TEXT,                         -- who holds it
            due         REAL,                         -- not before
            waits_for   TEXT,                         -- why it was put off
            woken       INTEGER NOT NULL DEFAULT 0,   -- its next Wait is over at once
            deadline    REAL,                         -- of the whole execution, once it has begun
            boot        TEXT NOT NULL,                -- what due and deadline are counted from
            CHECK ((status = 'running') = (worker IS NOT NULL)),
            CHECK ((status IN ('pending', 'running')) = (ended_at IS NULL))
        ) STRICT;
        CREATE UNIQUE INDEX executions_live ON executions (base_name) WHERE ended_at IS NULL;
        CREATE INDEX executions_ready ON executions (lane, sequence) WHERE status = 'pending' AND due IS NULL;
        CREATE INDEX executions_waiting ON executions (due) WHERE status = 'pending' AND due IS NOT NULL;
        CREATE INDEX executions_running ON executions (worker) WHERE status = 'running';
        CREATE INDEX executions_by_status ON executions (status, sequence);
        CREATE INDEX executions_by_file ON executions (file_id, sequence);

        CREATE TABLE execution_history (
            execution INTEGER NOT NULL REFERENCES executions (sequence) ON DELETE CASCADE,
            sequence  INTEGER NOT NULL,
            at        TEXT NOT NULL,
            state     TEXT NOT NULL,
            event     TEXT NOT NULL,
            attempt   INTEGER NOT NULL,
            output    TEXT,
            error     TEXT,
            cause     TEXT,
            PRIMARY KEY (execution, sequence)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE workers (
            name          TEXT PRIMARY KEY,
            process_id    INTEGER NOT NULL,
            slots         INTEGER NOT NULL,           -- how many it works on at once
            folder_slots  INTEGER NOT NULL,           -- how many may run in this data folder
            started_at    TEXT NOT NULL,
            lease_expires REAL NOT NULL,
            boot          TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE fencing (last_token INTEGER NOT NULL) STRICT;
        INSERT INTO fencing VALUES (0);
        """,
    ),
)

WORKER_LOST: Final = "WorkerLost"

_SELECT_HELD: Final = (
    "SELECT sequence, name, file_id, version_id, state, data, events, retries, losses, token, deadline FROM executions"
)


class LeaseLostError(Exception):
    """Somebody else holds the execution now, or nobody: what was to be written is refused."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One execution in the hands of one worker, standing in one state."""

    sequence: int
    name: str
    file_id: str
    version_id: str
    state: str
    data: str
    """JSON."""
    events: int
    retries: tuple[int, ...]
    losses: int
    token: int
    deadline: float | None

    @property
    def attempt(self) -> int:
        """Which attempt at the current state this is; the first is 1."""
        return 1 + sum(self.retries) + self.losses


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """What a worker tells about itself when it signs on."""

    name: str
    process_id: int
    slots: int
    folder_slots: int
    lease_seconds: float


class Ledger:
    """Claims, moves, and recovers executions."""

    def __init__(self, machine: StateMachine, clock: Clock, ids: IdSource, *, losses_allowed: int) -> None:
        self._machine = machine
        self._clock = clock
        self._ids = ids
        self._losses_allowed = losses_allowed
        self._rescuing = reachable(machine, {machine.last_resort}) if machine.last_resort else frozenset()

    # -- workers ---------------------------------------------------------------------------------------------

    def sign_on(self, unit: Transaction, worker: WorkerEntry) -> None:
        """Register a worker, and take over the clocks of an earlier boot."""
        now, boot = self._clock.monotonic_seconds(), self._clock.boot_id()
        unit.run(
            "UPDATE executions SET boot = ?, due = NULL, deadline = CASE WHEN deadline IS NULL THEN NULL ELSE ? END"
            " WHERE ended_at IS NULL AND boot <> ?",
            (boot, now + self._machine.timeout_seconds, boot),
        )
        unit.run(
            "INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                worker.name,
                worker.process_id,
                worker.slots,
                worker.folder_slots,
                timestamp(self._clock.now()),
                now + worker.lease_seconds,
                boot,
            ),
        )

    def extend_lease(self, unit: Transaction, name: str, lease_seconds: float) -> bool:
        """The worker's heartbeat. False: it was declared dead, and holds nothing any more."""
        expires = self._clock.monotonic_seconds() + lease_seconds
        return unit.run("UPDATE workers SET lease_expires = ? WHERE name = ?", (expires, name)) == 1

    def sign_off(self, unit: Transaction, name: str) -> None:
        """Hand back what the worker holds, untouched, and forget the worker."""
        unit.run(
            "UPDATE executions SET status = 'pending', worker = NULL WHERE status = 'running' AND worker = ?", (name,)
        )
        unit.run("DELETE FROM workers WHERE name = ?", (name,))

    def hand_back(self, unit: Transaction, lease: Lease) -> None:
        """Let others run what this worker holds but could not commit; nothing if it was lost meanwhile."""
        unit.run(
            "UPDATE executions SET status = 'pending', worker = NULL WHERE sequence = ? AND token = ?"
            " AND status = 'running'",
            (lease.sequence, lease.token),
        )

    def any_unfinished(self, view: Connection, names: Collection[str]) -> bool:
        """Whether one of ``names`` has not ended yet."""
        return bool(
            view.value(
                "SELECT EXISTS (SELECT 1 FROM executions WHERE ended_at IS NULL"
                " AND name IN (SELECT value FROM json_each(?)))",
                (json.dumps(list(names)),),
            )
        )

    def held_tokens(self, view: Connection, name: str) -> set[int]:
        """The tokens under which ``name`` may still move executions on."""
        rows = view.rows("SELECT token FROM executions WHERE status = 'running' AND worker = ?", (name,))
        return {int(token) for (token,) in rows}

    def lost_workers(self, view: Connection, is_dead: Callable[[str], bool]) -> list[str]:
        """Workers that can't be at work any more: their lease is over, their process or boot is gone, or no row is."""
        now, boot = self._clock.monotonic_seconds(), self._clock.boot_id()
        lost = [
            str(name)
            for name, expires, its_boot in view.rows("SELECT name, lease_expires, boot FROM workers")
            if its_boot != boot or expires <= now or is_dead(name)
        ]
        dangling = view.rows(
            "SELECT DISTINCT worker FROM executions WHERE status = 'running'"
            " AND worker NOT IN (SELECT name FROM workers)"
        )
        return [*lost, *(str(name) for (name,) in dangling)]

    def recover(self, unit: Transaction, worker: str) -> int:
        """Take everything from a lost worker, so that others run it again. How many executions that were."""
        leases = [
            self._lease(row) for row in unit.rows(f"{_SELECT_HELD} WHERE status = 'running' AND worker = ?", (worker,))
        ]
        for lease in leases:
            self._take_from_lost(unit, lease, worker)
        unit.run("DELETE FROM workers WHERE name = ?", (worker,))
        return len(leases)

    def _take_from_lost(self, unit: Transaction, lease: Lease, worker: str) -> None:
        losses = lease.losses + 1
        lost = TaskFailure((WORKER_LOST,), f"{worker} was killed or hung in the middle of it")
        if losses < self._losses_allowed:
            self._note(unit, lease, (Visit(lease.state, "attempt_failed", None, lost.name, lost.cause),))
            unit.run(
                "UPDATE executions SET status = 'pending', worker = NULL, losses = ?, events = events + 1"
                " WHERE sequence = ?",
                (losses, lease.sequence),
            )
            return
        crash = TaskFailure(
            (ErrorCode.CRASH.value,), f"{losses} workers in a row were killed or hung while they worked on it"
        )
        self._note(unit, lease, (Visit(lease.state, "attempt_failed", None, crash.name, crash.cause),))
        move = rescue(self._machine, lease.state, json.loads(lease.data), crash)
        self.advance(unit, replace(lease, events=lease.events + 1), move, keep=False)

    # -- claiming --------------------------------------------------------------------------------------------

    def has_ready(self, view: Connection) -> bool:
        """Whether something could be claimed, slots permitting."""
        return bool(
            view.value(
                "SELECT EXISTS (SELECT 1 FROM executions WHERE status = 'pending' AND due IS NULL)"
                " OR EXISTS (SELECT 1 FROM executions WHERE status = 'pending' AND due <= ?)",
                (self._clock.monotonic_seconds(),),
            )
        )

    def next_due(self, view: Connection) -> float | None:
        """When the next wait is over, in seconds since boot."""
        due = view.value("SELECT min(due) FROM executions WHERE status = 'pending' AND due IS NOT NULL")
        return None if due is None else float(due)

    def claim(self, unit: Transaction, worker: str, folder_slots: int) -> Lease | None:
        """Take the first that is ready, if the data folder has a free slot. None: nothing to do now."""
        unit.run(
            "UPDATE executions SET due = NULL WHERE status = 'pending' AND due <= ?", (self._clock.monotonic_seconds(),)
        )
        while True:
            row = unit.row(f"{_SELECT_HELD} WHERE status = 'pending' AND due IS NULL ORDER BY lane, sequence LIMIT 1")
            if row is None or self._running(unit) >= folder_slots:
                return None
            lease = self._begin(unit, self._take(unit, self._lease(row), worker))
            if lease is not None:
                return lease

    def _running(self, unit: Transaction) -> int:
        return int(unit.value("SELECT count(*) FROM executions WHERE status = 'running'"))

    def _take(self, unit: Transaction, found: Lease, worker: str) -> Lease:
        token = int(unit.value("UPDATE fencing SET last_token = last_token + 1 RETURNING last_token"))
        unit.run(
            "UPDATE executions SET status = 'running', worker = ?, token = ?, waits_for = NULL WHERE sequence = ?",
            (worker, token, found.sequence),
        )
        return replace(found, token=token)

    def _begin(self, unit: Transaction, lease: Lease) -> Lease | None:
        """Bring a claimed execution to its next Task. None: it waits or ended on the way."""
        data = json.loads(lease.data)
        if lease.events == 0:
            deadline = self._clock.monotonic_seconds() + self._machine.timeout_seconds
            unit.run(
                "UPDATE executions SET started_at = ?, deadline = ? WHERE sequence = ?",
                (timestamp(self._clock.now()), deadline, lease.sequence),
            )
            return self.advance(unit, replace(lease, deadline=deadline), enter(self._machine, lease.state, data))
        if self.is_late(lease):
            return self.advance(unit, lease, self._out_of_time(lease, data))
        if isinstance(self._machine.states[lease.state], Wait):
            return self.advance(unit, lease, waited(self._machine, lease.state, data))
        return lease

    # -- moving on -------------------------------------------------------------------------------------------

    def is_late(self, lease: Lease) -> bool:
        """Whether the execution as a whole is out of time. Recording a failure is bounded by its own time-outs."""
        return (
            lease.deadline is not None
            and lease.deadline <= self._clock.monotonic_seconds()
            and lease.state not in self._rescuing
        )

    def after_success(self, lease: Lease, result: Any) -> Move | TaskFailure:
        """What follows when the Task that ``lease`` stands in returned ``result``; a failure if that is too large.

        Raises:
            TypeError: the result is not JSON.
            ValueError: it has a number that JSON can't hold.
        """
        move = succeeded(self._machine, lease.state, json.loads(lease.data), result)
        if len(_dumped(move.then.data)) > DATA_LIMIT_BYTES:
            words = f"the data of the execution would be larger than {DATA_LIMIT_BYTES} bytes"
            return TaskFailure((TOO_MUCH_DATA,), words)
        return move

    def after_failure(self, lease: Lease, failure: TaskFailure) -> Move | RetryLater:
        """What follows when the Task that ``lease`` stands in failed."""
        data = json.loads(lease.data)
        if self.is_late(lease):
            return self._out_of_time(lease, data)
        return failed(self._machine, lease.state, data, failure, lease.retries)

    def advance(self, unit: Transaction, lease: Lease, move: Move, *, keep: bool = True) -> Lease | None:
        """Write a move down. The lease for the next Task, or None: it waits, ended, or was not to be kept.

        Raises:
            LeaseLostError: the token is not the current one any more; nothing is written.
        """
        events = lease.events + len(move.visits)
        data = _dumped(move.then.data)
        moved: Lease | None = None
        match move.then:
            case RunTask(state):
                moved = replace(lease, state=state, data=data, events=events, retries=(), losses=0)
                self._move(unit, lease, state, data, events, "running" if keep else "pending")
            case WaitFor(state, _, seconds):
                self._move(unit, lease, state, data, events, "pending")
                self._put_off(unit, lease, seconds)
            case End(state, _, status, error, cause):
                self._move(unit, lease, state, data, events, status.value)
                unit.run(
                    "UPDATE executions SET error = ?, cause = ? WHERE sequence = ?", (error, cause, lease.sequence)
                )
        self._note(unit, lease, move.visits)
        return moved if keep else None

    def retry_later(self, unit: Transaction, lease: Lease, again: RetryLater, failure: TaskFailure) -> None:
        """Put an execution off until its next attempt.

        Raises:
            LeaseLostError: the token is not the current one any more; nothing is written.
        """
        delay = again.ceiling_seconds * self._ids.fraction()
        visits = (
            Visit(lease.state, "attempt_failed", None, failure.name, failure.cause),
            Visit(lease.state, "retry_scheduled", None, failure.name, f"again in {delay:.1f} s"),
        )
        changed = unit.run(
            "UPDATE executions SET status = 'pending', worker = NULL, retries = ?, due = ?, boot = ?, waits_for = ?,"
            " events = events + ? WHERE sequence = ? AND token = ? AND status = 'running'",
            (
                json.dumps(again.retries),
                self._clock.monotonic_seconds() + delay,
                self._clock.boot_id(),
                failure.cause,
                len(visits),
                lease.sequence,
                lease.token,
            ),
        )
        if not changed:
            raise LeaseLostError(lease.name)
        self._note(unit, lease, visits)

    def _out_of_time(self, lease: Lease, data: Mapping[str, Any]) -> Move:
        words = f"it was not done within {self._machine.timeout_seconds} s"
        return rescue(self._machine, lease.state, data, TaskFailure((TIMEOUT,), words))

    def _move(self, unit: Transaction, lease: Lease, state: str, data: str, events: int, status: str) -> None:
        ended_at = timestamp(self._clock.now()) if ExecutionStatus(status).ended else None
        changed = unit.run(
            "UPDATE executions SET status = ?, worker = CASE WHEN ? = 'running' THEN worker END, state = ?, data = ?,"
            " events = ?, retries = '[]', losses = 0, ended_at = ?"
            " WHERE sequence = ? AND token = ? AND status = 'running'",
            (status, status, state, data, events, ended_at, lease.sequence, lease.token),
        )
        if not changed:
            raise LeaseLostError(lease.name)

    def _put_off(self, unit: Transaction, lease: Lease, seconds: float) -> None:
        """Let a Wait begin; it is over at once if somebody rang for it before."""
        unit.run(
            "UPDATE executions SET due = CASE WHEN woken THEN NULL ELSE ? END, woken = 0, boot = ? WHERE sequence = ?",
            (self._clock.monotonic_seconds() + seconds, self._clock.boot_id(), lease.sequence),
        )

    def _note(self, unit: Transaction, lease: Lease, visits: Sequence[Visit]) -> None:
        at = timestamp(self._clock.now())
        unit.run_many(
            "INSERT INTO execution_history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    lease.sequence,
                    number,
                    at,
                    visit.state,
                    visit.event,
                    lease.attempt if visit.state == lease.state else 1,
                    None if visit.output is None else _dumped(visit.output),
                    visit.error,
                    visit.cause,
                )
                for number, visit in enumerate(visits, start=lease.events + 1)
            ],
        )

    def _lease(self, row: Row) -> Lease:
        sequence, name, file_id, version_id, state, data, events, retries, losses, token, deadline = row
        used = tuple(int(count) for count in json.loads(retries))
        return Lease(sequence, name, file_id, version_id, state, data, events, used, losses, token, deadline)


def _dumped(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)
