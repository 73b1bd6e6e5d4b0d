"""What the local edge answers at once is what it answers by ASGI, and its log says the same of both."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.delivery.asking import FilePart
from contentplatform.storage.port import BucketRole, PutOptions
from contentplatform.web.forwarding import Forwarding, networks
from edge_site import EdgeSite, Got, link_to, scope_of

SMALL: Final = bytes(range(256)) * 40
LARGE: Final = SMALL * 120
TEXT: Final = b"WEBVTT\n\n00:00.000 --> 00:01.000\n" + b"the same words\n" * 60
VARYING: Final = {b"if-none-match", b"range"}


class AtOnceSite(EdgeSite):
    """An edge that can be asked in both ways."""

    def at_once(self, target: str, scheme: str = "http", **headers: str) -> Got | None:
        """One request in the way of a server that asks so; None: it is to ask by ASGI."""
        return self.loop.run_until_complete(self._at_once(target, scheme, headers))

    async def _at_once(self, target: str, scheme: str, headers: dict[str, str]) -> Got | None:
        given: dict[str, Any] = scope_of(target, "GET", scheme, headers)
        varying = dict(header for header in given["headers"] if header[0] in VARYING)
        rest = [header for header in given["headers"] if header[0] not in VARYING]
        asked = self.app.asked({**given, "headers": rest})
        if asked is None:
            return None
        answer = self.app.quick(
            asked,
            given["raw_path"],
            given["query_string"],
            varying.get(b"if-none-match", b""),
            varying.get(b"range", b""),
            given["client"][1],
        )
        if answer is None:
            return None
        head, body = answer
        if isinstance(body, FilePart):
            part, body = body, body.opened.read(body.first, body.length)
            part.ended(None)
        line, *rows = head.decode("latin-1").removesuffix("\r\n").split("\r\n")
        pairs = tuple((row.partition(": ")[0], row.partition(": ")[2]) for row in rows)
        return Got(int(line.split(" ")[1]), dict(pairs), pairs, body)

    def keep(self, key: str, body: bytes, content_type: str) -> str:
        """Publish a file and have it kept; returns its link."""
        link = link_to(self.publish(key, body, content_type))
        assert [self.ask(link).result for _ in range(2)] == ["Miss", "Hit"]
        return link


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AtOnceSite]:
    """An edge of its own."""
    made = AtOnceSite(open_local(config.load(data_folder=tmp_path, environment={})))
    try:
        yield made
    finally:
        made.close()


def told(got: Got) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without its number, and its headers in any order."""
    return got.status, sorted(pair for pair in got.pairs if pair[0] != "x-request-id"), got.body


def lines(site: AtOnceSite) -> list[list[str]]:
    """The fields of every line of the access log; closes the edge."""
    site.app.close()
    found = []
    for entry in site.home.store.list(BucketRole.ANALYTICS, prefix="cloudfront-logs/").objects:
        with site.home.store.open(BucketRole.ANALYTICS, entry.key) as reader:
            found += gzip.decompress(reader.read()).decode().splitlines()[2:]
    return [line.split("\t") for line in found]


def test_both_ways_give_the_same_answers_and_the_same_lines(site: AtOnceSite) -> None:
    small = site.keep("processed/thumbnails/a.jpg.jpg", SMALL, "image/jpeg")
    large = site.keep("video-processed/a.mov_720p.mp4", LARGE, "video/mp4")
    text = site.keep("video-processed/a.mov_captions-en.vtt", TEXT, "text/vtt")
    tags = {link: site.ask(link).headers["etag"] for link in (small, large, text)}
    packed = site.ask(text, accept_encoding="gzip").headers["etag"]
    asked: list[tuple[str, dict[str, str], int]] = [
        (small, {}, 200),
        (small, {"scheme": "https", "user_agent": "viewer", "referer": "https://a.example/b c"}, 200),
        (small, {"if_none_match": tags[small]}, 304),
        (text, {}, 200),
        (text, {"accept_encoding": "br, gzip"}, 200),
        (text, {"accept_encoding": "gzip", "if_none_match": packed}, 304),
        (large, {}, 200),
        (large, {"if_none_match": tags[large]}, 304),
        (large, {"range": "bytes=5-6"}, 206),
        (large, {"range": "bytes=-7"}, 206),
        (large, {"range": f"bytes=0-{len(LARGE) * 2}"}, 206),
        (large, {"range": "bytes=100-", "scheme": "https"}, 206),
    ]
    site.ask("/nothing")
    for target, headers, status in asked:
        at_once, usual = site.at_once(target, **headers), site.ask(target, **headers)
        assert at_once is not None, (target, headers)
        assert at_once.status == status
        assert told(at_once) == told(usual)
        assert at_once.headers["x-request-id"] != usual.headers["x-request-id"]
    written = lines(site)
    begin = next(place for place, fields in enumerate(written) if fields[7] == "/nothing") + 1
    ours = [[*fields[2:14], *fields[15:18], *fields[19:27], *fields[28:]] for fields in written[begin:]]
    assert len(ours) == 2 * len(asked)
    for number, (one, other) in enumerate(pairwise(ours)):
        assert number % 2 or one == other


def test_what_is_more_than_that_is_left_to_asgi(site: AtOnceSite) -> None:
    small = site.keep("processed/thumbnails/b.jpg.jpg", SMALL, "image/jpeg")
    large = site.keep("video-processed/b.mov_720p.mp4", LARGE, "video/mp4")
    tag = site.ask(large).headers["etag"]
    assert site.at_once("/processed/thumbnails/unknown.jpg.jpg") is None
    assert site.at_once(f"{small}&utm=x") is None
    for headers in (
        {"range": "bytes=0-1"},
        {"if_none_match": '"other"'},
        {"if_none_match": f"{tag}, {tag}"},
        {"if_modified_since": "Wed, 01 Jan 2020 00:00:00 GMT"},
        {"if_match": tag},
        {"expect": "100-continue"},
    ):
        assert site.at_once(small, **headers) is None, headers
    for headers in (
        {"range": f"bytes={len(LARGE)}-"},
        {"range": "bytes=0-1,3-4"},
        {"range": "bytes=0-1", "if_none_match": tag},
        {"range": "bytes=0-1", "if_range": tag},
    ):
        assert site.at_once(large, **headers) is None, headers


@pytest.mark.parametrize("body", [SMALL, LARGE])
def test_what_is_replaced_or_deleted_or_invalidated_is_not_given_at_once(site: AtOnceSite, body: bytes) -> None:
    link = site.keep("processed/medium/c.jpg.jpg", body, "image/jpeg")
    assert site.at_once(link) is not None
    site.publish("processed/medium/other.jpg.jpg", SMALL)
    assert site.at_once(link) is None  # something was changed: it is looked at first
    assert site.ask(link).result == "RefreshHit"
    assert site.at_once(link) is not None
    site.home.edge.invalidate([link], "by hand")
    assert site.at_once(link) is None
    assert site.ask(link).result == "Miss"
    assert site.at_once(link) is not None
    site.home.store.put(BucketRole.PRIMARY, "c.jpg", BytesIO(b"another"), PutOptions())
    site.home.store.delete(BucketRole.PRIMARY, "c.jpg")
    assert site.at_once(link) is None
    assert site.ask(link).status == 404
    assert site.at_once(link) is None


def test_a_file_whose_viewer_hung_up_is_logged_as_that(site: AtOnceSite) -> None:
    link = site.keep("video-processed/d.mov_720p.mp4", LARGE, "video/mp4")
    path, _, query = link.encode().partition(b"?")

    async def hang_up() -> None:
        asked = site.app.asked(scope_of(link, "GET", "http", {}))
        assert asked is not None
        answer = site.app.quick(asked, path, query, b"", b"bytes=1-2", 40_000)
        assert answer is not None
        assert isinstance(answer[1], FilePart)
        answer[1].ended(ConnectionResetError())

    site.loop.run_until_complete(hang_up())
    last = lines(site)[-1]
    assert (last[3], last[7], last[8], last[13], last[29:]) == (
        "0",
        path.decode(),
        "000",
        "Error",
        ["text/plain", "0", "-", "-"],
    )


def test_a_viewer_whom_a_proxy_tells_of_is_the_one_in_the_log(site: AtOnceSite) -> None:
    link = site.keep("processed/thumbnails/e.jpg.jpg", SMALL, "image/jpeg")
    forwarding = Forwarding(site.app, networks("192.0.2.0/24"))
    headers = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https", "x_forwarded_host": "b.example"}
    path, _, query = link.encode().partition(b"?")

    async def ask() -> bytes:
        asked = site.app.asked(forwarding.seen(scope_of(link, "GET", "http", headers)))
        assert asked is not None
        answer = site.app.quick(asked, path, query, b"", b"", 40_000)
        assert answer is not None
        return answer[0]

    assert b"strict-transport-security" in site.loop.run_until_complete(ask())
    last = lines(site)[-1]
    assert (last[4], last[15], last[16], last[26]) == ("203.0.113.9", "b.example", "https", "0")
