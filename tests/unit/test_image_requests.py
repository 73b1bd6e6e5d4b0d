"""Who may have which picture on the fly, and what browsers may keep of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contentplatform.delivery.answers import Content, Refusal, Request, Result
from contentplatform.delivery.image_budget import CpuBudget
from contentplatform.delivery.image_cache import ImageCache
from contentplatform.delivery.image_requests import ImageRequests
from contentplatform.delivery.rules import UNVERSIONED_CACHE_CONTROL, VERSIONED_CACHE_CONTROL
from contentplatform.delivery.transformed import Transformer
from contentplatform.errors import ErrorCode, InvalidRequest, NotFound, ProcessingFailed
from contentplatform.media import file_id
from fakes.clock import SequentialIds
from fakes.platform import MemoryPlatform, jpeg

Ask = Callable[..., Content | Refusal]
FORMATS = "image/avif,image/webp,image/*,*/*;q=0.8"
LATER = timedelta(hours=1)


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    platform = MemoryPlatform(tmp_path / "platform")
    for key in ("a.jpg", "b.jpg", "private/p.jpg", "a b,ü.jpg"):
        platform.add(key, jpeg(key))
    platform.settle()
    platform.processor.jobs.clear()
    return platform


@pytest.fixture
def open_asking(platform: MemoryPlatform, tmp_path: Path) -> Iterator[Callable[..., Ask]]:
    opened: list[ImageRequests] = []

    def run(*, open_options: bool = False, seconds_a_minute: float = 1_000.0) -> Ask:
        transformer = Transformer(
            platform.catalog,
            platform.store,
            platform.processor,
            ImageCache(tmp_path / "pictures", 1 << 20, platform.clock, SequentialIds()),
            CpuBudget(platform.clock, seconds_a_minute),
            platform.clock,
            scratch=tmp_path / "scratch",
            locks=tmp_path / "locks",
            jobs=2,
        )
        handler = ImageRequests(
            transformer, platform.edge.check_link, private_prefix="private/", open_options=open_options
        )
        opened.append(handler)

        def ask(target: str, accept: str = FORMATS) -> Content | Refusal:
            path, _, query = target.removeprefix("https://edge.example").partition("?")
            request = Request(path, query, ((b"accept", accept.encode()),), "192.0.2.1")
            return asyncio.run(_answer(handler, request))

        return ask

    yield run
    for handler in opened:
        handler.close()


@pytest.fixture
def ask(open_asking: Callable[..., Ask]) -> Ask:
    return open_asking()


async def _answer(handler: ImageRequests, request: Request) -> Content | Refusal:
    return await handler(request)


def hash_of(platform: MemoryPlatform, key: str) -> str:
    return platform.catalog.get(file_id(key)).file_hash


def content(answer: Content | Refusal) -> Content:
    assert isinstance(answer, Content)
    return answer


def refused(answer: Content | Refusal, status: int) -> Refusal:
    assert isinstance(answer, Refusal)
    assert answer.status == status
    return answer


# -- what browsers keep ------------------------------------------------------------------------------------------


def test_a_preset_is_for_everybody_and_kept_for_a_year(platform: MemoryPlatform, ask: Ask) -> None:
    url = platform.edge.image_url("t_card-512,dpr_2", "a b,ü.jpg", hash_of(platform, "a b,ü.jpg"))
    assert url.startswith("https://edge.example/images/t_card-512,dpr_2/a%20b%2C%C3%BC.jpg?v=")
    first, second = content(ask(url)), content(ask(url))
    assert first.body == b"1024x1024 avif of " + jpeg("a b,ü.jpg")
    assert (first.content_type, first.cache_control, first.vary) == ("image/avif", VERSIONED_CACHE_CONTROL, "Accept")
    assert (first.result, second.result) == (Result.MISS, Result.HIT)
    assert first.etag == second.etag
    assert first.policy.cross_origin is not None
    assert len(platform.processor.jobs) == 1


@pytest.mark.parametrize(
    ("accept", "content_type"), [(FORMATS, "image/avif"), ("image/webp,*/*", "image/webp"), ("*/*", "image/jpeg")]
)
def test_each_viewer_gets_a_format_that_it_knows(ask: Ask, accept: str, content_type: str) -> None:
    found = content(ask("/images/t_square-96/a.jpg", accept))
    assert (found.content_type, found.vary) == (content_type, "Accept")


@pytest.mark.parametrize("version", ["", "?v=", "?v=0123456789abcdef", "?v=../x", "?v=%0d%0aset-cookie:x"])
def test_without_the_right_version_it_is_kept_for_a_minute(ask: Ask, version: str) -> None:
    assert content(ask(f"/images/t_square-96/a.jpg{version}")).cache_control == UNVERSIONED_CACHE_CONTROL


def test_the_hash_of_the_answer_is_its_etag(ask: Ask) -> None:
    one, other = content(ask("/images/t_square-96/a.jpg")), content(ask("/images/t_square-256/a.jpg"))
    assert one.etag != other.etag
    assert set(one.etag) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("/images/dpr_2,t_card-512/a.jpg", "/images/t_card-512,dpr_2/a.jpg"),
        ("/images/t_card-512,f_auto/a.jpg?x=1&v=0123456789abcdef", "/images/t_card-512/a.jpg?v=0123456789abcdef"),
        ("/images/t_card-512,dpr_1/a.jpg?v=%0d%0aset-cookie:x", "/images/t_card-512/a.jpg"),
        ("/images/t_card-512/a+b&c.jpg", "/images/t_card-512/a%2Bb%26c.jpg"),
    ],
)
def test_there_is_one_way_to_write_a_picture(ask: Ask, asked: str, told: str) -> None:
    answer = refused(ask(asked), 301)
    assert answer.headers == ((b"location", told.encode()),)


# -- who may -----------------------------------------------------------------------------------------------------


def test_free_options_need_a_signature(platform: MemoryPlatform, ask: Ask) -> None:
    refused(ask("/images/w_300/a.jpg"), 403)
    refused(ask("/images/w_300,f_webp/a.jpg?v=0123456789abcdef"), 403)
    with pytest.raises(InvalidRequest):
        platform.edge.image_url("w_300", "a.jpg", hash_of(platform, "a.jpg"))
    url = platform.edge.image_url("w_300,f_webp", "a.jpg", hash_of(platform, "a.jpg"), platform.clock.now() + LATER)
    found = content(ask(url, "*/*"))
    assert (found.body, found.vary) == (b"300x0 webp of " + jpeg("a.jpg"), "")
    assert found.cache_control == VERSIONED_CACHE_CONTROL


def test_a_signature_is_for_these_options_of_this_file_until_then(platform: MemoryPlatform, ask: Ask) -> None:
    url = platform.edge.image_url("w_300", "a.jpg", hash_of(platform, "a.jpg"), platform.clock.now() + LATER)
    for other in (
        url.replace("w_300", "w_301"),
        url.replace("w_300", "w_300,dpr_2"),
        url.replace("w_300", "w_300,f_auto"),
        url.replace("a.jpg", "b.jpg"),
        url.replace("?v=", "?v=0"),
        url.replace("Expires=", "Expires=9"),
        url.replace("Key-Id=", "Key-Id=0"),
        url + "&v=0123456789abcdef",
        url[: url.index("&Signature=") + 20] + "&" + url[url.index("Key-Id=") :],
        url.partition("?")[0] + "?Signature=",
    ):
        refused(ask(other), 403)
    assert platform.processor.jobs == []
    content(ask(url))
    platform.clock.advance(3_601)
    refused(ask(url), 403)


def test_a_link_to_a_rendition_opens_no_picture(platform: MemoryPlatform, ask: Ask) -> None:
    sha256 = hash_of(platform, "a.jpg")
    url = platform.edge.signed_url("processed/webp/a.jpg.webp", platform.clock.now() + LATER, sha256)
    refused(ask("/images/w_300/a.jpg?" + url.partition("?")[2]), 403)


def test_private_files_need_a_signature_for_presets_too(platform: MemoryPlatform, ask: Ask) -> None:
    sha256 = hash_of(platform, "private/p.jpg")
    refused(ask(f"/images/t_card-512/private/p.jpg?v={sha256[:16]}"), 403)
    refused(ask("/images/t_card-512/private/there-is-none.jpg"), 403)  # nor is told whether there is one
    with pytest.raises(InvalidRequest):
        platform.edge.image_url("t_card-512", "private/p.jpg", sha256)
    url = platform.edge.image_url("t_card-512", "private/p.jpg", sha256, platform.clock.now() + LATER)
    assert content(ask(url)).cache_control == "private, no-store"
    # What was made for a bearer of a link is still private.
    refused(ask(f"/images/t_card-512/private/p.jpg?v={sha256[:16]}"), 403)


@pytest.mark.parametrize("path", ["/images/t_card-512/%70rivate/p.jpg", "/images/t_card-512/x/../private/p.jpg"])
def test_no_disguise_leads_to_a_private_file(ask: Ask, path: str) -> None:
    refused(ask(path), 400)


def test_open_options_open_options_and_nothing_else(open_asking: Callable[..., Ask]) -> None:
    ask = open_asking(open_options=True)
    assert content(ask("/images/w_300,f_png/a.jpg")).content_type == "image/png"
    refused(ask("/images/w_300/private/p.jpg"), 403)
    refused(ask("/images/w_1000000000/a.jpg"), 400)


def test_what_is_not_there_is_not_found(ask: Ask) -> None:
    with pytest.raises(NotFound):
        ask("/images/t_card-512/missing.jpg")


def test_a_hostile_source_is_said_to_be_one_and_not_tried_again(platform: MemoryPlatform, ask: Ask) -> None:
    platform.processor.meanwhile = _bomb
    for target in ("/images/t_card-512/a.jpg", "/images/t_card-512/a.jpg", "/images/t_square-96/a.jpg"):
        assert refused(ask(target), 422).text == "making it: it is a bomb"
    assert len(platform.processor.jobs) == 1


def _bomb() -> None:
    raise ProcessingFailed("making it", "it is a bomb", code=ErrorCode.LIMIT, private="where it was found")


# -- limits ------------------------------------------------------------------------------------------------------


def test_who_caused_enough_gets_a_smaller_picture_or_has_to_wait(open_asking: Callable[..., Ask]) -> None:
    ask = open_asking(seconds_a_minute=0.4)
    content(ask("/images/t_card-512/a.jpg"))
    found = content(ask("/images/t_card-512/b.jpg"))
    assert (found.content_type, found.cache_control) == ("image/jpeg", "no-store")
    ((name, seconds),) = refused(ask("/images/t_square-96/b.jpg"), 429).headers
    assert name == b"retry-after"
    assert int(seconds) > 1
    assert content(ask("/images/t_card-512/a.jpg")).result is Result.HIT


def test_a_viewer_who_leaves_takes_the_picture_from_nobody(platform: MemoryPlatform, tmp_path: Path) -> None:
    transformer = Transformer(
        platform.catalog,
        platform.store,
        platform.processor,
        ImageCache(tmp_path / "pictures", 1 << 20, platform.clock, SequentialIds()),
        CpuBudget(platform.clock, 100),
        platform.clock,
        scratch=tmp_path / "scratch",
        locks=tmp_path / "locks",
        jobs=1,
    )
    handler = ImageRequests(transformer, platform.edge.check_link, private_prefix="private/")
    request = Request("/images/t_card-512/a.jpg", "", (), "192.0.2.1")

    async def leave_and_ask() -> Content | Refusal:
        leaving = asyncio.create_task(_answer(handler, request))
        staying = asyncio.create_task(_answer(handler, request))
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        platform.processor.meanwhile = lambda: loop.call_soon_threadsafe(begun.set)
        await begun.wait()
        leaving.cancel()
        return await staying

    try:
        assert content(asyncio.run(leave_and_ask())).body == b"512x512 jpeg of " + jpeg("a.jpg")
    finally:
        handler.close()
    assert len(platform.processor.jobs) == 1
