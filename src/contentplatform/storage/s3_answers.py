"""What S3 answers, read as the store tells it: versions, their hashes and classes, and the order of listings."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from contentplatform.storage.port import BucketRole, HashSource, ObjectVersion, PutOptions, StorageClass

HASH_METADATA: Final = "contentplatform-sha256"
"""User metadata: the SHA-256 that the uploader computed. Ours, or that of a client which uploads past the platform."""
CHECKSUM_NAMES: Final = ("ChecksumCRC64NVME", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumSHA1", "ChecksumSHA256")
_HEX_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CLASSES: Final = {storage_class.value: storage_class for storage_class in StorageClass}
_KINDS_IN_ORDER: Final = "KindsInOrder"


def version_of(bucket: BucketRole, key: str, answer: Mapping[str, Any], *, is_latest: bool) -> ObjectVersion:
    """The version that an answer to HeadObject or GetObject describes."""
    metadata = dict(answer.get("Metadata", {}))
    claim = metadata.pop(HASH_METADATA, "")
    sha256, source = _hash_of(answer, claim)
    return ObjectVersion(
        bucket=bucket,
        key=key,
        version_id=version_id_of(answer),
        size_bytes=int(answer["ContentLength"]),
        sha256=sha256,
        etag=answer["ETag"].strip('"'),
        content_type=answer.get("ContentType", PutOptions().content_type),
        storage_class=_class_of(answer),
        created_at=answer["LastModified"],
        is_latest=is_latest,
        user_metadata=metadata,
        hash_source=source,
    )


def _hash_of(answer: Mapping[str, Any], claim: str) -> tuple[str | None, HashSource]:
    """The SHA-256 of an object and who vouches for it. A checksum with ``-`` is one of its parts' checksums."""
    checked = str(answer.get("ChecksumSHA256", ""))
    if checked and "-" not in checked:
        return base64.b64decode(checked).hex(), HashSource.STORE
    if _HEX_SHA256.fullmatch(claim) is None:
        return None, HashSource.STORE
    values = [str(answer[name]) for name in CHECKSUM_NAMES if answer.get(name)]
    bound = answer.get("ChecksumType") == "FULL_OBJECT" and bool(values) and not any("-" in text for text in values)
    return claim, HashSource.BOUND if bound else HashSource.UPLOADER


def listed(bucket: BucketRole, entry: Mapping[str, Any], *, is_latest: bool, is_marker: bool = False) -> ObjectVersion:
    """The version or delete marker that an entry of a listing tells of, as far as a listing does."""
    return ObjectVersion(
        bucket=bucket,
        key=entry["Key"],
        version_id=entry.get("VersionId", ""),
        size_bytes=int(entry.get("Size", 0)),
        sha256=None,
        etag=entry.get("ETag", "").strip('"'),
        content_type=PutOptions().content_type,
        storage_class=_class_of(entry),
        created_at=entry["LastModified"],
        is_latest=is_latest,
        is_delete_marker=is_marker,
    )


def keep_order(response_dict: Mapping[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Note the order of versions and markers in a listing: its parsed form has each in a list of its own."""
    kinds = re.findall(rb"<(Version|DeleteMarker)>", response_dict["body"])
    customized_response_dict[_KINDS_IN_ORDER] = kinds


def in_order(bucket: BucketRole, answer: Mapping[str, Any]) -> Iterator[ObjectVersion]:
    """Versions and delete markers as S3 listed them: by key, the newest first."""
    versions, markers = iter(answer.get("Versions", ())), iter(answer.get("DeleteMarkers", ()))
    for kind in answer[_KINDS_IN_ORDER]:
        is_marker = kind == b"DeleteMarker"
        entry = next(markers if is_marker else versions)
        yield listed(bucket, entry, is_latest=entry["IsLatest"], is_marker=is_marker)


def _class_of(answer: Mapping[str, Any]) -> StorageClass:
    """A class that the platform does not use, met on what was uploaded past it, reads at once as STANDARD does."""
    return _CLASSES.get(answer.get("StorageClass", ""), StorageClass.STANDARD)


def version_id_of(answer: Mapping[str, Any]) -> str:
    """Which version an answer is about; ``null`` is what S3 calls one from before versions were kept."""
    return str(answer.get("VersionId", "null"))


def answered_at(answer: Mapping[str, Any]) -> datetime:
    """When S3 answered, by its own clock: it tells the time of a delete marker only in listings."""
    moment = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return moment.astimezone(UTC)
