"""Where the tokens of pretrained models of sound lie in time and frequency."""

from typing import Any

import torch
from torch import Tensor

from attention_atlas.errors import InputError

SAMPLE_RATE = 16_000
HIGHEST = SAMPLE_RATE / 2
"""The highest frequency of a clip, in hertz."""
FRAME_SECONDS = 0.01
"""Time from one frame of a spectrogram to the next."""


def places_in_sound(config: Any, values: Tensor, seconds: float) -> Tensor:
    """Start in seconds, low edge in hertz, end, high edge of each token: [K, 4].

    Models that always hear as much (Whisper 30 s) have tokens of the silence behind a clip; they
    stand for no place: NaN.

    Args:
        config: Of the model.
        values: A batch of its inputs.
        seconds: Of a clip.

    Raises:
        InputError: It is not known how the model cuts sound into tokens.
    """
    boxes = _places(config, values)
    return boxes.masked_fill((boxes[:, 0] >= seconds)[:, None], torch.nan)


def _places(config: Any, values: Tensor) -> Tensor:
    if hasattr(config, "conv_stride"):
        return _frames_of_waveform(config, values.shape[-1])
    if hasattr(config, "time_stride"):
        return _patches_of_spectrogram(config, *values.shape[-2:])
    if hasattr(config, "max_source_positions"):
        times = torch.arange(config.max_source_positions + 1) * 2 * FRAME_SECONDS
        return _whole_band(times)
    raise InputError(f"Where {config.model_type} models see each token in the sound is not known.")


def _frames_of_waveform(config: Any, num_samples: int) -> Tensor:
    """A stack of convolutions over the samples (wav2vec 2.0): a frame per step of all strides.

    What a frame hears is wider than a step; it is placed in the middle of that.
    """
    heard, step, count = 1, 1, num_samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        heard += (kernel - 1) * step
        step *= stride
        count = (count - kernel) // stride + 1
    starts = torch.arange(count + 1) * step + (heard - step) / 2
    return _whole_band(starts / SAMPLE_RATE)


def _whole_band(times: Tensor) -> Tensor:
    low = torch.zeros(len(times) - 1)
    return torch.stack([times[:-1], low, times[1:], low + HIGHEST], dim=-1)


def _patches_of_spectrogram(config: Any, num_frames: int, num_mels: int) -> Tensor:
    """Overlapping patches of a log-mel spectrogram of 10 ms a frame (Gong 2021), band by band.

    Each is placed in the middle of what it sees, one step wide.
    """
    patch, step_mel, step_time = config.patch_size, config.frequency_stride, config.time_stride
    rows = (num_mels - patch) // step_mel + 1
    columns = (num_frames - patch) // step_time + 1
    edges = mel_edges(num_mels)
    mels = torch.arange(rows + 1) * step_mel + (patch - step_mel) // 2
    frames = torch.arange(columns + 1) * step_time + (patch - step_time) / 2
    low, start = torch.meshgrid(edges[mels[:-1]], frames[:-1] * FRAME_SECONDS, indexing="ij")
    high, end = torch.meshgrid(edges[mels[1:]], frames[1:] * FRAME_SECONDS, indexing="ij")
    return torch.stack([start, low, end, high], dim=-1).flatten(0, 1)


def mel_edges(num_mels: int) -> Tensor:
    """The num_mels + 1 edges in hertz of bands evenly spaced in mel from 20 Hz, as Kaldi has it."""
    low, high = (1127 * torch.log1p(torch.tensor(hertz) / 700) for hertz in (20.0, HIGHEST))
    return 700 * torch.expm1(torch.linspace(float(low), float(high), num_mels + 1) / 1127)
