"""Films and sounds made to hurt: each ends in facts or in words, quickly, and the next one is probed as ever."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hostile_clips
import sample_clips
import sample_media
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.media import MediaKind
from contentplatform.processing.jobs.demux import open_container
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import MediaFacts
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.probe import kind_of, sniff

LIMITS = JobLimits(wall_seconds=300, cpu_seconds=30, resident_bytes=512 << 20)
"""What an attack may cost at most; a job that needs more is killed, and the test sees another code."""
HONEST = frozenset({ErrorCode.DECODE, ErrorCode.LIMIT, ErrorCode.UNSUPPORTED, None})
"""How a broken file may end: never as a crash, a fault of ours, or a time limit."""


@dataclass
class Attack:
    """Probes one file after the other."""

    processor: LocalMediaProcessor
    folder: Path
    told: list[str] = field(default_factory=list)

    def run(self, source: bytes | Path) -> MediaFacts:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        if isinstance(source, bytes):
            path = self.folder / "film.mp4"
            path.write_bytes(source)
            source = path
        facts = self.processor.probe(source, scratch)
        self.told.append(str(facts))
        return facts

    def failure(self, source: bytes | Path) -> ProcessingFailed:
        with pytest.raises(ProcessingFailed) as caught:
            self.run(source)
        assert "of memory" not in caught.value.why, "the fence is for what nobody thought of"
        return caught.value

    def outcome(self, source: bytes | Path) -> ErrorCode | None:
        try:
            self.run(source)
        except ProcessingFailed as error:
            return error.code
        return None


@dataclass
class Canaries:
    """A file and a listener that nobody may touch."""

    path: Path
    listener: socket.socket

    SECRET = "canary-7b1f"

    @property
    def file_url(self) -> str:
        return self.path.as_uri()

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def assert_untouched(self) -> None:
        called, _, _ = select.select([self.listener], [], [], 0)
        assert not called, "somebody connected"
        assert self.path.stat().st_atime_ns == 0, "somebody read it"


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(job_limits=LIMITS)
    yield shared
    shared.close()


@pytest.fixture
def attack(processor: LocalMediaProcessor, tmp_path: Path) -> Iterator[Attack]:
    attack = Attack(processor, tmp_path)
    yield attack
    assert attack.run(sample_clips.film()).duration_seconds == 2.0, "the next film goes through"


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    path = tmp_path / "canary.txt"
    path.write_text(Canaries.SECRET)
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Canaries(path, listener)


def test_canaries_notice(canaries: Canaries) -> None:
    """So that the tests below can fail."""
    canaries.assert_untouched()
    canaries.path.read_text()
    with pytest.raises(AssertionError, match="read it"):
        canaries.assert_untouched()
    with (
        socket.create_connection(canaries.listener.getsockname()),
        pytest.raises(AssertionError, match="somebody connected"),
    ):
        canaries.assert_untouched()


# -- references to elsewhere -----------------------------------------------------------------------------------------

PLAYLISTS = sorted(hostile_clips.playlists("", ""))


@pytest.mark.parametrize("name", PLAYLISTS)
def test_h20_a_playlist_called_mp4_is_refused(attack: Attack, canaries: Canaries, name: str) -> None:
    error = attack.failure(hostile_clips.playlists(canaries.file_url, canaries.web_url)[name])
    assert error.code in {ErrorCode.UNSUPPORTED, ErrorCode.DECODE}
    canaries.assert_untouched()


@pytest.mark.parametrize("name", PLAYLISTS)
def test_h20_it_is_not_only_the_fence_that_refuses_it(tmp_path: Path, canaries: Canaries, name: str) -> None:
    """The same in this very process, which may open files and connections."""
    path = tmp_path / "film.mp4"
    path.write_bytes(hostile_clips.playlists(canaries.file_url, canaries.web_url)[name])
    with path.open("rb") as stream, pytest.raises(ProcessingFailed):
        open_container(stream.fileno(), VideoLimits(), doing="testing")
    canaries.assert_untouched()


def test_h19_a_playlist_in_an_avis_subtitles_is_not_followed(attack: Attack, canaries: Canaries) -> None:
    screen = hostile_clips.xbin(80, 25)
    for line in (canaries.file_url, f"{canaries.web_url}/a.ts", f"concat:{canaries.web_url}/|{canaries.file_url}"):
        for start in (b"", screen):
            playlist = start + f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n{line}\n#EXT-X-ENDLIST\n".encode()
            attack.outcome(hostile_clips.playlist_in_subtitles(playlist))
            path = attack.folder / "film.mp4"
            with path.open("rb") as stream, open_container(stream.fileno(), VideoLimits(), doing="testing") as opened:
                read = b"".join(bytes(packet) for packet in opened.demux())
            assert Canaries.SECRET.encode() not in read
    assert attack.told
    assert Canaries.SECRET not in "".join(attack.told)
    canaries.assert_untouched()


def test_h20_samples_in_another_file_are_not_fetched(attack: Attack, canaries: Canaries) -> None:
    assert attack.outcome(hostile_clips.outside_reference()) in HONEST
    canaries.assert_untouched()


# -- indexes that lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (hostile_clips.endless_samples, ErrorCode.DECODE),
        (hostile_clips.long_table, ErrorCode.DECODE),
        (hostile_clips.endless_fragment, ErrorCode.DECODE),
        (hostile_clips.nested_boxes, ErrorCode.DECODE),
        (hostile_clips.stts_bomb, ErrorCode.LIMIT),
    ],
)
def test_h21_an_index_that_promises_too_much_is_refused(
    attack: Attack, make: Callable[[], bytes], code: ErrorCode
) -> None:
    assert attack.failure(make()).code is code


@pytest.mark.parametrize("make", [hostile_clips.endless_edits, hostile_clips.looping_edits])
def test_h21_edits_without_end_do_no_harm(attack: Attack, make: Callable[[], bytes]) -> None:
    content = make()
    assert attack.outcome(content) in HONEST


def test_h21_words_for_a_lying_index(attack: Attack) -> None:
    error = attack.failure(hostile_clips.endless_samples())
    assert error.why == "its index promises 4294967280 samples, which the file can't hold"


# -- pictures, rates and lengths over the limits ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (hostile_clips.big_picture, "its pictures have 8192 x 8192 pixels; at most 35.7 million, 16384 a side,"),
        (lambda: hostile_clips.huge_jpegs(16_384, 16_384), "its pictures have 16384 x 16384 pixels;"),
        (lambda: hostile_clips.huge_jpegs(1, 65_535), "its pictures have 1 x 65535 pixels;"),
        (hostile_clips.fast_film, "it has 10000 pictures a second; at most 300 are processed"),
        (hostile_clips.endless_film, "it lasts 93 hours; at most 24 are processed"),
    ],
    ids=["8K square that says 320x180", "16K square", "a line", "10 000 a second", "four days"],
)
def test_h22_too_much_is_refused_before_it_is_decoded(
    attack: Attack, make: Callable[[], bytes | Path], why: str
) -> None:
    error = attack.failure(make())
    assert error.code is ErrorCode.LIMIT
    assert error.why.startswith(why)


def test_h22_a_length_of_a_thousand_million_seconds_is_measured_where_it_can_be(attack: Attack) -> None:
    """Matroska's header says what it likes; its packets end after two seconds."""
    content = sample_clips.odd_sized().read_bytes()
    # Duration, a double, in milliseconds.
    lying = hostile_clips.patched(content, b"\x44\x89\x88", 0, struct.pack(">d", 1e12))
    facts = attack.run(lying)
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.02)
    assert facts.duration_is_exact


@pytest.mark.parametrize(("count", "told"), [(100, "100"), (1_000, "at least 256")])
def test_h23_too_many_streams_are_refused(attack: Attack, count: int, told: str) -> None:
    error = attack.failure(hostile_clips.many_streams(count))
    assert error.code is ErrorCode.LIMIT
    assert error.why == f"it has {told} streams; at most 64 are processed"


def test_h23_fonts_are_dropped(attack: Attack) -> None:
    facts = attack.run(hostile_clips.many_fonts(100))
    assert (len(facts.video), len(facts.audio), facts.other_streams) == (1, 1, 100)


def test_h23_a_cover_of_a_hundred_megabytes_is_dropped(attack: Attack, tmp_path: Path) -> None:
    facts = attack.run(hostile_clips.huge_cover_m4a(tmp_path / "cover.m4a", 100 << 20))
    assert (facts.has_cover, facts.duration_seconds, kind_of(facts)) == (False, 2.0, MediaKind.AUDIO)


def test_h24_rare_codecs_are_refused_by_name(attack: Attack) -> None:
    error = attack.failure(sample_clips.magic_yuv())
    assert error.code is ErrorCode.UNSUPPORTED
    assert "MagicYUV" in error.public


def test_h24_a_decoder_that_is_not_on_the_list_never_runs() -> None:
    """Not even to find out what the headers don't tell: FFmpeg knows no format of its pictures."""
    path = sample_clips.magic_yuv()
    with path.open("rb") as stream, open_container(stream.fileno(), VideoLimits(), doing="testing") as opened:
        assert opened.streams.video[0].codec_context.pix_fmt is None
        assert not opened.streams.video[0].codec_context.is_open


# -- next to nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\0", b"\x1a", b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"fLaC", b"ID3"])
def test_h26_next_to_nothing_is_refused(attack: Attack, content: bytes) -> None:
    assert attack.outcome(content) in {ErrorCode.DECODE, ErrorCode.UNSUPPORTED}


def test_h26_nothing_is_a_generic_file_to_the_server() -> None:
    assert sniff(b"", 0).kind is MediaKind.GENERIC


def test_h26_five_terabytes_are_only_said(attack: Attack) -> None:
    error = attack.failure(
        hostile_clips.box(b"ftyp", b"isom", bytes(4)) + struct.pack(">I4sQ", 1, b"mdat", 5 << 40) + b"xx"
    )
    assert error.code is ErrorCode.DECODE
    assert error.why.startswith("it is incomplete: 5497558138862 bytes are missing at its end")


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (lambda: hostile_clips.box(b"ftyp", b"isom", bytes(4)), ErrorCode.DECODE),
        (lambda: b"\x1a\x45\xdf\xa3\x80", ErrorCode.LIMIT),
        (lambda: sample_clips.sound("mp3").read_bytes(), ErrorCode.LIMIT),
        (lambda: sample_clips.transport_stream().read_bytes(), None),
        (lambda: sample_clips.avi().read_bytes(), None),
    ],
    ids=["mp4", "mkv", "mp3", "ts", "avi"],
)
def test_h26_a_hole_of_gigabytes_is_not_read_through(
    attack: Attack, tmp_path: Path, start: Callable[[], bytes], code: ErrorCode | None
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.write(start())
        stream.truncate(6 << 30)
    assert attack.outcome(path) is code


# -- sounds that lie -------------------------------------------------------------------------------------------------


def test_h27_a_tag_of_256_mb_is_skipped(attack: Attack, tmp_path: Path) -> None:
    facts = attack.run(hostile_clips.tagged_mp3(tmp_path / "a.mp3", 255 << 20, is_there=True))
    assert (facts.duration_seconds, facts.has_cover, facts.tags) == (2.0, False, {})


def test_h27_a_tag_that_is_not_there_is_refused(attack: Attack, tmp_path: Path) -> None:
    error = attack.failure(hostile_clips.tagged_mp3(tmp_path / "a.mp3", 255 << 20, is_there=False))
    assert (error.code, error.why) == (ErrorCode.DECODE, "its tag is said to be longer than the whole file")


@pytest.mark.parametrize(
    "block",
    [
        (4, struct.pack("<I", 0x7FFF_FFFF) + b"x" * 8),
        (4, struct.pack("<I", 4) + b"abcd" + struct.pack("<I", 0x7FFF_FFFF)),
        (6, struct.pack(">II", 3, 10) + b"image/jpeg" + struct.pack(">IIIIII", 0, 10, 10, 24, 0, 0x7FFF_FFFF) + b"xx"),
        (3, b"\xff" * 18 * 50),
    ],
    ids=["vendor", "number of comments", "picture", "seek points"],
)
def test_h27_flac_metadata_that_promises_two_gigabytes(attack: Attack, block: tuple[int, bytes]) -> None:
    facts = attack.run(hostile_clips.flac_with(*block))
    assert (facts.duration_seconds, facts.has_cover) == (2.0, False)


def test_h27_a_flac_that_is_all_metadata_is_refused(attack: Attack) -> None:
    assert attack.failure(hostile_clips.flac_with(1, b"", 0xFF_FFFF)).code is ErrorCode.DECODE


def test_h27_a_wav_without_a_length_is_measured(attack: Attack) -> None:
    facts = attack.run(hostile_clips.endless_wav())
    assert (facts.duration_seconds, facts.duration_is_exact) == (2.0, True)


# -- broken at random ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        sample_clips.film,
        sample_clips.three_subtitles_mkv,
        sample_clips.avi,
        sample_clips.transport_stream,
        sample_clips.program_stream,
        sample_clips.wmv,
        sample_clips.flv,
        sample_clips.ogv,
        sample_clips.mxf,
        lambda: sample_clips.with_cover("mp3"),
        lambda: sample_clips.with_cover("flac"),
        lambda: sample_clips.with_cover("m4a"),
        lambda: sample_clips.sound("wav"),
        lambda: sample_clips.sound("caf"),
    ],
    ids=["mp4", "mkv", "avi", "ts", "mpg", "wmv", "flv", "ogv", "mxf", "mp3", "flac", "m4a", "wav", "caf"],
)
def test_broken_headers_never_crash(attack: Attack, make: Callable[[], Path]) -> None:
    content = make().read_bytes()
    outcomes = {seed: attack.outcome(hostile_clips.mutated(content, seed)) for seed in range(12)}
    assert {seed: code for seed, code in outcomes.items() if code not in HONEST} == {}


def test_words_out_of_a_file_are_clean(attack: Attack) -> None:
    """What a title may do to a terminal, to a log, or to who reads it."""
    title = "evil\u202etxt.exe\x1b[2J\x07"
    path = sample_clips.folder() / "evil.mkv"
    maps = ("-c", "copy", "-metadata", f"title={title}", "-metadata:s:a:0", f"title={title}")
    sample_clips.ffmpeg("-i", str(sample_clips.film()), *maps, str(path))
    facts = attack.run(path)
    assert (facts.tags["title"], facts.audio[0].title) == ("eviltxt.exe[2J", "eviltxt.exe[2J")


def test_a_picture_is_no_film(attack: Attack) -> None:
    error = attack.failure(sample_media.encoded(sample_media.quarters(64, 48), "JPEG"))
    assert error.code is ErrorCode.UNSUPPORTED
    assert error.why == "image/jpeg is no film or sound that can be opened here"
