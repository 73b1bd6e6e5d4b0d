"""The ready questions: SQL that Athena and DuckDB both understand, and what has to be filled in.

A query names its parameters as ``:first_day``. Their values are SQL themselves, made here, so nothing from outside
reaches a query's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Final

from contentplatform.analytics.tables import (
    CLOUDFRONT_LOGS,
    CONTENT_METADATA,
    COST_AND_USAGE,
    Table,
)

_PARAMETER: Final = re.compile(r"(?<!:):([a-z_]+)\b")
PERIOD_DAYS: Final = 30
"""How far back a saved query looks."""


@dataclass(frozen=True, slots=True)
class Question:
    """One ready question; its text is ``queries/<name>.sql``."""

    name: str
    asks: str
    table: Table

    def text(self) -> str:
        """The SQL, with its parameters."""
        return resources.files("contentplatform.analytics").joinpath("queries", f"{self.name}.sql").read_text("utf-8")

    def parameters(self) -> frozenset[str]:
        """Names of the parameters that the text has."""
        return frozenset(_PARAMETER.findall(self.text()))

    def sql(self, values: Mapping[str, str]) -> str:
        """The SQL with the values, which are SQL themselves, filled in. A value that is missing is a KeyError."""
        return _PARAMETER.sub(lambda found: values[found[1]], self.text())


QUESTIONS: Final = (
    Question("most_requested_files", "Which files are asked for most?", CLOUDFRONT_LOGS),
    Question(
        "bytes_and_hit_ratio_per_day",
        "How much does the edge send a day, and how much of it from its cache?",
        CLOUDFRONT_LOGS,
    ),
    Question("errors_by_path", "What do viewers ask for in vain?", CLOUDFRONT_LOGS),
    Question("top_referrers", "Which sites show our files?", CLOUDFRONT_LOGS),
    Question("countries", "Where are the viewers?", CLOUDFRONT_LOGS),
    Question(
        "storage_by_type_tier_age", "What fills the storage: which types, how old, in which class?", CONTENT_METADATA
    ),
    Question("processing_times", "How long does it take until a file is ready?", CONTENT_METADATA),
    Question("processing_failures", "What can't be processed, and why?", CONTENT_METADATA),
    Question("daily_cost", "What did each service cost, day by day?", COST_AND_USAGE),
)
BY_NAME: Final = {question.name: question for question in QUESTIONS}


def values_for(first_day: date, last_day: date, export_day: date) -> dict[str, str]:
    """Values for a period, both days included, and for the catalog as it was exported on ``export_day``."""
    return {
        "first_day": f"'{first_day:%Y/%m/%d}'",
        "last_day": f"'{last_day:%Y/%m/%d}'",
        "first_date": f"DATE '{first_day.isoformat()}'",
        "last_date": f"DATE '{last_day.isoformat()}'",
        "first_month": f"'{first_day:%Y-%m}'",
        "last_month": f"'{last_day:%Y-%m}'",
        "export_year": str(export_day.year),
        "export_month": str(export_day.month),
        "export_day": str(export_day.day),
        "export_date": f"DATE '{export_day.isoformat()}'",
    }


def values_of_today() -> dict[str, str]:
    """Values that Athena works out itself when a saved query runs: the last 30 days, and today's export.

    The export runs half an hour after midnight; an hour later than that, "today" is a day that has one.
    """
    first = f"(current_date - INTERVAL '{PERIOD_DAYS}' DAY)"
    exported = "(current_timestamp AT TIME ZONE 'UTC' - INTERVAL '2' HOUR)"
    return {
        "first_day": f"date_format({first}, '%Y/%m/%d')",
        "last_day": "date_format(current_date, '%Y/%m/%d')",
        "first_date": first,
        "last_date": "current_date",
        "first_month": f"date_format({first}, '%Y-%m')",
        "last_month": "date_format(current_date, '%Y-%m')",
        "export_year": f"year({exported})",
        "export_month": f"month({exported})",
        "export_day": f"day({exported})",
        "export_date": f"CAST({exported} AS DATE)",
    }
