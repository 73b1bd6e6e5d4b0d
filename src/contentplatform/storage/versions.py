"""The rows of versions: the tables, what a version is for ever, and how one is found.

``object_versions`` has a row for each version and delete marker that ever was; a deleted one stays as a tombstone, so
that the numbers of a key's versions have no gap and their chain of hashes no missing link. ``object_current`` points at
what a key shows. ``unclaimed_blobs`` are bytes that a rebuild found and no version had: nobody's, but not garbage.
``staged_files`` are the names of files that may become blobs.
Triggers note every change of a version in ``object_journal``, from where the journal takes it.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from contentplatform.clock import parse_timestamp
from contentplatform.drivers.sqlite import Connection, Row, Schema, Transaction
from contentplatform.errors import Conflict, NotFound
from contentplatform.storage.blobs import Blob, Place
from contentplatform.storage.lifecycle import REGION_OF
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions, StorageClass

EVENTS_TABLE: Final = "object_events"
"""The outbox of the primary bucket, for ingest: ``event_id, bucket, key, kind, commit_seq, created_at``.

A row is committed together with the change that it tells of. Whoever has dealt with a row deletes it. Rows say that a
key changed, not what it is now: the reader looks at the store. ``event_id`` only grows.
"""

SCHEMA: Final = Schema(
    "storage",
    (
        """
        CREATE TABLE object_versions (
            commit_seq INTEGER PRIMARY KEY AUTOINCREMENT,
            bucket TEXT NOT NULL,
            key TEXT NOT NULL,
            version_no INTEGER NOT NULL,
            version_id TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('object', 'delete_marker')),
            sha256 TEXT,
            size_bytes INTEGER NOT NULL,
            content_type TEXT NOT NULL,
            user_metadata TEXT NOT NULL,
            created_at TEXT NOT NULL,
            row_hash TEXT NOT NULL,
            tags TEXT NOT NULL,
            storage_class TEXT NOT NULL,
            tombstoned_at TEXT,
            CHECK ((kind = 'object') = (sha256 IS NOT NULL))
        ) STRICT;
        CREATE UNIQUE INDEX object_versions_by_key ON object_versions (bucket, key, version_no DESC);
        CREATE UNIQUE INDEX object_versions_by_id ON object_versions (bucket, key, version_id);
        CREATE INDEX object_versions_by_blob ON object_versions (sha256, storage_class, bucket)
            WHERE sha256 IS NOT NULL AND tombstoned_at IS NULL;
        CREATE INDEX object_versions_buried ON object_versions (sha256, tombstoned_at)
            WHERE sha256 IS NOT NULL AND tombstoned_at IS NOT NULL;

        CREATE TABLE object_current (
            bucket TEXT NOT NULL,
            key TEXT NOT NULL,
            commit_seq INTEGER NOT NULL REFERENCES object_versions (commit_seq),
            PRIMARY KEY (bucket, key)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE object_events (
            event_id INTEGER PRIMARY KEY AUTOINCREMENT,
            bucket TEXT NOT NULL,
            key TEXT NOT NULL,
            kind TEXT NOT NULL,
            commit_seq INTEGER NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT;

        CREATE TABLE object_journal (
            change_seq INTEGER PRIMARY KEY AUTOINCREMENT,
            commit_seq INTEGER NOT NULL
        ) STRICT;
        CREATE TRIGGER object_versions_added AFTER INSERT ON object_versions
            BEGIN INSERT INTO object_journal (commit_seq) VALUES (NEW.commit_seq); END;
        CREATE TRIGGER object_versions_changed AFTER UPDATE ON object_versions
            BEGIN INSERT INTO object_journal (commit_seq) VALUES (NEW.commit_seq); END;

        CREATE TABLE unclaimed_blobs (
            place TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            PRIMARY KEY (place, sha256)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE garbage_clock (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            proven_seconds REAL NOT NULL,
            boot_id TEXT NOT NULL,
            monotonic_seconds REAL NOT NULL
        ) STRICT;
        CREATE TABLE garbage_marks (
            place TEXT NOT NULL,
            name TEXT NOT NULL,
            modified_ns INTEGER NOT NULL,
            marked_seconds REAL NOT NULL,
            PRIMARY KEY (place, name)
        ) STRICT, WITHOUT ROWID;
        """,
        """
        CREATE TABLE staged_files (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
        """,
    ),
)

VERSION_COLUMNS: Final = (
    "v.commit_seq, v.bucket, v.key, v.version_no, v.version_id, v.kind, v.sha256, v.size_bytes, v.content_type,"
    " v.user_metadata, v.created_at, v.storage_class, v.tags,"
    " v.version_no = (SELECT max(n.version_no) FROM object_versions n"
    " WHERE n.bucket = v.bucket AND n.key = v.key AND n.tombstoned_at IS NULL)"
)


@dataclass(frozen=True, slots=True)
class ImmutableFields:
    """What a version is for ever, in the order in which its row and its hash have it."""

    bucket: str
    key: str
    version_no: int
    version_id: str
    kind: str
    sha256: str | None
    size_bytes: int
    content_type: str
    user_metadata: str
    created_at: str

    def values(self) -> tuple[Any, ...]:
        """The fields in order."""
        return (
            self.bucket,
            self.key,
            self.version_no,
            self.version_id,
            self.kind,
            self.sha256,
            self.size_bytes,
            self.content_type,
            self.user_metadata,
            self.created_at,
        )

    def row_hash(self, previous_hash: str) -> str:
        """The hash that chains this version to the one before it; ``previous_hash`` is empty for the first."""
        text = json.dumps([previous_hash, *self.values()], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


IMMUTABLE_COLUMNS: Final = (
    "bucket, key, version_no, version_id, kind, sha256, size_bytes, content_type, user_metadata, created_at"
)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A row of object_versions."""

    commit_seq: int
    bucket: BucketRole
    key: str
    version_no: int
    version_id: str
    kind: str
    sha256: str
    size_bytes: int
    content_type: str
    user_metadata: Mapping[str, str]
    created_at: str
    storage_class: StorageClass
    tags: Mapping[str, str]
    is_latest: bool

    @classmethod
    def from_row(cls, row: Row) -> StoredVersion:
        """From the columns of ``VERSION_COLUMNS``."""
        return cls(
            commit_seq=row[0],
            bucket=BucketRole(row[1]),
            key=row[2],
            version_no=row[3],
            version_id=row[4],
            kind=row[5],
            sha256=row[6] or "",
            size_bytes=row[7],
            content_type=row[8],
            user_metadata=json.loads(row[9]),
            created_at=row[10],
            storage_class=StorageClass(row[11]),
            tags=json.loads(row[12]),
            is_latest=bool(row[13]),
        )

    @property
    def blob(self) -> Blob:
        return Blob(Place(REGION_OF[self.bucket], self.storage_class), self.sha256)

    def as_version(self) -> ObjectVersion:
        return ObjectVersion(
            bucket=self.bucket,
            key=self.key,
            version_id=self.version_id,
            size_bytes=self.size_bytes,
            sha256=self.sha256 or None,
            etag=self.sha256,
            content_type=self.content_type,
            storage_class=self.storage_class,
            created_at=parse_timestamp(self.created_at),
            is_latest=self.is_latest,
            is_delete_marker=self.kind == "delete_marker",
            user_metadata=self.user_metadata,
        )

    def as_options(self) -> PutOptions:
        return PutOptions(self.content_type, self.user_metadata, self.tags, self.storage_class)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be committed; without a hash it is a delete marker."""

    bucket: BucketRole
    key: str
    version_id: str
    created_at: str
    sha256: str | None
    size_bytes: int
    options: PutOptions


def append(transaction: Transaction, draft: Draft) -> StoredVersion:
    """Add the newest version of a key: numbered and chained after the one before it, and current."""
    number, previous_hash = transaction.row(
        "SELECT version_no, row_hash FROM object_versions WHERE bucket = ? AND key = ?"
        " ORDER BY version_no DESC LIMIT 1",
        (draft.bucket, draft.key),
    ) or (0, "")
    immutable = ImmutableFields(
        bucket=draft.bucket,
        key=draft.key,
        version_no=number + 1,
        version_id=draft.version_id,
        kind="delete_marker" if draft.sha256 is None else "object",
        sha256=draft.sha256,
        size_bytes=draft.size_bytes,
        content_type=draft.options.content_type,
        user_metadata=canonical(draft.options.user_metadata),
        created_at=draft.created_at,
    )
    mutable = (canonical(draft.options.tags), draft.options.storage_class)
    commit_seq = transaction.insert(
        f"INSERT INTO object_versions ({IMMUTABLE_COLUMNS}, row_hash, tags, storage_class)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*immutable.values(), immutable.row_hash(previous_hash), *mutable),
    )
    point_at_newest(transaction, draft.bucket, draft.key)
    return row_of(transaction, commit_seq)


def canonical(mapping: Mapping[str, str]) -> str:
    """A mapping as the one JSON text that stands for it."""
    return json.dumps(dict(mapping), sort_keys=True, separators=(",", ":"))


def point_at_newest(transaction: Transaction, bucket: str, key: str) -> None:
    """Make the newest version that is left the current one, unless it is a delete marker."""
    transaction.run("DELETE FROM object_current WHERE bucket = ? AND key = ?", (bucket, key))
    transaction.run(
        "INSERT INTO object_current SELECT bucket, key, commit_seq FROM"
        " (SELECT bucket, key, commit_seq, kind FROM object_versions"
        "  WHERE bucket = ? AND key = ? AND tombstoned_at IS NULL ORDER BY version_no DESC LIMIT 1)"
        " WHERE kind = 'object'",
        (bucket, key),
    )


def find(connection: Connection, bucket: BucketRole, key: str, version_id: str | None) -> StoredVersion:
    """The current object, or the version named if it can be read."""
    if version_id is None:
        row = connection.row(
            f"SELECT {VERSION_COLUMNS} FROM object_current c JOIN object_versions v USING (commit_seq)"
            " WHERE c.bucket = ? AND c.key = ?",
            (bucket, key),
        )
    else:
        row = connection.row(
            f"SELECT {VERSION_COLUMNS} FROM object_versions v WHERE v.bucket = ? AND v.key = ? AND v.version_id = ?"
            " AND v.kind = 'object' AND v.tombstoned_at IS NULL",
            (bucket, key, version_id),
        )
    if row is None:
        what = "object" if version_id is None else f"readable version {version_id}"
        raise NotFound(f"looking up {key} in the {bucket} bucket", f"there is no such {what}")
    return StoredVersion.from_row(row)


def holders(connection: Connection, bucket: BucketRole, sha256: str) -> list[StoredVersion]:
    """The current objects of a bucket that have these bytes, the oldest first."""
    rows = connection.rows(
        f"SELECT {VERSION_COLUMNS} FROM object_versions v INDEXED BY object_versions_by_blob"
        " JOIN object_current c USING (bucket, key, commit_seq)"
        " WHERE v.sha256 = ? AND v.bucket = ? AND v.tombstoned_at IS NULL ORDER BY v.commit_seq",
        (sha256, bucket),
    )
    return [StoredVersion.from_row(row) for row in rows]


def row_of(connection: Connection, commit_seq: int) -> StoredVersion:
    """The row of any version, readable or not."""
    row = connection.row(f"SELECT {VERSION_COLUMNS} FROM object_versions v WHERE v.commit_seq = ?", (commit_seq,))
    return StoredVersion.from_row(cast("Row", row))


def load(connection: Connection, commit_seqs: Sequence[int]) -> tuple[ObjectVersion, ...]:
    """The versions with these numbers, all of one bucket, by key."""
    rows = connection.rows(
        f"SELECT {VERSION_COLUMNS} FROM json_each(?) JOIN object_versions v ON v.commit_seq = json_each.value"
        " ORDER BY v.key",
        (json.dumps(commit_seqs),),
    )
    return tuple(StoredVersion.from_row(row).as_version() for row in rows)


def buckets_of(place: Place) -> tuple[BucketRole, ...]:
    """The buckets whose bytes lie in the region of this place."""
    return tuple(bucket for bucket, region in REGION_OF.items() if region == place.region)


def is_referenced(connection: Connection, blob: Blob) -> bool:
    """Whether a version that is not deleted has these bytes, or they are unclaimed."""
    # By name, because the planner can't know that a hash tells more than a bucket does.
    version = (
        "SELECT 1 FROM object_versions INDEXED BY object_versions_by_blob"
        " WHERE sha256 = ? AND storage_class = ? AND bucket = ? AND tombstoned_at IS NULL LIMIT 1"
    )
    for bucket in buckets_of(blob.place):
        if connection.row(version, (blob.sha256, blob.place.storage_class, bucket)) is not None:
            return True
    unclaimed = "SELECT 1 FROM unclaimed_blobs WHERE place = ? AND sha256 = ?"
    return connection.row(unclaimed, (str(blob.place), blob.sha256)) is not None


def is_staged(connection: Connection, name: str) -> bool:
    """Whether somebody keeps a staged file of this name."""
    return connection.row("SELECT 1 FROM staged_files WHERE name = ?", (name,)) is not None


def refuse_existing(connection: Connection, bucket: BucketRole, key: str) -> None:
    """Raise Conflict if the key has a current object."""
    if connection.row("SELECT 1 FROM object_current WHERE bucket = ? AND key = ?", (bucket, key)) is not None:
        raise Conflict(f"creating {key} in the {bucket} bucket", "it exists already")
