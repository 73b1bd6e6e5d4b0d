"""The texts that lead a player from one file of a video to the next: HLS playlists, and the storyboard's WebVTT.

Pure text, in plain Python: jobs write them, and servers read them back. Each refers to its neighbours in the same
folder by their base names, percent-encoded, with ``?v=`` and the beginning of their SHA-256, so it stays true for ever
and must be written after them. What is read has to be exactly what is written here: anything else is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from urllib.parse import quote, unquote

from contentplatform.processing.codecs import SUBTITLE_CODECS
from contentplatform.processing.port import SubtitleTrack

VERSION_LENGTH: Final = 16
"""Hex digits of a SHA-256 that stand in ``v``, as everywhere on the edge."""
PLAYLIST_VERSION: Final = 7
CAPTIONS_GROUP: Final = "captions"
UNKNOWN_LANGUAGE: Final = "und"
_T = TypeVar("_T")
_TITLE_LIMIT: Final = 80
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_FEWEST_OF_TARGET: Final = 0.5
_MOST_OF_TARGET: Final = 1.5


# -- references --------------------------------------------------------------------------------------------------


def reference(base_name: str, sha256: str) -> str:
    """How a neighbour is named: its base name, percent-encoded, and which bytes of it."""
    return f"{quote(base_name, safe='-._~')}?v={sha256[:VERSION_LENGTH]}"


def _base_name(uri: str) -> str:
    """The base name that a reference of ours names.

    Raises:
        ValueError: ``reference`` did not write it.
    """
    path, _, version = uri.partition("?v=")
    name = unquote(path, errors="strict")
    if not re.fullmatch(r"[0-9a-f]{16}", version) or not name or reference(name, version) != uri:
        raise ValueError(f"no reference to a neighbour: {uri[:80]!r}")
    return name


def references(text: str) -> tuple[str, ...]:
    """The base names that a text of this module refers to, each once. Raises ValueError: it is none."""
    found: dict[str, None] = {}

    def note(uri: str) -> str:
        found[_base_name(uri)] = None
        return uri

    _each_reference(text, note)
    return tuple(found)


def renamed(text: str, old_names: Mapping[str, str], new_names: Mapping[str, str], sha256_of: Mapping[str, str]) -> str:
    """The same text for the same video under another key, or with other neighbours.

    A playlist's own SHA-256 changes with what it refers to: take renditions in the order of ``children_first``.

    Args:
        text: a playlist or the storyboard's WebVTT.
        old_names: base names by rendition, as the text was written with.
        new_names: base names by rendition, as it shall say.
        sha256_of: hex digests of the neighbours as they are now, by rendition; of those it refers to at least.

    Raises:
        ValueError: the text was not written here, or refers to something that is missing in the mappings.
    """
    rendition_of = {base_name: rendition for rendition, base_name in old_names.items()}

    def rename(uri: str) -> str:
        rendition = rendition_of.get(_base_name(uri), "")
        if rendition not in new_names or rendition not in sha256_of:
            raise ValueError(f"refers to {uri[:80]!r}, of which nothing is known")
        return reference(new_names[rendition], sha256_of[rendition])

    return _each_reference(text, rename)


def with_parameters(text: str, parameters: str) -> str:
    """The same text, its references with these query parameters behind them: for a player that has to show a signature.

    Raises ValueError: the text was not written here.
    """
    return _each_reference(text, lambda uri: f"{uri}&{parameters}")


def _each_reference(text: str, change: Callable[[str], str]) -> str:
    """The text with ``change`` applied to each reference."""
    if text.startswith("WEBVTT\n"):
        tiles = storyboard_from(text)
        return storyboard_text([replace(tile, uri=change(tile.uri)) for tile in tiles])
    if "#EXT-X-STREAM-INF:" in text:
        master = master_from(text)
        variants = (replace(variant, uri=change(variant.uri)) for variant in master.variants)
        captions = (replace(track, uri=change(track.uri)) for track in master.captions)
        return master_text(Master(tuple(variants), tuple(captions)))
    playlist = media_from(text)
    return media_text(replace(playlist, uri=change(playlist.uri)))


def refers(name: str) -> bool:
    """Whether the rendition of this name is a text of this module, so that ``renamed`` applies to it."""
    return name in {"hls", "storyboard-vtt"} or (name.startswith("hls-") and not name.endswith("-media"))


def children_first(names: Iterable[str]) -> tuple[str, ...]:
    """Renditions in an order in which each comes after those that it refers to."""
    return tuple(sorted(names, key=lambda name: (name == "hls", refers(name))))


def check(text: str, base_names: Iterable[str]) -> None:
    """Make sure that a text was written by this module, and refers to nothing but neighbours of these base names.

    Raises:
        ValueError: it was not, or does.
    """
    if strangers := set(references(text)) - set(base_names):
        raise ValueError(f"refers to {min(strangers)[:80]!r}")


# -- media playlists ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file that begins with a key frame."""

    duration_seconds: float
    length: int | None = None
    """Bytes; None: it is the whole file."""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Playlist:
    """One file, and where its segments lie."""

    uri: str
    target_seconds: int
    """At least each segment's duration, rounded; the same in all rungs of a film."""
    segments: tuple[Segment, ...]
    init: Segment | None = None
    """The bytes that a decoder wants before any segment."""


def target_seconds(segments: Iterable[Segment]) -> int:
    """``EXT-X-TARGETDURATION`` for these segments."""
    return max(1, *(math.floor(segment.duration_seconds + 0.5) for segment in segments))


def media_text(playlist: Playlist) -> str:
    """The media playlist."""
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{PLAYLIST_VERSION}",
        f"#EXT-X-TARGETDURATION:{playlist.target_seconds}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    if playlist.init is not None:
        lines.append(f'#EXT-X-MAP:URI="{playlist.uri}",BYTERANGE="{playlist.init.length}@{playlist.init.offset}"')
    for segment in playlist.segments:
        lines.append(f"#EXTINF:{segment.duration_seconds:.6f},")
        if segment.length is not None:
            lines.append(f"#EXT-X-BYTERANGE:{segment.length}@{segment.offset}")
        lines.append(playlist.uri)
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


_MEDIA_HEAD: Final = re.compile(
    rf"#EXTM3U\n#EXT-X-VERSION:{PLAYLIST_VERSION}\n#EXT-X-TARGETDURATION:(\d{{1,6}})\n#EXT-X-MEDIA-SEQUENCE:0\n"
    r"#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    r'(?:#EXT-X-MAP:URI="([^"\s]+)",BYTERANGE="(\d{1,15})@(\d{1,15})"\n)?'
)
_MEDIA_SEGMENT: Final = re.compile(
    r"#EXTINF:(\d{1,6}\.\d{6}),\n(?:#EXT-X-BYTERANGE:(\d{1,15})@(\d{1,15})\n)?([^#\s]\S*)\n"
)


def media_from(text: str) -> Playlist:
    """Read back what ``media_text`` wrote. Raises ValueError: it did not write this."""
    head = _MEDIA_HEAD.match(text)
    if head is None:
        raise ValueError("no media playlist of ours")
    uri, segments, place = "", [], head.end()
    while found := _MEDIA_SEGMENT.match(text, place):
        uri, place = found[4], found.end()
        segments.append(Segment(float(found[1]), _number(found[2]), _number(found[3]) or 0))
    init = None if head[2] is None else Segment(0.0, int(head[3]), int(head[4]))
    playlist = Playlist(uri, int(head[1]), tuple(segments), init)
    return _same(playlist, media_text(playlist), text)


def peak_bits_per_second(segments: Sequence[Segment], target: int) -> int:
    """``BANDWIDTH``: the most of any run of segments that lasts between half and one and a half of the target."""
    peak = 0.0
    for first in range(len(segments)):
        seconds, size = 0.0, 0
        for segment in segments[first:]:
            seconds += segment.duration_seconds
            size += segment.length or 0
            if seconds > _MOST_OF_TARGET * target:
                break
            if seconds >= _FEWEST_OF_TARGET * target:
                peak = max(peak, size * 8 / seconds)
    return math.ceil(peak) or mean_bits_per_second(segments)


def mean_bits_per_second(segments: Iterable[Segment]) -> int:
    """``AVERAGE-BANDWIDTH`` over these segments."""
    whole = [(segment.length or 0, segment.duration_seconds) for segment in segments]
    return math.ceil(sum(size for size, _ in whole) * 8 / max(0.001, sum(seconds for _, seconds in whole)))


# -- the master playlist -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """One rung for the player to choose."""

    uri: str
    peak_bits_per_second: int
    mean_bits_per_second: int
    codecs: str
    """After RFC 6381: ``avc1.64001f,mp4a.40.2``."""
    width: int
    height: int
    frame_rate: float


@dataclass(frozen=True, slots=True)
class Captions:
    """One track of captions for the viewer to choose."""

    uri: str
    title: str
    """Unique in its playlist."""
    language: str
    """Empty where nobody knows."""
    is_forced: bool = False


@dataclass(frozen=True, slots=True)
class Master:
    """What a player is given: all rungs, the best first, and all captions."""

    variants: tuple[Variant, ...]
    captions: tuple[Captions, ...] = ()


def master_text(master: Master) -> str:
    """The master playlist.

    No captions are shown unasked but forced ones: containers flag a default track whether anybody wants it or not.
    """
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{PLAYLIST_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for track in master.captions:
        language = f',LANGUAGE="{track.language}"' if track.language else ""
        lines.append(
            f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="{CAPTIONS_GROUP}",NAME="{track.title}"{language}'
            f',DEFAULT=NO,AUTOSELECT=YES,FORCED={"YES" if track.is_forced else "NO"},URI="{track.uri}"'
        )
    group = f',SUBTITLES="{CAPTIONS_GROUP}"' if master.captions else ""
    for variant in master.variants:
        bandwidth = f"BANDWIDTH={variant.peak_bits_per_second},AVERAGE-BANDWIDTH={variant.mean_bits_per_second}"
        picture = f"RESOLUTION={variant.width}x{variant.height},FRAME-RATE={variant.frame_rate:.3f}"
        lines.append(f'#EXT-X-STREAM-INF:{bandwidth},CODECS="{variant.codecs}",{picture}{group}')
        lines.append(variant.uri)
    return "\n".join([*lines, ""])


_MASTER_HEAD: Final = f"#EXTM3U\n#EXT-X-VERSION:{PLAYLIST_VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n"
_MASTER_CAPTIONS: Final = re.compile(
    rf'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="{CAPTIONS_GROUP}",NAME="([^"\n]*)"(?:,LANGUAGE="([A-Za-z0-9-]+)")?'
    r',DEFAULT=NO,AUTOSELECT=YES,FORCED=(YES|NO),URI="([^"\s]+)"\n'
)
_MASTER_VARIANT: Final = re.compile(
    r'#EXT-X-STREAM-INF:BANDWIDTH=(\d{1,12}),AVERAGE-BANDWIDTH=(\d{1,12}),CODECS="([A-Za-z0-9.,]+)"'
    rf',RESOLUTION=(\d{{1,6}})x(\d{{1,6}}),FRAME-RATE=(\d{{1,6}}\.\d{{3}})(?:,SUBTITLES="{CAPTIONS_GROUP}")?\n'
    r"([^#\s]\S*)\n"
)


def master_from(text: str) -> Master:
    """Read back what ``master_text`` wrote. Raises ValueError: it did not write this."""
    place = len(_MASTER_HEAD)
    captions, variants = [], []
    while found := _MASTER_CAPTIONS.match(text, place):
        captions.append(Captions(found[4], found[1], found[2] or "", found[3] == "YES"))
        place = found.end()
    while found := _MASTER_VARIANT.match(text, place):
        peak, mean, width, height = (int(found[number]) for number in (1, 2, 4, 5))
        variants.append(Variant(found[7], peak, mean, found[3], width, height, float(found[6])))
        place = found.end()
    master = Master(tuple(variants), tuple(captions))
    return _same(master, master_text(master), text)


# -- the storyboard ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tile:
    """A small picture within the sprite, and which part of the film it stands for."""

    start_seconds: float
    end_seconds: float
    uri: str
    """Of the sprite."""
    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Where it is: left, top, width, height, in pixels."""
        return self.left, self.top, self.width, self.height


def storyboard_text(tiles: Iterable[Tile]) -> str:
    """The storyboard as WebVTT: media fragments of the sprite as the cues' text."""
    cues = [
        f"{timestamp(tile.start_seconds)} --> {timestamp(tile.end_seconds)}\n"
        f"{tile.uri}#xywh={','.join(map(str, tile.box))}\n"
        for tile in tiles
    ]
    return "\n".join(["WEBVTT\n", *cues])


_TILE: Final = re.compile(
    r"\n(\d{2,6}):(\d\d):(\d\d\.\d{3}) --> (\d{2,6}):(\d\d):(\d\d\.\d{3})\n"
    r"([^#\s]+)#xywh=(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})\n"
)


def storyboard_from(text: str) -> tuple[Tile, ...]:
    """Read back what ``storyboard_text`` wrote. Raises ValueError: it did not write this."""
    tiles, place = [], len("WEBVTT\n")
    while found := _TILE.match(text, place):
        start, end = (int(found[n]) * 3_600 + int(found[n + 1]) * 60 + float(found[n + 2]) for n in (1, 4))
        tiles.append(Tile(start, end, found[7], *(int(found[n]) for n in range(8, 12))))
        place = found.end()
    return _same(tuple(tiles), storyboard_text(tiles), text)


def timestamp(seconds: float) -> str:
    """A time as WebVTT writes it."""
    thousandths = round(max(0.0, seconds) * 1_000)
    return (
        f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:"
        f"{thousandths // 1_000 % 60:02d}.{thousandths % 1_000:03d}"
    )


# -- captions ----------------------------------------------------------------------------------------------------


def caption_tracks(tracks: Iterable[SubtitleTrack], most: int) -> dict[str, SubtitleTrack]:
    """Which tracks become WebVTT, by the name of their rendition; at most ``most``.

    ``captions-de``; a second track of the same language is ``captions-de-2``; a language that nobody knows is ``und``.
    """
    named: dict[str, SubtitleTrack] = {}
    for track in tracks:
        if len(named) == most:
            break
        if track.is_text and track.codec in SUBTITLE_CODECS:
            named[_free(f"captions-{language_of(track) or UNKNOWN_LANGUAGE}", "-", named)] = track
    return named


def language_of(track: SubtitleTrack) -> str:
    """A track's language as it may stand in names and playlists; empty where nobody knows."""
    return track.language if _LANGUAGE.fullmatch(track.language) else ""


def caption_titles(tracks: Mapping[str, SubtitleTrack]) -> dict[str, str]:
    """What a viewer chooses each of these tracks by: its title or its language, each once."""
    titles: dict[str, str] = {}
    for name, track in tracks.items():
        words = "".join(character for character in track.title if character.isprintable() and character != '"')
        title = words.strip()[:_TITLE_LIMIT] or language_of(track) or "Captions"
        titles[_free(title, " ", titles)] = name
    return {name: title for title, name in titles.items()}


def _free(wanted: str, between: str, taken: Mapping[str, object]) -> str:
    number = 2
    name = wanted
    while name in taken:
        name = f"{wanted}{between}{number}"
        number += 1
    return name


def film_names(rungs: Iterable[str], tracks: Iterable[SubtitleTrack], most_captions: int) -> dict[str, str]:
    """Every rendition that a film with these rungs and subtitle tracks may have, and its file's extension."""
    names = dict.fromkeys(("poster", "thumbnail", "medium", "storyboard"), "jpg")
    names |= {"storyboard-vtt": "vtt", "hls": "m3u8"}
    for rung in rungs:
        names |= {rung: "mp4", f"hls-{rung}": "m3u8", f"hls-{rung}-media": "mp4"}
    for name in caption_tracks(tracks, most_captions):
        names |= {name: "vtt", f"hls-{name}": "m3u8"}
    return names


# -- reading back ------------------------------------------------------------------------------------------------


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


def _same(value: _T, written: str, read: str) -> _T:
    if written != read:
        raise ValueError("it was not written here")
    return value
