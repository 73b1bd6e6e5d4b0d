"""How many requests one caller may send: a bucket that refills steadily, for each of them, in memory."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Final

from contentplatform.clock import Clock
from contentplatform.errors import RateLimited

_CALLERS_LIMIT: Final = 20_000
"""Whoever was quiet the longest is forgotten, and begins with a full bucket."""


class Rates:
    """So many requests a minute for each caller, as many at once after a rest. Safe from any thread.

    Args:
        clock: how quickly buckets refill.
        per_minute: requests.
        callers: how many are remembered.
    """

    def __init__(self, clock: Clock, per_minute: int, *, callers: int = _CALLERS_LIMIT) -> None:
        self._clock = clock
        self._most = float(per_minute)
        self._per_second = per_minute / 60
        self._callers = callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, caller: str, cost: float = 1.0) -> int:
        """Take from the caller's bucket: 0, or if there is too little in it in how many seconds there is enough."""
        now = self._clock.monotonic_seconds()
        with self._lock:
            left, at = self._buckets.pop(caller, (self._most, now))
            left = min(self._most, left + (now - at) * self._per_second)
            lacking = min(cost, self._most) - left
            self._buckets[caller] = (left if lacking > 0 else left - cost, now)
            if len(self._buckets) > self._callers:
                self._buckets.popitem(last=False)
        return max(1, math.ceil(lacking / self._per_second)) if lacking > 0 else 0

    def take(self, caller: str, cost: float = 1.0) -> None:
        """Raise RateLimited if the caller has to wait."""
        seconds = self.wait_seconds(caller, cost)
        if seconds:
            raise RateLimited(
                "asking the server", "there were too many requests", retry_after_seconds=seconds, hint="Wait a little"
            )
