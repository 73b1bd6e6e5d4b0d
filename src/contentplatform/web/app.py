"""The whole site as one ASGI application: which part answers which path, and what becomes of faults."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from anyio import to_thread
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentplatform import log
from contentplatform.app import Home
from contentplatform.catalog.port import SearchQuery
from contentplatform.errors import PlatformError
from contentplatform.web import problems
from contentplatform.web.api import API_PREFIX, create_api
from contentplatform.web.auth import DOOR, Door

EDGE_PREFIXES: Final = ("/processed/", "/video-processed/", "/raw/", "/images/")
UPLOADS_PATH: Final = f"{API_PREFIX}/uploads"
BY_KEY_PREFIX: Final = f"{API_PREFIX}/files/by-key/"
FORM_PATH: Final = f"{API_PREFIX}/files"
SHARE_PREFIXES: Final = ("/s/", "/u/")
_LINK_SECRET: Final = re.compile(r"^(/[su]/)[^/]+")
_NOTHING_THERE: Final = "Nothing is under this address."
_ANYTHING: Final = SearchQuery()
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mount:
    """A part of the site and the beginnings of the paths that are its own."""

    prefixes: tuple[str, ...]
    part: ASGIApp
    method: str = ""
    """The only one that it answers, and then of the very prefixes; empty: any."""

    def takes(self, method: str, path: str) -> bool:
        """Whether it answers this: a path below a prefix, or, where that ends with no slash, the prefix itself."""
        if self.method:
            return method == self.method and path in self.prefixes
        return any(
            path.startswith(prefix) if prefix.endswith("/") else _under(prefix, path) for prefix in self.prefixes
        )


def create_app(
    home: Home,
    *,
    edge: ASGIApp | None = None,
    uploads: ASGIApp | None = None,
    shares: ASGIApp | None = None,
    console: ASGIApp | None = None,
    stopping: threading.Event | None = None,
    door: Door | None = None,
) -> ASGIApp:
    """The site over one home; a part that is not given is not there, and its paths answer 404.

    Nothing is started: whoever serves it starts and stops workers. ``stopping`` is set when the process is asked to
    stop, so that answers without an end come to one. ``door`` lets people in; without one a plain one is made.
    """
    mounts = [Mount(("/health",), Health(home)), Mount((problems.TYPE_FOLDER,), explain_problem)]
    if edge is not None:
        mounts.append(Mount(EDGE_PREFIXES, edge))
    if uploads is not None:
        mounts.append(Mount((UPLOADS_PATH, BY_KEY_PREFIX), uploads))
        mounts.append(Mount((FORM_PATH,), uploads, "POST"))
    mounts.append(Mount((API_PREFIX,), create_api(home, stopping)))
    if shares is not None:
        mounts.append(Mount(SHARE_PREFIXES, shares))
    if console is not None:
        mounts.append(Mount(("/",), console))
    return Site(mounts, door or _door(home))


def _door(home: Home) -> Door:
    settings, platform = home.platform.settings, home.platform
    return Door(
        platform.accounts,
        platform.audit,
        lifetime_seconds=settings.accounts.session_lifetime_seconds,
        public_url=settings.server.public_url,
    )


class Site:
    """Gives each request to the part that owns its path; the outer edge of every fault."""

    def __init__(self, mounts: Sequence[Mount], door: Door) -> None:
        self._mounts = tuple(mounts)
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        scope.setdefault(DOOR, self._door)

        async def note_begin(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._part(scope)(scope, receive, note_begin)
        except Exception as error:  # the outermost edge: said once in the log, and without internals to the other side
            problem = _problem_of(error)
            if problem.kind.status is HTTPStatus.INTERNAL_SERVER_ERROR:
                log.event(
                    _logger, logging.ERROR, "request failed", path=loggable(scope["path"]), method=scope["method"]
                )
                _logger.exception("unexpected error in a request")
            if not begun:
                await problem.response(scope)(scope, receive, send)

    def _part(self, scope: Scope) -> ASGIApp:
        method, path = scope["method"], scope["path"]
        return next((mount.part for mount in self._mounts if mount.takes(method, path)), nothing_there)


def _problem_of(error: Exception) -> problems.Problem:
    if isinstance(error, PlatformError):
        return problems.of_error(error)
    return problems.of_refusal(error) if isinstance(error, problems.Refusal) else problems.internal()


class Health:
    """``/health/live``: the process answers. ``/health/ready``: it can serve; if not, why, in words."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request for a health page."""
        await (await self._response(scope))(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        if scope["path"] not in {"/health/live", "/health/ready"}:
            return problems.Problem(problems.NOT_FOUND, _NOTHING_THERE).response(scope)
        if scope["method"] not in {"GET", "HEAD"}:
            allow = {"Allow": "GET, HEAD"}
            return problems.Problem(problems.METHOD_NOT_ALLOWED, "Only GET and HEAD", headers=allow).response(scope)
        if scope["path"] == "/health/live":
            return _health("live", ())
        return await to_thread.run_sync(self._ready)

    def _ready(self) -> Response:
        try:
            self._home.platform.catalog.search(_ANYTHING, limit=1)
        except PlatformError as error:
            return _health("not ready", (error.public,), HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            self._home.check_usable()
        except PlatformError as error:
            return _health("degraded", (f"Files can be read, and nothing can be written: {error.public}",))
        return _health("ready", ())


def _health(status: str, reasons: tuple[str, ...], code: HTTPStatus = HTTPStatus.OK) -> Response:
    return JSONResponse({"status": status, "reasons": list(reasons)}, code, {"Cache-Control": "no-store"})


async def explain_problem(scope: Scope, receive: Receive, send: Send) -> None:
    """What a problem's type leads to."""
    name = scope["path"].removeprefix(problems.TYPE_FOLDER)
    kind = next((kind for kind in problems.KINDS if kind.name == name), None)
    if kind is None:
        await nothing_there(scope, receive, send)
        return
    document = {"type": kind.type, "title": kind.title, "status": kind.status.value}
    await JSONResponse(document, headers={"Cache-Control": "max-age=3600"})(scope, receive, send)


async def nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to a path that nobody owns: a problem for programs, a page for people."""
    accepted = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    if "text/html" in accepted and not scope["path"].startswith("/api"):
        response: Response = HTMLResponse(_PAGE, HTTPStatus.NOT_FOUND, {"Cache-Control": "no-store"})
    else:
        response = problems.Problem(problems.NOT_FOUND, _NOTHING_THERE).response(scope)
    await response(scope, receive, send)


def loggable(path: str) -> str:
    """A path as logs may have it: without the secret of a link."""
    return _LINK_SECRET.sub(r"\1…", path)


def _under(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


async def live(receive: Receive, send: Send) -> None:
    """Answer the server's lifespan: nothing is started or stopped by it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not found</title>'
    f"<h1>Not found</h1><p>{_NOTHING_THERE}</p><p><a href='/'>To the library</a></p></html>"
)
