"""The data module of speech: clips in, log-mel spectrograms out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.audio.augmentation import AudioAugmentation, Variation, fixed_variation
from attention_atlas.data.audio.clips import SAMPLE_RATE, AudioCorpus, ClipDataset
from attention_atlas.data.audio.files import read_clip
from attention_atlas.data.audio.folder import audio_folder
from attention_atlas.data.audio.noise import coloured_noise
from attention_atlas.data.audio.options import AudioSource, audio_augmentation_options
from attention_atlas.data.audio.spectrogram import LogMel
from attention_atlas.data.audio.speech_commands import speech_commands
from attention_atlas.data.audio.spoken_commands import spoken_commands
from attention_atlas.data.audio.waveforms import cut_noise, mix, place, start_of
from attention_atlas.data.base import PRETRAINED_FOLDER, AtlasDataModule, DisplayInputs
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.user_inputs import UserInput, label_indexes

if TYPE_CHECKING:
    from attention_atlas.data.audio.pretrained_extractor import PretrainedExtractor

_SCALE = 4.0
"""About the standard deviation of log-mel values in speech; inputs are divided by it."""


class AudioDataModule(AtlasDataModule):
    """Labelled clips of speech or other sound as log-mel spectrograms.

    A prepared batch has `inputs` [B, mels, frames], centred on each clip's mean, and `level` [B],
    that mean. For a pretrained encoder it has the `inputs` that this one takes, and `log_mel`.

    Args:
        name: `spoken_commands`, `speech_commands` or `audio_folder`.
        batch_size: Samples per training batch.
        path: Where the files of `speech_commands` or `audio_folder` lie.
        eval_batch_size: Samples per evaluation batch, by default twice `batch_size`.
        num_workers: Processes that load batches.
        seed: Draws the split (with `spoken_commands`, the voices) and the order of the batches.
        clip_seconds: What the model hears; longer clips are cut, shorter ones padded.
        num_mels: Mel bands.
        labels: `speech_commands` with 10, 12 or 35 classes.
        augmentation: Keys of `AudioAugmentationOptions`; empty trains on the clips as they are.

    Raises:
        InputError: A value cannot be used.
    """

    modality: ClassVar[str] = "audio"

    def __init__(
        self,
        name: str,
        batch_size: int,
        path: str | None = None,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        clip_seconds: float = 1.0,
        num_mels: int = 40,
        labels: int = 35,
        augmentation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.source = AudioSource(name, path, clip_seconds, num_mels, labels)
        self.name = name
        self.clip_seconds = clip_seconds
        self.clip_samples = round(clip_seconds * SAMPLE_RATE)
        self.log_mel = LogMel(num_mels)
        options = audio_augmentation_options(augmentation or {})
        self.augmentation = AudioAugmentation(options, SAMPLE_RATE) if augmentation else None
        self.noise: dict[str, Tensor] = {}
        self.extractor: PretrainedExtractor | None = None

    def use_pretrained(self, name: str) -> None:
        """Take the feature extractor of a pretrained model."""
        from attention_atlas.data.audio.pretrained_extractor import (  # transformers is slow
            PretrainedExtractor,
        )

        super().use_pretrained(name)
        self.extractor = PretrainedExtractor(name)

    def save(self, folder: Path) -> None:
        """Write what a pretrained encoder hears by into a run folder."""
        super().save(folder)
        if self.extractor is not None:
            self.extractor.save(folder / PRETRAINED_FOLDER)

    @property
    def num_mels(self) -> int:
        """Mel bands of the inputs."""
        return self.log_mel.num_mels

    @property
    def num_frames(self) -> int:
        """Frames of the inputs."""
        return self.log_mel.num_frames(self.clip_samples)

    @property
    def hop_seconds(self) -> float:
        """Time from one frame to the next."""
        return self.log_mel.hop_seconds

    @property
    def mel_edges(self) -> list[float]:
        """The num_mels + 1 edges of the mel bands in hertz."""
        return self.log_mel.mel_edges

    def make_dataset(self, given: Sequence[UserInput]) -> BatchDataset:
        """Sound files, each in the middle of what the model hears, without noise."""
        self.noise = self.noise or self._made_noise()
        return ClipDataset(
            [read_clip(Path(each.content), self.clip_samples) for each in given],
            label_indexes(given, self.classes),
            [each.name for each in given],
            self.clip_samples,
        )

    def dummy_batch(self) -> Batch:
        """A silent clip."""
        self.noise = self.noise or self._made_noise()
        silence = np.zeros(self.clip_samples, dtype=np.int16)
        return ClipDataset([silence], [-1], ["example"], self.clip_samples)[0]

    def load(self) -> dict[str, BatchDataset]:
        """Read the clips and split them."""
        corpus = self._corpus()
        self.classes = corpus.classes
        self.noise = self._made_noise() | dict(corpus.noise)
        return dict(corpus.splits)

    def _made_noise(self) -> dict[str, Tensor]:
        """Coloured noise, where a corpus brings none of its own."""
        length = max(10 * SAMPLE_RATE, 2 * self.clip_samples)
        return {"train": coloured_noise(4, length, 1), "eval": coloured_noise(4, length, 2)}

    def _corpus(self) -> AudioCorpus:
        if self.name == "spoken_commands":
            return spoken_commands(self.clip_samples, self.seed)
        folder = self.source.folder
        if self.name == "speech_commands":
            return speech_commands(folder, self.source.labels, self.clip_samples, self.seed)
        return audio_folder(folder, self.clip_samples, self.seed)

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Place, mix with noise, and turn into a spectrogram; varied when training."""
        augmentation = self.augmentation if training else None
        variation = augmentation.draw(batch) if augmentation else fixed_variation(batch)
        part = "train" if augmentation else "eval"
        waveform = self._hear(batch, variation, part)
        log_mel = self.log_mel.to(waveform.device)(waveform)
        kept = {key: batch[key] for key in ("label", "sample_id", "groups")}
        if self.extractor is not None:
            return {"inputs": self.extractor(waveform), "log_mel": log_mel, **kept}
        level = log_mel.mean(dim=(1, 2))
        inputs = (log_mel - level[:, None, None]) / _SCALE
        if augmentation:
            inputs = augmentation(inputs, self.log_mel)
        return {"inputs": inputs, "level": level, **kept}

    def _hear(self, batch: Batch, variation: Variation, part: str) -> Tensor:
        num_samples = batch["num_samples"]
        length = batch["waveform"].shape[1]
        start = start_of(variation.place, length - num_samples, variation.shift)
        waveform = place(batch["waveform"], num_samples, start).float() / 32_768
        self.noise[part] = self.noise[part].to(waveform.device)
        noise = cut_noise(self.noise[part], variation.noise, length)
        return mix(waveform, num_samples, noise, variation.snr_db)

    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Add the size of the spectrograms, and what their frames and bands stand for."""
        return {
            "num_mels": self.num_mels,
            "num_frames": self.num_frames,
            "hop_seconds": self.hop_seconds,
            "mel_edges": self.mel_edges,
            **options,
        }

    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """The spectrograms in decibels, before they were centred."""
        if "log_mel" in batch:
            log_mel = batch["log_mel"]
        else:
            log_mel = _SCALE * batch["inputs"] + batch["level"][:, None, None]
        decibels = 10 / math.log(10) * log_mel
        return {"spectrogram": decibels.float().cpu().numpy()}

    def baseline_features(self, split: str) -> np.ndarray:
        """Spectrograms with the energy in the middle, coarse, one row per sample of the split."""
        rows = [
            _centred(self.prepare(batch, training=False)["inputs"])
            for batch in self.loader(split, self.eval_batch_size)
        ]
        return torch.cat(rows).numpy()


def _centred(inputs: Tensor) -> Tensor:
    """Spectrograms [B, mels, frames] moved so that the middle of their energy is in the middle."""
    energy = (_SCALE * inputs).exp().sum(dim=1)
    frames = torch.arange(inputs.shape[2])
    centre = (energy * frames).sum(dim=1) / energy.sum(dim=1)
    source = frames + (centre.round().long() - inputs.shape[2] // 2)[:, None]
    source = source % inputs.shape[2]
    moved = inputs.gather(2, source[:, None].expand_as(inputs))
    return torch.nn.functional.avg_pool2d(moved[:, None], 2).flatten(1)
