"""Lists that are told whole, however many pages they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Page(Protocol):
    """Tells where the next one begins; None: there is none."""

    @property
    def cursor(self) -> str | None: ...


P = TypeVar("P", bound=Page)
T = TypeVar("T")


def everything(page_behind: Callable[[str | None], P], items_of: Callable[[P], Iterable[T]]) -> list[T]:
    """What is on all pages, in their order."""
    found: list[T] = []
    cursor: str | None = None
    while True:
        page = page_behind(cursor)
        found += items_of(page)
        cursor = page.cursor
        if cursor is None:
            return found
