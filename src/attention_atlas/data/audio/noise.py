"""Background noise: generated in three colours, or many voices at once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""How fast the power falls with frequency: as frequency to the minus this number."""


def coloured_noise(num_pieces: int, num_samples: int, seed: int) -> Tensor:
    """Pieces of white, pink and brown noise of mean power 1.

    Returns:
        float32 [3 * num_pieces, num_samples].
    """
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
    """Pieces in which `voices` of the clips sound at any time, of mean power 1.

    Returns:
        float32 [num_pieces, num_samples].
    """
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
    """Recordings cut into pieces of mean power 1; shorter recordings are repeated.

    Returns:
        float32 [pieces, num_samples].
    """
    pieces = []
    for recording in recordings:
        repeats = -(-num_samples // len(recording))
        whole = torch.from_numpy(np.tile(recording, repeats)).float()
        pieces.append(whole[: len(whole) // num_samples * num_samples].view(-1, num_samples))
    return _unit_power(torch.cat(pieces))


def _unit_power(pieces: Tensor) -> Tensor:
    return pieces / pieces.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
