"""What only the catalog in DynamoDB can get wrong: items, transactions, cut answers, requests that are repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from contentplatform import media
from contentplatform.catalog.aws import DynamoCatalog
from contentplatform.catalog.items import item_to_record
from contentplatform.catalog.port import ChecksSearchIndex, Figure, HasSearchIndex, SearchQuery, walk_records
from contentplatform.catalog.tables import LEDGER, METADATA, SEARCH
from contentplatform.drivers.boto import Aws
from contentplatform.errors import Conflict, Corrupt, InvalidRequest, NotFound, Unavailable
from contentplatform.media import MediaKind, ProcessingStatus
from fakes.catalog import NOON, make_entry, make_record
from fakes.clock import FakeClock
from fakes.dynamodb import BUCKET, DynamoHome

DOCUMENTED = {
    *("file_id", "file_path", "file_name", "folder_path", "file_extension", "bucket", "version_id", "size"),
    *("content_type", "upload_time", "indexed_at", "processed_at", "file_hash", "metadata", "processing_status"),
    *("processing_metadata", "processing_error", "processing_error_code", "hash_verified", "tags", "title"),
    *("description", "credit", "rights_until"),
}


@pytest.fixture
def home(aws: Aws) -> DynamoHome:
    """Empty tables."""
    return DynamoHome(aws)


@pytest.fixture
def calls(home: DynamoHome) -> list[str]:
    """The name of every request to DynamoDB from here on."""
    return watch(home)


def watch(home: DynamoHome) -> list[str]:
    """A list that grows by the name of every request."""
    found: list[str] = []

    def note(model: Any, **_: Any) -> None:
        found.append(model.name)

    home.client.meta.events.register("before-call.dynamodb", note)
    return found


class Through:
    """DynamoDB's client, but for one operation that a test does itself."""

    def __init__(self, aws: Aws, name: str, instead: Callable[..., Any]) -> None:
        self._client = aws.client("dynamodb")
        self._name = name
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead if name == self._name else getattr(self._client, name)


class Detour(Aws):
    """A session whose DynamoDB does one operation differently."""

    def __init__(self, aws: Aws, name: str, instead: Callable[..., Any]) -> None:
        super().__init__(region=aws.region, account_id=aws.account_id)
        self._through = Through(aws, name, instead)

    def client(self, service: str, region: str | None = None) -> Any:
        return self._through if service == "dynamodb" else super().client(service, region)


def catalog_through(home: DynamoHome, name: str, instead: Callable[..., Any]) -> DynamoCatalog:
    """A catalog over the same tables, with one operation done differently."""
    return DynamoCatalog(Detour(home.aws, name, instead), FakeClock(), bucket=BUCKET)


def stored(home: DynamoHome, key: str) -> dict[str, Any]:
    """The item of a record."""
    item: dict[str, Any] = home.client.get_item(TableName=METADATA.name, Key={"file_id": {"S": media.file_id(key)}})[
        "Item"
    ]
    return item


# -- items ---------------------------------------------------------------------------------------------------


def test_an_item_has_the_documented_attributes(home: DynamoHome) -> None:
    everything = make_record(
        "2024/Paris/photo.JPG",
        processed_at=NOON,
        error="no",
        tags=("a",),
        title="t",
        description="d",
        credit="c",
        rights_until=NOON,
    )
    home.catalog.put(everything)
    item = stored(home, "2024/Paris/photo.JPG")
    assert DOCUMENTED - item.keys() == {"processing_error_code"}
    assert item["size"] == {"N": "1000"}
    assert (item["folder_path"], item["file_extension"]) == ({"S": "2024/Paris"}, {"S": "jpg"})
    assert item["bucket"] == {"S": BUCKET}
    assert item["metadata"]["M"]["type"] == {"S": "image"}
    assert item["metadata"]["M"]["requires_processing"] == {"BOOL": True}


def test_numbers_come_back_as_they_were(home: DynamoHome) -> None:
    numbers = {
        "integers": [0, -1, 10**37, 10**60, 2**63, True],
        "floats": [0.1, -0.0, 1e-300, 1.7976931348623157e308, 3.0, 5e-324, 1 / 3],
        "deep": {"a": [{"b": [[1.5]]}] * 2},
    }
    home.catalog.put(make_record(processing_metadata=numbers, size_bytes=10**37))
    found = home.catalog.get(media.file_id("a/photo.jpg"))
    assert json.dumps(found.processing_metadata) == json.dumps(numbers)
    assert (found.size_bytes, type(found.size_bytes)) == (10**37, int)


@pytest.mark.parametrize(
    "fields", [{"size_bytes": 10**38}, {"file_id": ""}, {"file_id": "x" * 1_000}, {"file_hash": "\ud800"}]
)
def test_what_no_key_can_say_is_refused(home: DynamoHome, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        home.catalog.put(make_record(**fields))


def test_nothing_is_found_under_what_no_key_can_say(home: DynamoHome) -> None:
    for bad in ("", "x" * 3_000, "\ud800"):
        with pytest.raises(NotFound):
            home.catalog.get(bad)
        with pytest.raises(NotFound):
            home.catalog.get_entry("f", bad)
        assert home.catalog.redirect(bad) is None
        assert home.catalog.entries(bad) == ()
        assert home.catalog.find_processed(bad, "\ud800") is None


def test_hostile_text_is_kept_whole(home: DynamoHome) -> None:
    record = make_record(
        title="half \ud83d of a pair",
        description="\0 \x7f \u202e 🙂 ﷺ",
        tags=("\udfff", "", "plain", "x" * 3_000),
        credit="",
        note='"}]',
        processing_metadata={"exif": {"Artist": "\ud800", "": ""}, "text": "words \udc00 here"},
        content_type="",
        file_hash="",
    )
    assert home.catalog.get(home.catalog.put(record).file_id) == replace(record, revision=1)
    entry = make_entry(note="\ud800", processing_metadata={"a": "\udfff"}, file_hash="", descriptive={"": [""]})
    assert home.catalog.put_entry(entry) == home.catalog.get_entry(entry.file_id, "v1")
    home.settle()
    for query in (
        SearchQuery(text="half pair"),
        SearchQuery(tag="\udfff"),
        SearchQuery(tag=""),
        SearchQuery(file_hash=""),
    ):
        assert [found.title for found in home.catalog.search(query).records] == [record.title], query
    assert item_to_record(stored(home, "a/photo.jpg")) == replace(record, revision=1)


def test_the_largest_record_fits_an_item(home: DynamoHome) -> None:
    for text in ("x" * 298_000, "東" * 99_300, "\0" * 49_600, "\ud800" * 49_600):
        record = make_record("/".join(["d"] * 450), tags=("t",), processing_metadata={"text": text})
        record = replace(record, file_id=media.file_id(str(len(text)) + text[0].encode("utf-8", "replace").hex()))
        assert home.catalog.get(home.catalog.put(record).file_id).processing_metadata == {"text": text}


def test_a_damaged_item_is_corrupt(home: DynamoHome) -> None:
    home.client.put_item(TableName=METADATA.name, Item={"file_id": {"S": "f"}, "revision": {"N": "1"}})
    with pytest.raises(Corrupt):
        home.catalog.get("f")


# -- conditional writes --------------------------------------------------------------------------------------


def test_of_writers_at_the_same_moment_one_wins(home: DynamoHome) -> None:
    start = Barrier(8)

    def write(number: int) -> str | None:
        start.wait(180)
        try:
            return home.catalog.put(replace(record, title=f"writer {number}")).title
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            record = replace(make_record(), revision=_revision(home))
            won = [title for title in threads.map(write, range(8)) if title is not None]
            assert won == [home.catalog.get(record.file_id).title]
    assert _revision(home) == 5


def _revision(home: DynamoHome) -> int:
    try:
        return home.catalog.get(make_record().file_id).revision
    except NotFound:
        return 0


def test_a_write_whose_answer_got_lost_is_still_the_writer_s(home: DynamoHome) -> None:
    def twice(**request: Any) -> Any:
        home.client.put_item(**request)
        return home.client.put_item(**request)

    catalog = catalog_through(home, "put_item", twice)
    first = catalog.put(make_record())
    assert catalog.put(replace(first, title="t")) == home.catalog.get(first.file_id)
    assert catalog.put_entry(make_entry()).revision == 1
    with pytest.raises(Conflict):
        catalog.put(first)


def test_a_put_is_one_request(home: DynamoHome, calls: list[str]) -> None:
    record = home.catalog.put(make_record())
    home.catalog.put(replace(record, status=ProcessingStatus.PROCESSING))
    home.catalog.put_entry(make_entry())
    assert calls == ["PutItem"] * 3


def test_what_a_write_costs(home: DynamoHome) -> None:
    """The figures of the decision record: a change of status moves one index row, and no other index is written."""
    record = make_record(processing_metadata={"text": "x" * 10_000})
    units: list[dict[str, float]] = []

    def metered(**request: Any) -> Any:
        answer = home.client.put_item(**request, ReturnConsumedCapacity="INDEXES")
        capacity = answer["ConsumedCapacity"]
        indexes = capacity.get("GlobalSecondaryIndexes", {})
        units.append({"": capacity["Table"]["CapacityUnits"], **{n: u["CapacityUnits"] for n, u in indexes.items()}})
        return answer

    catalog = catalog_through(home, "put_item", metered)
    first = catalog.put(record)
    second = catalog.put(replace(first, status=ProcessingStatus.PROCESSING))
    catalog.put(replace(second, title="seen by nobody's index"))
    indexes = ("by-upload-time", "by-kind", "by-status", "by-file-hash")
    assert units == [{"": 11.0, **dict.fromkeys(indexes, 1.0)}, {"": 11.0, "by-status": 2.0}, {"": 11.0}]


# -- remove and redirects ------------------------------------------------------------------------------------


def test_a_removal_takes_record_redirect_and_ledger_at_once(home: DynamoHome, calls: list[str]) -> None:
    record = home.catalog.put(make_record())
    for number in range(120):
        home.catalog.put_entry(make_entry(version_id=f"v{number}"))
    other = home.catalog.put_entry(make_entry("other"))
    del calls[:]
    home.catalog.remove(record.file_id, 1, moved_to=media.file_id("new"))
    assert calls.count("TransactWriteItems") == 1
    assert home.catalog.entries(record.file_id) == ()
    assert home.catalog.entries(other.file_id) == (other,)
    assert home.catalog.redirect(record.file_id) == media.file_id("new")


def test_large_entries_are_removed_too(home: DynamoHome) -> None:
    record = home.catalog.put(make_record())
    for number in range(16):
        home.catalog.put_entry(make_entry(version_id=f"v{number}", processing_metadata={"text": "x" * 290_000}))
    assert len(home.catalog.entries(record.file_id)) == 16
    home.catalog.remove(record.file_id, 1)
    assert home.catalog.entries(record.file_id) == ()


def test_any_number_of_redirects_is_led_on(home: DynamoHome) -> None:
    home.catalog.put(make_record("b"))
    b, c = media.file_id("b"), media.file_id("c")
    for number in range(130):
        home.catalog.put_redirect(f"old-{number}", b)
    home.catalog.put(make_record("c"))
    home.catalog.remove(b, 1, c)
    led = [
        home.client.get_item(TableName=METADATA.name, Key={"file_id": {"S": f"old-{n}"}})["Item"] for n in range(130)
    ]
    assert {item["moved_to"]["S"] for item in led} == {c}


def test_a_redirect_that_the_index_did_not_show_yet_is_led_on_later(home: DynamoHome) -> None:
    a, b, c = (media.file_id(key) for key in "abc")
    # As it stands where the index had not shown a → b yet when b was moved to c.
    for source, target in ((a, b), (b, c)):
        home.client.put_item(TableName=METADATA.name, Item={"file_id": {"S": source}, "moved_to": {"S": target}})
    assert home.catalog.redirect(a) == c
    home.catalog.put(make_record("b"))
    assert (home.catalog.redirect(a), home.catalog.redirect(b)) == (c, None)


def test_redirects_that_lead_in_a_circle_end(home: DynamoHome) -> None:
    for source, target in (("a", "b"), ("b", "a")):
        home.client.put_item(TableName=METADATA.name, Item={"file_id": {"S": source}, "moved_to": {"S": target}})
    assert home.catalog.redirect("a") == "b"


def test_a_removal_and_a_write_at_the_same_moment_never_both_win(home: DynamoHome) -> None:
    start = Barrier(2)

    def attempt(work: Callable[[], object]) -> bool:
        start.wait(180)
        try:
            work()
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        for number in range(10):
            record = home.catalog.put(make_record(f"{number}"))
            both: list[Callable[[], object]] = [
                partial(home.catalog.remove, record.file_id, 1, "elsewhere"),
                partial(home.catalog.put, replace(record, title="t")),
            ]
            assert sum(threads.map(attempt, both)) == 1


# -- cut and filtered answers --------------------------------------------------------------------------------


@pytest.fixture
def five_hundred(home: DynamoHome) -> DynamoHome:
    """Five hundred records, of which one in the middle differs in everything."""

    def put(number: int) -> None:
        odd = {"kind": MediaKind.AUDIO, "status": ProcessingStatus.FAILED, "size_bytes": 7, "tags": ("odd",)}
        home.catalog.put(make_record(f"many/{number:03d}.jpg", number, **(odd if number == 250 else {})))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(500)))
    home.settle()
    return home


def test_five_hundred_records_are_found_and_paged(five_hundred: DynamoHome) -> None:
    find_one(five_hundred)
    page_all(five_hundred)


def find_one(home: DynamoHome) -> None:
    """The one that differs is one page, whatever leads to it."""
    for query in (
        SearchQuery(kind=MediaKind.AUDIO),
        SearchQuery(status=ProcessingStatus.FAILED),
        SearchQuery(size_to_bytes=7),
        SearchQuery(tag="odd", folder="many", text="jpg"),
        SearchQuery(text="jpg", size_to_bytes=7),
        SearchQuery(text="250"),
        SearchQuery(folder="many", status=ProcessingStatus.FAILED),
        SearchQuery(text="jpg many", kind=MediaKind.AUDIO),
    ):
        page = home.catalog.search(query, limit=1)
        assert [record.file_path for record in page.records] == ["many/250.jpg"], query
        assert page.cursor is None
    nothing = SearchQuery(folder="many", text="jpg", size_from_bytes=8, size_to_bytes=9)
    assert home.catalog.search(nothing) == home.catalog.search(SearchQuery(text="never"))


def page_all(home: DynamoHome) -> None:
    """Pages are complete and in order, and a default one takes few requests."""
    expected = [f"many/{number:03d}.jpg" for number in range(499, -1, -1)]
    for query in (
        SearchQuery(),
        SearchQuery(text="jp"),
        SearchQuery(text="jpg"),
        SearchQuery(folder="many", text="ma"),
    ):
        found = [record.file_path for record in walk_records(home.catalog, query)]
        assert found == ([] if query.text in {"jp", "ma"} else expected), query
    most = SearchQuery(folder="many", status=ProcessingStatus.PENDING, kind=MediaKind.IMAGE, text="many jpg")
    assert len(list(walk_records(home.catalog, most))) == 499
    calls = watch(home)
    assert len(home.catalog.search(SearchQuery()).records) == 100
    assert calls == ["Query", "BatchGetItem", "BatchGetItem"]


def test_what_dynamodb_left_over_is_asked_for_again(home: DynamoHome) -> None:
    for number in range(12):
        home.catalog.put(make_record(f"{number:02d}", number))
        home.catalog.put_entry(make_entry(version_id=f"v{number:02d}", minute=number))

    def a_few(RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto's own name
        ((table, request),) = RequestItems.items()
        answer = home.client.batch_get_item(RequestItems={table: {**request, "Keys": request["Keys"][:5]}})
        answer["UnprocessedKeys"] = {table: {"Keys": request["Keys"][5:]}} if request["Keys"][5:] else {}
        return answer

    catalog = catalog_through(home, "batch_get_item", a_few)
    found = [record.file_path for record in catalog.search(SearchQuery()).records]
    assert found == [f"{number:02d}" for number in range(11, -1, -1)]
    assert len(catalog.entries_with(ProcessingStatus.PENDING)[0]) == 12


def test_what_dynamodb_keeps_leaving_over_makes_it_unavailable(home: DynamoHome) -> None:
    home.catalog.put(make_record())

    def nothing(RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto's own name
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    with pytest.raises(Unavailable):
        catalog_through(home, "batch_get_item", nothing).search(SearchQuery())


def test_a_listing_that_is_behind_shows_nothing_stale(home: DynamoHome) -> None:
    """What an index says too late: a record that is gone, stands elsewhere, or no longer matches."""
    for number in range(4):
        home.catalog.put(make_record(f"{number}.jpg", number))
    behind: dict[str, Any] = {}

    def remembered(**request: Any) -> Any:
        question = json.dumps(request, sort_keys=True)
        return behind.setdefault(question, home.client.query(**request))

    catalog = catalog_through(home, "query", remembered)
    query = SearchQuery(status=ProcessingStatus.PENDING)
    assert len(catalog.search(query).records) == 4
    gone, elsewhere, other, kept = (home.catalog.get(media.file_id(f"{number}.jpg")) for number in range(4))
    home.catalog.remove(gone.file_id, 1)
    home.catalog.put(replace(elsewhere, upload_time=NOON.replace(year=2031)))
    home.catalog.put(replace(other, status=ProcessingStatus.FAILED))
    changed = home.catalog.put(replace(kept, title="as it is now"))
    assert catalog.search(query).records == (changed,)


def test_a_listing_that_names_a_file_twice_shows_it_once(home: DynamoHome) -> None:
    """As it can be while an upload time changes between two rounds."""
    record = home.catalog.put(make_record())
    home.catalog.put(replace(record, upload_time=NOON.replace(year=2031)))
    entry = home.catalog.put_entry(make_entry())

    def both(**request: Any) -> Any:
        answer = home.client.query(**request)
        sort_key = "entry_order" if request["TableName"] == LEDGER.name else "listing_order"
        earlier = [{**item, sort_key: {"S": "2029-" + item[sort_key]["S"][5:]}} for item in answer["Items"]]
        return {**answer, "Items": [*answer["Items"], *earlier]}

    catalog = catalog_through(home, "query", both)
    assert [found.revision for found in catalog.search(SearchQuery()).records] == [2]
    assert catalog.entries_with(ProcessingStatus.PENDING) == ((entry,), None)


# -- every request is a narrow one ---------------------------------------------------------------------------


def test_nothing_is_ever_scanned(home: DynamoHome, calls: list[str]) -> None:
    catalog = home.catalog
    for number in range(3):
        catalog.put(make_record(f"a/{number}.jpg", number))
        catalog.put_entry(make_entry(f"a/{number}.jpg", status=ProcessingStatus.COMPLETED, recipe="r"))
    home.settle()
    for query in (
        SearchQuery(),
        SearchQuery(text="a jpg", folder="a", kind=MediaKind.IMAGE, status=ProcessingStatus.PENDING, tag="x"),
        SearchQuery(deleted=True, size_to_bytes=9),
        SearchQuery(file_hash="0" * 64, uploaded_from=NOON),
    ):
        list(walk_records(catalog, query))
    catalog.entries_with(ProcessingStatus.COMPLETED, other_than_recipe={MediaKind.IMAGE: "s"})
    catalog.find_processed("0" * 64, "r")
    catalog.entries(media.file_id("a/0.jpg"))
    catalog.put_redirect("x", "y")
    catalog.remove(media.file_id("a/0.jpg"), 1, media.file_id("a/1.jpg"))
    catalog.redirect("x")
    assert list(catalog.index_gaps()) == [media.file_id("a/0.jpg")]
    catalog.requeue(["x", "nothing", media.file_id("a/1.jpg"), media.file_id("a/0.jpg")])
    assert list(catalog.index_gaps()) == []
    assert set(calls) == {
        *("BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems"),
        "UpdateItem",
    }


def test_every_read_of_a_table_asks_for_what_is_stored_now(home: DynamoHome) -> None:
    requests: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        requests.append((model.name, params))

    home.client.meta.events.register("provide-client-params.dynamodb", note)
    record = home.catalog.put(make_record())
    home.catalog.put_entry(make_entry())
    home.settle()
    home.catalog.get(record.file_id)
    home.catalog.get_entry(record.file_id, "v1")
    home.catalog.entries(record.file_id)
    home.catalog.search(SearchQuery(text="photo"))
    home.catalog.search(SearchQuery())
    home.catalog.entries_with(ProcessingStatus.PENDING)
    home.catalog.redirect("x")
    inconsistent = set()
    for name, request in requests:
        asked = next(iter(request["RequestItems"].values())) if name == "BatchGetItem" else request
        if name in {"GetItem", "BatchGetItem", "Query"} and not asked.get("ConsistentRead"):
            inconsistent.add(request.get("IndexName"))
    assert inconsistent == {"by-upload-time", "by-entry-status"}


def test_it_has_an_index_to_check_but_none_to_fill(home: DynamoHome) -> None:
    assert isinstance(home.catalog, ChecksSearchIndex)
    assert not isinstance(home.catalog, HasSearchIndex)


def test_gaps_are_found_and_filled(home: DynamoHome) -> None:
    for number in range(5):
        home.catalog.put(make_record(f"{number}.jpg", number))
    home.changes()  # lost
    assert sorted(home.catalog.index_gaps()) == sorted(media.file_id(f"{number}.jpg") for number in range(5))
    home.catalog.requeue(home.catalog.index_gaps())
    home.settle()
    assert list(home.catalog.index_gaps()) == []
    assert len(home.catalog.search(SearchQuery(text="jpg")).records) == 5
    assert home.catalog.facets(SearchQuery()).total == Figure(5)
    changed = home.catalog.get(media.file_id("2.jpg"))
    home.catalog.put(replace(changed, status=ProcessingStatus.FAILED))
    home.changes()  # lost
    assert list(home.catalog.index_gaps()) == [changed.file_id]
    home.catalog.requeue([changed.file_id])
    home.settle()
    assert home.catalog.facets(SearchQuery()).statuses[ProcessingStatus.FAILED] == Figure(1)
    gone = home.catalog.get(media.file_id("1.jpg"))
    home.catalog.remove(gone.file_id, gone.revision)
    home.changes()  # lost
    assert list(home.catalog.index_gaps()) == [gone.file_id]
    home.catalog.requeue([gone.file_id])
    home.settle()
    assert list(home.catalog.index_gaps()) == []
    assert home.catalog.facets(SearchQuery()).total == Figure(4)
    with pytest.raises(NotFound):
        home.catalog.get(gone.file_id)


def test_entries_and_rows_of_others_in_the_same_tables_are_left_alone(home: DynamoHome) -> None:
    identifier = media.file_id("a/photo.jpg")
    foreign = {"file_id": {"S": identifier}, "version": {"S": "execution"}}
    home.client.put_item(TableName=LEDGER.name, Item=foreign)
    record = home.catalog.put(make_record())
    entry = home.catalog.put_entry(make_entry())
    assert home.catalog.entries(identifier) == (entry,)
    home.catalog.remove(identifier, record.revision)
    assert home.client.get_item(TableName=LEDGER.name, Key=foreign)["Item"] == foreign
    assert SEARCH.indexes == ()
