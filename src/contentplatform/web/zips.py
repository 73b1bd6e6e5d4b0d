"""Many files as one ZIP archive that is written while it is sent: nothing of it is ever whole in memory or on disk.

Files are stored as they are: media don't get smaller. Sizes and offsets beyond 4 GiB, and more than 65 535 files, are
written as ZIP64 has it, and only where they need to be: some readers know nothing of it. What has to wait for the end,
about a hundred bytes a file, waits in a temporary file once it is much.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from struct import pack
from tempfile import SpooledTemporaryFile
from typing import Final

from contentplatform.catalog.port import Record
from contentplatform.delivery.attachments import disposition
from contentplatform.errors import Archived, Corrupt, Denied, NotFound
from contentplatform.media import file_name
from contentplatform.storage.port import BucketRole, ObjectReader, ObjectStore
from contentplatform.web.access import check_quarantine
from contentplatform.web.closing import ClosingResponse

LEFT_OUT_NAME: Final = "NOT INCLUDED.txt"
"""What could not be put in, and why, stands in this file of the archive."""
_SEGMENT_LIMIT_BYTES: Final = 240
"""Of a name between two slashes; the limit of most file systems is 255, and a number may be added."""
_FORBIDDEN: Final = frozenset('<>:"|?*\\')
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10))}
)
_LARGE: Final = 0xFFFF_FFFF
_MANY: Final = 0xFFFF
_VERSION: Final = 20
_VERSION_64: Final = 45
_MADE_ON_UNIX: Final = 3 << 8
_FLAGS: Final = 1 << 3 | 1 << 11
"""Sizes come behind the bytes; names are UTF-8."""
_FILE_MODE: Final = 0o100644 << 16
_WAITING_LIMIT_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    name: str
    """As ``ArchiveNames`` gives it."""
    size_bytes: int
    modified_at: datetime
    open: Callable[[], AbstractContextManager[ObjectReader]]
    """Raises NotFound or Archived for a file that can't be put in; it is left out then."""


class ArchiveNames:
    """Gives every file of an archive a name that unpacks anywhere, below the folder that it is unpacked in.

    No name is absolute, leads upwards, is a device's, or has what a file system may refuse. Names that differ in case
    or in how accents are written only are told apart by numbers; so are a file and a folder of the same name.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, str] = {"": ""}
        """Folders as the keys have them, and what they are called here."""
        self._folders_here: set[str] = set()

    def name_of(self, path: str) -> str:
        """The name for the file that is called ``path`` in the library."""
        parent, _, leaf = path.rpartition("/")
        folder = self._folder(parent)
        name = self._free(folder, _safe(leaf), lambda folded: folded in self._files or folded in self._folders_here)
        self._files.add(_folded(name))
        return name

    def _folder(self, path: str) -> str:
        if path not in self._folders:
            parent, _, leaf = path.rpartition("/")
            name = self._free(self._folder(parent), _safe(leaf), lambda folded: folded in self._files)
            self._folders[path] = name
            self._folders_here.add(_folded(name))
        return self._folders[path]

    def _free(self, folder: str, segment: str, is_taken: Callable[[str], bool]) -> str:
        before = f"{folder}/" if folder else ""
        stem, dot, ending = segment.rpartition(".")
        if not stem:
            stem, dot, ending = segment, "", ""
        name, number = f"{before}{segment}", 1
        while is_taken(_folded(name)):
            number += 1
            name = f"{before}{stem} ({number}){dot}{ending}"
        return name


def _safe(segment: str) -> str:
    """A name between two slashes that every file system takes."""
    clean = "".join("_" if _is_unsafe(character) else character for character in segment).rstrip(" .")
    if not clean or clean in {".", ".."}:
        clean = "_"
    if clean.partition(".")[0].strip().lower() in _DEVICES:
        clean = f"_{clean}"
    return _cut(clean)


def _is_unsafe(character: str) -> bool:
    return character in _FORBIDDEN or unicodedata.category(character) in _UNSEEN


def _cut(segment: str) -> str:
    """The name, cut before its ending at a whole character where it is too long."""
    if len(segment.encode("utf-8")) <= _SEGMENT_LIMIT_BYTES:
        return segment
    stem, dot, ending = segment.rpartition(".")
    tail = f"{dot}{ending}" if stem and len(ending.encode("utf-8")) <= 20 else ""
    room = _SEGMENT_LIMIT_BYTES - len(tail.encode("utf-8"))
    return segment.removesuffix(tail).encode("utf-8")[:room].decode("utf-8", "ignore") + tail


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def originals(store: ObjectStore, records: Iterable[Record], *, below: str = "") -> Iterator[Entry]:
    """The originals of files as entries, in their order; the folder ``below`` is left away from their names.

    Args:
        store: where they are.
        records: of files that whoever asks may have.
        below: a folder without a slash at its end.
    """
    names = ArchiveNames()
    names.name_of(LEFT_OUT_NAME)
    for record in records:
        path = record.file_path.removeprefix(f"{below}/") if below else record.file_path
        yield Entry(names.name_of(path), record.size_bytes, record.upload_time, partial(_opened, store, record))


def _opened(store: ObjectStore, record: Record) -> AbstractContextManager[ObjectReader]:
    check_quarantine(record)
    return store.open(BucketRole.PRIMARY, record.file_path, version_id=record.version_id)


def zip_chunks(entries: Iterable[Entry], *, begin: int = 0) -> Generator[bytes, None, None]:
    """The archive, piece by piece.

    Args:
        entries: its files, each opened when its turn comes.
        begin: how many bytes stand before it where it is written to.

    Raises:
        Corrupt: a file's bytes are damaged, or not as many as were told; the archive ends without its directory, so
            that no reader takes it for whole.
    """
    with closing(_Directory()) as directory:
        position, left_out = begin, []
        for entry in entries:
            try:
                opened = entry.open()
                reader = opened.__enter__()
            except (NotFound, Archived, Denied) as error:
                left_out.append(f"{entry.name}: {error.why}\n")
                continue
            try:
                written = yield from _file(entry, reader.chunks(), directory, position)
            finally:
                opened.__exit__(None, None, None)
            position += written
        if left_out:
            text = "".join(left_out).encode("utf-8")
            note = Entry(LEFT_OUT_NAME, len(text), _EPOCH, _never)
            position += yield from _file(note, iter((text,)), directory, position)
        yield from directory.end(position)


def _never() -> AbstractContextManager[ObjectReader]:
    raise AssertionError("a note is no object")


def _file(entry: Entry, chunks: Iterator[bytes], directory: _Directory, offset: int) -> Generator[bytes, None, int]:
    """One file with its headers; returns how many bytes that were."""
    is_large = entry.size_bytes >= _LARGE
    name = entry.name.encode("utf-8")
    extra = pack("<HHQQ", 1, 16, 0, 0) if is_large else b""
    size = _LARGE if is_large else 0
    version = _VERSION_64 if is_large else _VERSION
    date, time = _dos_moment(entry.modified_at)
    head = pack("<4s5H3L2H", b"PK\3\4", version, _FLAGS, 0, time, date, 0, size, size, len(name), len(extra))
    yield head + name + extra
    checksum, length = 0, 0
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
        length += len(chunk)
        yield chunk
    if length != entry.size_bytes:
        raise Corrupt(f"packing {entry.name}", f"it has {length} bytes, not {entry.size_bytes}")
    tail = pack("<4sLQQ" if is_large else "<4sLLL", b"PK\7\x08", checksum, length, length)
    yield tail
    directory.add(name, checksum, length, offset, (date, time))
    return len(head) + len(name) + len(extra) + length + len(tail)


class _Directory:
    """The list of files at an archive's end."""

    def __init__(self) -> None:
        self._lines = SpooledTemporaryFile(_WAITING_LIMIT_BYTES)  # noqa: SIM115 - closed by close()
        self._count = 0
        self._size = 0

    def add(self, name: bytes, checksum: int, length: int, offset: int, moment: tuple[int, int]) -> None:
        """Note a file."""
        large = b"".join(pack("<Q", value) for value in (length, length, offset) if value >= _LARGE)
        extra = pack("<HH", 1, len(large)) + large if large else b""
        size, place = min(length, _LARGE), min(offset, _LARGE)
        version = _VERSION_64 if large else _VERSION
        date, time = moment
        head = pack("<4s6H3L", b"PK\1\2", _MADE_ON_UNIX | version, version, _FLAGS, 0, time, date, checksum, size, size)
        rest = pack("<5H2L", len(name), len(extra), 0, 0, 0, _FILE_MODE, place)
        line = head + rest + name + extra
        self._lines.write(line)
        self._count += 1
        self._size += len(line)

    def end(self, begin: int) -> Iterator[bytes]:
        """The directory, which begins at ``begin``, and where it is."""
        self._lines.seek(0)
        while chunk := self._lines.read(1 << 20):
            yield chunk
        count, size, place = min(self._count, _MANY), min(self._size, _LARGE), min(begin, _LARGE)
        if self._count >= _MANY or self._size >= _LARGE or begin >= _LARGE:
            made = _MADE_ON_UNIX | _VERSION_64
            body = pack("<2H2L4Q", made, _VERSION_64, 0, 0, self._count, self._count, self._size, begin)
            yield pack("<4sQ", b"PK\6\6", len(body)) + body
            yield pack("<4sLQL", b"PK\6\7", 0, begin + self._size, 1)
        yield pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, place, 0)

    def close(self) -> None:
        """Let go of the temporary file."""
        self._lines.close()


_EPOCH: Final = datetime(1980, 1, 1, tzinfo=UTC)


def _dos_moment(moment: datetime) -> tuple[int, int]:
    """A moment in UTC as MS-DOS wrote it: date and time, to two seconds, from 1980 to 2107."""
    at = moment.astimezone(UTC)
    if at.year < 1980:
        at = _EPOCH
    year = min(at.year, 2107)
    return (year - 1980) << 9 | at.month << 5 | at.day, at.hour << 11 | at.minute << 5 | at.second // 2


class ZipResponse(ClosingResponse):
    """An archive as the answer to a request, to be saved as ``name``; closed however the answer ends."""

    def __init__(self, name: str, entries: Iterable[Entry], *, is_head: bool = False) -> None:
        self._chunks = zip_chunks(entries)
        told = {
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": disposition(name),
        }
        super().__init__(iter(()) if is_head else self._chunks, 200, told, "application/zip")

    def close(self) -> None:
        self._chunks.close()


def archive_name(title: str, folder: str = "") -> str:
    """What an archive is saved as."""
    return f"{title.strip() or file_name(folder) or 'files'}.zip"
