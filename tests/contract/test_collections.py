"""What collections of every home must do, and proof that these checks notice some that don't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contentplatform import media
from contentplatform.catalog.aws_collections import DynamoCollections
from contentplatform.catalog.local import SCHEMA, LocalCatalog
from contentplatform.catalog.local_collections import LocalCollections
from contentplatform.catalog.port import COLLECTION_LIMIT, Catalog, Collection, Collections
from contentplatform.drivers.boto import Aws
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Conflict, InvalidRequest, NotFound, PlatformError
from fakes.catalog import NOON, FakeCatalog, FakeCollections, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.dynamodb import DynamoHome

KEYS = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
A, B, C, D = (media.file_id(key) for key in KEYS)


@dataclass(frozen=True)
class Home:
    """Collections, and the catalog whose files they hold."""

    collections: Collections
    catalog: Catalog
    clock: FakeClock

    def shown(self, collection_id: str, limit: int = 2) -> list[str]:
        """The keys of what is shown of a collection, page by page."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = self.collections.files(collection_id, cursor=cursor, limit=limit)
            found += [record.file_path for record in page.records]
            cursor = page.cursor
            if cursor is None:
                return found
            assert len(page.records) == limit
            assert len(found) < 10_000, "paging does not end"


@contextmanager
def raises(expected: type[PlatformError]) -> Iterator[None]:
    """As ``pytest.raises``, but an AssertionError where nothing was raised, as every other failed check."""
    try:
        yield
    except expected as error:
        assert error.doing, "an error says what was being done"  # noqa: PT017 - this is our pytest.raises
        assert error.why, "an error says why"  # noqa: PT017
    else:
        raise AssertionError(f"{expected.__name__} was not raised")


def filled(home: Home, *keys: str) -> Collection:
    """A collection of files that are made for it."""
    for key in KEYS:
        home.catalog.put(make_record(key))
    made = home.collections.create("Trip")
    return home.collections.add(made.collection_id, [media.file_id(key) for key in keys or KEYS])


def move(catalog: Catalog, source: str, target: str) -> None:
    """Move a record as the platform does: the new one first, then the old one away."""
    old = catalog.get(media.file_id(source))
    catalog.put(replace(old, file_id=media.file_id(target), file_path=target, revision=0))
    catalog.remove(old.file_id, old.revision, media.file_id(target))


# -- the checks ----------------------------------------------------------------------------------------------


def check_a_collection_comes_back_as_it_was_made(home: Home) -> None:
    made = home.collections.create("Übung №1", description="Two\nlines", owner="ana")
    assert (made.name, made.description, made.owner) == ("Übung №1", "Two\nlines", "ana")
    assert (made.files, made.revision, made.cover, made.created_at) == (0, 1, None, home.clock.now())
    assert home.collections.get(made.collection_id) == made
    assert home.collections.list().collections == (made,)
    assert home.shown(made.collection_id) == []
    again = home.collections.create("Übung №1")
    assert again.collection_id != made.collection_id


def check_what_cannot_be_a_name_is_refused(home: Home) -> None:
    made = home.collections.create("x")
    for name, description in (("", ""), (" \t", ""), ("n" * 201, ""), ("n", "d" * 10_001), ("\ud800", "")):
        with raises(InvalidRequest):
            home.collections.create(name, description=description)
        with raises(InvalidRequest):
            home.collections.change(made.collection_id, 1, name=name, description=description)
    longest = home.collections.change(made.collection_id, 1, name="é" * 200, description="d" * 10_000)
    assert home.collections.list().collections == (longest,)


def check_what_is_not_there_is_not_found(home: Home) -> None:
    collections = home.collections
    attempts: list[Callable[[str], Any]] = [
        collections.get,
        collections.files,
        collections.file_ids,
        lambda name: collections.change(name, 1, name="x"),
        lambda name: collections.delete(name, 1),
        lambda name: collections.add(name, []),
        lambda name: collections.take(name, []),
        lambda name: collections.arrange(name, [], 1),
    ]
    for attempt in attempts:
        for name in ("nothing", "", "x" * 3_000):
            with raises(NotFound):
                attempt(name)
    assert collections.holding("nothing") == ()
    assert collections.holding("") == ()
    assert collections.list().collections == ()


def check_a_write_on_an_old_revision_loses(home: Home) -> None:
    known = filled(home, "a.jpg")
    home.clock.advance(60)
    changed = home.collections.change(known.collection_id, known.revision, name="other")
    assert changed == replace(known, name="other", revision=known.revision + 1, changed_at=home.clock.now())
    name, collections = known.collection_id, home.collections
    for stale in (known.revision, 0, changed.revision + 1):
        attempts: list[Callable[[], Any]] = [
            lambda stale=stale: collections.change(name, stale, name="lost"),  # type: ignore[misc]  # mypy infers no default of a lambda
            lambda stale=stale: collections.delete(name, stale),  # type: ignore[misc]
            lambda stale=stale: collections.add(name, [B], stale),  # type: ignore[misc]
            lambda stale=stale: collections.take(name, [A], stale),  # type: ignore[misc]
            lambda stale=stale: collections.arrange(name, [A], stale),  # type: ignore[misc]
        ]
        for attempt in attempts:
            with raises(Conflict):
                attempt()
    assert collections.get(name) == changed
    assert home.shown(name) == ["a.jpg"]


def check_none_leaves_and_an_empty_text_clears(home: Home) -> None:
    known = filled(home)
    known = home.collections.change(known.collection_id, known.revision, description="d", cover=B)
    assert (known.name, known.description, known.cover) == ("Trip", "d", B)
    known = home.collections.change(known.collection_id, known.revision, name="other")
    assert (known.name, known.description, known.cover) == ("other", "d", B)
    known = home.collections.change(known.collection_id, known.revision, description="", cover="")
    assert (known.name, known.description, known.cover) == ("other", "", None)
    with raises(InvalidRequest):
        home.collections.change(known.collection_id, known.revision, cover="nothing")
    assert home.collections.get(known.collection_id) == known


def check_files_are_added_once_at_the_end_in_order(home: Home) -> None:
    known = filled(home, "c.jpg", "a.jpg", "c.jpg")
    assert (known.files, home.shown(known.collection_id)) == (2, ["c.jpg", "a.jpg"])
    known = home.collections.add(known.collection_id, [D, A, B], known.revision)
    assert (known.files, home.shown(known.collection_id)) == (4, ["c.jpg", "a.jpg", "d.jpg", "b.jpg"])
    with raises(NotFound):
        home.collections.add(known.collection_id, [A, "nothing"])
    assert home.collections.get(known.collection_id) == known


def check_files_are_taken_out(home: Home) -> None:
    known = filled(home)
    known = home.collections.change(known.collection_id, known.revision, cover=B)
    known = home.collections.take(known.collection_id, [B, "nothing"], known.revision)
    assert (known.files, known.cover) == (3, None)
    assert home.shown(known.collection_id) == ["a.jpg", "c.jpg", "d.jpg"]
    assert home.catalog.get(B).file_path == "b.jpg"
    known = home.collections.take(known.collection_id, [A, C, D])
    assert (known.files, home.shown(known.collection_id)) == (0, [])


def check_files_are_arranged(home: Home) -> None:
    known = filled(home)

    def arranged(moving: Sequence[str], before: str | None = None) -> str:
        known = home.collections.get(name)
        home.collections.arrange(name, moving, known.revision, before=before)
        return "".join(key[0] for key in home.shown(name))

    name = known.collection_id
    assert arranged([A]) == "bcda"
    assert arranged([D, B], before=C) == "dbca"
    assert arranged([A], before=D) == "adbc"
    assert arranged([C, A, D, B]) == "cadb"
    assert arranged([]) == "cadb"
    for moving, before in (([A, "nothing"], None), ([A], "nothing"), ([A, B], A)):
        with raises(InvalidRequest):
            arranged(moving, before)
    assert home.collections.get(name).files == 4


def check_a_deleted_file_comes_back_to_its_place(home: Home) -> None:
    known = filled(home)
    hidden = home.catalog.put(replace(home.catalog.get(B), deleted_at=NOON))
    assert home.shown(known.collection_id) == ["a.jpg", "c.jpg", "d.jpg"]
    assert home.collections.get(known.collection_id) == known
    assert home.collections.file_ids(known.collection_id) == (A, B, C, D)
    home.catalog.put(replace(hidden, deleted_at=None))
    assert home.shown(known.collection_id) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def check_a_moved_file_stays_in_its_place(home: Home) -> None:
    known = filled(home)
    known = home.collections.change(known.collection_id, known.revision, cover=B)
    move(home.catalog, "b.jpg", "new.jpg")
    home.catalog.put(make_record("b.jpg", title="another"))
    new = media.file_id("new.jpg")
    assert home.shown(known.collection_id) == ["a.jpg", "new.jpg", "c.jpg", "d.jpg"]
    found = home.collections.get(known.collection_id)
    assert (found.files, found.cover, found.name) == (4, new, known.name)
    assert found.revision > known.revision
    assert [each.collection_id for each in home.collections.holding(new)] == [known.collection_id]
    assert home.collections.holding(B) == ()


def check_a_former_name_is_as_good(home: Home) -> None:
    known = filled(home, "a.jpg")
    move(home.catalog, "b.jpg", "x.jpg")
    move(home.catalog, "x.jpg", "new.jpg")
    known = home.collections.add(known.collection_id, [B])
    known = home.collections.add(known.collection_id, [media.file_id("x.jpg")])
    assert home.shown(known.collection_id) == ["a.jpg", "new.jpg"]
    known = home.collections.arrange(known.collection_id, [B], known.revision, before=A)
    assert home.shown(known.collection_id) == ["new.jpg", "a.jpg"]
    assert home.collections.holding(B) == (known,)
    known = home.collections.change(known.collection_id, known.revision, cover=B)
    assert known.cover == media.file_id("new.jpg")
    assert home.collections.take(known.collection_id, [B]).files == 1


def check_a_file_that_is_gone_is_in_no_collection(home: Home) -> None:
    known = filled(home)
    home.collections.change(known.collection_id, known.revision, cover=B)
    home.catalog.remove(B, home.catalog.get(B).revision)
    found = home.collections.get(known.collection_id)
    assert (found.files, found.cover) == (3, None)
    assert home.collections.file_ids(known.collection_id) == (A, C, D)
    home.catalog.put(make_record("b.jpg"))
    assert home.shown(known.collection_id) == ["a.jpg", "c.jpg", "d.jpg"]


def check_a_file_tells_its_collections(home: Home) -> None:
    first = filled(home, "a.jpg", "b.jpg")
    second = home.collections.create("another")
    second = home.collections.add(second.collection_id, [B])
    assert home.collections.holding(B) == (second, first)
    assert home.collections.holding(A) == (first,)
    home.collections.take(second.collection_id, [B])
    assert home.collections.holding(B) == (first,)
    home.collections.delete(first.collection_id, first.revision)
    assert home.collections.holding(B) == ()


def check_a_deleted_collection_leaves_its_files(home: Home) -> None:
    known = filled(home)
    kept = home.collections.create("kept")
    home.collections.delete(known.collection_id, known.revision)
    with raises(NotFound):
        home.collections.get(known.collection_id)
    with raises(NotFound):
        home.collections.files(known.collection_id)
    assert home.collections.list().collections == (kept,)
    assert home.catalog.get(A).file_path == "a.jpg"


def check_collections_are_listed_by_name_in_pages(home: Home) -> None:
    names = ["alpha", "Beta", "été", "Été 2", "gamma"]
    made = {name: home.collections.create(name) for name in reversed(names)}
    gone = home.collections.create("zeta")
    home.collections.change(gone.collection_id, 1, name="Al")
    found: list[Collection] = []
    cursor: str | None = None
    while True:
        page = home.collections.list(cursor=cursor, limit=2)
        found += page.collections
        cursor = page.cursor
        if cursor is None:
            break
        if len(found) == 2:
            home.collections.create("aaa")
    assert [each.name for each in found] == ["Al", *names]
    assert found[1:] == [made[name] for name in names]
    for limit in (0, 1_001):
        with raises(InvalidRequest):
            home.collections.list(limit=limit)


def check_a_foreign_cursor_is_refused(home: Home) -> None:
    known = filled(home)
    other = home.collections.create("other")
    cursor = home.collections.files(known.collection_id, limit=1).cursor
    listed = home.collections.list(limit=1).cursor
    assert cursor is not None
    assert listed is not None
    for bad in ("", "x", listed, cursor + "A"):
        with raises(InvalidRequest):
            home.collections.files(known.collection_id, cursor=bad)
    with raises(InvalidRequest):
        home.collections.files(other.collection_id, cursor=cursor)
    with raises(InvalidRequest):
        home.collections.list(cursor=cursor)
    for limit in (0, 1_001):
        with raises(InvalidRequest):
            home.collections.files(known.collection_id, limit=limit)


def check_paging_is_stable_while_files_come_and_go(home: Home) -> None:
    known = filled(home)
    name = known.collection_id
    page = home.collections.files(name, limit=2)
    home.collections.take(name, [A])
    home.catalog.put(make_record("e.jpg"))
    home.collections.add(name, [media.file_id("e.jpg")])
    rest = home.collections.files(name, cursor=page.cursor)
    assert [record.file_path for record in rest.records] == ["c.jpg", "d.jpg", "e.jpg"]
    home.collections.take(name, [B])
    rest = home.collections.files(name, cursor=page.cursor)
    assert [record.file_path for record in rest.records][-2:] == ["d.jpg", "e.jpg"]


def check_what_is_put_back_is_as_it_was(home: Home) -> None:
    known = filled(home, "c.jpg", "a.jpg")
    known = home.collections.change(known.collection_id, known.revision, cover=A, description="d")
    files = home.collections.file_ids(known.collection_id)
    home.collections.put_back(replace(known, name="older"), [A])
    assert home.collections.get(known.collection_id) == known
    home.collections.delete(known.collection_id, known.revision)
    home.collections.put_back(known, files)
    assert home.collections.get(known.collection_id) == known
    assert home.shown(known.collection_id) == ["c.jpg", "a.jpg"]
    assert home.collections.holding(A) == (known,)
    assert home.collections.list().collections == (known,)


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]


# -- the homes that are held against them --------------------------------------------------------------------


@contextmanager
def fake_home(_folder: Path) -> Iterator[Home]:
    """Collections in memory."""
    catalog, clock = FakeCatalog(), FakeClock()
    yield Home(FakeCollections(catalog, clock, SequentialIds()), catalog, clock)


@contextmanager
def local_home(folder: Path) -> Iterator[Home]:
    """Collections in SQLite; what is kept of them outside is what is in there."""
    clock = FakeClock()
    database = Database(folder / "catalog.db", [SCHEMA], new_uuid="0" * 32)
    kept: dict[str, tuple[Collection, tuple[str, ...]]] = {}

    def keep(collection: Collection, file_ids: Sequence[str]) -> None:
        kept[collection.collection_id] = collection, tuple(file_ids)

    def drop(collection_id: str) -> None:
        del kept[collection_id]

    collections = LocalCollections(database, clock, SequentialIds(), keep=keep, drop=drop)
    try:
        yield Home(collections, LocalCatalog(database, clock), clock)
        for name, (collection, _) in kept.items():
            assert collections.get(name).name == collection.name
    finally:
        database.close()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("make_home", [fake_home, local_home])
def test_contract(make_home: Any, check: Callable[[Home], None], tmp_path: Path) -> None:
    """Collections of every home pass every check."""
    with make_home(tmp_path) as home:
        check(home)


@pytest.mark.parametrize("make_home", [fake_home, local_home])
def test_no_collection_grows_without_end(make_home: Any, tmp_path: Path) -> None:
    """Every home asks the same function, so two of them are enough."""
    with make_home(tmp_path) as home:
        known = filled(home, "a.jpg")
        many = [f"{number:032x}" for number in range(COLLECTION_LIMIT)]
        home.collections.put_back(replace(known, collection_id="full"), [*many[1:], A])
        with raises(InvalidRequest):
            home.collections.add("full", [B])
        assert home.collections.add("full", [A]).files == COLLECTION_LIMIT
        assert home.shown("full") == ["a.jpg"]
        assert home.collections.take("full", [many[1]]).files == COLLECTION_LIMIT - 1
        assert home.collections.add("full", [B]).files == COLLECTION_LIMIT


@pytest.mark.parametrize("check", CHECKS)
def test_contract_on_aws(check: Callable[[Home], None], aws: Aws) -> None:
    """So do those in DynamoDB."""
    home, clock = DynamoHome(aws), FakeClock()
    check(Home(DynamoCollections(aws, clock, SequentialIds(), cursor_key="k"), home.catalog, clock))


# -- collections that break the contract ---------------------------------------------------------------------


class ForgetsRevisions(FakeCollections):
    """The last writer wins, whatever it has read."""

    def _read(self, collection_id: str, _revision: int | None, doing: str) -> Collection:
        return super()._read(collection_id, None, doing)


class LosesMovedFiles(FakeCollections):
    """A file that is moved is left behind."""

    def _follow(self, file_id: str, _moved_to: str | None) -> None:
        super()._follow(file_id, None)


class AddsTwice(FakeCollections):
    """What is there already is put there again."""

    def _store(self, collection: Collection, files: Sequence[str]) -> Collection:
        return super()._store(collection, [*files, *files[:1]])


class ShowsTheDeleted(FakeCollections):
    """A deleted file is shown as any other."""

    def file_ids(self, collection_id: str) -> tuple[str, ...]:
        files = super().file_ids(collection_id)
        for file_id in files:
            record = self._catalog.get(file_id)
            if record.deleted_at is not None:
                self._catalog.put(replace(record, deleted_at=None))
        return files


@pytest.mark.parametrize(
    ("faulty", "caught_by"),
    [
        (ForgetsRevisions, check_a_write_on_an_old_revision_loses),
        (LosesMovedFiles, check_a_moved_file_stays_in_its_place),
        (AddsTwice, check_files_are_added_once_at_the_end_in_order),
        (ShowsTheDeleted, check_a_deleted_file_comes_back_to_its_place),
    ],
)
def test_planted_fault_is_caught(faulty: type[FakeCollections], caught_by: Callable[[Home], None]) -> None:
    """Collections with a known fault fail the check that is there for it."""
    catalog, clock = FakeCatalog(), FakeClock()
    with pytest.raises(AssertionError):
        caught_by(Home(faulty(catalog, clock, SequentialIds()), catalog, clock))
