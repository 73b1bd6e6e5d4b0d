"""Rows H36 to H42 and H58 at the API: hostile keys and filters are told by a 400, or come back as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import pytest

from contentplatform.media import file_id
from contentplatform.web.feed import STREAMS_EACH
from fakes.site import ApiSite, open_site

EXACT: Final = (
    "a+b c%20d?x#y&z.txt",  # H40
    "../../etc/passwd",  # H35
    "..\\..\\x",
    "%2e%2e%2f",
    "%252e",
    "/etc/x",
    "C:\\x",
    "\\\\?\\x",
    "a//b",  # H38
    "e\u0301.txt",
    "\u00e9.txt",
    "A.txt",
    "a.txt",
    "dot.",
    "space ",
    "CON",
    ".",
    "..",
    "photo\u202egpj.exe",  # H39
    "zero\u200bwidth",
    "-rf",  # H41
    "`id`",
    "$(id)",
    "a;b",
    "'quote\"",
    "@file",
    "concat:x",
    "http:x",
    "x.jpg\"; filename*=UTF-8''evil.html",  # H42
    "v1.2/photo",  # H43
    "processed/thumbnails/x.jpg",  # H44
    "_admin",
    "\U0001f600" * 200,  # H37: 800 bytes
    "k" * 900,
)
CONTROLS: Final = ("nul\0", "line\nbreak", "cr\r", "tab\t", "esc\x1b", "del\x7f", "c1\x9b")
WORDS: Final = (
    "' OR 1=1 --",
    "%%%",
    '"; DROP TABLE records; --',
    "*",
    "NEAR(a b)",
    "a" * 1_000,
    "(" * 500,
    "\\",
    "\u202e",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("hostile")) as opened:
        opened.add("start.txt", b"the bytes")
        yield opened


def test_every_key_comes_back_as_it_was_through_every_route(site: ApiSite) -> None:
    """One file is moved from name to name: what is data stays data, in URL, document, header and store."""
    here = "start.txt"
    for key in EXACT:
        moved = site.editor.json("POST", f"{site.path(here)}/move", json={"key": key})
        assert (moved["file_path"], moved["file_id"]) == (key, file_id(key))
        assert site.viewer.json("GET", "/api/v1/files/by-key", params={"key": key})["file_path"] == key
        answer = site.viewer.get(f"{site.path(key)}/original")
        assert answer.content == b"the bytes"
        disposition = answer.headers.get_list("content-disposition")
        assert len(disposition) == 1
        assert disposition[0].isascii()
        assert disposition[0].startswith("attachment; filename=")
        here = key
    root = site.platform.settings.data_folder.resolve()
    assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))


@pytest.mark.parametrize("key", [*CONTROLS, "k" * 901, "\U0001f600" * 226, ""])
def test_a_key_that_no_file_can_have_is_a_bad_request(site: ApiSite, key: str) -> None:
    record = site.add("stays.txt")
    told = site.editor.problem("POST", f"{site.path(record.file_path)}/move", 400, json={"key": key})
    assert told["type"] == "/problems/invalid-request"
    assert all(character not in told["detail"] for character in "\0\n\r\t\x1b")


def test_half_a_surrogate_pair_is_a_bad_request(site: ApiSite) -> None:
    body = b'{"key": "half \\ud800"}'
    headers = {"Content-Type": "application/json"}
    site.editor.problem("POST", f"{site.path('stays.txt')}/move", 400, content=body, headers=headers)


@pytest.mark.parametrize("words", WORDS)
def test_words_are_only_words(site: ApiSite, words: str) -> None:
    answer = site.viewer.get("/api/v1/files", params={"q": words})
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5


@pytest.mark.parametrize(
    "query",
    [
        "sort=size",
        "order_by=1;DROP TABLE records",
        "limit=0",
        "limit=1001",
        "limit=99999999999999999999",
        "limit=ten",
        "kind=secret",
        "status=superseded",
        "cursor=forged",
        "cursor=eyJhIjoxfQ==",
        "uploaded_from=yesterday",
        "uploaded_from=1700000000",
        "uploaded_from=2030-01-01T00:00:00",
        "uploaded_from=0001-01-01T00:00:00%2B23:59",
        "size_from=-1",
        "size_from=9223372036854775808",
        "file_hash=abc",
        "deleted=maybe",
        "tag=a&tag=b",
        "limit=1&limit=2",
    ],
)
def test_a_filter_that_is_none_is_a_bad_request_and_not_passed_over(site: ApiSite, query: str) -> None:
    told = site.viewer.problem("GET", f"/api/v1/files?{query}", 400)
    assert "Traceback" not in str(told)
    assert "sqlite" not in str(told).lower()


def test_a_cursor_of_another_query_is_a_bad_request(site: ApiSite) -> None:
    for number in range(3):
        site.add(f"deep/{number}.txt")
    cursor = site.viewer.json("GET", "/api/v1/files", params={"limit": 1, "folder": "deep"})["next"]
    assert cursor
    site.viewer.problem("GET", "/api/v1/files", 400, params={"limit": 1, "cursor": cursor})


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"add": "x"}', "application/json", 400),
        (b'{"add": [1]}', "application/json", 400),
        (b'{"add": [], "unknown": 1}', "application/json", 400),
        (b'{"add": ["x"]}', "text/plain", 400),
        (b"add=x", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"add": ["' + b"x" * 1_100_000 + b'"]}', "application/json", 413),
    ],
)
def test_a_body_that_is_not_as_described_changes_nothing(
    site: ApiSite, content: bytes, content_type: str, status: int
) -> None:
    record = site.add("body.txt")
    given = {"content": content, "headers": {"Content-Type": content_type}}
    site.editor.problem("POST", f"{site.path('body.txt')}/tags", status, **given)
    assert site.platform.library.record("body.txt").revision == record.revision


def test_a_get_changes_nothing(site: ApiSite) -> None:
    """H54: whatever state changes is no GET."""
    for method, path in site.routes():
        if method == "GET":
            assert not any(word in path for word in ("move", "restore", "undelete", "retry", "cancel", "rotate")), path


async def listen(site: ApiSite, begun: asyncio.Semaphore) -> None:
    """Follow events and never hang up."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/events",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"authorization", site.viewer.authorization.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nobody hangs up")

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            begun.release()

    await site.app(scope, receive, send)


def test_streams_without_end_are_refused_to_one_and_not_to_others(site: ApiSite) -> None:
    """One user could keep every connection that the server has, and nobody else would get in."""

    async def all_begin() -> list[asyncio.Task[None]]:
        begun = asyncio.Semaphore(0)
        opened = [asyncio.create_task(listen(site, begun)) for _ in range(STREAMS_EACH)]
        for _ in opened:
            await asyncio.wait_for(begun.acquire(), 20)
        return opened

    streams = site.loop.run_until_complete(all_begin())
    told = site.viewer.problem("GET", "/api/v1/events", 429)
    assert "open already" in told["detail"]
    assert site.viewer.get("/api/v1/me").status_code == 200
    for stream in streams:
        stream.cancel()
    site.loop.run_until_complete(asyncio.wait(streams))
