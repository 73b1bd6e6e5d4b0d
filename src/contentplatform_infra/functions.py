"""The functions: one role each, one log group each, an alias that everything calls, and what calls them.

``functions[name]`` is the alias ``live`` of a function: the state machine, queues, streams, rules and schedules call
that, so a deployment that fails half-way changes nothing that runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contentplatform.config import ENVIRONMENT_PREFIX, TABLES, Settings, environment_name
from contentplatform.ingest.queue import UPLOADS
from contentplatform.lambdas.functions import FUNCTIONS, RUNTIME, Function
from contentplatform_infra.code import code_asset
from contentplatform_infra.layers import Layers
from contentplatform_infra.names import Names
from contentplatform_infra.rights import (
    FAILED_CALLS_QUEUE_NAME,
    Places,
    log_group_name,
    machine_arn,
    policy_document,
    statements,
)

ALIAS: Final = "live"
CALLED_BY_URL: Final = "content-image-transformer"
"""By the edge, which signs its calls; whom else the address answers, the function's policy says: nobody."""
CALLED_ASYNCHRONOUSLY: Final = (
    "content-execution-recorder",
    "content-reconciler",
    "content-backup-validator",
    "content-metadata-export",
    "cost-report-generator",
)
"""By a rule or a schedule: nobody waits for the answer, so a failure has to be kept."""
ENDED: Final = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
"""How executions end, in EventBridge's words."""
_RETRY_ATTEMPTS: Final = 2
_EVENT_AGE: Final = Duration.hours(6)
_LEFT_FOR_LAMBDA_ITSELF_MB: Final = 256
"""Of the memory of a function with decoders: for the interpreter around the job, which may have the rest."""
_LEFT_AROUND_A_JOB_SECONDS: Final = 60
"""Of its time: for fetching the original and storing what was made."""
_DATA_FOLDER: Final = "/tmp/contentplatform"  # noqa: S108 - Lambda has no other folder that can be written to
_MEANT_FOR_FUNCTIONS: Final = ("storage", "ingest", "processing", "aws")
_ALWAYS_TOLD: Final = frozenset(
    {("storage", "bucket_suffix"), ("aws", "region"), ("aws", "backup_region"), ("ingest", "private_prefix")}
)
_NEVER_TOLD: Final = frozenset(
    {
        ("storage", "class_folders"),
        ("aws", "account_id"),  # told, from what is deployed to
        ("aws", "profile"),  # credentials are the role's
        ("aws", "alert_email"),  # a person's address has no business there
        ("aws", "policy_administrators"),
        ("aws", "console_origins"),
    }
)


class Functions(Construct):
    """Every function, with its role, its log group and its alias."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        places: Places,
        layer_cache: Path | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._places = places
        self._code = code_asset()
        self.layers = Layers(self, "Layers", cache=layer_cache)
        self.failed_calls = sqs.Queue(
            self,
            "FailedCalls",
            queue_name=FAILED_CALLS_QUEUE_NAME,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.log_groups: dict[str, logs.LogGroup] = {}
        self.roles: dict[str, iam.Role] = {}
        self.aliases: dict[str, lambda_.Alias] = {function.name: self._function(function) for function in FUNCTIONS}
        self.pictures_url: str = (
            self.aliases[CALLED_BY_URL].add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM).url
        )

    def __getitem__(self, name: str) -> lambda_.Alias:
        """The alias of a function, by the function's name."""
        return self.aliases[name]

    def _function(self, function: Function) -> lambda_.Alias:
        scope = Construct(self, _title(function.name))
        log_group = logs.LogGroup(
            scope,
            "Log",
            log_group_name=log_group_name(function.name),
            retention=retention_of(self._settings.aws.log_retention_days),
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            scope,
            "Role",
            role_name=f"{function.name}-role",
            description=f"Content Platform: {function.does}",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={
                "rights": policy_document(statements(function.name, self._places)),
            },
        )
        made = lambda_.Function(
            scope,
            "Function",
            function_name=function.name,
            description=f"Content Platform: {function.does}",
            runtime=lambda_.Runtime(RUNTIME, lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.X86_64,
            code=self._code,
            handler=function.handler,
            layers=[self.layers.versions[layer] for layer in function.layers],
            memory_size=function.memory_mb,
            timeout=Duration.seconds(function.timeout_seconds),
            ephemeral_storage_size=cdk.Size.mebibytes(function.scratch_mb),
            environment=environment_of(function, self._settings, self._places.names),
            tracing=lambda_.Tracing.ACTIVE,
            role=role.without_policy_updates(),  # what it may do stands in rights.py, and nowhere else
            log_group=log_group,
        )
        alias = lambda_.Alias(scope, "Live", alias_name=ALIAS, version=made.current_version)
        if function.name in CALLED_ASYNCHRONOUSLY:
            alias.configure_async_invoke(
                max_event_age=_EVENT_AGE,
                retry_attempts=_RETRY_ATTEMPTS,
                on_failure=destinations.SqsDestination(self.failed_calls),
            )
        self.log_groups[function.name] = log_group
        self.roles[function.name] = role
        return alias


class Triggers(Construct):
    """What calls functions by itself: the queue of uploads, the records' stream, executions that ended."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        places: Places,
        functions: Functions,
        uploads_queue_arn: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self.uploads = lambda_.CfnEventSourceMapping(
            self,
            "Uploads",
            event_source_arn=uploads_queue_arn,
            function_name=functions["content-upload-handler"].function_arn,
            batch_size=UPLOADS.batch_size,
            function_response_types=["ReportBatchItemFailures"],
            # Not reserved concurrency: a function that is throttled loses events, a queue keeps them.
            scaling_config=lambda_.CfnEventSourceMapping.ScalingConfigProperty(
                maximum_concurrency=settings.aws.upload_handlers
            ),
        )
        self.stream = lambda_.CfnEventSourceMapping(
            self,
            "Records",
            event_source_arn=places.metadata_stream_arn,
            function_name=functions["content-search-indexer"].function_arn,
            starting_position="TRIM_HORIZON",
            batch_size=100,
            maximum_batching_window_in_seconds=1,
            bisect_batch_on_function_error=True,
            function_response_types=["ReportBatchItemFailures"],
            maximum_retry_attempts=10,
            maximum_record_age_in_seconds=_EVENT_AGE.to_seconds(),
            destination_config=lambda_.CfnEventSourceMapping.DestinationConfigProperty(
                on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=functions.failed_calls.queue_arn)
            ),
            filter_criteria=lambda_.CfnEventSourceMapping.FilterCriteriaProperty(
                filters=[lambda_.CfnEventSourceMapping.FilterProperty(pattern=pattern) for pattern in RECORD_CHANGES]
            ),
        )
        for mapping, name in ((self.uploads, "content-upload-handler"), (self.stream, "content-search-indexer")):
            mapping.node.add_dependency(functions.roles[name])
        self.ended = events.Rule(
            self,
            "Ended",
            rule_name="content-processing-ended",
            description="Content Platform: executions that ended are kept, and their records told",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={"stateMachineArn": [machine_arn(places.names)], "status": list(ENDED)},
            ),
            targets=[
                targets.LambdaFunction(
                    functions["content-execution-recorder"],
                    dead_letter_queue=functions.failed_calls,
                    max_event_age=_EVENT_AGE,
                    retry_attempts=_RETRY_ATTEMPTS,
                )
            ],
        )


RECORD_CHANGES: Final = (
    '{"dynamodb":{"NewImage":{"file_path":{"S":[{"exists":true}]}}}}',
    '{"dynamodb":{"OldImage":{"file_path":{"S":[{"exists":true}]}}}}',
)
"""A record is or was there; what only makes or moves a redirect has nothing to be found by."""


def environment_of(function: Function, settings: Settings, names: Names) -> dict[str, str]:
    """What a function is told: where it is, and every setting that is not what it would take by itself."""
    told = {
        f"{ENVIRONMENT_PREFIX}DATA": _DATA_FOLDER,
        environment_name("aws", "account_id"): names.account_id,
        "POWERTOOLS_SERVICE_NAME": function.name,
        "LOG_LEVEL": "INFO",
    }
    for table, name, value, default in _settings(settings):
        if (table, name) not in _NEVER_TOLD and (value != default or (table, name) in _ALWAYS_TOLD):
            told[environment_name(table, name)] = str(value).lower() if isinstance(value, bool) else str(value)
    if len(function.layers) > 1:
        for name, most in _most_of_a_job(function).items():
            if getattr(settings.processing, name) > most:
                told[environment_name("processing", name)] = str(most)
    return told


def _most_of_a_job(function: Function) -> dict[str, int]:
    """What a job may have of its function: it has to fail first, in words, where Lambda would just end it."""
    room_bytes = (function.memory_mb - _LEFT_FOR_LAMBDA_ITSELF_MB) * 1024 * 1024
    seconds = function.timeout_seconds - _LEFT_AROUND_A_JOB_SECONDS
    return {"job_memory_bytes": room_bytes, "job_wall_seconds": seconds, "media_job_seconds": seconds}


def _settings(settings: Settings) -> Iterator[tuple[str, str, Any, Any]]:
    for table in _MEANT_FOR_FUNCTIONS:
        given, default = getattr(settings, table), TABLES[table]()
        for setting in fields(given):
            yield table, setting.name, getattr(given, setting.name), getattr(default, setting.name)


def retention_of(days: int) -> logs.RetentionDays:
    """How long CloudWatch keeps a log: the shortest that it offers which is at least ``days``."""
    longer = [offered for offered in _RETENTION_DAYS if offered >= days]
    return _RETENTION_DAYS[min(longer)] if longer else logs.RetentionDays.INFINITE


_RETENTION_DAYS: Final[Mapping[int, logs.RetentionDays]] = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1_096: logs.RetentionDays.THREE_YEARS,
    1_827: logs.RetentionDays.FIVE_YEARS,
    2_557: logs.RetentionDays.SEVEN_YEARS,
    3_653: logs.RetentionDays.TEN_YEARS,
}


def _title(name: str) -> str:
    return "".join(part.title() for part in name.split("-"))
