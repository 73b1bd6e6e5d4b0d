"""What is kept of pictures: whole ones, within the limit, and none of a file that is gone."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from contentplatform.delivery.image_cache import CACHE_FOLDER_NAME, ImageCache, KeptPicture, Place
from contentplatform.delivery.local import SCHEMA, LocalEdge
from contentplatform.drivers.sqlite import Database
from contentplatform.errors import InvalidRequest
from fakes.clock import FakeClock, SequentialIds

FILE = "ab" * 16
OLD, NEW = "1" * 64, "2" * 64


def picture(text: str, size: int = 0) -> KeptPicture:
    body = text.encode().ljust(size, b".")
    return KeptPicture("image/webp", hashlib.sha256(body).hexdigest(), 3, 2, body)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(tmp_path: Path, clock: FakeClock) -> ImageCache:
    return ImageCache(tmp_path / "pictures", 100_000, clock, SequentialIds())


def test_what_is_kept_is_found_again_by_another_process(tmp_path: Path, cache: ImageCache, clock: FakeClock) -> None:
    place = Place(FILE, NEW, "a")
    assert cache.get(place) is None
    cache.put(place, picture("one\nand two"))
    other = ImageCache(tmp_path / "pictures", 100_000, clock, SequentialIds(9))
    assert other.get(place) == picture("one\nand two")
    assert other.get(Place(FILE, NEW, "b")) is None
    assert other.get(Place(FILE, OLD, "a")) is None
    assert other.get(Place("cd" * 16, NEW, "a")) is None


def test_the_least_recently_used_go_when_room_is_needed(cache: ImageCache, clock: FakeClock) -> None:
    places = [Place(f"{number:032x}", NEW, "a") for number in range(40)]
    for place in places:
        clock.advance(10)
        cache.put(place, picture(place.file_id, 5_000))
        clock.advance(3_600)
        assert cache.get(places[0]) is not None  # it is looked at all the time
        assert cache.size_bytes() <= 100_000
    assert cache.size_bytes() > 80_000
    kept = [number for number, place in enumerate(places) if cache.get(place) is not None]
    assert kept == [0, *range(40 - len(kept) + 1, 40)]


def test_what_is_larger_than_the_whole_cache_is_not_kept(cache: ImageCache, tmp_path: Path) -> None:
    cache.put(Place(FILE, NEW, "a"), picture("x", 100_001))
    assert cache.size_bytes() == 0
    nothing = ImageCache(tmp_path / "none", 0, FakeClock(), SequentialIds())
    nothing.put(Place(FILE, NEW, "a"), picture("x"))
    assert not (tmp_path / "none").exists()


def test_pictures_of_replaced_bytes_go_when_the_first_of_the_new_ones_comes(cache: ImageCache) -> None:
    cache.put(Place(FILE, OLD, "a"), picture("old"))
    cache.put(Place(FILE, OLD, "b"), picture("old, smaller"))
    cache.put(Place("cd" * 16, OLD, "a"), picture("another's"))
    cache.put(Place(FILE, NEW, "a"), picture("new"))
    assert cache.get(Place(FILE, OLD, "a")) is None
    assert cache.get(Place(FILE, OLD, "b")) is None
    assert cache.get(Place(FILE, NEW, "a")) == picture("new")
    assert cache.get(Place("cd" * 16, OLD, "a")) == picture("another's")


def test_nothing_is_left_of_a_file_that_is_gone(cache: ImageCache, tmp_path: Path) -> None:
    for name in "abc":
        cache.put(Place(FILE, NEW, name), picture(name))
    cache.keep_only(FILE, "")
    assert [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()] == []
    cache.keep_only(FILE, "")


def test_the_local_edge_forgets_what_this_cache_keeps(tmp_path: Path, clock: FakeClock) -> None:
    database = Database(tmp_path / "x.sqlite", [SCHEMA], new_uuid="1" * 32)
    edge = LocalEdge(database, tmp_path, clock, SequentialIds(), private_prefix="")
    cache = ImageCache(tmp_path / CACHE_FOLDER_NAME, 100_000, clock, SequentialIds())
    place = Place(FILE, NEW, "a")
    cache.put(place, picture("new"))
    edge.keep_images(FILE, NEW)
    assert cache.get(place) is not None
    edge.keep_images(FILE, OLD)
    assert cache.get(place) is None
    cache.put(place, picture("new"))
    edge.keep_images(FILE, "")
    assert cache.get(place) is None
    database.close()


def test_revoked_links_to_pictures_end_whatever_their_options(tmp_path: Path, clock: FakeClock) -> None:
    database = Database(tmp_path / "x.sqlite", [SCHEMA], new_uuid="1" * 32)
    edge = LocalEdge(database, tmp_path, clock, SequentialIds(), private_prefix="")
    later = clock.now() + timedelta(hours=1)
    ended = [edge.image_url(options, "a b/c.jpg", NEW, later) for options in ("w_1", "t_card-512")]
    other = edge.image_url("w_1", "a b/d.jpg", NEW, later)
    for link in (*ended, other):
        edge.check_link(link)
    edge.revoke_links("images/a b/c.jpg")
    for link in ended:
        with pytest.raises(InvalidRequest):
            edge.check_link(link)
    edge.check_link(other)
    edge.check_link(edge.image_url("w_1", "a b/c.jpg", NEW, later))  # given out since
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda content: content[:0],
        lambda content: content.replace(b"picture", b"pictore"),
        lambda content: b"[]\n" + content,
        lambda content: b"{}\n" + content,
        lambda content: b"\0" * len(content),
        lambda content: b"x" * 1_000 + content,
    ],
)
def test_a_damaged_entry_is_no_picture_and_goes(cache: ImageCache, tmp_path: Path, damage: object) -> None:
    place = Place(FILE, NEW, "a")
    cache.put(place, picture("a picture"))
    (path,) = (path for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]  # a case of the table
    assert cache.get(place) is None
    assert not path.exists()


def test_a_disk_that_takes_nothing_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_bytes(b"a file where the folder should be")
    cache = ImageCache(tmp_path / "pictures", 1_000, FakeClock(), SequentialIds())
    cache.put(Place(FILE, NEW, "a"), picture("x"))
    assert cache.get(Place(FILE, NEW, "a")) is None
    assert cache.size_bytes() == 0
