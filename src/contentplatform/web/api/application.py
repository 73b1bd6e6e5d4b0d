"""The FastAPI application of the API: its routers, its description, and its errors as problems."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from contentplatform import __version__
from contentplatform.app import Home
from contentplatform.errors import PlatformError
from contentplatform.web import problems
from contentplatform.web.api import (
    bulk,
    collections,
    contents,
    events,
    executions,
    files,
    invalidations,
    me,
    search,
    server,
    shares,
    uploading,
    users,
    versions,
    webhooks,
)
from contentplatform.web.api.route import PROBLEM_SCHEMA, completed
from contentplatform.web.feed import Feed

API_PREFIX: Final = "/api/v1"
BODY_LIMIT_BYTES: Final = 1 << 20
"""Largest body of a request that is no upload."""
_DESCRIPTION: Final = (
    "Keeps a media team's files, makes the renditions the web needs, and loses nothing. Send a token as "
    "`Authorization: Bearer cp_…`. Failures are problem documents (RFC 9457)."
)
_ROUTERS: Final = (
    files.router,
    versions.router,
    contents.router,
    search.router,
    bulk.router,
    collections.router,
    executions.router,
    events.router,
    invalidations.router,
    shares.router,
    webhooks.router,
    me.router,
    users.router,
    server.router,
)


class Api(FastAPI):
    """FastAPI with the description as it is here: without its own sort of validation errors."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it; a body that says it is too large is not even begun with."""
        length = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > BODY_LIMIT_BYTES:
            problem = problems.Problem(problems.TOO_LARGE, f"At most {BODY_LIMIT_BYTES} bytes are taken here")
            await problem.response(scope)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    @cache  # noqa: B019 - one application a process, and its routes stay
    def methods(self) -> tuple[tuple[re.Pattern[str], frozenset[str]], ...]:
        """The methods of each route, by what its path looks like."""
        return tuple(
            (compile_path(API_PREFIX + route.path)[0], frozenset(route.methods or ()))
            for router in _ROUTERS
            for route in router.routes
            if isinstance(route, APIRoute)
        )

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            found = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in found["paths"].values():
                for method, operation in path.items():
                    completed(operation, method)
            for path, operations in uploading.paths().items():
                found["paths"].setdefault(path, {}).update(operations)
            schemas["Problem"] = PROBLEM_SCHEMA
            token = {
                "type": "http",
                "scheme": "bearer",
                "description": "A token, as `contentplatform tokens add` makes",
            }
            found["components"]["securitySchemes"] = {"token": token}
            found["security"] = [{"token": []}]
            self.openapi_schema = found
        return self.openapi_schema


def create_api(home: Home, stopping: threading.Event | None = None) -> FastAPI:
    """The API over one home.

    Args:
        home: opened; whoever opened it closes it.
        stopping: set when the process is asked to stop, so that answers without an end come to one.
    """
    api = described_api()
    api.state.home = home
    api.state.feed = Feed(home.platform.catalog, stopping or threading.Event())
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)
    return api


def described_api() -> Api:
    """The API's routes, over no home: to be described."""
    api = Api(
        title="Content Platform",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=BODY_LIMIT_BYTES,
    )
    for router in _ROUTERS:
        api.include_router(router, prefix=API_PREFIX)
    return api


async def _platform_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PlatformError)  # noqa: S101 - FastAPI calls it for nothing else
    return problems.of_error(error).response(request.scope)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, problems.Refusal)  # noqa: S101 - same
    return problems.of_refusal(error).response(request.scope)


async def _wrong_fields(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - same
    return problems.of_wrong_fields(error.errors()).response(request.scope)


async def _bare_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - same
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return problems.of_status(error.status_code, str(error.detail), headers).response(request.scope)


def _allowed(request: Request) -> set[str]:
    """Every method of the path that was asked for: routes of one path know of themselves only."""
    path = request.scope["path"]
    api: Api = request.app
    found = {method for regex, methods in api.methods() if regex.match(path) for method in methods}
    return found | ({"POST"} if path == uploading.FORM_PATH else set())


async def _unexpected(request: Request, _error: Exception) -> Response:
    """FastAPI raises it again behind the answer, and the site's outer edge logs it."""
    return problems.internal().response(request.scope)


_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Any]]] = {
    PlatformError: _platform_error,
    problems.Refusal: _refusal,
    RequestValidationError: _wrong_fields,
    HTTPException: _bare_status,
    Exception: _unexpected,
}
