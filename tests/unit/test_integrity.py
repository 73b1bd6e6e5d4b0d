"""Files that end too early are told from those that are whole, and from those that merely lack a last byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sample_media
from contentplatform.processing.integrity import ends_early

GIF = sample_media.animated("GIF", 4)
AVIF = sample_media.encoded(sample_media.photo(80, 60), "AVIF")


def is_cut(folder: Path, content_type: str, content: bytes) -> bool:
    path = folder / "file"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return ends_early(content_type, descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("image/gif", GIF),
        ("image/gif", GIF[:-1]),
        ("image/gif", GIF + b"PK\x03\x04 an archive behind it"),
        ("image/avif", AVIF),
        ("image/avif", AVIF + b"abc"),
        ("image/jpeg", b"\xff\xd8\xff"),
        ("image/gif", b""),
    ],
    ids=["gif", "no trailer", "rubbish behind", "avif", "three bytes behind", "another format", "empty"],
)
def test_whole_files_pass(tmp_path: Path, content_type: str, content: bytes) -> None:
    assert not is_cut(tmp_path, content_type, content)


def test_every_cut_within_a_frame_is_found(tmp_path: Path) -> None:
    last_frame = GIF.rindex(b"\x21\xf9\x04")
    found = [is_cut(tmp_path, "image/gif", GIF[:end]) for end in range(last_frame + 1, len(GIF) - 1)]
    # Behind the frame's graphic control comes its image: a cut exactly there is between two blocks.
    assert found.count(False) <= 1


@pytest.mark.parametrize("end", [12, 40, len(AVIF) - 1])
def test_a_cut_box_is_found(tmp_path: Path, end: int) -> None:
    assert is_cut(tmp_path, "image/avif", AVIF[:end])


@pytest.mark.parametrize("content_type", ["image/gif", "image/avif"])
def test_rubbish_is_walked_to_an_end(tmp_path: Path, content_type: str) -> None:
    verdicts = [is_cut(tmp_path, content_type, bytes([byte]) * 40) for byte in range(256)]
    assert any(verdicts)
