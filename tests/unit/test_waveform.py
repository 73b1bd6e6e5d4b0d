"""The waveform's picture and numbers show where a sound is loud, whatever its length."""

from __future__ import annotations

import numpy as np
import pytest

from contentplatform.processing.jobs import waveform
from contentplatform.processing.jobs.waveform import Envelope, Peaks
from contentplatform.processing.presets import WAVEFORM

RATE_HZ = 8_000


def collected(samples: np.ndarray, block: int = 4_000) -> Envelope:
    peaks = Peaks(WAVEFORM)
    for start in range(0, samples.shape[1], block):
        peaks.add(np.ascontiguousarray(samples[:, start : start + block], np.float32))
    return peaks.result()


def noise(seconds: float, level: float = 0.5, channels: int = 1) -> np.ndarray:
    count = int(seconds * RATE_HZ)
    return np.random.default_rng(7).uniform(-level, level, (channels, count)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 77, 4_000, 100_000])
def test_bins_are_the_same_however_the_sound_is_cut(block: int) -> None:
    samples = noise(0.2 if block == 1 else 40, channels=2)
    envelope = collected(samples, block)
    size = envelope.samples_per_bin
    parts = [samples[:, start : start + size] for start in range(0, samples.shape[1], size)]
    assert envelope.lows.tolist() == [float(part.min()) for part in parts]
    assert envelope.highs.tolist() == [float(part.max()) for part in parts]
    powers = [float(np.mean(part**2)) for part in parts[:-1]]
    assert np.allclose(envelope.squares[:-1], powers, rtol=1e-4)


def test_memory_is_bounded_and_bins_grow_with_the_sound() -> None:
    assert collected(noise(1)).samples_per_bin == 1
    long = collected(noise(60))
    assert long.samples_per_bin == 8
    assert len(long.lows) == 60 * RATE_HZ // 8


@pytest.mark.parametrize("seconds", [0.01, 0.2, 1, 7.3, 60, 100])
def test_numbers_are_pairs_of_equal_length(seconds: float) -> None:
    samples = noise(seconds)
    found = waveform.document(collected(samples), RATE_HZ, WAVEFORM)
    assert (found["version"], found["channels"], found["bits"], found["sample_rate"]) == (2, 1, 8, RATE_HZ)
    assert found["length"] == len(found["data"]) // 2 <= WAVEFORM.peaks
    assert found["length"] == -(-samples.shape[1] // found["samples_per_pixel"])
    assert found["length"] >= min(samples.shape[1], WAVEFORM.peaks) / 2
    lows, highs = found["data"][::2], found["data"][1::2]
    assert all(-128 <= low <= high <= 127 for low, high in zip(lows, highs, strict=True))


def test_numbers_show_where_the_sound_is() -> None:
    samples = np.zeros((2, 16_000), np.float32)
    samples[1, 8_000:12_000] = 1.0
    samples[0, 12_000:] = -0.5
    found = waveform.document(collected(samples), RATE_HZ, WAVEFORM)
    quarter = found["length"] // 4
    assert set(found["data"][: 4 * quarter - 2]) == {0}
    assert found["data"][5 * quarter : 5 * quarter + 2] in ([0, 127], [127, 0])
    assert set(found["data"][-quarter:]) == {-64, 0}


def columns(samples: np.ndarray) -> np.ndarray:
    """How much of each column is drawn, out of the height."""
    picture = waveform.drawn(collected(samples), WAVEFORM)
    assert picture.shape == (WAVEFORM.height, WAVEFORM.width, 4)
    drawn: np.ndarray = picture[:, :, 3].sum(axis=0) / 255 / WAVEFORM.height
    return drawn


def test_the_picture_is_high_where_the_sound_is_loud() -> None:
    drawn = columns(np.concatenate([noise(5, 0.1), noise(5, 0.9)], axis=1))
    assert drawn[100:800].mean() < 0.15
    assert 0.85 < drawn[1000:1700].mean() < 0.95


def test_quiet_sounds_are_drawn_larger_but_noise_is_not_made_music() -> None:
    assert columns(noise(5, 0.2)).mean() > 0.7
    assert columns(noise(5, 0.001)).mean() < 0.05


def test_silence_is_a_thin_line_and_so_is_nothing_at_all() -> None:
    for samples in (np.zeros((1, 8_000), np.float32), np.zeros((1, 0), np.float32)):
        drawn = columns(samples) * WAVEFORM.height
        assert drawn.min() > 1
        assert drawn.max() < 3


def test_a_sound_of_few_samples_fills_the_picture() -> None:
    drawn = columns(np.array([[1.0, -1.0, 0.5]], np.float32))
    assert drawn[[300, 900, 1500]] == pytest.approx([0.47, 0.47, 0.235], abs=0.01)


def test_both_colours_are_in_the_picture_and_the_ground_is_transparent() -> None:
    picture = waveform.drawn(collected(noise(5)), WAVEFORM)
    assert picture[0, :, 3].max() == 0
    opaque = picture[picture[:, :, 3] == 255][:, :3]
    assert len(np.unique(opaque, axis=0)) > 1
    middle = picture[WAVEFORM.height // 2, WAVEFORM.width // 2]
    assert tuple(middle) == (37, 99, 176, 255)
