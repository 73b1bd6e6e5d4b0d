"""The pages' addresses, and what answers them."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from contentplatform.accounts.port import Scope
from contentplatform.app import Home
from contentplatform.web.console import library
from contentplatform.web.console.stationery import static_file
from contentplatform.web.console.visit import Handler, Porter, page

_READ, _WRITE = Scope.READ, Scope.WRITE


def _route(path: str, method: str, handler: Handler, scope: Scope) -> Route:
    return Route(path, page(handler, scope=scope), methods=[method])


async def _to_library(_request: Request) -> Response:
    return RedirectResponse(library.LIBRARY, 303)


ROUTES: Final = (
    Route("/", _to_library, methods=["GET"]),
    Route("/static/{name}", static_file, methods=["GET"]),
    _route("/library", "GET", library.show_library, _READ),
    _route("/library/cards", "GET", library.show_cards, _READ),
    _route("/library/upload", "POST", library.take_in, _WRITE),
    _route("/library/act", "POST", library.act, _WRITE),
)


def console_app(home: Home, porter: Porter) -> Starlette:
    """The pages over one home."""
    made = Starlette(routes=list(ROUTES))
    made.state.home = home
    made.state.porter = porter
    return made
