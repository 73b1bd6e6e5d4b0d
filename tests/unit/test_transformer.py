"""Pictures on the fly over a platform in memory: each made once, none of what is gone, nothing hostile tried twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from contentplatform.clock import SystemClock
from contentplatform.delivery.image_budget import CpuBudget
from contentplatform.delivery.image_cache import ImageCache, KeptPicture
from contentplatform.delivery.images import parse_options
from contentplatform.delivery.transformed import Order, Transformer
from contentplatform.errors import ErrorCode, NotFound, PlatformError, ProcessingFailed, RateLimited, Unavailable
from contentplatform.media import file_id
from contentplatform.storage.port import BucketRole
from fakes.clock import SequentialIds
from fakes.platform import BROKEN, MemoryPlatform, document, film, jpeg

Open = Callable[..., Transformer]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"one"
CLIENT = "192.0.2.1"


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    return MemoryPlatform(tmp_path / "platform")


@pytest.fixture
def open_transformer(platform: MemoryPlatform, tmp_path: Path) -> Iterator[Open]:
    opened: list[Transformer] = []

    def run(jobs: int = 2, seconds_a_minute: float = 1_000.0) -> Transformer:
        transformer = Transformer(
            platform.catalog,
            platform.store,
            platform.processor,
            ImageCache(tmp_path / "pictures", 1 << 20, platform.clock, SequentialIds(len(opened) * 1_000)),
            CpuBudget(platform.clock, seconds_a_minute),
            SystemClock() if opened else platform.clock,
            scratch=tmp_path / "scratch",
            locks=tmp_path / "locks",
            jobs=jobs,
        )
        opened.append(transformer)
        return transformer

    yield run
    for transformer in opened:
        transformer.close()


@pytest.fixture
def transformer(open_transformer: Open) -> Transformer:
    return open_transformer()


def stored(platform: MemoryPlatform, key: str, data: bytes) -> None:
    platform.add(key, data)
    platform.settle()
    platform.processor.jobs.clear()


def ordered(transformer: Transformer, key: str, options: str = "w_100", accept: str = "") -> Order:
    return transformer.order(key, parse_options(options), accept)


def made(transformer: Transformer, order: Order, client: str = CLIENT) -> KeptPicture:
    return transformer.kept(order) or transformer.make(order, client).result(300)


# -- which bytes -------------------------------------------------------------------------------------------------


def test_a_picture_is_made_of_the_original_once(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    first = made(transformer, ordered(transformer, "a.jpg"))
    assert first.body == b"100x0 jpeg of " + jpeg("one")
    assert (first.content_type, first.width, first.height) == ("image/jpeg", 100, 100)
    assert made(transformer, ordered(transformer, "a.jpg")) == first
    assert made(transformer, ordered(transformer, "a.jpg", accept="image/avif")).content_type == "image/avif"
    assert platform.processor.jobs == [jpeg("one")] * 2


def test_each_option_is_a_picture_of_its_own(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    all_options = ("w_100", "h_100", "w_100,h_100", "w_100,h_100,c_fill", "w_100,h_100,c_fill,g_center", "w_100,q_50")
    places = {ordered(transformer, "a.jpg", options).place for options in all_options}
    assert len(places) == len(all_options)
    # What means the same is the same.
    assert ordered(transformer, "a.jpg", "w_50,dpr_2").place == ordered(transformer, "a.jpg", "w_100").place
    assert ordered(transformer, "a.jpg", "w_512,h_512").place == ordered(transformer, "a.jpg", "t_card-512").place


def test_a_film_is_shown_by_its_poster_and_a_document_by_its_page(
    platform: MemoryPlatform, transformer: Transformer
) -> None:
    stored(platform, "clip.mp4", film("one"))
    stored(platform, "text.pdf", document("one"))
    assert made(transformer, ordered(transformer, "clip.mp4")).body.startswith(b"100x0 jpeg of poster of ")
    assert made(transformer, ordered(transformer, "text.pdf")).body.startswith(b"100x0 jpeg of thumbnail of ")


def test_what_decodes_slowly_is_shown_by_its_rendition(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.heic", HEIC)
    assert made(transformer, ordered(transformer, "a.heic")).body == b"100x0 jpeg of webp of " + HEIC


def test_an_original_that_can_not_be_read_is_shown_by_its_rendition(
    platform: MemoryPlatform, transformer: Transformer
) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    record = platform.catalog.get(file_id("a.jpg"))
    order = ordered(transformer, "a.jpg")
    assert [source.bucket for source in order.sources] == [BucketRole.PRIMARY, BucketRole.PROCESSED]
    platform.store.delete_version(BucketRole.PRIMARY, "a.jpg", record.version_id)
    # The order stands for a moment in which the original was there.
    with pytest.raises(NotFound):
        made(transformer, order)
    assert platform.processor.jobs == [b"webp of " + jpeg("one")]


def test_there_is_no_picture_of_what_has_none(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "notes.xyz", bytes(range(32)))
    stored(platform, "broken.jpg", jpeg("x") + BROKEN)
    for key in ("notes.xyz", "broken.jpg", "missing.jpg"):
        with pytest.raises(NotFound):
            ordered(transformer, key)
    platform.add("waiting.jpg", jpeg("soon"))
    platform.take_in()
    with pytest.raises(NotFound):
        ordered(transformer, "waiting.jpg")


# -- what was replaced or removed --------------------------------------------------------------------------------


def test_replaced_bytes_are_never_shown_again(
    platform: MemoryPlatform, transformer: Transformer, tmp_path: Path
) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    made(transformer, ordered(transformer, "a.jpg"))
    platform.add("a.jpg", jpeg("two"))
    platform.take_in()
    # While the new version is processed, the world sees the one before.
    assert made(transformer, ordered(transformer, "a.jpg")).body.endswith(jpeg("one"))
    platform.settle()
    assert made(transformer, ordered(transformer, "a.jpg")).body.endswith(jpeg("two"))
    assert len([path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]) == 1


def test_a_deleted_file_has_no_pictures_from_that_moment_on(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    made(transformer, ordered(transformer, "a.jpg"))
    assert platform.edge.images_kept[file_id("a.jpg")] == platform.catalog.get(file_id("a.jpg")).file_hash
    platform.store.delete(BucketRole.PRIMARY, "a.jpg")  # no event was handled yet
    with pytest.raises(NotFound):
        ordered(transformer, "a.jpg")
    platform.settle()
    assert platform.edge.images_kept[file_id("a.jpg")] == ""
    with pytest.raises(NotFound):
        ordered(transformer, "a.jpg")


def test_a_picture_of_a_file_that_went_meanwhile_is_shown_to_nobody_and_not_kept(
    platform: MemoryPlatform, transformer: Transformer, tmp_path: Path
) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    platform.processor.meanwhile = lambda: platform.library.remove("a.jpg")
    with pytest.raises(NotFound):
        made(transformer, ordered(transformer, "a.jpg"))
    assert [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()] == []


# -- one job for all ---------------------------------------------------------------------------------------------


def test_requests_for_one_picture_wait_for_one_job(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    order = ordered(transformer, "a.jpg")
    others: list[Future[KeptPicture]] = []
    platform.processor.meanwhile = lambda: others.extend(transformer.make(order, CLIENT) for _ in range(50))
    first = transformer.make(order, CLIENT).result(300)
    assert [other.result(300) for other in others] == [first] * 50
    assert len(platform.processor.jobs) == 1


def test_another_process_waits_for_the_same_job(
    platform: MemoryPlatform, transformer: Transformer, open_transformer: Open
) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    other = open_transformer()
    order = ordered(transformer, "a.jpg")
    others: list[Future[KeptPicture]] = []
    platform.processor.meanwhile = lambda: others.append(other.make(order, CLIENT))
    first = transformer.make(order, CLIENT).result(300)
    assert others[0].result(300) == first
    assert len(platform.processor.jobs) == 1


def test_so_many_run_so_many_wait_and_the_rest_come_later(platform: MemoryPlatform, open_transformer: Open) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    transformer = open_transformer(jobs=1)
    go_on = threading.Event()
    platform.processor.meanwhile = lambda: go_on.wait(300)
    futures = [transformer.make(ordered(transformer, "a.jpg", f"w_{n + 1}"), f"viewer {n % 5}") for n in range(65)]
    with pytest.raises(Unavailable):
        transformer.make(ordered(transformer, "a.jpg", "w_500"), "viewer 9")
    go_on.set()
    assert len({future.result(300).sha256 for future in futures}) == 65
    transformer.make(ordered(transformer, "a.jpg", "w_500"), "viewer 9").result(300)


# -- limits ------------------------------------------------------------------------------------------------------


def test_a_viewer_who_caused_enough_gets_what_is_there_only(platform: MemoryPlatform, open_transformer: Open) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    transformer = open_transformer(seconds_a_minute=1.0)
    for width in (1, 2):  # half a second each, says the processor
        made(transformer, ordered(transformer, "a.jpg", f"w_{width}"))
    with pytest.raises(RateLimited):
        made(transformer, ordered(transformer, "a.jpg", "w_3"))
    assert made(transformer, ordered(transformer, "a.jpg", "w_1")).body.startswith(b"1x0")
    made(transformer, ordered(transformer, "a.jpg", "w_4"), "192.0.2.2")
    platform.clock.advance(60)
    made(transformer, ordered(transformer, "a.jpg", "w_3"))


def test_a_smaller_rendition_stands_in_where_it_fits(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    instead = transformer.instead(ordered(transformer, "a.jpg", "t_card-512"))
    assert instead is not None
    assert (instead.content_type, instead.width) == ("image/jpeg", 10)
    assert instead.body in {b"thumbnail of " + jpeg("one"), b"medium of " + jpeg("one")}
    assert transformer.instead(ordered(transformer, "a.jpg", "w_9")) is None  # larger than what was asked for
    assert transformer.instead(ordered(transformer, "a.jpg", "t_square-96")) is None  # of another aspect


def test_a_hostile_source_is_not_tried_again_for_a_while(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise ProcessingFailed("making it", "it is a bomb", code=ErrorCode.LIMIT)

    platform.processor.meanwhile = fail
    with pytest.raises(ProcessingFailed):
        made(transformer, ordered(transformer, "a.jpg"))
    platform.processor.meanwhile = fail
    for width in range(1, 20):
        with pytest.raises(ProcessingFailed) as caught:
            made(transformer, ordered(transformer, "a.jpg", f"w_{width}"))
        assert (caught.value.code, caught.value.why) == (ErrorCode.LIMIT, "it is a bomb")
    assert len(attempts) == 1
    platform.clock.advance(601)
    with pytest.raises(ProcessingFailed):
        made(transformer, ordered(transformer, "a.jpg"))
    assert len(attempts) == 2


def test_other_bytes_under_the_same_name_are_tried(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    platform.processor.meanwhile = _bomb
    with pytest.raises(ProcessingFailed):
        made(transformer, ordered(transformer, "a.jpg"))
    stored(platform, "a.jpg", jpeg("two"))
    assert made(transformer, ordered(transformer, "a.jpg")).body.endswith(jpeg("two"))


def test_a_passing_fault_is_forgotten_at_once(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))

    def fail() -> None:
        raise Unavailable("making it", "somebody pulled a plug")

    platform.processor.meanwhile = fail
    with pytest.raises(Unavailable):
        made(transformer, ordered(transformer, "a.jpg"))
    made(transformer, ordered(transformer, "a.jpg"))


def test_who_was_closed_takes_no_orders(platform: MemoryPlatform, transformer: Transformer) -> None:
    stored(platform, "a.jpg", jpeg("one"))
    order = ordered(transformer, "a.jpg")
    transformer.close()
    transformer.close()
    with pytest.raises(PlatformError):
        transformer.make(order, CLIENT)


def _bomb() -> None:
    raise ProcessingFailed("making it", "it is a bomb", code=ErrorCode.LIMIT)
