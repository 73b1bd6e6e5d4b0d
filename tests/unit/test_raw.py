"""Camera raw files: known by their beginning, shown by the picture inside, turned, described, and refused in words."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import raw_files
import sample_media
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import ImageLimits
from contentplatform.processing.probe import EXTENSION_TYPES, HEAD_SIZE_BYTES, mismatch, sniff
from contentplatform.processing.raw_types import RAW_TYPES

Process = Callable[[bytes], Rendered]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(
        image_limits=ImageLimits(pixels=50_000_000), job_limits=JobLimits(wall_seconds=300, resident_bytes=512 << 20)
    )
    yield shared
    shared.close()


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
    return Image.open(io.BytesIO(path.read_bytes()))


def halves(width: int, height: int) -> bytes:
    """A JPEG that is green on the left and white on the right."""
    picture = Image.new("RGB", (width, height), "white")
    picture.paste((0, 160, 0), (0, 0, width // 2, height))
    return sample_media.encoded(picture, "JPEG")


PREVIEW = halves(800, 600)


def is_green(pixel: object) -> bool:
    assert isinstance(pixel, tuple)
    red, green, blue = (int(value) for value in pixel[:3])
    return green > max(red, blue) + 60


def test_the_picture_inside_is_shown_and_the_raw_file_described(process: Process) -> None:
    rendered = process(raw_files.dng(preview=PREVIEW, preview_size=(800, 600)))
    assert {file.name: (file.width, file.height) for file in rendered.files} == {
        "thumbnail": (150, 112),
        "medium": (800, 600),
        "webp": (800, 600),
    }
    assert is_green(opened(rendered, "medium").getpixel((100, 300)))
    assert not is_green(opened(rendered, "medium").getpixel((700, 300)))
    facts = rendered.metadata
    assert (facts["format"], facts["raw_format"], facts["width"], facts["height"]) == ("raw", "DNG", 1280, 960)
    assert (facts["shown"], facts["shown_width"], facts["shown_height"]) == ("preview", 800, 600)
    assert facts["exif"] == {
        "Make": "Sample",
        "Model": "Camera One",
        "ISO": 400,
        "ExposureTime": 0.004,
        "FNumber": 2.8,
        "FocalLength": 35.0,
        "LensModel": "Sample 35mm F2",
        "DateTimeOriginal": "2024:05:06 07:08:09",
    }
    assert rendered.descriptive == {"rights": "(c) Sample"}


def test_place_and_serial_number_stay_apart_and_reach_no_rendition(process: Process) -> None:
    rendered = process(raw_files.dng(preview=PREVIEW, preview_size=(800, 600)))
    private = rendered.metadata["private"]
    assert private["body_serial_number"] == "SN-12345"
    assert private["gps"]["latitude"] == pytest.approx(51.4778, abs=0.001)
    assert all(b"SN-12345" not in file.path.read_bytes() for file in rendered.files)
    assert all(0x8825 not in opened(rendered, file.name).getexif() for file in rendered.files)


@pytest.mark.parametrize(
    ("orientation", "green_at"), [(1, (100, 300)), (3, (700, 300)), (6, (225, 60)), (8, (225, 540))]
)
def test_the_camera_s_turn_is_applied(process: Process, orientation: int, green_at: tuple[int, int]) -> None:
    rendered = process(raw_files.dng(preview=PREVIEW, preview_size=(800, 600), orientation=orientation))
    assert is_green(opened(rendered, "medium").getpixel(green_at))
    sideways = orientation >= 5
    assert (rendered.metadata["width"] < rendered.metadata["height"]) is sideways


def test_a_picture_inside_that_stands_upright_already_is_not_turned_again(process: Process) -> None:
    rendered = process(raw_files.dng(preview=halves(600, 800), preview_size=(600, 800), orientation=6))
    assert opened(rendered, "medium").size == (450, 600)
    assert is_green(opened(rendered, "medium").getpixel((100, 300)))


@pytest.mark.parametrize(
    "preview",
    [b"", halves(160, 120), PREVIEW[:2000], b"no picture at all" * 100],
    ids=["none", "a stamp", "cut", "nonsense"],
)
def test_where_no_picture_inside_is_of_use_the_sensor_s_values_are_shown(process: Process, preview: bytes) -> None:
    rendered = process(raw_files.dng(preview=preview, preview_size=(160, 120)))
    assert (rendered.metadata["shown"], rendered.metadata["shown_width"]) == ("sensor", 640)
    left, right = (opened(rendered, "medium").convert("RGB").getpixel((x, 240)) for x in (100, 540))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > left[2] + 60
    assert right[2] > right[0] + 60


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (raw_files.dng(declared=(60_000, 60_000)), ErrorCode.LIMIT),
        (raw_files.dng(declared=(0, 0)), None),
        (raw_files.dng()[:900], None),
        (raw_files.dng()[:-500_000], ErrorCode.DECODE),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(400), None),
        (b"FUJIFILMCCD-RAW 0201" + bytes(400), None),
        (b"IIRO\x08\0\0\0" + bytes(400), None),
        (b"IIU\0\x08\0\0\0" + bytes(400), None),
        (struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom" + bytes(400), None),
    ],
    ids=["huge", "no size", "cut", "cut sensor", "cr2", "raf", "orf", "rw2", "cr3"],
)
def test_what_can_t_be_read_fails_in_words(process: Process, content: bytes, code: ErrorCode | None) -> None:
    """A planted header ends in words; whether it is broken or strange is LibRaw's to say."""
    assert sniff(content[:HEAD_SIZE_BYTES], len(content)).content_type in RAW_TYPES
    with pytest.raises(ProcessingFailed) as failure:
        process(content)
    assert failure.value.code in ({code} if code else {ErrorCode.DECODE, ErrorCode.UNSUPPORTED, ErrorCode.LIMIT})
    assert failure.value.why
    assert "LibRaw" not in failure.value.public


# -- which they are --------------------------------------------------------------------------------------------------


def tiff(
    make: bytes, *, subfile: int = 1, photometric: int = 2, sub_directories: bool = True, order: str = "<"
) -> bytes:
    """A TIFF with one directory that says so much."""
    entries = [(0x00FE, 4, subfile), (0x0106, 3, photometric)]
    if sub_directories:
        entries.append((0x014A, 4, 1000))
    entries.append((0x010F, 2, 8 + 2 + 12 * (len(entries) + 1) + 4))
    table = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in sorted(entries):
        packed = struct.pack(f"{order}H", value) if kind == 3 else struct.pack(f"{order}I", value)
        table += struct.pack(f"{order}HHI", tag, kind, 6 if kind == 2 else 1) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8) + table + bytes(4) + make + b"\0"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (tiff(b"NIKON CORPORATION"), "image/x-nikon-nef"),
        (tiff(b"NIKON CORPORATION", order=">"), "image/x-nikon-nef"),
        (tiff(b"SONY"), "image/x-sony-arw"),
        (tiff(b"SAMSUNG"), "image/x-samsung-srw"),
        (tiff(b"PENTAX", subfile=0, photometric=32803, sub_directories=False), "image/x-pentax-pef"),
        (tiff(b"NIKON CORPORATION", subfile=0), "image/tiff"),
        (tiff(b"NIKON CORPORATION", sub_directories=False), "image/tiff"),
        (tiff(b"Scanner"), "image/tiff"),
        (raw_files.dng(), "image/x-adobe-dng"),
        (raw_files.dng(make=b"NIKON CORPORATION"), "image/x-adobe-dng"),
        (b"II*\0\xff\xff\xff\xff", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (sample_media.encoded(sample_media.photo(20, 20), "TIFF"), "image/tiff"),
    ],
)
def test_a_raw_file_is_told_from_any_other_tiff(content: bytes, content_type: str) -> None:
    found = sniff(content[:HEAD_SIZE_BYTES], len(content))
    assert (found.content_type, found.kind.value) == (content_type, "image")


def test_every_raw_type_has_an_extension_and_may_be_called_an_image() -> None:
    assert set(EXTENSION_TYPES.values()) >= RAW_TYPES
    assert mismatch("image/jpeg", sniff(raw_files.dng()[:HEAD_SIZE_BYTES], 9)) is None
