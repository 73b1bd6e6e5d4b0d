"""What one process keeps of the edge: the bytes of small files, and the open descriptors of large ones.

Files are kept by the text that was asked for, path and ``v``. Each entry remembers the number of the newest change at
which it was known to be true; whoever serves it looks again when that number has grown. The least recently used goes
first.
"""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from contentplatform.delivery.access_log import Fixed, fixed_of_file
from contentplatform.delivery.answers import Content, Headers, Result
from contentplatform.delivery.headers import of_content, of_not_modified
from contentplatform.delivery.origin import Found, OpenFile

Alias = tuple[bytes, bytes]
"""Path and query as they came; only such as ``rules.path_of`` writes."""
ENTRY_OVERHEAD_BYTES: Final = 4_096
"""What an entry takes beside its bytes."""
PACKED_TYPES: Final = frozenset(
    {"text/vtt", "application/json", "application/vnd.apple.mpegurl", "text/plain; charset=utf-8"}
)
"""Types that gzip makes smaller; pictures, films and sounds are packed as they are."""
_PACKING_PAYS_BYTES: Final = 512
_PACKING_LEVEL: Final = 6


@dataclass(slots=True)
class Face:
    """One form of a kept file with its headers, ready to be sent; ``Hit`` is in them."""

    content: Content
    headers: Headers
    not_modified: Headers
    header_bytes: int
    not_modified_bytes: int
    part_bytes: int
    """Of the headers of a part, without what tells which part."""
    quoted_etag: bytes
    wire: bytes
    """Status line and headers as HTTP/1.1 writes them, without the blank line behind them."""
    wire_not_modified: bytes
    wire_part: bytes
    """Of an answer with a part of the file, without what tells which part."""
    line: Fixed
    """What the access log says of it each time."""
    line_not_modified: Fixed


@dataclass(slots=True)
class HotFile:
    """A file that is kept."""

    found: Found
    content: Content
    """With ``Hit``; its ``file`` is not used where ``opened`` is there."""
    opened: OpenFile | None
    """Of a large file."""
    packed: Content | None
    """The same content, gzipped."""
    seen_change: int
    """The newest change that is known not to have touched it."""
    alias: Alias
    faces: dict[tuple[bool, bool], Face] = field(default_factory=dict)

    @property
    def kept_bytes(self) -> int:
        """What it takes of the memory that is set aside."""
        return len(self.content.body) + (len(self.packed.body) if self.packed else 0) + ENTRY_OVERHEAD_BYTES

    def face(self, *, secure: bool, packed: bool) -> Face:
        """The form for a viewer that does, or does not, take gzip."""
        known = self.faces.get((secure, packed))
        if known is None:
            content = self.packed if packed and self.packed is not None else self.content
            headers = of_content(content, secure=secure)
            of_part = tuple(header for header in headers if header[0] != b"content-length")
            length = len(content.body) if self.opened is None else self.opened.size_bytes
            not_modified = of_not_modified(content, secure=secure)
            known = self.faces[secure, packed] = Face(
                content,
                headers,
                not_modified,
                size_of(headers),
                size_of(not_modified),
                size_of(of_part),
                f'"{content.etag}"'.encode("ascii"),
                _wire(b"200 OK", headers),
                _wire(b"304 Not Modified", not_modified),
                _wire(b"206 Partial Content", of_part),
                fixed_of_file(*self.alias, 200, content.content_type, length),
                fixed_of_file(*self.alias, 304, content.content_type, 0),
            )
        return known


def _wire(status: bytes, headers: Headers) -> bytes:
    return b"HTTP/1.1 %s\r\n" % status + b"".join(b"%s: %s\r\n" % header for header in headers)


def size_of(headers: Headers) -> int:
    """How many bytes headers are on the wire, with what the server adds: status line, date and its own name."""
    return sum(len(name) + len(value) + 4 for name, value in headers) + _ADDED_BYTES


_ADDED_BYTES: Final = 90


def packed(content: Content) -> Content | None:
    """The content gzipped, under an entity tag of its own; None where that does not pay."""
    if content.content_type not in PACKED_TYPES or len(content.body) < _PACKING_PAYS_BYTES:
        return None
    body = gzip.compress(content.body, _PACKING_LEVEL, mtime=0)
    if len(body) >= len(content.body):
        return None
    return replace(
        content,
        body=body,
        etag=f"{content.etag}-gzip",
        headers=(*content.headers, (b"content-encoding", b"gzip")),
    )


def kept(found: Found, content: Content, opened: OpenFile | None, seen_change: int, alias: Alias) -> HotFile:
    """A file as it is kept."""
    content = replace(content, result=Result.HIT)
    return HotFile(found, content, opened, packed(content), seen_change, alias)


class HotFiles:
    """The files that are kept; for the event loop's thread only."""

    def __init__(self, room_bytes: int, open_files: int) -> None:
        self._room_bytes = room_bytes
        self._open_files = open_files
        self._files: OrderedDict[Alias, HotFile] = OrderedDict()
        self._opened: OrderedDict[Alias, None] = OrderedDict()
        self.kept_bytes = 0

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, alias: Alias) -> bool:
        return alias in self._files

    def get(self, alias: Alias) -> HotFile | None:
        """What is kept under a path and query, which counts as used now."""
        found = self._files.get(alias)
        if found is not None:
            self._files.move_to_end(alias)
            if found.opened is not None:
                self._opened.move_to_end(alias)
        return found

    def keep(self, alias: Alias, file: HotFile) -> None:
        """Keep a file, and drop what there is no room for any more."""
        self.drop(alias)
        if file.kept_bytes > self._room_bytes:
            return
        self._files[alias] = file
        self.kept_bytes += file.kept_bytes
        if file.opened is not None:
            self._opened[alias] = None
        while self.kept_bytes > self._room_bytes:
            self.drop(next(iter(self._files)))
        while len(self._opened) > self._open_files:
            self.drop(next(iter(self._opened)))

    def drop(self, alias: Alias) -> None:
        """Forget a file, if it is kept."""
        file = self._files.pop(alias, None)
        if file is not None:
            self.kept_bytes -= file.kept_bytes
            self._opened.pop(alias, None)

    def drop_all(self, aliases: Iterable[Alias]) -> None:
        """Forget these files."""
        for alias in aliases:
            self.drop(alias)

    def with_open_files(self) -> tuple[HotFile, ...]:
        """The large ones: each holds its file's room on the disk, even after everybody has deleted it."""
        return tuple(self._files[alias] for alias in self._opened)

    def aliases(self) -> tuple[Alias, ...]:
        """Everything that is kept, the least recently used first."""
        return tuple(self._files)
