"""The platform's buckets on the emulator, made as bare as a test needs them: versioned, each in its own region."""

from __future__ import annotations

import itertools
import os
from typing import Any, Final

from contentplatform.drivers.boto import Aws
from contentplatform.storage.aws import PART_SIZE_BYTES, S3ObjectStore
from contentplatform.storage.lifecycle import PRIMARY_REGION, REGION_OF, bucket_name
from contentplatform.storage.port import BucketRole, StorageClass

_numbers: Final = itertools.count(1)


def make_buckets(aws: Aws) -> dict[BucketRole, str]:
    """A set of buckets with names of their own; their names."""
    suffix = f"t{os.getpid()}-{next(_numbers)}"
    names = {role: bucket_name(role, suffix) for role in BucketRole}
    for role, name in names.items():
        region = REGION_OF[role]
        elsewhere: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        client = aws.client("s3", region)
        client.create_bucket(Bucket=name, **({} if region == PRIMARY_REGION else elsewhere))
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return names


def open_store(
    aws: Aws,
    names: dict[BucketRole, str],
    *,
    upload_class: StorageClass = StorageClass.STANDARD,
    part_size_bytes: int = PART_SIZE_BYTES,
    **limits: Any,
) -> S3ObjectStore:
    """The store over these buckets."""
    return S3ObjectStore(
        aws,
        bucket_names=names,
        region_of=REGION_OF,
        upload_class=upload_class,
        part_size_bytes=part_size_bytes,
        **limits,
    )
