"""kill -9 of real processes, at random, while files are added in bulk and two workers process them.

After the last restart every file that was acknowledged is there, byte for byte, has ended, and was counted once; fsck
finds nothing; no child and no scratch folder is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.catalog.port import LedgerEntry, SearchQuery, walk_records
from contentplatform.config import load
from contentplatform.findings import CheckRun, run_checks
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, walk_versions
from contentplatform.workflow.port import Execution, ExecutionStatus
from e2e.commands import Commands

CHILD = Path(__file__).with_name("bulk_add_child.py")
TESTS = Path(__file__).parents[1]
UPLOADS_A_LIFE = 12
LONGEST_LIFE_SECONDS = 1.6
START_SECONDS = 300.0
SETTLE_SECONDS = 600
ENDED = {ProcessingStatus.COMPLETED, ProcessingStatus.FAILED, ProcessingStatus.SUPERSEDED}


@dataclass
class Siege:
    """A data folder, two workers and a client, one of which is killed again and again."""

    folder: Path
    random: random.Random
    lives: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    process_ids: set[int] = field(default_factory=set)
    """Of everybody who ever lived."""

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def journal(self) -> Path:
        """What the client was acknowledged."""
        return self.folder / "journal"

    def start(self, who: str) -> None:
        """Start a worker or the client, as the leader of a session of its own."""
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        if who == "client":
            self.lives += 1
            seed = self.random.randrange(1 << 30)
            argv = [sys.executable, str(CHILD), str(self.data), str(self.journal), str(seed), str(UPLOADS_A_LIFE)]
        else:
            argv = Commands(self.data).argv("worker")
        told = subprocess.PIPE if who == "client" else subprocess.DEVNULL
        with (self.folder / f"{who}.err").open("ab") as errors:
            self.processes[who] = subprocess.Popen(argv, env=environment, stdout=told, stderr=errors)
        self.process_ids.add(self.processes[who].pid)

    def await_acknowledged(self) -> None:
        """Wait until something was acknowledged to the client in this life: on a slow machine, starting takes long."""
        stream = self.processes["client"].stdout
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], START_SECONDS)
        assert ready, "nothing was acknowledged"

    def kill_one(self) -> None:
        """Let them live for a moment, then kill one of them and start it again. A client that is done starts anew."""
        pause = self.random.uniform(0.05, LONGEST_LIFE_SECONDS)
        if self.random.random() < 0.5:  # the other half may die before they have done anything
            self.await_acknowledged()
        client = os.pidfd_open(self.processes["client"].pid)
        with contextlib.closing(os.fdopen(client, "rb")):
            ended, _, _ = select.select([client], [], [], pause)
        if ended:
            assert self.processes["client"].wait() == 0, (self.folder / "client.err").read_text()
            self.bury("client")
            self.start("client")
        victim = self.random.choice(("worker one", "worker two", "client"))
        self.bury(victim)
        self.start(victim)

    def bury(self, who: str) -> None:
        """Kill it if it lives, and let go of it."""
        process = self.processes.pop(who)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def end(self) -> None:
        """Kill all that is left."""
        for who in tuple(self.processes):
            self.bury(who)

    def acknowledged(self) -> list[dict[str, Any]]:
        """The client's journal; a last line that was cut off was not written."""
        lines = self.journal.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def siege(tmp_path: Path) -> Iterator[Siege]:
    besieged = Siege(tmp_path, random.Random(20_260))
    yield besieged
    besieged.end()


def lay_siege(siege: Siege, kills: int) -> None:
    """Start everybody, kill ``kills`` times, then kill all at once."""
    for who in ("worker one", "worker two", "client"):
        siege.start(who)
    for _ in range(kills):
        siege.kill_one()
    siege.end()
    for name in ("worker one", "worker two", "client"):
        assert "Traceback" not in (siege.folder / f"{name}.err").read_text()


def settle(siege: Siege) -> None:
    """Restart once and let a worker bring everything to its end; it ends when nothing is left to do."""
    with Commands(siege.data).worker() as worker:
        siege.process_ids.add(worker.pid)
        home = open_local(load(data_folder=siege.data))
        try:
            home.take_in_all()
            unfinished = [execution.name for execution in executions(home) if not execution.status.ended]
            assert home.engine.wait(unfinished, SETTLE_SECONDS), "not everything ended"
        finally:
            home.close()


def executions(home: LocalHome) -> Iterator[Execution]:
    """Every execution there ever was."""
    cursor: str | None = None
    while True:
        page = home.engine.list(cursor=cursor)
        yield from page.executions
        cursor = page.cursor
        if cursor is None:
            return


def check_acknowledged(home: LocalHome, journal: list[dict[str, Any]]) -> None:
    """I1: every acknowledged version is there, byte for byte, and has ended in words or with renditions."""
    assert len({told["version_id"] for told in journal}) == len(journal)
    for told in journal:
        with home.store.open(BucketRole.PRIMARY, told["key"], version_id=told["version_id"]) as reader:
            reader.read()  # checks the hash
            assert reader.version.sha256 == told["sha256"]
        entry = home.catalog.get_entry(file_id(told["key"]), told["version_id"])
        assert entry.status in ENDED, entry
        assert (entry.status is ProcessingStatus.FAILED) == bool(entry.error)


def check_counted_once(home: LocalHome) -> None:
    """I8, I11: one execution a version succeeded, and the ledger's renditions are the only ones kept."""
    succeeded = Counter(
        execution.version_id for execution in executions(home) if execution.status is ExecutionStatus.SUCCEEDED
    )
    assert all(times == 1 for times in succeeded.values()), succeeded
    for record in walk_records(home.catalog, SearchQuery()):
        entries = {entry.version_id: entry for entry in home.catalog.entries(record.file_id)}
        current = entries[record.version_id]
        assert (record.status, record.renditions) == (current.status, current.renditions)
        for entry in entries.values():
            check_ledger(entry, succeeded[entry.version_id])


def check_ledger(entry: LedgerEntry, times_succeeded: int) -> None:
    """What one version's entry says agrees with the executions that there were."""
    assert len({rendition.name for rendition in entry.renditions}) == len(entry.renditions)
    if entry.status is ProcessingStatus.COMPLETED:
        assert entry.attempts >= 1
        assert times_succeeded == 1
    if entry.status is ProcessingStatus.SUPERSEDED:
        assert (entry.renditions, times_succeeded) == ((), 0)


def check_manifests(home: LocalHome) -> None:
    """One sidecar manifest a file, in one version."""
    manifests = Counter(
        version.key for version in walk_versions(home.store, BucketRole.ANALYTICS, "catalog/manifests/")
    )
    assert set(manifests.values()) <= {1}
    records = {record.file_id for record in walk_records(home.catalog, SearchQuery())}
    assert {key.rpartition("/")[2].removesuffix(".json") for key in manifests} == records


def check_nothing_left_over(siege: Siege) -> None:
    """No child lives on, and no job left its scratch folder."""
    assert list((siege.data / "scratch").glob("*")) == []
    assert list(leftover_processes(siege)) == []


def leftover_processes(siege: Siege) -> Iterator[list[str]]:
    """Command lines of processes that work in the data folder, or whose parent was one of ours."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            is_child = "contentplatform.drivers.zygote" in command and siege.process_ids & {
                int(argument) for argument in command if argument.isdigit()
            }
            if is_child or str(siege.data) in command:
                yield command


def survive(siege: Siege, kills: int) -> None:
    """The whole test."""
    lay_siege(siege, kills)
    settle(siege)
    check_nothing_left_over(siege)
    journal = siege.acknowledged()
    assert len(journal) >= kills // 2, "hardly anything was acknowledged: the test tests nothing"
    home = open_local(load(data_folder=siege.data))
    try:
        check_acknowledged(home, journal)
        check_counted_once(home)
        home.finish()
        check_manifests(home)
        assert list(run_checks(home.checks(), CheckRun(deep=True))) == []
    finally:
        home.close()


def test_twenty_kills_lose_nothing_and_count_nothing_twice(siege: Siege) -> None:
    survive(siege, kills=20)


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing_and_count_nothing_twice(siege: Siege) -> None:
    survive(siege, kills=200)
