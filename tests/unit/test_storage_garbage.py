"""The collector: what it takes, what it leaves, and what no clock can make it take."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.garbage import Collected
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions
from fakes.clock import FakeClock, SequentialIds

GRACE = 86_400.0
PRIMARY = BucketRole.PRIMARY


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[LocalObjectStore]:
    database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="a")
    yield LocalObjectStore(database, tmp_path, clock, SequentialIds(), gc_grace_seconds=GRACE)
    database.close()


def put(store: LocalObjectStore, key: str, data: bytes) -> ObjectVersion:
    return store.put(PRIMARY, key, io.BytesIO(data), PutOptions())


def garbage(store: LocalObjectStore, data: bytes = b"garbage") -> Path:
    """The file of bytes to which nothing refers any more."""
    version = put(store, "garbage", data)
    path = store.local_file(version)
    store.delete_version(PRIMARY, "garbage", version.version_id)
    return path


def test_taken_at_the_second_scan_after_the_grace(store: LocalObjectStore, clock: FakeClock) -> None:
    path = garbage(store)
    assert store.collect_garbage() == Collected(marked=1)
    clock.advance(GRACE - 1)
    assert store.collect_garbage() == Collected()
    assert path.exists()
    clock.advance(1)
    assert store.collect_garbage() == Collected(blobs_removed=1, bytes_freed=7)
    assert not path.exists()
    assert store.collect_garbage() == Collected()


def test_never_at_the_first_scan(store: LocalObjectStore, clock: FakeClock) -> None:
    path = garbage(store)
    clock.advance(100 * GRACE)
    store.collect_garbage()
    assert path.exists()


def test_what_any_version_has_is_kept(store: LocalObjectStore, clock: FakeClock) -> None:
    """Current, old, behind a marker, in another bucket: each is a reference."""
    versions = [put(store, "k", b"old"), put(store, "k", b"new"), put(store, "marked", b"marked")]
    store.delete(PRIMARY, "marked")
    shared = put(store, "shared", b"shared")
    versions.append(store.copy(shared, BucketRole.PROCESSED, "shared"))
    store.delete_version(PRIMARY, "shared", shared.version_id)
    for _ in range(3):
        assert store.collect_garbage() == Collected()
        clock.advance(GRACE)
    assert all(store.local_file(version).exists() for version in versions)


def test_reference_in_between_begins_the_grace_anew(store: LocalObjectStore, clock: FakeClock) -> None:
    path = garbage(store, b"again")
    store.collect_garbage()
    clock.advance(GRACE)
    assert garbage(store, b"again") == path
    store.collect_garbage()
    assert path.exists()
    clock.advance(GRACE)
    store.collect_garbage()
    assert not path.exists()


def test_put_of_marked_bytes_saves_them(store: LocalObjectStore, clock: FakeClock) -> None:
    path = garbage(store, b"wanted")
    store.collect_garbage()
    clock.advance(GRACE)
    version = put(store, "k", b"wanted")
    store.collect_garbage()
    assert store.local_file(version) == path


def test_bytes_put_again_between_the_scan_and_the_unlink_are_kept(store: LocalObjectStore, clock: FakeClock) -> None:
    """The scan saw garbage; under the write lock the collector looks once more."""
    garbage(store, b"again")
    store.collect_garbage()
    clock.advance(GRACE)
    now_seconds = store.database.write(store.garbage._advance_proven_time)
    scanned = [(*scan[:3], list(scan[3])) for scan in store.garbage._scans()]
    version = put(store, "k", b"again")
    for scope, lower, upper, candidates in scanned:
        store.garbage._settle(scope, lower, upper, candidates, now_seconds)
        store.garbage._settle(scope, lower, upper, candidates, now_seconds + GRACE)
    with store.open(PRIMARY, "k") as reader:
        assert reader.read() == b"again"
    assert store.local_file(version).exists()


@pytest.mark.parametrize("years", [10, -10])
def test_clock_that_jumps_removes_nothing(store: LocalObjectStore, clock: FakeClock, years: int) -> None:
    path = garbage(store)
    store.collect_garbage()
    clock.jump(timedelta(days=365 * years))
    assert store.collect_garbage() == Collected()
    assert path.exists()
    clock.advance(GRACE)
    assert store.collect_garbage().blobs_removed == 1


def test_after_a_reboot_only_the_time_since_counts(store: LocalObjectStore, clock: FakeClock) -> None:
    path = garbage(store)
    store.collect_garbage()
    clock.advance(GRACE - 10)
    clock.reboot()
    store.collect_garbage()
    assert path.exists()
    clock.advance(GRACE)
    store.collect_garbage()
    assert not path.exists()


def test_temporary_files_are_swept_after_the_grace(store: LocalObjectStore, clock: FakeClock) -> None:
    folder = store.local_file(put(store, "k", b"data")).parents[2] / ".tmp"
    abandoned = folder / "abandoned"
    abandoned.write_bytes(b"half")
    journal_leftover = store.root / "manifests" / ".tmp" / "abandoned"
    journal_leftover.write_bytes(b"half")
    assert store.collect_garbage().marked == 2
    clock.advance(GRACE)
    assert store.collect_garbage() == Collected(temporaries_removed=2)
    assert not abandoned.exists()
    assert not journal_leftover.exists()


def test_temporary_file_that_still_grows_is_kept(store: LocalObjectStore, clock: FakeClock) -> None:
    folder = store.local_file(put(store, "k", b"data")).parents[2] / ".tmp"
    growing = folder / "growing"
    for _ in range(3):
        with growing.open("ab") as file:
            file.write(b"more")
        assert store.collect_garbage() == Collected(marked=1)
        clock.advance(GRACE)
    assert growing.exists()


def test_database_that_knows_less_than_the_journal_may_not_collect(store: LocalObjectStore) -> None:
    """As after an old copy of the database was put back under a running process."""
    put(store, "k", b"data")
    store.flush_journal()
    store.database.write(
        lambda transaction: transaction.run("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'object_journal'")
    )
    with pytest.raises(ConfigurationInvalid):
        store.collect_garbage()
