"""50 files of 1 MiB put, 10 at a time, each acknowledged durable, against cp + fsync + openssl of the same files.

The rival copies each file with ``dd conv=fsync`` (cp does not sync) and hashes the copy, 10 at a time as well: it keeps
no versions, no index, and syncs no folder. Runs alternate; the median of each side counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.sqlite import Database
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import BucketRole, PutOptions

FILES = 50
SIZE_BYTES = 1 << 20
AT_ONCE = 10
RUNS = 7
BAR = 3.0


def make_sources(folder: Path) -> list[Path]:
    """Files that differ from each other."""
    folder.mkdir()
    sources = [folder / f"{number:03}.bin" for number in range(FILES)]
    for source in sources:
        source.write_bytes(os.urandom(SIZE_BYTES))
    os.sync()
    return sources


def timed(work: Callable[[Path], object], sources: Sequence[Path]) -> float:
    """How long the work on all files takes, ten at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = time.perf_counter()
        list(pool.map(work, sources))
        return time.perf_counter() - started


def baseline_seconds(sources: Sequence[Path], folder: Path) -> float:
    """One run of the rival."""
    with tempfile.TemporaryDirectory(dir=folder) as name:

        def copy(source: Path) -> None:
            target = Path(name) / source.name
            subprocess.run(["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"], check=True)
            subprocess.run(["openssl", "dgst", "-sha256", str(target)], check=True, stdout=subprocess.DEVNULL)

        return timed(copy, sources)


def put_seconds(sources: Sequence[Path], folder: Path) -> float:
    """One run of ours, into an empty store."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        database = Database(Path(name) / "catalog.db", [SCHEMA], new_uuid="benchmark")
        store = LocalObjectStore(database, Path(name), SystemClock(), RandomIds())

        def put(source: Path) -> None:
            with source.open("rb") as body:
                store.put(BucketRole.PRIMARY, source.name, body, PutOptions())

        taken = timed(put, sources)
        database.close()
        return taken


def main() -> int:
    """Run both sides and print the ratio."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        sources = make_sources(folder / "sources")
        ours, theirs = [], []
        for _ in range(RUNS):
            theirs.append(baseline_seconds(sources, folder))
            ours.append(put_seconds(sources, folder))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"put_many: ratio {ratio:.2f} (bar {BAR:.2f}, less is better) ours {statistics.median(ours) * 1000:.0f} ms,"
        f" cp + fsync + openssl {statistics.median(theirs) * 1000:.0f} ms"
    )
    print(
        json.dumps(
            {
                "name": "put_many",
                "ratio": round(ratio, 3),
                "bar": BAR,
                "passed": ratio <= BAR,
                "ours_seconds": [round(seconds, 4) for seconds in ours],
                "baseline_seconds": [round(seconds, 4) for seconds in theirs],
            }
        )
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
