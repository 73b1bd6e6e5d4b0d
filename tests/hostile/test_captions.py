"""Subtitles made to hurt: fonts, paths, scripts and floods come out as harmless words, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import encoded_films
import sample_clips
from contentplatform.processing import playlists
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered, SubtitleTrack
from contentplatform.processing.presets import VideoLimits

SMALLER = VideoLimits(subtitle_bytes=20_000)
CANARY = "canary-4711"


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor(video_limits=SMALLER)
    yield shared
    shared.close()


def _finished(processor: LocalMediaProcessor, film: Path, scratch: Path, *tracks: SubtitleTrack) -> Rendered:
    found = encoded_films.facts(width=320, height=180, seconds=2.0, subtitles=tracks)
    return encoded_films.encoded("hostile", found, source=film).finished(processor, scratch)


def _muxed(subtitles: Path, codec: str, name: str) -> Path:
    film = sample_clips.folder() / name
    sample_clips.ffmpeg(
        *("-i", str(sample_clips.film()), "-i", str(subtitles), "-map", "0:v", "-map", "1"),
        *("-c:v", "copy", "-c:s", codec, str(film)),
    )
    return film


def _captions(rendered: Rendered, name: str = "captions-und") -> str:
    return next(file.path for file in rendered.files if file.name == name).read_text("utf-8")


def _is_harmless(text: str) -> bool:
    """Whether it is WebVTT with no markup but bold, italics and underlining."""
    return text.startswith("WEBVTT\n") and not re.sub(r"</?[biu]>| --> ", "", text).count("<")


def test_fonts_are_names_and_nothing_more(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    canary = tmp_path / CANARY
    canary.write_text(CANARY)
    source = tmp_path / "evil.ass"
    source.write_text(
        "[Script Info]\nScriptType: v4.00+\nPlayResY: 180\n\n[V4+ Styles]\n"
        "Format: Name, Fontname, Fontsize, Alignment\n"
        f"Style: Default,{canary},20,2\nStyle: Net,\\\\169.254.169.254\\font,20,2\n\n"
        f"[Fonts]\nfontname: ../../etc/passwd\n!!!!\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        rf"Dialogue: 0,0:00:00.10,0:00:00.90,Default,,0,0,0,,{{\fn{canary}\fs99\i1}}one{{\fnfile:///etc/passwd}} two"
        "\n"
        r"Dialogue: 0,0:00:01.00,0:00:01.90,Net,,0,0,0,,{\p1}m 0 0 l 9 9{\p0}<script>alert(1)</script>{\r}three"
        "\n"
    )
    film = _muxed(source, "ass", "evil-ass.mkv")
    rendered = _finished(processor, film, tmp_path / "scratch", SubtitleTrack(1, "ass", is_text=True))
    text = _captions(rendered)
    assert text == (
        "WEBVTT\n\n00:00:00.100 --> 00:00:00.900\n<i>one two</i>\n\n"
        "00:00:01.000 --> 00:00:01.900\n&lt;script&gt;alert(1)&lt;/script&gt;three\n"
    )
    for file in rendered.files:
        content = file.path.read_bytes()
        assert CANARY.encode() not in content
        assert b"root:" not in content


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<script>fetch('http://169.254.169.254')</script>", "fetch('http://169.254.169.254')"),
        ("<img src=x onerror=alert(1)>picture", "picture"),
        ("<c.evil><v Bob\nNOTE>words", "\nwords\n"),
        ("<b onclick=alert(1)>bold", "<b>bold</b>"),
        ("<<script>script>deep", "deep"),
        ("00:00:00.000 --> 99:00:00.000", "00:00:00.000 --&gt; 99:00:00.000"),
        ("X-TIMESTAMP-MAP=MPEGTS:1,LOCAL:0", "X-TIMESTAMP-MAP=MPEGTS:1,LOCAL:0"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("&#60;script&#62;", "&lt;script&gt;"),
    ],
)
def test_webvtt_is_written_anew(processor: LocalMediaProcessor, tmp_path: Path, line: str, words: str) -> None:
    source = tmp_path / "evil.vtt"
    source.write_text(
        "WEBVTT\n\nSTYLE\n::cue { background: url(http://169.254.169.254/) }\n\n"
        "REGION\nid:evil\n\n"
        f"00:00:00.100 --> 00:00:01.000 region:evil line:0 size:999%\n{line}\n"
    )
    film = _muxed(source, "copy", "evil-vtt.mkv")
    rendered = _finished(processor, film, tmp_path / "scratch", SubtitleTrack(1, "webvtt", is_text=True))
    text = _captions(rendered)
    assert _is_harmless(text)
    assert "url(" not in text
    assert "region" not in text
    assert words in text
    assert "line:0\n" in text


def test_a_flood_of_cues_is_cut(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    lines = tuple((n / 5_000, n / 5_000 + 0.001, f"{n} " + "flood " * 30) for n in range(5_000))
    film = _muxed(sample_clips.subrip("flood.srt", lines), "srt", "flood.mkv")
    track = SubtitleTrack(1, "subrip", is_text=True)
    rendered = _finished(processor, film, tmp_path / "scratch", track)
    assert len(_captions(rendered).encode()) <= SMALLER.subtitle_bytes
    assert rendered.metadata["subtitle_tracks"][0]["cut"]


def test_titles_and_languages_can_not_write_a_playlist(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    film = sample_clips.three_subtitles_mkv()
    title = 'x",URI="http://169.254.169.254/\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://evil/'
    track = SubtitleTrack(2, "subrip", is_text=True, language='de",URI="http://evil/', title=title)
    rendered = _finished(processor, film, tmp_path / "scratch", track)
    master = playlists.master_from(_captions(rendered, "hls"))
    assert len(master.captions) == 1
    assert len(master.variants) == 1
    assert master.captions[0].language == ""
    assert master.captions[0].uri.startswith("film%20%231.mov_hls-captions-und.m3u8?v=")
