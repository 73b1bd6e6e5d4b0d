"""Sends files from the disk's cache to the network without reading them: ASGI's zero-copy extension, for uvicorn.

uvicorn has no such extension, and a file that goes through Python in pieces is sent at half the speed of the network
card's own server. This wraps an application: to those requests whose connection allows it (no TLS in this process, a
system with ``sendfile``) it offers ``http.response.zerocopysend``, and all else passes through.

The kernel copies as much as the connection takes; then the event loop waits until there is room again. A viewer that
takes nothing for a minute is hung up on. What the connection was given before is on its way first.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import WriteTransport
from collections.abc import Callable
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION: Final = "http.response.zerocopysend"
STALLED_SECONDS: Final = 60.0
"""A viewer that takes not one byte for so long has gone."""
_PIECE_BYTES: Final = 1 << 20
"""The event loop is held for no longer than sending this takes; then other connections have their turn."""
_FLUSH_SECONDS: Final = 0.001
_AVAILABLE: Final = hasattr(os, "sendfile")


class _Cycle(Protocol):
    """What of uvicorn's request is used."""

    transport: WriteTransport
    expected_content_length: int
    disconnected: bool
    scope: Any


class ZeroCopy:
    """The wrapped application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with the extension where it is possible."""
        cycle = getattr(send, "__self__", None) if scope["type"] == "http" else None
        if cycle is None or not _AVAILABLE or not _is_plain(cycle):
            await self._app(scope, receive, send)
            return
        scope.setdefault("extensions", {})[EXTENSION] = {}

        async def send_any(message: Message) -> None:
            if message["type"] != EXTENSION:
                await send(message)
                return
            await _send_file(cycle, message["file"], message["offset"], message["count"])
            await send({"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)})

        await self._app(scope, receive, send_any)


def _is_plain(cycle: Any) -> bool:
    transport = getattr(cycle, "transport", None)
    return (
        transport is not None
        and hasattr(cycle, "expected_content_length")
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


async def _send_file(cycle: _Cycle, file: int, offset: int, count: int) -> None:
    """These bytes of an open file, behind what the connection has to send already.

    Raises:
        OSError: the viewer hung up, or takes nothing any more.
    """
    if cycle.disconnected:
        raise ConnectionResetError
    transport = cycle.transport
    # A descriptor of its own: the loop allows nobody else to wait for that of a transport, and it may not be closed
    # and given to another connection meanwhile.
    connection = os.dup(transport.get_extra_info("socket").fileno())
    try:
        await _flushed(transport)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        transfer = Transfer(loop, connection, file, offset, count, lambda fault: _settle(over, fault))
        try:
            transfer.start()
            await over
        finally:
            transfer.close()
        cycle.expected_content_length -= count
    except BaseException:
        cycle.disconnected = True  # the answer can't be completed any more, whatever comes
        transport.abort()
        raise
    finally:
        os.close(connection)


def _settle(over: asyncio.Future[None], fault: OSError | None) -> None:
    if over.done():
        return
    if fault is None:
        over.set_result(None)
    else:
        over.set_exception(fault)


class Transfer:
    """Bytes of a file on their way into a connection: each time that it has room, as many as it takes.

    Args:
        loop: whose thread this runs in.
        connection: a descriptor of its own, which nobody else waits for.
        file: an open file.
        offset: where the bytes begin.
        count: how many they are.
        on_over: called once, when all bytes are with the kernel (None), or with why they can't be; not after ``close``.
        head: what is sent before them.
    """

    __slots__ = ("_connection", "_end", "_file", "_head", "_loop", "_on_over", "_place", "_seen", "_waits", "_watch")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: int,
        file: int,
        offset: int,
        count: int,
        on_over: Callable[[OSError | None], None],
        *,
        head: bytes = b"",
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._file = file
        self._place = offset
        self._end = offset + count
        self._on_over: Callable[[OSError | None], None] | None = on_over
        self._head = head
        self._seen: tuple[int, int] | None = None
        self._waits = False
        self._watch: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send what the connection takes now, and the rest as it has room. It may be over when this returns."""
        self._step()
        if self._on_over is not None:
            self._waits = True
            self._loop.add_writer(self._connection, self._step)
            self._look()

    def close(self) -> None:
        """Wait for nothing any more, and tell nobody. Idempotent."""
        self._on_over = None
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._connection)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _step(self) -> None:
        if self._on_over is None:
            return
        try:
            if self._head:
                self._head = self._head[os.write(self._connection, self._head) :]
            if self._head:
                return
            left = self._end - self._place
            sent = os.sendfile(self._connection, self._file, self._place, min(left, _PIECE_BYTES)) if left else 0
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._ended(error)
            return
        self._place += sent
        if self._place == self._end:
            self._ended(None)
        elif sent == 0:  # the file was cut short: the viewer must not take this for the end
            self._ended(ConnectionResetError("the file was cut short"))

    def _look(self) -> None:
        seen = (self._place, len(self._head))
        if seen == self._seen:
            self._ended(ConnectionResetError("the viewer takes nothing"))
            return
        self._seen = seen
        self._watch = self._loop.call_later(STALLED_SECONDS, self._look)

    def _ended(self, fault: OSError | None) -> None:
        on_over = self._on_over
        self.close()
        if on_over is not None:
            on_over(fault)


async def _flushed(transport: WriteTransport) -> None:
    """Return once the connection has nothing to send any more."""
    deadline = asyncio.get_running_loop().time() + STALLED_SECONDS
    await asyncio.sleep(0)
    while transport.get_write_buffer_size():
        if transport.is_closing() or asyncio.get_running_loop().time() > deadline:
            raise ConnectionResetError
        await asyncio.sleep(_FLUSH_SECONDS)
