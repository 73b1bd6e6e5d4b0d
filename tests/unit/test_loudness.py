"""Loudness is what the standard says, and normalising brings it to the number that the presets name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import sample_clips
import sound_reading
from contentplatform.processing.jobs.loudness import Loudness, Meter, normalising_gain_db
from contentplatform.processing.local import LocalMediaProcessor
from contentplatform.processing.port import Rendered
from contentplatform.processing.presets import NORMALISED_LOUDNESS_LUFS, NORMALISED_TRUE_PEAK_DBTP

Process = Callable[[Path], Rendered]
RATE_HZ = 48_000


@pytest.fixture(scope="module")
def processor() -> Iterator[LocalMediaProcessor]:
    normalising = LocalMediaProcessor(normalise_loudness=True)
    yield normalising
    normalising.close()


@pytest.fixture
def normalised(processor: LocalMediaProcessor, tmp_path: Path) -> Process:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return lambda source: processor.process_audio(source, scratch)


def heard(block: np.ndarray, layout: str = "stereo", rate_hz: int = RATE_HZ) -> Loudness:
    meter = Meter(rate_hz, layout)
    for start in range(0, block.shape[1], 12_000):
        meter.add(np.ascontiguousarray(block[:, start : start + 12_000], np.float32))
    return meter.result()


def tone(level_dbfs: float, seconds: float = 20, rate_hz: int = RATE_HZ) -> np.ndarray:
    """1 kHz on both channels, its peak at ``level_dbfs``."""
    wave = 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 1_000 * np.arange(int(seconds * rate_hz)) / rate_hz)
    return np.stack([wave, wave]).astype(np.float32)


@pytest.mark.parametrize("level_dbfs", [-23.0, -33.0])
def test_the_stereo_tone_of_ebu_tech_3341_reads_its_own_level(level_dbfs: float) -> None:
    found = heard(tone(level_dbfs))
    assert found.integrated_lufs == pytest.approx(level_dbfs, abs=0.1)
    assert found.max_momentary_lufs == pytest.approx(level_dbfs, abs=0.1)
    assert found.max_short_term_lufs == pytest.approx(level_dbfs, abs=0.1)
    assert found.true_peak_dbtp == pytest.approx(level_dbfs, abs=0.2)


def test_quiet_parts_do_not_count_as_the_standard_says() -> None:
    parts = np.concatenate([tone(-36, 10), tone(-23, 60), tone(-36, 10)], axis=1)
    assert heard(parts).integrated_lufs == pytest.approx(-23, abs=0.1)


def test_the_range_is_that_of_ebu_tech_3342() -> None:
    assert heard(np.concatenate([tone(-20), tone(-30)], axis=1)).range_lu == pytest.approx(10, abs=1)


def test_the_true_peak_lies_between_the_samples() -> None:
    # A quarter of the sampling rate, sampled at 45 degrees: no sample is larger than 0.707 of the peak.
    turned = np.sin(np.pi / 2 * np.arange(RATE_HZ) + np.pi / 4) * np.hanning(RATE_HZ)
    block = np.stack([turned, turned]).astype(np.float32) * 0.5
    assert heard(block).true_peak_dbtp == pytest.approx(-6.0, abs=0.2)


def test_silence_and_short_sounds_have_no_loudness() -> None:
    assert heard(np.zeros((2, RATE_HZ), np.float32)).to_json() == {}
    assert heard(tone(-20, 0.2)).integrated_lufs is None


def test_surround_channels_count_more_and_the_low_one_not_at_all() -> None:
    def only(channel: int) -> np.ndarray:
        block = np.zeros((RATE_HZ * 4, 6), np.float32)
        block[:, channel] = tone(-20, 4)[0]
        return block.reshape(1, -1)

    front, low, behind = (heard(only(channel), "5.1").integrated_lufs for channel in (0, 3, 4))
    assert low is None
    assert front is not None
    assert behind == pytest.approx(front + 1.5, abs=0.1)


@pytest.mark.parametrize(
    ("loudness", "gain_db"),
    [
        (Loudness(integrated_lufs=-26.0, true_peak_dbtp=-20.0), NORMALISED_LOUDNESS_LUFS + 26),
        (Loudness(integrated_lufs=-10.0, true_peak_dbtp=-1.0), NORMALISED_LOUDNESS_LUFS + 10),
        (Loudness(integrated_lufs=-26.0, true_peak_dbtp=-4.0), NORMALISED_TRUE_PEAK_DBTP + 4),
        (Loudness(), 0.0),
    ],
)
def test_the_gain_is_plain_and_limited_by_the_peak(loudness: Loudness, gain_db: float) -> None:
    assert normalising_gain_db(loudness) == pytest.approx(gain_db)


def test_normalised_encodings_are_as_loud_as_the_preset_says(normalised: Process) -> None:
    rendered = normalised(sample_clips.sound("flac"))
    before = rendered.metadata["loudness"]["integrated_lufs"]
    # The facts are the original's; what was done is beside them.
    assert rendered.metadata["normalised"]["target_lufs"] == NORMALISED_LOUDNESS_LUFS
    assert rendered.metadata["normalised"]["gain_db"] == pytest.approx(NORMALISED_LOUDNESS_LUFS - before, abs=0.02)
    for file in rendered.files:
        if file.name in {"m4a", "opus"}:
            assert sound_reading.measured(file.path)["I"] == pytest.approx(NORMALISED_LOUDNESS_LUFS, abs=0.5)
