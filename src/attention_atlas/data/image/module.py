"""The data module of images: data sets by name or a folder, as normalised batches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.base import AtlasDataModule, DisplayInputs
from attention_atlas.data.image.augmentation import ImageAugmentation
from attention_atlas.data.image.corpora import ImageCorpus, image_source, read_corpus
from attention_atlas.data.image.dataset import (
    ImageDataset,
    mean_and_deviation,
    resize_images,
    split_corpus,
    with_classes,
)
from attention_atlas.data.image.options import ImageAugmentationOptions
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.options import read_options
from attention_atlas.data.user_inputs import UserInput, label_indexes
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.run_folder import IMAGES, read_json


class ImageDataModule(AtlasDataModule):
    """Images in the splits `train`, `val` and `test`.

    Prepared batches hold `inputs`, float32 [B, channels, height, width], normalised by mean and
    standard deviation of the training split, and `target` [B, C] with mixup or CutMix.

    The arguments are described in `ImageOptions`.

    Raises:
        InputError: An option is out of range.
    """

    modality = "image"

    def __init__(
        self,
        name: str,
        batch_size: int,
        path: str | None = None,
        image_size: int = 28,
        channels: int = 1,
        mirror: bool = False,
        augmentation: Mapping[str, Any] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        max_memory_mib: int = 1024,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size, **loading)
        self.name = name
        self.source = image_source(
            {
                "name": name,
                "path": path,
                "image_size": image_size,
                "channels": channels,
                "max_memory_mib": max_memory_mib,
                "val_fraction": val_fraction,
                "test_fraction": test_fraction,
            }
        )
        self.image_size = image_size
        self.channels = channels
        self.mirror = mirror
        self.augmentation_options = read_options(
            ImageAugmentationOptions, augmentation, "augmentation."
        )
        self.mean = torch.zeros(channels, 1, 1)
        self.deviation = torch.ones(channels, 1, 1)
        self._learned: dict[str, Any] | None = None

    def load_preprocessor(self, name: str) -> Any:
        """Load the image processor of a pretrained model, which takes colour."""
        from attention_atlas.data.image.pretrained_processor import PretrainedProcessor

        processor = PretrainedProcessor(name)
        self.channels = 3
        self.source = replace(self.source, channels=3, image_size=processor.side, fit=processor.fit)
        return processor

    def load(self) -> dict[str, BatchDataset]:
        """Read and split the images, and measure mean and deviation of the training split.

        Raises:
            InputError: The data is missing or cannot be used.
        """
        corpus = read_corpus(self.source)
        if self._learned is not None:
            corpus = with_classes(corpus, self._learned["classes"], self.source)
        self.classes = corpus.classes
        self.augmentation = ImageAugmentation(
            self.augmentation_options, len(corpus.classes), self.mirror
        )
        source = self.source
        if self.preprocessor is not None and not isinstance(corpus.images, list):
            # In memory they stay small; the processor enlarges each batch.
            source = replace(source, image_size=corpus.images.shape[1])
        images: Tensor | list[Path] = (
            corpus.images
            if isinstance(corpus.images, list)
            else resize_images(corpus.images, source)
        )
        datasets = {
            split: self._dataset(corpus, images, indices)
            for split, indices in split_corpus(corpus, self.source, self.seed).items()
        }
        if self.preprocessor is None and self._learned is None:
            self.mean, self.deviation = mean_and_deviation(datasets["train"])
        else:
            self._normalise_as_learned()
        return dict(datasets)

    def _dataset(
        self, corpus: ImageCorpus, images: Tensor | list[Path], indices: list[int]
    ) -> ImageDataset:
        return ImageDataset(
            images[indices] if isinstance(images, Tensor) else [images[i] for i in indices],
            [corpus.labels[index] for index in indices],
            [corpus.sample_ids[index] for index in indices],
            self.source,
        )

    def make_dataset(self, inputs: Sequence[UserInput]) -> BatchDataset:
        """Return image files, decoded batch by batch."""
        paths, names = [Path(each.content) for each in inputs], [each.name for each in inputs]
        self._normalise_as_learned()
        return ImageDataset(paths, label_indexes(inputs, self.classes), names, self.source)

    def dummy_batch(self) -> Batch:
        """Return a black image."""
        side = self.source.image_size
        images = torch.zeros(1, self.channels, side, side, dtype=torch.uint8)
        return ImageDataset(images, [-1], ["dummy"], self.source)[0]

    def _normalise_as_learned(self) -> None:
        """Set mean and deviation to those of the preprocessor or of an earlier run."""
        if self.preprocessor is not None:
            self.mean, self.deviation = self.preprocessor.normalised_by
        elif self._learned is not None:
            self.mean = torch.tensor(self._learned["mean"])[:, None, None]
            self.deviation = torch.tensor(self._learned["deviation"])[:, None, None]

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """Augment (when training) and normalise a raw batch.

        Raises:
            InputError: A file of the batch could not be decoded.
        """
        if "unreadable" in batch:
            raise InputError(batch["unreadable"])
        images, label = batch["image"], batch["label"]
        values = self.augmentation.vary(images) if training else images.float() / 255
        if self.preprocessor is not None:
            inputs = self.preprocessor((values * 255).round().byte())
        else:
            inputs = (values - self.mean.to(values.device)) / self.deviation.to(values.device)
        prepared = {"inputs": inputs, "label": label, "sample_id": batch["sample_id"]}
        if training:
            prepared["inputs"], target = self.augmentation.mix(inputs, label)
            if target is not None:
                prepared["target"] = target
        return prepared

    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Add the height and width in pixels and the number of channels."""
        return {"image_size": self.image_size, "channels": self.channels, **options}

    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """Return the pixels: `image`, uint8 [B, height, width, channels]."""
        inputs = batch["inputs"].detach().float().cpu()
        pixels = (inputs * self.deviation + self.mean) * 255
        return {"image": pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()}

    def baseline_features(self, split: str) -> np.ndarray:
        """Return pixels in [0, 1], float32 [samples, channels * height * width]."""
        dataset = self.datasets[split]
        assert isinstance(dataset, ImageDataset)
        pixels = dataset.pixels(list(range(len(dataset))))
        features: np.ndarray = (pixels.flatten(1).float() / 255).numpy()
        return features

    def save(self, folder: Path) -> None:
        """Write classes, mean and deviation to a run folder."""
        super().save(folder)
        learned = {
            "classes": self.classes,
            "mean": self.mean.flatten().tolist(),
            "deviation": self.deviation.flatten().tolist(),
        }
        write_json(folder / IMAGES, learned)

    def restore(self, folder: Path) -> None:
        """Read classes, mean and deviation, so that other images are normalised alike."""
        try:
            learned = read_json(folder, IMAGES) or {}
            mean, deviation = (np.array(learned[name], float) for name in ("mean", "deviation"))
            if mean.shape != deviation.shape or mean.shape not in ((1,), (3,)):
                raise ValueError(f"{len(mean)} means and {len(deviation)} deviations")
            classes = [str(name) for name in learned["classes"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / IMAGES} does not hold classes, mean and deviation: {error!r}."
            ) from error
        self._learned = {
            "classes": classes,
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
        }
