"""Twins, versions, removal, moving, describing and retrying, as a person at the command line sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.commands import Commands
from sample_media import encoded, photo

ONE = encoded(photo(320, 240, seed=1), "JPEG")
TWO = encoded(photo(240, 320, seed=2), "JPEG")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """One data folder for the whole module; each test has a folder of its own in it."""
    return Commands(tmp_path_factory.mktemp("home") / "data")


@pytest.fixture
def put(home: Commands, tmp_path: Path) -> Any:
    """Adds bytes under a key, and shows the record."""

    def add(key: str, data: bytes, *options: str, code: int = 0) -> Any:
        folder, _, name = key.rpartition("/")
        (tmp_path / name).write_bytes(data)
        home.run("add", tmp_path / name, "--prefix", folder, *options, code=code)
        return home.json("show", key)

    return add


def hashes(shown: dict[str, Any]) -> dict[str, str]:
    """Rendition names and the hashes of their bytes."""
    return {each["name"]: each["sha256"] for each in shown["renditions"]}


def blobs(home: Commands) -> set[str]:
    """The names of all files of bytes on disk."""
    return {path.name for path in (home.data / "blobs").rglob("*") if path.is_file()}


def test_the_same_photo_under_two_keys_has_one_set_of_bytes_and_is_rendered_once(home: Commands, put: Any) -> None:
    first = put("twins/a.jpg", ONE)
    before = blobs(home)
    second = put("twins/b.jpg", ONE)
    assert hashes(second) == hashes(first)
    assert {each["key"] for each in second["renditions"]}.isdisjoint(each["key"] for each in first["renditions"])
    # What is new on disk is b's sidecar manifest; of renditions there is nothing new.
    assert not (blobs(home) - before) & set(hashes(first).values())
    (execution,) = home.json("executions", "list", "--key", "twins/b.jpg")["items"]
    assert execution["output"]["result"]["reused_from"], "whichever twin it was: other tests add this photo, too"

    home.run("remove", "twins/a.jpg")
    home.run("remove", "twins/a.jpg", "--version", first["version_id"], "--yes")
    for name in hashes(second):
        home.run("get", "twins/b.jpg", "--rendition", name, "-o", "-")
    assert home.run("get", "twins/b.jpg", "-o", "-").stdout == ONE
    home.error("get", "twins/a.jpg", "--rendition", "webp", "-o", "-", code=3)


def test_a_new_version_is_processed_anew_and_deleting_it_brings_the_old_one_back(home: Commands, put: Any) -> None:
    first = put("again/x.jpg", ONE)
    second = put("again/x.jpg", TWO)
    assert second["version_id"] != first["version_id"]
    assert hashes(second).values() != hashes(first).values()
    assert home.run("get", "again/x.jpg", "--version", first["version_id"], "-o", "-").stdout == ONE
    old_webp = home.run("get", "again/x.jpg", "--version", first["version_id"], "--rendition", "webp", "-o", "-").stdout
    assert len(old_webp) == next(each["size"] for each in first["renditions"] if each["name"] == "webp")

    home.run("remove", "again/x.jpg", "--version", second["version_id"], "--yes")
    back = home.json("show", "again/x.jpg")
    assert (back["version_id"], hashes(back), back["processing_status"]) == (
        first["version_id"],
        hashes(first),
        "completed",
    )
    assert home.run("get", "again/x.jpg", "-o", "-").stdout == ONE
    assert [item["version_id"] for item in home.json("versions", "again/x.jpg")["items"]] == [first["version_id"]]


def test_remove_hides_and_undelete_brings_everything_back(home: Commands, put: Any) -> None:
    put("gone/x.jpg", ONE)
    home.run("tag", "gone/x.jpg", "sea", "boat")
    described = home.json("edit", "gone/x.jpg", "--title", "Harbour", "--credit", "Agency")
    home.run("remove", "gone/x.jpg")
    assert home.json("list", "--folder", "gone")["items"] == []
    (removed,) = home.json("list", "--folder", "gone", "--deleted")["items"]
    assert removed["deleted_at"] is not None
    assert "removed" in home.run("show", "gone/x.jpg").out
    assert "undelete" in home.error("get", "gone/x.jpg", "-o", "-", code=3)
    assert "undelete" in home.error("remove", "gone/x.jpg", code=3)

    back = home.json("undelete", "gone/x.jpg")
    assert {**back, "note": None} == {**described, "note": None}
    assert home.run("get", "gone/x.jpg", "-o", "-").stdout == ONE
    assert home.run("get", "gone/x.jpg", "--rendition", "thumbnail", "-o", "-").stdout


def test_move_keeps_tags_versions_and_history_and_tells_of_it(home: Commands, put: Any) -> None:
    first = put("moved/a.jpg", ONE)
    put("moved/a.jpg", TWO)
    home.run("tag", "moved/a.jpg", "sea")
    moved = home.json("move", "moved/a.jpg", "moved/b.jpg")
    assert (moved["file_path"], moved["tags"], moved["processing_status"]) == ("moved/b.jpg", ["sea"], "completed")
    assert {each["key"] for each in moved["renditions"]} == {
        "processed/thumbnails/moved/b.jpg.jpg",
        "processed/medium/moved/b.jpg.jpg",
        "processed/webp/moved/b.jpg.webp",
    }
    versions = home.json("versions", "moved/b.jpg")["items"]
    assert [home.run("get", "moved/b.jpg", "--version", v["version_id"], "-o", "-").stdout for v in versions] == [
        TWO,
        ONE,
    ]
    history = home.json("executions", "list", "--key", "moved/b.jpg")["items"]
    assert first["version_id"] in {execution["version_id"] for execution in history}
    for command in (("show",), ("get",), ("undelete",), ("remove",), ("tag",)):
        assert "moved to moved/b.jpg" in home.error(*command, "moved/a.jpg", code=3)
    assert [item["file_path"] for item in home.json("list", "--folder", "moved")["items"]] == ["moved/b.jpg"]
    assert home.json("search", "moved")["items"][0]["file_path"] == "moved/b.jpg"


def test_moving_onto_a_file_is_refused_even_if_that_was_moved_there(home: Commands, put: Any) -> None:
    put("onto/a.jpg", ONE)
    put("onto/c.jpg", TWO)
    home.run("move", "onto/a.jpg", "onto/b.jpg")
    assert "a file already" in home.error("move", "onto/c.jpg", "onto/b.jpg", code=4)
    assert home.run("get", "onto/b.jpg", "-o", "-").stdout == ONE


def test_tags_are_added_taken_away_and_found(home: Commands, put: Any) -> None:
    put("tags/x.jpg", ONE)
    home.run("tag", "tags/x.jpg", "sea", "boat")
    assert home.json("tag", "tags/x.jpg", "--remove", "sea")["tags"] == ["boat"]
    assert home.json("tag", "tags/x.jpg")["tags"] == ["boat"]
    assert [item["file_path"] for item in home.json("search", "--tag", "boat", "--folder", "tags")["items"]] == [
        "tags/x.jpg"
    ]
    assert home.json("edit", "tags/x.jpg", "--title", "")["title"] is None


def test_a_failure_can_be_seen_retried_and_fails_with_the_same_words(home: Commands, put: Any) -> None:
    put("broken/x.jpg", ONE[:4_000], code=1)
    (failed,) = home.json("executions", "list", "--key", "broken/x.jpg", "--status", "failed")["items"]
    shown = home.json("executions", "show", failed["name"])
    assert [event["sequence"] for event in shown["history"]] == list(range(1, len(shown["history"]) + 1))
    assert "RecordFailure" in {event["state"] for event in shown["history"]}
    assert "broken or incomplete" in shown["cause"]
    assert home.json("executions", "retry", failed["name"])["started"] == [f"{failed['name']}-r1"]
    home.json("executions", "retry", failed["name"])
    ran = home.run("reprocess", "broken/x.jpg", code=1)
    assert "broken or incomplete" in ran.out
    retried = home.json("executions", "retry", "--failed")["started"]
    assert len(retried) == 1
    cancelled = home.json("executions", "cancel", retried[0], "--reason", "enough")
    assert (cancelled["status"], home.json("show", "broken/x.jpg")["processing_status"]) == ("cancelled", "failed")
    assert "enough" in home.json("show", "broken/x.jpg")["processing_error"]
    assert home.json("executions", "retry", "--outdated")["started"] == []


def test_what_succeeded_is_not_retried_but_can_be_made_anew(home: Commands, put: Any) -> None:
    shown = put("fine/x.jpg", TWO)
    (execution,) = home.json("executions", "list", "--key", "fine/x.jpg")["items"]
    assert "succeeded" in home.error("executions", "retry", execution["name"], code=4)
    assert "had ended before: succeeded" in home.run("executions", "cancel", execution["name"]).out
    home.run("reprocess", "fine/x.jpg")
    assert hashes(home.json("show", "fine/x.jpg")) == hashes(shown)


def test_an_unprocessed_version_replaced_before_its_turn_is_superseded(home: Commands, put: Any) -> None:
    first = put("twice/x.jpg", encoded(photo(50, 40, seed=5), "JPEG"), "--no-wait")
    put("twice/x.jpg", encoded(photo(50, 40, seed=6), "JPEG"), "--no-wait")
    executions = home.json("executions", "list", "--key", "twice/x.jpg")["items"]
    assert {e["status"] for e in executions if e["version_id"] == first["version_id"]} == {"cancelled"}
    assert "newer version" in next(e["cause"] for e in executions if e["version_id"] == first["version_id"])


def test_a_file_that_waits_can_be_moved_and_is_processed_where_it_is_then(home: Commands, put: Any) -> None:
    put("early/x.jpg", encoded(photo(50, 40, seed=7), "JPEG"), "--no-wait")
    home.run("move", "early/x.jpg", "early/y.jpg")
    home.run("reprocess", "early/y.jpg")
    assert home.json("show", "early/y.jpg")["processing_status"] == "completed"


def test_the_house_is_clean_after_all_of_it(home: Commands) -> None:
    """Runs last: this module's tests share one data folder."""
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}
