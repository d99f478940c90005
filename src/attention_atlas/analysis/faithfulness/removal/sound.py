"""Remove boxes in time and frequency from log-mel spectrograms."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from attention_atlas.analysis.faithfulness.removal.base import Batch, Removal, in_boxes
from attention_atlas.data.audio.module import SCALE, AudioDataModule
from attention_atlas.data.audio.reading import SAMPLE_RATE
from attention_atlas.encoder import TokenLayout
from attention_atlas.encoder.audio_token_boxes import FRAME_SECONDS, MAX_HERTZ, mel_edges

MEAN_CLIPS = 1024
"""Training clips of which the mean spectrum is taken."""


class BoxRemoval(Removal):
    """Replaces the values of a box.

    Args:
        hop_seconds: Time from one frame to the next.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.
    """

    def __init__(self, hop_seconds: float, mel_edges: Sequence[float]) -> None:
        self.hop_seconds = hop_seconds
        edges = torch.tensor(mel_edges)
        self.hertz = (edges[:-1] + edges[1:]) / 2

    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """[B, mels, frames]."""
        seconds = self.hop_seconds * (torch.arange(batch["inputs"].shape[-1]) + 0.5)
        return in_boxes(removed, layout.boxes[..., [1, 0, 3, 2]], self.hertz, seconds)


class MeanSpectrumRemoval(BoxRemoval):
    """Replaces a box by the mean spectrum of training clips, at the level of its own clip.

    Args:
        spectrum: [mels], the mean of the inputs in each band.
        hop_seconds: Time from one frame to the next.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.
    """

    name = "mean"
    description = "the mean spectrum of training clips"

    def __init__(self, spectrum: Tensor, hop_seconds: float, mel_edges: Sequence[float]) -> None:
        super().__init__(hop_seconds, mel_edges)
        self.spectrum = spectrum

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return the mean spectrum in each frame, [B, mels, frames]."""
        inputs: Tensor = batch["inputs"]
        return self.spectrum.to(inputs)[:, None].expand_as(inputs)


class SilenceRemoval(BoxRemoval):
    """Replaces a box by digital silence.

    Args:
        silence: [mels], natural logarithms of power.
        hop_seconds: Time from one frame to the next.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.
    """

    name = "silence"
    description = "digital silence"

    def __init__(self, silence: Tensor, hop_seconds: float, mel_edges: Sequence[float]) -> None:
        super().__init__(hop_seconds, mel_edges)
        self.silence = silence

    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Silence in each frame, [B, mels, frames]: inputs are relative to the clip's level."""
        inputs: Tensor = batch["inputs"]
        silence: Tensor = (self.silence.to(inputs) - batch["level"][:, None]) / SCALE
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
        """Return the features of silence, of the shape of the inputs."""
        boxes = layout.boxes[..., [1, 0, 3, 2]]
        if self.silence.dim() == 1:
            seconds = (torch.arange(len(self.silence)) + 0.5) / SAMPLE_RATE
            return in_boxes(removed, boxes, torch.tensor([MAX_HERTZ / 2]), seconds)[:, 0]
        frames, bands = self.silence.shape[:: -1 if self.bands_first else 1]
        edges = mel_edges(bands)
        seconds = FRAME_SECONDS * (torch.arange(frames) + 0.5)
        covered = in_boxes(removed, boxes, (edges[:-1] + edges[1:]) / 2, seconds)
        return covered if self.bands_first else covered.transpose(1, 2)


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
