"""How much longer a film takes when its rungs are verified and completed, beside making the rungs alone.

    python benchmarks/video_finish.py [--seconds 20] [--rounds 2]

Baseline, run beside it: both rungs encoded by the product's own encoder, and nothing else. Ours is the same and then
all that FinishVideo makes of them, in its sandbox: every packet read and some groups of pictures decoded, HLS by stream
copy, poster, thumbnail, medium, storyboard, and the captions of the clip's three tracks. The contestants take turns;
the best round of each counts. The clips are those of ``video_renditions``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from video_renditions import PICTURES, PROGRAM, Onlooker, best_seconds, empty, ffmpeg, make_clip

from contentplatform.clock import SystemClock
from contentplatform.processing.encoder import VideoEncoder
from contentplatform.processing.ladder import plan
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.playlists import film_names
from contentplatform.processing.port import TranscodeRequest
from contentplatform.processing.presets import public_key

MOST: Final = 1.25
LANGUAGES: Final = ("eng", "ger", "fre")


def with_subtitles(film: Path, folder: Path, seconds: float) -> Path:
    """The film with three tracks of text, a cue a second."""
    text = folder / "words.vtt"
    cues = (f"00:00:{n:02d}.000 --> 00:00:{n:02d}.900\nCue {n}\n" for n in range(int(seconds)))
    text.write_text("\n".join(["WEBVTT\n", *cues]), "utf-8")
    target = film.with_suffix(".mkv")
    ffmpeg(
        *("-i", str(film), *(word for _ in LANGUAGES for word in ("-i", str(text))), "-map", "0"),
        *(word for number in range(len(LANGUAGES)) for word in ("-map", str(number + 1))),
        *("-c", "copy", "-c:s", "srt"),
        *(word for n, name in enumerate(LANGUAGES) for word in (f"-metadata:s:s:{n}", f"language={name}")),
        str(target),
    )
    return target


def measure(name: str, folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures of one clip."""
    film, encoded, made = folder / f"{name}.mp4", folder / f"{name}-rungs", folder / f"{name}-made"
    encoded.mkdir()
    made.mkdir()
    make_clip(film, PICTURES[name], seconds)
    source = with_subtitles(film, folder, seconds)
    processor, encoder = LocalMediaProcessor(), VideoEncoder(Path(PROGRAM), SystemClock())
    facts = processor.probe(source, made)
    rungs = plan(facts, str)
    request = TranscodeRequest(name, "f", "v", "k", facts, rungs)
    extensions = film_names((rung.name for rung in rungs), facts.subtitles, len(LANGUAGES))
    names = {rendition: public_key(rendition, "k.mp4", end).rpartition("/")[2] for rendition, end in extensions.items()}

    def encode() -> None:
        empty(encoded)
        encoder.encode(request, source, encoded, Onlooker())

    def finish() -> None:
        empty(made)
        files = {rung.name: encoded / f"{rung.name}.mp4" for rung in rungs}
        rendered = processor.finish_video(source, files, facts, names, made)
        if {file.name for file in rendered.files} != set(names) - set(files):
            raise RuntimeError(f"not everything was made: {[file.name for file in rendered.files]}")

    def whole() -> None:
        encode()
        finish()

    best = best_seconds(rounds, {"rungs alone": encode, "whole": whole, "finish alone": finish})
    processor.close()
    encoder.close()
    return {
        "benchmark": "video_finish",
        "name": name,
        "rungs_seconds": round(best["rungs alone"], 2),
        "finish_seconds": round(best["finish alone"], 2),
        "times_rungs": round(best["whole"] / best["rungs alone"], 3),
        "cores": len(os.sched_getaffinity(0)),
    }


def met(figure: Mapping[str, Any]) -> bool:
    """Whether the bar is met."""
    return bool(figure["times_rungs"] <= MOST)


def main() -> int:
    """Print a line and a JSON line a clip; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name in PICTURES:
            figure = measure(name, Path(folder), given.seconds, given.rounds)
            figures.append(figure)
            print(
                f"{name}: whole {figure['times_rungs']} x the rungs alone ({figure['rungs_seconds']} s; finishing "
                f"alone {figure['finish_seconds']} s){'' if met(figure) else '  MISSED'}"
            )
            print(json.dumps(figure), flush=True)
    return 0 if all(met(figure) for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
