"""Playlists and the storyboard: written, read back, and led to other neighbours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentplatform.delivery import rules
from contentplatform.processing import playlists
from contentplatform.processing.playlists import Captions, Master, Playlist, Segment, Tile, Variant
from contentplatform.processing.port import SubtitleTrack
from contentplatform.processing.presets import place_of

SHA = "0123456789abcdef" * 4
OTHER_SHA = "fedcba9876543210" * 4
NAMES = {
    "hls-720p": "a b#?.mov_hls-720p.m3u8",
    "hls-720p-media": "a b#?.mov_hls-720p.mp4",
    "hls-captions-de": "a b#?.mov_hls-captions-de.m3u8",
    "captions-de": "a b#?.mov_captions-de.vtt",
    "storyboard": "a b#?.mov_storyboard.jpg",
}
OTHER_NAMES = {name: base.replace("a b#?.mov", "ü:1.mp4") for name, base in NAMES.items()}


def _uri(name: str) -> str:
    return playlists.reference(NAMES[name], SHA)


MEDIA = Playlist(
    _uri("hls-720p-media"), 6, (Segment(6.006, 4_000, 900), Segment(1.5, 1_000, 4_900)), Segment(0.0, 900, 0)
)
MASTER = Master(
    (Variant(_uri("hls-720p"), 3_100_000, 2_000_000, "avc1.64001f,mp4a.40.2", 1_280, 720, 29.97),),
    (
        Captions(_uri("hls-captions-de"), "Deutsch (SDH)", "de"),
        Captions(_uri("hls-captions-de"), "und", "", is_forced=True),
    ),
)
TILES = (Tile(0.0, 1.0, _uri("storyboard"), 0, 0, 160, 90), Tile(1.0, 3_723.5, _uri("storyboard"), 160, 90, 160, 90))
TEXTS = [playlists.media_text(MEDIA), playlists.master_text(MASTER), playlists.storyboard_text(TILES)]


def test_a_media_playlist_tells_where_segments_lie() -> None:
    assert playlists.media_text(MEDIA).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="a%20b%23%3F.mov_hls-720p.mp4?v=0123456789abcdef",BYTERANGE="900@0"',
        "#EXTINF:6.006000,",
        "#EXT-X-BYTERANGE:4000@900",
        "a%20b%23%3F.mov_hls-720p.mp4?v=0123456789abcdef",
        "#EXTINF:1.500000,",
        "#EXT-X-BYTERANGE:1000@4900",
        "a%20b%23%3F.mov_hls-720p.mp4?v=0123456789abcdef",
        "#EXT-X-ENDLIST",
    ]


def test_a_master_playlist_tells_what_there_is_to_choose() -> None:
    german, unknown, variant, uri = playlists.master_text(MASTER).splitlines()[3:]
    assert german == (
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="Deutsch (SDH)",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES'
        ',FORCED=NO,URI="a%20b%23%3F.mov_hls-captions-de.m3u8?v=0123456789abcdef"'
    )
    assert unknown == (
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="und",DEFAULT=NO,AUTOSELECT=YES'
        ',FORCED=YES,URI="a%20b%23%3F.mov_hls-captions-de.m3u8?v=0123456789abcdef"'
    )
    assert variant == (
        '#EXT-X-STREAM-INF:BANDWIDTH=3100000,AVERAGE-BANDWIDTH=2000000,CODECS="avc1.64001f,mp4a.40.2"'
        ',RESOLUTION=1280x720,FRAME-RATE=29.970,SUBTITLES="captions"'
    )
    assert uri == "a%20b%23%3F.mov_hls-720p.m3u8?v=0123456789abcdef"


def test_what_was_written_is_read_back() -> None:
    assert playlists.media_from(TEXTS[0]) == MEDIA
    assert playlists.master_from(TEXTS[1]) == MASTER
    assert playlists.storyboard_from(TEXTS[2]) == TILES
    without = replace(MASTER, captions=())
    assert playlists.master_from(playlists.master_text(without)) == without
    whole = Playlist(_uri("captions-de"), 60, (Segment(59.5),))
    assert playlists.media_from(playlists.media_text(whole)) == whole


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_but_ours_is_read(text: str) -> None:
    for changed in (
        text + '#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/passwd"\n',
        text.replace("a%20b", "http://169.254.169.254/a%20b"),
        text.replace("a%20b", "../a%20b"),
        text.replace("a%20b", "a+b"),
        text.replace("?v=0123456789abcdef", ""),
        text.replace("\n", "\r\n"),
        text[:-4],
        "",
    ):
        with pytest.raises(ValueError, match=r"."):
            playlists.check(changed, NAMES.values())
    playlists.check(text, NAMES.values())


@pytest.mark.parametrize("text", TEXTS)
def test_a_reference_to_a_stranger_is_found(text: str) -> None:
    with pytest.raises(ValueError, match="refers to"):
        playlists.check(text, ["another.mp4"])


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_led_to_the_same_neighbours_under_another_key(text: str) -> None:
    moved = playlists.renamed(text, NAMES, OTHER_NAMES, dict.fromkeys(NAMES, OTHER_SHA))
    assert "a%20b" not in moved
    assert "0123456789abcdef" not in moved
    assert "%C3%BC%3A1.mp4_" in moved
    assert playlists.renamed(moved, OTHER_NAMES, NAMES, dict.fromkeys(NAMES, SHA)) == text
    with pytest.raises(ValueError, match="nothing is known"):
        playlists.renamed(text, NAMES, OTHER_NAMES, {})
    with pytest.raises(ValueError, match="nothing is known"):
        playlists.renamed(text, OTHER_NAMES, NAMES, dict.fromkeys(NAMES, SHA))


def test_each_text_comes_after_those_that_it_refers_to() -> None:
    names = ["hls", "hls-720p", "hls-captions-de", "captions-de", "storyboard-vtt", "storyboard", "hls-720p-media"]
    order = playlists.children_first(names)
    for text, child in [
        ("hls", "hls-720p"),
        ("hls", "hls-captions-de"),
        ("hls-captions-de", "captions-de"),
        ("hls-720p", "hls-720p-media"),
        ("storyboard-vtt", "storyboard"),
    ]:
        assert order.index(child) < order.index(text)
    assert [name for name in names if playlists.refers(name)] == [
        "hls",
        "hls-720p",
        "hls-captions-de",
        "storyboard-vtt",
    ]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30))
def test_a_reference_is_the_last_part_of_the_path_on_the_edge(name: str) -> None:
    base = name.replace("/", "_")
    path = rules.path_of(f"video-processed/{base}", SHA)
    assert path == f"/video-processed/{playlists.reference(base, SHA)}"


def test_bandwidth_is_the_worst_run_and_the_mean_of_all() -> None:
    segments = [Segment(6.0, 600_000), Segment(6.0, 1_200_000), Segment(1.0, 900_000)]
    # The last second alone is shorter than half the target: only together with its neighbour does it count.
    assert playlists.peak_bits_per_second(segments, 6) == 2_400_000
    assert playlists.mean_bits_per_second(segments) == 1_661_539
    assert playlists.target_seconds([Segment(6.4), Segment(2.0)]) == 6
    assert playlists.target_seconds([Segment(6.5)]) == 7
    assert playlists.target_seconds([Segment(0.2)]) == 1


def _track(index: int, language: str, codec: str = "subrip", title: str = "", *, is_text: bool = True) -> SubtitleTrack:
    return SubtitleTrack(index, codec, is_text, language, title)


def test_captions_are_named_by_language() -> None:
    tracks = [
        _track(2, "de"),
        _track(3, "de", "ass", 'Kom"mentar\n'),
        _track(4, "../x"),
        _track(5, "en", "hdmv_pgs_subtitle", is_text=False),
        _track(6, "pt-BR", "mov_text"),
        _track(7, "de"),
    ]
    named = playlists.caption_tracks(tracks, 32)
    assert {name: track.index for name, track in named.items()} == {
        "captions-de": 2,
        "captions-de-2": 3,
        "captions-und": 4,
        "captions-pt-BR": 6,
        "captions-de-3": 7,
    }
    assert list(playlists.caption_titles(named).values()) == ["de", "Kommentar", "Captions", "pt-BR", "de 2"]
    assert len(playlists.caption_tracks(tracks, 2)) == 2


def test_every_name_of_a_film_has_its_place() -> None:
    names = playlists.film_names(["720p", "480p"], [_track(2, "de"), _track(3, "de")], 32)
    assert names["hls-480p-media"] == "mp4"
    assert names["captions-de-2"] == "vtt"
    assert names["hls-captions-de-2"] == "m3u8"
    places = [(place_of(name), extension) for name, extension in names.items()]
    assert len(set(places)) == len(names)
