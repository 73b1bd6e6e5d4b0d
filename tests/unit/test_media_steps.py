"""What becomes of films, sounds and documents in the workflow, over a platform in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from contentplatform.catalog.port import Record
from contentplatform.errors import ErrorCode
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.processing.playlists import references
from contentplatform.processing.port import Chapter, TranscodeState, TranscodeStatus
from contentplatform.processing.presets import recipe
from contentplatform.storage.port import BucketRole
from contentplatform.workflow.port import DATA_LIMIT_BYTES, ExecutionStatus
from fakes.platform import BROKEN, SILENT_PICTURES, MemoryPlatform, document, film, sound

FILM = {
    "720p",
    "480p",
    "poster",
    "thumbnail",
    "medium",
    "storyboard",
    "storyboard-vtt",
    "hls",
    "hls-720p",
    "hls-720p-media",
    "hls-480p",
    "hls-480p-media",
    "captions-de",
    "hls-captions-de",
}
PLAYLISTS = ("hls", "hls-720p", "hls-480p", "hls-captions-de", "storyboard-vtt")


@pytest.fixture
def platform(tmp_path: Path) -> MemoryPlatform:
    return MemoryPlatform(tmp_path, frozenset(MediaKind) - {MediaKind.GENERIC})


def names(record: Record) -> set[str]:
    return {rendition.name for rendition in record.renditions}


def read(platform: MemoryPlatform, record: Record, name: str) -> bytes:
    key = next(rendition.key for rendition in record.renditions if rendition.name == name)
    with platform.store.open(BucketRole.PROCESSED, key) as reader:
        return reader.read()


def check_public(platform: MemoryPlatform, record: Record) -> None:
    """Every public key shows what the record says, and every text refers to what is there, by its own name and hash."""
    shown = {}
    for rendition in record.renditions:
        body = read(platform, record, rendition.name)
        assert hashlib.sha256(body).hexdigest() == rendition.sha256, rendition.name
        assert len(body) == rendition.size_bytes
        shown[rendition.key.rpartition("/")[2]] = rendition.sha256
    for name in PLAYLISTS:
        text = read(platform, record, name).decode()
        for base_name in references(text):
            assert f"?v={shown[base_name][:16]}" in text, (name, base_name)


# -- films ---------------------------------------------------------------------------------------------------------


def test_a_film_gets_all_its_renditions_at_once(platform: MemoryPlatform) -> None:
    platform.add("a/film.mp4", film("one"))
    platform.settle()
    record = platform.library.record("a/film.mp4")
    assert record.status is ProcessingStatus.COMPLETED, record.error
    assert record.kind is MediaKind.VIDEO
    assert names(record) == FILM
    assert record.processing_metadata == {"width": 1280, "height": 720, "duration": 8.0}
    check_public(platform, record)
    (job_id,) = platform.transcoder.requests
    assert platform.transcoder.forgotten == [job_id]


def test_a_rung_that_came_without_metadata_gets_it_and_stays_one_version(platform: MemoryPlatform) -> None:
    platform.add("film.mp4", film("one"))
    platform.settle()
    record = platform.library.record("film.mp4")
    rung = next(rendition for rendition in record.renditions if rendition.name == "720p")
    assert (rung.width, rung.height) == (1280, 720)
    assert rung.key == "video-processed/film.mp4_720p.mp4"
    stored = platform.store.head(BucketRole.PROCESSED, rung.stored_key)
    assert stored.user_metadata["processor"] == "content-video-processor"
    assert platform.kept_renditions().count(rung.stored_key) == 1


def test_progress_is_shown_while_it_is_encoded_and_gone_at_the_end(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    platform.add("film.mp4", film("one"))
    platform.settle()
    (job_id,) = platform.transcoder.requests
    platform.transcoder.statuses[job_id] = TranscodeStatus(TranscodeState.PROGRESSING, 42)
    platform.wait()
    record = platform.library.record("film.mp4")
    assert record.status is ProcessingStatus.PROCESSING
    assert record.processing_metadata == {"progress_percent": 42, "stage": "transcoding"}
    platform.transcoder.encode(job_id)
    platform.wait()
    record = platform.library.record("film.mp4")
    assert record.status is ProcessingStatus.COMPLETED
    assert "progress_percent" not in record.processing_metadata


def test_a_film_that_was_damaged_is_shown_and_says_so(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    platform.add("film.mp4", film("one"))
    platform.settle()
    (job_id,) = platform.transcoder.requests
    platform.transcoder.encode(job_id)
    lost = "about 3 pictures are damaged or missing"
    platform.transcoder.statuses[job_id] = TranscodeStatus(TranscodeState.COMPLETE, 100, damage=lost)
    platform.wait()
    record = platform.library.record("film.mp4")
    assert record.status is ProcessingStatus.COMPLETED
    assert names(record) == FILM
    assert (record.processing_metadata["damaged"], record.processing_metadata["damage"]) == (True, lost)
    assert record.note == f"The original is damaged: {lost}"


def test_a_film_that_can_t_be_encoded_fails_with_the_encoder_s_words(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    platform.add("film.mp4", film("one"))
    platform.settle()
    (job_id,) = platform.transcoder.requests
    platform.transcoder.statuses[job_id] = TranscodeStatus(
        TranscodeState.ERROR, error="frame 3 is torn", error_code=ErrorCode.DECODE
    )
    platform.wait()
    record = platform.library.record("film.mp4")
    assert (record.status, record.error_code, record.error) == (
        ProcessingStatus.FAILED,
        ErrorCode.DECODE,
        "frame 3 is torn",
    )
    assert platform.transcoder.forgotten == [job_id]


def test_a_film_whose_encoding_nobody_knows_any_more_fails_in_words(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    platform.add("film.mp4", film("one"))
    platform.settle()
    platform.transcoder.statuses.clear()
    platform.wait()
    assert "lost" in str(platform.library.record("film.mp4").error)


def test_a_broken_film_is_never_encoded(platform: MemoryPlatform) -> None:
    platform.add("film.mp4", film("x") + BROKEN)
    platform.settle()
    assert platform.library.record("film.mp4").error_code is ErrorCode.DECODE
    assert not platform.transcoder.requests


def test_a_film_without_pictures_becomes_a_sound_and_stays_one(platform: MemoryPlatform) -> None:
    platform.add("talk.mp4", film("x") + SILENT_PICTURES)
    platform.settle()
    record = platform.library.record("talk.mp4")
    assert (record.status, record.kind) == (ProcessingStatus.COMPLETED, MediaKind.AUDIO)
    assert names(record) == {"m4a", "opus", "peaks"}
    assert not platform.transcoder.requests
    assert platform.library.entry("talk.mp4", record.version_id).recipe == recipe(MediaKind.AUDIO)
    assert list(platform.library.outdated()) == []
    platform.library.reprocess("talk.mp4")
    platform.settle()
    assert platform.library.record("talk.mp4").kind is MediaKind.AUDIO


def test_the_same_film_under_another_name_is_encoded_once_and_its_playlists_say_the_new_name(
    platform: MemoryPlatform,
) -> None:
    platform.add("one.mp4", film("same"))
    platform.settle()
    platform.add("two.mp4", film("same"))
    platform.settle()
    record = platform.library.record("two.mp4")
    assert record.status is ProcessingStatus.COMPLETED
    assert names(record) == FILM
    assert len(platform.transcoder.requests) == 1
    check_public(platform, record)
    assert b"two.mp4" in read(platform, record, "hls-720p")
    check_public(platform, platform.library.record("one.mp4"))


def test_a_moved_film_s_playlists_say_the_new_name(platform: MemoryPlatform) -> None:
    platform.add("one.mp4", film("one"))
    platform.settle()
    record = platform.library.move("one.mp4", "b/two films.mp4")
    assert names(record) == FILM
    check_public(platform, record)
    assert b"two%20films.mp4" in read(platform, record, "hls")
    assert len(platform.transcoder.requests) == 1


def test_a_film_that_is_moved_while_it_is_encoded_is_encoded_anew_and_the_first_encoding_ends(
    platform: MemoryPlatform,
) -> None:
    platform.transcoder.at_once = False
    platform.add("one.mp4", film("one"))
    platform.settle()
    (first,) = platform.transcoder.requests
    platform.transcoder.at_once = True
    platform.library.move("one.mp4", "two.mp4")
    assert platform.transcoder.cancelled == [first]
    platform.settle()
    assert platform.library.record("two.mp4").status is ProcessingStatus.COMPLETED


def test_a_film_whose_version_is_deleted_for_good_while_it_is_encoded_leaves_nothing(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    version = platform.add("one.mp4", film("one"))
    platform.settle()
    (job_id,) = platform.transcoder.requests
    platform.library.remove_version("one.mp4", version.version_id)
    platform.settle()
    assert platform.transcoder.cancelled == [job_id]
    assert platform.kept_renditions() == []


def test_a_film_whose_version_is_deleted_while_it_is_looked_at_is_not_encoded_on(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    version = platform.add("one.mp4", film("one"))
    platform.processor.meanwhile = lambda: platform.library.remove_version("one.mp4", version.version_id)
    platform.settle()
    assert platform.transcoder.cancelled == list(platform.transcoder.requests)
    assert platform.kept_renditions() == []


def test_cancelling_an_execution_cancels_its_encoding(platform: MemoryPlatform) -> None:
    platform.transcoder.at_once = False
    platform.add("one.mp4", film("one"))
    platform.settle()
    (name,) = (execution.name for execution in platform.engine.list().executions)
    assert platform.library.cancel(name, "not wanted").status is ExecutionStatus.CANCELLED
    assert platform.transcoder.cancelled == list(platform.transcoder.requests)
    assert platform.library.record("one.mp4").error == "cancelled: not wanted"


def test_the_subtitles_alone_are_taken_from_the_original(platform: MemoryPlatform) -> None:
    platform.add("film.mp4", film("one"))
    platform.settle()
    assert read(platform, platform.library.record("film.mp4"), "captions-de").endswith(film("one"))


def test_a_film_of_very_many_chapters_travels_through_the_workflow_with_some(platform: MemoryPlatform) -> None:
    platform.processor.chapters = tuple(Chapter(number, number + 1, "A title " * 40) for number in range(1_000))
    platform.add("film.mp4", film("one"))
    platform.settle()
    assert platform.library.record("film.mp4").status is ProcessingStatus.COMPLETED
    (request,) = platform.transcoder.requests.values()
    assert 100 < len(request.facts.chapters) < 1_000
    (execution,) = platform.engine.list().executions
    assert len(json.dumps(execution.output)) < DATA_LIMIT_BYTES


# -- what an earlier version left ------------------------------------------------------------------------------------


def test_what_was_kept_as_it_is_becomes_outdated_once_its_kind_has_a_processor(tmp_path: Path) -> None:
    old = MemoryPlatform(tmp_path, frozenset({MediaKind.IMAGE}))
    for key, body in {"film.mp4": film("one"), "letter.pdf": document("dear"), "numbers.bin": bytes(256)}.items():
        old.add(key, body)
    old.settle()
    assert old.library.record("film.mp4").note == "kept as it is: this home makes no renditions of video files"
    assert list(old.library.outdated()) == []

    new = MemoryPlatform(tmp_path, frozenset(MediaKind) - {MediaKind.GENERIC}, beginning_with=old)
    assert set(new.library.outdated()) == {"film.mp4", "letter.pdf"}
    for key in list(new.library.outdated()):
        new.library.reprocess(key)
    new.settle()
    record = new.library.record("film.mp4")
    assert names(record) == FILM
    assert record.note is None
    assert list(new.library.outdated()) == []


def test_what_was_taken_for_nothing_is_seen_anew(platform: MemoryPlatform) -> None:
    version = platform.add("letter.pdf", document("dear"))
    platform.settle()
    entry = platform.library.entry("letter.pdf", version.version_id)
    platform.catalog.put_entry(replace(entry, kind=MediaKind.GENERIC, content_type="application/octet-stream"))
    platform.library.reprocess("letter.pdf")
    platform.settle()
    record = platform.library.record("letter.pdf")
    assert (record.kind, record.content_type) == (MediaKind.DOCUMENT, "application/pdf")


# -- sounds and documents --------------------------------------------------------------------------------------------


def test_a_sound_gets_its_renditions(platform: MemoryPlatform) -> None:
    platform.add("song.flac", sound("la"))
    platform.settle()
    record = platform.library.record("song.flac")
    assert (record.status, record.kind, record.title) == (ProcessingStatus.COMPLETED, MediaKind.AUDIO, "a song")
    assert read(platform, record, "m4a") == b"m4a of " + sound("la")


def test_a_document_s_text_is_kept_to_be_found(platform: MemoryPlatform) -> None:
    platform.add("letter.pdf", document("dear reader"))
    platform.settle()
    record = platform.library.record("letter.pdf")
    assert record.status is ProcessingStatus.COMPLETED
    assert record.processing_metadata["text"] == "dear reader"
    assert record.processing_metadata["content_type"] == "application/pdf"
    assert names(record) == {"thumbnail", "text"}


def test_of_a_long_document_the_record_keeps_its_words_and_an_object_the_whole(platform: MemoryPlatform) -> None:
    text = " ".join(f"word{number % 3_000}" for number in range(20_000))
    platform.add("long.pdf", document(text))
    platform.settle()
    record = platform.library.record("long.pdf")
    kept = record.processing_metadata["text"].split()
    assert kept[:3] == ["word0", "word1", "word2"]
    assert len(kept) == len(set(kept)) > 2_000
    with platform.store.open(BucketRole.PROCESSED, record.processing_metadata["complete_metadata"]) as reader:
        assert text in reader.read().decode()


def test_a_document_that_shows_nothing_says_why(platform: MemoryPlatform) -> None:
    platform.processor.shows_nothing = True
    platform.add("blank.pdf", document(""))
    platform.settle()
    assert platform.library.record("blank.pdf").note == "there is nothing in it to show"
    platform.library.reprocess("blank.pdf")
    platform.settle()
    assert platform.library.record("blank.pdf").note == "there is nothing in it to show"
