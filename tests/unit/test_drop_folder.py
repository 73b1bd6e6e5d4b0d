"""The drop folder, over a real library in a temporary folder, with a clock that is moved by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentplatform.app import LocalHome, open_local
from contentplatform.config import Settings
from contentplatform.ingest.drop_folder import DropFolder
from fakes.clock import FakeClock

Make = Callable[..., DropFolder]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def home(tmp_path: Path, clock: FakeClock) -> Iterator[LocalHome]:
    opened = open_local(Settings(data_folder=tmp_path / "data"), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def dropped(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def make(home: LocalHome, dropped: Path, clock: FakeClock, tmp_path: Path) -> Make:
    def made(**options: object) -> DropFolder:
        platform = home.platform
        return DropFolder(dropped, platform.library, home.database, clock, tmp_path / "data" / "run", **options)  # type: ignore[arg-type]  # options of the test

    return made


def keys(home: LocalHome) -> set[str]:
    home.take_in_all()
    from contentplatform.storage.port import BucketRole, walk  # noqa: PLC0415 - only this looks at the store

    return {version.key for version in walk(home.store, BucketRole.PRIMARY)}


def rest(drop: DropFolder, clock: FakeClock, seconds: float = 5.0) -> int:
    """Two looks with a quiet time between them."""
    drop.look()
    clock.advance(seconds)
    return drop.look()


def test_a_file_is_taken_in_once_it_has_stopped_growing(
    make: Make, home: LocalHome, dropped: Path, clock: FakeClock
) -> None:
    drop = make(prefix="incoming/")
    (dropped / "a").mkdir()
    growing = dropped / "a" / "film.mov"
    growing.write_bytes(b"one")
    assert drop.look() == 0
    clock.advance(4.9)
    assert drop.look() == 0, "not yet"
    growing.write_bytes(b"one and two")
    clock.advance(5.0)
    assert drop.look() == 0, "it grew: the time begins anew"
    clock.advance(5.0)
    assert drop.look() == 1
    assert keys(home) == {"incoming/a/film.mov"}
    with home.platform.library.open("incoming/a/film.mov") as body:
        assert body.read() == b"one and two"


def test_what_stays_is_taken_in_once_and_again_when_somebody_changes_it(
    make: Make, home: LocalHome, dropped: Path, clock: FakeClock
) -> None:
    (dropped / "x.txt").write_bytes(b"1")
    assert rest(make(), clock) == 1
    assert rest(make(), clock) == 0, "another process remembers it, too"
    (dropped / "x.txt").write_bytes(b"22")
    assert rest(make(), clock) == 1
    assert [version.size_bytes for version in home.platform.library.versions("x.txt")] == [2, 1]


def test_files_are_removed_where_that_is_wanted(make: Make, home: LocalHome, dropped: Path, clock: FakeClock) -> None:
    (dropped / "x.txt").write_bytes(b"1")
    assert rest(make(remove=True), clock) == 1
    assert list(dropped.iterdir()) == []
    assert keys(home) == {"x.txt"}
    (dropped / "x.txt").write_bytes(b"another")
    assert rest(make(remove=True), clock) == 1


def test_links_hidden_files_and_what_is_still_written_are_passed_over(
    make: Make, home: LocalHome, dropped: Path, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (dropped / "link.txt").symlink_to(tmp_path / "secret.txt")
    (dropped / "folder").symlink_to(tmp_path)
    (dropped / ".hidden").write_bytes(b"1")
    (dropped / "film.mp4.part").write_bytes(b"1")
    os.mkfifo(dropped / "pipe")
    assert rest(make(), clock) == 0
    assert keys(home) == set()


def test_a_file_that_changes_while_it_is_read_leaves_nothing(
    make: Make, home: LocalHome, dropped: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dropped / "x.bin"
    path.write_bytes(b"1" * 10)
    drop = make()
    drop.look()
    clock.advance(5.0)
    opened = os.open

    def grow_when_opened(name: object, *arguments: int, **named: int) -> int:
        descriptor = opened(name, *arguments, **named)  # type: ignore[arg-type]  # handed on
        if name == path:
            path.write_bytes(b"1" * 20)
        return descriptor

    monkeypatch.setattr(os, "open", grow_when_opened)
    assert drop.look() == 0
    monkeypatch.undo()
    assert keys(home) == set()
    clock.advance(5.0)
    drop.look()
    clock.advance(5.0)
    assert drop.look() == 1


def test_a_name_that_can_be_no_key_holds_up_nobody(
    make: Make, home: LocalHome, dropped: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    (dropped / "a\nb.txt").write_bytes(b"1")
    (dropped / "good.txt").write_bytes(b"1")
    drop = make()
    assert rest(drop, clock) == 1
    drop.look()
    assert keys(home) == {"good.txt"}
    assert [record.message for record in caplog.records].count("dropped file not taken in") == 1
    assert (dropped / "a\nb.txt").exists()
