"""More pictures that were made to hurt: other animations, boxes, bitmaps, and what other programs take for pictures."""

from __future__ import annotations

import struct
import zlib

import hostile_images
import sample_media

_PNG = b"\x89PNG\r\n\x1a\n"


def ico(side: int = 256) -> bytes:
    """H1: an icon whose bitmap says that it is far larger than the directory does."""
    bitmap = struct.pack("<IiiHHIIiiII", 40, 65_535, 131_070, 1, 32, 0, 0, 0, 0, 0, 0) + bytes(64)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, side & 0xFF, side & 0xFF, 0, 0, 1, 32, len(bitmap), 22) + bitmap


def apng(frames: int, side: int = 1) -> bytes:
    """H4: so many frames."""
    row = zlib.compress((b"\0" + bytes(3 * side)) * side)
    parts = [
        sample_media.chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        sample_media.chunk(b"acTL", struct.pack(">II", frames, 0)),
        sample_media.chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, side, side, 0, 0, 1, 100, 0, 0)),
        sample_media.chunk(b"IDAT", row),
    ]
    for number in range(1, frames):
        place = struct.pack(">IIIIIHHBB", 2 * number - 1, side, side, 0, 0, 1, 100, 0, 0)
        parts += [
            sample_media.chunk(b"fcTL", place),
            sample_media.chunk(b"fdAT", struct.pack(">I", 2 * number) + row),
        ]
    return _PNG + b"".join(parts) + sample_media.chunk(b"IEND", b"")


def webp(frames: int, side: int = 1) -> bytes:
    """H4: so many frames, each of one pixel, on a canvas of any size."""
    pixel = sample_media.encoded(sample_media.quarters(2, 2).crop((0, 0, 1, 1)), "WEBP", lossless=True)
    still = pixel[12:]
    frame = _chunk(b"ANMF", _three(0) + _three(0) + _three(0) + _three(0) + _three(40) + b"\0" + still)
    extended = _chunk(b"VP8X", struct.pack("<I", 0x02) + _three(side - 1) + _three(side - 1))
    body = b"WEBP" + extended + _chunk(b"ANIM", bytes(6)) + frame * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def png_suite() -> dict[str, bytes]:
    """H5: PngSuite's corrupt files, by their names, from a sound one of the same make."""
    good = sample_media.encoded(sample_media.photo(32, 32), "PNG")
    width_at = 16

    def header(place: int, value: int) -> bytes:
        changed = bytearray(good)
        changed[width_at + place] = value
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
        return bytes(changed)

    idat = good.index(b"IDAT")
    length = struct.unpack(">I", good[idat - 4 : idat])[0]
    empty = good[:16] + bytes(8) + good[24:29]
    return {
        "x00n0g01": empty + struct.pack(">I", zlib.crc32(empty[12:29])) + good[33:],
        "xcrn0g04": good.replace(b"\n", b"\r\n"),
        "xlfn0g04": good.replace(b"\r\n", b"\n"),
        **{f"xs{place}n0g01": good[: place - 1] + b"\xff" + good[place:] for place in (1, 2, 4, 7)},
        "xc1n0g08": header(9, 1),
        "xc9n2c08": header(9, 9),
        "xd0n2c08": header(8, 0),
        "xd3n2c08": header(8, 3),
        "xd9n2c08": header(8, 99),
        "xdtn0g01": good[: idat - 4] + good[idat + 8 + length :],
        "xhdn0g08": good[:29] + b"\xff\xff\xff\xff" + good[33:],
        "xcsn0g01": good[: idat + 4 + length] + b"\xff\xff\xff\xff" + good[idat + 8 + length :],
    }


def bitmaps() -> dict[str, bytes]:
    """H6: bmpsuite's bad ones: each lies in one field of the header."""
    fields = {"width": 8, "height": 8, "planes": 1, "bits": 24, "compression": 0, "colours": 0}
    lies = {
        "badbitcount": {"bits": 231},
        "badwidth": {"width": -8},
        "badheight": {"height": -(1 << 31)},
        "badplanes": {"planes": 257},
        "badpalettesize": {"bits": 8, "colours": 0x7FFF_FFFF},
        "badrle": {"bits": 8, "compression": 1},
        "badcompression": {"compression": 77},
        "reallybig": {"width": 3_000_000, "height": 2_000_000},
    }
    made = {name: _bitmap(**{**fields, **lie}) for name, lie in lies.items()}
    whole = _bitmap(**fields)
    return {
        **made,
        "badfilesize": whole[:2] + struct.pack("<I", 7) + whole[6:],
        "badoffset": whole[:10] + b"\xff" * 4 + whole[14:],
        "shortfile": whole[:60],
    }


def _bitmap(**fields: int) -> bytes:
    pixels = b"\0\xff\x80" * 64
    head = struct.pack(
        "<IiiHHIIiiII",
        *(40, fields["width"], fields["height"], fields["planes"], fields["bits"]),
        *(fields["compression"], len(pixels), 0, 0, fields["colours"], 0),
    )
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + head + pixels


def old_formats() -> dict[str, bytes]:
    """H7: the beginnings of formats whose loaders have crashed, hung, and run out of memory."""
    noise = bytes(range(256)) * 8
    return {
        "sgi": b"\x01\xda\1\1\0\3" + b"\xff" * 6 + noise,
        "j2k": b"\xff\x4f\xff\x51\0\x2f\0\0" + b"\xff" * 32 + noise,
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + noise,
        "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\xff\xff\xff\xff\xff\xff\xff\xff\0\x08\0\3" + noise,
        "dds": b"DDS " + struct.pack("<IIII", 124, 0x1007, 1 << 30, 1 << 30) + noise,
        "fli": struct.pack("<IHHHH", 0xFFFF_FFFF, 0xAF12, 0xFFFF, 0xFFFF, 0xFFFF) + noise,
        "blp": b"BLP2" + struct.pack("<IBBBBII", 1, 2, 8, 1, 1, 1 << 31, 1 << 31) + noise,
        "icns": b"icns" + struct.pack(">I4sI", 0xFFFF_FFFF, b"ic10", 0xFFFF_FFF0) + noise,
        "pcx": b"\x0a\5\1\x08" + b"\xff" * 12 + noise,
        "tga": bytes(2) + b"\x0a" + bytes(9) + b"\xff\xff\xff\xff\x20\0" + noise,
        "xcf": b"gimp xcf v011\0" + b"\xff" * 12 + noise,
        "exr": b"\x76\x2f\x31\x01\2\0\0\0" + noise,
        "fits": b"SIMPLE  =                    T" + b" " * 50 + noise,
        "pnm": b"P6\n99999999 99999999\n255\n" + noise,
    }


def boxes(content: bytes) -> dict[str, bytes]:
    """H10: an AVIF whose boxes lie about sizes, places, and each other."""

    def put(marker: bytes, offset: int, new: bytes) -> bytes:
        place = content.index(marker) + 4 + offset
        return content[:place] + new + content[place + len(new) :]

    return {
        "a size of gigapixels": put(b"ispe", 4, struct.pack(">II", 0x7FFF_FFFF, 0x7FFF_FFFF)),
        "no size": put(b"ispe", 4, bytes(8)),
        "a box within nothing": put(b"ipco", -8, struct.pack(">I", 0xFFFF_FFF0)),
        "a box of no length": put(b"iprp", -8, struct.pack(">I", 1)),
        "places far away": put(b"iloc", 4, b"\x44\x40" + b"\xff" * 12),
        "items without end": put(b"iinf", 4, b"\xff\xff"),
        "properties that are not there": put(b"ipma", 4, struct.pack(">IHBB", 1, 1, 2, 0x7F)),
        "another first picture": put(b"pitm", 4, b"\xff\xff"),
        "a codec's header of noise": put(b"av1C", 0, b"\xff" * 4),
        "pictures of noise": content[: content.index(b"mdat") + 12] + b"\x0a\x0b" * 40 + content[-40:],
        "frames of gigapixels": content[: content.index(b"mdat") + 4] + b"\x12\0\x0a\x0a\0\0\0\x7f" + b"\xff" * 64,
    }


def drawings(file_url: str, web_url: str) -> dict[str, bytes]:
    """H13, H14: drawings that run, read and call."""
    start = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    inner = {
        "script": "<script>alert(1)</script>",
        "address of script": '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        "foreign object": "<foreignObject><iframe src='javascript:alert(1)'/></foreignObject>",
        "use": f'<use xlink:href="{web_url}/x.svg#a"/>',
        "file": f'<image href="{file_url}" width="9" height="9"/>',
        "metadata service": '<image href="http://169.254.169.254/latest/meta-data/" width="9" height="9"/>',
        "web": f'<image href="{web_url}/a.png" width="9" height="9"/><style>@import url({web_url}/a.css);</style>',
        "inclusion": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text"'
        f' href="{file_url.replace("file://", ".?../../../../../../../..")}"/>',
    }
    made = {name: f"{start}>{content}</svg>".encode() for name, content in inner.items()}
    return {
        **made,
        "on load": f'{start} onload="alert(1)"/>'.encode(),
        "entity": f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "{file_url}">]>{start}>&x;</svg>'.encode(),
    }


def crafted_webps(count: int) -> list[bytes]:
    """H11: lossless pictures whose tables of codes are noise, as the ones that overflowed libwebp's in 2023."""
    whole = sample_media.encoded(sample_media.photo(160, 120), "WEBP", lossless=True)
    start = whole.index(b"VP8L") + 8 + 5
    return [
        whole[:start] + content[16:] + whole[start + 400 :]
        for content in hostile_images.mutations(whole[start - 16 : start + 400], count)
    ]


def chimeras() -> dict[str, tuple[bytes, str]]:
    """H17: files of two kinds, and the type that each is."""
    picture = sample_media.photo(64, 48)
    archive = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)
    return {
        "gifar": (sample_media.encoded(picture.convert("P"), "GIF") + archive, "image/gif"),
        "jpeg with archive": (sample_media.encoded(picture, "JPEG") + archive, "image/jpeg"),
        "pdf with archive": (b"%PDF-1.7\n" + archive, "application/pdf"),
        "page in a gif": (b"GIF89a/*<script>alert(1)</script>*/=1;" + bytes(64), "image/gif"),
        "pdf behind a page": (b"<html><script>alert(1)</script>%PDF-1.7\n", "text/html"),
    }
