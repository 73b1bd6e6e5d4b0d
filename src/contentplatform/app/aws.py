"""The home on AWS: its adapters, put together. Loads neither database nor worker."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from contentplatform.alerts.port import TOPIC_NAME
from contentplatform.app.home import PROCESSED_KINDS, SCRATCH_FOLDER_NAME, Home, Platform, media_processor, never
from contentplatform.app.incoming import LateDirectUploads, LateUploads, open_direct_uploads, open_uploads
from contentplatform.app.links import LateLinks, open_links
from contentplatform.app.local import DATABASE_FILE_NAME
from contentplatform.app.people import LateCharges, LatePeople, open_accounts
from contentplatform.clock import Clock, RandomIds, SystemClock
from contentplatform.errors import PlatformError
from contentplatform.ingest.library import Library
from contentplatform.ingest.service import IngestService
from contentplatform.storage.lifecycle import BACKUP_REGION, BUCKETS, Tiering, bucket_name, upload_class
from contentplatform.storage.port import BucketRole
from contentplatform.together import one_by_one, side_by_side
from contentplatform.workflow.port import STATE_MACHINE_NAME
from contentplatform.workflow.publication import Publication
from contentplatform.workflow.steps import Steps
from contentplatform.workflow.stopping import stop_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from contentplatform.alerts.aws import SnsAlerts
    from contentplatform.analytics.export import MetadataExport
    from contentplatform.backup.validator import BackupValidator
    from contentplatform.catalog.feed import SearchFeed
    from contentplatform.config import Settings
    from contentplatform.cost.report import CostReporter
    from contentplatform.delivery.image_events import ImageEvents
    from contentplatform.drivers.boto import Aws
    from contentplatform.ingest.aws import SqsEventSource
    from contentplatform.ingest.reconciliation import Reconciliation
    from contentplatform.processing.local import LocalMediaProcessor
    from contentplatform.workflow.aws import StepFunctionsEngine
    from contentplatform.workflow.recorder import Recorder

_PICTURES_BYTES: Final = 256_000_000
"""Of pictures that a container keeps in its scratch folder, beside originals that are being read."""
_NOT_COUNTED_SECONDS: Final = 1e9
"""The edge is the only one who asks: whose processor time it is, is not known there."""


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
        super().__init__(platform, processor)
        self.aws = aws
        self._events = events
        self._engine = engine

    def prepare(self) -> None:
        """Do now what the first call of nearly every function would have to wait for. Asks nothing of AWS."""
        for service in ("s3", "dynamodb"):
            self.aws.client(service)

    def take_in_all(self, is_over: Callable[[], bool] = never) -> None:
        """Nothing: the queue calls the upload handler."""

    def index_for_search(self, is_over: Callable[[], bool] = never) -> None:
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

    def content_origins(self) -> tuple[str, ...]:
        return tuple(found for ask in (self._bucket_origin, self._edge_origin) if (found := _unless_unknown(ask)))

    def _bucket_origin(self) -> str:
        uploads = self.platform.direct_uploads
        return uploads.origin() if uploads is not None else ""

    def _edge_origin(self) -> str:
        where = urlsplit(self.platform.edge.url("raw/any", "0" * 64))
        return f"{where.scheme}://{where.netloc}"

    def search_feed(self) -> SearchFeed:
        """What brings changed records into the search table."""
        from contentplatform.catalog.feed import SearchFeed  # noqa: PLC0415

        return SearchFeed(self.aws, self.platform.clock)

    @cached_property
    def pictures(self) -> ImageEvents:
        """What makes pictures on the fly; closed with the home."""
        from contentplatform.delivery.image_budget import CpuBudget  # noqa: PLC0415
        from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME, ImageCache  # noqa: PLC0415
        from contentplatform.delivery.image_events import ImageEvents  # noqa: PLC0415
        from contentplatform.delivery.transformed import Transformer  # noqa: PLC0415

        platform, folder = self.platform, self.platform.settings.data_folder
        transformer = Transformer(
            platform.catalog,
            platform.store,
            platform.processor,
            ImageCache(folder / CACHE_FOLDER_NAME, _PICTURES_BYTES, platform.clock, RandomIds()),
            CpuBudget(platform.clock, _NOT_COUNTED_SECONDS),
            platform.clock,
            scratch=folder / SCRATCH_FOLDER_NAME,
            locks=folder / SCRATCH_FOLDER_NAME / "locks",
            jobs=1,
        )
        return ImageEvents(transformer, platform.catalog, private_prefix=platform.settings.ingest.private_prefix)

    def close(self) -> None:
        if "pictures" in self.__dict__:
            self.pictures.close()
        super().close()

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

        return SnsAlerts(self.aws, self.aws.arn("sns", TOPIC_NAME))


def open_aws(settings: Settings, *, clock: Clock | None = None) -> AwsHome:
    """Connect to the home on AWS that was deployed with these settings; nothing is asked of AWS yet.

    The same services as at home over other adapters. Nothing commits together here: each write is conditional, and
    each sequence of writes can be repeated.
    """
    from contentplatform.catalog.aws import DynamoCatalog  # noqa: PLC0415 - the local home must not load boto3
    from contentplatform.catalog.aws_collections import DynamoCollections  # noqa: PLC0415
    from contentplatform.delivery.aws import CloudFrontEdge  # noqa: PLC0415
    from contentplatform.drivers.boto import Aws  # noqa: PLC0415
    from contentplatform.ingest.aws import SqsEventSource  # noqa: PLC0415
    from contentplatform.processing.aws import MediaConvertTranscoder  # noqa: PLC0415
    from contentplatform.storage.aws import S3ObjectStore  # noqa: PLC0415
    from contentplatform.storage.aws_parts import S3Parts  # noqa: PLC0415
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
    parts = S3Parts(
        aws,
        bucket=names[BucketRole.PRIMARY],
        region=given.region,
        upload_class=upload_class(Tiering(settings.storage.tiering)),
    )
    catalog = DynamoCatalog(aws, clock, bucket=names[BucketRole.PRIMARY])
    machine = aws.arn("states", f"stateMachine:{STATE_MACHINE_NAME}")
    engine = StepFunctionsEngine(aws, clock, state_machine_arn=machine)
    events = SqsEventSource(aws, bucket_name=names[BucketRole.PRIMARY])
    # A function ends after 15 minutes: a job has to fail first, in words.
    processor = media_processor(settings, longest_job_seconds=settings.processing.media_job_seconds)
    edge = CloudFrontEdge(aws, clock=clock, private_prefix=settings.ingest.private_prefix)
    publication = Publication(store, catalog, edge, beside=side_by_side)
    transcoder = MediaConvertTranscoder(
        aws, store, clock, bucket_name=names[BucketRole.PROCESSED], queue=given.mediaconvert_queue
    )
    stop = partial(stop_execution, engine, transcoder)
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
        stop=stop,
    )
    people = LatePeople(partial(open_accounts, settings, clock))
    charges = LateCharges(people, (settings.data_folder / DATABASE_FILE_NAME).exists)
    links = LateLinks(lambda: open_links(settings, clock, RandomIds(), people().database, people))
    platform = Platform(
        settings=settings,
        clock=clock,
        store=store,
        catalog=catalog,
        collections=DynamoCollections(aws, clock, RandomIds(), cursor_key=names[BucketRole.PRIMARY]),
        engine=engine,
        events=events,
        ingest=ingest,
        library=Library(store, catalog, engine, ingest, publication, clock, one_by_one, stop=stop, charges=charges),
        steps=Steps(
            store,
            catalog,
            publication,
            edge,
            processor,
            clock,
            settings.data_folder / SCRATCH_FOLDER_NAME,
            one_by_one,
            transcoder=transcoder,
            beside=side_by_side,
        ),
        edge=edge,
        processor=processor,
        people=people,
        links=links,
        incoming=LateUploads(
            lambda: open_uploads(settings, clock, RandomIds(), people().database, store, catalog, people, links)
        ),
        incoming_directly=LateDirectUploads(
            lambda: open_direct_uploads(
                settings, clock, RandomIds(), people().database, store, catalog, people, links, parts=parts
            )
        ),
    )
    return AwsHome(platform, aws, events=events, engine=engine, processor=processor)


def _unless_unknown(ask: Callable[[], str]) -> str:
    """What it tells; nothing where the home is not deployed, or out of reach: nothing comes from there then."""
    try:
        return ask()
    except PlatformError:
        return ""


def bucket_names(settings: Settings) -> dict[BucketRole, str]:
    """What each bucket is called, by the settings."""
    return {role: bucket_name(role, settings.storage.bucket_suffix) for role in BucketRole}


def bucket_regions(settings: Settings) -> dict[BucketRole, str]:
    """Where each bucket is, by the settings."""
    far = {bucket.role for bucket in BUCKETS if bucket.region == BACKUP_REGION}
    return {role: settings.aws.backup_region if role in far else settings.aws.region for role in BucketRole}
