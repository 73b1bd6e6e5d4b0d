"""Five durable steps with DBOS on SQLite, as quick as it goes: run by executions.py in an environment of its own.

    python dbos_executions.py DATABASE COUNT WORKERS

Prints a JSON line a way of running: by its queue, polled every 10 ms, and by direct calls from as many threads. The
database is in WAL mode with ``synchronous=FULL``, as ours is.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dbos import DBOS  # type: ignore[import-not-found, unused-ignore]  # only in the rival's own environment

STEPS = 5


@DBOS.step()  # type: ignore[untyped-decorator, unused-ignore]  # its types are there only where it is installed
def step(number: int) -> dict[str, int]:
    """What our own steps do: nothing."""
    return {"n": number}


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]  # its types are there only where it is installed
def five(key: str) -> dict[str, Any]:
    """Five steps, each remembered."""
    return {"key": key, **{f"s{number}": step(number) for number in range(STEPS)}}


def by_queue(count: int) -> None:
    """Enqueue all, wait for all."""
    handles = [DBOS.enqueue_workflow("bench", five, f"{number}.jpg") for number in range(count)]
    for handle in handles:
        handle.get_result()


def by_calls(count: int, workers: int) -> None:
    """No queue: so many threads call the workflow themselves."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(five, [f"{number}.jpg" for number in range(count)]))


def timed(way: str, count: int, run: Callable[[], None]) -> None:
    """Run it and print how many a second that were."""
    began = time.perf_counter()
    run()
    print(json.dumps({"way": way, "per_second": count / (time.perf_counter() - began)}), flush=True)


def main(path: Path, count: int, workers: int) -> None:
    """Prepare the database, run both ways."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        full = connection.execute("PRAGMA synchronous").fetchone()[0]
    if full != 2:
        raise SystemExit(f"this SQLite does not default to synchronous=FULL but to {full}")
    DBOS(config={"name": "contentplatform-bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue("bench", worker_concurrency=workers, polling_interval_sec=0.01)
    by_queue(workers)  # the first ones pay for the start
    timed("queue", count, lambda: by_queue(count))
    timed("calls", count, lambda: by_calls(count, workers))
    DBOS.destroy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
