"""Records and entries as JSON: nothing is lost, nothing but JSON comes out, and the shown form has the agreed names."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.catalog import codec
from contentplatform.catalog.codec import (
    decode_entry,
    decode_manifest,
    decode_record,
    encode_entry,
    encode_manifest,
    encode_record,
    entry_from_json,
    entry_to_json,
    from_manifest,
    record_from_json,
    record_to_json,
    to_manifest,
    to_public,
)
from contentplatform.catalog.port import RECORD_LIMIT_BYTES, LedgerEntry, Record, Rendition
from contentplatform.errors import Corrupt, ErrorCode, InvalidRequest
from contentplatform.media import MediaKind, ProcessingStatus
from fakes.catalog import FULL_RENDITION, NOON, make_entry, make_record

texts = st.text(st.characters(codec="utf-8"), max_size=20)
moments = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=4)
sizes = st.integers(0, 2**63 - 1)
renditions = st.builds(
    Rendition, texts, texts, texts, texts, sizes, texts, st.none() | sizes, st.none() | sizes
)  # fmt: skip
rendition_tuples = st.lists(renditions, max_size=2).map(tuple)
maybe = st.none() | texts
records = st.builds(
    Record,
    file_id=texts, file_path=texts, version_id=texts, size_bytes=sizes, content_type=texts, claimed_type=maybe,
    file_hash=texts, hash_verified=st.booleans(), kind=st.sampled_from(MediaKind),
    status=st.sampled_from(ProcessingStatus), upload_time=moments, indexed_at=moments,
    processed_at=st.none() | moments, error=maybe, error_code=st.none() | st.sampled_from(ErrorCode), note=maybe,
    processing_metadata=objects, renditions=rendition_tuples, tags=st.lists(texts, max_size=3).map(tuple), title=maybe,
    description=maybe, credit=maybe, rights_until=st.none() | moments,
    edited_fields=st.frozensets(texts, max_size=3), deleted_at=st.none() | moments,
    moved_from=st.lists(texts, max_size=2).map(tuple), revision=st.integers(0, 10),
)  # fmt: skip
entries = st.builds(
    LedgerEntry,
    file_id=texts, version_id=texts, size_bytes=sizes, content_type=texts, claimed_type=maybe, file_hash=texts,
    hash_verified=st.booleans(), kind=st.sampled_from(MediaKind), status=st.sampled_from(ProcessingStatus),
    created_at=moments, recipe=texts, execution=texts, attempts=st.integers(0, 99), error=maybe,
    error_code=st.none() | st.sampled_from(ErrorCode), note=maybe, renditions=rendition_tuples,
    processing_metadata=objects, descriptive=objects, processed_at=st.none() | moments, revision=st.integers(0, 10),
)  # fmt: skip


@given(records)
def test_a_record_survives_being_stored(record: Record) -> None:
    """Every field comes back as it was."""
    assert decode_record(encode_record(record)) == record


@given(entries)
def test_an_entry_survives_being_stored(entry: LedgerEntry) -> None:
    """Every field comes back as it was."""
    assert decode_entry(encode_entry(entry)) == entry


def canonical(entry: LedgerEntry) -> str:
    """``entry`` as a text that equal entries share."""
    return json.dumps(entry_to_json(entry), sort_keys=True)


@given(records, st.lists(entries, max_size=3))
def test_a_manifest_puts_back_what_was_known(record: Record, ledger: list[LedgerEntry]) -> None:
    """All but the revisions, which begin anew; the same bytes come out again, in whatever order the entries came."""
    content = encode_manifest(record, ledger)
    back, back_ledger = decode_manifest(content)
    assert back == replace(record, revision=0)
    assert sorted(map(canonical, back_ledger)) == sorted(canonical(replace(entry, revision=0)) for entry in ledger)
    assert encode_manifest(replace(back, revision=7), back_ledger) == content


def test_every_field_is_stored() -> None:
    """A field added to the port without one in the stored form fails here, not by being forgotten."""
    assert set(record_to_json(make_record())) == {field.name for field in fields(Record)}
    assert set(entry_to_json(make_entry())) == {field.name for field in fields(LedgerEntry)}


def test_time_is_stored_in_utc_whatever_the_zone() -> None:
    """The same moment is the same text."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=9)))
    assert encode_record(make_record(upload_time=elsewhere)) == encode_record(make_record(upload_time=NOON))


def test_half_a_surrogate_pair_survives() -> None:
    """Broken EXIF text can't be written as UTF-8; it is stored as an escape and comes back."""
    record = make_record(processing_metadata={"artist": "\ud800"})
    encoded = encode_record(record)
    encoded.encode("utf-8")
    assert decode_record(encoded) == record


def test_both_ways_of_reading_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast one is taken for whatever is stored but for half a surrogate pair, and the slow one knows as much."""
    record = make_record(
        renditions=(FULL_RENDITION,), rights_until=NOON, error_code=ErrorCode.CRASH, edited_fields={"title"}
    )
    entry = make_entry(renditions=(FULL_RENDITION,), processed_at=NOON, error_code=ErrorCode.CRASH)
    assert record_from_json(json.loads(encode_record(record))) == record
    assert entry_from_json(json.loads(encode_entry(entry))) == entry
    for slow in ("record_from_json", "entry_from_json"):
        monkeypatch.delattr(codec, slow)
    assert decode_record(encode_record(record)) == record
    assert decode_entry(encode_entry(entry)) == entry


def test_the_size_limit_counts_bytes() -> None:
    """The largest record that fits is stored, one byte more is refused."""
    spare = RECORD_LIMIT_BYTES - len(encode_record(make_record(title="")).encode())
    assert len(encode_record(make_record(title="x" * spare)).encode()) == RECORD_LIMIT_BYTES
    for title in ("x" * (spare + 1), "é" * (spare // 2 + 1)):
        with pytest.raises(InvalidRequest, match="bytes as JSON"):
            encode_record(make_record(title=title))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"format": 2, "record": {}, "entries": []}', b'{"format": 1}',
        b'{"format": 1, "record": {"file_id": "x"}, "entries": []}',
        b'{"format": 1, "record": [], "entries": 3}', b"\xff",
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_told_apart(content: bytes) -> None:
    """Whatever is wrong with it, the answer is one error that says so."""
    with pytest.raises(Corrupt):
        decode_manifest(content)


def test_a_manifest_with_a_word_of_the_future_is_refused() -> None:
    """A status that this version doesn't know is not guessed at."""
    document = to_manifest(make_record(), [make_entry()])
    document["entries"][0]["status"] = "quantum"
    with pytest.raises(Corrupt):
        from_manifest(json.loads(json.dumps(document)))


def test_the_shown_form_has_the_agreed_names_and_values() -> None:
    """One flat object, by the names of the catalog's documentation, with values that JSON can say."""
    record = make_record(
        "Trips/Oslo/IMG_1.JPG",
        status=ProcessingStatus.COMPLETED,
        processed_at=NOON,
        processing_metadata={"width": 3},
        renditions=(FULL_RENDITION, replace(FULL_RENDITION, name="text", width=None, height=None)),
        tags=("sea",),
        title="Title",
    )
    shown = json.loads(json.dumps(to_public(record, "content-platform-primary-x")))
    assert shown == {
        "file_id": record.file_id,
        "file_path": "Trips/Oslo/IMG_1.JPG",
        "file_name": "IMG_1.JPG",
        "folder_path": "Trips/Oslo",
        "file_extension": "jpg",
        "bucket": "content-platform-primary-x",
        "version_id": "v1",
        "size": 1_000,
        "content_type": "image/jpeg",
        "claimed_type": None,
        "upload_time": "2030-06-01T12:00:00.000000Z",
        "indexed_at": "2030-06-01T12:00:00.000000Z",
        "processed_at": "2030-06-01T12:00:00.000000Z",
        "file_hash": "0" * 64,
        "hash_verified": True,
        "metadata": {
            "type": "image",
            "requires_processing": True,
            "processing_types": ["thumbnail", "webp_conversion", "metadata_extraction"],
        },
        "processing_status": "completed",
        "processing_metadata": {"width": 3},
        "processing_error": None,
        "processing_error_code": None,
        "note": None,
        "tags": ["sea"],
        "title": "Title",
        "description": None,
        "credit": None,
        "rights_until": None,
        "deleted_at": None,
        "renditions": [
            {
                "name": "thumbnail", "key": "public", "content_type": "image/jpeg", "size": 123, "sha256": "ab" * 32,
                "width": 150, "height": 100,
            },
            {"name": "text", "key": "public", "content_type": "image/jpeg", "size": 123, "sha256": "ab" * 32},
        ],
    }  # fmt: skip


def test_a_failure_is_shown_with_its_reason_and_class() -> None:
    """A generic file needs no processing; a failed one says why."""
    failed = make_record(kind=MediaKind.GENERIC, error="says image/jpeg, is text", error_code=ErrorCode.TYPE_MISMATCH)
    shown = to_public(failed)
    assert (shown["processing_error"], shown["processing_error_code"]) == ("says image/jpeg, is text", "E_TYPE")
    assert shown["metadata"] == {"type": "generic", "requires_processing": False, "processing_types": []}
