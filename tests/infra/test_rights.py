"""What each function may do: exactly what its code does, on nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from contentplatform.catalog.tables import LEDGER
from contentplatform.lambdas.functions import FUNCTIONS
from contentplatform_infra import rights
from contentplatform_infra.names import Names
from contentplatform_infra.rights import Places, statements
from contentplatform_infra.wildcards import wildcards_of
from infra.synthesis import ACCOUNT_ID, REGION, SUFFIX, Templates, resources, settings_of

NAMES: Final = Names.of(settings_of(), ACCOUNT_ID)
STREAM: Final = f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/content-metadata/stream/2026-01-01T00:00:00.000"
EDGE: Final = f"arn:aws:cloudfront::{ACCOUNT_ID}:distribution/E123"
PLACES: Final = Places(NAMES, STREAM, EDGE)
ALL: Final = tuple(function.name for function in FUNCTIONS)
PROCESSORS: Final = tuple(name for name in ALL if "processor" in name or "video" in name or "mediaconvert" in name)
PUBLIC: Final = ("processed/", "video-processed/")


def granted(function: str) -> Iterator[tuple[str, str]]:
    """Every action and resource that a function's role allows."""
    for statement in statements(function, PLACES):
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield action, resource


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def may(function: str, action: str, resource: str) -> bool:
    """Whether IAM would let a function do this, looking at actions and resources only."""
    return any(
        allowed == action and re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource)
        for allowed, pattern in granted(function)
    )


def of(role: str, key: str = "") -> str:
    return f"arn:aws:s3:::content-platform-{role}-{SUFFIX}" + (f"/{key}" if key else "")


def table(name: str, index: str = "") -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/{name}" + (f"/index/{index}" if index else "")


def test_every_function_has_rights_and_only_functions_have() -> None:
    assert set(rights.RIGHTS) == set(ALL)


# -- what none may -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ALL)
def test_no_function_deletes_an_original_or_touches_the_second_copy(function: str) -> None:
    touching = {
        action
        for action, resource in granted(function)
        if resource.startswith((of("primary"), of("backup"), of("logs"))) and not re.match(r"s3:(Get|List)", action)
    }
    assert touching == set()


@pytest.mark.parametrize("function", ALL)
def test_no_function_takes_anything_away_but_what_can_be_made_again(function: str) -> None:
    allowed = (of("processed", "processed/"), of("processed", "video-processed/"), of("processed", "versions/"))
    for action, resource in granted(function):
        if action.startswith("s3:Delete"):
            assert action == "s3:DeleteObjectVersion"
            made_again = (of("analytics", "catalog/manifests/"), of("analytics", "hashing/"))
            assert resource.startswith((*allowed, *made_again))


@pytest.mark.parametrize("function", ALL)
def test_no_function_changes_what_guards_buckets_or_scans_and_one_passes_a_role(function: str) -> None:
    harmless = re.compile(r"s3:(Get|List|Put|Delete|Abort)(Object|Bucket|MultipartUpload)\w*|[^s].*|s[^3].*")
    actions = {action for action, _ in granted(function)}
    assert all(harmless.fullmatch(action) for action in actions)
    assert not {action for action in actions if re.match(r"s3:(Put|Delete)Bucket|dynamodb:Scan|.*Acl$", action)}
    passing = {"iam:PassRole"} if function == "content-video-processor" else set()
    assert {action for action in actions if action.startswith("iam:")} == passing
    assert not {action for action in actions if "*" in action}


def test_the_role_that_is_passed_is_mediaconvert_s_and_only_to_mediaconvert() -> None:
    [passing] = [
        statement
        for statement in statements("content-video-processor", PLACES)
        if "iam:PassRole" in _listed(statement["Action"])
    ]
    assert passing == {
        "Effect": "Allow",
        "Action": ["iam:PassRole"],
        "Resource": [f"arn:aws:iam::{ACCOUNT_ID}:role/MediaConvertRole"],
        "Condition": {"StringEquals": {"iam:PassedToService": "mediaconvert.amazonaws.com"}},
    }


def test_only_one_function_asks_for_encodings_and_in_one_queue_only() -> None:
    asking = {
        (function, resource)
        for function in ALL
        for action, resource in granted(function)
        if action == "mediaconvert:CreateJob"
    }
    assert asking == {("content-video-processor", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:queues/Default")}


@pytest.mark.parametrize("function", ALL)
def test_every_wildcard_has_a_written_reason(function: str) -> None:
    unexplained = [
        (found.kind, found.text, found.actions)
        for found in wildcards_of({"Statement": statements(function, PLACES)})
        if found.reason is None
    ]
    assert unexplained == []


@pytest.mark.parametrize("function", ALL)
def test_everything_is_in_this_account_and_region(function: str) -> None:
    for _, resource in granted(function):
        if resource != "*" and not resource.startswith("arn:aws:s3:::"):
            assert f":{ACCOUNT_ID}:" in resource
            assert resource.split(":")[3] in {REGION, ""}


@pytest.mark.parametrize("function", ALL)
def test_a_bucket_of_a_stranger_with_the_same_name_is_refused(function: str) -> None:
    for statement in statements(function, PLACES):
        if any(action.startswith("s3:") for action in _listed(statement["Action"])):
            assert statement["Condition"] == {"StringEquals": {"aws:ResourceAccount": ACCOUNT_ID}}


@pytest.mark.parametrize("function", ALL)
def test_each_logs_to_its_own_log_group_only(function: str) -> None:
    logs = {resource for action, resource in granted(function) if action.startswith("logs:")}
    assert logs == {f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:/aws/lambda/{function}:*"}


@pytest.mark.parametrize("function", PROCESSORS)
def test_a_processor_writes_no_public_key_and_starts_nothing(function: str) -> None:
    for action, resource in granted(function):
        assert not action.startswith(("states:", "sns:", "sqs:", "cloudfront:"))
        if action.startswith(("s3:Put", "s3:Delete")):
            assert resource == of("processed", "versions/*")


# -- what each has to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "action", "resource"),
    [
        ("content-upload-handler", "s3:GetObject", of("primary", "a/b.jpg")),
        ("content-upload-handler", "s3:ListBucketVersions", of("primary")),
        ("content-upload-handler", "s3:PutObject", of("raw", "year=2026/month=01/day=02/hour=03/a")),
        ("content-upload-handler", "s3:DeleteObjectVersion", of("processed", "versions/f/v/r/thumbnail.jpg")),
        ("content-upload-handler", "states:StartExecution", rights.machine_arn(NAMES)),
        ("content-upload-handler", "sqs:DeleteMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:content-platform-uploads"),
        ("content-upload-handler", "cloudfront:CreateInvalidation", EDGE),
        ("content-image-processor", "s3:GetObjectVersion", of("primary", "a.jpg")),
        ("content-image-processor", "s3:PutObject", of("processed", "versions/f/v/r/thumbnail.jpg")),
        ("content-image-processor", "dynamodb:Query", table("content-ledger", "by-content")),
        ("content-image-processor", "dynamodb:PutItem", table("content-metadata")),
        ("content-video-processor", "s3:GetObjectVersion", of("primary", "a.mov")),
        ("content-video-processor", "s3:PutObject", of("processed", "versions/f/v/staging/process-1.mov")),
        ("content-video-processor", "mediaconvert:GetJob", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:jobs/1-a"),
        ("check-mediaconvert-status", "mediaconvert:GetJob", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:jobs/1-a"),
        ("check-mediaconvert-status", "dynamodb:PutItem", table("content-metadata")),
        ("content-video-finisher", "s3:GetObject", of("processed", "versions/f/v/r/720p.mp4")),
        ("content-video-finisher", "s3:PutObject", of("processed", "versions/f/v/r/hls.m3u8")),
        ("content-audio-processor", "s3:PutObject", of("processed", "versions/f/v/r/m4a.m4a")),
        ("content-document-processor", "s3:PutObject", of("processed", "versions/f/v/r/text.txt")),
        ("record-failure", "mediaconvert:CancelJob", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:jobs/1-a"),
        ("record-failure", "s3:DeleteObjectVersion", of("processed", "versions/f/v/staging/process-1.mov")),
        (
            "content-execution-recorder",
            "mediaconvert:CancelJob",
            f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:jobs/1-a",
        ),
        ("content-generic-processor", "s3:GetObjectVersion", of("primary", "a.bin")),
        ("update-metadata", "s3:PutObject", of("processed", "processed/thumbnails/a.jpg.jpg")),
        ("update-metadata", "s3:DeleteObjectVersion", of("processed", "processed/webp/a.jpg.webp")),
        ("update-metadata", "s3:PutObject", of("analytics", "catalog/manifests/0123.json")),
        ("update-metadata", "s3:GetObjectVersion", of("processed", "versions/f/v/r/webp.webp")),
        ("record-failure", "s3:DeleteObjectVersion", of("processed", "processed/medium/a.jpg.jpg")),
        ("record-failure", "dynamodb:PutItem", table("content-ledger")),
        ("cloudfront-invalidation", "cloudfront:CreateInvalidation", EDGE),
        ("content-image-transformer", "s3:GetObjectVersion", of("primary", "a.jpg")),
        ("content-image-transformer", "s3:GetObject", of("processed", "versions/f/v/r/webp.webp")),
        ("content-image-transformer", "dynamodb:Query", table("content-ledger")),
        ("content-search-indexer", "dynamodb:GetRecords", STREAM),
        ("content-search-indexer", "dynamodb:BatchWriteItem", table("content-search")),
        ("content-search-indexer", "dynamodb:UpdateItem", table("content-search")),
        (
            "content-search-indexer",
            "sqs:SendMessage",
            f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:content-platform-failed-calls",
        ),
        ("content-execution-recorder", "dynamodb:UpdateItem", table("content-ledger")),
        ("content-reconciler", "dynamodb:Query", table("content-metadata", "by-upload-time")),
        ("content-reconciler", "s3:PutObject", of("analytics", "reconciliation/position.json")),
        ("content-backup-validator", "s3:ListBucketVersions", of("backup")),
        ("content-backup-validator", "s3:PutObject", of("analytics", "backup-reports/last.json")),
        ("content-backup-validator", "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:backup-alerts"),
        ("content-metadata-export", "s3:PutObject", of("analytics", "content-metadata/year=2026/files.json.gz")),
        ("cost-report-generator", "ce:GetCostAndUsage", "*"),
        ("cost-report-generator", "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:backup-alerts"),
    ],
)
def test_a_function_may_do_what_its_code_does(function: str, action: str, resource: str) -> None:
    assert may(function, action, resource)


@pytest.mark.parametrize("name", ["content-upload-handler", "content-execution-recorder", "content-reconciler"])
def test_executions_are_told_of_by_the_executions_own_name(name: str) -> None:
    execution = f"arn:aws:states:{REGION}:{ACCOUNT_ID}:execution:content-processing-workflow:process-1"
    assert may(name, "states:DescribeExecution", execution)
    assert not may(name, "states:DescribeExecution", rights.machine_arn(NAMES))


@pytest.mark.parametrize(
    ("function", "action", "resource"),
    [
        ("content-image-processor", "s3:PutObject", of("processed", "processed/thumbnails/a.jpg.jpg")),
        ("content-image-processor", "s3:PutObject", of("primary", "a.jpg")),
        ("record-failure", "s3:PutObject", of("processed", "processed/thumbnails/a.jpg.jpg")),
        ("record-failure", "s3:DeleteObjectVersion", of("processed", "versions/f/v/r/720p.mp4")),
        ("check-mediaconvert-status", "s3:GetObject", of("primary", "a.mov")),
        ("check-mediaconvert-status", "mediaconvert:CancelJob", f"arn:aws:mediaconvert:{REGION}:{ACCOUNT_ID}:jobs/1-a"),
        ("cloudfront-invalidation", "cloudfront:CreateInvalidation", EDGE.replace("E123", "E999")),
        ("content-image-transformer", "s3:PutObject", of("processed", "versions/f/v/r/webp.webp")),
        ("content-image-transformer", "dynamodb:PutItem", table("content-metadata")),
        ("content-image-transformer", "cloudfront:CreateInvalidation", EDGE),
        ("cost-report-generator", "s3:GetObject", of("primary", "a.jpg")),
        ("content-search-indexer", "dynamodb:PutItem", table("content-metadata")),
        ("content-upload-handler", "s3:PutObject", of("analytics", "s3-access-logs/primary/x")),
    ],
)
def test_a_function_may_not_do_what_its_code_doesn_t(function: str, action: str, resource: str) -> None:
    assert not may(function, action, resource)


def test_an_index_that_the_table_has_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = (rights.OnTable(LEDGER, ("dynamodb:Query",), ("by-nothing",)),)
    monkeypatch.setitem(rights.RIGHTS, "record-failure", planted)
    with pytest.raises(KeyError, match="by-nothing"):
        statements("record-failure", PLACES)


# -- in the template -----------------------------------------------------------------------------------------------


def test_each_role_in_the_template_says_what_the_data_says(templates: Templates) -> None:
    roles = {held["RoleName"]: held for _, held in resources(templates, "AWS::IAM::Role", "ContentPlatform")}
    for function in ALL:
        role = roles[f"{function}-role"]
        [policy] = role["Policies"]
        assert "ManagedPolicyArns" not in role
        assert actions_of(policy["PolicyDocument"]["Statement"]) == actions_of(statements(function, PLACES))


def test_no_role_has_rights_beside_those_written_in_it(templates: Templates) -> None:
    functions = {f"{function}-role" for function in ALL}
    names = {
        name
        for name, held in resources(templates, "AWS::IAM::Role", "ContentPlatform")
        if held["RoleName"] in functions
    }
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for _, held in resources(templates, kind):
            assert not {reference["Ref"] for reference in held.get("Roles", [])} & names


def test_a_role_s_rights_fit_into_it(templates: Templates) -> None:
    """IAM counts the characters of all policies inside a role, without blanks: at most 10 240."""
    for _, held in resources(templates, "AWS::IAM::Role"):
        policies = [policy["PolicyDocument"] for policy in held.get("Policies", [])]
        assert len(json.dumps(policies, separators=(",", ":"))) < 9_000, held["RoleName"]


def test_rights_follow_the_names() -> None:
    elsewhere = replace(NAMES, account_id="999988887777", bucket_suffix="other")
    document = json.dumps(statements("content-upload-handler", replace(PLACES, names=elsewhere, distribution_arn="x")))
    assert SUFFIX not in document
    assert ACCOUNT_ID not in document


def actions_of(found: list[dict[str, Any]]) -> set[str]:
    return {action for statement in found for action in _listed(statement["Action"])}
