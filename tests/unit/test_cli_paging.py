"""Lists that come in pages, told whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from contentplatform.cli.paging import everything


@dataclass(frozen=True)
class Page:
    """A page of numbers."""

    numbers: tuple[int, ...]
    cursor: str | None


@pytest.mark.parametrize("pages", [[()], [(1, 2), (3,)], [(1,), (), (2,)]])
def test_everything_is_what_all_pages_have_in_their_order(pages: list[tuple[int, ...]]) -> None:
    asked: list[str | None] = []

    def page_behind(cursor: str | None) -> Page:
        asked.append(cursor)
        number = int(cursor or 0)
        return Page(pages[number], str(number + 1) if number + 1 < len(pages) else None)

    found = everything(page_behind, lambda page: page.numbers)
    assert found == [number for page in pages for number in page]
    assert asked == [None, *(str(number) for number in range(1, len(pages)))]
