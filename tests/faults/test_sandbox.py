"""What a job in the sandbox can't do, what becomes of one that tries, and that nobody else is hurt."""

from __future__ import annotations

import errno
import os
import platform
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import pytest

from contentplatform.drivers import seccomp
from contentplatform.drivers.confinement import Confinement, JobLimits
from contentplatform.drivers.sandbox import JobReport, Sandbox, plain_file
from contentplatform.errors import (
    Cancelled,
    ConfigurationInvalid,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    PlatformError,
    ProcessingFailed,
)

JOBS = "sandbox_jobs:job"
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent)}
GENEROUS_SECONDS = 300.0

linux_only = pytest.mark.skipif(platform.system() != "Linux", reason="needs what only Linux has")


@dataclass
class Bench:
    """A sandbox with a source and scratch folders, for short calls."""

    sandbox: Sandbox
    folder: Path
    runs: int = 0

    def scratch(self) -> Path:
        self.runs += 1
        path = self.folder / f"scratch-{self.runs}"
        path.mkdir()
        return path

    def run(self, do: str, scratch: Path | None = None, **request: Any) -> Any:
        report = self.sandbox.run({"do": do, **request}, self.folder / "source", scratch or self.scratch(), doing="x")
        return report.result

    def error(self, do: str, **request: Any) -> PlatformError:
        with pytest.raises(PlatformError) as caught:
            self.run(do, **request)
        return caught.value

    def failure(self, do: str, **request: Any) -> ProcessingFailed:
        error = self.error(do, **request)
        assert isinstance(error, ProcessingFailed)
        return error


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    (tmp_path / "source").write_text("hello", encoding="ascii")
    made: list[Bench] = []

    def make(**limits: Any) -> Bench:
        sandbox = Sandbox(JOBS, limits=JobLimits(**limits), environment=ENVIRONMENT)
        made.append(Bench(sandbox, tmp_path, runs=100 * len(made)))
        return made[-1]

    yield make
    for bench in made:
        bench.sandbox.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(wall_seconds=GENEROUS_SECONDS)


class Witness:
    """The test's end of a pipe that a waiting job holds: who it is, and when it has died."""

    def __init__(self, bench: Bench) -> None:
        self.scratch = bench.scratch()
        os.mkfifo(self.scratch / "alive")
        self._pool = ThreadPoolExecutor(1)
        self.outcome: Future[Any] = self._pool.submit(bench.run, "wait for ever", self.scratch)
        self._pipe = opened_pipe(self.scratch / "alive")
        self.pid, self.zygote_pid = (int(number) for number in self._pipe.readline().split())

    def wait_for_death(self) -> None:
        """Returns when the job's end of the pipe was closed, which only its death does."""
        assert speaks_or_ends(self._pipe.fileno(), GENEROUS_SECONDS)
        assert self._pipe.read() == ""
        self._pipe.close()
        self._pool.shutdown()

    def error(self) -> BaseException | None:
        return self.outcome.exception(GENEROUS_SECONDS)


def opened_pipe(path: Path) -> IO[str]:
    """The reading end, once somebody has written; a job that never gets so far fails the test instead of hanging it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert speaks_or_ends(descriptor, GENEROUS_SECONDS)
    return os.fdopen(descriptor, encoding="ascii")


def speaks_or_ends(descriptor: int, seconds: float) -> bool:
    """Whether something can be read, or the other end has gone."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


# -- walls -----------------------------------------------------------------------------------------------------------


def test_a_job_reads_its_source_and_answers(bench: Bench) -> None:
    assert bench.run("read") == {"text": "hello"}


@linux_only
def test_this_kernel_gives_every_wall(bench: Bench) -> None:
    """The machines that run these tests can do everything; without this test the others could pass by mistake."""
    walls = bench.sandbox.confinement()
    assert walls.system_calls_filtered
    assert walls.dies_with_parent
    assert walls.memory_watched


def test_missing_walls_are_said_in_words() -> None:
    bare = Confinement(system_calls_filtered=False, files_hidden=False, dies_with_parent=False, memory_watched=False)
    assert len(bare.gaps()) == 4
    assert "network" in bare.gaps()[0]
    whole = Confinement(system_calls_filtered=True, files_hidden=True, dies_with_parent=True, memory_watched=True)
    assert "any system call" in replace(bare, network_absent=True).gaps()[0]
    assert whole.gaps() == ()


@linux_only
def test_every_call_of_the_table_is_refused(bench: Bench) -> None:
    machine = seccomp.this_machine()
    assert machine is not None
    calls = {name: numbers[machine.column] for name, numbers in seccomp.REFUSED.items()}
    known = {name: number for name, number in calls.items() if number is not None}
    answers = bench.run("system calls", calls=known)
    assert {name: number for name, number in answers.items() if number != errno.EPERM} == {}


@linux_only
def test_calls_that_are_newer_than_the_table_do_not_exist(bench: Bench) -> None:
    answers = bench.run("system calls", calls={"clone3": 435, "future": 463, "far future": 10_000})
    assert set(answers.values()) == {errno.ENOSYS}


if (seccomp.this_machine() or seccomp.MACHINES["aarch64"]).has_x32:

    def test_the_x32_side_door_is_shut(bench: Bench) -> None:
        error = bench.failure("call through x32")
        assert error.code is ErrorCode.CRASH
        assert f"signal {int(signal.SIGSYS)}" in error.private


@linux_only
@pytest.mark.parametrize("do", ["open a socket", "fork", "execute", "signal the parent", "survive the parent"])
def test_a_job_is_refused(bench: Bench, do: str) -> None:
    error = bench.failure(do)
    assert error.code is ErrorCode.INTERNAL
    assert "Operation not permitted" in error.private or "refused" in error.private
    assert bench.run("read"), "the zygote did not mind"


@linux_only
def test_a_job_sees_no_file_but_its_own(bench: Bench, tmp_path: Path) -> None:
    walls = bench.sandbox.confinement()
    if not walls.files_hidden:
        assert any("no Landlock" in gap for gap in walls.gaps()), "an open wall is said"
        return
    (tmp_path / "secret").write_text("secret", encoding="ascii")
    for path, mode in (("/etc/passwd", "rb"), (str(tmp_path / "secret"), "rb"), (str(tmp_path / "new"), "wb")):
        assert "Permission denied" in bench.failure("open", path=path, mode=mode).private
    assert "Permission denied" in bench.failure("list", path="/proc/self/fd").private
    assert bench.run("open", path="mine", mode="wb") == {"open": "mine"}


SPYING: Final = """
import os, sys
from contentplatform.drivers import confinement

confinement._drop_capabilities()  # as on Lambda; who has more than the reader is safe from it anyway
if "hide" in sys.argv:
    confinement.hide_own_process()
child = os.fork()
if child == 0:
    try:
        found = open(f"/proc/{os.getppid()}/environ", "rb").read()
    except PermissionError:
        found = b"nothing"
    os.write(1, b"the secret" if b"a-secret-key" in found else found)
    os._exit(0)
os.waitpid(child, 0)
"""


@linux_only
@pytest.mark.parametrize(("arguments", "found"), [((), "the secret"), (("hide",), "nothing")])
def test_an_owner_of_jobs_that_see_proc_hides_its_environment(arguments: tuple[str, ...], found: str) -> None:
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "a-secret-key"}
    spying = [sys.executable, "-c", SPYING, *arguments]
    told = subprocess.run(spying, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == found


def test_the_way_to_python_s_own_libraries_is_passed_on(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/var/lang/lib")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    found = make_bench().run("surroundings")
    assert set(found["environment"]) - {"LC_CTYPE"} == {"LANG", "LD_LIBRARY_PATH", "PYTHONPATH"}


@linux_only
def test_a_job_is_born_with_nothing(bench: Bench) -> None:
    found = bench.run("surroundings")
    assert found["descriptors"] == [0, 1, 2, 3, 4]
    assert set(found["environment"]) <= {"LANG", "LC_CTYPE", "PYTHONPATH"}
    assert not found["capabilities"]
    assert found["is_group_leader"]
    assert found["umask"] == 0o077


def test_a_job_may_start_threads(bench: Bench) -> None:
    assert bench.run("start a thread") == {"threads": 1}


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_job_that_hangs_is_killed_at_the_wall_clock_limit(make_bench: Callable[..., Bench]) -> None:
    error = make_bench(wall_seconds=0.3).failure("spin")
    assert error.code is ErrorCode.TIMEOUT
    assert error.why == "it was not done after 0.3 s"


def test_a_job_that_burns_processor_time_is_killed(make_bench: Callable[..., Bench]) -> None:
    error = make_bench(wall_seconds=GENEROUS_SECONDS, cpu_seconds=1).failure("spin")
    assert error.code is ErrorCode.TIMEOUT
    assert error.why == "it took more than 1 s of processor time"


@linux_only
def test_a_job_that_eats_memory_is_killed(make_bench: Callable[..., Bench]) -> None:
    error = make_bench(wall_seconds=GENEROUS_SECONDS, resident_bytes=100 << 20).failure("eat memory")
    assert error.code is ErrorCode.LIMIT
    assert error.why == "it needed more than 100 MiB of memory"


@linux_only
def test_a_job_that_reserves_far_too_much_address_space_is_refused(bench: Bench) -> None:
    assert bench.failure("reserve memory").code is ErrorCode.LIMIT


@linux_only
def test_a_job_that_starts_threads_without_end_is_killed(make_bench: Callable[..., Bench]) -> None:
    error = make_bench(wall_seconds=GENEROUS_SECONDS, threads=8).failure("start threads")
    assert error.code is ErrorCode.LIMIT
    assert "8 threads" in error.why


def test_a_file_over_the_limit_is_not_written(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(wall_seconds=GENEROUS_SECONDS, file_bytes=3 << 20)
    bench.run("write a file", mebibytes=3)
    assert bench.failure("write a file", mebibytes=4).code is ErrorCode.LIMIT
    assert max(path.stat().st_size for path in bench.folder.glob("*/large")) == 3 << 20


def test_many_small_files_over_the_limit_end_the_job(make_bench: Callable[..., Bench]) -> None:
    error = make_bench(wall_seconds=GENEROUS_SECONDS, scratch_bytes=5 << 20).failure("write files")
    assert error.code is ErrorCode.LIMIT
    assert error.why == "its results were larger than 5 MiB"


# -- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["segfault", "abort", "leave silently"])
def test_a_crash_is_tried_twice_and_then_told_in_words(bench: Bench, do: str) -> None:
    scratch = bench.scratch()
    with pytest.raises(ProcessingFailed, match="crashed on this file, twice") as caught:
        bench.run(do, scratch)
    assert caught.value.code is ErrorCode.CRASH
    assert list(scratch.iterdir()) == []
    assert bench.run("read"), "the zygote did not mind"


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "no JSON"},
        {"content": '["a list"]'},
        {"content": "[" * 100_000},
        {"content": '{"done": 1}', "size": 5},
        {"content": '{"done": 1}', "size": 1 << 30},
        {"content": "x" * 1024, "times": 8 << 10},
        {"content": '{"done": 1e999}'},
        {"content": '{"done": "\\ud800"}'},
    ],
    ids=["no JSON", "another shape", "too deep", "too long", "too short", "eight MiB", "infinite", "half a character"],
)
def test_an_answer_that_no_job_of_ours_gives_counts_as_a_crash(bench: Bench, answer: dict[str, Any]) -> None:
    assert bench.failure("answer raw", **answer).code is ErrorCode.CRASH


def test_a_failure_keeps_its_words_and_a_fault_keeps_them_private(bench: Bench) -> None:
    failed = bench.failure("fail", why="it is\nbroken\x1b[31m")
    assert (failed.code, failed.why, failed.private) == (
        ErrorCode.DECODE,
        "it is broken [31m",
        "the decoder's words",
    )
    wrong = bench.failure("be wrong")
    assert wrong.code is ErrorCode.INTERNAL
    assert "secret detail" in wrong.private
    assert "secret detail" not in wrong.public
    assert "Traceback" not in wrong.public


def test_an_answered_failure_without_sense_is_a_fault_of_ours(bench: Bench) -> None:
    error = bench.failure("answer raw", content='{"failed": {"code": "E_NONE", "why": 7}}')
    assert error.code is ErrorCode.INTERNAL


def test_a_full_disk_can_be_tried_again(bench: Bench) -> None:
    assert isinstance(bench.error("run out of space"), NoSpace)
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert isinstance(bench.error("meet a full disk", number=number), NoSpace)


@linux_only
def test_a_job_killed_from_outside_can_be_tried_again(bench: Bench) -> None:
    witness = Witness(bench)
    os.kill(witness.pid, signal.SIGKILL)
    witness.wait_for_death()
    assert isinstance(witness.error(), JobInterrupted)


@linux_only
def test_a_killed_zygote_takes_its_jobs_along_and_is_replaced(bench: Bench) -> None:
    witness = Witness(bench)
    os.kill(witness.zygote_pid, signal.SIGKILL)
    witness.wait_for_death()
    assert isinstance(witness.error(), JobInterrupted)
    assert bench.run("read") == {"text": "hello"}


@linux_only
def test_a_zygote_that_died_between_jobs_is_replaced_unnoticed(bench: Bench) -> None:
    witness = Witness(bench)
    handle = os.pidfd_open(witness.zygote_pid)
    os.kill(witness.zygote_pid, signal.SIGKILL)
    assert speaks_or_ends(handle, GENEROUS_SECONDS)
    os.close(handle)
    witness.wait_for_death()
    witness.error()
    other = Bench(bench.sandbox, bench.folder, runs=50)
    assert other.run("read") == {"text": "hello"}


@linux_only
def test_a_stuck_zygote_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("hello", encoding="ascii")
    limits = JobLimits(wall_seconds=0.2)
    bench = Bench(Sandbox(JOBS, limits=limits, environment=ENVIRONMENT, silence_seconds=0.3), tmp_path)
    witness = Witness(bench)
    os.kill(witness.zygote_pid, signal.SIGSTOP)
    witness.wait_for_death()
    assert isinstance(witness.error(), JobInterrupted)
    assert bench.run("read") == {"text": "hello"}
    bench.sandbox.close()


@linux_only
def test_close_ends_running_jobs_as_cancelled(bench: Bench) -> None:
    witness = Witness(bench)
    bench.sandbox.close()
    witness.wait_for_death()
    assert isinstance(witness.error(), Cancelled)
    assert isinstance(bench.error("read"), Cancelled)
    bench.sandbox.close()


@linux_only
def test_the_zygote_outlives_the_thread_that_started_it(bench: Bench) -> None:
    """Linux counts a parent's death by thread; a worker's thread may end while others still have jobs running."""
    first = threading.Thread(target=bench.run, args=("read",))
    first.start()
    first.join()
    witness = Witness(bench)
    second = threading.Thread(target=bench.run, args=("read",))
    second.start()
    second.join()
    assert not witness.outcome.done()
    bench.sandbox.close()
    witness.wait_for_death()


OWNER = """
import sys
from pathlib import Path
from contentplatform.drivers.sandbox import Sandbox
folder = Path(sys.argv[1])
sandbox = Sandbox("sandbox_jobs:job", environment={"PYTHONPATH": sys.argv[2]})
sandbox.run({"do": "wait for ever"}, folder / "source", folder, doing="x")
"""


@linux_only
def test_nothing_survives_a_killed_owner(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    os.mkfifo(tmp_path / "alive")
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), str(Path(__file__).parent)])
    with opened_pipe(tmp_path / "alive") as alive:
        _, zygote_pid = (int(number) for number in alive.readline().split())
        zygote = os.pidfd_open(zygote_pid)
        owner.kill()
        owner.wait()
        assert speaks_or_ends(alive.fileno(), GENEROUS_SECONDS)
        assert alive.read() == ""
    assert speaks_or_ends(zygote, GENEROUS_SECONDS)
    os.close(zygote)


def test_many_threads_share_one_zygote(bench: Bench) -> None:
    scratches = [bench.scratch() for _ in range(24)]

    def run(number: int) -> JobReport:
        source = bench.folder / f"source-{number}"
        source.write_text(str(number), encoding="ascii")
        return bench.sandbox.run({"do": "read"}, source, scratches[number], doing="x")

    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(run, range(24)))
    assert [report.result["text"] for report in reports] == [str(number) for number in range(24)]


def test_a_parser_that_is_not_there_is_told_at_start() -> None:
    sandbox = Sandbox("no_such_module:job")
    with pytest.raises(ConfigurationInvalid) as caught:
        sandbox.confinement()
    assert "No module named 'no_such_module'" in caught.value.private
    sandbox.close()


# -- files a job leaves ----------------------------------------------------------------------------------------------


def test_only_plain_files_of_the_scratch_folder_are_taken(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (scratch / "good").write_bytes(b"good")
    (scratch / "folder").mkdir()
    (scratch / "link").symlink_to(tmp_path / "outside")
    os.link(tmp_path / "outside", scratch / "hard")
    os.mkfifo(scratch / "pipe")
    assert plain_file(scratch, "good", doing="x") == scratch / "good"
    for name in ("folder", "link", "hard", "pipe", "missing", "", ".", "..", "../outside", "/etc/passwd", "a\0b", 7):
        with pytest.raises(ProcessingFailed) as caught:
            plain_file(scratch, name, doing="x")
        assert caught.value.code is ErrorCode.CRASH
