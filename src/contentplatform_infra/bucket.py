"""One bucket, with all that every bucket has, and its one policy.

A bucket has a single policy document, and whatever puts one replaces the other. So nobody else makes one: who needs a
grant hands its statement to ``allow``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aws_cdk import RemovalPolicy, aws_iam, aws_s3
from constructs import Construct

from contentplatform.config import Settings
from contentplatform.delivery.rules import CORS_HEADERS, SERVED_PREFIXES
from contentplatform.storage.lifecycle import (
    CONTENT_TIERING,
    INTELLIGENT_ARCHIVE,
    INTELLIGENT_ARCHIVE_NAME,
    LifecycleRule,
    Tiering,
    lifecycle_rules,
)
from contentplatform.storage.parts import OWNER_HEADER
from contentplatform.storage.port import BucketRole, StorageClass
from contentplatform.storage.safeguards import ACCESS_LOGS_GO_TO, access_log_prefix
from contentplatform_infra.guards import administrators, denials
from contentplatform_infra.names import Names

LOG_SERVICE: Final = "logging.s3.amazonaws.com"
_ABORT_RULE: Final = "abort-incomplete-uploads"
_S3_SMALLEST_MOVED_BYTES: Final = 128 * 1024
_ARCHIVE_TIER: Final = {
    StorageClass.GLACIER: "ARCHIVE_ACCESS",
    StorageClass.DEEP_ARCHIVE: "DEEP_ARCHIVE_ACCESS",
}
_CORS_METHODS: Final = ("GET", "HEAD")
"""S3 answers a browser's OPTIONS by itself, and knows no rule for it."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What only some buckets have."""

    replication: aws_s3.CfnBucket.ReplicationConfigurationProperty | None = None
    notifications: aws_s3.CfnBucket.NotificationConfigurationProperty | None = None
    request_metrics: Sequence[str] = field(default=())
    """Names of filters over the whole bucket under which requests are counted."""
    lock_days: int = 0
    """How long versions are locked against deletion; 0: not at all."""


class PlatformBucket(Construct):
    """One bucket by its role. It outlives its stack; so does its policy."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        settings: Settings,
        names: Names,
        role: BucketRole,
        extras: Extras | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        extras = extras or Extras()
        self._names = names
        self.role = role
        self.name = names.bucket(role)
        self.arn = names.bucket_arn(role)
        self.resource = aws_s3.CfnBucket(
            self,
            "Bucket",
            bucket_name=self.name,
            versioning_configuration=aws_s3.CfnBucket.VersioningConfigurationProperty(status="Enabled"),
            bucket_encryption=_encryption(),
            public_access_block_configuration=aws_s3.CfnBucket.PublicAccessBlockConfigurationProperty(
                block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
            ),
            ownership_controls=aws_s3.CfnBucket.OwnershipControlsProperty(
                rules=[aws_s3.CfnBucket.OwnershipControlsRuleProperty(object_ownership="BucketOwnerEnforced")]
            ),
            lifecycle_configuration=_lifecycle(role, Tiering(settings.storage.tiering)),
            intelligent_tiering_configurations=_intelligent_tiering(role),
            logging_configuration=_logging(names, role),
            cors_configuration=_cors(role, settings.aws.console_origins),
            replication_configuration=extras.replication,
            notification_configuration=extras.notifications,
            metrics_configurations=[
                aws_s3.CfnBucket.MetricsConfigurationProperty(id=name) for name in extras.request_metrics
            ]
            or None,
            object_lock_enabled=True if extras.lock_days else None,
            object_lock_configuration=_lock(extras.lock_days),
        )
        self._document = aws_iam.PolicyDocument(
            minimize=False, statements=denials(names, role, administrators(settings, names, names.region_of(role)))
        )
        # Named, not referenced: the checks of cdk-nag then see that policy and statements mean the same bucket.
        self.policy = aws_s3.CfnBucketPolicy(self, "Policy", bucket=self.name, policy_document=self._document)
        self.policy.add_resource_dependency(self.resource)
        for resource in (self.resource, self.policy):
            resource.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        self._allow_access_logs()

    def log_into(self, target: PlatformBucket) -> None:
        """Make this bucket after the one that holds its log has let the log service in: S3 may look at once."""
        self.resource.add_resource_dependency(target.policy)

    def allow(self, statement: aws_iam.PolicyStatement) -> None:
        """Add a statement to the bucket's one policy."""
        self._document.add_statements(statement)

    def allow_edge(self, distribution_arn: str) -> None:
        """Let one distribution read what is served of this bucket, and nothing else."""
        self.allow(
            aws_iam.PolicyStatement(
                sid="OnlyTheEdgeReads",
                principals=[aws_iam.ServicePrincipal("cloudfront.amazonaws.com")],
                actions=["s3:GetObject"],
                resources=[self._names.objects_arn(self.role, prefix) for prefix in SERVED_PREFIXES[self.role]],
                conditions={"StringEquals": {"AWS:SourceArn": distribution_arn}},
            )
        )

    def _allow_access_logs(self) -> None:
        """Let S3 write the access logs of those buckets that are logged into this one, each in its folder."""
        for source in (source for source, target in ACCESS_LOGS_GO_TO.items() if target is self.role):
            self.allow(
                aws_iam.PolicyStatement(
                    sid=f"AccessLogOf{source.value.title()}",
                    principals=[aws_iam.ServicePrincipal(LOG_SERVICE)],
                    actions=["s3:PutObject"],
                    resources=[self._names.objects_arn(self.role, access_log_prefix(source))],
                    conditions={
                        "StringEquals": {"aws:SourceAccount": self._names.account_id},
                        "ArnLike": {"aws:SourceArn": self._names.bucket_arn(source)},
                    },
                )
            )


def _encryption() -> aws_s3.CfnBucket.BucketEncryptionProperty:
    return aws_s3.CfnBucket.BucketEncryptionProperty(
        server_side_encryption_configuration=[
            aws_s3.CfnBucket.ServerSideEncryptionRuleProperty(
                server_side_encryption_by_default=aws_s3.CfnBucket.ServerSideEncryptionByDefaultProperty(
                    sse_algorithm="AES256"
                )
            )
        ]
    )


def _lifecycle(role: BucketRole, tiering: Tiering) -> aws_s3.CfnBucket.LifecycleConfigurationProperty:
    """The bucket's own rules; where none of them aborts uploads that nobody finished, one more does."""
    ageing = [rule for rule in lifecycle_rules(tiering) if rule.bucket is role]
    rules = [_rule(rule) for rule in ageing]
    if not any(rule.incomplete_uploads_aborted_after_days for rule in ageing):
        rules.append(
            aws_s3.CfnBucket.RuleProperty(
                id=_ABORT_RULE,
                status="Enabled",
                abort_incomplete_multipart_upload=_abort(CONTENT_TIERING.incomplete_uploads_aborted_after_days),
            )
        )
    return aws_s3.CfnBucket.LifecycleConfigurationProperty(
        rules=rules, transition_default_minimum_object_size="all_storage_classes_128K"
    )


def _rule(rule: LifecycleRule) -> aws_s3.CfnBucket.RuleProperty:
    only_moves = not (
        rule.current_deleted_after_days
        or rule.noncurrent_deleted_after_days
        or rule.expired_delete_markers_deleted
        or rule.incomplete_uploads_aborted_after_days
    )
    if not only_moves and rule.smallest_moved_bytes != _S3_SMALLEST_MOVED_BYTES:
        raise ValueError(f"{rule.name} deletes, too: a filter by size would keep small objects for ever")
    return aws_s3.CfnBucket.RuleProperty(
        id=rule.name,
        status="Enabled",
        prefix=rule.prefix or None,
        expiration_in_days=rule.current_deleted_after_days,
        object_size_greater_than=rule.smallest_moved_bytes - 1 if only_moves else None,
        transitions=[
            aws_s3.CfnBucket.TransitionProperty(
                storage_class=step.storage_class.value, transition_in_days=step.after_days
            )
            for step in rule.current
        ]
        or None,
        noncurrent_version_transitions=[
            aws_s3.CfnBucket.NoncurrentVersionTransitionProperty(
                storage_class=step.storage_class.value, transition_in_days=step.after_days
            )
            for step in rule.noncurrent
        ]
        or None,
        noncurrent_version_expiration=aws_s3.CfnBucket.NoncurrentVersionExpirationProperty(
            noncurrent_days=rule.noncurrent_deleted_after_days
        )
        if rule.noncurrent_deleted_after_days
        else None,
        expired_object_delete_marker=rule.expired_delete_markers_deleted or None,
        abort_incomplete_multipart_upload=_abort(rule.incomplete_uploads_aborted_after_days),
    )


def _abort(after_days: int | None) -> aws_s3.CfnBucket.AbortIncompleteMultipartUploadProperty | None:
    if after_days is None:
        return None
    return aws_s3.CfnBucket.AbortIncompleteMultipartUploadProperty(days_after_initiation=after_days)


def _intelligent_tiering(role: BucketRole) -> list[aws_s3.CfnBucket.IntelligentTieringConfigurationProperty] | None:
    """The archive tiers of that class; such objects may be there whichever way originals are tiered."""
    if role is not CONTENT_TIERING.bucket:
        return None
    return [
        aws_s3.CfnBucket.IntelligentTieringConfigurationProperty(
            id=INTELLIGENT_ARCHIVE_NAME,
            status="Enabled",
            tierings=[
                aws_s3.CfnBucket.TieringProperty(access_tier=_ARCHIVE_TIER[step.storage_class], days=step.after_days)
                for step in INTELLIGENT_ARCHIVE
            ],
        )
    ]


def _logging(names: Names, role: BucketRole) -> aws_s3.CfnBucket.LoggingConfigurationProperty | None:
    if role not in ACCESS_LOGS_GO_TO:
        return None
    return aws_s3.CfnBucket.LoggingConfigurationProperty(
        destination_bucket_name=names.bucket(ACCESS_LOGS_GO_TO[role]),
        log_file_prefix=access_log_prefix(role),
        # A folder a day, so that a question about a week reads a week.
        target_object_key_format=aws_s3.CfnBucket.TargetObjectKeyFormatProperty(
            partitioned_prefix=aws_s3.CfnBucket.PartitionedPrefixProperty(partition_date_source="EventTime")
        ),
    )


def _cors(role: BucketRole, console_origins: str) -> aws_s3.CfnBucket.CorsConfigurationProperty | None:
    """What pages of other origins may read: what the edge serves them, by the edge's rule; and what consoles send."""
    rule = CORS_HEADERS.cross_origin
    if rule is None or role not in SERVED_PREFIXES:
        return None
    read = aws_s3.CfnBucket.CorsRuleProperty(
        id="read-from-pages",
        allowed_origins=list(rule.origins),
        allowed_methods=[method for method in rule.methods if method in _CORS_METHODS],
        allowed_headers=list(rule.headers),
        exposed_headers=list(rule.exposed),
        max_age=rule.max_age_seconds,
    )
    senders = [origin.strip() for origin in console_origins.split(",") if origin.strip()]
    if role is not BucketRole.PRIMARY or not senders:
        return aws_s3.CfnBucket.CorsConfigurationProperty(cors_rules=[read])
    send = aws_s3.CfnBucket.CorsRuleProperty(
        id="send-from-consoles",
        allowed_origins=senders,
        allowed_methods=["PUT"],
        allowed_headers=["content-type", OWNER_HEADER],
        max_age=rule.max_age_seconds,
    )
    return aws_s3.CfnBucket.CorsConfigurationProperty(cors_rules=[read, send])


def _lock(days: int) -> aws_s3.CfnBucket.ObjectLockConfigurationProperty | None:
    if not days:
        return None
    return aws_s3.CfnBucket.ObjectLockConfigurationProperty(
        object_lock_enabled="Enabled",
        rule=aws_s3.CfnBucket.ObjectLockRuleProperty(
            default_retention=aws_s3.CfnBucket.DefaultRetentionProperty(mode="GOVERNANCE", days=days)
        ),
    )
