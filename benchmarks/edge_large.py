"""Files of 5 MB, and ranges of 1 MB of them, through the real edge against nginx, the same files: bytes a second.

As `edge_hot.py`: the whole site with its log on, one process on each side on the first processor, wrk on the second,
over 8 connections. nginx sends with `sendfile` and `tcp_nopush`. Runs alternate; the best of each side counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from rivals.edge_servers import Target, missing_programs, nginx, ours, wrk

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.storage.port import BucketRole, PutOptions

FILES = 20
SIZE_BYTES = 5_000_000
RANGE_BYTES = 1_000_000
RUNS = 3
SECONDS = 4
CONNECTIONS = 8
BAR = 0.9


def publish(data_folder: Path, root: Path) -> list[str]:
    """The same files for both sides; returns their addresses."""
    paths = []
    home = open_local(config.load(data_folder=data_folder, environment={}))
    for number in range(FILES):
        body = os.urandom(SIZE_BYTES)
        name = f"clip-{number}.mov"
        key = f"video-processed/{name}_720p.mp4"
        home.store.put(BucketRole.PRIMARY, name, BytesIO(b"original"), PutOptions())
        stored = home.store.put(BucketRole.PROCESSED, key, BytesIO(body), PutOptions(content_type="video/mp4"))
        copy = root / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(body)
        paths.append(f"/{key}?v={(stored.sha256 or '')[:16]}")
    home.close()
    return paths


def main() -> int:
    """Run both sides and print the ratios."""
    if missing := missing_programs():
        print(f"edge_large: {', '.join(missing)} missing (apt install nginx wrk)")
        return 1
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = publish(folder / "data", folder / "files")
        places = [place * RANGE_BYTES for place in range(SIZE_BYTES // RANGE_BYTES)]
        asked = {
            200: [Target(path, {}) for path in paths],
            206: [
                Target(path, {"Range": f"bytes={place}-{place + RANGE_BYTES - 1}"})
                for path in paths
                for place in places
            ],
        }
        rates: dict[tuple[str, int], list[float]] = {}
        with contextlib.ExitStack() as stack:
            servers = {
                "ours": stack.enter_context(ours(folder / "data")),
                "nginx": stack.enter_context(nginx(folder / "nginx", folder / "files")),
            }
            for _ in range(RUNS):
                for side, url in servers.items():
                    for status, targets in asked.items():
                        found = wrk(url, targets, folder, status=status, seconds=SECONDS, connections=CONNECTIONS)
                        rates.setdefault((side, status), []).append(found.bytes_per_second)
    passed = True
    for status, what in ((200, "whole files"), (206, "ranges")):
        mine, theirs = rates["ours", status], rates["nginx", status]
        ratio = max(mine) / max(theirs)
        passed = passed and ratio >= BAR
        print(
            f"edge_large {what}: ratio {ratio:.2f} (bar {BAR:.2f}) ours {max(mine) / 1e9:.2f} GB/s, "
            f"nginx {max(theirs) / 1e9:.2f}"
        )
        print(
            json.dumps(
                {
                    "name": f"edge_large_{status}",
                    "ratio": round(ratio, 3),
                    "bar": BAR,
                    "passed": ratio >= BAR,
                    "ours_bytes_per_second": [round(rate) for rate in mine],
                    "baseline_bytes_per_second": [round(rate) for rate in theirs],
                }
            )
        )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
