"""Uploads over HTTP without a socket: the application over a local home of its own, and a client that speaks to it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Message

from contentplatform.accounts.port import Principal, Role, Scope, Via
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Unauthenticated
from contentplatform.ingest.upload_sessions import SCHEMA, LocalUploads, UploadRules
from contentplatform.ingest.uploads import Allowance
from contentplatform.storage.local import SCHEMA as STORAGE_SCHEMA
from contentplatform.storage.local import LocalObjectStore
from contentplatform.storage.port import BucketRole
from contentplatform.web.uploads import PATCH_TYPE, UPLOADS_PATH, UploadOptions, UploadsApp
from fakes.clock import FakeClock, SequentialIds

TUS = {"Tus-Resumable": "1.0.0"}
RULES = UploadRules(max_bytes=100_000, max_open=8, keep_seconds=1_000.0)
EDITOR = frozenset({Scope.READ, Scope.WRITE})
PEOPLE = {
    "ann": Principal("ann", "ann", Role.EDITOR, EDITOR),
    "bob": Principal("bob", "bob", Role.EDITOR, EDITOR, folder="bobs/"),
    "eve": Principal("eve", "eve", Role.VIEWER, frozenset({Scope.READ})),
    "link": Principal("link", "link", Role.EDITOR, frozenset({Scope.WRITE}), folder="inbox/", via=Via.LINK),
}


class UploadSite:
    """The application, and what it acts on. Each request is one of ``ann``'s unless it says another name."""

    def __init__(
        self,
        folder: Path,
        allowance: Allowance | None = None,
        *,
        idle_seconds: float = 5.0,
        rules: UploadRules = RULES,
    ) -> None:
        self.clock = FakeClock()
        self.database = Database(folder / "catalog.db", [STORAGE_SCHEMA, SCHEMA], new_uuid="a")
        self.store = LocalObjectStore(self.database, folder, self.clock, SequentialIds())
        self.uploads = LocalUploads(self.database, self.store, self.clock, SequentialIds(1_000), rules, allowance)
        options = UploadOptions(max_bytes=rules.max_bytes, idle_seconds=idle_seconds, form_files=5)
        self.app = UploadsApp(self.uploads, principal_of, options)
        self.runner = asyncio.Runner()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://site")

    def close(self) -> None:
        """Let go of everything."""
        self.runner.run(self.client.aclose())
        self.runner.close()
        self.database.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request, answered."""
        return self.runner.run(self.client.request(method, path, headers=headers, **more))

    def tus(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> httpx.Response:
        """One request of tus."""
        return self.ask(method, path, {**TUS, **(headers or {})}, content=content)

    def begin(self, length: int | None = 10, name: str = "a.bin", **headers: str) -> str:
        """Begin an upload; its address."""
        told = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        given = {name_.replace("_", "-"): value for name_, value in headers.items()}
        response = self.tus("POST", UPLOADS_PATH, {"Upload-Metadata": metadata(filename=name), **told, **given})
        assert response.status_code == 201, response.text
        return response.headers["Location"]

    def patch(self, path: str, offset: int | str, content: bytes, **headers: str) -> httpx.Response:
        """Send a piece."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.tus("PATCH", path, {"Content-Type": PATCH_TYPE, "Upload-Offset": str(offset), **given}, content)

    def offset(self, path: str) -> int:
        """Where an upload stands."""
        return int(self.tus("HEAD", path).headers["Upload-Offset"])

    def part(self, content: bytes) -> str:
        """A part that is there; its address."""
        address = self.begin(len(content), Upload_Concat="partial")
        assert self.patch(address, 0, content).status_code == 204
        return address

    def keys(self) -> list[str]:
        """The keys of all files."""
        return [version.key for version in self.store.list(BucketRole.PRIMARY).objects]

    def read(self, key: str = "a.bin") -> bytes:
        """The bytes of a file."""
        with self.store.open(BucketRole.PRIMARY, key) as reader:
            return reader.read()

    def call(
        self, method: str, path: str, headers: Mapping[str, str], messages: Iterable[Message]
    ) -> tuple[int, dict[str, str]] | None:
        """One request whose body comes in exactly these messages; None where nothing was answered.

        What comes after the last one is silence.
        """
        return self.runner.run(self._call(method, path, headers, messages))

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str], messages: Iterable[Message]
    ) -> tuple[int, dict[str, str]] | None:
        coming = iter(messages)
        sent: list[Message] = []

        async def receive() -> Message:
            for message in coming:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        await self.app(scope, receive, send)
        if not sent:
            return None
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Whoever the header ``who`` names."""
    name = dict(scope["headers"]).get(b"who", b"ann").decode()
    if name not in PEOPLE:
        raise Unauthenticated("asking", "nobody is signed in")
    return PEOPLE[name]


def metadata(**said: str) -> str:
    """``Upload-Metadata``."""
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())


def body(*pieces: bytes, cut: bool = False) -> list[Message]:
    """The messages of a body, which is cut off after its last piece if told so."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    end: Message = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
    return [*messages, end]


async def slowly(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body without a length."""
    for piece in pieces:
        yield piece
