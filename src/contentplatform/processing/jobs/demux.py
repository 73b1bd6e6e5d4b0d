"""The one place where a film or a sound is opened: from a descriptor, by a demuxer of the allow-list, and nothing else.

FFmpeg gets a Python object to read from instead of a name, an empty list of protocols, and a door that refuses every
further file: whatever a container refers to, there is no way to it. Its demuxer is chosen by the sniff table, its
decoders are those of ``codecs.DECODERS``.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import av
import av.subtitles.codeccontext
import av.subtitles.stream
import av.subtitles.subtitle  # PyAV imports these three when it meets subtitles: too late for a child
from av.container import InputContainer
from av.stream import Disposition, Stream

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.codecs import AUDIO_CODECS, DECODERS, DEMUXERS, SUBTITLE_CODECS, VIDEO_CODECS
from contentplatform.processing.jobs.boxes import check_boxes
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.probe import EMPTY, HEAD_SIZE_BYTES, sniff

_BUFFER_BYTES: Final = 128 << 10
_PROBE_BYTES: Final = 16 << 20
_ANALYSE_MICROSECONDS: Final = 10_000_000
_MOST_STREAMS: Final = 256
"""FFmpeg itself makes no more; attachments count here, and not among ``VideoLimits.streams``."""
_HEADER_BYTES: Final = 256 << 20
"""Most that is read to open a file: indexes of long films and their covers are in it."""
_INDEX_BYTES: Final = 64 << 20
_SIZE_IN_WORDS: Final = re.compile(r"[Pp]icture size (\d{1,9})x(\d{1,9}) ")
_TAG_HEADER_BYTES: Final = 10
_TAG_SLACK_BYTES: Final = 1 << 20
_MOST_TAGS: Final = 8
_MPEG_SEQUENCE: Final = b"\0\0\x01\xb3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_BEHIND_TAGS: Final = frozenset({"audio/flac", "audio/aac", "audio/aiff", "audio/wav", "audio/ac3", "audio/eac3"})
"""What else than MP3 writers put ID3 tags in front of."""
_CONVERT: Final = "The original is kept; convert it to a common format to get renditions"
_SEND_AGAIN: Final = "The original is kept; send it again if it came in damaged"
_ALLOWED: Final = {"video": VIDEO_CODECS, "audio": AUDIO_CODECS, "subtitle": SUBTITLE_CODECS}
_FAMILIES: Final = {"video": "video", "audio": "sound", "subtitle": "subtitles"}


class Source:
    """A descriptor as FFmpeg reads it, from ``start`` on; has its own place, so several may read one descriptor.

    Behind ``allow`` it gives that many bytes and then pretends to be at its end: FFmpeg looks for a next header for
    as long as there are bytes, and a hole in a file has as many as one likes.
    """

    def __init__(self, descriptor: int, start: int = 0) -> None:
        self._descriptor = descriptor
        self._start = start
        self._place = 0
        self._left: int | None = None
        self.size_bytes = max(0, os.fstat(descriptor).st_size - start)

    def allow(self, size_bytes: int | None) -> None:
        """Give so many bytes from now on; None: all."""
        self._left = size_bytes

    def again(self) -> Source:
        """The same, from its beginning."""
        return Source(self._descriptor, self._start)

    @property
    def is_exhausted(self) -> bool:
        """Whether more was wanted than allowed."""
        return self._left is not None and self._left <= 0

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        if self.is_exhausted:
            return b""
        piece = os.pread(self._descriptor, size, self._start + self._place)
        self._place += len(piece)
        if self._left is not None:
            self._left -= len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may lie behind the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("a place in front of the file")
        self._place = base + offset
        return self._place

    def peek(self, place: int, size: int) -> bytes:
        """Bytes of the file, from its very beginning; moves nothing."""
        return os.pread(self._descriptor, size, place)

    def tell(self) -> int:
        """Where it is."""
        return self._place


@dataclass(frozen=True, slots=True)
class Opened:
    """A container, and what it reads from."""

    container: InputContainer
    source: Source
    demuxer: str
    file_bytes: int
    sound_start: int
    """Where it begins behind its tags, in bytes."""


def open_container(descriptor: int, limits: VideoLimits, *, doing: str) -> InputContainer:
    """Open the film or sound behind ``descriptor``: its headers are read, and as few packets as they leave open.

    Nothing is decoded by the container itself but first frames, by allowed decoders. ``doing`` is the gerund that
    errors begin with. Close it, or use it as a context manager.

    Raises:
        ProcessingFailed: of no type that can be opened here, broken, or over a limit.
    """
    opened = open_source(descriptor, limits, doing=doing)
    opened.source.allow(None)
    return opened.container


def open_source(descriptor: int, limits: VideoLimits, *, doing: str) -> Opened:
    """As ``open_container``, with what it reads from, which gives no more than was left of the bytes for headers."""
    source, demuxer, sound_start = _located(descriptor, limits, doing)
    try:
        container = _headers_read(source, demuxer, limits)
    except (av.FFmpegError, OverflowError) as error:
        if source.is_exhausted:
            over_limit(f"its headers are longer than {_HEADER_BYTES >> 20} MiB, or there are none", doing=doing)
        raise decode_failure(error, doing=doing) from error
    _check_count(container, limits, doing)
    return Opened(container, source, demuxer, os.fstat(descriptor).st_size, sound_start)


def _headers_read(source: Source, demuxer: str, limits: VideoLimits) -> InputContainer:
    source.allow(_HEADER_BYTES)
    return av.open(
        source,
        "r",
        format=demuxer,
        # For each decoder that FFmpeg may open to find out what the headers don't tell.
        options={"max_pixels": str(limits.pixels)},
        container_options={
            "protocol_whitelist": "",
            "format_whitelist": demuxer,
            "codec_whitelist": ",".join(DECODERS),
            "probesize": str(_PROBE_BYTES),
            "analyzeduration": str(_ANALYSE_MICROSECONDS),
            "max_streams": str(_MOST_STREAMS),
            "indexmem": str(_INDEX_BYTES),
        },
        # What is no UTF-8 stays recognisable, and tags are cleaned before they are shown.
        metadata_errors="surrogateescape",
        buffer_size=_BUFFER_BYTES,
        io_open=_refuse_to_open,
    )


def refused_size(opened: Opened, limits: VideoLimits) -> tuple[int, int] | None:
    """The size of pictures that FFmpeg would not make room for; None if that was not what it disliked.

    It says so in its log only, so the file is opened again, and listened to.
    """
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as words, suppress(av.FFmpegError):
            _headers_read(opened.source.again(), opened.demuxer, limits).close()
    finally:
        av.logging.set_level(None)
    sizes = (_SIZE_IN_WORDS.search(text) for _, _, text in words)
    return next(((int(size[1]), int(size[2])) for size in sizes if size), None)


def _check_count(container: InputContainer, limits: VideoLimits, doing: str) -> None:
    count = sum(stream.type != "attachment" and not is_cover(stream) for stream in container.streams)
    if count > limits.streams:
        at_least = "at least " if len(container.streams) >= _MOST_STREAMS else ""
        container.close()
        over_limit(f"it has {at_least}{count} streams; at most {limits.streams} are processed", doing=doing)


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a picture that belongs to the file, and no film."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def is_allowed(stream: Stream) -> bool:
    """Whether a stream's codec is on the list for tracks of its sort."""
    return codec_of(stream) in _ALLOWED.get(stream.type, {})


def codec_of(stream: Stream) -> str:
    """The name of a stream's codec as FFmpeg has it; empty where it knows none."""
    context: Any = stream.codec_context
    return "" if context is None else str(context.codec.canonical_name)


def check_codec(stream: Stream, *, doing: str, limits: VideoLimits | None = None) -> None:
    """Make sure that a stream may be decoded; ask before every first ``decode``. One thread decodes it.

    Raises:
        ProcessingFailed: its codec is not on the list.
    """
    if not is_allowed(stream):
        refuse_codec(stream, doing=doing)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str((limits or VideoLimits()).pixels)}


def refuse_codec(stream: Stream, *, doing: str) -> NoReturn:
    """Say which codec it is that nothing here opens."""
    context: Any = stream.codec_context
    named = "a codec that is not known" if context is None else str(context.codec.long_name).partition(" / ")[0]
    words = named.removesuffix(" video").removesuffix(" audio").strip()
    raise ProcessingFailed(
        doing,
        f"its {_FAMILIES.get(stream.type, 'data')} is in {words}, which is not supported",
        code=ErrorCode.UNSUPPORTED,
        hint=_CONVERT,
    )


def decode_failure(error: Exception, *, doing: str, what: str = "it is") -> ProcessingFailed:
    """What to raise for an error of FFmpeg that came up while packets were read or decoded."""
    if isinstance(error, MemoryError):
        return ProcessingFailed(doing, "it needs more memory than a job has", code=ErrorCode.LIMIT)
    return ProcessingFailed(
        doing, f"{what} broken or incomplete", code=ErrorCode.DECODE, hint=_SEND_AGAIN, private=repr(error)[:500]
    )


def _refuse_to_open(_url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError("a container opens no other file")


def _located(descriptor: int, limits: VideoLimits, doing: str) -> tuple[Source, str, int]:
    """What to read, by which demuxer, and where the sound begins: from the first bytes and from nothing else."""
    size = os.fstat(descriptor).st_size
    start = _behind_tags(descriptor, size, doing)
    head = os.pread(descriptor, HEAD_SIZE_BYTES, 0)
    content_type = sniff(head, size).content_type
    if start:
        behind = sniff(os.pread(descriptor, HEAD_SIZE_BYTES, start), size - start).content_type
        content_type = behind if behind in _BEHIND_TAGS else content_type
    if content_type not in DEMUXERS:
        _refuse_type(content_type, doing)
    demuxer = DEMUXERS[content_type]
    if demuxer == "mov":
        check_boxes(descriptor, doing=doing)
    if demuxer == "matroska":
        _check_segment(head, size, doing)
    if head.startswith(_MPEG_SEQUENCE):
        demuxer = "mpegvideo"
    # A tag that is larger than any cover is not read at all; its words are lost, and its memory is not spent.
    is_too_large = start > limits.cover_bytes + _TAG_SLACK_BYTES
    return Source(descriptor, start if is_too_large else 0), demuxer, start


def _behind_tags(descriptor: int, size: int, doing: str) -> int:
    """Where the sound begins behind ID3 tags; 0 where there are none."""
    place = 0
    for _ in range(_MOST_TAGS):
        header = os.pread(descriptor, _TAG_HEADER_BYTES, place)
        if len(header) < _TAG_HEADER_BYTES or not header.startswith(b"ID3") or max(header[6:10]) > 0x7F:
            break
        length = 0
        for seven_bits in header[6:10]:
            length = length << 7 | seven_bits
        place += _TAG_HEADER_BYTES + length + (_TAG_HEADER_BYTES if header[5] & 0x10 else 0)
        if place > size:
            why = "its tag is said to be longer than the whole file"
            raise ProcessingFailed(doing, why, code=ErrorCode.DECODE, hint=_SEND_AGAIN)
    return place


def _check_segment(head: bytes, size: int, doing: str) -> None:
    """Make sure that a Matroska file holds what its segment says, where that says a length."""
    place = head.find(_SEGMENT) + len(_SEGMENT)
    if place < len(_SEGMENT) or place + 8 > len(head) or head[place] == 0:
        return
    width = 9 - head[place].bit_length()
    value = int.from_bytes(head[place : place + width], "big") & (1 << 7 * width) - 1
    is_unknown = value == (1 << 7 * width) - 1
    if not is_unknown and place + width + value > size:
        missing = place + width + value - size
        why = f"it is incomplete: {missing} bytes are missing at its end"
        raise ProcessingFailed(doing, why, code=ErrorCode.DECODE, hint=_SEND_AGAIN)


def _refuse_type(content_type: str, doing: str) -> NoReturn:
    if content_type == EMPTY.content_type:
        raise ProcessingFailed(doing, "it is empty", code=ErrorCode.DECODE)
    raise ProcessingFailed(
        doing, f"{content_type} is no film or sound that can be opened here", code=ErrorCode.UNSUPPORTED, hint=_CONVERT
    )


def over_limit(why: str, *, doing: str) -> NoReturn:
    """Say which limit it is over."""
    raise ProcessingFailed(doing, why, code=ErrorCode.LIMIT, hint="The original is kept")
