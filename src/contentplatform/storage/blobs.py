"""Blob files: bytes named by their SHA-256, from the first temporary file to the last unlink.

A blob lies at ``<folder>/<region>/<storage class>/<aa>/<bb>/<sha256>``, read-only, written once. It is received into a
temporary file of the same file system, synced, and linked to its name; the temporary name is kept until the row that
refers to the blob is committed, so a collector that removes an old, unreferenced blob of the same name in between
takes nothing from the writer: under the write lock the writer looks again, and links again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, Final

from contentplatform.clock import IdSource
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.files import Files, remove_quietly, translated_os_errors
from contentplatform.errors import ChecksumMismatch
from contentplatform.storage.lifecycle import BUCKETS
from contentplatform.storage.port import StorageClass

TEMPORARY_FOLDER: Final = ".tmp"
STAGED_FOLDER: Final = ".staged"
_SHARD: Final = re.compile(r"[0-9a-f]{2}")
_BUFFER_BYTES: Final = 4 << 20
"""Hashing and writing take turns over two joined buffers of this size: small pieces lose half the speed to the GIL."""
_HASHING_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where blobs of one region and storage class lie together."""

    region: str
    storage_class: StorageClass

    def __str__(self) -> str:
        return f"{self.region}/{self.storage_class}"


PLACES: Final = tuple(
    Place(region, storage_class)
    for region in sorted({bucket.region for bucket in BUCKETS})
    for storage_class in StorageClass
)


@dataclass(frozen=True, slots=True)
class Blob:
    """The identity of stored bytes."""

    place: Place
    sha256: str


@dataclass(frozen=True, slots=True)
class IncomingBlob:
    """Bytes that have arrived, durable under a temporary name."""

    blob: Blob
    size_bytes: int
    temporary: Path


class BlobFolder:
    """The blob files of one data folder, each storage class possibly on a disk of its own."""

    def __init__(self, root: Path, class_folders: Mapping[StorageClass, Path], files: Files, ids: IdSource) -> None:
        self._default_folder = root / "blobs"
        self._class_folders = dict(class_folders)
        self._files = files
        self._ids = ids
        self._hashing = ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="sha256")
        self._durable_folders: set[Path] = set()

    # -- where things are --------------------------------------------------------------------------------------

    def folder(self, place: Place) -> Path:
        """The folder of a region's storage class."""
        return self._class_folders.get(place.storage_class, self._default_folder) / place.region / place.storage_class

    def path(self, blob: Blob) -> Path:
        """Where the blob's file lies."""
        return self.folder(blob.place) / blob.sha256[:2] / blob.sha256[2:4] / blob.sha256

    def tops(self) -> tuple[Path, ...]:
        """The outermost folders that hold blobs."""
        return tuple(dict.fromkeys([self._default_folder, *self._class_folders.values()]))

    def size_bytes(self, blob: Blob) -> int | None:
        """The size of the blob's file; None if there is none."""
        with translated_os_errors(f"looking at blob {blob.sha256}"):
            try:
                return self.path(blob).lstat().st_size
            except FileNotFoundError:
                return None

    def files_of_shard(self, place: Place, shard: str) -> Iterator[os.DirEntry[str]]:
        """Every file whose hash should begin with the two digits ``shard``."""
        for folder in entries_of(self.folder(place) / shard):
            if folder.is_dir(follow_symlinks=False):
                yield from entries_of(Path(folder.path))

    def places(self) -> list[Place]:
        """The places that have a folder."""
        return [place for place in PLACES if self.folder(place).is_dir()]

    def shards(self) -> Iterator[tuple[Place, str]]:
        """The outer folders of hashes that there are, as a place and the first two digits."""
        for place in self.places():
            for entry in sorted(entries_of(self.folder(place)), key=lambda entry: entry.name):
                if _SHARD.fullmatch(entry.name):
                    yield place, entry.name

    def every_blob(self) -> Iterator[Blob]:
        """Every blob that has a file."""
        for place, shard in self.shards():
            for entry in self.files_of_shard(place, shard):
                yield Blob(place, entry.name)

    def temporaries(self, place: Place) -> Iterator[os.DirEntry[str]]:
        """Every temporary file of the place."""
        return entries_of(self.folder(place) / TEMPORARY_FOLDER)

    def new_temporary(self, place: Place) -> Path:
        """A path for a temporary file of the place, which the collector sweeps if its writer dies."""
        folder = self.folder(place) / TEMPORARY_FOLDER
        self._make_durable_folder(folder)
        return folder / self._ids.new_id()

    def make_staging_folder(self, place: Place) -> Path:
        """The folder for files of the place that are kept until somebody says what becomes of them."""
        folder = self.folder(place) / STAGED_FOLDER
        self._make_durable_folder(folder)
        return folder

    def staged(self, place: Place) -> Iterator[os.DirEntry[str]]:
        """Every staged file of the place, kept or not."""
        return entries_of(self.folder(place) / STAGED_FOLDER)

    # -- bringing bytes in -------------------------------------------------------------------------------------

    def receive(self, body: BinaryIO, place: Place, expected_sha256: str | None) -> IncomingBlob:
        """Store what ``body`` yields under a temporary name, durably.

        Raises:
            ChecksumMismatch: the bytes hash to something else than expected; nothing is kept.
        """
        temporary = self.new_temporary(place)
        descriptor = self._files.create(temporary)
        try:
            try:
                sha256, size_bytes = self._stream(body, descriptor)
                crashpoint("storage.put.temp_written")
                if expected_sha256 is not None and sha256 != expected_sha256:
                    raise ChecksumMismatch(
                        "storing an object", f"its SHA-256 is {sha256}, not {expected_sha256}", hint="Send it again"
                    )
                self._files.sync(descriptor)
                crashpoint("storage.put.temp_synced")
            finally:
                os.close(descriptor)
        except BaseException:
            remove_quietly(temporary)
            raise
        return IncomingBlob(Blob(place, sha256), size_bytes, temporary)

    def publish(self, incoming: IncomingBlob) -> None:
        """Give the bytes their name, durably. A blob that is there already is kept if its bytes still are."""
        final = self.path(incoming.blob)
        self._make_durable_folder(final.parent)
        self._link(incoming, final)
        crashpoint("storage.put.linked")
        # Also where the name existed: whoever linked it may have died before this sync.
        self._files.sync_folder(final.parent)
        crashpoint("storage.put.folder_synced")

    def hold(self, incoming: IncomingBlob) -> None:
        """Under the write lock: make sure that the published blob has not been collected since."""
        if self.size_bytes(incoming.blob) == incoming.size_bytes:
            return
        final = self.path(incoming.blob)
        self._link(incoming, final)
        self._files.sync_folder(final.parent)
        crashpoint("storage.put.linked_again")

    def discard(self, incoming: IncomingBlob) -> None:
        """Drop the temporary name."""
        remove_quietly(incoming.temporary)

    def _link(self, incoming: IncomingBlob, final: Path) -> None:
        if self._files.link(incoming.temporary, final):
            return
        if sha256_of(final) in {incoming.blob.sha256, None}:
            return  # the same bytes; or collected this instant, which hold() sees to
        # A damaged file has the name. Relying on it would lose what was sent just now: put the true bytes in its place.
        replacement = incoming.temporary.with_suffix(".replacement")
        self._files.link(incoming.temporary, replacement)
        self._files.rename(replacement, final)

    def _stream(self, body: BinaryIO, descriptor: int) -> tuple[str, int]:
        """Write the body to the descriptor; the hash of one buffer is computed while the next is read and written."""
        digest, size_bytes = hashlib.sha256(), 0
        hashing: Future[None] | None = None
        try:
            for piece in _joined_pieces(body):
                if hashing is not None:
                    hashing.result()
                    hashing = None
                if len(piece) < _BUFFER_BYTES:  # the last, or the only one: not worth a hand-over
                    digest.update(piece)
                else:
                    hashing = self._hashing.submit(digest.update, piece)
                self._files.write(descriptor, piece)
                self._files.start_writing_back(descriptor, size_bytes, len(piece))
                size_bytes += len(piece)
        finally:
            if hashing is not None:
                hashing.result()
        return digest.hexdigest(), size_bytes

    def _make_durable_folder(self, folder: Path) -> None:
        """Create the folder and those above it, each entry synced once a process, whoever created it."""
        if folder in self._durable_folders:
            return
        if folder in self.tops():
            with translated_os_errors(f"creating the folder {folder.parent}"):
                folder.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._make_durable_folder(folder.parent)
        self._files.make_folder(folder)
        self._files.sync_folder(folder.parent)
        self._durable_folders.add(folder)


def sha256_of(path: Path) -> str | None:
    """The hash of a file's bytes; None if there is no file."""
    with translated_os_errors(f"reading {path.name}"):
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None


def _joined_pieces(body: BinaryIO) -> Iterator[memoryview]:
    """The body in full buffers, and a shorter one at the end. A piece stays valid while the next one is read."""
    for buffer in cycle((bytearray(_BUFFER_BYTES), bytearray(_BUFFER_BYTES))):
        view = memoryview(buffer)
        filled = _fill(body, view)
        if filled:
            yield view[:filled]
        if filled < len(view):
            return


def _fill(body: BinaryIO, view: memoryview) -> int:
    """Read until the view is full or the body ends; returns the number of bytes."""
    read_into = getattr(body, "readinto", None)
    filled = 0
    while filled < len(view):
        if read_into is not None:
            count = int(read_into(view[filled:]) or 0)
        else:
            data = body.read(len(view) - filled)
            count = len(data)
            view[filled : filled + count] = data
        if count == 0:
            break
        filled += count
    return filled


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none."""
    with translated_os_errors(f"reading the folder {folder.name}"):
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            yield from entries
