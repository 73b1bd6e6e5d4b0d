"""The commands themselves, with the platform's own stacks: those two that the emulator takes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws.conftest import ACCOUNT
from aws.deployment import resolver, standing
from aws.dropped_properties import apply_dropped
from contentplatform.config import environment_name
from contentplatform.drivers.boto import Aws
from e2e.commands import Commands
from emulator import BACKUP_REGION, REGION, Emulator
from sample_media import encoded, photo

TWO = ("--only", "ContentPlatformBackup", "--only", "ContentPlatform")
SECONDS = 900


@pytest.fixture
def empty() -> Iterator[Emulator]:
    """A guarded emulator with nothing in it; only its first account's distributions can be asked for files."""
    server = Emulator(guarded=True)
    yield server
    server.stop()


@pytest.fixture
def aws(empty: Emulator, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A session with its first account."""
    for name, value in empty.environment(ACCOUNT).items():
        monkeypatch.setenv(name, value)
    return Aws(region=REGION, account_id=ACCOUNT)


@pytest.fixture
def commands(empty: Emulator, aws: Aws, tmp_path: Path) -> Commands:
    """The command line in an account in which the stack of the keys has been deployed, as far as others see of it."""
    aws.client("ssm").put_parameter(Name="/contentplatform/cloudfront/key-group-id", Value="none", Type="String")
    environment = {**empty.environment(ACCOUNT), environment_name("aws", "edge_address"): empty.url}
    return Commands(tmp_path / "data", environment)


def run(commands: Commands, *arguments: str, folder: Path, typed: str = "", code: int = 0) -> Any:
    """Run a command that may take minutes; the one document that it prints."""
    done = subprocess.run(
        commands.argv("--json", *arguments),
        env={**os.environ, **(commands.environment or {})},
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_the_platform_is_deployed_looked_at_and_taken_down(aws: Aws, commands: Commands, tmp_path: Path) -> None:
    none = run(commands, "outputs", folder=tmp_path, code=3)
    assert "contentplatform deploy" in none["error"]["message"]

    refused = run(commands, "deploy", *TWO, folder=tmp_path, typed="n\n", code=13)
    assert "nothing was changed" in refused["error"]["message"]
    assert aws.client("cloudformation").list_stacks()["StackSummaries"] == []

    made = run(commands, "deploy", *TWO, "--yes", "--no-verify", folder=tmp_path)
    assert (made["deployed"], made["failures"], made["verified"]) == (True, [], None)
    assert made["bucket_suffix"] == aws.account_id
    assert [plan["stack"] for plan in made["changes"]] == ["ContentPlatformBackup", "ContentPlatform"]
    assert made["monthly_usd"]["unknown"] == []
    assert (tmp_path / "cdk.out" / "ContentPlatform.template.json").exists()

    told = run(commands, "outputs", folder=tmp_path)
    assert "EdgeDomain" in {row["name"] for row in told["outputs"]}

    for name, region in (("ContentPlatformBackup", BACKUP_REGION), ("ContentPlatform", REGION)):
        stack = standing(aws, tmp_path / "cdk.out", name, region)
        apply_dropped(aws, region, stack.template, resolver(aws, stack))
    verified = run(commands, "--home", "aws", "verify", folder=tmp_path)
    assert [row for row in verified["rows"] if row["verdict"] == "failed"] == []
    (tmp_path / "photo.jpg").write_bytes(encoded(photo(320, 240), "JPEG"))
    added = run(commands, "--home", "aws", "add", str(tmp_path / "photo.jpg"), folder=tmp_path)
    assert [item["processing_status"] for item in added["items"]] == ["completed"]

    assert run(commands, "destroy", "--delete-data", folder=tmp_path, typed="something else\n", code=5)["error"]
    gone = run(commands, "destroy", "--delete-data", folder=tmp_path, typed=f"{aws.account_id}\n")
    assert gone["failures"] == []
    assert [left for left in gone["left"] if left["certain"]] == []
    assert {one["kind"] for one in gone["deleted"]} == {"AWS::S3::Bucket", "AWS::DynamoDB::GlobalTable"}
    names = {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]}
    assert not {name for name in names if name.startswith("content-platform-")}
    assert aws.client("dynamodb").list_tables()["TableNames"] == []
    assert not (commands.data / "aws.toml").exists()


def test_a_dry_run_needs_no_account_and_no_network(tmp_path: Path) -> None:
    unreachable = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    commands = Commands(tmp_path / "data", unreachable)
    document = run(commands, "deploy", "--dry-run", folder=tmp_path)
    assert document["dry_run"]
    by_name = {stack["name"]: stack["resources"] for stack in document["stacks"]}
    assert by_name["ContentPlatform"]["AWS::S3::Bucket"] == 4
    assert float(document["monthly_usd"]["total"]) <= 3
    assert (tmp_path / "cdk.out" / "manifest.json").exists()
