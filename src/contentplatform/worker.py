"""The worker: takes files in, drives executions, and keeps the house; as many as wanted share one data folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from contentplatform import log
from contentplatform.app import LocalHome
from contentplatform.errors import PlatformError

_POLL_SECONDS: Final = 0.05
"""How long another process's upload may wait to be noticed; looking costs one read of shared memory."""
_DROP_SECONDS: Final = 2.0
"""How often the drop folder is looked into."""
_SCHEDULE_SECONDS: Final = 20.0
"""How often somebody looks whether it is time for what is done by the clock."""
_PROGRESS_SECONDS: Final = 1.0
"""How often a record shows anew how far a video is."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Duty:
    """Something to be done again and again."""

    name: str
    interval_seconds: float
    work: Callable[[], object]
    due_at: float = 0.0
    """By the clock's monotonic seconds; the first time is at once."""


class Worker:
    """Runs in threads of its own between ``start`` and ``stop``; also a context manager."""

    def __init__(self, home: LocalHome) -> None:
        self._home = home
        self._executor = home.executor()
        self._lane = home.transcode_lane()
        self._postman = home.postman()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._seen_data_version = -1
        settings = home.platform.settings
        drop, is_over = home.drop_folder(), self._stopping.is_set
        every_hour = settings.ingest.reconcile_interval_seconds
        self._duties = (
            *((Duty("drop", _DROP_SECONDS, drop.look),) if drop is not None else ()),
            Duty("index", settings.catalog.index_interval_seconds, lambda: home.index_for_search(is_over)),
            Duty("manifests", settings.storage.manifest_interval_seconds, home.store.flush_journal),
            Duty("reconcile", every_hour, lambda: home.platform.ingest.reconcile(is_over=is_over)),
            Duty("snapshot", every_hour, home.write_snapshot_if_due),
            Duty("scratch", settings.storage.gc_interval_seconds, home.sweep_scratch),
            Duty("uploads", every_hour, home.expire_uploads),
            Duty("garbage", settings.storage.gc_interval_seconds, home.store.collect_garbage),
            Duty("schedule", _SCHEDULE_SECONDS, home.schedule().run_due),
            Duty("progress", _PROGRESS_SECONDS, home.note_progress),
        )

    def start(self) -> None:
        """Begin to work.

        Raises:
            ConfigurationInvalid: something is installed that must not read strangers' files.
        """
        self._home.check_versions()
        self._executor.start()
        self._lane.start()
        self._postman.start()
        self._thread.start()

    def stop(self) -> None:
        """Finish or hand back what is at work, and end. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._postman.stop()
        self._lane.stop()
        self._executor.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        clock = self._home.platform.clock
        while not self._stopping.is_set():
            self._guarded("events", self._take_in_if_new)
            for duty in self._duties:
                if clock.monotonic_seconds() >= duty.due_at and not self._stopping.is_set():
                    self._guarded(duty.name, duty.work)
                    duty.due_at = clock.monotonic_seconds() + duty.interval_seconds
            clock.wait(self._stopping, _POLL_SECONDS)

    def _take_in_if_new(self) -> None:
        """Handle events; looked for whenever anybody has committed, and now and then for those that are due again."""
        version = self._home.database.data_version()
        if version != self._seen_data_version or self._home.platform.events.waiting():
            self._seen_data_version = version
            self._home.take_in_all(self._stopping.is_set)

    def _guarded(self, name: str, work: Callable[[], object]) -> None:
        """The outer edge of a duty: whatever happens in one, the others go on."""
        try:
            work()
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "duty failed", duty=name, **{log.REASON: str(error)})
        except Exception:
            _logger.exception("unexpected error in a duty")
