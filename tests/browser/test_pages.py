"""The console in Debian's Chromium: the way of a file from its drop to its link, by mouse, by keys, on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, Route, expect

import document_files
import sample_clips
import sample_media
from browser.served import CHROMIUM, DESKTOP, PHONE, Person, chromium, serving
from conftest import NO_CHROMIUM
from contentplatform.app import open_local
from contentplatform.config import load
from contentplatform.media import file_id

JPEG: Final = "image/jpeg"
WORDS: Final = "The tide comes in at noon"
_LONG_MILLISECONDS: Final = 300_000
"""A film is encoded meanwhile."""


@dataclass
class Stage:
    """A served library with files of every kind in it, and who dropped them there."""

    browser: Browser
    url: str
    folder: Path
    person: Person

    @property
    def page(self) -> Page:
        """The page that is open."""
        return self.person.page

    def another(self, **options: object) -> Person:
        """Somebody else, who has not signed in."""
        return Person(self.browser.new_context(base_url=self.url, **{"viewport": DESKTOP, **options}))  # type: ignore[arg-type]  # Playwright's options, handed on

    def same(self, **options: object) -> Person:
        """The administrator at another browser, signed in."""
        return self.another(storage_state=self.person.context.storage_state(), **options)


def files() -> dict[str, tuple[str, bytes]]:
    """Ten files of every kind, one of them no picture although it says so."""
    pictures = {
        f"{name}.jpg": (JPEG, sample_media.encoded(sample_media.photo(480, 360, seed), "JPEG"))
        for seed, name in enumerate(("dawn", "quay", "gulls"), 3)
    }
    text = f"BT /F1 24 Tf 72 700 Td ({WORDS}) Tj ET".encode()
    return {
        **pictures,
        "harbour.jpg": (JPEG, sample_media.telling_jpeg(sample_media.photo(640, 480))),
        "logo.png": ("image/png", sample_media.encoded(sample_media.transparent(), "PNG")),
        "film.mkv": ("video/x-matroska", sample_clips.three_subtitles_mkv().read_bytes()),
        "tone.wav": ("audio/wav", sample_clips.sound("wav").read_bytes()),
        "tides.pdf": ("application/pdf", document_files.pdf([text])),
        "data.bin": ("application/octet-stream", bytes(range(256)) * 8),
        "broken.jpg": (JPEG, b"this is no picture"),
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Signs in, drops ten files, and watches them finish."""
    if not CHROMIUM.exists():
        pytest.skip(NO_CHROMIUM)
    folder = tmp_path_factory.mktemp("served") / "data"
    with serving(folder) as (url, password), chromium() as browser:
        person = Person(browser.new_context(base_url=url, viewport=DESKTOP))  # type: ignore[arg-type]  # a plain dict will do
        person.sign_in(password)
        page = person.page
        expect(page.get_by_text("The library is empty")).to_be_visible()
        person.drop(files())
        expect(page.get_by_role("heading", name="10 of 10 stored")).to_be_visible()
        expect(page.locator(".card")).to_have_count(10)
        expect(page.locator(".card[data-busy]")).to_have_count(0, timeout=_LONG_MILLISECONDS)
        expect(page.locator(".card img")).to_have_count(8)
        expect(page.locator(".card .badge.bad")).to_have_text("Failed")
        assert person.wrong == []
        yield Stage(browser, url, folder, person)


def test_pictures_are_shown_and_a_broken_file_says_why(stage: Stage) -> None:
    stage.page.goto("/library")
    stage.page.wait_for_function("() => [...document.images].every((each) => each.complete && each.naturalWidth > 0)")
    stage.person.open("broken.jpg")
    expect(stage.page.get_by_text("says image/jpeg, is text/plain")).to_be_visible()
    expect(stage.page.get_by_role("button", name="Try again")).to_be_visible()


def test_the_search_finds_as_one_types(stage: Stage) -> None:
    page = stage.page
    page.goto("/library")
    page.keyboard.press("/")
    page.keyboard.type("tide")
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .name")).to_have_text("tides.pdf")
    expect(page).to_have_url(re.compile(r"q=tide$"))
    page.get_by_label("Search the library").fill("")
    expect(page.locator(".card")).to_have_count(10)
    page.get_by_role("navigation", name="Kinds of files").get_by_role("link", name="Sounds").click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .name")).to_have_text("tone.wav")
    assert stage.person.wrong == []


def test_keys_go_from_file_to_file_pick_and_open(stage: Stage) -> None:
    page = stage.page
    page.goto("/library")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.activeElement.closest('.card').dataset.id")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("2 files picked")
    page.keyboard.press("Escape")
    expect(page.locator("[data-bulk]")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator(f'.card[data-id="{first}"] .open').focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/files/{first}$"))


def test_files_that_are_picked_are_tagged_together(stage: Stage) -> None:
    page = stage.page
    page.goto("/library?kind=image")
    for name in ("dawn.jpg", "quay.jpg"):
        page.get_by_label(f"Pick {name}").check(force=True)
    page.locator(".bulk summary", has_text="Tag").click()
    page.get_by_label("Tags, divided by commas").fill("spring")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("2 files tagged.")).to_be_visible()
    page.locator(".facets").get_by_role("link", name="spring").click()
    expect(page.locator(".card")).to_have_count(2)


def test_one_comes_closer_to_a_picture(stage: Stage) -> None:
    stage.person.open("harbour.jpg")
    page = stage.page
    expect(page.locator("h1")).to_have_text("Harbour")
    expect(page.get_by_text("Agency Nine")).to_be_visible()
    expect(page.get_by_text("-33.8569")).to_have_count(0)
    page.get_by_role("link", name="Show place and serial numbers").click()
    expect(page.get_by_text("-33.8569, 151.2152")).to_be_visible()
    page.get_by_role("button", name="Larger").click()
    expect(page.locator(".pan")).to_have_class(re.compile("zoomed"))
    expect(page.locator(".pan img")).to_have_attribute("src", re.compile("webp"))
    page.get_by_role("button", name="Fit").click()
    expect(page.locator(".pan")).not_to_have_class(re.compile("zoomed"))
    assert stage.person.wrong == []


def test_a_film_is_streamed_with_captions_and_pictures_to_scrub_by(stage: Stage) -> None:
    stage.person.open("film.mkv")
    page = stage.page
    page.wait_for_function("() => document.querySelector('#film').dataset.streaming === '1'")
    assert page.evaluate("document.querySelector('#film').currentSrc").startswith("blob:")
    page.locator("[data-captions]").select_option(label="English")
    page.evaluate("document.querySelector('#film').play()")
    page.wait_for_function("() => document.querySelector('#film').currentTime > 0.2")
    shown = "(track) => track.mode === 'showing' && track.cues?.length"
    page.wait_for_function(f"() => [...document.querySelector('#film').textTracks].some({shown})")
    page.locator("#scrub").hover()
    expect(page.locator("[data-shot]")).to_be_visible()
    assert "storyboard" in page.locator("[data-shot]").evaluate("(shot) => shot.style.backgroundImage")
    assert stage.person.wrong == []


def test_a_sound_is_drawn_and_played(stage: Stage) -> None:
    stage.person.open("tone.wav")
    page = stage.page
    expect(page.locator("canvas")).to_be_visible()
    page.evaluate("document.querySelector('#sound').play()")
    page.wait_for_function("() => document.querySelector('#sound').currentTime > 0.1")
    drawn = "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    assert page.locator("canvas").evaluate(drawn)
    assert stage.person.wrong == []


def test_a_document_is_shown_and_can_be_read(stage: Stage) -> None:
    stage.person.open("tides.pdf")
    expect(stage.page.get_by_alt_text("The first page of tides.pdf")).to_be_visible()
    expect(stage.page.locator(".paper-text")).to_contain_text(WORDS)


def test_an_upload_that_breaks_off_goes_on_by_itself(stage: Stage) -> None:
    page = stage.page
    page.goto("/library")
    broken: list[str] = []

    def break_off_once(route: Route) -> None:
        if broken or route.request.method not in {"POST", "PATCH"}:
            route.fallback()
            return
        broken.append(route.request.method)
        route.abort("connectionreset")

    page.route("**/api/v1/uploads**", break_off_once)
    stage.person.drop({"again.bin": ("application/octet-stream", bytes(200_000))})
    expect(page.get_by_role("heading", name="1 of 1 stored")).to_be_visible()
    page.unroute("**/api/v1/uploads**")
    assert broken
    expect(page.locator(".card", has_text="again.bin")).to_be_visible()
    stage.person.wrong.clear()  # the browser says that a request broke off


def test_an_upload_that_is_refused_says_why_beside_its_name(stage: Stage) -> None:
    page = stage.page
    page.goto("/library")
    stage.person.drop({"x" * 300 + ".bin": ("application/octet-stream", b"x"), "fine.bin": ("", b"fine")})
    page.get_by_label("Into the folder").evaluate("(field) => (field.value = 'y'.repeat(800))")
    stage.person.drop({"z" * 150 + ".bin": ("application/octet-stream", b"z")})
    expect(page.locator(".uploads .why")).to_contain_text("at most 900")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    stage.person.wrong.clear()  # the browser says that a request was refused


def test_an_older_version_is_restored(stage: Stage) -> None:
    page = stage.page
    page.goto("/library")
    stage.person.drop({"dawn.jpg": (JPEG, sample_media.encoded(sample_media.photo(300, 300, 9), "JPEG"))})
    expect(page.get_by_role("heading", name="1 of 1 stored")).to_be_visible()
    stage.person.open("dawn.jpg")
    expect(page.locator("#versions li")).to_have_count(2)
    expect(page.get_by_text("300 × 300", exact=True)).to_be_visible(timeout=_LONG_MILLISECONDS)
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("That version is current again")).to_be_visible()
    expect(page.locator("#versions li")).to_have_count(3)
    expect(page.get_by_text("480 × 360", exact=True)).to_be_visible(timeout=_LONG_MILLISECONDS)


def test_a_link_shows_a_file_to_a_stranger_until_it_is_revoked(stage: Stage) -> None:
    page = stage.page
    stage.person.open("quay.jpg")
    page.get_by_role("link", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share quay.jpg")
    dialog.get_by_label("Title, for who opens it").fill("For the printer")
    dialog.get_by_role("button", name="Make the link").click()
    link = page.locator(".secret code").inner_text()
    stranger = stage.another()
    stranger.page.goto(link)
    expect(stranger.page.locator("h1")).to_be_visible()
    expect(stranger.page.locator("img").first).to_be_visible()
    stranger.page.goto("/library")
    expect(stranger.page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Revoke")).first.click()
    expect(page.get_by_text("The link leads nowhere any more.")).to_be_visible()
    answer = stranger.page.goto(link)
    assert answer is not None
    assert answer.status == 404
    stranger.context.close()


def test_a_stranger_sends_a_file_by_an_upload_link(stage: Stage) -> None:
    page = stage.page
    page.goto("/settings/links")
    page.locator("summary", has_text="New upload link").click()
    form = page.locator('form[action="/settings/upload-links"]')
    form.get_by_label("Into the folder").fill("incoming")
    form.get_by_role("button", name="Make the link").click()
    stranger = stage.another()
    stranger.page.goto(page.locator(".secret code").inner_text())
    stranger.page.get_by_label("Files").set_input_files(
        {"name": "from outside.txt", "mimeType": "text/plain", "buffer": b"hello"}
    )
    stranger.page.get_by_role("button", name="Send").click()
    expect(stranger.page.get_by_role("heading", name="1 of 1 stored")).to_be_visible()
    assert stranger.wrong == []
    stranger.context.close()
    page.goto("/library")
    page.locator(".facets").get_by_role("link", name="incoming").click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .name")).to_have_text("from outside.txt")


def test_a_file_is_deleted_and_comes_back(stage: Stage) -> None:
    page = stage.page
    stage.person.open("gulls.jpg")
    page.locator("summary", has_text="Move, delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("1 file moved to the trash.")).to_be_visible()
    expect(page.locator(".card", has_text="gulls.jpg")).to_have_count(0)
    page.goto("/trash")
    page.get_by_label("Pick gulls.jpg").check()
    page.get_by_role("button", name="Bring back what is picked").click()
    expect(page.get_by_text("1 file brought back.")).to_be_visible()
    expect(page.locator("h1")).to_have_text("gulls.jpg")


def test_activity_shows_what_fails_as_it_happens(stage: Stage) -> None:
    page = stage.page
    page.goto("/activity")
    other = stage.same()
    other.page.goto("/library")
    other.drop({"late.jpg": (JPEG, b"no picture either")})
    row = page.get_by_role("row", name=re.compile("late.jpg"))
    expect(row).to_contain_text("says image/jpeg, is text/plain", timeout=_LONG_MILLISECONDS)
    other.context.close()


PAGES: Final = ("/library", "/collections", "/activity", "/delivery", "/trash", "/settings", "/settings/links",
                "/settings/users", "/settings/webhooks", "/settings/audit")  # fmt: skip


def addresses(stage: Stage) -> list[str]:
    """Every sort of page, those of files of every kind among them."""
    stage.page.goto("/library")
    links = stage.page.locator(".card .open")
    named = dict(zip(links.locator(".name").all_inner_texts(), links.evaluate_all(
        "(all) => all.map((each) => each.getAttribute('href'))"), strict=True))  # fmt: skip
    shown = ("harbour.jpg", "film.mkv", "tone.wav", "tides.pdf", "data.bin", "broken.jpg")
    return [*PAGES, *(named[name] for name in shown)]


def test_axe_finds_no_serious_fault_on_any_page_light_or_dark(stage: Stage) -> None:
    found = {}
    stranger = stage.another()
    for person, address in [(stranger, "/sign-in"), *((stage.person, address) for address in addresses(stage))]:
        person.page.emulate_media(reduced_motion="reduce")  # or colours are looked at on their way
        person.page.goto(address)
        found[address] = person.faults()
        person.page.emulate_media(color_scheme="dark")
        found[f"{address}, dark"] = person.faults("color-contrast")  # all that colours change
        person.page.emulate_media(color_scheme="light")
    stranger.context.close()
    assert {address: faults for address, faults in found.items() if faults} == {}


def test_the_switch_of_colours_offers_those_that_are_not_shown(stage: Stage) -> None:
    person = stage.same(color_scheme="dark")
    page, switch = person.page, person.page.locator("[data-theme-switch]")
    page.goto("/library")
    expect(switch).to_have_text("Light colours")
    with page.expect_response("**/theme"):
        switch.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(switch).to_have_text("Dark colours")
    page.goto("/library")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(switch).to_have_text("Dark colours")
    person.context.close()


def test_a_phone_shows_every_page_without_scrolling_sideways(stage: Stage) -> None:
    person = stage.same(viewport=PHONE, has_touch=True, is_mobile=True)
    page = person.page
    wide = []
    for address in addresses(stage):
        page.goto(address)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(address)
    assert wide == []
    page.goto("/library")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Activity").tap()
    expect(page.get_by_role("heading", name="Activity", level=1)).to_be_visible()
    person.open("film.mkv")
    page.wait_for_function("() => document.querySelector('#film').dataset.streaming === '1'")
    person.context.close()


def test_without_scripts_files_are_found_uploaded_and_opened(stage: Stage) -> None:
    person = stage.same(java_script_enabled=False)
    page = person.page
    page.goto("/library")
    page.get_by_label("Search the library").fill("harbour")
    page.get_by_label("Search the library").press("Enter")
    expect(page.locator(".card")).to_have_count(1)
    page.locator("summary", has_text="Upload").click()
    page.get_by_label("Files", exact=True).set_input_files(
        {"name": "plain.txt", "mimeType": "text/plain", "buffer": b"plain"}
    )
    page.locator("#upload").get_by_role("button", name="Upload").click()
    expect(page.get_by_text("1 file uploaded.")).to_be_visible()
    page.locator(".card .open", has_text="plain.txt").click()
    expect(page.locator("h1")).to_have_text("plain.txt")
    person.context.close()


def test_the_grid_stays_small_however_far_one_scrolls(stage: Stage) -> None:
    with closing(open_local(load(data_folder=stage.folder, environment={}))) as home:
        shown = home.platform.library.record("harbour.jpg")
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)

        def fill(_unit: object) -> None:
            for number in range(360):
                key = f"many/{number:03}.jpg"
                moment = long_ago + timedelta(seconds=number)
                home.catalog.put(replace(shown, file_id=file_id(key), file_path=key, upload_time=moment, revision=0))

        home.database.write(fill)
        home.index_for_search()
    page = stage.page
    page.goto("/library?folder=many")
    end = page.locator(".card", has_text="000.jpg")
    for _ in range(60):
        page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(100)
        if end.count():
            break
    expect(end).to_be_visible()
    assert page.locator(".chunk").count() == 6
    assert page.locator(".card").count() < 300
    page.evaluate("() => window.scrollTo(0, 0)")
    expect(page.locator(".card", has_text="359.jpg")).to_be_visible()
    assert stage.person.wrong == []
