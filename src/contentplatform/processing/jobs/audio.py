"""Makes the renditions of a sound from one decode: AAC, Opus, the waveform's picture and numbers, loudness, cover.

All of it, or a part where another job makes the rest. Half a second of sound goes through everything before the next is
decoded, in one thread: so memory is the same for a minute and for a day, and nobody waits for Python's lock.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer

from contentplatform.errors import ProcessingFailed
from contentplatform.processing.codecs import LOSSLESS_AUDIO
from contentplatform.processing.embedded import clean_text
from contentplatform.processing.jobs import raster, waveform
from contentplatform.processing.jobs.demux import codec_of, decode_failure, is_cover, open_container
from contentplatform.processing.jobs.formats import format_name
from contentplatform.processing.jobs.loudness import Meter, normalising_gain_db
from contentplatform.processing.jobs.sound import Piece, Sound
from contentplatform.processing.jobs.soundfiles import Cover, Labels, SoundFile
from contentplatform.processing.jobs.tags import Tags, descriptive, sorted_tags
from contentplatform.processing.port import Chapter
from contentplatform.processing.presets import (
    AUDIO_PRESETS,
    MEDIUM,
    NORMALISED_LOUDNESS_LUFS,
    WAVEFORM,
    ImageLimits,
    VideoLimits,
)

_DOING: Final = "making the sound's renditions"
_OUR_OWN_TROUBLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What is wrong where we write, and not with what we read; whoever started the job tells them apart."""
_LONGEST_TITLE: Final = 100
_MOST_CHAPTERS_TOLD: Final = 300
"""In the facts, which have to fit into a record; the encodings have all of them."""
_PCM_BITS: Final = re.compile(r"pcm_[suf](\d+)")
_SAMPLES_OF_FLAC: Final = slice(12, 14)
_BITS_OF_ALAC: Final = 17


@dataclass(slots=True)
class _Told:
    """What the container says besides the sound."""

    tags: Tags
    chapters: list[Chapter]
    cover: Cover | None = None
    cover_files: list[Mapping[str, Any]] = field(default_factory=list)
    cover_trouble: str | None = None


def render(request: Mapping[str, Any], source: int) -> Mapping[str, Any]:
    """The job: renditions of the sound behind the descriptor ``source``, into the current folder, and all facts.

    ``request``: ``limits`` as ``VideoLimits``; ``encodings``: the names of their presets; ``rest``: whether the
    waveform, the peaks, the cover's renditions and the loudness are wanted as well; ``normalise``: whether the
    encodings are brought to ``NORMALISED_LOUDNESS_LUFS``, which takes a pass of its own.

    Raises:
        ProcessingFailed: broken, over a limit, or of a codec that no allowed decoder opens.
        OSError: the disk is full, or an encoding became larger than a file may be.
    """
    limits = VideoLimits(**request["limits"])
    with _opened(source, limits) as container:
        told = _told(container, limits)
    gain_db = 0.0
    if request["normalise"]:
        with _opened(source, limits) as container:
            gain_db = _gain_db(Sound(container, source, limits, doing=_DOING))
    with _opened(source, limits) as container:
        sound = Sound(container, source, limits, doing=_DOING)
        labels = Labels(told.tags.public, told.chapters, told.cover)
        presets = [preset for preset in AUDIO_PRESETS if preset.name in request["encodings"]]
        encodings = [SoundFile(preset, sound.rate_hz, sound.layout, labels) for preset in presets]
        picture = _Picture(sound) if request["rest"] else None
        _take_in(sound, encodings, picture, np.float32(10 ** (gain_db / 20)))
        metadata = {
            **_form(container, sound),
            "loudness": picture.loudness() if picture else {},
            "normalised": _normalised(gain_db) if request["normalise"] else None,
            **_damage(sound),
            "tags": told.tags.public,
            "chapters": [asdict(chapter) for chapter in told.chapters[:_MOST_CHAPTERS_TOLD]],
            "has_cover": told.cover is not None,
            "cover": told.cover_trouble,
            "private": {"tags": told.tags.private} if told.tags.private else {},
        }
    files = [{"name": preset.name, "file": made.name} for preset, made in zip(presets, encodings, strict=True)]
    return {
        "files": [*files, *picture.files(), *told.cover_files] if picture else files,
        "metadata": {name: value for name, value in metadata.items() if value not in (None, {}, [])},
        "descriptive": descriptive(told.tags.public),
    }


@contextmanager
def _opened(source: int, limits: VideoLimits) -> Iterator[InputContainer]:
    """The container, for one pass. Whatever FFmpeg complains of while it is open is the file's fault, or the disk's."""
    try:
        with open_container(source, limits, doing=_DOING) as container:
            yield container
    except (av.FFmpegError, OverflowError) as error:
        number = getattr(error, "errno", None)
        if number in _OUR_OWN_TROUBLE:
            raise OSError(number, os.strerror(number)) from error
        raise decode_failure(error, doing=_DOING) from error


# -- one pass over the sound -----------------------------------------------------------------------------------------


def _gain_db(sound: Sound) -> float:
    """By how much the mix has to be turned up or down, found in a pass of its own."""
    meter = Meter(sound.rate_hz, sound.layout)
    for piece in sound.pieces():
        meter.add(piece.mix)
    return normalising_gain_db(meter.result())


def _take_in(sound: Sound, encodings: Sequence[SoundFile], picture: _Picture | None, gain: np.float32) -> None:
    """Put the whole sound through all that is made of its samples."""
    for piece in sound.pieces():
        turned = piece.mix if gain == 1 else piece.mix * gain
        for encoding in encodings:
            encoding.add(turned)
        if picture:
            picture.add(piece)
    for encoding in encodings:
        encoding.finish()


class _Picture:
    """What is seen and measured of a sound, whatever it is turned to."""

    def __init__(self, sound: Sound) -> None:
        self._rate_hz = sound.rate_hz
        self._peaks = waveform.Peaks(WAVEFORM)
        self._meter = Meter(sound.rate_hz, sound.full_layout or sound.layout)

    def add(self, piece: Piece) -> None:
        """Take in the next piece."""
        self._peaks.add(piece.mix)
        self._meter.add(piece.mix if piece.full is None else piece.full)

    def loudness(self) -> dict[str, Any]:
        """Of all that was added, for the catalog; nothing can be added afterwards."""
        return self._meter.result().to_json()

    def files(self) -> list[Mapping[str, Any]]:
        """Write the waveform and the peaks of all that was added; nothing can be added afterwards."""
        envelope = self._peaks.result()
        numbers = waveform.document(envelope, self._rate_hz, WAVEFORM)
        Path("peaks.json").write_text(json.dumps(numbers, separators=(",", ":")), "utf-8")
        pixels = waveform.drawn(envelope, WAVEFORM)
        picture = raster.from_pixels(pixels.tobytes(), WAVEFORM.width, WAVEFORM.height, bands=4)
        return [raster.png(picture, "waveform"), {"name": "peaks", "file": "peaks.json"}]


# -- what else is in the file ----------------------------------------------------------------------------------------


def _told(container: InputContainer, limits: VideoLimits) -> _Told:
    tags = sorted_tags([container.metadata, *(track.metadata for track in container.streams.audio[:1])])
    told = _Told(tags, _chapters(container, limits))
    content = _cover_content(container)
    if content is not None and len(content) > limits.cover_bytes:
        told.cover_trouble = f"left out: more than {limits.cover_bytes >> 20} MiB"
    elif content is not None:
        try:
            _add_cover(told, content)
        except ProcessingFailed as error:
            told.cover_trouble = f"left out: {error.why}"
    return told


def _cover_content(container: InputContainer) -> bytes | None:
    """The file that the first cover is. Covers come before all else, so few packets are looked at."""
    if not any(is_cover(stream) for stream in container.streams):
        return None
    with suppress(av.FFmpegError):
        for packet in islice(container.demux(), len(container.streams) + 1):
            if is_cover(packet.stream):
                return bytes(packet)
    return b""


def _add_cover(told: _Told, content: bytes) -> None:
    """Make the renditions of the cover; the larger one goes into the encodings, never the bytes that came.

    Raises:
        ProcessingFailed: it can't be decoded here.
    """
    told.cover_files = raster.small_jpegs(raster.picture_of(content, ImageLimits()))
    medium = next(entry for entry in told.cover_files if entry["name"] == MEDIUM.name)
    told.cover = Cover(Path(medium["file"]).read_bytes(), medium["width"], medium["height"])


def _chapters(container: InputContainer, limits: VideoLimits) -> list[Chapter]:
    found = []
    for part in container.chapters()[: limits.chapters]:
        clock = part["time_base"]
        if clock is not None and 0 <= part["start"] < part["end"]:
            title = clean_text(part["metadata"].get("title", ""), _LONGEST_TITLE)
            found.append(Chapter(float(part["start"] * clock), float(part["end"] * clock), title))
    return found


def _form(container: InputContainer, sound: Sound) -> dict[str, Any]:
    """Length and make of the original."""
    codec = codec_of(sound.track)
    bits_a_second = sound.track.bit_rate or container.bit_rate
    if not bits_a_second and sound.seconds:
        bits_a_second = round(container.size * 8 / sound.seconds)
    return {
        "duration_seconds": round(sound.seconds, 6),
        "duration_is_exact": sound.is_exact,
        "format": format_name(container.format.name),
        "codec": codec,
        "profile": sound.track.profile or None,
        "bit_rate": bits_a_second or None,
        "sample_rate_hz": sound.source_rate_hz,
        "channels": sound.channels,
        "channel_layout": sound.source_layout,
        "bits_per_sample": _bits_per_sample(codec, sound.track.codec_context.extradata or b""),
        "lossless": codec in LOSSLESS_AUDIO,
    }


def _bits_per_sample(codec: str, extradata: bytes) -> int | None:
    """Of codecs without loss; the headers of FLAC and ALAC say it where FFmpeg's interface doesn't."""
    if codec == "flac" and len(extradata) >= _SAMPLES_OF_FLAC.stop:
        return (int.from_bytes(extradata[_SAMPLES_OF_FLAC]) >> 4 & 0x1F) + 1
    if codec == "alac" and len(extradata) > _BITS_OF_ALAC:
        return extradata[_BITS_OF_ALAC]
    found = _PCM_BITS.match(codec)
    return int(found[1]) if found else None


def _damage(sound: Sound) -> dict[str, Any]:
    """What a damaged sound's facts say beside; empty for a whole one."""
    if sound.is_exact and not sound.has_unreal_samples:
        return {}
    return {
        "damaged": True,
        "damage": {
            "lost_seconds": round(sound.lost_seconds, 3),
            "refused_packets": sound.refused_packets,
            "unreal_samples": sound.has_unreal_samples,
        },
    }


def _normalised(gain_db: float) -> dict[str, Any]:
    return {"target_lufs": NORMALISED_LOUDNESS_LUFS, "gain_db": round(gain_db, 2)}
