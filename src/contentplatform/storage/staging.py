"""Staged files: bytes that arrive piece by piece, perhaps over days, beside the blobs of which they will be one.

A staged file lies at ``<folder>/<region>/STANDARD/.staged/<name>``, on the disk of the blobs, and grows at its end.
Whoever has it open has it alone, over all threads and processes; the kernel keeps that lock, and it ends with them.
What was written is worth nothing before a sync; a sync that failed is never tried again.

What lies far behind a large file's beginning goes past the kernel's cache: a copy there takes longer than the disk, and
pushes out what others read. The bytes come at the disk's own pace, and the last sync finds next to nothing to do.

The SHA-256 is taken of the bytes as they come. Where this process has not seen them all, it is taken of the file: at
once if it is small, else only when all is there, so that an upload that is resumed twenty times is read once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

from contentplatform.drivers.files import BLOCK_BYTES, Files, remove_quietly, translated_os_errors
from contentplatform.errors import Conflict, Corrupt, NoSpace, Unavailable
from contentplatform.storage.port import StagedMark

_READ_BYTES: Final = 4 << 20
_HASHED_INLINE_BYTES: Final = 256 << 10
"""Below that, handing a buffer over to another thread takes longer than hashing it."""
_CACHED_BYTES: Final = 32 << 20
"""So much of a file's beginning, all of it for most files, is in the kernel's memory when the jobs come to read it."""
_LEAST_PAST_CACHE_BYTES: Final = 1 << 20
"""Smaller pieces are quicker by way of the cache: past it, each waits for the disk."""
_CAUGHT_UP_AT_ONCE_BYTES: Final = 1 << 30
_DIGESTS_KEPT: Final = 512
_HASHING_THREADS: Final = 4


@dataclass(slots=True)
class _Progress:
    """A SHA-256 over the first ``hashed_bytes`` of a file."""

    digest: Any
    hashed_bytes: int

    def copy(self) -> _Progress:
        return _Progress(self.digest.copy(), self.hashed_bytes)


class Staging:
    """The staged files of one data folder."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.cached_bytes = _CACHED_BYTES
        self.hashing = ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="staged-sha256")
        self._progress: OrderedDict[str, _Progress] = OrderedDict()
        self._lock = Lock()

    def path(self, name: str) -> Path:
        """Where a staged file lies."""
        return self.folder / name

    def check_room(self, size_bytes: int) -> None:
        """Raise NoSpace if the disk could not hold so many more bytes even now."""
        with translated_os_errors("looking at the free space"):
            status = os.statvfs(self.folder)
        if size_bytes > status.f_bavail * status.f_frsize:
            raise NoSpace(
                f"taking in {size_bytes} bytes", "the disk has no room for them", hint="Free some space, then try again"
            )

    def open(self, name: str, size_bytes: int) -> OpenStaged:
        """Open a staged file for its next byte, ``size_bytes``; made if it has none yet, cut to that if it is longer.

        Raises:
            Conflict: somebody else has it open.
            Corrupt: it is shorter than that, or gone.
        """
        path = self.path(name)
        descriptor = self._opened(path, must_exist=size_bytes > 0)
        try:
            _lock_alone(descriptor, name)
            with translated_os_errors("looking at a staged file"):
                status = os.fstat(descriptor)
            if not status.st_nlink or status.st_size < size_bytes:
                raise Corrupt(
                    "continuing an upload",
                    f"{status.st_size} bytes of it are there instead of {size_bytes}",
                    hint="Start it again",
                )
            if status.st_size > size_bytes:
                _refuse_linked(status)
                self.files.truncate(descriptor, size_bytes)
            return OpenStaged(self, name, path, descriptor, size_bytes, self._known_progress(name, size_bytes))
        except BaseException:
            os.close(descriptor)
            raise

    def open_unnamed(self, path: Path) -> OpenStaged:
        """A new file for bytes that come in one go, at a path that the sweep of temporary files knows."""
        descriptor = self.files.create(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # nobody else knows of it
        return OpenStaged(self, "", path, descriptor, 0, _Progress(hashlib.sha256(), 0))

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Have a staged file alone for a while, whatever is in it; nothing if it has none yet. Raises as ``open``."""
        try:
            descriptor = self.files.open_staged(self.path(name), create=False)
        except FileNotFoundError:
            yield
            return
        try:
            _lock_alone(descriptor, name)
            yield
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a staged file, if it is there; where that fails the collector gets it."""
        self.forget(name)
        remove_quietly(self.path(name))

    def keep_progress(self, name: str, progress: _Progress) -> None:
        """Remember how far a file is hashed, for who opens it next; all of it must be acknowledged."""
        with self._lock:
            self._progress[name] = progress
            self._progress.move_to_end(name)
            while len(self._progress) > _DIGESTS_KEPT:
                self._progress.popitem(last=False)

    def forget(self, name: str) -> None:
        """Drop what is remembered of a file."""
        with self._lock:
            self._progress.pop(name, None)

    def _opened(self, path: Path, *, must_exist: bool) -> int:
        try:
            descriptor = self.files.open_staged(path, create=not must_exist)
        except FileNotFoundError as error:
            raise Corrupt("continuing an upload", "its bytes are gone", hint="Start it again") from error
        if not must_exist:
            self.files.sync_folder(self.folder)
        return descriptor

    def _known_progress(self, name: str, size_bytes: int) -> _Progress:
        with self._lock:
            known = self._progress.pop(name, None)
        if known is None or known.hashed_bytes > size_bytes:
            return _Progress(hashlib.sha256(), 0)
        return known


class OpenStaged:
    """A staged file in the hands of the one who may write it; see ``storage.port.StagedFile``."""

    def __init__(
        self, staging: Staging, name: str, path: Path, descriptor: int, size_bytes: int, progress: _Progress
    ) -> None:
        self._staging = staging
        self._descriptor = descriptor
        self._progress: _Progress = progress
        self._pending: Future[None] | None = None
        self._open = True
        self._sound = True
        self.name = name
        self.path = path
        self.size_bytes = size_bytes
        if progress.hashed_bytes < size_bytes <= _CAUGHT_UP_AT_ONCE_BYTES:
            self._catch_up()

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes at the end; hashed while they are written.

        Raises:
            NoSpace, Unavailable: they could not be written; what was there before is as it was.
        """
        before = self.size_bytes
        self._hash(data)
        try:
            self._write(memoryview(data))
            self._settle()  # the caller may use the memory again
        except BaseException:
            self._sound = False  # the hash is ahead of the file
            with suppress(Unavailable):
                self._staging.files.truncate(self._descriptor, before)
            raise
        self.size_bytes += len(data)

    def mark(self) -> StagedMark:
        """This moment, to come back to."""
        self._settle()
        return StagedMark(self.size_bytes, self._progress.copy() if self._sound else None)

    def back_to(self, mark: StagedMark) -> None:
        """Forget what was written since the mark."""
        self._settle()
        self._staging.files.truncate(self._descriptor, mark.size_bytes)
        self.size_bytes = mark.size_bytes
        if isinstance(mark.progress, _Progress):
            self._progress, self._sound = mark.progress, True

    def sync(self) -> None:
        """Return once all bytes are on the medium. After a failure the file is worth nothing."""
        self._staging.files.sync(self._descriptor)

    def seal(self) -> None:
        """Let nobody write it any more. Raises as ``sync``."""
        self._staging.files.make_read_only(self._descriptor)
        self.sync()

    def sha256(self) -> str:
        """The hash of all bytes; read from the file as far as this process has not seen them come."""
        self._settle()
        if not self._sound or self._progress.hashed_bytes > self.size_bytes:
            self._progress, self._sound = _Progress(hashlib.sha256(), 0), True
        self._catch_up()
        return str(self._progress.digest.hexdigest())

    def pieces(self) -> Iterator[bytes]:
        """All its bytes."""
        yield from _pieces(self._descriptor, 0, self.size_bytes)

    def close(self, *, acknowledged: bool = False) -> None:
        """Let go of it. What was hashed is remembered only if all of it is acknowledged. Idempotent."""
        if not self._open:
            return
        self._open = False
        try:
            self._settle()
            if acknowledged and self._sound and self.name:
                self._staging.keep_progress(self.name, self._progress)
        finally:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, data: memoryview) -> None:
        """Write past the kernel's cache what is large enough for that, and everything else by way of it."""
        files, begin = self._staging.files, self.size_bytes
        past_bytes = len(data) - len(data) % BLOCK_BYTES
        if begin >= self._staging.cached_bytes and begin % BLOCK_BYTES == 0 and past_bytes >= _LEAST_PAST_CACHE_BYTES:
            files.write_past_cache(self._descriptor, data[:past_bytes])
            begin, data = begin + past_bytes, data[past_bytes:]
        if data:
            files.write(self._descriptor, data)
            files.start_writing_back(self._descriptor, begin, len(data))

    def _hash(self, data: bytes | memoryview) -> None:
        """Go on with the hash, if it has come as far as the file."""
        self._settle()
        if not self._sound or self._progress.hashed_bytes != self.size_bytes:
            return
        if len(data) < _HASHED_INLINE_BYTES:
            self._progress.digest.update(data)
        else:
            self._pending = self._staging.hashing.submit(self._progress.digest.update, data)
        self._progress.hashed_bytes += len(data)

    def _settle(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _catch_up(self) -> None:
        for piece in _pieces(self._descriptor, self._progress.hashed_bytes, self.size_bytes):
            self._progress.digest.update(piece)
            self._progress.hashed_bytes += len(piece)


def _pieces(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    while begin < end:
        with translated_os_errors("reading a staged file"):
            piece = os.pread(descriptor, min(_READ_BYTES, end - begin), begin)
        if not piece:
            raise Corrupt("reading an upload", f"its bytes end at {begin} instead of {end}", hint="Start it again")
        yield piece
        begin += len(piece)


def _refuse_linked(status: os.stat_result) -> None:
    """A file that has a blob's name already may be what a version refers to: it is never cut."""
    if status.st_nlink > 1:
        raise Corrupt("continuing an upload", "its bytes were stored already", hint="Start it again")


def _lock_alone(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(
            f"writing to upload {name}", "another request is writing to it", hint="Wait until that one has ended"
        ) from error
