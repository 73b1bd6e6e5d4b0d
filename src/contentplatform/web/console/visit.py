"""One request for a page: who asks, what was sent, and how it is answered. Handlers are plain functions of it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from contentplatform.accounts.port import Principal, Role, Scope
from contentplatform.app import Home, Platform
from contentplatform.errors import Denied, InvalidRequest, PlatformError
from contentplatform.web import problems
from contentplatform.web.access import note
from contentplatform.web.auth import CSRF_FIELD, door_of
from contentplatform.web.console import words
from contentplatform.web.console.stationery import render

SIGN_IN: Final = "/sign-in"
PAGE_HEADERS: Final = {"Cache-Control": "private, no-store", "Vary": "Cookie, HX-Request"}
"""The guard adds those of security."""
THEMES: Final = ("light", "dark")
THEME_COOKIE: Final = "theme"
NOTICE_COOKIE: Final = "notice"
_NOTICE_LIMIT: Final = 3_000
_FIELDS_LIMIT: Final = 2_000
_FILES_LIMIT: Final = 1_000
_CATCH_UP_SECONDS: Final = 2.0
"""So long a request works at showing at once what it did."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the next page says of what was just done."""

    text: str
    look: str = ""
    """``bad``, ``care`` or nothing."""
    undelete: tuple[str, ...] = ()
    """file_ids that a button beside it brings back."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    request: Request
    home: Home
    principal: Principal
    csrf_token: str
    form: FormData = field(default_factory=FormData)

    @property
    def platform(self) -> Platform:
        """The services."""
        return self.home.platform

    @property
    def now(self) -> datetime:
        """This moment."""
        return self.platform.clock.now()

    @property
    def path(self) -> Mapping[str, Any]:
        """What the path holds, by name."""
        return self.request.path_params

    def catch_up(self) -> None:
        """Show at once what this request did, unless so much waits before it that a worker had better do it."""
        clock = self.platform.clock
        begun = clock.monotonic_seconds()

        def is_over() -> bool:
            return clock.monotonic_seconds() - begun >= _CATCH_UP_SECONDS

        self.home.take_in_all(is_over)
        self.home.index_for_search(is_over)

    @property
    def may_write(self) -> bool:
        """Whether they may change files."""
        return self.principal.may(Scope.WRITE)

    @property
    def is_keeper(self) -> bool:
        """Whether they may see what is private in a file."""
        return self.principal.role in {Role.ADMIN, Role.EDITOR}

    def asked(self, name: str) -> str:
        """A parameter of the query; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()

    def given(self, name: str) -> str:
        """A field of the form; empty if it is not there."""
        value = self.form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def given_all(self, name: str) -> tuple[str, ...]:
        """Every value of a field of the form, each once."""
        values = (value for value in self.form.getlist(name) if isinstance(value, str))
        return tuple(dict.fromkeys(values))

    def files(self, name: str) -> tuple[UploadFile, ...]:
        """Files that the form brought along."""
        return tuple(value for value in self.form.getlist(name) if isinstance(value, UploadFile) and value.filename)

    @property
    def wants_part(self) -> bool:
        """Whether a script asks for a part of the page."""
        return self.request.headers.get("hx-request") == "true"

    def page(self, template: str, *, status: int = 200, **told: Any) -> Response:
        """A whole page, or a part of one."""
        notice = read_notice(self.request)
        shared = {
            "principal": self.principal,
            "may_write": self.may_write,
            "may_manage": self.principal.may(Scope.ADMIN),
            "csrf_token": self.csrf_token,
            "theme": theme_of(self.request),
            "here": self.request.url.path,
            "notice": notice,
            "now": self.now,
            "ago": lambda at: words.ago(at, self.now),
        }
        text = render(template, **shared | told)
        response = HTMLResponse(text, status, PAGE_HEADERS)
        if notice is not None and not self.wants_part:
            response.delete_cookie(NOTICE_COOKIE, path="/", httponly=True, samesite="lax")
        return response

    def note(self, act: str, subject: str, **details: Any) -> None:
        """Write down what was just done, in the words that the API has for it."""
        note(self.platform, self.principal, act, subject, **details)

    def back(self, to: str, notice: Notice | str | None = None) -> Response:
        """Send the browser to a page after a form, with something to say there."""
        response = RedirectResponse(to, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
        if notice is not None:
            write_notice(response, Notice(notice) if isinstance(notice, str) else notice)
        return response


Handler = Callable[[Visit], Response]
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def page(handler: Handler, *, scope: Scope = Scope.READ) -> Endpoint:
    """The endpoint of a page: for those who are signed in and have this right; forms have to be ours."""

    async def endpoint(request: Request) -> Response:
        door = door_of(request)
        principal = await run_in_threadpool(door.principal, request)
        if principal is None:
            return _to_sign_in(request)
        home: Home = request.app.state.home
        visit = Visit(request, home, principal, door.csrf_token(request))
        try:
            if request.method != "POST":
                await run_in_threadpool(door.enter, request, scope)
                return await run_in_threadpool(handler, visit)
            await run_in_threadpool(door.check_right, request, principal, scope)  # before files are read for nothing
            async with request.form(max_fields=_FIELDS_LIMIT, max_files=_FILES_LIMIT) as form:
                token = str(form.get(CSRF_FIELD, ""))
                await run_in_threadpool(partial(door.enter, request, scope, form_token=token))
                return await run_in_threadpool(handler, replace(visit, form=form))
        except PlatformError as error:
            return await run_in_threadpool(_failed, visit, error)

    return endpoint


def _to_sign_in(request: Request) -> Response:
    """The way to the page where one signs in, and back from there."""
    if request.headers.get("hx-request") == "true":
        return Response(
            status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": SIGN_IN, "Cache-Control": "no-store"}
        )
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = SIGN_IN if wanted == "/" or request.method != "GET" else f"{SIGN_IN}?next={quote(wanted, safe='')}"
    return RedirectResponse(target, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _failed(visit: Visit, error: PlatformError) -> Response:
    """A page that says what went wrong; a form that can be mended leads back to where it was filled in."""
    problem = problems.of_error(error)
    back_to = local_path(visit.request.headers.get("referer", ""), visit.request)
    is_mendable = visit.request.method == "POST" and not isinstance(error, Denied)
    if is_mendable and back_to and problem.kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return visit.back(back_to, Notice(error.public, "bad"))
    return visit.page(
        "problem.html", status=problem.kind.status, title=problem.kind.title, what=error.public, back_to=back_to or "/"
    )


def local_path(address: str, request: Request) -> str:
    """The path of an address of this very site; empty for any other."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if parts.netloc and parts.netloc != request.headers.get("host"):
        return ""
    is_plain = parts.path.startswith("/") and not parts.path.startswith("//") and "\\" not in address
    if not is_plain or any(character < " " for character in address):
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def theme_of(request: Request) -> str:
    """The look that was chosen; empty: the system's."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def read_notice(request: Request) -> Notice | None:
    """What the page before wants to be said; it is nobody's but the browser's own, and shown as text."""
    try:
        told = json.loads(base64.urlsafe_b64decode(request.cookies.get(NOTICE_COOKIE, "").encode("ascii")))
        return Notice(str(told["text"]), str(told["look"]), tuple(map(str, told["undelete"])))
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        return None


def write_notice(response: Response, notice: Notice) -> None:
    """Let the next page say something."""
    undelete = list(notice.undelete)
    while True:
        told = {"text": notice.text[: _NOTICE_LIMIT // 4], "look": notice.look, "undelete": undelete}
        value = base64.urlsafe_b64encode(json.dumps(told).encode("ascii")).decode("ascii")
        if len(value) <= _NOTICE_LIMIT or not undelete:
            break
        undelete = []  # too many for a cookie: the trash has them
    response.set_cookie(NOTICE_COOKIE, value, max_age=60, path="/", httponly=True, samesite="lax")


def needed(visit: Visit, name: str, what: str) -> str:
    """A field that must be filled in. Raises InvalidRequest."""
    value = visit.given(name)
    if not value:
        raise InvalidRequest("reading the form", f"{what} is missing")
    return value
