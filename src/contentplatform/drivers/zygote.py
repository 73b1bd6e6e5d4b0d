"""The process that forks sandboxed jobs: started by exec, single-threaded, imports the parsers and never runs them.

A library that has touched one pixel has threads and locks, and a fork of it hangs; a fork of one that was only imported
works always and costs a few milliseconds. So this process imports the job's module once, forks one child a job, watches
the children (memory, time, threads, files), kills those over a limit, and tells the owner how each of them ended.

A child may also become a trusted program that reads an untrusted source; it is shut in before the program starts.

It speaks over an inherited Unix socket. The owner sends frames (four bytes of length, JSON) with three descriptors: the
source, the pipe for the job's answer, and the socket for the verdict; behind them two pipes for what a program says,
and further sources, where a job has some. Once the owner has shut its side of the verdict's socket down, the job is
killed. Nothing here is fed with what a child says.
It ends, and everything under it, when the owner closes the socket or dies.

Run as ``python -m contentplatform.drivers.zygote SOCKET OWNER_PID [MODULE:FUNCTION]``; without a function it runs
programs only.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

from contentplatform.clock import Clock, SystemClock
from contentplatform.drivers.confinement import Confinement, JobLimits, ProgramFiles, confine, prepare
from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed

Job = Callable[[Mapping[str, Any], int], Mapping[str, Any]]
"""A job gets its request and the descriptor of its source; the current folder is its scratch folder.

Further sources are the descriptors from ``FIRST_OTHER_DESCRIPTOR`` on, in their order.
"""

LENGTH: Final = struct.Struct("!I")
_AUTOGROUP: Final = Path("/proc/self/autogroup")
_WATCH_MILLISECONDS: Final = 20
_SCRATCH_EVERY_WATCHES: Final = 10
_PAGE_BYTES: Final = resource.getpagesize()
_SOURCE_DESCRIPTOR: Final = 3
_ANSWER_DESCRIPTOR: Final = 4
FIRST_OTHER_DESCRIPTOR: Final = 5
MOST_OTHER_SOURCES: Final = 16
_OUTPUT_DESCRIPTORS: Final = (1, 2)
_PROGRAM_ENVIRONMENT: Final = {"LANG": "C.UTF-8"}
_UNHEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
"""A program might take these for a reason to end in good order with half of its work done; it is killed instead."""
_STAT_THREADS: Final = 17  # fields of /proc/PID/stat behind the command's closing parenthesis
_STAT_RESIDENT_PAGES: Final = 21


class KilledFor(StrEnum):
    """Why the zygote killed a job."""

    WALL = "wall"
    RESIDENT = "resident"
    THREADS = "threads"
    SCRATCH = "scratch"
    ABANDONED = "abandoned"


@dataclass(slots=True)
class _Running:
    pid: int
    scratch: Path
    limits: JobLimits
    deadline_seconds: float
    verdict: int
    stat: int | None
    watches: int = 0
    killed_for: KilledFor | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    """What the owner wants to be run."""

    request: Mapping[str, Any]
    scratch: Path
    limits: JobLimits
    program: Mapping[str, Any] | None
    sources: tuple[int, ...]
    answer: int
    outputs: tuple[int, ...]
    """Where a program writes what it says and what it complains of."""

    def descriptors(self) -> tuple[int, ...]:
        return (*self.sources, self.answer, *self.outputs)


class Zygote:
    """Forks, watches and reaps jobs until its owner is gone."""

    def __init__(self, control: socket.socket, owner_pid: int, job: Job, walls: Confinement, clock: Clock) -> None:
        self._control = control
        self._job = job
        self._walls = walls
        self._clock = clock
        self._own_pid = os.getpid()
        self._running: dict[int, _Running] = {}
        self._by_verdict: dict[int, _Running] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poll.register(self._wake_read, select.POLLIN)
        self._owner = _process_handle(owner_pid)
        if self._owner is not None:
            self._poll.register(self._owner, select.POLLIN)

    def serve(self) -> None:
        """Take jobs until the owner closes the socket or dies; then kill what still runs."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore_but_wake)
        try:
            while self._turn():
                pass
        finally:
            for running in self._running.values():
                _kill_group(running.pid)

    def _turn(self) -> bool:
        ready = dict(self._poll.poll(_WATCH_MILLISECONDS if self._running else None))
        if self._owner in ready:
            return False
        if self._wake_read in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            self._reap()
        for descriptor in ready.keys() & self._by_verdict.keys():
            self._kill(self._by_verdict[descriptor], KilledFor.ABANDONED)
        for running in self._running.values():
            self._watch(running)
        return self._control.fileno() not in ready or self._accept()

    def _accept(self) -> bool:
        received = receive_frame(self._control, descriptors=5 + MOST_OTHER_SOURCES)
        if received is None:
            return False
        told, (source, answer, verdict, *more) = received
        program = told.get("program")
        count = 0 if program is None else len(_OUTPUT_DESCRIPTORS)
        self._start(
            _Order(
                request=told["request"],
                scratch=Path(told["scratch"]).resolve(),
                limits=JobLimits(**told["limits"]),
                program=program,
                sources=(source, *more[count:]),
                answer=answer,
                outputs=tuple(more[:count]),
            ),
            verdict,
        )
        return True

    def _start(self, order: _Order, verdict: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            _tell(verdict, {"refused": error.strerror})
            pid = -1
        if pid == 0:
            self._be_the_job(order)
        for descriptor in order.descriptors():
            os.close(descriptor)
        if pid < 0:
            os.close(verdict)
            return
        deadline = self._clock.monotonic_seconds() + order.limits.wall_seconds
        running = _Running(pid, order.scratch, order.limits, deadline, verdict, _open_stat(pid))
        self._running[pid] = running
        self._by_verdict[verdict] = running
        self._poll.register(verdict, select.POLLIN)  # its end tells that nobody waits for this job any more

    def _be_the_job(self, order: _Order) -> None:
        """The child's whole life. It leaves by ``os._exit``: the zygote's clean-up is not its business."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            gc.disable()
            _keep_only(_places(order))
            try:
                if order.program is not None:
                    self._become(order.program, order)
                self._shut_in(order)
            except OSError as error:
                outcome = {"not_started": error.strerror, "number": error.errno}
            else:
                outcome = _outcome(self._job, order.request, order.limits)
            _write_all(_ANSWER_DESCRIPTOR, _frame(outcome))
            code = 0
        finally:
            os._exit(code)

    def _shut_in(self, order: _Order, program: ProgramFiles | None = None) -> None:
        """Raise the walls in this child; where one that this machine has did not stand, nothing is run."""
        walls = confine(
            order.limits,
            order.scratch,
            self._own_pid,
            program=program,
            leave_network=self._walls.network_absent,
        )
        if walls != self._walls:
            raise OSError(errno.EAGAIN, "a wall of the sandbox did not stand")

    def _become(self, program: Mapping[str, Any], order: _Order) -> None:
        """Be the program from here on."""
        files = ProgramFiles(
            program=Path(program["path"]),
            loader=None if program["loader"] is None else Path(program["loader"]),
            libraries=tuple(Path(library) for library in program["libraries"]),
            devices=tuple(Path(device) for device in program["devices"]),
        )
        _give_way(program["nice"])
        signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        self._shut_in(order, files)
        arguments = [files.program.name, *program["arguments"]]
        os.execve(files.program, arguments, _PROGRAM_ENVIRONMENT)  # noqa: S606 - no shell is wanted

    def _watch(self, running: _Running) -> None:
        if running.killed_for is not None:
            return
        running.watches += 1
        over = self._over_limit(running)
        if over is not None:
            self._kill(running, over)

    def _over_limit(self, running: _Running) -> KilledFor | None:
        limits = running.limits
        if self._clock.monotonic_seconds() > running.deadline_seconds:
            return KilledFor.WALL
        resident_bytes, threads = _usage(running.stat)
        if resident_bytes > limits.resident_bytes:
            return KilledFor.RESIDENT
        if threads > limits.threads:
            return KilledFor.THREADS
        if running.watches % _SCRATCH_EVERY_WATCHES == 0:
            written_bytes = _folder_bytes(running.scratch) + _unlinked_bytes(running)
            if written_bytes > limits.scratch_bytes:
                return KilledFor.SCRATCH
        return None

    def _kill(self, running: _Running, reason: KilledFor) -> None:
        if running.killed_for is None:
            running.killed_for = reason
            _kill_group(running.pid)
            self._poll.unregister(running.verdict)

    def _reap(self) -> None:
        while self._running:
            pid, status, usage = _collect_ended()
            if pid == 0:
                return
            running = self._running.pop(pid)
            del self._by_verdict[running.verdict]
            if running.killed_for is None:
                self._poll.unregister(running.verdict)
            _tell(running.verdict, _verdict(running, status, usage))
            os.close(running.verdict)
            if running.stat is not None:
                os.close(running.stat)


def _give_way(nice: int) -> None:
    """Let other processes go first: inside this session and, where the kernel shares time by session, as a session."""
    os.nice(nice)
    # A job leads a session of its own. With autogroups its nice value would count among its own threads only.
    with suppress(OSError):
        _AUTOGROUP.write_text(str(nice), "ascii")


def receive_frame(control: socket.socket, *, descriptors: int = 0) -> tuple[Mapping[str, Any], list[int]] | None:
    """One frame and the descriptors that came with it; None when the other side has gone."""
    try:
        header, received, _, _ = socket.recv_fds(control, LENGTH.size, descriptors)
        if len(header) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(header)
        body = bytearray()
        while len(body) < length:
            piece = control.recv(length - len(body))
            if not piece:
                return None
            body += piece
    except ConnectionError:
        return None
    return json.loads(body), received


def send_frame(control: socket.socket, message: Mapping[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one frame; ``descriptors`` travel with its first byte."""
    frame = _frame(message)
    sent = socket.send_fds(control, [frame], list(descriptors)) if descriptors else control.send(frame)
    control.sendall(frame[sent:])


def _frame(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body


def _outcome(job: Job, request: Mapping[str, Any], limits: JobLimits) -> dict[str, Any]:
    """What the child answers: the job's result, or its failure in words with the trace apart."""
    try:
        return {"done": job(request, _SOURCE_DESCRIPTOR)}
    except (OSError, MemoryError) as error:
        return _exhaustion(error, limits) or {"fault": traceback.format_exc()}
    except NoSpace as error:
        return {"no_space": error.why}
    except ProcessingFailed as error:
        return {"failed": {"code": error.code, "why": error.why, "hint": error.hint, "private": error.private}}
    except Exception:  # noqa: BLE001 - the outer edge of the child: whatever it was becomes an answer
        return {"fault": traceback.format_exc()}


def _exhaustion(error: OSError | MemoryError, limits: JobLimits) -> dict[str, Any] | None:
    """What ran out, where the error is of that sort."""
    if isinstance(error, MemoryError):
        return {"failed": _over(limits.address_space_bytes, "of memory")}
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return {"no_space": error.strerror}
    if error.errno == errno.EFBIG:
        return {"failed": _over(limits.file_bytes, "in one file")}
    return None


def _over(limit_bytes: int, what: str) -> dict[str, str]:
    return {
        "code": ErrorCode.LIMIT,
        "why": f"it needed more than {limit_bytes >> 20} MiB {what}",
        "hint": "",
        "private": "",
    }


def _verdict(running: _Running, status: int, usage: resource.struct_rusage) -> dict[str, Any]:
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "killed_for": running.killed_for,
        "peak_resident_bytes": usage.ru_maxrss * unit,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


def _tell(verdict: int, message: Mapping[str, Any]) -> None:
    with suppress(OSError):  # nobody may be waiting any more
        _write_all(verdict, _frame(message))


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _places(order: _Order) -> dict[int, int]:
    """Where each of the job's descriptors has to go."""
    source, *others = order.sources
    return {
        **dict(zip(_OUTPUT_DESCRIPTORS, order.outputs, strict=False)),
        _SOURCE_DESCRIPTOR: source,
        _ANSWER_DESCRIPTOR: order.answer,
        **dict(enumerate(others, FIRST_OTHER_DESCRIPTOR)),
    }


def _keep_only(places: Mapping[int, int]) -> None:
    """Move descriptors to their places and close every other but the standard three, which are /dev/null unless moved.

    A program inherits all but the answer, which is for what goes wrong before it starts.
    """
    top = max(places)
    # Each may sit where another has to go, so all are copied out of the way first.
    high = {place: fcntl.fcntl(descriptor, fcntl.F_DUPFD, top + 1) for place, descriptor in places.items()}
    for place, descriptor in high.items():
        os.dup2(descriptor, place, inheritable=place != _ANSWER_DESCRIPTOR)
    kept = sorted({0, 1, 2, *places})
    for below, above in pairwise([*kept, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]):
        os.closerange(below + 1, above)


def _kill_group(pid: int) -> None:
    # The child is its own group once setsid has run; before that only its pid is sure.
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _collect_ended() -> tuple[int, int, resource.struct_rusage]:
    """One child that has ended: pid, status, usage; pid 0 while all of them live."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return os.wait4(-1, os.WNOHANG)
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return os.wait4(-1, os.WNOHANG)
    # Not collected yet, so its pid is still its own: whatever it may have started is in its group.
    _kill_group(ended.si_pid)
    return os.wait4(ended.si_pid, 0)


def _open_stat(pid: int) -> int | None:
    try:
        return os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc on this system
        return None


def _usage(stat: int | None) -> tuple[int, int]:
    """Resident bytes and threads of a child; zeros when it has ended or can't be watched."""
    if stat is None:
        return 0, 0
    try:
        fields = os.pread(stat, 1024, 0).rpartition(b")")[2].split()
        return int(fields[_STAT_RESIDENT_PAGES]) * _PAGE_BYTES, int(fields[_STAT_THREADS])
    except (OSError, IndexError):
        return 0, 0


def _folder_bytes(folder: Path) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0
    return total


def _unlinked_bytes(running: _Running) -> int:
    """What files take that are in the folder no more and still open, or mapped; those are counted as large as can be.

    A mapping tells neither its file's size nor that it is the last to hold it.
    """
    sizes: dict[int, int] = {}
    gone = b" (deleted)\n"
    with suppress(OSError):  # it has ended, or there is no /proc
        with open(f"/proc/{running.pid}/maps", "rb") as maps:  # noqa: PTH123 - read every time; a Path costs more
            for line in maps:
                if line.endswith(gone) and os.fsencode(running.scratch) in line:
                    sizes[int(line.split(maxsplit=5)[4])] = running.limits.file_bytes
        with os.scandir(f"/proc/{running.pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    facts = entry.stat()
                    if facts.st_nlink == 0 and stat.S_ISREG(facts.st_mode):
                        sizes[facts.st_ino] = facts.st_size
    return sum(sizes.values())


def _process_handle(pid: int) -> int | None:
    """A descriptor that becomes readable when the owner dies; None where only the socket's end tells."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    return handle


def _ignore_but_wake(_signal: int, _frame: FrameType | None) -> None:
    """The wake-up pipe does the work; without a handler Python would not write to it."""


def _probe_confinement() -> Confinement:
    """Shut a throwaway child in and hear from it which walls stood.

    Where somebody kills who asks for namespaces, instead of refusing them, another child does without.
    """
    answer = _answer_of_a_throwaway(leave_network=True) or _answer_of_a_throwaway(leave_network=False)
    return Confinement(**json.loads(answer))


def _answer_of_a_throwaway(*, leave_network: bool) -> bytes:
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            walls = confine(JobLimits(), Path("/"), parent, leave_network=leave_network)
            os.write(write_end, json.dumps(asdict(walls)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return answer


def _no_job(_request: Mapping[str, Any], _source: int) -> Mapping[str, Any]:
    raise LookupError


def _load(entry_point: str | None) -> Job:
    """The job's function, and with it everything that it will ever import: a child can't open a file of code."""
    try:
        raise RuntimeError
    except RuntimeError:
        traceback.format_exc()  # formatting a trace imports modules of its own
    if entry_point is None:
        return _no_job
    module, _, name = entry_point.partition(":")
    job: Job = getattr(importlib.import_module(module), name)
    return job


def main(arguments: list[str]) -> int:
    """Import the parser, say so, and serve."""
    descriptor, owner_pid, *entry_points = arguments
    control = socket.socket(fileno=int(descriptor))
    control.set_inheritable(False)
    try:
        job = _load(entry_points[0] if entry_points else None)
        prepare()
        walls = _probe_confinement()
    except Exception:  # noqa: BLE001 - the outer edge of this process: the owner is told, whatever it was
        send_frame(control, {"failed": traceback.format_exc()})
        return 1
    # What is alive now is never looked at by the collector again: its pages stay shared with every child.
    gc.collect()
    gc.freeze()
    send_frame(control, {"ready": asdict(walls)})
    Zygote(control, int(owner_pid), job, walls, SystemClock()).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
