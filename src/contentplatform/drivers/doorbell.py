"""A doorbell between processes of one machine: ring all who listen, wait for a ring, tell who is still alive.

Each listener has a FIFO of its own in one folder. Ringing writes one byte to every FIFO; a FIFO without a reader
belongs to a process that is gone, killed or not, because the kernel closed it. (Datagram sockets would do the same,
but their paths end at 108 bytes, and a data folder's need not.) A ring may be lost: it is a hint, never the truth.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Final

from contentplatform.errors import ConfigurationInvalid

_SUFFIX: Final = ".bell"
_READ_BYTES: Final = 4096


class Listener:
    """One who waits for rings. Close it when nobody waits any more."""

    def __init__(self, path: Path) -> None:
        hidden = path.with_suffix(".new")
        os.mkfifo(hidden, 0o600)
        # Opened for writing too, so that it never comes to its end while nobody rings.
        self._descriptor = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        self._path = path
        # A bell that others can see has a reader: without one, its process is dead for certain.
        hidden.rename(path)

    def wait(self, timeout_seconds: float) -> bytes:
        """The rings since the last call, a byte each; empty when the time was over."""
        readable, _, _ = select.select([self._descriptor], [], [], max(timeout_seconds, 0.0))
        return os.read(self._descriptor, _READ_BYTES) if readable else b""

    def ring(self, signal: bytes) -> None:
        """Ring only this one, from another thread of the same process."""
        with suppress(BlockingIOError):  # full of rings: it will wake anyway
            os.write(self._descriptor, signal)

    def rename(self, name: str) -> bool:
        """Go by another name from now on; who waits goes on waiting. False: somebody removed the bell."""
        path = self._path.with_name(name + _SUFFIX)
        try:
            self._path.rename(path)
        except FileNotFoundError:
            return False
        self._path = path
        return True

    def close(self) -> None:
        """Stop listening. Call it once."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Doorbell:
    """The bells of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listen(self, name: str) -> Listener:
        """Hang up a bell under ``name``, which nobody else uses.

        Raises:
            ConfigurationInvalid: the file system of the folder has no FIFOs.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Listener(self._path(name))
        except OSError as error:
            raise ConfigurationInvalid(
                f"listening in {self._folder}",
                f"no FIFO can be made there ({error.strerror})",
                hint="Choose a --data folder on an ordinary local disk",
            ) from error

    def ring(self, signal: bytes) -> None:
        """Ring every bell with one byte; never waits, never fails. Bells of the dead are taken down."""
        try:
            entries = os.listdir(self._folder)  # noqa: PTH208 - twice as quick as iterdir, and it is in every start
        except OSError:
            return
        for entry in entries:
            if entry.endswith(_SUFFIX):
                self._ring(self._folder / entry, signal)

    def is_dead(self, name: str) -> bool:
        """Whether the listener ``name`` is certainly gone. False also where it can't be told."""
        path = self._path(name)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            return error.errno in {errno.ENXIO, errno.ENOENT} and self._folder.is_dir()
        return False

    def _ring(self, path: Path, signal: bytes) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:
                path.unlink(missing_ok=True)
            return
        try:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(descriptor, signal)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / (name + _SUFFIX)
