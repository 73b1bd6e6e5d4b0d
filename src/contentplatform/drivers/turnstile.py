"""A fair queue for the writers of several processes.

SQLite's own lock is not fair: who finds it taken sleeps for up to 100 ms before looking again, and those that write
back to back take it in between. In a crowd of six processes one was kept out for more than 30 s.

Two advisory locks make a turnstile: a writer takes the gate, then the turn, then gives the gate back, then writes. Who
has just written and wants to write again finds the gate held by the one that waits for its turn. The kernel drops both
when their holder dies. They are about fairness alone; that writes don't mix is SQLite's own lock's business. So a
writer that has waited for long behind somebody who was stopped goes ahead without its turn.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PAUSE_SECONDS: Final = 0.0005
"""Between two looks at a lock that is taken; a commit takes about as long."""
_LOOKS: Final = 10_000
"""So often a lock is looked at before its holder is taken for stopped: some seconds."""


class Turnstile:
    """The queue in front of one file, in two lock files beside it. One a writer; used by one thread at a time."""

    def __init__(self, path: Path, *, looks: int = _LOOKS) -> None:
        self._looks = looks
        self._gate = _opened(path.with_name(f"{path.name}-gate"))
        self._turn = _opened(path.with_name(f"{path.name}-turn"))
        self._never = threading.Event()
        self._closed = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this writer's turn, and let the next one through at the end."""
        at_gate = self._take(self._gate)
        try:
            has_turn = self._take(self._turn)
        finally:
            if at_gate:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            if has_turn:
                fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        if not self._closed:
            self._closed = True
            os.close(self._gate)
            os.close(self._turn)

    def _take(self, lock: int) -> bool:
        """Whether the lock could be had; False after a long wait, or where the file system has no locks."""
        for _ in range(self._looks):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._never.wait(_PAUSE_SECONDS)
            except OSError:
                return False
            else:
                return True
        return False


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
