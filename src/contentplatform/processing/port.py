"""What processing promises: renditions and facts out of bytes that nobody trusts.

Both homes parse untrusted bytes only in a sandboxed child (drivers/sandbox.py). What differs is where the bytes come
from and where renditions go, and that is the business of the workflow's steps, not of this port; and who encodes a
video, which is the ``Transcoder``'s business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from contentplatform.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One rendition, as a file in the job's scratch folder."""

    name: str
    """The rendition's name, as in platform keys: ``thumbnail``, ``medium``, ``webp``, …"""
    path: Path
    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    user_metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """All renditions of one source, and what was found in it."""

    files: tuple[RenderedFile, ...]
    metadata: Mapping[str, Any]
    """JSON values: ``width``, ``height``, ``format``, ``exif``, … as in the catalog's ``processing_metadata``.
    Private facts (GPS) are under ``private``."""
    descriptive: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of itself for people, from IPTC, XMP, or a container's tags: ``title``, ``description``,
    ``tags`` (list), ``credit``, ``rights``. Only what is there."""


@dataclass(frozen=True, slots=True)
class Transformation:
    """A picture that is asked for: everything that its bytes depend on beside the source."""

    width: int
    """Of the box in pixels; 0: the height decides."""
    height: int
    """0: the width decides."""
    fills: bool
    """Whether the box is filled and what stands over is cut off; else the picture fits it and keeps its aspect."""
    smart: bool
    """Whether what is cut off is what the eye cares least about; else the middle stays."""
    format: str
    """``jpeg``, ``webp``, ``avif`` or ``png``."""
    quality: int
    """1 to 100, in JPEG's scale; PNG ignores it."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """The picture that was asked for, as a file in the job's scratch folder, and what it cost."""

    file: RenderedFile
    cpu_seconds: float


# -- what is in a film or a sound ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """A track of moving pictures. Cover art is none."""

    index: int
    """Its number among all streams of the container."""
    codec: str
    """As FFmpeg names it: ``h264``, ``hevc``, …"""
    width: int
    height: int
    """Pixels as they are shown: square, upright, after the container's aspect ratio and rotation."""
    coded_width: int
    coded_height: int
    rotation_degrees: int
    """Clockwise turn that makes it upright: 0, 90, 180 or 270."""
    frame_rate: float
    """Average frames a second; 0 where nothing tells."""
    frame_rate_varies: bool
    duration_seconds: float
    start_seconds: float = 0.0
    bit_rate: int | None = None
    """Bits a second, where the container or the codec tells."""
    profile: str = ""
    pixel_format: str = ""
    bit_depth: int = 8
    color_primaries: str = ""
    color_transfer: str = ""
    color_space: str = ""
    color_range: str = ""
    """By their names in FFmpeg; empty where nothing tells."""
    hdr: str = ""
    """``hdr10``, ``hlg``, ``dolby-vision``, or empty for standard range."""
    interlaced: bool = False
    has_alpha: bool = False


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """A track of sound."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int
    channel_layout: str
    """``mono``, ``stereo``, ``5.1(side)``, …; empty where nothing tells."""
    duration_seconds: float
    start_seconds: float = 0.0
    bit_rate: int | None = None
    bits_per_sample: int | None = None
    """Of lossless codecs."""
    lossless: bool = False
    profile: str = ""
    language: str = ""
    """BCP 47, shortest form (``de``); empty where nothing tells."""
    title: str = ""
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    """A track of subtitles."""

    index: int
    codec: str
    is_text: bool
    """Whether it can become WebVTT; pictures (DVD, Blu-ray) can't."""
    language: str = ""
    title: str = ""
    is_default: bool = False
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a film or a sound."""

    start_seconds: float
    end_seconds: float
    title: str


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a probe found in a film or a sound. Travels through the workflow as JSON, so it is bounded."""

    format: str
    """The container, as FFmpeg names it (``mov``, ``matroska``, ``mp3``)."""
    duration_seconds: float
    """Of the longest track."""
    duration_is_exact: bool
    """False where it was estimated from a bit rate, or taken from a header that nothing confirms."""
    bit_rate: int | None
    size_bytes: int
    video: tuple[VideoTrack, ...] = ()
    """The one that is shown first; others after it."""
    audio: tuple[AudioTrack, ...] = ()
    """The one that is heard first: the default track, else the first."""
    subtitles: tuple[SubtitleTrack, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    """The container's own, cleaned and cut; names in lower case."""
    private: Mapping[str, str] = field(default_factory=dict)
    """Those that tell where it was recorded, or with which very device: for the owner's eyes."""
    has_cover: bool = False
    other_streams: int = 0
    """Data, attachments, what no allowed decoder opens."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MediaFacts:
        """Out of what ``to_json`` made.

        Raises:
            ValueError: it is something else.
        """
        tracks = {"video": VideoTrack, "audio": AudioTrack, "subtitles": SubtitleTrack, "chapters": Chapter}
        try:
            made = {name: tuple(kind(**entry) for entry in value.get(name, ())) for name, kind in tracks.items()}
            return cls(**{**value, **made})
        except TypeError as error:
            raise ValueError(f"no media facts: {error}") from error


# -- encoding a video ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a video's ladder, planned for one source: exactly what is to be made."""

    name: str
    """``720p``, ``480p``: the rendition's name."""
    width: int
    height: int
    """Even, at most the source's."""
    video_bits_per_second: int
    """Most of it, over the time of the decoder's buffer."""
    audio_bits_per_second: int
    """0: the source is silent."""
    stored_key: str
    """Where in the processed bucket the version's own file goes."""


@dataclass(frozen=True, slots=True)
class TranscodeRequest:
    """A video to be encoded."""

    token: str
    """The execution's name: asking again with the same token is the same job."""
    file_id: str
    version_id: str
    key: str
    """Of the original, in the primary bucket."""
    facts: MediaFacts
    rungs: tuple[Rung, ...]


class TranscodeState(StrEnum):
    """Where a job stands; the words are MediaConvert's."""

    SUBMITTED = "SUBMITTED"
    PROGRESSING = "PROGRESSING"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen any more."""
        return self in {TranscodeState.COMPLETE, TranscodeState.ERROR, TranscodeState.CANCELED}


@dataclass(frozen=True, slots=True)
class TranscodeStatus:
    """What a job says of itself."""

    state: TranscodeState
    percent: int | None = None
    """0 to 100; None where nobody knows."""
    error: str = ""
    """Why it failed, for a person."""
    error_code: ErrorCode | None = None
    """Only where it failed, or was cancelled."""
    damage: str = ""
    """What was lost of the original, for a person: how much, and where about. Only where it is complete."""


class Transcoder(ABC):
    """Encodes videos, one job a video, in the background. Safe from any thread and from several processes."""

    @abstractmethod
    def submit(self, request: TranscodeRequest) -> str:
        """Ask for a video's rungs; returns the job's id. Idempotent by ``request.token``.

        When the job is complete, each rung lies under its stored key: MP4, H.264 and AAC, the index in front.
        local: a row of a table; a lane of the worker encodes it, again where a worker died.
        aws: CreateJob with a ClientRequestToken, over a staged copy of exactly this version.

        Raises:
            Unavailable: it can't be asked for just now.
        """

    @abstractmethod
    def status(self, job_id: str) -> TranscodeStatus:
        """How far a job is. aws: GetJob. Raises NotFound, and Unavailable, which says nothing of the job."""

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Let a job be, and give back what it holds; nothing happens to one that ended. aws: CancelJob."""

    @abstractmethod
    def forget(self, job_id: str) -> None:
        """Remove what a job that ended left beside its rungs (aws: the staged copy). Idempotent."""


class MediaProcessor(ABC):
    """Makes the renditions of one source file. Stateless and safe to call from several threads.

    Every method opens ``source`` by path and never writes to it, makes its files in the empty folder ``scratch``, and
    is idempotent: the same bytes give the same renditions. All of them raise:

    * ``ProcessingFailed``: broken, over a limit, not allowed, or crashed the decoder twice; terminal.
    * ``JobInterrupted``: the child was killed from outside; try again.
    * ``NoSpace``: scratch is full; try again later.
    * ``Cancelled``: ``close`` was called meanwhile.

    aws: the same code in functions; ``source`` was downloaded to /tmp by version.
    """

    @abstractmethod
    def process_image(self, source: Path, scratch: Path) -> Rendered:
        """Make every image rendition of ``source``; of a camera's raw file, of the picture embedded in it."""

    @abstractmethod
    def transform(self, source: Path, scratch: Path, wanted: Transformation) -> Transformed:
        """Make one picture of the image ``source``: its first frame, upright, in sRGB, never enlarged.

        Of its metadata only the credit stays. Where the source is smaller than a box that is to be filled, the answer
        has the box's aspect and is as large as the source allows.
        """

    @abstractmethod
    def probe(self, source: Path, scratch: Path) -> MediaFacts:
        """Find out what is in a film or a sound: headers, and as few packets as that takes."""

    @abstractmethod
    def finish_video(
        self, source: Path, rungs: Mapping[str, Path], facts: MediaFacts, names: Mapping[str, str], scratch: Path
    ) -> Rendered:
        """Verify a video's encoded rungs and make all else that a player wants.

        Args:
            source: the original; only subtitles are taken from it.
            rungs: the encoded files by name (``720p``), the best first. They are not among the answer's files.
            facts: what ``probe`` found in the original.
            names: the base name of each public file by the rendition's name, for playlists to refer to.
            scratch: an empty folder.

        Raises:
            ProcessingFailed: also where a rung is not what was ordered (``E_DECODE``): encode again, or fail.
        """

    @abstractmethod
    def process_audio(self, source: Path, scratch: Path) -> Rendered:
        """Make every rendition of a sound, with its loudness, tags and cover."""

    @abstractmethod
    def process_document(self, source: Path, scratch: Path, *, content_type: str) -> Rendered:
        """Make a document's pictures, and take its text, which is in ``metadata`` under ``text``, bounded."""

    @abstractmethod
    def close(self) -> None:
        """End every child. Idempotent."""
