"""The buckets' properties, each number written out: the emulator drops most of them in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from infra.synthesis import ACCOUNT_ID, SUFFIX, Templates, resources

ROLES: Final = ("primary", "raw", "processed", "analytics", "backup", "logs")
MAIN_ROLES: Final = ("primary", "raw", "processed", "analytics")


def name_of(role: str) -> str:
    return f"content-platform-{role}-{SUFFIX}"


def bucket(templates: Templates, role: str) -> dict[str, Any]:
    """The properties of a bucket."""
    [found] = [held for _, held in resources(templates, "AWS::S3::Bucket") if held["BucketName"] == name_of(role)]
    return found


def rules(templates: Templates, role: str) -> dict[str, dict[str, Any]]:
    """The lifecycle rules of a bucket, by name."""
    configuration = bucket(templates, role)["LifecycleConfiguration"]
    assert configuration["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    return {rule.pop("Id"): rule for rule in map(dict, configuration["Rules"])}


ABORTED_ONLY: Final = {
    "abort-incomplete-uploads": {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}
}


def ended(name: str, prefix: str, days: int) -> dict[str, dict[str, Any]]:
    return {name: {"Status": "Enabled", "Prefix": prefix, "ExpirationInDays": days}}


def replaced(role: str, days: int) -> dict[str, dict[str, Any]]:
    kept = {"NoncurrentVersionExpiration": {"NoncurrentDays": days}, "ExpiredObjectDeleteMarker": True}
    return {f"{role}-replaced": {"Status": "Enabled", **kept}}


def moves(*steps: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"TransitionInDays": days, "StorageClass": storage_class} for days, storage_class in steps]


# -- what every bucket has ---------------------------------------------------------------------------------------


def test_there_are_six_buckets_in_their_two_regions(templates: Templates) -> None:
    assert {held["BucketName"] for _, held in resources(templates, "AWS::S3::Bucket", "ContentPlatform")} == {
        name_of(role) for role in MAIN_ROLES
    }
    assert {held["BucketName"] for _, held in resources(templates, "AWS::S3::Bucket", "ContentPlatformBackup")} == {
        name_of("backup"),
        name_of("logs"),
    }
    assert len(list(resources(templates, "AWS::S3::Bucket"))) == len(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_every_bucket_is_versioned_encrypted_and_closed(templates: Templates, role: str) -> None:
    held = bucket(templates, role)
    assert held["VersioningConfiguration"] == {"Status": "Enabled"}
    assert held["BucketEncryption"] == {
        "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    }
    assert held["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    assert held["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert "AccessControl" not in held


def test_buckets_and_their_policies_outlive_the_stack_but_not_a_first_deployment_that_failed(
    templates: Templates,
) -> None:
    kept = [
        (resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
        for template in templates.values()
        for resource in template.get("Resources", {}).values()
        if resource["Type"] in {"AWS::S3::Bucket", "AWS::S3::BucketPolicy"}
    ]
    assert kept == [("RetainExceptOnCreate", "Retain")] * (2 * len(ROLES))


# -- how objects age ---------------------------------------------------------------------------------------------


def test_originals_age_by_the_rule(templates: Templates) -> None:
    assert rules(templates, "primary") == {
        "intelligent-content-tiering": {
            "Status": "Enabled",
            "Transitions": moves((30, "STANDARD_IA"), (90, "GLACIER_IR"), (365, "GLACIER"), (1095, "DEEP_ARCHIVE")),
            "NoncurrentVersionTransitions": moves((30, "STANDARD_IA"), (60, "GLACIER")),
            "NoncurrentVersionExpiration": {"NoncurrentDays": 2555},
            "ExpiredObjectDeleteMarker": True,
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
    }


def test_raw_copies_are_archived_at_once_and_small_ones_stay(templates: Templates) -> None:
    assert rules(templates, "raw") == {
        "raw-archive": {"Status": "Enabled", "ObjectSizeGreaterThan": 131071, "Transitions": moves((0, "GLACIER_IR"))},
        **ABORTED_ONLY,
    }


def test_logs_and_exports_are_archived(templates: Templates) -> None:
    assert rules(templates, "analytics") == {
        "analytics-archive": {
            "Status": "Enabled",
            "ObjectSizeGreaterThan": 131071,
            "Transitions": moves((90, "GLACIER_IR"), (365, "DEEP_ARCHIVE")),
        },
        **ended("edge-logs-end", "cloudfront-logs/", 545),
        **ended("bucket-logs-end", "s3-access-logs/", 545),
        **ended("query-results-end", "athena-results/", 30),
        **ended("configuration-history-ends", "config/", 2555),
        **replaced("analytics", 30),
        **ABORTED_ONLY,
    }


@pytest.mark.parametrize("role", ["processed", "backup", "logs"])
def test_nothing_ages_elsewhere_but_unfinished_uploads_end(templates: Templates, role: str) -> None:
    there = rules(templates, role)
    assert not [name for name, rule in there.items() if "Transitions" in rule]
    assert there["abort-incomplete-uploads"] == ABORTED_ONLY["abort-incomplete-uploads"]


@pytest.mark.parametrize(("role", "days"), [("processed", 30), ("analytics", 30), ("backup", 2555), ("logs", 30)])
def test_what_was_replaced_does_not_stay_for_ever(templates: Templates, role: str, days: int) -> None:
    """Every bucket keeps old versions, also where nobody wants them: without a rule they cost, and nobody sees it."""
    [(name, rule)] = replaced(role, days).items()
    assert rules(templates, role)[name] == rule


def test_logs_of_the_second_copy_end_and_who_touched_it_is_known_for_seven_years(templates: Templates) -> None:
    assert rules(templates, "logs") == {
        **ended("backup-logs-end", "s3-access-logs/", 545),
        **ended("trail-ends", "cloudtrail/", 2555),
        **replaced("logs", 30),
        **ABORTED_ONLY,
    }


@pytest.mark.parametrize("role", ["primary", "raw", "processed", "backup"])
def test_no_rule_deletes_what_is_current(templates: Templates, role: str) -> None:
    assert not [name for name, rule in rules(templates, role).items() if "ExpirationInDays" in rule]


def test_intelligent_tiering_replaces_the_warm_steps(templates_for: Callable[..., Templates]) -> None:
    tiered = templates_for(storage={"tiering": "intelligent"})
    rule = rules(tiered, "primary")["intelligent-content-tiering"]
    assert rule["Transitions"] == moves((365, "GLACIER"), (1095, "DEEP_ARCHIVE"))
    assert rule["NoncurrentVersionTransitions"] == moves((60, "GLACIER"))
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 2555}


@pytest.mark.parametrize("tiering", ["lifecycle", "intelligent"])
def test_only_the_primary_bucket_has_one_archive_configuration(
    templates_for: Callable[..., Templates], tiering: str
) -> None:
    tiered = templates_for(storage={"tiering": tiering})
    assert bucket(tiered, "primary")["IntelligentTieringConfigurations"] == [
        {
            "Id": "auto-optimization",
            "Status": "Enabled",
            "Tierings": [
                {"AccessTier": "ARCHIVE_ACCESS", "Days": 90},
                {"AccessTier": "DEEP_ARCHIVE_ACCESS", "Days": 180},
            ],
        }
    ]
    for role in set(ROLES) - {"primary"}:
        assert "IntelligentTieringConfigurations" not in bucket(tiered, role)


# -- the second copy ---------------------------------------------------------------------------------------------


def test_originals_are_copied_to_the_backup_region(templates: Templates) -> None:
    assert bucket(templates, "primary")["ReplicationConfiguration"]["Rules"] == [
        {
            "Id": "disaster-recovery-replication",
            "Status": "Enabled",
            "Priority": 1,
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": {"Status": "Enabled"},
            "SourceSelectionCriteria": {"ReplicaModifications": {"Status": "Enabled"}},
            "Destination": {
                "Bucket": f"arn:aws:s3:::{name_of('backup')}",
                "StorageClass": "GLACIER_IR",
                "Metrics": {"Status": "Enabled"},
            },
        }
    ]
    for role in set(ROLES) - {"primary"}:
        assert "ReplicationConfiguration" not in bucket(templates, role)


def test_time_control_is_a_setting(templates_for: Callable[..., Templates]) -> None:
    [rule] = bucket(templates_for(aws={"replication_time_control": True}), "primary")["ReplicationConfiguration"][
        "Rules"
    ]
    assert rule["Destination"]["ReplicationTime"] == {"Status": "Enabled", "Time": {"Minutes": 15}}
    assert rule["Destination"]["Metrics"] == {"Status": "Enabled", "EventThreshold": {"Minutes": 15}}


def test_the_replication_role_may_copy_and_nothing_else(templates: Templates) -> None:
    [(logical_id, role)] = [
        (name, held)
        for name, held in resources(templates, "AWS::IAM::Role")
        if held.get("RoleName") == "s3-replication-role"
    ]
    assert bucket(templates, "primary")["ReplicationConfiguration"]["Role"] == {"Fn::GetAtt": [logical_id, "Arn"]}
    primary, backup = f"arn:aws:s3:::{name_of('primary')}", f"arn:aws:s3:::{name_of('backup')}"
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT_ID}, "ArnLike": {"aws:SourceArn": primary}},
    }
    [policy] = role["Policies"]
    assert {
        (statement["Effect"], statement["Resource"], tuple(sorted(statement["Action"])))
        for statement in policy["PolicyDocument"]["Statement"]
    } == {
        ("Allow", primary, ("s3:GetReplicationConfiguration", "s3:ListBucket")),
        (
            "Allow",
            f"{primary}/*",
            ("s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging"),
        ),
        ("Allow", f"{backup}/*", ("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags")),
    }
    assert "ManagedPolicyArns" not in role
    attached = [
        held
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")
        for _, held in resources(templates, kind)
        if {"Ref": logical_id} in held.get("Roles", [held.get("RoleName")])
    ]
    assert attached == []


def test_versions_of_the_second_copy_can_be_locked(
    templates: Templates, templates_for: Callable[..., Templates]
) -> None:
    assert not {"ObjectLockEnabled", "ObjectLockConfiguration"} & set(bucket(templates, "backup"))
    locked = templates_for(aws={"object_lock": True})
    assert bucket(locked, "backup")["ObjectLockEnabled"] is True
    assert bucket(locked, "backup")["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}},
    }
    for role in set(ROLES) - {"backup"}:
        assert "ObjectLockEnabled" not in bucket(locked, role)


# -- logs, events, metrics, pages of other origins ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "target"),
    [("primary", "analytics"), ("raw", "analytics"), ("processed", "analytics"), ("backup", "logs")],
)
def test_access_is_logged_into_the_log_bucket_of_the_region(templates: Templates, role: str, target: str) -> None:
    assert bucket(templates, role)["LoggingConfiguration"] == {
        "DestinationBucketName": name_of(target),
        "LogFilePrefix": f"s3-access-logs/{role}/",
        "TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}},
    }


@pytest.mark.parametrize(
    ("stack", "role", "target"),
    [
        ("ContentPlatform", "primary", "analytics"),
        ("ContentPlatform", "raw", "analytics"),
        ("ContentPlatform", "processed", "analytics"),
        ("ContentPlatformBackup", "backup", "logs"),
    ],
)
def test_the_log_service_is_let_in_before_a_bucket_is_logged(
    templates: Templates, stack: str, role: str, target: str
) -> None:
    made = templates[stack]["Resources"]
    [policy] = [
        name
        for name, resource in made.items()
        if resource["Type"] == "AWS::S3::BucketPolicy" and resource["Properties"]["Bucket"] == name_of(target)
    ]
    [needed] = [
        resource["DependsOn"]
        for resource in made.values()
        if resource["Type"] == "AWS::S3::Bucket" and resource["Properties"]["BucketName"] == name_of(role)
    ]
    assert policy in needed


@pytest.mark.parametrize("role", ["analytics", "logs"])
def test_a_log_bucket_is_not_logged(templates: Templates, role: str) -> None:
    assert "LoggingConfiguration" not in bucket(templates, role)


def test_uploads_are_told_to_the_queue_once_it_lets_them_in(templates: Templates) -> None:
    notifications = bucket(templates, "primary")["NotificationConfiguration"]
    [queue_id] = [
        name
        for name, held in resources(templates, "AWS::SQS::Queue")
        if held["QueueName"] == "content-platform-uploads"
    ]
    assert sorted(told["Event"] for told in notifications["QueueConfigurations"]) == [
        "s3:LifecycleExpiration:*",
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:ObjectRestore:Completed",
    ]
    assert all(told["Queue"] == {"Fn::GetAtt": [queue_id, "Arn"]} for told in notifications["QueueConfigurations"])
    assert not any("Filter" in told for told in notifications["QueueConfigurations"])
    [policy_id] = [
        name for name, held in resources(templates, "AWS::SQS::QueuePolicy") if held["Queues"] == [{"Ref": queue_id}]
    ]
    [needed] = [
        resource["DependsOn"]
        for resource in templates["ContentPlatform"]["Resources"].values()
        if resource["Type"] == "AWS::S3::Bucket" and resource["Properties"]["BucketName"] == name_of("primary")
    ]
    assert policy_id in needed
    for role in set(ROLES) - {"primary"}:
        assert "NotificationConfiguration" not in bucket(templates, role)


def test_a_copy_that_fails_is_told_and_a_late_one_where_time_is_promised(
    templates: Templates, templates_for: Callable[..., Templates]
) -> None:
    def told(held: Templates) -> set[tuple[str, str]]:
        notifications = bucket(held, "primary")["NotificationConfiguration"]
        return {(one["Event"], one["Topic"]) for one in notifications["TopicConfigurations"]}

    topic = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:backup-alerts"
    failed = ("s3:Replication:OperationFailedReplication", topic)
    assert told(templates) == {failed}
    assert told(templates_for(aws={"replication_time_control": True})) == {
        failed,
        ("s3:Replication:OperationMissedThreshold", topic),
    }


def test_no_function_of_the_cdk_s_own_is_deployed(templates: Templates) -> None:
    """Its notification handler may change the notifications of every bucket of the account."""
    custom = [
        name
        for template in templates.values()
        for name, resource in template.get("Resources", {}).items()
        if resource["Type"].startswith("Custom::") or resource["Type"] == "AWS::CloudFormation::CustomResource"
    ]
    assert custom == []


def test_requests_to_originals_are_counted(templates: Templates) -> None:
    assert bucket(templates, "primary")["MetricsConfigurations"] == [{"Id": "EntireBucket"}]


@pytest.mark.parametrize("role", ROLES)
def test_pages_of_other_origins_may_only_read_what_the_edge_serves(templates: Templates, role: str) -> None:
    configuration = bucket(templates, role).get("CorsConfiguration")
    if role not in {"primary", "processed"}:
        assert configuration is None
        return
    assert configuration is not None
    [rule] = configuration["CorsRules"]
    assert rule["AllowedMethods"] == ["GET", "HEAD"]
    assert rule["AllowedOrigins"] == ["*"]
    assert "ETag" in rule["ExposedHeaders"]


def test_consoles_that_are_named_may_send_to_the_originals_and_to_nothing_else(
    templates_for: Callable[..., Templates],
) -> None:
    named = templates_for(aws={"console_origins": "https://media.example.com, http://127.0.0.1:8080"})
    _, rule = bucket(named, "primary")["CorsConfiguration"]["CorsRules"]
    assert rule == {
        "Id": "send-from-consoles",
        "AllowedOrigins": ["https://media.example.com", "http://127.0.0.1:8080"],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["content-type", "x-amz-expected-bucket-owner"],
        "MaxAge": rule["MaxAge"],
    }
    assert len(bucket(named, "processed")["CorsConfiguration"]["CorsRules"]) == 1
