"""Gets a layer's libraries as wheels for Lambda's Python, by pip: the only module here that starts a process.

No container: every wheel is made for a Python and a glibc, and pip takes the ones it is told to take, whatever machine
it runs on. Only pyvips comes as source, as it publishes no wheel; it is plain Python, and is kept so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from contentplatform.errors import ConfigurationInvalid

PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
"""Amazon Linux 2023 has glibc 2.34. The older name alone finds no pyvips-binary, and old releases of others."""
FROM_SOURCE: Final = "pyvips"
_TIMEOUT_SECONDS: Final = 600
_NO_COMPILER: Final = {"PKG_CONFIG": os.devnull}
"""Without it, pyvips would bind to this machine's libvips and this machine's Python, where there are any."""


def install_wheels(lock: Path, folder: Path, *, python_version: str) -> None:
    """Unpack everything that ``lock`` names into ``folder``, each file checked by its hash.

    Raises:
        ConfigurationInvalid: pip is missing or found no such wheel, or the index can't be reached.
    """
    doing = f"getting the libraries of {lock.name}"
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", f"--no-binary={FROM_SOURCE}", "--no-compile"),
        *(f"--platform={platform}" for platform in PLATFORMS),
        # pip asks whether this machine's Python will do, not the one it is told of; wheels are chosen by that one.
        *("--implementation=cp", f"--python-version={python_version}", "--ignore-requires-python"),
        *(f"--target={folder}", f"--requirement={lock}"),
    ]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **_NO_COMPILER},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationInvalid(
            doing, f"pip was not done after {_TIMEOUT_SECONDS} s", hint="Check the network, then try again"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()[-1]
        raise ConfigurationInvalid(
            doing,
            last,
            hint="pip, and the package index that it is set up for, must be there: try `python -m pip --version`",
            private=done.stderr,
        )
