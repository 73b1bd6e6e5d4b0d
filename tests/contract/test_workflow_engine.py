"""What every workflow engine must do, run on the one in memory, both homes' own, and planted faulty ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import (
    Conflict,
    ErrorCode,
    InvalidRequest,
    NotFound,
    PlatformError,
    ProcessingFailed,
    Unavailable,
)
from contentplatform.workflow.aws import StepFunctionsEngine
from contentplatform.workflow.definition import STATE_MACHINE, Task, failure_of, reported
from contentplatform.workflow.executor import LocalExecutor
from contentplatform.workflow.interpreter import succeeded
from contentplatform.workflow.local import SCHEMA, LocalWorkflowEngine
from contentplatform.workflow.port import (
    Execution,
    ExecutionStatus,
    HistoryEvent,
    Lane,
    TaskContext,
    TaskFunction,
    WorkflowEngine,
    execution_name,
    next_name,
)
from contract.step_functions import StepFunctions
from contract.unproven import UNPROVEN
from fakes.clock import FakeClock, SequentialIds
from fakes.workflow_engine import InMemoryWorkflowEngine

INPUT: Final = {
    "bucket": "primary",
    "key": "a/photo.jpg",
    "version_id": "v1",
    "file_id": "f1",
    "kind": "generic",
    "route": "generic",
}
RESOURCES: Final = tuple(state.resource for state in STATE_MACHINE.states.values() if isinstance(state, Task))
ENDED: Final = [status for status in ExecutionStatus if status.ended]


@dataclass
class Home:
    """An engine, somebody who works for it, and the steps that a check may replace."""

    clock: FakeClock = field(default_factory=FakeClock)
    steps: dict[str, Callable[[Mapping[str, Any], TaskContext], Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    engine: WorkflowEngine = field(init=False)
    run: Callable[[], object] = field(init=False)
    """Run everything that is due."""
    idle: ExecutionStatus = ExecutionStatus.PENDING
    """What an execution is while nobody works on it."""

    def tasks(self) -> dict[str, TaskFunction]:
        """Every task of the machine: notes its call, then does what the check told it to."""
        return {resource: self._task(resource) for resource in RESOURCES}

    def _task(self, resource: str) -> TaskFunction:
        def call(data: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
            self.calls.append((context.execution, resource))
            step = self.steps.get(resource)
            result: Mapping[str, Any] = {"done": resource} if step is None else step(data, context)
            return result

        return call

    def start(self, name: str = "one", lane: Lane = Lane.UPLOAD, **changes: Any) -> Execution:
        """Start an execution of a file that goes the generic way, unless ``changes`` say otherwise."""
        data = {**INPUT, **changes}
        return self.engine.start(name, file_id=data["file_id"], version_id="v1", data=data, lane=lane)

    def finish(self, rounds: int = 40) -> None:
        """Run, and let time pass, until nothing is left to do."""
        for _ in range(rounds):
            self.run()
            self.clock.advance(130)
        self.run()


def in_memory(_request: pytest.FixtureRequest) -> Iterator[Home]:
    """The fake."""
    home = Home()
    engine = InMemoryWorkflowEngine(STATE_MACHINE, home.tasks(), home.clock)
    home.engine, home.run = engine, engine.run_until_idle
    yield home


def local(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The local home."""
    home, ids = Home(), SequentialIds()
    folder: Path = request.getfixturevalue("tmp_path")
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    doorbell = Doorbell(folder / "run")
    home.engine = LocalWorkflowEngine(database, STATE_MACHINE, home.clock, doorbell)
    executor = LocalExecutor(database, STATE_MACHINE, home.tasks(), home.clock, ids, doorbell)
    home.run = executor.run_until_idle
    yield home
    database.close()


def step_functions(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The home on AWS, on the emulator, where no time passes."""
    server, aws = request.getfixturevalue("emulator"), request.getfixturevalue("aws")
    server.configure(**{"stepfunctions._SFN_WAIT_SCALE": 0})
    home = Home(idle=ExecutionStatus.RUNNING)
    machine = StepFunctions(aws, home.tasks(), home.clock.monotonic_seconds)
    home.engine = StepFunctionsEngine(aws, home.clock, state_machine_arn=machine.arn)
    home.run = machine.work
    yield home
    server.configure(**{"stepfunctions._SFN_WAIT_SCALE": 1})


HOMES: Final = [in_memory, local, step_functions]
CHECKS: Final[list[Callable[[Home], None]]] = []


def check(function: Callable[[Home], None]) -> Callable[[Home], None]:
    """Make the function a part of the contract."""
    CHECKS.append(function)
    return function


# -- starting ----------------------------------------------------------------------------------------------------


@check
def a_started_execution_is_pending_and_says_why(home: Home) -> None:
    execution = home.start()
    assert (execution.name, execution.status, execution.state) == ("one", ExecutionStatus.PENDING, "DetermineFileType")
    assert (execution.file_id, execution.version_id, execution.lane) == ("f1", "v1", Lane.UPLOAD)
    assert execution.created_at == home.clock.now()
    assert (execution.started_at, execution.ended_at, execution.output, execution.error) == (None, None, None, None)
    assert home.engine.get("one").pending_reason == "waits for a worker: none is running"


@check
def starting_twice_is_starting_once(home: Home) -> None:
    home.start()
    home.clock.advance(5)
    again = home.start()
    assert again.created_at < home.clock.now()
    home.finish()
    assert home.start().status is ExecutionStatus.SUCCEEDED
    home.finish()
    assert home.calls.count(("one", "content-generic-processor")) == 1


@check
def one_version_and_recipe_has_one_live_execution(home: Home) -> None:
    """A retry can't start beside the run that it is to repeat, whichever of them is asked for first."""
    home.start("one")
    with pytest.raises(Conflict):
        home.start("one-r1")
    home.finish()
    home.start("one-r1")
    with pytest.raises(Conflict):
        home.start("one-r2")
    assert home.start("one").status is ExecutionStatus.SUCCEEDED


@check
def the_next_retry_has_the_next_number(home: Home) -> None:
    name = execution_name("f1", "v1", "recipe")
    assert next_name(home.engine, f"{name}-r1") == name
    for expected in (f"{name}-r1", f"{name}-r2", f"{name}-r3"):
        home.start(next_name(home.engine, name))
        home.finish()
        assert next_name(home.engine, name) == expected
        assert next_name(home.engine, f"{name}-r1") == expected


@check
def input_that_is_not_json_or_too_large_is_refused(home: Home) -> None:
    for wrong in ({"x": object()}, {"x": float("nan")}, {"x": "x" * 262_144}):
        with pytest.raises(InvalidRequest):
            home.start(**wrong)
    with pytest.raises(NotFound):
        home.engine.get("one")


@check
def a_name_that_step_functions_could_not_take_is_refused(home: Home) -> None:
    for name in ("", "a b", "a/b", "a:b", "ä", "x" * 81):
        with pytest.raises(InvalidRequest):
            home.start(name)
    assert home.start("x" * 80).name == "x" * 80


@check
def input_is_kept_as_it_was(home: Home) -> None:
    """Names are data: nothing of them is lost or read as something else, and the caller keeps his own copy."""
    data = {**INPUT, "key": "ключ \x00'\"; DROP TABLE \ud800 😀", "note": None, "list": [1, 2.5, {"a": True}]}
    home.engine.start("one", file_id="f1", version_id="v1", data=data)
    data["key"] = "changed"
    assert home.engine.get("one").input == {**data, "key": "ключ \x00'\"; DROP TABLE \ud800 😀"}


# -- the ways through the machine --------------------------------------------------------------------------------


@check
def every_state_adds_to_the_data(home: Home) -> None:
    home.start()
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.state, execution.error) == (
        ExecutionStatus.SUCCEEDED,
        "ProcessingComplete",
        None,
    )
    assert execution.output == {
        **INPUT,
        "result": {"done": "content-generic-processor"},
        "update": {"done": "update-metadata"},
        "invalidation": {"done": "cloudfront-invalidation"},
    }
    assert execution.started_at is not None
    assert execution.ended_at is not None


@check
def the_route_chooses_the_processor(home: Home) -> None:
    for route in ("image", "audio", "document", "generic", "something new"):
        home.start(route.replace(" ", "-"), route=route)
    home.finish()
    processors = [resource for _, resource in home.calls if resource.endswith("-processor")]
    expected = [f"content-{kind}-processor" for kind in ("image", "audio", "document", "generic", "generic")]
    assert sorted(processors) == sorted(expected)


@check
def a_video_is_asked_for_until_it_is_done(home: Home) -> None:
    answers = iter(["PROGRESSING", "SUBMITTED", "COMPLETE"])
    home.steps["check-mediaconvert-status"] = lambda _data, _context: {"status": next(answers)}
    home.start(route="video")
    home.run()
    waiting = home.engine.get("one")
    assert (waiting.status, waiting.state) == (ExecutionStatus.PENDING, "WaitForVideoProcessing")
    assert waiting.pending_reason
    assert "check-mediaconvert-status" not in dict(home.calls).values()
    home.finish()
    assert home.engine.get("one").status is ExecutionStatus.SUCCEEDED
    assert [resource for _, resource in home.calls] == [
        "content-video-processor",
        *["check-mediaconvert-status"] * 3,
        "content-video-finisher",
        "update-metadata",
        "cloudfront-invalidation",
    ]


@check
def a_failed_video_job_is_recorded_with_its_own_words(home: Home) -> None:
    home.steps["check-mediaconvert-status"] = lambda _data, _context: {
        "status": "ERROR",
        "error": "no video stream",
        "error_code": "E_DECODE",
    }
    home.steps["record-failure"] = lambda data, _context: failure_of(data).as_result()
    home.start(route="video")
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.error, execution.cause) == (
        ExecutionStatus.FAILED,
        "E_DECODE",
        "no video stream",
    )


@check
def a_refused_file_is_recorded_without_any_work(home: Home) -> None:
    home.steps["record-failure"] = lambda data, _context: failure_of(data).as_result()
    home.start(refusal={"error": "says image/jpeg, is text/plain", "error_code": "E_TYPE"})
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.state) == (ExecutionStatus.FAILED, "ProcessingFailed")
    assert (execution.error, execution.cause) == ("E_TYPE", "says image/jpeg, is text/plain")
    assert [resource for _, resource in home.calls] == ["record-failure"]


# -- failing -----------------------------------------------------------------------------------------------------


def fails(error: Exception, times: int = 1_000) -> Callable[[Mapping[str, Any], TaskContext], Mapping[str, Any]]:
    """A step that raises ``error`` so many times, then works."""
    left = [times]

    def step(_data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return {"done": True}

    return step


@check
def what_can_not_be_processed_fails_at_once_and_in_words(home: Home) -> None:
    error = ProcessingFailed("reading photo.jpg", "the file ends in the middle", code=ErrorCode.DECODE)
    home.steps["content-image-processor"] = fails(error)
    home.steps["record-failure"] = lambda data, _context: failure_of(data).as_result()
    home.start(route="image")
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, "E_DECODE")
    assert execution.cause == "reading photo.jpg: the file ends in the middle"
    assert execution.output is not None
    assert {name: execution.output[name] for name in INPUT} == {**INPUT, "route": "image"}
    assert [resource for _, resource in home.calls] == ["content-image-processor", "record-failure"]


@check
def a_passing_fault_is_tried_again_and_says_so_meanwhile(home: Home) -> None:
    home.steps["content-generic-processor"] = fails(Unavailable("reading", "the disk is busy"), times=2)
    home.start()
    home.run()
    waiting = home.engine.get("one")
    assert (waiting.status, waiting.state) == (ExecutionStatus.PENDING, "ProcessGeneric")
    assert "the disk is busy" in (waiting.pending_reason or "")
    home.finish()
    assert home.engine.get("one").status is ExecutionStatus.SUCCEEDED
    assert home.calls.count(("one", "content-generic-processor")) == 3


@check
def an_unexpected_fault_is_tried_again_a_few_times_and_told_without_internals(home: Home) -> None:
    home.steps["content-generic-processor"] = fails(KeyError("secret"))
    home.steps["record-failure"] = lambda data, _context: failure_of(data).as_result()
    home.start()
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, "E_INTERNAL")
    assert "secret" not in (execution.cause or "")
    assert home.calls.count(("one", "content-generic-processor")) == 3


@check
def a_failed_update_is_a_failure_and_never_complete(home: Home) -> None:
    home.steps["update-metadata"] = fails(Conflict("updating", "the revision moved on"))
    home.start()
    home.finish()
    assert home.engine.get("one").status is ExecutionStatus.FAILED
    assert [resource for _, resource in home.calls][-1] == "record-failure"


@check
def a_failed_invalidation_fails_nothing_and_is_kept(home: Home) -> None:
    home.steps["cloudfront-invalidation"] = fails(Unavailable("invalidating", "too many requests"))
    home.start()
    home.finish()
    execution = home.engine.get("one")
    assert execution.status is ExecutionStatus.SUCCEEDED
    assert execution.output is not None
    told = execution.output["invalidation_error"]
    assert reported(told["Error"], told["Cause"]) == ("Unavailable", "invalidating: too many requests")


@check
def a_step_can_not_change_what_it_was_given(home: Home) -> None:
    def hostile(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        assert isinstance(data, dict)
        data["key"] = "stolen"
        data.pop("version_id")
        return {"key": "stolen"}

    home.steps["content-generic-processor"] = hostile
    home.start()
    home.finish()
    output = home.engine.get("one").output
    assert output is not None
    assert {name: output[name] for name in INPUT} == INPUT


# -- telling -----------------------------------------------------------------------------------------------------


@check
def history_has_input_and_output_of_each_state(home: Home) -> None:
    home.start()
    home.finish()
    events = home.engine.history("one")
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [(event.state, event.event) for event in events] == [
        (state, event)
        for state in (
            "DetermineFileType",
            "ProcessGeneric",
            "UpdateMetadata",
            "InvalidateCloudFrontCache",
            "ProcessingComplete",
        )
        for event in ("entered", "succeeded")
    ]
    entered, left = event_pair(events, "ProcessGeneric")
    assert entered.input == INPUT
    assert left.output == {**INPUT, "result": {"done": "content-generic-processor"}}
    assert event_pair(events, "UpdateMetadata")[0].input == left.output


@check
def history_tells_each_attempt_and_why_it_failed(home: Home) -> None:
    home.steps["content-generic-processor"] = fails(Unavailable("reading", "the disk is busy"), times=1)
    home.start()
    home.finish()
    told = [
        (event.event, event.attempt, event.error, event.cause)
        for event in home.engine.history("one")
        if event.state == "ProcessGeneric" and event.event != "retry_scheduled"
    ]
    assert told == [
        ("entered", 1, None, None),
        ("attempt_failed", 1, "Unavailable", "reading: the disk is busy"),
        ("succeeded", 2, None, None),
    ]


def event_pair(events: tuple[HistoryEvent, ...], state: str) -> tuple[HistoryEvent, HistoryEvent]:
    """How a state was entered and how it was left."""
    first, *_, last = [event for event in events if event.state == state]
    return first, last


@check
def what_does_not_exist_is_not_found(home: Home) -> None:
    for ask in (home.engine.get, home.engine.history, lambda name: home.engine.cancel(name, "why")):
        with pytest.raises(NotFound):
            ask("nobody")


@check
def listing_goes_from_new_to_old_page_by_page(home: Home) -> None:
    for number in range(5):
        home.start(f"e{number}", file_id=f"f{number % 2}")
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = home.engine.list(cursor=cursor, limit=2)
        seen += [execution.name for execution in page.executions]
        cursor = page.cursor
    assert seen == ["e4", "e3", "e2", "e1", "e0"]
    assert cursor is None
    assert [execution.name for execution in home.engine.list(file_id="f1").executions] == ["e3", "e1"]
    assert home.engine.list(file_id="nobody").executions == ()


@check
def listing_a_status_shows_only_that(home: Home) -> None:
    home.start("done")
    home.finish()
    home.start("waiting")
    home.engine.cancel(home.start("stopped").name, "not wanted")
    shown = {status: [e.name for e in home.engine.list(status=status).executions] for status in ExecutionStatus}
    assert shown == {
        ExecutionStatus.PENDING: [],
        ExecutionStatus.RUNNING: [],
        home.idle: ["waiting"],
        ExecutionStatus.SUCCEEDED: ["done"],
        ExecutionStatus.FAILED: [],
        ExecutionStatus.CANCELLED: ["stopped"],
    }


@check
def what_starts_between_two_pages_moves_nothing(home: Home) -> None:
    for number in range(4):
        home.start(f"e{number}")
    first = home.engine.list(limit=2)
    home.start("newer")
    second = home.engine.list(cursor=first.cursor, limit=2)
    assert [execution.name for execution in second.executions] == ["e1", "e0"]


@check
def a_foreign_cursor_or_an_empty_page_is_refused(home: Home) -> None:
    home.start()
    for wrong in ({"cursor": "'; --"}, {"limit": 0}):
        with pytest.raises(InvalidRequest):
            home.engine.list(**wrong)


# -- order and cancelling ----------------------------------------------------------------------------------------


@check
def uploads_go_before_repeats_and_the_first_come_first(home: Home) -> None:
    for name, lane in (("b1", Lane.BACKFILL), ("u1", Lane.UPLOAD), ("b2", Lane.BACKFILL), ("u2", Lane.UPLOAD)):
        home.start(name, lane=lane)
    home.finish()
    begun = [name for name, resource in home.calls if resource == "content-generic-processor"]
    assert begun == ["u1", "u2", "b1", "b2"]


@check
def what_is_cancelled_never_begins(home: Home) -> None:
    home.start()
    cancelled = home.engine.cancel("one", "uploaded by mistake")
    assert (cancelled.status, cancelled.cause) == (ExecutionStatus.CANCELLED, "uploaded by mistake")
    assert cancelled.ended_at == home.clock.now()
    home.finish()
    assert home.calls == []
    assert home.engine.get("one") == cancelled
    assert [event.event for event in home.engine.history("one")] == ["cancelled"]


@check
def a_step_that_is_cancelled_while_it_works_commits_nothing(home: Home) -> None:
    committed: list[str] = []

    def step(_data: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
        context.at_commit(lambda: committed.append("effect"))
        home.engine.cancel("one", "not wanted")
        return {"done": True}

    home.steps["content-generic-processor"] = step
    home.start()
    home.finish()
    execution = home.engine.get("one")
    assert (execution.status, execution.state) == (ExecutionStatus.CANCELLED, "ProcessGeneric")
    assert "result" not in (execution.output or {})
    assert committed == []
    assert len(home.calls) == 1


@check
def cancelling_again_or_too_late_changes_nothing(home: Home) -> None:
    home.start("stopped")
    first = home.engine.cancel("stopped", "first")
    home.clock.advance(5)
    assert home.engine.cancel("stopped", "second") == first
    home.start("done")
    home.finish()
    assert home.engine.cancel("done", "too late").status is ExecutionStatus.SUCCEEDED


@check
def what_a_step_wants_at_its_commit_is_done_once(home: Home) -> None:
    committed: list[str] = []

    def step(_data: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
        context.at_commit(lambda: committed.append(context.state))
        if context.attempt == 1:
            raise Unavailable("reading", "the disk is busy")
        return {"done": True}

    home.steps["update-metadata"] = step
    home.start()
    home.finish()
    assert committed == ["UpdateMetadata"]


# -- running the contract ----------------------------------------------------------------------------------------


PROMISES: Final = [
    pytest.param(make_home, promise, id=f"{make_home.__name__}: {promise.__name__}")
    for make_home in HOMES
    for promise in CHECKS
    if make_home is not step_functions or promise.__name__ not in UNPROVEN
]


@pytest.mark.parametrize(("make_home", "promise"), PROMISES)
def test_contract(
    make_home: Callable[[pytest.FixtureRequest], Iterator[Home]],
    promise: Callable[[Home], None],
    request: pytest.FixtureRequest,
) -> None:
    """One promise, on one home."""
    for home in make_home(request):
        promise(home)


@pytest.fixture
def on_aws(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The home on AWS, for what only it can break."""
    yield from step_functions(request)


def test_a_video_goes_round_on_step_functions(on_aws: Home) -> None:
    answers = iter(["PROGRESSING", "SUBMITTED", "COMPLETE"])
    on_aws.steps["check-mediaconvert-status"] = lambda _data, _context: {"status": next(answers)}
    on_aws.start(route="video")
    on_aws.finish()
    assert on_aws.engine.get("one").status is ExecutionStatus.SUCCEEDED
    assert [resource for _, resource in on_aws.calls][1:5] == [
        *["check-mediaconvert-status"] * 3,
        "content-video-finisher",
    ]


def test_what_is_cancelled_calls_no_step_on_step_functions(on_aws: Home) -> None:
    on_aws.start()
    cancelled = on_aws.engine.cancel("one", "uploaded by mistake")
    assert (cancelled.status, cancelled.cause) == (ExecutionStatus.CANCELLED, "uploaded by mistake")
    on_aws.finish()
    assert on_aws.calls == []
    assert on_aws.engine.get("one") == cancelled
    assert on_aws.engine.history("one")[-1].event == "cancelled"


class StartsAgain(InMemoryWorkflowEngine):
    """Planted: starting what has ended runs it once more."""

    def start(self, name: str, **rest: Any) -> Execution:
        if name in self._runs and self._runs[name].told.status.ended:
            del self._runs[name]
        return super().start(name, **rest)


class ForgetsItsInput(InMemoryWorkflowEngine):
    """Planted: the answer of a Task replaces the data, as without ResultPath."""

    def _perform(self, run: Any, task: Task) -> None:
        super()._perform(run, task)
        if not run.told.status.ended:
            run.data = {"result": run.data.get("result")}


class CancelsInName(InMemoryWorkflowEngine):
    """Planted: cancelling marks the execution, but the step at work goes on to commit."""

    def _perform(self, run: Any, task: Task) -> None:
        state = run.told.state
        super()._perform(run, task)
        if run.told.status is ExecutionStatus.CANCELLED:
            self._follow(run, next_move(self, state, run.data))


class RunsTheLanesBackwards(InMemoryWorkflowEngine):
    """Planted: repeats go before uploads."""

    def _due(self) -> Any:
        ready = [run for run in self._runs.values() if not run.told.status.ended]
        waiting = [run for run in ready if run.due_seconds <= self._clock.monotonic_seconds()]
        return max(waiting, key=lambda run: run.told.lane, default=None)


class LosesTheLastPage(InMemoryWorkflowEngine):
    """Planted: a cursor that is off by one."""

    def list(self, **rest: Any) -> Any:
        page = super().list(**rest)
        last = next(iter(self._runs), None)
        kept = tuple(execution for execution in page.executions if rest.get("cursor") is None or execution.name != last)
        return type(page)(kept, page.cursor)


def next_move(engine: InMemoryWorkflowEngine, state: str, data: Mapping[str, Any]) -> Any:
    """The move that a cancelled step must not make."""
    return succeeded(engine._machine, state, data, {"late": True})


@pytest.mark.parametrize(
    "faulty", [StartsAgain, ForgetsItsInput, CancelsInName, RunsTheLanesBackwards, LosesTheLastPage]
)
def test_the_contract_catches_a_planted_fault(faulty: type[InMemoryWorkflowEngine]) -> None:
    """The checks have teeth: each planted engine breaks at least one of them."""
    broken = []
    for promise in CHECKS:
        home = Home()
        engine = faulty(STATE_MACHINE, home.tasks(), home.clock)
        home.engine, home.run = engine, engine.run_until_idle
        try:
            promise(home)
        except (AssertionError, KeyError, PlatformError, pytest.fail.Exception):
            broken.append(promise.__name__)
    assert broken
