"""Sample media for the demonstration and the self-check, made here: the package carries none.

PNG, GIF, WAV and PDF are simple enough to be written in plain Python. The photograph is drawn as PNG, made a JPEG by
the same sandboxed job that makes every rendition, and then told what a phone tells: that it is turned, where it was
taken, and whose it is. The film is a walk along a drawn landscape, with music and subtitles, put together by the FFmpeg
program out of our own files.
"""

from __future__ import annotations

import math
import struct
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from contentplatform.drivers import process
from contentplatform.errors import ConfigurationInvalid
from contentplatform.processing.gates import installed_program
from contentplatform.processing.local import LocalMediaProcessor

_PHOTO_SIZE: Final = (800, 600)
_LOGO_SIZE: Final = (480, 480)
_SPINNER_SIZE: Final = (160, 120)
_SPINNER_FRAMES: Final = 12
_SPINNER_HUNDREDTHS: Final = 8

_SKY_SHADES: Final = 128
_RIDGES: Final = ((0.52, 0.10, 1.7, (96, 112, 148)), (0.66, 0.08, 2.9, (64, 84, 104)), (0.80, 0.06, 4.3, (30, 48, 52)))
"""Of each range of hills: height of its foot, height of its tops, how jagged it is, its colour."""

_FILM_SIZE: Final = (640, 360)
_FILM_SECONDS: Final = 6
_WALK_PIXELS: Final = 240
_FILM_LIMIT_SECONDS: Final = 60.0
_MUSIC_RATE_HZ: Final = 24_000
_NOTES_HZ: Final = (261.63, 329.63, 392.00, 523.25, 392.00, 329.63, 261.63, 196.00)
_NOTE_SECONDS: Final = 0.75
_SUBTITLES: Final = """1
00:00:00,500 --> 00:00:02,500
Hills at dusk

2
00:00:03,000 --> 00:00:05,500
and nobody about.
"""
_PAGES: Final = (
    ("Content Platform", "A sample document with two pages.", "Its words can be found: try to search for badger."),
    ("The second page", "Only the first one is shown as a picture."),
)
SAMPLE_PAGES: Final = len(_PAGES)
SAMPLE_WORD: Final = "badger"
"""Of the document's text."""

ARTIST: Final = "Sample Photographer"
COPYRIGHT: Final = "(c) Content Platform samples"


def make_samples(folder: Path) -> tuple[Path, ...]:
    """Write samples of every kind into ``folder``.

    A turned photograph with credit and place, a transparent logo, an animation, a film with subtitles, a sound, a
    document, and a file of which nothing can be made.
    """
    logo, spinner, data = folder / "logo.png", folder / "spinner.gif", folder / "numbers.bin"
    logo.write_bytes(_png(*_LOGO_SIZE, 6, b"", _logo_rows(*_LOGO_SIZE)))
    spinner.write_bytes(_gif(*_SPINNER_SIZE, [_spinner_pixels(frame) for frame in range(_SPINNER_FRAMES)]))
    data.write_bytes(bytes(range(256)))
    return sample_photo(folder), logo, spinner, sample_film(folder), sample_sound(folder), sample_document(folder), data


def sample_film(folder: Path) -> Path:
    """Write an MP4 of six seconds into ``folder``, with sound and English subtitles.

    Raises:
        ConfigurationInvalid: there is no FFmpeg program, or it can't do this.
    """
    film = folder / "evening walk.mp4"
    width, height = _FILM_SIZE
    palette = b"".join(bytes(colour) for colour in _landscape_colours())
    with tempfile.TemporaryDirectory() as name:
        drawing, music, words = Path(name) / "drawing.png", Path(name) / "music.wav", Path(name) / "words.srt"
        drawing.write_bytes(
            _png(width + _WALK_PIXELS, height, 3, palette, _landscape_rows(width + _WALK_PIXELS, height))
        )
        music.write_bytes(_wav())
        words.write_text(_SUBTITLES, encoding="utf-8")
        walk = f"crop={width}:{height}:t*{_WALK_PIXELS / _FILM_SECONDS:g}:0,format=yuv420p"
        sources = ("-loop", "1", "-framerate", "24", "-i", str(drawing), "-i", str(music), "-i", str(words))
        encoders = ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-c:a", "aac", "-c:s", "mov_text")
        told = ("-metadata:s:s:0", "language=eng", "-metadata", "title=An evening walk")
        same = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
        arguments = (*sources, "-vf", walk, *encoders, *told, *same, "-t", str(_FILM_SECONDS), "-y", str(film))
        made = process.run(
            [str(installed_program()), "-nostdin", "-loglevel", "error", *arguments],
            doing="making a sample film",
            timeout_seconds=_FILM_LIMIT_SECONDS,
            environment={"LANG": "C.UTF-8"},
        )
    if not made.succeeded:
        raise ConfigurationInvalid(
            "making a sample film", "the FFmpeg program could not make one", private=made.last_words()
        )
    return film


def sample_sound(folder: Path) -> Path:
    """Write a WAV of a few notes into ``folder``."""
    path = folder / "music box.wav"
    path.write_bytes(_wav())
    return path


def sample_document(folder: Path) -> Path:
    """Write a PDF of two pages into ``folder``."""
    path = folder / "letter.pdf"
    path.write_bytes(_pdf(_PAGES))
    return path


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


def _wav() -> bytes:
    """Eight notes of a music box, each fading away, on two channels."""
    samples = bytearray()
    for note in _NOTES_HZ:
        for number in range(int(_NOTE_SECONDS * _MUSIC_RATE_HZ)):
            place = number / _MUSIC_RATE_HZ
            swing = math.sin(2 * math.pi * note * place) + 0.3 * math.sin(6 * math.pi * note * place)
            loud = 9_000 * math.exp(-4 * place) * min(1.0, number / 100)
            samples += struct.pack("<hh", round(loud * swing), round(0.7 * loud * swing))
    form = struct.pack("<HHIIHH", 1, 2, _MUSIC_RATE_HZ, _MUSIC_RATE_HZ * 4, 4, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _pdf(pages: Sequence[Sequence[str]]) -> bytes:
    """Pages of A5 with a headline and lines, in a font that every reader has."""
    texts = [_pdf_text(lines) for lines in pages]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(texts)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(texts):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 595] /Contents {5 + 2 * number} 0 R"
        parts.append(f"{page} /Resources << /Font << /F 3 0 R >> >> >>")
        parts.append(f"<< /Length {len(text)} >>\nstream\n{text}\nendstream")
    document, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(document))
        document += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(parts) + 1
    end = f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{len(document)}\n%%EOF\n"
    return f"{document}xref\n0 {count}\n0000000000 65535 f \n{table}{end}".encode("ascii")


def _pdf_text(lines: Sequence[str]) -> str:
    """What draws a headline and lines below it; none of ours has a character that would have to be escaped."""
    drawn = [
        f"BT /F {24 if number == 0 else 13} Tf 40 {500 - 34 * number} Td ({line}) Tj ET"
        for number, line in enumerate(lines)
    ]
    return "\n".join(drawn)


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
