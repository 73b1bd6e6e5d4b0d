"""Pictures of any size as a second decoder sees them: never enlarged, exact, upright, and without secrets."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import hostile_images
import sample_media
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.answers import transformed
from contentplatform.processing.local import TRANSFORM_ENVIRONMENT, TRANSFORM_JOB, LocalMediaProcessor
from contentplatform.processing.port import Transformation
from contentplatform.processing.presets import ImageLimits
from contentplatform.processing.transformations import TRANSFORMATION_FORMATS, planned

Transform = Callable[..., Image.Image]
MAGIC = {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF", "png": "PNG"}


def wanted(width: int = 0, height: int = 0, **other: object) -> Transformation:
    usual = {"fills": False, "smart": False, "format": "jpeg", "quality": 90}
    return Transformation(width, height, **{**usual, **other})  # type: ignore[arg-type]  # a test's shorthand


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    with_default_limits = LocalMediaProcessor()
    yield with_default_limits
    with_default_limits.close()


@pytest.fixture
def transform(processor: LocalMediaProcessor, tmp_path: Path) -> Transform:
    numbers = itertools.count()

    def run(content: bytes, width: int = 0, height: int = 0, **other: object) -> Image.Image:
        source, scratch = tmp_path / "source", tmp_path / f"scratch-{next(numbers)}"
        source.write_bytes(content)
        scratch.mkdir()
        order = wanted(width, height, **other)
        made = processor.transform(source, scratch, order)
        assert made.cpu_seconds > 0
        body = made.file.path.read_bytes()
        image = Image.open(io.BytesIO(body))
        assert image.format == MAGIC[order.format]
        assert image.size == (made.file.width, made.file.height)
        assert made.file.content_type == TRANSFORMATION_FORMATS[order.format].content_type
        image.load()
        image.info["body"] = body
        return image

    return run


def decibels(one: Image.Image, other: Image.Image) -> float:
    """PSNR of two pictures."""
    pair = [np.asarray(image.convert("RGB"), np.float64) for image in (one, other)]
    return float(10 * np.log10(255**2 / ((pair[0] - pair[1]) ** 2).mean()))


# -- how large ---------------------------------------------------------------------------------------------------

sizes = st.integers(1, 20_000)
boxes = st.integers(0, 8_192)


@given(sizes, sizes, boxes, boxes, st.booleans())
def test_nothing_is_ever_enlarged_and_all_fits(width: int, height: int, wide: int, high: int, fills: bool) -> None:  # noqa: FBT001 - a case of the table
    fills = fills and bool(wide and high)
    if not wide and not high:
        wide = 1
    plan = planned(width, height, wanted(wide, high, fills=fills))
    assert 1 <= plan.cut_width <= plan.width <= width
    assert 1 <= plan.cut_height <= plan.height <= height
    assert plan.cut_width <= (wide or width)
    assert plan.cut_height <= (high or height)
    if not fills:
        assert not plan.cuts
    else:
        # One side at least is not cut, and the other no more than rounding needs.
        assert plan.width == plan.cut_width or plan.height == plan.cut_height
    # The aspect stays, within the rounding of a pixel.
    assert abs(plan.width * height - plan.height * width) <= max(width, height) * 0.5 + min(width, height) or (
        1 in {plan.width, plan.height}
    )


@pytest.mark.parametrize(
    ("size", "box", "fills", "found"),
    [
        ((4000, 3000), (512, 512), False, (512, 384)),
        ((3000, 4000), (512, 512), False, (384, 512)),
        ((4000, 3000), (512, 512), True, (512, 512)),
        ((4000, 3000), (0, 300), False, (400, 300)),
        ((4000, 3000), (400, 0), False, (400, 300)),
        ((100, 80), (512, 512), False, (100, 80)),
        ((100, 80), (512, 512), True, (80, 80)),
        ((100, 80), (1200, 630), True, (100, 52)),
        ((20_000, 5), (512, 512), False, (512, 1)),
        ((20_000, 5), (512, 512), True, (5, 5)),
        ((1, 1), (8_192, 8_192), True, (1, 1)),
    ],
)
def test_a_box_is_fitted_or_filled(
    size: tuple[int, int],
    box: tuple[int, int],
    fills: bool,  # noqa: FBT001 - same
    found: tuple[int, int],
) -> None:
    plan = planned(*size, wanted(*box, fills=fills))
    assert (plan.cut_width, plan.cut_height) == found


# -- pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "at_least"), [(512, 50.0), (1_000, 50.0), (96, 50.0)])
def test_a_photograph_is_as_lanczos_makes_it_of_the_whole_picture(
    transform: Transform, side: int, at_least: float
) -> None:
    photo = sample_media.encoded(sample_media.photo(2_000, 1_500), "JPEG", quality=92)
    found = transform(photo, side, side, format="png")
    with Image.open(io.BytesIO(photo)) as whole:
        exact = whole.resize((side, side * 3 // 4), Image.Resampling.LANCZOS)
    assert found.size == exact.size
    assert decibels(found, exact) >= at_least


@pytest.mark.parametrize("format_name", ["jpeg", "webp", "avif"])
def test_every_format_shows_the_same_picture(transform: Transform, format_name: str) -> None:
    photo = sample_media.encoded(sample_media.photo(900, 600, noise=0), "JPEG", quality=95)
    exact = transform(photo, 300, format="png")
    assert decibels(transform(photo, 300, format=format_name), exact) > 34


@pytest.mark.parametrize("format_name", ["jpeg", "webp", "avif"])
def test_quality_is_what_the_size_follows(transform: Transform, format_name: str) -> None:
    photo = sample_media.encoded(sample_media.photo(600, 400), "JPEG", quality=95)
    sizes_bytes = [
        len(transform(photo, 400, format=format_name, quality=quality).info["body"]) for quality in (20, 50, 90)
    ]
    assert sizes_bytes == sorted(sizes_bytes)
    assert sizes_bytes[2] > 2 * sizes_bytes[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright_and_is_cut_afterwards(transform: Transform, orientation: int) -> None:
    upright = sample_media.quarters(800, 400)
    content = sample_media.oriented_jpeg(upright, orientation)
    assert decibels(transform(content, 200, 200, format="png"), upright.resize((200, 100))) > 30
    filled = transform(content, 100, 100, fills=True, format="png")
    assert decibels(filled, upright.resize((200, 100)).crop((50, 0, 150, 100))) > 30
    assert filled.getexif().get(0x0112, 1) == 1


def test_a_smart_cut_keeps_what_the_eye_looks_at(transform: Transform) -> None:
    image = Image.new("RGB", (1_200, 400), (90, 110, 120))
    ImageDraw.Draw(image).ellipse((980, 120, 1_140, 280), fill=(250, 60, 30))
    content = sample_media.encoded(image, "PNG")
    smart = transform(content, 200, 200, fills=True, smart=True, format="png")
    middle = transform(content, 200, 200, fills=True, smart=False, format="png")
    red = [(np.asarray(found.convert("RGB"))[..., 0] > 200).mean() for found in (smart, middle)]
    assert red[0] > 0.1
    assert red[1] == 0


def test_transparency_stays_where_the_format_has_it(transform: Transform) -> None:
    content = sample_media.encoded(sample_media.transparent(), "PNG")
    for format_name in ("webp", "avif", "png"):
        alpha = transform(content, 100, format=format_name).convert("RGBA").getchannel("A")
        assert alpha.getextrema()[0] == 0
    on_white = transform(content, 100, format="jpeg")
    assert on_white.mode == "RGB"
    assert on_white.getextrema() != ((0, 0),) * 3


def test_an_animation_is_shown_by_its_first_frame(transform: Transform) -> None:
    found = transform(sample_media.animated("GIF", 5), 32, format="webp")
    assert getattr(found, "n_frames", 1) == 1
    assert decibels(found, sample_media.animation(1)[0].resize(found.size)) > 20


@pytest.mark.parametrize("format_name", ["jpeg", "webp", "avif", "png"])
def test_the_credit_stays_and_nothing_else_is_told(transform: Transform, format_name: str) -> None:
    body = transform(sample_media.telling_jpeg(sample_media.photo(300, 200)), 100, format=format_name).info["body"]
    with Image.open(io.BytesIO(body)) as found:
        # libvips packs a PNG's, as text that is read byte by byte.
        packet = found.info.get("xmp") or found.info.get("XML:com.adobe.xmp", "").encode("latin-1")
    assert sample_media.CREATOR.encode() in packet
    for secret in (*sample_media.SECRETS, b"Nikon", b"2024:05:06 07:08:09"):
        assert secret not in body + packet
    assert not Image.open(io.BytesIO(body)).getexif().get_ifd(0x8825)


def test_a_profile_is_applied_and_taken_off(transform: Transform) -> None:
    image = Image.new("RGB", (64, 64), (250, 10, 10))
    swapped = sample_media.encoded(image, "PNG", icc_profile=sample_media.swapped_profile())
    found = transform(swapped, 32, format="png")
    red, green, _ = found.convert("RGB").getpixel((16, 16))  # type: ignore[misc]  # a triple, in this mode
    assert green > red
    assert "icc_profile" not in found.info


# -- hostile sources -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (hostile_images.huge_one_bit_png(), ErrorCode.LIMIT),
        (hostile_images.many_scans_jpeg(), ErrorCode.DECODE),
        (hostile_images.truncated(sample_media.encoded(sample_media.photo(300, 200), "JPEG")), ErrorCode.DECODE),
        (hostile_images.giant_tile_tiff(), ErrorCode.DECODE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ErrorCode.UNSUPPORTED),
        (b"", ErrorCode.UNSUPPORTED),
    ],
)
def test_a_hostile_source_fails_in_words(transform: Transform, content: bytes, code: ErrorCode) -> None:
    with pytest.raises(ProcessingFailed) as caught:
        transform(content, 512, 512)
    assert caught.value.code is code


def test_what_is_forked_has_one_thread() -> None:
    # A fork of libvips' threads hangs. Of what is imported, nothing may have run.
    count = (
        f"import os, {TRANSFORM_JOB.partition(':')[0]}; "
        "print(len(os.listdir('/proc/self/task')) if os.path.exists('/proc/self/task') else 1)"
    )
    ended = subprocess.run([sys.executable, "-c", count], env=TRANSFORM_ENVIRONMENT, capture_output=True, check=True)
    assert ended.stdout == b"1\n"


def test_the_limits_of_images_hold(tmp_path: Path) -> None:
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    source.write_bytes(sample_media.encoded(sample_media.photo(100, 100), "PNG"))
    scratch.mkdir()
    small = LocalMediaProcessor(image_limits=ImageLimits(pixels=9_999))
    try:
        with pytest.raises(ProcessingFailed) as caught:
            small.transform(source, scratch, wanted(10))
    finally:
        small.close()
    assert caught.value.code is ErrorCode.LIMIT


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"files": [], "metadata": {}, "descriptive": {}},
        {
            "files": [{"name": "transformed", "file": "../x", "width": 1, "height": 1}],
            "metadata": {},
            "descriptive": {},
        },
        {"files": [{"name": "thumbnail", "file": "x", "width": 1, "height": 1}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "transformed", "file": "x", "width": 11, "height": 1}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "transformed", "file": "x", "width": 1, "height": 21}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "transformed", "file": "x"}], "metadata": {}, "descriptive": {}},
    ],
)
def test_what_a_child_answers_is_not_believed(tmp_path: Path, answer: object) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(ProcessingFailed) as caught:
        transformed(answer, tmp_path, wanted(10, 20), doing="making")
    assert caught.value.code is ErrorCode.CRASH
