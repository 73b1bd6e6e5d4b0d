"""Texts: in every encoding the same words, tables in columns, and of a page only what a reader sees."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contentplatform.catalog.search import TEXT_WORD_LIMIT, words
from contentplatform.drivers.confinement import JobLimits
from contentplatform.processing.jobs.reading import cleaned, described, indexed
from contentplatform.processing.jobs.text import read_html, table
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import DocumentLimits

Read = Callable[..., Rendered]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(
        document_limits=DocumentLimits(text_characters=10_000, rows=3), job_limits=JobLimits(wall_seconds=300)
    )
    yield shared
    shared.close()


@pytest.fixture
def read(processor: LocalMediaProcessor, tmp_path: Path) -> Read:
    def run(content: bytes, content_type: str = "text/plain") -> Rendered:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        source.write_bytes(content)
        scratch.mkdir()
        return processor.process_document(source, scratch, content_type=content_type)

    return run


def content_of(rendered: Rendered, name: str) -> bytes:
    return next(file.path for file in rendered.files if file.name == name).read_bytes()


def text_of(rendered: Rendered, name: str = "text") -> str:
    return content_of(rendered, name).decode()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Grüße – aus Köln".encode(), "utf-8"),
        ("\ufeffGrüße – aus Köln".encode(), "utf-8"),
        ("\ufeffGrüße – aus Köln".encode("utf-16-le"), "utf-16-le"),
        ("\ufeffGrüße – aus Köln".encode("utf-16-be"), "utf-16-be"),
        ("Grüße – aus Köln".encode("windows-1252"), "windows-1252"),
    ],
)
def test_a_text_reads_the_same_in_every_encoding(read: Read, content: bytes, encoding: str) -> None:
    rendered = read(content)
    assert text_of(rendered) == "Grüße – aus Köln\n"
    assert (rendered.metadata["encoding"], rendered.metadata["format"]) == (encoding, "text")
    assert rendered.metadata["text"] == "Grüße aus Köln"
    assert {file.name for file in rendered.files} == {"medium", "thumbnail", "text", "preview"}


def test_the_first_page_is_drawn_with_dark_letters_on_white(read: Read) -> None:
    rendered = read(b"A heading\n\n" + b"Some words that fill a line, and then go on in the next one. " * 30)
    picture = Image.open(io.BytesIO(content_of(rendered, "medium"))).convert("L")
    assert picture.size == (424, 600)
    shades = picture.histogram()
    assert sum(shades[250:]) > sum(shades) * 0.6
    assert sum(shades[:100]) > 2_000
    for margin in ((0, 0, 30, 600), (394, 0, 424, 600)):
        assert sum(picture.crop(margin).histogram()[:240]) == 0, "a line runs into the margin"


@pytest.mark.parametrize("text", ["Привет, мир, как дела", "你好世界", "مرحبا بالعالم", "", " \n\t"])
def test_a_text_in_letters_that_nobody_here_can_draw_has_no_picture(read: Read, text: str) -> None:
    rendered = read(text.encode())
    assert {file.name for file in rendered.files} == ({"text", "preview"} if text.strip() else set())
    assert words(rendered.metadata.get("text", "")) == words(text)


def test_controls_and_marks_of_direction_are_cleaned_away(read: Read) -> None:
    rendered = read("a\x1b[31mred\x1b[0m b\u202egpj.exe\u2066\r\nnext\r\n\r\n\r\n\r\n\r\n\r\nend  \f".encode())
    assert text_of(rendered) == "a[31mred[0m bgpj.exe\nnext\n\n\nend\n"


def test_a_long_text_is_cut_and_that_is_told(read: Read) -> None:
    rendered = read("äöü ".encode() * 20_000)
    assert rendered.metadata["characters"] <= 10_000
    assert rendered.metadata["text_cut"] is True
    assert len(text_of(rendered, "preview")) <= 20_001


# -- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_table_is_previewed_in_columns(read: Read, mark: str) -> None:
    rows = ["Name,Count", '"Pears, ripe",3'.replace(", ", " "), "=cmd|' /C calc'!A0,x".replace("|", "!"), "d,4", "e,5"]
    rendered = read("\n".join(rows).replace(",", mark).encode(), "text/csv")
    lines = text_of(rendered, "preview").splitlines()
    assert lines == ["Name                Count", "Pears ripe          3", "=cmd!' /C calc'!A0  x"]
    assert (rendered.metadata["columns"], rendered.metadata["lines"]) == (2, 5)
    assert {"name", "pears", "calc", "e"} <= set(words(rendered.metadata["text"]))


def test_a_cell_without_end_is_no_failure(read: Read) -> None:
    rendered = read(b'a,b\n"c,d\n' + b"x" * 5_000, "text/csv")
    assert text_of(rendered, "preview").splitlines()[0].split() == ["a", "b"]


@given(st.lists(st.lists(st.text(max_size=40), max_size=5), max_size=5))
def test_any_rows_make_a_table(rows: list[list[str]]) -> None:
    assert len(table(rows).splitlines()) <= max(1, len(rows))


# -- pages -----------------------------------------------------------------------------------------------------------


def test_of_a_page_only_what_a_reader_sees_is_kept(read: Read) -> None:
    page = (
        "<!doctype html><html><head><title>A &amp; B</title><style>p {color: red}</style>"
        "<script>alert('x')</script></head><body onload='evil()'><h1>Head</h1><p>One<br>two &lt;b&gt;</p>"
        "<!-- hidden <p>too</p> --><iframe src='http://x/'>frame</iframe><svg><text>s</text></svg>"
        "<table><tr><td>a</td><td>b</td></tr></table></body></html>"
    )
    rendered = read(page.encode(), "text/html")
    assert text_of(rendered).split() == ["Head", "One", "two", "<b>", "a", "b"]
    assert rendered.descriptive == {"title": "A & B"}
    assert all(file.content_type != "text/html" for file in rendered.files)


@pytest.mark.parametrize("encoding", ["windows-1251", "koi8-r", "shift_jis"])
def test_a_page_is_read_as_it_declares_itself(read: Read, encoding: str) -> None:
    word = "こんにちは" if encoding == "shift_jis" else "Привет"
    page = f'<html><meta charset="{encoding}"><p>{word}</p></html>'
    rendered = read(page.encode(encoding), "text/html")
    assert (text_of(rendered).strip(), rendered.metadata["encoding"]) == (word, encoding)


@given(st.text(alphabet="<>/!-sScript ptle&;\"'=a", max_size=200))
def test_any_marks_are_read_to_their_end(page: str) -> None:
    text, title = read_html(page, 1_000)
    assert len(text) <= 1_000
    assert len(title) <= 300


@pytest.mark.parametrize("piece", ["<!--", "<script>", "<", "</", "<p ", "<title>", "&", "<!", "<svg>"])
def test_a_page_of_nothing_but_beginnings_is_read_at_once(piece: str) -> None:
    """A reader that looked for each one's end again would need minutes."""
    read_html(piece * 200_000, 1_000_000)


# -- words for search ------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_the_words_for_search_are_those_of_the_text(text: str) -> None:
    whole = cleaned(text)
    assert set(words(indexed(whole))) == set(words(whole))


def test_no_more_words_are_kept_than_search_takes() -> None:
    kept = indexed(" ".join(f"word{number} again" for number in range(5_000)))
    assert len(set(words(kept))) == TEXT_WORD_LIMIT
    assert len(indexed("ä" * 3 + " ".join(chr(0x4E00 + number) * 80 for number in range(5_000))).encode()) <= 40_000


@given(st.text(max_size=200))
def test_cleaning_again_changes_nothing(text: str) -> None:
    assert cleaned(cleaned(text)) == cleaned(text)


def test_keywords_are_cut_at_what_parts_them() -> None:
    assert described(keywords="red wine; white wine")["tags"] == ["red wine", "white wine"]
    assert described(keywords="a, b,,a")["tags"] == ["a", "b"]
    assert described(keywords="one two three four five six seven eight nine")["tags"][0] == "one"
    assert described(keywords="red wine")["tags"] == ["red wine"]
    assert described() == {}
