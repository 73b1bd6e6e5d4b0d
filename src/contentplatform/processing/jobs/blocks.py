"""Pieces of sound on their way between FFmpeg and numpy: 32-bit float samples, a row a channel."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray


def frame_of(block: NDArray[np.float32], rate_hz: int, layout: str, position: int) -> av.AudioFrame:
    """``block`` as a frame that begins ``position`` samples after the sound's beginning. The samples are copied."""
    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
    frame.sample_rate = rate_hz
    frame.time_base = Fraction(1, rate_hz)
    frame.pts = position
    return frame
