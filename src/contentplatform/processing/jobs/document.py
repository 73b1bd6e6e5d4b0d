"""The job of the documents' sandbox: a document's pictures, its text, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.jobs.office import OFFICE_TYPES, read_office
from contentplatform.processing.jobs.pdf import read_pdf
from contentplatform.processing.jobs.raster import small_jpegs
from contentplatform.processing.jobs.reading import DOING, Reading, cleaned, indexed
from contentplatform.processing.jobs.text import TEXT_TYPES, read_text
from contentplatform.processing.presets import DocumentLimits

_READERS: Final[Mapping[str, Callable[[int, str, DocumentLimits], Reading]]] = {
    "application/pdf": read_pdf,
    **dict.fromkeys(OFFICE_TYPES, read_office),
    **dict.fromkeys(TEXT_TYPES, read_text),
}


def render(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: every rendition of the document behind the descriptor ``source``, into the current folder.

    Raises:
        ProcessingFailed: broken, over a limit, or of a type that nothing here reads.
    """
    limits = DocumentLimits(**request["limits"])
    content_type = request["content_type"]
    if content_type not in _READERS:
        raise ProcessingFailed(
            DOING,
            f"{content_type} can't be read here",
            code=ErrorCode.UNSUPPORTED,
            hint="The original is kept; save it as PDF to get a preview",
        )
    return _answer(_READERS[content_type](source, content_type, limits))


def _answer(reading: Reading) -> dict[str, Any]:
    text = cleaned(reading.text)
    files = [] if reading.picture is None else small_jpegs(reading.picture)
    for name, content in (("text", text), ("preview", cleaned(reading.preview))):
        if content:
            file = f"{name}.txt"
            Path(file).write_bytes(content.encode() + b"\n")
            files.append({"name": name, "file": file})
    metadata = dict(reading.metadata)
    if text:
        metadata |= {"characters": len(text), "text": indexed(text)}
    return {"files": files, "metadata": metadata, "descriptive": reading.descriptive}
