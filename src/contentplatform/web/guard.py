"""What stands before every part of the site but the edge: what comes in has limits, what goes out has its headers.

Nothing here reads a body or waits for the database: a request that is in order costs some microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentplatform.clock import Clock
from contentplatform.errors import RateLimited
from contentplatform.web import problems
from contentplatform.web.auth import DOOR, Door, is_secure, source_of
from contentplatform.web.bodies import Body, too_large
from contentplatform.web.rates import Rates

Headers = tuple[tuple[bytes, bytes], ...]

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS_LIMIT: Final = 100
HEADERS_LIMIT_BYTES: Final = 32 << 10
BODY_LIMIT_BYTES: Final = 1 << 20
STRICT_TRANSPORT_SECONDS: Final = 31_536_000
_HEALTH_PREFIX: Final = "/health"
_PRIVATE: Final = b"private, no-store"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What is let in, and what browsers are told."""

    hosts: frozenset[str] = LOOPBACK_HOSTS
    """Names, without a port, by which the site may be called: a page of another name can't reach it by a name server
    that suddenly answers with our address. Empty: any."""
    content_origins: tuple[str, ...] = ()
    """Where pictures and films of the pages are, and uploads go to, besides here, as ``https://media.example.org``."""
    body_limits: tuple[tuple[str, int | None], ...] = ()
    """By the beginning of a path, the first that fits; None: the part has limits of its own."""
    body_limit_bytes: int = BODY_LIMIT_BYTES
    silence_seconds: float = 30.0
    """How long a body may pause."""
    least_per_second: float = 512.0
    """Bytes of a body that have to come a second, on the whole."""


class Guard:
    """Around a part of the site.

    Args:
        app: the part.
        rules: what is let in.
        clock: how long bodies take.
        door: who finds out who comes, for whoever asks the request's scope for it.
        rates: of requests, by address; None: without a limit.
    """

    def __init__(
        self, app: ASGIApp, rules: GuardRules, clock: Clock, *, door: Door | None = None, rates: Rates | None = None
    ) -> None:
        self._app = app
        self._rules = rules
        self._clock = clock
        self._door = door
        self._rates = rates
        self._plain = security_headers(rules.content_origins, secure=False)
        self._secure = security_headers(rules.content_origins, secure=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope, as ASGI calls it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._secure if is_secure(scope) else self._plain)
        body: Body | None = None
        try:
            length = self._check(scope)
            scope[DOOR] = self._door
            if length != 0:
                body = answer.body = self._body(scope, receive)
            await self._app(scope, body or receive, answer)
            if body is not None and body.refusal is not None:
                raise body.refusal
        except problems.Refusal as refusal:
            await self._refuse(problems.of_refusal(refusal), scope, receive, answer)
        except RateLimited as error:
            await self._refuse(problems.of_error(error), scope, receive, answer)
        except Exception:
            if body is None or body.refusal is None:
                raise
            await self._refuse(problems.of_refusal(body.refusal), scope, receive, answer)
        finally:
            if body is not None:
                body.close()

    async def _refuse(self, problem: problems.Problem, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Say why, unless the part has begun to say something; then the connection ends in the middle."""
        if answer.has_begun:
            raise ConnectionAbortedError(problem.detail)
        answer.body = None
        await problem.response(scope)(scope, receive, answer)

    def _check(self, scope: Scope) -> int | None:
        """The length of the body that is to come; None: it will be told as it comes. Raises a refusal."""
        method, path = scope["method"], scope["path"]
        if method not in METHODS:
            allow = {"Allow": ", ".join(METHODS)}
            raise problems.Refusal(problems.METHOD_NOT_ALLOWED, "No part of the site knows this method", headers=allow)
        told = _told(scope["headers"])
        if not path.startswith(_HEALTH_PREFIX):  # whoever looks after the machine calls it by its address
            self._check_host(told)
        if self._rates is not None:
            self._rates.take(source_of(scope))
        if told.encoding and told.encoding != b"identity":
            raise problems.Refusal(
                problems.UNSUPPORTED_TYPE,
                "Bodies are taken as they are, without a Content-Encoding",
                headers={"Accept-Encoding": "identity", "Connection": "close"},
            )
        limit_bytes = self._limit_bytes(path)
        length = _length(told)
        if length is not None and limit_bytes is not None and length > limit_bytes:
            raise too_large(limit_bytes)
        return length

    def _check_host(self, told: _Told) -> None:
        if len(told.hosts) != 1:
            raise problems.Refusal(problems.INVALID_REQUEST, "A request names one host")
        if self._rules.hosts and host_name(told.hosts[0].decode("latin-1")) not in self._rules.hosts:
            raise problems.Refusal(
                problems.INVALID_REQUEST,
                "The site has another name",
                hint="Whoever runs it can set server.public_url",
            )

    def _limit_bytes(self, path: str) -> int | None:
        for prefix, limit_bytes in self._rules.body_limits:
            if path.startswith(prefix):
                return limit_bytes
        return self._rules.body_limit_bytes

    def _body(self, scope: Scope, receive: Receive) -> Body:
        return Body(
            receive,
            self._clock,
            limit_bytes=self._limit_bytes(scope["path"]),
            silence_seconds=self._rules.silence_seconds,
            least_per_second=self._rules.least_per_second,
        )


class _Answer:
    """Sends an answer on, with the headers that it lacks; not one to a body that was refused while it was read."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.body: Body | None = None
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        """The next message of the answer, as ASGI calls it."""
        if not self.has_begun and self.body is not None and self.body.refusal is not None:
            return
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [header for header in self._headers if header[0] not in there]
            message = {**message, "headers": headers}
        await self._send(message)


@dataclass(slots=True)
class _Told:
    """What the guard wants to know of a request's headers."""

    hosts: list[bytes]
    lengths: list[bytes]
    encoding: bytes
    is_chunked: bool


def _told(headers: Iterable[tuple[bytes, bytes]]) -> _Told:
    """Read the headers once. Raises a refusal if they are too many, or too large."""
    told = _Told([], [], b"", is_chunked=False)
    count = size_bytes = 0
    for name, value in headers:
        count += 1
        size_bytes += len(name) + len(value)
        if name == b"host":
            told.hosts.append(value)
        elif name == b"content-length":
            told.lengths.append(value)
        elif name == b"content-encoding":
            told.encoding = value.strip().lower()
        elif name == b"transfer-encoding":
            told.is_chunked = True
    if count > HEADERS_LIMIT or size_bytes > HEADERS_LIMIT_BYTES:
        words = f"At most {HEADERS_LIMIT} headers of {HEADERS_LIMIT_BYTES} bytes are taken"
        raise problems.Refusal(problems.HEADERS_TOO_LARGE, words, headers={"Connection": "close"})
    return told


def _length(told: _Told) -> int | None:
    """How long the body will be; 0: there is none; None: it is chunked. Raises a refusal where that is not clear."""
    lengths = set(told.lengths)
    if len(told.lengths) > 1 or (lengths and told.is_chunked) or not all(each.isdigit() for each in lengths):
        raise problems.Refusal(
            problems.INVALID_REQUEST, "The length of the body is not clear", headers={"Connection": "close"}
        )
    if told.is_chunked:
        return None
    return int(told.lengths[0]) if told.lengths else 0


def host_name(host: str) -> str:
    """The name in a ``Host`` header, without the port, in lower case."""
    bare = host.strip().lower()
    if bare.startswith("["):
        return bare.partition("]")[0] + "]"
    return bare.partition(":")[0].removesuffix(".")


def known_hosts(listening_host: str, public_url: str) -> frozenset[str]:
    """By which names the site may be called."""
    told = {host_name(f"[{listening_host}]" if ":" in listening_host else listening_host)}
    if public_url:
        told.add(host_name(urlsplit(public_url).netloc))
    return LOOPBACK_HOSTS | told


def security_headers(content_origins: Iterable[str] = (), *, secure: bool) -> Headers:
    """What every answer says that does not say it itself.

    Args:
        content_origins: as in ``GuardRules``.
        secure: the browser speaks TLS.
    """
    elsewhere = "".join(f" {origin}" for origin in content_origins)
    policy = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        f"img-src 'self' data: blob:{elsewhere}",
        f"media-src 'self' blob:{elsewhere}",
        f"connect-src 'self'{elsewhere}",
        "worker-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    told = [
        ("content-security-policy", "; ".join(policy)),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        # Not `no-referrer`: browsers would then send forms of our own pages with `Origin: null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ]
    if secure:
        told.append(("strict-transport-security", f"max-age={STRICT_TRANSPORT_SECONDS}"))
    encoded = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in told)
    return (*encoded, (b"cache-control", _PRIVATE))
