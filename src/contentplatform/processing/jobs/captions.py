"""Takes the subtitles out of a film: every track of text, as WebVTT that we write ourselves.

No subtitle decoder of FFmpeg runs, and nothing is drawn: packets come from the demuxer, words from ``cues``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from contentplatform.processing.jobs import demux
from contentplatform.processing.jobs.cues import MOST_CUES, Cue, CueReader, webvtt
from contentplatform.processing.port import SubtitleTrack
from contentplatform.processing.presets import VideoLimits

_DOING: Final = "taking the subtitles out of the video"


@dataclass(slots=True)
class _Track:
    reader: CueReader
    cues: list[Cue] = field(default_factory=list)
    size_bytes: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What came out of a film."""

    texts: Mapping[str, str]
    """WebVTT by the name of the rendition; a track without a word is left out."""
    cut: tuple[str, ...]
    """The names of those that were longer than the limits, or behind a place where the film is broken."""


def take(source: int, tracks: Mapping[str, SubtitleTrack], limits: VideoLimits, *, film_seconds: float) -> Taken:
    """The text of ``tracks``, by the name of the rendition, out of the film behind the descriptor ``source``.

    Times count from where the film's pictures and sound begin, as they do in the encoded files.

    Raises:
        ProcessingFailed: the film can't be opened. One that is broken further behind gives what is in front of that.
    """
    if not tracks:
        return Taken({}, ())
    with demux.open_container(source, limits, doing=_DOING) as container:
        found: dict[int, _Track] = {}
        for track in tracks.values():
            stream = container.streams[track.index]
            header = stream.codec_context.extradata or b""
            found[track.index] = _Track(CueReader(track.codec, bytes(header)))
        for stream in container.streams:
            stream.discard = Discard.default if stream.index in found else Discard.all
        start: Any = container.start_time  # None where nothing tells
        begins = (start or 0) / 1e6
        try:
            for packet in _packets(container, found):
                _note(found[packet.stream.index], packet, begins, limits)
        except (av.FFmpegError, OverflowError):
            for track_found in found.values():
                track_found.is_cut = True
    texts = {
        name: webvtt(found[track.index].cues, until_seconds=film_seconds, limit_bytes=limits.subtitle_bytes)
        for name, track in tracks.items()
    }
    return Taken(
        {name: text for name, text in texts.items() if text},
        tuple(name for name, track in tracks.items() if found[track.index].is_cut),
    )


def _packets(container: InputContainer, wanted: Mapping[int, _Track]) -> Iterator[Packet[Stream]]:
    return container.demux([container.streams[index] for index in wanted])


def _note(track: _Track, packet: Packet[Stream], begins_seconds: float, limits: VideoLimits) -> None:
    """Add a packet's cue to its track."""
    if packet.pts is None or not packet.size:
        return
    track.size_bytes += packet.size
    if track.size_bytes > limits.subtitle_bytes or len(track.cues) >= MOST_CUES:
        track.is_cut = True
        return
    start = float(packet.pts * packet.time_base) - begins_seconds
    end = start + float((packet.duration or 0) * packet.time_base)
    settings: Any = packet.get_sidedata("webvtt_settings") if packet.has_sidedata("webvtt_settings") else b""
    cue = track.reader.cue(bytes(packet), start, end, bytes(settings))
    if cue is not None:
        track.cues.append(cue)
