"""Remove patches from images, and boxes in time and frequency from sound."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from attention_atlas.analysis.faithfulness.removal.base import Removal, in_boxes
from attention_atlas.data.audio.module import SCALE, AudioDataModule
from attention_atlas.data.audio.reading import SAMPLE_RATE
from attention_atlas.encoder import TokenLayout
from attention_atlas.encoder.audio_token_boxes import FRAME_SECONDS, MAX_HERTZ, mel_edges
from attention_atlas.encoder.tokens import Batch

MEAN_CLIPS = 1024
"""Training clips of which the mean spectrum is taken."""


class PatchRemoval(Removal):
    """Replaces the pixels of a patch."""

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """Return which pixels are covered, bool [B, 1, height, width]."""
        height, width = batch["inputs"].shape[-2:]
        rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        return in_boxes(removed, layout.boxes, rows, columns)[:, None]


class BlurRemoval(PatchRemoval):
    """Replaces a patch by that of a blurred copy of its image (Fong & Vedaldi 2017).

    The standard deviation of the Gaussian is the side of a patch, so that nothing finer is left.
    """

    name = "blur"
    description = "the same region of a blurred copy, by a Gaussian as wide as a patch"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return the blurred images, [B, channels, height, width]."""
        images: Tensor = batch["inputs"]
        top, left, bottom, right = layout.boxes.nan_to_num(0).unbind(-1)
        sigma = [float((right - left).max()), float((bottom - top).max())]
        # The border is reflected, so the kernel reaches no further than the image.
        sizes = (images.shape[-1], images.shape[-2])
        kernel = [
            2 * min(math.ceil(3 * side), size - 1) + 1
            for side, size in zip(sigma, sizes, strict=True)
        ]
        blurred: Tensor = functional.gaussian_blur(images, kernel, sigma)
        return blurred


class MeanRemoval(PatchRemoval):
    """Replaces a patch by the mean of the training images, 0 after normalisation."""

    name = "mean"
    description = "the mean of the training images"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Zeros, [B, channels, height, width]."""
        return torch.zeros_like(batch["inputs"])


class BoxRemoval(Removal):
    """Replaces the values of a box by those of a spectrum.

    Args:
        spectrum: [mels]; natural logarithms of power, or in the scale of the inputs.
        hop_seconds: Time from one frame to the next.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.
    """

    def __init__(self, spectrum: Tensor, hop_seconds: float, mel_edges: Sequence[float]) -> None:
        self.spectrum = spectrum
        self.hop_seconds = hop_seconds
        self.hertz = _centres(torch.tensor(mel_edges))

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """Return which cells of the spectrogram are covered, bool [B, mels, frames]."""
        seconds = self.hop_seconds * (torch.arange(batch["inputs"].shape[-1]) + 0.5)
        return in_boxes(removed, layout.boxes[..., [1, 0, 3, 2]], self.hertz, seconds)


class MeanSpectrumRemoval(BoxRemoval):
    """Replaces a box by the mean input of training clips in each band, at its own clip's level."""

    name = "mean"
    description = "the mean spectrum of training clips"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return the mean spectrum in each frame, [B, mels, frames]."""
        inputs: Tensor = batch["inputs"]
        return self.spectrum.to(inputs)[:, None].expand_as(inputs)


class SilenceRemoval(BoxRemoval):
    """Replaces a box by digital silence."""

    name = "silence"
    description = "digital silence"

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Silence in each frame, [B, mels, frames]: inputs are relative to the clip's level."""
        inputs: Tensor = batch["inputs"]
        silence: Tensor = (self.spectrum.to(inputs) - batch["level"][:, None]) / SCALE
        return silence[:, :, None].expand_as(inputs)


class SilencedFeatures(Removal):
    """Replaces the features of a box for a pretrained encoder by those of silence.

    Args:
        silence: Features of a silent clip: [samples], [frames, mels] or [mels, frames].
        bands_first: Whether the axis of bands precedes that of frames.
    """

    name = "silence"
    description = "digital silence"

    def __init__(self, silence: Tensor, bands_first: bool) -> None:
        self.silence = silence
        self.bands_first = bands_first

    @classmethod
    def of(cls, datamodule: Any) -> Self:
        """Return the removal with the features that the data's extractor computes for silence."""
        extractor = datamodule.preprocessor
        features = extractor(torch.zeros(1, datamodule.clip_samples))[0]
        return cls(features, extractor.input_name == "input_features")

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Silence, of the shape of the inputs."""
        return self.silence.to(batch["inputs"]).expand_as(batch["inputs"])

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """Return which features the removed tokens cover, of the shape of the inputs."""
        boxes = layout.boxes[..., [1, 0, 3, 2]]
        if self.silence.dim() == 1:
            seconds = (torch.arange(len(self.silence)) + 0.5) / SAMPLE_RATE
            return in_boxes(removed, boxes, torch.tensor([MAX_HERTZ / 2]), seconds)[:, 0]
        frames, bands = self.silence.shape[:: -1 if self.bands_first else 1]
        seconds = FRAME_SECONDS * (torch.arange(frames) + 0.5)
        covered = in_boxes(removed, boxes, _centres(mel_edges(bands)), seconds)
        return covered if self.bands_first else covered.transpose(1, 2)


def _centres(edges: Tensor) -> Tensor:
    return (edges[:-1] + edges[1:]) / 2


def mean_spectrum(datamodule: AudioDataModule) -> MeanSpectrumRemoval:
    """Return the removal with the mean spectrum of at most 1024 training clips."""
    dataset = datamodule.datasets["train"]
    count = min(len(dataset), MEAN_CLIPS)
    indices = [index * len(dataset) // count for index in range(count)]
    total = torch.zeros(datamodule.num_mels, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):  # augmentation draws from the global generator
        torch.manual_seed(0)
        for start in range(0, count, datamodule.eval_batch_size):
            raw = dataset.__getitems__(indices[start : start + datamodule.eval_batch_size])
            inputs = datamodule.prepare(raw, training=True)["inputs"]
            total += inputs.double().mean(dim=2).sum(dim=0).cpu()
    spectrum = (total / count).float()
    return MeanSpectrumRemoval(spectrum, datamodule.hop_seconds, datamodule.mel_edges)


def silence(datamodule: AudioDataModule) -> SilenceRemoval:
    """Return the removal with the spectrogram of a silent clip."""
    log_mel = datamodule.log_mel.cpu()(torch.zeros(1, datamodule.clip_samples))
    return SilenceRemoval(log_mel[0, :, 0], datamodule.hop_seconds, datamodule.mel_edges)
