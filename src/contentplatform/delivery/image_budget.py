"""How much computing a viewer may cause: seconds of a processor, by the minute."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import Final

from contentplatform.clock import Clock
from contentplatform.errors import RateLimited

_MOST_CLIENTS: Final = 10_000
_MOST_AT_ONCE: Final = 32
"""Jobs of one client that wait or run: the queue is for others, too."""
_NOTHING: Final = 1e-6
"""What adding up shares of a second is wrong by."""
_SITE_PREFIX: Final = 64
"""Of IPv6 one site has that many bits in common; all the rest of an address is its own to choose."""


@dataclass(slots=True)
class _Purse:
    seconds: float
    looked_at: float
    jobs: int = 0
    """That wait or run."""


class CpuBudget:
    """Seconds of processor time for each client, which come back evenly. Safe from any thread; of this process only.

    Args:
        clock: how much has come back.
        seconds_a_minute: what comes back in a minute, and the most that a client can have saved.
    """

    def __init__(self, clock: Clock, seconds_a_minute: float) -> None:
        self._clock = clock
        self._most = seconds_a_minute
        self._rate = seconds_a_minute / 60
        self._lock = threading.Lock()
        self._purses: OrderedDict[str, _Purse] = OrderedDict()

    def reserve(self, client: str, seconds: float) -> None:
        """Take what a job will about cost; ``settle`` it afterwards.

        Raises:
            RateLimited: the client has not enough left, or has too many jobs under way.
        """
        with self._lock:
            purse = self._purse(_site_of(client))
            if purse.jobs >= _MOST_AT_ONCE:
                raise RateLimited(
                    "making a picture",
                    f"{_MOST_AT_ONCE} pictures are being made for you already",
                    retry_after_seconds=1,
                )
            missing = min(seconds, self._most) - purse.seconds
            if missing > _NOTHING:
                raise RateLimited(
                    "making a picture",
                    "more was computed for you in the last minute than one viewer is given",
                    retry_after_seconds=max(1, ceil(missing / self._rate - _NOTHING)),
                    hint="Pictures that are made already are served on",
                )
            purse.seconds -= seconds
            purse.jobs += 1

    def settle(self, client: str, reserved: float, used: float) -> None:
        """Say what a job really took. A purse may be overdrawn by jobs that were under way already."""
        with self._lock:
            purse = self._purse(_site_of(client))
            purse.seconds += reserved - used
            purse.jobs = max(0, purse.jobs - 1)

    def _purse(self, site: str) -> _Purse:
        now = self._clock.monotonic_seconds()
        purse = self._purses.setdefault(site, _Purse(self._most, now))
        purse.seconds = min(self._most, purse.seconds + (now - purse.looked_at) * self._rate)
        purse.looked_at = now
        self._purses.move_to_end(site)
        if len(self._purses) > _MOST_CLIENTS:
            self._purses.popitem(last=False)
        return purse


def _site_of(client: str) -> str:
    """What counts as one client: an address, of IPv6 its network; anything else by its name."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _SITE_PREFIX), strict=False))
    return client
