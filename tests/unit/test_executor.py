"""The local executor under a clock that the test controls: time, failure, leases, and who may commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ConfigurationInvalid, JobInterrupted, NoSpace, Unavailable
from contentplatform.workflow.definition import (
    ALL_ERRORS,
    TIMEOUT,
    Catcher,
    Choice,
    Fail,
    Retrier,
    Rule,
    StateMachine,
    Succeed,
    Task,
    Wait,
    problems,
    text_is,
)
from contentplatform.workflow.executor import ExecutorSettings, LocalExecutor
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import DATA_LIMIT_BYTES, ExecutionStatus, Lane, TaskContext
from fakes.clock import FakeClock, SequentialIds

RETRY = (Retrier(("Unavailable",), 4, 3, 2.0, 10), Retrier(("E_INTERNAL",), 1, 1, 1.0, 5))
CATCH = (Catcher((ALL_ERRORS,), "Record", "$.error"),)
WORK = Task("work", "Pause", 60, "$.work", RETRY, CATCH)
MACHINE = StateMachine(
    "test",
    "",
    "Work",
    1_000,
    {
        "Work": WORK,
        "Pause": Wait(30, "Finish"),
        "Finish": Task("finish", "Done", 60, "$.finish", (Retrier((TIMEOUT,), 2, 1, 1.0, 5),), CATCH),
        "Done": Succeed(),
        "Record": Task("record", "Failed", 60, "$.record", RETRY, (Catcher((ALL_ERRORS,), "Failed", "$.record"),)),
        "Failed": Fail("$.error.Error", "$.error.Cause"),
    },
    "Record",
)
SETTINGS = ExecutorSettings(slots=1, folder_slots=4, lease_seconds=15, heartbeat_seconds=3, poll_seconds=3600)
SECONDS = 300.0
"""Longest that a test waits for another thread; passed only when something is broken."""

Step = Callable[[Mapping[str, Any], TaskContext], Any]


@dataclass
class Bench:
    """One data folder, a clock, and any number of workers on it."""

    database: Database
    doorbell: Doorbell
    clock: FakeClock = field(default_factory=FakeClock)
    ids: SequentialIds = field(default_factory=SequentialIds)
    steps: dict[str, Step] = field(default_factory=dict)
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    """Execution, task and attempt of every call."""
    machine: StateMachine = MACHINE

    @property
    def engine(self) -> LocalWorkflowEngine:
        return LocalWorkflowEngine(self.database, self.machine, self.clock, self.doorbell)

    def worker(self, settings: ExecutorSettings = SETTINGS, **steps: Step) -> LocalExecutor:
        """A worker of its own, as another process would be; ``steps`` are only his."""
        tasks = {
            state.resource: self._task(state.resource, steps)
            for state in self.machine.states.values()
            if isinstance(state, Task)
        }
        return LocalExecutor(self.database, self.machine, tasks, self.clock, self.ids, self.doorbell, settings)

    def _task(self, resource: str, own: Mapping[str, Step]) -> Step:
        def call(data: Mapping[str, Any], context: TaskContext) -> Any:
            self.calls.append((context.execution, resource, context.attempt))
            step = own.get(resource) or self.steps.get(resource)
            return {"by": resource} if step is None else step(data, context)

        return call

    def start(self, name: str = "one", lane: Lane = Lane.UPLOAD) -> None:
        self.engine.start(name, file_id="f", version_id="v", data={"key": f"{name}.jpg"}, lane=lane)

    def status(self, name: str = "one") -> ExecutionStatus:
        return self.engine.get(name).status

    def token(self, name: str = "one") -> int:
        with self.database.read() as view:
            return int(view.value("SELECT token FROM executions WHERE name = ?", (name,)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid="0" * 32)
    yield Bench(database, Doorbell(tmp_path / "run"))
    database.close()


def with_work(work: Task) -> StateMachine:
    """The machine with another first state."""
    return replace(MACHINE, states={**MACHINE.states, "Work": work})


def fails(error: Exception, times: int) -> Step:
    """Raises so many times, then works."""
    left = [times]

    def step(_data: Mapping[str, Any], _context: TaskContext) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return {}

    return step


class Blocked:
    """A step that tells when it began and goes on only when the test lets it."""

    def __init__(self, *, effect: Callable[[], None] | None = None) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.context: TaskContext | None = None
        self._effect = effect

    def __call__(self, _data: Mapping[str, Any], context: TaskContext) -> Any:
        self.context = context
        if self._effect is not None:
            context.at_commit(self._effect)
        self.began.set()
        assert self.go_on.wait(SECONDS)
        self.ended.set()
        return {"late": True}

    @property
    def cancelled(self) -> bool:
        assert self.context is not None
        return self.context.cancelled.is_set()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_machine_of_these_tests_is_sound() -> None:
    assert problems(replace(MACHINE, last_resort="")) == []


# -- retries and waits -------------------------------------------------------------------------------------------


def test_a_retry_waits_with_full_jitter(bench: Bench) -> None:
    """The ids of the tests always draw the middle: half of 4, 8 and then the ceiling of 10 seconds."""
    bench.start()
    worker = bench.worker(work=fails(Unavailable("reading", "busy"), 3))
    worker.run_until_idle()
    for half in (2.0, 4.0, 5.0):
        tried = len(bench.calls)
        reason = bench.engine.get("one").pending_reason
        assert reason == f"tries Work again in {half:.0f} s, because: reading: busy"
        bench.clock.advance(half - 0.1)
        worker.run_until_idle()
        assert len(bench.calls) == tried
        bench.clock.advance(0.2)
        worker.run_until_idle()
        assert len(bench.calls) == tried + 1
    assert bench.engine.get("one").state == "Pause"
    assert [attempt for _, task, attempt in bench.calls if task == "work"] == [1, 2, 3, 4]


def test_retries_come_to_an_end_and_the_failure_is_recorded(bench: Bench) -> None:
    bench.start()
    worker = bench.worker(work=fails(NoSpace("writing", "the disk is full"), 99))
    for _ in range(10):
        worker.run_until_idle()
        bench.clock.advance(10)
    execution = bench.engine.get("one")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, "NoSpace")
    assert execution.cause == "writing: the disk is full"
    assert [task for _, task, _ in bench.calls] == ["work"] * 4 + ["record"]


def test_an_unexpected_error_is_logged_with_its_traceback_and_told_without(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    worker = bench.worker(work=fails(RuntimeError("password=hunter2"), 99))
    with caplog.at_level(logging.ERROR, "contentplatform"):
        for _ in range(3):
            worker.run_until_idle()
            bench.clock.advance(10)
    execution = bench.engine.get("one")
    assert execution.error == "E_INTERNAL"
    assert "hunter2" not in repr(execution) + repr(bench.engine.history("one"))
    logged = [record for record in caplog.records if record.message == "step failed unexpectedly"]
    assert len(logged) == 2
    assert "hunter2" in str(logged[0].__dict__)


def test_a_result_that_is_not_json_fails_like_any_fault(bench: Bench) -> None:
    bench.start()
    worker = bench.worker(work=lambda _data, _context: {"not json": object()})
    for _ in range(3):
        worker.run_until_idle()
        bench.clock.advance(10)
    assert bench.engine.get("one").error == "E_INTERNAL"


def test_data_that_grows_too_large_fails_as_it_would_on_aws(bench: Bench) -> None:
    bench.start()
    bench.worker(work=lambda _data, _context: {"x": "x" * DATA_LIMIT_BYTES}).run_until_idle()
    assert bench.engine.get("one").error == "States.DataLimitExceeded"
    assert [task for _, task, _ in bench.calls] == ["work", "record"]


def test_a_wait_lasts_and_can_be_ended_early(bench: Bench) -> None:
    for name in ("patient", "woken"):
        bench.start(name)
    worker = bench.worker()
    worker.run_until_idle()
    bench.clock.advance(29)
    worker.run_until_idle()
    assert {bench.status("patient"), bench.status("woken")} == {ExecutionStatus.PENDING}
    assert bench.engine.get("patient").pending_reason == "waits in Pause, 1 s more"
    bench.engine.wake("woken")
    worker.run_until_idle()
    assert (bench.status("patient"), bench.status("woken")) == (ExecutionStatus.PENDING, ExecutionStatus.SUCCEEDED)
    bench.clock.advance(2)
    worker.run_until_idle()
    assert bench.status("patient") is ExecutionStatus.SUCCEEDED


def test_what_a_wait_is_for_may_happen_before_the_wait_begins(bench: Bench) -> None:
    """The encoder may be done before the state that started it has committed: that ring is not lost."""
    bench.start()

    def quick(_data: Mapping[str, Any], context: TaskContext) -> Any:
        bench.engine.wake(context.execution)
        return {}

    bench.worker(work=quick).run_until_idle()
    assert bench.status() is ExecutionStatus.SUCCEEDED


def test_waking_what_ended_or_never_was_does_nothing(bench: Bench) -> None:
    bench.engine.wake("nobody")
    bench.start()
    bench.engine.cancel("one", "no")
    bench.engine.wake("one")
    assert bench.status() is ExecutionStatus.CANCELLED


# -- time-outs ---------------------------------------------------------------------------------------------------


def test_a_step_over_its_time_is_abandoned_and_its_late_result_refused(bench: Bench) -> None:
    effects: list[str] = []
    recorded = threading.Event()
    slow = Blocked(effect=lambda: effects.append("late"))
    bench.start()
    worker = bench.worker(work=slow, record=lambda _data, _context: recorded.set())
    worker.start()
    assert slow.began.wait(SECONDS)
    bench.clock.advance(59)
    worker.tick()
    assert not slow.cancelled
    bench.clock.advance(2)
    worker.tick()
    assert slow.context is not None
    assert slow.context.cancelled.is_set()
    assert recorded.wait(SECONDS)
    slow.go_on.set()
    assert slow.ended.wait(SECONDS)
    worker.stop()
    execution = bench.engine.get("one")
    assert (execution.error, execution.cause) == (TIMEOUT, "Work took longer than its 60 s")
    assert "work" not in (execution.output or {})
    assert effects == []


def test_a_time_out_is_retried_where_the_state_says_so(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    bench.worker().run_until_idle()
    bench.clock.advance(31)
    worker = bench.worker(finish=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    bench.clock.advance(61)
    worker.tick()
    worker.stop(finish=False)
    slow.go_on.set()
    events = [event.event for event in bench.engine.history("one") if event.state == "Finish"]
    assert events == ["entered", "attempt_failed", "retry_scheduled"]
    bench.clock.advance(2)
    bench.worker().run_until_idle()
    assert bench.status() is ExecutionStatus.SUCCEEDED


def test_an_execution_that_takes_too_long_as_a_whole_is_recorded_as_failed(bench: Bench) -> None:
    bench.start()
    worker = bench.worker()
    worker.run_until_idle()
    bench.clock.advance(1_001)
    worker.run_until_idle()
    execution = bench.engine.get("one")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, TIMEOUT)
    assert execution.cause == "it was not done within 1000 s"
    assert [task for _, task, _ in bench.calls] == ["work", "record"]


def test_recording_that_the_time_is_over_has_time_of_its_own(bench: Bench) -> None:
    """The watch must not abandon that very step because the execution is late."""
    recording = Blocked()
    bench.start()
    bench.worker().run_until_idle()
    bench.clock.advance(1_001)
    worker = bench.worker(record=recording)
    worker.start()
    assert recording.began.wait(SECONDS)
    worker.tick()
    assert not recording.cancelled
    recording.go_on.set()
    worker.stop()
    assert bench.engine.get("one").error == TIMEOUT


def test_a_step_has_no_more_time_than_its_execution(bench: Bench) -> None:
    bench.machine = replace(with_work(replace(WORK, timeout_seconds=600)), timeout_seconds=100)
    slow = Blocked()
    bench.start()
    worker = bench.worker(work=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    bench.clock.advance(101)
    worker.tick()
    assert slow.cancelled
    slow.go_on.set()
    worker.stop()
    bench.worker().run_until_idle()
    assert bench.engine.get("one").cause == "it was not done within 100 s"


def test_time_in_the_queue_does_not_count(bench: Bench) -> None:
    bench.start()
    bench.clock.advance(5_000)
    worker = bench.worker()
    worker.run_until_idle()
    bench.clock.advance(31)
    worker.run_until_idle()
    assert bench.status() is ExecutionStatus.SUCCEEDED


def test_an_upgrade_that_drops_a_state_holds_nobody_up(bench: Bench) -> None:
    """What stands in a state that is gone is recorded as failed, in words; what comes behind it runs."""
    bench.start()
    bench.worker().run_until_idle()
    bench.clock.advance(31)
    with_others = {name: state for name, state in MACHINE.states.items() if name != "Pause"}
    bench.machine = replace(MACHINE, states={**with_others, "Work": replace(WORK, next="Finish")})
    bench.start("newer")
    assert bench.engine.get("one").pending_reason
    bench.worker().run_until_idle()
    assert bench.status("newer") is ExecutionStatus.SUCCEEDED
    execution = bench.engine.get("one")
    assert execution.status is ExecutionStatus.FAILED
    assert execution.cause == "this version of the platform has no state Pause any more; retry it"


def test_an_upgrade_may_change_the_retries_of_a_state_under_way(bench: Bench) -> None:
    bench.start()
    bench.worker(work=fails(Unavailable("reading", "busy"), 1)).run_until_idle()
    bench.clock.advance(31)
    bench.machine = with_work(replace(WORK, retry=(*RETRY, Retrier(("NoSpace",), 1, 1, 1.0, 1))))
    bench.worker(work=fails(NoSpace("writing", "full"), 1)).run_until_idle()
    assert "full" in (bench.engine.get("one").pending_reason or "")


# -- leases and fencing ------------------------------------------------------------------------------------------


def test_a_hung_worker_is_fenced_and_its_revival_commits_nothing(bench: Bench) -> None:
    """The lease runs out, another takes over under a higher token, then the first comes back to life."""
    effects: list[str] = []
    hung = Blocked(effect=lambda: effects.append("hung"))
    bench.start()
    first = bench.worker(work=hung)
    thread = in_thread(first.run_until_idle)
    assert hung.began.wait(SECONDS)
    token = bench.token()
    bench.clock.advance(14)
    bench.worker().run_until_idle()
    assert bench.token() == token
    bench.clock.advance(2)
    second = bench.worker(work=lambda _data, context: context.at_commit(lambda: effects.append("second")))
    second.run_until_idle()
    assert bench.token() > token
    hung.go_on.set()
    thread.join(SECONDS)
    assert effects == ["second"]
    lost = [event for event in bench.engine.history("one") if event.error == "WorkerLost"]
    assert [event.attempt for event in lost] == [1]
    bench.clock.advance(31)
    second.run_until_idle()
    assert bench.status() is ExecutionStatus.SUCCEEDED
    assert (bench.engine.get("one").output or {}).get("work") is None


def test_heartbeats_keep_a_slow_worker_its_lease(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    first = bench.worker(work=slow)
    first.start()
    assert slow.began.wait(SECONDS)
    for _ in range(10):
        bench.clock.advance(5)
        first.tick()
        bench.worker().run_until_idle()
    slow.go_on.set()
    assert slow.ended.wait(SECONDS)
    first.stop()
    assert [call for call in bench.calls if call[1] == "work"] == [("one", "work", 1)]
    assert bench.engine.get("one").state == "Pause"


def test_a_worker_that_was_taken_for_dead_signs_on_again(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    first = bench.worker(work=slow)
    first.start()
    assert slow.began.wait(SECONDS)
    name = first.name
    bench.clock.advance(20)
    bench.worker().tick()
    first.tick()
    assert first.name not in {"", name}
    assert slow.cancelled
    slow.go_on.set()
    assert [worker.name for worker in bench.engine.workers()] == [first.name]
    bench.start("two")
    assert slow.ended.wait(SECONDS)
    first.stop()


def test_a_worker_whose_bell_was_removed_hangs_up_another(bench: Bench, tmp_path: Path) -> None:
    """Somebody tidied the folder: the others take it for dead, it signs on again, and work goes on."""
    worker = bench.worker()
    worker._sign_on()
    (tmp_path / "run" / f"{worker.name}.bell").unlink()
    bench.worker().tick()
    bench.clock.advance(4)
    worker.tick()
    assert [(told.name, told.live) for told in bench.engine.workers()] == [(worker.name, True)]
    bench.start()
    worker.run_until_idle()
    assert bench.engine.get("one").state == "Pause"
    worker._sign_off()
    assert list((tmp_path / "run").iterdir()) == []


def test_no_jump_of_the_wall_clock_moves_a_lease_or_a_wait(bench: Bench) -> None:
    slow = Blocked()
    bench.start("waiting")
    bench.worker().run_until_idle()
    bench.start("held")
    first = bench.worker(work=slow)
    thread = in_thread(first.run_until_idle)
    assert slow.began.wait(SECONDS)
    for jump in (timedelta(days=-1), timedelta(days=400)):
        bench.clock.jump(jump)
        assert bench.worker().run_until_idle() == 0
    slow.go_on.set()
    thread.join(SECONDS)
    assert [call for call in bench.calls if call[1] == "work"] == [("waiting", "work", 1), ("held", "work", 1)]


def test_after_a_reboot_leases_are_over_and_waits_too(bench: Bench) -> None:
    """What was counted since another boot can't be compared with now."""
    hung = Blocked()
    bench.start("waiting")
    bench.worker().run_until_idle()
    bench.start("held")
    thread = in_thread(bench.worker(work=hung).run_until_idle)
    assert hung.began.wait(SECONDS)
    bench.clock.reboot()
    worker = bench.worker()
    worker.run_until_idle()
    assert bench.status("waiting") is ExecutionStatus.SUCCEEDED
    bench.clock.advance(31)
    worker.run_until_idle()
    assert bench.status("held") is ExecutionStatus.SUCCEEDED
    hung.go_on.set()
    thread.join(SECONDS)


def test_what_kills_worker_after_worker_is_failed(bench: Bench) -> None:
    """Poison: five workers lost in one state are not a coincidence."""
    bench.start()
    hung = [Blocked() for _ in range(5)]
    threads = []
    for step in hung:
        threads.append(in_thread(bench.worker(work=step).run_until_idle))
        assert step.began.wait(SECONDS)
        assert bench.status() is ExecutionStatus.RUNNING
        bench.clock.advance(16)
    bench.worker().run_until_idle()
    execution = bench.engine.get("one")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, "E_CRASH")
    assert execution.cause == "5 workers in a row were killed or hung while they worked on it"
    assert [attempt for _, task, attempt in bench.calls if task == "work"] == [1, 2, 3, 4, 5]
    for step in hung:
        step.go_on.set()
    for thread in threads:
        thread.join(SECONDS)
    assert bench.status() is ExecutionStatus.FAILED


def test_a_worker_takes_over_what_was_left_behind_when_it_starts(bench: Bench) -> None:
    """Before the first poll is due: whoever starts after a crash need not wait for it."""
    hung = Blocked()
    bench.start()
    thread = in_thread(bench.worker(work=hung).run_until_idle)
    assert hung.began.wait(SECONDS)
    bench.clock.advance(16)
    heir = bench.worker()
    heir.start()
    heir.stop()
    assert bench.engine.workers() == ()
    assert [event.error for event in bench.engine.history("one") if event.error] == ["WorkerLost"]
    hung.go_on.set()
    thread.join(SECONDS)


def test_losses_are_counted_a_state(bench: Bench) -> None:
    """A state that was got through clears the suspicion."""
    bench.start()
    hung = Blocked()
    thread = in_thread(bench.worker(work=hung).run_until_idle)
    assert hung.began.wait(SECONDS)
    bench.clock.advance(16)
    bench.worker().run_until_idle()
    with bench.database.read() as view:
        assert view.value("SELECT losses FROM executions") == 0
    hung.go_on.set()
    thread.join(SECONDS)


# -- cancelling and stopping -------------------------------------------------------------------------------------


def test_cancelling_tells_the_step_at_work(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    worker = bench.worker(work=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    bench.engine.cancel("one", "not wanted")
    assert slow.context is not None
    assert slow.context.cancelled.wait(SECONDS)
    bench.start("two")
    assert bench.engine.get("two").status is not ExecutionStatus.CANCELLED
    slow.go_on.set()
    assert slow.ended.wait(SECONDS)
    worker.stop()
    assert bench.status() is ExecutionStatus.CANCELLED


def test_stopping_lets_the_step_at_work_finish_and_hands_the_rest_back(bench: Bench) -> None:
    bench.machine = with_work(replace(WORK, next="Finish"))
    slow = Blocked()
    bench.start()
    worker = bench.worker(work=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    stopping = in_thread(worker.stop)
    slow.go_on.set()
    stopping.join(SECONDS)
    execution = bench.engine.get("one")
    assert (execution.status, execution.state) == (ExecutionStatus.PENDING, "Finish")
    assert bench.engine.workers() == ()
    bench.worker().run_until_idle()
    assert bench.status() is ExecutionStatus.SUCCEEDED
    assert len(bench.calls) == 2


def test_stopping_at_once_hands_back_without_a_loss(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    worker = bench.worker(work=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    worker.stop(finish=False)
    worker.stop()
    assert slow.cancelled
    assert bench.status() is ExecutionStatus.PENDING
    bench.worker().run_until_idle()
    assert bench.engine.get("one").state == "Pause"
    slow.go_on.set()
    assert slow.ended.wait(SECONDS)
    assert [event.event for event in bench.engine.history("one")][:2] == ["entered", "succeeded"]


def test_a_step_that_is_interrupted_by_the_keyboard_hands_back(bench: Bench) -> None:
    def interrupted(_data: Mapping[str, Any], _context: TaskContext) -> Any:
        raise KeyboardInterrupt

    bench.start()
    with pytest.raises(KeyboardInterrupt):
        bench.worker(work=interrupted).run_until_idle()
    assert bench.status() is ExecutionStatus.PENDING
    assert bench.engine.workers() == ()


def test_draining_works_until_the_named_have_ended(bench: Bench) -> None:
    bench.machine = with_work(replace(WORK, next="Finish"))
    for number in range(20):
        bench.start(f"e{number}")
    bench.worker(replace(SETTINGS, slots=3)).drain([f"e{number}" for number in range(20)])
    assert {execution.status for execution in bench.engine.list().executions} == {ExecutionStatus.SUCCEEDED}
    assert sorted(bench.calls) == sorted((f"e{n}", task, 1) for n in range(20) for task in ("work", "finish"))
    assert bench.engine.workers() == ()


def test_a_machine_without_its_functions_does_not_start(bench: Bench) -> None:
    with pytest.raises(ConfigurationInvalid, match="finish, record"):
        LocalExecutor(
            bench.database, MACHINE, {"work": lambda _d, _c: {}}, bench.clock, bench.ids, bench.doorbell, SETTINGS
        )


# -- lanes and places --------------------------------------------------------------------------------------------


def test_an_upload_goes_before_the_rest_of_a_repeat(bench: Bench) -> None:
    bench.machine = with_work(replace(WORK, next="Finish"))
    bench.start("repeat", Lane.BACKFILL)

    def upload_meanwhile(_data: Mapping[str, Any], context: TaskContext) -> Any:
        if context.execution == "repeat":
            bench.start("upload")
        return {}

    bench.worker(work=upload_meanwhile).run_until_idle()
    assert [call[:2] for call in bench.calls] == [
        ("repeat", "work"),
        ("upload", "work"),
        ("upload", "finish"),
        ("repeat", "finish"),
    ]


def test_places_are_counted_in_the_data_folder_not_in_the_process(bench: Bench) -> None:
    """Two workers with four threads each on a folder with three places: three run, the others know why they wait."""
    at_work = [Blocked() for _ in range(3)]
    free = iter(at_work)
    lock = threading.Lock()
    peak = [0, 0]

    def step(data: Mapping[str, Any], context: TaskContext) -> Any:
        with lock:
            peak[0] += 1
            peak[1] = max(peak)
            mine = next(free, None)
        if mine is not None:
            mine(data, context)
        with lock:
            peak[0] -= 1
        return {}

    settings = replace(SETTINGS, slots=4, folder_slots=3)
    workers = [bench.worker(settings, work=step) for _ in range(2)]
    names = [f"e{number}" for number in range(8)]
    for name in names:
        bench.start(name)
    for worker in workers:
        worker.start()
    for blocked in at_work:
        assert blocked.began.wait(SECONDS)
    waiting = bench.engine.list(status=ExecutionStatus.PENDING).executions
    assert len(waiting) == 5
    reason = waiting[0].pending_reason or ""
    assert reason.startswith("all 3 slots of this data folder are busy with e")
    assert reason.endswith("; 4 uploads are ahead")
    for blocked in at_work:
        blocked.go_on.set()
    for worker in workers:
        worker.stop()
    bench.worker(settings).run_until_idle()
    assert {bench.engine.get(name).state for name in names} == {"Pause"}
    assert peak == [0, 3]


# -- heavy work ------------------------------------------------------------------------------------------------------


HEAVY = StateMachine(
    "test",
    "",
    "Which",
    1_000,
    {
        "Which": Choice(
            (Rule(text_is("$.route", "long"), "Long"), Rule(text_is("$.route", "later"), "Pause")), "Quick"
        ),
        "Pause": Wait(30, "Ask"),
        "Ask": Task("ask", "Long", 60, "$.ask", RETRY, CATCH),
        "Long": Task("long", "Quick", 60, "$.long", RETRY, CATCH, heavy=True),
        "Quick": Task("quick", "Done", 60, "$.quick", RETRY, CATCH),
        "Done": Succeed(),
        "Record": Task("record", "Failed", 60, "$.record", RETRY, (Catcher((ALL_ERRORS,), "Failed", "$.record"),)),
        "Failed": Fail("$.error.Error", "$.error.Cause"),
    },
    "Record",
)


class Counted:
    """A step of which a test can wait for so many calls."""

    def __init__(self) -> None:
        self._calls = threading.Semaphore(0)

    def __call__(self, _data: Mapping[str, Any], _context: TaskContext) -> Any:
        self._calls.release()
        return {}

    def happened(self, times: int) -> bool:
        return all(self._calls.acquire(timeout=SECONDS) for _ in range(times))


def begin(bench: Bench, name: str, route: str) -> None:
    bench.engine.start(name, file_id="f", version_id="v", data={"key": name, "route": route})


@pytest.mark.parametrize(("slots", "folder_slots"), [(2, 2), (2, 8), (8, 2)])
def test_heavy_work_leaves_a_slot_to_what_is_quick(bench: Bench, slots: int, folder_slots: int) -> None:
    bench.machine = HEAVY
    slow, quick = Blocked(), Counted()
    worker = bench.worker(replace(SETTINGS, slots=slots, folder_slots=folder_slots), long=slow, quick=quick)
    for number in range(3):
        begin(bench, f"film{number}", "long")
    worker.start()
    assert slow.began.wait(SECONDS)
    reason = bench.engine.get("film1").pending_reason or ""
    assert reason.startswith("waits for film0; the slot that is free is for what is quick")
    for number in range(20):
        begin(bench, f"photo{number}", "short")
    assert quick.happened(20)
    running = bench.engine.list(status=ExecutionStatus.RUNNING).executions
    assert {execution.name for execution in running} <= {"film0", "photo19"}
    slow.go_on.set()
    assert quick.happened(3)
    worker.stop()
    assert {bench.status(f"film{number}") for number in range(3)} == {ExecutionStatus.SUCCEEDED}


def test_the_only_slot_takes_heavy_work_too(bench: Bench) -> None:
    bench.machine = HEAVY
    begin(bench, "film", "long")
    bench.worker(replace(SETTINGS, slots=1, folder_slots=1)).run_until_idle()
    assert bench.status("film") is ExecutionStatus.SUCCEEDED


def test_heavy_work_that_follows_a_wait_waits_for_its_turn(bench: Bench) -> None:
    bench.machine = HEAVY
    slow, quick = Blocked(), Counted()
    worker = bench.worker(replace(SETTINGS, slots=2, folder_slots=2), long=slow, quick=quick)
    begin(bench, "late", "later")
    worker.run_until_idle()
    begin(bench, "film", "long")
    worker.start()
    assert slow.began.wait(SECONDS)
    bench.engine.wake("late")
    begin(bench, "photo", "short")
    assert quick.happened(1)
    assert (bench.engine.get("late").state, bench.status("late")) == ("Long", ExecutionStatus.PENDING)
    assert [call for call in bench.calls if call[1] == "long"] == [("film", "long", 1)]
    slow.go_on.set()
    assert quick.happened(2)
    worker.stop()
    assert bench.status("late") is ExecutionStatus.SUCCEEDED


def test_the_engine_tells_who_works(bench: Bench) -> None:
    slow = Blocked()
    bench.start()
    worker = bench.worker(work=slow)
    worker.start()
    assert slow.began.wait(SECONDS)
    (told,) = bench.engine.workers()
    assert (told.name, told.slots, told.folder_slots, told.live, told.running) == (worker.name, 1, 4, True, ("one",))
    bench.start("two")
    assert bench.engine.get("two").pending_reason == "all 1 slots of this data folder are busy with one.jpg"
    bench.clock.advance(16)
    assert [worker.live for worker in bench.engine.workers()] == [False]
    assert bench.engine.get("two").pending_reason == "waits for a worker: none is running"
    slow.go_on.set()
    worker.stop()


# -- commits -----------------------------------------------------------------------------------------------------


def test_starting_joins_the_unit_of_work_that_is_open(bench: Bench) -> None:
    def work(_unit: object) -> None:
        bench.start()
        raise LookupError

    with pytest.raises(LookupError):
        bench.database.write(work)
    assert bench.engine.list().executions == ()


def test_what_a_step_wants_at_its_commit_commits_with_it_or_not_at_all(bench: Bench) -> None:
    bench.database.write(lambda unit: unit.run("CREATE TABLE effects (at TEXT)"))

    def effect() -> None:
        bench.database.write(lambda unit: unit.run("INSERT INTO effects VALUES ('x')"))

    def flawed() -> None:
        effect()
        raise JobInterrupted("committing", "it was killed")

    def step(_data: Mapping[str, Any], context: TaskContext) -> Any:
        context.at_commit(flawed if context.attempt == 1 else effect)
        return {}

    bench.machine = with_work(replace(WORK, retry=(Retrier(("JobInterrupted",), 1, 1, 1.0, 1),)))
    bench.start()
    worker = bench.worker(work=step)
    worker.run_until_idle()
    with bench.database.read() as view:
        assert view.value("SELECT count(*) FROM effects") == 0
    bench.clock.advance(2)
    worker.run_until_idle()
    with bench.database.read() as view:
        assert view.value("SELECT count(*) FROM effects") == 1
    assert bench.engine.get("one").state == "Pause"


def test_an_execution_whose_commit_failed_is_handed_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the very commit: nothing is lost, the state runs again."""
    bench.start()
    worker = bench.worker()
    original = bench.database.write
    refusals: Iterator[bool] = iter([True])

    def full_after_the_step(work: Callable[[Any], Any]) -> Any:
        if bool(bench.calls) and next(refusals, False):
            raise NoSpace("committing", "the disk is full")
        return original(work)

    monkeypatch.setattr(bench.database, "write", full_after_the_step)
    worker._sign_on()
    with suppress(NoSpace):
        worker.run_until_idle()
    assert bench.status() is ExecutionStatus.RUNNING
    worker.tick()
    assert bench.status() is ExecutionStatus.PENDING
    worker.run_until_idle()
    assert bench.engine.get("one").state == "Pause"
    worker._sign_off()


def test_waiting_for_an_end_gives_up_when_its_time_is_over(bench: Bench) -> None:
    bench.start()
    assert not bench.engine.wait(["one"], 1.0)
    assert bench.engine.unfinished(["one", "nobody"]) == {"one"}
    bench.engine.cancel("one", "no")
    assert bench.engine.wait(["one"], 1.0)
