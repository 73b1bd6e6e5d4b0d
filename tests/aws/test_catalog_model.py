"""The catalog in DynamoDB does what the one in memory does, whatever is asked in whatever order."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentplatform import media
from contentplatform.catalog.port import Catalog, Record, SearchQuery
from contentplatform.drivers.boto import Aws
from contentplatform.errors import NotFound, PlatformError
from contentplatform.media import MediaKind, ProcessingStatus
from emulator import REGION, Emulator
from fakes.catalog import NOON, FakeCatalog, make_record
from fakes.dynamodb import DynamoHome

_KEYS = st.sampled_from(("a/1.jpg", "a/b/2.jpg", "b/sunset.png", "IMG_2041.jpg", "a"))
_WORDS = st.sampled_from(("sunset", "sunsets", "sun", "sea", "se", "Île", "img 204", "photographer", "\ud800", ""))
_TAGS = st.sampled_from(("x", "y", "", "sea", "x" * 300, "\udfff"))
_NUMBERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": _WORDS,
        "description": _WORDS,
        "tags": st.lists(_TAGS, max_size=2).map(tuple),
        "kind": st.sampled_from(MediaKind),
        "status": st.sampled_from(ProcessingStatus),
        "size_bytes": st.integers(0, 3),
        "file_hash": st.sampled_from(("", "1" * 64, "2" * 64)),
        "deleted_at": st.sampled_from((None, None, NOON)),
        "upload_time": st.integers(0, 3).map(lambda hours: NOON.replace(hour=12 + hours)),
        "processing_metadata": st.dictionaries(st.just("text") | st.text(max_size=3), _WORDS | _NUMBERS, max_size=2),
    },
)
_WRITES = st.one_of(
    st.tuples(st.just("put"), _KEYS, _FIELDS, st.integers(0, 5)),
    st.tuples(st.just("remove"), _KEYS, st.none() | _KEYS, st.integers(0, 5)),
    st.tuples(st.just("put_redirect"), _KEYS, _KEYS, st.just(0)),
)
_QUERIES = st.builds(
    SearchQuery,
    text=st.just("") | _WORDS,
    kind=st.none() | st.sampled_from(MediaKind),
    status=st.none() | st.sampled_from(ProcessingStatus),
    tag=st.none() | _TAGS,
    folder=st.none() | st.sampled_from(("a", "a/b", "b")),
    uploaded_from=st.none() | st.just(NOON.replace(hour=13)),
    uploaded_before=st.none() | st.just(NOON.replace(hour=14)),
    size_from_bytes=st.none() | st.integers(0, 3),
    size_to_bytes=st.none() | st.integers(0, 3),
    file_hash=st.none() | st.sampled_from(("", "1" * 64)),
    deleted=st.booleans(),
)


def write(catalog: Catalog, step: tuple[str, str, Any, int]) -> object:
    """Do one step; what it gave, or the class of its error. A chance of 0 reads an old revision."""
    kind, key, argument, chance = step
    identifier = media.file_id(key)

    def known() -> Record | None:
        try:
            return catalog.get(identifier)
        except NotFound:
            return None

    def put() -> object:
        record = known() or make_record(key)
        return catalog.put(replace(record, **argument, revision=record.revision - (chance == 0)))

    def remove() -> object:
        record = known() or make_record(key)
        return catalog.remove(
            identifier, record.revision + (chance == 0), None if argument is None else media.file_id(argument)
        )

    steps: dict[str, Callable[[], object]] = {
        "put": put,
        "remove": remove,
        "put_redirect": lambda: catalog.put_redirect(identifier, media.file_id(argument)),
    }
    try:
        return steps[kind]()
    except PlatformError as error:
        return type(error)


def pages(catalog: Catalog, query: SearchQuery, limit: int) -> list[tuple[Record, ...]]:
    """Every page of a search."""
    page = catalog.search(query, limit=limit)
    found = [page.records]
    while page.cursor is not None:
        page = catalog.search(query, cursor=page.cursor, limit=limit)
        found.append(page.records)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(_WRITES, min_size=1, max_size=14),
    queries=st.lists(_QUERIES, min_size=1, max_size=6),
    limit=st.integers(1, 4),
)
def test_both_say_the_same(
    emulator: Emulator,
    steps: list[tuple[str, str, Any, int]],
    queries: list[SearchQuery],
    limit: int,
) -> None:
    account = emulator.account()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment(account).items():
            patch.setenv(name, value)
        home = DynamoHome(Aws(region=REGION, account_id=account))
        model = FakeCatalog()
        for step in steps:
            assert write(home.catalog, step) == write(model, step), step
        home.settle()
        for query in [SearchQuery(), SearchQuery(deleted=True), *queries]:
            assert pages(home.catalog, query, limit) == pages(model, query, limit), query
        for key in ("a/1.jpg", "a/b/2.jpg", "b/sunset.png", "IMG_2041.jpg", "a"):
            assert home.catalog.redirect(media.file_id(key)) == model.redirect(media.file_id(key))
