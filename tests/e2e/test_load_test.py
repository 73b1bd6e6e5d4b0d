"""``load-test``: what it counts, that a lost or failed file makes it fail, and that it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.clock import RandomIds
from contentplatform.config import ProcessingSettings, Settings
from contentplatform.load_test import FOLDER, Load, LoadReport, LoadTest, distinct_photo, latencies
from contentplatform.storage.port import BucketRole, walk_versions
from contentplatform.worker import Worker
from e2e.commands import Commands
from sample_media import encoded
from sample_media import photo as drawn_photo


@pytest.fixture
def photo() -> bytes:
    """A small JPEG."""
    return encoded(drawn_photo(320, 240), "JPEG")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    with closing(open_local(Settings(data_folder=tmp_path / "data"))) as opened:
        yield opened


def load(home: LocalHome, photo: bytes, longest_seconds: float = 60.0) -> LoadReport:
    """Six small files, two at a time, with a worker at work."""
    with Worker(home):
        given = Load(files=6, file_size_bytes=20_000, at_once=2, longest_seconds=longest_seconds)
        return LoadTest(home, photo, given, RandomIds(), home.take_in_all).run()


def test_every_file_is_counted_and_removed_again(home: LocalHome, photo: bytes) -> None:
    report = load(home, photo)
    assert report.healthy, report
    assert (report.stored, report.completed, report.bytes_stored) == (6, 6, 120_000)
    assert report.acknowledged is not None
    assert report.completed_after is not None
    assert 0 < report.acknowledged.p50 <= report.acknowledged.longest < report.completed_after.longest
    assert report.store_seconds <= report.total_seconds
    left = [version.key for role in BucketRole for version in walk_versions(home.store, role)]
    assert [key for key in left if FOLDER in key or key.startswith(("versions/", "processed/"))] == []


def test_a_file_that_fails_makes_the_run_fail(tmp_path: Path, photo: bytes) -> None:
    settings = replace(Settings(data_folder=tmp_path / "data"), processing=ProcessingSettings(max_image_pixels=1))
    with closing(open_local(settings)) as home:
        report = load(home, photo)
    assert not report.healthy
    assert (report.stored, report.completed, len(report.troubled)) == (6, 0, 6)
    assert "failed" in report.troubled[0]


def test_a_file_that_nobody_processes_makes_the_run_fail(home: LocalHome, photo: bytes) -> None:
    given = Load(files=2, file_size_bytes=1, at_once=1, longest_seconds=0.0)
    report = LoadTest(home, photo, given, RandomIds(), lambda: None).run()
    assert not report.healthy
    assert len(report.troubled) == 2
    assert report.left_over == []


def test_each_photo_is_like_no_other_and_as_long_as_wanted(photo: bytes) -> None:
    first, second = (distinct_photo(photo, name, 1 << 20) for name in ("one", "two"))
    assert len(first) == len(second) == 1 << 20
    assert first != second
    assert len(distinct_photo(photo, "one", 1)) > len(photo)


def test_percentiles_are_by_nearest_rank() -> None:
    told = latencies([float(number) for number in range(100, 0, -1)])
    assert told is not None
    assert (told.p50, told.p95, told.p99, told.longest) == (50, 95, 99, 100)
    assert latencies([]) is None


def test_scripts_get_one_document(tmp_path: Path) -> None:
    report = Commands(tmp_path / "data").json("load-test", "--files", "3", "--size", "1000", "--at-once", "2")
    assert (report["healthy"], report["completed"], report["left_over"]) == (True, 3, [])
    assert report["files_per_second"] > 0
