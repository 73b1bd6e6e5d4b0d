"""From settings to templates: the templates' own program is run as a child, for it needs the CDK and Node."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Final

from contentplatform.config import TABLES, Settings, environment_name
from contentplatform.deployment.assembly import Assembly, read_assembly
from contentplatform.deployment.toolchain import Toolchain
from contentplatform.errors import ConfigurationInvalid

TEMPLATES: Final = ("-m", "contentplatform_infra")
"""The program, as arguments of Python, that writes the templates."""
_TABLES: Final = ("storage", "ingest", "processing", "aws")
"""What of the settings the templates are made from."""
_SYNTHESIS_SECONDS: Final = 15 * 60.0
_LAYERS_SECONDS: Final = 30 * 60.0
_BUILD_LAYERS: Final = """
import sys
from contentplatform.errors import PlatformError
from contentplatform_infra.layers import ensure_built
try:
    ensure_built()
except PlatformError as error:
    sys.exit(str(error))
"""


def build_layers(tools: Toolchain) -> None:
    """Get the libraries that the functions share, where this machine does not have them yet.

    Raises:
        ConfigurationInvalid: they can't be had.
        Unavailable: it took too long.
    """
    doing = "getting the functions' libraries"
    finished = tools.run_python(("-c", _BUILD_LAYERS), doing=doing, timeout_seconds=_LAYERS_SECONDS)
    if not finished.succeeded:
        raise ConfigurationInvalid(doing, finished.last_words(3), private=finished.last_words())


def synthesise(
    settings: Settings,
    tools: Toolchain,
    folder: Path,
    *,
    account_id: str,
    signing_key: str = "",
    program: tuple[str, ...] = TEMPLATES,
) -> Assembly:
    """Write the templates for these settings into a folder, and read them.

    Args:
        settings: what is to be deployed; told to the program by its environment.
        tools: what it needs.
        folder: for the templates; made if need be.
        account_id: the account's 12 digits; empty: templates that can be read, not deployed.
        signing_key: the fingerprint of the key that signs URLs; empty: templates that can be read.
        program: who writes them.

    Raises:
        ConfigurationInvalid: the settings can't be deployed.
        Unavailable: it took too long.
    """
    doing = "making the templates"
    finished = tools.run_python(
        (
            *program,
            *("--out", str(folder), "--data", str(settings.data_folder)),
            *(("--account", account_id) if account_id else ()),
            *(("--signing-key", signing_key) if signing_key else ()),
        ),
        doing=doing,
        timeout_seconds=_SYNTHESIS_SECONDS,
        environment=_environment_of(settings),
    )
    if not finished.succeeded:
        words = finished.errors.strip().splitlines() or ["the program that makes them failed"]
        raise ConfigurationInvalid(doing, words[-1], private=finished.last_words(40))
    return read_assembly(folder)


def _environment_of(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, which go before any file."""
    return {
        environment_name(table, setting.name): str(getattr(getattr(settings, table), setting.name))
        for table in _TABLES
        for setting in fields(TABLES[table])
        if isinstance(getattr(getattr(settings, table), setting.name), str | int | float | bool)
    }
