"""What the clock starts, called on the emulator as its schedule would: in the function's own process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from aws.conftest import Deployed, until
from billing import Billing
from contentplatform.app import AwsHome
from contentplatform.backup.port import REPORTS_PREFIX
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole, PutOptions


def called(home: AwsHome, function: str, event: Mapping[str, Any] | None = None, qualifier: str = "live") -> Any:
    """What a function answers.

    Raises:
        AssertionError: it failed.
    """
    answer = home.aws.client("lambda").invoke(
        FunctionName=function, Qualifier=qualifier, Payload=json.dumps(event or {}).encode()
    )
    told = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    return told


def listening(home: AwsHome, name: str) -> str:
    """A queue that hears the alerts."""
    queue = str(home.aws.client("sqs").create_queue(QueueName=name)["QueueUrl"])
    topic = f"arn:aws:sns:{home.aws.region}:{home.aws.account_id}:backup-alerts"
    arn = f"arn:aws:sqs:{home.aws.region}:{home.aws.account_id}:{name}"
    lets_in = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [lets_in]})
    home.aws.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    home.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return queue


def heard(home: AwsHome, queue: str) -> dict[str, Any]:
    """The alert that arrived."""
    sqs = home.aws.client("sqs")
    messages = until(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"), "an alert arrived")
    return dict(json.loads(messages[0]["Body"]))


def test_the_backup_validator_reports(home: AwsHome, deployed: Deployed, folder: str) -> None:
    assert deployed.stacks
    home.platform.store.put(BucketRole.PRIMARY, f"{folder}/a.txt", BytesIO(b"a"), PutOptions())
    report = called(home, "content-backup-validator")
    assert report["status"] in {"HEALTHY", "DEGRADED"}
    assert report["primary"]["objects"] >= 1
    with home.platform.store.open(BucketRole.ANALYTICS, f"{REPORTS_PREFIX}last.json") as reader:
        assert json.loads(reader.read()) == report


def test_the_reconciler_reports_what_it_looked_at(home: AwsHome, deployed: Deployed, folder: str) -> None:
    assert deployed.stacks
    key = f"{folder}/a.txt"
    home.platform.store.put(BucketRole.PRIMARY, key, BytesIO(b"a"), PutOptions())
    found = called(home, "content-reconciler")
    assert found["keys_seen"] >= 1
    assert (found["keys_failed"], found["stopped_at"]) == (0, None)
    assert home.platform.catalog.get(file_id(key)).file_path == key, "whoever was first, the event or the reconciler"


def test_the_cost_report_arrives(home: AwsHome, deployed: Deployed) -> None:
    """The emulator has no bill: the function is led to one that refuses what AWS would refuse."""
    assert deployed.stacks
    queue = listening(home, "ears-of-the-cost-report")
    functions, name = home.aws.client("lambda"), "cost-report-generator"
    billing = Billing()
    billing.answers["GetCostAndUsage"] = lambda _asked: {"ResultsByTime": []}
    billing.answers["GetFreeTierUsage"] = lambda _asked: {"freeTierUsages": []}
    given = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    led = {key: value for key, value in billing.environment().items() if key.startswith("AWS_ENDPOINT_URL_")}
    try:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": {**given, **led}})
        report = called(home, name, qualifier="$LATEST")
    finally:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": given})
        billing.stop()
    assert (report["total_usd"], report["services"]) == ("0", [])
    assert [operation for operation, _ in billing.asked] == ["GetCostAndUsage", "GetFreeTierUsage"]
    alert = heard(home, queue)
    assert alert["Subject"].startswith("Content Platform: 0.00 USD from ")
    assert "its tag is not activated" in alert["Message"]


def test_a_function_that_fails_says_so_in_words_and_by_name(home: AwsHome, deployed: Deployed) -> None:
    assert deployed.stacks
    answer = home.aws.client("lambda").invoke(
        FunctionName="content-generic-processor",
        Qualifier="live",
        Payload=json.dumps(
            {
                "bucket": "primary",
                "key": "no such",
                "version_id": "v",
                "file_id": file_id("no such"),
                "route": "generic",
            }
            | {"execution": "process-x", "kind": "generic"}
        ).encode(),
    )
    told = json.loads(answer["Payload"].read())
    assert answer["FunctionError"]
    assert told["errorMessage"].startswith("[NotFound] ")
    assert "Traceback" not in told["errorMessage"]
