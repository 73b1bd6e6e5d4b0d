"""The lane that encodes videos: what is tried again, what is refused, and who may store. No film is encoded here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import (
    Cancelled,
    ErrorCode,
    JobInterrupted,
    NoSpace,
    PlatformError,
    ProcessingFailed,
    Unavailable,
)
from contentplatform.processing.encoder import Encoded, Watch
from contentplatform.processing.ladder import plan
from contentplatform.processing.lane import LaneSettings, TranscodeLane
from contentplatform.processing.port import MediaFacts, TranscodeRequest, TranscodeState, TranscodeStatus, VideoTrack
from contentplatform.processing.transcoding import SCHEMA, LocalTranscoder, TranscodeLedger
from contentplatform.storage.port import BucketRole, PutOptions, versions_of
from fakes.clock import FakeClock, SequentialIds
from fakes.object_store import MemoryObjectStore

KEY = "a film.mp4"
DOING = "encoding the video"
SETTINGS = LaneSettings(lease_seconds=15, poll_seconds=0.05, attempts_allowed=3, losses_allowed=3)
PATIENCE_SECONDS = 300.0
"""Longest that a test waits for a thread; passed only when something is broken."""


def request_for(store: MemoryObjectStore, token: str = "process-1") -> TranscodeRequest:
    version = store.put(BucketRole.PRIMARY, KEY, BytesIO(b"film"), PutOptions())
    track = VideoTrack(
        index=0,
        codec="h264",
        width=1280,
        height=720,
        coded_width=1280,
        coded_height=720,
        rotation_degrees=0,
        frame_rate=25.0,
        frame_rate_varies=False,
        duration_seconds=10.0,
    )
    facts = MediaFacts("mov", 10.0, duration_is_exact=True, bit_rate=None, size_bytes=4, video=(track,))
    rungs = plan(facts, lambda name: f"versions/f/{token}/{name}.mp4")
    return TranscodeRequest(token, "f", version.version_id, KEY, facts, rungs)


class ScriptedEncoder:
    """Does what a test says, then writes ``made`` where rungs belong."""

    def __init__(
        self, *steps: Callable[[Watch], None] | PlatformError, made: bytes = b"rung", damage: str = ""
    ) -> None:
        self.steps = list(steps)
        self.made = made
        self.damage = damage
        self.calls = 0

    def encode(self, request: TranscodeRequest, source: Path, scratch: Path, watch: Watch) -> Encoded:
        self.calls += 1
        assert source.read_bytes() == b"film"
        assert list(scratch.iterdir()) == []
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, PlatformError):
            raise step
        if step is not None:
            step(watch)
        if watch.is_cancelled():
            raise Cancelled(DOING, "it was stopped on request")
        files = {rung.name: scratch / f"{rung.name}.mp4" for rung in request.rungs}
        for name, path in files.items():
            path.write_bytes(self.made + name.encode())
        return Encoded(files, self.damage)

    def close(self) -> None:
        """Nothing runs."""


class EventfulStore(MemoryObjectStore):
    """Calls ``meanwhile``, once, before the next write; counts them."""

    meanwhile: Callable[[], object] | None = None
    writes = 0

    def write(self, bucket: BucketRole, key: str, body: BinaryIO, options: PutOptions) -> str:
        self.writes += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().write(bucket, key, body, options)


@dataclass
class House:
    """A data folder with as many lanes as a test wants."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    ids: SequentialIds = field(default_factory=SequentialIds)
    ended: list[str] = field(default_factory=list)
    unwanted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.store = EventfulStore(self.clock, self.ids)
        self.database = Database(self.folder / "catalog.sqlite", [SCHEMA], new_uuid=self.ids.new_id())
        self.doorbell = Doorbell(self.folder / "run")
        self.transcoder = LocalTranscoder(self.database, self.clock, self.ids, self.doorbell)

    def lane(self, encoder: ScriptedEncoder, *, on_end: Callable[[str], None] | None = None) -> TranscodeLane:
        return TranscodeLane(
            self.database,
            self.store,
            encoder,
            self.clock,
            self.ids,
            self.doorbell,
            self.folder / "scratch",
            SETTINGS,
            on_end=on_end or self.ended.append,
            is_wanted=lambda token: token not in self.unwanted,
        )

    def submit(self, token: str = "process-1") -> tuple[str, TranscodeRequest]:
        request = request_for(self.store, token)
        return self.transcoder.submit(request), request

    def status(self, job_id: str) -> TranscodeStatus:
        return self.transcoder.status(job_id)

    def stored(self, request: TranscodeRequest) -> list[int]:
        """How many versions of each rung there are."""
        return [len(versions_of(self.store, BucketRole.PROCESSED, rung.stored_key)) for rung in request.rungs]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert list((tmp_path / "scratch").glob("*")) == [], "scratch folders were left behind"
    made.database.close()


# -- the plain way ---------------------------------------------------------------------------------------------------


def test_rungs_are_stored_with_what_they_are(house: House) -> None:
    job_id, request = house.submit()
    assert house.lane(ScriptedEncoder()).run_until_idle() == 1
    assert house.status(job_id) == TranscodeStatus(TranscodeState.COMPLETE, 100)
    assert house.ended == ["process-1"]
    head = house.store.head(BucketRole.PROCESSED, request.rungs[0].stored_key)
    assert head.content_type == "video/mp4"
    assert head.user_metadata == {"processed": "true", "processor": "content-video-processor", "format": "h264"}


def test_percents_are_written_at_most_once_a_second(house: House) -> None:
    job_id, _ = house.submit()
    seen = []

    def encode(watch: Watch) -> None:
        for percent in range(0, 100, 10):
            watch.note(percent)
            seen.append(house.status(job_id).percent)
            house.clock.advance(0.25)

    house.lane(ScriptedEncoder(encode)).run_until_idle()
    assert seen == [0, 10, 10, 10, 10, 50, 50, 50, 50, 90]


def test_jobs_are_done_in_the_order_of_their_coming(house: House) -> None:
    for number in range(3):
        house.submit(f"process-{number}")
    assert house.lane(ScriptedEncoder()).run_until_idle() == 3
    assert house.ended == ["process-0", "process-1", "process-2"]


def test_what_is_forgotten_takes_no_room_but_is_known(house: House) -> None:
    job_id, request = house.submit()
    house.transcoder.forget(job_id)
    house.lane(ScriptedEncoder()).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE, "what has not ended can't be forgotten"
    house.transcoder.forget(job_id)
    with house.database.read() as view:
        assert view.value("SELECT request FROM transcodes") == ""
    assert house.transcoder.submit(request) == job_id


def test_who_waits_need_not_be_reachable(house: House) -> None:
    def nobody(_token: str) -> None:
        raise Unavailable("waking an execution", "the database is busy")

    job_id, _ = house.submit()
    house.lane(ScriptedEncoder(), on_end=nobody).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_hostile_file_fails_once(house: House) -> None:
    job_id, _ = house.submit()
    encoder = ScriptedEncoder(ProcessingFailed(DOING, "a part of it is damaged", code=ErrorCode.DECODE))
    house.lane(encoder).run_until_idle()
    house.clock.advance(3_600)
    assert house.lane(encoder).run_until_idle() == 0
    assert encoder.calls == 1
    status = house.status(job_id)
    assert (status.state, status.error_code) == (TranscodeState.ERROR, ErrorCode.DECODE)
    assert status.error == "encoding the video: a part of it is damaged"
    assert house.ended == ["process-1"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (NoSpace(DOING, "the disk is full"), ErrorCode.NO_SPACE),
        (JobInterrupted(DOING, "the process was killed from outside"), ErrorCode.INTERNAL),
    ],
)
def test_what_may_pass_is_tried_again_later_and_not_for_ever(
    house: House, fault: PlatformError, code: ErrorCode
) -> None:
    job_id, _ = house.submit()
    encoder = ScriptedEncoder(fault, fault, fault)
    lane = house.lane(encoder)
    lane.run_until_idle()
    assert (encoder.calls, house.status(job_id).state) == (1, TranscodeState.SUBMITTED)
    assert lane.run_until_idle() == 0, "it waits"
    house.clock.advance(20)
    assert lane.run_until_idle() == 1
    house.clock.advance(20)
    assert lane.run_until_idle() == 0, "it waits longer"
    house.clock.advance(20)
    lane.run_until_idle()
    assert (house.status(job_id).state, house.status(job_id).error_code) == (TranscodeState.ERROR, code)
    assert house.ended == ["process-1"]


def test_a_fault_that_passes_leaves_no_trace(house: House) -> None:
    job_id, _ = house.submit()
    lane = house.lane(ScriptedEncoder(NoSpace(DOING, "the disk is full")))
    lane.run_until_idle()
    house.clock.advance(60)
    lane.run_until_idle()
    assert house.status(job_id) == TranscodeStatus(TranscodeState.COMPLETE, 100)


def test_a_fault_of_ours_fails_without_its_details(house: House) -> None:
    def stumble(_watch: Watch) -> None:
        raise ZeroDivisionError("a secret")

    job_id, _ = house.submit()
    house.lane(ScriptedEncoder(stumble)).run_until_idle()
    status = house.status(job_id)
    assert (status.state, status.error_code) == (TranscodeState.ERROR, ErrorCode.INTERNAL)
    assert "secret" not in status.error


def test_an_original_that_was_deleted_meanwhile_ends_the_job(house: House) -> None:
    job_id, request = house.submit()
    house.store.delete_version(BucketRole.PRIMARY, KEY, request.version_id)
    house.lane(ScriptedEncoder()).run_until_idle()
    status = house.status(job_id)
    assert (status.state, status.error_code) == (TranscodeState.ERROR, ErrorCode.CANCELLED)
    assert "deleted" in status.error


# -- not wanted any more ---------------------------------------------------------------------------------------------


def test_a_job_cancelled_in_the_middle_is_ended_and_stores_nothing(house: House) -> None:
    job_id, request = house.submit()
    told: list[bool] = []

    def encode(watch: Watch) -> None:
        house.transcoder.cancel(job_id)
        lane.tick()
        told.append(watch.is_cancelled())

    lane = house.lane(ScriptedEncoder(encode))
    lane.run_until_idle()
    assert told == [True]
    assert house.status(job_id).state is TranscodeState.CANCELED
    assert house.stored(request) == [0, 0]


def test_a_job_whose_execution_has_ended_is_let_go(house: House) -> None:
    job_id, request = house.submit()

    def encode(watch: Watch) -> None:
        house.unwanted.add("process-1")
        lane.tick()
        assert watch.is_cancelled()

    lane = house.lane(ScriptedEncoder(encode))
    lane.run_until_idle()
    assert house.status(job_id).state is TranscodeState.CANCELED
    assert house.stored(request) == [0, 0]


def test_a_job_that_nobody_waits_for_is_not_begun(house: House) -> None:
    job_id, _ = house.submit()
    house.unwanted.add("process-1")
    encoder = ScriptedEncoder()
    house.lane(encoder).run_until_idle()
    assert (encoder.calls, house.status(job_id).state) == (0, TranscodeState.CANCELED)


def test_what_is_cancelled_while_its_rungs_are_stored_leaves_none(house: House) -> None:
    job_id, request = house.submit()
    house.store.meanwhile = lambda: house.transcoder.cancel(job_id)
    house.lane(ScriptedEncoder()).run_until_idle()
    assert house.status(job_id).state is TranscodeState.CANCELED
    assert house.stored(request) == [0, 0]


# -- several workers -------------------------------------------------------------------------------------------------


def test_one_video_at_a_time_in_a_data_folder(house: House) -> None:
    house.submit("process-1")
    house.submit("process-2")
    second = ScriptedEncoder()

    def encode(_watch: Watch) -> None:
        assert house.lane(second).run_until_idle() == 0

    assert house.lane(ScriptedEncoder(encode)).run_until_idle() == 2
    assert second.calls == 0


def test_a_worker_without_a_heartbeat_loses_its_job_and_its_late_result_is_refused(house: House) -> None:
    job_id, request = house.submit()
    heir = ScriptedEncoder(made=b"the heir's ")

    def hang(_watch: Watch) -> None:
        house.clock.advance(SETTINGS.lease_seconds + 1)
        assert house.lane(heir).run_until_idle() == 1

    house.lane(ScriptedEncoder(hang, made=b"late ")).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE
    assert house.ended == ["process-1"]
    assert house.stored(request) == [1, 1]
    assert house.store.writes == 2, "who lost its job stores nothing"
    with house.store.open(BucketRole.PROCESSED, request.rungs[0].stored_key) as reader:
        assert reader.read() == b"the heir's 720p"


def test_a_worker_that_lost_its_job_changes_nothing_of_who_has_it_now(house: House) -> None:
    job_id, _ = house.submit()
    ledger = TranscodeLedger(
        house.database,
        house.clock,
        house.ids,
        lambda _worker: False,
        lease_seconds=15,
        attempts_allowed=3,
        losses_allowed=3,
    )
    lost = ledger.claim("worker-1", 1)
    assert lost is not None
    house.clock.advance(16)
    held = ledger.claim("worker-2", 1)
    assert held is not None
    assert held.fencing > lost.fencing
    assert not ledger.is_held(lost)
    for act in (ledger.extend, ledger.complete, ledger.drop, ledger.hand_back):
        assert not act(lost)
    assert not ledger.note(lost, 99)
    assert not ledger.fail(lost, ErrorCode.DECODE, "late")
    ledger.retry_later(lost)
    assert house.status(job_id) == TranscodeStatus(TranscodeState.PROGRESSING, 0)
    assert ledger.is_held(held)
    assert ledger.complete(held)
    assert house.status(job_id) == TranscodeStatus(TranscodeState.COMPLETE, 100)


def test_what_was_lost_of_a_film_is_told(house: House) -> None:
    job_id, _ = house.submit()
    house.lane(ScriptedEncoder(damage="3 pictures are damaged")).run_until_idle()
    assert house.status(job_id) == TranscodeStatus(TranscodeState.COMPLETE, 100, damage="3 pictures are damaged")


def test_a_worker_with_a_heartbeat_keeps_its_job(house: House) -> None:
    house.submit()
    other = ScriptedEncoder()

    def encode(_watch: Watch) -> None:
        for _ in range(5):
            house.clock.advance(SETTINGS.lease_seconds - 1)
            lane.tick()
            assert house.lane(other).run_until_idle() == 0

    lane = house.lane(ScriptedEncoder(encode))
    lane.run_until_idle()
    assert other.calls == 0


def test_a_worker_that_hangs_while_it_stores_takes_its_rungs_back(house: House) -> None:
    job_id, request = house.submit()
    heir = house.lane(ScriptedEncoder(made=b"the heir's "))

    def hang() -> None:
        house.clock.advance(SETTINGS.lease_seconds + 1)
        assert heir.run_until_idle() == 1

    house.store.meanwhile = hang
    house.lane(ScriptedEncoder(made=b"late ")).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE
    assert house.stored(request) == [1, 1]
    with house.store.open(BucketRole.PROCESSED, request.rungs[0].stored_key) as reader:
        assert reader.read() == b"the heir's 720p"


def test_a_worker_whose_bell_is_gone_is_not_waited_for(house: House) -> None:
    job_id, _ = house.submit()
    other = ScriptedEncoder()

    def die(_watch: Watch) -> None:
        for bell in (house.folder / "run").iterdir():
            bell.unlink()
        assert house.lane(other).run_until_idle() == 1

    house.lane(ScriptedEncoder(die)).run_until_idle()
    assert (other.calls, house.status(job_id).state) == (1, TranscodeState.COMPLETE)


def test_a_job_of_another_boot_is_taken_over(house: House) -> None:
    job_id, _ = house.submit()
    other = ScriptedEncoder()

    def reboot(_watch: Watch) -> None:
        house.clock.reboot()
        assert house.lane(other).run_until_idle() == 1

    house.lane(ScriptedEncoder(reboot)).run_until_idle()
    assert (other.calls, house.status(job_id).state) == (1, TranscodeState.COMPLETE)


def test_a_job_that_kills_worker_after_worker_fails(house: House) -> None:
    job_id, _ = house.submit()
    begun: list[int] = []

    def hang(_watch: Watch) -> None:
        begun.append(1)
        house.clock.advance(SETTINGS.lease_seconds + 1)
        house.lane(ScriptedEncoder(hang)).run_until_idle()

    house.lane(ScriptedEncoder(hang)).run_until_idle()
    status = house.status(job_id)
    assert len(begun) == SETTINGS.losses_allowed
    assert (status.state, status.error_code) == (TranscodeState.ERROR, ErrorCode.CRASH)
    assert "3 workers in a row" in status.error


def test_what_a_killed_worker_stored_is_used_or_replaced(house: House) -> None:
    job_id, request = house.submit()
    same, other = request.rungs
    house.store.put(BucketRole.PROCESSED, same.stored_key, BytesIO(b"rung720p"), PutOptions(content_type="video/mp4"))
    house.store.put(BucketRole.PROCESSED, other.stored_key, BytesIO(b"another one"), PutOptions())
    before = house.store.head(BucketRole.PROCESSED, same.stored_key).version_id
    house.lane(ScriptedEncoder()).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE
    assert house.stored(request) == [1, 1]
    assert house.store.head(BucketRole.PROCESSED, same.stored_key).version_id == before


# -- in the background -----------------------------------------------------------------------------------------------


def test_a_lane_at_work_hears_of_a_new_video_and_stops_when_told(house: House) -> None:
    done = threading.Event()
    lane = house.lane(ScriptedEncoder(), on_end=lambda _token: done.set())
    lane.start()
    job_id, _ = house.submit()
    assert done.wait(PATIENCE_SECONDS)
    lane.stop()
    lane.stop()
    assert house.status(job_id).state is TranscodeState.COMPLETE
    assert list((house.folder / "run").iterdir()) == []


def test_a_lane_that_stops_hands_its_video_back(house: House) -> None:
    begun = threading.Event()
    stopped = threading.Event()

    def encode(watch: Watch) -> None:
        begun.set()
        while not watch.is_cancelled():
            stopped.wait(0.01)

    job_id, request = house.submit()
    lane = house.lane(ScriptedEncoder(encode))
    lane.start()
    assert begun.wait(PATIENCE_SECONDS)
    lane.stop()
    assert house.status(job_id) == TranscodeStatus(TranscodeState.SUBMITTED, 0)
    assert (house.ended, house.stored(request)) == ([], [0, 0])
    house.lane(ScriptedEncoder()).run_until_idle()
    assert house.status(job_id).state is TranscodeState.COMPLETE


def test_a_cancelled_video_is_ended_by_the_watch_of_a_lane_at_work(house: House) -> None:
    begun, ended = threading.Event(), threading.Event()

    def encode(watch: Watch) -> None:
        begun.set()
        pause = threading.Event()
        while not watch.is_cancelled():
            pause.wait(0.01)
        ended.set()

    job_id, _ = house.submit()
    lane = house.lane(ScriptedEncoder(encode))
    lane.start()
    assert begun.wait(PATIENCE_SECONDS)
    house.transcoder.cancel(job_id)
    assert ended.wait(PATIENCE_SECONDS)
    lane.stop()
    assert house.status(job_id).state is TranscodeState.CANCELED


def test_a_lane_whose_encoder_is_closed_under_it_does_not_spin(house: House) -> None:
    house.submit()
    encoder = ScriptedEncoder(Cancelled(DOING, "the sandbox was closed"))
    assert house.lane(encoder).run_until_idle() == 1
    assert encoder.calls == 1
