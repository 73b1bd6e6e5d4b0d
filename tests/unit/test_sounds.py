"""Two jobs on one sound: both are wanted or none, they have to agree, and a long sound has the time that it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import Cancelled, ErrorCode, NoSpace, ProcessingFailed
from contentplatform.processing.answers import AUDIO_RENDITIONS
from contentplatform.processing.port import Rendered, RenderedFile
from contentplatform.processing.sounds import HALVES, WHOLE, all_or_none, merged, sounding_limits

WAIT_SECONDS = 300.0
FACTS = {"duration_seconds": 2.0, "duration_is_exact": True, "loudness": {"integrated_lufs": -20.0}}


def stopped(is_cancelled: Callable[[], bool]) -> str:
    """What a job says that runs until nobody wants it."""
    tick = threading.Event()
    while not is_cancelled():
        tick.wait(0.001)
    raise Cancelled("testing", "it was stopped on request")


def failing(error: Exception) -> Callable[[Callable[[], bool]], str]:
    def fail(_is_cancelled: Callable[[], bool]) -> str:
        raise error

    return fail


def part(*names: str, **facts: object) -> Rendered:
    files = [RenderedFile(name, Path(name), "a/b", "x", None, None, {}) for name in names]
    return Rendered(tuple(files), facts, {"title": "A"})


def test_both_are_done_beside_each_other() -> None:
    meeting = threading.Barrier(2)
    results = all_or_none([lambda _: meeting.wait(WAIT_SECONDS) >= 0, lambda _: meeting.wait(WAIT_SECONDS) < 2])
    assert results == [True, True]


@pytest.mark.parametrize("turned", [False, True])
def test_where_one_fails_the_other_is_stopped_and_the_reason_is_told(*, turned: bool) -> None:
    works = [stopped, failing(NoSpace("testing", "the disk is full"))]
    with pytest.raises(NoSpace, match="the disk is full"):
        all_or_none(works[::-1] if turned else works)
    assert threading.active_count() == len(threading.enumerate())
    assert not [thread for thread in threading.enumerate() if thread.name == "sound"]


def test_where_both_are_cancelled_that_is_told() -> None:
    with pytest.raises(Cancelled):
        all_or_none([failing(Cancelled("testing", "the sandbox was closed"))] * 2)


def test_the_halves_are_the_whole() -> None:
    names = [name for half in HALVES for name in half.expected()]
    assert sorted(names) == sorted(AUDIO_RENDITIONS) == sorted(WHOLE.expected())
    assert [half.rest for half in HALVES] == [False, True]


def test_parts_that_agree_are_one_result_in_the_usual_order() -> None:
    without = {name: value for name, value in FACTS.items() if name != "loudness"}
    whole = merged([part("m4a", **without), part("opus", "waveform", "peaks", "medium", **FACTS)])
    assert [file.name for file in whole.files] == ["m4a", "opus", "waveform", "peaks", "medium"]
    assert whole.metadata == FACTS
    assert whole.descriptive == {"title": "A"}


@pytest.mark.parametrize(
    "changed",
    [
        {"duration_seconds": 1.9},
        {"damaged": True, "damage": {"lost_seconds": 0.1}},
        {"duration_is_exact": False},
    ],
)
def test_parts_that_do_not_agree_are_no_result(changed: dict[str, object]) -> None:
    other = part("m4a", **{**FACTS, **changed})
    with pytest.raises(ProcessingFailed, match="different each time") as caught:
        merged([other, part("opus", **FACTS)])
    assert caught.value.code == ErrorCode.DECODE
    assert next(iter(changed)) in caught.value.private
    with pytest.raises(ProcessingFailed):
        merged([replace(part("m4a", **FACTS), descriptive={}), part("opus", **FACTS)])


def test_a_long_sound_has_more_time_up_to_a_bound() -> None:
    usual = JobLimits(wall_seconds=840, cpu_seconds=840)
    assert sounding_limits(usual, 10_000, 86_400).wall_seconds < 843
    # 20 hours of speech at 6 kbit/s take 20 minutes of a processor, where one job makes everything.
    speech = sounding_limits(usual, 20 * 3_600 * 6_000 // 8, 86_400)
    assert speech.wall_seconds > 840 + 20 * 60
    assert speech.cpu_seconds > 840 + 20 * 60
    film = sounding_limits(usual, 500 << 30, 86_400)
    assert film.cpu_seconds == pytest.approx(840 + 8_640 + 25_600, abs=1)
    assert replace(film, wall_seconds=840, cpu_seconds=840) == usual
