"""How much memory a whole job of a 24 MP photograph takes at its peak, in its sandboxed process.

    python benchmarks/image_memory.py

Baseline, run beside it: naive Pillow making the same renditions in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from image_full import naive_webp
from image_small import naive

import sample_media
from contentplatform.drivers.sandbox import Sandbox
from contentplatform.processing.local import ENVIRONMENT, IMAGE_JOB
from contentplatform.processing.presets import ImageLimits

SIZE = (6000, 4000)
BARS_MB = {"upright": (1, 170), "rotated": (6, 260)}
"""Orientation of the photograph, and how many million bytes may be resident."""


def naive_peak_mb(source: Path) -> float:
    """Peak resident memory of naive Pillow on ``source``."""
    child = os.fork()
    if child == 0:
        naive(source)
        naive_webp(source)
        os._exit(0)
    _, _, usage = os.wait4(child, 0)
    return usage.ru_maxrss * 1024 / 1e6


def main() -> int:
    """Print a line and a JSON line a case; 1 if a bar was missed."""
    missed = False
    sandbox = Sandbox(IMAGE_JOB, environment=ENVIRONMENT)
    request = {"content_type": "image/jpeg", "limits": asdict(ImageLimits())}
    with tempfile.TemporaryDirectory() as folder:
        for name, (orientation, bar_mb) in BARS_MB.items():
            source, scratch = Path(folder, f"{name}.jpg"), Path(folder, name)
            scratch.mkdir()
            maker = os.fork()  # so that the memory of drawing is not this process's own, which the baseline inherits
            if maker == 0:
                source.write_bytes(sample_media.oriented_jpeg(sample_media.photo(*SIZE), orientation))
                os._exit(0)
            os.waitpid(maker, 0)
            peak_mb = sandbox.run(request, source, scratch, doing="benchmark").peak_resident_bytes / 1e6
            missed |= peak_mb > bar_mb
            figure = {
                "benchmark": "image_memory",
                "name": name,
                "peak_mb": round(peak_mb, 1),
                "bar_mb": bar_mb,
                "naive_peak_mb": round(naive_peak_mb(source), 1),
            }
            print(
                f"24 MP {name}: {figure['peak_mb']} MB, at most {bar_mb}; naive Pillow {figure['naive_peak_mb']} MB"
                f"{'  MISSED' if peak_mb > bar_mb else ''}"
            )
            print(json.dumps(figure), flush=True)
    sandbox.close()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
