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

import logging
import queue
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from contentplatform import log
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.turnstile import Turnstile
from contentplatform.errors import (
    ConfigurationInvalid,
    Conflict,
    Corrupt,
    InvalidRequest,
    NoSpace,
    PlatformError,
    Unavailable,
)

T = TypeVar("T")
Row = tuple[Any, ...]

APPLICATION_ID: Final = 0x434F4E54  # "CONT"
_BUSY_TIMEOUT_MILLISECONDS: Final = 30_000
_CHECKPOINT_IDLE_SECONDS: Final = 0.2
_CHECKPOINT_PAGES_IDLE: Final = 256
_CHECKPOINT_PAGES_BUSY: Final = 8_192
_BATCH_LIMIT: Final = 256
_SALVAGED_AT_ONCE: Final = 1_000
_CREATED: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)")
_LOGGER: Final = logging.getLogger(__name__)
_OCTAL_ESCAPE: Final = re.compile(r"\\([0-7]{3})")  # how the kernel writes spaces in the names of mount points
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
        self.after_commit_callbacks: list[Callable[[], None]] = []

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute one statement; returns the number of rows it changed."""
        with self._writing():
            self._raw.execute(sql, tuple(parameters))
            return self._raw.changes()

    def insert(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute one INSERT; returns the rowid it got."""
        with self._writing():
            self._raw.execute(sql, tuple(parameters))
            return self._raw.last_insert_rowid()

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute one statement for each row of parameters."""
        with self._writing():
            self._raw.executemany(sql, [tuple(row) for row in parameters])

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` (quick, must not raise) on the writer thread once this unit of work is durable."""
        self.after_commit_callbacks.append(callback)

    def part(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` as a part of this unit: if it raises, what it did is undone and the rest stands."""
        callbacks = len(self.after_commit_callbacks)
        self.run("SAVEPOINT part")
        try:
            result = work(self)
        except BaseException:
            del self.after_commit_callbacks[callbacks:]
            if self._raw.in_transaction:
                self.run("ROLLBACK TO part")
                self.run("RELEASE part")
            raise
        self.run("RELEASE part")
        return result

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # After some errors (disk full, I/O) SQLite ends the transaction by itself. What comes after must not run
        # then: each statement would commit alone.
        if not self._raw.in_transaction:
            raise _lost_transaction()
        with translated("writing to the catalog database"):
            yield


@dataclass(slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    done: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        """Tell the caller: its own error first, else the one of the whole batch, else its result."""
        if self.error is not None or error is not None:
            self.done.set_exception(self.error or error)
        else:
            self.done.set_result(self.result)


class Database:
    """The shared file. Safe to use from any thread; open one a process."""

    def __init__(
        self, path: Path, schemas: Sequence[Schema], *, new_uuid: str, vfs: str | None = None, create: bool = True
    ) -> None:
        self.path = path
        self.schema_version = schema_version(schemas)
        self._vfs = vfs
        refuse_unsafe_sqlite(apsw.sqlite_lib_version())
        refuse_network_file_system(path.parent)
        if not create and not path.exists():
            raise ConfigurationInvalid(f"opening {path}", "there is no database")
        self._local = threading.local()
        # Weak: a thread's connection is closed when the thread ends.
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._accepting = True
        self._closed = False
        self._stopping = False
        self._broken: PlatformError | None = None
        self._wal_pages = 0
        self._writer = self._open_writer(schemas, new_uuid)
        self._turnstile = Turnstile(path)
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
        _make_private(self.path)
        raw = self._connect()
        try:
            with translated(f"opening {self.path}"):
                # Tables are asked for first: another process that is creating the file sets the id before them.
                tables = raw.execute("SELECT count(*) FROM sqlite_schema").get
                application_id = raw.pragma("application_id")
                if tables == 0 and application_id == 0:
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
        what ``work`` did and is raised here. Where the commit itself fails, what ``work`` did may or may not turn up
        when the file is opened again, but never a part of it.
        """
        open_one: Transaction | None = getattr(self._local, "transaction", None)
        if open_one is not None:
            return open_one.part(work)
        job = _Job(work)
        with self._lock:
            if not self._accepting:
                raise self._broken or Unavailable("writing to the catalog database", "it is closed")
            self._queue.put(job)
        result: T = job.done.result()
        return result

    def check_usable(self) -> None:
        """Raise Unavailable if nothing can be written until the file was closed and opened again."""
        if self._broken is not None:
            raise self._broken

    def _write_loop(self) -> None:
        try:
            self._serve()
        except Exception:
            _LOGGER.exception("the writer ended")
            self._broken = Unavailable("writing to the catalog database", "its writer ended", hint="Restart")
        with self._lock:
            self._accepting = False
        while not self._queue.empty():  # nobody may wait for an answer that will never come
            job = self._queue.get_nowait()
            if job is not None:
                job.settle(self._broken or Unavailable("writing to the catalog database", "it is closed"))

    def _serve(self) -> None:
        while not self._stopping:
            try:
                job = self._queue.get(timeout=_CHECKPOINT_IDLE_SECONDS)
            except queue.Empty:
                self._checkpoint(_CHECKPOINT_PAGES_IDLE)
                continue
            if job is None:
                return
            if self._broken is not None:
                job.settle(self._broken)
                continue
            self._run_batch(job)
            self._checkpoint(_CHECKPOINT_PAGES_BUSY)

    def _run_batch(self, first: _Job) -> None:
        """Run ``first`` and what waits behind it in one commit, when it is this process's turn."""
        with self._turnstile.turn():
            transaction, batch, failure = self._run_jobs(first)
        for callback in () if failure else transaction.after_commit_callbacks:
            _call_safely(callback)
        for job in batch:
            job.settle(failure)

    def _run_jobs(self, first: _Job) -> tuple[Transaction, list[_Job], BaseException | None]:
        transaction = Transaction(self._writer)
        batch = [first]
        self._local.transaction = transaction
        try:
            with translated("writing to the catalog database"):
                self._writer.execute("BEGIN IMMEDIATE")
            self._run_job(transaction, first)
            for job in self._waiting():
                batch.append(job)
                self._run_job(transaction, job)
            self._commit()
        except BaseException as error:  # noqa: BLE001 - handed to every caller of the batch
            self._roll_back()
            return transaction, batch, error
        finally:
            self._local.transaction = None
        return transaction, batch, None

    def _waiting(self) -> Iterator[_Job]:
        """The jobs that wait at this moment, as many as fit into the batch."""
        for _ in range(_BATCH_LIMIT - 1):
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._stopping = True
                return
            yield job

    def _run_job(self, transaction: Transaction, job: _Job) -> None:
        """Run one job. Its own failure is its own; one that ended the whole transaction is raised."""
        try:
            job.result = transaction.part(job.work)
        except BaseException as error:
            if not self._writer.in_transaction:
                raise
            job.error = error

    def _commit(self) -> None:
        crashpoint("sqlite.before_commit")
        try:
            with translated("committing to the catalog database"):
                self._writer.execute("COMMIT")
        except (Unavailable, Corrupt) as error:
            if not isinstance(error, NoSpace):
                # A failed sync says nothing about what is on disk: never try it again on the same file.
                self._broken = Unavailable(
                    "writing to the catalog database",
                    f"an earlier commit failed ({error.why})",
                    hint="Restart, and run `contentplatform fsck`",
                )
            raise
        crashpoint("sqlite.committed")

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except apsw.Error as error:
                self._broken = Unavailable("writing to the catalog database", f"a rollback failed ({error})")

    def _checkpoint(self, threshold_pages: int) -> None:
        if self._wal_pages < threshold_pages:
            return
        crashpoint("sqlite.before_checkpoint")
        try:
            with translated("checkpointing the catalog database"), suppress(apsw.BusyError):
                # Busy: another process checkpoints at this moment, which is as good.
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            crashpoint("sqlite.checkpointed")
        except NoSpace as error:
            # Nothing is lost: the log still has it all, and the next checkpoint tries again.
            log.event(_LOGGER, logging.WARNING, "the disk is full; checkpoint put off", **{log.REASON: error.private})
        except (Unavailable, Corrupt) as error:
            self._broken = Unavailable(
                "writing to the catalog database", f"a checkpoint failed ({error.why})", hint="Check the disk, restart"
            )
        finally:
            self._wal_pages = 0  # however it went, the next commit tells the size anew

    # -- reading ---------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A view to query: the open unit of work if there is one, else this thread's own connection."""
        open_one: Transaction | None = getattr(self._local, "transaction", None)
        yield open_one if open_one is not None else Connection(self._reader())

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A view whose queries all see the same moment. Keep it short: the WAL can't shrink behind it."""
        open_one: Transaction | None = getattr(self._local, "transaction", None)
        if open_one is not None:
            yield open_one
            return
        raw = self._reader()
        with translated("reading the catalog database"):
            raw.execute("BEGIN")
        try:
            yield Connection(raw)
        finally:
            raw.execute("ROLLBACK")

    def _reader(self) -> apsw.Connection:
        if self._closed:
            raise Unavailable("reading the catalog database", "it is closed")
        raw: apsw.Connection | None = getattr(self._local, "reader", None)
        if raw is None:
            raw = self._connect()
            raw.execute("PRAGMA query_only = ON")
            self._local.reader = raw
            with self._lock:
                self._readers.add(raw)
        return raw

    def data_version(self) -> int:
        """A number that changes when another process or thread commits: a cheap way to see that something is new."""
        return int(Connection(self._reader()).value("PRAGMA data_version"))

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Finish what waits, checkpoint, and let go of the file. Idempotent."""
        with self._lock:
            self._accepting, self._closed = False, True
            self._queue.put(None)
        self._thread.join()
        for raw in list(self._readers):
            raw.close()
        self._writer.close()
        self._turnstile.close()


def _make_private(path: Path) -> None:
    """Make an empty file that only its owner can read; SQLite gives its WAL files the same mode."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigurationInvalid(
            f"opening {path}", f"it can't be written ({error.strerror})", hint="Check the folder's owner and mode"
        ) from error


def migrate(raw: apsw.Connection, schemas: Sequence[Schema], new_uuid: str) -> None:
    """Bring the file up to this code's schema, each room's migrations in order, in one transaction.

    Raises:
        ConfigurationInvalid: the file was written by a newer version of the platform.
    """
    wanted = schema_version(schemas)
    if raw.pragma("user_version") == wanted and _applied(raw) == _known(schemas):
        return
    raw.execute("BEGIN IMMEDIATE")
    try:
        raw.execute("CREATE TABLE IF NOT EXISTS platform_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
        raw.execute(
            "CREATE TABLE IF NOT EXISTS platform_migrations (room TEXT NOT NULL, number INTEGER NOT NULL,"
            " PRIMARY KEY (room, number)) STRICT, WITHOUT ROWID"
        )
        raw.execute("INSERT INTO platform_meta VALUES ('uuid', ?) ON CONFLICT DO NOTHING", (new_uuid,))
        applied = _applied(raw)
        if applied - _known(schemas):
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


def schema_version(schemas: Sequence[Schema]) -> int:
    """What ``user_version`` of a database with these schemas is: the number of migrations."""
    return sum(len(schema.migrations) for schema in schemas)


def _applied(raw: apsw.Connection) -> set[tuple[str, int]]:
    return {(room, number) for room, number in raw.execute("SELECT room, number FROM platform_migrations")}


def _known(schemas: Sequence[Schema]) -> set[tuple[str, int]]:
    return {(schema.room, number) for schema in schemas for number in range(1, len(schema.migrations) + 1)}


def salvage(source: Path, schema: Schema, target: Database) -> int:
    """Copy a room's rows from a database that nobody has open into an empty one; how many.

    All of them or none. The source may be of an older release, or damaged elsewhere; it is only read.

    Raises:
        PlatformError: it can't be read as far as this room goes.
    """
    with translated(f"reading {source}"):
        raw = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        raw.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # it stays as it was found, its log beside it
        raw.execute("PRAGMA query_only = ON")
        tables = [name for script in schema.migrations for name in _CREATED.findall(script)]
        return target.write(lambda unit: sum(_copy(raw, unit, table) for table in tables))
    finally:
        raw.close()


def _copy(raw: apsw.Connection, unit: Transaction, table: str) -> int:
    with translated(f"reading {table}"):
        there = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    wanted = {row[1] for row in unit.rows(f"PRAGMA table_info({table})")}
    columns = [name for name in there if name in wanted]
    if not columns:
        return 0
    # Names of tables and columns are our own, out of migrations.
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - as above
    count = 0
    with translated(f"reading {table}"):
        rows = raw.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - as above
    while True:
        with translated(f"reading {table}"):
            batch = list(islice(rows, _SALVAGED_AT_ONCE))
        if not batch:
            return count
        unit.run_many(insert, batch)
        count += len(batch)


def release() -> str:
    """Which release of SQLite is loaded."""
    return apsw.sqlite_lib_version()


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
    refuse_file_system_type(folder, file_system_type(folder))


def refuse_file_system_type(folder: Path, kind: str) -> None:
    """Raise ConfigurationInvalid if ``kind`` is the type of a network file system."""
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
    return mounted_type(str(folder.resolve()), mounts)


def mounted_type(path: str, mounts: str) -> str:
    """The type of the innermost mount that holds the absolute ``path``, from the text of ``/proc/self/mounts``."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _device, escaped, found, *_ = line.split(" ")
        point = _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), escaped)
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two on one point the later one is on top
            best, kind = point, found
    return kind


def _call_safely(callback: Callable[[], None]) -> None:
    """Call it; what it raises is logged, because the work is durable and the writer has to go on."""
    try:
        callback()
    except Exception:
        _LOGGER.exception("what should follow a commit failed")


def _lost_transaction() -> Unavailable:
    return Unavailable(
        "writing to the catalog database", "an error before this ended the whole unit of work", hint="Try again"
    )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the platform's."""
    try:
        yield
    except UnicodeEncodeError as error:
        # Half of a surrogate pair, as a command line argument that is not UTF-8 holds.
        raise InvalidRequest(doing, "a name or text in it is not valid Unicode") from error
    except apsw.ConstraintError as error:
        raise Conflict(doing, "somebody else wrote the same thing first", private=str(error)) from error
    except apsw.FullError as error:
        raise NoSpace(
            doing, "the disk is full", hint="Free some space; nothing was lost", private=str(error)
        ) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Corrupt(
            doing, f"the database is damaged ({error})", hint="Run `contentplatform fsck --rebuild-catalog`"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Unavailable(
            doing, "another process holds it for too long", hint="Try again", private=str(error)
        ) from error
    except (apsw.IOError, apsw.CantOpenError, apsw.ProtocolError, apsw.ReadOnlyError) as error:
        raise Unavailable(
            doing, f"the disk or file system answered with an error ({error})", hint="Check the disk"
        ) from error
