"""Every command that makes sense in the home on AWS, once; those that don't say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aws.conftest import until
from aws.function_calls import waiting_workflow, waits
from aws.test_flow import PRIMARY, jpeg
from contentplatform.app import AwsHome
from contentplatform.cli.main import main
from contentplatform.ingest.queue import UPLOADS


class Cli:
    """The command line, in this process, on the home on AWS."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._capsys = capsys

    def run(self, *arguments: str | Path, code: int = 0) -> str:
        """What a command prints."""
        with pytest.raises(SystemExit) as ended:
            main(["--home", "aws", "--data", str(self._data), *map(str, arguments)])
        told = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, told.err
        assert "Traceback" not in told.err
        return told.out if code == 0 else told.out + told.err

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """The one document that a command prints."""
        return json.JSONDecoder().raw_decode(self.run("--json", *arguments, code=code))[0]


@pytest.fixture
def cli(home: AwsHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line; the environment leads to the deployed home."""
    assert home.aws.account_id
    return Cli(tmp_path / "data", capsys)


@pytest.fixture
def photo(cli: Cli, folder: str, tmp_path: Path) -> str:
    """The key of a photo that was added and processed."""
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    [added] = cli.json("add", tmp_path / "photo.jpg", "--prefix", folder)["items"]
    assert (added["file_path"], added["processing_status"]) == (f"{folder}/photo.jpg", "completed")
    return f"{folder}/photo.jpg"


def test_a_file_is_read_described_found_and_processed_again(cli: Cli, photo: str, folder: str, tmp_path: Path) -> None:
    assert photo in cli.run("list", "--folder", folder)
    assert [item["file_path"] for item in cli.json("list", "--folder", folder)["items"]] == [photo]
    shown = cli.json("show", photo)
    assert (shown["width"] if "width" in shown else shown["processing_metadata"]["width"]) == 640
    got = cli.json("get", photo, "-o", tmp_path / "again.jpg")
    assert ((tmp_path / "again.jpg").read_bytes(), got["sha256"]) == (jpeg(), shown["file_hash"])
    thumbnail = cli.json("get", photo, "--rendition", "thumbnail", "-o", tmp_path / "thumbnail.jpg")
    assert thumbnail["size"] == (tmp_path / "thumbnail.jpg").stat().st_size > 0

    assert cli.json("tag", photo, "harbour", "evening")["tags"] == ["evening", "harbour"]
    assert cli.json("tag", photo, "--remove", "evening")["tags"] == ["harbour"]
    edited = cli.json("edit", photo, "--title", "Boats at dusk", "--credit", "Somebody", "--rights-until", "2030-01-31")
    assert (edited["title"], edited["credit"]) == ("Boats at dusk", "Somebody")
    until(lambda: cli.json("search", "boats", "dus", "--folder", folder)["items"], "it is found by its new title")
    found = until(lambda: cli.json("search", "--tag", "harbour", "--kind", "image")["items"], "it is found by its tag")
    assert photo in {item["file_path"] for item in found}

    started = cli.json("reprocess", photo)["started"]
    assert cli.json("executions", "show", started[photo])["status"] == "succeeded"
    assert cli.json("show", photo)["title"] == "Boats at dusk"
    listed = cli.json("executions", "list", "--key", photo)["items"]
    assert listed[0]["name"] == started[photo]
    assert len(listed) == 2
    assert "ProcessImage" in cli.run("executions", "show", started[photo])


def test_a_file_is_replaced_moved_removed_and_brought_back(cli: Cli, photo: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(2))
    assert cli.json("add", tmp_path / "photo.jpg", "--prefix", folder)["added"] == 1
    versions = cli.json("versions", photo)["items"]
    assert [version["is_latest"] for version in versions] == [True, False]

    moved = cli.json("move", photo, f"{folder}/moved.jpg")
    assert (moved["file_path"], moved["processing_status"]) == (f"{folder}/moved.jpg", "completed")
    assert f"{folder}/moved.jpg" in cli.run("show", photo, code=3)
    assert len(cli.json("versions", f"{folder}/moved.jpg")["items"]) == 2

    assert cli.json("remove", f"{folder}/moved.jpg")["version_id"] is None
    assert cli.json("list", "--folder", folder)["items"] == []
    assert len(cli.json("list", "--folder", folder, "--deleted")["items"]) == 1
    back = cli.json("undelete", f"{folder}/moved.jpg")
    assert (back["deleted_at"], [one["name"] for one in back["renditions"]]) == (None, ["thumbnail", "medium", "webp"])
    newest = cli.json("versions", f"{folder}/moved.jpg")["items"][0]["version_id"]
    cli.run("remove", f"{folder}/moved.jpg", "--version", newest, "--yes")
    assert cli.json("show", f"{folder}/moved.jpg")["version_id"] != newest


def test_what_failed_is_listed_retried_and_can_be_cancelled(cli: Cli, folder: str, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(jpeg()[:900])
    [added] = cli.json("add", tmp_path / "broken.jpg", "--prefix", folder, code=1)["items"]
    assert (added["processing_status"], added["processing_error_code"]) == ("failed", "E_DECODE")
    [execution] = cli.json("executions", "list", "--key", added["file_path"], "--status", "failed")["items"]
    told = cli.json("executions", "show", execution["name"])
    assert (told["error"], told["cause"]) == ("E_DECODE", added["processing_error"])
    assert [event["state"] for event in told["history"]][-1] == "ProcessingFailed"
    [again] = cli.json("executions", "retry", execution["name"])["started"]
    until(lambda: cli.json("executions", "show", again)["status"] == "failed", "it failed again")
    assert cli.json("executions", "cancel", again)["status"] == "failed", "what has ended stays as it ended"


def test_an_execution_is_cancelled(cli: Cli, home: AwsHome, photo: str) -> None:
    with waiting_workflow(home):
        started = cli.json("reprocess", photo, "--no-wait")["started"][photo]
        waits(home, started)
    assert cli.json("executions", "show", started)["status"] == "running"
    assert cli.json("executions", "cancel", started, "--reason", "not now")["status"] == "cancelled"
    shown = cli.json("show", photo)
    assert (shown["processing_status"], shown["processing_error_code"]) == ("failed", "E_CANCELLED")
    assert cli.json("executions", "show", started)["cause"] == "not now"


@pytest.mark.soak  # it adds the samples, every kind of them: `add` is above, every kind in ``test_media_flow``
def test_the_demo_runs(cli: Cli) -> None:
    items = cli.json("demo")["items"]
    assert {item["file_path"].split("/")[0] for item in items} == {"demo"}
    assert {item["processing_status"] for item in items} <= {"completed", "failed"}


@pytest.mark.parametrize("command", ["worker", "fsck"])
def test_what_is_for_this_machine_says_so(cli: Cli, command: str) -> None:
    assert "it is for the home on this machine" in cli.run(command, code=2 if command == "fsck" else 5)


def test_the_home_is_taken_from_the_environment_too(
    cli: Cli, home: AwsHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.json("list", "--limit", "1")["items"] is not None
    monkeypatch.setenv("CONTENTPLATFORM_HOME", "aws")
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path / "data"), "worker"])
    assert ended.value.code == 5
    assert home.place().startswith("s3://")
    assert "this machine" in capsys.readouterr().err


def test_events_that_wait_for_a_person_are_listed_and_tried_again(cli: Cli, home: AwsHome) -> None:
    sqs = home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.dead_letter_name)["QueueUrl"]
    record = {"eventSource": "aws:s3", "s3": {"bucket": {"name": PRIMARY}, "object": {"key": "long+gone.txt"}}}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
    [item] = cli.json("events", "list", code=1)["items"]
    assert item["key"] == "long gone.txt"
    assert cli.json("events", "redrive") == {"redriven": 1}
    assert cli.json("events", "list")["items"] == []
