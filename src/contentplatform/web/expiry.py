"""The duty of a server whose home has no worker: uploads whose time is over are ended now and then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.errors import PlatformError

EVERY_SECONDS: Final = 600.0
_logger: Final = logging.getLogger(__name__)


class UploadExpiry:
    """A thread that ends what is over, until it is closed.

    Args:
        duties: what is called each time; how many it ended.
        clock: how long it waits between.
    """

    def __init__(self, duties: Sequence[Callable[[], int]], clock: Clock) -> None:
        self._duties = tuple(duties)
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upload-expiry", daemon=True)

    def start(self) -> None:
        """Begin; the first time is one wait from now."""
        self._thread.start()

    def close(self) -> None:
        """Stop, after what is being ended now. Idempotent."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stopped, EVERY_SECONDS):
            for duty in self._duties:
                self._do(duty)

    def _do(self, duty: Callable[[], int]) -> None:
        try:
            ended = duty()
        except PlatformError as error:  # the next time may do better
            log.event(_logger, logging.WARNING, "uploads not ended", **{log.REASON: error.public})
            return
        if ended:
            log.event(_logger, logging.INFO, "uploads ended", count=ended)
