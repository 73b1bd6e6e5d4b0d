"""Database, tables, workgroup, saved questions and QuickSight as CloudFormation gets them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from contentplatform.analytics.export import export_key
from contentplatform.analytics.questions import PERIOD_DAYS, QUESTIONS
from contentplatform.analytics.tables import CLOUDFRONT_FIELDS, CLOUDFRONT_LOGS, S3_ACCESS_LOGS, TABLES, Table
from infra.synthesis import ACCOUNT_ID, SUFFIX, Templates, named, resources

ANALYTICS: Final = f"s3://content-platform-analytics-{SUFFIX}"
SERDE: Final = {
    "cloudfront_logs": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    "s3_access_logs": "org.apache.hadoop.hive.serde2.RegexSerDe",
    "content_metadata": "org.openx.data.jsonserde.JsonSerDe",
    "cost_and_usage": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
}
LOCATION: Final = {
    "cloudfront_logs": "cloudfront-logs/${day}/",
    "s3_access_logs": (
        f"s3-access-logs/${{role}}/{ACCOUNT_ID}/us-east-1/content-platform-${{role}}-{SUFFIX}/${{day}}/"
    ),
    "content_metadata": "content-metadata/year=${year}/month=${month}/day=${day}/",
    "cost_and_usage": "cost/content-platform-costs/data/BILLING_PERIOD=${billing_period}/",
}


def table(templates: Templates, name: str) -> dict[str, Any]:
    """What Glue is told of a table."""
    [held] = [
        held["TableInput"]
        for _, held in resources(templates, "AWS::Glue::Table", "ContentPlatform")
        if held["TableInput"]["Name"] == name
    ]
    return dict(held)


def test_the_database_is_named_as_promised(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::Glue::Database")
    assert (held["DatabaseInput"]["Name"], held["CatalogId"]) == ("content_analytics", ACCOUNT_ID)


@pytest.mark.parametrize("data", TABLES, ids=lambda one: one.name)
def test_a_table_reads_its_folder_column_by_column_with_the_library_of_its_format(
    templates: Templates, data: Table
) -> None:
    held = table(templates, data.name)
    stored = held["StorageDescriptor"]
    assert held["TableType"] == "EXTERNAL_TABLE"
    assert stored["Location"] == f"{ANALYTICS}/{data.folder}"
    assert [(column["Name"], column["Type"]) for column in stored["Columns"]] == [
        (column.name, column.type) for column in data.columns
    ]
    assert stored["SerdeInfo"]["SerializationLibrary"] == SERDE[data.name]


@pytest.mark.parametrize("data", TABLES, ids=lambda one: one.name)
def test_partitions_are_computed_for_every_column_that_is_one(templates: Templates, data: Table) -> None:
    held = table(templates, data.name)
    parameters = held["Parameters"]
    assert parameters["projection.enabled"] == "true"
    assert parameters["storage.location.template"] == f"{ANALYTICS}/{LOCATION[data.name]}"
    assert [key["Name"] for key in held["PartitionKeys"]] == [one.name for one in data.partitions]
    for partition in data.partitions:
        assert f"projection.{partition.name}.type" in parameters
        assert f"${{{partition.name}}}" in parameters["storage.location.template"]
    columns = {column.name for column in data.columns}
    assert not columns & {one.name for one in data.partitions}


def test_the_projections_are_these(templates: Templates) -> None:
    def of(name: str) -> dict[str, str]:
        parameters = table(templates, name)["Parameters"]
        return {
            key.removeprefix("projection."): value
            for key, value in parameters.items()
            if re.match(r"projection\.\w+\.", key)
        }

    day = {
        "day.type": "date",
        "day.range": "2025/01/01,NOW",
        "day.format": "yyyy/MM/dd",
        "day.interval": "1",
        "day.interval.unit": "DAYS",
    }
    assert of("cloudfront_logs") == day
    assert of("s3_access_logs") == {**day, "role.type": "enum", "role.values": "primary,raw,processed"}
    assert of("content_metadata") == {
        "year.type": "integer",
        "year.range": "2025,2100",
        "year.digits": "4",
        "month.type": "integer",
        "month.range": "1,12",
        "month.digits": "2",
        "day.type": "integer",
        "day.range": "1,31",
        "day.digits": "2",
    }
    assert of("cost_and_usage") == {
        "billing_period.type": "date",
        "billing_period.range": "2025-01,NOW",
        "billing_period.format": "yyyy-MM",
        "billing_period.interval": "1",
        "billing_period.interval.unit": "MONTHS",
    }


def test_the_edge_s_log_is_delivered_in_the_order_of_the_table_s_columns(templates: Templates) -> None:
    [(_, delivery)] = resources(templates, "AWS::Logs::Delivery")
    fields = delivery["RecordFields"]
    assert len(fields) == CLOUDFRONT_FIELDS == 33
    for field, column in zip(fields, CLOUDFRONT_LOGS.columns, strict=False):
        assert re.match(rf"{re.escape(field)}\b|{re.escape(field)}(?=[ ;:,]|$)", column.means), (field, column)
    assert delivery["FieldDelimiter"] == "\t"
    held = table(templates, "cloudfront_logs")
    assert held["Parameters"]["skip.header.line.count"] == "2"
    assert held["StorageDescriptor"]["SerdeInfo"]["Parameters"]["field.delim"] == "\t"


def test_the_edge_s_log_is_delivered_to_the_folders_that_the_table_reads(templates: Templates) -> None:
    [(_, delivery)] = resources(templates, "AWS::Logs::Delivery")
    [(_, destination)] = resources(templates, "AWS::Logs::DeliveryDestination")
    assert destination["DestinationResourceArn"] == f"arn:aws:s3:::content-platform-analytics-{SUFFIX}/cloudfront-logs"
    assert delivery["S3SuffixPath"].startswith("{yyyy}/{MM}/{dd}/")


def test_access_logs_are_written_to_the_folders_that_the_table_reads(templates: Templates) -> None:
    for role in ("primary", "raw", "processed"):
        bucket = named(templates, "AWS::S3::Bucket", BucketName=f"content-platform-{role}-{SUFFIX}")
        logging = bucket["LoggingConfiguration"]
        assert logging["LogFilePrefix"] == f"s3-access-logs/{role}/"
        assert logging["TargetObjectKeyFormat"] == {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}


def test_the_pattern_of_the_access_log_has_a_group_a_column(templates: Templates) -> None:
    parameters = table(templates, "s3_access_logs")["StorageDescriptor"]["SerdeInfo"]["Parameters"]
    assert parameters["input.regex"] == S3_ACCESS_LOGS.pattern
    assert re.compile(S3_ACCESS_LOGS.pattern).groups == len(S3_ACCESS_LOGS.columns) == 26


def test_the_catalog_s_export_lands_where_the_table_looks() -> None:
    from datetime import date  # noqa: PLC0415 - one test

    template = LOCATION["content_metadata"]
    filled = template.replace("${year}", "2030").replace("${month}", "06").replace("${day}", "05")
    assert export_key(date(2030, 6, 5)).startswith(filled)


def test_the_workgroup_has_its_own_results_and_a_limit_that_nobody_can_leave(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::Athena::WorkGroup")
    configuration = held["WorkGroupConfiguration"]
    assert (held["Name"], held["State"]) == ("content-platform", "ENABLED")
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 10 * 1024**3
    assert configuration["ResultConfiguration"] == {
        "OutputLocation": f"{ANALYTICS}/athena-results/",
        "ExpectedBucketOwner": ACCOUNT_ID,
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3"},
    }


def test_every_question_is_saved_with_values_that_athena_finds_itself(templates: Templates) -> None:
    saved = {
        held["Name"]: held for _, held in resources(templates, "AWS::Athena::NamedQuery", "ContentPlatformGovernance")
    }
    assert set(saved) == {question.name for question in QUESTIONS}
    for question in QUESTIONS:
        held = saved[question.name]
        assert (held["Database"], held["WorkGroup"]) == ("content_analytics", "content-platform")
        assert held["Description"] == question.asks
        assert not re.search(r"(?<!:):[a-z_]+\b", held["QueryString"])
    assert f"INTERVAL '{PERIOD_DAYS}' DAY" in saved["daily_cost"]["QueryString"]


def test_quicksight_is_off_unless_it_is_set(templates: Templates) -> None:
    kinds = {resource["Type"] for template in templates.values() for resource in template["Resources"].values()}
    assert not {kind for kind in kinds if kind.startswith("AWS::QuickSight")}


def test_quicksight_draws_answers_of_ready_questions(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"quicksight": True})
    stack = "ContentPlatformGovernance"
    [(source_name, source)] = resources(templates, "AWS::QuickSight::DataSource", stack)
    assert (source["Type"], source["DataSourceParameters"]) == (
        "ATHENA",
        {"AthenaParameters": {"WorkGroup": "content-platform"}},
    )
    sets = dict(resources(templates, "AWS::QuickSight::DataSet", stack))
    assert len(sets) == 4
    [(_, dashboard)] = resources(templates, "AWS::QuickSight::Dashboard", stack)
    declared = dashboard["Definition"]["DataSetIdentifierDeclarations"]
    assert {one["DataSetArn"]["Fn::GetAtt"][0] for one in declared} == set(sets)
    columns = {}
    for name, held in sets.items():
        assert held["ImportMode"] == "DIRECT_QUERY"
        query = held["PhysicalTableMap"]["answer"]["CustomSql"]
        assert query["DataSourceArn"] == {"Fn::GetAtt": [source_name, "Arn"]}
        columns[name] = {column["Name"] for column in query["Columns"]}
        outer = query["SqlQuery"].partition("FROM")[0]
        assert all(re.search(rf"\b{column}\b", outer) for column in columns[name])
    identifiers = {one["Identifier"]: columns[one["DataSetArn"]["Fn::GetAtt"][0]] for one in declared}
    [sheet] = dashboard["Definition"]["Sheets"]
    assert len(sheet["Visuals"]) == len(sets)
    used = re.findall(r"'DataSetIdentifier': '(\w+)', 'ColumnName': '(\w+)'", str(sheet))
    assert used
    assert all(column in identifiers[identifier] for identifier, column in used)
    [permission] = dashboard["Permissions"]
    assert permission["Principal"] == f"arn:aws:quicksight:us-east-1:{ACCOUNT_ID}:namespace/default"
