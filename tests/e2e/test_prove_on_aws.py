"""The script that proves a deployment on a real account: here against stand-ins for every tool that it calls.

What the stand-ins answer is what AWS would; one answer at a time is made wrong, and exactly its step has to fail.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPT: Final = ROOT / "scripts" / "prove-on-aws.sh"
STAND_IN: Final = Path(__file__).with_name("aws_stand_in.py")
TOOLS: Final = ("aws", "contentplatform", "curl")
STEPS: Final = 20


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the stand-ins, as programs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        path = folder / name
        # Without what the environment has: hundreds of them are started.
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{STAND_IN}" {name} "$@"\n', "utf-8")
        path.chmod(0o755)
    return folder


def prove(tools: Path, *arguments: str, wrong: str = "", typed: str = "") -> tuple[int, str, list[str]]:
    """Run the script; its status, all it said, and every call of a stand-in."""
    calls = tools.parent / "calls"
    calls.write_text("", "utf-8")
    done = subprocess.run(
        [SCRIPT, *arguments],
        env={
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PROVE_PAUSE_SECONDS": "0",
            "STAND_IN_CALLS": str(calls),
            "STAND_IN_WRONG": wrong,
            "STAND_IN_STATE": str(tools.parent),
        },
        input=typed,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, calls.read_text("utf-8").splitlines()


def outcomes(said: str) -> dict[str, list[str]]:
    """The steps that passed and those that failed, each once."""
    steps = said.rpartition(" proved, ")[0]
    return {verdict: re.findall(rf"^{verdict}  (.*)$", steps, re.MULTILINE) for verdict in ("PASS", "FAIL")}


def test_where_all_is_well_every_step_passes(tools: Path) -> None:
    status, said, calls = prove(tools, "--yes", "--profile", "mine", "--region", "eu-west-1")
    assert outcomes(said)["FAIL"] == [], said
    assert (status, len(outcomes(said)["PASS"])) == (0, STEPS), said
    assert f"{STEPS} proved, 0 not." in said
    assert not any("secret-of-a-token" in call for call in calls)
    assert calls[0] == "aws sts get-caller-identity --query Account --output text"
    assert "contentplatform destroy --region eu-west-1 --profile mine --delete-data" in calls


WRONG: Final = {
    "contentplatform verify": "files go through",
    "s3api head-object processed": "files put into S3 by anybody's tool",
    "mediaconvert list-jobs": "MediaConvert encoded a film",
    "curl miss": "the edge serves, caches",
    "curl stale": "a replaced file leaves",
    "curl unsigned": "private files need a signature",
    "curl function": "pictures are made on the fly",
    "curl part": "an upload's parts go straight",
    "s3api head-object class": "the second copy arrives",
    "s3api get-bucket-lifecycle-configuration": "the lifecycle rule",
    "athena get-query-execution": "Athena answers",
    "budgets describe-budget": "the budget",
    "iam simulate-principal-policy": "a function may do its own work only",
    "s3api delete-bucket-policy": "the buckets' policies",
    "s3api get-object": "an archived file",
    "cloudwatch describe-alarms": "every alarm sees its metric",
    "configservice describe-compliance-by-config-rule": "Config finds",
    "contentplatform get": "data outlive the stacks",
    "contentplatform destroy --delete-data": "everything is gone",
}


def test_each_step_fails_where_its_answer_is_wrong_and_the_others_are_still_tried(tools: Path) -> None:
    status, said, _ = prove(tools, "--yes", wrong=";".join(WRONG))
    found = outcomes(said)
    assert (status, len(found["FAIL"])) == (1, len(WRONG)), said
    assert {step for step in WRONG.values() for words in found["FAIL"] if words.startswith(step)} == set(WRONG.values())
    assert len(found["PASS"]) == 1, said  # the deployment itself


def test_one_wrong_answer_fails_its_own_step_alone(tools: Path) -> None:
    status, said, _ = prove(tools, "--yes", "--short", wrong="s3api head-object class")
    [failed] = outcomes(said)["FAIL"]
    assert (status, failed.startswith("the second copy arrives")) == (1, True), said


@pytest.mark.parametrize(
    ("picture", "part"),
    [
        ("curl picture", "curl part"),
        # The same steps with other lies; each is a whole run of the script.
        pytest.param("curl free", "curl other part", marks=pytest.mark.soak),
        pytest.param("curl function", "contentplatform serve", marks=pytest.mark.soak),
        pytest.param("lambda get-function-url-config", "contentplatform get direct", marks=pytest.mark.soak),
    ],
)
def test_pictures_on_the_fly_and_direct_uploads_are_looked_at_from_all_sides(
    tools: Path, picture: str, part: str
) -> None:
    _, said, calls = prove(tools, "--yes", "--short", wrong=f"{picture};{part}")
    one, other = outcomes(said)["FAIL"]
    assert one.startswith("pictures are made on the fly"), said
    assert other.startswith("an upload's parts go straight"), said
    assert any(" users remove prove-" in call for call in calls)


def test_a_deployment_that_fails_ends_it(tools: Path) -> None:
    status, said, calls = prove(tools, "--yes", wrong="contentplatform outputs")
    assert status == 1
    assert "the rest can't be tried" in said
    assert not any(call.startswith("aws s3 ") for call in calls)


def test_what_it_costs_is_said_before_anything_is_done_and_no_is_an_answer(tools: Path) -> None:
    status, said, calls = prove(tools, typed="n\n")
    assert (status, calls) == (0, ["aws sts get-caller-identity --query Account --output text"])
    assert "It costs about 1 USD" in said
    assert "Nothing was done." in said


def test_it_can_be_short_and_leave_everything_standing(tools: Path) -> None:
    status, said, calls = prove(tools, "--yes", "--short", "--keep")
    assert (status, len(outcomes(said)["PASS"])) == (0, STEPS - 4), said
    assert not any("destroy" in call for call in calls)


def test_an_option_that_does_not_exist_is_a_usage_error(tools: Path) -> None:
    assert prove(tools, "--everything")[0] == 2
