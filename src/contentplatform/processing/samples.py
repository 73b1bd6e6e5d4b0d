"""Sample media for the demonstration and the self-check, drawn here: the package carries no pictures.

PNG and GIF are simple enough to be written in plain Python. The photograph is drawn as PNG, made a JPEG by the same
sandboxed job that makes every rendition, and then told what a phone tells: that it is turned, where it was taken, and
whose it is.
"""

from __future__ import annotations

import math
import struct
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from contentplatform.processing.local import LocalMediaProcessor

_PHOTO_SIZE: Final = (800, 600)
_LOGO_SIZE: Final = (480, 480)
_SPINNER_SIZE: Final = (160, 120)
_SPINNER_FRAMES: Final = 12
_SPINNER_HUNDREDTHS: Final = 8

_SKY_SHADES: Final = 128
_RIDGES: Final = ((0.52, 0.10, 1.7, (96, 112, 148)), (0.66, 0.08, 2.9, (64, 84, 104)), (0.80, 0.06, 4.3, (30, 48, 52)))
"""Of each range of hills: height of its foot, height of its tops, how jagged it is, its colour."""

ARTIST: Final = "Sample Photographer"
COPYRIGHT: Final = "(c) Content Platform samples"


def make_samples(folder: Path) -> tuple[Path, ...]:
    """Write a turned photograph with credit and place, a transparent logo, an animation and a text into ``folder``."""
    logo, spinner, text = folder / "logo.png", folder / "spinner.gif", folder / "notes.txt"
    logo.write_bytes(_png(*_LOGO_SIZE, 6, b"", _logo_rows(*_LOGO_SIZE)))
    spinner.write_bytes(_gif(*_SPINNER_SIZE, [_spinner_pixels(frame) for frame in range(_SPINNER_FRAMES)]))
    text.write_text("Not a picture: kept as it is, with its facts.\n", encoding="utf-8")
    return sample_photo(folder), logo, spinner, text


def sample_photo(folder: Path) -> Path:
    """Write a JPEG into ``folder`` that is upright once its EXIF orientation is applied."""
    width, height = _PHOTO_SIZE
    palette = b"".join(bytes(colour) for colour in _landscape_colours())
    processor = LocalMediaProcessor()
    with tempfile.TemporaryDirectory() as name:
        drawing, scratch = Path(name) / "drawing.png", Path(name) / "scratch"
        scratch.mkdir()
        drawing.write_bytes(_png(width, height, 3, palette, _turned(_landscape_rows(height, width))))
        try:
            rendered = processor.process_image(drawing, scratch)
            jpeg = next(file.path for file in rendered.files if file.name == "medium").read_bytes()
        finally:
            processor.close()
    photo = folder / "hills at dusk.jpg"
    photo.write_bytes(_with_exif(jpeg))
    return photo


# -- drawing ---------------------------------------------------------------------------------------------------------


def _landscape_colours() -> list[tuple[int, int, int]]:
    """The palette: the sky from top to horizon, then the hills from far to near, then the sun."""
    shares = [shade / (_SKY_SHADES - 1) for shade in range(_SKY_SHADES)]
    sky = [(round(60 + 190 * share), round(90 + 90 * share), round(170 - 60 * share)) for share in shares]
    return [*sky, *(colour for *_, colour in _RIDGES), (255, 236, 190)]


def _landscape_rows(width: int, height: int) -> list[bytes]:
    """Hills under an evening sky, as rows of palette indexes."""
    tops = [[_ridge_top(ridge, column / width) * height for column in range(width)] for ridge in _RIDGES]
    nearest_first = list(enumerate(tops))[::-1]
    sun, radius = _SKY_SHADES + len(_RIDGES), width * 0.07
    rows = []
    for row in range(height):
        shade = min(_SKY_SHADES - 1, row * _SKY_SHADES // int(height * 0.7))
        half = math.sqrt(max(0.0, radius**2 - (row - height * 0.4) ** 2))
        indexes = bytearray([shade]) * width
        for column in range(width):
            if abs(column - width * 0.68) < half:
                indexes[column] = sun
            for ridge, top in nearest_first:
                if row >= top[column]:
                    indexes[column] = _SKY_SHADES + ridge
                    break
        rows.append(bytes(indexes))
    return rows


def _ridge_top(ridge: tuple[float, float, float, tuple[int, int, int]], place: float) -> float:
    foot, tops, jagged, _ = ridge
    waves = math.sin(place * jagged * 5) + 0.5 * math.sin(place * jagged * 13 + 1) + 0.2 * math.sin(place * jagged * 41)
    return foot - tops * waves / 1.7


def _turned(rows: list[bytes]) -> list[bytes]:
    """The picture lying on its left side, as a camera held upright stores it; orientation 6 turns it back."""
    return [bytes(column) for column in list(zip(*rows, strict=True))[::-1]]


def _logo_rows(width: int, height: int) -> Iterable[bytes]:
    """A teal ring on nothing, with soft edges."""
    middle, outer, inner = width / 2, width * 0.46, width * 0.28
    for row in range(height):
        pixels = bytearray()
        for column in range(width):
            distance = math.hypot(column - middle, row - height / 2)
            cover = min(1.0, max(0.0, min(outer - distance, distance - inner)))
            pixels += bytes((0, 128, 128, round(255 * cover)))
        yield bytes(pixels)


def _spinner_pixels(frame: int) -> bytes:
    """A bright dot that goes round on black, as palette indexes 0 to 3."""
    width, height = _SPINNER_SIZE
    angle = 2 * math.pi * frame / _SPINNER_FRAMES
    x, y = width / 2 + 40 * math.cos(angle), height / 2 + 40 * math.sin(angle)
    return bytes(
        3 if math.hypot(column - x, row - y) < 12 else 1 if (row // 12 + column // 12) % 2 else 0
        for row in range(height)
        for column in range(width)
    )


# -- file formats ----------------------------------------------------------------------------------------------------


def _png(width: int, height: int, colour_type: int, palette: bytes, rows: Iterable[bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    if palette:
        chunks.insert(1, (b"PLTE", palette))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _gif(width: int, height: int, frames: list[bytes]) -> bytes:
    """An endless animation of four colours."""
    palette = bytes((0, 0, 0, 32, 40, 48, 128, 128, 128, 255, 180, 0))
    parts = [b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + palette]
    parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
    for pixels in frames:
        parts.append(b"\x21\xf9\x04\x04" + struct.pack("<HBB", _SPINNER_HUNDREDTHS, 0, 0))
        parts.append(b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x07" + _gif_codes(pixels))
    return b"".join(parts) + b"\x3b"


def _gif_codes(pixels: bytes) -> bytes:
    """LZW without the compression: a clear code often enough that every code stays eight bits wide, one byte each."""
    clear, end, run = 0x80, 0x81, 0x7D
    codes = bytearray()
    for start in range(0, len(pixels), run):
        codes.append(clear)
        codes += pixels[start : start + run]
    codes.append(end)
    blocks = (codes[start : start + 255] for start in range(0, len(codes), 255))
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def _with_exif(jpeg: bytes) -> bytes:
    """``jpeg`` as a phone would have written it."""
    ascii_type, short_type, long_type, rational_type = 2, 3, 4, 5
    main = [
        (0x010F, ascii_type, b"Sample\0"),
        (0x0112, short_type, struct.pack("<H", 6)),
        (0x013B, ascii_type, ARTIST.encode() + b"\0"),
        (0x8298, ascii_type, COPYRIGHT.encode() + b"\0"),
        (0x8825, long_type, bytes(4)),
    ]
    gps = [
        (1, ascii_type, b"N\0"),
        (2, rational_type, struct.pack("<6I", 51, 1, 28, 1, 4012, 100)),
        (3, ascii_type, b"W\0"),
        (4, rational_type, struct.pack("<6I", 0, 1, 0, 1, 531, 100)),
    ]
    place = 8 + len(_directory(main, 8))
    main[-1] = (0x8825, long_type, struct.pack("<I", place))
    block = b"Exif\0\0II*\0\x08\0\0\0" + _directory(main, 8) + _directory(gps, place)
    return jpeg[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(block) + 2) + block + jpeg[2:]


def _directory(entries: list[tuple[int, int, bytes]], place: int) -> bytes:
    """One TIFF directory that begins at ``place``, with its long values behind it."""
    unit_bytes = {2: 1, 3: 2, 4: 4, 5: 8}
    table, values = struct.pack("<H", len(entries)), b""
    start = place + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        short = value if len(value) <= 4 else struct.pack("<I", start + len(values))
        table += struct.pack("<HHI", tag, kind, len(value) // unit_bytes[kind]) + short.ljust(4, b"\0")
        values += b"" if len(value) <= 4 else value
    return table + bytes(4) + values
