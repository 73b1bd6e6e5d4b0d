"""Reads what a sandboxed child answered: as untrusted as the bytes that it read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contentplatform.drivers.sandbox import plain_file
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.claims import check_description, check_facts
from contentplatform.processing.port import Rendered, RenderedFile, Transformation
from contentplatform.processing.presets import IMAGE_PRESETS, PROCESSOR, ImagePreset
from contentplatform.processing.transformations import NAME, TRANSFORMATION_FORMATS

_MOST_FILES: Final = 200
_NO_HEADER: Final = re.compile(r"[^A-Za-z0-9 ._+/()-]")
_MOST_PIXELS_A_SIDE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What a rendition of some name may be."""

    content_type: str
    extension: str
    processor: str
    """Who made it, as its user metadata says: the name of the function."""
    format: str
    required: bool = True
    box: tuple[int, int] | None = None
    """Width and height that a picture has to fit; None: it need not say how large it is."""


def _of_preset(preset: ImagePreset) -> Expected:
    return Expected(
        preset.content_type, preset.extension, PROCESSOR, format=preset.format, box=(preset.width, preset.height)
    )


IMAGE_RENDITIONS: Final = {preset.name: _of_preset(preset) for preset in IMAGE_PRESETS}
_JPEG: Final = ("image/jpeg", "jpg")
_VTT: Final = ("text/vtt", "vtt")
_VIDEO: Final = ("content-video-finisher",)
_AUDIO: Final = ("content-audio-processor",)
_DOCUMENT: Final = ("content-document-processor",)
_TRANSFORMER: Final = "content-image-transformer"

AUDIO_RENDITIONS: Final = {
    "m4a": Expected("audio/mp4", "m4a", *_AUDIO, format="aac"),
    "opus": Expected("audio/ogg", "opus", *_AUDIO, format="opus"),
    "waveform": Expected("image/png", "png", *_AUDIO, format="png"),
    "peaks": Expected("application/json", "json", *_AUDIO, format="json"),
    "thumbnail": Expected(*_JPEG, *_AUDIO, format="jpeg", required=False),
    "medium": Expected(*_JPEG, *_AUDIO, format="jpeg", required=False),
}
"""Pictures are of the cover, where there is one."""
DOCUMENT_RENDITIONS: Final = {
    "thumbnail": Expected(*_JPEG, *_DOCUMENT, format="jpeg", required=False),
    "medium": Expected(*_JPEG, *_DOCUMENT, format="jpeg", required=False),
    "preview": Expected("text/plain; charset=utf-8", "txt", *_DOCUMENT, format="text", required=False),
    "text": Expected("text/plain; charset=utf-8", "txt", *_DOCUMENT, format="text", required=False),
}
_VIDEO_RENDITIONS: Final = {
    "poster": Expected(*_JPEG, *_VIDEO, format="jpeg"),
    "thumbnail": Expected(*_JPEG, *_VIDEO, format="jpeg"),
    "medium": Expected(*_JPEG, *_VIDEO, format="jpeg"),
    "storyboard": Expected(*_JPEG, *_VIDEO, format="jpeg"),
    "storyboard-vtt": Expected(*_VTT, *_VIDEO, format="vtt"),
    "hls": Expected("application/vnd.apple.mpegurl", "m3u8", *_VIDEO, format="hls"),
}


def video_renditions(names: Iterable[str]) -> dict[str, Expected]:
    """What may be made of a video: those of every one, and of its own (``hls-720p``, ``captions-de``) those named.

    Captions may turn out empty, and are left out then; all others are required.
    """
    expected = dict(_VIDEO_RENDITIONS)
    for name in names:
        if name.startswith("captions-"):
            expected[name] = Expected(*_VTT, *_VIDEO, format="vtt", required=False)
        elif name.startswith("hls-") and name.endswith("-media"):
            expected[name] = Expected("video/mp4", "mp4", *_VIDEO, format="hls")
        elif name.startswith("hls-"):
            captions = name.startswith("hls-captions-")
            playlist = ("application/vnd.apple.mpegurl", "m3u8")
            expected[name] = Expected(*playlist, *_VIDEO, format="hls", required=not captions)
    return expected


def nonsense(doing: str, private: str) -> ProcessingFailed:
    """The error for an answer that our own code would not give: the child was taken over by its input."""
    return ProcessingFailed(doing, "the decoder answered nonsense", code=ErrorCode.CRASH, private=private)


def check_words(metadata: Mapping[str, Any], descriptive: Mapping[str, Any], *, doing: str) -> None:
    """Make sure that what the catalog will take over is what our own code could have found.

    Raises:
        ProcessingFailed: it isn't.
    """
    try:
        check_facts(metadata)
        check_description(descriptive)
    except ValueError as error:
        raise nonsense(doing, str(error)) from error


def rendered(answer: object, scratch: Path, expected: Mapping[str, Expected], *, doing: str) -> Rendered:
    """What a child made, if its answer has the shape ``{files, metadata, descriptive}`` and every file is expected.

    ``files`` is a list of ``{name, file}``, with ``width`` and ``height`` where it is a picture.

    Raises:
        ProcessingFailed: it hasn't, a file is none of ours, or one that is required is missing.
    """
    match answer:
        case {"files": [*entries], "metadata": dict(metadata), "descriptive": dict(descriptive)} if (
            len(entries) <= _MOST_FILES
        ):
            check_words(metadata, descriptive, doing=doing)
            files = tuple(_file(entry, scratch, expected, metadata, doing) for entry in entries)
        case _:
            raise nonsense(doing, "the result's shape")
    names = [file.name for file in files]
    missing = {name for name, kind in expected.items() if kind.required} - set(names)
    if missing or len(set(names)) != len(names):
        raise nonsense(doing, f"its files are {names}")
    return Rendered(files, metadata, descriptive)


def transformed(answer: object, scratch: Path, wanted: Transformation, *, doing: str) -> RenderedFile:
    """The picture that a child made, if its answer has the shape of ``rendered`` and it fits what was wanted.

    Raises:
        ProcessingFailed: it hasn't, or doesn't.
    """
    made = TRANSFORMATION_FORMATS[wanted.format]
    box = (wanted.width or _MOST_PIXELS_A_SIDE, wanted.height or _MOST_PIXELS_A_SIDE)
    expected = Expected(made.content_type, made.extension, _TRANSFORMER, format=wanted.format, box=box)
    return rendered(answer, scratch, {NAME: expected}, doing=doing).files[0]


def _file(
    entry: object, scratch: Path, expected: Mapping[str, Expected], metadata: Mapping[str, Any], doing: str
) -> RenderedFile:
    match entry:
        case {"name": str(name), "file": str(file), **rest} if name in expected:
            kind = expected[name]
            width, height = _side(rest.get("width"), doing), _side(rest.get("height"), doing)
            if kind.box is not None and not (width and height and width <= kind.box[0] and height <= kind.box[1]):
                raise nonsense(doing, f"the size of {name}")
            return RenderedFile(
                name=name,
                path=plain_file(scratch, file, doing=doing),
                content_type=kind.content_type,
                extension=kind.extension,
                width=width,
                height=height,
                user_metadata={
                    "processed": "true",
                    "processor": kind.processor,
                    "format": kind.format,
                    "original-format": original_format(metadata),
                },
            )
    raise nonsense(doing, "the entry of a file")


def original_format(metadata: Mapping[str, Any]) -> str:
    """What a rendition says of its original's format: it becomes a header of HTTP, so letters and little else."""
    return _NO_HEADER.sub("", str(metadata.get("format")))[:80]


def _side(value: object, doing: str) -> int | None:
    if value is None or (type(value) is int and 0 < value <= _MOST_PIXELS_A_SIDE):
        return value
    raise nonsense(doing, "the size of a picture")
