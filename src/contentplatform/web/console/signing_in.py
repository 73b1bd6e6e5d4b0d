"""Signing in and out, and the colours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from contentplatform.errors import Denied, PlatformError
from contentplatform.web import problems
from contentplatform.web.auth import CSRF_FIELD, door_of, is_secure
from contentplatform.web.console.library import LIBRARY
from contentplatform.web.console.stationery import render
from contentplatform.web.console.visit import (
    PAGE_HEADERS,
    SIGN_IN,
    THEME_COOKIE,
    THEMES,
    Visit,
    local_path,
    theme_of,
)

_THEME_SECONDS: Final = 31_536_000
_NAME_LIMIT: Final = 64


async def show_sign_in(request: Request) -> Response:
    """Where one signs in; whoever has, goes on."""
    following = local_path(request.query_params.get("next", ""), request) or LIBRARY
    if await run_in_threadpool(door_of(request).principal, request) is not None:
        return RedirectResponse(following, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    return _sign_in_page(request, following)


def _sign_in_page(
    request: Request, following: str, *, name: str = "", problem: str = "", status: int = HTTPStatus.OK
) -> Response:
    text = render("sign_in.html", theme=theme_of(request), next=following, name=name, problem=problem)
    return HTMLResponse(text, status, PAGE_HEADERS)


async def sign_in(request: Request) -> Response:
    """Begin a session with a name and a password."""
    async with request.form(max_fields=10, max_files=0) as form:
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        following = local_path(str(form.get("next", "")), request) or LIBRARY
    door = door_of(request)
    try:
        signed_in = await run_in_threadpool(door.sign_in, request, name, password)
    except PlatformError as error:
        problem = problems.of_error(error)
        shown = " ".join(f"{said[0].upper()}{said[1:].rstrip('.')}." for said in (error.why, error.hint) if said)
        page = _sign_in_page(request, following, name=name[:_NAME_LIMIT], problem=shown, status=problem.kind.status)
        page.headers.update(problem.headers)
        return page
    response = RedirectResponse(following, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    response.headers.append("Set-Cookie", signed_in.cookie)
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    async with request.form(max_fields=10, max_files=0) as form:
        token = str(form.get(CSRF_FIELD, ""))
    response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    try:
        cookie = await run_in_threadpool(door_of(request).sign_out, request, token)
    except Denied as error:
        return HTMLResponse(
            render("sign_in.html", theme=theme_of(request), next=LIBRARY, name="", problem=error.public),
            HTTPStatus.FORBIDDEN,
            PAGE_HEADERS,
        )
    response.headers.append("Set-Cookie", cookie)
    return response


def choose_theme(visit: Visit) -> Response:
    """Dark or light, whatever the system says."""
    chosen = visit.given("theme")
    response = visit.back(local_path(visit.given("back"), visit.request) or LIBRARY)
    if chosen in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            chosen,
            max_age=_THEME_SECONDS,
            path="/",
            httponly=True,
            samesite="lax",
            secure=is_secure(visit.request.scope),
        )
    return response
