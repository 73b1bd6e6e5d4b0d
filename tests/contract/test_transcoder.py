"""What every transcoder promises: one job a token, an honest state, and each rung where it was ordered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import ErrorCode, NotFound, ProcessingFailed
from contentplatform.processing.encoder import Encoded, Watch
from contentplatform.processing.ladder import plan
from contentplatform.processing.lane import TranscodeLane
from contentplatform.processing.port import (
    AudioTrack,
    MediaFacts,
    Transcoder,
    TranscodeRequest,
    TranscodeState,
    TranscodeStatus,
    VideoTrack,
)
from contentplatform.processing.transcoding import SCHEMA, LocalTranscoder
from contentplatform.storage.port import BucketRole, ObjectStore, PutOptions
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore
from fakes.platform import MemoryTranscoder

KEY = "films/a film.mp4"
BROKEN = "a part of it is damaged"


@dataclass
class Home:
    """A transcoder, a store with a film in it, and somebody who does what is asked for."""

    transcoder: Transcoder
    store: ObjectStore
    work: Callable[[], object]
    """Do everything that waits."""
    break_next: Callable[[], None]
    """Everything that waits now turns out to be broken, once ``work`` is called."""

    def request(self, token: str = "process-1", *, sound: bool = True) -> TranscodeRequest:
        """For a film that is in the store."""
        version = self.store.put(BucketRole.PRIMARY, KEY, BytesIO(b"a film"), PutOptions(content_type="video/mp4"))
        facts = film(sound=sound)
        rungs = plan(facts, lambda name: f"versions/f/{version.version_id}/r/{name}.mp4")
        return TranscodeRequest(token, "f", version.version_id, KEY, facts, rungs)


def film(*, sound: bool = True) -> MediaFacts:
    """Facts of a film that has two rungs."""
    track = VideoTrack(
        index=0,
        codec="h264",
        width=1920,
        height=1080,
        coded_width=1920,
        coded_height=1080,
        rotation_degrees=0,
        frame_rate=25.0,
        frame_rate_varies=False,
        duration_seconds=10.0,
    )
    audio = (AudioTrack(1, "aac", 48_000, 2, "stereo", 10.0),) if sound else ()
    return MediaFacts("mov", 10.0, duration_is_exact=True, bit_rate=None, size_bytes=6, video=(track,), audio=audio)


def in_memory(_request: pytest.FixtureRequest) -> Iterator[Home]:
    """The fake."""
    store = MemoryObjectStore(FakeClock(), SequentialIds())
    transcoder = MemoryTranscoder(store)
    transcoder.at_once = False

    def waiting() -> list[str]:
        return [job_id for job_id, status in transcoder.statuses.items() if not status.state.is_final]

    def work() -> None:
        for job_id in waiting():
            transcoder.encode(job_id)

    def break_next() -> None:
        for job_id in waiting():
            transcoder.statuses[job_id] = TranscodeStatus(TranscodeState.ERROR, None, BROKEN, ErrorCode.DECODE)

    yield Home(transcoder, store, work, break_next)


class Encoder:
    """Writes a rung's name where an encoder writes a film."""

    def __init__(self) -> None:
        self.breaks = False
        self.damage = ""

    def encode(self, request: TranscodeRequest, source: Path, scratch: Path, watch: Watch) -> Encoded:
        if self.breaks:
            raise ProcessingFailed("encoding the video", BROKEN, code=ErrorCode.DECODE)
        assert source.read_bytes() == b"a film"
        watch.note(50)
        files = {rung.name: scratch / rung.name for rung in request.rungs}
        for name, path in files.items():
            path.write_bytes(name.encode() + b" of a film")
        return Encoded(files, self.damage)

    def close(self) -> None:
        """Nothing runs."""


def local(request: pytest.FixtureRequest) -> Iterator[Home]:
    """The local home."""
    folder: Path = request.getfixturevalue("tmp_path")
    clock, ids = FakeClock(), SequentialIds()
    store = MemoryObjectStore(clock, ids)
    database = Database(folder / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    doorbell = Doorbell(folder / "run")
    encoder = Encoder()
    lane = TranscodeLane(
        database,
        store,
        encoder,
        clock,
        ids,
        doorbell,
        folder / "scratch",
        on_end=lambda _token: None,
        is_wanted=lambda _token: True,
    )

    def break_next() -> None:
        encoder.breaks = True

    yield Home(LocalTranscoder(database, clock, ids, doorbell), store, lane.run_until_idle, break_next)
    database.close()


def on_aws(request: pytest.FixtureRequest) -> Iterator[Home]:
    """MediaConvert's stand-in over the emulator's S3."""
    from aws.buckets import make_buckets, open_store  # noqa: PLC0415 - the other homes need no cloud library
    from aws.mediaconvert import MediaConvert, make_role  # noqa: PLC0415 - same
    from aws.mediaconvert_encoder import Failed  # noqa: PLC0415 - same
    from contentplatform.processing.aws import MediaConvertTranscoder  # noqa: PLC0415 - same

    broken: list[bool] = []

    def encode(_settings: Any, output: Any, source: Path, made: Path) -> None:
        if broken:
            raise Failed(1_076, BROKEN)
        assert source.read_bytes() == b"a film"
        made.write_bytes(output["nameModifier"].encode())

    aws = request.getfixturevalue("aws")
    service = MediaConvert(encode)
    for name, value in service.environment.items():
        request.getfixturevalue("monkeypatch").setenv(name, value)
    service.serve(dict(os.environ))
    service.hold()
    names = make_buckets(aws)
    make_role(aws)
    store = open_store(aws, names)
    transcoder = MediaConvertTranscoder(aws, store, FakeClock(), bucket_name=names[BucketRole.PROCESSED])
    yield Home(transcoder, store, service.finish, lambda: broken.append(True))
    service.stop()


@pytest.fixture(params=[in_memory, local, on_aws], ids=["fake", "local", "aws"])
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """Each home in turn."""
    yield from request.param(request)


def test_what_is_asked_for_waits_and_then_lies_where_it_was_ordered(home: Home) -> None:
    request = home.request()
    job_id = home.transcoder.submit(request)
    assert not home.transcoder.status(job_id).state.is_final
    home.work()
    status = home.transcoder.status(job_id)
    assert (status.state, status.error, status.error_code) == (TranscodeState.COMPLETE, "", None)
    for rung in request.rungs:
        stored = home.store.head(BucketRole.PROCESSED, rung.stored_key)
        assert stored.size_bytes > 0
        assert stored.content_type == "video/mp4"


def test_asking_again_is_the_same_job_before_and_after_it_is_done(home: Home) -> None:
    request = home.request()
    job_id = home.transcoder.submit(request)
    assert home.transcoder.submit(request) == job_id
    home.work()
    assert home.transcoder.submit(request) == job_id
    assert home.transcoder.status(job_id).state is TranscodeState.COMPLETE


def test_two_tokens_are_two_jobs(home: Home) -> None:
    first, second = home.transcoder.submit(home.request("one")), home.transcoder.submit(home.request("two"))
    assert first != second
    home.work()
    assert {home.transcoder.status(job_id).state for job_id in (first, second)} == {TranscodeState.COMPLETE}


def test_a_broken_film_fails_with_its_reason(home: Home) -> None:
    job_id = home.transcoder.submit(home.request())
    home.break_next()
    home.work()
    status = home.transcoder.status(job_id)
    assert status.state is TranscodeState.ERROR
    assert BROKEN in status.error
    assert status.error_code is ErrorCode.DECODE


def test_a_cancelled_job_is_never_done(home: Home) -> None:
    request = home.request()
    job_id = home.transcoder.submit(request)
    home.transcoder.cancel(job_id)
    home.work()
    status = home.transcoder.status(job_id)
    assert (status.state, status.error_code) == (TranscodeState.CANCELED, ErrorCode.CANCELLED)
    with pytest.raises(NotFound):
        home.store.head(BucketRole.PROCESSED, request.rungs[0].stored_key)


def test_cancelling_what_ended_changes_nothing(home: Home) -> None:
    job_id = home.transcoder.submit(home.request())
    home.work()
    home.transcoder.cancel(job_id)
    assert home.transcoder.status(job_id).state is TranscodeState.COMPLETE


def test_forgetting_is_repeatable_and_leaves_the_rungs(home: Home) -> None:
    request = home.request()
    job_id = home.transcoder.submit(request)
    home.work()
    for _ in range(2):
        home.transcoder.forget(job_id)
    assert home.store.head(BucketRole.PROCESSED, request.rungs[0].stored_key).size_bytes > 0


def test_an_unknown_job_is_said_to_be_unknown(home: Home) -> None:
    with pytest.raises(NotFound):
        home.transcoder.status("1700000000000-abcdef")
