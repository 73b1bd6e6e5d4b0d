"""Taking the home on AWS down: the stacks alone, or with all that they leave behind.

Data outlives its stack: buckets, tables and logs stay until somebody says in so many words that they may go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.catalog.tables import TABLES
from contentplatform.clock import Clock
from contentplatform.config import Settings
from contentplatform.deployment.signing_key import SIGNING_KEY_PARAMETER
from contentplatform.deployment.stacks import STACKS, Failure, Kept, StackPlace, Stacks
from contentplatform.drivers.boto import Aws, error_code, translated
from contentplatform.errors import ConfigurationInvalid, Conflict, NotFound, PlatformError, Unavailable
from contentplatform.lambdas.functions import FUNCTIONS
from contentplatform.storage.lifecycle import BACKUP_REGION, BUCKETS, bucket_name
from contentplatform.workflow.port import STATE_MACHINE_NAME

BUCKET: Final = "AWS::S3::Bucket"
TABLE: Final = "AWS::DynamoDB::Table"
GLOBAL_TABLE: Final = "AWS::DynamoDB::GlobalTable"
LOG_GROUP: Final = "AWS::Logs::LogGroup"
PARAMETER: Final = "AWS::SSM::Parameter"
_BATCH: Final = 1_000
_ROUNDS: Final = 20
"""How often a bucket is emptied anew: access logs may still arrive for a while."""
_PAUSE_SECONDS: Final = 3.0
_GUARDED: Final = (
    "its policy lets nobody delete it; `contentplatform deploy` takes it over, `destroy --delete-data` then lifts that"
)
_TABLE_STEPS: Final = 400
_LOG_PREFIXES: Final = ("/aws/lambda/", "/aws/vendedlogs/states/", "/aws/states/")
_LOG_GROUPS: Final = frozenset(
    {
        *(f"/aws/lambda/{function.name}" for function in FUNCTIONS),
        f"/aws/vendedlogs/states/{STATE_MACHINE_NAME}",
        f"/aws/states/{STATE_MACHINE_NAME}",
    }
)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What taking down would touch."""

    stacks: tuple[tuple[str, str], ...]
    """Those that exist, by name and region, in the order in which they are taken down."""
    kept: tuple[Kept, ...]
    """What stays then, unless the data are deleted too."""


@dataclass(frozen=True, slots=True)
class Left:
    """Something that could not be deleted, or is still there."""

    what: str
    why: str
    certain: bool = True
    """False: only AWS's list of tags says so, which lags behind by minutes."""


class Teardown:
    """Takes a deployment down."""

    def __init__(self, settings: Settings, aws: Aws, clock: Clock, *, stacks: tuple[StackPlace, ...] = STACKS) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._places = stacks
        self._stacks = Stacks(aws, clock)

    def inventory(self, only: tuple[str, ...] = ()) -> Inventory:
        """What there is.

        Args:
            only: these stacks alone; all, if none is named.

        Raises:
            ConfigurationInvalid: there is no stack of that name, or the credentials may not ask.
        """
        unknown = set(only) - {place.name for place in self._places}
        if unknown:
            raise ConfigurationInvalid("choosing stacks", f"there is no stack {', '.join(sorted(unknown))}")
        places = [
            (place.name, place.region(self._settings))
            for place in reversed(self._places)
            if not only or place.name in only
        ]
        there = tuple((name, region) for name, region in places if self._stacks.status(name, region))
        kept = {found: None for name, region in there for found in self._stacks.kept_after_deletion(name, region)}
        if not only:
            going = {one for name, region in there for one in self._stacks.goes_with(name, region)}
            known = (found for found in self._known_by_name() if found.name not in going)
            kept.update({found: None for found in known if not _named(found, kept)})
        return Inventory(there, tuple(kept))

    def lift_guards(self, inventory: Inventory, tell: Callable[[str], None]) -> None:
        """Before data are deleted: let the buckets of the stacks be deleted by who deletes the stacks.

        Raises:
            ConfigurationInvalid, Conflict: a stack can't be updated.
            Unavailable: AWS can't be reached, or it took too long.
        """
        for name, region in inventory.stacks:
            self._stacks.lift_guards(name, region, tell)

    def delete_stacks(self, inventory: Inventory, tell: Callable[[str], None]) -> tuple[Failure, ...]:
        """Delete the stacks; what could not be removed, with which that stack stays."""
        failures: list[Failure] = []
        for name, region in inventory.stacks:
            tell(f"{name}: deleting the stack in {region}")
            failed = self._stacks.delete(name, region, tell)
            failures.extend(failed)
            tell(f"{name}: {'could not be deleted whole' if failed else 'deleted'}")
        return tuple(failures)

    def delete_data(self, inventory: Inventory, tell: Callable[[str], None]) -> tuple[Left, ...]:
        """Delete for good what the stacks left behind; what could not be deleted, and why."""
        left: list[Left] = []
        for kept in inventory.kept:
            delete = self._deleters().get(kept.kind)
            if delete is None:
                left.append(Left(f"{kept.kind} {kept.name} in {kept.region}", "this version can't delete such a thing"))
                continue
            try:
                delete(kept, tell)
            except PlatformError as error:
                left.append(Left(f"{kept.kind} {kept.name} in {kept.region}", error.why))
            else:
                tell(f"deleted {kept.kind} {kept.name}")
        return tuple(left)

    def still_there(self) -> tuple[Left, ...]:
        """What of the platform is left in the account, by its tag and by its names.

        Tags are told of with a delay of minutes; a resource that is gone already may be among them.
        """
        found: dict[str, Left] = {}
        for region in dict.fromkeys((self._settings.aws.region, self._settings.aws.backup_region)):
            with translated(f"looking for what is left in {region}"):
                pages = self._aws.client("resourcegroupstaggingapi", region).get_paginator("get_resources")
                for page in pages.paginate(TagFilters=[{"Key": "Project", "Values": ["ContentPlatform"]}]):
                    for resource in page["ResourceTagMappingList"]:
                        arn = str(resource["ResourceARN"])
                        if self._is_dying_key(arn, region):
                            continue
                        found[arn] = Left(arn, "has the tag Project=ContentPlatform", certain=False)
        known = tuple(self._known_by_name())
        names = {kept.name for kept in known}
        there = (Left(f"{kept.kind} {kept.name} in {kept.region}", "is there") for kept in known)
        return (*there, *(left for arn, left in found.items() if not any(arn.endswith(name) for name in names)))

    # -- what there is, whether or not a stack knows of it ---------------------------------------------------------

    def _known_by_name(self) -> Iterator[Kept]:
        """What an earlier deployment left behind, found by the names that the platform gives."""
        yield from self._buckets()
        region = self._settings.aws.region
        yield from self._tables(region)
        for place in (region, self._settings.aws.backup_region):
            yield from self._log_groups(place)
        try:
            with translated("looking for the key that signs URLs"):
                self._aws.client("ssm").get_parameter(Name=SIGNING_KEY_PARAMETER)
        except NotFound:
            return
        yield Kept("", region, PARAMETER, SIGNING_KEY_PARAMETER)

    def _buckets(self) -> Iterator[Kept]:
        for bucket in BUCKETS:
            aws = self._settings.aws
            region = aws.backup_region if bucket.region == BACKUP_REGION else aws.region
            name = bucket_name(bucket.role, self._settings.storage.bucket_suffix)
            if self._exists(self._aws.client("s3", region), name, self._aws.account_id):
                yield Kept("", region, BUCKET, name)

    def _exists(self, client: Any, bucket: str, owner: str) -> bool:
        """Whether there is such a bucket, and it is ours."""
        try:
            with translated(f"looking for the bucket {bucket}"):
                client.head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
        except NotFound:
            return False
        except ConfigurationInvalid as error:
            if _code(error) in {"403", "AccessDenied", "NoSuchBucket"}:
                return False  # somebody else has a bucket of that name
            raise
        return True

    def _tables(self, region: str) -> Iterator[Kept]:
        for table in TABLES:
            try:
                with translated(f"looking for the table {table.name}"):
                    described = self._aws.client("dynamodb", region).describe_table(TableName=table.name)["Table"]
            except NotFound:
                continue
            yield Kept("", region, GLOBAL_TABLE if described.get("Replicas") else TABLE, table.name)

    def _log_groups(self, region: str) -> Iterator[Kept]:
        """The functions' and the workflow's; and those of the CDK's own functions, named for their stacks."""
        own = tuple(f"/aws/lambda/{place.name}-" for place in self._places)
        pages = self._aws.client("logs", region).get_paginator("describe_log_groups")
        for prefix in _LOG_PREFIXES:
            with translated(f"looking for log groups under {prefix}"):
                groups = [
                    str(group["logGroupName"])
                    for page in pages.paginate(logGroupNamePrefix=prefix)
                    for group in page["logGroups"]
                ]
            yield from (
                Kept("", region, LOG_GROUP, name) for name in groups if name in _LOG_GROUPS or name.startswith(own)
            )

    # -- deleting for good -----------------------------------------------------------------------------------------

    def _deleters(self) -> Mapping[str, Callable[[Kept, Callable[[str], None]], None]]:
        return {
            BUCKET: self._delete_bucket,
            TABLE: self._delete_table,
            GLOBAL_TABLE: self._delete_table,
            LOG_GROUP: self._delete_log_group,
            PARAMETER: self._delete_parameter,
        }

    def _delete_bucket(self, kept: Kept, tell: Callable[[str], None]) -> None:
        client = self._aws.client("s3", kept.region)
        owner = self._aws.account_id
        if not self._exists(client, kept.name, owner):
            return
        deleted = 0
        for _ in range(_ROUNDS):
            deleted += self._empty(client, kept, owner)
            if deleted:
                tell(f"{kept.name}: {deleted} versions deleted")
            try:
                with translated(f"deleting the bucket {kept.name}"):
                    client.delete_bucket(Bucket=kept.name, ExpectedBucketOwner=owner)
            except PlatformError as error:
                if _code(error) in {"AccessDenied", "403"}:
                    raise Conflict(error.doing, _GUARDED) from error
                if _code(error) != "BucketNotEmpty":
                    raise
                self._pause()
            else:
                return
        raise Conflict(f"deleting the bucket {kept.name}", "objects still arrive in it, access logs for instance")

    def _empty(self, client: Any, kept: Kept, owner: str) -> int:
        """Delete every version and every unfinished upload; how many versions there were."""
        deleted = 0
        with translated(f"emptying the bucket {kept.name}"):
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=kept.name):
                for upload in page.get("Uploads", ()):
                    client.abort_multipart_upload(Bucket=kept.name, Key=upload["Key"], UploadId=upload["UploadId"])
            pages = client.get_paginator("list_object_versions").paginate(
                Bucket=kept.name, ExpectedBucketOwner=owner, PaginationConfig={"PageSize": _BATCH}
            )
            for page in pages:
                batch = [
                    {"Key": version["Key"], "VersionId": version["VersionId"]}
                    for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                ]
                for start in range(0, len(batch), _BATCH):
                    answer = client.delete_objects(
                        Bucket=kept.name,
                        ExpectedBucketOwner=owner,
                        Delete={"Objects": batch[start : start + _BATCH], "Quiet": True},
                    )
                    if answer.get("Errors"):
                        first = answer["Errors"][0]
                        if first.get("Code") == "AccessDenied":
                            raise Conflict(f"emptying the bucket {kept.name}", _GUARDED)
                        raise Conflict(
                            f"emptying the bucket {kept.name}",
                            f"{len(answer['Errors'])} versions may not be deleted; {first['Key']}: "
                            f"{first.get('Message') or first.get('Code')}",
                            hint="Versions under object lock can be deleted when their time is over",
                        )
                deleted += len(batch)
        return deleted

    def _delete_table(self, kept: Kept, tell: Callable[[str], None]) -> None:
        client = self._aws.client("dynamodb", kept.region)
        described = self._table(client, kept.name)
        if described is None:
            return
        if described.get("DeletionProtectionEnabled"):
            with translated(f"allowing the table {kept.name} to be deleted"):
                client.update_table(TableName=kept.name, DeletionProtectionEnabled=False)
            described = self._when_active(client, kept.name)
        for replica in (described or {}).get("Replicas", ()):
            region = replica["RegionName"]
            if region == kept.region:
                continue
            tell(f"{kept.name}: removing the replica in {region}")
            there = self._aws.client("dynamodb", region)
            copy = self._table(there, kept.name)
            if copy is not None and copy.get("DeletionProtectionEnabled"):
                with translated(f"allowing the replica of {kept.name} in {region} to be deleted"):
                    there.update_table(TableName=kept.name, DeletionProtectionEnabled=False)
                self._when_active(there, kept.name)
            with translated(f"removing the replica of {kept.name} in {region}"):
                client.update_table(TableName=kept.name, ReplicaUpdates=[{"Delete": {"RegionName": region}}])
            self._when_active(client, kept.name)
        with translated(f"deleting the table {kept.name}"):
            client.delete_table(TableName=kept.name)
        self._wait(
            lambda: self._table(client, kept.name) is None, f"deleting the table {kept.name}", "it is still there"
        )

    def _table(self, client: Any, name: str) -> Mapping[str, Any] | None:
        try:
            with translated(f"looking at the table {name}"):
                described: Mapping[str, Any] = client.describe_table(TableName=name)["Table"]
        except NotFound:
            return None
        return described

    def _when_active(self, client: Any, name: str) -> Mapping[str, Any] | None:
        """The table's description once nothing is under way in it, or in a replica that is being removed."""

        def settled() -> bool:
            table = self._table(client, name)
            return table is None or (
                table["TableStatus"] == "ACTIVE"
                and all(replica.get("ReplicaStatus", "ACTIVE") == "ACTIVE" for replica in table.get("Replicas", ()))
            )

        self._wait(settled, f"changing the table {name}", "it does not come to rest")
        return self._table(client, name)

    def _is_dying_key(self, arn: str, region: str) -> bool:
        """Whether it is an encryption key that KMS deletes by itself after its waiting period; it costs nothing."""
        if ":kms:" not in arn:
            return False
        with translated(f"looking at the key {arn}"):
            described = self._aws.client("kms", region).describe_key(KeyId=arn)
        return str(described["KeyMetadata"]["KeyState"]) == "PendingDeletion"

    def _delete_log_group(self, kept: Kept, _tell: Callable[[str], None]) -> None:
        try:
            with translated(f"deleting the log group {kept.name}"):
                self._aws.client("logs", kept.region).delete_log_group(logGroupName=kept.name)
        except NotFound:
            return

    def _delete_parameter(self, kept: Kept, _tell: Callable[[str], None]) -> None:
        try:
            with translated(f"deleting the parameter {kept.name}"):
                self._aws.client("ssm", kept.region).delete_parameter(Name=kept.name)
        except NotFound:
            return

    def _wait(self, done: Callable[[], bool], doing: str, why: str) -> None:
        for _ in range(_TABLE_STEPS):
            if done():
                return
            self._pause()
        raise Unavailable(doing, why, hint="Repeat the command later")

    def _pause(self) -> None:
        self._clock.wait(threading.Event(), _PAUSE_SECONDS)


def _code(error: PlatformError) -> str:
    """AWS's own name for what went wrong."""
    return error_code(error.__cause__) if isinstance(error.__cause__, Exception) else ""


def _named(found: Kept, among: Mapping[Kept, None]) -> bool:
    return any(kept.name == found.name and kept.region == found.region for kept in among)
