"""One file's page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from contentplatform.catalog.describing import progress_of
from contentplatform.catalog.port import Record
from contentplatform.errors import NotFound
from contentplatform.media import folder_path
from contentplatform.sharing.port import Target, TargetKind
from contentplatform.web.access import record_of
from contentplatform.web.console import showing, words
from contentplatform.web.console.cards import Card, cards
from contentplatform.web.console.library import LIBRARY, collections_of
from contentplatform.web.console.links import shares_of
from contentplatform.web.console.visit import Visit
from contentplatform.workflow.port import Execution

FILES: Final = "/files"
_ALIKE_LIMIT: Final = 6
_HISTORY_LIMIT: Final = 20


@dataclass(frozen=True, slots=True)
class Version:
    """One version, in a list."""

    id: str
    at: datetime
    size: str
    state: str
    is_current: bool
    is_removal: bool
    storage: str
    url: str


def file_url(record: Record) -> str:
    """Where a file's page is."""
    return f"{FILES}/{record.file_id}"


def show_file(visit: Visit) -> Response:
    """A file's page; a moved file's former address leads to it."""
    platform = visit.platform
    record = record_of(platform, visit.principal, visit.path["file_id"])
    if record.file_id != visit.path["file_id"]:
        return RedirectResponse(file_url(record), 303)
    reveals = visit.is_keeper and visit.asked("private") == "1"
    return visit.page(
        "file.html",
        record=record,
        name=words.name_of(record),
        folder=folder_path(record.file_path),
        folder_url=f"{LIBRARY}?folder={quote(folder_path(record.file_path), safe='')}",
        url=file_url(record),
        stage=showing.stage_of(platform, record),
        renditions=showing.renditions(platform, record),
        facts=showing.facts(record),
        colour=showing.colour(record),
        has_private=visit.is_keeper and showing.has_private(record),
        private_facts=showing.private_facts(record) if reveals else [],
        progress=progress_of(record),
        versions=_versions(visit, record),
        executions=_executions(visit, record),
        alike=_alike(visit, record),
        original_url=f"/api/v1/files/{record.file_id}/original",
        is_private=_is_private(visit, record),
        shares=shares_of(visit, Target(TargetKind.FILE, record.file_id)) if visit.may_write else [],
        held_by=collections_of(visit).holding(record.file_id),
        collections=collections_of(visit).list(limit=100).collections if visit.may_write else (),
    )


def _versions(visit: Visit, record: Record) -> list[Version]:
    states = {entry.version_id: entry for entry in visit.platform.catalog.entries(record.file_id)}
    try:
        found = visit.platform.library.versions(record.file_path)
    except NotFound:
        return []
    listed = []
    for version in found:
        entry = states.get(version.version_id)
        listed.append(
            Version(
                id=version.version_id,
                at=version.created_at,
                size="" if version.is_delete_marker else words.size(version.size_bytes),
                state=words.STATUS_WORDS[entry.status][0] if entry else "",
                is_current=version.is_latest and not version.is_delete_marker,
                is_removal=version.is_delete_marker,
                storage="" if version.storage_class == "STANDARD" else version.storage_class.value,
                url=f"/api/v1/files/{record.file_id}/original?version={quote(version.version_id, safe='')}",
            )
        )
    return listed


def _executions(visit: Visit, record: Record) -> list[Execution]:
    """What the workflow did with it, under this name and those it had."""
    found: list[Execution] = []
    for name in (record.file_id, *reversed(record.moved_from)):
        found += visit.platform.engine.list(file_id=name, limit=_HISTORY_LIMIT).executions
    return found[:_HISTORY_LIMIT]


def _alike(visit: Visit, record: Record) -> list[Card]:
    if record.deleted_at is not None:
        return []
    found = visit.platform.catalog.similar(record.file_id, limit=_ALIKE_LIMIT * 2)
    seen = [each.record for each in found if visit.principal.sees(each.record.file_path)]
    return cards(visit.platform, seen[:_ALIKE_LIMIT])


def _is_private(visit: Visit, record: Record) -> bool:
    prefix = visit.platform.settings.ingest.private_prefix
    return bool(prefix) and record.file_path.startswith(prefix)
