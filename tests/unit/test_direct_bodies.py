"""Large bodies are read from the connection itself: whole, cut off, too slow, asked for first; small ones are not."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from contentplatform.config import ServerSettings
from contentplatform.ingest.upload_sessions import UploadRules
from contentplatform.web.direct_bodies import EXTENSION, LEAST_BYTES, DirectBodies
from contentplatform.web.server import HttpServer, listening_socket
from contentplatform.web.uploads import BY_KEY_PREFIX, PATCH_TYPE
from upload_client import UploadSite

DATA = random.Random(3).randbytes(LEAST_BYTES + 1_234_567)
IDLE_SECONDS = 1.0


class Server:
    """The site on a port, and whether the last body came directly."""

    def __init__(self, site: UploadSite) -> None:
        self.site = site
        self.was_direct = False
        self._listener = listening_socket("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._server = HttpServer(DirectBodies(self._answer), ServerSettings(), threading.Event(), lambda: None)
        self._thread = threading.Thread(target=self._server.run, args=(self._listener,))
        self._thread.start()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        direct = scope.get("extensions", {}).get(EXTENSION)

        async def send_noted(message: Message) -> None:
            self.was_direct = direct is not None and not direct.is_usable
            await send(message)

        await self.site.app(scope, receive, send_noted)
        self.was_direct = direct is not None and not direct.is_usable

    def stop(self) -> None:
        self._server.stop()
        self._thread.join()

    def connected(self, method: str, path: str, headers: dict[str, str]) -> socket.socket:
        """A connection on which a request's headers are sent."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    rules = UploadRules(max_bytes=50_000_000, max_open=100)
    site = UploadSite(tmp_path_factory.mktemp("site"), idle_seconds=IDLE_SECONDS, rules=rules)
    site.store.staging.cached_bytes = LEAST_BYTES // 2  # the rest goes from the connection past the kernel's cache
    server = Server(site)
    yield server
    server.stop()
    site.close()


def answer(connection: socket.socket) -> bytes:
    """All that is answered until the server closes the connection."""
    answered = bytearray()
    while piece := connection.recv(65_536):
        answered += piece
    return bytes(answered)


def test_a_large_body_comes_whole_and_the_connection_ends(server: Server) -> None:
    headers = {"Content-Length": str(len(DATA))}
    with server.connected("PUT", f"{BY_KEY_PREFIX}whole.bin", headers) as connection:
        connection.sendall(DATA)
        told = answer(connection)
    assert told.startswith(b"HTTP/1.1 201")
    assert b"connection: close" in told
    assert server.was_direct
    assert server.site.read("whole.bin") == DATA


def test_who_asks_whether_to_send_is_told_to_go_on(server: Server) -> None:
    headers = {"Content-Length": str(len(DATA)), "Expect": "100-continue"}
    with server.connected("PUT", f"{BY_KEY_PREFIX}asked.bin", headers) as connection:
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100")
        connection.sendall(DATA)
        assert answer(connection).startswith(b"HTTP/1.1 201")
    assert server.site.read("asked.bin") == DATA


def test_a_small_body_and_one_without_a_length_come_as_ever(server: Server) -> None:
    headers = {"Content-Length": "5", "Connection": "close"}
    with server.connected("PUT", f"{BY_KEY_PREFIX}small.bin", headers) as connection:
        connection.sendall(b"hello")
        assert answer(connection).startswith(b"HTTP/1.1 201")
    assert not server.was_direct
    headers = {"Transfer-Encoding": "chunked", "Connection": "close"}
    with server.connected("PUT", f"{BY_KEY_PREFIX}chunked.bin", headers) as connection:
        connection.sendall(b"%x\r\n" % len(DATA) + DATA + b"\r\n0\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 201")
    assert not server.was_direct
    assert server.site.read("chunked.bin") == DATA


@pytest.mark.parametrize("is_silent", [False, True])
def test_of_a_piece_that_ends_early_is_kept_what_came(server: Server, *, is_silent: bool) -> None:
    address = server.site.begin(len(DATA), f"cut-{is_silent}.bin")
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": PATCH_TYPE, "Upload-Offset": "0"}
    half = LEAST_BYTES // 2 + 17
    with server.connected("PATCH", address, {**headers, "Content-Length": str(len(DATA))}) as connection:
        connection.sendall(DATA[:half])
        if is_silent:
            assert answer(connection).startswith(b"HTTP/1.1 408")
        else:
            connection.shutdown(socket.SHUT_WR)
            assert answer(connection) == b""
    assert server.was_direct
    assert server.site.offset(address) == half
    assert server.site.patch(address, half, DATA[half:]).status_code == 204
    assert server.site.read(f"cut-{is_silent}.bin") == DATA


def test_a_body_that_nobody_wants_is_not_read(server: Server) -> None:
    with server.connected("PUT", f"{BY_KEY_PREFIX}x", {"Content-Length": "60000000"}) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 413")
    assert not server.was_direct
