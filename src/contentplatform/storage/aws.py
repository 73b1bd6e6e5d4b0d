"""The store on S3. Every call names the account that must own the bucket: a name that a stranger took is an error.

A hash is proven where S3 itself checked it: bodies that go up in one piece carry their SHA-256 as S3's own checksum.
Larger ones go up in parts, which S3 binds by a CRC over the whole object; their SHA-256 is metadata, and so a claim.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, BinaryIO, Final
from urllib.parse import quote, urlencode

from contentplatform import log
from contentplatform.drivers.boto import Aws, error_code, translated
from contentplatform.drivers.checksums import BEST, Checksum
from contentplatform.errors import (
    Archived,
    ChecksumMismatch,
    ConfigurationInvalid,
    Conflict,
    Corrupt,
    InvalidRequest,
    NotFound,
    PlatformError,
)
from contentplatform.storage.outgoing import Outgoing, outgoing
from contentplatform.storage.port import (
    CHUNK_SIZE_BYTES,
    LIST_PAGE_SIZE,
    USER_METADATA_LIMIT_BYTES,
    BucketRole,
    ByteRange,
    Listing,
    ObjectReader,
    ObjectStore,
    ObjectVersion,
    PutOptions,
    StorageClass,
    check_object_key,
    check_options,
    check_tags,
)
from contentplatform.storage.s3_answers import (
    CHECKSUM_NAMES,
    HASH_METADATA,
    answered_at,
    in_order,
    keep_order,
    listed,
    version_id_of,
    version_of,
)

__all__ = ["COPY_LIMIT_BYTES", "HASH_METADATA", "PART_SIZE_BYTES", "S3ObjectStore"]

PART_SIZE_BYTES: Final = 16 << 20
COPY_LIMIT_BYTES: Final = 5 << 30
"""Larger objects can't be copied by one call."""
_PARTS_LIMIT: Final = 10_000
_PARTS_BEFORE_SPLITTING: Final = 4
"""Bodies of up to so many parts' size go up in one piece."""
_PARTS_AT_ONCE: Final = 4
_COPIED_PARTS_SIZE: Final = 16
"""A part that S3 copies is so many times as large as one that is sent: no byte of it comes through here."""
_TOKEN_FORMAT: Final = 1
_VERSION_ID: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_IS_A_MARKER: Final = frozenset({"405", "MethodNotAllowed"})
_NO_SUCH_VERSION_ID: Final = frozenset({"400", "InvalidArgument", "NoSuchVersion"})
_RESTORE_HINT: Final = "Ask for a restore, wait until it is done (hours), then read it"

_logger = logging.getLogger(__name__)


class S3ObjectStore(ObjectStore):
    """Buckets of S3, each asked in its own region.

    Args:
        aws: the account that owns every bucket.
        bucket_names: the name of each bucket.
        region_of: where each bucket is.
        upload_class: the class of originals that are stored as STANDARD.
        part_size_bytes: size of a part of a large body; larger where 10 000 parts would not do.
        copy_limit_bytes: larger objects are copied in parts.
        checksum: what binds a body that goes up in parts.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        bucket_names: Mapping[BucketRole, str],
        region_of: Mapping[BucketRole, str],
        upload_class: StorageClass,
        part_size_bytes: int = PART_SIZE_BYTES,
        copy_limit_bytes: int = COPY_LIMIT_BYTES,
        checksum: Checksum = BEST,
    ) -> None:
        self._aws = aws
        self._names = dict(bucket_names)
        self._regions = dict(region_of)
        self._upload_class = upload_class
        self._part_size_bytes = part_size_bytes
        self._copy_limit_bytes = copy_limit_bytes
        self._checksum = checksum

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> ObjectVersion:
        return self._stored(bucket, key, self.write(bucket, key, body, options))

    def write(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> str:
        check_object_key(key)
        check_options(options)
        doing = f"storing {key}"
        with outgoing(body, self._checksum, doing) as ready:
            if options.expected_sha256 not in {None, ready.sha256}:
                raise ChecksumMismatch(
                    doing, f"the bytes have SHA-256 {ready.sha256}, promised was {options.expected_sha256}"
                )
            described = self._described(bucket, options, ready.sha256)
            if options.tags:
                described["Tagging"] = urlencode(options.tags, quote_via=quote)
            if ready.size_bytes <= _PARTS_BEFORE_SPLITTING * self._part_size_bytes:
                return self._put_whole(bucket, key, ready, described, options)
            return self._put_in_parts(bucket, key, ready, described, options)

    def _put_whole(
        self, bucket: BucketRole, key: str, ready: Outgoing, described: Mapping[str, Any], options: PutOptions
    ) -> str:
        checksum = base64.b64encode(bytes.fromhex(ready.sha256)).decode()
        with self._asking(f"storing {key}", bucket, key):
            answer = self._client(bucket).put_object(
                **self._object(bucket, key),
                **described,
                **_condition(options),
                Body=ready.whole(),
                ChecksumSHA256=checksum,
            )
        return version_id_of(answer)

    def _put_in_parts(
        self, bucket: BucketRole, key: str, ready: Outgoing, described: Mapping[str, Any], options: PutOptions
    ) -> str:
        size = self._size_of_part(ready.size_bytes, self._part_size_bytes)

        def send(client: Any, upload: Mapping[str, Any], number: int) -> Mapping[str, Any]:
            first = (number - 1) * size
            answer: Mapping[str, Any] = client.upload_part(
                **upload,
                PartNumber=number,
                Body=ready.window(first, min(size, ready.size_bytes - first)),
                ChecksumAlgorithm=self._checksum.name,
            )
            return answer

        return self._in_parts(bucket, key, -(-ready.size_bytes // size), send, described, options, ready.checksum)

    def _in_parts(
        self,
        bucket: BucketRole,
        key: str,
        parts: int,
        send: Callable[[Any, Mapping[str, Any], int], Mapping[str, Any]],
        described: Mapping[str, Any],
        options: PutOptions,
        checksum: str | None,
    ) -> str:
        """Fill an upload with parts, several at once, and complete it; whatever fails, nothing is left of it."""
        client = self._client(bucket)
        with self._asking(f"storing {key}", bucket, key):
            created = client.create_multipart_upload(
                **self._object(bucket, key),
                **described,
                ChecksumAlgorithm=self._checksum.name,
                ChecksumType="FULL_OBJECT",
            )
            upload = {**self._object(bucket, key), "UploadId": created["UploadId"]}
            try:
                sent = _sent(lambda number: send(client, upload, number), parts)
                whole: dict[str, Any] = {}
                if checksum is not None and created.get("ChecksumType") == "FULL_OBJECT":
                    whole = {"ChecksumType": "FULL_OBJECT", f"Checksum{self._checksum.name}": checksum}
                answer = client.complete_multipart_upload(
                    **upload, **whole, **_condition(options), MultipartUpload={"Parts": sent}
                )
            except BaseException:
                self._abort(client, upload)
                raise
        return version_id_of(answer)

    def _abort(self, client: Any, upload: Mapping[str, Any]) -> None:
        """Give up an upload; where even that fails, the lifecycle rule does it after some days."""
        try:
            with translated(f"giving up the upload of {upload['Key']}"):
                client.abort_multipart_upload(**upload)
        except NotFound:
            return
        except PlatformError as error:
            log.event(
                _logger, logging.WARNING, "upload not aborted", **{log.KEY: upload["Key"], log.REASON: error.public}
            )

    def delete(self, bucket: BucketRole, key: str) -> ObjectVersion:
        check_object_key(key)
        with self._asking(f"deleting {key}", bucket, key):
            answer = self._client(bucket).delete_object(**self._object(bucket, key))
        return ObjectVersion(
            bucket=bucket,
            key=key,
            version_id=version_id_of(answer),
            size_bytes=0,
            sha256=None,
            etag="",
            content_type=PutOptions().content_type,
            storage_class=StorageClass.STANDARD,
            created_at=answered_at(answer),
            is_latest=True,
            is_delete_marker=True,
        )

    def delete_version(self, bucket: BucketRole, key: str, version_id: str) -> None:
        check_object_key(key)
        if _VERSION_ID.fullmatch(version_id) is None:
            return
        try:
            with self._asking(f"deleting version {version_id} of {key}", bucket, key, of_version=True):
                self._client(bucket).delete_object(**self._object(bucket, key), VersionId=version_id)
        except NotFound:
            return

    # -- reading ---------------------------------------------------------------------------------------------

    @contextmanager
    def open(
        self, bucket: BucketRole, key: str, *, version_id: str | None = None, byte_range: ByteRange | None = None
    ) -> Iterator[ObjectReader]:
        _check_readable(key, version_id)
        doing = f"reading {key}"
        arguments = self._object(bucket, key, version_id)
        if byte_range is None:
            arguments["ChecksumMode"] = "ENABLED"
        else:
            arguments["Range"] = _range_header(byte_range, doing)
        with self._asking(doing, bucket, key, of_version=version_id is not None):
            answer = self._client(bucket).get_object(**arguments)
        reader = _S3Reader(self, bucket, key, answer, version_id, byte_range)
        try:
            yield reader
        finally:
            reader.close()

    def head(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> ObjectVersion:
        _check_readable(key, version_id)
        answer, is_latest = self._looked_up(bucket, key, version_id)
        return version_of(bucket, key, answer, is_latest=is_latest)

    def _looked_up(self, bucket: BucketRole, key: str, version_id: str | None) -> tuple[Mapping[str, Any], bool]:
        """What HeadObject says of an object, and whether it is the current one.

        The current version is asked first, also for a version that was named: it mostly is the one, and S3 tells of a
        version by its id neither whether it is current nor how its restore stands.
        """
        try:
            current = self._headed(bucket, key, None)
        except NotFound:
            if version_id is None:
                raise
            current = None
        if version_id is None or (current is not None and version_id_of(current) == version_id):
            return current or {}, True
        return self._headed(bucket, key, version_id), False

    def _headed(self, bucket: BucketRole, key: str, version_id: str | None) -> Mapping[str, Any]:
        with self._asking(f"looking up {key}", bucket, key, of_version=version_id is not None):
            answer: Mapping[str, Any] = self._client(bucket).head_object(
                **self._object(bucket, key, version_id), ChecksumMode="ENABLED"
            )
        return answer

    def _stored(self, bucket: BucketRole, key: str, version_id: str) -> ObjectVersion:
        """A version that was just written: S3's answer to a write lacks its time."""
        return version_of(bucket, key, self._headed(bucket, key, version_id), is_latest=True)

    # -- listing ---------------------------------------------------------------------------------------------

    def list(
        self,
        bucket: BucketRole,
        *,
        prefix: str = "",
        delimiter: str = "",
        continuation: str | None = None,
        limit: int = LIST_PAGE_SIZE,
    ) -> Listing:
        _check_limit(limit)
        arguments: dict[str, Any] = {**self._bucket(bucket), "Prefix": prefix, "MaxKeys": limit}
        if delimiter:
            arguments["Delimiter"] = delimiter
        if continuation is not None:
            arguments["ContinuationToken"] = _parsed_token(continuation, "objects")[0]
        with self._asking("listing objects", bucket):
            answer = self._client(bucket).list_objects_v2(**arguments)
        following = answer.get("NextContinuationToken")
        return Listing(
            objects=tuple(listed(bucket, entry, is_latest=True) for entry in answer.get("Contents", ())),
            common_prefixes=tuple(entry["Prefix"] for entry in answer.get("CommonPrefixes", ())),
            continuation=_token("objects", following, "") if answer.get("IsTruncated") and following else None,
        )

    def list_versions(
        self, bucket: BucketRole, *, prefix: str = "", continuation: str | None = None, limit: int = LIST_PAGE_SIZE
    ) -> Listing:
        _check_limit(limit)
        arguments: dict[str, Any] = {**self._bucket(bucket), "Prefix": prefix, "MaxKeys": limit}
        if continuation is not None:
            arguments["KeyMarker"], arguments["VersionIdMarker"] = _parsed_token(continuation, "versions")
        client = self._client(bucket)
        client.meta.events.register(
            "before-parse.s3.ListObjectVersions", keep_order, unique_id="contentplatform-versions-in-order"
        )
        with self._asking("listing versions", bucket):
            answer = client.list_object_versions(**arguments)
        truncated = answer.get("IsTruncated")
        return Listing(
            objects=tuple(in_order(bucket, answer)),
            common_prefixes=(),
            continuation=_token("versions", answer["NextKeyMarker"], answer["NextVersionIdMarker"])
            if truncated
            else None,
        )

    # -- copies and tags -------------------------------------------------------------------------------------

    def copy(
        self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None = None
    ) -> ObjectVersion:
        return self._stored(bucket, key, self.write_copy(source, bucket, key, options))

    def write_copy(self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None = None) -> str:
        check_object_key(key)
        if options is not None:
            check_options(options)
        doing = f"copying {source.key} to {key}"
        if source.is_delete_marker:
            raise NotFound(doing, "a delete marker has no bytes")
        wanted = options or PutOptions(storage_class=source.storage_class)
        if source.storage_class.archived:
            self._check_restored(source, doing)
        if wanted.create_only and self._is_there(bucket, key):
            raise Conflict(doing, f"{key} exists already")
        if source.size_bytes > self._copy_limit_bytes:
            return self._copy_in_parts(source, bucket, key, options)
        return self._copy_whole(source, bucket, key, options)

    def _copy_whole(self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None) -> str:
        """One call; S3 hashes the bytes while it copies them, so the copy's hash is proven."""
        if options is None:
            told: dict[str, Any] = {
                "MetadataDirective": "COPY",
                "TaggingDirective": "COPY",
                "StorageClass": source.storage_class.value,
            }
        else:
            told = {
                **self._described(bucket, options, source.sha256),
                "MetadataDirective": "REPLACE",
                "TaggingDirective": "REPLACE",
                "Tagging": urlencode(options.tags, quote_via=quote),
                **_condition(options),
            }
        with self._asking(f"copying {source.key} to {key}", bucket, key, of_version=True):
            answer = self._client(bucket).copy_object(
                **self._object(bucket, key), **self._copied(source), **told, ChecksumAlgorithm="SHA256"
            )
        return version_id_of(answer)

    def _copy_in_parts(self, source: ObjectVersion, bucket: BucketRole, key: str, options: PutOptions | None) -> str:
        if options is None:
            full = self.head(source.bucket, source.key, version_id=source.version_id)
            tags = self.tags(source.bucket, source.key, version_id=source.version_id)
            options = PutOptions(full.content_type, full.user_metadata, tags, full.storage_class)
            described = self._described(bucket, options, full.sha256)
            described["StorageClass"] = full.storage_class.value
        else:
            described = self._described(bucket, options, source.sha256)
        if options.tags:
            described["Tagging"] = urlencode(options.tags, quote_via=quote)
        size = self._size_of_part(source.size_bytes, _COPIED_PARTS_SIZE * self._part_size_bytes)

        def send(client: Any, upload: Mapping[str, Any], number: int) -> Mapping[str, Any]:
            first = (number - 1) * size
            last = min(first + size, source.size_bytes) - 1
            answer = client.upload_part_copy(
                **upload, **self._copied(source), PartNumber=number, CopySourceRange=f"bytes={first}-{last}"
            )
            result: Mapping[str, Any] = answer["CopyPartResult"]
            return result

        return self._in_parts(bucket, key, -(-source.size_bytes // size), send, described, options, None)

    def tags(self, bucket: BucketRole, key: str, *, version_id: str | None = None) -> Mapping[str, str]:
        _check_readable(key, version_id)
        with self._asking(f"reading the tags of {key}", bucket, key, of_version=version_id is not None):
            answer = self._client(bucket).get_object_tagging(**self._object(bucket, key, version_id))
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def set_tags(self, bucket: BucketRole, key: str, tags: Mapping[str, str], *, version_id: str | None = None) -> None:
        check_tags(tags)
        _check_readable(key, version_id)
        tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
        with self._asking(f"tagging {key}", bucket, key, of_version=version_id is not None):
            self._client(bucket).put_object_tagging(
                **self._object(bucket, key, version_id), Tagging={"TagSet": tag_set}
            )

    # -- parts -----------------------------------------------------------------------------------------------

    def _client(self, bucket: BucketRole) -> Any:
        return self._aws.client("s3", self._regions[bucket])

    def _bucket(self, bucket: BucketRole) -> dict[str, Any]:
        return {"Bucket": self._names[bucket], "ExpectedBucketOwner": self._aws.account_id}

    def _object(self, bucket: BucketRole, key: str, version_id: str | None = None) -> dict[str, Any]:
        named = {"VersionId": version_id} if version_id is not None else {}
        return {**self._bucket(bucket), "Key": key, **named}

    def _copied(self, source: ObjectVersion) -> dict[str, Any]:
        return {
            "CopySource": {
                "Bucket": self._names[source.bucket],
                "Key": source.key,
                "VersionId": source.version_id,
            },
            "ExpectedSourceBucketOwner": self._aws.account_id,
        }

    def _described(self, bucket: BucketRole, options: PutOptions, sha256: str | None) -> dict[str, Any]:
        """Content type, metadata and class. No encryption is asked for: the bucket's default holds."""
        metadata = dict(options.user_metadata)
        if sha256 is not None:
            metadata[HASH_METADATA] = sha256
            if sum(len(name) + len(value) for name, value in metadata.items()) > USER_METADATA_LIMIT_BYTES:
                del metadata[HASH_METADATA]
        first_class = options.storage_class
        if bucket is BucketRole.PRIMARY and first_class is StorageClass.STANDARD:
            first_class = self._upload_class
        return {"ContentType": options.content_type, "Metadata": metadata, "StorageClass": first_class.value}

    def _size_of_part(self, size_bytes: int, at_least: int) -> int:
        return max(at_least, -(-size_bytes // _PARTS_LIMIT))

    def _check_restored(self, source: ObjectVersion, doing: str) -> None:
        answer, _ = self._looked_up(source.bucket, source.key, source.version_id)
        if version_of(source.bucket, source.key, answer, is_latest=False).storage_class.archived and (
            'ongoing-request="false"' not in answer.get("Restore", "")
        ):
            raise Archived(doing, "it is in an archive tier", hint=_RESTORE_HINT)

    def _is_there(self, bucket: BucketRole, key: str) -> bool:
        try:
            self._headed(bucket, key, None)
        except NotFound:
            return False
        return True

    @contextmanager
    def _asking(self, doing: str, bucket: BucketRole, key: str = "", *, of_version: bool = False) -> Iterator[None]:
        """Run calls to S3 under the words for what can go wrong with an object.

        Args:
            doing: what is being done, as a gerund.
            bucket: whose bucket is asked.
            key: of the object, if one is meant.
            of_version: whether a version is named; S3 answers a version id that it can't read in several ways.
        """
        why: dict[type[PlatformError], str] = {
            NotFound: "there is no such object",
            Conflict: f"{key} exists already",
            Archived: "it is in an archive tier",
            ConfigurationInvalid: f"bucket {self._names[bucket]} does not belong to account {self._aws.account_id},"
            " or the AWS credentials in use may not do this",
        }
        with translated(doing, why=why):
            try:
                yield
            except Exception as error:
                code = error_code(error)
                if code in _IS_A_MARKER:
                    raise NotFound(doing, "a delete marker has no bytes") from error
                if of_version and code in _NO_SUCH_VERSION_ID:
                    raise NotFound(doing, "there is no such version") from error
                if code == "InvalidRange":
                    raise InvalidRequest(doing, "the range begins at or behind the end") from error
                raise


class _S3Reader:
    """An open object: a stream from S3 that is checked at its end if all of it was asked for."""

    def __init__(
        self,
        store: S3ObjectStore,
        bucket: BucketRole,
        key: str,
        answer: Mapping[str, Any],
        version_id: str | None,
        byte_range: ByteRange | None,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self._answer = answer
        self._body = answer["Body"]
        self._version: ObjectVersion | None = None
        self._doing = f"reading {key}"
        self._left: int | None = None
        self._hash = None
        self._expected = ""
        if byte_range is None:
            version = version_of(bucket, key, answer, is_latest=True)
            self._version = version if version_id is None else None
            if version.proven_sha256 is not None:
                self._hash, self._expected = hashlib.sha256(), version.proven_sha256
        elif "ContentRange" not in answer:
            self._skip(byte_range)

    @property
    def version(self) -> ObjectVersion:
        """What is being read; where the answer to the read did not tell all of it, S3 is asked now."""
        if self._version is None:
            self._version = self._store.head(self._bucket, self._key, version_id=version_id_of(self._answer))
        return self._version

    def read(self, size: int = -1, /) -> bytes:
        """See ``ObjectReader``."""
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        if size == 0:
            return b""
        with translated(self._doing):
            data: bytes = self._body.read(None if size < 0 else size)
        if self._left is not None:
            self._left -= len(data)
        if self._hash is not None:
            self._hash.update(data)
            if (size < 0 or not data) and self._hash.hexdigest() != self._expected:
                raise Corrupt(self._doing, "the stored bytes differ from their SHA-256", hint="Restore it from backup")
        return data

    def chunks(self) -> Iterator[bytes]:
        """See ``ObjectReader``."""
        while piece := self.read(CHUNK_SIZE_BYTES):
            yield piece

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()

    def _skip(self, byte_range: ByteRange) -> None:
        """Go to the range in an answer that is the whole object: HTTP lets a server ignore the wish for a range."""
        size = self._answer["ContentLength"]
        if byte_range.first >= size:
            self._body.close()
            raise InvalidRequest(self._doing, "the range begins at or behind the end")
        left = byte_range.first
        with translated(self._doing):
            while left:
                left -= len(self._body.read(min(left, CHUNK_SIZE_BYTES)))
        last = size - 1 if byte_range.last is None else min(byte_range.last, size - 1)
        self._left = last - byte_range.first + 1


# -- what S3 is asked ----------------------------------------------------------------------------------------------


def _sent(send: Callable[[int], Mapping[str, Any]], parts: int) -> list[dict[str, Any]]:
    """Send every part, several at once; the first failure stops those that have not begun, and is raised."""
    with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="parts") as pool:
        futures: list[Future[Mapping[str, Any]]] = [pool.submit(send, number) for number in range(1, parts + 1)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    failed = next((future for future in futures if not future.cancelled() and future.exception()), None)
    if failed is not None:
        failed.result()
    return [{"PartNumber": number, **_kept(future.result())} for number, future in enumerate(futures, 1)]


def _kept(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What completing an upload must repeat of the answer to a part."""
    return {name: answer[name] for name in ("ETag", *CHECKSUM_NAMES) if answer.get(name)}


def _condition(options: PutOptions) -> dict[str, Any]:
    return {"IfNoneMatch": "*"} if options.create_only else {}


def _check_readable(key: str, version_id: str | None) -> None:
    check_object_key(key)
    if version_id is not None and _VERSION_ID.fullmatch(version_id) is None:
        raise NotFound(f"looking up {key}", "there is no such version")


def _range_header(byte_range: ByteRange, doing: str) -> str:
    if byte_range.first < 0 or (byte_range.last is not None and byte_range.last < byte_range.first):
        raise InvalidRequest(doing, "no byte is in the range")
    return f"bytes={byte_range.first}-{'' if byte_range.last is None else byte_range.last}"


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_PAGE_SIZE:
        raise InvalidRequest("listing objects", f"a page has 1 to {LIST_PAGE_SIZE} entries, not {limit}")


def _token(listing: str, *markers: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([_TOKEN_FORMAT, listing, *markers]).encode()).decode()


def _parsed_token(continuation: str, listing: str) -> tuple[str, str]:
    try:
        form, of_listing, first, second = json.loads(base64.b64decode(continuation, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error) as error:
        raise _foreign_token() from error
    if form != _TOKEN_FORMAT or of_listing != listing or not isinstance(first, str) or not isinstance(second, str):
        raise _foreign_token()
    return first, second


def _foreign_token() -> InvalidRequest:
    return InvalidRequest("listing objects", "this store did not give that continuation", hint="Begin again without it")
