"""The encoder's command line, and what is understood of its words. What it makes is in test_encoded_films."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.errors import ErrorCode, NoSpace, ProcessingFailed
from contentplatform.processing.encoding import (
    HARDWARE,
    Encoder,
    Progress,
    command,
    device_files,
    encoders,
    failure,
    frame_rate,
    graphs,
    trial,
)
from contentplatform.processing.ladder import plan
from contentplatform.processing.port import AudioTrack, MediaFacts, VideoTrack

SILENT = MediaFacts(
    format="mov",
    duration_seconds=10.0,
    duration_is_exact=True,
    bit_rate=None,
    size_bytes=1,
    video=(
        VideoTrack(
            index=2,
            codec="h264",
            width=1920,
            height=1080,
            coded_width=1920,
            coded_height=1080,
            rotation_degrees=0,
            frame_rate=25.0,
            frame_rate_varies=False,
            duration_seconds=10.0,
        ),
    ),
)
FILM = replace(SILENT, audio=(AudioTrack(5, "aac", 48_000, 2, "stereo", 10.0),))


def film(*, sound: bool = True, **changes: Any) -> MediaFacts:
    facts = FILM if sound else SILENT
    return replace(facts, video=(replace(facts.video[0], **changes),))


def line(facts: MediaFacts, encoder: Encoder | None = None) -> str:
    rungs = plan(facts, str)
    return " ".join(command(facts, rungs) if encoder is None else command(facts, rungs, encoder))


def filters(facts: MediaFacts) -> str:
    return ";".join(graphs(facts, plan(facts, str)))


def rate(frames: float, *, varies: bool = False) -> Fraction:
    return frame_rate(film(frame_rate=frames, frame_rate_varies=varies).video[0])


# -- the command line ------------------------------------------------------------------------------------------------


def test_the_source_is_a_descriptor_and_reaches_one_demuxer_only() -> None:
    words = command(FILM, plan(FILM, str))
    given_to_input = words[: words.index("-i")]
    assert words[words.index("-i") + 1] == "fd:"
    for option, value in (("-protocol_whitelist", "fd"), ("-format_whitelist", "mov"), ("-f", "mov"), ("-fd", "3")):
        assert given_to_input[given_to_input.index(option) + 1] == value
    decoders = given_to_input[given_to_input.index("-codec_whitelist") + 1].split(",")
    assert "h264" in decoders
    assert not {"magicyuv", "xbin", "ansi", "hls"} & set(decoders)


@pytest.mark.parametrize("name", ["hls", "concat", "image2", "mov,mp4", "-i /etc/passwd", ""])
def test_a_container_that_is_not_allowed_is_refused_before_anything_runs(name: str) -> None:
    with pytest.raises(ProcessingFailed) as caught:
        line(replace(FILM, format=name))
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_one_decode_feeds_both_rungs() -> None:
    words = command(FILM, plan(FILM, str))
    assert words.count("-i") == 1
    assert words.count("libx264") == 2
    assert [word for word in words if word.endswith(".mp4")] == ["720p.mp4", "480p.mp4"]
    assert words.count("-filter_complex") == 3, "a thread for each rung's pictures, and one for the sound"
    assert filters(FILM).count("[0:2]") == 2
    assert "[0:5]" in filters(FILM)


def test_what_is_costly_is_done_once() -> None:
    for facts in (film(hdr="hdr10"), film(has_alpha=True), film(interlaced=True), film(color_primaries="bt2020")):
        assert filters(facts).count("[0:2]") == 1
        assert "split=2[720p-picture][480p-picture]" in filters(facts)


def test_only_the_first_picture_and_the_first_sound_are_taken() -> None:
    words = command(FILM, plan(FILM, str))
    mapped = [words[number + 1] for number, word in enumerate(words) if word == "-map"]
    assert mapped == ["[720p]", "[720p-sound]", "[480p]", "[480p-sound]"]
    for refused in ("-dn -sn", "-map_metadata -1", "-map_chapters -1"):
        assert line(FILM).count(refused) == 2


def test_bit_rates_are_the_rungs_own() -> None:
    text = line(FILM)
    for words in ("-maxrate 3000000", "-maxrate 1500000", "-b:a 128000", "-b:a 96000", "-crf 23"):
        assert words in text


def test_a_silent_film_gets_no_sound() -> None:
    assert "aac_low" not in line(film(sound=False))
    assert "aresample" not in filters(film(sound=False))


def test_key_frames_are_two_seconds_apart_and_nowhere_else() -> None:
    text = line(FILM)
    assert text.count("expr:gte(t,n_forced*2)") == 2
    assert text.count("scenecut=0:open-gop=0") == 2
    assert text.count("-g 50 ") == 2


def test_nothing_that_a_file_says_of_itself_gets_into_the_command_line() -> None:
    evil = "x; movie=/etc/passwd [v]"
    facts = film(
        codec=evil,
        profile=evil,
        pixel_format=evil,
        color_primaries=evil,
        color_transfer=evil,
        color_space=evil,
        color_range=evil,
        hdr="hdr10",
        has_alpha=True,
    )
    sound = replace(FILM.audio[0], codec=evil, channel_layout=evil, language=evil, title=evil)
    assert "passwd" not in line(replace(facts, audio=(sound,), tags={"title": evil}))
    assert "passwd" not in line(replace(facts, video=(replace(facts.video[0], hdr=evil),)))


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (25.0, Fraction(25)),
        (23.976024, Fraction(24_000, 1001)),
        (29.97003, Fraction(30_000, 1001)),
        (30.0, Fraction(30)),
        (59.94006, Fraction(60_000, 1001)),
        (12.5, Fraction(25, 2)),
        (15.0, Fraction(15)),
        (120.0, Fraction(60)),
        (119.88012, Fraction(60_000, 1001)),
        (240.0, Fraction(60)),
        (100.0, Fraction(50)),
        (144.0, Fraction(48)),
        (0.1, Fraction(5)),
        (0.0, Fraction(30)),
    ],
)
def test_a_constant_rate_is_kept_or_divided(source: float, expected: Fraction) -> None:
    assert rate(source) == expected


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        (29.2, Fraction(30_000, 1001)),
        (29.99, Fraction(30_000, 1001)),
        (23.9, Fraction(24_000, 1001)),
        (5.0, Fraction(30)),
    ],
)
def test_a_varying_rate_becomes_a_standard_one(average: float, expected: Fraction) -> None:
    assert rate(average, varies=True) == expected


@given(st.floats(0, 1e6), st.booleans())
def test_every_rate_is_sane(average: float, varies: bool) -> None:  # noqa: FBT001 - hypothesis passes it by place
    assert 5 <= rate(average, varies=varies) <= Fraction(60) * Fraction(1003, 1000)


def test_high_range_is_tone_mapped_once_before_the_split() -> None:
    text = filters(film(hdr="hdr10", color_transfer="smpte2084", color_primaries="bt2020", color_space="bt2020nc"))
    before, _, after = text.partition("split=2")
    assert "tonemap=" in before
    assert "tin=smpte2084" in before
    assert "tonemap" not in after


def test_a_hybrid_log_gamma_film_is_read_as_one() -> None:
    assert "tin=arib-std-b67" in filters(film(hdr="hlg"))
    assert "tin=arib-std-b67" in filters(film(hdr="dolby-vision", color_transfer="arib-std-b67"))


def test_dolby_vision_over_standard_range_is_not_tone_mapped() -> None:
    assert "tonemap" not in filters(film(hdr="dolby-vision", color_transfer="bt709"))


def test_dolby_vision_that_nobody_else_can_show_is_refused_rather_than_shown_green() -> None:
    with pytest.raises(ProcessingFailed, match="profile 5") as caught:
        filters(film(hdr="dolby-vision", color_transfer=""))
    assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("lines", "told", "expected"),
    [(1080, "", "bt709"), (576, "", "smpte170m"), (576, "bt709", "bt709"), (1080, "bt470bg", "bt470bg")],
)
def test_colours_that_a_film_does_not_tell_are_taken_by_its_size(lines: int, told: str, expected: str) -> None:
    assert f"in_color_matrix={expected}" in filters(film(coded_height=lines, color_space=told))


def test_a_full_range_film_is_read_as_one() -> None:
    assert "in_range=full" in filters(film(color_range="pc"))
    assert "in_range=full" in filters(film(pixel_format="yuvj420p"))
    assert "in_range=limited" in filters(FILM)


def test_a_wide_gamut_is_made_smaller() -> None:
    assert "pin=smpte432" in filters(film(color_primaries="smpte432"))
    assert "zscale" not in filters(film(color_primaries="bt709"))


def test_interlaced_pictures_become_whole_ones() -> None:
    assert "bwdif" in filters(film(interlaced=True))
    assert "bwdif" not in filters(FILM)


def test_what_is_transparent_is_laid_on_white_by_a_decoder_that_sees_it() -> None:
    facts = film(has_alpha=True, codec="vp9")
    assert "overlay" in filters(facts)
    assert "-c:2 libvpx-vp9" in line(facts)
    assert "-c:2 libvpx " in line(film(has_alpha=True, codec="vp8"))
    assert "libvpx-vp9 -fd" not in line(film(has_alpha=True, codec="prores"))


@pytest.mark.parametrize(
    ("channels", "layout", "expected"),
    [(1, "mono", "pan=stereo|c0=c0|c1=c0"), (16, "", "pan=stereo|c0=c0|c1=c1"), (6, "5.1", None), (2, "", None)],
)
def test_every_sound_becomes_stereo(channels: int, layout: str, expected: str | None) -> None:
    sound = replace(FILM.audio[0], channels=channels, channel_layout=layout)
    text = filters(replace(FILM, audio=(sound,)))
    assert "channel_layouts=stereo" in text
    assert expected is None or expected in text
    assert expected is not None or "pan=" not in text


# -- encoders --------------------------------------------------------------------------------------------------------


def test_software_is_always_the_last_resort() -> None:
    assert [encoder.name for encoder in encoders("software")] == ["software"]
    assert [encoder.name for encoder in encoders("nvenc")] == ["nvenc", "software"]
    assert [encoder.name for encoder in encoders("auto")] == ["nvenc", "qsv", "vaapi", "videotoolbox", "software"]
    with pytest.raises(ValueError, match="choose from software, auto"):
        encoders("fast")


@pytest.mark.parametrize("encoder", HARDWARE, ids=lambda encoder: encoder.name)
def test_hardware_keeps_the_caps_and_the_key_frames(encoder: Encoder) -> None:
    text = line(FILM, encoder)
    assert text.count(f"-c:v {encoder.codec} ") == 2
    assert "libx264" not in text
    assert "-maxrate 3000000 -bufsize 6000000" in text
    assert text.count("expr:gte(t,n_forced*2)") == 2
    assert encoder.codec in trial(encoder)
    assert ("hwupload" in text) == ("hwupload" in " ".join(trial(encoder))) == bool(encoder.upload)


def test_an_encoder_in_software_needs_no_device() -> None:
    assert device_files(encoders("software")[0]) == ()


# -- its words -------------------------------------------------------------------------------------------------------


def test_progress_is_a_share_of_the_length() -> None:
    progress = Progress(10.0)
    for told in ("frame=3", "out_time_us=N/A", "out_time_us=2500000\n", "progress=continue"):
        progress.take(told)
    assert (progress.done_seconds, progress.percent) == (2.5, 25)
    progress.take("out_time_us=10000000")
    assert progress.percent == 99
    assert not progress.is_beyond
    progress.take("out_time_us=1000000")
    assert progress.percent == 10, "a crashed run begins anew"


@given(st.lists(st.text()), st.floats(0, 1e6))
def test_progress_understands_or_passes_over_whatever_is_said(told: list[str], seconds: float) -> None:
    progress = Progress(seconds)
    for words in told:
        progress.take(words)
        progress.take(f"out_time_us={words}")
        assert 0 <= progress.percent <= 99


def test_a_film_far_beyond_its_length_is_noticed() -> None:
    progress = Progress(10.0)
    progress.take("out_time_us=80000000")
    assert progress.is_beyond


@pytest.mark.parametrize(
    ("exit_code", "told", "code"),
    [
        (183, "[fatal] corrupt decoded frame", ErrorCode.DECODE),
        (183, "[error] Error submitting packet to decoder: Invalid data found", ErrorCode.DECODE),
        (183, "[error] moov atom not found", ErrorCode.DECODE),
        (69, "[error] Decode error rate 1 exceeds maximum 0.666667", ErrorCode.DECODE),
        (234, "[error] Codec (magicyuv) not on whitelist 'h264'", ErrorCode.UNSUPPORTED),
        (187, "[error] Error while opening encoder", ErrorCode.INTERNAL),
        (1, "", ErrorCode.INTERNAL),
    ],
)
def test_what_went_wrong_has_a_class(exit_code: int, told: str, code: ErrorCode) -> None:
    failed = failure(exit_code, told)
    assert isinstance(failed, ProcessingFailed)
    assert failed.code is code
    assert told in failed.private
    assert told == "" or told not in failed.public


def test_a_full_disk_is_no_fault_of_the_file() -> None:
    assert isinstance(failure(228, "[error] Error writing trailer: No space left on device"), NoSpace)


def test_a_run_that_only_warned_was_a_success() -> None:
    assert failure(0, "[warning] Could not update timestamps") is None


def test_a_title_cannot_pass_for_a_complaint() -> None:
    title = "[info]     title           : No space left on device, moov atom not found"
    failed = failure(183, f"{title}\n[in#0/mov @ 0x1f] [error] Error during demuxing")
    assert isinstance(failed, ProcessingFailed)
    assert (failed.code, failed.why) == (ErrorCode.DECODE, "a part of it is damaged: the decoder refused it")
