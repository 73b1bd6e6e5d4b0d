"""Budget, Storage Lens, cost export and firewall as CloudFormation gets them; what they cost is off or small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from contentplatform.analytics.tables import COST_AND_USAGE
from contentplatform.cost.estimate import idle_cost
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.lifecycle import BUCKETS
from infra.synthesis import ACCOUNT_ID, SUFFIX, Templates, named, resources

GOVERNANCE: Final = "ContentPlatformGovernance"
TOPIC: Final = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:backup-alerts"
ANALYTICS: Final = f"content-platform-analytics-{SUFFIX}"


# -- budget --------------------------------------------------------------------------------------------------------


def test_the_budget_tells_the_topic_at_80_percent_of_what_was_spent(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::Budgets::Budget", GOVERNANCE)
    assert held["Budget"] == {
        "BudgetName": "ContentPlatformMonthlyBudget",
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": 50, "Unit": "USD"},
    }
    assert held["NotificationsWithSubscribers"] == [
        {
            "Notification": {
                "NotificationType": "ACTUAL",
                "ComparisonOperator": "GREATER_THAN",
                "Threshold": 80,
                "ThresholdType": "PERCENTAGE",
            },
            "Subscribers": [{"SubscriptionType": "SNS", "Address": TOPIC}],
        }
    ]


def test_the_budget_is_the_one_that_is_set(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"monthly_budget_usd": 120.5})
    [(_, held)] = resources(templates, "AWS::Budgets::Budget")
    assert held["Budget"]["BudgetLimit"] == {"Amount": 120.5, "Unit": "USD"}


# -- Storage Lens --------------------------------------------------------------------------------------------------


def test_storage_lens_looks_at_the_platform_s_buckets_and_no_others(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::S3::StorageLens", GOVERNANCE)
    on = {
        "ActivityMetrics": {"IsEnabled": True},
        "AdvancedCostOptimizationMetrics": {"IsEnabled": True},
    }
    assert held["StorageLensConfiguration"] == {
        "Id": "content-platform-lens",
        "IsEnabled": True,
        "AccountLevel": {**on, "BucketLevel": on},
        "Include": {"Buckets": [f"arn:aws:s3:::content-platform-{bucket.role}-{SUFFIX}" for bucket in BUCKETS]},
    }
    assert {tag["Key"]: tag["Value"] for tag in held["Tags"]} == {
        "Project": "ContentPlatform",
        "Environment": "Production",
        "CostCenter": "Media",
    }


# -- the export of costs -------------------------------------------------------------------------------------------


def test_costs_are_exported_daily_in_the_table_s_columns_to_the_table_s_folder(templates: Templates) -> None:
    [(_, held)] = resources(templates, "AWS::BCMDataExports::Export", GOVERNANCE)
    export = held["Export"]
    columns = ", ".join(column.name for column in COST_AND_USAGE.columns)
    assert export["Name"] == "content-platform-costs"
    assert export["DataQuery"]["QueryStatement"] == f"SELECT {columns} FROM COST_AND_USAGE_REPORT"
    assert export["DataQuery"]["TableConfigurations"]["COST_AND_USAGE_REPORT"]["TIME_GRANULARITY"] == "DAILY"
    assert export["RefreshCadence"] == {"Frequency": "SYNCHRONOUS"}
    assert export["DestinationConfigurations"]["S3Destination"] == {
        "S3Bucket": ANALYTICS,
        "S3Prefix": "cost",
        "S3Region": "us-east-1",
        "S3OutputConfigurations": {
            "Format": "PARQUET",
            "Compression": "PARQUET",
            "OutputType": "CUSTOM",
            "Overwrite": "OVERWRITE_REPORT",
        },
    }
    assert COST_AND_USAGE.folder + COST_AND_USAGE.path == (
        f"cost/{export['Name']}/data/BILLING_PERIOD=${{billing_period}}/"
    )


def statement(templates: Templates, sid: str) -> Mapping[str, Any]:
    """A statement of the analytics bucket's policy."""
    policies = [
        held
        for _, held in resources(templates, "AWS::S3::BucketPolicy")
        if ANALYTICS in str(held["PolicyDocument"])
        and any(one.get("Sid") == sid for one in held["PolicyDocument"]["Statement"])
    ]
    assert len(policies) == 1
    [found] = [one for one in policies[0]["PolicyDocument"]["Statement"] if one.get("Sid") == sid]
    return dict(found)


def test_the_bucket_lets_exports_of_this_account_in_and_into_their_folder_only(templates: Templates) -> None:
    services = {"Service": ["bcm-data-exports.amazonaws.com", "billingreports.amazonaws.com"]}
    condition = {
        "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
        "ArnLike": {
            "aws:SourceArn": [
                f"arn:aws:bcm-data-exports:us-east-1:{ACCOUNT_ID}:export/*",
                f"arn:aws:cur:us-east-1:{ACCOUNT_ID}:definition/*",
            ]
        },
    }
    assert statement(templates, "CostExportWrites") == {
        "Sid": "CostExportWrites",
        "Effect": "Allow",
        "Principal": services,
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{ANALYTICS}/cost/*",
        "Condition": condition,
    }
    assert statement(templates, "CostExportLooksAtTheBucket") == {
        "Sid": "CostExportLooksAtTheBucket",
        "Effect": "Allow",
        "Principal": services,
        "Action": "s3:GetBucketPolicy",
        "Resource": f"arn:aws:s3:::{ANALYTICS}",
        "Condition": condition,
    }


def test_elsewhere_there_is_no_export_because_aws_makes_none_there(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"region": "eu-central-1"})
    assert list(resources(templates, "AWS::BCMDataExports::Export")) == []
    assert len(list(resources(templates, "AWS::Budgets::Budget"))) == 1


# -- firewall ------------------------------------------------------------------------------------------------------


def test_there_is_no_firewall_unless_it_is_set(templates: Templates) -> None:
    assert list(resources(templates, "AWS::WAFv2::WebACL")) == []
    [(_, edge)] = resources(templates, "AWS::CloudFront::Distribution")
    assert "WebACLId" not in edge["DistributionConfig"]


def test_the_firewall_stands_before_the_edge_with_three_rules(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"web_application_firewall": True})
    [(name, held)] = resources(templates, "AWS::WAFv2::WebACL")
    [(_, edge)] = resources(templates, "AWS::CloudFront::Distribution")
    assert edge["DistributionConfig"]["WebACLId"] == {"Fn::GetAtt": [name, "Arn"]}
    assert (held["Scope"], held["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    repute, common, rate = sorted(held["Rules"], key=lambda rule: int(rule["Priority"]))
    for rule, group in (
        (repute, "AWSManagedRulesAmazonIpReputationList"),
        (common, "AWSManagedRulesCommonRuleSet"),
    ):
        assert rule["Statement"] == {"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": group}}
        assert rule["OverrideAction"] == {"None": {}}
    assert rate["Action"] == {"Block": {}}
    assert rate["Statement"] == {
        "RateBasedStatement": {"Limit": 2_000, "AggregateKeyType": "IP", "EvaluationWindowSec": 300}
    }
    visible = [held["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in held["Rules"])]
    assert all(one["CloudWatchMetricsEnabled"] and one["SampledRequestsEnabled"] for one in visible)
    assert len({one["MetricName"] for one in visible}) == 4


def test_a_firewall_in_a_region_that_has_none_is_refused_in_words(templates_for: Callable[..., Templates]) -> None:
    with pytest.raises(ConfigurationInvalid, match="eu-central-1") as refused:
        templates_for(aws={"region": "eu-central-1", "web_application_firewall": True})
    assert "turn aws.web_application_firewall off" in refused.value.hint


def test_all_stacks_together_cost_at_most_three_dollars_while_nothing_happens(templates: Templates) -> None:
    found = idle_cost(resource for template in templates.values() for resource in template["Resources"].values())
    assert found.unknown == ()
    assert found.total_usd <= 3


def test_the_firewall_costs_what_its_setting_says(templates_for: Callable[..., Templates]) -> None:
    templates = templates_for(aws={"web_application_firewall": True})
    firewall = [
        resource
        for resource in templates["ContentPlatform"]["Resources"].values()
        if resource["Type"] == "AWS::WAFv2::WebACL"
    ]
    assert idle_cost(firewall).total_usd == 8


def test_what_costs_while_idle_is_named_and_tagged(templates: Templates) -> None:
    assert named(templates, "AWS::SNS::Topic", TopicName="backup-alerts")["Tags"]
    [(_, key)] = resources(templates, "AWS::KMS::Key")
    assert {tag["Key"] for tag in key["Tags"]} == {"Project", "Environment", "CostCenter"}
