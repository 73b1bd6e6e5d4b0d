"""What ``fsck`` finds: the words that the checks of every room share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    DAMAGE = "damage"
    """Bytes or facts are lost or wrong."""
    LEAK = "leak"
    """Something takes room, or waits, for nobody."""
    WARNING = "warning"
    """Nothing is wrong yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant, at one place."""

    invariant: str
    """``I1`` to ``I25``, as listed in docs/operations.md."""
    subject: str
    """What it is about: a blob, a version, an execution, …"""
    severity: Severity
    message: str
    suggested_repair: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class CheckRun:
    """How the checks are to be run."""

    deep: bool = False
    """Read every byte, not only the structure."""
    repair: bool = False
    """Mend what can be mended without a decision: orphans, stale leases, missing renditions."""


Check = Callable[[CheckRun], Iterable[Finding]]
"""A check yields what it finds; it raises only if it could not look."""


def run_checks(checks: Iterable[Check], run: CheckRun) -> Iterator[Finding]:
    """Run every check, one after the other."""
    for check in checks:
        yield from check(run)
