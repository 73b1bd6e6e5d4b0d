"""What a probe says of films and sounds whose truth is known, because the test made them, or looked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sample_clips
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.media import MediaKind
from contentplatform.processing.codecs import DEMUXERS
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import MediaFacts
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.probe import HEAD_SIZE_BYTES, kind_of, sniff

Probe = Callable[[Path], MediaFacts]


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor()
    yield shared
    shared.close()


@pytest.fixture
def probe(processor: LocalMediaProcessor, tmp_path: Path) -> Probe:
    def run(source: Path) -> MediaFacts:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        facts = processor.probe(source, scratch)
        assert not list(scratch.iterdir()), "a probe writes nothing"
        return facts

    return run


def kept(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(content)
    return path


# -- films -----------------------------------------------------------------------------------------------------------


def test_an_ordinary_film(probe: Probe) -> None:
    facts = probe(sample_clips.film())
    assert (facts.format, facts.duration_seconds, facts.duration_is_exact) == ("mov", 2.0, True)
    assert facts.size_bytes == sample_clips.film().stat().st_size
    assert facts.bit_rate == int(facts.size_bytes * 8 / 2)
    assert facts.tags == {"title": "A film"}
    (video,), (audio,) = facts.video, facts.audio
    assert (video.codec, video.width, video.height, video.rotation_degrees) == ("h264", 320, 180, 0)
    assert (video.frame_rate, video.frame_rate_varies, video.duration_seconds) == (25.0, False, 2.0)
    assert (video.pixel_format, video.bit_depth, video.hdr, video.has_alpha) == ("yuv420p", 8, "", False)
    assert (audio.codec, audio.sample_rate_hz, audio.channels, audio.channel_layout) == ("aac", 48_000, 2, "stereo")
    assert (audio.lossless, audio.is_default) == (False, True)
    assert (facts.subtitles, facts.chapters, facts.has_cover, facts.other_streams) == ((), (), False, 0)


def test_a_telephones_portrait_film_is_upright(probe: Probe) -> None:
    (video,) = probe(sample_clips.portrait_phone()).video
    assert (video.width, video.height) == (180, 320)
    assert (video.coded_width, video.coded_height, video.rotation_degrees) == (320, 180, 90)


@pytest.mark.parametrize(
    ("degrees", "coded"), [(0, (320, 180)), (90, (180, 320)), (180, (320, 180)), (270, (180, 320))]
)
def test_turns_are_clockwise(probe: Probe, degrees: int, coded: tuple[int, int]) -> None:
    (video,) = probe(sample_clips.turned(degrees)).video
    # The file lies as it was turned, and is shown as 320x180 or, turned by a quarter, the other way round.
    assert video.rotation_degrees == degrees
    shown = (video.width, video.height)
    assert shown == ((video.coded_height, video.coded_width) if degrees in {90, 270} else coded)


def test_odd_sizes_stay_odd(probe: Probe) -> None:
    (video,) = probe(sample_clips.odd_sized()).video
    assert (video.codec, video.width, video.height) == ("vp9", 161, 91)


def test_a_varying_frame_rate_is_noticed(probe: Probe) -> None:
    (video,) = probe(sample_clips.variable_frame_rate()).video
    assert video.frame_rate_varies
    assert 16 < video.frame_rate < 18


def test_oblong_pixels_are_counted_as_shown(probe: Probe) -> None:
    (video,) = probe(sample_clips.anamorphic()).video
    assert (video.coded_width, video.coded_height, video.width, video.height) == (240, 180, 320, 180)


def test_hdr10(probe: Probe) -> None:
    (video,) = probe(sample_clips.hdr10()).video
    assert (video.hdr, video.bit_depth, video.pixel_format) == ("hdr10", 10, "yuv420p10le")
    colour = (video.color_primaries, video.color_transfer, video.color_space, video.color_range)
    assert colour == ("bt2020", "smpte2084", "bt2020nc", "tv")


def test_hlg(probe: Probe) -> None:
    (video,) = probe(sample_clips.hlg()).video
    assert (video.hdr, video.color_transfer) == ("hlg", "arib-std-b67")


def test_dolby_vision_is_told_from_the_layer_below_it(probe: Probe, tmp_path: Path) -> None:
    """What the container says of the codec is enough; how to show it without is still said by the transfer."""
    content = sample_clips.hdr10().read_bytes().replace(b"hvc1", b"dvh1")
    (video,) = probe(kept(tmp_path, content)).video
    assert (video.codec, video.hdr, video.color_transfer) == ("hevc", "dolby-vision", "smpte2084")


def test_a_place_is_for_the_owners_eyes(probe: Probe) -> None:
    path = sample_clips.folder() / "place.mov"
    place = ("-metadata", "location=+52.5163+013.3777/", "-metadata", "title=Berlin")
    sample_clips.ffmpeg("-i", str(sample_clips.film()), "-c", "copy", *place, str(path))
    facts = probe(path)
    assert facts.tags["title"] == "Berlin"
    assert "+52.5163+013.3777/" in facts.private.values()
    assert not any("52.51" in text for text in facts.tags.values())


def test_a_film_that_begins_late_is_timed_from_its_start(probe: Probe) -> None:
    path = sample_clips.folder() / "late_sound.mkv"
    late = ("-itsoffset", "0.5", "-i", str(sample_clips.silent()))
    sample_clips.ffmpeg(*late, "-i", str(sample_clips.film()), "-map", "0:v", "-map", "1:a", "-c", "copy", str(path))
    facts = probe(path)
    assert facts.duration_seconds == pytest.approx(2.5, abs=0.005)
    assert facts.video[0].start_seconds == pytest.approx(0.5, abs=0.005)
    assert facts.video[0].duration_seconds == pytest.approx(2.0, abs=0.005)
    assert facts.audio[0].start_seconds == 0


def test_a_silent_film_has_no_sound(probe: Probe) -> None:
    facts = probe(sample_clips.silent())
    assert (len(facts.video), facts.audio, kind_of(facts)) == (1, (), MediaKind.VIDEO)


def test_channels(probe: Probe) -> None:
    (surround,), (mono,) = probe(sample_clips.surround()).audio, probe(sample_clips.mono()).audio
    assert (surround.channels, surround.channel_layout) == (6, "5.1")
    assert (mono.channels, mono.channel_layout, mono.sample_rate_hz) == (1, "mono", 22_050)


def test_interlacing(probe: Probe) -> None:
    (video,) = probe(sample_clips.interlaced()).video
    assert (video.codec, video.interlaced, video.frame_rate) == ("mpeg2video", True, 25.0)


@pytest.mark.parametrize("make", [sample_clips.see_through, sample_clips.prores_alpha])
def test_transparency(probe: Probe, make: Callable[[], Path]) -> None:
    assert probe(make()).video[0].has_alpha


@pytest.mark.parametrize(
    ("make", "codecs"),
    [
        (sample_clips.three_subtitles_mkv, ["subrip", "ass", "subrip"]),
        (sample_clips.three_subtitles_mp4, ["mov_text"] * 3),
    ],
)
def test_subtitles_in_two_languages(probe: Probe, make: Callable[[], Path], codecs: list[str]) -> None:
    facts = probe(make())
    assert [track.codec for track in facts.subtitles] == codecs
    assert [(track.language, track.title) for track in facts.subtitles] == [
        ("en", "English"),
        ("de", "Deutsch"),
        ("de", "Schilder"),
    ]
    assert [track.is_forced for track in facts.subtitles] == [False, False, True]
    assert all(track.is_text for track in facts.subtitles)
    assert facts.audio[0].language == "en"


def test_attachments_are_only_counted(probe: Probe) -> None:
    assert probe(sample_clips.three_subtitles_mkv()).other_streams == 1


def test_chapters(probe: Probe) -> None:
    facts = probe(sample_clips.chapters())
    parts = [(chapter.start_seconds, chapter.end_seconds, chapter.title) for chapter in facts.chapters]
    assert parts == [(0.0, 0.8, "Morning"), (0.8, 2.0, "Evening")]
    assert facts.tags["title"] == "Two parts"


# -- other containers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "content_type", "codecs"),
    [
        (sample_clips.avi, "video/x-msvideo", ("mpeg4", "mp3")),
        (sample_clips.wmv, "video/x-ms-asf", ("wmv2", "wmav2")),
        (sample_clips.flv, "video/x-flv", ("flv1", "mp3")),
        (sample_clips.program_stream, "video/mpeg", ("mpeg2video", "mp2")),
        (sample_clips.transport_stream, "video/mp2t", ("h264", "aac")),
        (sample_clips.ogv, "video/ogg", ("theora", "vorbis")),
        (sample_clips.mxf, "application/mxf", ("mpeg2video", "pcm_s16le")),
        (sample_clips.three_gpp, "video/3gpp", ("h263", "amr_nb")),
        (sample_clips.three_subtitles_mkv, "video/x-matroska", ("h264", "aac")),
        (sample_clips.odd_sized, "video/webm", ("vp9", "opus")),
        (sample_clips.portrait_phone, "video/quicktime", ("h264", "aac")),
    ],
)
def test_films_in_every_container(
    probe: Probe, make: Callable[[], Path], content_type: str, codecs: tuple[str, str]
) -> None:
    path = make()
    found = sniff(path.read_bytes()[:HEAD_SIZE_BYTES], path.stat().st_size)
    assert (found.content_type, found.kind) == (content_type, MediaKind.VIDEO)
    facts = probe(path)
    assert (facts.video[0].codec, facts.audio[0].codec) == codecs
    assert facts.format == DEMUXERS[content_type]
    # Last frames of sound reach a little over the end of the pictures.
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.08)
    assert facts.video[0].duration_seconds == pytest.approx(2.0, abs=0.045)
    assert facts.duration_is_exact
    assert facts.video[0].frame_rate in {25.0, 30.0}
    assert not facts.video[0].frame_rate_varies


def test_a_camcorders_stream(probe: Probe) -> None:
    path = sample_clips.dv()
    assert sniff(path.read_bytes()[:HEAD_SIZE_BYTES], path.stat().st_size).content_type == "video/x-dv"
    (video,) = probe(path).video
    assert (video.codec, video.width, video.height, video.frame_rate, video.interlaced) == (
        "dvvideo",
        768,
        576,
        25.0,
        True,
    )


@pytest.mark.parametrize("extension", ["mp4", "webm", "mkv", "wmv"])
def test_what_is_only_sound_in_a_films_container_is_a_sound(probe: Probe, extension: str) -> None:
    facts = probe(sample_clips.sound_in_a_films_container(extension))
    assert (facts.video, len(facts.audio), kind_of(facts)) == ((), 1, MediaKind.AUDIO)


# -- sounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "arguments", "content_type", "codec"),
    [
        ("mp3", (), "audio/mpeg", "mp3"),
        ("mp2", (), "audio/mpeg", "mp2"),
        ("m4a", (), "audio/mp4", "aac"),
        ("m4a", ("-c:a", "alac"), "audio/mp4", "alac"),
        ("aac", (), "audio/aac", "aac"),
        ("wav", (), "audio/wav", "pcm_s16le"),
        ("wav", ("-c:a", "pcm_s24le"), "audio/wav", "pcm_s24le"),
        ("w64", (), "audio/x-w64", "pcm_s16le"),
        ("aiff", (), "audio/aiff", "pcm_s16be"),
        ("caf", (), "audio/x-caf", "pcm_s16be"),
        ("flac", (), "audio/flac", "flac"),
        ("wv", (), "audio/x-wavpack", "wavpack"),
        ("ogg", ("-c:a", "libvorbis"), "audio/ogg", "vorbis"),
        ("opus", (), "audio/ogg", "opus"),
        ("ac3", (), "audio/ac3", "ac3"),
        ("eac3", (), "audio/eac3", "eac3"),
        ("amr", ("-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1"), "audio/amr", "amr_nb"),
    ],
)
def test_sounds_in_every_container(
    probe: Probe, extension: str, arguments: tuple[str, ...], content_type: str, codec: str
) -> None:
    path = sample_clips.sound(extension, *arguments)
    found = sniff(path.read_bytes()[:HEAD_SIZE_BYTES], path.stat().st_size)
    assert (found.content_type, found.kind) == (content_type, MediaKind.AUDIO)
    facts = probe(path)
    (audio,) = facts.audio
    assert audio.codec == codec
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.06)
    assert facts.duration_is_exact
    assert (audio.channels, audio.channel_layout) == ((1, "mono") if extension == "amr" else (2, "stereo"))


@pytest.mark.parametrize(
    ("extension", "arguments", "bits"),
    [
        ("wav", ("-c:a", "pcm_s24le"), 24),
        ("flac", ("-sample_fmt", "s16"), 16),
        ("m4a", ("-c:a", "alac", "-sample_fmt", "s16p"), 16),
        ("mp3", (), None),
    ],
)
def test_bits_of_a_sample(probe: Probe, extension: str, arguments: tuple[str, ...], bits: int | None) -> None:
    (audio,) = probe(sample_clips.sound(extension, *arguments)).audio
    assert (audio.bits_per_sample, audio.lossless) == (bits, bits is not None)


@pytest.mark.parametrize("extension", ["mp3", "m4a", "flac"])
def test_tags_and_covers(probe: Probe, extension: str) -> None:
    facts = probe(sample_clips.with_cover(extension))
    assert facts.tags == sample_clips.SONG
    assert facts.has_cover
    assert (facts.video, kind_of(facts), facts.other_streams) == ((), MediaKind.AUDIO, 0)


def test_two_hours_of_silence(probe: Probe) -> None:
    facts = probe(sample_clips.two_hours_of_silence())
    assert (facts.duration_seconds, facts.duration_is_exact) == (7_200.0, True)
    assert facts.audio[0].sample_rate_hz == 8_000


def test_sound_behind_a_foreign_tag_is_opened_as_what_it_is(probe: Probe, tmp_path: Path) -> None:
    tag = b"ID3\x04\0\0\0\0\0\x0a" + b"TIT2" + bytes(6)
    facts = probe(kept(tmp_path, tag + sample_clips.sound("flac").read_bytes()))
    assert (facts.format, facts.audio[0].codec, facts.duration_seconds) == ("flac", "flac", 2.0)


def test_an_mp3_without_a_length_is_measured(probe: Probe) -> None:
    loud = sample_clips.sound("mp3", "-q:a", "0", "-write_xing", "0")
    facts = probe(loud)
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.06)
    assert facts.duration_is_exact


@pytest.mark.parametrize("frames", [1, 0x7FFF_FFFF])
def test_an_mp3_that_lies_about_its_frames_is_measured(probe: Probe, tmp_path: Path, frames: int) -> None:
    content = sample_clips.sound("mp3").read_bytes()
    place = content.index(b"Info") + 8
    lying = content[:place] + frames.to_bytes(4, "big") + content[place + 4 :]
    assert probe(kept(tmp_path, lying)).duration_seconds == pytest.approx(2.0, abs=0.06)


def test_an_mp3_that_is_cut_off_is_as_long_as_what_is_there(probe: Probe, tmp_path: Path) -> None:
    content = sample_clips.sound("mp3").read_bytes()
    facts = probe(kept(tmp_path, content[: len(content) // 2]))
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.06)


def test_old_programs_letters(probe: Probe, tmp_path: Path) -> None:
    """Tags of a WAV have no encoding; those of Windows are no UTF-8."""
    content = sample_clips.sound("wav", "-metadata", "title=Müller").read_bytes()
    western = content.replace("Müller".encode(), "Müller".encode("cp1252") + b"\0")
    assert western != content
    assert probe(kept(tmp_path, western)).tags["title"] == "Müller"


# -- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.shared_media
@pytest.mark.parametrize(
    ("name", "seconds", "size", "frame_rate", "sound"),
    [
        ("cockatoo.mp4", 14.0, (1_280, 720), 20.0, ("mp3", 16_000, 1)),
        ("realshort.mp4", 1.1992, (320, 240), 30.02, ("aac", 48_000, 1)),
        ("waltz.ogg", 49.2, None, None, ("vorbis", 22_050, 1)),
        ("robin.ogg", 2.698639, None, None, ("vorbis", 22_050, 1)),
    ],
)
def test_real_files(
    probe: Probe,
    shared_media: Path,
    name: str,
    seconds: float,
    size: tuple[int, int] | None,
    frame_rate: float | None,
    sound: tuple[str, int, int],
) -> None:
    facts = probe(shared_media / name)
    assert facts.duration_seconds == pytest.approx(seconds, abs=0.001)
    assert [(video.width, video.height) for video in facts.video] == ([] if size is None else [size])
    assert all(video.frame_rate == pytest.approx(frame_rate, abs=0.01) for video in facts.video)
    (audio,) = facts.audio
    assert (audio.codec, audio.sample_rate_hz, audio.channels) == sound


# -- what can't be processed -----------------------------------------------------------------------------------------


def failure(probe: Probe, source: Path) -> ProcessingFailed:
    with pytest.raises(ProcessingFailed) as caught:
        probe(source)
    return caught.value


def test_a_rare_codec_is_named(probe: Probe) -> None:
    error = failure(probe, sample_clips.magic_yuv())
    assert error.code is ErrorCode.UNSUPPORTED
    assert error.why == "its video is in MagicYUV, which is not supported"


def test_a_film_without_its_index_says_so(probe: Probe, tmp_path: Path) -> None:
    content = sample_clips.film().read_bytes()
    error = failure(probe, kept(tmp_path, content[: content.index(b"moov") - 4]))
    assert error.code is ErrorCode.DECODE
    assert error.why == "its index (moov) is missing: the recording was not ended properly, or is incomplete"


@pytest.mark.parametrize("make", [sample_clips.film, sample_clips.three_subtitles_mkv])
def test_a_film_that_is_cut_off_never_passes_for_a_whole_one(
    probe: Probe, tmp_path: Path, make: Callable[[], Path]
) -> None:
    content = make().read_bytes()
    error = failure(probe, kept(tmp_path, content[: len(content) // 2]))
    assert error.code is ErrorCode.DECODE
    assert error.why.startswith(
        f"it is incomplete: {len(content) - len(content) // 2} bytes are missing at its end"
    ) or ("bytes are missing at its end, and its index (moov) is missing" in error.why)


def test_an_index_in_front_is_no_reason_to_believe_it(probe: Probe, tmp_path: Path) -> None:
    path = sample_clips.folder() / "front.mp4"
    sample_clips.ffmpeg("-i", str(sample_clips.film()), "-c", "copy", "-movflags", "+faststart", str(path))
    whole = path.read_bytes()
    assert probe(path).duration_seconds == 2.0
    error = failure(probe, kept(tmp_path, whole[: len(whole) - 1_000]))
    assert error.why == "it is incomplete: 1000 bytes are missing at its end"


def test_a_broadcast_that_is_cut_off_is_as_long_as_what_is_there(probe: Probe, tmp_path: Path) -> None:
    """Streams have no end of their own."""
    content = sample_clips.transport_stream().read_bytes()
    facts = probe(kept(tmp_path, content[: len(content) // 2]))
    assert 0.8 < facts.duration_seconds < 1.3


def test_a_fragmented_film_is_measured(probe: Probe) -> None:
    path = sample_clips.folder() / "fragmented.mp4"
    flags = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-g", "10")
    sample_clips.ffmpeg(*sample_clips.picture(), "-c:v", "libx264", "-preset", "ultrafast", *flags, str(path))
    facts = probe(path)
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.001)
    assert facts.duration_is_exact


def test_only_covers_are_no_film(probe: Probe) -> None:
    path = sample_clips.folder() / "only-subtitles.mkv"
    lines = sample_clips.subrip("lonely.srt", sample_clips.ENGLISH)
    sample_clips.ffmpeg("-i", str(lines), str(path))
    error = failure(probe, path)
    assert (error.code, error.why) == (ErrorCode.UNSUPPORTED, "there is no film and no sound in it")


def test_limits_are_checked_in_words(tmp_path: Path) -> None:
    strict = LocalMediaProcessor(video_limits=VideoLimits(pixels=10_000, duration_seconds=3_600, streams=1))
    tmp_path.joinpath("scratch").mkdir()
    told = []
    for path in (sample_clips.silent(), sample_clips.two_hours_of_silence(), sample_clips.film()):
        with pytest.raises(ProcessingFailed) as caught:
            strict.probe(path, tmp_path / "scratch")
        assert caught.value.code is ErrorCode.LIMIT
        told.append(caught.value.why)
    strict.close()
    assert told == [
        "its pictures have 320 x 180 pixels; at most 0.01 million, 16384 a side, are processed",
        "it lasts 2 hours; at most 1 are processed",
        "it has 2 streams; at most 1 are processed",
    ]


def test_a_cover_over_the_limit_is_ignored(tmp_path: Path) -> None:
    strict = LocalMediaProcessor(video_limits=VideoLimits(cover_bytes=100))
    tmp_path.joinpath("scratch").mkdir()
    facts = strict.probe(sample_clips.with_cover("flac"), tmp_path / "scratch")
    strict.close()
    assert (facts.has_cover, facts.audio[0].codec) == (False, "flac")
