"""Running the encoder: hardware and its last resort, standstill. What becomes of films is in test_encoded_films."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contentplatform.drivers.confinement import JobLimits
from contentplatform.drivers.sandbox import ProgramReport
from contentplatform.errors import (
    Cancelled,
    ConfigurationInvalid,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    ProcessingFailed,
)
from contentplatform.processing.encoder import NICE, VideoEncoder
from contentplatform.processing.ladder import plan
from contentplatform.processing.port import MediaFacts, TranscodeRequest, VideoTrack
from fakes.clock import FakeClock

PROGRAM = Path("/usr/bin/ffmpeg")
TRACK = VideoTrack(
    index=0,
    codec="h264",
    width=1280,
    height=720,
    coded_width=1280,
    coded_height=720,
    rotation_degrees=0,
    frame_rate=25.0,
    frame_rate_varies=False,
    duration_seconds=10.0,
)
FACTS = MediaFacts("mov", 10.0, duration_is_exact=True, bit_rate=None, size_bytes=4, video=(TRACK,))
REQUEST = TranscodeRequest("process-1", "f", "v", "a film.mp4", FACTS, plan(FACTS, str))


class Onlooker:
    """Notes percents; cancels when told to."""

    def __init__(self) -> None:
        self.percents: list[int] = []
        self.cancelled = False

    def note(self, percent: int) -> None:
        self.percents.append(percent)

    def is_cancelled(self) -> bool:
        return self.cancelled


class FakeProgram:
    """Walls with a program behind them that fails for some encoders, and else says and does what a test wants."""

    def __init__(self, *, failing: Sequence[str] = (), failing_trials: Sequence[str] = (), complaint: str = "") -> None:
        self.failing = failing
        self.failing_trials = failing_trials
        self.complaint = complaint
        self.runs: list[str] = []
        """Which encoder was run, or tried."""
        self.limits: list[JobLimits | None] = []
        self.nice: list[int] = []
        self.lines: tuple[str, ...] = ()
        self.complaints: tuple[str, ...] = ()
        """One by one, of a run that goes on after damage."""
        self.each_look: Callable[[], None] = lambda: None
        self.looks = 0

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
        nice: int = 0,
        on_output: Callable[[str], None] | None = None,
        on_complaint: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ProgramReport:
        assert (program, list(devices)) == (PROGRAM, [])
        codec = arguments[list(arguments).index("-c:v") + 1]
        if "lavfi" in arguments:
            self.runs.append(f"trial {codec}")
            return ProgramReport(int(codec in self.failing_trials), "no such device", 0, 0.0)
        assert source.name == "source"
        assert list(scratch.iterdir()) == []
        self.runs.append(codec if "-xerror" in arguments else f"{codec} goes on")
        self.limits.append(limits)
        self.nice.append(nice)
        for line in self.lines:
            assert on_output is not None
            on_output(line)
        for line in () if "-xerror" in arguments else self.complaints:
            assert on_complaint is not None
            on_complaint(line)
        for _ in range(self.looks):
            self.each_look()
            assert is_cancelled is not None
            if is_cancelled():
                raise Cancelled(doing, "it was stopped on request")
        for word in arguments:
            if word.endswith(".mp4"):
                (scratch / word).write_bytes(codec.encode())
        return ProgramReport(int(codec in self.failing), self.complaint, 0, 0.0)

    def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(b"film")
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def encode(program: FakeProgram, scratch: Path, setting: str = "software", onlooker: Onlooker | None = None) -> str:
    """Encode; by which encoder the rungs were made."""
    encoder = VideoEncoder(PROGRAM, FakeClock(), setting=setting, sandbox=program)
    files = encoder.encode(REQUEST, scratch.parent / "source", scratch, onlooker or Onlooker()).files
    assert list(files) == ["720p", "480p"]
    made = {path.read_bytes().decode() for path in files.values()}
    assert len(made) == 1
    return made.pop()


def test_software_is_not_tried_first(scratch: Path) -> None:
    program = FakeProgram()
    assert encode(program, scratch) == "libx264"
    assert program.runs == ["libx264"]
    assert program.nice == [NICE]


def test_hardware_is_used_where_its_trial_succeeds(scratch: Path) -> None:
    program = FakeProgram()
    assert encode(program, scratch, "nvenc") == "h264_nvenc"
    assert program.runs == ["trial h264_nvenc", "h264_nvenc"]


def test_hardware_that_is_not_there_is_said_so_and_software_does_it(
    scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = FakeProgram(failing_trials=["h264_nvenc"])
    with caplog.at_level(logging.INFO):
        assert encode(program, scratch, "nvenc") == "libx264"
    assert "a video encoder is not to be had here" in caplog.text
    assert program.runs == ["trial h264_nvenc", "libx264"]


def test_hardware_that_fails_in_the_middle_is_followed_by_software(
    scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = FakeProgram(failing=["h264_nvenc"])
    with caplog.at_level(logging.INFO):
        assert encode(program, scratch, "nvenc") == "libx264"
    assert "the encoder failed; software does it" in caplog.text
    assert program.runs == ["trial h264_nvenc", "h264_nvenc", "libx264"]


def test_auto_takes_the_first_that_works(scratch: Path) -> None:
    program = FakeProgram(failing_trials=["h264_nvenc", "h264_videotoolbox"])
    assert encode(program, scratch, "auto") == "h264_qsv"


def test_a_trial_is_made_once_a_process(scratch: Path) -> None:
    program = FakeProgram(failing_trials=["h264_nvenc"])
    encoder = VideoEncoder(PROGRAM, FakeClock(), setting="nvenc", sandbox=program)
    for _ in range(2):
        encoder.encode(REQUEST, scratch.parent / "source", scratch, Onlooker())
        for path in scratch.iterdir():
            path.unlink()
    assert program.runs == ["trial h264_nvenc", "libx264", "libx264"]


def test_only_software_s_verdict_counts(scratch: Path) -> None:
    program = FakeProgram(failing=["h264_nvenc", "libx264"], complaint="[fatal] corrupt decoded frame")
    with pytest.raises(ProcessingFailed) as caught:
        encode(program, scratch, "nvenc")
    assert caught.value.code is ErrorCode.DECODE
    assert program.runs[1:] == ["h264_nvenc", "libx264", "libx264 goes on"]


CONCEALED = "[vist#0:0/h264 @ 0x5566] [dec:h264 @ 0x5567] [warning] corrupt decoded frame"


class Strict(FakeProgram):
    """Its strict run ends at damage; the one that goes on ends well."""

    def execute(self, program: Path, arguments: Sequence[str], *rest: Any, **options: Any) -> ProgramReport:
        report = super().execute(program, arguments, *rest, **options)
        if "-xerror" in arguments:
            return ProgramReport(183, CONCEALED.replace("warning", "fatal"), 0, 0.0)
        return report


def test_a_small_damage_is_gone_over_and_told(scratch: Path) -> None:
    program = Strict()
    program.complaints, program.lines = (CONCEALED,) * 3, ("out_time_us=9900000",)
    encoder = VideoEncoder(PROGRAM, FakeClock(), sandbox=program)
    made = encoder.encode(REQUEST, scratch.parent / "source", scratch, Onlooker())
    assert list(made.files) == ["720p", "480p"]
    assert made.damage == "about 3 pictures are damaged or missing, the first damage is at about 0:09"
    assert program.runs == ["libx264", "libx264 goes on"]


def test_damage_that_cannot_be_counted_is_told_all_the_same(scratch: Path) -> None:
    program = Strict()
    program.lines = ("out_time_us=9900000",)
    made = VideoEncoder(PROGRAM, FakeClock(), sandbox=program).encode(
        REQUEST, scratch.parent / "source", scratch, Onlooker()
    )
    assert "a part of the file is damaged" in made.damage


def test_too_much_damage_ends_the_run_as_soon_as_it_is_known(scratch: Path) -> None:
    program = Strict()
    program.complaints, program.looks = (CONCEALED,) * 20, 1
    with pytest.raises(ProcessingFailed, match="too much of it is damaged: about 20 pictures") as caught:
        encode(program, scratch)
    assert caught.value.code is ErrorCode.DECODE


def test_an_undamaged_film_is_encoded_once(scratch: Path) -> None:
    program = FakeProgram()
    program.lines = ("out_time_us=10000000",)
    made = VideoEncoder(PROGRAM, FakeClock(), sandbox=program).encode(
        REQUEST, scratch.parent / "source", scratch, Onlooker()
    )
    assert (made.damage, program.runs) == ("", ["libx264"])


def test_a_full_disk_is_not_the_encoder_s_fault(scratch: Path) -> None:
    program = FakeProgram(failing=["h264_nvenc"], complaint="[error] No space left on device")
    with pytest.raises(NoSpace):
        encode(program, scratch, "nvenc")


def test_an_unknown_encoder_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"processing\.video_encoder"):
        VideoEncoder(PROGRAM, FakeClock(), setting="fast", sandbox=FakeProgram())


def test_the_onlooker_hears_how_far_it_is(scratch: Path) -> None:
    program, onlooker = FakeProgram(), Onlooker()
    program.lines = ("out_time_us=2500000", "progress=continue", "out_time_us=10000000", "progress=end")
    encode(program, scratch, onlooker=onlooker)
    assert onlooker.percents == [25, 25, 99, 99]


def test_who_wants_it_no_more_ends_it(scratch: Path) -> None:
    program, onlooker = FakeProgram(), Onlooker()
    program.looks, onlooker.cancelled = 1, True
    with pytest.raises(Cancelled):
        encode(program, scratch, onlooker=onlooker)


def test_a_run_that_stands_still_is_ended_as_stuck(scratch: Path) -> None:
    program, clock = FakeProgram(), FakeClock()
    program.looks, program.each_look = 10_000, lambda: clock.advance(1.0)
    began = clock.monotonic_seconds()
    with pytest.raises(ProcessingFailed, match="stood still") as caught:
        VideoEncoder(PROGRAM, clock, sandbox=program).encode(REQUEST, scratch.parent / "source", scratch, Onlooker())
    assert caught.value.code is ErrorCode.TIMEOUT
    assert 600 < clock.monotonic_seconds() - began < 610


def test_a_film_that_never_ends_is_ended(scratch: Path) -> None:
    program = FakeProgram()
    program.looks, program.lines = 1, ("out_time_us=9000000000",)
    with pytest.raises(ProcessingFailed, match="far beyond the length") as caught:
        encode(program, scratch)
    assert caught.value.code is ErrorCode.LIMIT


def test_a_run_is_bounded_by_the_film_s_length(scratch: Path) -> None:
    program = FakeProgram()
    encode(program, scratch)
    [limits] = program.limits
    assert limits is not None
    assert 600 < limits.wall_seconds < 1_000
    assert limits.scratch_bytes < 200 << 20
    assert limits.resident_bytes < 2 << 30


def test_a_killed_program_is_not_the_file_s_fault(scratch: Path) -> None:
    class Killed(FakeProgram):
        def execute(self, *_arguments: object, doing: str, **_options: object) -> ProgramReport:
            raise JobInterrupted(doing, "the process was killed from outside")

    with pytest.raises(JobInterrupted):
        encode(Killed(), scratch, "nvenc")
