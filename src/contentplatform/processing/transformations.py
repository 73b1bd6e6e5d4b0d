"""Pictures of any size and format, made when somebody asks: what there is, and how large the answer is.

Pure data and arithmetic; the pixels are ``jobs/transform.py``'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contentplatform.processing.port import Transformation

NAME: Final = "transformed"
"""The name of the one file that a job answers with."""
RECIPE: Final = 1
"""Raise it when the code makes other bytes of the same order: what was kept is made anew then."""
TRANSFORMATION_SECONDS: Final = 30.0
"""How long one may take, of its processor and on the wall: somebody waits for it."""


@dataclass(frozen=True, slots=True)
class TransformationFormat:
    """A format that pictures are made in."""

    content_type: str
    extension: str
    quality: int
    """In JPEG's scale, where nobody asks for another."""
    quality_share: float = 1.0
    """What the encoder is told of that: AVIF at 60 looks as JPEG at 80 does."""
    effort: int = 0
    """How long the encoder tries, in its own scale; formats without such a scale ignore it."""
    keeps_transparency: bool = True


TRANSFORMATION_FORMATS: Final = {
    "jpeg": TransformationFormat("image/jpeg", "jpg", 80, keeps_transparency=False),
    "webp": TransformationFormat("image/webp", "webp", 80, effort=2),
    # Effort 4, libheif's own choice, takes 7 times as long.
    "avif": TransformationFormat("image/avif", "avif", 80, quality_share=0.75, effort=2),
    # The effort is zlib's level.
    "png": TransformationFormat("image/png", "png", 100, effort=6),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with an upright picture: resized to this, and then cut to that."""

    width: int
    height: int
    cut_width: int
    cut_height: int

    @property
    def cuts(self) -> bool:
        """Whether anything is cut off."""
        return (self.width, self.height) != (self.cut_width, self.cut_height)


def planned(width: int, height: int, wanted: Transformation) -> Plan:
    """How a picture of this upright size becomes what is wanted, without ever being enlarged."""
    wide, high = wanted.width / width, wanted.height / height
    if not wanted.fills:
        scale = min(1.0, *(share for share in (wide, high) if share))
        fitted = max(1, round(width * scale)), max(1, round(height * scale))
        return Plan(*fitted, *fitted)
    # A box that stands over the picture keeps its aspect and shrinks until it fits in.
    shrink = max(1.0, wide, high)
    cut_width = min(width, max(1, round(wanted.width / shrink)))
    cut_height = min(height, max(1, round(wanted.height / shrink)))
    scale = max(cut_width / width, cut_height / height)
    return Plan(max(cut_width, round(width * scale)), max(cut_height, round(height * scale)), cut_width, cut_height)
