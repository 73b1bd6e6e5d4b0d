"""A worker process for the crash tests: runs until everything has ended, then leaves with 0.

It prints ``step EXECUTION STATE`` at the beginning of each step. An argument behind the folder is a gate: a file whose
lock each step waits for. With a gate the worker has no watch that could keep it from committing late: only the token
can.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database, Schema
from contentplatform.errors import Unavailable
from contentplatform.workflow.definition import (
    ALL_ERRORS,
    Catcher,
    Choice,
    Fail,
    IsPresent,
    Retrier,
    Rule,
    StateMachine,
    Succeed,
    Task,
    Wait,
)
from contentplatform.workflow.executor import ExecutorSettings, LocalExecutor
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import ExecutionStatus, TaskContext

EFFECTS: Final = Schema(
    "effects", ("CREATE TABLE effects (execution TEXT NOT NULL, state TEXT NOT NULL, token INTEGER NOT NULL) STRICT",)
)
_RETRY: Final = (Retrier(("Unavailable",), 1, 5, 1.0, 1),)
_CATCH: Final = (Catcher((ALL_ERRORS,), "Failed", "$.error"),)
MACHINE: Final = StateMachine(
    "crash test",
    "",
    "Which",
    600,
    {
        "Which": Choice((Rule(IsPresent("$.key"), "First"),), "Failed"),
        "First": Task("first", "Second", 60, "$.first", _RETRY, _CATCH),
        "Second": Task("second", "Pause", 60, "$.second", _RETRY, _CATCH),
        "Pause": Wait(1, "Third"),
        "Third": Task("third", "Done", 60, "$.third", _RETRY, _CATCH),
        "Done": Succeed(),
        "Failed": Fail("$.error.Error", "$.error.Cause"),
    },
    "",
)
SETTINGS: Final = ExecutorSettings(
    slots=2, folder_slots=3, lease_seconds=1.0, heartbeat_seconds=0.25, poll_seconds=0.1, losses_allowed=1_000
)


def opened(folder: Path) -> tuple[Database, LocalWorkflowEngine, Doorbell]:
    """The data folder as every process of the test sees it."""
    database = Database(folder / "catalog.sqlite", [SCHEMA, EFFECTS], new_uuid="0" * 32)
    doorbell = Doorbell(folder / "run")
    return database, LocalWorkflowEngine(database, MACHINE, SystemClock(), doorbell), doorbell


def main(folder: Path, gate: Path | None) -> None:
    """Work until nothing is left."""
    database, engine, doorbell = opened(folder)

    def step(data: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
        def effect() -> None:
            row = (context.execution, context.state, context.token)
            database.write(lambda unit: unit.run("INSERT INTO effects VALUES (?, ?, ?)", row))

        context.at_commit(effect)
        print("step", context.execution, context.state, flush=True)  # noqa: T201 - the parent listens
        if gate is not None:
            with gate.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)
        if context.state == "Second" and context.attempt == 1:
            raise Unavailable("working", "the first attempt always fails")
        return {"key": data["key"]}

    tasks = {"first": step, "second": step, "third": step}
    executor = LocalExecutor(database, MACHINE, tasks, SystemClock(), RandomIds(), doorbell, SETTINGS)
    if gate is None:
        begun = (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)
        executor.drain([execution.name for status in begun for execution in engine.list(status=status).executions])
    else:
        executor.run_until_idle()
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
