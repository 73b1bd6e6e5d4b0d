"""A lost or damaged database comes back from what lies beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from contentplatform.app import DATABASE_FILE_NAME, LocalHome, open_local
from contentplatform.catalog.port import SearchQuery, walk_records
from contentplatform.config import Settings, StorageSettings
from contentplatform.errors import Conflict, NotFound, PlatformError
from contentplatform.findings import CheckRun, run_checks
from contentplatform.ingest.library import Edit
from contentplatform.ingest.snapshot import COLLECTION_FOLDER, SNAPSHOT_KEY
from contentplatform.media import file_id
from contentplatform.rebuild import rebuild
from contentplatform.storage.port import BucketRole, PutOptions, versions_of, walk_versions
from contentplatform.worker import Worker
from sample_media import encoded, photo


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder of its own."""
    return Settings(data_folder=tmp_path / "data")


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """A library with a photo of two versions, tagged and titled, a removed file and a moved one."""
    home = open_local(settings)
    try:
        library = home.platform.library
        library.add("a/photo.jpg", BytesIO(encoded(photo(320, 240, seed=1), "JPEG")))
        with Worker(home):
            _settle(home)
            library.add("a/photo.jpg", BytesIO(encoded(photo(240, 320, seed=2), "JPEG")))
            library.add("note.txt", BytesIO(b"hello"))
            library.add("gone.txt", BytesIO(b"gone"))
            library.add("old.txt", BytesIO(b"moved"))
            _settle(home)
        library.edit("a/photo.jpg", Edit(title="Harbour", add_tags=frozenset({"sea"})))
        collections = home.platform.collections
        trip = collections.create("Trip", description="Of files that come and go", owner="ana")
        keys = ("old.txt", "gone.txt", "a/photo.jpg", "note.txt")
        trip = collections.add(trip.collection_id, [file_id(key) for key in keys])
        trip = collections.take(trip.collection_id, [file_id("note.txt")])
        collections.change(trip.collection_id, trip.revision, cover=file_id("old.txt"))
        forgotten = collections.create("Forgotten")
        collections.delete(forgotten.collection_id, forgotten.revision)
        library.remove("gone.txt")
        library.move("old.txt", "new.txt")
        home.finish()
    finally:
        home.close()
    return settings


def _settle(home: LocalHome) -> None:
    home.take_in_all()
    names = [execution.name for execution in home.engine.list().executions]
    assert home.engine.wait(names, 60)


@pytest.fixture
def opened(filled: Settings) -> Iterator[LocalHome]:
    """The library after its database was lost and rebuilt."""
    for file in filled.data_folder.glob(f"{DATABASE_FILE_NAME}*"):
        file.unlink()
    report = rebuild(filled)
    assert report.damaged_lines == report.damaged_manifests == report.unclaimed_blobs == 0
    home = open_local(filled)
    yield home
    home.close()


def test_records_versions_and_what_people_wrote_come_back(opened: LocalHome) -> None:
    library = opened.platform.library
    photo = library.record("a/photo.jpg")
    assert (photo.title, photo.tags, photo.status.value) == ("Harbour", ("sea",), "completed")
    assert {rendition.name for rendition in photo.renditions} == {"thumbnail", "medium", "webp"}
    assert len(library.versions("a/photo.jpg")) == 2
    assert library.record("gone.txt").deleted_at is not None
    assert library.record("new.txt").status.value == "completed"
    for rendition in photo.renditions:
        with library.open("a/photo.jpg", rendition=rendition.name) as reader:
            assert len(reader.read()) == rendition.size_bytes


def test_a_moved_file_is_still_found_under_its_old_name(opened: LocalHome) -> None:
    with pytest.raises(NotFound, match=r"it was moved to new\.txt"):
        opened.platform.library.record("old.txt")


def test_collections_come_back_with_their_files_in_order(opened: LocalHome) -> None:
    collections = opened.platform.collections
    (trip,) = collections.list().collections
    assert (trip.name, trip.description, trip.owner) == ("Trip", "Of files that come and go", "ana")
    assert (trip.files, trip.cover) == (3, file_id("new.txt"))
    assert [record.file_path for record in collections.files(trip.collection_id).records] == ["new.txt", "a/photo.jpg"]
    opened.platform.library.undelete("gone.txt")
    shown = [record.file_path for record in collections.files(trip.collection_id).records]
    assert shown == ["new.txt", "gone.txt", "a/photo.jpg"]


def test_a_damaged_kept_collection_costs_only_itself(filled: Settings) -> None:
    home = open_local(filled)
    try:
        other = home.platform.collections.create("Other")
        key = f"{COLLECTION_FOLDER}/{other.collection_id}.json"
        home.store.put(BucketRole.ANALYTICS, key, BytesIO(b"{"), PutOptions(content_type="application/json"))
        home.finish()
    finally:
        home.close()
    report = rebuild(filled)
    assert (report.collections, report.damaged_manifests) == (1, 1)


def test_the_snapshot_stands_in_for_manifests_that_are_gone(filled: Settings) -> None:
    home = open_local(filled)
    assert home.snapshot().write() == 4
    for version in walk_versions(home.store, BucketRole.ANALYTICS, "catalog/manifests/"):
        home.store.delete_version(version.bucket, version.key, version.version_id)
    home.finish()
    home.close()
    for file in filled.data_folder.glob(f"{DATABASE_FILE_NAME}*"):
        file.unlink()
    assert rebuild(filled).records == 4
    home = open_local(filled)
    try:
        assert home.platform.library.record("a/photo.jpg").title == "Harbour"
    finally:
        home.close()


def test_a_snapshot_is_written_once_an_interval_whoever_starts_and_stops(filled: Settings) -> None:
    home = open_local(filled)
    try:
        written_at = home.store.head(BucketRole.ANALYTICS, SNAPSHOT_KEY).created_at  # by the fixture's worker
        snapshot, hour = home.snapshot(), timedelta(hours=1)
        assert snapshot.write_if_due(3600, written_at + hour / 2) is None
        assert snapshot.write_if_due(3600, written_at + hour) == 4
        assert snapshot.write_if_due(3600, written_at - hour) == 4
    finally:
        home.close()


def test_only_two_snapshots_are_kept_and_a_damaged_one_is_counted(filled: Settings) -> None:
    home = open_local(filled)
    try:
        for _ in range(4):
            home.snapshot().write()
        home.store.put(BucketRole.ANALYTICS, SNAPSHOT_KEY, BytesIO(b"\x1f\x8b broken"), PutOptions())
        assert len(versions_of(home.store, BucketRole.ANALYTICS, SNAPSHOT_KEY)) == 3
        assert home.snapshot().restore().damaged == 1
    finally:
        home.close()


def test_the_rebuilt_library_is_clean(opened: LocalHome) -> None:
    assert list(run_checks(opened.checks(), CheckRun(deep=True))) == []


def test_an_older_version_becomes_current_again_after_a_rebuild(opened: LocalHome) -> None:
    library = opened.platform.library
    newest = library.record("a/photo.jpg").version_id
    library.remove_version("a/photo.jpg", newest)
    record = library.record("a/photo.jpg")
    assert record.status.value == "completed"
    assert record.processing_metadata["width"] == 320


def test_a_damaged_database_is_refused_and_rebuilt_and_kept(filled: Settings) -> None:
    database = filled.data_folder / DATABASE_FILE_NAME
    content = bytearray(database.read_bytes())
    content[:100] = bytes(100)
    database.write_bytes(content)
    with pytest.raises(PlatformError, match="rebuild-catalog"):
        open_local(filled).close()
    report = rebuild(filled)
    assert report.old_database is not None
    assert report.old_database.read_bytes() == bytes(content)
    assert report.records == 4


def test_damaged_journal_lines_and_manifests_cost_only_themselves(filled: Settings) -> None:
    for file in filled.data_folder.glob(f"{DATABASE_FILE_NAME}*"):
        file.unlink()
    segments = (filled.data_folder / "manifests").glob("*.jsonl")
    segment = next(path for path in segments if b'"key":"note.txt"' in path.read_bytes().replace(b": ", b":"))
    lines = segment.read_bytes().splitlines()
    number = next(number for number, line in enumerate(lines) if b"note.txt" in line)
    lines[number] = lines[number][: len(lines[number]) // 2]
    segment.write_bytes(b"\n".join([*lines, b""]))
    report = rebuild(filled)
    assert report.damaged_lines == 1
    home = open_local(filled)
    try:
        assert home.platform.library.record("a/photo.jpg").title == "Harbour"
    finally:
        home.close()


def test_bytes_that_lost_their_names_are_kept_and_can_be_named_again(filled: Settings) -> None:
    for file in filled.data_folder.glob(f"{DATABASE_FILE_NAME}*"):
        file.unlink()
    shutil.rmtree(filled.data_folder / "manifests")
    report = rebuild(filled)
    assert report.versions == 0
    assert report.unclaimed_blobs > 0
    home = open_local(replace(filled, storage=StorageSettings(gc_grace_seconds=0.0)))
    try:
        home.store.collect_garbage()
        home.store.collect_garbage()
        list(run_checks(home.checks(), CheckRun(repair=True)))
        home.finish()
        found = list(walk_records(home.catalog, SearchQuery(folder="lost+found")))
        assert len(found) == report.unclaimed_blobs
    finally:
        home.close()


def test_nobody_may_work_on_the_folder_meanwhile(filled: Settings) -> None:
    home = open_local(filled)
    try:
        with Worker(home), pytest.raises(Conflict, match="worker"):
            rebuild(filled)
    finally:
        home.close()
