"""The real services over fakes: a platform in memory, driven by hand, for tests of what people and events do to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from contentplatform.app import PROCESSED_KINDS
from contentplatform.errors import ErrorCode, NotFound, ProcessingFailed
from contentplatform.ingest.library import Library
from contentplatform.ingest.service import IngestService
from contentplatform.media import MediaKind
from contentplatform.processing.answers import video_renditions
from contentplatform.processing.playlists import (
    Master,
    Playlist,
    Segment,
    Tile,
    Variant,
    caption_tracks,
    master_text,
    media_text,
    reference,
    storyboard_text,
)
from contentplatform.processing.port import (
    AudioTrack,
    Chapter,
    MediaFacts,
    MediaProcessor,
    Rendered,
    RenderedFile,
    SubtitleTrack,
    Transcoder,
    TranscodeRequest,
    TranscodeState,
    TranscodeStatus,
    Transformation,
    Transformed,
    VideoTrack,
)
from contentplatform.processing.scanning import Scan
from contentplatform.processing.transformations import NAME, TRANSFORMATION_FORMATS
from contentplatform.storage.port import BucketRole, ObjectVersion, PutOptions
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.port import TaskContext, TaskFunction
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Step, Steps
from contentplatform.workflow.stopping import stop_execution
from fakes.catalog import FakeCatalog, FakeCollections
from fakes.clock import FakeClock, SequentialIds
from fakes.edge import MemoryEdge
from fakes.event_source import MemoryEventSource
from fakes.object_store import MemoryObjectStore
from fakes.workflow_engine import InMemoryWorkflowEngine

T = TypeVar("T")

MP4_HEAD = b"\0\0\0\x18ftypisom\0\0\x02\0isommp42"
FLAC_HEAD = b"fLaC\0\0\0\x22"
PDF_HEAD = b"%PDF-1.7\n"
SILENT_PICTURES = b"no pictures"
JPEG_HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"
BROKEN = b"broken"
_RENDITIONS = (("thumbnail", "image/jpeg", "jpg"), ("medium", "image/jpeg", "jpg"), ("webp", "image/webp", "webp"))
_OF_A_SOUND = (("m4a", "audio/mp4", "m4a"), ("opus", "audio/ogg", "opus"), ("peaks", "application/json", "json"))
_OF_A_DOCUMENT = (("thumbnail", "image/jpeg", "jpg"), ("text", "text/plain; charset=utf-8", "txt"))


def jpeg(text: str) -> bytes:
    """Bytes that are sniffed as a JPEG and differ by ``text``."""
    return JPEG_HEAD + text.encode()


def film(text: str) -> bytes:
    """Bytes that are sniffed as a film and differ by ``text``; one with ``no pictures`` in it has only sound."""
    return MP4_HEAD + text.encode()


def sound(text: str) -> bytes:
    """Bytes that are sniffed as a sound and differ by ``text``."""
    return FLAC_HEAD + text.encode()


def document(text: str) -> bytes:
    """Bytes that are sniffed as a PDF and differ by ``text``, which is what there is to read in it."""
    return PDF_HEAD + text.encode()


class FakeProcessor(MediaProcessor):
    """Makes 'renditions' that tell what they were made of; refuses what holds the word ``broken``.

    A film is 1280×720, has sound and one track of German subtitles.
    """

    def __init__(self) -> None:
        self.jobs: list[bytes] = []
        """The bytes of every source that was given."""
        self.meanwhile: Callable[[], object] = lambda: None
        """Called once, in the middle of the next job."""
        self.chapters: tuple[Chapter, ...] = ()
        """Of a film."""
        self.shows_nothing = False
        """Of a document, nothing comes out."""

    def process_image(self, source: Path, scratch: Path) -> Rendered:
        data = self._taken(source)
        return Rendered(_made(_RENDITIONS, data, scratch), {"width": 10, "height": 10}, {"title": "from the file"})

    def transform(self, source: Path, scratch: Path, wanted: Transformation) -> Transformed:
        data = self._taken(source)
        made = TRANSFORMATION_FORMATS[wanted.format]
        path = scratch / f"{NAME}.{made.extension}"
        path.write_bytes(f"{wanted.width}x{wanted.height} {wanted.format} of ".encode() + data)
        size = wanted.width or wanted.height, wanted.height or wanted.width
        return Transformed(RenderedFile(NAME, path, made.content_type, made.extension, *size), cpu_seconds=0.5)

    def probe(self, source: Path, scratch: Path) -> MediaFacts:
        assert not list(scratch.iterdir())
        data = self._taken(source)
        pictures = VideoTrack(0, "h264", 1280, 720, 1280, 720, 0, 25.0, frame_rate_varies=False, duration_seconds=8.0)
        return MediaFacts(
            format="mov",
            duration_seconds=8.0,
            duration_is_exact=True,
            bit_rate=None,
            size_bytes=len(data),
            video=() if SILENT_PICTURES in data else (pictures,),
            audio=(AudioTrack(1, "aac", 48_000, 2, "stereo", 8.0),),
            subtitles=(SubtitleTrack(2, "mov_text", is_text=True, language="de"),),
            chapters=self.chapters,
        )

    def finish_video(
        self, source: Path, rungs: Mapping[str, Path], facts: MediaFacts, names: Mapping[str, str], scratch: Path
    ) -> Rendered:
        data = self._taken(source)
        texts: dict[str, bytes] = {}
        for rung, path in rungs.items():
            texts[f"hls-{rung}-media"] = b"media of " + path.read_bytes()
            uri = _referred(names, texts, f"hls-{rung}-media")
            texts[f"hls-{rung}"] = media_text(Playlist(uri, 6, (Segment(6.0, 5, 2),), Segment(0.0, 2))).encode()
        for name in caption_tracks(facts.subtitles, 32):
            texts[name] = b"WEBVTT\n\n" + data
            uri = _referred(names, texts, name)
            texts[f"hls-{name}"] = media_text(Playlist(uri, 6, (Segment(6.0),))).encode()
        variants = tuple(
            Variant(_referred(names, texts, f"hls-{rung}"), 9, 8, "avc1.64001f", 1280, 720, 25.0) for rung in rungs
        )
        texts["hls"] = master_text(Master(variants)).encode()
        for name in ("poster", "thumbnail", "medium", "storyboard"):
            texts[name] = name.encode() + b" of " + data
        tile = Tile(0.0, 8.0, _referred(names, texts, "storyboard"), 0, 0, 160, 90)
        texts["storyboard-vtt"] = storyboard_text([tile]).encode()
        expected = video_renditions(names)
        files = []
        for name, body in texts.items():
            path = scratch / f"{name}.{expected[name].extension}"
            path.write_bytes(body)
            files.append(RenderedFile(name, path, expected[name].content_type, expected[name].extension))
        return Rendered(tuple(files), {"width": 1280, "height": 720, "duration": 8.0})

    def process_audio(self, source: Path, scratch: Path) -> Rendered:
        data = self._taken(source)
        return Rendered(_made(_OF_A_SOUND, data, scratch), {"duration": 8.0}, {"title": "a song"})

    def process_document(self, source: Path, scratch: Path, *, content_type: str) -> Rendered:
        data = self._taken(source)
        text = data.removeprefix(PDF_HEAD).decode()
        facts = {"pages": 1, "text": text, "content_type": content_type}
        return Rendered(_made(() if self.shows_nothing else _OF_A_DOCUMENT, data, scratch), facts)

    def _taken(self, source: Path) -> bytes:
        data = source.read_bytes()
        self.jobs.append(data)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if BROKEN in data:
            raise ProcessingFailed("making renditions", "the image is broken", code=ErrorCode.DECODE)
        return data

    def close(self) -> None:
        """Nothing to end."""


def _made(kinds: Iterable[tuple[str, str, str]], data: bytes, scratch: Path) -> tuple[RenderedFile, ...]:
    files = []
    for name, content_type, extension in kinds:
        path = scratch / f"{name}.{extension}"
        path.write_bytes(name.encode() + b" of " + data)
        files.append(RenderedFile(name, path, content_type, extension, 10, 10))
    return tuple(files)


def _referred(names: Mapping[str, str], texts: Mapping[str, bytes], name: str) -> str:
    return reference(names[name], hashlib.sha256(texts[name]).hexdigest())


class MemoryTranscoder(Transcoder):
    """Encodes when it is told to, by ``encode``, or at once, which is the default."""

    def __init__(self, store: MemoryObjectStore) -> None:
        self._store = store
        self.at_once = True
        self.requests: dict[str, TranscodeRequest] = {}
        """By job id, which is the token."""
        self.statuses: dict[str, TranscodeStatus] = {}
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []

    def submit(self, request: TranscodeRequest) -> str:
        if request.token not in self.requests:
            self.requests[request.token] = request
            self.statuses[request.token] = TranscodeStatus(TranscodeState.SUBMITTED, 0)
            if self.at_once:
                self.encode(request.token)
        return request.token

    def encode(self, job_id: str) -> None:
        """Bring a job to its end."""
        request = self.requests[job_id]
        with self._store.open(BucketRole.PRIMARY, request.key, version_id=request.version_id) as reader:
            data = reader.read()
        for rung in request.rungs:
            body = BytesIO(rung.name.encode() + b" of " + data)
            self._store.put(BucketRole.PROCESSED, rung.stored_key, body, PutOptions(content_type="video/mp4"))
        self.statuses[job_id] = TranscodeStatus(TranscodeState.COMPLETE, 100)

    def status(self, job_id: str) -> TranscodeStatus:
        if job_id not in self.statuses:
            raise NotFound(f"asking after {job_id}", "there is no such job")
        return self.statuses[job_id]

    def cancel(self, job_id: str) -> None:
        if job_id in self.statuses and not self.statuses[job_id].state.is_final:
            self.statuses[job_id] = TranscodeStatus(TranscodeState.CANCELED, error_code=ErrorCode.CANCELLED)
            self.cancelled.append(job_id)

    def forget(self, job_id: str) -> None:
        self.forgotten.append(job_id)


class MemoryPlatform:
    """The services over fakes. Nothing happens until ``take_in``, ``work`` or ``settle`` is called."""

    def __init__(
        self,
        scratch: Path,
        kinds: frozenset[MediaKind] = PROCESSED_KINDS,
        *,
        beginning_with: MemoryPlatform | None = None,
        scan: Scan | None = None,
    ) -> None:
        """An empty platform, or, as after an upgrade, one that goes on with what another holds."""
        self.clock: FakeClock = beginning_with.clock if beginning_with else FakeClock()
        self.ids: SequentialIds = beginning_with.ids if beginning_with else SequentialIds()
        self.store: MemoryObjectStore = (
            beginning_with.store if beginning_with else MemoryObjectStore(self.clock, self.ids)
        )
        self.catalog: FakeCatalog = beginning_with.catalog if beginning_with else FakeCatalog()
        self.collections: FakeCollections = (
            beginning_with.collections if beginning_with else FakeCollections(self.catalog, self.clock, self.ids)
        )
        self.processor = FakeProcessor()
        self.transcoder = MemoryTranscoder(self.store)
        self.events = MemoryEventSource(self.clock)
        self.edge = MemoryEdge(self.clock)
        self.publication = Publication(self.store, self.catalog, self.edge)
        self.steps = Steps(
            self.store,
            self.catalog,
            self.publication,
            self.edge,
            self.processor,
            self.clock,
            scratch / "jobs",
            _together,
            transcoder=self.transcoder,
            scan=scan,
        )
        tasks = {name: _as_task(step) for name, step in self.steps.tasks().items()}
        self.engine = InMemoryWorkflowEngine(STATE_MACHINE, tasks, self.clock)
        stop = partial(stop_execution, self.engine, self.transcoder)
        self.ingest = IngestService(
            self.store, self.catalog, self.engine, self.publication, self.clock, _together, kinds, stop=stop
        )
        self.library = Library(
            self.store, self.catalog, self.engine, self.ingest, self.publication, self.clock, _together, stop=stop
        )
        self._announced = 0

    def add(self, key: str, data: bytes) -> ObjectVersion:
        """Upload; an event waits afterwards."""
        self.clock.advance(1)
        version_id = self.library.add(key, BytesIO(data))
        return self.store.head(BucketRole.PRIMARY, key, version_id=version_id)

    def forget_events(self) -> None:
        """Lose every event so far, as no home ever should."""
        self._announced = len(self.store.events)

    def take_in(self) -> None:
        """Handle every event once."""
        for bucket, key in self.store.events[self._announced :]:
            if bucket is BucketRole.PRIMARY:
                self.events.announce(key)
        self._announced = len(self.store.events)
        self.events.drain(lambda event: self.ingest.handle(event.key), limit=1_000)

    def work(self) -> None:
        """Run every execution that is due."""
        self.engine.run_until_idle()

    def wait(self) -> None:
        """Let the time of one round of waiting for an encoding pass, then run what is due."""
        self.clock.advance(30)
        self.work()

    def settle(self) -> None:
        """Take in and work until nothing is left to do."""
        self.take_in()
        self.work()
        if any(execution.state == "WaitForVideoProcessing" for execution in self.engine.list().executions):
            self.wait()

    def public(self, key: str) -> dict[str, bytes]:
        """What the public keys of a file's renditions show, by folder."""
        folders = ("processed/thumbnails", "processed/medium", "processed/webp")
        found = {}
        for folder in folders:
            for version in self.store.list(BucketRole.PROCESSED, prefix=f"{folder}/{key}.").objects:
                with self.store.open(BucketRole.PROCESSED, version.key) as reader:
                    found[folder.rpartition("/")[2]] = reader.read()
        return found

    def kept_renditions(self) -> list[str]:
        """Keys of every stored rendition, the versions' own ones, that can still be read in any version."""
        versions = self.store.list_versions(BucketRole.PROCESSED, prefix="versions/").objects
        return [version.key for version in versions if not version.is_delete_marker]


def _together(work: Callable[[], T]) -> T:
    """As on aws: nothing commits together."""
    return work()


def _as_task(step: Step) -> TaskFunction:
    def run(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        return step(data)

    return run
