"""What a collection may be, and how its files are ordered: the same in every home."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from contentplatform.catalog.port import COLLECTION_LIMIT
from contentplatform.catalog.search import words
from contentplatform.errors import InvalidRequest, NotFound

NAME_LIMIT_CHARACTERS: Final = 200
DESCRIPTION_LIMIT_CHARACTERS: Final = 10_000


def check_words(doing: str, name: str | None, description: str | None) -> None:
    """Raise InvalidRequest unless a collection can be called and described so."""
    if name is not None and not name.strip():
        raise InvalidRequest(doing, "it needs a name")
    given = (("name", name, NAME_LIMIT_CHARACTERS), ("description", description, DESCRIPTION_LIMIT_CHARACTERS))
    for what, text, limit in given:
        if text is None:
            continue
        if len(text) > limit:
            raise InvalidRequest(doing, f"its {what} is longer than {limit} characters")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequest(doing, f"its {what} is no valid Unicode") from error


def name_order(name: str) -> str:
    """By what a collection is sorted: its name, case and accents folded."""
    return " ".join(words(name))


def not_there(doing: str) -> NotFound:
    """The error of a collection that there is not."""
    return NotFound(doing, "there is no such collection", hint="`contentplatform collections list` shows what there is")


def appended(there: Sequence[str], more: Iterable[str], doing: str) -> tuple[str, ...]:
    """``there`` with those of ``more`` that are new at its end. Raises InvalidRequest where that is too many."""
    found = tuple(dict.fromkeys((*there, *more)))
    if len(found) > max(COLLECTION_LIMIT, len(there)):
        raise InvalidRequest(
            doing,
            f"a collection has at most {COLLECTION_LIMIT} files; this would be {len(found)}",
            hint="Put the rest into another one",
        )
    return found


def arranged(there: Sequence[str], moving: Sequence[str], before: str | None, doing: str) -> tuple[str, ...]:
    """``there`` with ``moving``, in its order, before another one, or at the end.

    Raises:
        InvalidRequest: one of them is not there, or ``before`` is one of those that move.
    """
    known, moved = set(there), tuple(dict.fromkeys(moving))
    if not known.issuperset(moved) or (before is not None and before not in known):
        raise InvalidRequest(doing, "one of these files is not in it", hint="Read the collection again")
    if before in moved:
        raise InvalidRequest(doing, "a file can't be put before itself")
    leaving = set(moved)
    rest = [file_id for file_id in there if file_id not in leaving]
    place = len(rest) if before is None else rest.index(before)
    return (*rest[:place], *moved, *rest[place:])
