"""What the emulator's CloudFormation does with each property of our templates, and what has to be done after it.

It silently drops some. Those are applied here by the services' own interfaces, so that the tests behind see the home as
AWS would have it. A property that nobody has classified fails the deployment: somebody has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from contentplatform.drivers.boto import Aws

Resolve = Callable[[Any], Any]
Apply = Callable[[Aws, str, Mapping[str, Any], Any], None]
"""An account, a region, the resource's resolved properties, and the value of the one that was dropped."""


def apply_dropped(aws: Aws, region: str, template: Mapping[str, Any], resolve: Resolve) -> None:
    """Apply every property that the emulator dropped, of every resource of a template.

    Raises:
        AssertionError: a property stands in no list; it names each.
    """
    unknown = unclassified(template)
    assert not unknown, f"look at what the emulator does with these, and write it down: {unknown}"
    for resource in template["Resources"].values():
        appliers = DROPPED.get(resource["Type"], {})
        wanted = [name for name in resource.get("Properties", {}) if name in appliers]
        if wanted:
            properties = resolve(resource["Properties"])
            for name in wanted:
                appliers[name](aws, region, properties, properties[name])


def unclassified(template: Mapping[str, Any]) -> list[str]:
    """``Type.Property`` of everything in a template that stands in none of the lists below."""
    found = set()
    for resource in template["Resources"].values():
        kind = resource["Type"]
        known = {*HONOURED.get(kind, ()), *DROPPED.get(kind, {}), *IGNORED.get(kind, {})}
        found |= {f"{kind}.{name}" for name in resource.get("Properties", {}) if name not in known}
    return sorted(found)


# -- buckets -----------------------------------------------------------------------------------------------------


def _where(aws: Aws, properties: Mapping[str, Any]) -> dict[str, str]:
    return {"Bucket": properties["BucketName"], "ExpectedBucketOwner": aws.account_id}


def _encryption(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in value["ServerSideEncryptionConfiguration"]
    ]
    aws.client("s3", region).put_bucket_encryption(
        **_where(aws, properties), ServerSideEncryptionConfiguration={"Rules": rules}
    )


def _lifecycle(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    rules = [_lifecycle_rule(rule) for rule in value["Rules"]]
    aws.client("s3", region).put_bucket_lifecycle_configuration(
        **_where(aws, properties), LifecycleConfiguration={"Rules": rules}
    )


def _lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """One rule as the API calls its parts."""
    given: dict[str, Any] = {"ID": rule["Id"], "Status": rule["Status"]}
    conditions: dict[str, Any] = {
        name: int(rule[name]) for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if name in rule
    }
    if "Prefix" in rule:
        conditions["Prefix"] = rule["Prefix"]
    given["Filter"] = {"And": conditions} if len(conditions) > 1 else conditions or {"Prefix": ""}
    if "Transitions" in rule:
        given["Transitions"] = [
            {"Days": step["TransitionInDays"], "StorageClass": step["StorageClass"]} for step in rule["Transitions"]
        ]
    if "NoncurrentVersionTransitions" in rule:
        given["NoncurrentVersionTransitions"] = [
            {"NoncurrentDays": step["TransitionInDays"], "StorageClass": step["StorageClass"]}
            for step in rule["NoncurrentVersionTransitions"]
        ]
    if "NoncurrentVersionExpiration" in rule:
        given["NoncurrentVersionExpiration"] = rule["NoncurrentVersionExpiration"]
    if "AbortIncompleteMultipartUpload" in rule:
        given["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    if "ExpiredObjectDeleteMarker" in rule:
        given["Expiration"] = {"ExpiredObjectDeleteMarker": rule["ExpiredObjectDeleteMarker"]}
    if "ExpirationInDays" in rule:
        given["Expiration"] = {"Days": rule["ExpirationInDays"]}
    left = set(rule) - {*given, "Id", "Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "Transitions"}
    left -= {"ExpiredObjectDeleteMarker", "ExpirationInDays"}
    assert not left, f"parts of a lifecycle rule that nobody translates: {left}"
    return given


def _replication(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    rules = [{"ID" if name == "Id" else name: part for name, part in rule.items()} for rule in value["Rules"]]
    aws.client("s3", region).put_bucket_replication(
        **_where(aws, properties), ReplicationConfiguration={"Role": value["Role"], "Rules": rules}
    )


def _logging(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    enabled = {"TargetBucket": value["DestinationBucketName"], "TargetPrefix": value["LogFilePrefix"]}
    if "TargetObjectKeyFormat" in value:
        enabled["TargetObjectKeyFormat"] = value["TargetObjectKeyFormat"]
    aws.client("s3", region).put_bucket_logging(
        **_where(aws, properties), BucketLoggingStatus={"LoggingEnabled": enabled}
    )


def _bucket_tags(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    aws.client("s3", region).put_bucket_tagging(**_where(aws, properties), Tagging={"TagSet": value})


def _ownership(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    aws.client("s3", region).put_bucket_ownership_controls(**_where(aws, properties), OwnershipControls=value)


# -- tables ------------------------------------------------------------------------------------------------------


def _recovery(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    aws.client("dynamodb", region).update_continuous_backups(
        TableName=properties["TableName"],
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": value["PointInTimeRecoveryEnabled"]},
    )


def _replicas(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    """Of a global table's replicas only what concerns this region: recovery, protection."""
    [here] = [replica for replica in value if replica["Region"] == region]
    if "PointInTimeRecoverySpecification" in here:
        _recovery(aws, region, properties, here["PointInTimeRecoverySpecification"])
    if here.get("DeletionProtectionEnabled"):
        aws.client("dynamodb", region).update_table(TableName=properties["TableName"], DeletionProtectionEnabled=True)


DROPPED: Final[Mapping[str, Mapping[str, Apply]]] = {
    "AWS::S3::Bucket": {
        "BucketEncryption": _encryption,
        "LifecycleConfiguration": _lifecycle,
        "ReplicationConfiguration": _replication,
        "LoggingConfiguration": _logging,
        "Tags": _bucket_tags,
        "OwnershipControls": _ownership,
    },
    "AWS::DynamoDB::Table": {"PointInTimeRecoverySpecification": _recovery},
    "AWS::DynamoDB::GlobalTable": {"Replicas": _replicas},
}
"""Properties that get lost, and what brings them back."""

IGNORED: Final[Mapping[str, Mapping[str, str]]] = {
    "AWS::S3::Bucket": {
        "IntelligentTieringConfigurations": "the emulator takes it through the API, too, and lists nothing",
        "MetricsConfigurations": "the emulator has no metrics of S3",
        "ObjectLockEnabled": "only possible when a bucket is made",
        "ObjectLockConfiguration": "only possible when a bucket is made",
    },
}
"""Properties that get lost and can't be brought back, and why that is so. The template's tests assert them."""

HONOURED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::S3::Bucket": (
        "BucketName",
        "CorsConfiguration",
        "NotificationConfiguration",
        "PublicAccessBlockConfiguration",
        "VersioningConfiguration",
    ),
}
"""Properties that the emulator's own code acts on, or keeps and gives back."""
