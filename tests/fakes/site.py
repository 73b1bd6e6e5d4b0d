"""The API over a real home in a folder, asked in this process: no socket, no worker, and one of each role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp
from starlette.types import Scope as AsgiScope

from contentplatform.accounts.passwords import Argon2Cost
from contentplatform.accounts.port import SCOPES_OF, Principal, Role, Scope, machine
from contentplatform.app import LocalHome, open_local
from contentplatform.app.people import LatePeople, open_accounts
from contentplatform.catalog.port import Record
from contentplatform.client import Client
from contentplatform.clock import Clock
from contentplatform.config import load
from contentplatform.media import file_id
from contentplatform.web.app import UPLOADS_PATH, create_app
from contentplatform.web.auth import Door
from contentplatform.web.guard import Guard, GuardRules
from contentplatform.web.uploads import UploadOptions, UploadsApp

TESTER: Final = machine("tester")
CHEAP: Final = Argon2Cost(passes=1, memory_kib=8, lanes=1)
PASSWORD: Final = "a long password that nobody guesses"


class Asker:
    """One client of the application, with or without a token."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop, token: str | None = None) -> None:
        self.authorization = f"Bearer {token}"
        headers = {"Authorization": self.authorization} if token else {}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)
        self._loop = loop

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send one request, whatever it answers."""
        return self._loop.run_until_complete(self._client.request(method, path, **given))

    def get(self, path: str, **given: Any) -> httpx.Response:
        """GET."""
        return self.ask("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        """POST."""
        return self.ask("POST", path, **given)

    def json(self, method: str, path: str, status: int = 200, **given: Any) -> Any:
        """The document of an answer, which must have this status."""
        answer = self.ask(method, path, **given)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def problem(self, method: str, path: str, status: int, **given: Any) -> dict[str, Any]:
        """The problem document of an answer, which must have this status."""
        answer = self.ask(method, path, **given)
        assert answer.status_code == status, (answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        told: dict[str, Any] = answer.json()
        assert told["status"] == status
        return told


class Bridge(httpx.BaseTransport):
    """Lets a client that waits for its answers ask an application in this process."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        asked = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        answer = await self._inner.handle_async_request(asked)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


class ApiSite:
    """A home, its API, and clients of it."""

    def __init__(self, home: LocalHome, *, with_uploads: bool) -> None:
        self.home = home
        self.platform = home.platform
        door = Door(self.platform.accounts, self.platform.audit, lifetime_seconds=3_600)
        rules = GuardRules(hosts=frozenset({"testserver"}), body_limits=((UPLOADS_PATH, None),))
        uploads = self._uploads(door) if with_uploads else None
        self.app: ASGIApp = Guard(create_app(home, door=door, uploads=uploads), rules, self.platform.clock, door=door)
        self.loop = asyncio.new_event_loop()
        self.nobody = Asker(self.app, self.loop)
        self.admin = self.asker("anna", Role.ADMIN)
        self.editor = self.asker("emil", Role.EDITOR)
        self.viewer = self.asker("vera", Role.VIEWER)

    def asker(self, name: str, role: Role, folder: str = "") -> Asker:
        """A new user with this role, by a token with all rights of it."""
        user = self.platform.accounts.add_user(name, PASSWORD, role, by=TESTER, folder=folder)
        return self.with_token(user.id, SCOPES_OF[role])

    def with_token(self, user_id: str, scopes: frozenset[Scope], folder: str = "") -> Asker:
        """Another token of a user."""
        secret, _ = self.platform.accounts.create_token(user_id, "tests", scopes, by=TESTER, folder=folder)
        return Asker(self.app, self.loop, secret)

    def _uploads(self, door: Door) -> UploadsApp:
        def writer(scope: AsgiScope) -> Principal:
            return door.enter(HTTPConnection(scope), Scope.WRITE)

        uploads = self.platform.uploads
        assert uploads is not None
        return UploadsApp(uploads, writer, UploadOptions())

    def client(self, asker: Asker, clock: Clock | None = None, transport: httpx.BaseTransport | None = None) -> Client:
        """Our own client, with the token of an asker."""
        token = asker.authorization.removeprefix("Bearer ")
        return Client("http://testserver", token, clock=clock, transport=transport or Bridge(self.app, self.loop))

    def add(self, key: str, data: bytes = b"some words to read") -> Record:
        """A file that is taken in, and that nobody has processed."""
        self.platform.library.add(key, BytesIO(data))
        self.home.take_in_all()
        self.home.index_for_search()
        return self.platform.library.record(key)

    def description(self) -> dict[str, Any]:
        """The API's description."""
        told: dict[str, Any] = self.nobody.json("GET", "/api/v1/openapi.json")
        return told

    def routes(self) -> list[tuple[str, str]]:
        """Every method and path that the description has."""
        return [(method.upper(), path) for path, methods in self.description()["paths"].items() for method in methods]

    def path(self, key: str) -> str:
        """Where the API has a file."""
        return f"/api/v1/files/{file_id(key)}"


@contextmanager
def open_site(folder: Path, clock: Clock | None = None, *, with_uploads: bool = False) -> Iterator[ApiSite]:
    """A site over a new home in ``folder``, closed behind."""
    settings = load(data_folder=folder)
    home = open_local(settings, clock=clock)
    people = open_accounts(settings, home.platform.clock, database=home.database, cost=CHEAP)
    home.platform = replace(home.platform, people=LatePeople(lambda: people))
    site = ApiSite(home, with_uploads=with_uploads)
    try:
        yield site
    finally:
        site.loop.run_until_complete(site.loop.shutdown_default_executor())
        site.loop.close()
        home.close()
