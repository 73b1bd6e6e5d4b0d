"""Records and ledger entries as DynamoDB items, and the keys by which the indexes order them.

A record's attributes have the documented names of the catalog's fields, and are typed. Two things would be lost that
way: a number beyond 38 digits or a float (DynamoDB keeps decimals only), and half of a surrogate pair, as broken EXIF
can hold (DynamoDB keeps UTF-8 only). So ``processing_metadata`` is its exact JSON in one text attribute, and any other
attribute that can't be said in UTF-8 is stored as its JSON, too, and named in ``escaped``.

Half a key is no key: attributes of indexes are left out where they would be empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from contentplatform.catalog.codec import (
    decode_entry,
    encode_entry,
    encode_record,
    record_from_json,
    record_to_json,
    to_public,
)
from contentplatform.catalog.port import LedgerEntry, Record
from contentplatform.errors import Corrupt, InvalidRequest
from contentplatform.media import ProcessingStatus

Item = dict[str, dict[str, Any]]
"""Attribute values with DynamoDB's type descriptors, as the API and the streams give them."""

PRESENT: Final = "present"
DELETED: Final = "deleted"
PARTITION_KEY_LIMIT_BYTES: Final = 2_048
_IDENTIFIER_LIMIT_BYTES: Final = 900
"""A sort key has 1 024 bytes, and an upload time stands before the identifier."""
_INTEGER_LIMIT: Final = 10**38
_VERSION_PREFIX: Final = "v "
"""Before a version_id in the sort key, so that nothing else under the same file is taken for an entry."""

_FIELDS: Final = {"size": "size_bytes", "processing_status": "status", "processing_error": "error"} | {
    "processing_error_code": "error_code"
}
"""Attributes that have another name than the record's field."""
_SAME: Final = (
    *("file_id", "file_path", "version_id", "content_type", "claimed_type", "upload_time", "indexed_at"),
    *("processed_at", "file_hash", "hash_verified", "note", "tags", "title", "description", "credit", "rights_until"),
    *("renditions", "edited_fields", "deleted_at", "moved_from", "revision"),
)
_FOR_READERS: Final = ("file_name", "folder_path", "file_extension", "bucket", "metadata")
"""Written for people and for other readers of the table; never read back."""


# -- places in the order of upload ---------------------------------------------------------------------------


def moment(value: datetime) -> str:
    """``value`` as text that sorts by time, for all years."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def place(upload_time: datetime, identifier: str) -> str:
    """Where a file stands in the order of upload: the sort key of every listing and every row of the search table."""
    return f"{moment(upload_time)} {identifier}"


def record_place(record: Record) -> str:
    """The place of ``record``."""
    return place(record.upload_time, record.file_id)


def file_id_of(place_: str) -> str:
    """Whose place it is."""
    return place_.partition(" ")[2]


def state(*, deleted: bool) -> str:
    """Under which listing a record stands."""
    return DELETED if deleted else PRESENT


def listing(*, deleted: bool, value: str = "") -> str:
    """The partition of a listing: all files of a state, or those of one kind or status."""
    return f"{state(deleted=deleted)} {value}".rstrip()


def is_key(text: str, limit_bytes: int = PARTITION_KEY_LIMIT_BYTES) -> bool:
    """Whether DynamoDB takes ``text`` as a key."""
    try:
        return 0 < len(text.encode("utf-8")) <= limit_bytes
    except UnicodeEncodeError:
        return False


# -- records -------------------------------------------------------------------------------------------------


def record_to_item(record: Record, bucket: str) -> Item:
    """``record`` as it is stored in table ``content-metadata``.

    Raises:
        InvalidRequest: it is over 300 KB, or holds what JSON, or a key of DynamoDB, can't say.
    """
    doing = f"storing the record of {record.file_path}"
    encode_record(record)  # refuses what no home can keep
    if not is_key(record.file_id, _IDENTIFIER_LIMIT_BYTES):
        raise InvalidRequest(doing, "its file_id is empty, too long or not valid Unicode")
    if record.file_hash and not is_key(record.file_hash):
        raise InvalidRequest(doing, "its file_hash is no digest")
    if max(abs(record.size_bytes), record.revision) >= _INTEGER_LIMIT:
        raise InvalidRequest(doing, "its size has more than 38 digits")
    document = record_to_json(record)
    public = to_public(record, bucket)
    deleted = record.deleted_at is not None
    values = {
        **{name: document[name] for name in _SAME},
        **{name: document[field] for name, field in _FIELDS.items()},
        **{name: public[name] for name in _FOR_READERS},
        "listing": listing(deleted=deleted),
        "listing_kind": listing(deleted=deleted, value=record.kind.value),
        "listing_status": listing(deleted=deleted, value=record.status.value),
        "listing_order": record_place(record),
    }
    if not record.file_hash:
        del values["file_hash"]
    item: Item = {"processing_metadata": {"S": _json(document["processing_metadata"])}}
    escaped = []
    for name, value in values.items():
        if value is None:
            continue
        if _is_sayable(value):
            item[name] = _attribute(value)
        else:
            item[name] = {"S": json.dumps(value)}
            escaped.append(name)
    if escaped:
        item["escaped"] = _attribute(escaped)
    return item


def item_to_record(item: Mapping[str, Any]) -> Record:
    """The inverse of :func:`record_to_item`.

    Raises:
        Corrupt: it is no record's item.
    """
    identifier = item.get("file_id", {}).get("S", "")
    try:
        escaped = {name["S"] for name in item["escaped"]["L"]} if "escaped" in item else set()

        def value(name: str) -> Any:
            if name not in item:
                return None
            found = _value(item[name])
            return json.loads(found) if name in escaped else found

        return record_from_json(
            {
                **{name: value(name) for name in _SAME},
                **{field: value(name) for name, field in _FIELDS.items()},
                "file_hash": value("file_hash") or "",
                "kind": value("metadata")["type"],
                "processing_metadata": json.loads(item["processing_metadata"]["S"]),
            }
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Corrupt(
            f"reading the record of file {identifier}",
            "what the table holds is no record",
            hint="Restore the table to a moment before it was damaged",
            private=f"{type(error).__name__}: {error}",
        ) from error


def is_record(item: Mapping[str, Any] | None) -> bool:
    """Whether an item is a record; redirects, and nothing at all, are none."""
    return item is not None and "revision" in item


def revision_of(item: Mapping[str, Any]) -> int:
    """The revision of a record's or an entry's item."""
    return int(item["revision"]["N"])


def path_of(item: Mapping[str, Any]) -> str:
    """The key of a record's item."""
    text = str(item["file_path"]["S"])
    escaped = item.get("escaped", {"L": []})["L"]
    return str(json.loads(text)) if {"S": "file_path"} in escaped else text


# -- ledger entries ------------------------------------------------------------------------------------------


def entry_key(file_id: str, version_id: str) -> Item:
    """The key of an entry in table ``content-ledger``."""
    return {"file_id": {"S": file_id}, "version": {"S": _VERSION_PREFIX + version_id}}


def is_entry_key(file_id: str, version_id: str) -> bool:
    """Whether an entry can stand under these."""
    return is_key(file_id, _IDENTIFIER_LIMIT_BYTES) and is_key(version_id, _IDENTIFIER_LIMIT_BYTES)


VERSIONS: Final = _VERSION_PREFIX
"""With what the sort key of every entry begins."""


def entry_to_item(entry: LedgerEntry) -> Item:
    """``entry`` as it is stored in table ``content-ledger``: its exact JSON, and the keys of the indexes.

    Raises:
        InvalidRequest: as for a record.
    """
    document = encode_entry(entry)
    if not is_entry_key(entry.file_id, entry.version_id) or not _is_sayable(entry.recipe):
        raise InvalidRequest(
            f"storing the ledger of {entry.file_id}, version {entry.version_id}",
            "its identifiers are empty, too long or not valid Unicode",
        )
    item: Item = {
        **entry_key(entry.file_id, entry.version_id),
        "revision": {"N": str(entry.revision)},
        "document": {"S": document},
        "kind": {"S": entry.kind.value},
        "recipe": {"S": entry.recipe},
        "entry_status": {"S": entry.status.value},
        "entry_order": {"S": entry_place(entry)},
    }
    content = content_key(entry.file_hash, entry.recipe)
    if entry.status is ProcessingStatus.COMPLETED and is_key(content):
        item["content_recipe"] = {"S": content}
    return item


def item_to_entry(item: Mapping[str, Any]) -> LedgerEntry:
    """The inverse of :func:`entry_to_item`."""
    return decode_entry(item["document"]["S"])


def entry_place(entry: LedgerEntry) -> str:
    """Where an entry stands among those of its status; the version is cut so that the key stays short enough."""
    return (
        place(entry.created_at, f"{entry.file_id} {entry.version_id}").encode("utf-8")[:1_000].decode(errors="ignore")
    )


def content_key(file_hash: str, recipe: str) -> str:
    """Under which completed entries with the same content and recipe are found."""
    return f"{file_hash} {recipe}"


# -- attribute values ----------------------------------------------------------------------------------------


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if _is_sayable(text) else json.dumps(value, allow_nan=False, separators=(",", ":"))


def _is_sayable(value: Any) -> bool:
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _attribute(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [_attribute(each) for each in value]}
        case _:
            return {"M": {name: _attribute(each) for name, each in value.items()}}


def _value(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    match kind:
        case "N":
            return int(Decimal(value))
        case "L":
            return [_value(each) for each in value]
        case "M":
            return {name: _value(each) for name, each in value.items()}
        case "NULL":
            return None
        case _:
            return value
