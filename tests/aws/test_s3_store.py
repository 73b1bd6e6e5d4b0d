"""What the store does on S3 beyond the common contract: parts, archives, regions, damage, other people's buckets."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import pytest
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from urllib3.exceptions import ProtocolError

from aws.buckets import make_buckets, open_store
from aws.recording import Recorded
from contentplatform.drivers.boto import Aws
from contentplatform.drivers.checksums import BEST, CRC32, Checksum
from contentplatform.errors import (
    Archived,
    ChecksumMismatch,
    ConfigurationInvalid,
    Conflict,
    Corrupt,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from contentplatform.storage.aws import HASH_METADATA, S3ObjectStore
from contentplatform.storage.port import (
    BucketRole,
    ByteRange,
    HashSource,
    PutOptions,
    StorageClass,
    versions_of,
)
from contract.object_store_contract import BrokenStream, Trickle
from emulator import Emulator, select_pause

PRIMARY: Final = BucketRole.PRIMARY
SMALL_PART_BYTES: Final = 64 << 10
LARGE: Final = os.urandom(9 * SMALL_PART_BYTES + 77)
PLAIN: Final = PutOptions()


@pytest.fixture
def names(aws: Aws) -> dict[BucketRole, str]:
    return make_buckets(aws)


@pytest.fixture
def store(aws: Aws, names: dict[BucketRole, str]) -> S3ObjectStore:
    """The store with parts so small that a test's bodies have several."""
    return open_store(aws, names, part_size_bytes=SMALL_PART_BYTES)


def read(store: S3ObjectStore, key: str, version_id: str | None = None, part: ByteRange | None = None) -> bytes:
    with store.open(PRIMARY, key, version_id=version_id, byte_range=part) as reader:
        return reader.read()


def unfinished(aws: Aws, names: Mapping[BucketRole, str]) -> list[Any]:
    """Uploads in parts that were neither completed nor aborted."""
    answer = aws.client("s3").list_multipart_uploads(Bucket=names[PRIMARY])
    uploads: list[Any] = answer.get("Uploads", [])
    return uploads


@contextmanager
def answering(aws: Aws, operation: str, answer: Any) -> Iterator[None]:
    """Let S3's client get this answer instead of asking."""
    events = aws.client("s3").meta.events
    name = f"before-send.s3.{operation}"
    events.register(name, answer)
    try:
        yield
    finally:
        events.unregister(name, answer)


# -- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [BEST, CRC32], ids=lambda checksum: checksum.name)
def test_a_large_body_goes_up_in_parts_with_a_checksum_over_the_whole(
    aws: Aws, names: dict[BucketRole, str], checksum: Checksum
) -> None:
    store = open_store(aws, names, part_size_bytes=SMALL_PART_BYTES, checksum=checksum)
    with Recorded(aws) as calls:
        version = store.put(PRIMARY, "large", io.BytesIO(LARGE), PutOptions("video/mp4", {"author": "me"}))
    assert calls.counts["UploadPart"] == 10
    assert calls.counts["PutObject"] == 0
    created = next(arguments for name, arguments in calls.calls if name == "CreateMultipartUpload")
    assert (created["ChecksumAlgorithm"], created["ChecksumType"]) == (checksum.name, "FULL_OBJECT")
    calls.check_owner_named(aws.account_id)
    assert read(store, "large") == LARGE
    assert version.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert version.proven_sha256 is None, "metadata is a claim, also ours: anybody can write it"
    assert (version.content_type, dict(version.user_metadata)) == ("video/mp4", {"author": "me"})
    assert store.head(PRIMARY, "large") == version
    assert unfinished(aws, names) == []


def test_parts_of_a_stream_that_can_not_be_read_twice(store: S3ObjectStore) -> None:
    data = os.urandom(9 << 20)
    store.put(PRIMARY, "stream", Trickle(data, 1 << 20), PLAIN)  # type: ignore[arg-type]  # a raw stream is enough
    assert read(store, "stream") == data


def test_parts_of_a_file_begin_where_it_stands(aws: Aws, names: dict[BucketRole, str]) -> None:
    store = open_store(aws, names, part_size_bytes=2 << 20)
    data = os.urandom(9 << 20)
    body = io.BytesIO(b"head" + data)
    body.seek(4)
    version = store.put(PRIMARY, "rest", body, PLAIN)
    assert version.sha256 == hashlib.sha256(data).hexdigest()
    assert read(store, "rest") == data


def test_no_object_needs_more_than_ten_thousand_parts(store: S3ObjectStore) -> None:
    for size in (1, 5 << 40, 48 << 40):
        part = store._size_of_part(size, 16 << 20)
        assert -(-size // part) <= 10_000
        assert part <= 5 << 30, "the largest part that S3 takes"


def test_a_body_whose_parts_differ_from_what_was_hashed_is_refused_and_nothing_stays(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    """The checksum over the whole goes along as soon as S3 says that it keeps one; one that differs is refused."""
    events = aws.client("s3").meta.events

    def as_s3_answers(customized_response_dict: dict[str, Any], **_: Any) -> None:
        customized_response_dict["ChecksumType"] = "FULL_OBJECT"

    events.register("before-parse.s3.CreateMultipartUpload", as_s3_answers)
    try:
        with Recorded(aws) as calls, pytest.raises(ChecksumMismatch):
            store.put(PRIMARY, "k", io.BytesIO(LARGE), PLAIN)  # the emulator computes another one than S3
    finally:
        events.unregister("before-parse.s3.CreateMultipartUpload", as_s3_answers)
    completed = next(arguments for name, arguments in calls.calls if name == "CompleteMultipartUpload")
    assert completed[f"Checksum{BEST.name}"] == BEST.text(BEST.update(LARGE, 0))
    assert unfinished(aws, names) == []
    assert store.list_versions(PRIMARY).objects == ()


def test_a_body_in_one_piece_that_changes_before_it_is_sent_is_refused(aws: Aws, store: S3ObjectStore) -> None:
    """S3 compares the bytes that arrive with the SHA-256 that was computed before."""

    def change(params: dict[str, Any], **_: Any) -> None:
        params["Body"] = b"other"

    aws.client("s3").meta.events.register("provide-client-params.s3.PutObject", change)
    with pytest.raises(ChecksumMismatch):
        store.put(PRIMARY, "k", io.BytesIO(b"bytes"), PLAIN)
    assert store.list_versions(PRIMARY).objects == ()


def test_an_upload_that_fails_midway_leaves_no_parts(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    class FailsWhenSent(io.BytesIO):
        """A file on a disk that fails when its later bytes are read a second time."""

        passes = 0

        def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
            self.passes += offset > 9 << 20
            return super().seek(offset, whence)

        def read(self, size: int | None = -1, /) -> bytes:
            if self.passes:
                raise OSError(5, "Input/output error")
            return super().read(size)

    body = FailsWhenSent(os.urandom(10 << 20))
    big_parts = open_store(aws, names, part_size_bytes=1 << 20)
    with Recorded(aws) as calls, pytest.raises(OSError, match="Input/output error"):
        big_parts.put(PRIMARY, "k", body, PLAIN)
    assert calls.counts["CreateMultipartUpload"] == calls.counts["AbortMultipartUpload"] == 1
    assert unfinished(aws, names) == []
    assert store.list_versions(PRIMARY).objects == ()


def test_what_is_refused_before_the_first_byte_opens_no_upload(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    with Recorded(aws) as calls:
        with pytest.raises(ChecksumMismatch):
            store.put(PRIMARY, "k", io.BytesIO(LARGE), PutOptions(expected_sha256="0" * 64))
        with pytest.raises(ConnectionResetError):
            store.put(PRIMARY, "k", BrokenStream(), PLAIN)  # type: ignore[arg-type]  # a raw stream is enough
    assert calls.calls == []
    assert unfinished(aws, names) == []


def test_create_only_holds_for_parts_and_the_loser_leaves_none(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    only = PutOptions(create_only=True)
    store.put(PRIMARY, "k", io.BytesIO(LARGE), only)
    with pytest.raises(Conflict, match="k exists already"):
        store.put(PRIMARY, "k", io.BytesIO(LARGE), only)
    assert unfinished(aws, names) == []
    assert len(versions_of(store, PRIMARY, "k")) == 1


def test_a_large_object_is_copied_in_parts_with_all_that_it_brings(aws: Aws, names: dict[BucketRole, str]) -> None:
    store = open_store(aws, names, part_size_bytes=SMALL_PART_BYTES // 16, copy_limit_bytes=SMALL_PART_BYTES)
    options = PutOptions("video/mp4", {"author": "me"}, storage_class=StorageClass.STANDARD_IA)
    whole = open_store(aws, names)
    old = whole.put(PRIMARY, "k", io.BytesIO(LARGE), options)
    whole.set_tags(PRIMARY, "k", {"project": "x"})
    whole.put(PRIMARY, "k", io.BytesIO(b"new"), PLAIN)
    with Recorded(aws) as calls:
        made = store.copy(old, BucketRole.BACKUP, "copy")
        told = store.copy(old, PRIMARY, "other", PutOptions("text/plain"))
    calls.check_owner_named(aws.account_id)
    assert calls.counts["UploadPartCopy"] == 20
    ranges = [arguments["CopySourceRange"] for name, arguments in calls.calls if name == "UploadPartCopy"]
    assert f"bytes=0-{SMALL_PART_BYTES - 1}" in ranges
    assert (made.content_type, dict(made.user_metadata)) == ("video/mp4", {"author": "me"})
    assert (made.storage_class, made.sha256) == (StorageClass.STANDARD_IA, old.sha256)
    created = next(arguments for name, arguments in calls.calls if name == "CreateMultipartUpload")
    assert created["Tagging"] == "project=x"
    assert (told.content_type, told.storage_class) == ("text/plain", StorageClass.STANDARD)
    with store.open(BucketRole.BACKUP, "copy") as reader:
        assert reader.read() == LARGE
    assert read(store, "other") == LARGE


# -- what is asked -------------------------------------------------------------------------------------------------


def test_every_operation_of_the_store_names_the_owner(aws: Aws, names: dict[BucketRole, str]) -> None:
    """Each operation that the adapter's text names is called here at least once, and each call has the owner."""
    store = open_store(aws, names, part_size_bytes=SMALL_PART_BYTES, copy_limit_bytes=2 * SMALL_PART_BYTES)
    with Recorded(aws) as calls:
        small = store.put(PRIMARY, "small", io.BytesIO(b"data"), PLAIN)
        large = store.put(PRIMARY, "large", io.BytesIO(LARGE), PLAIN)
        with pytest.raises(Conflict):
            store.put(PRIMARY, "large", io.BytesIO(LARGE), PutOptions(create_only=True))
        store.copy(small, BucketRole.BACKUP, "small")
        store.copy(large, BucketRole.BACKUP, "large")
        store.set_tags(PRIMARY, "small", {"a": "b"})
        read(store, "small")
        store.list(PRIMARY)
        store.list_versions(PRIMARY)
        store.delete_version(PRIMARY, "small", store.delete(PRIMARY, "small").version_id)
    calls.check_owner_named(aws.account_id)
    text = Path(inspect.getfile(S3ObjectStore)).read_text("utf-8")
    named = set(re.findall(r"(?:client|_client\(bucket\))\.([a-z]+_[a-z_0-9]+)\(", text))
    assert len(named) >= 13
    assert named == {xform_name(name) for name in calls.counts}


def test_no_encryption_is_asked_for_since_the_default_of_the_bucket_holds(aws: Aws, store: S3ObjectStore) -> None:
    with Recorded(aws) as calls:
        store.copy(store.put(PRIMARY, "k", io.BytesIO(LARGE), PLAIN), PRIMARY, "copy")
        store.put(PRIMARY, "k", io.BytesIO(b"data"), PLAIN)
    assert not [name for _, arguments in calls.calls for name in arguments if "Encryption" in name or "SSE" in name]


def test_originals_are_stored_in_the_class_for_uploads_and_nothing_else_is(
    aws: Aws, names: dict[BucketRole, str]
) -> None:
    store = open_store(aws, names, upload_class=StorageClass.INTELLIGENT_TIERING)
    assert store.put(PRIMARY, "k", io.BytesIO(b"x"), PLAIN).storage_class is StorageClass.INTELLIGENT_TIERING
    assert store.put(BucketRole.RAW, "k", io.BytesIO(b"x"), PLAIN).storage_class is StorageClass.STANDARD
    cold = PutOptions(storage_class=StorageClass.GLACIER_IR)
    assert store.put(PRIMARY, "c", io.BytesIO(b"x"), cold).storage_class is StorageClass.GLACIER_IR


def test_each_bucket_is_asked_in_its_own_region(aws: Aws, store: S3ObjectStore) -> None:
    version = store.put(PRIMARY, "k", io.BytesIO(b"data"), PLAIN)
    copy = store.copy(version, BucketRole.BACKUP, "k")
    assert store.head(BucketRole.BACKUP, "k") == copy
    wrong = {**dict.fromkeys(BucketRole, "us-east-1")}
    astray = S3ObjectStore(aws, bucket_names=store._names, region_of=wrong, upload_class=StorageClass.STANDARD)
    with Recorded(aws) as calls:
        store.head(BucketRole.BACKUP, "k")
    assert len(calls.calls) == 1, "no detour through another region"
    assert astray._client(BucketRole.BACKUP) is not store._client(BucketRole.BACKUP)


def test_a_bucket_of_another_account_is_an_error_in_words(emulator: Emulator, names: dict[BucketRole, str]) -> None:
    stranger = emulator.account()
    client = Aws(region="us-east-1", account_id=stranger)
    credentials = {"aws_access_key_id": stranger, "aws_secret_access_key": "test"}
    import boto3  # noqa: PLC0415 - a session of somebody else

    client._session = boto3.Session(region_name="us-east-1", **credentials)
    store = open_store(client, names)
    for attempt in (
        lambda: store.put(PRIMARY, "k", io.BytesIO(b"x"), PLAIN),
        lambda: store.head(PRIMARY, "k"),
        lambda: store.list(PRIMARY),
        lambda: store.delete(PRIMARY, "k"),
    ):
        with pytest.raises(ConfigurationInvalid) as caught:
            attempt()
        assert f"bucket {names[PRIMARY]} does not belong to account {stranger}" in caught.value.public


def test_a_bucket_that_is_not_there_is_an_error_in_words(aws: Aws, names: dict[BucketRole, str]) -> None:
    store = open_store(aws, {**names, PRIMARY: "content-platform-primary-nowhere"})
    with pytest.raises(ConfigurationInvalid, match="the bucket does not exist"):
        store.put(PRIMARY, "k", io.BytesIO(b"x"), PLAIN)


# -- hashes --------------------------------------------------------------------------------------------------------


def uploaded_past_us(aws: Aws, names: dict[BucketRole, str], key: str, data: bytes, **arguments: Any) -> None:
    aws.client("s3").put_object(Bucket=names[PRIMARY], Key=key, Body=data, **arguments)


def test_a_hash_that_s3_checked_is_proven_and_a_claim_is_not(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    honest = hashlib.sha256(b"data").hexdigest()
    ours = store.put(PRIMARY, "ours", io.BytesIO(b"data"), PLAIN)
    assert (ours.proven_sha256, ours.hash_source) == (honest, HashSource.STORE)
    uploaded_past_us(aws, names, "checked", b"data", ChecksumAlgorithm="SHA256")
    assert store.head(PRIMARY, "checked").proven_sha256 == honest
    uploaded_past_us(aws, names, "plain", b"data")
    assert store.head(PRIMARY, "plain").sha256 is None
    lie = "0" * 64
    uploaded_past_us(aws, names, "lie", b"data", Metadata={HASH_METADATA: lie})
    liar = store.head(PRIMARY, "lie")
    assert (liar.sha256, liar.proven_sha256, liar.hash_source) == (lie, None, HashSource.BOUND)
    assert dict(liar.user_metadata) == {}, "the claim is no metadata of the user's"
    uploaded_past_us(aws, names, "no hash", b"data", Metadata={HASH_METADATA: "abc"})
    assert store.head(PRIMARY, "no hash").sha256 is None
    uploaded_past_us(aws, names, "both", b"data", Metadata={HASH_METADATA: lie}, ChecksumAlgorithm="SHA256")
    assert store.head(PRIMARY, "both").proven_sha256 == honest, "what S3 checked goes before what somebody says"
    assert read(store, "lie") == b"data", "a wrong claim damages nothing"


def test_metadata_may_fill_its_two_kilobytes(store: S3ObjectStore) -> None:
    full = PutOptions(user_metadata={"a": "x" * 2_040})
    version = store.put(PRIMARY, "k", io.BytesIO(b"data"), full)
    assert dict(version.user_metadata) == dict(full.user_metadata)
    assert version.sha256 == hashlib.sha256(b"data").hexdigest()


# -- damage --------------------------------------------------------------------------------------------------------


class Wire(io.BytesIO):
    """The bytes of an answer as they come off the wire, and perhaps break off."""

    def __init__(self, data: bytes, *, cut_after: int | None = None) -> None:
        super().__init__(data)
        self._cut_after = cut_after

    def stream(self, amount: int = 1 << 16, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece

    def read(self, size: int | None = -1, *_: Any, **__: Any) -> bytes:
        if self._cut_after is not None and self.tell() >= self._cut_after:
            raise ProtocolError("Connection broken")
        if self._cut_after is not None:
            size = self._cut_after if size is None or size < 0 else min(size, self._cut_after)
        return super().read(size)


def answered(data: bytes, wire: BinaryIO, **headers: str) -> Any:
    def answer(request: Any, **_: Any) -> AWSResponse:
        told = {
            "content-length": str(len(data)),
            "etag": '"e"',
            "last-modified": "Mon, 23 Nov 2026 06:00:00 GMT",
            "x-amz-version-id": "v",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return AWSResponse(request.url, 200, told, wire)

    return answer


SHA256_OF_DATA: Final = "Om6weQ85rIfJTzhWst0sXREOaBFgImGpqSPTuyOtyLc="
"""Of ``data``, as S3 writes it."""


def test_bytes_that_differ_from_their_checksum_are_never_read_to_the_end(aws: Aws, store: S3ObjectStore) -> None:
    checked = {"x_amz_checksum_sha256": SHA256_OF_DATA, "x_amz_checksum_type": "FULL_OBJECT"}
    with answering(aws, "GetObject", answered(b"data", Wire(b"data"), **checked)):
        assert read(store, "k") == b"data"
    with answering(aws, "GetObject", answered(b"dama", Wire(b"dama"), **checked)), pytest.raises(Corrupt):
        read(store, "k")
    with (
        answering(aws, "GetObject", answered(b"dama", Wire(b"dama"), **checked)),
        store.open(PRIMARY, "k") as reader,
    ):
        assert reader.read(2) == b"da"
        with pytest.raises(Corrupt):
            list(reader.chunks())


def test_a_body_that_breaks_off_is_a_passing_fault(aws: Aws, store: S3ObjectStore) -> None:
    with (
        answering(aws, "GetObject", answered(b"0123456789", Wire(b"0123456789", cut_after=4))),
        pytest.raises(Unavailable),
    ):
        read(store, "k")
    with answering(aws, "GetObject", answered(b"0123456789", Wire(b"0123"))), pytest.raises(Unavailable):
        read(store, "k")


def test_a_range_of_a_version_is_right_although_the_emulator_sends_all_of_it(store: S3ObjectStore) -> None:
    version = store.put(PRIMARY, "k", io.BytesIO(b"0123456789"), PLAIN)
    assert read(store, "k", version.version_id, ByteRange(2, 4)) == b"234"
    assert read(store, "k", version.version_id, ByteRange(8)) == b"89"
    with pytest.raises(InvalidRequest):
        read(store, "k", version.version_id, ByteRange(10))
    with store.open(PRIMARY, "k", version_id=version.version_id, byte_range=ByteRange(0, 5)) as reader:
        assert [reader.read(4), reader.read(4), reader.read(4)] == [b"0123", b"45", b""]
        assert reader.version == version


# -- archives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage_class", [StorageClass.GLACIER, StorageClass.DEEP_ARCHIVE])
def test_an_archived_object_is_readable_once_it_was_restored(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore, storage_class: StorageClass
) -> None:
    cold = store.put(PRIMARY, "k", io.BytesIO(b"cold"), PutOptions(storage_class=storage_class))
    with pytest.raises(Archived) as caught:
        read(store, "k", cold.version_id)
    assert "restore" in caught.value.hint
    assert store.head(PRIMARY, "k", version_id=cold.version_id) == cold
    client = aws.client("s3")
    client.restore_object(Bucket=names[PRIMARY], Key="k", RestoreRequest={"Days": 2})
    with pytest.raises(Archived):
        store.copy(cold, PRIMARY, "too soon")
    while 'ongoing-request="false"' not in client.head_object(Bucket=names[PRIMARY], Key="k")["Restore"]:
        select_pause(0.1)  # two seconds, which the emulator does not let anybody change
    assert read(store, "k", cold.version_id) == b"cold"
    warm = store.copy(cold, PRIMARY, "warm", PutOptions())
    assert (read(store, "warm"), warm.storage_class) == (b"cold", StorageClass.STANDARD)
    assert store.head(PRIMARY, "k").storage_class is storage_class


def test_a_class_that_the_platform_does_not_use_reads_as_it_is(
    aws: Aws, names: dict[BucketRole, str], store: S3ObjectStore
) -> None:
    uploaded_past_us(aws, names, "k", b"data", StorageClass="ONEZONE_IA")
    assert store.head(PRIMARY, "k").storage_class is StorageClass.STANDARD
    assert read(store, "k") == b"data"


# -- versions ------------------------------------------------------------------------------------------------------


def test_versions_and_markers_of_the_same_second_stay_in_order(store: S3ObjectStore) -> None:
    """S3's own library hands out versions and markers apart, and their times are whole seconds."""
    expected: list[str] = []
    for number in range(4):
        expected.append(store.put(PRIMARY, "k", io.BytesIO(b"%d" % number), PLAIN).version_id)
        expected.append(store.delete(PRIMARY, "k").version_id)
    assert [version.version_id for version in versions_of(store, PRIMARY, "k")] == expected[::-1]


def test_the_common_look_at_a_version_is_one_call(aws: Aws, store: S3ObjectStore) -> None:
    version = store.put(PRIMARY, "k", io.BytesIO(b"data"), PLAIN)
    with Recorded(aws) as calls:
        assert store.head(PRIMARY, "k", version_id=version.version_id) == version
    assert calls.counts == {"HeadObject": 1}
    store.put(PRIMARY, "k", io.BytesIO(b"newer"), PLAIN)
    assert store.head(PRIMARY, "k", version_id=version.version_id) == replace(version, is_latest=False)


def test_a_copy_of_a_marker_or_a_version_that_is_gone_is_not_found(store: S3ObjectStore) -> None:
    version = store.put(PRIMARY, "k", io.BytesIO(b"data"), PLAIN)
    with pytest.raises(NotFound):
        store.copy(replace(version, version_id="no-such-version"), PRIMARY, "copy")
    with pytest.raises(NotFound):
        store.copy(store.delete(PRIMARY, "k"), PRIMARY, "copy")
