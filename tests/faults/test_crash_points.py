"""The command dies at every named point between two durable effects; the same command once more makes it whole.

Points of the store and of SQLite are driven in test_store_machine.py, those of the lane for videos in
test_transcode_kill.py, those of uploads in test_upload_kill.py: one level lower, and in more states.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import contentplatform
import sample_clips
from contentplatform.drivers.crashpoint import POINTS, VARIABLE
from e2e.commands import Commands
from sample_media import encoded, photo

DRIVEN_ELSEWHERE = ("storage.", "sqlite.", "transcoding.", "uploads.")
OF_A_FILM = "steps.transcoding_submitted"
POINTS_HERE = sorted(point for point in POINTS if not point.startswith((*DRIVEN_ELSEWHERE, OF_A_FILM)))
KILLED = -9
ONE = encoded(photo(90, 60, seed=1), "JPEG")
TWO = encoded(photo(60, 90, seed=2), "JPEG")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures, a twin, and words."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in {"a.jpg": ONE, "b.jpg": TWO, "twin.jpg": ONE, "words.txt": b"words\n"}.items():
        (folder / name).write_bytes(data)
    return folder


# The second time is the same point in the middle of another file: it is passed by the same code.
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.soak)])
@pytest.mark.parametrize("point", POINTS_HERE)
def test_an_add_that_dies_is_made_whole_by_the_next(pictures: Path, tmp_path: Path, point: str, count: int) -> None:
    home = Commands(tmp_path / "data")
    dying = Commands(home.data, environment={VARIABLE: f"{point}:{count}"})
    dying.run("add", pictures, code=KILLED)

    home.run("add", pictures)
    items = {item["file_path"]: item for item in home.json("list")["items"]}
    assert {key: item["processing_status"] for key, item in items.items()} == dict.fromkeys(
        ("a.jpg", "b.jpg", "twin.jpg", "words.txt"), "completed"
    )
    for key, item in items.items():
        assert item["file_hash"] == hashlib.sha256((pictures / key).read_bytes()).hexdigest()
        assert len(item["renditions"]) == (4 if key == "words.txt" else 3)
    succeeded = [item["version_id"] for item in home.json("executions", "list", "--status", "succeeded")["items"]]
    assert sorted(succeeded) == sorted(item["version_id"] for item in items.values())
    # Deep: every byte is read and hashed.
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}


# Nobody is woken by who dies at the second point, so the Wait lasts its 30 s.
@pytest.mark.parametrize(
    "point", [OF_A_FILM, pytest.param("transcoding.completed", marks=pytest.mark.soak), "steps.renditions_stored"]
)
def test_an_add_of_a_film_that_dies_is_made_whole_by_the_next(tmp_path: Path, point: str) -> None:
    home = Commands(tmp_path / "data")
    Commands(home.data, environment={VARIABLE: f"{point}:1"}).run("add", sample_clips.film(), code=KILLED)
    (item,) = home.json("add", sample_clips.film())["items"]
    assert item["processing_status"] == "completed"
    names = [rendition["name"] for rendition in item["renditions"]]
    assert len(names) == len(set(names)) > 5
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}


@pytest.mark.parametrize(
    ("command", "point", "shown_afterwards"),
    [
        (("move", "a.jpg", "c.jpg"), "ingest.recorded", {"b.jpg", "c.jpg"}),
        (("move", "a.jpg", "c.jpg"), "sqlite.committed", {"b.jpg", "c.jpg"}),
        (("remove", "a.jpg"), "sqlite.committed", {"b.jpg"}),
        (("remove", "a.jpg"), "steps.plain_keys_written", {"b.jpg"}),
        (("undelete", "gone.jpg"), "sqlite.committed", {"a.jpg", "b.jpg", "gone.jpg"}),
    ],
)
def test_an_act_that_dies_half_way_is_finished_by_its_repetition(
    pictures: Path, tmp_path: Path, command: tuple[str, ...], point: str, shown_afterwards: set[str]
) -> None:
    home = Commands(tmp_path / "data")
    (pictures / "twin.jpg").rename(pictures / "gone.jpg")
    (pictures / "words.txt").unlink()
    home.run("add", pictures)
    home.run("remove", "gone.jpg")
    Commands(home.data, environment={VARIABLE: f"{point}:1"}).run(*command, code=KILLED)

    assert home.run(*command, code=None).code in {0, 3}, "done now, or it was done already"
    items = home.json("list")["items"]
    assert {item["file_path"] for item in items} == shown_afterwards
    assert {item["processing_status"] for item in items} == {"completed"}
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}


def test_every_point_that_is_declared_is_passed_somewhere_and_no_other() -> None:
    sources = Path(contentplatform.__file__).parent.rglob("*.py")
    passed = {name for source in sources for name in re.findall(r'crashpoint\("([a-z_.]+)"\)', source.read_text())}
    assert passed == POINTS
