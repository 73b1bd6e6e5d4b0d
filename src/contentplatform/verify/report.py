"""What a verification says: a row a check, and whether the home is healthy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from contentplatform.errors import PlatformError


class Verdict(StrEnum):
    """How a check came out."""

    PASSED = "passed"
    WARNING = "warning"
    """Could not be told, or is not as it should be without being broken."""
    FAILED = "failed"
    NOT_BUILT = "not built"
    """This version of the platform has no such part."""


@dataclass(frozen=True, slots=True)
class Row:
    """One check and its outcome."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(slots=True)
class Report:
    """A whole run."""

    run: str
    rows: list[Row] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """What the run made and could not remove, with its date."""
    kept: list[str] = field(default_factory=list)
    """What the run made and a bucket keeps by its own rule, with its date."""

    @property
    def healthy(self) -> bool:
        """Whether nothing failed and nothing was left behind."""
        return not self.left_over and all(row.verdict is not Verdict.FAILED for row in self.rows)


class FailedCheck(Exception):  # noqa: N818 - private to this module's checks; named for what happened
    """The reason, in words."""


class UnsureCheck(Exception):  # noqa: N818 - same
    """Why it can't be told."""


def judged(name: str, check: Callable[[], str]) -> Row:
    """The outcome of one check, whatever becomes of it."""
    try:
        return Row(name, Verdict.PASSED, check())
    except FailedCheck as error:
        return Row(name, Verdict.FAILED, str(error))
    except UnsureCheck as error:
        return Row(name, Verdict.WARNING, str(error))
    except PlatformError as error:
        return Row(name, Verdict.FAILED, error.public)
