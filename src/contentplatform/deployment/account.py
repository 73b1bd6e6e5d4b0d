"""The account that is deployed into: whose it is, what the caller may do there, whether the CDK is at home in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import ConfigurationInvalid, NotFound, PlatformError

QUALIFIER: Final = "hnb659fds"
"""The CDK's own, of bootstraps that nobody gave another."""
_VERSION_PARAMETER: Final = f"/cdk-bootstrap/{QUALIFIER}/version"
_ASSUMED_ROLE: Final = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/")
_BOOTSTRAPPING: Final = (
    "cloudformation:CreateChangeSet",
    "ecr:CreateRepository",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "s3:CreateBucket",
    "ssm:PutParameter",
)
_DEPLOYING: Final = ("sts:AssumeRole", "cloudformation:DescribeStacks", "ssm:GetParameter", "ssm:PutParameter")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who deploys."""

    account_id: str
    arn: str

    @property
    def is_root(self) -> bool:
        """Whether it is the account's root user, which may do everything and should do nothing."""
        return self.arn.endswith(":root")

    @property
    def principal_arn(self) -> str:
        """Whose policies count: of a session, its role's."""
        session = _ASSUMED_ROLE.match(self.arn)
        if session is None:
            return self.arn
        return f"arn:{session['partition']}:iam::{session['account']}:role/{session['role']}"


@dataclass(frozen=True, slots=True)
class Rights:
    """What was found out about the caller's rights."""

    missing: tuple[str, ...]
    known: bool
    sentence: str


def caller(aws: Aws) -> Caller:
    """Who the credentials belong to.

    Raises:
        ConfigurationInvalid: there are none, or they are not valid.
        Unavailable: AWS can't be reached.
    """
    with translated("finding out whose AWS account this is"):
        identity = aws.client("sts").get_caller_identity()
    return Caller(str(identity["Account"]), str(identity["Arn"]))


def rights(aws: Aws, who: Caller, *, bootstrapped: bool) -> Rights:
    """Whether the caller may deploy, as far as AWS tells beforehand.

    Args:
        aws: the account.
        who: whose rights.
        bootstrapped: whether the CDK's roles are there already; else they have to be made.
    """
    if who.is_root:
        return Rights(
            (), known=False, sentence="These are the account's root user's credentials, which may do everything: "
            "safer is a role with AdministratorAccess"
        )  # fmt: skip
    actions = _DEPLOYING if bootstrapped else (*_DEPLOYING, *_BOOTSTRAPPING)
    try:
        with translated("asking what these credentials may do"):
            answer = aws.client("iam").simulate_principal_policy(
                PolicySourceArn=who.principal_arn, ActionNames=list(actions)
            )
    except PlatformError:
        return Rights((), known=False, sentence="Whether these credentials may deploy can't be told beforehand")
    missing = tuple(
        str(result["EvalActionName"])
        for result in answer["EvaluationResults"]
        if result["EvalDecision"] != "allowed" and not _may_be_limited_to(str(result["EvalActionName"]))
    )
    words = f"These credentials lack {', '.join(missing)}" if missing else "These credentials may deploy"
    return Rights(missing, known=True, sentence=words)


def _may_be_limited_to(action: str) -> bool:
    """Whether the right is usually given for some resources only, which asking for all of them denies."""
    return action in {"sts:AssumeRole", "ssm:GetParameter", "ssm:PutParameter"}


def check_account(who: Caller, expected_account_id: str, data_folder: object) -> None:
    """See that the credentials are of the account that this data folder was deployed into.

    Raises:
        ConfigurationInvalid: they are of another one.
    """
    if expected_account_id and who.account_id != expected_account_id:
        raise ConfigurationInvalid(
            "preparing the deployment",
            f"the credentials are of account {who.account_id}, the settings of {data_folder} name "
            f"{expected_account_id}",
            hint="Name the right profile with --profile, or another data folder with --data",
        )


def bootstrap_version(aws: Aws, region: str) -> int:
    """The version of the CDK's bootstrap in a region; 0: there is none.

    Raises:
        ConfigurationInvalid: the credentials may not ask.
        Unavailable: AWS can't be reached.
    """
    try:
        with translated(f"asking for the CDK's bootstrap in {region}"):
            answer = aws.client("ssm", region).get_parameter(Name=_VERSION_PARAMETER)
    except NotFound:
        return 0
    return int(answer["Parameter"]["Value"])


def regions_to_bootstrap(aws: Aws, needed: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """The regions whose bootstrap is missing or too old.

    Args:
        aws: the account.
        needed: regions with the version that a stack there needs.
    """
    wanted: dict[str, int] = {}
    for region, version in needed:
        wanted[region] = max(version, wanted.get(region, 0))
    return tuple(region for region, version in wanted.items() if version and bootstrap_version(aws, region) < version)
