"""What the edge did, minute by minute, for a page that any process can show; and when a file was last asked for.

``save`` writes what came together since the last time, into the minute in which it is called: rows of a minute are
added to, so several edges of one data folder count into the same. A file's last day matters to the tiering of storage
only, so it is written once a day and file at most.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from contentplatform.clock import Clock
from contentplatform.delivery.answers import Result
from contentplatform.drivers.sqlite import Database, Transaction

KEPT_DAYS: Final = 35
"""How long minutes are kept; the access log has the rest."""
NOTED_LIMIT: Final = 100_000
_MINUTE: Final = "%Y-%m-%dT%H:%MZ"


@dataclass(frozen=True, slots=True)
class Minute:
    """What the edge did in a minute, or in all minutes together."""

    begins_at: str
    """As ``2030-01-31T23:59Z``."""
    requests: int
    bytes_sent: int
    hits: int
    """Answered from what was kept, looked at again or not."""
    misses: int
    errors: int
    """Refused."""
    by_status: Mapping[int, int]

    @property
    def hit_ratio(self) -> float | None:
        """Hits among what was not refused; None: there was nothing."""
        served = self.hits + self.misses
        return self.hits / served if served else None


@dataclass(slots=True)
class Tally:
    """What was answered with one result and status."""

    requests: int = 0
    sent_bytes: int = 0


class EdgeStatistics:
    """Counts for one edge. Safe from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counted: Counter[tuple[str, int]] = Counter()
        self._bytes: Counter[tuple[str, int]] = Counter()
        self._asked_for: set[str] = set()
        self._noted: set[str] = set()
        self._noted_day: date | None = None
        self._lock = threading.Lock()

    def count(self, counted: Mapping[tuple[str, int], Tally], asked_for: Iterable[str]) -> None:
        """Add what was counted, by result and status, and whose files were asked for; ``save`` writes it down."""
        with self._lock:
            for what, tally in counted.items():
                self._counted[what] += tally.requests
                self._bytes[what] += tally.sent_bytes
            today = self._clock.now().date()
            if today != self._noted_day or len(self._noted) > NOTED_LIMIT:
                self._noted, self._noted_day = set(), today
            self._asked_for |= set(asked_for) - self._noted

    def save(self) -> None:
        """Write down what was counted since the last time. Blocks."""
        now = self._clock.now()
        with self._lock:
            counted, sent, asked_for = self._counted, self._bytes, self._asked_for
            if counted or asked_for:
                self._database.write(lambda unit: _save(unit, now, counted, sent, asked_for))
            self._noted |= asked_for
            self._counted, self._bytes, self._asked_for = Counter(), Counter(), set()

    def minutes(self, since: datetime, until: datetime) -> tuple[Minute, ...]:
        """Every minute with an answer that begins in this time, oldest first."""
        with self._database.read() as view:
            rows = view.rows(
                "SELECT minute, result, status, requests, bytes FROM edge_minutes"
                " WHERE minute >= ? AND minute < ? ORDER BY minute",
                (since.strftime(_MINUTE), until.strftime(_MINUTE)),
            )
        told: dict[str, list[tuple[str, int, int, int]]] = {}
        for minute, *rest in rows:
            told.setdefault(minute, []).append((rest[0], rest[1], rest[2], rest[3]))
        return tuple(_minute(begins_at, found) for begins_at, found in told.items())

    def last_access(self, original: str) -> date | None:
        """The last day on which a file of this original was asked for, as far as it is known."""
        with self._database.read() as view:
            day = view.value("SELECT day FROM edge_access WHERE key = ?", (original,))
        return None if day is None else date.fromisoformat(day)


def together(minutes: tuple[Minute, ...]) -> Minute:
    """All minutes as one."""
    by_status: Counter[int] = Counter()
    for minute in minutes:
        by_status.update(minute.by_status)
    return Minute(
        begins_at=minutes[0].begins_at if minutes else "",
        requests=sum(minute.requests for minute in minutes),
        bytes_sent=sum(minute.bytes_sent for minute in minutes),
        hits=sum(minute.hits for minute in minutes),
        misses=sum(minute.misses for minute in minutes),
        errors=sum(minute.errors for minute in minutes),
        by_status=dict(by_status),
    )


def _minute(begins_at: str, rows: list[tuple[str, int, int, int]]) -> Minute:
    by_result: Counter[str] = Counter()
    by_status: Counter[int] = Counter()
    for result, status, requests, _ in rows:
        by_result[result] += requests
        by_status[status] += requests
    return Minute(
        begins_at=begins_at,
        requests=by_result.total(),
        bytes_sent=sum(row[3] for row in rows),
        hits=by_result[Result.HIT] + by_result[Result.REFRESH_HIT],
        misses=by_result[Result.MISS],
        errors=by_result[Result.ERROR],
        by_status=dict(by_status),
    )


def _save(
    unit: Transaction,
    now: datetime,
    counted: Mapping[tuple[str, int], int],
    sent: Mapping[tuple[str, int], int],
    asked_for: set[str],
) -> None:
    minute, day = now.strftime(_MINUTE), now.date().isoformat()
    unit.run_many(
        "INSERT INTO edge_minutes VALUES (?, ?, ?, ?, ?) ON CONFLICT (minute, result, status)"
        " DO UPDATE SET requests = requests + excluded.requests, bytes = bytes + excluded.bytes",
        [(minute, what[0], what[1], number, sent.get(what, 0)) for what, number in counted.items()],
    )
    unit.run_many(
        "INSERT INTO edge_access VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET day = excluded.day",
        [(key, day) for key in sorted(asked_for)],
    )
    unit.run("DELETE FROM edge_minutes WHERE minute < ?", ((now - timedelta(days=KEPT_DAYS)).strftime(_MINUTE),))
