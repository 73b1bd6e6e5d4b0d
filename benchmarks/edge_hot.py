"""Hot renditions of 20 KB through the real edge against nginx with one worker and its access log on, the same files.

The edge is the whole site over a data folder, as `serve` runs it: rules, versions in the links, security headers, the
access log, and a look at the database before each answer. Both servers are one process on the first processor; wrk is
on the second, over 32 connections, and asks for 200 files in turn. Once for the files (200), once for the news that
they have not changed (304). Runs alternate; the best of each side counts, as what disturbs a run only makes it slower.
The server's processor time an answer is printed beside: it says more where the machine is shared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rivals.edge_runs import Files, Rates, side_by_side
from rivals.edge_servers import Server, Target, etag

FILES = Files(200, 20_000, "photo-{}.jpg", "processed/thumbnails/{}.jpg", "image/jpeg")
CONNECTIONS = 32
BAR = 0.30


def asked(server: Server, paths: list[str]) -> Mapping[int, list[Target]]:
    """The files, and whether they have changed."""
    plain = [Target(path, {}) for path in paths]
    known = [Target(target.path, {"If-None-Match": etag(server.url, target)}) for target in plain]
    return {200: plain, 304: known}


def rate(rates: Rates) -> list[float]:
    """What counts."""
    return rates.requests_per_second


def main() -> int:
    """Run both sides and print the ratios."""
    compared = side_by_side(FILES, asked, CONNECTIONS)
    if compared is None:
        return 1
    passed = [sides.told(f"edge_hot_{status}", BAR, rate, "requests") for status, sides in compared.items()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
