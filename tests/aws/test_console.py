"""The main way through the pages over the emulated home: sign in, send files, open them, take one away and back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import pytest

from aws.conftest import until
from contentplatform.accounts.port import Role
from contentplatform.app import AwsHome
from contentplatform.errors import NotFound
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole
from contentplatform.web.claim import Part
from contentplatform.web.site import open_site
from fakes.console import PASSWORD, TESTER, Browser
from sample_media import encoded, photo


@pytest.fixture
def browser(home: AwsHome) -> Iterator[Browser]:
    """The site as ``--home aws serve`` opens it, in the browser of an editor who has not signed in yet."""
    home.platform.accounts.add_user("edda", PASSWORD, Role.EDITOR, by=TESTER)
    site = open_site(home, [Part.APP], listening_host="127.0.0.1")
    loop = asyncio.new_event_loop()
    yield Browser(site.app, loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    site.close()


def is_completed(home: AwsHome, key: str) -> bool:
    try:
        record = home.platform.catalog.get(file_id(key))
    except NotFound:
        return False
    return record.status is ProcessingStatus.COMPLETED and record.deleted_at is None


def test_the_main_way_over_the_home_on_aws(home: AwsHome, browser: Browser, folder: str) -> None:
    key, body = f"{folder}/harbour.jpg", encoded(photo(640, 480, seed=11), "JPEG")

    # Signing in.
    assert browser.get("/library").headers["location"].startswith("/sign-in")
    assert browser.post("/sign-in", {"name": "edda", "password": "wrong"}).status_code == 401
    library = browser.done("/sign-in", {"name": "edda", "password": PASSWORD})
    token = {"csrf_token": library.all("input", name="csrf_token")[0]["value"]}

    # A file by the page's own form, one by the API's; the platform's functions process them.
    files = [("files", ("harbour.jpg", body, "image/jpeg"))]
    assert browser.post("/library/upload", {"folder": folder, **token}, files=files).status_code == 303
    sent = browser.post(
        "/api/v1/files",
        {"folder": folder},
        files=[("file", ("words.txt", b"some words", "text/plain"))],
        headers={"X-CSRF-Token": token["csrf_token"], "Accept": "application/json"},
    )
    assert sent.status_code in {200, 201}, sent.text
    for name, content in ((key, body), (f"{folder}/words.txt", b"some words")):
        with home.platform.store.open(BucketRole.PRIMARY, name) as reader:
            assert reader.read() == content
        until(partial(is_completed, home, name), f"{name} is processed")

    # They are in the library, and a file's page has the edge's links.
    listed = f"/library?folder={folder}"
    until(lambda: "harbour.jpg" in browser.page(listed).text, "the library shows it")
    record = home.platform.catalog.get(file_id(key))
    page = browser.page(f"/files/{record.file_id}")
    first = record.renditions[0]
    domain = urlsplit(home.platform.edge.url(first.key, first.sha256)).netloc
    links = [link["data-copy"] for link in page.all("a") if "data-copy" in link]
    assert [urlsplit(link).netloc for link in links] == [domain] * len(record.renditions)
    shown = browser.get(f"/api/v1/files/{record.file_id}/renditions/thumbnail")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    assert browser.get(f"/api/v1/files/{record.file_id}/original").content == body
    assert "harbour.jpg" in browser.page("/activity").text

    # Taken away, and brought back.
    picked = {"file": record.file_id, **token}
    assert "1 file moved to the trash" in browser.done("/library/act", {"do": "delete", **picked}).text
    assert home.platform.catalog.get(record.file_id).deleted_at is not None
    assert "1 file brought back" in browser.done("/trash/undelete", picked).text
    until(partial(is_completed, home, key), f"{key} is back")
    assert browser.get(f"/api/v1/files/{record.file_id}/original").content == body
