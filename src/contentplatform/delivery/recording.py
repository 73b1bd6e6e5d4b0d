"""The thread that writes down what an edge noted, off the way of its answers: there, noting is appending to a list."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.delivery.access_log import AccessLog, Addresses, Asker, Exchange, Fixed, Lines
from contentplatform.delivery.statistics import NOTED_LIMIT, EdgeStatistics, Tally
from contentplatform.errors import PlatformError

FLUSH_SECONDS: Final = 1.0
"""How long an exchange waits in memory: what a kill loses."""
SAVE_SECONDS: Final = 15.0
"""How long figures wait: each save is a commit."""

_logger: Final = logging.getLogger(__name__)


class EdgeRecorder:
    """Counts the answers of one edge, and writes its log and its figures down.

    ``note`` is for the event loop; it leaves nothing behind that Python's collector would have to look at again.
    """

    def __init__(
        self,
        access_log: AccessLog | None,
        statistics: EdgeStatistics,
        clock: Clock,
        addresses: Addresses = Addresses.FULL,
    ) -> None:
        self._log = access_log
        self._statistics = statistics
        self._clock = clock
        self._format = Lines(addresses)
        self._lines: list[bytes] = []
        self._counted: dict[tuple[str, int], Tally] = {}
        self._asked_for: set[str] = set()
        self._second = ""
        self._second_ends = float("-inf")
        self._lock = threading.Lock()  # held for an instant only
        self._saved_seconds = clock.monotonic_seconds()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, exchange: Exchange) -> None:
        """Count an exchange, and keep its line for the thread. Quick."""
        line = self._format.line(exchange) if self._log is not None else b""
        self._note(exchange.result, exchange.status, exchange.sent_bytes, exchange.original, line)

    def asker(self, scope: Mapping[str, Any]) -> Asker:
        """Who asks, for ``note_file``."""
        return self._format.asker(scope)

    def note_file(
        self,
        ended: float,
        asker: Asker,
        port: int,
        address_bytes: int,
        answer: tuple[int, int, Fixed],
        *,
        request_id: str,
        taken: float,
        first: float,
        original: str,
    ) -> None:
        """The same of a kept file, of which most is known already. Quicker.

        Args:
            ended: now, by the monotonic clock; the other one is asked once a second.
            asker: who asks.
            port: the client's.
            address_bytes: those of the request that tell what is asked for.
            answer: status, bytes sent, and what a line says of it each time.
            request_id: harmless in a line.
            taken: seconds until all was sent.
            first: seconds until the first byte was.
            original: the key of the original.
        """
        status, sent_bytes, fixed = answer
        line = b""
        if self._log is not None:
            if ended >= self._second_ends:
                now = self._clock.now()
                self._second, self._second_ends = self._format.second_of(now), ended + 1 - now.microsecond / 1e6
            line = self._format.line_of(
                self._second,
                asker,
                port,
                address_bytes,
                sent_bytes,
                fixed,
                request_id=request_id,
                taken=taken,
                first=first,
            )
        self._note(fixed.result, status, sent_bytes, original, line)

    def _note(self, result: str, status: int, sent_bytes: int, original: str, line: bytes) -> None:
        what = (result, status)
        with self._lock:
            tally = self._counted.get(what)
            if tally is None:
                tally = self._counted[what] = Tally()
            tally.requests += 1
            tally.sent_bytes += sent_bytes
            if original and len(self._asked_for) < NOTED_LIMIT:
                self._asked_for.add(original)
            if line:
                self._lines.append(line)

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
        with self._lock:
            lines, self._lines = self._lines, []
        if self._log is not None:
            self._log.write(lines)
        if self._clock.monotonic_seconds() - self._saved_seconds >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the figures down."""
        self._saved_seconds = self._clock.monotonic_seconds()
        with self._lock:
            counted, self._counted = self._counted, {}
            asked_for, self._asked_for = self._asked_for, set()
        self._statistics.count(counted, asked_for)
        try:
            self._statistics.save()
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "the edge's figures have to wait", **{log.REASON: error.public})

    def _run(self) -> None:
        if self._log is not None:
            self._log.take_over()
        while not self._clock.wait(self._stopping, FLUSH_SECONDS):
            self.record()
