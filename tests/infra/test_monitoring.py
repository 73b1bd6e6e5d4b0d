"""Alarms, dashboard, topic and schedules as CloudFormation gets them: every property, and every dimension."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from contentplatform.alerts.port import Severity
from contentplatform.catalog.tables import TABLES
from contentplatform.errors import ConfigurationInvalid
from contentplatform.ingest.queue import UPLOADS
from contentplatform.lambdas.functions import BY_NAME
from contentplatform.monitoring.alarms import ALARMS, PROMISED
from contentplatform.monitoring.dashboard import WIDGETS
from contentplatform.monitoring.metrics import Measure, Metric
from contentplatform.schedule.schedules import DEAD_LETTER_QUEUE, SCHEDULES, Schedule
from contentplatform.storage.port import BucketRole
from contentplatform_infra.rights import FAILED_CALLS_QUEUE_NAME
from infra.synthesis import ACCOUNT_ID, SUFFIX, Templates, named, resources

TOPIC: Final = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:backup-alerts"
MACHINE: Final = f"arn:aws:states:us-east-1:{ACCOUNT_ID}:stateMachine:content-processing-workflow"
PRIMARY: Final = f"content-platform-primary-{SUFFIX}"
BACKUP: Final = f"content-platform-backup-{SUFFIX}"
DISTRIBUTION: Final = "the distribution"
EDGE: Final = {"DistributionId": DISTRIBUTION, "Region": "Global"}
REPLICATION: Final = {
    "SourceBucket": PRIMARY,
    "DestinationBucket": BACKUP,
    "RuleId": "disaster-recovery-replication",
}


def alarm(templates: Templates, name: str) -> dict[str, Any]:
    """One alarm's properties."""
    return named(templates, "AWS::CloudWatch::Alarm", AlarmName=name)


def dimensions(given: list[Mapping[str, Any]] | None) -> dict[str, str]:
    """Dimensions by their names; a reference to the distribution in words."""
    return {entry["Name"]: entry["Value"] if isinstance(entry["Value"], str) else DISTRIBUTION for entry in given or []}


# -- alarms --------------------------------------------------------------------------------------------------------


EXPECTED: Final = [
    ("lambda-high-error-rate", "AWS/Lambda Errors", {}, "Sum", 300, ">", 10, 2, "notBreaching"),
    (
        "s3-high-4xx-errors",
        "AWS/S3 4xxErrors",
        {"BucketName": PRIMARY, "FilterId": "EntireBucket"},
        "Sum",
        300,
        ">",
        100,
        2,
        "notBreaching",
    ),
    ("cloudfront-high-5xx-errors", "AWS/CloudFront 5xxErrorRate", EDGE, "Average", 300, ">", 5, 2, "notBreaching"),
    (
        "stepfunctions-executions-failed",
        "AWS/States ExecutionsFailed",
        {"StateMachineArn": MACHINE},
        "Sum",
        300,
        ">",
        5,
        1,
        "notBreaching",
    ),
    (
        "stepfunctions-executions-timed-out",
        "AWS/States ExecutionsTimedOut",
        {"StateMachineArn": MACHINE},
        "Sum",
        300,
        ">",
        0,
        1,
        "notBreaching",
    ),
    (
        "stepfunctions-executions-aborted",
        "AWS/States ExecutionsAborted",
        {"StateMachineArn": MACHINE},
        "Sum",
        300,
        ">",
        5,
        1,
        "notBreaching",
    ),
    ("lambda-throttled", "AWS/Lambda Throttles", {}, "Sum", 300, ">", 10, 2, "notBreaching"),
    (
        "uploads-dead",
        "AWS/SQS ApproximateNumberOfMessagesVisible",
        {"QueueName": "content-platform-uploads-dead"},
        "Maximum",
        300,
        ">",
        0,
        1,
        "notBreaching",
    ),
    (
        "uploads-waiting",
        "AWS/SQS ApproximateAgeOfOldestMessage",
        {"QueueName": "content-platform-uploads"},
        "Maximum",
        300,
        ">",
        900,
        3,
        "notBreaching",
    ),
    (
        "calls-failed",
        "AWS/SQS ApproximateNumberOfMessagesVisible",
        {"QueueName": "content-platform-failed-calls"},
        "Maximum",
        300,
        ">",
        0,
        1,
        "notBreaching",
    ),
    (
        "search-index-behind",
        "AWS/Lambda IteratorAge",
        {"FunctionName": "content-search-indexer"},
        "Maximum",
        300,
        ">",
        300_000,
        2,
        "notBreaching",
    ),
    ("replication-behind", "AWS/S3 ReplicationLatency", REPLICATION, "Maximum", 300, ">", 900, 3, "notBreaching"),
    (
        "replication-failed",
        "AWS/S3 OperationsFailedReplication",
        REPLICATION,
        "Sum",
        300,
        ">",
        0,
        1,
        "notBreaching",
    ),
    (
        "backup-validator-silent",
        "AWS/Lambda Invocations",
        {"FunctionName": "content-backup-validator"},
        "Sum",
        3_600,
        "<",
        1,
        26,
        "breaching",
    ),
    *(
        (
            f"{function}-failed",
            "AWS/Lambda Errors",
            {"FunctionName": function},
            "Sum",
            300,
            ">",
            0,
            1,
            "notBreaching",
        )
        for function in ("content-backup-validator", "cost-report-generator", "cloudfront-invalidation")
    ),
]
"""Name; metric, dimensions, statistic, period, comparison, threshold, periods in a row, and what silence means."""
WORDS: Final = {"GreaterThanThreshold": ">", "LessThanThreshold": "<"}


@pytest.mark.parametrize(("name", "expected"), [(name, expected) for name, *expected in EXPECTED])
def test_an_alarm_watches_the_metric_where_cloudwatch_keeps_it(
    templates: Templates, name: str, expected: list[Any]
) -> None:
    held = alarm(templates, name)
    assert [
        f"{held['Namespace']} {held['MetricName']}",
        dimensions(held.get("Dimensions")),
        held["Statistic"],
        held["Period"],
        WORDS[held["ComparisonOperator"]],
        held["Threshold"],
        held["EvaluationPeriods"],
        held["TreatMissingData"],
    ] == expected
    assert held["DatapointsToAlarm"] == held["EvaluationPeriods"]


def test_no_alarm_is_forgotten_above() -> None:
    assert {name for name, *_ in EXPECTED} == {one.name for one in ALARMS if one.share_of is None}


def test_the_share_of_errors_is_computed_and_stands_where_the_emulator_does_not_see_it(templates: Templates) -> None:
    held = alarm(templates, "lambda-error-share")
    share, part, whole = held["Metrics"]
    assert share["Expression"] == "IF(whole > 0, 100 * part / whole, 0)"
    assert (share["ReturnData"], part["ReturnData"], whole["ReturnData"]) == (True, False, False)
    assert (part["Id"], part["MetricStat"]["Metric"]["MetricName"]) == ("part", "Errors")
    assert (whole["Id"], whole["MetricStat"]["Metric"]["MetricName"]) == ("whole", "Invocations")
    for query in (part, whole):
        assert query["MetricStat"]["Metric"]["Namespace"] == "AWS/Lambda"
        assert (query["MetricStat"]["Period"], query["MetricStat"]["Stat"]) == (300, "Sum")
    assert (held["Threshold"], held["EvaluationPeriods"]) == (5, 2)
    in_main = [held["AlarmName"] for _, held in resources(templates, "AWS::CloudWatch::Alarm", "ContentPlatform")]
    assert "lambda-error-share" not in in_main


def test_every_alarm_of_the_data_is_there_and_tells_the_topic(templates: Templates) -> None:
    found = [held for _, held in resources(templates, "AWS::CloudWatch::Alarm")]
    assert sorted(held["AlarmName"] for held in found) == sorted(alarm.name for alarm in ALARMS)
    for held in found:
        assert held["AlarmActions"] == [TOPIC]
        assert held["ActionsEnabled"] is True
        assert re.match(r"\[(info|warning|critical)\] [A-Z]", held["AlarmDescription"])


def test_alarms_cost_no_more_than_a_dollar(templates: Templates) -> None:
    metrics = sum(
        len([query for query in held.get("Metrics", [{}]) if "Expression" not in query])
        for _, held in resources(templates, "AWS::CloudWatch::Alarm")
    )
    assert (metrics - 10) * 0.10 <= 1.00


def test_the_promise_is_the_promise() -> None:
    assert [alarm.name for alarm in PROMISED] == [
        "lambda-high-error-rate",
        "s3-high-4xx-errors",
        "cloudfront-high-5xx-errors",
        "stepfunctions-executions-failed",
    ]


def subjects(metrics: tuple[str, ...]) -> set[str]:
    """What the data watch of some metrics."""
    measures = [one for alarm in ALARMS for one in (alarm.measure, alarm.share_of) if one is not None]
    measures += [line.measure for widget in WIDGETS for line in (*widget.lines, *widget.second_axis)]
    return {one.subject for one in measures if one.metric.value.startswith(metrics)} - {""}


def test_what_is_watched_exists() -> None:
    assert subjects(("function-",)) <= set(BY_NAME)
    assert subjects(("bucket-",)) <= set(BucketRole)
    assert subjects(("catalog-",)) == {table.name for table in TABLES}
    assert subjects(("queue-",)) == {UPLOADS.name, UPLOADS.dead_letter_name, FAILED_CALLS_QUEUE_NAME}


def test_queues_that_are_watched_are_made(templates: Templates) -> None:
    made = {held["QueueName"] for _, held in resources(templates, "AWS::SQS::Queue")}
    assert subjects(("queue-",)) <= made


def test_an_alarm_names_what_to_look_at_and_how_urgent_it_is() -> None:
    assert all(len(alarm.means) > 40 for alarm in ALARMS)
    assert {alarm.severity for alarm in ALARMS} == {Severity.WARNING, Severity.CRITICAL}


def test_no_window_is_longer_than_cloudwatch_looks_back() -> None:
    for one in ALARMS:
        longest = 7 * 86_400 if one.period_seconds >= 3_600 else 86_400
        assert one.period_seconds * one.evaluations <= longest, one.name


def test_requests_are_counted_under_the_filter_that_the_alarm_names(templates: Templates) -> None:
    bucket = named(templates, "AWS::S3::Bucket", BucketName=PRIMARY)
    held = alarm(templates, "s3-high-4xx-errors")
    assert {"Id": dimensions(held["Dimensions"])["FilterId"]} in bucket["MetricsConfigurations"]


def test_elsewhere_the_edge_s_alarm_is_left_out_because_its_metric_is_not_there(
    templates_for: Callable[..., Templates],
) -> None:
    templates = templates_for(aws={"region": "eu-central-1"})
    names = {held["AlarmName"] for _, held in resources(templates, "AWS::CloudWatch::Alarm")}
    assert names == {one.name for one in ALARMS} - {"cloudfront-high-5xx-errors"}


# -- dashboard -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def drawn(templates: Templates) -> dict[str, Any]:
    """The dashboard's widgets by their titles."""
    held = named(templates, "AWS::CloudWatch::Dashboard", DashboardName="ContentPlatformMonitoring")
    body = held["DashboardBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else DISTRIBUTION for part in body)
    widgets = json.loads(text)["widgets"]
    return {widget["properties"]["title"]: widget["properties"] for widget in widgets}


def shown(widget: Mapping[str, Any]) -> list[tuple[str, dict[str, str], str, str]]:
    """Metric, dimensions, statistic and region of each line that is no expression."""
    found = []
    for namespace, metric, *pairs, options in (line for line in widget["metrics"] if len(line) > 1):
        where = dict(zip(pairs[::2], pairs[1::2], strict=True))
        found.append((f"{namespace} {metric}", where, options["stat"], options["region"]))
    return found


def test_the_dashboard_shows_what_was_promised_every_five_minutes(drawn: Mapping[str, Any]) -> None:
    assert {title: widget["period"] for title, widget in drawn.items()} == {
        "Functions": 300,
        "Storage": 86_400,
        "Edge: requests": 300,
        "Edge: errors": 300,
        "Catalog": 300,
        "Workflow": 300,
    }
    east = "us-east-1"
    assert shown(drawn["Functions"]) == [
        ("AWS/Lambda Invocations", {}, "Sum", east),
        ("AWS/Lambda Errors", {}, "Sum", east),
        ("AWS/Lambda Throttles", {}, "Sum", east),
        ("AWS/Lambda Duration", {}, "Average", east),
    ]
    assert shown(drawn["Edge: requests"]) == [
        ("AWS/CloudFront Requests", EDGE, "Sum", east),
        ("AWS/CloudFront BytesDownloaded", EDGE, "Sum", east),
    ]
    assert shown(drawn["Edge: errors"]) == [
        ("AWS/CloudFront 4xxErrorRate", EDGE, "Average", east),
        ("AWS/CloudFront 5xxErrorRate", EDGE, "Average", east),
    ]
    units = [
        (f"AWS/DynamoDB Consumed{way}CapacityUnits", {"TableName": table.name}, "Sum", east)
        for way in ("Read", "Write")
        for table in TABLES
    ]
    assert shown(drawn["Catalog"]) == [*units, ("AWS/DynamoDB UserErrors", {}, "Sum", east)]
    machine = {"StateMachineArn": MACHINE}
    assert shown(drawn["Workflow"]) == [
        ("AWS/States ExecutionsFailed", machine, "Sum", east),
        ("AWS/States ExecutionsSucceeded", machine, "Sum", east),
        ("AWS/States ExecutionTime", machine, "Average", east),
    ]


def test_storage_is_shown_bucket_by_bucket_each_in_its_region_over_all_classes(drawn: Mapping[str, Any]) -> None:
    regions = {role: "us-west-2" if role in {"backup", "logs"} else "us-east-1" for role in BucketRole}
    assert shown(drawn["Storage"]) == [
        (
            "AWS/S3 NumberOfObjects",
            {"BucketName": f"content-platform-{role}-{SUFFIX}", "StorageType": "AllStorageTypes"},
            "Average",
            region,
        )
        for role, region in regions.items()
    ]
    expressions = [line[0] for line in drawn["Storage"]["metrics"] if len(line) == 1]
    which = '{{AWS/S3,BucketName,StorageType}} MetricName="BucketSizeBytes" BucketName="{}"'
    search = f"SUM(SEARCH('{which}', 'Average', 86400))"
    assert [(line["expression"], line["region"]) for line in expressions] == [
        (search.format(f"content-platform-{role}-{SUFFIX}"), region) for role, region in regions.items()
    ]


def test_every_line_has_a_label_of_its_own(drawn: Mapping[str, Any]) -> None:
    for title, widget in drawn.items():
        labels = [line[-1]["label"] for line in widget["metrics"]]
        assert len(set(labels)) == len(labels), title


def test_every_metric_has_a_name_on_cloudwatch_and_dimensions() -> None:
    from contentplatform_infra.monitoring import METRICS, Watched  # noqa: PLC0415 - starts Node
    from contentplatform_infra.names import Names  # noqa: PLC0415 - same

    watched = Watched(Names(ACCOUNT_ID, "us-east-1", "us-west-2", SUFFIX), "E1")
    assert set(METRICS) == set(Metric)
    without = {metric for metric in Metric if not watched.dimensions(Measure(metric, "primary"))}
    assert without == set()


# -- topic ---------------------------------------------------------------------------------------------------------


def test_the_topic_is_encrypted_under_a_key_that_is_rotated(templates: Templates) -> None:
    topic = named(templates, "AWS::SNS::Topic", TopicName="backup-alerts")
    [(_, alias)] = resources(templates, "AWS::KMS::Alias")
    [(_, key)] = resources(templates, "AWS::KMS::Key")
    assert topic["KmsMasterKeyId"] == alias["AliasName"] == "alias/content-platform-alerts"
    assert key["EnableKeyRotation"] is True


SERVICES: Final = {
    "cloudwatch.amazonaws.com": f"arn:aws:cloudwatch:us-east-1:{ACCOUNT_ID}:alarm:*",
    "budgets.amazonaws.com": f"arn:aws:budgets::{ACCOUNT_ID}:*",
    "s3.amazonaws.com": f"arn:aws:s3:::{PRIMARY}",
}


@pytest.mark.parametrize("kind", ["AWS::SNS::TopicPolicy", "AWS::KMS::Key"])
def test_services_may_publish_for_this_account_only_and_use_the_key_for_it(templates: Templates, kind: str) -> None:
    [(_, held)] = [
        (name, held)
        for name, held in resources(templates, kind)
        if kind == "AWS::KMS::Key" or {"Ref": "AlertsTopic"} not in held.get("Topics", [])
    ]
    document = held["KeyPolicy"] if kind == "AWS::KMS::Key" else held["PolicyDocument"]
    actions: Any = ["kms:Decrypt", "kms:GenerateDataKey"] if kind == "AWS::KMS::Key" else "sns:Publish"
    found = {
        statement["Principal"]["Service"]: statement
        for statement in document["Statement"]
        if "Service" in statement.get("Principal", {})
    }
    assert set(found) == set(SERVICES)
    for service, source in SERVICES.items():
        assert found[service]["Effect"] == "Allow"
        assert found[service]["Action"] == actions
        assert found[service]["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": source},
        }


def test_nothing_is_published_but_over_tls(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::SNS::TopicPolicy")
    denial = held["PolicyDocument"]["Statement"][0]
    assert (denial["Effect"], denial["Principal"], denial["Action"]) == ("Deny", {"AWS": "*"}, "sns:Publish")
    assert denial["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert denial["Resource"] == TOPIC


def test_functions_use_the_key_through_sns_and_in_no_other_way(templates: Templates) -> None:
    [(_, key)] = resources(templates, "AWS::KMS::Key")
    [statement] = [one for one in key["KeyPolicy"]["Statement"] if one["Sid"] == "OurFunctionsTell"]
    assert statement["Condition"] == {
        "StringEquals": {"kms:CallerAccount": ACCOUNT_ID, "kms:ViaService": "sns.us-east-1.amazonaws.com"}
    }


def test_alerts_go_to_the_address_that_is_set_and_to_nobody_without_one(
    templates: Templates, templates_for: Callable[..., Templates]
) -> None:
    [(_, mail)] = resources(templates, "AWS::SNS::Subscription")
    assert (mail["Protocol"], mail["Endpoint"]) == ("email", "ops@example.org")
    assert list(resources(templates_for(aws={"alert_email": ""}), "AWS::SNS::Subscription")) == []


def test_s3_can_tell_of_failed_replication_before_the_bucket_is_made(templates: Templates) -> None:
    main = templates["ContentPlatform"]["Resources"]
    [primary] = [
        resource
        for resource in main.values()
        if resource["Type"] == "AWS::S3::Bucket" and resource["Properties"]["BucketName"] == PRIMARY
    ]
    told = primary["Properties"]["NotificationConfiguration"]["TopicConfigurations"]
    assert {"Event": "s3:Replication:OperationFailedReplication", "Topic": TOPIC} in told
    needed = {main[name]["Type"] for name in primary["DependsOn"]}
    assert {"AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::KMS::Key"} <= needed


# -- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expression", "function", "latest"),
    [
        ("content-reconciler-hourly", "cron(17 * * * ? *)", "content-reconciler", 1_800),
        ("content-metadata-export-daily", "cron(30 0 * * ? *)", "content-metadata-export", 21_600),
        ("content-backup-validator-daily", "cron(0 2 * * ? *)", "content-backup-validator", 3_600),
        ("cost-report-weekly", "cron(0 9 ? * MON *)", "cost-report-generator", 43_200),
    ],
)
def test_a_job_runs_by_the_clock_in_utc(
    templates: Templates, name: str, expression: str, function: str, latest: int
) -> None:
    held = named(templates, "AWS::Scheduler::Schedule", Name=name)
    assert (held["ScheduleExpression"], held["ScheduleExpressionTimezone"]) == (expression, "UTC")
    assert (held["State"], held["FlexibleTimeWindow"], held["GroupName"]) == (
        "ENABLED",
        {"Mode": "OFF"},
        "content-platform",
    )
    main = templates["ContentPlatform"]["Resources"]
    alias = main[held["Target"]["Arn"]["Ref"]]
    assert alias["Type"] == "AWS::Lambda::Alias"
    assert main[alias["Properties"]["FunctionName"]["Ref"]]["Properties"]["FunctionName"] == function
    assert held["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": latest, "MaximumRetryAttempts": 2}
    queue = main[held["Target"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]]
    assert queue["Properties"]["QueueName"] == "content-platform-failed-calls" == DEAD_LETTER_QUEUE


def test_every_job_of_the_data_is_there(templates: Templates) -> None:
    found = {held["Name"] for _, held in resources(templates, "AWS::Scheduler::Schedule")}
    assert found == {schedule.name for schedule in SCHEDULES}
    assert {schedule.function for schedule in SCHEDULES} <= set(BY_NAME)


def test_the_scheduler_may_call_these_functions_and_no_other(templates: Templates) -> None:
    role = named(templates, "AWS::IAM::Role", RoleName="content-platform-scheduler-role")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
        "ArnLike": {"aws:SourceArn": f"arn:aws:scheduler:us-east-1:{ACCOUNT_ID}:schedule-group/content-platform"},
    }
    [policy] = role["Policies"]
    calls, tells = policy["PolicyDocument"]["Statement"]
    assert calls["Action"] == "lambda:InvokeFunction"
    targets = [held["Target"]["Arn"] for _, held in resources(templates, "AWS::Scheduler::Schedule")]
    assert sorted(map(json.dumps, calls["Resource"])) == sorted(map(json.dumps, targets))
    assert tells["Action"] == "sqs:SendMessage"


def test_no_two_jobs_start_in_the_same_minute() -> None:
    assert len({schedule.fields()[:2] for schedule in SCHEDULES}) == len(SCHEDULES)


@pytest.mark.parametrize("cron", ["0 2 * *", "0 2 * * * *", "0 2 1 * MON"])
def test_a_schedule_that_no_home_can_keep_is_refused(cron: str) -> None:
    schedule = Schedule("odd", cron, "content-reconciler", "nothing", 60)
    with pytest.raises(ConfigurationInvalid, match="odd"):
        schedule.fields()
