"""The templates, made once a run for all test processes, and made anew for other settings.

``templates`` is what most tests need: the stacks by name, as plain dictionaries. The CDK itself (a child process, two
seconds to start) is only loaded where something is synthesised.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.synthesis import Templates, read_templates, settings_of, synthesise
from made_once import made_once

if TYPE_CHECKING:
    from aws_cdk.assertions import Template


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the templates for the default settings: made by the first test process that asks."""
    return made_once(tmp_path_factory, "assembly", lambda folder: synthesise(settings_of(), folder))


@pytest.fixture(scope="session")
def templates(assembly: Path) -> Templates:
    """The templates for the default settings, by the stacks' names."""
    return read_templates(assembly)


@pytest.fixture(scope="session")
def cdk_templates(templates: Templates) -> Mapping[str, Template]:
    """The same, for the CDK's own assertions."""
    from aws_cdk.assertions import Template  # noqa: PLC0415 - starts Node; most test processes never need it

    return {name: Template.from_json(template) for name, template in templates.items()}


@pytest.fixture(scope="session")
def templates_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Templates]:
    """A function that makes the templates for other settings: ``templates_for(aws={"object_lock": True})``."""

    @cache
    def made(frozen: str) -> Templates:
        folder = tmp_path_factory.mktemp("variant")
        synthesise(settings_of(**json.loads(frozen)), folder)
        read = read_templates(folder)
        shutil.rmtree(folder)  # the functions' libraries lie beside the templates, 200 MB of them
        return read

    return lambda **tables: made(json.dumps(tables, sort_keys=True))
