"""Calls an ASGI application as a server does, message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Scope


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """The one value of a header; empty if it is not there."""
        found = [value for each, value in self.headers if each == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else ""


def scope_of(
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    client: str = "192.0.2.1",
    scheme: str = "http",
    host: str | None = "localhost",
) -> Scope:
    """A request's scope as uvicorn makes it: names in lower case, the path decoded."""
    told = [*headers.items()] if isinstance(headers, Mapping) else [*headers]
    if host is not None:
        told.insert(0, ("host", host))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": scheme,
        "client": (client, 50_000),
        "server": ("127.0.0.1", 8080),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told],
    }


def call(app: ASGIApp, scope: Scope, body: Iterable[bytes] = (b"",)) -> Answer:
    """Send a request with its body in these pieces; the whole answer."""
    return asyncio.run(called(app, scope, pieces(body)))


async def called(app: ASGIApp, scope: Scope, receive: Callable[[], Any]) -> Answer:
    """Send a request whose body comes from ``receive``; the whole answer."""
    answer = Answer()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


def pieces(body: Iterable[bytes]) -> Callable[[], Any]:
    """A body in pieces, then a client that has gone."""
    messages = _messages(list(body))

    async def receive() -> Message:
        return await anext(messages)

    return receive


async def _messages(body: list[bytes]) -> AsyncIterator[Message]:
    for number, piece in enumerate(body, start=1):
        yield {"type": "http.request", "body": piece, "more_body": number < len(body)}
    while True:
        yield {"type": "http.disconnect"}
