"""Runs a tool as a child process: an argument list, never a shell; lines as they come; an end for whatever it starts.

For tools that a person trusts (Node, the CDK, Python itself). Untrusted bytes are parsed by ``drivers.sandbox`` only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from contentplatform.errors import ConfigurationInvalid, Unavailable

_GRACE_SECONDS: Final = 10.0
"""From being asked to end until being killed."""
_DRAIN_SECONDS: Final = 2.0
"""How long, after the tool ended, its output may be held open by something it left behind."""
_KEPT_CHARACTERS: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended, and the end of what it said."""

    exit_code: int
    """Negative: the signal that killed it."""
    output: str
    errors: str

    @property
    def succeeded(self) -> bool:
        """Whether it says that all went well."""
        return self.exit_code == 0

    def last_words(self, lines: int = 20) -> str:
        """The end of what it complained of, or else of what it said."""
        return "\n".join((self.errors.strip() or self.output.strip()).splitlines()[-lines:])


class _Stream:
    """One output of the child, read in a thread of its own, line by line."""

    def __init__(self, pipe: IO[bytes], arrived: queue.SimpleQueue[tuple[_Stream, str | None]]) -> None:
        self.lines: list[str] = []
        self.open = True
        self._pipe = pipe
        self._arrived = arrived
        self._thread = threading.Thread(target=self._read, name="tool-output", daemon=True)
        self._thread.start()

    def take(self, line: str | None) -> None:
        """Note what arrived; None is the end."""
        if line is None:
            self.open = False
        else:
            self.lines.append(line)

    def text(self) -> str:
        """What was said, its beginning cut off where it is too long to keep."""
        return "\n".join(self.lines)[-_KEPT_CHARACTERS:]

    def close(self) -> None:
        """Give the pipe back, once nobody writes into it any more."""
        self._thread.join(_DRAIN_SECONDS)
        self._pipe.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed under us, after the group was killed
            for line in self._pipe:
                self._arrived.put((self, line.decode("utf-8", "replace").rstrip("\r\n")))
        self._arrived.put((self, None))


def run(
    arguments: Sequence[str],
    *,
    doing: str,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str = "",
    on_line: Callable[[str], None] | None = None,
) -> Finished:
    """Run a tool until it ends.

    It runs in a session of its own: Ctrl-C reaches this process alone, which then ends the tool with all it started.

    Args:
        arguments: the program and its arguments.
        doing: what it is run for, as a gerund.
        timeout_seconds: how long it may take altogether.
        folder: where it runs; here, if not given.
        environment: its whole environment; this process's, if not given.
        given: what it reads from its standard input.
        on_line: called in this thread with every line of either output, as it comes.

    Raises:
        ConfigurationInvalid: the program is not there, or can't be run.
        Unavailable: it took longer than it may; it was ended.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        process = subprocess.Popen(
            list(arguments),
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigurationInvalid(
            doing, f"{arguments[0]} can't be run ({error.strerror})", private=str(error)
        ) from error
    assert process.stdin is not None  # noqa: S101 - three pipes were asked for; this tells the type checker
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    arrived: queue.SimpleQueue[tuple[_Stream, str | None]] = queue.SimpleQueue()
    streams = (_Stream(process.stdout, arrived), _Stream(process.stderr, arrived))
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended without reading what it was given
            process.stdin.write(given.encode())
            process.stdin.close()
        if not _follow(process, streams, arrived, deadline, on_line or _ignore):
            raise Unavailable(
                doing,
                f"{Path(arguments[0]).name} took longer than {timeout_seconds:.0f} s and was ended",
                hint="Try again",
                private=streams[1].text()[-2_000:],
            )
    finally:
        _end(process, streams)
    return Finished(process.returncode, streams[0].text(), streams[1].text())


def _follow(
    process: subprocess.Popen[bytes],
    streams: tuple[_Stream, _Stream],
    arrived: queue.SimpleQueue[tuple[_Stream, str | None]],
    deadline: float,
    on_line: Callable[[str], None],
) -> bool:
    """Hand lines on until the tool ended and said its last; False if the time was over first."""
    drained_by: float | None = None
    while any(stream.open for stream in streams):
        now = time.monotonic()
        if drained_by is None and process.poll() is not None:
            drained_by = now + _DRAIN_SECONDS
        until = deadline if drained_by is None else drained_by
        if now >= until:
            break
        try:
            stream, line = arrived.get(timeout=min(until - now, 0.2))
        except queue.Empty:
            continue
        stream.take(line)
        if line is not None:
            on_line(line)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes], streams: tuple[_Stream, _Stream]) -> None:
    """See to it that nothing of the tool is left: it is asked first, then its whole group is killed."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()
    if any(stream.open for stream in streams):
        _signal_group(process, signal.SIGKILL)  # what it left behind holds its output open
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
    for stream in streams:
        stream.close()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody of it is left
        os.killpg(process.pid, number)


def _ignore(_line: str) -> None:
    """Nobody listens."""
