"""``/facets``, ``/folders``, ``/files/{file_id}/similar``: what there is to choose from, and what looks alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query

from contentplatform.catalog.port import SIMILAR_DISTANCE, SIMILAR_DISTANCE_LIMIT, Figure
from contentplatform.web.access import record_of, shown, within
from contentplatform.web.api.files import search_query
from contentplatform.web.api.route import failures, new_router
from contentplatform.web.api.serving import APlatform, FileIdInPath, Reader
from contentplatform.web.api.shapes import Facets, FileFilter, FolderPage, FolderQuery, SimilarList

router = new_router("search")


@router.get("/facets", operation_id="get_facets", summary="Counts of what a search finds", responses=failures(404))
def get_facets(platform: APlatform, reader: Reader, asked: Annotated[FileFilter, Query()]) -> Facets:
    """How many files a search finds, by kind, status, tag and folder: exact up to 1 000 matches, then at least."""
    found = platform.catalog.facets(within(reader, search_query(asked)))
    return Facets.model_validate(
        {
            "total": _figure(found.total),
            "kinds": _figures(found.kinds),
            "statuses": _figures(found.statuses),
            "tags": _figures(found.tags),
            "folders": _figures(found.folders),
        }
    )


@router.get("/folders", operation_id="list_folders", summary="The folders in a folder", responses=failures(404))
def list_folders(platform: APlatform, reader: Reader, asked: Annotated[FolderQuery, Query()]) -> FolderPage:
    """A page of the folders right below another, by name, each with how many files are in it and below."""
    parent = reader.folder_within(asked.parent).rstrip("/")
    page = platform.catalog.folders(parent, cursor=asked.cursor, limit=asked.limit)
    items = [{"path": folder.path, "files": folder.files} for folder in page.folders]
    return FolderPage.model_validate({"items": items, "next": page.cursor})


@router.get(
    "/files/{file_id:fileid}/similar", operation_id="find_similar", summary="What looks alike", responses=failures(404)
)
def find_similar(
    platform: APlatform,
    reader: Reader,
    file_id: FileIdInPath,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    distance: Annotated[int, Query(ge=0, le=SIMILAR_DISTANCE_LIMIT, description="Of 64 bits.")] = SIMILAR_DISTANCE,
) -> SimilarList:
    """Files whose pictures look like this one's, the nearest first."""
    record = record_of(platform, reader, file_id)
    found = platform.catalog.similar(record.file_id, limit=limit, max_distance=distance)
    items = [
        {"file": shown(platform, each.record), "distance": each.distance}
        for each in found
        if reader.sees(each.record.file_path)
    ]
    return SimilarList.model_validate({"items": items})


def _figures(found: Mapping[Any, Figure]) -> list[dict[str, Any]]:
    return [{"value": str(name), **_figure(figure)} for name, figure in found.items()]


def _figure(figure: Figure) -> dict[str, Any]:
    return {"count": figure.count, "capped": figure.capped}
