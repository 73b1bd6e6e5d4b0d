"""Events on AWS: what S3 tells the queue of uploads, how a message of it is read, and what becomes of one that fails.

A message is authenticated by the queue's policy, and yet nothing of it is believed but the key: a record of another
bucket, or one that can't be read, fails by itself, and after some attempts its message waits for a person.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote_plus

from contentplatform import log
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import InvalidRequest, PlatformError
from contentplatform.ingest.port import DeadEvent, EventSource, ObjectEvent
from contentplatform.ingest.queue import UPLOADS, Queue
from contentplatform.storage.port import BucketRole, check_object_key

Handle = Callable[[ObjectEvent], None]

_TEST_EVENT: Final = "s3:TestEvent"
_UNREADABLE_KEY: Final = ""
"""The key of a dead message that names none."""
_RECEIVED_AT_ONCE: Final = 10
_BACKOFF_SECONDS: Final = 10
_BACKOFF_LIMIT_SECONDS: Final = 3_600
_PEEK_SECONDS: Final = 30
"""How long a dead message is hidden from others while somebody looks at it."""
_REASON_LIMIT: Final = 1_000
_NO_REASON: Final = "the upload handler failed each time; its log says why"
_READING: Final = "reading a message of the upload queue"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one message."""

    events: int
    """How many events were handed over."""
    failure: str | None
    """Why the message has to come again; None if it is done with."""


def read_message(body: str, *, bucket_name: str, message_id: str) -> Iterator[ObjectEvent | PlatformError]:
    """Every record of a message of S3's, as an event or as what is wrong with it; none in S3's test message.

    Raises:
        InvalidRequest: this is no message of S3's.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(_READING, "it is not JSON, or nested too deeply") from error
    if not isinstance(document, dict):
        raise InvalidRequest(_READING, "it is not a JSON object")
    if document.get("Event") == _TEST_EVENT and "Records" not in document:
        return
    records = document.get("Records")
    if not isinstance(records, list) or not records:
        raise InvalidRequest(_READING, "it has no records")
    for number, record in enumerate(records):
        event_id = message_id if len(records) == 1 else f"{message_id}-{number}"
        try:
            yield ObjectEvent(event_id, BucketRole.PRIMARY, _key_of(record, bucket_name))
        except PlatformError as error:
            yield error


def _key_of(record: Any, bucket_name: str) -> str:
    """The key that a record names, decoded as S3 encodes it."""
    try:
        bucket, encoded = record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]
    except (KeyError, TypeError, IndexError) as error:
        raise InvalidRequest(_READING, "a record names no bucket and key") from error
    if bucket != bucket_name:
        raise InvalidRequest(_READING, f"a record is about another bucket, {str(bucket)[:80]!r}")
    if not isinstance(encoded, str):
        raise InvalidRequest(_READING, "a record's key is not text")
    try:
        key = unquote_plus(encoded, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequest(_READING, f"the key {encoded[:80]!r} is not UTF-8") from error
    check_object_key(key)
    return key


def take_message(body: str, handle: Handle, *, bucket_name: str, message_id: str) -> Taken:
    """Hand over every event of a message; one that fails holds up none of the others, but its message comes again."""
    events = 0
    failure: str | None = None
    try:
        for event in read_message(body, bucket_name=bucket_name, message_id=message_id):
            if isinstance(event, PlatformError):
                failure = event.public
                continue
            events += 1
            failure = _handled(event, handle) or failure
    except PlatformError as error:
        failure = error.public
    if failure is not None:
        log.event(_logger, logging.WARNING, "event not handled", **{"message_id": message_id, log.REASON: failure})
    return Taken(events, failure)


def _handled(event: ObjectEvent, handle: Handle) -> str | None:
    """Hand one event over; why that failed, if it did."""
    try:
        handle(event)
    except PlatformError as error:
        return error.public
    except Exception:  # the outer edge of one event: a fault of ours must not hold up the others
        _logger.exception("unexpected error while handling an event")
        return "an unexpected error; the log has it"
    return None


def handle_batch(
    records: Iterable[Mapping[str, Any]],
    handle: Handle,
    *,
    bucket_name: str,
    put_off: Callable[[Mapping[str, Any]], None] | None = None,
    give_back: Callable[[Mapping[str, Any]], None] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[str, list[dict[str, str]]]:
    """Handle what Lambda hands over of the queue; the answer names the messages that have to come again.

    A record without a message id is answered with an empty one, by which Lambda takes the whole batch as failed.

    Args:
        records: the ``Records`` of Lambda's event, each a message of the queue.
        handle: takes one event in.
        bucket_name: of the primary bucket; a record of any other fails.
        put_off: called with each record that failed, to choose when it comes again.
        give_back: called with each record that was not begun, to let it come again at once.
        is_over: asked before each record. A call that Lambda kills gives back none of its messages for hours, not even
            those that it has handled.
    """
    failures = []
    for record in records:
        message_id = str(record.get("messageId", ""))
        if is_over():
            failures.append({"itemIdentifier": message_id})
            if give_back is not None:
                give_back(record)
            continue
        taken = take_message(str(record.get("body", "")), handle, bucket_name=bucket_name, message_id=message_id)
        if taken.failure is not None:
            failures.append({"itemIdentifier": message_id})
            if put_off is not None:
                put_off(record)
    return {"batchItemFailures": failures}


class SqsEventSource(EventSource):
    """The queue of uploads and its dead-letter queue.

    Dead events are sent back by receiving, sending and deleting each: that tells how many there were, moves those
    that were sent there with a reason, and is done when it returns. A move task of SQS does none of this.

    Args:
        aws: whose queues they are.
        bucket_name: of the primary bucket.
        queue: which queue.
        wait_seconds: how long the queue is asked for messages before it counts as empty; without waiting SQS asks
            only some of its servers.
    """

    def __init__(self, aws: Aws, *, bucket_name: str, queue: Queue = UPLOADS, wait_seconds: int = 1) -> None:
        self._aws = aws
        self._bucket_name = bucket_name
        self._queue = queue
        self._wait_seconds = wait_seconds

    def handle_batch(
        self, records: Iterable[Mapping[str, Any]], handle: Handle, *, is_over: Callable[[], bool] = lambda: False
    ) -> dict[str, list[dict[str, str]]]:
        """``handle_batch`` for this queue; what failed comes again after a back-off, not after the long time-out."""
        return handle_batch(
            records,
            handle,
            bucket_name=self._bucket_name,
            put_off=self._put_off_record,
            give_back=lambda record: self._hide_record(record, 0),
            is_over=is_over,
        )

    def drain(self, handle: Handle, *, limit: int) -> int:
        handed = 0
        while handed < limit:
            messages = self._received(self._url, min(_RECEIVED_AT_ONCE, limit - handed))
            if not messages:
                break
            for message in messages:
                taken = take_message(
                    message["Body"], handle, bucket_name=self._bucket_name, message_id=message["MessageId"]
                )
                handed += taken.events
                self._settle(message, taken)
        return handed

    def waiting(self) -> int:
        return sum(self._counts(self._url).values())

    def dead(self) -> tuple[DeadEvent, ...]:
        seen: dict[str, tuple[int, DeadEvent]] = {}
        receipts: list[str] = []
        try:
            while messages := self._received(self._dead_url, _RECEIVED_AT_ONCE, hidden_seconds=_PEEK_SECONDS):
                receipts += [message["ReceiptHandle"] for message in messages]
                new = [message for message in messages if message["MessageId"] not in seen]
                for message in new:
                    sent_at = int(message["Attributes"]["SentTimestamp"])
                    seen[message["MessageId"]] = sent_at, self._dead_event(message)
                if not new:
                    break
        finally:
            for receipt in receipts:
                with suppress(PlatformError):  # it shows itself again soon in any case
                    self._hide(self._dead_url, receipt, 0)
        return tuple(event for _, event in sorted(seen.values(), key=lambda pair: pair[0]))

    def redrive(self) -> int:
        moved = 0
        while messages := self._received(self._dead_url, _RECEIVED_AT_ONCE):
            for message in messages:
                with translated("sending an event back"):
                    self._client.send_message(QueueUrl=self._url, MessageBody=message["Body"])
                self._forget(self._dead_url, message)
                moved += 1
        return moved

    # -- one message -----------------------------------------------------------------------------------------

    def _settle(self, message: Mapping[str, Any], taken: Taken) -> None:
        """Forget what is done; put off what failed, or bury it with its reason after its last attempt."""
        attempts = int(message["Attributes"]["ApproximateReceiveCount"])
        if taken.failure is None:
            self._forget(self._url, message)
        elif attempts < self._queue.attempts:
            self._hide(self._url, message["ReceiptHandle"], _backoff_seconds(attempts))
        else:
            self._bury(message, attempts, taken.failure)

    def _bury(self, message: Mapping[str, Any], attempts: int, reason: str) -> None:
        told = {
            "attempts": {"DataType": "Number", "StringValue": str(attempts)},
            "reason": {"DataType": "String", "StringValue": reason[:_REASON_LIMIT]},
        }
        with translated("putting a failed event aside"):
            self._client.send_message(QueueUrl=self._dead_url, MessageBody=message["Body"], MessageAttributes=told)
        self._forget(self._url, message)

    def _dead_event(self, message: Mapping[str, Any]) -> DeadEvent:
        """What waits for a person; a message that SQS itself put aside brings no reason along."""
        told = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
        event, reason = ObjectEvent(message["MessageId"], BucketRole.PRIMARY, _UNREADABLE_KEY), ""
        try:
            for found in read_message(message["Body"], bucket_name=self._bucket_name, message_id=message["MessageId"]):
                if isinstance(found, ObjectEvent):
                    event = found
                else:
                    reason = found.public
        except PlatformError as error:
            reason = error.public
        return DeadEvent(
            event,
            attempts=int(told.get("attempts", self._queue.attempts)),
            reason=told.get("reason") or reason or _NO_REASON,
        )

    def _put_off_record(self, record: Mapping[str, Any]) -> None:
        attempts = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
        self._hide_record(record, _backoff_seconds(attempts))

    def _hide_record(self, record: Mapping[str, Any], seconds: int) -> None:
        """Let a message that Lambda handed over come again soon; where that fails it comes after the time-out."""
        try:
            self._hide(self._url, record["receiptHandle"], seconds)
        except (KeyError, PlatformError) as error:
            log.event(_logger, logging.WARNING, "message not put off", **{log.REASON: str(error)})

    # -- SQS -------------------------------------------------------------------------------------------------

    def _received(self, url: str, most: int, hidden_seconds: int | None = None) -> list[dict[str, Any]]:
        hidden = {} if hidden_seconds is None else {"VisibilityTimeout": hidden_seconds}
        with translated("asking the upload queue for events"):
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=self._wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
                **hidden,
            )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def _forget(self, url: str, message: Mapping[str, Any]) -> None:
        with translated("taking an event off the queue"):
            self._client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def _hide(self, url: str, receipt: str, seconds: int) -> None:
        with translated("putting an event off"):
            self._client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=seconds)

    def _counts(self, url: str) -> dict[str, int]:
        names = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        with translated("counting the events that wait"):
            answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))
        return {name: int(answer["Attributes"][name]) for name in names}

    @property
    def _client(self) -> Any:
        return self._aws.client("sqs")

    @cached_property
    def _url(self) -> str:
        return self._url_of(self._queue.name)

    @cached_property
    def _dead_url(self) -> str:
        return self._url_of(self._queue.dead_letter_name)

    def _url_of(self, name: str) -> str:
        with translated(f"looking up the queue {name}"):
            answer = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=self._aws.account_id)
        return str(answer["QueueUrl"])


def _backoff_seconds(attempts: int) -> int:
    doubled: int = _BACKOFF_SECONDS << (attempts - 1)
    return min(doubled, _BACKOFF_LIMIT_SECONDS)
