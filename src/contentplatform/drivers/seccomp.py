"""The system calls that a job may not make, as data, and the kernel filter made of them (Linux, x86-64 and arm64).

Everything a decoder has no business with is refused with EPERM: the network, programs and processes, other processes'
memory and fate, kernel interfaces that exploits reach for, links and folders in the scratch folder. What this table has
never heard of is refused with ENOSYS, so that a new kernel opens no new door. Threads may be started, processes not.

A process that is to become a trusted program must be let through one call more, ``execve``; which files that can start
is for Landlock to say.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass
from functools import cache
from typing import Final

# Classic BPF: <linux/filter.h>, <linux/seccomp.h>, <linux/audit.h>.
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER_EQUAL: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_KILL_PROCESS: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_UNKNOWN: Final = 0x00050000 | errno.ENOSYS
_NO_TERMINAL: Final = 0x00050000 | errno.ENOTTY

# Offsets in struct seccomp_data; both machines are little-endian, so an argument's low word comes first.
_CALL_NUMBER: Final = 0
_ARCHITECTURE: Final = 4


def _argument_low(index: int) -> int:
    return 16 + 8 * index


def _argument_high(index: int) -> int:
    return _argument_low(index) + 4


_CLONE_THREAD: Final = 0x00010000
_X32_CALLS: Final = 0x40000000
_FIRST_UNKNOWN_CALL: Final = 463
"""One past mseal: numbers from 424 on are the same on every machine."""
_PR_SET_NAME: Final = 15
_PR_GET_NAME: Final = 16


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between processors: the audit name of the architecture and the column of the table."""

    audit_architecture: int
    column: int
    has_x32: bool


MACHINES: Final = {
    "x86_64": Machine(0xC000003E, 0, has_x32=True),
    "aarch64": Machine(0xC00000B7, 1, has_x32=False),
    "arm64": Machine(0xC00000B7, 1, has_x32=False),
}

# name: (number on x86-64, number on arm64); None where the machine has no such call.
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # the network, and every other way of talking to a process outside
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "accept": (43, 202),
    "accept4": (288, 242),
    "bind": (49, 200),
    "listen": (50, 201),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # programs, processes, and leaving the group that is killed together
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "unshare": (272, 97),
    "setns": (308, 268),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "get_robust_list": (274, 100),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # identity, rights and limits
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
    "personality": (135, 92),
    "setrlimit": (160, 164),
    "seccomp": (317, 277),
    # the file system's shape; a job only writes plain files
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "fallocate": (285, 47),  # past the limit of a file's size, where it leaves the size as it is
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "splice": (275, 76),
    "tee": (276, 77),
    "vmsplice": (278, 75),
    "remap_file_pages": (216, 234),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "lookup_dcookie": (212, 18),
}

EXECUTE: Final = "execve"
"""The one call of the table that a process may need, to become the program that it was started for."""

_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_KILL: Final = (62, 129)
_TGKILL: Final = (234, 131)
_PRCTL: Final = (157, 167)
_PRLIMIT: Final = (302, 261)
_FCNTL: Final = (72, 25)
_IOCTL: Final = (16, 29)

_FCNTL_REFUSED: Final = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: a pipe would send any signal to any process. F_SETLEASE, F_NOTIFY: others wait."""
_IOCTL_ALLOWED: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS and TIOCGWINSZ, which ask whether it is a terminal; FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""


def this_machine() -> Machine | None:
    """The machine we run on, or None where there is no table for it."""
    return MACHINES.get(platform.machine()) if platform.system() == "Linux" else None


def build_filter(machine: Machine, own_pid: int, *, may_execute: bool = False, may_use_devices: bool = False) -> bytes:
    """The filter for a process ``own_pid``, which may signal itself (that is how ``abort`` ends) and nobody else."""
    ours = [
        *_only_when(_KILL[machine.column], _argument_low(0), _JUMP_EQUAL, own_pid),
        *_only_when(_TGKILL[machine.column], _argument_low(0), _JUMP_EQUAL, own_pid),
    ]
    before, after = _alike_for_all(machine, may_execute=may_execute, may_use_devices=may_use_devices)
    return before + b"".join(ours) + after


@cache
def _alike_for_all(machine: Machine, *, may_execute: bool, may_use_devices: bool) -> tuple[bytes, bytes]:
    """What comes before and after the instructions that know the process; no jump leads from one into the other."""
    column = machine.column
    before = [
        _instruction(_LOAD_WORD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, machine.audit_architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD_WORD, _CALL_NUMBER),
    ]
    if machine.has_x32:
        before += _answer_if(_JUMP_GREATER_EQUAL, _X32_CALLS, _KILL_PROCESS)
    before += _answer_if(_JUMP_GREATER_EQUAL, _FIRST_UNKNOWN_CALL, _UNKNOWN)
    # With clone3 the flags are out of a filter's sight; libc falls back to clone when it is missing.
    before += _answer_if(_JUMP_EQUAL, _CLONE3[column], _UNKNOWN)
    for name, numbers in REFUSED.items():
        number = numbers[column]
        if number is not None and not (may_execute and name == EXECUTE):
            before += _answer_if(_JUMP_EQUAL, number, _REFUSE)
    before += _only_when(_CLONE[column], _argument_low(0), _JUMP_ANY_BIT, _CLONE_THREAD)
    after = _only_when(_PRCTL[column], _argument_low(0), _JUMP_EQUAL, _PR_SET_NAME, _PR_GET_NAME)
    after += _reading_limits_only(_PRLIMIT[column])
    after += _unless(_FCNTL[column], _argument_low(1), _FCNTL_REFUSED, _REFUSE)
    if not may_use_devices:
        after += _only_when(_IOCTL[column], _argument_low(1), _JUMP_EQUAL, *_IOCTL_ALLOWED, otherwise=_NO_TERMINAL)
    after.append(_instruction(_RETURN, _ALLOW))
    return b"".join(before), b"".join(after)


def _instruction(code: int, operand: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, operand)


def _answer_if(test: int, operand: int, answer: int) -> list[bytes]:
    return [_instruction(test, operand, 0, 1), _instruction(_RETURN, answer)]


def _only_when(call: int, argument: int, test: int, *operands: int, otherwise: int = _REFUSE) -> list[bytes]:
    """Allow ``call`` when ``argument`` passes ``test`` against one of ``operands``, refuse it otherwise."""
    body = [_instruction(_LOAD_WORD, argument)]
    for operand in operands:
        body += _answer_if(test, operand, _ALLOW)
    body.append(_instruction(_RETURN, otherwise))
    return [_instruction(_JUMP_EQUAL, call, 0, len(body)), *body]


def _unless(call: int, argument: int, refused: tuple[int, ...], answer: int) -> list[bytes]:
    """Allow ``call`` but for some values of ``argument``."""
    body = [_instruction(_LOAD_WORD, argument)]
    for value in refused:
        body += _answer_if(_JUMP_EQUAL, value, answer)
    body.append(_instruction(_RETURN, _ALLOW))
    return [_instruction(_JUMP_EQUAL, call, 0, len(body)), *body]


def _reading_limits_only(call: int) -> list[bytes]:
    """``prlimit`` reads limits when its third argument, the new limit's address, is null."""
    body = [
        _instruction(_LOAD_WORD, _argument_low(2)),
        _instruction(_JUMP_EQUAL, 0, 0, 3),
        _instruction(_LOAD_WORD, _argument_high(2)),
        _instruction(_JUMP_EQUAL, 0, 0, 1),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _REFUSE),
    ]
    return [_instruction(_JUMP_EQUAL, call, 0, len(body)), *body]
