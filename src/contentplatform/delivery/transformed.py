"""Makes pictures when somebody asks for one, keeps them, and asks for each of them once.

A picture is looked for by its original's record, so a file that was deleted, or whose bytes were replaced, never shows
what was made of it before. What is not kept yet is ordered: requests for the same picture wait for the same job, in
this process by a future and across processes by a lock file; so many jobs run at once, so many wait, and each client
has so many seconds of a processor. A source that can't be read is not tried again for a while, whatever is asked of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from contentplatform.catalog.port import Catalog, LedgerEntry, Record, Rendition
from contentplatform.clock import Clock
from contentplatform.delivery.image_budget import CpuBudget
from contentplatform.delivery.image_cache import ImageCache, KeptPicture, Place
from contentplatform.delivery.images import ImageOptions
from contentplatform.drivers.files import translated_os_errors
from contentplatform.drivers.scratch import scratch_folder
from contentplatform.errors import Archived, Cancelled, NotFound, ProcessingFailed, Unavailable
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from contentplatform.processing.port import MediaProcessor, Transformation
from contentplatform.processing.transformations import RECIPE
from contentplatform.storage.port import BucketRole, HasLocalFiles, ObjectStore

_DOING: Final = "making a picture"
_READ_FROM_ORIGINAL: Final = frozenset(
    {"image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff", "image/avif"}
)
"""Types that are decoded quickly. Of others (HEIC, a camera's raw file) the full-size rendition is taken: decoding one
takes seconds. An original is better than its rendition, which was encoded once already, and of a JPEG it is quicker,
too, as the decoder shrinks it."""
_SHOWN_BY: Final = {
    MediaKind.IMAGE: ("webp",),
    MediaKind.VIDEO: ("poster", "medium", "thumbnail"),
    MediaKind.AUDIO: ("medium", "thumbnail", "waveform"),
    MediaKind.DOCUMENT: ("medium", "thumbnail"),
}
"""Renditions that stand for a file, the best first."""
_ESTIMATED_SECONDS: Final = 0.2
"""What a job is expected to take until it says what it took."""
_WAITING: Final = 64
"""Most jobs that wait for their turn."""
_FAILURES: Final = 1_000
_REMEMBERED_SECONDS: Final = 600.0
"""How long a source that can't be read is not tried again."""
_LOCKS: Final = 64
_LOOK_SECONDS: Final = 0.01
_LOOKS: Final = 6_000
"""A minute: then who holds the lock is taken for stopped."""


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that a picture can be made of."""

    bucket: BucketRole
    key: str
    version_id: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class StandIn:
    """A rendition that there is already, to be shown where none can be made now."""

    source: Source
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Order:
    """A picture that somebody wants, of exactly these bytes."""

    key: str
    """Of the original."""
    source_sha256: str
    """Of the original."""
    sources: tuple[Source, ...]
    """The first that can be read is taken."""
    wanted: Transformation
    place: Place
    stand_in: StandIn | None
    """The largest rendition that fits the box, in a format that the viewer knows."""


class Transformer:
    """Finds pictures and makes them. Safe from any thread; several processes may share the data folder.

    Args:
        catalog: knows the originals.
        store: has them.
        processor: makes pictures.
        cache: keeps them.
        budget: what each client may cause.
        clock: how long failures are remembered.
        scratch: where jobs work.
        locks: a folder for lock files.
        jobs: how many run at once.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        processor: MediaProcessor,
        cache: ImageCache,
        budget: CpuBudget,
        clock: Clock,
        *,
        scratch: Path,
        locks: Path,
        jobs: int,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._processor = processor
        self._cache = cache
        self._budget = budget
        self._clock = clock
        self._scratch = scratch
        self._locks = locks
        self._jobs = jobs
        self._makers = ThreadPoolExecutor(jobs, thread_name_prefix="picture")
        self._lock = threading.Lock()
        self._under_way: dict[Place, Future[KeptPicture]] = {}
        self._failures: OrderedDict[tuple[str, str], tuple[float, ProcessingFailed]] = OrderedDict()
        self._closed = False

    def order(self, key: str, options: ImageOptions, accept: str) -> Order:
        """What has to be there to answer: the original's state now, and what exactly is wanted of it.

        Raises:
            NotFound: there is no such file, it was deleted, is not processed, or has no picture.
        """
        shown = self._shown(key)
        sources = _sources(key, shown)
        if not sources:
            raise NotFound(f"showing {key}", "there is no picture of it")
        transparent = bool(shown.processing_metadata.get("transparent"))
        wanted = options.order(accept, transparent=transparent)
        told = json.dumps([RECIPE, [source.sha256 for source in sources], asdict(wanted)], sort_keys=True)
        place = Place(file_id(key), shown.file_hash, hashlib.sha256(told.encode()).hexdigest()[:32])
        return Order(key, shown.file_hash, sources, wanted, place, _stand_in(shown, wanted))

    def kept(self, order: Order) -> KeptPicture | None:
        """The picture, if it was made before."""
        return self._cache.get(order.place)

    def make(self, order: Order, client: str) -> Future[KeptPicture]:
        """Have the picture made, or wait with those who ordered it before. Returns at once.

        The future's errors: ProcessingFailed, for good; Unavailable, for now; NotFound where the original went
        meanwhile.

        Raises:
            RateLimited: the client caused enough computing.
            Unavailable: too many wait.
            ProcessingFailed: the source could not be read a short while ago.
        """
        with self._lock:
            there = self._under_way.get(order.place)
            if there is not None:
                return there
            if self._closed:
                raise Cancelled(_DOING, "the service is stopping")
            self._check_failures(order.place)
            if len(self._under_way) >= self._jobs + _WAITING:
                raise Unavailable(_DOING, "too many pictures are being made", hint="Try again in some seconds")
            self._budget.reserve(client, _ESTIMATED_SECONDS)
            future = self._makers.submit(self._made, order, client)
            self._under_way[order.place] = future
        future.add_done_callback(lambda _: self._ended(order.place))
        return future

    def instead(self, order: Order) -> KeptPicture | None:
        """The stand-in, for a viewer who has to wait for the picture; None if there is none."""
        if order.stand_in is None:
            return None
        source = order.stand_in.source
        try:
            with self._store.open(source.bucket, source.key, version_id=source.version_id) as reader:
                body = reader.read()
        except NotFound:
            return None
        return KeptPicture(
            order.stand_in.content_type, source.sha256, order.stand_in.width, order.stand_in.height, body
        )

    def close(self) -> None:
        """Take no more orders, and wait for those that are being made. Idempotent."""
        with self._lock:
            self._closed = True
        self._makers.shutdown(wait=True, cancel_futures=True)

    # -- what is shown ---------------------------------------------------------------------------------------

    def _shown(self, key: str) -> Record | LedgerEntry:
        """The version that the world sees: while a new one is processed, the one before."""
        record = self._catalog.get(file_id(key))
        if record.file_path != key or record.deleted_at is not None:
            raise NotFound(f"showing {key}", "there is no such file")
        self._store.head(BucketRole.PRIMARY, key)  # a delete counts from its commit on, whatever the record says still
        if record.status is ProcessingStatus.COMPLETED:
            return record
        if record.status in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}:
            for entry in self._catalog.entries(record.file_id):
                if entry.status is ProcessingStatus.COMPLETED:
                    return entry
        raise NotFound(f"showing {key}", "it is not processed")

    def _check_failures(self, place: Place) -> None:
        subject = (place.file_id, place.source)
        until, error = self._failures.get(subject, (0.0, None))
        if error is None:
            return
        if self._clock.monotonic_seconds() < until:
            raise ProcessingFailed(error.doing, error.why, code=error.code, hint=error.hint)
        del self._failures[subject]

    def _ended(self, place: Place) -> None:
        with self._lock:
            self._under_way.pop(place, None)

    # -- making ----------------------------------------------------------------------------------------------

    def _made(self, order: Order, client: str) -> KeptPicture:
        used = 0.0
        started = self._clock.monotonic_seconds()
        try:
            with self._alone(order.place):
                found = self._cache.get(order.place)
                if found is not None:  # another process was quicker
                    return found
                started = self._clock.monotonic_seconds()
                try:
                    picture, used = self._transformed(order)
                except ProcessingFailed as error:
                    self._remember(order.place, error)
                    raise
                finally:
                    # Who failed does not say what it took.
                    used = used or self._clock.monotonic_seconds() - started
                self._cache.put(order.place, picture)
        finally:
            self._budget.settle(client, _ESTIMATED_SECONDS, used)
        self._check_still_shown(order)
        return picture

    def _transformed(self, order: Order) -> tuple[KeptPicture, float]:
        with scratch_folder(self._scratch) as folder, self._source(order, folder) as source:
            work = folder / "job"
            work.mkdir()
            made = self._processor.transform(source, work, order.wanted)
            with translated_os_errors("reading a picture that was made"):
                body = made.file.path.read_bytes()
        picture = KeptPicture(
            content_type=made.file.content_type,
            sha256=hashlib.sha256(body).hexdigest(),
            width=made.file.width or 0,
            height=made.file.height or 0,
            body=body,
        )
        return picture, made.cpu_seconds

    @contextmanager
    def _source(self, order: Order, folder: Path) -> Iterator[Path]:
        """The first of the sources that can be read, as a file.

        Raises:
            NotFound: none can.
        """
        for source in order.sources:
            with suppress(NotFound, Archived):
                path = self._fetched(source, folder / "source")
                break
        else:
            raise NotFound(f"showing {order.key}", "its bytes are in the archive, or gone")
        yield path

    def _fetched(self, source: Source, target: Path) -> Path:
        if isinstance(self._store, HasLocalFiles):
            version = self._store.head(source.bucket, source.key, version_id=source.version_id)
            return self._store.local_file(version)
        with (
            translated_os_errors(f"fetching {source.key}"),
            self._store.open(source.bucket, source.key, version_id=source.version_id) as reader,
            target.open("wb") as stream,
        ):
            for chunk in reader.chunks():
                stream.write(chunk)
        return target

    def _check_still_shown(self, order: Order) -> None:
        """Whoever removed the file did not see what was made meanwhile: it goes now.

        Raises:
            NotFound: it was removed, or replaced.
        """
        try:
            if self._shown(order.key).file_hash == order.source_sha256:
                return
        except NotFound:
            self._cache.keep_only(order.place.file_id, "")
            raise
        raise Unavailable(f"showing {order.key}", "it was replaced just now", hint="Try again")

    def _remember(self, place: Place, error: ProcessingFailed) -> None:
        with self._lock:
            until = self._clock.monotonic_seconds() + _REMEMBERED_SECONDS
            self._failures[place.file_id, place.source] = (until, error)
            if len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)

    @contextmanager
    def _alone(self, place: Place) -> Iterator[None]:
        """Hold the lock file that this picture shares with some others, so that one process makes it."""
        never = threading.Event()
        with translated_os_errors("locking a picture"):
            self._locks.mkdir(mode=0o750, parents=True, exist_ok=True)
            path = self._locks / f"{int(place.name[:8], 16) % _LOCKS:02d}.lock"
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(_LOOKS):
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                self._clock.wait(never, _LOOK_SECONDS)
            yield
        finally:
            os.close(lock)


def _sources(key: str, shown: Record | LedgerEntry) -> tuple[Source, ...]:
    found = []
    if shown.kind is MediaKind.IMAGE and shown.content_type in _READ_FROM_ORIGINAL:
        found.append(Source(BucketRole.PRIMARY, key, shown.version_id, shown.file_hash))
    stand_ins = (Source(BucketRole.PROCESSED, each.stored_key, None, each.sha256) for each in _standing_for(shown))
    return (*found, *stand_ins)


def _stand_in(shown: Record | LedgerEntry, wanted: Transformation) -> StandIn | None:
    """The largest JPEG that fits, or WebP where the viewer knows it; a box that is to be filled has none."""
    known = {"image/jpeg"} if wanted.format in {"jpeg", "png"} else {"image/jpeg", "image/webp"}
    fitting = [
        StandIn(Source(BucketRole.PROCESSED, each.stored_key, None, each.sha256), each.content_type, width, height)
        for each in shown.renditions
        if each.content_type in known and (width := each.width or 0) and (height := each.height or 0)
        if width <= (wanted.width or width) and height <= (wanted.height or height) and each.name != "storyboard"
    ]
    return None if wanted.fills or not fitting else max(fitting, key=lambda found: found.width)


def _standing_for(shown: Record | LedgerEntry) -> list[Rendition]:
    by_name: Mapping[str, Any] = {rendition.name: rendition for rendition in shown.renditions}
    return [by_name[name] for name in _SHOWN_BY.get(shown.kind, ()) if name in by_name]
