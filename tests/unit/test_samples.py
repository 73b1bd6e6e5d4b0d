"""The sample media that the demonstration puts through."""

from __future__ import annotations

import wave
from pathlib import Path

from PIL import Image

from contentplatform.media import MediaKind
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.probe import sniff
from contentplatform.processing.samples import (
    ARTIST,
    COPYRIGHT,
    make_samples,
    sample_document,
    sample_film,
    sample_photo,
)


def test_the_samples_are_what_they_are_called(tmp_path: Path) -> None:
    photo, logo, spinner, film, sound, letter, data = make_samples(tmp_path)
    with Image.open(photo) as opened:
        assert (opened.format, opened.size) == ("JPEG", (800, 600))
        assert (opened.getexif()[0x0112], opened.getexif()[0x013B], opened.getexif()[0x8298]) == (6, ARTIST, COPYRIGHT)
    with Image.open(logo) as opened:
        assert opened.mode == "RGBA"
        assert opened.getchannel("A").getextrema() == (0, 255)
    with Image.open(spinner) as opened:
        assert getattr(opened, "n_frames", 1) == 12
    assert sniff(film.read_bytes(), film.stat().st_size).content_type == "video/mp4"
    assert sniff(letter.read_bytes(), letter.stat().st_size).content_type == "application/pdf"
    assert sniff(data.read_bytes(), data.stat().st_size).kind is MediaKind.GENERIC
    with wave.open(str(sound)) as opened_sound:
        assert (opened_sound.getnchannels(), opened_sound.getnframes() / opened_sound.getframerate()) == (2, 6.0)


def test_the_sample_film_has_pictures_sound_and_subtitles(tmp_path: Path) -> None:
    film = sample_film(tmp_path)
    (tmp_path / "scratch").mkdir()
    processor = LocalMediaProcessor()
    facts = processor.probe(film, tmp_path / "scratch")
    processor.close()
    assert (facts.video[0].width, facts.video[0].height) == (640, 360)
    assert abs(facts.duration_seconds - 6) < 0.2
    assert facts.audio
    assert [track.language for track in facts.subtitles] == ["en"]


def test_the_sample_document_is_read_and_shown(tmp_path: Path) -> None:
    letter = sample_document(tmp_path)
    (tmp_path / "scratch").mkdir()
    processor = LocalMediaProcessor()
    rendered = processor.process_document(letter, tmp_path / "scratch", content_type="application/pdf")
    processor.close()
    assert rendered.metadata["pages"] == 2
    assert "badger" in rendered.metadata["text"]
    assert {file.name for file in rendered.files} >= {"thumbnail", "medium", "text"}


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
