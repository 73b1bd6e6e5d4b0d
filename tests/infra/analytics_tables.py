"""The analytics tables as the templates have them, for other names of buckets."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk.assertions import Template

from contentplatform_infra.analytics import Analytics
from contentplatform_infra.names import Names


def table_inputs(account_id: str, suffix: str) -> list[dict[str, Any]]:
    """What Glue is told of each table."""
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Tables")
    Analytics(stack, "Analytics", Names(account_id, "us-east-1", "us-west-2", suffix))
    found = Template.from_stack(stack).find_resources("AWS::Glue::Table")
    return [resource["Properties"]["TableInput"] for resource in found.values()]
