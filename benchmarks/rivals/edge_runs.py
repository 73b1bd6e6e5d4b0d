"""Runs of our edge and of nginx in turns, over the same files: what the bars of the edge share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from rivals.edge_servers import Server, Target, missing_programs, nginx, ours, wrk

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.storage.port import BucketRole, PutOptions

RUNS = 3
SECONDS = 4


@dataclass(frozen=True)
class Files:
    """What is served: ``{}`` in ``name`` is a number, in ``key`` the name."""

    number: int
    size_bytes: int
    name: str
    key: str
    content_type: str


@dataclass
class Rates:
    """What one side did with one sort of request, a run an entry."""

    requests_per_second: list[float] = field(default_factory=list)
    bytes_per_second: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    """Of the server, for each answer."""


@dataclass(frozen=True)
class Compared:
    """Both sides of one sort of request; the best run counts, as what disturbs one only makes it slower."""

    ours: Rates
    nginx: Rates

    def told(self, name: str, bar: float, best: Callable[[Rates], Sequence[float]], unit: str) -> bool:
        """Print the ratio; whether the bar is met."""
        mine, theirs = best(self.ours), best(self.nginx)
        ratio = max(mine) / max(theirs)
        processor = [min(side.processor_seconds) * 1e6 for side in (self.ours, self.nginx)]
        print(
            f"{name}: ratio {ratio:.2f} (bar {bar:.2f}) ours {max(mine):,.0f} {unit}/s, nginx {max(theirs):,.0f};"
            f" {processor[0]:.0f} and {processor[1]:.0f} µs of processor an answer"
        )
        figures = {
            "name": name,
            "ratio": round(ratio, 3),
            "bar": bar,
            "passed": ratio >= bar,
            f"ours_{unit}_per_second": [round(rate) for rate in mine],
            f"baseline_{unit}_per_second": [round(rate) for rate in theirs],
            "ours_processor_microseconds": round(processor[0], 1),
            "baseline_processor_microseconds": round(processor[1], 1),
        }
        print(json.dumps(figures))
        return ratio >= bar


def publish(files: Files, data_folder: Path, root: Path) -> list[str]:
    """The same files for both sides; returns their addresses."""
    paths = []
    home = open_local(config.load(data_folder=data_folder, environment={}))
    for number in range(files.number):
        body = os.urandom(files.size_bytes)
        name = files.name.format(number)
        key = files.key.format(name)
        home.store.put(BucketRole.PRIMARY, name, BytesIO(b"original"), PutOptions())
        options = PutOptions(content_type=files.content_type)
        stored = home.store.put(BucketRole.PROCESSED, key, BytesIO(body), options)
        copy = root / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(body)
        paths.append(f"/{key}?v={(stored.sha256 or '')[:16]}")
    home.close()
    return paths


def side_by_side(
    files: Files, asked: Callable[[Server, list[str]], Mapping[int, list[Target]]], connections: int
) -> dict[int, Compared] | None:
    """Ask both sides in turns, by the status that is expected; None: a program is missing, as was printed.

    ``asked`` tells what is asked of a side for these addresses. The folder may be given on the command line.
    """
    if missing := missing_programs():
        print(f"{', '.join(missing)} missing (apt install nginx wrk)")
        return None
    rates: dict[tuple[str, int], Rates] = {}
    with contextlib.ExitStack() as stack:
        place = tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None)
        folder = Path(stack.enter_context(place))
        folder.chmod(0o755)
        paths = publish(files, folder / "data", folder / "files")
        servers = {
            "ours": stack.enter_context(ours(folder / "data")),
            "nginx": stack.enter_context(nginx(folder / "nginx", folder / "files")),
        }
        targets = {side: asked(server, paths) for side, server in servers.items()}
        for _ in range(RUNS):
            for side, server in servers.items():
                for status, these in targets[side].items():
                    before = server.processor_seconds()
                    found = wrk(server.url, these, folder, status=status, seconds=SECONDS, connections=connections)
                    used = server.processor_seconds() - before
                    side_rates = rates.setdefault((side, status), Rates())
                    side_rates.requests_per_second.append(found.requests_per_second)
                    side_rates.bytes_per_second.append(found.bytes_per_second)
                    side_rates.processor_seconds.append(used / max(1.0, found.requests_per_second * SECONDS))
    return {status: Compared(rates["ours", status], rates["nginx", status]) for side, status in rates if side == "ours"}
