"""The findings of cdk-nag (AwsSolutions) that are accepted, each with its reason: data, applied by the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import aws_cdk as cdk
from constructs import IConstruct

from contentplatform_infra.stacks import StackName


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted finding."""

    stack: StackName
    path: str
    """Of the construct below its stack, as ``Storage/Primary``; the empty path is the stack itself."""
    rule: str
    """As ``AwsSolutions-S1``, or ``AwsSolutions-IAM5[Resource::*]`` where a rule tells its findings apart."""
    reason: str


WAIVERS: Final[tuple[Waiver, ...]] = ()


def acknowledge(app: cdk.App) -> None:
    """Apply the waivers to the stacks that are there; a test finds waivers whose construct has gone."""
    for waiver in WAIVERS:
        construct = find(app, waiver)
        if construct is not None:
            cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=waiver.rule, reason=waiver.reason))


def find(app: cdk.App, waiver: Waiver) -> IConstruct | None:
    """The construct that a waiver is for; none where its stack or a setting's construct is left out."""
    found: IConstruct | None = app
    for name in (waiver.stack.value, *filter(None, waiver.path.split("/"))):
        if found is None:
            return None
        found = found.node.try_find_child(name)
    return found
