"""Making templates in tests: the settings of a deployment, and reading what was written for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import contentplatform_infra
from contentplatform.config import TABLES, Settings

assert contentplatform_infra.__doc__, "imported first: it names the Node that the CDK starts"

ACCOUNT_ID: Final = "111122223333"
SUFFIX: Final = "templates"
REGION: Final = "us-east-1"
BACKUP_REGION: Final = "us-west-2"
Templates = Mapping[str, dict[str, Any]]


def settings_of(**tables: Mapping[str, Any]) -> Settings:
    """Settings as a deployment has them, with these values a table; nothing is read from this machine."""
    given: dict[str, Mapping[str, Any]] = {
        "storage": {"bucket_suffix": SUFFIX},
        "aws": {"alert_email": "ops@example.org"},
    }
    for table, values in tables.items():
        given[table] = {**given.get(table, {}), **values}
    parsed = {table: TABLES[table](**values) for table, values in given.items()}
    return replace(Settings(data_folder=Path("/nowhere")), **parsed)


def synthesise(
    settings: Settings,
    folder: Path,
    *,
    account_id: str = ACCOUNT_ID,
    only: Collection[str] | None = None,
    signing_key: str = "",
) -> None:
    """Write the templates for ``settings`` into ``folder``, of all stacks or of those named."""
    from contentplatform_infra.app import build  # noqa: PLC0415 - starts Node; most test processes never need it
    from contentplatform_infra.stacks import StackName  # noqa: PLC0415 - same

    stacks = tuple(name for name in StackName if only is None or name.value in only)
    build(settings, str(folder), account_id=account_id, only=stacks, signing_key=signing_key).synth()


def read_templates(folder: Path) -> Templates:
    """What was synthesised into a folder, by the stacks' names."""
    return {
        path.name.removesuffix(".template.json"): json.loads(path.read_text("utf-8"))
        for path in sorted(folder.glob("*.template.json"))
    }


def resources(templates: Templates, kind: str, *stacks: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Logical name and properties of each resource of a type, in all stacks or in those named."""
    for stack, template in templates.items():
        if stacks and stack not in stacks:
            continue
        for name, resource in template.get("Resources", {}).items():
            if resource["Type"] == kind:
                yield name, resource.get("Properties", {})


def named(templates: Templates, kind: str, **properties: Any) -> dict[str, Any]:
    """The properties of the one resource of a type that has these ones."""
    found = [
        held
        for _, held in resources(templates, kind)
        if all(held.get(name) == value for name, value in properties.items())
    ]
    assert len(found) == 1, f"{len(found)} resources {kind} have {properties}"
    return found[0]
