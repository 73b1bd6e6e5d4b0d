"""Files go in through the command line, their renditions come out, and what is told of them is exactly as specified."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from e2e.commands import Commands
from sample_media import encoded, photo

RECORD_FIELDS = {
    *("file_id", "file_path", "file_name", "folder_path", "file_extension", "bucket", "version_id", "size"),
    *("content_type", "claimed_type", "upload_time", "indexed_at", "processed_at", "file_hash", "hash_verified"),
    *("metadata", "processing_status", "processing_metadata", "processing_error", "processing_error_code", "note"),
    *("tags", "title", "description", "credit", "rights_until", "deleted_at", "renditions"),
}
RENDITION_FIELDS = {"name", "key", "content_type", "size", "sha256", "width", "height"}
LARGEST = {"thumbnail": (150, 150), "medium": (800, 600), "webp": (1200, 900)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures and words, with folders inside."""
    root = tmp_path_factory.mktemp("sources")
    (root / "album" / "deep").mkdir(parents=True)
    (root / "wide.jpg").write_bytes(encoded(photo(1200, 900), "JPEG", quality=90))
    (root / "album" / "tall.png").write_bytes(encoded(photo(300, 700, seed=2), "PNG"))
    (root / "album" / "deep" / "tiny.webp").write_bytes(encoded(photo(40, 30, seed=3), "WEBP"))
    (root / "data.bin").write_bytes(bytes(range(256)))
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> Commands:
    """A data folder into which the sources were added."""
    commands = Commands(tmp_path_factory.mktemp("home") / "data")
    ran = commands.run("add", sources)
    for name in ("wide.jpg", "album/tall.png", "album/deep/tiny.webp", "data.bin"):
        assert f"{name}  completed" in ran.out
    return commands


def picture(commands: Commands, key: str, rendition: str) -> Image.Image:
    """A rendition as a second decoder sees it."""
    return Image.open(io.BytesIO(commands.run("get", key, "--rendition", rendition, "-o", "-").stdout))


def test_renditions_fit_their_boxes_keep_the_aspect_and_are_never_enlarged(home: Commands) -> None:
    assert {name: picture(home, "wide.jpg", name).size for name in LARGEST} == {
        "thumbnail": (150, 112),
        "medium": (800, 600),
        "webp": (1200, 900),
    }
    assert picture(home, "album/tall.png", "thumbnail").size == (64, 150)
    assert picture(home, "album/tall.png", "medium").size == (257, 600)
    assert {picture(home, "album/deep/tiny.webp", name).size for name in LARGEST} == {(40, 30)}


def test_renditions_are_in_the_promised_formats(home: Commands) -> None:
    formats = {name: picture(home, "wide.jpg", name).format for name in LARGEST}
    assert formats == {"thumbnail": "JPEG", "medium": "JPEG", "webp": "WEBP"}


def test_show_is_one_flat_object_with_the_specified_fields(home: Commands, sources: Path) -> None:
    shown = home.json("show", "album/tall.png")
    data = (sources / "album" / "tall.png").read_bytes()
    assert set(shown) == RECORD_FIELDS
    expected = {
        "file_id": hashlib.md5(b"album/tall.png").hexdigest(),
        "file_path": "album/tall.png",
        "file_name": "tall.png",
        "folder_path": "album",
        "file_extension": "png",
        "bucket": "content-platform-primary-local",
        "size": len(data),
        "content_type": "image/png",
        "file_hash": hashlib.sha256(data).hexdigest(),
        "hash_verified": True,
        "processing_status": "completed",
        "processing_error": None,
        "processing_error_code": None,
        "metadata": {
            "type": "image",
            "requires_processing": True,
            "processing_types": ["thumbnail", "webp_conversion", "metadata_extraction"],
        },
    }
    assert {name: shown[name] for name in expected} == expected
    assert (shown["processing_metadata"]["width"], shown["processing_metadata"]["height"]) == (300, 700)
    for moment in ("upload_time", "indexed_at", "processed_at"):
        assert shown[moment].endswith("Z")


def test_each_rendition_is_told_with_what_it_really_is(home: Commands) -> None:
    shown = home.json("show", "wide.jpg")
    assert {each["name"]: each["key"] for each in shown["renditions"]} == {
        "thumbnail": "processed/thumbnails/wide.jpg.jpg",
        "medium": "processed/medium/wide.jpg.jpg",
        "webp": "processed/webp/wide.jpg.webp",
    }
    for each in shown["renditions"]:
        data = home.run("get", "wide.jpg", "--rendition", each["name"], "-o", "-").stdout
        assert set(each) == RENDITION_FIELDS
        assert (each["size"], each["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert Image.open(io.BytesIO(data)).size == (each["width"], each["height"])


def test_a_file_without_renditions_has_an_empty_list(home: Commands) -> None:
    shown = home.json("show", "data.bin")
    assert (shown["renditions"], shown["processing_status"], shown["metadata"]["type"]) == ([], "completed", "generic")


def test_list_is_everything_newest_first_and_pages_meet_without_gap_or_repeat(home: Commands) -> None:
    everything = home.json("list")
    assert set(everything) == {"items", "next"}
    assert everything["next"] is None
    assert all(set(item) == RECORD_FIELDS for item in everything["items"])
    uploads = [item["upload_time"] for item in everything["items"]]
    assert uploads == sorted(uploads, reverse=True)

    paged: list[dict[str, Any]] = []
    cursor: list[str] = []
    while True:
        page = home.json("list", "--limit", 3, *cursor)
        assert len(page["items"]) <= 3
        paged += page["items"]
        if page["next"] is None:
            break
        cursor = ["--cursor", page["next"]]
    assert paged == everything["items"]


def test_list_and_search_filter(home: Commands) -> None:
    def keys(*arguments: object) -> set[str]:
        return {item["file_path"] for item in home.json(*arguments)["items"]}

    assert keys("list", "--folder", "album") == {"album/tall.png", "album/deep/tiny.webp"}
    assert keys("list", "--kind", "generic") == {"data.bin"}
    assert keys("search", "tal") == {"album/tall.png"}
    assert keys("search", "nothing-has-this-name") == set()
    assert keys("list", "--status", "failed") == set()


def test_get_gives_back_the_very_bytes(home: Commands, sources: Path, tmp_path: Path) -> None:
    data = (sources / "wide.jpg").read_bytes()
    assert home.run("get", "wide.jpg", "-o", "-").stdout == data
    home.run("get", "wide.jpg", cwd=tmp_path)
    assert (tmp_path / "wide.jpg").read_bytes() == data
    told = home.json("get", "wide.jpg", "-o", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    version_id = home.json("show", "wide.jpg")["version_id"]
    assert home.run("get", "wide.jpg", "--version", version_id, "-o", "-").stdout == data
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["copy", "wide.jpg"], "no partial file is left"


def test_get_never_overwrites_what_it_was_not_told_to(home: Commands, tmp_path: Path) -> None:
    (tmp_path / "wide.jpg").write_text("mine")
    home.run("get", "wide.jpg", cwd=tmp_path, code=2)
    assert (tmp_path / "wide.jpg").read_text() == "mine"


def test_get_writes_into_a_pipe_instead_of_replacing_it(home: Commands, sources: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with home.start("get", "wide.jpg", "-o", tmp_path / "pipe", stdout=subprocess.DEVNULL) as getting:
        assert (tmp_path / "pipe").read_bytes() == (sources / "wide.jpg").read_bytes()
        assert getting.wait(300) == 0
    assert (tmp_path / "pipe").is_fifo()


def test_adding_again_skips_what_is_there_and_takes_what_changed(home: Commands, tmp_path: Path) -> None:
    (tmp_path / "again.txt").write_text("one")
    home.run("add", tmp_path)
    second = home.json("add", tmp_path)
    assert (second["added"], second["skipped"]) == (0, 1)
    (tmp_path / "again.txt").write_text("two")
    third = home.json("add", tmp_path)
    assert (third["added"], third["skipped"]) == (1, 0)
    assert len(home.json("versions", "again.txt")["items"]) == 2


def test_a_prefix_is_a_folder_and_a_files_key_is_its_base_name(home: Commands, sources: Path) -> None:
    added = home.json("add", sources / "album" / "tall.png", sources / "data.bin", "--prefix", "2030/spring/")
    assert [item["file_path"] for item in added["items"]] == ["2030/spring/tall.png", "2030/spring/data.bin"]
    home.json("add", sources / "album", "--prefix", "by-folder")
    assert home.json("show", "by-folder/deep/tiny.webp")["processing_status"] == "completed"


def test_two_arguments_on_one_key_are_a_usage_error_and_nothing_is_stored(home: Commands, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.txt").write_text(folder)
    words = home.error("add", tmp_path / "one" / "twin.txt", tmp_path / "two" / "twin.txt", code=2)
    assert "twin.txt" in words
    home.error("show", "twin.txt", code=3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nothing"), 3),
        (("get", "nothing", "-o", "-"), 3),
        (("get", "wide.jpg", "--rendition", "4k", "-o", "-"), 3),
        (("get", "wide.jpg", "--version", "0" * 32, "-o", "-"), 3),
        (("get", "wide.jpg", "-o", "/nowhere/at/all"), 5),
        (("get", "wide.jpg", "-o", "/"), 5),
        (("remove", "nothing"), 3),
        (("undelete", "nothing"), 3),
        (("move", "nothing", "elsewhere"), 3),
        (("move", "wide.jpg", "data.bin"), 4),
        (("move", "wide.jpg", "wide.jpg"), 5),
        (("tag", "wide.jpg", "a,b"), 5),
        (("edit", "wide.jpg"), 2),
        (("list", "--cursor", "forged"), 5),
        (("list", "--limit", "0"), 2),
        (("add", "/nowhere/at/all"), 2),
        (("executions", "show", "nothing"), 3),
        (("executions", "cancel", "nothing"), 3),
        (("executions", "retry"), 2),
        (("frobnicate",), 2),
    ],
)
def test_every_error_is_words_an_exit_code_and_one_json_document(
    home: Commands, arguments: tuple[str, ...], code: int
) -> None:
    assert home.error(*arguments, code=code)


def test_a_shared_option_behind_the_command_is_told_its_place(home: Commands) -> None:
    said = home.run("show", "wide.jpg", "--data", "elsewhere", code=2).stderr
    assert "It stands before the command: contentplatform --data …" in said
    assert "before the command" not in home.run("show", "wide.jpg", "--frobnicate", code=2).stderr


def test_without_waiting_it_tells_what_waits_for_whom_and_a_worker_does_it(tmp_path: Path, sources: Path) -> None:
    home = Commands(tmp_path / "data")
    ran = home.run("add", "--no-wait", sources / "wide.jpg")
    assert "none runs" in ran.stderr
    assert "contentplatform worker" in ran.stderr
    (waiting,) = home.json("executions", "list", "--status", "pending")["items"]
    assert waiting["pending_reason"] == "waits for a worker: none is running"

    with home.worker():
        added = home.run("add", sources / "album" / "tall.png")
        assert "tall.png  completed" in added.out
        said = home.run("add", "--no-wait", sources / "data.bin")
        assert "1 running worker" in said.stderr or "completed" in said.out
    assert home.json("show", "wide.jpg")["processing_status"] == "completed"
    assert list((tmp_path / "data" / "scratch").glob("*")) == []


@pytest.mark.parametrize("apart", [("orientation_*", "cockatoo.mp4"), pytest.param((), marks=pytest.mark.soak)])
def test_real_media_all_complete(tmp_path: Path, shared_media: Path, apart: tuple[str, ...]) -> None:
    """One of each kind; in the long run every one. Each orientation is looked at by itself, in the unit tests."""
    home = Commands(tmp_path / "data")
    chosen = [path for path in shared_media.iterdir() if not any(map(path.match, apart))]
    home.run("add", *chosen)
    items = home.json("list")["items"]
    assert {item["file_path"] for item in items} == {path.name for path in chosen}
    assert {item["processing_status"] for item in items} == {"completed"}
    for item in items:
        if item["metadata"]["type"] == "image":
            sizes = {each["name"]: (each["width"], each["height"]) for each in item["renditions"]}
            assert set(sizes) == {"thumbnail", "medium", "webp"}
            assert all(side <= 150 for side in sizes["thumbnail"])
            assert sizes["medium"][0] <= 800
            assert sizes["medium"][1] <= 600
    assert home.json("fsck", "--deep")["clean"]
