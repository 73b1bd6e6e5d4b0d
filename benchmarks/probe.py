"""How fast a film or a sound is looked into, inside the sandbox, against a process of ffprobe.

    python benchmarks/probe.py [--rounds 9]

The rival is the machine's own ffprobe (Debian: ``apt-get install ffmpeg``), told to print format, streams and chapters
as JSON; where there is none, the ffmpeg program of our own wheel, which only prints its headers. Both get the same
files. They take turns, and the median of each counts. Ours also decodes a picture, which ffprobe does not; on the other
hand, its process has to be started and to load its libraries for each file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import imageio_ffmpeg

import sample_clips
from contentplatform.processing.local import LocalMediaProcessor

BAR = 1.5


def films() -> dict[str, Path]:
    """A film of 1080 lines in two containers, and a sound of an hour."""
    folder = sample_clips.folder()
    film, matroska, sound = folder / "1080.mp4", folder / "1080.mkv", folder / "hour.mp3"
    pictures, codecs = (
        sample_clips.picture(1_920, 1_080, rate=30, seconds=10),
        ("-c:v", "libx264", "-preset", "ultrafast"),
    )
    rate = ("-b:v", "8M", "-maxrate", "8M", "-bufsize", "8M", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac")
    sample_clips.ffmpeg(*pictures, *sample_clips.tone(seconds=10), *codecs, *rate, str(film))
    sample_clips.ffmpeg("-i", str(film), "-c", "copy", str(matroska))
    silence = ("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo", "-t", "3600", "-b:a", "64k")
    sample_clips.ffmpeg(*silence, str(sound))
    return {"mp4 1080p": film, "mkv 1080p": matroska, "mp3 1 h": sound}


def rival() -> tuple[str, list[str]]:
    """Who it is compared with, and its command."""
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return "ffmpeg -i (no ffprobe here)", [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i"]
    version = subprocess.run([ffprobe, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    shown = ("-show_format", "-show_streams", "-show_chapters")
    return f"ffprobe {version}", [ffprobe, "-v", "error", "-print_format", "json", *shown]


def median_seconds(rounds: int, contestants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The median of each; they take turns, after one round that warms them up."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def measure(name: str, path: Path, scratch: Path, processor: LocalMediaProcessor, rounds: int) -> dict[str, Any]:
    """All figures of one file."""
    rival_name, command = rival()

    def rivals() -> None:
        subprocess.run([*command, str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)

    median = median_seconds(rounds, {"ours": lambda: processor.probe(path, scratch), "rival": rivals})
    return {
        "benchmark": "probe",
        "name": name,
        "rival": rival_name,
        "ours_ms": round(median["ours"] * 1_000, 1),
        "rival_ms": round(median["rival"] * 1_000, 1),
        "times_rival": round(median["rival"] / median["ours"], 2),
        "bar": BAR,
    }


def main() -> int:
    """Print a line and a JSON line a file; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    processor = LocalMediaProcessor()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films().items():
            figure = measure(name, path, Path(folder), processor, rounds)
            is_met = figure["times_rival"] >= BAR
            missed = missed or not is_met
            print(
                f"{name}: {figure['ours_ms']} ms, {figure['rival']} {figure['rival_ms']} ms: "
                f"{figure['times_rival']} times as fast (bar {BAR}){'' if is_met else '  MISSED'}"
            )
            print(json.dumps(figure), flush=True)
    processor.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
