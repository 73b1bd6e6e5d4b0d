"""Resumable uploads, put together: their rows in the data folder's database, their bytes beside the blobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from contentplatform.catalog.port import SearchQuery
from contentplatform.errors import NotFound
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole, TakesStagedFiles, versions_of

if TYPE_CHECKING:
    from contentplatform.app.links import LateLinks
    from contentplatform.app.people import LatePeople
    from contentplatform.catalog.port import Catalog
    from contentplatform.clock import Clock, IdSource
    from contentplatform.config import Settings
    from contentplatform.drivers.sqlite import Database
    from contentplatform.ingest.allowances import Allowances
    from contentplatform.ingest.upload_sessions import UploadRules
    from contentplatform.ingest.uploads import DirectUploads, Uploads
    from contentplatform.storage.parts import TakesParts
    from contentplatform.storage.port import ObjectStore

UPLOADS_FOLDER_NAME: Final = "uploads"
"""Where files are on their way to a far store."""


def open_uploads(
    settings: Settings,
    clock: Clock,
    ids: IdSource,
    database: Database,
    store: ObjectStore,
    catalog: Catalog,
    people: LatePeople,
    links: LateLinks,
) -> Uploads:
    """Uploads, with their rows in the database of the data folder; to a far store they go by way of that folder."""
    from contentplatform.ingest.upload_sessions import LocalUploads  # noqa: PLC0415 - whoever only asks starts without it

    rules, allowances = _rules(settings), _allowances(store, catalog, people, links)
    if isinstance(store, TakesStagedFiles):
        return LocalUploads(database, store, clock, ids, rules, allowances)
    from contentplatform.storage.outgoing_files import OutgoingFiles  # noqa: PLC0415 - as above

    def keys_with(sha256: str) -> list[str]:
        return [record.file_path for record in catalog.search(SearchQuery(file_hash=sha256)).records]

    staging = OutgoingFiles(database, store, settings.data_folder / UPLOADS_FOLDER_NAME, ids, keys_with)
    return LocalUploads(database, store, clock, ids, rules, allowances, staging=staging)


def open_direct_uploads(
    settings: Settings,
    clock: Clock,
    ids: IdSource,
    database: Database,
    store: ObjectStore,
    catalog: Catalog,
    people: LatePeople,
    links: LateLinks,
    *,
    parts: TakesParts,
) -> DirectUploads:
    """Uploads that go to a far store past this machine, with their rows in the same database."""
    from contentplatform.ingest.direct_uploads import FarUploads  # noqa: PLC0415 - as above

    allowances = _allowances(store, catalog, people, links)
    return FarUploads(database, store, parts, clock, ids, _rules(settings), allowances)


def _rules(settings: Settings) -> UploadRules:
    from contentplatform.ingest.upload_sessions import UploadRules  # noqa: PLC0415 - as above

    given = settings.uploads
    return UploadRules(given.max_bytes, given.max_open, given.keep_seconds)


def _allowances(store: ObjectStore, catalog: Catalog, people: LatePeople, links: LateLinks) -> Allowances:
    from contentplatform.ingest.allowances import Allowances  # noqa: PLC0415 - as above

    def is_taken(key: str) -> bool:
        identifier = file_id(key)
        try:
            catalog.get(identifier)
        except NotFound:
            return catalog.redirect(identifier) is not None or bool(versions_of(store, BucketRole.PRIMARY, key))
        return True

    return Allowances(lambda: people().accounts, lambda: links().shares, is_taken)


class LateUploads:
    """Opens uploads when they are first asked for."""

    def __init__(self, opening: Callable[[], Uploads]) -> None:
        self._opening = opening
        self._opened: Uploads | None = None

    def __call__(self) -> Uploads:
        """Uploads of everybody."""
        if self._opened is None:
            self._opened = self._opening()
        return self._opened


class LateDirectUploads:
    """As ``LateUploads``, for those that go straight to the store."""

    def __init__(self, opening: Callable[[], DirectUploads]) -> None:
        self._opening = opening
        self._opened: DirectUploads | None = None

    def __call__(self) -> DirectUploads:
        """Direct uploads of everybody."""
        if self._opened is None:
            self._opened = self._opening()
        return self._opened
