"""The ZIP that an office document is: a listing that was checked as a whole, and single files read out of it.

Nothing is ever extracted: no name of the archive becomes a path, and only those are read that the format's own rules
name. The listing is refused where two files share bytes (how small archives become huge), where it lies about its
length, and where a name comes twice, so that nobody can read another file under a name than we do.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contentplatform.processing.jobs.reading import broken, over_limit
from contentplatform.processing.presets import DocumentLimits

_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\x05\x06"
_END_64_LOCATOR: Final = struct.Struct("<4sLQL")
_END_64_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_END_64_MAGIC: Final = b"PK\x06\x06"
_ENTRY: Final = struct.Struct("<4s4B4HL2L5H2L")
_ENTRY_MAGIC: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_LONGEST_COMMENT_BYTES: Final = 0xFFFF
_MOST_LISTING_BYTES: Final = 64 << 20
_UNSAID: Final = 0xFFFFFFFF
_UNSAID_COUNT: Final = 0xFFFF
_EXTRA_64: Final = 0x0001
_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED, _FLAG_UTF8 = 1 << 0, 1 << 11
_MADE_BY_UNIX: Final = 3
_FILE_TYPE_MASK, _PLAIN_FILE = 0o170000, 0o100000
_PIECE_BYTES: Final = 1 << 16
_RATIO_FREE_BYTES: Final = 1 << 20
"""A file that unpacks to no more than this may be as dense as it likes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the listing."""

    name: str
    place: int
    """Where its local header is."""
    method: int
    packed_bytes: int
    unpacked_bytes: int
    """As the listing says; reading stops there."""
    is_encrypted: bool
    is_plain: bool
    """Neither a folder, nor a link, nor a device."""


class Archive:
    """A listing, and the way to what is in it. All that is read counts against the limits, together."""

    def __init__(self, source: int, limits: DocumentLimits) -> None:
        """Read and check the listing behind the descriptor ``source``.

        Raises:
            ProcessingFailed: it does not hold together, or is over a limit.
        """
        self._source = source
        self._limits = limits
        self._left_bytes = limits.archive_bytes
        size_bytes = os.fstat(source).st_size
        count, listing_bytes, listing_place = _end(source, size_bytes)
        if count > limits.archive_entries:
            raise over_limit(f"it holds {count} files; at most {limits.archive_entries} are possible")
        if listing_bytes > _MOST_LISTING_BYTES:
            raise over_limit("its table of contents is too long")
        if listing_place + listing_bytes > size_bytes:
            raise broken("the listing lies outside the file")
        entries = list(_entries(os.pread(source, listing_bytes, listing_place), limits))
        self._entries = {entry.name: entry for entry in entries}
        if len(self._entries) != len(entries) or len({name.lower() for name in self._entries}) != len(entries):
            raise broken("a name comes twice")
        _check_apart(entries, listing_place)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> Iterator[str]:
        """Every name, in the order of the listing. They are data, never paths."""
        return iter(self._entries)

    def is_encrypted(self, name: str) -> bool:
        """Whether the file has a password of its own."""
        return name in self._entries and self._entries[name].is_encrypted

    def unpacked_bytes(self, name: str) -> int:
        """How large the file says it is."""
        return self._entries[name].unpacked_bytes

    def read(self, name: str, limit_bytes: int) -> bytes:
        """The whole of a file that has at most ``limit_bytes``.

        Raises:
            ProcessingFailed: as ``pieces``, or it is longer.
        """
        if self.unpacked_bytes(name) > limit_bytes:
            raise over_limit("one of its parts is too large")
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """The file ``name``, unpacked, piece by piece.

        Raises:
            ProcessingFailed: it unpacks to more than is possible, or than it says; it is broken, or no plain file.
        """
        entry = self._entries[name]
        if not entry.is_plain or entry.is_encrypted or entry.method not in {_STORED, _DEFLATED}:
            raise broken(f"method {entry.method}, plain {entry.is_plain}, encrypted {entry.is_encrypted}")
        if entry.unpacked_bytes > max(_RATIO_FREE_BYTES, entry.packed_bytes * self._limits.archive_ratio):
            raise over_limit("one of its parts unpacks to far more than it is packed")
        if entry.unpacked_bytes > self._left_bytes:
            raise over_limit(f"it unpacks to more than {self._limits.archive_bytes >> 20} MiB")
        self._left_bytes -= entry.unpacked_bytes
        local = os.pread(self._source, _LOCAL.size, entry.place)
        if len(local) < _LOCAL.size or not local.startswith(_LOCAL_MAGIC):
            raise broken("no local header")
        *_, name_bytes, extra_bytes = _LOCAL.unpack(local)
        start = entry.place + _LOCAL.size + name_bytes + extra_bytes
        unpacked = 0
        for piece in self._unpacked(entry, start):
            unpacked += len(piece)
            if unpacked > entry.unpacked_bytes:
                raise over_limit("one of its parts unpacks to more than it says")
            yield piece
        if unpacked != entry.unpacked_bytes:
            raise broken("a part ends early")

    def _unpacked(self, entry: Entry, start: int) -> Iterator[bytes]:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        end = start + entry.packed_bytes
        try:
            while start < end:
                packed = os.pread(self._source, min(_PIECE_BYTES, end - start), start)
                if not packed:
                    raise broken("a part reaches behind the end of the file")
                start += len(packed)
                if entry.method == _STORED:
                    yield packed
                    continue
                is_pending = True
                while is_pending and not inflate.eof:
                    piece = inflate.decompress(packed, _PIECE_BYTES)
                    packed = inflate.unconsumed_tail
                    # A full piece may have left more inside, though all that was packed has been taken.
                    is_pending = bool(packed) or len(piece) == _PIECE_BYTES
                    yield piece
        except zlib.error as error:
            raise broken(str(error)) from error


def _end(source: int, size_bytes: int) -> tuple[int, int, int]:
    """How many files the listing has, how long it is and where: of the record at the archive's end."""
    window_bytes = min(size_bytes, _END.size + _LONGEST_COMMENT_BYTES)
    tail = os.pread(source, window_bytes, size_bytes - window_bytes)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise broken("no end of the listing")
    place = size_bytes - window_bytes + at
    _, _, _, _, count, listing_bytes, listing_place, _ = _END.unpack_from(tail, at)
    if _UNSAID not in (listing_bytes, listing_place) and count != _UNSAID_COUNT:
        return count, listing_bytes, listing_place
    locator = os.pread(source, _END_64_LOCATOR.size, max(0, place - _END_64_LOCATOR.size))
    if not locator.startswith(_END_64_LOCATOR_MAGIC) or len(locator) < _END_64_LOCATOR.size:
        return count, listing_bytes, listing_place
    record = os.pread(source, _END_64.size, min(_END_64_LOCATOR.unpack(locator)[2], size_bytes))
    if not record.startswith(_END_64_MAGIC) or len(record) < _END_64.size:
        raise broken("no long end of the listing")
    *_, count, listing_bytes, listing_place = _END_64.unpack(record)
    return count, listing_bytes, listing_place


def _entries(listing: bytes, limits: DocumentLimits) -> Iterator[Entry]:
    at = 0
    count = 0
    while listing.startswith(_ENTRY_MAGIC, at) and at + _ENTRY.size <= len(listing):
        count += 1
        if count > limits.archive_entries:
            raise over_limit(f"it holds more than {limits.archive_entries} files")
        entry, at = _entry(listing, at)
        yield entry
    if at != len(listing):
        raise broken("the listing is cut")


def _entry(listing: bytes, at: int) -> tuple[Entry, int]:
    (
        _,
        _,
        made_by,
        _,
        _,
        flags,
        method,
        _,
        _,
        _,
        packed,
        unpacked,
        name_bytes,
        extra_bytes,
        comment_bytes,
        _,
        _,
        mode,
        place,
    ) = _ENTRY.unpack_from(listing, at)
    name_at = at + _ENTRY.size
    raw_name = listing[name_at : name_at + name_bytes]
    extra = listing[name_at + name_bytes : name_at + name_bytes + extra_bytes]
    unpacked, packed, place = _said_at_length(extra, (unpacked, packed, place))
    unix_type = mode >> 16 & _FILE_TYPE_MASK
    name = raw_name.decode("utf-8" if flags & _FLAG_UTF8 else "latin-1", "replace")
    entry = Entry(
        name=name,
        place=place,
        method=method,
        packed_bytes=packed,
        unpacked_bytes=unpacked,
        is_encrypted=bool(flags & _FLAG_ENCRYPTED),
        is_plain=not name.endswith("/") and (made_by != _MADE_BY_UNIX or unix_type in {0, _PLAIN_FILE}),
    )
    return entry, name_at + name_bytes + extra_bytes + comment_bytes


def _said_at_length(extra: bytes, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
    """The numbers that had no room in four bytes, out of the extra field, where they stand in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == _EXTRA_64:
            long = iter(struct.unpack_from(f"<{min(size, len(extra) - at - 4) // 8}Q", extra, at + 4))
            try:
                first, second, third = (next(long) if number == _UNSAID else number for number in numbers)
            except (StopIteration, RuntimeError, ValueError) as error:
                raise broken("a long number is missing") from error
            return first, second, third
        at += 4 + size
    return numbers


def _check_apart(entries: list[Entry], listing_place: int) -> None:
    """Files that overlap are how a few megabytes unpack to terabytes."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.place):
        if entry.place < end:
            raise over_limit("its parts overlap")
        end = entry.place + _LOCAL.size + len(entry.name) + entry.packed_bytes
    if entries and end > listing_place:
        raise broken("a part reaches into the listing")
