"""What is measured, in words that both homes know; each home says where its figures come from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """A figure, over time. The unit stands in the comment."""

    FUNCTION_INVOCATIONS = "function-invocations"  # count
    FUNCTION_ERRORS = "function-errors"  # count
    FUNCTION_DURATION = "function-duration"  # seconds
    FUNCTION_THROTTLES = "function-throttles"  # count
    FUNCTION_STREAM_AGE = "function-stream-age"  # seconds: age of the oldest change that it has not taken in
    BUCKET_SIZE = "bucket-size"  # bytes; once a day
    BUCKET_OBJECTS = "bucket-objects"  # count; once a day
    BUCKET_4XX = "bucket-4xx"  # count
    REPLICATION_LATENCY = "replication-latency"  # seconds
    REPLICATION_FAILED = "replication-failed"  # count
    EDGE_REQUESTS = "edge-requests"  # count
    EDGE_BYTES = "edge-bytes"  # bytes sent to viewers
    EDGE_4XX_SHARE = "edge-4xx-share"  # percent of requests
    EDGE_5XX_SHARE = "edge-5xx-share"  # percent of requests
    CATALOG_READ_UNITS = "catalog-read-units"  # count
    CATALOG_WRITE_UNITS = "catalog-write-units"  # count
    CATALOG_USER_ERRORS = "catalog-user-errors"  # count
    EXECUTIONS_SUCCEEDED = "executions-succeeded"  # count
    EXECUTIONS_FAILED = "executions-failed"  # count
    EXECUTIONS_TIMED_OUT = "executions-timed-out"  # count
    EXECUTIONS_ABORTED = "executions-aborted"  # count
    EXECUTION_TIME = "execution-time"  # seconds
    QUEUE_WAITING = "queue-waiting"  # count of messages
    QUEUE_AGE = "queue-age"  # seconds: age of the oldest message


class Statistic(StrEnum):
    """How the figures of a period become one."""

    SUM = "sum"
    AVERAGE = "average"
    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of one thing."""

    metric: Metric
    subject: str = ""
    """A function, a bucket's role, a table or a queue by its name; empty: all functions, or the only edge, state
    machine or replication there is."""
