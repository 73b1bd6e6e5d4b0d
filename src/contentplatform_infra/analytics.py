"""The tables over logs, catalog and costs in Glue, the workgroup that asks them, and the saved questions."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import aws_athena, aws_glue
from constructs import Construct

from contentplatform.analytics.questions import QUESTIONS, values_of_today
from contentplatform.analytics.tables import (
    DATABASE,
    RESULTS_FOLDER,
    SCAN_LIMIT_BYTES,
    TABLES,
    WORKGROUP,
    FileFormat,
    Table,
    projection,
)
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

_TEXT_IN: Final = "org.apache.hadoop.mapred.TextInputFormat"
_TEXT_OUT: Final = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
_HEADER_LINES: Final = "2"


class Analytics(Construct):
    """Database, tables and workgroup. They hold nothing: the data are the analytics bucket's."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        database = aws_glue.CfnDatabase(
            self,
            "Database",
            catalog_id=names.account_id,
            database_input=aws_glue.CfnDatabase.DatabaseInputProperty(
                name=DATABASE, description="Content Platform: logs, catalog and costs"
            ),
        )
        for table in TABLES:
            made = aws_glue.CfnTable(
                self,
                table.name,
                catalog_id=names.account_id,
                database_name=DATABASE,
                table_input=_table_input(table, names),
            )
            made.add_resource_dependency(database)
        bucket = names.bucket(BucketRole.ANALYTICS)
        aws_athena.CfnWorkGroup(
            self,
            "Workgroup",
            name=WORKGROUP,
            description="Content Platform: ready questions, and whatever else is asked",
            state="ENABLED",
            recursive_delete_option=True,
            work_group_configuration=aws_athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=True,
                bytes_scanned_cutoff_per_query=SCAN_LIMIT_BYTES,
                requester_pays_enabled=False,
                engine_version=aws_athena.CfnWorkGroup.EngineVersionProperty(
                    selected_engine_version="Athena engine version 3"
                ),
                result_configuration=aws_athena.CfnWorkGroup.ResultConfigurationProperty(
                    output_location=f"s3://{bucket}/{RESULTS_FOLDER}",
                    expected_bucket_owner=names.account_id,
                    encryption_configuration=aws_athena.CfnWorkGroup.EncryptionConfigurationProperty(
                        encryption_option="SSE_S3"
                    ),
                ),
            ),
        )


class SavedQuestions(Construct):
    """The ready questions in Athena's console: the last 30 days, and the catalog as of today."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        for question in QUESTIONS:
            aws_athena.CfnNamedQuery(
                self,
                question.name,
                name=question.name,
                description=question.asks,
                database=DATABASE,
                work_group=WORKGROUP,
                query_string=question.sql(values_of_today()),
            )


def _table_input(table: Table, names: Names) -> aws_glue.CfnTable.TableInputProperty:
    bucket = names.bucket(BucketRole.ANALYTICS)
    home = {
        "account_id": names.account_id,
        "region": names.region,
        "bucket": _of_any_role(names),
    }
    return aws_glue.CfnTable.TableInputProperty(
        name=table.name,
        description=f"Content Platform: {table.holds}",
        table_type="EXTERNAL_TABLE",
        parameters={"EXTERNAL": "TRUE", **_classified(table), **projection(table, bucket, home)},
        partition_keys=[
            aws_glue.CfnTable.ColumnProperty(name=partition.name, type=partition.type) for partition in table.partitions
        ],
        storage_descriptor=aws_glue.CfnTable.StorageDescriptorProperty(
            location=f"s3://{bucket}/{table.folder}",
            columns=[
                aws_glue.CfnTable.ColumnProperty(name=column.name, type=column.type, comment=column.means or None)
                for column in table.columns
            ],
            **_formatted(table),
        ),
    )


def _of_any_role(names: Names) -> str:
    """The name of the bucket whose role the partition ``role`` is, for the path's template."""
    name = bucket_name(BucketRole.PRIMARY, names.bucket_suffix)
    before, _, after = name.partition(BucketRole.PRIMARY.value)
    return f"{before}${{role}}{after}"


def _classified(table: Table) -> dict[str, str]:
    match table.format:
        case FileFormat.TAB_SEPARATED:
            return {"skip.header.line.count": _HEADER_LINES, "compressionType": "gzip"}
        case FileFormat.JSON_LINES:
            return {"classification": "json", "compressionType": "gzip"}
        case FileFormat.PARQUET:
            return {"classification": "parquet"}
        case FileFormat.PATTERN:
            return {}


def _formatted(table: Table) -> dict[str, Any]:
    """Input, output and the library that takes rows apart."""
    match table.format:
        case FileFormat.TAB_SEPARATED:
            library, parameters = (
                "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                {"field.delim": "\t", "serialization.format": "\t", "serialization.null.format": "-"},
            )
        case FileFormat.PATTERN:
            library, parameters = (
                "org.apache.hadoop.hive.serde2.RegexSerDe",
                {"input.regex": table.pattern, "serialization.format": "1"},
            )
        case FileFormat.JSON_LINES:
            library, parameters = (
                "org.openx.data.jsonserde.JsonSerDe",
                {"ignore.malformed.json": "false", "serialization.format": "1"},
            )
        case FileFormat.PARQUET:
            return {
                "input_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "output_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "serde_info": aws_glue.CfnTable.SerdeInfoProperty(
                    serialization_library="org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
                    parameters={"serialization.format": "1"},
                ),
            }
    return {
        "input_format": _TEXT_IN,
        "output_format": _TEXT_OUT,
        "serde_info": aws_glue.CfnTable.SerdeInfoProperty(serialization_library=library, parameters=parameters),
    }
