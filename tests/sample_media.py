"""Makes the media that tests need, so that none of it lies in the repository."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_RED, _GREEN, _BLUE, _YELLOW = (220, 30, 30), (30, 180, 40), (40, 60, 220), (230, 210, 40)

# How an upright picture is stored so that EXIF's orientation turns it upright again.
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

_ORIENTATION_TAG = 0x0112


def photo(width: int, height: int, seed: int = 1, noise: float = 4) -> Image.Image:
    """A picture with a photograph's statistics: large soft shapes, finer ones on them, edges, sensor ``noise``."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 70), (16, 35), (64, 18), (256, 9)):
        coarse = random.uniform(-strength, strength, (cells * height // max(width, height) + 1, cells, 3))
        layer = Image.fromarray((coarse + 128).clip(0, 255).astype(np.uint8))
        total += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 128
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    total += np.where((columns * 0.7 + rows) % (width / 5) < width / 11, 18, -18)[..., None]
    total += random.normal(0, noise, total.shape).astype(np.float32)
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))


def quarters(width: int, height: int) -> Image.Image:
    """Red, green, blue, yellow from the top left to the bottom right: every orientation looks different."""
    image = Image.new("RGB", (width, height))
    for colour, place in (
        (_RED, (0, 0)),
        (_GREEN, (width // 2, 0)),
        (_BLUE, (0, height // 2)),
        (_YELLOW, (width // 2, height // 2)),
    ):
        image.paste(colour, (*place, place[0] + (width + 1) // 2, place[1] + (height + 1) // 2))
    return image


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """``image`` as a file."""
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def oriented_jpeg(upright: Image.Image, orientation: int) -> bytes:
    """A JPEG that shows ``upright`` once its EXIF orientation is applied."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    return encoded(stored_turned(upright, orientation), "JPEG", quality=95, subsampling=0, exif=exif)


def stored_turned(upright: Image.Image, orientation: int) -> Image.Image:
    """``upright`` as it lies in a file of this orientation."""
    turn = _STORED[orientation]
    return upright if turn is None else upright.transpose(turn)


CREATOR, RIGHTS, CREDIT_LINE = "Zoë Müller", "© 2024 Zoë Müller", "Agency Nine"
SECRETS = (b"SN-4711-BODY", b"SN-0815-LENS", b"Olive Owner", b"secret comment", b"maker note secret", b"hidden.example")


def telling_jpeg(image: Image.Image) -> bytes:
    """A JPEG that says all that a camera and an agency write: place, serials, owner, maker note, thumbnail, credit."""
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x0110] = "a caption", "Nikon", "D850"
    exif[0x013B], exif[0x8298] = CREATOR.encode(), RIGHTS.encode()
    photo_directory = exif.get_ifd(0x8769)
    photo_directory.update(
        {
            0x829A: TiffImagePlugin.IFDRational(1, 250),
            0x829D: TiffImagePlugin.IFDRational(28, 10),
            0x8827: 400,
            0x9003: "2024:05:06 07:08:09",
            0x927C: b"maker note secret",
            0x9286: b"ASCII\0\0\0secret comment",
            0xA430: "Olive Owner",
            0xA431: "SN-4711-BODY",
            0xA435: "SN-0815-LENS",
        }
    )
    gps = exif.get_ifd(0x8825)
    gps.update({1: "S", 2: (33.0, 51.0, 24.84), 3: "E", 4: (151.0, 12.0, 54.72), 5: 0, 6: 12.5, 29: "2024:05:06"})
    return encoded(image, "JPEG", quality=92, exif=exif, comment=b"secret comment", xmp=xmp_packet())


def xmp_packet() -> bytes:
    """A packet with everything that is read, and an address that is nobody's business."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/" '
        f'photoshop:Credit="{CREDIT_LINE}" Iptc4xmpCore:CiUrlWork="https://hidden.example/">'
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li><rdf:li xml:lang="x-default">Harbour</rdf:li>'
        "</rdf:Alt></dc:title><dc:description><rdf:Alt><rdf:li>Boats &amp; gulls</rdf:li></rdf:Alt></dc:description>"
        "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li>boat</rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>"
        f"<dc:creator><rdf:Seq><rdf:li>{CREATOR}</rdf:li></rdf:Seq></dc:creator>"
        f"<dc:rights><rdf:Alt><rdf:li>{RIGHTS}</rdf:li></rdf:Alt></dc:rights>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def iptc_block(**datasets: str | list[str]) -> bytes:
    """The APP13 payload of Photoshop with an IPTC record of ``title``, ``keywords``, ``creator``, … ."""
    numbers = {"title": 5, "keywords": 25, "creator": 80, "credit": 110, "rights": 116, "caption": 120}
    record = b""
    for name, value in datasets.items():
        for text in [value] if isinstance(value, str) else value:
            raw = text.encode()
            record += struct.pack(">BBBH", 0x1C, 2, numbers[name], len(raw)) + raw
    padding = b"\0" * (len(record) % 2)
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + padding


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """``jpeg`` with one more segment behind its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + jpeg[2:]


def swapped_profile() -> bytes:
    """An RGB profile whose red is sRGB's green and whose green is sRGB's red."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def colour(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + number(x) + number(y) + number(z)

    red, green, blue = (
        colour(0.43607, 0.22249, 0.01392),
        colour(0.38515, 0.71687, 0.09708),
        colour(0.1431, 0.0606, 0.7141),
    )
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"swapped\0" + bytes(79)
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": colour(0.9642, 1.0, 0.8249),
        b"rXYZ": green,
        b"gXYZ": red,
        b"bXYZ": blue,
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content
    body = table + data
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + number(0.9642) + number(1.0) + number(0.8249)
    return header + bytes(128 - len(header)) + body


def animation(frames: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frames that all differ."""
    return [quarters(*size).rotate(360 * number / frames, fillcolor=(number, 0, 128)) for number in range(frames)]


def animated(format_name: str, frames: int, duration_milliseconds: int = 80) -> bytes:
    """An animated GIF, WebP or PNG."""
    first, *rest = animation(frames)
    return encoded(first, format_name, save_all=True, append_images=rest, duration=duration_milliseconds, loop=0)


def transparent(size: tuple[int, int] = (320, 200)) -> Image.Image:
    """An opaque red disc in the middle of nothing; the hidden pixels are black."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    inside = (columns - size[0] / 2) ** 2 + (rows - size[1] / 2) ** 2 < (min(size) / 3) ** 2
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    pixels[inside] = (220, 30, 30, 255)
    return Image.fromarray(pixels)


def deep_png(width: int = 200, height: int = 150) -> bytes:
    """A 16-bit RGB PNG, which Pillow can't write: a ramp from dark to light green."""
    ramp = np.linspace(0, 65_535, width).astype(">u2")
    row = np.zeros((width, 3), ">u2")
    row[:, 1] = ramp
    raw = (b"\0" + row.tobytes()) * height
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
