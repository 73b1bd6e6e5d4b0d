"""What a child claims to have found in a film or a sound, held against what can be, before anybody acts on it.

The facts steer command lines, names and the catalog. Our own probe gives none that would fail here; a child that was
taken over by its input may give anything.
"""

from __future__ import annotations

import dataclasses
import json
import types
import unicodedata
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, get_args, get_type_hints

from contentplatform.processing.embedded import KEYWORD_LIMIT
from contentplatform.processing.languages import language_tag
from contentplatform.processing.port import AudioTrack, Chapter, MediaFacts, SubtitleTrack, VideoTrack

_PARTS: Final = {"video": VideoTrack, "audio": AudioTrack, "subtitles": SubtitleTrack, "chapters": Chapter}
_MOST_PARTS: Final = 10_000
_MOST_CHARACTERS: Final = 10_000
_LARGEST: Final = 1 << 53
"""Beyond it, numbers are no longer whole where JSON is read elsewhere."""
_MOST_LEVELS: Final = 8
_MOST_FACTS: Final = 200
_NAME_CHARACTERS: Final = 100
_INLINE_BYTES: Final = 100_000
"""Of texts that stand in the record in any case; a document's words are most of it."""
_DESCRIPTION: Final = {"title": str, "description": str, "tags": list, "credit": str, "rights": str}
_DESCRIPTION_BYTES: Final = 150_000
_TURNS: Final = (0, 90, 180, 270)
_WHITE_SPACE: Final = "\n\t"
_CONTROLS: Final = frozenset({"Cc", "Cs"})


def media_facts(claim: object) -> MediaFacts:
    """The facts, if each of them is of its own sort and within reason.

    Raises:
        ValueError: one isn't; which, is in its words.
    """
    if not isinstance(claim, dict):
        raise ValueError("no media facts, but something else")
    for name, kind in _PARTS.items():
        parts = claim.get(name, [])
        if not isinstance(parts, list) or len(parts) > _MOST_PARTS:
            raise ValueError(f"{name} is no list, or too long a one")
        for part in parts:
            _check_fields(kind, part, name)
    _check_fields(MediaFacts, {name: value for name, value in claim.items() if name not in _PARTS}, "facts")
    facts = MediaFacts.from_json(claim)
    languages = {*(track.language for track in facts.audio), *(track.language for track in facts.subtitles)}
    if any(language_tag(language) != language for language in languages):
        raise ValueError("a language is none")
    if any(track.rotation_degrees not in _TURNS for track in facts.video):
        raise ValueError("a turn is none")
    return facts


def check_facts(claim: Mapping[str, Any]) -> None:
    """Make sure that what a job found out is JSON that a record can hold: shallow, bounded, in clean words.

    Raises:
        ValueError: it isn't; why, is in its words.
    """
    _check_value(claim, _MOST_LEVELS)
    size = sum(len(value.encode()) for value in claim.values() if isinstance(value, str))
    if len(claim) > _MOST_FACTS or size > _INLINE_BYTES:
        raise ValueError("more facts than a record can hold")


def check_description(claim: Mapping[str, Any]) -> None:
    """Make sure that what a file says of itself is of the sorts that the catalog takes over.

    Raises:
        ValueError: it isn't; why, is in its words.
    """
    if unknown := claim.keys() - _DESCRIPTION.keys():
        raise ValueError(f"no part of a description: {', '.join(sorted(str(name)[:40] for name in unknown))}")
    for name, value in claim.items():
        words = [value] if _DESCRIPTION[name] is str else value
        if not isinstance(words, list) or len(words) > KEYWORD_LIMIT or not all(map(_is_text, words)):
            raise ValueError(f"the description's {name} is none")
    if len(json.dumps(claim, ensure_ascii=False).encode()) > _DESCRIPTION_BYTES:
        raise ValueError("a description that is too long")


def _check_value(value: object, levels: int) -> None:
    if levels == 0:
        raise ValueError("facts within facts within facts")
    if isinstance(value, Mapping):
        if not all(_is_text(name) and len(name) <= _NAME_CHARACTERS for name in value):
            raise ValueError("a fact without a name")
        for part in value.values():
            _check_value(part, levels - 1)
    elif isinstance(value, list):
        for part in value:
            _check_value(part, levels - 1)
    elif not (value is None or isinstance(value, bool) or _is_number(value) or _is_long_text(value)):
        raise ValueError("a fact that is none")


def _check_fields(kind: type[Any], claim: object, where: str) -> None:
    """Hold each value against the field of its name."""
    sorts = get_type_hints(kind)
    if not isinstance(claim, dict):
        raise ValueError(f"{where} holds something else")
    required = {f.name for f in dataclasses.fields(kind) if _is_required(f)} - _PARTS.keys()
    if unknown := (claim.keys() - sorts.keys()) | (required - claim.keys()):
        raise ValueError(f"{where}: {', '.join(sorted(str(name)[:40] for name in unknown))} is missing or not known")
    for name, value in claim.items():
        if not _fits(sorts[name], value):
            raise ValueError(f"{where}.{name} is none")


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(sort: Any, value: object) -> bool:
    if isinstance(sort, types.UnionType):
        return any(_fits(one, value) for one in get_args(sort))
    return _TESTS.get(sort, _is_words_by_words)(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_measure(value: object) -> bool:
    return type(value) in {int, float} and isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST


def _is_number(value: object) -> bool:
    return _is_measure(value) or (isinstance(value, float) and isfinite(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_CHARACTERS and _is_clean(value)


def _is_long_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _INLINE_BYTES and _is_clean(value)


def _is_clean(text: str) -> bool:
    if text.isascii() and text.isprintable():
        return True
    return all(sign in _WHITE_SPACE or unicodedata.category(sign) not in _CONTROLS for sign in text)


def _is_words_by_words(value: object) -> bool:
    if not isinstance(value, Mapping) or len(value) > _MOST_PARTS:
        return False
    return all(_is_text(word) for pair in value.items() for word in pair)


_TESTS: Final[Mapping[Any, Callable[[object], bool]]] = {
    bool: lambda value: isinstance(value, bool),
    types.NoneType: lambda value: value is None,
    int: _is_count,
    float: _is_measure,
    str: _is_text,
}
"""Whether a value is of a field's sort; what is none of these is tags. What is no number lies between no bounds."""
