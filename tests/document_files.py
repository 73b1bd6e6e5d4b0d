"""Documents as tests make them: PDFs of plain parts, office documents of plain XML, archives that lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

OFFICE: Final = "application/vnd.openxmlformats-officedocument."
DOCX: Final = f"{OFFICE}wordprocessingml.document"
XLSX: Final = f"{OFFICE}spreadsheetml.sheet"
PPTX: Final = f"{OFFICE}presentationml.presentation"
ODT: Final = "application/vnd.oasis.opendocument.text"
ODS: Final = "application/vnd.oasis.opendocument.spreadsheet"
ODP: Final = "application/vnd.oasis.opendocument.presentation"
EPUB: Final = "application/epub+zip"
PDF: Final = "application/pdf"

_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE_RELATIONS: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
_WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DRAWING: Final = "http://schemas.openxmlformats.org/drawingml/2006/main"
_SLIDES: Final = "http://schemas.openxmlformats.org/presentationml/2006/main"
_ODF: Final = "urn:oasis:names:tc:opendocument:xmlns"

Parts = Mapping[str, str | bytes]


# -- PDF -------------------------------------------------------------------------------------------------------------


def pdf(
    contents: Sequence[bytes] = (b"BT /F1 24 Tf 72 700 Td (Hello world) Tj ET",),
    *,
    catalog: bytes = b"",
    page: bytes = b"",
    info: bytes = b"",
    count: int | None = None,
    size: tuple[float, float] = (595, 842),
    objects: Sequence[bytes] = (),
    resources: bytes = b"",
) -> bytes:
    """A PDF with a page for each of ``contents``; ``objects`` follow from number 10 on."""
    first = 10 + len(objects)
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(contents)))
    made = {
        1: b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        2: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(contents) if count is None else count),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        4: b"<< %s >>" % info,
        **{10 + index: content for index, content in enumerate(objects)},
    }
    for index, content in enumerate(contents):
        made[first + 2 * index] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %f %f] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> %s >> %s >>" % (*size, first + 2 * index + 1, resources, page)
        )
        made[first + 2 * index + 1] = stream(content)
    return assembled(made)


def stream(content: bytes, dictionary: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), dictionary, content)


def assembled(objects: Mapping[int, bytes], *, trailer: bytes = b"") -> bytes:
    """The file of these objects, with a table of where each is."""
    parts, places = [b"%PDF-1.7\n"], {}
    for number, content in sorted(objects.items()):
        places[number] = sum(map(len, parts))
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    table_at = sum(map(len, parts))
    size = max(objects) + 1
    rows = (
        b"%010d 00000 n \n" % places[number] if number in places else b"%010d 65535 f \n" % 0 for number in range(size)
    )
    parts.append(b"xref\n0 %d\n%s" % (size, b"".join(rows)))
    parts.append(b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R %s >>\n" % (size, trailer))
    parts.append(b"startxref\n%d\n%%%%EOF\n" % table_at)
    return b"".join(parts)


def right_to_left_pdf(word: str) -> bytes:
    """A page with one word as most programs write it: its letters from left to right, one glyph each."""
    letters = word[::-1]
    glyphs = "".join(f"{index + 1:04x}" for index in range(len(letters)))
    pairs = "\n".join(f"<{index + 1:04x}> <{ord(letter):04x}>" for index, letter in enumerate(letters))
    unicode_map = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{len(letters)} beginbfchar\n{pairs}\nendbfchar\n"
        "endcmap end end"
    )
    font = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [11 0 R]"
        b" /ToUnicode 12 0 R >>"
    )
    descendant = (
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /DW 600 /FontDescriptor 13 0 R"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
    )
    descriptor = (
        b"<< /Type /FontDescriptor /FontName /X /Flags 4 /FontBBox [0 0 600 700] /ItalicAngle 0 /Ascent 700"
        b" /Descent 0 /CapHeight 700 /StemV 80 >>"
    )
    return pdf(
        [f"BT /F2 24 Tf 100 700 Td <{glyphs}> Tj ET".encode()],
        page=b"",
        objects=[font, descendant, stream(unicode_map.encode()), descriptor],
    ).replace(b"/F1 3 0 R", b"/F2 10 0 R")


# -- office documents ------------------------------------------------------------------------------------------------


def zipped(parts: Parts, *, stored: Sequence[str] = ()) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            method = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, method)
    return out.getvalue()


def _relations(*relations: tuple[str, str, str], external: Sequence[tuple[str, str]] = ()) -> str:
    inner = "".join(
        f'<Relationship Id="{identifier}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
        for identifier, kind, target in relations
    )
    outer = "".join(
        f'<Relationship Id="x{index}" Type="{_RELATIONS}/{kind}" Target="{target}" TargetMode="External"/>'
        for index, (kind, target) in enumerate(external)
    )
    return f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE_RELATIONS}">{inner}{outer}</Relationships>'


CORE: Final = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>Harvest</dc:title><dc:creator>Ada</dc:creator><dc:description>Of the year</dc:description>"
    "<cp:keywords>wine, grapes</cp:keywords><dcterms:created>2024-05-06T07:08:09Z</dcterms:created>"
    "<cp:lastModifiedBy>DOMAIN\\secret</cp:lastModifiedBy></cp:coreProperties>"
)


def docx_parts(
    body: str = "<w:p><w:r><w:t>Hello grapes</w:t></w:r></w:p>", *, external: Sequence[tuple[str, str]] = ()
) -> dict[str, str | bytes]:
    """The parts of a Word document with this body."""
    return {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": _relations(("r1", "officeDocument", "word/document.xml")),
        "word/document.xml": f'<?xml version="1.0"?><w:document xmlns:w="{_WORD}"'
        f' xmlns:mc="urn:mc"><w:body>{body}</w:body></w:document>',
        "word/_rels/document.xml.rels": _relations(
            ("r1", "footnotes", "footnotes.xml"), ("r2", "settings", "settings.xml"), external=external
        ),
        "word/footnotes.xml": f'<w:footnotes xmlns:w="{_WORD}"><w:p><w:r><w:t>A footnote</w:t></w:r></w:p>'
        "</w:footnotes>",
        "word/settings.xml": "<settings/>",
        "docProps/core.xml": CORE,
        "docProps/app.xml": "<Properties><Pages>7</Pages><Words>1234</Words></Properties>",
    }


def xlsx_parts(rows: str, shared: Sequence[str] = ()) -> dict[str, str | bytes]:
    """The parts of a workbook with two sheets, of which the first has these rows."""
    texts = "".join(f"<si><t>{text}</t></si>" for text in shared)
    return {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": _relations(("r1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATIONS}"><sheets>'
        '<sheet name="Sales" sheetId="1" r:id="r2"/><sheet name="Empty" sheetId="2" r:id="r3"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            ("r1", "sharedStrings", "sharedStrings.xml"),
            ("r2", "worksheet", "/xl/worksheets/sheet1.xml"),
            ("r3", "worksheet", "worksheets/sheet2.xml"),
        ),
        "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{texts}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{rows}</sheetData></worksheet>',
        "xl/worksheets/sheet2.xml": f'<worksheet xmlns="{_SHEET}"><sheetData/></worksheet>',
    }


def pptx_parts(*slides: str) -> dict[str, str | bytes]:
    """The parts of a presentation; its slides are shown in the order given, whatever their parts' names."""
    names = [f"slides/slide{len(slides) - index}.xml" for index in range(len(slides))]
    return {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": _relations(("r1", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{_SLIDES}" xmlns:r="{_RELATIONS}"><p:sldIdLst>'
        + "".join(f'<p:sldId id="{256 + index}" r:id="s{index}"/>' for index in range(len(slides)))
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            *((f"s{index}", "slide", name) for index, name in enumerate(names))
        ),
        **{
            f"ppt/{name}": f'<p:sld xmlns:p="{_SLIDES}" xmlns:a="{_DRAWING}"><a:p><a:t>{text}</a:t></a:p></p:sld>'
            for name, text in zip(names, slides, strict=True)
        },
        "ppt/notesSlides/notesSlide1.xml": f'<n xmlns:a="{_DRAWING}"><a:p><a:r><a:t>spoken only</a:t></a:r></a:p></n>',
    }


def open_document_parts(content_type: str, body: str, *, meta: str = "") -> dict[str, str | bytes]:
    """The parts of an OpenDocument file with this body."""
    namespaces = " ".join(f'xmlns:{name}="{_ODF}:{name}:1.0"' for name in ("office", "text", "table", "draw", "meta"))
    return {
        "mimetype": content_type,
        "content.xml": f"<office:document-content {namespaces}><office:body>{body}</office:body>"
        "</office:document-content>",
        "meta.xml": f'<office:document-meta {namespaces} xmlns:dc="http://purl.org/dc/elements/1.1/">{meta}'
        "</office:document-meta>",
        "META-INF/manifest.xml": "<manifest/>",
    }


def epub_parts(*chapters: str) -> dict[str, str | bytes]:
    """The parts of a book."""
    items = "".join(f'<item id="c{index}" href="text/c{index}.xhtml"/>' for index in range(len(chapters)))
    spine = "".join(f'<itemref idref="c{index}"/>' for index in range(len(chapters)))
    return {
        "mimetype": EPUB,
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>A book</dc:title>'
        f"<dc:creator>Ada</dc:creator></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
        **{f"OPS/text/c{index}.xhtml": chapter for index, chapter in enumerate(chapters)},
    }


# -- archives that lie -----------------------------------------------------------------------------------------------


def relisted(archive: bytes, name: str, **changes: int) -> bytes:
    """The archive, where the listing's entry of ``name`` says something else (``unpacked``, ``place``, …)."""
    offsets = {
        "flags": (8, "<H"),
        "packed": (20, "<I"),
        "unpacked": (24, "<I"),
        "mode": (38, "<I"),
        "place": (42, "<I"),
    }
    changed = bytearray(archive)
    at = archive.index(b"PK\x01\x02")
    while archive.startswith(b"PK\x01\x02", at):
        name_size, extra_size, comment_size = struct.unpack_from("<3H", archive, at + 28)
        if archive[at + 46 : at + 46 + name_size] == name.encode():
            for field, value in changes.items():
                offset, form = offsets[field]
                struct.pack_into(form, changed, at + offset, value)
            if "mode" in changes:
                changed[at + 5] = 3  # made by Unix, which has links
        at += 46 + name_size + extra_size + comment_size
    return bytes(changed)


def many_entries(count: int, first: Parts) -> bytes:
    """An archive of ``first`` and of ``count`` names in its listing that all stand for nothing."""
    archive = zipped(first)
    end = archive.index(b"PK\x05\x06")
    start = archive.index(b"PK\x01\x02")
    entry = struct.Struct("<4s6H3L5H2L")
    more = b"".join(
        entry.pack(b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
        for name in (b"n%07d" % index for index in range(count))
    )
    listing = archive[start:end] + more
    total = len(first) + count
    tail = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, total, total, len(listing), start)
    tail += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(listing), 1)
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return archive[:start] + listing + tail


def deflated_zeros(size_bytes: int) -> bytes:
    """A raw deflate stream of so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = bytes(1 << 20)
    packed = [packer.compress(piece) for _ in range(size_bytes >> 20)]
    return b"".join([*packed, packer.flush()])
