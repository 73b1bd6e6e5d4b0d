"""The catalog as a table: every file there is, written once a day where questions can be put to it.

One export is one object of JSON lines, gzipped, so it appears whole or not at all, and the same day's export again
takes its place. The catalog is read page by page and the lines go through a scratch file: memory stays the same
however many files there are.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from contentplatform.analytics.tables import CONTENT_METADATA
from contentplatform.catalog.port import Catalog, Record, SearchQuery, walk_records
from contentplatform.clock import Clock
from contentplatform.media import ProcessingStatus, file_name
from contentplatform.storage.lifecycle import Tiering, lifecycle_rules, upload_class
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions, StorageClass

FILE_NAME: Final = "files.json.gz"
CONTENT_TYPE: Final = "application/gzip"
_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """One export."""

    key: str
    """In the analytics bucket."""
    files: int
    size_bytes: int


class MetadataExport:
    """Writes exports.

    Args:
        catalog: what is exported.
        store: where to.
        clock: tells which day it is.
        tiering: by which rules originals age, from which their class is told.
        scratch_folder: on a disk with room for the export, about 60 bytes a file.
    """

    def __init__(
        self, catalog: Catalog, store: ObjectStore, clock: Clock, *, tiering: Tiering, scratch_folder: Path
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._tiering = tiering
        self._scratch_folder = scratch_folder

    def run(self) -> Exported:
        """Export every file that is there now, removed ones left out, as today's (UTC). Idempotent on one day.

        Raises:
            Unavailable: the catalog or the store is; nothing was changed, or all of it.
            NoSpace: the store has no room.
        """
        now = self._clock.now()
        self._scratch_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._scratch_folder) as scratch:
            files = self._write(scratch, now)
            size_bytes = scratch.tell()
            scratch.seek(0)
            key = export_key(now.date())
            self._store.write(BucketRole.ANALYTICS, key, scratch, PutOptions(content_type=CONTENT_TYPE))
        return Exported(key, files, size_bytes)

    def _write(self, target: BinaryIO, now: datetime) -> int:
        files = 0
        # Without a time of writing in the header, equal catalogs give equal bytes.
        with (
            gzip.GzipFile("", "wb", fileobj=target, mtime=0) as packed,
            io.BufferedWriter(packed, _BUFFER_BYTES) as out,
        ):
            for record in walk_records(self._catalog, SearchQuery()):
                out.write(json.dumps(row(record, now, self._tiering), separators=(",", ":")).encode("ascii") + b"\n")
                files += 1
        return files


def export_key(day: date) -> str:
    """Where the export of a day lies in the analytics bucket."""
    path = CONTENT_METADATA.path
    for name, value in (("year", f"{day:%Y}"), ("month", f"{day:%m}"), ("day", f"{day:%d}")):
        path = path.replace(f"${{{name}}}", value)
    return f"{CONTENT_METADATA.folder}{path}{FILE_NAME}"


def row(record: Record, now: datetime, tiering: Tiering) -> dict[str, Any]:
    """A record as a row of the table ``content_metadata``."""
    facts = record.processing_metadata
    return {
        "file_id": record.file_id,
        "file_name": file_name(record.file_path),
        "file_path": record.file_path,
        "kind": record.kind.value,
        "content_type": record.content_type,
        "file_size": record.size_bytes,
        "upload_date": record.upload_time.date().isoformat(),
        "storage_class": class_by_rules(record.size_bytes, (now - record.upload_time).days, tiering).value,
        "processing_status": record.status.value,
        "processing_error_code": None if record.error_code is None else record.error_code.value,
        "processing_seconds": _processing_seconds(record),
        "tags": list(record.tags),
        "metadata": {
            "width": _number(facts.get("width")),
            "height": _number(facts.get("height")),
            "duration": _number(facts.get("duration_seconds")),
            "format": facts.get("format") if isinstance(facts.get("format"), str) else None,
        },
    }


def class_by_rules(size_bytes: int, age_days: int, tiering: Tiering) -> StorageClass:
    """The class that the lifecycle rules give an original of this size and age."""
    found = upload_class(tiering)
    [rule] = [rule for rule in lifecycle_rules(tiering) if rule.bucket is BucketRole.PRIMARY]
    if size_bytes < rule.smallest_moved_bytes:
        return found
    for step in rule.current:
        if age_days >= step.after_days:
            found = step.storage_class
    return found


def _processing_seconds(record: Record) -> float | None:
    if record.status is not ProcessingStatus.COMPLETED or record.processed_at is None:
        return None
    return (record.processed_at - record.upload_time).total_seconds()


def _number(fact: Any) -> int | float | None:
    return fact if isinstance(fact, int | float) and not isinstance(fact, bool) else None
