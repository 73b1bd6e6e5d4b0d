"""Disks that fail: the n-th effect on files, or the n-th write or sync inside SQLite, once or from then on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import apsw

from contentplatform.drivers.files import Files, translated_os_errors


class Fault:
    """Strikes at the n-th effect, and at every one after it if ``for_ever``. Nothing strikes before ``arm``."""

    def __init__(self) -> None:
        self.struck = 0
        self._left = 0
        self._for_ever = False

    def arm(self, number: int, *, for_ever: bool) -> None:
        self.struck, self._left, self._for_ever = 0, number, for_ever

    def disarm(self) -> None:
        self._left = 0

    def strikes(self) -> bool:
        """Count one effect; True if it is to fail."""
        if self._left == 0:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self._left = 1 if self._for_ever else 0
        self.struck += 1
        return True


class FaultyFiles(Files):
    """The file system, whose n-th effect fails with a given error; a write that fails has written half before."""

    def __init__(self, fault: Fault, number: int) -> None:
        self._fault = fault
        self._number = number

    def _effect(self) -> None:
        if self._fault.strikes():
            with translated_os_errors("testing"):
                raise OSError(self._number, errno.errorcode[self._number])

    def create(self, path: Path) -> int:
        self._effect()
        return super().create(path)

    def open_staged(self, path: Path, *, create: bool) -> int:
        self._effect()
        return super().open_staged(path, create=create)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._effect()
        super().truncate(descriptor, size_bytes)

    def make_read_only(self, descriptor: int) -> None:
        self._effect()
        super().make_read_only(descriptor)

    def write(self, descriptor: int, data: memoryview) -> None:
        if self._fault.strikes():
            super().write(descriptor, data[: len(data) // 2])
            with translated_os_errors("testing"):
                raise OSError(self._number, errno.errorcode[self._number])
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._effect()
        super().sync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        self._effect()
        super().sync_folder(folder)

    def link(self, source: Path, target: Path) -> bool:
        self._effect()
        return super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._effect()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._effect()
        super().unlink(path)

    def make_folder(self, folder: Path) -> None:
        self._effect()
        super().make_folder(folder)


Answer = Callable[[], Exception]


def sync_error() -> Exception:
    """What a failed sync of a file is to SQLite."""
    error = apsw.IOError("injected")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # documented, not in the stub
    return error


def write_error() -> Exception:
    """What a failed write to a file is to SQLite."""
    error = apsw.IOError("injected")
    error.extendedresult = apsw.SQLITE_IOERR_WRITE  # type: ignore[attr-defined]  # documented, not in the stub
    return error


def full_error() -> Exception:
    """What a full disk is to SQLite."""
    return apsw.FullError("injected")


class FaultyVfs(apsw.VFS):
    """SQLite's own file layer, whose n-th write (or sync) of any file of the database fails."""

    def __init__(self, name: str, fault: Fault, *, syncs: bool, answer: Answer) -> None:
        super().__init__(name, "")
        self.registered_name = name
        self.fault = fault
        self.syncs = syncs
        self.answer = answer

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - theirs
        return FaultyVfsFile(self, name, flags)


class FaultyVfsFile(apsw.VFSFile):
    """A file of that layer."""

    def __init__(self, vfs: FaultyVfs, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - theirs
        if not self._vfs.syncs and self._vfs.fault.strikes():
            super().xWrite(data[: len(data) // 2], offset)
            raise self._vfs.answer()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - theirs
        if self._vfs.syncs and self._vfs.fault.strikes():
            raise self._vfs.answer()
        super().xSync(flags)
