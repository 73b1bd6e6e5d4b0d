"""Documents made to hurt: nothing in them is run or fetched, each ends quickly, and the next one is read as ever."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import document_files
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.media import MediaKind
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import DocumentLimits
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff
from document_files import DOCX, ODS, ODT, PDF, XLSX, docx_parts, open_document_parts, pdf, stream, zipped

LIMITS = JobLimits(wall_seconds=300, cpu_seconds=30, resident_bytes=512 << 20)
"""What an attack may cost at most; a job that needs more is killed, and the test sees another code."""
SECRET = "canary-4711"


@dataclass
class Attack:
    """Reads one document after the other, each in a folder of its own."""

    processor: LocalMediaProcessor
    folder: Path
    count: int = 0

    def run(self, content: bytes, content_type: str = PDF) -> Rendered:
        self.count += 1
        scratch = self.folder / f"scratch-{self.count}"
        scratch.mkdir()
        source = self.folder / "source"
        source.write_bytes(content)
        return self.processor.process_document(source, scratch, content_type=content_type)

    def failure(self, content: bytes, content_type: str = PDF) -> ProcessingFailed:
        with pytest.raises(ProcessingFailed) as caught:
            self.run(content, content_type)
        return caught.value


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=LIMITS)
    yield shared
    shared.close()


@pytest.fixture
def attack(processor: LocalMediaProcessor, tmp_path: Path) -> Iterator[Attack]:
    attack = Attack(processor, tmp_path)
    yield attack
    assert text_of(attack.run(pdf())) == "Hello world\n", "the next document goes through"


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003 - the socket's own signature
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that nobody may read."""
    path = tmp_path / "canary"
    path.write_text(SECRET)
    return path


def text_of(rendered: Rendered) -> str:
    return next((file.path.read_text("utf-8") for file in rendered.files if file.name == "text"), "")


def everything_in(rendered: Rendered) -> bytes:
    files = b"".join(file.path.read_bytes() for file in rendered.files)
    return files + repr((rendered.metadata, rendered.descriptive)).encode()


# -- H28: PDF --------------------------------------------------------------------------------------------------------


def test_h28_no_action_is_run_and_each_is_told(attack: Attack, listener: str, canary: Path) -> None:
    address = listener.encode()
    actions = [
        b"<< /S /JavaScript /JS (this.submitForm\\('%s'\\); app.launchURL\\('%s'\\);) /Next 11 0 R >>"
        % (address, address),
        b"<< /S /Launch /F (/bin/sh) /Next 12 0 R >>",
        b"<< /S /URI /URI (%s) /Next 13 0 R >>" % address,
        b"<< /S /GoToR /F << /FS /URL /F (%s) >> /D [0 /Fit] >>" % address,
        b"<< /Names [(a.exe) 15 0 R] >>",
        b"<< /Type /Filespec /F (a.exe) /EF << /F 16 0 R >> >>",
        stream(b"MZ", b"/Type /EmbeddedFile"),
        stream(b"x", b"/F << /FS /URL /F (%s) >>" % address),
        stream(b"x", b"/F (%s)" % str(canary).encode()),
    ]
    content = pdf(
        [b"BT /F1 24 Tf 72 700 Td (Hello) Tj ET /I Do /J Do"],
        catalog=b"/OpenAction 10 0 R /AA << /WC 10 0 R >>"
        b" /Names << /JavaScript << /Names [(a) 10 0 R] >> /EmbeddedFiles 14 0 R >>",
        page=b"/AA << /O 10 0 R >> /Annots [<< /Type /Annot /Subtype /Link /Rect [0 0 500 500] /A 11 0 R >>]",
        resources=b"/XObject << /I 17 0 R /J 18 0 R >>",
        objects=actions,
    )
    rendered = attack.run(content)
    assert text_of(rendered) == "Hello\n"
    told = {name for name in rendered.metadata if name.startswith("has_")}
    assert told == {"has_javascript", "has_launch_action", "has_embedded_files"}
    assert SECRET.encode() not in everything_in(rendered)


def test_h28_a_form_that_would_submit_itself_is_only_drawn(attack: Attack, listener: str) -> None:
    script = b"<< /S /JavaScript /JS (this.submitForm\\('%s'\\)) >>" % listener.encode()
    field = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (typed) /DA (/F1 12 Tf) /Rect [50 50 200 80]"
        b" /A 10 0 R /AA << /C 10 0 R /F 10 0 R /K 10 0 R /V 10 0 R /PO 10 0 R /PV 10 0 R >> >>"
    )
    content = pdf(
        [b""],
        catalog=b"/AcroForm << /Fields [11 0 R] /CO [11 0 R] /NeedAppearances true /DR << /Font << /F1 3 0 R >> >> >>",
        page=b"/Annots [11 0 R]",
        objects=[script, field],
    )
    assert attack.run(content).metadata["form"] == "acroform"


def test_h28_a_million_pages_that_are_not_there_are_refused(attack: Attack) -> None:
    error = attack.failure(pdf(count=1_000_000))
    assert (error.code, error.why) == (ErrorCode.LIMIT, "it says that it has 1000000 pages; at most 10000 are read")


@pytest.mark.parametrize("count", [-1, 2**31 - 1, 2**40])
def test_h28_numbers_of_pages_that_can_t_be_end_in_order(attack: Attack, count: int) -> None:
    try:
        assert attack.run(pdf(count=count)).metadata["pages"] == 1
    except ProcessingFailed as error:
        assert error.code in {ErrorCode.LIMIT, ErrorCode.DECODE}  # noqa: PT017 - either way is in order


def test_h28_a_table_of_places_that_leads_back_to_itself_is_read_once(attack: Attack) -> None:
    whole = pdf()
    place = whole.index(b"xref\n0")
    looping = whole.replace(b"/Root 1 0 R", b"/Prev %d /Root 1 0 R" % place)
    assert text_of(attack.run(looping)) == "Hello world\n"


def test_h28_pages_within_pages_without_end(attack: Attack) -> None:
    tree = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>",
        3: b"<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 2 0 R >>",
        4: b"<< >>",
    }
    assert attack.failure(document_files.assembled(tree)).code is ErrorCode.DECODE


@pytest.mark.parametrize("size", [(1_000_000, 1_000_000), (1e30, 10), (0.001, 0.001), (10, 1_000_000)])
def test_h28_a_page_of_any_size_is_a_picture_of_ours(attack: Attack, size: tuple[float, float]) -> None:
    for file in attack.run(pdf([b"0 0 10 10 re f"], size=size)).files:
        assert (file.width or 1) <= 800
        assert (file.height or 1) <= 600


def image_of(width: int, height: int, content: bytes, dictionary: bytes) -> bytes:
    """A page that is filled with one picture."""
    head = b"/Type /XObject /Subtype /Image /Width %d /Height %d %s" % (width, height, dictionary)
    return pdf([b"595 0 0 842 0 0 cm /I Do"], objects=[stream(content, head)], resources=b"/XObject << /I 10 0 R >>")


def jpeg_2000(width: int, height: int) -> bytes:
    """The head of a picture of this size, without any pixel."""
    size = struct.pack(">HHIIIIIIIIH", 0, 0, width, height, 0, 0, width, height, 0, 0, 3)[2:] + b"\x07\1\1" * 3
    marker = b"\xff\x51" + struct.pack(">HH", len(size) + 4, 0) + size
    coding = b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0\1"
    quantum = b"\xff\x5c\0\x13\x40" + bytes(16)
    return b"\xff\x4f" + marker + coding + quantum + b"\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93" + bytes(64) + b"\xff\xd9"


def jbig2(width: int, height: int) -> bytes:
    """The page and one region of a picture of this size, without any pixel."""
    page = struct.pack(">IBBI", 0, 48, 1, 19) + struct.pack(">IIIIBH", width, height, 0, 0, 0, 0)
    region = struct.pack(">IBBI", 1, 38, 1, 26) + struct.pack(">IIIIB", width, height, 0, 0, 0) + bytes(9)
    return page + region


BOMBS = {
    "flate": image_of(
        30_000,
        30_000,
        zlib.compress(bytes(30_000 * 4_000), 9),
        b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /FlateDecode",
    ),
    "flate rgb": image_of(
        60_000,
        60_000,
        zlib.compress(bytes(1 << 20), 9),
        b"/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode",
    ),
    "jpx": image_of(60_000, 60_000, jpeg_2000(60_000, 60_000), b"/Filter /JPXDecode"),
    "jbig2": image_of(
        65_535, 65_535, jbig2(65_535, 65_535), b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /JBIG2Decode"
    ),
    "layers of flate": pdf(
        objects=[
            stream(
                zlib.compress(zlib.compress(bytes(100 << 20), 9), 9),
                b"/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Filter [/FlateDecode /FlateDecode]",
            )
        ],
        contents=[b"/I Do"],
        resources=b"/XObject << /I 10 0 R >>",
    ),
    "a form within itself": pdf(
        [b"/I Do"],
        objects=[
            stream(
                b"/I Do /I Do",
                b"/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /I 10 0 R >> >>",
            )
        ],
        resources=b"/XObject << /I 10 0 R >>",
    ),
    "brackets": pdf([b"[" * 200_000 + b"] TJ"], info=b"/Title " + b"[" * 100_000),
    "saved states": pdf([b"q " * 300_000]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_h28_bombs_end_in_a_picture_or_in_words(attack: Attack, name: str) -> None:
    try:
        files = attack.run(BOMBS[name]).files
    except ProcessingFailed as error:
        assert error.code in {ErrorCode.LIMIT, ErrorCode.DECODE, ErrorCode.TIMEOUT, ErrorCode.CRASH}  # noqa: PT017 - so is this
    else:
        assert sum(file.path.stat().st_size for file in files) < 1 << 20


def test_h28_a_drawing_without_end_is_stopped(tmp_path: Path) -> None:
    content = pdf(
        [b"/Pattern cs /P scn 0 0 595 842 re f"],
        objects=[
            stream(
                b"/Pattern cs /P scn 0 0 1 1 re f",
                b"/PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1] /XStep 0.0001 /YStep 0.0001"
                b" /Resources << /Pattern << /P 10 0 R >> >>",
            )
        ],
        resources=b"/Pattern << /P 10 0 R >>",
    )
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    source.write_bytes(content)
    scratch.mkdir()
    processor = LocalMediaProcessor(job_limits=JobLimits(wall_seconds=2))
    try:
        with pytest.raises(ProcessingFailed) as failure:
            processor.process_document(source, scratch, content_type=PDF)
    finally:
        processor.close()
    assert failure.value.code is ErrorCode.TIMEOUT


def test_h28_damaged_bytes_end_in_a_picture_or_in_words(attack: Attack) -> None:
    whole = pdf([b"BT /F1 24 Tf 72 700 Td (Hello world) Tj ET"] * 2, catalog=b"/Lang (en)")
    for place in range(9, len(whole), len(whole) // 15):
        try:
            attack.run(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        except ProcessingFailed as error:
            assert error.code in {ErrorCode.DECODE, ErrorCode.LIMIT}  # noqa: PT017 - either way is in order


# -- H29, H15: XML ---------------------------------------------------------------------------------------------------


def doctypes(canary: Path, listener: str) -> dict[str, str]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return {
        "a file": f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{canary}">]>',
        "an address": f'<!DOCTYPE d [<!ENTITY x SYSTEM "{listener}">]>',
        "parameters": f'<!DOCTYPE d [<!ENTITY % y SYSTEM "{listener}"> %y;<!ENTITY x "z">]>',
        "a definition elsewhere": f'<!DOCTYPE d SYSTEM "{listener}" [<!ENTITY x "z">]>',
        "laughs": f'<!DOCTYPE d [<!ENTITY l0 "lol">{laughs}<!ENTITY x "&l11;">]>',
    }


@pytest.mark.parametrize("which", ["a file", "an address", "parameters", "a definition elsewhere", "laughs"])
@pytest.mark.parametrize("content_type", [DOCX, ODT])
def test_h29_document_types_are_refused(
    attack: Attack, canary: Path, listener: str, which: str, content_type: str
) -> None:
    doctype = doctypes(canary, listener)[which]
    if content_type == DOCX:
        parts, name = docx_parts("<w:p><w:r><w:t>&x;</w:t></w:r></w:p>"), "word/document.xml"
    else:
        parts, name = open_document_parts(ODT, "<text:p>&x;</text:p>"), "content.xml"
    parts[name] = doctype + str(parts[name]).removeprefix('<?xml version="1.0"?>')
    assert attack.failure(zipped(parts, stored=("mimetype",)), content_type).code is ErrorCode.DECODE


def test_h29_nothing_outside_of_the_document_is_fetched(attack: Attack, listener: str, canary: Path) -> None:
    body = (
        "<w:p><w:r><w:t>Hello</w:t></w:r></w:p>"
        f'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="file://{canary}" parse="text"/>'
    )
    external = [(kind, listener) for kind in ("attachedTemplate", "oleObject", "image", "frame", "subDocument")]
    parts = docx_parts(body, external=external)
    parts["word/_rels/settings.xml.rels"] = parts["word/_rels/document.xml.rels"]
    rendered = attack.run(zipped(parts), DOCX)
    assert rendered.metadata["has_external_references"] is True
    assert text_of(rendered).startswith("Hello")
    assert SECRET.encode() not in everything_in(rendered)


def test_h29_macros_are_told_of_and_left_alone(attack: Attack) -> None:
    rendered = attack.run(zipped({**docx_parts(), "word/vbaProject.bin": b"\xd0\xcf\x11\xe0 Shell"}), DOCX)
    assert rendered.metadata["has_macros"] is True
    assert b"Shell" not in everything_in(rendered)


def test_h29_a_part_that_unpacks_to_far_more_is_refused(attack: Attack) -> None:
    parts = docx_parts("<w:p><w:r><w:t>" + "a" * (40 << 20) + "</w:t></w:r></w:p>")
    error = attack.failure(zipped(parts), DOCX)
    assert (error.code, error.why) == (ErrorCode.LIMIT, "one of its parts unpacks to far more than it is packed")


def test_h29_a_part_that_is_larger_than_it_says_is_refused(attack: Attack) -> None:
    content = document_files.relisted(zipped(docx_parts("<w:p/>" * 100_000)), "word/document.xml", unpacked=1_000)
    error = attack.failure(content, DOCX)
    assert (error.code, error.why) == (ErrorCode.LIMIT, "one of its parts unpacks to more than it says")


def test_h29_elements_without_end_are_refused(attack: Attack) -> None:
    error = attack.failure(zipped(docx_parts("<w:p>" * 5_000 + "</w:p>" * 5_000)), DOCX)
    assert (error.code, error.why) == (ErrorCode.LIMIT, "its elements are nested too deeply")


@pytest.mark.parametrize(("content_type", "attribute"), [(ODT, "text:s text:c"), (ODS, "table:table-cell table:x")])
def test_h29_repeats_without_end_are_few(attack: Attack, content_type: str, attribute: str) -> None:
    cell = '<table:table-cell table:number-columns-repeated="999999999"><text:p>x</text:p></table:table-cell>'
    body = f"<table:table><table:table-row>{cell * 1_000}</table:table-row></table:table>" + (
        f'<text:p>a<{attribute}="999999999"/>b</text:p>' * 1_000
    )
    parts = open_document_parts(content_type, body)
    assert len(text_of(attack.run(zipped(parts, stored=("mimetype",)), content_type))) <= 1_000_100


def test_h29_a_million_shared_texts_and_cells_far_away(attack: Attack) -> None:
    rows = '<row><c r="ZZZ1048576" t="s"><v>18446744073709551616</v></c><c t="s"><v>-1</v></c></row>' * 1_000
    rendered = attack.run(zipped(document_files.xlsx_parts(rows, [f"text{number}" for number in range(100_000)])), XLSX)
    assert rendered.metadata["format"] == "XLSX"


# -- H30: ZIP --------------------------------------------------------------------------------------------------------


def test_h30_a_plain_archive_is_kept_and_never_opened(attack: Attack) -> None:
    content = zipped({"../../x": b"x", "/etc/passwd": b"x", "inner.zip": zipped({"a": bytes(1 << 20)})})
    assert sniff(content[:HEAD_SIZE_BYTES], len(content)).kind is MediaKind.GENERIC
    assert attack.failure(content, "application/zip").code is ErrorCode.UNSUPPORTED


def test_h30_a_million_names_are_refused(attack: Attack) -> None:
    error = attack.failure(document_files.many_entries(1_000_000, docx_parts()), DOCX)
    assert (error.code, error.why) == (ErrorCode.LIMIT, "it holds 1000008 files; at most 10000 are possible")


def test_h30_files_that_overlap_are_refused(attack: Attack) -> None:
    parts = docx_parts()
    content = zipped(parts)
    place = content.index(b"PK\x03\x04", 40)
    error = attack.failure(document_files.relisted(content, "word/settings.xml", place=place), DOCX)
    assert (error.code, error.why) == (ErrorCode.LIMIT, "its parts overlap")


@pytest.mark.parametrize("second", ["word/document.xml", "WORD/document.XML"])
def test_h30_a_name_that_comes_twice_is_refused(attack: Attack, second: str) -> None:
    other = "w0rd/document.xml"
    content = zipped({**docx_parts(), other: b"<x/>"}).replace(other.encode(), second.encode())
    assert attack.failure(content, DOCX).code is ErrorCode.DECODE


def test_h30_a_link_is_not_followed(attack: Attack, canary: Path) -> None:
    parts = {**docx_parts(), "word/document.xml": str(canary)}
    content = document_files.relisted(zipped(parts), "word/document.xml", mode=0o120777 << 16)
    assert attack.failure(content, DOCX).code is ErrorCode.DECODE


def test_h30_names_that_lead_elsewhere_are_names(attack: Attack, tmp_path: Path) -> None:
    names = ["../../evil", "/evil", "..\\evil", "C:\\evil", "word/../../evil", "evil\0.xml"]
    before = {path.name for path in tmp_path.iterdir()}
    rendered = attack.run(zipped({**docx_parts(), **dict.fromkeys(names, b"x")}), DOCX)
    assert text_of(rendered).startswith("Hello grapes")
    assert {path.name for path in tmp_path.iterdir()} - before == {"source", "scratch-1"}
    assert {path.name for path in (tmp_path / "scratch-1").iterdir()} == {
        "medium.jpg",
        "thumbnail.jpg",
        "text.txt",
        "preview.txt",
    }


def test_h30_a_relation_that_leads_elsewhere_finds_nothing(attack: Attack, canary: Path) -> None:
    parts = docx_parts()
    parts["_rels/.rels"] = str(parts["_rels/.rels"]).replace("word/document.xml", f"../../../..{canary}")
    assert attack.failure(zipped(parts), DOCX).code is ErrorCode.DECODE


@pytest.mark.parametrize("field", ["unpacked", "packed", "place"])
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_h30_a_listing_that_lies_ends_in_words(attack: Attack, field: str, value: int) -> None:
    content = document_files.relisted(zipped(docx_parts()), "word/document.xml", **{field: value})
    assert attack.failure(content, DOCX).code in {ErrorCode.DECODE, ErrorCode.LIMIT}


def test_h30_what_is_read_counts_together(tmp_path: Path) -> None:
    processor = LocalMediaProcessor(document_limits=DocumentLimits(archive_bytes=2_000), job_limits=LIMITS)
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    source.write_bytes(zipped(docx_parts("<w:p><w:r><w:t>" + "words " * 300 + "</w:t></w:r></w:p>")))
    scratch.mkdir()
    try:
        with pytest.raises(ProcessingFailed) as failure:
            processor.process_document(source, scratch, content_type=DOCX)
    finally:
        processor.close()
    assert failure.value.code is ErrorCode.LIMIT


# -- H15, H31 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml"),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "application/xml"),
        (b'<svg><path d="' + b"M0 0L1 1" * 1_300_000 + b'"/></svg>', "image/svg+xml"),
    ],
)
def test_h15_a_drawing_or_an_xml_text_is_kept_and_read_by_nobody(
    attack: Attack, content: bytes, content_type: str
) -> None:
    found = sniff(content[:HEAD_SIZE_BYTES], len(content))
    assert (found.content_type, found.kind) == (content_type, MediaKind.GENERIC)
    assert attack.failure(content, content_type).code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("content_type", ["text/csv", "text/html", "text/markdown", "application/json"])
def test_h31_renditions_of_a_text_are_nothing_but_text(attack: Attack, content_type: str) -> None:
    rendered = attack.run(b"=cmd|' /C calc'!A0,<script>alert(1)</script>,[x](javascript:alert(1))\n", content_type)
    types = {file.name: file.content_type for file in rendered.files}
    assert types["text"] == types["preview"] == "text/plain; charset=utf-8"
    assert set(types) == {"text", "preview", "medium", "thumbnail"}
