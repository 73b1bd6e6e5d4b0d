"""Reads renditions of sounds back with PyAV, and asks the ffmpeg program how loud a file is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray


def samples(path: Path) -> tuple[NDArray[np.float32], int]:
    """All samples of a file's first track, a row a channel, and their rate."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=track.layout.name, rate=track.sample_rate)
        blocks = [piece.to_ndarray() for frame in container.decode(track) for piece in resampler.resample(frame)]
        return np.concatenate(blocks, axis=1), track.sample_rate


def tags(path: Path) -> dict[str, str]:
    """A file's tags, wherever its container keeps them; names in lower case."""
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.lower(): text for name, text in found.items()}


def cover(path: Path) -> bytes | None:
    """The picture file that belongs to a sound."""
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.stream.type == "video":
                return bytes(packet)
    return None


def measured(path: Path) -> dict[str, float]:
    """Loudness as the ffmpeg program's ``ebur128`` sees it: ``I``, ``LRA``, ``Peak``."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path), "-map", "0:a"]
    command += ["-af", "ebur128=peak=true", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=300).stderr.decode()
    summary = told[told.rindex("Summary:") :]
    return {name: float(value) for name, value in re.findall(r"^\s+(I|LRA|Peak):\s+(-?[\d.]+)", summary, re.MULTILINE)}


def level(block: NDArray[np.float32]) -> float:
    """Root mean square of some samples."""
    return float(np.sqrt(np.mean(np.square(block, dtype=np.float64))))
