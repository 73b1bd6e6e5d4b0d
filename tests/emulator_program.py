"""The emulator's own program, run by its own Python, with what Lambda gives its containers and it does not.

Each process of a function has a folder of its own to write to, as each container has its own ``/tmp``: pictures and
scratch folders that another emulator's functions left would answer for this one's. And code and layers, which Lambda
mounts, are unpacked once an emulator: each process gets links to them. Unpacking 200 MB and compiling it anew for each
process would take most of a test run.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import types
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

UNPACKED: Final = Path(tempfile.gettempdir()) / "unpacked"
"""In the emulator's own folder, which goes with it."""
WRITABLE: Final = "/tmp/"
"""As in every container of Lambda."""
_lock = threading.Lock()


class ReadOnce(zipfile.ZipFile):
    """A zip file that is unpacked for the first who asks; the others get links to the same files."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Put links to everything at the top of the archive into ``path``; its copy here has served its turn."""
        assert members is pwd is None, "all of it, or nothing here fits"
        for entry in self._unpacked().iterdir():
            (Path(path) / entry.name).symlink_to(entry)
        Path(str(self.filename)).unlink()

    def _unpacked(self) -> Path:
        """Where this archive lies unpacked: another one with the same names and sums is the same."""
        told = tuple((entry.filename, entry.file_size, entry.CRC) for entry in self.infolist())
        folder = UNPACKED / f"{hash(told) & (1 << 64) - 1:016x}"
        with _lock:
            if not folder.exists():
                UNPACKED.mkdir(exist_ok=True)
                scratch = tempfile.mkdtemp(dir=UNPACKED)
                super().extractall(scratch)
                Path(scratch).rename(folder)
        return folder


def in_own_folder(config: Mapping[str, Any]) -> dict[str, Any]:
    """A function's configuration whose variables lead below a folder that only one process has."""
    variables = config.get("Environment", {}).get("Variables", {})
    if not any(str(value).startswith(WRITABLE) for value in variables.values()):
        return dict(config)
    own = tempfile.mkdtemp(prefix="own-") + "/"
    led = {
        name: value.replace(WRITABLE, own, 1) if value.startswith(WRITABLE) else value
        for name, value in variables.items()
    }
    return {**config, "Environment": {**config["Environment"], "Variables": led}}


def main() -> None:
    """Serve until a signal ends it."""
    runtime: Any = import_module("ministack.core.lambda_runtime")
    runtime.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": ReadOnce})

    class Container(runtime.Worker):  # type: ignore[misc]  # found at run time, in another environment
        def __init__(self, name: str, config: Mapping[str, Any], code: bytes) -> None:
            super().__init__(name, in_own_folder(config), code)

    runtime.Worker = Container
    sys.exit(import_module("ministack.app").main())


if __name__ == "__main__":
    main()
