"""What is made of each kind of file, and within which limits: policy as data, the same in both homes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from contentplatform.media import MediaKind

PROCESSOR: Final = "content-image-processor"
"""Who made a rendition, as its user metadata says."""


@dataclass(frozen=True, slots=True)
class ImagePreset:
    """One rendition of an image. It fits the box, keeps its aspect, and is never larger than the original."""

    name: str
    folder: str
    width: int
    height: int
    pixels: int
    """Most pixels of one frame; the box alone does not bound them where it is large."""
    format: str
    """``jpeg`` or ``webp``."""
    quality: int
    extension: str
    content_type: str
    keeps_transparency: bool
    keeps_animation: bool
    effort: int = 0
    """How long the encoder tries, in its own scale; formats without such a scale ignore it."""


THUMBNAIL: Final = ImagePreset(
    name="thumbnail",
    folder="processed/thumbnails",
    width=150,
    height=150,
    pixels=150 * 150,
    format="jpeg",
    quality=85,
    extension="jpg",
    content_type="image/jpeg",
    keeps_transparency=False,
    keeps_animation=False,
)
MEDIUM: Final = ImagePreset(
    name="medium",
    folder="processed/medium",
    width=800,
    height=600,
    pixels=800 * 600,
    format="jpeg",
    quality=85,
    extension="jpg",
    content_type="image/jpeg",
    keeps_transparency=False,
    keeps_animation=False,
)
WEBP: Final = ImagePreset(
    name="webp",
    folder="processed/webp",
    # 16 383 is the longest side that the format can say.
    width=16_383,
    height=16_383,
    pixels=50_000_000,
    format="webp",
    quality=85,
    extension="webp",
    content_type="image/webp",
    keeps_transparency=True,
    keeps_animation=True,
    # Measured on photographs: 2.5 times as fast as effort 4, no larger, 0.5 dB below it.
    effort=1,
)
IMAGE_PRESETS: Final = (THUMBNAIL, MEDIUM, WEBP)
RENDITION_FOLDERS: Final = {preset.name: preset.folder for preset in IMAGE_PRESETS}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may claim to be; checked against its header, before anything is decoded."""

    pixels: int = 300_000_000
    """Of one frame. More is refused."""
    side: int = 1_000_000
    animation_frames: int = 1_000
    """An animation with more frames, or more pixels in all of them, is shown by its first one."""
    animation_pixels: int = 500_000_000
    embedded_bytes: int = 4 << 20
    """Of one block of EXIF, IPTC or XMP; a longer one is not read. A colour profile may be as long."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A decoder that untrusted bytes may reach: which type opens it, and its class in libvips (empty: libheif)."""

    content_type: str
    operation: str
    vips_class: str


ALLOWED_LOADERS: Final = (
    Loader("image/jpeg", "jpegload_source", "VipsForeignLoadJpeg"),
    Loader("image/png", "pngload_source", "VipsForeignLoadPng"),
    Loader("image/webp", "webpload_source", "VipsForeignLoadWebp"),
    Loader("image/gif", "gifload_source", "VipsForeignLoadNsgif"),
    Loader("image/tiff", "tiffload_source", "VipsForeignLoadTiff"),
    Loader("image/avif", "heifload_source", "VipsForeignLoadHeif"),
    Loader("image/heic", "", ""),
    Loader("image/heif", "", ""),
)

_IMAGE_CODE_REVISION: Final = 1
"""Raise it when the code makes other renditions, or finds other facts, of the same presets."""


def recipe(kind: MediaKind) -> str:
    """A short name of what is made of ``kind`` and how; it changes when the presets or the code do."""
    presets = [asdict(preset) for preset in IMAGE_PRESETS] if kind is MediaKind.IMAGE else []
    revision = _IMAGE_CODE_REVISION if kind is MediaKind.IMAGE else 1
    text = json.dumps([kind.value, revision, presets], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
