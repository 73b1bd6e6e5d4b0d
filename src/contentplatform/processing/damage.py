"""How much of a film was lost while it was encoded, by what FFmpeg complains of, and what people are told of it.

A film with a small damage is made all the same, and its record says what is wrong with it. Counted are pictures that
were concealed, those that were refused, those that are missing beside what the container promises, and refused pieces
of sound. FFmpeg's words come from a file that nobody trusts: what they can do is to call this film damaged.
"""

from __future__ import annotations

import re
from typing import Final

from contentplatform.processing.port import MediaFacts
from contentplatform.processing.presets import (
    TOLERATED_FILM_LOSS_AT_MOST_SHARE,
    TOLERATED_FILM_LOSS_SECONDS,
    TOLERATED_FILM_LOSS_SHARE,
)

GRAVE: Final = re.compile(r"(?:\[[^\]]{1,80}\] )*\[(?:warning|error|fatal|panic)\] (.*)")
"""A line that complains. Others quote the film, its title for one."""
_PICTURES: Final = "[vist#"
_SOUND: Final = "[aist#"
_CONTAINER: Final = "[in#"
_CONCEALED: Final = "corrupt decoded frame"
_REFUSED: Final = "Error submitting packet to decoder"
_CUT: Final = ("File ended prematurely", "partial file", "Truncating packet")
_COUNTED: Final = re.compile(
    r"\[in#0/[^\]]{1,80}\] \[verbose\] +Input stream #0:([0-9]{1,4}) \((video|audio)\): ([0-9]{1,12}) packets read"
    r" \([0-9]{1,18} bytes\); ([0-9]{1,12}) frames decoded; ([0-9]{1,12}) decode errors",
    re.ASCII,
)
_SLACK_PICTURES: Final = 2
"""So many may be missing beside an average rate and a rounded length."""
_SLACK_SECONDS: Final = 0.5
_TELECINED: Final = frozenset({"mpeg2video", "vc1"})
"""Their pictures may be told to be shown for longer, so that there are fewer of them than the rate says."""
_USUAL_RATE: Final = 25.0
_PLACED_SECONDS: Final = 10.0
"""What reads the film is some seconds ahead of what encodes it: in a shorter one, nobody knows the place."""


class Losses:
    """Counts what is lost in one run, line by line; at its end the numbers are final."""

    def __init__(self, facts: MediaFacts) -> None:
        self._facts = facts
        self._track = facts.video[0]
        self._rate = self._track.frame_rate or _USUAL_RATE
        self._concealed = self._refused = self._refused_sounds = self._container_complaints = 0
        self._decoded: int | None = None
        self._sound_packets = 0
        self._first_seconds: float | None = None
        self._is_cut = False

    def take(self, line: str, at_seconds: float) -> None:
        """Take in a line of what it complains; ``at_seconds`` of the film were done then."""
        grave = GRAVE.match(line)
        if grave is None:
            self._take_count(line)
            return
        words, is_container = grave[1], line.startswith(_CONTAINER)
        seen = self._concealed + self._refused + self._refused_sounds + self._container_complaints
        if line.startswith(_PICTURES):
            self._concealed += _CONCEALED in words
            self._refused += _REFUSED in words
        elif line.startswith(_SOUND):
            self._refused_sounds += _REFUSED in words or _CONCEALED in words
        self._container_complaints += is_container
        self._is_cut |= is_container and any(cut in words for cut in _CUT)
        now = self._concealed + self._refused + self._refused_sounds + self._container_complaints
        if now != seen and self._first_seconds is None:
            self._first_seconds = at_seconds

    def _take_count(self, line: str) -> None:
        counted = _COUNTED.match(line)
        if counted is None:
            return
        index, packets, frames, errors = (int(counted[group]) for group in (1, 3, 4, 5))
        if index == self._track.index:
            self._decoded, self._refused = frames, max(self._refused, errors)
        elif self._facts.audio and index == self._facts.audio[0].index:
            self._sound_packets, self._refused_sounds = packets, max(self._refused_sounds, errors)

    @property
    def is_hopeless(self) -> bool:
        """Whether more is lost by now than may be; nobody knows of a film that does not tell how long it is."""
        length = self._facts.duration_seconds
        return length > 0 and (self._concealed + self._refused) / self._rate > _allowed_seconds(length)

    def is_certain(self, end_seconds: float) -> bool:
        """Whether something of a film was lost, of which ``end_seconds`` were encoded."""
        if self._is_cut or self._concealed or self._refused or self._refused_sounds:
            return True
        # A container that complains, and lacks nothing, got over it.
        return self._container_complaints > 0 and self._lost_seconds(end_seconds) > 0

    def is_too_much(self, end_seconds: float) -> bool:
        """Whether so much was lost that it is the film no more."""
        return self._lost_seconds(end_seconds) > _allowed_seconds(max(self._facts.duration_seconds, end_seconds))

    def words(self, end_seconds: float) -> str:
        """What is wrong with the film, for people: how much, and where about."""
        told = []
        lost = self._lost_pictures()
        if lost:
            told.append(f"about {lost} {'picture is' if lost == 1 else 'pictures are'} damaged or missing")
        missing_sound = self._lost_sound_seconds()
        if missing_sound:
            told.append(f"about {max(missing_sound, 0.1):.1f} s of its sound is missing")
        if self._is_cut or (not told and self._short_seconds(end_seconds)):
            told.append(f"its end is missing, after {_clock(end_seconds)}")
        elif self._first_seconds is not None and self._facts.duration_seconds >= _PLACED_SECONDS:
            told.append(f"the first damage is at about {_clock(self._first_seconds)}")
        return ", ".join(told) or "a part of the file is damaged, but nothing is known to be missing"

    # -- how much --------------------------------------------------------------------------------------------

    def _lost_seconds(self, end_seconds: float) -> float:
        """Of pictures or sound, whichever is more; several signs of the same loss count once."""
        return max(self._lost_pictures() / self._rate, self._short_seconds(end_seconds), self._lost_sound_seconds())

    def _lost_pictures(self) -> int:
        return self._concealed + max(self._refused, self._missing_pictures())

    def _missing_pictures(self) -> int:
        """How many fewer were decoded than there should be, where that is known."""
        if self._decoded is None or not self._facts.duration_is_exact or self._track.frame_rate_varies:
            return 0
        if self._track.codec in _TELECINED:
            return 0
        missing = round(self._track.duration_seconds * self._rate) - self._decoded
        return missing if missing > _SLACK_PICTURES else 0

    def _short_seconds(self, end_seconds: float) -> float:
        """How much of the end is missing, where it is known how long the film is."""
        missing = self._track.duration_seconds - end_seconds
        return missing if self._facts.duration_is_exact and missing > _SLACK_SECONDS else 0.0

    def _lost_sound_seconds(self) -> float:
        if not self._refused_sounds or not self._sound_packets:
            return 0.0
        share = min(1.0, self._refused_sounds / self._sound_packets)
        return share * self._facts.audio[0].duration_seconds


def _allowed_seconds(film_seconds: float) -> float:
    allowed = max(TOLERATED_FILM_LOSS_SECONDS, TOLERATED_FILM_LOSS_SHARE * film_seconds)
    return min(allowed, TOLERATED_FILM_LOSS_AT_MOST_SHARE * film_seconds)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
