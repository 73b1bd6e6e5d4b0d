"""Pieces of sound on their way between FFmpeg and numpy: 32-bit float samples."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray


def frame_of(block: NDArray[np.float32], rate_hz: int, layout: str, position: int) -> av.AudioFrame:
    """``block`` as a frame that begins ``position`` samples after the sound's beginning. The samples are copied.

    Mono and stereo are a row a channel; of more channels there is one row, sample by sample.
    """
    frame = av.AudioFrame.from_ndarray(block, format=sample_format(layout), layout=layout)
    frame.sample_rate = rate_hz
    frame.time_base = Fraction(1, rate_hz)
    frame.pts = position
    return frame


def sample_format(layout: str) -> str:
    """FFmpeg's name of how samples of this layout lie in a block."""
    return "fltp" if layout in {"mono", "stereo"} else "flt"
