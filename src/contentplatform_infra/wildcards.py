"""Every wildcard that a policy may hold, with its reason. A test finds any other, in whatever policy it stands.

A deny is left out: its wildcard takes more away, never less.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_BUCKETS: Final = r"arn:[\w-]+:s3:::content-platform-(primary|raw|processed|analytics|backup|logs)-[\w.-]+"


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A form of wildcard that is accepted."""

    text: str
    """Regular expression that the whole action, resource or principal matches. A reference reads ``<Name.Attribute>``
    there, as in ``Fn::Sub`` without the dollar."""
    because: str
    actions: str = r".*"
    """Regular expression that every action of the statement matches."""


WILDCARDS: Final[tuple[Wildcard, ...]] = (
    Wildcard(
        rf"{_BUCKETS}/[^*]*\*",
        "the objects of one bucket whose keys begin so: S3 has no other name for them",
        actions=r"s3:(\w*(Object|MultipartUpload)\w*|ReplicateDelete|ReplicateTags)",
    ),
    Wildcard(
        rf"{_BUCKETS}/versions/\*/(staging/\*|\d+p\.mp4)",
        "what one video's encoding reads and writes: in between stand the file, the version and the recipe",
        actions=r"s3:(GetObject|PutObject|AbortMultipartUpload|DeleteObjectVersion)",
    ),
    Wildcard(
        r"arn:[\w-]+:mediaconvert:[\w-]+:\d{12}:jobs/\*",
        "the jobs that encode videos, which are named when they are made",
        actions=r"mediaconvert:(GetJob|CancelJob|TagResource)",
    ),
    Wildcard(
        r"arn:[\w-]+:logs:[\w-]+:\d{12}:log-group:[\w/-]+:\*",
        "the streams of one log group, which are named when they are made",
        actions=r"logs:(CreateLogStream|PutLogEvents)",
    ),
    Wildcard(
        r"\*",
        "X-Ray and the management of log deliveries know no resource",
        actions=r"xray:\w+|logs:\w*(LogDelivery|LogDeliveries|ResourcePolicy|ResourcePolicies|LogGroups)",
    ),
    Wildcard(
        r"arn:[\w-]+:states:[\w-]+:\d{12}:execution:content-processing-workflow:\*",
        "the executions of one state machine, which are named when they are started",
        actions=r"states:\w+",
    ),
    Wildcard(
        r"arn:[\w-]+:dynamodb:[\w-]+:\d{12}:table/[\w-]+/stream/\*",
        "the stream of one table, which is named by the time at which it was switched on",
        actions=r"dynamodb:(DescribeStream|GetRecords|GetShardIterator|ListStreams)",
    ),
    Wildcard(r"\*", "costs and the free tier are the account's, not a resource's", actions=r"(ce|freetier):\w+"),
    Wildcard(
        r"principal \*",
        "the shared files are mounted without credentials of AWS; the condition asks for a mount target in the network",
        actions=r"elasticfilesystem:Client(Mount|Write)",
    ),
    Wildcard(
        r"kms:\*",
        "the account's own IAM decides who may use and manage the key; a key without that can be lost for ever",
        actions=r"kms:\*",
    ),
    Wildcard(
        r"principal \*",
        "whoever of this account may publish to the encrypted topic; the conditions ask for the account and for SNS",
        actions=r"kms:(Decrypt|GenerateDataKey\*?)",
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A wildcard in a statement that allows something."""

    kind: str
    """``Action``, ``Resource`` or ``Principal``."""
    text: str
    actions: tuple[str, ...]

    @property
    def reason(self) -> Wildcard | None:
        """Why it is accepted; none where it is not."""
        text = f"principal {self.text}" if self.kind == "Principal" else self.text
        for known in WILDCARDS:
            if re.fullmatch(known.text, text) and all(re.fullmatch(known.actions, action) for action in self.actions):
                return known
        return None


def wildcards_of(document: Mapping[str, Any]) -> Iterator[Found]:
    """The wildcards of a policy document: of what it allows, to whom, and on what."""
    for statement in _listed(document.get("Statement")):
        if statement.get("Effect") == "Allow":
            actions = tuple(_listed(statement.get("Action")))
            yield from (
                Found(kind, text, actions)
                for kind, texts in _parts(statement, actions)
                for text in texts
                if kind.startswith("Not") or "*" in text or "?" in text
            )


def _parts(statement: Mapping[str, Any], actions: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """What a statement speaks of. Whatever it lists by exclusion (``Not…``) is a wildcard in itself."""
    principals = statement.get("Principal", {})
    several = list(principals.values()) if isinstance(principals, Mapping) else [principals]
    yield "Action", list(actions)
    yield "Resource", [flattened(one) for one in _listed(statement.get("Resource"))]
    yield "Principal", [flattened(one) for named in several for one in _listed(named)]
    for excluding in ("NotAction", "NotResource", "NotPrincipal"):
        if excluding in statement:
            yield excluding, [flattened(statement[excluding])]


def flattened(reference: Any) -> str:
    """A reference of a template as one text, as cdk-nag writes it: ``<Name.Attribute>`` for what isn't known yet."""
    if isinstance(reference, str):
        return reference.replace("${", "<").replace("}", ">")
    if isinstance(reference, Mapping):
        if "Fn::Join" in reference:
            delimiter, items = reference["Fn::Join"]
            return str(delimiter).join(flattened(item) for item in items)
        if "Fn::Sub" in reference:
            return flattened(reference["Fn::Sub"])
        if "Fn::GetAtt" in reference:
            resource, attribute = reference["Fn::GetAtt"]
            return f"<{flattened(resource)}.{flattened(attribute)}>"
        if "Ref" in reference:
            return f"<{flattened(reference['Ref'])}>"
    return json.dumps(reference, separators=(",", ":"))


def _listed(given: Any) -> Sequence[Any]:
    if given is None:
        return ()
    return given if isinstance(given, list) else (given,)
