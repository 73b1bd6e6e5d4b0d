"""Scratch folders: each belongs to a process that lives, or is swept away.

The owner holds a lock on its folder. The kernel lets go of it when the process ends, however it ends, so that nobody
has to guess from times or process ids whether a folder is still in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contentplatform.drivers.files import translated_os_errors

_PREFIX: Final = "job-"


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """An empty folder under ``root`` for as long as the block lasts.

    Raises:
        NoSpace: the disk is full. Unavailable: it can't be made for another reason.
    """
    with translated_os_errors("making a scratch folder"):
        folder, lock = _claim(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(root: Path) -> int:
    """Remove the folders of processes that are gone; returns how many."""
    swept = 0
    for folder in root.glob(f"{_PREFIX}*"):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            swept += 1
    return swept


def _claim(root: Path) -> tuple[Path, int]:
    root.mkdir(parents=True, exist_ok=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        lock = _locked(folder)
        if lock is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)
        # Else a sweep came between the two: it takes the folder for abandoned.


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None if somebody else does, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
