"""Texts: plain, Markdown, CSV, JSON, and of HTML what can be read. Nothing in them is followed, run or evaluated."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import string
from collections.abc import Sequence
from typing import Any, Final

from contentplatform.processing.jobs.escapes import unescaped
from contentplatform.processing.jobs.reading import Collected, Reading, cleaned, described
from contentplatform.processing.jobs.typeset import page_of
from contentplatform.processing.presets import DocumentLimits

_HTML: Final = "text/html"
_TABLES: Final = {"text/csv": ",", "text/tab-separated-values": "\t"}
_FORMATS: Final = {
    "text/plain": "text",
    "text/markdown": "Markdown",
    "text/csv": "CSV",
    "text/tab-separated-values": "TSV",
    "application/json": "JSON",
    _HTML: "HTML",
}
TEXT_TYPES: Final = frozenset(_FORMATS)
_IN_COLUMNS: Final = frozenset({*_TABLES, "application/json"})

_BYTES_A_CHARACTER: Final = 4
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WESTERN: Final = "windows-1252"
_DECLARED_ENCODINGS: Final = (
    *("windows-1250", "windows-1251", _WESTERN, "windows-1253", "windows-1254", "windows-1255", "windows-1256"),
    *("iso-8859-1", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15", "koi8-r", "koi8-u"),
    *("shift_jis", "euc-jp", "euc-kr", "gb18030", "gbk", "gb2312", "big5", "utf-8"),
)
_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_CHARSET_WINDOW_BYTES: Final = 4_096

# Loaded while the process may still open files.
_ENCODINGS: Final = {name: codecs.lookup(name) for name in (*_DECLARED_ENCODINGS, "utf-16-le", "utf-16-be", "latin-1")}

PREVIEW_LINES: Final = 200
PREVIEW_CHARACTERS: Final = 20_000
_DELIMITERS: Final = ",;\t|"
_DELIMITER_LINES: Final = 20
_CELL_CHARACTERS: Final = 32
_MOST_COLUMNS: Final = 50
_MOST_FIELD_CHARACTERS: Final = 1_000_000
csv.field_size_limit(_MOST_FIELD_CHARACTERS)


def read_text(source: int, content_type: str, limits: DocumentLimits) -> Reading:
    """Read the text behind the descriptor ``source``. It never fails: every byte means something in some encoding."""
    size_bytes = os.fstat(source).st_size
    raw = os.pread(source, limits.text_characters * _BYTES_A_CHARACTER, 0)
    text, encoding = decoded(raw, is_whole=len(raw) >= size_bytes, is_html=content_type == _HTML)
    metadata: dict[str, Any] = {"format": _FORMATS[content_type], "encoding": encoding}
    title = ""
    if content_type == _HTML:
        text, title = read_html(text, limits.text_characters)
    elif len(raw) >= size_bytes:
        metadata["lines"] = text.count("\n") + (not text.endswith("\n")) if text else 0
    if len(raw) < size_bytes or len(text) > limits.text_characters:
        metadata["text_cut"] = True
        text = text[: limits.text_characters]
    preview = first_screen(text)
    if content_type in _TABLES:
        rows = _rows(text, _TABLES[content_type], limits.rows)
        preview = table(rows)
        metadata["columns"] = max(map(len, rows), default=0)
    return Reading(
        text=text,
        preview=preview,
        picture=page_of(cleaned(preview), in_columns=content_type in _IN_COLUMNS),
        metadata=metadata,
        descriptive=described(title=title),
    )


def decoded(raw: bytes, *, is_whole: bool, is_html: bool = False) -> tuple[str, str]:
    """The text, and the name of its encoding: by its mark, as UTF-8, as HTML declares, else as Western Europe writes.

    ``is_whole``: the last character is not cut.
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _ENCODINGS[name].decode(raw.removeprefix(mark), "replace")[0], name
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(raw, final=is_whole), "utf-8"
    except UnicodeDecodeError:
        pass
    declared = _CHARSET.search(raw[:_CHARSET_WINDOW_BYTES]) if is_html else None
    name = declared.group(1).decode("ascii").lower() if declared else ""
    name = name if name in _ENCODINGS else _WESTERN
    return _ENCODINGS[name].decode(raw, "replace")[0], name


def first_screen(text: str) -> str:
    """The first lines of a text."""
    return "\n".join(text[:PREVIEW_CHARACTERS].split("\n")[:PREVIEW_LINES])


# -- tables ----------------------------------------------------------------------------------------------------------


def _rows(text: str, delimiter: str, limit: int) -> list[list[str]]:
    """The first rows of a table; what looks like a formula is text like any other."""
    delimiter = _delimiter(text, delimiter)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) == limit:
                break
    except csv.Error:
        pass  # a cell without end: the rows before it are a table
    return rows


def _delimiter(text: str, usual: str) -> str:
    """What parts the cells: what every one of the first lines has, and most of; else what the type says."""
    lines = [line for line in text[:PREVIEW_CHARACTERS].splitlines()[:_DELIMITER_LINES] if line.strip()]
    if not lines:
        return usual
    counts = {mark: min(line.count(mark) for line in lines) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: (counts[mark], mark == usual))
    return best if counts[best] else usual


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns of even width, cells cut to what fits a screen."""
    cells = [[" ".join(cell.split())[:_CELL_CHARACTERS] for cell in row[:_MOST_COLUMNS]] for row in rows]
    widths: list[int] = []
    for row in cells:
        widths += [0] * (len(row) - len(widths))
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], len(cell))
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells)
    return "\n".join(lines)[:PREVIEW_CHARACTERS]


# -- HTML ------------------------------------------------------------------------------------------------------------

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Lower case that keeps every character in its place."""
_SPACES: Final = re.compile(r"\s+")
_TAG_NAME: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,30})")
_UNSEEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "math", "iframe", "object", "textarea"})
_BLOCKS: Final = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "footer", "form"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option", "p", "pre"),
        *("section", "table", "tr", "ul"),
    }
)
_CELLS: Final = frozenset({"td", "th"})
_TITLE_CHARACTERS: Final = 300


def read_html(text: str, limit_characters: int) -> tuple[str, str]:
    """What a reader sees of a page, and its title: text between tags. No attribute is looked at, nothing is fetched.

    One walk from front to back, whatever is missing: a tag or a script without end reaches to the end of the page.
    """
    lower = text.translate(_LOWER)
    seen = Collected(limit_characters)
    title = ""
    place = 0
    while place < len(text) and not seen.is_full:
        start = text.find("<", place)
        if start < 0:
            start = len(text)
        seen.add(_SPACES.sub(" ", unescaped(text[place:start])))
        name, place = _past_tag(lower, start)
        if name in _BLOCKS:
            seen.add("\n")
        elif name in _CELLS:
            seen.add("\t")
        elif name in _UNSEEN or name == "title":
            end = lower.find(f"</{name}", place)
            end = len(text) if end < 0 else end
            if name == "title" and not title:
                title = " ".join(unescaped(text[place : min(end, place + _TITLE_CHARACTERS)]).split())
            place = end
        elif name == "<":
            seen.add(name)
    return "\n".join(line.strip(" ") for line in str(seen).split("\n")), title


def _past_tag(lower: str, start: int) -> tuple[str, int]:
    """The name of the tag that begins at ``start``, and the place behind it; ``<`` for a sign that begins none."""
    if lower.startswith("<!--", start):
        end = lower.find("-->", start + 4)
        return "", len(lower) if end < 0 else end + 3
    opened = _TAG_NAME.match(lower, start)
    if opened is None and not lower.startswith(("<!", "<?", "</"), start):
        return "<", start + 1
    end = lower.find(">", start)
    is_opening = opened is not None and not lower.startswith("</", start)
    name = opened.group(1) if opened is not None else ""
    return (name if is_opening or name in _BLOCKS else ""), len(lower) if end < 0 else end + 1
