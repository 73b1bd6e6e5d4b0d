"""How long a sound is by the bytes of its own file, where FFmpeg believes what it finds instead of what was promised.

A file that was cut off on its way opens and plays, so its end has to be compared with what its beginning says: the size
of a WAV's data, the duration in Matroska's header, the number of frames in an MP3's; or with the time that the last
page of an Ogg carries, when pages in front of it are broken.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, Final

_HEAD_BYTES: Final = 64 << 10
_TAIL_BYTES: Final = 160 << 10
"""Two of the longest pages of an Ogg, and some."""
_MOST_CHUNKS: Final = 200
_UNKNOWN_SIZES: Final = frozenset({0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF})
"""What programs write that don't know yet how long the sound will be."""
_PAGE: Final = struct.Struct("<4sBBqII")
_OPUS_HZ: Final = 48_000
_DURATION_ELEMENTS: Final = (b"\x44\x89\x84", b"\x44\x89\x88")
_FRAME_COUNTS: Final = (b"Xing", b"Info")
_HAS_FRAMES: Final = 1
_SLOWEST, _FASTEST = 7_000, 700_000
"""Bits a second that an MP3 may have on average; a frame count that means others is a lie."""
_SAMPLES_OF_FAST, _SAMPLES_OF_SLOW = 1_152, 576
_FIRST_FAST_HZ: Final = 32_000
_FRAMES_OF_PADDING: Final = 4
"""So many of an MP3's may hold nothing but the encoder's delay, which decoders leave out."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a file says of its length."""

    seconds: float | None = None
    """Of the sound."""
    end_seconds: float | None = None
    """By the container's clock, which need not begin at nought."""
    is_binding: bool = True
    """Whether a file that is shorter is damaged for sure."""


def promise_of(descriptor: int, container_format: str, track: Any, header_seconds: float) -> Promise:
    """What the file behind ``descriptor`` promises of ``track``; ``header_seconds`` is by FFmpeg."""
    head, size = os.pread(descriptor, _HEAD_BYTES, 0), os.fstat(descriptor).st_size
    if container_format == "wav":
        return Promise(_seconds_of_wav(descriptor, size))
    if container_format == "matroska" and any(element in head for element in _DURATION_ELEMENTS):
        return Promise(header_seconds)
    if container_format == "ogg":
        tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return Promise(end_seconds=_end_of_ogg(head, tail, track))
    if container_format == "mp3":
        return Promise(_seconds_of_mp3(descriptor, size, track.codec_context.sample_rate), is_binding=False)
    return Promise()


def _seconds_of_wav(descriptor: int, size: int) -> float | None:
    place, bytes_a_second, long_size = 12, 0, 0
    for _ in range(_MOST_CHUNKS):
        header = os.pread(descriptor, 24, place)
        if len(header) < 8:
            return None
        name, length = header[:4], int.from_bytes(header[4:8], "little")
        if name == b"ds64" and len(header) == 24:
            long_size = int.from_bytes(header[16:24], "little")
        elif name == b"fmt " and len(header) >= 20:
            bytes_a_second = int.from_bytes(header[16:20], "little")
        elif name == b"data":
            length = long_size if length == 0xFFFFFFFF and long_size else length
            # Whole files need no promise: FFmpeg counts their samples.
            is_short = length not in _UNKNOWN_SIZES and length > size - place - 8
            return length / bytes_a_second if is_short and bytes_a_second else None
        place += 8 + length + length % 2
    return None


def _end_of_ogg(head: bytes, tail: bytes, track: Any) -> float | None:
    """The time of the last page of the first stream; None where the last page is another's, or does not say."""
    if len(head) < _PAGE.size:
        return None
    serial = _PAGE.unpack_from(head)[4]
    rate_hz = _OPUS_HZ if track.codec_context.name in {"opus", "libopus"} else track.codec_context.sample_rate
    place = tail.rfind(b"OggS")
    while place >= 0:
        if len(tail) >= place + _PAGE.size:
            _, version, _, samples, its_serial, _ = _PAGE.unpack_from(tail, place)
            if version == 0 and samples > 0:
                return float(samples / rate_hz) if its_serial == serial and rate_hz else None
        place = tail.rfind(b"OggS", 0, place)
    return None


def _seconds_of_mp3(descriptor: int, size: int, rate_hz: int) -> float | None:
    """At least, by the count of frames in the first frame, if that is plausible for a file of this size."""
    start, head = 0, os.pread(descriptor, 10, 0)
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    first = os.pread(descriptor, 512, start)
    for name in _FRAME_COUNTS:
        place = first.find(name)
        if 0 <= place <= len(first) - 12 and first[place + 7] & _HAS_FRAMES and rate_hz:
            samples = _SAMPLES_OF_FAST if rate_hz >= _FIRST_FAST_HZ else _SAMPLES_OF_SLOW
            frames = int.from_bytes(first[place + 8 : place + 12]) - _FRAMES_OF_PADDING
            seconds = frames * samples / rate_hz
            is_plausible = seconds > 0 and _SLOWEST <= (size - start) * 8 / seconds <= _FASTEST
            return seconds if is_plausible else None
    return None
