"""``events``: what waits for a person is told, and taken in once it is tried again."""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.app import open_local
from contentplatform.config import Settings
from contentplatform.errors import Unavailable
from contentplatform.ingest.port import ObjectEvent
from e2e.commands import Commands
from fakes.clock import FakeClock

A_DAY_SECONDS = 86_400.0


@pytest.fixture
def home(tmp_path: Path) -> Commands:
    """A data folder whose one upload was tried in vain until it was given up."""
    clock = FakeClock()

    def sulk(event: ObjectEvent) -> None:
        raise Unavailable(f"taking in {event.key}", "the disk sulks")

    with closing(open_local(Settings(data_folder=tmp_path / "data"), clock=clock)) as opened:
        opened.platform.library.add("note.txt", BytesIO(b"words"))
        while not opened.platform.events.dead():
            opened.platform.events.drain(sulk, limit=10)
            clock.advance(A_DAY_SECONDS)
    return Commands(tmp_path / "data")


def test_what_waits_for_a_person_is_told_and_tried_again(home: Commands) -> None:
    told = home.json("events", "list", code=1)
    [item] = told["items"]
    assert (item["key"], told["waiting"]) == ("note.txt", 0)
    assert item["attempts"] > 1
    assert "the disk sulks" in item["reason"]
    assert "note.txt" in home.run("events", "list", code=1).out

    assert home.json("events", "redrive") == {"redriven": 1}
    assert home.json("events", "list") == {"waiting": 0, "items": []}
    assert [record["file_path"] for record in home.json("list")["items"]] == ["note.txt"]


def test_without_any_it_says_so(tmp_path: Path) -> None:
    home = Commands(tmp_path / "data")
    assert "None waits for a person" in home.run("events", "list").out
    assert home.json("events", "redrive") == {"redriven": 0}
