"""How much a long film that is being encoded holds up two hundred images that come in meanwhile.

    python benchmarks/lanes.py [--images 200] [--film-seconds 120]

The same images, first by themselves, then (other bytes of them) while a film of 1080 lines is encoded by the same
worker; the film has begun before the first image is added, and has not ended when the last one is done. The figure is
the time from the first image's add to the last one's end, against that without the film. On two cores the encoder
wants both, and gives way.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from video_renditions import PICTURES, ffmpeg

from contentplatform.app import LocalHome, open_local
from contentplatform.config import load
from contentplatform.errors import NotFound
from contentplatform.media import ProcessingStatus
from contentplatform.worker import Worker

BAR: Final = 1.5
WIDTH, HEIGHT = 1_600, 1_200
WAIT_SECONDS: Final = 900.0
PAUSE_SECONDS: Final = 0.05
PART_SECONDS: Final = 4


def make_film(path: Path, seconds: float) -> None:
    """A detailed film as a camera would hand it over: a few seconds of it, again and again."""
    part = path.with_name("part.mp4")
    picture = PICTURES["detailed"]
    ffmpeg("-f", "lavfi", "-i", picture, "-t", str(PART_SECONDS), "-c:v", "libx264", "-preset", "ultrafast", str(part))
    ffmpeg("-stream_loop", str(int(seconds / PART_SECONDS)), "-i", str(part), "-c", "copy", str(path))


def photo(seed: int) -> bytes:
    """A picture with some detail in it, like no other."""
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    body = BytesIO()
    Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(body, "JPEG", quality=85)
    return body.getvalue()


def await_status(home: LocalHome, key: str, version_id: str, wanted: set[ProcessingStatus]) -> ProcessingStatus:
    """Wait until a version has one of these statuses."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with suppress(NotFound):  # not taken in yet
            status = home.platform.library.entry(key, version_id).status
            if status in wanted:
                return status
        time.sleep(PAUSE_SECONDS)
    raise SystemExit(f"{key} is not done after {WAIT_SECONDS:.0f} s")


def seconds_for(home: LocalHome, pictures: list[bytes], folder: str) -> float:
    """From the first add to the last end."""
    ended = {ProcessingStatus.COMPLETED, ProcessingStatus.FAILED}
    began = time.perf_counter()
    added = [
        (f"{folder}/{number}.jpg", home.platform.library.add(f"{folder}/{number}.jpg", BytesIO(picture)))
        for number, picture in enumerate(pictures)
    ]
    statuses = [await_status(home, key, version_id, ended) for key, version_id in added]
    seconds = time.perf_counter() - began
    if any(status is not ProcessingStatus.COMPLETED for status in statuses):
        raise SystemExit("an image failed")
    return seconds


def progress(home: LocalHome) -> int:
    """How far the film is, in percent."""
    with suppress(NotFound):  # not taken in yet
        record = home.platform.library.record("film.mp4")
        if record.status not in {ProcessingStatus.PENDING, ProcessingStatus.PROCESSING}:
            raise SystemExit(f"the film is {record.status.value} ({record.error}): take a longer one")
        return int(record.processing_metadata.get("progress_percent", 0))
    return 0


def measure(folder: Path, images: int, film_seconds: float) -> dict[str, Any]:
    """Both ways, on one data folder."""
    film = folder / "film.mp4"
    make_film(film, film_seconds)
    pictures = [photo(seed) for seed in range(2 * images)]
    home = open_local(load(data_folder=folder / "data"))
    try:
        with Worker(home):
            seconds_for(home, [photo(10_000)], "warm")
            alone = seconds_for(home, pictures[:images], "alone")
            with film.open("rb") as body:
                home.platform.library.add("film.mp4", body)
            while not progress(home):
                time.sleep(PAUSE_SECONDS)
            began_at = progress(home)
            beside = seconds_for(home, pictures[images:], "beside")
            ended_at = progress(home)
    finally:
        home.close()
    return {
        "benchmark": "lanes",
        "name": "images beside a film",
        "images": images,
        "alone_seconds": round(alone, 1),
        "beside_a_film_seconds": round(beside, 1),
        "film_percent": [began_at, ended_at],
        "times_alone": round(beside / alone, 2),
    }


def main() -> int:
    """Measure, print, say whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--film-seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lanes-") as folder:
        figure = measure(Path(folder), arguments.images, arguments.film_seconds)
    met = figure["times_alone"] <= BAR
    began, ended = figure["film_percent"]
    print(
        f"{figure['images']} images: {figure['alone_seconds']} s alone, {figure['beside_a_film_seconds']} s"
        f" beside a film ({began} to {ended} %): {figure['times_alone']}x"
        f" ({'met' if met else 'MISSED'}: at most {BAR}x)"
    )
    print(json.dumps(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
