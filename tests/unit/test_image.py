"""Renditions of images as a second decoder sees them: upright, in true colours, without secrets, with credit."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sample_media
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import ImageLimits

Process = Callable[[bytes], Rendered]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    with_default_limits = LocalMediaProcessor()
    yield with_default_limits
    with_default_limits.close()


@pytest.fixture
def process(processor: LocalMediaProcessor, tmp_path: Path) -> Process:
    def run(content: bytes) -> Rendered:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        source.write_bytes(content)
        scratch.mkdir()
        return processor.process_image(source, scratch)

    return run


def opened(rendered: Rendered, name: str) -> Image.Image:
    path = next(file.path for file in rendered.files if file.name == name)
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures' channels, out of 255."""
    pair = [np.asarray(image.convert("RGB"), np.float32) for image in (one, other)]
    return float(np.abs(pair[0] - pair[1]).mean())


def colour_at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place given in shares of width and height."""
    found = image.convert("RGB").getpixel((int(image.width * x), int(image.height * y)))
    assert isinstance(found, tuple)
    return found


def near(found: tuple[int, ...], wanted: tuple[int, ...], within: int = 12) -> bool:
    return all(abs(one - other) <= within for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(process: Process, orientation: int) -> None:
    upright = sample_media.quarters(960, 640)
    rendered = process(sample_media.oriented_jpeg(upright, orientation))
    for name, size in (("thumbnail", (150, 100)), ("medium", (800, 533)), ("webp", (960, 640))):
        found = opened(rendered, name)
        assert found.size == size
        assert difference(found, upright.resize(size)) < 3
        assert found.getexif().get(0x0112, 1) == 1
    assert (rendered.metadata["width"], rendered.metadata["height"]) == (960, 640)


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_every_format_comes_out_upright(process: Process, format_name: str, orientation: int) -> None:
    upright = sample_media.quarters(400, 300)
    stored = sample_media.stored_turned(upright, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    rendered = process(sample_media.encoded(stored, format_name, exif=exif))
    assert opened(rendered, "webp").size == (400, 300)
    assert difference(opened(rendered, "webp"), upright) < 3
    assert difference(opened(rendered, "medium"), upright) < 3


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 7, 8])
def test_real_photographs_come_out_upright(process: Process, shared_media: Path, number: int) -> None:
    """These photographs are turned on disk so that each is upright once its orientation is applied."""
    shape = "landscape" if number in {1, 3, 6, 8} else "portrait"
    rendered = process((shared_media / f"orientation_{shape}_{number}.jpg").read_bytes())
    reference_number = 1 if shape == "landscape" else 2
    with Image.open(shared_media / f"orientation_{shape}_{reference_number}.jpg") as reference:
        turned = reference.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if reference_number == 2 else reference
        medium = opened(rendered, "medium")
        # Only the number printed on the picture differs.
        assert difference(medium, turned.resize(medium.size, Image.Resampling.LANCZOS)) < 6


def test_nothing_is_enlarged_and_the_aspect_is_kept(process: Process) -> None:
    rendered = process(sample_media.encoded(sample_media.photo(90, 40), "PNG"))
    assert {file.name: (file.width, file.height) for file in rendered.files} == {
        "thumbnail": (90, 40),
        "medium": (90, 40),
        "webp": (90, 40),
    }


def test_a_very_long_picture_keeps_at_least_one_pixel_and_fits_webp(process: Process) -> None:
    rendered = process(sample_media.encoded(sample_media.photo(20_000, 5), "PNG"))
    assert [(file.width, file.height) for file in rendered.files] == [(150, 1), (800, 1), (16_383, 4)]


def test_what_is_said_of_a_rendition_is_what_it_is(process: Process) -> None:
    rendered = process(sample_media.encoded(sample_media.photo(1000, 700), "JPEG"))
    for file in rendered.files:
        image = opened(rendered, file.name)
        assert image.size == (file.width, file.height)
        assert file.content_type == f"image/{(image.format or '').lower()}"
        assert file.user_metadata["processed"] == "true"
        assert file.user_metadata["processor"] == "content-image-processor"
        assert file.user_metadata["format"] == (image.format or "").lower()
    assert [file.extension for file in rendered.files] == ["jpg", "jpg", "webp"]


def test_the_same_bytes_give_the_same_renditions(
    process: Process, processor: LocalMediaProcessor, tmp_path: Path
) -> None:
    content = sample_media.encoded(sample_media.photo(400, 300), "JPEG")
    first = process(content)
    again = tmp_path / "again"
    again.mkdir()
    second = processor.process_image(tmp_path / "source", again)
    assert [file.path.read_bytes() for file in first.files] == [file.path.read_bytes() for file in second.files]
    assert first.metadata == second.metadata


# -- colour ----------------------------------------------------------------------------------------------------------


def test_a_profile_is_applied_and_not_kept(process: Process) -> None:
    """In the profile red and green are exchanged, so the red quarter has to come out green."""
    stored = sample_media.quarters(400, 300)
    rendered = process(
        sample_media.encoded(stored, "JPEG", quality=95, subsampling=0, icc_profile=sample_media.swapped_profile())
    )
    for name in ("thumbnail", "medium", "webp"):
        image = opened(rendered, name)
        assert near(colour_at(image, 0.25, 0.25), (30, 220, 30), 25)
        assert near(colour_at(image, 0.75, 0.25), (180, 30, 40), 25)
        assert "icc_profile" not in image.info
    assert rendered.metadata["has_profile"]


def test_a_broken_profile_is_ignored(process: Process) -> None:
    stored = sample_media.quarters(400, 300)
    rendered = process(sample_media.encoded(stored, "JPEG", quality=95, icc_profile=b"no profile at all" * 20))
    assert difference(opened(rendered, "medium"), stored) < 4


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_becomes_natural_colours(process: Process, format_name: str) -> None:
    stored = sample_media.quarters(400, 300).convert("CMYK")
    rendered = process(sample_media.encoded(stored, format_name))
    image = opened(rendered, "medium")
    assert image.mode == "RGB"
    red, green, blue, yellow = (colour_at(image, x, y) for y in (0.25, 0.75) for x in (0.25, 0.75))
    assert red[0] > max(red[1:]) + 60
    assert green[1] > max(green[0], green[2]) + 40
    assert blue[2] > max(blue[:2]) + 40
    assert min(yellow[:2]) > 150 > yellow[2]
    assert rendered.metadata["mode"] == "cmyk"


def test_an_rgb_profile_in_a_cmyk_picture_does_not_fail_it(process: Process) -> None:
    stored = sample_media.quarters(400, 300).convert("CMYK")
    rendered = process(sample_media.encoded(stored, "JPEG", icc_profile=sample_media.swapped_profile()))
    red = colour_at(opened(rendered, "webp"), 0.25, 0.25)
    assert red[0] > max(red[1:]) + 60


def test_sixteen_bits_become_eight_of_the_same_brightness(process: Process) -> None:
    rendered = process(sample_media.deep_png())
    medium = opened(rendered, "medium")
    for share in (0.1, 0.5, 0.9):
        assert near(colour_at(medium, share, 0.5), (0, round(255 * share), 0))
    assert rendered.metadata["bits_per_sample"] == 16


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "I;16"])
def test_other_pixel_formats_look_the_same(process: Process, mode: str) -> None:
    grey = sample_media.photo(300, 200).convert("L")
    stored = grey.convert(mode)
    wanted = Image.fromarray((np.asarray(stored) / 256).astype(np.uint8)) if mode == "I;16" else stored.convert("L")
    rendered = process(sample_media.encoded(stored, "PNG"))
    assert difference(opened(rendered, "webp"), wanted) < 8
    assert opened(rendered, "medium").mode in {"L", "RGB"}


def test_transparency_is_white_in_jpeg_and_stays_in_webp(process: Process) -> None:
    rendered = process(sample_media.encoded(sample_media.transparent(), "PNG"))
    for name in ("thumbnail", "medium"):
        image = opened(rendered, name)
        assert near(colour_at(image, 0.02, 0.02), (255, 255, 255), 3)
        assert near(colour_at(image, 0.5, 0.5), (220, 30, 30))
    webp = opened(rendered, "webp")
    assert webp.mode == "RGBA"
    assert webp.getchannel("A").getextrema() == (0, 255)
    assert rendered.metadata["transparent"] is True


def test_hidden_colours_do_not_bleed_into_the_edge(process: Process) -> None:
    """The invisible pixels are black; on the rim of the disc red must go to white, never through dark."""
    disc = sample_media.transparent((960, 600))
    rendered = process(sample_media.encoded(disc, "PNG"))
    on_white = Image.alpha_composite(Image.new("RGBA", disc.size, "white"), disc).convert("RGB")
    wanted = sample_media.encoded(on_white.resize((150, 94), Image.Resampling.LANCZOS), "JPEG", quality=85)
    assert difference(opened(rendered, "thumbnail"), Image.open(io.BytesIO(wanted))) < 1


# -- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["GIF", "WEBP"])
def test_an_animation_stays_animated(process: Process, format_name: str) -> None:
    rendered = process(sample_media.animated(format_name, 7, 80))
    webp = opened(rendered, "webp")
    assert getattr(webp, "n_frames", 1) == 7
    assert webp.size == (64, 48)
    assert opened(rendered, "medium").size == (64, 48)
    assert rendered.metadata["frames"] == 7
    assert rendered.metadata["duration_seconds"] == pytest.approx(0.56)
    assert "animation" not in rendered.metadata


def test_the_frames_of_an_animation_are_the_right_ones(process: Process) -> None:
    rendered = process(sample_media.animated("WEBP", 4, 100))
    webp = opened(rendered, "webp")
    for number, frame in enumerate(sample_media.animation(4)):
        webp.seek(number)
        assert difference(webp, frame) < 10


def test_a_real_animation_stays_animated(process: Process, shared_media: Path) -> None:
    rendered = process((shared_media / "newtonscradle.gif").read_bytes())
    assert getattr(opened(rendered, "webp"), "n_frames", 1) == 36


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ImageLimits(animation_frames=6), "7 frames, at most 6 are kept"),
        (ImageLimits(animation_pixels=7 * 64 * 48 - 1), "7 frames of 64 x 48 pixels are too many"),
    ],
)
def test_an_animation_over_a_limit_is_its_first_frame_and_says_so(
    tmp_path: Path, limits: ImageLimits, words: str
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "source").write_bytes(sample_media.animated("GIF", 7))
    processor = LocalMediaProcessor(image_limits=limits)
    rendered = processor.process_image(tmp_path / "source", tmp_path / "scratch")
    processor.close()
    assert getattr(opened(rendered, "webp"), "n_frames", 1) == 1
    assert rendered.metadata["animation"] == f"dropped: {words}"


def test_an_animated_png_is_its_first_frame_and_says_so(process: Process) -> None:
    rendered = process(sample_media.animated("PNG", 5))
    assert rendered.metadata["frames"] == 5
    assert rendered.metadata["animation"].startswith("dropped: of 5 frames the first is shown")
    assert difference(opened(rendered, "webp"), sample_media.animation(5)[0]) < 6


def test_only_the_first_page_of_a_document_scan_is_shown(process: Process) -> None:
    pages = [sample_media.quarters(300, 200), Image.new("RGB", (300, 200), "black")]
    content = sample_media.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    rendered = process(content)
    assert difference(opened(rendered, "webp"), pages[0]) < 6
    assert (rendered.metadata["pages"], rendered.metadata["frames"]) == (2, 1)


def test_avif_comes_in(process: Process) -> None:
    stored = sample_media.quarters(400, 300)
    rendered = process(sample_media.encoded(stored, "AVIF", quality=90))
    assert rendered.metadata["format"] == "AVIF"
    assert difference(opened(rendered, "webp"), stored) < 6


def test_heic_comes_in_upright_and_in_srgb(process: Process, shared_media: Path) -> None:
    rendered = process((shared_media / "iphone.heic").read_bytes())
    assert [(file.width, file.height) for file in rendered.files] == [(112, 150), (450, 600), (3024, 4032)]
    assert rendered.metadata["format"] == "HEIC"
    assert rendered.metadata["exif"]["Model"] == "iPhone 13 Pro Max"
    # The table cloth at the bottom is blue, the lamp at the top is not.
    red, _, blue = colour_at(opened(rendered, "medium"), 0.6, 0.97)
    assert blue > red


def test_a_format_without_a_decoder_is_refused_in_words(process: Process) -> None:
    with pytest.raises(ProcessingFailed, match="image/bmp pictures can't be decoded here") as caught:
        process(sample_media.encoded(sample_media.photo(20, 20), "BMP"))
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_picture_over_fifty_megapixels_is_shrunk_to_them(process: Process) -> None:
    rendered = process(sample_media.encoded(Image.new("L", (9_000, 6_000), 90), "PNG"))
    width, height = opened(rendered, "webp").size
    assert 49_900_000 < width * height <= 50_000_000
    assert width / height == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize(("pixels", "passes"), [(120_000, True), (119_999, False)])
def test_the_limit_of_pixels_is_exact(tmp_path: Path, *, pixels: int, passes: bool) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "source").write_bytes(sample_media.encoded(sample_media.photo(400, 300), "PNG"))
    processor = LocalMediaProcessor(image_limits=ImageLimits(pixels=pixels))
    try:
        if passes:
            assert processor.process_image(tmp_path / "source", tmp_path / "scratch").files
        else:
            with pytest.raises(ProcessingFailed, match="it has 400 x 300 pixels") as caught:
                processor.process_image(tmp_path / "source", tmp_path / "scratch")
            assert caught.value.code is ErrorCode.LIMIT
    finally:
        processor.close()


# -- what a file says of itself --------------------------------------------------------------------------------------


def test_private_facts_are_in_no_rendition_and_credit_is_in_each(process: Process) -> None:
    rendered = process(sample_media.telling_jpeg(sample_media.photo(900, 700)))
    for file in rendered.files:
        content = file.path.read_bytes()
        for secret in sample_media.SECRETS:
            assert secret not in content
        image = opened(rendered, file.name)
        exif = image.getexif()
        assert not exif.get_ifd(0x8825), "the place"
        assert 0x927C not in exif.get_ifd(0x8769), "the maker's note"
        assert (exif[0x013B], exif[0x8298]) == ("Zoe Muller", "(c) 2024 Zoe Muller"), "EXIF's text is ASCII"
        xmp = bytes(image.info["xmp"]).decode()
        assert sample_media.CREDIT_LINE in xmp
        assert sample_media.RIGHTS in xmp
        assert sample_media.CREATOR in xmp


def test_what_the_file_says_is_found_and_sorted(process: Process) -> None:
    rendered = process(sample_media.telling_jpeg(sample_media.photo(300, 200)))
    assert rendered.descriptive == {
        "title": "Harbour",
        "description": "Boats & gulls",
        "tags": ["sea", "boat"],
        "credit": "Agency Nine",
        "rights": sample_media.RIGHTS,
    }
    assert rendered.metadata["exif"]["ExposureTime"] == 0.004
    assert rendered.metadata["private"]["gps"] == {
        "latitude": -33.8569,
        "longitude": 151.2152,
        "altitude_metres": 12.5,
        "date": "2024:05:06",
    }
    assert rendered.metadata["private"]["body_serial_number"] == "SN-4711-BODY"


def test_gps_of_a_real_photograph_is_private(process: Process, shared_media: Path) -> None:
    rendered = process((shared_media / "gps.jpg").read_bytes())
    assert rendered.metadata["private"]["gps"]["latitude"] == pytest.approx(43.4674, abs=1e-3)
    for file in rendered.files:
        assert not opened(rendered, file.name).getexif()


def test_iptc_brings_description_and_credit_along(process: Process) -> None:
    block = sample_media.iptc_block(
        title="Quay", caption="At dawn", keywords=["port", "dawn"], creator="Ada", credit="Nine", rights="(c) Ada"
    )
    jpeg = sample_media.encoded(sample_media.photo(200, 100), "JPEG")
    rendered = process(sample_media.with_segment(jpeg, 0xED, block))
    assert rendered.descriptive == {
        "title": "Quay",
        "description": "At dawn",
        "tags": ["port", "dawn"],
        "credit": "Nine",
        "rights": "(c) Ada",
    }
    assert opened(rendered, "webp").getexif()[0x8298] == "(c) Ada"


def test_a_picture_that_says_nothing_gets_no_metadata(process: Process) -> None:
    rendered = process(sample_media.encoded(sample_media.photo(200, 100), "JPEG", comment=b"made by someone"))
    assert rendered.descriptive == {}
    for file in rendered.files:
        image = opened(rendered, file.name)
        assert not image.getexif()
        assert not {"xmp", "icc_profile", "comment"} & image.info.keys()


# -- facts -----------------------------------------------------------------------------------------------------------


def test_the_dominant_colour_is_the_most_frequent_one(process: Process) -> None:
    image = Image.new("RGB", (300, 200), (64, 128, 192))
    image.paste((250, 10, 10), (0, 0, 100, 200))
    rendered = process(sample_media.encoded(image, "PNG"))
    assert rendered.metadata["dominant_colour"] == "#4080c0"


def test_the_perceptual_hash_knows_a_picture_again(process: Process, tmp_path: Path) -> None:
    photo = sample_media.photo(800, 600, seed=3)
    one = process(sample_media.encoded(photo, "JPEG", quality=60))
    processor_input = {"again": photo.resize((500, 375)), "other": sample_media.photo(800, 600, seed=4)}
    hashes = {"one": int(one.metadata["perceptual_hash"], 16)}
    processor = LocalMediaProcessor()
    for name, image in processor_input.items():
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.png").write_bytes(sample_media.encoded(image, "PNG"))
        rendered = processor.process_image(tmp_path / f"{name}.png", tmp_path / name)
        hashes[name] = int(rendered.metadata["perceptual_hash"], 16)
    processor.close()
    assert (hashes["one"] ^ hashes["again"]).bit_count() <= 4
    assert (hashes["one"] ^ hashes["other"]).bit_count() >= 16
