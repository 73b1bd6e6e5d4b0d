"""How much this home takes: many files at once, put in and followed to their end, then removed again.

Each file is a photo of its own (no two share their content, so nothing is reused), padded to the wanted size. A file
that was lost, or that ended otherwise than completed, makes the run fail: throughput without correctness is none.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from contentplatform.app import Home
from contentplatform.catalog.port import Record
from contentplatform.clock import Clock, IdSource
from contentplatform.errors import NotFound, PlatformError
from contentplatform.ingest.service import raw_key
from contentplatform.media import ProcessingStatus, file_id
from contentplatform.storage.port import BucketRole, erase, walk_versions
from contentplatform.together import repeated
from contentplatform.workflow.publication import manifest_key

FOLDER: Final = "_load-test"
_ENDED: Final = frozenset({ProcessingStatus.COMPLETED, ProcessingStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Load:
    """What to put in."""

    files: int = 50
    file_size_bytes: int = 1 << 20
    at_once: int = 10
    longest_seconds: float = 600.0
    """How long to wait for all of them after the last was stored."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Percentiles of a latency, in seconds, by the nearest-rank method."""

    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(slots=True)
class LoadReport:
    """What came of it."""

    run: str
    files: int
    stored: int = 0
    completed: int = 0
    troubled: list[str] = field(default_factory=list)
    """Files that were not stored, were lost, or did not end completed: which, and why."""
    store_seconds: float = 0.0
    """From the first upload's start to the last one's acknowledgement."""
    total_seconds: float = 0.0
    """From the first upload's start until the last file had ended."""
    bytes_stored: int = 0
    acknowledged: Latencies | None = None
    """From a file's first byte to the acknowledgement that it is durable."""
    completed_after: Latencies | None = None
    """From a file's first byte until its renditions are there, as seen by who asks again and again."""
    left_over: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether every file went through and was removed again."""
        return self.completed == self.files and not self.troubled and not self.left_over

    @property
    def files_per_second(self) -> float:
        """Files through the whole platform."""
        return self.completed / self.total_seconds if self.total_seconds else 0.0

    @property
    def stored_bytes_per_second(self) -> float:
        """Bytes acknowledged."""
        return self.bytes_stored / self.store_seconds if self.store_seconds else 0.0


class LoadTest:
    """One run. ``pause`` lets others get on for a moment, and sees to it that somebody works."""

    def __init__(self, home: Home, photo: bytes, load: Load, ids: IdSource, pause: Callable[[], None]) -> None:
        self._home = home
        self._platform = home.platform
        self._clock: Clock = home.platform.clock
        self._photo = photo
        self._load = load
        self._pause = pause
        self._prefix = f"{FOLDER}/{ids.new_id()}/"
        self._started_at = home.platform.clock.now()
        self._began: dict[str, float] = {}
        self._acknowledged: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def run(self) -> LoadReport:
        """Store, follow, remove."""
        report = LoadReport(self._prefix.split("/")[1], self._load.files)
        begin = self._clock.monotonic_seconds()
        try:
            self._store(report)
            report.store_seconds = self._clock.monotonic_seconds() - begin
            self._follow(report)
            report.total_seconds = max(self._ended.values(), default=begin) - begin
        finally:
            self._clean_up(report)
        report.acknowledged = latencies([self._acknowledged[key] - self._began[key] for key in self._acknowledged])
        report.completed_after = latencies([self._ended[key] - self._began[key] for key in self._ended])
        return report

    def _keys(self) -> list[str]:
        return [f"{self._prefix}{number:05d}.jpg" for number in range(self._load.files)]

    def _store(self, report: LoadReport) -> None:
        with ThreadPoolExecutor(self._load.at_once, thread_name_prefix="load") as pool:
            for trouble in pool.map(self._store_one, self._keys()):
                if trouble:
                    report.troubled.append(trouble)
        report.stored = len(self._acknowledged)
        report.bytes_stored = report.stored * self._load.file_size_bytes
        self._home.take_in_all()

    def _store_one(self, key: str) -> str:
        """Store one file; what went wrong, or nothing."""
        body = distinct_photo(self._photo, key, self._load.file_size_bytes)
        with self._lock:
            self._began[key] = self._clock.monotonic_seconds()
        try:
            self._platform.library.add(key, BytesIO(body))
        except PlatformError as error:
            return f"{key}: not stored: {error.why}"
        with self._lock:
            self._acknowledged[key] = self._clock.monotonic_seconds()
        return ""

    def _follow(self, report: LoadReport) -> None:
        waiting = dict.fromkeys(sorted(self._acknowledged))
        deadline = self._clock.monotonic_seconds() + self._load.longest_seconds
        while waiting and self._clock.monotonic_seconds() < deadline:
            for key in list(waiting):
                record = self._record(key)
                if record is None or record.status not in _ENDED:
                    continue
                del waiting[key]
                self._ended[key] = self._clock.monotonic_seconds()
                if record.status is ProcessingStatus.COMPLETED:
                    report.completed += 1
                else:
                    report.troubled.append(f"{key}: failed: {record.error}")
            if waiting:
                self._pause()
        report.troubled += [f"{key}: not ended within {self._load.longest_seconds:.0f} s" for key in waiting]

    def _record(self, key: str) -> Record | None:
        try:
            return self._platform.library.record(key)
        except NotFound:
            return None

    # -- cleaning up -----------------------------------------------------------------------------------------

    def _clean_up(self, report: LoadReport) -> None:
        with ThreadPoolExecutor(self._load.at_once, thread_name_prefix="clean") as pool:
            for trouble in pool.map(self._forget, self._keys()):
                if trouble:
                    report.left_over.append(trouble)
        prefixes = {self._prefix, *(raw_key(self._prefix, moment) for moment in (self._started_at, self._clock.now()))}
        for role in BucketRole:
            for prefix in sorted(prefixes):
                for version in list(walk_versions(self._platform.store, role, prefix)):
                    try:
                        self._platform.store.delete_version(role, version.key, version.version_id)
                    except PlatformError as error:
                        report.left_over.append(f"{role}/{version.key} of {version.created_at:%Y-%m-%d}: {error.why}")
        self._home.finish()

    def _forget(self, key: str) -> str:
        """Remove every version of a file and all that was made of it; what went wrong, or nothing."""
        catalog, store = self._platform.catalog, self._platform.store
        try:
            erase(store, BucketRole.PRIMARY, key)
            self._platform.ingest.handle(key)

            def remove() -> None:
                catalog.remove(file_id(key), catalog.get(file_id(key)).revision)

            repeated(remove, f"removing the record of {key}")
            erase(store, BucketRole.ANALYTICS, manifest_key(file_id(key)))
        except NotFound:
            return ""
        except PlatformError as error:
            return f"{key}: {error.public}"
        return ""


def distinct_photo(photo: bytes, name: str, size_bytes: int) -> bytes:
    """A JPEG that shows ``photo``, is ``size_bytes`` long (or as long as it has to be) and like no other.

    Decoders stop at the end marker: what stands behind it only makes the content differ.
    """
    body = photo + b"\n" + name.encode()
    return body + b"\0" * max(0, size_bytes - len(body))


def latencies(seconds: Sequence[float]) -> Latencies | None:
    """Percentiles by nearest rank; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def rank(percent: float) -> float:
        return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]

    return Latencies(rank(50), rank(95), rank(99), ordered[-1])
