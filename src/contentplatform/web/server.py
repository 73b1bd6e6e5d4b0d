"""Serves an application over HTTP until it is asked to stop: the one place that runs uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from contentplatform.config import ServerSettings
from contentplatform.errors import ConfigurationInvalid
from contentplatform.web.quick import Quick
from contentplatform.web.wire import guarded

_BACKLOG: Final = 2_048


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; clients that come before anybody answers wait in its queue.

    Raises:
        ConfigurationInvalid: the port is taken, or the address is not one of this machine.
    """
    doing = f"listening on {host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationInvalid(doing, f"there is no such address ({error.strerror})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why, hint = "another program uses that port", "Choose another with --port, or 0 for any that is free"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            why, hint = "this user may not use that port", "Choose one above 1023, and put a proxy in front"
        else:
            why, hint = error.strerror or str(error), "Choose an address of this machine with --host"
        raise ConfigurationInvalid(doing, why, hint=hint) from error
    listener.settimeout(0)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket, for clients on this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - read, not bound
    return f"http://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpServer:
    """One application on one listening socket.

    Args:
        app: an ASGI application with a lifespan.
        settings: limits and times.
        stopping: set as soon as the server is asked to stop, so that answers without an end come to one.
        on_ready: called once it answers.
        quick: answers at once what needs no waiting.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        stopping: threading.Event,
        on_ready: Callable[[], None],
        *,
        quick: Quick | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=guarded(settings.header_timeout_seconds, quick),
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds)),
        )
        self._server = _Server(config, stopping, on_ready)

    def run(self, listener: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM, then finish what is being answered; the socket is closed."""
        self._server.run(sockets=[listener])

    def stop(self) -> None:
        """Ask it to stop, from any thread."""
        self._server.end()


class _Server(uvicorn.Server):
    """uvicorn, which tells when it answers, and which does not raise the signal that stopped it again."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            await asyncio.get_running_loop().run_in_executor(None, self._on_ready)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.end()

    def end(self) -> None:
        self._stopping.set()
        self.should_exit = True
