"""Alarms and the dashboard on CloudWatch, rendered from the rooms' data.

Here, and only here, a metric of the platform gets CloudWatch's name, its unit and its dimensions. A metric without
its dimensions is no error there: it is another metric, which never has a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Annotations, Stack, aws_cloudwatch
from constructs import Construct

from contentplatform.monitoring.alarms import ALARMS, Alarm, Comparison, Missing
from contentplatform.monitoring.dashboard import NAME, WIDGETS, Line, Widget
from contentplatform.monitoring.metrics import Measure, Metric, Statistic
from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import REPLICATION, REQUEST_METRICS_NAME
from contentplatform_infra.names import Names
from contentplatform_infra.rights import machine_arn

EDGE_REGION: Final = "us-east-1"
"""Where CloudFront's metrics are, whatever the region of everything else."""
_MILLISECONDS: Final = 1_000
_STATISTIC: Final = {Statistic.SUM: "Sum", Statistic.AVERAGE: "Average", Statistic.MAXIMUM: "Maximum"}
_COMPARISON: Final = {Comparison.ABOVE: "GreaterThanThreshold", Comparison.BELOW: "LessThanThreshold"}
_MISSING: Final = {Missing.FINE: "notBreaching", Missing.WRONG: "breaching"}
_WIDTH: Final = 12
_HEIGHT: Final = 6
_COLUMNS: Final = 2


@dataclass(frozen=True, slots=True)
class CloudMetric:
    """A metric as CloudWatch names it."""

    namespace: str
    name: str
    per_unit: int = 1
    """How many of CloudWatch's units are one of ours."""


METRICS: Final[Mapping[Metric, CloudMetric]] = {
    Metric.FUNCTION_INVOCATIONS: CloudMetric("AWS/Lambda", "Invocations"),
    Metric.FUNCTION_ERRORS: CloudMetric("AWS/Lambda", "Errors"),
    Metric.FUNCTION_DURATION: CloudMetric("AWS/Lambda", "Duration", _MILLISECONDS),
    Metric.FUNCTION_THROTTLES: CloudMetric("AWS/Lambda", "Throttles"),
    Metric.FUNCTION_STREAM_AGE: CloudMetric("AWS/Lambda", "IteratorAge", _MILLISECONDS),
    Metric.BUCKET_SIZE: CloudMetric("AWS/S3", "BucketSizeBytes"),
    Metric.BUCKET_OBJECTS: CloudMetric("AWS/S3", "NumberOfObjects"),
    Metric.BUCKET_4XX: CloudMetric("AWS/S3", "4xxErrors"),
    Metric.REPLICATION_LATENCY: CloudMetric("AWS/S3", "ReplicationLatency"),
    Metric.REPLICATION_FAILED: CloudMetric("AWS/S3", "OperationsFailedReplication"),
    Metric.EDGE_REQUESTS: CloudMetric("AWS/CloudFront", "Requests"),
    Metric.EDGE_BYTES: CloudMetric("AWS/CloudFront", "BytesDownloaded"),
    Metric.EDGE_4XX_SHARE: CloudMetric("AWS/CloudFront", "4xxErrorRate"),
    Metric.EDGE_5XX_SHARE: CloudMetric("AWS/CloudFront", "5xxErrorRate"),
    Metric.CATALOG_READ_UNITS: CloudMetric("AWS/DynamoDB", "ConsumedReadCapacityUnits"),
    Metric.CATALOG_WRITE_UNITS: CloudMetric("AWS/DynamoDB", "ConsumedWriteCapacityUnits"),
    Metric.CATALOG_USER_ERRORS: CloudMetric("AWS/DynamoDB", "UserErrors"),
    Metric.EXECUTIONS_SUCCEEDED: CloudMetric("AWS/States", "ExecutionsSucceeded"),
    Metric.EXECUTIONS_FAILED: CloudMetric("AWS/States", "ExecutionsFailed"),
    Metric.EXECUTIONS_TIMED_OUT: CloudMetric("AWS/States", "ExecutionsTimedOut"),
    Metric.EXECUTIONS_ABORTED: CloudMetric("AWS/States", "ExecutionsAborted"),
    Metric.EXECUTION_TIME: CloudMetric("AWS/States", "ExecutionTime", _MILLISECONDS),
    Metric.QUEUE_WAITING: CloudMetric("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    Metric.QUEUE_AGE: CloudMetric("AWS/SQS", "ApproximateAgeOfOldestMessage"),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What metrics are about: names, and the edge, whose id only CloudFormation knows."""

    names: Names
    distribution_id: str

    def dimensions(self, measure: Measure) -> dict[str, str]:
        """The dimensions under which CloudWatch keeps a measure."""
        names, subject = self.names, measure.subject
        match METRICS[measure.metric].namespace:
            case "AWS/Lambda":
                return {"FunctionName": subject} if subject else {}  # without, it is the sum of all functions
            case "AWS/CloudFront":
                return {"DistributionId": self.distribution_id, "Region": "Global"}
            case "AWS/States":
                return {"StateMachineArn": machine_arn(names)}
            case "AWS/SQS":
                return {"QueueName": subject}
            case "AWS/DynamoDB":
                return {"TableName": subject} if subject else {}  # user errors are the account's, never a table's
            case _:
                return self._of_s3(measure)

    def _of_s3(self, measure: Measure) -> dict[str, str]:
        names = self.names
        match measure.metric:
            case Metric.REPLICATION_LATENCY | Metric.REPLICATION_FAILED:
                return {
                    "SourceBucket": names.bucket(REPLICATION.source),
                    "DestinationBucket": names.bucket(REPLICATION.destination),
                    "RuleId": REPLICATION.name,
                }
            case Metric.BUCKET_4XX:
                return {"BucketName": names.bucket(BucketRole(measure.subject)), "FilterId": REQUEST_METRICS_NAME}
            case _:
                return {"BucketName": names.bucket(BucketRole(measure.subject)), "StorageType": "AllStorageTypes"}

    def region(self, measure: Measure) -> str:
        """Where CloudWatch keeps a measure."""
        if METRICS[measure.metric].namespace == "AWS/CloudFront":
            return EDGE_REGION
        if measure.metric in {Metric.BUCKET_SIZE, Metric.BUCKET_OBJECTS}:
            return self.names.region_of(BucketRole(measure.subject))
        return self.names.region


# -- alarms ------------------------------------------------------------------------------------------------------


class Alarms(Construct):
    """The alarms on single metrics."""

    def __init__(self, scope: Construct, construct_id: str, watched: Watched, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        for alarm in ALARMS:
            if alarm.share_of is not None:
                continue
            if watched.region(alarm.measure) != Stack.of(self).region:
                Annotations.of(self).add_info(
                    f"{alarm.name} is left out: CloudWatch keeps its metric in {watched.region(alarm.measure)}"
                )
                continue
            metric = METRICS[alarm.measure.metric]
            aws_cloudwatch.CfnAlarm(
                self,
                alarm.name,
                **_shared(alarm, topic_arn),
                namespace=metric.namespace,
                metric_name=metric.name,
                dimensions=[
                    aws_cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
                    for name, value in watched.dimensions(alarm.measure).items()
                ]
                or None,
                statistic=_STATISTIC[alarm.statistic],
                period=alarm.period_seconds,
                threshold=alarm.threshold * metric.per_unit,
            )


class ShareAlarms(Construct):
    """The alarms on the share that one metric is of another. None of them needs the edge."""

    def __init__(self, scope: Construct, construct_id: str, names: Names, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        watched = Watched(names, distribution_id="")
        for alarm in ALARMS:
            if alarm.share_of is None:
                continue
            aws_cloudwatch.CfnAlarm(
                self,
                alarm.name,
                **_shared(alarm, topic_arn),
                threshold=alarm.threshold,
                metrics=[
                    aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
                        id="share",
                        label="percent",
                        expression="IF(whole > 0, 100 * part / whole, 0)",
                        return_data=True,
                    ),
                    _query("part", alarm.measure, alarm, watched),
                    _query("whole", alarm.share_of, alarm, watched),
                ],
            )


def _shared(alarm: Alarm, topic_arn: str) -> dict[str, Any]:
    return {
        "alarm_name": alarm.name,
        "alarm_description": f"[{alarm.severity}] {alarm.means}",
        "comparison_operator": _COMPARISON[alarm.comparison],
        "evaluation_periods": alarm.evaluations,
        "datapoints_to_alarm": alarm.evaluations,
        "treat_missing_data": _MISSING[alarm.missing],
        "actions_enabled": True,
        "alarm_actions": [topic_arn],
    }


def _query(
    identifier: str, measure: Measure, alarm: Alarm, watched: Watched
) -> aws_cloudwatch.CfnAlarm.MetricDataQueryProperty:
    metric = METRICS[measure.metric]
    return aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
        id=identifier,
        return_data=False,
        metric_stat=aws_cloudwatch.CfnAlarm.MetricStatProperty(
            metric=aws_cloudwatch.CfnAlarm.MetricProperty(
                namespace=metric.namespace,
                metric_name=metric.name,
                dimensions=[
                    aws_cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
                    for name, value in watched.dimensions(measure).items()
                ]
                or None,
            ),
            period=alarm.period_seconds,
            stat=_STATISTIC[alarm.statistic],
        ),
    )


# -- dashboard ---------------------------------------------------------------------------------------------------


class Dashboard(Construct):
    """One dashboard; an account's first three cost nothing."""

    def __init__(self, scope: Construct, construct_id: str, watched: Watched) -> None:
        super().__init__(scope, construct_id)
        body = {
            "widgets": [
                {
                    "type": "metric",
                    "x": number % _COLUMNS * _WIDTH,
                    "y": number // _COLUMNS * _HEIGHT,
                    "width": _WIDTH,
                    "height": _HEIGHT,
                    "properties": _properties(widget, watched),
                }
                for number, widget in enumerate(WIDGETS)
            ]
        }
        aws_cloudwatch.CfnDashboard(
            self,
            "Dashboard",
            dashboard_name=NAME,
            dashboard_body=Stack.of(self).to_json_string(body),
        )


def _properties(widget: Widget, watched: Watched) -> dict[str, Any]:
    return {
        "title": widget.title,
        "view": "timeSeries",
        "region": watched.names.region,
        "period": widget.period_seconds,
        "metrics": [
            *_drawn(widget, widget.lines, "left", watched),
            *_drawn(widget, widget.second_axis, "right", watched),
        ],
    }


def _drawn(widget: Widget, lines: tuple[Line, ...], side: str, watched: Watched) -> Iterator[list[Any]]:
    for line in lines:
        metric = METRICS[line.measure.metric]
        shown = {
            "label": line.label,
            "region": watched.region(line.measure),
            "yAxis": side,
            "stat": _STATISTIC[line.statistic],
            "period": widget.period_seconds,
        }
        dimensions = watched.dimensions(line.measure)
        if line.measure.metric is Metric.BUCKET_SIZE:
            # CloudWatch has the bytes by storage class only; what a bucket holds is their sum.
            bucket = dimensions["BucketName"]
            which = f'{{AWS/S3,BucketName,StorageType}} MetricName="{metric.name}" BucketName="{bucket}"'
            expression = f"SUM(SEARCH('{which}', 'Average', {widget.period_seconds}))"
            del shown["stat"]
            yield [{"expression": expression, **shown}]
        else:
            yield [metric.namespace, metric.name, *(part for pair in dimensions.items() for part in pair), shown]
