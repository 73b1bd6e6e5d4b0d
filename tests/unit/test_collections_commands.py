"""Collections, look-alikes and counts from the command line, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.cli.main import cli
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.media import file_id

Run = Callable[..., Any]
NAMES = ("a.bin", "b.bin", "c.bin")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with JSON, or in words, on a data folder in which three files were added; its document."""

    def ran(*arguments: str, words: bool = False) -> Any:
        given = ["--data", str(tmp_path / "data"), *(() if words else ("--json",)), *arguments]
        result = CliRunner().invoke(cli, given, catch_exceptions=False, standalone_mode=False)
        assert result.return_value == 0, result.output
        return result.stdout if words else json.loads(result.stdout)

    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(bytes([number]))
    ran("add", "--no-wait", "--prefix", "x", *(str(tmp_path / name) for name in NAMES))
    return ran


def test_a_collection_is_made_filled_shown_changed_and_deleted(run: Run) -> None:
    made = run("collections", "create", "Trip", "--description", "d")
    name = made["collection_id"]
    assert (made["name"], made["description"], made["files"], made["cover"]) == ("Trip", "d", 0, None)
    assert run("collections", "add", name, "x/b.bin", "x/a.bin", "x/c.bin")["files"] == 3
    run("move", "x/a.bin", "y/new.bin")
    run("remove", "x/c.bin")
    shown = run("collections", "show", name)
    assert [item["file_path"] for item in shown["items"]] == ["x/b.bin", "y/new.bin"]
    assert shown["files"] == 3
    assert "y/new.bin" in run("collections", "show", name, words=True)
    changed = run("collections", "change", name, "--name", "Other", "--cover", "x/b.bin")
    assert (changed["name"], changed["description"], changed["cover"]) == ("Other", "d", file_id("x/b.bin"))
    [listed] = run("collections", "list")["items"]
    assert listed == changed
    assert run("collections", "list", "--key", "x/b.bin")["items"] == [changed]
    assert run("collections", "remove", name, "x/b.bin")["files"] == 2
    assert run("collections", "list", "--key", "x/b.bin")["items"] == []
    run("collections", "delete", name)
    assert run("collections", "list")["items"] == []
    with pytest.raises(NotFound):
        run("collections", "show", name)
    with pytest.raises(click.UsageError):
        run("collections", "change", name)


def test_what_is_found_is_counted(run: Run) -> None:
    run("tag", "x/a.bin", "sea")
    run("move", "x/b.bin", "x/y/b.bin")
    found = run("search", "--facets")
    assert found["total"] == {"count": 3, "capped": False}
    assert found["folders"] == [{"value": "x", "count": 3, "capped": False}]
    assert found["tags"] == [{"value": "sea", "count": 1, "capped": False}]
    assert run("search", "--facets", "--folder", "x")["folders"] == [{"value": "x/y", "count": 1, "capped": False}]
    lines = run("search", "bin", "--facets", words=True).splitlines()
    assert lines[:2] == ["FILES  BY        VALUE", "3      all"]


def test_pictures_that_look_alike_are_found(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        run("similar", "x/a.bin")
    home = open_local(config.load(data_folder=tmp_path / "data", environment={}))
    try:
        for name, value in (("x/a.bin", 0), ("x/b.bin", 0b11), ("x/c.bin", 2**64 - 1)):
            record = home.catalog.get(file_id(name))
            home.catalog.put(replace(record, processing_metadata={"perceptual_hash": f"{value:016x}"}))
    finally:
        home.close()
    found = run("similar", "x/a.bin")["items"]
    assert [(each["file_path"], each["distance"]) for each in found] == [("x/b.bin", 2)]
    assert run("similar", "x/a.bin", "--distance", "1")["items"] == []
    assert run("similar", "x/a.bin", words=True).split() == ["DISTANCE", "KEY", "2", "x/b.bin"]
