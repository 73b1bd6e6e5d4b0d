"""H31, H32: what a film, a sound or a document says of its owner stays out of its renditions; formulas are text."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import contentplatform
import document_files
import hostile_clips
import sample_clips
from contentplatform.processing.jobs.tags import descriptive, sorted_tags
from contentplatform.processing.local import LocalMediaProcessor

PLACE = "+52.5200+013.4050/"
SERIAL = "SN-4711-0815"
OWNER = "owner@example.org"


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor()
    yield shared
    shared.close()


def tagged(name: str, source: Path, *more: str, **tags: str) -> Path:
    """``source`` with these tags, nothing encoded anew."""
    path = sample_clips.folder() / name
    words = [part for key, value in tags.items() for part in ("-metadata", f"{key}={value}")]
    sample_clips.ffmpeg("-i", str(source), "-c", "copy", *words, *more, str(path))
    return path


SECRETS = {"location": PLACE, "com.apple.quicktime.location.ISO6709": PLACE, "owner_name": OWNER}
SECRETS |= {"serial_number": SERIAL, "purchase_account": OWNER, "comment": f"write to {OWNER}", "title": "A title"}


def of_mp3() -> Path:
    """With GEOB, PRIV and TXXX frames, as FFmpeg would not write them."""
    frames = b""
    for name, content in (
        (b"GEOB", b"\0application/x\0\0secret\0" + SERIAL.encode()),
        (b"PRIV", b"org.example\0" + OWNER.encode()),
        (b"TXXX", b"\3serial number\0" + SERIAL.encode()),
        (b"TXXX", b"\3place\0" + PLACE.encode()),
        (b"COMM", b"\3eng\0" + OWNER.encode()),
        (b"TIT2", b"\3A title\0<b>\x1b[2J"),
    ):
        frames += name + bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"\0\0" + content
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path = sample_clips.folder() / "private_words.mp3"
    path.write_bytes(b"ID3\x04\0\0" + size + frames + sample_clips.sound("mp3").read_bytes())
    return path


def of_flac() -> Path:
    words = [f"{key}={value}".encode() for key, value in SECRETS.items()]
    body = (4).to_bytes(4, "little") + b"test" + len(words).to_bytes(4, "little")
    body += b"".join(len(word).to_bytes(4, "little") + word for word in words)
    path = sample_clips.folder() / "private_words.flac"
    path.write_bytes(hostile_clips.flac_with(4, body))
    return path


@pytest.mark.parametrize("make", [of_mp3, of_flac])
def test_h32_a_sound_s_renditions_say_nothing_of_its_owner(
    processor: LocalMediaProcessor, tmp_path: Path, make: object
) -> None:
    assert callable(make)
    made = processor.process_audio(make(), tmp_path)
    content = b"".join(file.path.read_bytes() for file in made.files)
    assert b"A title" in content, "what is public is carried over"
    public = {name: value for name, value in made.metadata.items() if name != "private"}
    for secret in (PLACE, SERIAL, OWNER):
        assert secret.encode() not in content
        assert secret not in json.dumps([public, dict(made.descriptive)])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("private_words.mov", ("-movflags", "use_metadata_tags")),
        ("private_words.mp4", ()),
        ("private_words.mkv", ()),
    ],
)
def test_h32_a_film_s_owner_is_set_apart(
    processor: LocalMediaProcessor, tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    """Its rungs are encoded without any of its tags; what remains are the facts."""
    facts = processor.probe(tagged(name, sample_clips.film(), *more, **SECRETS), tmp_path)
    shown = sorted_tags([facts.tags]).public  # as the record has it
    assert shown["title"] == "A title"
    for secret in (PLACE, SERIAL, OWNER):
        assert secret not in json.dumps([shown, descriptive(shown)])
    assert PLACE in facts.private.values()


def test_h32_a_document_s_words_are_clean(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    title = b"/Title (<script>alert\\(1\\)</script>\\000hidden\x1b[2J) /Author (\xff\xfe\x80)"
    source = tmp_path / "source"
    source.write_bytes(document_files.pdf(info=title))
    (tmp_path / "out").mkdir()
    made = processor.process_document(source, tmp_path / "out", content_type=document_files.PDF)
    assert made.descriptive["title"] == "<script>alert(1)</script>"
    said = json.dumps([dict(made.metadata), dict(made.descriptive)], ensure_ascii=False)
    assert "hidden" not in said
    assert "\\u001b" not in said
    assert b"<script>" not in b"".join(file.path.read_bytes() for file in made.files)


def test_h31_nothing_of_ours_writes_tables() -> None:
    """Exports are JSON, a line a record, where a formula is text: so there is nobody who would have to escape one."""
    for path in Path(contentplatform.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "csv":
                assert node.attr in {"reader", "Error", "field_size_limit"}, f"{path}: csv.{node.attr}"


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "\t=1"])
def test_h31_a_formula_in_a_sheet_is_the_text_that_it_is(
    processor: LocalMediaProcessor, tmp_path: Path, formula: str
) -> None:
    source = tmp_path / "source"
    row = '<row><c t="s"><v>0</v></c><c><f>1+1</f><v>2</v></c></row>'
    source.write_bytes(document_files.zipped(document_files.xlsx_parts(row, [formula])))
    (tmp_path / "out").mkdir()
    made = processor.process_document(source, tmp_path / "out", content_type=document_files.XLSX)
    files = {file.name: file for file in made.files}
    assert files["text"].content_type == "text/plain; charset=utf-8"
    assert files["text"].path.read_text("utf-8").split("\n")[0].strip() == f"{formula.strip()}\t2"
