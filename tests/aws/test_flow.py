"""Files through the deployed platform: by our command line and by AWS's; events that come twice, late or never."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aws.conftest import Deployed, aws_cli, until
from contentplatform.app import AwsHome
from contentplatform.catalog.port import Record, Rendition, SearchQuery
from contentplatform.cli.main import main
from contentplatform.errors import ErrorCode, NotFound
from contentplatform.ingest.queue import UPLOADS
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from contentplatform.storage.lifecycle import bucket_name
from contentplatform.storage.port import BucketRole, PutOptions, walk_versions
from contentplatform.workflow.port import ExecutionStatus
from emulator import BACKUP_REGION
from sample_media import encoded, photo

PRIMARY = bucket_name(BucketRole.PRIMARY, "emulated")
BACKUP = bucket_name(BucketRole.BACKUP, "emulated")
ENDED = {ProcessingStatus.COMPLETED, ProcessingStatus.FAILED}


def record_of(home: AwsHome, key: str, version_id: str | None = None) -> Record:
    """The record of a file, once its version (the current one, unless told) has ended."""

    def ended() -> Record | None:
        try:
            record = home.platform.catalog.get(file_id(key))
        except NotFound:
            return None
        wanted = version_id or home.platform.store.head(BucketRole.PRIMARY, key).version_id
        return record if record.version_id == wanted and record.status in ENDED else None

    found: Record = until(ended, f"{key} has ended")
    return found


def put(home: AwsHome, key: str, body: bytes) -> str:
    """Store a file past the platform, as any client of S3 would; its version."""
    return home.platform.store.put(BucketRole.PRIMARY, key, BytesIO(body), PutOptions()).version_id


def jpeg(seed: int = 1, size: tuple[int, int] = (640, 480)) -> bytes:
    return encoded(photo(*size, seed=seed), "JPEG")


def platform(*arguments: str | Path, data: Path) -> dict[str, Any]:
    """What our command line answers as JSON, in this process and the environment of the test."""
    with redirect_stdout(StringIO()) as told, pytest.raises(SystemExit) as ended:
        main(["--data", str(data), "--json", *map(str, arguments)])
    assert (ended.value.code or 0) in {0, 1}, told.getvalue()
    answer: dict[str, Any] = json.loads(told.getvalue())
    return answer


def fetched(home: AwsHome, rendition: Rendition, deployed: Deployed) -> tuple[int, Mapping[str, str], bytes]:
    """What the emulated distribution answers to who asks for a rendition."""
    url = urlsplit(home.platform.edge.url(rendition.key, rendition.sha256))
    request = urllib.request.Request(
        f"{deployed.emulator.url}{url.path}?{url.query}",
        headers={"Host": str(url.hostname), "X-Forwarded-Proto": "https"},
    )
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


def check_photo(home: AwsHome, deployed: Deployed, record: Record, body: bytes) -> None:
    """A photo's record is right and its renditions are served, byte for byte."""
    assert (record.status, record.kind, record.error) == (ProcessingStatus.COMPLETED, MediaKind.IMAGE, None)
    assert (record.size_bytes, record.content_type) == (len(body), "image/jpeg")
    assert record.file_hash == hashlib.sha256(body).hexdigest()
    assert record.hash_verified
    assert [rendition.name for rendition in record.renditions] == ["thumbnail", "medium", "webp"]
    for rendition in record.renditions:
        status, headers, served = fetched(home, rendition, deployed)
        assert (status, hashlib.sha256(served).hexdigest()) == (200, rendition.sha256)
        assert headers["content-type"] == rendition.content_type


def test_photos_a_text_and_a_broken_file_added_by_our_command_line(
    home: AwsHome, deployed: Deployed, folder: str, tmp_path: Path
) -> None:
    source = tmp_path / "to add"
    source.mkdir()
    (source / "a b+c ü.jpg").write_bytes(jpeg())
    (source / "note.txt").write_text("words\n" * 100, "utf-8")
    (source / "broken.jpg").write_text("This is text, whatever its name says.\n", "utf-8")
    (source / "truncated.jpg").write_bytes(jpeg(2)[:9_000])
    answer = platform("add", source, "--prefix", folder, data=tmp_path / "data")
    assert (answer["added"], answer["skipped"]) == (4, 0)
    check_photo(home, deployed, record_of(home, f"{folder}/a b+c ü.jpg"), jpeg())
    text = record_of(home, f"{folder}/note.txt")
    assert (text.status, text.content_type) == (ProcessingStatus.COMPLETED, "text/plain")
    assert {made.name for made in text.renditions} == {"thumbnail", "medium", "preview", "text"}
    broken = record_of(home, f"{folder}/broken.jpg")
    assert (broken.status, broken.error_code) == (ProcessingStatus.FAILED, ErrorCode.TYPE_MISMATCH)
    assert broken.error == "says image/jpeg, is text/plain"
    truncated = record_of(home, f"{folder}/truncated.jpg")
    assert (truncated.status, truncated.error_code) == (ProcessingStatus.FAILED, ErrorCode.DECODE)
    assert truncated.error
    assert "[" not in truncated.error
    again = platform("add", source, "--prefix", folder, data=tmp_path / "data")
    assert (again["added"], again["skipped"]) == (0, 4)


def test_a_photo_uploaded_by_aws_s3_cp_replicated_replaced_removed_and_brought_back(
    home: AwsHome, deployed: Deployed, folder: str, tmp_path: Path
) -> None:
    key, source = f"{folder}/photo.jpg", tmp_path / "photo.jpg"
    source.write_bytes(jpeg())
    aws_cli("s3", "cp", source, f"s3://{PRIMARY}/{key}")
    first = record_of(home, key)
    check_photo(home, deployed, first, jpeg())
    there = home.aws.client("s3", BACKUP_REGION).head_object(Bucket=BACKUP, Key=key)
    assert (there["ReplicationStatus"], there["StorageClass"]) == ("REPLICA", "GLACIER_IR")
    raw = [version.key for version in walk_versions(home.platform.store, BucketRole.RAW) if key in version.key]
    assert len(raw) == 1

    source.write_bytes(jpeg(2))
    aws_cli("s3", "cp", source, f"s3://{PRIMARY}/{key}")
    second = record_of(home, key)
    assert second.version_id != first.version_id
    check_photo(home, deployed, second, jpeg(2))
    assert second.renditions[0].key == first.renditions[0].key

    aws_cli("s3", "rm", f"s3://{PRIMARY}/{key}")
    until(lambda: home.platform.catalog.get(file_id(key)).deleted_at, "the record is hidden")
    until(lambda: fetched(home, second.renditions[0], deployed)[0] in {403, 404}, "the thumbnail is off the edge")

    answer = platform("undelete", key, data=tmp_path / "data")
    assert answer["processing_status"] == "completed"
    check_photo(home, deployed, record_of(home, key), jpeg(2))
    platform("remove", key, "--version", second.version_id, "--yes", data=tmp_path / "data")
    check_photo(home, deployed, record_of(home, key, first.version_id), jpeg())


def test_forty_files_at_once_all_end_and_none_is_lost(home: AwsHome, folder: str) -> None:
    names = [f"{folder}/{number:03d}" for number in range(40)]
    bodies = {
        name: (jpeg(number, (48, 32)) if number % 10 == 0 else b"\x00\xff" + f"bytes {number}".encode())
        for number, name in enumerate(names)
    }
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: put(home, name, bodies[name]), names))
    records = [record_of(home, name) for name in names]
    assert {record.status for record in records} == {ProcessingStatus.COMPLETED}
    assert {record.file_hash for record in records} == {hashlib.sha256(body).hexdigest() for body in bodies.values()}
    query = SearchQuery(folder=folder)
    until(lambda: len(home.platform.catalog.search(query, limit=1_000).records) == len(names), "all are found")
    assert home.platform.events.dead() == ()


def notify(home: AwsHome, key: str, *, event: str = "ObjectCreated:Put", sequencer: str = "1") -> None:
    """Tell the queue of a key as S3 does."""
    sqs = home.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=UPLOADS.name)["QueueUrl"]
    told = {"key": key, "versionId": "made-up", "sequencer": sequencer, "size": 1}
    record = {"eventSource": "aws:s3", "eventName": event, "s3": {"bucket": {"name": PRIMARY}, "object": told}}
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))


def test_events_that_come_twice_late_or_in_any_order_change_nothing(home: AwsHome, folder: str) -> None:
    key = f"{folder}/note.txt"
    put(home, key, b"one")
    version = put(home, key, b"two")
    before = record_of(home, key)
    for sequencer, event in (("9", "ObjectCreated:Put"), ("1", "ObjectRemoved:Delete"), ("5", "ObjectCreated:Copy")):
        notify(home, key, event=event, sequencer=sequencer)
        notify(home, key, event=event, sequencer=sequencer)
    until(lambda: home.platform.events.waiting() == 0, "the queue is empty")
    after = record_of(home, key, version)
    assert (after.version_id, after.status, after.deleted_at) == (version, ProcessingStatus.COMPLETED, None)
    assert after.processed_at == before.processed_at
    executions = home.platform.engine.list(file_id=file_id(key)).executions
    of_version = [execution for execution in executions if execution.version_id == version]
    assert [execution.status for execution in of_version] == [ExecutionStatus.SUCCEEDED]


def test_a_lost_event_is_found_by_the_reconciler(home: AwsHome, folder: str) -> None:
    key = f"{folder}/lost.txt"
    s3 = home.aws.client("s3")
    told = s3.get_bucket_notification_configuration(Bucket=PRIMARY)
    told.pop("ResponseMetadata")
    s3.put_bucket_notification_configuration(Bucket=PRIMARY, NotificationConfiguration={})
    try:
        put(home, key, b"nobody was told of me")
    finally:
        s3.put_bucket_notification_configuration(Bucket=PRIMARY, NotificationConfiguration=told)
    with pytest.raises(NotFound):
        home.platform.catalog.get(file_id(key))
    answer = home.aws.client("lambda").invoke(FunctionName="content-reconciler", Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert record_of(home, key).status is ProcessingStatus.COMPLETED
