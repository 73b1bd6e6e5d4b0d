"""What every home is: the services by their ports, and what the command line asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, Final

from contentplatform.catalog.codec import to_public
from contentplatform.media import MediaKind
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from contentplatform.accounts.passwords import Passwords
    from contentplatform.accounts.port import Accounts, AuditLog
    from contentplatform.app.incoming import LateDirectUploads, LateUploads
    from contentplatform.app.links import LateLinks
    from contentplatform.app.people import LatePeople
    from contentplatform.catalog.port import Catalog, Collections, Record
    from contentplatform.clock import Clock
    from contentplatform.config import Settings
    from contentplatform.delivery.port import Edge
    from contentplatform.hooks.port import Webhooks
    from contentplatform.ingest.library import Library
    from contentplatform.ingest.port import EventSource
    from contentplatform.ingest.service import IngestService
    from contentplatform.ingest.uploads import DirectUploads, Uploads
    from contentplatform.processing.local import LocalMediaProcessor
    from contentplatform.processing.port import MediaProcessor
    from contentplatform.replies.port import Replies
    from contentplatform.sharing.port import Shares
    from contentplatform.workflow.port import WorkflowEngine
    from contentplatform.workflow.steps import Steps

SCRATCH_FOLDER_NAME: Final = "scratch"
PROCESSED_KINDS: Final = frozenset({MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO, MediaKind.DOCUMENT})
"""Kinds that have a processor of their own; the others are kept as they are."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that an entry point may call, by its port; the same for both homes."""

    settings: Settings
    clock: Clock
    store: ObjectStore
    catalog: Catalog
    collections: Collections
    engine: WorkflowEngine
    events: EventSource
    ingest: IngestService
    library: Library
    steps: Steps
    edge: Edge
    processor: MediaProcessor
    people: LatePeople
    """On AWS opened when somebody asks: in the data folder of the machine that serves."""
    links: LateLinks
    """As ``people``, in the same database."""
    incoming: LateUploads | None = None
    """None in a home into which nothing comes by this machine."""
    incoming_directly: LateDirectUploads | None = None
    """None in a home whose store is this machine's."""

    @property
    def accounts(self) -> Accounts:
        """Users, sessions, tokens, quotas."""
        return self.people().accounts

    @property
    def audit(self) -> AuditLog:
        """What was done, and refused."""
        return self.people().audit

    @property
    def passwords(self) -> Passwords:
        """Hashes passwords and compares them."""
        return self.people().passwords

    @property
    def shares(self) -> Shares:
        """Links that show files, and links that take some in."""
        return self.links().shares

    @property
    def webhooks(self) -> Webhooks:
        """Who is told what happens."""
        return self.links().webhooks

    @property
    def uploads(self) -> Uploads | None:
        """Files on their way in; None in a home into which nothing comes by this machine."""
        return self.incoming() if self.incoming is not None else None

    @property
    def direct_uploads(self) -> DirectUploads | None:
        """Files on their way to the store past this machine; None where the store is this machine's."""
        return self.incoming_directly() if self.incoming_directly is not None else None

    @property
    def replies(self) -> Replies:
        """What was answered to writes that carried an idempotency key; where ``people`` are."""
        from contentplatform.replies.local import LocalReplies  # noqa: PLC0415 - a lambda must not load the database

        return LocalReplies(self.people().database, self.clock)

    def describe(self, record: Record) -> dict[str, Any]:
        """A record as the flat document that people and programs get."""
        return to_public(record, bucket_name(BucketRole.PRIMARY, self.settings.storage.bucket_suffix))

    def take_in(self, limit: int = 20) -> int:
        """Handle events that wait, up to ``limit``; returns how many."""
        return self.events.drain(lambda event: self.ingest.handle(event.key), limit=limit)


def never() -> bool:
    """Whether to stop, of those who don't."""
    return False


class Home(ABC):
    """A running platform as the command line knows it, whichever home it is."""

    def __init__(self, platform: Platform, processor: LocalMediaProcessor) -> None:
        self.platform = platform
        self._processor = processor

    def sweep_scratch(self) -> int:
        """Remove what jobs of killed processes left in the scratch folder; returns how many folders that were."""
        from contentplatform.drivers.scratch import sweep  # noqa: PLC0415 - whoever only asks starts without it

        return sweep(self.platform.settings.data_folder / SCRATCH_FOLDER_NAME)

    def gaps(self) -> tuple[str, ...]:
        """What this machine's kernel can't do to fence jobs in, a sentence each; starts the sandbox to find out."""
        return self._processor.confinement().gaps()

    @abstractmethod
    def take_in_all(self, is_over: Callable[[], bool] = never) -> None:
        """Handle every event that is due now, where nobody else does. aws: the upload handler does.

        Args:
            is_over: asked after every couple of events whether to stop; a worker handles the rest.
        """

    @abstractmethod
    def index_for_search(self, is_over: Callable[[], bool] = never) -> None:
        """Bring the search index up to date, where nobody else does, or until ``is_over``. aws: the indexer does."""

    @abstractmethod
    def finish(self) -> None:
        """What a command owes before it ends."""

    @abstractmethod
    def workers(self) -> int:
        """How many workers are alive; 0: nothing is processed before one is started."""

    @abstractmethod
    def check_usable(self) -> None:
        """Raise Unavailable if nothing more can be written by this process."""

    @abstractmethod
    def unfinished(self, executions: Collection[str]) -> Collection[str]:
        """Those of these executions that have not ended."""

    @abstractmethod
    def place(self) -> str:
        """Where files are kept, for a person."""

    @abstractmethod
    def options(self) -> str:
        """The options with which the command line finds this home again."""

    def content_origins(self) -> tuple[str, ...]:
        """Where else than at this site a page of the console finds public files, or sends some; asks the home."""
        return ()

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self.platform.people.close()
        self.platform.processor.close()


def media_processor(settings: Settings, *, longest_job_seconds: float = inf) -> LocalMediaProcessor:
    """What makes renditions, in this process's sandboxed child; the same in both homes.

    ``longest_job_seconds`` is for a process that is ended itself soon after.
    """
    from contentplatform.drivers.confinement import JobLimits  # noqa: PLC0415
    from contentplatform.processing.local import LocalMediaProcessor  # noqa: PLC0415
    from contentplatform.processing.presets import DocumentLimits, ImageLimits, VideoLimits  # noqa: PLC0415

    given = settings.processing
    job_limits = JobLimits(
        wall_seconds=given.job_wall_seconds,
        cpu_seconds=given.job_cpu_seconds,
        resident_bytes=given.job_memory_bytes,
        file_bytes=given.job_file_bytes,
    )
    media_limits = replace(job_limits, wall_seconds=given.media_job_seconds, cpu_seconds=int(given.media_job_seconds))
    return LocalMediaProcessor(
        image_limits=ImageLimits(
            pixels=given.max_image_pixels,
            animation_frames=given.max_image_frames,
            animation_pixels=given.max_animation_pixels,
        ),
        video_limits=VideoLimits(
            pixels=given.max_video_pixels,
            frame_rate=given.max_frame_rate,
            duration_seconds=given.max_duration_seconds,
            streams=given.max_streams,
        ),
        document_limits=DocumentLimits(
            pages=given.max_document_pages,
            text_pages=given.max_text_pages,
            text_characters=given.max_text_characters,
            archive_bytes=given.max_unpacked_bytes,
        ),
        normalise_loudness=given.normalise_loudness,
        job_limits=job_limits,
        media_limits=media_limits,
        longest_job_seconds=longest_job_seconds,
    )
