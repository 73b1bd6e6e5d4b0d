"""What every home's alerts promise: told once, whole or honestly cut, with how severe it is; or the caller knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from contentplatform.alerts.aws import SnsAlerts
from contentplatform.alerts.port import BODY_LIMIT_BYTES, SUBJECT_LIMIT, Alerts, Severity
from contentplatform.drivers.boto import Aws
from contentplatform.errors import InvalidRequest, NotFound
from fakes.alerts import MemoryAlerts, SentAlert


@dataclass
class Told:
    """Alerts, and what has come out at the other end since last asked."""

    alerts: Alerts
    received: Callable[[], list[SentAlert]]


@pytest.fixture(params=["fake", "aws"])
def told(request: pytest.FixtureRequest) -> Told:
    if request.param == "fake":
        fake = MemoryAlerts()
        return Told(fake, lambda: fake.sent)
    aws: Aws = request.getfixturevalue("aws")
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic = sns.create_topic(Name="backup-alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    lets_in = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [lets_in]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def received() -> list[SentAlert]:
        found = []
        while messages := sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages", []):
            for message in messages:
                letter = json.loads(message["Body"])
                severity = Severity(letter["MessageAttributes"]["severity"]["Value"])
                found.append(SentAlert(letter["Subject"], letter["Message"], severity))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    return Told(SnsAlerts(aws, topic), received)


@pytest.mark.parametrize("severity", Severity)
def test_an_alert_arrives_with_subject_body_and_severity(told: Told, severity: Severity) -> None:
    told.alerts.send("Backup is DEGRADED", "12 of 300 versions\nare missing: ä, 雪", severity)
    assert told.received() == [SentAlert("Backup is DEGRADED", "12 of 300 versions\nare missing: ä, 雪", severity)]


def test_each_call_is_an_alert(told: Told) -> None:
    for _ in range(2):
        told.alerts.send("Again", "the same", Severity.INFO)
    assert len(told.received()) == 2


def test_a_subject_may_have_100_characters(told: Told) -> None:
    told.alerts.send("s" * SUBJECT_LIMIT, "text", Severity.INFO)
    assert [alert.subject for alert in told.received()] == ["s" * 100]


@pytest.mark.parametrize("subject", ["", "  ", "s" * 101, "two\nlines", "a\ttab"])
def test_a_subject_that_not_every_home_can_send_is_refused_and_nobody_told(told: Told, subject: str) -> None:
    with pytest.raises(InvalidRequest, match="subject"):
        told.alerts.send(subject, "text", Severity.INFO)
    assert told.received() == []


def test_an_empty_body_is_refused(told: Told) -> None:
    with pytest.raises(InvalidRequest, match="text is empty"):
        told.alerts.send("Subject", " \n", Severity.INFO)
    assert told.received() == []


def test_a_body_that_is_too_long_is_cut_at_a_whole_character_and_says_so(told: Told) -> None:
    told.alerts.send("Long", "雪" * BODY_LIMIT_BYTES, Severity.INFO)
    [alert] = told.received()
    snow, _, rest = alert.body.partition("\n")
    assert set(snow) == {"雪"}
    assert "cut here" in rest
    assert BODY_LIMIT_BYTES - 3 <= len(alert.body.encode()) <= BODY_LIMIT_BYTES


def test_a_body_of_broken_text_still_arrives(told: Told) -> None:
    told.alerts.send("Broken", "half a pair: \ud800.", Severity.INFO)
    assert [alert.body for alert in told.received()] == ["half a pair: ?."]


def test_a_topic_that_is_not_there_is_said_by_its_name(aws: Aws) -> None:
    alerts = SnsAlerts(aws, f"arn:aws:sns:us-east-1:{aws.account_id}:nowhere")
    with pytest.raises(NotFound, match="nowhere does not exist"):
        alerts.send("Subject", "text", Severity.WARNING)
