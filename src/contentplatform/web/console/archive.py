"""Many files as one archive."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from contentplatform.errors import InvalidRequest
from contentplatform.web.access import live_record_of
from contentplatform.web.console.visit import Visit
from contentplatform.web.zips import ZipResponse, archive_name, originals

_LIMIT: Final = 1_000


def download(visit: Visit) -> Response:
    """The originals of what was picked, as a ZIP archive that is written while it is sent."""
    picked = visit.given_all("file")[:_LIMIT]
    if not picked:
        raise InvalidRequest("downloading files", "no file is picked")
    records = [live_record_of(visit.platform, visit.principal, name) for name in picked]
    entries = originals(visit.platform.store, records)
    return ZipResponse(archive_name("files"), entries)
