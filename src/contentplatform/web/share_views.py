"""What the pages of a share show of files: every link on them stays below the share's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from contentplatform.catalog.port import Record, Rendition
from contentplatform.media import MediaKind, ProcessingStatus, file_extension, file_name
from contentplatform.processing.languages import language_tag
from contentplatform.sharing.contents import offers_original, renditions
from contentplatform.sharing.port import Share
from contentplatform.web.console import words
from contentplatform.web.console.showing import Source, Stage, Track

_SMALL: Final = ("thumbnail", "poster", "waveform")
_LARGE: Final = ("medium", "poster", "webp", "thumbnail")
_PLAYED: Final = {MediaKind.VIDEO: ("1080p", "720p", "480p"), MediaKind.AUDIO: ("opus", "m4a")}
"""What a player may take, the best first."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a file."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file as a share shows it; empty texts: there is none."""

    file_id: str
    name: str
    folder: str
    kind: MediaKind
    kind_word: str
    extension: str
    size: str
    length: str
    state: str
    """Only where it is not ready."""
    title: str
    description: str
    credit: str
    url: str
    small: Picture | None
    stage: Stage
    text: str
    original: str


def shared_file(share: Share, root: str, record: Record) -> SharedFile:
    """One file of a share.

    Args:
        share: that shows it.
        root: the share's own path.
        record: of the file.
    """
    url = f"{root}/files/{record.file_id}"
    there = {rendition.name: rendition for rendition in renditions(record)}
    given = _Renditions(url, there)
    is_ready = record.status is ProcessingStatus.COMPLETED
    return SharedFile(
        file_id=record.file_id,
        name=file_name(record.file_path) or record.file_path,
        folder=_folder_below(share, record),
        kind=record.kind,
        kind_word=words.KIND_WORDS[record.kind][0],
        extension=file_extension(record.file_path)[:5].upper(),
        size=words.size(record.size_bytes),
        length=words.length(record.processing_metadata.get("duration_seconds")),
        state="" if is_ready else words.STATUS_WORDS[record.status][0],
        title=record.title or "",
        description=record.description or "",
        credit=record.credit or "",
        url=url,
        small=given.picture(_SMALL),
        stage=given.stage(record),
        text=given.url("text"),
        original=f"{url}/original" if offers_original(share, record) else "",
    )


def page_url(root: str, cursor: str | None) -> str:
    """The page behind a cursor; empty: there is none."""
    return f"{root}?{urlencode({'cursor': cursor})}" if cursor else ""


class _Renditions:
    """A file's renditions, and where the share has them."""

    def __init__(self, url: str, there: Mapping[str, Rendition]) -> None:
        self._url = url
        self._there = there

    def url(self, name: str) -> str:
        """Where one is; a playlist's neighbours are reached from there as from the edge."""
        if name not in self._there:
            return ""
        return f"{self._url}/renditions/{quote(name, safe='')}"

    def picture(self, names: tuple[str, ...]) -> Picture | None:
        """The first of these that there is."""
        name = next((name for name in names if name in self._there), None)
        if name is None:
            return None
        return Picture(self.url(name), self._there[name].width or 4, self._there[name].height or 3)

    def stage(self, record: Record) -> Stage:
        """What the file's page shows large."""
        large = self.picture(_LARGE)
        picture = large.url if large is not None else ""
        sources = tuple(
            Source(name, self.url(name), self._there[name].content_type)
            for name in _PLAYED.get(record.kind, ())
            if name in self._there
        )
        match record.kind:
            case MediaKind.VIDEO if sources:
                stream, board = self.url("hls"), self.url("storyboard-vtt")
                tracks = tuple(self.tracks(record))
                return Stage(
                    "video", picture=self.url("poster"), stream=stream, board=board, sources=sources, tracks=tracks
                )
            case MediaKind.AUDIO if sources:
                return Stage("audio", picture=self.url("waveform"), peaks=self.url("peaks"), sources=sources)
            case MediaKind.DOCUMENT if picture:
                return Stage("document", picture=picture)
            case MediaKind.IMAGE if large is not None:
                full = self.url("webp") or picture
                return Stage("image", picture=picture, full=full, width=large.width, height=large.height)
        return Stage("")

    def tracks(self, record: Record) -> Iterator[Track]:
        """The captions of a film."""
        told = record.processing_metadata.get("subtitle_tracks")
        for track in told if isinstance(told, list) else ():
            name = track.get("captions") if isinstance(track, Mapping) else None
            if not isinstance(name, str) or name not in self._there:
                continue
            language = language_tag(str(track.get("language") or "und"))
            label = str(track.get("title") or language)
            yield Track(self.url(name), language, label, bool(track.get("is_forced")))


def _folder_below(share: Share, record: Record) -> str:
    """Where a file lies below the shared folder; nothing is told of where that is itself."""
    before = f"{share.target.name}/"
    if not record.file_path.startswith(before):
        return ""
    return record.file_path.removeprefix(before).rpartition("/")[0]
