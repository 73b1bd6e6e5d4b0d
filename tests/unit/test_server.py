"""The server itself: its connections' limits, its claim on a data folder, and the children that it keeps."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contentplatform.clock import SystemClock
from contentplatform.config import ServerSettings
from contentplatform.drivers.companion import Companion
from contentplatform.errors import ConfigurationInvalid
from contentplatform.web.claim import Claim, Part, serving
from contentplatform.web.server import HttpServer, address_of, is_loopback, listening_socket
from contentplatform.web.wire import HEADERS_LIMIT_BYTES

ONE: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the size of the body that it got."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(settings: ServerSettings) -> Iterator[tuple[str, int]]:
    """The echo on a free port."""
    listener = listening_socket("127.0.0.1", 0)
    address = listener.getsockname()[:2]
    ready, stopping = threading.Event(), threading.Event()
    server = HttpServer(echo, settings, stopping, ready.set)  # type: ignore[arg-type]  # an ASGI application
    thread = threading.Thread(target=server.run, args=(listener,))
    thread.start()
    assert ready.wait(300)
    try:
        yield address
    finally:
        server.stop()
        thread.join()
        assert stopping.is_set()


def asked(address: tuple[str, int], *pieces: bytes) -> bytes:
    """Everything that comes back until the other side closes, or nothing comes for long."""
    with socket.create_connection(address, timeout=300) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while piece := connection.recv(65_536):
            found += piece
        return found


@pytest.fixture(scope="module")
def impatient() -> Iterator[tuple[str, int]]:
    with served(ServerSettings(header_timeout_seconds=1, keep_alive_seconds=1, shutdown_seconds=2)) as address:
        yield address


@pytest.fixture(scope="module")
def patient() -> Iterator[tuple[str, int]]:
    """For headers that come whole, however slowly on a busy machine."""
    with served(ServerSettings(keep_alive_seconds=1, shutdown_seconds=2)) as address:
        yield address


def test_headers_that_never_end_are_refused_in_time(impatient: tuple[str, int]) -> None:
    assert asked(impatient).startswith(b"HTTP/1.1 408 ")
    assert asked(impatient, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(impatient, timeout=300) as connection:
        connection.sendall(ONE)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 408 "), "not at its beginning only"


def test_a_body_may_take_longer_than_headers(impatient: tuple[str, int]) -> None:
    with socket.create_connection(impatient, timeout=300) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1")
        connection.settimeout(1.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(300)
        connection.sendall(b"2")
        assert b"HTTP/1.1 200 " in connection.recv(65_536)


def test_headers_without_end_are_refused_and_a_large_body_behind_small_ones_is_not(patient: tuple[str, int]) -> None:
    endless = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (HEADERS_LIMIT_BYTES + 1)
    assert asked(patient, endless).startswith(b"HTTP/1.1 431 ")
    size = 3 * HEADERS_LIMIT_BYTES
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert asked(patient, head + b"x" * size).endswith(b"\r\n\r\n%d" % size)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ONE,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00",
    ],
    ids=["both lengths", "two lengths", "signed", "xchunked", "space", "bare LF", "folded", "NUL", "TLS"],
)
def test_what_two_parsers_could_read_differently_is_refused_and_the_connection_closed(
    patient: tuple[str, int], request_bytes: bytes
) -> None:
    """H45."""
    answer = asked(patient, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_port_that_is_taken_is_said_in_words() -> None:
    with listening_socket("127.0.0.1", 0) as there:
        port = there.getsockname()[1]
        with pytest.raises(ConfigurationInvalid, match="another program uses that port"):
            listening_socket("127.0.0.1", port)
        assert address_of(there) == f"http://127.0.0.1:{port}"
    with pytest.raises(ConfigurationInvalid, match="no such address"):
        listening_socket("no.such.host.invalid", 0)


def test_loopback_is_told_from_the_rest() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "192.168.1.7", "::", "localhost.example")] == [False] * 4


# -- the claim -------------------------------------------------------------------------------------------------------


def test_one_process_serves_a_part_and_others_find_it(tmp_path: Path) -> None:
    assert serving(tmp_path) is None
    with Claim(tmp_path, Part.APP) as claim, Claim(tmp_path, Part.EDGE):
        claim.tell("http://127.0.0.1:8080")
        found = serving(tmp_path)
        assert found is not None
        assert found.url == "http://127.0.0.1:8080"
        with pytest.raises(ConfigurationInvalid, match=r"serves its app already .*8080"), Claim(tmp_path, Part.APP):
            pass
        assert serving(tmp_path) is not None, "whoever was refused takes nothing away"
    assert serving(tmp_path) is None


def test_a_new_data_folder_is_closed_to_the_rest_of_the_machine(tmp_path: Path) -> None:
    data = tmp_path / "not there yet" / "data"
    with Claim(data, Part.APP):
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (data, data / "run")] == [0o750, 0o750]


# -- children --------------------------------------------------------------------------------------------------------


def test_a_child_that_dies_is_started_again_and_ends_with_its_parent(tmp_path: Path) -> None:
    script = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); sys.stdin.read()"
    told = tmp_path / "told"
    ended = threading.Event()
    child = Companion((sys.executable, "-c", script, str(told)), SystemClock(), on_end=lambda _code: ended.set())
    child.start()
    first = child.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert ended.wait(300)
    pause = threading.Event()
    assert any(child.process_id not in {None, first} or pause.wait(0.05) for _ in range(200)), "it is started again"
    assert child.stop(10), "its input ended, and so did it"
    assert child.process_id is None


def test_a_child_that_does_not_end_is_killed() -> None:
    child = Companion((sys.executable, "-c", "import threading; threading.Event().wait()"), SystemClock())
    child.start()
    assert not child.stop(0.2)
    assert child.process_id is None


def test_a_child_that_can_t_be_started_is_said_in_words() -> None:
    with pytest.raises(ConfigurationInvalid, match="can't be run"):
        Companion(("/no/such/program",), SystemClock()).start()
