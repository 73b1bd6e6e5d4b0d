"""Executions on Step Functions: cut off, ended unseen, too long for a row, forgotten, and stopped by somebody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from botocore.stub import Stubber

from contentplatform.catalog.tables import LEDGER
from contentplatform.drivers.boto import Aws
from contentplatform.errors import (
    ConfigurationInvalid,
    Conflict,
    ErrorCode,
    InvalidRequest,
    NotFound,
    ProcessingFailed,
    Unavailable,
)
from contentplatform.workflow.asl import to_asl
from contentplatform.workflow.aws import StepFunctionsEngine
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform.workflow.port import Execution, ExecutionStatus, TaskContext
from contentplatform.workflow.recorder import Recorder
from contract.step_functions import ROLE, StepFunctions
from emulator import Emulator
from fakes.clock import FakeClock

INPUT = {
    "bucket": "primary",
    "key": "a.jpg",
    "version_id": "v1",
    "file_id": "f1",
    "kind": "generic",
    "route": "generic",
}
RESOURCES = [state.resource for state in STATE_MACHINE.states.values() if isinstance(state, Task)]


class Bench:
    """The engine, the machine, and the steps that a test wants."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.clock = FakeClock()
        self.steps: dict[str, Any] = {}
        self.recorded: list[Mapping[str, Any]] = []
        self.refusal: Exception | None = None
        self.machine = StepFunctions(aws, {name: self._step(name) for name in RESOURCES}, self.clock.monotonic_seconds)
        self.engine = StepFunctionsEngine(aws, self.clock, state_machine_arn=self.machine.arn)
        self.states = aws.client("stepfunctions")

    def _step(self, name: str) -> Any:
        def call(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
            step = self.steps.get(name)
            return {"done": name} if step is None else step(data)

        return call

    def tasks(self) -> dict[str, Any]:
        """As ``Steps.tasks``: only the last resort is called outside the machine."""

        def record_failure(data: Mapping[str, Any]) -> Mapping[str, Any]:
            if self.refusal is not None:
                raise self.refusal
            self.recorded.append(data)
            return {}

        return {"record-failure": record_failure}

    def arn(self, name: str) -> str:
        return f"{self.machine.arn.replace(':stateMachine:', ':execution:')}:{name}"

    def start(self, name: str = "one", **changes: Any) -> Execution:
        data = {**INPUT, **changes}
        return self.engine.start(name, file_id="f1", version_id="v1", data=data)

    def tell(self, name: str = "one") -> dict[str, Any]:
        """What EventBridge would call."""
        return Recorder(self.engine, self).handle({"detail": {"executionArn": self.arn(name)}})

    def item(self, key: str, row: str) -> dict[str, Any] | None:
        found = self.aws.client("dynamodb").get_item(
            TableName=LEDGER.name, Key={"file_id": {"S": key}, "version": {"S": row}}
        )
        item: dict[str, Any] | None = found.get("Item")
        return item


@pytest.fixture
def bench(aws: Aws, emulator: Emulator) -> Iterator[Bench]:
    emulator.configure(**{"stepfunctions._SFN_WAIT_SCALE": 0})
    yield Bench(aws)
    emulator.configure(**{"stepfunctions._SFN_WAIT_SCALE": 1})


def cut_off(bench: Bench, name: str = "one", **changes: Any) -> None:
    """Start an execution and die before Step Functions is asked."""
    with Stubber(bench.states) as stub:
        stub.add_client_error("start_execution", "ServiceUnavailable", http_status_code=503)
        with pytest.raises(Unavailable):
            bench.start(name, **changes)


# -- starts ------------------------------------------------------------------------------------------------------


def test_a_start_that_was_cut_off_is_pending_and_is_finished_by_the_same_call(bench: Bench) -> None:
    cut_off(bench)
    waiting = bench.engine.get("one")
    assert (waiting.status, waiting.started_at) == (ExecutionStatus.PENDING, None)
    assert waiting.pending_reason
    assert bench.engine.history("one") == ()
    with pytest.raises(Conflict):
        bench.start("one-r1")
    assert bench.start().status is ExecutionStatus.RUNNING
    bench.machine.work()
    assert bench.engine.get("one").status is ExecutionStatus.SUCCEEDED


def test_a_start_that_was_cut_off_is_finished_by_whoever_looks_a_minute_later(bench: Bench) -> None:
    cut_off(bench)
    bench.clock.advance(59)
    assert bench.engine.get("one").status is ExecutionStatus.PENDING
    bench.clock.advance(1)
    assert bench.engine.get("one").status is ExecutionStatus.RUNNING


def test_a_start_that_was_asked_for_and_not_noted_is_not_asked_for_twice(bench: Bench) -> None:
    cut_off(bench)
    bench.states.start_execution(stateMachineArn=bench.machine.arn, name="one", input='{"route": "generic"}')
    assert bench.start().status is ExecutionStatus.RUNNING
    assert len(bench.states.list_executions(stateMachineArn=bench.machine.arn)["executions"]) == 1


def test_what_was_written_and_is_cancelled_never_starts(bench: Bench) -> None:
    cut_off(bench)
    assert bench.engine.cancel("one", "not wanted").status is ExecutionStatus.CANCELLED
    assert bench.start().status is ExecutionStatus.CANCELLED
    assert bench.states.list_executions(stateMachineArn=bench.machine.arn)["executions"] == []
    assert bench.start("one-r1").status is ExecutionStatus.RUNNING


def test_a_lock_is_let_go_although_nobody_told_of_the_end(bench: Bench) -> None:
    bench.start()
    bench.machine.work()
    assert bench.start("one-r1").status is ExecutionStatus.RUNNING
    assert bench.engine.get("one").status is ExecutionStatus.SUCCEEDED


def test_a_crowd_that_starts_the_same_starts_it_once(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as crowd:
        started = list(crowd.map(lambda _number: bench.start(), range(8)))
    assert {execution.name for execution in started} == {"one"}
    assert len(bench.states.list_executions(stateMachineArn=bench.machine.arn)["executions"]) == 1


def test_of_a_crowd_of_retries_one_is_started(bench: Bench) -> None:
    def attempt(number: int) -> str:
        try:
            return bench.start(f"one-r{number}").name
        except Conflict:
            return ""

    with ThreadPoolExecutor(8) as crowd:
        started = [name for name in crowd.map(attempt, range(1, 9)) if name]
    assert len(started) == 1
    assert len(bench.states.list_executions(stateMachineArn=bench.machine.arn)["executions"]) == 1


@pytest.mark.parametrize(
    ("code", "kind"), [("StateMachineDoesNotExist", ConfigurationInvalid), ("ExecutionLimitExceeded", Unavailable)]
)
def test_why_nothing_starts_is_told(bench: Bench, code: str, kind: type[Exception]) -> None:
    with Stubber(bench.states) as stub:
        stub.add_client_error("start_execution", code, http_status_code=400)
        with pytest.raises(kind, match="starting one"):
            bench.start()
    assert bench.engine.get("one").status is ExecutionStatus.PENDING


# -- ends --------------------------------------------------------------------------------------------------------


def test_a_listing_is_true_although_nobody_told_of_an_end(bench: Bench) -> None:
    bench.start("done")
    bench.machine.work()
    bench.start("live")
    listed = {status: [e.name for e in bench.engine.list(status=status).executions] for status in ExecutionStatus}
    assert listed[ExecutionStatus.SUCCEEDED] == ["done"]
    assert listed[ExecutionStatus.RUNNING] == ["live"]


def test_a_cursor_belongs_to_its_listing(bench: Bench) -> None:
    for number in range(2):
        bench.start(f"e{number}")
        bench.clock.advance(1)
    cursor = bench.engine.list(limit=1).cursor
    assert cursor is not None
    assert [e.name for e in bench.engine.list(cursor=cursor).executions] == ["e0"]
    with pytest.raises(InvalidRequest):
        bench.engine.list(cursor=cursor, file_id="f1")


def test_the_recorder_keeps_an_end_once_and_nothing_else(bench: Bench) -> None:
    bench.start()
    assert bench.tell() == {"execution": bench.arn("one"), "recorded": False}
    bench.machine.work()
    told = {"execution": "one", "recorded": True, "status": "succeeded", "last_resort": False}
    assert (bench.tell(), bench.tell()) == (told, told)
    assert bench.item("base#one", "live") is None
    assert bench.recorded == []
    with pytest.raises(InvalidRequest):
        Recorder(bench.engine, bench).handle({"detail": {}})
    foreign = {"detail": {"executionArn": "arn:aws:states:us-east-1:1:execution:other:one"}}
    assert Recorder(bench.engine, bench).handle(foreign)["recorded"] is False
    assert bench.tell("never-started")["recorded"] is False


def test_what_ended_is_told_from_the_ledger_when_step_functions_has_forgotten(bench: Bench) -> None:
    bench.start(text="x" * 50_000)
    bench.machine.work()
    before, history = bench.engine.get("one"), bench.engine.history("one")
    bench.states.delete_state_machine(stateMachineArn=bench.machine.arn)
    with Stubber(bench.states):  # any call would fail
        assert bench.engine.get("one") == before
        assert bench.engine.history("one") == history
        assert bench.engine.list(status=ExecutionStatus.SUCCEEDED).executions == (before,)
    assert before.output is not None
    assert before.output["text"] == "x" * 50_000
    assert bench.item("execution#one", "data#input") is not None


def test_a_history_over_a_rows_limit_takes_several(bench: Bench) -> None:
    bench.steps["content-generic-processor"] = lambda _data: {"text": "y" * 100_000}
    bench.start(text="x" * 100_000)
    bench.machine.work()
    history = bench.engine.history("one")
    assert [event.sequence for event in history] == list(range(1, len(history) + 1))
    assert bench.item("execution#one", "history#000002") is not None
    last = bench.engine.get("one")
    assert history[-1].output == last.output


def test_data_of_the_limit_is_taken(bench: Bench) -> None:
    text = "x" * (262_144 - 200)
    assert bench.start(text=text).input["text"] == text


def test_one_that_step_functions_never_knew_ends_after_a_day(bench: Bench) -> None:
    bench.start()
    bench.states.delete_state_machine(stateMachineArn=bench.machine.arn)
    other = StepFunctionsEngine(bench.aws, bench.clock, state_machine_arn=f"{bench.machine.arn}x")
    assert other.get("one").status is ExecutionStatus.RUNNING
    bench.clock.advance(86_400)
    ended = other.get("one")
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "E_INTERNAL")


# -- ends that no state saw --------------------------------------------------------------------------------------


def test_one_that_was_stopped_by_hand_is_told_to_the_catalog(bench: Bench) -> None:
    bench.start()
    bench.states.stop_execution(executionArn=bench.arn("one"), cause="somebody in the console")
    assert bench.tell()["last_resort"] is True
    (data,) = bench.recorded
    assert {name: data[name] for name in INPUT} == INPUT
    assert data["execution"] == "one"
    assert data["error"] == {
        "Error": "E_CANCELLED",
        "Cause": "stopped at Step Functions: somebody in the console",
    }
    assert bench.engine.get("one").status is ExecutionStatus.CANCELLED


def test_one_that_we_stopped_is_not_told_twice(bench: Bench) -> None:
    bench.start()
    bench.engine.cancel("one", "not wanted")
    assert bench.tell()["last_resort"] is False


def test_one_whose_failure_could_not_be_recorded_is_recorded_at_last(bench: Bench) -> None:
    def broken(_data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ProcessingFailed("reading", "it ends in the middle", code=ErrorCode.DECODE)

    def away(_data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Conflict("recording", "the catalog is away")

    bench.steps |= {"content-generic-processor": broken, "record-failure": away}
    bench.start()
    bench.machine.work()
    assert bench.tell()["last_resort"] is True
    assert bench.recorded[0]["error"] == {"Error": "E_DECODE", "Cause": "reading: it ends in the middle"}
    ended = bench.engine.get("one")
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "E_DECODE")


FAILING_FUNCTION = """
class E_DECODE(Exception):
    pass

def handle(event, context):
    raise E_DECODE("[E_DECODE] reading a.jpg: it ends in the middle")
"""


def test_the_code_of_a_function_that_failed_on_lambda_is_read_from_what_lambda_reports(bench: Bench) -> None:
    """Here every task is a real function, which fails as the functions' runtime lets it fail."""
    package = BytesIO()
    with ZipFile(package, "w") as archive:
        archive.writestr("index.py", FAILING_FUNCTION)
    function = bench.aws.client("lambda").create_function(
        FunctionName="fails",
        Runtime="python3.13",
        Role=ROLE,
        Handler="index.handle",
        Code={"ZipFile": package.getvalue()},
        Timeout=30,
    )["FunctionArn"]
    definition = to_asl(STATE_MACHINE, dict.fromkeys(RESOURCES, function))
    bench.states.update_state_machine(stateMachineArn=bench.machine.arn, definition=definition)
    bench.start()
    bench.machine.work_elsewhere()
    assert bench.tell()["last_resort"] is True
    assert bench.recorded[0]["error"] == {"Error": "E_DECODE", "Cause": "reading a.jpg: it ends in the middle"}
    attempts = [event for event in bench.engine.history("one") if event.event == "attempt_failed"]
    assert {(event.error, event.cause) for event in attempts} == {("E_DECODE", "reading a.jpg: it ends in the middle")}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"status": "TIMED_OUT"}, "E_TIMEOUT", "it took longer than it may"),
        ({"status": "FAILED", "error": "States.Runtime", "cause": "no such path"}, "E_INTERNAL", "no such path"),
        ({"status": "FAILED", "error": "States.DataLimitExceeded", "cause": "too much"}, "E_LIMIT", "too much"),
    ],
)
def test_an_end_that_no_catch_sees_is_told_to_the_catalog(
    bench: Bench, answer: dict[str, Any], error: str, words: str
) -> None:
    bench.start()
    arn = bench.arn("one")
    moment = bench.clock.now() + timedelta(hours=6)
    described = {
        "executionArn": arn,
        "stateMachineArn": bench.machine.arn,
        "name": "one",
        "startDate": bench.clock.now(),
        "stopDate": moment,
        **answer,
    }
    entered = {"name": "ProcessGeneric", "input": '{"key": "a.jpg"}'}
    events = [
        {"id": 1, "timestamp": moment, "type": "TaskStateEntered", "stateEnteredEventDetails": entered},
        {"id": 2, "timestamp": moment, "type": f"Execution{'TimedOut' if 'error' not in answer else 'Failed'}"},
    ]
    with Stubber(bench.states) as stub:
        stub.add_response("describe_execution", described)
        stub.add_response("get_execution_history", {"events": events})
        assert bench.tell()["last_resort"] is True
    assert bench.recorded[0]["error"] == {"Error": error, "Cause": words}
    with Stubber(bench.states):
        ended = bench.engine.get("one")
        assert (ended.status, ended.error, ended.cause) == (ExecutionStatus.FAILED, error, words)
        assert (ended.state, ended.ended_at) == ("ProcessGeneric", moment)
        assert ended.output == {"key": "a.jpg"}


def test_the_last_resort_gives_way_to_another_execution(bench: Bench) -> None:
    bench.start()
    bench.states.stop_execution(executionArn=bench.arn("one"))
    bench.refusal = ProcessingFailed("processing", "another execution took over", code=ErrorCode.CANCELLED)
    assert bench.tell()["last_resort"] is False
    bench.refusal = Unavailable("recording", "busy")
    with pytest.raises(Unavailable):
        bench.tell()


def test_rows_of_executions_are_not_rows_of_versions(bench: Bench) -> None:
    bench.start()
    for key, row in (("execution#one", "execution"), ("base#one", "live")):
        assert bench.item(key, row) is not None
    with pytest.raises(NotFound):
        bench.engine.get("base#one")
