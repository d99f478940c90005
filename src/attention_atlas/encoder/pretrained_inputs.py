"""Feed a pretrained model of each modality, and find where its tokens lie in the input."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attention_atlas.encoder.model_inputs import BoxInputs, ModelInputs, TextInputs
from attention_atlas.encoder.tokens import Batch, LayoutKind
from attention_atlas.errors import InputError
from attention_atlas.pretrained.backbone import Backbone

SAMPLE_RATE = 16_000
HIGHEST = SAMPLE_RATE / 2  # hertz


def build_inputs(
    model: PreTrainedModel, modality: str, example: Batch
) -> tuple[Backbone, ModelInputs]:
    """The model, cut before its first block, and how it is fed.

    Args:
        model: An encoder, wired.
        modality: `text`, `image` or `audio`.
        example: A prepared batch of one sample.

    Raises:
        InputError: The model does not take such inputs, or its tokens have no place in them.
    """
    text = TextInputs()
    if modality == "text":
        return _backbone(model, text(example)), text
    name, values = model.main_input_name, example["inputs"]
    backbone = _backbone(model, {name: values})
    boxes = _patches(model.config, values) if modality == "image" else _sounds(model.config, values)
    special = backbone.num_tokens - len(boxes)
    if special < 0:
        raise InputError(
            f"{type(model).__name__} gives {backbone.num_tokens} tokens, fewer than the "
            f"{len(boxes)} places in its input; where they lie is not known."
        )
    nowhere = torch.full((special, 4), torch.nan)
    kind: LayoutKind = "patch_box" if modality == "image" else "time_frequency_box"
    return backbone, BoxInputs(name, tuple(values.shape[1:]), kind, torch.cat([nowhere, boxes]))


def _backbone(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Backbone:
    try:
        return Backbone(model, inputs)
    except InputError:
        raise
    except Exception as error:  # each model says in its own way what it cannot take
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{type(model).__name__} cannot run on this data: {reason.rstrip('.')}."
        ) from error


def _patches(config: Any, images: Tensor) -> Tensor:
    """Top, left, bottom, right of each patch, row by row, in pixels: [K, 4]."""
    size = getattr(config, "patch_size", None)
    if not isinstance(size, int):
        raise InputError(f"{config.model_type} models have no patches of one size.")
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    top, left = torch.meshgrid(
        size * torch.arange(rows), size * torch.arange(columns), indexing="ij"
    )
    return torch.stack([top, left, top + size, left + size], dim=-1).flatten(0, 1)


def _sounds(config: Any, values: Tensor) -> Tensor:
    """Start in seconds, low edge in hertz, end, high edge of each token: [K, 4]."""
    if hasattr(config, "conv_stride"):
        return _frames_of_waveform(config, values.shape[-1])
    if hasattr(config, "time_stride"):
        return _patches_of_spectrogram(config, *values.shape[-2:])
    if hasattr(config, "max_source_positions"):
        times = torch.arange(config.max_source_positions + 1) * 0.02  # two frames of 10 ms
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
    edges = _mel_edges(num_mels)
    mels = torch.arange(rows + 1) * step_mel + (patch - step_mel) // 2
    frames = torch.arange(columns + 1) * step_time + (patch - step_time) / 2
    low, start = torch.meshgrid(edges[mels[:-1]], frames[:-1] * 0.01, indexing="ij")
    high, end = torch.meshgrid(edges[mels[1:]], frames[1:] * 0.01, indexing="ij")
    return torch.stack([start, low, end, high], dim=-1).flatten(0, 1)


def _mel_edges(num_mels: int) -> Tensor:
    """The num_mels + 1 edges in hertz of bands evenly spaced in mel from 20 Hz, as Kaldi has it."""
    low, high = (1127 * torch.log1p(torch.tensor(hertz) / 700) for hertz in (20.0, HIGHEST))
    return 700 * torch.expm1(torch.linspace(float(low), float(high), num_mels + 1) / 1127)
