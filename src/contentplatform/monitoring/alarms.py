"""When somebody is told that something is wrong, as data; each alarm notifies the alerts.

Thresholds are of the metric's unit (``metrics.Metric``). The first four are the platform's promise; the rest watches
what would else fail in silence: files that are never taken in, a second copy that stands still, jobs that stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contentplatform.alerts.port import Severity
from contentplatform.monitoring.metrics import Measure, Metric, Statistic


class Missing(StrEnum):
    """What it means that nothing was measured."""

    FINE = "fine"
    """Nothing happened, so nothing went wrong."""
    WRONG = "wrong"
    """There should have been something: silence is the alarm."""


class Comparison(StrEnum):
    """How a value is held against the threshold."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Goes off after ``evaluations`` periods in a row on the wrong side of the threshold."""

    name: str
    measure: Measure
    statistic: Statistic
    threshold: float
    means: str
    """For the person who is told: what it is a sign of, and what to look at."""
    period_seconds: int = 300
    evaluations: int = 1
    comparison: Comparison = Comparison.ABOVE
    missing: Missing = Missing.FINE
    severity: Severity = Severity.WARNING
    share_of: Measure | None = None
    """With it, the value is the percentage that ``measure`` is of this, not ``measure`` itself."""


def _job_failed(function: str, means: str, severity: Severity = Severity.WARNING) -> Alarm:
    return Alarm(
        name=f"{function}-failed",
        measure=Measure(Metric.FUNCTION_ERRORS, function),
        statistic=Statistic.SUM,
        threshold=0,
        means=means,
        severity=severity,
    )


PROMISED: Final = (
    Alarm(
        name="lambda-high-error-rate",
        measure=Measure(Metric.FUNCTION_ERRORS),
        statistic=Statistic.SUM,
        threshold=10,
        evaluations=2,
        means="Functions fail again and again. Their logs say why; `contentplatform list --status failed` names files.",
        severity=Severity.CRITICAL,
    ),
    Alarm(
        name="s3-high-4xx-errors",
        measure=Measure(Metric.BUCKET_4XX, "primary"),
        statistic=Statistic.SUM,
        threshold=100,
        evaluations=2,
        means="Many requests to the primary bucket are refused: a client with wrong rights or keys, or somebody trying "
        "doors. The bucket's access log names who.",
    ),
    Alarm(
        name="cloudfront-high-5xx-errors",
        measure=Measure(Metric.EDGE_5XX_SHARE),
        statistic=Statistic.AVERAGE,
        threshold=5,
        evaluations=2,
        means="The edge answers viewers with server errors. Look at the access log for the paths, and at the origin.",
        severity=Severity.CRITICAL,
    ),
    Alarm(
        name="stepfunctions-executions-failed",
        measure=Measure(Metric.EXECUTIONS_FAILED),
        statistic=Statistic.SUM,
        threshold=5,
        means="Many files can't be processed. `contentplatform list --status failed` lists them.",
    ),
)
"""What section "Monitoring" of the platform's description promises, with its very numbers."""

WATCHED: Final = (
    Alarm(
        name="lambda-error-share",
        measure=Measure(Metric.FUNCTION_ERRORS),
        share_of=Measure(Metric.FUNCTION_INVOCATIONS),
        statistic=Statistic.SUM,
        threshold=5,
        evaluations=2,
        means="More than one call of a function in twenty fails. Their logs say why.",
    ),
    Alarm(
        name="lambda-throttled",
        measure=Measure(Metric.FUNCTION_THROTTLES),
        statistic=Statistic.SUM,
        threshold=10,
        evaluations=2,
        means="The account runs no more functions at once. Nothing is lost, all of it waits: ask for a higher limit.",
    ),
    Alarm(
        name="stepfunctions-executions-timed-out",
        measure=Measure(Metric.EXECUTIONS_TIMED_OUT),
        statistic=Statistic.SUM,
        threshold=0,
        means="A file took longer than any may. `contentplatform executions list` names it.",
    ),
    Alarm(
        name="stepfunctions-executions-aborted",
        measure=Measure(Metric.EXECUTIONS_ABORTED),
        statistic=Statistic.SUM,
        threshold=5,
        means="Many executions were stopped by somebody. If it was nobody you know, look at the account's trail.",
    ),
    Alarm(
        name="uploads-dead",
        measure=Measure(Metric.QUEUE_WAITING, "content-platform-uploads-dead"),
        statistic=Statistic.MAXIMUM,
        threshold=0,
        means="Uploads could not be taken in, however often it was tried. The reason is in the upload handler's log; "
        "send the messages back from the dead-letter queue once it is mended.",
        severity=Severity.CRITICAL,
    ),
    Alarm(
        name="uploads-waiting",
        measure=Measure(Metric.QUEUE_AGE, "content-platform-uploads"),
        statistic=Statistic.MAXIMUM,
        threshold=900,
        evaluations=3,
        means="Uploads wait for more than a quarter of an hour. After a large upload that is only work; else the "
        "upload handler is stuck.",
    ),
    Alarm(
        name="search-index-behind",
        measure=Measure(Metric.FUNCTION_STREAM_AGE, "content-search-indexer"),
        statistic=Statistic.MAXIMUM,
        threshold=300,
        evaluations=2,
        means="Search finds what was there five minutes ago. The indexer's log says what it is stuck at.",
    ),
    Alarm(
        name="replication-behind",
        measure=Measure(Metric.REPLICATION_LATENCY),
        statistic=Statistic.MAXIMUM,
        threshold=900,
        evaluations=3,
        means="The second copy is more than the promised 15 minutes behind.",
        severity=Severity.CRITICAL,
    ),
    Alarm(
        name="replication-failed",
        measure=Measure(Metric.REPLICATION_FAILED),
        statistic=Statistic.SUM,
        threshold=0,
        means="Versions are missing in the second copy, and S3 does not try again by itself. The backup report names "
        "them.",
        severity=Severity.CRITICAL,
    ),
    Alarm(
        name="backup-validator-silent",
        measure=Measure(Metric.FUNCTION_INVOCATIONS, "content-backup-validator"),
        statistic=Statistic.SUM,
        threshold=1,
        comparison=Comparison.BELOW,
        # By the hour, not by the day: a run that starts a minute later than yesterday's is no silence.
        period_seconds=3_600,
        evaluations=26,
        missing=Missing.WRONG,
        means="For 26 hours nobody compared the second copy with the first. Is its schedule on?",
        severity=Severity.CRITICAL,
    ),
    _job_failed(
        "content-backup-validator",
        "The second copy could not be compared with the first, so nobody knows how it is.",
        Severity.CRITICAL,
    ),
    _job_failed("cost-report-generator", "The weekly cost report could not be made or sent. Its log says why."),
    _job_failed("cloudfront-invalidation", "The edge may show what was replaced or deleted, until it expires."),
    Alarm(
        name="calls-failed",
        measure=Measure(Metric.QUEUE_WAITING, "content-platform-failed-calls"),
        statistic=Statistic.MAXIMUM,
        threshold=0,
        means="A job of the clock, a change for the search index or the end of an execution could not be handled, "
        "however often it was tried. The message in the queue names it and says why.",
    ),
)
ALARMS: Final = (*PROMISED, *WATCHED)
