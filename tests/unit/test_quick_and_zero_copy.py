"""On the wire: answers that are given while a request is read, and files that are sent without being read."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from uvicorn.server import ServerState

from contentplatform.config import ServerSettings
from contentplatform.delivery.access_log import Addresses, Lines
from contentplatform.delivery.asking import Asked, AtOnce, FilePart
from contentplatform.delivery.origin import OpenFile
from contentplatform.web import zero_copy
from contentplatform.web.quick import KNOWN_LIMIT, Quick, QuickProtocol
from contentplatform.web.server import HttpServer, listening_socket
from contentplatform.web.wire import guarded
from contentplatform.web.zero_copy import EXTENSION, Transfer, ZeroCopy

SIZE: Final = 6_000_000
QUICK: Final = b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW: Final = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Parts:
    """An application that tells what it was asked."""

    file: Path
    asked_calls: int = 0
    faults: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    sent: list[bool] = field(default_factory=list)
    parts_over: threading.Event = field(default_factory=threading.Event)
    lines: Lines = field(default_factory=lambda: Lines(Addresses.NONE))

    def asked(self, scope: Any) -> Asked | None:
        """Reads the headers; fails at a path, and leaves some requests to the application."""
        self.asked_calls += 1
        assert not {b"range", b"if-none-match"} & dict(scope["headers"]).keys()
        if scope["raw_path"] == b"/misread":
            raise RuntimeError
        if b"expect" in dict(scope["headers"]):
            return None
        return Asked(b"accept-encoding" in dict(scope["headers"]), is_secure=False, asker=self.lines.asker(scope))

    def answer(
        self, asked: Asked, path: bytes, query: bytes, none_match: bytes, wanted_range: bytes, port: int
    ) -> AtOnce | None:
        """Answers two paths, fails at another, and says what it was told."""
        if path == b"/fails":
            raise RuntimeError
        if path == b"/large":
            first, count = map(int, query.split(b"-"))
            part = FilePart(OpenFile(self.file), first, count, self._note)
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % count, part
        if path != b"/quick":
            return None
        told = (asked.takes_gzip, asked.asker.sent_by.encode(), query, none_match, wanted_range, port > 0)
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-told: %d|%s|%s|%s|%s|%d\r\n" % told, b"quick"

    def _note(self, fault: OSError | None) -> None:
        self.sent.append(fault is None)
        self.parts_over.set()

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
    quick = Quick(parts.asked, parts.answer)
    server = HttpServer(ZeroCopy(parts), ServerSettings(), threading.Event(), ready.set, quick=quick)
    thread = threading.Thread(target=server.run, args=(listener,))
    thread.start()
    assert ready.wait(300)
    yield where
    server.stop()
    thread.join()


def talk(port: int, *pieces: bytes, until: int) -> bytes:
    """Send these bytes, and read until the answer has so many of ``HTTP/1.1``, or the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
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


@pytest.mark.parametrize("path", [b"/fails", b"/misread"])
def test_a_fault_of_a_quick_answer_is_answered_the_usual_way(port: int, path: bytes) -> None:
    assert talk(port, b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path, until=1).endswith(b"usual")


# -- headers that are known ---------------------------------------------------------------------------------------


def turns(port: int, *requests: bytes, source: str = "127.0.0.1") -> list[str]:
    """What was told to each request, one after the other on one connection; ``-`` where the usual way answered."""
    told = []
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        for request in requests:
            connection.sendall(request)
            got = b""
            while not got.endswith((b"quick", b"slow", b"usual")):
                data = connection.recv(65_536)
                assert data, got
                got += data
            found = re.search(rb"x-told: ([^\r]*)", got)
            told.append(found[1].decode() if found else "-")
    return told


def asking(*headers: str, path: str = "/quick?1") -> bytes:
    """A request with these headers."""
    return "".join([f"GET {path} HTTP/1.1\r\n", *(f"{header}\r\n" for header in headers), "\r\n"]).encode()


def test_headers_that_come_again_are_read_once(port: int, parts: Parts) -> None:
    calls = parts.asked_calls
    same = ("Host: once", "User-Agent: viewer", "Accept-Encoding: gzip")
    requests = [
        asking(*same),
        asking(*same, path="/quick?2"),
        asking(*same, 'If-None-Match: "a"'),
        asking('If-None-Match: "b"', *same, path="/quick?3"),
        asking("Host: once", "Range: bytes=0-1", *same[1:]),
        asking("Host: once", 'if-none-match: "c"', *same[1:], "range: bytes=2-3"),
    ]
    assert turns(port, *requests) == [
        "1|-\tviewer|1|||1",
        "1|-\tviewer|2|||1",
        '1|-\tviewer|1|"a"||1',
        '1|-\tviewer|3|"b"||1',
        "1|-\tviewer|1||bytes=0-1|1",
        '1|-\tviewer|1|"c"|bytes=2-3|1',
    ]
    assert parts.asked_calls == calls + 1
    # Of another connection, too; but not of another client, for whom a proxy may be trusted with something else.
    turns(port, asking(*same))
    assert parts.asked_calls == calls + 1
    turns(port, asking(*same), source="127.0.0.2")
    assert parts.asked_calls == calls + 2


def test_headers_first_seen_with_what_differs_are_known_without_it(port: int, parts: Parts) -> None:
    calls = parts.asked_calls
    requests = [asking("Host: with", "Range: bytes=5-6", "User-Agent: b"), asking("Host: with", "User-Agent: b")]
    assert turns(port, *requests) == ["0|-\tb|1||bytes=5-6|1", "0|-\tb|1|||1"]
    assert parts.asked_calls == calls + 1


def test_other_headers_are_read_anew(port: int, parts: Parts) -> None:
    calls = parts.asked_calls
    requests = [
        asking("Host: anew", "User-Agent: one"),
        asking("Host: anew", "User-Agent: two"),
        asking("Host: anew", "User-Agent:  one"),
        asking("Host: anew", "User-Agent: one", "User-Agent: three"),
        asking("User-Agent: one", "Host: anew"),
    ]
    told = turns(port, *requests)
    assert [words.split("|")[1] for words in told] == ["-\tone", "-\ttwo", "-\tone", "-\tthree", "-\tone"]
    assert parts.asked_calls == calls + 5


@pytest.mark.parametrize(
    "headers",
    [
        ("Range: bytes=0-1", "Range: bytes=2-3"),
        ('If-None-Match: "a"', 'if-none-match: "b"'),
        ("Range:",),
        ("Expect: 100-continue",),
        ("Connection: close",),
        ("Upgrade: h2c", "Connection: upgrade"),
    ],
)
def test_known_headers_with_more_than_that_go_the_usual_way(port: int, headers: tuple[str, ...]) -> None:
    known = asking("Host: more")
    assert turns(port, known, known, asking("Host: more", *headers))[2] == "-"
    assert turns(port, asking("Host: more", *headers)) == ["-"]


def test_a_header_written_in_another_way_is_still_read(port: int) -> None:
    known = asking("Host: otherwise")
    requests = (known, asking("Host: otherwise", 'IF-NONE-MATCH:"a"'), asking("Host: otherwise", "Range:bytes=0-1"))
    for _ in range(2):
        assert turns(port, *requests) == ["0|-\t-|1|||1", '0|-\t-|1|"a"||1', "0|-\t-|1||bytes=0-1|1"]


def test_a_known_request_that_comes_in_pieces_or_with_others_is_answered_in_order(port: int) -> None:
    one, two = asking("Host: pieces"), asking("Host: pieces", path="/quick?2")
    assert turns(port, one, two) == ["0|-\t-|1|||1", "0|-\t-|2|||1"]
    got = talk(port, one + two[:9], two[9:] + one, until=3)
    assert re.findall(rb"x-told: [^|]*\|[^|]*\|(.)", got) == [b"1", b"2", b"1"]


def test_known_headers_of_a_path_that_is_not_kept_go_the_usual_way(port: int) -> None:
    assert turns(port, asking("Host: b"), asking("Host: b", path="/usual"), asking("Host: b"))[1] == "-"


# -- one connection by itself -------------------------------------------------------------------------------------


@dataclass
class Timer:
    """What is to be called at a time."""

    at_seconds: float
    callback: Any
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Not any more."""
        self.is_cancelled = True


class Loop:
    """A clock, and what was asked to be called later."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """Now."""
        return self.seconds

    def call_later(self, delay: float, callback: Any) -> Timer:
        """Remember it."""
        self.timers.append(Timer(self.seconds + delay, callback))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        """Let time go by, and call what is due."""
        self.seconds += seconds
        due = [timer for timer in self.timers if timer.at_seconds <= self.seconds]
        self.timers = [timer for timer in self.timers if timer.at_seconds > self.seconds]
        for timer in due:
            if not timer.is_cancelled:
                timer.callback()


class Transport:
    """A connection that takes everything."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        """Take it."""
        self.written += data

    def close(self) -> None:
        """The server has enough."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Whether it has."""
        return self.is_closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Who talks to whom."""
        return {"peername": ("192.0.2.1", 5), "sockname": ("192.0.2.2", 80)}.get(name, default)


def connected(parts: Parts, keep_alive: int = 10) -> tuple[QuickProtocol, Transport, Loop]:
    """One connection without a socket, on a clock of its own."""
    quick = Quick(parts.asked, parts.answer)
    made = uvicorn.Config(
        parts, http=guarded(15.0, quick), lifespan="off", log_config=None, timeout_keep_alive=keep_alive
    )
    made.load()
    kind: Any = made.http_protocol_class
    loop, transport = Loop(), Transport()
    protocol = kind(config=made, server_state=ServerState(), app_state={}, _loop=loop)
    protocol.connection_made(transport)
    return protocol, transport, loop


def test_a_connection_is_kept_open_from_its_last_known_request_on(parts: Parts) -> None:
    protocol, transport, loop = connected(parts)
    for _ in range(4):
        protocol.data_received(QUICK)
        loop.pass_by(6)
    assert transport.written.count(b"quick") == 4
    assert not transport.is_closing()
    loop.pass_by(6)
    assert transport.is_closing()


def test_a_known_request_is_in_time_and_the_next_one_has_to_be(parts: Parts) -> None:
    connected(parts)[0].data_received(QUICK)
    protocol, transport, loop = connected(parts, keep_alive=100)
    protocol.data_received(QUICK)
    loop.pass_by(20)
    assert not transport.is_closing()
    protocol.data_received(QUICK[:9])
    loop.pass_by(20)
    assert transport.is_closing()
    assert b"408 Request Timeout" in transport.written


def test_no_more_headers_are_known_than_there_is_room_for(parts: Parts) -> None:
    protocol, transport, _ = connected(parts)
    most = 0
    for number in range(KNOWN_LIMIT + 10):
        protocol.data_received(asking(f"Host: {number}"))
        most = max(most, len(protocol.known))
    assert most == KNOWN_LIMIT
    assert len(protocol.known) == 10
    protocol.data_received(asking("Host: long", f"X: {'x' * 3_000}"))
    assert len(protocol.known) == 10
    assert transport.written.count(b"quick") == KNOWN_LIMIT + 11


# -- files --------------------------------------------------------------------------------------------------------


def test_a_file_sent_at_once_is_exact_and_noted_once(port: int, parts: Parts) -> None:
    whole = parts.file.read_bytes()
    parts.sent.clear()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for first, count in [(0, SIZE), (1, 1), (SIZE - 1, 1), (1_234_567, 1_000_000), (0, SIZE)]:
        connection.request("GET", f"/large?{first}-{count}")
        assert connection.getresponse().read() == whole[first : first + count]
    connection.request("GET", "/quick")
    assert connection.getresponse().read() == b"quick"
    connection.close()
    assert parts.sent == [True] * 5


def test_what_is_asked_behind_a_file_waits_for_its_end(port: int, parts: Parts) -> None:
    whole = parts.file.read_bytes()
    large = f"GET /large?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for requests, behind in (
        (large + QUICK + large + SLOW, [b"usual", b"usual", b"slow"]),
        (large + SLOW + large + QUICK, [b"slow", b"usual", b"usual"]),
    ):
        got = talk_to_end(port, requests + b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert got.count(whole) == 1  # the second one is answered by the application, which has no such file
        begin = got.index(whole)
        assert got[:begin].count(b"HTTP/1.1 ") == 1
        answers = [part[-5:] for part in got[begin + len(whole) :].split(b"HTTP/1.1 ")[1:]]
        assert answers[-1] == b"usual"
        assert [part.strip() for part in answers[:-1]] == behind


def talk_to_end(port: int, request: bytes) -> bytes:
    """Send this, and read until the server closes the connection."""
    got = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        while data := connection.recv(1 << 20):
            got.append(data)
    return b"".join(got)


def test_many_viewers_get_a_file_at_once(port: int, parts: Parts) -> None:
    whole = parts.file.read_bytes()

    async def viewer() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET /large?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        bodies = []
        for _ in range(3):
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            bodies.append(await reader.readexactly(SIZE))
        writer.close()
        return bodies == [whole] * 3

    async def crowd() -> list[bool]:
        return await asyncio.gather(*(viewer() for _ in range(8)))

    assert asyncio.run(crowd()) == [True] * 8


def test_a_viewer_who_says_no_more_still_gets_its_file(port: int, parts: Parts) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"GET /large?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while data := connection.recv(1 << 20):
            got += data
    assert got.endswith(parts.file.read_bytes())


def test_a_viewer_of_a_file_who_hangs_up_is_noted_once(port: int, parts: Parts) -> None:
    parts.parts_over.clear()
    parts.sent.clear()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    with connection:
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET /large?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(1_000)
    assert parts.parts_over.wait(10)
    assert talk(port, QUICK, until=1).endswith(b"quick")
    assert parts.sent == [False]


def test_a_file_sent_at_once_that_ends_early_looks_like_no_whole(port: int, parts: Parts) -> None:
    parts.parts_over.clear()
    parts.sent.clear()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", f"/large?0-{SIZE + 10}")
    answer = connection.getresponse()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()
    assert parts.parts_over.wait(10)
    assert parts.sent == [False]


class WritableLoop(Loop):
    """A loop whose test says when there is room."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: dict[int, Any] = {}

    def add_writer(self, descriptor: int, callback: Any) -> None:
        """Wait for room."""
        self.writers[descriptor] = callback

    def remove_writer(self, descriptor: int) -> None:
        """Wait no more."""
        self.writers.pop(descriptor, None)


def test_a_viewer_that_takes_nothing_for_a_minute_is_hung_up_on(parts: Parts) -> None:
    loop: Any = WritableLoop()
    ours, theirs = socket.socketpair()
    over: list[OSError | None] = []
    with ours, theirs, parts.file.open("rb") as opened:
        ours.settimeout(0)
        transfer = Transfer(loop, ours.fileno(), opened.fileno(), 0, SIZE, over.append, head=b"head")
        transfer.start()
        assert theirs.recv(4) == b"head"
        for _ in range(3):
            assert theirs.recv(1 << 20)
            loop.writers[ours.fileno()]()
            loop.pass_by(zero_copy.STALLED_SECONDS)
            assert over == []
        loop.pass_by(zero_copy.STALLED_SECONDS)
        assert [type(fault) for fault in over] == [ConnectionResetError]
        assert loop.writers == {}
        transfer.close()
        assert len(over) == 1


@pytest.mark.parametrize(("first", "count"), [(0, SIZE), (1, 1), (SIZE - 1, 1), (1_234_567, 1_000_000), (5, 0)])
def test_exactly_these_bytes_of_a_file_are_sent(port: int, parts: Parts, first: int, count: int) -> None:
    whole = parts.file.read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
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
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.sendall(f"GET /file?0-{SIZE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(1_000)
    assert parts.ended.wait(300)
    assert len(parts.faults) == 1


def test_a_file_that_ends_early_ends_the_connection_and_looks_like_no_whole(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
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
