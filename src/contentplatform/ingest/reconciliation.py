"""Reconciling in bounded time: where nothing can run for long, the next run goes on where this one stopped."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Final

from contentplatform.clock import Clock
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.ingest.service import IngestService, Reconciled
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions

POSITION_KEY: Final = "reconciliation/position.json"
"""Where to go on, in the analytics bucket; written only when it changes, so never while one run is enough."""


class Reconciliation:
    """Compares the store with the catalog, a stretch at a time."""

    def __init__(self, ingest: IngestService, store: ObjectStore, clock: Clock) -> None:
        self._ingest = ingest
        self._store = store
        self._clock = clock

    def run(self, seconds: float) -> Reconciled:
        """Go on for so long, or to the end.

        Not before the last key is finished: leave it time. Killed meanwhile, nothing is lost but the way that was come,
        and that is quicker the second time, as what was mended stays so.

        Raises:
            PlatformError: nothing can be mended just now.
        """
        until = self._clock.monotonic_seconds() + seconds
        begin = self._begin()

        def is_over() -> bool:
            return self._clock.monotonic_seconds() >= until

        try:
            found = self._ingest.reconcile(begin=begin, is_over=is_over)
        except InvalidRequest:
            if begin is None:
                raise
            # The place is none any more: another version of the platform wrote it, or the store gave it up.
            found = self._ingest.reconcile(is_over=is_over)
        if found.stopped_at != begin:
            document = json.dumps({"begin": found.stopped_at}).encode()
            self._store.write(BucketRole.ANALYTICS, POSITION_KEY, BytesIO(document), PutOptions("application/json"))
        return found

    def _begin(self) -> str | None:
        try:
            with self._store.open(BucketRole.ANALYTICS, POSITION_KEY) as reader:
                document = json.loads(reader.read())
        except (NotFound, ValueError):
            return None
        begin = document.get("begin") if isinstance(document, dict) else None
        return begin if isinstance(begin, str) else None
