"""Secrets of a data folder: in files that only its owner can read, made durable before anything is signed with them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from contentplatform.drivers.files import Files, remove_quietly, translated_os_errors

_MODE: Final = 0o400


def first_secret(path: Path, text: str, unique: str) -> str:
    """What the file holds; where there is none it is made of ``text``. Whoever makes it at the same moment gets one.

    Args:
        path: of the file.
        text: ASCII.
        unique: names the temporary file.
    """
    temporary = _written(path, text, unique)
    try:
        with suppress(FileExistsError), translated_os_errors(f"making {path.name}", leave=FileExistsError):
            path.hardlink_to(temporary)
    finally:
        remove_quietly(temporary)
    Files().sync_folder(path.parent)
    return path.read_text("ascii")


def replace_secret(path: Path, text: str, unique: str) -> None:
    """Let the file hold ``text`` from now on; the other arguments as above."""
    temporary = _written(path, text, unique)
    with translated_os_errors(f"replacing {path.name}"):
        temporary.replace(path)
    Files().sync_folder(path.parent)


def _written(path: Path, text: str, unique: str) -> Path:
    temporary = path.with_name(f".{path.name}.{unique}")
    with translated_os_errors(f"writing {path.name}"):
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _MODE)
        try:
            os.write(descriptor, text.encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return temporary
