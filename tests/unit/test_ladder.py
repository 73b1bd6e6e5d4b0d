"""The ladder of a video: sizes, aspects, what is left out, and how long encoding may take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.processing.ladder import encode_limits, plan
from contentplatform.processing.port import AudioTrack, MediaFacts, Rung, VideoTrack
from contentplatform.processing.presets import VIDEO_PRESETS

SIDES = st.integers(1, 16_384)


def film(width: int, height: int, *, sound: bool = True, seconds: float = 10.0, **changes: Any) -> MediaFacts:
    """What a probe says of a film of that size."""
    track = VideoTrack(
        index=0,
        codec="h264",
        width=width,
        height=height,
        coded_width=width,
        coded_height=height,
        rotation_degrees=0,
        frame_rate=25.0,
        frame_rate_varies=False,
        duration_seconds=seconds,
    )
    audio = AudioTrack(1, "aac", 48_000, 2, "stereo", seconds)
    return MediaFacts(
        format="mov",
        duration_seconds=seconds,
        duration_is_exact=True,
        bit_rate=None,
        size_bytes=1_000,
        video=(replace(track, **changes),),
        audio=(audio,) if sound else (),
    )


def planned(facts: MediaFacts) -> tuple[Rung, ...]:
    return plan(facts, lambda name: f"versions/f/v/r/{name}.mp4")


def sizes(facts: MediaFacts) -> dict[str, tuple[int, int]]:
    return {rung.name: (rung.width, rung.height) for rung in planned(facts)}


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, {"720p": (1280, 720), "480p": (854, 480)}),
        (1080, 1920, {"720p": (404, 720), "480p": (270, 480)}),
        (3840, 1600, {"720p": (1280, 534), "480p": (854, 356)}),
        (1440, 1080, {"720p": (960, 720), "480p": (640, 480)}),
        (1280, 720, {"720p": (1280, 720), "480p": (854, 480)}),
        (900, 500, {"720p": (900, 500), "480p": (854, 474)}),
        (854, 480, {"480p": (854, 480)}),
        (640, 360, {"480p": (640, 360)}),
        (333, 251, {"480p": (332, 250)}),
        (855, 481, {"480p": (854, 480)}),
        (1, 1, {"480p": (2, 2)}),
        (16_384, 2, {"720p": (1280, 2), "480p": (854, 2)}),
    ],
)
def test_a_ladder_s_sizes(width: int, height: int, expected: dict[str, tuple[int, int]]) -> None:
    assert sizes(film(width, height)) == expected


@given(SIDES, SIDES)
def test_a_rung_fits_its_box_is_even_and_never_larger_than_the_source(width: int, height: int) -> None:
    rungs = planned(film(width, height))
    boxes = {preset.name: preset for preset in VIDEO_PRESETS}
    assert rungs[-1].name == VIDEO_PRESETS[-1].name
    for rung in rungs:
        box = boxes[rung.name]
        assert 2 <= rung.width <= box.width
        assert 2 <= rung.height <= box.height
        assert rung.width <= max(width, 2)
        assert rung.height <= max(height, 2)
        assert (rung.width % 2, rung.height % 2) == (0, 0)


@given(SIDES, SIDES)
def test_the_aspect_is_kept_to_the_pixel_that_evenness_costs(width: int, height: int) -> None:
    for rung in planned(film(width, height)):
        # One side is what the other one asks for, give or take what makes it even, and an odd source's last line.
        by_width, by_height = width * rung.height / height, height * rung.width / width
        near = abs(rung.width - by_width) <= 2 or abs(rung.height - by_height) <= 2
        assert near or 2 in {rung.width, rung.height}


@given(SIDES, SIDES)
def test_rungs_get_smaller_and_one_touches_the_box_where_the_source_is_larger(width: int, height: int) -> None:
    rungs = planned(film(width, height))
    areas = [rung.width * rung.height for rung in rungs]
    assert areas == sorted(set(areas), reverse=True)
    smallest, box = rungs[-1], VIDEO_PRESETS[-1]
    if width > box.width or height > box.height:
        assert smallest.width == box.width or smallest.height == box.height


def test_a_silent_film_has_silent_rungs() -> None:
    assert [rung.audio_bits_per_second for rung in planned(film(1920, 1080, sound=False))] == [0, 0]
    assert [rung.audio_bits_per_second for rung in planned(film(1920, 1080))] == [128_000, 96_000]


def test_each_rung_has_its_own_key() -> None:
    assert [rung.stored_key for rung in planned(film(1920, 1080))] == [
        "versions/f/v/r/720p.mp4",
        "versions/f/v/r/480p.mp4",
    ]


def test_a_sound_has_no_ladder() -> None:
    with pytest.raises(ValueError, match="moving pictures"):
        plan(replace(film(2, 2), video=()), str)


def test_a_longer_and_a_larger_film_may_take_longer_but_not_for_ever() -> None:
    def wall_seconds(facts: MediaFacts) -> float:
        return encode_limits(facts, planned(facts)).wall_seconds

    minute, hour = film(1920, 1080, seconds=60), film(1920, 1080, seconds=3_600)
    huge = film(7680, 4320, seconds=3_600, frame_rate=60.0)
    assert 600 < wall_seconds(minute) < wall_seconds(hour) < wall_seconds(huge)
    assert wall_seconds(film(7680, 4320, seconds=86_400, frame_rate=300.0)) == 7 * 86_400


def test_the_room_for_results_follows_from_the_bit_rates() -> None:
    hour = film(1920, 1080, seconds=3_600)
    most = encode_limits(hour, planned(hour)).output_bytes
    assert 3_600 * (3_000_000 + 1_500_000 + 128_000 + 96_000) / 8 < most < 3_000_000_000
