"""The chain of the audit log: whatever is done to it behind its back is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentplatform.accounts.audit import FIRST_DIGEST, NOTE_FILE_NAME, Head, LocalAuditLog, Note, digest_of
from contentplatform.accounts.fsck import AccountChecks
from contentplatform.accounts.port import AuditFlaw, machine
from contentplatform.accounts.tables import SCHEMA
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import Conflict
from contentplatform.findings import CheckRun, Severity
from fakes.clock import FakeClock, SequentialIds

ENTRIES = 9
COLUMNS = ("at", "who", "who_id", "via", "act", "subject", "details", "digest")


class UndoneError(Exception):
    """Takes back what a test did to the log."""


@dataclass
class Book:
    """A log of some entries."""

    database: Database
    log: LocalAuditLog
    folder: Path

    def after(self, tamper: Callable[[Transaction], object]) -> tuple[AuditFlaw, ...]:
        """What is found after somebody changed the database; then it is as before."""
        found: list[AuditFlaw] = []

        def work(unit: Transaction) -> None:
            unit.run("DROP TRIGGER audit_is_not_changed")
            unit.run("DROP TRIGGER audit_is_not_cut")
            tamper(unit)
            found.extend(self.log.verify())
            raise UndoneError

        with pytest.raises(UndoneError):
            self.database.write(work)
        return tuple(found)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    folder = tmp_path_factory.mktemp("audit")
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=SequentialIds().new_id())
    log = LocalAuditLog(database, folder, FakeClock())
    for number in range(ENTRIES):
        log.record(machine("test"), "file.add", f"photo-{number}.jpg", size=number)
    yield Book(database, log, folder)
    database.close()


@pytest.fixture
def note(book: Book) -> Iterator[Path]:
    """The note, put back after the test."""
    path = book.folder / NOTE_FILE_NAME
    kept = path.read_bytes()
    yield path
    path.write_bytes(kept)


def rewritten(unit: Transaction, first: int, **changes: Any) -> None:
    """Change an entry, and work out the chain anew from it on, as somebody would who knows how."""
    before = unit.value("SELECT digest FROM audit WHERE sequence = ?", (first - 1,)) or FIRST_DIGEST
    for row in unit.rows("SELECT * FROM audit WHERE sequence >= ? ORDER BY sequence", (first,)):
        values = dict(zip(("sequence", *COLUMNS), row, strict=True))
        values |= changes if row[0] == first else {}
        before = values["digest"] = digest_of(tuple(values[name] for name in ("sequence", *COLUMNS[:-1])), before)
        unit.run("DELETE FROM audit WHERE sequence = ?", (row[0],))
        unit.run("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", tuple(values.values()))


def test_the_log_as_it_was_written_is_whole(book: Book) -> None:
    assert book.log.verify() == ()
    assert book.after(lambda _unit: None) == ()
    assert book.log.head().sequence == ENTRIES


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.integers(1, ENTRIES), column=st.sampled_from(COLUMNS), text=st.text(max_size=20))
def test_an_entry_that_was_edited_is_found_at_its_place(book: Book, sequence: int, column: str, text: str) -> None:
    before = book.database.write(lambda unit: unit.value(f"SELECT {column} FROM audit WHERE sequence = ?", (sequence,)))
    wanted = text.encode("utf-8", "replace").decode()
    found = book.after(lambda unit: unit.run(f"UPDATE audit SET {column} = ? WHERE sequence = ?", (wanted, sequence)))
    assert bool(found) == (wanted != before)
    assert not found or found[0].sequence == sequence


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gone=st.sets(st.integers(1, ENTRIES), min_size=1))
def test_entries_that_were_cut_out_are_found_wherever_they_were(book: Book, gone: set[int]) -> None:
    def cut(unit: Transaction) -> None:
        for sequence in gone:
            unit.run("DELETE FROM audit WHERE sequence = ?", (sequence,))

    found = book.after(cut)
    assert found[0].sequence == min(gone)
    told = " ".join(flaw.what for flaw in found)
    assert "missing" in told
    assert ("at the end" in told) == (ENTRIES in gone)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(1, ENTRIES))
def test_a_chain_that_was_worked_out_anew_is_not_the_one_that_is_noted(book: Book, first: int) -> None:
    found = book.after(lambda unit: rewritten(unit, first, subject="forged.jpg"))
    assert [flaw.sequence for flaw in found] == [ENTRIES]
    assert NOTE_FILE_NAME in found[0].what


def test_an_entry_that_was_put_in_is_found(book: Book) -> None:
    def put_in(unit: Transaction) -> None:
        unit.run("UPDATE audit SET sequence = -sequence WHERE sequence >= 4")
        unit.run("UPDATE audit SET sequence = -sequence + 1 WHERE sequence < 0")
        unit.run(
            "INSERT INTO audit SELECT 4, at, who, who_id, via, act, 'x', details, digest FROM audit WHERE sequence = 3"
        )

    assert book.after(put_in)[0].sequence == 4


def test_entries_that_changed_places_are_found(book: Book) -> None:
    def swap(unit: Transaction) -> None:
        for old, new in ((4, 100), (5, 4), (100, 5)):
            unit.run("UPDATE audit SET sequence = ? WHERE sequence = ?", (new, old))

    assert {flaw.sequence for flaw in book.after(swap)} == {4, 5, 6}


def test_an_end_that_was_cut_off_is_known_by_the_note_alone(book: Book, note: Path) -> None:
    found = book.after(lambda unit: unit.run("DELETE FROM audit WHERE sequence > 6"))
    assert found == (AuditFlaw(7, "entries 7 to 9 are missing at the end"),)
    note.write_bytes(b"%020d " % 6 + book.log.entries().entries[3].digest.encode() + b"\n")
    assert (
        book.after(lambda unit: unit.run("DELETE FROM audit WHERE sequence > 6")) == ()
    )  # who forges both is not seen


def test_a_log_that_grew_on_after_its_end_was_cut_off_is_still_known(tmp_path: Path) -> None:
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid="u")
    log = LocalAuditLog(database, tmp_path, FakeClock())
    for number in range(6):
        log.record(machine("test"), "file.add", f"{number}")

    def cut(unit: Transaction) -> None:
        unit.run("DROP TRIGGER audit_is_not_cut")
        unit.run("DELETE FROM audit WHERE sequence > 3")

    database.write(cut)
    for number in range(3):
        log.record(machine("intruder"), "file.add", f"{number}")
        assert log.verify()
    for number in range(5):  # beyond what was there
        log.record(machine("test"), "file.add", f"{number}")
    assert log.verify() == (AuditFlaw(6, f"the entry is not the one that {NOTE_FILE_NAME} notes"),)
    assert log.accept(machine("test")) == (AuditFlaw(6, f"the entry is not the one that {NOTE_FILE_NAME} notes"),)
    assert log.verify() == ()
    [entry] = log.entries(act="audit.accept").entries
    assert entry.details["flaws"] == [f"6: the entry is not the one that {NOTE_FILE_NAME} notes"]
    log.record(machine("test"), "file.add", "more")
    assert (log.verify(), Note(tmp_path).read()) == ((), log.head())
    database.close()


def test_a_note_that_is_gone_stays_gone_until_somebody_accepts_that(tmp_path: Path) -> None:
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid="u")
    log = LocalAuditLog(database, tmp_path, FakeClock())
    for turn in range(3):
        log.record(machine("test"), "file.add", f"{turn}")
        if turn == 1:
            (tmp_path / NOTE_FILE_NAME).unlink()
    assert len(log.verify()) == 1
    log.accept(machine("test"))
    assert log.verify() == ()
    database.close()


def test_a_log_that_is_gone_altogether_is_missed(book: Book) -> None:
    [flaw] = book.after(lambda unit: unit.run("DELETE FROM audit"))
    assert flaw == AuditFlaw(1, "entries 1 to 9 are missing at the end")


@pytest.mark.parametrize("text", [b"", b"nonsense", b"%020d " % 9 + b"0" * 64, b"\xff" * 86])
def test_a_note_that_is_gone_or_unreadable_is_told(book: Book, note: Path, text: bytes) -> None:
    note.write_bytes(text)
    [flaw] = book.log.verify()
    assert flaw.sequence == ENTRIES
    note.unlink()
    assert len(book.log.verify()) == 1


def test_a_note_that_lags_behind_as_after_a_crash_is_in_order(book: Book, note: Path) -> None:
    fifth = book.log.entries().entries[4]
    note.write_bytes(b"%020d %s\n" % (fifth.sequence, fifth.digest.encode()))
    assert book.log.verify() == ()
    Note(book.folder).write(Head(3, "a" * 64))  # a slower process never takes it back
    assert Note(book.folder).read() == Head(fifth.sequence, fifth.digest)


def test_the_database_itself_refuses_to_change_the_log(book: Book) -> None:
    with pytest.raises(Conflict):
        book.database.write(lambda unit: unit.run("UPDATE audit SET subject = 'x'"))
    with pytest.raises(Conflict):
        book.database.write(lambda unit: unit.run("DELETE FROM audit WHERE sequence = 9"))
    assert book.log.verify() == ()


def test_what_is_undone_is_not_noted(book: Book) -> None:
    def undone(_unit: Transaction) -> None:
        book.log.record(machine("test"), "file.add", "never.jpg")
        raise UndoneError

    with pytest.raises(UndoneError):
        book.database.write(undone)
    assert book.log.head().sequence == ENTRIES
    assert book.log.verify() == ()


def test_a_second_process_goes_on_with_the_same_chain(tmp_path: Path) -> None:
    clock, ids = FakeClock(), SequentialIds()
    databases = [Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id()) for _ in range(2)]
    logs = [LocalAuditLog(database, tmp_path, clock) for database in databases]
    for number in range(6):
        logs[number % 2].record(machine("test"), "file.add", f"{number}")
    assert [log.verify() for log in logs] == [(), ()]
    assert [entry.subject for entry in logs[0].entries().entries] == ["5", "4", "3", "2", "1", "0"]
    for database in databases:
        database.close()


def test_texts_without_end_and_broken_unicode_are_kept_short_and_whole(tmp_path: Path) -> None:
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid="u")
    log = LocalAuditLog(database, tmp_path, FakeClock())
    log.record(machine("test"), "file.refused", "\udcff" + "x" * 10_000, why="y" * 100_000)
    [entry] = log.entries().entries
    assert entry.subject.startswith("\\udcffxxx")
    assert len(entry.subject) < 1_100
    assert entry.details == {"left_out": "100011 characters"}
    assert log.verify() == ()
    database.close()


def test_fsck_tells_of_a_changed_log_and_mends_a_wrong_sum(book: Book) -> None:
    checks = AccountChecks(book.database, book.log)

    def add(unit: Transaction) -> None:
        unit.run(
            "INSERT INTO users VALUES ('u', 'anna', 'editor', '', NULL, 70, 'x', '2030-01-01T00:00:00.000000Z', 0,"
            " '2030-01-01T00:00:00.000000Z', NULL, NULL)"
        )
        unit.run("INSERT INTO charges VALUES ('upload', 'u', 50)")

    def found(run: CheckRun) -> list[tuple[str, str, Severity, bool]]:
        told = [finding for check in checks.checks() for finding in check(run)]
        return [(finding.invariant, finding.subject, finding.severity, finding.repaired) for finding in told]

    assert found(CheckRun()) == []
    book.database.write(add)
    assert found(CheckRun()) == [("I19", "user anna", Severity.DAMAGE, False)]
    assert found(CheckRun(repair=True)) == [("I19", "user anna", Severity.DAMAGE, True)]
    assert found(CheckRun(repair=True)) == []

    def forge(unit: Transaction) -> None:
        unit.run("DROP TRIGGER audit_is_not_changed")
        unit.run("UPDATE audit SET who = 'somebody else' WHERE sequence = 2")
        assert found(CheckRun(repair=True)) == [("I22", "audit log, entry 2", Severity.DAMAGE, False)]
        raise UndoneError

    with pytest.raises(UndoneError):
        book.database.write(forge)
