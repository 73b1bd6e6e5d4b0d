"""Completes a video whose rungs were encoded: verifies them, and makes all else that a player wants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyvips

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing import ladder, playlists
from contentplatform.processing.jobs import captions, frames, hls, raster, rungs
from contentplatform.processing.jobs.formats import format_name
from contentplatform.processing.jobs.tags import Tags, descriptive, sorted_tags
from contentplatform.processing.playlists import Captions, Master, Playlist, Segment, Variant
from contentplatform.processing.port import MediaFacts, VideoTrack
from contentplatform.processing.presets import POSTER, STORYBOARD, VideoLimits

_DOING: Final = "completing the video's renditions"
_FIRST_OTHER_SOURCE: Final = 5
"""The descriptor of the first rung; the original is the job's source."""
_MILLI: Final = 3


@dataclass(slots=True)
class _Made:
    """The files that were made, by rendition, and how playlists name them."""

    names: Mapping[str, str]
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    uris: dict[str, str] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> str:
        """Take in a file of the current folder; returns its reference."""
        with Path(entry["file"]).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.entries.append(entry)
        uri = playlists.reference(self.names[entry["name"]], sha256)
        self.uris[entry["name"]] = uri
        return uri

    def add_text(self, name: str, extension: str, text: str) -> str:
        """Write a text into the current folder and take it in; returns its reference."""
        file = f"{name}.{extension}"
        Path(file).write_text(text, "utf-8", newline="\n")
        return self.add({"name": name, "file": file})


def finish(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: everything of a video but its rungs, which are read from descriptors 5 on, into the current folder.

    Raises:
        ProcessingFailed: a rung is not what was ordered.
        OSError: the disk is full, for one.
    """
    limits = VideoLimits(**request["limits"])
    facts = MediaFacts.from_json(request["facts"])
    made = _Made(request["names"])
    try:
        with ExitStack() as stack:
            opened = _verified(request["rungs"], facts, limits, stack)
            _add_pictures(made, opened)
            variants = _add_media(made, opened)
            spoken, cut = _add_captions(made, source, facts, limits, opened[0].seconds)
            made.add_text("hls", "m3u8", playlists.master_text(Master(variants, spoken)))
    except pyvips.Error as error:
        raise ProcessingFailed(
            _DOING, "its pictures can't be written", code=ErrorCode.INTERNAL, private=str(error)
        ) from error
    tags = sorted_tags([facts.tags])
    return {
        "files": made.entries,
        "metadata": {**_metadata(facts, made, cut, limits), **_said(facts, tags)},
        "descriptive": descriptive(tags.public),
    }


def _verified(names: Sequence[str], facts: MediaFacts, limits: VideoLimits, stack: ExitStack) -> list[rungs.OpenRung]:
    """All rungs, opened and verified but for the smallest one's pictures, which the storyboard may decode anyway."""
    planned = {order.name: order for order in ladder.plan(facts, str)}
    if list(names) != list(planned):
        raise ProcessingFailed(
            rungs.DOING, f"it was encoded as {', '.join(names)} instead of {', '.join(planned)}", code=ErrorCode.DECODE
        )
    opened: list[rungs.OpenRung] = []
    for place, name in enumerate(names):
        rung = rungs.opened(planned[name], _FIRST_OTHER_SOURCE + place, facts, limits)
        stack.callback(rung.container.close)
        opened.append(rung)
    rungs.check_alike(opened)
    return opened


def _add_pictures(made: _Made, opened: Sequence[rungs.OpenRung]) -> None:
    """The storyboard and the poster; verifies that the rungs can be decoded on the way."""
    for rung in opened:
        if rung is not opened[-1] or not frames.decodes_all(rung, STORYBOARD):
            rungs.check_pictures(rung)
    board = frames.board(opened[-1], STORYBOARD)
    sprite, places = frames.sprite(board.tiles, STORYBOARD)
    uri = made.add(raster.jpeg(sprite, frames.sprite_preset(sprite, STORYBOARD)))
    size = board.tiles[0].width, board.tiles[0].height
    made.add_text("storyboard-vtt", "vtt", playlists.storyboard_text(frames.storyboard(board, places, size, uri)))
    poster = frames.poster(opened[0], board.looks)
    for entry in (raster.jpeg(poster, POSTER), *raster.small_jpegs(poster)):
        made.add(entry)


def _add_media(made: _Made, opened: Sequence[rungs.OpenRung]) -> tuple[Variant, ...]:
    """Each rung's fragmented copy and its playlist."""
    target = playlists.target_seconds([segment for rung in opened for segment in rung.copied.segments])
    variants = []
    for rung in opened:
        name, copied = rung.order.name, rung.copied
        size = {"width": rung.order.width, "height": rung.order.height}
        media = made.add({"name": f"hls-{name}-media", "file": rung.media_file, **size})
        text = playlists.media_text(Playlist(media, target, copied.segments, copied.init))
        variants.append(
            Variant(
                uri=made.add_text(f"hls-{name}", "m3u8", text),
                peak_bits_per_second=playlists.peak_bits_per_second(copied.segments, target),
                mean_bits_per_second=playlists.mean_bits_per_second(copied.segments),
                codecs=hls.codecs(rung.video, rung.audio),
                frame_rate=round(rung.frame_rate, _MILLI),
                **size,
            )
        )
    return tuple(variants)


def _add_captions(
    made: _Made, source: int, facts: MediaFacts, limits: VideoLimits, film_seconds: float
) -> tuple[tuple[Captions, ...], tuple[str, ...]]:
    """Every track of text as WebVTT, each with a playlist; and the names of those that were cut."""
    tracks = playlists.caption_tracks(facts.subtitles, limits.subtitle_tracks)
    taken = captions.take(source, tracks, limits, film_seconds=film_seconds)
    titles = playlists.caption_titles({name: tracks[name] for name in taken.texts})
    spoken = []
    for name, text in taken.texts.items():
        whole = (Segment(film_seconds),)
        uri = made.add_text(name, "vtt", text)
        listed = playlists.media_text(Playlist(uri, playlists.target_seconds(whole), whole))
        spoken.append(
            Captions(
                uri=made.add_text(f"hls-{name}", "m3u8", listed),
                title=titles[name],
                language=playlists.language_of(tracks[name]),
                is_forced=tracks[name].is_forced,
            )
        )
    return tuple(spoken), taken.cut


# -- facts -------------------------------------------------------------------------------------------------------


def _metadata(facts: MediaFacts, made: _Made, cut: Sequence[str], limits: VideoLimits) -> dict[str, Any]:
    """What the record tells of the original."""
    video = facts.video[0]
    captions_of = {
        track.index: name for name, track in playlists.caption_tracks(facts.subtitles, limits.subtitle_tracks).items()
    }
    found: dict[str, Any] = {
        "width": video.width,
        "height": video.height,
        "duration_seconds": round(facts.duration_seconds, _MILLI),
        "duration_is_exact": facts.duration_is_exact,
        "format": format_name(facts.format),
        "codecs": [video.codec, *(track.codec for track in facts.audio[:1])],
        "bit_rate": facts.bit_rate,
        **_picture(video),
        "audio_tracks": [_told(asdict(track)) for track in facts.audio],
        "subtitle_tracks": [
            {
                **_told(asdict(track)),
                # None: pictures, or nothing but silence.
                "captions": name if (name := captions_of.get(track.index)) in made.uris else None,
                "cut": captions_of.get(track.index) in cut,
            }
            for track in facts.subtitles
        ],
        "chapters": [asdict(chapter) for chapter in facts.chapters],
        "other_video_tracks": len(facts.video) - 1,
        "has_cover": facts.has_cover,
    }
    return _only(found)


def _only(found: Mapping[str, Any]) -> dict[str, Any]:
    """What there is."""
    return {name: value for name, value in found.items() if value is not None and value not in ("", [], {})}


def _said(facts: MediaFacts, tags: Tags) -> dict[str, Any]:
    """What the file says of itself; what is for its owner's eyes is apart."""
    camera = [
        value for name in ("make", "model") for key, value in facts.tags.items() if key.rpartition(".")[2] == name
    ]
    return _only(
        {
            "created": facts.tags.get("creation_time"),
            "camera": " ".join(dict.fromkeys(camera)),
            "tags": tags.public,
            "private": {**facts.private, **tags.private},
        }
    )


def _picture(video: VideoTrack) -> dict[str, Any]:
    return {
        "frame_rate": round(video.frame_rate, _MILLI),
        "frame_rate_varies": video.frame_rate_varies,
        "rotation": video.rotation_degrees,
        "hdr": video.hdr,
        "profile": video.profile,
        "pixel_format": video.pixel_format,
        "bit_depth": video.bit_depth,
        "color_primaries": video.color_primaries,
        "color_transfer": video.color_transfer,
        "color_space": video.color_space,
        "interlaced": video.interlaced,
        "has_alpha": video.has_alpha,
    }


def _told(track: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a track."""
    return {name: value for name, value in _only(track).items() if name != "index"}
