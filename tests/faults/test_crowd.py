"""People in processes of their own do random things to the same few files while workers process them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.catalog.port import SearchQuery, walk_records
from contentplatform.config import load
from contentplatform.media import ProcessingStatus
from contentplatform.processing.presets import RENDITION_FOLDERS
from contentplatform.storage.port import BucketRole, walk
from contentplatform.workflow.port import ExecutionStatus
from e2e.commands import Commands

CHILD = Path(__file__).with_name("crowd_child.py")
TESTS = Path(__file__).parents[1]
LONGEST_SECONDS = 300


def crowd(data: Path, people: int, acts: int) -> None:
    """Let them in, wait until they are gone, and until everything that they began has ended."""
    home = Commands(data)
    home.run("list")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with home.worker(), home.worker():
        running = [
            subprocess.Popen(
                [sys.executable, str(CHILD), str(data), str(seed), str(acts)], env=environment, stderr=subprocess.PIPE
            )
            for seed in range(people)
        ]
        for process in running:
            _, told = process.communicate(timeout=LONGEST_SECONDS)
            assert process.returncode == 0, told.decode()
        with closing(open_local(load(data_folder=data))) as opened:
            opened.take_in_all()
            unfinished = [
                execution.name
                for status in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)
                for execution in opened.engine.list(status=status, limit=1_000).executions
            ]
            assert opened.engine.wait(unfinished, LONGEST_SECONDS)


def check(home: LocalHome) -> None:
    """Records, store and edge agree, and nothing waits for nobody."""
    current = {version.key: version.version_id for version in walk(home.store, BucketRole.PRIMARY)}
    records = {record.file_path: record for record in walk_records(home.catalog, SearchQuery())}
    assert {key: record.version_id for key, record in records.items()} == current
    public = {
        version.key: version.sha256
        for folder in RENDITION_FOLDERS
        for version in walk(home.store, BucketRole.PROCESSED, f"{folder}/")
    }
    assert public == {
        rendition.key: rendition.sha256
        for record in records.values()
        if record.status is ProcessingStatus.COMPLETED
        for rendition in record.renditions
    }
    for record in records.values():
        for entry in home.catalog.entries(record.file_id):
            assert entry.status not in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}, entry


def survive(data: Path, people: int, acts: int) -> None:
    """The whole test."""
    crowd(data, people, acts)
    with closing(open_local(load(data_folder=data))) as home:
        check(home)
    assert Commands(data).json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}


def test_two_people_and_two_workers_leave_a_clean_house(tmp_path: Path) -> None:
    survive(tmp_path / "data", people=2, acts=80)


@pytest.mark.soak
def test_four_people_for_long_and_two_workers_leave_a_clean_house(tmp_path: Path) -> None:
    survive(tmp_path / "data", people=4, acts=800)
