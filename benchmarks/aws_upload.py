"""50 files of 1 MiB uploaded to S3, 10 at a time: the store's adapter and the command line against ``aws s3 cp``.

The emulator stands in for S3 (``make emulator``), so the figures compare the clients on one machine, not a network:
its one process answers all of them. Both rivals start a program of Python; the adapter runs in this one, warmed up.
The contestants take turns; the median of each counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from aws.buckets import make_buckets, open_store
from contentplatform.config import environment_name
from contentplatform.drivers.boto import Aws
from contentplatform.storage.aws import S3ObjectStore
from contentplatform.storage.port import BucketRole, PutOptions
from emulator import HOME, REGION, Emulator
from fakes.dynamodb import DynamoHome

FILES = 50
SIZE_BYTES = 1 << 20
AT_ONCE = 10
RUNS = 5
BARS = {"adapter": 1.0, "command line": 1.0}
"""Of the time that ``aws s3 cp`` takes. Most of that is the emulator's own, the same for everybody."""


def make_sources(folder: Path) -> list[Path]:
    """Files that differ from each other."""
    folder.mkdir()
    sources = [folder / f"{number:03}.bin" for number in range(FILES)]
    for source in sources:
        source.write_bytes(os.urandom(SIZE_BYTES))
    return sources


def timed(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def through_adapter(store: S3ObjectStore, sources: Sequence[Path], folder: str) -> None:
    """Each file a put, durable when it returns."""

    def put(source: Path) -> None:
        with source.open("rb") as body:
            store.put(BucketRole.PROCESSED, f"{folder}/{source.name}", body, PutOptions())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(put, sources))


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program to its end; what it says is only shown if it fails."""
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{result.stdout}{result.stderr}")


def contestants(emulator: Emulator, folder: Path) -> dict[str, Callable[[str], object]]:
    """Everybody who uploads, each into a bucket of its own, under the folder that is given."""
    sources = make_sources(folder / "sources")
    account = emulator.account()
    environment = emulator.environment(account)
    os.environ.update(environment)
    aws = Aws(region=REGION, account_id=account)
    DynamoHome(aws)
    names = make_buckets(aws)
    suffix = names[BucketRole.PRIMARY].removeprefix("content-platform-primary-")
    store = open_store(aws, names)
    settings = {
        environment_name("storage", "bucket_suffix"): suffix,
        environment_name("aws", "account_id"): account,
        "AWS_CONFIG_FILE": str(folder / "aws-config"),
    }
    (folder / "aws-config").write_text(f"[default]\ns3 =\n  max_concurrent_requests = {AT_ONCE}\n", "utf-8")
    ours = Path(sys.executable).parent / "contentplatform"
    add: list[str | Path] = [
        ours,
        "--home",
        "aws",
        "--data",
        folder / "data",
        "add",
        "--no-wait",
        folder / "sources",
        "--prefix",
    ]
    copy: list[str | Path] = [HOME / "bin" / "aws", "s3", "cp", "--recursive", "--only-show-errors", folder / "sources"]
    target = f"s3://{names[BucketRole.RAW]}/"
    return {
        "aws s3 cp": lambda where: run([*copy, f"{target}{where}/"], {**environment, **settings}),
        "adapter": lambda where: through_adapter(store, sources, where),
        "command line": lambda where: run([*add, f"{where}/"], {**environment, **settings}),
    }


def main() -> int:
    """Run everybody in turns and print the ratios."""
    emulator = Emulator()
    try:
        with tempfile.TemporaryDirectory() as name:
            racers = contestants(emulator, Path(name))
            for race in racers.values():
                race("first")  # nobody pays for what is done only once
            taken: dict[str, list[float]] = {racer: [] for racer in racers}
            for number in range(RUNS):
                for racer, race in racers.items():
                    taken[racer].append(timed(partial(race, f"run-{number}")))
    finally:
        emulator.stop()
    medians = {racer: statistics.median(seconds) for racer, seconds in taken.items()}
    rival = medians["aws s3 cp"]
    passed = True
    for racer, bar in BARS.items():
        ratio = medians[racer] / rival
        passed = passed and ratio <= bar
        print(
            f"aws_upload, {racer}: ratio {ratio:.2f} (bar {bar:.2f}, less is better)"
            f" ours {medians[racer]:.2f} s, aws s3 cp {rival:.2f} s"
        )
        print(
            json.dumps(
                {
                    "name": f"aws_upload, {racer}",
                    "ratio": round(ratio, 3),
                    "bar": bar,
                    "passed": ratio <= bar,
                    "ours_seconds": [round(seconds, 3) for seconds in taken[racer]],
                    "baseline_seconds": [round(seconds, 3) for seconds in taken["aws s3 cp"]],
                }
            )
        )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
