"""The server is killed while a file comes: what was acknowledged is there, and in the end the hash is exact."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contentplatform.drivers.crashpoint import POINTS
from contentplatform.findings import CheckRun, run_checks
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.port import BucketRole, versions_of
from contentplatform.web.uploads import PATCH_TYPE, UPLOADS_PATH
from faults.upload_server import open_uploads
from upload_client import metadata

TESTS = Path(__file__).resolve().parents[1]
SIZE_BYTES = 6 << 20
DATA = random.Random(5).randbytes(SIZE_BYTES)
POINTS_HERE = sorted(point for point in POINTS if point.startswith("uploads."))


class Died(Exception):  # noqa: N818 - it is what the tests wait for
    """The server was killed before it answered."""


class Servers:
    """Starts servers, one at a time."""

    def __init__(self) -> None:
        self._zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("upload_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            text=True,
        )
        self.process_id = 0
        self.port = 0

    def start(self, root: Path, point: str = "-", count: int = 1) -> None:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(f"{root} {point} {count}\n")
        self._zygote.stdin.flush()
        self.process_id, self.port = map(int, self._zygote.stdout.readline().split())

    def kill(self) -> None:
        if self.process_id:
            with suppress(ProcessLookupError):
                os.kill(self.process_id, signal.SIGKILL)
            self.process_id = 0

    def stop(self) -> None:
        self.kill()
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.stdout.close()
        self._zygote.wait(300)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> dict[str, str]:
        """One request; the status and headers of its answer."""
        with self.connected(method, path, headers, len(body)) as connection:
            try:
                connection.sendall(body)
                return answered(connection)
            except OSError as error:
                raise Died from error

    def connected(self, method: str, path: str, headers: dict[str, str], length: int) -> socket.socket:
        """A connection on which a request's headers are sent."""
        given = {"Host": "x", "Tus-Resumable": "1.0.0", "Connection": "close", "Content-Length": str(length), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        except OSError as error:
            raise Died from error
        connection.sendall("\r\n".join(lines).encode())
        return connection

    def begin(self, name: str = "a.bin", length: int = SIZE_BYTES, **headers: str) -> str:
        told = {"Upload-Length": str(length), "Upload-Metadata": metadata(filename=name), **headers}
        return self.ask("POST", UPLOADS_PATH, told)["location"]

    def offset(self, address: str) -> int:
        return int(self.ask("HEAD", address, {})["upload-offset"])

    def patch(self, address: str, offset: int, data: bytes) -> int:
        headers = {"Content-Type": PATCH_TYPE, "Upload-Offset": str(offset)}
        answer = self.ask("PATCH", address, headers, data)
        assert answer["status"] == "204", answer
        return int(answer["upload-offset"])


def answered(connection: socket.socket) -> dict[str, str]:
    """The status and headers of an answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            raise Died
        received += piece
    first, *lines = received.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return {"status": first.split()[1], **{name.lower(): value for name, _, value in pairs}}


@pytest.fixture(scope="module")
def one_servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture
def servers(one_servers: Servers) -> Iterator[Servers]:
    yield one_servers
    one_servers.kill()


def check(root: Path, key: str, data: bytes) -> None:
    """Exactly one version, with the bytes that were sent; nothing is damaged, nothing left over."""
    database, store, uploads = open_uploads(root)
    try:
        (version,) = versions_of(store, BucketRole.PRIMARY, key)
        assert version.sha256 == hashlib.sha256(data).hexdigest()
        with store.open(BucketRole.PRIMARY, key) as reader:
            assert reader.read() == data
        # Begun by a request that never heard of it.
        assert [(session.offset, session.version_id) for session in uploads.open_sessions("test")] in ([], [(0, None)])
        assert list(store.staging.folder.iterdir()) == []
        assert list(run_checks(storage_checks(store), CheckRun(deep=True))) == []
    finally:
        database.close()


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_an_upload_is_resumed_to_the_byte_however_often_the_server_is_killed(
    servers: Servers, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(kills)
    servers.start(tmp_path)
    address = servers.begin()
    acknowledged = 0
    for number in range(kills):
        left = SIZE_BYTES - acknowledged
        few = chance.randrange(1, max(2, left // (4 * (kills - number))))
        acknowledged = servers.patch(address, acknowledged, DATA[acknowledged : acknowledged + few])
        headers = {"Content-Type": PATCH_TYPE, "Upload-Offset": str(acknowledged)}
        with servers.connected("PATCH", address, headers, SIZE_BYTES - acknowledged) as connection:
            sent = chance.randrange(1, (SIZE_BYTES - acknowledged) // 2)
            connection.sendall(DATA[acknowledged : acknowledged + sent])
            servers.kill()
        servers.start(tmp_path)
        offset = servers.offset(address)
        assert acknowledged <= offset <= acknowledged + sent
        acknowledged = offset
    assert servers.patch(address, acknowledged, DATA[acknowledged:]) == SIZE_BYTES
    servers.kill()
    check(tmp_path, "a.bin", DATA)


@pytest.mark.parametrize("is_helped", [False, True])
@pytest.mark.parametrize("point", POINTS_HERE)
def test_an_upload_that_dies_between_two_steps_is_one_version_in_the_end(
    servers: Servers, tmp_path: Path, point: str, *, is_helped: bool
) -> None:
    """The point is reached; the client does what any client of tus does, and all is well."""
    servers.start(tmp_path, point)
    data, deaths = DATA[: 700 << 10], 0
    half = len(data) // 2
    address, parts, offset, final = "", ["", ""], 0, ""
    while not final:
        try:
            address = address or servers.begin("whole.bin", len(data))
            offset = servers.offset(address)
            if offset < len(data):
                end = half if offset < half else len(data)
                servers.patch(address, offset, data[offset:end])
                continue
            for number, piece in enumerate((data[:half], data[half:])):
                parts[number] = parts[number] or servers.begin("", len(piece), **{"Upload-Concat": "partial"})
                offset = servers.offset(parts[number])
                if offset < len(piece):
                    servers.patch(parts[number], offset, piece[offset:])
            told = {"Upload-Concat": f"final;{parts[0]} {parts[1]}", "Upload-Metadata": metadata(filename="joined.bin")}
            final = servers.ask("POST", UPLOADS_PATH, told)["location"]
        except Died:
            deaths += 1
            servers.kill()
            servers.start(tmp_path)
            if is_helped:
                let_a_worker_look(tmp_path)
    assert deaths == 1, f"nothing passed {point}"
    servers.kill()
    let_a_worker_look(tmp_path)
    check(tmp_path, "joined.bin", data)
    check(tmp_path, "whole.bin", data)


def let_a_worker_look(root: Path) -> None:
    """What a worker does now and then."""
    database, _store, uploads = open_uploads(root)
    uploads.expire()
    database.close()
