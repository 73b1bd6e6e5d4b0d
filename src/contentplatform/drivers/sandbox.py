"""Runs a parser on untrusted bytes in a child that can do no harm: the owner's side of the zygote.

``Sandbox.run`` runs a function of ours, ``Sandbox.execute`` a program that a person trusts. Both are safe from several
threads at once; all of them share one zygote, started with the first job and again when it dies. What a child answers
is as untrusted as the bytes it read: the answer is capped and parsed as JSON here, its meaning is for the caller to
check, and files it wrote are taken by ``plain_file`` only.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contentplatform.clock import Clock, SystemClock
from contentplatform.drivers.confinement import Confinement, JobLimits, hide_own_process
from contentplatform.drivers.jobpipes import Ended, JobPipes, ZygoteLost, unframed
from contentplatform.drivers.programs import files_of
from contentplatform.drivers.zygote import KilledFor, receive_frame, send_frame
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
_PASSING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ETXTBSY, errno.EIO})
"""What keeps a program from starting just now, and may not the next time."""
_NICE: Final = 10
_LOADER_PATH: Final = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True)
class JobReport:
    """The answer of a job that succeeded, and what it cost."""

    result: Any
    """JSON from a child that read untrusted bytes: check every part of it."""
    peak_resident_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """How a program ended of its own accord, and what it cost."""

    exit_code: int
    last_words: str
    """The end of what it wrote to its standard error, for the log: it may quote the file that it read."""
    peak_resident_bytes: int
    cpu_seconds: float


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
    """Runs one function, named ``module:function``, or programs on untrusted sources, each run in a child of its own.

    The module is imported by the zygote and by nobody else; without one there are programs only. ``environment`` is all
    that the zygote and its children see of the environment, beside the ways to Python's libraries and modules: the
    service's own variables, which may hold secrets, are not passed on. A zygote that says nothing for
    ``silence_seconds`` past a job's wall-clock limit counts as stuck and is replaced.
    """

    def __init__(
        self,
        entry_point: str | None = None,
        *,
        limits: JobLimits | None = None,
        environment: Mapping[str, str] | None = None,
        silence_seconds: float = _SILENCE_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._entry_point = entry_point
        self._clock = clock or SystemClock()
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
        self,
        request: Mapping[str, Any],
        source: Path,
        scratch: Path,
        *,
        doing: str,
        others: Sequence[Path] = (),
        limits: JobLimits | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> JobReport:
        """Run the function on ``source`` with the empty folder ``scratch`` as its current folder.

        ``others`` are further files that it may read, at most 16: open descriptors from 5 on, in their order.
        ``limits`` are this run's own, the sandbox's otherwise. ``is_cancelled`` is asked several times a second.

        A child that crashes is tried once more in an emptied folder. ``doing`` is the gerund errors begin with.

        Raises:
            ProcessingFailed: the job said so, went over a limit, or crashed twice.
            JobInterrupted: something outside killed the child or the zygote.
            NoSpace: the disk is full.
            Cancelled: the caller wanted it no more, or the sandbox was closed.
        """
        limits = limits or self._limits
        order = {"request": request, "scratch": str(scratch.absolute()), "limits": asdict(limits)}
        for _ in range(_ATTEMPTS):
            ended = self._attempt(order, (source, *others), limits, doing, is_cancelled)
            if not _crashed(ended):
                return _report(ended, limits, doing)
            _empty(scratch)
        raise _crash(ended, doing)

    def execute(
        self,
        program: Path,
        arguments: Sequence[str],
        source: Path,
        scratch: Path,
        *,
        doing: str,
        limits: JobLimits | None = None,
        others: Sequence[Path] = (),
        devices: Sequence[Path] = (),
        nice: int = _NICE,
        on_output: Callable[[str], None] | None = None,
        on_complaint: Callable[[str], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ProgramReport:
        """Run a trusted program on ``source`` behind the same walls, with the empty folder ``scratch`` as its own.

        It reads the source from descriptor 3, ``others`` from 5 on. Beside them and its scratch folder it can open
        nothing but itself and the libraries that it is linked with. Its environment is empty but for ``LANG``. Signals
        that ask it to end don't reach it, so that it never passes a half of its work for the whole.

        Args:
            program: the file to execute.
            arguments: all of them, without its name.
            source: the untrusted file.
            scratch: an empty folder; emptied again when a crash is tried once more.
            doing: the gerund errors begin with.
            limits: what it may use; the sandbox's own if not given. An encoder needs its threads and its hours.
            others: further files that it may read, at most 16.
            devices: files under ``/dev`` that it may use, for encoders in hardware.
            nice: how much other processes are preferred to it, from 0 to 19.
            on_output: called in this thread with each line of its standard output, as it comes. A crash that is tried
                once more begins anew.
            on_complaint: the same for its standard error; untrusted.
            is_cancelled: asked several times a second; once it is true, the program is killed, and has ended when
                this returns.

        Returns:
            How it ended: what an exit code means, the caller knows.

        Raises:
            ProcessingFailed: it went over a limit, or crashed twice.
            JobInterrupted: something outside killed it or the zygote, or no process could be started just now.
            ConfigurationInvalid: it is not there, or is no program for this machine.
            Cancelled: the caller wanted it no more, or the sandbox was closed.
        """
        limits = limits or self._limits
        files = files_of(program, doing=doing)
        order = {
            "request": {},
            "scratch": str(scratch.absolute()),
            "limits": asdict(limits),
            "program": {
                "path": str(files.program),
                "loader": None if files.loader is None else str(files.loader),
                "libraries": [str(library) for library in files.libraries],
                "arguments": list(arguments),
                "nice": nice,
                "devices": [str(device.absolute()) for device in devices],
            },
        }
        for _ in range(_ATTEMPTS):
            told = (on_output or _ignore, on_complaint)
            ended = self._attempt(order, (source, *others), limits, doing, is_cancelled, told)
            if ended.answer:
                raise _not_started(ended.answer, program, doing)
            if not _program_crashed(ended):
                return _program_report(ended, limits, doing)
            _empty(scratch)
        raise _crash(ended, doing)

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

    def _attempt(
        self,
        order: Mapping[str, Any],
        sources: tuple[Path, ...],
        limits: JobLimits,
        doing: str,
        is_cancelled: Callable[[], bool] | None,
        told: tuple[Callable[[str], None] | None, Callable[[str], None] | None] = (None, None),
    ) -> Ended:
        on_line, on_complaint = told
        pipes = JobPipes(limits.answer_bytes, on_line=on_line, on_complaint=on_complaint)
        try:
            zygote = self._send(order, sources, pipes.theirs, doing)
            pipes.hand_over()
            ended = pipes.read(self._clock, limits.wall_seconds + self._silence_seconds, is_cancelled)
        except ZygoteLost as error:
            self._discard(zygote)
            raise self._interrupted(doing) from error
        finally:
            pipes.close()
        if ended.cancelled:
            raise Cancelled(doing, "it was stopped on request")
        if ended.refused is not None:
            raise JobInterrupted(doing, f"no process could be started: {ended.refused}")
        return ended

    def _send(
        self, order: Mapping[str, Any], sources: tuple[Path, ...], pipes: Sequence[int], doing: str
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


def _start(entry_point: str | None, environment: Mapping[str, str]) -> _ZygoteHandle:
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


def _spawn(control: int, entry_point: str | None, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a file in the current folder must not pass for a module of ours.
        [
            *(sys.executable, "-P", "-m", "contentplatform.drivers.zygote"),
            *(str(control), str(os.getpid()), *([] if entry_point is None else [entry_point])),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[control],
        env=dict(environment),
        start_new_session=True,
    )


def _crashed(ended: Ended) -> bool:
    if ended.killed_for is not None or ended.signal in _SENT_FROM_OUTSIDE or ended.signal == signal.SIGXCPU:
        return False
    return ended.signal is not None or ended.exit_code != 0 or unframed(ended.answer) is None


def _program_crashed(ended: Ended) -> bool:
    meant = {None, signal.SIGXCPU, signal.SIGXFSZ, *_SENT_FROM_OUTSIDE}
    return ended.killed_for is None and ended.signal not in meant


def _crash(ended: Ended, doing: str) -> ProcessingFailed:
    how = f"signal {ended.signal}, exit code {ended.exit_code}"
    return ProcessingFailed(
        doing,
        "the decoder crashed on this file, twice",
        code=ErrorCode.CRASH,
        hint="The original is kept; try to save it again in another program",
        private=f"{how}\n{ended.last_words}".strip()[:_PRIVATE_CHARACTERS],
    )


def _not_started(answer: bytes, program: Path, doing: str) -> PlatformError:
    """Why a program did not start. Its answer's pipe closes when it starts, so these are words of ours."""
    told = unframed(answer) or {}
    why = f"{program.name} can't be started ({told.get('not_started')})"
    if told.get("number") in _PASSING:
        return JobInterrupted(doing, why)
    return ConfigurationInvalid(
        doing, why, hint="Install the platform's packages again", private=f"{program}: {told.get('number')}"
    )


def _program_report(ended: Ended, limits: JobLimits, doing: str) -> ProgramReport:
    """The report of a program that ended of its own accord, or the error of one that was ended."""
    _judge_end(ended, limits, doing)
    if ended.exit_code is None:  # the kinds of signals that leave one were judged
        raise JobInterrupted(doing, "the process ended without telling how")
    return ProgramReport(ended.exit_code, ended.last_words, ended.peak_resident_bytes, ended.cpu_seconds)


def _judge_end(ended: Ended, limits: JobLimits, doing: str) -> None:
    """Raise the error of a child that was killed, whoever did it."""
    if ended.killed_for is KilledFor.ABANDONED:
        raise JobInterrupted(doing, "nobody waited for the result any more")
    if ended.killed_for is not None:
        code, why = _over_limit(ended.killed_for, limits)
        raise ProcessingFailed(doing, why, code=code, hint=_TOO_MUCH, private=ended.last_words[-_PRIVATE_CHARACTERS:])
    if ended.signal == signal.SIGXCPU or (ended.exit_code != 0 and ended.cpu_seconds >= limits.cpu_seconds):
        why = f"it took more than {limits.cpu_seconds} s of processor time"
        raise ProcessingFailed(doing, why, code=ErrorCode.TIMEOUT, hint=_TOO_MUCH)
    if ended.signal == signal.SIGXFSZ:
        why = f"it needed more than {limits.file_bytes >> 20} MiB in one file"
        raise ProcessingFailed(doing, why, code=ErrorCode.LIMIT, hint=_TOO_MUCH)
    if ended.signal is not None:
        raise JobInterrupted(doing, "the process was killed from outside", private=f"signal {ended.signal}")


def _report(ended: Ended, limits: JobLimits, doing: str) -> JobReport:
    """The report of a job that ended in order, or the error of one that didn't."""
    _judge_end(ended, limits, doing)
    answer = unframed(ended.answer) or {}
    if "done" in answer:
        return JobReport(answer["done"], ended.peak_resident_bytes, ended.cpu_seconds)
    if "not_started" in answer:
        raise JobInterrupted(doing, "its process could not be shut in", private=str(answer)[:_PRIVATE_CHARACTERS])
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


def _ignore(_line: str) -> None:
    """Nobody listens."""
