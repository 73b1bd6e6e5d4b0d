"""The tables behind executions, and every change that workers make to them, each in the caller's unit of work.

An execution is *ready* (pending, no ``due``), *waiting* (pending until ``due``), *running* (held by a worker under a
fencing token) or ended. A worker's lease covers all that it holds. Whoever holds an execution may move it on as long
as the token is still the one it was given: a worker that was declared dead, timed out or cancelled is refused.

Leases, due times and deadlines are counted in seconds since boot, so that no jump of the wall clock moves them; what
was counted since another boot is taken as over (leases, waits) or starts anew (deadlines).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.drivers.sqlite import Connection, Schema, Transaction
from contentplatform.errors import ErrorCode
from contentplatform.workflow.definition import (
    TIMEOUT,
    TOO_MUCH_DATA,
    UNREADABLE,
    StateMachine,
    Wait,
    is_heavy,
    reachable,
)
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
from contentplatform.workflow.port import DATA_LIMIT_BYTES, Lane

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
        """
        ALTER TABLE executions ADD COLUMN heavy INTEGER NOT NULL DEFAULT 0;  -- its next Task may work for minutes
        """,
    ),
)

WORKER_LOST: Final = "WorkerLost"

_HELD: Final = "sequence, name, file_id, version_id, lane, state, data, events, retries, losses, token, deadline"
_SELECT_HELD: Final = f"SELECT {_HELD} FROM executions"  # noqa: S608 - a constant
_SELECT_READY: Final = (
    f"SELECT {_HELD}, (SELECT count(*) FROM executions WHERE status = 'running'),"  # noqa: S608 - a constant
    " EXISTS (SELECT 1 FROM workers WHERE workers.name = ?), heavy"
    " FROM executions WHERE status = 'pending' AND due IS NULL AND heavy <= ? ORDER BY lane, sequence LIMIT 1"
)
_STEP: Final = "state = ?, data = ?, events = ?, heavy = ?, retries = '[]', losses = 0"
_WAIT: Final = ", status = 'pending', worker = NULL, due = CASE WHEN woken THEN NULL ELSE ? END, woken = 0, boot = ?"
_END: Final = ", status = ?, worker = NULL, ended_at = ?, error = ?, cause = ?"


class LeaseLostError(Exception):
    """Somebody else holds the execution now, or nobody: what was to be written is refused."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One execution in the hands of one worker, standing in one state."""

    sequence: int
    name: str
    file_id: str
    version_id: str
    lane: int
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

    def moved(self, state: str, data: str, events: int) -> Lease:
        """The same hold on the same execution, in its next state."""
        return Lease(
            self.sequence,
            self.name,
            self.file_id,
            self.version_id,
            self.lane,
            state,
            data,
            events,
            (),
            0,
            self.token,
            self.deadline,
        )


@dataclass(frozen=True, slots=True)
class WrittenMove:
    """A move with its data as JSON, made before the unit of work so that the writer is not kept waiting."""

    move: Move
    data: str


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

    def is_under_way(self, view: Connection, name: str) -> bool:
        """Whether the execution exists and has not ended yet."""
        return bool(view.value("SELECT EXISTS (SELECT 1 FROM executions WHERE name = ? AND ended_at IS NULL)", (name,)))

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
        if losses < self._losses_allowed or lease.state not in self._machine.states:
            self._note(unit, lease, (Visit(lease.state, "attempt_failed", None, lost.name, lost.cause),))
            unit.run(
                "UPDATE executions SET status = 'pending', worker = NULL, losses = ?, events = events + 1"
                " WHERE sequence = ?",
                (losses, lease.sequence),
            )
            return
        words = f"{losses} workers in a row were killed or hung while they worked on it"
        crash = TaskFailure((ErrorCode.CRASH.value,), words)
        following = self.after_failure(lease, crash)
        if isinstance(following, RetryLater):
            self.retry_later(unit, lease, following, crash)
        else:
            self.advance(unit, lease, following, keep=False)

    # -- claiming --------------------------------------------------------------------------------------------

    def has_ready(self, view: Connection) -> bool:
        """Whether something could be claimed, slots permitting."""
        return bool(view.value("SELECT EXISTS (SELECT 1 FROM executions WHERE status = 'pending' AND due IS NULL)"))

    def has_due(self, view: Connection) -> bool:
        """Whether something has waited long enough."""
        now = self._clock.monotonic_seconds()
        return bool(
            view.value("SELECT EXISTS (SELECT 1 FROM executions WHERE status = 'pending' AND due <= ?)", (now,))
        )

    def next_due(self, view: Connection) -> float | None:
        """When the next wait is over, in seconds since boot."""
        due = view.value("SELECT min(due) FROM executions WHERE status = 'pending' AND due IS NOT NULL")
        return None if due is None else float(due)

    def claim(self, unit: Transaction, worker: str, folder_slots: int) -> Lease | None:
        """Take the first that is ready, if the data folder has a free slot. None: nothing to do now.

        Heavy Tasks leave a slot of the data folder, and one of each worker, to quick ones, where there are two.
        """
        while True:
            row = unit.row(_SELECT_READY, (worker, True))
            if row is not None and row[-1] and not has_room(unit, worker):
                row = unit.row(_SELECT_READY, (worker, False))
            if row is None:
                if not self.promote_due(unit):
                    return None
                continue
            *held, running, is_known, _ = row
            if running >= folder_slots or not is_known:  # a worker that was declared dead claims nothing
                return None
            lease = self._begin(unit, self._take(unit, self._lease(held), worker))
            if lease is not None:
                return lease

    def promote_due(self, unit: Transaction) -> int:
        """Make ready whatever has waited long enough. It keeps its place in its lane."""
        now = self._clock.monotonic_seconds()
        return unit.run("UPDATE executions SET due = NULL WHERE status = 'pending' AND due <= ?", (now,))

    def _take(self, unit: Transaction, found: Lease, worker: str) -> Lease:
        """Hold an execution under the next token; its time begins with the first claim."""
        token = int(unit.value("UPDATE fencing SET last_token = last_token + 1 RETURNING last_token"))
        deadline = found.deadline
        if deadline is None:
            deadline = self._clock.monotonic_seconds() + self._machine.timeout_seconds
        unit.run(
            "UPDATE executions SET status = 'running', worker = ?, token = ?, waits_for = NULL, deadline = ?,"
            " started_at = coalesce(started_at, ?) WHERE sequence = ?",
            (worker, token, deadline, timestamp(self._clock.now()), found.sequence),
        )
        return replace(found, token=token, deadline=deadline)

    def _begin(self, unit: Transaction, lease: Lease) -> Lease | None:
        """Bring a claimed execution to its next Task. None: it waits or ended on the way."""
        data = json.loads(lease.data)
        if lease.events == 0:
            return self.advance(unit, lease, written(enter(self._machine, lease.state, data)))
        if lease.state not in self._machine.states:
            words = f"this version of the platform has no state {lease.state} any more; retry it"
            gone = rescue(self._machine, lease.state, data, TaskFailure((UNREADABLE,), words))
            return self.advance(unit, lease, written(gone))
        if self.is_late(lease):
            return self.advance(unit, lease, self._out_of_time(lease, data))
        if isinstance(self._machine.states[lease.state], Wait):
            return self.advance(unit, lease, written(waited(self._machine, lease.state, data)))
        return lease

    # -- moving on -------------------------------------------------------------------------------------------

    def is_late(self, lease: Lease) -> bool:
        """Whether the execution as a whole is out of time."""
        return self._last_moment(lease) <= self._clock.monotonic_seconds()

    def attempt_deadline(self, lease: Lease, timeout_seconds: float) -> float:
        """When an attempt that begins now is over its time: its own, or that of the whole execution."""
        return min(self._clock.monotonic_seconds() + timeout_seconds, self._last_moment(lease))

    def _last_moment(self, lease: Lease) -> float:
        """The end of the execution's time. Recording a failure is bounded by its own time-outs only."""
        return math.inf if lease.deadline is None or lease.state in self._rescuing else lease.deadline

    def after_success(self, lease: Lease, result: Any) -> WrittenMove | TaskFailure:
        """What follows when the Task that ``lease`` stands in returned ``result``; a failure if that is too large.

        Raises:
            TypeError: the result is not JSON.
            ValueError: it has a number that JSON can't hold.
        """
        move = written(succeeded(self._machine, lease.state, json.loads(lease.data), result))
        if len(move.data) > DATA_LIMIT_BYTES:
            words = f"the data of the execution would be larger than {DATA_LIMIT_BYTES} bytes"
            return TaskFailure((TOO_MUCH_DATA,), words)
        return move

    def after_failure(self, lease: Lease, failure: TaskFailure) -> WrittenMove | RetryLater:
        """What follows when the Task that ``lease`` stands in failed."""
        data = json.loads(lease.data)
        if self.is_late(lease):
            return self._out_of_time(lease, data)
        following = failed(self._machine, lease.state, data, failure, lease.retries)
        return following if isinstance(following, RetryLater) else written(following)

    def advance(self, unit: Transaction, lease: Lease, following: WrittenMove, *, keep: bool = True) -> Lease | None:
        """Write a move down. The lease for the next Task, or None: it waits, ended, or was let go.

        It is let go where ``keep`` is False, where what comes is heavy and there is no room for it, and between two
        states of a repeat while an upload is ready.

        Raises:
            LeaseLostError: the token is not the current one any more; nothing is written.
        """
        then, events = following.move.then, lease.events + len(following.move.visits)
        heavy = is_heavy(self._machine, then.state)
        common = (then.state, following.data, events, heavy)
        held: Lease | None = None
        match then:
            case RunTask() if keep and not self._must_yield(unit, lease) and (not heavy or _may_stay(unit, lease)):
                # The columns that indexes are made of stay untouched: this is the path that has to be quick.
                self._change(unit, lease, _STEP, common)
                held = lease.moved(then.state, following.data, events)
            case RunTask():
                self._change(unit, lease, f"{_STEP}, status = 'pending', worker = NULL", common)
            case WaitFor(seconds=seconds):
                due = self._clock.monotonic_seconds() + seconds
                self._change(unit, lease, _STEP + _WAIT, (*common, due, self._clock.boot_id()))
            case End(status=status, error=error, cause=cause):
                ended_at = timestamp(self._clock.now())
                self._change(unit, lease, _STEP + _END, (*common, status.value, ended_at, error, cause))
        self._note(unit, lease, following.move.visits, following)
        return held

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
        due = self._clock.monotonic_seconds() + delay
        words = failure.cause
        self._change(
            unit,
            lease,
            "status = 'pending', worker = NULL, retries = ?, due = ?, boot = ?, waits_for = ?, events = events + 2",
            (json.dumps(again.retries), due, self._clock.boot_id(), words),
        )
        self._note(unit, lease, visits)

    def _must_yield(self, unit: Transaction, lease: Lease) -> bool:
        """Uploads never wait for a repeat to come to its end, only for the state that it is in."""
        return lease.lane != Lane.UPLOAD and bool(
            unit.value(
                "SELECT EXISTS (SELECT 1 FROM executions WHERE status = 'pending' AND due IS NULL AND lane = ?)",
                (int(Lane.UPLOAD),),
            )
        )

    def _out_of_time(self, lease: Lease, data: Mapping[str, Any]) -> WrittenMove:
        words = f"it was not done within {self._machine.timeout_seconds} s"
        return written(rescue(self._machine, lease.state, data, TaskFailure((TIMEOUT,), words)))

    def _change(self, unit: Transaction, lease: Lease, assignments: str, values: Sequence[Any]) -> None:
        """Change the execution if the lease's token is still the current one."""
        changed = unit.run(
            f"UPDATE executions SET {assignments} WHERE sequence = ? AND token = ? AND status = 'running'",  # noqa: S608 - the assignments are constants of this module
            (*values, lease.sequence, lease.token),
        )
        if not changed:
            raise LeaseLostError(lease.name)

    def _note(
        self, unit: Transaction, lease: Lease, visits: Sequence[Visit], following: WrittenMove | None = None
    ) -> None:
        at = timestamp(self._clock.now())
        values: list[Any] = []
        for number, visit in enumerate(visits, start=lease.events + 1):
            attempt = lease.attempt if visit.state == lease.state else 1
            values += (lease.sequence, number, at, visit.state, visit.event, attempt)
            values += (_output(visit, following), visit.error, visit.cause)
        # One statement for all rows: between two statements the writer lets go of the interpreter.
        rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(visits))
        unit.run(f"INSERT INTO execution_history VALUES {rows}", values)  # noqa: S608 - placeholders only

    def _lease(self, row: Sequence[Any]) -> Lease:
        sequence, name, file_id, version_id, lane, state, data, events, retries, losses, token, deadline = row
        used = tuple(int(count) for count in json.loads(retries))
        return Lease(sequence, name, file_id, version_id, lane, state, data, events, used, losses, token, deadline)


def has_room(unit: Connection, worker: str, besides: int = 0) -> bool:
    """Whether a worker may begin a heavy Task; the execution of number ``besides`` is not counted."""
    others = unit.rows("SELECT worker FROM executions WHERE status = 'running' AND heavy AND sequence <> ?", (besides,))
    slots = unit.row("SELECT slots, folder_slots FROM workers WHERE name = ?", (worker,))
    if slots is None:
        return False
    own = sum(holder == worker for (holder,) in others)
    return len(others) < heavy_slots(slots[1]) and own < heavy_slots(slots[0])


def heavy_slots(slots: int) -> int:
    """How many of some slots heavy Tasks may have."""
    return max(1, slots - 1)


def _may_stay(unit: Transaction, lease: Lease) -> bool:
    """Whether who holds the lease may go on with it to a heavy Task."""
    worker = unit.value("SELECT worker FROM executions WHERE sequence = ?", (lease.sequence,))
    return worker is not None and has_room(unit, str(worker), lease.sequence)


def written(move: Move) -> WrittenMove:
    """A move ready to be written.

    Raises:
        TypeError: its data is not JSON.
        ValueError: it has a number that JSON can't hold.
    """
    return WrittenMove(move, _dumped(move.then.data))


def _output(visit: Visit, following: WrittenMove | None) -> str | None:
    if visit.output is None:
        return None
    if following is not None and visit.output is following.move.then.data:
        return following.data
    return _dumped(visit.output)


def _dumped(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)
