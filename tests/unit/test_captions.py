"""Subtitles of every sort become WebVTT that says the same words, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sample_clips
from contentplatform.processing.jobs import captions
from contentplatform.processing.jobs.cues import Cue, CueReader, webvtt
from contentplatform.processing.playlists import caption_tracks
from contentplatform.processing.port import SubtitleTrack
from contentplatform.processing.presets import VideoLimits

ASS_HEADER = b"""[Script Info]
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, Bold, Italic, Underline, Alignment
Style: Default,Arial,20,0,0,0,2
Style: Top,Arial,20,0,-1,0,8

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _text(codec: str, payload: bytes, header: bytes = b"", settings: bytes = b"") -> tuple[str, str] | None:
    cue = CueReader(codec, header).cue(payload, 0.0, 1.0, settings)
    return None if cue is None else (cue.text, cue.settings)


def _ass(text: str, style: str = "Default") -> tuple[str, str] | None:
    return _text("ass", f"0,0,{style},,0,0,0,,{text}".encode(), ASS_HEADER)


@pytest.mark.parametrize(
    ("payload", "text", "settings"),
    [
        ("Good morning", "Good morning", ""),
        ("one\r\n\r\n\r\ntwo\rthree", "one\ntwo\nthree", ""),
        ("<i>Slanted</i> <B>bold</B>", "<i>Slanted </i><b>bold</b>", ""),
        ("<b>over\ntwo lines</b>", "<b>over</b>\n<b>two lines</b>", ""),
        ("<b><i>both</b> left</i>", "<b><i>both</i></b><i> left</i>", ""),
        ("<i>never closed", "<i>never closed</i>", ""),
        ('<font color="#ff0000" face="Evil">red</font>', "red", ""),
        ("Tom & Jerry <3", "Tom &amp; Jerry &lt;3", ""),
        ("a < b > c --> d", "a &lt; b &gt; c --&gt; d", ""),
        ("&amp; stays as written", "&amp;amp; stays as written", ""),
        (r"{\an8}Above", "Above", "line:0"),
        (r"{\a5}Above left", "Above left", "line:0 align:left"),
        ("{not an override}", "{not an override}", ""),
        ("nul\0 bell\a\x1b[31m", "nul bell[31m", ""),
        ("\u202eright to left\u202c", "right to left", ""),
        ("می‌خواهم", "می‌خواهم", ""),
    ],
)
def test_subrip(payload: str, text: str, settings: str) -> None:
    assert _text("subrip", payload.encode()) == (text, settings)


@pytest.mark.parametrize(
    ("source", "text", "settings"),
    [
        (r"One\NTwo\nthree\hfour", "One\nTwo three\N{NO-BREAK SPACE}four", ""),
        (r"{\i1}slanted{\i0} not", "<i>slanted</i> not", ""),
        (r"{\b700}bold{\b400} not", "<b>bold</b> not", ""),
        (r"{\fnEvil\fs40\c&H0000FF&\i1}styled", "<i>styled</i>", ""),
        (r"{\b1\be1\iclip(1,2)\bord2\t(0,9,\i1)}bold", "<b>bold</b>", ""),
        (r"{\an9}corner", "corner", "line:0 align:right"),
        (r"{\an5\pos(10,20)}middle", "middle", "line:0"),
        (r"{\pos(640,1000)}below", "below", ""),
        (r"{\k20}ka{\k30}ra{\k10}o{\k10}ke", "karaoke", ""),
        (r"{\p1}m 0 0 l 100 0 100 100{\p0}words", "words", ""),
        (r"with, commas, in it", "with, commas, in it", ""),
        (r"an { unclosed brace", "an { unclosed brace", ""),
        (r"<b>no tag here</b>", "&lt;b&gt;no tag here&lt;/b&gt;", ""),
    ],
)
def test_ass(source: str, text: str, settings: str) -> None:
    assert _ass(source) == (text, settings)


def test_an_ass_style_tells_where_and_how() -> None:
    assert _ass("a sign", style="Top") == ("<i>a sign</i>", "line:0")
    assert _ass(r"{\rDefault}plain", style="Top") == ("plain", "line:0")
    assert _ass(r"{\p1}m 0 0 l 5 5") is None
    assert _text("ass", b"too,few,fields") is None


def test_timed_text_of_mp4() -> None:
    style = (1).to_bytes(2, "big") + (0).to_bytes(2, "big") + (4).to_bytes(2, "big") + bytes((0, 1, 2, 18)) + bytes(4)
    box = (8 + len(style)).to_bytes(4, "big") + b"styl" + style
    words = "Grüß <i>Gott</i>".encode()
    assert _text("mov_text", len(words).to_bytes(2, "big") + words + box) == ("<i>Grüß </i>&lt;i&gt;Gott&lt;/i&gt;", "")
    wide = b"\xfe\xff" + "Žluť".encode("utf-16-be")
    assert _text("mov_text", len(wide).to_bytes(2, "big") + wide) == ("Žluť", "")
    assert _text("mov_text", b"\0\0") is None
    assert _text("mov_text", b"\xff\xffcut") == ("cut", "")


def test_webvtt_keeps_its_places_and_loses_its_tags() -> None:
    assert _text("webvtt", b"<v Esme>Hello <c.red>you</c> &lt;3 &amp;", settings=b"line:10% align:start region:x") == (
        "Hello you &lt;3 &amp;",
        "line:10% align:start",
    )
    assert _text("webvtt", b"x", settings=b"line:999% position:a size:50%\nNOTE evil") == ("x", "size:50%")
    payload = b"Boxed"
    inner = (8 + len(payload)).to_bytes(4, "big") + b"payl" + payload + (8 + 6).to_bytes(4, "big") + b"sttgline:0"
    assert _text("webvtt", (8 + len(inner)).to_bytes(4, "big") + b"vttc" + inner) == ("Boxed", "line:0")
    assert _text("webvtt", b"\0\0\0\x08vtte") is None


# -- the file ----------------------------------------------------------------------------------------------------


def _file(*cues: Cue, until: float = 100.0, limit: int = 10_000) -> str:
    return webvtt(cues, until_seconds=until, limit_bytes=limit)


def test_cues_are_in_order_and_within_the_film() -> None:
    written = _file(Cue(5, 6, "later"), Cue(-1, 2, "early"), Cue(8, 30, "long"), Cue(50, 51, "beyond"), until=10)
    assert written == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nearly\n\n"
        "00:00:05.000 --> 00:00:06.000\nlater\n\n00:00:08.000 --> 00:00:10.000\nlong\n"
    )


def test_cues_may_overlap() -> None:
    assert _file(Cue(1, 5, "a"), Cue(2, 3, "b", "line:0")) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:05.000\na\n\n00:00:02.000 --> 00:00:03.000 line:0\nb\n"
    )


def test_a_cue_without_an_end_lasts_until_the_next() -> None:
    assert "00:00:01.000 --> 00:00:03.000\na" in _file(Cue(1, 1, "a"), Cue(3, 3, "b"))
    assert "00:00:03.000 --> 00:00:10.000\nb" in _file(Cue(1, 1, "a"), Cue(3, 3, "b"))


def test_a_sign_drawn_frame_by_frame_is_one_cue() -> None:
    layers = [Cue(n / 25, (n + 1) / 25, "EXIT", "line:0") for n in range(50) for _ in range(3)]
    assert _file(*layers) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.000 line:0\nEXIT\n"
    assert _file(Cue(1, 2, "Yes"), Cue(5, 6, "Yes")).count("Yes") == 2


def test_a_file_is_bounded() -> None:
    many = [Cue(n, n + 1, f"cue {n}") for n in range(99)]
    written = _file(*many, limit=1_000)
    assert len(written.encode()) <= 1_000
    assert written.endswith("\n")
    assert "cue 0\n" in written
    assert _file() == ""


@given(
    st.sampled_from(["subrip", "text", "mov_text", "webvtt", "ass"]), st.binary(max_size=200), st.binary(max_size=60)
)
def test_whatever_the_bytes_are_the_text_is_harmless(codec: str, payload: bytes, settings: bytes) -> None:
    head = {"ass": b"0,0,Default,,0,0,0,,", "mov_text": b"\0\xc8"}.get(codec, b"")
    found = _text(codec, head + payload, ASS_HEADER, settings)
    if found is not None:
        text, places = found
        bare = text
        for mark in ("<b>", "</b>", "<i>", "</i>", "<u>", "</u>"):
            bare = bare.replace(mark, "")
        assert "<" not in bare
        assert ">" not in bare
        assert "-->" not in text
        assert "" not in text.split("\n")
        assert "\n" not in places
        assert "\0" not in text + places


# -- out of films ------------------------------------------------------------------------------------------------


def _taken(film: Path, codecs: tuple[str, ...], limits: VideoLimits | None = None) -> captions.Taken:
    languages = ("en", "de", "de")
    tracks = [SubtitleTrack(2 + n, codec, True, languages[n]) for n, codec in enumerate(codecs)]  # noqa: FBT003 - text
    source = os.open(film, os.O_RDONLY)
    try:
        return captions.take(source, caption_tracks(tracks, 32), limits or VideoLimits(), film_seconds=2.0)
    finally:
        os.close(source)


@pytest.mark.parametrize(
    ("film", "codecs"),
    [
        (sample_clips.three_subtitles_mkv, ("subrip", "ass", "subrip")),
        (sample_clips.three_subtitles_mp4, ("mov_text",) * 3),
    ],
)
def test_every_track_of_a_film_is_taken(film: object, codecs: tuple[str, ...]) -> None:
    assert callable(film)
    taken = _taken(film(), codecs)
    assert taken.cut == ()
    assert taken.texts == {
        "captions-en": (
            "WEBVTT\n\n00:00:00.200 --> 00:00:00.900\nGood morning\n\n"
            "00:00:01.000 --> 00:00:01.800\nTom &amp; Jerry &lt;3\n"
        ),
        "captions-de": (
            "WEBVTT\n\n00:00:00.200 --> 00:00:00.900\nGuten Morgen\n\n00:00:01.000 --> 00:00:01.800\nGrüße aus Köln\n"
        ),
        "captions-de-2": "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n[Schild: Ausgang]\n",
    }


def test_a_track_that_is_too_long_is_cut_and_says_so() -> None:
    limits = VideoLimits(subtitle_bytes=14)
    taken = _taken(sample_clips.three_subtitles_mkv(), ("subrip", "ass", "subrip"), limits)
    assert "captions-en" in taken.cut
