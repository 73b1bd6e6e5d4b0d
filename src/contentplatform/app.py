"""The composition root: settings in, a running platform out. The only module that names adapters, and only lazily."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from contentplatform.catalog.codec import to_public
from contentplatform.catalog.port import Catalog, Record
from contentplatform.clock import Clock, IdSource, RandomIds, SystemClock
from contentplatform.config import Settings
from contentplatform.delivery.port import Edge
from contentplatform.errors import ConfigurationInvalid
from contentplatform.findings import Check
from contentplatform.ingest.library import Library
from contentplatform.ingest.port import EventSource
from contentplatform.ingest.service import IngestService
from contentplatform.ingest.snapshot import CatalogSnapshot
from contentplatform.media import MediaKind
from contentplatform.processing.port import MediaProcessor
from contentplatform.storage.lifecycle import BACKUP_REGION, BUCKETS, Tiering, bucket_name, upload_class
from contentplatform.storage.port import BucketRole, ObjectStore, StorageClass
from contentplatform.together import one_by_one, side_by_side
from contentplatform.workflow.definition import STATE_MACHINE
from contentplatform.workflow.port import STATE_MACHINE_NAME, TaskContext, TaskFunction, WorkflowEngine
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Step, Steps

if TYPE_CHECKING:
    from contentplatform.alerts.aws import SnsAlerts
    from contentplatform.analytics.export import MetadataExport
    from contentplatform.backup.validator import BackupValidator
    from contentplatform.catalog.feed import SearchFeed
    from contentplatform.catalog.local import LocalCatalog
    from contentplatform.cost.report import CostReporter
    from contentplatform.drivers.boto import Aws
    from contentplatform.drivers.doorbell import Doorbell
    from contentplatform.drivers.sqlite import Database, Schema
    from contentplatform.ingest.aws import SqsEventSource
    from contentplatform.ingest.reconciliation import Reconciliation
    from contentplatform.processing.local import LocalMediaProcessor
    from contentplatform.storage.local import LocalObjectStore
    from contentplatform.workflow.aws import StepFunctionsEngine
    from contentplatform.workflow.executor import LocalExecutor
    from contentplatform.workflow.local import LocalWorkflowEngine
    from contentplatform.workflow.recorder import Recorder

T = TypeVar("T")

DATABASE_FILE_NAME: Final = "contentplatform.db"
SCRATCH_FOLDER_NAME: Final = "scratch"
ALERTS_TOPIC_NAME: Final = "backup-alerts"
"""Where every alert goes on AWS."""
PROCESSED_KINDS: Final = frozenset({MediaKind.IMAGE})
"""Kinds that have a processor of their own; the others are kept as they are, and say so."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that an entry point may call, by its port; the same for both homes."""

    settings: Settings
    clock: Clock
    store: ObjectStore
    catalog: Catalog
    engine: WorkflowEngine
    events: EventSource
    ingest: IngestService
    library: Library
    steps: Steps
    edge: Edge
    processor: MediaProcessor

    def describe(self, record: Record) -> dict[str, Any]:
        """A record as the flat document that people and programs get."""
        return to_public(record, bucket_name(BucketRole.PRIMARY, self.settings.storage.bucket_suffix))

    def take_in(self, limit: int = 200) -> int:
        """Handle events that wait, up to ``limit``; returns how many."""
        return self.events.drain(lambda event: self.ingest.handle(event.key), limit=limit)


class Home(ABC):
    """A running platform as the command line knows it, whichever home it is."""

    platform: Platform

    @abstractmethod
    def take_in_all(self) -> None:
        """Handle every event that is due now, where nobody else does. aws: the upload handler does."""

    @abstractmethod
    def index_for_search(self) -> None:
        """Bring the search index up to date, where nobody else does. aws: the search indexer does."""

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

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Idempotent."""


class LocalHome(Home):
    """The platform on this machine, with what only this home has: a worker, checks, maintenance."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        store: LocalObjectStore,
        catalog: LocalCatalog,
        engine: LocalWorkflowEngine,
        ids: IdSource,
        doorbell: Doorbell,
        processor: LocalMediaProcessor,
    ) -> None:
        self.platform = platform
        self.database = database
        self.store = store
        self.catalog = catalog
        self.engine = engine
        self._ids = ids
        self._doorbell = doorbell
        self._processor = processor

    def executor(self) -> LocalExecutor:
        """A new executor for this process; nothing runs before it is started."""
        from contentplatform.workflow.executor import ExecutorSettings, LocalExecutor  # noqa: PLC0415

        given = self.platform.settings.workflow
        slots = given.max_concurrent or os.cpu_count() or 1
        return LocalExecutor(
            self.database,
            STATE_MACHINE,
            {name: _without_context(step) for name, step in self.platform.steps.tasks().items()},
            self.platform.clock,
            self._ids,
            self._doorbell,
            ExecutorSettings(
                slots=slots,
                folder_slots=slots,
                lease_seconds=given.lease_seconds,
                heartbeat_seconds=given.lease_seconds / 5,
            ),
        )

    def workers(self) -> int:
        return sum(worker.live for worker in self.engine.workers())

    def check_usable(self) -> None:
        self.database.check_usable()

    def unfinished(self, executions: Collection[str]) -> Collection[str]:
        return self.engine.unfinished(executions)

    def place(self) -> str:
        return str(self.platform.settings.data_folder)

    def options(self) -> str:
        return f"--data {self.platform.settings.data_folder}"

    def take_in_all(self) -> None:
        while self.platform.take_in():
            pass

    def index_for_search(self) -> None:
        while self.catalog.index_pending():
            pass

    def sweep_scratch(self) -> int:
        """Remove what jobs of killed processes left in the scratch folder; returns how many folders that were."""
        from contentplatform.drivers.scratch import sweep  # noqa: PLC0415

        return sweep(self.platform.settings.data_folder / SCRATCH_FOLDER_NAME)

    def finish(self) -> None:
        self.take_in_all()
        self.index_for_search()
        self.store.flush_journal()

    def gaps(self) -> tuple[str, ...]:
        """What this machine's kernel can't do to fence jobs in, a sentence each; starts the sandbox to find out."""
        return self._processor.confinement().gaps()

    def snapshot(self) -> CatalogSnapshot:
        """The catalog as an object of the store: to write it, or to put it back."""
        return CatalogSnapshot(self.store, self.catalog)

    def write_snapshot_if_due(self) -> None:
        """Write the catalog into the store if nobody did for as long as the settings say."""
        interval_seconds = self.platform.settings.catalog.snapshot_interval_seconds
        self.snapshot().write_if_due(interval_seconds, self.platform.clock.now())

    def checks(self) -> tuple[Check, ...]:
        """Every check of ``fsck``."""
        from contentplatform.catalog.fsck import catalog_checks  # noqa: PLC0415
        from contentplatform.storage.fsck import storage_checks  # noqa: PLC0415
        from contentplatform.workflow.executor import ExecutorSettings  # noqa: PLC0415
        from contentplatform.workflow.fsck import LedgerChecks  # noqa: PLC0415
        from contentplatform.workflow.ledger import Ledger  # noqa: PLC0415

        clock = self.platform.clock
        executions = Ledger(STATE_MACHINE, clock, self._ids, losses_allowed=ExecutorSettings().losses_allowed)
        return (
            *storage_checks(self.store),
            *LedgerChecks(self.database, executions, STATE_MACHINE, clock, self._doorbell).checks(),
            *catalog_checks(self.catalog, self.store, is_live=self.platform.ingest.is_live),
        )

    def close(self) -> None:
        self.platform.processor.close()
        self.database.close()


class AwsHome(Home):
    """The platform on AWS: queue, functions and streams do what a worker does at home."""

    def __init__(
        self,
        platform: Platform,
        aws: Aws,
        *,
        events: SqsEventSource,
        engine: StepFunctionsEngine,
        processor: LocalMediaProcessor,
    ) -> None:
        self.platform = platform
        self.aws = aws
        self._events = events
        self._engine = engine
        self._processor = processor

    def take_in_all(self) -> None:
        """Nothing: the queue calls the upload handler."""

    def index_for_search(self) -> None:
        """Nothing: the table's stream calls the search indexer."""

    def finish(self) -> None:
        """Nothing: each call was durable when it returned."""

    def workers(self) -> int:
        return self.platform.settings.aws.upload_handlers

    def check_usable(self) -> None:
        """Nothing that could fail for good: each call stands for itself."""

    def unfinished(self, executions: Collection[str]) -> Collection[str]:
        return [name for name in executions if not self.platform.engine.get(name).status.ended]

    def place(self) -> str:
        bucket = bucket_name(BucketRole.PRIMARY, self.platform.settings.storage.bucket_suffix)
        return f"s3://{bucket} in {self.aws.region}"

    def options(self) -> str:
        return f"--home aws --data {self.platform.settings.data_folder}"

    def take_in_batch(self, messages: Iterable[Mapping[str, Any]], is_over: Callable[[], bool]) -> dict[str, Any]:
        """Take in what Lambda hands over of the upload queue until ``is_over``; the answer names what comes again."""
        ingest = self.platform.ingest
        return dict(self._events.handle_batch(messages, lambda event: ingest.handle(event.key), is_over=is_over))

    def search_feed(self) -> SearchFeed:
        """What brings changed records into the search table."""
        from contentplatform.catalog.feed import SearchFeed  # noqa: PLC0415

        return SearchFeed(self.aws, self.platform.clock)

    def recorder(self) -> Recorder:
        """What keeps executions that ended."""
        from contentplatform.workflow.recorder import Recorder  # noqa: PLC0415

        return Recorder(self._engine, self.platform.steps)

    def reconciliation(self) -> Reconciliation:
        """What finds uploads that no event told of."""
        from contentplatform.ingest.reconciliation import Reconciliation  # noqa: PLC0415

        return Reconciliation(self.platform.ingest, self.platform.store, self.platform.clock)

    def backup_validator(self) -> BackupValidator:
        """What compares the second copy with the first."""
        from contentplatform.backup.aws import S3Digests  # noqa: PLC0415
        from contentplatform.backup.validator import BackupValidator, StoreDigests  # noqa: PLC0415

        settings, store = self.platform.settings, self.platform.store
        digests = S3Digests(
            self.aws,
            StoreDigests(store),
            bucket_names=bucket_names(settings),
            region_of=bucket_regions(settings),
        )
        return BackupValidator(store, digests, self.alerts(), self.platform.clock)

    def cost_reporter(self) -> CostReporter:
        """What reports on the last week's cost."""
        from contentplatform.cost.aws import AwsCosts  # noqa: PLC0415
        from contentplatform.cost.report import CostReporter  # noqa: PLC0415

        return CostReporter(AwsCosts(self.aws), self.alerts(), self.platform.clock)

    def metadata_export(self) -> MetadataExport:
        """What writes the catalog where questions can be put to it."""
        from contentplatform.analytics.export import MetadataExport  # noqa: PLC0415

        platform = self.platform
        return MetadataExport(
            platform.catalog,
            platform.store,
            platform.clock,
            tiering=Tiering(platform.settings.storage.tiering),
            scratch_folder=platform.settings.data_folder,
        )

    def alerts(self) -> SnsAlerts:
        """Who is told when something is wrong."""
        from contentplatform.alerts.aws import SnsAlerts  # noqa: PLC0415

        return SnsAlerts(self.aws, f"arn:aws:sns:{self.aws.region}:{self.aws.account_id}:{ALERTS_TOPIC_NAME}")

    def gaps(self) -> tuple[str, ...]:
        """What this kernel can't do to fence jobs in, a sentence each; starts the sandbox to find out."""
        return self._processor.confinement().gaps()

    def sweep_scratch(self) -> int:
        """Remove what jobs of killed processes left in the scratch folder; returns how many folders that were."""
        from contentplatform.drivers.scratch import sweep  # noqa: PLC0415

        return sweep(self.platform.settings.data_folder / SCRATCH_FOLDER_NAME)

    def close(self) -> None:
        self.platform.processor.close()


def open_local(settings: Settings, *, clock: Clock | None = None, ids: IdSource | None = None) -> LocalHome:
    """Open, or first make, the data folder that the settings name.

    Raises:
        ConfigurationInvalid: this machine, or what lies in the folder, doesn't allow a safe start.
        Corrupt: the database is damaged.
    """
    from contentplatform.catalog.local import LocalCatalog  # noqa: PLC0415 - a lambda must not load the local home
    from contentplatform.delivery.local import LocalEdge  # noqa: PLC0415
    from contentplatform.drivers.doorbell import Doorbell  # noqa: PLC0415
    from contentplatform.ingest.local import LocalEventSource  # noqa: PLC0415
    from contentplatform.storage.local import LocalObjectStore  # noqa: PLC0415
    from contentplatform.workflow.local import LocalWorkflowEngine  # noqa: PLC0415

    clock = clock or SystemClock()
    ids = ids or RandomIds()
    folder = _data_folder(settings.data_folder)
    database = open_database(folder, ids)
    try:
        store = LocalObjectStore(
            database,
            folder,
            clock,
            ids,
            gc_grace_seconds=settings.storage.gc_grace_seconds,
            class_folders=class_folders(settings),
        )
        catalog = LocalCatalog(database, clock)
        doorbell = Doorbell(folder / "run")
        engine = LocalWorkflowEngine(database, STATE_MACHINE, clock, doorbell)
        events = LocalEventSource(database, clock)
        processor = _processor(settings)
        edge = LocalEdge(database, folder, clock, ids, private_prefix=settings.ingest.private_prefix)
        publication = Publication(store, catalog, edge)

        def together(work: Callable[[], T]) -> T:
            return database.write(lambda _transaction: work())

        ingest = IngestService(store, catalog, engine, publication, clock, together, PROCESSED_KINDS)
        platform = Platform(
            settings=settings,
            clock=clock,
            store=store,
            catalog=catalog,
            engine=engine,
            events=events,
            ingest=ingest,
            library=Library(store, catalog, engine, ingest, publication, clock, together),
            steps=Steps(store, catalog, publication, edge, processor, clock, folder / SCRATCH_FOLDER_NAME, together),
            edge=edge,
            processor=processor,
        )
    except BaseException:
        database.close()
        raise
    return LocalHome(platform, database, store, catalog, engine, ids, doorbell, processor)


def open_aws(settings: Settings, *, clock: Clock | None = None) -> AwsHome:
    """Connect to the home on AWS that was deployed with these settings; nothing is asked of AWS yet.

    The same services as at home over other adapters. Nothing commits together here: each write is conditional, and
    each sequence of writes can be repeated.
    """
    from contentplatform.catalog.aws import DynamoCatalog  # noqa: PLC0415 - the local home must not load boto3
    from contentplatform.delivery.aws import CloudFrontEdge  # noqa: PLC0415
    from contentplatform.drivers.boto import Aws  # noqa: PLC0415
    from contentplatform.ingest.aws import SqsEventSource  # noqa: PLC0415
    from contentplatform.storage.aws import S3ObjectStore  # noqa: PLC0415
    from contentplatform.workflow.aws import StepFunctionsEngine  # noqa: PLC0415

    clock = clock or SystemClock()
    given = settings.aws
    aws = Aws(region=given.region, account_id=given.account_id, profile=given.profile)
    names = bucket_names(settings)
    store = S3ObjectStore(
        aws,
        bucket_names=names,
        region_of=bucket_regions(settings),
        upload_class=upload_class(Tiering(settings.storage.tiering)),
    )
    catalog = DynamoCatalog(aws, clock, bucket=names[BucketRole.PRIMARY])
    machine = f"arn:aws:states:{given.region}:{aws.account_id}:stateMachine:{STATE_MACHINE_NAME}"
    engine = StepFunctionsEngine(aws, clock, state_machine_arn=machine)
    events = SqsEventSource(aws, bucket_name=names[BucketRole.PRIMARY])
    processor = _processor(settings)
    edge = CloudFrontEdge(aws, clock=clock, private_prefix=settings.ingest.private_prefix)
    publication = Publication(store, catalog, edge, beside=side_by_side)
    ingest = IngestService(
        store,
        catalog,
        engine,
        publication,
        clock,
        one_by_one,
        PROCESSED_KINDS,
        settings.aws.hash_limit_bytes,
        beside=side_by_side,
    )
    platform = Platform(
        settings=settings,
        clock=clock,
        store=store,
        catalog=catalog,
        engine=engine,
        events=events,
        ingest=ingest,
        library=Library(store, catalog, engine, ingest, publication, clock, one_by_one),
        steps=Steps(
            store,
            catalog,
            publication,
            edge,
            processor,
            clock,
            settings.data_folder / SCRATCH_FOLDER_NAME,
            one_by_one,
            beside=side_by_side,
        ),
        edge=edge,
        processor=processor,
    )
    return AwsHome(platform, aws, events=events, engine=engine, processor=processor)


def bucket_names(settings: Settings) -> dict[BucketRole, str]:
    """What each bucket is called, by the settings."""
    return {role: bucket_name(role, settings.storage.bucket_suffix) for role in BucketRole}


def bucket_regions(settings: Settings) -> dict[BucketRole, str]:
    """Where each bucket is, by the settings."""
    far = {bucket.role for bucket in BUCKETS if bucket.region == BACKUP_REGION}
    return {role: settings.aws.backup_region if role in far else settings.aws.region for role in BucketRole}


def open_database(folder: Path, ids: IdSource) -> Database:
    """Open the database of a data folder with every room's tables."""
    from contentplatform.drivers.sqlite import Database  # noqa: PLC0415

    return Database(folder / DATABASE_FILE_NAME, local_schemas(), new_uuid=ids.new_id())


def local_schemas() -> tuple[Schema, ...]:
    """Every room's tables, in the order in which they are made."""
    from contentplatform.catalog import local as catalog  # noqa: PLC0415
    from contentplatform.delivery import local as delivery  # noqa: PLC0415
    from contentplatform.ingest import local as ingest  # noqa: PLC0415
    from contentplatform.storage import local as storage  # noqa: PLC0415
    from contentplatform.workflow import local as workflow  # noqa: PLC0415

    return (storage.SCHEMA, ingest.SCHEMA, catalog.SCHEMA, workflow.SCHEMA, delivery.SCHEMA)


def _without_context(step: Step) -> TaskFunction:
    """A step as the executor calls it; ours need nothing of the attempt, as every write of theirs is conditional."""

    def run(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        return step(data)

    return run


def _processor(settings: Settings) -> LocalMediaProcessor:
    from contentplatform.drivers.confinement import JobLimits  # noqa: PLC0415
    from contentplatform.processing.local import LocalMediaProcessor  # noqa: PLC0415
    from contentplatform.processing.presets import ImageLimits  # noqa: PLC0415

    given = settings.processing
    return LocalMediaProcessor(
        image_limits=ImageLimits(
            pixels=given.max_image_pixels,
            animation_frames=given.max_image_frames,
            animation_pixels=given.max_animation_pixels,
        ),
        job_limits=JobLimits(
            wall_seconds=given.job_wall_seconds,
            cpu_seconds=given.job_cpu_seconds,
            resident_bytes=given.job_memory_bytes,
            file_bytes=given.job_file_bytes,
        ),
    )


def class_folders(settings: Settings) -> dict[StorageClass, Path]:
    """Where single storage classes live, by the settings. Raises ConfigurationInvalid for a class there is not."""
    folders = {}
    for name, folder in settings.storage.class_folders.items():
        try:
            folders[StorageClass(name)] = Path(folder)
        except ValueError:
            raise ConfigurationInvalid(
                "reading the settings", f"storage.class_folders: {name} is no storage class"
            ) from None
    return folders


def _data_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            f"opening {folder}", f"the folder can't be made ({error.strerror})", hint="Choose another with --data"
        ) from error
    return folder
