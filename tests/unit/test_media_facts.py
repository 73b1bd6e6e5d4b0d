"""What is told about films and sounds, as far as it is plain text and arithmetic: tags, languages, rates, the kind."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.media import MediaKind
from contentplatform.processing.codecs import (
    AUDIO_CODECS,
    COVER_CODECS,
    DECODERS,
    DEMUXERS,
    LOSSLESS_AUDIO,
    SUBTITLE_CODECS,
    VIDEO_CODECS,
)
from contentplatform.processing.jobs.timing import frame_rate
from contentplatform.processing.languages import language_tag
from contentplatform.processing.port import AudioTrack, Chapter, MediaFacts, SubtitleTrack, VideoTrack
from contentplatform.processing.probe import EXTENSION_TYPES, kind_of
from contentplatform.processing.tags import clean_tags, clean_text, clean_title

VIDEO = VideoTrack(0, "h264", 320, 180, 320, 180, 0, 25.0, frame_rate_varies=False, duration_seconds=2.0)
AUDIO = AudioTrack(1, "aac", 48_000, 2, "stereo", 2.0)
EMPTY = MediaFacts("mov", 2.0, duration_is_exact=True, bit_rate=None, size_bytes=10)


# -- the kind --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (dataclasses.replace(EMPTY, video=(VIDEO,), audio=(AUDIO,)), MediaKind.VIDEO),
        (dataclasses.replace(EMPTY, video=(VIDEO,)), MediaKind.VIDEO),
        (dataclasses.replace(EMPTY, audio=(AUDIO,)), MediaKind.AUDIO),
        (dataclasses.replace(EMPTY, audio=(AUDIO,), has_cover=True), MediaKind.AUDIO),
        (EMPTY, MediaKind.GENERIC),
    ],
)
def test_a_file_is_what_its_tracks_are(facts: MediaFacts, kind: MediaKind) -> None:
    assert kind_of(facts) is kind


def test_facts_survive_the_workflow_as_json() -> None:
    facts = dataclasses.replace(
        EMPTY,
        video=(VIDEO,),
        audio=(AUDIO,),
        subtitles=(SubtitleTrack(2, "subrip", is_text=True, language="de"),),
        chapters=(Chapter(0.0, 1.0, "Anfang"),),
        tags={"title": "Tönend"},
        private={"location": "+52.5+013.4/"},
    )
    assert MediaFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


# -- languages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("fre", "fr"),
        ("fra", "fr"),
        ("chi", "zh"),
        ("gsw", "gsw"),
        ("de", "de"),
        ("EN", "en"),
        ("pt-BR", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("por-BR", "pt-BR"),
        ("und", ""),
        ("zxx", ""),
        ("", ""),
        ("```", ""),
        ("english", ""),
        ("de-'; DROP", ""),
    ],
)
def test_languages_are_in_their_shortest_form(code: str, tag: str) -> None:
    assert language_tag(code) == tag


@given(st.text(max_size=30))
def test_a_language_is_a_tag_or_nothing(code: str) -> None:
    assert all(part.isascii() and part.isalnum() for part in language_tag(code).split("-")) or not language_tag(code)


# -- tags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Hello", "Hello"),
        ("a\0b\x1b[31mc", "ab[31mc"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("\u2066x\u2069", "x"),
        ("e\u0301", "é"),
        ("  two\nlines ", "two\nlines"),
        (b"M\xfcller".decode("utf-8", "surrogateescape"), "Müller"),
        (b"\x93quoted\x94".decode("utf-8", "surrogateescape"), "“quoted”"),
        ("x" * 50, "x" * 20),
    ],
)
def test_words_are_cleaned_and_cut(raw: str, clean: str) -> None:
    assert clean_text(raw, 20) == clean


@given(st.binary(max_size=300))
def test_whatever_a_container_says_can_be_stored(raw: bytes) -> None:
    text = clean_text(raw.decode("utf-8", "surrogateescape"), 100)
    text.encode()
    assert len(text) <= 100
    assert all(character.isprintable() or character.isspace() or character in "\u200c\u200d" for character in text)


def test_a_title_is_one_line() -> None:
    assert clean_title(" a\n b\t c ") == "a b c"


def test_tags_are_sorted_by_whom_they_are_for() -> None:
    tags = clean_tags(
        [
            {
                "TITLE": "Ein Film",
                "major_brand": "isom",
                "encoder": "x",
                "com.apple.quicktime.location.ISO6709": "+52.5+013.4/",
                "location-eng": "+52.5+013.4/",
                "com.apple.quicktime.make": "Apple",
                "product_uid": "1",
                "bad\nname!": "x",
                "comment": "\0\x01",
            },
            {"title": "Another", "artist": "Zoë"},
        ]
    )
    assert tags.public == {"title": "Ein Film", "com.apple.quicktime.make": "Apple", "artist": "Zoë"}
    assert set(tags.private) == {"com.apple.quicktime.location.iso6709", "location-eng"}


def test_tags_are_bounded_in_all() -> None:
    tags = clean_tags([{f"name{number}": "x" * 5_000 for number in range(500)}])
    assert len(tags.public) <= 64
    assert sum(map(len, tags.public.values())) <= 8_000


# -- frame rates -----------------------------------------------------------------------------------------------------


def test_a_plausible_average_is_believed_and_another_measured() -> None:
    times = [number / 25 for number in range(50)]
    assert frame_rate(times, 29.97, 300) == 29.97
    assert frame_rate(times, 60_000, 300) == pytest.approx(25)
    assert frame_rate(times, 0, 300) == pytest.approx(25)
    assert frame_rate([0.0], 60_000, 300) == 0
    assert frame_rate([number / 10_000 for number in range(50)], 10_000, 300) == pytest.approx(10_000)


# -- lists -----------------------------------------------------------------------------------------------------------


def test_no_demuxer_opens_other_files_or_text() -> None:
    refused = {"hls", "dash", "concat", "image2", "sdp", "rtsp", "srt", "ass", "webvtt", "lavfi", "tty", "xbin", "nsv"}
    assert not refused & set(DEMUXERS.values())


def test_every_film_or_sound_that_a_name_can_claim_has_a_demuxer() -> None:
    claimed = {name for name in EXTENSION_TYPES.values() if name.partition("/")[0] in {"audio", "video"}}
    assert claimed - set(DEMUXERS) == {"audio/midi"}


def test_decoders_are_those_of_the_lists() -> None:
    named = {name for codecs in (VIDEO_CODECS, AUDIO_CODECS, SUBTITLE_CODECS, COVER_CODECS) for name in codecs}
    assert {"h264", "aac", "mov_text", "png"} <= named
    assert not {"magicyuv", "xbin", "ansi", "rawvideo", "exr", "jpeg2000"} & (named | set(DECODERS))
    assert set(AUDIO_CODECS) >= LOSSLESS_AUDIO
