"""The data module of speech: clips in, log-mel spectrograms out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.audio.augmentation import AudioAugmentation, fixed_variation
from attention_atlas.data.audio.clips import ClipDataset
from attention_atlas.data.audio.corpora import (
    NOISE_PIECES,
    AudioCorpus,
    audio_folder,
    noise_length,
    speech_commands,
    spoken_commands,
)
from attention_atlas.data.audio.file_times import clip_in_input, spectrogram_of_file
from attention_atlas.data.audio.noise import coloured_noise
from attention_atlas.data.audio.options import AudioAugmentationOptions, AudioOptions
from attention_atlas.data.audio.reading import SAMPLE_RATE, read_clip
from attention_atlas.data.audio.spectrogram import HOP, LogMel, PretrainedExtractor
from attention_atlas.data.base import AtlasDataModule, DisplayInputs
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.options import read_options
from attention_atlas.data.user_inputs import UserInput, label_indexes

SCALE = 4.0
"""About the standard deviation of log-mel values in speech; inputs are divided by it."""


class AudioDataModule(AtlasDataModule):
    """Labelled clips of speech or other sound as log-mel spectrograms.

    A prepared batch has `inputs` [B, mels, frames], centred on each clip's mean, and `level` [B],
    that mean. For a pretrained encoder it has the encoder's own `inputs`, and `log_mel`. If it is
    not varied, `clip` [B, 2] is the start and end of each file in the input, in seconds.

    The arguments are described in `AudioOptions`.

    Attributes:
        num_frames: Frames of an input.
        hop_seconds: Time from one frame to the next, in seconds.
        mel_edges: The num_mels + 1 edges of the mel bands in hertz.

    Raises:
        InputError: A value cannot be used.
    """

    modality: ClassVar[str] = "audio"

    def __init__(self, name: str, **options: Any) -> None:
        self.options = read_options(AudioOptions, {"name": name, **options}, "data.")
        super().__init__(self.options)
        self.clip_seconds = self.options.clip_seconds
        self.clip_samples = round(self.clip_seconds * SAMPLE_RATE)
        self.num_mels = self.options.num_mels
        self.log_mel = LogMel(self.num_mels)
        self.num_frames = self.clip_samples // HOP
        self.hop_seconds = HOP / SAMPLE_RATE
        self.mel_edges = self.log_mel.mel_edges
        augmentation = self.options.augmentation
        variation = read_options(AudioAugmentationOptions, augmentation, "augmentation.")
        self.augmentation = AudioAugmentation(variation, SAMPLE_RATE) if augmentation else None
        self.noise: dict[str, Tensor] = {}

    def load_preprocessor(self, name: str) -> PretrainedExtractor:
        """Load the feature extractor of a pretrained model."""
        return PretrainedExtractor(name)

    def make_dataset(self, inputs: Sequence[UserInput]) -> BatchDataset:
        """Return sound files, each in the middle of the input, without noise."""
        self.noise = self.noise or self._generate_noise()
        return ClipDataset(
            [read_clip(Path(each.content), self.clip_samples) for each in inputs],
            label_indexes(inputs, self.classes),
            [each.name for each in inputs],
            self.clip_samples,
        )

    def dummy_batch(self) -> Batch:
        """Return a silent clip."""
        self.noise = self.noise or self._generate_noise()
        silence = np.zeros(self.clip_samples, dtype=np.int16)
        return ClipDataset([silence], [-1], ["dummy"], self.clip_samples)[0]

    def load(self) -> dict[str, BatchDataset]:
        """Read the clips and split them."""
        corpus = self._corpus()
        self.classes, self.contents = corpus.classes, corpus.contents
        self.not_read = corpus.not_read
        self.notes = [corpus.hint] if corpus.hint else []
        self.noise = self._generate_noise() | dict(corpus.noise)
        return dict(corpus.splits)

    def _generate_noise(self) -> dict[str, Tensor]:
        """Generate coloured noise, for a corpus without noise of its own."""
        length = noise_length(self.clip_samples)
        return {
            part: coloured_noise(NOISE_PIECES, length, seed)
            for part, seed in (("train", 1), ("eval", 2))
        }

    def _corpus(self) -> AudioCorpus:
        if self.name == "spoken_commands":
            return spoken_commands(self.clip_samples, self.seed, self.split_version)
        folder = self.options.folder
        if self.name == "speech_commands":
            return speech_commands(folder, self.options.labels, self.clip_samples, self.seed)
        return audio_folder(
            folder,
            self.clip_samples,
            self.seed,
            self.options.group,
            self.split_version,
            self.tested_classes,
        )

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Position, mix with noise, and turn into a spectrogram; varied when training."""
        augmentation = self.augmentation if training else None
        variation = augmentation.draw(batch) if augmentation else fixed_variation(batch)
        part = "train" if augmentation else "eval"
        self.noise[part] = self.noise[part].to(batch["waveform"].device)
        waveform = variation.apply(batch, self.noise[part])
        log_mel = self.log_mel.to(waveform.device)(waveform)
        targets = {key: batch[key] for key in ("label", "sample_id", "groups")}
        if augmentation is None:
            targets["clip"] = clip_in_input(batch, variation.position)
        if self.preprocessor is not None:
            return {"inputs": self.preprocessor(waveform), "log_mel": log_mel, **targets}
        level = log_mel.mean(dim=(1, 2))
        inputs = (log_mel - level[:, None, None]) / SCALE
        if augmentation:
            inputs = augmentation(inputs, self.log_mel)
        return {"inputs": inputs, "level": level, **targets}

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
        """Return `spectrogram` [B, mels, frames] in decibels, and the number of its `frames` [B].

        It is the one before the mean was subtracted, and begins where the file begins.
        """
        if "log_mel" in batch:
            log_mel = batch["log_mel"]
        else:
            log_mel = SCALE * batch["inputs"] + batch["level"][:, None, None]
        decibels = (10 / math.log(10) * log_mel).float().cpu().numpy()
        if "clip" not in batch:
            return {"spectrogram": decibels}
        spectrogram, frames = spectrogram_of_file(decibels, batch["clip"].cpu().numpy())
        return {"spectrogram": spectrogram, "frames": frames}

    def baseline_features(self, split: str) -> np.ndarray:
        """Return coarse spectrograms with the energy in the middle, [samples, features]."""
        return self._features(split, training=False)

    def augmented_features(self) -> np.ndarray | None:
        """Return the spectrograms of the training split, changed as in training."""
        return None if self.augmentation is None else self._features("train", training=True)

    def _features(self, split: str, training: bool) -> np.ndarray:
        rows = [
            _centred(self.prepare(batch, training)["inputs"])
            for batch in self.loader(split, self.eval_batch_size)
        ]
        return torch.cat(rows).numpy()


def _centred(inputs: Tensor) -> Tensor:
    """Shift spectrograms [B, mels, frames] to centre their energy, and pool them to rows [B, F]."""
    energy = (SCALE * inputs).exp().sum(dim=1)
    frames = torch.arange(inputs.shape[2])
    centre = (energy * frames).sum(dim=1) / energy.sum(dim=1)
    source = frames + (centre.round().long() - inputs.shape[2] // 2)[:, None]
    source = source % inputs.shape[2]
    moved = inputs.gather(2, source[:, None].expand_as(inputs))
    return torch.nn.functional.avg_pool2d(moved[:, None], 2).flatten(1)
