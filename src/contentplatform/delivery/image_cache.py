"""Pictures that were made on the fly, kept in the data folder until the room is needed, or their original goes.

A file of the cache belongs to one original and one state of its bytes; both stand in its path, so that all of a file's
pictures, or those of its older bytes, are found without any list. It begins with a line of JSON that tells its type,
size and hash: what a crash, or a disk, left incomplete is never shown. Several processes share the folder: entries
appear by renaming, and whoever looks finds a whole one or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contentplatform.clock import Clock, IdSource
from contentplatform.drivers.files import remove_quietly

CACHE_FOLDER_NAME: Final = "pictures"
"""In the data folder. All of it can be removed at any time: it is made again."""
_SOURCE_LENGTH: Final = 16
_HEADER_LIMIT: Final = 512
_SPARED_SHARE: Final = 0.9
"""So much of the limit stays when room is made, so that it isn't made for each single picture."""
_LOOK_SHARE: Final = 0.02
"""After so much was added by this process it looks how much there is, and so much stays free: others add, too."""
_FRESH_SECONDS: Final = 3_600.0
"""How far the time of an entry's last use may be behind: it is written once an hour, not with every look."""
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture, and what is said of it."""

    content_type: str
    sha256: str
    width: int
    height: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is kept."""

    file_id: str
    source: str
    """SHA-256 of the original, in hex."""
    name: str
    """Stands for everything else that its bytes depend on."""


class ImageCache:
    """Keeps pictures, the least recently used ones going first. Safe from any thread and from several processes.

    Args:
        folder: made when the first picture is kept.
        limit_bytes: of all pictures together; nothing that is larger than it is kept.
        clock: when a picture was used.
        ids: names temporary files.
    """

    def __init__(self, folder: Path, limit_bytes: int, clock: Clock, ids: IdSource) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._unlooked_bytes = limit_bytes  # the first picture makes it look

    def get(self, place: Place) -> KeptPicture | None:
        """The picture that is kept there; None if there is none, or not a whole one."""
        path = self._path(place)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        found = _read(content)
        if found is None:
            remove_quietly(path)
            return None
        self._note_use(path)
        return found

    def put(self, place: Place, picture: KeptPicture) -> None:
        """Keep a picture if there is room on the disk; what is kept of other bytes of the same original goes.

        What can't be kept is no fault: it is made again when it is asked for again.
        """
        path = self._path(place)
        content = _written(picture)
        if len(content) > self._limit_bytes:
            return
        temporary = path.with_name(f"{_PARTIAL}{self._ids.new_id()}")
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            temporary.write_bytes(content)
            now = self._clock.now().timestamp()
            os.utime(temporary, (now, now))
            temporary.rename(path)
        except OSError:
            remove_quietly(temporary)
            return
        self.keep_only(place.file_id, place.source)
        self._make_room(len(content))

    def keep_only(self, file_id: str, source: str) -> None:
        """Remove a file's pictures of all but these bytes of its original; all of them where ``source`` is empty."""
        forget_pictures(self._folder, file_id, source)

    def size_bytes(self) -> int:
        """How much is kept."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, place: Place) -> Path:
        return self._folder_of(place.file_id) / f"{place.source[:_SOURCE_LENGTH]}-{place.name}"

    def _folder_of(self, file_id: str) -> Path:
        return self._folder / file_id[:2] / file_id

    def _note_use(self, path: Path) -> None:
        now = self._clock.now().timestamp()
        with suppress(OSError):
            if abs(now - path.stat().st_mtime) >= _FRESH_SECONDS:
                os.utime(path, (now, now))

    def _make_room(self, added_bytes: int) -> None:
        with self._lock:
            self._unlooked_bytes += added_bytes
            if self._unlooked_bytes < self._limit_bytes * _LOOK_SHARE:
                return
            self._unlooked_bytes = 0
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self._limit_bytes * (1 - _LOOK_SHARE):
            return
        for _, size, path in entries:
            if total <= self._limit_bytes * _SPARED_SHARE:
                return
            remove_quietly(path)
            total -= size

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When each picture was last used, how large it is, and where. Partial ones count: their makers may be gone."""
        for shelf in _listed(self._folder):
            for folder in _listed(shelf):
                for path in _listed(folder):
                    with suppress(OSError):
                        facts = path.stat()
                        yield facts.st_mtime, facts.st_size, path


def forget_pictures(folder: Path, file_id: str, source: str) -> None:
    """Remove a file's pictures as ``ImageCache.keep_only`` does, of the cache in ``folder``."""
    kept = folder / file_id[:2] / file_id
    if not source:
        shutil.rmtree(kept, ignore_errors=True)
        return
    for path in _listed(kept):
        if not path.name.startswith((source[:_SOURCE_LENGTH], _PARTIAL)):
            remove_quietly(path)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _written(picture: KeptPicture) -> bytes:
    header = {
        "content_type": picture.content_type,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
    }
    return json.dumps(header).encode() + b"\n" + picture.body


def _read(content: bytes) -> KeptPicture | None:
    head, _, body = content.partition(b"\n")
    if len(head) > _HEADER_LIMIT:
        return None
    try:
        found = KeptPicture(body=body, **json.loads(head))
    except (ValueError, TypeError):
        return None
    return found if hashlib.sha256(body).hexdigest() == found.sha256 else None
