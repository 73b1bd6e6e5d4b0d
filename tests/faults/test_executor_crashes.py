"""Real workers, killed and stopped for real: every execution ends, and each effect is there once."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.crashpoint import VARIABLE
from contentplatform.findings import CheckRun, run_checks
from contentplatform.workflow.fsck import LedgerChecks
from contentplatform.workflow.ledger import Ledger
from contentplatform.workflow.port import ExecutionStatus
from faults.executor_worker import MACHINE, opened

WORKER = Path(__file__).with_name("executor_worker.py")
SECONDS = 300.0
"""Longest that a test waits for a process; passed only when something is broken."""
STEPS = ("First", "Second", "Third")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; whatever still works on it at the end is killed."""
    yield tmp_path
    for process in _STARTED:
        if process.poll() is None:
            process.kill()
        process.communicate()
    _STARTED.clear()


_STARTED: list[subprocess.Popen[str]] = []


def start_worker(folder: Path, *, crash: str = "", gate: Path | None = None) -> subprocess.Popen[str]:
    arguments = [sys.executable, str(WORKER), str(folder), *([str(gate)] if gate else [])]
    environment = {**os.environ, VARIABLE: crash}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)
    _STARTED.append(process)
    return process


def enqueue(folder: Path, count: int) -> list[str]:
    """Start so many executions, from a process that then leaves."""
    database, engine, _ = opened(folder)
    names = [f"e{number}" for number in range(count)]
    for name in names:
        engine.start(name, file_id=name, version_id="v", data={"key": f"{name}.jpg"})
    database.close()
    return names


def step_lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The steps that a worker begins, as it begins them."""
    assert process.stdout is not None
    return (line for line in process.stdout if line.startswith("step "))


def assert_all_ended_once(folder: Path, names: list[str]) -> None:
    """Every execution succeeded, each effect is there once, histories are whole, nothing is left behind."""
    database, engine, doorbell = opened(folder)
    try:
        assert {engine.get(name).status for name in names} == {ExecutionStatus.SUCCEEDED}
        with database.read() as view:
            effects = view.rows("SELECT execution, state, count(*) FROM effects GROUP BY execution, state")
        assert {(execution, state): count for execution, state, count in effects} == {
            (name, state): 1 for name in names for state in STEPS
        }
        for name in names:
            entered = [event.state for event in engine.history(name) if event.event == "entered"]
            assert entered == ["Which", "First", "Second", "Pause", "Third", "Done"]
        clock = SystemClock()
        ledger = Ledger(MACHINE, clock, RandomIds(), losses_allowed=5)
        checks = LedgerChecks(database, ledger, MACHINE, clock, doorbell).checks()
        assert list(run_checks(checks, CheckRun())) == []
        assert engine.workers() == ()
        assert list((folder / "run").iterdir()) == []
    finally:
        database.close()


@pytest.mark.parametrize("point", ["workflow.claimed", "workflow.step_done", "workflow.advanced"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_worker_killed_at_a_crash_point_is_taken_over_from(folder: Path, point: str, count: int) -> None:
    names = enqueue(folder, 4)
    victim = start_worker(folder, crash=f"{point}:{count}")
    victim.communicate(timeout=SECONDS)
    assert victim.returncode == -signal.SIGKILL
    heir = start_worker(folder)
    heir.communicate(timeout=SECONDS)
    assert heir.returncode == 0
    assert_all_ended_once(folder, names)


@pytest.mark.parametrize("point", ["sqlite.before_commit", "sqlite.committed"])
def test_a_worker_killed_around_a_commit_is_taken_over_from(folder: Path, point: str) -> None:
    names = enqueue(folder, 3)
    victim = start_worker(folder, crash=f"{point}:5")
    victim.communicate(timeout=SECONDS)
    assert victim.returncode == -signal.SIGKILL
    heir = start_worker(folder)
    heir.communicate(timeout=SECONDS)
    assert heir.returncode == 0
    assert_all_ended_once(folder, names)


def kill_at_random(folder: Path, seed: int, kills: int) -> None:
    """Three workers; again and again one is killed some steps after it began and replaced."""
    chance = random.Random(seed)
    names = enqueue(folder, 30)
    workers = [start_worker(folder) for _ in range(3)]
    for _ in range(kills):
        victim = chance.choice(workers)
        for _, _line in zip(range(chance.randint(1, 8)), step_lines(victim), strict=False):
            pass
        victim.kill()
        workers.remove(victim)
        workers.append(start_worker(folder))
    for worker in workers:
        said, _ = worker.communicate(timeout=SECONDS)
        assert worker.returncode == 0, said
    assert_all_ended_once(folder, names)


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_random_lose_and_repeat_nothing(folder: Path, seed: int) -> None:
    kill_at_random(folder, seed, kills=5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
def test_workers_killed_at_random_for_long_lose_and_repeat_nothing(folder: Path, seed: int) -> None:
    kill_at_random(folder, seed, kills=20)


@contextmanager
def shut(gate: Path) -> Iterator[Path]:
    """A gate at which steps stand still."""
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield gate


def test_a_worker_that_was_stopped_and_revived_commits_nothing(folder: Path) -> None:
    """SIGSTOP in the middle of a step, takeover by another, SIGCONT: the fenced worker's late result is refused."""
    names = enqueue(folder, 1)
    with shut(folder / "gate") as gate:
        stopped = start_worker(folder, gate=gate)
        assert next(step_lines(stopped)) == "step e0 First\n"
        stopped.send_signal(signal.SIGSTOP)
        heir = start_worker(folder)
        heir.communicate(timeout=SECONDS)
        assert heir.returncode == 0
    stopped.send_signal(signal.SIGCONT)
    stopped.communicate(timeout=SECONDS)
    assert stopped.returncode == 0
    assert_all_ended_once(folder, names)
    database, engine, _ = opened(folder)
    lost = [(event.state, event.error) for event in engine.history("e0") if event.error == "WorkerLost"]
    database.close()
    assert lost == [("First", "WorkerLost")]


def test_a_killed_worker_is_missed_at_once(folder: Path) -> None:
    """Its bell has no reader any more: nobody waits for the lease to run out."""
    enqueue(folder, 1)
    with shut(folder / "gate") as gate:
        victim = start_worker(folder, gate=gate)
        next(step_lines(victim))
        database, engine, _ = opened(folder)
        assert [worker.live for worker in engine.workers()] == [True]
        victim.kill()
        victim.wait(SECONDS)
        assert [worker.live for worker in engine.workers()] == [False]
        database.close()
