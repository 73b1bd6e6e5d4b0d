"""What becomes of a trusted program that reads an untrusted source behind the sandbox's walls, however it ends.

Perl stands in for a program: it is on every Debian, needs no file but its own to start, and says what it is told to.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import imageio_ffmpeg
import pytest

import sample_clips
from conftest import NO_MOUNT
from contentplatform.drivers.confinement import JobLimits, ProgramFiles
from contentplatform.drivers.programs import files_of
from contentplatform.drivers.sandbox import ProgramReport, Sandbox
from contentplatform.errors import (
    Cancelled,
    ConfigurationInvalid,
    ErrorCode,
    JobInterrupted,
    PlatformError,
    ProcessingFailed,
)

PERL: Final = Path("/usr/bin/perl")
NULL: Final = Path("/dev/null")
"""Perl reads a script from the command line as if it were this file."""
FFMPEG: Final = Path(imageio_ffmpeg.get_ffmpeg_exe())
GENEROUS: Final = JobLimits(wall_seconds=300, cpu_seconds=300, threads=64)
SMALL_DISK_BYTES: Final = 1 << 20
FOR_EVER: Final = "$| = 1; print $$, ' ', getppid(), qq(\\n); select(undef, undef, undef, 60);"
"""Says who it is and who its parent is, and waits."""
ENCODE: Final = ("-nostdin", "-v", "error", "-progress", "pipe:1", "-protocol_whitelist", "fd", "-fd", "3", "-i", "fd:")


@dataclass
class Bench:
    """A sandbox for programs with a source and scratch folders, for short calls."""

    sandbox: Sandbox
    folder: Path
    runs: int = 0
    lines: list[str] = field(default_factory=list)

    def scratch(self) -> Path:
        self.runs += 1
        path = self.folder / f"scratch-{self.runs}"
        path.mkdir()
        return path

    def run(self, script: str, *arguments: str, **options: Any) -> ProgramReport:
        """Run a script in Perl; its lines are in ``lines``."""
        devices = (NULL, *options.pop("devices", ()))
        return self.program(PERL, "-e", script, *arguments, devices=devices, **options)

    def program(self, program: Path, *arguments: str, **options: Any) -> ProgramReport:
        given = {
            "source": self.folder / "source",
            "scratch": options.pop("scratch", None) or self.scratch(),
            "limits": GENEROUS,
            "on_output": self.lines.append,
            **options,
        }
        return self.sandbox.execute(program, arguments, doing="encoding", **given)

    def error(self, script: str, **options: Any) -> PlatformError:
        with pytest.raises(PlatformError) as caught:
            self.run(script, **options)
        return caught.value

    def failure(self, script: str, **options: Any) -> ProcessingFailed:
        error = self.error(script, **options)
        assert isinstance(error, ProcessingFailed)
        return error


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "source").write_text("hello", encoding="ascii")
    bench = Bench(Sandbox(), tmp_path)
    yield bench
    bench.sandbox.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(NO_MOUNT)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Runner:
    """A program that runs in another thread until something ends it."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self._pool = ThreadPoolExecutor(1)
        read, write = os.pipe()
        told: IO[str] = os.fdopen(read, encoding="ascii")
        telling = os.fdopen(write, "w", buffering=1, encoding="ascii")
        tell: Callable[[str], Any] = lambda line: telling.write(line + "\n")  # noqa: E731 - a name for the next line
        self.outcome: Future[ProgramReport] = self._pool.submit(bench.run, FOR_EVER, on_output=tell, **options)
        self.outcome.add_done_callback(lambda _: telling.close())  # so that nobody waits for a line that won't come
        with told:
            self.pid, self.zygote_pid = (int(number) for number in told.readline().split())
        self.handle = os.pidfd_open(self.pid)

    def error(self) -> BaseException | None:
        """What it ended with, once it is dead."""
        error = self.outcome.exception(GENEROUS.wall_seconds)
        assert _dies(self.handle)
        os.close(self.handle)
        self._pool.shutdown()
        return error


def _lives(handle: int) -> bool:
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True


# -- what it is for --------------------------------------------------------------------------------------------------


def test_a_program_reads_its_source_and_is_heard_line_by_line(bench: Bench) -> None:
    script = "open(F, '<&=3'); print 'read ', <F>, qq(\\nsecond\\r\\nlast); print STDERR qq(complaint\\a\\n); exit 7"
    report = bench.run(script)
    assert bench.lines == ["read hello", "second", "last"]
    assert report.exit_code == 7
    assert report.last_words.endswith("complaint")
    assert report.peak_resident_bytes > 1 << 20


def test_further_sources_follow(bench: Bench, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name, encoding="ascii")
    script = "for (3, 5, 6) { open(F, qq(<&=$_)); print <F>, qq(\\n) }"
    bench.run(script, others=(tmp_path / "a", tmp_path / "b"))
    assert bench.lines == ["hello", "a", "b"]


def test_the_ffmpeg_program_encodes_a_clip_and_tells_how_far_it_is(bench: Bench) -> None:
    scratch = bench.scratch()
    arguments = [*ENCODE, "-c:v", "libx264", "-preset", "ultrafast", "-movflags", "+faststart", "-y", "out.mp4"]
    report = bench.program(FFMPEG, *arguments, source=sample_clips.film(), scratch=scratch)
    assert (report.exit_code, report.last_words) == (0, "")
    assert "progress=end" in bench.lines
    assert (scratch / "out.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_program_says_what_it_wants_without_filling_our_memory(bench: Bench) -> None:
    script = "print 'x' x 100_000, qq(\\n), qq(short\\n); print STDERR 'y' x 1_000_000, ' the end'"
    report = bench.run(script)
    assert bench.lines == ["short"], "no line of sense is that long"
    assert len(report.last_words) <= 16 << 10
    assert report.last_words.endswith("the end")


def test_a_program_is_born_with_nothing(bench: Bench) -> None:
    script = (
        "print join(',', sort keys %ENV), qq(\\n), join(',', grep { open(my $f, qq(<&=$_)) } 0..63), qq(\\n);"
        "print getpriority(0, 0), qq(\\n), umask(), qq(\\n)"
    )
    bench.run(script, nice=7)
    assert bench.lines == ["LANG", "0,1,2,3", "7", str(0o077)]


def test_a_program_gives_way_to_every_other_process(bench: Bench) -> None:
    runner = Runner(bench, nice=7)
    autogroup = Path(f"/proc/{runner.pid}/autogroup")
    if autogroup.exists():  # else niceness counts among all processes anyway
        assert autogroup.read_text("ascii").split()[1:] == ["nice", "7"]
    assert os.getpriority(os.PRIO_PROCESS, runner.pid) == 7
    os.kill(runner.pid, signal.SIGKILL)
    assert isinstance(runner.error(), JobInterrupted)


def test_the_kernel_knows_a_program_as_shut_in(bench: Bench) -> None:
    runner = Runner(bench)
    lines = Path(f"/proc/{runner.pid}/status").read_text("ascii").splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert {status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert Path(f"/proc/{runner.pid}/oom_score_adj").read_text("ascii").strip() == "900"
    os.kill(runner.pid, signal.SIGKILL)
    runner.error()


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "limits", "code", "why"),
    [
        ("1 while 1", {"wall_seconds": 0.3}, ErrorCode.TIMEOUT, "it was not done after 0.3 s"),
        (
            "$SIG{XCPU} = sub { exit 0 }; 1 while 1",
            {"cpu_seconds": 1},
            ErrorCode.TIMEOUT,
            "it took more than 1 s of processor time",
        ),
        (
            "$x .= 'x' x 1_048_576 while 1",
            {"resident_bytes": 100 << 20},
            ErrorCode.LIMIT,
            "it needed more than 100 MiB of memory",
        ),
        (
            "open(F, '>', 'f'); print F 'x' x 65_536 while 1",
            {"file_bytes": 3 << 20},
            ErrorCode.LIMIT,
            "it needed more than 3 MiB in one file",
        ),
        (
            "for (1..9e9) { open(F, '>', $_); print F 'x' x 65_536; close F }",
            {"scratch_bytes": 5 << 20},
            ErrorCode.LIMIT,
            "its results were larger than 5 MiB",
        ),
        (
            "for (1..20) { open($f[$_], '>', 'f'); unlink 'f'; print {$f[$_]} 'x' x 1_048_576 } 1 while 1",
            {"scratch_bytes": 5 << 20},
            ErrorCode.LIMIT,
            "its results were larger than 5 MiB",
        ),
    ],
    ids=["wall clock", "processor time", "memory", "one file", "many files", "deleted files"],
)
def test_a_program_over_a_limit_is_ended(
    bench: Bench, script: str, limits: dict[str, Any], code: ErrorCode, why: str
) -> None:
    error = bench.failure(script, limits=JobLimits(**{"wall_seconds": 300.0, **limits}))
    assert (error.code, error.why) == (code, why)


def test_a_program_with_too_many_threads_is_ended(bench: Bench) -> None:
    arguments = ["-f", "lavfi", "-i", "testsrc2=s=320x180:d=600", "-threads", "24", "-f", "null", "-"]
    with pytest.raises(ProcessingFailed, match="more than 4 threads") as caught:
        bench.program(FFMPEG, *arguments, limits=JobLimits(wall_seconds=300, threads=4))
    assert caught.value.code is ErrorCode.LIMIT


# -- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "BUS", "ILL", "SYS"])
def test_a_crash_is_tried_twice_in_a_clean_folder_and_then_told_in_words(bench: Bench, name: str) -> None:
    scratch = bench.scratch()
    script = f"print -e 'left' ? qq(dirty\\n) : qq(clean\\n); open(F, '>', 'left'); $| = 1; print ''; kill '{name}', $$"
    error = bench.failure(script, scratch=scratch)
    assert error.code is ErrorCode.CRASH
    assert "crashed on this file, twice" in error.why
    assert bench.lines == ["clean", "clean"]
    assert list(scratch.iterdir()) == []


def test_a_program_killed_from_outside_can_be_tried_again(bench: Bench) -> None:
    runner = Runner(bench)
    os.kill(runner.pid, signal.SIGKILL)
    assert isinstance(runner.error(), JobInterrupted)
    assert bench.run("exit 0").exit_code == 0


def test_a_program_hears_no_request_to_end(bench: Bench) -> None:
    """Systemd asks every process of a service; a program that obeyed would leave half a film that looks whole."""
    runner = Runner(bench)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(runner.pid, number)
    assert _lives(runner.handle)
    os.kill(runner.pid, signal.SIGKILL)
    assert isinstance(runner.error(), JobInterrupted)


def test_a_program_that_nobody_wants_any_more_is_killed_before_we_go_on(bench: Bench) -> None:
    wanted: list[bool] = [True]
    runner = Runner(bench, is_cancelled=lambda: not wanted)
    wanted.clear()
    with pytest.raises(Cancelled):
        runner.outcome.result(GENEROUS.wall_seconds)
    assert not _lives(runner.handle), "whoever is told that it ended can rely on it"
    runner.error()


def test_a_program_that_was_cancelled_before_is_ended_at_once(bench: Bench) -> None:
    assert isinstance(bench.error(FOR_EVER, is_cancelled=lambda: True), Cancelled)


def test_a_listener_that_fails_ends_the_program(bench: Bench) -> None:
    def fail(line: str) -> None:
        bench.lines.append(line)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the listener's own, as it was raised
        bench.run(FOR_EVER, on_output=fail)
    pid = int(bench.lines[0].split()[0])
    bench.run("exit 0")
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_zygote_takes_its_program_along_and_is_replaced(bench: Bench) -> None:
    runner = Runner(bench)
    os.kill(runner.zygote_pid, signal.SIGKILL)
    assert isinstance(runner.error(), JobInterrupted)
    assert bench.run("exit 0").exit_code == 0


def test_close_ends_a_running_program_as_cancelled(bench: Bench) -> None:
    runner = Runner(bench)
    bench.sandbox.close()
    assert isinstance(runner.error(), Cancelled)


OWNER: Final = """
import sys
from pathlib import Path
from contentplatform.drivers.sandbox import Sandbox
folder = Path(sys.argv[1])
Sandbox().execute(
    Path(sys.argv[2]), ["-e", sys.argv[3]], folder / "source", folder, doing="x",
    devices=[Path("/dev/null")], on_output=lambda line: print(line, flush=True),
)
"""


def test_no_program_survives_a_killed_owner(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(PERL), FOR_EVER], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    handles = [os.pidfd_open(int(number)) for number in owner.stdout.readline().split()]
    owner.kill()
    owner.wait()
    for handle in handles:
        assert _dies(handle)
        os.close(handle)
    owner.stdout.close()


def _dies(handle: int) -> bool:
    """Whether the process behind a pidfd ends within a generous time."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(GENEROUS.wall_seconds * 1000))


def test_a_full_disk_is_in_the_words_of_the_program(bench: Bench, small_disk: Path) -> None:
    scratch = small_disk / "scratch"
    scratch.mkdir()
    arguments = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:d=60", "-c:v", "rawvideo", "o.mkv"]
    report = bench.program(FFMPEG, *arguments, scratch=scratch)
    assert report.exit_code != 0
    assert "No space left on device" in report.last_words
    assert (scratch / "o.mkv").stat().st_size <= SMALL_DISK_BYTES


# -- what can't be started -------------------------------------------------------------------------------------------


def test_what_is_no_program_is_told_at_once(bench: Bench, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program", encoding="ascii")
    for path, mode in ((text, 0o600), (text, 0o700), (tmp_path / "missing", 0)):
        if path.exists():
            path.chmod(mode)
        with pytest.raises(ConfigurationInvalid) as caught:
            bench.program(path)
        assert path.name in caught.value.why
        assert caught.value.hint


def test_a_device_that_is_not_there_is_told_at_once(bench: Bench) -> None:
    with pytest.raises(ConfigurationInvalid, match="No such file"):
        bench.run("exit 0", devices=(Path("/dev/no-such-device"),))


def test_a_device_is_open_only_where_it_was_asked_for(bench: Bench) -> None:
    script = "print open(F, '<', '/dev/zero') ? qq(open\\n) : qq(shut\\n)"
    bench.run(script)
    bench.run(script, devices=(Path("/dev/zero"),))
    assert bench.lines == ["shut", "open"]


def test_a_program_that_lacks_a_library_is_told_with_its_name(tmp_path: Path) -> None:
    """Its own name for a library is overwritten with one that nobody has."""
    program = tmp_path / "perl"
    content = PERL.read_bytes()
    needed = next(path.name for path in files_of(PERL, doing="x").libraries if path.name.startswith("libcrypt"))
    program.write_bytes(content.replace(needed.encode(), needed.replace("libcrypt", "libgone_").encode()))
    program.chmod(0o755)
    with pytest.raises(ConfigurationInvalid, match="libgone_"):
        files_of(program, doing="encoding")


def test_only_libraries_and_the_loader_are_found(tmp_path: Path) -> None:
    found = files_of(FFMPEG, doing="x")
    assert found.loader is not None
    assert found.loader.name.startswith("ld-")
    assert all(".so" in path.name and path.is_file() for path in found.libraries)
    script = tmp_path / "script"
    script.write_bytes(b"#!/bin/sh\n")
    assert files_of(script, doing="x") == ProgramFiles(script)
