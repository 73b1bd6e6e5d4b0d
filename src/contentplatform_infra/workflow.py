"""The state machine on Step Functions, and the roles that it and MediaConvert work under.

The machine is rendered from the very definition that the local home runs; each Task names the alias of its function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from contentplatform.config import Settings
from contentplatform.processing.ladder import EXTENSION as RUNG_EXTENSION
from contentplatform.processing.presets import VIDEO_PRESETS
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.asl import to_asl
from contentplatform.workflow.definition import STATE_MACHINE, Task
from contentplatform_infra.functions import Functions, retention_of
from contentplatform_infra.names import Names
from contentplatform_infra.rights import (
    MEDIACONVERT,
    MEDIACONVERT_ROLE_NAME,
    STAGED_PREFIX,
    TRACING,
    VERSIONS_PREFIX,
    machine_arn,
    policy_document,
)

WORKFLOW_ROLE_NAME: Final = "StepFunctions-ContentProcessing-Role"
LOG_GROUP_NAME: Final = f"/aws/vendedlogs/states/{STATE_MACHINE.name}"
"""Under this prefix the log's resource policy can't grow over its limit."""
LOG_DELIVERY_ACTIONS: Final = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
LOG_DELIVERY_BECAUSE: Final = "log delivery is no resource of IAM; AWS demands the wildcard for these"
_RUNGS: Final = tuple(f"{VERSIONS_PREFIX}*/{preset.name}.{RUNG_EXTENSION}" for preset in VIDEO_PRESETS)
"""The files that an encoding leaves in a version's own folder."""


def task_functions() -> tuple[str, ...]:
    """The functions that the machine's Tasks call."""
    called = (state.resource for state in STATE_MACHINE.states.values() if isinstance(state, Task))
    return tuple(dict.fromkeys(called))


class Workflow(Construct):
    """State machine, its log, its role."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, names: Names, functions: Functions
    ) -> None:
        super().__init__(scope, construct_id)
        called = task_functions()
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=LOG_GROUP_NAME,
            retention=retention_of(settings.aws.log_retention_days),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = _role(
            self,
            "Role",
            WORKFLOW_ROLE_NAME,
            service="states.amazonaws.com",
            source={"ArnLike": {"aws:SourceArn": machine_arn(names)}},
            names=names,
            statements=[
                _allow(["lambda:InvokeFunction"], [functions[name].function_arn for name in called]),
                _allow(list(LOG_DELIVERY_ACTIONS), ["*"]),
                _allow(list(TRACING.actions), ["*"]),
            ],
        )
        self.machine = stepfunctions.CfnStateMachine(
            self,
            "Machine",
            state_machine_name=STATE_MACHINE.name,
            state_machine_type="STANDARD",
            definition_string=to_asl(STATE_MACHINE, {name: f"${{{_placeholder(name)}}}" for name in called}),
            definition_substitutions={_placeholder(name): functions[name].function_arn for name in called},
            role_arn=self.role.role_arn,
            logging_configuration=stepfunctions.CfnStateMachine.LoggingConfigurationProperty(
                level="ALL",
                include_execution_data=True,
                destinations=[
                    stepfunctions.CfnStateMachine.LogDestinationProperty(
                        cloud_watch_logs_log_group=stepfunctions.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                            log_group_arn=self.log_group.log_group_arn
                        )
                    )
                ],
            ),
            tracing_configuration=stepfunctions.CfnStateMachine.TracingConfigurationProperty(enabled=True),
        )
        self.machine.node.add_dependency(self.role)


class MediaConvertRole(Construct):
    """What MediaConvert may do for this account: read what was laid out for it, and write the rungs of videos."""

    def __init__(self, scope: Construct, construct_id: str, *, names: Names) -> None:
        super().__init__(scope, construct_id)
        own = {"StringEquals": {"aws:ResourceAccount": names.account_id}}
        self.role = _role(
            self,
            "Role",
            MEDIACONVERT_ROLE_NAME,
            service=MEDIACONVERT,
            source={"ArnLike": {"aws:SourceArn": names.arn("mediaconvert", "*")}},
            names=names,
            statements=[
                {
                    **_allow(
                        ["s3:GetObject"],
                        [names.objects_arn(BucketRole.PROCESSED, STAGED_PREFIX)],
                    ),
                    "Condition": own,
                },
                {
                    **_allow(
                        ["s3:PutObject", "s3:AbortMultipartUpload"],
                        [f"{names.bucket_arn(BucketRole.PROCESSED)}/{rung}" for rung in _RUNGS],
                    ),
                    "Condition": own,
                },
            ],
        )


def _role(
    scope: Construct,
    construct_id: str,
    name: str,
    *,
    service: str,
    source: Mapping[str, Mapping[str, str]],
    names: Names,
    statements: list[dict[str, Any]],
) -> iam.Role:
    """A role that a service takes for this account and this resource only (no confused deputy)."""
    return iam.Role(
        scope,
        construct_id,
        role_name=name,
        assumed_by=iam.ServicePrincipal(
            service,
            conditions={"StringEquals": {"aws:SourceAccount": names.account_id}, **source},
        ),
        inline_policies={"rights": policy_document(statements)},
    )


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _placeholder(function: str) -> str:
    return "".join(part.title() for part in function.split("-"))
