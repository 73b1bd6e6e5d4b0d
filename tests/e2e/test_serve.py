"""``serve`` as people start it: a real process on a free port, its workers, its end, and its sudden end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from contentplatform.cli.main import main
from contentplatform.web.claim import Part, serving
from e2e.commands import TIMEOUT_SECONDS, Commands
from sample_media import encoded, photo

PATIENCE_SECONDS = 300.0


@dataclass
class Served:
    """A server at work."""

    commands: Commands
    process: subprocess.Popen[bytes]
    http: httpx.Client

    def put(self, key: str, body: bytes) -> httpx.Response:
        """Upload a file in one piece."""
        return self.http.put(f"/api/v1/files/by-key/{key}", content=body, headers={"Content-Type": "image/jpeg"})

    def completed(self, key: str) -> dict[str, Any]:
        """The record, once it was processed."""

        def record() -> dict[str, Any] | None:
            found = self.http.get("/api/v1/files/by-key", params={"key": key})
            return found.json() if found.is_success and found.json()["processing_status"] == "completed" else None

        found: dict[str, Any] = until(record, f"{key} is completed")
        return found

    def workers(self) -> set[int]:
        """Process ids of the server's children that are workers."""
        return {child for child in children(self.process.pid) if b"--with-parent" in command_of(child)}


def until(found: Callable[[], Any], what: str) -> Any:
    """What is found, looked for again and again."""
    pause = Event()
    for _ in range(int(PATIENCE_SECONDS / 0.05)):
        if value := found():
            return value
        pause.wait(0.05)
    raise AssertionError(f"waited in vain until {what}")


def children(parent: int) -> set[int]:
    """Its child processes, of all its threads."""
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found |= {int(child) for child in task.read_text().split()}
    return found


def command_of(process_id: int) -> bytes:
    """How a process was started; empty if it is gone."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def serve(commands: Commands, *arguments: object) -> Iterator[Served]:
    """A server that answers, with a client who may do anything; killed at the end if it is still there."""
    process = commands.start(
        "--json", "serve", "--port", "0", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        said = b""
        while not said.rstrip().endswith(b"}"):
            said += (line := process.stdout.readline())
            assert line, process.communicate()[1].decode()
        token = commands.run(
            *("--json", "tokens", "add", "admin", "test", "--scope", "read", "--scope", "write", "--scope", "admin")
        ).json["secret"]
        address = json.loads(said)["listening"]
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=300) as http:
            yield Served(commands, process, http)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("served") / "data")


def test_the_first_start_says_how_to_sign_in_and_the_whole_way_works(commands: Commands) -> None:
    with serve(commands) as served:
        assert served.http.get("/health/ready").json()["status"] == "ready"
        assert served.put("public/raw/one.jpg", encoded(photo(64, 48), "JPEG")).status_code == 201
        record = served.completed("public/raw/one.jpg")
        url = next(one["url"] for one in record["renditions"] if one["name"] == "thumbnail")
        thumbnail = served.http.get(url, headers={"Authorization": ""})
        assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/jpeg")
        assert served.http.get("/library", headers={"Authorization": ""}).status_code == 303
        refused = commands.run("serve", "--port", "0", code=14)
        assert "another process serves its app already" in refused.stderr
        served.process.send_signal(signal.SIGTERM)
        told = served.process.communicate(timeout=TIMEOUT_SECONDS)[1].decode()
        assert served.process.returncode == 0, told
        assert "Sign in as `admin` with this password" in told
        assert "Traceback" not in told
    assert serving(commands.data) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--port", "{taken}"), "another program uses that port"), (("--host", "0.0.0.0", "--port", "0"), "without TLS")],
)
def test_what_keeps_it_from_serving_is_said_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        given = [option.replace("{taken}", str(there.getsockname()[1])) for option in options]
        with pytest.raises(SystemExit) as ended:
            main(["--data", str(tmp_path / "data"), "serve", *given])
    assert ended.value.code == 14
    assert words in capsys.readouterr().err


def test_a_worker_that_dies_is_started_again_and_dies_with_its_server(commands: Commands) -> None:
    with serve(commands) as served:
        [first] = until(served.workers, "a worker runs")
        os.kill(first, signal.SIGKILL)
        [second] = until(lambda: served.workers() - {first}, "another worker runs")
        assert served.put("two.jpg", encoded(photo(64, 48, seed=2), "JPEG")).status_code == 201
        served.completed("two.jpg")
        served.process.kill()
        served.process.communicate()
        until(lambda: not command_of(second), "the worker is gone with its server")
    assert commands.run("--json", "fsck", "--deep").json["clean"] is True


def test_the_edge_is_a_process_of_its_own_where_that_is_wanted(commands: Commands) -> None:
    both = ("--part", "app", "--part", "worker")
    with serve(commands, *both) as app, serve(commands, "--part", "edge") as edge:
        assert app.put("public/raw/three.jpg", encoded(photo(64, 48, seed=3), "JPEG")).status_code == 201
        url = next(one["url"] for one in app.completed("public/raw/three.jpg")["renditions"] if one["name"] == "medium")
        assert edge.http.get(url).status_code == 200
        assert app.http.get(url).status_code == 404
        assert edge.http.get("/library").status_code == 404
        there = (
            serving(commands.data, Part.APP),
            serving(commands.data, Part.EDGE),
            serving(commands.data, Part.WORKER),
        )
        assert [one is not None for one in there] == [True, True, True]
