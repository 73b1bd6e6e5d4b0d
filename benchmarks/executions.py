"""How many durable executions of five states a second: ours with four workers, and DBOS on SQLite like for like.

    python benchmarks/executions.py [--count 3000] [--rival-count 200]

Both commit each step with ``synchronous=FULL`` into a WAL database of the same disk; the figure is taken from the first
enqueue to the last end. DBOS runs in an environment of its own, made here on the first run; of its ways of running the
quicker one counts. Rounds of ours and of the rival take turns, so that a busy machine slows both; the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.workflow.definition import ALL_ERRORS, Catcher, Fail, Retrier, State, StateMachine, Succeed, Task
from contentplatform.workflow.executor import ExecutorSettings, LocalExecutor
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import ExecutionStatus, TaskContext

BAR_PER_SECOND = 400.0
BAR_RATIO = 5.0
WORKERS = 4
STATES = 5
ROUNDS = 3
BUILD = Path(__file__).resolve().parents[1] / "build"
RIVAL = Path(__file__).with_name("rivals") / "dbos_executions.py"
RIVAL_PACKAGE = "dbos==3.4.0"
RIVAL_TIMEOUT_SECONDS = 300


def five_states() -> StateMachine:
    """Five Tasks in a row, with the retry and catch rules that ours always have."""
    retry = (Retrier(("Unavailable",), 1, 3, 2.0, 10),)
    catch = (Catcher((ALL_ERRORS,), "Failed", "$.error"),)
    following = [*(f"S{number}" for number in range(1, STATES)), "Done"]
    states: dict[str, State] = {
        f"S{number}": Task(f"f{number}", following[number], 60, f"$.s{number}", retry, catch)
        for number in range(STATES)
    }
    ends: dict[str, State] = {"Done": Succeed(), "Failed": Fail("$.error.Error", "$.error.Cause")}
    return StateMachine("bench", "", "S0", 3_600, {**states, **ends}, "")


def step(_data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
    """Nothing: what is measured is the engine."""
    return {"n": 1}


def ours(folder: Path, count: int) -> float:
    """Executions a second, from the first enqueue to the last end."""
    clock, ids, machine = SystemClock(), RandomIds(), five_states()
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    doorbell = Doorbell(folder / "run")
    engine = LocalWorkflowEngine(database, machine, clock, doorbell)
    tasks = {f"f{number}": step for number in range(STATES)}
    settings = ExecutorSettings(slots=WORKERS, folder_slots=WORKERS)
    executor = LocalExecutor(database, machine, tasks, clock, ids, doorbell, settings)
    names = [f"e{number}" for number in range(count)]
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda name: start(engine, name), names))
    executor.drain(names)
    seconds = time.perf_counter() - began
    succeeded = engine.list(status=ExecutionStatus.SUCCEEDED, limit=count).executions
    database.close()
    if len(succeeded) != count:
        raise SystemExit(f"only {len(succeeded)} of {count} executions succeeded")
    return count / seconds


def start(engine: LocalWorkflowEngine, name: str) -> None:
    """Enqueue one execution, durably."""
    data = {"bucket": "primary", "key": f"{name}.jpg", "version_id": "v"}
    engine.start(name, file_id=name, version_id="v", data=data)


def rival_python() -> Path | None:
    """The interpreter of DBOS's own environment; None, with a word why, where it can't be had."""
    home = BUILD / "dbos-venv"
    python = home / "bin" / "python"
    probe = [str(python), "-c", "import dbos"]
    if python.exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return python
    venv.create(home, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", RIVAL_PACKAGE]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"DBOS can't be installed here, so there is no ratio: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return python


def rival(python: Path, folder: Path, count: int) -> float:
    """DBOS's executions a second, by the quicker of its ways."""
    arguments = [str(python), str(RIVAL), str(folder / "dbos.sqlite"), str(count), str(WORKERS)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=RIVAL_TIMEOUT_SECONDS)
    ways = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    print("  DBOS: " + ", ".join(f"by {way['way']} {way['per_second']:.0f}/s" for way in ways))
    return max(float(way["per_second"]) for way in ways)


def main() -> int:
    """Measure in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--rival-count", type=int, default=200)
    arguments = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    python = rival_python()
    own: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=BUILD) as name:
            own.append(ours(Path(name), arguments.count))
            print(f"  ours: {own[-1]:.0f}/s")
            if python is not None:
                theirs.append(rival(python, Path(name), arguments.rival_count))
    per_second = statistics.median(own)
    print(f"durable 5-state executions, {WORKERS} workers: {per_second:.0f}/s (bar {BAR_PER_SECOND:.0f}/s)")
    figure = {"name": "executions_per_second", "value": round(per_second, 1), "bar": BAR_PER_SECOND}
    print(json.dumps({**figure, "met": per_second >= BAR_PER_SECOND}))
    if theirs:
        ratio = per_second / statistics.median(theirs)
        print(f"against DBOS on SQLite, like for like: {ratio:.1f}x (bar {BAR_RATIO:.0f}x)")
        figure = {"name": "executions_against_dbos", "value": round(ratio, 2), "bar": BAR_RATIO}
        print(
            json.dumps({**figure, "rival_per_second": round(statistics.median(theirs), 1), "met": ratio >= BAR_RATIO})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
