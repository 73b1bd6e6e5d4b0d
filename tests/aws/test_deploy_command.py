"""From an empty account to a deployed home and back, by the commands a person types, against the emulator.

The stacks are those of a small app of its own: what is proved here is the deploying, not the templates.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Final

import pytest

from contentplatform import config
from contentplatform.clock import SystemClock
from contentplatform.config import DEPLOYMENT_FILE_NAME
from contentplatform.deployment.account import bootstrap_version, caller, rights
from contentplatform.deployment.deployment import Deployment, Place, deployed_settings, outputs
from contentplatform.deployment.signing_key import SIGNING_KEY_PARAMETER, SigningKey, keep, signing_key
from contentplatform.deployment.stacks import Stacks
from contentplatform.deployment.teardown import Teardown
from contentplatform.deployment.toolchain import Toolchain, find_tools
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ConfigurationInvalid, Conflict, Unavailable
from emulator import BACKUP_REGION, REGION, Emulator

SMALL_APP: Final = (str(Path(__file__).with_name("small_app.py")),)


@pytest.fixture(scope="module")
def tools() -> Toolchain:
    return find_tools()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


class Told:
    """What a deployment said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.lines)


def deployment(data: Path, tools: Toolchain, told: Told, *program: str) -> Deployment:
    """A deployment of the small app from this data folder."""
    return Deployment(
        config.load(data_folder=data),
        Place(),
        tools,
        SystemClock(),
        told,
        folder=data / "cdk.out",
        program=program or SMALL_APP,
    )


def buckets_of(aws: Aws) -> set[str]:
    return {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"] if "cdk-" not in bucket["Name"]}


def test_from_an_empty_account_to_a_home_and_back(aws: Aws, data: Path, tools: Toolchain) -> None:
    told = Told()
    prepared = deployment(data, tools, told).prepare((), closely=True)
    assert prepared.regions_to_bootstrap == (BACKUP_REGION, REGION)
    assert [(plan.stack, plan.exists) for plan in prepared.plans] == [
        ("ContentPlatformBackup", False),
        ("ContentPlatform", False),
    ]
    assert not prepared.changes_nothing
    assert prepared.month.total_usd == 0
    assert prepared.month.unknown == ()

    assert deployment(data, tools, told).carry_out(prepared) == ()
    assert bootstrap_version(aws, REGION) > 0
    assert bootstrap_version(aws, BACKUP_REGION) > 0
    assert "made  AWS::DynamoDB::Table" in told
    written = tomllib.loads((data / DEPLOYMENT_FILE_NAME).read_text("utf-8"))
    suffix = aws.account_id
    assert written["storage"]["bucket_suffix"] == suffix
    assert written["aws"] == {"account_id": aws.account_id, "region": REGION, "backup_region": BACKUP_REGION}
    assert config.load(data_folder=data, deployed=True).storage.bucket_suffix == suffix
    roles = ("primary", "processed", "backup", "logs")
    assert buckets_of(aws) == {f"content-platform-{role}-{suffix}" for role in roles}

    settings = deployed_settings(config.load(data_folder=data), Place())
    [told_by_stack] = outputs(settings, SystemClock())
    assert (told_by_stack.name, told_by_stack.stack) == ("AlertsTopic", "ContentPlatform")
    assert told_by_stack.value.endswith(":backup-alerts")

    again = deployment(data, tools, told).prepare((), closely=True)
    assert again.changes_nothing
    assert deployment(data, tools, told).carry_out(again) == ()

    put_things(aws, suffix)
    teardown = Teardown(settings, aws, SystemClock())
    inventory = teardown.inventory()
    assert [name for name, _ in inventory.stacks] == ["ContentPlatform", "ContentPlatformBackup"]
    assert teardown.delete_stacks(inventory, told) == ()
    assert not aws.client("sqs").list_queues().get("QueueUrls")
    assert teardown.inventory().stacks == ()
    assert buckets_of(aws) == {f"content-platform-{role}-{suffix}" for role in roles}

    # The emulator imports tables and logs that are there, but refuses buckets that are: see scripts/prove-on-aws.sh.
    without_buckets = deployment(data, tools, told, *SMALL_APP, "--buckets", "no")
    assert without_buckets.carry_out(without_buckets.prepare((), closely=False)) == ()
    held = Stacks(aws, SystemClock()).kept_after_deletion("ContentPlatform", REGION)
    assert {kept.name.rpartition("/")[2] for kept in held} == {
        "content-metadata",
        "content-upload-handler",
    }
    assert aws.client("dynamodb").get_item(TableName="content-metadata", Key={"file_id": {"S": "one"}})["Item"]

    whole = teardown.inventory()
    teardown.lift_guards(whole, told)
    assert {kept.kind for kept in whole.kept} == {"AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup"}
    assert teardown.delete_stacks(whole, told) == ()
    assert teardown.delete_data(whole, told) == ()
    assert buckets_of(aws) == set()
    assert aws.client("dynamodb").list_tables()["TableNames"] == []
    assert [left for left in teardown.still_there() if left.certain] == []
    assert teardown.inventory().kept == ()


def test_only_the_stack_that_is_named_is_deployed_and_before_data_are_deleted_guards_are_lifted(
    aws: Aws, data: Path, tools: Toolchain
) -> None:
    told = Told()
    made = deployment(data, tools, told)
    with pytest.raises(ConfigurationInvalid, match="no stack Nothing"):
        made.prepare(("Nothing",), closely=False)
    prepared = made.prepare(("ContentPlatformBackup",), closely=False)
    assert prepared.regions_to_bootstrap == (BACKUP_REGION,)
    assert made.carry_out(prepared) == ()
    stacks = Stacks(aws, SystemClock())
    assert stacks.status("ContentPlatformBackup", BACKUP_REGION) == "CREATE_COMPLETE"
    assert stacks.status("ContentPlatform", REGION) == ""
    settings = deployed_settings(config.load(data_folder=data), Place())
    client = aws.client("s3", BACKUP_REGION)

    def statements() -> list[str]:
        policy = client.get_bucket_policy(Bucket=f"content-platform-backup-{aws.account_id}")["Policy"]
        return [statement["Sid"] for statement in json.loads(policy)["Statement"]]

    assert statements() == ["OnlyOverTls", "OnlyAdministratorsChangeGuards"]
    teardown = Teardown(settings, aws, SystemClock())
    for _ in range(2):  # the second time there is nothing left to lift
        teardown.lift_guards(teardown.inventory(), told)
        assert statements() == ["OnlyOverTls"]


def put_things(aws: Aws, suffix: str) -> None:
    """Two versions of one file, a removed file, an unfinished upload, and a record."""
    client = aws.client("s3")
    bucket = f"content-platform-primary-{suffix}"
    for body in (b"first", b"second"):
        client.put_object(Bucket=bucket, Key="a.txt", Body=body)
    client.put_object(Bucket=bucket, Key="gone.txt", Body=b"gone")
    client.delete_object(Bucket=bucket, Key="gone.txt")
    client.create_multipart_upload(Bucket=bucket, Key="never finished")
    aws.client("dynamodb").put_item(TableName="content-metadata", Item={"file_id": {"S": "one"}})


def test_what_cloudformation_refuses_is_told_by_name_and_the_next_deployment_goes_on(
    aws: Aws, data: Path, tools: Toolchain
) -> None:
    told = Told()
    broken = deployment(data, tools, told, *SMALL_APP, "--broken", "yes")
    prepared = broken.prepare((), closely=False)
    assert prepared.month.unknown == ("AWS::Nowhere::Nothing",)
    with pytest.raises(Unavailable, match="AWS::Nowhere::Nothing"):  # the emulator refuses it before any resource
        broken.carry_out(prepared)
    mended = deployment(data, tools, told)
    assert mended.carry_out(mended.prepare((), closely=False)) == ()
    assert Stacks(aws, SystemClock()).status("ContentPlatform", REGION) == "CREATE_COMPLETE"


def test_a_bucket_that_is_somebody_else_s_fails_by_name(
    emulator: Emulator, aws: Aws, data: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"content-platform-primary-{aws.account_id}"
    with monkeypatch.context() as other:
        for variable, value in emulator.environment(emulator.account()).items():
            other.setenv(variable, value)
        Aws(region=REGION).client("s3").create_bucket(Bucket=name)
    made = deployment(data, tools, Told())
    [failure] = made.carry_out(made.prepare(("ContentPlatform",), closely=False))
    assert failure.kind == "AWS::S3::Bucket"
    assert "already exists" in failure.reason
    assert "storage.bucket_suffix" in failure.advice()


def test_credentials_of_another_account_deploy_nothing(aws: Aws, data: Path, tools: Toolchain) -> None:
    (data / DEPLOYMENT_FILE_NAME).write_text('[aws]\naccount_id = "999999999999"\n', "utf-8")
    with pytest.raises(ConfigurationInvalid, match="999999999999"):
        deployment(data, tools, Told()).prepare((), closely=False)
    assert aws.client("cloudformation").list_stacks()["StackSummaries"] == []


def test_without_credentials_nothing_begins(data: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(data / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(data / "none"))
    with pytest.raises(ConfigurationInvalid, match="no AWS credentials"):
        deployment(data, tools, Told()).prepare((), closely=False)


def test_the_signing_key_is_made_once_and_its_private_half_stays_in_ssm(aws: Aws, tools: Toolchain) -> None:
    first, second = signing_key(aws, tools), signing_key(aws, tools)
    assert first.public.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert first.private not in repr(first)
    keep(aws, first)
    with pytest.raises(Conflict, match="somebody else made one"):
        keep(aws, second)
    kept = signing_key(aws, tools)
    assert kept == SigningKey(first.public)
    assert kept.fingerprint == first.fingerprint != second.fingerprint
    keep(aws, kept)
    stored = aws.client("ssm").get_parameter(Name=SIGNING_KEY_PARAMETER, WithDecryption=True)["Parameter"]
    assert stored["Type"] == "SecureString"
    assert stored["Value"].startswith("-----BEGIN PRIVATE KEY-----\n")


def test_a_signing_key_that_is_none_is_told(aws: Aws, tools: Toolchain) -> None:
    aws.client("ssm").put_parameter(Name=SIGNING_KEY_PARAMETER, Value="rubbish", Type="SecureString")
    with pytest.raises(Unavailable, match="is no private key"):
        signing_key(aws, tools)


def test_whose_account_it_is_and_what_they_may_do_is_told(aws: Aws) -> None:
    who = caller(aws)
    assert who.account_id == aws.account_id
    assert rights(aws, who, bootstrapped=False).sentence
