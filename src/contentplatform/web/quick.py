"""Answers what needs no waiting while the request is read: no task, no messages, one write.

An application that can (the edge, for files that it keeps) is asked as soon as the headers are there. What it does not
answer, and whatever is not a plain GET of a connection that is kept open, goes the usual way of uvicorn.

**Headers that are known.** A client sends the same headers with request after request; only ``If-None-Match`` and
``Range`` differ. What the parser and the application made of them once is kept under their very bytes and the client's
address. A request that comes whole, with such headers, needs neither the parser nor the application's reading of them.

**Files** are sent by the kernel, their headers in the same packet. What the connection does not take at once follows
when it has room; meanwhile this request is under way, and those behind it wait for its end.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contentplatform.delivery.asking import Asked, AtOnce, FilePart
from contentplatform.web.zero_copy import Transfer

KNOWN_LIMIT: Final = 2_048
"""Headers that are known, of all clients; then they are all forgotten."""
KNOWN_BYTES: Final = 2_048
"""Longer headers are not worth their room."""
_VERSION: Final = b" HTTP/1.1"
_END: Final = b"\r\n\r\n"
_VARYING: Final = frozenset({b"if-none-match", b"range"})
_NONE_MATCH: Final = (b"\r\nIf-None-Match: ", b"\r\nif-none-match: ")
_RANGE: Final = (b"\r\nRange: ", b"\r\nrange: ")
_MORE: Final = getattr(socket, "MSG_MORE", 0)
_SENDS_FILES: Final = bool(_MORE) and hasattr(os, "sendfile")

_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quick:
    """What is asked for an answer at once."""

    asked: Callable[[MutableMapping[str, Any]], Asked | None]
    """Takes a scope of ASGI whose headers are without ``If-None-Match`` and ``Range``; None: the usual way. What it
    returns holds for every request with these headers from this address."""
    answer: Callable[[Asked, bytes, bytes, bytes, bytes, int], AtOnce | None]
    """Takes that, path, query, the values of ``If-None-Match`` and ``Range`` (empty: not there), and the client's port;
    None: the usual way."""


class QuickProtocol(HttpToolsProtocol):
    """One connection; ``quick`` and ``known`` are set on a class of its own."""

    quick: ClassVar[Quick | None] = None
    known: ClassVar[dict[tuple[str, bytes], Asked]] = {}
    _added: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")
    _answered = False
    _in_message = False
    _learnt: Asked | None = None
    _read: tuple[bytes, bytes] = (b"", b"")
    _sending: _Sending | None = None
    _own: socket.socket | None = None
    _rested_seconds = 0.0
    _is_lost = False

    def data_received(self, data: bytes) -> None:
        """Answer at once, or give it to the parser; headers that it reads are known from then on."""
        if self._answer_known(data):
            return
        is_whole = self.quick is not None and not self._in_message and data.endswith(_END) and data.count(_END) == 1
        super().data_received(data)
        learnt, self._learnt = self._learnt, None
        if learnt is not None and is_whole:
            self._learn(data, learnt)

    def connection_lost(self, exc: Exception | None) -> None:
        """A viewer that only says no more may still take what is being sent, and counts as connected until then."""
        sending = self._sending
        if sending is not None and exc is not None:
            sending.hang_up()
        super().connection_lost(exc)
        self._is_lost = True
        if self._sending is not None:
            self.connections.add(self)
        else:
            self._close_own()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are there: answer at once, or the usual way."""
        if self.quick is None or not self._answer_parsed():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is over; the next one may have come with it."""
        self._in_message = False
        if not self._answered:
            super().on_message_complete()
            return
        self._answered = False
        if self._sending is None:
            self.on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """The time is over; not for a connection that was answered at once meanwhile, without touching the timer."""
        left = self._rested_seconds + self.timeout_keep_alive - self.loop.time()
        if left > 0 and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    # -- headers that are known -----------------------------------------------------------------------------------

    def _answer_known(self, data: bytes) -> bool:
        """Answer a whole request with headers that are known. False: nothing was done."""
        if self._in_message or not data.startswith(b"GET /"):
            return False
        end = data.find(_VERSION)
        if end < 0:
            return False
        headers, none_match, wanted_range = _parted(data[end + len(_VERSION) :])
        asked = self.known.get((self._address, headers))
        if asked is None or not self._is_free():
            return False
        path, _, query = data[4:end].partition(b"?")
        if not self._answer(asked, path, query, none_match, wanted_range):
            return False
        self.on_known_request()
        if self._sending is None:
            self._rest()
        return True

    def on_known_request(self) -> None:
        """A whole request was there, which the parser has not seen."""

    def _learn(self, data: bytes, asked: Asked) -> None:
        line = b"GET %s%s\r\n" % (self.url, _VERSION)
        rest = data[len(line) - 2 :]
        # Where a line goes on in the next one, taking the first out would give the second to another.
        if len(rest) > KNOWN_BYTES or not data.startswith(line) or b"\r\n " in rest or b"\r\n\t" in rest:
            return
        headers, none_match, wanted_range = _parted(rest)
        if (none_match, wanted_range) != self._read:  # written in a way that the parser reads and this does not
            return
        if len(self.known) >= KNOWN_LIMIT:
            self.known.clear()
        self.known[self._address, headers] = asked

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    # -- answering ------------------------------------------------------------------------------------------------

    def _answer_parsed(self) -> bool:
        """Answer what the parser has read. False: nothing was done."""
        quick, read = self.quick, self._varying()
        if quick is None or read is None or not self._is_plain() or not self._is_free():
            return False
        path, _, query = self.url.partition(b"?")
        headers = [header for header in self.headers if header[0] not in _VARYING]
        scope: Any = {**self.scope, "method": "GET", "raw_path": path, "query_string": query, "headers": headers}
        try:
            asked = quick.asked(scope)
        except Exception:  # the outer edge: the usual way may still answer
            _logger.exception("a quick answer failed")
            return False
        if asked is None or not self._answer(asked, path, query, *read):
            return False
        self._answered, self._learnt, self._read = True, asked, read
        return True

    def _varying(self) -> tuple[bytes, bytes] | None:
        """The values of ``If-None-Match`` and ``Range``; None: one came twice, or says nothing."""
        read: dict[bytes, bytes] = {}
        for name, value in self.headers:
            if name in _VARYING:
                if name in read or not value:
                    return None
                read[name] = value
        return read.get(b"if-none-match", b""), read.get(b"range", b"")

    def _is_plain(self) -> bool:
        """Whether nothing but a GET is asked, and the connection is kept open."""
        url, parser = self.url, self.parser
        return (
            parser.get_method() == b"GET"
            and url.startswith(b"/")
            and b"#" not in url
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def _is_free(self) -> bool:
        """Whether nothing is under way on this connection, and it may be answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def _answer(self, asked: Asked, path: bytes, query: bytes, none_match: bytes, wanted_range: bytes) -> bool:
        quick = self.quick
        if quick is None:
            return False
        port = self.client[1] if self.client else 0
        try:
            answer = quick.answer(asked, path, query, none_match, wanted_range, port)
        except Exception:  # the outer edge: the usual way may still answer
            _logger.exception("a quick answer failed")
            return False
        if answer is None:
            return False
        added = self._added_headers()
        head, body = answer
        if isinstance(body, bytes):
            self.transport.write(b"%s%s\r\n%s" % (head, added, body))
            return True
        return self._send_file(b"%s%s\r\n" % (head, added), body)

    def _added_headers(self) -> bytes:
        """What the server adds to every answer, as text: uvicorn makes a new list of them each second."""
        headers = self.server_state.default_headers
        given, text = QuickProtocol._added
        if given is not headers:
            text = b"".join([b"%s: %s\r\n" % header for header in headers])
            QuickProtocol._added = (headers, text)
        return text

    def _rest(self) -> None:
        """An answer is over, and nothing is asked: the keep-alive time begins again, mostly without a new timer."""
        if self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._rested_seconds = self.loop.time()

    # -- files ----------------------------------------------------------------------------------------------------

    def _send_file(self, head: bytes, part: FilePart) -> bool:
        own = self._own or self._own_socket()
        if own is None or self.transport.get_write_buffer_size():
            return False
        try:
            head = head[own.send(head, _MORE) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False  # the usual way finds out, and notes it
        self._sending = sending = _Sending(self, part)
        if sending.start(own.fileno(), head):
            self._unset_keepalive_if_required()
            self.cycle = cast("RequestResponseCycle", sending)
        return True

    def on_file_over(self, *, is_sent: bool, has_waited: bool) -> None:
        """What was being sent is with the kernel, or nobody takes it any more."""
        sending, self._sending = self._sending, None
        if not is_sent:
            self.transport.abort()
        elif sending is not None and not sending.keep_alive:
            self.transport.close()
        if self._is_lost:
            self.connections.discard(self)
            self._close_own()
        elif has_waited:
            self.on_response_complete()

    def _own_socket(self) -> socket.socket | None:
        """The connection under a descriptor of its own: the loop lets nobody else wait for that of a transport."""
        given = self.transport.get_extra_info("socket")
        if _SENDS_FILES and given is not None and self.transport.get_extra_info("sslcontext") is None:
            self._own = socket.socket(fileno=os.dup(given.fileno()))
        return self._own

    def _close_own(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None


class _Sending:
    """A file on its way; to uvicorn, the request that is under way."""

    __slots__ = (
        "_has_waited",
        "_part",
        "_protocol",
        "_transfer",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: QuickProtocol, part: FilePart) -> None:
        self._protocol = protocol
        self._part = part
        self._transfer: Transfer | None = None
        self._has_waited = False
        self.message_event = _NOBODY
        self.body = bytearray()
        self.more_body = False
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False

    def start(self, connection: int, head: bytes) -> bool:
        """Send what the connection takes now; the rest follows. Returns whether there is a rest."""
        part = self._part
        self._transfer = Transfer(
            self._protocol.loop, connection, part.opened.descriptor, part.first, part.length, self._over, head=head
        )
        self._transfer.start()
        self._has_waited = not self.response_complete
        return self._has_waited

    def hang_up(self) -> None:
        """The viewer has gone."""
        if self._transfer is not None:
            self._transfer.close()
        self._over(ConnectionResetError())

    def _over(self, fault: OSError | None) -> None:
        self.response_complete = True
        self._part.ended(fault)
        self._protocol.on_file_over(is_sent=fault is None, has_waited=self._has_waited)


class _Nobody:
    """Instead of the event for which the reader of a body waits: nobody reads this request's."""

    def set(self) -> None:
        """Nothing came of it."""


_NOBODY: Final = _Nobody()


def _parted(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Headers, each with the end of the line before it, without what differs from request to request; and that.

    What is written in another way stays among the headers.
    """
    rest, none_match = _without(rest, _NONE_MATCH)
    rest, wanted_range = _without(rest, _RANGE)
    return rest, none_match, wanted_range


def _without(rest: bytes, names: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Headers without the first that goes by one of these names, and its value."""
    for name in names:
        begin = rest.find(name)
        if begin >= 0:
            end = rest.find(b"\r\n", begin + len(name))
            return rest[:begin] + rest[end:], rest[begin + len(name) : end]
    return rest, b""
