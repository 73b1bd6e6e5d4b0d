"""Whether a file ends before it is finished, for the formats whose decoders forgive that in silence.

libnsgif shows the frames that are there, libheif leaves missing tiles black; neither says so. Both formats are chains
of blocks with lengths, so a walk along the chain tells.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Final

_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C
_GIF_HEADER_BYTES: Final = 13
_GIF_IMAGE_BYTES: Final = 10


def ends_early(content_type: str, source: int) -> bool:
    """Whether the file behind the descriptor ``source`` stops in the middle of a block."""
    walk = _WALKS.get(content_type)
    size_bytes = os.fstat(source).st_size
    if walk is None or size_bytes == 0:
        return False
    with mmap.mmap(source, size_bytes, access=mmap.ACCESS_READ) as content:
        try:
            return walk(content)
        except IndexError:
            return True


def _gif_ends_early(content: mmap.mmap) -> bool:
    place = _GIF_HEADER_BYTES + _colour_table_bytes(content[10])
    while place < len(content):
        introducer = content[place]
        if introducer == _GIF_EXTENSION:
            place = _past_blocks(content, place + 2)
        elif introducer == _GIF_IMAGE:
            # Behind the descriptor: a colour table, one byte of code size, the pixels.
            place = _past_blocks(content, place + _GIF_IMAGE_BYTES + _colour_table_bytes(content[place + 9]) + 1)
        else:
            # The trailer, or rubbish behind the last frame, which every viewer ignores.
            return False
    # Only the trailer is missing, which loses nothing.
    return place > len(content)


def _past_blocks(content: mmap.mmap, place: int) -> int:
    """The place behind a chain of sub-blocks, each with its length before it and an empty one at the end."""
    while content[place]:
        place += content[place] + 1
    return place + 1


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _boxes_end_early(content: mmap.mmap) -> bool:
    place = 0
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(content[place + 8 : place + 16], "big")
        if size == 0:  # up to the end of the file, wherever that is
            return False
        if size < 8:
            return True
        place += size
    return place > len(content)


_WALKS: Final[dict[str, Callable[[mmap.mmap], bool]]] = {
    "image/gif": _gif_ends_early,
    "image/heic": _boxes_end_early,
    "image/heif": _boxes_end_early,
    "image/avif": _boxes_end_early,
}
