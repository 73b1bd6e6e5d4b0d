"""What people without an account see of a share: what it shows, by no way anything else, and nothing that stays."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import pytest
from starlette.types import ASGIApp

from contentplatform import media
from contentplatform.catalog.port import Record
from contentplatform.errors import ErrorCode
from contentplatform.sharing.contents import Contents
from contentplatform.sharing.port import Share, ShareDraft, Target, TargetKind
from contentplatform.web.link_guard import PAGE_POLICY, WrongLinks
from contentplatform.web.rates import Rates
from contentplatform.web.shares import SharePages, site_of
from fakes.catalog import make_record
from fakes.platform import MemoryPlatform, document, film, jpeg, sound
from fakes.sharing import MemoryShares

HTML: Final = {"accept": "text/html"}
FOLDER: Final = Target(TargetKind.FOLDER, "private/acme")


@dataclass
class Site:
    """Share pages over a platform in memory, with some files in it."""

    platform: MemoryPlatform
    shares: MemoryShares
    app: ASGIApp
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", address: str = "192.0.2.1", **options: Any) -> httpx.Response:
        """One request."""

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=self.cookies) as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    def share(self, target: Target = FOLDER, **wishes: Any) -> tuple[str, Share]:
        """A share and its path."""
        secret, share = self.shares.create_share(ShareDraft(target, **wishes), "u1")
        return f"/s/{secret}", share

    def record(self, key: str) -> Record:
        """The record of a file."""
        return self.platform.catalog.get(media.file_id(key))


def of(key: str) -> Target:
    """The share's target for one file."""
    return Target(TargetKind.FILE, media.file_id(key))


def filled(folder: Path) -> MemoryPlatform:
    """A platform with files in the shared folder and beside it."""
    platform = MemoryPlatform(folder)
    platform.add("private/acme/a.jpg", jpeg("acme"))
    platform.add("private/acme/deep/b.jpg", jpeg("deep"))
    platform.add("private/acmetoo/c.jpg", jpeg("another folder"))
    platform.add("other/d.jpg", jpeg("not shared"))
    platform.settle()
    return platform


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> MemoryPlatform:
    """Files that no test changes."""
    return filled(tmp_path_factory.mktemp("library"))


@pytest.fixture
def site(library: MemoryPlatform) -> Site:
    """Links of this test's own to files that it does not change."""
    return over(library)


@pytest.fixture
def changing(tmp_path: Path) -> Site:
    """Links to files that this test changes."""
    return over(filled(tmp_path))


def over(platform: MemoryPlatform) -> Site:
    """The pages over a platform."""
    shares = MemoryShares(platform.clock, lambda _: True)
    contents = Contents(platform.catalog, platform.collections)
    wrong = WrongLinks(Rates(platform.clock, 5))
    pages = SharePages(shares, platform.store, contents, wrong, lambda given, kept: f"hash of {given}" == kept)
    return Site(platform, shares, site_of(pages.routes()))


def names_on(page: httpx.Response) -> set[str]:
    """The names of the files that a page lists."""
    return set(re.findall(r'<span class="name"><bdi>(.*?)</bdi>', page.text))


def zip_of(answer: httpx.Response) -> Mapping[str, bytes]:
    """What is in an archive."""
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


# -- pages ----------------------------------------------------------------------------------------------------------


def test_a_folder_s_share_shows_what_lies_below_it_and_nothing_beside_it(site: Site) -> None:
    path, share = site.share(title="For Acme")
    page = site.ask(path, headers=HTML)
    assert page.status_code == 200
    assert names_on(page) == {"a.jpg", "b.jpg"}
    assert "<h1><bdi>For Acme</bdi></h1>" in page.text
    assert "private" not in page.text
    assert "download.zip" not in page.text
    assert site.shares.share(share.id).views == 1


def test_every_answer_is_unlisted_uncached_and_runs_nothing(site: Site) -> None:
    path, _ = site.share(allow_originals=True)
    file_id = media.file_id("private/acme/a.jpg")
    below = ["", "/download.zip", f"/files/{file_id}", f"/files/{file_id}/original", "/files/x", "/nothing"]
    for place in (*below, f"/files/{file_id}/renditions/thumbnail"):
        answer = site.ask(path + place, headers=HTML)
        assert "no-store" in answer.headers["cache-control"], place
        assert answer.headers["x-robots-tag"] == "noindex, nofollow", place
        assert answer.headers["referrer-policy"] == "no-referrer", place
        assert answer.headers["x-content-type-options"] == "nosniff", place
        policy = answer.headers["content-security-policy"]
        assert policy == PAGE_POLICY or policy.endswith("sandbox"), place
        assert "unsafe-inline" not in policy or policy.endswith("sandbox"), place
        assert "set-cookie" not in answer.headers, place


def test_a_page_s_pictures_and_links_can_all_be_followed_and_stay_below_the_share(site: Site) -> None:
    path, _ = site.share(allow_originals=True)
    page = site.ask(path, headers=HTML)
    links = set(re.findall(r'(?:src|href)="(/[^"]*)"', page.text)) - set(re.findall(r'"(/static/[^"]*)"', page.text))
    assert len(links) >= 5
    for link in links:
        assert link.startswith(f"{path}/"), link
        assert site.ask(link, headers=HTML).status_code == 200, link


def test_a_large_share_has_pages_and_each_file_is_on_one(changing: Site) -> None:
    for number in range(70):
        changing.platform.catalog.put(make_record(f"private/acme/n{number:02}.jpg", number))
    path, _ = changing.share()
    first = changing.ask(path, headers=HTML)
    [following] = re.findall(r'href="([^"]*)" rel="next"', first.text)
    second = changing.ask(following, headers=HTML)
    assert len(names_on(first)) == 60
    assert len(names_on(first) | names_on(second)) == 72
    assert 'rel="next"' not in second.text
    assert changing.ask(f"{path}?cursor=forged", headers=HTML).status_code == 400


def test_a_file_s_share_is_its_page_and_follows_it_when_it_is_moved(changing: Site) -> None:
    path, _ = changing.share(of("other/d.jpg"))
    page = changing.ask(path, headers=HTML)
    assert "<h1><bdi>from the file</bdi></h1>" in page.text
    assert "renditions/medium" in page.text
    changing.platform.library.move("other/d.jpg", "private/secret/e.jpg")
    changing.platform.settle()
    moved = changing.ask(path, headers=HTML)
    assert "<bdi>e.jpg</bdi>" in moved.text
    old = changing.ask(f"{path}/files/{media.file_id('other/d.jpg')}/renditions/medium")
    assert (old.status_code, old.content) == (200, b"medium of " + jpeg("not shared"))


def test_a_collection_s_share_shows_what_is_in_it_in_its_order(changing: Site) -> None:
    collection = changing.platform.collections.create("Best")
    ids = [media.file_id("other/d.jpg"), media.file_id("private/acme/a.jpg")]
    changing.platform.collections.add(collection.collection_id, ids)
    path, _ = changing.share(Target(TargetKind.COLLECTION, collection.collection_id))
    assert re.findall(r'"name"><bdi>(.*?)</bdi>', changing.ask(path, headers=HTML).text) == ["d.jpg", "a.jpg"]
    changing.platform.collections.take(collection.collection_id, ids[:1])
    assert changing.ask(f"{path}/files/{ids[0]}", headers=HTML).status_code == 404
    assert changing.ask(f"{path}/files/{ids[1]}", headers=HTML).status_code == 200
    revision = changing.platform.collections.get(collection.collection_id).revision
    changing.platform.collections.delete(collection.collection_id, revision)
    assert "Nothing is here" in changing.ask(path, headers=HTML).text


def test_what_is_removed_or_moved_away_is_gone_at_once_and_comes_back(changing: Site) -> None:
    path, _ = changing.share()
    file = f"{path}/files/{media.file_id('private/acme/a.jpg')}"
    changing.platform.library.remove("private/acme/a.jpg")
    changing.platform.settle()
    assert names_on(changing.ask(path, headers=HTML)) == {"b.jpg"}
    assert changing.ask(f"{file}/renditions/thumbnail").status_code == 404
    changing.platform.library.undelete("private/acme/a.jpg")
    changing.platform.settle()
    assert changing.ask(f"{file}/renditions/thumbnail").status_code == 200
    changing.platform.library.move("private/acme/a.jpg", "other/a.jpg")
    changing.platform.settle()
    assert names_on(changing.ask(path, headers=HTML)) == {"b.jpg"}
    assert changing.ask(f"{file}/renditions/thumbnail").status_code == 404


@pytest.mark.parametrize("place", ["", "/download.zip", "/files/x", "/files/x/original", "/files/x/renditions/y"])
def test_a_link_that_is_over_was_revoked_or_never_was_looks_the_same(site: Site, place: str) -> None:
    over_soon, _ = site.share(expires_at=site.platform.clock.now() + timedelta(seconds=5), title="A")
    revoked, share = site.share(title="B")
    site.shares.revoke_share(share.id)
    site.platform.clock.advance(6)
    answers = [site.ask(path + place, headers=HTML) for path in (over_soon, revoked, "/s/never")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


# -- nothing else ---------------------------------------------------------------------------------------------------


def test_no_file_outside_the_share_is_reached_by_any_of_its_identifiers(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    path, share = site.share(allow_originals=True)
    strangers = [media.file_id(key) for key in ("other/d.jpg", "private/acmetoo/c.jpg", "no/such.jpg")]
    with caplog.at_level(logging.WARNING):
        for file_id in (*strangers, "...", "%252e%252e", "a" * 5_000, "private%2Facme%2Fa.jpg"):
            for place in ("", "/original", "/renditions/thumbnail", "/renditions/..%2f..%2fx"):
                assert site.ask(f"{path}/files/{file_id}{place}", headers=HTML).status_code == 404
            assert site.ask(f"{path}/download.zip", params={"file": file_id}).status_code == 404
    assert len([entry for entry in caplog.records if "not in the share" in entry.getMessage()]) >= len(strangers)
    assert path.rpartition("/")[2] not in caplog.text
    assert share.id in str([entry.__dict__ for entry in caplog.records])


def test_a_rendition_is_reached_by_its_name_only(site: Site) -> None:
    path, _ = site.share()
    record = site.record("private/acme/a.jpg")
    own = f"{path}/files/{record.file_id}/renditions"
    other = site.record("other/d.jpg").renditions[0]
    assert site.ask(f"{own}/thumbnail").status_code == 200
    for name in ("original", "nothing", other.sha256, other.stored_key, record.renditions[0].stored_key, "text"):
        assert site.ask(f"{own}/{name}", headers=HTML).status_code == 404


def test_originals_are_had_only_if_the_share_says_so(site: Site) -> None:
    path, _ = site.share()
    file_id = media.file_id("private/acme/a.jpg")
    page = site.ask(f"{path}/files/{file_id}", headers=HTML)
    assert "original" not in page.text
    assert site.ask(f"{path}/files/{file_id}/original").status_code == 404
    assert site.ask(f"{path}/download.zip").status_code == 404
    assert site.ask(f"{path}/download.zip?file={file_id}").status_code == 404


def test_an_original_with_malware_is_given_to_nobody(changing: Site) -> None:
    record = changing.record("private/acme/a.jpg")
    changing.platform.catalog.put(replace(record, error_code=ErrorCode.MALWARE, error="malware"))
    path, _ = changing.share(allow_originals=True)
    assert changing.ask(f"{path}/files/{record.file_id}/original").status_code == 404
    assert set(zip_of(changing.ask(f"{path}/download.zip"))) == {"deep/b.jpg"}


def test_what_can_t_be_asked_of_a_link_is_refused(site: Site) -> None:
    path, _ = site.share()
    for method in ("PUT", "DELETE", "PATCH"):
        assert site.ask(path, method).status_code == 405
    assert site.ask(f"{path}/download.zip", "POST").status_code == 405
    many = "&".join(f"file={number}" for number in range(1_001))
    allowed, _ = site.share(allow_originals=True)
    assert site.ask(f"{allowed}/download.zip?{many}").status_code == 400


def test_titles_and_names_are_text_whatever_they_hold(changing: Site) -> None:
    evil = "<script>alert(1)</script>\u202e\"'"
    changing.platform.add(f"private/acme/{evil.replace('/', '_')}.jpg", jpeg("evil"))
    changing.platform.settle()
    path, _ = changing.share(title="<b>T</b>")
    page = changing.ask(path, headers=HTML).text
    assert "<script>alert" not in page
    assert "<b>T</b>" not in page
    assert "\u202e" not in page


# -- bytes ----------------------------------------------------------------------------------------------------------


def test_an_original_comes_under_its_own_name_whole_or_in_part(site: Site) -> None:
    path, _ = site.share(allow_originals=True)
    url = f"{path}/files/{media.file_id('private/acme/a.jpg')}/original"
    whole = site.ask(url)
    assert whole.content == jpeg("acme")
    assert whole.headers["content-disposition"] == 'attachment; filename="a.jpg"'
    part = site.ask(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, jpeg("acme")[2:5])
    assert part.headers["content-range"] == f"bytes 2-4/{len(jpeg('acme'))}"
    again = site.ask(url, headers={"if-none-match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = site.ask(url, "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    assert site.ask(url, headers={"range": "bytes=9999-"}).status_code == 416


HOSTILE_NAMES: Final = (
    "x\"; filename*=UTF-8''evil.html",
    "a;b=c.jpg",
    "ключ 写真.jpg",
    "%2e%2e.jpg",
    "\u202egpj.exe",
    "..jpg",
)


def test_no_name_of_a_file_writes_a_header_of_its_own(tmp_path: Path) -> None:
    platform = MemoryPlatform(tmp_path)
    keys = [f"private/acme/{name}" for name in HOSTILE_NAMES]
    for key in keys:
        platform.add(key, jpeg("x"))
    platform.take_in()
    site = over(platform)
    path, _ = site.share(allow_originals=True)
    for key in keys:
        answer = site.ask(f"{path}/files/{media.file_id(key)}/original")
        told = answer.headers["content-disposition"]
        assert answer.headers.get_list("content-disposition") == [told]
        assert told.startswith('attachment; filename="')
        outside = re.sub(r'"[^"]*"', "", told)
        assert re.fullmatch(r"attachment; filename=(; filename\*=UTF-8''[A-Za-z0-9%!#$&+.^_`|~-]+)?", outside)


def test_a_private_film_plays_through_the_share_from_playlist_to_bytes(tmp_path: Path) -> None:
    platform = MemoryPlatform(tmp_path)
    platform.add("private/film #1?.mov", film("a film"))
    platform.settle()
    site = over(platform)
    path, _ = site.share(of("private/film #1?.mov"))
    page = site.ask(path, headers=HTML).text
    [stream] = re.findall(r'data-stream="([^"]*)"', page)
    master = site.ask(stream)
    assert master.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    rung = re.findall(r"^[^#].*m3u8.*$", master.text, re.MULTILINE)[0]
    media_list = site.ask(urljoin(stream, rung))
    assert media_list.status_code == 200
    [uri] = re.findall(r'#EXT-X-MAP:URI="([^"]*)"', media_list.text)
    piece = site.ask(urljoin(urljoin(stream, rung), uri), headers={"range": "bytes=2-6"})
    assert (piece.status_code, piece.content) == (206, b"dia o")
    [board] = re.findall(r'data-board="([^"]*)"', page)
    [tile] = re.findall(r"^(\S+)#xywh", site.ask(board).text, re.MULTILINE)
    assert site.ask(urljoin(board, tile)).status_code == 200
    assert all(link.startswith(f"{path}/") for link in (stream, urljoin(stream, rung), urljoin(board, tile)))


def test_sounds_and_documents_are_shown_by_what_they_have(tmp_path: Path) -> None:
    platform = MemoryPlatform(tmp_path)
    platform.add("in/song.flac", sound("la"))
    platform.add("in/paper.pdf", document("words"))
    platform.add("in/thing.bin", b"\0\1\2")
    platform.settle()
    site = over(platform)
    path, _ = site.share(Target(TargetKind.FOLDER, "in"))
    song = site.ask(f"{path}/files/{media.file_id('in/song.flac')}", headers=HTML).text
    assert len(re.findall(r"<source src=", song)) == 2
    paper = site.ask(f"{path}/files/{media.file_id('in/paper.pdf')}", headers=HTML).text
    [text] = re.findall(r'href="([^"]*/renditions/text)"', paper)
    assert site.ask(text).text.endswith("words")
    thing = site.ask(f"{path}/files/{media.file_id('in/thing.bin')}", headers=HTML).text
    assert "There is nothing to show of this file." in thing


# -- archives -------------------------------------------------------------------------------------------------------


def test_all_files_of_a_share_come_as_one_archive(site: Site) -> None:
    path, _ = site.share(allow_originals=True, title="For Acme")
    answer = site.ask(f"{path}/download.zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="For Acme.zip"'
    assert zip_of(answer) == {"a.jpg": jpeg("acme"), "deep/b.jpg": jpeg("deep")}
    head = site.ask(f"{path}/download.zip", "HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_some_files_of_a_share_come_as_one_archive(site: Site) -> None:
    path, _ = site.share(allow_originals=True)
    chosen = media.file_id("private/acme/deep/b.jpg")
    assert set(zip_of(site.ask(f"{path}/download.zip?file={chosen}&file={chosen}"))) == {"deep/b.jpg"}


# -- passwords, and guessing ----------------------------------------------------------------------------------------


def test_a_share_with_a_password_shows_nothing_before_it_was_given(site: Site) -> None:
    path, share = site.share(password_hash="hash of rose", allow_originals=True)
    file = f"{path}/files/{media.file_id('private/acme/a.jpg')}"
    for place in (path, f"{path}/download.zip", file, f"{file}/original", f"{file}/renditions/thumbnail"):
        answer = site.ask(place, headers=HTML)
        assert answer.status_code == 403
        assert "a.jpg" not in answer.text
    wrong = site.ask(path, "POST", data={"password": "tulip"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (403, False)
    right = site.ask(path, "POST", data={"password": "rose"})
    assert (right.status_code, right.headers["location"]) == (303, path)
    cookie = right.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", f"Path={path}"} <= set(cookie.split("; "))
    site.cookies["share"] = cookie.partition("=")[2].partition(";")[0]
    assert site.ask(file, headers=HTML).status_code == 200
    assert site.shares.share(share.id).views == 0
    another, _ = site.share(password_hash="hash of rose")
    assert site.ask(another, headers=HTML).status_code == 403


@pytest.mark.parametrize("cookie", ["", "x", "ä", "0" * 64])
def test_no_made_up_cookie_opens_a_share(site: Site, cookie: str) -> None:
    path, _ = site.share(password_hash="hash of rose")
    assert site.ask(path, headers=[("cookie", f"share={cookie}".encode("latin-1"))]).status_code == 403


@pytest.mark.parametrize(
    "options",
    [{}, {"data": {"password": "x" * 10_000}}, {"json": {"password": "rose"}}, {"content": b"\xff\xfe=\0"}],
)
def test_a_form_that_is_none_gives_no_password(site: Site, options: dict[str, Any]) -> None:
    path, _ = site.share(password_hash="hash of rose")
    assert site.ask(path, "POST", **options).status_code == 403


def test_guessing_links_is_slowed_down_and_disturbs_nobody_else(site: Site) -> None:
    path, _ = site.share()
    codes = [site.ask(f"/s/guess{number}", headers=HTML).status_code for number in range(7)]
    assert codes == [404] * 5 + [429] * 2
    assert int(site.ask("/s/guess", headers=HTML).headers["retry-after"]) == 12
    assert site.ask("/s/guess", address="192.0.2.9").status_code == 404
    assert site.ask(path).status_code == 200
    site.platform.clock.advance(12)
    assert site.ask("/s/guess").status_code == 404


def test_guessing_a_password_is_slowed_down_whoever_guesses_from_one_network(site: Site) -> None:
    path, _ = site.share(password_hash="hash of rose")
    codes = [
        site.ask(path, "POST", f"2001:db8::{number}", data={"password": str(number)}).status_code for number in range(6)
    ]
    assert codes == [403] * 5 + [429]
    assert site.ask(path, "POST", "2001:db8::99", data={"password": "rose"}).status_code == 429
    assert site.ask(path, "POST", "192.0.2.1", data={"password": "rose"}).status_code == 303


def test_a_program_is_told_what_went_wrong_without_the_secret(site: Site) -> None:
    answer = site.ask("/s/some-secret", headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404
    assert "some-secret" not in answer.text
