"""Checksums that S3 itself keeps of an object's whole content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from contentplatform.backup.port import Digests
from contentplatform.drivers.boto import Aws, translated
from contentplatform.storage.port import BucketRole, ObjectVersion

_ALGORITHMS: Final = ("CRC64NVME", "SHA256", "SHA1", "CRC32C", "CRC32")
_WHOLE: Final = "FULL_OBJECT"
"""The type of a checksum over the content, not over the checksums of its parts."""
_OWN_KEYS: Final = "AES256"
"""Encrypted so, an object in one part has the MD5 of its content for an etag."""


class S3Digests(Digests):
    """Asks S3 for its checksums, and for the SHA-256 that the platform wrote beside the object."""

    def __init__(
        self,
        aws: Aws,
        platform_digests: Digests,
        *,
        bucket_names: Mapping[BucketRole, str],
        region_of: Mapping[BucketRole, str],
    ) -> None:
        self._aws = aws
        self._platform_digests = platform_digests
        self._bucket_names = bucket_names
        self._region_of = region_of

    def of(self, version: ObjectVersion) -> Mapping[str, str]:
        with translated(f"asking for the checksums of {version.key}"):
            answer = self._aws.client("s3", self._region_of[version.bucket]).head_object(
                Bucket=self._bucket_names[version.bucket],
                Key=version.key,
                VersionId=version.version_id,
                ChecksumMode="ENABLED",
                ExpectedBucketOwner=self._aws.account_id,
            )
        etag = str(answer["ETag"]).strip('"')
        in_parts = "-" in etag
        kept = {}
        if answer.get("ChecksumType", "" if in_parts else _WHOLE) == _WHOLE:
            found = {name: str(answer.get(f"Checksum{name}", "")) for name in _ALGORITHMS}
            # A number behind a dash says of how many parts a checksum was made: not of the content.
            kept = {name: value for name, value in found.items() if value and "-" not in value}
        if not in_parts and answer.get("ServerSideEncryption", _OWN_KEYS) == _OWN_KEYS:
            kept["MD5"] = etag
        return {**kept, **self._platform_digests.of(version)}
