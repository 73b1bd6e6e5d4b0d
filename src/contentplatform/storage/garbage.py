"""Taking away what nothing refers to, without ever trusting the wall clock.

A blob that no version refers to is marked at one scan, and removed at a later one if a grace period has passed between
the two and still nothing refers to it; that last look and the unlink happen under the write lock, where a writer also
makes sure of its blob. A new reference removes the mark. Temporary files are marked and removed the same way; one that
has been written to since is marked anew.

Time between scans is *proven* time: what the monotonic clock counted between two scans of one boot, and after a reboot
only what has passed since that boot. A wall clock that jumps ten years ahead therefore removes nothing.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from contentplatform.clock import Clock
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.files import Files
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.storage.blobs import STAGED_FOLDER, Blob, BlobFolder, Place
from contentplatform.storage.journal import Journal
from contentplatform.storage.versions import buckets_of, is_referenced, is_staged

_UNLINKS_A_TRANSACTION: Final = 32
"""Few, because every writer waits for them."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one scan did."""

    marked: int = 0
    blobs_removed: int = 0
    bytes_freed: int = 0
    temporaries_removed: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that nothing refers to at this scan. ``blob`` is None for a temporary file."""

    scope: str
    name: str
    modified_ns: int
    size_bytes: int
    path: Path
    blob: Blob | None


class GarbageCollector:
    """Scans one data folder. Several processes may scan it at once."""

    def __init__(
        self,
        database: Database,
        blobs: BlobFolder,
        journal: Journal,
        clock: Clock,
        files: Files,
        *,
        grace_seconds: float,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._journal = journal
        self._clock = clock
        self._files = files
        self.grace_seconds = grace_seconds

    @staticmethod
    def unmark(transaction: Transaction, blob: Blob) -> None:
        """Forget that the blob was once found unreferenced: from now on something refers to it."""
        transaction.run("DELETE FROM garbage_marks WHERE place = ? AND name = ?", (str(blob.place), blob.sha256))

    def collect(self) -> Collected:
        """Scan everything once: mark what is new, remove what is ripe.

        Raises:
            ConfigurationInvalid: the database knows less than the journal, so it can't say what is garbage.
        """
        self._journal.refuse_lost_database()
        now_seconds = self._database.write(self._advance_proven_time)
        total = Collected()
        for scope, lower, upper, candidates in self._scans():
            total = _sum(total, self._settle(scope, lower, upper, list(candidates), now_seconds))
        return total

    def _advance_proven_time(self, transaction: Transaction) -> float:
        boot_id, monotonic_seconds = self._clock.boot_id(), self._clock.monotonic_seconds()
        proven_seconds, last_boot_id, last_monotonic_seconds = transaction.row(
            "SELECT proven_seconds, boot_id, monotonic_seconds FROM garbage_clock"
        ) or (0.0, boot_id, monotonic_seconds)
        since = monotonic_seconds - last_monotonic_seconds if boot_id == last_boot_id else monotonic_seconds
        now_seconds = float(proven_seconds) + max(0.0, since)
        transaction.run(
            "INSERT OR REPLACE INTO garbage_clock VALUES (1, ?, ?, ?)", (now_seconds, boot_id, monotonic_seconds)
        )
        return now_seconds

    # -- scanning ----------------------------------------------------------------------------------------------

    def _scans(self) -> Iterator[tuple[str, str, str, Iterable[_Candidate]]]:
        """What is scanned together: the scope and range of names of the marks, and the candidates in it."""
        for place, shard in self._blobs.shards():
            yield str(place), shard, shard + "g", self._unreferenced(place, shard)
        for place in self._blobs.places():
            scope = f"{place}/.tmp"
            yield scope, "", "~", _temporaries(scope, self._blobs.temporaries(place))
            yield f"{place}/{STAGED_FOLDER}", "", "~", self._unkept(place)
        yield "manifests/.tmp", "", "~", _temporaries("manifests/.tmp", self._journal.temporaries())

    def _unreferenced(self, place: Place, shard: str) -> Iterator[_Candidate]:
        entries = list(self._blobs.files_of_shard(place, shard))
        # Listed first, asked second: a blob that is committed in between counts as referenced.
        referenced = self.referenced(place, shard) if entries else frozenset()
        for entry in entries:
            if entry.name not in referenced:
                yield from _candidates(str(place), entry, Blob(place, entry.name))

    def _unkept(self, place: Place) -> Iterator[_Candidate]:
        """Staged files that nobody keeps."""
        scope = f"{place}/{STAGED_FOLDER}"
        for entry in self._blobs.staged(place):
            with self._database.read() as connection:
                kept = is_staged(connection, entry.name)
            if not kept:
                yield from _candidates(scope, entry, None)

    def referenced(self, place: Place, shard: str) -> frozenset[str]:
        """The hashes beginning with ``shard`` that are no garbage: versions in this place have them, or a rebuild."""
        buckets = buckets_of(place)
        with self._database.read() as connection:
            rows = connection.rows(
                "SELECT DISTINCT sha256 FROM object_versions INDEXED BY object_versions_by_blob"
                " WHERE sha256 >= ? AND sha256 < ? AND storage_class = ?"
                f" AND bucket IN ({', '.join('?' * len(buckets))}) AND tombstoned_at IS NULL"
                " UNION SELECT sha256 FROM unclaimed_blobs WHERE place = ? AND sha256 >= ? AND sha256 < ?",
                (shard, shard + "g", place.storage_class, *buckets, str(place), shard, shard + "g"),
            )
        return frozenset(sha256 for (sha256,) in rows)

    # -- marking and removing ----------------------------------------------------------------------------------

    def _settle(
        self, scope: str, lower: str, upper: str, candidates: list[_Candidate], now_seconds: float
    ) -> Collected:
        with self._database.read() as connection:
            marks = {
                name: (modified_ns, marked_seconds)
                for name, modified_ns, marked_seconds in connection.rows(
                    "SELECT name, modified_ns, marked_seconds FROM garbage_marks"
                    " WHERE place = ? AND name >= ? AND name < ?",
                    (scope, lower, upper),
                )
            }
        fresh = [found for found in candidates if marks.get(found.name, (None,))[0] != found.modified_ns]
        ripe = [
            found
            for found in candidates
            if found not in fresh and now_seconds - marks[found.name][1] >= self.grace_seconds
        ]
        self._mark(scope, fresh, marks.keys() - {found.name for found in candidates}, now_seconds)
        removed: list[_Candidate] = []
        for start in range(0, len(ripe), _UNLINKS_A_TRANSACTION):
            batch = ripe[start : start + _UNLINKS_A_TRANSACTION]
            removed += self._database.write(partial(self._remove, batch))
        blobs = [found for found in removed if found.blob is not None]
        return Collected(len(fresh), len(blobs), sum(b.size_bytes for b in blobs), len(removed) - len(blobs))

    def _mark(self, scope: str, fresh: list[_Candidate], gone: Iterable[str], now_seconds: float) -> None:
        gone_rows = [(scope, name) for name in gone]
        if not fresh and not gone_rows:
            return

        def work(transaction: Transaction) -> None:
            transaction.run_many("DELETE FROM garbage_marks WHERE place = ? AND name = ?", gone_rows)
            transaction.run_many(
                "INSERT OR REPLACE INTO garbage_marks VALUES (?, ?, ?, ?)",
                [(found.scope, found.name, found.modified_ns, now_seconds) for found in fresh],
            )

        self._database.write(work)
        crashpoint("storage.gc.marked")

    def _remove(self, batch: list[_Candidate], transaction: Transaction) -> list[_Candidate]:
        """Unlink under the write lock what is still marked and still unreferenced; returns what was removed."""
        removed = []
        for found in batch:
            still_marked = transaction.run(
                "DELETE FROM garbage_marks WHERE place = ? AND name = ? AND modified_ns = ?",
                (found.scope, found.name, found.modified_ns),
            )
            if not still_marked or _is_kept(transaction, found):
                continue
            crashpoint("storage.gc.before_unlink")
            self._files.unlink(found.path)
            crashpoint("storage.gc.unlinked")
            removed.append(found)
        return removed


def _is_kept(transaction: Transaction, found: _Candidate) -> bool:
    if found.blob is not None:
        return is_referenced(transaction, found.blob)
    return found.scope.endswith(STAGED_FOLDER) and is_staged(transaction, found.name)


def _temporaries(scope: str, entries: Iterable[os.DirEntry[str]]) -> Iterator[_Candidate]:
    for entry in entries:
        yield from _candidates(scope, entry, None)


def _candidates(scope: str, entry: os.DirEntry[str], blob: Blob | None) -> Iterator[_Candidate]:
    """The entry as a candidate; nothing if it has just gone."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    yield _Candidate(scope, entry.name, status.st_mtime_ns, status.st_size, Path(entry.path), blob)


def _sum(one: Collected, other: Collected) -> Collected:
    return Collected(
        one.marked + other.marked,
        one.blobs_removed + other.blobs_removed,
        one.bytes_freed + other.bytes_freed,
        one.temporaries_removed + other.temporaries_removed,
    )
