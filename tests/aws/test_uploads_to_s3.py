"""Uploads into the home on AWS: staged here, put there whole, once, whatever fails between the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ChecksumMismatch, Unavailable
from contentplatform.ingest.upload_sessions import SCHEMA, LocalUploads, UploadRules
from contentplatform.ingest.uploads import NewUpload, NoLimits, Receiving, UploadSession
from contentplatform.storage.outgoing_files import OutgoingFiles
from contentplatform.storage.port import BucketRole, ObjectStore, versions_of
from contentplatform.storage.versions import SCHEMA as STORAGE_SCHEMA
from fakes.uploads import sha256

if TYPE_CHECKING:
    from contentplatform.drivers.boto import Aws

PRIMARY = BucketRole.PRIMARY
DATA = b"some bytes " * 150_000  # more than one part


class FailsOnce(NoLimits):
    """An allowance that fails when the first upload is settled: after S3 has it, before the rows say so."""

    def __init__(self) -> None:
        self.failures = 1

    def settle(self, session: UploadSession, version_id: str, /) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable(f"settling {session.id} as {version_id}", "it was told to fail")


class World:
    """Uploads that go to S3."""

    def __init__(self, store: ObjectStore, database: Database, folder: Path, allowance: NoLimits) -> None:
        self.store = store
        self.staging = OutgoingFiles(database, store, folder, RandomIds(), lambda _sha256: ())
        self.uploads = LocalUploads(
            database, store, SystemClock(), RandomIds(), UploadRules(), allowance, staging=self.staging
        )

    def read(self, key: str) -> bytes:
        with self.store.open(PRIMARY, key) as reader:
            return reader.read()


@pytest.fixture
def opened(aws: Aws, tmp_path: Path) -> Iterator[tuple[ObjectStore, Database, Path]]:
    from aws.buckets import make_buckets, open_store  # noqa: PLC0415 - the other homes need no cloud library

    database = Database(tmp_path / "catalog.db", [STORAGE_SCHEMA, SCHEMA], new_uuid="a")
    store = open_store(aws, make_buckets(aws), part_size_bytes=1 << 20)
    yield store, database, tmp_path / "uploads"
    database.close()


def test_pieces_and_bytes_in_one_go_become_versions_on_s3(opened: tuple[ObjectStore, Database, Path]) -> None:
    world = World(*opened, NoLimits())
    session = world.uploads.create(NewUpload("ann", "a.bin", len(DATA), expected_sha256=sha256(DATA)))
    for begin in range(0, len(DATA), 700_000):
        appending = world.uploads.append(session.id, begin)
        appending.write(DATA[begin : begin + 700_000])
        session = appending.end()
    assert session.version_id == world.store.head(PRIMARY, "a.bin").version_id
    assert world.read("a.bin") == DATA
    receiving = world.uploads.receive(NewUpload("ann", "b.txt", None, claimed_type="text/plain"))
    assert isinstance(receiving, Receiving)
    receiving.write(b"hello")
    receiving.finish()
    assert world.store.head(PRIMARY, "b.txt").content_type == "text/plain"
    wrong = world.uploads.create(NewUpload("ann", "c.bin", 5, expected_sha256=sha256(b"jello")))
    appending = world.uploads.append(wrong.id, 0)
    appending.write(b"hello")
    with pytest.raises(ChecksumMismatch):
        appending.end()
    assert versions_of(world.store, PRIMARY, "c.bin") == ()
    assert list(world.staging.staging.folder.iterdir()) == []


def test_what_s3_has_and_the_rows_do_not_know_is_not_sent_again(opened: tuple[ObjectStore, Database, Path]) -> None:
    world = World(*opened, FailsOnce())
    session = world.uploads.create(NewUpload("ann", "a.bin", 5))
    appending = world.uploads.append(session.id, 0)
    appending.write(b"hello")
    with pytest.raises(Unavailable, match="told to fail"):
        appending.end()
    again = World(*opened, NoLimits())
    finished = again.uploads.get(session.id)
    (version,) = versions_of(again.store, PRIMARY, "a.bin")
    assert finished.version_id == version.version_id
    assert list(again.staging.staging.folder.iterdir()) == []
