"""``verify`` on the command line: rows for people, one document for scripts, an exit code for both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.commands import Commands

COUNTED = re.compile(r"(\d+) passed, (\d+) warning, 0 failed, (\d+) not built\n")
COLOUR = "\x1b["


@pytest.fixture
def home(tmp_path: Path) -> Commands:
    """An empty data folder."""
    return Commands(tmp_path / "data")


def test_people_get_a_row_for_each_check_and_a_summary(home: Commands) -> None:
    lines = home.run("verify").out.splitlines(keepends=True)
    counted = COUNTED.fullmatch(lines[-1])
    assert counted is not None, lines[-1]
    assert sum(map(int, counted.groups())) == len(lines) - 1
    for verdict, count in zip(("passed", "warning", "not built"), counted.groups(), strict=True):
        assert sum(line.startswith(verdict) for line in lines[:-1]) == int(count)
    assert COLOUR not in "".join(lines), "colours are for terminals"


def test_scripts_get_the_same_rows_as_one_document(home: Commands) -> None:
    report = home.json("verify")
    assert set(report) == {"healthy", "counts", "run", "rows", "left_over", "kept"}
    assert (report["healthy"], report["left_over"], report["counts"]["failed"]) == (True, [], 0)
    assert {(row["verdict"]) for row in report["rows"]} <= set(report["counts"])
    assert all(row["name"] and row["detail"] for row in report["rows"])
    assert home.json("list") == {"items": [], "next": None}


def test_a_failed_check_is_an_exit_code(home: Commands) -> None:
    home.run("list")
    home.data.chmod(0o755)
    report = home.json("verify", code=1)
    [failed] = [row for row in report["rows"] if row["verdict"] == "failed"]
    assert "open to every user" in failed["detail"]


def test_a_kept_file_tells_its_type_size_age_and_hash(home: Commands, tmp_path: Path) -> None:
    kept = tmp_path / "data.bin"
    kept.write_bytes(bytes(range(256)))
    home.run("add", kept)
    shown = home.json("show", "data.bin")
    facts = shown["processing_metadata"]
    assert (facts["content_type"], facts["size"]) == ("application/octet-stream", 256)
    assert facts["sha256"] == facts["etag"] == shown["file_hash"]
    assert facts["last_modified"] == shown["upload_time"]
