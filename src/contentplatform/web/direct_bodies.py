"""Reads large bodies from the connection straight into the memory from which they are written, for uvicorn.

On its usual way a byte of a body is copied five times before an application has it. This wraps an application: where a
request's connection allows it (no TLS in this process, a length that was told) it offers an extension with which the
rest of the body is read by whoever wants it. uvicorn's parser sees nothing of that, so the connection is closed after
the answer: worth it for large bodies only.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION: Final = "contentplatform.direct_body"
LEAST_BYTES: Final = 8 << 20
"""Smaller bodies are not worth a connection."""


class DirectBodies:
    """The wrapped application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with the extension where it is possible."""
        cycle = getattr(receive, "__self__", None) if scope["type"] == "http" else None
        length = _length(scope) if cycle is not None else 0
        if length < LEAST_BYTES or not _is_plain(cycle):
            await self._app(scope, receive, send)
            return
        direct = DirectBody(cycle, length)
        scope.setdefault("extensions", {})[EXTENSION] = direct

        async def receive_noted() -> Message:
            direct.is_usable = False
            return await receive()

        try:
            await self._app(scope, receive_noted, send)
        finally:
            direct.close()


class DirectBody:
    """The body of one request, of which nothing was received yet."""

    def __init__(self, cycle: Any, length: int) -> None:
        self._cycle = cycle
        self._left = length
        self._descriptor = -1
        self._loop = asyncio.get_running_loop()
        self.is_usable = True
        """Whether nobody has begun to read the body in the usual way."""

    def begin(self) -> bytes | None:
        """Take the connection over: the bytes that came with the headers; None where it can't be any more."""
        cycle = self._cycle
        if not self.is_usable or not cycle.more_body or cycle.disconnected or cycle.transport.is_closing():
            return None
        self.is_usable = False
        cycle.flow.pause_reading()
        self._descriptor = os.dup(cycle.transport.get_extra_info("socket").fileno())
        cycle.keep_alive = False
        if cycle.waiting_for_100_continue:
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        came = bytes(cycle.body)
        cycle.body = bytearray()
        self._left -= len(came)
        return came

    @property
    def left(self) -> int:
        """How many bytes are to come."""
        return self._left

    async def read_into(self, view: memoryview) -> int:
        """The next bytes, as many as are there and fit; 0: the client went away."""
        wanted = view[: min(len(view), self._left)]
        while True:
            try:
                count = os.readv(self._descriptor, [wanted])
            except BlockingIOError:
                await self._readable()
            except OSError:
                count = 0
                break
            else:
                break
        if count == 0:
            self._cycle.disconnected = True
        self._left -= count
        return count

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._cycle.disconnected:
                self._cycle.transport.abort()

    async def _readable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(self._descriptor, _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(self._descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _length(scope: Scope) -> int:
    """What the headers say of the body's length; 0 where they don't, or where it is not told by that alone."""
    found = [value for name, value in scope["headers"] if name in {b"content-length", b"transfer-encoding"}]
    return int(found[0]) if len(found) == 1 and found[0].isdigit() else 0


def _is_plain(cycle: Any) -> bool:
    transport = getattr(cycle, "transport", None)
    return (
        transport is not None
        and hasattr(cycle, "waiting_for_100_continue")
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )
