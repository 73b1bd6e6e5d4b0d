"""The connection itself: uvicorn's parser, with limits on how long and how large a request's headers may be.

What comes after the headers is guarded where it is read. Here is what no application sees: a client that never ends its
headers, and headers without end.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from contentplatform.web.quick import Quick, QuickProtocol

HEADERS_LIMIT_BYTES: Final = 64 << 10
"""Request line and headers together."""


class GuardedProtocol(QuickProtocol):
    """One connection whose client has to get to the point.

    A connection that has never sent a whole set of headers is under the time limit from its beginning; later ones from
    their first byte, and while nothing is asked the keep-alive limit holds.
    """

    header_timeout_seconds: float = 15.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._late: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > HEADERS_LIMIT_BYTES and not self._would_end(data):
                self._refuse(431, "The headers are too large.")
                return
        super().data_received(data)
        # Mostly all headers have come at once, and no timer is needed.
        if self._in_headers and self._header_bytes and self._late is None:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._forget_timer()
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_headers = True
        self._header_bytes = 0
        super().on_message_complete()

    def on_known_request(self) -> None:
        self._forget_timer()
        self._header_bytes = 0

    def _would_end(self, data: bytes) -> bool:
        """Whether the headers end in this piece, whose rest is a body then."""
        end = data.find(b"\r\n\r\n")
        return end >= 0 and self._header_bytes - len(data) + end <= HEADERS_LIMIT_BYTES

    def _expect_headers(self) -> None:
        self._late = self.loop.call_later(self.header_timeout_seconds, self._too_late)

    def _forget_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self._in_headers and not self.transport.is_closing():
            self._refuse(408, "The request's headers took too long.")

    def _refuse(self, status: int, words: str) -> None:
        self._forget_timer()
        body = words.encode("ascii")
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()


def guarded(header_timeout_seconds: float, quick: Quick | None = None) -> type[GuardedProtocol]:
    """The protocol with a time limit of its own: uvicorn makes the instances, so the limit is part of the class.

    ``quick`` answers at once what it can.
    """
    told: dict[str, object] = {"header_timeout_seconds": header_timeout_seconds, "quick": quick, "known": {}}
    return type("Guarded", (GuardedProtocol,), told)
