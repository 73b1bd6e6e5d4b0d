"""Config's recorder and rules as CloudFormation gets them, in both regions, with and without the recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from contentplatform.compliance.rules import RULES, Scope
from infra.synthesis import ACCOUNT_ID, SUFFIX, Templates, named, resources

GOVERNANCE: Final = "ContentPlatformGovernance"
AUDIT: Final = "ContentPlatformAudit"
ANALYTICS: Final = f"content-platform-analytics-{SUFFIX}"
PROJECT: Final = {"TagKey": "Project", "TagValue": "ContentPlatform"}
IDENTIFIERS_NEWER_THAN_THE_CDK: Final = frozenset({"DYNAMODB_TABLE_DELETION_PROTECTION_ENABLED"})
"""Looked up in AWS's own list of managed rules; the CDK's list has not got them yet."""


def rules(templates: Templates, stack: str) -> dict[str, dict[str, Any]]:
    """The rules of a stack by their names."""
    return {held["ConfigRuleName"]: held for _, held in resources(templates, "AWS::Config::ConfigRule", stack)}


def test_the_promised_rules_have_the_identifiers_that_fit_this_encryption(templates: Templates) -> None:
    found = rules(templates, GOVERNANCE)
    for name, identifier in (
        ("s3-bucket-versioning-enabled", "S3_BUCKET_VERSIONING_ENABLED"),
        ("s3-default-encryption-enabled", "S3_BUCKET_SERVER_SIDE_ENCRYPTION_ENABLED"),
    ):
        assert found[name]["Source"] == {"Owner": "AWS", "SourceIdentifier": identifier}
        assert found[name]["Scope"] == PROJECT


def test_every_identifier_is_one_that_aws_has() -> None:
    import contentplatform_infra  # noqa: PLC0415 - names the Node to use, and so comes before the CDK

    assert contentplatform_infra.__doc__
    from aws_cdk.aws_config import ManagedRuleIdentifiers  # noqa: PLC0415 - same

    unknown = {rule.identifier for rule in RULES if not hasattr(ManagedRuleIdentifiers, rule.identifier)}
    assert unknown == IDENTIFIERS_NEWER_THAN_THE_CDK


def test_no_rule_asks_for_keys_that_the_buckets_do_not_use(templates: Templates) -> None:
    for stack in (GOVERNANCE, AUDIT):
        identifiers = {held["Source"]["SourceIdentifier"] for held in rules(templates, stack).values()}
        assert not {"S3_DEFAULT_ENCRYPTION_KMS", "CLOUDFRONT_ACCESSLOGS_ENABLED"} & identifiers


def test_each_rule_is_evaluated_where_what_it_looks_at_is(templates: Templates) -> None:
    assert set(rules(templates, GOVERNANCE)) == {rule.name for rule in RULES}
    assert set(rules(templates, AUDIT)) == {rule.name for rule in RULES if rule.in_backup_region}
    assert len(rules(templates, AUDIT)) == 5


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_looks_at_no_more_than_it_has_to(templates: Templates, rule: Any) -> None:
    held = rules(templates, GOVERNANCE)[rule.name]
    if rule.by_the_clock:
        assert held["MaximumExecutionFrequency"] == "TwentyFour_Hours"
        assert "Scope" not in held
    elif rule.scope is Scope.BUCKET:
        assert held["Scope"] == {
            "ComplianceResourceTypes": ["AWS::S3::Bucket"],
            "ComplianceResourceId": f"content-platform-{rule.bucket}-{SUFFIX}",
        }
        assert "MaximumExecutionFrequency" not in held
    else:
        assert held["Scope"] == PROJECT
        assert "MaximumExecutionFrequency" not in held
    assert rule.demands in held["Description"]


def test_access_logging_is_demanded_of_logged_buckets_and_of_no_log_bucket(templates: Templates) -> None:
    logged = {
        held["Scope"]["ComplianceResourceId"]
        for held in rules(templates, GOVERNANCE).values()
        if held["Source"]["SourceIdentifier"] == "S3_BUCKET_LOGGING_ENABLED"
    }
    assert logged == {f"content-platform-{role}-{SUFFIX}" for role in ("primary", "raw", "processed")}
    for name in logged:
        assert "LoggingConfiguration" in named(templates, "AWS::S3::Bucket", BucketName=name)


def test_functions_run_on_a_version_that_the_rule_knows(templates: Templates) -> None:
    [rule] = [rule for rule in RULES if rule.identifier == "LAMBDA_FUNCTION_SETTINGS_CHECK"]
    known = rule.parameters["runtime"].split(",")
    assert {held["Runtime"] for _, held in resources(templates, "AWS::Lambda::Function", "ContentPlatform")} <= set(
        known
    )


@pytest.mark.parametrize(
    ("stack", "region", "recorded"),
    [
        (
            GOVERNANCE,
            "us-east-1",
            {
                "AWS::S3::Bucket",
                "AWS::DynamoDB::Table",
                "AWS::Lambda::Function",
                "AWS::SNS::Topic",
                "AWS::KMS::Key",
                "AWS::CloudFront::Distribution",
            },
        ),
        (AUDIT, "us-west-2", {"AWS::S3::Bucket"}),
    ],
)
def test_only_what_rules_look_at_is_recorded_and_it_goes_to_the_analytics_bucket(
    templates: Templates, stack: str, region: str, recorded: set[str]
) -> None:
    [(_, recorder)] = resources(templates, "AWS::Config::ConfigurationRecorder", stack)
    group = recorder["RecordingGroup"]
    assert (group["AllSupported"], group["IncludeGlobalResourceTypes"]) == (False, False)
    assert set(group["ResourceTypes"]) == recorded
    [(_, channel)] = resources(templates, "AWS::Config::DeliveryChannel", stack)
    assert (channel["S3BucketName"], channel["S3KeyPrefix"]) == (ANALYTICS, "config")
    assert channel["ConfigSnapshotDeliveryProperties"] == {"DeliveryFrequency": "TwentyFour_Hours"}
    role = named(templates, "AWS::IAM::Role", RoleName=f"content-platform-config-{region}")
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {
            "Action": "sts:AssumeRole",
            "Effect": "Allow",
            "Principal": {"Service": "config.amazonaws.com"},
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT_ID}},
        }
    ]
    [policy] = role["Policies"]
    writes, _ = policy["PolicyDocument"]["Statement"]
    assert writes["Resource"] == f"arn:aws:s3:::{ANALYTICS}/config/AWSLogs/{ACCOUNT_ID}/Config/*"


def test_no_rule_is_made_before_there_is_a_recorder(templates: Templates) -> None:
    for stack in (GOVERNANCE, AUDIT):
        held = templates[stack]["Resources"]
        first = {
            name
            for name, resource in held.items()
            if resource["Type"] in {"AWS::Config::ConfigurationRecorder", "AWS::Config::DeliveryChannel"}
        }
        assert len(first) == 2
        for resource in held.values():
            if resource["Type"] == "AWS::Config::ConfigRule":
                assert first <= set(resource["DependsOn"])


def test_where_the_account_records_already_only_the_rules_are_made(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"config_recorder": False})
    for kind in ("AWS::Config::ConfigurationRecorder", "AWS::Config::DeliveryChannel"):
        assert list(resources(templates, kind)) == []
    assert set(rules(templates, GOVERNANCE)) == {rule.name for rule in RULES}
    assert all("DependsOn" not in resource for resource in templates[GOVERNANCE]["Resources"].values())


def test_elsewhere_the_rules_of_global_services_are_left_out(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"region": "eu-central-1"})
    assert set(rules(templates, GOVERNANCE)) == {rule.name for rule in RULES if not rule.global_services}
    [(_, recorder)] = resources(templates, "AWS::Config::ConfigurationRecorder", GOVERNANCE)
    assert "AWS::CloudFront::Distribution" not in recorder["RecordingGroup"]["ResourceTypes"]


def test_the_data_say_what_each_home_can_check() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert {rule.name for rule in RULES if rule.at_home} >= {
        "s3-bucket-versioning-enabled",
        "s3-default-encryption-enabled",
        "s3-primary-replication-enabled",
    }
    assert all((rule.scope is Scope.BUCKET) == (rule.bucket is not None) for rule in RULES)
