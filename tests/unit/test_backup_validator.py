"""The backup validator over stores in memory, with faults planted one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any, cast

import pytest

from contentplatform.alerts.port import Alerts, Severity
from contentplatform.backup import health
from contentplatform.backup.aws import S3Digests
from contentplatform.backup.port import REPORTS_PREFIX, BackupReport, BackupStatus, Digests, Flaw, Tally
from contentplatform.backup.validator import BackupValidator, StoreDigests
from contentplatform.drivers.boto import Aws
from contentplatform.errors import Corrupt, Unavailable
from contentplatform.storage.port import BucketRole, HashSource, Listing, ObjectVersion, PutOptions, walk, walk_versions
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

HOUR = 3_600


class TwoBuckets(MemoryObjectStore):
    """A store whose second copy is filled by hand, and whose listings can be made to fail."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__(self.clock, SequentialIds())
        self.fails_at: BucketRole | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def list_versions(
        self, bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, limit: int = 1_000
    ) -> Listing:
        if bucket is self.fails_at:
            raise Unavailable("listing", "AWS is busy", private="request 17")
        if bucket is BucketRole.BACKUP and continuation is None:
            self.meanwhile()
        return super().list_versions(bucket, prefix=prefix, continuation=continuation, limit=limit)

    def upload(self, key: str, data: bytes = b"bytes") -> ObjectVersion:
        return self.put(BucketRole.PRIMARY, key, BytesIO(data), PutOptions())

    def back_up(self, key: str, data: bytes = b"bytes") -> ObjectVersion:
        return self.put(BucketRole.BACKUP, key, BytesIO(data), PutOptions())

    def both(self, key: str, data: bytes = b"bytes") -> None:
        self.upload(key, data)
        self.back_up(key, data)


class HeardAlerts(Alerts):
    """Remembers what was sent; refuses while told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Severity]] = []
        self.is_down = False

    def send(self, subject: str, body: str, severity: Severity) -> None:
        if self.is_down:
            raise Unavailable("sending an alert", "the topic is gone")
        self.sent.append((subject, body, severity))


class Bench:
    """A validator, its stores and who hears of it."""

    def __init__(self) -> None:
        self.store = TwoBuckets()
        self.alerts = HeardAlerts()
        self.validator = BackupValidator(self.store, StoreDigests(self.store), self.alerts, self.store.clock)

    def run(self, *, hours_later: float = 1) -> BackupReport:
        self.store.clock.advance(hours_later * HOUR)
        return self.validator.run()

    def kept(self) -> list[dict[str, Any]]:
        reports = []
        for version in walk(self.store, BucketRole.ANALYTICS, REPORTS_PREFIX):
            with self.store.open(BucketRole.ANALYTICS, version.key) as reader:
                reports.append(json.loads(reader.read()))
        return reports


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def library(bench: Bench) -> Bench:
    """A hundred files, all of them replicated."""
    for number in range(100):
        bench.store.both(f"photos/{number:03}.jpg", b"bytes of %03d" % number)
    return bench


def only(library: Bench, key: str, data: bytes, *, instead: bytes) -> None:
    """Let the second copy of one key hold other bytes, and nothing else."""
    for version in [found for found in walk_versions(library.store, BucketRole.BACKUP) if found.key == key]:
        library.store.delete_version(BucketRole.BACKUP, key, version.version_id)
    library.store.back_up(key, instead)
    assert len(data) == len(instead)


def test_a_whole_copy_is_healthy_and_nobody_is_told(library: Bench) -> None:
    report = library.run()
    assert (report.status, report.percentage, report.lag_seconds) == (BackupStatus.HEALTHY, 100.0, 0.0)
    assert report.primary == report.backup == Tally(objects=100, size_bytes=1_200, versions=100)
    assert library.alerts.sent == []
    assert library.kept() == [report.as_json()] * 2
    assert library.kept()[0]["timestamp"] == "2030-01-01T01:00:00.000000Z"


def test_one_file_of_a_hundred_that_is_missing_too_long_is_an_alarm_though_the_status_is_healthy(
    library: Bench,
) -> None:
    library.store.upload("photos/late.jpg")
    report = library.run(hours_later=30)
    assert report.status is BackupStatus.HEALTHY
    assert report.percentage == 99.0, "100 of 101, never rounded up"
    assert report.lag_seconds == 30 * HOUR
    assert [(late.key, late.flaw) for late in report.overdue] == [("photos/late.jpg", Flaw.MISSING)]
    [(subject, body, severity)] = library.alerts.sent
    assert subject.startswith("Backup HEALTHY: 1 versions are older than 15 minutes")
    assert '"photos/late.jpg"' in body
    assert '"lag_hours": 30.0' in body
    assert severity is Severity.CRITICAL


def test_what_was_uploaded_a_moment_ago_lags_and_is_no_alarm(library: Bench) -> None:
    library.run()
    library.store.upload("photos/new.jpg")
    report = library.run(hours_later=0.2)
    assert (report.status, report.lag_seconds, report.overdue_count) == (BackupStatus.HEALTHY, 720.0, 0)
    assert library.alerts.sent == []


@pytest.mark.parametrize(("missing", "status"), [(5, BackupStatus.HEALTHY), (6, BackupStatus.DEGRADED)])
def test_the_status_falls_below_95_of_a_hundred(bench: Bench, missing: int, status: BackupStatus) -> None:
    for number in range(100):
        bench.store.upload(f"{number:03}")
        if number >= missing:
            bench.store.back_up(f"{number:03}")
    report = bench.run(hours_later=0.1)
    assert (report.status, report.percentage) == (status, 100.0 - missing)
    assert bool(bench.alerts.sent) == (status is BackupStatus.DEGRADED)


def test_as_many_objects_with_the_wrong_bytes_are_no_copy(library: Bench) -> None:
    only(library, "photos/042.jpg", b"bytes of 042", instead=b"bytes of 0X2")
    report = library.run()
    assert report.primary.objects == report.backup.objects == 100
    assert report.primary.size_bytes == report.backup.size_bytes
    assert report.flaws == {Flaw.DIFFERENT: 1}
    assert [late.key for late in report.overdue] == ["photos/042.jpg"]
    assert library.alerts.sent


def test_stale_extras_do_not_make_up_for_what_is_missing(bench: Bench) -> None:
    for number in range(10):
        bench.store.upload(f"new/{number}")
        bench.store.back_up(f"old/{number}")
    report = bench.run()
    assert (report.replicated, report.percentage, report.status) == (0, 0.0, BackupStatus.DEGRADED)
    assert report.flaws == {Flaw.MISSING: 10}


def test_a_missing_noncurrent_version_is_overdue(bench: Bench) -> None:
    bench.store.upload("a", b"first")
    bench.store.both("a", b"second")
    report = bench.run()
    assert (report.percentage, report.flaws) == (100.0, {Flaw.MISSING: 1})
    assert report.overdue_count == 1


def test_the_same_bytes_twice_need_two_replicas(bench: Bench) -> None:
    bench.store.upload("a")
    bench.store.both("a")
    assert bench.run().flaws == {Flaw.MISSING: 1}


def test_equal_version_ids_go_first_and_prove_nothing_alone() -> None:
    store = TwoBuckets()
    own = store.upload("a", b"right")
    wrong = replace(store.back_up("a", b"wrong"), version_id=own.version_id)
    found = health.compare([own], [wrong], store.clock.now(), same_bytes=never_same, still_current=always)
    assert found.flaws == {Flaw.DIFFERENT: 1}
    right = replace(own, bucket=BucketRole.BACKUP)
    found = health.compare([own], [right], store.clock.now(), same_bytes=never_same, still_current=always)
    assert (found.flaws, found.replicated) == ({}, 1)


def test_checksums_decide_where_etags_differ(bench: Bench) -> None:
    own = bench.store.upload("a")
    other = replace(bench.store.back_up("a"), etag="5d41402abc4b2a76b9719d911017c592-7")
    for same, replicated in ((never_same, 0), (always_same, 1)):
        found = health.compare([own], [other], bench.store.clock.now(), same_bytes=same, still_current=always)
        assert found.replicated == replicated


def test_a_deletion_that_the_second_copy_does_not_know_is_overdue(library: Bench) -> None:
    library.store.delete(BucketRole.PRIMARY, "photos/007.jpg")
    report = library.run()
    assert report.flaws == {Flaw.NOT_DELETED: 1}
    assert (report.primary.objects, report.percentage) == (99, 100.0)
    library.store.delete(BucketRole.BACKUP, "photos/007.jpg")
    assert library.run().flaws == {}


def test_a_copy_that_was_hidden_by_a_delete_marker_is_none(library: Bench) -> None:
    library.store.delete(BucketRole.BACKUP, "photos/007.jpg")
    report = library.run()
    assert (report.flaws, report.replicated) == ({Flaw.HIDDEN: 1}, 99)


def test_a_copy_that_was_overwritten_is_none(library: Bench) -> None:
    library.store.back_up("photos/007.jpg", b"ransom note!")
    assert library.run().flaws == {Flaw.HIDDEN: 1}


def test_a_file_that_is_deleted_between_the_two_listings_is_no_flaw(library: Bench) -> None:
    def delete() -> None:
        library.store.delete(BucketRole.PRIMARY, "photos/007.jpg")
        library.store.delete(BucketRole.BACKUP, "photos/007.jpg")

    library.store.meanwhile = delete
    assert library.run().flaws == {}


def test_an_emptied_primary_bucket_is_an_alarm_though_nothing_is_missing(library: Bench) -> None:
    library.run()
    for version in list(walk_versions(library.store, BucketRole.PRIMARY)):
        library.store.delete_version(BucketRole.PRIMARY, version.key, version.version_id)
    report = library.run()
    assert report.status is BackupStatus.DEGRADED
    assert library.alerts.sent[0][0] == "Backup DEGRADED: the primary bucket is empty; it held 100 files"


def test_an_empty_primary_bucket_beside_a_full_second_copy_is_an_alarm_at_the_first_comparison(bench: Bench) -> None:
    bench.store.back_up("a")
    assert bench.run().alarms == ("the primary bucket is empty; it held 1 files",)


def test_a_new_home_that_holds_nothing_is_healthy(bench: Bench) -> None:
    report = bench.run()
    assert (report.status, report.percentage, report.alarms) == (BackupStatus.HEALTHY, 100.0, ())


@pytest.mark.parametrize(("deleted", "alarmed"), [(10, False), (11, True)])
def test_a_primary_bucket_that_shrank_suddenly_is_an_alarm(library: Bench, deleted: int, alarmed: bool) -> None:  # noqa: FBT001 - a case of the table
    library.run()
    for number in range(deleted):
        for bucket in (BucketRole.PRIMARY, BucketRole.BACKUP):
            library.store.delete(bucket, f"photos/{number:03}.jpg")
    report = library.run()
    assert bool(report.alarms) == alarmed
    assert report.status is (BackupStatus.DEGRADED if alarmed else BackupStatus.HEALTHY)


def test_a_primary_bucket_whose_files_became_smaller_is_an_alarm(library: Bench) -> None:
    library.run()
    for number in range(100):
        library.store.both(f"photos/{number:03}.jpg", b"x")
    assert "shrank from 100 files with 1200 bytes to 100 with 100" in library.run().alarms[0]


@pytest.mark.parametrize("bucket", [BucketRole.PRIMARY, BucketRole.BACKUP])
def test_a_listing_that_fails_is_told_and_raised(library: Bench, bucket: BucketRole) -> None:
    library.run()
    before = library.kept()
    library.store.fails_at = bucket
    with pytest.raises(Unavailable):
        library.run()
    [(subject, body, severity)] = library.alerts.sent
    assert subject.startswith("Backup UNKNOWN: the second copy could not be compared")
    assert "AWS is busy" in body
    assert "request 17" not in body
    assert severity is Severity.CRITICAL
    assert library.kept() == before, "what was known last stays what the next comparison is held against"


def test_nobody_is_told_twice_but_a_failure_is_never_swallowed(library: Bench) -> None:
    library.store.upload("photos/late.jpg")
    library.alerts.is_down = True
    with pytest.raises(Unavailable, match="the topic is gone"):
        library.run()


def test_a_last_report_that_is_none_is_told_and_raised(library: Bench) -> None:
    library.store.put(BucketRole.ANALYTICS, f"{REPORTS_PREFIX}last.json", BytesIO(b"{}"), PutOptions())
    with pytest.raises(Corrupt):
        library.run()
    assert library.alerts.sent[0][0].startswith("Backup UNKNOWN")


def test_a_listing_out_of_order_is_refused() -> None:
    store = TwoBuckets()
    versions = [store.upload("b"), store.upload("a")]
    with pytest.raises(Unavailable, match="out of order"):
        health.compare(versions, [], store.clock.now(), same_bytes=never_same, still_current=always)


def test_keys_are_merged_by_their_bytes_not_by_their_characters() -> None:
    store = TwoBuckets()
    keys = ["a", "ￕ", "\N{GRINNING FACE}"]  # by UTF-16, as some sort, the last two change places
    for key in keys:
        store.upload(key)
    store.back_up(keys[2])
    found = health.compare(
        walk_versions(store, BucketRole.PRIMARY),
        walk_versions(store, BucketRole.BACKUP),
        store.clock.now(),
        same_bytes=never_same,
        still_current=always,
    )
    assert (found.replicated, found.flaws) == (1, {Flaw.MISSING: 2})


def test_listings_of_any_length_are_compared_in_the_memory_of_one_key() -> None:
    store = TwoBuckets()
    one = store.upload("x")
    alive = 0

    def listing() -> Iterator[ObjectVersion]:
        nonlocal alive
        for number in range(20_000):
            alive += 1
            yield replace(one, key=f"{number:08}")

    seen: list[int] = []

    def second() -> Iterator[ObjectVersion]:
        for number in range(20_000):
            seen.append(alive - number)
            yield replace(one, key=f"{number:08}", bucket=BucketRole.BACKUP)

    found = health.compare(listing(), second(), store.clock.now(), same_bytes=never_same, still_current=always)
    assert found.replicated == 20_000
    assert max(seen) <= 3, "neither listing runs ahead of the other"


# -- S3's own checksums --------------------------------------------------------------------------------------------

MD5 = "900150983cd24fb0d6963f7d28e17f72"


class OneAnswer:
    """An account whose S3 has one object; remembers how it was asked."""

    account_id = "123456789012"

    def __init__(self, **answer: str) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def client(self, service: str, region: str) -> OneAnswer:
        assert (service, region) == ("s3", "us-west-2")
        return self

    def head_object(self, **asked: Any) -> dict[str, str]:
        self.asked.append(asked)
        return self.answer


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ({"ETag": f'"{MD5}"', "ServerSideEncryption": "AES256"}, {"MD5": MD5}),
        ({"ETag": f'"{MD5}"', "ServerSideEncryption": "aws:kms"}, {}),
        ({"ETag": f'"{MD5}-3"', "ChecksumCRC64NVME": "crc", "ChecksumType": "FULL_OBJECT"}, {"CRC64NVME": "crc"}),
        ({"ETag": f'"{MD5}-3"', "ChecksumSHA256": "sum-3", "ChecksumType": "COMPOSITE"}, {}),
        ({"ETag": f'"{MD5}-3"', "ChecksumSHA256": "of who knows what"}, {}),
        ({"ETag": f'"{MD5}-3"', "ChecksumCRC64NVME": "crc-3", "ChecksumType": "FULL_OBJECT"}, {}),
        ({"ETag": f'"{MD5}"', "ChecksumSHA256": "sum"}, {"SHA256": "sum", "MD5": MD5}),
    ],
)
def test_only_checksums_of_the_whole_content_count(answer: dict[str, str], known: dict[str, str]) -> None:
    store = TwoBuckets()
    version = replace(store.back_up("a"), version_id="v7")
    account = OneAnswer(**answer)
    names, regions = {BucketRole.BACKUP: "the-backup"}, {BucketRole.BACKUP: "us-west-2"}
    digests = S3Digests(cast("Aws", account), Unknowing(), bucket_names=names, region_of=regions)
    assert digests.of(version) == known
    assert account.asked == [
        {
            "Bucket": "the-backup",
            "Key": "a",
            "VersionId": "v7",
            "ChecksumMode": "ENABLED",
            "ExpectedBucketOwner": "123456789012",
        }
    ]


def test_an_uploader_s_mere_claim_proves_nothing() -> None:
    class Claiming(TwoBuckets):
        def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
            found = super().head(bucket, key, version_id=version_id)
            return replace(found, hash_source=HashSource.UPLOADER)

    store = Claiming()
    assert StoreDigests(store).of(store.upload("a")) == {}


class Unknowing(Digests):
    def of(self, version: ObjectVersion) -> dict[str, str]:
        del version
        return {}


def never_same(_own: ObjectVersion, _other: ObjectVersion) -> bool:
    return False


def always_same(_own: ObjectVersion, _other: ObjectVersion) -> bool:
    return True


def always(_version: ObjectVersion) -> bool:
    return True
