"""The file system, an effect a method: the one place that writes, syncs, links, renames and unlinks durable files.

A test passes a subclass whose n-th effect fails; nothing has to be patched. What the operating system answers leaves
translated: a full disk is NoSpace, any other fault is Unavailable. A failed sync says nothing about what is on disk,
so no caller tries one again on the same file: it throws the file away.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contentplatform.errors import NoSpace, Unavailable

READ_ONLY_MODE: Final = 0o440
STAGED_MODE: Final = 0o600
FOLDER_MODE: Final = 0o750
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
BLOCK_BYTES: Final = 4_096
"""What goes past the cache begins and ends at a multiple of this, as nearly every disk and file system takes it."""
_SYNC_FILE_RANGE_WRITE: Final = 2
_PAST_CACHE: Final[int] = getattr(os, "O_DIRECT", 0)  # macOS has none


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux's system call to begin writing a part of a file out, which Python's ``os`` lacks; None elsewhere."""
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return found


_sync_file_range: Final = _find_sync_file_range()
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache


class Files:
    """Durable effects on files. Every method raises NoSpace or Unavailable; what a method says is missing is not."""

    def create(self, path: Path) -> int:
        """Open a new file for writing and return its descriptor; the file must not exist."""
        with translated_os_errors(f"creating {path.name}"):
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, READ_ONLY_MODE)

    def open_staged(self, path: Path, *, create: bool) -> int:
        """Open a file that grows at its end, its position there; the only one that may be opened again to be written.

        Raises:
            FileNotFoundError: there is none, and none is to be made.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        with translated_os_errors(f"opening {path.name}", leave=FileNotFoundError):
            try:
                return os.open(path, flags, STAGED_MODE)
            except PermissionError:  # sealed: all its bytes are there
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cut the file to its first ``size_bytes``, and go on there."""
        with translated_os_errors("cutting a file"):
            os.ftruncate(descriptor, size_bytes)
            os.lseek(descriptor, size_bytes, os.SEEK_SET)

    def make_read_only(self, descriptor: int) -> None:
        """Let nobody open the file for writing any more."""
        with translated_os_errors("sealing a file"):
            os.fchmod(descriptor, READ_ONLY_MODE)

    def write(self, descriptor: int, data: memoryview) -> None:
        """Write all of ``data``, however the kernel splits it."""
        with translated_os_errors("writing a file"):
            while data:
                try:
                    count = os.write(descriptor, data)
                except OSError as error:  # EINVAL: they can't go past the cache, from there or to there
                    if error.errno != errno.EINVAL or not _go_past_cache(descriptor, past=False):
                        raise
                else:
                    data = data[count:]

    def write_past_cache(self, descriptor: int, data: memoryview) -> None:
        """As ``write``, from where the bytes lie to the disk, with no copy of them in the kernel's memory.

        For large pieces of whole ``BLOCK_BYTES``, in memory and in the file. The disk has them on return; a sync
        makes them durable. Where the file system can't do that, they are written as ever.
        """
        went = _go_past_cache(descriptor, past=True)
        try:
            self.write(descriptor, data)
        finally:
            if went:
                _go_past_cache(descriptor, past=False)

    def start_writing_back(self, descriptor: int, offset: int, size_bytes: int) -> None:
        """Hint that these bytes will be synced: the disk can begin while the rest arrives. Never fails."""
        if _sync_file_range is not None:
            _sync_file_range(descriptor, offset, size_bytes, _SYNC_FILE_RANGE_WRITE)

    def sync(self, descriptor: int) -> None:
        """Return once the file's bytes are on the medium. After a failure the file is worth nothing."""
        with translated_os_errors("making a file durable"):
            if _FULL_SYNC is not None:
                fcntl.fcntl(descriptor, _FULL_SYNC)
            else:
                os.fsync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's entries are on the medium."""
        with translated_os_errors(f"making the entries of {folder.name} durable"):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def link(self, source: Path, target: Path) -> bool:
        """Give the file a second name; False if that name exists already."""
        with translated_os_errors(f"linking {target.name}"):
            try:
                os.link(source, target, follow_symlinks=False)
            except FileExistsError:
                return False
            return True

    def rename(self, source: Path, target: Path) -> None:
        """Move the file to a new name, replacing what has it, in one step."""
        with translated_os_errors(f"renaming to {target.name}"):
            source.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove the name if it is there."""
        with translated_os_errors(f"removing {path.name}"):
            path.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Create the folder if it is missing; its parent must exist."""
        with translated_os_errors(f"creating the folder {folder.name}"):
            try:
                folder.mkdir(FOLDER_MODE)
            except FileExistsError:
                return


def _go_past_cache(descriptor: int, *, past: bool) -> bool:
    """Let writes to a file go past the kernel's cache, or through it again; False where nothing has changed."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = flags | _PAST_CACHE if past else flags & ~_PAST_CACHE
    if wanted == flags:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, wanted)
    except OSError:  # a file system that can't
        return False
    return True


def write_durably(files: Files, target: Path, content: bytes, temporary: Path) -> None:
    """Write a whole small file so that after any crash the old or the new content is there, never a mixture."""
    descriptor = files.create(temporary)
    try:
        try:
            files.write(descriptor, memoryview(content))
            files.sync(descriptor)
        finally:
            os.close(descriptor)
        files.rename(temporary, target)
    except BaseException:
        remove_quietly(temporary)
        raise
    files.sync_folder(target.parent)


def remove_quietly(path: Path) -> None:
    """Remove what a failed operation leaves behind; where even that fails, the sweep of temporary files gets it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


@contextmanager
def translated_os_errors(doing: str, *, leave: type[OSError] | None = None) -> Iterator[None]:
    """Turn the operating system's errors into the platform's; but for those of the class ``leave``."""
    try:
        yield
    except OSError as error:
        if leave is not None and isinstance(error, leave):
            raise
        if error.errno in _FULL:
            raise NoSpace(doing, "the disk is full", hint="Free some space; nothing was lost") from error
        raise Unavailable(
            doing,
            f"the file system answered with an error ({error.strerror})",
            hint="Check the disk",
            private=str(error),
        ) from error
