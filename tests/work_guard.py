"""A guard against work that grows with the square of what is read.

It counts minutes of the processor's own time, so that a slow or a busy machine passes. It is for inputs, or for so many
readings of them, that whoever reads them again and again would need many times that.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

WORK_SECONDS: Final = 120.0


@contextmanager
def work_that_ends() -> Iterator[None]:
    """Give up what works for minutes. For the main thread; work in C is given up when it comes back."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"after {WORK_SECONDS:g} s of work there is no end of it")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, WORK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
