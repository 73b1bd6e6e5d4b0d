"""What ``verify`` looks at in the home on AWS only: that each resource is there in its right form, and answers.

What is right is read from the same data that the templates are rendered from.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from contentplatform.app import AwsHome, bucket_regions
from contentplatform.catalog.port import Record, SearchQuery
from contentplatform.catalog.tables import POINT_IN_TIME_RECOVERY_DAYS, TABLES
from contentplatform.drivers.boto import translated
from contentplatform.errors import NotFound
from contentplatform.ingest.queue import UPLOADS
from contentplatform.lambdas.functions import FUNCTIONS, RUNTIME
from contentplatform.monitoring.alarms import ALARMS
from contentplatform.storage.lifecycle import LifecycleRule, Tiering, bucket_name, lifecycle_rules
from contentplatform.storage.port import BucketRole
from contentplatform.storage.safeguards import REPLICATION
from contentplatform.verify.edge import Thumbnail, check_edge, thumbnail_of
from contentplatform.verify.report import FailedCheck, UnsureCheck
from contentplatform.verify.verification import HomeChecks
from contentplatform.workflow.asl import to_asl
from contentplatform.workflow.definition import STATE_MACHINE, Task

_REPLICATED_SHARE: Final = 0.9
_NEWEST: Final = 200
"""How many objects' replication is looked at."""
_READY: Final = frozenset({"Active", "Inactive"})
"""A function that nobody called for weeks is inactive; the next call wakes it."""
_QUIET_LOOKS: Final = 3
_LOOKS: Final = 240
_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 30


class AwsChecks(HomeChecks):
    """The resources of the home on AWS, through the services' own interfaces."""

    def __init__(self, home: AwsHome, stopping: threading.Event) -> None:
        self._home = home
        self._platform = home.platform
        self._settings = home.platform.settings
        self._stopping = stopping
        self._regions = bucket_regions(self._settings)
        self._thumbnail: Thumbnail | None = None

    def before(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "buckets are versioned", self._versioning
        yield "buckets are encrypted", self._encryption
        yield "buckets are closed to the public", self._public_access
        yield "buckets take requests over TLS only", self._tls
        yield "lifecycle rules are in force", self._lifecycle
        yield "replication is configured", self._replication_rule
        yield "tables are there, recoverable and protected", self._tables
        yield "functions are ready", self._functions
        yield "the queue calls the upload handler", self._queue
        yield "the workflow is deployed as it is defined", self._workflow
        yield "alarms are set and somebody is told", self._alarms

    def after(self, run: str) -> Iterator[tuple[str, Callable[[], str]]]:
        del run
        yield "edge answers", self._edge
        yield "at least 90 % is replicated", self._replicated
        yield "no event waits for a person", self._dead_events
        yield "metrics arrive", self._metrics

    def shown(self, record: Record) -> None:
        self._thumbnail = thumbnail_of(record)

    def takes_films(self) -> bool:
        return False

    def settle(self) -> None:
        """Wait, at most two minutes, until the queue has been empty for a moment."""
        quiet = 0
        for _ in range(_LOOKS):
            quiet = 0 if self._platform.events.waiting() else quiet + 1
            if quiet >= _QUIET_LOOKS:
                return
            self._platform.clock.wait(self._stopping, _LOOK_SECONDS)

    def guarded(self, role: BucketRole) -> bool:
        return role in {BucketRole.BACKUP, BucketRole.LOGS}

    def not_built(self) -> tuple[tuple[str, str], ...]:
        return ()

    # -- buckets ---------------------------------------------------------------------------------------------

    def _versioning(self) -> str:
        return self._each_bucket(
            lambda s3, where: s3.get_bucket_versioning(**where).get("Status"), "Enabled", "versioning is"
        )

    def _encryption(self) -> str:
        def algorithms(s3: Any, where: dict[str, str]) -> object:
            rules = s3.get_bucket_encryption(**where)["ServerSideEncryptionConfiguration"]["Rules"]
            return [rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules]

        return self._each_bucket(algorithms, ["AES256"], "the default encryption is")

    def _public_access(self) -> str:
        def closed(s3: Any, where: dict[str, str]) -> object:
            block = s3.get_public_access_block(**where)["PublicAccessBlockConfiguration"]
            return sorted(name for name, value in block.items() if value)

        every = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"]
        return self._each_bucket(closed, every, "what is blocked is")

    def _tls(self) -> str:
        def refused(s3: Any, where: dict[str, str]) -> object:
            policy = json.loads(s3.get_bucket_policy(**where)["Policy"])
            return any(_denies_plain_http(statement) for statement in policy["Statement"])

        return self._each_bucket(refused, True, "a statement that denies plain HTTP is there:")  # noqa: FBT003 - a value

    def _lifecycle(self) -> str:
        wanted = lifecycle_rules(Tiering(self._settings.storage.tiering))
        for rule in wanted:
            s3, where = self._bucket(rule.bucket)
            with translated(f"reading the lifecycle rules of {where['Bucket']}"):
                there = s3.get_bucket_lifecycle_configuration(**where)["Rules"]
            found = [other for other in there if other.get("ID") == rule.name and other.get("Status") == "Enabled"]
            if not found:
                raise FailedCheck(f"{where['Bucket']} has no rule {rule.name} in force")
            if problem := _difference(found, rule):
                raise FailedCheck(f"{where['Bucket']}: {rule.name} {problem}")
        return ", ".join(rule.name for rule in wanted)

    def _replication_rule(self) -> str:
        s3, where = self._bucket(BucketRole.PRIMARY)
        with translated("reading the replication of the primary bucket"):
            rules = s3.get_bucket_replication(**where)["ReplicationConfiguration"]["Rules"]
        target = f"arn:aws:s3:::{self._name(BucketRole.BACKUP)}"
        for rule in rules:
            if rule["Status"] == "Enabled" and rule["Destination"]["Bucket"] == target:
                storage_class = rule["Destination"].get("StorageClass")
                if storage_class != "GLACIER_IR":
                    raise FailedCheck(f"replicas are stored as {storage_class}, not as GLACIER_IR")
                return f"{rule.get('ID', 'a rule')} to {self._name(BucketRole.BACKUP)}"
        raise FailedCheck(f"no rule in force replicates to {self._name(BucketRole.BACKUP)}")

    def _replicated(self) -> str:
        """Of the newest originals; what is younger than the time that replication may take counts only when it is done.

        The daily validator compares every version of all of them.
        """
        s3, where = self._bucket(BucketRole.PRIMARY)
        may_wait = timedelta(minutes=REPLICATION.threshold_minutes)
        counted: Counter[str] = Counter()
        young = 0
        for record in self._platform.catalog.search(SearchQuery(), limit=_NEWEST).records:
            try:
                with translated(f"asking whether {record.file_path} is replicated"):
                    head = s3.head_object(**where, Key=record.file_path, VersionId=record.version_id)
            except NotFound:
                continue  # removed a moment ago
            status = str(head.get("ReplicationStatus", "older than the rule"))
            if status == "PENDING" and self._platform.clock.now() - record.upload_time < may_wait:
                young += 1
            else:
                counted[status] += 1
        looked_at = counted.total()
        if not looked_at:
            raise UnsureCheck(f"nothing is older than {may_wait}; {young} wait to be replicated")
        share = counted["COMPLETED"] / looked_at
        told = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
        if share < _REPLICATED_SHARE:
            raise FailedCheck(f"{share:.0%} of {looked_at}: {told}")
        return f"{share:.0%} of {looked_at} looked at"

    def _each_bucket(self, look: Callable[[Any, dict[str, str]], object], wanted: object, words: str) -> str:
        for role in BucketRole:
            s3, where = self._bucket(role)
            with translated(f"looking at {where['Bucket']}"):
                found = look(s3, where)
            if found != wanted:
                raise FailedCheck(f"{where['Bucket']}: {words} {found}, not {wanted}")
        return f"all {len(BucketRole)}"

    def _bucket(self, role: BucketRole) -> tuple[Any, dict[str, str]]:
        where = {"Bucket": self._name(role), "ExpectedBucketOwner": self._home.aws.account_id}
        return self._home.aws.client("s3", self._regions[role]), where

    def _name(self, role: BucketRole) -> str:
        return bucket_name(role, self._settings.storage.bucket_suffix)

    # -- what works ------------------------------------------------------------------------------------------

    def _tables(self) -> str:
        dynamodb = self._home.aws.client("dynamodb")
        for table in TABLES:
            with translated(f"looking at the table {table.name}"):
                told = dynamodb.describe_table(TableName=table.name)["Table"]
                backups = dynamodb.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
            if told["TableStatus"] != "ACTIVE":
                raise FailedCheck(f"{table.name} is {told['TableStatus']}")
            if not told.get("DeletionProtectionEnabled"):
                raise FailedCheck(f"{table.name} is not protected against deletion")
            recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
            if recovery != "ENABLED":
                raise FailedCheck(f"{table.name}: point-in-time recovery is {recovery}")
            missing = {index.name for index in table.indexes} - {
                index["IndexName"] for index in told.get("GlobalSecondaryIndexes", ())
            }
            if missing:
                raise FailedCheck(f"{table.name} has no index {', '.join(sorted(missing))}")
        return f"{', '.join(table.name for table in TABLES)}; {POINT_IN_TIME_RECOVERY_DAYS} days back"

    def _functions(self) -> str:
        lambda_ = self._home.aws.client("lambda")
        for function in FUNCTIONS:
            with translated(f"looking at the function {function.name}"):
                told = lambda_.get_function_configuration(FunctionName=function.name)
            state, update = told.get("State", "Active"), told.get("LastUpdateStatus", "Successful")
            if state not in _READY or update != "Successful":
                raise FailedCheck(f"{function.name} is {state}, its last update {update}")
            if told["Runtime"] != RUNTIME:
                raise FailedCheck(f"{function.name} runs on {told['Runtime']}, not on {RUNTIME}")
        return f"{len(FUNCTIONS)} on {RUNTIME}"

    def _queue(self) -> str:
        arn = self._home.aws.arn("sqs", UPLOADS.name)
        with translated("looking for what calls the upload handler"):
            mappings = self._home.aws.client("lambda").list_event_source_mappings(EventSourceArn=arn)
        working = [mapping for mapping in mappings["EventSourceMappings"] if mapping.get("State") == "Enabled"]
        if not working:
            raise FailedCheck(f"nothing is called from the queue {UPLOADS.name}")
        if "ReportBatchItemFailures" not in working[0].get("FunctionResponseTypes", ()):
            raise FailedCheck("one bad event would hold up its whole batch: partial failures are not reported")
        most = working[0].get("ScalingConfig", {}).get("MaximumConcurrency")
        return f"at most {most} at once" if most else "at any number at once"

    def _workflow(self) -> str:
        arn = self._home.aws.arn("states", f"stateMachine:{STATE_MACHINE.name}")
        with translated(f"looking at the state machine {STATE_MACHINE.name}"):
            told = self._home.aws.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
        if told.get("status", "ACTIVE") != "ACTIVE":
            raise FailedCheck(f"it is {told['status']}")
        names = {state.resource: state.resource for state in STATE_MACHINE.states.values() if isinstance(state, Task)}
        if _by_function_name(json.loads(told["definition"])) != json.loads(to_asl(STATE_MACHINE, names)):
            raise FailedCheck(
                "the deployed definition is another one; `contentplatform deploy` brings it up to date, unless it was "
                "changed by hand: then change it back there"
            )
        return f"{len(STATE_MACHINE.states)} states"

    def _alarms(self) -> str:
        with translated("looking at the alarms"):
            told = self._home.aws.client("cloudwatch").get_paginator("describe_alarms").paginate()
            alarms = {alarm["AlarmName"]: alarm for page in told for alarm in page["MetricAlarms"]}
        wanted = {alarm.name for alarm in ALARMS}
        missing = sorted(wanted - set(alarms))
        shares = sorted(alarm.name for alarm in ALARMS if alarm.share_of is not None)
        if missing and missing != shares:
            raise FailedCheck(f"there is no alarm {', '.join(missing)}")
        silent = sorted(name for name in wanted & set(alarms) if not alarms[name].get("AlarmActions"))
        if silent:
            raise FailedCheck(f"nobody is told of {', '.join(silent)}")
        ringing = sorted(name for name in wanted & set(alarms) if alarms[name].get("StateValue") == "ALARM")
        if ringing:
            raise FailedCheck(f"in alarm: {', '.join(ringing)}")
        if missing:
            raise UnsureCheck(f"the stack ContentPlatformGovernance, with {', '.join(missing)}, is not deployed")
        if not self._settings.aws.alert_email:
            raise UnsureCheck(f"{len(ALARMS)} alarms, but no aws.alert_email is set: nobody gets a mail")
        return f"{len(ALARMS)} alarms, none rings"

    # -- what goes out ---------------------------------------------------------------------------------------

    def _edge(self) -> str:
        found = check_edge(self._platform.edge, self._thumbnail, self._fetch)
        return f"CloudFront {found}"

    def _fetch(self, url: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        headers = {"User-Agent": "contentplatform-verify"}
        if self._settings.aws.edge_address:
            url = f"{self._settings.aws.edge_address.rstrip('/')}{parts.path}?{parts.query}"
            headers |= {"Host": str(parts.hostname), "X-Forwarded-Proto": "https"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the edge's own address, from our settings
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - same
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()
        except OSError as error:
            raise FailedCheck(f"{parts.hostname} can't be reached ({error})") from error

    def _dead_events(self) -> str:
        dead = self._platform.events.dead()
        if dead:
            raise FailedCheck(f"{len(dead)} in {UPLOADS.dead_letter_name}, the first of {dead[0].event.key}")
        return "the dead-letter queue is empty"

    def _metrics(self) -> str:
        with translated("asking for metrics"):
            told = self._home.aws.client("cloudwatch").list_metrics(Namespace="AWS/Lambda", MetricName="Invocations")
        if not told["Metrics"]:
            raise UnsureCheck("none of the functions yet; they take some minutes after the first call")
        return f"{len(told['Metrics'])} of functions"


def _denies_plain_http(statement: dict[str, Any]) -> bool:
    condition = statement.get("Condition", {}).get("Bool", {})
    return statement.get("Effect") == "Deny" and str(condition.get("aws:SecureTransport")).lower() == "false"


def _difference(found: Iterable[dict[str, Any]], rule: LifecycleRule) -> str:
    """What a deployed lifecycle rule says otherwise than ours; empty: nothing."""
    there = next(iter(found))
    moves = [(step.get("Days"), step["StorageClass"]) for step in there.get("Transitions", ())]
    wanted = [(step.after_days, step.storage_class.value) for step in rule.current]
    if sorted(moves, key=str) != sorted(wanted, key=str):
        return f"moves current versions {moves}, not {wanted}"
    older = [(step["NoncurrentDays"], step["StorageClass"]) for step in there.get("NoncurrentVersionTransitions", ())]
    wanted = [(step.after_days, step.storage_class.value) for step in rule.noncurrent]
    if sorted(older, key=str) != sorted(wanted, key=str):
        return f"moves older versions {older}, not {wanted}"
    ended = there.get("Expiration", {}).get("Days")
    if ended != rule.current_deleted_after_days:
        return f"deletes current versions after {ended} days, not after {rule.current_deleted_after_days}"
    deleted = there.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    if deleted != rule.noncurrent_deleted_after_days:
        return f"deletes older versions after {deleted} days, not after {rule.noncurrent_deleted_after_days}"
    return ""


def _by_function_name(definition: dict[str, Any]) -> dict[str, Any]:
    """A deployed definition with each function's name in place of its ARN."""
    states = {
        name: {**state, "Resource": _function_name(state["Resource"])} if "Resource" in state else state
        for name, state in definition["States"].items()
    }
    return {**definition, "States": states}


def _function_name(arn: str) -> str:
    return arn.partition(":function:")[2].partition(":")[0]
