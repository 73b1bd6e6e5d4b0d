"""The site's outer edge: which part answers, what becomes of faults, and what the health pages say."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from contentplatform import errors
from contentplatform.app import Home
from contentplatform.errors import ErrorCode, PlatformError
from contentplatform.web import problems
from contentplatform.web.app import Health, Mount, Site
from contentplatform.web.auth import Door

DOOR = cast("Door", None)


def answers(words: str) -> ASGIApp:
    return PlainTextResponse(words)


def ask(app: ASGIApp, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(run())


def raising(error: Exception, *, begun: bool = False) -> ASGIApp:
    async def part(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return part


# -- which part ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "part"),
    [
        ("GET", "/raw/x", "edge"),
        ("GET", "/raw", "console"),
        ("GET", "/api/v1", "api"),
        ("GET", "/api/v1/files", "api"),
        ("POST", "/api/v1/files", "forms"),
        ("POST", "/api/v1/files/1/move", "api"),
        ("GET", "/api/v10", "console"),
        ("GET", "/", "console"),
    ],
)
def test_a_path_is_answered_by_the_part_that_owns_it(method: str, path: str, part: str) -> None:
    site = Site(
        [
            Mount(("/raw/",), answers("edge")),
            Mount(("/api/v1/files",), answers("forms"), "POST"),
            Mount(("/api/v1",), answers("api")),
            Mount(("/",), answers("console")),
        ],
        DOOR,
    )
    assert ask(site, path, method).text == part


# -- faults --------------------------------------------------------------------------------------------------------


def test_a_fault_that_nobody_foresaw_is_logged_once_and_told_without_its_insides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site([Mount(("/",), raising(KeyError("secret /srv/path")))], DOOR)
    with caplog.at_level(logging.ERROR, logger="contentplatform"):
        answer = ask(site, "/api/v1/x")
    assert (answer.status_code, answer.headers["content-type"]) == (500, problems.MEDIA_TYPE)
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text
    assert sum(record.exc_info is not None for record in caplog.records) == 1


def test_a_failure_of_the_platform_is_its_problem_whichever_part_raised_it() -> None:
    site = Site([Mount(("/",), raising(errors.NotFound("looking", "nothing there", hint="look")))], DOOR)
    told = ask(site, "/x").json()
    assert (told["status"], told["detail"], told["hint"]) == (404, "looking: nothing there", "look")


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    sent: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    site = Site([Mount(("/",), raising(KeyError("x"), begun=True))], DOOR)
    scope = {"type": "http", "path": "/", "method": "GET", "headers": []}
    asyncio.run(cast("Any", site(scope, receive, send)))
    assert sent == ["http.response.start"]


def test_a_websocket_is_closed_and_a_lifespan_answered() -> None:
    sent: list[str] = []
    heard = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    async def receive() -> MutableMapping[str, Any]:
        return next(heard)

    site = Site([], DOOR)
    asyncio.run(cast("Any", site({"type": "websocket", "path": "/"}, receive, send)))
    asyncio.run(cast("Any", site({"type": "lifespan"}, receive, send)))
    assert sent == ["websocket.close", "lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- problems ------------------------------------------------------------------------------------------------------


def all_errors() -> list[type[PlatformError]]:
    found, waiting = [], [PlatformError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_class_of_error_has_its_own_row(kind: type[PlatformError]) -> None:
    assert kind in problems.OF_ERROR


def test_a_document_has_what_the_standard_names_and_no_secret_of_the_query() -> None:
    error = errors.ProcessingFailed("decoding", "it is broken", code=ErrorCode.DECODE, private="/srv/data/x")
    scope = {"type": "http", "path": "/files/a b", "query_string": b"token=cp_secret"}
    response = problems.of_error(error).response(scope)
    assert json.loads(bytes(response.body)) == {
        "type": "/problems/processing-failed",
        "title": problems.PROCESSING_FAILED.title,
        "status": 422,
        "detail": "decoding: it is broken",
        "instance": "/files/a%20b",
        "error": "ProcessingFailed",
        "code": "E_DECODE",
    }
    assert response.headers["cache-control"] == "no-store"


def test_who_has_to_wait_is_told_how_long() -> None:
    scope = {"type": "http", "path": "/"}
    limited = errors.RateLimited("asking", "too often", retry_after_seconds=42)
    assert problems.of_error(limited).response(scope).headers["retry-after"] == "42"
    assert problems.of_error(errors.Unavailable("x", "y")).response(scope).headers["retry-after"] == "5"
    assert "retry-after" not in problems.of_error(errors.NotFound("x", "y")).response(scope).headers


def test_a_fault_of_the_settings_tells_no_stranger_where_they_are() -> None:
    told = problems.of_error(errors.ConfigurationInvalid("opening /srv/secret", "wrong")).document("/")
    assert "secret" not in str(told)


# -- health --------------------------------------------------------------------------------------------------------


def home(*, reads: bool = True, writes: bool = True) -> Home:
    """A home as the health pages know it."""

    def search(*_: object, **__: object) -> None:
        if not reads:
            raise errors.Corrupt("reading the catalog", "it is damaged")

    def check_usable() -> None:
        if not writes:
            raise errors.Unavailable("writing to the catalog", "the disk failed")

    catalog = SimpleNamespace(search=search)
    return cast("Home", SimpleNamespace(platform=SimpleNamespace(catalog=catalog), check_usable=check_usable))


@pytest.mark.parametrize(
    ("reads", "writes", "status", "word", "reason"),
    [
        (True, True, 200, "ready", ""),
        (True, False, 200, "degraded", "nothing can be written: writing to the catalog: the disk failed"),
        (False, True, 503, "not ready", "it is damaged"),
    ],
)
def test_a_server_says_whether_it_can_serve_and_why_not(
    *, reads: bool, writes: bool, status: int, word: str, reason: str
) -> None:
    answer = ask(Health(home(reads=reads, writes=writes)), "/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (status, word)
    assert reason in "".join(answer.json()["reasons"])
    assert ask(Health(home(reads=reads, writes=writes)), "/health/live").status_code == 200
