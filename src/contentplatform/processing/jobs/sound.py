"""Decodes a sound once, into even pieces of at most two channels, and keeps count of what was lost on the way.

A damaged sound is not completed as if it were whole. Lost are packets that the decoder refuses, holes that the packets'
times show, and what is missing at the end of a container that says how long it is. Up to
``presets.TOLERATED_LOSS_SHARE`` of it, the sound is completed and its facts say so; with more it fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NoReturn

import av
import av.filter
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from numpy.typing import NDArray

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.jobs.demux import check_codec, decode_failure
from contentplatform.processing.jobs.promises import promise_of
from contentplatform.processing.presets import TOLERATED_LOSS_SECONDS, TOLERATED_LOSS_SHARE, VideoLimits

Samples = NDArray[np.float32]

MONO: Final = "mono"
STEREO: Final = "stereo"
_USUAL_LAYOUTS: Final = {1: MONO, 2: STEREO, 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What a number of channels means where the file does not say."""
_PIECES_A_SECOND: Final = 2
_MOST_KEPT_HZ: Final = 48_000
_OF_CDS_HZ: Final = 44_100
_SLOWEST_HZ, _FASTEST_HZ = 2_000, 768_000
_LOUDEST: Final = 8.0
"""18 dB over full scale: no honest sample is larger, and encoders refuse the largest ones."""
_JITTER_SECONDS: Final = 0.06
"""Containers round times, and a codec's frame may be as long as this."""
_SEAM_SECONDS: Final = 10.0
"""Where a container's clock may start anew, a longer jump is that, and no hole."""
_TIMED: Final = frozenset({"mov", "matroska"})
"""Containers with a timeline: what is silent in it is meant to be, and the sound may begin late."""
_EXACT: Final = frozenset({"mov", "wav", "w64", "flac", "aiff", "caf", "wv"})
"""Containers whose header says exactly how long the sound is."""
_PADDING_SECONDS: Final = 0.2
"""So much may a decoder give beyond the end that a container says: the rest of the last frame."""
_CHECKSUMMED: Final = frozenset({"flac", "mp1", "mp2", "mp3", "wavpack"})
"""Their decoders compare checksums when they are told to."""
_COUNTED: Final = ("flac", "alac", "wavpack", "pcm_")
"""Codecs of which not one sample may be missing."""
_ONE_FRAME_SECONDS: Final = 0.0005
_TAG_BYTES: Final = 4_096
"""So much may follow a bare stream and be no sound."""
_TRIES: Final = 64
"""So often in a row a container may fail to give a packet."""
_NOTHING_NOW: Final = (av.error.BlockingIOError, av.error.EOFError)


@dataclass(frozen=True, slots=True)
class Piece:
    """The next of a sound: a row a channel. Nobody changes it."""

    mix: Samples
    """Of one or two channels."""
    full: Samples | None
    """Of all channels, one row, sample by sample, where there are more than two."""


class Sound:
    """The sound of a container's default track, decoded once from front to back.

    Building it decodes the first frame, which tells the true form.

    Raises:
        ProcessingFailed: there is no sound in it, none that can be decoded here, or it is over a limit.
    """

    def __init__(self, container: InputContainer, source: int, limits: VideoLimits, *, doing: str) -> None:
        self._container, self._limits, self._doing = container, limits, doing
        self.track = _default_track(container, doing)
        check_codec(self.track, doing=doing)
        self._context: Any = self.track.codec_context
        if self._context.codec.canonical_name in _CHECKSUMMED:
            self._context.options = {**self._context.options, "err_detect": "crccheck+explode"}
        self._format = container.format.name.split(",")[0]
        self._declared_seconds = self._declared()
        self._promise = promise_of(source, self._format, self.track, (container.duration or 0) / av.time_base)
        self._check_length(max(self._declared_seconds or 0, self._promise.seconds or 0))
        self.refused_packets = 0
        self._refused_seconds = self._hole_seconds = self._missing_seconds = 0.0
        self.has_unreal_samples = False
        self._first_place: int | None = None
        self._packet_bytes = 0
        self.samples = 0
        """How many each channel of the mix has had so far."""
        self._timeline = _Timeline(is_timed=self._format in _TIMED)
        self._frames = self._decoded()
        first = next(self._frames, None)
        if first is None:
            raise decode_failure(RuntimeError("no packet could be decoded"), doing=doing)
        self._first = first
        self._begin_seconds = first.time or 0.0
        self._check_form(first)
        self.source_rate_hz, self.source_layout = int(first.sample_rate), self._layout_of(first)
        self.channels = int(first.layout.nb_channels)
        self.rate_hz = _kept_rate(self.source_rate_hz)
        self.layout = MONO if self.channels == 1 else STEREO
        self.full_layout = self.source_layout if self.channels > 2 else None
        self._piece_samples = max(1, self.rate_hz // _PIECES_A_SECOND)

    @property
    def seconds(self) -> float:
        """How long it is, as far as it was decoded."""
        return self.samples / self.rate_hz

    @property
    def lost_seconds(self) -> float:
        """How much of it was lost; several signs of the same loss count once."""
        return max(self._refused_seconds, self._hole_seconds, self._missing_seconds)

    @property
    def is_exact(self) -> bool:
        """Whether ``seconds`` is the length of the whole sound, and not of what was left of it."""
        return not self.refused_packets and self.lost_seconds == 0

    def pieces(self) -> Iterator[Piece]:
        """The whole sound, once. At its end the numbers of this object are final.

        Raises:
            ProcessingFailed: over a limit, or more of it is lost than may be.
        """
        for piece in self._trimmed(self._mixed()):
            self.samples += piece.mix.shape[1]
            self._check_length(self.seconds)
            yield piece
        self._missing_seconds = self._missing()
        self._check_loss()

    # -- decoding ----------------------------------------------------------------------------------------------------

    def _packets(self) -> Iterator[Any]:
        """Every packet of the track that the container gives, and an empty one at the end."""
        tries = 0
        while True:
            try:
                for packet in self._container.demux(self.track):
                    tries = 0
                    if self._first_place is None:
                        self._first_place = packet.pos or 0
                    self._packet_bytes += packet.size
                    yield packet
            except av.error.PatchWelcomeError as error:
                self._refuse_form("its form changes in the middle, in a way that is not supported", error)
            except av.error.InvalidDataError as error:
                tries += 1
                self.refused_packets += 1
                if tries == _TRIES:
                    raise decode_failure(error, doing=self._doing) from error
            except (av.FFmpegError, OverflowError) as error:
                raise decode_failure(error, doing=self._doing) from error
            else:
                return

    def _decoded(self) -> Iterator[av.AudioFrame]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except MemoryError as error:
                raise decode_failure(error, doing=self._doing) from error
            except av.error.PatchWelcomeError as error:
                self._refuse_form("a variant of its codec is not supported", error)
            except (av.FFmpegError, OverflowError):
                self._refuse(packet)
            else:
                if packet.is_corrupt and not frames:
                    self._refuse(packet)
                yield from (frame for frame in frames if frame.samples)

    def _refuse(self, packet: Any) -> None:
        self.refused_packets += 1
        if packet.duration and packet.time_base:
            self._refused_seconds += float(packet.duration * packet.time_base)

    # -- even pieces -------------------------------------------------------------------------------------------------

    def _mixed(self) -> Iterator[Piece]:
        """Pieces of ``rate_hz`` and ``layout``, whatever the frames' forms; silence where nothing is to be heard."""
        form: object = None
        mixers: list[_Mixer] = []
        for frame in chain([self._first], self._frames):
            self._first = frame  # so that the very first one is not held for ever
            silent_seconds, is_hole = self._timeline.silence_before(frame)
            self._hole_seconds += silent_seconds if is_hole else 0
            its_form = (frame.sample_rate, frame.format.name, frame.layout.name)
            if its_form != form or silent_seconds:
                yield from self._given(mixers, at_end=True)
                self._check_form(frame)
                yield from self._silence(silent_seconds)
                form, mixers = its_form, self._mixers(frame)
            for mixer in mixers:
                mixer.push(frame)
            yield from self._given(mixers)
        yield from self._given(mixers, at_end=True)

    def _mixers(self, frame: av.AudioFrame) -> list[_Mixer]:
        layouts = [(self.layout, "fltp")]
        if self.full_layout is not None:
            layouts.append((self.full_layout, "flt"))
        try:
            return [
                _Mixer(frame, self._layout_of(frame), self.rate_hz, layout, self._piece_samples, sample_format)
                for layout, sample_format in layouts
            ]
        except (av.FFmpegError, ValueError) as error:
            self._refuse_form(f"its channels ({frame.layout.name}) can't be mixed down to two", error)

    def _given(self, mixers: list[_Mixer], *, at_end: bool = False) -> Iterator[Piece]:
        """What the mixers have ready. They get the same frames, so they give the same lengths."""
        if at_end:
            for mixer in mixers:
                mixer.push(None)
        blocks = zip(*(mixer.blocks() for mixer in mixers), strict=True)
        for mix, *full in blocks:
            yield Piece(self._sane(mix), self._sane(full[0]) if full else None)

    def _silence(self, seconds: float) -> Iterator[Piece]:
        left = round(seconds * self.rate_hz)
        self._check_length(self.seconds + seconds)
        rows = 1 if self.layout == MONO else 2
        mix = np.zeros((rows, self._piece_samples), np.float32)
        full = None if self.full_layout is None else np.zeros((1, self._piece_samples * self.channels), np.float32)
        while left > 0:
            count = min(left, self._piece_samples)
            yield Piece(mix[:, :count].copy(), None if full is None else full[:, : count * self.channels].copy())
            left -= count

    def _sane(self, block: Samples) -> Samples:
        """The piece without what is no sound: floating-point files may hold infinities, and numbers that are none."""
        if block.min() >= -_LOUDEST and block.max() <= _LOUDEST:
            return block
        self.has_unreal_samples = True
        return np.clip(np.nan_to_num(block, nan=0.0), -_LOUDEST, _LOUDEST)

    def _trimmed(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """All pieces, without the padding of the last frame where the container says where the sound ends."""
        if self._format != "mov" or self._declared_seconds is None:
            yield from pieces
            return
        pending: deque[Piece] = deque()
        for piece in pieces:
            pending.append(piece)
            if len(pending) > 2:
                yield pending.popleft()
        # What is pending is longer than any padding.
        total = self.samples + sum(piece.mix.shape[1] for piece in pending)
        padding = total - round(self._declared_seconds * self.rate_hz)
        if not 0 < padding < _PADDING_SECONDS * self.rate_hz:
            padding = 0
        kept = total - self.samples - padding
        for piece in pending:
            count = min(kept, piece.mix.shape[1])
            kept -= count
            if count > 0:
                full = None if piece.full is None else piece.full[:, : count * self.channels].copy()
                yield Piece(piece.mix[:, :count].copy(), full)

    # -- what is missing ---------------------------------------------------------------------------------------------

    def _missing(self) -> float:
        """How much of the sound that the file promises did not come."""
        tolerance = _ONE_FRAME_SECONDS if self._context.name.startswith(_COUNTED) else _JITTER_SECONDS
        promised = [
            self._declared_seconds,
            self._promise.seconds,
            None if self._promise.end_seconds is None else self._promise.end_seconds - self._begin_seconds,
        ]
        missing = max((seconds - self.seconds for seconds in promised if seconds is not None), default=0.0)
        return max(missing if missing > tolerance else 0.0, self._skipped())

    def _skipped(self) -> float:
        """How much may have been in the bytes that the demuxer of a bare stream skipped because they made no sense."""
        if self._format != "aac" or not self._packet_bytes:
            return 0.0
        skipped_bytes = self._container.size - (self._first_place or 0) - self._packet_bytes
        if skipped_bytes <= _TAG_BYTES:
            return 0.0
        return self.seconds * skipped_bytes / self._packet_bytes

    # -- checks ------------------------------------------------------------------------------------------------------

    def _declared(self) -> float | None:
        """How long the container says the sound is, where it knows that exactly."""
        if self._format not in _EXACT or not self.track.duration or not self.track.time_base:
            return None
        return float(self.track.duration * self.track.time_base)

    def _check_length(self, seconds: float) -> None:
        if seconds > self._limits.duration_seconds:
            raise ProcessingFailed(
                self._doing,
                f"it is longer than {self._limits.duration_seconds / 3600:g} hours, the most that is processed",
                code=ErrorCode.LIMIT,
                hint="The original is kept; an operator can raise the limit",
            )

    def _check_form(self, frame: av.AudioFrame) -> None:
        if not _SLOWEST_HZ <= frame.sample_rate <= _FASTEST_HZ:
            self._refuse_form(f"a sound of {frame.sample_rate} samples a second is not processed")

    def _check_loss(self) -> None:
        allowed = max(TOLERATED_LOSS_SECONDS, TOLERATED_LOSS_SHARE * self.seconds)
        certain = [self._refused_seconds, self._hole_seconds]
        if self._promise.is_binding or self.refused_packets:
            certain.append(self._missing_seconds)
        if max(certain) > allowed:
            raise ProcessingFailed(
                self._doing,
                f"{self.lost_seconds:.1f} seconds of it are missing or broken",
                code=ErrorCode.DECODE,
                hint="The original is kept; send it again if it came in damaged",
            )

    def _layout_of(self, frame: av.AudioFrame) -> str:
        name = str(frame.layout.name)
        if "channels" not in name:
            return name
        usual = _USUAL_LAYOUTS.get(frame.layout.nb_channels)
        if usual is None:
            self._refuse_form(f"nothing says what its {frame.layout.nb_channels} channels are")
        return usual

    def _refuse_form(self, why: str, cause: Exception | None = None) -> NoReturn:
        raise ProcessingFailed(
            self._doing,
            why,
            code=ErrorCode.UNSUPPORTED,
            hint="The original is kept; convert it to a common format to get renditions",
        ) from cause


class _Timeline:
    """Compares the times that frames carry with the sound that they make."""

    def __init__(self, *, is_timed: bool) -> None:
        self._is_timed = is_timed
        self._due_seconds: float | None = None
        """When the next frame ought to come, by what there was of sound since the first."""
        self._off_seconds = 0.0
        """How far the last frame was from that: clocks drift."""

    def silence_before(self, frame: av.AudioFrame) -> tuple[float, bool]:
        """How many seconds of silence belong before ``frame``, mostly none; and whether something is missing there."""
        now_seconds = frame.time
        length_seconds = frame.samples / frame.sample_rate
        if self._due_seconds is None:
            late = now_seconds if self._is_timed and now_seconds is not None and now_seconds > _JITTER_SECONDS else 0.0
            self._due_seconds = (now_seconds or 0.0) + length_seconds
            return late, False
        silent = 0.0
        if now_seconds is not None:
            jump = now_seconds - self._due_seconds - self._off_seconds
            if jump > _JITTER_SECONDS and (self._is_timed or jump <= _SEAM_SECONDS):
                silent = jump
            else:
                self._off_seconds += jump
        self._due_seconds += silent + length_seconds
        return silent, not self._is_timed


class _Mixer:
    """Brings frames of one form into blocks of another: a row a channel, or one row for all of them (``flt``).

    One row it must be from eight channels on: PyAV reads past the end of a frame's rows if they are more.
    """

    def __init__(
        self,
        frame: av.AudioFrame,
        layout: str,
        rate_hz: int,
        wanted_layout: str,
        block_samples: int,
        sample_format: str,
    ) -> None:
        self._graph = av.filter.Graph()
        self._source = self._graph.add_abuffer(sample_rate=frame.sample_rate, format=frame.format, layout=layout)
        # However many channels go into one, the sum stays within full scale.
        change = self._graph.add("aresample", rematrix_maxval="1.0")
        form = self._graph.add(
            "aformat", sample_fmts=sample_format, sample_rates=str(rate_hz), channel_layouts=wanted_layout
        )
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(self._source, change, form, self._sink).configure()
        self._graph.set_audio_frame_size(block_samples)

    def push(self, frame: av.AudioFrame | None) -> None:
        """Take one more frame; None is the end."""
        self._source.push(frame)

    def blocks(self) -> Iterator[Samples]:
        """What is ready: full blocks, and after the end the last one."""
        while True:
            try:
                frame: Any = self._sink.pull()
            except _NOTHING_NOW:
                return
            yield frame.to_ndarray()


def _default_track(container: InputContainer, doing: str) -> AudioStream:
    """The track that is heard first: the default one, else the first."""
    tracks = container.streams.audio
    if not tracks:
        raise ProcessingFailed(doing, "there is no sound in it", code=ErrorCode.UNSUPPORTED)
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0])


def _kept_rate(rate_hz: int) -> int:
    """The rate that pieces have: the sound's own, or less of the same family where it has more than players take."""
    if rate_hz <= _MOST_KEPT_HZ:
        return rate_hz
    return _OF_CDS_HZ if rate_hz % _OF_CDS_HZ == 0 else _MOST_KEPT_HZ
