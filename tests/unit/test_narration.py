"""Step Functions' own events, told as a history."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from contentplatform.workflow.narration import narrate

START = datetime(2026, 1, 1, tzinfo=UTC)
GIVEN = {"key": "a.jpg"}


def events(*told: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of these types and details, a second apart, as GetExecutionHistory gives them."""
    found = []
    for number, (kind, details) in enumerate(told):
        event: dict[str, Any] = {"id": number + 1, "type": kind, "timestamp": START + timedelta(seconds=number)}
        if details:
            event["anyEventDetails" if "name" not in details else _details_of(kind)] = details
        found.append(event)
    return found


def _details_of(kind: str) -> str:
    return "stateEnteredEventDetails" if kind.endswith("Entered") else "stateExitedEventDetails"


def entered(kind: str, name: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{kind}StateEntered", {"name": name, "input": json.dumps(data)}


def exited(kind: str, name: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{kind}StateExited", {"name": name, "output": json.dumps(data)}


def failed(name: str, words: str) -> tuple[str, dict[str, Any]]:
    cause = {"errorMessage": f"[{name}] {words}", "errorType": name, "stackTrace": ["secret"]}
    return "LambdaFunctionFailed", {"error": name, "cause": json.dumps(cause)}


def shown(*told: tuple[str, dict[str, Any]]) -> list[tuple[str, str, int, str | None, str | None]]:
    narration = narrate(events(*told))
    assert [event.sequence for event in narration.events] == list(range(1, len(narration.events) + 1))
    return [(event.state, event.event, event.attempt, event.error, event.cause) for event in narration.events]


def test_each_attempt_is_told_with_the_error_that_the_function_raised() -> None:
    after = {**GIVEN, "result": 1}
    assert shown(
        entered("Task", "ProcessImage", GIVEN),
        ("LambdaFunctionScheduled", {}),
        ("LambdaFunctionStarted", {}),
        failed("Unavailable", "the disk is busy"),
        ("LambdaFunctionScheduled", {}),
        ("LambdaFunctionStarted", {}),
        ("LambdaFunctionSucceeded", {}),
        exited("Task", "ProcessImage", after),
        entered("Succeed", "ProcessingComplete", after),
        exited("Succeed", "ProcessingComplete", after),
        ("ExecutionSucceeded", {}),
    ) == [
        ("ProcessImage", "entered", 1, None, None),
        ("ProcessImage", "attempt_failed", 1, "Unavailable", "the disk is busy"),
        ("ProcessImage", "retry_scheduled", 1, "Unavailable", "the disk is busy"),
        ("ProcessImage", "succeeded", 2, None, None),
        ("ProcessingComplete", "entered", 1, None, None),
        ("ProcessingComplete", "succeeded", 1, None, None),
    ]


def test_a_caught_failure_and_the_fail_state() -> None:
    caught = {**GIVEN, "error": {"Error": "E_DECODE", "Cause": "x"}}
    assert shown(
        entered("Task", "ProcessImage", GIVEN),
        ("LambdaFunctionScheduled", {}),
        failed("E_DECODE", "truncated"),
        exited("Task", "ProcessImage", caught),
        entered("Fail", "ProcessingFailed", caught),
        ("ExecutionFailed", {"error": "E_DECODE", "cause": "truncated"}),
    ) == [
        ("ProcessImage", "entered", 1, None, None),
        ("ProcessImage", "attempt_failed", 1, "E_DECODE", "truncated"),
        ("ProcessImage", "caught", 1, "E_DECODE", "truncated"),
        ("ProcessingFailed", "entered", 1, None, None),
        ("ProcessingFailed", "failed", 1, "E_DECODE", "truncated"),
    ]


def test_an_end_by_step_functions_itself_is_the_states() -> None:
    for kind, details, expected in (
        ("ExecutionTimedOut", {}, ("failed", "States.Timeout", "")),
        ("ExecutionAborted", {"error": "Cancelled", "cause": "by hand"}, ("cancelled", "Cancelled", "by hand")),
        (
            "ExecutionFailed",
            {"error": "States.Runtime", "cause": "no such path"},
            ("failed", "States.Runtime", "no such path"),
        ),
    ):
        narration = narrate(
            events(entered("Task", "ProcessImage", GIVEN), ("LambdaFunctionScheduled", {}), (kind, details))
        )
        last = narration.events[-1]
        assert (last.state, (last.event, last.error, last.cause)) == ("ProcessImage", expected)
        assert (narration.state, narration.data) == ("ProcessImage", GIVEN)


def test_what_comes_after_the_end_is_left_out() -> None:
    narration = narrate(
        events(
            entered("Task", "ProcessImage", GIVEN),
            ("ExecutionAborted", {"error": "Cancelled", "cause": "by hand"}),
            exited("Task", "ProcessImage", {"late": True}),
        )
    )
    assert [event.event for event in narration.events] == ["entered", "cancelled"]
    assert narration.data == GIVEN
    assert narration.succeeded == frozenset()


def test_a_function_that_lambda_could_not_even_start_failed_too() -> None:
    (_, told) = shown(
        entered("Task", "ProcessImage", GIVEN),
        ("LambdaFunctionStartFailed", {"error": "Lambda.TooManyRequestsException", "cause": "slow down"}),
    )
    assert told == ("ProcessImage", "attempt_failed", 1, "Lambda.TooManyRequestsException", "slow down")


def test_only_a_function_that_answered_succeeded() -> None:
    narration = narrate(
        events(
            entered("Task", "UpdateMetadata", GIVEN),
            exited("Task", "UpdateMetadata", GIVEN),
            entered("Task", "RecordFailure", GIVEN),
            failed("Unavailable", "busy"),
            exited("Task", "RecordFailure", GIVEN),
        )
    )
    assert narration.succeeded == {"UpdateMetadata"}
