"""The rules that a careful team checks, as data: AWS Config evaluates them, ``verify`` looks at what it can at home.

A rule that could only ever be red is not here: access logging of the log buckets (they must not log themselves),
KMS keys on buckets that are encrypted with S3's own, legacy access logs of an edge that uses the newer kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import ACCESS_LOGS_GO_TO


class Scope(StrEnum):
    """What a rule looks at."""

    TAGGED = "tagged"
    """Everything that carries the platform's tags, of the kinds that the rule knows."""
    BUCKET = "bucket"
    """One bucket."""
    ACCOUNT = "account"
    """The account, or the machine."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    identifier: str
    """AWS Config's managed rule."""
    demands: str
    scope: Scope = Scope.TAGGED
    """One by the clock looks at the whole account, whatever this says: Config has no narrower scope for those."""
    bucket: BucketRole | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    by_the_clock: bool = False
    """Evaluated once a day, because what it looks at tells nobody when it changes."""
    in_backup_region: bool = False
    """Evaluated there, too, as Config sees one region only."""
    global_services: bool = False
    """Can be evaluated in us-east-1 only, where AWS keeps its global services."""
    at_home: bool = False
    """Whether ``verify`` can check the same in the local home."""


LOGGED_BUCKETS: Final = tuple(role for role, target in ACCESS_LOGS_GO_TO.items() if target is BucketRole.ANALYTICS)
"""Buckets of the main region that have an access log."""

RULES: Final = (
    # -- buckets
    Rule(
        "s3-bucket-versioning-enabled",
        "S3_BUCKET_VERSIONING_ENABLED",
        "every bucket keeps old versions",
        in_backup_region=True,
        at_home=True,
    ),
    Rule(
        "s3-default-encryption-enabled",
        "S3_BUCKET_SERVER_SIDE_ENCRYPTION_ENABLED",
        "every bucket encrypts what is written",
        in_backup_region=True,
        at_home=True,
    ),
    Rule(
        "s3-bucket-ssl-requests-only",
        "S3_BUCKET_SSL_REQUESTS_ONLY",
        "every bucket refuses requests that are not over TLS",
        in_backup_region=True,
    ),
    Rule(
        "s3-bucket-public-access-blocked",
        "S3_BUCKET_LEVEL_PUBLIC_ACCESS_PROHIBITED",
        "every bucket blocks all public access",
        in_backup_region=True,
        at_home=True,
    ),
    Rule(
        "s3-bucket-acl-prohibited",
        "S3_BUCKET_ACL_PROHIBITED",
        "rights are given by policies, not by object",
        in_backup_region=True,
    ),
    Rule(
        "s3-primary-replication-enabled",
        "S3_BUCKET_REPLICATION_ENABLED",
        "the primary bucket has its second copy",
        Scope.BUCKET,
        BucketRole.PRIMARY,
        at_home=True,
    ),
    Rule(
        "s3-primary-lifecycle",
        "S3_LIFECYCLE_POLICY_CHECK",
        "originals age into colder classes",
        Scope.BUCKET,
        BucketRole.PRIMARY,
        at_home=True,
    ),
    *(
        Rule(
            f"s3-{role}-logging-enabled",
            "S3_BUCKET_LOGGING_ENABLED",
            f"requests to the {role} bucket are logged",
            Scope.BUCKET,
            role,
            at_home=True,
        )
        for role in LOGGED_BUCKETS
    ),
    # -- catalog
    Rule(
        "dynamodb-point-in-time-recovery",
        "DYNAMODB_PITR_ENABLED",
        "the catalog can be put back to any second of the last 35 days",
        by_the_clock=True,
    ),
    Rule(
        "dynamodb-deletion-protection",
        "DYNAMODB_TABLE_DELETION_PROTECTION_ENABLED",
        "no table of the catalog can be deleted by mistake",
    ),
    # -- what runs, and who may
    Rule(
        "lambda-public-access-prohibited",
        "LAMBDA_FUNCTION_PUBLIC_ACCESS_PROHIBITED",
        "nobody outside the account may call a function",
    ),
    Rule(
        "lambda-runtime-supported",
        "LAMBDA_FUNCTION_SETTINGS_CHECK",
        "functions run on a version of Python that gets security updates",
        parameters={"runtime": "python3.13,python3.14"},
    ),
    Rule(
        "sns-topics-encrypted",
        "SNS_ENCRYPTED_KMS",
        "alerts are encrypted at rest",
    ),
    Rule(
        "keys-rotated",
        "CMK_BACKING_KEY_ROTATION_ENABLED",
        "keys get new material every year",
        by_the_clock=True,
    ),
    Rule(
        "cloudfront-https-only",
        "CLOUDFRONT_VIEWER_POLICY_HTTPS",
        "viewers of the edge are sent to HTTPS",
        global_services=True,
    ),
    # -- the account
    Rule(
        "cloudtrail-enabled",
        "CLOUD_TRAIL_ENABLED",
        "who changed what in the account is recorded",
        Scope.ACCOUNT,
        by_the_clock=True,
    ),
    Rule(
        "root-account-mfa-enabled",
        "ROOT_ACCOUNT_MFA_ENABLED",
        "the root user signs in with a second factor",
        Scope.ACCOUNT,
        by_the_clock=True,
        global_services=True,
    ),
    Rule(
        "root-account-has-no-access-key",
        "IAM_ROOT_ACCESS_KEY_CHECK",
        "the root user has no access key",
        Scope.ACCOUNT,
        by_the_clock=True,
        global_services=True,
    ),
)
