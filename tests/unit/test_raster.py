"""Pictures that jobs draw, and pictures that lie inside other files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.jobs import raster
from contentplatform.processing.presets import MEDIUM, POSTER, THUMBNAIL, ImageLimits


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_a_drawn_picture_becomes_renditions_that_fit_and_are_never_enlarged(tmp_path: Path) -> None:
    red = raster.from_pixels(bytes((200, 30, 40)) * (1_000 * 400), 1_000, 400)
    medium, thumbnail = raster.small_jpegs(red)
    poster = raster.jpeg(red, POSTER)
    assert (medium["name"], medium["width"], medium["height"]) == ("medium", MEDIUM.width, 320)
    assert (thumbnail["name"], thumbnail["width"], thumbnail["height"]) == ("thumbnail", THUMBNAIL.width, 60)
    assert (poster["width"], poster["height"]) == (1_000, 400)
    with Image.open(tmp_path / medium["file"]) as opened:
        assert opened.size == (800, 320)
        middle = opened.convert("RGB").crop((400, 160, 401, 161)).tobytes()
        assert all(abs(found - wanted) <= 3 for found, wanted in zip(middle, (200, 30, 40), strict=True))
        assert "exif" not in opened.info
        assert "icc_profile" not in opened.info


def test_a_drawing_is_kept_to_the_pixel_as_png(tmp_path: Path) -> None:
    pixels = bytes(range(240)) * 2
    entry = raster.png(raster.from_pixels(pixels, 8, 20), "waveform")
    assert entry == {"name": "waveform", "file": "waveform.png", "width": 8, "height": 20}
    with Image.open(tmp_path / "waveform.png") as opened:
        assert opened.convert("RGB").tobytes() == pixels


def test_pixels_that_are_not_as_many_as_was_said_are_refused() -> None:
    with pytest.raises(ValueError, match="11 bytes are no 2 x 2 pixels"):
        raster.from_pixels(bytes(11), 2, 2)


def test_a_picture_inside_a_file_is_upright_on_white_and_leaves_nothing_behind(tmp_path: Path) -> None:
    sideways = Image.new("RGB", (60, 40), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (raster.picture_of(_file(sideways, "JPEG", exif=exif), ImageLimits()).width) == 40
    clear = raster.picture_of(_file(Image.new("RGBA", (30, 30), (0, 0, 0, 0)), "PNG"), ImageLimits())
    assert clear(5, 5) == [255.0, 255.0, 255.0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", ErrorCode.UNSUPPORTED),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), ErrorCode.DECODE),
        (b"", ErrorCode.UNSUPPORTED),
    ],
)
def test_a_picture_inside_a_file_is_trusted_no_more_than_any_other(
    tmp_path: Path, content: bytes, code: ErrorCode
) -> None:
    with pytest.raises(ProcessingFailed) as raised:
        raster.picture_of(content, ImageLimits())
    assert raised.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_a_picture_inside_a_file_is_held_against_the_limits() -> None:
    large = _file(Image.new("1", (3_000, 3_000)), "PNG")
    with pytest.raises(ProcessingFailed) as raised:
        raster.picture_of(large, ImageLimits(pixels=1_000_000))
    assert raised.value.code is ErrorCode.LIMIT
