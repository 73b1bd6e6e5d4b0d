"""AWS Config in one region: what is recorded, and the rules that it is held against.

An account has one recorder a region. Where it has one already, ``aws.config_recorder`` is turned off, and the rules
stand alone: they look at what that recorder records.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Stack, aws_config, aws_iam
from constructs import Construct

from contentplatform.compliance.rules import RULES, Rule, Scope
from contentplatform.config import Settings
from contentplatform.storage.lifecycle import CONFIGURATION_FOLDER
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

FOLDER: Final = CONFIGURATION_FOLDER.rstrip("/")
"""Of the analytics bucket: where Config writes what it recorded."""
GLOBAL_REGION: Final = "us-east-1"
_RECORDED: Final = (
    "AWS::S3::Bucket",
    "AWS::DynamoDB::Table",
    "AWS::Lambda::Function",
    "AWS::SNS::Topic",
    "AWS::KMS::Key",
)
"""Only what a rule looks at: each change that is recorded costs 0.003 USD."""
_RECORDED_IN_BACKUP_REGION: Final = ("AWS::S3::Bucket",)
_RECORDED_GLOBALLY: Final = ("AWS::CloudFront::Distribution",)
_TAG: Final = ("Project", "ContentPlatform")


class Compliance(Construct):
    """Recorder, delivery channel and rules of the region that the stack is in."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, names: Names) -> None:
        super().__init__(scope, construct_id)
        region = Stack.of(self).region
        recorder = self._recorder(names, region) if settings.aws.config_recorder else ()
        for rule in rules_of(names, region):
            made = aws_config.CfnConfigRule(
                self,
                rule.name,
                config_rule_name=rule.name,
                description=f"Content Platform: {rule.demands}",
                source=aws_config.CfnConfigRule.SourceProperty(owner="AWS", source_identifier=rule.identifier),
                scope=_scope(rule, names),
                input_parameters=dict(rule.parameters) or None,
                maximum_execution_frequency="TwentyFour_Hours" if rule.by_the_clock else None,
            )
            for needed in recorder:
                made.add_resource_dependency(needed)

    def _recorder(
        self, names: Names, region: str
    ) -> tuple[aws_config.CfnConfigurationRecorder, aws_config.CfnDeliveryChannel]:
        role = aws_iam.Role(
            self,
            "Role",
            role_name=f"content-platform-config-{region}",
            description="Content Platform: Config looks at resources with it, and writes down what it saw",
            assumed_by=aws_iam.ServicePrincipal(
                "config.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": names.account_id}}
            ),
            managed_policies=[aws_iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AWS_ConfigRole")],
            inline_policies={
                "delivery": aws_iam.PolicyDocument(
                    statements=[
                        aws_iam.PolicyStatement(
                            actions=["s3:PutObject"],
                            resources=[
                                names.objects_arn(BucketRole.ANALYTICS, f"{FOLDER}/AWSLogs/{names.account_id}/Config/")
                            ],
                            conditions={"StringEquals": {"aws:ResourceAccount": names.account_id}},
                        ),
                        aws_iam.PolicyStatement(
                            actions=["s3:GetBucketAcl", "s3:ListBucket"],
                            resources=[names.bucket_arn(BucketRole.ANALYTICS)],
                            conditions={"StringEquals": {"aws:ResourceAccount": names.account_id}},
                        ),
                    ]
                )
            },
        )
        recorder = aws_config.CfnConfigurationRecorder(
            self,
            "Recorder",
            name="content-platform",
            role_arn=role.role_arn,
            recording_group=aws_config.CfnConfigurationRecorder.RecordingGroupProperty(
                all_supported=False,
                include_global_resource_types=False,
                resource_types=list(recorded(names, region)),
            ),
        )
        recorder.node.add_dependency(role)
        # Neither waits for the other: CloudFormation starts the recorder once there is a channel.
        channel = aws_config.CfnDeliveryChannel(
            self,
            "Channel",
            name="content-platform",
            s3_bucket_name=names.bucket(BucketRole.ANALYTICS),
            s3_key_prefix=FOLDER,
            config_snapshot_delivery_properties=aws_config.CfnDeliveryChannel.ConfigSnapshotDeliveryPropertiesProperty(
                delivery_frequency="TwentyFour_Hours"
            ),
        )
        channel.node.add_dependency(role)
        return recorder, channel


def rules_of(names: Names, region: str) -> tuple[Rule, ...]:
    """The rules that are evaluated in a region."""
    if region == names.backup_region:
        return tuple(rule for rule in RULES if rule.in_backup_region)
    return tuple(rule for rule in RULES if region == GLOBAL_REGION or not rule.global_services)


def recorded(names: Names, region: str) -> tuple[str, ...]:
    """The types of resources that are recorded in a region."""
    if region == names.backup_region:
        return _RECORDED_IN_BACKUP_REGION
    return (*_RECORDED, *_RECORDED_GLOBALLY) if region == GLOBAL_REGION else _RECORDED


def _scope(rule: Rule, names: Names) -> aws_config.CfnConfigRule.ScopeProperty | None:
    if rule.by_the_clock or rule.scope is Scope.ACCOUNT:
        return None
    if rule.scope is Scope.BUCKET and rule.bucket is not None:
        return aws_config.CfnConfigRule.ScopeProperty(
            compliance_resource_types=["AWS::S3::Bucket"], compliance_resource_id=names.bucket(rule.bucket)
        )
    return aws_config.CfnConfigRule.ScopeProperty(tag_key=_TAG[0], tag_value=_TAG[1])
