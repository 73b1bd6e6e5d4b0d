"""Makes sure that a video's encoded files are what was ordered, before anybody is shown them.

Of each file all packets are read, and copied for HLS on the way; the first, the last and some middle groups of pictures
are decoded, with the sound beside them. The rules of time:

* The pictures of all rungs begin together and last equally long, within one frame.
* They last as long as the original's track of pictures, within one frame of the slower of the two. A track that begins
  late may have its beginning filled, or not. Where the original's frame rate varies, nothing says how long its last
  frame is shown: a quarter of a second more or less is right then.
* An original that does not know how long it is (cut off, or estimated by its bit rate) is no measure: then only the
  rungs are held against each other.
* The sound begins with the pictures, at most 60 ms after them or before (EBU R 37), and lasts as long as the original's
  within a tenth of a second; which may be longer than its pictures, or less long.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NoReturn

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.jobs import demux, hls
from contentplatform.processing.port import MediaFacts, Rung, VideoTrack
from contentplatform.processing.presets import VideoLimits

DOING: Final = "verifying the encoded video"
_THREADS: Final = 2
_STRICT: Final = {"err_detect": "crccheck+bitstream+buffer+explode"}
_SECONDS_A_MIDDLE_GROUP: Final = 120.0
"""One group more is decoded for each of these."""
_MOST_MIDDLE_GROUPS: Final = 6
_MOST_GROUP_SECONDS: Final = 4.0
"""Key frames are two seconds apart; players could not seek in a file with fewer."""
_VARYING_SECONDS: Final = 0.25
_SOUND_SECONDS: Final = 0.1
_OFFSET_SECONDS: Final = 0.06
_FRAME_SLACK: Final = 1.01
"""Time stamps are rounded."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HINT: Final = "Process it again; if that does not help, the operator's log tells more"


@dataclass(frozen=True, slots=True)
class OpenRung:
    """An encoded file that passed."""

    order: Rung
    container: InputContainer
    video: VideoStream
    audio: AudioStream | None
    copied: hls.Copied
    media_file: str
    """The fragmented copy, in the current folder."""

    @property
    def unit(self) -> Fraction:
        """Seconds a unit of its time stamps."""
        return self.video.time_base or Fraction(1)

    @property
    def seconds(self) -> float:
        """How long its pictures last."""
        return float((self.copied.end - (self.copied.begin or 0)) * self.unit)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.copied.pictures / self.seconds


def opened(order: Rung, descriptor: int, facts: MediaFacts, limits: VideoLimits) -> OpenRung:
    """Open an encoded file, look at all of it, and copy it for HLS. The caller closes its container.

    Raises:
        ProcessingFailed: it is not what was ordered; says which rung, and what is wrong with it.
        OSError: there is no room for the copy.
    """
    _check_index(order, descriptor)
    try:
        container = demux.open_container(descriptor, limits, doing=DOING)
    except ProcessingFailed as error:
        fail(order, f"can't be opened: {error.why}", error)
    try:
        video, audio = _tracks(order, container, facts)
        media_file = f"hls-{order.name}.mp4"
        try:
            copied = hls.pack(container, video, audio, media_file)
        except (av.FFmpegError, OverflowError) as error:
            if (number := getattr(error, "errno", 0)) in _NO_ROOM:
                raise OSError(number, "no room for the copy") from error
            fail(order, "can't be read to its end", error)
        rung = OpenRung(order, container, video, audio, copied, media_file)
        _check_packets(rung)
        _check_times(rung, facts)
    except BaseException:
        container.close()
        raise
    return rung


def check_alike(rungs: Sequence[OpenRung]) -> None:
    """Make sure that all rungs are of the same length. Raises ProcessingFailed."""
    for rung in rungs[1:]:
        most = _FRAME_SLACK / min(rung.frame_rate, rungs[0].frame_rate)
        if abs(rung.seconds - rungs[0].seconds) > most:
            fail(rung.order, f"lasts {rung.seconds:.3f} s, and {rungs[0].order.name} {rungs[0].seconds:.3f} s")


def check_pictures(rung: OpenRung) -> None:
    """Decode the first, the last and some middle groups of pictures. Raises ProcessingFailed."""
    count = len(rung.copied.key_times)
    middle = min(_MOST_MIDDLE_GROUPS, 1 + int(rung.seconds / _SECONDS_A_MIDDLE_GROUP))
    for group in sorted({0, count - 1, *(count * (n + 1) // (middle + 1) for n in range(middle))}):
        for _ in frames(rung, group, group + 1):
            pass


def frames(rung: OpenRung, first: int, beyond: int) -> Iterator[VideoFrame]:
    """Decode groups of pictures by their numbers, with the sound beside them.

    Raises:
        ProcessingFailed: a picture is missing or damaged.
    """
    keys = rung.copied.key_times
    end = keys[beyond] if beyond < len(keys) else None
    pictures = decoded = 0
    at = keys[first]
    wanted = [stream for stream in (rung.video, rung.audio) if stream is not None]
    try:
        rung.container.seek(keys[first], stream=rung.video)
        for packet in rung.container.demux(wanted):
            if packet.dts is None or packet.pts is None:
                continue
            is_picture = packet.stream.index == rung.video.index
            if is_picture and packet.is_keyframe and end is not None and packet.pts >= end:
                break
            pictures += is_picture
            at = packet.pts if is_picture else at
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    decoded += 1
                    yield _sound(rung, frame)
        for frame in rung.video.codec_context.decode(None):
            decoded += 1
            yield _sound(rung, frame)
    except (av.FFmpegError, OverflowError) as error:
        fail(rung.order, f"can't be decoded {_at(rung, at)}", error)
    if decoded != pictures:
        fail(rung.order, f"has {pictures} pictures {_at(rung, keys[first])}, of which {decoded} can be decoded")


def key_frame(rung: OpenRung, group: int) -> VideoFrame:
    """Decode only the first picture of a group. Raises ProcessingFailed."""
    try:
        rung.container.seek(rung.copied.key_times[group], stream=rung.video)
        for packet in rung.container.demux(rung.video):
            for frame in [*packet.decode(), *rung.video.codec_context.decode(None)]:
                return _sound(rung, frame)
    except (av.FFmpegError, OverflowError) as error:
        fail(rung.order, f"can't be decoded {_at(rung, rung.copied.key_times[group])}", error)
    return fail(rung.order, f"has no picture {_at(rung, rung.copied.key_times[group])}")


def _sound(rung: OpenRung, frame: VideoFrame) -> VideoFrame:
    if frame.is_corrupt or (frame.width, frame.height) != (rung.order.width, rung.order.height):
        at = float((frame.pts or 0) * rung.unit)
        fail(rung.order, f"has a damaged picture at {at:.2f} s")
    return frame


def _at(rung: OpenRung, pts: int) -> str:
    # Several threads decode: what they complain of may be a few pictures older than what they were just given.
    return f"at about {float((pts - (rung.copied.begin or 0)) * rung.unit):.1f} s"


def fail(order: Rung, why: str, cause: Exception | None = None) -> NoReturn:
    """Say which rung is not what was ordered, and why."""
    private = repr(cause)[:500] if cause is not None else ""
    raise ProcessingFailed(
        DOING, f"the encoded {order.name} {why}", code=ErrorCode.DECODE, hint=_HINT, private=private
    ) from cause


# -- what was ordered ------------------------------------------------------------------------------------------------


def _check_index(order: Rung, descriptor: int) -> None:
    with open(descriptor, "rb", closefd=False) as stream:
        kinds = [kind for kind, _, _ in hls.top_boxes(stream, stream.seek(0, 2))]
    if b"moov" not in kinds:
        fail(order, "has no index")
    if b"mdat" not in kinds[kinds.index(b"moov") :]:
        fail(order, "has its index behind the pictures" if b"mdat" in kinds else "has no pictures, or not all of them")


def _tracks(order: Rung, container: InputContainer, facts: MediaFacts) -> tuple[VideoStream, AudioStream | None]:
    """The one track of pictures and the one of sound, as they were ordered; ready to be decoded."""
    if len(container.streams.video) != 1:
        fail(order, f"has {len(container.streams.video)} tracks of pictures instead of one")
    video = container.streams.video[0]
    _check_picture(order, video)
    wanted = 1 if facts.audio else 0
    if len(container.streams.audio) != wanted:
        fail(order, "has no sound, as the original does" if wanted else "has sound, and the original has none")
    for stream in (video, *container.streams.audio):
        demux.check_codec(stream, doing=DOING)
        stream.codec_context.options = _STRICT
    video.codec_context.thread_count = _THREADS
    video.codec_context.thread_type = ThreadType.FRAME
    if not wanted:
        return video, None
    audio = container.streams.audio[0]
    if demux.codec_of(audio) != "aac":
        fail(order, f"has sound in {demux.codec_of(audio)} instead of AAC")
    return video, audio


def _check_picture(order: Rung, video: VideoStream) -> None:
    context = video.codec_context
    if demux.codec_of(video) != "h264":
        fail(order, f"has pictures in {demux.codec_of(video)} instead of H.264")
    if (context.width, context.height) != (order.width, order.height):
        fail(order, f"is {context.width} x {context.height} instead of {order.width} x {order.height}")
    if context.pix_fmt != "yuv420p":
        fail(order, f"has pixels in {context.pix_fmt} instead of yuv420p")
    if video.sample_aspect_ratio not in {None, 0, 1}:
        fail(order, "has pixels that are not square")


def _check_packets(rung: OpenRung) -> None:
    copied = rung.copied
    if not copied.pictures or not copied.key_times:
        fail(rung.order, "has no pictures")
    if copied.broken:
        fail(rung.order, f"is broken: {copied.broken}")
    if copied.pictures != rung.video.frames:
        fail(rung.order, f"has {copied.pictures} of the {rung.video.frames} pictures that its index names")
    if copied.key_times[0] != copied.begin:
        fail(rung.order, "does not begin with a key frame")
    ends = [*copied.key_times[1:], copied.end]
    longest = float(max(end - begin for begin, end in zip(copied.key_times, ends, strict=True)) * rung.unit)
    if longest > _MOST_GROUP_SECONDS:
        fail(rung.order, f"has no key frame for {longest:.1f} s")


def _check_times(rung: OpenRung, facts: MediaFacts) -> None:
    original, copied = facts.video[0], rung.copied
    begin = float((copied.begin or 0) * rung.unit)
    if facts.duration_is_exact:
        shortest, longest = _right_length(original, facts, rung)
        if not shortest <= rung.seconds <= longest:
            fail(rung.order, f"lasts {rung.seconds:.3f} s, and the original {original.duration_seconds:.3f} s")
    if rung.audio is None or copied.sound_begin is None:
        if rung.audio is not None:
            fail(rung.order, "has an empty track of sound")
        return
    unit = rung.audio.time_base or Fraction(1)
    # What is in front of the track's start is there for the decoder only.
    sound_begin = float(max(copied.sound_begin, rung.audio.start_time or 0) * unit)
    if abs(sound_begin - begin) > _OFFSET_SECONDS:
        fail(rung.order, f"has its sound {abs(sound_begin - begin):.3f} s {_side(sound_begin - begin)} its pictures")
    if facts.duration_is_exact:
        _check_sound_length(rung, facts, float(copied.sound_end * unit) - sound_begin)


def _side(seconds: float) -> str:
    return "behind" if seconds > 0 else "in front of"


def _right_length(original: VideoTrack, facts: MediaFacts, rung: OpenRung) -> tuple[float, float]:
    """The shortest and the longest that the pictures may last."""
    rates = [rate for rate in (original.frame_rate, rung.frame_rate) if rate > 0]
    slack = _FRAME_SLACK / min(rates)
    if original.frame_rate_varies:
        slack = max(slack, _VARYING_SECONDS)
    late = max(0.0, original.start_seconds - min([original.start_seconds, *(t.start_seconds for t in facts.audio[:1])]))
    return original.duration_seconds - slack, original.duration_seconds + late + slack


def _check_sound_length(rung: OpenRung, facts: MediaFacts, seconds: float) -> None:
    original = facts.audio[0]
    late = max(0.0, original.start_seconds - facts.video[0].start_seconds)
    most = original.duration_seconds + late + _SOUND_SECONDS
    if not original.duration_seconds - _SOUND_SECONDS <= seconds <= most:
        fail(rung.order, f"has {seconds:.3f} s of sound, and the original {original.duration_seconds:.3f} s")
