"""The frame: six stacks, each in its region, after those it needs, with nothing looked up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contentplatform.errors import ConfigurationInvalid
from infra.synthesis import ACCOUNT_ID, BACKUP_REGION, REGION, settings_of, synthesise

STACKS = {
    "ContentPlatformBackup": (BACKUP_REGION, []),
    "ContentPlatformKeys": (REGION, []),
    "ContentPlatform": (REGION, ["ContentPlatformBackup", "ContentPlatformKeys"]),
    "ContentPlatformDeliveryLogs": (REGION, ["ContentPlatform"]),
    "ContentPlatformGovernance": (REGION, ["ContentPlatform"]),
    "ContentPlatformAudit": (BACKUP_REGION, ["ContentPlatformBackup"]),
}


def run(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Make templates as a deployment does, in a child process that knows no Node of this machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONTENTPLATFORM", "AWS"))}
    return subprocess.run(  # noqa: PLW1510 - the caller looks at the exit status
        [sys.executable, "-m", "contentplatform_infra", *map(str, arguments)],
        env={**environment, "PATH": "/nowhere", "XDG_DATA_HOME": str(folder)},
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_each_stack_is_in_its_region_and_comes_after_those_it_needs(assembly: Path) -> None:
    manifest = json.loads((assembly / "manifest.json").read_text("utf-8"))
    assert "missing" not in manifest, "the CDK would have to look something up"
    found = {name: artifact for name, artifact in manifest["artifacts"].items() if artifact["type"].endswith(":stack")}
    assert {
        name: (artifact["environment"], [needed for needed in artifact.get("dependencies", []) if needed in STACKS])
        for name, artifact in found.items()
    } == {name: (f"aws://{ACCOUNT_ID}/{region}", needed) for name, (region, needed) in STACKS.items()}
    assert {name for name, artifact in found.items() if artifact["properties"].get("terminationProtection")} == {
        "ContentPlatform",
        "ContentPlatformBackup",
    }


def test_the_command_writes_the_stacks_that_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        '[aws]\naccount_id = "999988887777"\nbackup_region = "eu-west-1"\n', "utf-8"
    )
    out = tmp_path / "out"
    done = run("--out", out, "--config", tmp_path / "settings.toml", "--only", "backup,audit", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert {
        name: artifact["environment"]
        for name, artifact in manifest["artifacts"].items()
        if artifact["type"].endswith(":stack")
    } == dict.fromkeys(("ContentPlatformBackup", "ContentPlatformAudit"), "aws://999988887777/eu-west-1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--account", "12345"), "has twelve digits"),
        (("--config", "nothing.toml"), "nothing.toml does not exist"),
        (("--only", "backup,front"), "front is no stack"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("--out", tmp_path / "out", *arguments, folder=tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_both_copies_in_one_region_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="us-east-1"):
        synthesise(settings_of(aws={"backup_region": REGION}), tmp_path)
