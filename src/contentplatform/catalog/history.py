"""What a write means to those who follow what happens."""

from __future__ import annotations

from typing import Final

from contentplatform.catalog.port import ChangeKind, Record
from contentplatform.media import ProcessingStatus

_ENDS: Final = {
    ProcessingStatus.COMPLETED: ChangeKind.COMPLETED,
    ProcessingStatus.FAILED: ChangeKind.FAILED,
}


def change_between(known: Record | None, stored: Record) -> ChangeKind:
    """What happened to a file whose record was ``known`` (None: it had none) and is ``stored`` now."""
    if known is None:
        return ChangeKind.ADDED
    if (known.deleted_at is None) != (stored.deleted_at is None):
        return ChangeKind.UNDELETED if stored.deleted_at is None else ChangeKind.DELETED
    if stored.status is not known.status and stored.status in _ENDS:
        return _ENDS[stored.status]
    return ChangeKind.CHANGED if stored.version_id == known.version_id else ChangeKind.REPLACED
