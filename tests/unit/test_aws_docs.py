"""What docs/aws.md says of the home on AWS: its commands exist, its tables are those of the data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from botocore import xform_name
from botocore.session import Session

from contentplatform.catalog.tables import TABLES
from contentplatform.config import AwsSettings
from contentplatform.deployment.stacks import STACKS
from contentplatform.ingest.queue import UPLOADS
from contentplatform.lambdas.functions import FUNCTIONS
from contentplatform.monitoring.alarms import ALARMS
from contentplatform.monitoring.dashboard import NAME as DASHBOARD
from contentplatform.schedule.schedules import DEAD_LETTER_QUEUE, SCHEDULES
from contentplatform.storage.lifecycle import Tiering, lifecycle_rules
from contract.unproven import UNPROVEN
from unit.test_docs import PAGES, ROOT, examples, read, rows, section

PAGE: Final = "docs/aws.md"
OF_EVERY_COMMAND: Final = frozenset({"region", "profile", "query", "output", "cli-read-timeout"})
OF_THE_COMMAND_LINE_ALONE: Final = {
    ("configure", "sso"): frozenset({"profile"}),
    ("s3", "cp"): frozenset({"recursive", "storage-class"}),
    ("logs", "tail"): frozenset({"since", "follow"}),
    ("cloudfront", "sign"): frozenset({"url", "key-pair-id", "private-key", "date-less-than"}),
}
"""Commands that AWS's own command line makes itself, of no service's interface; with the options that are used."""


def aws_commands(text: str) -> Iterator[tuple[str, str, str]]:
    """Service, operation and the rest of each command of AWS's command line in the shell examples of a text."""
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"(?:^|; |\$\()aws ([a-z0-9-]+) ([a-z0-9-]+)([^;\n]*)", block, re.MULTILINE)


def problem_of(service: str, operation: str, rest: str) -> str | None:
    """Why AWS's command line would not know a command; None if it does."""
    said = f"aws {service} {operation}"
    given = set(re.findall(r" --([a-z0-9-]+)", rest.partition("$(")[0])) - OF_EVERY_COMMAND
    if (service, operation) in OF_THE_COMMAND_LINE_ALONE:
        known = OF_THE_COMMAND_LINE_ALONE[service, operation]
    else:
        session = Session()
        name = "s3" if service == "s3api" else service
        if name not in session.get_available_services():
            return f"{said}: there is no such service"
        model = session.get_service_model(name)
        operations = {xform_name(one, "-"): one for one in model.operation_names}
        if operation not in operations:
            return f"{said}: there is no such operation"
        shape = model.operation_model(operations[operation]).input_shape
        members = {xform_name(member, "-"): kind.type_name for member, kind in (shape.members if shape else {}).items()}
        known = frozenset(members) | {f"no-{member}" for member, kind in members.items() if kind == "boolean"}
    unknown = given - known
    return f"{said}: there is no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_aws_in_an_example_exists(page: Path) -> None:
    assert [problem for words in aws_commands(page.read_text("utf-8")) if (problem := problem_of(*words))] == []


def test_the_page_has_commands_of_aws() -> None:
    assert len(list(aws_commands(read(PAGE)))) >= 20


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("aws sqs move-everything", "no such operation"),
        ("aws nothing list", "no such service"),
        ("aws sqs start-message-move-task --from x", "no option from"),
        ("aws s3 cp a b --gently", "no option gently"),
        ('KEY="$(aws ssm get-parameters --name x)"', "no option name"),
    ],
)
def test_a_command_of_aws_that_does_not_exist_is_caught(line: str, problem: str) -> None:
    [words] = aws_commands(f"```sh\n{line}\n```")
    assert problem in str(problem_of(*words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_of_an_example_exists_and_takes_its_options(page: Path) -> None:
    for words in examples(page):
        if words[:1] and words[0].startswith("scripts/"):
            assert os.access(ROOT / words[0], os.X_OK), words[0]
            text = read(words[0])
            assert [word for word in words[1:] if word.startswith("--") and word not in text] == []
    for name in re.findall(r"`(scripts/[\w.-]+)", page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


# -- tables ----------------------------------------------------------------------------------------------------------


def first_cells(heading: str) -> dict[str, list[str]]:
    """The rows below a heading by what stands in their first cell, without the table's own heading."""
    return {row[0].strip("`"): row[1:] for row in rows(section(read(PAGE), heading))[1:]}


def test_every_stack_is_documented_in_the_order_of_deployment_with_its_region() -> None:
    told = first_cells("### The stacks")
    assert list(told) == [stack.name for stack in STACKS]
    assert [row[0] == "backup" for row in told.values()] == [stack.in_backup_region for stack in STACKS]


def test_every_alarm_is_documented_with_its_urgency_and_no_other() -> None:
    told = {name: row[0] for name, row in first_cells("### Alarms").items()}
    assert told == {alarm.name: alarm.severity.value for alarm in ALARMS}


def test_every_job_by_the_clock_is_documented_with_its_hour_and_no_other() -> None:
    told = {name: row[0].strip("`") for name, row in first_cells("### By the clock").items()}
    assert told == {schedule.name: schedule.cron for schedule in SCHEDULES}


def test_every_switch_is_documented_with_its_default_and_its_cost() -> None:
    told = first_cells("## What is switched on by a setting")
    words = {True: "on", False: "off"}
    switches = {f"aws.{one.name}": words[one.default] for one in fields(AwsSettings) if isinstance(one.default, bool)}
    assert {name: row[0] for name, row in told.items() if row[0] in words.values()} == switches
    assert all(len(row[1]) > 10 and row[2] for row in told.values())
    for name, (*_, cost) in told.items():
        setting = next((one for one in fields(AwsSettings) if f"aws.{one.name}" == name), None)
        help_ = setting.metadata["help"] if setting else ""
        for price in re.findall(r"(\d[\d.]*) USD", help_):
            assert price in cost, name


def test_the_map_names_what_the_data_name() -> None:
    told = section(read(PAGE), "## What is where")
    assert f"| {len(FUNCTIONS)} functions," in told
    plain = [alarm for alarm in ALARMS if alarm.share_of is None]
    assert f"{len(plain)} alarms, dashboard `{DASHBOARD}`" in told
    for name in (*(table.name for table in TABLES), UPLOADS.name, UPLOADS.dead_letter_name, DEAD_LETTER_QUEUE):
        assert f"`{name}`" in told, name
    assert set(re.findall(r"`(ContentPlatform\w*)` \|$", told, re.MULTILINE)) == {stack.name for stack in STACKS}


def test_how_objects_age_is_documented_with_every_number() -> None:
    told = first_cells("## What is where")
    rules = lifecycle_rules(Tiering.LIFECYCLE)
    assert [name for name in told if name in {rule.name for rule in rules}] == [rule.name for rule in rules]
    for rule in rules:
        where, what = told[rule.name]
        assert where == (f"{rule.bucket.value}, `{rule.prefix}`" if rule.prefix else rule.bucket.value)
        steps = [f"{step.storage_class} {day(step.after_days)}" for step in (*rule.current, *rule.noncurrent)]
        said = what.replace("after ", "").replace("at once", "0")
        assert all(step in said for step in steps), rule.name
        for deleted in filter(None, (rule.current_deleted_after_days, rule.noncurrent_deleted_after_days)):
            assert f"deleted after {day(deleted)}" in what, rule.name


def day(days: int) -> str:
    """A number of days as the page writes it."""
    return f"{days:,}".replace(",", " ")


def test_what_no_test_of_an_adapter_reaches_is_documented_with_its_reason() -> None:
    told = {name: row[0] for name, row in first_cells("### Promises that no test of an adapter reaches").items()}
    assert told == UNPROVEN


def test_the_steps_that_a_real_account_is_put_through_are_documented() -> None:
    steps = re.findall(r'^ *prove "([^"]+)"', read("scripts/prove-on-aws.sh"), re.MULTILINE)
    told = re.findall(r"^\d+\. (.+)$", section(read(PAGE), "## What only a real account proves"), re.MULTILINE)
    assert len(steps) >= 15
    assert told == [step.replace("$backup_region", "the backup region") for step in steps]


def test_mfa_delete_is_documented_with_what_stands_against_it() -> None:
    told = section(read(PAGE), "### MFA delete")
    assert "MFADelete=Enabled" in told
    assert "lifecycle" in told
    assert "`aws.object_lock`" in told
    assert "never tried" in told
