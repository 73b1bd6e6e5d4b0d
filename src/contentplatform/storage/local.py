"""The store on one machine: bytes in blob files, everything else in the shared database.

A put streams into a temporary file, syncs and names it, and then commits version row, current pointer and event in one
unit of work; only then is it acknowledged. A process that dies before leaves a temporary file or an unreferenced
blob, which nobody sees and which the collector takes away after the grace period.

Versions of a key are ordered by ``commit_seq``, which the database counts; wall time never decides anything. Each row
carries a hash over its immutable fields and the hash of the key's version before it.

Reads of an archived class are refused. A restore will be a row in a table of its own, ``object_restores (commit_seq,
until)``, and a copy of the blob in the STANDARD folder: nothing of the version row has to change for it.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Final, Self

from contentplatform.clock import Clock, IdSource, timestamp
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.files import Files, remove_quietly, translated_os_errors, write_durably
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import (
    Archived,
    ChecksumMismatch,
    ConfigurationInvalid,
    Corrupt,
    InvalidRequest,
    Unavailable,
)
from contentplatform.storage.blobs import STAGED_FOLDER, Blob, BlobFolder, IncomingBlob, Place
from contentplatform.storage.garbage import Collected, GarbageCollector
from contentplatform.storage.journal import Journal
from contentplatform.storage.lifecycle import REGION_OF
from contentplatform.storage.listing import list_objects, list_versions
from contentplatform.storage.port import (
    CHUNK_SIZE_BYTES,
    LIST_PAGE_SIZE,
    BucketRole,
    ByteRange,
    Listing,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    StagedFile,
    StorageClass,
    check_object_key,
    check_options,
    check_tags,
)
from contentplatform.storage.staging import OpenStaged, Staging
from contentplatform.storage.versions import (
    EVENTS_TABLE,
    SCHEMA,
    Draft,
    StoredVersion,
    append,
    buckets_of,
    canonical,
    find,
    holders,
    is_referenced,
    point_at_newest,
    refuse_existing,
)

__all__ = ["EVENTS_TABLE", "SCHEMA", "LocalObjectReader", "LocalObjectStore", "stored_uuid"]

PLATFORM_FILE: Final = "platform.json"

_STAGED_PLACE: Final = Place(REGION_OF[BucketRole.PRIMARY], StorageClass.STANDARD)
_NOTHING: Final[Mapping[StorageClass, Path]] = MappingProxyType({})


class LocalObjectStore(ObjectStore):
    """Objects on this machine's disks. Safe to use from any thread and from several processes on one root.

    Args:
        database: opened with this module's ``SCHEMA`` among its schemas.
        root: the data folder; it must exist.
        clock: for creation times, and for the collector's proof that time has passed.
        ids: for version ids and names of temporary files.
        gc_grace_seconds: how long unreferenced bytes and temporary files are kept.
        class_folders: storage classes that live elsewhere, on another disk for instance.
        on_event: the doorbell: called after each commit that added an event; must be quick and not raise.
        files: the file system.
    """

    def __init__(
        self,
        database: Database,
        root: Path,
        clock: Clock,
        ids: IdSource,
        *,
        gc_grace_seconds: float = 86_400,
        class_folders: Mapping[StorageClass, Path] = _NOTHING,
        on_event: Callable[[], None] | None = None,
        files: Files | None = None,
    ) -> None:
        self.root = root
        self.database = database
        self.clock = clock
        self._ids = ids
        self._on_event = on_event
        self._files = files or Files()
        self.blobs = BlobFolder(root, class_folders, self._files, ids)
        self.staging = Staging(self.blobs.folder(_STAGED_PLACE) / STAGED_FOLDER, self._files)
        self.journal = Journal(database, root, self._files, ids)
        _claim_root(root, database.uuid, self._files, self.journal)
        self.journal.refuse_lost_database()
        self.garbage = GarbageCollector(
            database, self.blobs, self.journal, clock, self._files, grace_seconds=gc_grace_seconds
        )

    # -- writing -----------------------------------------------------------------------------------------------

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        check_object_key(key)
        check_options(options)
        if options.create_only:
            with self.database.read() as connection:  # spares the transfer; the commit decides
                refuse_existing(connection, bucket, key)
        incoming = self.blobs.receive(body, Place(REGION_OF[bucket], options.storage_class), options.expected_sha256)
        version = self._commit_incoming(incoming, bucket, key, options, event="put")
        crashpoint("storage.put.committed")
        return version

    def _commit_incoming(
        self, incoming: IncomingBlob, bucket: BucketRole, key: str, options: PutOptions, *, event: str
    ) -> ObjectVersion:
        """Publish the bytes and commit the version that refers to them."""

        def work(transaction: Transaction) -> ObjectVersion:
            self.blobs.hold(incoming)
            transaction.after_commit(lambda: self.blobs.discard(incoming))
            return self._add_object(transaction, event, bucket, key, incoming.blob, incoming.size_bytes, options)

        try:
            self.blobs.publish(incoming)
            crashpoint("storage.put.before_commit")
            return self.database.write(work)
        except BaseException:
            self.blobs.discard(incoming)
            raise

    # -- staged files: see TakesStagedFiles --------------------------------------------------------------------

    def stage(self, name: str, size_bytes: int) -> None:
        self.blobs.make_staging_folder(_STAGED_PLACE)
        self.staging.check_room(size_bytes)
        self.database.write(lambda transaction: transaction.run("INSERT INTO staged_files VALUES (?)", (name,)))

    def open_staged(self, name: str, size_bytes: int) -> OpenStaged:
        return self.staging.open(name, size_bytes)

    def alone(self, name: str) -> AbstractContextManager[None]:
        return self.staging.alone(name)

    def open_unnamed(self) -> OpenStaged:
        return self.staging.open_unnamed(self.blobs.new_temporary(_STAGED_PLACE))

    def adopt(
        self,
        staged: StagedFile,
        bucket: BucketRole,
        key: str,
        options: PutOptions,
        also: Callable[[ObjectVersion], None],
    ) -> ObjectVersion:
        check_object_key(key)
        check_options(options)
        if not isinstance(staged, OpenStaged) or Place(REGION_OF[bucket], options.storage_class) != _STAGED_PLACE:
            raise InvalidRequest(f"storing {key}", "a staged file can't become an object there")
        sha256 = staged.sha256()
        if options.expected_sha256 not in {None, sha256}:
            raise ChecksumMismatch(
                f"storing {key}", f"its SHA-256 is {sha256}, not {options.expected_sha256}", hint="Send it again"
            )
        incoming = IncomingBlob(Blob(_STAGED_PLACE, sha256), staged.size_bytes, staged.path)

        def work(transaction: Transaction) -> ObjectVersion:
            self.blobs.hold(incoming)
            version = self._add_object(transaction, "put", bucket, key, incoming.blob, incoming.size_bytes, options)
            transaction.run("DELETE FROM staged_files WHERE name = ?", (staged.name,))
            also(version)
            self.staging.forget(staged.name)
            transaction.after_commit(lambda: self.blobs.discard(incoming))
            return version

        self.blobs.publish(incoming)
        crashpoint("uploads.published")
        return self.database.write(work)

    def drop_staged(self, name: str) -> None:
        def work(transaction: Transaction) -> None:
            transaction.run("DELETE FROM staged_files WHERE name = ?", (name,))
            transaction.after_commit(lambda: self.staging.remove(name))

        self.database.write(work)

    def discard(self, staged: StagedFile) -> None:
        staged.close()
        if isinstance(staged, OpenStaged) and not staged.name:
            remove_quietly(staged.path)

    def holders(self, bucket: BucketRole, sha256: str) -> Iterator[ObjectVersion]:
        """See KnowsContent."""
        with self.database.read() as connection:
            found = holders(connection, bucket, sha256)
        yield from (stored.as_version() for stored in found if not stored.storage_class.archived)

    def copy(
        self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None = None
    ) -> ObjectVersion:
        check_object_key(key)
        if options is not None:
            check_options(options)
        original = self._readable(source.bucket, source.key, source.version_id)
        wanted = options or original.as_options()
        if wanted.expected_sha256 not in {None, original.sha256}:
            raise ChecksumMismatch(f"copying {source.key}", f"its SHA-256 is {original.sha256}")
        target = Blob(Place(REGION_OF[bucket], wanted.storage_class), original.sha256)
        if target != original.blob and not self._is_kept_whole(target, original.size_bytes):
            return self._copy_bytes(original, target, bucket, key, wanted)
        self._check_file(target, original)

        def work(transaction: Transaction) -> ObjectVersion:
            find(transaction, source.bucket, source.key, source.version_id)
            if not is_referenced(transaction, target):
                raise Unavailable(f"copying {source.key}", "its bytes were just moved", hint="Try again")
            crashpoint("storage.copy.before_commit")
            return self._add_object(transaction, "copy", bucket, key, target, original.size_bytes, wanted)

        return self.database.write(work)

    def _copy_bytes(
        self, original: StoredVersion, target: Blob, bucket: BucketRole, key: str, options: PutOptions
    ) -> ObjectVersion:
        """Another region or class is another place: bring the bytes there, and check them on the way."""
        with self._open_file(original) as body:
            incoming = self.blobs.receive(body, target.place, None)
        if incoming.blob != target:
            self.blobs.discard(incoming)
            raise _damaged(original, "they no longer hash to its name")
        return self._commit_incoming(incoming, bucket, key, options, event="copy")

    def adopt_unclaimed(self, blob: Blob, size_bytes: int) -> ObjectVersion:
        """Make bytes that a rebuild could not attribute an object again, under ``lost+found/`` and their hash."""
        bucket, *_ = buckets_of(blob.place)
        options = PutOptions(storage_class=blob.place.storage_class)

        def work(transaction: Transaction) -> ObjectVersion:
            key = f"lost+found/{blob.sha256}"
            version = self._add_object(transaction, "put", bucket, key, blob, size_bytes, options)
            transaction.run(
                "DELETE FROM unclaimed_blobs WHERE place = ? AND sha256 = ?", (str(blob.place), blob.sha256)
            )
            return version

        return self.database.write(work)

    def delete(self, bucket: BucketRole, key: str) -> ObjectVersion:
        check_object_key(key)

        def work(transaction: Transaction) -> ObjectVersion:
            marker = self._add(transaction, "delete", self._draft(bucket, key, PutOptions()))
            crashpoint("storage.delete.before_commit")
            return marker

        return self.database.write(work)

    def delete_version(self, bucket: BucketRole, key: str, version_id: str) -> None:
        def work(transaction: Transaction) -> None:
            commit_seq = transaction.value(
                "SELECT commit_seq FROM object_versions"
                " WHERE bucket = ? AND key = ? AND version_id = ? AND tombstoned_at IS NULL",
                (bucket, key, version_id),
            )
            if commit_seq is None:
                return
            transaction.run(
                "UPDATE object_versions SET tombstoned_at = ? WHERE commit_seq = ?",
                (timestamp(self.clock.now()), commit_seq),
            )
            point_at_newest(transaction, bucket, key)
            self._tell(transaction, bucket, key, "delete_version", commit_seq)
            crashpoint("storage.delete_version.before_commit")

        self.database.write(work)

    def set_tags(self, bucket: BucketRole, key: str, tags: Mapping[str, str], *, version_id: str | None = None) -> None:
        check_tags(tags)

        def work(transaction: Transaction) -> None:
            stored = find(transaction, bucket, key, version_id)
            transaction.run(
                "UPDATE object_versions SET tags = ? WHERE commit_seq = ?", (canonical(tags), stored.commit_seq)
            )
            crashpoint("storage.set_tags.before_commit")

        self.database.write(work)

    def _add_object(
        self,
        transaction: Transaction,
        event: str,
        bucket: BucketRole,
        key: str,
        blob: Blob,
        size_bytes: int,
        options: PutOptions,
    ) -> ObjectVersion:
        if options.create_only:
            refuse_existing(transaction, bucket, key)
        GarbageCollector.unmark(transaction, blob)
        return self._add(transaction, event, self._draft(bucket, key, options, blob.sha256, size_bytes))

    def _draft(
        self, bucket: BucketRole, key: str, options: PutOptions, sha256: str | None = None, size_bytes: int = 0
    ) -> Draft:
        return Draft(bucket, key, self._ids.new_id(), timestamp(self.clock.now()), sha256, size_bytes, options)

    def _add(self, transaction: Transaction, event: str, draft: Draft) -> ObjectVersion:
        stored = append(transaction, draft)
        self._tell(transaction, stored.bucket, stored.key, event, stored.commit_seq)
        return stored.as_version()

    def _tell(self, transaction: Transaction, bucket: BucketRole, key: str, kind: str, commit_seq: int) -> None:
        if bucket is not BucketRole.PRIMARY:
            return
        transaction.run(
            f"INSERT INTO {EVENTS_TABLE} (bucket, key, kind, commit_seq, created_at) VALUES (?, ?, ?, ?, ?)",
            (bucket, key, kind, commit_seq, timestamp(self.clock.now())),
        )
        if self._on_event is not None:
            transaction.after_commit(self._on_event)

    # -- reading -----------------------------------------------------------------------------------------------

    def open(
        self, bucket: BucketRole, key: str, *, version_id: str | None = None, byte_range: ByteRange | None = None
    ) -> LocalObjectReader:
        stored = self._readable(bucket, key, version_id)
        first, size_bytes = _resolve(byte_range, stored)
        return LocalObjectReader(stored.as_version(), self._open_file(stored), first, size_bytes)

    def local_file(self, version: ObjectVersion) -> Path:
        """See HasLocalFiles."""
        stored = self._readable(version.bucket, version.key, version.version_id)
        self._check_file(stored.blob, stored)
        return self.blobs.path(stored.blob)

    def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
        with self.database.read() as connection:
            return find(connection, bucket, key, version_id).as_version()

    def tags(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> Mapping[str, str]:
        with self.database.read() as connection:
            return find(connection, bucket, key, version_id).tags

    def newest_change(self) -> int:
        """See TellsChanges. What the journal has taken was counted, too."""
        with self.database.read() as connection:
            return int(connection.value("SELECT seq FROM sqlite_sequence WHERE name = 'object_journal'") or 0)

    def current_id(self, bucket: BucketRole, key: str) -> str | None:
        """See TellsChanges."""
        with self.database.read() as connection:
            found: str | None = connection.value(
                "SELECT v.version_id FROM object_current c JOIN object_versions v USING (commit_seq)"
                " WHERE c.bucket = ? AND c.key = ?",
                (bucket, key),
            )
            return found

    def _readable(self, bucket: BucketRole, key: str, version_id: str | None) -> StoredVersion:
        with self.database.read() as connection:
            stored = find(connection, bucket, key, version_id)
        if stored.storage_class.archived:
            raise Archived(
                f"reading {key}", f"it is in {stored.storage_class}", hint="Restore it first, then try again"
            )
        return stored

    def _is_kept_whole(self, blob: Blob, size_bytes: int) -> bool:
        with self.database.read() as connection:
            return is_referenced(connection, blob) and self.blobs.size_bytes(blob) == size_bytes

    def _check_file(self, blob: Blob, stored: StoredVersion) -> None:
        size_bytes = self.blobs.size_bytes(blob)
        if size_bytes is None:
            raise _damaged(stored, "they are gone")
        if size_bytes != stored.size_bytes:
            raise _damaged(stored, f"there are {size_bytes} instead of {stored.size_bytes}")

    def _open_file(self, stored: StoredVersion) -> io.FileIO:
        with translated_os_errors(f"opening {stored.key}"):
            try:
                file = io.FileIO(self.blobs.path(stored.blob))
            except FileNotFoundError as error:
                raise _damaged(stored, "they are gone") from error
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size_bytes != stored.size_bytes:
            file.close()
            raise _damaged(stored, f"there are {size_bytes} instead of {stored.size_bytes}")
        return file

    # -- listing -----------------------------------------------------------------------------------------------

    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        with self.database.read() as connection:
            return list_objects(connection, bucket, prefix, delimiter, continuation, limit)

    def list_versions(
        self, bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, limit: int = LIST_PAGE_SIZE
    ) -> Listing:
        with self.database.read() as connection:
            return list_versions(connection, bucket, prefix, continuation, limit)

    # -- housekeeping ------------------------------------------------------------------------------------------

    def collect_garbage(self) -> Collected:
        """Remove bytes and temporary files that nothing has referred to for the grace period. See garbage.py."""
        return self.garbage.collect()

    def flush_journal(self) -> int:
        """Write what changed into the manifests; returns the number of changes written. See journal.py."""
        return self.journal.flush()


class LocalObjectReader:
    """An open blob file, handed out only as far as it is what was stored."""

    def __init__(self, version: ObjectVersion, file: io.FileIO, first: int, size_bytes: int) -> None:
        self._version = version
        self._file = file
        self._left = size_bytes
        self._whole = size_bytes == version.size_bytes
        self._digest = hashlib.sha256()
        file.seek(first)

    @property
    def version(self) -> ObjectVersion:
        """What is being read."""
        return self._version

    def read(self, size: int = -1, /) -> bytes:
        """See ObjectReader. The last piece of a whole object is handed out only once all of it has the right hash."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._read_exactly(wanted)
        self._left -= wanted
        if self._whole:
            self._digest.update(data)
            if self._left == 0 and self._digest.hexdigest() != self._version.sha256:
                raise Corrupt(
                    f"reading {self._version.key}",
                    "its stored bytes are damaged",
                    hint="Run `contentplatform fsck --deep`, and restore it from a copy",
                )
        return data

    def chunks(self) -> Iterator[bytes]:
        """See ObjectReader."""
        while data := self.read(CHUNK_SIZE_BYTES):
            yield data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _read_exactly(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            with translated_os_errors(f"reading {self._version.key}"):
                piece = self._file.read(count)
            if not piece:
                raise Corrupt(f"reading {self._version.key}", "its stored bytes were cut short while being read")
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _damaged(stored: StoredVersion, why: str) -> Corrupt:
    return Corrupt(
        f"reading the bytes of {stored.key}",
        why,
        hint="Run `contentplatform fsck --deep`, and restore it from a copy",
        private=str(stored.blob),
    )


def _resolve(byte_range: ByteRange | None, stored: StoredVersion) -> tuple[int, int]:
    """The first byte and the number of bytes that a range means in this object."""
    if byte_range is None:
        return 0, stored.size_bytes
    last = stored.size_bytes - 1 if byte_range.last is None else min(byte_range.last, stored.size_bytes - 1)
    if not 0 <= byte_range.first <= last:
        raise InvalidRequest(
            f"reading a range of {stored.key}", f"no byte of its {stored.size_bytes} is in {byte_range}"
        )
    return byte_range.first, last - byte_range.first + 1


# -- the data folder -------------------------------------------------------------------------------------------


def stored_uuid(root: Path) -> str | None:
    """The identity of the data folder, None for a new one. A database made for the folder must get it."""
    try:
        return str(json.loads((root / PLATFORM_FILE).read_bytes())["uuid"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationInvalid(f"opening {root}", f"{PLATFORM_FILE} can't be read ({error})") from error


def _claim_root(root: Path, uuid: str, files: Files, journal: Journal) -> None:
    """Tie the folder and the database together: a database put here from elsewhere must not rule these blobs."""
    known = stored_uuid(root)
    if known is None:
        content = json.dumps({"format": 1, "uuid": uuid}).encode() + b"\n"
        write_durably(files, root / PLATFORM_FILE, content, journal.new_temporary())
    elif known != uuid:
        raise ConfigurationInvalid(
            f"opening {root}",
            "its database belongs to another data folder",
            hint="Put back the folder's own database, or run `contentplatform fsck --rebuild-catalog`",
        )
