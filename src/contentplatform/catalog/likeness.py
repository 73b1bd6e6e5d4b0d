"""Which pictures look alike, in both homes alike: the difference hash of 64 bits that processing leaves of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations
from typing import Final

from contentplatform.catalog.port import SIMILAR_DISTANCE_LIMIT, Record, Similar
from contentplatform.catalog.search import check_limit
from contentplatform.errors import InvalidRequest

HASH_KEY: Final = "perceptual_hash"
"""Under which processing metadata keep it, in hex."""
HASH_BITS: Final = 64
_HASH: Final = re.compile("[0-9a-f]{16}")


def hash_of(record: Record) -> int | None:
    """The perceptual hash of a file; None if it has none, or is deleted."""
    found = record.processing_metadata.get(HASH_KEY)
    if record.deleted_at is not None or not isinstance(found, str) or not _HASH.fullmatch(found):
        return None
    return int(found, 16)


def distance(one: int, other: int) -> int:
    """In how many bits two hashes differ."""
    return (one ^ other).bit_count()


def check_likeness(limit: int, max_distance: int, doing: str) -> None:
    """Raise InvalidRequest unless both can be asked for."""
    check_limit(limit, doing)
    if not 0 <= max_distance <= SIMILAR_DISTANCE_LIMIT:
        raise InvalidRequest(doing, f"a distance is 0 to {SIMILAR_DISTANCE_LIMIT} bits, not {max_distance}")


def nearest(found: Iterable[Similar], limit: int) -> tuple[Similar, ...]:
    """The nearest first, then the newest upload."""
    newest_first = sorted(found, key=lambda each: (each.record.upload_time, each.record.file_id), reverse=True)
    return tuple(sorted(newest_first, key=lambda each: each.distance)[:limit])


def probes(value: int, bits: int, max_distance: int) -> list[tuple[int, int]]:
    """Where to look for hashes within a distance: parts of ``bits`` bits, as (number of the part, what it is).

    Of two hashes that differ in d bits, one of the parts differs in at most d divided by the number of parts; so
    looking under every value of each part that is as near as that finds all.
    """
    parts = HASH_BITS // bits
    flips = max_distance // parts
    return [
        (number, own ^ sum(1 << bit for bit in flipped))
        for number, own in enumerate(parts_of(value, bits))
        for count in range(flips + 1)
        for flipped in combinations(range(bits), count)
    ]


def parts_of(value: int, bits: int) -> list[int]:
    """A hash in parts of ``bits`` bits, the lowest first."""
    return [value >> shift & (1 << bits) - 1 for shift in range(0, HASH_BITS, bits)]
