"""Runs the real command in processes of its own, and holds every run to what all commands promise.

A command that is run to its end is forked by a process that has imported it, since that takes the longest of most; one
that is only started, or has an environment of its own, is begun as its user begins it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 600.0
SERVER = Path(__file__).with_name("command_server.py")


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Commands:
    """The command line on one data folder."""

    data: Path
    environment: dict[str, str] | None = None
    through: tuple[str, ...] = ()
    """A command that runs the command, with fewer rights for example."""

    def argv(self, *arguments: object) -> list[str]:
        """The command as a process takes it."""
        command = [sys.executable, "-m", "contentplatform.cli", "--data", str(self.data)]
        return [*self.through, *command, *map(str, arguments)]

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(self.argv(*arguments), env=self._environment(), **options)

    def run(self, *arguments: object, cwd: Path | None = None, code: int | None = 0) -> Ran:
        """Run a command to its end; it must end with ``code`` (None: however it likes) and never with a traceback."""
        if self.environment is None and not self.through:
            ran = command_server().run(self.argv(*arguments)[3:], cwd or Path.cwd())
        else:
            ran = self._run_anew(*arguments, cwd=cwd)
        assert "Traceback" not in ran.stderr, ran.stderr
        assert code is None or ran.code == code, (ran.code, ran.stdout[-2000:], ran.stderr)
        return ran

    def _run_anew(self, *arguments: object, cwd: Path | None) -> Ran:
        done = subprocess.run(
            self.argv(*arguments),
            env=self._environment(),
            cwd=cwd,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker at work; SIGTERM must end it cleanly."""
        with self.start("worker", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            said = b""
            while b"Working on" not in said:
                said += (line := process.stderr.readline())
                assert line, said
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                said += process.stderr.read()
            assert process.wait(TIMEOUT_SECONDS) == 0, said
        assert b"Traceback" not in said

    def json(self, *arguments: object, code: int | None = 0) -> Any:
        """Run a command with --json; its standard output is exactly one document."""
        return self.run("--json", *arguments, code=code).json

    def error(self, *arguments: object, code: int) -> str:
        """Run a command that must fail with ``code``, twice: in words and as JSON. The words."""
        told = self.json(*arguments, code=code)["error"]
        assert told["exit_code"] == code
        assert self.run(*arguments, code=code).stderr.strip()
        return str(told["message"])

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **(self.environment or {})}


class CommandServer:
    """The process that forks for each command. Safe from several threads."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-P", str(SERVER), str(theirs.fileno())]
            self._process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def run(self, arguments: list[str], folder: Path) -> Ran:
        """Run a command to its end, and to the end of all that could still write for it."""
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(os.environ)}
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        told, its_told = socket.socketpair()
        with its_told, Path(os.devnull).open("rb") as nothing:
            descriptors = [nothing.fileno(), its_out, its_err, its_told.fileno()]
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
            os.close(its_out)
            os.close(its_err)
        told.settimeout(TIMEOUT_SECONDS)
        with told, told.makefile() as answer, ThreadPoolExecutor(2) as pool:
            said = [pool.submit(read, descriptor) for descriptor in (out, err)]
            process_id = int(answer.readline())
            try:
                code = int(answer.readline())
            except TimeoutError:
                os.kill(process_id, signal.SIGKILL)
                raise
            return Ran(code, said[0].result(), said[1].result().decode(errors="replace"))

    def stop(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait(TIMEOUT_SECONDS)


def read(descriptor: int) -> bytes:
    """All that comes."""
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


@functools.cache
def command_server() -> CommandServer:
    """The one of this process."""
    server = CommandServer()
    atexit.register(server.stop)
    return server
