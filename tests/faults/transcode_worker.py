"""A process that encodes videos, to be killed: works until every job of the folder has ended, then leaves with 0.

``python transcode_worker.py FOLDER [how [GATE]]`` prints ``percent N`` whenever the encoder tells how far it is.

``halted``: its encoder makes the first two seconds of a film, and then all but stands still: whoever kills it kills
it in the middle, however fast the machine. ``gated``: a gate is a file whose lock it waits for once there is progress.
Then it has no watch that could hear that its job was taken away: only the token can keep it from storing late, and no
heartbeat is under way when it is stopped.
"""

from __future__ import annotations

import fcntl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.doorbell import Doorbell
from contentplatform.drivers.sandbox import ProgramReport, Sandbox
from contentplatform.drivers.sqlite import Database
from contentplatform.processing.encoder import Encoded, VideoEncoder, Watch
from contentplatform.processing.lane import LaneSettings, TranscodeLane
from contentplatform.processing.port import TranscodeRequest
from contentplatform.processing.transcoding import SCHEMA, LocalTranscoder
from contentplatform.storage import local as storage
from contentplatform.storage.local import LocalObjectStore

_SETTINGS = LaneSettings(lease_seconds=1.0, poll_seconds=0.1, losses_allowed=100)

_HALTING = ("-readrate", "0.001", "-readrate_initial_burst", "2")
"""Of the ffmpeg program: two seconds of the film at once, and a second of the rest in a quarter of an hour."""


def opened(folder: Path) -> tuple[Database, LocalObjectStore, LocalTranscoder]:
    """The data folder as every process of the test sees it."""
    clock, ids = SystemClock(), RandomIds()
    database = Database(folder / "catalog.sqlite", [storage.SCHEMA, SCHEMA], new_uuid="0" * 32)
    store = LocalObjectStore(database, folder, clock, ids)
    return database, store, LocalTranscoder(database, clock, ids, Doorbell(folder / "run"))


class _Halting(Sandbox):
    """The walls; the program behind them stands still in the middle."""

    def execute(self, program: Path, arguments: Sequence[str], *rest: Path, **more: Any) -> ProgramReport:
        return super().execute(program, (*_HALTING, *arguments), *rest, **more)


class _Telling:
    """The encoder; what it tells is printed, too."""

    def __init__(self, encoder: VideoEncoder, gate: Path | None) -> None:
        self._encoder = encoder
        self._gate = gate

    def encode(self, request: TranscodeRequest, source: Path, scratch: Path, watch: Watch) -> Encoded:
        return self._encoder.encode(request, source, scratch, _Printing(watch, self._gate))

    def close(self) -> None:
        self._encoder.close()


class _Printing:
    def __init__(self, watch: Watch, gate: Path | None) -> None:
        self._watch = watch
        self._gate = gate

    def note(self, percent: int) -> None:
        print("percent", percent, flush=True)  # noqa: T201 - the parent listens
        if self._gate is not None and percent > 0:
            with self._gate.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)
        self._watch.note(percent)

    def is_cancelled(self) -> bool:
        return self._watch.is_cancelled()


def main(folder: Path, how: str = "", gate: Path | None = None) -> None:
    """Work until nothing is left."""
    database, store, _ = opened(folder)
    clock = SystemClock()
    walls = _Halting() if how == "halted" else Sandbox()
    encoder = _Telling(VideoEncoder(Path(imageio_ffmpeg.get_ffmpeg_exe()), clock, sandbox=walls), gate)
    ended = threading.Event()
    lane = TranscodeLane(
        database,
        store,
        encoder,
        clock,
        RandomIds(),
        Doorbell(folder / "run"),
        folder / "scratch",
        _SETTINGS,
        on_end=lambda _token: ended.set(),
        is_wanted=lambda _token: True,
    )
    if gate is not None:
        lane.run_until_idle()
    else:
        lane.start()
        while _is_work_left(database):
            ended.wait(0.1)
        lane.stop()
    encoder.close()
    database.close()


def _is_work_left(database: Database) -> bool:
    with database.read() as view:
        return bool(view.value("SELECT EXISTS (SELECT 1 FROM transcodes WHERE ended_at IS NULL)"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "".join(sys.argv[2:3]), Path(sys.argv[3]) if sys.argv[3:] else None)
