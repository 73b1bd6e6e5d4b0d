"""What S3 tells the queue of uploads, hostile and malformed messages included, and what Lambda is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contentplatform.errors import InvalidRequest, Unavailable
from contentplatform.ingest.aws import handle_batch, read_message
from contentplatform.ingest.port import ObjectEvent
from contentplatform.storage.port import BucketRole

BUCKET = "content-platform-primary-x"


def record(key: Any = "a.jpg", bucket: Any = BUCKET, **extra: Any) -> dict[str, Any]:
    """One record of S3's, as it is documented."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, **extra}},
    }


def message(*records: Any, number: int = 1) -> dict[str, Any]:
    """A message as Lambda hands it over."""
    return {"messageId": f"m{number}", "receiptHandle": f"r{number}", "body": json.dumps({"Records": list(records)})}


def raw(body: str, number: int = 1) -> dict[str, Any]:
    return {"messageId": f"m{number}", "receiptHandle": f"r{number}", "body": body}


class Seen:
    """A handler that notes keys and fails for some of them."""

    def __init__(self, *refused: str) -> None:
        self.keys: list[str] = []
        self._refused = refused

    def __call__(self, event: ObjectEvent) -> None:
        self.keys.append(event.key)
        if event.key in self._refused:
            raise Unavailable(f"taking in {event.key}", "the store sulks")


def failed(*records: dict[str, Any], seen: Seen) -> list[str]:
    """The ids that have to come again."""
    answer = handle_batch(records, seen, bucket_name=BUCKET)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("a.jpg", "a.jpg"),
        ("holiday+photo%281%29.jpg", "holiday photo(1).jpg"),
        ("a%2Bb", "a+b"),
        ("%E6%97%A5%E6%9C%AC/%F0%9F%98%80.png", "日本/😀.png"),
        ("100%25", "100%"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("new%0Aline", "new\nline"),
    ],
)
def test_a_key_is_decoded_as_s3_encodes_it(encoded: str, key: str) -> None:
    (event,) = read_message(message(record(encoded))["body"], bucket_name=BUCKET, message_id="m")
    assert event == ObjectEvent("m", BucketRole.PRIMARY, key)


def test_a_record_without_version_is_enough_since_only_the_key_is_believed() -> None:
    seen = Seen()
    lying = record("a.jpg", versionId="no-such-version", size=10**15, eTag="0", sequencer="FF")
    assert failed(message(record("b.jpg")), message(lying, number=2), seen=seen) == []
    assert seen.keys == ["b.jpg", "a.jpg"]


def test_the_test_message_of_s3_is_done_with_and_nobody_is_called() -> None:
    seen = Seen()
    body = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET, "RequestId": "x"})
    assert failed(raw(body), seen=seen) == []
    assert seen.keys == []


def test_a_test_message_that_brings_records_is_not_taken_for_one() -> None:
    seen = Seen()
    assert failed(raw(json.dumps({"Event": "s3:TestEvent", "Records": [record()]})), seen=seen) == []
    assert seen.keys == ["a.jpg"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "7",
        "{}",
        '{"Records": null}',
        '{"Records": {}}',
        '{"Records": []}',
        '{"Event": "s3:SomethingElse"}',
        '{"Type": "Notification", "Message": "{}"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_message_of_s3_comes_again_and_ends_before_a_person(body: str) -> None:
    seen = Seen()
    assert failed(raw(body), message(record("good")), seen=seen)[:1] == ["m1"]
    assert seen.keys == ["good"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "text",
        [],
        {},
        {"s3": None},
        {"s3": {"bucket": {"name": BUCKET}}},
        {"s3": {"object": {"key": "a"}}},
        record(None),
        record(7),
        record(["a"]),
        record(""),
        record("%FF"),
        record("x" * 1_025),
        record("nul%00"),
        record(bucket="content-platform-primary-y"),
        record(bucket=None),
        record(bucket={"name": BUCKET}),
    ],
)
def test_a_bad_record_fails_its_message_and_nobody_else(bad: Any) -> None:
    seen = Seen()
    records = (message(record("one")), message(bad, number=2), message(record("three"), number=3))
    assert failed(*records, seen=seen) == ["m2"]
    assert seen.keys == ["one", "three"]


def test_a_foreign_bucket_is_named_in_the_reason() -> None:
    (error,) = read_message(message(record(bucket="stranger"))["body"], bucket_name=BUCKET, message_id="m")
    assert isinstance(error, InvalidRequest)
    assert "another bucket, 'stranger'" in error.public


def test_of_a_thousand_records_one_bad_one_stops_none_of_the_others() -> None:
    seen = Seen("k500")
    batch = [message(record(f"k{number}"), number=number) for number in range(1_000)]
    assert failed(*batch, seen=seen) == ["m500"]
    assert len(seen.keys) == 1_000


def test_a_thousand_records_in_one_message_are_all_tried_and_the_message_comes_again_for_one() -> None:
    seen = Seen()
    records = [record(f"k{number}") for number in range(1_000)]
    records[500] = record(bucket="stranger")
    assert failed(message(*records), seen=seen) == ["m1"]
    assert len(seen.keys) == 999


def test_events_of_one_message_have_ids_of_their_own() -> None:
    events = list(read_message(message(record("a"), record("b"))["body"], bucket_name=BUCKET, message_id="m"))
    assert [event.event_id for event in events if isinstance(event, ObjectEvent)] == ["m-0", "m-1"]


def test_an_error_that_nobody_expected_is_isolated_too() -> None:
    def handle(event: ObjectEvent) -> None:
        if event.key == "bad":
            raise ZeroDivisionError

    answer = handle_batch([message(record("bad")), message(record("good"), number=2)], handle, bucket_name=BUCKET)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


def test_a_record_without_message_id_fails_the_whole_batch_as_lambda_reads_it() -> None:
    assert failed({"body": "not JSON"}, seen=Seen()) == [""]


def test_what_failed_is_put_off_and_nothing_else() -> None:
    put_off: list[str] = []
    batch = [message(record("bad")), message(record("good"), number=2)]
    handle_batch(batch, Seen("bad"), bucket_name=BUCKET, put_off=lambda one: put_off.append(one["receiptHandle"]))
    assert put_off == ["r1"]


def test_no_message_is_begun_when_time_is_nearly_over() -> None:
    """What Lambda kills gives nothing back for hours: what was handled is told, the rest comes again at once."""
    seen = Seen()
    put_off: list[str] = []
    given_back: list[str] = []
    answer = handle_batch(
        [message(record(key), number=number) for number, key in enumerate(("large", "second", "third"), 1)],
        seen,
        bucket_name=BUCKET,
        put_off=lambda one: put_off.append(one["receiptHandle"]),
        give_back=lambda one: given_back.append(one["receiptHandle"]),
        is_over=lambda: bool(seen.keys),
    )
    assert seen.keys == ["large"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}, {"itemIdentifier": "m3"}]}
    assert (put_off, given_back) == ([], ["r2", "r3"])
