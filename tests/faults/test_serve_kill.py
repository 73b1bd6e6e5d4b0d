"""``serve`` is killed in the middle of everything: what was acknowledged is there, and nothing is damaged."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.commands import Commands
from e2e.test_serve import Served, command_of, serve, until
from sample_media import encoded, photo
from upload_client import metadata

FILM_BYTES = 3 << 20
FEW = 64 << 10
TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
UPLOADS = "/api/v1/uploads"


class Crowd:
    """Clients that go on until their server is gone, and remember what they were told is done."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        """The hash of each file that was acknowledged."""
        self.in_collection: list[str] = []
        """The files that were acknowledged to be in the collection."""
        self.titles: dict[str, str] = {}
        """The title that a file was acknowledged to have, or a later one."""
        self.wrong: list[str] = []
        """Answers that no client should get."""
        self.seen = 0
        """How many thumbnails were seen."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """How much of each was done."""
        return len(self.titles), len(self.stored), self.seen

    def reached(self, goal: tuple[int, ...]) -> bool:
        """Whether so much of each was done."""
        return all(count >= wanted for count, wanted in zip(self.counts, goal, strict=True))

    def put(self, http: httpx.Client, number: int, *, lap: int) -> None:
        """Store a picture that nobody has stored before."""
        key = f"public/raw/{lap}/{number}.jpg"
        body = encoded(photo(64, 48, seed=1_000 * lap + number), "JPEG")
        answer = http.put(f"/api/v1/files/by-key/{key}", content=body, headers={"Content-Type": "image/jpeg"})
        if answer.status_code == 201:
            self.stored[key] = hashlib.sha256(body).hexdigest()
        else:
            self.wrong.append(answer.text)

    def collect(self, http: httpx.Client, _number: int, *, collection: str) -> None:
        """Put a file that is there into the collection, and give it a title."""
        left = [key for key in list(self.stored) if key not in self.titles]
        if not left:
            return
        record = http.get("/api/v1/files/by-key", params={"key": left[0]})
        if record.status_code == 404:
            return  # its event waits still
        address = f"/api/v1/files/{record.json()['file_id']}"
        answers = [
            http.post(f"{collection}/files", json={"file_ids": [record.json()["file_id"]]}),
            http.patch(address, json={"title": left[0]}, headers={"If-Match": "*"}),
        ]
        if all(answer.is_success for answer in answers):
            self.in_collection.append(record.json()["file_id"])
            self.titles[left[0]] = left[0]
        else:
            self.wrong += [answer.text for answer in answers]

    def look(self, http: httpx.Client, _number: int, *, url: str) -> None:
        """See a thumbnail, whole."""
        answer = http.get(url)
        self.seen += 1
        if answer.status_code != 200 or len(answer.content) != int(answer.headers["content-length"]):
            self.wrong.append(answer.text)


@contextmanager
def at_work(served: Served, *acts: Callable[[httpx.Client, int], None]) -> Iterator[None]:
    """Clients at work, each in a thread of its own, until their server is gone."""
    stop = threading.Event()

    def work(act: Callable[[httpx.Client, int], None]) -> None:
        headers = served.http.headers
        with suppress(httpx.TransportError), httpx.Client(base_url=served.http.base_url, headers=headers) as http:
            number = 0
            while not stop.is_set():
                act(http, number)
                number += 1

    threads = [threading.Thread(target=work, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(300)


def send_and_kill(served: Served, address: str, offset: int, data: bytes) -> None:
    """Send a piece of an upload whose end never comes, and kill the server and its workers in the middle of it."""
    url = httpx.URL(str(served.http.base_url))
    told = {**PATCH, "Upload-Offset": str(offset), "Content-Length": str(len(data) + 1)}
    told |= {"Host": url.netloc.decode(), "Authorization": served.http.headers["authorization"]}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    with socket.create_connection((url.host, url.port or 80), timeout=300) as connection:
        connection.sendall(f"PATCH {address} HTTP/1.1\r\n{head}\r\n".encode() + data)
        workers = served.workers()
        for process_id in (served.process.pid, *workers):
            os.kill(process_id, signal.SIGKILL)
        served.process.communicate()
    until(lambda: not any(map(command_of, workers)), "its workers are gone")


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_server_that_is_killed_in_the_middle_of_everything_loses_nothing(tmp_path: Path, kills: int) -> None:
    commands, crowd, chance = Commands(tmp_path / "data"), Crowd(), random.Random(kills)
    film = chance.randbytes(FILM_BYTES)
    address = collection = thumbnail = ""
    acknowledged = 0
    for lap in range(kills):
        with serve(commands) as served:
            if not address:
                crowd.put(served.http, 999, lap=lap)
                headers = {**TUS, "Upload-Length": str(len(film)), "Upload-Metadata": metadata(filename="film.bin")}
                address = served.http.post(UPLOADS, headers=headers).headers["location"]
                collection = served.http.post("/api/v1/collections", json={"name": "Kept"}).headers["location"]
                record = served.completed("public/raw/0/999.jpg")
                thumbnail = next(one["url"] for one in record["renditions"] if one["name"] == "thumbnail")
            acknowledged = resumed(served.http, address, acknowledged, crowd)
            few = film[acknowledged : acknowledged + FEW // 2]
            headers = {**PATCH, "Upload-Offset": str(acknowledged)}
            acknowledged = int(served.http.patch(address, content=few, headers=headers).headers["upload-offset"])
            acts = (
                partial(crowd.put, lap=lap),
                partial(crowd.collect, collection=collection),
                partial(crowd.look, url=thumbnail),
            )
            goal = tuple(count + 2 for count in crowd.counts)
            with at_work(served, *acts):
                until(partial(crowd.reached, goal), "everything is going on")
                send_and_kill(served, address, acknowledged, film[acknowledged : acknowledged + FEW])
    assert crowd.wrong == []
    with serve(commands) as served:
        offset = resumed(served.http, address, acknowledged, crowd)
        assert offset <= acknowledged + FEW
        headers = {**PATCH, "Upload-Offset": str(offset)}
        assert served.http.patch(address, content=film[offset:], headers=headers).status_code == 204
        crowd.stored["film.bin"] = hashlib.sha256(film).hexdigest()
        for key, sha256 in crowd.stored.items():
            until(partial(there, served.http, key), f"{key} is there")
            assert hash_of(served.http, key) == sha256, key
        assert set(crowd.in_collection) <= set(files_in(served.http, collection))
        for key, title in crowd.titles.items():
            assert served.http.get("/api/v1/files/by-key", params={"key": key}).json()["title"] == title
        for key in [key for key in crowd.stored if key.endswith(".jpg")][-3:]:
            served.completed(key)
        served.process.send_signal(signal.SIGTERM)
        assert b"Traceback" not in served.process.communicate(timeout=300)[1]
    assert commands.run("--json", "fsck", "--deep").json["clean"] is True


def resumed(http: httpx.Client, address: str, acknowledged: int, crowd: Crowd) -> int:
    """Where an upload stands: nowhere before what was acknowledged."""
    offset = int(http.head(address, headers=TUS).headers["upload-offset"])
    assert offset >= acknowledged
    assert crowd.wrong == []
    return offset


def there(http: httpx.Client, key: str) -> bool:
    """Whether the catalog knows of a file by now."""
    return http.get("/api/v1/files/by-key", params={"key": key}).is_success


def hash_of(http: httpx.Client, key: str) -> str:
    """The hash of what the server has under a key."""
    record: dict[str, Any] = http.get("/api/v1/files/by-key", params={"key": key}).json()
    return hashlib.sha256(http.get(f"/api/v1/files/{record['file_id']}/original").content).hexdigest()


def files_in(http: httpx.Client, collection: str) -> Iterator[str]:
    """Every file of a collection."""
    cursor: str | None = None
    while True:
        page = http.get(f"{collection}/files", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        yield from (item["file_id"] for item in page["items"])
        cursor = page["next"]
        if cursor is None:
            return
