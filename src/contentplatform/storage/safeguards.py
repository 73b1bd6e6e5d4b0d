"""What keeps buckets safe besides their lifecycle: the second copy, access logs, locks. Policy as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contentplatform.storage.lifecycle import BUCKET_LOGS_FOLDER
from contentplatform.storage.port import BucketRole, StorageClass


@dataclass(frozen=True, slots=True)
class Replication:
    """How one bucket is copied to another, object by object and version by version."""

    name: str
    source: BucketRole
    destination: BucketRole
    storage_class: StorageClass
    """In which a copy is stored."""
    threshold_minutes: int
    """A copy that takes longer is told as late; the recovery point that is promised."""
    delete_markers: bool = True
    """Whether "deleted" is copied, too. A version deleted for good never is: it stays in the copy."""
    replica_changes: bool = True
    """Whether tags that are changed on a copy come back."""
    role_name: str = "s3-replication-role"
    """Of the role that S3 assumes for it."""


REPLICATION: Final = Replication(
    name="disaster-recovery-replication",
    source=BucketRole.PRIMARY,
    destination=BucketRole.BACKUP,
    storage_class=StorageClass.GLACIER_IR,
    threshold_minutes=15,
)

ACCESS_LOGS_GO_TO: Final[dict[BucketRole, BucketRole]] = {
    BucketRole.PRIMARY: BucketRole.ANALYTICS,
    BucketRole.RAW: BucketRole.ANALYTICS,
    BucketRole.PROCESSED: BucketRole.ANALYTICS,
    BucketRole.BACKUP: BucketRole.LOGS,
}
"""Where each bucket's access log is written: in its own region, and never into itself."""


def access_log_prefix(role: BucketRole) -> str:
    """How the keys of a bucket's access log begin."""
    return f"{BUCKET_LOGS_FOLDER}{role.value}/"


OBJECT_LOCK_DAYS: Final = 30
"""How long a version of the backup bucket can't be deleted, where that is set."""
REQUEST_METRICS_NAME: Final = "EntireBucket"
"""The filter under which requests to the primary bucket are counted (the metrics' dimension FilterId)."""
