"""Images made to hurt: each ends in a rendition or in words, quickly, and the next image is processed as ever."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import hostile_images
import sample_media
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.media import MediaKind
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.probe import claimed_type, mismatch, sniff

LIMITS = JobLimits(wall_seconds=300, cpu_seconds=30, resident_bytes=512 << 20)
"""What an attack may cost at most; a job that needs more is killed, and the test sees another code."""


@dataclass
class Attack:
    """Processes one image after the other, each in a folder of its own."""

    processor: LocalMediaProcessor
    folder: Path
    count: int = 0

    def run(self, content: bytes) -> Rendered:
        self.count += 1
        scratch = self.folder / f"scratch-{self.count}"
        scratch.mkdir()
        source = self.folder / "source"
        source.write_bytes(content)
        return self.processor.process_image(source, scratch)

    def outcome(self, content: bytes) -> ErrorCode | None:
        """The code of the failure, None where there are renditions."""
        try:
            self.run(content)
        except ProcessingFailed as error:
            return error.code
        return None

    def failure(self, content: bytes) -> ProcessingFailed:
        with pytest.raises(ProcessingFailed) as caught:
            self.run(content)
        return caught.value


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=LIMITS)
    yield shared
    shared.close()


@pytest.fixture
def attack(processor: LocalMediaProcessor, tmp_path: Path) -> Iterator[Attack]:
    attack = Attack(processor, tmp_path)
    yield attack
    assert attack.run(sample_media.encoded(sample_media.photo(60, 40), "JPEG")).files, "the next image goes through"


def opened(rendered: Rendered, name: str) -> Image.Image:
    path = next(file.path for file in rendered.files if file.name == name)
    return Image.open(io.BytesIO(path.read_bytes()))


# -- bombs -----------------------------------------------------------------------------------------------------------


def test_h3_four_gigapixels_are_refused_by_their_header(attack: Attack) -> None:
    error = attack.failure(hostile_images.huge_one_bit_png())
    assert error.code is ErrorCode.LIMIT
    assert error.why == "it has 65535 x 65535 pixels; at most 300 million are processed"


def test_h1_a_gif_that_claims_four_gigapixels_is_refused(attack: Attack) -> None:
    assert attack.failure(hostile_images.gif(65_535, 65_535, 1, 65_535)).code is ErrorCode.LIMIT


def test_h4_a_hundred_thousand_frames_become_the_first_one(attack: Attack) -> None:
    rendered = attack.run(hostile_images.gif(1, 1, 100_000))
    assert rendered.metadata["animation"] == "dropped: 100000 frames, at most 1000 are kept"
    assert getattr(opened(rendered, "webp"), "n_frames", 1) == 1


def test_h4_frames_with_too_many_pixels_become_the_first_one(attack: Attack) -> None:
    rendered = attack.run(hostile_images.gif(2000, 2000, 500))
    assert rendered.metadata["animation"] == "dropped: 500 frames of 2000 x 2000 pixels are too many"
    assert opened(rendered, "webp").size == (2000, 2000)


@pytest.mark.parametrize("make", [hostile_images.text_bomb_png, hostile_images.profile_bomb_png])
def test_h2_metadata_that_inflates_costs_nothing(attack: Attack, make: Callable[[], bytes]) -> None:
    """The picture itself is sound: it is shown, and its bomb is nowhere."""
    rendered = attack.run(make())
    assert opened(rendered, "webp").size == (8, 8)
    assert sum(file.path.stat().st_size for file in rendered.files) < 4_000


def test_h9_ten_thousand_scans_are_stopped(attack: Attack) -> None:
    assert attack.failure(hostile_images.many_scans_jpeg()).code in {ErrorCode.LIMIT, ErrorCode.DECODE}


def test_h12_a_looping_directory_is_one_page(attack: Attack) -> None:
    assert attack.run(hostile_images.looping_tiff()).metadata["pages"] == 1


@pytest.mark.parametrize("make", [hostile_images.endless_strips_tiff, hostile_images.giant_tile_tiff])
def test_h12_tiffs_that_promise_too_much_are_refused(attack: Attack, make: Callable[[], bytes]) -> None:
    assert attack.failure(make()).code in {ErrorCode.LIMIT, ErrorCode.DECODE}


# -- broken files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(hostile_images.broken_pngs()))
def test_h5_a_broken_png_fails(attack: Attack, name: str) -> None:
    error = attack.failure(hostile_images.broken_pngs()[name])
    unrecognisable = name == "line ends converted"
    assert error.code is (ErrorCode.UNSUPPORTED if unrecognisable else ErrorCode.DECODE)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_h8_a_truncated_file_never_passes_for_a_whole_one(attack: Attack, format_name: str, share: float) -> None:
    whole = sample_media.encoded(sample_media.photo(320, 240), format_name)
    error = attack.failure(hostile_images.truncated(whole, share))
    assert error.code is ErrorCode.DECODE
    assert error.public.startswith("making the image's renditions: the image is broken or incomplete")


@pytest.mark.parametrize("format_name", ["GIF", "WEBP"])
def test_h8_a_truncated_animation_never_passes_for_a_shorter_one(attack: Attack, format_name: str) -> None:
    content = hostile_images.truncated(sample_media.animated(format_name, 6))
    assert attack.failure(content).code is ErrorCode.DECODE


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_h8_a_truncated_heic_never_passes_for_a_whole_one(attack: Attack, shared_media: Path, share: float) -> None:
    """Its decoder would leave the missing tiles black without a word."""
    content = (shared_media / "iphone.heic").read_bytes()
    assert attack.failure(hostile_images.truncated(content, share)).code is ErrorCode.DECODE


@pytest.mark.parametrize("make", [hostile_images.wordless_avif, hostile_images.wordless_heic])
def test_h10_boxes_without_content_fail(attack: Attack, make: Callable[[], bytes]) -> None:
    assert attack.failure(make()).code is ErrorCode.DECODE


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_h7_h11_damaged_bytes_end_in_a_picture_or_in_words(attack: Attack, format_name: str) -> None:
    whole = sample_media.encoded(sample_media.photo(160, 120), format_name)
    for content in hostile_images.mutations(whole, 30):
        assert attack.outcome(content) in {None, ErrorCode.DECODE, ErrorCode.LIMIT, ErrorCode.UNSUPPORTED}


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_h26_next_to_nothing_fails_in_words(attack: Attack, content: bytes) -> None:
    assert attack.failure(content).code in {ErrorCode.DECODE, ErrorCode.UNSUPPORTED}


# -- things that are something else ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(hostile_images.scripts_named_as_pictures()))
def test_h16_a_script_named_as_a_picture_reaches_no_decoder(attack: Attack, name: str) -> None:
    content = hostile_images.scripts_named_as_pictures()[name]
    sniffed = sniff(content, len(content))
    assert sniffed.kind in {MediaKind.GENERIC, MediaKind.DOCUMENT}
    assert mismatch(claimed_type("photo.jpg", None), sniffed) == f"says image/jpeg, is {sniffed.content_type}"
    assert attack.failure(content).code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("name", sorted(hostile_images.polyglots()))
def test_h17_a_rendition_of_a_polyglot_is_only_a_picture(attack: Attack, name: str) -> None:
    content = hostile_images.polyglots()[name]
    assert hostile_images.PAYLOAD in content
    assert sniff(content, len(content)).kind is MediaKind.IMAGE
    for file in attack.run(content).files:
        assert hostile_images.PAYLOAD not in file.path.read_bytes()


def test_h32_confusing_metadata_becomes_clean_text(attack: Attack) -> None:
    rendered = attack.run(hostile_images.confusing_metadata_jpeg())
    assert rendered.descriptive == {
        "description": "<script>alert(1)</script>",
        "credit": "ÿþ broken  bytes",
        "rights": "(c) controls",
    }
    assert b"<script" not in b"".join(file.path.read_bytes() for file in rendered.files)
