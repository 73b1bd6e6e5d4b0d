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
"""An account, a region, the resource's properties that are plain text (its name), and the value that was dropped."""


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
        for name in wanted:
            names = {key: value for key, value in resource["Properties"].items() if isinstance(value, str)}
            appliers[name](aws, region, names, resolve(resource["Properties"][name]))


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


def _table_encryption(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    aws.client("dynamodb", region).update_table(
        TableName=properties["TableName"], SSESpecification={"Enabled": value["SSEEnabled"]}
    )


# -- others ------------------------------------------------------------------------------------------------------


def _topic_key(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    arn = f"arn:aws:sns:{region}:{aws.account_id}:{properties['TopicName']}"
    aws.client("sns", region).set_topic_attributes(
        TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue=str(value)
    )


def _machine_tracing(aws: Aws, region: str, properties: Mapping[str, Any], value: Any) -> None:
    arn = f"arn:aws:states:{region}:{aws.account_id}:stateMachine:{properties['StateMachineName']}"
    aws.client("stepfunctions", region).update_state_machine(
        stateMachineArn=arn, tracingConfiguration={"enabled": value["Enabled"]}
    )


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
    "AWS::DynamoDB::GlobalTable": {"Replicas": _replicas, "SSESpecification": _table_encryption},
    "AWS::SNS::Topic": {"KmsMasterKeyId": _topic_key},
    "AWS::StepFunctions::StateMachine": {"TracingConfiguration": _machine_tracing},
}
"""Properties that get lost, and what brings them back."""

IGNORED: Final[Mapping[str, Mapping[str, str]]] = {
    "AWS::S3::Bucket": {
        "IntelligentTieringConfigurations": "the emulator takes it through the API, too, and lists nothing",
        "MetricsConfigurations": "the emulator has no metrics of S3",
        "ObjectLockEnabled": "only possible when a bucket is made",
        "ObjectLockConfiguration": "only possible when a bucket is made",
    },
    "AWS::Athena::WorkGroup": {"RecursiveDeleteOption": "says what becomes of it when it is deleted"},
    "AWS::CloudWatch::Dashboard": {"Tags": "the emulator's dashboards carry none"},
    "AWS::Glue::Database": {"CatalogId": "the account's own catalog, the only one there is"},
    "AWS::Glue::Table": {"CatalogId": "the account's own catalog, the only one there is"},
    "AWS::KMS::Key": {"PendingWindowInDays": "says what becomes of it when it is deleted"},
    "AWS::Lambda::EventSourceMapping": {"Tags": "the emulator's mappings carry none"},
    "AWS::Scheduler::Schedule": {"ScheduleExpressionTimezone": "the emulator fires no schedule"},
}
"""Properties that get lost and can't be brought back, and why that is so. The template's tests assert them."""

HONOURED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS::Athena::WorkGroup": (
        "Description",
        "Name",
        "State",
        "Tags",
        "WorkGroupConfiguration",
    ),
    "AWS::CloudFront::CachePolicy": ("CachePolicyConfig",),
    "AWS::CloudFront::Distribution": (
        "DistributionConfig",
        "Tags",
    ),
    "AWS::CloudFront::Function": (
        "AutoPublish",
        "FunctionCode",
        "FunctionConfig",
        "Name",
        "Tags",
    ),
    "AWS::CloudFront::OriginAccessControl": ("OriginAccessControlConfig",),
    "AWS::CloudFront::ResponseHeadersPolicy": ("ResponseHeadersPolicyConfig",),
    "AWS::CloudWatch::Alarm": (
        "ActionsEnabled",
        "AlarmActions",
        "AlarmDescription",
        "AlarmName",
        "ComparisonOperator",
        "DatapointsToAlarm",
        "Dimensions",
        "EvaluationPeriods",
        "MetricName",
        "Namespace",
        "Period",
        "Statistic",
        "Tags",
        "Threshold",
        "TreatMissingData",
    ),
    "AWS::CloudWatch::Dashboard": (
        "DashboardBody",
        "DashboardName",
    ),
    "AWS::DynamoDB::GlobalTable": (
        "AttributeDefinitions",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "KeySchema",
        "StreamSpecification",
        "TableName",
    ),
    "AWS::Events::Rule": (
        "Description",
        "EventPattern",
        "Name",
        "State",
        "Tags",
        "Targets",
    ),
    "AWS::Glue::Database": ("DatabaseInput",),
    "AWS::Glue::Table": (
        "DatabaseName",
        "TableInput",
    ),
    "AWS::IAM::Role": (
        "AssumeRolePolicyDocument",
        "Description",
        "MaxSessionDuration",
        "Policies",
        "RoleName",
        "Tags",
    ),
    "AWS::KMS::Alias": (
        "AliasName",
        "TargetKeyId",
    ),
    "AWS::KMS::Key": (
        "Description",
        "EnableKeyRotation",
        "KeyPolicy",
        "Tags",
    ),
    "AWS::Lambda::Alias": (
        "FunctionName",
        "FunctionVersion",
        "Name",
    ),
    "AWS::Lambda::EventInvokeConfig": (
        "DestinationConfig",
        "FunctionName",
        "MaximumEventAgeInSeconds",
        "MaximumRetryAttempts",
        "Qualifier",
    ),
    "AWS::Lambda::EventSourceMapping": (
        "BatchSize",
        "BisectBatchOnFunctionError",
        "DestinationConfig",
        "EventSourceArn",
        "FilterCriteria",
        "FunctionName",
        "FunctionResponseTypes",
        "MaximumBatchingWindowInSeconds",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "ScalingConfig",
        "StartingPosition",
    ),
    "AWS::Lambda::Function": (
        "Architectures",
        "Code",
        "Description",
        "Environment",
        "EphemeralStorage",
        "FunctionName",
        "Handler",
        "Layers",
        "LoggingConfig",
        "MemorySize",
        "Role",
        "Runtime",
        "Tags",
        "Timeout",
        "TracingConfig",
    ),
    "AWS::Lambda::LayerVersion": (
        "CompatibleArchitectures",
        "CompatibleRuntimes",
        "Content",
        "Description",
    ),
    "AWS::Lambda::Permission": (
        "Action",
        "FunctionName",
        "FunctionUrlAuthType",
        "InvokedViaFunctionUrl",
        "Principal",
        "SourceArn",
    ),
    "AWS::Lambda::Url": (
        "AuthType",
        "Qualifier",
        "TargetFunctionArn",
    ),
    "AWS::Lambda::Version": ("FunctionName",),
    "AWS::Logs::LogGroup": (
        "LogGroupName",
        "RetentionInDays",
        "Tags",
    ),
    "AWS::S3::Bucket": (
        "BucketName",
        "CorsConfiguration",
        "NotificationConfiguration",
        "PublicAccessBlockConfiguration",
        "VersioningConfiguration",
    ),
    "AWS::S3::BucketPolicy": (
        "Bucket",
        "PolicyDocument",
    ),
    "AWS::SNS::Subscription": (
        "Endpoint",
        "Protocol",
        "TopicArn",
    ),
    "AWS::SNS::Topic": (
        "DisplayName",
        "Tags",
        "TopicName",
    ),
    "AWS::SNS::TopicPolicy": (
        "PolicyDocument",
        "Topics",
    ),
    "AWS::SQS::Queue": (
        "MessageRetentionPeriod",
        "QueueName",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "Tags",
        "VisibilityTimeout",
    ),
    "AWS::SQS::QueuePolicy": (
        "PolicyDocument",
        "Queues",
    ),
    "AWS::SSM::Parameter": (
        "Description",
        "Name",
        "Tags",
        "Type",
        "Value",
    ),
    "AWS::Scheduler::Schedule": (
        "Description",
        "FlexibleTimeWindow",
        "GroupName",
        "Name",
        "ScheduleExpression",
        "State",
        "Target",
    ),
    "AWS::Scheduler::ScheduleGroup": (
        "Name",
        "Tags",
    ),
    "AWS::StepFunctions::StateMachine": (
        "DefinitionString",
        "DefinitionSubstitutions",
        "LoggingConfiguration",
        "RoleArn",
        "StateMachineName",
        "StateMachineType",
        "Tags",
    ),
}
"""Properties that the emulator's own code acts on, or keeps and gives back."""
