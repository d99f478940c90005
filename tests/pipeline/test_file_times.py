"""Times of sounds in an atlas are those of their files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_atlas.data.audio.module import AudioDataModule
from attention_atlas.data.user_inputs import UserInput
from attention_atlas.pipeline.recording.file_times import boxes_in_file

HALF_A_FRAME = 0.5 * 200 / 16_000


def beep(path: Path, seconds: float, start: float, end: float, rate: int = 16_000) -> Path:
    times = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * times) * ((times >= start) & (times < end))
    soundfile.write(path, tone, rate)
    return path


@given(st.floats(0.1, 1.6), st.floats(0, 0.9), st.floats(0.3, 1.5))
@settings(max_examples=20, deadline=None)
def test_a_tone_is_shown_when_it_sounds(
    tmp_path_factory: pytest.TempPathFactory, seconds: float, where: float, clip_seconds: float
) -> None:
    start = where * (min(seconds, clip_seconds) - 0.04)
    path = beep(tmp_path_factory.mktemp("beep") / "a.wav", seconds, start, start + 0.04)
    module = AudioDataModule("audio_folder", clip_seconds=clip_seconds)
    module.classes = []
    batch = module.prepare(module.make_dataset([UserInput("a", path)])[0], training=False)
    shown = module.display_inputs(batch)
    frames = int(shown["frames"][0])
    assert frames == pytest.approx(80 * min(seconds, clip_seconds), abs=1.5)
    energy = np.exp(shown["spectrogram"][0, :, :frames]).sum(axis=0)
    centre = (energy * (np.arange(frames))).sum() / energy.sum() / 80
    assert centre == pytest.approx(start + 0.02, abs=0.03)
    clip = batch["clip"].numpy()
    sounding = clip[:, 0] + start + 0.02
    box = np.array([[[sounding[0] - 0.01, 0, sounding[0] + 0.01, 8_000]]])
    assert boxes_in_file(box, clip)[0, 0, ::2].mean() == pytest.approx(start + 0.02, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9),
    st.floats(0, 0.9),
    st.floats(0.05, 1),
)
def test_boxes_lie_in_the_file_or_nowhere(spans, start: float, seconds: float) -> None:
    spans = [(low, low + width) for low, width in spans] + [(np.nan, np.nan)]
    boxes = np.array([[[low, 100, high, 200] for low, high in spans]])
    moved = boxes_in_file(boxes, np.array([[start, start + seconds]]))[0]
    for (low, high), box in zip(spans, moved, strict=True):
        first, last = max(low - start, 0), min(high - start, seconds)
        if last > first:
            np.testing.assert_allclose(box, [first, 100, last, 200], atol=1e-12)
        else:
            assert np.isnan(box).all()
