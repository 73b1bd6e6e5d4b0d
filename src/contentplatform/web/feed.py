"""What happens in the library, for whoever listens: server-sent events, each with the number of its change.

Nobody's events wait in memory: a listener has a place in the catalog's own list of changes, and reads on from there as
quickly as it can. One that is too far behind, or comes back after too long, is told to look at everything anew.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from anyio import to_thread

from contentplatform.catalog.port import Catalog, Change, ChangePage, HasChanges, SearchQuery
from contentplatform.clock import timestamp
from contentplatform.errors import RateLimited

RELOAD: Final = "reload"
"""The event that says: some of what happened is not told, look at everything anew."""
BEHIND_LIMIT: Final = 5_000
"""Whoever is further behind is told to look at everything anew."""
STREAMS_EACH: Final = 50
"""So many streams may one user have open: each is a connection, and those are for everybody."""
_PAGE: Final = 500
_GLANCED: Final = 50
_RETRY_SECONDS: Final = 10
_EVERYTHING: Final = SearchQuery()

Sees = Callable[[str], bool]
"""Whether a key exists for a listener."""


class Feed:
    """The changes of one home, looked for at most once in an interval, however many listen.

    Args:
        catalog: where changes are.
        stopping: set when the process is asked to stop; every listener's stream ends then.
        poll_seconds: how late a change may be heard of.
        heartbeat_seconds: how long a stream may be silent, as proxies close what says nothing; and how long it goes on
            without a look at whether its listener may listen still.
        longest_seconds: how long a stream goes on: who comes back shows again who they are.
    """

    def __init__(
        self,
        catalog: Catalog,
        stopping: threading.Event,
        *,
        poll_seconds: float = 0.25,
        heartbeat_seconds: float = 15.0,
        longest_seconds: float = 900.0,
    ) -> None:
        self._source: HasChanges = catalog if isinstance(catalog, HasChanges) else Glances(catalog)
        self._stopping = stopping
        self._poll_seconds = poll_seconds if isinstance(catalog, HasChanges) else max(poll_seconds, 5.0)
        self._heartbeat_seconds = heartbeat_seconds
        self._longest_seconds = longest_seconds
        self._lock = anyio.Lock()
        self._looked_at = float("-inf")
        self._known = 0
        self._listening: Counter[str] = Counter()

    @contextmanager
    def listening(self, who: str) -> Iterator[None]:
        """Count a stream as a user's, for as long as it is open; only on the event loop.

        Raises:
            RateLimited: the user has as many as there may be.
        """
        if self._listening[who] >= STREAMS_EACH:
            raise RateLimited(
                "listening to what happens",
                f"{STREAMS_EACH} streams of yours are open already",
                retry_after_seconds=_RETRY_SECONDS,
                hint="Close some of them",
            )
        self._listening[who] += 1
        try:
            yield
        finally:
            self._listening[who] -= 1
            if not self._listening[who]:
                del self._listening[who]

    async def follow(self, sees: Sees, after: int | None, again: Callable[[], Sees | None]) -> AsyncIterator[bytes]:
        """The stream of one listener, from the change ``after`` on; None: from now on.

        Args:
            sees: what exists for them, to begin with.
            after: the last change that they know.
            again: what exists for them by now; None: they may not listen any more. Asked in a thread.
        """
        newest = await self._newest()
        place = newest if after is None else after
        yield b"retry: 3000\n: listening\n\n"
        if place > newest:  # a number of another home's, or of a list that began anew
            place = newest
            yield _reload(newest)
        began = spoke = looked = anyio.current_time()
        while not self._stopping.is_set() and anyio.current_time() - began < self._longest_seconds:
            if anyio.current_time() - looked >= self._heartbeat_seconds:
                looked = anyio.current_time()
                still = await to_thread.run_sync(again)
                if still is None:
                    return
                sees = still
            place, told = await self._next(place, sees)
            for event in told:
                yield event
            if told:
                spoke = anyio.current_time()
            elif anyio.current_time() - spoke >= self._heartbeat_seconds:
                spoke = anyio.current_time()
                yield b": still here\n\n"
            await anyio.sleep(self._poll_seconds)

    async def _next(self, place: int, sees: Sees) -> tuple[int, list[bytes]]:
        """What happened behind ``place``, and the place behind that."""
        newest = await self._newest()
        if newest <= place:
            return place, []
        if newest - place > BEHIND_LIMIT:
            return newest, [_reload(newest)]
        page: ChangePage = await to_thread.run_sync(self._source.changes, place, _PAGE)
        if page.gap:
            return newest, [_reload(newest)]
        if not page.changes:
            return place, []
        return page.changes[-1].sequence, [_event(change) for change in page.changes if sees(change.file_path)]

    async def _newest(self) -> int:
        async with self._lock:
            if anyio.current_time() - self._looked_at >= self._poll_seconds:
                self._known = await to_thread.run_sync(self._source.newest_change)
                self._looked_at = anyio.current_time()
            return self._known


class Glances:
    """Stands in for changes in a home that doesn't tell them: it sees only that the newest files are others by now."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._number = 0
        self._seen = ""

    def newest_change(self) -> int:
        """A number that grows when the newest files are others, or changed."""
        page = self._catalog.search(_EVERYTHING, limit=_GLANCED)
        told = json.dumps([(record.file_id, record.revision) for record in page.records]).encode()
        seen = hashlib.sha256(told).hexdigest()
        self._number += seen != self._seen
        self._seen = seen
        return self._number

    def changes(self, after: int, limit: int = _PAGE) -> ChangePage:  # noqa: ARG002 - as the port has it
        """Nothing but that there is a gap."""
        return ChangePage((), gap=self._number > after)


def document(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    return {
        "sequence": change.sequence,
        "at": timestamp(change.at),
        "file_id": change.file_id,
        "file_path": change.file_path,
        "what": change.what.value,
        "moved_to": change.moved_to,
    }


def _event(change: Change) -> bytes:
    data = json.dumps(document(change), separators=(",", ":"))
    return f"id: {change.sequence}\nevent: {change.what.value}\ndata: {data}\n\n".encode()


def _reload(newest: int) -> bytes:
    return f"id: {newest}\nevent: {RELOAD}\ndata: {{}}\n\n".encode()
