"""The topic that alerts go to, encrypted, and who hears of them.

The key is the platform's own: CloudWatch, S3 and Budgets can't publish to a topic under AWS's key for SNS, whose
policy nobody can change. It costs 1 USD a month, and is what makes alarms arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import CfnResource, Duration, RemovalPolicy, aws_iam, aws_kms, aws_sns
from constructs import Construct

from contentplatform.alerts.port import TOPIC_NAME
from contentplatform.config import Settings
from contentplatform.storage.port import BucketRole
from contentplatform_infra.names import Names

KEY_ALIAS: Final = "alias/content-platform-alerts"
_KEY_ACTIONS: Final = ["kms:Decrypt", "kms:GenerateDataKey"]


@dataclass(frozen=True, slots=True)
class Publisher:
    """A service of AWS that tells people something for this account, and on behalf of which resources."""

    sid: str
    service: str
    source_arn: str


def topic_arn(names: Names) -> str:
    """The topic's ARN."""
    return names.arn("sns", TOPIC_NAME)


def publishers(names: Names) -> tuple[Publisher, ...]:
    """Who may publish, besides the functions that have the right."""
    return (
        Publisher("AlarmsTell", "cloudwatch.amazonaws.com", names.arn("cloudwatch", "alarm:*")),
        Publisher("BudgetsTell", "budgets.amazonaws.com", names.arn("budgets", "*", region="")),
        Publisher("ReplicationTells", "s3.amazonaws.com", names.bucket_arn(BucketRole.PRIMARY)),
    )


class AlertsTopic(Construct):
    """Key, topic, policy, and the subscription of ``aws.alert_email``, who has to confirm it by a link."""

    def __init__(self, scope: Construct, construct_id: str, settings: Settings, names: Names) -> None:
        super().__init__(scope, construct_id)
        self.key = aws_kms.CfnKey(
            self,
            "Key",
            description="Content Platform: encrypts alerts at rest",
            enable_key_rotation=True,
            pending_window_in_days=int(Duration.days(7).to_days()),
            key_policy=_key_policy(names),
        )
        self.key.apply_removal_policy(RemovalPolicy.DESTROY)
        alias = aws_kms.CfnAlias(self, "Alias", alias_name=KEY_ALIAS, target_key_id=self.key.attr_key_id)
        self.topic = aws_sns.CfnTopic(
            self, "Topic", topic_name=TOPIC_NAME, display_name="Content Platform", kms_master_key_id=KEY_ALIAS
        )
        self.topic.add_resource_dependency(alias)
        self.policy = aws_sns.CfnTopicPolicy(
            self, "Policy", topics=[self.topic.ref], policy_document=_topic_policy(names)
        )
        if settings.aws.alert_email:
            aws_sns.CfnSubscription(
                self, "Mail", topic_arn=self.topic.ref, protocol="email", endpoint=settings.aws.alert_email
            )

    @property
    def needs(self) -> tuple[CfnResource, ...]:
        """What has to stand before a service is told to publish: S3 tries at once."""
        return (self.key, self.topic, self.policy)


def _key_policy(names: Names) -> aws_iam.PolicyDocument:
    account = aws_iam.PolicyStatement(
        sid="TheAccountDecides",
        principals=[aws_iam.AccountRootPrincipal()],
        actions=["kms:*"],
        resources=["*"],
    )
    through_sns = aws_iam.PolicyStatement(
        sid="OurFunctionsTell",
        principals=[aws_iam.AnyPrincipal()],
        actions=_KEY_ACTIONS,
        resources=["*"],
        conditions={
            "StringEquals": {
                "kms:CallerAccount": names.account_id,
                "kms:ViaService": f"sns.{names.region}.amazonaws.com",
            }
        },
    )
    services = [
        aws_iam.PolicyStatement(
            sid=publisher.sid,
            principals=[aws_iam.ServicePrincipal(publisher.service)],
            actions=_KEY_ACTIONS,
            resources=["*"],
            conditions=_of_this_account(names, publisher),
        )
        for publisher in publishers(names)
    ]
    return aws_iam.PolicyDocument(minimize=False, statements=[account, through_sns, *services])


def _topic_policy(names: Names) -> aws_iam.PolicyDocument:
    arn = topic_arn(names)
    only_tls = aws_iam.PolicyStatement(
        sid="OnlyOverTls",
        effect=aws_iam.Effect.DENY,
        principals=[aws_iam.AnyPrincipal()],
        actions=["sns:Publish"],
        resources=[arn],
        conditions={"Bool": {"aws:SecureTransport": "false"}},
    )
    services = [
        aws_iam.PolicyStatement(
            sid=publisher.sid,
            principals=[aws_iam.ServicePrincipal(publisher.service)],
            actions=["sns:Publish"],
            resources=[arn],
            conditions=_of_this_account(names, publisher),
        )
        for publisher in publishers(names)
    ]
    return aws_iam.PolicyDocument(minimize=False, statements=[only_tls, *services])


def _of_this_account(names: Names, publisher: Publisher) -> Mapping[str, Any]:
    return {
        "StringEquals": {"aws:SourceAccount": names.account_id},
        "ArnLike": {"aws:SourceArn": publisher.source_arn},
    }
