"""Which files a program needs to start: its loader and its libraries, as its ELF header and its loader name them.

For programs that a person trusts, and that are to run where nothing of the file system is left: what is not found out
here beforehand can't be opened later.
"""

from __future__ import annotations

import functools
import re
import struct
from pathlib import Path
from typing import BinaryIO, Final

from contentplatform.drivers import process
from contentplatform.drivers.confinement import ProgramFiles
from contentplatform.errors import ConfigurationInvalid

_LIST_SECONDS: Final = 20.0
_ELF_64_LITTLE: Final = b"\x7fELF\x02\x01"
_HEADER: Final = struct.Struct("<32xQ14xHH")  # where the program headers begin, how long one is, how many there are
_PROGRAM_HEADER: Final = struct.Struct("<I4xQ16xQ")  # type, offset, size in the file
_INTERPRETER: Final = 3
_MOST_HEADERS: Final = 200
_LONGEST_PATH: Final = 4096
_LIBRARY: Final = re.compile(r"([^\s:/]+\.so[^\s:]*):")
"""As in "error while loading shared libraries: libm.so.6: cannot open …"."""
_ENVIRONMENT: Final = {"LANG": "C.UTF-8"}


def files_of(program: Path, *, doing: str) -> ProgramFiles:
    """What ``program`` needs to start. Found out once for each state of the file.

    Raises:
        ConfigurationInvalid: it is not there, is no program, or a library of it is missing.
    """
    path = program.absolute()
    try:
        facts = path.stat()
        return _found(path, facts.st_mtime_ns, facts.st_size, doing)
    except OSError as error:
        raise ConfigurationInvalid(
            doing,
            f"{program.name} can't be read ({error.strerror})",
            hint="Install the platform's packages again",
            private=str(error),
        ) from error


@functools.lru_cache(maxsize=16)
def _found(path: Path, _modified_ns: int, _size_bytes: int, doing: str) -> ProgramFiles:
    with path.open("rb") as stream:
        loader = _loader(stream)
    if loader is None:
        return ProgramFiles(path)
    listed = process.run(
        [str(loader), "--list", str(path)], doing=doing, timeout_seconds=_LIST_SECONDS, environment=_ENVIRONMENT
    )
    if not listed.succeeded:
        missing = _LIBRARY.search(listed.last_words())
        lacks = f"lacks {missing[1]}" if missing else "can't be loaded"
        raise ConfigurationInvalid(
            doing,
            f"{path.name} {lacks} on this machine",
            hint="Install what it needs, or the platform's packages again",
            private=listed.last_words(),
        )
    # "libm.so.6 => /lib/libm.so.6 (0x…)", or only the path; what is no path is in the kernel.
    words = [word for line in listed.output.splitlines() for word in line.split()]
    libraries = dict.fromkeys(Path(word) for word in words if word.startswith("/") and Path(word) != loader)
    return ProgramFiles(path, loader, tuple(libraries))


def _loader(stream: BinaryIO) -> Path | None:
    """The interpreter that the ELF header asks for; None where there is none, or this is another sort of program."""
    head = stream.read(64)
    if len(head) < _HEADER.size or not head.startswith(_ELF_64_LITTLE):
        return None
    begin, length, count = _HEADER.unpack_from(head)
    for number in range(min(count, _MOST_HEADERS)):
        stream.seek(begin + number * length)
        header = stream.read(_PROGRAM_HEADER.size)
        if len(header) < _PROGRAM_HEADER.size:
            return None
        kind, offset, size = _PROGRAM_HEADER.unpack(header)
        if kind == _INTERPRETER:
            stream.seek(offset)
            return Path(stream.read(min(size, _LONGEST_PATH)).rstrip(b"\0").decode())
    return None
