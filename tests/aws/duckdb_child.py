"""Runs DuckDB where it is installed, beside the emulator: statements and questions in, rows out, all as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Read ``{"statements": […], "queries": {name: SQL}}``; write ``{name: [row, …]}``."""
    import duckdb  # type: ignore[import-not-found]  # noqa: PLC0415 - the emulator's own environment has it

    asked: dict[str, Any] = json.load(sys.stdin)
    database = duckdb.connect(":memory:")
    for statement in asked["statements"]:
        database.execute(statement)
    answers: dict[str, list[dict[str, Any]]] = {}
    for name, query in asked["queries"].items():
        found = database.execute(query)
        names = [column[0] for column in found.description]
        answers[name] = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
