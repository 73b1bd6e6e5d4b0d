"""Office documents: Office Open XML (Word, Excel, PowerPoint), OpenDocument and EPUB. All are ZIPs of XML.

Only the parts are read that hold text and properties. Macros, embedded objects, links to templates and pictures
elsewhere are told of and left alone; comments, deleted text and speakers' notes are the author's own and stay out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

import pyvips

from contentplatform.errors import ProcessingFailed
from contentplatform.processing.embedded import clean_text
from contentplatform.processing.jobs.archive import Archive
from contentplatform.processing.jobs.markup import Attributes, Flow, flow_text, number, properties, walk
from contentplatform.processing.jobs.raster import picture_of
from contentplatform.processing.jobs.reading import (
    LOCKED,
    Collected,
    Reading,
    broken,
    cleaned,
    described,
)
from contentplatform.processing.jobs.sheets import read_ods, read_xlsx
from contentplatform.processing.jobs.text import decoded, first_screen, read_html, table
from contentplatform.processing.jobs.typeset import page_of
from contentplatform.processing.presets import DocumentLimits, ImageLimits

_OOXML: Final = "application/vnd.openxmlformats-officedocument."
_ODF: Final = "application/vnd.oasis.opendocument."
_DOCX, _XLSX, _PPTX = (
    f"{_OOXML}{name}" for name in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")
)
_ODT, _ODS, _ODP, _ODG = (f"{_ODF}{name}" for name in ("text", "spreadsheet", "presentation", "graphics"))
_EPUB: Final = "application/epub+zip"
_FORMATS: Final = {
    _DOCX: "DOCX",
    _XLSX: "XLSX",
    _PPTX: "PPTX",
    _ODT: "ODT",
    _ODS: "ODS",
    _ODP: "ODP",
    _ODG: "ODG",
    _EPUB: "EPUB",
}
OFFICE_TYPES: Final = frozenset(_FORMATS)

_PART_BYTES: Final = 16 << 20
"""Of a part that is held as a whole: relations, properties, a chapter of a book."""
_THUMBNAIL_BYTES: Final = 8 << 20
_THUMBNAIL_LIMITS: Final = ImageLimits(pixels=50_000_000)
_THUMBNAIL_LEAST_PIXELS: Final = 150
"""A smaller one shows nothing; the page is set anew then."""
_BLANK_DEVIATION: Final = 3.0
_THUMBNAILS: Final = (
    "docProps/thumbnail.jpeg",
    "docProps/thumbnail.jpg",
    "docProps/thumbnail.png",
    "Thumbnails/thumbnail.png",
)
_MOST_PARTS: Final = 2_000
_COUNT_MOST: Final = 100_000_000
_PREVIEW_SOURCE_CHARACTERS: Final = 40_000

_WORD_FLOW: Final = Flow(
    letters=frozenset({"t"}),
    before={"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"},
    after={"p": "\n"},
    # What was deleted; the second form of what newer programs draw; where text was moved from.
    unseen=frozenset({"del", "moveFrom", "Fallback", "pPr", "rPr", "sectPr"}),
)
_SLIDE_FLOW: Final = Flow(
    letters=frozenset({"t"}), before={"br": "\n"}, after={"p": "\n"}, unseen=frozenset({"Fallback"})
)
_OPEN_FLOW: Final = Flow(
    letters=frozenset({"p", "h"}),
    before={"tab": "\t", "line-break": "\n", "s": " "},
    after={"p": "\n", "h": "\n", "page": "\n"},
    unseen=frozenset({"annotation", "tracked-changes", "forms", "notes", "scripts", "binary-data"}),
)


def read_office(source: int, content_type: str, limits: DocumentLimits) -> Reading:
    """Read the office document behind the descriptor ``source``.

    Raises:
        ProcessingFailed: broken, or over a limit. One that wants a password is told of, and no failure.
    """
    archive = Archive(source, limits)
    reading = Reading(metadata={"format": _FORMATS[content_type]})
    if _is_locked(archive, content_type):
        reading.metadata |= {"encrypted": True, "locked": True, "note": LOCKED}
        return reading
    _READERS[content_type](archive, limits, reading)
    reading.metadata = {name: value for name, value in reading.metadata.items() if value not in (None, "", [], False)}
    if reading.picture is None:
        reading.picture = _own_picture(archive) or page_of(
            cleaned(reading.preview), in_columns=content_type in {_XLSX, _ODS}
        )
    return reading


def _is_locked(archive: Archive, content_type: str) -> bool:
    if content_type.startswith(_ODF):
        return "META-INF/manifest.xml" in archive and b"encryption-data" in archive.read(
            "META-INF/manifest.xml", _PART_BYTES
        )
    return any(map(archive.is_encrypted, archive.names())) or (
        content_type == _EPUB and "META-INF/rights.xml" in archive
    )


def _own_picture(archive: Archive) -> pyvips.Image | None:
    """The picture of its first page that the document brought along, if a decoder of ours takes it."""
    for name in _THUMBNAILS:
        if name in archive:
            try:
                picture = picture_of(archive.read(name, _THUMBNAIL_BYTES), _THUMBNAIL_LIMITS)
            except ProcessingFailed:
                continue  # it is an extra, and the document is sound without
            # Programs that only copy a template leave its empty page in place.
            if max(picture.width, picture.height) >= _THUMBNAIL_LEAST_PIXELS and picture.deviate() > _BLANK_DEVIATION:
                return picture
    return None


# -- Office Open XML -------------------------------------------------------------------------------------------------


def _relations(archive: Archive, part: str, limits: DocumentLimits) -> tuple[dict[str, tuple[str, str]], bool]:
    """Which parts a part refers to: by id, the last word of the kind of relation, and the part's name.

    And whether anything outside of the document is referred to, other than by a link for people to click.
    """
    folder, name = posixpath.split(part)
    place = posixpath.join(folder, "_rels", f"{name}.rels")
    found: dict[str, tuple[str, str]] = {}
    leads_out = False

    def start(element: str, attributes: Attributes) -> None:
        nonlocal leads_out
        if element != "Relationship" or len(found) >= _MOST_PARTS:
            return
        kind = attributes.get("Type", "").rpartition("/")[2]
        if attributes.get("TargetMode") == "External":
            leads_out = leads_out or kind != "hyperlink"
            return
        target = attributes.get("Target", "")
        found[attributes.get("Id", "")] = kind, posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")

    if place in archive:
        walk(archive.pieces(place), limits.xml_depth, start=start)
    return found, leads_out


def _main_part(archive: Archive, limits: DocumentLimits) -> str:
    for kind, target in _relations(archive, "", limits)[0].values():
        if kind == "officeDocument" and target in archive:
            return target
    raise broken("it names no main part")


def _office_facts(archive: Archive, limits: DocumentLimits, reading: Reading, main: str) -> dict[str, tuple[str, str]]:
    """What every Office Open XML document may say of itself; returns the relations of its main part."""
    core = _part_properties(archive, "docProps/core.xml", limits)
    program = _part_properties(archive, "docProps/app.xml", limits)
    relations, leads_out = _relations(archive, main, limits)
    for kind, target in list(relations.values()):
        if kind == "settings":
            leads_out = leads_out or _relations(archive, target, limits)[1]
    reading.metadata |= {
        "pages": _count(program.get("Pages")),
        "words": _count(program.get("Words")),
        "creating_program": clean_text(program.get("Application", ""), 300),
        "created": clean_text(core.get("created", ""), 40),
        "modified": clean_text(core.get("modified", ""), 40),
        "has_macros": any(name.endswith("vbaProject.bin") for name in archive.names()),
        "has_embedded_objects": any("/embeddings/" in name for name in archive.names()),
        "has_external_references": leads_out,
    }
    reading.descriptive = described(
        title=core.get("title", ""),
        description=core.get("description", "") or core.get("subject", ""),
        keywords=core.get("keywords", ""),
        creator=core.get("creator", ""),
    )
    return relations


def _part_properties(archive: Archive, name: str, limits: DocumentLimits) -> dict[str, str]:
    return properties(archive.pieces(name), limits.xml_depth) if name in archive else {}


def _count(told: str | None) -> int | None:
    return number(told, most=_COUNT_MOST, least=0) or None


def _read_docx(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    main = _main_part(archive, limits)
    relations = _office_facts(archive, limits, reading, main)
    text = Collected(limits.text_characters)
    behind = [target for kind, target in relations.values() if kind in {"footnotes", "endnotes"}]
    for part in (main, *behind):
        if part in archive and not text.is_full:
            flow_text(archive.pieces(part), limits.xml_depth, _WORD_FLOW, text)
    _take_text(reading, text)


def _read_pptx(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    main = _main_part(archive, limits)
    relations = _office_facts(archive, limits, reading, main)
    order: list[str] = []

    def start(element: str, attributes: Attributes) -> None:
        # Two attributes are called id here; the relation's is the one that names a relation.
        if element == "sldId":
            order.extend(value for value in attributes.values() if value in relations)

    walk(archive.pieces(main), limits.xml_depth, start=start)
    slides = [relations[identifier][1] for identifier in order if relations[identifier][0] == "slide"]
    text = Collected(limits.text_characters)
    for slide in slides:
        if slide in archive and not text.is_full:
            flow_text(archive.pieces(slide), limits.xml_depth, _SLIDE_FLOW, text)
            text.add("\n")
    reading.metadata["slides"] = len(slides)
    reading.metadata.pop("pages", None)
    _take_text(reading, text)


def _read_xlsx(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    main = _main_part(archive, limits)
    relations = _office_facts(archive, limits, reading, main)
    sheets = read_xlsx(archive, main, relations, limits)
    reading.metadata |= {"sheets": len(sheets.names), "sheet_names": sheets.names[: limits.rows]}
    _take_text(reading, sheets.text)
    reading.preview = table(sheets.first_rows)


def _take_text(reading: Reading, text: Collected) -> None:
    reading.text = str(text)
    reading.preview = first_screen(cleaned(reading.text[:_PREVIEW_SOURCE_CHARACTERS]))
    reading.metadata["text_cut"] = text.is_cut


# -- OpenDocument ----------------------------------------------------------------------------------------------------


def _open_facts(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    """What every OpenDocument file may say of itself."""
    told = _part_properties(archive, "meta.xml", limits)
    counts: dict[str, str] = {}

    def start(element: str, attributes: Attributes) -> None:
        if element == "document-statistic":
            counts.update(attributes)

    if "meta.xml" in archive:
        try:
            walk(archive.pieces("meta.xml"), limits.xml_depth, start=start)
        except ProcessingFailed:
            counts.clear()
    reading.metadata |= {
        "pages": _count(counts.get("page-count")),
        "words": _count(counts.get("word-count")),
        "creating_program": clean_text(told.get("generator", ""), 300),
        "created": clean_text(told.get("creation-date", ""), 40),
        "modified": clean_text(told.get("date", ""), 40),
        "has_macros": any(name.startswith(("Basic/", "Scripts/")) for name in archive.names()),
        "has_embedded_objects": any(re.match(r"Object \d+", name) for name in archive.names()),
    }
    reading.descriptive = described(
        title=told.get("title", ""),
        description=told.get("description", "") or told.get("subject", ""),
        keywords=told.get("keyword", ""),
        creator=told.get("initial-creator", "") or told.get("creator", ""),
    )


def _content(archive: Archive) -> Iterator[bytes]:
    if "content.xml" not in archive:
        raise broken("it has no content")
    return archive.pieces("content.xml")


def _read_odt(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    _open_facts(archive, limits, reading)
    text = Collected(limits.text_characters)
    flow_text(_content(archive), limits.xml_depth, _OPEN_FLOW, text)
    _take_text(reading, text)


def _read_odp(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    _read_odt(archive, limits, reading)
    slides = 0

    def start(element: str, _attributes: Attributes) -> None:
        nonlocal slides
        slides += element == "page"

    walk(_content(archive), limits.xml_depth, start=start)
    reading.metadata["slides"] = slides


def _read_ods(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    _open_facts(archive, limits, reading)
    sheets = read_ods(_content(archive), limits)
    reading.metadata |= {"sheets": len(sheets.names), "sheet_names": sheets.names[: limits.rows]}
    _take_text(reading, sheets.text)
    reading.preview = table(sheets.first_rows)


# -- EPUB ------------------------------------------------------------------------------------------------------------


def _read_epub(archive: Archive, limits: DocumentLimits, reading: Reading) -> None:
    package = _package(archive, limits)
    folder = posixpath.dirname(package)
    files: dict[str, str] = {}
    spine: list[str] = []
    cover: list[str] = []

    def start(element: str, attributes: Attributes) -> None:
        if element == "item" and len(files) < limits.archive_entries:
            place = posixpath.normpath(posixpath.join("/", folder, unquote(attributes.get("href", "")))).lstrip("/")
            files[attributes.get("id", "")] = place
            if "cover-image" in attributes.get("properties", "").split():
                cover.append(place)
        elif element == "itemref":
            spine.append(attributes.get("idref", ""))
        elif element == "meta" and attributes.get("name") == "cover":
            cover.append(files.get(attributes.get("content", ""), ""))

    walk(archive.pieces(package), limits.xml_depth, start=start)
    text = Collected(limits.text_characters)
    for identifier in spine[:_MOST_PARTS]:
        chapter = files.get(identifier, "")
        if chapter in archive and not text.is_full:
            page, _ = decoded(archive.read(chapter, _PART_BYTES), is_whole=True)
            text.add(read_html(page, limits.text_characters)[0])
            text.add("\n\n")
    told = _part_properties(archive, package, limits)
    reading.metadata |= {"chapters": len(spine), "language": clean_text(told.get("language", ""), 40)}
    reading.descriptive = described(
        title=told.get("title", "").split("\n")[0],
        description=read_html(told.get("description", ""), 2_000)[0],
        keywords=told.get("subject", ""),
        creator=told.get("creator", "").replace("\n", ", "),
    )
    _take_text(reading, text)
    reading.picture = _cover(archive, cover)


def _package(archive: Archive, limits: DocumentLimits) -> str:
    found: list[str] = []

    def start(element: str, attributes: Attributes) -> None:
        if element == "rootfile":
            found.append(attributes.get("full-path", ""))

    if "META-INF/container.xml" in archive:
        walk(archive.pieces("META-INF/container.xml"), limits.xml_depth, start=start)
    for name in found:
        if name in archive:
            return name
    raise broken("it names no package")


def _cover(archive: Archive, names: list[str]) -> pyvips.Image | None:
    for name in names[:2]:
        if name in archive:
            try:
                return picture_of(archive.read(name, _PART_BYTES), _THUMBNAIL_LIMITS)
            except ProcessingFailed:
                continue  # a cover is an extra
    return None


_READERS: Final[dict[str, Callable[[Archive, DocumentLimits, Reading], None]]] = {
    _DOCX: _read_docx,
    _XLSX: _read_xlsx,
    _PPTX: _read_pptx,
    _ODT: _read_odt,
    _ODS: _read_ods,
    _ODP: _read_odp,
    _ODG: _read_odt,
    _EPUB: _read_epub,
}
