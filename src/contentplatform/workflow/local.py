"""The workflow engine of the local home: executions in SQLite, run by any worker of the data folder."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Connection, Database, Row, Transaction
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.workflow.definition import StateMachine, Wait, is_heavy
from contentplatform.workflow.interpreter import enter
from contentplatform.workflow.ledger import SCHEMA, has_room
from contentplatform.workflow.port import (
    EXECUTION_PAGE_SIZE,
    Execution,
    ExecutionPage,
    ExecutionStatus,
    HistoryEvent,
    Lane,
    WorkflowEngine,
    base_name,
    check_start,
)

__all__ = ["RING_CHANGED", "RING_WORK", "SCHEMA", "LocalWorkflowEngine", "Worker"]

RING_WORK: Final = b"w"
"""Something can be claimed."""
RING_CHANGED: Final = b"c"
"""Something that is held was taken away."""

_SELECT: Final = (
    "SELECT name, file_id, version_id, lane, status, state, input, data, created_at, started_at, ended_at, error,"
    " cause, sequence, due, waits_for, heavy FROM executions"
)
_COUNT_LIMIT: Final = 1_000
_NAMES_LIMIT: Final = 3
_POLL_SECONDS: Final = 0.05
_CURSOR: Final = re.compile(r"before-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that runs executions of this data folder."""

    name: str
    process_id: int
    slots: int
    """How many executions it runs at once."""
    folder_slots: int
    """How many it lets run at once in the whole data folder."""
    started_at: datetime
    live: bool
    """Its lease is not over."""
    running: tuple[str, ...]
    """The executions it holds."""


class LocalWorkflowEngine(WorkflowEngine):
    """Starts executions, joined to the unit of work that is open, and tells about them."""

    def __init__(self, database: Database, machine: StateMachine, clock: Clock, doorbell: Doorbell) -> None:
        self._database = database
        self._machine = machine
        self._clock = clock
        self._doorbell = doorbell

    # -- the port --------------------------------------------------------------------------------------------

    def start(
        self, name: str, *, file_id: str, version_id: str, data: Mapping[str, Any], lane: Lane = Lane.UPLOAD
    ) -> Execution:
        body = check_start(name, data)
        moment = self._clock.now()
        begins_heavy = is_heavy(self._machine, enter(self._machine, self._machine.start_at, data).then.state)
        named = (name, base_name(name), file_id, version_id, int(lane))
        values = (*named, self._machine.start_at, body, body, begins_heavy)

        def work(unit: Transaction) -> Execution | None:
            if not self._insert(unit, (*values, timestamp(moment), self._clock.boot_id())):
                return self._existing(unit, name)
            unit.after_commit(lambda: self._doorbell.ring(RING_WORK))
            return None

        return self._database.write(work) or Execution(
            name=name,
            file_id=file_id,
            version_id=version_id,
            lane=lane,
            status=ExecutionStatus.PENDING,
            state=self._machine.start_at,
            input=json.loads(body),
            output=None,
            created_at=moment,
            started_at=None,
            ended_at=None,
        )

    def _insert(self, unit: Transaction, values: Sequence[Any]) -> bool:
        """Insert an execution; False where the tables refuse it, as its name exists or its version is under way."""
        try:
            unit.run(
                "INSERT INTO executions (name, base_name, file_id, version_id, lane, status, state, input, data,"
                " heavy, created_at, boot) VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?)",
                values,
            )
        except Conflict:
            return False
        return True

    def _existing(self, unit: Transaction, name: str) -> Execution:
        """The execution of that name. Raises Conflict if it is another one that is in the way."""
        row = self._row(unit, name)
        if row is not None:
            return self._execution(row, reason=None)
        live = unit.value("SELECT name FROM executions WHERE base_name = ? AND ended_at IS NULL", (base_name(name),))
        raise Conflict(f"starting {name}", f"{live} works on the same version and recipe")

    def get(self, name: str) -> Execution:
        with self._database.read() as view:
            row = self._row(view, name)
            if row is None:
                raise NotFound(f"reading execution {name}", "there is none of that name")
            return next(self._told(view, [row]))

    def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = EXECUTION_PAGE_SIZE,
    ) -> ExecutionPage:
        if limit < 1:
            raise InvalidRequest("listing executions", "a page needs room for at least one")
        filters = {"status": status and status.value, "file_id": file_id}
        wanted = {column: value for column, value in filters.items() if value is not None}
        condition = " AND ".join(["sequence < ?", *(f"{column} = ?" for column in wanted)])
        with self._database.read() as view:
            rows = view.rows(
                _SELECT + f" WHERE {condition} ORDER BY sequence DESC LIMIT ?",
                (_sequence_of(cursor), *wanted.values(), limit + 1),
            )
            page, more = rows[:limit], len(rows) > limit
            return ExecutionPage(tuple(self._told(view, page)), f"before-{page[-1][13]}" if more else None)

    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        with self._database.read() as view:
            found = view.row("SELECT sequence, input FROM executions WHERE name = ?", (name,))
            if found is None:
                raise NotFound(f"reading the history of {name}", "there is no execution of that name")
            rows = view.rows(
                "SELECT sequence, at, state, event, attempt, output, error, cause FROM execution_history"
                " WHERE execution = ? ORDER BY sequence",
                (found[0],),
            )
        return tuple(_events(json.loads(found[1]), rows))

    def cancel(self, name: str, reason: str) -> Execution:
        def work(unit: Transaction) -> None:
            now = timestamp(self._clock.now())
            row = unit.row("SELECT sequence, events, state, ended_at FROM executions WHERE name = ?", (name,))
            if row is None:
                raise NotFound(f"cancelling {name}", "there is no execution of that name")
            sequence, events, state, ended_at = row
            if ended_at is not None:
                return
            unit.run(
                "UPDATE executions SET status = 'cancelled', worker = NULL, due = NULL, waits_for = NULL, ended_at = ?,"
                " error = 'Cancelled', cause = ?, events = ? WHERE sequence = ?",
                (now, reason, events + 1, sequence),
            )
            unit.run(
                "INSERT INTO execution_history VALUES (?, ?, ?, ?, 'cancelled', 1, NULL, 'Cancelled', ?)",
                (sequence, events + 1, now, state, reason),
            )
            unit.after_commit(lambda: self._doorbell.ring(RING_CHANGED))

        self._database.write(work)
        return self.get(name)

    # -- what only the local home has ------------------------------------------------------------------------

    def workers(self) -> tuple[Worker, ...]:
        """Every worker that has signed on, the oldest first."""
        now, boot = self._clock.monotonic_seconds(), self._clock.boot_id()
        with self._database.read() as view:
            held: dict[str, list[str]] = {}
            for worker, name in view.rows(
                "SELECT worker, name FROM executions WHERE status = 'running' ORDER BY sequence"
            ):
                held.setdefault(str(worker), []).append(str(name))
            rows = view.rows(
                "SELECT name, process_id, slots, folder_slots, started_at, lease_expires, boot FROM workers"
                " ORDER BY started_at, name"
            )
        return tuple(
            Worker(
                name=name,
                process_id=process_id,
                slots=slots,
                folder_slots=folder_slots,
                started_at=parse_timestamp(started_at),
                live=its_boot == boot and expires > now and not self._doorbell.is_dead(name),
                running=tuple(held.get(name, ())),
            )
            for name, process_id, slots, folder_slots, started_at, expires, its_boot in rows
        )

    def wake(self, name: str) -> None:
        """End the execution's Wait early, now or when it comes to it: what it waits for has happened."""

        def work(unit: Transaction) -> None:
            row = unit.row("SELECT sequence, state, status FROM executions WHERE name = ?", (name,))
            if row is None or ExecutionStatus(row[2]).ended:
                return
            sequence, state, status = row
            waits = status == ExecutionStatus.PENDING and isinstance(self._machine.states.get(state), Wait)
            unit.run(
                "UPDATE executions SET due = CASE WHEN ? THEN NULL ELSE due END, woken = ? WHERE sequence = ?",
                (waits, not waits, sequence),
            )
            unit.after_commit(lambda: self._doorbell.ring(RING_WORK))

        self._database.write(work)

    def unfinished(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that have not ended yet."""
        with self._database.read() as view:
            rows = view.rows(
                "SELECT name FROM executions WHERE ended_at IS NULL AND name IN (SELECT value FROM json_each(?))",
                (json.dumps(list(names)),),
            )
        return {str(name) for (name,) in rows}

    def wait(self, names: Collection[str], timeout_seconds: float) -> bool:
        """Wait until all of ``names`` have ended, whoever runs them; False when the time is over first."""
        never = threading.Event()
        end = self._clock.monotonic_seconds() + timeout_seconds
        seen = -1
        while True:
            version = self._database.data_version()
            if version != seen and not self.unfinished(names):
                return True
            seen = version
            if self._clock.monotonic_seconds() >= end:
                return False
            self._clock.wait(never, _POLL_SECONDS)

    # -- inside ----------------------------------------------------------------------------------------------

    def _row(self, view: Connection, name: str) -> Row | None:
        return view.row(f"{_SELECT} WHERE name = ?", (name,))

    def _told(self, view: Connection, rows: Iterable[Row]) -> Iterator[Execution]:
        """Rows as executions; those that wait say why."""
        queue_reason: str | None = None
        for row in rows:
            reason = None
            if row[4] == ExecutionStatus.PENDING:
                reason = self._reason_to_wait(row)
                if reason is None:
                    queue_reason = queue_reason or self._reason_to_queue(view)
                    heavy_reason = self._reason_to_be_heavy(view) if row[16] and not queue_reason else ""
                    reason = self._place(view, row, queue_reason or heavy_reason)
            yield self._execution(row, reason)

    def _reason_to_wait(self, row: Row) -> str | None:
        state, due, why = row[5], row[14], row[15]
        if due is None:
            return None
        seconds = max(0, round(due - self._clock.monotonic_seconds()))
        if why is not None:
            return f"tries {state} again in {seconds} s, because: {why}"
        return f"waits in {state}, {seconds} s more"

    def _reason_to_queue(self, view: Connection) -> str:
        """Why nothing more is claimed just now; empty: nothing is in the way."""
        live = [worker for worker in self.workers() if worker.live]
        if not live:
            return "waits for a worker: none is running"
        busy = view.rows(
            "SELECT coalesce(json_extract(input, '$.key'), name) FROM executions WHERE status = 'running'"
            " ORDER BY sequence"
        )
        limit = min(max(worker.folder_slots for worker in live), sum(worker.slots for worker in live))
        if len(busy) >= limit:
            return f"all {limit} slots of this data folder are busy with {_listed([str(key) for (key,) in busy])}"
        return ""

    def _reason_to_be_heavy(self, view: Connection) -> str:
        """Why nothing heavy is claimed just now, although a slot is free; empty: nothing is in the way."""
        if any(worker.live and has_room(view, worker.name) for worker in self.workers()):
            return ""
        busy = view.rows(
            "SELECT coalesce(json_extract(input, '$.key'), name) FROM executions WHERE status = 'running' AND heavy"
            " ORDER BY sequence"
        )
        return f"waits for {_listed([str(key) for (key,) in busy])}; the slot that is free is for what is quick"

    def _place(self, view: Connection, row: Row, queue_reason: str) -> str:
        """Where in the queue it stands, after what holds up the queue as a whole."""
        lane, sequence = row[3], row[13]
        ahead = {
            Lane.UPLOAD: self._ahead(view, Lane.UPLOAD, sequence if lane == Lane.UPLOAD else None),
            Lane.BACKFILL: 0 if lane == Lane.UPLOAD else self._ahead(view, Lane.BACKFILL, sequence),
        }
        words = {Lane.UPLOAD: "upload", Lane.BACKFILL: "repeat"}
        parts = [_counted(count, words[which]) for which, count in ahead.items() if count]
        place = f"{' and '.join(parts)} {'is' if sum(ahead.values()) == 1 else 'are'} ahead" if parts else ""
        return "; ".join(filter(None, [queue_reason, place])) or "a worker is about to take it"

    def _ahead(self, view: Connection, lane: Lane, sequence: int | None) -> int:
        return int(
            view.value(
                "SELECT count(*) FROM (SELECT 1 FROM executions WHERE status = 'pending' AND due IS NULL AND lane = ?"
                " AND sequence < ? LIMIT ?)",
                (int(lane), 2**62 if sequence is None else sequence, _COUNT_LIMIT + 1),
            )
        )

    def _execution(self, row: Row, reason: str | None) -> Execution:
        (name, file_id, version_id, lane, status, state, given, data) = row[:8]
        created_at, started_at, ended_at = (moment and parse_timestamp(moment) for moment in row[8:11])
        return Execution(
            name=name,
            file_id=file_id,
            version_id=version_id,
            lane=Lane(lane),
            status=ExecutionStatus(status),
            state=state,
            input=json.loads(given),
            output=json.loads(data) if ended_at else None,
            created_at=created_at,
            started_at=started_at,
            ended_at=ended_at,
            error=row[11],
            cause=row[12],
            pending_reason=reason,
        )


def _events(given: Mapping[str, Any], rows: Iterable[Row]) -> Iterable[HistoryEvent]:
    """History as it is told: what a state was given is what the one before it left, so only that is stored."""
    data = given
    for sequence, at, state, event, attempt, output, error, cause in rows:
        left = None if output is None else json.loads(output)
        yield HistoryEvent(
            sequence=sequence,
            at=parse_timestamp(at),
            state=state,
            event=event,
            attempt=attempt,
            input=data if event == "entered" else None,
            output=left,
            error=error,
            cause=cause,
        )
        data = data if left is None else left


def _sequence_of(cursor: str | None) -> int:
    if cursor is None:
        return 2**62
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest("listing executions", "that cursor is not one of ours", hint="Start from the first page")
    return int(found[1])


def _counted(count: int, word: str) -> str:
    shown = f"more than {_COUNT_LIMIT}" if count > _COUNT_LIMIT else str(count)
    return f"{shown} {word}{'' if count == 1 else 's'}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_LIMIT])
    return f"{shown} and {len(names) - _NAMES_LIMIT} more" if len(names) > _NAMES_LIMIT else shown
