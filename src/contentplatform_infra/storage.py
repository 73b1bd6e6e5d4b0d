"""The buckets of the main region, and the copying of originals to the backup region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aws_cdk import CfnResource, aws_iam, aws_s3
from constructs import Construct

from contentplatform.config import Settings
from contentplatform.delivery.rules import SERVED_PREFIXES
from contentplatform.ingest.queue import EVENTS
from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import ACCESS_LOGS_GO_TO, REPLICATION, REQUEST_METRICS_NAME
from contentplatform_infra.bucket import Extras, PlatformBucket
from contentplatform_infra.names import Names
from contentplatform_infra.uploads import Uploads

FAILED_REPLICATION_EVENT: Final = "s3:Replication:OperationFailedReplication"
LATE_REPLICATION_EVENT: Final = "s3:Replication:OperationMissedThreshold"
_LOGGED: Final = (BucketRole.RAW, BucketRole.PROCESSED)


@dataclass(frozen=True, slots=True)
class Told:
    """A topic that S3 may publish to, and what has to stand before S3 tries: it does when the bucket is made."""

    topic_arn: str
    needs: tuple[CfnResource, ...]


class Storage(Construct):
    """Primary, raw, processed and analytics. Grants go through ``allow``: each bucket has one policy."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        settings: Settings,
        names: Names,
        uploads: Uploads,
        failures: Told | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        analytics = PlatformBucket(self, "Analytics", settings, names, BucketRole.ANALYTICS)
        self.buckets: dict[BucketRole, PlatformBucket] = {BucketRole.ANALYTICS: analytics}
        for role in _LOGGED:
            self.buckets[role] = PlatformBucket(self, role.value.title(), settings, names, role)
        self.primary = PlatformBucket(
            self,
            "Primary",
            settings,
            names,
            BucketRole.PRIMARY,
            Extras(
                replication=_replication(settings, names, ReplicationRole(self, "Replication", names).arn),
                notifications=_notifications(settings, uploads, failures),
                request_metrics=(REQUEST_METRICS_NAME,),
            ),
        )
        self.buckets[BucketRole.PRIMARY] = self.primary
        for needed in (uploads.policy, *(failures.needs if failures else ())):
            self.primary.resource.add_resource_dependency(needed)
        for role, bucket in self.buckets.items():
            if ACCESS_LOGS_GO_TO.get(role) is BucketRole.ANALYTICS:
                bucket.log_into(analytics)

    def allow(self, role: BucketRole, statement: aws_iam.PolicyStatement) -> None:
        """Add a statement to the policy of one of these buckets."""
        self.buckets[role].allow(statement)

    def grant_read_to_edge(self, distribution_arn: str) -> None:
        """Let one distribution read what the edge serves."""
        for role in SERVED_PREFIXES:
            self.buckets[role].allow_edge(distribution_arn)


class ReplicationRole(Construct):
    """What S3 may do to copy: read versions of the source, write copies in the destination, and nothing else."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        source = names.bucket_arn(REPLICATION.source)
        role = aws_iam.Role(
            self,
            "Role",
            role_name=REPLICATION.role_name,
            description="S3 copies originals to the backup bucket with it",
            assumed_by=aws_iam.PrincipalWithConditions(
                aws_iam.ServicePrincipal("s3.amazonaws.com"),
                {
                    "StringEquals": {"aws:SourceAccount": names.account_id},
                    "ArnLike": {"aws:SourceArn": source},
                },
            ),
            inline_policies={
                "replication": aws_iam.PolicyDocument(
                    statements=[
                        aws_iam.PolicyStatement(
                            actions=["s3:GetReplicationConfiguration", "s3:ListBucket"], resources=[source]
                        ),
                        aws_iam.PolicyStatement(
                            actions=[
                                "s3:GetObjectVersionAcl",
                                "s3:GetObjectVersionForReplication",
                                "s3:GetObjectVersionTagging",
                            ],
                            resources=[names.objects_arn(REPLICATION.source)],
                        ),
                        aws_iam.PolicyStatement(
                            actions=["s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"],
                            resources=[names.objects_arn(REPLICATION.destination)],
                        ),
                    ]
                )
            },
        )
        self.arn = role.role_arn


def _replication(settings: Settings, names: Names, role_arn: str) -> aws_s3.CfnBucket.ReplicationConfigurationProperty:
    """The rule in S3's second form: with a filter, so that delete markers and changed replicas can be told."""

    def status(*, on: bool) -> str:
        return "Enabled" if on else "Disabled"

    # S3 refuses a threshold for its metrics where it promises no time.
    promised = settings.aws.replication_time_control
    threshold = aws_s3.CfnBucket.ReplicationTimeValueProperty(minutes=REPLICATION.threshold_minutes)
    return aws_s3.CfnBucket.ReplicationConfigurationProperty(
        role=role_arn,
        rules=[
            aws_s3.CfnBucket.ReplicationRuleProperty(
                id=REPLICATION.name,
                status="Enabled",
                priority=1,
                filter=aws_s3.CfnBucket.ReplicationRuleFilterProperty(prefix=""),
                delete_marker_replication=aws_s3.CfnBucket.DeleteMarkerReplicationProperty(
                    status=status(on=REPLICATION.delete_markers)
                ),
                source_selection_criteria=aws_s3.CfnBucket.SourceSelectionCriteriaProperty(
                    replica_modifications=aws_s3.CfnBucket.ReplicaModificationsProperty(
                        status=status(on=REPLICATION.replica_changes)
                    )
                ),
                destination=aws_s3.CfnBucket.ReplicationDestinationProperty(
                    bucket=names.bucket_arn(REPLICATION.destination),
                    storage_class=REPLICATION.storage_class.value,
                    metrics=aws_s3.CfnBucket.MetricsProperty(
                        status="Enabled", event_threshold=threshold if promised else None
                    ),
                    replication_time=aws_s3.CfnBucket.ReplicationTimeProperty(status="Enabled", time=threshold)
                    if promised
                    else None,
                ),
            )
        ],
    )


def _notifications(
    settings: Settings, uploads: Uploads, failures: Told | None
) -> aws_s3.CfnBucket.NotificationConfigurationProperty:
    late = (LATE_REPLICATION_EVENT,) if settings.aws.replication_time_control else ()
    return aws_s3.CfnBucket.NotificationConfigurationProperty(
        queue_configurations=[
            aws_s3.CfnBucket.QueueConfigurationProperty(event=event, queue=uploads.queue.attr_arn) for event in EVENTS
        ],
        topic_configurations=[
            aws_s3.CfnBucket.TopicConfigurationProperty(event=event, topic=failures.topic_arn)
            for event in (FAILED_REPLICATION_EVENT, *late)
        ]
        if failures
        else None,
    )
