"""What the local store promises beyond the port: files on disk, damage, events, and who may use a data folder."""

from __future__ import annotations

import io
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import Archived, ConfigurationInvalid, Corrupt, NotFound
from contentplatform.storage.local import EVENTS_TABLE, SCHEMA, LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, ByteRange, HasLocalFiles, ObjectVersion, PutOptions, StorageClass
from fakes.clock import FakeClock, SequentialIds

PRIMARY = BucketRole.PRIMARY


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="ours")
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database, tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(database, tmp_path, FakeClock(), SequentialIds())


def put(store: LocalObjectStore, key: str, data: bytes, bucket: BucketRole = PRIMARY) -> ObjectVersion:
    return store.put(bucket, key, io.BytesIO(data), PutOptions())


def blob_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "blobs").glob("*/*/*/*/*") if path.is_file())


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(data)
    path.chmod(0o440)


# -- files -----------------------------------------------------------------------------------------------------


def test_blob_is_a_read_only_file_named_by_its_hash(store: LocalObjectStore, tmp_path: Path) -> None:
    version = put(store, "../../etc/passwd", b"data")
    assert version.sha256 is not None
    path = store.local_file(version)
    assert isinstance(store, HasLocalFiles)
    digits = version.sha256
    assert path == tmp_path / "blobs" / "us-east-1" / "STANDARD" / digits[:2] / digits[2:4] / digits
    assert path.read_bytes() == b"data"
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert stat.S_IMODE(path.parent.stat().st_mode) & ~0o750 == 0
    assert blob_files(tmp_path) == [path]


def test_same_bytes_are_stored_once_a_region_and_class(store: LocalObjectStore, tmp_path: Path) -> None:
    first = put(store, "a", b"same")
    put(store, "b", b"same")
    store.copy(first, BucketRole.PROCESSED, "c")
    assert len(blob_files(tmp_path)) == 1
    store.copy(first, BucketRole.BACKUP, "d")
    store.copy(first, PRIMARY, "e", PutOptions(storage_class=StorageClass.STANDARD_IA))
    assert len(blob_files(tmp_path)) == 3
    assert len({path.stat().st_ino for path in blob_files(tmp_path)}) == 3, "a second copy must be a second copy"


def test_storage_class_may_live_elsewhere(database: Database, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other-disk"
    store = LocalObjectStore(
        database, tmp_path, FakeClock(), SequentialIds(), class_folders={StorageClass.STANDARD_IA: elsewhere}
    )
    version = store.put(PRIMARY, "k", io.BytesIO(b"data"), PutOptions(storage_class=StorageClass.STANDARD_IA))
    assert store.local_file(version).is_relative_to(elsewhere)
    assert blob_files(tmp_path) == []


def test_local_file_of_what_cannot_be_read(store: LocalObjectStore) -> None:
    cold = store.put(PRIMARY, "k", io.BytesIO(b"x"), PutOptions(storage_class=StorageClass.GLACIER))
    with pytest.raises(Archived):
        store.local_file(cold)
    gone = put(store, "gone", b"x")
    store.delete_version(PRIMARY, "gone", gone.version_id)
    with pytest.raises(NotFound):
        store.local_file(gone)


def test_nothing_temporary_is_left(store: LocalObjectStore, tmp_path: Path) -> None:
    version = put(store, "k", b"x" * 5_000_000)
    store.copy(version, BucketRole.BACKUP, "k")
    store.flush_journal()
    assert list(tmp_path.glob("**/.tmp/*")) == []


# -- damage ----------------------------------------------------------------------------------------------------


def test_damaged_bytes_are_never_handed_out_as_a_whole(store: LocalObjectStore) -> None:
    """One flipped bit near the beginning: the last piece is withheld, however the object is read."""
    version = put(store, "k", b"a" * 3_000_000)
    overwrite(store.local_file(version), b"b" + b"a" * 2_999_999)
    with store.open(PRIMARY, "k") as reader, pytest.raises(Corrupt):
        reader.read()
    received: list[bytes] = []
    with store.open(PRIMARY, "k") as reader, pytest.raises(Corrupt):
        received.extend(reader.chunks())
    assert sum(map(len, received)) < 3_000_000
    with store.open(PRIMARY, "k", byte_range=ByteRange(0)) as reader, pytest.raises(Corrupt):
        reader.read()
    with pytest.raises(Corrupt):
        store.copy(version, BucketRole.BACKUP, "copy")


def test_missing_and_truncated_bytes_are_noticed_at_open(store: LocalObjectStore) -> None:
    kept, cut, gone = (put(store, key, key.encode() * 10) for key in ("kept", "cut", "gone"))
    overwrite(store.local_file(cut), b"cut")
    store.local_file(gone).unlink()
    for version in (cut, gone):
        for attempt in (
            lambda version=version: store.open(PRIMARY, version.key),
            lambda version=version: store.local_file(version),
            lambda version=version: store.copy(version, PRIMARY, "copy"),
        ):
            with pytest.raises(Corrupt):
                attempt()
    assert len(store.list(PRIMARY).objects) == 3
    with store.open(PRIMARY, kept.key) as reader:
        assert reader.read() == b"kept" * 10


def test_file_cut_short_while_it_is_read(store: LocalObjectStore) -> None:
    version = put(store, "k", b"a" * 100)
    with store.open(PRIMARY, "k") as reader:
        reader.read(10)
        overwrite(store.local_file(version), b"a" * 20)
        with pytest.raises(Corrupt):
            reader.read()


@pytest.mark.parametrize("damaged", [b"dAta", b"dat", b""], ids=["bit", "truncated", "emptied"])
def test_damaged_blob_is_mended_by_the_same_bytes(store: LocalObjectStore, damaged: bytes) -> None:
    """What was just sent must not be thrown away in favour of a file that only has the right name."""
    first = put(store, "a", b"data")
    overwrite(store.local_file(first), damaged)
    put(store, "b", b"data")
    for key in ("a", "b"):
        with store.open(PRIMARY, key) as reader:
            assert reader.read() == b"data"


def test_sound_blob_is_left_alone_by_the_same_bytes(store: LocalObjectStore) -> None:
    before = store.local_file(put(store, "a", b"data")).stat()
    after = store.local_file(put(store, "b", b"data")).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_missing_blob_is_mended_by_the_same_bytes(store: LocalObjectStore) -> None:
    first = put(store, "a", b"data")
    store.local_file(first).unlink()
    put(store, "b", b"data")
    with store.open(PRIMARY, "a") as reader:
        assert reader.read() == b"data"


# -- events ----------------------------------------------------------------------------------------------------


def events(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return connection.rows(f"SELECT bucket, key, kind FROM {EVENTS_TABLE} ORDER BY event_id")


def test_changes_of_the_primary_bucket_are_told_once_each(store: LocalObjectStore, database: Database) -> None:
    version = put(store, "k", b"data")
    store.copy(version, PRIMARY, "copy")
    store.delete(PRIMARY, "k")
    store.delete_version(PRIMARY, "copy", store.head(PRIMARY, "copy").version_id)
    store.delete_version(PRIMARY, "copy", "no-such-version")
    store.set_tags(PRIMARY, "k", {"a": "b"}, version_id=version.version_id)
    assert events(database) == [
        ("primary", "k", "put"),
        ("primary", "copy", "copy"),
        ("primary", "k", "delete"),
        ("primary", "copy", "delete_version"),
    ]


def test_other_buckets_tell_nothing(store: LocalObjectStore, database: Database) -> None:
    for bucket in set(BucketRole) - {PRIMARY}:
        version = put(store, "k", b"data", bucket)
        store.delete(bucket, "k")
        store.delete_version(bucket, "k", version.version_id)
    assert events(database) == []


def test_doorbell_rings_after_the_commit(database: Database, tmp_path: Path) -> None:
    heard: list[int] = []
    store = LocalObjectStore(
        database, tmp_path, FakeClock(), SequentialIds(), on_event=lambda: heard.append(len(events(database)))
    )
    put(store, "k", b"data")
    put(store, "k", b"data", BucketRole.RAW)
    store.delete(PRIMARY, "k")
    assert heard == [1, 2]


def test_refused_put_tells_nothing(store: LocalObjectStore, database: Database) -> None:
    def work(_transaction: Transaction) -> None:
        put(store, "k", b"data")
        raise LookupError

    with pytest.raises(LookupError):
        database.write(work)
    assert events(database) == []
    assert store.list_versions(PRIMARY).objects == ()


def test_put_joins_the_open_unit_of_work(store: LocalObjectStore, database: Database, tmp_path: Path) -> None:
    """It is visible inside at once, outside with the commit, and leaves no temporary file."""

    def work(_transaction: Transaction) -> list[str]:
        put(store, "a", b"a")
        put(store, "b", b"b")
        return [version.key for version in store.list(PRIMARY).objects]

    assert database.write(work) == ["a", "b"]
    assert list(tmp_path.glob("**/.tmp/*")) == []


# -- many keys -------------------------------------------------------------------------------------------------


def test_listing_seeks_past_common_prefixes(store: LocalObjectStore, database: Database) -> None:
    """5 000 keys below one prefix cost a handful of statements, not 5 000 rows."""
    version = put(store, "first/0", b"data")

    def fill(transaction: Transaction) -> None:
        (commit_seq,) = transaction.row("SELECT commit_seq FROM object_versions") or (0,)
        rows = [("primary", f"many/{number:05}", commit_seq) for number in range(5_000)]
        transaction.run_many("INSERT INTO object_current VALUES (?, ?, ?)", rows)

    database.write(fill)
    put(store, "z", b"data")
    statements: list[str] = []
    with database.read() as connection:
        connection._raw.trace_v2(0x01, lambda event: statements.append(str(event)))
        listing = store.list(PRIMARY, delimiter="/")
        connection._raw.trace_v2(0, None)
    assert listing.common_prefixes == ("first/", "many/")
    assert [one.key for one in listing.objects] == ["z"]
    assert 1 <= len(statements) <= 6
    assert version.key == "first/0"


# -- the data folder -------------------------------------------------------------------------------------------


def test_database_of_another_folder_is_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    put(store, "k", b"data")
    assert stored_uuid(tmp_path) == "ours"
    stranger = Database(tmp_path / "other.db", [SCHEMA], new_uuid="theirs")
    with pytest.raises(ConfigurationInvalid, match="another data folder"):
        LocalObjectStore(stranger, tmp_path, FakeClock(), SequentialIds())
    stranger.close()


def test_lost_database_is_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    """An empty database must not make the platform believe that everything is garbage."""
    put(store, "k", b"data")
    store.flush_journal()
    empty = Database(tmp_path / "new.db", [SCHEMA], new_uuid=stored_uuid(tmp_path) or "")
    with pytest.raises(ConfigurationInvalid, match="rebuild-catalog"):
        LocalObjectStore(empty, tmp_path, FakeClock(), SequentialIds())
    empty.close()


def test_unreadable_platform_file_is_refused(store: LocalObjectStore, tmp_path: Path) -> None:
    assert store.root == tmp_path
    overwrite(tmp_path / "platform.json", b"{")
    with pytest.raises(ConfigurationInvalid, match=r"platform\.json"):
        stored_uuid(tmp_path)


def test_two_stores_on_one_root(store: LocalObjectStore, tmp_path: Path) -> None:
    """As two processes have it: each its own connection, threads putting through both at once."""
    other_database = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="other")
    other = LocalObjectStore(other_database, tmp_path, FakeClock(), SequentialIds(start=1_000_000))
    threads = [
        threading.Thread(target=lambda store=one: [put(store, "k", b"%d" % number) for number in range(20)])
        for one in (store, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(store.list_versions(PRIMARY).objects) == 40
    assert store.list_versions(PRIMARY).objects == other.list_versions(PRIMARY).objects
    other_database.close()
