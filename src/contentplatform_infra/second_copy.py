"""The buckets of the backup region: the second copy, and the log of who touched it."""

from __future__ import annotations

from aws_cdk import aws_iam
from constructs import Construct

from contentplatform.config import Settings
from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import OBJECT_LOCK_DAYS
from contentplatform_infra.audit import TRAIL_PREFIX, trail_arn
from contentplatform_infra.bucket import Extras, PlatformBucket
from contentplatform_infra.names import Names


class SecondCopy(Construct):
    """Backup and logs."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, names: Names) -> None:
        super().__init__(scope, construct_id)
        self.logs = PlatformBucket(self, "Logs", settings, names, BucketRole.LOGS)
        self.backup = PlatformBucket(
            self,
            "Backup",
            settings,
            names,
            BucketRole.BACKUP,
            Extras(lock_days=OBJECT_LOCK_DAYS if settings.aws.object_lock else 0),
        )
        self.backup.log_into(self.logs)
        self._allow_trail(names)

    def _allow_trail(self, names: Names) -> None:
        """Let the trail of this account write its files; the trail itself stands in another stack."""
        service = aws_iam.ServicePrincipal("cloudtrail.amazonaws.com")
        ours = {"aws:SourceArn": trail_arn(names)}
        self.logs.allow(
            aws_iam.PolicyStatement(
                sid="TrailLooksAtTheBucket",
                principals=[service],
                actions=["s3:GetBucketAcl"],
                resources=[self.logs.arn],
                conditions={"StringEquals": ours},
            )
        )
        self.logs.allow(
            aws_iam.PolicyStatement(
                sid="TrailWrites",
                principals=[service],
                actions=["s3:PutObject"],
                resources=[names.objects_arn(BucketRole.LOGS, f"{TRAIL_PREFIX}/AWSLogs/{names.account_id}/")],
                conditions={"StringEquals": {**ours, "s3:x-amz-acl": "bucket-owner-full-control"}},
            )
        )
