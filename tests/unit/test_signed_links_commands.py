"""Signed links are ended from the command line, and the audit log says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contentplatform import config
from contentplatform.app import LocalHome, open_local
from contentplatform.cli.main import cli
from contentplatform.delivery.rules import raw_edge_key
from contentplatform.errors import InvalidRequest

KEYS = ("public/raw/private/one.bin", "public/raw/private/two.bin")
ONE, TWO = (str(raw_edge_key(key)) for key in KEYS)
Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTENTPLATFORM_INGEST_PRIVATE_PREFIX", "private/")
    return tmp_path / "data"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    """Runs a command with JSON on a data folder with two private files in it; its document."""

    def ran(*arguments: str) -> Any:
        given = ["--data", str(folder), "--json", *arguments]
        result = CliRunner().invoke(cli, given, catch_exceptions=False, standalone_mode=False)
        assert result.return_value == 0, result.output
        return json.loads(result.stdout)

    for key in KEYS:
        file = tmp_path / Path(key).name
        file.write_bytes(key.encode())
        ran("add", str(file), "--prefix", "public/raw/private", "--no-wait")
    return ran


@pytest.fixture
def home(run: Run, folder: Path) -> Iterator[LocalHome]:  # noqa: ARG001 - the files have to be there
    opened = open_local(config.load(data_folder=folder))
    yield opened
    opened.close()


def link(home: LocalHome, key: str) -> str:
    """A signed link for an hour."""
    return home.edge.signed_url(key, home.platform.clock.now() + timedelta(hours=1), "0" * 64)


def works(home: LocalHome, url: str) -> bool:
    """Whether the edge takes a link's signature."""
    try:
        home.edge.check_link(url)
    except InvalidRequest:
        return False
    return True


def test_links_to_one_file_end_and_those_to_others_and_new_ones_work(run: Run, home: LocalHome) -> None:
    one, two = link(home, ONE), link(home, TWO)
    later = home.platform.clock.now() + timedelta(hours=1)
    picture = home.edge.image_url("w_300", KEYS[0], "0" * 64, later)
    assert [works(home, url) for url in (one, picture, two)] == [True, True, True]
    assert run("signed-links", "revoke", KEYS[0]) == {"revoked": KEYS[0]}
    assert [works(home, url) for url in (one, picture, two, link(home, ONE))] == [False, False, True, True]
    [entry] = [each for each in run("audit", "list")["items"] if each["act"] == "signed_link.revoke"]
    assert entry["subject"] == KEYS[0]


def test_a_new_key_ends_links_when_it_was_rotated_twice(run: Run, home: LocalHome) -> None:
    old = link(home, ONE)
    assert run("signed-links", "rotate") == {"rotated": True}
    assert [works(home, url) for url in (old, link(home, ONE))] == [True, True]
    run("signed-links", "rotate")
    assert [works(home, url) for url in (old, link(home, ONE))] == [False, True]
