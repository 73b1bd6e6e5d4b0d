"""The scripts that people look for by name: a few lines over the commands, with their exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = ROOT / "scripts"
PLATFORM: Final = Path(sys.executable).parent / "contentplatform"


def run(script: str, *arguments: str | Path, platform: Path = PLATFORM, **variables: str) -> tuple[int, str]:
    """Run a script without a terminal; its exit status, and all that it said."""
    done = subprocess.run(
        [SCRIPTS / script, *arguments],
        env={**os.environ, "CONTENTPLATFORM": str(platform), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A stand-in for the command that only says how it was called, and fails with status 7."""
    path = tmp_path / "said it"
    path.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\nexit 7\n', "utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_a_script_is_valid_and_strict(script: str) -> None:
    text = (SCRIPTS / script).read_text("utf-8")
    assert "set -euo pipefail" in text
    assert os.access(SCRIPTS / script, os.X_OK)
    subprocess.run(["bash", "-n", SCRIPTS / script], check=True)


def test_test_platform_verifies_a_home_whose_name_has_spaces(tmp_path: Path) -> None:
    status, said = run("test_platform.sh", "--data", tmp_path / "my data")
    assert (status, "0 failed" in said) == (0, True), said


def test_test_platform_fails_where_verify_fails(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("test_platform.sh", "--data", data)
    data.chmod(0o755)
    assert run("test_platform.sh", "--data", data)[0] == 1


def test_load_test_puts_the_load_through_that_it_was_told(tmp_path: Path) -> None:
    status, said = run("load_test.sh", "--data", tmp_path / "data", FILES="2", SIZE="1000", AT_ONCE="1")
    assert (status, "completed   2 of 2" in said) == (0, True), said


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (("catalog-lost", "--data", "a b"), "<--data><a b><fsck><--rebuild-catalog>"),
        (("functions-corrupted", "--data", "a b"), "<--home><aws><--data><a b><deploy>"),
    ],
)
def test_disaster_recovery_calls_the_command_and_ends_with_its_status(
    arguments: tuple[str, ...], called: str, echo: Path
) -> None:
    assert run("disaster_recovery.sh", *arguments, platform=echo) == (7, called)


@pytest.mark.parametrize("arguments", [(), ("an earthquake",)])
def test_disaster_recovery_says_what_there_is_where_nobody_can_choose(arguments: tuple[str, ...], echo: Path) -> None:
    status, said = run("disaster_recovery.sh", *arguments, platform=echo)
    assert (status, "functions-corrupted" in said) == (2, True)
