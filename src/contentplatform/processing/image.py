"""Makes the renditions of one image: the only importer of libvips and libheif, and it runs in sandboxed children only.

The parent process of those children imports this module and must not run an operation of it: nothing here touches a
pixel at import. ``render`` is the job: it checks the header against the limits, makes the small renditions from one
shrunken decode and the full one from a streamed decode, and answers with facts as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pi_heif  # type: ignore[import-untyped]  # it ships no types
import pyvips

from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed
from contentplatform.processing.embedded import Credit, Embedded, as_ascii, credit_xmp, describe
from contentplatform.processing.integrity import ends_early
from contentplatform.processing.jobs.raw import RawFile, is_stamp, read_raw
from contentplatform.processing.presets import (
    ALLOWED_LOADERS,
    MEDIUM,
    THUMBNAIL,
    WEBP,
    ImageLimits,
    ImagePreset,
)
from contentplatform.processing.raw_types import RAW_TYPES

_DOING: Final = "making the image's renditions"
_WHITE: Final = [255, 255, 255]
_UPRIGHT: Final = 1
_FIRST_SIDEWAYS: Final = 5
_SHRINKS: Final = (8, 4, 2)
_LEAVE_TO_LANCZOS: Final = 2.0
"""A shrinking decode leaves at least this factor to Lanczos: with less, the result is under 50 dB of the exact one."""
_LEAVE_TO_QUICK_LANCZOS: Final = 1.5
_MOST_SHIFT: Final = 1 / 16
"""In pixels of the result. Within these two every size measured was over 50 dB, and up to 1.5 times as fast."""
_HELD_SAMPLES: Final = 16 << 20
"""Of a decoded frame. One that is no larger is held whole: handing it on in strips takes 5 to 12 % more time."""
_PREVIEW_FILE: Final = "preview-inside"
_CANON_BOX: Final = b"CMT1"
_MOST_WEBP_FRAMES: Final = 20_000
"""Of these the list takes seconds, of five times as many it takes 25 times as long."""
_PNG_HEAD_BYTES: Final = 1 << 20
_HASH_COLUMNS: Final = 9
_HASH_ROWS: Final = 8
_OPAQUE: Final = 255
_ICC: Final = "icc-profile-data"
_METADATA_PREFIXES: Final = ("exif-", "xmp-", "iptc-", "orientation", "jpeg-thumbnail", "png-comment", "gif-comment")
_JPEG: Final = "image/jpeg"
_PNG: Final = "image/png"
_WEBP: Final = "image/webp"
_TIFF: Final = "image/tiff"
_ANIMATED: Final = frozenset({"image/gif", "image/webp"})
_GREY: Final = frozenset({"b-w", "grey16"})
_MODES: Final = {"srgb": "rgb", "rgb16": "rgb", "scrgb": "rgb"}
_BITS: Final = {"uchar": 8, "ushort": 16, "float": 32}
_HEIF_SPACES: Final = {1: "b-w", 2: "b-w", 3: "srgb", 4: "srgb"}
_HEIF_ERRORS: Final = (ValueError, EOFError, RuntimeError, SyntaxError, OSError, IndexError)
"""The last: it names a picture that is not there."""
_SIGNS_OF_A_LIMIT: Final = ("too many scans", "exceeds", "too large", "limit")
_FORMAT_NAMES: Final = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WebP",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/heic": "HEIC",
    "image/heif": "HEIF",
}

# An allow-list: everything that loads is shut, then the decoders of the table are opened again.
pyvips.operation_block_set("VipsForeignLoad", True)  # noqa: FBT003 - libvips' own signature
for _loader in ALLOWED_LOADERS:
    if _loader.vips_class:
        pyvips.operation_block_set(_loader.vips_class, False)  # noqa: FBT003
# One job decodes one file once; remembering operations would only hold memory.
pyvips.cache_set_max(0)
# What libvips tells of its work, eight lines a picture, would be formatted for a log that nobody reads.
pyvips._remove_log_handler()  # noqa: SLF001 - pyvips has no public way
pi_heif.options.DECODE_THREADS = 1

_OPERATIONS: Final = {loader.content_type: loader.operation for loader in ALLOWED_LOADERS}


@dataclass(frozen=True, slots=True)
class Picture:
    """An opened source: its header, checked, and how to decode it."""

    content_type: str
    source: int
    header: pyvips.Image
    decoded: pyvips.Image | None
    """The pixels, for decoders that give all of them at once."""
    frames: int
    orientation: int
    embedded: Embedded
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known better than by the header: of a raw file, whose picture this is only a part of."""
    shot: Mapping[str, Any] = field(default_factory=dict)
    """How it was taken, under EXIF's names, where its own EXIF does not tell."""

    @property
    def width(self) -> int:
        """Upright width of one frame."""
        return self.frame[1] if self.orientation >= _FIRST_SIDEWAYS else self.frame[0]

    @property
    def height(self) -> int:
        """Upright height of one frame."""
        return self.frame[0] if self.orientation >= _FIRST_SIDEWAYS else self.frame[1]

    @property
    def frame(self) -> tuple[int, int]:
        """Width and height of one frame as it is stored."""
        return self.header.width, self.header.get_page_height()

    def first_frame(self, shrink: int = 1) -> pyvips.Image:
        """The first frame, not yet upright, as a stream that is read once from top to bottom."""
        if self.decoded is not None:
            return self.decoded
        options = {"shrink": shrink} if shrink > 1 else {}
        return _load(self.content_type, self.source, **options)

    def all_frames(self) -> pyvips.Image:
        """Every frame below the other."""
        return _load(self.content_type, self.source, n=-1)


def render(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: every rendition of the image behind the descriptor ``source``, into the current folder.

    Raises:
        ProcessingFailed: broken, over a limit, or of a type that no allowed decoder opens.
    """
    limits, content_type = ImageLimits(**request["limits"]), request["content_type"]
    try:
        try:
            return _rendered(open_picture(content_type, source, limits), limits)
        except pyvips.Error:
            if content_type not in RAW_TYPES:
                raise
            # The picture inside begins well and goes on badly; the sensor's values may be sound.
            return _rendered(_open_raw(content_type, source, limits, from_sensor=True), limits)
    except pyvips.Error as error:
        raise refused(str(error)) from error


def _rendered(picture: Picture, limits: ImageLimits) -> dict[str, Any]:
    found = describe(picture.embedded)
    dropped = _why_animation_is_dropped(picture, limits)
    # The full one first: it needs the most memory, and is better off before the others have used some.
    webp = _write(full(picture, animated=picture.frames > 1 and dropped is None), WEBP, found.credit)
    medium, thumbnail = small_pair(picture)
    files = [
        _write(on_white(thumbnail), THUMBNAIL, found.credit),
        _write(on_white(medium), MEDIUM, found.credit),
        webp,
    ]
    metadata = {
        **_form(picture, medium),
        "dominant_colour": dominant_colour(on_white(thumbnail)),
        "perceptual_hash": perceptual_hash(on_white(thumbnail)),
        "animation": None if dropped is None else f"dropped: {dropped}",
        "exif": {**picture.shot, **found.exif},
        "private": found.private,
        **picture.facts,
    }
    return {
        "files": files,
        "metadata": {name: value for name, value in metadata.items() if value not in (None, {})},
        "descriptive": found.descriptive,
    }


# -- opening ---------------------------------------------------------------------------------------------------------


def open_picture(content_type: str, source: int, limits: ImageLimits) -> Picture:
    """Read the header behind the descriptor ``source`` and hold it against ``limits``; nothing is decoded yet.

    Raises:
        ProcessingFailed: over a limit, or of a type that no allowed decoder opens.
        pyvips.Error: the decoder refused the header.
    """
    if content_type in RAW_TYPES:
        return _open_raw(content_type, source, limits)
    if content_type not in _OPERATIONS:
        raise ProcessingFailed(
            _DOING,
            f"{content_type} pictures can't be decoded here",
            code=ErrorCode.UNSUPPORTED,
            hint="The original is kept; save it as JPEG, PNG or WebP to get renditions",
        )
    if ends_early(content_type, source):
        raise refused("the file ends within a block")
    if not _OPERATIONS[content_type]:
        return _open_heif(content_type, source, limits)
    if content_type == _WEBP:
        _check_webp_frames(source)
    header = _load(content_type, source)
    height = header.get_page_height()
    _check_size(header.width, height, limits)
    return Picture(
        content_type=content_type,
        source=source,
        header=header,
        decoded=None,
        frames=_frame_count(content_type, header, source),
        orientation=_orientation(header),
        embedded=Embedded(
            exif=_block(header, "exif-data", limits),
            iptc=_block(header, "iptc-data", limits),
            xmp=_block(header, "xmp-data", limits),
        ),
    )


def _open_heif(content_type: str, source: int, limits: ImageLimits) -> Picture:
    """HEVC inside HEIF, which libvips is not built for; libheif turns it upright by itself."""
    os.lseek(source, 0, os.SEEK_SET)
    try:
        with os.fdopen(os.dup(source), "rb") as stream:
            container = pi_heif.open_heif(stream, convert_hdr_to_8bit=True)
            width, height = container.size
            _check_size(width, height, limits)
            pixels = bytes(container.data)  # a copy: the view is not valid longer than its container
    except _HEIF_ERRORS as error:
        raise refused(f"{type(error).__name__}: {error}") from error
    bands = len(container.mode)
    image = pyvips.Image.new_from_memory(pixels, container.stride, height, 1, "uchar")
    # Rows may be padded; folding the bands in afterwards leaves the padding out.
    image = image.crop(0, 0, width * bands, height).bandfold(factor=bands).copy(interpretation=_HEIF_SPACES[bands])
    profile = container.info.get("icc_profile")
    if profile and len(profile) <= limits.embedded_bytes:
        image = _with_field(image, pyvips.GValue.blob_type, _ICC, profile)
    return Picture(
        content_type=content_type,
        source=source,
        header=image,
        decoded=image,
        frames=1,
        orientation=_UPRIGHT,
        embedded=Embedded(
            exif=_bounded(container.info.get("exif"), limits), xmp=_bounded(container.info.get("xmp"), limits)
        ),
    )


def _open_raw(content_type: str, source: int, limits: ImageLimits, *, from_sensor: bool = False) -> Picture:
    """The picture inside a camera's raw file; where it is none of use, one of half the sensor's size."""
    raw = read_raw(source, limits.pixels, from_sensor=from_sensor)
    picture = _shown_by(raw, limits)
    if picture is None or is_stamp(*picture.frame, raw.width, raw.height):
        try:
            raw = read_raw(source, limits.pixels, from_sensor=True)
        except ProcessingFailed:
            if picture is None:
                raise
        else:
            picture = _shown_by(raw, limits) or picture
    if picture is None:
        raise refused("nothing inside can be shown")
    head = os.pread(source, limits.embedded_bytes, 0)
    return replace(
        picture,
        orientation=_turn(picture, raw),
        embedded=replace(picture.embedded, exif=_camera_block(head) or picture.embedded.exif),
        facts={
            "width": raw.width,
            "height": raw.height,
            "format": "raw",
            "raw_format": content_type.rpartition("-")[2].upper(),
            "shown": raw.source,
            "shown_width": picture.frame[0],
            "shown_height": picture.frame[1],
            "bits_per_sample": None,
        },
        shot=raw.facts,
    )


def _shown_by(raw: RawFile, limits: ImageLimits) -> Picture | None:
    """The picture that a raw file gave, opened; None where no decoder takes it."""
    if raw.pixels is not None:
        pixels = raw.pixels
        _check_size(pixels.width, pixels.height, limits)
        image = pyvips.Image.new_from_memory(pixels.content, pixels.width, pixels.height, pixels.bands, "uchar")
        image = image.copy(interpretation=_HEIF_SPACES[pixels.bands])
        return Picture(_JPEG, -1, image, decoded=image, frames=1, orientation=_UPRIGHT, embedded=Embedded())
    # The decoders read descriptors; this file lives as long as the job's folder, and nobody asks for it.
    descriptor = os.open(_PREVIEW_FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(raw.jpeg)
    try:
        return open_picture(_JPEG, descriptor, limits)
    except pyvips.Error:
        return None


def _turn(picture: Picture, raw: RawFile) -> int:
    """How a raw file's picture has to be turned: as it says, else as the raw file does, unless it was already.

    LibRaw writes the raw file's own turn into pictures that say nothing, upright or not.
    """
    wanted = raw.orientation if picture.orientation == _UPRIGHT else picture.orientation
    width, height = picture.frame
    is_turned = wanted >= _FIRST_SIDEWAYS and (width < height) == (raw.width < raw.height)
    return _UPRIGHT if is_turned else wanted


def _camera_block(head: bytes) -> bytes:
    """The TIFF in which a raw file's camera describes itself: most are one; Canon's newest hold one in a box."""
    if head[:2] in {b"II", b"MM"}:
        return head
    place = head.find(_CANON_BOX)
    return head[place + len(_CANON_BOX) :] if place >= 0 else b""


def _load(content_type: str, source: int, **options: int) -> pyvips.Image:
    """Open the decoder anew; bytes that are missing or broken are an error, never a grey area."""
    os.lseek(source, 0, os.SEEK_SET)
    # Called by its name: as an attribute, pyvips would write its documentation first.
    image: pyvips.Image = pyvips.Operation.call(
        _OPERATIONS[content_type],
        pyvips.Source.new_from_descriptor(source),
        access="sequential",
        fail_on="error",
        **options,
    )
    return image


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ProcessingFailed(
            _DOING,
            f"it has {width} x {height} pixels; at most {limits.pixels / 1e6:g} million are processed",
            code=ErrorCode.LIMIT,
            hint="The original is kept; an operator can raise the limit",
        )


def _why_animation_is_dropped(picture: Picture, limits: ImageLimits) -> str | None:
    """Why only the first frame of an animation is shown; None when it stays animated, or never was one."""
    if picture.frames == 1:
        return None
    if picture.content_type == _PNG:
        return f"of {picture.frames} frames the first is shown; animated PNG is not read"
    width, height = picture.width, picture.height
    if picture.frames > limits.animation_frames:
        return f"{picture.frames} frames, at most {limits.animation_frames} are kept"
    if picture.frames * width * height > limits.animation_pixels:
        return f"{picture.frames} frames of {width} x {height} pixels are too many"
    if fitted(width, height, WEBP) != (width, height):
        return f"its frames of {width} x {height} pixels are too large"
    return None


def _page_count(header: pyvips.Image) -> int:
    # Not get_n_pages: it takes more than 10 000 for nonsense and answers 1.
    return header.get("n-pages") if "n-pages" in header.get_fields() else 1


def _frame_count(content_type: str, header: pyvips.Image, source: int) -> int:
    if content_type == _PNG:
        return apng_frames(os.pread(source, _PNG_HEAD_BYTES, 0))
    return _page_count(header) if content_type in _ANIMATED else 1


def apng_frames(head: bytes) -> int:
    """How many frames the beginning of a PNG announces; its ``acTL`` chunk comes before the pixels."""
    place = 8
    while head[place + 4 : place + 8] not in {b"", b"IDAT"}:
        size = int.from_bytes(head[place : place + 4], "big")
        if head[place + 4 : place + 8] == b"acTL":
            return max(1, int.from_bytes(head[place + 8 : place + 12], "big"))
        place += size + 12
    return 1


def _check_webp_frames(source: int) -> None:
    """Refuse more frames than the decoder can list: it looks for each of them from the first one on.

    Raises:
        ProcessingFailed: there are more.
    """
    place, frames = 12, 0
    while len(head := os.pread(source, 8, place)) == 8:
        frames += head.startswith(b"ANMF")
        if frames > _MOST_WEBP_FRAMES:
            why = f"it has more than {_MOST_WEBP_FRAMES} frames"
            raise ProcessingFailed(_DOING, why, code=ErrorCode.LIMIT, hint="The original is kept")
        size = int.from_bytes(head[4:], "little")
        place += 8 + size + size % 2


def _orientation(header: pyvips.Image) -> int:
    value = header.get("orientation") if header.get_typeof("orientation") else _UPRIGHT
    return value if value in range(_UPRIGHT, 9) else _UPRIGHT


def _block(header: pyvips.Image, name: str, limits: ImageLimits) -> bytes:
    return _bounded(header.get(name), limits) if header.get_typeof(name) else b""


def _bounded(block: bytes | None, limits: ImageLimits) -> bytes:
    return block if block is not None and len(block) <= limits.embedded_bytes else b""


def refused(message: str, *, doing: str = _DOING) -> ProcessingFailed | NoSpace:
    """What a decoder's complaint means. Its own words are for the operator only."""
    if "No space left" in message:
        return NoSpace(doing, "the disk is full")
    if any(sign in message for sign in _SIGNS_OF_A_LIMIT):
        return ProcessingFailed(
            doing, "decoding it would take more than the decoder allows", code=ErrorCode.LIMIT, private=message
        )
    return ProcessingFailed(
        doing,
        "the image is broken or incomplete",
        code=ErrorCode.DECODE,
        hint="The original is kept; try to save it again in another program",
        private=message,
    )


# -- pixels ----------------------------------------------------------------------------------------------------------


def fitted(width: int, height: int, preset: ImagePreset) -> tuple[int, int]:
    """The largest size of this aspect within the preset, never larger than it is."""
    scale = min(1.0, preset.width / width, preset.height / height)
    if width * height * scale**2 <= preset.pixels:
        return max(1, round(width * scale)), max(1, round(height * scale))
    scale = (preset.pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))


def small_pair(picture: Picture) -> tuple[pyvips.Image, pyvips.Image]:
    """Medium and thumbnail of the first frame, upright, in sRGB, in memory: one decode, as small as quality allows."""
    medium = _shrunk(picture, MEDIUM)
    return medium, _resized(medium, *fitted(medium.width, medium.height, THUMBNAIL)).copy_memory()


def _shrunk(picture: Picture, preset: ImagePreset) -> pyvips.Image:
    return shrunk(picture, *fitted(picture.width, picture.height, preset))


def shrunk(picture: Picture, width: int, height: int, *, quickly: bool = False, streamed: bool = False) -> pyvips.Image:
    """The first frame in this upright size, in sRGB, in memory: one decode, as small as quality allows.

    ``quickly``: for somebody who waits. ``streamed``: to be read once from top to bottom, so an upright picture need
    not be held.
    """
    if picture.orientation >= _FIRST_SIDEWAYS:
        width, height = height, width
    shrink = _quick_shrink(picture, width, height) if quickly else _shrink(picture, width, height)
    frame = picture.first_frame(shrink)
    if quickly and frame.width * frame.height * frame.bands <= _HELD_SAMPLES:
        frame = frame.copy_memory()
    image = _to_srgb(_resized(frame, width, height))
    return image if streamed and picture.orientation == _UPRIGHT else _upright(image, picture)


def full(picture: Picture, *, animated: bool) -> pyvips.Image:
    """The picture in full size or the largest that the format takes, upright, in sRGB; all frames of an animation."""
    if animated:
        return _to_srgb(picture.all_frames())
    width, height = fitted(picture.width, picture.height, WEBP)
    if picture.orientation >= _FIRST_SIDEWAYS:
        width, height = height, width
    image = _to_srgb(_resized(picture.first_frame(), width, height))
    # An upright picture streams from the decoder into the encoder; any other has to be held to be turned.
    return image if picture.orientation == _UPRIGHT else _upright(image, picture)


def _shrink(picture: Picture, width: int, height: int) -> int:
    """By how much the JPEG decoder may shrink on its own, on the way to a frame of this size."""
    if picture.content_type != _JPEG:
        return 1
    factor = min(picture.header.width / width, picture.header.height / height)
    return next((shrink for shrink in _SHRINKS if factor >= shrink * _LEAVE_TO_LANCZOS), 1)


def _quick_shrink(picture: Picture, width: int, height: int) -> int:
    """As ``_shrink``, leaving less to Lanczos where the decoder's smaller picture still is the whole picture.

    It leaves out the last rows and columns where its factor does not divide them; what is shown of a small picture then
    is a part of a pixel aside.
    """
    if picture.content_type != _JPEG:
        return 1
    frame = picture.header.width, picture.header.height
    for shrink in _SHRINKS:
        factor = min(frame[0] / width, frame[1] / height)
        shift = max(frame[0] % shrink / frame[0] * width, frame[1] % shrink / frame[1] * height)
        if factor >= shrink * _LEAVE_TO_QUICK_LANCZOS and shift <= _MOST_SHIFT:
            return shrink
    return 1


def _resized(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    if (image.width, image.height) == (width, height):
        return image
    scale = width / image.width
    vscale = height / image.height
    if not image.hasalpha():
        resized: pyvips.Image = pyvips.Operation.call("resize", image, scale, vscale=vscale)
        return resized
    # Colours under transparent pixels must not bleed into their neighbours.
    return image.premultiply().resize(scale, vscale=vscale).unpremultiply().cast(image.format)


def _to_srgb(image: pyvips.Image) -> pyvips.Image:
    """8-bit sRGB or grey, by the picture's own profile where it has a sound one."""
    depth = {"depth": 8, "intent": "relative", "black_point_compensation": True}
    if image.get_typeof(_ICC):
        try:
            return image.icc_transform("srgb", embedded=True, **depth)
        except pyvips.Error:
            image = image.copy()
            image.remove(_ICC)  # a broken profile says nothing
    if image.interpretation == "cmyk":
        return image.icc_transform("srgb", input_profile="cmyk", **depth)
    if image.interpretation == "srgb" and image.format == "uchar":
        return image
    if image.interpretation in _GREY:
        return image if image.format == "uchar" else image.colourspace("b-w").cast("uchar")
    return image.colourspace("srgb").cast("uchar")


def _upright(image: pyvips.Image, picture: Picture) -> pyvips.Image:
    image = image.copy_memory()
    if picture.orientation == _UPRIGHT:
        return image
    return _with_field(image, pyvips.GValue.gint_type, "orientation", picture.orientation).autorot()


def _with_field(image: pyvips.Image, field_type: int, name: str, value: object) -> pyvips.Image:
    # Images are shared between operations; only a copy's own header may be changed.
    changed = image.copy()
    changed.set_type(field_type, name, value)
    return changed


def on_white(image: pyvips.Image) -> pyvips.Image:
    """The picture without transparency."""
    return image.flatten(background=_WHITE[: image.bands - 1]) if image.hasalpha() else image


# -- writing ---------------------------------------------------------------------------------------------------------


def _write(image: pyvips.Image, preset: ImagePreset, credit: Credit) -> dict[str, Any]:
    """Encode into a file of the current folder. Of all metadata only the credit is written."""
    image, keep = credited(image, credit)
    content = encoded(image, preset, keep)
    name = f"{preset.name}.{preset.extension}"
    Path(name).write_bytes(content)
    return {"name": preset.name, "file": name, "width": image.width, "height": image.get_page_height()}


def encoded(image: pyvips.Image, preset: ImagePreset, keep: str = "none") -> bytes:
    """The bytes of a rendition; ``keep`` names the metadata that stays."""
    if preset.format == "jpeg":
        content: bytes = image.jpegsave_buffer(Q=preset.quality, optimize_coding=True, keep=keep)
    else:
        content = image.webpsave_buffer(Q=preset.quality, effort=preset.effort, keep=keep)
    return content


def credited(image: pyvips.Image, credit: Credit) -> tuple[pyvips.Image, str]:
    """The picture that says nothing but its credit, and the names of the metadata that an encoder has to keep."""
    return (_saying_only(image, credit), "exif:xmp") if credit else (image, "none")


def _saying_only(image: pyvips.Image, credit: Credit) -> pyvips.Image:
    image = image.copy()
    for name in image.get_fields():
        if name.startswith(_METADATA_PREFIXES):
            image.remove(name)
    image.set_type(pyvips.GValue.blob_type, "xmp-data", credit_xmp(credit))
    for name, text in (("Artist", as_ascii("; ".join(credit.creators))), ("Copyright", as_ascii(credit.rights))):
        if text:
            image.set_type(pyvips.GValue.gstr_type, f"exif-ifd0-{name}", text)
    return image


# -- facts -----------------------------------------------------------------------------------------------------------


def _form(picture: Picture, medium: pyvips.Image) -> dict[str, Any]:
    """Size and make of the original."""
    header = picture.header
    fields = set(header.get_fields())
    delays = header.get("delay") if picture.frames > 1 and "delay" in fields else []
    alpha = bool(header.hasalpha())
    return {
        "width": picture.width,
        "height": picture.height,
        "format": _FORMAT_NAMES[picture.content_type],
        "mode": _mode(header, is_palette="palette" in fields),
        "bands": header.bands,
        "bits_per_sample": header.get("bits-per-sample") if "bits-per-sample" in fields else _BITS.get(header.format),
        "has_alpha": alpha,
        "transparent": alpha and medium.extract_band(medium.bands - 1).min() < _OPAQUE,
        "orientation": picture.orientation,
        "has_profile": _ICC in fields,
        "frames": picture.frames,
        "duration_seconds": sum(delays) / 1000 if delays else None,
        "pages": _page_count(header) if picture.content_type == _TIFF else None,
    }


def _mode(header: pyvips.Image, *, is_palette: bool) -> str:
    if is_palette:
        return "palette"
    name = "grey" if header.interpretation in _GREY else _MODES.get(header.interpretation, header.interpretation)
    return f"{name}+alpha" if header.hasalpha() else name


def dominant_colour(image: pyvips.Image) -> str:
    """The mean of the most frequent of 512 colours, as ``#rrggbb``."""
    image = image.colourspace("srgb").extract_band(0, n=3)
    # Three bits a channel, side by side: the number of the cell that a pixel falls into.
    cells = (image >> 5).recomb([[64, 8, 1]]).cast("ushort")
    count, most, _ = cells.hist_find().maxpos()
    sums = image.hist_find_indexed(cells)(most, 0)
    return "#" + "".join(f"{round(total / count):02x}" for total in sums)


def perceptual_hash(image: pyvips.Image) -> str:
    """The 64-bit difference hash (Krawetz, "Kind of Like That", 2013), in hex: like pictures differ in few bits."""
    grey = image.colourspace("b-w").extract_band(0)
    small = grey.resize(_HASH_COLUMNS / grey.width, vscale=_HASH_ROWS / grey.height).cast("uchar")
    values = small.write_to_memory()
    bits = 0
    for row in range(0, len(values), _HASH_COLUMNS):
        for left, right in zip(values[row : row + 8], values[row + 1 : row + 9], strict=True):
            bits = bits << 1 | (left < right)
    return f"{bits:016x}"
