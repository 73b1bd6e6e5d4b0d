"""What stands before every part of the site: limits on what comes in, headers on what goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentplatform.errors import ConfigurationInvalid, RateLimited
from contentplatform.web.auth import DOOR
from contentplatform.web.bodies import Body
from contentplatform.web.forwarding import Forwarding, networks
from contentplatform.web.guard import (
    HEADERS_LIMIT,
    HEADERS_LIMIT_BYTES,
    Guard,
    GuardRules,
    host_name,
    known_hosts,
    security_headers,
)
from contentplatform.web.problems import Refusal
from contentplatform.web.rates import Rates
from fakes.asgi import Answer, call, called, scope_of
from fakes.clock import FakeClock

SECURITY_HEADERS: Final = (
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
)


class Echo:
    """Reads the whole body and answers with its length; remembers each request's scope."""

    def __init__(self, **headers: str) -> None:
        self.scopes: list[Scope] = []
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await PlainTextResponse(str(size), headers=self.headers)(scope, receive, send)


class Wish(BaseModel):
    """A body that FastAPI reads."""

    name: str


def guarded(app: ASGIApp | None = None, *, rates: Rates | None = None, **rules: Any) -> Guard:
    return Guard(app or Echo(), GuardRules(**rules), FakeClock(), rates=rates)


def ask(guard: ASGIApp, method: str = "GET", path: str = "/", body: Iterable[bytes] = (b"",), **headers: str) -> Answer:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(guard, scope_of(method, path, told), body)


# -- headers of answers --------------------------------------------------------------------------------------------


def test_every_answer_has_the_security_headers_those_of_refusals_as_well() -> None:
    answers = [
        ask(guarded()),
        ask(guarded(), "TRACE"),
        ask(guarded(body_limit_bytes=1), "POST", content_length="2"),
        call(guarded(), scope_of(host="evil.example")),
        ask(guarded(rates=Rates(FakeClock(), 1)), "GET"),
    ]
    assert [answer.status for answer in answers] == [200, 405, 413, 400, 200]
    for answer in answers:
        for name in SECURITY_HEADERS:
            assert answer.header(name), (answer.status, name)
        assert answer.header("x-content-type-options") == "nosniff"
        assert "no-store" in answer.header("cache-control")


def test_the_policy_runs_no_inline_code_and_lets_nobody_frame_the_site() -> None:
    told = dict(security_headers(["https://media.example.org"], secure=False))[b"content-security-policy"].decode()
    directives = {part.split()[0]: part.split()[1:] for part in told.split("; ")}
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == ["'self'"]
    assert directives["frame-ancestors"] == directives["base-uri"] == ["'none'"]
    assert directives["form-action"] == ["'self'"]
    assert "unsafe" not in told
    assert "*" not in told
    for name in ("img-src", "media-src", "connect-src"):
        assert "https://media.example.org" in directives[name]
    assert "https://media.example.org" not in directives["script-src"]


def test_forms_of_our_own_pages_keep_their_origin() -> None:
    # With `no-referrer` a browser sends `Origin: null`, and the check of forms would refuse our own.
    assert dict(security_headers(secure=False))[b"referrer-policy"] == b"same-origin"


def test_strict_transport_is_told_behind_tls_only() -> None:
    assert not ask(guarded()).header("strict-transport-security")
    answer = call(guarded(), scope_of(scheme="https"))
    assert answer.header("strict-transport-security") == "max-age=31536000"


def test_what_an_answer_says_itself_stands() -> None:
    guard = guarded(Echo(cache_control="max-age=60", content_security_policy="sandbox"))
    answer = ask(guard)
    assert answer.header("cache-control") == "max-age=60"
    assert answer.header("content-security-policy") == "sandbox"
    assert answer.header("x-content-type-options") == "nosniff"


def test_an_answer_that_says_nothing_of_caches_is_kept_by_none() -> None:
    assert ask(guarded(), "GET", "/account/x.css").header("cache-control") == "private, no-store"


# -- what is let in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "GETT", "get", "TRACK", ""])
def test_a_method_that_no_part_knows_is_refused(method: str) -> None:
    app = Echo()
    answer = ask(guarded(app), method)
    assert answer.status == 405
    assert answer.header("allow") == "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"
    assert app.scopes == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_the_methods_of_the_site_are_let_in(method: str) -> None:
    assert ask(guarded(), method).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("media.example.org", 200),
        ("media.example.org.:443", 200),
        ("evil.example", 400),
        ("media.example.org.evil.example", 400),
        ("localhost@evil.example", 400),
        ("", 400),
        (None, 400),
    ],
)
def test_a_host_that_is_not_ours_is_refused(host: str | None, status: int) -> None:
    guard = guarded(hosts=known_hosts("127.0.0.1", "https://media.example.org"))
    assert call(guard, scope_of(host=host)).status == status


def test_two_hosts_are_refused_and_health_is_told_to_whoever_asks() -> None:
    two = scope_of(headers=[("host", "localhost")])
    assert call(guarded(), two).status == 400
    assert call(guarded(), scope_of(path="/health/live", host="10.0.0.7")).status == 200
    assert call(guarded(hosts=frozenset()), scope_of(host="any.example")).status == 200


@pytest.mark.parametrize(("host", "name"), [("A.example:80", "a.example"), ("[2001:DB8::1]:80", "[2001:db8::1]")])
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name
    assert host_name(host) in known_hosts("2001:db8::1" if "[" in host else "a.example", "")


def test_too_many_and_too_large_headers_are_refused() -> None:
    many = scope_of(headers=[(f"x-{number}", "") for number in range(HEADERS_LIMIT)])
    large = scope_of(headers={"x-large": "x" * HEADERS_LIMIT_BYTES})
    for scope in (many, large):
        answer = call(guarded(), scope)
        assert answer.status == 431
        assert answer.header("connection") == "close"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, gzip", "zstd", "x"])
def test_a_body_that_is_compressed_is_refused_unread(encoding: str) -> None:
    app = Echo()
    answer = ask(guarded(app), "POST", content_encoding=encoding, content_length="10")
    assert answer.status == 415
    assert answer.header("accept-encoding") == "identity"
    assert app.scopes == []
    assert ask(guarded(), "POST", content_encoding="identity", content_length="0").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("content-length", "5"), ("content-length", "5")],
        [("content-length", "5"), ("transfer-encoding", "chunked")],
        [("content-length", "-1")],
        [("content-length", "+5")],
        [("content-length", "5, 5")],
        [("content-length", "0x5")],
        [("content-length", "")],
    ],
)
def test_a_body_whose_length_is_not_clear_is_refused_and_the_connection_ends(headers: list[tuple[str, str]]) -> None:
    answer = call(guarded(), scope_of("POST", headers=headers), [b"12345"])
    assert answer.status == 400
    assert answer.header("connection") == "close"


def test_a_body_has_the_limit_of_its_path() -> None:
    guard = guarded(body_limit_bytes=10, body_limits=(("/uploads", None), ("/forms", 20)))
    for path, size, status in (
        ("/", 10, 200),
        ("/", 11, 413),
        ("/forms/x", 20, 200),
        ("/forms/x", 21, 413),
        ("/uploads/x", 1_000, 200),
    ):
        told = ask(guard, "POST", path, [b"x" * size], content_length=str(size))
        assert told.status == status, path
        chunked = ask(guard, "POST", path, [b"x" * (size - 1), b"x"], transfer_encoding="chunked")
        assert chunked.status == status, path


def test_a_part_that_makes_another_error_of_a_large_body_does_not_hide_it() -> None:
    api = FastAPI()

    @api.post("/wishes")
    def take(wish: Wish) -> str:
        return wish.name

    async def hides(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Echo()(scope, receive, send)
        except Refusal:
            await PlainTextResponse("bad", 400)(scope, receive, send)

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Echo()(scope, receive, send)
        except Refusal as error:
            raise ValueError("parsing") from error

    for app in (api, hides, breaks):
        guard = guarded(app, body_limit_bytes=10)
        headers = {"content_type": "application/json", "transfer_encoding": "chunked"}
        answer = ask(guard, "POST", "/wishes", [b'{"name": "', b"x" * 20 + b'"}'], **headers)
        assert answer.status == 413
        assert answer.header("connection") == "close"


def test_a_refusal_behind_the_beginning_of_an_answer_ends_the_connection() -> None:
    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await Echo()(scope, receive, send)

    with pytest.raises(ConnectionAbortedError):
        ask(guarded(hasty, body_limit_bytes=1), "POST", "/", [b"12"], transfer_encoding="chunked")


def test_whoever_asks_too_often_is_told_when_to_come_back() -> None:
    clock = FakeClock()
    guard = Guard(Echo(), GuardRules(), clock, rates=Rates(clock, 60))
    told = [call(guard, scope_of(client="192.0.2.1")).status for _ in range(61)]
    assert told == [200] * 60 + [429]
    refused = call(guard, scope_of(client="192.0.2.1"))
    assert refused.header("retry-after") == "1"
    assert call(guard, scope_of(client="192.0.2.2")).status == 200
    clock.advance(1)
    assert call(guard, scope_of(client="192.0.2.1")).status == 200


def test_a_lifespan_and_the_door_pass_through() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await Response()(scope, receive, send) if scope["type"] == "http" else None

    guard = guarded(app)
    asyncio.run(called(guard, {"type": "lifespan"}, lambda: None))
    call(guard, scope_of())
    assert [scope["type"] for scope in seen] == ["lifespan", "http"]
    assert DOOR in seen[1]


# -- bodies --------------------------------------------------------------------------------------------------------


class Line:
    """A client's line: what it sends comes when the test says so."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, size: int, *, more: bool = True) -> None:
        self.sent.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})

    async def __call__(self) -> Message:
        return await self.sent.get()


async def read_all(body: Body) -> int:
    size = 0
    while True:
        message = await body()
        size += len(message["body"])
        if not message["more_body"]:
            return size


class Reading:
    """Somebody reads a body; the watch looks when the test says so, and no timer of its own is awaited."""

    def __init__(self, line: Receive, clock: FakeClock) -> None:
        self.clock = clock
        self.body = Body(line, clock, limit_bytes=None, silence_seconds=3_000.0, least_per_second=100.0)
        self.task = asyncio.create_task(read_all(self.body))

    async def after(self, seconds: float) -> bool:
        """Let time pass and the watch look; whether the body is still read."""
        await settled()
        self.clock.advance(seconds)
        self.body._look()
        await settled()
        return not self.task.done()

    async def refusal(self) -> Refusal:
        """Why it is read no more."""
        with pytest.raises(Refusal) as caught:
            await self.task
        assert self.body.refusal is caught.value
        self.body.close()
        return caught.value


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_body_that_falls_silent_is_given_up() -> None:
    async def run() -> None:
        line = Line()
        reading = Reading(line, FakeClock())
        assert await reading.after(2_999)
        line.send(1_000_000)
        assert await reading.after(2_999)
        assert not await reading.after(2)
        assert (await reading.refusal()).kind.status == 408

    asyncio.run(run())


def test_a_byte_now_and_then_does_not_keep_a_connection() -> None:
    async def run() -> int:
        line = Line()
        reading = Reading(line, FakeClock())
        turns = 0
        while await reading.after(10):
            line.send(1)
            turns += 1
        assert (await reading.refusal()).kind.status == 408
        return turns

    assert asyncio.run(run()) == 300  # 3 000 s at 10 s a byte


def test_a_slow_line_that_keeps_its_pace_is_read_to_the_end() -> None:
    async def run() -> int:
        line = Line()
        reading = Reading(line, FakeClock())
        for _ in range(1_000):
            assert await reading.after(10)
            line.send(1_100)
        line.send(0, more=False)
        return await reading.task

    assert asyncio.run(run()) == 1_100_000


def test_time_that_the_reader_takes_is_not_the_sender_s() -> None:
    clock = FakeClock()

    async def run() -> None:
        line = Line()
        body = Body(line, clock, limit_bytes=None, silence_seconds=3_000.0, least_per_second=100.0)
        for _ in range(5):
            line.send(1)
            await body()
            clock.advance(60_000)  # the disk is slow
            body._look()
        assert body.refusal is None
        body.close()

    asyncio.run(run())


def test_the_watch_looks_by_itself() -> None:
    clock = FakeClock()

    async def run() -> None:
        body = Body(Line(), clock, limit_bytes=None, silence_seconds=0.008, least_per_second=100.0)
        reading = asyncio.create_task(read_all(body))
        await settled()
        clock.advance(1)
        with pytest.raises(Refusal):
            await asyncio.wait_for(reading, 10)

    asyncio.run(run())


def test_somebody_else_s_cancelling_stays_what_it_is() -> None:
    async def run() -> None:
        reading = Reading(Line(), FakeClock())
        await settled()
        reading.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading.task
        reading.body.close()
        assert reading.body.refusal is None

    asyncio.run(run())


def test_behind_the_body_it_only_waits_for_the_client_to_go() -> None:
    clock = FakeClock()

    async def run() -> str:
        line = Line()
        reading = Reading(line, clock)
        line.send(1, more=False)
        assert await reading.task == 1
        waiting = asyncio.create_task(reading.body())
        await settled()
        clock.advance(100_000)
        reading.body._look()
        line.sent.put_nowait({"type": "http.disconnect"})
        return str((await waiting)["type"])

    assert asyncio.run(run()) == "http.disconnect"


# -- rates ---------------------------------------------------------------------------------------------------------


def test_a_bucket_refills_steadily_and_never_over_its_brim() -> None:
    clock = FakeClock()
    rates = Rates(clock, 60)
    assert [rates.wait_seconds("a") for _ in range(62)] == [0] * 60 + [1, 1]
    clock.advance(10)
    assert [rates.wait_seconds("a") for _ in range(11)] == [0] * 10 + [1]
    clock.advance(10_000)
    assert [rates.wait_seconds("a") for _ in range(61)] == [0] * 60 + [1]


def test_what_costs_more_waits_longer_and_never_for_ever() -> None:
    rates = Rates(FakeClock(), 60)
    assert rates.wait_seconds("a", 1_000) == 0  # the whole bucket
    assert rates.wait_seconds("a", 30) > 30
    with pytest.raises(RateLimited) as caught:
        rates.take("a")
    assert caught.value.retry_after_seconds > 1


def test_callers_without_end_take_no_memory_without_end() -> None:
    rates = Rates(FakeClock(), 1, callers=10)
    for number in range(1_000):
        rates.wait_seconds(str(number))
    assert len(rates._buckets) == 10
    assert rates.wait_seconds("999")
    assert not rates.wait_seconds("5")


# -- proxies -------------------------------------------------------------------------------------------------------


def forwarded(headers: list[tuple[str, str]], *, client: str = "10.0.0.1", method: str = "GET") -> Scope:
    app = Echo()
    call(Forwarding(app, networks("10.0.0.0/8, fd00::/8")), scope_of(method, headers=headers, client=client))
    return app.scopes[0]


def names(scope: Scope) -> set[str]:
    return {name.decode() for name, _ in scope["headers"]}


LIES: Final = [
    ("x-forwarded-for", "198.51.100.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-port", "443"),
    ("forwarded", "for=198.51.100.9;proto=https;host=evil.example"),
    ("x-real-ip", "198.51.100.9"),
    ("x-original-url", "/api/v1/users"),
    ("x-rewrite-url", "/api/v1/users"),
    ("x-host", "evil.example"),
]


def test_from_anybody_nothing_is_believed_and_nothing_is_left() -> None:
    scope = forwarded(LIES, client="192.0.2.1")
    assert (scope["client"][0], scope["scheme"]) == ("192.0.2.1", "http")
    assert names(scope) == {"host"}
    assert dict(scope["headers"])[b"host"] == b"localhost"


def test_a_trusted_proxy_tells_address_scheme_and_host() -> None:
    scope = forwarded(
        [
            ("x-forwarded-for", "198.51.100.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "media.example.org"),
            ("forwarded", "for=203.0.113.1"),
        ]
    )
    assert (scope["client"][0], scope["scheme"]) == ("198.51.100.9", "https")
    assert scope["headers"] == [(b"host", b"media.example.org")]


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (["203.0.113.1, 198.51.100.9"], "198.51.100.9"),
        (["203.0.113.1", "198.51.100.9"], "198.51.100.9"),
        (["203.0.113.1, 198.51.100.9, 10.0.0.5"], "198.51.100.9"),
        (["203.0.113.1, 198.51.100.9, fd00::5"], "198.51.100.9"),
        (["10.1.1.1, 10.0.0.5"], "10.1.1.1"),
        (["198.51.100.9:4711"], "198.51.100.9"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["::ffff:198.51.100.9"], "198.51.100.9"),
        (["198.51.100.9, nonsense, 10.0.0.5"], "10.0.0.5"),
        (["nonsense"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["<script>, 10.0.0.5"], "10.0.0.5"),
        ([", ".join(["198.51.100.9"] * 1_000 + ["10.0.0.5"] * 100)], "10.0.0.5"),
    ],
)
def test_the_first_address_that_no_proxy_of_ours_vouches_for_counts(hops: list[str], client: str) -> None:
    assert forwarded([("x-forwarded-for", hop) for hop in hops])["client"][0] == client


@pytest.mark.parametrize("scheme", ["ftp", "javascript", "", "https://x"])
def test_a_scheme_that_is_none_is_not_believed(scheme: str) -> None:
    assert forwarded([("x-forwarded-proto", scheme)])["scheme"] == "http"


def test_a_method_in_a_header_counts_for_a_post_only() -> None:
    told = [("x-http-method-override", "DELETE"), ("x-method-override", "DELETE")]
    assert names(forwarded(told, method="GET")) == {"host"}
    assert names(forwarded(told, method="HEAD")) == {"host"}
    assert names(forwarded(told, method="POST")) == {"host", "x-http-method-override"}


def test_a_request_without_any_of_it_is_passed_on_as_it_is() -> None:
    app = Echo()
    scope = scope_of()
    call(Forwarding(app), scope)
    assert app.scopes[0] is scope


def test_proxies_that_are_no_addresses_are_told_at_the_start() -> None:
    assert networks("") == networks(" , ") == ()
    assert len(networks("10.1.2.3/8, ::1")) == 2
    with pytest.raises(ConfigurationInvalid, match="nonsense"):
        networks("10.0.0.1, nonsense")
