"""``/files/{file_id}/original``, ``/renditions``, ``/text``, ``/links``: bytes, and links to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request, Response

from contentplatform.catalog.codec import public_rendition
from contentplatform.catalog.port import Record, Rendition
from contentplatform.clock import timestamp
from contentplatform.delivery.rules import raw_edge_key
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.media import file_name
from contentplatform.storage.port import BucketRole
from contentplatform.web.access import check_quarantine, live_record_of, note, public_url
from contentplatform.web.api.route import BYTES, failures, new_router
from contentplatform.web.api.serving import APlatform, FileIdInPath, Reader
from contentplatform.web.api.shapes import Link, LinkWish, RenditionList
from contentplatform.web.content import original_response, rendition_response

router = new_router("contents")

TEXT: Final = "text"
RenditionName = Annotated[
    str,
    Path(
        max_length=1_024,
        description="As the list shows it: `thumbnail`, `720p`, …; or its key's last part, by which playlists name it.",
    ),
]
OfVersion = Annotated[
    str | None, Query(alias="version", max_length=1_024, description="Of this version instead of the current one.")
]
OfBytes = Annotated[
    str | None,
    Query(
        alias="v",
        pattern="^[0-9a-f]{1,64}$",
        description="How the SHA-256 of its bytes begins, as playlists have it: no others are sent.",
    ),
]
Inline = Annotated[bool, Query(description="To be shown, not saved, where its type runs nothing in a browser.")]


@router.get(
    "/files/{file_id:fileid}/original",
    operation_id="get_original",
    summary="The original's bytes",
    response_class=Response,
    responses=failures(403, 404, 409, 412, 416) | BYTES,
)
@router.head("/files/{file_id:fileid}/original", include_in_schema=False)
def get_original(
    platform: APlatform,
    reader: Reader,
    request: Request,
    file_id: FileIdInPath,
    version: OfVersion = None,
    *,
    inline: Inline = False,
) -> Response:
    """The bytes as they were added, under their own name. A single range, and conditions, are answered."""
    record = live_record_of(platform, reader, file_id)
    found = platform.store.head(BucketRole.PRIMARY, record.file_path, version_id=version)
    if found.version_id == record.version_id:
        check_quarantine(record)
    known = found.version_id in {record.version_id, ""}
    content_type = record.content_type if known else _entry_type(platform, record, found.version_id)
    return original_response(request, platform.store, found, content_type, inline=inline)


@router.get(
    "/files/{file_id:fileid}/renditions",
    operation_id="list_renditions",
    summary="The renditions of a version",
    responses=failures(404),
)
def list_renditions(
    platform: APlatform, reader: Reader, file_id: FileIdInPath, version: OfVersion = None
) -> RenditionList:
    """What was made of the current version, or of the one named; their public links where the file is public."""
    record = live_record_of(platform, reader, file_id)
    found = renditions_of(platform, record, version)
    return RenditionList.model_validate({"items": [_shown(platform, record, each) for each in found]})


@router.get(
    "/files/{file_id:fileid}/renditions/{name}",
    operation_id="get_rendition",
    summary="A rendition's bytes",
    response_class=Response,
    responses=failures(404, 412, 416) | BYTES,
)
@router.head("/files/{file_id:fileid}/renditions/{name}", include_in_schema=False)
def get_rendition(
    platform: APlatform,
    reader: Reader,
    request: Request,
    file_id: FileIdInPath,
    name: RenditionName,
    version: OfVersion = None,
    of_bytes: OfBytes = None,
) -> Response:
    """A rendition's bytes, those of private files, too. A single range, and conditions, are answered."""
    record = live_record_of(platform, reader, file_id)
    rendition = rendition_of(platform, record, name, version)
    if of_bytes is not None and not rendition.sha256.startswith(of_bytes):
        raise NotFound(f"looking for the {name[:80]} of {record.file_path}", "it was replaced by another")
    found = platform.store.head(BucketRole.PROCESSED, rendition.stored_key)
    return rendition_response(request, platform.store, found, rendition.content_type)


@router.get(
    "/files/{file_id:fileid}/text",
    operation_id="get_text",
    summary="A document's text",
    response_class=Response,
    responses=failures(404, 412, 416) | BYTES,
)
def get_text(platform: APlatform, reader: Reader, request: Request, file_id: FileIdInPath) -> Response:
    """What there is to read in a document, as plain text."""
    record = live_record_of(platform, reader, file_id)
    rendition = rendition_of(platform, record, TEXT, None)
    found = platform.store.head(BucketRole.PROCESSED, rendition.stored_key)
    return rendition_response(request, platform.store, found, rendition.content_type)


@router.post(
    "/files/{file_id:fileid}/links",
    operation_id="sign_link",
    summary="A link that works for a while",
    responses=failures(404),
)
def sign_link(platform: APlatform, reader: Reader, file_id: FileIdInPath, wish: LinkWish) -> Link:
    """A signed link on the edge, for whoever holds it: to a rendition, or to an original that the edge serves."""
    record = live_record_of(platform, reader, file_id)
    key, sha256 = _linked(platform, record, wish.rendition)
    expires_at = platform.clock.now() + timedelta(seconds=wish.expires_in_seconds)
    note(platform, reader, "link.sign", record.file_path, key=key, until=timestamp(expires_at))
    return Link(url=platform.edge.signed_url(key, expires_at, sha256), expires_at=timestamp(expires_at))


# -- parts ---------------------------------------------------------------------------------------------------------


def renditions_of(platform: APlatform, record: Record, version_id: str | None) -> tuple[Rendition, ...]:
    """What was made of a version. Raises NotFound for a version of which nothing is known."""
    if version_id is None or version_id == record.version_id:
        return record.renditions
    return platform.catalog.get_entry(record.file_id, version_id).renditions


def rendition_of(platform: APlatform, record: Record, name: str, version_id: str | None) -> Rendition:
    """One rendition by its name, or its key's last part. Raises NotFound, which names those that there are."""
    found = renditions_of(platform, record, version_id)
    for rendition in found:
        if name in {rendition.name, file_name(rendition.key)}:
            return rendition
    there = ", ".join(rendition.name for rendition in found)
    why = f"there is none; there are: {there}" if there else "this version has no renditions"
    raise NotFound(f"looking for the {name[:80]} of {record.file_path}", why)


def _linked(platform: APlatform, record: Record, name: str | None) -> tuple[str, str]:
    """The key of the edge and the hash of what is to be linked to."""
    if name is not None:
        rendition = rendition_of(platform, record, name, None)
        return rendition.key, rendition.sha256
    key = raw_edge_key(record.file_path)
    if key is None:
        raise InvalidRequest(
            f"linking to {record.file_path}", "the edge doesn't serve this original", hint="Share the file instead"
        )
    return key, record.file_hash


def _entry_type(platform: APlatform, record: Record, version_id: str) -> str:
    try:
        return platform.catalog.get_entry(record.file_id, version_id).content_type
    except NotFound:
        return ""


def _shown(platform: APlatform, record: Record, rendition: Rendition) -> dict[str, Any]:
    url = public_url(platform, record, rendition.key, rendition.sha256)
    return {**public_rendition(rendition), "url": url}
