"""Sounds of any sample format and rate are heard at the right level and frequency."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_atlas.data.audio.headers import check_header
from attention_atlas.data.audio.reading import SAMPLE_RATE, read_clip
from attention_atlas.data.audio.resampling import MAX_RATE, resample, resampling_ratio
from attention_atlas.errors import InputError

SECONDS = 0.5


def tone(rate: int, hertz: float = 440, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(rate * SECONDS)) / rate)


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


FORMATS = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]


@pytest.mark.parametrize("subtype", FORMATS)
def test_every_sample_format_has_the_same_level(tmp_path: Path, subtype: str) -> None:
    clip = read_clip(write(tmp_path / "a.wav", tone(SAMPLE_RATE), subtype=subtype), 16_000)
    assert clip / 32_768 == pytest.approx(tone(SAMPLE_RATE), abs=0.02)


@given(st.floats(1.001, 4))
@settings(max_examples=20, deadline=None)
def test_a_sound_beyond_full_scale_is_attenuated_not_clipped(
    tmp_path_factory: pytest.TempPathFactory, level: float
) -> None:
    path = write(tmp_path_factory.mktemp("loud") / "a.wav", tone(SAMPLE_RATE, level=level))
    assert read_clip(path, 16_000) / 32_768 == pytest.approx(tone(SAMPLE_RATE, level=1), abs=0.01)


@given(st.floats(4.1, 1e9), st.sampled_from(["FLOAT", "DOUBLE"]))
@settings(max_examples=20, deadline=None)
def test_samples_of_another_range_are_refused_with_it(
    tmp_path_factory: pytest.TempPathFactory, level: float, subtype: str
) -> None:
    samples = np.array([0, -level, level / 2] * 100)
    path = write(tmp_path_factory.mktemp("range") / "a.wav", samples, subtype=subtype)
    with pytest.raises(InputError, match=r"a\.wav holds samples from -.* to .*-1 to 1"):
        read_clip(path, 16_000)


def test_floats_with_the_values_of_integers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 20_000 * tone(SAMPLE_RATE, level=1))
    with pytest.raises(InputError, match="from -20000 to 20000"):
        read_clip(path, 16_000)


@given(st.integers(1, MAX_RATE))
@settings(max_examples=500, deadline=None)
def test_a_ratio_is_bounded_and_near(rate: int) -> None:
    ratio = resampling_ratio(rate, SAMPLE_RATE)
    assert max(ratio.numerator, ratio.denominator) <= 16_001
    assert float(ratio) * rate / SAMPLE_RATE == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("rate", [2_000, 8_000, 11_025, 22_222, 44_101, 48_000, 191_999])
def test_a_tone_of_any_rate_has_its_frequency_level_and_time(rate: int) -> None:
    tracemalloc.start()
    heard = resample(tone(rate).astype(np.float32), rate, SAMPLE_RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    middle = slice(1_000, 7_000)
    assert len(heard) == pytest.approx(8_000, abs=2)
    assert heard[middle] == pytest.approx(tone(SAMPLE_RATE)[middle], abs=0.08)
    assert peak < 50e6


def test_a_rate_that_only_a_damaged_header_has_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(SAMPLE_RATE), rate=2**31 - 1)
    with pytest.raises(InputError, match="declares 2,147,483,647 samples a second"):
        check_header(path)
