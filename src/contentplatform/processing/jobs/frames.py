"""Chooses pictures of a film: its poster, and the storyboard's tiles.

A film of up to a hundred seconds is decoded whole in its smaller rung, one tile a second; of a longer one only key
frames are, a hundred of them. The poster is a frame of the first part of the film that is neither black nor blurred and
looks like the others there; it is taken from the best rung.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median  # NumPy's own imports a module when it is called: too late for a child
from typing import Any, Final

import numpy as np
import pyvips
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from contentplatform.processing.image import fitted
from contentplatform.processing.jobs import raster, rungs
from contentplatform.processing.playlists import Tile
from contentplatform.processing.presets import POSTER, ImagePreset, StoryboardPreset

_SAMPLE_WIDTH: Final = 320
_FEWEST_CANDIDATES: Final = 10
_FIRST_PART: Final = 3
"""The poster is of the first third."""
_BLACK, _WHITE, _FLAT = 20.0, 238.0, 8.0
"""Mean and deviation of brightness beyond which a frame shows nothing."""
_SHARPNESS_COUNTS: Final = 0.5
"""A frame three times as sharp as is usual may be half as strange again. A close-up that is out of focus is neither."""
_LEAST: Final = 1e-6
_BINS: Final = 32


@dataclass(frozen=True, slots=True)
class Look:
    """What a frame looks like, in numbers."""

    seconds: float
    mean: float
    deviation: float
    sharpness: float
    histogram: NDArray[np.float64]

    @property
    def shows_something(self) -> bool:
        """Whether it is neither black, nor white, nor of one colour."""
        return _BLACK <= self.mean <= _WHITE and self.deviation >= _FLAT


@dataclass(frozen=True, slots=True)
class Board:
    """The storyboard's tiles, and the frames that may become the poster."""

    tiles: tuple[pyvips.Image, ...]
    seconds_a_tile: float
    looks: tuple[Look, ...]


def decodes_all(rung: rungs.OpenRung, preset: StoryboardPreset) -> bool:
    """Whether ``board`` decodes every frame of this rung."""
    return rung.seconds <= preset.tiles


def board(rung: rungs.OpenRung, preset: StoryboardPreset) -> Board:
    """Take the tiles out of a rung; decodes all of it where it is short. Raises ProcessingFailed."""
    count = max(1, min(preset.tiles, math.ceil(rung.seconds - 0.05)))
    step = rung.seconds / count
    size = fitted(rung.order.width, rung.order.height, _box(preset))
    candidates = max(math.ceil(count / _FIRST_PART), min(count, _FEWEST_CANDIDATES))
    tiles, looks = [], []
    # In the middle of its time a frame stands for the rest best.
    times = [(number + 0.5) * step for number in range(count)]
    picked = _near_frames(rung, times) if decodes_all(rung, preset) else _near_key_frames(rung, times)
    for number, frame in enumerate(picked):
        tiles.append(picture(frame, *size))
        if number < candidates:
            looks.append(_look(frame, _seconds(rung, frame)))
    return Board(tuple(tiles), step, tuple(looks))


def _box(preset: StoryboardPreset) -> ImagePreset:
    pixels = preset.tile_width * preset.tile_height
    return replace(POSTER, width=preset.tile_width, height=preset.tile_height, pixels=pixels)


def _near_frames(rung: rungs.OpenRung, times: Sequence[float]) -> Iterator[VideoFrame]:
    """The first frame at or after each time; all are decoded, and so verified."""
    wanted = iter(times)
    until = next(wanted, None)
    last = None
    for frame in rungs.frames(rung, 0, len(rung.copied.key_times)):
        last = frame
        while until is not None and _seconds(rung, frame) >= until:
            yield frame
            until = next(wanted, None)
    while until is not None and last is not None:
        yield last
        until = next(wanted, None)


def _near_key_frames(rung: rungs.OpenRung, times: Iterable[float]) -> Iterator[VideoFrame]:
    keys = [float((key - (rung.copied.begin or 0)) * rung.unit) for key in rung.copied.key_times]
    for time in times:
        after = min(bisect_left(keys, time), len(keys) - 1)
        before = max(after - 1, 0)
        yield rungs.key_frame(rung, after if keys[after] - time <= time - keys[before] else before)


def _seconds(rung: rungs.OpenRung, frame: VideoFrame) -> float:
    return float(((frame.pts or 0) - (rung.copied.begin or 0)) * rung.unit)


def picture(frame: VideoFrame, width: int, height: int) -> pyvips.Image:
    """A frame in sRGB, in this size."""
    shown = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1)
    return raster.from_pixels(shown.to_ndarray().tobytes(), width, height)


def sprite(tiles: Sequence[pyvips.Image], preset: StoryboardPreset) -> tuple[pyvips.Image, list[tuple[int, int]]]:
    """All tiles in one picture, row by row, and where each begins: left, top."""
    columns = min(preset.columns, len(tiles))
    width, height = tiles[0].width, tiles[0].height
    joined = pyvips.Image.arrayjoin(list(tiles), across=columns, background=[0, 0, 0])
    return joined, [(number % columns * width, number // columns * height) for number in range(len(tiles))]


def sprite_preset(image: pyvips.Image, preset: StoryboardPreset) -> ImagePreset:
    """How the sprite is written: in its own size."""
    pixels = image.width * image.height
    return replace(
        POSTER, name="storyboard", width=image.width, height=image.height, pixels=pixels, quality=preset.quality
    )


def storyboard(board_of: Board, places: Sequence[tuple[int, int]], size: tuple[int, int], uri: str) -> list[Tile]:
    """Which part of the sprite at ``uri`` stands for which part of the film."""
    step = board_of.seconds_a_tile
    return [Tile(n * step, (n + 1) * step, uri, left, top, *size) for n, (left, top) in enumerate(places)]


# -- the poster --------------------------------------------------------------------------------------------------


def poster(rung: rungs.OpenRung, looks: Sequence[Look]) -> pyvips.Image:
    """The representative frame, out of the best rung. Raises ProcessingFailed: it can't be decoded."""
    wanted = most_telling(looks).seconds
    keys = rung.copied.key_times
    exact = wanted / float(rung.unit) + (rung.copied.begin or 0)
    half_a_frame = 0.5 / rung.frame_rate
    group = max(0, bisect_right(keys, exact + half_a_frame / float(rung.unit)) - 1)
    frame = None
    for frame in rungs.frames(rung, group, group + 1):
        if _seconds(rung, frame) >= wanted - half_a_frame:
            break
    if frame is None:
        rungs.fail(rung.order, f"has no picture at {wanted:.2f} s")
    return picture(frame, *fitted(frame.width, frame.height, POSTER))


def most_telling(looks: Sequence[Look]) -> Look:
    """Of the frames that show something the one that is like the others, and sharper than they are."""
    shown = [look for look in looks if look.shows_something]
    if not shown:
        return max(looks, key=lambda look: (look.deviation, look.mean))
    usual = np.mean([look.histogram for look in shown], axis=0)
    strange = [float(np.abs(look.histogram - usual).sum()) for look in shown]
    usually_strange = max(median(strange), _LEAST)
    usually_sharp = max(median([look.sharpness for look in shown]), _LEAST)

    def worth(place: int) -> float:
        sharpness = math.log(max(shown[place].sharpness, _LEAST) / usually_sharp)
        return sharpness * _SHARPNESS_COUNTS - strange[place] / usually_strange

    return shown[max(range(len(shown)), key=worth)]


def _look(frame: VideoFrame, seconds: float) -> Look:
    width = min(_SAMPLE_WIDTH, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    grey: NDArray[Any] = (
        frame.reformat(width=width, height=height, format="gray8", interpolation=Interpolation.AREA, threads=1)
        .to_ndarray()
        .astype(np.float32)
    )
    inner = grey[1:-1, 1:-1]
    edges = 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    histogram, _ = np.histogram(grey, bins=_BINS, range=(0, 256))
    return Look(
        seconds,
        float(grey.mean()),
        float(grey.std()),
        float(edges.var()) if edges.size else 0.0,
        histogram / grey.size,
    )
