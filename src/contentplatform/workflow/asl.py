"""The state machine in Amazon States Language, for Step Functions.

A Task calls its function by the direct ARN form, not by ``arn:aws:states:::lambda:invoke``: so the result of the
function *is* the result of the state, and ``ResultPath`` puts it where the local executor puts it. The optimised
integration wraps it into ``{"Payload": …, "StatusCode": …}``, and no ResultSelector can unwrap that to its root.
``function_arns`` should name versions or aliases, so that what is in flight does not change under a deployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from contentplatform.workflow.definition import (
    AllOf,
    Catcher,
    Choice,
    Condition,
    Fail,
    IsPresent,
    Retrier,
    State,
    StateMachine,
    StringEquals,
    Succeed,
    Task,
    Wait,
)


def to_asl(machine: StateMachine, function_arns: Mapping[str, str]) -> str:
    """The machine as Amazon States Language: JSON, indented, in a stable order.

    Args:
        machine: a machine without problems.
        function_arns: the ARN, or a placeholder for one, of every resource that the machine's Tasks name.

    Raises:
        KeyError: a resource has no ARN.
    """
    document = {
        "Comment": machine.comment,
        "StartAt": machine.start_at,
        "TimeoutSeconds": machine.timeout_seconds,
        "States": {name: _state(state, function_arns) for name, state in machine.states.items()},
    }
    return json.dumps(document, indent=2) + "\n"


def _state(state: State, function_arns: Mapping[str, str]) -> dict[str, Any]:
    match state:
        case Task():
            return _task(state, function_arns)
        case Choice(rules, default):
            choices = [{**_condition(rule.when), "Next": rule.next} for rule in rules]
            return {"Type": "Choice", "Choices": choices, "Default": default}
        case Wait(seconds, following):
            return {"Type": "Wait", "Seconds": seconds, "Next": following}
        case Succeed():
            return {"Type": "Succeed"}
        case Fail(error_path, cause_path):
            return {"Type": "Fail", "ErrorPath": error_path, "CausePath": cause_path}


def _task(task: Task, function_arns: Mapping[str, str]) -> dict[str, Any]:
    heartbeat = {} if task.heartbeat_seconds is None else {"HeartbeatSeconds": task.heartbeat_seconds}
    return {
        "Type": "Task",
        "Resource": function_arns[task.resource],
        "TimeoutSeconds": task.timeout_seconds,
        **heartbeat,
        "ResultPath": task.result_path,
        "Retry": [_retrier(retrier) for retrier in task.retry],
        "Catch": [_catcher(catcher) for catcher in task.catch],
        "Next": task.next,
    }


def _retrier(retrier: Retrier) -> dict[str, Any]:
    return {
        "ErrorEquals": list(retrier.error_names),
        "IntervalSeconds": retrier.interval_seconds,
        "MaxAttempts": retrier.max_attempts,
        "BackoffRate": retrier.backoff_rate,
        "MaxDelaySeconds": retrier.max_delay_seconds,
        "JitterStrategy": "FULL",
    }


def _catcher(catcher: Catcher) -> dict[str, Any]:
    return {"ErrorEquals": list(catcher.error_names), "ResultPath": catcher.result_path, "Next": catcher.next}


def _condition(condition: Condition) -> dict[str, Any]:
    match condition:
        case IsPresent(variable):
            return {"Variable": variable, "IsPresent": True}
        case StringEquals(variable, value):
            return {"Variable": variable, "StringEquals": value}
        case AllOf(conditions):
            return {"And": [_condition(part) for part in conditions]}
