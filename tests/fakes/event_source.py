"""Events in memory: the fewest words for what the port says, to test with and to test the contract against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from contentplatform.clock import Clock
from contentplatform.errors import PlatformError
from contentplatform.ingest.port import DeadEvent, EventSource, ObjectEvent
from contentplatform.storage.port import BucketRole

_ATTEMPTS = 8
_LONGEST_DELAY_SECONDS = 300.0


@dataclass
class _Waiting:
    """An event and how often it failed."""

    event: ObjectEvent
    attempts: int = 0
    due_seconds: float = 0.0
    reason: str = ""


class MemoryEventSource(EventSource):
    """Keeps events in a list; whoever makes them calls ``announce``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = count(1)
        self._kept: list[_Waiting] = []

    def announce(self, key: str) -> None:
        """Something happened to ``key`` in the primary bucket."""
        self._kept.append(_Waiting(ObjectEvent(str(next(self._numbers)), BucketRole.PRIMARY, key)))

    def drain(self, handle: Callable[[ObjectEvent], None], *, limit: int) -> int:
        now = self._clock.monotonic_seconds()
        due = [kept for kept in self._kept if kept.attempts < _ATTEMPTS and kept.due_seconds <= now][:limit]
        for kept in due:
            try:
                handle(kept.event)
            except PlatformError as error:
                self._put_off(kept, error.public)
            except Exception:  # noqa: BLE001 - the contract: a fault of the handler holds up nobody else
                self._put_off(kept, "an unexpected error")
            else:
                self._kept.remove(kept)
        return len(due)

    def _put_off(self, kept: _Waiting, reason: str) -> None:
        kept.attempts += 1
        kept.reason = reason
        kept.due_seconds = self._clock.monotonic_seconds() + min(2.0 ** (kept.attempts - 1), _LONGEST_DELAY_SECONDS)

    def waiting(self) -> int:
        return sum(kept.attempts < _ATTEMPTS for kept in self._kept)

    def dead(self) -> tuple[DeadEvent, ...]:
        return tuple(
            DeadEvent(kept.event, kept.attempts, kept.reason) for kept in self._kept if kept.attempts >= _ATTEMPTS
        )

    def redrive(self) -> int:
        dead = [kept for kept in self._kept if kept.attempts >= _ATTEMPTS]
        for kept in dead:
            kept.attempts, kept.due_seconds = 0, 0.0
        return len(dead)
