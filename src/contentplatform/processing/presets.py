"""What is made of each kind of file, and within which limits: policy as data, the same in both homes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from contentplatform.media import MediaKind, rendition_key

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


def _jpeg(name: str, folder: str, width: int, height: int) -> ImagePreset:
    """A picture for pages: whatever fits the box, on white."""
    return ImagePreset(
        name=name,
        folder=folder,
        width=width,
        height=height,
        pixels=width * height,
        format="jpeg",
        quality=85,
        extension="jpg",
        content_type="image/jpeg",
        keeps_transparency=False,
        keeps_animation=False,
    )


THUMBNAIL: Final = _jpeg("thumbnail", "processed/thumbnails", 150, 150)
MEDIUM: Final = _jpeg("medium", "processed/medium", 800, 600)
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


# -- videos ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VideoPreset:
    """One step of a video's ladder: H.264 and AAC in MP4, the index in front.

    It fits the box, keeps its aspect, is never larger than the original.
    """

    name: str
    width: int
    height: int
    video_bits_per_second: int
    """The cap; the quality decides below it."""
    audio_bits_per_second: int
    qvbr_level: int = 7
    """MediaConvert's quality-defined variable bit rate."""
    constant_rate_factor: int = 23
    """x264's way to say about the same."""
    profile: str = "high"
    key_frame_seconds: float = 2.0
    """HLS segments begin at key frames."""
    audio_sample_rate_hz: int = 48_000


VIDEO_PRESETS: Final = (
    VideoPreset("720p", 1_280, 720, 3_000_000, 128_000),
    VideoPreset("480p", 854, 480, 1_500_000, 96_000),
)


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a film or a sound may claim to be; checked against what the probe found, before anything is encoded."""

    pixels: int = 8_192 * 4_352
    """Of one frame."""
    side: int = 16_384
    frame_rate: float = 300.0
    duration_seconds: float = 24 * 3_600.0
    streams: int = 64
    cover_bytes: int = 20 << 20
    subtitle_tracks: int = 32
    subtitle_bytes: int = 8 << 20
    """Of one track as WebVTT."""
    chapters: int = 1_000


@dataclass(frozen=True, slots=True)
class StoryboardPreset:
    """A sprite of small pictures, evenly over the film, for the bar under the player."""

    tile_width: int = 160
    tile_height: int = 90
    """A tile fits this box."""
    columns: int = 10
    tiles: int = 100
    """At most; a short film has one a second."""
    quality: int = 75


VIDEO_FOLDER: Final = "video-processed"
POSTER: Final = _jpeg("poster", VIDEO_FOLDER, 1_280, 720)
STORYBOARD: Final = StoryboardPreset()
HLS_SEGMENT_SECONDS: Final = 6.0
"""About; segments begin at key frames."""


# -- sounds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioPreset:
    """One encoding of a sound; at most stereo, never resampled upwards but to what the codec knows."""

    name: str
    encoder: str
    """FFmpeg's name of it."""
    bits_per_second: int
    container: str
    extension: str
    content_type: str
    sample_rates_hz: tuple[int, ...]
    """What the codec knows."""


M4A: Final = AudioPreset(
    "m4a",
    "aac",
    128_000,
    "mp4",
    "m4a",
    "audio/mp4",
    (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
)
OPUS: Final = AudioPreset(
    "opus", "libopus", 96_000, "ogg", "opus", "audio/ogg", (8_000, 12_000, 16_000, 24_000, 48_000)
)
AUDIO_PRESETS: Final = (M4A, OPUS)


@dataclass(frozen=True, slots=True)
class WaveformPreset:
    """The picture of a sound, and the numbers to draw one's own."""

    width: int = 1_800
    height: int = 280
    peaks: int = 1_800
    """Pairs of lowest and highest sample, evenly over the sound; fewer where it is too short for that."""


WAVEFORM: Final = WaveformPreset()
NORMALISED_LOUDNESS_LUFS: Final = -16.0
"""How loud renditions of sounds are where normalising is asked for: AES TD1008 (2021) and Apple's rules for podcasts.
EBU R 128 says -23 for broadcasts, and -20 to -16 for streaming in its supplement 2; music services play at -14."""
NORMALISED_TRUE_PEAK_DBTP: Final = -1.0
"""What turning a sound up keeps its peaks below: EBU R 128, and AES TD1008."""
TOLERATED_LOSS_SHARE: Final = 0.01
TOLERATED_LOSS_SECONDS: Final = 0.25
"""Of a damaged sound so much may be missing, whichever is more; then it is completed, and its facts say what is lost.
Where more is missing it fails."""
TOLERATED_FILM_LOSS_SHARE: Final = 0.02
TOLERATED_FILM_LOSS_SECONDS: Final = 2.5
TOLERATED_FILM_LOSS_AT_MOST_SHARE: Final = 0.25
"""The same of a film, but of a short one no more than that share. More than of a sound: behind one wrong byte, Matroska
is read again from its next cluster, and some codecs from their next key frame."""


# -- documents ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What of a document is looked at."""

    pages: int = 10_000
    """More are refused."""
    text_pages: int = 500
    """Text is taken from the first pages up to this."""
    text_characters: int = 1_000_000
    """Kept as the rendition ``text``; what is found by search is less."""
    outline_entries: int = 500
    archive_entries: int = 10_000
    """Files in the ZIP that an office document is."""
    archive_bytes: int = 512 << 20
    """Unpacked, all that is read of it."""
    archive_ratio: float = 200.0
    """Unpacked to packed, of any file that is read."""
    xml_depth: int = 256
    rows: int = 200
    """Of a table's preview."""


# -- where renditions are ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """The public key's parts: folder, whole key of the original, suffix, extension."""

    folder: str
    suffix: str = ""


_PLACES: Final = {
    **{preset.name: Place(preset.folder) for preset in IMAGE_PRESETS},
    **{name: Place(VIDEO_FOLDER, f"_{name}") for name in (*(preset.name for preset in VIDEO_PRESETS), "hls", "poster")},
    "storyboard": Place(VIDEO_FOLDER, "_storyboard"),
    "storyboard-vtt": Place(VIDEO_FOLDER, "_storyboard"),
    "m4a": Place("processed/audio"),
    "opus": Place("processed/audio"),
    "waveform": Place("processed/waveforms"),
    "peaks": Place("processed/peaks"),
    "preview": Place("processed/previews"),
    "text": Place("processed/text"),
}
_FAMILIES: Final = ("hls-", "captions-")
"""Names of which a video has as many as it has rungs, or languages: ``hls-720p``, ``captions-de``."""
_FAMILY_MEMBER: Final = re.compile(r"[A-Za-z0-9-]{1,40}")
RENDITION_FOLDERS: Final = tuple(dict.fromkeys(place.folder for place in _PLACES.values()))
"""Every folder of the processed bucket that has public keys."""


def place_of(name: str) -> Place:
    """Where the rendition of this name is, for all to see.

    Raises:
        ValueError: there is no rendition of this name.
    """
    if name in _PLACES:
        return _PLACES[name]
    for family in _FAMILIES:
        if name.startswith(family) and _FAMILY_MEMBER.fullmatch(name, len(family)):
            # The playlist hls-720p and its media, hls-720p-media, differ by their extension only. A suffix has one
            # underscore, its first character: so none ends another, and no two originals share a key.
            return Place(VIDEO_FOLDER, f"_{name.removesuffix('-media')}")
    raise ValueError(f"there is no rendition called {name[:80]!r}")


def public_key(name: str, key: str, extension: str) -> str:
    """The public key of a rendition of the original under ``key``. Raises ValueError as ``place_of``."""
    place = place_of(name)
    return rendition_key(place.folder, key, extension, place.suffix)


# -- images' limits and decoders ---------------------------------------------------------------------------------


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

_CODE_REVISIONS: Final = {
    MediaKind.IMAGE: 2,
    MediaKind.VIDEO: 1,
    MediaKind.AUDIO: 1,
    MediaKind.DOCUMENT: 1,
    MediaKind.GENERIC: 2,
}
"""Raise one when the code makes other renditions, or finds other facts, of the same presets; generic's, when files
that were kept as they are may be of a kind now."""


def recipe(kind: MediaKind) -> str:
    """A short name of what is made of ``kind`` and how; it changes when the presets or the code do."""
    presets: dict[MediaKind, tuple[Any, ...]] = {
        MediaKind.IMAGE: IMAGE_PRESETS,
        MediaKind.VIDEO: (*VIDEO_PRESETS, POSTER, STORYBOARD, THUMBNAIL, MEDIUM),
        MediaKind.AUDIO: (*AUDIO_PRESETS, WAVEFORM, THUMBNAIL, MEDIUM),
        MediaKind.DOCUMENT: (THUMBNAIL, MEDIUM),
    }
    of_kind = [asdict(preset) for preset in presets.get(kind, ())]
    text = json.dumps([kind.value, _CODE_REVISIONS.get(kind, 1), of_kind], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
