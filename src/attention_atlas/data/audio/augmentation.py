"""Position, noise, tempo and masks of clips, drawn for each sample of a batch on its own.

Everything is drawn from torch's global generators, so that a resumed run draws the same as one that
was not interrupted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_atlas.data.audio.noise import cut_noise, mix
from attention_atlas.data.audio.options import AudioAugmentationOptions
from attention_atlas.data.audio.spectrogram import LogMel
from attention_atlas.data.loader import Batch


@dataclass(frozen=True)
class Variation:
    """Position and noise of each clip of a batch.

    Attributes:
        position: [B] in [0, 1), position of the clip in the input; 0.5 is the middle.
        shift: Samples by which a clip that fills the input may leave the middle.
        noise: [B] in [0, 1), position of the piece of noise.
        snr_db: [B], signal-to-noise ratio; infinity adds no noise.
    """

    position: Tensor
    shift: float
    noise: Tensor
    snr_db: Tensor

    def apply(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return the waveforms [B, T] in [-1, 1] of a raw batch, with noise from [P, N] pieces."""
        num_samples, length = batch["num_samples"], batch["waveform"].shape[1]
        start = clip_starts(self.position, length - num_samples, self.shift)
        waveform = move_clips(batch["waveform"], num_samples, start).float() / 32_768
        return mix(waveform, num_samples, cut_noise(noise, self.noise, length), self.snr_db)


def fixed_variation(batch: Batch) -> Variation:
    """Return the variation that the data set fixes for each sample."""
    return Variation(batch["position"], 0.0, batch["noise"], batch["snr_db"])


class AudioAugmentation:
    """Draws the variation of training clips, and masks their spectrograms (SpecAugment)."""

    def __init__(self, options: AudioAugmentationOptions, sample_rate: int) -> None:
        self.options = options
        self._shift = options.time_shift * sample_rate

    def draw(self, batch: Batch) -> Variation:
        """Draw a variation of each clip of a raw batch."""
        size, device = len(batch["label"]), batch["waveform"].device
        options = self.options
        position = torch.rand(size)
        noise = torch.rand(size)
        snr_db = options.snr_low + (options.snr_high - options.snr_low) * torch.rand(size)
        snr_db[torch.rand(size) >= options.background_noise] = float("inf")
        return Variation(position.to(device), self._shift, noise.to(device), snr_db.to(device))

    def __call__(self, log_mel: Tensor, frontend: LogMel) -> Tensor:
        """Warp and mask centred spectrograms [B, mels, frames]."""
        from torchaudio.transforms import FrequencyMasking, TimeMasking

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


def clip_starts(position: Tensor, room: Tensor, shift: float = 0.0) -> Tensor:
    """Return the start of each clip in samples, [B].

    Args:
        position: [B] in [0, 1); 0.5 puts the clip in the middle.
        room: [B] samples that the clip leaves free; negative for a clip longer than the input.
        shift: Samples by which a clip may leave the middle even without room.
    """
    reach = (room / 2).clamp(min=shift)
    return (room / 2 + (2 * position - 1) * reach).round()


def move_clips(waveform: Tensor, num_samples: Tensor, start: Tensor) -> Tensor:
    """Move each clip to its start, in silence of the same length [B, T].

    Args:
        waveform: [B, T], of which the first `num_samples` [B] samples are the clip.
        start: [B] samples; a negative start cuts the beginning off.
    """
    length = waveform.shape[1]
    moved = torch.zeros_like(waveform)
    # Row by row: an index for each sample would be several times the size of the waveform.
    for row, (first, count) in enumerate(
        zip(start.long().tolist(), num_samples.tolist(), strict=True)
    ):
        begin, end = max(first, 0), min(first + count, length)
        if begin < end:
            moved[row, begin:end] = waveform[row, begin - first : end - first]
    return moved


def _factor(spread: float, size: int) -> Tensor:
    return 1 + spread * (2 * torch.rand(size) - 1)
