"""A file as it is seen among many: its picture, its name, how it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from contentplatform.app import Platform
from contentplatform.catalog.describing import progress_of
from contentplatform.catalog.port import Record, Rendition
from contentplatform.media import MediaKind, ProcessingStatus, file_extension, file_name
from contentplatform.web.access import public_url
from contentplatform.web.console import words

_SMALL: Final = ("thumbnail", "poster", "waveform")
_LARGE: Final = ("medium", "poster")
_BUSY: Final = frozenset({ProcessingStatus.PENDING, ProcessingStatus.PROCESSING})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that stands for a file, small and large."""

    small: str
    large: str
    width: int
    height: int
    fills: bool
    """Whether it may be cut to fill its frame: frames of a film, waveforms."""


@dataclass(frozen=True, slots=True)
class Card:
    """A file in a grid."""

    file_id: str
    name: str
    key: str
    kind: MediaKind
    kind_word: str
    extension: str
    size: str
    length: str
    picture: Picture | None
    is_busy: bool
    is_failed: bool
    state: str
    """Only where it is not simply ready."""
    why: str
    is_private: bool


def card(platform: Platform, record: Record) -> Card:
    """One file's card."""
    is_busy = record.status in _BUSY
    progress = progress_of(record)
    state = "" if record.status is ProcessingStatus.COMPLETED else words.STATUS_WORDS[record.status][0]
    return Card(
        file_id=record.file_id,
        name=file_name(record.file_path) or record.file_path,
        key=record.file_path,
        kind=record.kind,
        kind_word=words.KIND_WORDS[record.kind][0],
        extension=file_extension(record.file_path)[:5].upper(),
        size=words.size(record.size_bytes),
        length=words.length(record.processing_metadata.get("duration_seconds")),
        picture=picture(platform, record),
        is_busy=is_busy,
        is_failed=record.status is ProcessingStatus.FAILED,
        state=progress.capitalize() if progress else state,
        why=record.error or "",
        is_private=_is_private(platform, record),
    )


def cards(platform: Platform, records: Iterable[Record]) -> list[Card]:
    """Their cards, in their order."""
    return [card(platform, record) for record in records]


def picture(platform: Platform, record: Record) -> Picture | None:
    """The picture that stands for a file; None if there is none."""
    there = {rendition.name: rendition for rendition in record.renditions}
    small = next((there[name] for name in _SMALL if name in there), None)
    if small is None:
        return None
    large = next((there[name] for name in _LARGE if name in there), small)
    return Picture(
        small=rendition_url(platform, record, small),
        large=rendition_url(platform, record, large),
        width=large.width or 4,
        height=large.height or 3,
        fills=record.kind in {MediaKind.VIDEO, MediaKind.AUDIO},
    )


def rendition_url(platform: Platform, record: Record, rendition: Rendition) -> str:
    """Where the pages get a rendition: from an edge that they may use, else, with their session, from the API."""
    return edge_url(platform, record, rendition) or session_url(record, rendition.name)


def edge_url(platform: Platform, record: Record, rendition: Rendition) -> str:
    """A rendition's public link, if it leads to an edge that the pages' policy allows; empty: it doesn't."""
    public = public_url(platform, record, rendition.key, rendition.sha256) or ""
    own = platform.settings.server.edge_url
    is_allowed = public.startswith("/") or (bool(own) and public.startswith(f"{own.rstrip('/')}/"))
    return public if is_allowed else ""


def session_url(record: Record, name: str) -> str:
    """Where somebody who is signed in gets a rendition; a playlist's neighbours are reached from there, too."""
    return f"/api/v1/files/{record.file_id}/renditions/{quote(name)}?version={quote(record.version_id, safe='')}"


def _is_private(platform: Platform, record: Record) -> bool:
    prefix = platform.settings.ingest.private_prefix
    return bool(prefix) and record.file_path.startswith(prefix)
