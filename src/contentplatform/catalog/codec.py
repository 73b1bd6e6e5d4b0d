"""Records and ledger entries as JSON: how they are stored, kept as manifests, and shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from contentplatform.catalog.port import RECORD_LIMIT_BYTES, Collection, LedgerEntry, Record, Rendition
from contentplatform.clock import parse_timestamp, timestamp
from contentplatform.errors import Corrupt, ErrorCode, InvalidRequest
from contentplatform.media import (
    PROCESSING_TYPES,
    MediaKind,
    ProcessingStatus,
    file_extension,
    file_name,
    folder_path,
)

MANIFEST_FORMAT: Final = 1

_RECORDS: Final = msgspec.json.Decoder(Record)
_ENTRIES: Final = msgspec.json.Decoder(LedgerEntry)


# -- as stored -----------------------------------------------------------------------------------------------


def encode_record(record: Record) -> str:
    """``record`` as the text that is stored.

    Raises:
        InvalidRequest: it is over 300 KB, or holds what JSON can't say.
    """
    return _dump(record_to_json(record), f"storing the record of {record.file_path}")


def decode_record(text: str) -> Record:
    """The inverse of :func:`encode_record`."""
    try:
        return _RECORDS.decode(text)
    except msgspec.DecodeError:
        # Half of a surrogate pair, which msgspec refuses. Pages of a hundred records are what it is there for.
        return record_from_json(json.loads(text))


def encode_entry(entry: LedgerEntry) -> str:
    """``entry`` as the text that is stored; raises as :func:`encode_record`."""
    return _dump(entry_to_json(entry), f"storing the ledger of {entry.file_id}, version {entry.version_id}")


def decode_entry(text: str) -> LedgerEntry:
    """The inverse of :func:`encode_entry`."""
    try:
        return _ENTRIES.decode(text)
    except msgspec.DecodeError:
        return entry_from_json(json.loads(text))  # as a record


def _dump(document: Mapping[str, Any], doing: str) -> str:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        # Half of a surrogate pair, as broken EXIF can hold, exists in JSON only as an escape.
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
        size = len(text)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(doing, f"it holds a value that JSON can't say ({error})") from error
    if size > RECORD_LIMIT_BYTES:
        raise InvalidRequest(
            doing,
            f"it has {size} bytes as JSON; at most {RECORD_LIMIT_BYTES} are possible",
            hint="Keep long facts in an object beside it",
        )
    return text


# -- as JSON values ------------------------------------------------------------------------------------------


def record_to_json(record: Record) -> dict[str, Any]:
    """Every field of ``record`` by its name."""
    return {
        "file_id": record.file_id,
        "file_path": record.file_path,
        "version_id": record.version_id,
        "size_bytes": record.size_bytes,
        "content_type": record.content_type,
        "claimed_type": record.claimed_type,
        "file_hash": record.file_hash,
        "hash_verified": record.hash_verified,
        "kind": record.kind.value,
        "status": record.status.value,
        "upload_time": timestamp(record.upload_time),
        "indexed_at": timestamp(record.indexed_at),
        "processed_at": _optional_timestamp(record.processed_at),
        "error": record.error,
        "error_code": None if record.error_code is None else record.error_code.value,
        "note": record.note,
        "processing_metadata": dict(record.processing_metadata),
        "renditions": [rendition_to_json(rendition) for rendition in record.renditions],
        "tags": list(record.tags),
        "title": record.title,
        "description": record.description,
        "credit": record.credit,
        "rights_until": _optional_timestamp(record.rights_until),
        "edited_fields": sorted(record.edited_fields),
        "deleted_at": _optional_timestamp(record.deleted_at),
        "moved_from": list(record.moved_from),
        "revision": record.revision,
    }


def record_from_json(document: Mapping[str, Any]) -> Record:
    """The inverse of :func:`record_to_json`."""
    return Record(
        file_id=document["file_id"],
        file_path=document["file_path"],
        version_id=document["version_id"],
        size_bytes=document["size_bytes"],
        content_type=document["content_type"],
        claimed_type=document["claimed_type"],
        file_hash=document["file_hash"],
        hash_verified=document["hash_verified"],
        kind=MediaKind(document["kind"]),
        status=ProcessingStatus(document["status"]),
        upload_time=parse_timestamp(document["upload_time"]),
        indexed_at=parse_timestamp(document["indexed_at"]),
        processed_at=_optional_moment(document["processed_at"]),
        error=document["error"],
        error_code=_optional_code(document["error_code"]),
        note=document["note"],
        processing_metadata=document["processing_metadata"],
        renditions=tuple(map(rendition_from_json, document["renditions"])),
        tags=tuple(document["tags"]),
        title=document["title"],
        description=document["description"],
        credit=document["credit"],
        rights_until=_optional_moment(document["rights_until"]),
        edited_fields=frozenset(document["edited_fields"]),
        deleted_at=_optional_moment(document["deleted_at"]),
        moved_from=tuple(document["moved_from"]),
        revision=document["revision"],
    )


def entry_to_json(entry: LedgerEntry) -> dict[str, Any]:
    """Every field of ``entry`` by its name."""
    return {
        "file_id": entry.file_id,
        "version_id": entry.version_id,
        "size_bytes": entry.size_bytes,
        "content_type": entry.content_type,
        "claimed_type": entry.claimed_type,
        "file_hash": entry.file_hash,
        "hash_verified": entry.hash_verified,
        "kind": entry.kind.value,
        "status": entry.status.value,
        "created_at": timestamp(entry.created_at),
        "recipe": entry.recipe,
        "execution": entry.execution,
        "attempts": entry.attempts,
        "error": entry.error,
        "error_code": None if entry.error_code is None else entry.error_code.value,
        "note": entry.note,
        "renditions": [rendition_to_json(rendition) for rendition in entry.renditions],
        "processing_metadata": dict(entry.processing_metadata),
        "descriptive": dict(entry.descriptive),
        "processed_at": _optional_timestamp(entry.processed_at),
        "revision": entry.revision,
    }


def entry_from_json(document: Mapping[str, Any]) -> LedgerEntry:
    """The inverse of :func:`entry_to_json`."""
    return LedgerEntry(
        file_id=document["file_id"],
        version_id=document["version_id"],
        size_bytes=document["size_bytes"],
        content_type=document["content_type"],
        claimed_type=document["claimed_type"],
        file_hash=document["file_hash"],
        hash_verified=document["hash_verified"],
        kind=MediaKind(document["kind"]),
        status=ProcessingStatus(document["status"]),
        created_at=parse_timestamp(document["created_at"]),
        recipe=document["recipe"],
        execution=document["execution"],
        attempts=document["attempts"],
        error=document["error"],
        error_code=_optional_code(document["error_code"]),
        note=document["note"],
        renditions=tuple(map(rendition_from_json, document["renditions"])),
        processing_metadata=document["processing_metadata"],
        descriptive=document["descriptive"],
        processed_at=_optional_moment(document["processed_at"]),
        revision=document["revision"],
    )


def rendition_to_json(rendition: Rendition) -> dict[str, Any]:
    """Every field of ``rendition`` by its name."""
    return {
        "name": rendition.name,
        "key": rendition.key,
        "stored_key": rendition.stored_key,
        "content_type": rendition.content_type,
        "size_bytes": rendition.size_bytes,
        "sha256": rendition.sha256,
        "width": rendition.width,
        "height": rendition.height,
    }


def rendition_from_json(document: Mapping[str, Any]) -> Rendition:
    """The inverse of :func:`rendition_to_json`."""
    return Rendition(
        name=document["name"],
        key=document["key"],
        stored_key=document["stored_key"],
        content_type=document["content_type"],
        size_bytes=document["size_bytes"],
        sha256=document["sha256"],
        width=document["width"],
        height=document["height"],
    )


def _optional_timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _optional_moment(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)


def _optional_code(text: str | None) -> ErrorCode | None:
    return None if text is None else ErrorCode(text)


# -- manifests -----------------------------------------------------------------------------------------------


def to_manifest(record: Record, entries: Iterable[LedgerEntry]) -> dict[str, Any]:
    """All that the catalog knows of one original, as a JSON document from which it can be put back.

    Equal facts give equal documents: revisions, which only order writes to one catalog, are left out.
    """
    ordered = sorted(entries, key=lambda entry: (entry.created_at, entry.version_id))
    return {
        "format": MANIFEST_FORMAT,
        "record": _without_revision(record_to_json(record)),
        "entries": [_without_revision(entry_to_json(entry)) for entry in ordered],
    }


def from_manifest(document: Mapping[str, Any]) -> tuple[Record, tuple[LedgerEntry, ...]]:
    """The record and its entries, the oldest first, with revision 0: ready to be put into an empty catalog.

    Raises:
        Corrupt: this is no manifest, or one of a newer version of the platform.
    """
    doing = "reading a catalog manifest"
    try:
        if document["format"] != MANIFEST_FORMAT:
            raise Corrupt(
                doing, f"its format is {document['format']!r}, known is {MANIFEST_FORMAT}", hint="Use a newer version"
            )
        record = record_from_json({**document["record"], "revision": 0})
        entries = tuple(entry_from_json({**entry, "revision": 0}) for entry in document["entries"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt(doing, f"it is damaged ({type(error).__name__}: {error})") from error
    return record, entries


def encode_manifest(record: Record, entries: Iterable[LedgerEntry]) -> bytes:
    """The manifest as the bytes of an object: the same facts always give the same bytes."""
    return json.dumps(to_manifest(record, entries), sort_keys=True, separators=(",", ":")).encode("ascii")


def decode_manifest(content: bytes) -> tuple[Record, tuple[LedgerEntry, ...]]:
    """The inverse of :func:`encode_manifest`, as :func:`from_manifest`."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise Corrupt("reading a catalog manifest", "it is not JSON") from error
    return from_manifest(document)


def encode_collection(collection: Collection, file_ids: Iterable[str]) -> bytes:
    """A collection and its files as the bytes of an object."""
    document = {
        "format": MANIFEST_FORMAT,
        "collection_id": collection.collection_id,
        "name": collection.name,
        "description": collection.description,
        "cover": collection.cover,
        "owner": collection.owner,
        "created_at": timestamp(collection.created_at),
        "changed_at": timestamp(collection.changed_at),
        "revision": collection.revision,
        "files": list(file_ids),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode_collection(content: bytes) -> tuple[Collection, tuple[str, ...]]:
    """The inverse of :func:`encode_collection`.

    Raises:
        Corrupt: it is no collection.
    """
    doing = "reading a kept collection"
    try:
        document = json.loads(content)
        if document["format"] != MANIFEST_FORMAT:
            raise Corrupt(doing, f"its format is {document['format']}", hint="Use a newer version of the platform")
        files = tuple(document["files"])
        collection = Collection(
            collection_id=document["collection_id"],
            name=document["name"],
            description=document["description"],
            cover=document["cover"],
            owner=document["owner"],
            created_at=parse_timestamp(document["created_at"]),
            changed_at=parse_timestamp(document["changed_at"]),
            files=len(files),
            revision=document["revision"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(doing, "it is not what one is kept as", private=f"{type(error).__name__}: {error}") from error
    return collection, files


def _without_revision(document: dict[str, Any]) -> dict[str, Any]:
    del document["revision"]
    return document


# -- as shown ------------------------------------------------------------------------------------------------


def to_public(record: Record, bucket: str = "primary") -> dict[str, Any]:
    """``record`` as one flat object with the documented field names; ``bucket`` is where its bytes are."""
    processing_types = PROCESSING_TYPES[record.kind]
    return {
        "file_id": record.file_id,
        "file_path": record.file_path,
        "file_name": file_name(record.file_path),
        "folder_path": folder_path(record.file_path),
        "file_extension": file_extension(record.file_path),
        "bucket": bucket,
        "version_id": record.version_id,
        "size": record.size_bytes,
        "content_type": record.content_type,
        "claimed_type": record.claimed_type,
        "upload_time": timestamp(record.upload_time),
        "indexed_at": timestamp(record.indexed_at),
        "processed_at": _optional_timestamp(record.processed_at),
        "file_hash": record.file_hash,
        "hash_verified": record.hash_verified,
        "metadata": {
            "type": record.kind.value,
            "requires_processing": bool(processing_types),
            "processing_types": list(processing_types),
        },
        "processing_status": record.status.value,
        "processing_metadata": dict(record.processing_metadata),
        "processing_error": record.error,
        "processing_error_code": None if record.error_code is None else record.error_code.value,
        "note": record.note,
        "tags": list(record.tags),
        "title": record.title,
        "description": record.description,
        "credit": record.credit,
        "rights_until": _optional_timestamp(record.rights_until),
        "deleted_at": _optional_timestamp(record.deleted_at),
        "renditions": [public_rendition(rendition) for rendition in record.renditions],
    }


def public_rendition(rendition: Rendition) -> dict[str, Any]:
    """``rendition`` as it is shown."""
    shown: dict[str, Any] = {
        "name": rendition.name,
        "key": rendition.key,
        "content_type": rendition.content_type,
        "size": rendition.size_bytes,
        "sha256": rendition.sha256,
    }
    if rendition.width is not None and rendition.height is not None:
        shown |= {"width": rendition.width, "height": rendition.height}
    return shown
