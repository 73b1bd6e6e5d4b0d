"""Films, sounds and documents as somebody at the command line meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import sample_clips
from contentplatform.processing.samples import SAMPLE_WORD, sample_document
from e2e.commands import Commands


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A data folder into which one of each was added, by a command that works by itself."""
    source = tmp_path_factory.mktemp("media")
    shutil.copy(sample_clips.three_subtitles_mkv(), source / "talk.mkv")
    shutil.copy(sample_clips.sound_in_a_films_container("mp4"), source / "speech.mp4")
    shutil.copy(sample_clips.with_cover("flac"), source / "song.flac")
    (source / "broken.mp4").write_bytes(sample_clips.film().read_bytes()[:2_000])
    sample_document(source)
    commands = Commands(tmp_path_factory.mktemp("home") / "data")
    ran = commands.run("add", source, code=1)
    assert "broken.mp4  failed: " in ran.out
    assert ran.out.lower().count("the original is kept") == 1
    return commands


def names(home: Commands, key: str) -> set[str]:
    return {rendition["name"] for rendition in home.json("show", key)["renditions"]}


def test_a_film_is_shown_with_what_is_in_it(home: Commands) -> None:
    told = home.run("show", "talk.mkv").out
    assert "captions     " in told
    assert "frames a second" in told
    assert {"480p", "hls", "hls-480p", "poster", "storyboard", "thumbnail"} <= names(home, "talk.mkv")
    assert len([name for name in names(home, "talk.mkv") if name.startswith("captions-")]) == 3


def test_a_film_s_renditions_can_be_taken_out(home: Commands, tmp_path: Path) -> None:
    poster = tmp_path / "poster.jpg"
    home.run("get", "talk.mkv", "--rendition", "poster", "-o", poster)
    assert poster.read_bytes().startswith(b"\xff\xd8\xff")
    assert home.run("get", "talk.mkv", "--rendition", "hls", "-o", "-").stdout.startswith(b"#EXTM3U")


def test_what_is_only_sound_is_a_sound(home: Commands) -> None:
    assert home.json("show", "speech.mp4")["metadata"]["type"] == "audio"
    assert names(home, "speech.mp4") == {"m4a", "opus", "waveform", "peaks"}


def test_a_sound_is_shown_with_its_loudness_and_its_cover(home: Commands) -> None:
    assert " LUFS" in home.run("show", "song.flac").out
    assert {"m4a", "opus", "waveform", "peaks", "thumbnail", "medium"} == names(home, "song.flac")


def test_a_document_is_found_by_its_words(home: Commands) -> None:
    assert [item["file_path"] for item in home.json("search", SAMPLE_WORD)["items"]] == ["letter.pdf"]
    assert "2 pages" in home.run("show", "letter.pdf").out


def test_a_broken_film_says_why_and_was_tried_once(home: Commands) -> None:
    record = home.json("show", "broken.mp4")
    assert (record["processing_status"], record["processing_error_code"]) == ("failed", "E_DECODE")
    [execution] = home.json("executions", "list", "--key", "broken.mp4")["items"]
    events = home.json("executions", "show", execution["name"])["history"]
    assert [event["event"] for event in events if event["state"] == "ProcessVideo"] == [
        "entered",
        "attempt_failed",
        "caught",
    ]


def test_a_twin_and_a_moved_film_are_not_encoded_again_and_their_playlists_are_their_own(
    home: Commands, tmp_path: Path
) -> None:
    twin = tmp_path / "twin of a talk.mkv"
    shutil.copy(sample_clips.three_subtitles_mkv(), twin)
    home.run("add", twin)
    home.run("move", twin.name, "moved.mkv")
    for name in ("hls", "hls-480p", "storyboard-vtt"):
        text = home.run("get", "moved.mkv", "--rendition", name, "-o", "-").out
        assert "moved.mkv_" in text
        assert "twin" not in text
    [execution] = home.json("executions", "list", "--key", "moved.mkv")["items"]
    assert execution["output"]["result"]["reused_from"]


def test_peaks_are_numbers_to_draw(home: Commands) -> None:
    peaks = json.loads(home.run("get", "song.flac", "--rendition", "peaks", "-o", "-").out)
    assert len(peaks["data"]) == 2 * peaks["length"]


def test_nothing_is_wrong_afterwards_and_a_lost_database_comes_back(home: Commands) -> None:
    assert home.json("fsck", "--deep") == {"clean": True, "deep": True, "findings": []}
    before = {item["file_path"]: item["renditions"] for item in home.json("list")["items"]}
    home.run("fsck", "--rebuild-catalog")
    assert {item["file_path"]: item["renditions"] for item in home.json("list")["items"]} == before
