"""Batched operations on waveforms, on the device of the waveforms."""

import torch
from torch import Tensor


def place(waveform: Tensor, num_samples: Tensor, start: Tensor) -> Tensor:
    """Move each clip to its start, in a silence of the same length.

    Args:
        waveform: [B, T], of which the first `num_samples` [B] samples are the clip.
        start: [B] samples, may be negative: then the clip's beginning is not heard.

    Returns:
        [B, T].
    """
    length = waveform.shape[1]
    placed = torch.zeros_like(waveform)
    # Row by row: an index for each sample would be several times the size of the waveform.
    for row, (first, count) in enumerate(
        zip(start.long().tolist(), num_samples.tolist(), strict=True)
    ):
        begin, end = max(first, 0), min(first + count, length)
        if begin < end:
            placed[row, begin:end] = waveform[row, begin - first : end - first]
    return placed


def start_of(position: Tensor, room: Tensor, shift: float = 0.0) -> Tensor:
    """The sample at which a clip starts, for a position in [0, 1).

    Args:
        position: [B]; 0.5 puts the clip in the middle.
        room: [B] samples that the clip leaves free; negative where it is too long.
        shift: Samples by which a clip may leave the middle though there is no room.

    Returns:
        [B].
    """
    reach = (room / 2).clamp(min=shift)
    return (room / 2 + (2 * position - 1) * reach).round()


def cut_noise(noise: Tensor, position: Tensor, length: int) -> Tensor:
    """A stretch of the noise for each position in [0, 1).

    Args:
        noise: [P, N] pieces, N >= length.
        position: [B].

    Returns:
        [B, length].
    """
    starts_per_piece = noise.shape[1] - length + 1
    start = (position * noise.shape[0] * starts_per_piece).long()
    piece = (start // starts_per_piece).clamp(max=noise.shape[0] - 1)
    stretches: Tensor = noise.unfold(1, length, 1)  # a view: nothing is copied but what is taken
    return stretches[piece, start % starts_per_piece]


def mix(waveform: Tensor, num_heard: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add noise at a signal-to-noise ratio.

    Args:
        waveform: [B, T].
        num_heard: [B] samples over which the power of the signal is taken.
        noise: [B, T].
        snr_db: [B] decibels; infinity adds nothing.

    Returns:
        [B, T].
    """
    signal_power = waveform.square().sum(dim=1) / num_heard.clamp(min=1)
    noise_power = noise.square().mean(dim=1).clamp(min=1e-12)
    gain = (signal_power / noise_power).sqrt() * 10 ** (-snr_db / 20)
    return waveform.addcmul(gain[:, None], noise)
