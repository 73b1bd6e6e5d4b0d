"""How fast a film's two rungs are made, against two runs of ffmpeg one after the other.

    python benchmarks/video_renditions.py [--seconds 10] [--rounds 2]

Ours is the product's own way: one process behind the sandbox's walls, one decode for both rungs. The baseline, run
beside it, is what somebody would type: a plain ffmpeg run for each rung, with the same encoder, preset, quality, caps,
key frames, sound and index in front, and as many threads as ffmpeg likes. The contestants take turns; the best round of
each counts. Both clips are 1080p30: one full of detail, one nearly still.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

from contentplatform.clock import SystemClock
from contentplatform.processing.encoder import VideoEncoder
from contentplatform.processing.ladder import plan
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rung, TranscodeRequest

PROGRAM: Final = imageio_ffmpeg.get_ffmpeg_exe()
SPEED_BARS: Final = {"detailed": 1.5, "calm": 1.0}
FRAMES_A_SECOND: Final = 30
PICTURES: Final = {
    # A zoom into a fractal, with a camera's noise: 24 Mbit/s.
    "detailed": "mandelbrot=s=1920x1080:r=30:start_scale=0.5:end_scale=0.05:end_pts=300,noise=alls=14:allf=t",
    # A still in which a clock ticks and a small thing moves: below 1 Mbit/s.
    "calm": "color=c=0x506070:s=1920x1080:r=30,drawbox=x='200+40*t':y=500:w=120:h=120:color=0xC04020:t=fill",
}


class Onlooker:
    """Lets it go on."""

    def note(self, percent: int) -> None:
        """Nobody asks."""

    def is_cancelled(self) -> bool:
        return False


def ffmpeg(*arguments: str) -> None:
    """Run the program; a failure ends the benchmark."""
    subprocess.run([PROGRAM, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def make_clip(path: Path, picture: str, seconds: float) -> None:
    """A clip as a camera would hand it over: H.264 of good quality, AAC."""
    ffmpeg(
        *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=440:r=48000", "-t", str(seconds)),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-maxrate", "24M", "-bufsize", "24M"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", str(path)),
    )


def plain_run(source: Path, rung: Rung, target: Path) -> None:
    """One rung as somebody would type it."""
    cap = rung.video_bits_per_second
    ffmpeg(
        *("-i", str(source), "-vf", f"scale={rung.width}:{rung.height}", "-c:v", "libx264", "-preset", "veryfast"),
        *("-crf", "23", "-maxrate", str(cap), "-bufsize", str(2 * cap), "-profile:v", "high", "-pix_fmt", "yuv420p"),
        *("-g", str(2 * FRAMES_A_SECOND), "-sc_threshold", "0", "-c:a", "aac", "-ar", "48000", "-ac", "2"),
        *("-b:a", str(rung.audio_bits_per_second), "-movflags", "+faststart", str(target)),
    )


def best_seconds(rounds: int, contestants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The best wall-clock time of each, taking turns."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def empty(folder: Path) -> None:
    """Leave nothing in a folder."""
    for path in folder.iterdir():
        path.unlink()


def measure(name: str, folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures of one clip."""
    source, scratch, plain = folder / f"{name}.mp4", folder / f"{name}-ours", folder / f"{name}-plain"
    scratch.mkdir()
    plain.mkdir()
    make_clip(source, PICTURES[name], seconds)
    processor, encoder = LocalMediaProcessor(), VideoEncoder(Path(PROGRAM), SystemClock())
    facts = processor.probe(source, scratch)
    processor.close()
    rungs = plan(facts, str)
    request = TranscodeRequest(name, "f", "v", "k", facts, rungs)

    def ours() -> None:
        empty(scratch)
        encoder.encode(request, source, scratch, Onlooker())

    def two_runs() -> None:
        for rung in rungs:
            plain_run(source, rung, plain / f"{rung.name}.mp4")

    best = best_seconds(rounds, {"ours": ours, "two runs": two_runs})
    encoder.close()
    our_bytes, their_bytes = (sum(path.stat().st_size for path in made.iterdir()) for made in (scratch, plain))
    return {
        "benchmark": "video_renditions",
        "name": name,
        "source_mbit_per_second": round(source.stat().st_size * 8 / 1e6 / seconds, 1),
        "times_real_time": round(seconds / best["ours"], 2),
        "times_two_runs": round(best["two runs"] / best["ours"], 2),
        "bytes_share": round(our_bytes / their_bytes, 3),
        "cores": len(os.sched_getaffinity(0)),
    }


def met(figure: Mapping[str, Any]) -> bool:
    """Whether the clip's bar is met."""
    return bool(figure["times_two_runs"] >= SPEED_BARS[figure["name"]])


def main() -> int:
    """Print a line and a JSON line a clip; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name in PICTURES:
            figure = measure(name, Path(folder), given.seconds, given.rounds)
            figures.append(figure)
            print(
                f"{name} ({figure['source_mbit_per_second']} Mbit/s): {figure['times_two_runs']} x two runs, "
                f"{figure['times_real_time']} x real time, {figure['bytes_share']} of the bytes"
                f"{'' if met(figure) else '  MISSED'}"
            )
            print(json.dumps(figure), flush=True)
    return 0 if all(met(figure) for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
