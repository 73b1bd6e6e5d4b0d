"""A body on its way to a store that wants to know hash and length before the first byte: read once, then sent.

Small ones wait in memory, files where they are, and what can't be read twice in a temporary file, so memory stays
constant. Parts of a large one can be read by several threads.
"""

from __future__ import annotations

import errno
import hashlib
import io
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from contentplatform.drivers.checksums import Checksum
from contentplatform.errors import NoSpace
from contentplatform.storage.port import CHUNK_SIZE_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

IN_MEMORY_BYTES: Final = 8 << 20
"""Bodies up to this size wait in memory."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body that was read to its end once, and can be sent."""

    size_bytes: int
    sha256: str
    checksum: str
    """The checksum over the whole body, as S3 writes it."""
    source: BinaryIO
    start: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: list[Exception] = field(default_factory=list)
    """What reading it again raised: who sends it may wrap that in errors of its own."""

    def window(self, first: int, size_bytes: int) -> Window:
        """Some of its bytes, as a stream of their own."""
        return Window(self, first, size_bytes)

    def whole(self) -> bytes | Window:
        """All of it; bytes where they are in memory."""
        if isinstance(self.source, io.BytesIO):
            return self.source.getvalue()
        return self.window(0, self.size_bytes)


class Window(io.RawIOBase):
    """A stretch of an outgoing body as a seekable stream; safe beside other windows of the same body."""

    def __init__(self, outgoing: Outgoing, first: int, size_bytes: int) -> None:
        self._outgoing = outgoing
        self._first = first
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins, from the window's beginning."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the window."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer as far as the window goes."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size_bytes - self._position)
        if wanted <= 0:
            return 0
        try:
            with self._outgoing.lock:
                self._outgoing.source.seek(self._outgoing.start + self._first + self._position)
                data = self._outgoing.source.read(wanted)
        except Exception as error:
            self._outgoing.failures.append(error)
            raise
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


@contextmanager
def outgoing(body: BinaryIO, checksum: Checksum, doing: str) -> Iterator[Outgoing]:
    """Read what ``body`` yields to its end, and keep it at hand until the context ends.

    Raises:
        NoSpace: the temporary file did not fit the disk.
        Exception: whatever reading ``body`` raises.
    """
    digest = hashlib.sha256()
    value = size = 0
    start = body.tell() if body.seekable() else 0
    first: list[bytes] = []
    spool: BinaryIO | None = None
    try:
        for piece in iter(lambda: body.read(CHUNK_SIZE_BYTES), b""):
            digest.update(piece)
            value = checksum.update(piece, value)
            size += len(piece)
            if size <= IN_MEMORY_BYTES:
                first.append(piece)
                continue
            if not body.seekable():
                spool = spool or _temporary_file()
                _append(spool, [*first, piece], doing)
            first.clear()
        if size <= IN_MEMORY_BYTES:
            source, start = io.BytesIO(b"".join(first)), 0
        else:
            source = body if spool is None else spool  # type: ignore[assignment]  # both are binary streams
        ready = Outgoing(size, digest.hexdigest(), checksum.text(value), source, start)
        try:
            yield ready
        except Exception:
            if ready.failures:
                raise ready.failures[0] from None
            raise
    finally:
        if spool is not None:
            spool.close()


def _temporary_file() -> BinaryIO:
    return tempfile.TemporaryFile(prefix="contentplatform-upload-")


def _append(spool: BinaryIO, pieces: list[bytes], doing: str) -> None:
    try:
        spool.writelines(pieces)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise NoSpace(doing, "the folder for temporary files is full", hint="Free some space, or set TMPDIR") from error
