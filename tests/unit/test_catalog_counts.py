"""The counters of the local catalog: made anew they say the same, whatever happened to the records before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from contentplatform import media
from contentplatform.catalog.counting import COUNTING
from contentplatform.catalog.fsck import CatalogChecks
from contentplatform.catalog.local import SCHEMA, LocalCatalog
from contentplatform.catalog.port import Figure, Record, SearchQuery
from contentplatform.drivers.sqlite import Database
from contentplatform.findings import CheckRun
from contentplatform.media import MediaKind, ProcessingStatus
from fakes.catalog import FakeCatalog, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

TABLES = ("catalog_counts", "catalog_tags", "catalog_likeness")
TAGS = ("x", "y", "Z", "é", "\ud800", "l" * 901, "a\0b", "'", "ÿ" * 450, "퟿", "ed\ufffd")
FOLDERS = ("", "a/", "a/b/", "/", "//", "a//b/", "é/b/", "é/" + "d" * 901 + "/b/", "a b/" * 20)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty one."""
    opened = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="0" * 32)
    yield opened
    opened.close()


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables that follow the records."""
    with database.read() as view:
        return {table: sorted(view.rows(f"SELECT * FROM {table}")) for table in TABLES}


def some_record(chance: random.Random, number: int) -> Record:
    """A record of any kind, in any folder, with any tags; one in ten is deleted."""
    value = chance.choice((f"{chance.getrandbits(64):016x}", f"{number:016x}", "none", 7, None))
    record = make_record(
        f"{chance.choice(FOLDERS)}{number}.jpg",
        chance.randrange(5),
        kind=chance.choice(list(MediaKind)),
        status=chance.choice(list(ProcessingStatus)),
        tags=tuple(chance.choices(TAGS, k=chance.randrange(4))),
        processing_metadata={"perceptual_hash": value},
    )
    return replace(record, deleted_at=record.indexed_at if chance.random() < 0.1 else None)


def change_at_random(catalog: LocalCatalog, twin: FakeCatalog, chance: random.Random, steps: int) -> None:
    """Add, change, hide, move and remove files, in both alike."""
    for _ in range(steps):
        number = chance.randrange(40)
        fresh = some_record(chance, number)
        there = [each for each in twin._records.values() if each.file_path.endswith(f"/{number}.jpg")]
        known = chance.choice(there) if there else None
        act = chance.randrange(4)
        if known is None or act == 0:
            if fresh.file_id not in twin._records:
                assert catalog.put(fresh) == twin.put(fresh)
        elif act == 1:
            for each in (catalog, twin):
                each.remove(known.file_id, known.revision)
        else:
            changed = replace(
                fresh,
                file_id=known.file_id,
                file_path=known.file_path,
                revision=known.revision,
                upload_time=known.upload_time + timedelta(minutes=chance.randrange(2)),
            )
            assert catalog.put(changed) == twin.put(changed)


@pytest.mark.parametrize("seed", range(4))
def test_what_follows_the_records_is_what_is_made_anew_from_them(database: Database, seed: int) -> None:
    """A migration finds by SQL of the documents what every write did to counters, tags and hashes; so does a model."""
    chance = random.Random(seed)
    catalog, twin = LocalCatalog(database, FakeClock()), FakeCatalog()
    database.write(lambda _transaction: change_at_random(catalog, twin, chance, 200))
    followed = contents(database)
    assert all(followed.values())
    assert catalog.counter_gaps() == ()
    database.write(lambda transaction: [transaction.run(f"DROP TABLE {table}") for table in TABLES])
    database.write(lambda transaction: transaction.run(COUNTING))
    assert contents(database) == followed
    while catalog.index_pending():
        pass
    for query in (SearchQuery(), SearchQuery(tag="x"), SearchQuery(folder="a"), SearchQuery(text="jpg", deleted=True)):
        assert catalog.facets(query) == twin.facets(query), query
    for folder in ("", "a", "/", "é", "a//b"):
        assert catalog.folders(folder).folders == twin.folders(folder).folders, folder


def test_what_says_something_else_than_the_records_is_found_and_made_anew(database: Database) -> None:
    """Each table, a row too many, too few, or another."""
    catalog = LocalCatalog(database, FakeClock())
    some = {"perceptual_hash": "0123456789abcdef"}
    catalog.put(make_record(tags=("x", "y"), processing_metadata=some))
    right = contents(database)
    damages = {
        "UPDATE catalog_counts SET files = 2 WHERE sort = 'kind'": "the counter of kind image",
        "DELETE FROM catalog_counts WHERE sort = 'all'": "the counter of all",
        "INSERT INTO catalog_counts VALUES ('folder', '', 'z', 1)": "the counter of folder z",
        "UPDATE catalog_likeness SET hash = x'00' WHERE part GLOB '0*'": "hash of the record at",
        "INSERT INTO catalog_tags VALUES (1, '[]')": "tags of the record at 1",
    }
    for damage, named in damages.items():
        database.write(lambda transaction, damage=damage: transaction.run(damage))  # type: ignore[misc]  # mypy infers no default of a lambda
        (gap,) = catalog.counter_gaps()
        assert gap.startswith(named), damage
        run = CheckRun(repair=True)
        (finding,) = CatalogChecks(catalog, MemoryObjectStore(FakeClock(), SequentialIds()), None).counters(run)
        assert (finding.invariant, finding.repaired) == ("I3", True)
        assert (catalog.counter_gaps(), contents(database)) == ((), right), damage


def test_an_empty_library_has_no_counters(database: Database) -> None:
    """So that the first file is counted once."""
    assert not any(contents(database).values())
    LocalCatalog(database, FakeClock()).put(make_record())
    assert LocalCatalog(database, FakeClock()).facets(SearchQuery()).total == Figure(1)


def test_beyond_a_thousand_matches_figures_say_so(database: Database) -> None:
    """Counters tell the library, a folder's size and a single condition's; the rest counts the newest thousand."""
    catalog, twin = LocalCatalog(database, FakeClock()), FakeCatalog()

    def fill() -> None:
        for number in range(1_010):
            kind = MediaKind.VIDEO if number < 20 else MediaKind.IMAGE
            record = make_record(f"a/{number % 3}/{number}.jpg", number, kind=kind, tags=("t",))
            catalog.put(record)
            twin.put(record)

    database.write(lambda _transaction: fill())
    while catalog.index_pending(1_000):
        pass
    image, video = MediaKind.IMAGE, MediaKind.VIDEO
    whole = catalog.facets(SearchQuery())
    assert (whole.total, whole.kinds) == (Figure(1_010), {image: Figure(990), video: Figure(20)})
    folder = catalog.facets(SearchQuery(folder="a"))
    assert (folder.total, folder.folders["a/0"]) == (Figure(1_010), Figure(337))
    assert folder.kinds == {image: Figure(990, capped=True), video: Figure(10, capped=True)}
    assert catalog.facets(SearchQuery(tag="t")).total == Figure(1_010)
    words = catalog.facets(SearchQuery(text="jpg"))
    assert (words.total, words.tags) == (Figure(1_000, capped=True), {"t": Figure(1_000, capped=True)})
    queries = [SearchQuery(), SearchQuery(folder="a"), SearchQuery(tag="t"), SearchQuery(text="jpg")]
    queries += [SearchQuery(kind=image, tag="t"), SearchQuery(kind=image), SearchQuery(folder="a", kind=video)]
    for query in queries:
        assert catalog.facets(query) == twin.facets(query), query


def test_a_file_that_was_moved_counts_once(database: Database) -> None:
    """In its new folder."""
    catalog = LocalCatalog(database, FakeClock())
    old = catalog.put(make_record("a/1.jpg", tags=("t",)))
    catalog.put(replace(old, file_id=media.file_id("b/1.jpg"), file_path="b/1.jpg", revision=0))
    catalog.remove(old.file_id, old.revision, media.file_id("b/1.jpg"))
    found = catalog.facets(SearchQuery())
    assert (found.total, found.tags, found.folders) == (Figure(1), {"t": Figure(1)}, {"b": Figure(1)})
