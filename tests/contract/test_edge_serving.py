"""What the local edge answers: the rules of delivery, on a real home, asked by ASGI."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.delivery.answers import Content, Refusal, Request
from contentplatform.delivery.origin import Found, Origin
from contentplatform.delivery.rules import behaviours, path_of
from contentplatform.delivery.serving import EdgeApp, EdgeOptions
from contentplatform.delivery.statistics import EdgeStatistics, together
from contentplatform.errors import ErrorCode
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.processing.playlists import Playlist, Segment, media_text, reference
from contentplatform.storage.port import BucketRole, PutOptions
from edge_site import EdgeSite, Got, edge_site, link_to
from fakes.catalog import FULL_RENDITION, make_entry

PICTURE: Final = bytes(range(256)) * 40
KEY: Final = "processed/thumbnails/a/photo.jpg.jpg"
PNG: Final = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU" + b"\0" * 40
IMMUTABLE: Final = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeSite]:
    """One home for all tests of this module; each uses keys of its own."""
    with edge_site(tmp_path_factory.mktemp("edge")) as made:
        yield made


def check_shared_headers(got: Got) -> None:
    """What every answer has, exactly once."""
    names = [name for name, _ in got.pairs]
    assert len(names) == len(set(names)), names
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"].endswith("sandbox")
    assert got.headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert got.headers["cross-origin-resource-policy"] in {"cross-origin", "same-site"}
    assert "cache-control" in got.headers
    assert len(got.headers["x-request-id"]) == 32
    assert "strict-transport-security" not in got.headers


# -- what is served -----------------------------------------------------------------------------------------------


def test_a_rendition_is_fetched_once_and_then_kept(site: EdgeSite) -> None:
    stored = site.publish("processed/webp/once.png.webp", PICTURE, "image/webp")
    answers = [site.ask(link_to(stored)) for _ in range(3)]
    assert [(got.status, got.result) for got in answers] == [(200, "Miss"), (200, "Hit"), (200, "Hit")]
    for got in answers:
        check_shared_headers(got)
        assert got.body == PICTURE
        assert got.headers["content-type"] == "image/webp"
        assert got.headers["content-length"] == str(len(PICTURE))
        assert got.headers["cache-control"] == IMMUTABLE
        assert got.headers["etag"] == f'"{(stored.sha256 or "")[:32]}"'
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["last-modified"].endswith(" GMT")
        assert "content-disposition" not in got.headers


def test_without_v_an_answer_is_kept_for_a_minute(site: EdgeSite) -> None:
    stored = site.publish("processed/medium/minute.png.jpg", PICTURE)
    assert site.ask(path_of(stored.key)).headers["cache-control"] == "max-age=60"
    assert site.ask(f"{path_of(stored.key)}?v=").headers["cache-control"] == "max-age=60"
    assert site.ask(f"{link_to(stored)}&utm=x").headers["cache-control"] == IMMUTABLE


@pytest.mark.parametrize(
    ("folder", "is_shared"),
    [
        ("processed/thumbnails", True),
        ("processed/medium", True),
        ("processed/webp", True),
        ("video-processed", True),
        ("processed/audio", False),
        ("processed/peaks", False),
        ("processed/text", False),
        ("raw", True),
    ],
)
def test_the_headers_of_every_behaviour(site: EdgeSite, folder: str, *, is_shared: bool) -> None:
    if folder == "raw":
        site.keep_original("public/raw/headers.png", PNG)
        key = "raw/headers.png"
    else:
        suffix = "_poster" if folder == "video-processed" else ""
        key = f"{folder}/headers.png{suffix}.jpg"
        site.publish(key, PICTURE)
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("PUT", 405)):
        got = site.ask(f"/{key}", method)
        assert got.status == status
        check_shared_headers(got)
        if method != "PUT":
            assert got.headers.get("access-control-allow-origin") == ("*" if is_shared else None)
            assert "access-control-allow-credentials" not in got.headers
    secure = site.ask(f"/{key}", scheme="https")
    assert secure.headers["strict-transport-security"] == "max-age=31536000"
    missing = site.ask(f"/{key}x")
    assert missing.status == 404
    assert missing.headers.get("access-control-allow-origin") == ("*" if is_shared else None)


def test_there_is_a_behaviour_behind_every_pattern_that_is_tried() -> None:
    patterns = [behaviour.pattern for behaviour in behaviours("private/") if not behaviour.private]
    assert patterns == [
        "processed/thumbnails/*",
        "processed/medium/*",
        "processed/webp/*",
        "video-processed/*",
        "raw/*",
        "",
    ]


def test_head_has_the_headers_of_get_and_no_body(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/head.png.jpg", PICTURE)
    get, head = site.ask(link_to(stored)), site.ask(link_to(stored), "HEAD", range="bytes=0-1")
    assert head.body == b""
    assert head.status == 200
    differ = {"x-cache", "x-request-id"}
    assert {n: v for n, v in head.headers.items() if n not in differ} == {
        n: v for n, v in get.headers.items() if n not in differ
    }


def test_a_preflight_is_answered_and_other_methods_are_not(site: EdgeSite) -> None:
    asked = {"origin": "https://other.example", "access_control_request_method": "GET"}
    got = site.ask(f"/{KEY}", "OPTIONS", **asked)
    assert (got.status, got.body) == (204, b"")
    assert got.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert got.headers["access-control-allow-headers"] == "*"
    assert got.headers["access-control-max-age"] == "86400"
    closed = site.ask("/processed/text/x.pdf.txt", "OPTIONS", **asked)
    assert "access-control-allow-methods" not in closed.headers
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"):
        got = site.ask(f"/{KEY}", method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_nothing_but_what_is_published_is_reachable(site: EdgeSite) -> None:
    site.keep_original("secret.txt")
    site.keep_original("public/other.txt")
    store = site.home.store
    for key in ("versions/x/y/z/thumbnail.jpg", "processed/other/x.jpg", "processed/thumbnails"):
        store.put(BucketRole.PROCESSED, key, BytesIO(b"x"), PutOptions())
    for path in (
        "/secret.txt",
        "/public/other.txt",
        "/raw/../other.txt",
        "/raw/",
        "/raw",
        "/",
        "/versions/x/y/z/thumbnail.jpg",
        "/processed/other/x.jpg",
        "/processed/thumbnails",
        "/processed/thumbnails/",
        "/catalog/manifests/x.json",
    ):
        assert site.ask(path).status in {400, 404}, path


# -- conditions and ranges ----------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent_again(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/known.png.jpg", PICTURE)
    first = site.ask(link_to(stored))
    for headers in (
        {"if_none_match": first.headers["etag"]},
        {"if_none_match": f'"other", W/{first.headers["etag"]}'},
        {"if_modified_since": first.headers["last-modified"]},
    ):
        got = site.ask(link_to(stored), **headers)
        assert (got.status, got.body) == (304, b"")
        assert "content-length" not in got.headers
        assert "content-type" not in got.headers
        for name in ("etag", "cache-control", "last-modified", "access-control-allow-origin", "x-content-type-options"):
            assert got.headers[name] == first.headers[name]
    assert site.ask(link_to(stored), if_none_match='"other"').status == 200
    assert site.ask(link_to(stored), if_match='"other"').status == 412
    assert site.ask(link_to(stored), "HEAD", if_none_match=first.headers["etag"]).status == 304


@pytest.mark.parametrize("size", [10_000, 3_000_000], ids=["in memory", "from its file"])
def test_one_range_is_sent_and_no_more(site: EdgeSite, size: int) -> None:
    body = bytes(number * 7 % 251 for number in range(1_000)) * (size // 1_000)
    stored = site.publish(f"video-processed/range-{size}.mov_720p.mp4", body, "video/mp4")
    target = link_to(stored)
    for header, part in (
        ("bytes=0-0", body[:1]),
        ("bytes=5000-5999", body[5_000:6_000]),
        ("bytes=-7", body[-7:]),
        (f"bytes={size - 1}-", body[-1:]),
        (f"bytes=1-{size * 2}", body[1:]),
        ("bytes=0-", body),
    ):
        got = site.ask(target, range=header)
        assert (got.status, got.body) == (206, part)
        assert got.headers["content-length"] == str(len(part))
        assert got.headers["content-range"].endswith(f"/{size}")
        check_shared_headers(got)
    for header in ("bytes=0-1,5-6", "bytes=9-5", "pages=1-2", "bytes=x"):
        got = site.ask(target, range=header)
        assert (got.status, got.body) == (200, body)
        assert "content-range" not in got.headers
    for header in (f"bytes={size}-", "bytes=-0"):
        got = site.ask(target, range=header)
        assert (got.status, got.headers["content-range"]) == (416, f"bytes */{size}")
        assert got.headers["cache-control"] == "no-store"
    tag = site.ask(target).headers["etag"]
    assert site.ask(target, range="bytes=0-1", if_range=tag).status == 206
    assert site.ask(target, range="bytes=0-1", if_range='"other"').status == 200
    assert site.ask(target, range="bytes=0-1", if_none_match=tag).status == 304


# -- forms ----------------------------------------------------------------------------------------------------------


def test_texts_are_packed_for_who_takes_it_under_a_tag_of_their_own(site: EdgeSite) -> None:
    body = b"[" + b"0.25, " * 2_000 + b"0]"
    stored = site.publish("processed/peaks/song.ogg.json", body, "application/json")
    plain, packed = site.ask(link_to(stored)), site.ask(link_to(stored), accept_encoding="br, gzip;q=0.8")
    assert gzip.decompress(packed.body) == plain.body == body
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-length"] == str(len(packed.body))
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert site.ask(link_to(stored), accept_encoding="gzip;q=0").headers.get("content-encoding") is None
    again = site.ask(link_to(stored), accept_encoding="gzip", if_none_match=packed.headers["etag"])
    assert (again.status, again.headers["etag"]) == (304, packed.headers["etag"])
    assert again.headers["vary"] == "Accept-Encoding"
    part = site.ask(link_to(stored), accept_encoding="gzip", range="bytes=1-4")
    assert (part.status, part.body, part.headers["etag"]) == (206, body[1:5], plain.headers["etag"])
    assert "content-encoding" not in part.headers


def test_pictures_are_not_packed(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/plain.png.jpg", b"\0" * 5_000)
    got = site.ask(link_to(stored), accept_encoding="gzip")
    assert "content-encoding" not in got.headers
    assert "vary" not in got.headers


def test_playlists_and_captions_have_their_types(site: EdgeSite) -> None:
    for key, content_type in (
        ("video-processed/t.mov_hls.m3u8", "application/vnd.apple.mpegurl"),
        ("video-processed/t.mov_captions-de.vtt", "text/vtt"),
        ("processed/audio/t.wav.opus", "audio/ogg"),
        ("processed/text/t.pdf.txt", "text/plain; charset=utf-8"),
    ):
        got = site.ask(link_to(site.publish(key, b"x" * 100, content_type)))
        assert (got.headers["content-type"], "content-disposition" in got.headers) == (content_type, False)


def test_a_rendition_of_a_type_that_is_never_made_is_saved(site: EdgeSite) -> None:
    got = site.ask(link_to(site.publish("processed/webp/odd.png.webp", b"<script>", "text/html")))
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == 'attachment; filename="odd.png.webp"'


@pytest.mark.parametrize(
    ("name", "body", "shown"),
    [
        ("shown.png", PNG, "image/png"),
        ("page.html", b"<!DOCTYPE html><html><script>alert(1)</script></html>", ""),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', ""),
        ("feed.xml", b'<?xml version="1.0"?><x:html xmlns:x="http://www.w3.org/1999/xhtml"/>', ""),
        ("page.png", b"<html><script>alert(1)</script></html>", ""),
        ("unknown.bin", b"\1\2\3", ""),
    ],
)
def test_originals_are_shown_only_where_nothing_runs(site: EdgeSite, name: str, body: bytes, shown: str) -> None:
    site.keep_original(f"public/raw/{name}", body)
    got = site.ask(f"/raw/{name}?v=0123456789abcdef")
    assert (got.status, got.body) == (200, body)
    assert got.headers["cache-control"] == "max-age=60"
    assert got.headers["content-type"] == (shown or "application/octet-stream")
    assert got.headers.get("content-disposition", "") == ("" if shown else f'attachment; filename="{name}"')


def test_an_original_with_malware_is_shown_to_nobody(site: EdgeSite) -> None:
    site.keep_original("public/raw/infected.jpg", PNG)
    home = site.home
    home.take_in_all()
    record = home.platform.library.record("public/raw/infected.jpg")
    assert site.ask("/raw/infected.jpg").status == 200
    home.catalog.put(replace(record, error_code=ErrorCode.MALWARE, error="malware"))
    assert site.ask("/raw/infected.jpg").status == 404


def test_a_download_has_the_file_s_own_name(site: EdgeSite) -> None:
    stored = site.publish("processed/webp/ключ 写真.png.webp", PICTURE, "image/webp")
    got = site.ask(f"{link_to(stored)}&download=evil.bat")
    assert "evil" not in got.headers["content-disposition"]
    assert "%D0%BA%D0%BB%D1%8E%D1%87%20%E5%86%99%E7%9C%9F.png.webp" in got.headers["content-disposition"]
    assert "content-disposition" not in site.ask(link_to(stored)).headers


# -- versions, replacing, deleting ----------------------------------------------------------------------------------


def test_another_v_gives_that_version_while_it_is_kept(site: EdgeSite) -> None:
    key, old_body = "processed/thumbnails/versions.png.jpg", b"old" * 100
    site.keep_original("versions.png")
    stored_key = f"versions/{file_id('versions.png')}/v1/recipe/thumbnail.jpg"
    old = site.home.store.put(
        BucketRole.PROCESSED, stored_key, BytesIO(old_body), PutOptions(content_type="image/jpeg")
    )
    rendition = replace(FULL_RENDITION, key=key, stored_key=stored_key, sha256=old.sha256 or "")
    catalog = site.home.catalog
    catalog.put_entry(make_entry("versions.png", "v1", status=ProcessingStatus.COMPLETED, renditions=(rendition,)))
    new = site.publish(key, b"new" * 100)
    assert site.ask(link_to(new)).body == b"new" * 100
    got = site.ask(path_of(key, old.sha256 or ""))
    assert (got.status, got.body, got.headers["cache-control"]) == (200, old_body, IMMUTABLE)
    assert site.ask(path_of(key)).body == b"new" * 100
    for wrong in ("0" * 16, (old.sha256 or "")[:15], "x", (old.sha256 or "").upper()[:16]):
        assert site.ask(f"{path_of(key)}?v={wrong}").status == 404
    site.home.store.delete_version(BucketRole.PROCESSED, stored_key, old.version_id)
    assert site.ask(path_of(key, old.sha256 or "")).status == 404


def test_a_replaced_file_is_gone_with_the_commit(site: EdgeSite) -> None:
    key = "processed/thumbnails/replaced.png.jpg"
    old = site.publish(key, b"old")
    assert [site.ask(path_of(key)).body for _ in range(2)] == [b"old", b"old"]
    site.publish(key, b"new")
    got = site.ask(path_of(key))
    assert (got.body, got.result) == (b"new", "Miss")
    assert site.ask(link_to(old)).status == 404


def test_a_deleted_file_is_gone_with_the_commit_before_its_renditions_are(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/deleted.png.jpg", PICTURE)
    film = site.publish("video-processed/deleted.png_720p.mp4", b"x" * 2_000_000, "video/mp4")
    for target in (link_to(stored), link_to(film)):
        assert [site.ask(target).status for _ in range(2)] == [200, 200]
    site.home.store.delete(BucketRole.PRIMARY, "deleted.png")
    for target in (link_to(stored), link_to(film), path_of(stored.key)):
        got = site.ask(target)
        assert (got.status, got.headers["cache-control"]) == (404, "max-age=10")
        assert got.body == b"There is no such file."


class PassingClock(SystemClock):
    """The machine's clock, and what a test adds."""

    added = 0.0

    def monotonic_seconds(self) -> float:
        """The time since boot, and what was added."""
        return super().monotonic_seconds() + self.added


def test_a_deleted_file_is_closed_although_nobody_asks_for_it(site: EdgeSite) -> None:
    home, clock = site.home, PassingClock()
    figures, options = EdgeStatistics(home.database, clock), EdgeOptions(private_prefix="private/")
    origin = Origin(home.store, home.store, home.catalog)
    app = EdgeApp(origin, home.edge, home.database, clock, RandomIds(), None, figures, options)
    film = site.publish("video-processed/closed.mov_720p.mp4", b"x" * 2_000_000, "video/mp4")
    other = site.publish("processed/thumbnails/unclosed.png.jpg", PICTURE)

    def ask(target: str) -> Got:
        return site.loop.run_until_complete(site.answer(target, app=app))

    assert ask(link_to(film)).status == 200
    file = home.store.local_file(film)
    links = Path("/proc/self/fd")
    home.store.delete(BucketRole.PRIMARY, "closed.mov")
    ask(link_to(other))
    assert file in {link.resolve() for link in links.iterdir()}
    clock.added = 61
    home.store.delete(BucketRole.PRIMARY, "nothing.mov")
    ask(link_to(other))
    assert file not in {link.resolve() for link in links.iterdir()}
    app.close()


def test_another_s_commit_is_looked_at_and_the_file_found_still_true(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/still.png.jpg", PICTURE)
    site.ask(link_to(stored))
    site.publish("processed/thumbnails/other.png.jpg", PICTURE)
    results = [site.ask(link_to(stored)).result for _ in range(3)]
    assert results == ["RefreshHit", "Hit", "Hit"]


def test_an_invalidation_lets_the_edge_forget(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/forgotten.png.jpg", PICTURE)
    told: list[tuple[str, ...]] = []
    site.app.on_invalidated(told.append)
    site.ask(link_to(stored))
    assert site.ask(link_to(stored)).result == "Hit"
    made = site.home.edge.invalidate([link_to(stored)], "by hand")
    assert site.ask(link_to(stored)).result == "Miss"
    assert told == [(link_to(stored),)]
    assert made is not None
    assert site.home.edge.invalidations().invalidations[0].id == made.id


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5_000, 2_000_000])
def test_damaged_bytes_are_never_sent(site: EdgeSite, size: int) -> None:
    stored = site.publish(f"video-processed/damaged-{size}.mov_720p.mp4", b"x" * size, "video/mp4")
    path = site.home.store.local_file(stored)
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.write(b"y")
    for headers in ({}, {"range": "bytes=100-200"}):
        got = site.ask(link_to(stored), **headers)
        assert (got.status, got.result, got.headers["cache-control"]) == (502, "Error", "no-store")
        assert b"x" * 10 not in got.body
    path.unlink()
    assert site.ask(link_to(stored)).status == 502


# -- private files ----------------------------------------------------------------------------------------------------


def signed(site: EdgeSite, key: str, sha256: str | None) -> str:
    """A signed link for an hour."""
    later = site.home.platform.clock.now() + timedelta(hours=1)
    return site.home.edge.signed_url(key, later, sha256 or "")


def test_a_private_file_needs_a_signature_and_no_cache_keeps_it(site: EdgeSite) -> None:
    stored = site.publish("processed/webp/private/photo.png.webp", PICTURE, "image/webp")
    for target in (link_to(stored), path_of(stored.key), path_of("processed/webp/private/none.png.webp")):
        for method in ("GET", "HEAD"):
            got = site.ask(target, method)
            assert (got.status, got.headers["cache-control"]) == (403, "private, no-store")
            check_shared_headers(got)
    link = signed(site, stored.key, stored.sha256)
    for _ in range(2):
        got = site.ask(link)
        assert (got.status, got.body, got.headers["cache-control"]) == (200, PICTURE, "private, no-store")
        assert got.result == "Miss"
    assert site.ask(link, "HEAD").status == 200
    assert site.ask(link, range="bytes=0-1").status == 206
    assert site.ask(link, if_none_match=got.headers["etag"]).status == 304
    site.home.edge.revoke_links(stored.key)
    assert site.ask(link).status == 403
    assert site.ask(signed(site, stored.key, stored.sha256)).status == 200
    site.home.store.delete(BucketRole.PRIMARY, "private/photo.png")
    assert site.ask(signed(site, stored.key, stored.sha256)).status == 404


def test_a_private_film_plays_by_the_link_to_its_playlist(site: EdgeSite) -> None:
    media = site.publish("video-processed/private/film.mov_hls-720p.mp4", b"film" * 500, "video/mp4")
    text = media_text(
        Playlist(
            reference("film.mov_hls-720p.mp4", media.sha256 or ""), 6, (Segment(6.0, 500, 100),), Segment(0, 100, 0)
        )
    )
    playlist = site.publish(
        "video-processed/private/film.mov_hls-720p.m3u8", text.encode(), "application/vnd.apple.mpegurl"
    )
    link = signed(site, playlist.key, playlist.sha256)
    got = site.ask(link)
    assert got.status == 200
    uris = {line for line in got.body.decode().splitlines() if line.startswith("film")}
    assert len(uris) == 1
    [uri] = uris
    part = site.ask(f"/video-processed/private/{uri}", range="bytes=100-599")
    assert (part.status, part.headers["cache-control"]) == (206, "private, no-store")
    assert dict(parse_qsl(urlsplit(uri).query))["v"] == (media.sha256 or "")[:16]
    # Nothing but this film: neither another one, nor one whose name goes on where this one's ends.
    query = link.partition("?")[2]
    for other in ("other.mov_hls-720p.mp4", "film.mov_hls.mov_720p.mp4", "film.mov_x/y_720p.mp4"):
        key = f"video-processed/private/{other}"
        site.publish(key, b"other", "video/mp4")
        assert site.ask(f"{path_of(key)}?{query}").status == 403
    site.home.edge.revoke_links(playlist.key)
    assert site.ask(link).status == 403
    assert site.ask(f"/video-processed/private/{uri}").status == 403


def test_a_signed_download_has_the_name_that_was_signed(site: EdgeSite) -> None:
    stored = site.publish("processed/webp/private/down.png.webp", PICTURE, "image/webp")
    later = site.home.platform.clock.now() + timedelta(hours=1)
    link = site.home.edge.download_url(stored.key, later, stored.sha256 or "", "Отчёт 2030.png")
    got = site.ask(link)
    assert got.status == 200
    assert "filename*=UTF-8''%D0%9E%D1%82%D1%87" in got.headers["content-disposition"]
    assert site.ask(link.replace("2030", "2031")).status == 403
    assert site.ask(link.replace("&download=", "&x=")).status == 403
    plain = signed(site, stored.key, stored.sha256)
    assert site.ask(f"{plain}&download=evil.bat").status == 403


# -- many at once -----------------------------------------------------------------------------------------------------


class CountingOrigin(Origin):
    """Counts how often it was asked what there is."""

    asked = 0

    def find(self, key: str, version: str) -> Found:
        """See Origin."""
        self.asked += 1
        return super().find(key, version)


def test_a_file_is_fetched_once_for_all_who_ask_at_once(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/crowd.png.jpg", PICTURE)
    home, clock = site.home, site.home.platform.clock
    origin = CountingOrigin(home.store, home.store, home.catalog)
    figures, options = EdgeStatistics(home.database, clock), EdgeOptions(private_prefix="private/")
    app = EdgeApp(origin, home.edge, home.database, clock, RandomIds(), None, figures, options)

    async def crowd() -> list[Got]:
        return await asyncio.gather(*(site.answer(link_to(stored), app=app) for _ in range(50)))

    answers = site.loop.run_until_complete(crowd())
    app.close()
    assert {(got.status, got.body) for got in answers} == {(200, PICTURE)}
    assert len({got.headers["x-request-id"] for got in answers}) == 50
    assert origin.asked == 1


def test_what_is_kept_stays_within_its_room(tmp_path: Path) -> None:
    with edge_site(tmp_path, memory_bytes=100_000) as site:
        bodies = [bytes([number]) * 20_000 for number in range(10)]
        stored = [site.publish(f"processed/thumbnails/{body[0]}.png.jpg", body) for body in bodies]
        for version in stored:
            assert site.ask(link_to(version)).result == "Miss"
        assert site.app.kept_bytes <= 100_000
        assert [site.ask(link_to(version)).result for version in stored[-4:]] == ["Hit"] * 4
        assert site.ask(link_to(stored[0])).result == "Miss"


def test_a_viewer_who_leaves_does_not_take_the_file_from_the_others(site: EdgeSite) -> None:
    stored = site.publish("processed/thumbnails/left.png.jpg", PICTURE)

    async def one_leaves() -> Got:
        first = asyncio.ensure_future(site.answer(link_to(stored)))
        second = asyncio.ensure_future(site.answer(link_to(stored)))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert site.loop.run_until_complete(one_leaves()).body == PICTURE


# -- a mounted part ---------------------------------------------------------------------------------------------------


def test_a_mounted_handler_says_what_there_is_and_the_edge_does_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(b"0123456789" * 1_000)

    async def handler(request: Request) -> Content | Refusal:
        if request.path.endswith("refused"):
            return Refusal(409, "Not now.")
        if request.path.endswith("broken"):
            raise RuntimeError("a secret reason")
        if request.path.endswith("file"):
            return Content("image/webp", "tag", "no-store", file=file, size_bytes=10_000)
        return Content("image/avif", "tag2", "max-age=60", b"picture", vary="Accept")

    with edge_site(tmp_path / "data") as site:
        site.app.mount("/mounted/", handler)
        got = site.ask("/mounted/x")
        check_shared_headers(got)
        assert (got.status, got.body, got.headers["vary"], got.result) == (200, b"picture", "Accept", "Miss")
        assert site.ask("/mounted/x", if_none_match='"tag2"').status == 304
        assert site.ask("/mounted/file", range="bytes=10-19").body == b"0123456789"
        assert site.ask("/mounted/file").body == file.read_bytes()
        assert site.ask("/mounted/refused").status == 409
        broken = site.ask("/mounted/broken")
        assert (broken.status, b"secret" in broken.body) == (500, False)
        check_shared_headers(broken)


# -- the record of it -------------------------------------------------------------------------------------------------


def test_what_was_served_is_in_the_log_and_in_the_figures(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with edge_site(tmp_path) as site:
        stored = site.publish(KEY, PICTURE)
        for _ in range(3):
            site.ask(link_to(stored), user_agent="Some browser")
        site.ask(link_to(stored), range="bytes=10-19")
        site.ask("/processed/thumbnails/none.png.jpg")
        now = site.home.platform.clock.now()
        site.app.close()
        total = together(site.app.statistics.minutes(now - timedelta(minutes=5), now + timedelta(minutes=5)))
        assert (total.requests, total.hits, total.misses, total.errors) == (5, 3, 1, 1)
        assert total.by_status == {200: 3, 206: 1, 404: 1}
        assert total.hit_ratio == 0.75
        assert total.bytes_sent > 3 * len(PICTURE)
        assert site.app.statistics.last_access("a/photo.jpg") == now.date()
        assert site.app.statistics.last_access("none.png") is None
        [entry] = site.home.store.list(BucketRole.ANALYTICS, prefix="cloudfront-logs/").objects
        with site.home.store.open(BucketRole.ANALYTICS, entry.key) as reader:
            lines = gzip.decompress(reader.read()).decode().splitlines()
        assert len(lines) == 2 + 5
        assert {len(line.split("\t")) for line in lines[2:]} == {33}
    assert set(threading.enumerate()) <= before
