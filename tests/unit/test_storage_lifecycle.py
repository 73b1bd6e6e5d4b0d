"""The buckets and their tiers are what the platform promises."""

from __future__ import annotations

from contentplatform.storage.lifecycle import (
    BUCKETS,
    CONTENT_TIERING,
    INTELLIGENT_ARCHIVE,
    REGION_OF,
    Tiering,
    lifecycle_rules,
    upload_class,
)
from contentplatform.storage.port import BucketRole, StorageClass


def test_every_role_is_one_bucket() -> None:
    assert [bucket.role for bucket in BUCKETS] == list(BucketRole)


def test_backup_and_its_logs_are_far_away() -> None:
    """The second copy is in another region, and a log bucket must lie in the region of what it logs."""
    assert REGION_OF[BucketRole.BACKUP] == REGION_OF[BucketRole.LOGS] == "us-west-2"
    assert {REGION_OF[role] for role in set(BucketRole) - {BucketRole.BACKUP, BucketRole.LOGS}} == {"us-east-1"}


def test_originals_age_as_promised() -> None:
    assert [(step.after_days, step.storage_class.value) for step in CONTENT_TIERING.current] == [
        (30, "STANDARD_IA"),
        (90, "GLACIER_IR"),
        (365, "GLACIER"),
        (1_095, "DEEP_ARCHIVE"),
    ]
    assert [(step.after_days, step.storage_class.value) for step in CONTENT_TIERING.noncurrent] == [
        (30, "STANDARD_IA"),
        (60, "GLACIER"),
    ]
    assert CONTENT_TIERING.noncurrent_deleted_after_days == 7 * 365
    assert CONTENT_TIERING.expired_delete_markers_deleted
    assert CONTENT_TIERING.incomplete_uploads_aborted_after_days == 7


def test_steps_of_every_rule_go_colder_with_time() -> None:
    order = list(StorageClass)
    for tiering in Tiering:
        for rule in lifecycle_rules(tiering):
            for steps in (rule.current, rule.noncurrent):
                assert [step.after_days for step in steps] == sorted({step.after_days for step in steps})
                classes = [order.index(step.storage_class) for step in steps]
                assert classes == sorted(set(classes))


def test_one_tiering_mechanism_at_a_time() -> None:
    """Intelligent tiering does the warm steps itself, and works only on objects uploaded into its class."""
    (rule, *_) = lifecycle_rules(Tiering.INTELLIGENT)
    assert [step.storage_class for step in rule.current] == [StorageClass.GLACIER, StorageClass.DEEP_ARCHIVE]
    assert upload_class(Tiering.INTELLIGENT) is StorageClass.INTELLIGENT_TIERING
    assert upload_class(Tiering.LIFECYCLE) is StorageClass.STANDARD
    assert [step.after_days for step in INTELLIGENT_ARCHIVE] == [90, 180]
