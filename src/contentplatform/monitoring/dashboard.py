"""The dashboard, as data: what is shown together, and over which period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contentplatform.monitoring.metrics import Measure, Metric, Statistic
from contentplatform.storage.port import BucketRole

NAME: Final = "ContentPlatformMonitoring"
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture."""

    label: str
    measure: Measure
    statistic: Statistic


@dataclass(frozen=True, slots=True)
class Widget:
    """One picture."""

    title: str
    lines: tuple[Line, ...]
    second_axis: tuple[Line, ...] = ()
    """Lines of another unit, on the right."""
    period_seconds: int = 300


def _total(label: str, metric: Metric, subject: str = "") -> Line:
    return Line(label, Measure(metric, subject), Statistic.SUM)


def _average(label: str, metric: Metric, subject: str = "") -> Line:
    return Line(label, Measure(metric, subject), Statistic.AVERAGE)


_TABLES: Final = ("content-metadata", "content-ledger", "content-search")

WIDGETS: Final = (
    Widget(
        "Functions",
        (
            _total("calls", Metric.FUNCTION_INVOCATIONS),
            _total("errors", Metric.FUNCTION_ERRORS),
            _total("throttled", Metric.FUNCTION_THROTTLES),
        ),
        second_axis=(_average("average duration", Metric.FUNCTION_DURATION),),
    ),
    Widget(
        "Storage",
        tuple(_average(f"bytes, {role}", Metric.BUCKET_SIZE, role) for role in BucketRole),
        second_axis=tuple(_average(f"objects, {role}", Metric.BUCKET_OBJECTS, role) for role in BucketRole),
        # Measured once a day: a finer period would show nothing between.
        period_seconds=_DAY_SECONDS,
    ),
    Widget(
        "Edge: requests",
        (_total("requests", Metric.EDGE_REQUESTS),),
        second_axis=(_total("bytes", Metric.EDGE_BYTES),),
    ),
    Widget(
        "Edge: errors",
        (_average("4xx, percent", Metric.EDGE_4XX_SHARE), _average("5xx, percent", Metric.EDGE_5XX_SHARE)),
    ),
    Widget(
        "Catalog",
        (
            *(_total(f"read units, {table}", Metric.CATALOG_READ_UNITS, table) for table in _TABLES),
            *(_total(f"write units, {table}", Metric.CATALOG_WRITE_UNITS, table) for table in _TABLES),
        ),
        second_axis=(_total("user errors", Metric.CATALOG_USER_ERRORS),),
    ),
    Widget(
        "Workflow",
        (_total("failed", Metric.EXECUTIONS_FAILED), _total("succeeded", Metric.EXECUTIONS_SUCCEEDED)),
        second_axis=(_average("average time", Metric.EXECUTION_TIME),),
    ),
)
