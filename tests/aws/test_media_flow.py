"""Films, sounds and documents through the deployed platform: by events, functions, the workflow and MediaConvert."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

import document_files
import sample_clips
from aws.conftest import Deployed, until
from aws.mediaconvert import Job
from aws.test_flow import ENDED, fetched, jpeg, put, record_of
from contentplatform.app import AwsHome, open_local
from contentplatform.catalog.port import Record
from contentplatform.config import Settings
from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus, file_id
from contentplatform.processing.mediaconvert_job import EXECUTION_FIELD
from contentplatform.storage.port import BucketRole, PutOptions, walk_versions
from contentplatform.worker import Worker
from contentplatform.workflow.port import Execution

_SAME_AT_HOME: Final = ("width", "height", "duration_seconds", "format", "codecs", "rotation", "page_count", "tags")


def distinct(film: Path, name: str) -> bytes:
    """A film that nobody has seen: a box is added to it that says nothing."""
    told = name.encode()
    return film.read_bytes() + (8 + len(told)).to_bytes(4, "big") + b"free" + told


def small_set(folder: str) -> dict[str, bytes]:
    """A file of each kind, by its key."""
    return {
        f"{folder}/captions.mp4": sample_clips.three_subtitles_mp4().read_bytes(),
        f"{folder}/song.flac": sample_clips.with_cover("flac").read_bytes(),
        f"{folder}/paper.pdf": document_files.pdf(),
        f"{folder}/words.txt": "Grüße, words and more words\n".encode(),
        f"{folder}/photo.jpg": jpeg(77),
    }


def at_home(folder: Path, files: Mapping[str, bytes]) -> dict[str, Record]:
    """The records of the same files in a local home."""
    with closing(open_local(Settings(data_folder=folder))) as home, Worker(home):
        for key, body in files.items():
            home.platform.store.put(BucketRole.PRIMARY, key, BytesIO(body), PutOptions())

        def ended() -> dict[str, Record] | None:
            found = {key: home.platform.catalog.get(file_id(key)) for key in files}
            return found if all(record.status in ENDED for record in found.values()) else None

        until(lambda: home.platform.events.waiting() == 0, "everything is taken in at home")
        records: dict[str, Record] = until(ended, "everything has ended at home")
    return records


def described(record: Record) -> dict[str, Any]:
    """What of a record is the same in both homes."""
    facts = {name: record.processing_metadata.get(name) for name in _SAME_AT_HOME}
    return {
        "kind": record.kind,
        "status": record.status,
        "error": record.error,
        "title": record.title,
        "type": record.content_type,
        "renditions": sorted((made.name, made.key, made.content_type) for made in record.renditions),
        "sizes": sorted((made.name, made.width, made.height) for made in record.renditions),
        **facts,
    }


def test_every_kind_has_the_records_and_renditions_that_it_has_at_home(
    home: AwsHome, deployed: Deployed, folder: str, tmp_path: Path
) -> None:
    check_same_as_at_home(home, small_set(folder), tmp_path)
    film = record_of(home, f"{folder}/captions.mp4")
    for made in film.renditions:
        status, headers, _ = fetched(home, made, deployed)
        assert (status, headers["content-type"]) == (200, made.content_type), made.name
        assert home.platform.store.head(BucketRole.PROCESSED, made.stored_key).sha256 == made.sha256
    assert staged(home, film.file_id) == []
    assert record_of(home, f"{folder}/paper.pdf").kind is MediaKind.DOCUMENT


@pytest.mark.soak  # a film is encoded twice; how one is turned for MediaConvert, unit tests show, too
def test_a_film_of_a_phone_held_upright_is_the_same_as_at_home(home: AwsHome, folder: str, tmp_path: Path) -> None:
    check_same_as_at_home(home, {f"{folder}/upright.mov": sample_clips.portrait_phone().read_bytes()}, tmp_path)


def check_same_as_at_home(home: AwsHome, files: Mapping[str, bytes], folder: Path) -> None:
    """These files come out as in a home on this machine."""
    for key, body in files.items():
        put(home, key, body)
    expected = at_home(folder / "home", files)
    for key in files:
        record = record_of(home, key)
        assert described(record) == described(expected[key]), key
        assert record.status is ProcessingStatus.COMPLETED


def staged(home: AwsHome, identifier: str) -> list[str]:
    """What still lies there for MediaConvert to read."""
    versions = walk_versions(home.platform.store, BucketRole.PROCESSED, f"versions/{identifier}/")
    return [one.key for one in versions if "/staging/" in one.key and not one.key.endswith(".json")]


def execution_of(home: AwsHome, key: str) -> Execution:
    """The execution that works on a file."""

    def found() -> Execution | None:
        executions = home.platform.engine.list(file_id=file_id(key)).executions
        return executions[0] if executions else None

    execution: Execution = until(found, f"{key} is worked on")
    return execution


def jobs_of(deployed: Deployed, execution: Execution) -> list[Job]:
    """What was asked of MediaConvert for an execution."""
    jobs = deployed.mediaconvert.jobs.values()
    return [job for job in jobs if job.asked["userMetadata"][EXECUTION_FIELD] == execution.name]


def test_a_busy_mediaconvert_fails_no_good_film_and_is_paid_once(
    home: AwsHome, deployed: Deployed, folder: str
) -> None:
    key = f"{folder}/film.mp4"
    deployed.mediaconvert.throttled("CreateJob", 1)
    deployed.mediaconvert.throttled("GetJob", 2)
    put(home, key, distinct(sample_clips.film(), folder))
    record = record_of(home, key)
    assert (record.status, record.error) == (ProcessingStatus.COMPLETED, None)
    assert len(jobs_of(deployed, execution_of(home, key))) == 1


def test_what_mediaconvert_can_t_encode_is_recorded_with_its_words(
    home: AwsHome, deployed: Deployed, folder: str
) -> None:
    key = f"{folder}/film.mp4"
    deployed.mediaconvert.fail_next(1_040, "The codec [x] of [s3://somewhere/a] is not supported")
    put(home, key, distinct(sample_clips.film(), folder))
    record = record_of(home, key)
    assert (record.status, record.error_code) == (ProcessingStatus.FAILED, ErrorCode.UNSUPPORTED)
    assert "MediaConvert does not know this sort of video (error 1040)" in str(record.error)
    assert "s3://" not in str(record.error)
    assert staged(home, record.file_id) == []


def test_a_retried_function_asks_for_no_second_job_and_a_stopped_execution_ends_it(
    home: AwsHome, deployed: Deployed, folder: str
) -> None:
    key = f"{folder}/film.mp4"
    with deployed.mediaconvert.held():
        put(home, key, distinct(sample_clips.film(), folder))
        execution = execution_of(home, key)
        [job] = until(lambda: jobs_of(deployed, execution), "a job is asked for")
        until(lambda: home.platform.engine.get(execution.name).state != "ProcessVideo", "the job is known")
        deployed.mediaconvert.pass_a_minute()
        again = home.aws.client("lambda").invoke(
            FunctionName="content-video-processor",
            Payload=json.dumps({**execution.input, "execution": execution.name}).encode(),
        )
        assert json.loads(again["Payload"].read())["id"] == job.id
        assert jobs_of(deployed, execution) == [job]
        assert staged(home, file_id(key))

        arn = f"arn:aws:states:{home.aws.region}:{home.aws.account_id}:execution:content-processing-workflow"
        home.aws.client("stepfunctions").stop_execution(executionArn=f"{arn}:{execution.name}", cause="a person")
        until(lambda: job.status == "CANCELED", "the job is cancelled")
        record = record_of(home, key)
    assert (record.status, record.error_code) == (ProcessingStatus.FAILED, ErrorCode.CANCELLED)
    until(lambda: staged(home, record.file_id) == [], "nothing is left to read")
    assert record.renditions == ()
