"""One subtitle after the other: out of the many ways in which containers hold them, into WebVTT that is harmless.

Only words, line breaks, bold, italics, underlining, and where on the screen they stand come through; everything else
of the source's markup is dropped, and every character that means something to WebVTT is written as itself. Fonts are
names in the source and nothing more: none is ever looked for.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from contentplatform.processing.jobs.escapes import unescaped
from contentplatform.processing.playlists import timestamp

MOST_CUES: Final = 50_000
_TEXT_LIMIT: Final = 4_000
"""Characters of one cue."""
_PAYLOAD_LIMIT_BYTES: Final = 64 << 10
_HEADER_LIMIT_BYTES: Final = 1 << 20
_LINE_LIMIT: Final = 12
_LONGEST_SECONDS: Final = 7.0
"""How long a cue stays whose source doesn't say."""
_SHORTEST_SECONDS: Final = 0.001
_ONE_AND_THE_SAME_SECONDS: Final = 0.05
"""Cues of the same words with a smaller gap between them are one."""
_MARKS: Final = ("b", "i", "u")


@dataclass(frozen=True, slots=True)
class Cue:
    """Words on the screen from one time to another."""

    start_seconds: float
    end_seconds: float
    text: str
    """WebVTT cue text: escaped, with no markup but ``<b>``, ``<i>`` and ``<u>``."""
    settings: str = ""
    """WebVTT cue settings."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A piece of text between two marks. ``on`` and ``off`` are changes of style in front of it."""

    text: str
    style: frozenset[str] = frozenset()


def webvtt(cues: Iterable[Cue], *, until_seconds: float, limit_bytes: int) -> str:
    """A WebVTT file of these cues, in the order of time; empty where none is left.

    Args:
        cues: in any order. One that ends before it begins lasts until the next one, at most seven seconds.
        until_seconds: the film's end: what begins after it is left out.
        limit_bytes: of the file; what does not fit is left out.
    """
    lines, size = ["WEBVTT\n"], 8
    for cue in _merged(_ended(cues, until_seconds)):
        settings = f" {cue.settings}" if cue.settings else ""
        line = f"{timestamp(cue.start_seconds)} --> {timestamp(cue.end_seconds)}{settings}\n{cue.text}\n"
        size += len(line.encode()) + 1
        if size > limit_bytes or len(lines) > MOST_CUES:
            break
        lines.append(line)
    return "\n".join(lines) if len(lines) > 1 else ""


def _ended(cues: Iterable[Cue], until_seconds: float) -> Iterator[Cue]:
    """The cues in order, each with a beginning and an end within the film."""
    ordered = sorted(cues, key=lambda cue: (cue.start_seconds, cue.end_seconds))
    starts = [max(0.0, cue.start_seconds) for cue in ordered]
    for cue, start in zip(ordered, starts, strict=True):
        end = cue.end_seconds
        if cue.end_seconds <= cue.start_seconds:
            later = bisect_right(starts, start)
            end = min(starts[later] if later < len(starts) else until_seconds, start + _LONGEST_SECONDS)
        end = min(end, until_seconds)
        if cue.text and end - start >= _SHORTEST_SECONDS:
            yield replace(cue, start_seconds=start, end_seconds=end)


def _merged(cues: Iterable[Cue]) -> list[Cue]:
    """Signs that are animated frame by frame, or drawn in layers, come as many cues of the same words."""
    merged: list[Cue] = []
    latest: dict[tuple[str, str], int] = {}
    for cue in cues:
        place = latest.get((cue.text, cue.settings))
        if place is not None and cue.start_seconds - merged[place].end_seconds <= _ONE_AND_THE_SAME_SECONDS:
            longer = max(merged[place].end_seconds, cue.end_seconds)
            merged[place] = replace(merged[place], end_seconds=longer)
        else:
            latest[cue.text, cue.settings] = len(merged)
            merged.append(cue)
    return merged


# -- out of a container ------------------------------------------------------------------------------------------


class CueReader:
    """Turns the packets of one track into cues. Never fails: what makes no sense gives no cue."""

    def __init__(self, codec: str, header: bytes = b"") -> None:
        """Read packets of ``codec``, as FFmpeg names it; ``header`` is what the container holds beside them."""
        readers: Mapping[str, Callable[[bytes], tuple[list[_Run], str]]] = {
            "subrip": _subrip,
            "text": _plain,
            "mov_text": _mov_text,
            "webvtt": _webvtt_text,
            "ass": _AssReader(header[:_HEADER_LIMIT_BYTES]),
        }
        self._read = readers[codec]

    def cue(self, payload: bytes, start_seconds: float, end_seconds: float, settings: bytes = b"") -> Cue | None:
        """The cue that a packet holds; None if it shows nothing.

        ``settings`` are WebVTT cue settings that the container holds beside it.
        """
        runs, own_settings = self._read(payload[:_PAYLOAD_LIMIT_BYTES])
        text = _written(runs)
        return Cue(start_seconds, end_seconds, text, own_settings or _sound_settings(settings)) if text else None


def _decoded(payload: bytes) -> str:
    return payload.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _plain(payload: bytes) -> tuple[list[_Run], str]:
    return [_Run(_decoded(payload))], ""


# Possessive: a tag that is never closed is given up at once, instead of being tried at every length.
_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)[^<>]*+>")
_BRACES: Final = re.compile(r"\{\\[^{}]*\}")


def _subrip(payload: bytes) -> tuple[list[_Run], str]:
    """SubRip: HTML's b, i, u; fonts; and by custom ASS's overrides in braces, for the place."""
    text = _decoded(payload)
    place = next((found for block in _BRACES.findall(text) if (found := _alignment_of(block))), 0)
    return _runs_of_tags(_BRACES.sub("", text), _TAG), _settings_of(place)


_ANY_TAG: Final = re.compile(r"<(/?)([A-Za-z]*+)[^<>]*+>")


def _webvtt_text(payload: bytes) -> tuple[list[_Run], str]:
    """WebVTT's cue text; in MP4 within boxes."""
    if payload[4:8] in {b"vttc", b"vtte", b"vttx"}:
        boxes = dict(_boxes(payload[8 : int.from_bytes(payload[:4], "big")])) if payload[4:8] == b"vttc" else {}
        payload, settings = boxes.get(b"payl", b""), boxes.get(b"sttg", b"")
    else:
        settings = b""
    runs = _runs_of_tags(_decoded(payload), _ANY_TAG)
    return [replace(run, text=unescaped(run.text)) for run in runs], _sound_settings(settings)


def _runs_of_tags(text: str, tag: re.Pattern[str]) -> list[_Run]:
    runs: list[_Run] = []
    style: frozenset[str] = frozenset()
    place = 0
    for found in tag.finditer(text):
        runs.append(_Run(text[place : found.start()], style))
        place = found.end()
        name = found[2].lower()
        if name in _MARKS:
            style = style - {name} if found[1] else style | {name}
    return [*runs, _Run(text[place:], style)]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if not 8 <= size <= len(content) - place:
            return
        yield content[place + 4 : place + 8], content[place + 8 : place + size]
        place += size


_STYLE_RECORD_BYTES: Final = 12
_FACES: Final = ((1, "b"), (2, "i"), (4, "u"))
_UTF16_MARK: Final = b"\xfe\xff"


def _mov_text(payload: bytes) -> tuple[list[_Run], str]:
    """3GPP timed text: its length, the text, and boxes of which ``styl`` tells what is bold from where to where."""
    size = int.from_bytes(payload[:2], "big")
    raw = payload[2 : 2 + size]
    text = raw[2:].decode("utf-16-be", "replace") if raw.startswith(_UTF16_MARK) else raw.decode("utf-8", "replace")
    text = text[:_TEXT_LIMIT]
    styles: list[frozenset[str]] = [frozenset()] * len(text)
    for kind, content in _boxes(payload[2 + size :]):
        records = content[2 : 2 + int.from_bytes(content[:2], "big") * _STYLE_RECORD_BYTES] if kind == b"styl" else b""
        for place in range(0, len(records) - _STYLE_RECORD_BYTES + 1, _STYLE_RECORD_BYTES):
            start, end = (int.from_bytes(records[place + n : place + n + 2], "big") for n in (0, 2))
            marks = frozenset(mark for bit, mark in _FACES if records[place + 6] & bit)
            end = min(end, len(text))
            if start < end:
                styles[start:end] = [marks] * (end - start)
    runs = [_Run(character, style) for character, style in zip(text, styles, strict=True)]
    return [replace(run, text="\n") if run.text == "\r" else run for run in runs], ""


# -- Advanced SubStation Alpha ---------------------------------------------------------------------------------------

_ASS_FIELDS: Final = 8
"""In front of the text: order of reading, layer, style, name, three margins, effect."""
_ASS_STYLE_FIELD: Final = 2
_ASS_STYLE_LIMIT: Final = 2_000
_ASS_TOKEN: Final = re.compile(r"\{([^{}]*)\}|\\([Nnh])")
_ASS_OVERRIDE: Final = re.compile(r"(pos(?=\()|an?(?=\d)|[biu](?=\d|$)|p(?=\d)|r)(\d{0,4}|\([^()]*\)|(?<=r).*)")
_NUMPAD_OF_LEGACY: Final = {1: 1, 2: 2, 3: 3, 5: 7, 6: 8, 7: 9, 9: 4, 10: 5, 11: 6}
_ASS_ESCAPES: Final = {"N": "\n", "n": " ", "h": "\N{NO-BREAK SPACE}"}
_TOP_LEFT, _TOP = 7, 8
"""On the keypad, whose first row is at the bottom."""
_TOP_THIRD: Final = 0.35
_SCRIPT_HEIGHT: Final = 288
"""What ASS takes for the picture's height where the script says nothing."""
_BOLD_FROM: Final = 2
"""``\\b700`` is bold as ``\\b1`` is; ``\\b0`` is not, and neither is a weight under 600."""
_BOLD_WEIGHT: Final = 600


@dataclass(frozen=True, slots=True)
class _AssStyle:
    place: int
    style: frozenset[str]


class _AssState:
    """What holds at one place of a text."""

    def __init__(self, base: _AssStyle) -> None:
        self.style = base.style
        self.place = 0
        """As the text asks for; 0: it doesn't."""
        self.is_high = False
        self.is_drawing = False


class _AssReader:
    def __init__(self, header: bytes) -> None:
        self._styles: dict[str, _AssStyle] = {}
        self._script_height = _SCRIPT_HEIGHT
        fields: list[str] = []
        is_legacy = False
        for line in _decoded(header).split("\n"):
            name, _, value = line.strip().partition(":")
            match name.lower():
                case "[v4+ styles]" | "[v4 styles]":
                    is_legacy = "+" not in name
                case "playresy" if value.strip().isdecimal():
                    self._script_height = int(value.strip()[:6]) or _SCRIPT_HEIGHT
                case "format" if not self._styles:
                    fields = [field.strip().lower() for field in value.split(",")]
                case "style" if len(self._styles) < _ASS_STYLE_LIMIT:
                    values = [part.strip() for part in value.split(",")]
                    self._note(dict(zip(fields, values, strict=False)), is_legacy=is_legacy)

    def _note(self, values: Mapping[str, str], *, is_legacy: bool) -> None:
        alignment = values.get("alignment", "2")[:4]
        place = int(alignment) if alignment.isdecimal() else 2
        marks = {mark for mark, field in (("b", "bold"), ("i", "italic"), ("u", "underline")) if _is_on(values, field)}
        self._styles[values.get("name", "").lstrip("*")] = _AssStyle(
            _NUMPAD_OF_LEGACY.get(place, 2) if is_legacy else place, frozenset(marks)
        )

    def __call__(self, payload: bytes) -> tuple[list[_Run], str]:
        parts = _decoded(payload).split(",", _ASS_FIELDS)
        if len(parts) <= _ASS_FIELDS:
            return [], ""
        base = self._styles.get(parts[_ASS_STYLE_FIELD].lstrip("*"), _AssStyle(2, frozenset()))
        return self._runs(parts[_ASS_FIELDS], base)

    def _runs(self, text: str, base: _AssStyle) -> tuple[list[_Run], str]:
        now = _AssState(base)
        runs: list[_Run] = []
        at = 0
        for found in _ASS_TOKEN.finditer(text):
            runs.append(_Run("" if now.is_drawing else text[at : found.start()], now.style))
            at = found.end()
            if found[2] is not None:
                runs.append(_Run(_ASS_ESCAPES[found[2]], now.style))
                continue
            for override in found[1].split("\\")[1:]:
                if known := _ASS_OVERRIDE.fullmatch(override.strip()):
                    self._apply(now, base, known[1], known[2])
        runs.append(_Run("" if now.is_drawing else text[at:], now.style))
        place = now.place or base.place
        return runs, _settings_of(_TOP if now.is_high and place < _TOP_LEFT else place)

    def _apply(self, now: _AssState, base: _AssStyle, name: str, value: str) -> None:
        match name:
            case "an" | "a":
                now.place = now.place or _alignment_of(f"\\{name}{value}")
            case "pos":
                now.is_high = now.is_high or self._is_high(value)
            case "p":
                now.is_drawing = value.strip("0 ") != ""
            case "r":
                now.style = self._styles.get(value.strip(), base).style
            case _:
                now.style = now.style | {name} if _override_is_on(name, value) else now.style - {name}

    def _is_high(self, value: str) -> bool:
        """Whether the place that ``pos`` names, x and y, is in the upper part of the picture."""
        y = re.fullmatch(r"\(\s*-?[\d.]{1,8}\s*,\s*(-?\d{1,6})(?:\.\d*)?\s*\)", value.strip())
        return y is not None and int(y[1]) < self._script_height * _TOP_THIRD


def _is_on(values: Mapping[str, str], field: str) -> bool:
    return values.get(field, "0").lstrip("-") not in {"", "0"}


def _override_is_on(name: str, value: str) -> bool:
    if not value.isdecimal():
        return False
    number = int(value)
    return number == 1 if name != "b" or number < _BOLD_FROM else number >= _BOLD_WEIGHT


def _alignment_of(block: str) -> int:
    r"""The place that ``\\an8`` or the older ``\\a6`` asks for, as on a keypad of numbers; 0 where none does."""
    if found := re.search(r"\\an([1-9])(?!\d)", block):
        return int(found[1])
    found = re.search(r"\\a(\d{1,2})(?!\d)", block)
    return _NUMPAD_OF_LEGACY.get(int(found[1]), 0) if found else 0


def _settings_of(place: int) -> str:
    """WebVTT's settings for a place on the keypad. Below in the middle is what players do anyway."""
    line = {0: "", 1: "line:50%", 2: "line:0"}.get((place - 1) // 3, "") if place else ""
    align = {1: "align:left", 0: "align:right"}.get(place % 3, "") if place else ""
    return " ".join(part for part in (line, align) if part)


# -- WebVTT ----------------------------------------------------------------------------------------------------------

_PERCENT: Final = r"(?:100|\d{1,2})(?:\.\d{1,3})?%"
_SETTINGS: Final = re.compile(
    rf"line:(?:-?\d{{1,2}}|{_PERCENT})(?:,(?:start|center|end))?"
    rf"|position:{_PERCENT}(?:,(?:line-left|center|line-right))?"
    rf"|size:{_PERCENT}|align:(?:start|center|end|left|right)|vertical:(?:rl|lr)"
)


def _sound_settings(settings: bytes) -> str:
    """The cue settings that WebVTT knows, each once; regions are not kept, so neither is their name."""
    kept = {
        word.partition(":")[0]: word
        for word in settings[:500].decode("utf-8", "replace").split()
        if _SETTINGS.fullmatch(word)
    }
    return " ".join(kept.values())


def _written(runs: Iterable[_Run]) -> str:
    """Cue text: no empty line in it, every mark closed again in the line where it was opened."""
    lines: list[list[_Run]] = [[]]
    left = _TEXT_LIMIT
    for run in runs:
        text = _cleaned(run.text)[:left]
        left -= len(text)
        first, *others = text.split("\n")
        lines[-1].append(replace(run, text=first))
        lines += [[replace(run, text=other)] for other in others]
    whole = [line for line in lines if any(run.text.strip() for run in line)]
    return "\n".join(_marked(line) for line in whole[:_LINE_LIMIT])


def _marked(line: Iterable[_Run]) -> str:
    parts: list[str] = []
    opened: tuple[str, ...] = ()
    for run in line:
        if run.text:
            wanted = opened if run.text.isspace() else tuple(mark for mark in _MARKS if mark in run.style)
            if wanted != opened:
                parts += [*_closed(opened), *(f"<{mark}>" for mark in wanted)]
                opened = wanted
            parts.append(html.escape(run.text, quote=False))
    return "".join([*parts, *_closed(opened)]).strip()


def _closed(opened: Sequence[str]) -> list[str]:
    return [f"</{mark}>" for mark in reversed(opened)]


def _cleaned(text: str) -> str:
    """Without control characters, which neither show nor belong into a file of lines."""
    return "".join(
        character if character == "\n" or character.isprintable() or character.isspace() or _joins(character) else ""
        for character in text.replace("\t", " ").translate(_BREAKS)
    )


_BREAKS: Final = dict.fromkeys((0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029), " ")
_JOINERS: Final = frozenset("\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2067\u2068\u2069\ufe0f\u00ad")
"""Invisible, and needed: scripts that join letters, right-to-left text, emoji."""


def _joins(character: str) -> bool:
    return character in _JOINERS
