"""Bytes of the store as an answer: one range, conditions, ``HEAD``; for whoever asked and nobody's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from contentplatform.delivery.answers import Content
from contentplatform.delivery.answers import Request as Asked
from contentplatform.delivery.attachments import disposition, shown_type
from contentplatform.delivery.conditions import Outcome, http_date, outcome, range_applies
from contentplatform.delivery.ranges import Slice, Unsatisfiable, asked_for
from contentplatform.delivery.rules import PLAIN_HEADERS
from contentplatform.media import OCTET_STREAM, file_name
from contentplatform.storage.port import ByteRange, ObjectReader, ObjectStore, ObjectVersion
from contentplatform.web import problems
from contentplatform.web.closing import ClosingResponse

CACHE_CONTROL: Final = "private, no-store"
CONTENT_POLICY: Final = PLAIN_HEADERS.content_security_policy
"""What somebody uploaded may hold a script; opened from the app's own origin it runs none."""


def original_response(
    request: Request, store: ObjectStore, version: ObjectVersion, content_type: str, *, inline: bool
) -> Response:
    """An original under its own name: to save, or to be shown where it is of a type that runs nothing."""
    shown = shown_type(content_type, is_rendition=False) if inline else ""
    saved = "" if shown else disposition(file_name(version.key))
    return _response(request, store, version, shown or _saved_type(content_type), saved)


def rendition_response(request: Request, store: ObjectStore, version: ObjectVersion, content_type: str) -> Response:
    """A rendition, to be shown."""
    shown = shown_type(content_type, is_rendition=True)
    return _response(request, store, version, shown or OCTET_STREAM, "" if shown else disposition("rendition"))


def _saved_type(content_type: str) -> str:
    """The type under which an original is saved: its own where nothing runs it, else none in particular."""
    return shown_type(content_type, is_rendition=False) or OCTET_STREAM


def _response(request: Request, store: ObjectStore, version: ObjectVersion, content_type: str, saved: str) -> Response:
    content = Content(content_type, _tag(version), CACHE_CONTROL, modified_at=version.created_at)
    asked = Asked(request.url.path, request.url.query, _headers(request), "")
    headers = _content_headers(content, saved)
    match outcome(asked, content):
        case Outcome.NOT_MODIFIED:
            return Response(None, HTTPStatus.NOT_MODIFIED, headers)
        case Outcome.FAILED:
            raise problems.Refusal(problems.PRECONDITION_FAILED, "The bytes are not those that the condition names")
        case Outcome.SEND:
            part = _part(asked, content, version.size_bytes)
    if part is not None:
        headers["Content-Range"] = part.content_range
    headers["Content-Length"] = str(version.size_bytes if part is None else part.length)
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    if request.method == "HEAD":
        return Response(None, status, headers, content_type)
    wanted = None if part is None else ByteRange(part.first, part.last)
    opened = store.open(version.bucket, version.key, version_id=version.version_id or None, byte_range=wanted)
    return _ReaderResponse(opened, status, headers, content_type)


def _part(asked: Asked, content: Content, size_bytes: int) -> Slice | None:
    header = asked.header(b"range")
    if not header or not range_applies(asked, content):
        return None
    try:
        return asked_for(header, size_bytes)
    except Unsatisfiable:
        told = {"Content-Range": f"bytes */{size_bytes}"}
        raise problems.Refusal(problems.RANGE_NOT_SATISFIABLE, f"There are {size_bytes} bytes", headers=told) from None


def _content_headers(content: Content, saved: str) -> dict[str, str]:
    headers = {
        "Cache-Control": content.cache_control,
        "ETag": f'"{content.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": CONTENT_POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    if content.modified_at is not None:
        headers["Last-Modified"] = http_date(content.modified_at)
    if saved:
        headers["Content-Disposition"] = saved
    return headers


def _tag(version: ObjectVersion) -> str:
    return version.sha256 or version.etag


def _headers(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(request.headers.raw)


class _ReaderResponse(ClosingResponse):
    """Streams an open object in constant memory, and closes it however the answer ends."""

    def __init__(
        self, opened: AbstractContextManager[ObjectReader], status: int, headers: dict[str, str], content_type: str
    ) -> None:
        self._opened = opened
        reader = opened.__enter__()  # now: what can't be read is refused before the answer has begun
        super().__init__(_chunks(reader), status, headers, content_type)

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


def _chunks(reader: ObjectReader) -> Iterator[bytes]:
    yield from reader.chunks()
