"""Bodies of requests on their way into files: in large pieces, with back-pressure, and in bounded memory.

The event loop only gathers what comes; a thread joins a piece, hashes it and writes it, while the next one is gathered.
No more is read than can be written: the client waits for the disk, and so does nobody else. A client that sends next to
nothing is cut off; the time that the disk takes is not counted against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.types import Receive

T = TypeVar("T")

PIECE_BYTES: Final = 4 << 20
"""What is written at once, where memory allows it: handing over smaller ones costs half of the speed."""
_LEAST_PIECE_BYTES: Final = 256 << 10
_GATHERED_BYTES: Final = 64 << 20
"""What all bodies together may keep in memory; twice, as one piece is gathered while another is written."""
_LEAST_RATE: Final = 512
"""Bytes a second; whoever sends less over the whole time limit sends next to nothing."""
_THREADS: Final = 32
_DRAINED_BYTES: Final = 1 << 20
"""A body that nobody wants is read if it is no larger, so that its sender hears the answer and keeps the connection."""


class Came(Enum):
    """How a body ended."""

    WHOLE = auto()
    CUT_OFF = auto()
    """The client went away."""
    TOO_SLOW = auto()


class Intake:
    """All bodies that one process takes in.

    Args:
        idle_seconds: how long a client may send next to nothing.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._bodies = 0
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Have something done that waits for disks or locks, off the event loop. It is always done to its end."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, limiter=self._limiter)

    async def pour(self, receive: Receive, write: Callable[[bytes], None]) -> Came:
        """Give a whole body to ``write``, piece by piece, in a thread.

        Raises:
            PlatformError: what ``write`` raised.
        """
        self._bodies += 1
        body = _Body(receive, self._idle_seconds)
        writing: asyncio.Task[None] | None = None
        try:
            while body.ended is None:
                pieces = await body.gather(self._piece_bytes())
                writing = await self._after(body, writing, pieces, write)
            await self._after(body, writing, [], write)
        except BaseException:
            if writing is not None and not writing.done():
                await asyncio.wait([writing])
            raise
        finally:
            self._bodies -= 1
        return body.ended

    async def drain(self, receive: Receive, length: int | None) -> bool:
        """Read a body that nobody wants; False where it is too large for that."""
        if length is None or length > _DRAINED_BYTES:
            return False
        body = _Body(receive, self._idle_seconds)
        while body.ended is None:
            await body.gather(_LEAST_PIECE_BYTES)
        return body.ended is Came.WHOLE

    async def _after(
        self, body: _Body, writing: asyncio.Task[None] | None, pieces: list[bytes], write: Callable[[bytes], None]
    ) -> asyncio.Task[None] | None:
        """Wait for the piece that is being written, and begin with the next."""
        if writing is not None:
            with body.not_counted():
                await writing
        if not pieces:
            return None
        return asyncio.create_task(self.run(lambda: write(pieces[0] if len(pieces) == 1 else b"".join(pieces))))

    def _piece_bytes(self) -> int:
        return max(_LEAST_PIECE_BYTES, min(PIECE_BYTES, _GATHERED_BYTES // max(1, self._bodies)))


class _Body:
    """One body, as it comes."""

    def __init__(self, receive: Receive, idle_seconds: float) -> None:
        self.ended: Came | None = None
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = idle_seconds
        self._wanted_bytes = max(1, int(idle_seconds * _LEAST_RATE))
        self._window_bytes = 0
        self._deadline = self._loop.time() + idle_seconds

    async def gather(self, size_bytes: int) -> list[bytes]:
        """So many of the next bytes, or the last ones."""
        pieces: list[bytes] = []
        gathered = 0
        while gathered < size_bytes and self.ended is None:
            piece = await self._next()
            if piece:
                pieces.append(piece)
                gathered += len(piece)
        return pieces

    def not_counted(self) -> _NotCounted:
        """What passes in this context is not the client's fault."""
        return _NotCounted(self)

    def give_time(self, seconds: float) -> None:
        """Let the client have so much more."""
        self._deadline += seconds

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.ended = Came.TOO_SLOW
            return b""
        if message["type"] == "http.disconnect":
            self.ended = Came.CUT_OFF
            return b""
        if not message.get("more_body", False):
            self.ended = Came.WHOLE
        piece: bytes = message.get("body", b"")
        self._window_bytes += len(piece)
        if self._window_bytes >= self._wanted_bytes:
            self._window_bytes = 0
            self._deadline = self._loop.time() + self._idle_seconds
        return piece


class _NotCounted:
    def __init__(self, body: _Body) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = self._loop.time()

    def __exit__(self, *_: object) -> None:
        self._body.give_time(self._loop.time() - self._begin)
