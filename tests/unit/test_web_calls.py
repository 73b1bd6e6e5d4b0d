"""Calls to addresses that users gave: none leads inside, whatever it is written like, resolved to or redirected to."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

import pytest

from contentplatform.drivers.webcalls import CallRules, WebCalls, is_public, ports_of, resolve
from contentplatform.errors import InvalidRequest, Unavailable

PUBLIC: Final = "93.184.215.14"
ANY_PORT: Final = frozenset[int]()


@dataclass
class Canary:
    """A server on this machine: what reached it, and how it answers."""

    port: int = 0
    heard: list[tuple[str, str, bytes]] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def server() -> Iterator[Canary]:
    canary = Canary()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            canary.heard.append((self.path, self.headers["host"], body))
            self.send_response(canary.status)
            for name, value in canary.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    canary.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield canary
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def canary(server: Canary) -> Canary:
    server.heard.clear()
    server.status, server.headers = 204, {}
    return server


@dataclass
class Resolver:
    """Answers with the next addresses each time it is asked, the last ones for ever."""

    answers: list[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> Sequence[str]:
        assert port
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def calls(*answers: Sequence[str], **rules: Any) -> WebCalls:
    """Calls by these rules, on any port, with a resolver that answers so."""
    return WebCalls(CallRules(**{"ports": ANY_PORT, **rules}), resolve=Resolver(list(answers)) if answers else resolve)


# -- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_an_address_inside_is_not_of_the_open_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808"])
def test_an_address_of_the_open_internet_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


# -- what is told before anybody is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "unix:///run/x.sock",
        "http://",
        "http:///x",
        "http://user@example.org/",
        "http://user:pass@example.org/",
        "http://example.org@127.0.0.1/",
        "http://example.org/#fragment",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org\\@127.0.0.1/",
        "http://exämple.org/",
        "http://[::1/",
        "http://-x.org/",
        "http://a..b/",
        "http://example.org/" + "x" * 2_000,
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        calls([PUBLIC]).check(url)
    with pytest.raises(InvalidRequest):
        calls([PUBLIC]).post(url, {}, b"")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "0",
        "127.0.0.1.",
        "0x7f.1",
    ],
)
def test_no_way_to_write_an_address_inside_gets_by(host: str, canary: Canary) -> None:
    url = f"http://{host}:{canary.port}/"
    for act in (lambda: calls().check(url), lambda: calls().post(url, {}, b"x")):
        with pytest.raises(InvalidRequest):
            act()
    assert canary.heard == []


def test_only_the_ports_of_the_settings_are_called() -> None:
    strict = WebCalls(CallRules(), resolve=Resolver([[PUBLIC]]))
    strict.check("https://example.org/x?y=z")
    strict.check("http://example.org:443/")
    for port in (22, 25, 3306, 6379, 8080):
        with pytest.raises(InvalidRequest, match="Allowed are 80, 443"):
            strict.check(f"http://example.org:{port}/")


@pytest.mark.parametrize(("text", "ports"), [("80,443", {80, 443}), (" 8080 ", {8080}), ("", set()), (",", set())])
def test_ports_are_numbers_with_commas_between(text: str, ports: set[int]) -> None:
    assert ports_of(text) == ports


@pytest.mark.parametrize("text", ["x", "80;443", "0", "65536", "-1", "8\u0660"])
def test_anything_else_is_no_list_of_ports(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ports_of(text)


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["::1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["fe80::1%lo"], ["::ffff:7f00:1"]]
)
def test_a_name_that_leads_inside_by_any_of_its_addresses_is_not_called(answer: list[str], canary: Canary) -> None:
    with pytest.raises(InvalidRequest, match="inside this network"):
        calls(answer).post(f"http://inside.example:{canary.port}/", {}, b"x")
    assert canary.heard == []


def test_the_name_localhost_is_no_way_in_either(canary: Canary) -> None:
    with pytest.raises(InvalidRequest, match="inside this network"):
        calls().post(f"http://localhost:{canary.port}/", {}, b"x")
    assert canary.heard == []


def test_a_name_is_asked_for_once_and_its_address_is_the_one_that_is_called(canary: Canary) -> None:
    """Rebinding: the second answer, which would lead elsewhere, is never asked for."""
    resolver = Resolver([["127.0.0.1"], ["192.0.2.1"]])
    rules = CallRules(ports=ANY_PORT, allow_private=True)
    assert WebCalls(rules, resolve=resolver).post(f"http://hooks.example:{canary.port}/a?b=c", {}, b"body") == 204
    assert resolver.asked == ["hooks.example"]
    assert canary.heard == [("/a?b=c", f"hooks.example:{canary.port}", b"body")]


def test_a_name_without_an_address_is_a_passing_fault() -> None:
    def nowhere(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror("no such name")

    with pytest.raises(Unavailable, match="no address"):
        WebCalls(CallRules(), resolve=nowhere).post("http://none.example/", {}, b"")
    with pytest.raises(Unavailable, match="no address"):
        calls([]).post("http://none.example/", {}, b"")


# -- answers --------------------------------------------------------------------------------------------------------


def test_a_redirect_is_an_answer_and_is_not_followed(canary: Canary) -> None:
    canary.status, canary.headers = 302, {"Location": f"http://127.0.0.1:{canary.port}/elsewhere"}
    inside = calls(["127.0.0.1"], allow_private=True)
    assert inside.post(f"http://hooks.example:{canary.port}/", {}, b"x") == 302
    assert len(canary.heard) == 1


def test_nobody_there_is_a_passing_fault() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match="ConnectionRefused"):
            calls(allow_private=True).post(f"http://127.0.0.1:{port}/", {}, b"x")


@pytest.mark.parametrize("word", [b"", b"HTTP/1.1 200 OK\r\n", b"garbage\r\n\r\n"])
def test_an_answer_that_never_comes_or_never_ends_is_given_up_in_time(word: bytes) -> None:
    """The receiver sends a little now and then, so that no single read takes too long: only the whole has a limit."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.sendall(word)
            while not over.wait(0.05):
                try:
                    connection.sendall(b"X: y\r\n" if word.startswith(b"HTTP") else b"")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,), daemon=True)
        thread.start()
        with pytest.raises(Unavailable):
            calls(allow_private=True, timeout_seconds=0.3).post(
                f"http://127.0.0.1:{listening.getsockname()[1]}/", {}, b"x"
            )
        over.set()
        thread.join()


def test_tls_is_spoken_to_the_name_and_a_stranger_s_certificate_is_refused(canary: Canary) -> None:
    with pytest.raises(Unavailable, match="SSL"):
        calls(["127.0.0.1"], allow_private=True).post(f"https://hooks.example:{canary.port}/", {}, b"x")
    assert canary.heard == []


def test_an_error_tells_no_query_of_a_url() -> None:
    with pytest.raises(InvalidRequest) as caught:
        calls(["10.0.0.1"]).post("http://inside.example/?token=secret", {}, b"")
    assert "secret" not in caught.value.public
