"""What people without an account may send, over a real data folder: within the link's limits, and blindly."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.types import ASGIApp

from contentplatform import config
from contentplatform.accounts.port import Role, machine
from contentplatform.app import LocalHome, open_local
from contentplatform.delivery.local import LocalEdge
from contentplatform.errors import NotFound
from contentplatform.media import MediaKind
from contentplatform.sharing.port import UploadLink, UploadLinkDraft
from contentplatform.storage.port import BucketRole
from contentplatform.web.shares import create_shares
from fakes.accounts import PASSWORD

HTML: Final = {"accept": "text/html"}
TUS: Final = {"tus-resumable": "1.0.0"}


@dataclass
class Site:
    """Upload pages over a home."""

    home: LocalHome
    app: ASGIApp

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """One request."""

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("192.0.2.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    def link(self, folder: str, **limits: Any) -> tuple[str, UploadLink]:
        """A new link's path, and the link."""
        user = self.home.platform.accounts.user_named("admin")
        secret, link = self.home.platform.shares.create_upload_link(UploadLinkDraft(folder, **limits), user.id)
        return f"/u/{secret}", link

    def send(self, path: str, *files: tuple[str, bytes]) -> httpx.Response:
        """Send files by the form."""
        form = [("file", (name, body, "application/octet-stream")) for name, body in files]
        return self.ask(path, "POST", files=form, headers=HTML)

    def begin(self, path: str, name: str, length: int, **more: str) -> httpx.Response:
        """Begin an upload by tus."""
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        headers = {**TUS, "upload-length": str(length), "upload-metadata": metadata, **more}
        return self.ask(f"{path}/uploads", "POST", headers=headers)

    def stored(self, key: str) -> bytes:
        """What is under a key."""
        with self.home.platform.store.open(BucketRole.PRIMARY, key) as reader:
            return reader.read()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = config.load(data_folder=tmp_path_factory.mktemp("data"), environment={})
    home = open_local(settings)
    home.platform.accounts.ensure_administrator()
    home.platform.library.add("mine/secret.jpg", BytesIO(b"mine"))
    yield Site(home, create_shares(home.platform, lambda _given, _kept: False))
    home.close()


def test_the_page_says_what_is_wanted_and_works_without_scripts(site: Site) -> None:
    kinds = frozenset({MediaKind.IMAGE, MediaKind.VIDEO})
    path, _ = site.link("in/page", message="Your <b>best</b> ones", max_files=3, max_file_bytes=2_000_000, kinds=kinds)
    page = site.ask(path, headers=HTML)
    assert page.status_code == 200
    assert "Your &lt;b&gt;best&lt;/b&gt; ones" in page.text
    assert '<form class="panel fields" method="post" enctype="multipart/form-data"' in page.text
    assert f'data-uploads="{path}/uploads"' in page.text
    assert 'accept="image/*,video/*"' in page.text
    for word in ("3 more files", "2.0 MB", "images, videos"):
        assert word in page.text
    assert "in/page" not in page.text
    assert page.headers["x-robots-tag"] == "noindex, nofollow"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in page.headers["cache-control"]


def test_files_of_a_form_are_kept_under_their_names_and_counted_to_who_made_the_link(site: Site) -> None:
    path, link = site.link("in/form")
    before = site.home.platform.accounts.user(link.created_by).used_bytes
    page = site.send(path, ("a.txt", b"one"), ("b.txt", b"two!"))
    assert page.status_code == 200
    assert "2 files came" in page.text
    assert (site.stored("in/form/a.txt"), site.stored("in/form/b.txt")) == (b"one", b"two!")
    used = site.home.platform.shares.upload_link(link.id)
    assert (used.used_files, used.used_bytes) == (2, 7)
    assert site.home.platform.accounts.user(link.created_by).used_bytes == before + 7


def test_nothing_that_is_there_is_replaced(site: Site) -> None:
    site.home.platform.library.add("in/there/a.txt", BytesIO(b"mine"))
    path, _ = site.link("in/there")
    page = site.send(path, ("a.txt", b"theirs"), ("a.txt", b"again"))
    assert "<bdi>a (2).txt</bdi>" in page.text
    there = [site.stored(f"in/there/{name}") for name in ("a.txt", "a (2).txt", "a (3).txt")]
    assert there == [b"mine", b"theirs", b"again"]


@pytest.mark.parametrize("name", ["../../mine/secret.jpg", "..\\..\\mine\\secret.jpg", "/mine/secret.jpg"])
def test_no_name_leads_out_of_the_link_s_folder(site: Site, name: str) -> None:
    path, _ = site.link(f"in/{abs(hash(name))}")
    site.send(path, (name, b"theirs"))
    assert site.stored("mine/secret.jpg") == b"mine"
    begun = site.begin(path, name, 0)
    assert begun.status_code == 201
    assert site.stored("mine/secret.jpg") == b"mine"


def test_a_form_over_the_limits_keeps_what_fits_and_says_what_did_not(site: Site) -> None:
    path, link = site.link("in/limits", max_files=2, max_bytes=10, max_file_bytes=6)
    page = site.send(path, ("a.txt", b"1234567"), ("b.txt", b"123456"), ("c.txt", b"12345"), ("d.txt", b"1234"))
    assert page.status_code == 200
    assert "2 files came" in page.text
    assert page.text.count("<li>") >= 4
    used = site.home.platform.shares.upload_link(link.id)
    assert (used.used_files, used.used_bytes) == (2, 10)
    assert "has taken all the files" in site.ask(path, headers=HTML).text
    refused = site.send(path, ("e.txt", b"x"))
    assert refused.status_code == 400
    assert "2 files" in refused.text


def test_only_the_kinds_that_are_wanted_are_taken(site: Site) -> None:
    path, link = site.link("in/kinds", kinds=frozenset({MediaKind.IMAGE}))
    assert site.send(path, ("x.exe", b"MZ")).status_code == 400
    assert site.begin(path, "x.exe", 2).status_code == 400
    assert site.home.platform.shares.upload_link(link.id).used_files == 0


@pytest.mark.parametrize("options", [{}, {"data": {"a": "b"}}, {"content": b"x", "headers": {"content-type": "x/y"}}])
def test_what_is_no_form_with_files_is_refused(site: Site, options: dict[str, Any]) -> None:
    path, _ = site.link("in/none")
    assert site.ask(path, "POST", **options).status_code == 400


def test_a_film_comes_in_pieces_and_can_only_be_gone_on_with(site: Site) -> None:
    path, link = site.link("in/pieces", max_bytes=10)
    begun = site.begin(path, "film.mov", 10)
    place = begun.headers["location"]
    assert begun.status_code == 201
    assert re.fullmatch(re.escape(path) + "/uploads/[0-9a-f]{32}", place)
    piece = {**TUS, "content-type": "application/offset+octet-stream"}
    assert site.ask(place, "PATCH", headers={**piece, "upload-offset": "0"}, content=b"12345").status_code == 204
    told = site.ask(place, "HEAD", headers=TUS)
    assert (told.headers["upload-offset"], told.headers["upload-length"]) == ("5", "10")
    assert site.home.platform.shares.upload_link(link.id).used_bytes == 10
    assert site.ask(place, "PATCH", headers={**piece, "upload-offset": "5"}, content=b"67890").status_code == 204
    assert site.stored("in/pieces/film.mov") == b"1234567890"
    for method in ("GET", "POST", "PUT"):
        answer = site.ask(place, method, headers=TUS)
        assert answer.status_code in {404, 405}
        assert b"12345" not in answer.content
    assert site.begin(path, "more.mov", 1).status_code == 400


def test_an_upload_is_its_link_s_and_nobody_else_s(site: Site) -> None:
    path, _ = site.link("in/own")
    other, _ = site.link("in/other")
    name = site.begin(path, "x.bin", 5).headers["location"].rpartition("/")[2]
    assert site.ask(f"{path}/uploads/{name}", "HEAD", headers=TUS).status_code == 200
    assert site.ask(f"{other}/uploads/{name}", "HEAD", headers=TUS).status_code == 404
    assert site.ask(f"{other}/uploads/{name}", "DELETE", headers=TUS).status_code == 404
    assert site.ask(f"{path}/uploads/{name}", "DELETE", headers=TUS).status_code == 204


def test_a_length_that_is_told_too_late_is_not_taken(site: Site) -> None:
    path, _ = site.link("in/late")
    answer = site.ask(f"{path}/uploads", "POST", headers={**TUS, "upload-defer-length": "1"})
    assert answer.status_code == 400


def test_a_link_tells_nothing_of_what_is_here(site: Site) -> None:
    path, _ = site.link("mine")
    asked = {"key": "mine/secret.jpg", "sha256": "0" * 64, "length": 4}
    assert site.ask(f"{path}/uploads", "POST", json=asked).status_code in {403, 404}
    assert "secret.jpg" not in site.ask(path, headers=HTML).text
    for place in ("/files", "/mine/secret.jpg", "/download.zip"):
        assert site.ask(path + place, headers=HTML).status_code == 404


def test_a_link_that_ends_in_the_middle_takes_nothing_more(site: Site) -> None:
    path, link = site.link("in/ended")
    place = site.begin(path, "x.bin", 5).headers["location"]
    site.home.platform.shares.revoke_upload_link(link.id)
    piece = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
    assert site.ask(place, "PATCH", headers=piece, content=b"12345").status_code == 404
    assert site.ask(path, headers=HTML).status_code == 404
    assert site.send(path, ("a.txt", b"x")).status_code == 404
    with pytest.raises(NotFound):
        site.stored("in/ended/x.bin")


def test_a_link_takes_nothing_while_who_made_it_is_disabled(site: Site) -> None:
    accounts = site.home.platform.accounts
    maker = accounts.add_user("emil", PASSWORD, Role.EDITOR, by=machine("tests"))
    secret, _ = site.home.platform.shares.create_upload_link(UploadLinkDraft("in/suspended"), maker.id)
    path = f"/u/{secret}"
    place = site.begin(path, "x.bin", 5).headers["location"]
    piece = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
    accounts.disable(maker.id, by=machine("tests"))
    revoked, link = site.link("in/revoked")
    site.home.platform.shares.revoke_upload_link(link.id)
    assert site.ask(path, headers=HTML).text == site.ask(revoked, headers=HTML).text
    assert site.ask(place, "PATCH", headers=piece, content=b"12345").status_code == 404
    assert site.send(path, ("a.txt", b"x")).status_code == 404
    accounts.enable(maker.id, by=machine("tests"))
    assert site.ask(place, "PATCH", headers=piece, content=b"12345").status_code == 204
    assert site.stored("in/suspended/x.bin") == b"12345"
    accounts.remove_user(maker.id, by=machine("tests"))
    assert site.ask(path, headers=HTML).status_code == 404


def test_a_share_s_secret_uploads_nothing_and_an_upload_link_s_shows_nothing(site: Site) -> None:
    path, _ = site.link("in/apart")
    assert site.ask(path.replace("/u/", "/s/"), headers=HTML).status_code == 404


def test_no_rotation_of_signing_keys_ends_a_link(site: Site) -> None:
    path, _ = site.link("in/keys")
    edge = site.home.platform.edge
    assert isinstance(edge, LocalEdge)
    for number in range(3):
        edge.rotate_keys(bytes([number]) * 32)
    assert site.ask(path, headers=HTML).status_code == 200


def test_guessing_is_slowed_down_here_too(tmp_path: Path) -> None:
    home = open_local(
        config.load(data_folder=tmp_path, environment={"CONTENTPLATFORM_SHARING_WRONG_LINKS_PER_MINUTE": "2"})
    )
    site = Site(home, create_shares(home.platform, lambda _given, _kept: False))
    assert [site.ask("/u/x", headers=HTML).status_code for _ in range(3)] == [404, 404, 429]
    assert site.begin("/u/x", "a", 1).status_code == 429
    home.close()
