"""Log-mel spectrograms in batches, and the feature extractor of a pretrained model."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attention_atlas.data.audio.reading import SAMPLE_RATE
from attention_atlas.errors import InputError

HOP = 200
"""Samples from one frame to the next."""
_FLOOR = 1e-6
_WINDOW = 400
_LOW, _HIGH = 40.0, 7_600.0  # hertz


def _mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


class LogMel(nn.Module):
    """Log-mel spectrograms of waveforms, by windows of 25 ms, in bands from 40 to 7,600 Hz."""

    def __init__(self, num_mels: int) -> None:
        from torchaudio.transforms import MelScale, Spectrogram

        super().__init__()
        self.num_mels = num_mels
        self._low, self._high = _mel(torch.tensor([_LOW, _HIGH])).tolist()
        self.spectrogram = Spectrogram(n_fft=_WINDOW, hop_length=HOP, power=None)
        self.mel_scale = MelScale(
            num_mels, SAMPLE_RATE, f_min=_LOW, f_max=_HIGH, n_stft=_WINDOW // 2 + 1
        )

    @property
    def mel_edges(self) -> list[float]:
        """The num_mels + 1 edges of the bands, in hertz.

        Bands overlap: the edge between two is half way between their centres on the mel scale.
        """
        step = (self._high - self._low) / (self.num_mels + 1)
        edges: list[float] = _hertz(
            self._low + step * (0.5 + torch.arange(self.num_mels + 1, dtype=torch.float64))
        ).tolist()
        return edges

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the natural logarithm of the power, [B, mels, frames], of waveforms [B, T]."""
        complex_spectrogram = self.spectrogram(waveform)[..., : waveform.shape[-1] // HOP]
        real, imaginary = complex_spectrogram.real, complex_spectrogram.imag
        power = torch.addcmul(real.square(), imaginary, imaginary)  # abs() would take roots
        log_mel: Tensor = (self.mel_scale(power) + _FLOOR).log()
        return log_mel

    def warp(self, log_mel: Tensor, frequency: Tensor, tempo: Tensor) -> Tensor:
        """Scale all frequencies, as another vocal tract would (Jaitly 2013), and the tempo.

        Args:
            log_mel: [B, mels, frames], as the result is.
            frequency: [B]; above 1, formants move up.
            tempo: [B]; above 1, the clip is shorter, around its middle.
        """
        step = (self._high - self._low) / (self.num_mels + 1)
        bands = torch.arange(self.num_mels, device=log_mel.device)
        hertz = _hertz(self._low + step * (1 + bands))
        source_bands = (_mel(hertz / frequency[:, None]) - self._low) / step - 1
        middle = (log_mel.shape[2] - 1) / 2
        frames = torch.arange(log_mel.shape[2], device=log_mel.device) - middle
        source_frames = middle + frames * tempo[:, None]
        across = _interpolation(source_frames, log_mel.shape[2]).transpose(1, 2)
        return _interpolation(source_bands, self.num_mels) @ log_mel @ across


def _interpolation(source: Tensor, size: int) -> Tensor:
    """Return matrices [B, N, size] that interpolate at fractional indexes [B, N], clamped."""
    indexes = torch.arange(size, device=source.device)
    distance = source.clamp(0, size - 1)[:, :, None] - indexes
    return (1 - distance.abs()).clamp(min=0)


class PretrainedExtractor:
    """The feature extractor of a pretrained model, by its name.

    Raises:
        InputError: The model has no feature extractor, or one for another sample rate.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoFeatureExtractor

        from attention_atlas.pretrained.source import load

        self._extractor: Any = load(name, "feature extractor", AutoFeatureExtractor.from_pretrained)
        rate = getattr(self._extractor, "sampling_rate", None)
        if rate != SAMPLE_RATE:
            raise InputError(
                f"encoder.name={name} takes {rate} samples a second; clips have {SAMPLE_RATE}."
            )
        self.input_name: str = self._extractor.model_input_names[0]

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Return the input of the model for waveforms [B, samples] in [-1, 1]."""
        features: Tensor = self._extractor(
            list(waveforms.cpu().numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )[self.input_name]
        return features.to(waveforms.device)

    def save_pretrained(self, folder: Path) -> None:
        """Write the options of the extractor into a folder."""
        self._extractor.save_pretrained(folder)
