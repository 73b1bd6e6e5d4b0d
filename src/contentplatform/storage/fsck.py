"""The store's part of fsck: are the bytes there, are the rows true, is nothing left over, does nothing stick out.

Every check reads in short statements over ranges of keys, so it can run beside writers and pins no write-ahead log.
What can only be shown by a history, that every acknowledged write is there and that concurrent ones had one order
(I1, I7), is shown by the crash tests; here it is the rows and bytes that such a history leaves behind.

Repairs never touch bytes that anything refers to, nor the last copy of anything: they let the collector take what is
ripe, write the journal anew, and give bytes that nobody claims a name.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Final

from contentplatform.clock import parse_timestamp
from contentplatform.drivers.files import STAGED_MODE, translated_os_errors
from contentplatform.drivers.sqlite import APPLICATION_ID, Row
from contentplatform.findings import Check, CheckRun, Finding, Severity
from contentplatform.storage.blobs import PLACES, STAGED_FOLDER, TEMPORARY_FOLDER, Blob, Place, sha256_of
from contentplatform.storage.journal import MANIFESTS_FOLDER
from contentplatform.storage.lifecycle import REGION_OF
from contentplatform.storage.local import LocalObjectStore, stored_uuid
from contentplatform.storage.port import BucketRole, StorageClass
from contentplatform.storage.versions import IMMUTABLE_COLUMNS, ImmutableFields

_CHUNK_ROWS: Final = 500
_LAG_LIMIT: Final = 10_000
"""So many changes wait for the journal only if nobody writes it."""
_FILE_MODE_LIMIT: Final = 0o440
_FOLDER_MODE_LIMIT: Final = 0o750
_RESTORE: Final = "Restore the bytes from a copy, or delete the version"
_REBUILD: Final = "Run `contentplatform fsck --rebuild-catalog`"


def storage_checks(store: LocalObjectStore) -> tuple[Check, ...]:
    """Every check of the store, cheap ones first."""
    checks = StorageChecks(store)
    return (
        checks.database,
        checks.containment,
        checks.versions,
        checks.references,
        checks.orphans,
        checks.unclaimed,
        checks.temporaries,
        checks.hashes,
        checks.journal,
    )


class StorageChecks:
    """The checks, each a callable of its own."""

    def __init__(self, store: LocalObjectStore) -> None:
        self._store = store
        self._database = store.database
        self._blobs = store.blobs

    # -- the database ------------------------------------------------------------------------------------------

    def database(self, run: CheckRun) -> Iterator[Finding]:
        """I18: the file is sound, ours, of this code's schema, and belongs to this folder."""
        with self._database.read() as connection:
            problems = [
                str(text)
                for (text,) in connection.rows("PRAGMA integrity_check" if run.deep else "PRAGMA quick_check")
                if text != "ok"
            ]
            foreign = connection.rows("PRAGMA foreign_key_check")
            problems += [
                f"table {table}, row {rowid} refers to nothing in {parent}" for table, rowid, parent, _ in foreign
            ]
            schema = connection.value("PRAGMA user_version")
            application = connection.value("PRAGMA application_id")
        if schema != self._database.schema_version:
            problems.append(f"its schema is {schema}, this code's is {self._database.schema_version}")
        if application != APPLICATION_ID:
            problems.append(f"its application id is {application:#x}")
        if stored_uuid(self._store.root) != self._database.uuid:
            problems.append("it belongs to another data folder")
        for problem in problems:
            yield Finding("I18", "database", Severity.DAMAGE, problem, _REBUILD)

    # -- rows --------------------------------------------------------------------------------------------------

    def versions(self, _run: CheckRun) -> Iterator[Finding]:
        """I5, I6, I25: versions are numbered without gap, chained, in commit order; the current one is the newest."""
        for bucket in BucketRole:
            last_key = ""
            while rows := self._versions_of_some_keys(bucket, last_key):
                for key, of_key in groupby(rows, key=lambda row: str(row[1])):
                    yield from _key_problems(bucket, key, list(of_key))
                last_key = rows[-1][1]
        with self._database.read() as connection:
            counted, used = connection.row(
                "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'object_versions'),"
                " (SELECT max(commit_seq) FROM object_versions)"
            ) or (None, None)
        if used is not None and (counted is None or counted < used):
            message = f"the counter of commits stands at {counted}, below {used}: numbers would be given twice"
            yield Finding("I25", "object_versions", Severity.DAMAGE, message, _REBUILD)

    def _versions_of_some_keys(self, bucket: BucketRole, after: str) -> list[Row]:
        """All rows of the next keys, the oldest version of each first, in one statement: one moment."""
        with self._database.read() as connection:
            return connection.rows(
                f"SELECT {IMMUTABLE_COLUMNS}, row_hash, commit_seq, tombstoned_at, (SELECT c.commit_seq"
                " FROM object_current c WHERE c.bucket = v.bucket AND c.key = v.key)"
                " FROM object_versions v WHERE bucket = ?1 AND key > ?2 AND key <= (SELECT max(key) FROM"
                "  (SELECT DISTINCT key FROM object_versions WHERE bucket = ?1 AND key > ?2 ORDER BY key LIMIT ?3))"
                " ORDER BY key, version_no",
                (bucket, after, _CHUNK_ROWS),
            )

    def references(self, _run: CheckRun) -> Iterator[Finding]:
        """I3: what every version refers to is there, whole."""
        last = 0
        while rows := self._live_objects(last):
            for commit_seq, bucket, key, version_id, sha256, size_bytes, storage_class in rows:
                last = commit_seq
                blob = Blob(Place(REGION_OF[BucketRole(bucket)], StorageClass(storage_class)), sha256)
                found_bytes = self._blobs.size_bytes(blob)
                if found_bytes == size_bytes or not self._is_live(commit_seq):
                    continue
                what = "are gone" if found_bytes is None else f"are {found_bytes} instead of {size_bytes}"
                subject = f"{bucket}/{key} version {version_id}"
                yield Finding("I3", subject, Severity.DAMAGE, f"its bytes {what} ({blob.place}/{sha256})", _RESTORE)

    def _live_objects(self, after: int) -> list[Row]:
        with self._database.read() as connection:
            return connection.rows(
                "SELECT commit_seq, bucket, key, version_id, sha256, size_bytes, storage_class FROM object_versions"
                " WHERE commit_seq > ? AND kind = 'object' AND tombstoned_at IS NULL ORDER BY commit_seq LIMIT ?",
                (after, _CHUNK_ROWS),
            )

    def _is_live(self, commit_seq: int) -> bool:
        """Asked again, because the version may have been deleted, and collected, since it was listed."""
        with self._database.read() as connection:
            sql = "SELECT 1 FROM object_versions WHERE commit_seq = ? AND tombstoned_at IS NULL"
            return connection.row(sql, (commit_seq,)) is not None

    # -- files -------------------------------------------------------------------------------------------------

    def hashes(self, run: CheckRun) -> Iterator[Finding]:
        """I2, deep only: every blob's bytes hash to its name."""
        if not run.deep:
            return
        for place, shard in self._blobs.shards():
            for entry in self._blobs.files_of_shard(place, shard):
                path = Path(entry.path)
                if path != self._blobs.path(Blob(place, entry.name)) or sha256_of(path) not in {entry.name, None}:
                    message = "its bytes do not hash to its name, or it lies in the wrong folder"
                    yield Finding("I2", f"{place}/{entry.name}", Severity.DAMAGE, message, _RESTORE)

    def orphans(self, run: CheckRun) -> Iterator[Finding]:
        """I4: bytes that nothing refers to are gone a grace period after the last reference."""
        removed = self._collect(run)
        for place, shard in self._blobs.shards():
            entries = list(self._blobs.files_of_shard(place, shard))
            referenced = self._store.garbage.referenced(place, shard)
            for entry in entries:
                if entry.name not in referenced and self._is_old(entry, self._buried_at(entry.name)):
                    message = "nothing has referred to these bytes for longer than the grace period"
                    hint = "Let a worker run, or `contentplatform fsck --repair`, twice and a grace period apart"
                    yield Finding("I4", f"{place}/{entry.name}", Severity.LEAK, message, hint)
        if removed:
            yield Finding("I4", "blobs", Severity.LEAK, f"{removed} unreferenced files were ripe", "", repaired=True)

    def _collect(self, run: CheckRun) -> int:
        if not run.repair:
            return 0
        collected = self._store.collect_garbage()
        return collected.blobs_removed + collected.temporaries_removed

    def _buried_at(self, sha256: str) -> float:
        """When the last version with these bytes was deleted; 0 if there never was one."""
        with self._database.read() as connection:
            found = connection.value(
                "SELECT max(tombstoned_at) FROM object_versions WHERE sha256 = ? AND tombstoned_at IS NOT NULL",
                (sha256,),
            )
        return parse_timestamp(found).timestamp() if found is not None else 0.0

    def unclaimed(self, run: CheckRun) -> Iterator[Finding]:
        """Bytes that a rebuild of the database found and could not attribute to any version."""
        with self._database.read() as connection:
            rows = connection.rows("SELECT place, sha256 FROM unclaimed_blobs ORDER BY place, sha256")
        places = {str(place): place for place in PLACES}
        for place, sha256 in rows:
            blob = Blob(places[place], sha256)
            size_bytes = self._blobs.size_bytes(blob)
            message = "the database was rebuilt, and no version is known that has these bytes"
            adopted = run.repair and size_bytes is not None
            if adopted:
                self._store.adopt_unclaimed(blob, size_bytes or 0)
            hint = "`contentplatform fsck --repair` puts them under lost+found/"
            yield Finding("I4", f"{place}/{sha256}", Severity.LEAK, message, hint, repaired=adopted)

    def temporaries(self, _run: CheckRun) -> Iterator[Finding]:
        """I21: temporary files belong to somebody who is writing, or are younger than the grace period."""
        entries = [(str(place), entry) for place in self._blobs.places() for entry in self._blobs.temporaries(place)]
        entries += [(MANIFESTS_FOLDER, entry) for entry in self._store.journal.temporaries()]
        for where, entry in entries:
            if self._is_old(entry):
                message = "a temporary file that nobody has written to for longer than the grace period"
                hint = "Let a worker run, or `contentplatform fsck --repair`, twice and a grace period apart"
                yield Finding("I21", f"{where}/{TEMPORARY_FOLDER}/{entry.name}", Severity.LEAK, message, hint)

    def _is_old(self, entry: os.DirEntry[str], not_before: float = 0.0) -> bool:
        try:
            modified = max(entry.stat(follow_symlinks=False).st_mtime, not_before)
        except FileNotFoundError:
            return False
        grace = timedelta(seconds=self._store.garbage.grace_seconds)
        return modified < (self._store.clock.now() - grace).timestamp()

    def containment(self, _run: CheckRun) -> Iterator[Finding]:
        """I23: no link leads out, nothing is writable that must not be, nobody else can read blobs."""
        strict = (*self._blobs.tops(), self._store.journal.folder)
        elsewhere = [folder for folder in strict if not folder.is_relative_to(self._store.root)]
        for top in (self._store.root, *elsewhere):
            for path in _walk(top):
                problem = _mode_problem(path, strict=any(path.is_relative_to(folder) for folder in strict))
                if problem is not None:
                    yield Finding("I23", str(path), Severity.DAMAGE, problem, "Find out who changed it, and undo that")

    # -- the journal -------------------------------------------------------------------------------------------

    def journal(self, run: CheckRun) -> Iterator[Finding]:
        """The manifests can rebuild the rows: they keep up, and, if deep, they are whole and complete."""
        lag = self._store.journal.lag()
        if lag > _LAG_LIMIT:
            message = f"{lag} changes wait to be written beside the blobs"
            yield Finding("I17", MANIFESTS_FOLDER, Severity.WARNING, message, "Let a worker run")
        if not run.deep:
            return
        damaged, missing = self._journal_gaps()
        if damaged or missing:
            if run.repair:
                self._store.journal.rewrite()
            message = f"{damaged} damaged lines, {missing} versions without a line: a rebuild would lose them"
            hint = "`contentplatform fsck --deep --repair` writes it anew from the database"
            yield Finding("I17", MANIFESTS_FOLDER, Severity.DAMAGE, message, hint, repaired=run.repair)

    def _journal_gaps(self) -> tuple[int, int]:
        """The numbers of damaged lines, and of versions that are neither in the journal nor about to be."""
        with self._database.snapshot() as connection:
            pending = {seq for (seq,) in connection.rows("SELECT commit_seq FROM object_journal")}
            expected = {seq for (seq,) in connection.rows("SELECT commit_seq FROM object_versions")} - pending
        while True:
            missing, damaged = set(expected), 0
            segments = self._store.journal.segments()
            for line in chain.from_iterable(segment.lines() for segment in segments):
                if line is None:
                    damaged += 1
                else:
                    missing.discard(line.row["commit_seq"])
            if all(segment.path.exists() for segment in segments):
                return damaged, len(missing)
            # Some were merged while we read, and what they said is in a segment that we have not seen.


def _key_problems(bucket: BucketRole, key: str, rows: list[Row]) -> Iterator[Finding]:
    """What is wrong with the versions of one key, the oldest first."""
    subject = f"{bucket}/{key}"
    if [row[2] for row in rows] != list(range(1, len(rows) + 1)):
        yield Finding("I5", subject, Severity.DAMAGE, "its versions are not numbered without a gap", _REBUILD)
    previous_hash = ""
    for row in rows:
        fields, row_hash = ImmutableFields(*row[:10]), row[10]
        if fields.row_hash(previous_hash) != row_hash:
            message = f"version {fields.version_no} is not what was committed, or not after what it was committed after"
            yield Finding("I5", subject, Severity.DAMAGE, message, _REBUILD)
        previous_hash = row_hash
    if any(later[11] <= earlier[11] for earlier, later in pairwise(rows)):
        yield Finding("I25", subject, Severity.DAMAGE, "its versions are not in the order of their commits", _REBUILD)
    newest = next((row for row in reversed(rows) if row[12] is None), None)
    expected = newest[11] if newest is not None and newest[4] == "object" else None
    if rows[0][13] != expected:
        message = f"commit {rows[0][13]} is its current version, but should be {expected}"
        yield Finding("I6", subject, Severity.DAMAGE, message, _REBUILD)


def _walk(top: Path) -> Iterator[Path]:
    """The folder and everything below it, without following links."""
    yield top
    with translated_os_errors(f"reading {top}"):
        try:
            with os.scandir(top) as entries:
                children = list(entries)
        except FileNotFoundError:
            return
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def _mode_problem(path: Path, *, strict: bool) -> str | None:
    """What is wrong with the file's kind or mode; None if nothing, or if it has just gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    bits = stat.S_IMODE(mode)
    if bits & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH):
        return f"its mode is {bits:04o}: set-id, or writable by everybody"
    limit = _FOLDER_MODE_LIMIT if stat.S_ISDIR(mode) else _FILE_MODE_LIMIT
    if path.parent.name == STAGED_FOLDER:
        limit = _FILE_MODE_LIMIT | STAGED_MODE  # it is being written yet
    if strict and bits & ~limit:
        return f"its mode is {bits:04o}; at most {limit:04o} is right"
    return None
