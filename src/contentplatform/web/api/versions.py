"""``/files/{file_id}/versions``: what a file was before."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from contentplatform.catalog.port import LedgerEntry
from contentplatform.clock import timestamp
from contentplatform.storage.port import ObjectVersion
from contentplatform.web.access import live_record_of, note, record_of, shown
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import Administrator, APlatform, FileIdInPath, Reader, Writer
from contentplatform.web.api.shapes import File, VersionList

router = new_router("versions")

VersionId = Annotated[str, Path(max_length=1_024, description="A version's identifier, as the list shows it.")]


@router.get(
    "/files/{file_id:fileid}/versions",
    operation_id="list_versions",
    summary="The versions of a file",
    responses=failures(404),
)
def list_versions(platform: APlatform, reader: Reader, file_id: FileIdInPath) -> VersionList:
    """Every version and delete marker, the newest first, and what was made of each."""
    record = record_of(platform, reader, file_id)
    entries = {entry.version_id: entry for entry in platform.catalog.entries(record.file_id)}
    found = platform.library.versions(record.file_path)
    items = [_shown(version, entries.get(version.version_id)) for version in found]
    return VersionList.model_validate({"items": items})


@router.post(
    "/files/{file_id:fileid}/versions/{version_id}/restore",
    operation_id="restore_version",
    summary="Make an older version current",
    responses=failures(404, 409),
)
def restore_version(platform: APlatform, writer: Writer, file_id: FileIdInPath, version_id: VersionId) -> File:
    """The older version's bytes become the current version, as a new one; nothing is lost by it."""
    record = live_record_of(platform, writer, file_id)
    restored = platform.library.restore(record.file_path, version_id)
    note(platform, writer, "version.restore", record.file_path, version=version_id)
    return File.model_validate(shown(platform, restored))


@router.delete(
    "/files/{file_id:fileid}/versions/{version_id}",
    operation_id="delete_version",
    summary="Delete a version for good",
    status_code=204,
    responses=failures(404),
)
def delete_version(
    platform: APlatform, administrator: Administrator, file_id: FileIdInPath, version_id: VersionId
) -> None:
    """Delete one version for good; the newest one left becomes current. Nothing brings it back."""
    record = record_of(platform, administrator, file_id)
    platform.library.remove_version(record.file_path, version_id)
    note(platform, administrator, "version.delete", record.file_path, version=version_id)


def _shown(version: ObjectVersion, entry: LedgerEntry | None) -> dict[str, Any]:
    return {
        "version_id": version.version_id,
        "created_at": timestamp(version.created_at),
        "size": version.size_bytes,
        "sha256": version.sha256,
        "storage_class": version.storage_class.value,
        "is_latest": version.is_latest,
        "is_delete_marker": version.is_delete_marker,
        "processing_status": None if entry is None else entry.status,
        "processing_error": None if entry is None else entry.error,
        "note": None if entry is None else entry.note,
        "renditions": [] if entry is None else [rendition.name for rendition in entry.renditions],
    }
