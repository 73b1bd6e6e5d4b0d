"""Office documents: their text in reading order, their properties, their own picture; what is private stays out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import document_files
import sample_media
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff
from document_files import DOCX, EPUB, ODP, ODS, ODT, PPTX, XLSX, Parts, zipped

Read = Callable[[str, Parts], Rendered]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=JobLimits(wall_seconds=300, resident_bytes=512 << 20))
    yield shared
    shared.close()


@pytest.fixture
def read(processor: LocalMediaProcessor, tmp_path: Path) -> Read:
    def run(content_type: str, parts: Parts) -> Rendered:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        source.write_bytes(zipped(parts, stored=("mimetype",)))
        assert sniff(source.read_bytes()[:HEAD_SIZE_BYTES], 9).content_type == content_type
        scratch.mkdir()
        return processor.process_document(source, scratch, content_type=content_type)

    return run


def content_of(rendered: Rendered, name: str) -> bytes:
    return next(file.path for file in rendered.files if file.name == name).read_bytes()


def text_of(rendered: Rendered, name: str = "text") -> str:
    return content_of(rendered, name).decode()


def size_of(rendered: Rendered, name: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(content_of(rendered, name))).size


# -- Office Open XML -------------------------------------------------------------------------------------------------


def test_a_word_document(read: Read) -> None:
    body = (
        "<w:p><w:r><w:t>First</w:t><w:tab/><w:t xml:space='preserve'> line</w:t><w:br/><w:t>next</w:t></w:r></w:p>"
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
        "<w:p><w:del><w:r><w:delText>gone</w:delText><w:t>gone too</w:t></w:r></w:del>"
        "<w:ins><w:r><w:t>kept</w:t></w:r></w:ins>"
        "<w:r><w:instrText>HYPERLINK evil</w:instrText></w:r></w:p>"
        "<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>once</w:t></w:r></w:p></mc:Choice>"
        "<mc:Fallback><w:p><w:r><w:t>once</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>"
    )
    rendered = read(DOCX, document_files.docx_parts(body))
    assert text_of(rendered) == "First\t line\nnext\ncell\nkept\nonce\nA footnote\n"
    assert rendered.metadata["text"] == "First line next cell kept once A footnote"
    assert (rendered.metadata["format"], rendered.metadata["pages"], rendered.metadata["words"]) == ("DOCX", 7, 1234)
    assert rendered.metadata["created"] == "2024-05-06T07:08:09Z"
    assert rendered.descriptive == {
        "title": "Harvest",
        "description": "Of the year",
        "tags": ["wine", "grapes"],
        "credit": "Ada",
    }
    assert "secret" not in str(rendered.metadata)
    assert {file.name for file in rendered.files} == {"medium", "thumbnail", "text", "preview"}
    assert size_of(rendered, "medium") == (424, 600)


def test_a_workbook(read: Read) -> None:
    rows = (
        '<row><c r="A1" t="s"><v>0</v></c><c r="C1" t="s"><v>1</v></c></row>'
        '<row><c r="A2"><v>1.5</v></c><c r="B2" t="b"><v>1</v></c><c r="C2"><f>A2*2</f><v>3</v></c></row>'
        '<row><c r="A3" t="inlineStr"><is><t>inline</t></is></c><c r="B3"><f>cmd|calc</f></c>'
        '<c r="C3" t="s"><v>99999</v></c></row><row/>'
        '<row><c r="XFD5"><v>far away</v></c></row>'
    )
    rendered = read(XLSX, document_files.xlsx_parts(rows, ["Name", "Sum &amp; more"]))
    lines = text_of(rendered).splitlines()
    assert lines[:3] == ["Name\t\tSum & more", "1.5\tTRUE\t3", "inline\t=cmd|calc"]
    assert text_of(rendered, "preview").splitlines()[0] == "Name               Sum & more"
    assert (rendered.metadata["sheets"], rendered.metadata["sheet_names"]) == (2, ["Sales", "Empty"])


def test_days_and_times_of_a_workbook_are_shown_as_such(read: Read) -> None:
    cells = (
        (1, "45418"),
        (2, "45418.5"),
        (3, "0.75"),
        (0, "45418"),
        (4, "45418"),
        (1, "1e99"),
        (9, "45418"),
        (1, "2958465.9999999"),
        (1, "nan"),
        (1, "-1"),
    )
    row = "".join(f'<c s="{style}"><v>{value}</v></c>' for style, value in cells)
    parts = document_files.xlsx_parts(f"<row>{row}</row>")
    relations = str(parts["xl/_rels/workbook.xml.rels"])
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles"
    styles = f'<Relationship Id="r9" Type="{kind}" Target="styles.xml"/></Relationships>'
    parts["xl/_rels/workbook.xml.rels"] = relations.replace("</Relationships>", styles)
    parts["xl/styles.xml"] = (
        '<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd hh:mm"/>'
        '<numFmt numFmtId="165" formatCode="0.00 &quot;days&quot; [Red]"/></numFmts><cellStyleXfs><xf numFmtId="14"/>'
        '</cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="20"/>'
        '<xf numFmtId="165"/></cellXfs></styleSheet>'
    )
    shown = text_of(read(XLSX, parts)).strip().split("\t")
    assert shown[:4] == ["2024-05-06", "2024-05-06 12:00", "18:00:00", "45418"]
    assert shown[4:] == ["45418", "1e99", "45418", "2958465.9999999", "nan", "-1"]


def test_a_presentation_is_read_in_the_order_of_its_slides_without_the_speaker_s_notes(read: Read) -> None:
    rendered = read(PPTX, document_files.pptx_parts("Welcome", "Middle", "End"))
    assert text_of(rendered).split() == ["Welcome", "Middle", "End"]
    assert rendered.metadata["slides"] == 3


# -- OpenDocument and EPUB -------------------------------------------------------------------------------------------


def test_an_open_document_text(read: Read) -> None:
    body = (
        '<text:h>Heading</text:h><text:p>One<text:s text:c="3"/>two<text:tab/>three<text:line-break/>four'
        "<office:annotation><text:p>a remark</text:p></office:annotation></text:p>"
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    )
    meta = (
        "<dc:title>Open title</dc:title><meta:keyword>a</meta:keyword><meta:keyword>b</meta:keyword>"
        '<meta:document-statistic meta:page-count="3" meta:word-count="44"/>'
    )
    rendered = read(ODT, document_files.open_document_parts(ODT, body, meta=meta))
    assert text_of(rendered) == "Heading\nOne   two\tthree\nfour\n"
    assert (rendered.metadata["pages"], rendered.metadata["words"]) == (3, 44)
    assert rendered.descriptive == {"title": "Open title", "tags": ["a", "b"]}


def test_an_open_document_spreadsheet_with_a_million_empty_cells(read: Read) -> None:
    body = (
        '<table:table table:name="First"><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>'
        '<table:table-cell table:number-columns-repeated="2"><text:p>b</text:p></table:table-cell>'
        '<table:table-cell table:number-columns-repeated="1000000"/></table:table-row>'
        '<table:table-row table:number-rows-repeated="1048576"><table:table-cell/></table:table-row></table:table>'
    )
    rendered = read(ODS, document_files.open_document_parts(ODS, body))
    assert text_of(rendered) == "a\tb\tb\n"
    assert rendered.metadata["sheet_names"] == ["First"]


def test_an_open_document_presentation(read: Read) -> None:
    body = "".join(f"<draw:page><text:p>slide {number}</text:p></draw:page>" for number in (1, 2))
    rendered = read(ODP, document_files.open_document_parts(ODP, body))
    assert text_of(rendered).split() == ["slide", "1", "slide", "2"]
    assert rendered.metadata["slides"] == 2


def test_a_book(read: Read) -> None:
    chapter = "<!DOCTYPE html><html><head><title>x</title></head><body><p>Gr&uuml;&szlig;e</p><script>no()</script>"
    rendered = read(EPUB, document_files.epub_parts(chapter, "<p>The end</p>"))
    assert text_of(rendered).split() == ["Grüße", "The", "end"]
    assert rendered.descriptive == {"title": "A book", "credit": "Ada"}
    assert rendered.metadata["chapters"] == 2


# -- pictures --------------------------------------------------------------------------------------------------------


def drawing(width: int, height: int) -> bytes:
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).rectangle((0, 0, width // 2, height), fill="green")
    return sample_media.encoded(picture, "JPEG")


def test_its_own_picture_is_shown_where_it_has_one(read: Read) -> None:
    rendered = read(DOCX, {**document_files.docx_parts(), "docProps/thumbnail.jpeg": drawing(256, 192)})
    assert size_of(rendered, "medium") == (256, 192)
    assert size_of(rendered, "thumbnail") == (150, 112)


@pytest.mark.parametrize(
    "picture",
    [
        drawing(40, 30),
        b"GIF89a nonsense",
        b"<svg/>",
        sample_media.encoded(Image.new("RGB", (256, 192), "white"), "PNG"),
    ],
    ids=["a stamp", "broken", "no picture", "blank"],
)
def test_a_picture_of_no_use_gives_way_to_the_text(read: Read, picture: bytes) -> None:
    rendered = read(DOCX, {**document_files.docx_parts(), "docProps/thumbnail.jpeg": picture})
    assert size_of(rendered, "medium") == (424, 600)


def test_letters_that_can_t_be_drawn_make_no_picture(read: Read) -> None:
    parts = document_files.docx_parts("<w:p><w:r><w:t>你好世界 你好世界 你好世界 你好世界</w:t></w:r></w:p>")
    rendered = read(DOCX, {**parts, "word/footnotes.xml": "<footnotes/>"})
    assert {file.name for file in rendered.files} == {"text", "preview"}


# -- locked, hollow, broken ------------------------------------------------------------------------------------------


def test_a_locked_one_is_kept_and_told_of(read: Read) -> None:
    parts = document_files.open_document_parts(ODT, "<text:p>x</text:p>")
    rendered = read(ODT, {**parts, "META-INF/manifest.xml": "<m><encryption-data/></m>", "content.xml": b"\x8f\0\1"})
    assert rendered.files == ()
    assert rendered.metadata["note"] == "it is locked with a password"


def test_macros_objects_and_links_are_told_of(read: Read) -> None:
    parts = document_files.docx_parts(external=[("attachedTemplate", "http://127.0.0.1:9/x.dotm")])
    rendered = read(DOCX, {**parts, "word/vbaProject.bin": b"x", "word/embeddings/object1.bin": b"x"})
    facts = rendered.metadata
    assert (facts["has_macros"], facts["has_embedded_objects"], facts["has_external_references"]) == (True, True, True)


def test_links_for_people_to_click_are_no_such_thing(read: Read) -> None:
    rendered = read(DOCX, document_files.docx_parts(external=[("hyperlink", "http://example.com/")]))
    assert {"has_macros", "has_embedded_objects", "has_external_references"} & set(rendered.metadata) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"word/document.xml": "<w:document"},
        {"word/document.xml": ""},
        {"_rels/.rels": "<Relationships/>"},
        {"_rels/.rels": "nonsense"},
    ],
)
def test_a_broken_one_fails_in_words(read: Read, changes: dict[str, str]) -> None:
    with pytest.raises(ProcessingFailed, match="the document is broken or incomplete") as failure:
        read(DOCX, {**document_files.docx_parts(), **changes})
    assert failure.value.code is ErrorCode.DECODE


def test_broken_properties_never_fail_the_document(read: Read) -> None:
    rendered = read(DOCX, {**document_files.docx_parts(), "docProps/core.xml": "<a><b", "docProps/app.xml": "x"})
    assert text_of(rendered).startswith("Hello grapes")
