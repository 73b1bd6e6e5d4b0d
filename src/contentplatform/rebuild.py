"""Makes a lost or damaged database anew from what lies beside it: blobs, their journal, and the sidecar manifests.

Versions come back from the journal below the store; records, with what people wrote, from the manifests that the
store keeps as objects; what neither tells, the upload handler works out again from the bytes. The old database is
moved aside, never deleted.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contentplatform import log
from contentplatform.accounts import local as accounts
from contentplatform.accounts.audit import NOTE_FILE_NAME
from contentplatform.app import DATABASE_FILE_NAME, LocalHome, class_folders, local_schemas, open_local
from contentplatform.clock import RandomIds, SystemClock
from contentplatform.config import Settings
from contentplatform.drivers.files import Files
from contentplatform.drivers.sqlite import Database, salvage
from contentplatform.errors import Conflict, PlatformError
from contentplatform.hooks import local as hooks
from contentplatform.ingest.snapshot import KeptCollections
from contentplatform.sharing import local as sharing
from contentplatform.storage.blobs import BlobFolder
from contentplatform.storage.journal import rebuild_from_journal
from contentplatform.storage.local import stored_uuid

_SUFFIXES: Final = ("", "-wal", "-shm")
_ROOM_WORDS: Final = {
    accounts.SCHEMA.room: "users, tokens and the audit log",
    sharing.SCHEMA.room: "share and upload links",
    hooks.SCHEMA.room: "webhooks",
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild brought back."""

    versions: int
    damaged_lines: int
    unclaimed_blobs: int
    """Bytes whose names are lost; fsck tells which, and gives them new names with --repair."""
    records: int
    collections: int
    damaged_manifests: int
    taken_in_again: int
    """Files that no manifest told of, or that had changed since: looked at anew."""
    old_database: Path | None
    lost_rooms: tuple[str, ...] = ()
    """Rooms whose rows no file tells of, and that could not be read from the old database."""

    def sentence(self) -> str:
        """The report for a person."""
        damage = ""
        if self.unclaimed_blobs:
            damage = f" {self.unclaimed_blobs} files have lost their names; `fsck --repair` puts them in lost+found/."
        if self.damaged_lines or self.damaged_manifests:
            damage += f" {self.damaged_lines} journal lines and {self.damaged_manifests} manifests were unreadable."
        if self.lost_rooms:
            damage += f" Lost, and to be set up anew: {', '.join(_ROOM_WORDS[room] for room in self.lost_rooms)}."
        kept = f" The old database is kept as {self.old_database}." if self.old_database else ""
        return (
            f"Rebuilt {self.versions} object versions, {self.records} records and {self.collections} collections;"
            f" {self.taken_in_again} files were looked at anew.{damage}{kept}"
        )


def rebuild(settings: Settings) -> RebuildReport:
    """Rebuild the database of a data folder on which nobody else works.

    Raises:
        Conflict: a worker or another command has the folder open.
        ConfigurationInvalid: there is no such data folder.
    """
    folder = settings.data_folder
    uuid = stored_uuid(folder) or RandomIds().new_id()
    _write_what_is_left(settings)
    aside = _move_aside(folder)
    database = Database(folder / DATABASE_FILE_NAME, local_schemas(), new_uuid=uuid)
    try:
        lost = _carry_over(aside, database, folder)
        blobs = BlobFolder(folder, class_folders(settings), Files(), RandomIds())
        rebuilt = rebuild_from_journal(database, folder, blobs)
    finally:
        database.close()
    home = open_local(settings)
    try:
        restored = home.snapshot().restore()
        mended = home.platform.ingest.reconcile().keys_mended
        # After the records, which tell where a file is that was moved since a collection was kept.
        collections = KeptCollections(home.store).restore(home.platform.collections)
        home.finish()
    finally:
        home.close()
    return RebuildReport(
        rebuilt.versions,
        rebuilt.damaged_lines,
        rebuilt.unclaimed_blobs,
        restored.records,
        collections.records,
        restored.damaged + collections.damaged,
        mended,
        aside,
        lost,
    )


def _carry_over(aside: Path | None, database: Database, folder: Path) -> tuple[str, ...]:
    """Bring along what no file tells of: who may come in, and what they handed out. The rooms that are lost."""
    note = folder / NOTE_FILE_NAME
    lost = []
    for schema in (accounts.SCHEMA, sharing.SCHEMA, hooks.SCHEMA):
        try:
            if aside is not None:
                salvage(aside, schema, database)
            elif note.exists():  # there were users, whom nobody knows any more
                lost.append(schema.room)
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "not carried over", room=schema.room, **{log.REASON: str(error)})
            lost.append(schema.room)
    if accounts.SCHEMA.room in lost and note.exists():
        note.replace(folder / f"{NOTE_FILE_NAME}.replaced")  # the log begins anew, and the note with it
    return tuple(lost)


def _write_what_is_left(settings: Settings) -> None:
    """Bring the journal up to date, if the old database can still be read at all."""
    if not (settings.data_folder / DATABASE_FILE_NAME).exists():
        return
    try:
        home = open_local(settings)
    except PlatformError as error:
        log.event(_logger, logging.INFO, "old database not usable", **{log.REASON: str(error)})
        return
    try:
        _refuse_company(home)
        with suppress(PlatformError):  # damaged further in: the journal holds what it holds
            home.store.flush_journal()
    finally:
        home.close()


def _refuse_company(home: LocalHome) -> None:
    if home.workers():
        raise Conflict("rebuilding the catalog", "a worker is running on this data folder", hint="Stop it first")


def _move_aside(folder: Path) -> Path | None:
    database = folder / DATABASE_FILE_NAME
    if not database.exists():
        return None
    moment = SystemClock().now()
    aside = folder / f"{DATABASE_FILE_NAME}.replaced-{moment:%Y%m%dT%H%M%S%f}"
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            Path(f"{database}{suffix}").rename(f"{aside}{suffix}")
    return aside
