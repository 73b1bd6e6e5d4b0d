"""How the command line talks: one JSON document on stdout where asked for, else lines for people; talk on stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from contentplatform import errors

_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")

EXIT_CODES: Final[dict[type[errors.PlatformError], int]] = {
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.InvalidRequest: 5,
    errors.ChecksumMismatch: 6,
    errors.Archived: 7,
    errors.Corrupt: 8,
    errors.ProcessingFailed: 9,
    errors.NoSpace: 11,
    errors.JobInterrupted: 12,
    errors.Unavailable: 10,
    errors.Cancelled: 13,
    errors.ConfigurationInvalid: 14,
    errors.PlatformError: 15,
    errors.Unauthenticated: 16,
    errors.Denied: 17,
    errors.RateLimited: 18,
    errors.QuotaExceeded: 19,
}
EXIT_OK: Final = 0
EXIT_NEEDS_ATTENTION: Final = 1
"""The command did its work and found something: a file that failed, a broken invariant, a failed check."""
EXIT_USAGE: Final = 2
EXIT_UNEXPECTED: Final = 70
"""A fault of the platform that nobody foresaw (sysexits.h, EX_SOFTWARE)."""
EXIT_INTERRUPTED: Final = 130


def exit_code(error: errors.PlatformError) -> int:
    """The exit code of an error: that of its class, or of the nearest class above it."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


class Output:
    """Where a command's answer goes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stderr.isatty() and not as_json

    def line(self, text: str) -> None:
        """A line for people: on stdout, or on stderr where stdout carries JSON."""
        click.echo(text, err=self.as_json)

    def talk(self, text: str) -> None:
        """A line beside the answer: progress, hints, warnings."""
        click.echo(text, err=True)

    def document(self, document: Any) -> None:
        """The answer as JSON; nothing where people read lines."""
        if self.as_json:
            text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
            # A file's name need not be valid Unicode; JSON has to be.
            click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows for people, in columns; nothing where JSON is asked for."""
        if self.as_json:
            return
        cells = [tuple(header), *(tuple(row) for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(padded).rstrip())

    def fail(self, error: errors.PlatformError) -> int:
        """Say an error, in words; returns the exit code."""
        code = exit_code(error)
        self.error(type(error).__name__, error.public, code)
        self.talk("Error: " + "\n".join(shown(line) for line in error.public.split("\n")))
        return code

    def error(self, name: str, message: str, code: int) -> None:
        """An error as JSON; nothing where people read lines."""
        self.document({"error": {"class": name, "message": message, "exit_code": code}})


def shown(text: str) -> str:
    """``text`` with everything escaped that a terminal would not show, or would obey."""
    return "".join(
        character
        if unicodedata.category(character) not in _UNSEEN_CATEGORIES
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def size(size_bytes: int) -> str:
    """A size for people, in powers of 1 000."""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes any size")
