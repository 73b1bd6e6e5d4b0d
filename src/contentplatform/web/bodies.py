"""A request's body as it comes in: not larger than its route allows, and not slower than anybody's line is.

A watch looks now and then instead of timing each piece: an upload of a gigabyte comes in some ten thousand of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.types import Message, Receive

from contentplatform.clock import Clock
from contentplatform.web import problems

_LOOKS: Final = 8
"""How often a silence is looked at before it is too long."""
_CLOSE: Final = {"Connection": "close"}


class Body:
    """One request's body.

    Args:
        receive: where it comes from.
        clock: how long it takes.
        limit_bytes: the most that is taken; None: whoever reads it has limits of its own.
        silence_seconds: how long nothing at all may come.
        least_per_second: bytes that have to come on the whole, ``silence_seconds`` aside.
    """

    def __init__(
        self,
        receive: Receive,
        clock: Clock,
        *,
        limit_bytes: int | None,
        silence_seconds: float,
        least_per_second: float,
    ) -> None:
        self._receive = receive
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._silence_seconds = silence_seconds
        self._least_per_second = least_per_second
        self._size_bytes = 0
        self._waited_seconds = 0.0
        self._since: float | None = None
        """Since when somebody waits for the next piece; None: nobody does."""
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._is_whole = False
        self.refusal: problems.Refusal | None = None
        """Why no more of it is taken; whoever reads it may have made another error of that."""

    async def __call__(self) -> Message:
        """The next message, as ASGI calls it. Raises a refusal: too large (413), too slow (408)."""
        if self._is_whole:
            return await self._receive()  # whether the other side has gone
        if self._timer is None:
            self._look_again()
        self._task = asyncio.current_task()
        self._since = self._clock.monotonic_seconds()
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if not self._is_late:
                raise
            if self._task is not None:
                self._task.uncancel()
            self.refusal = problems.Refusal(problems.TIMED_OUT, "The body came too slowly", headers=_CLOSE)
            raise self.refusal from None
        finally:
            self._waited_seconds += self._clock.monotonic_seconds() - self._since
            self._since = None
        self._count(message)
        return message

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._is_whole = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, message: Message) -> None:
        self._size_bytes += len(message.get("body", b""))
        if self._limit_bytes is not None and self._size_bytes > self._limit_bytes:
            self.close()
            self.refusal = too_large(self._limit_bytes)
            raise self.refusal
        if not message.get("more_body", False):
            self.close()

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._silence_seconds / _LOOKS, self._look)

    def _look(self) -> None:
        if self._is_whole:
            return
        if self._since is not None and self._task is not None:
            silent_seconds = self._clock.monotonic_seconds() - self._since
            allowed_seconds = self._silence_seconds + self._size_bytes / self._least_per_second
            if silent_seconds > self._silence_seconds or self._waited_seconds + silent_seconds > allowed_seconds:
                self._is_late = True
                self._task.cancel()
                return
        self._look_again()


def too_large(limit_bytes: int) -> problems.Refusal:
    """The refusal of a body; the connection ends, because nobody will read the rest of it."""
    words = f"A body of at most {limit_bytes} bytes is taken here"
    return problems.Refusal(problems.TOO_LARGE, words, headers=_CLOSE)
