"""Each function may do exactly what it does: cut any right of its role, and some call of it is refused.

The emulator enforces every role here, so that the flow tests show that nothing is missing. These show that nothing is
too much. Each right of each role, as deployed, stands either in ``PROVED``, beside the call that needs it, or in
``UNPROVED``, with why the emulator can't tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from aws.conftest import SUFFIX, Deployed
from aws.function_calls import CALLS, Called, Stage
from contentplatform.app import AwsHome
from contentplatform.lambdas.functions import FUNCTIONS

REFUSED: Final = "may not do this"
"""In the words of whatever AWS does not allow."""
POLICY: Final = "rights"
SLOW: Final = frozenset(
    {"content-reconciler", "content-execution-recorder", "content-video-processor", "content-video-finisher"}
)
"""Their calls take seconds. What they do others do, too: the upload handler, the recording of a failure, the image
processor."""
_BUCKET: Final = re.compile(r"arn:aws:s3:::content-platform-([a-z]+)-[a-z]+(.*)")


@dataclass(frozen=True, order=True)
class Right:
    """One action that a role allows, and on what."""

    action: str
    place: str

    def __str__(self) -> str:
        return f"{self.action} on {self.place}"


Policy = Mapping[str, Any]


def place_of(resource: str) -> str:
    """What a resource is called here: short, and the same in every account."""
    if bucket := _BUCKET.fullmatch(resource):
        return bucket[1] + bucket[2]
    service, named = resource.split(":", 5)[2:6:3] if resource != "*" else ("", "*")
    if service in {"logs", "cloudfront"}:
        return service
    named, _, of_stream = named.removeprefix("table/").removeprefix("parameter/").partition("/stream/")
    return f"{named}/stream" if of_stream else named


def rights_of(policy: Policy) -> Iterator[tuple[Right, int]]:
    """Every right of a policy, and which statement gives it."""
    for number, statement in enumerate(policy["Statement"]):
        for action in _listed(statement["Action"]):
            yield Right(action, place_of(_listed(statement["Resource"])[0])), number


def without(policy: Policy, rights: Iterable[Right]) -> Policy:
    """A policy without some of its rights."""
    gone = set(rights)
    left = []
    for statement in policy["Statement"]:
        place = place_of(_listed(statement["Resource"])[0])
        actions = [action for action in _listed(statement["Action"]) if Right(action, place) not in gone]
        left += [{**statement, "Action": actions}] if actions else []
    return {**policy, "Statement": left}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


# -- what needs what ---------------------------------------------------------------------------------------------

_PURGED: Final = "cloudfront: cloudfront:CreateInvalidation"
_LOOKED_UP: Final = {"in a new process": "contentplatform/cloudfront/distribution-id: ssm:GetParameter"}
_OWN_RECORDS: Final = (
    "content-metadata: dynamodb:GetItem dynamodb:PutItem\ncontent-ledger: dynamodb:GetItem dynamodb:PutItem"
)
_OF_A_MANIFEST: Final = "analytics/catalog/manifests/*: s3:GetObject s3:PutObject"
_TAKEN_OFF: Final = f"""
    {_PURGED}
    processed: s3:ListBucketVersions
    processed/processed/thumbnails/*: s3:DeleteObjectVersion
    {_OF_A_MANIFEST} s3:DeleteObjectVersion
    {_OWN_RECORDS} dynamodb:Query
"""
_TAKE_IN: Final[Mapping[str, str]] = {
    "a new file": f"""
        primary: s3:ListBucketVersions
        primary/*: s3:GetObject s3:GetObjectVersion
        raw/year=*: s3:GetObject s3:GetObjectVersion s3:PutObject
        {_OWN_RECORDS} dynamodb:Query dynamodb:UpdateItem
        stateMachine:content-processing-workflow: states:StartExecution
    """,
    "a removed photo": f"""
        {_PURGED}
        processed: s3:ListBucketVersions
        processed/processed/thumbnails/*: s3:DeleteObjectVersion
        {_OF_A_MANIFEST} s3:DeleteObjectVersion
    """,
    "a photo deleted for good": """
        processed/processed/thumbnails/*: s3:GetObject
        processed/versions/*: s3:DeleteObjectVersion
    """,
    "a photo brought back": """
        processed/processed/thumbnails/*: s3:PutObject
        processed/versions/*: s3:GetObject s3:GetObjectVersion
    """,
    "a file deleted while it is processed": """
        content-ledger: dynamodb:DeleteItem
        execution:content-processing-workflow:*: states:DescribeExecution states:GetExecutionHistory
        execution:content-processing-workflow:*: states:StopExecution
    """,
    "a file that is half hashed": """
        analytics: s3:ListBucketVersions
        analytics/hashing/*: s3:GetObject s3:DeleteObjectVersion
    """,
    "a file by the name of one that was moved": """
        content-metadata: dynamodb:BatchGetItem dynamodb:UpdateItem
        content-metadata/index/by-redirect-target: dynamodb:Query
    """,
    **_LOOKED_UP,
}
_RENDERED: Final = f"""
    primary/*: s3:GetObject s3:GetObjectVersion
    processed/versions/*: s3:PutObject
    {_OWN_RECORDS}
    content-ledger/index/by-content: dynamodb:Query
"""
_TAKEN_OVER: Final = "processed/versions/*: s3:GetObject s3:GetObjectVersion"
_DISCARDED: Final = """
    processed: s3:ListBucketVersions
    processed/versions/*: s3:DeleteObjectVersion
"""
PROVED: Final[Mapping[str, Mapping[str, str]]] = {
    "content-upload-handler": {
        **_TAKE_IN,
        "a message that fails": "content-platform-uploads: sqs:GetQueueUrl sqs:ChangeMessageVisibility",
    },
    "content-image-processor": {
        "a new photo": _RENDERED,
        "a photo whose content is known": _TAKEN_OVER,
        "a photo that is deleted meanwhile": _DISCARDED,
    },
    "content-video-processor": {
        "a new film": f"""
            {_RENDERED}
            processed/versions/*: s3:GetObject
            contentplatform/mediaconvert/role-arn: ssm:GetParameter
        """,
        "a film whose content is known": "processed/versions/*: s3:GetObjectVersion",
        "a film that is deleted meanwhile": _DISCARDED,
    },
    "check-mediaconvert-status": {"a film at MediaConvert": "content-ledger: dynamodb:GetItem"},
    "content-video-finisher": {
        "an encoded film": """
            primary/*: s3:GetObject s3:GetObjectVersion
            processed: s3:ListBucketVersions
            processed/versions/*: s3:GetObject s3:GetObjectVersion s3:PutObject s3:DeleteObjectVersion
            content-ledger: dynamodb:GetItem
        """,
        "a film without pictures": "content-ledger/index/by-content: dynamodb:Query",
    },
    "content-audio-processor": {
        "a new sound": _RENDERED,
        "a sound whose content is known": _TAKEN_OVER,
        "a sound that is deleted meanwhile": _DISCARDED,
    },
    "content-document-processor": {
        "a new paper": _RENDERED,
        "a paper whose content is known": _TAKEN_OVER,
        "a paper that is deleted meanwhile": _DISCARDED,
    },
    "content-generic-processor": {
        "a new text": f"primary/*: s3:GetObject\n{_OWN_RECORDS}",
        "a text that was replaced": "primary/*: s3:GetObjectVersion",
    },
    "update-metadata": {
        "a new photo": f"""
            processed: s3:ListBucketVersions
            processed/processed/thumbnails/*: s3:GetObject s3:PutObject
            processed/versions/*: s3:GetObject s3:GetObjectVersion
            {_OF_A_MANIFEST}
            {_OWN_RECORDS} dynamodb:Query
        """,
        "a photo that replaces one": """
            processed/processed/thumbnails/*: s3:DeleteObjectVersion
            analytics/catalog/manifests/*: s3:DeleteObjectVersion
        """,
        "a text that replaces a photo": _PURGED,
        **_LOOKED_UP,
    },
    "record-failure": {
        "a broken photo that replaces one": _TAKEN_OFF,
        "a film whose encoding failed": "processed/versions/*/staging/*: s3:DeleteObjectVersion",
        **_LOOKED_UP,
    },
    "cloudfront-invalidation": {"a photo that replaced one": _PURGED, **_LOOKED_UP},
    "content-image-transformer": {
        "a picture of a photo": """
            primary/*: s3:GetObject s3:GetObjectVersion
            content-metadata: dynamodb:GetItem
        """,
        "a picture of a paper": "processed/versions/*: s3:GetObject",
        "a picture of a photo that is being replaced": "content-ledger: dynamodb:Query",
    },
    "content-search-indexer": {
        "a changed record": """
            content-metadata: dynamodb:GetItem
            content-search: dynamodb:BatchWriteItem dynamodb:GetItem dynamodb:UpdateItem
        """
    },
    "content-execution-recorder": {
        "an execution that was stopped by hand": f"""
            {_TAKEN_OFF}
            content-ledger: dynamodb:DeleteItem dynamodb:UpdateItem
            execution:content-processing-workflow:*: states:DescribeExecution states:GetExecutionHistory
        """,
        **_LOOKED_UP,
    },
    "content-reconciler": {
        **_TAKE_IN,
        "a stretch that is left": """
            analytics/reconciliation/position.json*: s3:GetObject s3:PutObject
            content-metadata/index/by-upload-time: dynamodb:Query
        """,
    },
    "content-backup-validator": {
        "a file": """
            primary: s3:ListBucketVersions
            backup: s3:ListBucketVersions
            analytics/backup-reports/*: s3:GetObject s3:PutObject
        """,
        "a copy that was stored in parts": """
            primary/*: s3:GetObject s3:GetObjectVersion
            backup/*: s3:GetObject s3:GetObjectVersion
        """,
        "fewer files than before": "backup-alerts: sns:Publish",
    },
    "content-metadata-export": {
        "a file": """
            content-metadata: dynamodb:BatchGetItem
            content-metadata/index/by-upload-time: dynamodb:Query
            analytics/content-metadata/*: s3:PutObject
        """
    },
    "cost-report-generator": {"a week": "backup-alerts: sns:Publish"},
}
"""By function and call: the rights that the call can't do without, as ``place: actions`` a line."""

_LAMBDA_ITSELF: Final = "Lambda itself asks by the function's role; the emulator asks nobody"
_MISSING: Final = "tells what is missing from what is forbidden; the emulator tells so to anybody"
_TAGS: Final = "AWS asks for it where a copy brings tags along or says that it has none; the emulator does not"
_PARTS: Final = "only where an upload or a copy in many parts broke off"
_INDEX_ALONE: Final = "AWS lists the table beside the index that is queried; the emulator asks for the index alone"
_STEPS: Final = "only while more than 1 GiB is left to hash of a file over 5 GB"
UNPROVED: Final[Mapping[str, str]] = {
    "*: logs:CreateLogStream logs:PutLogEvents xray:PutTelemetryRecords xray:PutTraceSegments": _LAMBDA_ITSELF,
    "*: s3:ListBucket": _MISSING,
    "*: s3:AbortMultipartUpload": _PARTS,
    "*: s3:GetObjectTagging s3:GetObjectVersionTagging s3:PutObjectTagging": _TAGS,
    "content-upload-handler: sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes": _LAMBDA_ITSELF,
    "content-search-indexer: dynamodb:DescribeStream dynamodb:ListStreams": _LAMBDA_ITSELF,
    "content-search-indexer: dynamodb:GetRecords dynamodb:GetShardIterator": _LAMBDA_ITSELF,
    "*: sqs:SendMessage": _LAMBDA_ITSELF,
    "content-upload-handler content-reconciler content-metadata-export content-image-processor content-video-processor "
    "content-video-finisher content-audio-processor content-document-processor: dynamodb:Query": _INDEX_ALONE,
    "*: mediaconvert:CreateJob mediaconvert:ListJobs mediaconvert:GetJob mediaconvert:CancelJob "
    "mediaconvert:TagResource": (
        "the emulator has no MediaConvert, and what stands for it asks no role of its callers"
    ),
    "content-video-processor: iam:PassRole": "the same: nobody asks",
    "check-mediaconvert-status content-video-finisher: dynamodb:GetItem dynamodb:PutItem": (
        "a progress that can't be shown fails nothing"
    ),
    "content-execution-recorder: s3:DeleteObjectVersion": "what an encoding was reading: as record-failure's",
    "content-upload-handler content-reconciler: s3:PutObject": _STEPS,
    "cost-report-generator: ce:GetCostAndUsage freetier:GetFreeTierUsage": "the bill here knows no roles",
}
"""``functions: actions`` that no call here proves, and why. What a call proves of a function is not meant."""


def proved(function: str) -> dict[Right, str]:
    """The rights of a function that a call proves, and which call."""
    found: dict[Right, str] = {}
    for call, text in PROVED.get(function, {}).items():
        for line in filter(None, map(str.strip, text.splitlines())):
            place, _, actions = line.rpartition(": ")
            found |= {Right(action, place): call for action in actions.split()}
    return found


def unproved(function: str, deployed: Iterable[Right]) -> set[Right]:
    """The rights of a function that no call proves, each with its reason in the list."""
    known = proved(function)
    named = {action for entry in UNPROVED for action in _actions(entry, function)}
    return {right for right in deployed if right not in known and right.action in named}


def _actions(entry: str, function: str) -> list[str]:
    functions, _, actions = entry.partition(": ")
    return actions.split() if functions == "*" or function in functions.split() else []


# -- the tests ---------------------------------------------------------------------------------------------------


@dataclass
class Role:
    """A function's role, as deployed; cut and put back."""

    home: AwsHome
    function: str

    def __post_init__(self) -> None:
        told = self._iam.get_role_policy(RoleName=self.name, PolicyName=POLICY)["PolicyDocument"]
        self.policy: Policy = json.loads(told) if isinstance(told, str) else told
        self.rights = [right for right, _ in rights_of(self.policy)]

    @property
    def name(self) -> str:
        return f"{self.function}-role"

    def put(self, policy: Policy) -> None:
        """Let the role allow this."""
        self._iam.put_role_policy(RoleName=self.name, PolicyName=POLICY, PolicyDocument=json.dumps(policy))

    @property
    def _iam(self) -> Any:
        return self.home.aws.client("iam")


@pytest.fixture
def stage(home: AwsHome, deployed: Deployed) -> Iterator[Stage]:
    """The deployed platform, held still."""
    assert deployed.emulator.certificate, "nothing is enforced on an emulator that is not guarded"
    with Stage(home, SUFFIX).held_still() as still:
        yield still


def called_with(stage: Stage, role: Role, event: Mapping[str, Any], policy: Policy) -> Called:
    """What a call comes to while the role allows only this."""
    role.put(policy)
    try:
        return stage.call(role.function, event)
    finally:
        role.put(role.policy)


def check_each_right(stage: Stage, role: Role, call: str, rights: Iterable[Right]) -> None:
    """A call is refused without each of these rights, and goes through when it is there again."""
    for right in rights:
        event = CALLS[role.function][call](stage)
        refused = called_with(stage, role, event, without(role.policy, [right]))
        assert REFUSED in refused.words, f"{role.function} needs no {right} for {call}: {refused.words[-2_000:]}"
        again = stage.call(role.function, event)
        assert REFUSED not in again.words, f"{role.function}, {right} put back: {again.words[-2_000:]}"


@pytest.mark.parametrize("function", PROVED)
def test_a_call_is_refused_without_a_right_that_it_needs(stage: Stage, function: str) -> None:
    """Of each function one call, and of each service that it asks one right; the long runs try all of them."""
    call = next(iter(PROVED[function]))
    of_each_service = {right.action.partition(":")[0]: right for right in needed_by(function, call)}
    tried = list(of_each_service.values())[: 1 if function in SLOW else None]
    check_each_right(stage, Role(stage.home, function), call, tried)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("function", "call"), [(function, call) for function, calls in PROVED.items() for call in calls]
)
def test_a_call_is_refused_without_any_one_right_that_it_needs(stage: Stage, function: str, call: str) -> None:
    """Each right costs a new process: who was refused is started anew."""
    check_each_right(stage, Role(stage.home, function), call, needed_by(function, call))


def needed_by(function: str, call: str) -> list[Right]:
    """The rights that this call proves."""
    needed = sorted(right for right, by in proved(function).items() if by == call)
    assert needed
    return needed


@pytest.mark.parametrize("function", [function.name for function in FUNCTIONS])
def test_every_right_of_a_role_is_proved_or_stands_in_the_list(home: AwsHome, function: str) -> None:
    deployed = set(Role(home, function).rights)
    known = set(proved(function))
    assert not known - deployed, "these were taken away"
    assert not deployed - known - unproved(function, deployed), "nothing shows that these are needed"


def test_every_reason_in_the_list_is_still_one(home: AwsHome) -> None:
    left = {(entry, action) for entry in UNPROVED for action in entry.partition(": ")[2].split()}
    for function in FUNCTIONS:
        for right in unproved(function.name, Role(home, function.name).rights):
            left -= {(entry, right.action) for entry in UNPROVED if right.action in _actions(entry, function.name)}
    assert not left, "no role has such a right that is not proved"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("function", "call"), [(function, call) for function, calls in CALLS.items() for call in calls]
)
def test_no_call_misses_the_rights_in_the_list(stage: Stage, function: str, call: str) -> None:
    """Where one does, the right can be proved."""
    role = Role(stage.home, function)
    policy = without(role.policy, unproved(function, role.rights))
    told = called_with(stage, role, CALLS[function][call](stage), policy)
    assert REFUSED not in told.words, told.words[-2_000:]


def test_the_emulator_refuses_what_a_role_does_not_allow(stage: Stage) -> None:
    """Without this the other tests could not fail."""
    role = Role(stage.home, "content-generic-processor")
    event = CALLS[role.function]["a new text"](stage)
    told = called_with(stage, role, event, {**role.policy, "Statement": role.policy["Statement"][:1]})
    assert told.failed
    assert told.answer["errorMessage"].startswith("[ConfigurationInvalid] ")
    assert REFUSED in told.answer["errorMessage"]
