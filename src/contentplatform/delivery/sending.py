"""Sends answers to viewers by ASGI, and notes what was sent.

Every answer gets the headers of the rules, ``X-Cache`` and a request id. Bytes in memory are sent as they are. A file
is handed to the server where it offers ASGI's zero-copy extension; else it is read in pieces, in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

from contentplatform.clock import Clock, IdSource
from contentplatform.delivery.access_log import AccessLog, Exchange
from contentplatform.delivery.answers import Content, Headers, Refusal, Request, Result
from contentplatform.delivery.conditions import Outcome, outcome, range_applies
from contentplatform.delivery.headers import of_content, of_not_modified, of_options, of_refusal, x_cache
from contentplatform.delivery.hot import Face, HotFile, size_of
from contentplatform.delivery.origin import OpenFile
from contentplatform.delivery.ranges import Slice, Unsatisfiable, asked_for
from contentplatform.delivery.rules import HeaderPolicy
from contentplatform.delivery.statistics import EdgeStatistics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ZERO_COPY: Final = "http.response.zerocopysend"
"""ASGI's extension for sending a file without reading it."""
_CHUNK_BYTES: Final = 1 << 20
_NO_STATE: Final[dict[str, Any]] = {}


class Sender:
    """Sends the answers of one edge.

    Args:
        clock: how long answers took, and when.
        ids: of requests, where the server gave them none.
        access_log: where exchanges are noted; None: they are not.
        statistics: where they are counted.
        threads: read files.
        secure: whether viewers come by TLS even where the server does not see it.
    """

    def __init__(
        self,
        clock: Clock,
        ids: IdSource,
        access_log: AccessLog | None,
        statistics: EdgeStatistics,
        threads: ThreadPoolExecutor,
        *,
        secure: bool,
    ) -> None:
        self._clock = clock
        self._log = access_log
        self._statistics = statistics
        self._threads = threads
        self._secure = secure
        self._id_prefix = ids.new_id()[-20:].encode("ascii")
        self._requests = 0

    def is_secure(self, scope: Scope) -> bool:
        """Whether the viewer came by TLS."""
        return self._secure or scope.get("scheme") == "https"

    # -- kept files, the short way ------------------------------------------------------------------------------

    async def face(
        self, scope: Scope, send: Send, file: HotFile, face: Face, result: Result, started: float, *, whole: bool
    ) -> None:
        """A kept file in one of its forms, or that it has not changed: everything was made before."""
        headers = face.headers if whole else face.not_modified
        if result is not Result.HIT:
            headers = (*headers[:-1], (b"x-cache", x_cache(result)))
        body = face.content.body if whole else b""
        status = 200 if whole else 304
        identifier = self._request_id(scope)
        start = {"type": "http.response.start", "status": status, "headers": [*headers, (b"x-request-id", identifier)]}
        await send(start)
        await send({"type": "http.response.body", "body": body})
        sent = face.header_bytes + len(body) if whole else face.not_modified_bytes
        ended = self._clock.monotonic_seconds()
        self._statistics.count(status, sent, result)
        if self._log is not None:
            taken = ended - started
            self._log.note(
                Exchange(
                    self._clock.now(),
                    scope,
                    status,
                    sent,
                    result,
                    identifier,
                    taken,
                    taken,
                    face.content.content_type,
                    len(body),
                    None,
                    file.stem,
                )
            )

    # -- everything else ------------------------------------------------------------------------------------------

    async def content(
        self, scope: Scope, send: Send, request: Request, content: Content, opened: OpenFile | None, started: float
    ) -> None:
        """Content, as far as the viewer's conditions and its range let it be sent."""
        secure = self.is_secure(scope)
        came_to = outcome(request, content)
        if came_to is Outcome.FAILED:
            refusal = Refusal(412, "It is not what it was.", policy=content.policy)
            await self.refusal(scope, send, refusal, started)
            return
        if came_to is Outcome.NOT_MODIFIED:
            headers = of_not_modified(content, secure=secure)
            await self._short(scope, send, 304, headers, started, result=content.result, kind=content.content_type)
            return
        size_bytes = content.size_bytes if content.file is not None else len(content.body)
        try:
            part = _part(request, scope, content, size_bytes)
        except Unsatisfiable:
            behind = ((b"content-range", f"bytes */{size_bytes}".encode("ascii")), (b"accept-ranges", b"bytes"))
            refusal = Refusal(416, "No byte of it is in that range.", behind, policy=content.policy)
            await self.refusal(scope, send, refusal, started)
            return
        headers = of_content(content, secure=secure, part=part)
        if content.file is not None and scope["method"] != "HEAD":
            await self._file(scope, send, headers, content, opened, part or _whole(size_bytes), started)
            return
        body = content.body if part is None else content.body[part.first : part.last + 1]
        await self._short(
            scope,
            send,
            200 if part is None else 206,
            headers,
            started,
            body=body,
            result=content.result,
            kind=content.content_type,
            part=part,
        )

    async def refusal(self, scope: Scope, send: Send, refusal: Refusal, started: float) -> None:
        """That there is nothing, and why."""
        headers = of_refusal(refusal, secure=self.is_secure(scope))
        body = refusal.text.encode("utf-8")
        await self._short(scope, send, refusal.status, headers, started, body=body, kind="text/plain")

    async def options(self, scope: Scope, send: Send, policy: HeaderPolicy, started: float, *, preflight: bool) -> None:
        """What is possible with a path."""
        headers = of_options(policy, secure=self.is_secure(scope), preflight=preflight)
        await self._short(scope, send, 204, headers, started, result=Result.MISS)

    def note_hang_up(self, scope: Scope, started: float) -> None:
        """The viewer hung up before it had everything; the log says so as CloudFront's does."""
        self._note(scope, started, status=0, sent_bytes=0, result=Result.ERROR, identifier=self._request_id(scope))

    async def _short(
        self,
        scope: Scope,
        send: Send,
        status: int,
        headers: Headers,
        started: float,
        *,
        body: bytes = b"",
        result: Result = Result.ERROR,
        kind: str = "",
        part: Slice | None = None,
    ) -> None:
        """An answer whose body is in memory."""
        identifier = self._request_id(scope)
        shown = b"" if scope["method"] == "HEAD" else body
        full = [*headers, (b"x-request-id", identifier)]
        await send({"type": "http.response.start", "status": status, "headers": full})
        await send({"type": "http.response.body", "body": shown})
        self._note(
            scope,
            started,
            status=status,
            sent_bytes=size_of(headers) + len(shown),
            result=result,
            identifier=identifier,
            kind=kind,
            length=len(body),
            part=part,
        )

    async def _file(
        self,
        scope: Scope,
        send: Send,
        headers: Headers,
        content: Content,
        opened: OpenFile | None,
        asked: Slice,
        started: float,
    ) -> None:
        """An answer whose body is a part of a file, or all of it."""
        loop = asyncio.get_running_loop()
        if opened is None and content.file is not None:
            opened = await loop.run_in_executor(self._threads, OpenFile, content.file)
        if opened is None:
            return
        is_part = asked.length != content.size_bytes or any(name == b"content-range" for name, _ in headers)
        identifier = self._request_id(scope)
        full = [*headers, (b"x-request-id", identifier)]
        await send({"type": "http.response.start", "status": 206 if is_part else 200, "headers": full})
        first_byte = self._clock.monotonic_seconds()
        if ZERO_COPY in scope.get("extensions", _NO_STATE):
            message = {"type": ZERO_COPY, "file": opened.descriptor, "offset": asked.first, "count": asked.length}
            await send(message)
        else:
            await self._pieces(send, opened, asked)
        self._note(
            scope,
            started,
            status=206 if is_part else 200,
            sent_bytes=size_of(headers) + asked.length,
            result=content.result,
            identifier=identifier,
            kind=content.content_type,
            length=asked.length,
            part=asked if is_part else None,
            first_byte=first_byte,
        )

    async def _pieces(self, send: Send, opened: OpenFile, asked: Slice) -> None:
        loop, place, end = asyncio.get_running_loop(), asked.first, asked.last + 1
        while place < end:
            size = min(_CHUNK_BYTES, end - place)
            piece = await loop.run_in_executor(self._threads, opened.read, place, size)
            place += size
            await send({"type": "http.response.body", "body": piece, "more_body": place < end})

    # -- notes ----------------------------------------------------------------------------------------------------

    def _request_id(self, scope: Scope) -> bytes:
        known = scope.get("state", _NO_STATE).get("request_id")
        if known is not None:
            return known if isinstance(known, bytes) else str(known).encode("ascii", "replace")
        self._requests += 1
        return b"%s%012x" % (self._id_prefix, self._requests)

    def _note(
        self,
        scope: Scope,
        started: float,
        *,
        status: int,
        sent_bytes: int,
        result: Result,
        identifier: bytes,
        kind: str = "",
        length: int = 0,
        part: Slice | None = None,
        first_byte: float | None = None,
    ) -> None:
        ended = self._clock.monotonic_seconds()
        self._statistics.count(status, sent_bytes, result)
        if self._log is not None:
            until_first = (ended if first_byte is None else first_byte) - started
            taken = ended - started
            at = self._clock.now()
            self._log.note(
                Exchange(at, scope, status, sent_bytes, result, identifier, taken, until_first, kind, length, part)
            )


def request_of(scope: Scope) -> Request:
    """A request as handlers see it."""
    client = scope.get("client") or ("", 0)
    query = scope["query_string"].decode("latin-1")
    return Request(raw_path(scope).decode("latin-1"), query, tuple(scope["headers"]), str(client[0]))


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent; not every server tells it."""
    known: bytes | None = scope.get("raw_path")
    return known if known is not None else quote(scope["path"]).encode("ascii")


def _part(request: Request, scope: Scope, content: Content, size_bytes: int) -> Slice | None:
    header = request.header(b"range")
    if not header or scope["method"] != "GET" or not range_applies(request, content):
        return None
    return asked_for(header, size_bytes)


def _whole(size_bytes: int) -> Slice:
    return Slice(0, size_bytes - 1, size_bytes)
