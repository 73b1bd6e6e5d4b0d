"""Deleted files, and bringing them back."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from contentplatform.catalog.port import SearchQuery
from contentplatform.errors import InvalidRequest, PlatformError
from contentplatform.web.access import record_of, within
from contentplatform.web.console import words
from contentplatform.web.console.visit import Notice, Visit

TRASH: Final = "/trash"
_PAGE_SIZE: Final = 100
_BULK_LIMIT: Final = 1_000


def show_trash(visit: Visit) -> Response:
    """Deleted files."""
    query = within(visit.principal, SearchQuery(text=visit.asked("q"), deleted=True))
    page = visit.platform.catalog.search(query, cursor=visit.asked("cursor") or None, limit=_PAGE_SIZE)
    next_url = f"{TRASH}?{urlencode({'q': visit.asked('q'), 'cursor': page.cursor})}" if page.cursor else ""
    return visit.page("trash.html", records=page.records, next_url=next_url, q=visit.asked("q"))


def undelete(visit: Visit) -> Response:
    """Bring files back, each with its record, tags and renditions."""
    picked = visit.given_all("file")[:_BULK_LIMIT]
    if not picked:
        raise InvalidRequest("bringing files back", "no file is picked")
    back: list[str] = []
    failed: list[str] = []
    for name in picked:
        try:
            record = record_of(visit.platform, visit.principal, name)
            visit.platform.library.undelete(record.file_path)
            visit.note("file.undelete", record.file_path)
            back.append(record.file_id)
        except PlatformError as error:
            failed.append(error.public)
    visit.catch_up()
    told = f"{words.count(len(back), 'file')} brought back." + "".join(f" {why}." for why in failed[:5])
    to = f"/files/{back[0]}" if len(picked) == 1 and back else "/library"
    return visit.back(to, Notice(told, "bad" if failed else ""))
