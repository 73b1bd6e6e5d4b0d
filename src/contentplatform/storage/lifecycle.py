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
    """How all objects of one bucket age. Days count from creation; for noncurrent ones, from being replaced."""

    name: str
    bucket: BucketRole
    current: tuple[Transition, ...]
    noncurrent: tuple[Transition, ...] = ()
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

INTELLIGENT_ARCHIVE_NAME: Final = "auto-optimization"
INTELLIGENT_ARCHIVE: Final[tuple[Transition, ...]] = (
    Transition(90, StorageClass.GLACIER),
    Transition(180, StorageClass.DEEP_ARCHIVE),
)
"""Intelligent-Tiering's archive tiers, by days without access."""
_LEFT_TO_INTELLIGENT_TIERING: Final = frozenset({StorageClass.STANDARD_IA, StorageClass.GLACIER_IR})


def lifecycle_rules(tiering: Tiering) -> tuple[LifecycleRule, ...]:
    """The rules in force. Intelligent tiering does the warm steps of the primary bucket by itself."""
    if tiering is Tiering.LIFECYCLE:
        return CONTENT_TIERING, RAW_TIERING, ANALYTICS_TIERING
    return _without_warm_steps(CONTENT_TIERING), RAW_TIERING, ANALYTICS_TIERING


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
