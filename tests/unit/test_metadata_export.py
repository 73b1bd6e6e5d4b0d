"""The catalog's export: whole or not at all, the same bytes for the same catalog, a row a file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contentplatform.analytics.export import Exported, MetadataExport, class_by_rules, export_key
from contentplatform.analytics.tables import CONTENT_METADATA
from contentplatform.catalog.port import Record, RecordPage, SearchQuery
from contentplatform.errors import Unavailable
from contentplatform.storage.lifecycle import Tiering
from contentplatform.storage.port import BucketRole, StorageClass, versions_of
from fakes.catalog import FakeCatalog, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

NOW = datetime(2030, 6, 15, 0, 30, tzinfo=UTC)


class Rig:
    """An export with its surroundings."""

    def __init__(self, tmp_path: Path, catalog: FakeCatalog | None = None) -> None:
        self.clock = FakeClock(NOW)
        self.catalog = catalog or FakeCatalog()
        self.store = MemoryObjectStore(self.clock, SequentialIds())
        self.scratch = tmp_path / "scratch"
        self.export = MetadataExport(
            self.catalog, self.store, self.clock, tiering=Tiering.LIFECYCLE, scratch_folder=self.scratch
        )

    def rows(self, key: str = "content-metadata/year=2030/month=06/day=15/files.json.gz") -> list[Mapping[str, Any]]:
        with self.store.open(BucketRole.ANALYTICS, key) as reader:
            return [json.loads(line) for line in gzip.decompress(reader.read()).splitlines()]


def test_each_file_is_a_row_with_the_columns_of_the_table(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for number in range(3):
        rig.catalog.put(make_record(f"folder/{number}.jpg", number, upload_time=NOW - timedelta(minutes=number)))
    done = rig.export.run()
    rows = rig.rows(done.key)
    assert done.files == len(rows) == 3
    assert done.size_bytes == rig.store.head(BucketRole.ANALYTICS, done.key).size_bytes
    assert all(list(row) == [column.name for column in CONTENT_METADATA.columns] for row in rows)
    assert {row["file_path"] for row in rows} == {"folder/0.jpg", "folder/1.jpg", "folder/2.jpg"}
    assert rows[0]["file_name"] == "0.jpg"


def test_it_goes_to_the_folder_of_its_day(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert rig.export.run().key == export_key(NOW.date())
    rig.clock.advance(86_400)
    assert rig.export.run().key == "content-metadata/year=2030/month=06/day=16/files.json.gz"


def test_a_catalog_of_more_than_a_page_is_exported_whole(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for number in range(1_201):
        rig.catalog.put(make_record(f"{number}.jpg", upload_time=NOW - timedelta(seconds=number)))
    assert rig.export.run().files == 1_201
    assert len({row["file_id"] for row in rig.rows()}) == 1_201


def test_removed_files_are_left_out(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.catalog.put(make_record("there.jpg", upload_time=NOW))
    rig.catalog.put(make_record("gone.jpg", upload_time=NOW, deleted_at=NOW))
    rig.export.run()
    assert [row["file_path"] for row in rig.rows()] == ["there.jpg"]


def test_an_empty_catalog_gives_an_empty_table(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert rig.export.run() == Exported(export_key(NOW.date()), 0, 20)
    assert rig.rows() == []


def test_the_same_day_again_takes_the_place_of_the_first_with_the_same_bytes(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.catalog.put(make_record("a.jpg", upload_time=NOW))
    first = rig.export.run()
    rig.clock.advance(60)
    assert rig.export.run() == first
    newest, oldest = versions_of(rig.store, BucketRole.ANALYTICS, first.key)
    assert newest.sha256 == oldest.sha256
    assert len(rig.rows()) == 1


class SulkingCatalog(FakeCatalog):
    """Fails after its first page."""

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        if cursor is not None:
            raise Unavailable("searching", "the catalog sulks")
        page = super().search(query, limit=1)
        assert limit > 1
        return page


def test_an_export_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SulkingCatalog())
    for number in range(2):
        rig.catalog.put(make_record(f"{number}.jpg", upload_time=NOW))
    with pytest.raises(Unavailable):
        rig.export.run()
    assert versions_of(rig.store, BucketRole.ANALYTICS, export_key(NOW.date())) == ()
    assert list(rig.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {"width": None, "height": None, "duration": None, "format": None}),
        (
            {"width": 1920, "height": 1080, "duration_seconds": 12.5, "format": "mp4"},
            {"width": 1920, "height": 1080, "duration": 12.5, "format": "mp4"},
        ),
        (
            {"width": "wide", "height": True, "duration_seconds": [1], "format": 7},
            {"width": None, "height": None, "duration": None, "format": None},
        ),
    ],
)
def test_only_facts_of_the_column_s_type_come_in(
    tmp_path: Path, facts: dict[str, Any], expected: dict[str, Any]
) -> None:
    rig = Rig(tmp_path)
    rig.catalog.put(make_record("a.mp4", upload_time=NOW, processing_metadata=facts))
    rig.export.run()
    assert rig.rows()[0]["metadata"] == expected


def test_a_name_in_any_script_is_one_line(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    name = 'ü/"雪"\\ \u2028.jpg'
    rig.catalog.put(make_record(name, upload_time=NOW))
    rig.export.run()
    assert [row["file_path"] for row in rig.rows()] == [name]


def test_no_row_keeps_what_the_catalog_keeps_private(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    record: Record = make_record("a.jpg", upload_time=NOW, processing_metadata={"gps": {"latitude": 48.2}})
    rig.catalog.put(record)
    rig.export.run()
    assert "gps" not in json.dumps(rig.rows())


@pytest.mark.parametrize(
    ("size_bytes", "age_days", "tiering", "expected"),
    [
        (1 << 20, 0, Tiering.LIFECYCLE, StorageClass.STANDARD),
        (1 << 20, 30, Tiering.LIFECYCLE, StorageClass.STANDARD_IA),
        (1 << 20, 364, Tiering.LIFECYCLE, StorageClass.GLACIER_IR),
        (1 << 20, 365, Tiering.LIFECYCLE, StorageClass.GLACIER),
        (1 << 20, 5_000, Tiering.LIFECYCLE, StorageClass.DEEP_ARCHIVE),
        (128 * 1024 - 1, 5_000, Tiering.LIFECYCLE, StorageClass.STANDARD),
        (1 << 20, 100, Tiering.INTELLIGENT, StorageClass.INTELLIGENT_TIERING),
        (1 << 20, 365, Tiering.INTELLIGENT, StorageClass.GLACIER),
    ],
)
def test_the_class_is_what_the_rules_give(
    size_bytes: int, age_days: int, tiering: Tiering, expected: StorageClass
) -> None:
    assert class_by_rules(size_bytes, age_days, tiering) is expected
