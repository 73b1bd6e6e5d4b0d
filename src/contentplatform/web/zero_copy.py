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
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION: Final = "http.response.zerocopysend"
STALLED_SECONDS: Final = 60.0
"""A viewer that takes not one byte for so long has gone."""
_PIECE_BYTES: Final = 8 << 20
"""The event loop is held for no longer than copying this takes."""
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
        while count:
            try:
                sent = os.sendfile(connection, file, offset, min(count, _PIECE_BYTES))
            except BlockingIOError:
                await _has_room(connection)
                continue
            if sent == 0:
                raise ConnectionResetError  # the file was cut short: the viewer must not take this for the end
            offset, count = offset + sent, count - sent
            cycle.expected_content_length -= sent
            if count:
                await asyncio.sleep(0)
    except BaseException:
        cycle.disconnected = True  # the answer can't be completed any more, whatever comes
        transport.abort()
        raise
    finally:
        os.close(connection)


async def _flushed(transport: WriteTransport) -> None:
    """Return once the connection has nothing to send any more."""
    deadline = asyncio.get_running_loop().time() + STALLED_SECONDS
    await asyncio.sleep(0)
    while transport.get_write_buffer_size():
        if transport.is_closing() or asyncio.get_running_loop().time() > deadline:
            raise ConnectionResetError
        await asyncio.sleep(0.001)


async def _has_room(connection: int) -> None:
    """Return once the connection takes bytes again."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(connection, _tell, ready)
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await ready
    finally:
        loop.remove_writer(connection)


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
