"""The system call filter, run instruction by instruction on calls that were never made, for both machines."""

from __future__ import annotations

import errno
import struct

import pytest

from contentplatform.drivers import seccomp
from contentplatform.drivers.seccomp import MACHINES, REFUSED, build_filter

KILL, ALLOW = 0x80000000, 0x7FFF0000
REFUSE, UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
NO_TERMINAL = 0x00050000 | errno.ENOTTY
OWN_PID = 4_711

# Calls that every decoder makes: read, write, mmap, munmap, futex, exit_group, openat, getrandom, clock_gettime.
ORDINARY = {"x86_64": (0, 1, 9, 11, 202, 231, 257, 318, 228), "aarch64": (63, 64, 222, 215, 98, 94, 56, 278, 113)}
NUMBERS = {
    "x86_64": {"clone": 56, "kill": 62, "tgkill": 234, "prctl": 157, "prlimit64": 302, "fcntl": 72, "ioctl": 16},
    "aarch64": {"clone": 220, "kill": 129, "tgkill": 131, "prctl": 167, "prlimit64": 261, "fcntl": 25, "ioctl": 29},
}


def verdict(machine_name: str, call: int, *arguments: int, architecture: int | None = None, **may: bool) -> int:
    """What the kernel would answer: a classic BPF machine in twenty lines."""
    machine = MACHINES[machine_name]
    program = build_filter(machine, OWN_PID, **may)
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    audit = machine.audit_architecture if architecture is None else architecture
    data = struct.pack("<IIQ6Q", call & 0xFFFFFFFF, audit, 0, *(value & 2**64 - 1 for value in padded))
    place, accumulator = 0, 0
    while True:
        code, jump_true, jump_false, operand = struct.unpack_from("=HBBI", program, place * 8)
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x06:
            return int(operand)
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: accumulator & operand != 0}
            place += jump_true if holds[code] else jump_false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_the_table_names_is_refused(machine: str) -> None:
    column = MACHINES[machine].column
    numbers = [pair[column] for pair in REFUSED.values()]
    assert {verdict(machine, number) for number in numbers if number is not None} == {REFUSE}


def test_what_a_decoder_needs_is_allowed(machine: str) -> None:
    assert {verdict(machine, number) for number in ORDINARY[machine]} == {ALLOW}


def test_another_architecture_is_killed(machine: str) -> None:
    other = MACHINES["aarch64" if machine == "x86_64" else "x86_64"].audit_architecture
    assert verdict(machine, ORDINARY[machine][0], architecture=other) == KILL
    assert verdict(machine, ORDINARY[machine][0], architecture=0x40000003) == KILL, "32-bit calls on x86"


def test_x32_is_killed_and_new_calls_are_unknown(machine: str) -> None:
    assert verdict("x86_64", 0x40000000) == KILL
    assert verdict(machine, 463) == UNKNOWN
    assert verdict(machine, 0xFFFFFFFF if machine == "aarch64" else 9_999) == UNKNOWN
    assert verdict(machine, 435) == UNKNOWN, "clone3"


def test_threads_may_be_cloned_and_processes_not(machine: str) -> None:
    clone = NUMBERS[machine]["clone"]
    assert verdict(machine, clone, 0x003D0F00) == ALLOW, "what a C library asks for a thread"
    assert verdict(machine, clone, 17) == REFUSE, "fork"
    assert verdict(machine, clone, 0x4111) == REFUSE, "vfork"


@pytest.mark.parametrize("call", ["kill", "tgkill"])
def test_a_process_signals_only_itself(machine: str, call: str) -> None:
    number = NUMBERS[machine][call]
    assert verdict(machine, number, OWN_PID) == ALLOW
    for other in (1, OWN_PID + 1, 0, -1, -OWN_PID):
        assert verdict(machine, number, other) == REFUSE


def test_a_process_may_name_its_threads_and_nothing_else_of_prctl(machine: str) -> None:
    prctl = NUMBERS[machine]["prctl"]
    assert verdict(machine, prctl, 15) == ALLOW
    assert {verdict(machine, prctl, option) for option in (1, 4, 8, 22, 24, 38)} == {REFUSE}


def test_limits_may_be_read_and_not_set(machine: str) -> None:
    prlimit = NUMBERS[machine]["prlimit64"]
    assert verdict(machine, prlimit, 0, 7, 0, 0x7F00_0000_1000) == ALLOW
    assert verdict(machine, prlimit, 0, 7, 0x1000, 0) == REFUSE
    assert verdict(machine, prlimit, 0, 7, 0x7F00_0000_0000, 0) == REFUSE, "a pointer whose low half is zero"


def test_no_pipe_becomes_a_way_to_signal_others(machine: str) -> None:
    """With an owner and a signal of its choice, a pipe that is written to kills the process that owns the service."""
    fcntl = NUMBERS[machine]["fcntl"]
    assert {verdict(machine, fcntl, 3, command) for command in (8, 10, 15)} == {REFUSE}
    assert {verdict(machine, fcntl, 3, command) for command in (1024, 1026)} == {REFUSE}, "nor a way to hold others up"
    assert {verdict(machine, fcntl, 3, command) for command in (0, 1, 2, 3, 4, 1030)} == {ALLOW}


def test_devices_are_talked_to_only_where_they_were_asked_for(machine: str) -> None:
    ioctl = NUMBERS[machine]["ioctl"]
    set_flags, is_terminal, draw = 0x40086602, 0x5401, 0xC0106403
    assert verdict(machine, ioctl, 3, is_terminal) == ALLOW
    assert {verdict(machine, ioctl, 3, request) for request in (set_flags, draw, 0x8901)} == {NO_TERMINAL}
    assert verdict(machine, ioctl, 3, draw, may_use_devices=True) == ALLOW


def test_a_program_may_be_started_where_one_is_wanted(machine: str) -> None:
    column = MACHINES[machine].column
    execve, execveat = REFUSED["execve"][column], REFUSED["execveat"][column]
    assert execve is not None
    assert execveat is not None
    assert verdict(machine, execve) == REFUSE
    assert verdict(machine, execve, may_execute=True) == ALLOW
    assert verdict(machine, execveat, may_execute=True) == REFUSE


def test_no_number_is_in_the_table_twice(machine: str) -> None:
    column = MACHINES[machine].column
    numbers = [pair[column] for pair in seccomp.REFUSED.values() if pair[column] is not None]
    numbers += NUMBERS[machine].values()
    assert len(numbers) == len(set(numbers))
