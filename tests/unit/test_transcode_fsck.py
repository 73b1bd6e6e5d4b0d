"""fsck of encodings: clean after ordinary work, and awake for what nobody waits for, or nobody works at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sqlite import Database
from contentplatform.findings import CheckRun, Finding, Severity, run_checks
from contentplatform.processing.fsck import TranscodeChecks
from contentplatform.processing.ladder import plan
from contentplatform.processing.port import MediaFacts, TranscodeRequest, TranscodeState, VideoTrack
from contentplatform.processing.transcoding import SCHEMA, LocalTranscoder, TranscodeLedger
from fakes.clock import FakeClock, SequentialIds

TRACK = VideoTrack(0, "h264", 640, 360, 640, 360, 0, 25.0, frame_rate_varies=False, duration_seconds=10.0)
FACTS = MediaFacts("mov", 10.0, duration_is_exact=True, bit_rate=None, size_bytes=4, video=(TRACK,))


@dataclass
class Folder:
    database: Database
    clock: FakeClock
    transcoder: LocalTranscoder
    ledger: TranscodeLedger
    live: set[str] = field(default_factory=set)

    def submit(self, token: str) -> str:
        self.live.add(token)
        return self.transcoder.submit(TranscodeRequest(token, "f", "v", "k", FACTS, plan(FACTS, str)))

    def find(self, *, repair: bool = False) -> list[Finding]:
        checks = TranscodeChecks(self.database, self.ledger, self.transcoder, is_live=self.live.__contains__)
        return list(run_checks(checks.checks(), CheckRun(repair=repair)))

    def state(self, job_id: str) -> TranscodeState:
        return self.transcoder.status(job_id).state

    def kept(self) -> int:
        with self.database.read() as view:
            return int(view.value("SELECT count(*) FROM transcodes WHERE request <> ''"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    clock, ids = FakeClock(), SequentialIds()
    database = Database(tmp_path / "catalog.sqlite", [SCHEMA], new_uuid=ids.new_id())
    ledger = TranscodeLedger(
        database, clock, ids, lambda _worker: False, lease_seconds=15, attempts_allowed=3, losses_allowed=3
    )
    yield Folder(database, clock, LocalTranscoder(database, clock, ids, Doorbell(tmp_path / "run")), ledger)
    database.close()


def test_what_waits_is_encoded_and_done_is_nothing_to_find(folder: Folder) -> None:
    done = folder.submit("done")
    claim = folder.ledger.claim("lane", 2)
    assert claim is not None
    folder.ledger.complete(claim)
    folder.submit("held")
    assert folder.ledger.claim("lane", 2) is not None
    folder.submit("waits")
    folder.transcoder.forget(done)
    folder.live.remove("done")
    assert folder.find() == []


def test_an_encoding_that_nobody_waits_for_is_found_and_ended_on_request_only(folder: Folder) -> None:
    job_id = folder.submit("gone")
    folder.live.clear()
    (finding,) = folder.find()
    assert (finding.subject, finding.severity, finding.repaired) == (job_id, Severity.LEAK, False)
    assert "nobody waits" in finding.message
    assert folder.state(job_id) is TranscodeState.SUBMITTED
    assert [each.repaired for each in folder.find(repair=True)] == [True]
    assert folder.state(job_id) is TranscodeState.CANCELED
    assert (folder.kept(), folder.find()) == (0, [])


def test_an_encoding_whose_lane_is_lost_is_found_and_given_to_others_on_request_only(folder: Folder) -> None:
    job_id = folder.submit("held")
    assert folder.ledger.claim("lane", 1) is not None
    folder.clock.advance(16)
    (finding,) = folder.find()
    assert finding.subject == job_id
    assert "lane is lost" in finding.message
    assert folder.state(job_id) is TranscodeState.PROGRESSING
    assert [each.repaired for each in folder.find(repair=True)] == [True]
    assert folder.state(job_id) is TranscodeState.SUBMITTED
    assert folder.find() == []


def test_what_an_ended_encoding_still_keeps_is_found_and_let_go(folder: Folder) -> None:
    folder.submit("ended")
    claim = folder.ledger.claim("lane", 1)
    assert claim is not None
    folder.ledger.complete(claim)
    assert folder.find() == [], "its execution still has to finish the film"
    folder.live.clear()
    (finding,) = folder.find()
    assert "still kept" in finding.message
    assert [each.repaired for each in folder.find(repair=True)] == [True]
    assert (folder.kept(), folder.find()) == (0, [])
