"""Sets the beginning of a text as a page, for documents that bring no picture of themselves.

PDFium draws it with the letters that it carries within: no font of the machine is needed, so a page looks the same on
every machine and in every function. Those letters are the Latin ones of Western Europe; a text that is written mostly
in others gets no picture, which is better than a page of empty boxes.
"""

from __future__ import annotations

import codecs
import ctypes
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pypdfium2
import pypdfium2.raw as pdfium
import pyvips

from contentplatform.processing.jobs.pdf import drawn

_PAGE_WIDTH: Final = 420.0
_PAGE_HEIGHT: Final = 595.0
_MARGIN: Final = 34.0
"""All in points: a sheet of A5, so that the letters can be read in a picture that fits a screen."""
_LETTERS: Final = "cp1252"
_ENOUGH_LETTERS: Final = 0.9
"""Of the visible characters; the others are drawn as question marks."""
_TAB_COLUMNS: Final = 4
_MOST_LINES: Final = 100
_MOST_CHARACTERS: Final = 12_000


# The advance of the characters from the blank to the tilde in Helvetica, in thousandths of the font's size.
_HELVETICA: Final = (
    *(278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278),
    *(556,) * 10,
    *(278, 278, 584, 584, 584, 556, 1015),
    *(667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722),
    *(667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333),
    *(556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556),
    *(500, 722, 500, 500, 500, 334, 260, 334, 584),
)
_FIRST_MEASURED: Final = 0x20


@dataclass(frozen=True, slots=True)
class _Face:
    font: bytes
    size: float
    leading: float
    """From one line to the next."""
    advances: tuple[int, ...]
    """Of the characters from the blank on; empty where all are as wide as any."""
    advance: int
    """Of every other character."""

    def width(self, text: str) -> float:
        """Of a line of ``text``, in points."""
        return sum(map(self._advance, text)) * self.size / 1000

    def _advance(self, character: str) -> int:
        place = ord(character) - _FIRST_MEASURED
        return self.advances[place] if 0 <= place < len(self.advances) else self.advance


_PROSE: Final = _Face(b"Helvetica", size=10.5, leading=15.0, advances=_HELVETICA, advance=600)
_COLUMNS: Final = _Face(b"Courier", size=8.5, leading=11.5, advances=(), advance=600)

# Loaded while the process may still open files.
for _codec in (_LETTERS, "utf-16-le"):
    codecs.lookup(_codec)


def page_of(text: str, *, in_columns: bool) -> pyvips.Image | None:
    """A picture of the first page of ``text``; None where it is empty, or written in letters that can't be drawn.

    ``in_columns``: every character is as wide as any other, and lines are cut, not wrapped: for tables and code.
    """
    text = text[:_MOST_CHARACTERS].expandtabs(_TAB_COLUMNS)
    drawable = "".join(map(_drawable, text))
    visible = sum(not character.isspace() for character in text)
    if visible == 0 or drawable.count("\0") > visible * (1 - _ENOUGH_LETTERS):
        return None
    face = _COLUMNS if in_columns else _PROSE
    lines = _lines(drawable.replace("\0", "?").split("\n"), face, wrapped=not in_columns)
    return _drawn(lines, face)


def _drawable(character: str) -> str:
    """The character, or what is left of it without its accents; NUL where even that has no picture."""
    for form in (character, unicodedata.normalize("NFKD", character)):
        kept = "".join(part for part in form if not unicodedata.combining(part))
        letters = form if form == character else kept
        if letters and letters.encode(_LETTERS, "ignore").decode(_LETTERS) == letters:
            return letters
    return "" if unicodedata.combining(character) else "\0"


def _lines(paragraphs: Iterable[str], face: _Face, *, wrapped: bool) -> Iterator[str]:
    room = _PAGE_WIDTH - 2 * _MARGIN
    for paragraph in paragraphs:
        line = ""
        for piece in _pieces(paragraph, face, room):
            if line and face.width(line + piece) > room:
                yield line
                line = ""
                if not wrapped:
                    break
            line += piece if line else piece.lstrip() if wrapped else piece
        else:
            yield line


def _pieces(paragraph: str, face: _Face, room: float) -> Iterator[str]:
    """Words with the blanks before them; one that is wider than the page, letter by letter."""
    start = 0
    while start < len(paragraph):
        end = start
        while end < len(paragraph) and paragraph[end] == " ":
            end += 1
        while end < len(paragraph) and paragraph[end] != " ":
            end += 1
        piece = paragraph[start:end]
        if face.width(piece) <= room:
            yield piece
        else:
            yield from piece
        start = end


def _drawn(lines: Iterable[str], face: _Face) -> pyvips.Image:
    document = pypdfium2.PdfDocument.new()
    try:
        page = document.new_page(_PAGE_WIDTH, _PAGE_HEIGHT)
        baseline = _PAGE_HEIGHT - _MARGIN - face.size
        for _, line in zip(range(_MOST_LINES), lines, strict=False):
            if baseline < _MARGIN:
                break
            if line.strip():
                _put(document, page, line, face, baseline)
            baseline -= face.leading
        pdfium.FPDFPage_GenerateContent(page)
        return drawn(page)
    finally:
        document.close()


def _put(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, line: str, face: _Face, baseline: float) -> None:
    written = pdfium.FPDFPageObj_NewTextObj(document, face.font, face.size)
    letters = (line + "\0").encode("utf-16-le")
    units = (ctypes.c_ushort * (len(letters) // 2)).from_buffer_copy(letters)
    pdfium.FPDFText_SetText(written, units)
    pdfium.FPDFPageObj_Transform(written, 1, 0, 0, 1, _MARGIN, baseline)
    pdfium.FPDFPage_InsertObject(page, written)
