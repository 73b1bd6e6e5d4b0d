"""The function that follows the records' stream into the search table."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from contentplatform import media
from contentplatform.catalog.feed import SearchFeed
from contentplatform.catalog.port import Figure, Record, SearchQuery
from contentplatform.catalog.tables import METADATA, SEARCH
from contentplatform.catalog.terms import BEGINNINGS, digest, rows
from contentplatform.drivers.boto import Aws
from contentplatform.errors import NotFound
from contentplatform.media import ProcessingStatus
from fakes.catalog import NOON, FakeCatalog, make_record
from fakes.clock import FakeClock
from fakes.dynamodb import DynamoHome

KEYS = ("a/one.jpg", "a/b/two.jpg")
TITLES = (None, "sunset", "sunsets over the sea", "Sea and sunshine", "photographer 20240105")


@pytest.fixture
def home(aws: Aws) -> DynamoHome:
    """Empty tables."""
    return DynamoHome(aws)


def search_table(home: DynamoHome) -> dict[tuple[str, str], str]:
    """All rows of the search table: their words, or the digest of a marker."""
    found = {}
    for page in home.client.get_paginator("scan").paginate(TableName=SEARCH.name):
        for item in page["Items"]:
            if item["term"]["S"].startswith("count"):
                continue
            value = item.get("words") or item.get("digest") or {"S": ""}
            found[item["term"]["S"], item["newest_first"]["S"]] = value["S"]
    return found


def expected(home: DynamoHome) -> dict[tuple[str, str], str]:
    """What the search table should hold by the records."""
    found: dict[tuple[str, str], str] = {}
    for key in KEYS:
        try:
            record = home.catalog.get(media.file_id(key))
        except NotFound:
            continue
        found |= rows(record)
        found[f"marker {record.file_id[:2]}", record.file_id] = digest(rows(record))
    return found


def check_counters(home: DynamoHome) -> None:
    """The counters say what the records say."""
    twin = FakeCatalog()
    for key in KEYS:
        try:
            twin.put(replace(home.catalog.get(media.file_id(key)), revision=0))
        except NotFound:
            continue
    assert home.catalog.facets(SearchQuery()) == twin.facets(SearchQuery())
    for folder in ("", "a", "a/b"):
        assert home.catalog.folders(folder).folders == twin.folders(folder).folders


def change(home: DynamoHome, chance: random.Random) -> None:
    """One random write to one of the keys."""
    key = chance.choice(KEYS)
    record: Record | None
    try:
        record = home.catalog.get(media.file_id(key))
    except NotFound:
        record = None
    if record is not None and chance.random() < 0.25:
        home.catalog.remove(record.file_id, record.revision, chance.choice((None, "elsewhere")))
        return
    home.catalog.put(
        replace(
            record or make_record(key),
            title=chance.choice(TITLES),
            tags=tuple(chance.sample(("x", "y", "z"), chance.randint(0, 2))),
            upload_time=chance.choice((NOON, NOON.replace(year=2031))),
            deleted_at=chance.choice((None, None, NOON)),
        )
    )


@pytest.mark.parametrize("seed", range(12))
def test_late_repeated_and_disordered_changes_end_right(home: DynamoHome, seed: int) -> None:
    chance = random.Random(seed)
    waiting: list[dict[str, Any]] = []
    for _ in range(15):
        change(home, chance)
        told = home.changes()
        waiting += told * chance.choice((1, 1, 2))
        chance.shuffle(waiting)
        batch = [waiting.pop() for _ in range(chance.randint(0, len(waiting)))]
        assert home.feed.handle({"Records": batch}) == {"batchItemFailures": []}
    home.feed.handle({"Records": waiting})
    assert search_table(home) == expected(home)
    home.feed.handle({"Records": home.changes()})
    assert search_table(home) == expected(home)
    check_counters(home)
    assert list(home.catalog.index_gaps()) == []


def test_changes_that_come_one_by_one_end_right(home: DynamoHome) -> None:
    """Without a repetition that would cover up what one of them left out."""
    chance = random.Random(1)
    for title in (*TITLES, *reversed(TITLES), "sunsets", "sunset", "sun"):
        record = home.catalog.get(media.file_id(KEYS[0])) if title or search_table(home) else make_record(KEYS[0])
        home.catalog.put(replace(record, title=title))
        home.settle()
        assert search_table(home) == expected(home), title
    for _ in range(20):
        change(home, chance)
        home.settle()
        assert search_table(home) == expected(home)
        check_counters(home)


def test_a_file_with_more_tags_than_a_transaction_holds_is_counted(home: DynamoHome) -> None:
    """In several steps, and away again."""
    tags = tuple(f"t{number:03}" for number in range(100))
    record = home.catalog.put(make_record("/".join(("d",) * 9) + "/x.jpg", tags=tags))
    home.settle()
    assert home.catalog.facets(SearchQuery(tag="t042")).total == Figure(1)
    assert len(home.catalog.facets(SearchQuery()).tags) == 50
    home.catalog.put(replace(record, tags=tuple(f"u{number:03}" for number in range(100))))
    home.settle()
    found = home.catalog.facets(SearchQuery())
    assert list(found.tags) == [f"u{number:03}" for number in range(50)]


class Contended(Aws):
    """A session whose first transactions lose against somebody else's."""

    def __init__(self, aws: Aws, losses: int) -> None:
        super().__init__(region=aws.region, account_id=aws.account_id)
        self._client = aws.client("dynamodb")
        self.losses = losses

    def client(self, service: str, region: str | None = None) -> Any:
        return self if service == "dynamodb" else super().client(service, region)

    def transact_write_items(self, **request: Any) -> Any:
        if not self.losses:
            return self._client.transact_write_items(**request)
        self.losses -= 1
        reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
        answer = {"Error": {"Code": "TransactionCanceledException", "Message": "."}, "CancellationReasons": reasons}
        raise self._client.exceptions.TransactionCanceledException(answer, "TransactWriteItems")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_counter_that_others_change_is_changed_all_the_same(home: DynamoHome) -> None:
    """A transaction that lost is tried again, a few times; then the change is named, to come again."""
    home.catalog.put(make_record())
    contended = Contended(home.aws, 2)
    feed = SearchFeed(contended, FakeClock())
    assert feed.handle({"Records": home.changes()}) == {"batchItemFailures": []}
    assert contended.losses == 0
    assert home.catalog.facets(SearchQuery()).total == Figure(1)
    contended.losses = 99
    home.catalog.put(make_record("b.jpg"))
    assert len(feed.handle({"Records": home.changes()})["batchItemFailures"]) == 1


def test_a_change_of_status_costs_two_looks_and_a_transaction(home: DynamoHome) -> None:
    record = home.catalog.put(make_record(tags=("x",)))
    home.settle()
    asked: Counter[str] = Counter()
    home.client.meta.events.register("before-call.dynamodb", lambda model, **_: asked.update([model.name]))
    home.catalog.put(replace(record, status=ProcessingStatus.COMPLETED))
    asked.clear()
    home.settle()
    assert asked == {"GetItem": 2, "TransactWriteItems": 1}
    home.catalog.put(replace(home.catalog.get(record.file_id), credit="somebody"))
    asked.clear()
    home.settle()
    assert asked == {}


def test_what_fails_is_named_and_the_rest_is_done(home: DynamoHome) -> None:
    home.client.put_item(TableName=METADATA.name, Item={"file_id": {"S": "f" * 32}, "revision": {"N": "1"}})
    home.catalog.put(make_record("fine.jpg"))
    told = home.changes()
    answer = home.feed.handle({"Records": told})
    assert answer == {"batchItemFailures": [{"itemIdentifier": told[0]["dynamodb"]["SequenceNumber"]}]}
    assert [record.file_path for record in home.catalog.search(SearchQuery(text="fine")).records] == ["fine.jpg"]


def test_without_its_table_everything_fails_and_nothing_is_raised(home: DynamoHome) -> None:
    home.catalog.put(make_record("a"))
    home.catalog.put(make_record("b"))
    home.client.delete_table(TableName=SEARCH.name)
    told = home.changes()
    failed = [each["itemIdentifier"] for each in home.feed.handle({"Records": told})["batchItemFailures"]]
    assert failed == [each["dynamodb"]["SequenceNumber"] for each in told]


def test_stale_and_missing_rows_never_show_a_wrong_result(home: DynamoHome) -> None:
    record = home.catalog.put(make_record(title="before"))
    home.settle()
    home.catalog.put(replace(record, title="after"))
    assert home.catalog.search(SearchQuery(text="before")).records == ()
    assert home.catalog.search(SearchQuery(text="after")).records == ()
    home.settle()
    assert len(home.catalog.search(SearchQuery(text="after")).records) == 1


def test_prefixes_of_every_length_find_the_word(home: DynamoHome) -> None:
    word = "img20240105123000" + "x" * 60
    home.catalog.put(make_record(word))
    home.catalog.put(make_record("img20240105123000y", 1))
    home.settle()
    for length in range(3, 77):
        found = home.catalog.search(SearchQuery(text=word[:length]))
        assert len(found.records) == (2 if length <= 17 else 1), length


def test_a_record_has_few_rows() -> None:
    named = make_record("2024/paris/IMG_2041.jpg")
    assert len(rows(named)) == 8
    text = " ".join(f"{number:x}word{number}" for number in range(5_000))
    document = make_record("report.pdf", processing_metadata={"text": text})
    assert len(rows(document)) <= 2_000 * len(BEGINNINGS)
    assert all(len(words) < 400_000 for words in rows(document).values())
