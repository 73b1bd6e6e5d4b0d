"""The sample media that the demonstration puts through."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.samples import ARTIST, COPYRIGHT, make_samples, sample_photo


def test_the_samples_are_what_they_are_called(tmp_path: Path) -> None:
    photo, logo, spinner, text = make_samples(tmp_path)
    with Image.open(photo) as opened:
        assert (opened.format, opened.size) == ("JPEG", (800, 600))
        assert (opened.getexif()[0x0112], opened.getexif()[0x013B], opened.getexif()[0x8298]) == (6, ARTIST, COPYRIGHT)
    with Image.open(logo) as opened:
        assert opened.mode == "RGBA"
        assert opened.getchannel("A").getextrema() == (0, 255)
    with Image.open(spinner) as opened:
        assert getattr(opened, "n_frames", 1) == 12
    assert text.read_text("utf-8")


def test_the_sample_photograph_is_upright_and_credited_once_processed(tmp_path: Path) -> None:
    photo = sample_photo(tmp_path)
    (tmp_path / "scratch").mkdir()
    processor = LocalMediaProcessor()
    rendered = processor.process_image(photo, tmp_path / "scratch")
    processor.close()
    assert (rendered.metadata["width"], rendered.metadata["height"]) == (600, 800)
    assert rendered.descriptive == {"credit": ARTIST, "rights": COPYRIGHT}
    assert set(rendered.metadata["private"]["gps"]) == {"latitude", "longitude"}
    with Image.open(rendered.files[1].path) as medium:
        sky, ground = (medium.convert("RGB").getpixel((225, row)) for row in (10, 590))
    assert isinstance(sky, tuple)
    assert isinstance(ground, tuple)
    assert sky[2] > 120 > sum(ground) / 3, "blue above, dark below"


def test_the_samples_are_always_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    made = [[path.read_bytes() for path in make_samples(folder)] for folder in folders]
    assert made[0] == made[1]
