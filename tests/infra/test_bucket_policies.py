"""Every statement of every bucket's one policy, and who is exempt from what it denies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.errors import ConfigurationInvalid
from infra.synthesis import (
    ACCOUNT_ID,
    BACKUP_REGION,
    REGION,
    SUFFIX,
    Templates,
    named,
    resources,
    settings_of,
    synthesise,
)

ROLES: Final = ("primary", "raw", "processed", "analytics", "backup", "logs")
GUARDS: Final = {
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
}


def name_of(role: str) -> str:
    return f"content-platform-{role}-{SUFFIX}"


def arn_of(role: str) -> str:
    return f"arn:aws:s3:::{name_of(role)}"


def exempt_in(role: str) -> list[str]:
    region = BACKUP_REGION if role in {"backup", "logs"} else REGION
    return [
        f"arn:aws:iam::{ACCOUNT_ID}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT_ID}-{region}",
        f"arn:aws:iam::{ACCOUNT_ID}:role/content-platform-break-glass",
    ]


def policy(templates: Templates, role: str) -> dict[str, dict[str, Any]]:
    """The statements of a bucket's policy, by their ids."""
    document = named(templates, "AWS::S3::BucketPolicy", Bucket=name_of(role))["PolicyDocument"]
    statements = {statement.pop("Sid"): statement for statement in map(dict, document["Statement"])}
    assert len(statements) == len(document["Statement"])
    return statements


def allowed(templates: Templates, role: str) -> dict[str, dict[str, Any]]:
    """The statements that allow something."""
    return {name: held for name, held in policy(templates, role).items() if held["Effect"] == "Allow"}


def test_every_bucket_has_one_policy_and_no_policy_lacks_its_bucket(templates: Templates) -> None:
    found = Counter(held["Bucket"] for _, held in resources(templates, "AWS::S3::BucketPolicy"))
    assert found == {name_of(role): 1 for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
def test_only_recent_tls_gets_in(templates: Templates, role: str) -> None:
    everything = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": [arn_of(role), f"{arn_of(role)}/*"],
    }
    statements = policy(templates, role)
    assert statements["OnlyOverTls"] == {**everything, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert statements["OnlyRecentTls"] == {**everything, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}}


@pytest.mark.parametrize("role", ROLES)
def test_a_write_that_asks_for_another_encryption_is_denied_one_that_asks_for_none_is_not(
    templates: Templates, role: str
) -> None:
    writes = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:PutObject", "Resource": f"{arn_of(role)}/*"}
    statements = policy(templates, role)
    assert statements["NoOtherEncryption"] == {
        **writes,
        "Condition": {
            "StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"},
            "Null": {"s3:x-amz-server-side-encryption": "false"},
        },
    }
    assert statements["NoKeysOfTheCaller"] == {
        **writes,
        "Condition": {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
    }


@pytest.mark.parametrize("role", ROLES)
def test_only_the_listed_roles_change_a_bucket_s_guards(templates: Templates, role: str) -> None:
    statement = policy(templates, role)["OnlyAdministratorsChangeGuards"]
    assert set(statement["Action"]) == GUARDS
    assert statement["Resource"] == arn_of(role)
    assert (statement["Effect"], statement["Principal"]) == ("Deny", {"AWS": "*"})
    assert statement["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": exempt_in(role)}}


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("backup", {"s3:BypassGovernanceRetention", "s3:DeleteObjectVersion"}),
        ("logs", {"s3:DeleteObject", "s3:DeleteObjectVersion"}),
    ],
)
def test_nobody_else_takes_versions_of_the_second_copy_or_logs_away(
    templates: Templates, role: str, actions: set[str]
) -> None:
    statement = policy(templates, role)["OnlyAdministratorsTakeAway"]
    assert set(statement["Action"]) == actions
    assert (statement["Effect"], statement["Resource"]) == ("Deny", f"{arn_of(role)}/*")
    assert statement["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": exempt_in(role)}}


def test_further_roles_are_exempt_by_setting(templates_for: Callable[..., Templates]) -> None:
    further = ["arn:aws:iam::111122223333:role/ops/admins", "arn:aws:iam::444455556666:role/pipeline"]
    with_more = templates_for(aws={"policy_administrators": ", ".join(further)})
    for role in ROLES:
        condition = policy(with_more, role)["OnlyAdministratorsChangeGuards"]["Condition"]
        assert condition == {"ArnNotLike": {"aws:PrincipalArn": [*exempt_in(role), *further]}}


@pytest.mark.parametrize(
    "wrong", ["arn:aws:iam::111122223333:role/*", "*", "admins", "arn:aws:iam::111122223333:root", "a,b"]
)
def test_an_administrator_is_one_role(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="not the ARN of one role"):
        synthesise(settings_of(aws={"policy_administrators": wrong}), tmp_path)


def test_a_policy_that_nobody_may_change_is_never_made() -> None:
    from contentplatform.storage.port import BucketRole  # noqa: PLC0415 - starts Node; most test processes never need it
    from contentplatform_infra.guards import denials  # noqa: PLC0415 - same
    from contentplatform_infra.names import Names  # noqa: PLC0415 - same

    with pytest.raises(ConfigurationInvalid, match="nobody would be left"):
        denials(Names.of(settings_of(), ACCOUNT_ID), BucketRole.PRIMARY, [])


def test_the_role_for_emergencies_is_there_and_needs_a_second_factor(templates: Templates) -> None:
    role = named(templates, "AWS::IAM::Role", RoleName="content-platform-break-glass")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}
    assert trust["Condition"] == {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    assert role["MaxSessionDuration"] == 3600
    [held] = [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
    assert set(held["Resource"]) == {arn_of(role) for role in ROLES}
    assert set(held["Action"]) == GUARDS | {"s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock"}


@pytest.mark.parametrize(
    ("role", "source"),
    [("analytics", "primary"), ("analytics", "raw"), ("analytics", "processed"), ("logs", "backup")],
)
def test_access_logs_come_from_this_account_s_own_bucket_into_its_folder(
    templates: Templates, role: str, source: str
) -> None:
    assert policy(templates, role)[f"AccessLogOf{source.title()}"] == {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"{arn_of(role)}/s3-access-logs/{source}/*",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": arn_of(source)},
        },
    }


def test_the_trail_and_nobody_else_of_its_service_writes_into_the_logs(templates: Templates) -> None:
    trail = f"arn:aws:cloudtrail:{BACKUP_REGION}:{ACCOUNT_ID}:trail/content-platform-audit"
    statements = policy(templates, "logs")
    assert statements["TrailWrites"] == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudtrail.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"{arn_of('logs')}/cloudtrail/AWSLogs/{ACCOUNT_ID}/*",
        "Condition": {"StringEquals": {"aws:SourceArn": trail, "s3:x-amz-acl": "bucket-owner-full-control"}},
    }
    assert statements["TrailLooksAtTheBucket"] == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudtrail.amazonaws.com"},
        "Action": "s3:GetBucketAcl",
        "Resource": arn_of("logs"),
        "Condition": {"StringEquals": {"aws:SourceArn": trail}},
    }


def test_the_edge_reads_what_it_serves_and_nothing_else(templates: Templates) -> None:
    [(distribution, _)] = resources(templates, "AWS::CloudFront::Distribution")
    source = {
        "StringEquals": {
            "AWS:SourceArn": {
                "Fn::Join": ["", [f"arn:aws:cloudfront::{ACCOUNT_ID}:distribution/", {"Ref": distribution}]]
            }
        }
    }
    for role in ("primary", "processed"):
        statement = policy(templates, role)["OnlyTheEdgeReads"]
        assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
        assert statement["Action"] == "s3:GetObject"
        assert statement["Condition"] == source
    assert policy(templates, "primary")["OnlyTheEdgeReads"]["Resource"] == f"{arn_of('primary')}/public/raw/*"
    served = policy(templates, "processed")["OnlyTheEdgeReads"]["Resource"]
    assert {f"{arn_of('processed')}/processed/thumbnails/*", f"{arn_of('processed')}/video-processed/*"} <= set(served)
    assert not any(resource.endswith((f"{name_of('processed')}/*", "versions/*")) for resource in served)


@pytest.mark.parametrize("role", ROLES)
def test_whoever_is_let_in_is_a_service_of_this_account(templates: Templates, role: str) -> None:
    for name, statement in allowed(templates, role).items():
        assert set(statement["Principal"]) == {"Service"}, name
        conditions = {key.lower() for test in statement["Condition"].values() for key in test}
        assert conditions & {"aws:sourceaccount", "aws:sourcearn"}, name
    if role in {"raw", "backup"}:
        assert allowed(templates, role) == {}
