"""The pages as a browser without scripts sees them: who may what, what is escaped, where forms lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Final
from urllib.parse import urljoin

import click
import pytest

from contentplatform.accounts.port import Role
from contentplatform.catalog.port import Rendition
from contentplatform.cli.main import cli
from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, PutOptions
from contentplatform.web.console import words
from contentplatform.web.console.site import ROUTES
from contentplatform.web.console.stationery import static_url
from fakes.console import HOST, PASSWORD, TESTER, Browser, ConsoleSite, Page, open_console

HOSTILE: Final = '"><script>alert(1)</script><img src=x onerror=alert(2)> photo\u202egpj.exe'
OWN_FORMS: Final = {"/theme", "/sign-out"}
PRIVATE: Final = {"gps": {"latitude": -33.8569, "longitude": 151.2152}, "body_serial_number": "SN-4711-BODY"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """One home for the whole module, with some files; each test that changes something has files of its own."""
    with open_console(tmp_path_factory.mktemp("console")) as made:
        thumbnail = Rendition(
            "thumbnail", "processed/thumbnails/t.jpg", "versions/t", "image/jpeg", 5, "ab" * 32, 150, 99
        )
        made.add(
            "press/harbour.jpg",
            b"\xff\xd8\xff\xe0 a picture",
            kind=MediaKind.IMAGE,
            status=ProcessingStatus.COMPLETED,
            renditions=(thumbnail,),
            processing_metadata={"width": 150, "height": 99, "private": PRIVATE},
        )
        made.add("press/notes.txt", tags=("sea", "boat"), credit="Zoë Müller")
        made.add(
            "press/broken.jpg",
            status=ProcessingStatus.FAILED,
            error="says image/jpeg, is text/plain",
            error_code=ErrorCode.TYPE_MISMATCH,
        )
        made.add("secret/plan.txt")
        made.add(f"hostile/{HOSTILE}", title=HOSTILE, description=HOSTILE, credit=HOSTILE, tags=(HOSTILE[:90],))
        yield made


def pages(site: ConsoleSite) -> list[str]:
    """The address of every page that there is."""
    collection = site.platform.collections.create("For the press", owner="anna")
    invalidation = site.platform.edge.invalidate(["/processed/thumbnails/a.jpg"], "test")
    assert invalidation is not None
    run = site.platform.engine.list().executions[0].name
    filled = {
        "file_id": file_id("press/harbour.jpg"),
        "collection_id": collection.collection_id,
        "name": run,
        "invalidation_id": invalidation.id,
    }
    return [
        re.sub(r"{(\w+)}", lambda found: filled[found[1]], route.path)
        for route in ROUTES
        if "GET" in (route.methods or ()) and route.path not in {"/", "/static/{name}", "/sign-in"}
    ]


# -- who ------------------------------------------------------------------------------------------------------------


def test_who_is_not_signed_in_is_led_to_signing_in_and_back(site: ConsoleSite) -> None:
    for path in pages(site):
        response = site.nobody.get(path)
        assert response.status_code == 303
        assert response.headers["location"].startswith("/sign-in?next=%2F")
    part = site.nobody.get("/library", **{"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in")


def test_signing_in_leads_to_the_page_that_was_wanted_and_nowhere_else(site: ConsoleSite) -> None:
    browser = Browser(site.app, site.loop)
    form = {"name": "emil", "password": PASSWORD}
    assert browser.post("/sign-in", form | {"next": "/activity?status=failed"}).headers["location"] == (
        "/activity?status=failed"
    )
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        assert browser.post("/sign-in", form | {"next": elsewhere}).headers["location"] == "/library"
    assert browser.get("/library").status_code == 200
    assert browser.get("/sign-in").headers["location"] == "/library"


def test_a_wrong_password_is_told_in_words_and_the_name_stays(site: ConsoleSite) -> None:
    response = Browser(site.app, site.loop).post("/sign-in", {"name": 'x"><b>', "password": "wrong"})
    page = Page.of(response.text)
    assert response.status_code == 401
    assert page.all("div", role="alert")
    assert page.all("input", id="name")[0]["value"] == 'x"><b>'


def test_signing_out_ends_the_session_on_the_server(site: ConsoleSite) -> None:
    browser = site.browser("olga", Role.VIEWER)
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert browser.get("/library").status_code == 303


WRITES: Final = [
    route.path
    for route in ROUTES
    if "POST" in (route.methods or ())
    and route.path not in {"/sign-in", "/sign-out", "/theme", "/library/download"}
    and not route.path.startswith(("/settings/password", "/settings/sessions", "/settings/tokens"))
]


@pytest.mark.parametrize("path", WRITES)
def test_a_viewer_changes_nothing(site: ConsoleSite, path: str) -> None:
    filled = re.sub(r"{\w+}", file_id("press/notes.txt"), path)
    assert site.viewer.post(filled, {"file": file_id("press/notes.txt"), "do": "delete"}).status_code == 403
    assert site.platform.library.record("press/notes.txt").deleted_at is None


@pytest.mark.parametrize("path", WRITES)
def test_a_form_without_its_token_or_from_elsewhere_changes_nothing(site: ConsoleSite, path: str) -> None:
    filled = re.sub(r"{\w+}", file_id("press/notes.txt"), path)
    form = {"file": file_id("press/notes.txt"), "do": "delete"}
    assert site.admin.post(filled, form, token="").status_code == 403
    assert site.admin.post(filled, form, token="0" * 64).status_code == 403
    assert site.admin.post(filled, form, origin="https://evil.example").status_code == 403
    assert site.admin.get(filled).status_code in {200, 404, 405}
    assert site.platform.library.record("press/notes.txt").deleted_at is None


def test_a_viewer_sees_no_button_that_writes(site: ConsoleSite) -> None:
    for path in ("/library", site.url("press/notes.txt"), site.url("press/broken.jpg"), "/activity", "/collections"):
        assert site.viewer.page(path).posts == OWN_FORMS, path
        assert not site.viewer.page(path).all("input", type="checkbox", form="nobody")
    assert {"/library/act", "/library/upload"} <= site.editor.page("/library").posts
    assert site.viewer.get("/trash").status_code == 403
    assert site.editor.get("/settings/users").status_code == 403


def test_what_lies_outside_somebody_s_folder_does_not_exist_for_them(site: ConsoleSite) -> None:
    browser = site.browser("pia", Role.EDITOR, folder="press/")
    assert "plan.txt" not in browser.page("/library").text
    assert browser.page("/library").all("li", **{"data-id": file_id("press/notes.txt")})
    assert browser.get(site.url("secret/plan.txt")).status_code == 404
    assert browser.get("/library?folder=secret").status_code == 404
    assert "secret" not in browser.page("/activity").text
    run = next(each for each in site.platform.engine.list().executions if each.input["key"] == "secret/plan.txt")
    assert browser.get(f"/activity/{run.name}").status_code == 404
    for what in ({"do": "delete"}, {"do": "tag", "tags": "mine"}, {"do": "reprocess"}):
        browser.post("/library/act", {"file": file_id("secret/plan.txt"), **what})
    record = site.platform.library.record("secret/plan.txt")
    assert (record.deleted_at, record.tags) == (None, ())
    moved = browser.done("/library/act", {"file": file_id("press/notes.txt"), "do": "move", "folder": "secret"})
    assert "outside your folder" in moved.text


# -- what pages hold -------------------------------------------------------------------------------------------------


def test_no_page_has_code_or_style_within_and_every_page_has_its_headers(site: ConsoleSite) -> None:
    addresses = [*pages(site), site.url(f"hostile/{HOSTILE}"), "/library?q=photo", "/trash", "/files/none", "/nowhere"]
    for path in (*addresses, "/sign-in"):
        response = (site.nobody if path == "/sign-in" else site.admin).get(path)
        page = Page.of(response.text)
        assert page.scripts.strip() == "", path
        for tag, attributes in page.tags:
            assert tag != "style", path
            assert tag != "script" or attributes["src"].startswith("/static/"), path
            assert not [name for name in attributes if name.startswith("on") or name == "style"], path
            addresses_in_it = [attributes.get(name, "") for name in ("href", "src", "action")]
            assert not [each for each in addresses_in_it if each.startswith(("javascript:", "data:", "http"))], path
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "script-src 'self';" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in response.headers["cache-control"]
        assert response.headers["x-frame-options"] == "DENY"


def test_hostile_names_and_titles_are_text_and_nothing_hides_in_them(site: ConsoleSite) -> None:
    for path in ("/library", site.url(f"hostile/{HOSTILE}"), "/activity", "/library?tag=" + HOSTILE[:90]):
        response = site.admin.get(path.replace("#", "%23"))
        page = Page.of(response.text)
        seen = re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", response.text, flags=re.DOTALL)
        assert "\u202e" not in seen, "but in fields, which hold what is edited"
        assert "<script>alert" not in response.text
        assert not page.all("img", src="x")
        assert "\\u{202e}gpj.exe" in page.text or path.startswith("/library?tag")


def test_every_control_has_a_name(site: ConsoleSite) -> None:
    for path in pages(site):
        if path == "/library/cards":
            continue  # a part of a page, for scripts
        page = site.admin.page(path)
        labels = {label.get("for") for label in page.all("label")}
        for tag, attributes in page.tags:
            if tag in {"input", "select", "textarea"} and attributes.get("type") not in {"hidden", "checkbox", "radio"}:
                named = attributes.get("id") in labels or "aria-label" in attributes or "hidden" in attributes
                assert named or {"data-captions"} & set(attributes), (path, attributes)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), (path, sorted(each for each in ids if ids.count(each) > 1))
        assert len(page.all("h1")) == 1, path
        assert len(page.all("main")) == 1, path


def test_where_a_picture_was_taken_is_shown_to_keepers_who_ask_for_it(site: ConsoleSite) -> None:
    url = site.url("press/harbour.jpg")
    assert "-33.8569" not in site.editor.page(url).text
    assert "-33.8569, 151.2152" in site.editor.page(f"{url}?private=1").text
    assert "SN-4711-BODY" in site.editor.page(f"{url}?private=1").text
    assert "-33.8569" not in site.viewer.page(f"{url}?private=1").text
    assert "Show place" not in site.viewer.page(url).text


def test_a_failed_file_says_why_and_can_be_tried_again(site: ConsoleSite) -> None:
    url = site.url("press/broken.jpg")
    assert "says image/jpeg, is text/plain" in site.editor.page(url).text
    assert f"{url}/reprocess" in site.editor.page(url).posts


# -- finding --------------------------------------------------------------------------------------------------------


def test_words_and_facets_narrow_the_library(site: ConsoleSite) -> None:
    found = site.viewer.page("/library?q=harb")
    assert [card["data-id"] for card in found.all("li", **{"class": "card"})] == [file_id("press/harbour.jpg")]
    assert "Nothing found" in site.viewer.page("/library?q=nosuchword").text
    everything = site.viewer.page("/library")
    links = {link["href"] for link in everything.all("a")}
    assert {"/library?folder=press", "/library?tag=sea", "/library?kind=image", "/library?status=failed"} <= links
    tagged = site.viewer.page("/library?tag=sea")
    assert [card["data-id"] for card in tagged.all("li", **{"class": "card"})] == [file_id("press/notes.txt")]
    assert site.viewer.get("/library?kind=nonsense").status_code == 400


def test_a_script_gets_a_part_of_the_page(site: ConsoleSite) -> None:
    part = Page.of(site.viewer.get("/library?q=harb", **{"HX-Request": "true"}).text)
    assert part.all("div", id="results")
    assert not part.all("html")
    assert part.all("input", name="q") == []
    assert site.viewer.get("/library").headers["vary"] == "Cookie, HX-Request"
    busy = Page.of(site.viewer.get(f"/library/cards?ids={file_id('press/harbour.jpg')},unknown").text)
    assert len(busy.all("li")) == 1


def test_pages_of_the_library_follow_each_other(site: ConsoleSite) -> None:
    record = site.platform.library.record("press/notes.txt")
    for number in range(63):
        key = f"many/{number:03}.txt"
        long_ago = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        known: dict[str, Any] = {
            "file_id": file_id(key),
            "file_path": key,
            "upload_time": long_ago,
            "tags": (),
            "revision": 0,
        }
        site.platform.catalog.put(replace(record, **known))
    site.home.index_for_search()
    first = site.viewer.page("/library?folder=many")
    [link] = [each for each in first.all("a") if "data-next" in each]
    second = site.viewer.page(link["href"])
    seen = [card["data-id"] for page in (first, second) for card in page.all("li", **{"class": "card"})]
    assert len(seen) == len(set(seen)) == 63
    assert not [each for each in second.all("a") if "data-next" in each]
    assert "63" in first.text


def test_an_empty_library_teaches(tmp_path: Any) -> None:
    with open_console(tmp_path) as site:
        assert "Drop files or whole folders" in site.editor.page("/library").text
        assert "Drop files" not in site.viewer.page("/library").text.replace("Drop to upload", "")


# -- changing -------------------------------------------------------------------------------------------------------


def test_many_files_are_tagged_moved_and_deleted_and_brought_back(site: ConsoleSite) -> None:
    keys = ["bulk/a.txt", "bulk/b.txt"]
    for key in keys:
        site.add(key, key.encode())
    picked = {"file": [file_id(key) for key in keys]}
    assert "2 files tagged" in site.editor.done("/library/act", picked | {"do": "tag", "tags": "spring, press"}).text
    assert site.platform.library.record("bulk/a.txt").tags == ("press", "spring")
    assert "2 files moved" in site.editor.done("/library/act", picked | {"do": "move", "folder": "/bulk/new/"}).text
    moved = {"file": [file_id(key.replace("bulk/", "bulk/new/")) for key in keys]}
    gone = site.editor.done("/library/act", moved | {"do": "delete"})
    assert "2 files moved to the trash" in gone.text
    undo = [each["value"] for each in gone.all("input", type="hidden", name="file")]
    assert sorted(undo) == sorted(moved["file"])
    assert "bulk/new/a.txt" in site.editor.page("/trash").text
    assert "2 files brought back" in site.editor.done("/trash/undelete", {"file": undo}).text
    assert site.platform.library.record("bulk/new/a.txt").tags == ("press", "spring")


def test_what_can_t_be_done_to_one_file_is_said_and_the_others_go_on(site: ConsoleSite) -> None:
    site.add("some/here.txt", b"here")
    picked = {"file": [file_id("some/here.txt"), "0" * 32], "do": "tag", "tags": "x"}
    told = site.editor.done("/library/act", picked).text
    assert "1 file tagged" in told
    assert "there is no such file" in told


def test_files_come_by_a_plain_form(site: ConsoleSite) -> None:
    files = [("files", ("one.txt", b"one", "text/plain")), ("files", ("a/../two.txt", b"two", "text/plain"))]
    response = site.editor.post("/library/upload", {"folder": "/by form/"}, files=files)
    assert response.headers["location"] == "/library?folder=by+form"
    assert site.platform.library.record("by form/one.txt").claimed_type == "text/plain"
    assert site.platform.library.record("by form/two.txt").size_bytes == 3


def test_an_edit_does_not_undo_what_somebody_else_did_meanwhile(site: ConsoleSite) -> None:
    record = site.add("edit/me.txt", b"edit me")
    form = {"title": "First", "description": "", "credit": "Me", "rights_until": "2030-01-31"}
    page = site.editor.done(f"{site.url('edit/me.txt')}/edit", form | {"revision": record.revision})
    assert "Saved." in page.text
    edited = site.platform.library.record("edit/me.txt")
    assert (edited.title, edited.credit, edited.rights_until) == ("First", "Me", datetime(2030, 1, 31, tzinfo=UTC))
    late = site.admin.post(
        f"{site.url('edit/me.txt')}/edit",
        form | {"title": "Second", "revision": record.revision},
        headers={"Referer": f"{HOST}{site.url('edit/me.txt')}"},
    )
    assert late.headers["location"] == site.url("edit/me.txt")
    assert "somebody else changed it meanwhile" in site.admin.page(site.url("edit/me.txt")).text
    assert site.platform.library.record("edit/me.txt").title == "First"


def test_an_older_version_is_restored_as_a_new_one(site: ConsoleSite) -> None:
    old = site.add("versions/v.txt", b"the first")
    site.add("versions/v.txt", b"the second")
    page = site.editor.done(f"{site.url('versions/v.txt')}/restore", {"version": old.version_id})
    assert "current again" in page.text
    with site.platform.library.open("versions/v.txt") as reader:
        assert reader.read() == b"the first"
    assert len(site.platform.library.versions("versions/v.txt")) == 3


def test_a_moved_file_s_former_address_leads_to_it(site: ConsoleSite) -> None:
    site.add("moves/from.txt", b"moves")
    page = site.editor.done(f"{site.url('moves/from.txt')}/move", {"key": "moves/to.txt"})
    assert "It is now moves/to.txt" in page.text
    assert site.viewer.get(site.url("moves/from.txt")).headers["location"] == site.url("moves/to.txt")


def test_a_collection_is_made_filled_shared_and_taken_away(site: ConsoleSite) -> None:
    site.add("shelf/one.txt", b"one")
    made = site.editor.post("/collections", {"name": "Spring <b>", "description": "for all"})
    url = made.headers["location"]
    name = url.rpartition("/")[2]
    offered = {"value": name}
    assert offered in site.editor.page(site.url("shelf/one.txt")).all("option")
    site.editor.done("/library/act", {"file": file_id("shelf/one.txt"), "do": "collect", "collection": name})
    assert offered not in site.editor.page(site.url("shelf/one.txt")).all("option")
    assert "one.txt" in site.viewer.page(url).text
    assert "Spring <b>" in site.viewer.page(url).text
    shared = Page.of(site.editor.post("/settings/links", {"collection": name, "days": "7"}).text)
    secret = re.search(r"http://127\.0\.0\.1(/s/\S+)", shared.text)
    assert secret is not None
    assert site.nobody.get(secret[1]).status_code == 200
    site.editor.done(f"{url}/take", {"file": file_id("shelf/one.txt")})
    assert site.platform.collections.file_ids(name) == ()
    site.editor.done(f"{url}/delete")
    assert site.viewer.get(url).status_code == 404


def test_a_link_shows_a_file_until_it_is_revoked(site: ConsoleSite) -> None:
    site.add("shared/file.txt", b"shared")
    form = {"file": file_id("shared/file.txt"), "title": "For you", "days": "7", "originals": "1"}
    page = Page.of(site.editor.post("/settings/links", form).text)
    found = re.search(r"http://127\.0\.0\.1(/s/\S+)", page.text)
    assert found is not None
    assert site.nobody.get(found[1]).status_code == 200
    assert "For you" in site.editor.page(site.url("shared/file.txt")).text
    [share] = [each for each in site.platform.shares.shares().shares if each.title == "For you"]
    stranger = site.browser("ned", Role.EDITOR)
    assert stranger.post("/settings/links/revoke", {"id": share.id}).status_code in {303, 404}
    assert site.nobody.get(found[1]).status_code == 200
    site.editor.done("/settings/links/revoke", {"id": share.id})
    assert site.nobody.get(found[1]).status_code == 404


def test_a_link_is_suspended_while_who_made_it_is_locked_out(site: ConsoleSite) -> None:
    site.add("shared/hers.txt", b"hers")
    maker = site.browser("frida", Role.EDITOR)
    page = Page.of(maker.post("/settings/links", {"file": file_id("shared/hers.txt"), "title": "Of Frida"}).text)
    found = re.search(r"http://127\.0\.0\.1(/s/\S+)", page.text)
    assert found is not None
    user = site.platform.accounts.user_named("frida")
    site.platform.accounts.disable(user.id, by=TESTER)
    assert site.nobody.get(found[1]).status_code == 404
    assert "Suspended" in site.admin.page("/settings/links").text
    site.platform.accounts.enable(user.id, by=TESTER)
    assert site.nobody.get(found[1]).status_code == 200
    assert "Suspended" not in site.admin.page("/settings/links").text


def test_the_picked_files_come_as_one_archive(site: ConsoleSite) -> None:
    site.add("zip/a.txt", b"archived")
    response = site.viewer.post("/library/download", {"file": file_id("zip/a.txt")})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/zip"
    assert b"archived" in response.content


def test_a_private_film_is_streamed_to_whoever_is_signed_in(site: ConsoleSite) -> None:
    texts = {
        "hls": ("m3u8", b"#EXTM3U\na%20%C3%A9_hls-720p.m3u8?v=abababababababab\n"),
        "hls-720p": ("m3u8", b"#EXTM3U\n"),
        "720p": ("mp4", b"film"),
    }
    made = []
    for name, (ending, body) in texts.items():
        version = site.platform.store.put(BucketRole.PROCESSED, f"versions/{name}", BytesIO(body), PutOptions())
        content_type = "video/mp4" if ending == "mp4" else "application/vnd.apple.mpegurl"
        key = f"processed/videos/private/a é_{name}.{ending}"
        made.append(Rendition(name, key, version.key, content_type, len(body), "ab" * 32))
    site.add("private/a é.mp4", kind=MediaKind.VIDEO, status=ProcessingStatus.COMPLETED, renditions=tuple(made))
    [film] = site.viewer.page(site.url("private/a é.mp4")).all("video")
    playlist = site.viewer.get(film["data-stream"])
    assert playlist.content == texts["hls"][1]
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    part = urljoin(film["data-stream"], playlist.text.splitlines()[1])
    assert site.viewer.get(part).content == texts["hls-720p"][1]
    assert site.viewer.get(part.replace("v=ab", "v=cd")).status_code == 404
    assert site.nobody.get(part).status_code == 401
    assert site.browser("paula", Role.VIEWER, "press").get(part).status_code == 404


# -- the workflow, the edge, settings ---------------------------------------------------------------------------------


def test_what_waits_says_why_and_can_be_cancelled_and_tried_again(site: ConsoleSite) -> None:
    site.add("runs/one.jpg", b"\xff\xd8\xff\xe0 one")
    run = next(each for each in site.platform.engine.list().executions if each.input["key"] == "runs/one.jpg")
    waiting = site.editor.page("/activity?status=pending")
    assert "no worker" in waiting.text.lower()
    assert "cancelled by emil" in site.editor.done("/activity/cancel", {"name": run.name}).text
    assert "cancelled by emil" in site.editor.page(f"/activity/{run.name}").text
    assert "1 file will be processed again" in site.editor.done("/activity/retry", {"name": run.name}).text


def test_what_is_wrong_with_a_password_is_said_in_sentences(site: ConsoleSite) -> None:
    told = Page.of(site.nobody.post("/sign-in", {"name": "anna", "password": "wrong"}).text).text
    assert "Name and password don't fit. Try again, or ask for a new one." in told


def test_the_sign_in_page_names_a_command_that_there_is(site: ConsoleSite) -> None:
    found = re.search(r"<code>contentplatform (\S+) (\S+) NAME</code>", site.nobody.get("/sign-in").text)
    assert found is not None
    group = cli.commands[found[1]]
    assert isinstance(group, click.Group)
    assert [each.name for each in group.commands[found[2]].params if isinstance(each, click.Argument)] == ["name"]


def test_the_edge_forgets_what_it_is_told_to(site: ConsoleSite) -> None:
    told = site.admin.done("/delivery/invalidations", {"paths": "press/harbour.jpg\n/processed/medium/x.jpg"})
    assert "The edge forgets 3 paths" in told.text
    newest = site.platform.edge.invalidations().invalidations[0]
    assert "/processed/medium/x.jpg" in site.admin.page(f"/delivery/invalidations/{newest.id}").text


def test_a_token_is_shown_once_and_works_until_it_is_revoked(site: ConsoleSite) -> None:
    form = {"name": "backup script", "scope": ["read"], "days": "30"}
    page = Page.of(site.editor.post("/settings/tokens", form).text)
    secret = re.search(r"cp_[\w-]+", page.text)
    assert secret is not None
    principal = site.platform.accounts.token(secret[0])
    assert principal is not None
    assert principal.name == "emil"
    again = site.editor.page("/settings")
    assert secret[0] not in again.text
    assert "backup script" in again.text
    [token] = site.platform.accounts.tokens(principal.id)
    assert site.viewer.post("/settings/tokens/revoke", {"id": token.id}).status_code in {303, 404}
    assert site.platform.accounts.token(secret[0]) is not None
    site.editor.done("/settings/tokens/revoke", {"id": token.id})
    assert site.platform.accounts.token(secret[0]) is None


def test_users_are_added_changed_and_locked_out(site: ConsoleSite) -> None:
    page = Page.of(site.admin.post("/settings/users", {"name": "Nina", "role": "viewer", "quota": "5"}).text)
    user = site.platform.accounts.user_named("nina")
    assert "The password of nina" in page.text
    assert (user.role, user.quota_bytes, user.password_is_generated) == (Role.VIEWER, 5_000_000_000, True)
    url = f"/settings/users/{user.id}"
    site.admin.done(url, {"do": "role", "role": "editor"})
    site.admin.done(url, {"do": "limits", "folder": "press", "quota": ""})
    changed = site.platform.accounts.user(user.id)
    assert (changed.role, changed.folder, changed.quota_bytes) == (Role.EDITOR, "press/", None)
    site.admin.done(url, {"do": "disable"})
    assert site.platform.accounts.user(user.id).is_disabled
    log = site.admin.page("/settings/audit").text
    assert "user.disable" in log
    assert "role: editor" in log
    site.admin.done(url, {"do": "remove"})
    assert "nina" not in site.admin.page("/settings/users").text


def test_a_password_is_changed_by_who_knows_the_old_one(site: ConsoleSite) -> None:
    browser = site.browser("paul", Role.VIEWER)
    new = "another password, quite long"
    referer: dict[str, Any] = {"headers": {"Referer": f"{HOST}/settings"}}
    browser.post("/settings/password", {"old": "wrong", "password": new, "again": new}, **referer)
    assert "the old one is wrong" in browser.page("/settings").text
    browser.post("/settings/password", {"old": PASSWORD, "password": new, "again": "other"}, **referer)
    assert "not the same" in browser.page("/settings").text
    assert browser.post("/settings/password", {"old": PASSWORD, "password": new, "again": new}).status_code == 303
    assert browser.get("/library").status_code == 303
    site.platform.accounts.authenticate("paul", new, "127.0.0.2")


def test_webhooks_are_added_and_switched_off(site: ConsoleSite) -> None:
    page = Page.of(site.admin.post("/settings/webhooks", {"url": "https://example.com/told", "event": "added"}).text)
    assert "whsec_" in page.text
    [hook] = site.platform.webhooks.all()
    assert "Off" in site.admin.done(f"/settings/webhooks/{hook.id}", {"do": "off"}).text
    site.admin.done(f"/settings/webhooks/{hook.id}", {"do": "remove"})
    assert site.platform.webhooks.all() == ()


def test_colours_are_chosen_without_a_script(site: ConsoleSite) -> None:
    browser = site.browser("dora", Role.VIEWER)
    assert browser.post("/theme", {"theme": "dark", "back": "/activity"}).headers["location"] == "/activity"
    assert browser.page("/library").all("html")[0]["data-theme"] == "dark"
    assert browser.post("/theme", {"theme": '"><x', "back": "//evil.example"}).headers["location"] == "/library"


# -- what pages need --------------------------------------------------------------------------------------------------


def test_styles_and_icons_are_kept_for_ever_and_only_real_files_are_given(site: ConsoleSite) -> None:
    response = site.nobody.get(static_url("console.css"))
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"] == "text/css; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    again = site.nobody.get("/static/console.css", **{"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert site.nobody.get("/static/console.css").headers["cache-control"] == "no-cache"
    for name in ("nothing.js", "..%2Fapp.py", "%2e%2e%2f%2e%2e%2fapp.py", "", ".", "console.css%00"):
        assert site.nobody.get(f"/static/{name}").status_code == 404


def test_every_icon_that_a_page_names_is_there(site: ConsoleSite) -> None:
    icons = set(re.findall(r'symbol id="([a-z]+)"', site.nobody.get("/static/icons.svg").text))
    used = {use["href"].rpartition("#")[2] for path in pages(site) for use in site.admin.page(path).all("use")}
    assert used <= icons
    assert len(used) > 10


def test_an_address_that_leads_nowhere_says_so_on_a_page(site: ConsoleSite) -> None:
    for browser in (site.nobody, site.viewer):
        response = browser.get("/nowhere")
        assert response.status_code == 404
        assert Page.of(response.text).all("h1")
    wrong = site.viewer.get("/library/act")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


# -- words ----------------------------------------------------------------------------------------------------------


def test_sizes_times_and_lengths_in_words() -> None:
    now = datetime(2026, 5, 3, 14, 2, tzinfo=UTC)
    assert [words.size(number) for number in (0, 999, 1_000, 1_234_567, 123_456_789)] == [
        "0 B", "999 B", "1.0 KB", "1.2 MB", "123 MB",
    ]  # fmt: skip
    assert [words.length(seconds) for seconds in (7, 61.4, 3_723, None)] == ["0:07", "1:01", "1:02:03", ""]
    assert words.moment(now) == "3 May 2026, 14:02 UTC"
    ages = [timedelta(seconds=5), timedelta(minutes=3), timedelta(hours=5), timedelta(days=1), timedelta(days=9)]
    assert [words.ago(now - age, now) for age in ages] == [
        "just now", "3 min ago", "5 h ago", "1 day ago", "24 Apr 2026",
    ]  # fmt: skip
    assert words.count(1_204, "file") == "1\u202f204 files"
    assert words.lasted(now, now + timedelta(seconds=2.34)) == "2.3 s"


def test_nothing_unseen_is_shown() -> None:
    assert words.shown("a\u202eb\u200bc\x1b[31m\ud800é😀\n") == "a\\u{202e}b\\u{200b}c\\u{1b}[31m\\u{d800}é😀\n"


def test_every_route_is_read_or_written_and_none_is_both() -> None:
    assert all(len((route.methods or set()) - {"HEAD"}) == 1 for route in ROUTES)
