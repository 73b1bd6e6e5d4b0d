"""The state machine as it stands in the template: parsed, walked, and its roles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform_infra.workflow import LOG_GROUP_NAME, task_functions
from infra.synthesis import ACCOUNT_ID, REGION, SUFFIX, Templates, named, resources

MACHINE: Final = "AWS::StepFunctions::StateMachine"
MACHINE_ARN: Final = f"arn:aws:states:{REGION}:{ACCOUNT_ID}:stateMachine:content-processing-workflow"


@pytest.fixture(scope="module")
def machine(templates: Templates) -> dict[str, Any]:
    return named(templates, MACHINE, StateMachineName="content-processing-workflow")


@pytest.fixture(scope="module")
def definition(machine: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(machine["DefinitionString"])
    return read


def states(definition: Mapping[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = [(name, state) for name, state in definition["States"].items() if state["Type"] == kind]
    assert found
    yield from found


def following(state: Mapping[str, Any]) -> Iterator[str]:
    for name in ("Next", "Default"):
        if name in state:
            yield state[name]
    for rule in (*state.get("Choices", ()), *state.get("Catch", ())):
        yield rule["Next"]


def test_every_choice_has_a_default(definition: dict[str, Any]) -> None:
    assert [name for name, state in states(definition, "Choice") if "Default" not in state] == []


def test_every_task_retries_and_catches_everything_in_bounded_time(definition: dict[str, Any]) -> None:
    for name, state in states(definition, "Task"):
        assert state["Retry"], name
        assert any(catcher["ErrorEquals"] == ["States.ALL"] for catcher in state["Catch"]), name
        assert 0 < state["TimeoutSeconds"] <= 900, name
        assert all(retrier["JitterStrategy"] == "FULL" for retrier in state["Retry"]), name
    assert 0 < definition["TimeoutSeconds"] <= 86_400


def test_no_task_loses_what_the_execution_was_started_with(definition: dict[str, Any]) -> None:
    for name, state in states(definition, "Task"):
        assert re.fullmatch(r"\$\.[a-z_]+", state["ResultPath"]), name
        assert state["ResultPath"][2:] not in {"bucket", "key", "version_id", "file_id"}


def test_every_state_is_reached_and_reaches_an_end(definition: dict[str, Any]) -> None:
    seen: set[str] = set()
    waiting = [definition["StartAt"]]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(following(definition["States"][name]))
    assert seen == set(definition["States"])
    assert {state["Type"] for state in definition["States"].values()} >= {"Succeed", "Fail"}


def test_every_placeholder_is_the_alias_of_the_function_that_the_state_names(
    templates: Templates, machine: dict[str, Any], definition: dict[str, Any]
) -> None:
    placeholders = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert placeholders == set(machine["DefinitionSubstitutions"])
    assert len(placeholders) == len(task_functions())
    for name, state in states(definition, "Task"):
        wanted = STATE_MACHINE.states[name]
        assert isinstance(wanted, Task)
        alias = machine["DefinitionSubstitutions"][state["Resource"].strip("${}")]["Ref"]
        held = templates["ContentPlatform"]["Resources"][alias]
        assert held["Type"] == "AWS::Lambda::Alias"
        function = templates["ContentPlatform"]["Resources"][held["Properties"]["FunctionName"]["Ref"]]
        assert function["Properties"]["FunctionName"] == wanted.resource


def test_a_state_outlives_the_function_that_it_calls(templates: Templates, definition: dict[str, Any]) -> None:
    """Else the state would give up on an answer that still comes, and retry beside it."""
    timeouts = {held["FunctionName"]: held["Timeout"] for _, held in resources(templates, "AWS::Lambda::Function")}
    for name, state in states(definition, "Task"):
        wanted = STATE_MACHINE.states[name]
        assert isinstance(wanted, Task)
        assert state["TimeoutSeconds"] >= timeouts[wanted.resource], name


def test_everything_that_happens_is_logged_and_traced(templates: Templates, machine: dict[str, Any]) -> None:
    logging = machine["LoggingConfiguration"]
    assert logging["Level"] == "ALL"
    assert logging["IncludeExecutionData"] is True
    [destination] = logging["Destinations"]
    [log, _] = destination["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"]
    held = templates["ContentPlatform"]["Resources"][log]["Properties"]
    assert held["LogGroupName"] == LOG_GROUP_NAME
    assert held["LogGroupName"].startswith("/aws/vendedlogs/states/")
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert machine["StateMachineType"] == "STANDARD"


def test_the_machine_s_role_calls_exactly_the_tasks_functions(templates: Templates) -> None:
    role = named(templates, "AWS::IAM::Role", RoleName="StepFunctions-ContentProcessing-Role")
    [policy] = role["Policies"]
    by_action = {str(statement["Action"]): statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]}
    called = {
        templates["ContentPlatform"]["Resources"][
            templates["ContentPlatform"]["Resources"][reference["Ref"]]["Properties"]["FunctionName"]["Ref"]
        ]["Properties"]["FunctionName"]
        for reference in by_action["lambda:InvokeFunction"]
    }
    assert called == set(task_functions())
    assert [resource for resource in by_action.values() if resource == "*"] == ["*", "*"]


@pytest.mark.parametrize(
    ("name", "service", "source"),
    [
        ("StepFunctions-ContentProcessing-Role", "states.amazonaws.com", MACHINE_ARN),
        ("MediaConvertRole", "mediaconvert.amazonaws.com", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:*"),
    ],
)
def test_a_service_takes_its_role_for_this_account_only(
    templates: Templates, name: str, service: str, source: str
) -> None:
    [statement] = named(templates, "AWS::IAM::Role", RoleName=name)["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": service}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
        "ArnLike": {"aws:SourceArn": source},
    }


def listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_mediaconvert_reads_what_is_laid_out_for_it_and_writes_rungs_only(templates: Templates) -> None:
    [policy] = named(templates, "AWS::IAM::Role", RoleName="MediaConvertRole")["Policies"]
    allowed = {
        (action, resource)
        for statement in policy["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }
    own = f"arn:aws:s3:::content-platform-processed-{SUFFIX}/versions/*"
    assert allowed == {
        ("s3:GetObject", f"{own}/staging/*"),
        *(
            (action, f"{own}/{rung}.mp4")
            for action in ("s3:PutObject", "s3:AbortMultipartUpload")
            for rung in ("720p", "480p")
        ),
    }
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement["Condition"] == {"StringEquals": {"aws:ResourceAccount": ACCOUNT_ID}}


def test_functions_find_mediaconvert_s_role_by_a_parameter(templates: Templates) -> None:
    parameter = named(templates, "AWS::SSM::Parameter", Name="/contentplatform/mediaconvert/role-arn")
    [role, attribute] = parameter["Value"]["Fn::GetAtt"]
    assert attribute == "Arn"
    assert templates["ContentPlatform"]["Resources"][role]["Properties"]["RoleName"] == "MediaConvertRole"
