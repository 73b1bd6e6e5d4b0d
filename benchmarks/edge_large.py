"""Files of 5 MB, and ranges of 1 MB of them, through the real edge against nginx, the same files: bytes a second.

As `edge_hot.py`: the whole site with its log on, one process on each side on the first processor, wrk on the second,
over 8 connections. nginx sends with `sendfile` and `tcp_nopush`. Runs alternate; the best of each side counts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rivals.edge_runs import Files, Rates, side_by_side
from rivals.edge_servers import Server, Target

FILES = Files(20, 5_000_000, "clip-{}.mov", "video-processed/{}_720p.mp4", "video/mp4")
RANGE_BYTES = 1_000_000
CONNECTIONS = 8
BAR = 0.9


def asked(_server: Server, paths: list[str]) -> Mapping[int, list[Target]]:
    """The files, and each of their parts."""
    places = [place * RANGE_BYTES for place in range(FILES.size_bytes // RANGE_BYTES)]
    wanted = [{"Range": f"bytes={place}-{place + RANGE_BYTES - 1}"} for place in places]
    return {
        200: [Target(path, {}) for path in paths],
        206: [Target(path, headers) for path in paths for headers in wanted],
    }


def rate(rates: Rates) -> list[float]:
    """What counts."""
    return rates.bytes_per_second


def main() -> int:
    """Run both sides and print the ratios."""
    compared = side_by_side(FILES, asked, CONNECTIONS)
    if compared is None:
        return 1
    passed = [sides.told(f"edge_large_{status}", BAR, rate, "bytes") for status, sides in compared.items()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
