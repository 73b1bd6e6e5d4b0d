"""The API's people: who may do what, whose files exist for whom, tokens, users, links, and what is written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from contentplatform.accounts.port import Role, Scope
from contentplatform.media import file_id
from fakes.site import PASSWORD, ApiSite, Asker, open_site

OTHER_PASSWORD: Final = "another password, just as long"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("people")) as opened:
        opened.add("acme/theirs.txt")
        opened.add("secret/ours.txt")
        yield opened


@pytest.fixture(scope="module")
def guest(site: ApiSite) -> Asker:
    """An editor for whom nothing exists but one folder."""
    return site.asker("gustav", Role.EDITOR, "acme/")


def acts(site: ApiSite) -> list[tuple[str, str, str]]:
    """What the log has, the newest first: who, act, subject."""
    entries = site.platform.audit.entries().entries
    return [(entry.who, entry.act, entry.subject) for entry in entries]


# -- who may what --------------------------------------------------------------------------------------------------


def test_nobody_gets_in_without_a_token_or_with_a_wrong_one(site: ApiSite) -> None:
    told = site.nobody.problem("GET", "/api/v1/files", 401)
    assert told["type"] == "/problems/unauthenticated"
    assert site.nobody.get("/api/v1/files").headers["www-authenticate"] == "Bearer"
    for given in ("Bearer cp_wrong", "Basic YTpi", "Bearer", "cp_wrong"):
        site.nobody.problem("GET", "/api/v1/files", 401, headers={"Authorization": given})


def test_a_viewer_changes_nothing_and_an_editor_manages_nobody(site: ApiSite) -> None:
    path = site.path("acme/theirs.txt")
    for method, rest in (("DELETE", ""), ("POST", "/undelete"), ("POST", "/reprocess")):
        site.viewer.problem(method, path + rest, 403)
    site.viewer.problem("POST", f"{path}/tags", 403, json={"add": ["x"]})
    for path in ("/api/v1/users", "/api/v1/audit", "/api/v1/webhooks", "/api/v1/statistics/delivery"):
        assert site.editor.problem("GET", path, 403)["error"] == "Denied"


def test_what_is_refused_to_somebody_known_is_written_down(site: ApiSite) -> None:
    site.viewer.problem("DELETE", site.path("acme/theirs.txt"), 403)
    assert acts(site)[0] == ("vera", "request.refused", site.path("acme/theirs.txt"))


def test_what_is_done_to_files_is_written_down_with_who_did_it(site: ApiSite) -> None:
    site.editor.json("POST", f"{site.path('acme/theirs.txt')}/tags", json={"add": ["noted"]})
    assert acts(site)[0] == ("emil", "file.tag", "acme/theirs.txt")
    assert site.admin.json("GET", "/api/v1/audit", params={"act": "file.", "limit": 1})["items"][0]["who"] == "emil"
    assert site.platform.audit.verify() == ()


# -- what exists for whom (H53) ------------------------------------------------------------------------------------


def test_what_lies_outside_a_folder_does_not_exist_by_any_route(site: ApiSite, guest: Asker) -> None:
    there, missing = file_id("secret/ours.txt"), "0" * 32
    version = site.platform.library.record("secret/ours.txt").version_id
    [execution] = site.platform.engine.list(file_id=there).executions
    routes = [
        ("GET", "", None),
        ("GET", "/original", None),
        ("GET", f"/original?version={version}", None),
        ("GET", "/renditions", None),
        ("GET", "/renditions/thumbnail", None),
        ("GET", "/text", None),
        ("GET", "/versions", None),
        ("GET", "/similar", None),
        ("POST", "/links", {}),
        ("POST", "/tags", {"add": ["x"]}),
        ("POST", "/move", {"key": "acme/stolen.txt"}),
        ("POST", "/undelete", None),
        ("POST", "/reprocess", None),
        ("POST", f"/versions/{version}/restore", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
    ]
    for method, rest, body in routes:
        answers = []
        for identifier in (there, missing):
            told = guest.problem(method, f"/api/v1/files/{identifier}{rest}", 404, json=body)
            answers.append(str(told).replace(identifier, "<id>"))
        assert answers[0] == answers[1], "what is hidden looks as what is not there"
    guest.problem("GET", "/api/v1/files/by-key", 404, params={"key": "secret/ours.txt"})
    assert acts(site)[0] == ("gustav", "file.refused", "secret/ours.txt")
    for rest in ("", "/history"):
        guest.problem("GET", f"/api/v1/executions/{execution.name}{rest}", 404)
    for rest, body in (("/retry", None), ("/cancel", {})):
        guest.problem("POST", f"/api/v1/executions/{execution.name}{rest}", 404, json=body)
    guest.problem("POST", "/api/v1/shares", 404, json={"file_id": there})
    guest.problem("POST", "/api/v1/invalidations", 404, json={"file_id": there})
    outcome = guest.json("POST", "/api/v1/bulk", json={"act": "delete", "file_ids": [there]})
    assert outcome["items"][0]["problem"]["status"] == 404
    assert site.platform.library.record("secret/ours.txt").deleted_at is None


def test_lists_show_what_exists_for_whoever_asks(guest: Asker) -> None:
    assert {item["file_path"] for item in guest.json("GET", "/api/v1/files")["items"]} == {"acme/theirs.txt"}
    guest.problem("GET", "/api/v1/files", 404, params={"folder": "secret"})
    assert guest.json("GET", "/api/v1/facets")["total"]["count"] == 1
    executions = guest.json("GET", "/api/v1/executions")["items"]
    assert {item["input"]["key"] for item in executions} == {"acme/theirs.txt"}
    assert guest.json("GET", "/api/v1/folders")["items"] == []


def test_nothing_is_moved_shared_or_taken_in_beyond_ones_folder(site: ApiSite, guest: Asker) -> None:
    guest.problem("POST", f"{site.path('acme/theirs.txt')}/move", 403, json={"key": "secret/there.txt"})
    guest.problem("POST", "/api/v1/shares", 404, json={"folder": "secret"})
    guest.problem("POST", "/api/v1/upload-links", 403, json={"folder": "secret"})


def test_places_and_serial_numbers_are_for_keepers_who_ask_for_them(site: ApiSite) -> None:
    record = site.add("acme/photo.txt")
    facts = {"width": 1, "private": {"gps": {"latitude": 1.5}}}
    site.platform.catalog.put(replace(record, processing_metadata=facts))
    path = site.path("acme/photo.txt")
    for asker in (site.viewer, site.editor, site.admin):
        assert asker.json("GET", path)["processing_metadata"] == {"width": 1}
    assert site.editor.json("GET", path, params={"private": True})["processing_metadata"] == facts
    site.viewer.problem("GET", path, 403, params={"private": True})
    site.viewer.problem("GET", "/api/v1/files/by-key", 403, params={"key": "acme/photo.txt", "private": True})
    assert "gps" not in site.admin.get("/api/v1/files").text


# -- users and tokens ----------------------------------------------------------------------------------------------


def test_a_user_is_made_changed_and_removed(site: ApiSite) -> None:
    made = site.admin.json("POST", "/api/v1/users", status=201, json={"name": "Berta", "role": "viewer"})
    assert made["name"] == "berta"
    assert len(made["password"]) >= 12
    path = f"/api/v1/users/{made['id']}"
    change = {"role": "editor", "folder": "acme", "quota_bytes": 1000, "disabled": True}
    changed = site.admin.json("PATCH", path, json=change)
    assert (changed["role"], changed["folder"], changed["quota_bytes"]) == ("editor", "acme/", 1000)
    assert changed["disabled_at"] is not None
    assert site.admin.json("PATCH", path, json={"disabled": False, "quota_bytes": None})["quota_bytes"] is None
    site.admin.problem("POST", "/api/v1/users", 409, json={"name": "berta", "role": "viewer"})
    site.admin.problem("POST", "/api/v1/users", 400, json={"name": "short", "role": "viewer", "password": "short"})
    assert site.admin.ask("DELETE", path).status_code == 204
    site.admin.problem("GET", path, 404)


def test_no_list_tells_a_password_or_a_secret(site: ApiSite) -> None:
    for path in ("/api/v1/users", "/api/v1/tokens?all=true", "/api/v1/shares", "/api/v1/audit"):
        text = site.admin.get(path).text
        assert "argon2" not in text
        assert "cp_" not in text


def test_a_token_is_told_once_works_and_is_revoked(site: ApiSite) -> None:
    wish = {"name": "ci", "scopes": ["read"], "lifetime_days": 7}
    made = site.admin.json("POST", "/api/v1/tokens", status=201, json=wish)
    program = Asker(site.app, site.loop, made["secret"])
    me = program.json("GET", "/api/v1/me")
    assert (me["name"], me["scopes"], me["via"]) == ("anna", ["read"], "token")
    program.problem("GET", "/api/v1/users", 403)
    assert site.admin.ask("DELETE", f"/api/v1/tokens/{made['id']}").status_code == 204
    program.problem("GET", "/api/v1/me", 401)


def test_a_token_makes_no_token_and_nobody_gets_more_than_they_have(site: ApiSite) -> None:
    told = site.editor.problem("POST", "/api/v1/tokens", 403, json={"name": "again", "scopes": ["read"]})
    assert "signed in" in told["detail"]
    vera = site.platform.accounts.user_named("vera")
    site.admin.problem("POST", "/api/v1/tokens", 400, json={"name": "x", "scopes": ["write"], "user_id": vera.id})
    own = site.admin.json("GET", "/api/v1/tokens", params={"user_id": vera.id})["items"]
    site.editor.problem("GET", "/api/v1/tokens", 403, params={"all": True})
    site.editor.problem("DELETE", f"/api/v1/tokens/{own[0]['id']}", 404)


def test_a_token_that_leaked_ends_itself_and_nothing_else_of_its_owner_s(site: ApiSite) -> None:
    emil = site.platform.accounts.user_named("emil")
    secret = site.platform.accounts.start_session(emil.id, source="127.0.0.1")
    made = {
        name: site.admin.json(
            "POST", "/api/v1/tokens", status=201, json={"name": name, "scopes": ["read"], "user_id": emil.id}
        )
        for name in ("leaked", "other")
    }
    leaked = Asker(site.app, site.loop, made["leaked"]["secret"])
    leaked.problem("DELETE", f"/api/v1/tokens/{made['other']['id']}", 403)
    leaked.problem("DELETE", "/api/v1/me/sessions", 403)
    assert site.platform.accounts.session(secret) is not None
    assert leaked.ask("DELETE", f"/api/v1/tokens/{made['leaked']['id']}").status_code == 204
    leaked.problem("GET", "/api/v1/me", 401)


def test_a_password_is_changed_by_who_knows_the_one_before(site: ApiSite) -> None:
    own = site.platform.accounts.user_named("anna")
    path = "/api/v1/me/password"
    site.admin.problem("POST", path, 401, json={"current": OTHER_PASSWORD, "password": OTHER_PASSWORD})
    assert site.admin.post(path, json={"current": PASSWORD, "password": OTHER_PASSWORD}).status_code == 204
    assert site.platform.accounts.authenticate("anna", OTHER_PASSWORD, "here").id == own.id
    site.editor.problem("POST", path, 403, json={"current": PASSWORD, "password": OTHER_PASSWORD})


def test_sessions_are_listed_and_ended(site: ApiSite) -> None:
    anna = site.platform.accounts.user_named("anna")
    secret = site.platform.accounts.start_session(anna.id, source="127.0.0.1", agent="a browser")
    [session] = site.admin.json("GET", "/api/v1/me/sessions")["items"]
    assert (session["agent"], session["is_this"]) == ("a browser", False)
    assert site.admin.ask("DELETE", "/api/v1/me/sessions").status_code == 204
    assert site.platform.accounts.session(secret) is None


def test_a_browser_s_session_changes_nothing_from_another_site(site: ApiSite) -> None:
    anna = site.platform.accounts.user_named("anna")
    secret = site.platform.accounts.start_session(anna.id, source="127.0.0.1")
    path, cookie = f"{site.path('acme/theirs.txt')}/tags", {"Cookie": f"session={secret}"}
    assert site.nobody.get("/api/v1/me", headers=cookie).json()["via"] == "session"
    wrong = (cookie, {**cookie, "Origin": "http://evil.example"}, {**cookie, "Origin": "http://testserver"})
    for headers in wrong:
        site.nobody.problem("POST", path, 403, json={"add": ["x"]}, headers=headers)


# -- links and webhooks --------------------------------------------------------------------------------------------


def test_a_share_is_made_listed_turned_and_revoked(site: ApiSite) -> None:
    wish = {"file_id": file_id("acme/theirs.txt"), "title": "For you", "password": "open sesame, please"}
    made = site.editor.json("POST", "/api/v1/shares", status=201, json=wish)
    assert made["path"] == f"/s/{made['secret']}"
    assert made["has_password"] is True
    path = f"/api/v1/shares/{made['id']}"
    assert site.editor.json("GET", path)["title"] == "For you"
    assert [each["id"] for each in site.editor.json("GET", "/api/v1/shares")["items"]] == [made["id"]]
    assert site.platform.shares.open_share(made["secret"]) is not None
    turned = site.editor.json("POST", f"{path}/rotate")
    assert site.platform.shares.open_share(made["secret"]) is None
    assert site.platform.shares.open_share(turned["secret"]) is not None
    assert site.editor.json("DELETE", path)["revoked_at"] is not None
    assert site.platform.shares.open_share(turned["secret"]) is None


def test_links_of_others_are_an_administrator_s(site: ApiSite, guest: Asker) -> None:
    made = site.editor.json("POST", "/api/v1/shares", status=201, json={"folder": "acme"})
    taken = site.editor.json("POST", "/api/v1/upload-links", status=201, json={"folder": "acme/in", "max_files": 3})
    for path in (f"/api/v1/shares/{made['id']}", f"/api/v1/upload-links/{taken['id']}"):
        for method, rest in (("GET", ""), ("POST", "/rotate"), ("DELETE", "")):
            guest.problem(method, path + rest, 404)
        assert site.admin.get(path).status_code == 200
    assert guest.json("GET", "/api/v1/shares")["items"] == []
    site.editor.problem("POST", "/api/v1/shares", 400, json={"folder": "acme", "file_id": "0" * 32})
    turned = site.editor.json("POST", f"/api/v1/upload-links/{taken['id']}/rotate")
    assert turned["path"].startswith("/u/")
    assert site.editor.json("DELETE", f"/api/v1/upload-links/{taken['id']}")["revoked_at"] is not None
    assert len(site.editor.json("GET", "/api/v1/upload-links")["items"]) == 1


def test_webhooks_are_an_administrator_s_and_never_lead_inside(site: ApiSite) -> None:
    site.admin.problem("POST", "/api/v1/webhooks", 400, json={"url": "http://127.0.0.1/hook"})
    wish = {"url": "https://hooks.example.org/in", "events": ["completed"]}
    made = site.admin.json("POST", "/api/v1/webhooks", status=201, json=wish)
    path = f"/api/v1/webhooks/{made['id']}"
    assert site.admin.json("GET", path)["events"] == ["completed"]
    assert [each["id"] for each in site.admin.json("GET", "/api/v1/webhooks")["items"]] == [made["id"]]
    assert site.admin.json("PATCH", path, json={"active": False})["active"] is False
    assert site.admin.json("POST", f"{path}/rotate")["secret"] != made["secret"]
    assert site.admin.json("GET", f"{path}/failures") == {"items": []}
    assert site.admin.ask("DELETE", path).status_code == 204


def test_a_token_within_a_folder_sees_no_more_than_that(site: ApiSite) -> None:
    emil = site.platform.accounts.user_named("emil")
    inside = site.with_token(emil.id, frozenset({Scope.READ}), "acme/")
    assert inside.get(site.path("acme/theirs.txt")).status_code == 200
    inside.problem("GET", site.path("secret/ours.txt"), 404)


def test_the_server_says_what_it_is(site: ApiSite) -> None:
    told = site.viewer.json("GET", "/api/v1/server")
    assert (told["home"], told["private_prefix"], told["workers"]) == ("local", "private/", 0)
    traffic = site.admin.json("GET", "/api/v1/statistics/delivery", params={"hours": 1})
    assert traffic["total"]["requests"] == 0
