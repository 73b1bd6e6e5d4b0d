"""The deployed home under faults: throttled and killed functions, broken states, messages that can't be handled.

Whatever happens, a file ends as completed or as failed with its reason, and no event is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from aws.conftest import Deployed, until
from aws.function_calls import execution_arn, machine_arn, waiting_workflow, waits
from aws.test_flow import PRIMARY, jpeg, platform, put, record_of
from aws.test_least_privilege import Role, without
from contentplatform.app import PROCESSED_KINDS, AwsHome
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.errors import ErrorCode, NotFound
from contentplatform.ingest.queue import UPLOADS
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform.workflow.port import ExecutionStatus
from emulator import select_pause

ROUNDS: Final = 6
THROTTLED: Final = ("content-upload-handler", "content-image-processor")
TASKS: Final = {name: state.resource for name, state in STATE_MACHINE.states.items() if isinstance(state, Task)}
ON_THE_WAY: Final = {
    "ProcessImage": "image",
    "ProcessVideo": "film",
    "ProcessAudio": "sound",
    "ProcessDocument": "text",
    "ProcessGeneric": "bytes",
    "UpdateMetadata": "image",
    "InvalidateCloudFrontCache": "image",
    "RecordFailure": "broken image",
}
"""States that a file passes: which file. The others are begun at: a film comes there only after its encoding."""
BODIES: Final[Mapping[str, Callable[[], bytes]]] = {
    "image": jpeg,
    "film": lambda: b"\0\0\0\x18ftypisom\0\0\2\0isommp42",
    "sound": lambda: b"fLaC\0\0\0\x22" + bytes(34),
    "text": lambda: b"words\n",
    "bytes": lambda: bytes(range(256)),
    "broken image": lambda: jpeg()[:900],
}
ENDED: Final = {ProcessingStatus.COMPLETED, ProcessingStatus.FAILED}
NOT_THE_FILES_FAULT: Final = frozenset({ErrorCode.CRASH, ErrorCode.INTERNAL, ErrorCode.TIMEOUT})
"""What becomes of good files whose functions are killed, or starved on a busy machine."""


# -- breaking, and mending ---------------------------------------------------------------------------------------


@contextmanager
def told_again_soon(home: AwsHome, seconds: int = 3) -> Iterator[None]:
    """A message whose handler was killed comes again after seconds, not after an hour and a half."""
    sqs = home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        long = str(UPLOADS.visibility_timeout_seconds)
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": long})


@contextmanager
def throttled(home: AwsHome, at_once: int) -> Iterator[None]:
    """The functions that everything goes through may run so many times at once."""
    functions = home.aws.client("lambda")
    for name in THROTTLED:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=at_once)
    try:
        yield
    finally:
        for name in THROTTLED:
            functions.delete_function_concurrency(FunctionName=name)


@contextmanager
def broken(home: AwsHome, function: str) -> Iterator[None]:
    """The alias that everything calls leads to a version of a function that has no code to run."""
    functions = home.aws.client("lambda")
    handler = functions.get_function_configuration(FunctionName=function)["Handler"]
    live = functions.get_alias(FunctionName=function, Name="live")["FunctionVersion"]
    functions.update_function_configuration(FunctionName=function, Handler="nowhere.handle")
    try:
        version = functions.publish_version(FunctionName=function)["Version"]
        functions.update_alias(FunctionName=function, Name="live", FunctionVersion=version)
        yield
    finally:
        functions.update_alias(FunctionName=function, Name="live", FunctionVersion=live)
        functions.update_function_configuration(FunctionName=function, Handler=handler)


@contextmanager
def begun_at(home: AwsHome, state: str) -> Iterator[None]:
    """Executions begin at this state."""
    states, arn = home.aws.client("stepfunctions"), machine_arn(home)
    text = states.describe_state_machine(stateMachineArn=arn)["definition"]
    states.update_state_machine(stateMachineArn=arn, definition=json.dumps({**json.loads(text), "StartAt": state}))
    try:
        yield
    finally:
        states.update_state_machine(stateMachineArn=arn, definition=text)


@contextmanager
def without_right(home: AwsHome, function: str, action: str) -> Iterator[None]:
    """A function's role lacks one action."""
    role = Role(home, function)
    role.put(without(role.policy, [right for right in role.rights if right.action == action]))
    try:
        yield
    finally:
        role.put(role.policy)


def kill_functions(deployed: Deployed) -> int:
    """Kill every process of a function, whatever it is doing; how many there were."""
    server = deployed.emulator._process.pid
    victims = [pid for pid, parent in _processes() if parent == server]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(victims)


def _processes() -> Iterator[tuple[int, int]]:
    """Every process and its parent."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                told = (folder / "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), int(told.rpartition(")")[2].split()[1])


# -- a storm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [24, *(pytest.param(files, marks=pytest.mark.soak) for files in (80, 200))])
def test_many_files_through_throttled_and_killed_functions(
    home: AwsHome, deployed: Deployed, folder: str, tmp_path: Path, files: int
) -> None:
    names = [f"{folder}/{number:03d}" for number in range(files)]
    bodies = {
        name: (jpeg(number, (48, 32)) if number % 10 == 0 else f"bytes\0{number} of {folder}".encode())
        for number, name in enumerate(names)
    }
    killed = 0
    # What is killed now, as what S3 told of when it was set up, would come again after an hour and a half.
    until(lambda: home.platform.events.waiting() == 0, "what was before is taken in")
    # Without the right to put it off a message comes again after the queue's own time-out.
    with without_right(home, "content-upload-handler", "sqs:ChangeMessageVisibility"):
        with told_again_soon(home):
            with ThreadPoolExecutor(10) as pool:
                stored = [pool.submit(put, home, name, bodies[name]) for name in names]
                for number in range(ROUNDS):
                    with throttled(home, number % 2):
                        killed += kill_functions(deployed)
                        select_pause(0.5)
                    select_pause(1.0)
                for one in stored:
                    one.result()
            assert killed, "nothing was at work"
            until(lambda: home.platform.events.waiting() == 0, "the queue is empty")
        with told_again_soon(home, 30):

            def taken_in() -> bool:
                """Whether each event is; those that were put aside are tried again."""
                if home.platform.events.dead():
                    home.platform.events.redrive()
                return home.platform.events.waiting() == 0 and not home.platform.events.dead()

            until(taken_in, "what was put aside is taken in, too")

    def ended() -> list[Record]:
        """The files' records, once all have ended; what a killed recorder left lying, the reconciler finds."""
        told = home.aws.client("lambda").invoke(FunctionName="content-reconciler", Qualifier="live", Payload=b"{}")
        told["Payload"].read()
        found = [_record(home, name) for name in names]
        return [one for one in found if one is not None] if all(one and one.status in ENDED for one in found) else []

    for record in until(ended, "every file has ended"):
        assert (record.status is ProcessingStatus.FAILED) == bool(record.error), record
        assert record.error_code in {None, *NOT_THE_FILES_FAULT}, record

    def completed() -> list[Record]:
        """The files' records, once all are completed; where a busy machine let one time out, it is tried again."""
        found = [one for name in names if (one := _record(home, name))]
        if all(one.status in ENDED for one in found) and (failed := [one for one in found if one.error]):
            assert {one.error_code for one in failed} <= NOT_THE_FILES_FAULT, failed
            platform("executions", "retry", "--failed", data=tmp_path)
        return found if all(one.status is ProcessingStatus.COMPLETED for one in found) else []

    records = until(completed, "what failed was processed again")
    assert len(records) == files
    assert {one.file_hash for one in records} == {hashlib.sha256(body).hexdigest() for body in bodies.values()}
    until(
        lambda: len(home.platform.catalog.search(SearchQuery(folder=folder), limit=1_000).records) == files,
        "each is found",
    )
    assert home.platform.events.dead() == ()


def _record(home: AwsHome, key: str) -> Record | None:
    try:
        return home.platform.catalog.get(file_id(key))
    except NotFound:
        return None


# -- each state --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", TASKS)
def test_a_state_whose_function_is_broken_ends_in_words(home: AwsHome, folder: str, state: str, tmp_path: Path) -> None:
    key = f"{folder}/a file"
    with broken(home, TASKS[state]):
        if state in ON_THE_WAY:
            put(home, key, BODIES[ON_THE_WAY[state]]())
            record = record_of(home, key)
        else:
            with begun_at(home, state):
                put(home, key, b"words\n")
                record = record_of(home, key)
    name = home.platform.catalog.get_entry(record.file_id, record.version_id).execution
    until(lambda: home.platform.engine.get(name).status.ended, f"{name} has ended")
    told = platform("executions", "show", name, data=tmp_path)
    assert state in {event["state"] for event in told["history"]}
    if state == "InvalidateCloudFrontCache":
        assert (record.status, record.error, told["status"]) == (ProcessingStatus.COMPLETED, None, "succeeded")
        return
    assert (record.status, told["status"]) == (ProcessingStatus.FAILED, "failed")
    assert record.error
    assert "Traceback" not in record.error
    assert "{" not in record.error
    assert record.error_code is (ErrorCode.DECODE if state == "RecordFailure" else ErrorCode.INTERNAL)
    assert told["error"] == record.error_code.value
    assert told["cause"] == record.error


def test_every_kind_that_is_processed_passes_a_state_that_is_broken_here() -> None:
    assert set(ON_THE_WAY) <= set(TASKS)
    passed = {TASKS[state].removeprefix("content-").removesuffix("-processor") for state in ON_THE_WAY}
    assert {kind.value for kind in PROCESSED_KINDS} <= passed


# -- executions that end past every state ------------------------------------------------------------------------


def test_an_execution_that_was_stopped_by_hand_leaves_a_failed_record(
    home: AwsHome, folder: str, tmp_path: Path
) -> None:
    key = f"{folder}/stopped.txt"
    with waiting_workflow(home):
        put(home, key, b"words\n")
        entry = until(lambda: _entry(home, key), "its execution runs")
        waits(home, entry.execution)
    states = home.aws.client("stepfunctions")
    states.stop_execution(executionArn=execution_arn(home, entry.execution), cause="it took too long for me")
    record = record_of(home, key)
    assert (record.status, record.error_code) == (ProcessingStatus.FAILED, ErrorCode.CANCELLED)
    assert record.error == "stopped at Step Functions: it took too long for me"
    told = platform("executions", "show", entry.execution, data=tmp_path)
    assert (told["status"], told["cause"]) == ("cancelled", record.error)
    started = platform("executions", "retry", entry.execution, data=tmp_path)["started"]
    until(lambda: home.platform.engine.get(started[0]).status is ExecutionStatus.SUCCEEDED, "it was processed again")
    assert record_of(home, key).status is ProcessingStatus.COMPLETED


def _entry(home: AwsHome, key: str) -> Any:
    """The entry of a file whose execution runs."""
    record = _record(home, key)
    if record is None:
        return None
    entry = home.platform.catalog.get_entry(record.file_id, record.version_id)
    running = home.platform.engine.get(entry.execution).status is ExecutionStatus.RUNNING
    return entry if running else None


# -- messages ----------------------------------------------------------------------------------------------------


def test_messages_that_always_fail_wait_for_a_person_and_hold_up_nobody(home: AwsHome, folder: str) -> None:
    from contentplatform.verify.aws import AwsChecks  # noqa: PLC0415 - loads boto3
    from contentplatform.verify.report import Verdict, judged  # noqa: PLC0415 - same

    sqs = home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.name)["QueueUrl"]
    key = f"{folder}/unlucky.txt"
    foreign = {"Records": [{"s3": {"bucket": {"name": "somebody-elses"}, "object": {"key": "theirs.txt"}}}]}
    [check] = [
        check
        for title, check in AwsChecks(home, threading.Event()).after("run")
        if title == "no event waits for a person"
    ]
    # Without the right to put it off a message comes again after the queue's own time-out.
    with (
        told_again_soon(home, 1),
        without_right(home, "content-upload-handler", "sqs:ChangeMessageVisibility"),
    ):
        with without_right(home, "content-upload-handler", "states:StartExecution"):
            put(home, key, b"words\n")
            until(home.platform.events.dead, "the message was put aside")
        for body in (json.dumps(foreign), "{no JSON", json.dumps({"Event": "s3:TestEvent", "Bucket": PRIMARY})):
            sqs.send_message(QueueUrl=url, MessageBody=body)
        put(home, f"{folder}/lucky.txt", b"words of luck\n")
        assert record_of(home, f"{folder}/lucky.txt").status is ProcessingStatus.COMPLETED
        until(lambda: home.platform.events.waiting() == 0, "the queue is empty")
    dead = until(lambda: found if len(found := home.platform.events.dead()) == 3 else None, "three were put aside")
    assert {event.event.key for event in dead} == {key, ""}
    reasons = [event.reason for event in dead]
    assert any("another bucket, 'somebody-elses'" in reason for reason in reasons)
    assert any("it is not JSON" in reason for reason in reasons)
    verdict = judged("events", check)
    assert verdict.verdict is Verdict.FAILED

    assert home.platform.events.redrive() == 3
    assert record_of(home, key).status is ProcessingStatus.COMPLETED
    with told_again_soon(home):
        sqs.purge_queue(QueueUrl=url)
    assert home.platform.events.dead() == ()
