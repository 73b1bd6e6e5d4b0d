"""The commands themselves, with the platform's own stacks: those two that the emulator takes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contentplatform.drivers.boto import Aws
from e2e.commands import Commands
from emulator import Emulator

TWO = ("--only", "ContentPlatformBackup", "--only", "ContentPlatform")
SECONDS = 500


@pytest.fixture
def commands(emulator: Emulator, aws: Aws, tmp_path: Path) -> Commands:
    """The command line in an account in which the stack of the keys has been deployed, as far as others see of it."""
    aws.client("ssm").put_parameter(Name="/contentplatform/cloudfront/key-group-id", Value="none", Type="String")
    return Commands(tmp_path / "data", emulator.environment(aws.account_id))


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
