"""The SQLite driver: what it refuses, how it migrates, and what a unit of work promises."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from contentplatform.drivers import sqlite
from contentplatform.drivers.sqlite import Connection, Database, Schema, Transaction
from contentplatform.errors import ConfigurationInvalid, Conflict, Corrupt, Unavailable

NOTES = Schema("notes", ("CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT",))
ADD = "INSERT INTO notes VALUES (?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path, [NOTES], new_uuid="a")
    yield opened
    opened.close()


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return [name for (name,) in connection.rows("SELECT name FROM notes ORDER BY name")]


def adding(name: str) -> Callable[[Transaction], int]:
    return lambda transaction: transaction.run(ADD, (name, ""))


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.6.23", True),
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.44.7", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.51.0", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.52.0", True),
        ("4.0.0", True),
    ],
)
def test_unsafe_sqlite_is_refused(version: str, safe: bool) -> None:  # noqa: FBT001 - a column of the table
    """Releases that can corrupt a WAL database are told from those that have the fix."""
    assert sqlite.sqlite_is_safe(version) == safe
    if safe:
        sqlite.refuse_unsafe_sqlite(version)
    else:
        with pytest.raises(ConfigurationInvalid, match=version):
            sqlite.refuse_unsafe_sqlite(version)


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/team nfs4 rw 0 0
/dev/sdb1 /mnt/team/scratch xfs rw 0 0
//nas/media /mnt/with\\040space cifs rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/late /tmp nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"),
        ("/", "ext4"),
        ("/mnt/team", "nfs4"),
        ("/mnt/team/data", "nfs4"),
        ("/mnt/teams", "ext4"),
        ("/mnt/team/scratch/data", "xfs"),
        ("/mnt/with space/x", "cifs"),
        ("/tmp/x", "nfs"),
    ],
)
def test_innermost_mount_decides(path: str, kind: str) -> None:
    """A folder is on the file system of its innermost mount; the later of two on one point is on top."""
    assert sqlite.mounted_type(path, MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_network_file_system_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="network file system"):
        sqlite.refuse_file_system_type(Path("/data"), kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", ""])
def test_local_file_system_is_taken(kind: str) -> None:
    sqlite.refuse_file_system_type(Path("/data"), kind)


def test_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    raw = apsw.Connection(str(path))
    raw.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationInvalid, match="another program"):
        Database(path, [NOTES], new_uuid="a")
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(Corrupt):
        Database(path, [NOTES], new_uuid="a")


def test_nobody_else_can_read_the_database_or_its_log(database: Database) -> None:
    database.write(adding("a"))
    modes = {file.name: file.stat().st_mode & 0o777 for file in database.path.parent.iterdir()}
    assert set(modes) == {f"catalog.db{suffix}" for suffix in ("", "-wal", "-shm", "-gate", "-turn")}
    assert set(modes.values()) == {0o600}


def test_missing_database_is_not_created_unasked(path: Path) -> None:
    with pytest.raises(ConfigurationInvalid):
        Database(path, [NOTES], new_uuid="a", create=False)
    assert not path.exists()


# -- migrations ------------------------------------------------------------------------------------------------

HISTORY = (
    "CREATE TABLE things (name TEXT PRIMARY KEY) STRICT",
    "ALTER TABLE things ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX things_by_size ON things (size_bytes)",
    "ALTER TABLE things RENAME COLUMN name TO key",
)


@pytest.mark.parametrize("old", range(1, len(HISTORY)))
def test_every_older_schema_is_brought_up_to_date(path: Path, old: int) -> None:
    """Whatever version wrote the file, its rows are there afterwards, and so is the uuid."""
    before = Database(path, [Schema("things", HISTORY[:old])], new_uuid="first")
    before.write(lambda transaction: transaction.run("INSERT INTO things VALUES ('x', 7)" if old > 1 else
                                                     "INSERT INTO things VALUES ('x')"))  # fmt: skip
    before.close()
    after = Database(path, [Schema("things", HISTORY), NOTES], new_uuid="second")
    with after.read() as connection:
        assert connection.rows("SELECT key, size_bytes FROM things") == [("x", 7 if old > 1 else 0)]
        assert connection.value("PRAGMA user_version") == len(HISTORY) + 1
    assert after.uuid == "first"
    after.close()


def test_newer_schema_is_refused(path: Path) -> None:
    Database(path, [Schema("things", HISTORY)], new_uuid="a").close()
    with pytest.raises(ConfigurationInvalid, match="newer version"):
        Database(path, [Schema("things", HISTORY[:2])], new_uuid="a")


def test_newer_schema_is_refused_though_the_number_is_the_same(path: Path) -> None:
    """One room newer, another missing: the sum of the migrations is equal, the schema is not."""
    Database(path, [Schema("things", HISTORY[:2])], new_uuid="a").close()
    with pytest.raises(ConfigurationInvalid, match="newer version"):
        Database(path, [Schema("things", HISTORY[:1]), NOTES], new_uuid="a")


def test_failed_migration_changes_nothing(path: Path) -> None:
    Database(path, [Schema("things", HISTORY[:1])], new_uuid="a").close()
    with pytest.raises(apsw.SQLError):
        Database(path, [Schema("things", (HISTORY[0], HISTORY[1], "CREATE TABLE oops ("))], new_uuid="a")
    again = Database(path, [Schema("things", HISTORY[:1])], new_uuid="a")
    with again.read() as connection:
        assert connection.value("SELECT count(*) FROM pragma_table_info('things')") == 1
    again.close()


# -- units of work ---------------------------------------------------------------------------------------------


def test_write_is_visible_when_it_returns(database: Database) -> None:
    assert database.write(adding("a")) == 1
    assert names(database) == ["a"]


def test_failed_work_is_undone_and_raised(database: Database) -> None:
    def work(transaction: Transaction) -> None:
        transaction.run(ADD, ("a", ""))
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        database.write(work)
    assert names(database) == []


def test_nested_write_joins_the_outer_unit(database: Database) -> None:
    """The inner write is done for the outer one to see, and undone with it."""

    def outer(_transaction: Transaction) -> None:
        database.write(adding("inner"))
        assert names(database) == ["inner"]
        raise LookupError

    with pytest.raises(LookupError):
        database.write(outer)
    assert names(database) == []


def test_failed_nested_write_is_undone_alone(database: Database) -> None:
    def inner(transaction: Transaction) -> None:
        transaction.run(ADD, ("inner", ""))
        transaction.run(ADD, ("outer", "twice"))

    def outer(transaction: Transaction) -> None:
        transaction.run(ADD, ("outer", ""))
        with pytest.raises(Conflict):
            database.write(inner)
        transaction.run(ADD, ("after", ""))

    database.write(outer)
    assert names(database) == ["after", "outer"]


def test_unfinished_work_is_invisible_to_other_threads(database: Database) -> None:
    written, looked = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        transaction.run(ADD, ("a", ""))
        written.set()
        assert looked.wait(300)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(database.write, work)
        assert written.wait(300)
        assert names(database) == []
        looked.set()
        writing.result(300)
    assert names(database) == ["a"]


def batch(database: Database, works: list[Callable[[Transaction], object]]) -> list[object]:
    """Run the works in one commit: they queue up behind one that waits for them. Returns results and errors."""
    started, release = threading.Event(), threading.Event()

    def block(_transaction: Transaction) -> None:
        started.set()
        assert release.wait(300)

    def attempt(work: Callable[[Transaction], object]) -> object:
        try:
            return database.write(work)
        except Exception as error:  # noqa: BLE001 - the outcome is what is asked for
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        blocker = pool.submit(database.write, block)
        assert started.wait(300)
        outcomes = [pool.submit(attempt, work) for work in works]
        while database._queue.qsize() < len(works):
            threading.Event().wait(0.001)
        release.set()
        blocker.exception(10)
        return [outcome.result(300) for outcome in outcomes]


def test_neighbours_in_one_commit_do_not_share_a_failure(database: Database) -> None:
    def failing(transaction: Transaction) -> None:
        transaction.run(ADD, ("bad", ""))
        raise LookupError

    outcomes = batch(database, [adding("a"), failing, adding("b")])
    assert [type(outcome) for outcome in outcomes] == [int, LookupError, int]
    assert names(database) == ["a", "b"]


def test_waiting_writes_share_one_commit(database: Database) -> None:
    """One by one, each commit would write the table's page and the index's into the log again."""

    def frames() -> int:
        raw = apsw.Connection(str(database.path))
        try:
            return raw.wal_checkpoint()[0]
        finally:
            raw.close()

    before = frames()
    batch(database, [adding(f"n{number}") for number in range(8)])
    assert len(names(database)) == 8
    assert frames() - before <= 4


def test_callbacks_run_after_the_commit_and_only_then(database: Database) -> None:
    seen: list[list[str]] = []

    def work(transaction: Transaction) -> None:
        transaction.run(ADD, ("a", ""))
        transaction.after_commit(lambda: seen.append(names(database)))
        assert seen == []

    def failing(transaction: Transaction) -> None:
        transaction.after_commit(lambda: seen.append(["never"]))
        raise LookupError

    database.write(work)
    with pytest.raises(LookupError):
        database.write(failing)
    database.write(adding("b"))
    assert seen == [["a"]]


def test_failing_callback_does_not_stop_the_writer(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def work(transaction: Transaction) -> None:
        transaction.run(ADD, ("a", ""))
        transaction.after_commit(lambda: names(database)[99])  # type: ignore[arg-type]  # raises

    database.write(work)
    database.write(adding("b"))
    assert names(database) == ["a", "b"]
    assert "what should follow a commit failed" in caplog.text


class Unforeseen(Database):
    """Its writer runs into an error after the first commit that no code expects."""

    def _checkpoint(self, threshold_pages: int) -> None:
        if threshold_pages:
            raise RuntimeError("unforeseen")


def test_writer_that_ends_leaves_nobody_waiting(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits is told, and so is everybody who comes later; reading goes on."""
    database = Unforeseen(path, [NOTES], new_uuid="a")
    database.write(adding("a"))
    for name in ("b", "c"):
        with pytest.raises(Unavailable):
            database.write(adding(name))
    assert names(database) == ["a"]
    assert "the writer ended" in caplog.text
    database.close()


def test_constraint_is_a_conflict(database: Database) -> None:
    database.write(adding("a"))
    with pytest.raises(Conflict):
        database.write(adding("a"))


def test_work_cannot_go_on_in_a_transaction_that_sqlite_ended(database: Database) -> None:
    """After an error that ends the transaction nothing may commit statement by statement, and nobody is told "done"."""

    def work(transaction: Transaction) -> None:
        transaction.run(ADD, ("before", ""))
        transaction._raw.execute("ROLLBACK")  # as SQLite does by itself on a full disk
        transaction.run(ADD, ("after", ""))

    first, second, third = batch(database, [adding("a"), work, adding("b")])
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert names(database) in ([], ["b"])
    assert isinstance(third, Unavailable) == (names(database) == [])


def test_readers_cannot_write(database: Database) -> None:
    with database.read() as connection, pytest.raises(Unavailable):
        connection.rows("INSERT INTO notes VALUES ('a', '')")


def test_snapshot_sees_one_moment(database: Database) -> None:
    database.write(adding("a"))
    with database.snapshot() as moment:
        assert moment.value("SELECT count(*) FROM notes") == 1
        database.write(adding("b"))
        assert moment.value("SELECT count(*) FROM notes") == 1
    assert len(names(database)) == 2


def test_data_version_tells_of_changes(database: Database) -> None:
    before = database.data_version()
    assert database.data_version() == before
    database.write(adding("a"))
    assert database.data_version() != before


def test_closed_database_says_so(path: Path) -> None:
    database = Database(path, [NOTES], new_uuid="a")
    database.close()
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        database.write(adding("a"))
    with pytest.raises(Unavailable, match="closed"), database.read():
        pass


def test_close_finishes_what_waits(path: Path) -> None:
    database = Database(path, [NOTES], new_uuid="a")
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(database.write, adding(f"n{number}")) for number in range(64)]
        writes[0].result(300)
        database.close()
        done = [number for number, write in enumerate(writes) if write.exception(10) is None]
    again = Database(path, [NOTES], new_uuid="a")
    assert len(names(again)) == len(done)
    again.close()


# -- durability, several processes -----------------------------------------------------------------------------


def test_every_commit_is_synced(database: Database) -> None:
    def settings(transaction: Transaction) -> tuple[object, ...]:
        pragmas = ("synchronous", "journal_mode", "foreign_keys", "wal_autocheckpoint")
        return tuple(Connection(transaction._raw).value(f"PRAGMA {name}") for name in pragmas)

    full = 2
    assert database.write(settings) == (full, "wal", 1, 0)


def test_wal_is_checkpointed_when_idle(database: Database) -> None:
    """A large commit reaches the database file without closing it."""
    size_before = database.path.stat().st_size
    database.write(lambda transaction: transaction.run(ADD, ("large", "x" * 4_000_000)))
    deadline = threading.Event()
    for _ in range(1_000):
        if database.path.stat().st_size > size_before + 4_000_000:
            break
        deadline.wait(0.01)
    assert database.path.stat().st_size > size_before + 4_000_000


def test_wal_does_not_grow_without_bound(database: Database) -> None:
    """Four times the threshold is written without a pause; the log stays near it."""
    for number in range(60):
        database.write(partial(Transaction.run, sql=ADD, parameters=(f"n{number}", "x" * 2_000_000)))
    wal = database.path.with_name(database.path.name + "-wal")
    assert wal.stat().st_size < 2 * sqlite._CHECKPOINT_PAGES_BUSY * 4_160


WRITE_MANY = """
import sys
from pathlib import Path
from contentplatform.drivers.sqlite import Database, Schema
path, prefix, script = sys.argv[1:]
database = Database(Path(path), [Schema("notes", (script,))], new_uuid=prefix)
for number in range(200):
    name = f"{prefix}{number:04}"
    database.write(lambda transaction: transaction.run("INSERT INTO notes VALUES (?, ?)", (name, "")))
database.close()
"""


def test_several_processes_write_at_once(path: Path) -> None:
    """They create, migrate and write one file together; every acknowledged row is there, and there is one uuid."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE_MANY, str(path), prefix, NOTES.migrations[0]]) for prefix in "abc"
    ]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    database = Database(path, [NOTES], new_uuid="z")
    assert names(database) == sorted(f"{prefix}{number:04}" for prefix in "abc" for number in range(200))
    assert database.uuid in {"a", "b", "c"}
    with database.read() as connection:
        assert connection.value("PRAGMA integrity_check") == "ok"
    database.close()
