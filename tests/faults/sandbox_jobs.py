"""Jobs that misbehave, for tests of the sandbox; imported by its zygote only, by dotted name."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed

Request = Mapping[str, Any]
_ANSWER = 4
_libc = ctypes.CDLL(None, use_errno=True)


def job(request: Request, source: int) -> Mapping[str, Any]:
    """Do what ``request["do"]`` names."""
    return _JOBS[request["do"]](request, source)


def _read(_request: Request, source: int) -> Mapping[str, Any]:
    return {"text": os.read(source, 100).decode()}


def _system_calls(request: Request, _source: int) -> Mapping[str, Any]:
    """The error number of each call, all of its arguments null."""
    answers = {}
    for name, number in request["calls"].items():
        ctypes.set_errno(0)
        answers[name] = 0 if _libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0 else ctypes.get_errno()
    return answers


def _open_socket(_request: Request, _source: int) -> Mapping[str, Any]:
    with socket.socket() as opened:
        return {"descriptor": opened.fileno()}


def _fork(_request: Request, _source: int) -> Mapping[str, Any]:
    os.fork()
    return {}


def _execute(_request: Request, _source: int) -> Mapping[str, Any]:
    os.execv("/bin/true", ["true"])


def _open_path(request: Request, _source: int) -> Mapping[str, Any]:
    with Path(request["path"]).open(request.get("mode", "rb")) as stream:
        return {"open": stream.name}


def _list_folder(request: Request, _source: int) -> Mapping[str, Any]:
    return {"names": [path.name for path in Path(request["path"]).iterdir()]}


def _signal_parent(_request: Request, _source: int) -> Mapping[str, Any]:
    os.kill(os.getppid(), signal.SIGTERM)
    return {}


def _survive_the_parent(_request: Request, _source: int) -> Mapping[str, Any]:
    if _libc.prctl(1, 0, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG, none
        raise OSError(ctypes.get_errno(), "refused")
    return {}


def _surroundings(_request: Request, _source: int) -> Mapping[str, Any]:
    """What the child was born with."""
    descriptors = []
    for descriptor in range(256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        descriptors.append(descriptor)
    header, data = struct.pack("=Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    _libc.capget(header, data)
    mask = os.umask(0o077)
    return {
        "descriptors": descriptors,
        "environment": sorted(os.environ),
        "capabilities": any(data.raw[offset] for offset in (0, 1, 2, 3, 12, 13, 14, 15)),
        "is_group_leader": os.getpgid(0) == os.getpid(),
        "umask": mask,
    }


def _start_thread(_request: Request, _source: int) -> Mapping[str, Any]:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(1))
    thread.start()
    thread.join()
    return {"threads": len(answers)}


def _start_threads(_request: Request, _source: int) -> Mapping[str, Any]:
    never = threading.Event()
    for _ in range(1_000):
        threading.Thread(target=never.wait, daemon=True).start()
    never.wait()
    return {}


def _spin(_request: Request, _source: int) -> Mapping[str, Any]:
    while True:
        pass


def _wait_for_ever(_request: Request, _source: int) -> Mapping[str, Any]:
    """Say who we are through the pipe that the test put into the scratch folder, and hold its end till death."""
    with Path("alive").open("w", buffering=1, encoding="ascii") as alive:
        alive.write(f"{os.getpid()} {os.getppid()}\n")
        threading.Event().wait()
    return {}


def _eat_memory(_request: Request, _source: int) -> Mapping[str, Any]:
    eaten = []
    while True:
        eaten.append(bytes(bytearray(b"x") * (1 << 20)))


def _reserve_memory(_request: Request, _source: int) -> Mapping[str, Any]:
    return {"size": len(bytearray(1 << 46))}


def _write_file(request: Request, _source: int) -> Mapping[str, Any]:
    with Path("large").open("wb") as stream:
        stream.writelines(bytes(1 << 20) for _ in range(request["mebibytes"]))
    return {}


def _write_files(_request: Request, _source: int) -> Mapping[str, Any]:
    number = 0
    while True:
        Path(f"part-{number}").write_bytes(bytes(1 << 16))
        number += 1


def _segfault(_request: Request, _source: int) -> Mapping[str, Any]:
    Path("half-written").write_bytes(b"half")
    ctypes.string_at(0)
    return {}


def _abort(_request: Request, _source: int) -> Mapping[str, Any]:
    os.abort()


def _leave_silently(_request: Request, _source: int) -> Mapping[str, Any]:
    os._exit(0)


def _answer_raw(request: Request, _source: int) -> Mapping[str, Any]:
    content = request["content"].encode() * request.get("times", 1)
    size = request.get("size", len(content))
    os.write(_ANSWER, struct.pack("!I", size))
    while content:
        content = content[os.write(_ANSWER, content) :]
    os._exit(0)


def _call_through_x32(_request: Request, _source: int) -> Mapping[str, Any]:
    return {"answer": _libc.syscall(0x40000000 | 41, 2, 1, 0)}


def _fail(request: Request, _source: int) -> Mapping[str, Any]:
    raise ProcessingFailed("anything", request["why"], code=ErrorCode.DECODE, private="the decoder's words")


def _run_out_of_space(_request: Request, _source: int) -> Mapping[str, Any]:
    raise NoSpace("anything", "full")


def _meet_a_full_disk(request: Request, _source: int) -> Mapping[str, Any]:
    raise OSError(request["number"], os.strerror(request["number"]))


def _be_wrong(_request: Request, _source: int) -> Mapping[str, Any]:
    raise ValueError("a secret detail")


_JOBS: dict[str, Callable[[Request, int], Mapping[str, Any]]] = {
    "read": _read,
    "system calls": _system_calls,
    "open a socket": _open_socket,
    "fork": _fork,
    "execute": _execute,
    "open": _open_path,
    "list": _list_folder,
    "signal the parent": _signal_parent,
    "survive the parent": _survive_the_parent,
    "surroundings": _surroundings,
    "start a thread": _start_thread,
    "start threads": _start_threads,
    "spin": _spin,
    "wait for ever": _wait_for_ever,
    "eat memory": _eat_memory,
    "reserve memory": _reserve_memory,
    "write a file": _write_file,
    "write files": _write_files,
    "segfault": _segfault,
    "abort": _abort,
    "leave silently": _leave_silently,
    "answer raw": _answer_raw,
    "call through x32": _call_through_x32,
    "fail": _fail,
    "run out of space": _run_out_of_space,
    "meet a full disk": _meet_a_full_disk,
    "be wrong": _be_wrong,
}
