"""The findings of cdk-nag (AwsSolutions) that are accepted, each with its reason: data, applied by the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_iam
from constructs import IConstruct

from contentplatform_infra.stacks import StackName
from contentplatform_infra.wildcards import wildcards_of


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted finding."""

    stack: StackName
    path: str
    """Of the construct below its stack, as ``Storage/Primary``; holds for all below it. Empty: the stack itself."""
    rule: str
    """As ``AwsSolutions-S1``; those about wildcards of IAM (IAM5) have their reasons in ``wildcards.WILDCARDS``."""
    reason: str


WAIVERS: Final[tuple[Waiver, ...]] = (
    Waiver(
        StackName.MAIN,
        "Storage",
        "CloudFormation-Validate::W9003",
        "The CDK writes the smallest size that is moved as a number, where CloudFormation takes either",
    ),
    Waiver(
        StackName.MAIN,
        "Functions",
        "AwsSolutions-L1",
        "The libraries in the layers are locked for this Python; the next one comes with the next lock",
    ),
    Waiver(
        StackName.MAIN,
        "Delivery",
        "AwsSolutions-CFR1",
        "What is public is public everywhere; nothing tells of a country that must not see it",
    ),
    Waiver(
        StackName.MAIN,
        "Delivery",
        "AwsSolutions-CFR2",
        "The firewall is a setting, off by default, because it costs more than all else at the edge",
    ),
    Waiver(
        StackName.MAIN,
        "Delivery",
        "AwsSolutions-CFR3",
        "Its access log is the newer kind (standard logging v2), which the stack of delivery logs sets up",
    ),
    Waiver(
        StackName.MAIN,
        "Delivery",
        "AwsSolutions-CFR4",
        "The least version of TLS can be set with a certificate of one's own only; this is CloudFront's own name",
    ),
    Waiver(
        StackName.MAIN,
        "Functions/FailedCalls",
        "AwsSolutions-SQS3",
        "It is itself where failed calls end, of functions, schedules and streams, which the rule does not see",
    ),
    *(
        Waiver(
            stack,
            "Compliance/Role",
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWS_ConfigRole]",
            "It reads every kind of resource that Config knows, and AWS adds to that list itself",
        )
        for stack in (StackName.GOVERNANCE, StackName.AUDIT)
    ),
    Waiver(
        StackName.MAIN,
        "SharedFiles/Network",
        "AwsSolutions-VPC7",
        "The network holds two mount targets and no way in or out; there is no flow to learn from",
    ),
    *(
        Waiver(
            stack,
            "Compliance",
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWS_ConfigRole]",
            "Config asks for this very policy: AWS keeps it in step with what Config reads",
        )
        for stack in (StackName.GOVERNANCE, StackName.AUDIT)
    ),
)


def acknowledge(app: cdk.App) -> None:
    """Apply the waivers to what is there, and the reasons for wildcards to the roles that hold them."""
    for waiver in WAIVERS:
        construct = find(app, waiver)
        if construct is not None:
            _acknowledge(construct, waiver.rule, waiver.reason)
    for construct in app.node.find_all():
        for document in _documents(construct):
            for found in wildcards_of(document):
                if found.reason is not None:
                    rule = f"AwsSolutions-IAM5[{found.kind}::{found.text}]"
                    _acknowledge(construct, rule, found.reason.because)


def find(app: cdk.App, waiver: Waiver) -> IConstruct | None:
    """The construct that a waiver is for; none where its stack or a setting's construct is left out."""
    found: IConstruct | None = app
    for name in (waiver.stack.value, *filter(None, waiver.path.split("/"))):
        if found is None:
            return None
        found = found.node.try_find_child(name)
    return found


def _acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def _documents(construct: IConstruct) -> list[Mapping[str, Any]]:
    """The policy documents of a role or a policy, as they will stand in the template."""
    if isinstance(construct, aws_iam.CfnRole):
        policies = cdk.Stack.of(construct).resolve(construct.policies) or []
        return [policy["policyDocument"] for policy in policies]
    if isinstance(construct, aws_iam.CfnPolicy | aws_iam.CfnManagedPolicy):
        return [cdk.Stack.of(construct).resolve(construct.policy_document)]
    return []
