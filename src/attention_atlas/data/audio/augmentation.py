"""Varying clips of sound, each sample of a batch on its own.

Everything is drawn from torch's global generators, so that a resumed run goes on as the one that
was interrupted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchaudio.transforms import FrequencyMasking, TimeMasking

from attention_atlas.data.audio.options import AudioAugmentationOptions
from attention_atlas.data.audio.spectrogram import LogMel
from attention_atlas.data.loader import Batch


@dataclass(frozen=True)
class Variation:
    """How each clip of a batch is heard; all [B].

    Attributes:
        place: In [0, 1): where the clip stands; 0.5 is the middle.
        shift: Samples by which a clip without room may leave the middle; one number.
        noise: In [0, 1): which stretch of the noise.
        snr_db: Signal-to-noise ratio; infinity is no noise.
    """

    place: Tensor
    shift: float
    noise: Tensor
    snr_db: Tensor


def fixed_variation(batch: Batch) -> Variation:
    """As the data set says, the same every time."""
    return Variation(batch["place"], 0.0, batch["noise"], batch["snr_db"])


class AudioAugmentation:
    """Draws how training clips are heard, and hides parts of their spectrograms."""

    def __init__(self, options: AudioAugmentationOptions, sample_rate: int) -> None:
        self.options = options
        self._shift = options.time_shift * sample_rate

    def draw(self, batch: Batch) -> Variation:
        """A variation of each clip of a raw batch."""
        size, device = len(batch["label"]), batch["waveform"].device
        options = self.options
        place = torch.rand(size)
        noise = torch.rand(size)
        snr_db = options.snr_low + (options.snr_high - options.snr_low) * torch.rand(size)
        snr_db[torch.rand(size) >= options.background_noise] = float("inf")
        return Variation(place.to(device), self._shift, noise.to(device), snr_db.to(device))

    def __call__(self, log_mel: Tensor, frontend: LogMel) -> Tensor:
        """Warp and mask centred spectrograms [B, mels, frames]."""
        options = self.options
        if options.vocal_tract > 0 or options.tempo > 0:
            frequency = _factor(options.vocal_tract, len(log_mel)).to(log_mel.device)
            tempo = _factor(options.tempo, len(log_mel)).to(log_mel.device)
            log_mel = frontend.warp(log_mel, frequency, tempo)
        num_mels, num_frames = log_mel.shape[1:]
        masks = [
            TimeMasking(round(options.time_mask * num_frames), iid_masks=True),
            FrequencyMasking(round(options.frequency_mask * num_mels), iid_masks=True),
        ]
        log_mel = log_mel[:, None]  # torchaudio draws one mask per channel
        for mask in masks * options.masks:
            log_mel = mask(log_mel)
        return log_mel[:, 0]


def _factor(spread: float, size: int) -> Tensor:
    return 1 + spread * (2 * torch.rand(size) - 1)
