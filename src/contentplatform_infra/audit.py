"""The trail: every write to the second copy and every delete in it, kept where nobody can take it away."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_cloudtrail
from constructs import Construct

from contentplatform.storage.lifecycle import TRAIL_FOLDER
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

TRAIL_NAME: Final = "content-platform-audit"
TRAIL_PREFIX: Final = TRAIL_FOLDER.rstrip("/")
"""Folder of the trail's files in the logs bucket."""


def trail_arn(names: Names) -> str:
    """The trail's ARN; the logs bucket's policy names it before it is there."""
    return names.arn("cloudtrail", f"trail/{TRAIL_NAME}", region=names.backup_region)


class Audit(Construct):
    """A trail of data events only: the account's own trail keeps its management events."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        selector = aws_cloudtrail.CfnTrail.AdvancedFieldSelectorProperty
        aws_cloudtrail.CfnTrail(
            self,
            "Trail",
            trail_name=TRAIL_NAME,
            is_logging=True,
            s3_bucket_name=names.bucket(BucketRole.LOGS),
            s3_key_prefix=TRAIL_PREFIX,
            enable_log_file_validation=True,
            include_global_service_events=False,
            is_multi_region_trail=False,
            advanced_event_selectors=[
                aws_cloudtrail.CfnTrail.AdvancedEventSelectorProperty(
                    name="Writes and deletes in the backup bucket",
                    field_selectors=[
                        selector(field="eventCategory", equal_to=["Data"]),
                        selector(field="resources.type", equal_to=["AWS::S3::Object"]),
                        selector(field="readOnly", equal_to=["false"]),
                        selector(field="resources.ARN", starts_with=[f"{names.bucket_arn(BucketRole.BACKUP)}/"]),
                    ],
                )
            ],
        )
