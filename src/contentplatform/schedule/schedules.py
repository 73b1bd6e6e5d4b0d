"""Everything that is done by the clock, as data. All times are UTC, so nothing happens twice or never in spring.

The local home runs these by a thread of its worker; on AWS the templates render one schedule each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contentplatform.errors import ConfigurationInvalid

DEAD_LETTER_QUEUE: Final = "content-platform-failed-calls"
"""Where a run ends that could not be started, or failed however often it was tried."""
_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """One job."""

    name: str
    cron: str
    """Minute, hour, day of the month, month, day of the week (``MON``); as cron has them for sixty years."""
    function: str
    """What is run: its name in ``lambdas.functions``."""
    does: str
    latest_start_seconds: int
    """How late it may still start. Later, the next run does it as well."""
    attempts: int = 3
    """How often starting it is tried. What the run itself does about failures is its own affair."""

    def fields(self) -> tuple[str, str, str, str, str]:
        """The five fields of ``cron``.

        Raises:
            ConfigurationInvalid: there are not five, or both a day of the month and a day of the week.
        """
        found = tuple(self.cron.split())
        doing = f"reading the schedule {self.name}"
        if len(found) != _FIELDS:
            raise ConfigurationInvalid(doing, f"{self.cron!r} has {len(found)} fields, not {_FIELDS}")
        minute, hour, day, month, weekday = found
        if day != "*" and weekday != "*":
            raise ConfigurationInvalid(doing, f"{self.cron!r} names both a day of the month and a day of the week")
        return minute, hour, day, month, weekday


SCHEDULES: Final = (
    Schedule(
        name="content-reconciler-hourly",
        cron="17 * * * *",
        function="content-reconciler",
        does="compares the primary bucket with the catalog and takes in what no event told",
        latest_start_seconds=1_800,
    ),
    Schedule(
        name="content-metadata-export-daily",
        cron="30 0 * * *",
        function="content-metadata-export",
        does="writes the catalog into the analytics bucket, for questions about what there is",
        latest_start_seconds=6 * 3_600,
    ),
    Schedule(
        name="content-backup-validator-daily",
        cron="0 2 * * *",
        function="content-backup-validator",
        does="compares the second copy with the first, version by version, and says so if it lags",
        latest_start_seconds=3_600,
    ),
    Schedule(
        name="cost-report-weekly",
        cron="0 9 * * MON",
        function="cost-report-generator",
        does="reports what the last seven days cost",
        latest_start_seconds=12 * 3_600,
    ),
)
"""No two start in the same minute."""
