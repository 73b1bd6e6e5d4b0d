"""Runs what is due by the clock on this machine: once each, whichever worker sees it first.

A run is claimed in the database before it begins. A worker that dies in the middle of one leaves a claim without an
end; another takes it over when it has been silent for long, as often as the schedule allows. What could not begin in
its time is left to the next run. In a new data folder the first run is the next one that is due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Database, Schema, Transaction
from contentplatform.errors import PlatformError
from contentplatform.schedule.cron import due_before
from contentplatform.schedule.schedules import SCHEDULES, Schedule

SCHEMA: Final = Schema(
    room="schedule",
    migrations=(
        """
        CREATE TABLE schedule_runs (
            name TEXT PRIMARY KEY,
            due_at TEXT NOT NULL,              -- of the newest run
            started_at TEXT NOT NULL,          -- of its newest attempt
            attempts INTEGER NOT NULL,
            ended_at TEXT,                     -- NULL: at work, or lost
            error TEXT
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
_SILENT: Final = timedelta(hours=1)
"""After so long a run without an end is taken for lost."""

_logger = logging.getLogger(__name__)


class LocalSchedule:
    """Every schedule that has a job at home.

    Args:
        database: with this room's table.
        clock: what time it is.
        jobs: what is run, by the function's name in a schedule. Each may run twice, so each is idempotent.
        schedules: when.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        jobs: Mapping[str, Callable[[], object]],
        schedules: Sequence[Schedule] = SCHEDULES,
    ) -> None:
        self._database = database
        self._clock = clock
        self._jobs = dict(jobs)
        self._schedules = tuple(schedule for schedule in schedules if schedule.function in self._jobs)

    def run_due(self) -> int:
        """Run what is due now and nobody runs; returns how many runs that were."""
        return sum(self._run_if_due(schedule) for schedule in self._schedules)

    def _run_if_due(self, schedule: Schedule) -> bool:
        now = self._clock.now()
        due = due_before(schedule.fields(), now)
        if now - due > timedelta(seconds=schedule.latest_start_seconds):
            return False
        if not self._database.write(lambda unit: self._claim(unit, schedule, timestamp(due), timestamp(now))):
            return False
        error: str | None = None
        try:
            self._jobs[schedule.function]()
        except PlatformError as failure:
            error = failure.public
            log.event(_logger, logging.WARNING, "scheduled job failed", job=schedule.name, **{log.REASON: str(failure)})
        ended = None if error is not None else timestamp(self._clock.now())
        self._database.write(
            lambda unit: unit.run(
                "UPDATE schedule_runs SET ended_at = ?, error = ? WHERE name = ? AND due_at = ?",
                (ended, error, schedule.name, timestamp(due)),
            )
        )
        return True

    def _claim(self, unit: Transaction, schedule: Schedule, due: str, now: str) -> bool:
        """Whether this worker is the one that runs it."""
        row = unit.row(
            "SELECT due_at, started_at, attempts, ended_at, error FROM schedule_runs WHERE name = ?", (schedule.name,)
        )
        if row is None:  # a new data folder: nothing was missed before it was there
            unit.run(
                "INSERT INTO schedule_runs (name, due_at, started_at, attempts, ended_at) VALUES (?, ?, ?, 0, ?)",
                (schedule.name, due, now, now),
            )
            return False
        attempts = 1
        if row[0] >= due:
            _, started_at, attempts, ended_at, error = row
            is_lost = parse_timestamp(now) - parse_timestamp(started_at) > _SILENT
            if ended_at is not None or attempts >= schedule.attempts or not (error or is_lost):
                return False
            attempts += 1
        unit.run(
            "UPDATE schedule_runs SET due_at = ?, started_at = ?, attempts = ?, ended_at = NULL, error = NULL"
            " WHERE name = ?",
            (due, now, attempts, schedule.name),
        )
        return True
