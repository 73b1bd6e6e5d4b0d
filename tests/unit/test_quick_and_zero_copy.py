"""On the wire: answers that are given while a request is read, and files that are sent without being read."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.config import ServerSettings
from contentplatform.web.server import HttpServer, listening_socket
from contentplatform.web.zero_copy import EXTENSION, ZeroCopy

SIZE: Final = 6_000_000
QUICK: Final = b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW: Final = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Parts:
    """An application that tells what it was asked."""

    file: Path
    quick_calls: int = 0
    faults: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def quick(self, scope: Any) -> tuple[bytes, bytes] | None:
        """Answers one path, fails at another."""
        self.quick_calls += 1
        if scope["raw_path"] == b"/fails":
            raise RuntimeError
        if scope["raw_path"] != b"/quick":
            return None
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", b"quick"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends the file, as far as the server can, or a word."""
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if not scope["path"].startswith("/file"):
            body = b"slow" if scope["path"] == "/slow" else b"usual"
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        first, count = map(int, scope["query_string"].split(b"-"))
        headers = [(b"content-length", b"%d" % count)]
        with self.file.open("rb") as opened:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                assert EXTENSION in scope["extensions"]
                message = {"type": EXTENSION, "file": opened.fileno(), "offset": first, "count": count}
                await send(message)
            except OSError as error:
                self.faults.append(type(error).__name__)
            finally:
                self.ended.set()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """A file of random bytes."""
    file = tmp_path_factory.mktemp("zero") / "large"
    file.write_bytes(os.urandom(SIZE))
    return Parts(file)


@pytest.fixture(scope="module")
def port(parts: Parts) -> Iterator[int]:
    """The application behind the real server."""
    listener = listening_socket("127.0.0.1", 0)
    where: int = listener.getsockname()[1]
    ready = threading.Event()
    server = HttpServer(ZeroCopy(parts), ServerSettings(), threading.Event(), ready.set, quick=parts.quick)
    thread = threading.Thread(target=server.run, args=(listener,))
    thread.start()
    assert ready.wait(10)
    yield where
    server.stop()
    thread.join()


def talk(port: int, *pieces: bytes, until: int) -> bytes:
    """Send these bytes, and read until the answer has so many of ``HTTP/1.1``, or the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        got = b""
        while got.count(b"HTTP/1.1 ") < until or not got.endswith((b"quick", b"slow", b"usual")):
            data = connection.recv(65_536)
            if not data:
                break
            got += data
        return got


def test_a_quick_answer_comes_without_the_application(port: int) -> None:
    got = talk(port, QUICK, until=1)
    assert got.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n")
    assert got.endswith(b"\r\n\r\nquick")


def test_quick_and_slow_answers_keep_their_order_on_one_connection(port: int) -> None:
    words = [word for word in talk(port, QUICK + SLOW + QUICK + QUICK + SLOW + QUICK, until=6).split(b"\r\n") if word]
    bodies = [line.removesuffix(b"HTTP/1.1 200 OK") for line in words if line.startswith((b"quick", b"slow", b"usual"))]
    # Behind one that is under way, all go the usual way.
    assert bodies == [b"quick", b"slow", b"usual", b"usual", b"slow", b"usual"]


def test_a_request_may_come_byte_by_byte(port: int) -> None:
    assert talk(port, *(bytes([byte]) for byte in QUICK), until=1).endswith(b"quick")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"HEAD /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /quick HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET http://a/quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
def test_whatever_is_not_a_plain_get_of_an_open_connection_goes_the_usual_way(port: int, request_bytes: bytes) -> None:
    got = talk(port, request_bytes, until=2)
    assert b"quick" not in got
    assert b"content-length: 5" in got or got.startswith(b"HTTP/1.1 4")


def test_a_fault_of_a_quick_answer_is_answered_the_usual_way(port: int) -> None:
    assert talk(port, b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n", until=1).endswith(b"usual")


@pytest.mark.parametrize(("first", "count"), [(0, SIZE), (1, 1), (SIZE - 1, 1), (1_234_567, 1_000_000), (5, 0)])
def test_exactly_these_bytes_of_a_file_are_sent(port: int, parts: Parts, first: int, count: int) -> None:
    whole = parts.file.read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(2):  # the connection is good for another one
        connection.request("GET", f"/file?{first}-{count}")
        assert connection.getresponse().read() == whole[first : first + count]
    connection.close()


def test_many_viewers_get_the_file_at_the_same_time(port: int, parts: Parts) -> None:
    whole = parts.file.read_bytes()

    async def viewer() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /file?0-{SIZE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        got = await reader.read(-1)
        writer.close()
        return got.partition(b"\r\n\r\n")[2] == whole

    async def crowd() -> list[bool]:
        return await asyncio.gather(*(viewer() for _ in range(8)))

    assert asyncio.run(crowd()) == [True] * 8


def test_a_viewer_who_hangs_up_is_noticed_and_its_descriptor_closed(port: int, parts: Parts) -> None:
    parts.ended.clear()
    parts.faults.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET /file?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(1_000)
    assert parts.ended.wait(10)
    assert len(parts.faults) == 1


def test_a_file_that_ends_early_ends_the_connection_and_looks_like_no_whole(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", f"/file?0-{SIZE + 10}")
    answer = connection.getresponse()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()


def test_a_server_of_another_make_gets_no_extension() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    async def send(_message: Any) -> None:
        """Not uvicorn's."""

    async def receive() -> Any:
        """Nothing comes."""

    asyncio.run(ZeroCopy(app)({"type": "http"}, receive, send))
    assert seen == [{"type": "http"}]
