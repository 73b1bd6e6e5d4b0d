"""A look at the boxes of an MP4 or QuickTime file before FFmpeg gets it: what lies, or is missing, is said in words.

Only lengths and counts are read. A table that promises more samples than the file could hold would make the demuxer
reserve memory for each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from contentplatform.errors import ErrorCode, ProcessingFailed

_MOST_BOXES: Final = 100_000
_MOST_SAMPLES: Final = 40_000_000
"""Of one track; 24 h at 300 pictures a second are 26 million."""
_HEADER_BYTES: Final = 8
_WIDE_HEADER_BYTES: Final = 16
_PATH: Final = {b"moov": b"trak", b"trak": b"mdia", b"mdia": b"minf", b"minf": b"stbl"}
"""Which box within which leads to the tables."""
_TOP: Final = frozenset({b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra"})
"""Others at the end may be what a camera left there, and their lengths no lengths."""
_SEND_AGAIN: Final = "The original is kept; send it again if it came in damaged"


@dataclass(frozen=True, slots=True)
class _Box:
    name: bytes
    start: int
    """Of its content."""
    end: int


def check_boxes(descriptor: int, *, doing: str) -> None:
    """Make sure that the index is there, that the file holds all that its boxes say, and that tables are plausible.

    Raises:
        ProcessingFailed: one of it isn't so.
    """
    size = os.fstat(descriptor).st_size
    found: set[bytes] = set()
    budget = [_MOST_BOXES]
    for box in _boxes(descriptor, 0, size, budget):
        if box.name not in _TOP:
            continue
        if box.end > size:
            _refuse_cut(size, box, found, doing)
        found.add(box.name)
        if box.name == b"moov":
            _check_index(descriptor, box, size, budget, doing)
    if b"moov" not in found:
        _broken("its index (moov) is missing: the recording was not ended properly, or is incomplete", doing)


def _boxes(descriptor: int, start: int, end: int, budget: list[int]) -> Iterator[_Box]:
    place = start
    while place + _HEADER_BYTES <= end and budget[0] > 0:
        budget[0] -= 1
        header = os.pread(descriptor, _WIDE_HEADER_BYTES, place)
        length, name, content = int.from_bytes(header[:4], "big"), header[4:8], place + _HEADER_BYTES
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), place + _WIDE_HEADER_BYTES
        elif length == 0:  # to the end
            length = end - place
        if length < content - place:
            return
        yield _Box(name, content, place + length)
        place += length


def _check_index(descriptor: int, parent: _Box, size: int, budget: list[int], doing: str) -> None:
    for box in _boxes(descriptor, parent.start, parent.end, budget):
        if box.name == _PATH.get(parent.name):
            _check_index(descriptor, box, size, budget, doing)
        elif box.name in {b"stsz", b"stz2"}:
            _check_sizes(os.pread(descriptor, 12, box.start), box, size, doing)
    if budget[0] <= 0:
        raise ProcessingFailed(doing, f"it has more than {_MOST_BOXES} boxes", code=ErrorCode.LIMIT)


def _check_sizes(head: bytes, box: _Box, size: int, doing: str) -> None:
    """Hold the number of samples against the bytes that there are."""
    if len(head) < 12:
        _broken("its index ends within a table", doing)
    each, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    # Each sample has its size in the table, or all have the same; stz2 packs two into a byte.
    in_table = box.name == b"stz2" or each == 0
    impossible = count > 2 * max(0, box.end - box.start) if in_table else count * each > size
    if impossible:
        _broken(f"its index promises {count} samples, which the file can't hold", doing)
    if each == 0 and count > _MOST_SAMPLES:
        why = f"it has {count} samples in one track; at most {_MOST_SAMPLES} are processed"
        raise ProcessingFailed(doing, why, code=ErrorCode.LIMIT, hint="The original is kept")


def _refuse_cut(size: int, box: _Box, found: set[bytes], doing: str) -> NoReturn:
    missing = "" if b"moov" in found or box.name == b"moov" else ", and its index (moov) is missing"
    _broken(f"it is incomplete: {box.end - size} bytes are missing at its end{missing}", doing)


def _broken(why: str, doing: str) -> NoReturn:
    raise ProcessingFailed(doing, why, code=ErrorCode.DECODE, hint=_SEND_AGAIN)
