"""A sound's renditions as another reader hears them: as long, as loud, on the same sides, with words and cover."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import sample_clips
import sample_media
import sound_reading
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.answers import AUDIO_RENDITIONS
from contentplatform.processing.jobs.tags import descriptive, sorted_tags
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import AUDIO_PRESETS, WAVEFORM

Process = Callable[[Path], Rendered]
ENCODINGS = tuple(preset.name for preset in AUDIO_PRESETS)
WITHIN_SECONDS = 0.012
"""Half a frame of AAC at 44.1 kHz; its length stands in the container to the sample."""


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(processors=2)
    yield shared
    shared.close()


@pytest.fixture
def process(processor: LocalMediaProcessor, tmp_path: Path) -> Process:
    numbers = iter(range(9))

    def run(source: Path) -> Rendered:
        scratch = tmp_path / f"scratch-{next(numbers)}"
        scratch.mkdir()
        return processor.process_audio(source, scratch)

    return run


def path_of(rendered: Rendered, name: str) -> Path:
    return next(file.path for file in rendered.files if file.name == name)


def made(name: str, *arguments: str) -> Path:
    """A sound that the ffmpeg program makes of ``arguments``."""
    path = sample_clips.folder() / name
    if not path.exists():
        sample_clips.ffmpeg(*arguments, "-bitexact", str(path))
    return path


def expression(name: str, waves: str, layout: str, *codec: str, rate_hz: int = 48_000, seconds: float = 2) -> Path:
    """A sound whose channels are the given formulas."""
    source = f"aevalsrc={waves}:s={rate_hz}:c={layout}:d={seconds}"
    return made(name, "-f", "lavfi", "-i", source, *codec)


def length_of(path: Path) -> float:
    """Seconds as the container tells a player: edit list of MP4, last page less pre-skip of Ogg."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        assert track.duration is not None
        assert track.time_base is not None
        skip = int.from_bytes((track.codec_context.extradata or b"")[10:12], "little") if path.suffix == ".opus" else 0
        return float((track.duration - skip) * track.time_base)


def test_every_rendition_is_there_and_the_facts_are_right(process: Process) -> None:
    rendered = process(sample_clips.with_cover("flac"))
    assert {file.name for file in rendered.files} == set(AUDIO_RENDITIONS)
    facts = rendered.metadata
    assert facts["duration_seconds"] == sample_clips.SECONDS
    assert (facts["format"], facts["codec"], facts["lossless"]) == ("FLAC", "flac", True)
    assert (facts["sample_rate_hz"], facts["channels"], facts["channel_layout"]) == (44_100, 2, "stereo")
    assert facts["bits_per_sample"] in {16, 24}
    assert facts["bit_rate"] > 100_000
    assert facts["duration_is_exact"]
    assert facts["has_cover"]
    assert "damaged" not in facts
    assert "normalised" not in facts


@pytest.mark.parametrize(
    ("extension", "codec"),
    [
        ("wav", ("-c:a", "pcm_f32le")),
        ("flac", ("-ar", "192000", "-sample_fmt", "s32")),
        ("flac", ("-ar", "44100")),
        ("mp3", ()),
        ("mka", ("-c:a", "mp2")),
        ("mka", ("-c:a", "dca", "-strict", "-2")),
        ("mka", ("-c:a", "truehd", "-strict", "-2")),
        ("wv", ()),
        ("m4a", ("-c:a", "aac")),
        ("m4a", ("-c:a", "alac")),
        ("ogg", ("-c:a", "libvorbis", "-ar", "22050", "-ac", "1")),
        ("opus", ("-c:a", "libopus")),
        ("mka", ("-c:a", "libopus")),
        ("aiff", ()),
        ("wav", ("-ar", "8000", "-ac", "1", "-c:a", "pcm_mulaw")),
        ("wav", ("-ar", "11025", "-c:a", "pcm_u8")),
    ],
)
def test_encodings_are_as_long_as_the_original(process: Process, extension: str, codec: tuple[str, ...]) -> None:
    rendered = process(sample_clips.sound(extension, *codec))
    assert rendered.metadata["duration_seconds"] == pytest.approx(sample_clips.SECONDS, abs=0.001)
    for name in ENCODINGS:
        assert length_of(path_of(rendered, name)) == pytest.approx(sample_clips.SECONDS, abs=0.003)
        heard, rate_hz = sound_reading.samples(path_of(rendered, name))
        assert heard.shape[1] / rate_hz == pytest.approx(sample_clips.SECONDS, abs=0.13)
        # It begins where the original begins: neither late by the encoder's delay, nor with a hole.
        assert 0.065 < sound_reading.level(heard[:, rate_hz // 20 : rate_hz]) < 0.105


def test_the_encodings_are_aligned_to_the_sample(process: Process) -> None:
    click = "if(between(t\\,1\\,1.001)\\,0.9\\,0)"
    rendered = process(expression("click.wav", click, "mono"))
    for name in ENCODINGS:
        heard, rate_hz = sound_reading.samples(path_of(rendered, name))
        assert np.abs(heard[0]).argmax() / rate_hz == pytest.approx(1.0005, abs=0.002)


def test_codecs_and_rates_are_those_of_the_presets(process: Process) -> None:
    for source, m4a_hz in (
        (("flac", "-ar", "192000", "-sample_fmt", "s32"), 48_000),
        (("flac", "-ar", "44100"), 44_100),
    ):
        rendered = process(sample_clips.sound(*source))
        with av.open(str(path_of(rendered, "m4a"))) as container:
            track = container.streams.audio[0]
            assert (track.codec_context.name, track.sample_rate, track.profile) == ("aac", m4a_hz, "LC")
        with av.open(str(path_of(rendered, "opus"))) as container:
            assert container.streams.audio[0].codec_context.codec.canonical_name == "opus"


def test_the_m4a_has_its_index_in_front_and_the_brand_of_sounds(process: Process) -> None:
    content = path_of(process(sample_clips.with_cover("mp3")), "m4a").read_bytes()
    assert content[4:12] == b"ftypM4A "
    assert content.index(b"moov") < content.index(b"mdat")


def test_left_stays_left(process: Process) -> None:
    rendered = process(expression("left.wav", "0.5*sin(2*PI*440*t)|0", "stereo"))
    for name in ENCODINGS:
        heard, _ = sound_reading.samples(path_of(rendered, name))
        assert sound_reading.level(heard[0]) > 0.3
        assert sound_reading.level(heard[1]) < 0.005


def test_mono_stays_mono(process: Process) -> None:
    rendered = process(expression("mono.wav", "0.5*sin(2*PI*440*t)", "mono"))
    for name in ENCODINGS:
        assert sound_reading.samples(path_of(rendered, name))[0].shape[0] == 1


@pytest.mark.parametrize(
    ("channel", "sides"), [(0, (1, 0)), (1, (0, 1)), (2, (1, 1)), (3, (0, 0)), (4, (1, 0)), (5, (0, 1))]
)
def test_surround_comes_out_on_its_sides(process: Process, channel: int, sides: tuple[int, int]) -> None:
    waves = "|".join("0.8*sin(2*PI*440*t)" if number == channel else "0" for number in range(6))
    rendered = process(expression(f"five-{channel}.wav", waves, "5.1", seconds=0.5))
    heard, _ = sound_reading.samples(path_of(rendered, "opus"))
    for side, wanted in zip(heard, sides, strict=True):
        assert (sound_reading.level(side) > 0.1) == bool(wanted)


@pytest.mark.parametrize(("layout", "channels"), [("5.1", 6), ("7.1", 8), ("7.1.4", 12)])
def test_all_channels_at_once_do_not_clip(process: Process, layout: str, channels: int) -> None:
    waves = "|".join(["0.99*sin(2*PI*440*t)"] * channels)
    rendered = process(expression(f"loud-{channels}.wav", waves, layout, "-c:a", "pcm_s16le", seconds=0.5))
    assert rendered.metadata["channels"] == channels
    heard, _ = sound_reading.samples(path_of(rendered, "opus"))
    assert heard.shape[0] == 2
    assert 0.8 < np.abs(heard[:, 4_800:-4_800]).max() < 1.05


def test_loudness_of_surround_is_that_of_the_original(process: Process) -> None:
    source = expression("loudness-five.wav", "|".join(["0.1*sin(2*PI*440*t)"] * 6), "5.1")
    assert process(source).metadata["loudness"]["integrated_lufs"] == pytest.approx(
        sound_reading.measured(source)["I"], abs=0.1
    )


@pytest.mark.parametrize("extension", ["mp3", "m4a", "flac"])
def test_words_and_cover_come_along(process: Process, extension: str) -> None:
    rendered = process(sample_clips.with_cover(extension))
    song = sample_clips.SONG
    assert rendered.metadata["tags"] == song
    assert rendered.descriptive == {"title": song["title"], "credit": song["artist"], "tags": [song["genre"]]}
    for name in ENCODINGS:
        path = path_of(rendered, name)
        found = sound_reading.tags(path)
        assert {tag: found.get(tag) for tag in song} == song
        picture = sound_reading.cover(path)
        assert picture is not None
        assert picture == path_of(rendered, "medium").read_bytes() != sample_clips.cover().read_bytes()
    thumbnail = next(file for file in rendered.files if file.name == "thumbnail")
    assert (thumbnail.width, thumbnail.height) == (150, 150)
    with Image.open(path_of(rendered, "medium")) as opened:
        assert opened.size == sample_clips.COVER_SIZE
        wanted = sample_media.quarters(*sample_clips.COVER_SIZE)
        assert np.abs(np.asarray(opened, float) - np.asarray(wanted, float)).mean() < 6


def test_a_cover_that_is_no_picture_is_left_out_and_said_so(process: Process, tmp_path: Path) -> None:
    whole = sample_clips.with_cover("flac").read_bytes()
    picture = sample_clips.cover().read_bytes()
    source = tmp_path / "broken-cover.flac"
    source.write_bytes(whole.replace(picture, picture[:40] + b"\x55" * (len(picture) - 40)))
    rendered = process(source)
    assert not rendered.metadata["has_cover"]
    assert rendered.metadata["cover"].startswith("left out")
    assert {file.name for file in rendered.files} == {*ENCODINGS, "waveform", "peaks"}


def test_nothing_private_is_in_a_rendition(process: Process) -> None:
    private = {
        "location": "+48.8577+002.2950/",
        "purchase_owner": "Erika Mustermann",
        "encoded_by": "Studio of Max",
        "comment": "write to erika@example.org",
        "serial_number": "SN-4711-0815",
    }
    words = {"title": "Public title", "copyright": "(c) Somebody", "encoder": "SecretEncoder 9", **private}
    source = made(
        "private.flac",
        *sample_clips.tone(seconds=0.5),
        *(part for name, text in words.items() for part in ("-metadata", f"{name}={text}")),
    )
    assert b"erika@example.org" in source.read_bytes()
    rendered = process(source)
    assert rendered.metadata["private"] == {"tags": private}
    assert rendered.descriptive == {"title": "Public title", "rights": "(c) Somebody"}
    for file in rendered.files:
        content = file.path.read_bytes()
        for text in (*private.values(), "SecretEncoder"):
            assert text.encode() not in content
    for name in ENCODINGS:
        assert b"(c) Somebody" in path_of(rendered, name).read_bytes()


def test_tags_are_sorted_by_whom_they_are_for() -> None:
    found = sorted_tags(
        [
            {"TITLE": "A\0hidden", "TRACKNUMBER": "3", "apID": "me@example.org", "iTunNORM": " 00000"},
            {
                "title": "another",
                "comment": "Lavf60.1",
                "GENRE": "Folk; Jazz/Folk",
                "description": "At 48.8577, 2.2950",
            },
            {"artist": b"Zo\xeb".decode("utf-8", "surrogateescape")},
        ]
    )
    assert found.public == {"title": "A", "track": "3", "genre": "Folk; Jazz/Folk", "artist": "Zoë"}
    assert found.private == {"apid": "me@example.org", "description": "At 48.8577, 2.2950"}
    assert descriptive(found.public) == {"title": "A", "tags": ["Folk", "Jazz"], "credit": "Zoë"}


def test_chapters_come_along(process: Process) -> None:
    words = sample_clips.folder() / "sound-chapters.txt"
    parts = ((0, 800, "Morning"), (800, 2000, "Evening"))
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={b}\ntitle={title}\n" for a, b, title in parts)
    words.write_text(f";FFMETADATA1\n{chapters}", "utf-8")
    source = made("chapters.m4a", *sample_clips.tone(), "-i", str(words), "-map", "0:a", "-map_metadata", "1")
    rendered = process(source)
    assert [part["title"] for part in rendered.metadata["chapters"]] == ["Morning", "Evening"]
    for name in ENCODINGS:
        with av.open(str(path_of(rendered, name))) as container:
            found = container.chapters()
        starts = [float(part["start"] * (part["time_base"] or 1)) for part in found]
        assert starts == pytest.approx([0, 0.8], abs=0.01)
        assert [part["metadata"]["title"] for part in found] == ["Morning", "Evening"]


@pytest.mark.parametrize("normalise", [False, True])
def test_one_job_and_two_make_the_same_bytes(tmp_path: Path, *, normalise: bool) -> None:
    made_by: list[Rendered] = []
    for processors in (1, 2):
        processor = LocalMediaProcessor(normalise_loudness=normalise, processors=processors)
        scratch = tmp_path / str(len(made_by))
        scratch.mkdir()
        made_by.append(processor.process_audio(sample_clips.with_cover("mp3"), scratch))
        processor.close()
    first, other = made_by
    assert (other.metadata, other.descriptive) == (first.metadata, first.descriptive)
    assert list(other.metadata) == list(first.metadata)
    assert [file.name for file in other.files] == list(AUDIO_RENDITIONS)
    for one, another in zip(first.files, other.files, strict=True):
        assert one.path.read_bytes() == another.path.read_bytes(), one.name
        assert replace(one, path=another.path) == another


def test_a_sound_that_is_broken_fails_in_both_jobs_with_one_reason(process: Process, tmp_path: Path) -> None:
    content = sample_clips.sound("flac").read_bytes()
    source = tmp_path / "half.flac"
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(ProcessingFailed, match="seconds of it are missing") as caught:
        process(source)
    assert caught.value.code == ErrorCode.DECODE


def test_a_job_has_time_for_its_sound_but_no_more_than_its_caller_has(tmp_path: Path) -> None:
    source, no_time = sample_clips.sound("flac"), JobLimits(wall_seconds=0.01, cpu_seconds=1)
    for longest_seconds, name in ((inf, "long"), (0.01, "short")):
        processor = LocalMediaProcessor(media_limits=no_time, longest_job_seconds=longest_seconds)
        scratch = tmp_path / name
        scratch.mkdir()
        if longest_seconds == inf:
            assert processor.process_audio(source, scratch).metadata["duration_seconds"] == 2
        else:
            with pytest.raises(ProcessingFailed, match=r"not done after 0\.01 s") as caught:
                processor.process_audio(source, scratch)
            assert caught.value.code == ErrorCode.TIMEOUT
        processor.close()


def test_the_waveform_and_the_peaks_are_those_of_the_sound(process: Process) -> None:
    half = "if(lt(t\\,1)\\,0\\,0.9*sin(2*PI*440*t))"
    rendered = process(expression("half.wav", f"{half}|{half}", "stereo"))
    with Image.open(io.BytesIO(path_of(rendered, "waveform").read_bytes())) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (WAVEFORM.width, WAVEFORM.height))
        opacity = np.asarray(picture)[:, :, 3]
    assert opacity[:, :880].mean() < 5
    assert opacity[:, 920:].mean() > 150
    peaks = json.loads(path_of(rendered, "peaks").read_text())
    assert peaks["sample_rate"] == 48_000
    assert peaks["length"] * peaks["samples_per_pixel"] == pytest.approx(96_000, abs=peaks["samples_per_pixel"])
    assert set(peaks["data"][: peaks["length"] - 4]) == {0}
    assert max(peaks["data"]) == pytest.approx(0.9 * 128, abs=2)


def test_a_sound_that_begins_late_or_has_gaps_keeps_its_time(process: Process) -> None:
    late = made("late.mka", *sample_clips.tone(), "-af", "asetpts=PTS+1/TB", "-c:a", "libopus")
    assert process(late).metadata["duration_seconds"] == pytest.approx(3, abs=0.02)
    gap = "aselect=not(between(t\\,0.8\\,1.4))"
    rendered = process(made("gap.m4a", *sample_clips.tone(), "-af", gap, "-c:a", "aac"))
    assert rendered.metadata["duration_seconds"] == pytest.approx(2, abs=0.02)
    heard, rate_hz = sound_reading.samples(path_of(rendered, "opus"))
    assert sound_reading.level(heard[:, rate_hz : int(rate_hz * 1.3)]) < 0.001
    assert sound_reading.level(heard[:, int(rate_hz * 1.6) : int(rate_hz * 1.9)]) > 0.05


@pytest.mark.parametrize("extension", ["aac", "mp3"])
def test_a_sound_that_changes_its_form_in_the_middle_is_heard_to_its_end(
    process: Process, tmp_path: Path, extension: str
) -> None:
    parts = [sample_clips.sound(extension), sample_clips.sound(extension, "-ar", "22050", "-ac", "1")]
    source = tmp_path / f"changing.{extension}"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    rendered = process(source)
    assert rendered.metadata["duration_seconds"] == pytest.approx(4, abs=0.15)
    heard, rate_hz = sound_reading.samples(path_of(rendered, "m4a"))
    assert (heard.shape[0], rate_hz) == (2, 48_000)
    assert sound_reading.level(heard[:, int(rate_hz * 2.5) : int(rate_hz * 3.9)]) == pytest.approx(0.0707, rel=0.2)


@pytest.mark.parametrize("name", ["robin.ogg", "waltz.ogg"])
def test_real_sounds_keep_their_length_and_loudness(process: Process, shared_media: Path, name: str) -> None:
    rendered = process(shared_media / name)
    found, program = rendered.metadata["loudness"], sound_reading.measured(shared_media / name)
    for fact, word in (("integrated_lufs", "I"), ("range_lu", "LRA"), ("true_peak_dbtp", "Peak")):
        assert found[fact] == pytest.approx(program[word], abs=0.1)
    for encoding in ENCODINGS:
        path = path_of(rendered, encoding)
        assert length_of(path) == pytest.approx(rendered.metadata["duration_seconds"], abs=WITHIN_SECONDS)
        assert sound_reading.measured(path)["I"] == pytest.approx(found["integrated_lufs"], abs=0.5)


@pytest.mark.parametrize(("default", "channels"), [(0, 1), (1, 2)])
def test_of_two_tracks_the_default_one_is_heard(process: Process, default: int, channels: int) -> None:
    source = made(
        f"two-tracks-{default}.mka",
        *sample_clips.tone(layout="mono", seconds=0.5),
        *sample_clips.tone(layout="stereo", seconds=0.5),
        *("-map", "0:a", "-map", "1:a", "-c:a", "libopus", "-disposition:a", "0"),
        *(f"-disposition:a:{default}", "default"),
    )
    assert process(source).metadata["channels"] == channels
