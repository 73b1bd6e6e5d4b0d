"""More pictures made to hurt; each ends in a rendition or in words, and nobody else's file or address is touched."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile_images
import hostile_pictures
import sample_media
from contentplatform.delivery.rules import behaviour_of
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.media import MediaKind
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.probe import claimed_type, mismatch, sniff

LIMITS = JobLimits(wall_seconds=300, cpu_seconds=30, resident_bytes=512 << 20)
BROKEN = frozenset({ErrorCode.DECODE, ErrorCode.UNSUPPORTED, ErrorCode.LIMIT})
SECRET = "canary-4711"


class Attack:
    """Processes one picture after the other; the process that asks for it grows by nothing."""

    def __init__(self, processor: LocalMediaProcessor, folder: Path) -> None:
        self._processor = processor
        self.folder = folder
        self._count = 0

    def run(self, content: bytes) -> Rendered:
        self._count += 1
        scratch = self.folder / f"scratch-{self._count}"
        scratch.mkdir()
        source = self.folder / "source"
        source.write_bytes(content)
        return self._processor.process_image(source, scratch)

    def outcome(self, content: bytes) -> ErrorCode | None:
        try:
            self.run(content)
        except ProcessingFailed as error:
            return error.code
        return None


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=LIMITS)
    yield shared
    shared.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def attack(processor: LocalMediaProcessor, tmp_path: Path) -> Iterator[Attack]:
    attack = Attack(processor, tmp_path)
    good = sample_media.encoded(sample_media.photo(60, 40), "JPEG")
    attack.run(good)
    before_bytes = resident_bytes()
    yield attack
    assert attack.run(good).files, "the next picture goes through"
    assert resident_bytes() - before_bytes < 96 << 20, "the test's own copies, and nothing of the picture"


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody may read."""
    path = tmp_path / "canary.txt"
    path.write_text(SECRET)
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    yield path
    assert path.stat().st_atime_ns == 0, "somebody read it"


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_h1_an_icon_is_for_no_decoder(attack: Attack) -> None:
    assert attack.outcome(hostile_pictures.ico()) is ErrorCode.UNSUPPORTED


def test_h4_an_apng_of_a_hundred_thousand_frames_becomes_its_first_one(attack: Attack) -> None:
    assert len(attack.run(hostile_pictures.apng(100_000)).files) == 3


@pytest.mark.parametrize("frames", [20_001, 100_000])
def test_h4_a_webp_of_so_many_frames_is_refused(attack: Attack, frames: int) -> None:
    """Its decoder lists them in a time that grows with their square."""
    assert attack.outcome(hostile_pictures.webp(frames)) is ErrorCode.LIMIT


def test_h4_a_webp_of_some_thousand_frames_becomes_its_first_one(attack: Attack) -> None:
    metadata = attack.run(hostile_pictures.webp(5_000)).metadata
    assert metadata["animation"] == "dropped: 5000 frames, at most 1000 are kept"


def test_h4_five_hundred_frames_of_sixteen_megapixels(attack: Attack) -> None:
    metadata = attack.run(hostile_pictures.webp(500, 4_000)).metadata
    assert metadata["animation"] == "dropped: 500 frames of 4000 x 4000 pixels are too many"


@pytest.mark.parametrize("name", sorted(hostile_pictures.png_suite()))
def test_h5_a_corrupt_file_of_pngsuite_s_make_fails(attack: Attack, name: str) -> None:
    is_unrecognisable = name.startswith(("xs", "xcr", "xlf"))
    code = attack.outcome(hostile_pictures.png_suite()[name])
    assert code in ({ErrorCode.UNSUPPORTED, ErrorCode.DECODE} if is_unrecognisable else {ErrorCode.DECODE})


@pytest.mark.parametrize("name", sorted(hostile_pictures.bitmaps()))
def test_h6_a_bitmap_is_for_no_decoder(attack: Attack, name: str) -> None:
    assert attack.outcome(hostile_pictures.bitmaps()[name]) is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("name", sorted(hostile_pictures.old_formats()))
def test_h7_formats_of_old_are_for_no_decoder(attack: Attack, name: str) -> None:
    assert attack.outcome(hostile_pictures.old_formats()[name]) is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("brand", [b"avif", b"heic"])
def test_h10_boxes_that_lie_end_in_words(attack: Attack, brand: bytes) -> None:
    whole = sample_media.encoded(sample_media.photo(160, 120), "AVIF").replace(b"avif", brand)
    outcomes = {name: attack.outcome(content) for name, content in hostile_pictures.boxes(whole).items()}
    assert {name: code for name, code in outcomes.items() if code not in BROKEN | {None}} == {}
    assert outcomes["pictures of noise"] in BROKEN
    assert outcomes["a box within nothing"] in BROKEN


def test_h11_tables_of_noise_end_in_a_picture_or_in_words(attack: Attack) -> None:
    outcomes = {attack.outcome(content) for content in hostile_pictures.crafted_webps(60)}
    assert outcomes <= BROKEN | {None}
    assert ErrorCode.DECODE in outcomes


@pytest.mark.parametrize("name", sorted(hostile_pictures.drawings("", "")))
def test_h13_h14_a_drawing_is_kept_and_drawn_by_nobody(attack: Attack, canary: Path, listener: str, name: str) -> None:
    content = hostile_pictures.drawings(canary.as_uri(), listener)[name]
    found = sniff(content, len(content))
    assert (found.content_type, found.kind) == ("image/svg+xml", MediaKind.GENERIC)
    assert attack.outcome(content) is ErrorCode.UNSUPPORTED


def test_h14_a_drawing_that_says_it_is_a_picture_is_drawn_by_nobody(
    attack: Attack, canary: Path, listener: str
) -> None:
    for content in hostile_pictures.drawings(canary.as_uri(), listener).values():
        for head in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBP", b"II*\0\x08\0\0\0"):
            assert attack.outcome(head + content) in BROKEN


def test_h13_what_was_uploaded_runs_no_script_at_the_edge() -> None:
    headers = behaviour_of("/raw/evil.svg", "private/").headers
    assert headers.content_type_options == "nosniff"
    assert "sandbox" in headers.content_security_policy
    assert "default-src 'none'" in headers.content_security_policy


@pytest.mark.parametrize("name", sorted(hostile_images.scripts_named_as_pictures()))
def test_h16_no_script_is_run(attack: Attack, name: str) -> None:
    """By its program, it would leave a file."""
    left = attack.folder / "left-behind"
    content = hostile_images.scripts_named_as_pictures()[name].replace(b"/tmp/x", str(left).encode())
    for head in (b"", b"%!\n", b"\n" * 600):
        attack.outcome(head + content)
    assert not left.exists()
    for scratch in attack.folder.glob("scratch-*"):
        if scratch.name != "scratch-1":
            assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", sorted(hostile_pictures.chimeras()))
def test_h17_a_file_of_two_kinds_is_what_it_begins_as(name: str) -> None:
    content, content_type = hostile_pictures.chimeras()[name]
    assert sniff(content, len(content)).content_type == content_type


def test_h18_a_page_that_is_called_a_picture_is_none() -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    found = sniff(page, len(page))
    assert found.content_type == "text/html"
    assert mismatch(claimed_type("evil.html", "image/png"), found) == "says image/png, is text/html"
    assert mismatch(claimed_type("evil.png", None), found) == "says image/png, is text/html"


def test_h18_a_picture_that_is_called_a_page_is_a_picture() -> None:
    picture = sample_media.encoded(sample_media.photo(8, 8), "PNG")
    found = sniff(picture, len(picture))
    assert (found.content_type, found.kind) == ("image/png", MediaKind.IMAGE)
    assert mismatch(claimed_type("page.html", "text/html"), found) is None
