"""The API's files over a real home, in process: finding, reading, changing, versions, bytes, bulk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import count
from typing import Final

import pytest

from contentplatform.catalog.port import Record
from contentplatform.errors import ErrorCode
from contentplatform.ingest.library import Edit
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.port import ExecutionStatus
from fakes.site import ApiSite, open_site

ODD: Final = "odd/a+b c%20d?x#y&z.txt"
_numbers = count(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with open_site(tmp_path_factory.mktemp("files")) as opened:
        yield opened


def fresh(site: ApiSite, data: bytes = b"0123456789") -> Record:
    """A file of its own for one test."""
    return site.add(f"fresh/{next(_numbers)}.txt", data)


def path_of(record: Record, rest: str = "") -> str:
    return f"/api/v1/files/{record.file_id}{rest}"


# -- finding -------------------------------------------------------------------------------------------------------


def test_a_file_is_shown_with_the_documented_fields_and_found_by_id_and_by_key(site: ApiSite) -> None:
    record = site.add(ODD)
    by_id = site.viewer.json("GET", path_of(record))
    by_key = site.viewer.json("GET", "/api/v1/files/by-key", params={"key": ODD})
    assert by_id == by_key
    assert by_id["file_path"] == ODD
    shown = site.platform.describe(record)
    assert {name: by_id[name] for name in shown} == shown


def test_pages_follow_each_other_by_their_cursors_and_show_each_file_once(site: ApiSite) -> None:
    wanted = {site.add(f"paged/{number}.txt").file_id for number in range(5)}
    seen: list[str] = []
    cursor = None
    while True:
        given = {"folder": "paged", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = site.viewer.json("GET", "/api/v1/files", params=given)
        seen += [item["file_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert set(seen) == wanted


def test_words_tags_and_sizes_narrow_what_is_found(site: ApiSite) -> None:
    record = site.add("narrow/whale song.txt", b"x" * 321)
    site.platform.library.edit(record.file_path, Edit(add_tags=frozenset({"ocean"})))
    site.home.index_for_search()
    for given in ({"q": "whale"}, {"tag": "ocean"}, {"folder": "narrow"}, {"size_from": 321, "size_to": 321}):
        found = site.viewer.json("GET", "/api/v1/files", params=given)
        assert [item["file_id"] for item in found["items"]] == [record.file_id], given
    nothing = site.viewer.json("GET", "/api/v1/files", params={"q": "whale", "tag": "forest"})
    assert nothing == {"items": [], "next": None}


def test_facets_and_folders_count_what_is_there(site: ApiSite) -> None:
    site.add("counted/a/1.txt")
    site.add("counted/b/2.txt")
    site.home.index_for_search()
    facets = site.viewer.json("GET", "/api/v1/facets", params={"folder": "counted"})
    assert facets["total"] == {"count": 2, "capped": False}
    assert [folder["value"] for folder in facets["folders"]] == ["counted/a", "counted/b"]
    folders = site.viewer.json("GET", "/api/v1/folders", params={"parent": "counted"})
    assert folders["items"] == [{"path": "counted/a", "files": 1}, {"path": "counted/b", "files": 1}]


def test_nothing_looks_like_a_text(site: ApiSite) -> None:
    assert site.viewer.json("GET", path_of(fresh(site), "/similar")) == {"items": []}


# -- changing ------------------------------------------------------------------------------------------------------


def test_an_edit_says_which_state_it_was_made_from_and_loses_to_who_was_first(site: ApiSite) -> None:
    record = fresh(site)
    answer = site.editor.get(path_of(record))
    etag = answer.headers["etag"]
    site.editor.problem("PATCH", path_of(record), 428, json={"title": "One"})
    changed = site.editor.ask("PATCH", path_of(record), json={"title": "One"}, headers={"If-Match": etag})
    assert changed.json()["title"] == "One"
    assert changed.headers["etag"] != etag
    told = site.editor.problem("PATCH", path_of(record), 412, json={"title": "Two"}, headers={"If-Match": etag})
    assert told["type"] == "/problems/precondition-failed"
    site.editor.problem("PATCH", path_of(record), 412, json={"title": "Two"}, headers={"If-Match": f"W/{etag}"})
    assert site.editor.json("GET", path_of(record))["title"] == "One"


def test_null_clears_a_field_and_what_is_left_out_stays(site: ApiSite) -> None:
    record = fresh(site)
    any_state = {"If-Match": "*"}
    given = {"title": "A", "credit": "B", "rights_until": "2030-01-31T12:00:00+01:00", "add_tags": ["x"]}
    first = site.editor.json("PATCH", path_of(record), json=given, headers=any_state)
    assert (first["title"], first["credit"], first["tags"]) == ("A", "B", ["x"])
    assert first["rights_until"] == "2030-01-31T11:00:00.000000Z"
    taken = {"title": None, "rights_until": None, "remove_tags": ["x"]}
    second = site.editor.json("PATCH", path_of(record), json=taken, headers=any_state)
    assert (second["title"], second["credit"], second["tags"], second["rights_until"]) == (None, "B", [], None)


def test_a_state_that_is_known_is_not_sent_again(site: ApiSite) -> None:
    record = fresh(site)
    etag = site.viewer.get(path_of(record)).headers["etag"]
    again = site.viewer.get(path_of(record), headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_tags_are_added_and_taken_without_a_state(site: ApiSite) -> None:
    record = fresh(site)
    assert site.editor.json("POST", path_of(record, "/tags"), json={"add": ["b", "a"]})["tags"] == ["a", "b"]
    assert site.editor.json("POST", path_of(record, "/tags"), json={"remove": ["a"]})["tags"] == ["b"]
    told = site.editor.problem("POST", path_of(record, "/tags"), 400, json={"add": ["a,b"]})
    assert "no comma" in told["detail"]


def test_a_moved_file_is_found_under_both_identifiers(site: ApiSite) -> None:
    record = fresh(site)
    moved = site.editor.json("POST", path_of(record, "/move"), json={"key": f"moved/{record.file_id}.txt"})
    assert moved["file_id"] == file_id(moved["file_path"])
    assert site.viewer.json("GET", path_of(record))["file_path"] == moved["file_path"]
    site.editor.problem("POST", f"/api/v1/files/{moved['file_id']}/move", 409, json={"key": fresh(site).file_path})


def test_a_deleted_file_is_gone_and_comes_back_whole(site: ApiSite) -> None:
    record = fresh(site)
    site.editor.json("POST", path_of(record, "/tags"), json={"add": ["kept"]})
    assert site.editor.ask("DELETE", path_of(record)).status_code == 204
    assert site.viewer.json("GET", path_of(record))["deleted_at"] is not None
    for rest in ("/original", "/renditions"):
        assert "Undelete" in site.viewer.problem("GET", path_of(record, rest), 404)["hint"]
    site.editor.problem("DELETE", path_of(record), 404)
    back = site.editor.json("POST", path_of(record, "/undelete"))
    assert (back["deleted_at"], back["tags"]) == (None, ["kept"])


def test_a_delete_with_a_state_loses_to_a_change(site: ApiSite) -> None:
    record = fresh(site)
    etag = site.editor.get(path_of(record)).headers["etag"]
    site.editor.json("POST", path_of(record, "/tags"), json={"add": ["new"]})
    site.editor.problem("DELETE", path_of(record), 412, headers={"If-Match": etag})


# -- versions ------------------------------------------------------------------------------------------------------


def test_an_older_version_is_read_and_restored_and_one_is_deleted_for_good(site: ApiSite) -> None:
    record = fresh(site, b"first")
    site.platform.library.add(record.file_path, BytesIO(b"second"))
    site.home.take_in_all()
    newest, oldest = site.viewer.json("GET", path_of(record, "/versions"))["items"]
    assert (newest["is_latest"], oldest["is_latest"]) == (True, False)
    older = site.viewer.get(path_of(record, "/original"), params={"version": oldest["version_id"]})
    assert older.content == b"first"
    version = f"/versions/{oldest['version_id']}"
    restored = site.editor.json("POST", path_of(record, f"{version}/restore"))
    assert restored["version_id"] not in {oldest["version_id"], newest["version_id"]}
    assert site.viewer.get(path_of(record, "/original")).content == b"first"
    site.editor.problem("DELETE", path_of(record, version), 403)
    assert site.admin.ask("DELETE", path_of(record, version)).status_code == 204
    site.viewer.problem("GET", path_of(record, "/original"), 404, params={"version": oldest["version_id"]})
    site.admin.problem("DELETE", path_of(record, version), 404)


# -- bytes ---------------------------------------------------------------------------------------------------------


def test_an_original_is_saved_under_its_own_name_and_kept_by_no_cache(site: ApiSite) -> None:
    record = site.add('named/für Elise "1".txt', b"la")
    answer = site.viewer.get(path_of(record, "/original"))
    assert answer.content == b"la"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''f%C3%BCr%20Elise" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "application/octet-stream"


def test_an_original_with_malware_is_kept_and_given_to_nobody(site: ApiSite) -> None:
    record = fresh(site)
    site.platform.catalog.put(replace(record, error_code=ErrorCode.MALWARE, error="malware"))
    assert "malware" in site.editor.problem("GET", path_of(record, "/original"), 403)["detail"]
    assert site.platform.library.current(record.file_path).size_bytes == 10


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0,2-3", 200, b"0123456789", None),
        ("bytes=5-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-" + ",0-" * 10_000, 200, b"0123456789", None),
    ],
)
def test_one_range_is_answered_and_what_is_none_gets_the_whole(
    site: ApiSite, asked: str, status: int, body: bytes, told: str | None
) -> None:
    record = site.add("ranged.txt", b"0123456789")
    answer = site.viewer.get(path_of(record, "/original"), headers={"Range": asked})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, body, told)
    assert answer.headers["content-length"] == str(len(body))


def test_a_range_behind_the_end_is_refused_with_the_size(site: ApiSite) -> None:
    record = site.add("ranged.txt", b"0123456789")
    answer = site.viewer.get(path_of(record, "/original"), headers={"Range": "bytes=10-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


def test_conditions_are_answered(site: ApiSite) -> None:
    record = site.add("ranged.txt", b"0123456789")
    etag = site.viewer.get(path_of(record, "/original")).headers["etag"]
    assert site.viewer.get(path_of(record, "/original"), headers={"If-None-Match": etag}).status_code == 304
    site.viewer.problem("GET", path_of(record, "/original"), 412, headers={"If-Match": '"other"'})
    part = {"Range": "bytes=1-2", "If-Range": etag}
    assert site.viewer.get(path_of(record, "/original"), headers=part).content == b"12"
    part["If-Range"] = '"other"'
    assert site.viewer.get(path_of(record, "/original"), headers=part).status_code == 200


def test_head_tells_what_get_would(site: ApiSite) -> None:
    record = site.add("ranged.txt", b"0123456789")
    head = site.viewer.ask("HEAD", path_of(record, "/original"))
    got = site.viewer.get(path_of(record, "/original"))
    assert head.content == b""
    assert dict(head.headers) == dict(got.headers)


def test_an_empty_file_is_sent(site: ApiSite) -> None:
    record = site.add("empty.txt", b"")
    answer = site.viewer.get(path_of(record, "/original"))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    site.viewer.problem("GET", path_of(record, "/original"), 416, headers={"Range": "bytes=0-"})


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "data.xml"])
def test_what_could_run_in_a_browser_is_never_shown(site: ApiSite, name: str) -> None:
    record = site.add(f"live/{name}", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    answer = site.viewer.get(path_of(record, "/original"), params={"inline": "true"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_damaged_bytes_are_not_handed_out(site: ApiSite) -> None:
    record = fresh(site, b"these bytes will be damaged")
    version = site.platform.store.head(BucketRole.PRIMARY, record.file_path)
    blob = site.home.store.local_file(version)
    blob.chmod(0o600)
    blob.unlink()
    told = site.viewer.problem("GET", path_of(record, "/original"), 500)
    assert told["type"] == "/problems/corrupt"
    assert str(blob) not in str(told)


def test_renditions_are_listed_by_name_and_a_missing_one_says_which_there_are(site: ApiSite) -> None:
    record = fresh(site)
    assert site.viewer.json("GET", path_of(record, "/renditions")) == {"items": []}
    assert "no renditions" in site.viewer.problem("GET", path_of(record, "/renditions/thumbnail"), 404)["detail"]
    site.viewer.problem("GET", path_of(record, "/text"), 404)


def test_a_link_to_a_public_original_is_signed(site: ApiSite) -> None:
    record = site.add("public/raw/shown.txt")
    link = site.editor.json("POST", path_of(record, "/links"), json={"expires_in_seconds": 60})
    assert "/raw/shown.txt?" in link["url"]
    told = site.editor.problem("POST", path_of(fresh(site), "/links"), 400, json={})
    assert told["hint"] == "Share the file instead"


# -- many at once, and the workflow --------------------------------------------------------------------------------


def test_one_act_on_many_files_tells_what_became_of_each(site: ApiSite) -> None:
    good, gone = fresh(site), fresh(site)
    site.platform.library.remove(gone.file_path)
    wish = {"act": "tag", "file_ids": [good.file_id, gone.file_id, "0" * 32], "add_tags": ["many"]}
    outcome = site.editor.json("POST", "/api/v1/bulk", json=wish)
    assert (outcome["done"], outcome["failed"]) == (1, 2)
    first, second, third = outcome["items"]
    assert (first["file_path"], first["problem"]) == (good.file_path, None)
    assert "removed" in second["problem"]["detail"]
    assert third["problem"]["status"] == 404


def test_many_files_are_moved_deleted_brought_back_and_made_anew(site: ApiSite) -> None:
    files = [fresh(site).file_id for _ in range(2)]
    moved = site.editor.json("POST", "/api/v1/bulk", json={"act": "move", "file_ids": files, "folder": "all/here/"})
    names = [item["file_path"] for item in moved["items"]]
    assert all(name.startswith("all/here/") for name in names)
    files = [item["file_id"] for item in moved["items"]]
    for act in ("delete", "undelete", "reprocess"):
        outcome = site.editor.json("POST", "/api/v1/bulk", json={"act": act, "file_ids": files})
        assert outcome["done"] == 2, outcome
    assert all(item["execution"] for item in outcome["items"])
    assert (
        "no folder"
        in site.editor.problem("POST", "/api/v1/bulk", 400, json={"act": "move", "file_ids": files})["detail"]
    )


def test_an_execution_is_seen_stopped_and_tried_again(site: ApiSite) -> None:
    record = fresh(site)
    listed = site.viewer.json("GET", "/api/v1/executions", params={"file_id": record.file_id})
    [execution] = listed["items"]
    assert execution["status"] == "pending"
    assert execution["pending_reason"]
    path = f"/api/v1/executions/{execution['name']}"
    assert site.viewer.json("GET", path) == execution
    site.editor.problem("POST", f"{path}/retry", 409)
    stopped = site.editor.json("POST", f"{path}/cancel", json={"reason": "no longer wanted"})
    assert (stopped["status"], stopped["cause"]) == (ExecutionStatus.CANCELLED.value, "no longer wanted")
    assert site.viewer.json("GET", f"{path}/history")["items"][-1]["event"] == "cancelled"
    again = site.editor.json("POST", f"{path}/retry", status=202)
    assert again["execution"] == f"{execution['name']}-r1"
    site.viewer.problem("GET", "/api/v1/executions/process-none", 404)


def test_the_renditions_of_a_file_are_made_anew(site: ApiSite) -> None:
    record = fresh(site)
    started = site.editor.json("POST", path_of(record, "/reprocess"), status=202)
    assert site.viewer.json("GET", f"/api/v1/executions/{started['execution']}")["file_id"] == record.file_id


# -- what the edge forgets -----------------------------------------------------------------------------------------


def test_the_edge_is_told_to_forget_a_file_or_paths(site: ApiSite) -> None:
    record = site.add("public/raw/forgotten.txt")
    made = site.editor.json("POST", "/api/v1/invalidations", status=201, json={"file_id": record.file_id})
    assert made["paths"] == ["/raw/forgotten.txt"]
    assert site.admin.json("GET", f"/api/v1/invalidations/{made['id']}") == made
    wish = {"paths": ["/processed/medium/a%20b.jpg"], "reference": "mine"}
    by_path = site.admin.json("POST", "/api/v1/invalidations", status=201, json=wish)
    assert site.admin.json("POST", "/api/v1/invalidations", status=201, json=wish) == by_path
    site.admin.problem("POST", "/api/v1/invalidations", 409, json={**wish, "paths": ["/raw/other"]})
    site.editor.problem("POST", "/api/v1/invalidations", 403, json=wish)
    site.editor.problem("POST", "/api/v1/invalidations", 400, json={"file_id": record.file_id, "paths": ["/raw/x"]})
    listed = site.admin.json("GET", "/api/v1/invalidations", params={"limit": 1})
    assert [item["id"] for item in listed["items"]] == [by_path["id"]]
    assert listed["next"]
