"""What a file is by its bytes, what its name claims, and when the two contradict each other."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sample_media
from contentplatform.media import MediaKind
from contentplatform.processing.presets import ALLOWED_LOADERS
from contentplatform.processing.probe import (
    EXTENSION_TYPES,
    HEAD_SIZE_BYTES,
    Sniffed,
    claimed_type,
    mismatch,
    named,
    sniff,
)


def sniffed(content: bytes) -> tuple[str, str]:
    found = sniff(content[:HEAD_SIZE_BYTES], len(content))
    return found.content_type, found.kind.value


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + major + bytes(4) + brands + bytes(64)


def ogg(codec: bytes) -> bytes:
    return b"OggS\0\x02" + bytes(20) + b"\x01\x1e" + codec + bytes(40)


def mp3_frames(count: int) -> bytes:
    return (b"\xff\xfb\x90\x00" + bytes(413)) * count


def adts_frames(count: int) -> bytes:
    return (b"\xff\xf1\x50\x80\x0c\x9f\xfc" + bytes(93)) * count


def zipped(*names: str, first: bytes = b"x") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, first)
    return stream.getvalue()


def riff(form: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + form + bytes(100)


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
OPEN_TEXT = "application/vnd.oasis.opendocument.text"

KNOWN = {
    "matroska": (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska" + bytes(50), "video/x-matroska", "video"),
    "webm": (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm" + bytes(50), "video/webm", "video"),
    "mp4": (ftyp(b"isom", b"iso2", b"mp41"), "video/mp4", "video"),
    "quicktime": (ftyp(b"qt  "), "video/quicktime", "video"),
    "old quicktime": (b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(30), "video/quicktime", "video"),
    "3gpp": (ftyp(b"3gp5"), "video/3gpp", "video"),
    "m4a": (ftyp(b"M4A ", b"isom"), "audio/mp4", "audio"),
    "heic": (ftyp(b"heic", b"mif1"), "image/heic", "image"),
    "heic under the general brand": (ftyp(b"mif1", b"heic"), "image/heic", "image"),
    "avif under the general brand": (ftyp(b"mif1", b"miaf", b"avif"), "image/avif", "image"),
    "heif of no known codec": (ftyp(b"mif1", b"unci"), "image/heif", "image"),
    "avif sequence": (ftyp(b"avis", b"avif"), "image/avif", "image"),
    "avi": (riff(b"AVI "), "video/x-msvideo", "video"),
    "wav": (riff(b"WAVE"), "audio/wav", "audio"),
    "other riff": (riff(b"RMID"), "application/octet-stream", "generic"),
    "flac": (b"fLaC\0\0\0\x22" + bytes(34), "audio/flac", "audio"),
    "aiff": (b"FORM\0\0\0\x20AIFF" + bytes(30), "audio/aiff", "audio"),
    "midi": (b"MThd\0\0\0\x06\0\0\0\1\0\x60", "audio/midi", "audio"),
    "opus": (ogg(b"OpusHead"), "audio/ogg", "audio"),
    "vorbis": (ogg(b"\x01vorbis"), "audio/ogg", "audio"),
    "theora": (ogg(b"\x80theora"), "video/ogg", "video"),
    "a film whose sound comes first": (ogg(b"\x01vorbis") + ogg(b"\x80theora"), "video/ogg", "video"),
    "ogg of no known codec": (ogg(b"whatever"), "application/ogg", "generic"),
    "mp3 with a tag": (b"ID3\x04\0\0\0\0\x0f\x76" + bytes(100), "audio/mpeg", "audio"),
    "mp3 without a tag": (mp3_frames(5), "audio/mpeg", "audio"),
    "mp3 of one frame": (mp3_frames(1), "audio/mpeg", "audio"),
    "wavpack": (b"wvpk" + struct.pack("<IH", 100, 0x410) + bytes(90), "audio/x-wavpack", "audio"),
    "mp2": ((b"\xff\xfd\x84\x00" + bytes(380)) * 5, "audio/mpeg", "audio"),
    "mp2 of half the rate": ((b"\xff\xf5\x82\x00" + bytes(414)) * 5, "audio/mpeg", "audio"),
    "mp2 of a version that has none": ((b"\xff\xe5\x82\x00" + bytes(414)) * 5, "application/octet-stream", "generic"),
    "a frame's header by chance": (b"\xff\xfb\x90\x00" + bytes(3_000), "application/octet-stream", "generic"),
    "aac": (adts_frames(5), "audio/aac", "audio"),
    "transport stream": ((b"\x47\x40\x11\x10" + bytes(184)) * 10, "video/mp2t", "video"),
    "blu-ray stream": ((bytes(4) + b"\x47\x40\x11\x10" + bytes(184)) * 10, "video/mp2t", "video"),
    "program stream": (b"\0\0\x01\xba\x44" + bytes(50), "video/mpeg", "video"),
    "flash": (b"FLV\x01\x05" + bytes(50), "video/x-flv", "video"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "application/pdf", "document"),
    "word": (zipped("[Content_Types].xml", "word/document.xml"), WORD, "document"),
    "spreadsheet": (zipped("_rels/.rels", "xl/workbook.xml"), SHEET, "document"),
    "open document": (zipped("mimetype", first=OPEN_TEXT.encode()), OPEN_TEXT, "document"),
    "zip": (zipped("a.txt"), "application/zip", "generic"),
    "a zip that names a folder word": (zipped("a.txt", "word/x"), "application/zip", "generic"),
    "empty zip": (zipped(), "application/zip", "generic"),
    "rtf": (b"{\\rtf1\\ansi}", "application/rtf", "generic"),
    "gzip": (gzip.compress(b"x", mtime=0), "application/gzip", "generic"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "application/x-7z-compressed", "generic"),
    "photoshop": (b"8BPS\0\x01" + bytes(30), "image/vnd.adobe.photoshop", "image"),
    "html": (b"\n <!DOCTYPE html><html><body>", "text/html", "document"),
    "html without a type": (b"<p>hello</p><script>alert(1)</script>", "text/html", "document"),
    "svg": (b'<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", "generic"),
    "svg with a prefix": (b'<s:svg xmlns:s="http://www.w3.org/2000/svg"/>', "image/svg+xml", "generic"),
    "xml": (b'<?xml version="1.0"?><feed/>', "application/xml", "generic"),
    "json": (b'{"a": [1, 2]}', "application/json", "document"),
    "text": ("Grüße, 你好\n".encode(), "text/plain", "document"),
    "text with a mark": ("\ufeffGrüße".encode(), "text/plain", "document"),
    "text in UTF-16": ("\ufeffGrüße".encode("utf-16-le"), "text/plain", "document"),
    "html in UTF-16": ("\ufeff<html><body>".encode("utf-16-be"), "text/html", "document"),
    "text in Latin-1": (b"Gr\xfc\xdfe aus M\xfcnchen", "text/plain", "document"),
    "html in Latin-1": (b"<html><title>M\xfcnchen</title>", "text/html", "document"),
    "text in windows-1251 is no text we know": (
        "Привет, мир".encode("windows-1251"),
        "application/octet-stream",
        "generic",
    ),
    "numbers": (bytes(range(256)), "application/octet-stream", "generic"),
    "nothing": (b"", "application/x-empty", "generic"),
    "a bitmap's letters in a text": (b"BMW is a car maker", "text/plain", "document"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_file_is_known_by_its_bytes(name: str) -> None:
    content, content_type, kind = KNOWN[name]
    assert sniffed(content) == (content_type, kind)


@pytest.mark.parametrize(
    ("format_name", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
        ("BMP", "image/bmp"),
        ("ICO", "image/vnd.microsoft.icon"),
        ("AVIF", "image/avif"),
    ],
)
def test_real_encoders_pictures_are_known(format_name: str, content_type: str) -> None:
    content = sample_media.encoded(sample_media.photo(64, 64), format_name)
    assert sniffed(content) == (content_type, "image")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("iphone.heic", "image/heic"),
        ("cockatoo.mp4", "video/mp4"),
        ("waltz.ogg", "audio/ogg"),
        ("robin.ogg", "audio/ogg"),
        ("four_pages.pdf", "application/pdf"),
        ("newtonscradle.gif", "image/gif"),
    ],
)
def test_real_files_are_known(shared_media: Path, name: str, content_type: str) -> None:
    assert sniffed((shared_media / name).read_bytes())[0] == content_type


def test_a_character_cut_by_the_window_is_still_text() -> None:
    text = ("é" * HEAD_SIZE_BYTES).encode()
    assert sniff(b"x" + text[: HEAD_SIZE_BYTES - 1], len(text)).content_type == "text/plain"


@given(st.binary(max_size=400))
def test_any_bytes_are_something(content: bytes) -> None:
    found = sniff(content, len(content))
    assert "/" in found.content_type
    assert isinstance(found.kind, MediaKind)


@given(st.sampled_from([content for content, *_ in KNOWN.values()]), st.integers(0, 80), st.binary(max_size=40))
def test_the_beginning_of_anything_with_anything_behind_it_is_something(
    content: bytes, size: int, behind: bytes
) -> None:
    start = content[:size] + behind
    assert "/" in sniff(start, len(start)).content_type


# -- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "client", "claim"),
    [
        ("a/photo.JPG", None, "image/jpeg"),
        ("photo.jpg", "image/png", "image/png"),
        ("photo.jpg", "Image/PNG; charset=x", "image/png"),
        ("photo.jpg", "application/octet-stream", "image/jpeg"),
        ("photo.jpg", "binary/octet-stream", "image/jpeg"),
        ("photo.jpg", "nonsense", "image/jpeg"),
        ("v1.2/photo", None, None),
        (".jpg", None, None),
        ("noextension", "", None),
        ("what.ever", None, None),
    ],
)
def test_what_a_file_claims_to_be(key: str, client: str | None, claim: str | None) -> None:
    assert claimed_type(key, client) == claim


TEXT = Sniffed("text/plain", MediaKind.DOCUMENT)
PNG = Sniffed("image/png", MediaKind.IMAGE)
MP4 = Sniffed("video/mp4", MediaKind.VIDEO)


@pytest.mark.parametrize(
    ("claim", "found", "reason"),
    [
        ("image/jpeg", TEXT, "says image/jpeg, is text/plain"),
        ("video/mp4", TEXT, "says video/mp4, is text/plain"),
        ("audio/mpeg", sniff(bytes(range(256)), 256), "says audio/mpeg, is no known type"),
        ("image/png", sniff(b"", 0), "says image/png, is empty"),
        ("image/jpeg", PNG, None),
        ("image/jpeg", MP4, "says image/jpeg, is video/mp4"),
        ("video/mp4", PNG, "says video/mp4, is image/png"),
        ("video/mp4", Sniffed("audio/mpeg", MediaKind.AUDIO), "says video/mp4, is audio/mpeg"),
        ("video/mp4", Sniffed("audio/mp4", MediaKind.AUDIO), None),
        ("audio/ogg", Sniffed("video/ogg", MediaKind.VIDEO), None),
        ("image/jpeg", Sniffed("application/pdf", MediaKind.DOCUMENT), "says image/jpeg, is application/pdf"),
        ("image/svg+xml", Sniffed("image/svg+xml", MediaKind.GENERIC), None),
        ("application/pdf", TEXT, None),
        ("text/plain", PNG, None),
        (None, TEXT, None),
    ],
)
def test_a_claim_of_another_family_is_told_in_words(claim: str | None, found: Sniffed, reason: str | None) -> None:
    assert mismatch(claim, found) == reason


@pytest.mark.parametrize(
    ("claim", "found", "content_type"),
    [
        ("text/csv", TEXT, "text/csv"),
        ("text/markdown", TEXT, "text/markdown"),
        ("text/html", TEXT, "text/plain"),
        ("application/pdf", TEXT, "text/plain"),
        (None, TEXT, "text/plain"),
        ("text/csv", PNG, "image/png"),
    ],
)
def test_a_claim_only_tells_one_kind_of_plain_text_from_another(
    claim: str | None, found: Sniffed, content_type: str
) -> None:
    assert named(found, claim) == Sniffed(content_type, found.kind)


def test_every_type_with_a_decoder_has_an_extension() -> None:
    assert {loader.content_type for loader in ALLOWED_LOADERS} <= set(EXTENSION_TYPES.values())
