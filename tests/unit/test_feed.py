"""Events as a listener gets them: in order, without a loss, and never more than is read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from contentplatform.catalog.port import Change, ChangeKind, ChangePage
from contentplatform.errors import RateLimited
from contentplatform.web.feed import BEHIND_LIMIT, STREAMS_EACH, Feed, Glances, Sees
from fakes.catalog import FakeCatalog, make_record

NOON: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Told(FakeCatalog):
    """A catalog whose changes a test writes."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Change] = []
        self.forgotten = 0
        self.looks = 0

    def happen(self, *keys: str) -> None:
        for key in keys:
            number = self.newest() + 1
            self.told.append(Change(number, NOON, f"{number:032x}", key, ChangeKind.ADDED))

    def newest(self) -> int:
        return self.told[-1].sequence if self.told else self.forgotten

    def newest_change(self) -> int:
        self.looks += 1
        return self.newest()

    def changes(self, after: int, limit: int = 500) -> ChangePage:
        later = tuple(change for change in self.told if change.sequence > after)
        return ChangePage(later[:limit], gap=after < self.forgotten)


def listen(
    catalog: FakeCatalog,
    count: int,
    *,
    after: int | None = None,
    sees: Sees = lambda _: True,
    again: Callable[[], Sees | None] = lambda: lambda _: True,
    meanwhile: Callable[[], object] = lambda: None,
    stopping: threading.Event | None = None,
    heartbeat_seconds: float = 60.0,
    longest_seconds: float = 60.0,
) -> list[str]:
    """The first ``count`` pieces of a stream behind its greeting; ``meanwhile`` happens once it listens."""

    async def read(stream: AsyncIterator[bytes]) -> list[str]:
        pieces: list[str] = []
        async for piece in stream:
            if not pieces:
                meanwhile()
            pieces.append(piece.decode())
            if len(pieces) > count:
                break
        return pieces[1:]

    async def run() -> list[str]:
        feed = Feed(
            catalog,
            stopping or threading.Event(),
            poll_seconds=0.001,
            heartbeat_seconds=heartbeat_seconds,
            longest_seconds=longest_seconds,
        )
        return await asyncio.wait_for(read(feed.follow(sees, after, again)), 20)

    return asyncio.run(run())


def numbers(pieces: list[str]) -> list[str]:
    return [piece.splitlines()[0] for piece in pieces]


def test_who_listens_from_now_on_hears_what_happens_then() -> None:
    catalog = Told()
    catalog.happen("before")
    [piece] = listen(catalog, 1, meanwhile=lambda: catalog.happen("a/b.jpg"))
    number, event, data, *_ = piece.splitlines()
    assert (number, event) == ("id: 2", "event: added")
    assert json.loads(data.removeprefix("data: ")) == {
        "sequence": 2,
        "at": "2030-01-01T12:00:00.000000Z",
        "file_id": f"{2:032x}",
        "file_path": "a/b.jpg",
        "what": "added",
        "moved_to": None,
    }
    assert piece.endswith("\n\n")


def test_who_comes_back_hears_everything_since_in_order() -> None:
    catalog = Told()
    catalog.happen(*(f"{number}" for number in range(1_200)))
    assert numbers(listen(catalog, 1_190, after=10)) == [f"id: {number}" for number in range(11, 1_201)]


def test_nobody_hears_of_what_does_not_exist_for_them() -> None:
    catalog = Told()
    catalog.happen("secret/1", "acme/2", "secret/3", "acme/4")
    assert numbers(listen(catalog, 2, after=0, sees=lambda key: key.startswith("acme/"))) == ["id: 2", "id: 4"]


def test_a_key_can_forge_no_event() -> None:
    catalog = Told()
    catalog.happen("x\n\nid: 99\ndata: forged")
    [piece] = listen(catalog, 1, after=0)
    assert piece.count("\n") == 4


@pytest.mark.parametrize("after", [3, 99])
def test_who_can_t_be_told_all_is_told_to_look_anew(after: int) -> None:
    """What is forgotten, and a number that this home never gave."""
    catalog = Told()
    catalog.forgotten = 5
    catalog.happen("a", "b")
    assert listen(catalog, 1, after=after)[0] == "id: 7\nevent: reload\ndata: {}\n\n"


def test_who_is_far_behind_is_told_to_look_anew_and_goes_on_from_there() -> None:
    catalog = Told()
    catalog.happen(*("x" for _ in range(BEHIND_LIMIT + 1)))
    first, second = listen(catalog, 2, after=0, meanwhile=lambda: None, heartbeat_seconds=0.01)
    assert first == f"id: {BEHIND_LIMIT + 1}\nevent: reload\ndata: {{}}\n\n"
    assert second == ": still here\n\n"


def test_a_silent_stream_gives_a_sign_of_life_and_ends_after_a_while() -> None:
    assert listen(Told(), 2, heartbeat_seconds=0.002) == [": still here\n\n"] * 2
    assert listen(Told(), 1_000, longest_seconds=0.05) == []


def test_who_may_not_listen_any_more_hears_nothing_more() -> None:
    catalog = Told()
    asked: list[int] = []

    def again() -> Sees | None:
        asked.append(catalog.newest())
        if len(asked) == 2:  # behind this look nothing is told, neither events nor signs of life
            catalog.happen("secret")
            return None
        return lambda _: True

    assert listen(catalog, 1_000, again=again, heartbeat_seconds=0.002) == [": still here\n\n"]
    assert asked == [0, 0]


def test_who_was_held_in_a_folder_meanwhile_hears_of_that_alone() -> None:
    catalog = Told()

    def again() -> Sees | None:
        if not catalog.told:
            catalog.happen("secret/1", "acme/2")
        return lambda key: key.startswith("acme/")

    assert numbers(listen(catalog, 1, again=again, heartbeat_seconds=0.002)) == ["id: 2"]


def test_a_server_that_stops_ends_every_stream() -> None:
    stopping = threading.Event()
    assert listen(Told(), 1, stopping=stopping, meanwhile=stopping.set) == []


def test_many_listeners_cost_one_look() -> None:
    catalog = Told()

    async def run() -> None:
        feed = Feed(catalog, threading.Event(), poll_seconds=60.0)
        streams = [feed.follow(lambda _: True, None, lambda: None) for _ in range(50)]
        await asyncio.gather(*(anext(stream) for stream in streams))

    asyncio.run(run())
    assert catalog.looks == 1


def test_a_home_that_tells_no_changes_tells_that_something_changed() -> None:
    catalog = FakeCatalog()
    glances = Glances(catalog)
    first = glances.newest_change()
    assert glances.newest_change() == first
    stored = catalog.put(make_record())
    second = glances.newest_change()
    assert second > first
    catalog.put(replace(stored, title="another"))
    assert glances.newest_change() > second
    assert glances.changes(first).gap
    assert not glances.changes(glances.newest_change()).gap


def test_one_user_s_streams_have_a_limit_and_leave_room_for_others() -> None:
    feed = Feed(Told(), threading.Event())
    with ExitStack() as opened:
        for _ in range(STREAMS_EACH):
            opened.enter_context(feed.listening("vera"))
        with pytest.raises(RateLimited, match="open already"), feed.listening("vera"):
            pass
        opened.enter_context(feed.listening("emil"))
    with feed.listening("vera"):
        pass
