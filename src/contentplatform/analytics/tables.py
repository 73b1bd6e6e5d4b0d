"""The tables over logs, catalog and costs, as data: Athena's are rendered from it, and DuckDB's views at home.

Nothing is ever loaded into them: they are folders of the analytics bucket, read as they lie. Partitions are computed
from the query (partition projection), so none has to be registered and no query lists more folders than it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contentplatform.storage.lifecycle import BUCKET_LOGS_FOLDER, EDGE_LOGS_FOLDER, QUERY_RESULTS_FOLDER
from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import ACCESS_LOGS_GO_TO

DATABASE: Final = "content_analytics"
WORKGROUP: Final = "content-platform"
RESULTS_FOLDER: Final = QUERY_RESULTS_FOLDER
SCAN_LIMIT_BYTES: Final = 10 * 1024**3
"""What one query may read: 10 GiB are 0.05 USD."""


class FileFormat(StrEnum):
    """How the files of a table are written; each may be gzipped."""

    TAB_SEPARATED = "tab-separated"
    """Two header lines, ``-`` where there is no value: the W3C extended log format."""
    PATTERN = "pattern"
    """Lines of text; the groups of ``Table.pattern`` are the columns."""
    JSON_LINES = "json-lines"
    PARQUET = "parquet"


class PartitionKind(StrEnum):
    """What values a partition has."""

    DATE = "date"
    NUMBER = "number"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; its type in Hive's words, which both engines know."""

    name: str
    type: str
    means: str = ""


@dataclass(frozen=True, slots=True)
class Partition:
    """A column that is read from the folder's name."""

    name: str
    type: str
    kind: PartitionKind
    format: str = ""
    """Of a date, in Java's letters."""
    unit: str = "DAYS"
    """Step of a date."""
    values: tuple[str, ...] = ()
    """Of a list: all. Of the others: the first, and the last (``NOW`` for a date)."""
    digits: int = 0
    """Of a number: with leading zeros up to so many."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    name: str
    holds: str
    folder: str
    """Of the analytics bucket; ends with a slash."""
    path: str
    """Of the files of one partition, below ``folder``: ``${partition}`` stands for its value, ``{account_id}``,
    ``{region}`` and ``{bucket}`` (the name of the bucket whose role the partition ``role`` is) for the home's own."""
    columns: tuple[Column, ...]
    partitions: tuple[Partition, ...]
    format: FileFormat
    pattern: str = ""
    """A regular expression that Java and RE2 understand alike."""


FIRST_DAY: Final = "2025/01/01"
"""Nothing in any table is older."""
_DAY: Final = Partition("day", "string", PartitionKind.DATE, format="yyyy/MM/dd", values=(FIRST_DAY, "NOW"))

CLOUDFRONT_LOGS: Final = Table(
    name="cloudfront_logs",
    holds="every request to the edge",
    folder=EDGE_LOGS_FOLDER,
    path="${day}/",
    format=FileFormat.TAB_SEPARATED,
    columns=(
        # In the log's own order. It has date and time apart, and no city or region.
        Column("log_date", "date", "date; UTC"),
        Column("log_time", "string", "time; UTC"),
        Column("edge_location", "string", "x-edge-location; begins with the airport's code"),
        Column("bytes_sent", "bigint", "sc-bytes, headers included"),
        Column("client_ip", "string", "c-ip"),
        Column("method", "string", "cs-method"),
        Column("host", "string", "cs(Host): the distribution's own name"),
        Column("uri_stem", "string", "cs-uri-stem, percent-encoded"),
        Column("status_code", "int", "sc-status; 000 where the viewer hung up"),
        Column("referer", "string", "cs(Referer)"),
        Column("user_agent", "string", "cs(User-Agent), percent-encoded"),
        Column("uri_query", "string", "cs-uri-query"),
        Column("cookie", "string", "cs(Cookie); never filled, as cookies are not logged"),
        Column("result_type", "string", "x-edge-result-type: Hit, RefreshHit, Miss, Error, …"),
        Column("request_id", "string", "x-edge-request-id"),
        Column("host_header", "string", "x-host-header"),
        Column("request_protocol", "string", "cs-protocol"),
        Column("bytes_received", "bigint", "cs-bytes"),
        Column("time_taken", "double", "time-taken; seconds"),
        Column("forwarded_for", "string", "x-forwarded-for"),
        Column("ssl_protocol", "string", "ssl-protocol"),
        Column("ssl_cipher", "string", "ssl-cipher"),
        Column("response_result_type", "string", "x-edge-response-result-type"),
        Column("http_version", "string", "cs-protocol-version"),
        Column("fle_status", "string", "fle-status"),
        Column("fle_encrypted_fields", "int", "fle-encrypted-fields"),
        Column("port", "int", "c-port"),
        Column("time_to_first_byte", "double", "time-to-first-byte; seconds"),
        Column("detail_result_type", "string", "x-edge-detailed-result-type"),
        Column("content_type", "string", "sc-content-type"),
        Column("content_length", "bigint", "sc-content-len"),
        Column("range_start", "bigint", "sc-range-start"),
        Column("range_end", "bigint", "sc-range-end"),
        # The 33 fields end here. A delivery may be told to add the viewer's country; without, this stays empty.
        Column("country", "string", "c-country: the viewer's, by its address"),
    ),
    partitions=(_DAY,),
)
CLOUDFRONT_FIELDS: Final = 33
"""Fields of the standard log; the columns behind them are additions."""

_LOGGED: Final = tuple(role.value for role, target in ACCESS_LOGS_GO_TO.items() if target is BucketRole.ANALYTICS)
_WORD: Final = r"([^ ]*)"
_QUOTED: Final = r'(?:"([^"]*)"|-)'
S3_ACCESS_LOGS: Final = Table(
    name="s3_access_logs",
    holds="every request to the primary, raw and processed buckets",
    folder=BUCKET_LOGS_FOLDER,
    path="${role}/{account_id}/{region}/{bucket}/${day}/",
    format=FileFormat.PATTERN,
    columns=(
        Column("bucket_owner", "string"),
        Column("bucket", "string"),
        Column("request_time", "string", "as in 06/Feb/2030:00:00:38 +0000"),
        Column("remote_ip", "string"),
        Column("requester", "string"),
        Column("request_id", "string"),
        Column("operation", "string", "as in REST.GET.OBJECT"),
        Column("key", "string", "percent-encoded"),
        Column("request_uri", "string"),
        Column("http_status", "string"),
        Column("error_code", "string"),
        Column("bytes_sent", "bigint"),
        Column("object_size", "bigint"),
        Column("total_time", "string", "milliseconds"),
        Column("turn_around_time", "string", "milliseconds"),
        Column("referer", "string"),
        Column("user_agent", "string"),
        Column("version_id", "string"),
        Column("host_id", "string"),
        Column("signature_version", "string"),
        Column("cipher_suite", "string"),
        Column("authentication_type", "string"),
        Column("host_header", "string"),
        Column("tls_version", "string"),
        Column("access_point_arn", "string"),
        Column("acl_required", "string"),
    ),
    partitions=(
        Partition("role", "string", PartitionKind.LIST, values=_LOGGED),
        _DAY,
    ),
    # S3 adds fields at the end now and then: what is behind the known ones is let through. The last seven are missing
    # in lines of some operations.
    pattern=(
        rf"{_WORD} {_WORD} \[(.*?)\] {_WORD} {_WORD} {_WORD} {_WORD} {_WORD} {_QUOTED} (-|[0-9]*) {_WORD} {_WORD} "
        rf"{_WORD} {_WORD} {_WORD} {_QUOTED} {_QUOTED} {_WORD}"
        rf"(?: {_WORD} {_WORD} {_WORD} {_WORD} {_WORD} {_WORD}(?: {_WORD} {_WORD})?)?.*$"
    ),
)

CONTENT_METADATA: Final = Table(
    name="content_metadata",
    holds="every file that there was on a day, exported once a day; the partitions are the days of the exports",
    folder="content-metadata/",
    path="year=${year}/month=${month}/day=${day}/",
    format=FileFormat.JSON_LINES,
    columns=(
        Column("file_id", "string"),
        Column("file_name", "string"),
        Column("file_path", "string"),
        Column("kind", "string", "image, video, audio, document, generic"),
        Column("content_type", "string", "by what the bytes are"),
        Column("file_size", "bigint", "bytes"),
        Column("upload_date", "string", "YYYY-MM-DD; UTC"),
        Column("storage_class", "string", "where the lifecycle rules have put it by the day of the export"),
        Column("processing_status", "string"),
        Column("processing_error_code", "string", "of a failed one"),
        Column("processing_seconds", "double", "from the upload to the renditions"),
        Column("tags", "array<string>"),
        Column(
            "metadata",
            "struct<width:int,height:int,duration:double,format:string>",
            "pixels, pixels, seconds; as far as they are known",
        ),
    ),
    partitions=(
        Partition("year", "int", PartitionKind.NUMBER, values=("2025", "2100"), digits=4),
        Partition("month", "int", PartitionKind.NUMBER, values=("1", "12"), digits=2),
        Partition("day", "int", PartitionKind.NUMBER, values=("1", "31"), digits=2),
    ),
)

COST_EXPORT: Final = "content-platform-costs"
COST_AND_USAGE: Final = Table(
    name="cost_and_usage",
    holds="what the account cost, a row a day, service, usage type and tag; at home, what it would have cost",
    folder="cost/",
    path=f"{COST_EXPORT}/data/BILLING_PERIOD=${{billing_period}}/",
    format=FileFormat.PARQUET,
    columns=(
        # Named as AWS names them in its cost and usage report.
        Column("line_item_usage_start_date", "timestamp", "the day; UTC"),
        Column("line_item_product_code", "string", "the service"),
        Column("line_item_usage_type", "string"),
        Column("line_item_unblended_cost", "double"),
        Column("line_item_currency_code", "string"),
        Column("resource_tags", "map<string,string>", "cost allocation tags, as user_project"),
    ),
    partitions=(
        Partition(
            "billing_period",
            "string",
            PartitionKind.DATE,
            format="yyyy-MM",
            unit="MONTHS",
            values=("2025-01", "NOW"),
        ),
    ),
)

TABLES: Final = (CLOUDFRONT_LOGS, S3_ACCESS_LOGS, CONTENT_METADATA, COST_AND_USAGE)


def projection(table: Table, bucket: str, home: Mapping[str, str]) -> dict[str, str]:
    """The table's partition projection, as Athena's table properties.

    Args:
        table: whose partitions.
        bucket: name of the analytics bucket.
        home: ``account_id``, ``region``, and ``bucket`` with ``${role}`` in it.
    """
    path = table.path
    for name, value in home.items():
        path = path.replace(f"{{{name}}}", value)
    properties = {
        "projection.enabled": "true",
        "storage.location.template": f"s3://{bucket}/{table.folder}{path}",
    }
    for partition in table.partitions:
        properties |= {f"projection.{partition.name}.{name}": value for name, value in _projected(partition).items()}
    return properties


def _projected(partition: Partition) -> dict[str, str]:
    joined = ",".join(partition.values)
    if partition.kind is PartitionKind.LIST:
        return {"type": "enum", "values": joined}
    if partition.kind is PartitionKind.NUMBER:
        return {"type": "integer", "range": joined, "digits": str(partition.digits)}
    return {
        "type": "date",
        "range": joined,
        "format": partition.format,
        "interval": "1",
        "interval.unit": partition.unit,
    }
