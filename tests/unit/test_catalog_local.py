"""The SQLite catalog from inside: plans, positions, the outbox, and search against a plain model of what it means."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from contentplatform.catalog.index import page_statement
from contentplatform.catalog.local import SCHEMA, LocalCatalog
from contentplatform.catalog.port import HasSearchIndex, Record, RecordPage, SearchQuery, walk_records
from contentplatform.catalog.search import text_query
from contentplatform.drivers.sqlite import Database, Transaction
from contentplatform.errors import Conflict, InvalidRequest, NotFound
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from fakes.catalog import NOON, FakeCatalog, make_entry, make_record, matches
from fakes.clock import FakeClock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with the catalog's tables."""
    opened = Database(tmp_path / "catalog.db", [SCHEMA], new_uuid="0" * 32)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the catalog."""
    return FakeClock()


@pytest.fixture
def catalog(database: Database, clock: FakeClock) -> LocalCatalog:
    """An empty catalog."""
    return LocalCatalog(database, clock)


def found(catalog: LocalCatalog, **conditions: Any) -> list[str]:
    """The keys on the first page."""
    return [record.file_path for record in catalog.search(SearchQuery(**conditions)).records]


# -- plans ---------------------------------------------------------------------------------------------------

LATER = NOON + timedelta(days=1)
SHAPES = {
    "everything": SearchQuery(),
    "deleted": SearchQuery(deleted=True),
    "words": SearchQuery(text="sunset beach"),
    "a prefix": SearchQuery(text="sun"),
    "kind": SearchQuery(kind=MediaKind.VIDEO),
    "status": SearchQuery(status=ProcessingStatus.FAILED),
    "kind and status": SearchQuery(kind=MediaKind.VIDEO, status=ProcessingStatus.FAILED),
    "tag": SearchQuery(tag="x"),
    "folder": SearchQuery(folder="a/b"),
    "tag and folder": SearchQuery(tag="x", folder="a/b"),
    "dates": SearchQuery(uploaded_from=NOON, uploaded_before=LATER),
    "hash": SearchQuery(file_hash="0" * 64),
    "words and everything": SearchQuery(
        text="sun", kind=MediaKind.IMAGE, status=ProcessingStatus.FAILED, tag="x", folder="a", uploaded_from=NOON
    ),
}


@pytest.mark.parametrize("before", [None, 5])
@pytest.mark.parametrize("query", SHAPES.values(), ids=SHAPES.keys())
def test_no_search_scans_or_sorts(
    catalog: LocalCatalog, database: Database, query: SearchQuery, before: int | None
) -> None:
    """Each query walks an index that already has the newest upload first; nothing is scanned, nothing sorted."""
    for number in range(20):
        catalog.put(make_record(f"a/b/{number}.jpg", number, tags=("x",)))
    plan = plan_of(database, query, before)
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
    scans = [step for step in plan if step.startswith("SCAN")]
    assert not [step for step in scans if "VIRTUAL TABLE INDEX" not in step and step != "SCAN p"], plan


@pytest.mark.parametrize("count", [3, 1_200])
def test_a_size_range_sorts_only_where_few_match(catalog: LocalCatalog, database: Database, count: int) -> None:
    """A few matches are fetched by size and sorted; many are met soon when walking from the newest."""
    database.write(lambda _: [catalog.put(make_record(f"{n}.jpg", n, size_bytes=n % count)) for n in range(1_300)])
    plan = plan_of(database, SearchQuery(size_from_bytes=0, size_to_bytes=count), None)
    rare = plan_of(database, SearchQuery(size_from_bytes=2, size_to_bytes=2), None)
    assert any("catalog_by_upload" in step for step in plan), plan
    assert any("catalog_by_size" in step for step in rare), rare


def test_the_rarest_condition_leads(catalog: LocalCatalog, database: Database) -> None:
    """Of two conditions the one with fewer records is walked, whichever that is."""
    for number in range(30):
        catalog.put(make_record(f"{number}.jpg", number, tags=("rare",) if number == 7 else ()))
    catalog.put(make_record("one.mp4", kind=MediaKind.VIDEO, tags=("common",)))
    catalog.put(make_record("two.jpg", tags=("common",)))
    rare_tag = plan_of(database, SearchQuery(tag="rare", kind=MediaKind.IMAGE), None)
    rare_kind = plan_of(database, SearchQuery(tag="common", kind=MediaKind.VIDEO), None)
    assert any("SEARCH l USING PRIMARY KEY" in step for step in rare_tag), rare_tag
    assert any("catalog_by_kind" in step for step in rare_kind), rare_kind


def plan_of(database: Database, query: SearchQuery, before: int | None) -> list[str]:
    """The steps by which SQLite answers ``query``."""
    with database.read() as view:
        statement, parameters = page_statement(view, query, text_query(query.text), before, 101)
        return [str(row[3]) for row in view.rows(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def test_common_conditions_together_are_found_by_the_text_index_and_what_waits_for_it(
    catalog: LocalCatalog, database: Database
) -> None:
    """Each of them has more than a thousand files; what was not indexed yet is found, or left out, all the same."""
    twin = FakeCatalog()

    def put(record: Record) -> None:
        assert catalog.put(record) == twin.put(record)

    def fill() -> None:
        for number in range(1_100):
            tags = ("common", "rare") if number % 100 == 0 else ("common",)
            put(make_record(f"f/{number % 2}/{number}.jpg", number, tags=tags))
        while catalog.index_pending(1_000):
            pass
        for number in range(0, 60, 3):
            old = twin.get(file_id(f"f/{number % 2}/{number}.jpg"))
            later = old.upload_time + timedelta(days=number)
            put(replace(old, tags=old.tags[number % 2 :], upload_time=later))
            put(replace(twin.get(old.file_id), kind=MediaKind.VIDEO if number % 4 else MediaKind.IMAGE))
        for number in range(20):
            put(make_record(f"f/1/new{number}.jpg", 2_000 + number, tags=("common",)))

    database.write(lambda _transaction: fill())
    for query in (
        SearchQuery(tag="common", folder="f"),
        SearchQuery(tag="common", kind=MediaKind.IMAGE),
        SearchQuery(tag="common", folder="f", kind=MediaKind.IMAGE, status=ProcessingStatus.PENDING),
        SearchQuery(tag="common", folder="f", size_from_bytes=1_000, uploaded_from=NOON + timedelta(hours=1)),
    ):
        assert any("VIRTUAL TABLE" in step for step in plan_of(database, query, None)), query
        found = [record.file_id for record in walk_records(catalog, query)]
        assert sorted(found) == sorted(record.file_id for record in walk_records(twin, query)), query
        times = [catalog.get(each).upload_time for each in found]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT document FROM catalog_records JOIN catalog_documents USING (position) WHERE file_id = 'x'",
        "SELECT document FROM catalog_ledger WHERE file_id = 'x' AND version_id = 'y'",
        "DELETE FROM catalog_ledger WHERE file_id = 'x'",
        "UPDATE catalog_redirects SET moved_to = 'y' WHERE moved_to = 'x'",
        "SELECT sequence, file_id FROM catalog_search_outbox ORDER BY sequence LIMIT 100",
    ],
)
def test_no_lookup_scans(database: Database, statement: str) -> None:
    """What is looked up or changed by its name is found by an index."""
    with database.read() as view:
        plan = [str(row[3]) for row in view.rows(f"EXPLAIN QUERY PLAN {statement}")]
    scans = [step for step in plan if step.startswith("SCAN")]
    assert scans == (["SCAN catalog_search_outbox"] if "LIMIT" in statement else []), plan


# -- positions -----------------------------------------------------------------------------------------------


def test_thousands_of_uploads_in_one_moment_have_their_places(catalog: LocalCatalog, database: Database) -> None:
    """A stopped clock gives many records the same upload time; each is found once, before and after other moments."""
    count = 2_500
    catalog.put(make_record("before.jpg", -1))
    database.write(lambda _: [catalog.put(make_record(f"{number}.jpg")) for number in range(count)])
    catalog.put(make_record("after.jpg", 1))
    seen = list(walk(catalog, SearchQuery()))
    assert (seen[0], seen[-1]) == ("after.jpg", "before.jpg")
    assert sorted(seen[1:-1]) == sorted(f"{number}.jpg" for number in range(count))
    between = SearchQuery(uploaded_from=NOON, uploaded_before=NOON + timedelta(microseconds=1))
    assert len(list(walk(catalog, between))) == count
    assert len(list(walk(catalog, replace(between, text="jpg")))) == 0
    index_all(catalog)
    assert len(list(walk(catalog, replace(between, text="jpg")))) == count


def test_moments_out_of_range_are_kept_exactly(catalog: LocalCatalog) -> None:
    """Upload times before 1970 and after 2255 share a place in the order, and lose nothing else."""
    ancient, distant = datetime(1901, 1, 1, tzinfo=UTC), datetime(9_000, 1, 1, tzinfo=UTC)
    catalog.put(make_record("ancient.jpg", upload_time=ancient))
    catalog.put(make_record("distant.jpg", upload_time=distant))
    catalog.put(make_record("now.jpg"))
    assert found(catalog) == ["distant.jpg", "now.jpg", "ancient.jpg"]
    assert catalog.get(file_id("distant.jpg")).upload_time == distant
    assert found(catalog, uploaded_before=datetime(1960, 1, 1, tzinfo=UTC)) == ["ancient.jpg"]
    assert found(catalog, uploaded_from=datetime(3_000, 1, 1, tzinfo=UTC)) == ["distant.jpg"]


def test_a_place_is_not_given_away_before_the_index_has_left_it(catalog: LocalCatalog) -> None:
    """While the text index still has words for a place, no other record gets it and is found by them."""
    first = catalog.put(make_record("first.jpg", title="secret"))
    index_all(catalog)
    catalog.put(replace(first, upload_time=NOON + timedelta(days=1), title="other"))
    catalog.put(make_record("second.jpg"))
    assert found(catalog, text="secret") == []
    index_all(catalog)
    assert (found(catalog, text="secret"), found(catalog, text="other")) == ([], ["first.jpg"])


# -- what is not text ----------------------------------------------------------------------------------------


def test_names_that_are_not_unicode_are_refused_in_words(catalog: LocalCatalog) -> None:
    """A command line argument that is not UTF-8 reaches the catalog as half of a surrogate pair."""
    catalog.put(make_record())
    for ask in (
        lambda: catalog.get("\udcff"),
        lambda: catalog.get_entry(make_record().file_id, "\udcff"),
        lambda: catalog.search(SearchQuery(file_hash="\udcff")),
        lambda: catalog.put(replace(make_record(), file_id="0" * 32, file_path="\udcff")),
    ):
        with pytest.raises(InvalidRequest, match="not valid Unicode"):
            ask()
    assert found(catalog, tag="\udcff") == found(catalog, folder="\udcff") == found(catalog, text="\udcff") == []


# -- the outbox ----------------------------------------------------------------------------------------------


def test_words_are_found_once_indexed_and_everything_else_at_once(catalog: LocalCatalog, clock: FakeClock) -> None:
    """A put only notes what is to be indexed; the note says since when."""
    assert isinstance(catalog, HasSearchIndex)
    assert (catalog.index_pending(), catalog.index_lag_seconds()) == (0, 0.0)
    for number in range(5):
        catalog.put(make_record(f"{number}.jpg", number, tags=("x",)))
    clock.advance(3)
    assert (found(catalog, text="jpg"), len(found(catalog, tag="x")), len(found(catalog))) == ([], 5, 5)
    assert catalog.index_lag_seconds() == 3.0
    assert (catalog.index_pending(2), catalog.index_pending(), catalog.index_pending()) == (2, 3, 0)
    assert len(found(catalog, text="jpg")) == 5
    assert catalog.index_lag_seconds() == 0.0


def test_a_change_that_no_word_shows_is_not_indexed_again(catalog: LocalCatalog) -> None:
    """Only what the text index holds makes work for it."""
    record = catalog.put(make_record())
    index_all(catalog)
    record = catalog.put(replace(record, note="new", processed_at=NOON, size_bytes=5, credit="somebody"))
    assert catalog.index_pending() == 0
    catalog.put(replace(record, title="new"))
    assert catalog.index_pending() == 1


def test_many_changes_wait_as_one(catalog: LocalCatalog) -> None:
    """The index is made from the record as it is then, not from each change."""
    record = catalog.put(make_record())
    for number in range(5):
        record = catalog.put(replace(record, title=f"title{number}"))
    assert catalog.index_pending() == 1
    assert (found(catalog, text="title4"), found(catalog, text="title3")) == (["a/photo.jpg"], [])


def test_a_batch_that_does_not_commit_leaves_all_of_it_waiting(catalog: LocalCatalog, database: Database) -> None:
    """Index rows and outbox go together: a crash in between costs nothing but the repetition."""
    for number in range(3):
        catalog.put(make_record(f"{number}.jpg"))

    def index_and_fail(_: Transaction) -> None:
        assert catalog.index_pending() == 3
        raise RuntimeError("crashed before the commit")

    with pytest.raises(RuntimeError):
        database.write(index_and_fail)
    assert found(catalog, text="jpg") == []
    assert catalog.index_pending() == 3
    assert len(found(catalog, text="jpg")) == 3
    assert catalog.index_gaps() == ()


def test_writes_join_the_open_unit_of_work(catalog: LocalCatalog, database: Database) -> None:
    """Record and entry commit with what the other rooms do, or not at all; inside, they are seen at once."""

    def put_both_and_fail(_: Transaction) -> None:
        record = catalog.put(make_record())
        entry = catalog.put_entry(make_entry())
        assert catalog.get(record.file_id) == record
        assert catalog.entries(entry.file_id) == (entry,)
        assert found(catalog) == [record.file_path]
        raise RuntimeError("the other room failed")

    with pytest.raises(RuntimeError):
        database.write(put_both_and_fail)
    assert (found(catalog), catalog.entries(make_entry().file_id)) == ([], ())


def test_two_processes_share_one_catalog(catalog: LocalCatalog, database: Database, clock: FakeClock) -> None:
    """A second process sees every commit, loses on an old revision, and reads cursors of the first."""
    other_database = Database(database.path, [SCHEMA], new_uuid="1" * 32)
    try:
        other = LocalCatalog(other_database, clock)
        record = catalog.put(make_record("a.jpg"))
        other.put(make_record("b.jpg", 1))
        other.put(replace(record, title="theirs"))
        with pytest.raises(Conflict):
            catalog.put(replace(record, title="ours"))
        assert other.index_pending() == 2
        assert found(catalog, text="theirs") == ["a.jpg"]
        cursor = catalog.search(SearchQuery(), limit=1).cursor
        assert [r.file_path for r in other.search(SearchQuery(), cursor=cursor).records] == ["a.jpg"]
    finally:
        other_database.close()


DAMAGES: dict[str, Callable[[Transaction], Any]] = {
    "words lost": lambda transaction: transaction.run("DELETE FROM catalog_search"),
    "row forgotten": lambda transaction: transaction.run("DELETE FROM catalog_search_rows"),
    "row misplaced": lambda transaction: transaction.run("UPDATE catalog_search_rows SET position = position + 1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_gap_in_the_index_is_seen_and_closed(
    catalog: LocalCatalog, database: Database, damage: Callable[[Transaction], Any]
) -> None:
    """What the index lost is told, and indexing anew brings it back; what still waits is no gap."""
    catalog.put(make_record("a.jpg"))
    index_all(catalog)
    waiting = catalog.put(make_record("b.jpg"))
    assert catalog.index_gaps() == ()
    database.write(damage)
    assert catalog.index_gaps() == (file_id("a.jpg"),)
    catalog.requeue(catalog.index_gaps())
    catalog.requeue([waiting.file_id])
    assert catalog.index_gaps() == ()
    assert catalog.index_pending() == 2
    assert sorted(found(catalog, text="jpg")) == ["a.jpg", "b.jpg"]
    assert catalog.index_gaps() == ()


def index_all(catalog: LocalCatalog) -> None:
    """Index everything that waits."""
    while catalog.index_pending():
        pass


def walk(catalog: LocalCatalog, query: SearchQuery, limit: int = 400) -> Iterator[str]:
    """Every key that ``query`` finds, page by page."""
    page = catalog.search(query, limit=limit)
    yield from (record.file_path for record in page.records)
    while page.cursor is not None:
        page = catalog.search(query, cursor=page.cursor, limit=limit)
        yield from (record.file_path for record in page.records)


# -- against the model ---------------------------------------------------------------------------------------

WORDS = ("sea", "seas", "sun", "sunset", "su", "Été", "x", "東京", "2041")
TAGS = ("sea", "sun set", "x")
KEYS = tuple(f"{folder}{name}.jpg" for folder in ("", "sea/", "sea/sun/") for name in ("sunset", "x_2041", "Été"))
texts = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
few_moments = st.integers(0, 3).map(lambda minute: NOON + timedelta(minutes=minute))
descriptions = st.fixed_dictionaries(
    {
        "title": st.none() | texts,
        "tags": st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
        "kind": st.sampled_from((MediaKind.IMAGE, MediaKind.VIDEO)),
        "status": st.sampled_from((ProcessingStatus.PENDING, ProcessingStatus.FAILED)),
        "size_bytes": st.integers(0, 3),
        "upload_time": few_moments,
        "deleted_at": st.sampled_from((None, None, None, NOON)),
        "processing_metadata": st.sampled_from(({}, {"text": "sea of words"})),
    }
)
queries = st.builds(
    SearchQuery,
    text=st.just("") | texts,
    kind=st.sampled_from((None, None, MediaKind.IMAGE)),
    status=st.sampled_from((None, None, ProcessingStatus.FAILED)),
    tag=st.sampled_from((None, None, *TAGS)),
    folder=st.sampled_from((None, None, "sea", "sea/sun", "su")),
    uploaded_from=st.none() | few_moments,
    uploaded_before=st.none() | few_moments,
    size_from_bytes=st.none() | st.integers(0, 3),
    size_to_bytes=st.none() | st.integers(0, 3),
    deleted=st.booleans(),
)


class Reading:
    """A search under way: its pages so far, and which records should turn up exactly once."""

    def __init__(self, query: SearchQuery, limit: int, page: RecordPage, matching: tuple[Record, ...]) -> None:
        self.query = query
        self.limit = limit
        self.page = page
        self.seen = [record.file_id for record in page.records]
        self.matching = matching
        """The records that matched when it began."""


class SearchAgainstModel(RuleBasedStateMachine):
    """The SQLite catalog beside the one in memory: whatever is written, both find the same, page by page."""

    readings: Bundle[Reading] = Bundle("readings")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="catalog-")
        self.database = Database(Path(self.folder.name) / "catalog.db", [SCHEMA], new_uuid="0" * 32)
        self.local = LocalCatalog(self.database, FakeClock())
        self.model = FakeCatalog()

    def teardown(self) -> None:
        """After whatever was written, every table tells of the same records; then let go of the file."""
        index_all(self.local)
        assert self.local.index_gaps() == ()
        with self.database.read() as view:
            places = view.rows("SELECT position FROM catalog_records ORDER BY position")
            assert view.rows("SELECT position FROM catalog_documents ORDER BY position") == places
            assert view.rows("SELECT position FROM catalog_search_rows ORDER BY position") == places
            assert view.rows("SELECT rowid FROM catalog_search ORDER BY rowid") == places
            assert set(view.rows("SELECT position FROM catalog_labels")) <= set(places)
        self.database.close()
        self.folder.cleanup()

    @rule(key=st.sampled_from(KEYS), description=descriptions)
    def put(self, key: str, description: dict[str, Any]) -> None:
        """Write a new record, or another state of one that is there."""
        record = replace(make_record(key, **description), revision=self.revision(key))
        assert self.local.put(record) == self.model.put(record)

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        """Take a record away for good."""
        if self.revision(key):
            self.local.remove(file_id(key), self.revision(key))
            self.model.remove(file_id(key), self.revision(key))

    @rule()
    def index_some(self) -> None:
        """Let the text index catch up a little."""
        self.local.index_pending(2)

    @rule(query=queries, limit=st.integers(1, 4))
    def search(self, query: SearchQuery, limit: int) -> None:
        """All pages together hold what the model finds, the newest first, and nothing twice."""
        index_all(self.local)
        keys = list(walk(self.local, query, limit))
        times = [self.local.get(file_id(key)).upload_time for key in keys]
        assert sorted(keys) == sorted(record.file_path for record in self.model.search(query, limit=1_000).records)
        assert times == sorted(times, reverse=True)

    @rule(target=readings, query=queries, limit=st.integers(1, 3))
    def begin_reading(self, query: SearchQuery, limit: int) -> Reading:
        """Read the first page, and go on later."""
        index_all(self.local)
        matching = self.model.search(query, limit=1_000).records
        return Reading(query, limit, self.local.search(query, limit=limit), matching)

    @rule(reading=consumes(readings))
    def finish_reading(self, reading: Reading) -> None:
        """Whatever was written meanwhile: what kept matching, in its place, turned up exactly once."""
        index_all(self.local)
        while reading.page.cursor is not None:
            reading.page = self.local.search(reading.query, cursor=reading.page.cursor, limit=reading.limit)
            reading.seen += [record.file_id for record in reading.page.records]
        for record in reading.matching:
            if record == self.stored(record.file_path):
                assert reading.seen.count(record.file_id) == 1

    def stored(self, key: str) -> Record | None:
        """The record of ``key``, by the model."""
        try:
            return self.model.get(file_id(key))
        except NotFound:
            return None

    def revision(self, key: str) -> int:
        """The revision that is stored for ``key``; 0 for none."""
        record = self.stored(key)
        return 0 if record is None else record.revision


def test_the_model_itself_finds_what_it_should() -> None:
    """The model is simple enough to be checked by eye, on one example of each kind."""
    record = make_record("sea/sunset.jpg", tags=("x",), size_bytes=5)
    assert matches(record, SearchQuery(text="SEA sun"))
    assert not matches(record, SearchQuery(text="sun sea x2"))
    assert matches(record, SearchQuery(folder="sea", size_from_bytes=5, size_to_bytes=5))
    assert not matches(record, SearchQuery(folder="se"))
    assert not matches(record, SearchQuery(deleted=True))


TestSearchAgainstModel = SearchAgainstModel.TestCase
TestSearchAgainstModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
