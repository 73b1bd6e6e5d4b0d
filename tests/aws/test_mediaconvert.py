"""What encoding on MediaConvert does beyond the common contract: paid once, exactly this version, errors told apart."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import av
import pytest
from botocore.client import BaseClient

import sample_clips
from aws.buckets import make_buckets, open_store
from aws.mediaconvert import MediaConvert, make_role
from aws.mediaconvert_encoder import Failed, encode
from contentplatform.clock import Clock, SystemClock
from contentplatform.drivers.boto import Aws
from contentplatform.errors import ConfigurationInvalid, ErrorCode, NotFound, Unavailable
from contentplatform.processing.aws import MediaConvertTranscoder
from contentplatform.processing.ladder import plan
from contentplatform.processing.mediaconvert_job import ROLE_PARAMETER
from contentplatform.processing.port import AudioTrack, MediaFacts, TranscodeRequest, TranscodeState, VideoTrack
from contentplatform.storage.aws import S3ObjectStore
from contentplatform.storage.port import BucketRole, PutOptions, walk_versions

KEY: Final = 'films/ü $x$ & "quotes" #1?.mp4'
FACTS: Final = MediaFacts(
    format="mov",
    duration_seconds=2.0,
    duration_is_exact=True,
    bit_rate=None,
    size_bytes=6,
    video=(
        VideoTrack(
            index=0,
            codec="h264",
            width=1_920,
            height=1_080,
            coded_width=1_920,
            coded_height=1_080,
            rotation_degrees=0,
            frame_rate=25.0,
            frame_rate_varies=False,
            duration_seconds=2.0,
        ),
    ),
    audio=(AudioTrack(1, "aac", 48_000, 2, "stereo", 2.0),),
)


class Encodes:
    """Encodes nothing, or for real; or fails as it was told."""

    def __init__(self) -> None:
        self.error: Failed | None = None
        self.for_real = False
        self.sources: list[bytes] = []

    def __call__(self, settings: Any, output: Any, source: Path, made: Path) -> None:
        if self.error is not None:
            raise self.error
        self.sources.append(source.read_bytes())
        if self.for_real:
            encode(settings, output, source, made)
        else:
            made.write_bytes(b"encoded")


@dataclass
class Place:
    """A transcoder with all that is around it."""

    aws: Aws
    service: MediaConvert
    store: S3ObjectStore
    transcoder: MediaConvertTranscoder
    encodes: Encodes
    clock: Clock

    def request(self, token: str = "process-1", body: bytes = b"a film", facts: MediaFacts = FACTS) -> TranscodeRequest:
        version = self.store.write(BucketRole.PRIMARY, KEY, BytesIO(body), PutOptions(content_type="video/mp4"))
        rungs = plan(facts, lambda name: f"versions/f/{version}/r/{name}.mp4")
        return TranscodeRequest(token, "f", version, KEY, facts, rungs)

    def with_store(self, store: S3ObjectStore) -> MediaConvertTranscoder:
        bucket_name = store._names[BucketRole.PROCESSED]
        return MediaConvertTranscoder(self.aws, store, self.clock, bucket_name=bucket_name)

    def throttled(self, operation: str) -> None:
        """The next call of an operation is refused, and the driver does not try it again by itself."""
        events = self.aws.client("mediaconvert").meta.events
        events.unregister("needs-retry.mediaconvert", unique_id="retry-config-mediaconvert")
        self.service.throttled(operation, 1)

    def staged(self) -> list[str]:
        versions = walk_versions(self.store, BucketRole.PROCESSED, "versions/")
        return [version.key for version in versions if re.search(r"/staging/[^/]*(?<!\.json)$", version.key)]


@pytest.fixture
def place(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    encodes = Encodes()
    service = MediaConvert(encodes)
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    service.serve(dict(os.environ))
    names = make_buckets(aws)
    make_role(aws)
    store, clock = open_store(aws, names), SystemClock()
    transcoder = MediaConvertTranscoder(aws, store, clock, bucket_name=names[BucketRole.PROCESSED])
    yield Place(aws, service, store, transcoder, encodes, clock)
    service.stop()


# -- paid once ---------------------------------------------------------------------------------------------------


def test_what_is_known_to_be_asked_for_is_not_asked_for_again(place: Place) -> None:
    request = place.request()
    job_id = place.transcoder.submit(request)
    place.service.pass_a_minute()
    assert place.transcoder.submit(request) == job_id
    assert place.service.asked["CreateJob"] == 1
    assert list(place.service.jobs) == [job_id]


class Dies(S3ObjectStore):
    """A process that dies before it noted the job's id."""

    def write(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> str:
        if key.endswith(".job.json"):
            raise InterruptedError("killed")
        return super().write(bucket, key, body, options)


def test_a_job_whose_id_was_lost_is_found_after_the_token_is_forgotten(place: Place) -> None:
    request = place.request()
    other = place.transcoder.submit(place.request("process-0"))
    dying = Dies(
        place.aws,
        bucket_names=place.store._names,
        region_of=place.store._regions,
        upload_class=place.store._upload_class,
    )
    with pytest.raises(InterruptedError):
        place.with_store(dying).submit(request)
    [job_id] = set(place.service.jobs) - {other}
    for number in range(25):  # others ask meanwhile: it is no longer on the list's first page
        place.transcoder.submit(place.request(f"later-{number}"))
    place.service.pass_a_minute()
    assert place.transcoder.submit(request) == job_id
    assert len(place.service.jobs) == 27


def test_what_never_reached_the_service_is_asked_for_by_the_next_call(place: Place) -> None:
    request = place.request()
    place.throttled("CreateJob")
    with pytest.raises(Unavailable):
        place.transcoder.submit(request)
    assert not place.service.jobs
    place.service.pass_a_minute()
    job_id = place.transcoder.submit(request)
    assert list(place.service.jobs) == [job_id]


def test_of_two_jobs_for_one_request_the_first_noted_stays_and_the_other_is_cancelled(place: Place) -> None:
    request = place.request()

    class Overtaken(S3ObjectStore):
        """Another call notes its job just before this one does."""

        def write(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> str:
            if key.endswith(".job.json"):
                super().write(bucket, key, BytesIO(b'{"id": "the-other"}'), options)
            return super().write(bucket, key, body, options)

    store = Overtaken(
        place.aws,
        bucket_names=place.store._names,
        region_of=place.store._regions,
        upload_class=place.store._upload_class,
    )
    with place.service.held():
        assert place.with_store(store).submit(request) == "the-other"
        [ours] = place.service.jobs
        assert place.transcoder.status(ours).state is TranscodeState.CANCELED


# -- exactly this version ------------------------------------------------------------------------------------------


def test_the_version_that_was_meant_is_read_whatever_its_key_and_what_came_later(place: Place) -> None:
    request = place.request(body=b"first")
    place.request(body=b"second")
    job_id = place.transcoder.submit(request)
    [source] = place.staged()
    assert re.fullmatch(r"versions/f/[\w.-]+/staging/process-1\.mp4", source)
    place.service.finish()
    assert place.encodes.sources == [b"first"] * 2
    for rung in request.rungs:
        assert place.store.head(BucketRole.PROCESSED, rung.stored_key).size_bytes == len(b"encoded")
    place.transcoder.forget(job_id)
    assert place.staged() == []


def test_a_cancelled_job_leaves_nothing_to_read(place: Place) -> None:
    place.service.hold()
    request = place.request()
    job_id = place.transcoder.submit(request)
    place.transcoder.cancel(job_id)
    assert place.staged() == []
    place.transcoder.cancel(job_id)
    place.transcoder.cancel("1700000000000-abcdef")
    place.transcoder.forget("1700000000000-abcdef")
    with pytest.raises(NotFound):
        place.store.head(BucketRole.PROCESSED, request.rungs[0].stored_key)


def test_the_region_s_own_endpoint_is_asked_and_no_other_is_looked_up(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    client: BaseClient = aws.client("mediaconvert")
    assert client.meta.endpoint_url == "https://mediaconvert.us-east-1.amazonaws.com"


# -- what becomes of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told", "expected", "words"),
    [
        (1_010, "Unable to open input file [s3://b/versions/x]: [No parser]", ErrorCode.DECODE, "could not read"),
        (1_040, "The video codec [x] is not supported", ErrorCode.UNSUPPORTED, "does not know this sort"),
        (1_401, "You don't have permissions to read", ErrorCode.INTERNAL, "could not do its work"),
        (3_450, "Something took too long", ErrorCode.INTERNAL, "could not do its work"),
    ],
)
def test_a_failed_job_says_whose_fault_it_was_and_shows_no_addresses(
    place: Place, code: int, told: str, expected: ErrorCode, words: str
) -> None:
    place.encodes.error = Failed(code, told)
    job_id = place.transcoder.submit(place.request())
    place.service.finish()
    status = place.transcoder.status(job_id)
    assert (status.state, status.error_code) == (TranscodeState.ERROR, expected)
    assert words in status.error
    assert f"error {code}" in status.error
    assert "s3://" not in status.error


@pytest.mark.parametrize(
    ("warnings", "told"),
    [
        ({}, ""),
        ({100_000: 1}, ""),
        ({230_001: 3, 100_000: 1}, "may be damaged or missing (warning 230001, 3 times)"),
    ],
)
def test_what_the_service_warned_of_is_told(place: Place, warnings: dict[int, int], told: str) -> None:
    job_id = place.transcoder.submit(place.request())
    place.service.finish()
    place.service.jobs[job_id].warnings = warnings
    status = place.transcoder.status(job_id)
    assert (status.state, status.percent) == (TranscodeState.COMPLETE, 100)
    assert status.damage.endswith(told)
    assert bool(status.damage) == bool(told)


def test_a_busy_service_says_nothing_of_the_job(place: Place) -> None:
    job_id = place.transcoder.submit(place.request())
    place.service.finish()
    place.throttled("GetJob")
    with pytest.raises(Unavailable):
        place.transcoder.status(job_id)
    assert place.transcoder.status(job_id).state is TranscodeState.COMPLETE


def test_progress_is_told_while_it_lasts(place: Place) -> None:
    with place.service.held():
        job_id = place.transcoder.submit(place.request())
        states = {place.transcoder.status(job_id).state for _ in range(3)}
        assert states <= {TranscodeState.SUBMITTED, TranscodeState.PROGRESSING}
    place.service.finish()
    assert place.transcoder.status(job_id).percent == 100


def test_what_is_not_set_up_says_what_to_do(place: Place) -> None:
    bucket_name = place.store._names[BucketRole.PROCESSED]
    elsewhere = MediaConvertTranscoder(place.aws, place.store, place.clock, bucket_name=bucket_name, queue="mine")
    with pytest.raises(ConfigurationInvalid, match=r"no queue mine.*aws\.mediaconvert_queue"):
        elsewhere.submit(place.request())
    place.aws.client("ssm").delete_parameter(Name=ROLE_PARAMETER)
    with pytest.raises(ConfigurationInvalid, match=r"does not exist.*deploy"):
        place.transcoder.submit(place.request("process-2"))


# -- for real --------------------------------------------------------------------------------------------------------


def test_an_upright_telephone_s_film_comes_out_upright_in_its_own_size(place: Place) -> None:
    place.encodes.for_real = True
    lying = replace(
        FACTS.video[0], width=180, height=320, coded_width=320, coded_height=180, rotation_degrees=90, frame_rate=30.0
    )
    clip = sample_clips.portrait_phone().read_bytes()
    request = place.request(body=clip, facts=replace(FACTS, video=(lying,)))
    job_id = place.transcoder.submit(request)
    place.service.finish()
    status = place.transcoder.status(job_id)
    assert (status.state, status.error) == (TranscodeState.COMPLETE, "")
    [rung] = request.rungs
    with place.store.open(BucketRole.PROCESSED, rung.stored_key) as reader:
        made = reader.read()
    assert made.index(b"moov") < made.index(b"mdat")
    with av.open(BytesIO(made), "r") as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.width, picture.height, picture.codec_context.name) == (180, 320, "h264")
        assert (sound.codec_context.name, sound.rate, sound.channels) == ("aac", 48_000, 2)
        assert abs(float(container.duration or 0) / av.time_base - 2.0) < 0.1


def test_a_film_that_is_none_fails_at_the_service(place: Place) -> None:
    place.encodes.for_real = True
    job_id = place.transcoder.submit(place.request(body=b"no film at all"))
    place.service.finish()
    assert place.transcoder.status(job_id).error_code is ErrorCode.DECODE
