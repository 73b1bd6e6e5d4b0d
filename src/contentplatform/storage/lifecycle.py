"""The buckets, and how objects age in them: policy as data.

The local home acts on it, the aws home renders the very same tuples into bucket resources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from contentplatform.storage.port import BucketRole, StorageClass

PRIMARY_REGION: Final = "us-east-1"
BACKUP_REGION: Final = "us-west-2"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket: what it is for and where it lives. Its name is a setting."""

    role: BucketRole
    region: str
    holds: str


BUCKETS: Final[tuple[Bucket, ...]] = (
    Bucket(BucketRole.PRIMARY, PRIMARY_REGION, "originals as uploaded"),
    Bucket(BucketRole.RAW, PRIMARY_REGION, "data lake: raw, unprocessed files, partitioned by the hour of upload"),
    Bucket(BucketRole.PROCESSED, PRIMARY_REGION, "renditions; public only through the delivery edge"),
    Bucket(BucketRole.ANALYTICS, PRIMARY_REGION, "access logs, metrics, metadata exports; partitioned by date"),
    Bucket(BucketRole.BACKUP, BACKUP_REGION, "replica of primary, for disaster recovery"),
    Bucket(BucketRole.LOGS, BACKUP_REGION, "access logs of the backup bucket, which must lie in its region"),
)
REGION_OF: Final[dict[BucketRole, str]] = {bucket.role: bucket.region for bucket in BUCKETS}


class Tiering(StrEnum):
    """The one mechanism that moves objects of the primary bucket between classes."""

    LIFECYCLE = "lifecycle"
    INTELLIGENT = "intelligent"


@dataclass(frozen=True, slots=True)
class Transition:
    """After so many days, an object goes to a class."""

    after_days: int
    storage_class: StorageClass


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """How objects of one bucket age. Days count from creation; for noncurrent ones, from being replaced."""

    name: str
    bucket: BucketRole
    current: tuple[Transition, ...] = ()
    noncurrent: tuple[Transition, ...] = ()
    prefix: str = ""
    """How the keys begin that it is about; empty: all."""
    current_deleted_after_days: int | None = None
    """On a versioned bucket, what is deleted so becomes noncurrent, and goes when such ones do."""
    noncurrent_deleted_after_days: int | None = None
    expired_delete_markers_deleted: bool = False
    incomplete_uploads_aborted_after_days: int | None = None
    smallest_moved_bytes: int = 128 * 1024
    """S3's own default: smaller objects stay where they are."""


CONTENT_TIERING: Final = LifecycleRule(
    name="intelligent-content-tiering",
    bucket=BucketRole.PRIMARY,
    current=(
        Transition(30, StorageClass.STANDARD_IA),
        Transition(90, StorageClass.GLACIER_IR),
        Transition(365, StorageClass.GLACIER),
        Transition(1_095, StorageClass.DEEP_ARCHIVE),
    ),
    noncurrent=(Transition(30, StorageClass.STANDARD_IA), Transition(60, StorageClass.GLACIER)),
    noncurrent_deleted_after_days=2_555,
    expired_delete_markers_deleted=True,
    incomplete_uploads_aborted_after_days=7,
)
RAW_TIERING: Final = LifecycleRule(
    name="raw-archive", bucket=BucketRole.RAW, current=(Transition(0, StorageClass.GLACIER_IR),)
)
ANALYTICS_TIERING: Final = LifecycleRule(
    name="analytics-archive",
    bucket=BucketRole.ANALYTICS,
    current=(Transition(90, StorageClass.GLACIER_IR), Transition(365, StorageClass.DEEP_ARCHIVE)),
)

EDGE_LOGS_FOLDER: Final = "cloudfront-logs/"
BUCKET_LOGS_FOLDER: Final = "s3-access-logs/"
QUERY_RESULTS_FOLDER: Final = "athena-results/"
CONFIGURATION_FOLDER: Final = "config/"
TRAIL_FOLDER: Final = "cloudtrail/"
"""Folders that fill by themselves, of the analytics bucket and of the logs bucket."""
ACCESS_LOGS_KEPT_DAYS: Final = 545
"""Access logs name people's addresses, so they are not kept for ever: 18 months, in DEEP_ARCHIVE its shortest stay."""
AUDIT_KEPT_DAYS: Final = 2_555
"""Who changed what: seven years, as long as an original that was replaced."""
_REPLACED_KEPT_DAYS: Final = 30
"""What the platform can make again, or has written anew, is kept so long after it was replaced."""


def _replaced(bucket: BucketRole, kept_days: int) -> LifecycleRule:
    """Old versions end: a bucket keeps all of them, and nobody would ever see what they cost."""
    return LifecycleRule(
        f"{bucket.value}-replaced",
        bucket,
        noncurrent_deleted_after_days=kept_days,
        expired_delete_markers_deleted=True,
    )


def _ends(name: str, bucket: BucketRole, prefix: str, after_days: int) -> LifecycleRule:
    return LifecycleRule(name, bucket, prefix=prefix, current_deleted_after_days=after_days)


ENDINGS: Final = (
    _replaced(BucketRole.PROCESSED, _REPLACED_KEPT_DAYS),
    _replaced(BucketRole.ANALYTICS, _REPLACED_KEPT_DAYS),
    _ends("edge-logs-end", BucketRole.ANALYTICS, EDGE_LOGS_FOLDER, ACCESS_LOGS_KEPT_DAYS),
    _ends("bucket-logs-end", BucketRole.ANALYTICS, BUCKET_LOGS_FOLDER, ACCESS_LOGS_KEPT_DAYS),
    _ends("query-results-end", BucketRole.ANALYTICS, QUERY_RESULTS_FOLDER, 30),
    _ends("configuration-history-ends", BucketRole.ANALYTICS, CONFIGURATION_FOLDER, AUDIT_KEPT_DAYS),
    # As in the primary bucket: S3 deletes nothing here because it did so there.
    _replaced(BucketRole.BACKUP, AUDIT_KEPT_DAYS),
    _replaced(BucketRole.LOGS, _REPLACED_KEPT_DAYS),
    _ends("backup-logs-end", BucketRole.LOGS, BUCKET_LOGS_FOLDER, ACCESS_LOGS_KEPT_DAYS),
    _ends("trail-ends", BucketRole.LOGS, TRAIL_FOLDER, AUDIT_KEPT_DAYS),
)
"""What would grow for ever in silence. Originals are not among it: current ones are never deleted by a rule."""

INTELLIGENT_ARCHIVE_NAME: Final = "auto-optimization"
INTELLIGENT_ARCHIVE: Final[tuple[Transition, ...]] = (
    Transition(90, StorageClass.GLACIER),
    Transition(180, StorageClass.DEEP_ARCHIVE),
)
"""Intelligent-Tiering's archive tiers, by days without access."""
_LEFT_TO_INTELLIGENT_TIERING: Final = frozenset({StorageClass.STANDARD_IA, StorageClass.GLACIER_IR})


def lifecycle_rules(tiering: Tiering) -> tuple[LifecycleRule, ...]:
    """The rules in force. Intelligent tiering does the warm steps of the primary bucket by itself."""
    originals = CONTENT_TIERING if tiering is Tiering.LIFECYCLE else _without_warm_steps(CONTENT_TIERING)
    return originals, RAW_TIERING, ANALYTICS_TIERING, *ENDINGS


def upload_class(tiering: Tiering) -> StorageClass:
    """The class in which originals are stored at first."""
    return StorageClass.INTELLIGENT_TIERING if tiering is Tiering.INTELLIGENT else StorageClass.STANDARD


def _without_warm_steps(rule: LifecycleRule) -> LifecycleRule:
    def cold(steps: tuple[Transition, ...]) -> tuple[Transition, ...]:
        return tuple(step for step in steps if step.storage_class not in _LEFT_TO_INTELLIGENT_TIERING)

    return replace(rule, current=cold(rule.current), noncurrent=cold(rule.noncurrent))


def bucket_name(role: BucketRole, suffix: str) -> str:
    """The name of a bucket: ``content-platform-<role>-<suffix>``; the suffix is one setting for the whole platform."""
    return f"content-platform-{role.value}-{suffix}"
