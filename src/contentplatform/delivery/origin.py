"""What lies behind a path of the local edge: which stored version, shown as what, and whether it still is.

A file is on the edge for as long as its original is current: a delete takes it off with its commit, however long it
takes until its renditions are erased. Where ``v`` names other bytes than the public key shows now, the version's own
renditions are looked through: they are kept for as long as the version is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from contentplatform import log
from contentplatform.catalog.port import Catalog
from contentplatform.delivery.attachments import disposition, shown_type
from contentplatform.delivery.rules import RAW_FOLDER, VERSION_LENGTH, is_served, original_of
from contentplatform.drivers.files import translated_os_errors
from contentplatform.errors import Corrupt, NotFound
from contentplatform.media import OCTET_STREAM, ProcessingStatus, file_id, file_name
from contentplatform.storage.port import BucketRole, HasLocalFiles, ObjectStore, ObjectVersion, TellsChanges

PROVED_AT_ONCE_BYTES: Final = 64 << 20
"""Files up to this size are hashed before their first byte is sent by this process; longer ones meanwhile."""
_ENDED: Final = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})
_PROOFS_KEPT: Final = 100_000
_READ_BYTES: Final = 1 << 20

_logger: Final = logging.getLogger(__name__)


class OriginStore(HasLocalFiles, TellsChanges, Protocol):
    """The store of the local home, as far as the edge uses what only it can."""


class OpenFile:
    """A file that stays open for as long as anybody holds this object; read from any thread, at any place."""

    __slots__ = ("descriptor", "path", "size_bytes")

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.path = path
        with translated_os_errors(f"opening {path.name}"):
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self.descriptor).st_size

    def read(self, first: int, length: int) -> bytes:
        """Exactly these bytes. Raises Corrupt where the file ends before."""
        pieces = []
        while length:
            with translated_os_errors(f"reading {self.path.name}"):
                piece = os.pread(self.descriptor, min(length, _READ_BYTES), first)
            if not piece:
                raise Corrupt(f"reading {self.path.name}", "it was cut short", hint="Run `contentplatform fsck --deep`")
            pieces.append(piece)
            first += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Found:
    """What a path shows at this moment."""

    version: ObjectVersion
    original: str
    """The key in the primary bucket that has to be current."""
    content_type: str
    disposition: str
    is_settled: bool
    """False: it will be told better soon, or is another version's: to be looked up again each time."""

    @property
    def sha256(self) -> str:
        """At home every version has one."""
        return self.version.sha256 or ""


class Origin:
    """Looks keys of the edge up. Blocks, but for ``is_still``; safe from any thread."""

    def __init__(self, store: ObjectStore, files: OriginStore, catalog: Catalog) -> None:
        self._store = store
        self._files = files
        self._catalog = catalog
        self._proofs: dict[tuple[str, int, int], bool] = {}
        self._lock = threading.Lock()

    def newest_change(self) -> int:
        """What ``is_still`` has to be asked for after it has grown."""
        return self._files.newest_change()

    def is_still(self, found: Found) -> bool:
        """Whether a key shows the very same. Two indexed look-ups: quick enough for the event loop."""
        version = found.version
        if self._files.current_id(version.bucket, version.key) != version.version_id:
            return False
        return version.key == found.original or self._files.current_id(BucketRole.PRIMARY, found.original) is not None

    def find(self, key: str, version: str) -> Found:
        """What a key of the edge shows, or showed when its SHA-256 began with ``version`` (empty: now).

        Raises:
            NotFound: nothing, or nothing any more.
        """
        original = original_of(key)
        if not is_served(key) or not original:
            raise _nothing(key)
        there = self._store.head(BucketRole.PRIMARY, original)
        if key.startswith(f"{RAW_FOLDER}/"):
            return self._original(there)
        shown = self._shown(key, version)
        return Found(
            shown,
            original,
            *_appearance(shown.content_type, file_name(key), is_rendition=True),
            is_settled=shown.key == key,
        )

    def _original(self, there: ObjectVersion) -> Found:
        """An original as what its bytes are; the store knows only what was claimed."""
        try:
            record = self._catalog.get(file_id(there.key))
        except NotFound:
            record = None
        is_known = record is not None and record.version_id == there.version_id
        if record is not None and is_known and record.is_quarantined:
            raise _nothing(there.key)
        content_type = record.content_type if record is not None and is_known else OCTET_STREAM
        return Found(
            there,
            there.key,
            *_appearance(content_type, file_name(there.key), is_rendition=False),
            # Until it was processed it may still turn out to be malware.
            is_settled=record is not None and is_known and record.status in _ENDED,
        )

    def _shown(self, key: str, version: str) -> ObjectVersion:
        try:
            current = self._store.head(BucketRole.PROCESSED, key)
        except NotFound:
            if not version:
                raise
        else:
            if not version or (current.sha256 or "")[:VERSION_LENGTH] == version:
                return current
        return self._earlier(key, version)

    def _earlier(self, key: str, version: str) -> ObjectVersion:
        """The version's own copy of what the public key showed once."""
        if len(version) != VERSION_LENGTH:
            raise _nothing(key)
        identifier = file_id(original_of(key))
        if self._catalog.get(identifier).deleted_at is not None:
            raise _nothing(key)
        for entry in self._catalog.entries(identifier):
            for rendition in entry.renditions:
                if rendition.key == key and rendition.sha256.startswith(version):
                    stored = self._store.head(BucketRole.PROCESSED, rendition.stored_key)
                    if stored.sha256 == rendition.sha256:
                        return stored
        raise _nothing(key)

    # -- bytes -------------------------------------------------------------------------------------------------

    def file_of(self, found: Found) -> OpenFile:
        """The open file of a version's bytes. Raises Corrupt: it is gone, of another size, or known to be damaged."""
        opened = OpenFile(self._files.local_file(found.version))
        if opened.size_bytes != found.version.size_bytes:
            raise _damaged(found)
        if self._proofs.get(_name_of(opened)) is False:
            raise _damaged(found)
        return opened

    def proved_bytes(self, found: Found, opened: OpenFile) -> bytes:
        """All bytes of a small file. Raises Corrupt: they are not what was stored."""
        data = opened.read(0, opened.size_bytes)
        if hashlib.sha256(data).hexdigest() != found.sha256:
            self._report(found, opened)
            raise _damaged(found)
        return data

    def is_proved(self, opened: OpenFile) -> bool:
        """Whether the file was hashed by this process, and nobody wrote to it since."""
        return self._proofs.get(_name_of(opened), False)

    def prove(self, found: Found, opened: OpenFile) -> None:
        """Hash a file, once a process. Raises Corrupt: its bytes are not what was stored; none is sent from then on."""
        if self.is_proved(opened):
            return
        digest, place = hashlib.sha256(), 0
        while place < opened.size_bytes:
            piece = opened.read(place, min(_READ_BYTES, opened.size_bytes - place))
            digest.update(piece)
            place += len(piece)
        if digest.hexdigest() != found.sha256:
            self._report(found, opened)
            raise _damaged(found)
        self._note(opened, is_whole=True)

    def _report(self, found: Found, opened: OpenFile) -> None:
        self._note(opened, is_whole=False)
        fields = {
            log.BUCKET: found.version.bucket,
            log.KEY: found.version.key,
            log.VERSION_ID: found.version.version_id,
        }
        log.event(_logger, logging.ERROR, "stored bytes are damaged; nothing of them was sent", **fields)

    def _note(self, opened: OpenFile, *, is_whole: bool) -> None:
        with self._lock:
            if len(self._proofs) >= _PROOFS_KEPT:
                self._proofs.clear()
            self._proofs[_name_of(opened)] = is_whole


def _name_of(opened: OpenFile) -> tuple[str, int, int]:
    """What tells a file's bytes: its name, which is their hash, and the marks that writing to it would change."""
    known = os.fstat(opened.descriptor)
    return (opened.path.name, known.st_ino, known.st_mtime_ns)


def _appearance(content_type: str, name: str, *, is_rendition: bool) -> tuple[str, str]:
    """``Content-Type`` and ``Content-Disposition``."""
    if shown := shown_type(content_type, is_rendition=is_rendition):
        return shown, ""
    return OCTET_STREAM, disposition(name)


def _nothing(key: str) -> NotFound:
    return NotFound(f"serving {key[:80]}", "there is no such file")


def _damaged(found: Found) -> Corrupt:
    return Corrupt(
        f"serving {found.version.key}",
        "its stored bytes are damaged",
        hint="Run `contentplatform fsck --deep`, and restore it from a copy",
    )
