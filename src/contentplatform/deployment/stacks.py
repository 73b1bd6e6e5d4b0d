"""The stacks in the account, as CloudFormation tells of them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from contentplatform.clock import Clock
from contentplatform.config import Settings
from contentplatform.deployment.account import QUALIFIER
from contentplatform.deployment.assembly import RETAINED
from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import Conflict, InvalidRequest, Unavailable

BUCKET_POLICY: Final = "AWS::S3::BucketPolicy"
_ONLY_OVER_TLS: Final = "OnlyOverTls"
"""The one statement of every bucket's policy that hinders nobody."""
_POLL_SECONDS: Final = 5.0
_SETTLES_WITHIN_SECONDS: Final = 2 * 3600.0
"""A distribution of the edge takes minutes to make, and as long again to take away."""
_GO_WITH_THEIR_OWNER: Final = frozenset({BUCKET_POLICY})
_FAILED_CREATIONS: Final = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
_CAPABILITIES: Final = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
_NO_UPDATE: Final = "No updates are to be performed"
_NOT_THE_CAUSE: Final = re.compile(r"(creation|update|deletion|operation) cancelled", re.IGNORECASE)

_ELSEWHERE: Final = "DescribeEvents"
"""Named in a reason that only says where the reasons are."""


@dataclass(frozen=True, slots=True)
class StackPlace:
    """Where a stack of the platform is."""

    name: str
    in_backup_region: bool = False

    def region(self, settings: Settings) -> str:
        """Its region in a deployment with these settings."""
        return settings.aws.backup_region if self.in_backup_region else settings.aws.region


STACKS: Final = (
    StackPlace("ContentPlatformBackup", in_backup_region=True),
    StackPlace("ContentPlatformKeys"),
    StackPlace("ContentPlatform"),
    StackPlace("ContentPlatformDeliveryLogs"),
    StackPlace("ContentPlatformGovernance"),
    StackPlace("ContentPlatformAudit", in_backup_region=True),
)
"""Every stack, in the order in which they are deployed; the other way round they are taken down."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A resource that CloudFormation could not make, change or remove."""

    stack: str
    resource: str
    kind: str
    reason: str

    def advice(self) -> str:
        """What to do about it."""
        return next(words for pattern, words in _ADVICE if re.search(pattern, self.reason, re.IGNORECASE))


_ADVICE: Final = (
    (
        r"could not be resolved|Parameters: \[ssm:|Unable to fetch parameters",
        "Another stack writes that parameter: deploy without --only, or that stack first",
    ),
    (
        r"already exists|BucketAlreadyOwnedByYou|AlreadyExists",
        "Something of that name is there and belongs to no deployment: delete it, or set another storage.bucket_suffix",
    ),
    (r"AccessDenied|not authorized|UnauthorizedOperation", "Ask whoever manages the account for that right"),
    (r"LimitExceeded|quota|TooMany", "Ask for a higher quota in Service Quotas, or remove what is no longer needed"),
    (r"Throttl|Rate exceeded|ServiceUnavailable|InternalFailure", "AWS was busy: the same command goes on from here"),
    (r"", "Mend that; the same command goes on from here"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that outlives its stack."""

    stack: str
    region: str
    kind: str
    name: str
    """Its own name in AWS."""


class Stacks:
    """The stacks of one account."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self._aws = aws
        self._clock = clock

    def describe(self, name: str, region: str) -> Mapping[str, Any] | None:
        """What CloudFormation says of a stack; None: there is none.

        Raises:
            ConfigurationInvalid: the credentials may not ask.
            Unavailable: AWS can't be reached.
        """
        try:
            with translated(f"looking at the stack {name}"):
                answer = self._aws.client("cloudformation", region).describe_stacks(StackName=name)
        except InvalidRequest as error:
            if "does not exist" in error.why:
                return None
            raise
        found: Mapping[str, Any] = answer["Stacks"][0]
        return None if found["StackStatus"] in {"DELETE_COMPLETE", "REVIEW_IN_PROGRESS"} else found

    def status(self, name: str, region: str) -> str:
        """A stack's status; empty: there is none."""
        found = self.describe(name, region)
        return "" if found is None else str(found["StackStatus"])

    def outputs(self, name: str, region: str) -> dict[str, tuple[str, str]]:
        """What a stack tells: value and description by name."""
        found = self.describe(name, region)
        return {
            str(output["OutputKey"]): (str(output["OutputValue"]), str(output.get("Description", "")))
            for output in (found or {}).get("Outputs", ())
        }

    def template(self, name: str, region: str) -> Mapping[str, Any]:
        """The template that a stack was made from; empty if there is no such stack."""
        if self.describe(name, region) is None:
            return {}
        with translated(f"reading the template of the stack {name}"):
            answer = self._aws.client("cloudformation", region).get_template(StackName=name, TemplateStage="Original")
        body = answer["TemplateBody"]
        document: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
        return document

    def wait_until_settled(self, name: str, region: str, tell: Callable[[str], None]) -> str:
        """Wait until nothing is under way in a stack, then tell its status; empty: there is none (any more).

        Raises:
            Unavailable: it did not settle within hours.
        """
        given_up_at = self._clock.monotonic_seconds() + _SETTLES_WITHIN_SECONDS
        told = False
        while (status := self.status(name, region)).endswith("_IN_PROGRESS"):
            if not told:
                tell(f"{name}: something is under way there ({status}); waiting for it to end")
                told = True
            if self._clock.monotonic_seconds() > given_up_at:
                raise Unavailable(
                    f"waiting for the stack {name}",
                    f"it is still {status}",
                    hint="Look at it in the console of CloudFormation, then try again",
                )
            self._clock.wait(threading.Event(), _POLL_SECONDS)
        return status

    def failures(self, name: str, region: str, since: datetime) -> tuple[Failure, ...]:
        """What failed in a stack since then, the first cause first."""
        found = [
            Failure(
                name,
                str(event["LogicalResourceId"]),
                str(event["ResourceType"]),
                str(event.get("ResourceStatusReason", "CloudFormation gives no reason")),
            )
            for event in self._events(name, region, since)
            if str(event["ResourceStatus"]).endswith("_FAILED")
        ]
        causes = [failure for failure in reversed(found) if not _NOT_THE_CAUSE.search(failure.reason)]
        if any(_ELSEWHERE in failure.reason for failure in causes):
            causes = [failure for failure in causes if _ELSEWHERE not in failure.reason]
            causes.extend(self._refused_before(name, region, since))
        return tuple(dict.fromkeys(causes))

    def _refused_before(self, name: str, region: str, since: datetime) -> Iterator[Failure]:
        """What CloudFormation refused before it began, which it does not tell with the other events."""
        client = self._aws.client("cloudformation", region)
        with translated(f"reading what CloudFormation refused of the stack {name}"):
            answer = client.describe_events(StackName=name, Filters={"FailedEvents": True})
            for event in answer["OperationEvents"]:
                if event["EventType"] == "VALIDATION_ERROR" and event["Timestamp"] >= since:
                    yield Failure(
                        name,
                        str(event.get("LogicalResourceId", name)),
                        str(event.get("ResourceType", "")),
                        str(event.get("ValidationStatusReason", "CloudFormation gives no reason")),
                    )

    def kept_after_deletion(self, name: str, region: str) -> tuple[Kept, ...]:
        """The resources that stay when a stack is deleted."""
        template = self.template(name, region).get("Resources", {})
        staying = {
            logical
            for logical, resource in template.items()
            if resource.get("DeletionPolicy") in RETAINED and resource.get("Type") not in _GO_WITH_THEIR_OWNER
        }
        return tuple(
            Kept(name, region, kind, own_name)
            for logical, kind, own_name in self._held(name, region)
            if logical in staying
        )

    def goes_with(self, name: str, region: str) -> frozenset[str]:
        """The names of the resources that are deleted with a stack."""
        staying = {kept.name for kept in self.kept_after_deletion(name, region)}
        return frozenset(own_name for _, _, own_name in self._held(name, region)) - staying

    def _held(self, name: str, region: str) -> Iterator[tuple[str, str, str]]:
        """Logical id, type and own name of everything that a stack holds; nothing if there is no such stack."""
        if self.describe(name, region) is None:
            return
        with translated(f"listing what the stack {name} holds"):
            pages = self._aws.client("cloudformation", region).get_paginator("list_stack_resources")
            for page in pages.paginate(StackName=name):
                for resource in page["StackResourceSummaries"]:
                    if own_name := resource.get("PhysicalResourceId"):
                        yield str(resource["LogicalResourceId"]), str(resource["ResourceType"]), str(own_name)

    def never_came_about(self, name: str, region: str) -> bool:
        """Whether a stack only stands there as the trace of a failed creation: it can't be changed, only deleted."""
        return self.status(name, region) in _FAILED_CREATIONS

    def lift_guards(self, name: str, region: str, tell: Callable[[str], None]) -> None:
        """Take away, by the deployment's own role, what keeps everybody else from deleting a stack's buckets.

        The buckets' policies exempt the role with which CloudFormation works, so a person's credentials need no
        exemption of their own; they need the right to update the stack.

        Raises:
            ConfigurationInvalid, Conflict: the stack can't be updated.
            Unavailable: it did not end within hours.
        """
        template = json.loads(json.dumps(self.template(name, region)))
        guarded = [one for one in template.get("Resources", {}).values() if one.get("Type") == BUCKET_POLICY]
        if not guarded or self.never_came_about(name, region):
            return
        for policy in guarded:
            document = policy["Properties"]["PolicyDocument"]
            document["Statement"] = [one for one in document["Statement"] if one.get("Sid") == _ONLY_OVER_TLS]
            if not document["Statement"]:
                return  # none of the platform's own policies: nothing to lift
        tell(f"{name}: lifting the guards of its buckets")
        client = self._aws.client("cloudformation", region)
        key = f"contentplatform/{name}-without-guards.json"
        bucket = f"cdk-{QUALIFIER}-assets-{self._aws.account_id}-{region}"
        doing = f"lifting the guards of the buckets of {name}"
        storage = self._aws.client("s3", region)
        with translated(doing):
            storage.put_object(
                Bucket=bucket,
                Key=key,
                Body=json.dumps(template).encode(),
                ExpectedBucketOwner=self._aws.account_id,
            )
        try:
            with translated(doing):
                client.update_stack(
                    StackName=name,
                    TemplateURL=f"{storage.meta.endpoint_url}/{bucket}/{key}",
                    Capabilities=list(_CAPABILITIES),
                    Parameters=[
                        {"ParameterKey": parameter, "UsePreviousValue": True}
                        for parameter in template.get("Parameters", {})
                    ],
                )
        except InvalidRequest as error:
            if _NO_UPDATE not in error.why:
                raise
            return  # lifted already, by a run that was interrupted
        status = self.wait_until_settled(name, region, _silent)
        if status != "UPDATE_COMPLETE":
            raise Conflict(
                doing,
                f"the stack is {status}",
                hint="Deploy it again, then repeat the command",
            )

    def delete(self, name: str, region: str, tell: Callable[[str], None]) -> tuple[Failure, ...]:
        """Delete a stack and wait; returns what could not be removed. Nothing happens if there is no such stack.

        Raises:
            Unavailable: it did not end within hours.
        """
        if not self.wait_until_settled(name, region, tell):
            return ()
        client = self._aws.client("cloudformation", region)
        began = self._clock.now()
        with translated(f"deleting the stack {name}", why={Conflict: "something else is under way in it"}):
            client.update_termination_protection(StackName=name, EnableTerminationProtection=False)
            client.delete_stack(StackName=name)
        status = self.wait_until_settled(name, region, _silent)
        return self.failures(name, region, began) if status else ()

    def _events(self, name: str, region: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """A stack's events since then, the newest first."""
        with translated(f"reading what happened in the stack {name}"):
            pages = self._aws.client("cloudformation", region).get_paginator("describe_stack_events")
            for page in pages.paginate(StackName=name):
                for event in page["StackEvents"]:
                    if event["Timestamp"] < since:
                        return
                    yield event


def _silent(_line: str) -> None:
    """Said already."""
