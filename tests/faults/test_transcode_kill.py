"""Workers killed, or stopped and revived, in the middle of a video: no orphan, encoded again once, one set of rungs."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import sample_clips
from contentplatform.drivers.crashpoint import POINTS, VARIABLE
from contentplatform.drivers.scratch import sweep
from contentplatform.findings import CheckRun, run_checks
from contentplatform.processing.ladder import plan
from contentplatform.processing.port import (
    AudioTrack,
    MediaFacts,
    TranscodeRequest,
    TranscodeState,
    TranscodeStatus,
    VideoTrack,
)
from contentplatform.storage.fsck import storage_checks
from contentplatform.storage.port import BucketRole, PutOptions, versions_of
from faults.transcode_worker import opened

WORKER: Final = Path(__file__).with_name("transcode_worker.py")
SECONDS: Final = 600.0
"""Longest that a test waits for a process; passed only when something is broken."""
TOKEN: Final = "process-1"


@dataclass
class Site:
    """A data folder with one video in it, and the processes that work there."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def submit(self, source: Path, seconds: float, width: int, height: int) -> TranscodeRequest:
        """Put a film into the store and ask for its rungs, from a process that then leaves."""
        database, store, transcoder = opened(self.folder)
        with source.open("rb") as body:
            version = store.put(BucketRole.PRIMARY, "film.mp4", body, PutOptions())
        track = VideoTrack(
            index=0,
            codec="h264",
            width=width,
            height=height,
            coded_width=width,
            coded_height=height,
            rotation_degrees=0,
            frame_rate=25.0,
            frame_rate_varies=False,
            duration_seconds=seconds,
        )
        facts = MediaFacts(
            format="mov",
            duration_seconds=seconds,
            duration_is_exact=True,
            bit_rate=None,
            size_bytes=version.size_bytes,
            video=(track,),
            audio=(AudioTrack(1, "aac", 48_000, 2, "stereo", seconds),),
        )
        rungs = plan(facts, lambda name: f"versions/f/{version.version_id}/r/{name}.mp4")
        request = TranscodeRequest(TOKEN, "f", version.version_id, "film.mp4", facts, rungs)
        transcoder.submit(request)
        database.close()
        return request

    def worker(self, *how: str, crash: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, VARIABLE: crash, "PYTHONPATH": os.pathsep.join(sys.path)}
        arguments = [sys.executable, str(WORKER), str(self.folder), *how]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, text=True)
        self.started.append(process)
        return process

    def assert_done_once(self, request: TranscodeRequest) -> None:
        """Complete, one version of each rung, the store in order, nothing left behind."""
        database, store, transcoder = opened(self.folder)
        assert transcoder.status(transcoder.submit(request)) == TranscodeStatus(TranscodeState.COMPLETE, 100)
        for rung in request.rungs:
            [version] = versions_of(store, BucketRole.PROCESSED, rung.stored_key)
            assert version.user_metadata["processed"] == "true"
            assert store.local_file(version).read_bytes()[4:8] == b"ftyp"
        assert list(run_checks(storage_checks(store), CheckRun(deep=True))) == []
        database.close()
        sweep(self.folder / "scratch")
        assert list((self.folder / "scratch").iterdir()) == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def long_film() -> Path:
    """Four seconds: twice as long as a halted encoder comes."""
    path = sample_clips.folder() / "four-seconds.mp4"
    sample_clips.ffmpeg(*("-stream_loop", "1", "-i", str(sample_clips.film()), "-c", "copy", "-t", "4", str(path)))
    return path


def wait_for_progress(process: subprocess.Popen[str]) -> None:
    """Return once it is in the middle of a film."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("percent ") and int(line.split()[1]) > 0:
            return
    raise AssertionError("it ended without a word")


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, by number, with their programs' names."""
    found = {}
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            with suppress(OSError):
                found[child] = Path(f"/proc/{child}/comm").read_text().strip()
                found |= descendants(child)
    return found


def assert_all_end(handles: list[int]) -> None:
    """Every process behind these handles ends by itself, soon."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    left = set(handles)
    while left:
        ended = poll.poll(SECONDS * 1_000)
        assert ended, "a process outlived its worker"
        for handle, _ in ended:
            poll.unregister(handle)
            os.close(handle)
            left.discard(handle)


def test_a_killed_worker_leaves_no_encoder_and_its_video_is_encoded_again_once(site: Site, long_film: Path) -> None:
    request = site.submit(long_film, 4.0, *sample_clips.SIZE)
    victim = site.worker("halted")
    wait_for_progress(victim)
    below = descendants(victim.pid)
    assert [name for name in below.values() if name.startswith("ffmpeg")], below
    handles = [os.pidfd_open(pid) for pid in below]
    victim.kill()
    assert_all_end(handles)
    heir = site.worker()
    heir.communicate(timeout=SECONDS)
    assert heir.returncode == 0
    site.assert_done_once(request)


def test_a_worker_that_lives_takes_over_from_a_killed_one_at_once(site: Site, long_film: Path) -> None:
    request = site.submit(long_film, 4.0, *sample_clips.SIZE)
    victim = site.worker("halted")
    wait_for_progress(victim)
    heir = site.worker()
    victim.kill()
    heir.communicate(timeout=SECONDS)
    assert heir.returncode == 0
    site.assert_done_once(request)


def test_a_stopped_and_revived_worker_is_refused_and_stores_nothing(site: Site, long_film: Path) -> None:
    request = site.submit(long_film, 4.0, *sample_clips.SIZE)
    gate = site.folder / "gate"
    with gate.open("w") as shut:
        fcntl.flock(shut, fcntl.LOCK_EX)
        stopped = site.worker("gated", str(gate))
        wait_for_progress(stopped)
        stopped.send_signal(signal.SIGSTOP)
        heir = site.worker()
        heir.communicate(timeout=SECONDS)
        assert heir.returncode == 0
    stopped.send_signal(signal.SIGCONT)
    stopped.communicate(timeout=SECONDS)
    assert stopped.returncode == 0
    site.assert_done_once(request)


@pytest.mark.parametrize("point", sorted(point for point in POINTS if point.startswith("transcoding.")))
def test_a_worker_killed_between_two_effects_is_taken_over_from(site: Site, point: str) -> None:
    request = site.submit(sample_clips.film(), 2.0, *sample_clips.SIZE)
    victim = site.worker(crash=f"{point}:1")
    victim.communicate(timeout=SECONDS)
    assert victim.returncode == -signal.SIGKILL
    heir = site.worker()
    heir.communicate(timeout=SECONDS)
    assert heir.returncode == 0
    site.assert_done_once(request)
