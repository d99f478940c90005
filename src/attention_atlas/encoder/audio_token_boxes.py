"""Boxes of the tokens of pretrained audio models in time and frequency."""

from typing import Any

import torch
from torch import Tensor

from attention_atlas.encoder.tokens import time_frequency_boxes
from attention_atlas.errors import InputError

SAMPLE_RATE = 16_000
MAX_HERTZ = SAMPLE_RATE / 2
"""Nyquist frequency of a clip, in hertz."""
WHOLE_BAND = torch.tensor([0, MAX_HERTZ])
FRAME_SECONDS = 0.01
"""Time from one frame of a spectrogram to the next, in seconds."""


def audio_token_boxes(config: Any, values: Tensor, seconds: float) -> Tensor:
    """Return start in seconds, low edge in hertz, end, high edge of each token: [K, 4].

    Models with a fixed input length (Whisper: 30 s) have tokens of the silence behind a clip, with
    boxes of NaN.

    Args:
        config: Config of the model.
        values: A batch of its inputs.
        seconds: Length of a clip, in seconds.

    Raises:
        InputError: The tokens of this type of model are unknown.
    """
    boxes = _boxes(config, values)
    return boxes.masked_fill((boxes[:, 0] >= seconds)[:, None], torch.nan)


def _boxes(config: Any, values: Tensor) -> Tensor:
    if hasattr(config, "conv_stride"):
        return _frames_of_waveform(config, values.shape[-1])
    if hasattr(config, "time_stride"):
        return _patches_of_spectrogram(config, *values.shape[-2:])
    if hasattr(config, "max_source_positions"):
        times = torch.arange(config.max_source_positions + 1) * 2 * FRAME_SECONDS
        return time_frequency_boxes(times, WHOLE_BAND)
    raise InputError(f"The time span of each token of {config.model_type} models is not known.")


def _frames_of_waveform(config: Any, num_samples: int) -> Tensor:
    """Boxes of a stack of convolutions over samples (wav2vec 2.0): a frame per product of strides.

    The receptive field of a frame is wider than a step; the box is its middle.
    """
    field, step, count = 1, 1, num_samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * step
        step *= stride
        count = (count - kernel) // stride + 1
    starts = torch.arange(count + 1) * step + (field - step) / 2
    return time_frequency_boxes(starts / SAMPLE_RATE, WHOLE_BAND)


def _patches_of_spectrogram(config: Any, num_frames: int, num_mels: int) -> Tensor:
    """Boxes of overlapping patches of a log-mel spectrogram (Gong 2021), band by band.

    Frames are 10 ms apart. A box is the middle of its patch, one step wide.
    """
    patch, step_mel, step_time = config.patch_size, config.frequency_stride, config.time_stride
    rows = (num_mels - patch) // step_mel + 1
    columns = (num_frames - patch) // step_time + 1
    mels = torch.arange(rows + 1) * step_mel + (patch - step_mel) // 2
    frames = torch.arange(columns + 1) * step_time + (patch - step_time) / 2
    return time_frequency_boxes(frames * FRAME_SECONDS, mel_edges(num_mels)[mels])


def mel_edges(num_mels: int) -> Tensor:
    """Return the num_mels + 1 edges in hertz of mel bands from 20 Hz, as in Kaldi."""
    low, high = (1127 * torch.log1p(torch.tensor(hertz) / 700) for hertz in (20.0, MAX_HERTZ))
    return 700 * torch.expm1(torch.linspace(float(low), float(high), num_mels + 1) / 1127)
