"""The console of the home on AWS in Debian's Chromium: from a drop, which the browser sends to S3 itself, to a link.

The server is a process of its own, as ``contentplatform --home aws serve`` starts it, on a port that nobody knew when
the templates were made: the browser finds it at the address that they name, and at its own, which they don't.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, Response, expect

from aws.conftest import CONSOLE, Deployed
from browser.served import CHROMIUM, DESKTOP, Person, chromium, serving
from conftest import NO_CHROMIUM
from contentplatform.app import AwsHome, bucket_names
from contentplatform.config import environment_name
from contentplatform.storage.parts import SMALLEST_PART_BYTES
from contentplatform.storage.port import BucketRole
from sample_media import encoded, photo

PICTURE: Final = "lighthouse.jpg"
TAPE: Final = bytes(range(256)) * (SMALLEST_PART_BYTES // 256 + 16)
"""Two parts."""


@dataclass
class Stage:
    """The served home, a browser, and an administrator who has signed in nowhere yet."""

    browser: Browser
    own_url: str
    """The server's own address."""
    password: str
    s3: str
    bucket: str

    def somebody(self, url: str = CONSOLE) -> Person:
        """Whoever opens the console at this address; only the emulator's own certificate vouches for it."""
        options = {"base_url": url, "viewport": DESKTOP, "ignore_https_errors": True}
        return Person(self.browser.new_context(**options))  # type: ignore[arg-type]  # Playwright's options, in a plain dict


@pytest.fixture
def stage(home: AwsHome, deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Serves the home, and opens a browser that finds it at the address which the templates name, too."""
    if not CHROMIUM.exists():
        pytest.skip(NO_CHROMIUM)
    monkeypatch.setenv(environment_name("aws", "console_origins"), CONSOLE)
    with serving(tmp_path / "data") as (url, password):
        http = "--disable-http2"  # as S3 itself; the emulator takes it, and takes its time for it
        led = f"--host-resolver-rules=MAP {urlsplit(CONSOLE).netloc}:80 {urlsplit(url).netloc}"
        with chromium(led, http) as browser:
            bucket = bucket_names(home.platform.settings)[BucketRole.PRIMARY]
            yield Stage(browser, url, password, deployed.emulator.url, bucket)


class Sent:
    """What a person's page sends from now on: parts to S3, with their answers; and requests of tus, to the server."""

    def __init__(self, person: Person, s3: str) -> None:
        self.parts: list[Response] = []
        self.by_tus: list[str] = []
        self._s3 = f"{s3}/"
        person.page.on("response", self._answered)
        person.page.on("request", self._asked)

    def _answered(self, response: Response) -> None:
        if response.request.method == "PUT" and response.url.startswith(self._s3):
            self.parts.append(response)

    def _asked(self, request: Request) -> None:
        if "tus-resumable" in request.headers:
            self.by_tus.append(request.url)


def shown(page: Page, selector: str) -> None:
    """Wait until the first picture there has been drawn."""
    drawn = "(selector) => document.querySelector(selector)?.complete && document.querySelector(selector).naturalWidth"
    page.wait_for_function(drawn, arg=selector)


def test_the_main_way_in_a_browser_over_the_home_on_aws(
    home: AwsHome, stage: Stage, folder: str, tmp_path: Path
) -> None:
    person = stage.somebody()
    person.sign_in(stage.password)
    page, sent = person.page, Sent(person, stage.s3)

    # The browser sends what is dropped, and what is chosen, to S3: the bucket's own rule allows it.
    page.goto(f"/library?folder={folder}")
    picture = encoded(photo(640, 480, seed=23), "JPEG")
    person.drop({PICTURE: ("image/jpeg", picture), "tides.txt": ("text/plain", b"The lamp is lit at dusk")})
    expect(page.get_by_role("heading", name="2 of 2 stored")).to_be_visible()
    (tmp_path / "tape.bin").write_bytes(TAPE)
    page.locator("summary", has_text="Upload").click()
    page.get_by_label("Files", exact=True).set_input_files(tmp_path / "tape.bin")
    page.locator("#upload").get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="3 of 3 stored")).to_be_visible()
    paths = [f"/{stage.bucket}/{folder}/{name}" for name in (PICTURE, "tape.bin", "tape.bin", "tides.txt")]
    assert sorted(unquote(urlsplit(part.url).path) for part in sent.parts) == paths
    assert {(part.status, part.headers["access-control-allow-origin"]) for part in sent.parts} == {(200, CONSOLE)}
    assert sent.by_tus == []
    with home.platform.store.open(BucketRole.PRIMARY, f"{folder}/tape.bin") as reader:
        assert reader.read() == TAPE

    # The functions work on it; it is found, and looked at.
    expect(page.locator(".card")).to_have_count(3)
    expect(page.locator(".card[data-busy]")).to_have_count(0)
    expect(page.locator(".card .badge.bad")).to_have_count(0)
    page.get_by_label("Search the library").fill("lightho")
    expect(page.locator(".card")).to_have_count(1)
    shown(page, ".card img")
    page.locator(".card .open", has_text=PICTURE).click()
    expect(page.locator("h1")).to_have_text(PICTURE)
    shown(page, ".pan img")

    is_shown_by_a_link_until_it_is_revoked(stage, page)
    is_removed_and_comes_back(page, f"{folder}/{PICTURE}")
    assert person.wrong == []


def is_shown_by_a_link_until_it_is_revoked(stage: Stage, page: Page) -> None:
    """Of the file whose page is open."""
    page.get_by_role("link", name="Share").click()
    page.get_by_role("dialog").get_by_role("button", name="Make the link").click()
    link = page.locator(".secret code").inner_text()
    stranger = stage.somebody()
    stranger.page.goto(link)
    shown(stranger.page, "img")
    assert stranger.wrong == []
    page.get_by_role("button", name=re.compile("^Revoke")).first.click()
    expect(page.get_by_text("The link leads nowhere any more.")).to_be_visible()
    gone = stranger.page.goto(link)
    assert gone is not None
    assert gone.status == 404


def is_removed_and_comes_back(page: Page, key: str) -> None:
    """From its own page into the trash, and from there."""
    folder, _, name = key.rpartition("/")
    page.goto(f"/library?folder={folder}")
    page.locator(".card .open", has_text=name).click()
    page.locator("summary", has_text="Move, delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("1 file moved to the trash.")).to_be_visible()
    expect(page.locator(".card", has_text=name)).to_have_count(0)
    page.goto("/trash")
    page.get_by_label(f"Pick {key}").check()
    page.get_by_role("button", name="Bring back what is picked").click()
    expect(page.get_by_text("1 file brought back.")).to_be_visible()
    shown(page, ".pan img")


def test_from_a_page_that_the_bucket_does_not_know_files_go_by_the_server(
    home: AwsHome, stage: Stage, folder: str
) -> None:
    person = stage.somebody(stage.own_url)
    person.sign_in(stage.password)
    sent = Sent(person, stage.s3)
    person.page.goto(f"/library?folder={folder}")
    person.drop({"dawn.txt": ("text/plain", b"The lamp is out at dawn")})
    expect(person.page.get_by_role("heading", name="1 of 1 stored")).to_be_visible()
    assert (sent.parts, bool(sent.by_tus)) == ([], True)
    assert any("blocked by CORS policy" in words for words in person.wrong)
    with home.platform.store.open(BucketRole.PRIMARY, f"{folder}/dawn.txt") as reader:
        assert reader.read() == b"The lamp is out at dawn"
