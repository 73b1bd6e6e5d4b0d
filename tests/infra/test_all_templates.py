"""What holds for every resource of every stack, whoever wrote its construct, with all switches off and all on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from cfnlint.api import ManualArgs, lint_file

from infra.synthesis import ACCOUNT_ID, Templates, settings_of

EVERYTHING: Final[Mapping[str, Mapping[str, Any]]] = {
    "storage": {"tiering": "intelligent"},
    "aws": {
        "replication_time_control": True,
        "object_lock": True,
        "web_application_firewall": True,
        "shared_files": True,
        "quicksight": True,
    },
}
TAGS: Final = {"Project": "ContentPlatform", "Environment": "Production", "CostCenter": "Media"}
TAG_PROPERTIES: Final = (
    "Tags",
    "FileSystemTags",
    "AccessPointTags",
    "HostedZoneTags",
    "UserPoolTags",
    "BackupVaultTags",
)
UNTAGGED: Final[Mapping[str, str]] = {}
"""Types whose schema has tags that the CDK does not write, each with the reason why they have none."""
IGNORED_LINT: Final[Mapping[str, str]] = {
    "W3005": "the CDK tells of a dependency, also where a reference already does",
}
"""Rules of cfn-lint that are ignored, each with its reason."""


@pytest.fixture(scope="session", params=["default", "everything"])
def every(request: pytest.FixtureRequest, templates: Templates, templates_for: Callable[..., Templates]) -> Templates:
    """All templates, for the default settings and with every switch on."""
    return templates if request.param == "default" else templates_for(**EVERYTHING)


def all_resources(templates: Templates) -> Iterator[tuple[str, dict[str, Any]]]:
    for stack, template in templates.items():
        for name, resource in template["Resources"].items():
            yield f"{stack}/{name}", resource


# -- wildcards ---------------------------------------------------------------------------------------------------


def test_no_policy_holds_a_wildcard_without_a_reason(every: Templates) -> None:
    from infra.wildcards import wildcards  # noqa: PLC0415 - starts Node; most test processes never need it

    unexplained = [str(wild) for wild in wildcards(every) if wild.found.reason is None]
    assert unexplained == []


def test_no_reason_is_left_over(templates: Templates, templates_for: Callable[..., Templates]) -> None:
    from contentplatform_infra.wildcards import WILDCARDS  # noqa: PLC0415 - same
    from infra.wildcards import wildcards  # noqa: PLC0415 - same

    used = {wild.found.reason for every in (templates, templates_for(**EVERYTHING)) for wild in wildcards(every)}
    assert [known.because for known in WILDCARDS if known not in used] == []


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "s3:*", "Resource": "arn:aws:s3:::content-platform-raw-x/*"},
        {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::content-platform-*/*"},
        {"Action": "s3:GetObject", "Resource": "*"},
        {"Action": ["s3:GetObject", "s3:PutBucketPolicy"], "Resource": "arn:aws:s3:::content-platform-raw-x/*"},
        {"Action": "dynamodb:Scan", "Resource": "arn:aws:dynamodb:us-east-1:111122223333:table/*"},
        {"Action": "iam:PassRole", "Resource": {"Fn::Join": ["", ["arn:aws:iam::*:role/", {"Ref": "Role"}]]}},
        {"NotAction": "s3:GetObject", "Resource": "arn:aws:s3:::content-platform-raw-x"},
        {"Action": "s3:GetObject", "NotResource": "arn:aws:s3:::content-platform-raw-x"},
        {"Action": "s3:GetBucketPolicy", "Principal": "*", "Resource": "arn:aws:s3:::content-platform-raw-x"},
        {"Action": "sqs:SendMessage", "Principal": {"AWS": ["*"]}, "Resource": {"Fn::GetAtt": ["Queue", "Arn"]}},
    ],
)
def test_a_planted_wildcard_is_found(statement: Mapping[str, Any]) -> None:
    from infra.wildcards import wildcards  # noqa: PLC0415 - same

    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": document}]}}
    text = {"Type": "AWS::Logs::ResourcePolicy", "Properties": {"PolicyDocument": json.dumps(document)}}
    for carrier in (role, text):
        found = list(wildcards({"Planted": {"Resources": {"It": carrier}}}))
        assert any(wild.found.reason is None for wild in found), found


def test_a_deny_and_an_exact_allow_are_no_wildcards() -> None:
    from infra.wildcards import wildcards  # noqa: PLC0415 - same

    statements = [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetBucketPolicy", "Resource": "arn:aws:s3:::content-platform-raw-x"},
    ]
    policy = {"Type": "AWS::IAM::Policy", "Properties": {"PolicyDocument": {"Statement": statements}}}
    assert list(wildcards({"Planted": {"Resources": {"It": policy}}})) == []


# -- tags, accounts ----------------------------------------------------------------------------------------------


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a resource, in whatever form its type has them."""
    held = resource.get("Properties", {})
    for name in TAG_PROPERTIES:
        tags = held.get(name)
        if isinstance(tags, dict):
            return dict(tags)
        if isinstance(tags, list):
            return {tag["Key"]: tag["Value"] for tag in tags}
    return {}


def takes_tags(kind: str) -> bool:
    """Whether CloudFormation's schema of a type has one of the properties for tags."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # noqa: PLC0415 - slow to load

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return any(name in schema.get("properties", {}) for name in TAG_PROPERTIES)


def test_whatever_can_carry_tags_carries_all_three(every: Templates) -> None:
    untagged = [
        (name, resource["Type"])
        for name, resource in all_resources(every)
        if resource["Type"] not in UNTAGGED
        and takes_tags(resource["Type"])
        and not TAGS.items() <= tags_of(resource).items()
    ]
    assert untagged == []


def test_each_region_s_table_carries_the_tags(every: Templates) -> None:
    replicas = [
        replica
        for _, resource in all_resources(every)
        if resource["Type"] == "AWS::DynamoDB::GlobalTable"
        for replica in resource["Properties"]["Replicas"]
    ]
    assert replicas
    assert all({tag["Key"]: tag["Value"] for tag in replica["Tags"]} == TAGS for replica in replicas)


def test_no_template_names_another_account(every: Templates) -> None:
    for stack, template in every.items():
        named = set(re.findall(r"(?<![\w-])\d{12}(?![\w-])", json.dumps(template)))
        assert named <= {ACCOUNT_ID}, stack


def test_no_template_holds_what_this_machine_or_a_person_is_called(every: Templates) -> None:
    for stack, template in every.items():
        text = json.dumps(template).replace("ops@example.org", "")
        assert str(Path.home()) not in text, stack
        assert not re.search(r"[\w.]+@[\w-]+\.[a-z]{2,}\b", text), stack


# -- the checkers of others --------------------------------------------------------------------------------------


def test_cfn_lint_finds_nothing(every: Templates, tmp_path: Path) -> None:
    told = []
    for stack, template in every.items():
        path = tmp_path / f"{stack}.json"
        path.write_text(json.dumps(template), "utf-8")
        regions = ["us-west-2" if stack in {"ContentPlatformBackup", "ContentPlatformAudit"} else "us-east-1"]
        arguments = ManualArgs(regions=regions, ignore_checks=list(IGNORED_LINT))
        told += [
            f"{stack}: {match.rule.id} {match.message} {match.path}" for match in lint_file(path, config=arguments)
        ]
    assert told == []


def nag(switches: Mapping[str, Mapping[str, Any]], folder: Path, *, planted: bool = False) -> list[tuple[str, str]]:
    """What cdk-nag and the CDK's own validation say of all stacks: rule and construct."""
    from aws_cdk import Stack, Validations, aws_s3  # noqa: PLC0415 - starts Node; most test processes never need it
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415 - same

    from contentplatform_infra.app import build  # noqa: PLC0415 - same

    app = build(settings_of(**switches), str(folder), account_id=ACCOUNT_ID)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    if planted:
        aws_s3.CfnBucket(Stack.of(app.node.find_child("ContentPlatform")), "Planted")
    try:
        app.synth()
    except RuntimeError as error:
        if "ValidationFailed" not in str(error):
            raise
    report = json.loads((folder / "validation-report.json").read_text("utf-8"))
    return [
        (violation["ruleName"], construct["constructPath"])
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ]


@pytest.mark.parametrize("switches", [{}, EVERYTHING], ids=["default", "everything"])
def test_cdk_nag_finds_nothing(switches: Mapping[str, Mapping[str, Any]], tmp_path: Path) -> None:
    assert nag(switches, tmp_path) == []


def test_cdk_nag_finds_a_planted_bucket(tmp_path: Path) -> None:
    assert {rule for rule, path in nag({}, tmp_path, planted=True) if path == "ContentPlatform/Planted"} >= {
        "AwsSolutions-S1",
        "AwsSolutions-S10",
    }


def test_every_waiver_is_for_something_that_is_there(tmp_path: Path) -> None:
    from contentplatform_infra.app import build  # noqa: PLC0415 - same
    from contentplatform_infra.waivers import WAIVERS, find  # noqa: PLC0415 - same

    app = build(settings_of(**EVERYTHING), str(tmp_path), account_id=ACCOUNT_ID)
    assert [waiver for waiver in WAIVERS if find(app, waiver) is None] == []
