"""What a home does of what waits: all of it, or as much as there is time for."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.catalog.port import SearchQuery
from contentplatform.config import load

FILES: Final = 150


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    """A home that somebody has put files into, and nobody works in."""
    opened = open_local(load(data_folder=tmp_path / "data", environment={}))
    for number in range(FILES):
        opened.platform.library.add(f"notes/{number}.bin", BytesIO(bytes([number])))
    yield opened
    opened.close()


def after(rounds: int) -> Iterator[bool]:
    """Answers to whether it is over: not before so many rounds."""
    yield from [False] * rounds
    while True:
        yield True


def test_taking_in_ends_when_it_is_told_to_and_goes_on_later(home: LocalHome) -> None:
    """A worker that is stopped, or a page that somebody waits for, leaves the rest to the next worker."""
    assert home.platform.events.waiting() == FILES
    home.take_in_all(after(0).__next__)
    assert home.platform.events.waiting() == FILES
    home.take_in_all(after(2).__next__)
    assert 0 < home.platform.events.waiting() < FILES
    home.take_in_all()
    assert home.platform.events.waiting() == 0


def test_so_does_indexing(home: LocalHome) -> None:
    def found() -> int:
        return len(home.catalog.search(SearchQuery(text="notes bin"), limit=1_000).records)

    home.take_in_all()
    home.index_for_search(after(1).__next__)
    assert 0 < found() < FILES
    home.index_for_search()
    assert found() == FILES
