"""Odd names, broken files, and folders full of things that are no files: each is kept or named, none hurts another."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contentplatform.cli.adding import AddRequest, add_files, plan
from contentplatform.cli.output import Output
from contentplatform.cli.session import HomeName, Session
from contentplatform.config import load
from contentplatform.media import KEY_LIMIT_BYTES
from e2e.commands import Commands
from sample_media import encoded, photo

_NO_OVERRIDE = "-dac_override,-dac_read_search"
PICTURE = encoded(photo(60, 40), "JPEG", quality=80)
NFC, NFD = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
AS_LONG_AS_CAN_BE = "/".join(["d" * 224] * 3 + ["k" * (KEY_LIMIT_BYTES - 3 * 225)])
GOOD_NAMES = (
    *("two  spaces .jpg", NFC, NFD, "😀.jpg", "-dash.jpg", "--json", "v1.2/photo", "a.png", "a.jpg", "A.JPG"),
    *(
        "processed/thumbnails/a.jpg.jpg",
        "back\\slash.jpg",
        "per%cent.jpg",
        "quote'\".jpg",
        "versions/x",
        "...",
        ".hidden",
    ),
    AS_LONG_AS_CAN_BE,
)
RIGHT_TO_LEFT = "evil\u202egpj.exe"


def write(root: Path, name: str | bytes, data: bytes) -> None:
    """Make a file under any name the file system takes."""
    path = os.path.join(os.fsencode(root), os.fsencode(name))  # noqa: PTH118 - Path takes no bytes
    Path(os.fsdecode(os.path.dirname(path))).mkdir(parents=True, exist_ok=True)  # noqa: PTH120 - same
    Path(os.fsdecode(path)).write_bytes(data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A data folder into which everything odd was added at once."""
    root = tmp_path_factory.mktemp("odd")
    for name in GOOD_NAMES:
        write(root, name, PICTURE)
    write(root, RIGHT_TO_LEFT, bytes(range(256)))
    write(root, "bad\udcff.jpg", PICTURE)
    write(root, "new\nline.jpg", PICTURE)
    write(root, AS_LONG_AS_CAN_BE + "k", PICTURE)
    write(root, "words.jpg", b"these are words\n")
    write(root, "zero.jpg", b"")
    write(root, "zero.bin", b"")
    write(root, "truncated.jpg", encoded(photo(600, 400), "JPEG")[:3_000])
    os.mkfifo(root / "pipe.jpg")
    (root / "link.jpg").symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root)
    commands = Commands(tmp_path_factory.mktemp("home") / "data")
    ran = commands.run("add", root, code=1)
    assert RIGHT_TO_LEFT not in ran.out
    assert r"evil\u202egpj.exe" in ran.out
    assert "new\\nline.jpg" in ran.out
    assert all(f"{name}  left out" in ran.stderr for name in ("pipe.jpg", "link.jpg", "loop"))
    return commands


@pytest.mark.parametrize("name", GOOD_NAMES, ids=range(len(GOOD_NAMES)))
def test_any_name_is_data_and_its_file_is_processed_and_comes_back(home: Commands, name: str) -> None:
    shown = home.json("show", "--", name)
    assert (shown["file_path"], shown["processing_status"]) == (name, "completed")
    assert len(shown["renditions"]) == 3
    assert home.run("get", "-o", "-", "--", name).stdout == PICTURE


def test_nothing_else_came_in(home: Commands) -> None:
    keys = [item["file_path"] for item in home.json("list")["items"]]
    kept_all_the_same = {RIGHT_TO_LEFT, "words.jpg", "zero.jpg", "zero.bin", "truncated.jpg"}
    assert sorted(keys) == sorted({*GOOD_NAMES, *kept_all_the_same})


def test_no_two_files_share_a_rendition_key(home: Commands) -> None:
    keys = [each["key"] for item in home.json("list")["items"] for each in item["renditions"]]
    assert len(keys) == len(set(keys)) == 3 * len(GOOD_NAMES)


def test_a_name_that_would_turn_the_line_around_is_shown_escaped(home: Commands) -> None:
    for arguments in (("list",), ("show", RIGHT_TO_LEFT), ("executions", "list"), ("tag", RIGHT_TO_LEFT)):
        ran = home.run(*arguments)
        assert "\u202e" not in ran.out + ran.stderr
        assert r"evil\u202egpj.exe" in ran.out
    assert home.json("show", RIGHT_TO_LEFT)["file_path"] == RIGHT_TO_LEFT


@pytest.mark.parametrize(
    ("name", "error", "code"),
    [
        ("words.jpg", "says image/jpeg, is text/plain", "E_TYPE"),
        ("zero.jpg", "says image/jpeg, is empty", "E_TYPE"),
        ("truncated.jpg", "broken or incomplete", "E_DECODE"),
    ],
)
def test_what_can_not_be_processed_fails_in_words_and_is_kept(
    home: Commands, name: str, error: str, code: str, tmp_path: Path
) -> None:
    shown = home.json("show", name)
    assert (shown["processing_status"], shown["processing_error_code"]) == ("failed", code)
    assert error in shown["processing_error"]
    assert shown["renditions"] == []
    home.run("get", name, "-o", tmp_path / "original")
    assert (tmp_path / "original").stat().st_size == shown["size"]


def test_an_empty_file_that_claims_nothing_is_fine(home: Commands) -> None:
    shown = home.json("show", "zero.bin")
    assert (shown["processing_status"], shown["size"]) == ("completed", 0)


def test_names_that_can_not_be_are_told_with_the_reason_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path / "in", "bad\udcff.jpg", PICTURE)
    write(tmp_path / "in", "new\nline.jpg", PICTURE)
    write(tmp_path / "in", "good.jpg", PICTURE)
    home = Commands(tmp_path / "data")
    told = {item["file_path"]: item for item in home.json("add", tmp_path / "in", code=1)["items"]}
    assert told["good.jpg"]["processing_status"] == "completed"
    assert "not valid Unicode" in told["bad\udcff.jpg"]["processing_error"]
    assert "control characters" in told["new\nline.jpg"]["processing_error"]


def test_everything_that_happened_left_a_clean_house(home: Commands) -> None:
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file and a folder that its reader may not read."""
    root = tmp_path / "in"
    write(root, "good.txt", b"words")
    write(root, "locked.txt", b"secret")
    write(root, "closed/inside.txt", b"secret")
    (root / "locked.txt").chmod(0)
    (root / "closed").chmod(0)
    yield root
    (root / "closed").chmod(0o700)


def test_what_can_not_be_read_is_named_and_the_rest_is_added(locked: Path, tmp_path: Path) -> None:
    """Nothing is closed to root, unless it gives up that right."""
    as_anybody = ("setpriv", f"--bounding-set={_NO_OVERRIDE}", f"--inh-caps={_NO_OVERRIDE}")
    home = Commands(tmp_path / "data", through=as_anybody if os.getuid() == 0 else ())
    told = {item["file_path"]: item for item in home.json("add", locked, code=1)["items"]}
    assert told["good.txt"]["processing_status"] == "completed"
    assert told["locked.txt"]["processing_error"] == "Permission denied"
    assert "can't be read" in told["closed"]["processing_error"]


def test_a_pipe_or_a_dangling_link_as_argument_is_a_usage_error_and_a_link_to_a_file_is_followed(
    tmp_path: Path,
) -> None:
    home = Commands(tmp_path / "data")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "real.txt").write_text("words")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    home.error("add", tmp_path / "pipe", code=2)
    home.error("add", tmp_path / "dangling", code=2)
    home.run("add", tmp_path / "link.txt")
    assert home.run("get", "link.txt", "-o", "-").stdout == b"words"


def test_an_empty_folder_is_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert Commands(tmp_path / "data").json("add", tmp_path / "in") == {"items": [], "added": 0, "skipped": 0}


def test_the_data_folder_is_never_added_to_itself(tmp_path: Path) -> None:
    home = Commands(tmp_path / "data")
    write(tmp_path, "mine.txt", b"words")
    home.run("list")
    added = home.json("add", tmp_path)
    assert [item["file_path"] for item in added["items"]] == ["mine.txt"]
    assert "data folder" in home.error("add", tmp_path / "data", code=2)
    assert "data folder" in home.error("add", tmp_path / "data" / "blobs", code=2)


def test_a_file_that_vanishes_or_grows_between_planning_and_storing_hurts_no_other(tmp_path: Path) -> None:
    for name in ("vanishes.txt", "grows.txt", "stays.txt"):
        write(tmp_path / "in", name, b"words")
    session = Session(Output(as_json=True), HomeName.LOCAL, lambda: load(data_folder=tmp_path / "data"))
    with closing(session):
        files = plan([tmp_path / "in"], "", tmp_path / "data")
        (tmp_path / "in" / "vanishes.txt").unlink()
        (tmp_path / "in" / "grows.txt").write_bytes(b"words and more words")
        outcome = add_files(session, AddRequest(files, wait=True))
        told = {item["file_path"]: item for item in outcome.items}
        assert (outcome.added, outcome.troubled) == (2, 1)
        assert told["vanishes.txt"]["processing_error"] == "No such file or directory"
        assert told["grows.txt"]["size"] == len(b"words and more words")
        assert told["stays.txt"]["processing_status"] == "completed"
