"""One SQLite file, safely shared by several processes: the only importer of apsw.

* WAL, ``synchronous=FULL``, ``BEGIN IMMEDIATE`` only. One writer thread a process runs all writes; writes that wait
  together are committed together (each in its own savepoint), so one fsync serves many callers.
* ``Database.write(work)`` returns after the commit. Called from inside another write it joins that unit of work:
  what the rooms do together commits together, and no port mentions a transaction.
* Reads run on a connection of the calling thread, or inside the open unit of work where there is one.
* The WAL is checkpointed when the writer is idle, sooner when it has grown large.
* Refused at start: a SQLite that can corrupt a WAL database, a network file system, somebody else's file, a schema
  newer than this code.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.errors import ConfigurationInvalid, Conflict, Corrupt, NoSpace, PlatformError, Unavailable

T = TypeVar("T")
Row = tuple[Any, ...]

APPLICATION_ID: Final = 0x434F4E54  # "CONT"
_BUSY_TIMEOUT_MILLISECONDS: Final = 30_000
_CHECKPOINT_IDLE_SECONDS: Final = 0.2
_CHECKPOINT_PAGES_IDLE: Final = 256
_CHECKPOINT_PAGES_BUSY: Final = 8_192
_BATCH_LIMIT: Final = 256
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "glusterfs"}
)


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one room: its migrations in order, each a script that is applied once and never edited."""

    room: str
    migrations: tuple[str, ...]


class Connection:
    """A narrow, typed view of one SQLite connection; vendor errors leave it translated."""

    def __init__(self, raw: apsw.Connection) -> None:
        self._raw = raw

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Every row of the answer."""
        with translated("querying the catalog database"):
            return list(self._raw.execute(sql, tuple(parameters)))

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        with translated("querying the catalog database"):
            for found in self._raw.execute(sql, tuple(parameters)):
                return tuple(found)
            return None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.row(sql, parameters)
        return None if found is None else found[0]


class Transaction(Connection):
    """An open unit of work: reads see its own writes; nothing is visible to others before it commits."""

    def __init__(self, raw: apsw.Connection) -> None:
        super().__init__(raw)
        self._after_commit: list[Callable[[], None]] = []

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute one statement; returns the number of rows it changed."""
        with translated("writing to the catalog database"):
            self._raw.execute(sql, tuple(parameters))
            return self._raw.changes()

    def insert(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute one INSERT; returns the rowid it got."""
        with translated("writing to the catalog database"):
            self._raw.execute(sql, tuple(parameters))
            return self._raw.last_insert_rowid()

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute one statement for each row of parameters."""
        with translated("writing to the catalog database"):
            self._raw.executemany(sql, [tuple(row) for row in parameters])

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` (quick, must not raise) on the writer thread once this unit of work is durable."""
        self._after_commit.append(callback)


@dataclass(slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    done: Future[Any] = field(default_factory=Future)


class Database:
    """The shared file. Safe to use from any thread; open one a process."""

    def __init__(
        self, path: Path, schemas: Sequence[Schema], *, new_uuid: str, vfs: str | None = None, create: bool = True
    ) -> None:
        self.path = path
        self._vfs = vfs
        refuse_unsafe_sqlite(apsw.sqlite_lib_version())
        refuse_network_file_system(path.parent)
        if not create and not path.exists():
            raise ConfigurationInvalid(f"opening {path}", "there is no database")
        self._local = threading.local()
        self._readers: list[apsw.Connection] = []
        self._readers_lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._broken: PlatformError | None = None
        self._wal_pages = 0
        self._writer = self._open_writer(schemas, new_uuid)
        self.uuid: str = str(Connection(self._writer).value("SELECT value FROM platform_meta WHERE name = 'uuid'"))
        self._thread = threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True)
        self._thread.start()

    # -- opening ---------------------------------------------------------------------------------------------

    def _connect(self) -> apsw.Connection:
        with translated(f"opening {self.path}"):
            raw = apsw.Connection(str(self.path), vfs=self._vfs)
            raw.set_busy_timeout(_BUSY_TIMEOUT_MILLISECONDS)
            raw.execute("PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY")
            return raw

    def _open_writer(self, schemas: Sequence[Schema], new_uuid: str) -> apsw.Connection:
        raw = self._connect()
        try:
            with translated(f"opening {self.path}"):
                application_id = raw.pragma("application_id")
                if application_id == 0 and raw.execute("SELECT count(*) FROM sqlite_schema").get == 0:
                    raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                elif application_id != APPLICATION_ID:
                    raise ConfigurationInvalid(
                        f"opening {self.path}",
                        "this SQLite file belongs to another program",
                        hint="Choose another --data folder",
                    )
                if raw.pragma("journal_mode", "WAL") != "wal":
                    raise ConfigurationInvalid(f"opening {self.path}", "this file system can't keep a WAL database")
                raw.execute("PRAGMA synchronous = FULL")
                raw.wal_autocheckpoint(0)
                # apsw calls this after each commit in WAL mode; it replaces SQLite's own automatic checkpoint.
                raw.set_wal_hook(self._note_wal)
                migrate(raw, schemas, new_uuid)
        except BaseException:
            raw.close()
            raise
        return raw

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a unit of work and return its result once that is durable.

        Inside another write it joins: it runs at once, and is durable when the outermost one is. An exception undoes
        what ``work`` did and is raised here.
        """
        open_one: Transaction | None = getattr(self._local, "transaction", None)
        if open_one is not None:
            return work(open_one)
        if self._closed:
            raise Unavailable("writing to the catalog database", "it is closed")
        if self._broken is not None:
            raise self._broken
        job = _Job(work)
        self._queue.put(job)
        result: T = job.done.result()
        return result

    def _write_loop(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=_CHECKPOINT_IDLE_SECONDS)
            except queue.Empty:
                self._checkpoint(_CHECKPOINT_PAGES_IDLE)
                continue
            if job is None:
                return
            stop = self._run_batch(job)
            self._checkpoint(_CHECKPOINT_PAGES_BUSY)
            if stop:
                return

    def _run_batch(self, first: _Job) -> bool:
        """Run ``first`` and what waits behind it in one commit. True when the end of the queue was asked for."""
        transaction = Transaction(self._writer)
        settled: list[tuple[_Job, Any, BaseException | None]] = []
        stop = False
        try:
            with translated("writing to the catalog database"):
                self._writer.execute("BEGIN IMMEDIATE")
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            first.done.set_exception(error)
            return False
        self._local.transaction = transaction
        try:
            job: _Job | None = first
            while job is not None:
                settled.append((job, *self._run_job(transaction, job)))
                job = None
                if len(settled) < _BATCH_LIMIT:
                    try:
                        job = self._queue.get_nowait()
                        stop = job is None
                    except queue.Empty:
                        pass
        finally:
            self._local.transaction = None
        try:
            crashpoint("sqlite.before_commit")
            with translated("committing to the catalog database"):
                self._writer.execute("COMMIT")
            crashpoint("sqlite.committed")
        except BaseException as error:  # noqa: BLE001 - handed to every caller of the batch
            self._roll_back()
            if isinstance(error, Corrupt) or (isinstance(error, Unavailable) and not isinstance(error, NoSpace)):
                # A failed fsync says nothing about what is on disk: never retry it on the same file.
                self._broken = Unavailable(
                    "writing to the catalog database",
                    f"an earlier commit failed ({error.why})",
                    hint="Restart, and run `contentplatform fsck`",
                )
            for job, _result, own_error in settled:
                job.done.set_exception(own_error or error)
            return stop
        for callback in transaction._after_commit:  # noqa: SLF001 - same module
            callback()
        for job, result, own_error in settled:
            if own_error is None:
                job.done.set_result(result)
            else:
                job.done.set_exception(own_error)
        return stop

    def _run_job(self, transaction: Transaction, job: _Job) -> tuple[Any, BaseException | None]:
        callbacks = len(transaction._after_commit)  # noqa: SLF001 - same module
        self._writer.execute("SAVEPOINT job")
        try:
            result = job.work(transaction)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK TO job; RELEASE job")
            del transaction._after_commit[callbacks:]  # noqa: SLF001
            return None, error
        self._writer.execute("RELEASE job")
        return result, None

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except apsw.Error:  # pragma: no cover - SQLite already rolled back by itself
                return

    def _checkpoint(self, threshold_pages: int) -> None:
        if self._wal_pages < threshold_pages:
            return
        crashpoint("sqlite.before_checkpoint")
        try:
            mode = apsw.SQLITE_CHECKPOINT_PASSIVE
            self._writer.wal_checkpoint(mode=mode)
            self._wal_pages = 0
        except apsw.BusyError:
            self._wal_pages = 0  # another process is at it
        except apsw.Error as error:
            self._broken = Unavailable("checkpointing the catalog database", str(error))

    # -- reading ---------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A view to query: the open unit of work if there is one, else this thread's own connection."""
        open_one: Transaction | None = getattr(self._local, "transaction", None)
        yield open_one if open_one is not None else Connection(self._reader())

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A view whose queries all see the same moment. Keep it short: the WAL can't shrink behind it."""
        raw = self._reader()
        with translated("reading the catalog database"):
            raw.execute("BEGIN")
        try:
            yield Connection(raw)
        finally:
            raw.execute("ROLLBACK")

    def _reader(self) -> apsw.Connection:
        raw: apsw.Connection | None = getattr(self._local, "reader", None)
        if raw is None:
            if self._closed:
                raise Unavailable("reading the catalog database", "it is closed")
            raw = self._connect()
            raw.execute("PRAGMA query_only = ON")
            self._local.reader = raw
            with self._readers_lock:
                self._readers.append(raw)
        return raw

    def data_version(self) -> int:
        """A number that changes when another process or thread commits: a cheap way to see that something is new."""
        return int(Connection(self._reader()).value("PRAGMA data_version"))

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Finish what waits, checkpoint, and let go of the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        with self._readers_lock:
            for raw in self._readers:
                raw.close()
            self._readers.clear()
        self._writer.close()


def migrate(raw: apsw.Connection, schemas: Sequence[Schema], new_uuid: str) -> None:
    """Bring the file up to this code's schema, each room's migrations in order, in one transaction.

    Raises:
        ConfigurationInvalid: the file was written by a newer version of the platform.
    """
    wanted = sum(len(schema.migrations) for schema in schemas)
    if raw.pragma("user_version") == wanted:
        return
    raw.execute("BEGIN IMMEDIATE")
    try:
        raw.execute("CREATE TABLE IF NOT EXISTS platform_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
        raw.execute(
            "CREATE TABLE IF NOT EXISTS platform_migrations (room TEXT NOT NULL, number INTEGER NOT NULL,"
            " PRIMARY KEY (room, number)) STRICT, WITHOUT ROWID"
        )
        raw.execute("INSERT INTO platform_meta VALUES ('uuid', ?) ON CONFLICT DO NOTHING", (new_uuid,))
        applied = {(room, number) for room, number in raw.execute("SELECT room, number FROM platform_migrations")}
        known = {(schema.room, n) for schema in schemas for n in range(1, len(schema.migrations) + 1)}
        if applied - known:
            raise ConfigurationInvalid(
                "opening the catalog database",
                "it was written by a newer version of the platform",
                hint="Install that version again, or restore a copy made before the upgrade",
            )
        for schema in schemas:
            for number, script in enumerate(schema.migrations, start=1):
                if (schema.room, number) not in applied:
                    raw.execute(script)
                    raw.execute("INSERT INTO platform_migrations VALUES (?, ?)", (schema.room, number))
        raw.pragma("user_version", wanted)
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raise


def sqlite_is_safe(version: str) -> bool:
    """Whether this SQLite release has the WAL-reset fix.

    Releases 3.7.0 to 3.51.2 can corrupt a WAL database under concurrent writers and checkpoints; 3.44.6 and 3.50.7
    carry the fix as a backport (sqlite.org, "WAL-reset bug").
    """
    numbers = tuple(int(part) for part in version.split("."))[:3]
    return numbers > (3, 51, 2) or numbers in {(3, 44, 6), (3, 50, 7)} or numbers < (3, 7, 0)


def refuse_unsafe_sqlite(version: str) -> None:
    """Raise ConfigurationInvalid for a SQLite that can corrupt a WAL database."""
    if not sqlite_is_safe(version):
        raise ConfigurationInvalid(
            "starting",
            f"SQLite {version} can corrupt a database that several processes write",
            hint="Reinstall the apsw package: it brings a SQLite with the fix",
        )


def refuse_network_file_system(folder: Path) -> None:
    """Raise ConfigurationInvalid if ``folder`` is on a network file system, where SQLite's locks don't hold."""
    kind = file_system_type(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise ConfigurationInvalid(
            f"opening {folder}",
            f"it is on a network file system ({kind}), where file locks can't be trusted",
            hint="Choose a --data folder on a local disk; storage classes may live elsewhere",
        )


def file_system_type(folder: Path) -> str:
    """The type of the file system that holds ``folder`` as the kernel names it; empty where it can't be told."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", errors="surrogateescape")
    except OSError:
        return ""
    resolved = str(folder.resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        point = parts[1].encode().decode("unicode_escape") if "\\" in parts[1] else parts[1]
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the platform's."""
    try:
        yield
    except apsw.ConstraintError as error:
        raise Conflict(doing, "somebody else wrote the same thing first", private=str(error)) from error
    except apsw.FullError as error:
        raise NoSpace(doing, "the disk is full", hint="Free some space; nothing was lost", private=str(error)) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Corrupt(
            doing, f"the database is damaged ({error})", hint="Run `contentplatform fsck --rebuild-catalog`"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Unavailable(doing, "another process holds it for too long", hint="Try again", private=str(error)) from error
    except (apsw.IOError, apsw.CantOpenError) as error:
        raise Unavailable(
            doing, f"the disk or file system answered with an error ({error})", hint="Check the disk"
        ) from error
