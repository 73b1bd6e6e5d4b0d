"""Events at home: rows that the store wrote in the very transaction that changed the key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.sqlite import Database, Row, Schema, Transaction
from contentplatform.errors import PlatformError
from contentplatform.ingest.port import DeadEvent, EventSource, ObjectEvent
from contentplatform.storage.port import BucketRole

SCHEMA: Final = Schema(
    room="ingest",
    migrations=(
        """
        CREATE TABLE event_failures (
            event_id INTEGER PRIMARY KEY,
            attempts INTEGER NOT NULL,
            due_at REAL NOT NULL,      -- seconds since the boot named beside it
            boot_id TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
        """,
    ),
)
ATTEMPTS_BEFORE_DEAD: Final = 8
_BACKOFF_SECONDS: Final = 1.0
_BACKOFF_LIMIT_SECONDS: Final = 300.0

_logger = logging.getLogger(__name__)


class LocalEventSource(EventSource):
    """Reads ``object_events``. Handling an event and forgetting it are one unit of work, so each counts once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def drain(self, handle: Callable[[ObjectEvent], None], *, limit: int) -> int:
        events = self._due(limit)
        for event in events:
            try:
                self._database.write(partial(_consume, event=event, handle=handle))
                crashpoint("ingest.handled")
            except PlatformError as error:
                self._note_failure(event, error.public)
            except Exception:  # the outer edge of one event: a fault of ours must not hold up the others
                _logger.exception("unexpected error while handling an event")
                self._note_failure(event, "an unexpected error; the log has it")
        return len(events)

    def waiting(self) -> int:
        with self._database.read() as view:
            return int(
                view.value(
                    "SELECT count(*) FROM object_events e LEFT JOIN event_failures f USING (event_id)"
                    " WHERE f.event_id IS NULL OR f.attempts < ?",
                    (ATTEMPTS_BEFORE_DEAD,),
                )
            )

    def dead(self) -> tuple[DeadEvent, ...]:
        with self._database.read() as view:
            rows = view.rows(
                "SELECT e.event_id, e.bucket, e.key, f.attempts, f.reason FROM object_events e"
                " JOIN event_failures f USING (event_id) WHERE f.attempts >= ? ORDER BY e.event_id",
                (ATTEMPTS_BEFORE_DEAD,),
            )
        return tuple(DeadEvent(_event(row[:3]), attempts=row[3], reason=row[4]) for row in rows)

    def redrive(self) -> int:
        return self._database.write(
            lambda transaction: transaction.run(
                "DELETE FROM event_failures WHERE attempts >= ?", (ATTEMPTS_BEFORE_DEAD,)
            )
        )

    def _due(self, limit: int) -> list[ObjectEvent]:
        with self._database.read() as view:
            rows = view.rows(
                "SELECT e.event_id, e.bucket, e.key FROM object_events e LEFT JOIN event_failures f USING (event_id)"
                " WHERE f.event_id IS NULL OR (f.attempts < ? AND (f.due_at <= ? OR f.boot_id <> ?))"
                " ORDER BY e.event_id LIMIT ?",
                (ATTEMPTS_BEFORE_DEAD, self._clock.monotonic_seconds(), self._clock.boot_id(), limit),
            )
        return [_event(row) for row in rows]

    def _note_failure(self, event: ObjectEvent, reason: str) -> None:
        def note(transaction: Transaction) -> int:
            attempts = 1 + int(
                transaction.value("SELECT attempts FROM event_failures WHERE event_id = ?", (int(event.event_id),)) or 0
            )
            delay = min(_BACKOFF_SECONDS * 2 ** (attempts - 1), _BACKOFF_LIMIT_SECONDS)
            transaction.run(
                "INSERT INTO event_failures VALUES (?, ?, ?, ?, ?) ON CONFLICT (event_id) DO UPDATE SET"
                " attempts = excluded.attempts, due_at = excluded.due_at, boot_id = excluded.boot_id,"
                " reason = excluded.reason",
                (
                    int(event.event_id),
                    attempts,
                    self._clock.monotonic_seconds() + delay,
                    self._clock.boot_id(),
                    reason,
                ),
            )
            return attempts

        attempts = self._database.write(note)
        level = logging.ERROR if attempts >= ATTEMPTS_BEFORE_DEAD else logging.WARNING
        log.event(_logger, level, "event not handled", **{log.KEY: event.key, log.REASON: reason, "attempts": attempts})


def _consume(transaction: Transaction, event: ObjectEvent, handle: Callable[[ObjectEvent], None]) -> None:
    """Handle and forget one event, unless another process was faster."""
    number = int(event.event_id)
    if transaction.value("SELECT 1 FROM object_events WHERE event_id = ?", (number,)) is None:
        return
    handle(event)
    transaction.run("DELETE FROM object_events WHERE event_id = ?", (number,))
    transaction.run("DELETE FROM event_failures WHERE event_id = ?", (number,))


def _event(row: Row) -> ObjectEvent:
    number, bucket, key = row
    return ObjectEvent(str(number), BucketRole(bucket), key)
