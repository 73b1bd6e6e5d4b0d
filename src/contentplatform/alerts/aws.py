"""Alerts through an SNS topic: e-mail, and whatever else subscribes to it."""

from __future__ import annotations

from contentplatform.alerts.port import Alerts, Severity, check_subject, fitting_body
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import NotFound


class SnsAlerts(Alerts):
    """Publishes to one topic.

    Args:
        aws: whose account.
        topic_arn: the topic; its region is taken from here, so a function elsewhere reaches it too.
    """

    def __init__(self, aws: Aws, topic_arn: str) -> None:
        self._aws = aws
        self._topic_arn = topic_arn

    def send(self, subject: str, body: str, severity: Severity) -> None:
        check_subject(subject)
        text = fitting_body(body)
        region = self._topic_arn.split(":")[3]
        with translated(
            f"sending the alert {subject[:40]!r}",
            why={NotFound: f"the topic {self._topic_arn} does not exist"},
        ):
            self._aws.client("sns", region).publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                Message=text,
                MessageAttributes={"severity": {"DataType": "String", "StringValue": severity.value}},
            )
