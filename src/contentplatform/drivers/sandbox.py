"""Runs a parser on untrusted bytes in a child that can do no harm: the owner's side of the zygote.

``Sandbox.run`` is safe from several threads at once; all of them share one zygote, started with the first job and
again when it dies. What a child answers is as untrusted as the bytes it read: the answer is capped and parsed as JSON
here, its meaning is for the caller to check, and files it wrote are taken by ``plain_file`` only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contentplatform.drivers.confinement import Confinement, JobLimits, hide_own_process
from contentplatform.drivers.zygote import LENGTH, KilledFor, receive_frame, send_frame
from contentplatform.errors import (
    Cancelled,
    ConfigurationInvalid,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    PlatformError,
    ProcessingFailed,
)

_STARTING: Final = "starting the sandbox"
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 15.0
_ATTEMPTS: Final = 2
_SENTENCE_CHARACTERS: Final = 300
_PRIVATE_CHARACTERS: Final = 8_000
_TOO_MUCH: Final = "The original is kept; an operator can raise the limit"
_SENT_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_READ_BYTES: Final = 1 << 16
_LOADER_PATH: Final = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True)
class JobReport:
    """The answer of a job that succeeded, and what it cost."""

    result: Any
    """JSON from a child that read untrusted bytes: check every part of it."""
    peak_resident_bytes: int
    cpu_seconds: float


@dataclass(slots=True)
class _Ended:
    """How one attempt ended, as the zygote tells it."""

    answer: bytes
    exit_code: int | None
    signal: int | None
    killed_for: KilledFor | None
    peak_resident_bytes: int
    cpu_seconds: float


class _ZygoteLost(Exception):  # noqa: N818 - private; named for what happened
    """The zygote ended before it told how the job did."""


@dataclass(slots=True)
class _ZygoteHandle:
    process: subprocess.Popen[bytes]
    control: socket.socket
    confinement: Confinement
    sending: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> None:
        """Close the socket, which ends zygote and jobs; force it if that takes too long."""
        self.control.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sandbox:
    """Runs one function, named ``module:function``, on untrusted sources, each run in a child of its own.

    The module is imported by the zygote and by nobody else. ``environment`` is all that the zygote and its children
    see of the environment, beside the ways to Python's libraries and modules: the service's own variables, which may
    hold secrets, are not passed on. A zygote that says nothing for ``silence_seconds`` past a job's wall-clock limit
    counts as stuck and is replaced.
    """

    def __init__(
        self,
        entry_point: str,
        *,
        limits: JobLimits | None = None,
        environment: Mapping[str, str] | None = None,
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> None:
        self._entry_point = entry_point
        self._limits = limits or JobLimits()
        self._silence_seconds = silence_seconds
        self._environment = {"LANG": "C.UTF-8", **(environment or {})}
        # The zygote finds modules where this process does, however that came about (a wheel, a layer, a checkout).
        own_path = [self._environment.get("PYTHONPATH", ""), *sys.path]
        self._environment["PYTHONPATH"] = os.pathsep.join(folder for folder in own_path if folder)
        # Where Python itself is linked against a library beside it, as on Lambda, it starts by this variable only.
        if _LOADER_PATH in os.environ:
            self._environment.setdefault(_LOADER_PATH, os.environ[_LOADER_PATH])
        self._lock = threading.Lock()
        self._zygote: _ZygoteHandle | None = None
        self._closed = threading.Event()

    def run(
        self, request: Mapping[str, Any], source: Path, scratch: Path, *, doing: str, others: Sequence[Path] = ()
    ) -> JobReport:
        """Run the function on ``source`` with the empty folder ``scratch`` as its current folder.

        ``others`` are further files that it may read, at most 16: open descriptors from 5 on, in their order.

        A child that crashes is tried once more in an emptied folder. ``doing`` is the gerund errors begin with.

        Raises:
            ProcessingFailed: the job said so, went over a limit, or crashed twice.
            JobInterrupted: something outside killed the child or the zygote.
            NoSpace: the disk is full.
            Cancelled: the sandbox was closed.
        """
        for _ in range(_ATTEMPTS):
            ended = self._attempt(request, (source, *others), scratch, doing)
            if not _crashed(ended):
                return _report(ended, self._limits, doing)
            _empty(scratch)
        raise ProcessingFailed(
            doing,
            "the decoder crashed on this file, twice",
            code=ErrorCode.CRASH,
            hint="The original is kept; try to save it again in another program",
            private=f"signal {ended.signal}, exit code {ended.exit_code}",
        )

    def confinement(self) -> Confinement:
        """Which walls this machine's kernel gives; starts the zygote."""
        return self._live_zygote(_STARTING).confinement

    def close(self) -> None:
        """End every child. Runs in progress raise Cancelled. Idempotent."""
        self._closed.set()
        with self._lock:
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.end()

    def _attempt(self, request: Mapping[str, Any], sources: tuple[Path, ...], scratch: Path, doing: str) -> _Ended:
        order = {"request": request, "scratch": str(scratch.absolute()), "limits": asdict(self._limits)}
        answer_read, answer_write = os.pipe()
        verdict_read, verdict_write = os.pipe()
        try:
            try:
                zygote = self._send(order, sources, (answer_write, verdict_write), doing)
            finally:
                os.close(answer_write)
                os.close(verdict_write)
            return self._await(zygote, answer_read, verdict_read, doing)
        finally:
            os.close(answer_read)
            os.close(verdict_read)

    def _send(
        self, order: Mapping[str, Any], sources: tuple[Path, ...], pipes: tuple[int, int], doing: str
    ) -> _ZygoteHandle:
        """Hand the job to a living zygote; one that died since the last job is replaced once."""
        with ExitStack() as opened:
            source, *others = (_opened(path, opened) for path in sources)
            for _ in range(_ATTEMPTS):
                zygote = self._live_zygote(doing)
                try:
                    with zygote.sending:
                        send_frame(zygote.control, order, (source, *pipes, *others))
                except OSError:
                    self._discard(zygote)
                else:
                    return zygote
        raise self._interrupted(doing)

    def _await(self, zygote: _ZygoteHandle, answer_read: int, verdict_read: int, doing: str) -> _Ended:
        patience_seconds = self._limits.wall_seconds + self._silence_seconds
        try:
            answer, verdict = _read_both(answer_read, verdict_read, self._limits.answer_bytes, patience_seconds)
        except _ZygoteLost as error:
            self._discard(zygote)
            raise self._interrupted(doing) from error
        if "refused" in verdict:
            raise JobInterrupted(doing, f"no process could be started: {verdict['refused']}")
        killed_for = verdict["killed_for"]
        return _Ended(answer, **{**verdict, "killed_for": None if killed_for is None else KilledFor(killed_for)})

    def _live_zygote(self, doing: str) -> _ZygoteHandle:
        with self._lock:
            if self._closed.is_set():
                raise Cancelled(doing, "the sandbox was closed")
            if self._zygote is None:
                self._zygote = _start(self._entry_point, self._environment)
            return self._zygote

    def _discard(self, zygote: _ZygoteHandle) -> None:
        """Forget a zygote that is dead or stuck; its jobs die with it."""
        with self._lock:
            if self._zygote is not zygote:
                return
            self._zygote = None
        zygote.process.kill()
        zygote.end()

    def _interrupted(self, doing: str) -> PlatformError:
        if self._closed.is_set():
            return Cancelled(doing, "the service is stopping")
        return JobInterrupted(doing, "the sandbox's process was killed", hint="It is tried again")


def plain_file(scratch: Path, name: object, *, doing: str) -> Path:
    """The file ``name`` that a job claims to have written, if it is one: a plain file of ours inside ``scratch``.

    Raises:
        ProcessingFailed: it isn't; a job that lies was taken over by its input.
    """
    if isinstance(name, str) and name not in {"", ".", ".."} and "/" not in name and "\0" not in name:
        path = scratch / name
        with suppress(OSError):
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_uid == os.geteuid():
                return path
    raise ProcessingFailed(
        doing, "the decoder answered nonsense", code=ErrorCode.CRASH, private=f"file {str(name)[:200]!r}"
    )


def _opened(path: Path, until: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    until.callback(os.close, descriptor)
    return descriptor


def _start(entry_point: str, environment: Mapping[str, str]) -> _ZygoteHandle:
    """Start a zygote and wait until it has imported the parser.

    Raises:
        ConfigurationInvalid: it can't be started on this machine, however often it is tried.
        JobInterrupted: it was killed, or there was no room for another process just now.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        try:
            process = _spawn(theirs.fileno(), entry_point, environment)
        except OSError as error:
            ours.close()
            raise JobInterrupted(_STARTING, f"no process could be started: {error.strerror}") from error
    ours.settimeout(_START_SECONDS)
    try:
        received = receive_frame(ours)
    except TimeoutError:
        received = None
    ours.settimeout(None)
    if received is not None and "ready" in received[0]:
        walls = Confinement(**received[0]["ready"])
        if not walls.files_hidden:
            hide_own_process()
        return _ZygoteHandle(process, ours, walls)
    ours.close()
    if received is None and process.poll() is None:
        process.kill()
    if process.wait() < 0:
        raise JobInterrupted(_STARTING, "it was killed, or took too long")
    told = "it ended silently" if received is None else str(received[0].get("failed"))
    raise ConfigurationInvalid(
        _STARTING, "the process that decodes files can't start on this machine", private=told[:_PRIVATE_CHARACTERS]
    )


def _spawn(control: int, entry_point: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a file in the current folder must not pass for a module of ours.
        [
            *(sys.executable, "-P", "-m", "contentplatform.drivers.zygote"),
            *(str(control), str(os.getpid()), entry_point),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[control],
        env=dict(environment),
        start_new_session=True,
    )


def _read_both(answer: int, verdict: int, limit_bytes: int, patience_seconds: float) -> tuple[bytes, dict[str, Any]]:
    """Read both pipes to their ends. What an answer has over the limit is dropped, and what is left is no JSON."""
    contents = {answer: bytearray(), verdict: bytearray()}
    poll = select.poll()
    for descriptor in contents:
        poll.register(descriptor, select.POLLIN)
    unfinished = len(contents)
    while unfinished:
        ready = poll.poll(patience_seconds * 1000)
        if not ready:
            raise _ZygoteLost
        for descriptor, _ in ready:
            piece = os.read(descriptor, _READ_BYTES)
            if not piece:
                poll.unregister(descriptor)
                unfinished -= 1
            elif len(contents[descriptor]) <= limit_bytes:
                contents[descriptor] += piece
    told = _unframed(contents[verdict])
    if not isinstance(told, dict):
        raise _ZygoteLost
    return bytes(contents[answer]), told


def _unframed(frame: bytes | bytearray) -> Any:
    """The JSON of one whole frame; None when it is none, or has what can't be stored: infinities, half characters."""
    if len(frame) < LENGTH.size or LENGTH.unpack_from(frame)[0] != len(frame) - LENGTH.size:
        return None
    try:
        value = json.loads(frame[LENGTH.size :])
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _crashed(ended: _Ended) -> bool:
    if ended.killed_for is not None or ended.signal in _SENT_FROM_OUTSIDE or ended.signal == signal.SIGXCPU:
        return False
    return ended.signal is not None or ended.exit_code != 0 or not isinstance(_unframed(ended.answer), dict)


def _report(ended: _Ended, limits: JobLimits, doing: str) -> JobReport:
    """The report of a job that ended in order, or the error of one that didn't."""
    if ended.killed_for is KilledFor.ABANDONED:
        raise JobInterrupted(doing, "nobody waited for the result any more")
    if ended.killed_for is not None:
        code, why = _over_limit(ended.killed_for, limits)
        raise ProcessingFailed(doing, why, code=code, hint=_TOO_MUCH)
    if ended.signal == signal.SIGXCPU or ended.cpu_seconds > limits.cpu_seconds:
        why = f"it took more than {limits.cpu_seconds} s of processor time"
        raise ProcessingFailed(doing, why, code=ErrorCode.TIMEOUT, hint=_TOO_MUCH)
    if ended.signal is not None:
        raise JobInterrupted(doing, "the process was killed from outside", private=f"signal {ended.signal}")
    answer = _unframed(ended.answer)
    if "done" in answer:
        return JobReport(answer["done"], ended.peak_resident_bytes, ended.cpu_seconds)
    raise _failure(answer, doing)


def _failure(answer: Mapping[str, Any], doing: str) -> PlatformError:
    """The error that a job answered. Its words may come from the file, so they are cut to a sentence's length."""
    told = answer.get("failed")
    if "no_space" in answer:
        return NoSpace(doing, "the disk is full", hint="Free some space; it is tried again")
    if isinstance(told, dict) and told.get("code") in set(ErrorCode):
        return ProcessingFailed(
            doing,
            _sentence(told.get("why")),
            code=ErrorCode(told["code"]),
            hint=_sentence(told.get("hint")),
            private=str(told.get("private"))[:_PRIVATE_CHARACTERS],
        )
    return ProcessingFailed(
        doing,
        "a fault of the platform, not of the file",
        code=ErrorCode.INTERNAL,
        hint="The operator's log tells more",
        private=str(answer.get("fault"))[:_PRIVATE_CHARACTERS],
    )


def _sentence(text: object) -> str:
    words = text if isinstance(text, str) else ""
    return "".join(character if character.isprintable() else " " for character in words)[:_SENTENCE_CHARACTERS]


def _over_limit(reason: KilledFor, limits: JobLimits) -> tuple[ErrorCode, str]:
    """The class and the words of a limit that was enforced."""
    if reason is KilledFor.WALL:
        return ErrorCode.TIMEOUT, f"it was not done after {limits.wall_seconds:g} s"
    if reason is KilledFor.RESIDENT:
        return ErrorCode.LIMIT, f"it needed more than {limits.resident_bytes >> 20} MiB of memory"
    if reason is KilledFor.THREADS:
        return ErrorCode.LIMIT, f"it started more than {limits.threads} threads"
    return ErrorCode.LIMIT, f"its results were larger than {limits.scratch_bytes >> 20} MiB"


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
