"""Finds out what is in a film or a sound: headers, and as few packets as that takes.

One picture is decoded, because turns, HDR and alpha are often told by the pictures only, and because a film that gives
none is broken. Sound is not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from av.audio.stream import AudioStream
from av.sidedata.sidedata import SideData, Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.codecs import COVER_CODECS, LOSSLESS_AUDIO, SUBTITLE_CODECS
from contentplatform.processing.jobs.colour import PRIMARIES, RANGES, SPACES, TRANSFERS
from contentplatform.processing.jobs.demux import (
    Opened,
    check_codec,
    codec_of,
    decode_failure,
    is_allowed,
    is_cover,
    open_source,
    over_limit,
    refuse_codec,
    refused_size,
)
from contentplatform.processing.jobs.timing import (
    Duration,
    Sample,
    frame_rate,
    measured_duration,
    rate_varies,
    sampled,
)
from contentplatform.processing.languages import language_tag
from contentplatform.processing.port import AudioTrack, Chapter, MediaFacts, SubtitleTrack, VideoTrack
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.tags import clean_tags, clean_title

_DOING: Final = "looking at what is in the file"
_MICROSECONDS: Final = 1_000_000
_MOST_ASPECT: Final = 10.0
"""Pixels that claim to be more oblong than this are taken for square."""
_INTERLACED: Final = frozenset({2, 3, 4, 5})
_DOLBY_VISION_TAGS: Final = frozenset({"dvh1", "dvhe", "dva1", "dvav", "dav1"})
_DOLBY_VISION_DATA: Final = (Type.DOVI_METADATA, Type.DOVI_RPU_BUFFER)
_CHAPTER_CHARACTERS: Final = 16_000
_UNORDERED_LAYOUTS: Final = {"1 channels": "mono", "2 channels": "stereo"}
_BITS: Final = re.compile(r"pcm_[a-z](\d+)")

_HDR_TRANSFERS: Final = {"smpte2084": "hdr10", "arib-std-b67": "hlg"}


def probe(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: the facts of the film or sound behind the descriptor ``source``, as ``MediaFacts`` has them.

    Raises:
        ProcessingFailed: broken, over a limit, or nothing in it that an allowed decoder opens.
    """
    limits = VideoLimits(**request["limits"])
    opened = open_source(source, limits, doing=_DOING)
    with opened.container:
        return facts_of(opened, limits).to_json()


def facts_of(opened: Opened, limits: VideoLimits) -> MediaFacts:
    """What is in an opened container, held against ``limits``. Its place moves; open it again to read it."""
    container = opened.container
    pictures = _playable([stream for stream in container.streams.video if not is_cover(stream)])
    sounds = _playable(list(container.streams.audio))
    if not pictures and not sounds:
        why = "there is no film and no sound in it"
        raise ProcessingFailed(_DOING, why, code=ErrorCode.UNSUPPORTED, hint="The original is kept")
    for stream in pictures:
        _check_size(stream.codec_context.width, stream.codec_context.height, limits)
        check_codec(stream, limits=limits, doing=_DOING)
    sample = sampled(opened, pictures[0] if pictures else None, doing=_DOING)
    if pictures:
        _check_sample(opened, pictures[0], sample, limits)
    said_seconds = max(0.0, (container.duration or 0) / _MICROSECONDS)
    duration = measured_duration(opened, sample, said_seconds)
    _check_duration(duration.seconds, limits)
    subtitles = list(container.streams.subtitles)[: limits.subtitle_tracks]
    video = tuple(_video(stream, opened, sample if n == 0 else None, duration) for n, stream in enumerate(pictures))
    for track in video:
        _check_track(track, limits)
    covers = [stream for stream in container.streams.video if is_cover(stream)]
    known = len(pictures) + len(sounds) + len(subtitles) + len(covers)
    raw_tags = [dict(container.metadata)]
    if opened.demuxer == "ogg" and sounds:
        raw_tags.append(dict(sounds[0].metadata))  # Ogg has none for the whole
    tags = clean_tags(raw_tags)
    audio = tuple(_audio(stream, opened, duration) for stream in sounds)
    return MediaFacts(
        format=opened.demuxer,
        duration_seconds=round(duration.seconds, 6),
        duration_is_exact=duration.is_exact,
        bit_rate=_bit_rate(opened, duration, video, audio),
        size_bytes=opened.file_bytes,
        video=video,
        audio=audio,
        subtitles=tuple(_subtitle(stream) for stream in subtitles),
        chapters=_chapters(opened, limits, duration),
        tags=tags.public,
        private=tags.private,
        has_cover=any(_is_shown(stream, sample, limits) for stream in covers),
        other_streams=len(container.streams) - known,
    )


def _playable(streams: list[Any]) -> list[Any]:
    """The tracks of one sort that can be decoded, the one that is shown or heard first in front.

    Raises:
        ProcessingFailed: there are tracks, but none that can.
    """
    allowed = [stream for stream in streams if is_allowed(stream)]
    if streams and not allowed:
        refuse_codec(streams[0], doing=_DOING)
    return sorted(allowed, key=lambda stream: not stream.disposition & Disposition.default)


# -- limits ----------------------------------------------------------------------------------------------------------


def _check_size(width: int, height: int, limits: VideoLimits) -> None:
    if width * height > limits.pixels or max(width, height) > limits.side:
        most = f"{limits.pixels / 1e6:.3g} million, {limits.side} a side,"
        over_limit(f"its pictures have {width} x {height} pixels; at most {most} are processed", doing=_DOING)


def _check_sample(opened: Opened, stream: VideoStream, sample: Sample, limits: VideoLimits) -> None:
    if sample.frame is not None:
        _check_size(sample.frame.width, sample.frame.height, limits)
        return
    _check_size(*(refused_size(opened, limits) or (0, 0)), limits)
    if sample.error is not None:
        raise decode_failure(sample.error, what="its pictures can't be decoded: they are", doing=_DOING)
    if sample.ended or not stream.codec_context.width:
        why = "there is no picture in its film, or none that can be decoded"
        raise ProcessingFailed(_DOING, why, code=ErrorCode.DECODE, hint="The original is kept")


def _check_duration(seconds: float, limits: VideoLimits) -> None:
    if seconds > limits.duration_seconds:
        hours, most = seconds / 3_600, limits.duration_seconds / 3_600
        over_limit(f"it lasts {hours:,.0f} hours; at most {most:,.0f} are processed".replace(",", " "), doing=_DOING)


def _check_track(track: VideoTrack, limits: VideoLimits) -> None:
    if track.frame_rate > limits.frame_rate:
        why = f"it has {track.frame_rate:.0f} pictures a second; at most {limits.frame_rate:.0f} are processed"
        over_limit(why, doing=_DOING)
    _check_size(track.width, track.height, limits)


def _is_shown(cover: Stream, sample: Sample, limits: VideoLimits) -> bool:
    """Whether a cover is of a common sort and no larger than allowed; others are left alone."""
    size = sample.cover_bytes.get(cover.index, 0)
    return codec_of(cover) in COVER_CODECS and 0 < size <= limits.cover_bytes


# -- tracks ----------------------------------------------------------------------------------------------------------


def _video(stream: VideoStream, opened: Opened, sample: Sample | None, duration: Duration) -> VideoTrack:
    context = stream.codec_context
    frame = None if sample is None else sample.frame
    times = [] if sample is None else sample.times
    coded_width, coded_height = (context.width, context.height) if frame is None else (frame.width, frame.height)
    rotation = 0 if frame is None else round(-frame.rotation / 90) * 90 % 360
    width, height = _shown(coded_width, coded_height, stream.sample_aspect_ratio, rotation)
    pixels = context.format if frame is None else frame.format
    transfer = TRANSFERS.get(_told(context.color_trc, frame, "color_trc"), "")
    seconds, start = _span(stream, opened, duration)
    return VideoTrack(
        index=stream.index,
        codec=codec_of(stream),
        width=width,
        height=height,
        coded_width=coded_width,
        coded_height=coded_height,
        rotation_degrees=rotation,
        frame_rate=round(frame_rate(times, float(stream.average_rate or 0), VideoLimits().frame_rate), 6),
        frame_rate_varies=rate_varies(opened, stream, times),
        duration_seconds=seconds,
        start_seconds=start,
        bit_rate=context.bit_rate or None,
        profile=clean_title(context.profile or ""),
        pixel_format="" if pixels is None else pixels.name,
        bit_depth=8 if pixels is None else max((part.bits for part in pixels.components), default=8),
        color_primaries=PRIMARIES.get(_told(context.color_primaries, frame, "color_primaries"), ""),
        color_transfer=transfer,
        color_space=SPACES.get(_told(context.colorspace, frame, "colorspace"), ""),
        color_range=RANGES.get(_told(context.color_range, frame, "color_range", unknown=0), ""),
        hdr="dolby-vision" if _is_dolby_vision(stream, frame) else _HDR_TRANSFERS.get(transfer, ""),
        interlaced=context.field_order in _INTERLACED or (frame is not None and frame.interlaced_frame),
        has_alpha=_has_alpha(stream, frame),
    )


def _shown(width: int, height: int, aspect: Any, rotation: int) -> tuple[int, int]:
    """The size with square pixels, upright. Pictures get wider or narrower, as players do it, never higher."""
    ratio = float(aspect or 1)
    if ratio > 0 and 1 / _MOST_ASPECT <= ratio <= _MOST_ASPECT:
        width = max(1, round(width * ratio))
    return (height, width) if rotation in {90, 270} else (width, height)


def _told(header: int, frame: VideoFrame | None, name: str, *, unknown: int = 2) -> int:
    """What the header says of colour; where it says nothing, the decoded picture."""
    if header != unknown or frame is None:
        return int(header)
    return int(getattr(frame, name))


def _is_dolby_vision(stream: VideoStream, frame: VideoFrame | None) -> bool:
    if stream.codec_context.codec_tag in _DOLBY_VISION_TAGS:
        return True
    kinds = [] if frame is None else [data.type for data in cast("Iterator[SideData]", iter(frame.side_data))]
    return any(kind in _DOLBY_VISION_DATA for kind in kinds)


def _has_alpha(stream: VideoStream, frame: VideoFrame | None) -> bool:
    if frame is not None and any(part.is_alpha for part in frame.format.components):
        return True
    return stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"  # VP8, VP9: a picture of its own


def _audio(stream: AudioStream, opened: Opened, duration: Duration) -> AudioTrack:
    context, codec = stream.codec_context, codec_of(stream)
    layout = context.layout.name
    seconds, start = _span(stream, opened, duration)
    return AudioTrack(
        index=stream.index,
        codec=codec,
        sample_rate_hz=context.sample_rate,
        channels=context.channels,
        channel_layout=_UNORDERED_LAYOUTS.get(layout, "" if "channels" in layout else layout),
        duration_seconds=seconds,
        start_seconds=start,
        bit_rate=context.bit_rate or None,
        bits_per_sample=_bits(codec, bytes(context.extradata or b"")),
        lossless=codec in LOSSLESS_AUDIO,
        profile=clean_title(context.profile or ""),
        language=language_tag(stream.metadata.get("language", "")),
        title=_title(stream),
        is_default=bool(stream.disposition & Disposition.default),
    )


def _bits(codec: str, extradata: bytes) -> int | None:
    """Bits of a sample of a lossless codec, from its name or its header."""
    if codec == "flac" and len(extradata) >= 14:
        return ((extradata[12] & 1) << 4 | extradata[13] >> 4) + 1
    if codec == "alac" and len(extradata) >= 18:
        return extradata[17]
    found = _BITS.match(codec)
    return int(found[1]) if found else None


def _subtitle(stream: Stream) -> SubtitleTrack:
    codec = codec_of(stream)
    return SubtitleTrack(
        index=stream.index,
        codec=codec or "unknown",
        is_text=codec in SUBTITLE_CODECS,
        language=language_tag(stream.metadata.get("language", "")),
        title=_title(stream),
        is_default=bool(stream.disposition & Disposition.default),
        is_forced=bool(stream.disposition & Disposition.forced),
    )


def _title(stream: Stream) -> str:
    return clean_title(stream.metadata.get("title") or stream.metadata.get("name") or "")


def _span(stream: Stream, opened: Opened, duration: Duration) -> tuple[float, float]:
    """A track's length, and where it begins behind the container's start, in seconds."""
    tick, first = float(stream.time_base or 0), (opened.container.start_time or 0) / _MICROSECONDS
    start = 0.0 if stream.start_time is None else max(0.0, stream.start_time * tick - first)
    if stream.index in duration.ends:
        seconds = duration.ends[stream.index] - start
    elif stream.duration is not None:
        seconds = stream.duration * tick
    else:
        seconds = duration.seconds - start
    return round(min(max(0.0, seconds), duration.seconds), 6), round(start, 5)


# -- the whole -------------------------------------------------------------------------------------------------------


def _bit_rate(
    opened: Opened, duration: Duration, video: tuple[VideoTrack, ...], audio: tuple[AudioTrack, ...]
) -> int | None:
    """Of the whole; a single sound's own, because a cover may be larger than it."""
    if not video and len(audio) == 1 and audio[0].bit_rate:
        return audio[0].bit_rate
    return int(opened.file_bytes * 8 / duration.seconds) if duration.seconds > 0 else None


def _chapters(opened: Opened, limits: VideoLimits, duration: Duration) -> tuple[Chapter, ...]:
    """The parts that lie within it, in order; titles share a budget, and those beyond it are empty."""
    found, left = [], _CHAPTER_CHARACTERS
    for entry in opened.container.chapters()[: limits.chapters]:
        tick = float(entry["time_base"] or 0)
        start, end = entry["start"] * tick, min(entry["end"] * tick, duration.seconds)
        if not 0 <= start < end:
            continue
        title = clean_title(entry["metadata"].get("title", ""))[: min(100, left)]
        left -= len(title)
        found.append(Chapter(round(start, 3), round(end, 3), title))
    return tuple(sorted(found, key=lambda chapter: chapter.start_seconds))
