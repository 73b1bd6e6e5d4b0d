"""What the command line tells people of a film, a sound and a document."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contentplatform.catalog.describing import facts_of, progress_of
from contentplatform.catalog.port import Record
from contentplatform.media import MediaKind, ProcessingStatus


def record(facts: dict[str, Any], status: ProcessingStatus = ProcessingStatus.COMPLETED) -> Record:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    return Record(
        file_id="f",
        file_path="film.mp4",
        version_id="v",
        size_bytes=1,
        content_type="video/mp4",
        claimed_type=None,
        file_hash="",
        hash_verified=True,
        kind=MediaKind.VIDEO,
        status=status,
        upload_time=moment,
        indexed_at=moment,
        processing_metadata=facts,
    )


def told(facts: dict[str, Any]) -> dict[str, str]:
    return {label: line for label, line in facts_of(record(facts)).items() if line is not None}


def test_a_film() -> None:
    track = {"codec": "aac", "sample_rate_hz": 48_000, "channels": 6, "channel_layout": "5.1", "bit_rate": 384_000}
    assert told(
        {
            "width": 1920,
            "height": 1080,
            "duration_seconds": 3_723.46,
            "duration_is_exact": True,
            "codecs": ["hevc", "aac"],
            "frame_rate": 29.97,
            "frame_rate_varies": True,
            "rotation": 90,
            "hdr": "hdr10",
            "audio_tracks": [track, track],
            "subtitle_tracks": [{"captions": "captions-de"}, {"captions": "captions-en-2"}, {"codec": "dvd_subtitle"}],
            "chapters": [{}],
        }
    ) == {
        "dimensions": "1920 × 1080",
        "duration": "1:02:03.5",
        "video": "hevc, 29.97 frames a second on average, turned by 90°, HDR10",
        "sound": "aac, 5.1, 48 kHz, 384 kbit/s, and 1 more",
        "captions": "de, en-2",
        "chapters": "1 chapter",
    }


def test_a_sound() -> None:
    assert told(
        {
            "duration_seconds": 59.96,
            "duration_is_exact": False,
            "codec": "vorbis",
            "sample_rate_hz": 22_050,
            "channels": 1,
            "channel_layout": "",
            "loudness": {"integrated_lufs": -25.12, "range_lu": 10.0, "true_peak_dbtp": None},
            "tags": {"artist": "A. Nyman", "album": "Waltzes"},
        }
    ) == {
        "duration": "about 1:00.0",
        "sound": "vorbis, 1 channels, 22.05 kHz",
        "loudness": "-25.1 LUFS, range 10.0 LU",
        "from": "A. Nyman, Waltzes",
    }


def test_a_document_and_a_file_of_which_nothing_is_known() -> None:
    assert told({"pages": 1, "characters": 23}) == {"contains": "1 page, 23 characters"}
    assert told({}) == {}


@pytest.mark.parametrize(("status", "line"), [(ProcessingStatus.PROCESSING, "transcoding 42 %"), (None, None)])
def test_progress_is_told_only_while_it_is_processed(status: ProcessingStatus | None, line: str | None) -> None:
    found = record({"progress_percent": 42, "stage": "transcoding"})
    assert progress_of(replace(found, status=status or ProcessingStatus.FAILED)) == line


def test_a_film_that_is_encoded_is_being_finished() -> None:
    found = record({"progress_percent": 100, "stage": "finishing"}, ProcessingStatus.PROCESSING)
    assert progress_of(found) == "finishing"
