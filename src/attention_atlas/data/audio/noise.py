"""Background noise: generated, made of many voices or recorded; cut to pieces and mixed in."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Exponent a of the power spectrum: power is proportional to frequency ** -a."""


def coloured_noise(num_pieces: int, num_samples: int, seed: int) -> Tensor:
    """Generate white, pink and brown noise of mean power 1: [3 * num_pieces, num_samples]."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.arange(num_samples // 2 + 1).clamp(min=num_samples // 400)
    pieces = []
    for exponent in COLOURS.values():
        white = torch.randn(num_pieces, num_samples, generator=generator)
        spectrum = torch.fft.rfft(white) * frequency ** (-exponent / 2)
        pieces.append(_unit_power(torch.fft.irfft(spectrum, n=num_samples)))
    return torch.cat(pieces)


def babble(
    clips: Sequence[np.ndarray], num_pieces: int, num_samples: int, seed: int, voices: int = 8
) -> Tensor:
    """Mix `voices` clips at any time, with mean power 1: float32 [num_pieces, num_samples]."""
    random = np.random.default_rng(seed)
    pieces = np.zeros((num_pieces, num_samples), dtype=np.float32)
    for piece in pieces:
        for _ in range(voices):
            position = -int(random.integers(8_000))
            while position < num_samples:
                clip = clips[int(random.integers(len(clips)))].astype(np.float32)
                clip /= np.sqrt(np.mean(clip**2)) + 1e-3
                first, last = max(position, 0), min(position + len(clip), num_samples)
                if last > first:
                    piece[first:last] += clip[first - position : last - position]
                position += len(clip)
    return _unit_power(torch.from_numpy(pieces))


def recorded_noise(recordings: Sequence[np.ndarray], num_samples: int) -> Tensor:
    """Cut recordings into pieces [P, num_samples] of mean power 1; shorter ones are repeated."""
    pieces = []
    for recording in recordings:
        repeats = -(-num_samples // len(recording))
        whole = torch.from_numpy(np.tile(recording, repeats)).float()
        pieces.append(whole[: len(whole) // num_samples * num_samples].view(-1, num_samples))
    return _unit_power(torch.cat(pieces))


def cut_noise(noise: Tensor, position: Tensor, length: int) -> Tensor:
    """Cut a stretch out of noise [P, N] for each position [B] in [0, 1): [B, length]."""
    starts_per_piece = noise.shape[1] - length + 1
    start = (position * noise.shape[0] * starts_per_piece).long()
    piece = (start // starts_per_piece).clamp(max=noise.shape[0] - 1)
    stretches: Tensor = noise.unfold(1, length, 1)  # a view: only what is selected is copied
    return stretches[piece, start % starts_per_piece]


def mix(waveform: Tensor, num_samples: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add noise [B, T] to waveforms [B, T] at signal-to-noise ratios [B] in decibels.

    The power of a signal is averaged over `num_samples` [B]; an infinite ratio adds nothing.
    """
    signal_power = waveform.square().sum(dim=1) / num_samples.clamp(min=1)
    noise_power = noise.square().mean(dim=1).clamp(min=1e-12)
    gain = (signal_power / noise_power).sqrt() * 10 ** (-snr_db / 20)
    return waveform.addcmul(gain[:, None], noise)


def _unit_power(pieces: Tensor) -> Tensor:
    return pieces / pieces.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
