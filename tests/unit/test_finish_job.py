"""What is made of an encoded video, and which encoded videos are found to be none."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import encoded_films
import sample_clips
from contentplatform.drivers.confinement import JobLimits
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing import encoding, ladder, local, playlists
from contentplatform.processing.jobs import frames
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    shared = LocalMediaProcessor()
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def finished(processor: LocalMediaProcessor, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The film of two rungs, completed."""
    return encoded_films.two_rungs().finished(processor, tmp_path_factory.mktemp("finished") / "scratch")


def _path(rendered: Rendered, name: str) -> Path:
    return next(file.path for file in rendered.files if file.name == name)


def _text(rendered: Rendered, name: str) -> str:
    return _path(rendered, name).read_text("utf-8")


# -- what is made ------------------------------------------------------------------------------------------------


def test_everything_is_made_that_a_player_wants(finished: Rendered) -> None:
    wanted = set(playlists.film_names(["720p", "480p"], (), 32)) - {"720p", "480p"}
    assert {file.name for file in finished.files} == wanted
    sizes = {file.name: (file.width, file.height) for file in finished.files if file.width}
    assert sizes["poster"] == (1280, 720)
    assert sizes["medium"] == (800, 450)
    assert sizes["thumbnail"] == (150, 84)
    assert sizes["storyboard"] == (7 * 160, 90)
    assert sizes["hls-480p-media"] == (854, 480)


def test_every_reference_leads_to_the_bytes_that_it_names(finished: Rendered) -> None:
    names = encoded_films.two_rungs().names
    by_base = {names[file.name]: file for file in finished.files}
    seen = set()
    for file in finished.files:
        if playlists.refers(file.name):
            text = file.path.read_text("utf-8")
            playlists.check(text, names.values())
            for base in playlists.references(text):
                sha256 = hashlib.sha256(by_base[base].path.read_bytes()).hexdigest()
                assert playlists.reference(base, sha256) in text
                seen.add(by_base[base].name)
    assert seen == {"hls-720p", "hls-480p", "hls-720p-media", "hls-480p-media", "storyboard"}


@pytest.mark.parametrize("rung", ["720p", "480p"])
def test_segments_begin_with_key_frames_and_hold_the_whole_film(finished: Rendered, rung: str, tmp_path: Path) -> None:
    playlist = playlists.media_from(_text(finished, f"hls-{rung}"))
    content = _path(finished, f"hls-{rung}-media").read_bytes()
    assert playlist.init is not None
    assert playlist.init.length == playlist.segments[0].offset
    assert [segment.duration_seconds for segment in playlist.segments] == pytest.approx([6.0, 1.0], abs=0.001)
    assert sum(segment.length or 0 for segment in playlist.segments) + (playlist.init.length or 0) == len(content)
    frames_seen = 0
    for number, segment in enumerate(playlist.segments):
        # A decoder that gets nothing but the beginning and one segment shows all of its pictures.
        alone = tmp_path / f"{number}.mp4"
        end = segment.offset + (segment.length or 0)
        alone.write_bytes(content[: playlist.init.length] + content[segment.offset : end])
        with av.open(alone) as container:
            shown = list(container.decode(video=0))
        assert shown[0].key_frame
        frames_seen += len(shown)
    assert frames_seen == 7 * encoded_films.RATE


def test_the_copy_for_hls_is_the_same_film(finished: Rendered) -> None:
    def packets(path: Path) -> list[tuple[str, float, bytes]]:
        with av.open(path) as container:
            return sorted(
                (packet.stream.type, round(float((packet.pts or 0) * packet.time_base), 4), bytes(packet))
                for packet in container.demux()
                if packet.size
            )

    assert packets(_path(finished, "hls-720p-media")) == packets(encoded_films.two_rungs().rungs["720p"])


def test_the_master_playlist_measures_its_rungs(finished: Rendered) -> None:
    master = playlists.master_from(_text(finished, "hls"))
    assert [(v.width, v.height, v.frame_rate) for v in master.variants] == [(1280, 720, 25.0), (854, 480, 25.0)]
    best, smaller = master.variants
    assert best.codecs == "avc1.4d401f,mp4a.40.2"
    assert smaller.codecs == "avc1.4d401e,mp4a.40.2"
    media = playlists.media_from(_text(finished, "hls-720p"))
    size = sum(segment.length or 0 for segment in media.segments)
    assert best.mean_bits_per_second == pytest.approx(size * 8 / 7, rel=0.001)
    assert best.peak_bits_per_second >= best.mean_bits_per_second


def test_the_storyboard_shows_the_film_a_tile_a_second(finished: Rendered) -> None:
    tiles = playlists.storyboard_from(_text(finished, "storyboard-vtt"))
    assert [(tile.start_seconds, tile.end_seconds) for tile in tiles] == [(n, n + 1) for n in range(7)]
    film = encoded_films.two_rungs().rungs["480p"]
    with Image.open(_path(finished, "storyboard")) as sprite, av.open(film) as container:
        shown = [_image(frame) for frame in container.decode(video=0)]
        for number, tile in enumerate(tiles):
            assert tile.left + tile.width <= sprite.width
            assert tile.top + tile.height <= sprite.height
            box = (tile.left, tile.top, tile.left + tile.width, tile.top + tile.height)
            wanted = shown[int((number + 0.5) * encoded_films.RATE + 0.5)].resize((160, 90), Image.Resampling.BOX)
            assert _difference(sprite.convert("RGB").crop(box), wanted) < 12


def _image(frame: av.VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _difference(one: Image.Image, other: Image.Image) -> float:
    pairs = zip(one.convert("RGB").tobytes(), other.convert("RGB").tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pairs) / (one.width * one.height * 3)


def test_colours_come_out_as_they_went_in(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    rendered = encoded_films.small().finished(processor, tmp_path / "scratch")
    with Image.open(_path(rendered, "poster")) as poster:
        assert poster.size == (320, 180)
        assert "exif" not in poster.info
        corners = [poster.convert("RGB").getpixel(place) for place in ((80, 45), (240, 45), (80, 135), (240, 135))]
    for found, wanted in zip(corners, [(220, 30, 30), (30, 180, 40), (40, 60, 220), (230, 210, 40)], strict=True):
        assert isinstance(found, tuple)
        assert all(abs(a - b) <= 14 for a, b in zip(found, wanted, strict=True)), (found, wanted)


def test_facts_are_told_and_private_ones_apart(finished: Rendered) -> None:
    facts = finished.metadata
    assert (facts["width"], facts["height"], facts["duration_seconds"], facts["format"]) == (1280, 720, 7.0, "MP4")
    assert facts["codecs"] == ["h264", "aac"]
    assert facts["frame_rate"] == 25.0
    assert facts["private"] == {"location": "+52.5200+013.4050/"}
    assert facts["camera"] == "Apple"
    assert "52.5" not in repr({name: value for name, value in facts.items() if name != "private"})
    assert finished.descriptive == {"title": "A film", "credit": "Zoë", "rights": "© Zoë"}


def test_a_film_without_sound_has_none(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    rendered = encoded_films.silent().finished(processor, tmp_path / "scratch")
    assert playlists.master_from(_text(rendered, "hls")).variants[0].codecs == "avc1.4d400c"
    assert rendered.metadata["codecs"] == ["h264"]
    assert "audio_tracks" not in rendered.metadata


def test_captions_are_taken_and_offered(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    film = encoded_films.with_captions()
    rendered = film.finished(processor, tmp_path / "scratch")
    assert "Tom &amp; Jerry &lt;3" in _text(rendered, "captions-en")
    offered = playlists.master_from(_text(rendered, "hls")).captions
    assert [(track.title, track.language, track.is_forced) for track in offered] == [
        ("English", "en", False),
        ("Deutsch", "de", False),
        ("Schilder", "de", True),
    ]
    assert unquote(offered[2].uri).startswith(film.names["hls-captions-de-2"])
    whole = playlists.media_from(_text(rendered, "hls-captions-de"))
    assert whole.segments[0].duration_seconds == pytest.approx(2.0)
    told = rendered.metadata["subtitle_tracks"]
    assert [track.get("captions") for track in told] == ["captions-en", "captions-de", "captions-de-2", None]
    assert told[2]["is_forced"]


def test_the_poster_is_neither_black_nor_blurred(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    # Black for two seconds, then out of focus for two, then sharp.
    sharp = f"testsrc2=s=320x180:r={encoded_films.RATE}:d=6"
    black, blurred = "drawbox=t=fill:c=black:enable='lt(t,2)'", "gblur=sigma=9:enable='between(t,2,4)'"
    pictures = ("-f", "lavfi", "-i", f"{sharp},{blurred},{black}")
    film = encoded_films.encoded("focus", encoded_films.facts(width=320, height=180, seconds=6.0), pictures=pictures)
    rendered = film.finished(processor, tmp_path / "scratch")
    with Image.open(_path(rendered, "poster")) as poster, av.open(film.rungs["480p"]) as container:
        shown = [_image(frame) for frame in container.decode(video=0)]
        differences = [_difference(poster, frame) for frame in shown]
    assert differences.index(min(differences)) >= 4 * encoded_films.RATE


# -- what is found -----------------------------------------------------------------------------------------------

Breaking = Callable[[Path, Path], None]
"""Writes a broken form of one file as another."""


def _copied(*arguments: str) -> Breaking:
    def run(source: Path, target: Path) -> None:
        sample_clips.ffmpeg("-i", str(source), "-c", "copy", *arguments, str(target))

    return run


def _again(*arguments: str) -> Breaking:
    def run(source: Path, target: Path) -> None:
        codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy", "-movflags", "+faststart")
        sample_clips.ffmpeg("-i", str(source), *codecs, *arguments, str(target))

    return run


def _cut(share: float) -> Breaking:
    def run(source: Path, target: Path) -> None:
        content = source.read_bytes()
        target.write_bytes(content[: int(len(content) * share)])

    return run


def _scratched(at_seconds: float) -> Breaking:
    """The bytes of one picture's slices replaced, their lengths left."""

    def run(source: Path, target: Path) -> None:
        content = bytearray(source.read_bytes())
        with av.open(source) as container:
            packet = next(
                packet
                for packet in container.demux(video=0)
                if packet.size and float((packet.pts or 0) * packet.time_base) >= at_seconds and packet.is_keyframe
            )
            place, size = packet.pos or 0, packet.size
        middle = place + size // 2
        content[middle : place + size] = bytes(255 - byte for byte in content[middle : place + size])
        target.write_bytes(content)

    return run


def _zeroed(source: Path, target: Path) -> None:
    """A stretch in the middle that was never written."""
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = bytes(2_000)
    target.write_bytes(content)


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (_cut(0.6), "480p has no pictures, or not all of them"),
        (_cut(0.002), "480p has no index"),
        (_copied("-movflags", "-faststart"), "480p has its index behind the pictures"),
        (_copied("-an", "-movflags", "+faststart"), "480p has no sound, as the original does"),
        (_copied("-t", "4", "-movflags", "+faststart"), "480p lasts 4."),
        (_copied("-bsf:a", "setts=ts=TS+9600", "-movflags", "+faststart"), "its sound 0.1"),
        (_copied("-bsf:v", "noise=drop=not(mod(n\\,40)-39)", "-movflags", "+faststart"), "480p "),
        (_again("-s", "240x136", "-force_key_frames", "expr:gte(t,n_forced*2)"), "is 240 x 136 instead of 320 x 180"),
        (_again("-pix_fmt", "yuv444p"), "yuv444p instead of yuv420p"),
        (_again("-g", "250"), "480p has no key frame for 5"),
        (_again("-c:v", "mpeg4"), "pictures in mpeg4 instead of H.264"),
        (_again("-c:a", "libmp3lame"), "sound in mp3 instead of AAC"),
        (_scratched(0.0), "480p can't be decoded at about 0."),
        (_scratched(2.0), "480p can't be decoded at about 2."),
        (_scratched(4.0), "480p can't be decoded at about 4."),
        (_zeroed, "480p can't be decoded at about 2."),
    ],
)
def test_a_broken_rung_is_found(processor: LocalMediaProcessor, tmp_path: Path, breaking: Breaking, words: str) -> None:
    film = encoded_films.small()
    broken = tmp_path / "broken.mp4"
    breaking(film.rungs["480p"], broken)
    with pytest.raises(ProcessingFailed) as raised:
        replace(film, rungs={"480p": broken}).finished(processor, tmp_path / "scratch")
    assert raised.value.code is ErrorCode.DECODE
    assert words in raised.value.why


def test_sound_where_the_original_has_none_is_found(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    film = replace(encoded_films.small(), facts=encoded_films.facts(width=320, height=180, seconds=5, with_sound=False))
    with pytest.raises(ProcessingFailed, match="has sound, and the original has none"):
        film.finished(processor, tmp_path / "scratch")


def test_rungs_of_different_lengths_are_found(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    film = encoded_films.two_rungs()
    shorter = tmp_path / "shorter.mp4"
    _copied("-t", "5", "-movflags", "+faststart")(film.rungs["480p"], shorter)
    vague = replace(film.facts, duration_is_exact=False)
    broken = replace(film, rungs={**film.rungs, "480p": shorter}, facts=vague)
    with pytest.raises(ProcessingFailed, match=r"480p lasts 5\.\d+ s, and 720p 7\.000 s"):
        broken.finished(processor, tmp_path / "scratch")


def test_a_rung_too_few_is_found(processor: LocalMediaProcessor, tmp_path: Path) -> None:
    film = encoded_films.two_rungs()
    with pytest.raises(ProcessingFailed, match="as 480p instead of 720p, 480p"):
        replace(film, rungs={"480p": film.rungs["480p"]}).finished(processor, tmp_path / "scratch")


def test_a_film_that_shows_nothing_still_has_a_poster() -> None:
    black = [frames.Look(float(n), 3.0, float(n == 2), 0.0, np.zeros(4)) for n in range(4)]
    assert frames.most_telling(black).seconds == 2.0


def test_a_playlist_that_leads_elsewhere_is_not_let_out(tmp_path: Path) -> None:
    names = encoded_films.small().names
    honest = playlists.media_text(
        playlists.Playlist(playlists.reference(names["hls-480p-media"], "ab" * 32), 6, (playlists.Segment(6.0, 5, 2),))
    )
    (tmp_path / "hls-480p.m3u8").write_text(honest)
    local.check_references(tmp_path / "hls-480p.m3u8", names)
    (tmp_path / "hls-480p.m3u8").write_text(honest.replace("film", "http://169.254.169.254/film"))
    with pytest.raises(ProcessingFailed) as raised:
        local.check_references(tmp_path / "hls-480p.m3u8", names)
    assert raised.value.code is ErrorCode.CRASH


def test_a_film_of_hours_has_the_time_and_the_room_that_it_needs() -> None:
    film = encoded_films.small()
    hours = replace(film.facts, duration_seconds=36_000.0)
    usual = JobLimits()
    limits = local.finishing_limits(usual, film.source, film.rungs.values(), hours)
    assert limits.wall_seconds >= usual.wall_seconds + 3_600
    assert limits.cpu_seconds >= usual.cpu_seconds + 3_600
    assert limits.scratch_bytes >= usual.scratch_bytes


# -- originals of every sort -------------------------------------------------------------------------------------


def _made(name: str, *arguments: str) -> Path:
    path = sample_clips.folder() / name
    sample_clips.ffmpeg(*arguments, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))
    return path


def _sounding(name: str, pictures: float, sound: float, *before_sound: str) -> Path:
    return _made(name, *sample_clips.picture(seconds=pictures), *before_sound, *sample_clips.tone(seconds=sound))


@pytest.mark.parametrize(
    "film",
    [
        sample_clips.portrait_phone,
        sample_clips.variable_frame_rate,
        sample_clips.interlaced,
        sample_clips.odd_sized,
        lambda: _made("ntsc.mkv", *sample_clips.picture(rate=29.97, seconds=1.5), *sample_clips.tone(seconds=1.5)),
        lambda: _sounding("long-sound.mp4", 1.0, 15.0),
        lambda: _sounding("short-sound.mkv", 2.0, 0.5),
        lambda: _sounding("late-sound.mkv", 2.0, 1.0, "-itsoffset", "1"),
        lambda: _made("late.mkv", "-itsoffset", "0.7", *sample_clips.picture(), *sample_clips.tone()),
        lambda: _made("one-frame.mp4", *sample_clips.picture(seconds=0.04)),
    ],
)
def test_what_was_encoded_well_passes_however_the_original_counts_time(
    processor: LocalMediaProcessor, tmp_path: Path, film: Callable[[], Path]
) -> None:
    source = film()
    probed = processor.probe(source, tmp_path)
    rungs = ladder.plan(probed, str)
    words = [imageio_ffmpeg.get_ffmpeg_exe(), *encoding.command(probed, rungs)]
    # The product's own arguments; they read the original from descriptor 3.
    subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 3<"$0"', source, *words], cwd=tmp_path, check=True, capture_output=True, timeout=60
    )
    files = {rung.name: tmp_path / encoding.file_name(rung) for rung in rungs}
    rendered = encoded_films.EncodedFilm(source, files, probed).finished(processor, tmp_path / "scratch")
    playlist = playlists.media_from(_text(rendered, f"hls-{rungs[-1].name}"))
    whole = sum(segment.duration_seconds for segment in playlist.segments)
    sound = max((track.duration_seconds for track in probed.audio), default=0.0)
    assert whole >= probed.video[0].duration_seconds - 0.1
    assert whole <= max(sound, probed.video[0].duration_seconds + probed.video[0].start_seconds) + 0.1


@pytest.mark.shared_media
def test_a_real_film_has_a_poster(processor: LocalMediaProcessor, tmp_path: Path, shared_media: Path) -> None:
    film = shared_media / "realshort.mp4"
    probed = processor.probe(film, tmp_path)
    rendered = encoded_films.encoded("real", probed, pictures=("-i", str(film))).finished(processor, tmp_path / "out")
    with Image.open(_path(rendered, "poster")) as poster:
        assert poster.size == (320, 240)
        assert max(poster.convert("L").tobytes()) > 200
