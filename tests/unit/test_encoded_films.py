"""What becomes of real films, encoded behind the sandbox's walls: sizes, colours, time, sound, and what is refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

import sample_clips
from contentplatform.clock import SystemClock
from contentplatform.errors import Cancelled, ErrorCode, ProcessingFailed
from contentplatform.processing.encoder import VideoEncoder
from contentplatform.processing.ladder import plan
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import MediaFacts, TranscodeRequest

PROGRAM = Path(imageio_ffmpeg.get_ffmpeg_exe())
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (40, 60, 220), (230, 210, 40)
QUARTERS = (RED, GREEN, BLUE, YELLOW)
FRAME_SECONDS = 1 / sample_clips.FRAME_RATE


class Onlooker:
    """Notes percents; cancels from one of them on."""

    def __init__(self, cancel_at: int = 101) -> None:
        self.percents: list[int] = []
        self._cancel_at = cancel_at

    def note(self, percent: int) -> None:
        self.percents.append(percent)

    def is_cancelled(self) -> bool:
        return bool(self.percents) and self.percents[-1] >= self._cancel_at


@dataclass
class Studio:
    """Probes and encodes as the product does."""

    processor: LocalMediaProcessor
    encoder: VideoEncoder
    folder: Path
    count: int = 0

    def scratch(self) -> Path:
        self.count += 1
        path = self.folder / str(self.count)
        path.mkdir()
        return path

    def facts(self, source: Path) -> MediaFacts:
        return self.processor.probe(source, self.scratch())

    def encode(self, source: Path, *, facts: MediaFacts | None = None, onlooker: Onlooker | None = None) -> Encoded:
        facts = facts or self.facts(source)
        request = TranscodeRequest("t", "f", "v", "k", facts, plan(facts, str))
        made = self.encoder.encode(request, source, self.scratch(), onlooker or Onlooker())
        return Encoded({name: Film(path) for name, path in made.files.items()}, made.damage)


@dataclass
class Encoded:
    """All rungs of a film."""

    rungs: dict[str, Film]
    damage: str = ""

    @property
    def only(self) -> Film:
        """The one rung of a small film."""
        [film] = self.rungs.values()
        return film


class Film:
    """A rung, looked into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            context = video.codec_context
            self.tags = dict(container.metadata)
            self.kinds = [stream.type for stream in container.streams]
            self.size = (context.width, context.height)
            self.pixel_format = context.pix_fmt
            self.codec = (context.name, context.profile)
            self.colour = (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
            self.square = video.sample_aspect_ratio
            self.rate = video.average_rate
            self.video_seconds = float((video.duration or 0) * (video.time_base or 0))
            frames = list(container.decode(video))
            self.frame_seconds = [float(frame.time or 0) for frame in frames]
            self.key_seconds = [float(frame.time or 0) for frame in frames if frame.key_frame]
            self.picture = frames[len(frames) // 2].to_ndarray(format="rgb24")
        self.sound = np.zeros((2, 0), np.float32)
        self.sound_is = ("", 0, "")
        if "audio" in self.kinds:
            with av.open(str(path)) as container:
                audio = container.streams.audio[0]
                self.sound_is = (
                    audio.codec_context.name,
                    audio.codec_context.sample_rate,
                    audio.codec_context.layout.name,
                )
                self.sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)

    def quarters(self) -> list[tuple[int, ...]]:
        """The mean colour of each quarter's middle, from the top left to the bottom right."""
        height, width = self.picture.shape[:2]
        boxes = [(y * height // 2, x * width // 2) for y in (0, 1) for x in (0, 1)]
        middles = [
            self.picture[top + height // 8 : top + 3 * height // 8, left + width // 8 : left + 3 * width // 8]
            for top, left in boxes
        ]
        return [tuple(int(value) for value in middle.mean(axis=(0, 1))) for middle in middles]

    def begins_to_sound_at(self) -> float:
        """Seconds until the first sample that is louder than -40 dBFS."""
        return float(np.argmax(np.abs(self.sound[0]) > 0.01)) / self.sound_is[1]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    processor, encoder = LocalMediaProcessor(), VideoEncoder(PROGRAM, SystemClock())
    yield Studio(processor, encoder, tmp_path_factory.mktemp("films"))
    encoder.close()
    processor.close()


def assert_upright(film: Film, tolerance: int = 14) -> None:
    for found, wanted in zip(film.quarters(), QUARTERS, strict=True):
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tolerance, (film.quarters(), QUARTERS)


# -- the ordinary film -----------------------------------------------------------------------------------------------


def test_an_ordinary_film_becomes_what_every_player_knows(studio: Studio) -> None:
    onlooker = Onlooker()
    made = studio.encode(sample_clips.film(), onlooker=onlooker)
    film = made.only
    assert made.damage == ""
    assert film.codec == ("h264", "High")
    assert film.pixel_format == "yuv420p"
    assert film.colour == (1, 1, 1, 1), "limited range, and BT.709 throughout"
    assert film.square == 1
    assert film.size == (320, 180)
    assert film.rate == 25
    assert film.video_seconds == pytest.approx(2.0, abs=FRAME_SECONDS)
    assert film.sound_is == ("aac", 48_000, "stereo")
    assert film.sound.shape[1] / 48_000 == pytest.approx(2.0, abs=FRAME_SECONDS)
    assert film.kinds == ["video", "audio"]
    assert_upright(film)
    assert onlooker.percents == sorted(onlooker.percents)


def test_a_larger_film_has_two_rungs_with_the_same_key_frames(studio: Studio) -> None:
    source = sample_clips.folder() / "large.mp4"
    sample_clips.ffmpeg(
        *sample_clips.picture(960, 540, seconds=5.0),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
        str(source),
    )
    rungs = studio.encode(source).rungs
    assert {name: film.size for name, film in rungs.items()} == {"720p": (960, 540), "480p": (854, 480)}
    assert [film.key_seconds for film in rungs.values()] == [[0.0, 2.0, 4.0]] * 2
    assert rungs["720p"].frame_seconds == rungs["480p"].frame_seconds


def test_the_index_is_in_front_and_nothing_private_comes_along(studio: Studio) -> None:
    source = sample_clips.folder() / "private.mp4"
    sample_clips.ffmpeg(
        "-i", str(sample_clips.film()), *("-c", "copy", "-movflags", "use_metadata_tags"),
        *("-metadata", "location=+48.2082+016.3738/", "-metadata", "title=Secret title"),
        *("-metadata:s:v:0", "title=Secret track"), str(source),
    )  # fmt: skip
    film = studio.encode(source).only
    data = film.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert not [word for word in (b"48.2082", b"Secret", b"Lavf") if word in data]
    assert set(film.tags) <= {"major_brand", "minor_version", "compatible_brands"}


def test_the_same_film_gives_the_same_bytes(studio: Studio) -> None:
    first, second = (studio.encode(sample_clips.film()).only.path.read_bytes() for _ in range(2))
    assert first == second


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_film_is_turned_back_once(studio: Studio, degrees: int) -> None:
    source = sample_clips.turned(degrees)
    film = studio.encode(source).only
    assert film.size == ((320, 180) if degrees % 180 == 0 else (180, 320))
    assert_upright(film)
    assert studio.facts(film.path).video[0].rotation_degrees == 0


def test_a_telephone_s_portrait_stays_one(studio: Studio) -> None:
    film = studio.encode(sample_clips.portrait_phone()).only
    assert film.size == (180, 320)
    assert_upright(film)


def test_odd_sides_lose_a_line(studio: Studio) -> None:
    film = studio.encode(sample_clips.odd_sized()).only
    assert film.size == (160, 90)
    assert film.square == 1, "what evenness costs is no aspect ratio of its own"
    assert_upright(film)


def test_wide_pixels_become_square(studio: Studio) -> None:
    film = studio.encode(sample_clips.anamorphic()).only
    assert film.size == (320, 180)
    assert film.square == 1
    assert_upright(film)


def test_fields_become_frames(studio: Studio) -> None:
    film = studio.encode(sample_clips.interlaced()).only
    assert film.rate == 25
    assert_upright(film)


@pytest.mark.parametrize("make", [sample_clips.see_through, sample_clips.prores_alpha])
def test_what_is_half_transparent_lies_on_white(studio: Studio, make: object) -> None:
    assert callable(make)
    film = studio.encode(make()).only
    wanted = [tuple((value + 255) // 2 for value in colour) for colour in QUARTERS]
    for found, colour in zip(film.quarters(), wanted, strict=True):
        assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 14


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_a_film_of_high_range_looks_as_it_was_meant(studio: Studio, transfer: str) -> None:
    """Reference white of high range, 203 nits, and the colours of BT.709 below it, come out nearly as they went in."""
    source = sample_clips.folder() / f"{transfer}.mp4"
    into_range = (
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
        "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709,"
        "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020,"
        f"zscale=t={transfer}:m=bt2020nc:r=limited:npl=203,format=yuv420p10le"
    )
    tags = f"log-level=error:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:range=limited:max-cll=203,200"
    sample_clips.ffmpeg(
        *sample_clips.picture(seconds=0.4), *("-vf", into_range, "-c:v", "libx265", "-preset", "ultrafast"),
        *("-x265-params", tags, "-tag:v", "hvc1"), *("-color_primaries", "bt2020", "-color_trc", transfer),
        *("-colorspace", "bt2020nc", "-color_range", "tv", str(source)),
    )  # fmt: skip
    facts = studio.facts(source)
    assert facts.video[0].hdr
    film = studio.encode(source, facts=facts).only
    assert film.pixel_format == "yuv420p"
    assert film.colour == (1, 1, 1, 1)
    assert_upright(film, tolerance=45)
    # Taken for ordinary range, the picture would be grey: no colour reached its own brightness.
    flat = studio.encode(
        source, facts=replace(facts, video=(replace(facts.video[0], hdr="", color_primaries=""),))
    ).only
    spread = [max(max(colour) - min(colour) for colour in each.quarters()) for each in (film, flat)]
    assert spread[0] > spread[1] + 30


@pytest.mark.parametrize(("primaries", "matrix"), [("smpte432", "bt709"), ("bt2020", "bt2020nc")])
def test_a_film_of_a_wide_gamut_keeps_its_colours(studio: Studio, primaries: str, matrix: str) -> None:
    """Colours of BT.709, told in wider primaries, come out as they were; taken as they are coded, they would pale."""
    source = sample_clips.folder() / f"{primaries}.mp4"
    into_gamut = (
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,"
        "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709,"
        f"zscale=p={primaries}:t=bt709:m={matrix}:r=limited,format=yuv420p"
    )
    sample_clips.ffmpeg(
        *sample_clips.picture(seconds=0.4), *("-vf", into_gamut, "-c:v", "libx264", "-preset", "ultrafast"),
        *("-color_primaries", primaries, "-color_trc", "bt709", "-colorspace", matrix, "-color_range", "tv"),
        str(source),
    )  # fmt: skip
    facts = studio.facts(source)
    assert (facts.video[0].color_primaries, facts.video[0].hdr) == (primaries, "")
    film = studio.encode(source, facts=facts).only
    assert film.colour == (1, 1, 1, 1)
    assert_upright(film, tolerance=10)
    pale = studio.encode(source, facts=replace(facts, video=(replace(facts.video[0], color_primaries=""),))).only
    spread = [max(max(colour) - min(colour) for colour in each.quarters()) for each in (film, pale)]
    assert spread[0] > spread[1] + 10


# -- time and sound --------------------------------------------------------------------------------------------------


def test_a_varying_rate_becomes_constant_and_the_length_stays(studio: Studio) -> None:
    source = sample_clips.variable_frame_rate()
    facts = studio.facts(source)
    film = studio.encode(source, facts=facts).only
    assert facts.video[0].frame_rate_varies
    assert film.rate == 30
    gaps = {round(b - a, 4) for a, b in zip(film.frame_seconds, film.frame_seconds[1:], strict=False)}
    assert gaps == {round(1 / 30, 4)}
    assert film.video_seconds == pytest.approx(facts.video[0].duration_seconds, abs=1 / 30)


def test_a_fast_film_keeps_every_other_frame(studio: Studio) -> None:
    source = sample_clips.folder() / "fast.mp4"
    sample_clips.ffmpeg(
        *sample_clips.picture(rate=120, seconds=0.5), "-c:v", "libx264", "-preset", "ultrafast", str(source)
    )
    film = studio.encode(source).only
    assert film.rate == Fraction(60)
    assert film.video_seconds == pytest.approx(0.5, abs=1 / 60)


@pytest.mark.parametrize(("late", "expected"), [("video", 0.0), ("audio", 0.5)])
def test_a_track_that_begins_late_is_filled_up_so_that_both_keep_together(
    studio: Studio, late: str, expected: float
) -> None:
    source = sample_clips.folder() / f"late-{late}.mkv"
    clip = str(sample_clips.film())
    first, second = ("1:v", "0:a") if late == "audio" else ("0:v", "1:a")
    sample_clips.ffmpeg(
        *("-itsoffset", "0.5", "-i", clip, "-i", clip), *("-map", first, "-map", second, "-c", "copy", str(source))
    )
    film = studio.encode(source).only
    assert film.frame_seconds[0] == 0.0
    assert film.begins_to_sound_at() == pytest.approx(expected, abs=FRAME_SECONDS)
    assert film.video_seconds == pytest.approx(2.5 if late == "video" else 2.0, abs=FRAME_SECONDS)


def test_a_silent_film_has_no_sound(studio: Studio) -> None:
    assert studio.encode(sample_clips.silent()).only.kinds == ["video"]


def test_one_channel_is_as_loud_on_both_sides(studio: Studio) -> None:
    film = studio.encode(sample_clips.mono()).only
    assert film.sound_is == ("aac", 48_000, "stereo")
    left, right = (float(np.abs(side).max()) for side in film.sound[:, 9_600:-9_600])
    assert left == pytest.approx(0.1, rel=0.1)
    assert right == pytest.approx(left, rel=0.01)


def test_surround_is_mixed_down_and_never_clips(studio: Studio) -> None:
    film = studio.encode(sample_clips.surround()).only
    assert film.sound_is[2] == "stereo"
    # Front, 0.7 of the centre, 0.7 of the side; all six tones are one at 0.1.
    assert float(np.abs(film.sound[:, 9_600:-9_600]).max()) == pytest.approx(0.24, rel=0.1)
    source = sample_clips.folder() / "loud.mkv"
    wave = "|".join(["0.9*sin(2*PI*440*t)"] * 6)
    sample_clips.ffmpeg(
        *sample_clips.picture(seconds=1), *("-f", "lavfi", "-i", f"aevalsrc={wave}:c=5.1:d=1"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le", str(source)),
    )  # fmt: skip
    assert float(np.abs(studio.encode(source).only.sound).max()) <= 1.0


def test_channels_that_nobody_can_place_are_cut_to_two(studio: Studio) -> None:
    source, noise = sample_clips.folder() / "many.mkv", sample_clips.folder() / "noise.raw"
    noise.write_bytes(bytes(range(256)) * 3_000)
    sample_clips.ffmpeg(
        *sample_clips.picture(seconds=0.5), *("-f", "s16le", "-ar", "48000", "-ac", "16", "-i", str(noise)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le", "-t", "0.5", str(source)),
    )  # fmt: skip
    assert studio.encode(source).only.sound_is[2] == "stereo"


# -- what is refused -------------------------------------------------------------------------------------------------


def flipped(whole: Path, folder: Path, begin: float, end: float) -> Path:
    """A copy of a film, of which the bytes between two shares of its length are turned over."""
    data = bytearray(whole.read_bytes())
    first, beyond = int(begin * len(data)), int(end * len(data))
    data[first:beyond] = bytes(byte ^ 0x5A for byte in data[first:beyond])
    path = folder / f"damaged{whole.suffix}"
    path.write_bytes(data)
    return path


def long_film(suffix: str) -> Path:
    """Eight seconds with sound, a key frame each: so that a small damage is a small part of it."""
    path = sample_clips.folder() / f"eight{suffix}"
    if not path.exists():
        codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac")
        sample_clips.ffmpeg(*sample_clips.picture(seconds=8.0), *sample_clips.tone(seconds=8.0), *codecs, str(path))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_small_damage_in_the_middle_is_gone_over_and_told(studio: Studio, tmp_path: Path, suffix: str) -> None:
    whole = long_film(suffix)
    made = studio.encode(flipped(whole, tmp_path, 0.5, 0.502), facts=studio.facts(whole))
    assert re.search(r"about \d+ pictures? (is|are) damaged or missing|nothing is known to be missing", made.damage)
    assert made.only.video_seconds == pytest.approx(8.0, abs=2 * FRAME_SECONDS)
    assert_upright(made.only, tolerance=40)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_film_of_which_half_is_destroyed_is_no_film(studio: Studio, tmp_path: Path, suffix: str) -> None:
    whole = long_film(suffix)
    with pytest.raises(ProcessingFailed, match="damaged") as caught:
        studio.encode(flipped(whole, tmp_path, 0.25, 0.75), facts=studio.facts(whole))
    assert caught.value.code is ErrorCode.DECODE


def test_pictures_that_a_container_lost_without_a_word_of_the_decoder_are_missed(
    studio: Studio, tmp_path: Path
) -> None:
    """Whole clusters are gone, each up to a key frame, so that the decoder has nothing to complain of."""
    whole = long_film(".mkv")
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    del data[middle : middle + len(data) // 100]
    damaged = tmp_path / "hole.mkv"
    damaged.write_bytes(data)
    made = studio.encode(damaged, facts=studio.facts(whole))
    assert re.search(r"\d pictures? (is|are) damaged or missing", made.damage)


def test_a_recording_whose_end_never_came_is_shown_as_far_as_it_goes(studio: Studio, tmp_path: Path) -> None:
    """As a recorder leaves it that crashed: nothing in it says how long it was to be."""
    live = sample_clips.folder() / "live.mkv"
    sample_clips.ffmpeg("-i", str(long_film(".mkv")), "-c", "copy", "-live", "1", str(live))
    crashed = tmp_path / "crashed.mkv"
    crashed.write_bytes(live.read_bytes()[: live.stat().st_size // 2])
    made = studio.encode(crashed)
    assert "its end is missing, after 0:0" in made.damage
    assert 2.0 < made.only.video_seconds < 6.0


def test_a_film_that_was_cut_off_is_never_passed_for_a_whole_one(studio: Studio, tmp_path: Path) -> None:
    whole = sample_clips.three_subtitles_mkv()
    facts = studio.facts(whole)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ProcessingFailed, match="its end is missing, after 0:0") as caught:
        studio.encode(cut, facts=facts)
    assert caught.value.code is ErrorCode.DECODE


def test_a_rare_codec_does_not_reach_a_decoder(studio: Studio) -> None:
    facts = replace(studio.facts(sample_clips.silent()), format="avi")
    with pytest.raises(ProcessingFailed) as caught:
        studio.encode(sample_clips.magic_yuv(), facts=facts)
    assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile '/etc/passwd'\n"]
)
def test_a_playlist_that_poses_as_a_film_opens_nothing(studio: Studio, tmp_path: Path, text: str) -> None:
    playlist = tmp_path / "film.mp4"
    playlist.write_text(text)
    with pytest.raises(ProcessingFailed) as caught:
        studio.encode(playlist, facts=studio.facts(sample_clips.silent()))
    assert caught.value.code is ErrorCode.DECODE


def test_an_encoding_can_be_ended_in_the_middle(studio: Studio) -> None:
    source = sample_clips.folder() / "long.mp4"
    sample_clips.ffmpeg(
        *sample_clips.picture(seconds=60.0),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
        str(source),
    )
    onlooker = Onlooker(cancel_at=1)
    with pytest.raises(Cancelled):
        studio.encode(source, onlooker=onlooker)
    assert onlooker.percents[-1] < 99


def test_hardware_that_this_machine_lacks_is_replaced_by_software(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    setting = "videotoolbox" if list(Path("/dev").glob("nvidia*")) else "nvenc"
    other = Studio(studio.processor, VideoEncoder(PROGRAM, SystemClock(), setting=setting), studio.scratch())
    with caplog.at_level(logging.INFO):
        film = other.encode(sample_clips.silent()).only
    other.encoder.close()
    assert "a video encoder is not to be had here" in caplog.text
    assert film.codec == ("h264", "High")
