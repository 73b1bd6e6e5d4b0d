"""fsck over the catalog: clean after good work, and one finding, with a way out, for each thing that can be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from contentplatform.catalog.fsck import INDEX_LAG_LIMIT_SECONDS, catalog_checks
from contentplatform.catalog.local import SCHEMA, LocalCatalog
from contentplatform.catalog.port import Catalog, LedgerEntry, Record, Rendition
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ErrorCode
from contentplatform.findings import CheckRun, Finding, Severity, run_checks
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions
from fakes.catalog import FakeCatalog, make_entry, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

KEY = "a/photo.jpg"
STORED_KEY, PUBLIC_KEY = "versions/1/thumbnail.jpg", "processed/thumbnails/a/photo.jpg.jpg"
COMPLETED, FAILED = ProcessingStatus.COMPLETED, ProcessingStatus.FAILED


@dataclass
class World:
    """A store and a catalog that agree: one image, processed and shown."""

    store: MemoryObjectStore
    catalog: Catalog

    def put(self, bucket: BucketRole, key: str, content: bytes) -> ObjectVersion:
        """Store an object."""
        return self.store.put(bucket, key, BytesIO(content), PutOptions())

    @property
    def record(self) -> Record:
        """The image's record."""
        return self.catalog.get(file_id(KEY))

    @property
    def entry(self) -> LedgerEntry:
        """The ledger entry of its current version."""
        return self.catalog.get_entry(file_id(KEY), self.record.version_id)

    def change(self, **given: Any) -> None:
        """Write the same into record and entry, into each what it has a field for."""
        for_entry = {name: value for name, value in given.items() if name in LedgerEntry.__slots__}
        for_record = {name: value for name, value in given.items() if name in Record.__slots__}
        self.catalog.put_entry(replace(self.entry, **for_entry))
        self.catalog.put(replace(self.record, **for_record))

    def findings(self, *, alive: frozenset[str] = frozenset(), repair: bool = False) -> list[Finding]:
        """What fsck finds."""
        checks = catalog_checks(self.catalog, self.store, is_live=lambda name: name in alive)
        return list(run_checks(checks, CheckRun(repair=repair)))


def make_world(catalog: Catalog) -> World:
    """A world in which everything is right."""
    world = World(MemoryObjectStore(FakeClock(), SequentialIds()), catalog)
    original = world.put(BucketRole.PRIMARY, KEY, b"original")
    world.put(BucketRole.PROCESSED, STORED_KEY, b"small")
    world.put(BucketRole.PROCESSED, PUBLIC_KEY, b"small")
    digest = hashlib.sha256(b"small").hexdigest()
    rendition = Rendition("thumbnail", PUBLIC_KEY, STORED_KEY, "image/jpeg", 5, digest, 150, 100)
    entry = make_entry(
        KEY, original.version_id, size_bytes=8, file_hash=original.sha256, status=COMPLETED, recipe="r1",
        renditions=(rendition,), attempts=1, execution="process-1",
    )  # fmt: skip
    record = make_record(
        KEY, version_id=original.version_id, size_bytes=8, file_hash=original.sha256, status=COMPLETED,
        renditions=(rendition,),
    )  # fmt: skip
    catalog.put_entry(entry)
    catalog.put(record)
    return world


@pytest.fixture
def world() -> World:
    """A store and a catalog in memory that agree."""
    return make_world(FakeCatalog())


def overwrite(world: World, bucket: BucketRole, key: str, content: bytes = b"other") -> None:
    """Let ``key`` hold other bytes."""
    world.put(bucket, key, content)


def orphan_entry(world: World) -> None:
    """Write a ledger entry of a file that has no record."""
    world.catalog.put_entry(make_entry("nobody.jpg"))


def lose_entry(world: World) -> None:
    """Let the record show a version that the ledger doesn't know, and that is the current one."""
    current = world.put(BucketRole.PRIMARY, KEY, b"original")
    world.catalog.put(replace(world.record, version_id=current.version_id))


def delete_but_keep_public(world: World) -> None:
    """Delete the file and leave its rendition on the edge."""
    world.store.delete(BucketRole.PRIMARY, KEY)
    world.change(deleted_at=world.record.indexed_at)


def wrong_file_id(world: World) -> None:
    """Store a record under an identifier that is not its key's."""
    world.store.delete(BucketRole.PRIMARY, "b.jpg")
    world.catalog.put_entry(replace(world.entry, file_id="f" * 32, revision=0))
    world.catalog.put(replace(world.record, file_id="f" * 32, revision=0))


FAULTS: list[tuple[str, Callable[[World], object], set[tuple[str, str]]]] = [
    ("version gone", lambda w: w.store.delete(BucketRole.PRIMARY, KEY), {("I6", "no current version")}),
    ("never taken in", lambda w: w.put(BucketRole.PRIMARY, "new.jpg", b"x"), {("I6", "the catalog doesn't know")}),
    ("version newer", lambda w: overwrite(w, BucketRole.PRIMARY, KEY), {("I6", "the store's current one is")}),
    ("deleted here only", lambda w: w.change(deleted_at=w.record.indexed_at, renditions=()),
     {("I6", "the record says deleted"), ("I9", "no note says why")}),
    ("deleted, still public", delete_but_keep_public, {("I13", "thumbnail is still public")}),
    ("entry lost", lose_entry, {("I9", "has no ledger entry")}),
    ("entry without record", orphan_entry, {("I3", "without a record")}),
    ("disagreement", lambda w: w.catalog.put(replace(w.record, note="x", size_bytes=9)),
     {("I9", "differ in size_bytes, note")}),
    ("public rendition gone", lambda w: w.store.delete(BucketRole.PROCESSED, PUBLIC_KEY),
     {("I9", "the public thumbnail is missing")}),
    ("public rendition stale", lambda w: overwrite(w, BucketRole.PROCESSED, PUBLIC_KEY),
     {("I9", "the public thumbnail has other bytes")}),
    ("rendition gone", lambda w: w.store.delete(BucketRole.PROCESSED, STORED_KEY),
     {("I9", "but its thumbnail is missing")}),
    ("rendition of another size", lambda w: overwrite(w, BucketRole.PROCESSED, STORED_KEY, b"longer"),
     {("I9", "but its thumbnail has other bytes")}),
    ("rendition with other bytes", lambda w: overwrite(w, BucketRole.PROCESSED, STORED_KEY, b"SMALL"),
     {("I9", "but its thumbnail has other bytes")}),
    ("no recipe", lambda w: w.change(recipe=""), {("I10", "no known recipe")}),
    ("no renditions", lambda w: w.change(renditions=()), {("I9", "no note says why")}),
    ("another source", lambda w: w.change(file_hash="1" * 64), {("I10", "another hash")}),
    ("failed in silence", lambda w: w.change(status=FAILED, error=None, error_code=ErrorCode.DECODE),
     {("I9", "without saying why")}),
    ("failed without a class", lambda w: w.change(status=FAILED, error="broken", error_code=None),
     {("I9", "without saying why")}),
    ("failed untried", lambda w: w.change(status=FAILED, error="broken", error_code=ErrorCode.DECODE, attempts=0),
     {("I9", "without having been tried")}),
    ("pending for nobody", lambda w: w.change(status=ProcessingStatus.PENDING), {("I9", "nobody works on it")}),
    ("processing for nobody", lambda w: w.change(status=ProcessingStatus.PROCESSING), {("I9", "nobody works on it")}),
]  # fmt: skip


def test_a_world_that_agrees_is_clean(world: World) -> None:
    """Nothing is reported where nothing is wrong."""
    assert world.findings() == []


@pytest.mark.parametrize(("fault", "expected"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_each_fault_is_found(world: World, fault: Callable[[World], object], expected: set[tuple[str, str]]) -> None:
    """Each fault is reported once, under its invariant, with the file's key and something to do."""
    fault(world)
    found = world.findings()
    unexplained = [f for f in found if not any(f.invariant == i and words in f.message for i, words in expected)]
    assert not unexplained
    assert len(found) == len(expected)
    for finding in found:
        assert "contentplatform" in finding.suggested_repair
        assert not finding.repaired


def test_a_record_under_a_foreign_identifier_is_found(world: World) -> None:
    """The identifier of a record is the digest of its key, or nobody finds it by its key."""
    wrong_file_id(world)
    assert [f.message for f in world.findings() if "file_id" in f.message] == [
        f"its file_id {'f' * 32} is not that of its key"
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": FAILED, "error": "says image/jpeg, is text", "error_code": ErrorCode.TYPE_MISMATCH, "attempts": 0},
        {"status": FAILED, "error": "broken", "error_code": ErrorCode.DECODE, "attempts": 3},
        {"status": ProcessingStatus.PENDING, "execution": "alive"},
        {"status": ProcessingStatus.PROCESSING, "execution": "alive"},
        {"renditions": (), "note": "kept as it is"},
    ],
)
def test_honest_states_are_clean(world: World, fields: dict[str, object]) -> None:
    """A refusal, a failure with its reason, work under way, and a file that is kept as it is are all true."""
    world.change(**fields)
    assert world.findings(alive=frozenset({"alive"})) == []


def test_a_deleted_file_that_shows_nothing_is_clean(world: World) -> None:
    """Its versions and renditions may stay, if nothing of it is public."""
    delete_but_keep_public(world)
    world.store.delete(BucketRole.PROCESSED, PUBLIC_KEY)
    assert world.findings() == []


def test_a_version_deleted_for_good_needs_no_renditions(world: World) -> None:
    """Its ledger entry is a line of history."""
    old = world.entry
    new = world.put(BucketRole.PRIMARY, KEY, b"original")
    world.catalog.put_entry(replace(old, version_id=new.version_id, revision=0))
    world.catalog.put(replace(world.record, version_id=new.version_id))
    world.catalog.put_entry(replace(old, renditions=(replace(old.renditions[0], stored_key="gone"),)))
    assert [finding.invariant for finding in world.findings()] == ["I9"]
    world.store.delete_version(BucketRole.PRIMARY, KEY, old.version_id)
    assert world.findings() == []


class ChangedWhileRead(FakeCatalog):
    """Somebody writes every record and entry again between fsck's reading it and looking twice."""

    def get_entry(self, file_id: str, version_id: str) -> LedgerEntry:
        return self.put_entry(super().get_entry(file_id, version_id))

    def get(self, file_id: str) -> Record:
        return self.put(super().get(file_id))


def test_what_changes_meanwhile_is_not_reported() -> None:
    """Fsck runs beside writers: what it read is old by the time that it compares."""
    world = make_world(ChangedWhileRead())
    world.store.delete(BucketRole.PROCESSED, STORED_KEY)
    world.store.delete(BucketRole.PROCESSED, PUBLIC_KEY)
    assert world.findings() == []


def test_a_damaged_search_index_is_found_and_queued_anew(tmp_path: Path) -> None:
    """Without --repair it is only told; with it the index catches up, and the next run is clean."""
    with closing_database(tmp_path) as (database, catalog, _clock):
        world = make_world(catalog)
        catalog.index_pending()
        database.write(lambda transaction: transaction.run("DELETE FROM catalog_search_rows"))
        assert [(f.invariant, f.subject, f.repaired) for f in world.findings()] == [("I3", file_id(KEY), False)]
        assert [f.repaired for f in world.findings(repair=True)] == [True]
        assert world.findings() == []
        assert catalog.index_pending() == 1
        assert world.findings() == []


def test_an_index_that_nobody_fills_is_a_warning(tmp_path: Path) -> None:
    """A second behind is the rule; a minute means that nobody works."""
    with closing_database(tmp_path) as (_database, catalog, clock):
        world = make_world(catalog)
        clock.advance(INDEX_LAG_LIMIT_SECONDS)
        assert world.findings() == []
        clock.advance(1)
        (finding,) = world.findings()
        assert (finding.invariant, finding.severity) == ("I21", Severity.WARNING)
        assert "61 s" in finding.message


@contextmanager
def closing_database(folder: Path) -> Iterator[tuple[Database, LocalCatalog, FakeClock]]:
    """A local catalog in ``folder``, with its database and clock."""
    clock = FakeClock()
    database = Database(folder / "catalog.db", [SCHEMA], new_uuid="0" * 32)
    try:
        yield database, LocalCatalog(database, clock), clock
    finally:
        database.close()
