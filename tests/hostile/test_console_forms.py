"""Forms that want more than who sends them has, and pages that break: quotas, folders, the audit log, faults."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contentplatform.accounts.port import Role
from contentplatform.catalog.port import Collections, SearchQuery
from contentplatform.media import file_id
from contentplatform.web.console.site import console_app
from contentplatform.web.shares import site_of
from fakes.console import HOST, TESTER, Browser, ConsoleSite, Page, open_console


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    with open_console(tmp_path_factory.mktemp("forms")) as made:
        made.add("press/notes.txt")
        made.add("secret/plan.txt")
        yield made


@pytest.fixture(scope="module")
def held(site: ConsoleSite) -> Browser:
    """An editor who is held in a folder."""
    return site.browser("fred", Role.EDITOR, folder="press")


def acts(site: ConsoleSite, who: str) -> list[tuple[str, str]]:
    """What the audit log has of somebody, the oldest first, with what it was done to."""
    page = site.platform.audit.entries(cursor=None, limit=100)
    return [(entry.act, entry.subject) for entry in reversed(page.entries) if entry.who == who]


def test_what_is_done_by_forms_is_written_down_as_what_is_done_by_the_api(site: ConsoleSite) -> None:
    browser = site.browser("ines", Role.EDITOR)
    record = site.add("press/one.txt")
    collection = site.platform.collections.create("Shelf", owner="anna").collection_id
    before = len(acts(site, "ines"))
    url, picked = site.url("press/one.txt"), {"file": record.file_id}
    browser.post(f"{url}/edit", {"title": "One"})
    browser.post(f"{url}/tags", {"tags": "sea"})
    browser.post(f"{url}/collect", {"collection": collection})
    browser.post(f"/collections/{collection}/take", picked)
    browser.post("/settings/links", picked)
    browser.post("/settings/upload-links", {"folder": "in"})
    browser.post("/library/act", picked | {"do": "tag", "tags": "boat"})
    browser.post(f"{url}/delete")
    browser.post("/trash/undelete", picked)
    browser.post(f"{url}/move", {"key": "press/two.txt"})
    share = site.platform.shares.shares(limit=1).shares[0].id
    link = site.platform.shares.upload_links(limit=1).links[0].id
    key = "press/one.txt"
    assert acts(site, "ines")[before:] == [
        ("file.edit", key),
        ("file.tag", key),
        ("collection.extend", collection),
        ("collection.shrink", collection),
        ("share.create", share),
        ("upload_link.create", link),
        ("file.tag", key),
        ("file.delete", key),
        ("file.undelete", key),
        ("file.move", key),
    ]


def test_a_form_with_files_is_held_to_the_quota(site: ConsoleSite) -> None:
    browser = site.browser("quin", Role.EDITOR)
    accounts = site.platform.accounts
    user = next(each for each in accounts.users() if each.name == "quin")
    accounts.set_quota(user.id, 1_000, by=TESTER)
    files = {"files": ("few.bin", b"x" * 600, "application/octet-stream")}
    browser.post("/library/upload", {"folder": "quin"}, files=files)
    assert accounts.used_bytes(user.id) == 600
    files = {"files": ("many.bin", b"x" * 600, "application/octet-stream")}
    answer = browser.post("/library/upload", {"folder": "quin"}, files=files)
    assert "0 files uploaded" in browser.page(answer.headers["location"]).text
    assert accounts.used_bytes(user.id) == 600
    assert site.platform.library.perhaps_there(["quin/few.bin", "quin/many.bin"]) == {"quin/few.bin"}


def test_files_of_who_may_not_write_are_not_read(site: ConsoleSite) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"x")
        yield b"--x\r\n"

    cookie = f"session={site.platform.accounts.start_session(_user(site, 'vera'), source='127.0.0.1')}"
    transport = httpx.ASGITransport(site.app, raise_app_exceptions=True)
    headers = {"Cookie": cookie, "Origin": HOST, "Content-Type": "multipart/form-data; boundary=x"}

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            return await client.post("/library/upload", content=body(), headers=headers)

    answer = site.loop.run_until_complete(send())
    assert answer.status_code == 403
    assert read == []
    assert acts(site, "vera")[-1] == ("request.refused", "/library/upload")


def _user(site: ConsoleSite, name: str) -> str:
    return next(user.id for user in site.platform.accounts.users() if user.name == name)


def test_who_is_held_in_a_folder_changes_no_collection_of_others(site: ConsoleSite, held: Browser) -> None:
    collections: Collections = site.platform.collections
    made = collections.create("Plans", owner="anna")
    collections.add(made.collection_id, [file_id("secret/plan.txt"), file_id("press/notes.txt")])
    address = f"/collections/{made.collection_id}"
    assert held.post(address, {"name": "Mine"}).status_code == 403
    assert held.post(f"{address}/delete").status_code == 403
    assert held.post(f"{address}/take", {"file": file_id("secret/plan.txt")}).status_code == 404
    assert held.post(f"{address}/take", {"file": file_id("press/notes.txt")}).status_code == 303
    left = collections.files(made.collection_id).records
    assert [record.file_path for record in left] == ["secret/plan.txt"]
    assert collections.get(made.collection_id).name == "Plans"


def test_h53_a_foreign_execution_and_none_look_the_same_and_the_look_is_written_down(
    site: ConsoleSite, held: Browser
) -> None:
    foreign = site.platform.engine.list(file_id=file_id("secret/plan.txt")).executions[0].name
    missing = "f" * len(foreign)
    held.get("/library")  # which says what was done before, once
    answers = [held.get(f"/activity/{name}") for name in (foreign, missing)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(foreign, "…") == answers[1].text.replace(missing, "…")
    assert ("execution.refused", foreign) in acts(site, "fred")


@pytest.mark.parametrize(
    "form",
    [
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 100_000 + b"--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nX: ' + b"x" * 1_000_000 + b"\r\n\r\nx\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 2_000_000 + b"\r\n--x--\r\n",
        b"no form at all",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n",
        b"",
    ],
)
def test_h49_a_form_that_can_t_be_changes_nothing(site: ConsoleSite, form: bytes) -> None:
    before = [each.file_path for each in site.platform.catalog.search(SearchQuery()).records]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = site.editor.post("/library/upload", content=form, headers=headers)
    assert answer.status_code in {400, 403}
    assert Page.of(answer.text).all("h1")
    assert [each.file_path for each in site.platform.catalog.search(SearchQuery()).records] == before


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "text/plain"])
def test_h49_a_form_without_a_boundary_changes_nothing(site: ConsoleSite, kind: str) -> None:
    answer = site.editor.post("/library/upload", content=b"--x", headers={"Content-Type": kind})
    assert answer.status_code in {400, 403}


@pytest.mark.parametrize("revision", ["9" * 20, "9" * 5_000, "-1", "٣", "x"])
def test_a_revision_that_is_none_is_no_fault(site: ConsoleSite, revision: str) -> None:
    answer = site.editor.post(f"{site.url('press/notes.txt')}/edit", {"title": "x", "revision": revision})
    assert answer.status_code == 303


def test_a_notice_without_end_is_none(site: ConsoleSite) -> None:
    notice = base64.urlsafe_b64encode(b"[" * 12_000).decode()
    secret = site.platform.accounts.start_session(_user(site, "vera"), source="127.0.0.1")
    assert site.nobody.get("/library", Cookie=f"session={secret}; notice={notice}").status_code == 200


@pytest.mark.parametrize("part", ["console", "shares"])
def test_a_fault_that_nobody_foresaw_is_a_page_of_ours_without_its_insides(site: ConsoleSite, part: str) -> None:
    async def break_down(_request: Request) -> Response:
        raise ZeroDivisionError("/a/path of the machine")

    route = Route("/broken", break_down)
    app = console_app(site.home)
    app.router.routes.append(route)
    transport = httpx.ASGITransport(app if part == "console" else site_of([route]), raise_app_exceptions=False)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=HOST, headers={"Accept": "text/html"}) as client:
            return await client.get("/broken")

    answer = site.loop.run_until_complete(ask())
    assert answer.status_code == 500
    assert Page.of(answer.text).all("h1")
    assert "path of the machine" not in answer.text
    assert "ZeroDivision" not in answer.text
