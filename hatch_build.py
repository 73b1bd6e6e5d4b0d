"""Puts the console's scripts into what is built, where they are not there yet."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleHook(BuildHookInterface[Any]):
    """Bundles the console before a wheel or a source distribution is made; never for an editable installation.

    Without Node the build goes on: the pages work without scripts, and a warning says so.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - as the interface has it
        """Hatchling's call before a build."""
        script = Path(self.root) / "console" / "bundle.py"
        if version == "editable" or not script.is_file():
            return
        made = runpy.run_path(str(script))
        if made["is_current"]():
            return
        try:
            made["bundle"]()
        except RuntimeError as error:
            self.app.display_warning(f"{error}; the console will have no scripts")
