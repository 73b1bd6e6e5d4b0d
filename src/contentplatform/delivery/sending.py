"""Sends answers to viewers by ASGI, and notes what was sent.

Every answer gets the headers of the rules, ``X-Cache`` and a request id. Bytes in memory are sent as they are. A file
is handed to the server where it offers ASGI's zero-copy extension; else it is read in pieces, in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from contentplatform.clock import Clock, IdSource
from contentplatform.delivery.access_log import Exchange, fixed_of_hang_up, fixed_of_part
from contentplatform.delivery.answers import Content, Headers, Refusal, Request, Result
from contentplatform.delivery.asking import Asked, AtOnce, FilePart
from contentplatform.delivery.conditions import Outcome, outcome, range_applies
from contentplatform.delivery.headers import of_content, of_not_modified, of_options, of_refusal, x_cache
from contentplatform.delivery.hot import Face, HotFile, size_of
from contentplatform.delivery.origin import OpenFile
from contentplatform.delivery.ranges import Slice, Unsatisfiable, asked_for
from contentplatform.delivery.recording import EdgeRecorder
from contentplatform.delivery.rules import HeaderPolicy

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ZERO_COPY: Final = "http.response.zerocopysend"
"""ASGI's extension for sending a file without reading it."""
_CHUNK_BYTES: Final = 1 << 20
_NO_STATE: Final[dict[str, Any]] = {}
_NO_CONTENT: Final = Content("", "", "")


class Sender:
    """Sends the answers of one edge.

    Args:
        clock: how long answers took, and when.
        ids: of requests.
        recorder: where exchanges are noted.
        threads: read files.
        secure: whether viewers come by TLS even where the server does not see it.
    """

    def __init__(
        self,
        clock: Clock,
        ids: IdSource,
        recorder: EdgeRecorder,
        threads: ThreadPoolExecutor,
        *,
        secure: bool,
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._threads = threads
        self._secure = secure
        self._id_prefix = ids.new_id()[-20:]
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
        identifier = self._request_id()
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"x-request-id", identifier.encode("ascii"))],
        }
        await send(start)
        await send({"type": "http.response.body", "body": body})
        self._note_face(scope, file, face, str(result), identifier, started, whole=whole)

    def quickly(
        self, asked: Asked, port: int, address_bytes: int, file: HotFile, face: Face, started: float, *, whole: bool
    ) -> AtOnce:
        """The same as text for the wire. Noted as sent."""
        identifier = self._request_id()
        ended = self._clock.monotonic_seconds()
        taken = ended - started
        if whole:
            wire, body, line, status = face.wire, face.content.body, face.line, 200
            sent = face.header_bytes + len(body)
        else:
            wire, body, line, status = face.wire_not_modified, b"", face.line_not_modified, 304
            sent = face.not_modified_bytes
        self._recorder.note_file(
            ended,
            asked.asker,
            port,
            address_bytes,
            (status, sent, line),
            request_id=identifier,
            taken=taken,
            first=taken,
            original=file.found.original,
        )
        return b"%sx-request-id: %s\r\n" % (wire, identifier.encode("ascii")), body

    def quick_file(
        self,
        asked: Asked,
        port: int,
        address_bytes: int,
        file: HotFile,
        opened: OpenFile,
        face: Face,
        part: Slice | None,
        *,
        started: float,
    ) -> AtOnce:
        """A kept open file, or a part of it. Noted when it is sent, or the viewer has hung up."""
        identifier = self._request_id()
        if part is None:
            wire, fixed, status, first, length = face.wire, face.line, 200, 0, opened.size_bytes
            sent_bytes = face.header_bytes + length
        else:
            told = (part.length, part.content_range.encode("ascii"))
            wire = b"%scontent-length: %d\r\ncontent-range: %s\r\n" % (face.wire_part, *told)
            fixed, status, first, length = fixed_of_part(face.line, part), 206, part.first, part.length
            sent_bytes = face.part_bytes + len(wire) - len(face.wire_part) + length
        head = b"%sx-request-id: %s\r\n" % (wire, identifier.encode("ascii"))
        begun = self._clock.monotonic_seconds() - started

        def ended(fault: OSError | None) -> None:
            now = self._clock.monotonic_seconds()
            taken, first_byte, told = now - started, begun, (status, sent_bytes, fixed)
            original = file.found.original
            if fault is not None:
                first_byte, told, original = taken, (0, 0, fixed_of_hang_up(fixed)), ""
            self._recorder.note_file(
                now,
                asked.asker,
                port,
                address_bytes,
                told,
                request_id=identifier,
                taken=taken,
                first=first_byte,
                original=original,
            )

        return head, FilePart(opened, first, length, ended)

    def _note_face(
        self, scope: Scope, file: HotFile, face: Face, result: str, identifier: str, started: float, *, whole: bool
    ) -> None:
        ended = self._clock.monotonic_seconds()
        fixed = face.line if whole else face.line_not_modified
        if result != fixed.result:
            fixed = fixed._replace(result=result)
        sent = face.header_bytes + len(face.content.body) if whole else face.not_modified_bytes
        asker, taken = self._recorder.asker(scope), ended - started
        address_bytes = len(scope.get("raw_path", b"")) + len(scope["query_string"])
        status = 200 if whole else 304
        self._recorder.note_file(
            ended,
            asker,
            asker.port,
            address_bytes,
            (status, sent, fixed),
            request_id=identifier,
            taken=taken,
            first=taken,
            original=file.found.original,
        )

    async def hot_file(
        self,
        scope: Scope,
        send: Send,
        file: HotFile,
        face: Face,
        part: Slice | None,
        result: Result,
        started: float,
    ) -> None:
        """A kept open file, or a part of it: only what differs from the last time is made anew."""
        if file.opened is None:
            return
        headers: Headers = face.headers
        if part is not None:
            told = (b"content-length", b"%d" % part.length), (b"content-range", part.content_range.encode("ascii"))
            headers = (*(header for header in headers if header[0] != b"content-length"), *told)
        if result is not Result.HIT:
            headers = (*(header for header in headers if header[0] != b"x-cache"), (b"x-cache", x_cache(result)))
        content = face.content if result is Result.HIT else replace(face.content, result=result)
        asked = part or _whole(file.opened.size_bytes)
        await self._file(scope, send, headers, content, file.opened, asked, started)

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
            await self._short(scope, send, 304, headers, started, content=content)
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
        status = 200 if part is None else 206
        await self._short(scope, send, status, headers, started, body=body, content=content, part=part)

    async def refusal(self, scope: Scope, send: Send, refusal: Refusal, started: float) -> None:
        """That there is nothing, and why."""
        headers = of_refusal(refusal, secure=self.is_secure(scope))
        body = refusal.text.encode("utf-8")
        await self._short(scope, send, refusal.status, headers, started, body=body)

    async def options(self, scope: Scope, send: Send, policy: HeaderPolicy, started: float, *, preflight: bool) -> None:
        """What is possible with a path."""
        headers = of_options(policy, secure=self.is_secure(scope), preflight=preflight)
        await self._short(scope, send, 204, headers, started, content=_NO_CONTENT)

    def note_hang_up(self, scope: Scope, started: float) -> None:
        """The viewer hung up before it had everything; the log says so as CloudFront's does."""
        self._note(scope, started, 0, 0, identifier=self._request_id(), content=None)

    async def _short(
        self,
        scope: Scope,
        send: Send,
        status: int,
        headers: Headers,
        started: float,
        *,
        body: bytes = b"",
        content: Content | None = None,
        part: Slice | None = None,
    ) -> None:
        """An answer whose body is in memory; without content it is a refusal."""
        identifier = self._request_id()
        shown = b"" if scope["method"] == "HEAD" else body
        full = [*headers, (b"x-request-id", identifier.encode("ascii"))]
        await send({"type": "http.response.start", "status": status, "headers": full})
        await send({"type": "http.response.body", "body": shown})
        sent_bytes = size_of(headers) + len(shown)
        self._note(
            scope, started, status, sent_bytes, identifier=identifier, content=content, length=len(body), part=part
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
        identifier = self._request_id()
        full = [*headers, (b"x-request-id", identifier.encode("ascii"))]
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
            206 if is_part else 200,
            size_of(headers) + asked.length,
            identifier=identifier,
            content=content,
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

    def _request_id(self) -> str:
        self._requests += 1
        return f"{self._id_prefix}{self._requests:012x}"

    def _note(
        self,
        scope: Scope,
        started: float,
        status: int,
        sent_bytes: int,
        *,
        identifier: str,
        content: Content | None,
        length: int = 0,
        part: Slice | None = None,
        first_byte: float | None = None,
    ) -> None:
        ended = self._clock.monotonic_seconds()
        self._recorder.note(
            Exchange(
                at=self._clock.now(),
                scope=scope,
                status=status,
                sent_bytes=sent_bytes,
                result=str(Result.ERROR if content is None else content.result),
                request_id=identifier,
                taken_seconds=ended - started,
                first_byte_seconds=(ended if first_byte is None else first_byte) - started,
                content_type="text/plain" if content is None else content.content_type,
                content_length=length,
                part=part,
                original="" if content is None else content.original,
            )
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
