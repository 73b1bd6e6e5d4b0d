"""The ready questions, asked of made-up rows: by DuckDB over the views, by the emulator's Athena where it can.

DuckDB lives in the emulator's environment and runs as a child process. The emulator's Athena reads partitions only
from folders named ``name=value``, and no patterns: of the tables it can do the catalog's export.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.analytics.export import MetadataExport, export_key
from contentplatform.analytics.questions import BY_NAME, QUESTIONS, values_for, values_of_today
from contentplatform.analytics.tables import (
    CLOUDFRONT_FIELDS,
    CLOUDFRONT_LOGS,
    CONTENT_METADATA,
    COST_AND_USAGE,
    DATABASE,
    S3_ACCESS_LOGS,
    TABLES,
)
from contentplatform.analytics.views import empty_view, view
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.storage.lifecycle import Tiering
from contentplatform.storage.port import BucketRole
from emulator import HOME, select_pause
from fakes.catalog import FakeCatalog, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

CHILD: Final = Path(__file__).with_name("duckdb_child.py")
DAY: Final = date(2030, 6, 15)
VALUES: Final = values_for(date(2030, 6, 10), DAY, DAY)
HEADERS: Final = "#Version: 1.0\n#Fields: date time x-edge-location …\n"
Answers = Mapping[str, list[dict[str, Any]]]


def ask(statements: list[str], queries: Mapping[str, str]) -> Answers:
    """Run DuckDB."""
    done = subprocess.run(  # noqa: PLW1510 - its own words tell more than its exit status
        [HOME / "bin" / "python", CHILD],
        input=json.dumps({"statements": statements, "queries": queries}),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    answers: Answers = json.loads(done.stdout)
    return answers


def edge_line(path: str, status: int = 200, *, day: date = DAY, **fields: str) -> str:
    """One line of the edge's log, with all its fields."""
    values = ["-"] * CLOUDFRONT_FIELDS
    names = [column.name for column in CLOUDFRONT_LOGS.columns]
    told = {
        "log_date": day.isoformat(),
        "log_time": "12:00:01",
        "edge_location": "DFW53-C1",
        "bytes_sent": "1000",
        "client_ip": "192.0.2.1",
        "method": "GET",
        "host": "d1.cloudfront.net",
        "uri_stem": path,
        "status_code": f"{status:03}",
        "result_type": "Miss",
        "range_end": "77",
        **fields,
    }
    for name, value in told.items():
        position = names.index(name)
        values[position:] = [value, *values[position + 1 :]]
    return "\t".join(values) + "\n"


ACCESS_LINE: Final = (
    "79a5 content-platform-primary-x [15/Jun/2030:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/a 3E57427F3EXAMPLE "
    'REST.GET.OBJECT a/b%2520c.jpg "GET /a/b%20c.jpg?x=1 HTTP/1.1" 200 - 2662992 3462992 70 10 '
    '"http://www.example.org/page" "curl/8.1 (x86; [weird])" 3HL4kqtJ hostid= SigV4 ECDHE-RSA-AES128 AuthHeader '
    "content-platform-primary-x.s3.amazonaws.com TLSv1.3 - Yes us-east-1\n"
)
SHORT_LINE: Final = (
    "79a5 content-platform-primary-x [15/Jun/2030:00:00:39 +0000] - s3:lifecycle 3E5 S3.TRANSITION_SIA.OBJECT a.jpg "
    '"-" - - - 512 - - "-" "-" v1\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the analytics bucket: logs of some days, one export, one month's costs."""
    root = tmp_path_factory.mktemp("analytics")

    def write(key: str, content: bytes) -> None:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    first = [
        edge_line("/processed/thumbnails/a.jpg", result_type="Hit", referer="https://example.org/"),
        edge_line("/processed/thumbnails/a.jpg", result_type="Miss", bytes_sent="500"),
        edge_line("/processed/webp/b.webp", 304, result_type="RefreshHit", edge_location="FRA50-P1"),
        edge_line("/processed/nothing", 404, result_type="Error", referer="https://example.org/old"),
        edge_line("/processed/webp/b.webp", method="HEAD").rstrip("\n") + "\tDE\n",
        edge_line("/aborted", 0, bytes_sent="-"),
    ]
    write("cloudfront-logs/2030/06/15/12/E1.2030-06-15-12.x.gz", gzip.compress((HEADERS + "".join(first)).encode()))
    earlier = edge_line("/processed/webp/b.webp", day=DAY - timedelta(days=1), result_type="Hit")
    write("cloudfront-logs/2030/06/14/23/E1.2030-06-14-23.y.gz", gzip.compress((HEADERS + earlier).encode()))
    outside = edge_line("/too/old", day=DAY - timedelta(days=30))
    write("cloudfront-logs/2030/05/16/12/E1.gz", gzip.compress((HEADERS + outside).encode()))
    log = (
        f"s3-access-logs/primary/111122223333/us-east-1/content-platform-primary-x/{DAY:%Y/%m/%d}/2030-06-15-00-00-38-A"
    )
    write(log, (ACCESS_LINE + SHORT_LINE).encode())
    write(export_key(DAY), exported())
    write(export_key(DAY - timedelta(days=1)), gzip.compress(b""))
    make_costs(root / "cost" / "content-platform-costs" / "data" / "BILLING_PERIOD=2030-06" / "costs.parquet")
    return root


def exported() -> bytes:
    """An export of a few files, as the service writes it."""
    now = datetime.combine(DAY, datetime.min.time(), UTC) + timedelta(hours=1)
    clock = FakeClock(now)
    catalog = FakeCatalog()
    store = MemoryObjectStore(clock, SequentialIds())

    def put(key: str, days_old: int, **fields: Any) -> None:
        uploaded = now - timedelta(days=days_old)
        catalog.put(make_record(key, upload_time=uploaded, **fields))

    done = {"status": ProcessingStatus.COMPLETED}
    put(
        "new/a.jpg",
        1,
        size_bytes=10,
        processed_at=now - timedelta(days=1) + timedelta(seconds=4),
        tags=("sea", "blue"),
        processing_metadata={"width": 40, "height": 30, "format": "jpeg", "duration_seconds": None},
        **done,
    )
    put("old/b.jpg", 100, size_bytes=1 << 20, processed_at=now - timedelta(days=99), **done)
    put("new/c.jpg", 1, status=ProcessingStatus.FAILED, error="broken", error_code=ErrorCode.DECODE)
    put('new/ü "quoted".mov', 3, kind=MediaKind.VIDEO, content_type="video/quicktime")
    put("gone.jpg", 2, deleted_at=now)
    MetadataExport(catalog, store, clock, tiering=Tiering.LIFECYCLE, scratch_folder=Path("/tmp")).run()
    with store.open(BucketRole.ANALYTICS, export_key(DAY)) as reader:
        return reader.read()


def make_costs(path: Path) -> None:
    """Costs as AWS exports them: Parquet, written by DuckDB."""
    path.parent.mkdir(parents=True)
    rows = ", ".join(
        f"(TIMESTAMP '{day} 00:00:00', '{service}', '{usage}', {cost}, 'USD', MAP {{'user_project': 'Content'}})"
        for day, service, usage, cost in (
            ("2030-06-14", "AmazonS3", "TimedStorage-ByteHrs", 0.5),
            ("2030-06-15", "AmazonS3", "TimedStorage-ByteHrs", 0.25),
            ("2030-06-15", "AmazonS3", "TimedStorage-ByteHrs", 0.5),
            ("2030-06-15", "AWSLambda", "Lambda-GB-Second", 2.0),
            ("2030-06-01", "AWSLambda", "Lambda-GB-Second", 9.0),
        )
    )
    names = ", ".join(column.name for column in COST_AND_USAGE.columns)
    ask([f"COPY (SELECT * FROM (VALUES {rows}) AS made({names})) TO '{path}' (FORMAT parquet)"], {})


@pytest.fixture(scope="module")
def answers(folder: Path) -> Answers:
    """Every ready question, and whole tables, answered once."""
    queries = {question.name: question.sql(VALUES) for question in QUESTIONS}
    whole = {table.name: f"SELECT * FROM {table.name} ORDER BY ALL" for table in TABLES}
    return ask([view(table, str(folder)) for table in TABLES], {**queries, **whole})


# -- tables --------------------------------------------------------------------------------------------------------


def test_a_line_of_the_edge_s_log_fills_the_column_of_each_field(answers: Answers) -> None:
    [row] = [row for row in answers["cloudfront_logs"] if row["method"] == "HEAD"]
    assert row["log_date"] == "2030-06-15"
    assert row["log_time"] == "12:00:01"
    assert row["day"] == "2030/06/15"
    assert row["status_code"] == 200
    assert row["bytes_sent"] == 1000
    assert row["range_end"] == 77
    assert row["country"] == "DE"
    assert row["referer"] is None


def test_a_line_without_the_addition_and_with_gaps_is_no_other_line(answers: Answers) -> None:
    [row] = [row for row in answers["cloudfront_logs"] if row["uri_stem"] == "/aborted"]
    assert (row["status_code"], row["bytes_sent"], row["range_end"], row["country"]) == (0, None, 77, None)


def test_every_line_of_a_bucket_s_access_log_is_taken_apart(answers: Answers) -> None:
    whole, short = sorted(answers["s3_access_logs"], key=lambda row: str(row["request_time"]))
    assert whole == {
        "bucket_owner": "79a5",
        "bucket": "content-platform-primary-x",
        "request_time": "15/Jun/2030:00:00:38 +0000",
        "remote_ip": "192.0.2.3",
        "requester": "arn:aws:iam::1:user/a",
        "request_id": "3E57427F3EXAMPLE",
        "operation": "REST.GET.OBJECT",
        "key": "a/b%2520c.jpg",
        "request_uri": "GET /a/b%20c.jpg?x=1 HTTP/1.1",
        "http_status": "200",
        "error_code": None,
        "bytes_sent": 2662992,
        "object_size": 3462992,
        "total_time": "70",
        "turn_around_time": "10",
        "referer": "http://www.example.org/page",
        "user_agent": "curl/8.1 (x86; [weird])",
        "version_id": "3HL4kqtJ",
        "host_id": "hostid=",
        "signature_version": "SigV4",
        "cipher_suite": "ECDHE-RSA-AES128",
        "authentication_type": "AuthHeader",
        "host_header": "content-platform-primary-x.s3.amazonaws.com",
        "tls_version": "TLSv1.3",
        "access_point_arn": None,
        "acl_required": "Yes",
        "role": "primary",
        "day": "2030/06/15",
    }
    assert short["operation"] == "S3.TRANSITION_SIA.OBJECT"
    assert (short["object_size"], short["version_id"], short["host_id"]) == (512, "v1", None)


def test_an_export_has_every_file_that_is_there_on_the_day(answers: Answers) -> None:
    rows = {row["file_path"]: row for row in answers["content_metadata"]}
    assert set(rows) == {"new/a.jpg", "old/b.jpg", "new/c.jpg", 'new/ü "quoted".mov'}
    row = rows["new/a.jpg"]
    assert (row["year"], row["month"], row["day"]) == (2030, 6, 15)
    assert row["tags"] == ["sea", "blue"]
    assert row["metadata"] == {"width": 40, "height": 30, "duration": None, "format": "jpeg"}
    assert (row["upload_date"], row["file_size"], row["processing_seconds"]) == ("2030-06-14", 10, 4.0)


def test_a_view_over_nothing_answers_every_question_with_nothing() -> None:
    queries = {question.name: question.sql(VALUES) for question in QUESTIONS}
    answered = ask([empty_view(table) for table in TABLES], queries)
    assert set(map(len, answered.values())) == {0}


# -- questions -----------------------------------------------------------------------------------------------------


def test_most_requested_files(answers: Answers) -> None:
    assert answers["most_requested_files"] == [
        {"path": "/processed/thumbnails/a.jpg", "requests": 2, "bytes": 1500},
        {"path": "/processed/webp/b.webp", "requests": 2, "bytes": 2000},
    ]


def test_bytes_and_hit_ratio_per_day(answers: Answers) -> None:
    earlier, later = answers["bytes_and_hit_ratio_per_day"]
    assert earlier == {"date_of_requests": "2030-06-14", "requests": 1, "bytes": 1000, "hit_percent": 100.0}
    assert later["hit_percent"] == pytest.approx(100 * 2 / 6)
    assert (later["date_of_requests"], later["requests"], later["bytes"]) == ("2030-06-15", 6, 4500)


def test_errors_by_path(answers: Answers) -> None:
    assert answers["errors_by_path"] == [
        {
            "path": "/processed/nothing",
            "status_code": 404,
            "requests": 1,
            "viewers": 1,
            "some_referrer": "https://example.org/old",
        }
    ]


def test_top_referrers(answers: Answers) -> None:
    assert [row["referrer"] for row in answers["top_referrers"]] == ["https://example.org/", "https://example.org/old"]


def test_countries(answers: Answers) -> None:
    found = {(row["country_of_viewers"], row["airport_of_the_edge"]): row["requests"] for row in answers["countries"]}
    assert found == {("unknown", "DFW"): 5, ("unknown", "FRA"): 1, ("DE", "DFW"): 1}


STORED: Final = [
    {"kind": "image", "storage_class": "GLACIER_IR", "age": "3: under a year", "files": 1, "bytes": 1 << 20},
    {"kind": "image", "storage_class": "STANDARD", "age": "1: under a month", "files": 2, "bytes": 1_010},
    {"kind": "video", "storage_class": "STANDARD", "age": "1: under a month", "files": 1, "bytes": 1_000},
]
FAILED: Final = [
    {
        "kind": "image",
        "content_type": "image/jpeg",
        "processing_error_code": "E_DECODE",
        "files": 1,
        "for_example": "new/c.jpg",
    }
]


def test_storage_by_type_tier_and_age(answers: Answers) -> None:
    assert answers["storage_by_type_tier_age"] == STORED


def test_processing_times(answers: Answers) -> None:
    assert answers["processing_times"] == [
        {"kind": "image", "upload_date": "2030-06-14", "files": 1, "average_seconds": 4.0, "longest_seconds": 4.0}
    ]


def test_processing_failures(answers: Answers) -> None:
    assert answers["processing_failures"] == FAILED


def test_daily_cost(answers: Answers) -> None:
    assert [(row["date_of_usage"], row["service"], float(row["cost"])) for row in answers["daily_cost"]] == [
        ("2030-06-14", "AmazonS3", 0.5),
        ("2030-06-15", "AWSLambda", 2.0),
        ("2030-06-15", "AmazonS3", 0.75),
    ]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_a_question_says_what_it_answers_and_needs_no_parameter_that_nobody_fills(question: Any) -> None:
    assert question.text().startswith("-- ")
    assert question.asks.endswith("?")
    assert question.parameters() <= set(VALUES)
    assert set(values_of_today()) == set(VALUES)
    assert f"FROM {question.table.name}" in question.text()


# -- Athena --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [("storage_by_type_tier_age", STORED), ("processing_failures", FAILED)])
def test_athena_answers_the_same_over_the_table_of_the_template(
    aws: Aws, name: str, expected: list[dict[str, Any]]
) -> None:
    import contentplatform_infra  # noqa: PLC0415 - names the Node to use, and so comes before the CDK

    assert contentplatform_infra.__doc__
    from infra.analytics_tables import table_inputs  # noqa: PLC0415 - starts the CDK

    suffix = f"questions-{aws.account_id}"
    bucket = f"content-platform-analytics-{suffix}"
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_object(Bucket=bucket, Key=export_key(DAY), Body=exported())
    glue = aws.client("glue")
    glue.create_database(DatabaseInput={"Name": DATABASE})
    for table in table_inputs(aws.account_id, suffix):
        glue.create_table(DatabaseName=DATABASE, TableInput=table)
    athena = aws.client("athena")
    query_id = athena.start_query_execution(
        QueryString=BY_NAME[name].sql(VALUES),
        QueryExecutionContext={"Database": DATABASE},
        ResultConfiguration={"OutputLocation": f"s3://{bucket}/athena-results/"},
    )["QueryExecutionId"]
    while (state := athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"])["State"] in {
        "QUEUED",
        "RUNNING",
    }:
        select_pause(0.02)
    assert state["State"] == "SUCCEEDED", state
    header, *rows = athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]["Rows"]
    names = [cell["VarCharValue"] for cell in header["Data"]]
    answered = [dict(zip(names, (cell["VarCharValue"] for cell in row["Data"]), strict=True)) for row in rows]
    assert answered == [{column: str(value) for column, value in row.items()} for row in expected]
    assert {CLOUDFRONT_LOGS, S3_ACCESS_LOGS, CONTENT_METADATA, COST_AND_USAGE} == set(TABLES)
