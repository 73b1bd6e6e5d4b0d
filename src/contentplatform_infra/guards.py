"""What every bucket's policy denies, and to whom it does not: the statements that stand in all of them.

A deny has no exception but the one that it names, so whoever may change policies is a list that is never empty: the
role with which CloudFormation deploys, a role for emergencies that the stack makes, and those that a setting adds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import DefaultStackSynthesizer, Duration, aws_iam
from constructs import Construct

from contentplatform.config import Settings
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.lifecycle import BUCKETS
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

BREAK_GLASS_ROLE: Final = "content-platform-break-glass"
LOWEST_TLS: Final = 1.2
ENCRYPTION: Final = "AES256"
_ENCRYPTION_HEADER: Final = "s3:x-amz-server-side-encryption"
_CALLERS_KEY_HEADER: Final = "s3:x-amz-server-side-encryption-customer-algorithm"
_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")

GUARDED_ACTIONS: Final = (
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketAcl",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
)
"""Each of these alone can open a bucket, stop its copy or its log, or let its objects go."""
KEPT_OBJECT_ACTIONS: Final[dict[BucketRole, tuple[str, ...]]] = {
    BucketRole.BACKUP: ("s3:BypassGovernanceRetention", "s3:DeleteObjectVersion"),
    BucketRole.LOGS: ("s3:DeleteObject", "s3:DeleteObjectVersion"),
}
"""What of the second copy and of its logs nobody else may take away. Lifecycle rules are not people, and go on."""


def administrators(settings: Settings, names: Names, region: str) -> tuple[str, ...]:
    """The roles that may change the guards of buckets in ``region``.

    Raises:
        ConfigurationInvalid: an entry of ``aws.policy_administrators`` is not one role's ARN.
    """
    added = [entry.strip() for entry in settings.aws.policy_administrators.split(",") if entry.strip()]
    for entry in added:
        if not _ROLE_ARN.fullmatch(entry):
            raise ConfigurationInvalid(
                "making the buckets' policies",
                f"aws.policy_administrators names {entry!r}, which is not the ARN of one role",
                hint="Write arn:aws:iam::<account>:role/<name>, comma between; no wildcards",
            )
    deployment = f"cdk-{DefaultStackSynthesizer.DEFAULT_QUALIFIER}-cfn-exec-role-{names.account_id}-{region}"
    return tuple(dict.fromkeys((names.role_arn(deployment), names.role_arn(BREAK_GLASS_ROLE), *added)))


def denials(names: Names, role: BucketRole, exempt: Sequence[str]) -> list[aws_iam.PolicyStatement]:
    """The statements that stand in the policy of every bucket.

    Args:
        names: what the buckets are called.
        role: which bucket.
        exempt: ARNs of the roles that may change its guards.

    Raises:
        ConfigurationInvalid: nobody is exempt; only the root account could ever change that policy again.
    """
    if not exempt:
        raise ConfigurationInvalid(
            f"making the policy of {names.bucket(role)}",
            "nobody would be left who may change it",
            hint="Name at least one role",
        )
    bucket, objects = names.bucket_arn(role), names.objects_arn(role)
    others = {"ArnNotLike": {"aws:PrincipalArn": list(exempt)}}
    statements = [
        _deny("OnlyOverTls", ["s3:*"], [bucket, objects], {"Bool": {"aws:SecureTransport": "false"}}),
        _deny("OnlyRecentTls", ["s3:*"], [bucket, objects], {"NumericLessThan": {"s3:TlsVersion": str(LOWEST_TLS)}}),
        _deny(
            "NoOtherEncryption",
            ["s3:PutObject"],
            [objects],
            {"StringNotEquals": {_ENCRYPTION_HEADER: ENCRYPTION}, "Null": {_ENCRYPTION_HEADER: "false"}},
        ),
        _deny("NoKeysOfTheCaller", ["s3:PutObject"], [objects], {"Null": {_CALLERS_KEY_HEADER: "false"}}),
        _deny("OnlyAdministratorsChangeGuards", list(GUARDED_ACTIONS), [bucket], others),
    ]
    if role in KEPT_OBJECT_ACTIONS:
        statements.append(_deny("OnlyAdministratorsTakeAway", list(KEPT_OBJECT_ACTIONS[role]), [objects], others))
    return statements


def _deny(
    sid: str, actions: list[str], resources: list[str], conditions: Mapping[str, Mapping[str, object]]
) -> aws_iam.PolicyStatement:
    return aws_iam.PolicyStatement(
        sid=sid,
        effect=aws_iam.Effect.DENY,
        principals=[aws_iam.AnyPrincipal()],
        actions=actions,
        resources=resources,
        conditions=dict(conditions),
    )


class BreakGlass(Construct):
    """The role for the day on which a policy locks everybody out: taken with a second factor, for one hour."""

    def __init__(self, scope: Construct, construct_id: str, names: Names) -> None:
        super().__init__(scope, construct_id)
        aws_iam.Role(
            self,
            "Role",
            role_name=BREAK_GLASS_ROLE,
            description="May read and change the guards of the platform's buckets; for emergencies",
            assumed_by=aws_iam.PrincipalWithConditions(
                aws_iam.AccountPrincipal(names.account_id), {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
            ),
            max_session_duration=Duration.hours(1),
            inline_policies={
                "guards": aws_iam.PolicyDocument(
                    statements=[
                        aws_iam.PolicyStatement(
                            actions=["s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", *GUARDED_ACTIONS],
                            resources=[names.bucket_arn(bucket.role) for bucket in BUCKETS],
                        )
                    ]
                )
            },
        )
