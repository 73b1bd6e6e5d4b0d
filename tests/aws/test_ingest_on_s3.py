"""Taking in what lies on S3: through the queue and by hand, and what one photo costs in calls."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aws.buckets import make_buckets, open_store
from aws.queues import QueueClock, UploadQueue
from aws.recording import Recorded
from contentplatform.app import PROCESSED_KINDS
from contentplatform.drivers.boto import Aws
from contentplatform.errors import Unavailable
from contentplatform.ingest.aws import SqsEventSource
from contentplatform.ingest.library import Library
from contentplatform.ingest.port import ObjectEvent
from contentplatform.ingest.queue import UPLOADS
from contentplatform.ingest.service import IngestService
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.aws import HASH_METADATA, S3ObjectStore
from contentplatform.storage.port import BucketRole
from contentplatform.together import side_by_side
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.port import TaskContext, TaskFunction
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Step, Steps
from fakes.catalog import FakeCatalog
from fakes.clock import FakeClock, SequentialIds
from fakes.edge import MemoryEdge
from fakes.object_store import MemoryObjectStore
from fakes.platform import FakeProcessor, MemoryTranscoder, jpeg
from fakes.workflow_engine import InMemoryWorkflowEngine

T = TypeVar("T")
PRIMARY = BucketRole.PRIMARY
ONE, TWO = jpeg("one"), jpeg("two")


def one_by_one(work: Callable[[], T]) -> T:
    return work()


def as_task(step: Step) -> TaskFunction:
    def run(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        return step(data)

    return run


class CountingCatalog(FakeCatalog):
    """Counts what is asked of it: on DynamoDB each is a request."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_"):
            self.asked.append(name)
        return found


class OnS3:
    """The services over a store on S3; catalog, engine and processor are fakes."""

    def __init__(self, aws: Aws, scratch: Path, hash_limit_bytes: int = 1 << 30) -> None:
        self.names = make_buckets(aws)
        self.store: S3ObjectStore = open_store(aws, self.names)
        self.catalog = CountingCatalog()
        self.clock = FakeClock()
        self.processor = FakeProcessor()
        edge = MemoryEdge(self.clock)
        publication = Publication(self.store, self.catalog, edge, beside=side_by_side)
        steps = Steps(
            self.store,
            self.catalog,
            publication,
            edge,
            self.processor,
            self.clock,
            scratch,
            one_by_one,
            transcoder=MemoryTranscoder(MemoryObjectStore(self.clock, SequentialIds())),
            beside=side_by_side,
        )
        tasks = {name: as_task(step) for name, step in steps.tasks().items()}
        self.engine = InMemoryWorkflowEngine(STATE_MACHINE, tasks, self.clock)
        self.ingest = IngestService(
            self.store,
            self.catalog,
            self.engine,
            publication,
            self.clock,
            one_by_one,
            PROCESSED_KINDS,
            hash_limit_bytes,
            beside=side_by_side,
        )
        self.library = Library(self.store, self.catalog, self.engine, self.ingest, publication, self.clock, one_by_one)
        self._client = aws.client("s3")

    def upload_past(self, key: str, data: bytes, **arguments: Any) -> None:
        """As any client of S3 does it."""
        self._client.put_object(Bucket=self.names[PRIMARY], Key=key, Body=data, **arguments)

    def settle(self, *keys: str) -> None:
        for key in keys:
            self.ingest.handle(key)
        self.engine.run_until_idle()

    def webp(self, key: str) -> bytes:
        with self.store.open(BucketRole.PROCESSED, f"processed/webp/{key}.webp") as reader:
            return reader.read()


@pytest.fixture
def platform(aws: Aws, tmp_path: Path) -> OnS3:
    return OnS3(aws, tmp_path)


def test_an_upload_past_the_platform_becomes_a_record_with_renditions(platform: OnS3) -> None:
    platform.upload_past("a.jpg", ONE)
    platform.settle("a.jpg")
    record = platform.library.record("a.jpg")
    assert (record.status, record.file_hash, record.hash_verified) == (
        ProcessingStatus.COMPLETED,
        hashlib.sha256(ONE).hexdigest(),
        True,
    )
    assert platform.webp("a.jpg") == b"webp of " + ONE
    (raw,) = platform.store.list(BucketRole.RAW).objects
    assert raw.key.endswith("/a.jpg")


def test_a_lying_hash_in_metadata_shows_nobody_elses_renditions(platform: OnS3) -> None:
    platform.library.add("victim.jpg", io.BytesIO(ONE))
    platform.upload_past("liar.jpg", TWO, Metadata={HASH_METADATA: hashlib.sha256(ONE).hexdigest()})
    platform.settle("victim.jpg", "liar.jpg")
    assert platform.webp("liar.jpg") == b"webp of " + TWO
    record = platform.library.record("liar.jpg")
    assert (record.file_hash, record.hash_verified) == (hashlib.sha256(TWO).hexdigest(), True)
    assert "which is wrong" in (record.note or "")


def test_what_is_too_large_keeps_its_bound_claim_and_what_has_none_is_hashed_in_steps(aws: Aws, tmp_path: Path) -> None:
    platform = OnS3(aws, tmp_path, hash_limit_bytes=1)
    claim = hashlib.sha256(ONE).hexdigest()
    platform.upload_past("claimed.jpg", ONE, Metadata={HASH_METADATA: claim}, ChecksumAlgorithm="CRC64NVME")
    platform.upload_past("unclaimed.jpg", ONE)
    platform.settle("claimed.jpg", "unclaimed.jpg")
    claimed, hashed = platform.library.record("claimed.jpg"), platform.library.record("unclaimed.jpg")
    assert (claimed.file_hash, claimed.hash_verified) == (claim, False)
    assert (hashed.file_hash, hashed.hash_verified) == (claim, True)
    assert platform.processor.jobs == [ONE, ONE], "neither is reused for the other"


def test_versions_deletes_and_what_the_reconciler_finds(platform: OnS3) -> None:
    platform.upload_past("a.jpg", ONE)
    platform.upload_past("a.jpg", TWO)
    platform.upload_past("gone.jpg", ONE)
    platform.settle("a.jpg", "gone.jpg")
    statuses = {entry.status for entry in platform.catalog.entries(file_id("a.jpg"))}
    assert statuses == {ProcessingStatus.COMPLETED, ProcessingStatus.SUPERSEDED}
    assert platform.ingest.reconcile().keys_mended == 0, "what is as it should be is left alone"
    platform.store.delete(PRIMARY, "gone.jpg")
    platform.upload_past("new.jpg", ONE)
    assert platform.ingest.reconcile().keys_mended == 2
    assert platform.library.record("gone.jpg").deleted_at is not None
    assert platform.library.record("new.jpg").file_hash == hashlib.sha256(ONE).hexdigest()


@pytest.mark.parametrize("key", ["x" * 900, "x" * 1_024, "new\nline", "日本/😀 +%.jpg", "../../up.jpg"])
def test_any_key_that_s3_takes_ends_in_a_record(platform: OnS3, key: str) -> None:
    platform.upload_past(key, ONE)
    platform.settle(key)
    status = platform.library.record(key).status
    fits = len(key.encode()) <= 900 and "\n" not in key
    assert status is (ProcessingStatus.COMPLETED if fits else ProcessingStatus.FAILED)


def test_one_listing_tells_which_of_many_keys_may_be_there(platform: OnS3) -> None:
    platform.upload_past("trip/a.jpg", ONE)
    platform.upload_past("trip/b c+ü.jpg", ONE)
    wanted = {"trip/a.jpg", "trip/b c+ü.jpg", "trip/new.jpg", "trip/a"}
    assert platform.library.perhaps_there(wanted) == {"trip/a.jpg", "trip/b c+ü.jpg"}


MOST_CALLS_OF_A_PHOTO = {"taking in": (7, 6), "processing": (19, 13)}
"""Of S3 and of the catalog, from the event to the record that says pending, and from there to public renditions."""


def test_a_photo_costs_no_more_calls_than_it_needs(aws: Aws, platform: OnS3) -> None:
    platform.upload_past("a.jpg", ONE)
    stages: dict[str, Callable[[], object]] = {
        "taking in": lambda: platform.ingest.handle("a.jpg"),
        "processing": platform.engine.run_until_idle,
    }
    for stage, work in stages.items():
        platform.catalog.asked.clear()
        with Recorded(aws) as calls:
            work()
        most_of_s3, most_of_catalog = MOST_CALLS_OF_A_PHOTO[stage]
        assert 0 < calls.counts.total() <= most_of_s3, (stage, calls.counts)
        assert 0 < len(platform.catalog.asked) <= most_of_catalog, (stage, platform.catalog.asked)
    assert platform.library.record("a.jpg").status is ProcessingStatus.COMPLETED
    with Recorded(aws) as calls:
        platform.ingest.handle("a.jpg")
    assert calls.counts.total() <= 5


# -- the queue -----------------------------------------------------------------------------------------------------


def test_what_s3_tells_the_queue_is_taken_in(aws: Aws, platform: OnS3) -> None:
    queue = UploadQueue(aws, platform.names[PRIMARY])
    events = SqsEventSource(aws, bucket_name=platform.names[PRIMARY], wait_seconds=0)
    for key in ("日本/写真 1+2%.jpg", "b.jpg"):
        with queue.told():
            platform.upload_past(key, ONE)
    assert events.drain(lambda event: platform.ingest.handle(event.key), limit=10) == 2
    assert platform.library.record("日本/写真 1+2%.jpg").status is ProcessingStatus.PENDING
    with queue.told():
        platform.store.delete(PRIMARY, "b.jpg")
    assert events.drain(lambda event: platform.ingest.handle(event.key), limit=10) == 1
    assert platform.library.record("b.jpg").deleted_at is not None


@pytest.fixture
def queue(aws: Aws) -> UploadQueue:
    return UploadQueue(aws, make_buckets(aws)[PRIMARY])


def told(key: str, bucket: str = "b") -> str:
    return json.dumps({"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})


def test_messages_that_can_not_be_read_end_before_a_person_with_the_reason(aws: Aws, queue: UploadQueue) -> None:
    clock = QueueClock(aws)
    events = SqsEventSource(aws, bucket_name="b", wait_seconds=0)
    for body in ("not JSON", told("a.jpg", "stranger"), json.dumps({"Event": "s3:TestEvent"})):
        queue.send(body)
    for _ in range(UPLOADS.attempts):
        events.drain(lambda event: pytest.fail(event.key), limit=10)
        clock.advance(86_400)
    assert events.waiting() == 0, "the test message is done with"
    reasons = sorted(dead.reason for dead in events.dead())
    assert len(reasons) == 2
    assert "it is not JSON" in reasons[1]
    assert "another bucket, 'stranger'" in reasons[0]
    assert events.redrive() == 2


def test_looking_at_dead_events_takes_none_away_and_those_of_sqs_itself_are_told_too(
    aws: Aws, queue: UploadQueue
) -> None:
    """More than one look's worth; the queue itself put them aside, so only the log knows why."""
    events = SqsEventSource(aws, bucket_name="b", wait_seconds=0)
    for number in range(25):
        aws.client("sqs").send_message(QueueUrl=queue.dead_url, MessageBody=told(f"k{number}"))
    for _ in range(3):
        dead = events.dead()
        assert sorted(one.event.key for one in dead) == sorted(f"k{number}" for number in range(25))
    assert {one.attempts for one in dead} == {UPLOADS.attempts}
    assert "its log says why" in dead[0].reason
    assert events.redrive() == 25
    assert events.waiting() == 25


def test_what_lambda_hands_over_and_fails_comes_again_after_a_back_off(aws: Aws, queue: UploadQueue) -> None:
    clock = QueueClock(aws)
    sqs = aws.client("sqs")
    events = SqsEventSource(aws, bucket_name="b", wait_seconds=0)
    for key in ("bad", "good"):
        queue.send(told(key))

    def refuse(event: ObjectEvent) -> None:
        if event.key == "bad":
            raise Unavailable("taking in", "the store sulks")

    def received() -> list[dict[str, Any]]:
        found = sqs.receive_message(
            QueueUrl=queue.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["ApproximateReceiveCount"]
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in found.get("Messages", [])
        ]

    records = received()
    answer = events.handle_batch(records, refuse)
    bad = next(record["messageId"] for record in records if '"bad"' in record["body"])
    assert answer == {"batchItemFailures": [{"itemIdentifier": bad}]}
    assert received() == []
    clock.advance(10)
    assert [record["messageId"] for record in received()] == [bad]


@pytest.mark.usefixtures("queue")
def test_a_batch_survives_that_a_message_can_not_be_put_off(aws: Aws) -> None:
    events = SqsEventSource(aws, bucket_name="b", wait_seconds=0)
    answer = events.handle_batch(
        [{"messageId": "m", "receiptHandle": "expired", "body": "x"}, {"messageId": "n", "body": "x"}],
        lambda _event: None,
    )
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m", "n"]
