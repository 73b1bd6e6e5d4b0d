"""The functions as they will stand: their code, settings, layers, versions, and what calls them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform import config
from contentplatform.ingest.queue import UPLOADS
from contentplatform.lambdas.functions import BY_NAME, FUNCTIONS, RUNTIME, Function, Layer
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform_infra import code, layers
from contentplatform_infra.functions import CALLED_ASYNCHRONOUSLY, RECORD_CHANGES, environment_of, retention_of
from contentplatform_infra.names import Names
from infra.synthesis import ACCOUNT_ID, BACKUP_REGION, REGION, SUFFIX, Templates, named, resources, settings_of

FUNCTION: Final = "AWS::Lambda::Function"
NAMES: Final = Names.of(settings_of(), ACCOUNT_ID)


def logical_name(templates: Templates, kind: str, **properties: Any) -> str:
    [name] = [
        name
        for name, held in resources(templates, kind)
        if all(held.get(key) == value for key, value in properties.items())
    ]
    return name


def alias_of(templates: Templates, function: str) -> dict[str, str]:
    """A reference to the alias of a function, as others hold it."""
    name = logical_name(templates, FUNCTION, FunctionName=function)
    return {"Ref": logical_name(templates, "AWS::Lambda::Alias", FunctionName={"Ref": name})}


# -- each function -------------------------------------------------------------------------------------------------


def test_the_functions_of_the_list_are_deployed_and_no_others(templates: Templates) -> None:
    assert {held["FunctionName"] for _, held in resources(templates, FUNCTION)} == set(BY_NAME)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_function_has_what_its_data_says(templates: Templates, function: Function) -> None:
    held = named(templates, FUNCTION, FunctionName=function.name)
    assert held["Handler"] == function.handler
    assert held["Runtime"] == RUNTIME
    assert held["Architectures"] == ["x86_64"]
    assert held["MemorySize"] == function.memory_mb
    assert held["Timeout"] == function.timeout_seconds
    assert held["EphemeralStorage"] == {"Size": function.scratch_mb}
    assert held["TracingConfig"] == {"Mode": "Active"}
    assert len(held["Layers"]) == len(function.layers)
    assert "ReservedConcurrentExecutions" not in held
    assert "DeadLetterConfig" not in held


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_a_function_has_a_role_a_log_and_an_alias_of_its_own(templates: Templates, function: Function) -> None:
    name = logical_name(templates, FUNCTION, FunctionName=function.name)
    held = named(templates, FUNCTION, FunctionName=function.name)
    role = logical_name(templates, "AWS::IAM::Role", RoleName=f"{function.name}-role")
    log = logical_name(templates, "AWS::Logs::LogGroup", LogGroupName=f"/aws/lambda/{function.name}")
    assert held["Role"] == {"Fn::GetAtt": [role, "Arn"]}
    assert held["LoggingConfig"] == {"LogGroup": {"Ref": log}}
    alias = named(templates, "AWS::Lambda::Alias", FunctionName={"Ref": name})
    assert alias["Name"] == "live"
    [version, attribute] = alias["FunctionVersion"]["Fn::GetAtt"]
    assert attribute == "Version"
    assert templates["ContentPlatform"]["Resources"][version]["Properties"]["FunctionName"] == {"Ref": name}


def test_only_lambda_takes_a_function_s_role(templates: Templates) -> None:
    for function in FUNCTIONS:
        [statement] = named(templates, "AWS::IAM::Role", RoleName=f"{function.name}-role")["AssumeRolePolicyDocument"][
            "Statement"
        ]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_logs_are_kept_as_long_as_is_set(templates: Templates, templates_for: Callable[..., Templates]) -> None:
    assert {held["RetentionInDays"] for _, held in resources(templates, "AWS::Logs::LogGroup")} == {90}
    longer = templates_for(aws={"log_retention_days": 100})
    assert {held["RetentionInDays"] for _, held in resources(longer, "AWS::Logs::LogGroup")} == {120}


@pytest.mark.parametrize(
    ("days", "kept"), [(1, "ONE_DAY"), (90, "THREE_MONTHS"), (91, "FOUR_MONTHS"), (99_999, "INFINITE")]
)
def test_a_log_is_kept_at_least_as_long_as_is_set(days: int, kept: str) -> None:
    assert retention_of(days).name == kept


# -- settings ------------------------------------------------------------------------------------------------------


def test_a_function_reads_back_the_settings_of_the_deployment(tmp_path: Path) -> None:
    given = settings_of(
        storage={"bucket_suffix": "x1", "tiering": "intelligent"},
        ingest={"private_prefix": "secret/"},
        aws={"hash_limit_bytes": 1 << 30, "catalog_replica": False, "web_application_firewall": True},
    )
    environment = environment_of(BY_NAME["content-upload-handler"], given, Names.of(given, ACCOUNT_ID))
    read = config.load(data_folder=tmp_path, environment=environment)
    assert read.storage == given.storage
    assert read.ingest == given.ingest
    assert read.processing == given.processing
    assert read.aws.hash_limit_bytes == 1 << 30
    assert read.aws.catalog_replica is False
    assert read.aws.web_application_firewall is True
    assert read.aws.account_id == ACCOUNT_ID
    assert (read.aws.region, read.aws.backup_region) == (REGION, BACKUP_REGION)


def test_what_is_no_function_s_business_is_not_told() -> None:
    given = settings_of(
        storage={"class_folders": {"GLACIER": "/cold"}},
        aws={
            "profile": "me",
            "alert_email": "me@example.org",
            "policy_administrators": "arn:aws:iam::1:role/x",
            "console_origins": "https://media.example.com",
        },
    )
    told = environment_of(BY_NAME["cost-report-generator"], given, NAMES)
    assert not {name for name in told if re.search("PROFILE|EMAIL|ADMINISTRATORS|ORIGINS|FOLDERS", name)}
    assert "me@example.org" not in told.values()


def test_lambda_s_own_variables_are_left_alone(templates: Templates) -> None:
    for _, held in resources(templates, FUNCTION):
        told = held["Environment"]["Variables"]
        assert not {name for name in told if name.startswith(("AWS_", "_", "LAMBDA_"))}
        assert told["POWERTOOLS_SERVICE_NAME"] == held["FunctionName"]
        assert told["LOG_LEVEL"] == "INFO"
        assert told["CONTENTPLATFORM_STORAGE_BUCKET_SUFFIX"] == SUFFIX
        assert told["CONTENTPLATFORM_DATA"].startswith("/tmp/")


def test_a_job_gets_no_more_memory_than_its_function_has() -> None:
    given = settings_of(processing={"job_memory_bytes": 64 << 30})
    told = environment_of(BY_NAME["content-image-processor"], given, NAMES)
    limit = int(told["CONTENTPLATFORM_PROCESSING_JOB_MEMORY_BYTES"])
    assert limit < BY_NAME["content-image-processor"].memory_mb << 20


@pytest.mark.parametrize("function", [one for one in FUNCTIONS if len(one.layers) > 1], ids=lambda one: one.name)
def test_a_job_ends_before_its_function_would(function: Function) -> None:
    given = settings_of(processing={"job_wall_seconds": 7_200.0, "media_job_seconds": 7_200.0})
    told = environment_of(function, given, NAMES)
    for name in ("JOB_WALL_SECONDS", "MEDIA_JOB_SECONDS"):
        assert float(told[f"CONTENTPLATFORM_PROCESSING_{name}"]) == function.timeout_seconds - 60


# -- code and layers -----------------------------------------------------------------------------------------------


def test_the_code_is_the_package_and_nothing_else(templates: Templates, assembly: Path) -> None:
    [key] = {held["Code"]["S3Key"] for _, held in resources(templates, FUNCTION)}
    folder = assembly / f"asset.{key.removesuffix('.zip')}"
    assert [path.name for path in folder.iterdir()] == ["contentplatform"]
    staged = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert staged == {path.relative_to(code.PACKAGE.parent) for path in code.package_files()}
    assert not [path for path in staged if "__pycache__" in path.parts]


def test_the_same_source_is_the_same_code() -> None:
    assert code.code_hash() == code.code_hash()
    assert re.fullmatch(r"[0-9a-f]{64}", code.code_hash())


def test_a_layer_is_named_by_its_lock(templates: Templates) -> None:
    """The CDK hashes the name that it is given once more."""
    keys = {held["Content"]["S3Key"] for _, held in resources(templates, "AWS::Lambda::LayerVersion")}
    built = {f"{sha256(layers.hash_of(layer))}.zip" for layer in Layer}
    placeholders = {f"{sha256(sha256(f'{layers.hash_of(layer)} not built'))}.zip" for layer in Layer}
    assert keys <= built | placeholders
    assert len(keys) == len(Layer)
    assert not built & placeholders


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_layers_are_for_the_functions_runtime(templates: Templates) -> None:
    for _, held in resources(templates, "AWS::Lambda::LayerVersion"):
        assert held["CompatibleRuntimes"] == [RUNTIME]
        assert held["CompatibleArchitectures"] == ["x86_64"]


# -- what calls them -----------------------------------------------------------------------------------------------


def mapping_of(templates: Templates, function: str) -> dict[str, Any]:
    return named(templates, "AWS::Lambda::EventSourceMapping", FunctionName=alias_of(templates, function))


def test_uploads_wait_in_the_queue_and_are_taken_a_few_at_once(templates: Templates) -> None:
    mapping = mapping_of(templates, "content-upload-handler")
    [queue, _] = mapping["EventSourceArn"]["Fn::GetAtt"]
    assert templates["ContentPlatform"]["Resources"][queue]["Properties"]["QueueName"] == UPLOADS.name
    assert mapping["BatchSize"] == 10
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}


def test_how_many_uploads_are_taken_at_once_is_a_setting(templates_for: Callable[..., Templates]) -> None:
    mapping = mapping_of(templates_for(aws={"upload_handlers": 20}), "content-upload-handler")
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 20}


def test_a_message_is_seen_once_while_it_is_worked_on() -> None:
    timeout = BY_NAME["content-upload-handler"].timeout_seconds
    assert UPLOADS.visibility_timeout_seconds >= 6 * timeout


def test_changed_records_reach_the_indexer_and_none_is_lost(templates: Templates) -> None:
    mapping = mapping_of(templates, "content-search-indexer")
    [table, attribute] = mapping["EventSourceArn"]["Fn::GetAtt"]
    assert attribute == "StreamArn"
    assert templates["ContentPlatform"]["Resources"][table]["Properties"]["TableName"] == "content-metadata"
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 0 < mapping["MaximumRetryAttempts"] <= 100
    assert mapping["MaximumBatchingWindowInSeconds"] == 1
    [queue, _] = mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"]
    assert (
        templates["ContentPlatform"]["Resources"][queue]["Properties"]["QueueName"] == "content-platform-failed-calls"
    )


def test_only_changes_of_records_reach_the_indexer(templates: Templates) -> None:
    filters = mapping_of(templates, "content-search-indexer")["FilterCriteria"]["Filters"]
    assert [entry["Pattern"] for entry in filters] == list(RECORD_CHANGES)
    for pattern in RECORD_CHANGES:
        [image] = json.loads(pattern)["dynamodb"].values()
        assert image == {"file_path": {"S": [{"exists": True}]}}


@pytest.mark.parametrize("name", CALLED_ASYNCHRONOUSLY)
def test_a_call_that_nobody_waits_for_is_kept_when_it_fails(templates: Templates, name: str) -> None:
    function = logical_name(templates, FUNCTION, FunctionName=name)
    held = named(templates, "AWS::Lambda::EventInvokeConfig", FunctionName={"Ref": function})
    assert held["MaximumRetryAttempts"] == 2
    assert held["MaximumEventAgeInSeconds"] == 21_600
    [queue, _] = held["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"]
    assert (
        templates["ContentPlatform"]["Resources"][queue]["Properties"]["QueueName"] == "content-platform-failed-calls"
    )


def test_every_end_of_an_execution_of_this_machine_is_recorded(templates: Templates) -> None:
    rule = named(templates, "AWS::Events::Rule", Name="content-processing-ended")
    assert rule["EventPattern"] == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "stateMachineArn": [f"arn:aws:states:{REGION}:{ACCOUNT_ID}:stateMachine:{STATE_MACHINE.name}"],
            "status": ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"],
        },
    }
    [target] = rule["Targets"]
    assert target["Arn"] == alias_of(templates, "content-execution-recorder")
    assert "DeadLetterConfig" in target


def test_failed_calls_are_kept_for_two_weeks_over_tls_only(templates: Templates) -> None:
    queue = named(templates, "AWS::SQS::Queue", QueueName="content-platform-failed-calls")
    assert queue["MessageRetentionPeriod"] == 1_209_600
    assert queue["SqsManagedSseEnabled"] is True
    reference = {"Ref": logical_name(templates, "AWS::SQS::Queue", QueueName="content-platform-failed-calls")}
    policies = [held for _, held in resources(templates, "AWS::SQS::QueuePolicy") if reference in held["Queues"]]
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    assert any(
        statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in statements
    )
