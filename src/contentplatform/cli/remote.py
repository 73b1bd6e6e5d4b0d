"""A home that is reached over HTTP: what the commands about files and executions ask of one, asked of a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Final, NoReturn

from contentplatform.app import Home, Platform
from contentplatform.app.home import never
from contentplatform.catalog.codec import to_public
from contentplatform.catalog.port import Facets, LedgerEntry, Record, RecordPage, SearchQuery
from contentplatform.client import Client, Download
from contentplatform.clock import Clock, SystemClock
from contentplatform.config import Settings
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.ingest.library import Edit
from contentplatform.media import ProcessingStatus
from contentplatform.storage.port import ObjectVersion
from contentplatform.workflow.port import (
    EXECUTION_PAGE_SIZE,
    Execution,
    ExecutionPage,
    ExecutionStatus,
    HistoryEvent,
)

_LOOK_SECONDS: Final = 1.0
"""How old an answer about many files may be while a command waits for them."""
_LOOKED_AT: Final = 1_000
_WALK_PAGE_SIZE: Final = 500


class Absent:
    """What only the machine with the data folder has."""

    def _refuse(self) -> NoReturn:
        raise InvalidRequest(
            "starting this command", "a server doesn't do it over HTTP", hint="Run it where the data folder is"
        )

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()

    def __call__(self, *_given: object, **_named: object) -> NoReturn:
        """As a function it is absent, too."""
        self._refuse()


class RemoteCatalog:
    """Records, as a server shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, identifier: str) -> Record:
        return self._client.record_by_id(identifier)

    def search(self, query: SearchQuery, *, cursor: str | None = None, limit: int = 100) -> RecordPage:
        return self._client.search(query, cursor=cursor, limit=limit)

    def facets(self, query: SearchQuery) -> Facets:
        return self._client.facets(query)


class RemoteEngine:
    """Executions, as a server shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> Execution:
        if not name:
            raise NotFound("looking for an execution", "none has begun yet")
        return self._client.execution(name)

    def history(self, name: str) -> tuple[HistoryEvent, ...]:
        return self._client.history(name)

    def list(
        self,
        *,
        status: ExecutionStatus | None = None,
        file_id: str | None = None,
        cursor: str | None = None,
        limit: int = EXECUTION_PAGE_SIZE,
    ) -> ExecutionPage:
        return self._client.executions(status=status, file_id=file_id, cursor=cursor, limit=limit)


class RemoteLibrary:
    """What people do with files, done by a server. Each method as ``Library`` has it."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._newest: dict[str, Record] = {}
        self._at_work: dict[tuple[str, str], str] = {}

    # -- bytes -----------------------------------------------------------------------------------------------

    def add(
        self, key: str, body: BinaryIO, *, claimed_type: str | None = None, expected_sha256: str | None = None
    ) -> str:
        return self._client.upload(key, body, claimed_type=claimed_type, sha256=expected_sha256).version_id

    def current(self, key: str) -> ObjectVersion:
        newest = self._client.versions(key)[0].version
        if newest.is_delete_marker:
            raise NotFound(f"looking for {key}", "it was removed")
        return newest

    def perhaps_there(self, keys: Collection[str]) -> Collection[str]:
        return keys

    def open(
        self, key: str, *, version_id: str | None = None, rendition: str | None = None
    ) -> AbstractContextManager[Download]:
        return self._client.open(key, version_id=version_id, rendition=rendition)

    def versions(self, key: str) -> tuple[ObjectVersion, ...]:
        return tuple(state.version for state in self._client.versions(key))

    # -- records ---------------------------------------------------------------------------------------------

    def record(self, key: str) -> Record:
        return self._client.record(key)

    def edit(self, key: str, edit: Edit) -> Record:
        return self._client.edit(key, edit)

    def entry(self, key: str, version_id: str) -> LedgerEntry:
        """Where a version stands; asked again and again of many files, so their newest are looked at together."""
        record = self._seen(key)
        if record is None or record.version_id != version_id:
            record = self._client.record(key)
        if record.version_id == version_id:
            return self._entry(record, record.status)
        for state in self._client.versions(key):
            if state.version.version_id == version_id:
                return self._entry(record, state.status or ProcessingStatus.SUPERSEDED)
        raise NotFound(f"looking for a version of {key}", f"there is no version {version_id}")

    def is_gone(self, key: str, version_id: str) -> bool:
        try:
            return all(state.version.version_id != version_id for state in self._client.versions(key))
        except NotFound:
            return False  # it was stored just now, and waits to be taken in

    def _seen(self, key: str) -> Record | None:
        with self._lock:
            if self._clock.monotonic_seconds() - self._looked_at >= _LOOK_SECONDS:
                newest = self._client.search(SearchQuery(), limit=_LOOKED_AT).records
                self._newest = {record.file_path: record for record in newest}
                self._at_work = {
                    (each.file_id, each.version_id): each.name
                    for status in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)
                    for each in self._client.executions(status=status).executions
                }
                self._looked_at = self._clock.monotonic_seconds()
            return self._newest.get(key)

    def _entry(self, record: Record, status: ProcessingStatus) -> LedgerEntry:
        return LedgerEntry(
            file_id=record.file_id,
            version_id=record.version_id,
            size_bytes=record.size_bytes,
            content_type=record.content_type,
            claimed_type=record.claimed_type,
            file_hash=record.file_hash,
            hash_verified=record.hash_verified,
            kind=record.kind,
            status=status,
            created_at=record.upload_time,
            execution=self._at_work.get((record.file_id, record.version_id), ""),
            error=record.error,
            error_code=record.error_code,
            note=record.note,
        )

    # -- acts ------------------------------------------------------------------------------------------------

    def remove(self, key: str) -> None:
        self._client.remove(key)

    def remove_version(self, key: str, version_id: str) -> None:
        self._client.remove_version(key, version_id)

    def undelete(self, key: str) -> Record:
        return self._client.undelete(key)

    def move(self, source: str, target: str) -> Record:
        return self._client.move(source, target)

    def reprocess(self, key: str) -> str:
        return self._client.reprocess(key)

    def retry(self, name: str) -> str:
        return self._client.retry(name)

    def cancel(self, name: str, reason: str) -> Execution:
        return self._client.cancel(name, reason)

    def failed(self) -> Iterator[str]:
        cursor: str | None = None
        while True:
            query = SearchQuery(status=ProcessingStatus.FAILED)
            page = self._client.search(query, cursor=cursor, limit=_WALK_PAGE_SIZE)
            yield from (record.file_path for record in page.records)
            cursor = page.cursor
            if cursor is None:
                return

    def outdated(self) -> Iterator[str]:
        raise InvalidRequest(
            "looking for outdated files", "a server doesn't tell which they are", hint="Run it where the data folder is"
        )


class RemoteIngest:
    """Of what takes files in nothing is known here but that the server does it."""

    def is_live(self, _execution: str) -> bool:
        """What has ended by its record has ended."""
        return False


@dataclass(frozen=True, slots=True)
class RemotePlatform(Platform):
    """A platform of which only that is here which a server offers."""

    bucket: str = ""
    """The name of the server's primary bucket."""

    def describe(self, record: Record) -> dict[str, Any]:
        """A record as the flat document that people and programs get."""
        return to_public(record, self.bucket)


class RemoteHome(Home):
    """A server's home. Whatever a home owes after a change, the server does by itself."""

    def __init__(self, client: Client, settings: Settings, clock: Clock | None = None) -> None:
        self._client = client
        self.platform = _platform(client, settings, clock or SystemClock())

    def sweep_scratch(self) -> int:
        """Nothing was left here."""
        return 0

    def gaps(self) -> tuple[str, ...]:
        """Nothing is decoded here."""
        return ()

    def take_in_all(self, is_over: Callable[[], bool] = never) -> None:
        """The server does."""

    def index_for_search(self, is_over: Callable[[], bool] = never) -> None:
        """The server does."""

    def finish(self) -> None:
        """Nothing is owed here."""

    def workers(self) -> int:
        return int(self._client.server()["workers"])

    def check_usable(self) -> None:
        """It is as usable as the server, which says so itself."""

    def unfinished(self, executions: Collection[str]) -> Collection[str]:
        return [name for name in executions if not self._client.execution(name).status.ended]

    def place(self) -> str:
        return self._client.base_url

    def options(self) -> str:
        return f"--server {self._client.base_url}"

    def close(self) -> None:
        self._client.close()


def _platform(client: Client, settings: Settings, clock: Clock) -> RemotePlatform:
    absent: dict[str, Any] = {field.name: Absent() for field in fields(Platform)}
    here = {
        "settings": settings,
        "clock": clock,
        "catalog": RemoteCatalog(client),
        "engine": RemoteEngine(client),
        "library": RemoteLibrary(client, clock),
        "ingest": RemoteIngest(),
        "bucket": str(client.server()["bucket"]),
    }
    return RemotePlatform(**(absent | here))
