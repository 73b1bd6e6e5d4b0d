"""Asks a scanner of the operator's choice whether there is malware in a file, before anything else opens it.

The scanner is a program that people trust and keep up to date, as ClamAV's ``clamdscan``; none comes along.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contentplatform.drivers import process
from contentplatform.errors import ConfigurationInvalid, ErrorCode, ProcessingFailed, Unavailable

Scan = Callable[[Path], None]
"""Returns if a file is clean; see ``scanner``."""
_DOING: Final = "scanning the file for malware"
_CLEAN, _INFECTED = 0, 1
"""Exit codes: those of ClamAV, and of most others."""


def scanner(command: str, *, timeout_seconds: float) -> Scan | None:
    """A function that has ``command`` look at a file, whose path becomes its last argument; None for no command.

    What it returns raises ProcessingFailed where there is malware in the file, and Unavailable where the scanner does
    not say: what was not scanned is not processed.

    Raises:
        ConfigurationInvalid: the command can't be run.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigurationInvalid("finding the scanner", f"{command!r} is no command: {error}") from error
    if not arguments:
        return None
    if shutil.which(arguments[0]) is None:
        hint = "Install it, or empty processing.scanner"
        raise ConfigurationInvalid("finding the scanner", f"there is no program {arguments[0]}", hint=hint)

    def scan(source: Path) -> None:
        try:
            told = process.run([*arguments, str(source.absolute())], doing=_DOING, timeout_seconds=timeout_seconds)
        except ConfigurationInvalid as error:  # it was there when the service started
            raise Unavailable(_DOING, error.why, hint="Is it being updated?", private=error.private) from error
        if told.exit_code == _INFECTED:
            raise ProcessingFailed(
                _DOING,
                "there is malware in it",
                code=ErrorCode.MALWARE,
                hint="The original is kept, and shown to nobody; delete it, or reprocess it if the scanner was wrong",
                private=told.last_words(),
            )
        if told.exit_code != _CLEAN:
            raise Unavailable(
                _DOING,
                f"the scanner ended with {told.exit_code} and did not say",
                hint="Look at the scanner, then executions retry --failed",
                private=told.last_words(),
            )

    return scan
