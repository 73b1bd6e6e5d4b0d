"""What a file's page shows large: a picture, a film, a sound, a document; and the facts beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contentplatform.app import Platform
from contentplatform.catalog.describing import facts_of
from contentplatform.catalog.port import Record, Rendition
from contentplatform.errors import PlatformError
from contentplatform.media import MediaKind
from contentplatform.web.access import PRIVATE, public_url
from contentplatform.web.console import words
from contentplatform.web.console.cards import rendition_url

_TEXT_LIMIT_BYTES: Final = 40_000
_FILM_RUNGS: Final = ("1080p", "720p", "480p")
_SOUNDS: Final = ("opus", "m4a")
_EXIF_WORDS: Final = {
    "Make": "Camera",
    "Model": "Model",
    "LensModel": "Lens",
    "ExposureTime": "Exposure",
    "FNumber": "Aperture",
    "ISO": "ISO",
    "FocalLength": "Focal length",
    "DateTimeOriginal": "Taken",
}
_PRIVATE_WORDS: Final = {
    "owner_name": "Owner",
    "body_serial_number": "Camera’s serial number",
    "lens_serial_number": "Lens’s serial number",
}


@dataclass(frozen=True, slots=True)
class Track:
    """Captions of a film."""

    url: str
    language: str
    label: str
    is_forced: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a player may take."""

    name: str
    url: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What is shown large; empty texts: there is none."""

    kind: str
    """``image``, ``video``, ``audio``, ``document`` or nothing at all."""
    picture: str = ""
    full: str = ""
    width: int = 0
    height: int = 0
    is_clear: bool = False
    """Whether one sees through it in places."""
    stream: str = ""
    board: str = ""
    sources: tuple[Source, ...] = ()
    tracks: tuple[Track, ...] = ()
    peaks: str = ""
    text: str = ""
    is_cut: bool = False
    """Whether there is more text."""


@dataclass(frozen=True, slots=True)
class Made:
    """One rendition, in a list."""

    name: str
    what: str
    size: str
    url: str
    public_url: str


def stage_of(platform: Platform, record: Record) -> Stage:
    """What a file's page shows; nothing for a removed file, whose renditions are off the edge."""
    there = {rendition.name: rendition for rendition in record.renditions}
    if record.deleted_at is not None or not there:
        return Stage("")

    def url(name: str) -> str:
        return rendition_url(platform, record, there[name]) if name in there else ""

    if record.kind is MediaKind.IMAGE:
        return _picture_stage(record, url("medium") or url("thumbnail"), url("webp"))
    if record.kind is MediaKind.VIDEO:
        return Stage(
            "video",
            picture=url("poster"),
            stream=url("hls"),
            board=url("storyboard-vtt"),
            sources=tuple(Source(name, url(name), "video/mp4") for name in _FILM_RUNGS if name in there),
            tracks=tuple(_tracks(platform, record, there)),
        )
    if record.kind is MediaKind.AUDIO:
        sources = tuple(Source(name, url(name), there[name].content_type) for name in _SOUNDS if name in there)
        return Stage("audio", picture=url("waveform"), peaks=url("peaks"), sources=sources)
    text, is_cut = _text(platform, record) if "text" in there else ("", False)
    return Stage("document", picture=url("medium"), text=text, is_cut=is_cut)


def _picture_stage(record: Record, medium: str, full: str) -> Stage:
    facts = record.processing_metadata
    width, height = facts.get("width"), facts.get("height")
    return Stage(
        "image",
        picture=medium or full,
        full=full or medium,
        width=width if isinstance(width, int) else 0,
        height=height if isinstance(height, int) else 0,
        is_clear=bool(facts.get("transparent")),
    )


def _tracks(platform: Platform, record: Record, there: Mapping[str, Rendition]) -> Iterator[Track]:
    told = record.processing_metadata.get("subtitle_tracks")
    for track in told if isinstance(told, list) else ():
        name = track.get("captions") if isinstance(track, Mapping) else None
        if not isinstance(name, str) or name not in there:
            continue
        language = str(track.get("language") or "und")
        label = str(track.get("title") or language)
        yield Track(rendition_url(platform, record, there[name]), language, label, bool(track.get("is_forced")))


def _text(platform: Platform, record: Record) -> tuple[str, bool]:
    """The beginning of a document's text."""
    try:
        with platform.library.open(record.file_path, rendition="text") as reader:
            read = reader.read(_TEXT_LIMIT_BYTES)
            is_cut = reader.version.size_bytes > len(read)
    except PlatformError:
        return "", False
    return read.decode("utf-8", "ignore").replace("\f", "\n\n"), is_cut


def renditions(platform: Platform, record: Record) -> list[Made]:
    """Every rendition, with the link that others may be given, where there is one."""
    if record.deleted_at is not None:
        return []
    return [
        Made(
            name=each.name,
            what=_what(each),
            size=words.size(each.size_bytes),
            url=rendition_url(platform, record, each),
            public_url=public_url(platform, record, each.key, each.sha256) or "",
        )
        for each in record.renditions
    ]


def _what(rendition: Rendition) -> str:
    pixels = f"{rendition.width} × {rendition.height}, " if rendition.width and rendition.height else ""
    return pixels + rendition.content_type.partition(";")[0]


# -- facts ----------------------------------------------------------------------------------------------------------


def facts(record: Record) -> list[tuple[str, str]]:
    """What processing found, in words, without what is private."""
    found = [(label.capitalize(), value) for label, value in facts_of(record).items() if value and label != "progress"]
    exif = record.processing_metadata.get("exif")
    if isinstance(exif, Mapping):
        found += [(word, _exif(name, exif[name])) for name, word in _EXIF_WORDS.items() if exif.get(name)]
    return found


def _exif(name: str, value: Any) -> str:
    if name == "ExposureTime" and isinstance(value, int | float) and 0 < value < 1:
        return f"1/{round(1 / value)} s"
    if name == "FNumber":
        return f"f/{value:g}" if isinstance(value, int | float) else str(value)
    if name == "FocalLength" and isinstance(value, int | float):
        return f"{value:g} mm"
    if name == "DateTimeOriginal" and isinstance(value, str):
        return value.replace(":", "-", 2)
    return str(value)


def colour(record: Record) -> str:
    """The picture's colour, as ``#rrggbb``; empty if it has none."""
    found = str(record.processing_metadata.get("dominant_colour", ""))
    is_colour = len(found) == 7 and found.startswith("#") and set(found[1:]) <= set("0123456789abcdef")
    return found if is_colour else ""


def has_private(record: Record) -> bool:
    """Whether the file told something that is nobody's business."""
    return bool(record.processing_metadata.get(PRIVATE))


def private_facts(record: Record) -> list[tuple[str, str]]:
    """What only a file's keepers may see."""
    private = record.processing_metadata.get(PRIVATE)
    if not isinstance(private, Mapping):
        return []
    found = []
    place = private.get("gps")
    if isinstance(place, Mapping) and "latitude" in place and "longitude" in place:
        found.append(("Place", f"{place['latitude']}, {place['longitude']}"))
        if "altitude_metres" in place:
            found.append(("Altitude", f"{place['altitude_metres']} m"))
    for name, value in private.items():
        if name != "gps" and isinstance(value, str | int | float):
            found.append((_PRIVATE_WORDS.get(name, str(name).replace("_", " ").capitalize()), str(value)))
    return found
