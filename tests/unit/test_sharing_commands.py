"""Links and webhooks from the command line, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.cli.main import cli
from contentplatform.errors import InvalidRequest, NotFound

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with JSON on a data folder of this test's own; its document."""
    monkeypatch.setenv("CONTENTPLATFORM_SERVER_PUBLIC_URL", "https://media.example")

    def ran(*arguments: str, code: int = 0) -> Any:
        given = ["--data", str(tmp_path / "data"), "--json", *arguments]
        result = CliRunner().invoke(cli, given, catch_exceptions=False, standalone_mode=False)
        assert result.return_value == code, result.output
        return json.loads(result.stdout)

    return ran


def test_a_share_is_made_listed_renewed_and_revoked(run: Run, tmp_path: Path) -> None:
    made = run("shares", "add", "--folder", "clients/acme/", "--title", "For Acme", "--days", "7", "--originals")
    assert made["url"].startswith("https://media.example/s/")
    assert made["target"] == {"kind": "folder", "name": "clients/acme"}
    assert (made["title"], made["allow_originals"], made["has_password"]) == ("For Acme", True, False)
    [listed] = run("shares", "list")["items"]
    assert listed == {name: value for name, value in made.items() if name != "url"}
    renewed = run("shares", "renew", made["id"])
    assert renewed["url"] != made["url"]
    with_home = open_local(config.load(data_folder=tmp_path / "data", environment={}))
    try:
        opened = with_home.platform.shares.open_share
        assert opened(made["url"].rpartition("/")[2]) is None
        assert opened(renewed["url"].rpartition("/")[2]) is not None
    finally:
        with_home.close()
    assert run("shares", "revoke", made["id"])["revoked_at"] is not None


def test_a_share_of_a_file_names_one_that_is_there(run: Run, tmp_path: Path) -> None:
    photo = tmp_path / "a.bin"
    photo.write_bytes(b"\0")
    run("add", str(photo), "--no-wait")
    made = run("shares", "add", "--file", "a.bin")
    assert made["target"]["kind"] == "file"
    with pytest.raises(NotFound):
        run("shares", "add", "--file", "none.bin")
    run("remove", "a.bin")
    with pytest.raises(InvalidRequest, match="removed"):
        run("shares", "add", "--file", "a.bin")


def test_exactly_one_thing_is_shared(tmp_path: Path) -> None:
    for options in ([], ["--file", "a", "--folder", "b"]):
        result = CliRunner().invoke(cli, ["--data", str(tmp_path), "shares", "add", *options])
        assert result.exit_code == 2
        assert "Say one of --file, --folder and --collection" in result.output


def test_an_upload_link_is_made_listed_and_revoked(run: Run) -> None:
    limits = ("--max-files", "3", "--max-size", "2MB", "--max-total", "5 MB", "--kind", "image", "--kind", "video")
    made = run("upload-links", "add", "in/acme", "--message", "Please", *limits)
    assert made["url"].startswith("https://media.example/u/")
    assert (made["folder"], made["message"], made["kinds"]) == ("in/acme", "Please", ["image", "video"])
    assert (made["max_files"], made["max_file_bytes"], made["max_bytes"]) == (3, 2_000_000, 5_000_000)
    assert [link["id"] for link in run("upload-links", "list")["items"]] == [made["id"]]
    assert run("upload-links", "revoke", made["id"])["revoked_at"] is not None


def test_a_webhook_is_made_tried_and_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="inside this network"):
        run("webhooks", "add", "http://127.0.0.1/")
    monkeypatch.setenv("CONTENTPLATFORM_SHARING_ALLOW_PRIVATE_HOOKS", "true")
    monkeypatch.setenv("CONTENTPLATFORM_SHARING_HOOK_PORTS", "1")
    made = run("webhooks", "add", "http://127.0.0.1:1/x", "--event", "completed", "--event", "failed")
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["completed", "failed"]
    [listed] = run("webhooks", "list")["items"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    tried = run("webhooks", "test", made["id"], code=1)
    assert (tried["taken"], tried["status"]) == (False, "it failed (ConnectionRefusedError)")
    assert run("webhooks", "retry", made["id"]) == {"id": made["id"], "taken": 0, "left": 0}
    assert run("webhooks", "remove", made["id"]) == {"removed": made["id"]}
    assert run("webhooks", "list")["items"] == []


def test_people_read_lines(tmp_path: Path) -> None:
    def lines(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["--data", str(tmp_path), *arguments], standalone_mode=False).output

    assert lines("shares", "add", "--folder", "a").startswith("/s/")
    assert "folder a" in lines("shares", "list")
    assert lines("upload-links", "add", "in").startswith("/u/")
    assert lines("upload-links", "list").splitlines()[1].split()[1:] == ["in", "0", "0", "B"]
    assert "whsec_" in lines("webhooks", "add", "https://hooks.invalid/x")
    assert "everything" in lines("webhooks", "list")
