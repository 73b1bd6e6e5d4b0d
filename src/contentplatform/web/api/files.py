"""``/files``: find, read and change files."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from contentplatform.catalog.port import SearchQuery
from contentplatform.media import ProcessingStatus
from contentplatform.web.access import shown, within
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import APlatform, Reader
from contentplatform.web.api.shapes import FilePage, FileQuery

router = new_router("files")


@router.get("/files", operation_id="list_files", summary="List and search files", responses=failures(404))
def list_files(platform: APlatform, reader: Reader, asked: Annotated[FileQuery, Query()]) -> FilePage:
    """A page of files that match, the newest upload first. A search for words may lag up to a second behind."""
    query = within(reader, search_query(asked))
    page = platform.catalog.search(query, cursor=asked.cursor, limit=asked.limit)
    items = [shown(platform, record) for record in page.records]
    return FilePage.model_validate({"items": items, "next": page.cursor})


def search_query(asked: FileQuery) -> SearchQuery:
    """What was asked for, as the catalog takes it."""
    return SearchQuery(
        text=asked.q,
        kind=asked.kind,
        status=ProcessingStatus(asked.status) if asked.status else None,
        tag=asked.tag,
        folder=asked.folder,
        uploaded_from=asked.uploaded_from,
        uploaded_before=asked.uploaded_before,
        size_from_bytes=asked.size_from,
        size_to_bytes=asked.size_to,
        file_hash=asked.file_hash,
        deleted=asked.deleted,
    )
