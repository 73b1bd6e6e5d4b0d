"""The options of pictures on the fly: one way to write each, and nothing outside of their ranges."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.delivery.images import (
    MOST_SIDE,
    PRESETS,
    ImageOptions,
    format_for,
    image_path,
    parse_options,
    read_image_path,
)
from contentplatform.errors import InvalidRequest
from contentplatform.processing.port import Transformation

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI_13 = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"

sides = st.integers(1, MOST_SIDE)


@st.composite
def options(draw: st.DrawFn) -> ImageOptions:
    """Any options that make sense."""
    dpr = draw(st.integers(1, 3))
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(PRESETS)))
        preset = PRESETS[name]
        return ImageOptions(name, preset.width, preset.height, preset.fills, dpr=dpr)
    fills = draw(st.booleans())
    width, height = draw(sides), draw(sides)
    if not fills:
        width, height = draw(st.sampled_from([(width, height), (width, 0), (0, height)]))
    return ImageOptions(
        width=width,
        height=height,
        fills=fills,
        smart=not fills or draw(st.booleans()),
        format=draw(st.sampled_from(["auto", "avif", "webp", "jpeg", "png"])),
        quality=draw(st.integers(10, 95)),
        dpr=dpr if max(width, height) * dpr <= 8_192 else 1,
    )


@given(options(), st.randoms())
def test_what_is_written_is_read_again_in_any_order(wanted: ImageOptions, chance: Random) -> None:
    parts = wanted.text.split(",")
    chance.shuffle(parts)
    assert parse_options(",".join(parts)) == wanted
    assert parse_options(wanted.text).text == wanted.text


@given(st.text("twhcgfqdpr_,0123456789aiulfitsmenbjx-", max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = parse_options(text)
    except InvalidRequest:
        return
    assert 1 <= max(read.width, read.height) * read.dpr <= 8_192


@pytest.mark.parametrize(
    ("said", "is_short_for"),
    [
        ("t_card-512,f_auto", "t_card-512"),
        ("dpr_2,t_card-512", "t_card-512,dpr_2"),
        ("w_100,c_fit,q_80,dpr_1,f_auto", "w_100"),
        ("g_smart,c_fill,h_20,w_10", "w_10,h_20,c_fill"),
        ("q_30,f_webp,h_7", "h_7,f_webp,q_30"),
        ("g_center,w_1,h_1,c_fill,dpr_3", "w_1,h_1,c_fill,g_center,dpr_3"),
    ],
)
def test_what_is_usual_is_left_out(said: str, is_short_for: str) -> None:
    assert parse_options(said).text == is_short_for


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "t_",
        "t_card-513",
        "card-512",
        "T_card-512",
        "t_card-512,w_10",
        "t_card-512,f_png",
        "t_card-512,q_90",
        "t_card-512,t_card-512",
        "w_0",
        "w_-1",
        "w_+1",
        "w_01",
        "w_1.5",
        "w_1e3",
        "w_ 1",
        "w_١٢",
        "w_4097",
        "w_1000000000",
        "w_4096,dpr_3",
        "h_1000000000,dpr_3",
        "w_99999999999999999999999999999999999999999999",
        "w_10,w_10",
        "w_10,dpr_4",
        "w_10,dpr_0",
        "w_10,q_9",
        "w_10,q_96",
        "w_10,f_gif",
        "w_10,f_svg",
        "w_10,c_fill",
        "w_10,g_center",
        "c_fill",
        "dpr_2",
        "q_80",
        "w_10,x_1",
        "w_10,,h_10",
        "w_10%2Ch_10",
        "w_1," * 50,
    ],
)
def test_what_makes_no_sense_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_options(text)
    assert len(caught.value.public) < 250


@pytest.mark.parametrize(
    ("accept", "transparent", "found"),
    [
        (CHROME, False, "avif"),
        (CHROME, True, "avif"),
        ("image/webp,*/*", False, "webp"),
        (SAFARI_13, False, "jpeg"),
        (SAFARI_13, True, "png"),
        ("", False, "jpeg"),
        ("*/*", False, "jpeg"),
        ("image/*", True, "png"),
        ("image/avif;q=0,image/webp", False, "webp"),
        ("image/avif;q=0.000, image/webp ; q=0.0", False, "jpeg"),
        ("image/avif;q=0.4,image/webp;q=0.9", False, "webp"),
        ("image/avif;q=0.9,image/webp;q=0.9", False, "avif"),
        ("IMAGE/AVIF", False, "avif"),
        ("image/avifx, ximage/webp", False, "jpeg"),
        ("image/avif;q=nonsense", False, "avif"),
        (";;,,;q=1", False, "jpeg"),
    ],
)
def test_the_format_is_the_best_that_the_viewer_names(accept: str, transparent: bool, found: str) -> None:  # noqa: FBT001 - a case of the table
    assert format_for(accept, transparent=transparent) == found
    assert ImageOptions(width=9).order(accept, transparent=transparent).format == found
    assert ImageOptions(width=9, format="webp").order(accept, transparent=transparent).format == "webp"


def test_an_order_says_all_that_the_bytes_depend_on() -> None:
    wanted = parse_options("w_300,h_200,c_fill,g_center,f_jpeg,q_70,dpr_2").order("", transparent=False)
    assert wanted == Transformation(600, 400, fills=True, smart=False, format="jpeg", quality=70)
    fitted = parse_options("t_card-512").order(CHROME, transparent=False)
    assert fitted == Transformation(512, 512, fills=False, smart=False, format="avif", quality=80)


@given(options(), st.sampled_from(["a.jpg", "a b/ü+%#?.png", "-x", "a,b", "x/w_10/y", "/odd"]))
def test_a_path_names_options_and_key(wanted: ImageOptions, key: str) -> None:
    path = image_path(wanted, key)
    assert read_image_path(path) == (wanted, key)
    assert image_path(wanted, key, "ab" * 32) == f"{path}?v={'ab' * 8}"


@pytest.mark.parametrize(
    "path",
    [
        "/images/",
        "/images/t_card-512",
        "/images/t_card-512/",
        "/images//a.jpg",
        "/images/t_card-512/../private/a.jpg",
        "/images/t_card-512/%2e%2e/a.jpg",
        "/images/t_card-512/%70rivate/a.jpg",
        "/images/t_card-512/private%2Fa.jpg",
        "/images/t_card-512/a%00.jpg",
        "/images/t_card-512/%ff.jpg",
        "/images/t%5Fcard-512/a.jpg",
        "/processed/t_card-512/a.jpg",
        "/images/t_card-512/" + "a" * 901,
    ],
)
def test_a_path_in_disguise_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        read_image_path(path)


def test_the_page_names_every_preset() -> None:
    assert {name: (preset.width, preset.height, preset.fills) for name, preset in PRESETS.items()} == {
        "square-96": (96, 96, True),
        "square-256": (256, 256, True),
        "card-512": (512, 512, False),
        "page-1024": (1024, 1024, False),
        "hero-1600": (1600, 1600, False),
        "social-1200x630": (1200, 630, True),
    }
