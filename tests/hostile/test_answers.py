"""What a child that was taken over may answer: none of it reaches the catalog, a header, or a path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import sample_media
from contentplatform.catalog.port import RECORD_LIMIT_BYTES
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.answers import DOCUMENT_RENDITIONS, original_format, rendered
from contentplatform.processing.claims import check_description, check_facts
from contentplatform.processing.embedded import Embedded, credit_xmp, describe
from contentplatform.processing.local import LocalMediaProcessor

DEEP: dict[str, Any] = {}
for _ in range(50):
    DEEP = {"x": [DEEP]}

FACTS: Mapping[str, Mapping[str, Any]] = {
    "a text of megabytes": {"text": "x" * 1_000_000},
    "many long texts": {f"fact {number}": "x" * 9_000 for number in range(100)},
    "facts without end": {f"fact {number}": 1 for number in range(1_000)},
    "facts within facts": DEEP,
    "a NUL": {"format": "JPEG\0"},
    "a control character": {"exif": {"Make": "\x1b[2J"}},
    "half a character": {"tags": ["\ud800"]},
    "a line of its own in a name": {"a\rb": 1},
    "a name of thousands of characters": {"x" * 1_000: 1},
    "a number beyond all": {"width": 1 << 100},
    "no number at all": {"width": float("nan")},
}
DESCRIPTIONS: Mapping[str, Mapping[str, Any]] = {
    "another field of the record": {"status": "completed"},
    "a title that is a list": {"title": ["x"]},
    "tags that are a text": {"tags": "x"},
    "tags that are numbers": {"tags": [1]},
    "tags without end": {"tags": [f"tag {number}" for number in range(101)]},
    "a title of megabytes": {"title": "x" * 1_000_000},
    "tags that are too long together": {"tags": ["文" * 1_000] * 100},
    "a NUL": {"credit": "a\0b"},
    "half a character": {"rights": "\udc00"},
}
HONEST_FACTS: Mapping[str, Any] = {
    "format": "JPEG",
    "text": "words " * 6_000,
    "private": {"gps": {"latitude": -1.5}},
    "outline": [{"title": "Größe\n", "page": None}] * 500,
    "damaged": True,
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_that_no_job_of_ours_finds_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="fact"):
        check_facts(FACTS[name])


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_no_job_of_ours_gives_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="description"):
        check_description(DESCRIPTIONS[name])


def test_honest_answers_pass() -> None:
    check_facts(HONEST_FACTS)
    check_description(
        {"title": "t" * 2_000, "tags": ["文" * 200] * 100, "credit": "c", "rights": "", "description": "d"}
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"files": [], "metadata": {"format": "PDF\0"}, "descriptive": {}},
        {"files": [], "metadata": {}, "descriptive": {"file_path": "x"}},
        {"files": [{"name": "text", "file": "../../etc/passwd"}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "text", "file": "/etc/passwd"}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "text", "file": "there.txt"}] * 2, "metadata": {}, "descriptive": {}},
        {"files": [{"name": "text", "file": "link.txt"}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "text", "file": "pipe.txt"}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "720p", "file": "there.txt"}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "medium", "file": "there.txt", "width": True}], "metadata": {}, "descriptive": {}},
        {"files": [{"name": "medium", "file": "there.txt", "width": 1 << 40}], "metadata": {}, "descriptive": {}},
    ],
)
def test_an_answer_that_is_none_of_ours_is_a_crash(answer: Mapping[str, Any], tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "pipe.txt").mkdir()
    with pytest.raises(ProcessingFailed) as caught:
        rendered(answer, tmp_path, DOCUMENT_RENDITIONS, doing="testing")
    assert caught.value.code is ErrorCode.CRASH
    assert caught.value.why == "the decoder answered nonsense"


def test_a_format_is_no_header_of_its_own() -> None:
    assert original_format({"format": "JPEG\r\nX-Evil: 1"}) == "JPEGX-Evil 1"
    assert len(original_format({"format": "x" * 10_000})) == 80
    assert original_format({"format": "MPEG program stream (a/b)"}) == "MPEG program stream (a/b)"


# -- H32: what a file says of itself -----------------------------------------------------------------------------------


def endless_xmp() -> bytes:
    """1.2 MB: a hundred keywords, and as many creators, of two thousand characters of three bytes each."""
    items = "".join(f"<rdf:li>{number}&amp;{'文' * 1_990}</rdf:li>" for number in range(100))
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject><dc:creator><rdf:Seq>{items}</rdf:Seq></dc:creator>"
        f"<dc:title>photo\u202egpj.exe</dc:title><dc:rights>{'&amp;' * 5_000}</dc:rights>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def test_h32_a_megabyte_of_words_fits_into_a_record_and_into_a_rendition() -> None:
    found = describe(Embedded(xmp=endless_xmp()))
    check_description(found.descriptive)
    assert len(json.dumps(found.descriptive, ensure_ascii=False).encode()) < RECORD_LIMIT_BYTES / 2
    assert len(found.descriptive["tags"]) == 100
    assert len(credit_xmp(found.credit)) < 65_000, "what a JPEG has room for"
    assert found.descriptive["title"] == "photogpj.exe"


def test_h32_a_picture_with_a_megabyte_of_words_is_rendered(tmp_path: Path) -> None:
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    picture = sample_media.photo(64, 48)
    picture.save(source, "WEBP", xmp=endless_xmp())
    scratch.mkdir()
    processor = LocalMediaProcessor()
    try:
        made = processor.process_image(source, scratch)
    finally:
        processor.close()
    assert len(made.files) == 3
    assert made.descriptive["title"] == "photogpj.exe"
    assert sum(file.path.stat().st_size for file in made.files) < 300_000
