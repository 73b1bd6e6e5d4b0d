"""Disks that fail inside a put, a commit and a checkpoint: no acknowledged write is lost, and errors are honest.

Each scenario is run with its n-th effect failing, for n = 1, 2, … until nothing is left to fail; once with the fault
passing by, and once with it staying.
"""

from __future__ import annotations

import contextlib
import errno
import io
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from contentplatform.clock import RandomIds
from contentplatform.drivers.files import Files
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import NoSpace, NotFound, PlatformError, Unavailable
from contentplatform.findings import CheckRun, Severity, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.local import SCHEMA, LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, PutOptions
from fakes.clock import FakeClock
from faults.faulty import Answer, Fault, FaultyFiles, FaultyVfs, full_error, sync_error, write_error

PRIMARY = BucketRole.PRIMARY
MOST_EFFECTS = 2_000


def open_store(root: Path, *, vfs: str | None = None, files: Files | None = None) -> LocalObjectStore:
    database = Database(root / "catalog.db", [SCHEMA], new_uuid=stored_uuid(root) or "a", vfs=vfs)
    try:
        return LocalObjectStore(database, root, FakeClock(), RandomIds(), files=files)
    except BaseException:
        database.close()
        raise


def put(store: LocalObjectStore, key: str, data: bytes) -> str:
    return store.put(PRIMARY, key, io.BytesIO(data), PutOptions()).version_id


def read(store: LocalObjectStore, key: str) -> bytes | None:
    try:
        with store.open(PRIMARY, key) as reader:
            return reader.read()
    except NotFound:
        return None


def damage(store: LocalObjectStore) -> list[str]:
    found = run_checks(storage_checks(store), CheckRun(deep=True))
    return [str(finding) for finding in found if finding.severity is Severity.DAMAGE]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a little in it, to begin each round from."""
    root = tmp_path_factory.mktemp("template")
    store = open_store(root)
    put(store, "old", b"old")
    put(store, "gone", b"gone")
    store.database.close()
    return root


class Rounds:
    """Copies of the template, one for each n."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._template = template
        self._folder = folder

    def __iter__(self) -> Iterator[tuple[int, Path]]:
        for number in count(1):
            assert number < MOST_EFFECTS, "the scenario never ends without a fault"
            root = self._folder / "round"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(self._template, root)
            yield number, root


@pytest.fixture
def rounds(template: Path, tmp_path: Path) -> Rounds:
    return Rounds(template, tmp_path)


# -- inside SQLite ---------------------------------------------------------------------------------------------


class Attempts:
    """Puts, with what came of each: acknowledged, refused, or in doubt."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.failed: dict[str, bytes] = {}
        self.errors: list[PlatformError] = []

    def put(self, store: LocalObjectStore, key: str, data: bytes) -> None:
        try:
            put(store, key, data)
        except PlatformError as error:
            self.errors.append(error)
            self.failed[key] = data
        else:
            self.acknowledged[key] = data


def commits_and_a_checkpoint(store: LocalObjectStore, attempts: Attempts) -> None:
    attempts.put(store, "new", b"new")
    store.database._wal_pages = 1 << 30  # as after very many commits: the next one is followed by a checkpoint
    attempts.put(store, "checkpointed", b"data")
    attempts.put(store, "after", b"after")


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize(
    ("syncs", "answer"), [(True, sync_error), (False, write_error), (False, full_error)], ids=["sync", "write", "full"]
)
def test_every_fault_inside_sqlite(syncs: bool, answer: Answer, for_ever: bool, rounds: Rounds) -> None:  # noqa: FBT001
    """What was acknowledged is there after reopening; what failed is there wholly or not at all."""
    fault = Fault()
    vfs = FaultyVfs(f"faulty-{answer.__name__}-{for_ever}", fault, syncs=syncs, answer=answer)
    faults = 0
    for number, root in rounds:
        store = open_store(root, vfs=vfs.registered_name)
        attempts = Attempts()
        fault.arm(number, for_ever=for_ever)
        commits_and_a_checkpoint(store, attempts)
        struck = fault.struck
        fault.disarm()
        store.database.close()
        faults += bool(struck)
        expected = NoSpace if answer is full_error else Unavailable
        assert all(type(error) in {expected, Unavailable} for error in attempts.errors), attempts.errors
        reopened = open_store(root)
        assert read(reopened, "old") == b"old"
        assert {key: read(reopened, key) for key in attempts.acknowledged} == attempts.acknowledged
        assert all(read(reopened, key) in {data, None} for key, data in attempts.failed.items())
        assert damage(reopened) == []
        assert read(reopened, "old") == b"old"
        put(reopened, "later", b"later")
        reopened.database.close()
        if not struck:
            break
    assert faults >= 4  # three commits and a checkpoint
    del vfs


def test_failed_sync_stops_the_writer_until_a_restart(template: Path, tmp_path: Path) -> None:
    """After a failed sync nothing more is accepted on the same file: it can't be known what is on disk."""
    root = tmp_path / "root"
    shutil.copytree(template, root)
    fault = Fault()
    vfs = FaultyVfs("faulty-stops", fault, syncs=True, answer=sync_error)
    store = open_store(root, vfs=vfs.registered_name)
    fault.arm(1, for_ever=False)
    for key in ("first", "second"):
        with pytest.raises(Unavailable):
            put(store, key, b"data")
    assert read(store, "old") == b"old"
    store.database.close()
    reopened = open_store(root)
    put(reopened, "third", b"data")
    reopened.database.close()
    del vfs


def test_full_disk_is_over_when_there_is_room_again(template: Path, tmp_path: Path) -> None:
    """A full disk needs no restart."""
    root = tmp_path / "root"
    shutil.copytree(template, root)
    fault = Fault()
    vfs = FaultyVfs("faulty-full", fault, syncs=False, answer=full_error)
    store = open_store(root, vfs=vfs.registered_name)
    fault.arm(1, for_ever=True)
    with pytest.raises(NoSpace):
        put(store, "new", b"data")
    assert read(store, "old") == b"old"
    fault.disarm()
    put(store, "new", b"data")
    assert read(store, "new") == b"data"
    store.database.close()
    del vfs


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_every_fault_while_a_database_is_made(for_ever: bool, tmp_path: Path) -> None:  # noqa: FBT001 - once, for ever
    """A first start or a migration that fails half-way is repeated by the next start."""
    fault = Fault()
    vfs = FaultyVfs(f"faulty-making-{for_ever}", fault, syncs=False, answer=write_error)
    for number in count(1):
        root = tmp_path / str(number)
        root.mkdir()
        fault.arm(number, for_ever=for_ever)
        database = None
        with contextlib.suppress(Unavailable):
            database = Database(root / "catalog.db", [SCHEMA], new_uuid="a", vfs=vfs.registered_name)
        struck = fault.struck
        fault.disarm()
        if database is not None:
            database.close()
        store = open_store(root)
        put(store, "k", b"data")
        assert damage(store) == []
        store.database.close()
        if not struck:
            assert number > 5
            break
    del vfs


# -- on the file layer -----------------------------------------------------------------------------------------


def put_small(store: LocalObjectStore) -> None:
    put(store, "new", b"new")


def put_large(store: LocalObjectStore) -> None:
    put(store, "new", bytes(9 << 20))


def put_over_a_damaged_blob(store: LocalObjectStore) -> None:
    old = store.head(PRIMARY, "old")
    path = store.local_file(old)
    path.chmod(0o640)
    path.write_bytes(b"damaged")
    path.chmod(0o440)
    put(store, "new", b"old")


def copy_to_the_other_region(store: LocalObjectStore) -> None:
    store.copy(store.head(PRIMARY, "old"), BucketRole.BACKUP, "new")


def flush(store: LocalObjectStore) -> None:
    store.flush_journal()


def error_of(scenario: Callable[[LocalObjectStore], None], store: LocalObjectStore) -> PlatformError | None:
    try:
        scenario(store)
    except PlatformError as error:
        return error
    return None


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EIO, Unavailable), (errno.ENOSPC, NoSpace)], ids=["EIO", "full"]
)
@pytest.mark.parametrize("scenario", [put_small, put_large, copy_to_the_other_region, flush])
def test_every_fault_on_the_file_layer(
    scenario: Callable[[LocalObjectStore], None],
    number: int,
    expected: type[PlatformError],
    for_ever: bool,  # noqa: FBT001 - once, for ever
    rounds: Rounds,
) -> None:
    """The operation fails with an honest error, leaves nothing behind, and succeeds when it is tried again."""
    fault = Fault()
    for effect, root in rounds:
        store = open_store(root, files=FaultyFiles(fault, number))
        versions = store.list_versions(PRIMARY).objects
        fault.arm(effect, for_ever=for_ever)
        error = error_of(scenario, store)
        struck = fault.struck
        fault.disarm()
        assert type(error) is (expected if struck else type(None))
        if struck:
            assert store.list_versions(PRIMARY).objects == versions
            assert store.list(BucketRole.BACKUP).objects == ()
        assert list(root.glob("**/.tmp/*")) == []
        assert damage(store) == []
        scenario(store)
        assert read(store, "old") == b"old"
        assert damage(store) == []
        store.database.close()
        if not struck:
            assert effect > 3
            break


def test_damaged_blob_is_replaced_when_its_bytes_come_again(template: Path, tmp_path: Path) -> None:
    """Whoever puts the same bytes mends every version that has them, whatever effect fails on the way."""
    fault = Fault()
    for effect, root in Rounds(template, tmp_path):
        store = open_store(root, files=FaultyFiles(fault, errno.EIO))
        fault.arm(effect, for_ever=False)
        try:
            put_over_a_damaged_blob(store)
        except Unavailable:
            fault.disarm()
            put(store, "new", b"old")
        struck = fault.struck
        fault.disarm()
        assert read(store, "old") == b"old"
        assert read(store, "new") == b"old"
        store.database.close()
        if not struck:
            break
