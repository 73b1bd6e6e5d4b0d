"""Step Functions on the emulator as a home of the workflow's contract: the real machine, its steps in the test.

Each Task's resource is an activity instead of a function: what takes its tasks is the test itself, which so may choose
the very error names that Lambda reports. Everything else of the machine is as it is rendered for a deployment, but for
``Parameters``, which tell the test whose task it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from contentplatform.catalog.tables import LEDGER, Table
from contentplatform.drivers.boto import Aws
from contentplatform.workflow.asl import to_asl
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.interpreter import failure_of_exception
from contentplatform.workflow.port import TaskContext, TaskFunction
from emulator import select_pause

ROLE: Final = "arn:aws:iam::123456789012:role/StepFunctions-ContentProcessing-Role"
_CONTEXT: Final = {
    "data.$": "$",
    "execution.$": "$$.Execution.Name",
    "state.$": "$$.State.Name",
    "retries.$": "$$.State.RetryCount",
}
_PAUSE_SECONDS: Final = 0.005
_PATIENCE: Final = 40_000


def make_table(aws: Aws, table: Table) -> None:
    """Make a table of the catalog as a deployment would, as far as keys go."""
    keys = [(table.partition_key, table.sort_key), *((index.partition_key, index.sort_key) for index in table.indexes)]
    names = dict.fromkeys(name for pair in keys for name in pair if name)
    aws.client("dynamodb").create_table(
        TableName=table.name,
        KeySchema=_schema(table.partition_key, table.sort_key),
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.partition_key, index.sort_key),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in table.indexes
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def _schema(partition_key: str, sort_key: str | None) -> list[dict[str, str]]:
    keys = [{"AttributeName": partition_key, "KeyType": "HASH"}]
    return [*keys, {"AttributeName": sort_key, "KeyType": "RANGE"}] if sort_key else keys


class StepFunctions:
    """The deployed machine, and somebody who does what its tasks ask for when told to."""

    def __init__(self, aws: Aws, tasks: Mapping[str, TaskFunction], seconds: Callable[[], float]) -> None:
        self._states = aws.client("stepfunctions")
        self._tasks = tasks
        self._seconds = seconds
        make_table(aws, LEDGER)
        arns = {name: self._states.create_activity(name=name)["activityArn"] for name in tasks}
        self._names = {arn: name for name, arn in arns.items()}
        machine = json.loads(to_asl(STATE_MACHINE, arns))
        for state in machine["States"].values():
            if state["Type"] == "Task":
                state["Parameters"] = _CONTEXT
        found = self._states.create_state_machine(
            name=STATE_MACHINE.name, definition=json.dumps(machine), roleArn=ROLE, type="STANDARD"
        )
        self.arn = str(found["stateMachineArn"])
        self._done: set[tuple[str, int]] = set()

    def work(self) -> None:
        """Do every task until no execution is running."""
        for _ in range(_PATIENCE):
            running = self._states.list_executions(stateMachineArn=self.arn, statusFilter="RUNNING")["executions"]
            if not running:
                return
            found = [self._work_on(str(execution["executionArn"])) for execution in reversed(running)]
            if not any(found):
                select_pause(_PAUSE_SECONDS)
        raise TimeoutError("some execution never ended")

    def work_elsewhere(self) -> None:
        """Wait until no execution is running, whoever does its tasks."""
        for _ in range(_PATIENCE):
            if not self._states.list_executions(stateMachineArn=self.arn, statusFilter="RUNNING")["executions"]:
                return
            select_pause(_PAUSE_SECONDS)
        raise TimeoutError("some execution never ended")

    def _work_on(self, arn: str) -> bool:
        """Do what an execution waits for now; whether there was anything."""
        last = self._states.get_execution_history(executionArn=arn, reverseOrder=True, maxResults=1)["events"][0]
        if last["type"] != "TaskScheduled" or (arn, last["id"]) in self._done:
            return False
        self._done.add((arn, last["id"]))
        activity = last["taskScheduledEventDetails"]["resource"]
        while True:
            task = self._states.get_activity_task(activityArn=activity)
            asked = json.loads(task["input"])
            whose = f"{arn.rpartition(':')[0]}:{asked['execution']}"
            if self._states.describe_execution(executionArn=whose)["status"] == "RUNNING":
                break  # the emulator keeps tasks of executions that were stopped
        self._answer(task["taskToken"], self._names[activity], asked)
        return True

    def _answer(self, token: str, resource: str, asked: Mapping[str, Any]) -> None:
        data = asked["data"]
        context = TaskContext(
            execution=asked["execution"],
            file_id=data["file_id"],
            version_id=data["version_id"],
            state=asked["state"],
            attempt=int(asked["retries"]) + 1,
            token=1,
            deadline_seconds=self._seconds() + 60,
            cancelled=threading.Event(),
        )
        try:
            result = self._tasks[resource](data, context)
            for work in context.work_at_commit():
                work()
        except Exception as error:  # noqa: BLE001 - as the functions' runtime: whatever it was becomes an outcome
            failure = failure_of_exception(error)
            cause = {"errorMessage": f"[{failure.name}] {failure.cause}", "errorType": failure.name, "stackTrace": []}
            self._states.send_task_failure(taskToken=token, error=failure.name, cause=json.dumps(cause))
        else:
            self._states.send_task_success(taskToken=token, output=json.dumps(result))
