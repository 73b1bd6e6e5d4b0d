"""Pictures that jobs draw or decode themselves, as our renditions: frames of films, waveforms, pages, covers.

Pixels come in as plain RGB; a picture that lies inside a film, a sound or a document comes in as the file that it is,
and passes the same header checks and the same few decoders as an image of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyvips

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.image import encoded, fitted, on_white, open_picture, small_pair
from contentplatform.processing.presets import MEDIUM, THUMBNAIL, ImageLimits, ImagePreset
from contentplatform.processing.probe import HEAD_SIZE_BYTES, sniff

_DOING: Final = "reading the picture inside the file"
_INNER_FILE: Final = "picture-inside"
_SPACES: Final = {1: "b-w", 3: "srgb", 4: "srgb"}
_RGB_BANDS: Final = 3
_PNG_COMPRESSION: Final = 9
"""Drawn pictures have few colours: the encoder is done in no time."""


def from_pixels(pixels: bytes | memoryview, width: int, height: int, *, bands: int = _RGB_BANDS) -> pyvips.Image:
    """A picture of rows without padding, 8 bits a sample: grey (1 band), RGB (3), or RGB with transparency (4).

    The colours are sRGB. ``pixels`` is copied.

    Raises:
        ValueError: there are not ``width * height * bands`` bytes.
    """
    if len(pixels) != width * height * bands:
        raise ValueError(f"{len(pixels)} bytes are no {width} x {height} pixels of {bands} bands")
    image = pyvips.Image.new_from_memory(bytes(pixels), width, height, bands, "uchar")
    return image.copy(interpretation=_SPACES[bands])


def picture_of(content: bytes, limits: ImageLimits) -> pyvips.Image:
    """An untrusted picture file (a cover, an embedded preview): upright, sRGB, on white, no larger than ``MEDIUM``.

    Raises:
        ProcessingFailed: broken, over a limit, or of a type that no allowed decoder opens.
    """
    found = sniff(content[:HEAD_SIZE_BYTES], len(content))
    descriptor = os.open(_INNER_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        medium, _ = small_pair(open_picture(found.content_type, descriptor, limits))
        return on_white(medium).copy_memory()
    except pyvips.Error as error:
        raise ProcessingFailed(
            _DOING, "it is broken or incomplete", code=ErrorCode.DECODE, private=str(error)
        ) from error
    finally:
        os.close(descriptor)
        os.unlink(_INNER_FILE)  # noqa: PTH108 - beside os.open


def jpeg(image: pyvips.Image, preset: ImagePreset) -> Mapping[str, Any]:
    """Write the rendition that ``preset`` describes into the current folder: fits its box, never enlarged, no metadata.

    Returns the entry of the job's answer: ``name``, ``file``, ``width``, ``height``.
    """
    image = on_white(_fit(image, preset))
    return _written(encoded(image, preset), preset.name, preset.extension, (image.width, image.height))


def small_jpegs(image: pyvips.Image) -> list[Mapping[str, Any]]:
    """Write ``medium`` and ``thumbnail``; see ``jpeg``."""
    medium = _fit(image, MEDIUM).copy_memory()
    return [jpeg(medium, MEDIUM), jpeg(medium, THUMBNAIL)]


def png(image: pyvips.Image, name: str) -> Mapping[str, Any]:
    """Write a picture that was drawn as the rendition ``name``, losslessly; returns its entry as ``jpeg`` does."""
    content = image.pngsave_buffer(compression=_PNG_COMPRESSION, keep="none")
    return _written(content, name, "png", (image.width, image.height))


def _fit(image: pyvips.Image, preset: ImagePreset) -> pyvips.Image:
    width, height = fitted(image.width, image.height, preset)
    if (image.width, image.height) == (width, height):
        return image
    return image.resize(width / image.width, vscale=height / image.height)


def _written(content: bytes, name: str, extension: str, size: tuple[int, int]) -> Mapping[str, Any]:
    file = f"{name}.{extension}"
    Path(file).write_bytes(content)
    return {"name": name, "file": file, "width": size[0], "height": size[1]}
