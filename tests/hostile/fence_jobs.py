"""Attacks from inside a sandboxed job, as code that took a parser over would try them; imported by its zygote only.

Each answers with the number of the error that it met, zero where it got through.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_F_SETSIG, _F_SETLEASE = 10, 1024


def job(request: Mapping[str, Any], _source: int) -> Mapping[str, Any]:
    """Try what ``request["attack"]`` names with ``request["target"]``."""
    try:
        got = _ATTACKS[request["attack"]](request["target"])
    except OSError as error:
        return {"error": error.errno}
    return {"error": 0, "got": repr(got)[:200]}


def _read(path: str) -> object:
    return Path(path).read_bytes()


def _list(path: str) -> object:
    return os.listdir(path)  # noqa: PTH208 - as an attacker would


def _write(path: str) -> object:
    return Path(path).write_bytes(b"was here")


def _make(path: str) -> None:
    os.mkdir(path)  # noqa: PTH102 - as above


def _remove(path: str) -> None:
    Path(path).unlink()


def _link(path: str) -> None:
    os.symlink(path, "link")  # noqa: PTH211 - as above


def _link_hard(path: str) -> None:
    os.link(path, "hard")


def _move_in(path: str) -> None:
    os.rename(path, "moved")  # noqa: PTH104 - as above


def _change_mode(path: str) -> None:
    Path(path).chmod(0o777)


def _connect(target: str) -> None:
    host, _, port = target.rpartition(":")
    with socket.socket() as caller:
        caller.settimeout(1)
        caller.connect((host, int(port)))


def _connect_to_a_path(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)


def _fork(_target: str) -> object:
    if os.fork() == 0:
        os._exit(0)
    return "a child"


def _bomb(_target: str) -> object:
    """As many processes as it can get; the last error tells how it went."""
    for _ in range(2_000):
        _fork("")
    return "two thousand children"


def _execute(path: str) -> object:
    return os.execv(path, [path])


def _signal(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def _signal_by_a_pipe(pid: str) -> object:
    """The kernel sends what signal it is told to whom it is told, once the pipe has something to read."""
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, int(pid))
    fcntl.fcntl(read, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(read, fcntl.F_SETFL, fcntl.fcntl(read, fcntl.F_GETFL) | os.O_ASYNC)
    return os.write(write, b"x")


def _attach(pid: str) -> object:
    return _call(_libc.ptrace, 16, int(pid), None, None)


def _read_memory(pid: str) -> object:
    return Path(f"/proc/{pid}/mem").open("rb").read(1)


def _slow_down(pid: str) -> None:
    os.setpriority(os.PRIO_PROCESS, int(pid), 19)


def _write_the_source(_target: str) -> object:
    return os.write(3, b"was here")


def _reopen_the_source(_target: str) -> object:
    return os.open("/proc/self/fd/3", os.O_RDWR)


def _date_the_source(_target: str) -> None:
    os.utime(3, (1, 1))


def _open_the_source_s_mode(_target: str) -> None:
    os.fchmod(3, 0o777)


def _hold_the_source(_target: str) -> object:
    return fcntl.fcntl(3, _F_SETLEASE, fcntl.F_WRLCK)


def _flag_the_source(_target: str) -> object:
    return fcntl.ioctl(3, 0x40086602, struct.pack("l", 0x40))


def _allocate(size_bytes: str) -> object:
    """Blocks beyond the file's end count for no limit of its size."""
    descriptor = os.open("hog", os.O_RDWR | os.O_CREAT)
    return _call(_libc.fallocate, descriptor, 1, ctypes.c_long(0), ctypes.c_long(int(size_bytes)))


def _call(function: Callable[..., int], *arguments: object) -> int:
    ctypes.set_errno(0)
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return 0


_ATTACKS: Mapping[str, Callable[[str], object]] = {
    "read": _read,
    "list": _list,
    "write": _write,
    "make a folder": _make,
    "remove": _remove,
    "link": _link,
    "link hard": _link_hard,
    "move in": _move_in,
    "change mode": _change_mode,
    "connect": _connect,
    "connect to a path": _connect_to_a_path,
    "fork": _fork,
    "bomb": _bomb,
    "execute": _execute,
    "signal": _signal,
    "signal by a pipe": _signal_by_a_pipe,
    "attach": _attach,
    "read memory": _read_memory,
    "slow down": _slow_down,
    "write the source": _write_the_source,
    "reopen the source": _reopen_the_source,
    "date the source": _date_the_source,
    "open the source's mode": _open_the_source_s_mode,
    "hold the source": _hold_the_source,
    "flag the source": _flag_the_source,
    "allocate": _allocate,
}
