"""The state machine as data, and the pure rules by which it is run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    PlatformError,
    ProcessingFailed,
    Unavailable,
)
from contentplatform.workflow.definition import (
    ALL_ERRORS,
    FUNCTION_CRASHES,
    FUNCTION_TIMEOUT,
    PROTECTED_NAMES,
    STATE_MACHINE,
    TRANSIENT_ERRORS,
    AllOf,
    Catcher,
    Choice,
    Fail,
    IsPresent,
    Retrier,
    Rule,
    State,
    StateMachine,
    StringEquals,
    Succeed,
    Task,
    Wait,
    failure_of,
    problems,
    reachable,
    text_is,
    with_time,
)
from contentplatform.workflow.interpreter import (
    End,
    Move,
    RetryLater,
    RunTask,
    TaskFailure,
    WaitFor,
    enter,
    failed,
    failure_of_exception,
    put,
    rescue,
    succeeded,
    waited,
)
from contentplatform.workflow.port import ExecutionStatus

INPUT = {"bucket": "b", "key": "k", "version_id": "v", "route": "generic"}
RETRY = (Retrier(("Unavailable",), 2, 3, 2.0, 5),)
CATCH = (Catcher((ALL_ERRORS,), "Bad", "$.error"),)


def machine(**states: State) -> StateMachine:
    """A machine that begins at ``First`` and may end at ``Good`` or ``Bad``."""
    ends: dict[str, State] = {"Good": Succeed(), "Bad": Fail("$.error.Error", "$.error.Cause")}
    return StateMachine("m", "", "First", 60, {**states, **ends}, "")


def task(following: str = "Good", **changes: Any) -> Task:
    return replace(Task("f", following, 60, "$.result", RETRY, CATCH), **changes)


# -- the platform's machine --------------------------------------------------------------------------------------


def test_the_platforms_machine_has_no_problem() -> None:
    assert problems(STATE_MACHINE) == []


def test_where_no_function_ends_heavy_tasks_have_all_the_time_there_is() -> None:
    at_home = with_time(STATE_MACHINE, 86_400)
    assert at_home.timeout_seconds == 86_400
    for name, state in STATE_MACHINE.states.items():
        if isinstance(state, Task) and state.heavy:
            assert at_home.states[name] == replace(state, timeout_seconds=86_400)
        else:
            assert at_home.states[name] is state
    assert problems(STATE_MACHINE) == []


def test_it_calls_every_function_of_the_platform() -> None:
    resources = {state.resource for state in STATE_MACHINE.states.values() if isinstance(state, Task)}
    assert resources == {
        "content-image-processor",
        "content-video-processor",
        "check-mediaconvert-status",
        "content-video-finisher",
        "content-audio-processor",
        "content-document-processor",
        "content-generic-processor",
        "update-metadata",
        "record-failure",
        "cloudfront-invalidation",
    }


@pytest.mark.parametrize("name", [name for name, state in STATE_MACHINE.states.items() if isinstance(state, Task)])
def test_a_failure_of_any_state_is_recorded_unless_the_work_is_done(name: str) -> None:
    """Nothing but the invalidation, after everything else, may fail and still be complete."""
    move = failed(STATE_MACHINE, name, INPUT, TaskFailure(("Corrupt",), "broken"), ())
    assert isinstance(move, Move)
    following = {
        "InvalidateCloudFrontCache": "ProcessingComplete",
        "RecordFailure": "ProcessingFailed",
    }
    assert move.then.state == following.get(name, "RecordFailure")


def test_a_state_that_is_complete_can_only_follow_the_update() -> None:
    """No way leads to success around UpdateMetadata."""
    without = {name: state for name, state in STATE_MACHINE.states.items() if name != "UpdateMetadata"}
    stopped = replace(STATE_MACHINE, states={**without, "UpdateMetadata": Fail("$.a", "$.b")})
    assert "ProcessingComplete" not in reachable(stopped, {stopped.start_at})


def test_every_retryable_error_is_retried_and_no_other() -> None:
    """The names in the retry rules are the classes of the error tree: renaming one would switch off its retries."""
    public = [kind for kind in Unavailable.__subclasses__() if kind.__module__ == Unavailable.__module__]
    retryable = {"Unavailable", *(kind.__name__ for kind in public)}
    assert retryable <= TRANSIENT_ERRORS
    for kind in PlatformError.__subclasses__():
        if not kind.retryable:
            assert kind.__name__ not in TRANSIENT_ERRORS


def test_a_decoder_that_crashes_twice_is_not_tried_a_third_time() -> None:
    failure = failure_of_exception(JobInterrupted("decoding", "it was killed"))
    again = failed(STATE_MACHINE, "ProcessImage", INPUT, failure, ())
    assert isinstance(again, RetryLater)
    move = failed(STATE_MACHINE, "ProcessImage", INPUT, failure, again.retries)
    assert isinstance(move, Move)
    assert failure_of(move.then.data).code is ErrorCode.CRASH


def test_a_time_out_is_retried_where_a_service_is_asked_and_not_where_bytes_are_processed() -> None:
    late = TaskFailure(("States.Timeout",), "too slow")
    assert isinstance(failed(STATE_MACHINE, "CheckVideoStatus", INPUT, late, ()), RetryLater)
    assert isinstance(failed(STATE_MACHINE, "ProcessImage", INPUT, late, ()), Move)


@pytest.mark.parametrize("name", FUNCTION_CRASHES)
def test_a_function_that_lambda_lost_is_tried_once_more(name: str) -> None:
    lost = TaskFailure((name,), "Runtime exited with error: signal: killed")
    again = failed(STATE_MACHINE, "ProcessImage", INPUT, lost, ())
    assert isinstance(again, RetryLater)
    assert isinstance(failed(STATE_MACHINE, "ProcessImage", INPUT, lost, again.retries), Move)


def test_a_time_out_of_lambda_is_a_time_out() -> None:
    late = TaskFailure((FUNCTION_TIMEOUT,), "Task timed out")
    assert isinstance(failed(STATE_MACHINE, "CheckVideoStatus", INPUT, late, ()), RetryLater)
    assert isinstance(failed(STATE_MACHINE, "ProcessImage", INPUT, late, ()), Move)


# -- what is wrong with a machine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (machine(First=task("Nowhere")), "Nowhere, which does not exist"),
        (machine(First=task(), Lonely=task()), "Lonely: can't be reached"),
        (machine(First=Wait(5, "First")), "First: never ends"),
        (machine(First=Choice((Rule(IsPresent("$.a"), "Good"),), "First")), "First: decides in a circle"),
        (machine(First=Choice((Rule(StringEquals("$.a", "x"), "Good"),), "Bad")), "ask IsPresent first"),
        (machine(First=task(timeout_seconds=0)), "needs a time-out"),
        (machine(First=task(timeout_seconds=901)), "needs a time-out"),
        (machine(First=task(heartbeat_seconds=60)), "heartbeat must be shorter"),
        (machine(First=task(retry=())), "retries nothing"),
        (machine(First=task(retry=(Retrier((ALL_ERRORS,), 1, 1, 1.0, 1),))), "does not pass by itself"),
        (machine(First=task(retry=(Retrier(("Unavailable",), 1, 0, 1.0, 1),))), "has a retry that can't be"),
        (machine(First=task(catch=())), "no Catch for States.ALL"),
        (machine(First=task(result_path="$")), "overwrite"),
        (machine(First=task(result_path="$.key")), "overwrite"),
        (machine(First=task(result_path="$.bucket.name")), "overwrite"),
        (machine(First=task(catch=(Catcher((ALL_ERRORS,), "Bad", "$.version_id"),))), "overwrite"),
        (machine(First=Wait(0, "Good")), "waits for nothing"),
        (replace(machine(First=task()), timeout_seconds=0), "needs a time-out"),
        (replace(machine(First=task()), start_at="Nowhere"), "Nowhere, which does not exist"),
        (replace(machine(First=task()), last_resort="Nowhere"), "Nowhere, which does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_machine_is_told_in_words(broken: StateMachine, said: str) -> None:
    assert any(said in problem for problem in problems(broken)), problems(broken)


# -- running it --------------------------------------------------------------------------------------------------


def test_entering_goes_on_to_the_first_state_that_needs_work() -> None:
    assert enter(STATE_MACHINE, "DetermineFileType", INPUT).then == RunTask("ProcessGeneric", INPUT)
    assert enter(STATE_MACHINE, "WaitForVideoProcessing", INPUT).then == WaitFor("WaitForVideoProcessing", INPUT, 30)


def test_a_choice_with_nothing_to_read_takes_the_default() -> None:
    assert enter(STATE_MACHINE, "DetermineFileType", {}).then.state == "ProcessGeneric"
    assert enter(STATE_MACHINE, "IsVideoProcessingComplete", {"job_status": "odd"}).then.state == (
        "WaitForVideoProcessing"
    )


def test_data_that_a_rule_can_not_read_goes_to_the_last_resort() -> None:
    unguarded = Choice((Rule(StringEquals("$.nothing.here", "x"), "Good"),), "Good")
    broken = machine(First=unguarded, Record=task("Bad", result_path="$.failure"))
    assert enter(broken, "First", INPUT).then == End(
        "First", INPUT, ExecutionStatus.FAILED, "States.Runtime", "the data has nothing at $.nothing.here"
    )
    rescued = enter(replace(broken, last_resort="Record"), "First", INPUT).then
    assert isinstance(rescued, RunTask)
    assert rescued.state == "Record"
    assert rescued.data["error"]["Error"] == "States.Runtime"


def test_nothing_is_rescued_twice() -> None:
    """What fails while its failure is recorded just fails; it must not go round in circles."""
    move = rescue(STATE_MACHINE, "RecordFailure", INPUT, TaskFailure(("States.Timeout",), "out of time"))
    assert move.then == End("RecordFailure", INPUT, ExecutionStatus.FAILED, "States.Timeout", "out of time")


def test_the_first_retrier_that_matches_decides() -> None:
    two = task(retry=(Retrier(("NoSpace",), 1, 1, 1.0, 9), Retrier(("Unavailable",), 2, 5, 1.0, 9)))
    full = failure_of_exception(NoSpace("writing", "the disk is full"))
    first = failed(machine(First=two), "First", INPUT, full, ())
    assert first == RetryLater((1, 0), 1.0)
    assert isinstance(failed(machine(First=two), "First", INPUT, full, (1, 0)), Move)
    busy = failure_of_exception(Unavailable("writing", "busy"))
    assert failed(machine(First=two), "First", INPUT, busy, (1, 0)) == RetryLater((1, 1), 2.0)


def test_waits_between_attempts_grow_to_a_ceiling() -> None:
    assert [RETRY[0].ceiling_seconds(retry) for retry in (1, 2, 3, 4)] == [2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (NoSpace("a", "b"), ("NoSpace", "Unavailable")),
        (Conflict("a", "b"), ("Conflict",)),
        (ProcessingFailed("a", "b", code=ErrorCode.LIMIT), ("E_LIMIT", "ProcessingFailed")),
        (ZeroDivisionError("secret"), ("E_INTERNAL",)),
    ],
)
def test_errors_go_by_their_name_and_that_of_their_families(error: Exception, names: tuple[str, ...]) -> None:
    failure = failure_of_exception(error)
    assert failure.names == names
    assert "secret" not in failure.cause


def lambda_error(name: str, message: str) -> dict[str, Any]:
    """The data after a function on Lambda failed: its error's type and message, wrapped in JSON."""
    wrapped = {"errorMessage": message, "errorType": name, "stackTrace": ["secret"]}
    return {"error": {"Error": name, "Cause": json.dumps(wrapped)}}


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        ({"refusal": {"error": "is text", "error_code": "E_TYPE"}}, ErrorCode.TYPE_MISMATCH, "is text"),
        ({"error": {"Error": "E_DECODE", "Cause": "truncated"}}, ErrorCode.DECODE, "truncated"),
        ({"error": {"Error": "NoSpace", "Cause": "full"}}, ErrorCode.NO_SPACE, "full"),
        ({"error": {"Error": "States.Timeout", "Cause": "slow"}}, ErrorCode.TIMEOUT, "slow"),
        ({"error": {"Error": "Corrupt", "Cause": "damaged"}}, ErrorCode.INTERNAL, "damaged"),
        (
            {"error": {"Error": "E_LIMIT", "Cause": json.dumps({"errorMessage": "too big", "stackTrace": ["x"]})}},
            ErrorCode.LIMIT,
            "too big",
        ),
        ({"error": {"Error": "E_LIMIT", "Cause": "[1, 2]"}}, ErrorCode.LIMIT, "[1, 2]"),
        (
            {"refusal": {"error": "is text", "error_code": "E_TYPE"}, "error": {"Error": "Conflict", "Cause": "late"}},
            ErrorCode.INTERNAL,
            "late",
        ),
        ({}, ErrorCode.INTERNAL, "it failed without saying why"),
        (lambda_error("E_DECODE", "[E_DECODE] truncated"), ErrorCode.DECODE, "truncated"),
        (lambda_error("Runtime.HandlerError", "[E_DECODE] truncated"), ErrorCode.DECODE, "truncated"),
        (lambda_error("Runtime.HandlerError", "[NoSpace] /tmp is full"), ErrorCode.NO_SPACE, "/tmp is full"),
        (lambda_error("Unavailable", "[Unavailable] busy"), ErrorCode.INTERNAL, "busy"),
        (lambda_error("E_LIMIT", "no prefix"), ErrorCode.LIMIT, "no prefix"),
        ({"error": {"Error": "E_DECODE", "Cause": "[x] is broken"}}, ErrorCode.DECODE, "[x] is broken"),
        (
            lambda_error("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 seconds"),
            ErrorCode.TIMEOUT,
            "it took longer than it may",
        ),
        (
            lambda_error("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: signal: killed"),
            ErrorCode.CRASH,
            "what worked on it ran out of memory, or crashed",
        ),
        (
            {"error": {"Error": "Lambda.Unknown", "Cause": "no error type. Returned payload: Task timed out"}},
            ErrorCode.TIMEOUT,
            "it took longer than it may",
        ),
        ({"error": {"Error": "States.Timeout"}}, ErrorCode.TIMEOUT, "it took longer than it may"),
        ({"error": {"Error": "States.Timeout", "Cause": None}}, ErrorCode.TIMEOUT, "it took longer than it may"),
    ],
)
def test_a_failure_is_read_from_wherever_it_was_told(data: dict[str, Any], code: ErrorCode, words: str) -> None:
    failure = failure_of(data)
    assert (failure.code, failure.words) == (code, words)
    assert failure.as_result() == {"Error": code.value, "Cause": words}


# -- random machines ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["A", "B", "C", "D", "E", "Good", "Bad"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.text("abcdeklvy_", min_size=1, max_size=6)
PATHS = (
    st.lists(PARTS, min_size=1, max_size=3)
    .filter(lambda parts: parts[0] not in PROTECTED_NAMES)
    .map(lambda parts: "$." + ".".join(parts))
)
CONDITIONS = st.one_of(
    st.builds(IsPresent, PATHS),
    st.builds(text_is, PATHS, st.text(max_size=3)),
    st.builds(lambda a, b: AllOf((IsPresent(a), IsPresent(b))), PATHS, PATHS),
)
STATES = st.one_of(
    st.builds(
        lambda following, path, caught, error_path: Task(
            "f", following, 60, path, RETRY, (Catcher((ALL_ERRORS,), caught, error_path),)
        ),
        NAMES,
        PATHS,
        NAMES,
        PATHS,
    ),
    st.builds(
        lambda rules, default: Choice(tuple(rules), default), st.lists(st.builds(Rule, CONDITIONS, NAMES)), NAMES
    ),
    st.builds(Wait, st.integers(1, 60), NAMES),
)
MACHINES = st.builds(
    lambda states, last_resort: StateMachine(
        "m",
        "",
        "A",
        60,
        {**states, "Good": Succeed(), "Bad": Fail("$.error.Error", "$.error.Cause")},
        last_resort,
    ),
    st.fixed_dictionaries(dict.fromkeys("ABCDE", STATES)),
    st.sampled_from(["", "E"]),
)


def spins(machine: StateMachine) -> bool:
    return any("circle" in problem or "does not exist" in problem for problem in problems(machine))


@given(machine=MACHINES.filter(lambda machine: not spins(machine)), draw=st.data())
def test_no_way_through_any_machine_loses_what_it_was_started_with(machine: StateMachine, draw: st.DataObject) -> None:
    """Whatever the states, the answers and the failures: input stays, and each move adds at its own path only."""
    move = enter(machine, machine.start_at, INPUT)
    for _ in range(12):
        before = move.then.data
        assert {name: before[name] for name in INPUT} == INPUT
        if isinstance(move.then, End):
            assert move.then.status.ended
            return
        name = move.then.state
        if isinstance(move.then, WaitFor):
            move = waited(machine, name, before)
            assert move.then.data == before or machine.last_resort
            continue
        state = machine.states[name]
        assert isinstance(state, Task)
        if draw.draw(st.booleans()):
            result = draw.draw(JSON)
            move = succeeded(machine, name, before, result)
            assert move.visits[0].output == put(before, state.result_path, result)
        else:
            following = failed(machine, name, before, TaskFailure(("Corrupt",), "broken"), ())
            assert isinstance(following, Move)
            move = following


@given(
    data=st.dictionaries(PARTS, JSON, max_size=4),
    path=PATHS,
    value=JSON,
)
def test_putting_a_value_changes_nothing_beside_its_path(data: dict[str, Any], path: str, value: Any) -> None:
    snapshot = json.dumps(data)
    after = put(data, path, value)
    assert json.dumps(data) == snapshot
    head = path.removeprefix("$.").split(".")[0]
    assert {name: each for name, each in after.items() if name != head} == {
        name: each for name, each in data.items() if name != head
    }
    found: Any = after
    for part in path.removeprefix("$.").split("."):
        found = found[part]
    assert found == value


def test_a_cancelled_step_is_terminal() -> None:
    """A step that gave up because it was told to is not tried again by itself."""
    failure = failure_of_exception(Cancelled("processing", "somebody stopped it"))
    assert isinstance(failed(STATE_MACHINE, "ProcessImage", INPUT, failure, ()), Move)
    assert isinstance(failed(STATE_MACHINE, "ProcessImage", INPUT, failure_of_exception(Corrupt("a", "b")), ()), Move)
