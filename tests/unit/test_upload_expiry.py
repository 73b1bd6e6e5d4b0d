"""A server whose home has no worker ends uploads by itself, whatever becomes of one of its duties."""

from __future__ import annotations

import threading

from contentplatform.errors import Unavailable
from contentplatform.web.expiry import EVERY_SECONDS, UploadExpiry
from fakes.clock import FakeClock


def test_each_duty_is_done_again_after_each_wait_until_it_is_closed() -> None:
    clock, done = FakeClock(), threading.Event()
    begin = clock.monotonic_seconds()
    calls: list[float] = []

    def failing() -> int:
        raise Unavailable("ending uploads", "the store is away")

    def counted() -> int:
        calls.append(clock.monotonic_seconds() - begin)
        if len(calls) == 3:
            done.set()
        return 1

    expiry = UploadExpiry([failing, counted], clock)
    expiry.start()
    assert done.wait(300)
    expiry.close()
    expiry.close()
    assert calls[:3] == [EVERY_SECONDS, 2 * EVERY_SECONDS, 3 * EVERY_SECONDS]
    ended = len(calls)
    assert clock.monotonic_seconds() - begin == ended * EVERY_SECONDS
