"""Words, text queries and cursors: the definitions that every home searches by."""

# ruff: noqa: RUF001 - letters that look alike are the point

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.catalog.search import (
    QUERY_WORD_LIMIT,
    TextQuery,
    document_words,
    folders_above,
    read_cursor,
    searchable_words,
    text_query,
    words,
    write_cursor,
)
from contentplatform.errors import InvalidRequest
from fakes.catalog import make_record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMG_2041.jpg", ["img", "2041", "jpg"]),
        ("old-town/v1.2", ["old", "town", "v1", "2"]),
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("e\u0301te\u0301", ["ete"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Ørsted Łódź Æsir", ["orsted", "lodz", "aesir"]),
        ("ISTANBUL İstanbul ılık", ["istanbul", "istanbul", "ilik"]),
        ("ﬁne ½ x²", ["fine", "1", "2", "x2"]),
        ("ＦＵＬＬ　ｗｉｄｔｈ", ["full", "width"]),
        ("東京タワー2024", ["東", "京", "タ", "ワ", "ー", "2024"]),
        ("ﾀﾜｰ・塔", ["タ", "ワ", "ー", "塔"]),
        ("हिन्दी", ["हनद"]),
        ("Ελλάδα МОСКВА", ["ελλαδα", "москва"]),
        ("_-./ %%% \0\n🙂", []),
        ("a" * 100, ["a" * 64]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Case, accents and compatibility forms are folded; letters and digits stand, everything else separates."""
    assert words(text) == expected


def test_korean_words_are_found_by_their_first_syllable() -> None:
    """Korean is written with spaces; a syllable is three letters, enough for a prefix."""
    (word,) = words("한국어")
    (first,) = words("한")
    assert word.startswith(first)
    assert text_query("한") == TextQuery((), first)


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    """Folding is done once and for all, so that an index of words can be asked in words."""
    assert words(" ".join(words(text))) == words(text)


@given(st.text(st.characters(categories=("Lu", "Ll", "Nd"))))
def test_case_never_matters(text: str) -> None:
    """A word is found however it is written."""
    assert words(text.casefold()) == words(text)


@given(st.text())
def test_a_word_has_nothing_that_an_index_could_take_for_syntax(text: str) -> None:
    """Words hold letters and digits only: no quote, no space, no operator, nothing that isn't valid UTF-8."""
    for word in words(text):
        assert word.isalnum()
        assert 0 < len(word.encode("utf-8")) <= 4 * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (" \t\n", None),
        ("%%%", TextQuery((), None)),
        ("sun", TextQuery((), "sun")),
        ("su", TextQuery(("su",), None)),
        ("sunset be", TextQuery(("sunset", "be"), None)),
        ("Sea sunset SEA beach", TextQuery(("sea", "sunset"), "beach")),
        ("東京", TextQuery(("東", "京"), None)),
    ],
)
def test_text_query(text: str, expected: TextQuery | None) -> None:
    """The last word is a prefix from three characters on; a text without words asks for what can't be."""
    assert text_query(text) == expected


def test_only_the_first_words_of_a_long_query_count() -> None:
    """Ten kilobytes of query cost no more than sixty-four words."""
    query = text_query(" ".join(f"word{number}" for number in range(1_000)))
    assert query is not None
    assert len(query.exact) == QUERY_WORD_LIMIT - 1
    assert query.prefix == f"word{QUERY_WORD_LIMIT - 1}"


def test_searchable_words_are_distinct_and_come_from_what_people_see() -> None:
    """Name, folder, tags, title, description and a document's text; nothing else of the record."""
    record = make_record(
        "Trips/a.jpg",
        tags=("a", "Sea side"),
        title="Title",
        description="More",
        credit="Nobody",
        processing_metadata={"text": "chapter one, chapter two", "camera": "Nikon"},
    )
    assert searchable_words(record) == (
        "trips", "a", "jpg", "sea", "side", "title", "more", "chapter", "one", "two"
    )  # fmt: skip


def test_a_document_is_found_by_its_first_two_thousand_distinct_words() -> None:
    """The rest of a long text is not indexed; a text that is no text is ignored."""
    record = make_record(processing_metadata={"text": " ".join(f"w{number // 2}" for number in range(5_000))})
    assert document_words(record) == tuple(f"w{number}" for number in range(2_000))
    assert document_words(replace(record, processing_metadata={"text": ["no", "text"]})) == ()


@pytest.mark.parametrize(
    ("key", "expected"),
    [("a/b/c.jpg", ("a", "a/b")), ("c.jpg", ()), ("/c", ()), ("/a/c", ("/a",)), ("a//c", ("a", "a/"))],
)
def test_folders_above(key: str, expected: tuple[str, ...]) -> None:
    """A key's folders are the parts before its slashes, whatever stands in them."""
    assert folders_above(key) == expected


@given(place=st.text(st.characters(codec="utf-8")), scope=st.text(), key=st.binary(max_size=80))
def test_a_cursor_comes_back_as_the_place_it_stands_for(place: str, scope: str, key: bytes) -> None:
    """What was written is read, by the same catalog for the same question."""
    assert read_cursor(write_cursor(place, scope, key), scope, key) == place


@given(data=st.data())
def test_an_altered_cursor_is_refused(data: st.DataObject) -> None:
    """No other text is a cursor, nor is a cursor good for another question or catalog."""
    cursor = write_cursor("123", "scope", b"key")
    position = data.draw(st.integers(0, len(cursor)))
    altered = cursor[:position] + data.draw(st.text(max_size=3)) + cursor[data.draw(st.integers(0, len(cursor))) :]
    if altered != cursor:
        with pytest.raises(InvalidRequest):
            read_cursor(altered, "scope", b"key")
    for scope, key in (("other", b"key"), ("scope", b"other")):
        with pytest.raises(InvalidRequest):
            read_cursor(cursor, scope, key)
