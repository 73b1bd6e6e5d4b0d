"""Put of 1 GiB, acknowledged durable, against ``dd conv=fsync`` followed by ``openssl dgst -sha256`` of the same file.

Both do the same work: every byte read, written, synced and hashed. Runs alternate; the best of each side counts, as
what disturbs a run only ever makes it slower. Memory is this process's greatest resident size beyond that at start.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.sqlite import Database
from contentplatform.storage.local import SCHEMA, LocalObjectStore
from contentplatform.storage.port import BucketRole, PutOptions

SIZE_BYTES = 1 << 30
RUNS = 5
SPEED_BAR = 1.0
MEMORY_BAR_MIB = 64


def make_source(path: Path) -> None:
    """1 GiB that no file system can compress or share."""
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES >> 18):
            file.write(os.urandom(1 << 18))
        file.flush()
        os.fsync(file.fileno())


def baseline_seconds(source: Path, folder: Path) -> float:
    """One run of the rival."""
    target = folder / "dd.out"
    started = time.perf_counter()
    subprocess.run(["dd", f"if={source}", f"of={target}", "bs=4M", "conv=fsync", "status=none"], check=True)
    subprocess.run(["openssl", "dgst", "-sha256", str(target)], check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - started
    target.unlink()
    return taken


def put_seconds(source: Path, folder: Path) -> float:
    """One run of ours, into a store without the bytes."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        database = Database(Path(root) / "catalog.db", [SCHEMA], new_uuid="benchmark")
        store = LocalObjectStore(database, Path(root), SystemClock(), RandomIds())
        with source.open("rb") as body:
            started = time.perf_counter()
            store.put(BucketRole.PRIMARY, "large.bin", body, PutOptions())
            taken = time.perf_counter() - started
        database.close()
    return taken


def peak_mib() -> float:
    """The greatest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Run both sides and print the ratio."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        source = folder / "source.bin"
        make_source(source)
        before = peak_mib()
        ours, theirs = [], []
        for _ in range(RUNS):
            theirs.append(baseline_seconds(source, folder))
            ours.append(put_seconds(source, folder))
        growth = peak_mib() - before
    ratio = min(theirs) / min(ours)
    passed = ratio >= SPEED_BAR and growth <= MEMORY_BAR_MIB
    print(
        f"put_1gib: ratio {ratio:.2f} (bar {SPEED_BAR:.2f}) ours {min(ours):.2f} s, dd + openssl {min(theirs):.2f} s,"
        f" memory growth {growth:.0f} MiB (bar {MEMORY_BAR_MIB})"
    )
    print(
        json.dumps(
            {
                "name": "put_1gib",
                "ratio": round(ratio, 3),
                "bar": SPEED_BAR,
                "passed": passed,
                "ours_seconds": [round(seconds, 3) for seconds in ours],
                "baseline_seconds": [round(seconds, 3) for seconds in theirs],
                "memory_growth_mib": round(growth, 1),
                "memory_bar_mib": MEMORY_BAR_MIB,
            }
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
