"""Times of a clip that lies somewhere in the input of the model, as times of its file."""

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.audio.augmentation import clip_starts
from attention_atlas.data.audio.reading import SAMPLE_RATE
from attention_atlas.data.audio.spectrogram import HOP
from attention_atlas.data.loader import Batch


def clip_in_input(batch: Batch, position: Tensor) -> Tensor:
    """Return start and end [B, 2] of each clip in the input in seconds; the whole input if the
    samples of a raw batch are not files."""
    length = batch["waveform"].shape[1]
    start = clip_starts(position, length - batch["num_samples"])
    times = torch.stack([start, start + batch["num_samples"]], dim=1)
    whole = times.new_tensor([0, length])
    return torch.where(batch["is_file"][:, None], times, whole) / SAMPLE_RATE


def spectrogram_of_file(values: np.ndarray, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the frames of a clip to the front, and count them.

    Args:
        values: [B, mels, frames] of the input.
        clip: [B, 2], as of `clip_in_input`.

    Returns:
        [B, mels, frames], with the last frame repeated behind the clip, and the frames [B] of it.
    """
    first, end = np.round(clip * SAMPLE_RATE / HOP).astype(np.int64).T
    total = values.shape[2]
    frames = np.clip(end - first, 1, total)
    source = np.minimum(first[:, None] + np.arange(total), total - 1)
    return np.take_along_axis(values, source[:, None], axis=2), frames.astype(np.int32)
