"""How the home on this machine puts a video through: who waits for whom, and what people see meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sample_clips
from contentplatform.app import LocalHome, open_local
from contentplatform.app.versions import MARKER, check_once
from contentplatform.clock import RandomIds
from contentplatform.config import Settings
from contentplatform.media import ProcessingStatus
from contentplatform.processing.transcoding import TranscodeLedger
from contentplatform.workflow.port import ExecutionStatus
from fakes.clock import FakeClock

KEY = "film.mp4"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def home(tmp_path: Path, clock: FakeClock) -> Iterator[LocalHome]:
    """A home with a film that waits for its encoding."""
    opened = open_local(Settings(data_folder=tmp_path / "data"), clock=clock)
    with sample_clips.film().open("rb") as body:
        opened.platform.library.add(KEY, body)
    opened.take_in_all()
    opened.executor().run_until_idle()
    yield opened
    opened.close()


def execution(home: LocalHome) -> str:
    (found,) = home.engine.list().executions
    return found.name


def test_a_film_waits_without_a_slot_and_goes_on_when_its_encoding_ends(home: LocalHome) -> None:
    waiting = home.engine.get(execution(home))
    assert (waiting.state, waiting.status) == ("WaitForVideoProcessing", ExecutionStatus.PENDING)
    home.executor().run_until_idle()
    assert home.engine.get(execution(home)).state == "WaitForVideoProcessing"
    assert home.transcode_lane().run_until_idle() == 1
    home.executor().run_until_idle()  # no time has passed: the Wait was ended
    assert home.platform.library.record(KEY).status is ProcessingStatus.COMPLETED
    assert home.unfinished([execution(home)]) == set()


def test_a_record_shows_how_far_its_encoding_is(home: LocalHome, clock: FakeClock) -> None:
    ids = RandomIds()
    ledger = TranscodeLedger(
        home.database, clock, ids, lambda _name: False, lease_seconds=15, attempts_allowed=3, losses_allowed=3
    )
    home.note_progress()
    assert home.platform.library.record(KEY).processing_metadata["progress_percent"] == 0
    claim = ledger.claim("somebody", 1)
    assert claim is not None
    ledger.note(claim, 42)
    home.note_progress()
    record = home.platform.library.record(KEY)
    assert record.processing_metadata == {"progress_percent": 42, "stage": "transcoding"}
    home.note_progress()
    assert home.platform.library.record(KEY).revision == record.revision, "nothing is written that is there already"
    ledger.hand_back(claim)


def test_a_film_may_take_as_long_to_encode_as_the_settings_say(home: LocalHome, clock: FakeClock) -> None:
    clock.advance(home.platform.settings.workflow.max_execution_seconds - 60)
    home.executor().run_until_idle()
    assert not home.engine.get(execution(home)).status.ended
    clock.advance(120)
    home.executor().run_until_idle()
    assert home.engine.get(execution(home)).status is ExecutionStatus.FAILED
    assert "86400 s" in str(home.platform.library.record(KEY).error)


def test_a_film_that_is_cancelled_is_not_encoded(home: LocalHome) -> None:
    home.platform.library.cancel(execution(home), "not wanted")
    assert home.transcode_lane().run_until_idle() == 0
    home.note_progress()
    assert home.platform.library.record(KEY).error == "cancelled: not wanted"


def test_versions_are_looked_at_once_for_each_set_of_them(tmp_path: Path) -> None:
    check_once(tmp_path)
    marker = tmp_path / "run" / MARKER
    found, written = marker.read_text(), marker.stat().st_mtime_ns
    check_once(tmp_path)
    assert marker.stat().st_mtime_ns == written
    marker.write_text("another set")
    check_once(tmp_path)
    assert marker.read_text() == found
