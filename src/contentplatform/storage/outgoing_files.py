"""Staged files for a store that is far away: bytes come in on this machine's disk, piece by piece, and leave it whole.

What is put into the far store can't commit together with the rows here. So an object says by which upload it came: who
finds it there after a crash does not send it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from contentplatform.clock import IdSource
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.files import FOLDER_MODE, Files, remove_quietly, translated_os_errors
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import Conflict, NotFound
from contentplatform.storage.port import BucketRole, ObjectStore, ObjectVersion, PutOptions, StagedFile
from contentplatform.storage.staging import OpenStaged, Staging
from contentplatform.storage.versions import is_staged

UPLOAD_METADATA: Final = "upload-id"
"""User metadata of an object: the upload by which it came."""
_UNNAMED: Final = "unnamed-"


class OutgoingFiles:
    """See ``TakesStagedFiles`` and ``KnowsContent``.

    Args:
        database: opened with the schema of this room's versions among its schemas.
        store: where the files go.
        folder: where they are meanwhile.
        ids: for names of files that come in one go.
        keys_with: keys of the files that may have a SHA-256.
        files: the file system.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        folder: Path,
        ids: IdSource,
        keys_with: Callable[[str], Iterable[str]],
        files: Files | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._keys_with = keys_with
        with translated_os_errors(f"making the folder {folder.name}"):
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        self.staging = Staging(folder, files or Files())
        self._sweep()

    def stage(self, name: str, size_bytes: int) -> None:
        """See TakesStagedFiles."""
        self.staging.check_room(size_bytes)
        self._database.write(lambda transaction: transaction.run("INSERT INTO staged_files VALUES (?)", (name,)))

    def open_staged(self, name: str, size_bytes: int) -> OpenStaged:
        """See TakesStagedFiles."""
        return self.staging.open(name, size_bytes)

    def alone(self, name: str) -> AbstractContextManager[None]:
        """See TakesStagedFiles."""
        return self.staging.alone(name)

    def open_unnamed(self) -> OpenStaged:
        """See TakesStagedFiles."""
        return self.staging.open_unnamed(self.staging.path(f"{_UNNAMED}{self._ids.new_id()}"))

    def adopt(
        self,
        staged: StagedFile,
        bucket: BucketRole,
        key: str,
        options: PutOptions,
        also: Callable[[ObjectVersion], None],
    ) -> ObjectVersion:
        """See TakesStagedFiles."""
        opened = cast("OpenStaged", staged)
        name = opened.path.name
        version = self._came_before(bucket, key, name) or self._send(opened, bucket, key, options)
        crashpoint("uploads.published")

        def work(transaction: Transaction) -> ObjectVersion:
            transaction.run("DELETE FROM staged_files WHERE name = ?", (name,))
            also(version)
            transaction.after_commit(lambda: self.staging.remove(name))
            return version

        return self._database.write(work)

    def drop_staged(self, name: str) -> None:
        """See TakesStagedFiles."""

        def work(transaction: Transaction) -> None:
            transaction.run("DELETE FROM staged_files WHERE name = ?", (name,))
            transaction.after_commit(lambda: self.staging.remove(name))

        self._database.write(work)

    def discard(self, staged: StagedFile) -> None:
        """See TakesStagedFiles."""
        staged.close()
        opened = cast("OpenStaged", staged)
        if not opened.name:
            remove_quietly(opened.path)

    def holders(self, bucket: BucketRole, sha256: str) -> Iterator[ObjectVersion]:
        """See KnowsContent: of those keys that may have the bytes, the ones of which the store says that they have."""
        for key in self._keys_with(sha256):
            try:
                version = self._store.head(bucket, key)
            except NotFound:
                continue
            if version.proven_sha256 == sha256 and not version.storage_class.archived:
                yield version

    def _came_before(self, bucket: BucketRole, key: str, name: str) -> ObjectVersion | None:
        try:
            current = self._store.head(bucket, key)
        except NotFound:
            return None
        return current if current.user_metadata.get(UPLOAD_METADATA) == name else None

    def _send(self, staged: OpenStaged, bucket: BucketRole, key: str, options: PutOptions) -> ObjectVersion:
        metadata = {**options.user_metadata, UPLOAD_METADATA: staged.path.name}
        with translated_os_errors("reading an upload"), staged.path.open("rb") as body:
            return self._store.put(
                bucket,
                key,
                cast("BinaryIO", body),
                replace(options, user_metadata=metadata, expected_sha256=options.expected_sha256 or staged.sha256()),
            )

    def _sweep(self) -> None:
        """Remove what a process that died left behind, and nobody has open."""
        with translated_os_errors("reading the folder of uploads"):
            names = [path.name for path in self.staging.folder.iterdir()]
        for name in names:
            with self._database.read() as connection:
                kept = is_staged(connection, name)
            if not kept:
                self._remove_unless_open(name)

    def _remove_unless_open(self, name: str) -> None:
        try:
            with self.staging.alone(name):
                self.staging.remove(name)
        except Conflict:
            return
