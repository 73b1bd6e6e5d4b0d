"""fsck of the store: each planted damage is found, told for what it is, and nothing else is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.findings import CheckRun, Finding, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions
from fakes.clock import FakeClock, SequentialIds

PRIMARY = BucketRole.PRIMARY
GRACE = 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[LocalObjectStore]:
    database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="a")
    made = LocalObjectStore(database, tmp_path, clock, SequentialIds(), gc_grace_seconds=GRACE)
    for number in range(3):
        put(made, "k", b"version %d" % number)
    put(made, "other", b"other")
    made.delete(PRIMARY, "other")
    made.flush_journal()
    yield made
    database.close()


def put(store: LocalObjectStore, key: str, data: bytes) -> ObjectVersion:
    return store.put(PRIMARY, key, io.BytesIO(data), PutOptions())


def findings(store: LocalObjectStore, *, deep: bool = True, repair: bool = False) -> list[Finding]:
    return list(run_checks(storage_checks(store), CheckRun(deep=deep, repair=repair)))


def found(store: LocalObjectStore, *, deep: bool = True) -> set[str]:
    return {finding.invariant for finding in findings(store, deep=deep)}


def sql(store: LocalObjectStore, statement: str) -> None:
    store.database.write(lambda transaction: transaction.run(statement))


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(data)
    path.chmod(0o440)


def blob(store: LocalObjectStore) -> Path:
    """The file of the current version."""
    return store.local_file(store.head(PRIMARY, "k"))


def test_sound_store_has_no_findings(store: LocalObjectStore) -> None:
    assert findings(store) == []
    assert findings(store, deep=False) == []


def swap(store: LocalObjectStore) -> None:
    first, second = (store.local_file(version) for version in store.list_versions(PRIMARY, prefix="k").objects[:2])
    data = first.read_bytes(), second.read_bytes()
    overwrite(first, data[1])
    overwrite(second, data[0])


BYTES: list[tuple[Callable[[LocalObjectStore], object], set[str], set[str]]] = [
    (lambda store: overwrite(blob(store), b"Version 2"), set(), {"I2"}),
    (swap, set(), {"I2"}),
    (lambda store: overwrite(blob(store), b"cut"), {"I3"}, {"I2", "I3"}),
    (lambda store: overwrite(blob(store), b""), {"I3"}, {"I2", "I3"}),
    (lambda store: blob(store).unlink(), {"I3"}, {"I3"}),
    (lambda store: blob(store).rename(blob(store).with_name("0" * 64)), {"I3", "I4"}, {"I2", "I3", "I4"}),
]


@pytest.mark.parametrize(
    ("damage", "fast", "deep"), BYTES, ids=["bit", "swapped", "truncated", "emptied", "missing", "renamed"]
)
def test_damaged_bytes(
    store: LocalObjectStore, damage: Callable[[LocalObjectStore], object], fast: set[str], deep: set[str]
) -> None:
    damage(store)
    assert found(store, deep=False) == fast
    assert found(store) == deep


ROWS: list[tuple[str, set[str]]] = [
    ("UPDATE object_versions SET content_type = 'x' WHERE key = 'k' AND version_no = 1", {"I5"}),
    ("UPDATE object_versions SET row_hash = 'x' WHERE key = 'k' AND version_no = 2", {"I5"}),
    ("UPDATE object_versions SET version_no = 9 WHERE key = 'k' AND version_no = 3", {"I5"}),
    ("UPDATE object_versions SET created_at = '2000-01-01T00:00:00.000000Z' WHERE version_no = 2", {"I5"}),
    ("DELETE FROM object_current WHERE key = 'k'", {"I6"}),
    ("UPDATE object_current SET commit_seq = 1 WHERE key = 'k'", {"I6"}),
    ("INSERT INTO object_current VALUES ('primary', 'other', 4)", {"I6"}),
    ("UPDATE object_versions SET commit_seq = 99 WHERE key = 'k' AND version_no = 1", {"I25"}),
    ("PRAGMA user_version = 77", {"I18"}),
    ("PRAGMA application_id = 77", {"I18"}),
]


@pytest.mark.parametrize(("statement", "expected"), ROWS)
def test_damaged_rows(store: LocalObjectStore, statement: str, expected: set[str]) -> None:
    sql(store, statement)
    assert found(store) - {"I4"} >= expected
    assert found(store) <= expected | {"I25", "I5"}


def test_counter_that_would_repeat_numbers(store: LocalObjectStore) -> None:
    sql(store, "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'object_versions'")
    assert found(store) == {"I25"}


def test_reference_to_no_version(store: LocalObjectStore, tmp_path: Path) -> None:
    store.database.write(lambda transaction: transaction.run("DELETE FROM object_current WHERE key = 'k'"))
    import apsw  # noqa: PLC0415 - breaks a constraint that the driver keeps

    raw = apsw.Connection(str(tmp_path / "catalog.db"))
    raw.execute("INSERT INTO object_current VALUES ('primary', 'ghost', 4711)")
    raw.close()
    assert "I18" in found(store)


def test_exchanged_platform_file(store: LocalObjectStore, tmp_path: Path) -> None:
    overwrite(tmp_path / "platform.json", b'{"format": 1, "uuid": "another"}')
    assert found(store) == {"I18"}


def age(path: Path, clock: FakeClock, days: float) -> None:
    """As if nobody had touched the file for so long."""
    moment = (clock.now() - timedelta(days=days)).timestamp()
    os.utime(path, (moment, moment))


def stray(path: Path) -> Path:
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(0o750, exist_ok=True)
    path.write_bytes(b"stray")
    path.chmod(0o440)
    return path


def test_old_orphan_and_old_temporary_file(store: LocalObjectStore, clock: FakeClock) -> None:
    place = blob(store).parents[2]
    age(stray(place / ".tmp" / "abandoned"), clock, 2)
    orphan = stray(place / "80" / "63" / "80633b27b32e2bcc67d4fd8f75a0ddc7ce0b8c7dff0b9b4b9d5c8a8d2ac7b27d")
    age(orphan, clock, 2)
    assert found(store, deep=False) == {"I4", "I21"}


def test_young_orphan_and_young_temporary_file_are_none(store: LocalObjectStore, clock: FakeClock) -> None:
    place = blob(store).parents[2]
    age(stray(place / ".tmp" / "young"), clock, 0.5)
    age(stray(place / "80" / "63" / ("80633b" + "0" * 58)), clock, 0.5)
    assert found(store, deep=False) == set()


def test_bytes_of_a_version_deleted_just_now_are_no_orphan(store: LocalObjectStore, clock: FakeClock) -> None:
    """The grace counts from the last reference, not from when the file was written."""
    path = blob(store)
    store.delete_version(PRIMARY, "k", store.head(PRIMARY, "k").version_id)
    age(path, clock, 700)
    assert found(store) == set()
    clock.advance(GRACE + 1)
    assert found(store) == {"I4"}


def test_repair_takes_only_what_is_ripe(store: LocalObjectStore, clock: FakeClock) -> None:
    path = blob(store)
    store.delete_version(PRIMARY, "k", store.head(PRIMARY, "k").version_id)
    findings(store, repair=True)
    assert path.exists()
    clock.advance(GRACE + 1)
    assert [finding.repaired for finding in findings(store, repair=True)] == [True]
    assert not path.exists()
    assert findings(store) == []


def test_read_only_unless_told_to_repair(store: LocalObjectStore, clock: FakeClock) -> None:
    path = blob(store)
    store.delete_version(PRIMARY, "k", store.head(PRIMARY, "k").version_id)
    store.flush_journal()
    before = store.database.data_version()
    for _ in range(3):
        clock.advance(GRACE + 1)
        findings(store)
    assert store.database.data_version() == before
    assert path.exists()


MODES: list[tuple[str, Callable[[Path, Path], object]]] = [
    ("link", lambda file, root: (file.parent / "link").symlink_to(root)),
    ("writable blob", lambda file, _root: file.chmod(0o640)),
    ("blob for everybody", lambda file, _root: file.chmod(0o444)),
    ("open folder", lambda file, _root: file.parent.chmod(0o755)),
    ("world-writable", lambda _file, root: (root / "catalog.db").chmod(0o666)),
    ("set-id", lambda file, _root: file.chmod(0o4440)),
    ("dangling link elsewhere", lambda _file, root: (root / "link").symlink_to("/nowhere")),
]


@pytest.mark.parametrize("change", [change for _, change in MODES], ids=[name for name, _ in MODES])
def test_what_sticks_out(store: LocalObjectStore, tmp_path: Path, change: Callable[[Path, Path], object]) -> None:
    change(blob(store), tmp_path)
    assert "I23" in found(store, deep=False)


def test_many_keys_are_checked_in_chunks(store: LocalObjectStore) -> None:
    """More keys, and more versions of one key, than a chunk has; the damage lies in the last."""
    source = put(store, "zz", b"same")

    def work(_transaction: Transaction) -> None:
        for number in range(620):
            store.copy(source, PRIMARY, f"many/{number:04}")
        for _ in range(39):
            store.copy(source, PRIMARY, "zz")

    store.database.write(work)
    assert findings(store, deep=False) == []
    sql(store, "UPDATE object_versions SET content_type = 'x' WHERE key = 'zz' AND version_no = 40")
    assert [finding.subject for finding in findings(store, deep=False)] == ["primary/zz"]


def test_finding_says_what_where_and_what_to_do(store: LocalObjectStore) -> None:
    blob(store).unlink()
    (finding,) = findings(store, deep=False)
    assert "primary/k" in finding.subject
    assert "gone" in finding.message
    assert finding.suggested_repair
