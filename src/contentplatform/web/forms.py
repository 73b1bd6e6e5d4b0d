"""Forms with files, as browsers send them: read as they come, each file streamed to its place.

A file that came whole is stored, whatever becomes of the rest of the form; one that is cut off is not. Fields count for
the files behind them: ``folder`` and ``key``, as in the metadata of an upload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from contentplatform.errors import InvalidRequest, PlatformError
from contentplatform.ingest.uploads import Receiving, TooLarge

FORM_TYPE: Final = "multipart/form-data"
_DOING: Final = "reading a form"

Begin = Callable[[str, str, Mapping[str, str]], Receiving]
"""Begins to take a file: by its name, the type that is claimed for it, and the fields before it."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one form may hold."""

    files: int = 1_000
    fields: int = 100
    field_bytes: int = 65_536
    """Of one field."""
    headers: int = 8
    header_bytes: int = 8_192
    """Of one part."""


class FormReader:
    """One form. Used by one thread at a time."""

    def __init__(self, content_type: str, limits: FormLimits, begin: Begin) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise InvalidRequest(_DOING, "its type names no boundary")
        self._limits = limits
        self._begin = begin
        self._fields: dict[str, str] = {}
        self._fields_seen = 0
        self._stored: list[dict[str, Any]] = []
        self._files = 0
        self._failed: PlatformError | None = None
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._field: bytearray | None = None
        self._field_name = ""
        self._file: Receiving | None = None
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_end": self._on_end,
                },
                max_header_count=limits.headers,
                max_header_size=limits.header_bytes,
            )
        except FormParserError as error:
            raise InvalidRequest(_DOING, "its boundary is too long") from error

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the form.

        Raises:
            InvalidRequest: that is no form, or holds more than is taken.
            PlatformError: what storing one of its files raised, when it was the first.
        """
        try:
            self._parser.write(bytes(data))
        except FormParserError as error:
            raise InvalidRequest(_DOING, "it is malformed", hint=self._told()) from error

    def finish(self) -> list[dict[str, Any]]:
        """The form has ended: what became of each of its files.

        Raises:
            InvalidRequest: it has not, or there was no file in it. PlatformError: no file could be stored.
        """
        if not self._ended:
            raise InvalidRequest(_DOING, "it ends before its last boundary", hint=self._told())
        if not self._files:
            raise InvalidRequest(_DOING, "there is no file in it")
        if self._failed is not None and all("version_id" not in item for item in self._stored):
            raise self._failed
        return self._stored

    def abandon(self) -> None:
        """Forget the file that is on its way. Idempotent."""
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _told(self) -> str:
        stored = sum("version_id" in item for item in self._stored)
        return f"Files before that were stored: {stored}" if stored else ""

    # -- what the parser finds ---------------------------------------------------------------------------------

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest(_DOING, "a part of it has no name", hint=self._told())
        content_type = self._headers.get("content-type", b"").decode("latin-1").strip()
        if content_type.lower().startswith("multipart/"):
            raise InvalidRequest(_DOING, "a form within a form is not taken", hint=self._told())
        if b"filename" in options:
            self._begin_file(_text(options[b"filename"]), content_type)
        else:
            self._begin_field(_text(options[b"name"]))

    def _begin_file(self, name: str, content_type: str) -> None:
        if not name:
            return  # a field for files, left empty
        self._files += 1
        if self._files > self._limits.files:
            raise InvalidRequest(_DOING, f"it has more than {self._limits.files} files", hint=self._told())
        try:
            self._file = self._begin(name, content_type, self._fields)
        except PlatformError as error:
            self._note_failure(name, error)

    def _begin_field(self, name: str) -> None:
        self._fields_seen += 1
        if self._fields_seen > self._limits.fields:
            raise InvalidRequest(_DOING, f"it has more than {self._limits.fields} fields", hint=self._told())
        self._field, self._field_name = bytearray(), name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            try:
                self._file.write(data if (start, end) == (0, len(data)) else data[start:end])
            except PlatformError as error:
                key = self._file.key
                self.abandon()
                self._note_failure(key, error)
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > self._limits.field_bytes:
                raise TooLarge(_DOING, f"a field has more than {self._limits.field_bytes} bytes", hint=self._told())

    def _on_part_end(self) -> None:
        if self._field is not None:
            self._fields[self._field_name] = _text(bytes(self._field))
            self._field = None
        if self._file is not None:
            file, self._file = self._file, None
            try:
                self._stored.append({"key": file.key, "version_id": file.finish()})
            except PlatformError as error:
                self._note_failure(file.key, error)

    def _on_end(self) -> None:
        self._ended = True

    def _note_failure(self, name: str, error: PlatformError) -> None:
        self._failed = self._failed or error
        self._stored.append({"key": name, "error": error.public})


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(_DOING, "a name or a field of it is not UTF-8") from error
