"""Films as a transcoder leaves them, for tests of what comes after: the rungs, the facts, and the files' names."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import sample_clips
from contentplatform.processing import ladder
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.playlists import film_names
from contentplatform.processing.port import AudioTrack, MediaFacts, Rendered, SubtitleTrack, VideoTrack
from contentplatform.processing.presets import public_key

KEY: Final = "a b/film #1.mov"
RATE: Final = 25
_H264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "high", "-pix_fmt", "yuv420p")
_GROUPS: Final = ("-force_key_frames", "expr:gte(t,n_forced*2)", "-x264-params", "scenecut=0:open-gop=0:bframes=2")
_BT709: Final = (
    "out_color_matrix=bt709:out_range=tv,setsar=1,format=yuv420p"
    ",setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
)
_AAC: Final = ("-c:a", "aac", "-ac", "2", "-ar", "48000", "-b:a", "96k")
_FAST_START: Final = ("-movflags", "+faststart")


TRACKS: Final = (
    SubtitleTrack(2, "subrip", is_text=True, language="en", title="English"),
    SubtitleTrack(3, "ass", is_text=True, language="de", title="Deutsch"),
    SubtitleTrack(4, "subrip", is_text=True, language="de", title="Schilder", is_forced=True),
    SubtitleTrack(9, "hdmv_pgs_subtitle", is_text=False, language="fr"),
)
"""Of ``sample_clips.three_subtitles_mkv``, and one of pictures."""


@dataclass(frozen=True)
class EncodedFilm:
    """A film that was encoded."""

    source: Path
    rungs: Mapping[str, Path]
    facts: MediaFacts

    @property
    def names(self) -> dict[str, str]:
        """The base names of its public files."""
        names = film_names(self.rungs, self.facts.subtitles, 32)
        return {name: public_key(name, KEY, extension).rpartition("/")[2] for name, extension in names.items()}

    def finished(self, processor: LocalMediaProcessor, scratch: Path) -> Rendered:
        """Have it completed in a sandbox."""
        scratch.mkdir(parents=True)
        return processor.finish_video(self.source, self.rungs, self.facts, self.names, scratch)


def facts(
    *,
    width: int,
    height: int,
    seconds: float,
    with_sound: bool = True,
    subtitles: tuple[SubtitleTrack, ...] = (),
    tags: Mapping[str, str] | None = None,
) -> MediaFacts:
    """What a probe would find in such a film."""
    video = VideoTrack(
        0, "h264", width, height, width, height, 0, float(RATE), frame_rate_varies=False, duration_seconds=seconds
    )
    sound = (AudioTrack(1, "aac", 48_000, 2, "stereo", seconds),) if with_sound else ()
    return MediaFacts(
        format="mov",
        duration_seconds=seconds,
        duration_is_exact=True,
        bit_rate=None,
        size_bytes=1,
        video=(video,),
        audio=sound,
        subtitles=subtitles,
        tags=tags or {},
    )


def encoded(
    name: str,
    found: MediaFacts,
    *,
    pictures: tuple[str, ...] | None = None,
    source: Path | None = None,
    more: tuple[str, ...] = (),
) -> EncodedFilm:
    """The rungs of a film with these facts; ``pictures`` are arguments for the input, ``more`` for the output."""
    video = found.video[0]
    seconds = video.duration_seconds
    is_whole = pictures is not None and "lavfi" not in pictures  # a film, with its own sound
    shown = pictures or sample_clips.picture(video.width, video.height, rate=RATE, seconds=seconds)
    rungs = {}
    for order in ladder.plan(found, str):
        rungs[order.name] = sample_clips.folder() / f"{name}-{order.name}.mp4"
        sample_clips.ffmpeg(
            *shown,
            *(sample_clips.tone(seconds=seconds) if found.audio and not is_whole else ()),
            *("-vf", f"format=gbrp,scale={order.width}:{order.height}:{_BT709}", *_H264, *_GROUPS),
            *(_AAC if found.audio else ()),
            *("-bitexact", *_FAST_START, *more),
            str(rungs[order.name]),
        )
    return EncodedFilm(source or next(iter(rungs.values())), rungs, found)


@functools.cache
def two_rungs() -> EncodedFilm:
    """Seven seconds of a picture that changes, 1280x720, with sound: both rungs."""
    moving = ("-f", "lavfi", "-i", f"testsrc2=s=1280x720:r={RATE}:d=7")
    tags = {"title": "A film", "artist": "Zoë", "copyright": "© Zoë", "com.apple.quicktime.make": "Apple"}
    private = {"location": "+52.5200+013.4050/"}
    found = replace(facts(width=1280, height=720, seconds=7.0, tags=tags), private=private)
    return encoded("two", found, pictures=moving)


@functools.cache
def two_rungs_with_captions() -> EncodedFilm:
    """The same, whose original has three tracks of subtitles."""
    found = replace(two_rungs().facts, subtitles=TRACKS)
    return replace(two_rungs(), source=sample_clips.three_subtitles_mkv(), facts=found)


@functools.cache
def small() -> EncodedFilm:
    """Five seconds of the four quarters, 320x180: one rung, three groups of pictures."""
    return encoded("small", facts(width=320, height=180, seconds=5.0))


@functools.cache
def silent() -> EncodedFilm:
    """Two seconds without sound."""
    return encoded("silent", facts(width=320, height=180, seconds=2.0, with_sound=False))


@functools.cache
def with_captions() -> EncodedFilm:
    """Two seconds with three tracks of subtitles in Matroska, of which one is forced, and a fourth of pictures."""
    found = facts(width=320, height=180, seconds=2.0, subtitles=TRACKS)
    return encoded("captions", found, source=sample_clips.three_subtitles_mkv())
