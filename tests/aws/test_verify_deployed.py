"""``verify`` and ``load-test`` over the deployed home: healthy passes, each planted fault fails, nothing stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any, Final

import pytest

from aws.conftest import until
from aws.test_flow import PRIMARY, jpeg, platform, put, record_of
from contentplatform.app import AwsHome
from contentplatform.catalog.port import SearchQuery
from contentplatform.errors import ErrorCode
from contentplatform.ingest.queue import UPLOADS
from contentplatform.storage.port import BucketRole, walk_versions
from contentplatform.verify.aws import AwsChecks
from contentplatform.verify.report import Verdict, judged
from contentplatform.verify.verification import FOLDER

WHERE: Final = {"Bucket": PRIMARY}
OF_EXECUTIONS: Final = "executions succeed"
RECENT: Final = 200
FAULTS_ALLOWED: Final = 0.05


def rows(report: dict[str, Any]) -> dict[str, str]:
    """Verdicts by check."""
    return {row["name"]: row["verdict"] for row in report["rows"]}


def deserved(home: AwsHome) -> Verdict:
    """How the share of executions that succeeded has to be judged: tests before this one may have broken some."""
    recent = home.platform.engine.list(limit=RECENT).executions
    ended = [one for one in recent if one.status.ended and not str(one.input.get("key", "")).startswith(f"{FOLDER}/")]
    broken = [one for one in ended if one.error in {ErrorCode.INTERNAL, ErrorCode.NO_SPACE}]
    return Verdict.FAILED if len(broken) > len(ended) * FAULTS_ALLOWED else Verdict.PASSED


def test_a_healthy_home_passes_every_check_and_keeps_nothing_of_it(home: AwsHome, tmp_path: Any) -> None:
    executions = {deserved(home)}
    report = platform("verify", data=tmp_path)
    executions.add(deserved(home))
    failed = {row["name"] for row in report["rows"] if row["verdict"] == "failed"}
    assert failed <= {OF_EXECUTIONS}, report["rows"]
    assert rows(report)[OF_EXECUTIONS] in executions, report["rows"]
    assert (report["healthy"], report["left_over"]) == (not failed, [])
    assert {name for name, verdict in rows(report).items() if verdict == "warning"} <= {
        "alarms are set and somebody is told",  # the emulator refuses the stack that holds some of them
        "metrics arrive",  # the emulator measures none
    }
    assert rows(report)["edge answers"] == rows(report)["at least 90 % is replicated"] == "passed"
    for role in (BucketRole.PRIMARY, BucketRole.RAW, BucketRole.PROCESSED, BucketRole.ANALYTICS):
        assert [v.key for v in walk_versions(home.platform.store, role) if f"{FOLDER}/{report['run']}" in v.key] == []


def test_a_small_load_goes_through(home: AwsHome, tmp_path: Any) -> None:
    report = platform("load-test", "--files", "5", "--size", "20000", "--at-once", "5", data=tmp_path)
    assert (report["healthy"], report["completed"], report["left_over"]) == (True, 5, [])
    assert not home.platform.events.dead()


@contextmanager
def without_versioning(home: AwsHome) -> Iterator[None]:
    s3 = home.aws.client("s3")
    s3.put_bucket_versioning(**WHERE, VersioningConfiguration={"Status": "Suspended"})
    yield
    s3.put_bucket_versioning(**WHERE, VersioningConfiguration={"Status": "Enabled"})


@contextmanager
def open_to_the_public(home: AwsHome) -> Iterator[None]:
    s3 = home.aws.client("s3")
    block = s3.get_public_access_block(**WHERE)["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(**WHERE, PublicAccessBlockConfiguration={**block, "BlockPublicPolicy": False})
    yield
    s3.put_public_access_block(**WHERE, PublicAccessBlockConfiguration=block)


@contextmanager
def without_tls(home: AwsHome) -> Iterator[None]:
    s3 = home.aws.client("s3")
    text = s3.get_bucket_policy(**WHERE)["Policy"]
    policy = json.loads(text)
    kept = [one for one in policy["Statement"] if "aws:SecureTransport" not in json.dumps(one)]
    s3.put_bucket_policy(**WHERE, Policy=json.dumps({**policy, "Statement": kept}))
    yield
    s3.put_bucket_policy(**WHERE, Policy=text)


@contextmanager
def with_another_lifecycle(home: AwsHome) -> Iterator[None]:
    s3 = home.aws.client("s3")
    rules = s3.get_bucket_lifecycle_configuration(**WHERE)["Rules"]
    changed = json.loads(json.dumps(rules))
    changed[0]["Transitions"][0]["Days"] = 31
    s3.put_bucket_lifecycle_configuration(**WHERE, LifecycleConfiguration={"Rules": changed})
    yield
    s3.put_bucket_lifecycle_configuration(**WHERE, LifecycleConfiguration={"Rules": rules})


@contextmanager
def without_replication(home: AwsHome) -> Iterator[None]:
    s3 = home.aws.client("s3")
    rule = s3.get_bucket_replication(**WHERE)["ReplicationConfiguration"]
    s3.delete_bucket_replication(**WHERE)
    yield
    s3.put_bucket_replication(**WHERE, ReplicationConfiguration=rule)


@contextmanager
def unprotected_table(home: AwsHome) -> Iterator[None]:
    dynamodb = home.aws.client("dynamodb")
    dynamodb.update_table(TableName="content-ledger", DeletionProtectionEnabled=False)
    yield
    dynamodb.update_table(TableName="content-ledger", DeletionProtectionEnabled=True)


@contextmanager
def another_workflow(home: AwsHome) -> Iterator[None]:
    states = home.aws.client("stepfunctions")
    [machine] = states.list_state_machines()["stateMachines"]
    arn = machine["stateMachineArn"]
    text = states.describe_state_machine(stateMachineArn=arn)["definition"]
    changed = json.loads(text)
    changed["States"]["ProcessImage"]["TimeoutSeconds"] = 1
    states.update_state_machine(stateMachineArn=arn, definition=json.dumps(changed))
    yield
    states.update_state_machine(stateMachineArn=arn, definition=text)


@contextmanager
def a_dead_event(home: AwsHome) -> Iterator[None]:
    sqs = home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.dead_letter_name)["QueueUrl"]
    record = {"eventSource": "aws:s3", "s3": {"bucket": {"name": PRIMARY}, "object": {"key": "never"}}}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
    yield
    sqs.purge_queue(QueueUrl=url)
    until(lambda: not home.platform.events.dead(), "the dead-letter queue is empty")


@contextmanager
def a_ringing_alarm(home: AwsHome) -> Iterator[None]:
    cloudwatch = home.aws.client("cloudwatch")
    name = "lambda-high-error-rate"
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="planted")
    yield
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="over")


@contextmanager
def another_runtime(home: AwsHome) -> Iterator[None]:
    functions = home.aws.client("lambda")
    functions.update_function_configuration(FunctionName="record-failure", Runtime="python3.12")
    yield
    functions.update_function_configuration(FunctionName="record-failure", Runtime="python3.13")
    functions.get_waiter("function_updated_v2").wait(FunctionName="record-failure", WaiterConfig={"Delay": 1})


@contextmanager
def a_queue_that_calls_nobody(home: AwsHome) -> Iterator[None]:
    functions = home.aws.client("lambda")
    mappings = functions.list_event_source_mappings()["EventSourceMappings"]
    [mapping] = [one["UUID"] for one in mappings if one["EventSourceArn"].endswith(f":{UPLOADS.name}")]
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=mapping, Enabled=True)


@contextmanager
def files_without_a_second_copy(home: AwsHome) -> Iterator[None]:
    """Only the newest few are looked at here, so a few are enough, whatever other tests left."""
    library, catalog = home.platform.library, home.platform.catalog
    keys = [f"unreplicated/{number}.txt" for number in range(3)]
    with without_replication(home), pytest.MonkeyPatch.context() as patch:
        patch.setattr("contentplatform.verify.aws._NEWEST", 10)
        for key in keys:
            library.add(key, BytesIO(key.encode()))
        until(lambda: len(catalog.search(SearchQuery(folder="unreplicated")).records) == len(keys), "all are recorded")
        yield
    for key in keys:
        library.remove(key)


FAULTS: Final[dict[str, Callable[[AwsHome], Any]]] = {
    "buckets are versioned": without_versioning,
    "buckets are closed to the public": open_to_the_public,
    "buckets take requests over TLS only": without_tls,
    "lifecycle rules are in force": with_another_lifecycle,
    "replication is configured": without_replication,
    "tables are there, recoverable and protected": unprotected_table,
    "the workflow is deployed as it is defined": another_workflow,
    "no event waits for a person": a_dead_event,
    "alarms are set and somebody is told": a_ringing_alarm,
    "functions are ready": another_runtime,
    "the queue calls the upload handler": a_queue_that_calls_nobody,
    "at least 90 % is replicated": files_without_a_second_copy,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_its_check(home: AwsHome, name: str) -> None:
    checks = AwsChecks(home, threading.Event())
    [check] = [check for title, check in (*checks.before("run"), *checks.after("run")) if title == name]
    with FAULTS[name](home):
        assert judged(name, check).verdict is Verdict.FAILED
    assert judged(name, check).verdict is not Verdict.FAILED


def test_an_edge_that_serves_something_else_fails_its_check(home: AwsHome, folder: str) -> None:
    key = f"{folder}/photo.jpg"
    put(home, key, jpeg())
    record = record_of(home, key)
    other = [replace(rendition, sha256="0" * 64) for rendition in record.renditions]
    for shown, verdict in ((record, Verdict.PASSED), (replace(record, renditions=tuple(other)), Verdict.FAILED)):
        checks = AwsChecks(home, threading.Event())
        checks.shown(shown)
        [edge] = [check for title, check in checks.after("run") if title == "edge answers"]
        assert judged("edge answers", edge).verdict is verdict
