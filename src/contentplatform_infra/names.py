"""What things are called: buckets, regions, ARNs. Every construct is told by this, none builds a name of its own.

Names are settings or fixed, so stacks know each other's resources without exports, and across regions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import region_info

from contentplatform.config import Settings
from contentplatform.errors import ConfigurationInvalid
from contentplatform.storage.lifecycle import BACKUP_REGION, REGION_OF, bucket_name
from contentplatform.storage.port import BucketRole

DRY_RUN_ACCOUNT_ID: Final = "000000000000"
"""Stands in the templates where no account is known; nothing can be deployed with it."""
TAGS: Final[Mapping[str, str]] = {
    "Project": "ContentPlatform",
    "Environment": "Production",
    "CostCenter": "Media",
}
"""On everything that can carry tags; the cost report groups by them."""
_ACCOUNT_ID: Final = re.compile(r"\d{12}")


@dataclass(frozen=True, slots=True)
class Names:
    """The account, its two regions and the suffix of the buckets' names: from these every name follows."""

    account_id: str
    region: str
    backup_region: str
    bucket_suffix: str

    @classmethod
    def of(cls, settings: Settings, account_id: str) -> Names:
        """The names that these settings give.

        Raises:
            ConfigurationInvalid: the account isn't twelve digits, or both copies would lie in one region.
        """
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise ConfigurationInvalid(
                "making the templates",
                f"{account_id!r} is not an account of AWS",
                hint="An account has twelve digits; set aws.account_id",
            )
        if settings.aws.region == settings.aws.backup_region:
            raise ConfigurationInvalid(
                "making the templates",
                f"the second copy would lie in {settings.aws.region}, beside the first",
                hint="Set aws.backup_region to another region",
            )
        return cls(account_id, settings.aws.region, settings.aws.backup_region, settings.storage.bucket_suffix)

    @property
    def partition(self) -> str:
        """The part of AWS that the region belongs to; nearly always ``aws``."""
        return region_info.RegionInfo.get(self.region).partition or "aws"

    def bucket(self, role: BucketRole) -> str:
        """A bucket's name."""
        return bucket_name(role, self.bucket_suffix)

    def bucket_arn(self, role: BucketRole) -> str:
        """A bucket's ARN."""
        return f"arn:{self.partition}:s3:::{self.bucket(role)}"

    def objects_arn(self, role: BucketRole, prefix: str = "") -> str:
        """The ARN of all objects of a bucket, or of those whose keys begin so."""
        return f"{self.bucket_arn(role)}/{prefix}*"

    def region_of(self, role: BucketRole) -> str:
        """Where a bucket lies."""
        return self.backup_region if REGION_OF[role] == BACKUP_REGION else self.region

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        """The ARN of a resource in this account; ``region=""`` for services that have none."""
        return (
            f"arn:{self.partition}:{service}:{self.region if region is None else region}:{self.account_id}:{resource}"
        )

    def role_arn(self, name: str) -> str:
        """The ARN of a role."""
        return self.arn("iam", f"role/{name}", region="")
