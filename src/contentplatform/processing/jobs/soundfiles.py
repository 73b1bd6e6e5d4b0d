"""Writes the encodings of a sound: AAC in MP4, Opus in Ogg, with tags, chapters and cover; the same bytes each time."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from contentplatform.processing.jobs.blocks import frame_of
from contentplatform.processing.port import Chapter
from contentplatform.processing.presets import M4A, AudioPreset

_BITS_A_SAMPLE: Final = 6
"""The most that AAC can spend on a sample of a channel."""
_COVER_CLOCK: Final = Fraction(1, 90_000)
_MILLISECONDS: Final = Fraction(1, 1_000)
_FRONT_COVER: Final = 3
_BITS_A_PIXEL: Final = 24
_OPTIONS: Final = {
    # Reproducible: no time, no random serial number, no version of the program.
    "mp4": {"fflags": "+bitexact", "movflags": "+faststart", "brand": "M4A "},
    "ogg": {"fflags": "+bitexact"},
}
_FORMATS: Final = {"aac": "fltp", "libopus": "flt"}
_NEXT_TO_NOTHING: Final = np.float32(1e-6)
"""-120 dBFS."""


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture to go with the sound: a JPEG that was made here."""

    content: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What the file says of the sound."""

    tags: Mapping[str, str] = field(default_factory=dict)
    chapters: Sequence[Chapter] = ()
    cover: Cover | None = None


class SoundFile:
    """One encoding, in the current folder, under the preset's name and extension."""

    def __init__(self, preset: AudioPreset, rate_hz: int, layout: str, labels: Labels) -> None:
        """Begin a file for sound of this rate and layout (``mono``, ``stereo``)."""
        self.name = f"{preset.name}.{preset.extension}"
        self._rate_hz, self._layout = rate_hz, layout
        self._samples = 0
        self._container = av.open(self.name, "w", format=preset.container, container_options=_OPTIONS[preset.container])
        self._lifts_silence = preset.encoder == "libopus"
        self._stream: Any = self._container.add_stream(preset.encoder, rate=coded_rate(preset, rate_hz))
        context: Any = self._stream.codec_context
        context.layout = layout
        context.format = _FORMATS[preset.encoder]
        context.bit_rate = _bit_rate(preset, context.sample_rate, layout)
        context.thread_count = 1
        if preset is M4A:
            self._label_mp4(labels)
        else:
            self._label_ogg(labels)

    def add(self, block: NDArray[np.float32]) -> None:
        """Encode one more piece: a row a channel."""
        if self._lifts_silence and not block.any():
            # In digital silence libopus computes with denormal numbers, eight times as long as with any other.
            block = block + _NEXT_TO_NOTHING
        frame = frame_of(block, self._rate_hz, self._layout, self._samples)
        self._samples += frame.samples
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds, and complete the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _label_mp4(self, labels: Labels) -> None:
        self._container.metadata.update(labels.tags)
        self._container.set_chapters(
            [
                {
                    "id": number,
                    "start": round(chapter.start_seconds * 1_000),
                    "end": round(chapter.end_seconds * 1_000),
                    "time_base": _MILLISECONDS,
                    "metadata": {"title": chapter.title},
                }
                for number, chapter in enumerate(labels.chapters)
            ]
        )
        if labels.cover is None:
            return
        stream = self._container.add_mux_stream("mjpeg", width=labels.cover.width, height=labels.cover.height)
        stream.disposition = Disposition.attached_pic
        stream.time_base = _COVER_CLOCK
        picture = av.Packet(labels.cover.content)
        picture.stream, picture.time_base = stream, _COVER_CLOCK
        picture.pts = picture.dts = 0
        picture.is_keyframe = True
        self._container.mux(picture)

    def _label_ogg(self, labels: Labels) -> None:
        self._stream.metadata.update(labels.tags)
        # Not through the library, which writes other times than it is given.
        for number, chapter in enumerate(labels.chapters, 1):
            self._stream.metadata[f"CHAPTER{number:03d}"] = _clock(chapter.start_seconds)
            self._stream.metadata[f"CHAPTER{number:03d}NAME"] = chapter.title
        if labels.cover is not None:
            self._stream.metadata["METADATA_BLOCK_PICTURE"] = base64.b64encode(_picture_block(labels.cover)).decode()


def coded_rate(preset: AudioPreset, rate_hz: int) -> int:
    """The rate that the codec is given: the sound's own, or the next higher one that the codec knows."""
    return next((rate for rate in preset.sample_rates_hz if rate >= rate_hz), preset.sample_rates_hz[-1])


def _bit_rate(preset: AudioPreset, rate_hz: int, layout: str) -> int:
    channels = 1 if layout == "mono" else 2
    return min(preset.bits_per_second, _BITS_A_SAMPLE * rate_hz * channels)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1_000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1_000:02d}.{rest % 1_000:03d}"


def _picture_block(cover: Cover) -> bytes:
    """The cover as FLAC's block of type PICTURE, which Ogg's comments hold in Base64."""
    kind = b"image/jpeg"
    parts: Iterable[bytes] = (
        struct.pack(">II", _FRONT_COVER, len(kind)),
        kind,
        struct.pack(">I", 0),
        struct.pack(">IIII", cover.width, cover.height, _BITS_A_PIXEL, 0),
        struct.pack(">I", len(cover.content)),
        cover.content,
    )
    return b"".join(parts)
