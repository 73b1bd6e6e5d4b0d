"""How loud a sound is, as EBU R 128 measures it, and by how much to turn it to be as loud as others.

The measuring is FFmpeg's ``ebur128`` filter: integrated loudness and loudness range (EBU Tech 3342), the largest
momentary (400 ms) and short-term (3 s) loudness, and the true peak between the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from contentplatform.processing.jobs.blocks import frame_of, sample_format
from contentplatform.processing.presets import NORMALISED_LOUDNESS_LUFS, NORMALISED_TRUE_PEAK_DBTP

_GATE_LUFS: Final = -70.0
"""Quieter than this nothing is counted; what has nothing louder has no loudness."""
_PREFIX: Final = "lavfi.r128."
_NOTHING_MORE: Final = (av.error.BlockingIOError, av.error.EOFError)


@dataclass(frozen=True, slots=True)
class Loudness:
    """What was measured; None where the sound is too quiet or too short for the measure."""

    integrated_lufs: float | None = None
    range_lu: float | None = None
    true_peak_dbtp: float | None = None
    max_momentary_lufs: float | None = None
    max_short_term_lufs: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The facts for the catalog, rounded as the measure is meant; only those that there are."""
        facts = {
            "integrated_lufs": self.integrated_lufs,
            "range_lu": self.range_lu,
            "true_peak_dbtp": self.true_peak_dbtp,
            "max_momentary_lufs": self.max_momentary_lufs,
            "max_short_term_lufs": self.max_short_term_lufs,
        }
        return {name: round(value, 2) for name, value in facts.items() if value is not None}


class Meter:
    """Measures a sound that comes in pieces; memory does not grow with it."""

    def __init__(self, rate_hz: int, layout: str) -> None:
        self._rate_hz, self._layout = rate_hz, layout
        self._graph = av.filter.Graph()
        self._source = self._graph.add_abuffer(sample_rate=rate_hz, format=sample_format(layout), layout=layout)
        meter = self._graph.add("ebur128", peak="true", metadata="1")
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(self._source, meter, self._sink).configure()
        self._samples = 0
        self._last: dict[str, str] = {}
        self._momentary = self._short_term = _GATE_LUFS

    def add(self, block: NDArray[np.float32]) -> None:
        """Listen to one more piece, as ``frame_of`` takes it."""
        frame = frame_of(block, self._rate_hz, self._layout, self._samples)
        self._samples += frame.samples
        self._source.push(frame)
        self._hear()

    def result(self) -> Loudness:
        """What was measured of all that was added; nothing can be added afterwards."""
        self._graph.push(None)
        self._hear()
        integrated = self._value("I")
        peak = float(self._last.get(f"{_PREFIX}true_peak", "0"))
        return Loudness(
            integrated_lufs=integrated,
            range_lu=None if integrated is None else float(self._last[f"{_PREFIX}LRA"]),
            true_peak_dbtp=20 * math.log10(peak) if peak > 0 else None,
            max_momentary_lufs=self._momentary if self._momentary > _GATE_LUFS else None,
            max_short_term_lufs=self._short_term if self._short_term > _GATE_LUFS else None,
        )

    def _value(self, name: str) -> float | None:
        value = float(self._last.get(_PREFIX + name, _GATE_LUFS))
        return value if value > _GATE_LUFS else None

    def _hear(self) -> None:
        """Take what the filter says of every 100 ms."""
        while True:
            try:
                told = self._sink.pull().metadata
            except _NOTHING_MORE:
                return
            if told:
                self._last = told
                self._momentary = max(self._momentary, float(told[f"{_PREFIX}M"]))
                self._short_term = max(self._short_term, float(told[f"{_PREFIX}S"]))


def normalising_gain_db(loudness: Loudness) -> float:
    """By how many decibels to turn a sound up or down to be as loud as the preset says.

    One plain gain for the whole of it, so quiet parts stay quiet; less where the true peak would go over its limit, and
    none where the sound is too quiet to have a loudness.
    """
    if loudness.integrated_lufs is None:
        return 0.0
    gain_db = NORMALISED_LOUDNESS_LUFS - loudness.integrated_lufs
    if loudness.true_peak_dbtp is not None:
        gain_db = min(gain_db, NORMALISED_TRUE_PEAK_DBTP - loudness.true_peak_dbtp)
    return gain_db
