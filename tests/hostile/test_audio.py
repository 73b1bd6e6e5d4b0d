"""Sounds made to hurt, or hurt on their way: each ends in all its renditions or in words, soon, in little memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sample_clips
from contentplatform.drivers.confinement import JobLimits
from contentplatform.drivers.sandbox import JobReport, Sandbox
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.answers import AUDIO_RENDITIONS
from contentplatform.processing.local import ENVIRONMENT, MEDIA_JOBS
from contentplatform.processing.presets import VideoLimits
from contentplatform.processing.sounds import WHOLE

MEMORY_BYTES = 256 << 20
LIMITS = JobLimits(wall_seconds=300, cpu_seconds=60, resident_bytes=MEMORY_BYTES)
"""What an attack may cost at most; a job that needs more is killed, and the test sees another code."""
REQUIRED = {name for name, expected in AUDIO_RENDITIONS.items() if expected.required}


@dataclass
class Attack:
    """Processes one sound after the other, each in a folder of its own."""

    sandbox: Sandbox
    folder: Path
    count: int = 0

    def report(self, content: bytes | Path) -> JobReport:
        self.count += 1
        scratch = self.folder / f"scratch-{self.count}"
        scratch.mkdir()
        source = self.folder / "source"
        if isinstance(content, bytes):
            source.write_bytes(content)
        else:
            source = content
        request = {"job": "audio", "limits": asdict(VideoLimits()), "normalise": False, **WHOLE.request()}
        return self.sandbox.run(request, source, scratch, doing="testing")

    def facts(self, content: bytes | Path) -> dict[str, Any]:
        """The metadata of a sound that is completed."""
        answer = self.report(content).result
        assert {file["name"] for file in answer["files"]} >= REQUIRED
        metadata: dict[str, Any] = answer["metadata"]
        return metadata

    def failure(self, content: bytes | Path) -> ProcessingFailed:
        with pytest.raises(ProcessingFailed) as caught:
            self.report(content)
        return caught.value


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    shared = Sandbox(MEDIA_JOBS, limits=LIMITS, environment=ENVIRONMENT)
    yield shared
    shared.close()


@pytest.fixture
def attack(sandbox: Sandbox, tmp_path: Path) -> Attack:
    return Attack(sandbox, tmp_path)


def whole(extension: str) -> bytes:
    """Two seconds of a tone."""
    codecs = {"opus": ("-c:a", "libopus"), "mka": ("-c:a", "libopus"), "m4a": ("-c:a", "aac")}
    return sample_clips.sound(extension, *codecs.get(extension, ())).read_bytes()


def wav(samples: bytes, *, size: int | None = None, kind: int = 1, rate_hz: int = 8_000, bits: int = 16) -> bytes:
    """One channel, with the data's size as it is or as it is claimed."""
    claimed = len(samples) if size is None else size
    form = struct.pack("<HHIIHH", kind, 1, rate_hz, rate_hz * bits // 8, bits // 8, bits)
    riff = struct.pack("<I", min(claimed + 36, 0xFFFFFFFF))
    return b"RIFF" + riff + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed) + samples


def garbled(content: bytes, start: float, end: float) -> bytes:
    """The bytes between two shares of the content replaced by others."""
    first, last = (int(len(content) * share) for share in (start, end))
    noise = bytes((place * 7919 >> 3) & 0xFF for place in range(last - first))
    return content[:first] + noise + content[last:]


# -- cut off, and broken in the middle -------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["wav", "aiff", "flac", "wv", "m4a", "mka", "opus", "ogg"])
def test_a_sound_that_was_cut_off_fails_and_says_so(attack: Attack, extension: str) -> None:
    content = whole(extension)
    failure = attack.failure(content[: len(content) * 6 // 10])
    assert failure.code == ErrorCode.DECODE
    assert any(word in failure.why for word in ("missing", "incomplete"))


def test_an_mp3_that_was_cut_off_says_what_is_missing(attack: Attack) -> None:
    """Programs that cut MP3s leave a count of frames that is too high, so shortness alone is no proof of damage."""
    content = whole("mp3")
    facts = attack.facts(content[: len(content) * 6 // 10])
    assert facts["damaged"]
    assert not facts["duration_is_exact"]
    assert facts["duration_seconds"] + facts["damage"]["lost_seconds"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("extension", ["flac", "wv", "m4a", "mka", "opus", "ogg", "mp3", "aac"])
def test_a_sound_of_which_much_is_broken_fails(attack: Attack, extension: str) -> None:
    content = whole(extension)
    # MP4 keeps its index at the end.
    assert attack.failure(garbled(content, 0.3, 0.8)).code == ErrorCode.DECODE


@pytest.mark.parametrize("extension", ["flac", "m4a", "mp3", "aac"])
def test_a_sound_of_which_little_is_broken_is_completed_and_says_so(attack: Attack, extension: str) -> None:
    facts = attack.facts(garbled(whole(extension), 0.6, 0.61))
    assert facts["damaged"]
    assert not facts["duration_is_exact"]
    assert 0 < facts["damage"]["lost_seconds"] <= 0.25
    assert facts["duration_seconds"] == pytest.approx(2, abs=0.15)


def test_a_whole_sound_is_not_called_damaged(attack: Attack) -> None:
    for extension in ("wav", "aiff", "flac", "wv", "m4a", "mka", "opus", "ogg", "mp3", "aac"):
        facts = attack.facts(whole(extension))
        assert "damaged" not in facts, extension
        assert facts["duration_is_exact"], extension
    for rate_hz in ("8000", "22050", "32000"):
        assert "damaged" not in attack.facts(sample_clips.sound("mp3", "-ar", rate_hz)), rate_hz


# -- lies of headers (H27) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0])
def test_a_wav_of_unknown_size_is_as_long_as_its_samples(attack: Attack, size: int) -> None:
    facts = attack.facts(wav(bytes(16_000), size=size))
    assert facts["duration_seconds"] == pytest.approx(1, abs=0.001)


def test_rf64_is_read(attack: Attack) -> None:
    path = sample_clips.sound("wav", "-rf64", "always")
    assert path.read_bytes()[:4] == b"RF64"
    assert attack.facts(path)["duration_seconds"] == 2


def test_hours_that_are_claimed_and_not_there(attack: Attack) -> None:
    assert attack.failure(wav(bytes(16_000), size=20 * 3_600 * 16_000)).code == ErrorCode.DECODE
    too_long = attack.failure(wav(bytes(16_000), size=30 * 3_600 * 8_000, bits=8))
    assert too_long.code == ErrorCode.LIMIT
    assert "24 hours" in too_long.why
    flac = bytearray(whole("flac"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4
    assert attack.failure(bytes(flac)).code == ErrorCode.LIMIT


def test_a_wrong_count_of_frames_in_an_mp3_is_not_believed(attack: Attack) -> None:
    content = bytearray(whole("mp3"))
    place = max(content.find(b"Xing"), content.find(b"Info"))
    content[place + 8 : place + 12] = struct.pack(">I", 10_000_000)
    assert attack.facts(bytes(content))["duration_seconds"] == pytest.approx(2, abs=0.05)


def test_a_cover_of_256_mib_that_is_claimed(attack: Attack) -> None:
    frame = b"APIC" + struct.pack(">I", 256 << 20) + b"\0\0\0image/jpeg\0\3\0\xff\xd8\xff"
    tag = b"ID3\x03\0\0" + bytes([0x7F, 0x7F, 0x7F, 0x7F]) + frame
    assert attack.failure(tag + whole("mp3")).code in {ErrorCode.DECODE, ErrorCode.LIMIT}


def test_metadata_of_a_flac_that_claims_to_be_huge(attack: Attack) -> None:
    content = whole("flac")
    block = bytes([4]) + b"\xff\xff\xff" + struct.pack("<I", 0x7FFFFFFF)
    assert attack.failure(content[:42] + block + content[42:]).code == ErrorCode.DECODE


# -- forms nobody makes ----------------------------------------------------------------------------------------------


def test_numbers_that_are_none_become_sound(attack: Attack) -> None:
    samples = np.array([0, np.nan, np.inf, -np.inf, 1e30, 0.5] * 4_000, "<f4")
    facts = attack.facts(wav(samples.tobytes(), kind=3, bits=32))
    assert facts["damage"]["unreal_samples"]
    assert facts["duration_seconds"] == 3


@pytest.mark.parametrize("rate_hz", [1, 100, 4_000_000])
def test_rates_that_nobody_hears_are_refused(attack: Attack, rate_hz: int) -> None:
    failure = attack.failure(wav(bytes(20_000), rate_hz=rate_hz))
    assert failure.code in {ErrorCode.UNSUPPORTED, ErrorCode.LIMIT, ErrorCode.DECODE}


def test_channels_that_nothing_explains_are_refused_in_words(attack: Attack) -> None:
    form = struct.pack("<HHIIHH", 1, 33, 8_000, 8_000 * 66, 66, 16)
    data = bytes(66 * 800)
    content = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    failure = attack.failure(content + b"data" + struct.pack("<I", len(data)) + data)
    assert failure.code == ErrorCode.UNSUPPORTED
    assert "33 channels" in failure.why


def test_dsd_is_refused_in_words(attack: Attack) -> None:
    head = b"DSD " + struct.pack("<QQQ", 28, 4_096, 0)
    form = b"fmt " + struct.pack("<QIIIIIIQII", 52, 1, 0, 2, 2, 2_822_400, 1, 8_192, 4_096, 0)
    failure = attack.failure(head + form + b"data" + struct.pack("<Q", 12 + 2_048) + bytes(2_048))
    assert failure.code == ErrorCode.UNSUPPORTED
    assert failure.hint


@pytest.mark.parametrize("content", [b"", b"\xff", b"ID3", b"fLaC", b"RIFF\0\0\0\0WAVE", b"OggS" * 5_000])
def test_next_to_nothing_fails_in_words(attack: Attack, content: bytes) -> None:
    failure = attack.failure(content)
    assert failure.code in {ErrorCode.DECODE, ErrorCode.UNSUPPORTED}
    assert failure.why


def test_noise_behind_a_header_fails(attack: Attack) -> None:
    noise = np.random.default_rng(3).bytes(200_000)
    for head in (whole("mp3")[:4], whole("flac")[:42], whole("opus")[:200]):
        assert attack.failure(head + noise).code in {ErrorCode.DECODE, ErrorCode.UNSUPPORTED}


def test_thousands_of_tags_are_cut_and_cleaned(attack: Attack) -> None:
    comments = [b"TITLE=<script>alert(1)</script>\x00\x1b[31m", b"ARTIST=" + b"A" * 100_000]
    comments += [b"X%d=%s" % (number, b"y" * 50) for number in range(10_000)]
    body = struct.pack("<I", 4) + b"test" + struct.pack("<I", len(comments))
    body += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    content = whole("flac")
    block = bytes([4]) + len(body).to_bytes(3, "big") + body
    facts = attack.facts(content[:4] + bytes([content[4] & 0x7F]) + content[5:42] + block + content[42:])
    assert facts["tags"]["title"] == "<script>alert(1)</script>"
    assert len(facts["tags"]["artist"]) == 1_000
    assert len(facts["tags"]) == 2


# -- memory and time -------------------------------------------------------------------------------------------------


def silence(minutes: int) -> Path:
    """FLAC, one channel of 8 kHz."""
    path = sample_clips.folder() / f"silence-{minutes}.flac"
    sample_clips.ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", str(60 * minutes), str(path))
    return path


@pytest.mark.parametrize("minutes", [3, pytest.param(120, marks=pytest.mark.soak)])
def test_a_long_sound_takes_no_more_memory_than_a_short_one(attack: Attack, minutes: int) -> None:
    short = attack.report(sample_clips.sound("flac")).peak_resident_bytes
    long = attack.report(silence(minutes))
    assert long.result["metadata"]["duration_seconds"] == 60 * minutes
    # What grows are the index of the MP4, by 100 bytes for each 1 024 samples, and the waveform's bins up to a bound.
    assert long.peak_resident_bytes < short + (24 << 20)


def test_an_encoding_that_outgrows_its_limit_is_words_about_the_limit(tmp_path: Path) -> None:
    small = Sandbox(MEDIA_JOBS, limits=JobLimits(file_bytes=20_000), environment=ENVIRONMENT)
    failure = Attack(small, tmp_path).failure(whole("wav"))
    small.close()
    assert failure.code == ErrorCode.LIMIT
    assert "in one file" in failure.why
