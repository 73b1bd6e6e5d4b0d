"""Texts that are written so that reading them takes for ever, or ends in an error of ours: each is read to its end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import document_files
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.embedded import Embedded, describe
from contentplatform.processing.jobs import cues, escapes, markup, office, pdf, text
from contentplatform.processing.jobs.cues import Cue, CueReader
from contentplatform.processing.presets import DocumentLimits
from document_files import ODS
from work_guard import work_that_ends

LIMITS = DocumentLimits()
READINGS = 50
"""Of a text that is cut at 64 KB: once, its square is a matter of seconds."""
CUT_READINGS = 3
"""Of what is long to read once, and held within bounds by how little of its text is kept."""


@contextmanager
def descriptor_of(content: bytes, folder: Path, size_bytes: int | None = None) -> Iterator[int]:
    path = folder / "source"
    path.write_bytes(content)
    if size_bytes is not None:
        os.truncate(path, size_bytes)
    with path.open("rb") as stream:
        yield stream.fileno()


# -- subtitles -------------------------------------------------------------------------------------------------------

STYLED = b"a" * 30_000
STYLES = struct.pack(">HHHBBI", 0, 30_000, 1, 1, 10, 0xFFFF_FFFF) * 2_900
PAYLOADS = {
    "a tag that never ends, WebVTT": ("webvtt", b"<" + b"a" * 60_000),
    "a tag that never ends, SubRip": ("subrip", b"<" + b"a" * 60_000),
    "thousands of them": ("webvtt", b"<a" * 30_000),
    "a reset that never ends": ("ass", rb"0,0,Default,,0,0,0,,{\r" + b" " * 60_000 + b"\nx}"),
    "blanks in front of nothing": ("ass", b"0,0,Default,,0,0,0,,{\\" + b" " * 60_000 + b"x}"),
    "overrides without end": ("ass", b"0,0,Default,,0,0,0,,{" + rb"\b1" * 20_000 + b"}x"),
    "styles upon styles": (
        "mov_text",
        struct.pack(">H", len(STYLED)) + STYLED + struct.pack(">I4sH", len(STYLES) + 10, b"styl", 2_900) + STYLES,
    ),
    "boxes in boxes": ("webvtt", b"\0\0\xff\xf8vttc" + struct.pack(">I4s", 8, b"none") * 8_000),
    "references of thousands of digits": ("webvtt", b"&#" + b"1" * 6_000 + b"; &#x" + b"f" * 6_000 + b";"),
}
CUT = frozenset({"styles upon styles", "overrides without end"})


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_subtitle_is_read_in_no_time(name: str) -> None:
    codec, payload = PAYLOADS[name]
    with work_that_ends():
        for _ in range(CUT_READINGS if name in CUT else READINGS):
            found = CueReader(codec).cue(payload, 0, 1)
    assert found is None or len(found.text) <= 5 * 4_000


def test_styles_with_numbers_of_thousands_of_digits_are_ordinary_ones() -> None:
    header = b"[V4+ Styles]\nFormat: Name, Alignment\nStyle: Default," + b"9" * 5_000 + b"\nPlayResY: " + b"9" * 5_000
    found = CueReader("ass", header).cue(b"0,0,Default,,0,0,0,,words", 0, 1)
    assert found is not None
    assert found.text == "words"


def test_fifty_thousand_cues_at_once_that_never_end() -> None:
    at_once = [Cue(1.0, 0.0, f"words {number}") for number in range(cues.MOST_CUES)]
    with work_that_ends():
        whole = cues.webvtt(at_once, until_seconds=10, limit_bytes=1 << 20)
    assert whole.count("00:00:01.000 --> 00:00:08.000") > 10_000


# -- documents -------------------------------------------------------------------------------------------------------

PAGES = {
    "a reference of thousands of digits": "<p>&#" + "1" * 6_000 + ";</p>",
    "references of thousands of digits": "&#x" + "f" * 6_000 + ";" + "&#9" * 100_000,
    "signs that begin nothing": "<" * 200_000,
    "tags that never end": "<a " * 300_000,
    "comments that never end": "<!--" * 200_000,
    "scripts that never end": "<script>" * 100_000,
    "titles that never end": "<title>" * 100_000,
    "ends without beginnings": "</p>" * 200_000,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_in_no_time(name: str) -> None:
    with work_that_ends():
        text.read_html(PAGES[name], LIMITS.text_characters)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("&#38;&amp;&#x26;", "&&&"),
        ("&#000000000000000000038;", "\N{REPLACEMENT CHARACTER}"),
        ("&#" + "9" * 5_000, "\N{REPLACEMENT CHARACTER}"),
        ("&#x" + "A" * 5_000 + ";x", "\N{REPLACEMENT CHARACTER}x"),
    ],
)
def test_references_never_fail(written: str, meant: str) -> None:
    assert escapes.unescaped(written) == meant


def test_tables_that_never_end() -> None:
    for content in ('"' + "a,\n" * 300_000, ",\n" * 500_000, '"' * 500_000, "a" * 900_000, "\0,\r" * 200_000):
        with work_that_ends():
            text._rows(content, ",", LIMITS.rows)


LONG = b"a" * (10 << 20)
TAGS = {
    "an attribute": b'<x y="' + LONG + b'"/>',
    "a comment": b"<x><!--" + LONG + b"--></x>",
    "an instruction": b"<x><?a " + LONG + b"?></x>",
    "a name": b"<" + LONG + b"/>",
    "an ending": b"<x></x" + LONG,
}


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_of_megabytes_is_refused_before_it_is_read_again_and_again(name: str) -> None:
    content = TAGS[name]
    pieces = (content[place : place + (1 << 16)] for place in range(0, len(content), 1 << 16))
    with pytest.raises(ProcessingFailed) as caught:
        markup.walk(pieces, LIMITS.xml_depth)
    assert sum(map(len, pieces)) > len(content) / 2, "the rest is not even looked at"
    assert (caught.value.code, caught.value.why) == (ErrorCode.LIMIT, "one of its tags is too long")


def test_megabytes_of_text_and_of_short_tags_are_no_such_tag() -> None:
    words: list[int] = []
    content = b"<x>" + b"a" * (8 << 20) + b"<y/>" * 100_000 + b"<![CDATA[" + b"b" * (8 << 20) + b"]]></x>"
    pieces = (content[place : place + (1 << 16)] for place in range(0, len(content), 1 << 16))
    markup.walk(pieces, LIMITS.xml_depth, text=lambda piece: words.append(len(piece)))
    assert sum(words) == 16 << 20


def test_a_cell_of_a_hundred_thousand_paragraphs(tmp_path: Path) -> None:
    cell = "<table:table-cell>" + "".join(f"<text:p>{n}</text:p>" for n in range(100_000)) + "</table:table-cell>"
    body = f"<table:table><table:table-row>{cell}</table:table-row></table:table>"
    content = document_files.zipped(document_files.open_document_parts(ODS, body), stored=("mimetype",))
    with descriptor_of(content, tmp_path) as source, work_that_ends():
        assert len(office.read_office(source, ODS, LIMITS).text.strip()) == 32_767


# -- XMP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [25, 900])
def test_descriptions_within_descriptions(depth: int) -> None:
    """The properties are in the innermost of them, so each of them had to be looked through for each property."""
    names = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    inner = "<rdf:Description>" * depth + "<dc:title/>" * 18_000 + "</rdf:Description>" * depth
    with work_that_ends():
        found = describe(Embedded(xmp=f"<rdf:RDF {names}>{inner}</rdf:RDF>".encode()))
    assert found.descriptive == {}


# -- PDF -------------------------------------------------------------------------------------------------------------


def test_halves_of_characters_are_left_out(tmp_path: Path) -> None:
    bookmark = b"<< /Title <FEFFD83D0041D800> /Parent 10 0 R /Next 11 0 R /Dest [99 0 R /Fit] >>"
    content = document_files.pdf(
        info=b"/Title <FEFFD83D0041> /Author <FEFFDC00DC00> /Producer (a\\000b\x1b[31m)",
        catalog=b"/Outlines 10 0 R",
        objects=[b"<< /First 11 0 R /Last 11 0 R /Count 1 >>", bookmark],
    )
    with descriptor_of(content, tmp_path) as source:
        reading = pdf.read_pdf(source, document_files.PDF, LIMITS)
    assert reading.descriptive == {"title": "A"}
    assert [entry["title"] for entry in reading.metadata["outline"]] == ["A"]


def test_a_hole_behind_a_pdf_is_not_looked_through(tmp_path: Path) -> None:
    with descriptor_of(document_files.pdf(), tmp_path, 20 << 30) as source:
        before = bytes_read()
        with pytest.raises(ProcessingFailed) as caught:
            pdf.read_pdf(source, document_files.PDF, LIMITS)
        assert caught.value.code is ErrorCode.LIMIT
        assert bytes_read() - before < 1 << 30


def bytes_read() -> int:
    """How much this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])
