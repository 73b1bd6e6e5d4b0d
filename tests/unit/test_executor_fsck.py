"""fsck of the workflow room: clean after ordinary work, and awake for each planted damage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.findings import CheckRun, Finding, Severity, run_checks
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform.workflow.executor import LocalExecutor
from contentplatform.workflow.fsck import LedgerChecks
from contentplatform.workflow.ledger import Ledger
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import ExecutionStatus, TaskContext
from fakes.clock import FakeClock, SequentialIds

VIDEO = {"key": "clip.mp4", "route": "video"}


@dataclass
class Folder:
    database: Database
    engine: LocalWorkflowEngine
    executor: LocalExecutor
    clock: FakeClock
    checks: LedgerChecks

    def find(self, *, repair: bool = False) -> list[Finding]:
        return list(run_checks(self.checks.checks(), CheckRun(repair=repair)))

    def plant(self, *statements: str) -> None:
        """Damage the tables behind the engine's back."""
        for statement in statements:
            self.database.write(methodcaller("run", statement))


def answer(_data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
    return {}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """One execution has succeeded, one waits for its video, one waits for a worker."""
    clock, ids = FakeClock(), SequentialIds()
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    doorbell = Doorbell(tmp_path / "run")
    engine = LocalWorkflowEngine(database, STATE_MACHINE, clock, doorbell)
    tasks = {state.resource: answer for state in STATE_MACHINE.states.values() if isinstance(state, Task)}
    executor = LocalExecutor(database, STATE_MACHINE, tasks, clock, ids, doorbell)
    ledger = Ledger(STATE_MACHINE, clock, ids, losses_allowed=5)
    checks = LedgerChecks(database, ledger, STATE_MACHINE, clock, doorbell)
    engine.start("done", file_id="f1", version_id="v", data={"key": "a.bin"})
    engine.start("video", file_id="f2", version_id="v", data=VIDEO)
    executor.run_until_idle()
    engine.start("queued", file_id="f3", version_id="v", data={"key": "b.bin"})
    yield Folder(database, engine, executor, clock, checks)
    database.close()


def test_ordinary_work_leaves_nothing_to_find(folder: Folder) -> None:
    assert folder.engine.get("done").status is ExecutionStatus.SUCCEEDED
    assert folder.engine.get("video").state == "WaitForVideoProcessing"
    assert folder.find() == []


@pytest.mark.parametrize(
    ("damage", "subject", "said"),
    [
        (
            ("DROP INDEX executions_live", "UPDATE executions SET base_name = 'video' WHERE name = 'queued'"),
            "video",
            "2 executions of it are under way",
        ),
        (("UPDATE executions SET state = 'Gone' WHERE name = 'queued'",), "queued", "stands in Gone"),
        (("UPDATE executions SET deadline = NULL WHERE name = 'video'",), "video", "no deadline"),
        (("UPDATE executions SET token = 99 WHERE name = 'done'",), "done", "never given out"),
        (("UPDATE executions SET token = 1 WHERE token > 0",), "token 1", "2 executions were claimed"),
        (("DELETE FROM execution_history WHERE sequence = 2 AND execution = 1",), "done", "a gap"),
        (("UPDATE execution_history SET sequence = 90 WHERE sequence = 2 AND execution = 1",), "done", "a gap"),
    ],
    ids=["two live", "unknown state", "no deadline", "foreign token", "token twice", "row missing", "row displaced"],
)
def test_planted_damage_is_found(folder: Folder, damage: tuple[str, ...], subject: str, said: str) -> None:
    folder.plant(*damage)
    found = [finding for finding in folder.find() if finding.subject == subject]
    assert [finding.invariant for finding in found] == ["I8"]
    assert found[0].severity is Severity.DAMAGE
    assert said in found[0].message


def test_two_live_executions_of_one_version_are_refused_by_the_tables_themselves(folder: Folder) -> None:
    with pytest.raises(Exception, match="somebody else wrote the same thing first"):
        folder.plant("UPDATE executions SET base_name = 'video' WHERE name = 'queued'")


@pytest.mark.parametrize("row", [True, False], ids=["its lease ran out", "it has no row"])
def test_a_lost_worker_is_found_and_repaired_on_request_only(folder: Folder, *, row: bool) -> None:
    folder.plant("UPDATE executions SET status = 'running', worker = 'ghost' WHERE name = 'queued'")
    if row:
        folder.plant("INSERT INTO workers VALUES ('ghost', 1, 1, 1, '2030-01-01T00:00:00.000000Z', 0.0, 'boot-1')")
    for _ in range(2):
        (found,) = folder.find()
        assert (found.subject, found.severity, found.repaired) == ("ghost", Severity.LEAK, False)
        assert found.message == "is lost, and holds queued"
    (found,) = folder.find(repair=True)
    assert found.repaired
    assert folder.find() == []
    assert folder.engine.get("queued").status is ExecutionStatus.PENDING
    assert folder.engine.workers() == ()


def test_an_execution_long_past_its_deadline_is_a_warning(folder: Folder) -> None:
    folder.clock.advance(STATE_MACHINE.timeout_seconds + 3_700)
    (found,) = folder.find()
    assert (found.subject, found.severity) == ("video", Severity.WARNING)
    folder.executor.run_until_idle()
    assert folder.find() == []
    assert folder.engine.get("video").status is ExecutionStatus.FAILED
