"""The whole site of one process: which parts it serves, put together."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from contentplatform.accounts.port import Principal
from contentplatform.accounts.port import Scope as Right
from contentplatform.app import Home, LocalHome, Platform
from contentplatform.delivery.serving import EdgeApp
from contentplatform.web.app import BY_KEY_PREFIX, EDGE_PREFIXES, FORM_PATH, UPLOADS_PATH, Health, create_app, live
from contentplatform.web.auth import Door
from contentplatform.web.claim import Part
from contentplatform.web.console import console_app
from contentplatform.web.direct_bodies import DirectBodies
from contentplatform.web.edge import build_edge
from contentplatform.web.expiry import UploadExpiry
from contentplatform.web.forwarding import Forwarding, networks
from contentplatform.web.guard import Guard, GuardRules, known_hosts
from contentplatform.web.quick import Quick
from contentplatform.web.rates import Rates
from contentplatform.web.shares import create_shares
from contentplatform.web.uploads import UploadOptions, UploadsApp
from contentplatform.web.zero_copy import ZeroCopy

_WITHOUT_LIMIT: Final = (UPLOADS_PATH, BY_KEY_PREFIX, FORM_PATH, "/library/upload", "/u/")
"""Paths whose bodies are files: the parts have limits of their own."""
_HEALTH: Final = "/health"


@dataclass(slots=True)
class Site:
    """An application, and what has to be closed after it."""

    app: ASGIApp
    welcome: tuple[str, ...] = ()
    """What whoever started it should know, a line each."""
    quick: Quick | None = None
    """Answers at once, before the application is asked, what the edge keeps in memory."""
    _closing: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Write down what is still in memory. Idempotent."""
        self._closing.close()


def open_site(
    home: Home, parts: Collection[Part], *, listening_host: str, stopping: threading.Event | None = None
) -> Site:
    """The parts that one process serves over one home.

    Args:
        home: opened; whoever opened it closes it.
        parts: what to serve.
        listening_host: the address that it listens on.
        stopping: set when the process is asked to stop.
    """
    settings = home.platform.settings
    closing = ExitStack()
    welcome: tuple[str, ...] = ()
    edge: EdgeApp | None = None
    app: ASGIApp = Health(home)
    if Part.EDGE in parts and isinstance(home, LocalHome):
        edge = build_edge(home)
        closing.callback(edge.close)
    if Part.APP in parts:
        app = _guarded(home, listening_host, stopping)
        welcome = _first_start(home)
        if not isinstance(home, LocalHome):  # at home the worker does it
            expiry = _expiry(home.platform)
            closing.callback(expiry.close)
            expiry.start()
    forwarding = Forwarding(Junction(edge, app), networks(settings.server.trusted_proxies))
    return Site(
        DirectBodies(ZeroCopy(forwarding)), welcome, None if edge is None else _quick(edge, forwarding), closing
    )


def _quick(edge: EdgeApp, forwarding: Forwarding) -> Quick:
    """What the edge answers at once, to a request as it came from the outermost proxy."""
    return Quick(lambda scope: edge.asked(forwarding.seen(scope)), edge.quick)


class Junction:
    """Public files are answered by the edge, which has rules of its own; all else by the rest of the site."""

    def __init__(self, edge: ASGIApp | None, rest: ASGIApp) -> None:
        self._edge = edge
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""
        if scope["type"] == "http" and self._edge is not None and scope["path"].startswith(EDGE_PREFIXES):
            await self._edge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await self._rest(scope, receive, send)


def _guarded(home: Home, listening_host: str, stopping: threading.Event | None) -> ASGIApp:
    """API, uploads, share pages and console, behind their guard."""
    platform = home.platform
    settings, clock = platform.settings, platform.clock
    door = Door(
        platform.accounts,
        platform.audit,
        lifetime_seconds=settings.accounts.session_lifetime_seconds,
        public_url=settings.server.public_url,
        rates=Rates(clock, settings.accounts.requests_per_minute),
    )
    limits = settings.uploads
    options = UploadOptions(limits.max_bytes, limits.idle_seconds, limits.form_files)
    site = create_app(
        home,
        uploads=UploadsApp(platform.uploads, _uploader(door), options, direct=platform.direct_uploads)
        if platform.uploads is not None
        else None,
        shares=create_shares(platform, platform.passwords.matches),
        console=console_app(home),
        stopping=stopping,
        door=door,
    )
    rules = GuardRules(
        hosts=known_hosts(listening_host, settings.server.public_url),
        content_origins=(*((settings.server.edge_url,) if settings.server.edge_url else ()), *home.content_origins()),
        body_limits=tuple((path, None) for path in _WITHOUT_LIMIT),
    )
    rates = Rates(clock, settings.accounts.address_requests_per_minute)
    return Guard(site, rules, clock, door=door, rates=rates)


def _expiry(platform: Platform) -> UploadExpiry:
    duties = [uploads.expire for uploads in (platform.uploads, platform.direct_uploads) if uploads is not None]
    return UploadExpiry(duties, platform.clock)


def _uploader(door: Door) -> Callable[[Scope], Principal]:
    """Who sends a file: whoever may write."""

    def principal(scope: Scope) -> Principal:
        return door.enter(HTTPConnection(scope), Right.WRITE)

    return principal


def _first_start(home: Home) -> tuple[str, ...]:
    password = home.platform.accounts.ensure_administrator()
    if password is None:
        return ()
    command = shlex.join(("contentplatform", "--data", str(home.platform.settings.data_folder.absolute())))
    return (
        "This is the first start. Sign in as `admin` with this password, which is shown only now:",
        f"    {password}",
        f"Lost it? `{command} users reset-password admin` asks for another.",
    )
