"""The picture of a sound, and the numbers to draw one's own: found in one pass, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contentplatform.processing.presets import WaveformPreset

Samples = NDArray[np.float32]

_FINE: Final = 64
"""Bins are kept at most this much finer than they are needed: so any length can be divided evenly enough."""
_VERSION: Final = 2
_BITS: Final = 8
_LOUDEST: Final = 1 << _BITS - 1
_OUTER_COLOUR: Final = (146, 186, 230)
_INNER_COLOUR: Final = (37, 99, 176)
_FILLED: Final = 0.94
"""The loudest peak reaches this share of the picture's half."""
_MOST_ENLARGED: Final = 8.0
"""A quiet sound is drawn larger, but noise shall not look like music."""
_THINNEST_PIXELS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sound in bins of equal length, the last one shorter: lowest and highest sample, mean square."""

    lows: Samples
    highs: Samples
    squares: Samples
    samples_per_bin: int


class Peaks:
    """Collects the envelope of a sound that comes in pieces; all channels together."""

    def __init__(self, preset: WaveformPreset) -> None:
        self._most_bins = preset.peaks * _FINE
        self._samples_per_bin = 1
        self._table = np.zeros((3, self._most_bins), np.float32)
        """Lowest, highest, mean square of each bin."""
        self._bins = 0
        self._rest: list[Samples] = []
        """What does not fill a bin yet."""
        self._rest_samples = 0

    def add(self, block: Samples) -> None:
        """Take in one more piece: a row a channel. It is kept for a while, so it must not be changed."""
        self._rest.append(block)
        self._rest_samples += block.shape[1]
        if self._rest_samples < self._samples_per_bin:
            return
        rest = self._rest[0] if len(self._rest) == 1 else np.concatenate(self._rest, axis=1)
        while rest.shape[1] >= self._samples_per_bin:
            count = min(rest.shape[1] // self._samples_per_bin, self._most_bins - self._bins)
            taken = count * self._samples_per_bin
            self._table[:, self._bins : self._bins + count] = _binned(rest[:, :taken], count)
            self._bins += count
            rest = rest[:, taken:]
            if self._bins == self._most_bins:
                self._halve()
        self._rest, self._rest_samples = [rest.copy()], rest.shape[1]

    def result(self) -> Envelope:
        """The envelope of all that was added; nothing can be added afterwards."""
        if self._rest_samples:
            # There is room: a full table was halved.
            self._table[:, self._bins : self._bins + 1] = _binned(np.concatenate(self._rest, axis=1), 1)
            self._bins += 1
            self._rest, self._rest_samples = [], 0
        lows, highs, squares = self._table[:, : self._bins]
        return Envelope(lows, highs, squares, self._samples_per_bin)

    def _halve(self) -> None:
        """Make two neighbours one."""
        half = self._most_bins // 2
        self._table[:, :half] = _merged(self._table, np.arange(0, self._most_bins, 2), np.full(half, 2))
        self._bins = half
        self._samples_per_bin *= 2


def document(envelope: Envelope, rate_hz: int, preset: WaveformPreset) -> Mapping[str, Any]:
    """The peaks as JSON, as audiowaveform's version 2 has it: ``data`` is pairs of lowest and highest sample.

    Each pair stands for ``samples_per_pixel`` samples at ``sample_rate``, the last one for fewer. The channels are
    taken together. Full scale is -128 to 127.
    """
    bins = len(envelope.lows)
    merged = max(1, -(-bins // preset.peaks))
    starts = np.arange(0, bins, merged)
    pairs = np.empty((len(starts), 2))
    if bins:
        pairs[:, 0] = np.minimum.reduceat(envelope.lows, starts)
        pairs[:, 1] = np.maximum.reduceat(envelope.highs, starts)
    return {
        "version": _VERSION,
        "channels": 1,
        "sample_rate": rate_hz,
        "samples_per_pixel": envelope.samples_per_bin * merged,
        "bits": _BITS,
        "length": len(starts),
        "data": np.clip(np.rint(pairs * _LOUDEST), -_LOUDEST, _LOUDEST - 1).astype(int).ravel().tolist(),
    }


def drawn(envelope: Envelope, preset: WaveformPreset) -> NDArray[np.uint8]:
    """The picture: rows of red, green, blue, opacity, on a transparent ground, fit for a light page and a dark one.

    The lighter shape reaches from the lowest to the highest sample, the darker one is the mean power within. Where the
    sound is quiet it is drawn larger, up to eightfold.
    """
    lows, highs, squares = _columns(envelope, preset.width)
    # Filled from the middle line on, even where all samples of a column lie on one side of it.
    lows, highs = np.minimum(lows, 0), np.maximum(highs, 0)
    loudest = max(float(highs.max(initial=0)), -float(lows.min(initial=0)), _FILLED / _MOST_ENLARGED)
    half = preset.height / 2
    scale = half * _FILLED / loudest
    power = np.minimum(np.sqrt(squares), np.maximum(highs, -lows))
    outer = _covered(half - highs * scale, half - lows * scale, preset.height)
    inner = _covered(half - power * scale, half + power * scale, preset.height) * outer
    picture = np.empty((preset.height, preset.width, 4), np.uint8)
    for band, (outside, inside) in enumerate(zip(_OUTER_COLOUR, _INNER_COLOUR, strict=True)):
        picture[:, :, band] = np.rint(outside + (inside - outside) * inner)
    picture[:, :, 3] = np.rint(outer * 255)
    return picture


def _columns(envelope: Envelope, width: int) -> Samples:
    """The envelope in exactly ``width`` bins; a short sound's bins are drawn several columns wide."""
    bins = len(envelope.lows)
    if not bins:
        return np.zeros((3, width), np.float32)
    edges = np.arange(width + 1) * bins // width
    starts = edges[:-1]
    return _merged(
        np.stack([envelope.lows, envelope.highs, envelope.squares]), starts, np.maximum(1, edges[1:] - starts)
    )


def _merged(table: Samples, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> Samples:
    """Bins made of ``counts`` bins each, from ``starts`` on."""
    # Where starts repeat, reduceat takes the one bin, as is meant.
    return np.stack(
        [
            np.minimum.reduceat(table[0], starts),
            np.maximum.reduceat(table[1], starts),
            np.add.reduceat(table[2], starts) / counts,
        ]
    )


def _binned(block: Samples, count: int) -> Samples:
    """A piece of sound as ``count`` bins."""
    shaped = block.reshape(block.shape[0], count, -1)
    if shaped.shape[2] < _FINE:
        # numpy is slow along short rows, and quick along many.
        shaped = np.moveaxis(shaped, 2, 0)
        squares = np.mean(shaped * shaped, axis=(0, 1))
        return np.stack([shaped.min(axis=(0, 1)), shaped.max(axis=(0, 1)), squares])
    squares = np.einsum("cbs,cbs->b", shaped, shaped) / (block.shape[0] * shaped.shape[2])
    return np.stack([shaped.min(axis=2).min(axis=0), shaped.max(axis=2).max(axis=0), squares])


def _covered(tops: Samples, bottoms: Samples, height: int) -> Samples:
    """How much of each pixel lies between the two edges of its column, 0 to 1."""
    thin = np.maximum(0, _THINNEST_PIXELS - (bottoms - tops)) / 2
    rows = np.arange(height, dtype=np.float32)[:, None]
    inside = np.minimum(rows + 1, bottoms + thin) - np.maximum(rows, tops - thin)
    covered: Samples = np.clip(inside, 0, 1).astype(np.float32)
    return covered
