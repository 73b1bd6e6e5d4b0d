"""How long and how fast a film or a sound really is: from packets, where headers are silent or can't be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from contentplatform.processing.jobs.demux import Opened, decode_failure, is_cover

_SAMPLED_PICTURES: Final = 80
_REORDERED: Final = 16
"""Pictures at the end of a sample that may be out of order: the ones between them were not read yet."""
_SAMPLED_PACKETS: Final = 4_000
_SAMPLED_BYTES: Final = 48 << 20
_KEY_FRAME_ATTEMPTS: Final = 12
_INDEX_WINDOWS: Final = 5
_INDEX_WINDOW: Final = 60
_TAIL_SECONDS: Final = 4.0
_TAIL_BYTES: Final = 64 << 20
_SCAN_BYTES: Final = 96 << 20
_MICROSECONDS: Final = 1_000_000
_SCANNED: Final = frozenset({"mp3", "aac", "amr", "ac3", "eac3", "mpegvideo"})
"""Streams without a header that tells their length, and without places to go to."""
_XING_WINDOW_BYTES: Final = 256
_MP3_RATES: Final = (7_000, 700_000)
"""Bits a second, with some room."""
_PADDING_SECONDS: Final = 0.15
_LONGEST_SECONDS: Final = 1e9


@dataclass(slots=True)
class Sample:
    """What the first packets tell."""

    video: VideoStream | None
    covers: frozenset[int]
    pictures_wanted: int
    times: list[float] = field(default_factory=list)
    """Of the pictures, in seconds, in the order of showing; reliable but for the last."""
    frame: VideoFrame | None = None
    cover_bytes: dict[int, int] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)
    """Where the packets of each track end, in seconds."""
    ended: bool = False
    """Whether these were all packets of the file."""
    error: Exception | None = None
    """Of the last picture that could not be decoded."""
    packets: int = 0
    pictures: int = 0
    attempts: int = 0

    @property
    def is_enough(self) -> bool:
        """Whether nothing more is to be learnt, or it takes too long."""
        has_frame = self.video is None or (self.frame is not None and self.pictures >= self.pictures_wanted)
        if has_frame and len(self.cover_bytes) == len(self.covers):
            return True
        return self.packets >= _SAMPLED_PACKETS

    def take(self, packet: Packet[Any]) -> None:
        """Learn from one more packet."""
        self.packets += 1
        if packet.stream_index in self.covers:
            self.cover_bytes[packet.stream_index] = packet.size
            return
        _note_end(packet, self.ends)
        if self.video is not None and packet.stream_index == self.video.index:
            self.pictures += 1
            if packet.pts is not None:
                self.times.append(float(packet.pts * packet.time_base))
            if self.frame is None and packet.is_keyframe and self.attempts < _KEY_FRAME_ATTEMPTS:
                self.attempts += 1
                self.frame = self._decoded(self.video.codec_context, packet)

    def _decoded(self, context: VideoCodecContext, packet: Packet[Any]) -> VideoFrame | None:
        """The picture of one key frame; what the decoder keeps back is asked of it."""
        try:
            frames = context.decode(packet) or context.decode(None)
            if frames:
                return frames[0]
            context.flush_buffers()
        except (av.FFmpegError, MemoryError) as error:
            self.error = error
            with suppress(av.FFmpegError):
                context.flush_buffers()
        return None


@dataclass(frozen=True, slots=True)
class Duration:
    """How long it is."""

    seconds: float
    is_exact: bool
    ends: Mapping[int, float]
    """Where tracks end, in seconds from the container's start; only of tracks whose packets were read."""


def sampled(opened: Opened, video: VideoStream | None, *, doing: str) -> Sample:
    """Read the first packets, decode one picture, and find the covers.

    Raises:
        ProcessingFailed: no packet can be read.
    """
    covers = frozenset(stream.index for stream in opened.container.streams if is_cover(stream))
    # A complete index tells when pictures are shown, so the first one is enough.
    is_indexed = video is not None and _is_indexed(opened)
    sample = Sample(video, covers, 1 if is_indexed else _SAMPLED_PICTURES)
    opened.source.allow(_SAMPLED_BYTES)
    try:
        for packet in opened.container.demux():
            if packet.size:
                sample.take(packet)
            if sample.is_enough:
                break
        else:
            sample.ended = not opened.source.is_exhausted
    except (av.FFmpegError, MemoryError) as error:
        if not sample.packets:
            raise decode_failure(error, doing=doing) from error
        sample.ended = True
    sample.times.sort()
    if not sample.ended:
        del sample.times[-_REORDERED:]
    if video is not None and is_indexed:
        sample.times = _index_times(video, 0)
    return sample


def _is_indexed(opened: Opened) -> bool:
    """Whether the headers list every packet of all tracks, as MP4 does where it has no fragments."""
    return opened.demuxer == "mov" and all(stream.frames for stream in _timed(opened.container))


def _timed(container: InputContainer) -> list[Stream]:
    return [stream for stream in container.streams if stream.type in {"video", "audio"} and not is_cover(stream)]


def _note_end(packet: Packet[Any], ends: dict[int, float]) -> None:
    time = packet.pts if packet.pts is not None else packet.dts
    if time is not None and packet.stream.type in {"video", "audio"}:
        end = float((time + (packet.duration or 0)) * packet.time_base)
        ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)


# -- frame rate ------------------------------------------------------------------------------------------------------


def frame_rate(times: Sequence[float], average: float, most: float) -> float:
    """Pictures a second: the container's average where it is plausible, else what the packets tell; 0 for neither."""
    span = times[-1] - times[0] if len(times) > 1 else 0.0
    measured = (len(times) - 1) / span if span > 0 else 0.0
    if 0 < average <= most:
        return average
    return measured


def rate_varies(opened: Opened, stream: Stream, times: Sequence[float]) -> bool:
    """Whether pictures are unequally long, by more than clocks of containers round.

    From the packets' ``times``, or from some windows of the container's own index, all over the film.
    """
    tick_seconds = float(stream.time_base or 0)
    return _gaps_vary(_index_gaps(stream) if _is_indexed(opened) else _gaps(times), tick_seconds)


def _gaps(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times) if later > earlier]


def _index_gaps(stream: Stream) -> list[float]:
    last = max(0, len(stream.index_entries) - _INDEX_WINDOW)
    gaps: list[float] = []
    for window in range(_INDEX_WINDOWS if last else 1):
        gaps += _gaps(_index_times(stream, last * window // (_INDEX_WINDOWS - 1)))
    return gaps


def _index_times(stream: Stream, start: int) -> list[float]:
    """When some pictures are due to be decoded, in seconds, by the container's index."""
    entries, tick_seconds = stream.index_entries, float(stream.time_base or 0)
    return sorted(entry.timestamp * tick_seconds for entry in entries[start : min(len(entries), start + _INDEX_WINDOW)])


def _gaps_vary(gaps: Sequence[float], tick_seconds: float) -> bool:
    if len(gaps) < 3:
        return False
    usual = median(gaps)
    tolerance = max(0.1 * usual, 1.5 * tick_seconds)
    return sum(abs(gap - usual) > tolerance for gap in gaps) >= max(2, len(gaps) // 100)


# -- duration --------------------------------------------------------------------------------------------------------


def measured_duration(opened: Opened, sample: Sample, said_seconds: float) -> Duration:
    """How long it is, where the header says ``said_seconds`` (0: nothing). Moves the container's place."""
    if said_seconds and (_is_indexed(opened) or _is_counted(opened, said_seconds)):
        return Duration(said_seconds, is_exact=True, ends={})
    start = (opened.container.start_time or 0) / _MICROSECONDS
    ends, reached = (sample.ends, True) if sample.ended else _tail(opened, start + said_seconds)
    ends = {index: end - start for index, end in ends.items()}
    measured = max(ends.values(), default=0.0)
    if measured <= 0 or not reached:
        return Duration(max(said_seconds, measured), is_exact=False, ends={})
    # The header of an MP3 knows what of the last packet is padding.
    knows_better = opened.demuxer == "mp3" and abs(measured - said_seconds) <= _PADDING_SECONDS
    return Duration(said_seconds if knows_better else measured, is_exact=True, ends=ends)


def _is_counted(opened: Opened, said_seconds: float) -> bool:
    """Whether an MP3's first frame has the number of all frames, and all their bytes are there."""
    if opened.demuxer != "mp3":
        return False
    head = opened.source.peek(opened.sound_start, _XING_WINDOW_BYTES)
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 0 or len(head) < place + 16:
        return False
    flags, frames, size = (int.from_bytes(head[place + at : place + at + 4], "big") for at in (4, 8, 12))
    is_there = 0 < size <= opened.file_bytes - opened.sound_start
    # A number of frames that is a lie gives a rate that no MP3 has.
    return flags & 3 == 3 and frames > 0 and is_there and _MP3_RATES[0] <= size * 8 / said_seconds <= _MP3_RATES[1]


def _tail(opened: Opened, end_seconds: float) -> tuple[dict[int, float], bool]:
    """Where tracks end; and whether the end of the file was reached."""
    if opened.demuxer not in _SCANNED:
        ends, reached = _ends_from(opened, max(0.0, end_seconds - _TAIL_SECONDS), _TAIL_BYTES)
        if ends:
            return ends, reached
    return _ends_from(opened, 0, _SCAN_BYTES)


def _ends_from(opened: Opened, place_seconds: float, limit_bytes: int) -> tuple[dict[int, float], bool]:
    container, ends = opened.container, dict[int, float]()
    opened.source.allow(limit_bytes)
    with suppress(av.FFmpegError, OverflowError):  # what has no way to a place is read on from where it is
        container.seek(int(min(place_seconds, _LONGEST_SECONDS) * _MICROSECONDS))
    try:
        for packet in container.demux():
            if packet.size:
                _note_end(packet, ends)
    except (av.FFmpegError, MemoryError):
        return ends, bool(ends)  # broken from here on: what was read before it counts
    return ends, not opened.source.is_exhausted
