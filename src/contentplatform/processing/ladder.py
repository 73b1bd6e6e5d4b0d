"""Which rungs a video gets, how large each is, and how long encoding them may take: the same in both homes.

A rung fits its preset's box, keeps the aspect of the picture as it is shown, is never larger than the source, and has
even sides, as H.264 with half the colour wants them. Where two rungs would be as large, only the smaller one is made: a
film of 640×360 has one rung, ``480p``, at its own size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contentplatform.processing.port import MediaFacts, Rung, VideoTrack
from contentplatform.processing.presets import VIDEO_PRESETS, VideoPreset

EXTENSION: Final = "mp4"
_SMALLEST_SIDE: Final = 2
"""Less can't be encoded; only a film that is one pixel wide is made larger for it."""
_REFERENCE_PIXELS_PER_SECOND: Final = 1_920 * 1_080 * 60.0
_SECONDS_AT_LEAST: Final = 600.0
_SECONDS_A_SECOND: Final = 20.0
"""Wall-clock time for one second of film of the reference's size; a slow machine needs 2 of them."""
_SECONDS_AT_MOST: Final = 7 * 86_400.0
_STALL_SECONDS: Final = 600.0
_CONTAINER_SHARE: Final = 1.25
"""What is written at most, of what the bit rates add up to; ``_CONTAINER_BYTES`` more for very short ones."""
_CONTAINER_BYTES: Final = 64 << 20
_MEMORY_BYTES: Final = 1 << 30
_FRAMES_KEPT: Final = 40
"""By a decoder with its threads and its references, and between it and the scaler."""
_BYTES_A_PIXEL: Final = 4


@dataclass(frozen=True, slots=True)
class EncodeLimits:
    """What encoding one video may take, before it is ended as stuck."""

    wall_seconds: float
    stall_seconds: float
    """Without a frame more."""
    output_bytes: int
    """All rungs together."""
    resident_bytes: int
    """Of memory: what the decoder keeps of large pictures is what counts."""


def plan(facts: MediaFacts, stored_key: Callable[[str], str]) -> tuple[Rung, ...]:
    """The rungs of a video, the best first; ``stored_key`` tells where a rung's file goes, by its name.

    Raises:
        ValueError: there is no picture in it.
    """
    if not facts.video:
        raise ValueError("a ladder needs moving pictures")
    track = facts.video[0]
    sizes = [fitted(track.width, track.height, preset) for preset in VIDEO_PRESETS]
    return tuple(
        Rung(
            name=preset.name,
            width=size[0],
            height=size[1],
            video_bits_per_second=preset.video_bits_per_second,
            audio_bits_per_second=preset.audio_bits_per_second if facts.audio else 0,
            stored_key=stored_key(preset.name),
        )
        for preset, size, smaller in zip(VIDEO_PRESETS, sizes, [*sizes[1:], None], strict=True)
        if size != smaller
    )


def fitted(width: int, height: int, preset: VideoPreset) -> tuple[int, int]:
    """The largest even size with the aspect of ``width``×``height`` that fits the preset's box and is no larger."""
    # Whole numbers: the side that touches the box comes out exactly, however large the source.
    if width <= preset.width and height <= preset.height:
        return _even(width, width), _even(height, height)
    if width * preset.height >= height * preset.width:
        return preset.width, _even(height * preset.width / width, height)
    return _even(width * preset.height / height, width), preset.height


def encode_limits(facts: MediaFacts, rungs: tuple[Rung, ...]) -> EncodeLimits:
    """How long, and how large, encoding may get: by how much there is to decode, and what the rungs may hold."""
    track = facts.video[0]
    seconds = facts.duration_seconds
    effort = max(1.0, _pixels_per_second(track) / _REFERENCE_PIXELS_PER_SECOND)
    bits_per_second = sum(rung.video_bits_per_second + rung.audio_bits_per_second for rung in rungs)
    return EncodeLimits(
        wall_seconds=min(_SECONDS_AT_LEAST + _SECONDS_A_SECOND * effort * seconds, _SECONDS_AT_MOST),
        stall_seconds=_STALL_SECONDS,
        output_bytes=_CONTAINER_BYTES + int(_CONTAINER_SHARE * bits_per_second / 8 * seconds),
        resident_bytes=_MEMORY_BYTES + _FRAMES_KEPT * _BYTES_A_PIXEL * track.coded_width * track.coded_height,
    )


def _pixels_per_second(track: VideoTrack) -> float:
    return track.coded_width * track.coded_height * max(track.frame_rate, 1.0)


def _even(side: float, at_most: int) -> int:
    """The even number nearest to ``side`` that the source is not smaller than."""
    nearest = 2 * round(side / 2)
    return max(min(nearest, at_most - at_most % 2), _SMALLEST_SIDE)
