"""What every catalog must do, and proof that these checks notice a catalog that doesn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contentplatform import media
from contentplatform.catalog.local import SCHEMA, LocalCatalog
from contentplatform.catalog.port import (
    Catalog,
    ChangeKind,
    Facets,
    Figure,
    Folder,
    HasChanges,
    Record,
    RecordPage,
    SearchQuery,
)
from contentplatform.drivers.boto import Aws
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Conflict, ErrorCode, InvalidRequest, NotFound, PlatformError
from contentplatform.media import MediaKind, ProcessingStatus
from fakes.catalog import FULL_RENDITION, NOON, FakeCatalog, make_entry, make_record
from fakes.clock import FakeClock
from fakes.dynamodb import DynamoHome


@dataclass(frozen=True)
class Home:
    """A catalog, and how to wait until its text search has seen every write."""

    catalog: Catalog
    settle: Callable[[], None]

    def find(self, **conditions: Any) -> list[str]:
        """The keys that a query finds, read in pages of two."""
        self.settle()
        return [record.file_path for record in all_pages(self.catalog, SearchQuery(**conditions), limit=2)]


def all_pages(catalog: Catalog, query: SearchQuery, limit: int) -> list[Record]:
    """Every record that ``query`` finds, page by page."""
    found: list[Record] = []
    page = catalog.search(query, limit=limit)
    found += page.records
    while page.cursor is not None:
        page = catalog.search(query, cursor=page.cursor, limit=limit)
        assert page.records, "a cursor promised another page, which is empty"
        found += page.records
        assert len(found) < 10_000, "paging does not end"
    return found


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


# -- the checks ----------------------------------------------------------------------------------------------


def check_every_field_of_a_record_comes_back(home: Home) -> None:
    record = make_record(
        claimed_type="image/png",
        error="broken",
        error_code=ErrorCode.DECODE,
        note="as it is",
        processed_at=NOON,
        processing_metadata={"width": 3, "exif": {"Artist": "Å 東"}, "half": 0.5, "nothing": None, "list": [1, "b"]},
        renditions=(FULL_RENDITION, replace(FULL_RENDITION, name="text", width=None, height=None)),
        tags=("Sea", "sea"),
        title="Title",
        description="Two\nlines",
        credit="A. B.",
        rights_until=NOON + timedelta(microseconds=1),
        edited_fields=frozenset({"title", "tags"}),
        deleted_at=NOON,
        moved_from=("x", "y"),
    )
    stored = home.catalog.put(record)
    assert stored == replace(record, revision=1)
    assert home.catalog.get(record.file_id) == stored


def check_every_field_of_an_entry_comes_back(home: Home) -> None:
    entry = make_entry(
        claimed_type="image/png",
        recipe="image-1",
        execution="process-1",
        attempts=3,
        error="broken",
        error_code=ErrorCode.LIMIT,
        note="as it is",
        renditions=(FULL_RENDITION,),
        processing_metadata={"width": 3},
        descriptive={"tags": ["a"]},
        processed_at=NOON,
    )
    stored = home.catalog.put_entry(entry)
    assert stored == replace(entry, revision=1)
    assert home.catalog.get_entry(entry.file_id, "v1") == stored


def check_what_was_never_stored_is_not_found(home: Home) -> None:
    with raises(NotFound):
        home.catalog.get("nothing")
    with raises(NotFound):
        home.catalog.get_entry("nothing", "v1")
    assert home.catalog.entries("nothing") == ()
    assert home.catalog.redirect("nothing") is None


def check_a_write_on_an_old_revision_loses(home: Home) -> None:
    first = home.catalog.put(make_record())
    second = home.catalog.put(replace(first, title="one"))
    assert (first.revision, second.revision) == (1, 2)
    for stale in (first, replace(first, revision=0), replace(first, revision=3)):
        with raises(Conflict):
            home.catalog.put(replace(stale, title="two"))
    assert home.catalog.get(first.file_id) == second


def check_an_entry_written_on_an_old_revision_loses(home: Home) -> None:
    first = home.catalog.put_entry(make_entry())
    second = home.catalog.put_entry(replace(first, attempts=1))
    for stale in (first, replace(first, revision=0), replace(first, revision=3)):
        with raises(Conflict):
            home.catalog.put_entry(replace(stale, attempts=9))
    assert home.catalog.get_entry(first.file_id, "v1") == second


def check_a_write_to_what_was_removed_loses(home: Home) -> None:
    stored = home.catalog.put(make_record())
    home.catalog.remove(stored.file_id, stored.revision)
    with raises(Conflict):
        home.catalog.put(stored)
    with raises(NotFound):
        home.catalog.get(stored.file_id)


def check_two_keys_with_one_digest_are_a_conflict(home: Home) -> None:
    stored = home.catalog.put(make_record("a.jpg"))
    for revision in (0, stored.revision):
        with raises(Conflict):
            home.catalog.put(replace(stored, file_path="b.jpg", revision=revision))
    assert home.catalog.get(stored.file_id).file_path == "a.jpg"


def check_a_record_over_the_limit_is_refused(home: Home) -> None:
    for text in ("x" * 300_000, "東" * 100_000):
        with raises(InvalidRequest):
            home.catalog.put(make_record(processing_metadata={"text": text}))
        with raises(InvalidRequest):
            home.catalog.put_entry(make_entry(processing_metadata={"text": text}))
    home.catalog.put(make_record(processing_metadata={"text": "x" * 290_000}))


def check_a_value_that_json_cannot_say_is_refused(home: Home) -> None:
    for value in (float("nan"), b"bytes", NOON):
        with raises(InvalidRequest):
            home.catalog.put(make_record(processing_metadata={"value": value}))


def check_remove_takes_record_and_ledger(home: Home) -> None:
    kept = home.catalog.put(make_record("kept.jpg"))
    home.catalog.put_entry(make_entry("kept.jpg"))
    gone = home.catalog.put(make_record("gone.jpg"))
    home.catalog.put_entry(make_entry("gone.jpg", status=ProcessingStatus.COMPLETED, recipe="r"))
    home.catalog.remove(gone.file_id, gone.revision)
    assert home.find() == ["kept.jpg"]
    assert home.find(text="gone") == []
    assert home.catalog.entries(gone.file_id) == ()
    assert home.catalog.find_processed("0" * 64, "r") is None
    assert home.catalog.redirect(gone.file_id) is None
    assert len(home.catalog.entries(kept.file_id)) == 1


def check_remove_is_conditional(home: Home) -> None:
    stored = home.catalog.put(make_record())
    for revision in (0, 2):
        with raises(Conflict):
            home.catalog.remove(stored.file_id, revision)
    with raises(Conflict):
        home.catalog.remove("nothing", 1)
    assert home.catalog.get(stored.file_id) == stored


def move(catalog: Catalog, source: str, target: str) -> None:
    """Move a record as the platform does: the new one first, then the old one away."""
    old = catalog.get(media.file_id(source))
    catalog.put(replace(old, file_id=media.file_id(target), file_path=target, revision=0))
    catalog.remove(old.file_id, old.revision, media.file_id(target))


def check_redirects_are_followed_and_never_loop(home: Home) -> None:
    a, b, c = (media.file_id(key) for key in "abc")
    home.catalog.put(make_record("a"))
    move(home.catalog, "a", "b")
    assert home.catalog.redirect(a) == b
    move(home.catalog, "b", "c")
    assert [home.catalog.redirect(each) for each in (a, b, c)] == [c, c, None]
    move(home.catalog, "c", "a")
    assert [home.catalog.redirect(each) for each in (a, b, c)] == [None, a, a]
    with raises(InvalidRequest):
        home.catalog.remove(a, 1, a)


def check_a_name_in_use_again_is_no_redirect(home: Home) -> None:
    home.catalog.put(make_record("a"))
    move(home.catalog, "a", "b")
    home.catalog.put(make_record("a", title="another"))
    assert home.catalog.redirect(media.file_id("a")) is None


def check_a_redirect_is_put_back_unless_the_name_is_in_use(home: Home) -> None:
    a, b = (media.file_id(key) for key in "ab")
    home.catalog.put(make_record("b"))
    for _ in range(2):
        home.catalog.put_redirect(a, b)
        assert home.catalog.redirect(a) == b
    home.catalog.put(make_record("a"))
    home.catalog.put_redirect(a, b)
    assert home.catalog.redirect(a) is None


def check_redirects_that_are_put_back_lead_to_the_end_at_once(home: Home) -> None:
    a, b, c = (media.file_id(key) for key in "abc")
    home.catalog.put(make_record("c"))
    home.catalog.put_redirect(a, b)
    home.catalog.put_redirect(b, c)
    assert [home.catalog.redirect(each) for each in (a, b, c)] == [c, c, None]


def check_entries_come_newest_first(home: Home) -> None:
    for version_id, minute in (("v2", 2), ("v1", 1), ("v4", 2), ("v3", 3)):
        home.catalog.put_entry(make_entry(version_id=version_id, minute=minute))
    home.catalog.put_entry(make_entry("other.jpg"))
    assert [entry.version_id for entry in home.catalog.entries(make_entry().file_id)] == ["v3", "v2", "v4", "v1"]


def check_find_processed_finds_completed_entries_only(home: Home) -> None:
    home.catalog.put_entry(make_entry("a", recipe="r1", status=ProcessingStatus.FAILED))
    assert home.catalog.find_processed("0" * 64, "r1") is None
    done = home.catalog.put_entry(make_entry("b", recipe="r1", status=ProcessingStatus.COMPLETED))
    assert home.catalog.find_processed("0" * 64, "r1") == done
    assert home.catalog.find_processed("0" * 64, "r2") is None
    assert home.catalog.find_processed("1" * 64, "r1") is None
    home.catalog.put_entry(replace(done, status=ProcessingStatus.PENDING))
    assert home.catalog.find_processed("0" * 64, "r1") is None


def all_entries(catalog: Catalog, status: ProcessingStatus, **conditions: Any) -> list[str]:
    """The version ids of all entries of a status, read in pages of two."""
    found: list[str] = []
    page, cursor = catalog.entries_with(status, limit=2, **conditions)
    found += [entry.version_id for entry in page]
    while cursor is not None:
        page, cursor = catalog.entries_with(status, limit=2, cursor=cursor, **conditions)
        assert page
        found += [entry.version_id for entry in page]
    return sorted(found)


def check_entries_with_a_status_are_paged(home: Home) -> None:
    for number in range(5):
        home.catalog.put_entry(make_entry(f"{number}", f"v{number}", status=ProcessingStatus.FAILED))
    home.catalog.put_entry(make_entry("other", "v9"))
    assert all_entries(home.catalog, ProcessingStatus.FAILED) == ["v0", "v1", "v2", "v3", "v4"]
    assert all_entries(home.catalog, ProcessingStatus.PENDING) == ["v9"]
    assert all_entries(home.catalog, ProcessingStatus.COMPLETED) == []


def check_entries_of_an_older_recipe_are_found(home: Home) -> None:
    done = ProcessingStatus.COMPLETED
    for number, (kind, recipe) in enumerate(
        [
            (MediaKind.IMAGE, "i1"),
            (MediaKind.IMAGE, "i2"),
            (MediaKind.GENERIC, "g1"),
            (MediaKind.AUDIO, ""),
            (MediaKind.IMAGE, ""),
        ]
    ):
        home.catalog.put_entry(make_entry(f"{number}", f"v{number}", kind=kind, recipe=recipe, status=done))
    wanted = {MediaKind.IMAGE: "i2", MediaKind.GENERIC: "g1"}
    assert all_entries(home.catalog, done, other_than_recipe=wanted) == ["v0", "v4"]
    assert all_entries(home.catalog, done, other_than_recipe={}) == []


def check_pages_come_newest_first_and_complete(home: Home) -> None:
    for number, minute in enumerate((3, 1, 2, 2, 0)):
        home.catalog.put(make_record(f"{number}.jpg", minute))
    for limit in (1, 2, 3, 5, 1_000):
        found = all_pages(home.catalog, SearchQuery(), limit)
        assert sorted(record.file_path for record in found) == [f"{number}.jpg" for number in range(5)]
        assert [record.upload_time for record in found] == sorted((r.upload_time for r in found), reverse=True)


def check_a_changed_upload_time_changes_the_place(home: Home) -> None:
    for number in range(3):
        home.catalog.put(make_record(f"{number}.jpg", number))
    oldest = home.catalog.get(media.file_id("0.jpg"))
    newest = home.catalog.put(replace(oldest, upload_time=NOON + timedelta(days=1)))
    assert home.find() == ["0.jpg", "2.jpg", "1.jpg"]
    assert home.find(text="jpg") == ["0.jpg", "2.jpg", "1.jpg"]
    home.catalog.put(replace(newest, upload_time=oldest.upload_time))
    assert home.find(text="jpg") == ["2.jpg", "1.jpg", "0.jpg"]


def check_paging_is_stable_while_others_write(home: Home) -> None:
    for number in range(6):
        home.catalog.put(make_record(f"{number}.jpg", number))
    for text in ("", "jpg"):
        home.settle()
        page = home.catalog.search(SearchQuery(text=text), limit=2)
        seen = [record.file_path for record in page.records]
        for name, minute in (("new", 100), ("old", -100)):
            home.catalog.put(make_record(f"{name}{text}.jpg", minute))
        second = home.catalog.get(media.file_id("4.jpg"))
        home.catalog.put(replace(second, title=f"changed {text}"))
        home.settle()
        while page.cursor is not None:
            page = home.catalog.search(SearchQuery(text=text), cursor=page.cursor, limit=2)
            seen += [record.file_path for record in page.records]
        assert [key for key in seen if key[0].isdigit()] == [f"{number}.jpg" for number in (5, 4, 3, 2, 1, 0)]


def check_a_foreign_cursor_is_refused(home: Home) -> None:
    for number in range(3):
        home.catalog.put(make_record(f"{number}.jpg", number))
        home.catalog.put_entry(make_entry(f"{number}", f"v{number}"))
    cursor = home.catalog.search(SearchQuery(), limit=1).cursor
    _, entry_cursor = home.catalog.entries_with(ProcessingStatus.PENDING, limit=1)
    assert cursor is not None
    assert entry_cursor is not None
    turned = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for bad in ("", "x", "é", "=" * 9, "A" * 5_000, cursor[:-1], cursor + "A", cursor + "=", turned, entry_cursor):
        with raises(InvalidRequest):
            home.catalog.search(SearchQuery(), cursor=bad)
        if bad != entry_cursor:
            with raises(InvalidRequest):
                home.catalog.entries_with(ProcessingStatus.PENDING, cursor=bad)
    with raises(InvalidRequest):
        home.catalog.search(SearchQuery(kind=MediaKind.IMAGE), cursor=cursor)
    with raises(InvalidRequest):
        home.catalog.entries_with(ProcessingStatus.FAILED, cursor=entry_cursor)


def check_a_limit_outside_1_to_1000_is_refused(home: Home) -> None:
    for limit in (-1, 0, 1_001):
        with raises(InvalidRequest):
            home.catalog.search(SearchQuery(), limit=limit)
        with raises(InvalidRequest):
            home.catalog.entries_with(ProcessingStatus.PENDING, limit=limit)


def check_text_finds_all_words_the_last_as_a_prefix(home: Home) -> None:
    home.catalog.put(
        make_record(
            "Trips/Île de Ré/IMG_2041.jpg",
            tags=("Sunset beach",),
            title="Über den Dächern",
            description="東京タワー at night",
            processing_metadata={"text": "chapter one", "other": "never"},
        )
    )
    found = ["Trips/Île de Ré/IMG_2041.jpg"]
    for text in (
        "IMG_2041.jpg", "2041", "img 204", "ile de re", "ÎLE", "uber dach", "SUNSET bea", "beach sunset", "東京",
        "タワー", "night trips", "chapt", "de", "ré", "img img", "  jpg  ", "Über", "u\u0308ber",
    ):  # fmt: skip
        assert home.find(text=text) == found, text
    for text in ("im", "sun beach", "d", "img 205", "never", "img missing", "041", "京都", "ta"):
        assert home.find(text=text) == [], text


def check_text_search_follows_changes(home: Home) -> None:
    record = home.catalog.put(make_record("a.jpg", title="before"))
    assert home.find(text="before") == ["a.jpg"]
    record = home.catalog.put(replace(record, title="after", tags=("new",)))
    assert (home.find(text="before"), home.find(text="after"), home.find(text="new")) == ([], ["a.jpg"], ["a.jpg"])
    record = home.catalog.put(replace(record, status=ProcessingStatus.COMPLETED))
    assert home.find(text="after", status=ProcessingStatus.COMPLETED) == ["a.jpg"]
    home.catalog.remove(record.file_id, record.revision)
    home.catalog.put(make_record("b.jpg"))
    assert (home.find(text="after"), home.find(text="jpg")) == ([], ["b.jpg"])


def check_each_filter(home: Home) -> None:
    done, failed = ProcessingStatus.COMPLETED, ProcessingStatus.FAILED
    home.catalog.put(make_record("a/b/1.jpg", 1, size_bytes=10, tags=("x", "Y"), status=done))
    home.catalog.put(make_record("a/2.mp4", 2, size_bytes=20, kind=MediaKind.VIDEO, status=failed, tags=("y",)))
    home.catalog.put(make_record("ab/3.jpg", 3, size_bytes=30, file_hash="f" * 64, tags=("x y",)))
    home.catalog.put(make_record("/a/4.jpg", 4, size_bytes=40))
    one, two, three, four = "a/b/1.jpg", "a/2.mp4", "ab/3.jpg", "/a/4.jpg"
    expectations: list[tuple[dict[str, Any], list[str]]] = [
        ({"kind": MediaKind.VIDEO}, [two]),
        ({"kind": MediaKind.AUDIO}, []),
        ({"status": done}, [one]),
        ({"tag": "x"}, [one]),
        ({"tag": "y"}, [two]),
        ({"tag": "x y"}, [three]),
        ({"tag": "' OR 1=1 --"}, []),
        ({"folder": "a"}, [two, one]),
        ({"folder": "a/b"}, [one]),
        ({"folder": "b"}, []),
        ({"folder": ""}, [four, three, two, one]),
        ({"folder": "/a"}, [four]),
        ({"uploaded_from": NOON + timedelta(minutes=3)}, [four, three]),
        ({"uploaded_before": NOON + timedelta(minutes=3)}, [two, one]),
        ({"uploaded_from": NOON + timedelta(minutes=2), "uploaded_before": NOON + timedelta(minutes=3)}, [two]),
        ({"uploaded_from": NOON + timedelta(minutes=2, microseconds=1)}, [four, three]),
        ({"uploaded_before": datetime(9_999, 1, 1, tzinfo=UTC)}, [four, three, two, one]),
        ({"uploaded_from": datetime(1_000, 1, 1, tzinfo=UTC)}, [four, three, two, one]),
        ({"size_from_bytes": 20}, [four, three, two]),
        ({"size_to_bytes": 20}, [two, one]),
        ({"size_from_bytes": 11, "size_to_bytes": 30}, [three, two]),
        ({"size_from_bytes": 10**30}, []),
        ({"size_from_bytes": -(10**30), "size_to_bytes": 10**30}, [four, three, two, one]),
        ({"size_to_bytes": -1}, []),
        ({"file_hash": "f" * 64}, [three]),
        ({"kind": MediaKind.IMAGE, "status": done}, [one]),
        ({"kind": MediaKind.IMAGE, "folder": "a", "tag": "x", "size_to_bytes": 10}, [one]),
        ({"text": "jpg", "folder": "a"}, [one]),
        ({"text": "jpg", "tag": "x y"}, [three]),
        ({"text": "jpg", "size_from_bytes": 35}, [four]),
        ({"text": "mp4", "kind": MediaKind.IMAGE}, []),
        ({"text": "a", "status": failed}, [two]),
        ({"text": "jpg", "uploaded_before": NOON + timedelta(minutes=4)}, [three, one]),
    ]
    for conditions, expected in expectations:
        assert home.find(**conditions) == expected, conditions


def check_deleted_files_are_found_apart(home: Home) -> None:
    record = home.catalog.put(make_record("a/1.jpg", tags=("x",)))
    home.catalog.put(make_record("a/2.jpg", 1, tags=("x",)))
    queries: list[dict[str, Any]] = [{}, {"text": "jpg"}, {"tag": "x"}, {"folder": "a"}, {"size_from_bytes": 1}]
    gone = home.catalog.put(replace(record, deleted_at=NOON))
    for conditions in queries:
        assert home.find(**conditions) == ["a/2.jpg"], conditions
        assert home.find(**conditions, deleted=True) == ["a/1.jpg"], conditions
    home.catalog.put(replace(gone, deleted_at=None))
    for conditions in queries:
        assert home.find(**conditions) == ["a/2.jpg", "a/1.jpg"], conditions
        assert home.find(**conditions, deleted=True) == [], conditions


HOSTILE_TEXTS = (
    '"', "'", "';DROP TABLE catalog_records;--", '" OR "', "a AND b", "NOT a", "a NEAR(b c, 5)", "words:jpg", "jpg*",
    "^jpg", "jpg OR xyz", "LIKE '%%%'", "%%%", "(((", "{a b}: c", "-jpg", "+jpg +", "\0", "jpg\0", "#jpg", "\ud800",
    "¹½ﬁ", "\\", "a" * 10_240, "w " * 5_000, " ".join(f"w{number}" for number in range(2_000)), '"' * 10_240,
    "é" * 10_240, "🙂",
)  # fmt: skip


def check_hostile_text_neither_fails_nor_reaches_further(home: Home) -> None:
    home.catalog.put(make_record("a/photo.jpg"))
    for text in HOSTILE_TEXTS:
        found = home.find(text=text)
        assert found == (["a/photo.jpg"] if text in {"jpg*", "^jpg", "-jpg", "+jpg +", "jpg\0", "#jpg"} else []), text
        for conditions in ({"tag": text}, {"folder": text}, {"file_hash": text.encode("ascii", "replace").decode()}):
            assert home.find(**conditions) == [], conditions
    assert home.find() == ["a/photo.jpg"]


def check_hostile_tags_and_keys_are_kept_as_they_are(home: Home) -> None:
    tags = ("';--", "\0", "a" * 5_000, "#", "🙂", "x/y", '"')
    key = "/".join(["d"] * 400) + "/../x'\".jpg"
    home.catalog.put(make_record(key, tags=tags))
    for tag in tags:
        assert home.find(tag=tag) == [key], tag
    assert home.find(folder="/".join(["d"] * 399)) == [key]
    assert home.find(folder="/".join(["d"] * 400) + "/..") == [key]


def figures(counted: Mapping[Any, Figure]) -> dict[Any, int]:
    """Counts by value; none of them may be capped."""
    assert not any(figure.capped for figure in counted.values())
    return {value: figure.count for value, figure in counted.items()}


def facets(home: Home, **conditions: Any) -> Facets:
    """What a query finds, counted, once every search has seen every write."""
    home.settle()
    return home.catalog.facets(SearchQuery(**conditions))


def fill_for_counting(home: Home) -> None:
    """A few files of several kinds, in several folders; one of them is deleted."""
    done, failed = ProcessingStatus.COMPLETED, ProcessingStatus.FAILED
    home.catalog.put(make_record("a/b/1.jpg", 1, tags=("x", "Y", "x"), status=done))
    home.catalog.put(make_record("a/2.mp4", 2, kind=MediaKind.VIDEO, status=failed, tags=("x",)))
    home.catalog.put(make_record("ab/3.jpg", 3, tags=("z z", "x", "Y")))
    home.catalog.put(make_record("/a/4.jpg", 4))
    home.catalog.put(make_record("top.jpg", 5, status=done))
    home.catalog.put(make_record("a/gone.jpg", 6, tags=("x",), deleted_at=NOON))


def check_the_whole_library_is_counted(home: Home) -> None:
    assert facets(home) == Facets(Figure(0), {}, {}, {}, {})
    fill_for_counting(home)
    found = facets(home)
    assert found.total == Figure(5)
    assert list(figures(found.kinds).items()) == [(MediaKind.IMAGE, 4), (MediaKind.VIDEO, 1)]
    pending = ProcessingStatus.PENDING
    expected = [(ProcessingStatus.COMPLETED, 2), (pending, 2), (ProcessingStatus.FAILED, 1)]
    assert list(figures(found.statuses).items()) == expected
    assert list(figures(found.tags).items()) == [("x", 3), ("Y", 2), ("z z", 1)]
    assert list(figures(found.folders).items()) == [("a", 2), ("/a", 1), ("ab", 1)]
    assert facets(home, folder="") == found


def check_what_a_query_finds_is_counted(home: Home) -> None:
    fill_for_counting(home)
    found = facets(home, folder="a")
    assert (found.total, figures(found.folders), figures(found.tags)) == (Figure(2), {"a/b": 1}, {"x": 2, "Y": 1})
    assert figures(found.kinds) == {MediaKind.IMAGE: 1, MediaKind.VIDEO: 1}
    found = facets(home, text="jpg", tag="x")
    assert (found.total, figures(found.folders)) == (Figure(2), {"a": 1, "ab": 1})
    found = facets(home, folder="a", deleted=True)
    assert (found.total, figures(found.tags)) == (Figure(1), {"x": 1})
    for nothing in ({"text": "!!"}, {"folder": "b"}, {"tag": "none"}, {"text": "missing"}, {"file_hash": "f" * 64}):
        assert facets(home, **nothing) == Facets(Figure(0), {}, {}, {}, {}), nothing


def check_counters_follow_every_change(home: Home) -> None:
    record = home.catalog.put(make_record("a/b/1.jpg", tags=("x", "y")))
    record = home.catalog.put(replace(record, tags=("y", "z"), status=ProcessingStatus.COMPLETED))
    found = facets(home)
    assert (found.total, figures(found.tags)) == (Figure(1), {"y": 1, "z": 1})
    assert figures(found.statuses) == {ProcessingStatus.COMPLETED: 1}
    record = home.catalog.put(replace(record, upload_time=NOON + timedelta(days=1)))
    assert facets(home) == found
    assert figures(facets(home, text="jpg").tags) == {"y": 1, "z": 1}
    record = home.catalog.put(replace(record, deleted_at=NOON))
    assert facets(home) == Facets(Figure(0), {}, {}, {}, {})
    record = home.catalog.put(replace(record, deleted_at=None))
    assert facets(home) == found
    move(home.catalog, "a/b/1.jpg", "c/1.jpg")
    assert figures(facets(home).folders) == {"c": 1}
    moved = home.catalog.get(media.file_id("c/1.jpg"))
    home.catalog.remove(moved.file_id, moved.revision)
    assert facets(home) == Facets(Figure(0), {}, {}, {}, {})


def check_hostile_names_are_counted_or_left_out(home: Home) -> None:
    long, odd = "l" * 901, "\ud800"
    key = "/".join(("d" * 200, "~", "\N{LATIN SMALL LETTER E WITH ACUTE}", "'\"%", "x.jpg"))
    home.catalog.put(make_record(key, tags=(long, odd, "k" * 900, "a\0b", "'--", "")))
    assert figures(facets(home).tags) == {"k" * 900: 1, "a\0b": 1, "'--": 1, "": 1}
    assert figures(facets(home, text="jpg").tags) == {"k" * 900: 1, "a\0b": 1, "'--": 1, "": 1}
    folder = ""
    for name in key.split("/")[:-1]:
        (found,) = home.catalog.folders(folder).folders
        assert (found.path, found.files) == (f"{folder}/{name}".lstrip("/"), 1)
        folder = found.path
    assert home.catalog.folders(folder).folders == ()


def check_folders_are_listed_by_name_in_pages(home: Home) -> None:
    names = ["B", "a", "a b", "b", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
    for number, name in enumerate(reversed(names)):
        home.catalog.put(make_record(f"top/{name}/{number}.jpg", number))
        home.catalog.put(make_record(f"top/{name}/below/{number}.jpg", number))
    home.catalog.put(make_record("top/0.jpg"))
    home.catalog.put(make_record("top/gone/1.jpg", deleted_at=NOON))
    home.settle()
    assert home.catalog.folders().folders == (Folder("top", 11),)
    found: list[Folder] = []
    cursor: str | None = None
    while True:
        page = home.catalog.folders("top", cursor=cursor, limit=2)
        found += page.folders
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page.folders) == 2
        with raises(InvalidRequest):
            home.catalog.folders("", cursor=cursor)
    assert found == [Folder(f"top/{name}", 2) for name in names]
    assert home.catalog.folders("top/a").folders == (Folder("top/a/below", 1),)
    assert home.catalog.folders("nothing").folders == ()
    for limit in (0, 1_001):
        with raises(InvalidRequest):
            home.catalog.folders(limit=limit)


def hashed(key: str, minute: int, value: int, **fields: Any) -> Record:
    """A picture with a perceptual hash."""
    return make_record(key, minute, processing_metadata={"perceptual_hash": f"{value:016x}"}, **fields)


def check_similar_pictures_are_found_nearest_first(home: Home) -> None:
    own = 0x0123_4567_89AB_CDEF
    spread = 0x0101_0101_0101_0101
    home.catalog.put(hashed("own.jpg", 0, own))
    home.catalog.put(hashed("same.jpg", 1, own))
    home.catalog.put(hashed("newer-same.jpg", 2, own))
    home.catalog.put(hashed("three.jpg", 3, own ^ 0b111))
    home.catalog.put(hashed("eight.jpg", 4, own ^ spread))
    home.catalog.put(hashed("fifteen.jpg", 5, own ^ (spread * 3 ^ 1)))
    home.catalog.put(hashed("sixteen.jpg", 6, own ^ spread * 3))
    home.catalog.put(hashed("gone.jpg", 7, own, deleted_at=NOON))
    home.catalog.put(make_record("without.jpg", 8))
    home.catalog.put(make_record("odd.jpg", 9, processing_metadata={"perceptual_hash": "no hash"}))
    home.settle()

    def alike(key: str, **options: int) -> list[tuple[str, int]]:
        found = home.catalog.similar(media.file_id(key), **options)
        return [(each.record.file_path, each.distance) for each in found]

    nearest = [("newer-same.jpg", 0), ("same.jpg", 0), ("three.jpg", 3), ("eight.jpg", 8)]
    assert alike("own.jpg") == nearest
    assert alike("own.jpg", limit=1, max_distance=7) == nearest[:1]
    assert alike("own.jpg", max_distance=0) == nearest[:2]
    assert alike("own.jpg", max_distance=7) == nearest[:3]
    assert alike("own.jpg", max_distance=15) == [*nearest, ("fifteen.jpg", 15)]
    assert alike("gone.jpg", max_distance=0) == [*nearest[:2], ("own.jpg", 0)]
    assert (alike("without.jpg"), alike("odd.jpg")) == ([], [])
    with raises(NotFound):
        alike("nothing.jpg")
    for options in ({"limit": 0}, {"limit": 1_001}, {"max_distance": -1}, {"max_distance": 16}):
        with raises(InvalidRequest):
            alike("own.jpg", **options)


def check_likeness_follows_changes(home: Home) -> None:
    home.catalog.put(hashed("own.jpg", 0, 0))
    other = home.catalog.put(hashed("other.jpg", 1, 1))

    def alike() -> list[int]:
        home.settle()
        return [each.distance for each in home.catalog.similar(media.file_id("own.jpg"), max_distance=7)]

    assert alike() == [1]
    other = home.catalog.put(replace(other, processing_metadata={"perceptual_hash": f"{3:016x}"}))
    assert alike() == [2]
    other = home.catalog.put(replace(other, upload_time=NOON + timedelta(days=1)))
    assert alike() == [2]
    other = home.catalog.put(replace(other, deleted_at=NOON))
    assert alike() == []
    other = home.catalog.put(replace(other, deleted_at=None))
    assert alike() == [2]
    home.catalog.remove(other.file_id, other.revision)
    assert alike() == []


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]


# -- the homes that are held against them --------------------------------------------------------------------


@contextmanager
def fake_home(_folder: Path) -> Iterator[Home]:
    """The catalog in memory."""
    yield Home(FakeCatalog(), lambda: None)


@contextmanager
def local_home(folder: Path) -> Iterator[Home]:
    """The catalog in SQLite."""
    database = Database(folder / "catalog.db", [SCHEMA], new_uuid="0" * 32)
    catalog = LocalCatalog(database, FakeClock())

    def settle() -> None:
        while catalog.index_pending(3):
            pass

    try:
        yield Home(catalog, settle)
    finally:
        database.close()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("make_home", [fake_home, local_home])
def test_contract(make_home: Any, check: Callable[[Home], None], tmp_path: Path) -> None:
    """Every catalog passes every check."""
    with make_home(tmp_path) as home:
        check(home)


# -- what happened, in the homes that tell -------------------------------------------------------------------


@pytest.mark.parametrize("make_home", [fake_home, local_home])
def test_what_happens_is_told_in_order(make_home: Any, tmp_path: Path) -> None:
    """Each write is one change, in order; what is asked for behind the newest is a gap."""
    with make_home(tmp_path) as home:
        catalog = home.catalog
        assert isinstance(catalog, (LocalCatalog, FakeCatalog))
        assert isinstance(catalog, HasChanges)
        begin = catalog.newest_change()
        assert catalog.changes(begin).changes == ()
        one = catalog.put(make_record("a.jpg"))
        one = catalog.put(replace(one, status=ProcessingStatus.COMPLETED))
        one = catalog.put(replace(one, title="t"))
        one = catalog.put(replace(one, version_id="v2", status=ProcessingStatus.PENDING))
        one = catalog.put(replace(one, status=ProcessingStatus.FAILED))
        one = catalog.put(replace(one, deleted_at=NOON))
        one = catalog.put(replace(one, deleted_at=None))
        with raises(Conflict):
            catalog.put(replace(one, revision=1))
        move(catalog, "a.jpg", "b.jpg")
        moved = catalog.get(media.file_id("b.jpg"))
        catalog.remove(moved.file_id, moved.revision)
        page = catalog.changes(begin)
        assert not page.gap
        assert [(change.what, change.file_path) for change in page.changes] == [
            (ChangeKind.ADDED, "a.jpg"),
            (ChangeKind.COMPLETED, "a.jpg"),
            (ChangeKind.CHANGED, "a.jpg"),
            (ChangeKind.REPLACED, "a.jpg"),
            (ChangeKind.FAILED, "a.jpg"),
            (ChangeKind.DELETED, "a.jpg"),
            (ChangeKind.UNDELETED, "a.jpg"),
            (ChangeKind.ADDED, "b.jpg"),
            (ChangeKind.MOVED, "a.jpg"),
            (ChangeKind.REMOVED, "b.jpg"),
        ]
        assert [change.moved_to for change in page.changes if change.moved_to] == [moved.file_id]
        numbers = [change.sequence for change in page.changes]
        assert numbers == sorted(set(numbers))
        assert catalog.newest_change() == numbers[-1]
        assert catalog.changes(numbers[-4], 2).changes == page.changes[-3:-1]
        assert not catalog.changes(numbers[-1]).gap
        for unknown in (numbers[-1] + 1, 2**70, -1):
            assert catalog.changes(unknown).gap, unknown
        for limit in (0, 1_001):
            with raises(InvalidRequest):
                catalog.changes(begin, limit)


def test_what_is_long_ago_is_forgotten_and_said_to_be(tmp_path: Path) -> None:
    """After a week, and a thousand changes, whoever comes back hears of a gap; whoever kept up does not."""
    with local_home(tmp_path) as home:
        catalog = home.catalog
        assert isinstance(catalog, LocalCatalog)
        begin = catalog.newest_change()
        record = catalog.put(make_record("a.jpg"))
        clock = catalog._clock
        assert isinstance(clock, FakeClock)
        clock.advance(8 * 86_400)
        noted: list[int] = []

        def change_until_something_is_forgotten() -> None:
            latest = record
            for number in range(1_001 - (begin + 1) % 1_000):
                latest = catalog.put(replace(latest, title=f"{number}"))
                noted.append(catalog.newest_change())

        catalog._database.write(lambda _transaction: change_until_something_is_forgotten())
        assert catalog.changes(begin).gap
        assert not catalog.changes(noted[0]).gap
        assert catalog.changes(noted[0]).changes[0].sequence == noted[1]


@pytest.mark.parametrize("check", CHECKS)
def test_contract_on_aws(check: Callable[[Home], None], aws: Aws) -> None:
    """So does the one in DynamoDB, its search table fed from its own stream."""
    home = DynamoHome(aws)
    check(Home(home.catalog, home.settle))


# -- catalogs that break the contract ------------------------------------------------------------------------


class ForgetsRevisions(FakeCatalog):
    """The last writer wins, whatever it has read."""

    def put(self, record: Record) -> Record:
        stored = self._records.get(record.file_id)
        return super().put(replace(record, revision=0 if stored is None else stored.revision))


class RepeatsTheLastRecord(FakeCatalog):
    """A page begins with the record that ended the page before."""

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        page = super().search(query, cursor=cursor, limit=limit)
        if cursor is None:
            self._last = page.records[-1:]
            return page
        repeated = RecordPage((*self._last, *page.records), page.cursor)
        self._last = page.records[-1:]
        return repeated


class FindsTheDeleted(FakeCatalog):
    """Deleted records stay in the results."""

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        self._records = {key: replace(record, deleted_at=None) for key, record in self._records.items()}
        return super().search(query, cursor=cursor, limit=limit)


class KeepsTheLedger(FakeCatalog):
    """Removing a file leaves its entries behind."""

    def remove(self, file_id: str, revision: int, moved_to: str | None = None) -> None:
        entries = dict(self._entries)
        super().remove(file_id, revision, moved_to)
        self._entries = entries


class AcceptsAnyCursor(FakeCatalog):
    """A cursor that can't be read begins again."""

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        try:
            return super().search(query, cursor=cursor, limit=limit)
        except InvalidRequest:
            return super().search(query, limit=max(1, min(limit, 1_000)))


class MergesCollisions(FakeCatalog):
    """Two keys with one digest are taken for the same file."""

    def put(self, record: Record) -> Record:
        stored = self._records.get(record.file_id)
        return super().put(record if stored is None else replace(record, file_path=stored.file_path))


@pytest.mark.parametrize(
    ("faulty", "caught_by"),
    [
        (ForgetsRevisions, check_a_write_on_an_old_revision_loses),
        (RepeatsTheLastRecord, check_pages_come_newest_first_and_complete),
        (FindsTheDeleted, check_deleted_files_are_found_apart),
        (KeepsTheLedger, check_remove_takes_record_and_ledger),
        (AcceptsAnyCursor, check_a_foreign_cursor_is_refused),
        (MergesCollisions, check_two_keys_with_one_digest_are_a_conflict),
    ],
)
def test_planted_fault_is_caught(faulty: type[FakeCatalog], caught_by: Callable[[Home], None]) -> None:
    """A catalog with a known fault fails the check that is there for it."""
    with pytest.raises(AssertionError):
        caught_by(Home(faulty(), lambda: None))
