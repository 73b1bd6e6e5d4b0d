"""The job of the transformations' sandbox: one picture, of the size and in the format that somebody asked for.

It takes the same way as the renditions of images: the header against the limits, the decoder shrinks as far as quality
allows, Lanczos does the rest, colours become sRGB, and of the metadata the credit stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyvips

from contentplatform.processing.embedded import Embedded, describe
from contentplatform.processing.image import Picture, credited, on_white, open_picture, refused, shrunk
from contentplatform.processing.port import Transformation
from contentplatform.processing.presets import ALLOWED_LOADERS, ImageLimits
from contentplatform.processing.transformations import NAME, TRANSFORMATION_FORMATS, Plan, planned

_DOING: Final = "making the picture that was asked for"
_SIDE: Final = 64
_USUAL: Final = Transformation(_SIDE, _SIDE, fills=False, smart=False, format="jpeg", quality=80)
_OPERATIONS: Final = (
    *(loader.operation for loader in ALLOWED_LOADERS if loader.operation),
    *("resize", "colourspace", "icc_transform", "cast", "copy", "crop", "smartcrop", "autorot", "flatten"),
    *("premultiply", "unpremultiply", "jpegsave_buffer", "webpsave_buffer", "heifsave_buffer", "pngsave_buffer"),
)
# What arguments an operation has is asked here, once, and not in each child. That makes an object of its class and does
# not run it; no thread is started.
for _operation in _OPERATIONS:
    pyvips.Introspect.get(_operation)


def _warm_up() -> None:
    """Put a picture together and compute none of it: what pyvips and libvips set up at first use is in all children."""
    pyvips.Source.new_from_memory(b"-")
    image = pyvips.Operation.call("black", 2 * _SIDE, 2 * _SIDE, bands=3).copy(interpretation="srgb")
    picture = Picture(
        "image/png",
        -1,
        image,
        decoded=image,
        frames=1,
        orientation=1,
        embedded=Embedded(exif=b"-", iptc=b"-", xmp=b"-"),
    )
    plan = planned(picture.width, picture.height, _USUAL)
    shrunk(picture, plan.width, plan.height, streamed=True)
    describe(picture.embedded)


_warm_up()


def transform(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: the picture that ``request`` wants of the image behind the descriptor ``source``.

    Raises:
        ProcessingFailed: broken, over a limit, or of a type that no allowed decoder opens.
    """
    wanted = Transformation(**request["wanted"])
    try:
        picture = open_picture(request["content_type"], source, ImageLimits(**request["limits"]))
        plan = planned(picture.width, picture.height, wanted)
        image = shrunk(picture, plan.width, plan.height, quickly=True, streamed=not plan.cuts)
        image = _cut(image, plan, smart=wanted.smart)
        if not TRANSFORMATION_FORMATS[wanted.format].keeps_transparency:
            image = on_white(image)
        image, keep = credited(image, describe(picture.embedded).credit)
        content = _encoded(image, wanted, keep)
    except pyvips.Error as error:
        raise refused(str(error), doing=_DOING) from error
    file = f"{NAME}.{TRANSFORMATION_FORMATS[wanted.format].extension}"
    Path(file).write_bytes(content)
    entry = {"name": NAME, "file": file, "width": image.width, "height": image.height}
    return {"files": [entry], "metadata": {}, "descriptive": {}}


def _cut(image: pyvips.Image, plan: Plan, *, smart: bool) -> pyvips.Image:
    if not plan.cuts:
        return image
    if smart:
        return image.smartcrop(plan.cut_width, plan.cut_height, interesting="attention")
    left, top = (plan.width - plan.cut_width) // 2, (plan.height - plan.cut_height) // 2
    return image.crop(left, top, plan.cut_width, plan.cut_height)


def _encoded(image: pyvips.Image, wanted: Transformation, keep: str) -> bytes:
    made = TRANSFORMATION_FORMATS[wanted.format]
    quality = max(1, round(wanted.quality * made.quality_share))
    content: bytes
    match wanted.format:
        case "jpeg":
            content = pyvips.Operation.call("jpegsave_buffer", image, Q=quality, optimize_coding=True, keep=keep)
        case "webp":
            content = image.webpsave_buffer(Q=quality, effort=made.effort, keep=keep)
        case "avif":
            content = image.heifsave_buffer(Q=quality, compression="av1", effort=made.effort, keep=keep)
        case _:
            content = image.pngsave_buffer(compression=made.effort, keep=keep)
    return content
