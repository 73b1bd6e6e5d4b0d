"""The real services over fakes: a platform in memory, driven by hand, for tests of what people and events do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from contentplatform.app import PROCESSED_KINDS
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.ingest.library import Library
from contentplatform.ingest.service import IngestService
from contentplatform.processing.port import MediaProcessor, Rendered, RenderedFile
from contentplatform.storage.port import BucketRole, ObjectVersion
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.port import TaskContext, TaskFunction
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Step, Steps
from fakes.catalog import FakeCatalog
from fakes.clock import FakeClock, SequentialIds
from fakes.edge import MemoryEdge
from fakes.event_source import MemoryEventSource
from fakes.object_store import MemoryObjectStore
from fakes.workflow_engine import InMemoryWorkflowEngine

T = TypeVar("T")

JPEG_HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"
BROKEN = b"broken"
_RENDITIONS = (("thumbnail", "image/jpeg", "jpg"), ("medium", "image/jpeg", "jpg"), ("webp", "image/webp", "webp"))


def jpeg(text: str) -> bytes:
    """Bytes that are sniffed as a JPEG and differ by ``text``."""
    return JPEG_HEAD + text.encode()


class FakeProcessor(MediaProcessor):
    """Makes 'renditions' that tell what they were made of; refuses what holds the word ``broken``."""

    def __init__(self) -> None:
        self.jobs: list[bytes] = []
        """The bytes of every source that was given."""
        self.meanwhile: Callable[[], object] = lambda: None
        """Called once, in the middle of the next job."""

    def process_image(self, source: Path, scratch: Path) -> Rendered:
        data = source.read_bytes()
        self.jobs.append(data)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if BROKEN in data:
            raise ProcessingFailed("making renditions", "the image is broken", code=ErrorCode.DECODE)
        files = []
        for name, content_type, extension in _RENDITIONS:
            path = scratch / f"{name}.{extension}"
            path.write_bytes(name.encode() + b" of " + data)
            files.append(RenderedFile(name, path, content_type, extension, 10, 10))
        return Rendered(tuple(files), {"width": 10, "height": 10}, {"title": "from the file"})

    def close(self) -> None:
        """Nothing to end."""


class MemoryPlatform:
    """The services over fakes. Nothing happens until ``take_in``, ``work`` or ``settle`` is called."""

    def __init__(self, scratch: Path) -> None:
        self.clock = FakeClock()
        self.ids = SequentialIds()
        self.store = MemoryObjectStore(self.clock, self.ids)
        self.catalog = FakeCatalog()
        self.processor = FakeProcessor()
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
        )
        tasks = {name: _as_task(step) for name, step in self.steps.tasks().items()}
        self.engine = InMemoryWorkflowEngine(STATE_MACHINE, tasks, self.clock)
        self.ingest = IngestService(
            self.store, self.catalog, self.engine, self.publication, self.clock, _together, PROCESSED_KINDS
        )
        self.library = Library(
            self.store, self.catalog, self.engine, self.ingest, self.publication, self.clock, _together
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

    def settle(self) -> None:
        """Take in and work until nothing is left to do."""
        self.take_in()
        self.work()

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
