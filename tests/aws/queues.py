"""The queue of uploads on the emulator, and a clock by which hidden messages show themselves while nobody waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import PlatformError
from contentplatform.ingest.queue import EVENTS, UPLOADS, Queue
from emulator import select_pause
from fakes.clock import FakeClock

_TOLD_SECONDS: Final = 180.0
_PAUSE_SECONDS: Final = 0.005


class UploadQueue:
    """The two queues as the deployment makes them, told by a bucket."""

    def __init__(self, aws: Aws, bucket_name: str, queue: Queue = UPLOADS) -> None:
        self._sqs = aws.client("sqs")
        dead_url = self._sqs.create_queue(QueueName=queue.dead_letter_name)["QueueUrl"]
        dead = self._sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = {"deadLetterTargetArn": dead, "maxReceiveCount": queue.attempts}
        attributes = {
            "VisibilityTimeout": str(queue.visibility_timeout_seconds),
            "RedrivePolicy": json.dumps(redrive),
        }
        self.url = self._sqs.create_queue(QueueName=queue.name, Attributes=attributes)["QueueUrl"]
        self.dead_url = dead_url
        arn = dead.removesuffix(queue.dead_letter_name) + queue.name
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "s3.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                }
            ],
        }
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": json.dumps(policy)})
        with self.told():  # S3's own test message
            aws.client("s3").put_bucket_notification_configuration(
                Bucket=bucket_name,
                NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": list(EVENTS)}]},
            )
        self._sqs.purge_queue(QueueUrl=self.url)

    def count(self) -> int:
        """How many messages there are, hidden or not."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        told = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(names))["Attributes"]
        return sum(int(told[name]) for name in names)

    def send(self, body: str) -> str:
        """Put a message in by hand; its id."""
        return str(self._sqs.send_message(QueueUrl=self.url, MessageBody=body)["MessageId"])

    @contextmanager
    def told(self) -> Iterator[None]:
        """Go on only when what happens inside has reached the queue, one message."""
        before = self.count()
        yield
        deadline = time.monotonic() + _TOLD_SECONDS
        while self.count() <= before:
            assert time.monotonic() < deadline, "S3 did not tell the queue"
            select_pause(_PAUSE_SECONDS)


class QueueClock(FakeClock):
    """Shows each message again, that was hidden for some time, when so much fake time has passed."""

    def __init__(self, aws: Aws) -> None:
        super().__init__()
        self._sqs = aws.client("sqs")
        self._hidden: list[tuple[float, dict[str, Any]]] = []
        self._moving = False
        self._sqs.meta.events.register("provide-client-params.sqs.ChangeMessageVisibility", self._note)

    def advance(self, seconds: float) -> None:
        """Let fake time pass, and what is due appear."""
        super().advance(seconds)
        due = [message for at, message in self._hidden if at <= self.monotonic_seconds()]
        self._hidden = [(at, message) for at, message in self._hidden if at > self.monotonic_seconds()]
        self._moving = True
        for message in due:
            with suppress(PlatformError), translated("showing a message"):  # it may be gone by now
                self._sqs.change_message_visibility(**{**message, "VisibilityTimeout": 0})
        self._moving = False

    def reboot(self) -> None:
        """A queue outlives every machine: what is hidden stays hidden for as long."""
        before = self.monotonic_seconds()
        super().reboot()
        self._hidden = [(at - before + self.monotonic_seconds(), message) for at, message in self._hidden]

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        if not self._moving:
            self._hidden.append((self.monotonic_seconds() + params["VisibilityTimeout"], dict(params)))
