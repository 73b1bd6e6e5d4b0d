"""The lane of a worker that encodes videos: one after the other, beside everything else that the worker does.

Two threads. One claims a job, encodes it, stores the rungs and ends the job. The other keeps the claim alive, whatever
the first one is busy with, and tells it to stop where the claim was lost or nobody wants the video any more.

Rungs are stored before the job is complete, and what a refused worker has stored is taken away again, so there is one
set of them, whoever was killed when.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final, Protocol

from contentplatform import log
from contentplatform.clock import Clock, IdSource
from contentplatform.drivers.crashpoint import crashpoint
from contentplatform.drivers.doorbell import Doorbell, Listener
from contentplatform.drivers.files import translated_os_errors
from contentplatform.drivers.scratch import scratch_folder
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import Cancelled, ErrorCode, NoSpace, NotFound, PlatformError, ProcessingFailed
from contentplatform.processing.encoder import Encoded, Watch
from contentplatform.processing.encoding import ENCODING
from contentplatform.processing.port import Rung, TranscodeRequest
from contentplatform.processing.transcoding import RING_TRANSCODE, Claim, TranscodeLedger
from contentplatform.storage.port import BucketRole, HasLocalFiles, ObjectStore, PutOptions, versions_of

RUNG_TYPE: Final = "video/mp4"
PROCESSOR: Final = "content-video-processor"
USER_METADATA: Final = {"processed": "true", "processor": PROCESSOR, "format": "h264"}
"""Of every rung."""
_NOTE_SECONDS: Final = 1.0
"""Percents are written no more often."""
_STOP_SECONDS: Final = 30.0

_logger: Final = logging.getLogger(__name__)


class Encodes(Protocol):
    """What encodes: ``encoder.VideoEncoder``."""

    def encode(self, request: TranscodeRequest, source: Path, scratch: Path, watch: Watch) -> Encoded:
        """As ``VideoEncoder.encode``."""
        ...

    def close(self) -> None:
        """End every run."""
        ...


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane works."""

    folder_jobs: int = 1
    """Videos at once in the whole data folder, over all its workers: each takes every core there is."""
    lease_seconds: float = 15.0
    poll_seconds: float = 1.0
    """Between heartbeats, and between looks whether the video is still wanted; a lost ring of the doorbell can go
    unnoticed for as long."""
    attempts_allowed: int = 4
    losses_allowed: int = 5


class _Stop(Enum):
    """Why an encoding is ended from here."""

    LANE_STOPS = auto()
    CLAIM_LOST = auto()
    NOT_WANTED = auto()


@dataclass(slots=True)
class _Job:
    """The claim at work: what the encoder is told, and what it tells."""

    claim: Claim
    clock: Clock
    write_percent: Callable[[int], None]
    stop: _Stop | None = None
    percent: int = 0
    noted_at: float | None = None
    asked: threading.Event = field(default_factory=threading.Event)

    def note(self, percent: int) -> None:
        now = self.clock.monotonic_seconds()
        if percent <= self.percent or (self.noted_at is not None and now - self.noted_at < _NOTE_SECONDS):
            return
        self.percent, self.noted_at = percent, now
        self.write_percent(percent)

    def is_cancelled(self) -> bool:
        return self.asked.is_set()

    def end(self, why: _Stop) -> None:
        """Ask it to stop; the first reason counts."""
        if not self.asked.is_set():
            self.stop = why
            self.asked.set()


class TranscodeLane:
    """Encodes what waits, in threads of its own between ``start`` and ``stop``. Make one a process."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        encoder: Encodes,
        clock: Clock,
        ids: IdSource,
        doorbell: Doorbell,
        scratch_root: Path,
        settings: LaneSettings | None = None,
        *,
        on_end: Callable[[str], None],
        is_wanted: Callable[[str], bool],
    ) -> None:
        """Make one; nothing runs yet.

        Args:
            database: of the data folder; with ``transcoding.SCHEMA``.
            store: where originals are, and rungs go.
            encoder: encodes; closed when the lane is stopped for good, by who made it.
            clock: time.
            ids: names, jitter.
            doorbell: wakes the lane; a worker whose bell is gone is dead.
            scratch_root: where folders for one encoding are made.
            settings: how it works.
            on_end: called with the token of each job that ended.
            is_wanted: whether who asked for the job of this token still waits for it.
        """
        self._settings = settings or LaneSettings()
        self._ledger = TranscodeLedger(
            database,
            clock,
            ids,
            self._is_dead,
            lease_seconds=self._settings.lease_seconds,
            attempts_allowed=self._settings.attempts_allowed,
            losses_allowed=self._settings.losses_allowed,
        )
        self._store = store
        self._encoder = encoder
        self._clock = clock
        self._ids = ids
        self._doorbell = doorbell
        self._scratch_root = scratch_root
        self._on_end = on_end
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self._threads: list[threading.Thread] = []
        self._job: _Job | None = None
        self._changed = threading.Event()
        self.name = ""
        """The worker's name while it is signed on."""

    # -- what others call ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work in the background. Call ``stop`` at the end."""
        self._sign_on()
        self._threads = [
            threading.Thread(target=self._work, name="transcode-lane", daemon=True),
            threading.Thread(target=self._watch, name="transcode-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End what is at work, hand it back for another worker, and sign off. Idempotent."""
        if not self.name:
            return
        self._stopping.set()
        with self._lock:
            job = self._job
        if job is not None:
            job.end(_Stop.LANE_STOPS)
        self._changed.set()
        if self._listener is not None:
            self._listener.ring(RING_TRANSCODE)
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self._threads = []
        self._sign_off()

    def run_until_idle(self) -> int:
        """Encode everything that is due in the calling thread; returns how many jobs that were.

        There is no watch meanwhile: who needs heartbeats calls ``start``.
        """
        signed_on_here = not self.name
        if signed_on_here:
            self._sign_on()
        done = 0
        try:
            while self._work_once():
                done += 1
        finally:
            if signed_on_here:
                self._sign_off()
        return done

    def tick(self) -> None:
        """What the watch does now and then: heartbeat, and whether the video is still wanted."""
        with self._lock:
            job = self._job
        if job is None or job.asked.is_set():
            return
        if not self._ledger.extend(job.claim):
            job.end(_Stop.CLAIM_LOST)
        elif not self._is_wanted(job.claim.request.token):
            job.end(_Stop.NOT_WANTED)

    # -- the threads -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            if not self._work_safely():
                self._changed.clear()
                if not self._stopping.is_set():
                    self._clock.wait(self._changed, self._settings.poll_seconds)

    def _work_safely(self) -> bool:
        try:
            return self._work_once()
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "the video lane could not work", worker=self.name, reason=error.public)
        except Exception:
            _logger.exception("the video lane could not work")
        return False

    def _watch(self) -> None:
        listener = self._listener
        ticked = self._clock.monotonic_seconds()
        while listener is not None and not self._stopping.is_set():
            rings = listener.wait(self._settings.poll_seconds)
            now = self._clock.monotonic_seconds()
            # The bell rings for every upload: those must neither keep the heartbeat back nor make it race.
            if RING_TRANSCODE in rings or now - ticked >= self._settings.poll_seconds:
                ticked = now
                self._changed.set()
                self._tick_safely()

    def _tick_safely(self) -> None:
        """Tick, whatever happens: a watch that dies would let the lease run out."""
        try:
            self.tick()
        except PlatformError as error:
            log.event(_logger, logging.WARNING, "the video lane's watch failed", worker=self.name, reason=error.public)
        except Exception:
            _logger.exception("the video lane's watch failed")

    # -- one job ---------------------------------------------------------------------------------------------

    def _work_once(self) -> bool:
        """Claim a job and bring it to an end, or put it off. False: there was none."""
        if self._stopping.is_set():
            return False
        claim = self._ledger.claim(self.name, self._settings.folder_jobs)
        if claim is None:
            return False
        crashpoint("transcoding.claimed")
        job = _Job(claim, self._clock, lambda percent: self._note(claim, percent))
        with self._lock:
            self._job = job
        try:
            if self._stopping.is_set():
                job.end(_Stop.LANE_STOPS)
            elif not self._is_wanted(claim.request.token):
                job.end(_Stop.NOT_WANTED)
            self._settle(job)
        finally:
            with self._lock:
                self._job = None
        return True

    def _settle(self, job: _Job) -> None:
        """Do it, and write down how it went."""
        try:
            if job.is_cancelled():
                raise Cancelled(ENCODING, "it is not wanted any more")
            if not self._make(job):
                fields = {"token": job.claim.request.token, "worker": self.name}
                log.event(_logger, logging.WARNING, "late rungs refused", **fields)
                return
        except Cancelled:
            has_ended = self._let_go(job)
        except Exception as error:  # noqa: BLE001 - the outer edge of an encoding
            has_ended = self._give_up(job.claim, error)
        else:
            has_ended = True
        if has_ended:
            self._tell(job.claim.request.token)

    def _let_go(self, job: _Job) -> bool:
        """End, or hand back, what was stopped from here. Whether it has ended."""
        if job.stop is _Stop.NOT_WANTED:
            return self._ledger.drop(job.claim)
        if job.stop is None:  # the encoder was closed under us: nothing more can be done here
            self._stopping.set()
        if job.stop is not _Stop.CLAIM_LOST:
            self._ledger.hand_back(job.claim)
            self._doorbell.ring(RING_TRANSCODE)
        return False

    def _give_up(self, claim: Claim, error: Exception) -> bool:
        """Put off what may pass, fail what won't. Whether it has ended."""
        token = claim.request.token
        if not isinstance(error, PlatformError):
            _logger.error("an encoding failed unexpectedly", exc_info=error)
        else:
            reason = f"{error.public} {error.private}".strip()
            log.event(_logger, logging.WARNING, "a video was not encoded", token=token, reason=reason)
            seconds = self._ledger.retry_later(claim) if error.retryable else None
            if seconds is not None:
                fields = {"token": token, "seconds": round(seconds)}
                log.event(_logger, logging.INFO, "the encoding is tried again", **fields)
                return False
        return self._ledger.fail(claim, *_verdict(error))

    def _make(self, job: _Job) -> bool:
        """Encode and store. False: the claim was not good any more at the end, and nothing is left."""
        request = job.claim.request
        with (
            scratch_folder(self._scratch_root) as scratch,
            self._opened(request) as source,
        ):
            made = self._encoder.encode(request, source, scratch, job)
            if not self._ledger.is_held(job.claim):
                return False
            stored = [(rung.stored_key, self._keep(rung, made.files[rung.name])) for rung in request.rungs]
        crashpoint("transcoding.stored")
        if not self._ledger.complete(job.claim, made.damage):
            for key, version_id in stored:
                if version_id:
                    self._store.delete_version(BucketRole.PROCESSED, key, version_id)
            return False
        crashpoint("transcoding.completed")
        for key, version_id in stored:
            self._erase_others(key, version_id)
        log.event(_logger, logging.INFO, "video encoded", token=request.token, rungs=len(stored), damage=made.damage)
        return True

    @contextmanager
    def _opened(self, request: TranscodeRequest) -> Iterator[Path]:
        """Exactly this version's bytes as a file."""
        if isinstance(self._store, HasLocalFiles):
            version = self._store.head(BucketRole.PRIMARY, request.key, version_id=request.version_id)
            yield self._store.local_file(version)
            return
        with scratch_folder(self._scratch_root) as folder:
            path = folder / "source"
            with (
                translated_os_errors(f"fetching {request.key}"),
                self._store.open(BucketRole.PRIMARY, request.key, version_id=request.version_id) as reader,
                path.open("wb") as target,
            ):
                for chunk in reader.chunks():
                    target.write(chunk)
            yield path

    def _keep(self, rung: Rung, file: Path) -> str:
        """Store a rung, unless exactly it is there already. The new version's id, or nothing."""
        with file.open("rb") as body:
            sha256 = hashlib.file_digest(body, "sha256").hexdigest()
            try:
                if self._store.head(BucketRole.PROCESSED, rung.stored_key).sha256 == sha256:
                    return ""
            except NotFound:
                pass
            body.seek(0)
            options = PutOptions(content_type=RUNG_TYPE, user_metadata=USER_METADATA, expected_sha256=sha256)
            return self._store.write(BucketRole.PROCESSED, rung.stored_key, body, options)

    def _erase_others(self, key: str, version_id: str) -> None:
        """Leave one version under ``key``: what a killed worker stored before is none of the set."""
        versions = versions_of(self._store, BucketRole.PROCESSED, key)
        kept = version_id or versions[0].version_id
        for version in versions:
            if version.version_id != kept:
                self._store.delete_version(BucketRole.PROCESSED, key, version.version_id)

    def _note(self, claim: Claim, percent: int) -> None:
        try:
            self._ledger.note(claim, percent)
        except PlatformError as error:  # the film goes on; the next second may do better
            log.event(_logger, logging.WARNING, "progress not written", token=claim.request.token, reason=error.public)

    def _tell(self, token: str) -> None:
        try:
            self._on_end(token)
        except PlatformError as error:  # who waits looks by itself now and then
            log.event(_logger, logging.WARNING, "nobody was told of an encoding", token=token, reason=error.public)

    # -- signing on and off ----------------------------------------------------------------------------------

    def _sign_on(self) -> None:
        if self.name:
            raise RuntimeError("this lane is at work already")
        self._stopping.clear()
        name = f"encoder-{self._ids.new_id()}"
        # The bell is there before any claim: a worker without a bell is taken for dead.
        self._listener = self._doorbell.listen(name)
        self.name = name

    def _sign_off(self) -> None:
        listener, self._listener = self._listener, None
        self.name = ""
        if listener is not None:
            listener.close()

    def _is_dead(self, name: str) -> bool:
        return name != self.name and self._doorbell.is_dead(name)


def _verdict(error: Exception) -> tuple[ErrorCode, str]:
    """The class of a failure that is final, and its words."""
    match error:
        case ProcessingFailed():
            return error.code, error.public
        case NotFound():
            return ErrorCode.CANCELLED, f"{ENCODING}: the original was deleted meanwhile"
        case NoSpace():
            return ErrorCode.NO_SPACE, error.public
        case PlatformError():
            return ErrorCode.INTERNAL, error.public
    return ErrorCode.INTERNAL, f"{ENCODING}: a fault of the platform"
