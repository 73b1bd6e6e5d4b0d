"""Bodies of requests on their way into files: in large pieces, with back-pressure, and in bounded memory.

The event loop only gathers what comes; a thread hashes a piece and writes it, while the next one is gathered. Pieces
are gathered in two buffers that take turns, and are kept for the next body: fresh memory for each costs much time.
No more is read than can be written: the client waits for the disk, and so does nobody else. A client that sends next to
nothing is cut off; the time that the disk takes is not counted against it.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.types import Receive

from contentplatform.drivers.files import BLOCK_BYTES
from contentplatform.web.direct_bodies import DirectBody

T = TypeVar("T")

PIECE_BYTES: Final = 4 << 20
"""What is written at once, where memory allows it: handing over smaller ones costs half of the speed."""
_LEAST_PIECE_BYTES: Final = 256 << 10
_GATHERED_BYTES: Final = 64 << 20
"""What all bodies together may keep in memory; twice, as one piece is gathered while another is written."""
_LEAST_RATE: Final = 512
"""Bytes a second; whoever sends less over the whole time limit sends next to nothing."""
_THREADS: Final = 32
_BUFFERS_KEPT: Final = 4
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
        self._buffers: list[mmap.mmap | bytearray] = []
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Have something done that waits for disks or locks, off the event loop. It is always done to its end."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, limiter=self._limiter)

    async def pour(
        self,
        receive: Receive,
        write: Callable[[memoryview], None],
        length: int | None = None,
        direct: DirectBody | None = None,
        *,
        offset: int = 0,
    ) -> Came:
        """Give a whole body to ``write``, piece by piece, in a thread. A piece is valid until ``write`` returns.

        Args:
            receive: where the body comes from.
            write: where it goes.
            length: how many bytes it has, if that is known.
            direct: reads it without detours, where that is possible.
            offset: where it goes on in a file; every piece but the first begins at a whole block of that.

        Raises:
            PlatformError: what ``write`` raised.
        """
        self._bodies += 1
        came = direct.begin() if direct is not None else None
        if came is not None and direct is not None:
            body: _Body = _DirectBody(receive, self._idle_seconds, direct, came)
        else:
            body = _Body(receive, self._idle_seconds)
        size_bytes = self._piece_bytes(length)
        buffers = [self._buffer(size_bytes)]
        end = size_bytes if size_bytes == length else size_bytes - offset % BLOCK_BYTES
        writing: asyncio.Task[None] | None = None
        try:
            while body.ended is None:
                view = memoryview(buffers[0])[:end]
                end = size_bytes
                filled = await body.fill(view)
                if writing is not None:
                    with body.not_counted():
                        await writing
                if filled:
                    writing = asyncio.create_task(self.run(partial(write, view[:filled])))
                if body.ended is None:
                    buffers = [buffers[1] if len(buffers) > 1 else self._buffer(size_bytes), buffers[0]]
            if writing is not None:
                await writing
        finally:
            if writing is not None and not writing.done():
                await asyncio.wait([writing])
            self._bodies -= 1
            self._buffers.extend(buffer for buffer in buffers if len(buffer) == PIECE_BYTES)
            del self._buffers[_BUFFERS_KEPT:]
        return body.ended

    async def drain(self, receive: Receive, length: int | None) -> bool:
        """Read a body that nobody wants; False where it is too large for that."""
        if length is None or length > _DRAINED_BYTES:
            return False
        body = _Body(receive, self._idle_seconds)
        view = memoryview(bytearray(_LEAST_PIECE_BYTES))
        while body.ended is None:
            await body.fill(view)
        return body.ended is Came.WHOLE

    def _piece_bytes(self, length: int | None) -> int:
        """As large as memory allows, in whole blocks, and no larger than the body."""
        most = max(_LEAST_PIECE_BYTES, min(PIECE_BYTES, _GATHERED_BYTES // max(1, self._bodies)))
        most -= most % BLOCK_BYTES
        return most if length is None else max(1, min(most, length))

    def _buffer(self, size_bytes: int) -> mmap.mmap | bytearray:
        if size_bytes > PIECE_BYTES // 2:
            return self._buffers.pop() if self._buffers else _whole_pages(PIECE_BYTES)
        if size_bytes >= _LEAST_PIECE_BYTES:
            return _whole_pages(size_bytes)
        return bytearray(size_bytes)


def _whole_pages(size_bytes: int) -> mmap.mmap:
    """Memory that begins with a page, as a disk needs it that takes the bytes from where they are."""
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class _Body:
    """One body, as it comes."""

    def __init__(self, receive: Receive, idle_seconds: float) -> None:
        self.ended: Came | None = None
        """How it ended, once all of it was filled in."""
        self._coming_end: Came | None = None
        self._left = memoryview(b"")
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = idle_seconds
        self._wanted_bytes = max(1, int(idle_seconds * _LEAST_RATE))
        self._window_bytes = 0
        self._deadline = self._loop.time() + idle_seconds

    async def fill(self, view: memoryview) -> int:
        """Put the next bytes into ``view`` until it is full, or they end; how many there are."""
        filled = 0
        while filled < len(view) and (self._left or self._coming_end is None):
            piece = self._left or await self._next()
            taken = piece[: len(view) - filled]
            view[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._left = piece[len(taken) :]
        if not self._left:
            self.ended = self._coming_end
        return filled

    def _note(self, size_bytes: int) -> None:
        """So much came: whoever sends enough has time for more."""
        self._window_bytes += size_bytes
        if self._window_bytes >= self._wanted_bytes:
            self._window_bytes = 0
            self._deadline = self._loop.time() + self._idle_seconds

    def not_counted(self) -> _NotCounted:
        """What passes in this context is not the client's fault."""
        return _NotCounted(self)

    def give_time(self, seconds: float) -> None:
        """Let the client have so much more."""
        self._deadline += seconds

    async def _next(self) -> memoryview:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._coming_end = Came.TOO_SLOW
            return memoryview(b"")
        if message["type"] == "http.disconnect":
            self._coming_end = Came.CUT_OFF
            return memoryview(b"")
        if not message.get("more_body", False):
            self._coming_end = Came.WHOLE
        piece = memoryview(message.get("body", b""))
        self._note(len(piece))
        return piece


class _DirectBody(_Body):
    """One body, read from its connection."""

    def __init__(self, receive: Receive, idle_seconds: float, direct: DirectBody, came: bytes) -> None:
        super().__init__(receive, idle_seconds)
        self._direct = direct
        self._left = memoryview(came)

    async def fill(self, view: memoryview) -> int:
        taken = self._left[: len(view)]
        view[: len(taken)] = taken
        filled = len(taken)
        self._left = self._left[filled:]
        while filled < len(view) and self._direct.left:
            try:
                async with asyncio.timeout_at(self._deadline):
                    count = await self._direct.read_into(view[filled:])
            except TimeoutError:
                self.ended = Came.TOO_SLOW
                return filled
            if count == 0:
                self.ended = Came.CUT_OFF
                return filled
            filled += count
            self._note(count)
        if not self._direct.left and not self._left:
            self.ended = Came.WHOLE
        return filled


class _NotCounted:
    def __init__(self, body: _Body) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = self._loop.time()

    def __exit__(self, *_: object) -> None:
        self._body.give_time(self._loop.time() - self._begin)
