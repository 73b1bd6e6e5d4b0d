"""Packs an encoded film for HLS: one fragmented MP4 a rung by stream copy, and where in it the segments lie.

The copy sees every packet, so it is also where each is looked at: an index that promises packets that are not there, or
a picture that is no chain of whole units, is found here without decoding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from contentplatform.processing.playlists import Segment
from contentplatform.processing.presets import HLS_SEGMENT_SECONDS

_SEGMENT_SLACK_SECONDS: Final = 0.1
"""A segment ends at the first key frame that is not earlier than this before its time."""
_LONGEST_SEGMENT_SECONDS: Final = 2 * HLS_SEGMENT_SECONDS
"""Where no key frame comes: behind the end of the pictures, in a sound that goes on."""
_MUXER_OPTIONS: Final = {
    # The header is written when the first fragment is: only then is known by how much a sound's beginning is cut.
    "movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer",
    "min_frag_duration": str(round((HLS_SEGMENT_SECONDS - _SEGMENT_SLACK_SECONDS) * 1e6)),
    "frag_duration": str(round(_LONGEST_SEGMENT_SECONDS * 1e6)),
    "fflags": "+bitexact",
}
_UNIT_LENGTH_BYTES: Final = 4
_UNIT_TYPES: Final = range(1, 24)


_NOTHING: Final = Segment(0.0, 0)


@dataclass(slots=True)
class Copied:
    """What a copy saw."""

    key_times: list[int] = field(default_factory=list)
    """Presentation times of the key frames, in the track's own unit."""
    pictures: int = 0
    end: int = 0
    """Where the last picture ends, in the track's own unit."""
    begin: int | None = None
    sound_end: int = 0
    sound_begin: int | None = None
    broken: str = ""
    """What was wrong with a packet; empty: nothing."""
    segments: tuple[Segment, ...] = ()
    init: Segment = _NOTHING


def pack(rung: InputContainer, video: VideoStream, audio: AudioStream | None, file: str) -> Copied:
    """Copy the tracks of an opened rung into the new ``file`` of the current folder, in fragments.

    Raises:
        av.FFmpegError: the rung can't be read to its end.
    """
    copied = Copied()
    with av.open(file, "w", format="mp4", options=_MUXER_OPTIONS) as target:
        tracks: dict[int, Stream] = {}
        for stream in (video, audio):
            if stream is not None:
                tracks[stream.index] = target.add_stream_from_template(stream, opaque=True)
        for packet in rung.demux([stream for stream in (video, audio) if stream is not None]):
            if packet.dts is None or packet.pts is None:
                continue
            _note(copied, packet, is_video=packet.stream.index == video.index)
            packet.stream = tracks[packet.stream.index]
            target.mux_one(packet)
    with Path(file).open("rb") as packed:
        copied.init, copied.segments = _located(packed, packed.seek(0, os.SEEK_END))
    return copied


def _note(copied: Copied, packet: Packet[Stream], *, is_video: bool) -> None:
    pts = packet.pts or 0
    if not is_video:
        copied.sound_begin = pts if copied.sound_begin is None else copied.sound_begin
        copied.sound_end = max(copied.sound_end, pts + (packet.duration or 0))
        return
    copied.pictures += 1
    copied.begin = pts if copied.begin is None else min(copied.begin, pts)
    copied.end = max(copied.end, pts + (packet.duration or 0))
    if packet.is_keyframe:
        copied.key_times.append(pts)
    if not copied.broken and not _is_whole(memoryview(packet)):
        copied.broken = f"picture {copied.pictures} is damaged"


def _is_whole(picture: memoryview) -> bool:
    """Whether a picture is a chain of H.264 units, each as long as it says."""
    place, size = 0, len(picture)
    while place + _UNIT_LENGTH_BYTES < size:
        length = int.from_bytes(picture[place : place + _UNIT_LENGTH_BYTES], "big")
        place += _UNIT_LENGTH_BYTES
        # The highest bit of a unit's first byte is never set; its lowest five are its type.
        if not length or picture[place] & 0x80 or picture[place] & 0x1F not in _UNIT_TYPES:
            return False
        place += length
    return place == size > 0


# -- boxes -------------------------------------------------------------------------------------------------------


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of an MP4 in ``content``, one after the other: kind and body. Ends at the first that makes no sense."""
    place = 0
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if size < 8 or place + size > len(content):
            return
        yield content[place + 4 : place + 8], content[place + 8 : place + size]
        place += size


def top_boxes(stream: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of an MP4 file: kind, place, size in bytes. Ends at the first that makes no sense."""
    place = 0
    while place + 8 <= size_bytes:
        stream.seek(place)
        head = stream.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or place + size > size_bytes:
            return
        yield head[4:8], place, size
        place += size


def inner(content: bytes, *path: bytes) -> bytes:
    """The body of the first box that is found along ``path``; empty where there is none."""
    for kind in path:
        content = next((body for name, body in boxes(content) if name == kind), b"")
    return content


@dataclass(frozen=True, slots=True)
class _Fragment:
    place: int
    size: int
    begin_seconds: float
    end_seconds: float


def _located(stream: BinaryIO, size_bytes: int) -> tuple[Segment, tuple[Segment, ...]]:
    """The initialisation and the segments of a file that was just packed."""
    scales: dict[int, int] = {}
    main = 0
    fragments: list[_Fragment] = []
    for kind, place, size in top_boxes(stream, size_bytes):
        if kind == b"moov":
            stream.seek(place + 8)
            scales = _time_scales(stream.read(size - 8))
            main = min(scales)
        elif kind == b"moof":
            stream.seek(place + 8)
            fragments.append(_Fragment(place, size, *_span(stream.read(size - 8), scales, main)))
        elif kind == b"mdat":
            fragments[-1] = replace(fragments[-1], size=fragments[-1].size + size)
    ends = [*(fragment.begin_seconds for fragment in fragments[1:]), fragments[-1].end_seconds]
    segments = tuple(
        Segment(end - fragment.begin_seconds, fragment.size, fragment.place)
        for fragment, end in zip(fragments, ends, strict=True)
    )
    return Segment(0.0, fragments[0].place), segments


def _time_scales(moov: bytes) -> dict[int, int]:
    """Units a second by the track's number."""
    scales = {}
    for kind, trak in boxes(moov):
        if kind == b"trak":
            header, media = inner(trak, b"tkhd"), inner(trak, b"mdia", b"mdhd")
            # Version 1 has longer times in front of these fields.
            number, scale = (20, 20) if header[0] else (12, 12)
            scales[_number(header, number)] = _number(media, scale)
    return scales


def _span(moof: bytes, scales: Mapping[int, int], main: int) -> tuple[float, float]:
    """From when to when a fragment lasts: its pictures, and where it has none, its sound."""
    spans: dict[int, tuple[float, float]] = {}
    for kind, traf in boxes(moof):
        if kind == b"traf":
            track, default = _track_header(inner(traf, b"tfhd"))
            decode_time = inner(traf, b"tfdt")
            begin = int.from_bytes(decode_time[4:12] if decode_time[0] else decode_time[4:8], "big")
            length = sum(_run_length(run, default) for name, run in boxes(traf) if name == b"trun")
            spans[track] = (begin / scales[track], (begin + length) / scales[track])
    begin_seconds, end_seconds = spans.get(main) or next(iter(spans.values()))
    return begin_seconds, max(end_seconds, begin_seconds)


def _track_header(header: bytes) -> tuple[int, int]:
    """The track's number, and how long its samples last that don't say."""
    flags = int.from_bytes(header[1:4], "big")
    place = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
    return _number(header, 4), _number(header, place) if flags & 0x8 else 0


def _run_length(run: bytes, default: int) -> int:
    flags, count = int.from_bytes(run[1:4], "big"), _number(run, 4)
    if not flags & 0x100:
        return count * default
    place = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    step = 4 * (flags >> 8 & 0xF).bit_count()
    return sum(_number(run, place + number * step) for number in range(count))


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")


# -- codecs ------------------------------------------------------------------------------------------------------


def codecs(video: VideoStream, audio: AudioStream | None) -> str:
    """``CODECS`` after RFC 6381, from the decoders' configurations: ``avc1.64001f,mp4a.40.2``."""
    picture = bytes(video.codec_context.extradata or b"")
    names = [f"avc1.{picture[1:4].hex()}"]
    if audio is not None:
        sound = bytes(audio.codec_context.extradata or b"\x10")
        names.append(f"mp4a.40.{sound[0] >> 3}")
    return ",".join(names)
