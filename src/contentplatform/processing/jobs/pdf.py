"""PDF: its first page as a picture, its text, its outline, and what it says of itself. Nothing in it is ever run.

PDFium comes without a JavaScript engine and without XFA, and its events (a document that opens, a page that is turned)
are never raised, so there is nobody to run an action and nothing that would set one off. Forms are drawn as they were
filled in. What could have been run elsewhere is told.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import itertools
import math
import mmap
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium
import pyvips

from contentplatform.processing.embedded import clean_text
from contentplatform.processing.jobs.raster import from_pixels
from contentplatform.processing.jobs.reading import (
    LOCKED,
    Collected,
    Reading,
    broken,
    cleaned,
    described,
    over_limit,
)
from contentplatform.processing.presets import MEDIUM, DocumentLimits

_OVERSAMPLING: Final = 2
"""Drawn so much larger than it is shown, and shrunk: thin strokes and small letters come out even."""
_MOST_PIXELS_A_POINT: Final = 8.0
_OUTLINE_DEPTH: Final = 15
_OUTLINE_BYTES: Final = 50_000
"""Of the titles and what goes with them: they are kept in the record, which has to stay small."""
_ENTRY_BYTES: Final = 40
_END_WINDOW_BYTES: Final = 2_048
_MOST_FILE_BYTES: Final = 10**10
"""A place has ten digits. A longer file is a hole, through which PDFium would look for objects for minutes."""
_SCAN_BYTES: Final = 64 << 20
"""So much of the file is looked through for the names of actions."""
_RGBX_BANDS: Final = 4
_TITLE_CHARACTERS: Final = 300

_PASSWORD: Final = pdfium.FPDF_ERR_PASSWORD
_SECURITY: Final = pdfium.FPDF_ERR_SECURITY
_NOT_ENCRYPTED: Final = -1
_FORMS: Final = {
    pdfium.FORMTYPE_ACRO_FORM: "acroform",
    pdfium.FORMTYPE_XFA_FULL: "xfa",
    pdfium.FORMTYPE_XFA_FOREGROUND: "xfa",
}
_ACTIONS: Final = {
    "has_javascript": re.compile(rb"/JavaScript\b"),
    "has_launch_action": re.compile(rb"/Launch\b"),
    "has_embedded_files": re.compile(rb"/EmbeddedFiles?\b"),
}
_KEYS: Final = ("Title", "Author", "Subject", "Keywords", "Creator", "Producer", "CreationDate", "ModDate")
_DATE: Final = re.compile(
    r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(?:(Z)|([+-])(\d\d)'?(\d\d)?)?",
)

# A word that goes on in the next line: PDFium says where a hyphen is none of the word's own.
_LINE_HYPHEN: Final = re.compile("(?:[\x02\ufffe]|\u00ad)\\s*(?:\r\n|\r|\n)?")
# Letters as they are drawn, not as they are typed: Latin ligatures and the shapes of Hebrew and Arabic.
_SHAPES: Final = re.compile("[\ufb00-\ufb4f\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc]+")
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

# Loaded while the process may still open files.
for _codec in ("utf-16-le", "utf-8", "ascii"):
    codecs.lookup(_codec)


def read_pdf(source: int, _content_type: str, limits: DocumentLimits) -> Reading:
    """Read the PDF behind the descriptor ``source``.

    Raises:
        ProcessingFailed: broken, or over a limit. One that wants a password is told of, and no failure.
    """
    if os.fstat(source).st_size > _MOST_FILE_BYTES:
        raise over_limit("it has more than 10 GB, more than a PDF's table of places can say")
    stream = os.fdopen(os.dup(source), "rb")
    stream.seek(0)
    try:
        document = pypdfium2.PdfDocument(stream, autoclose=True)
    except pypdfium2.PdfiumError as error:
        if error.err_code in {_PASSWORD, _SECURITY}:
            return Reading(metadata={"format": "PDF", "encrypted": True, "locked": True, "note": LOCKED})
        raise broken(str(error)) from error
    try:
        return _read(document, source, limits)
    finally:
        document.close()


def _read(document: pypdfium2.PdfDocument, source: int, limits: DocumentLimits) -> Reading:
    pages = len(document)
    if pages > limits.pages:
        raise over_limit(f"it says that it has {pages} pages; at most {limits.pages} are read")
    if pdfium.FPDF_GetFormType(document) == pdfium.FORMTYPE_ACRO_FORM:
        with contextlib.suppress(pypdfium2.PdfiumError):
            document.init_forms()  # before any page: it draws what was filled in
    # The picture first: a first page that can't be shown fails the document before work is put into it.
    picture, size = _first_page(document)
    text, unreadable = _text(document, pages, limits)
    told = {key: _told(document, key) for key in _KEYS}
    metadata = {
        "format": "PDF",
        "pages": pages,
        "page_width_points": size[0],
        "page_height_points": size[1],
        "pdf_version": _version(document),
        "encrypted": pdfium.FPDF_GetSecurityHandlerRevision(document) != _NOT_ENCRYPTED,
        "tagged": bool(pdfium.FPDFCatalog_IsTagged(document)),
        "form": _FORMS.get(pdfium.FPDF_GetFormType(document)),
        "outline": _outline(document, limits),
        "producer": clean_text(told["Producer"], _TITLE_CHARACTERS),
        "creating_program": clean_text(told["Creator"], _TITLE_CHARACTERS),
        "created": _moment(told["CreationDate"]),
        "modified": _moment(told["ModDate"]),
        "text_pages": limits.text_pages if pages > limits.text_pages else None,
        "text_cut": text.is_cut or None,
        "unreadable_pages": unreadable,
        **_actions(document, source),
    }
    return Reading(
        text=str(text),
        picture=picture,
        metadata={name: value for name, value in metadata.items() if value not in (None, "", [])},
        descriptive=described(
            title=told["Title"],
            description=told["Subject"],
            keywords=told["Keywords"],
            creator=told["Author"],
        ),
    )


# -- pictures --------------------------------------------------------------------------------------------------------


def _first_page(document: pypdfium2.PdfDocument) -> tuple[pyvips.Image, tuple[float, float]]:
    try:
        page = document[0]
    except pypdfium2.PdfiumError as error:
        raise broken(str(error), what="its first page") from error
    try:
        return drawn(page), (round(page.get_width(), 2), round(page.get_height(), 2))
    finally:
        page.close()


def drawn(page: pypdfium2.PdfPage) -> pyvips.Image:
    """A page on white, with its annotations, so many times as large as ``MEDIUM``, whatever size it says it has.

    Raises:
        ProcessingFailed: it has no size.
    """
    width, height = page.get_width(), page.get_height()
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise broken(f"{width} x {height}", what="its first page")
    scale = min(MEDIUM.width / width, MEDIUM.height / height) * _OVERSAMPLING
    scale = min(scale, _MOST_PIXELS_A_POINT)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    columns, rows = min(columns, MEDIUM.width * _OVERSAMPLING), min(rows, MEDIUM.height * _OVERSAMPLING)
    # Four bytes a pixel: so no row is padded.
    bitmap = pypdfium2.PdfBitmap.new_native(columns, rows, pdfium.FPDFBitmap_BGRx)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, columns, rows)
        flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER | pdfium.FPDF_RENDER_LIMITEDIMAGECACHE
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, columns, rows, 0, flags)
        if page.formenv is not None:
            pdfium.FPDF_FFLDraw(page.formenv, bitmap, page, 0, 0, columns, rows, 0, flags)
        pixels = bytes(bitmap.buffer)
    finally:
        bitmap.close()
    return from_pixels(pixels, columns, rows, bands=_RGBX_BANDS).extract_band(0, n=3)


# -- text ------------------------------------------------------------------------------------------------------------


def _text(document: pypdfium2.PdfDocument, pages: int, limits: DocumentLimits) -> tuple[Collected, int | None]:
    """The text of the first pages, and how many of them could not be read."""
    text = Collected(limits.text_characters)
    unreadable = 0
    for number in range(min(pages, limits.text_pages)):
        if text.is_full:
            break
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            unreadable += 1
            continue
        try:
            text.add(_page_text(page))
            text.add("\n\n")
        except pypdfium2.PdfiumError:
            unreadable += 1
        finally:
            page.close()
    return text, unreadable or None


def _page_text(page: pypdfium2.PdfPage) -> str:
    read = page.get_textpage()
    try:
        text = read.get_text_range()
        if _RIGHT_TO_LEFT.search(text):
            text = _logical(read)
    finally:
        read.close()
    return as_typed(text)


def as_typed(text: str) -> str:
    """Text as it is written on a keyboard: words whole that a line's end had parted, letters for ligatures."""
    text = _LINE_HYPHEN.sub("", text)
    return _SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)


def _logical(read: pypdfium2.PdfTextPage) -> str:
    """The text of a page with words from right to left, as they are typed.

    PDFium turns such a line around, glyph by glyph, as most programs write it from left to right. Where one glyph
    stands for several letters (a ligature, or a whole word in some programs' files) it turns those, too: they are
    turned back here. Glyphs of which the file does not say what they mean are left out: PDFium guesses.
    """
    pieces = []
    for _, glyph in itertools.groupby(range(read.count_chars()), key=_place_of(read)):
        letters = [
            chr(code)
            for index in glyph
            if pdfium.FPDFText_HasUnicodeMapError(read, index) != 1
            and 0 < (code := pdfium.FPDFText_GetUnicode(read, index)) <= 0x10FFFF
        ]
        if len(letters) > 1 and _RIGHT_TO_LEFT.search("".join(letters)):
            letters.reverse()
            if letters[-1].isspace():  # it parted the glyph from the one before
                letters.insert(0, " ")
        pieces += letters
    return "".join(pieces)


def _place_of(read: pypdfium2.PdfTextPage) -> Callable[[int], tuple[float, ...]]:
    """A function that tells where a character is drawn; what PDFium put in between is nowhere, and never the same."""
    sides = [ctypes.c_double() for _ in range(4)]

    def place(index: int) -> tuple[float, ...]:
        if pdfium.FPDFText_IsGenerated(read, index) == 1:
            return (float(index),)
        pdfium.FPDFText_GetCharBox(read, index, *sides)
        return tuple(side.value for side in sides)

    return place


# -- facts -----------------------------------------------------------------------------------------------------------


def _told(document: pypdfium2.PdfDocument, key: str) -> str:
    """What the document says of itself under ``key``; empty where it says nothing."""
    return _words(lambda buffer, size: pdfium.FPDF_GetMetaText(document, key.encode(), buffer, size))


def _words(write: Callable[[Any, int], int]) -> str:
    """A text that PDFium writes as UTF-16 into a buffer, NUL at its end. Halves of characters are left out."""
    size_bytes = write(None, 0)
    buffer = ctypes.create_string_buffer(size_bytes)
    write(buffer, size_bytes)
    return buffer.raw[: max(0, size_bytes - 2)].decode("utf-16-le", "ignore")


def _version(document: pypdfium2.PdfDocument) -> str | None:
    number = document.get_version()
    return f"{number // 10}.{number % 10}" if number else None


def _outline(document: pypdfium2.PdfDocument, limits: DocumentLimits) -> list[dict[str, Any]]:
    """Titles, levels from 0 on, and page numbers from 1 on, of the bookmarks; a loop ends where it begins again."""
    found = []
    left_bytes = _OUTLINE_BYTES
    for bookmark in itertools.islice(_bookmarks(document), limits.outline_entries):
        title = clean_text(cleaned(_title(bookmark)), _TITLE_CHARACTERS).replace("\n", " ")
        if not title:
            continue
        left_bytes -= len(title.encode()) + _ENTRY_BYTES
        if left_bytes < 0:
            break
        target = bookmark.get_dest()
        page = None if target is None else target.get_index()
        found.append({"title": title, "level": bookmark.level, "page": None if page is None else page + 1})
    return found


def _title(bookmark: pypdfium2.PdfBookmark) -> str:
    return _words(lambda buffer, size: pdfium.FPDFBookmark_GetTitle(bookmark, buffer, size))


def _bookmarks(document: pypdfium2.PdfDocument) -> Iterator[pypdfium2.PdfBookmark]:
    yield from document.get_toc(max_depth=_OUTLINE_DEPTH)


def _actions(document: pypdfium2.PdfDocument, source: int) -> dict[str, bool]:
    """What could do something elsewhere, only where there is some of it.

    PDFium tells of the document's own scripts and files; the names of others are looked for among the bytes, where
    those that are compressed are not seen.
    """
    found = {
        "has_javascript": pdfium.FPDFDoc_GetJavaScriptActionCount(document) > 0,
        "has_embedded_files": pdfium.FPDFDoc_GetAttachmentCount(document) > 0,
    }
    size_bytes = os.fstat(source).st_size
    # A file larger than all that the job may address could not be mapped as a whole.
    with mmap.mmap(source, min(size_bytes, _SCAN_BYTES), access=mmap.ACCESS_READ) as window:
        for name, pattern in _ACTIONS.items():
            found[name] = found.get(name, False) or pattern.search(window) is not None
    end = os.pread(source, _END_WINDOW_BYTES, max(0, size_bytes - _END_WINDOW_BYTES))
    found["truncated"] = b"%%EOF" not in end
    return {name: True for name, is_there in found.items() if is_there}


def _moment(told: str) -> str | None:
    """A date of PDF in ISO 8601, with its zone where it says one; None where it is no date."""
    match = _DATE.match(told.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, utc, sign, hours, minutes = match.groups()
    zone = "+00:00" if utc else f"{sign}{hours}:{minutes or '00'}" if sign else ""
    text = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}"
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None
