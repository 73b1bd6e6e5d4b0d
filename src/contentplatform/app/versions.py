"""Looks at the versions of what reads strangers' files once for each set of them, not with every command."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from contentplatform.drivers.files import translated_os_errors
from contentplatform.processing.gates import check_versions, installed_program

MARKER: Final = "versions-checked"
_PACKAGES: Final = (
    "contentplatform",
    "av",
    "apsw",
    "imageio-ffmpeg",
    "pi-heif",
    "pypdfium2",
    "pyvips",
    "pyvips-binary",
    "rawpy",
)
"""Those that bring a parser or a database, and the one that judges them."""


def check_once(data_folder: Path) -> None:
    """Check what is installed unless exactly that was found good before.

    Raises:
        ConfigurationInvalid: something must not be used. JobInterrupted: the child that was to tell was killed.
    """
    program = installed_program()
    found = _fingerprint(program)
    marker = data_folder / "run" / MARKER
    with translated_os_errors("checking what is installed"):
        if marker.exists() and marker.read_text() == found:
            return
    check_versions(program)
    with translated_os_errors("noting what is installed"):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(found)


def _fingerprint(program: Path) -> str:
    with translated_os_errors(f"looking at {program.name}"):
        told = program.stat()
    parts = [str(program), str(told.st_size), str(told.st_mtime_ns), *map(_version, _PACKAGES)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
