"""What a share shows: asked anew for every request, so what is moved out, deleted or taken away is gone at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from contentplatform import log
from contentplatform.catalog.port import (
    SEARCH_PAGE_SIZE,
    Catalog,
    Collections,
    Record,
    RecordPage,
    Rendition,
    SearchQuery,
)
from contentplatform.errors import NotFound
from contentplatform.media import ProcessingStatus, file_name
from contentplatform.sharing.port import Share, TargetKind

_NOTHING: Final = RecordPage((), None)
_WALK_PAGE_SIZE: Final = 500
_logger: Final = logging.getLogger(__name__)


class Contents:
    """The files of shares, private ones too: whoever shares a file decides that.

    Args:
        catalog: where files are.
        collections: what is in them.
    """

    def __init__(self, catalog: Catalog, collections: Collections) -> None:
        self._catalog = catalog
        self._collections = collections

    def page(self, share: Share, *, cursor: str | None = None, limit: int = SEARCH_PAGE_SIZE) -> RecordPage:
        """A page of what the share shows: the newest first, a collection in its own order.

        Raises:
            InvalidRequest: a cursor that is not one of this share, or a limit outside 1 to 1 000.
        """
        match share.target.kind:
            case TargetKind.FOLDER:
                query = SearchQuery(folder=share.target.name)
                return self._catalog.search(query, cursor=cursor, limit=limit)
            case TargetKind.COLLECTION:
                return self._collected(share.target.name, cursor, limit)
            case TargetKind.FILE:
                found = self._live(share.target.name)
                return _NOTHING if found is None else RecordPage((found,), None)

    def walk(self, share: Share) -> Iterator[Record]:
        """Everything that the share shows, page by page."""
        cursor: str | None = None
        while True:
            page = self.page(share, cursor=cursor, limit=_WALK_PAGE_SIZE)
            yield from page.records
            cursor = page.cursor
            if cursor is None:
                return

    def record(self, share: Share, file_id: str) -> Record:
        """One file, if the share shows it now.

        Raises:
            NotFound: it doesn't, for whatever reason; a stranger can't tell which.
        """
        found = self._live(file_id)
        if found is None or not self._shows(share, found):
            log.event(_logger, logging.WARNING, "not in the share", share=share.id, **{log.FILE_ID: file_id[:80]})
            raise NotFound("looking for a file of this share", "there is no such file")
        return found

    def rendition(self, share: Share, file_id: str, name: str) -> Rendition:
        """One rendition of a file that the share shows, by its name, or by its key's last part as playlists have it.

        Raises:
            NotFound: as ``record``; or the file has no such rendition, or none yet.
        """
        for rendition in renditions(self.record(share, file_id)):
            if name in {rendition.name, file_name(rendition.key)}:
                return rendition
        raise NotFound("looking for a rendition of this share", "there is none of that name")

    def original(self, share: Share, file_id: str) -> Record:
        """A file whose original can be had through the share. Raises NotFound, if it can't."""
        found = self.record(share, file_id)
        if not offers_original(share, found):
            raise NotFound("looking for an original of this share", "there is no such file")
        return found

    def _live(self, file_id: str) -> Record | None:
        """A file that is there, under its present name or a former one."""
        try:
            found = self._catalog.get(file_id)
        except NotFound:
            moved_to = self._catalog.redirect(file_id)
            try:
                found = self._catalog.get(moved_to or file_id)
            except NotFound:
                return None
        return None if found.deleted_at is not None else found

    def _shows(self, share: Share, record: Record) -> bool:
        match share.target.kind:
            case TargetKind.FOLDER:
                return record.file_path.startswith(f"{share.target.name}/")
            case TargetKind.COLLECTION:
                held = self._collections.holding(record.file_id)
                return any(collection.collection_id == share.target.name for collection in held)
            case TargetKind.FILE:
                own = self._live(share.target.name)
                return own is not None and own.file_id == record.file_id

    def _collected(self, collection_id: str, cursor: str | None, limit: int) -> RecordPage:
        try:
            return self._collections.files(collection_id, cursor=cursor, limit=limit)
        except NotFound:
            return _NOTHING  # it was taken away, its files were not


def renditions(record: Record) -> tuple[Rendition, ...]:
    """The renditions that can be shown; none before all are there."""
    return record.renditions if record.status is ProcessingStatus.COMPLETED else ()


def offers_original(share: Share, record: Record) -> bool:
    """Whether an original of the share can be downloaded: never one in which malware was found."""
    return share.allow_originals and not record.is_quarantined
