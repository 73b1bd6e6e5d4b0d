"""What a job's process gives up before it reads its first untrusted byte, and how much of that this machine can do.

In order: its own session, the network (by namespaces, where the kernel lets anybody make them), death with its parent,
limits of the kernel, all rights, every file but its scratch folder (Landlock), and the system calls of
``seccomp.REFUSED``. None of it can be taken back by the process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contentplatform.drivers import seccomp


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may use. Over a limit it is killed, whatever it is doing."""

    wall_seconds: float = 300.0
    cpu_seconds: int = 300
    resident_bytes: int = 2 << 30
    address_space_bytes: int = 16 << 30
    """A wide outer fence against runaway reservations; resident memory is what is watched."""
    file_bytes: int = 4 << 30
    """Largest single file it may write."""
    scratch_bytes: int = 4 << 30
    """All files in its scratch folder together."""
    open_files: int = 64
    threads: int = 32
    answer_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Confinement:
    """Which of the walls stand on this machine."""

    system_calls_filtered: bool
    files_hidden: bool
    dies_with_parent: bool
    memory_watched: bool
    network_absent: bool = False
    """A second wall behind the filter: there is no network interface in the job's namespace. Many kernels have no such
    thing for ordinary users; only a machine that lacks both has a gap."""

    def gaps(self) -> tuple[str, ...]:
        """What is missing, a sentence each, for the operator; empty on a kernel that can do everything."""
        reach = "make any system call" if self.network_absent else "reach the network"
        sentences = {
            "system_calls_filtered": f"jobs can {reach}: this kernel refuses seccomp filters",
            "files_hidden": "jobs can read the service user's files: this kernel has no Landlock",
            "dies_with_parent": "a job may outlive a killed service until its time limit",
            "memory_watched": "jobs' memory is not limited: there is no /proc to watch it by",
        }
        return tuple(sentence for name, sentence in sentences.items() if not getattr(self, name))


@dataclass(frozen=True, slots=True)
class ProgramFiles:
    """What has to be open to a process that is to become a program."""

    program: Path
    loader: Path | None = None
    """What the kernel starts first; None where the program is linked statically."""
    libraries: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()


_OUT_OF_MEMORY_SCORE: Final = b"900"
_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
_NEW_IPC: Final = 0x08000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

# <linux/landlock.h>; the numbers of its calls are the same on every machine.
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_VERSION_FLAG: Final = 1
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_LANDLOCK_RIGHTS_BY_VERSION: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_LANDLOCK_SCRATCH_RIGHTS: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8  # write, read, list, unlink, make plain
_LANDLOCK_TRUNCATE: Final = 1 << 14
_LANDLOCK_EXECUTE: Final = 1 << 0
_LANDLOCK_READ: Final = 1 << 2
_LANDLOCK_NETWORK: Final = (4, 1 << 0 | 1 << 1)  # from this version on: bind, connect
_LANDLOCK_SCOPES: Final = (6, 1 << 0 | 1 << 1)  # from this version on: abstract sockets, signals
_LANDLOCK_DEVICE_RIGHTS: Final = 1 << 1 | 1 << 2 | 1 << 15  # write, read, talk to its driver

_IS_LINUX: Final = platform.system() == "Linux"
_libc: Final = ctypes.CDLL(None, use_errno=True)
_WORD: Final = ctypes.c_ulong
if _IS_LINUX:
    _libc.prctl.argtypes = (ctypes.c_int, _WORD, _WORD, _WORD, _WORD)
    _libc.syscall.restype = ctypes.c_long
_machine: Final = seccomp.this_machine()


def confine(
    limits: JobLimits,
    scratch: Path,
    parent_pid: int,
    *,
    program: ProgramFiles | None = None,
    leave_network: bool = True,
) -> Confinement:
    """Shut the calling process in. Only ever called in a fresh child; there is no way back.

    A process that is to become a program keeps the way to the program's own files, and to nothing else.
    ``leave_network`` asks for namespaces; where a throwaway child got none, a job must not try.

    Raises:
        SystemExit: the parent died before we could ask to die with it.
    """
    os.umask(0o077)
    os.chdir(scratch)
    network_absent = leave_network and _leave_network()
    dies_with_parent = _die_with(parent_pid)
    _offer_to_the_kernel()
    _set_limits(limits)
    if not _IS_LINUX:
        return Confinement(
            system_calls_filtered=False, files_hidden=False, dies_with_parent=False, memory_watched=False
        )
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities()
    return Confinement(
        files_hidden=_hide_files_except(scratch, program),
        system_calls_filtered=_filter_system_calls(program),
        dies_with_parent=dies_with_parent,
        memory_watched=True,
        network_absent=network_absent,
    )


def prepare() -> None:
    """Work out once, in the process that forks the jobs, what is the same in all of them."""
    if _machine is not None:
        seccomp.build_filter(_machine, 0)


def hide_own_process() -> None:
    """Keep other processes of this user from reading the calling one's memory and environment, where secrets may be.

    For the owner of jobs on a kernel without Landlock, where ``/proc`` is open to them. It costs core dumps, and
    debuggers that would attach.
    """
    if _IS_LINUX:
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _die_with(parent_pid: int) -> bool:
    asked = _IS_LINUX and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    if os.getppid() != parent_pid:  # it died before we asked
        raise SystemExit(1)
    return asked


def _leave_network() -> bool:
    """Go where there is no network and no memory shared with others: namespaces of its own, as the user that it is."""
    user, group = os.getuid(), os.getgid()
    if not _IS_LINUX or _libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC) != 0:
        return False
    try:
        # Without an entry for its user it could make no file. Groups have to be given up first.
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            _write(f"/proc/self/{name}", content.encode())
    except OSError:
        return False
    return True


def _offer_to_the_kernel() -> None:
    """When the machine's memory is used up, this process is the one to kill, not the service."""
    with suppress(OSError):  # there is no /proc on macOS
        _write("/proc/self/oom_score_adj", _OUT_OF_MEMORY_SCORE)


def _write(path: str, content: bytes) -> None:
    """Write a file of the kernel's. Python's own streams would cost a fresh child a millisecond of page faults."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _set_limits(limits: JobLimits) -> None:
    for which, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        # At the soft limit SIGXCPU tells that it was the processor time; SIGKILL follows for who ignores it.
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (resource.RLIMIT_AS, limits.address_space_bytes, limits.address_space_bytes),
    ):
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)  # noqa: PLW2901 - no limit is ever raised
        try:
            resource.setrlimit(which, (soft, hard))
        except ValueError:
            if _IS_LINUX:  # macOS has no limit of address space
                raise


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _libc.capset(header, bytes(24))


def _hide_files_except(scratch: Path, program: ProgramFiles | None) -> bool:
    """Landlock: nothing of the file system is left but plain files in ``scratch``, and what is named."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)
    if version < 1:
        return False
    handled = max(rights for since, rights in _LANDLOCK_RIGHTS_BY_VERSION.items() if since <= version)
    # Rights to the network and to signal others are asked for to be had by nobody: no rule gives them back.
    more = [rights for since, rights in (_LANDLOCK_NETWORK, _LANDLOCK_SCOPES) if since <= version]
    attributes = struct.pack(f"={1 + len(more)}Q", handled, *more)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    allowed = {scratch: _LANDLOCK_SCRATCH_RIGHTS | _LANDLOCK_TRUNCATE}
    if program is not None:
        allowed.update(dict.fromkeys(program.libraries, _LANDLOCK_READ))
        allowed.update(dict.fromkeys(program.devices, _LANDLOCK_DEVICE_RIGHTS))
        started = [program.program] if program.loader is None else [program.program, program.loader]
        allowed.update(dict.fromkeys(started, _LANDLOCK_EXECUTE | _LANDLOCK_READ))
    # All of it or nothing: with a rule missing, the job would fail for reasons that nobody understands.
    added = all(_allow(ruleset, path, rights & handled) for path, rights in allowed.items())
    restricted = added and bool(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    os.close(ruleset)
    return restricted


def _allow(ruleset: int, path: Path, rights: int) -> bool:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, place)
    added = _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    os.close(place)
    return bool(added == 0)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_system_calls(becomes: ProgramFiles | None) -> bool:
    if _machine is None:
        return False
    instructions = seccomp.build_filter(
        _machine,
        os.getpid(),
        may_execute=becomes is not None,
        may_use_devices=becomes is not None and bool(becomes.devices),
    )
    program = _FilterProgram(len(instructions) // 8, instructions)
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0) == 0)
