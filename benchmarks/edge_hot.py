"""Hot renditions of 20 KB through the real edge against nginx with one worker and its access log on, the same files.

The edge is the whole site over a data folder, as `serve` runs it: rules, versions in the links, security headers, the
access log, and a look at the database before each answer. Both servers are one process on the first processor; wrk is
on the second, over 32 connections, and asks for 200 files in turn. Once for the files (200), once for the news that
they have not changed (304). Runs alternate; the best of each side counts, as what disturbs a run only makes it slower.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from rivals.edge_servers import Target, etag, missing_programs, nginx, ours, wrk

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.storage.port import BucketRole, PutOptions

FILES = 200
SIZE_BYTES = 20_000
RUNS = 3
SECONDS = 4
CONNECTIONS = 32
BAR = 0.30


def publish(data_folder: Path, root: Path) -> list[str]:
    """The same files for both sides; returns their addresses."""
    paths = []
    home = open_local(config.load(data_folder=data_folder, environment={}))
    for number in range(FILES):
        body = os.urandom(SIZE_BYTES)
        name = f"photo-{number}.jpg"
        key = f"processed/thumbnails/{name}.jpg"
        home.store.put(BucketRole.PRIMARY, name, BytesIO(b"original"), PutOptions())
        stored = home.store.put(BucketRole.PROCESSED, key, BytesIO(body), PutOptions(content_type="image/jpeg"))
        copy = root / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(body)
        paths.append(f"/{key}?v={(stored.sha256 or '')[:16]}")
    home.close()
    return paths


def main() -> int:
    """Run both sides and print the ratios."""
    if missing := missing_programs():
        print(f"edge_hot: {', '.join(missing)} missing (apt install nginx wrk)")
        return 1
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = publish(folder / "data", folder / "files")
        rates: dict[tuple[str, int], list[float]] = {}
        with contextlib.ExitStack() as stack:
            servers = {
                "ours": stack.enter_context(ours(folder / "data")),
                "nginx": stack.enter_context(nginx(folder / "nginx", folder / "files")),
            }
            plain = [Target(path, {}) for path in paths]
            known = {
                side: [Target(target.path, {"If-None-Match": etag(url, target)}) for target in plain]
                for side, url in servers.items()
            }
            for _ in range(RUNS):
                for side, url in servers.items():
                    for status, targets in ((200, plain), (304, known[side])):
                        found = wrk(url, targets, folder, status=status, seconds=SECONDS, connections=CONNECTIONS)
                        rates.setdefault((side, status), []).append(found.requests_per_second)
    passed = True
    for status in (200, 304):
        mine, theirs = rates["ours", status], rates["nginx", status]
        ratio = max(mine) / max(theirs)
        passed = passed and ratio >= BAR
        print(
            f"edge_hot {status}: ratio {ratio:.2f} (bar {BAR:.2f}) ours {max(mine):.0f} requests/s, "
            f"nginx {max(theirs):.0f}"
        )
        print(
            json.dumps(
                {
                    "name": f"edge_hot_{status}",
                    "ratio": round(ratio, 3),
                    "bar": BAR,
                    "passed": ratio >= BAR,
                    "ours_per_second": [round(rate) for rate in mine],
                    "baseline_per_second": [round(rate) for rate in theirs],
                }
            )
        )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
