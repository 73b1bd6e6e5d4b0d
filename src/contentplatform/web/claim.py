"""Who serves a data folder: one process a part, found by everybody else, and gone with the process however it ends."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from contentplatform.drivers.files import FOLDER_MODE, translated_os_errors
from contentplatform.errors import ConfigurationInvalid

RUN_FOLDER_NAME: Final = "run"


class Part(StrEnum):
    """What ``serve`` can do; each part of a data folder may be a process of its own."""

    APP = "app"
    """API, uploads, console, share pages."""
    EDGE = "edge"
    """Public renditions, originals under ``raw/``, transformed images."""
    WORKER = "worker"
    """What makes renditions, and keeps the house."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that serves."""

    process_id: int
    url: str


class Claim:
    """The right to serve one part of a data folder; a context manager.

    It is a lock on a file, which the kernel takes away with the process: nothing has to be cleaned up after a crash.
    """

    def __init__(self, folder: Path, part: Part) -> None:
        self._path = _path(folder, part)
        self._part = part
        self._descriptor = -1

    def __enter__(self) -> Self:
        with translated_os_errors(f"claiming {self._path.parent}"):
            self._path.parent.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            self._path.parent.mkdir(FOLDER_MODE, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            there = _read(self._path)
            where = f" (process {there.process_id}, {there.url})" if there else ""
            raise ConfigurationInvalid(
                f"serving {self._path.parent.parent}",
                f"another process serves its {self._part} already{where}",
                hint="Stop that one first, or choose another folder with --data",
            ) from error
        return self

    def tell(self, url: str) -> None:
        """Let others know where this process answers."""
        told = json.dumps({"process_id": os.getpid(), "url": url}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, told, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def serving(folder: Path, part: Part = Part.APP) -> Serving | None:
    """The process that serves a part of a data folder; None: nobody does."""
    path = _path(folder, part)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    finally:
        os.close(descriptor)
    return None


def _path(folder: Path, part: Part) -> Path:
    return folder / RUN_FOLDER_NAME / f"serve-{part}.lock"


def _read(path: Path) -> Serving | None:
    try:
        told = json.loads(path.read_text("utf-8"))
        return Serving(int(told["process_id"]), str(told["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
