"""What each function may do, as data: nothing that its code does not do, on nothing else than it is done to.

Each function has a role of its own. Rights name buckets by role, folders, tables, indexes and queues; ``statements``
makes IAM statements with exact ARNs of them. A wildcard that AWS leaves no way around carries its reason. No function
may change a policy, a notification or a lifecycle, delete a current original, or touch the second copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import aws_iam as iam

from contentplatform.alerts.port import TOPIC_NAME
from contentplatform.analytics.tables import CONTENT_METADATA
from contentplatform.backup.port import REPORTS_PREFIX
from contentplatform.catalog.tables import LEDGER, METADATA, SEARCH, Table
from contentplatform.delivery.rules import SERVED_PREFIXES
from contentplatform.ingest.hashing import STATE_FOLDER
from contentplatform.ingest.queue import UPLOADS
from contentplatform.ingest.reconciliation import POSITION_KEY
from contentplatform.processing.mediaconvert_job import DEFAULT_QUEUE, ROLE_PARAMETER, STAGING
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.port import STATE_MACHINE_NAME
from contentplatform.workflow.publication import MANIFEST_FOLDER
from contentplatform_infra.names import Names

FAILED_CALLS_QUEUE_NAME: Final = "content-platform-failed-calls"
"""Where events end that no function could handle: of a schedule, of the catalog's stream, of an ended execution."""
DISTRIBUTION_PARAMETER: Final = "/contentplatform/cloudfront/distribution-id"
VERSIONS_PREFIX: Final = "versions/"
"""Each version's own renditions, in the processed bucket."""
STAGED_PREFIX: Final = f"{VERSIONS_PREFIX}*/{STAGING}/"
"""What MediaConvert reads, and notes of what was asked of it."""
MEDIACONVERT_ROLE_NAME: Final = "MediaConvertRole"
MEDIACONVERT: Final = "mediaconvert.amazonaws.com"
PUBLIC_PREFIXES: Final = SERVED_PREFIXES[BucketRole.PROCESSED]


@dataclass(frozen=True, slots=True)
class OnBucket:
    """Actions on a bucket itself."""

    bucket: BucketRole
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnObjects:
    """Actions on objects whose keys begin with one of the prefixes."""

    bucket: BucketRole
    prefixes: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnTable:
    """Actions on a table's items; the reading ones on these indexes, too."""

    table: Table
    actions: tuple[str, ...]
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnStream:
    """Reading the changes of the records' table."""


@dataclass(frozen=True, slots=True)
class OnQueue:
    """Actions on a queue."""

    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnTopic:
    """Actions on a topic."""

    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnParameter:
    """Reading one parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class OnMachine:
    """Starting executions of the state machine."""


@dataclass(frozen=True, slots=True)
class OnExecutions:
    """Actions on executions of the state machine."""

    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnDistribution:
    """Actions on the edge."""

    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnEncodings:
    """Actions on the jobs that encode videos."""

    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnEncodingQueue:
    """Actions on the queue in which those jobs wait."""

    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HandingOver:
    """Handing a role to one service, and to no other."""

    role: str
    service: str


@dataclass(frozen=True, slots=True)
class OnEverything:
    """Actions for which IAM knows no resource."""

    actions: tuple[str, ...]
    because: str
    condition: Mapping[str, Mapping[str, str]] | None = None


Right = (
    OnBucket
    | OnObjects
    | OnTable
    | OnStream
    | OnQueue
    | OnTopic
    | OnParameter
    | OnMachine
    | OnExecutions
    | OnDistribution
    | OnEncodings
    | OnEncodingQueue
    | HandingOver
    | OnEverything
)


@dataclass(frozen=True, slots=True)
class Places:
    """What statements are about: names, and what only CloudFormation knows."""

    names: Names
    metadata_stream_arn: str
    distribution_arn: str
    encoding_queue: str = DEFAULT_QUEUE
    """Its name."""


# -- what the code does ------------------------------------------------------------------------------------------

_READ_CURRENT: Final = ("s3:GetObject",)
_READ: Final = (*_READ_CURRENT, "s3:GetObjectVersion")
_READ_TAGS: Final = ("s3:GetObjectTagging", "s3:GetObjectVersionTagging")
_WRITE: Final = ("s3:PutObject", "s3:AbortMultipartUpload")
_WRITE_TAGS: Final = ("s3:PutObjectTagging",)
_ERASE: Final = ("s3:DeleteObjectVersion",)
_LIST: Final = ("s3:ListBucket",)
"""Also what tells a missing object (404) from a forbidden one (403)."""
_LIST_VERSIONS: Final = ("s3:ListBucket", "s3:ListBucketVersions")
_GET_AND_PUT: Final = ("dynamodb:GetItem", "dynamodb:PutItem")
_ENTRIES: Final = (*_GET_AND_PUT, "dynamodb:Query")
_ALL: Final = ("",)

TRACING: Final = OnEverything(
    ("xray:PutTraceSegments", "xray:PutTelemetryRecords"), because="X-Ray's segments are no resources of IAM"
)
_FAILED_CALLS: Final = OnQueue(FAILED_CALLS_QUEUE_NAME, ("sqs:SendMessage",))
_ALERT: Final = OnTopic(TOPIC_NAME, ("sns:Publish",))

_RECORDS: Final = (OnTable(METADATA, _GET_AND_PUT), OnTable(LEDGER, _ENTRIES))
"""Every step notes its status in the version's entry and in the record that shows it."""
_ORIGINALS: Final = (OnBucket(BucketRole.PRIMARY, _LIST), OnObjects(BucketRole.PRIMARY, _ALL, _READ))
_MANIFESTS: Final = (
    OnBucket(BucketRole.ANALYTICS, _LIST),
    OnObjects(BucketRole.ANALYTICS, (f"{MANIFEST_FOLDER}/",), (*_READ_CURRENT, *_WRITE, *_ERASE)),
)
"""A file's sidecar: written anew, and only its newest version kept."""
_HASHING: Final = (
    OnBucket(BucketRole.ANALYTICS, _LIST_VERSIONS),
    OnObjects(BucketRole.ANALYTICS, (f"{STATE_FOLDER}/",), (*_READ_CURRENT, *_WRITE, *_ERASE)),
)
"""Where the hash of a large file stands: kept after each step, erased after the last."""
_PURGE: Final = (OnParameter(DISTRIBUTION_PARAMETER), OnDistribution(("cloudfront:CreateInvalidation",)))
_TAKE_OFF: Final = (
    *_PURGE,
    OnBucket(BucketRole.PROCESSED, ("s3:ListBucketVersions",)),
    OnObjects(BucketRole.PROCESSED, PUBLIC_PREFIXES, _ERASE),
)
"""Public keys that no record shows any more are erased with their past, unread, and taken off the edge."""
_SHOW: Final = (
    *_TAKE_OFF,
    OnBucket(BucketRole.PROCESSED, _LIST),
    OnObjects(BucketRole.PROCESSED, PUBLIC_PREFIXES, (*_READ_CURRENT, *_WRITE, *_WRITE_TAGS)),
    OnObjects(BucketRole.PROCESSED, (VERSIONS_PREFIX,), (*_READ, *_READ_TAGS)),
)
"""Public keys are copies of a version's own renditions."""
_FORGET: Final = (OnObjects(BucketRole.PROCESSED, (VERSIONS_PREFIX,), _ERASE),)
"""What was made of a version that is gone for good is erased."""
_KEEP_EXECUTIONS: Final = (
    OnTable(LEDGER, (*_ENTRIES, "dynamodb:UpdateItem", "dynamodb:DeleteItem")),
    OnExecutions(("states:DescribeExecution", "states:GetExecutionHistory")),
)
"""Executions are rows of the ledger, with a lock a version (which is what is deleted) and their history."""
_START_AND_STOP: Final = (*_KEEP_EXECUTIONS, OnMachine(), OnExecutions(("states:StopExecution",)))
_STOP_ENCODING: Final = (
    OnEncodings(("mediaconvert:GetJob", "mediaconvert:CancelJob")),
    OnBucket(BucketRole.PROCESSED, ("s3:ListBucketVersions",)),
    OnObjects(BucketRole.PROCESSED, (STAGED_PREFIX,), _ERASE),
)
"""Where a video is given up, its encoding is, too, and what that was reading is erased."""
_TAKE_IN: Final = (
    OnBucket(BucketRole.PRIMARY, _LIST_VERSIONS),
    OnObjects(BucketRole.PRIMARY, _ALL, (*_READ, *_READ_TAGS)),
    OnBucket(BucketRole.RAW, _LIST),
    OnObjects(BucketRole.RAW, ("year=",), (*_READ, *_WRITE, *_WRITE_TAGS)),
    *_SHOW,
    *_FORGET,
    *_MANIFESTS,
    *_HASHING,
    *_RECORDS,
    OnTable(
        METADATA, ("dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"), ("by-redirect-target",)
    ),  # a new file under an old name: what was led there is led on
    *_START_AND_STOP,
    OnEncodings(("mediaconvert:GetJob", "mediaconvert:CancelJob")),
)
"""Ingest brings one key to what the store says: raw copy, record, execution, public keys."""
_RECORD_A_FAILURE: Final = (*_TAKE_OFF, *_MANIFESTS, *_RECORDS, *_STOP_ENCODING)
"""The failed step itself, and what runs for an execution that ended past every step."""
_COMPLETE: Final = (
    *_ORIGINALS,
    OnBucket(BucketRole.PROCESSED, _LIST_VERSIONS),
    OnObjects(BucketRole.PROCESSED, (VERSIONS_PREFIX,), (*_READ, *_READ_TAGS, *_WRITE, *_WRITE_TAGS, *_ERASE)),
    OnTable(METADATA, _GET_AND_PUT),
    OnTable(LEDGER, ("dynamodb:GetItem", "dynamodb:Query"), ("by-content",)),
)
_RENDER: Final = (*_COMPLETE, OnTable(LEDGER, _GET_AND_PUT))
"""A processor reads the original, and writes the version's own renditions or takes over those of the same content."""
_ENCODE: Final = (
    OnParameter(ROLE_PARAMETER),
    # A job whose id was lost is looked for before another one is asked, and paid, for.
    OnEncodingQueue(("mediaconvert:CreateJob", "mediaconvert:ListJobs")),
    OnEncodings(("mediaconvert:GetJob", "mediaconvert:CancelJob", "mediaconvert:TagResource")),
    HandingOver(MEDIACONVERT_ROLE_NAME, MEDIACONVERT),
)

RIGHTS: Final[Mapping[str, tuple[Right, ...]]] = {
    "content-upload-handler": (
        *_TAKE_IN,
        OnQueue(
            UPLOADS.name,
            (
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",  # looked up to put a failed message off
                "sqs:ChangeMessageVisibility",
            ),
        ),
    ),
    "content-image-processor": _RENDER,
    "content-video-processor": (*_RENDER, *_ENCODE),
    "check-mediaconvert-status": (
        OnEncodings(("mediaconvert:GetJob",)),
        OnTable(METADATA, _GET_AND_PUT),
        OnTable(LEDGER, ("dynamodb:GetItem",)),
    ),
    "content-video-finisher": (*_COMPLETE, OnEncodings(("mediaconvert:GetJob",))),
    "content-audio-processor": _RENDER,
    "content-document-processor": _RENDER,
    "content-generic-processor": (*_ORIGINALS, OnTable(METADATA, _GET_AND_PUT), OnTable(LEDGER, _GET_AND_PUT)),
    "update-metadata": (*_SHOW, *_MANIFESTS, *_RECORDS),
    "record-failure": _RECORD_A_FAILURE,
    "cloudfront-invalidation": _PURGE,
    "content-image-transformer": (
        *_ORIGINALS,
        OnBucket(BucketRole.PROCESSED, _LIST),
        OnObjects(BucketRole.PROCESSED, (VERSIONS_PREFIX,), _READ_CURRENT),
        OnTable(METADATA, ("dynamodb:GetItem",)),
        OnTable(LEDGER, ("dynamodb:Query",)),  # while a new version is processed, the one before is shown
    ),
    "content-search-indexer": (
        OnStream(),
        OnTable(METADATA, ("dynamodb:GetItem",)),
        # Rows are put and deleted in batches; a file is counted by one transaction of updates.
        OnTable(SEARCH, ("dynamodb:BatchWriteItem", "dynamodb:GetItem", "dynamodb:UpdateItem")),
        _FAILED_CALLS,
    ),
    "content-execution-recorder": (
        *_RECORD_A_FAILURE,
        *_KEEP_EXECUTIONS,
        _FAILED_CALLS,
    ),
    "content-reconciler": (
        *_TAKE_IN,
        OnTable(METADATA, ("dynamodb:Query", "dynamodb:BatchGetItem"), ("by-upload-time",)),
        OnObjects(BucketRole.ANALYTICS, (POSITION_KEY,), (*_READ_CURRENT, *_WRITE)),
        _FAILED_CALLS,
    ),
    "content-backup-validator": (
        OnBucket(BucketRole.PRIMARY, _LIST_VERSIONS),
        OnObjects(BucketRole.PRIMARY, _ALL, _READ),
        OnBucket(BucketRole.BACKUP, _LIST_VERSIONS),
        OnObjects(BucketRole.BACKUP, _ALL, _READ),
        OnBucket(BucketRole.ANALYTICS, _LIST),
        OnObjects(BucketRole.ANALYTICS, (REPORTS_PREFIX,), (*_READ_CURRENT, *_WRITE)),
        _ALERT,
        _FAILED_CALLS,
    ),
    "content-metadata-export": (
        OnTable(METADATA, ("dynamodb:Query", "dynamodb:BatchGetItem"), ("by-upload-time",)),
        OnObjects(BucketRole.ANALYTICS, (CONTENT_METADATA.folder,), _WRITE),
        _FAILED_CALLS,
    ),
    "cost-report-generator": (
        OnEverything(
            ("ce:GetCostAndUsage", "freetier:GetFreeTierUsage"),
            because="costs and the free tier's use are the account's, not a resource's",
        ),
        _ALERT,
        _FAILED_CALLS,
    ),
}


# -- as IAM says it ----------------------------------------------------------------------------------------------

Statement = dict[str, Any]
_READING: Final = frozenset({"dynamodb:Query"})
_STREAM_ACTIONS: Final = ("dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:DescribeStream")


def log_group_name(function: str) -> str:
    """Where a function logs to."""
    return f"/aws/lambda/{function}"


def statements(function: str, places: Places) -> list[Statement]:
    """The IAM statements of one function's role, its own log group and tracing included."""
    names = places.names
    own_log = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": names.arn("logs", f"log-group:{log_group_name(function)}:*"),
    }
    merged: dict[tuple[Any, ...], Statement] = {}
    for right in (*RIGHTS[function], TRACING):
        for statement in _of(right, places):
            _merge(merged, statement)
    return [own_log, *merged.values()]


def _merge(merged: dict[tuple[Any, ...], Statement], statement: Statement) -> None:
    """Add a statement to those of the same service, resources and conditions."""
    service = statement["Action"][0].partition(":")[0]
    key = (service, tuple(statement["Resource"]), repr(statement.get("Condition")))
    known = merged.setdefault(key, {**statement, "Action": []})
    known["Action"] = sorted({*known["Action"], *statement["Action"]})


def _of(right: Right, places: Places) -> Iterator[Statement]:  # noqa: C901, PLR0912 - one case a sort of right
    names = places.names
    match right:
        case OnBucket(bucket, actions):
            yield _in_this_account(names, actions, [names.bucket_arn(bucket)])
        case OnObjects(bucket, prefixes, actions):
            yield _in_this_account(names, actions, [names.objects_arn(bucket, prefix) for prefix in prefixes])
        case OnTable(table, actions, indexes):
            yield from _on_table(names, table, actions, indexes)
        case OnStream():
            yield _allow(_STREAM_ACTIONS, [places.metadata_stream_arn])
            yield _allow(("dynamodb:ListStreams",), [f"{_table_arn(names, METADATA)}/stream/*"])
        case OnQueue(name, actions):
            yield _allow(actions, [names.arn("sqs", name)])
        case OnTopic(name, actions):
            yield _allow(actions, [names.arn("sns", name)])
        case OnParameter(name):
            yield _allow(("ssm:GetParameter",), [names.arn("ssm", f"parameter{name}")])
        case OnMachine():
            yield _allow(("states:StartExecution",), [machine_arn(names)])
        case OnExecutions(actions):
            yield _allow(actions, [names.arn("states", f"execution:{STATE_MACHINE_NAME}:*")])
        case OnDistribution(actions):
            yield _allow(actions, [places.distribution_arn])
        case OnEncodings(actions):
            yield _allow(actions, [names.arn("mediaconvert", "jobs/*")])
        case OnEncodingQueue(actions):
            yield _allow(actions, [names.arn("mediaconvert", f"queues/{places.encoding_queue}")])
        case HandingOver(role, service):
            only = {"StringEquals": {"iam:PassedToService": service}}
            yield {**_allow(("iam:PassRole",), [names.role_arn(role)]), "Condition": only}
        case OnEverything(actions, _because, condition):
            yield {**_allow(actions, ["*"]), **({"Condition": dict(condition)} if condition else {})}


def machine_arn(names: Names) -> str:
    """The state machine's ARN."""
    return names.arn("states", f"stateMachine:{STATE_MACHINE_NAME}")


def _on_table(names: Names, table: Table, actions: tuple[str, ...], indexes: tuple[str, ...]) -> Iterator[Statement]:
    arn = _table_arn(names, table)
    if unknown := set(indexes) - {index.name for index in table.indexes}:
        raise KeyError(f"{table.name} has no index {', '.join(sorted(unknown))}")
    yield _allow(actions, [arn])
    if indexes:
        reading = tuple(action for action in actions if action in _READING)
        yield _allow(reading, [f"{arn}/index/{index}" for index in indexes])


def _table_arn(names: Names, table: Table) -> str:
    return names.arn("dynamodb", f"table/{table.name}")


def _allow(actions: tuple[str, ...], resources: list[str]) -> Statement:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resources}


def _in_this_account(names: Names, actions: tuple[str, ...], resources: list[str]) -> Statement:
    """A bucket's name says nothing of whose it is: without this, a stranger's bucket of that name would do."""
    condition = {"StringEquals": {"aws:ResourceAccount": names.account_id}}
    return {**_allow(actions, resources), "Condition": condition}


def policy_document(found: Iterable[Statement]) -> iam.PolicyDocument:
    """Statements as they stand: the CDK would put those of the same resource together, whatever they are for."""
    return iam.PolicyDocument(minimize=False, statements=[iam.PolicyStatement.from_json(one) for one in found])
