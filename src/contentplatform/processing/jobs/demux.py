"""The one place where a film or a sound is opened: from a descriptor, by a demuxer of the allow-list, and nothing else.

FFmpeg gets a Python object to read from instead of a name, an empty list of protocols, and a door that refuses every
further file: whatever a container refers to, there is no way to it. Its demuxer is chosen by the sniff table, its
decoders are those of ``codecs.DECODERS``.
"""

from __future__ import annotations

import os
from typing import Any, Final, NoReturn

import av
import av.subtitles.codeccontext
import av.subtitles.stream
import av.subtitles.subtitle  # PyAV imports these three when it meets subtitles: too late for a child
from av.container import InputContainer
from av.stream import Disposition, Stream

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.codecs import AUDIO_CODECS, DECODERS, DEMUXERS, SUBTITLE_CODECS, VIDEO_CODECS
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff

_BUFFER_BYTES: Final = 128 << 10
_PROBE_BYTES: Final = 16 << 20
_ANALYSE_MICROSECONDS: Final = 10_000_000
_MOST_STREAMS: Final = 256
"""FFmpeg itself makes no more; attachments count here, and not among ``VideoLimits.streams``."""
_INDEX_BYTES: Final = 64 << 20
_TAG_HEADER_BYTES: Final = 10
_MOST_TAGS: Final = 8
_MOST_BOXES: Final = 10_000
_CONVERT: Final = "The original is kept; convert it to a common format to get renditions"
_SEND_AGAIN: Final = "The original is kept; send it again if it came in damaged"
_ALLOWED: Final = {"video": VIDEO_CODECS, "audio": AUDIO_CODECS, "subtitle": SUBTITLE_CODECS}
_FAMILIES: Final = {"video": "video", "audio": "sound", "subtitle": "subtitles"}


class Source:
    """A descriptor as FFmpeg reads it, from ``start`` on; has its own place, so several may read one descriptor."""

    def __init__(self, descriptor: int, start: int = 0) -> None:
        self._descriptor = descriptor
        self._start = start
        self._place = 0
        self.size_bytes = max(0, os.fstat(descriptor).st_size - start)
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        piece = os.pread(self._descriptor, size, self._start + self._place)
        self._place += len(piece)
        self.bytes_read += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may lie behind the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("a place in front of the file")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place


def open_container(descriptor: int, limits: VideoLimits, *, doing: str) -> InputContainer:
    """Open the film or sound behind ``descriptor``: its headers are read, and as few packets as they leave open.

    Nothing is decoded by the container itself but first frames, by allowed decoders. ``doing`` is the gerund that
    errors begin with. Close it, or use it as a context manager.

    Raises:
        ProcessingFailed: of no type that can be opened here, broken, or over a limit.
    """
    source, content_type = _located(descriptor, doing)
    if content_type not in DEMUXERS:
        _refuse_type(content_type, doing)
    demuxer = DEMUXERS[content_type]
    try:
        container = av.open(
            source,
            "r",
            format=demuxer,
            container_options={
                "protocol_whitelist": "",
                "format_whitelist": demuxer,
                "codec_whitelist": ",".join(DECODERS),
                "probesize": str(_PROBE_BYTES),
                "analyzeduration": str(_ANALYSE_MICROSECONDS),
                "max_streams": str(_MOST_STREAMS),
                "indexmem": str(_INDEX_BYTES),
            },
            metadata_errors="surrogateescape",
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_to_open,
        )
    except (av.FFmpegError, OverflowError) as error:
        raise decode_failure(error, doing=doing) from error
    count = sum(stream.type != "attachment" and not is_cover(stream) for stream in container.streams)
    if count > limits.streams:
        container.close()
        _over(f"it has {count} streams; at most {limits.streams} are processed", doing)
    return container


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


def check_codec(stream: Stream, *, doing: str) -> None:
    """Make sure that a stream may be decoded; ask before every first ``decode``. One thread decodes it.

    Raises:
        ProcessingFailed: its codec is not on the list.
    """
    if not is_allowed(stream):
        name = codec_of(stream).upper() or "a codec that is not known"
        what = _FAMILIES.get(stream.type, "data")
        raise ProcessingFailed(
            doing, f"its {what} is in {name}, which is not supported", code=ErrorCode.UNSUPPORTED, hint=_CONVERT
        )
    stream.codec_context.thread_count = 1


def decode_failure(error: Exception, *, doing: str) -> ProcessingFailed:
    """What to raise for an error of FFmpeg that came up while packets were read or decoded."""
    if isinstance(error, MemoryError):
        return ProcessingFailed(doing, "it needs more memory than a job has", code=ErrorCode.LIMIT)
    return ProcessingFailed(
        doing, "it is broken or incomplete", code=ErrorCode.DECODE, hint=_SEND_AGAIN, private=repr(error)[:500]
    )


def _refuse_to_open(_url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError("a container opens no other file")


def _located(descriptor: int, doing: str) -> tuple[Source, str]:
    """Where the film or sound begins, and what it is."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, HEAD_SIZE_BYTES, 0)
    if not head:
        raise ProcessingFailed(doing, "it is empty", code=ErrorCode.DECODE)
    return Source(descriptor), sniff(head, size).content_type


def _refuse_type(content_type: str, doing: str) -> NoReturn:
    raise ProcessingFailed(
        doing, f"{content_type} is no film or sound that can be opened here", code=ErrorCode.UNSUPPORTED, hint=_CONVERT
    )


def _over(why: str, doing: str) -> NoReturn:
    raise ProcessingFailed(doing, why, code=ErrorCode.LIMIT, hint="The original is kept")
