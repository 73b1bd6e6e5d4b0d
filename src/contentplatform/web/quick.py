"""Answers what needs no waiting while the request is read: no task, no messages, one write.

For an application that has a ``quick`` method (the edge, for files that it keeps in memory) it is asked as soon as the
headers are there. What it does not answer, and whatever is not a plain GET of a connection that is kept open, goes the
usual way of uvicorn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

Quick = Callable[[MutableMapping[str, Any]], tuple[bytes, bytes] | None]
"""Takes a scope of ASGI; returns everything before the blank line, and the body; None: the usual way."""

_logger: Final = logging.getLogger(__name__)


class QuickProtocol(HttpToolsProtocol):
    """One connection; ``quick`` is set on a class of its own."""

    quick: Quick | None = None
    _answered = False

    def on_headers_complete(self) -> None:
        """The headers are there: answer at once, or the usual way."""
        if self.quick is None or not self._answer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is over; the next one may have come with it."""
        if self._answered:
            self._answered = False
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _answer(self) -> bool:
        url, quick = self.url, self.quick
        if quick is None or not url.startswith(b"/") or b"#" in url or not self._is_plain():
            return False
        path, _, query = url.partition(b"?")
        scope: Any = self.scope
        scope["method"], scope["raw_path"], scope["query_string"] = "GET", path, query
        try:
            answer = quick(scope)
        except Exception:  # the outer edge: the usual way may still answer
            _logger.exception("a quick answer failed")
            return False
        if answer is None:
            return False
        added = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        head, body = answer
        self.transport.write(b"%s%s\r\n%s" % (head, added, body))
        self._answered = True
        return True

    def _is_plain(self) -> bool:
        """Whether nothing is under way on this connection, and nothing but a GET is asked."""
        parser, cycle = self.parser, cast("RequestResponseCycle | None", self.cycle)  # none before the first
        return (
            parser.get_method() == b"GET"
            and (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )
