"""The journal: what the database knows about versions, written beside the blobs, so that the two can rebuild it.

``manifests/`` holds segments of JSON lines. A line is one version row as it was after one change, its place in the
order of changes, and a SHA-256 over the line: ``{"check": …, "change_seq": …, "row": {…}}``. Of several lines on one
row the one with the greatest ``change_seq`` holds, so lines may be written twice and segments merged in any order, and
no crash between two steps can hurt: a segment is written beside, synced, renamed, and only then are the changes struck
off the list in the database, or the merged segments removed.

The journal is written a moment behind the commits. What was not yet in it when a database is lost is still there as
blobs; fsck finds those.
"""

# ruff: noqa: S608 - statements are put together from constants only; every value is bound

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contentplatform.clock import IdSource
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.files import Files, remove_quietly, translated_os_errors
from contentplatform.drivers.sqlite import Database, Row, Transaction
from contentplatform.errors import ConfigurationInvalid, Conflict
from contentplatform.storage.blobs import TEMPORARY_FOLDER, BlobFolder, entries_of
from contentplatform.storage.versions import point_at_newest

MANIFESTS_FOLDER: Final = "manifests"
_SUFFIX: Final = ".jsonl"
_CHANGES_A_SEGMENT: Final = 5_000
_MERGED_AT_ONCE: Final = 32
"""So many segments of about one size are merged into one, so their number stays small whatever their rate."""
_SIZE_STEPS_BYTES: Final = (256 << 10, 8 << 20)
"""Segments below the first step are merged with each other, and those below the second; larger ones stay."""
_ROW_COLUMNS: Final = (
    "commit_seq",
    "bucket",
    "key",
    "version_no",
    "version_id",
    "kind",
    "sha256",
    "size_bytes",
    "content_type",
    "user_metadata",
    "created_at",
    "row_hash",
    "tags",
    "storage_class",
    "tombstoned_at",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One journalled change: the version row after it."""

    change_seq: int
    row: dict[str, Any]

    def text(self) -> str:
        """The line as it is written, without its end."""
        return json.dumps({"check": self._check(), "change_seq": self.change_seq, "row": self.row}, ensure_ascii=True)

    @classmethod
    def parse(cls, text: bytes) -> Line | None:
        """The line, None if it is damaged."""
        try:
            value = json.loads(text)
            line = cls(int(value["change_seq"]), {name: value["row"][name] for name in _ROW_COLUMNS})
        except (ValueError, KeyError, TypeError):
            return None
        return line if value.get("check") == line._check() else None

    def _check(self) -> str:
        text = json.dumps([self.change_seq, self.row], ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal. Its name tells its first and last change and a digest of its content."""

    path: Path
    last_change_seq: int

    @classmethod
    def parse(cls, path: Path) -> Segment | None:
        """The segment at this path, None if it is something else."""
        parts = path.name.removesuffix(_SUFFIX).split("-")
        if not path.name.endswith(_SUFFIX) or len(parts) != 3 or not parts[1].isdecimal():
            return None
        return cls(path, int(parts[1]))

    def lines(self) -> Iterator[Line | None]:
        """Its lines in order, None for a damaged one; none at all if it has just been merged into another."""
        with translated_os_errors(f"reading {self.path.name}"):
            try:
                file = self.path.open("rb")
            except FileNotFoundError:
                return
            with file:
                for text in file:
                    yield Line.parse(text)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found. Unclaimed blobs are kept until somebody decides: see fsck."""

    versions: int
    damaged_lines: int
    unclaimed_blobs: int


class Journal:
    """The segments of one data folder. Several processes may write them at once."""

    def __init__(self, database: Database, root: Path, files: Files, ids: IdSource) -> None:
        self._database = database
        self._files = files
        self._ids = ids
        self.folder = root / MANIFESTS_FOLDER
        self._temporaries = self.folder / TEMPORARY_FOLDER
        for folder in (self.folder, self._temporaries):
            files.make_folder(folder)
            files.sync_folder(folder.parent)

    # -- reading -----------------------------------------------------------------------------------------------

    def segments(self) -> list[Segment]:
        """Every segment, the oldest name first."""
        paths = sorted(Path(entry.path) for entry in entries_of(self.folder))
        return [segment for path in paths if (segment := Segment.parse(path)) is not None]

    def new_temporary(self) -> Path:
        """A name for a temporary file that the collector sweeps if its writer dies."""
        return self._temporaries / self._ids.new_id()

    def temporaries(self) -> Iterator[os.DirEntry[str]]:
        """Temporary files, of writers alive or dead."""
        return entries_of(self._temporaries)

    def lag(self) -> int:
        """How many changes are committed but not yet written."""
        with self._database.read() as connection:
            return int(connection.value("SELECT count(*) FROM object_journal"))

    def refuse_lost_database(self) -> None:
        """Raise ConfigurationInvalid if the journal tells of changes that the database has never seen.

        Then the database is new or an old copy, and what it does not know must neither be served as absent nor be
        taken for garbage.
        """
        written = max((segment.last_change_seq for segment in self.segments()), default=0)
        with self._database.read() as connection:
            known = connection.value("SELECT seq FROM sqlite_sequence WHERE name = 'object_journal'") or 0
        if written > known:
            raise ConfigurationInvalid(
                f"opening {self.folder.parent}",
                f"the database knows {known} changes, the journal beside the blobs {written}: it was lost, or is old",
                hint="Run `contentplatform fsck --rebuild-catalog`",
            )

    # -- writing -----------------------------------------------------------------------------------------------

    def flush(self) -> int:
        """Write the changes that are not in the journal yet; returns how many. Durable on return."""
        written = 0
        while pending := self._pending():
            self._write_segment([Line(change_seq, row) for change_seq, row in pending])
            self._strike_off(pending[0][0], pending[-1][0])
            written += len(pending)
        if written:
            self._merge_small_segments()
        return written

    def rewrite(self) -> None:
        """Write every version into the journal anew, and drop the segments that were there before.

        For a journal that has lost lines. Until the new segments are durable the old ones stay.
        """
        old = self.segments()
        self._database.write(
            lambda transaction: transaction.run(
                "INSERT INTO object_journal (commit_seq) SELECT commit_seq FROM object_versions ORDER BY commit_seq"
            )
        )
        self.flush()
        for segment in old:
            self._files.unlink(segment.path)

    def _strike_off(self, first_change_seq: int, last_change_seq: int) -> None:
        def work(transaction: Transaction) -> None:
            transaction.run(
                "DELETE FROM object_journal WHERE change_seq BETWEEN ? AND ?", (first_change_seq, last_change_seq)
            )

        self._database.write(work)

    def _pending(self) -> list[tuple[int, dict[str, Any]]]:
        columns = ", ".join(f"v.{name}" for name in _ROW_COLUMNS)
        with self._database.read() as connection:
            rows: list[Row] = connection.rows(
                f"SELECT j.change_seq, {columns} FROM object_journal j JOIN object_versions v USING (commit_seq)"
                " ORDER BY j.change_seq LIMIT ?",
                (_CHANGES_A_SEGMENT,),
            )
        return [(row[0], dict(zip(_ROW_COLUMNS, row[1:], strict=True))) for row in rows]

    def _write_segment(self, lines: list[Line]) -> Path:
        content = "".join(line.text() + "\n" for line in lines).encode("ascii")
        digest = hashlib.sha256(content).hexdigest()[:12]
        target = self.folder / f"{lines[0].change_seq:019d}-{lines[-1].change_seq:019d}-{digest}{_SUFFIX}"
        temporary = self.new_temporary()
        descriptor = self._files.create(temporary)
        try:
            try:
                self._files.write(descriptor, memoryview(content))
                self._files.sync(descriptor)
            finally:
                os.close(descriptor)
            crashpoint("storage.journal.written")
            self._files.rename(temporary, target)
        except BaseException:
            remove_quietly(temporary)
            raise
        self._files.sync_folder(self.folder)
        crashpoint("storage.journal.renamed")
        return target

    def _merge_small_segments(self) -> None:
        lower_bytes = 0
        for upper_bytes in _SIZE_STEPS_BYTES:
            try:
                small = [s for s in self.segments() if lower_bytes <= s.path.stat().st_size < upper_bytes]
                while len(small) >= _MERGED_AT_ONCE:
                    self._merge(small[:_MERGED_AT_ONCE])
                    small = small[_MERGED_AT_ONCE:]
            except FileNotFoundError:
                return  # another process is merging the same ones
            lower_bytes = upper_bytes

    def _merge(self, segments: list[Segment]) -> None:
        """Replace the segments by one that holds each row's last line. Damaged segments are left as they are."""
        latest: dict[int, Line] = {}
        for segment in segments:
            for line in segment.lines():
                if line is None:
                    return
                _keep_latest(latest, line)
        if not latest:
            return  # another process has merged them all
        merged = self._write_segment(sorted(latest.values(), key=lambda line: line.change_seq))
        crashpoint("storage.journal.merged")
        for segment in segments:
            if segment.path != merged:
                self._files.unlink(segment.path)


def rebuild_from_journal(database: Database, root: Path, blobs: BlobFolder) -> Rebuilt:
    """Fill an empty database's versions from the journal; then the store can be opened again.

    The database must have been made with the folder's own ``stored_uuid``. Events are not told again. Blobs that no
    line mentions, stored in the last moments before the loss, are noted as unclaimed and thus safe from the collector.

    Raises:
        Conflict: the database has versions already.
    """
    latest: dict[int, Line] = {}
    damaged_lines = last_change_seq = 0
    for path in sorted((root / MANIFESTS_FOLDER).glob(f"*{_SUFFIX}")):
        segment = Segment.parse(path)
        for line in segment.lines() if segment is not None else ():
            if line is None:
                damaged_lines += 1
                continue
            _keep_latest(latest, line)
            last_change_seq = max(last_change_seq, line.change_seq)
    known = {line.row["sha256"] for line in latest.values()}
    unclaimed = [blob for blob in blobs.every_blob() if blob.sha256 not in known]

    def work(transaction: Transaction) -> None:
        _insert(transaction, latest.values(), last_change_seq)
        transaction.run_many(
            "INSERT INTO unclaimed_blobs VALUES (?, ?)", [(str(blob.place), blob.sha256) for blob in unclaimed]
        )

    database.write(work)
    return Rebuilt(len(latest), damaged_lines, len(unclaimed))


def _insert(transaction: Transaction, lines: Iterable[Line], last_change_seq: int) -> None:
    if transaction.value("SELECT 1 FROM object_versions LIMIT 1") is not None:
        raise Conflict("rebuilding the database", "it has versions already", hint="Move it away first")
    rows = [line.row for line in lines]
    transaction.run_many(
        f"INSERT INTO object_versions ({', '.join(_ROW_COLUMNS)}) VALUES ({', '.join('?' * len(_ROW_COLUMNS))})",
        [tuple(row[name] for name in _ROW_COLUMNS) for row in sorted(rows, key=lambda row: row["commit_seq"])],
    )
    for bucket, key in dict.fromkeys((row["bucket"], row["key"]) for row in rows):
        point_at_newest(transaction, bucket, key)
    # The rows came from the journal: nothing has to be written to it, and its count goes on from where it was.
    transaction.run("DELETE FROM object_journal")
    transaction.run("DELETE FROM sqlite_sequence WHERE name = 'object_journal'")
    transaction.run("INSERT INTO sqlite_sequence VALUES ('object_journal', ?)", (last_change_seq,))


def _keep_latest(latest: dict[int, Line], line: Line) -> None:
    known = latest.get(line.row["commit_seq"])
    if known is None or known.change_seq < line.change_seq:
        latest[line.row["commit_seq"]] = line
