"""How fast thumbnail and medium are made of a photograph, on one core, and what the sandbox costs.

    python benchmarks/image_small.py [--rounds 7]

Baseline, run beside it: naive Pillow (full decode, LANCZOS, a decode for each rendition). Quality: PSNR of our pixels,
before encoding, against Pillow's exact Lanczos from the full picture. The contestants take turns; the best round of
each counts, which is the one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from PIL import Image

import sample_media
from contentplatform.drivers.sandbox import Sandbox
from contentplatform.processing import image
from contentplatform.processing.presets import MEDIUM, THUMBNAIL, ImageLimits

PICTURES = {"12 MP": (4000, 3000, 2.0), "24 MP": (6000, 4000, 1.6)}
"""Width, height, and how many times as fast as naive Pillow it has to be."""
SANDBOX_BAR = 0.75
QUALITY_BAR_DB = 50.0


def job(_request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """Both small renditions of the JPEG behind ``source``, as files in the current folder."""
    picture = image.open_picture("image/jpeg", source, ImageLimits())
    medium, thumbnail = image.small_pair(picture)
    Path("medium.jpg").write_bytes(image.encoded(medium, MEDIUM))
    Path("thumbnail.jpg").write_bytes(image.encoded(thumbnail, THUMBNAIL))
    return {}


def naive(source: Path) -> list[Image.Image]:
    """What somebody writes in ten minutes."""
    made = []
    for preset in (THUMBNAIL, MEDIUM):
        with Image.open(source) as opened:
            size = image.fitted(*opened.size, preset)
            shrunk = opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        shrunk.save(io.BytesIO(), "JPEG", quality=85)
        made.append(shrunk)
    return made


def decibels(one: Any, other: Any) -> float:
    """PSNR of two 8-bit pictures."""
    error = ((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2).mean()
    return float(10 * np.log10(255**2 / error))


def pixels(made: Any) -> Any:
    """The pixels of a libvips image."""
    return np.ndarray((made.height, made.width, made.bands), np.uint8, made.write_to_memory())


def best_seconds(rounds: int, contestants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The best time of each contestant; they take turns, after one round that warms them up."""
    best = dict.fromkeys(contestants, float("inf"))
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def in_process(source: Path) -> None:
    """The job in this process."""
    descriptor = os.open(source, os.O_RDONLY)
    job({}, descriptor)
    os.close(descriptor)


def measure(name: str, source: Path, scratch: Path, rounds: int) -> dict[str, Any]:
    """All figures of one picture."""
    sandbox = Sandbox(
        "image_small:job", environment={"VIPS_CONCURRENCY": "1", "PYTHONPATH": os.pathsep.join((*sys.path[:2],))}
    )
    best = best_seconds(
        rounds,
        {
            "naive": lambda: naive(source),
            "ours": lambda: in_process(source),
            "sandboxed": lambda: sandbox.run({}, source, scratch, doing="benchmark"),
        },
    )
    sandbox.close()
    descriptor = os.open(source, os.O_RDONLY)
    medium, thumbnail = image.small_pair(image.open_picture("image/jpeg", descriptor, ImageLimits()))
    exact = naive(source)
    return {
        "benchmark": "image_small",
        "name": name,
        "images_per_second": round(1 / best["ours"], 1),
        "times_naive": round(best["naive"] / best["ours"], 2),
        "sandboxed_share": round(best["ours"] / best["sandboxed"], 3),
        "thumbnail_db": round(decibels(pixels(thumbnail), exact[0]), 1),
        "medium_db": round(decibels(pixels(medium), exact[1]), 1),
    }


def met(figure: Mapping[str, Any]) -> bool:
    """Whether every bar of the picture is met."""
    return bool(
        figure["times_naive"] >= PICTURES[figure["name"]][2]
        and figure["sandboxed_share"] >= SANDBOX_BAR
        and min(figure["thumbnail_db"], figure["medium_db"]) >= QUALITY_BAR_DB
    )


def main() -> int:
    """Print a line and a JSON line a picture; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, (width, height, _) in PICTURES.items():
            source, scratch = Path(folder, f"{width}.jpg"), Path(folder, f"scratch-{width}")
            scratch.mkdir()
            source.write_bytes(sample_media.encoded(sample_media.photo(width, height), "JPEG", quality=90))
            figure = measure(name, source, scratch, rounds)
            figures.append(figure)
            print(
                f"{name}: {figure['images_per_second']} images/s, {figure['times_naive']} x naive Pillow; "
                f"sandboxed {figure['sandboxed_share']} of it; {figure['thumbnail_db']} and {figure['medium_db']} dB"
                f"{'' if met(figure) else '  MISSED'}"
            )
            print(json.dumps(figure), flush=True)
        os.chdir("/")
    return 0 if all(met(figure) for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
