"""What a PDF ends like: its first page as pictures, its words as they are typed, and what it says of itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import document_files
from contentplatform.catalog.search import words
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.jobs.pdf import as_typed
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import DocumentLimits
from document_files import PDF, pdf, stream

Read = Callable[..., Rendered]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(
        document_limits=DocumentLimits(pages=100, text_pages=3, text_characters=5_000, outline_entries=90),
        job_limits=JobLimits(wall_seconds=300, resident_bytes=512 << 20),
    )
    yield shared
    shared.close()


@pytest.fixture
def read(processor: LocalMediaProcessor, tmp_path: Path) -> Read:
    def run(content: bytes, content_type: str = PDF) -> Rendered:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        source.write_bytes(content)
        scratch.mkdir()
        return processor.process_document(source, scratch, content_type=content_type)

    return run


def content_of(rendered: Rendered, name: str) -> bytes:
    return next(file.path for file in rendered.files if file.name == name).read_bytes()


def text_of(rendered: Rendered, name: str = "text") -> str:
    return content_of(rendered, name).decode()


def picture_of(rendered: Rendered, name: str) -> Image.Image:
    return Image.open(io.BytesIO(content_of(rendered, name))).convert("RGB")


def page_of_words(*lines: str) -> bytes:
    shown = b" T* ".join(b"(%s) Tj" % line.encode("latin-1") for line in lines)
    return b"BT /F1 12 Tf 14 TL 72 700 Td %s ET" % shown


# -- what a sound one ends like --------------------------------------------------------------------------------------


def test_a_pdf_has_pictures_of_its_first_page_and_its_text(read: Read) -> None:
    red = b"1 0 0 rg 0 421 595 421 re f "
    rendered = read(pdf([red + page_of_words("Hello world"), page_of_words("Second page")]))
    assert {file.name: (file.width, file.height) for file in rendered.files} == {
        "medium": (424, 600),
        "thumbnail": (106, 150),
        "text": (None, None),
    }
    top, bottom = (picture_of(rendered, "medium").getpixel((20, row)) for row in (20, 580))
    assert top == pytest.approx((254, 0, 0), abs=3)
    assert bottom == (255, 255, 255)
    assert text_of(rendered) == "Hello world\n\nSecond page\n"
    facts = rendered.metadata
    assert (facts["format"], facts["pages"], facts["encrypted"]) == ("PDF", 2, False)
    assert (facts["page_width_points"], facts["page_height_points"]) == (595.0, 842.0)
    assert facts["text"] == "Hello world Second page"
    assert "truncated" not in facts
    assert rendered.files[-1].content_type == "text/plain; charset=utf-8"


def test_what_it_says_of_itself_comes_out_clean(read: Read) -> None:
    info = (
        b"/Title (A \\(fine\\)\\000 <b>title</b>) /Author (Ada) /Subject (On wine) /Keywords (wine; grapes;wine)"
        b" /Producer (Maker) /CreationDate (D:20240506070809+02'00') /ModDate (D:20249906)"
    )
    rendered = read(pdf(info=info))
    assert rendered.descriptive == {
        "title": "A (fine)",
        "description": "On wine",
        "tags": ["wine", "grapes"],
        "credit": "Ada",
    }
    assert rendered.metadata["created"] == "2024-05-06T07:08:09+02:00"
    assert "modified" not in rendered.metadata
    assert rendered.metadata["producer"] == "Maker"


def test_the_outline_is_told_up_to_a_limit_and_a_loop_in_it_ends(read: Read) -> None:
    bookmark = b"<< /Title (Chapter %d) /Parent 10 0 R /Next %d 0 R /Dest [14 0 R /Fit] >>"
    # The third leads back to the second.
    bookmarks = [bookmark % (number, follower) for number, follower in ((1, 12), (2, 13), (3, 12))]
    outlines = b"<< /Type /Outlines /First 11 0 R /Last 13 0 R /Count 3 >>"
    rendered = read(pdf(catalog=b"/Outlines 10 0 R", objects=[outlines, *bookmarks]))
    outline = rendered.metadata["outline"]
    assert outline[0] == {"title": "Chapter 1", "level": 0, "page": 1}
    assert len(outline) <= 90
    assert {entry["title"] for entry in outline} == {"Chapter 1", "Chapter 2", "Chapter 3"}


def test_an_outline_of_long_titles_leaves_room_in_the_record(read: Read) -> None:
    title = b"<feff" + b"4e00" * 300 + b">"
    bookmark = b"<< /Title %s /Parent 10 0 R /Next %d 0 R >>"
    outlines = b"<< /Type /Outlines /First 11 0 R /Count 200 >>"
    rendered = read(
        pdf(catalog=b"/Outlines 10 0 R", objects=[outlines, *(bookmark % (title, 12 + n) for n in range(200))])
    )
    assert 40 < len(rendered.metadata["outline"]) < 60, "900 bytes each, of 50 000"


def test_an_outline_has_a_limit_of_entries(read: Read) -> None:
    bookmark = b"<< /Title (x) /Parent 10 0 R /Next %d 0 R >>"
    outlines = b"<< /Type /Outlines /First 11 0 R /Count 200 >>"
    rendered = read(pdf(catalog=b"/Outlines 10 0 R", objects=[outlines, *(bookmark % (12 + n) for n in range(200))]))
    assert len(rendered.metadata["outline"]) == 90


def test_text_is_taken_from_the_first_pages_only_and_that_is_told(read: Read) -> None:
    rendered = read(pdf([page_of_words(f"page number{number}") for number in range(6)]))
    assert "number2" in text_of(rendered)
    assert "number3" not in text_of(rendered)
    assert (rendered.metadata["pages"], rendered.metadata["text_pages"]) == (6, 3)


def test_a_long_text_is_cut_and_that_is_told(read: Read) -> None:
    rendered = read(pdf([page_of_words(*["word " * 15] * 50)] * 3))
    assert len(text_of(rendered)) <= 5_001
    assert rendered.metadata["text_cut"] is True


def test_a_turned_page_is_shown_as_it_is_read(read: Read) -> None:
    rendered = read(pdf([b"1 0 0 rg 0 0 595 100 re f"], page=b"/Rotate 90"))
    picture = picture_of(rendered, "medium")
    assert picture.size == (800, 566)
    assert picture.getpixel((20, 280)) == pytest.approx((254, 0, 0), abs=3)


def test_a_page_without_words_has_no_text(read: Read) -> None:
    rendered = read(pdf([b"0 0 10 10 re f"]))
    assert {file.name for file in rendered.files} == {"medium", "thumbnail"}
    assert "text" not in rendered.metadata


# -- words as they are typed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["שלום", "مرحبا", "حبيبي"])
def test_words_from_right_to_left_are_found_as_they_are_typed(read: Read, word: str) -> None:
    assert words(read(document_files.right_to_left_pdf(word)).metadata["text"]) == words(word)


@pytest.mark.shared_media
def test_arabic_of_a_real_file_is_found_as_it_is_typed(read: Read, shared_media: Path) -> None:
    rendered = read((shared_media / "arabic.pdf").read_bytes())
    assert set(words(rendered.metadata["text"])) == {"habibi", "حبيبي"}
    assert rendered.descriptive == {"title": "habibi"}


@pytest.mark.shared_media
def test_a_real_file_of_four_pages(read: Read, shared_media: Path) -> None:
    rendered = read((shared_media / "four_pages.pdf").read_bytes())
    assert rendered.metadata["pages"] == 4
    assert {"blind", "alphabet", "language"} <= set(words(rendered.metadata["text"]))
    assert text_of(rendered).startswith("Hello, here is some text without a meaning.")
    shades = picture_of(rendered, "medium").convert("L").histogram()
    assert sum(shades[:100]) > 300


# -- locked ----------------------------------------------------------------------------------------------------------


@pytest.mark.shared_media
def test_one_that_wants_a_password_is_kept_and_told_of(read: Read, shared_media: Path) -> None:
    rendered = read((shared_media / "password.pdf").read_bytes())
    assert rendered.files == ()
    assert rendered.metadata == {
        "format": "PDF",
        "encrypted": True,
        "locked": True,
        "note": "it is locked with a password",
    }


def test_a_lock_that_nobody_knows_is_a_lock(read: Read) -> None:
    objects = {1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Kids [] /Count 1 >>", 4: b"<< >>"}
    objects[5] = b"<< /Filter /Somebodys.Own /V 4 /R 4 >>"
    rendered = read(document_files.assembled(objects, trailer=b"/Encrypt 5 0 R /ID [<00> <00>]"))
    assert (rendered.metadata["locked"], rendered.files) == (True, ())


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"%PDF-1.7\n", b"%PDF-1.7\n" + bytes(5_000), pdf()[:100], pdf(count=0, contents=[])],
    ids=["a head", "zeros", "cut", "no page"],
)
def test_what_holds_together_nowhere_fails_in_words(read: Read, content: bytes) -> None:
    with pytest.raises(ProcessingFailed) as failure:
        read(content)
    assert failure.value.code is ErrorCode.DECODE
    assert failure.value.why == "the document is broken or incomplete"


def test_one_that_lost_its_end_is_shown_and_that_is_told(read: Read) -> None:
    whole = pdf()
    rendered = read(whole[: whole.index(b"startxref")])
    assert rendered.metadata["truncated"] is True
    assert text_of(rendered) == "Hello world\n"


def test_more_pages_than_are_read_are_refused(read: Read) -> None:
    with pytest.raises(ProcessingFailed, match="it says that it has 101 pages; at most 100 are read") as failure:
        read(pdf([b""] * 101))
    assert failure.value.code is ErrorCode.LIMIT


def test_a_type_that_nothing_reads_is_refused_in_words(read: Read) -> None:
    with pytest.raises(ProcessingFailed, match="application/msword can't be read here") as failure:
        read(b"x", "application/msword")
    assert failure.value.code is ErrorCode.UNSUPPORTED


def test_an_embedded_picture_is_drawn(read: Read) -> None:
    image = stream(
        bytes([0, 0, 255] * 4),
        b"/Type /XObject /Subtype /Image /Width 2 /Height 2 /ColorSpace /DeviceRGB /BitsPerComponent 8",
    )
    rendered = read(pdf([b"595 0 0 842 0 0 cm /I Do"], objects=[image], resources=b"/XObject << /I 10 0 R >>"))
    assert picture_of(rendered, "medium").getpixel((200, 300)) == pytest.approx((0, 0, 254), abs=3)


@pytest.mark.parametrize(
    ("drawn", "typed"),
    [
        ("o\ufb03ce \ufb01ne", "office fine"),
        ("exam\x02\r\nple", "example"),
        ("exam\ufffeple", "example"),
        ("co\u00adoperate", "cooperate"),
        ("\ufefb \ufee3\ufeae\ufea3\ufe92\ufe8e", "\u0644\u0627 \u0645\u0631\u062d\u0628\u0627"),
        ("2\u00b2 \u2026 well-known", "2\u00b2 \u2026 well-known"),
    ],
)
def test_letters_as_they_are_drawn_become_letters_as_they_are_typed(drawn: str, typed: str) -> None:
    assert as_typed(drawn) == typed
