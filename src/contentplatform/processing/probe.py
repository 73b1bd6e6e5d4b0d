"""What a file is, by its first bytes: a table, in plain Python, because servers call it on bytes that nobody trusts.

Nothing is parsed here but fixed offsets, and the first directory of a TIFF. ``sniff`` names the type, ``claimed_type``
what the file's name or its client says, ``named`` which kind of text it is then, ``mismatch`` why the two can't both be
true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contentplatform.media import OCTET_STREAM, MediaKind, file_extension
from contentplatform.processing.port import MediaFacts
from contentplatform.processing.raw_types import RAW_EXTENSIONS, raw_type

HEAD_SIZE_BYTES: Final = 16 * 1024
"""How much of a file's beginning ``sniff`` wants; less is enough for most."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What the bytes are."""

    content_type: str
    kind: MediaKind


_IMAGE, _VIDEO, _AUDIO = MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO
_DOCUMENT, _GENERIC = MediaKind.DOCUMENT, MediaKind.GENERIC

EMPTY: Final = Sniffed("application/x-empty", _GENERIC)
_BINARY: Final = Sniffed(OCTET_STREAM, _GENERIC)


@dataclass(frozen=True, slots=True)
class _Signature:
    """A type whose bytes at ``offset`` are ``magic``, and at ``also_offset`` are ``also``."""

    magic: bytes
    content_type: str
    kind: MediaKind
    offset: int = 0
    also: bytes = b""
    also_offset: int = 0

    def matches(self, head: bytes) -> bool:
        return head.startswith(self.magic, self.offset) and head.startswith(self.also, self.also_offset)


_SIGNATURES: Final = (
    _Signature(b"\xff\xd8\xff", "image/jpeg", _IMAGE),
    _Signature(b"\x89PNG\r\n\x1a\n", "image/png", _IMAGE),
    _Signature(b"GIF87a", "image/gif", _IMAGE),
    _Signature(b"GIF89a", "image/gif", _IMAGE),
    _Signature(b"RIFF", "image/webp", _IMAGE, also=b"WEBP", also_offset=8),
    _Signature(b"II*\0", "image/tiff", _IMAGE),
    _Signature(b"MM\0*", "image/tiff", _IMAGE),
    _Signature(b"II+\0", "image/tiff", _IMAGE),
    _Signature(b"MM\0+", "image/tiff", _IMAGE),
    _Signature(b"8BPS\0\x01", "image/vnd.adobe.photoshop", _IMAGE),
    _Signature(b"8BPS\0\x02", "image/vnd.adobe.photoshop", _IMAGE),
    _Signature(b"\0\0\x01\0", "image/vnd.microsoft.icon", _IMAGE, also=b"\0", also_offset=9),
    _Signature(b"BM", "image/bmp", _IMAGE, also=b"\0\0\0\0", also_offset=6),
    _Signature(b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl", _IMAGE),
    _Signature(b"\xff\x0a", "image/jxl", _IMAGE),
    _Signature(b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2", _IMAGE),
    _Signature(b"RIFF", "video/x-msvideo", _VIDEO, also=b"AVI ", also_offset=8),
    _Signature(b"FLV\x01", "video/x-flv", _VIDEO),
    _Signature(b"\0\0\x01\xba", "video/mpeg", _VIDEO),
    _Signature(b"\0\0\x01\xb3", "video/mpeg", _VIDEO),
    _Signature(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf", _VIDEO),
    _Signature(b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02", "application/mxf", _VIDEO),
    _Signature(b"\x1f\x07\0\x3f", "video/x-dv", _VIDEO, also=b"\x3f\x07\0", also_offset=80),
    _Signature(b"\x1f\x07\0\xbf", "video/x-dv", _VIDEO, also=b"\x3f\x07\0", also_offset=80),
    _Signature(b"RIFF", "audio/wav", _AUDIO, also=b"WAVE", also_offset=8),
    _Signature(b"RF64", "audio/wav", _AUDIO, also=b"WAVE", also_offset=8),
    _Signature(b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "audio/x-w64", _AUDIO),
    _Signature(b"caff\0\x01\0\0", "audio/x-caf", _AUDIO),
    _Signature(b"fLaC", "audio/flac", _AUDIO),
    _Signature(b"wvpk", "audio/x-wavpack", _AUDIO, also=b"\x04", also_offset=9),
    _Signature(b"FORM", "audio/aiff", _AUDIO, also=b"AIFF", also_offset=8),
    _Signature(b"FORM", "audio/aiff", _AUDIO, also=b"AIFC", also_offset=8),
    _Signature(b"MThd\0\0\0\x06", "audio/midi", _AUDIO),
    _Signature(b"#!AMR", "audio/amr", _AUDIO),
    _Signature(b"%PDF-", "application/pdf", _DOCUMENT),
    _Signature(b"{\\rtf", "application/rtf", _GENERIC),
    _Signature(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", _GENERIC),
    _Signature(b"%!PS", "application/postscript", _GENERIC),
    _Signature(b"\x1f\x8b\x08", "application/gzip", _GENERIC),
    _Signature(b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", _GENERIC),
    _Signature(b"Rar!\x1a\x07", "application/vnd.rar", _GENERIC),
    _Signature(b"BZh", "application/x-bzip2", _GENERIC),
    _Signature(b"\xfd7zXZ\0", "application/x-xz", _GENERIC),
    _Signature(b"\x28\xb5\x2f\xfd", "application/zstd", _GENERIC),
    _Signature(b"ustar", "application/x-tar", _GENERIC, offset=257),
    _Signature(b"SQLite format 3\0", "application/vnd.sqlite3", _GENERIC),
    _Signature(b"\x7fELF", "application/x-executable", _GENERIC),
    _Signature(b"wOF2", "font/woff2", _GENERIC),
    _Signature(b"wOFF", "font/woff", _GENERIC),
    _Signature(b"OTTO", "font/otf", _GENERIC),
)

# Brands of the ISO base media file format, the major one first; see mp4ra.org.
_BRANDS: Final = {
    b"avif": Sniffed("image/avif", _IMAGE),
    b"avis": Sniffed("image/avif", _IMAGE),
    b"heic": Sniffed("image/heic", _IMAGE),
    b"heix": Sniffed("image/heic", _IMAGE),
    b"heim": Sniffed("image/heic", _IMAGE),
    b"heis": Sniffed("image/heic", _IMAGE),
    b"hevc": Sniffed("image/heic", _IMAGE),
    b"hevx": Sniffed("image/heic", _IMAGE),
    b"mif1": Sniffed("image/heif", _IMAGE),
    b"msf1": Sniffed("image/heif", _IMAGE),
    b"crx ": Sniffed("image/x-canon-cr3", _IMAGE),
    b"M4A ": Sniffed("audio/mp4", _AUDIO),
    b"M4B ": Sniffed("audio/mp4", _AUDIO),
    b"M4P ": Sniffed("audio/mp4", _AUDIO),
    b"F4A ": Sniffed("audio/mp4", _AUDIO),
    b"qt  ": Sniffed("video/quicktime", _VIDEO),
    b"M4V ": Sniffed("video/x-m4v", _VIDEO),
}
_GENERAL_IMAGE_BRANDS: Final = frozenset({b"mif1", b"msf1"})
_MP4: Final = Sniffed("video/mp4", _VIDEO)
_3GPP: Final = Sniffed("video/3gpp", _VIDEO)
_QUICKTIME: Final = Sniffed("video/quicktime", _VIDEO)
_OLD_QUICKTIME_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

# The codec of the first page of an Ogg stream.
_OGG_CODECS: Final = (
    (b"OpusHead", Sniffed("audio/ogg", _AUDIO)),
    (b"\x01vorbis", Sniffed("audio/ogg", _AUDIO)),
    (b"\x7fFLAC", Sniffed("audio/ogg", _AUDIO)),
    (b"Speex   ", Sniffed("audio/ogg", _AUDIO)),
    (b"\x80theora", Sniffed("video/ogg", _VIDEO)),
    (b"fishead\0", Sniffed("video/ogg", _VIDEO)),
)
_OGG_VIDEO: Final = (b"\x80theora", b"BBCD\0")

_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_ZIP_ENTRIES: Final = (
    (b"word/", f"{_OFFICE}wordprocessingml.document"),
    (b"xl/", f"{_OFFICE}spreadsheetml.sheet"),
    (b"ppt/", f"{_OFFICE}presentationml.presentation"),
)
_ZIP_MIMETYPES: Final = (
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.graphics",
    "application/epub+zip",
)

_MARKUP: Final = (
    (re.compile(rb"<svg[\s>:]|<[a-z0-9]+:svg[\s>]", re.IGNORECASE), Sniffed("image/svg+xml", _GENERIC)),
    (
        re.compile(rb"<!doctype html|<html[\s>]|<head[\s>]|<body[\s>]|<script[\s>]", re.IGNORECASE),
        Sniffed("text/html", _DOCUMENT),
    ),
    (re.compile(rb"<\?xml[\s]", re.IGNORECASE), Sniffed("application/xml", _GENERIC)),
)
_MARKUP_WINDOW_BYTES: Final = 4_096
_BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_TEXT_CONTROLS: Final = "\t\n\r\f\x1b"
_NEVER_IN_TEXT: Final = bytes({*range(0x20), 0x7F, 0x81, 0x8D, 0x8F, 0x90, 0x9D} - set(_TEXT_CONTROLS.encode()))
_MOST_BEYOND_ASCII: Final = 0.25

_MPEG_TS_PACKET: Final = 188
_SYNC_FRAMES: Final = 2

# Bit rates in kbit/s and sample rates in Hz of MPEG audio, layers II and III; 0 and 15 of the first are no numbers.
_MPEG_1, _MPEG_2, _MPEG_2_5 = 3, 2, 0
_LAYER_II, _LAYER_III = 2, 1
_MP2_RATES_V1: Final = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_MP3_RATES_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_RATES: Final = {
    (_MPEG_1, _LAYER_II): _MP2_RATES_V1,
    (_MPEG_1, _LAYER_III): _MP3_RATES_V1,
    (_MPEG_2, _LAYER_II): _RATES_V2,
    (_MPEG_2, _LAYER_III): _RATES_V2,
    (_MPEG_2_5, _LAYER_III): _RATES_V2,
}
_MPEG_SAMPLES: Final = {
    _MPEG_1: (44_100, 48_000, 32_000),
    _MPEG_2: (22_050, 24_000, 16_000),
    _MPEG_2_5: (11_025, 12_000, 8_000),
}

# Bit rates in kbit/s and sample rates in Hz of AC-3.
_DOLBY_SYNC: Final = b"\x0b\x77"
_AC3_RATES: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_SAMPLES: Final = (48_000, 44_100, 32_000)


def sniff(head: bytes, size_bytes: int) -> Sniffed:
    """What a file of ``size_bytes`` is that begins with ``head`` (``HEAD_SIZE_BYTES`` of it, or all)."""
    if size_bytes == 0 or not head:
        return EMPTY
    raw = raw_type(head)
    if raw is not None:
        return Sniffed(raw, _IMAGE)
    for signature in _SIGNATURES:
        if signature.matches(head):
            return Sniffed(signature.content_type, signature.kind)
    for recognise in _RECOGNISERS:
        found = recognise(head)
        if found is not None:
            return found
    return _BINARY


def claimed_type(key: str, client_claim: str | None) -> str | None:
    """The MIME type that the client, or else the key's extension, claims; None where neither says anything."""
    claim = (client_claim or "").partition(";")[0].strip().lower()
    if claim and claim not in _NO_CLAIMS and "/" in claim:
        return claim
    return EXTENSION_TYPES.get(file_extension(key))


def named(sniffed: Sniffed, claim: str | None) -> Sniffed:
    """What plain text is by its claim: Markdown and tables look like any other text. Everything else is what it is."""
    if sniffed.content_type == _PLAIN_TEXT and claim in _KINDS_OF_TEXT:
        return Sniffed(claim, sniffed.kind)
    return sniffed


def mismatch(claim: str | None, sniffed: Sniffed) -> str | None:
    """Why a claim to be an image, a video or a sound is untrue, in words; None if there is nothing to object to.

    A PNG that is called a JPEG is processed as the PNG that it is: only another family is a contradiction. Containers
    that hold films and sounds alike may be called either.
    """
    family = "" if claim is None else claim.partition("/")[0]
    if family not in _MEDIA_FAMILIES or claim in _NOT_RENDERED or family == sniffed.kind.value:
        return None
    if family in _FILM_OR_SOUND and sniffed.content_type in _CONTAINERS:
        return None
    return f"says {claim}, is {_in_words(sniffed)}"


def kind_of(facts: MediaFacts) -> MediaKind:
    """What a file is that was looked into: containers of films may hold nothing but sound, and that is a sound."""
    if facts.video:
        return MediaKind.VIDEO
    return MediaKind.AUDIO if facts.audio else MediaKind.GENERIC


def _in_words(sniffed: Sniffed) -> str:
    if sniffed == EMPTY:
        return "empty"
    return "no known type" if sniffed == _BINARY else sniffed.content_type


_PLAIN_TEXT: Final = "text/plain"
_KINDS_OF_TEXT: Final = frozenset({"text/csv", "text/markdown", "text/tab-separated-values"})
_NO_CLAIMS: Final = frozenset({OCTET_STREAM, "binary/octet-stream", "application/x-www-form-urlencoded", "*/*"})
_MEDIA_FAMILIES: Final = frozenset({"image", "video", "audio"})
_FILM_OR_SOUND: Final = frozenset({"video", "audio"})
_CONTAINERS: Final = frozenset(
    f"{family}/{name}"
    for family in ("audio", "video")
    for name in ("mp4", "ogg", "3gpp", "quicktime", "webm", "x-matroska", "x-m4v", "x-ms-asf")
)
_NOT_RENDERED: Final = frozenset({"image/svg+xml"})
"""Images by name that are kept as documents: an SVG is a program to a browser, and nothing here runs it."""

# A map of our own: the machine's mime.types differs from machine to machine.
EXTENSION_TYPES: Final = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "image/jpeg"),
    **dict.fromkeys(("png", "apng"), "image/png"),
    "gif": "image/gif",
    "webp": "image/webp",
    **dict.fromkeys(("tif", "tiff"), "image/tiff"),
    "bmp": "image/bmp",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "jxl": "image/jxl",
    "jp2": "image/jp2",
    "svg": "image/svg+xml",
    "ico": "image/vnd.microsoft.icon",
    "psd": "image/vnd.adobe.photoshop",
    **RAW_EXTENSIONS,
    **dict.fromkeys(("mp4", "m4v"), "video/mp4"),
    **dict.fromkeys(("mov", "qt"), "video/quicktime"),
    **dict.fromkeys(("3gp", "3g2"), "video/3gpp"),
    **dict.fromkeys(("mkv", "mka"), "video/x-matroska"),
    "webm": "video/webm",
    "avi": "video/x-msvideo",
    **dict.fromkeys(("mpg", "mpeg"), "video/mpeg"),
    **dict.fromkeys(("mts", "m2ts"), "video/mp2t"),
    "flv": "video/x-flv",
    **dict.fromkeys(("wmv", "asf", "wma"), "video/x-ms-asf"),
    "mxf": "application/mxf",
    "dv": "video/x-dv",
    **dict.fromkeys(("vob", "m2v"), "video/mpeg"),
    "ogv": "video/ogg",
    **dict.fromkeys(("mp3", "mp2"), "audio/mpeg"),
    **dict.fromkeys(("m4a", "m4b"), "audio/mp4"),
    "aac": "audio/aac",
    "wav": "audio/wav",
    "flac": "audio/flac",
    **dict.fromkeys(("ogg", "oga", "opus"), "audio/ogg"),
    **dict.fromkeys(("aif", "aiff", "aifc"), "audio/aiff"),
    **dict.fromkeys(("mid", "midi"), "audio/midi"),
    "w64": "audio/x-w64",
    "caf": "audio/x-caf",
    "amr": "audio/amr",
    "ac3": "audio/ac3",
    "eac3": "audio/eac3",
    "wv": "audio/x-wavpack",
    "pdf": "application/pdf",
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "odg": "application/vnd.oasis.opendocument.graphics",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "zip": "application/zip",
    "gz": "application/gzip",
    "7z": "application/x-7z-compressed",
    "tar": "application/x-tar",
    **dict.fromkeys(("html", "htm"), "text/html"),
    "xml": "application/xml",
    "json": "application/json",
    "csv": "text/csv",
    **dict.fromkeys(("tsv", "tab"), "text/tab-separated-values"),
    **dict.fromkeys(("md", "markdown"), "text/markdown"),
    **dict.fromkeys(("txt", "text", "log"), _PLAIN_TEXT),
}


# -- what needs more than a fixed place ------------------------------------------------------------------------------


def _base_media(head: bytes) -> Sniffed | None:
    """MP4, QuickTime, HEIF and their relatives, by the brands of the first box."""
    if head[4:8] != b"ftyp":
        return _QUICKTIME if head[4:8] in _OLD_QUICKTIME_ATOMS else None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    compatible = [head[place : place + 4] for place in range(16, end - 3, 4)]
    if major in _GENERAL_IMAGE_BRANDS:
        # The general brand says "an image"; which codec is in it is among the others.
        special = (_BRANDS[brand] for brand in compatible if brand in _BRANDS and brand not in _GENERAL_IMAGE_BRANDS)
        return next((found for found in special if found.kind is _IMAGE), _BRANDS[major])
    if major in _BRANDS:
        return _BRANDS[major]
    return _3GPP if major.startswith((b"3gp", b"3g2")) else _MP4


def _matroska(head: bytes) -> Sniffed | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    is_webm = b"\x42\x82\x84webm" in head[:64]
    return Sniffed("video/webm" if is_webm else "video/x-matroska", _VIDEO)


def _ogg(head: bytes) -> Sniffed | None:
    if not head.startswith(b"OggS\0") or len(head) < 28:
        return None
    # A film's streams all begin before any of them goes on, so its picture is found within the first pages.
    if any(codec in head[:HEAD_SIZE_BYTES] for codec in _OGG_VIDEO):
        return Sniffed("video/ogg", _VIDEO)
    codec_place = 27 + head[26]
    for codec, found in _OGG_CODECS:
        if head.startswith(codec, codec_place):
            return found
    return Sniffed("application/ogg", _GENERIC)


def _transport_stream(head: bytes) -> Sniffed | None:
    for first in (0, 4):  # M2TS has a time stamp before each packet
        packet = _MPEG_TS_PACKET + first
        syncs = head[first : first + packet * 5 : packet]
        if len(syncs) >= _SYNC_FRAMES + 1 and set(syncs) == {0x47}:
            return Sniffed("video/mp2t", _VIDEO)
    return None


def _mpeg_audio(head: bytes) -> Sniffed | None:
    """MPEG audio: an ID3 tag, or frames whose lengths lead from one header to the next."""
    if head.startswith(b"ID3") and len(head) > 10 and head[3] < 0x10 and max(head[6:10]) < 0x80:
        return Sniffed("audio/mpeg", _AUDIO)
    return Sniffed("audio/mpeg", _AUDIO) if _frames_follow(head, _mpeg_frame_bytes) else None


def _adts(head: bytes) -> Sniffed | None:
    return Sniffed("audio/aac", _AUDIO) if _frames_follow(head, _adts_frame_bytes) else None


def _dolby(head: bytes) -> Sniffed | None:
    """AC-3 and E-AC-3 without a container."""
    for frame_bytes, content_type in ((_ac3_frame_bytes, "audio/ac3"), (_eac3_frame_bytes, "audio/eac3")):
        if _frames_follow(head, frame_bytes):
            return Sniffed(content_type, _AUDIO)
    return None


def _frames_follow(head: bytes, frame_bytes: Callable[[bytes], int]) -> bool:
    """Whether two frames in a row, or one that is the whole file, begin with a header."""
    place = 0
    for _ in range(_SYNC_FRAMES):
        size = frame_bytes(head[place : place + 8])
        if size == 0:
            return False
        place += size
        if place == len(head):
            return True
    return frame_bytes(head[place : place + 8]) > 0 or place > len(head) >= HEAD_SIZE_BYTES


def _mpeg_frame_bytes(header: bytes) -> int:
    """Length of the frame of layer II or III that begins here; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version, layer, rate, sample = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 4, header[2] >> 2 & 3
    rates = _MPEG_RATES.get((version, layer))
    if rates is None or rate in {0, 15} or sample == 3:
        return 0
    # 1 152 samples a frame, but half as many in layer III of the later versions.
    factor = 72_000 if layer == _LAYER_III and version != _MPEG_1 else 144_000
    return factor * rates[rate] // _MPEG_SAMPLES[version][sample] + (header[2] >> 1 & 1)


def _adts_frame_bytes(header: bytes) -> int:
    """Length of the ADTS frame that begins here; 0 if none does."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0


def _ac3_frame_bytes(header: bytes) -> int:
    """Length of the AC-3 frame that begins here; 0 if none does."""
    if len(header) < 6 or not header.startswith(_DOLBY_SYNC) or header[5] >> 3 > 10:
        return 0
    rate, size_code = header[4] >> 6, header[4] & 0x3F
    if rate == 3 or size_code >> 1 >= len(_AC3_RATES):
        return 0
    kilobits = _AC3_RATES[size_code >> 1]
    # 1 536 samples a frame, in words of two bytes; at 44.1 kHz an odd code has one word more.
    words = kilobits * 96_000 // _AC3_SAMPLES[rate] + (size_code & 1 if rate == 1 else 0)
    return 2 * words


def _eac3_frame_bytes(header: bytes) -> int:
    """Length of the E-AC-3 frame that begins here; 0 if none does."""
    if len(header) < 6 or not header.startswith(_DOLBY_SYNC) or not 11 <= header[5] >> 3 <= 16:
        return 0
    return 2 * (((header[2] & 7) << 8 | header[3]) + 1)


def _zip(head: bytes) -> Sniffed | None:
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return None
    name_size = int.from_bytes(head[26:28], "little")
    first_name = head[30 : 30 + name_size]
    if first_name == b"mimetype":
        content = head[30 + name_size + int.from_bytes(head[28:30], "little") :]
        for content_type in sorted(_ZIP_MIMETYPES, key=len, reverse=True):
            if content.startswith(content_type.encode()):
                return Sniffed(content_type, _DOCUMENT)
    if first_name in {b"[Content_Types].xml", b"_rels/.rels"}:
        for folder, content_type in _ZIP_ENTRIES:
            if folder in head:
                return Sniffed(content_type, _DOCUMENT)
    return Sniffed("application/zip", _GENERIC)


def _text(head: bytes) -> Sniffed | None:
    """Text in UTF-8, UTF-16 or an encoding of Western Europe, and what markup it is."""
    text = _as_utf8(head)
    if text is None:
        text = _western(head)
    if text is None:
        return None
    start = text[:_MARKUP_WINDOW_BYTES].lstrip()
    if start.startswith(b"<"):
        for pattern, found in _MARKUP:
            if pattern.search(start):
                return found
    if start[:1] in {b"{", b"["} and re.match(rb'[{\[]\s*(["{\[\]}\d-]|true|false|null)', start):
        return Sniffed("application/json", _DOCUMENT)
    return Sniffed(_PLAIN_TEXT, _DOCUMENT)


def _as_utf8(head: bytes) -> bytes | None:
    """The text as UTF-8 without byte-order mark; None if these bytes are no text."""
    mark, encoding = next((known for known in _BYTE_ORDER_MARKS if head.startswith(known[0])), (b"", "utf-8"))
    body = head.removeprefix(mark)
    for cut in range(4):  # the window may cut the last character
        try:
            text = body[: len(body) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        is_text = all(character >= " " or character in _TEXT_CONTROLS for character in text)
        return text.encode("utf-8", "replace") if is_text else None
    return None


def _western(head: bytes) -> bytes | None:
    """Text in Latin-1 or windows-1252: few letters beyond ASCII, no control character, no code without a meaning."""
    beyond = sum(byte >= 0x80 for byte in head)
    if beyond > len(head) * _MOST_BEYOND_ASCII or head.translate(None, _NEVER_IN_TEXT) != head:
        return None
    return head


_RECOGNISERS: Final[tuple[Callable[[bytes], Sniffed | None], ...]] = (
    _base_media,
    _matroska,
    _ogg,
    _transport_stream,
    _mpeg_audio,
    _adts,
    _dolby,
    _zip,
    _text,
)
