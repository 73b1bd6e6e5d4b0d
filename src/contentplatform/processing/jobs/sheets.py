"""Spreadsheets: the cells as they were last shown, row by row. A formula is text at most; nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from contentplatform.processing.jobs.archive import Archive
from contentplatform.processing.jobs.markup import Attributes, Enough, number, walk
from contentplatform.processing.jobs.reading import Collected
from contentplatform.processing.presets import DocumentLimits

_MOST_COLUMNS: Final = 256
_MOST_REPEATS: Final = 50
_MOST_SHARED: Final = 1_000_000
_SHARED_CHARACTERS: Final = 20_000_000
_CELL_CHARACTERS: Final = 32_767
_ALPHABET: Final = 26
# How a number is shown as a moment: the format's own numbers, and what stands for a day or an hour in any other.
_DATE_FORMATS: Final = frozenset({*range(14, 23), *range(45, 48)})
_NO_PART_OF_A_DATE: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_DATE_LETTERS: Final = re.compile("[ydhs]", re.IGNORECASE)
_FIRST_DAY: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - a sheet's moments are of no zone
_FIRST_DAY_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001 - same
_MOST_FORMATS: Final = 65_536
_TRUTH: Final = {"0": "FALSE", "1": "TRUE"}


@dataclass(slots=True)
class Sheets:
    """What was found in a workbook."""

    names: list[str]
    text: Collected
    first_rows: list[list[str]]
    """Of the first sheet that has any."""


class _Rows:
    """Takes rows into the text, and those of the first sheet into the preview."""

    def __init__(self, sheets: Sheets, limit: int) -> None:
        self._sheets = sheets
        self._limit = limit
        self._previewed = bool(sheets.first_rows)

    def add(self, cells: list[str]) -> None:
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            return
        self._sheets.text.add("\t".join(cells))
        self._sheets.text.add("\n")
        if not self._previewed and len(self._sheets.first_rows) < self._limit:
            self._sheets.first_rows.append(cells)
        if self._sheets.text.is_full:
            raise Enough


def read_xlsx(archive: Archive, main: str, relations: Mapping[str, tuple[str, str]], limits: DocumentLimits) -> Sheets:
    """The cells of a workbook whose main part is ``main``. Raises ProcessingFailed as ``walk``."""
    sheets = Sheets([], Collected(limits.text_characters), [])
    parts: list[str] = []
    first_day = _FIRST_DAY

    def start(element: str, attributes: Attributes) -> None:
        nonlocal first_day
        if element == "workbookPr" and attributes.get("date1904") in {"1", "true"}:
            first_day = _FIRST_DAY_1904
        elif element == "sheet":
            sheets.names.append(attributes.get("name", "")[:60])
            # Its relation's id is one of its attributes, under a name that depends on who wrote it.
            parts.extend(relations[value][1] for value in attributes.values() if value in relations)

    walk(archive.pieces(main), limits.xml_depth, start=start)
    named = {kind: target for kind, target in relations.values() if target in archive}
    shared = _shared(archive.pieces(named["sharedStrings"]), limits) if "sharedStrings" in named else []
    dates = _dates(archive.pieces(named["styles"]), limits) if "styles" in named else []
    book = _Book(shared, dates, first_day)
    for part in parts:
        if part in archive and not sheets.text.is_full:
            sheet = _Sheet(book, _Rows(sheets, limits.rows))
            walk(archive.pieces(part), limits.xml_depth, start=sheet.start, end=sheet.end, text=sheet.text)
            sheets.text.add("\n")
    return sheets


def _shared(pieces: Iterable[bytes], limits: DocumentLimits) -> list[str]:
    """The texts that cells refer to by number."""
    found: list[str] = []
    left = _SHARED_CHARACTERS
    content = Collected(0)
    inside = spoken = False

    def start(element: str, _attributes: Attributes) -> None:
        nonlocal content, inside, spoken
        if element == "si":
            content = Collected(_CELL_CHARACTERS)
        elif element == "rPh":
            spoken = True  # how Japanese is read aloud
        inside = element == "t" and not spoken

    def end(element: str) -> None:
        nonlocal left, inside, spoken
        inside = False
        if element == "rPh":
            spoken = False
        elif element == "si":
            found.append(str(content))
            left -= len(found[-1])
            if left < 0 or len(found) == _MOST_SHARED:
                raise Enough

    def characters(text: str) -> None:
        if inside:
            content.add(text)

    walk(pieces, limits.xml_depth, start=start, end=end, text=characters)
    return found


def _dates(pieces: Iterable[bytes], limits: DocumentLimits) -> list[bool]:
    """Of each style of cells, whether it shows a number as a date or a time."""
    own: dict[str, bool] = {}
    found: list[bool] = []
    inside = False

    def start(element: str, attributes: Attributes) -> None:
        nonlocal inside
        if element == "numFmt" and len(own) < _MOST_FORMATS:
            code = _NO_PART_OF_A_DATE.sub("", attributes.get("formatCode", "")[:255])
            own[attributes.get("numFmtId", "")] = _DATE_LETTERS.search(code) is not None
        elif element == "cellXfs":
            inside = True
        elif element == "xf" and inside and len(found) < _MOST_FORMATS:
            name = attributes.get("numFmtId", "")
            found.append(own.get(name, number(name, most=_MOST_FORMATS, least=0) in _DATE_FORMATS))

    def end(element: str) -> None:
        nonlocal inside
        if element == "cellXfs":
            inside = False

    walk(pieces, limits.xml_depth, start=start, end=end)
    return found


@dataclass(frozen=True, slots=True)
class _Book:
    """What all sheets of a workbook refer to."""

    shared: Sequence[str]
    dates: Sequence[bool]
    first_day: datetime

    def shown(self, kind: str, style: str, parts: Mapping[str, str]) -> str:
        """A cell's content as text."""
        value = parts.get("v", "")
        if kind == "s":
            place = number(value, most=len(self.shared), least=0)
            return self.shared[place] if place < len(self.shared) else ""
        if kind == "b":
            return _TRUTH.get(value, value)
        place = number(style, most=_MOST_FORMATS, least=0)
        if kind == "n" and place < len(self.dates) and self.dates[place]:
            return _moment(value, self.first_day)
        return value or parts.get("t", "") or (f"={parts['f']}" if parts.get("f") else "")


def _moment(value: str, first_day: datetime) -> str:
    """The date, the time, or both, that a number of days stands for."""
    try:
        days = float(value)
        moment = first_day + timedelta(seconds=round(days * 86_400))
    except (ValueError, OverflowError):
        return value  # no number, or a day that no calendar has
    if days < 0:
        return value
    if days < 1:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%Y-%m-%d}" if days == int(days) else f"{moment:%Y-%m-%d %H:%M}"


class _Sheet:
    """The handlers for one sheet of a workbook."""

    _VALUES: Final = frozenset({"v", "t", "f"})

    def __init__(self, book: _Book, rows: _Rows) -> None:
        self._book = book
        self._rows = rows
        self._cells: list[str] = []
        self._kind = self._style = ""
        self._parts: dict[str, Collected] = {}
        self._current: Collected | None = None

    def start(self, element: str, attributes: Attributes) -> None:
        if element == "row":
            self._cells = []
        elif element == "c":
            self._kind, self._style, self._parts = attributes.get("t", "n"), attributes.get("s", ""), {}
            column = _column(attributes.get("r", ""))
            if column is not None:
                self._cells.extend([""] * (min(column, _MOST_COLUMNS) - len(self._cells)))
        elif element in self._VALUES:
            self._current = self._parts.setdefault(element, Collected(_CELL_CHARACTERS))

    def end(self, element: str) -> None:
        if element in self._VALUES:
            self._current = None
        elif element == "c" and len(self._cells) < _MOST_COLUMNS:
            parts = {name: str(part) for name, part in self._parts.items()}
            self._cells.append(self._book.shown(self._kind, self._style, parts))
        elif element == "row":
            self._rows.add(self._cells)

    def text(self, text: str) -> None:
        if self._current is not None:
            self._current.add(text)


def _column(reference: str) -> int | None:
    """The number, from 0 on, of the column that ``AB12`` is in."""
    letters = reference.rstrip("0123456789")
    if not letters or len(letters) > 3 or not (letters.isascii() and letters.isalpha()):
        return None
    column = 0
    for letter in letters.upper():
        column = column * _ALPHABET + ord(letter) - ord("A") + 1
    return column - 1


def read_ods(pieces: Iterable[bytes], limits: DocumentLimits) -> Sheets:
    """The cells of an OpenDocument spreadsheet. Raises ProcessingFailed as ``walk``."""
    sheets = Sheets([], Collected(limits.text_characters), [])
    workbook = _OpenWorkbook(sheets, limits)
    walk(pieces, limits.xml_depth, start=workbook.start, end=workbook.end, text=workbook.text)
    return sheets


class _OpenWorkbook:
    """The handlers for an OpenDocument spreadsheet, which is one part for all sheets."""

    _CELLS: Final = frozenset({"table-cell", "covered-table-cell"})
    _UNSEEN: Final = frozenset({"annotation", "tracked-changes"})

    def __init__(self, sheets: Sheets, limits: DocumentLimits) -> None:
        self._sheets = sheets
        self._limits = limits
        self._rows = _Rows(sheets, limits.rows)
        self._cells: list[str] = []
        self._content = Collected(0)
        self._repeats = 1
        self._inside = self._unseen = 0

    def start(self, element: str, attributes: Attributes) -> None:
        if self._unseen or element in self._UNSEEN:
            self._unseen += 1
        elif element == "table":
            self._sheets.names.append(attributes.get("name", "")[:60])
            self._rows = _Rows(self._sheets, self._limits.rows)
        elif element == "table-row":
            self._cells = []
        elif element in self._CELLS:
            self._content = Collected(_CELL_CHARACTERS)
            self._repeats = number(attributes.get("number-columns-repeated"), most=_MOST_REPEATS)
        elif element == "p":
            self._content.add("" if self._content.is_empty else " ")
            self._inside += 1

    def end(self, element: str) -> None:
        if self._unseen:
            self._unseen -= 1
        elif element == "p":
            self._inside -= 1
        elif element in self._CELLS:
            room = _MOST_COLUMNS - len(self._cells)
            self._cells.extend([str(self._content)] * min(self._repeats, room))
        elif element == "table-row":
            self._rows.add(self._cells)

    def text(self, text: str) -> None:
        if self._inside and not self._unseen:
            self._content.add(text)
