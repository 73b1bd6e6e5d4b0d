"""Time and ids that a test controls."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that moves only when it is told to; waiting for an event that is not set passes the whole time-out."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1_000.0
        self._boot = "boot-1"
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The faked wall time."""
        return self._now

    def monotonic_seconds(self) -> float:
        """The faked time since boot."""
        return self._monotonic

    def boot_id(self) -> str:
        """The faked boot."""
        return self._boot

    def wait(self, event: threading.Event, timeout_seconds: float) -> bool:
        """Return at once; time passes if the event was not set."""
        if event.is_set():
            return True
        self.advance(timeout_seconds)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass, on the wall and since boot."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def jump(self, delta: timedelta) -> None:
        """Change the wall clock only, as an administrator or NTP does."""
        with self._lock:
            self._now += delta

    def reboot(self) -> None:
        """Start another boot: time since boot begins again."""
        with self._lock:
            self._boot += "'"
            self._monotonic = 5.0


class SequentialIds:
    """Ids 1, 2, 3, … as 32 hex digits; no jitter."""

    def __init__(self, start: int = 0) -> None:
        self._next = start
        self._lock = threading.Lock()

    def new_id(self) -> str:
        """The next id."""
        with self._lock:
            self._next += 1
            return f"{self._next:032x}"

    def fraction(self) -> float:
        """Always the middle."""
        return 0.5
