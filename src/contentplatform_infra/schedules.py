"""Jobs by the clock, as schedules of EventBridge Scheduler that call the functions' aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aws_cdk import aws_iam, aws_scheduler
from constructs import Construct

from contentplatform.schedule.schedules import SCHEDULES, Schedule
from contentplatform_infra.names import Names

GROUP: Final = "content-platform"
ROLE: Final = "content-platform-scheduler-role"


class Schedules(Construct):
    """A group, one role that may call these functions and no other, and a schedule each.

    Args:
        names: whose account.
        functions: ARN of each scheduled function, by the function's name.
        failed_calls_arn: the queue where a call ends that could not be made.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, names: Names, functions: Mapping[str, str], failed_calls_arn: str
    ) -> None:
        super().__init__(scope, construct_id)
        group = aws_scheduler.CfnScheduleGroup(self, "Group", name=GROUP)
        role = aws_iam.Role(
            self,
            "Role",
            role_name=ROLE,
            description="Content Platform: calls what is done by the clock",
            assumed_by=aws_iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": names.account_id},
                    "ArnLike": {"aws:SourceArn": names.arn("scheduler", f"schedule-group/{GROUP}")},
                },
            ),
            inline_policies={
                "calls": aws_iam.PolicyDocument(
                    statements=[
                        aws_iam.PolicyStatement(
                            actions=["lambda:InvokeFunction"],
                            resources=sorted({functions[schedule.function] for schedule in SCHEDULES}),
                        ),
                        aws_iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[failed_calls_arn]),
                    ]
                )
            },
        )
        for schedule in SCHEDULES:
            made = aws_scheduler.CfnSchedule(
                self,
                schedule.name,
                name=schedule.name,
                group_name=GROUP,
                description=f"Content Platform: {schedule.does}",
                schedule_expression=expression(schedule),
                schedule_expression_timezone="UTC",
                flexible_time_window=aws_scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
                state="ENABLED",
                target=aws_scheduler.CfnSchedule.TargetProperty(
                    arn=functions[schedule.function],
                    role_arn=role.role_arn,
                    retry_policy=aws_scheduler.CfnSchedule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=schedule.latest_start_seconds,
                        maximum_retry_attempts=schedule.attempts - 1,
                    ),
                    dead_letter_config=aws_scheduler.CfnSchedule.DeadLetterConfigProperty(arn=failed_calls_arn),
                ),
            )
            made.add_resource_dependency(group)
            made.node.add_dependency(role)


def expression(schedule: Schedule) -> str:
    """The cron fields as AWS writes them: a year more, and a question mark for the day that isn't told."""
    minute, hour, day, month, weekday = schedule.fields()
    if weekday == "*":
        weekday = "?"
    else:
        day = "?"
    return f"cron({minute} {hour} {day} {month} {weekday} *)"
