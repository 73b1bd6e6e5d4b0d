"""H34: the same bytes under thousands of names are one file, and go only when the last name has gone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import BucketRole, PutOptions
from fakes.clock import FakeClock, SequentialIds

GRACE_SECONDS = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[LocalObjectStore]:
    database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="a")
    yield LocalObjectStore(database, tmp_path, clock, SequentialIds(), gc_grace_seconds=GRACE_SECONDS)
    database.close()


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.soak)])
def test_h34_many_assets_of_one_content_are_one_file(store: LocalObjectStore, clock: FakeClock, count: int) -> None:
    content = b"the same bytes again"
    versions = [
        store.put(BucketRole.PRIMARY, f"flood/{number}.bin", io.BytesIO(content), PutOptions())
        for number in range(count)
    ]
    paths = {store.local_file(version) for version in versions}
    assert len({version.version_id for version in versions}) == count
    (path,) = paths
    assert path.read_bytes() == content
    for version in versions[:-1]:
        store.delete_version(BucketRole.PRIMARY, version.key, version.version_id)
    for _ in range(2):
        store.collect_garbage()
        clock.advance(GRACE_SECONDS + 1)
    assert path.read_bytes() == content, "one name is left"
    last = versions[-1]
    with store.open(BucketRole.PRIMARY, last.key) as reader:
        assert reader.read() == content
    store.delete_version(BucketRole.PRIMARY, last.key, last.version_id)
    for _ in range(2):
        store.collect_garbage()
        clock.advance(GRACE_SECONDS + 1)
    assert not path.exists()


def test_h34_other_bytes_are_other_files(store: LocalObjectStore) -> None:
    paths = {
        store.local_file(store.put(BucketRole.PRIMARY, f"{number}", io.BytesIO(b"%d" % number), PutOptions()))
        for number in range(50)
    }
    assert len(paths) == 50
