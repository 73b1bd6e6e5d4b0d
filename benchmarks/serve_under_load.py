"""Viewers of hot thumbnails at full load while files are uploaded and processed, on one server as people start it.

    python benchmarks/serve_under_load.py [--uploads 200] [--seconds 600]

First the uploads alone, until the last one is processed. Then viewers alone, for a while. Then both: wrk asks for
thumbnails over 32 connections for as long as was asked for, and meanwhile as many other files are uploaded, four at a
time, and processed. No request may fail. The figures: how much longer the uploads take beside the viewers, how many
requests a second the viewers get beside the uploads, and by how much the server's resident memory grew from the first
minute of the viewers to their last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from lanes import photo
from rivals.edge_servers import WRK, missing_programs

SEEN = 100
CONNECTIONS = 32
UPLOADS_AT_ONCE = 4
ALONE_SECONDS = 10
WAIT_SECONDS = 900.0
BAR_TIMES = 3.0
"""Three things want two cores then: viewers, uploads, encoders."""
BAR_GROWTH_MIB = 32.0


@dataclass
class Server:
    """A server at work, and who may do anything there."""

    process: subprocess.Popen[bytes]
    url: str
    http: httpx.Client

    def resident_mib(self) -> float:
        """The server's own memory, without its workers."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def upload(self, key: str, body: bytes) -> None:
        """Put one file."""
        self.http.put(f"/api/v1/files/by-key/{key}", content=body).raise_for_status()

    def waits(self, folder: str) -> int:
        """How many files of a folder have not ended; raises if one failed."""
        facets = self.http.get("/api/v1/facets", params={"folder": folder}).raise_for_status().json()
        counts = {one["value"]: one["count"] for one in facets["statuses"]}
        if counts.get("failed"):
            raise SystemExit(f"{counts['failed']} files of {folder} failed")
        return int(facets["total"]["count"]) - int(counts.get("completed", 0))


@contextlib.contextmanager
def server(data: Path) -> Iterator[Server]:
    """``contentplatform serve`` on a free port."""
    command = [sys.executable, "-m", "contentplatform.cli", "--data", str(data), "--json"]
    with subprocess.Popen([*command, "serve", "--port", "0"], stdout=subprocess.PIPE) as process:
        try:
            said = b""
            while not said.rstrip().endswith(b"}"):
                said += process.stdout.readline() if process.stdout else b""
            scopes = ("--scope", "read", "--scope", "write")
            made = subprocess.run(
                [*command, "tokens", "add", "admin", "load", *scopes], capture_output=True, check=True
            )
            url = json.loads(said)["listening"]
            bearer = {"Authorization": f"Bearer {json.loads(made.stdout)['secret']}"}
            with httpx.Client(base_url=url, headers=bearer, timeout=120) as http:
                yield Server(process, url, http)
        finally:
            process.terminate()
            process.wait(60)


def seconds_for(served: Server, folder: str, pictures: list[bytes]) -> float:
    """From the first upload to the end of the last one's processing."""
    began = time.perf_counter()
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        list(pool.map(lambda numbered: served.upload(f"{folder}/{numbered[0]}.jpg", numbered[1]), enumerate(pictures)))
    while served.waits(folder):
        if time.perf_counter() - began > WAIT_SECONDS:
            raise SystemExit(f"{folder} is not done after {WAIT_SECONDS:.0f} s")
        time.sleep(0.2)
    return time.perf_counter() - began


def viewers(served: Server, script: Path, seconds: int) -> subprocess.Popen[str]:
    """Start asking for thumbnails."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), served.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ended(asked: subprocess.Popen[str]) -> tuple[float, str]:
    """Requests a second and the 99th percentile; raises if a request failed."""
    said, _ = asked.communicate()
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    rate, slowest = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"^\s*99%\s+(\S+)", said, re.MULTILINE)
    return float(rate[1]) if rate else 0.0, slowest[1] if slowest else ""


def main() -> int:
    """Measure, print, say whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=120)
    arguments = parser.parse_args()
    if missing := missing_programs():
        print(f"serve_under_load: {', '.join(missing)} missing (apt install nginx wrk)")
        return 1
    pictures = [photo(seed) for seed in range(2 * arguments.uploads)]
    with tempfile.TemporaryDirectory(prefix="load-") as name, server(Path(name) / "data") as served:
        alone_seconds = seconds_for(served, "alone", pictures[: arguments.uploads])
        found = served.http.get("/api/v1/files", params={"folder": "alone", "limit": SEEN}).json()["items"]
        urls = [one["url"] for file in found for one in file["renditions"] if one["name"] == "thumbnail"]
        script = Path(name) / "ask.lua"
        script.write_text(WRK.format(targets=", ".join(f'{{"{url}", {{}}}}' for url in urls)), "utf-8")
        alone_rate, alone_p99 = ended(viewers(served, script, ALONE_SECONDS))
        before_mib = served.resident_mib()
        asked = viewers(served, script, arguments.seconds)
        beside_seconds = seconds_for(served, "beside", pictures[arguments.uploads :])
        beside_rate, beside_p99 = ended(asked)
        growth_mib = served.resident_mib() - before_mib
    times = beside_seconds / alone_seconds
    met = times <= BAR_TIMES and growth_mib <= BAR_GROWTH_MIB
    print(
        f"{arguments.uploads} uploads: {alone_seconds:.1f} s alone, {beside_seconds:.1f} s beside viewers:"
        f" {times:.2f}x ({'met' if met else 'MISSED'}: at most {BAR_TIMES}x, growth at most {BAR_GROWTH_MIB:.0f} MiB)\n"
        f"viewers: {alone_rate:.0f} requests/s alone (99 % in {alone_p99}), {beside_rate:.0f} on the whole of"
        f" {arguments.seconds} s (99 % in {beside_p99}); the server's memory grew by {growth_mib:.1f} MiB"
    )
    figure = {
        "benchmark": "serve_under_load",
        "name": "uploads beside viewers",
        "uploads_alone_seconds": round(alone_seconds, 1),
        "uploads_beside_seconds": round(beside_seconds, 1),
        "times_alone": round(times, 2),
        "viewers_alone_per_second": round(alone_rate),
        "viewers_beside_per_second": round(beside_rate),
        "p99_alone": alone_p99,
        "p99_beside": beside_p99,
        "seconds": arguments.seconds,
        "memory_growth_mib": round(growth_mib, 1),
    }
    print(json.dumps(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
