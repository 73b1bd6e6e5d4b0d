"""The thread that writes down what an edge noted, off the way of its answers: there, noting is appending to a list."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.delivery.access_log import AccessLog, Exchange
from contentplatform.delivery.statistics import EdgeStatistics
from contentplatform.errors import PlatformError

FLUSH_SECONDS: Final = 1.0
"""How long an exchange waits in memory: what a kill loses."""
SAVE_SECONDS: Final = 15.0
"""How long figures wait: each save is a commit."""

_logger: Final = logging.getLogger(__name__)


class EdgeRecorder:
    """Writes the log and the figures of one edge down."""

    def __init__(self, access_log: AccessLog | None, statistics: EdgeStatistics, clock: Clock) -> None:
        self._log = access_log
        self._statistics = statistics
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._noted: deque[Exchange] = deque()
        self._saved_seconds = clock.monotonic_seconds()

    def note(self, exchange: Exchange) -> None:
        """Keep an exchange for the thread. Quick."""
        self._noted.append(exchange)

    def start(self) -> None:
        """Begin; what dead processes left is stored first. Idempotent."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="edge-recorder", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write everything down, and end. Idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.record()
        self.save()
        if self._log is not None:
            self._log.close()

    def record(self) -> None:
        """Write down what came together, as far as it is time."""
        exchanges = [self._noted.popleft() for _ in range(len(self._noted))]
        self._statistics.count(exchanges)
        if self._log is not None:
            self._log.write(exchanges)
        if self._clock.monotonic_seconds() - self._saved_seconds >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the figures down."""
        self._saved_seconds = self._clock.monotonic_seconds()
        try:
            self._statistics.save()
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "the edge's figures have to wait", **{log.REASON: error.public})

    def _run(self) -> None:
        if self._log is not None:
            self._log.take_over()
        while not self._clock.wait(self._stopping, FLUSH_SECONDS):
            self.record()
