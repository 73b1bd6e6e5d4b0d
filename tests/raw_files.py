"""A camera's raw file as a test makes it: a DNG with uncompressed sensor values and, where asked for, a JPEG inside."""

from __future__ import annotations

import struct
from typing import Any, Final

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}
Entry = tuple[int, int, bytes]

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10


def shorts(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)


def longs(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def directory(entries: list[Entry], start: int) -> bytes:
    """A TIFF directory that begins at ``start``, its long values behind it."""
    values_at = start + 2 + 12 * len(entries) + 4
    table, values = struct.pack("<H", len(entries)), b""
    for tag, kind, content in sorted(entries):
        value = content
        if len(content) > 4:
            value = longs(values_at + len(values))
            values += content + bytes(len(content) % 2)
        table += struct.pack("<HHI", tag, kind, len(content) // _SIZES[kind]) + value.ljust(4, b"\0")
    return table + bytes(4) + values


def dng(
    width: int = 1280,
    height: int = 960,
    *,
    preview: bytes = b"",
    preview_size: tuple[int, int] = (0, 0),
    orientation: int = 1,
    declared: tuple[int, int] | None = None,
    **changes: Any,
) -> bytes:
    """A DNG whose sensor saw a red left half and a blue right half; ``declared`` is a size that it has not."""
    shown_width, shown_height = declared or (width, height)
    # The pattern's rows are red-green and green-blue, over a black of 0 and a white of 4 095.
    red = struct.pack("<2H", 3000, 300) * (width // 4), struct.pack("<2H", 300, 300) * (width // 4)
    blue = struct.pack("<2H", 300, 300) * (width // 4), struct.pack("<2H", 300, 3000) * (width // 4)
    sensor = (red[0] + blue[0] + red[1] + blue[1]) * (height // 2)
    exif = [
        (0x829A, RATIONAL, longs(1, 250)),
        (0x829D, RATIONAL, longs(28, 10)),
        (0x8827, SHORT, shorts(400)),
        (0x9003, ASCII, b"2024:05:06 07:08:09\0"),
        (0x920A, RATIONAL, longs(35, 1)),
        (0xA431, ASCII, b"SN-12345\0"),
        (0xA434, ASCII, b"Sample 35mm F2\0"),
    ]
    gps = [
        (1, ASCII, b"N\0"),
        (2, RATIONAL, longs(51, 1, 28, 1, 4012, 100)),
        (3, ASCII, b"W\0"),
        (4, RATIONAL, longs(0, 1, 0, 1, 531, 100)),
    ]
    one = [(0x0111, LONG, longs(0)), (0x0117, LONG, longs(0))]
    raw = [
        (0x00FE, LONG, longs(0)),
        (0x0100, LONG, longs(shown_width)),
        (0x0101, LONG, longs(shown_height)),
        (0x0102, SHORT, shorts(16)),
        (0x0103, SHORT, shorts(1)),
        (0x0106, SHORT, shorts(32803)),
        (0x0115, SHORT, shorts(1)),
        (0x0116, LONG, longs(shown_height)),
        (0x828D, SHORT, shorts(2, 2)),
        (0x828E, BYTE, bytes([0, 1, 1, 2])),
        (0xC61A, SHORT, shorts(0)),
        (0xC61D, LONG, longs(4095)),
    ]
    small = [
        (0x00FE, LONG, longs(1)),
        (0x0100, LONG, longs(preview_size[0])),
        (0x0101, LONG, longs(preview_size[1])),
        (0x0102, SHORT, shorts(8, 8, 8)),
        (0x0103, SHORT, shorts(7)),
        (0x0106, SHORT, shorts(6)),
        (0x0115, SHORT, shorts(3)),
        (0x0116, LONG, longs(preview_size[1])),
    ]
    main = [
        (0x00FE, LONG, longs(1)),
        (0x0100, LONG, longs(2)),
        (0x0101, LONG, longs(2)),
        (0x0102, SHORT, shorts(8, 8, 8)),
        (0x0103, SHORT, shorts(1)),
        (0x0106, SHORT, shorts(2)),
        (0x010F, ASCII, changes.get("make", b"Sample") + b"\0"),
        (0x0110, ASCII, b"Camera One\0"),
        (0x0112, SHORT, shorts(orientation)),
        (0x0115, SHORT, shorts(3)),
        (0x0116, LONG, longs(2)),
        (0x8298, ASCII, b"(c) Sample\0"),
        (0xC612, BYTE, bytes([1, 4, 0, 0])),
        (0xC614, ASCII, b"Sample Camera One\0"),
        (0xC621, SRATIONAL, struct.pack("<18i", 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),
        (0xC628, RATIONAL, longs(1, 1, 1, 1, 1, 1)),
        (0xC65A, SHORT, shorts(21)),
    ]
    inner = [raw, small] if preview else [raw]

    def laid_out(places: list[int], contents: list[int]) -> list[bytes]:
        """All directories, each knowing where the others and its own pixels are."""
        exif_at, gps_at, *inner_at = places[1:]
        sizes = [len(sensor), len(preview)]
        head = [
            *main,
            (0x0111, LONG, longs(contents[-1])),
            (0x0117, LONG, longs(12)),
            (0x014A, LONG, longs(*inner_at)),
            (0x8769, LONG, longs(exif_at)),
            (0x8825, LONG, longs(gps_at)),
        ]
        made = [directory(head, places[0]), directory(exif, exif_at), directory(gps, gps_at)]
        for entries, place, content, size in zip(inner, inner_at, contents, sizes, strict=False):
            strips = [(one[0][0], LONG, longs(content)), (one[1][0], LONG, longs(size))]
            made.append(directory([*entries, *strips], place))
        return made

    count = 3 + len(inner)
    sizes = [len(each) for each in laid_out([0] * count, [0] * 3)]
    places = [8 + sum(sizes[:index]) for index in range(count)]
    stamp_at = 8 + sum(sizes)
    sensor_at = stamp_at + 12
    parts = laid_out(places, [sensor_at, sensor_at + len(sensor), stamp_at])
    return b"II*\0" + longs(8) + b"".join(parts) + bytes(12) + sensor + preview
