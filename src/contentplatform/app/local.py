"""The home on this machine: its adapters, put together. Loads no cloud library."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from contentplatform.app.home import PROCESSED_KINDS, SCRATCH_FOLDER_NAME, Home, Platform, media_processor, never
from contentplatform.app.incoming import LateUploads, open_uploads
from contentplatform.app.links import LateLinks, open_links
from contentplatform.app.people import LateCharges, LatePeople, open_accounts
from contentplatform.clock import Clock, IdSource, RandomIds, SystemClock
from contentplatform.errors import ConfigurationInvalid
from contentplatform.ingest.library import Library
from contentplatform.ingest.service import IngestService
from contentplatform.ingest.snapshot import CatalogSnapshot, KeptCollections
from contentplatform.storage.lifecycle import Tiering
from contentplatform.storage.port import StorageClass
from contentplatform.workflow.definition import STATE_MACHINE, with_time
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Step, Steps
from contentplatform.workflow.stopping import stop_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from contentplatform.catalog.local import LocalCatalog
    from contentplatform.config import Settings
    from contentplatform.delivery.image_requests import ImageRequests
    from contentplatform.delivery.local import LocalEdge
    from contentplatform.delivery.serving import EdgeApp
    from contentplatform.delivery.statistics import Minute
    from contentplatform.drivers.doorbell import Doorbell
    from contentplatform.drivers.sqlite import Database, Schema
    from contentplatform.findings import Check
    from contentplatform.hooks.postman import Postman
    from contentplatform.ingest.drop_folder import DropFolder
    from contentplatform.processing.encoder import VideoEncoder
    from contentplatform.processing.lane import TranscodeLane
    from contentplatform.processing.local import LocalMediaProcessor
    from contentplatform.processing.transcoding import LocalTranscoder
    from contentplatform.schedule.local import LocalSchedule
    from contentplatform.storage.local import LocalObjectStore
    from contentplatform.workflow.executor import LocalExecutor
    from contentplatform.workflow.local import LocalWorkflowEngine
    from contentplatform.workflow.port import TaskContext, TaskFunction

T = TypeVar("T")

DATABASE_FILE_NAME: Final = "contentplatform.db"


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
        *,
        transcoder: LocalTranscoder,
        edge: LocalEdge,
    ) -> None:
        super().__init__(platform, processor)
        self.database = database
        self.store = store
        self.catalog = catalog
        self.engine = engine
        self.edge = edge
        self._transcoder = transcoder
        self._ids = ids
        self._doorbell = doorbell
        self._encoder: VideoEncoder | None = None

    def executor(self) -> LocalExecutor:
        """A new executor for this process; nothing runs before it is started."""
        from contentplatform.workflow.executor import ExecutorSettings, LocalExecutor  # noqa: PLC0415

        given = self.platform.settings.workflow
        # Two at least: one of them is for what is quick.
        slots = given.max_concurrent or max(2, os.cpu_count() or 1)
        return LocalExecutor(
            self.database,
            with_time(STATE_MACHINE, given.max_execution_seconds),
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

    def postman(self) -> Postman:
        """A new postman for this process, who tells webhooks what happens; nothing runs before it is started."""
        from contentplatform.app.links import web_calls  # noqa: PLC0415
        from contentplatform.hooks.postman import Postman, PostRules  # noqa: PLC0415

        platform = self.platform
        given = platform.settings.sharing
        calls = web_calls(platform.settings)
        rules = PostRules(given.hook_attempts, call_seconds=given.hook_timeout_seconds)
        return Postman(
            platform.webhooks, self.catalog, calls.post, platform.clock, self._ids, rules, give_up=calls.give_up
        )

    def transcode_lane(self) -> TranscodeLane:
        """A new lane for this process, which encodes videos; nothing runs before it is started."""
        from contentplatform.processing.lane import LaneSettings, TranscodeLane  # noqa: PLC0415

        settings = self.platform.settings
        return TranscodeLane(
            self.database,
            self.store,
            self._video_encoder(),
            self.platform.clock,
            self._ids,
            self._doorbell,
            settings.data_folder / SCRATCH_FOLDER_NAME,
            LaneSettings(
                folder_jobs=settings.processing.max_concurrent_videos,
                lease_seconds=settings.workflow.lease_seconds,
            ),
            on_end=self.engine.wake,
            is_wanted=self.platform.ingest.is_live,
        )

    def _video_encoder(self) -> VideoEncoder:
        """What encodes videos in this process; its sandbox starts with the first of them."""
        from contentplatform.processing.encoder import VideoEncoder  # noqa: PLC0415
        from contentplatform.processing.gates import installed_program  # noqa: PLC0415

        if self._encoder is None:
            setting = self.platform.settings.processing.video_encoder
            self._encoder = VideoEncoder(installed_program(), self.platform.clock, setting=setting)
        return self._encoder

    def note_progress(self) -> None:
        """Let the records of videos that are being encoded show how far that is."""
        for name, percent in self._transcoder.at_work():
            self.platform.steps.videos.note_transcoding(self.engine.get(name), percent)

    def check_versions(self) -> None:
        """Refuse parsers with known holes; looked at again whenever another one is installed.

        Raises:
            ConfigurationInvalid: one of them must not read strangers' files.
        """
        from contentplatform.app.versions import check_once  # noqa: PLC0415

        check_once(self.platform.settings.data_folder)

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

    def take_in_all(self, is_over: Callable[[], bool] = never) -> None:
        while not is_over() and self.platform.take_in():
            pass

    def index_for_search(self, is_over: Callable[[], bool] = never) -> None:
        while not is_over() and self.catalog.index_pending():
            pass

    def finish(self) -> None:
        self.take_in_all()
        self.index_for_search()
        self.store.flush_journal()

    def schedule(self) -> LocalSchedule:
        """What is done by the clock at home; a worker looks now and then whether it is time."""
        from contentplatform.analytics.export import MetadataExport  # noqa: PLC0415
        from contentplatform.schedule.local import LocalSchedule  # noqa: PLC0415

        platform = self.platform
        export = MetadataExport(
            self.catalog,
            self.store,
            platform.clock,
            tiering=Tiering(platform.settings.storage.tiering),
            scratch_folder=platform.settings.data_folder / SCRATCH_FOLDER_NAME,
        )
        jobs: dict[str, Callable[[], object]] = {
            "content-metadata-export": export.run,
            "content-reconciler": platform.ingest.reconcile,
        }
        return LocalSchedule(self.database, platform.clock, jobs)

    def drop_folder(self) -> DropFolder | None:
        """What takes in the drop folder's files; None where there is no such folder."""
        from contentplatform.ingest.drop_folder import DropFolder  # noqa: PLC0415

        given = self.platform.settings.ingest
        if not given.drop_folder:
            return None
        folder = Path(given.drop_folder).absolute()
        doing = f"watching {folder}"
        if folder.is_relative_to(self.platform.settings.data_folder):
            raise ConfigurationInvalid(doing, "it lies in the data folder", hint="Set another ingest.drop_folder")
        if not folder.is_dir():
            raise ConfigurationInvalid(doing, "there is no such folder", hint="Make it, or change ingest.drop_folder")
        return DropFolder(
            folder,
            self.platform.library,
            self.database,
            self.platform.clock,
            self.platform.settings.data_folder / "run",
            prefix=given.drop_prefix,
            quiet_seconds=given.drop_quiet_seconds,
            remove=given.drop_remove,
        )

    def expire_uploads(self) -> int:
        """End uploads whose time is over, and finish those whose bytes are all there; how many ended."""
        uploads = self.platform.uploads
        return uploads.expire() if uploads is not None else 0

    def snapshot(self) -> CatalogSnapshot:
        """The catalog as an object of the store: to write it, or to put it back."""
        return CatalogSnapshot(self.store, self.catalog)

    def write_snapshot_if_due(self) -> None:
        """Write the catalog into the store if nobody did for as long as the settings say."""
        interval_seconds = self.platform.settings.catalog.snapshot_interval_seconds
        self.snapshot().write_if_due(interval_seconds, self.platform.clock.now())

    def checks(self) -> tuple[Check, ...]:
        """Every check of ``fsck``."""
        from contentplatform.accounts.fsck import AccountChecks  # noqa: PLC0415
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
            *self._transcode_checks(),
            *catalog_checks(self.catalog, self.store, is_live=self.platform.ingest.is_live),
            *AccountChecks(self.database, self.platform.audit).checks(),
        )

    def image_requests(self) -> ImageRequests:
        """A new handler of ``/images/`` for this process, to be mounted in its edge; whoever asks closes it."""
        from contentplatform.delivery.image_budget import CpuBudget  # noqa: PLC0415
        from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME, ImageCache  # noqa: PLC0415
        from contentplatform.delivery.image_requests import ImageRequests  # noqa: PLC0415
        from contentplatform.delivery.transformed import Transformer  # noqa: PLC0415
        from contentplatform.processing.local import usable_processors  # noqa: PLC0415

        settings, clock = self.platform.settings, self.platform.clock
        given, folder = settings.delivery, settings.data_folder
        transformer = Transformer(
            self.catalog,
            self.store,
            self.platform.processor,
            ImageCache(folder / CACHE_FOLDER_NAME, given.images_cache_bytes, clock, self._ids),
            CpuBudget(clock, given.images_cpu_seconds),
            clock,
            scratch=folder / SCRATCH_FOLDER_NAME,
            locks=folder / SCRATCH_FOLDER_NAME / "locks",
            jobs=given.images_jobs or usable_processors(),
        )
        return ImageRequests(
            transformer,
            self.edge.check_link,
            private_prefix=settings.ingest.private_prefix,
            open_options=given.images_open_options,
        )

    def edge_app(self, *, logged: bool = True) -> EdgeApp:
        """A new edge for this process, as an ASGI application; whoever asks closes it.

        ``logged``: whether its requests are written into the access log, if the settings want one.
        """
        from contentplatform.delivery.access_log import FOLDER_NAME, AccessLog, Addresses  # noqa: PLC0415
        from contentplatform.delivery.origin import Origin  # noqa: PLC0415
        from contentplatform.delivery.serving import EdgeApp, EdgeOptions  # noqa: PLC0415
        from contentplatform.delivery.statistics import EdgeStatistics  # noqa: PLC0415

        settings, clock = self.platform.settings, self.platform.clock
        given = settings.delivery
        access_log = AccessLog(
            self.store,
            settings.data_folder / FOLDER_NAME,
            clock,
            self._ids,
            roll_seconds=given.log_roll_seconds,
        )
        app = EdgeApp(
            Origin(self.store, self.store, self.catalog),
            self.edge,
            self.database,
            clock,
            self._ids,
            access_log if given.log_requests and logged else None,
            EdgeStatistics(self.database, clock),
            EdgeOptions(
                private_prefix=settings.ingest.private_prefix,
                secure=(settings.server.edge_url or settings.server.public_url).startswith("https:"),
                memory_bytes=given.memory_bytes,
                log_addresses=Addresses(given.log_addresses),
            ),
        )
        images = self.image_requests()
        app.mount("/images/", images, close=images.close)
        return app

    def traffic(self, since: datetime, until: datetime) -> tuple[Minute, ...]:
        """What the edges of this data folder did, minute by minute; as late as they write it down."""
        from contentplatform.delivery.statistics import EdgeStatistics  # noqa: PLC0415

        return EdgeStatistics(self.database, self.platform.clock).minutes(since, until)

    def _transcode_checks(self) -> tuple[Check, ...]:
        from contentplatform.processing.fsck import TranscodeChecks  # noqa: PLC0415
        from contentplatform.processing.lane import LaneSettings  # noqa: PLC0415
        from contentplatform.processing.transcoding import TranscodeLedger  # noqa: PLC0415

        usual = LaneSettings()
        ledger = TranscodeLedger(
            self.database,
            self.platform.clock,
            self._ids,
            self._doorbell.is_dead,
            lease_seconds=self.platform.settings.workflow.lease_seconds,
            attempts_allowed=usual.attempts_allowed,
            losses_allowed=usual.losses_allowed,
        )
        is_live = self.platform.ingest.is_live
        return TranscodeChecks(self.database, ledger, self._transcoder, is_live=is_live).checks()

    def close(self) -> None:
        super().close()
        if self._encoder is not None:
            self._encoder.close()
        self.database.close()


def open_local(settings: Settings, *, clock: Clock | None = None, ids: IdSource | None = None) -> LocalHome:
    """Open, or first make, the data folder that the settings name.

    Raises:
        ConfigurationInvalid: this machine, or what lies in the folder, doesn't allow a safe start.
        Corrupt: the database is damaged.
    """
    from contentplatform.catalog.local import LocalCatalog  # noqa: PLC0415 - a lambda must not load the local home
    from contentplatform.catalog.local_collections import LocalCollections  # noqa: PLC0415
    from contentplatform.delivery.local import LocalEdge  # noqa: PLC0415
    from contentplatform.drivers.doorbell import Doorbell  # noqa: PLC0415
    from contentplatform.ingest.local import LocalEventSource  # noqa: PLC0415
    from contentplatform.processing.scanning import scanner  # noqa: PLC0415
    from contentplatform.processing.transcoding import LocalTranscoder  # noqa: PLC0415
    from contentplatform.storage.local import LocalObjectStore  # noqa: PLC0415
    from contentplatform.workflow.local import LocalWorkflowEngine  # noqa: PLC0415

    clock = clock or SystemClock()
    ids = ids or RandomIds()
    folder = data_folder(settings.data_folder)
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
        processor = media_processor(settings)
        scan = scanner(settings.processing.scanner, timeout_seconds=settings.processing.job_wall_seconds)
        edge = LocalEdge(database, folder, clock, ids, private_prefix=settings.ingest.private_prefix)
        publication = Publication(store, catalog, edge)

        def together(work: Callable[[], T]) -> T:
            return database.write(lambda _transaction: work())

        transcoder = LocalTranscoder(database, clock, ids, doorbell)
        stop = partial(stop_execution, engine, transcoder)
        ingest = IngestService(store, catalog, engine, publication, clock, together, PROCESSED_KINDS, stop=stop)
        people = LatePeople(partial(open_accounts, settings, clock, ids, database=database))
        links = LateLinks(partial(open_links, settings, clock, ids, database, people))
        kept = KeptCollections(store)
        platform = Platform(
            settings=settings,
            clock=clock,
            store=store,
            catalog=catalog,
            collections=LocalCollections(database, clock, ids, keep=kept.keep, drop=kept.drop),
            engine=engine,
            events=events,
            ingest=ingest,
            library=Library(
                store,
                catalog,
                engine,
                ingest,
                publication,
                clock,
                together,
                stop=stop,
                charges=LateCharges(people, lambda: True),
            ),
            steps=Steps(
                store,
                catalog,
                publication,
                edge,
                processor,
                clock,
                folder / SCRATCH_FOLDER_NAME,
                together,
                transcoder=transcoder,
                wake=engine.wake,
                scan=scan,
            ),
            edge=edge,
            processor=processor,
            people=people,
            links=links,
            incoming=LateUploads(partial(open_uploads, settings, clock, ids, database, store, catalog, people, links)),
        )
    except BaseException:
        database.close()
        raise
    return LocalHome(
        platform, database, store, catalog, engine, ids, doorbell, processor, transcoder=transcoder, edge=edge
    )


def open_database(folder: Path, ids: IdSource) -> Database:
    """Open the database of a data folder with every room's tables."""
    from contentplatform.drivers.sqlite import Database  # noqa: PLC0415

    return Database(folder / DATABASE_FILE_NAME, local_schemas(), new_uuid=ids.new_id())


def local_schemas() -> tuple[Schema, ...]:
    """Every room's tables, in the order in which they are made."""
    from contentplatform.accounts import local as accounts  # noqa: PLC0415
    from contentplatform.catalog import local as catalog  # noqa: PLC0415
    from contentplatform.delivery import local as delivery  # noqa: PLC0415
    from contentplatform.hooks import local as hooks  # noqa: PLC0415
    from contentplatform.ingest import direct_uploads, drop_folder  # noqa: PLC0415
    from contentplatform.ingest import local as ingest  # noqa: PLC0415
    from contentplatform.ingest import upload_sessions as uploads  # noqa: PLC0415
    from contentplatform.processing import transcoding  # noqa: PLC0415
    from contentplatform.replies import local as replies  # noqa: PLC0415
    from contentplatform.schedule import local as schedule  # noqa: PLC0415
    from contentplatform.sharing import local as sharing  # noqa: PLC0415
    from contentplatform.storage import local as storage  # noqa: PLC0415
    from contentplatform.workflow import local as workflow  # noqa: PLC0415

    return (
        storage.SCHEMA,
        ingest.SCHEMA,
        catalog.SCHEMA,
        workflow.SCHEMA,
        delivery.SCHEMA,
        transcoding.SCHEMA,
        drop_folder.SCHEMA,
        schedule.SCHEMA,
        uploads.SCHEMA,
        accounts.SCHEMA,
        sharing.SCHEMA,
        hooks.SCHEMA,
        replies.SCHEMA,
        direct_uploads.SCHEMA,
    )


def _without_context(step: Step) -> TaskFunction:
    """A step as the executor calls it; ours need nothing of the attempt, as every write of theirs is conditional."""

    def run(data: Mapping[str, Any], _context: TaskContext) -> Mapping[str, Any]:
        return step(data)

    return run


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


def data_folder(folder: Path) -> Path:
    """The folder, made if there is none. Raises ConfigurationInvalid where that is impossible."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            f"opening {folder}", f"the folder can't be made ({error.strerror})", hint="Choose another with --data"
        ) from error
    return folder
