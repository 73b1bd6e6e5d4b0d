"""What happened to the files, for those who follow: what a write means to them, and the local home's rows of it.

Numbers only grow, and those of a database that was made anew begin beyond all that its predecessor can have given: who
comes back with an old number hears that there is a gap.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from contentplatform.catalog.port import CHANGES_KEPT, CHANGES_KEPT_DAYS, Change, ChangeKind, ChangePage, Record
from contentplatform.clock import parse_timestamp, timestamp
from contentplatform.drivers.sqlite import Connection, Transaction
from contentplatform.media import ProcessingStatus

_ENDS: Final = {
    ProcessingStatus.COMPLETED: ChangeKind.COMPLETED,
    ProcessingStatus.FAILED: ChangeKind.FAILED,
}
_FORGET_EVERY: Final = 1_000
_LARGEST_INTEGER: Final = 2**63 - 1

HISTORY: Final = """
    CREATE TABLE catalog_changes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        file_id TEXT NOT NULL,
        file_path TEXT NOT NULL,
        what TEXT NOT NULL,
        moved_to TEXT
    ) STRICT;
    INSERT INTO sqlite_sequence (name, seq) VALUES ('catalog_changes', unixepoch() * 1000);
"""
"""Made new, it counts on from the milliseconds since 1970: no library has a thousand changes a second for long."""


def change_between(known: Record | None, stored: Record) -> ChangeKind:
    """What happened to a file whose record was ``known`` (None: it had none) and is ``stored`` now."""
    if known is None:
        return ChangeKind.ADDED
    if (known.deleted_at is None) != (stored.deleted_at is None):
        return ChangeKind.UNDELETED if stored.deleted_at is None else ChangeKind.DELETED
    if stored.status is not known.status and stored.status in _ENDS:
        return _ENDS[stored.status]
    return ChangeKind.CHANGED if stored.version_id == known.version_id else ChangeKind.REPLACED


def note_change(
    transaction: Transaction, now: datetime, record: Record, what: ChangeKind, moved_to: str | None = None
) -> None:
    """Write down what happens to a file in this unit of work; now and then, forget what is long ago."""
    sequence = transaction.insert(
        "INSERT INTO catalog_changes (at, file_id, file_path, what, moved_to) VALUES (?, ?, ?, ?, ?)",
        (timestamp(now), record.file_id, record.file_path, what.value, moved_to),
    )
    if sequence % _FORGET_EVERY == 0:
        kept_from = transaction.value(
            "SELECT min(sequence) FROM catalog_changes WHERE at >= ?",
            (timestamp(now - timedelta(days=CHANGES_KEPT_DAYS)),),
        )
        kept_from = max(sequence - CHANGES_KEPT + 1, kept_from)
        transaction.run("DELETE FROM catalog_changes WHERE sequence < ?", (kept_from,))


def changes_after(view: Connection, after: int, limit: int) -> ChangePage:
    """What came after a change, and whether anything in between is forgotten."""
    after = min(max(after, 0), _LARGEST_INTEGER)
    newest = newest_change(view)
    oldest = view.value("SELECT min(sequence) FROM catalog_changes")
    gap = after > newest or (after < newest and (oldest is None or after < oldest - 1))
    rows = view.rows(
        "SELECT sequence, at, file_id, file_path, what, moved_to FROM catalog_changes WHERE sequence > ?"
        " ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    changes = (
        Change(sequence, parse_timestamp(at), file_id, file_path, ChangeKind(what), moved_to)
        for sequence, at, file_id, file_path, what, moved_to in rows
    )
    return ChangePage(tuple(changes), gap)


def newest_change(view: Connection) -> int:
    """The number of the last change that was noted."""
    return int(view.value("SELECT seq FROM sqlite_sequence WHERE name = 'catalog_changes'"))
