"""The second copy compared on the emulator: real replication, S3's own checksums, an alert that arrives."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest

from aws.buckets import make_buckets, open_store
from contentplatform.alerts.aws import SnsAlerts
from contentplatform.backup.aws import S3Digests
from contentplatform.backup.port import REPORTS_PREFIX, BackupStatus, Flaw
from contentplatform.backup.validator import BackupValidator, StoreDigests
from contentplatform.clock import SystemClock
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.lifecycle import REGION_OF
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions, erase, versions_of
from fakes.clock import FakeClock


class Bench:
    """A primary bucket that is replicated, and somebody who listens to the alerts."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.names = make_buckets(aws)
        self.store = open_store(aws, self.names)
        self.clock = FakeClock(SystemClock().now())
        aws.client("s3").put_bucket_replication(
            Bucket=self.names[BucketRole.PRIMARY],
            ReplicationConfiguration={
                "Role": f"arn:aws:iam::{aws.account_id}:role/s3-replication-role",
                "Rules": [
                    {
                        "ID": "disaster-recovery-replication",
                        "Priority": 1,
                        "Status": "Enabled",
                        "Filter": {},
                        "Destination": {
                            "Bucket": f"arn:aws:s3:::{self.names[BucketRole.BACKUP]}",
                            "StorageClass": "GLACIER_IR",
                        },
                        "DeleteMarkerReplication": {"Status": "Enabled"},
                    }
                ],
            },
        )
        topic = aws.client("sns").create_topic(Name="backup-alerts")["TopicArn"]
        self.queue = aws.client("sqs").create_queue(QueueName="ears")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{aws.account_id}:ears"
        aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self.digests = S3Digests(aws, StoreDigests(self.store), bucket_names=self.names, region_of=REGION_OF)
        self.validator = BackupValidator(self.store, self.digests, SnsAlerts(aws, topic), self.clock)

    def put(self, bucket: BucketRole, key: str, data: bytes) -> ObjectVersion:
        return self.store.put(bucket, key, BytesIO(data), PutOptions())

    def heard(self) -> list[dict[str, Any]]:
        """Every alert that has arrived, and not been heard before."""
        answer = self.aws.client("sqs").receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        return [json.loads(message["Body"]) for message in answer.get("Messages", ())]


@pytest.fixture
def bench(aws: Aws) -> Bench:
    return Bench(aws)


def test_what_s3_replicated_is_whole_versions_markers_and_all(bench: Bench) -> None:
    for number in range(20):
        bench.put(BucketRole.PRIMARY, f"a folder/größe {number}", b"bytes %d" % number)
    bench.put(BucketRole.PRIMARY, "a folder/größe 3", b"replaced")
    bench.store.delete(BucketRole.PRIMARY, "a folder/größe 4")
    report = bench.validator.run()
    assert (report.status, report.percentage, report.flaws) == (BackupStatus.HEALTHY, 100.0, {})
    assert (report.primary.objects, report.primary.versions) == (19, 21)
    assert report.primary == report.backup
    assert bench.heard() == []
    with bench.store.open(BucketRole.ANALYTICS, f"{REPORTS_PREFIX}last.json") as reader:
        assert json.loads(reader.read()) == report.as_json()


def lost(bench: Bench, key: str) -> Flaw:
    erase(bench.store, BucketRole.BACKUP, key)
    return Flaw.MISSING


def corrupted(bench: Bench, key: str) -> Flaw:
    size_bytes = bench.store.head(BucketRole.PRIMARY, key).size_bytes
    erase(bench.store, BucketRole.BACKUP, key)
    bench.put(BucketRole.BACKUP, key, b"x" * size_bytes)
    return Flaw.DIFFERENT


def hidden(bench: Bench, key: str) -> Flaw:
    bench.store.delete(BucketRole.BACKUP, key)
    return Flaw.HIDDEN


@pytest.mark.parametrize("damage", [lost, corrupted, hidden])
def test_one_damaged_replica_of_a_hundred_is_told_to_who_listens(
    bench: Bench, damage: Callable[[Bench, str], Flaw]
) -> None:
    for number in range(100):
        bench.put(BucketRole.PRIMARY, f"{number:03}", b"bytes %03d" % number)
    flaw = damage(bench, "042")
    bench.clock.jump(timedelta(hours=1))
    report = bench.validator.run()
    assert (report.status, report.percentage, report.flaws) == (BackupStatus.HEALTHY, 99.0, {flaw: 1})
    assert [late.key for late in report.overdue] == ["042"]
    [alert] = bench.heard()
    assert alert["Subject"].startswith("Backup HEALTHY: 1 versions are older than 15 minutes")
    assert '"overdue_count": 1' in alert["Message"]
    assert alert["MessageAttributes"]["severity"]["Value"] == "critical"


def test_an_emptied_bucket_is_told_to_who_listens(bench: Bench) -> None:
    bench.put(BucketRole.PRIMARY, "a", b"a")
    bench.validator.run()
    for version in versions_of(bench.store, BucketRole.PRIMARY, "a"):
        bench.store.delete_version(BucketRole.PRIMARY, "a", version.version_id)
    assert bench.validator.run().status is BackupStatus.DEGRADED
    assert [alert["Subject"] for alert in bench.heard()] == [
        "Backup DEGRADED: the primary bucket is empty; it held 1 files"
    ]


def test_a_bucket_that_is_gone_is_told_and_raised(bench: Bench) -> None:
    bench.aws.client("s3", REGION_OF[BucketRole.BACKUP]).delete_bucket(Bucket=bench.names[BucketRole.BACKUP])
    with pytest.raises(ConfigurationInvalid):
        bench.validator.run()
    [alert] = bench.heard()
    assert alert["Subject"].startswith("Backup UNKNOWN: the second copy could not be compared")


def test_checksums_tell_the_same_bytes_from_others_of_the_same_size(bench: Bench) -> None:
    one = bench.put(BucketRole.PRIMARY, "a", b"one")
    same = bench.put(BucketRole.BACKUP, "a", b"one")
    other = bench.put(BucketRole.BACKUP, "a", b"two")
    first, second, third = (bench.digests.of(version) for version in (one, same, other))
    shared = first.keys() & second.keys()
    assert {"MD5", "sha256"} <= shared
    assert all(first[name] == second[name] for name in shared)
    assert all(first[name] != third[name] for name in shared)
