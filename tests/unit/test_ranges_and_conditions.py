"""Ranges and conditions by the letter of RFC 9110, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.delivery.answers import Content, Request
from contentplatform.delivery.conditions import Outcome, http_date, outcome, range_applies
from contentplatform.delivery.ranges import Slice, Unsatisfiable, asked_for
from work_guard import work_that_ends

MODIFIED = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
CONTENT = Content("image/jpeg", "abc", "no-store", b"x", modified_at=MODIFIED)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", Slice(0, 0, 100)),
        ("bytes=0-", Slice(0, 99, 100)),
        ("bytes=99-", Slice(99, 99, 100)),
        ("bytes=10-19", Slice(10, 19, 100)),
        ("bytes=90-1000", Slice(90, 99, 100)),
        ("bytes=-10", Slice(90, 99, 100)),
        ("bytes=-1000", Slice(0, 99, 100)),
        ("Bytes= 5-6 ", Slice(5, 6, 100)),
        ("bytes=0-999999999999999999", Slice(0, 99, 100)),
        # Several, inverted, of another unit, or not written as they should be: the whole.
        ("bytes=0-1,5-6", None),
        ("bytes=20-10", None),
        ("lines=0-1", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=1-" + "9" * 400, None),
        ("0-1", None),
        ("", None),
    ],
)
def test_what_a_range_means(header: str, wanted: Slice | None) -> None:
    assert asked_for(header, 100) == wanted


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_a_range_without_a_byte_is_refused(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        asked_for(header, size)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_a_range_is_the_part_that_a_list_would_give(first: int, length: int, size: int) -> None:
    whole = list(range(size))
    try:
        part = asked_for(f"bytes={first}-{first + length}", size)
    except Unsatisfiable:
        assert whole[first : first + length + 1] == []
        return
    assert part is not None
    assert whole[part.first : part.last + 1] == whole[first : first + length + 1]
    assert part.content_range == f"bytes {part.first}-{part.last}/{size}"
    assert part.length == len(whole[first : first + length + 1])


def test_a_hundred_thousand_ranges_are_read_in_no_time() -> None:
    with work_that_ends():
        assert asked_for("bytes=" + "0-," * 100_000, 100) is None
        assert asked_for("bytes=" + " " * 300_000, 100) is None
        assert asked_for("bytes=" + "1" * 300_000 + "-", 100) is None


def asked(**headers: str) -> Request:
    """A request with these headers."""
    return Request(
        "/x", "", tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()), ""
    )


BEFORE, AT, AFTER = (http_date(MODIFIED + timedelta(seconds=seconds)) for seconds in (-1, 0, 1))


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, Outcome.SEND),
        ({"if_none_match": '"abc"'}, Outcome.NOT_MODIFIED),
        ({"if_none_match": 'W/"abc"'}, Outcome.NOT_MODIFIED),
        ({"if_none_match": '"x", "abc"'}, Outcome.NOT_MODIFIED),
        ({"if_none_match": "*"}, Outcome.NOT_MODIFIED),
        ({"if_none_match": '"abcd"'}, Outcome.SEND),
        ({"if_none_match": "abc"}, Outcome.SEND),
        ({"if_none_match": '"x"', "if_modified_since": AT}, Outcome.SEND),
        ({"if_modified_since": AT}, Outcome.NOT_MODIFIED),
        ({"if_modified_since": AFTER}, Outcome.NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, Outcome.SEND),
        ({"if_modified_since": "yesterday"}, Outcome.SEND),
        ({"if_modified_since": "Wed, 02 Jan 99999 03:04:05 GMT"}, Outcome.SEND),
        ({"if_match": '"abc"'}, Outcome.SEND),
        ({"if_match": "*"}, Outcome.SEND),
        ({"if_match": '"x"'}, Outcome.FAILED),
        ({"if_match": 'W/"abc"'}, Outcome.FAILED),
        ({"if_match": '"x"', "if_none_match": '"abc"'}, Outcome.FAILED),
        ({"if_unmodified_since": AT}, Outcome.SEND),
        ({"if_unmodified_since": BEFORE}, Outcome.FAILED),
        ({"if_match": '"abc"', "if_unmodified_since": BEFORE}, Outcome.SEND),
    ],
)
def test_what_conditions_come_to(headers: dict[str, str], wanted: Outcome) -> None:
    assert outcome(asked(**headers), CONTENT) is wanted


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ("", True),
        ('"abc"', True),
        ('"abd"', False),
        ('W/"abc"', False),
        (AT, True),
        (BEFORE, False),
        (AFTER, False),
        ("?", False),
    ],
)
def test_a_range_applies_to_the_bytes_that_it_was_meant_for(condition: str, applies: bool) -> None:  # noqa: FBT001 - a table
    assert range_applies(asked(if_range=condition) if condition else asked(), CONTENT) is applies


def test_a_long_list_of_tags_is_not_read() -> None:
    with work_that_ends():
        assert outcome(asked(if_none_match='"x",' * 100_000 + '"abc"'), CONTENT) is Outcome.SEND


def test_dates_are_in_english() -> None:
    assert http_date(MODIFIED) == "Wed, 02 Jan 2030 03:04:05 GMT"
