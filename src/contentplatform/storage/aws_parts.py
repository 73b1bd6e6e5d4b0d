"""Parts that browsers send straight to S3: multipart uploads by presigned requests.

What is signed says whose bucket it must be and how many bytes the part has: another number is refused by S3 itself. The
upload asks for CRC64NVME over the whole object, which S3 computes where a part comes without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final
from urllib.parse import urlsplit

from contentplatform.drivers.boto import Aws, translated
from contentplatform.errors import Conflict, NotFound, PlatformError
from contentplatform.storage.parts import OWNER_HEADER, PartAddress, PartPlan
from contentplatform.storage.port import PutOptions, StorageClass, check_object_key, check_options
from contentplatform.storage.s3_answers import version_id_of

CHECKSUM: Final = "CRC64NVME"
_NO_SECONDS: Final = 60


class S3Parts:
    """See ``TakesParts``; into the primary bucket.

    Args:
        aws: the account that must own the bucket.
        bucket: its name.
        region: where it is.
        upload_class: the class of originals.
    """

    def __init__(self, aws: Aws, *, bucket: str, region: str, upload_class: StorageClass) -> None:
        self._aws = aws
        self._bucket = bucket
        self._region = region
        self._upload_class = upload_class

    def begin(self, key: str, options: PutOptions) -> str:
        """See TakesParts."""
        check_object_key(key)
        check_options(options)
        with _asking(key):
            answer = self._client().create_multipart_upload(
                **self._object(key),
                ContentType=options.content_type,
                Metadata=dict(options.user_metadata),
                StorageClass=self._upload_class.value,
                ChecksumAlgorithm=CHECKSUM,
                ChecksumType="FULL_OBJECT",
            )
        return str(answer["UploadId"])

    def address(self, key: str, transfer: str, number: int, size_bytes: int, seconds: int) -> PartAddress:
        """See TakesParts."""
        named = {**self._object(key), "UploadId": transfer, "PartNumber": number, "ContentLength": size_bytes}
        url = self._aws.presigned("upload_part", named, seconds, region=self._region)
        return PartAddress(url, {OWNER_HEADER: self._aws.account_id})

    def there(self, key: str, transfer: str) -> Mapping[int, int]:
        """See TakesParts."""
        return {part["PartNumber"]: part["Size"] for part in self._listed(key, transfer)}

    def finish(self, key: str, transfer: str, plan: PartPlan, *, create_only: bool) -> str:
        """See TakesParts."""
        wanted = range(1, plan.count + 1)
        parts = [_kept(part) for part in self._listed(key, transfer) if part["PartNumber"] in wanted]
        condition = {"IfNoneMatch": "*"} if create_only else {}
        with _asking(key):
            answer = self._client().complete_multipart_upload(
                **self._object(key),
                **condition,
                UploadId=transfer,
                MultipartUpload={"Parts": parts},
                MpuObjectSize=plan.size_bytes,
            )
        return version_id_of(answer)

    def abort(self, key: str, transfer: str) -> None:
        """See TakesParts."""
        with _asking(key):
            self._client().abort_multipart_upload(**self._object(key), UploadId=transfer)

    def origin(self) -> str:
        """See TakesParts."""
        named = {"Bucket": self._bucket, "Key": "any", "UploadId": "any", "PartNumber": 1}
        where = urlsplit(self._aws.presigned("upload_part", named, _NO_SECONDS, region=self._region))
        return f"{where.scheme}://{where.netloc}"

    def _listed(self, key: str, transfer: str) -> list[Mapping[str, Any]]:
        pages = self._client().get_paginator("list_parts")
        with _asking(key):
            return [
                part
                for page in pages.paginate(**self._object(key), UploadId=transfer)
                for part in page.get("Parts", ())
            ]

    def _client(self) -> Any:
        return self._aws.client("s3", self._region)

    def _object(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": key, "ExpectedBucketOwner": self._aws.account_id}


def _asking(key: str) -> AbstractContextManager[None]:
    why: dict[type[PlatformError], str] = {
        NotFound: "that upload is over",
        Conflict: f"{key} exists already",
    }
    return translated(f"storing {key}", why=why)


def _kept(part: Mapping[str, Any]) -> dict[str, Any]:
    """What completing an upload repeats of a part."""
    return {name: part[name] for name in ("PartNumber", "ETag", f"Checksum{CHECKSUM}") if part.get(name)}
