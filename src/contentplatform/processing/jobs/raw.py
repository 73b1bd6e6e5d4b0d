"""A camera's raw file: the picture that the camera itself made of it and put inside, and what it says of the shot.

A raw file is what a sensor saw; the camera's own picture of it is what the photographer saw. That one is shown, through
the same decoders and checks as any other JPEG. Only where there is none, or one too small to be of use, LibRaw makes a
picture of half the size out of the sensor's values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final

import rawpy

from contentplatform.errors import ErrorCode, ProcessingFailed

_DOING: Final = "reading the camera's raw file"
_MOST_FILE_BYTES: Final = 1 << 30
_USABLE_PIXELS: Final = 640
"""A picture whose longer side has fewer is a stamp for the camera's own screen."""
_ORIENTATIONS: Final = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF's number for LibRaw's."""
_FIRST_SIDEWAYS: Final = 5
_ROUNDING: Final = 6
_TOO_MUCH: Final = (rawpy.LibRawTooBigError, rawpy.LibRawMemPoolOverflowError, rawpy.LibRawUnsufficientMemoryError)
_NO_PREVIEW: Final = (
    rawpy.LibRawNoThumbnailError,
    rawpy.LibRawUnsupportedThumbnailError,
    rawpy.LibRawRequestForNonexistentImageError,
)


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture that is no file: RGB or grey, 8 bits, rows without padding."""

    content: bytes
    width: int
    height: int
    bands: int


@dataclass(frozen=True, slots=True)
class RawFile:
    """What a raw file gives."""

    jpeg: bytes
    """The camera's own picture; empty where there is none that is of use."""
    pixels: Pixels | None
    """What else there is to show."""
    source: str
    """Where the picture comes from: ``preview`` or ``sensor``."""
    width: int
    height: int
    """Of the sensor's picture, upright."""
    orientation: int
    """How the picture has to be turned where it does not say so itself."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the shot, under EXIF's names; for where the file's own EXIF can't be read."""


def read_raw(source: int, most_pixels: int, *, from_sensor: bool = False) -> RawFile:
    """Read the raw file behind the descriptor ``source``; with ``from_sensor``, whatever picture is inside.

    Raises:
        ProcessingFailed: broken, over a limit, of a camera that LibRaw does not know, or without anything to show.
    """
    size_bytes = os.fstat(source).st_size
    if size_bytes > _MOST_FILE_BYTES:
        raise _failed(f"it has more than {_MOST_FILE_BYTES >> 20} MiB", ErrorCode.LIMIT)
    raw = rawpy.RawPy()
    try:
        with os.fdopen(os.dup(source), "rb") as stream:
            stream.seek(0)
            raw.open_buffer(stream)
        return _read(raw, most_pixels, from_sensor=from_sensor)
    except _TOO_MUCH as error:
        raise _failed("decoding it would take more than the decoder allows", ErrorCode.LIMIT, error) from error
    except rawpy.LibRawFileUnsupportedError as error:
        raise _failed("it is of a camera that the decoder does not know", ErrorCode.UNSUPPORTED, error) from error
    except rawpy.LibRawError as error:
        raise _failed("it is broken or incomplete", ErrorCode.DECODE, error) from error
    finally:
        raw.close()


def _read(raw: rawpy.RawPy, most_pixels: int, *, from_sensor: bool) -> RawFile:
    sizes = raw.sizes
    if sizes.raw_width * sizes.raw_height > most_pixels:
        why = (
            f"it has {sizes.raw_width} x {sizes.raw_height} pixels; at most {most_pixels / 1e6:g} million are processed"
        )
        raise _failed(why, ErrorCode.LIMIT)
    orientation = _ORIENTATIONS.get(sizes.flip, 1)
    width, height = sizes.width, sizes.height
    jpeg, pixels = (b"", None) if from_sensor else _preview(raw)
    shown = "preview"
    if not jpeg and (pixels is None or is_stamp(pixels.width, pixels.height, width, height)):
        pixels, shown = _developed(raw), "sensor"
    if orientation >= _FIRST_SIDEWAYS:
        width, height = height, width
    return RawFile(jpeg, pixels, shown, width, height, orientation, _facts(raw))


def is_stamp(width: int, height: int, full_width: int, full_height: int) -> bool:
    """Whether a picture is too small to stand for a picture of the full size."""
    return max(width, height) < min(_USABLE_PIXELS, max(full_width, full_height))


def _preview(raw: rawpy.RawPy) -> tuple[bytes, Pixels | None]:
    """The largest picture inside, as the JPEG or as the pixels that it is."""
    try:
        thumb = raw.extract_thumb()
    except _NO_PREVIEW:
        return b"", None
    if thumb.format == rawpy.ThumbFormat.JPEG:
        return bytes(thumb.data), None
    return b"", _pixels(thumb.data)


def _developed(raw: rawpy.RawPy) -> Pixels:
    """The sensor's values as a picture of half the size, not yet upright, in sRGB."""
    return _pixels(raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8, user_flip=0))


def _pixels(rows: Any) -> Pixels:
    height, width, bands = rows.shape
    return Pixels(rows.tobytes(), int(width), int(height), int(bands))


def _facts(raw: rawpy.RawPy) -> dict[str, Any]:
    shot, lens = raw.other, raw.lens
    found = {
        "ISO": round(shot.iso_speed) if 0 < shot.iso_speed < 1e9 else None,
        "ExposureTime": _positive(shot.shutter_speed),
        "FNumber": _positive(shot.aperture),
        "FocalLength": _positive(shot.focal_length),
        "LensMake": lens.make,
        "LensModel": lens.model,
    }
    return {name: value for name, value in found.items() if value}


def _positive(number: float) -> float | None:
    return round(float(number), _ROUNDING) if 0 < number < 1e9 else None


def _failed(why: str, code: ErrorCode, error: Exception | None = None) -> ProcessingFailed:
    return ProcessingFailed(
        _DOING,
        why,
        code=code,
        hint="The original is kept; save it as JPEG or TIFF to get renditions",
        private="" if error is None else f"{type(error).__name__}: {error}",
    )
