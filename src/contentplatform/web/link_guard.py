"""What all pages of links share: wrong secrets are counted, nothing is cached or told on, faults are said in words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentplatform import log
from contentplatform.accounts.pauses import network_of
from contentplatform.errors import PlatformError
from contentplatform.web import problems
from contentplatform.web.auth import source_of
from contentplatform.web.console.stationery import render
from contentplatform.web.rates import Rates

GONE: Final = "This link leads nowhere. It may be over, or somebody ended it: ask who gave it to you."
PAGE_POLICY: Final = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; worker-src 'self' blob:; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""A player puts a film together from its pieces: that is what ``blob:`` is for."""
_DEFAULTS: Final = {
    "cache-control": "no-store",
    "content-security-policy": PAGE_POLICY,
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Where the answer says nothing else."""
_ALWAYS: Final = {"referrer-policy": "no-referrer", "x-robots-tag": "noindex, nofollow"}
_logger: Final = logging.getLogger(__name__)


class WrongLinks:
    """Counts what leads nowhere, by where it comes from; a whole network of IPv6 counts as one."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def note(self, scope: Scope) -> None:
        """Count one more. Raises RateLimited after too many."""
        self._rates.take(network_of(source_of(scope)))


class Unlisted:
    """Puts the headers of links on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                for name, value in _DEFAULTS.items():
                    headers.setdefault(name, value)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._app(scope, receive, with_headers)


def answered(request: Request, handler: Callable[[Request], Response]) -> Response:
    """The answer of a handler, or what went wrong. The outermost edge of links: their secrets are in no log."""
    try:
        return handler(request)
    except problems.Refusal as refusal:
        return problem_page(request, problems.of_refusal(refusal))
    except PlatformError as error:
        return problem_page(request, problems.of_error(error))
    except Exception:  # whatever it is, the site would log it with the path, and that has the secret
        log.event(_logger, logging.ERROR, "request for a link failed", method=request.method)
        _logger.exception("unexpected error in a request for a link")
        return problem_page(request, problems.internal())


def problem_page(request: Request, problem: problems.Problem) -> Response:
    """What went wrong: a page for people, a document for programs. Neither repeats the path, which has the secret."""
    response = problem.response({**request.scope, "path": "/"})
    if "text/html" not in request.headers.get("accept", ""):
        return response
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    what = GONE if problem.kind is problems.NOT_FOUND else problem.detail
    return page("share_problem.html", problem.kind.status, headers, title=problem.kind.title, what=what)


def page(template: str, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None, **told: Any) -> Response:
    """A page of links."""
    return HTMLResponse(render(template, **told), status, headers)
