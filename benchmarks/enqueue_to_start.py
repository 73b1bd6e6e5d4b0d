"""How long after an enqueue an idle worker begins the first step: in the same process, and in another one.

    python benchmarks/enqueue_to_start.py [--rounds 200]

The figure goes from before ``start`` (so it has the durable commit of the enqueue in it, and that of the claim) to the
first line of the step. The other process reads the same clock: seconds since boot.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.workflow.definition import ALL_ERRORS, Catcher, Fail, Retrier, StateMachine, Succeed, Task
from contentplatform.workflow.executor import LocalExecutor
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import TaskContext

BAR_MILLISECONDS = 10.0
PATIENCE_SECONDS = 30.0
BUILD = Path(__file__).resolve().parents[1] / "build"
MACHINE = StateMachine(
    "bench",
    "",
    "Only",
    3_600,
    {
        "Only": Task(
            "f",
            "Done",
            60,
            "$.f",
            (Retrier(("Unavailable",), 1, 1, 1.0, 1),),
            (Catcher((ALL_ERRORS,), "Failed", "$.error"),),
        ),
        "Done": Succeed(),
        "Failed": Fail("$.error.Error", "$.error.Cause"),
    },
    "",
)


class Home:
    """One process's view of the data folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid="0" * 32)
        self.doorbell = Doorbell(folder / "run")
        self.engine = LocalWorkflowEngine(self.database, MACHINE, self.clock, self.doorbell)

    def worker(self, begun: Callable[[float], None]) -> LocalExecutor:
        """A worker that tells when it began each step."""

        def step(_data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
            begun(self.clock.monotonic_seconds())
            return {}

        return LocalExecutor(self.database, MACHINE, {"f": step}, self.clock, RandomIds(), self.doorbell)

    def waits_milliseconds(self, rounds: int, begun: queue.SimpleQueue[float]) -> list[float]:
        """Enqueue one execution after the other, each when the worker is idle again."""
        waits = []
        for number in range(rounds):
            name = f"e{number}"
            asked = self.clock.monotonic_seconds()
            self.engine.start(name, file_id=name, version_id="v", data={"key": name})
            waits.append((begun.get(timeout=PATIENCE_SECONDS) - asked) * 1_000)
            self.engine.wait([name], PATIENCE_SECONDS)
        return waits


def in_process(folder: Path, rounds: int) -> list[float]:
    """Worker and enqueuer in one process."""
    home = Home(folder)
    begun: queue.SimpleQueue[float] = queue.SimpleQueue()
    worker = home.worker(begun.put)
    worker.start()
    waits = home.waits_milliseconds(rounds, begun)
    worker.stop()
    home.database.close()
    return waits


def across_processes(folder: Path, rounds: int) -> tuple[list[float], float]:
    """A worker in a process of its own. The waits, and how much of a core it takes while it idles."""
    home = Home(folder)
    begun: queue.SimpleQueue[float] = queue.SimpleQueue()
    arguments = [sys.executable, __file__, "--serve", str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout or ())
        next(lines)  # it is up
        threading.Thread(target=pass_on, args=(lines, begun), daemon=True).start()
        waits = home.waits_milliseconds(rounds, begun)
        idle = idle_share(process.pid)
        process.communicate()
    home.database.close()
    return waits, idle


def pass_on(lines: Iterator[str], begun: queue.SimpleQueue[float]) -> None:
    """What the worker process tells, to who waits for it here."""
    for line in lines:
        begun.put(float(line))


def idle_share(process_id: int, seconds: float = 5.0) -> float:
    """How much of one core a process takes while nothing happens; nan where that can't be told."""
    stat = Path(f"/proc/{process_id}/stat")
    if not stat.exists():
        return float("nan")

    def ticks() -> int:
        return sum(int(field) for field in stat.read_text().rpartition(")")[2].split()[11:13])

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / 100 / seconds


def serve(folder: Path) -> None:
    """The worker process: runs until its standard input ends."""
    home = Home(folder)
    worker = home.worker(lambda moment: print(moment, flush=True))
    worker.start()
    print("up", flush=True)
    sys.stdin.read()
    worker.stop()
    home.database.close()


def report(name: str, waits: list[float]) -> None:
    """One line for people, one for the table."""
    middle, late = statistics.median(waits), statistics.quantiles(waits, n=100)[98]
    print(f"{name}: p50 {middle:.1f} ms, p99 {late:.1f} ms (bar p50 {BAR_MILLISECONDS:.0f} ms)")
    figure = {"name": name.replace(" ", "_").replace(",", ""), "p50_ms": round(middle, 2), "p99_ms": round(late, 2)}
    print(json.dumps({**figure, "bar": BAR_MILLISECONDS, "met": middle <= BAR_MILLISECONDS}))


def main() -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--serve", type=Path)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return 0
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        report("enqueue to start, same process", in_process(Path(name), arguments.rounds))
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        waits, idle = across_processes(Path(name), arguments.rounds)
        report("enqueue to start, other process", waits)
        print(f"an idle worker takes {idle:.1%} of a core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
