"""The web application firewall before the edge: off by default, about 8 USD a month (5 for it, 1 a rule)."""

from __future__ import annotations

from typing import Final

from aws_cdk import Stack, aws_wafv2
from constructs import Construct

from contentplatform.errors import ConfigurationInvalid

REGION: Final = "us-east-1"
"""Where AWS keeps the firewalls of CloudFront."""
NAME: Final = "content-platform"
REQUESTS_IN_FIVE_MINUTES: Final = 2_000
"""Most that one address may ask for: seven files a second, all the time."""
MANAGED_RULES: Final = ("AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesCommonRuleSet")
_WINDOW_SECONDS: Final = 300


class Firewall(Construct):
    """Addresses of bad repute and known attacks are refused, and who asks too much. ``arn`` is for the distribution.

    Raises:
        ConfigurationInvalid: the stack is in a region where CloudFront's firewalls can't be made.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        region = Stack.of(self).region
        if region != REGION:
            raise ConfigurationInvalid(
                "making the firewall",
                f"AWS makes CloudFront's firewalls in {REGION} only, and aws.region is {region}",
                hint=f"Set aws.region to {REGION}, or turn aws.web_application_firewall off",
            )
        acl = aws_wafv2.CfnWebACL
        managed = [
            acl.RuleProperty(
                name=name,
                priority=priority,
                override_action=acl.OverrideActionProperty(none={}),
                statement=acl.StatementProperty(
                    managed_rule_group_statement=acl.ManagedRuleGroupStatementProperty(vendor_name="AWS", name=name)
                ),
                visibility_config=_visible(name),
            )
            for priority, name in enumerate(MANAGED_RULES)
        ]
        rate = acl.RuleProperty(
            name="rate-limit",
            priority=len(managed),
            action=acl.RuleActionProperty(block={}),
            statement=acl.StatementProperty(
                rate_based_statement=acl.RateBasedStatementProperty(
                    limit=REQUESTS_IN_FIVE_MINUTES, aggregate_key_type="IP", evaluation_window_sec=_WINDOW_SECONDS
                )
            ),
            visibility_config=_visible("rate-limit"),
        )
        self.web_acl = acl(
            self,
            "WebAcl",
            name=NAME,
            description="Content Platform: before the edge",
            scope="CLOUDFRONT",
            default_action=acl.DefaultActionProperty(allow={}),
            rules=[*managed, rate],
            visibility_config=_visible(NAME),
        )

    @property
    def arn(self) -> str:
        """What a distribution is told, to stand behind it."""
        return self.web_acl.attr_arn


def _visible(name: str) -> aws_wafv2.CfnWebACL.VisibilityConfigProperty:
    return aws_wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )
