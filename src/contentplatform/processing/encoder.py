"""Runs the ffmpeg program over one video behind the sandbox's walls, and says what came of it.

An encoder in hardware is tried on a few frames before it is trusted, once a process; where that fails, or later the
video itself, software does it. Only software's verdict counts against a file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from contentplatform import log
from contentplatform.clock import Clock
from contentplatform.drivers.confinement import JobLimits
from contentplatform.drivers.sandbox import ProgramReport, Sandbox, plain_file
from contentplatform.errors import Cancelled, ConfigurationInvalid, ErrorCode, PlatformError, ProcessingFailed
from contentplatform.processing.damage import Losses
from contentplatform.processing.encoding import (
    ENCODING,
    SOFTWARE,
    Encoder,
    Progress,
    command,
    device_files,
    encoders,
    failure,
    file_name,
    too_damaged,
    trial,
)
from contentplatform.processing.ladder import EncodeLimits, encode_limits
from contentplatform.processing.port import TranscodeRequest

NICE: Final = 10
"""Images and people go first."""
_CORES: Final = 16
"""At most so many at once are counted on where processor time is limited."""
_THREADS: Final = 256
_OPEN_FILES: Final = 64
_ADDRESS_SPACE_BYTES: Final = 64 << 30
_TRIAL_LIMITS: Final = JobLimits(wall_seconds=30.0, cpu_seconds=30, threads=_THREADS)
_NOTHING: Final = Path("/dev/null")
_TRYING: Final = "trying a video encoder"

_logger: Final = logging.getLogger(__name__)


class Watch(Protocol):
    """Who looks on while a video is encoded."""

    def note(self, percent: int) -> None:
        """It has come so far: 0 to 99; called often."""
        ...

    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more; asked several times a second."""
        ...


class Walls(Protocol):
    """What runs a program: ``Sandbox``."""

    def execute(
        self,
        program: Path,
        arguments: Sequence[str],
        source: Path,
        scratch: Path,
        *,
        doing: str,
        limits: JobLimits | None = None,
        devices: Sequence[Path] = (),
        nice: int = NICE,
        on_output: Callable[[str], None] | None = None,
        on_complaint: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ProgramReport:
        """As ``Sandbox.execute``."""
        ...

    def close(self) -> None:
        """End every run."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """A video that was encoded."""

    files: Mapping[str, Path]
    """By the rungs' names."""
    damage: str = ""
    """What was lost of the original, in words; empty where it is whole."""


class VideoEncoder:
    """Encodes videos. Safe from several threads."""

    def __init__(self, program: Path, clock: Clock, *, setting: str = SOFTWARE, sandbox: Walls | None = None) -> None:
        """Make one; no process is started yet.

        Args:
            program: the ffmpeg binary.
            clock: tells a run that has come to a standstill.
            setting: which encoder to use: one of ``encoding.ENCODER_NAMES``.
            sandbox: the walls to run it behind; closed with this object.

        Raises:
            ConfigurationInvalid: there is no such encoder.
        """
        try:
            self._candidates = encoders(setting)
        except ValueError as error:
            raise ConfigurationInvalid("reading the settings", f"processing.video_encoder: {error}") from error
        self._program = program
        self._clock = clock
        self._sandbox: Walls = sandbox or Sandbox()
        self._trusted: dict[str, bool] = {SOFTWARE: True}

    def encode(self, request: TranscodeRequest, source: Path, scratch: Path, watch: Watch) -> Encoded:
        """Make all rungs of ``source`` in the empty folder ``scratch``.

        What is damaged a little is encoded a second time, in a run that goes on after damage and counts it.

        Raises:
            ProcessingFailed: it can't be encoded, however often it is tried.
            JobInterrupted, NoSpace: try again.
            Cancelled: the watch said so, or ``close`` was called.
        """
        usable = [encoder for encoder in self._candidates if self._is_trusted(encoder, scratch)]
        for encoder in usable[:-1]:
            try:
                return _judged(self._run(request, source, scratch, watch, encoder))
            except ProcessingFailed as error:
                fields = {"encoder": encoder.name, "token": request.token, log.REASON: _told(error)}
                log.event(_logger, logging.WARNING, "the encoder failed; software does it", **fields)
                _empty(scratch)
        try:
            run = self._run(request, source, scratch, watch, usable[-1])
        except ProcessingFailed as error:
            if error.code is not ErrorCode.DECODE:
                raise
            fields = {"token": request.token, log.REASON: _told(error)}
            log.event(_logger, logging.INFO, "a damaged video is encoded as far as it goes", **fields)
            _empty(scratch)
            run = self._run(request, source, scratch, watch, usable[-1], goes_on=True)
        return _judged(run)

    def close(self) -> None:
        """End every run. Idempotent."""
        self._sandbox.close()

    def _run(
        self,
        request: TranscodeRequest,
        source: Path,
        scratch: Path,
        watch: Watch,
        encoder: Encoder,
        *,
        goes_on: bool = False,
    ) -> _Run:
        facts, limits = request.facts, encode_limits(request.facts, request.rungs)
        run = _Run(watch, self._clock, limits, Progress(facts.duration_seconds), Losses(facts), goes_on)
        arguments = command(facts, request.rungs, encoder, goes_on=goes_on)
        try:
            report = self._execute(encoder, arguments, source, scratch, _job_limits(limits), run)
        except Cancelled:
            if run.failure is not None:
                raise run.failure from None
            raise
        failed = failure(report.exit_code, report.last_words)
        if failed is not None:
            raise failed
        run.files = {rung.name: plain_file(scratch, file_name(rung), doing=ENCODING) for rung in request.rungs}
        return run

    def _execute(
        self,
        encoder: Encoder,
        arguments: tuple[str, ...],
        source: Path,
        scratch: Path,
        limits: JobLimits,
        run: _Run,
    ) -> ProgramReport:
        return self._sandbox.execute(
            self._program,
            arguments,
            source,
            scratch,
            doing=ENCODING,
            limits=limits,
            devices=device_files(encoder),
            nice=NICE,
            on_output=run.take,
            on_complaint=run.take_complaint,
            is_cancelled=run.is_over,
        )

    def _is_trusted(self, encoder: Encoder, scratch: Path) -> bool:
        """Whether this machine has it. Found out once; what stopped the trial from outside says nothing."""
        if encoder.name not in self._trusted:
            try:
                report = self._sandbox.execute(
                    self._program,
                    trial(encoder),
                    _NOTHING,
                    scratch,
                    doing=_TRYING,
                    limits=_TRIAL_LIMITS,
                    devices=device_files(encoder),
                )
                words, works = report.last_words, report.exit_code == 0
            except ProcessingFailed as error:
                words, works = _told(error), False
            self._trusted[encoder.name] = works
            fields = {"encoder": encoder.name, log.REASON: words.strip() or "it encoded the trial"}
            message = "a video encoder in hardware is used" if works else "a video encoder is not to be had here"
            log.event(_logger, logging.INFO, message, **fields)
        return self._trusted[encoder.name]


@dataclass(slots=True)
class _Run:
    """One run of the program, as seen from outside."""

    watch: Watch
    clock: Clock
    limits: EncodeLimits
    progress: Progress
    losses: Losses
    goes_on: bool
    """Damage does not end it."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What it made, once it ended well."""
    failure: PlatformError | None = None
    """Why it was ended from here."""
    moved_at: float | None = None
    seen_seconds: float = -1.0

    def take(self, line: str) -> None:
        self.progress.take(line)
        self.watch.note(self.progress.percent)

    def take_complaint(self, line: str) -> None:
        self.losses.take(line, self.progress.done_seconds)

    def is_over(self) -> bool:
        """Whether to end it: nobody wants it, it stands still, or it goes on for ever."""
        now = self.clock.monotonic_seconds()
        if self.moved_at is None or self.progress.done_seconds != self.seen_seconds:
            self.moved_at, self.seen_seconds = now, self.progress.done_seconds
        if now - self.moved_at > self.limits.stall_seconds:
            self._fail(ErrorCode.TIMEOUT, f"it stood still for {self.limits.stall_seconds:g} s")
        elif self.losses.is_hopeless:
            self.failure = too_damaged(self.losses.words(self.progress.done_seconds))
        elif self.progress.is_beyond:
            self._fail(ErrorCode.LIMIT, "it goes on far beyond the length that it tells")
        return self.failure is not None or self.watch.is_cancelled()

    def _fail(self, code: ErrorCode, why: str) -> None:
        self.failure = ProcessingFailed(ENCODING, why, code=code)


def _judged(run: _Run) -> Encoded:
    """What a run made, and what it lost of the film. Raises ProcessingFailed where that is too much."""
    end_seconds = run.progress.done_seconds
    # What a strict run refused is damaged, also where nothing of it can be counted.
    if not run.goes_on and not run.losses.is_certain(end_seconds):
        return Encoded(run.files)
    words = run.losses.words(end_seconds)
    if run.losses.is_too_much(end_seconds):
        raise too_damaged(words)
    return Encoded(run.files, words)


def _job_limits(limits: EncodeLimits) -> JobLimits:
    return JobLimits(
        wall_seconds=limits.wall_seconds,
        cpu_seconds=int(limits.wall_seconds) * _CORES,
        resident_bytes=limits.resident_bytes,
        address_space_bytes=_ADDRESS_SPACE_BYTES,
        file_bytes=limits.output_bytes,
        scratch_bytes=limits.output_bytes,
        open_files=_OPEN_FILES,
        threads=_THREADS,
    )


def _told(error: PlatformError) -> str:
    return f"{error.public} {error.private}".strip()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
