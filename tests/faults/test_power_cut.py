"""The power fails, and whatever was not synced is gone: what was acknowledged is still there.

A kill leaves the kernel's memory whole; a power cut does not. The file layer notes what has been synced, and the cut
takes away the rest: names that no sync of their folder has covered, and bytes that no sync of their file has.
SQLite's own syncs are those of ``synchronous=FULL``.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentplatform.clock import RandomIds
from contentplatform.drivers.files import Files
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Unavailable
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.journal import rebuild_from_journal
from contentplatform.storage.local import SCHEMA, LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, PutOptions, StorageClass
from fakes.clock import FakeClock

PRIMARY = BucketRole.PRIMARY


class VolatileFiles(Files):
    """Files on a disk that keeps only what was synced."""

    def __init__(self) -> None:
        self._unsynced_names: dict[Path, set[Path]] = {}
        self._unsynced_inodes: set[int] = set()
        self.folder_that_fails_to_sync: str | None = None

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._name(path)
        self._unsynced_inodes.add(os.fstat(descriptor).st_ino)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> None:
        self._unsynced_inodes.add(os.fstat(descriptor).st_ino)
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self._unsynced_inodes.discard(os.fstat(descriptor).st_ino)

    def sync_folder(self, folder: Path) -> None:
        if folder.name == self.folder_that_fails_to_sync:
            raise Unavailable("syncing a folder", "the process ends here")
        super().sync_folder(folder)
        self._unsynced_names.pop(folder, None)

    def link(self, source: Path, target: Path) -> bool:
        made = super().link(source, target)
        if made:
            self._name(target)
        return made

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._name(target)

    def make_folder(self, folder: Path) -> None:
        new = not folder.exists()
        super().make_folder(folder)
        if new:
            self._name(folder)

    def cut(self, root: Path) -> int:
        """Lose what was not synced; returns how many names and files that were."""
        lost = 0
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._unsynced_inodes:
                os.truncate(path, 0)
                lost += 1
        for path in sorted(set().union(*self._unsynced_names.values())):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            lost += 1
        return lost

    def _name(self, path: Path) -> None:
        self._unsynced_names.setdefault(path.parent, set()).add(path)


class Machine:
    """A data folder on such a disk, whose processes begin and end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = VolatileFiles()
        self.store = self.start()

    def start(self) -> LocalObjectStore:
        """Another process, which knows nothing of what the one before it has synced."""
        uuid = stored_uuid(self.root) or RandomIds().new_id()
        database = Database(self.root / "catalog.db", [SCHEMA], new_uuid=uuid)
        self.store = LocalObjectStore(database, self.root, FakeClock(), RandomIds(), files=self.files)
        return self.store

    def power_cut(self) -> LocalObjectStore:
        """Lose what was not synced, and start again."""
        self.store.database.close()
        self.files.cut(self.root)
        self.files = VolatileFiles()
        return self.start()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.store.database.close()


def put(store: LocalObjectStore, key: str, data: bytes, storage_class: StorageClass = StorageClass.STANDARD) -> None:
    store.put(PRIMARY, key, io.BytesIO(data), PutOptions(storage_class=storage_class))


def read(store: LocalObjectStore, key: str, bucket: BucketRole = PRIMARY) -> bytes:
    with store.open(bucket, key) as reader:
        return reader.read()


def damage(store: LocalObjectStore) -> list[str]:
    found = run_checks(storage_checks(store), CheckRun(deep=True))
    return [str(finding) for finding in found if finding.severity is Severity.DAMAGE]


def first_put(machine: Machine) -> None:
    put(machine.store, "k", b"data")


def put_into_known_folders(machine: Machine) -> None:
    for number in range(300):
        put(machine.store, "many", b"%d" % number)
    put(machine.store, "k", b"data")


def put_of_several_buffers(machine: Machine) -> None:
    put(machine.store, "large", bytes(9 << 20))
    put(machine.store, "k", b"data")


def put_of_another_class(machine: Machine) -> None:
    put(machine.store, "k", b"data", StorageClass.GLACIER_IR)


def put_after_a_process_that_died_before_its_sync(machine: Machine) -> None:
    """The blob has its name already, but whoever gave it never got to sync the folder."""
    machine.files.folder_that_fails_to_sync = "6e"  # the inner folder of SHA-256("data"), 3a6eb079…
    with pytest.raises(Unavailable):
        put(machine.store, "k", b"data")
    machine.files.folder_that_fails_to_sync = None
    put(machine.store, "k", b"data")


def put_after_a_process_that_died_making_folders(machine: Machine) -> None:
    machine.files.folder_that_fails_to_sync = "3a"
    with pytest.raises(Unavailable):
        put(machine.store, "k", b"data")
    machine.files.folder_that_fails_to_sync = None
    machine.store.database.close()
    put(machine.start(), "k", b"data")


def put_over_a_damaged_blob(machine: Machine) -> None:
    put(machine.store, "old", b"data")
    path = machine.store.local_file(machine.store.head(PRIMARY, "old"))
    path.chmod(0o640)
    path.write_bytes(b"dAtA")
    path.chmod(0o440)
    put(machine.store, "k", b"data")


@pytest.mark.parametrize(
    "act",
    [
        first_put,
        put_into_known_folders,
        put_of_several_buffers,
        put_of_another_class,
        put_after_a_process_that_died_before_its_sync,
        put_after_a_process_that_died_making_folders,
        put_over_a_damaged_blob,
    ],
)
def test_acknowledged_put_survives(machine: Machine, act: Callable[[Machine], None]) -> None:
    act(machine)
    store = machine.power_cut()
    assert read(store, "k") == b"data"
    assert damage(store) == []


def test_copy_to_another_region_survives(machine: Machine) -> None:
    put(machine.store, "k", b"data")
    machine.store.copy(machine.store.head(PRIMARY, "k"), BucketRole.BACKUP, "copy")
    assert read(machine.power_cut(), "copy", BucketRole.BACKUP) == b"data"


def test_flushed_journal_survives(machine: Machine) -> None:
    """Enough segments that some were merged: the merged one is durable before its parts go."""
    for number in range(40):
        put(machine.store, "k", b"%d" % number)
        machine.store.flush_journal()
    store = machine.power_cut()
    assert damage(store) == []
    store.database.close()
    for path in machine.root.glob("catalog.db*"):
        path.unlink()
    database = Database(machine.root / "catalog.db", [SCHEMA], new_uuid=stored_uuid(machine.root) or "")
    assert rebuild_from_journal(database, machine.root, store.blobs).versions == 40
    database.close()
    assert read(machine.start(), "k") == b"39"


def test_disk_really_loses_what_is_not_synced(tmp_path: Path) -> None:
    """The test has teeth: a file layer that forgets its syncs loses the object."""

    class Forgetful(VolatileFiles):
        def sync_folder(self, folder: Path) -> None:
            """Say that it is done."""

    files = Forgetful()
    database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="a")
    store = LocalObjectStore(database, tmp_path, FakeClock(), RandomIds(), files=files)
    put(store, "k", b"data")
    assert files.cut(tmp_path) > 0
    assert damage(store) != []
    database.close()
