"""Pictures on the fly as a function: what its address is asked, and what it answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contentplatform.delivery import image_events
from contentplatform.delivery.image_budget import CpuBudget
from contentplatform.delivery.image_cache import ImageCache
from contentplatform.delivery.image_events import ImageEvents
from contentplatform.delivery.image_rules import picture_behaviours, was_signed
from contentplatform.delivery.rules import (
    PRIVATE_CACHE_CONTROL,
    UNVERSIONED_CACHE_CONTROL,
    VERSIONED_CACHE_CONTROL,
)
from contentplatform.delivery.transformed import Transformer
from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed
from contentplatform.media import file_id
from fakes.clock import SequentialIds
from fakes.platform import MemoryPlatform, jpeg

Ask = Callable[..., dict[str, Any]]
NEW = "image/avif,image/webp,*/*;q=0.8"


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    platform = MemoryPlatform(tmp_path / "platform")
    for key in ("a.jpg", "a b,ü.jpg", "private/p.jpg", "a/private/b.jpg"):
        platform.add(key, jpeg(key))
    platform.settle()
    platform.processor.jobs.clear()
    return platform


@pytest.fixture
def ask(platform: MemoryPlatform, tmp_path: Path) -> Iterator[Ask]:
    transformer = Transformer(
        platform.catalog,
        platform.store,
        platform.processor,
        ImageCache(tmp_path / "pictures", 0, platform.clock, SequentialIds()),
        CpuBudget(platform.clock, 1e9),
        platform.clock,
        scratch=tmp_path / "scratch",
        locks=tmp_path / "locks",
        jobs=1,
    )
    events = ImageEvents(transformer, platform.catalog, private_prefix="private/")

    def run(target: str, *, method: str = "GET", **headers: str) -> dict[str, Any]:
        path, _, query = target.removeprefix("https://edge.example").partition("?")
        given = {"accept": NEW, **{name.replace("_", "-"): value for name, value in headers.items()}}
        context = {"http": {"method": method, "path": path}}
        return events.answer({"rawPath": path, "rawQueryString": query, "headers": given, "requestContext": context})

    yield run
    events.close()


def link(platform: MemoryPlatform, options: str, key: str) -> str:
    return platform.edge.image_url(options, key, platform.catalog.get(file_id(key)).file_hash)


def test_a_preset_is_for_everybody_and_kept_for_a_year(platform: MemoryPlatform, ask: Ask) -> None:
    made = ask(link(platform, "t_card-512,dpr_2", "a b,ü.jpg"))
    assert (made["statusCode"], made["isBase64Encoded"]) == (200, True)
    assert base64.b64decode(made["body"]) == b"1024x1024 avif of " + jpeg("a b,ü.jpg")
    headers = made["headers"]
    assert (headers["content-type"], headers["vary"]) == ("image/avif", "Accept")
    assert headers["cache-control"] == VERSIONED_CACHE_CONTROL


def test_without_the_right_v_it_is_kept_for_a_minute(ask: Ask) -> None:
    for query in ("", "?v=0000000000000000", "?v="):
        assert ask(f"/images/t_card-512/a.jpg{query}")["headers"]["cache-control"] == UNVERSIONED_CACHE_CONTROL


def test_whether_it_is_still_the_same_is_told_without_making_it(platform: MemoryPlatform, ask: Ask) -> None:
    path = "/images/t_card-512/a.jpg"
    etag = ask(path, method="HEAD")["headers"]["etag"]
    assert ask(path, if_none_match=etag)["statusCode"] == 304
    assert platform.processor.jobs == []
    assert ask(path)["headers"]["etag"] == etag
    assert ask(path, accept="*/*", if_none_match=etag)["statusCode"] == 200
    platform.add("a.jpg", jpeg("another"))
    platform.settle()
    assert ask(path, if_none_match=etag)["statusCode"] == 200


def test_a_deleted_file_has_no_picture_any_more(platform: MemoryPlatform, ask: Ask) -> None:
    target = link(platform, "t_card-512", "a.jpg")
    etag = ask(target)["headers"]["etag"]
    platform.library.remove("a.jpg")
    gone = ask(target, if_none_match=etag)
    assert (gone["statusCode"], gone["headers"]["cache-control"]) == (404, UNVERSIONED_CACHE_CONTROL)


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/images/t_card-512/a.jpg", "everybody"),
        ("/images/t_card-512/a/private/b.jpg", "everybody"),
        ("/images/t_card-512/private/p.jpg", "who has a link"),
        ("/images/t_card-512,dpr_2/private/p.jpg", "who has a link"),
        ("/images/t_card-512,dpr_1/private/p.jpg", "who has a link"),
        ("/images/t_card-512,f_auto/private/p.jpg", "everybody"),
        ("/images/dpr_2,t_card-512/private/p.jpg", "who has a link"),
        ("/images/w_300/a.jpg", "who has a link"),
        ("/processed/thumbnails/a.jpg.jpg", "everybody"),
    ],
)
def test_the_edge_asks_for_a_signature(path: str, who: str) -> None:
    assert was_signed(path, "private/") is (who == "who has a link")


def test_where_nothing_is_private_only_free_options_are_signed() -> None:
    assert [(each.pattern, each.private) for each in picture_behaviours("")] == [
        ("images/t_*", False),
        ("images/*", True),
    ]


def test_what_the_edge_let_through_unsigned_is_looked_at_again(platform: MemoryPlatform, ask: Ask) -> None:
    assert ask("/images/t_card-512,f_auto/private/p.jpg")["statusCode"] == 403
    assert ask("/images/t_card-512,dpr_1/private/p.jpg")["statusCode"] == 400
    assert platform.processor.jobs == []
    shown = ask("/images/t_card-512/private/p.jpg")
    assert (shown["statusCode"], shown["headers"]["cache-control"]) == (200, PRIVATE_CACHE_CONTROL)
    assert ask("/images/w_300/a.jpg")["statusCode"] == 200
    assert ask("/images/t_card-512/a/private/b.jpg")["statusCode"] == 200


def test_there_is_one_way_to_write_a_picture(ask: Ask) -> None:
    led = ask("/images/t_card-512,dpr_1/a.jpg?v=0123456789abcdef")
    assert (led["statusCode"], led["headers"]["location"]) == (301, "/images/t_card-512/a.jpg?v=0123456789abcdef")
    assert ask("/images/t_card-512,dpr_1/a.jpg?v=x%0d")["headers"]["location"] == "/images/t_card-512/a.jpg"
    assert ask("/images/h_200,w_300/a.jpg")["statusCode"] == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/images/t_none/a.jpg", 400),
        ("/images/t_card-512/%61.jpg", 400),
        ("/images/t_card-512%2Cdpr_2/a.jpg", 400),
        ("/images/", 400),
        ("/images/t_card-512/none.jpg", 404),
    ],
)
def test_what_can_t_be_answered_is_told(target: str, status: int, ask: Ask) -> None:
    told = ask(target)
    assert (told["statusCode"], told["headers"]["content-type"]) == (status, "text/plain; charset=utf-8")


def test_what_pages_ask_first_is_answered(ask: Ask) -> None:
    assert ask("/images/t_card-512/a.jpg", method="OPTIONS") == {"statusCode": 204}


def test_what_lambda_can_t_send_is_elsewhere_as_a_whole(
    platform: MemoryPlatform, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_events, "LARGEST_BODY_BYTES", 5)
    led = ask("/images/t_card-512/a.jpg")
    [webp] = [each for each in platform.catalog.get(file_id("a.jpg")).renditions if each.name == "webp"]
    assert led["statusCode"] == 302
    assert led["headers"]["location"] == f"/{webp.key}?v={webp.sha256[:16]}"
    assert ask("/images/t_card-512/private/p.jpg")["statusCode"] == 422


def test_a_file_without_a_picture_and_one_that_is_broken_are_told_apart(platform: MemoryPlatform, ask: Ask) -> None:
    platform.add("some.bin", b"\x00\x01 some")
    platform.settle()
    assert ask("/images/t_card-512/some.bin")["statusCode"] == 404
    platform.processor.meanwhile = _bomb
    told = ask("/images/t_card-512/a.jpg")
    assert (told["statusCode"], told["body"]) == (422, "making it: it is a bomb\n")


def test_what_is_no_viewer_s_business_is_raised(platform: MemoryPlatform, ask: Ask) -> None:
    platform.processor.meanwhile = _no_disk
    with pytest.raises(NoSpace):
        ask("/images/t_card-512/a.jpg")


def _bomb() -> None:
    raise ProcessingFailed("making it", "it is a bomb", code=ErrorCode.LIMIT)


def _no_disk() -> None:
    raise NoSpace("making it", "the disk is full")
