"""Keeps a process of ours running beside this one: starts it again if it ends, and ends it with this process.

The child's standard input is a pipe that this process holds open. When this process is gone, killed or not, the pipe
ends, and the child stops by itself: no signal has to be sent by a process that can't send any more.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.errors import ConfigurationInvalid

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0
"""A child that lived so long did not fail at its start; the next pause is the first one again."""

_logger = logging.getLogger(__name__)


class Companion:
    """One child process, from ``start`` to ``stop``.

    Args:
        arguments: program and arguments.
        clock: how long to wait before starting it again.
        on_end: told of the exit code of a child that ended unasked.
    """

    def __init__(self, arguments: Sequence[str], clock: Clock, *, on_end: Callable[[int], None] | None = None) -> None:
        self._arguments = list(arguments)
        self._clock = clock
        self._on_end = on_end
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="companion", daemon=True)

    @property
    def process_id(self) -> int | None:
        """The child's process id; None while there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Start the child, and look after it.

        Raises:
            ConfigurationInvalid: it can't be started at all.
        """
        self._launch()
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Ask the child to end by closing its input; kill it when the time is over. Whether it ended by itself."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is None:
            return True
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        ended = True
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            ended = False
            process.kill()
            process.wait()
        if self._thread.is_alive():
            self._thread.join()
        return ended

    def _launch(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(self._arguments, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            raise ConfigurationInvalid(
                "starting a worker", f"{self._arguments[0]} can't be run ({error.strerror})", private=str(error)
            ) from error
        self._process = process
        return process

    def _keep(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            process = self._process
            if process is None:
                return
            began = self._clock.monotonic_seconds()
            code = process.wait()
            if self._stopping.is_set():
                return
            if process.stdin is not None:
                process.stdin.close()
            log.event(_logger, logging.WARNING, "a child process ended", exit_code=code)
            if self._on_end is not None:
                self._on_end(code)
            if self._clock.monotonic_seconds() - began >= _HEALTHY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            if self._clock.wait(self._stopping, pause_seconds):
                return
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            with self._lock:
                if self._stopping.is_set():
                    return
                with suppress(ConfigurationInvalid):
                    self._launch()
