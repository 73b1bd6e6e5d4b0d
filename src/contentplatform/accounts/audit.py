"""The audit log in the database, chained, and the note of its newest entry in a file beside it.

Who can write the database could cut the log's end off and nothing in the chain would show it: the note does. It is
written behind each commit, so after a crash it may lag, and never leads. Whoever can write both can forge both; the
digest of the newest entry, copied elsewhere now and then (``audit verify`` prints it), shows even that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contentplatform.accounts.port import (
    AUDIT_PAGE_SIZE,
    AuditEntry,
    AuditFlaw,
    AuditLog,
    AuditPage,
    Principal,
    Via,
    check_audit_page,
)
from contentplatform.clock import Clock, parse_timestamp, timestamp
from contentplatform.drivers.files import Files, translated_os_errors
from contentplatform.drivers.sqlite import Connection, Database, Row, Transaction
from contentplatform.errors import InvalidRequest

NOTE_FILE_NAME: Final = "audit.head"
FIRST_DIGEST: Final = "0" * 64
"""What stands before the first entry."""
_SUBJECT_LIMIT: Final = 1_000
_DETAILS_LIMIT: Final = 8_000
_VERIFIED_AT_ONCE: Final = 1_000
_NOTE: Final = re.compile(rb"(\d{20}) ([0-9a-f]{64})\n")
_CURSOR: Final = re.compile(r"before-([0-9]{1,18})")
_SELECT: Final = "SELECT sequence, at, who, who_id, via, act, subject, details, digest FROM audit"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry, as it is noted."""

    sequence: int
    digest: str


class Note:
    """The file that tells of the newest entry. Safe with several processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NOTE_FILE_NAME

    def begin(self) -> None:
        """See to it that there is one before there is an entry: a missing one then always means something."""
        if not self._path.exists():
            self.write(Head(0, FIRST_DIGEST))
            Files().sync_folder(self._path.parent)

    def write(self, head: Head, *, anew: bool = False) -> None:
        """Note this entry, unless a newer one is noted already; ``anew``: whatever is."""
        with translated_os_errors(f"writing {NOTE_FILE_NAME}"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                there = _head(os.pread(descriptor, 100, 0))
                if anew or (there is not None and there.sequence < head.sequence) or os.fstat(descriptor).st_size == 0:
                    # One small write in place: it is whole or not there, on every file system that we run on.
                    os.pwrite(descriptor, f"{head.sequence:020d} {head.digest}\n".encode("ascii"), 0)
            finally:
                os.close(descriptor)

    def read(self) -> Head | None:
        """What it says; None: nothing that can be read."""
        try:
            return _head(self._path.read_bytes())
        except OSError:
            return None


class LocalAuditLog(AuditLog):
    """Keeps the log in the database.

    Args:
        database: with the tables of this room.
        folder: the data folder, for the note.
        clock: when it was.
    """

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        self._database = database
        self._note = Note(folder)
        self._clock = clock

    def record(self, who: Principal, act: str, subject: str, **details: Any) -> None:
        at = timestamp(self._clock.now())
        text = json.dumps(details, sort_keys=True, default=str)
        if len(text) > _DETAILS_LIMIT:
            text = json.dumps({"left_out": f"{len(text)} characters"})

        def work(unit: Transaction) -> None:
            last = unit.row("SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1") or (0, FIRST_DIGEST)
            if last[0] == 0:
                self._note.begin()
            values = (last[0] + 1, at, kept(who.name), who.id, who.via.value, act, kept(subject), text)
            head = Head(last[0] + 1, digest_of(values, last[1]))
            unit.run("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, head.digest))
            if self._is_continued(unit):
                unit.after_commit(lambda: self._note.write(head))

        self._database.write(work)

    def entries(
        self, *, cursor: str | None = None, limit: int = AUDIT_PAGE_SIZE, who_id: str = "", act: str = ""
    ) -> AuditPage:
        check_audit_page(limit)
        conditions, values = ["sequence < ?"], [_before(cursor)]
        if who_id:
            conditions, values = [*conditions, "who_id = ?"], [*values, who_id]
        if act:
            conditions, values = [*conditions, "act >= ? AND act < ?"], [*values, act, f"{act}\U0010ffff"]
        query = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT ?"
        with self._database.read() as view:
            rows = view.rows(query, (*values, limit + 1))
        more = f"before-{rows[limit - 1][0]}" if len(rows) > limit else None
        return AuditPage(tuple(_entry(row) for row in rows[:limit]), more)

    def verify(self) -> tuple[AuditFlaw, ...]:
        noted = self._note.read()  # before the entries: it may lag behind them, and never lead
        with self._database.snapshot() as view:
            return tuple(_flaws(view, noted))

    def accept(self, who: Principal) -> tuple[AuditFlaw, ...]:
        found = self.verify()
        self._note.write(self.head(), anew=True)
        self.record(who, "audit.accept", "", flaws=[f"{flaw.sequence}: {flaw.what}" for flaw in found])
        return found

    def _is_continued(self, unit: Transaction) -> bool:
        """Whether the noted entry is the one that is there. If not, the note stays as it is, for ``verify`` to tell.

        Otherwise a log whose end was cut off would hide that as soon as it had grown beyond it.
        """
        noted = self._note.read()
        if noted is None or noted.sequence == 0:
            return noted is not None
        return bool(unit.value("SELECT digest FROM audit WHERE sequence = ?", (noted.sequence,)) == noted.digest)

    def head(self) -> Head:
        """The newest entry."""
        with self._database.read() as view:
            row = view.row("SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1")
        return Head(*row) if row else Head(0, FIRST_DIGEST)


def digest_of(values: Row, before: str) -> str:
    """The digest of an entry, by its columns as they are kept, and of the digest before it."""
    text = json.dumps([before, *values], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def kept(text: str) -> str:
    """A text as the log keeps it: not without end, and always valid Unicode."""
    return text[:_SUBJECT_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")


def _flaws(view: Connection, noted: Head | None) -> Iterator[AuditFlaw]:
    expected, before = 1, FIRST_DIGEST
    noted_digest = FIRST_DIGEST if noted is not None and noted.sequence == 0 else None
    for row in _all_rows(view):
        sequence, digest = row[0], row[-1]
        if sequence != expected:
            yield AuditFlaw(expected, f"{_entries(expected, sequence - 1)} missing")
        elif digest != digest_of(row[:-1], before):
            yield AuditFlaw(sequence, "the entry, or the one before it, is not as it was written")
        if noted is not None and sequence == noted.sequence:
            noted_digest = digest
        expected, before = sequence + 1, digest
    if noted is None:
        if expected > 1:
            yield AuditFlaw(expected - 1, f"{NOTE_FILE_NAME}, the note of the newest entry, is missing or unreadable")
    elif noted.sequence >= expected:
        yield AuditFlaw(expected, f"{_entries(expected, noted.sequence)} missing at the end")
    elif noted_digest is not None and noted_digest != noted.digest:
        yield AuditFlaw(noted.sequence, f"the entry is not the one that {NOTE_FILE_NAME} notes")


def _all_rows(view: Connection) -> Iterator[Row]:
    last = 0
    while rows := view.rows(f"{_SELECT} WHERE sequence > ? ORDER BY sequence LIMIT ?", (last, _VERIFIED_AT_ONCE)):
        yield from rows
        last = rows[-1][0]


def _entries(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def _before(cursor: str | None) -> Any:
    if cursor is None:
        return 2**62
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest("reading the audit log", "that cursor is not one of ours")
    return int(found[1])


def _entry(row: Row) -> AuditEntry:
    sequence, at, who, who_id, via, act, subject, details, digest = row
    return AuditEntry(
        sequence, parse_timestamp(at), who, who_id, Via(via), act, subject, json.loads(details), str(digest)
    )


def _head(data: bytes) -> Head | None:
    found = _NOTE.fullmatch(data)
    return Head(int(found[1]), found[2].decode("ascii")) if found else None
