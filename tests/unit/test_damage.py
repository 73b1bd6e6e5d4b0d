"""What is counted of FFmpeg's complaints, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.processing.damage import Losses
from contentplatform.processing.port import AudioTrack, MediaFacts, VideoTrack

TRACK = VideoTrack(0, "h264", 640, 360, 640, 360, 0, 25.0, frame_rate_varies=False, duration_seconds=100.0)
FACTS = MediaFacts(
    "matroska",
    100.0,
    duration_is_exact=True,
    bit_rate=None,
    size_bytes=4,
    video=(TRACK,),
    audio=(AudioTrack(1, "aac", 48_000, 2, "stereo", 100.0),),
)
CONCEALED = "[vist#0:0/h264 @ 0x5566] [dec:h264 @ 0x5567] [warning] corrupt decoded frame"
SOUND = "[aist#0:1/aac @ 0x5566] [dec:aac @ 0x5567] [error] Error submitting packet to decoder: Invalid data found"
CONTAINER = "[in#0/matroska,webm @ 0x5566] [error] 0x00 at pos 1396146 invalid as first byte of an EBML number"
CUT = "[in#0/matroska,webm @ 0x5566] [error] File ended prematurely"


def counted(index: int, packets: int, frames: int, errors: int = 0) -> str:
    kind = "audio" if index else "video"
    numbers = f"{packets} packets read (123456 bytes); {frames} frames decoded; {errors} decode errors"
    return f"[in#0/matroska,webm @ 0x5566] [verbose]   Input stream #0:{index} ({kind}): {numbers}; "


def losses(*lines: str, facts: MediaFacts = FACTS) -> Losses:
    found = Losses(facts)
    for line in lines:
        found.take(line, 61.0)
    return found


def film(**changes: Any) -> MediaFacts:
    return replace(FACTS, video=(replace(TRACK, **changes),))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([CONCEALED], "about 1 picture is damaged or missing, the first damage is at about 1:01"),
        ([CONTAINER, counted(0, 2_475, 2_475)], "about 25 pictures are damaged or missing, the first damage is at"),
        ([SOUND, counted(1, 4_000, 3_999, 1)], "about 0.1 s of its sound is missing, the first damage is at"),
        ([CUT], "its end is missing, after 1:40"),
    ],
)
def test_what_is_lost_is_told(lines: list[str], words: str) -> None:
    found = losses(*lines)
    assert found.words(100.0).startswith(words)
    assert found.is_certain(100.0)
    assert not found.is_too_much(100.0)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [CONTAINER, counted(0, 2_500, 2_500)],
        [counted(0, 2_400, 2_400)],
        ["[info]     title           : corrupt decoded frame"],
        ["[h264 @ 0x5566] [error] mmco: unref short failure"],
    ],
)
def test_a_film_that_lost_nothing_is_not_called_damaged(lines: list[str]) -> None:
    assert not losses(*lines).is_certain(100.0)


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        ([CONCEALED] * 63, 100.0),
        ([CONTAINER, counted(0, 2_400, 2_400)], 100.0),
        ([SOUND, counted(1, 4_000, 3_000, 1_000)], 100.0),
        ([CUT], 50.0),
    ],
)
def test_too_much_is_too_much(lines: list[str], end: float) -> None:
    assert losses(*lines).is_too_much(end)


def test_of_a_short_film_less_may_be_lost_and_of_a_long_one_more() -> None:
    short = replace(FACTS, duration_seconds=2.0, video=(replace(TRACK, duration_seconds=2.0),))
    assert losses(*[CONCEALED] * 13, facts=short).is_hopeless
    assert not losses(*[CONCEALED] * 12, facts=short).is_hopeless
    assert not losses(*[CONCEALED] * 1_000, facts=replace(FACTS, duration_seconds=3_600.0)).is_hopeless


def test_a_film_that_does_not_tell_its_length_is_judged_by_how_much_of_it_there_was() -> None:
    unknown = replace(
        FACTS, duration_seconds=0.0, duration_is_exact=False, video=(replace(TRACK, duration_seconds=0.0),)
    )
    found = losses(*[CONCEALED] * 60, facts=unknown)
    assert not found.is_hopeless
    assert not found.is_too_much(100.0)
    assert found.is_too_much(4.0)


@pytest.mark.parametrize("changes", [{"frame_rate_varies": True}, {"codec": "mpeg2video"}])
def test_pictures_are_not_missed_where_nobody_knows_how_many_there_should_be(changes: dict[str, Any]) -> None:
    """Of a film that was telecined, a fifth of the pictures that its rate promises never was there."""
    found = losses(CONCEALED, counted(0, 2_000, 2_000), facts=film(**changes))
    assert found.words(100.0).startswith("about 1 picture is")


@given(st.lists(st.text()), st.floats(0, 1e6))
def test_whatever_is_said_is_understood_or_passed_over(told: list[str], end: float) -> None:
    for words in told:
        found = losses(words, f"[in#0/x] [error] {words}", f"[vist#0:0/x] [error] {words}")
        assert found.words(end)
        found.is_certain(end)
        found.is_too_much(end)
