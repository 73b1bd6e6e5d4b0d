"""What processing found in a file, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contentplatform.catalog.port import Record
from contentplatform.media import ProcessingStatus

_WHOLE_PERCENT: Final = 100
_MINUTE_SECONDS: Final = 60
_HOUR_SECONDS: Final = 3_600
_COUNTS: Final = (
    ("pages", "page"),
    ("words", "word"),
    ("characters", "character"),
    ("sheets", "sheet"),
    ("columns", "column"),
)
_SAID_OF_A_SOUND: Final = ("artist", "album", "genre", "date", "track")


def facts_of(record: Record) -> dict[str, str | None]:
    """Lines by their labels, of what is there to be told."""
    facts = record.processing_metadata
    return {
        "progress": progress_of(record),
        "dimensions": f"{facts['width']} × {facts['height']}" if "width" in facts and "height" in facts else None,
        "duration": _duration(facts),
        "video": _video(facts),
        "sound": _sound(facts),
        "loudness": _loudness(facts),
        "captions": _captions(facts),
        "chapters": _counted(facts.get("chapters"), "chapter"),
        "from": _said(facts),
        "contains": _contents(facts),
    }


def progress_of(record: Record) -> str | None:
    """How far a file is that is being processed, where that is known."""
    percent = record.processing_metadata.get("progress_percent")
    if record.status is not ProcessingStatus.PROCESSING or percent is None:
        return None
    stage = str(record.processing_metadata.get("stage", "working"))
    return stage if percent == _WHOLE_PERCENT else f"{stage} {percent} %"


def _duration(facts: Mapping[str, Any]) -> str | None:
    seconds = facts.get("duration_seconds")
    if not isinstance(seconds, int | float):
        return None
    tenths = round(seconds * 10)
    rest = f"{tenths % (_MINUTE_SECONDS * 10) / 10:04.1f}"
    minutes, hours = tenths // (_MINUTE_SECONDS * 10), tenths // (_HOUR_SECONDS * 10)
    clock = f"{hours}:{minutes % _MINUTE_SECONDS:02d}:{rest}" if hours else f"{minutes}:{rest}"
    return clock if facts.get("duration_is_exact", True) else f"about {clock}"


def _video(facts: Mapping[str, Any]) -> str | None:
    rate = facts.get("frame_rate")
    if not rate:
        return None
    codecs = facts.get("codecs")
    codec = codecs[0] if isinstance(codecs, list) and codecs else ""
    varies = " on average" if facts.get("frame_rate_varies") else ""
    turned = f"turned by {facts['rotation']}°" if facts.get("rotation") else ""
    return _listed(codec, f"{rate:g} frames a second{varies}", turned, str(facts.get("hdr", "")).upper())


def _sound(facts: Mapping[str, Any]) -> str | None:
    tracks = facts.get("audio_tracks")
    first = tracks[0] if isinstance(tracks, list) and tracks else facts
    if not isinstance(first, Mapping) or not first.get("sample_rate_hz"):
        return None
    layout = first.get("channel_layout") or f"{first.get('channels')} channels"
    bits = first.get("bit_rate")
    rate = f"{bits / 1000:.0f} kbit/s" if isinstance(bits, int | float) else ""
    more = f"and {len(tracks) - 1} more" if isinstance(tracks, list) and len(tracks) > 1 else ""
    return _listed(str(first.get("codec", "")), str(layout), f"{first['sample_rate_hz'] / 1000:g} kHz", rate, more)


def _loudness(facts: Mapping[str, Any]) -> str | None:
    told = facts.get("loudness")
    if not isinstance(told, Mapping):
        return None
    parts = (("", "integrated_lufs", "LUFS"), ("range ", "range_lu", "LU"), ("true peak ", "true_peak_dbtp", "dBTP"))
    return _listed(*(f"{word}{told[name]:.1f} {unit}" for word, name, unit in parts if told.get(name) is not None))


def _captions(facts: Mapping[str, Any]) -> str | None:
    tracks = facts.get("subtitle_tracks")
    if not isinstance(tracks, list):
        return None
    return _listed(*(str(track["captions"]).removeprefix("captions-") for track in tracks if track.get("captions")))


def _said(facts: Mapping[str, Any]) -> str | None:
    tags = facts.get("tags")
    return _listed(*(str(tags.get(name, "")) for name in _SAID_OF_A_SOUND)) if isinstance(tags, Mapping) else None


def _contents(facts: Mapping[str, Any]) -> str | None:
    return _listed(*(_counted(facts.get(name), word) or "" for name, word in _COUNTS))


def _counted(found: object, word: str) -> str | None:
    count = len(found) if isinstance(found, list) else found
    if type(count) is not int:
        return None
    return f"{count} {word}{'' if count == 1 else 's'}"


def _listed(*parts: str) -> str | None:
    return ", ".join(part for part in parts if part) or None
