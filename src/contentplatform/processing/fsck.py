"""I8 for the local home's encodings: none without a live execution, none at work without a live lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from contentplatform.drivers.sqlite import Database
from contentplatform.findings import Check, CheckRun, Finding, Severity
from contentplatform.processing.transcoding import LocalTranscoder, TranscodeLedger

INVARIANT: Final = "I8"
_WAIT_FOR_WORKERS: Final = "Start a worker, or run fsck with --repair"
_REPAIR: Final = "Run fsck with --repair"


class TranscodeChecks:
    """The checks of encodings. Read-only unless a repair is asked for.

    Args:
        database: of the data folder.
        ledger: of the lanes; tells whose worker is lost.
        transcoder: cancels and forgets.
        is_live: tells of an execution's name whether it exists and has not ended.
    """

    def __init__(
        self,
        database: Database,
        ledger: TranscodeLedger,
        transcoder: LocalTranscoder,
        *,
        is_live: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._transcoder = transcoder
        self._is_live = is_live

    def checks(self) -> tuple[Check, ...]:
        """Every check."""
        return self.live_lanes, self.live_executions, self.forgotten

    def live_lanes(self, run: CheckRun) -> Iterator[Finding]:
        """Whatever is being encoded is held by a lane that shows signs of life."""
        lost = self._ledger.lost()
        if lost and run.repair:
            self._ledger.take_from_lost()
        for worker, job_id in lost:
            message = f"its lane {worker} is lost"
            yield Finding(INVARIANT, job_id, Severity.LEAK, message, _WAIT_FOR_WORKERS, run.repair)

    def live_executions(self, run: CheckRun) -> Iterator[Finding]:
        """Whatever waits or is being encoded is waited for."""
        for job_id, token in self._jobs("ended_at IS NULL"):
            if self._is_live(token):
                continue
            if run.repair:
                self._transcoder.cancel(job_id)
                self._transcoder.forget(job_id)
            message = f"nobody waits for this encoding: {token} has ended, or never was"
            yield Finding(INVARIANT, job_id, Severity.LEAK, message, _WAIT_FOR_WORKERS, run.repair)

    def forgotten(self, run: CheckRun) -> Iterator[Finding]:
        """Of an encoding that ended, and for which nobody waits, nothing is kept but that it was."""
        for job_id, token in self._jobs("ended_at IS NOT NULL AND request <> ''"):
            if self._is_live(token):
                continue
            if run.repair:
                self._transcoder.forget(job_id)
            message = f"what {token} asked for is still kept"
            yield Finding(INVARIANT, job_id, Severity.LEAK, message, _REPAIR, run.repair)

    def _jobs(self, condition: str) -> list[tuple[str, str]]:
        with self._database.read() as view:
            rows = view.rows(f"SELECT id, token FROM transcodes WHERE {condition} ORDER BY sequence")  # noqa: S608 - the conditions are constants of this module
        return [(str(job_id), str(token)) for job_id, token in rows]
