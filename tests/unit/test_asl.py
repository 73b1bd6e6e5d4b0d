"""The machine as Step Functions reads it: a golden file, and cfn-lint as the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint import api
from cfnlint.config import ManualArgs

from contentplatform.workflow.asl import to_asl
from contentplatform.workflow.definition import STATE_MACHINE, Task

GOLDEN = Path(__file__).parent / "golden" / "content-processing-workflow.asl.json"
ARNS = {
    state.resource: f"arn:aws:lambda:us-east-1:123456789012:function:{state.resource}:live"
    for state in STATE_MACHINE.states.values()
    if isinstance(state, Task)
}


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    """The rendered machine, parsed again."""
    document: dict[str, Any] = json.loads(to_asl(STATE_MACHINE, ARNS))
    return document


def complaints(definition: dict[str, Any]) -> list[str]:
    """What cfn-lint says of a template that holds nothing but this state machine."""
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {
            "RoleArn": "arn:aws:iam::123456789012:role/StepFunctions-ContentProcessing-Role",
            "Definition": definition,
        },
    }
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Workflow": machine}}
    found = api.lint(json.dumps(template), config=ManualArgs(regions=["us-east-1"]))
    return [f"{match.rule.id} {match.message}" for match in found]


def test_the_rendered_machine_is_the_golden_file() -> None:
    """A change of the definition shows as a change of what Step Functions runs; write the file anew on purpose."""
    assert to_asl(STATE_MACHINE, ARNS) == GOLDEN.read_text("utf-8")


def test_cfn_lint_finds_nothing_in_it(rendered: dict[str, Any]) -> None:
    assert complaints(rendered) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"StartAt": "Nowhere"},
        {"States": {"DetermineFileType": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:1:function:x"}}},
        {"States": {"DetermineFileType": {"Type": "Wait", "Seconds": "soon", "End": True}}},
        {"States": {"DetermineFileType": {"Type": "Pause", "End": True}}},
    ],
    ids=["starts nowhere", "a task without an end", "waits for a word", "no such type"],
)
def test_cfn_lint_catches_a_broken_machine(rendered: dict[str, Any], broken: dict[str, Any]) -> None:
    """The judge above is awake: planted faults are found by its rule for state machines."""
    assert any(complaint.startswith("E3601") for complaint in complaints({**rendered, **broken}))


def test_every_state_of_the_definition_is_rendered(rendered: dict[str, Any]) -> None:
    assert list(rendered["States"]) == list(STATE_MACHINE.states)
    assert rendered["TimeoutSeconds"] == STATE_MACHINE.timeout_seconds


def test_every_task_keeps_its_input_and_is_called_directly(rendered: dict[str, Any]) -> None:
    """A function's answer is added under a path of its own: neither wrapped nor in place of the input."""
    tasks = {name: state for name, state in rendered["States"].items() if state["Type"] == "Task"}
    assert len(tasks) == 10
    for name, state in tasks.items():
        assert state["Resource"] in ARNS.values(), name
        assert state["ResultPath"].startswith("$."), name
        assert not {"OutputPath", "ResultSelector", "Parameters"} & set(state), name


def test_a_resource_without_an_arn_is_refused() -> None:
    with pytest.raises(KeyError, match="content-image-processor"):
        to_asl(STATE_MACHINE, {name: arn for name, arn in ARNS.items() if name != "content-image-processor"})
