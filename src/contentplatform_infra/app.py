"""Settings to templates: which stacks there are, in which region, and what is true of all of them.

Needs neither credentials nor a network: nothing is looked up, and the account is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import aws_cdk as cdk

from contentplatform.config import Settings
from contentplatform_infra.delivery import SIGNING_KEY_CONTEXT
from contentplatform_infra.names import TAGS, Names
from contentplatform_infra.stacks import (
    AuditStack,
    BackupStack,
    DeliveryLogsStack,
    GovernanceStack,
    KeysStack,
    MainStack,
    StackName,
)
from contentplatform_infra.waivers import acknowledge

FEATURE_FLAGS: Final[Mapping[str, Any]] = {
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-iam:standardizedServicePrincipals": True,
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
    "@aws-cdk/aws-lambda:recognizeVersionProps": True,
    "@aws-cdk/aws-s3:createDefaultLoggingPolicy": True,
    "@aws-cdk/core:checkSecretUsage": True,
    "@aws-cdk/core:enablePartitionLiterals": True,
    "@aws-cdk/core:target-partitions": ["aws", "aws-cn", "aws-us-gov"],
    "@aws-cdk/customresources:installLatestAwsSdkDefault": False,
}
"""The CDK's switches: its newer behaviour where it matters here, whatever version made an earlier deployment."""


def build(
    settings: Settings,
    outdir: str | None = None,
    *,
    account_id: str,
    only: Collection[StackName] = tuple(StackName),
    signing_key: str = "",
) -> cdk.App:
    """The app with its stacks, ready for ``synth()``.

    Args:
        settings: what is deployed.
        outdir: the folder for the templates; the CDK's own choice if not told.
        account_id: the account's twelve digits, or ``names.DRY_RUN_ACCOUNT_ID``.
        only: leaves the other stacks out.
        signing_key: the fingerprint of the key that signs URLs, which its resource is named by.

    Raises:
        ConfigurationInvalid: the settings can't be deployed.
    """
    names = Names.of(settings, account_id)
    app = cdk.App(
        analytics_reporting=False,
        outdir=outdir,
        tree_metadata=False,
        context={**FEATURE_FLAGS, SIGNING_KEY_CONTEXT: signing_key},
    )
    for name, value in TAGS.items():
        cdk.Tags.of(app).add(name, value)
    kinds = {
        StackName.BACKUP: BackupStack,
        StackName.KEYS: KeysStack,
        StackName.MAIN: MainStack,
        StackName.DELIVERY_LOGS: DeliveryLogsStack,
        StackName.GOVERNANCE: GovernanceStack,
        StackName.AUDIT: AuditStack,
    }
    stacks = {name: kind(app, settings, names) for name, kind in kinds.items() if name in only}
    for stack in stacks.values():
        for needed in stack.needs:
            if needed in stacks:
                stack.add_stack_dependency(stacks[needed])
    acknowledge(app)
    return app
