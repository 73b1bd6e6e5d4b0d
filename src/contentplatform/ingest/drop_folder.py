"""The drop folder: whatever people or programs put there is taken in once it has stopped growing.

A file is left alone until two looks, some quiet time apart, see the same size and time; and if it changes while it is
read, nothing of it is kept and it is looked at again. What was taken in is remembered by size, time and inode, so a
file that stays in the folder is taken in once, and again only when somebody changes it.

Links are not followed; hidden files, and names that programs give to what they are still writing, are passed over.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contentplatform import log
from contentplatform.clock import Clock, timestamp
from contentplatform.drivers.files import translated_os_errors
from contentplatform.drivers.sqlite import Database, Schema
from contentplatform.errors import Conflict, PlatformError
from contentplatform.ingest.library import Library
from contentplatform.media import check_key

SCHEMA: Final = Schema(
    room="drops",
    migrations=(
        """
        CREATE TABLE dropped_files (
            path TEXT PRIMARY KEY,             -- below the drop folder
            identity TEXT NOT NULL,            -- inode, size and time of what was taken in
            taken_in_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        """,
    ),
)
_UNFINISHED: Final = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", "~")
"""Ends of names that browsers, copy programs and editors give to what they are still writing."""
_READ_BYTES: Final = 1 << 20
_LOCK_NAME: Final = "drop-folder.lock"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file at one look."""

    identity: str
    since_seconds: float
    """By the clock's monotonic seconds: when it was first seen so."""


class DropFolder:
    """Takes in what lies in one folder. One process at a time looks; others find the lock taken and do nothing.

    Args:
        folder: where people drop files.
        library: takes them in.
        database: remembers what was taken in.
        clock: how long a file has not changed.
        run_folder: where the lock is.
        prefix: goes before each key.
        quiet_seconds: how long a file must not have changed.
        remove: whether files are removed once they are durable.
    """

    def __init__(
        self,
        folder: Path,
        library: Library,
        database: Database,
        clock: Clock,
        run_folder: Path,
        *,
        prefix: str = "",
        quiet_seconds: float = 5.0,
        remove: bool = False,
    ) -> None:
        self._folder = folder
        self._library = library
        self._database = database
        self._clock = clock
        self._lock_path = run_folder / _LOCK_NAME
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._quiet_seconds = quiet_seconds
        self._remove = remove
        self._seen: dict[str, _Seen] = {}
        self._complained: set[str] = set()

    def look(self) -> int:
        """Look once, and take in what has come to rest; returns how many files that were.

        Raises:
            Unavailable: the folder can't be read.
        """
        self._lock_path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with self._lock_path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            return self._look()

    def _look(self) -> int:
        taken_in = 0
        there: dict[str, _Seen] = {}
        now = self._clock.monotonic_seconds()
        known = self._known()
        gone = set(known)
        for relative, status in self._files():
            gone.discard(relative)
            identity = _identity(status)
            if known.get(relative) == identity:
                continue
            before = self._seen.get(relative)
            seen = before if before is not None and before.identity == identity else _Seen(identity, now)
            there[relative] = seen
            is_quiet = before is seen and now - seen.since_seconds >= self._quiet_seconds
            if is_quiet and self._take_in(relative, identity):
                taken_in += 1
                del there[relative]
        self._seen = there
        self._complained &= set(there)
        if gone:
            self._forget(gone)
        return taken_in

    def _take_in(self, relative: str, identity: str) -> bool:
        path = self._folder / relative
        try:
            key = check_key(self._prefix + relative)
            with translated_os_errors(f"reading {relative}"):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with io.BufferedReader(_Steady(descriptor, identity, relative), _READ_BYTES) as body:
                self._library.add(key, body)
        except PlatformError as error:
            self._complain(relative, error)
            return False
        self._remember(relative, identity)
        if self._remove:
            self._take_away(path, identity)
        return True

    def _take_away(self, path: Path, identity: str) -> None:
        try:
            if _identity(path.lstat()) == identity:  # else it is a new file already
                path.unlink()
        except OSError as error:
            log.event(_logger, logging.WARNING, "dropped file not removed", **{log.REASON: error.strerror})

    def _complain(self, relative: str, error: PlatformError) -> None:
        """Say once a file what is wrong with it; it is tried again as long as it lies there."""
        if relative not in self._complained:
            self._complained.add(relative)
            log.event(
                _logger, logging.WARNING, "dropped file not taken in", **{log.KEY: relative, log.REASON: str(error)}
            )

    # -- what was taken in -----------------------------------------------------------------------------------

    def _known(self) -> dict[str, str]:
        with self._database.read() as view:
            return dict(view.rows("SELECT path, identity FROM dropped_files"))

    def _remember(self, relative: str, identity: str) -> None:
        now = timestamp(self._clock.now())
        self._database.write(
            lambda unit: unit.run(
                "INSERT INTO dropped_files (path, identity, taken_in_at) VALUES (?, ?, ?)"
                " ON CONFLICT (path) DO UPDATE SET identity = excluded.identity, taken_in_at = excluded.taken_in_at",
                (relative, identity, now),
            )
        )

    def _forget(self, gone: set[str]) -> None:
        """What lies there no more needs no memory."""
        rows = [(relative,) for relative in gone]
        self._database.write(lambda unit: unit.run_many("DELETE FROM dropped_files WHERE path = ?", rows))

    # -- what is there ---------------------------------------------------------------------------------------

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every regular file that may be taken in, by its path below the folder."""
        folders = [""]
        while folders:
            below = folders.pop()
            with (
                translated_os_errors(f"looking into {self._folder / below}"),
                os.scandir(self._folder / below) as found,
            ):
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(_UNFINISHED):
                    continue
                relative = f"{below}/{entry.name}" if below else entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(relative)
                elif stat.S_ISREG(status.st_mode):
                    yield relative, status


class _Steady(io.FileIO):
    """A file that has to be, at its end, what it was at its beginning; else its reader is told, and keeps nothing."""

    def __init__(self, descriptor: int, identity: str, name: str) -> None:
        super().__init__(descriptor)
        self._identity = identity
        self._what = name
        self._check()

    def readinto(self, buffer: object, /) -> int:
        count = super().readinto(buffer)  # type: ignore[arg-type]  # io's own signature needs a buffer
        if count == 0:
            self._check()
        return count or 0

    def _check(self) -> None:
        if _identity(os.fstat(self.fileno())) != self._identity:
            self.close()
            raise Conflict(f"taking in {self._what}", "it is still being written", hint="It is looked at again")


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
