"""Runs the real command in processes of its own, and holds every run to what all commands promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 600.0


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
        done = subprocess.run(
            self.argv(*arguments),
            env=self._environment(),
            cwd=cwd,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
        assert "Traceback" not in ran.stderr, ran.stderr
        assert code is None or ran.code == code, (ran.code, ran.stdout[-2000:], ran.stderr)
        return ran

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
