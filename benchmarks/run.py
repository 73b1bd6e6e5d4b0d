"""Run every bar, one after the other, and end with one table.

    python benchmarks/run.py [NAME…]

Each bar is a program of its own beside this one; it prints lines for people and JSON lines for this table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def measured(program: Path) -> list[dict[str, Any]]:
    """Run one bar, pass on what it says, and return the figures in its JSON lines."""
    print(f"== {program.name}", flush=True)
    figures: list[dict[str, Any]] = []
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.startswith("{"):
                figures.append(json.loads(line))
    if process.returncode:
        figures.append({"name": program.stem, "error": f"exit status {process.returncode}"})
    return figures


def main() -> int:
    """Run what was asked for; the exit status tells whether every program ran, not whether every bar was met."""
    names = set(sys.argv[1:])
    programs = [path for path in sorted(HERE.glob("*.py")) if path.name != Path(__file__).name]
    chosen = [path for path in programs if not names or path.stem in names]
    figures = [figure for program in chosen for figure in measured(program)]
    print("\n== all figures")
    for figure in figures:
        print(json.dumps(figure))
    return 1 if any("error" in figure for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
