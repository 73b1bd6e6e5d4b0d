"""Every kind of file broken at random, the same way each time, and every job on every kind of file within the fence.

None of it is a fault of the platform, a crash of what asked for it, or longer than it may be.
"""

from __future__ import annotations

import functools
import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pytest

import document_files
import encoded_films
import hostile_clips
import raw_files
import sample_clips
import sample_media
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.presets import AUDIO_PRESETS, DocumentLimits, ImageLimits, VideoLimits

LIMITS: Final = JobLimits(wall_seconds=300, cpu_seconds=60, resident_bytes=1 << 30)
HONEST: Final = frozenset({ErrorCode.DECODE, ErrorCode.LIMIT, ErrorCode.UNSUPPORTED, None})
"""How a file may end: never as a crash, a fault of ours, or a time limit."""
Work = Callable[[LocalMediaProcessor, Path, Path], object]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=LIMITS)
    yield shared
    shared.close()


def broken(content: bytes, seed: int) -> bytes:
    """``content`` with bits flipped, and bytes cut out, doubled, or replaced."""
    dice, copy = random.Random(seed), bytearray(content)
    for _ in range(dice.choice([1, 2, 5, 20])):
        place = dice.randrange(len(copy))
        count = min(dice.choice([1, 2, 4, 16, 300]), len(copy) - place)
        match dice.randrange(5):
            case 0:
                copy[place] ^= 1 << dice.randrange(8)
            case 1:
                del copy[place : place + count]
            case 2:
                copy[place:place] = copy[place : place + count]
            case 3:
                copy[place : place + count] = dice.choice([b"\0", b"\xff", b"\x7f"]) * count
            case _:
                copy[place : place + count] = dice.randbytes(count)
        copy = copy or bytearray(b"\0")
    return bytes(copy)


# -- the jobs --------------------------------------------------------------------------------------------------------


def probe(processor: LocalMediaProcessor, source: Path, scratch: Path) -> object:
    return processor.probe(source, scratch)


def hear(processor: LocalMediaProcessor, source: Path, scratch: Path) -> object:
    return processor.process_audio(source, scratch)


def look(processor: LocalMediaProcessor, source: Path, scratch: Path) -> object:
    return processor.process_image(source, scratch)


def finish(processor: LocalMediaProcessor, source: Path, scratch: Path) -> object:
    """The original is what is broken: captions come out of it."""
    return replace(encoded_films.with_captions(), source=source).finished(processor, scratch / "out")


def finish_rung(processor: LocalMediaProcessor, source: Path, scratch: Path) -> object:
    film = encoded_films.silent()
    return replace(film, rungs=dict.fromkeys(film.rungs, source)).finished(processor, scratch / "out")


def read_as(content_type: str) -> Work:
    return lambda processor, source, scratch: processor.process_document(source, scratch, content_type=content_type)


def office(content_type: str, body: str) -> bytes:
    parts = document_files.open_document_parts(content_type, body)
    return document_files.zipped(parts, stored=("mimetype",))


@functools.cache
def preview() -> bytes:
    picture = sample_media.encoded(sample_media.photo(800, 600), "JPEG")
    return raw_files.dng(preview=picture, preview_size=(800, 600))


KINDS: Final[Mapping[str, tuple[Callable[[], bytes], Work]]] = {
    "film": (lambda: sample_clips.film().read_bytes(), probe),
    "film with subtitles": (lambda: sample_clips.three_subtitles_mkv().read_bytes(), probe),
    "captions": (lambda: sample_clips.three_subtitles_mkv().read_bytes(), finish),
    "rung": (lambda: next(iter(encoded_films.silent().rungs.values())).read_bytes(), finish_rung),
    "mp3": (lambda: sample_clips.with_cover("mp3").read_bytes(), hear),
    "flac": (lambda: sample_clips.with_cover("flac").read_bytes(), hear),
    "m4a": (lambda: sample_clips.with_cover("m4a").read_bytes(), hear),
    "wav": (lambda: sample_clips.sound("wav").read_bytes(), hear),
    "pdf": (lambda: document_files.pdf(info=b"/Title <FEFFD83DDE00>"), read_as(document_files.PDF)),
    "docx": (lambda: document_files.zipped(document_files.docx_parts()), read_as(document_files.DOCX)),
    "xlsx": (
        lambda: document_files.zipped(document_files.xlsx_parts('<row><c t="s"><v>0</v></c></row>', ["words"])),
        read_as(document_files.XLSX),
    ),
    "odt": (lambda: office(document_files.ODT, "<text:p>words</text:p>"), read_as(document_files.ODT)),
    "html": (lambda: b"<html><title>x</title><p>&amp;&#38;<table><tr><td>1</table>" * 10, read_as("text/html")),
    "csv": (lambda: b'a,b,"c\nd"\n1,2,3\n' * 10, read_as("text/csv")),
    "dng": (preview, look),
    "jpeg": (lambda: sample_media.telling_jpeg(sample_media.photo(160, 120)), look),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [6, pytest.param(400, marks=pytest.mark.soak)])
def test_a_file_that_is_broken_at_random_ends_in_order(
    processor: LocalMediaProcessor, tmp_path: Path, kind: str, count: int
) -> None:
    make, work = KINDS[kind]
    whole = make()
    dishonest = {}
    for seed in range(count):
        code = outcome(processor, work, broken(whole, seed), tmp_path)
        if code not in HONEST:
            dishonest[seed] = code
    assert dishonest == {}
    assert outcome(processor, work, whole, tmp_path) is None, "the whole file goes through, and so it did before"


def outcome(processor: LocalMediaProcessor, work: Work, content: bytes | Path, folder: Path) -> ErrorCode | None:
    """The code of the failure, None where there was none."""
    source, scratch = folder / "source", folder / "scratch"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        source = content
    scratch.mkdir()
    try:
        work(processor, source, scratch)
    except ProcessingFailed as error:
        return error.code
    finally:
        shutil.rmtree(scratch)
    return None


# -- what a job finds out too late -----------------------------------------------------------------------------------

CLIPS: Final = (
    *("film", "odd_sized", "variable_frame_rate", "hdr10", "hlg", "surround", "mono", "anamorphic", "interlaced"),
    *("see_through", "prores_alpha", "three_subtitles_mkv", "three_subtitles_mp4", "chapters", "avi", "wmv", "flv"),
    *("program_stream", "transport_stream", "ogv", "mxf", "dv", "three_gpp", "magic_yuv", "silent"),
)
SOUNDS: Final = ("wav", "mp3", "flac", "m4a", "opus", "ogg", "aiff", "caf", "w64", "ac3", "eac3", "aac", "mka", "wma")


@pytest.mark.parametrize("name", CLIPS)
def test_every_job_on_every_film_has_all_that_it_needs_in_the_fence(
    processor: LocalMediaProcessor, tmp_path: Path, name: str
) -> None:
    path = getattr(sample_clips, name)()
    for work in (probe, hear):
        assert outcome(processor, work, path, tmp_path) in HONEST


@pytest.mark.parametrize("extension", SOUNDS)
def test_every_job_on_every_sound_has_all_that_it_needs_in_the_fence(
    processor: LocalMediaProcessor, tmp_path: Path, extension: str
) -> None:
    path = sample_clips.sound(extension)
    for work in (probe, hear):
        assert outcome(processor, work, path, tmp_path) is None


@pytest.mark.parametrize("mime", [b"image/jpeg", b"image/png"])
def test_covers_of_any_kind_fail_no_sound(processor: LocalMediaProcessor, tmp_path: Path, mime: bytes) -> None:
    picture = sample_media.photo(60, 40)
    covers = [sample_media.encoded(picture, name) for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF", "BMP")]
    covers += [b"", b"<svg/>", raw_files.dng(64, 48), sample_media.encoded(picture.convert("CMYK"), "JPEG")]
    for cover in covers:
        kind = struct.pack(">II", 3, len(mime)) + mime
        block = kind + struct.pack(">IIIIIII", 0, 60, 40, 24, 0, len(cover), 0)[:24] + cover
        assert outcome(processor, hear, hostile_clips.flac_with(6, block), tmp_path) is None


SOUND: Final = {"encodings": [preset.name for preset in AUDIO_PRESETS], "rest": True}
LATE: Final = """
import fcntl, json, os, sys
from pathlib import Path
from contentplatform.errors import ProcessingFailed
orders = json.loads(sys.stdin.read())
entry = {"media": "contentplatform.processing.jobs.media:run",
         "document": "contentplatform.processing.jobs.document:render",
         "image": "contentplatform.processing.image:render"}[orders[0]["zygote"]]
module, _, name = entry.partition(":")
job = getattr(__import__(module, fromlist=[name]), name)
try:
    raise RuntimeError
except RuntimeError:
    import traceback
    traceback.format_exc()
before = set(sys.modules)
for number, order in enumerate(orders):
    folder = Path(order["folder"]) / f"{order['zygote']}-{number}"
    folder.mkdir()
    os.chdir(folder)
    source, *others = (fcntl.fcntl(os.open(path, os.O_RDONLY), fcntl.F_DUPFD, 64) for path in order["sources"])
    for place, other in enumerate(others, 5):
        os.dup2(other, place)
    try:
        job(order["request"], source)
        print("done", order["request"].get("job"))
    except ProcessingFailed:
        traceback.format_exc()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def orders(*, more: bool) -> Iterator[dict[str, object]]:
    """Every sort of job on what takes it the furthest; with ``more``, each of them on everything."""
    media, documents, images = asdict(VideoLimits()), asdict(DocumentLimits()), asdict(ImageLimits())
    folder = sample_clips.folder()
    clips = [getattr(sample_clips, name)() for name in CLIPS]
    clips += [sample_clips.sound(extension) for extension in SOUNDS]
    clips += [sample_clips.with_cover(extension) for extension in ("mp3", "flac", "m4a")]
    for place, path in enumerate(clips):
        yield {"zygote": "media", "sources": [str(path)], "request": {"job": "probe", "limits": media}}
        # One way or the other; that a film has pictures is nothing to who listens, so a few of them do.
        once = (place % 2 == 0,) if place >= len(CLIPS) or place % 8 == 0 else ()
        for normalise in (False, True) if more else once:
            audio = {"job": "audio", "limits": media, "normalise": normalise, **SOUND}
            yield {"zygote": "media", "sources": [str(path)], "request": audio}
    film = encoded_films.with_captions()
    finish = {"job": "finish", "limits": media, "facts": film.facts.to_json()}
    yield {
        "zygote": "media",
        "sources": [str(film.source), *map(str, film.rungs.values())],
        "request": {**finish, "rungs": list(film.rungs), "names": dict(film.names)},
    }
    texts = {"application/pdf": "pdf", document_files.DOCX: "docx", document_files.XLSX: "xlsx"}
    texts |= {document_files.ODT: "odt", "text/html": "html", "text/csv": "csv"}
    for content_type, kind in texts.items():
        for seed in (None, 1, 2):
            path = folder / f"late-{kind}-{seed}"
            whole = KINDS[kind][0]()
            path.write_bytes(whole if seed is None else broken(whole, seed))
            yield {
                "zygote": "document",
                "sources": [str(path)],
                "request": {"content_type": content_type, "limits": documents},
            }
    pictures = {f"image/{name.lower()}": name for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF")}
    for content_type, name in pictures.items():
        path = folder / f"late-{name}"
        path.write_bytes(sample_media.encoded(sample_media.photo(160, 120), name))
        yield {"zygote": "image", "sources": [str(path)], "request": {"content_type": content_type, "limits": images}}


@pytest.mark.parametrize(
    ("zygote", "more"),
    [("media", False), pytest.param("media", True, marks=pytest.mark.soak), ("document", False), ("image", False)],
)
def test_nothing_is_imported_once_the_fence_would_stand(tmp_path: Path, zygote: str, more: bool) -> None:  # noqa: FBT001 - a table
    """The same jobs without a fence, in a process that tells which modules came late."""
    given = [{**order, "folder": str(tmp_path)} for order in orders(more=more) if order["zygote"] == zygote]
    ended = subprocess.run(
        [sys.executable, "-c", LATE],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=1_800,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    *done, late = ended.stdout.splitlines()
    assert json.loads(late) == []
    assert {line.partition(" ")[2] for line in done} >= (
        {"probe", "audio", "finish"} if zygote == "media" else {"None"}
    )
