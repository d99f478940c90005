"""The data module of images: data sets by name or a folder, as normalised batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.base import AtlasDataModule, DisplayInputs
from attention_atlas.data.groups import GROUP, describe_likely_groups
from attention_atlas.data.image.augmentation import ImageAugmentation
from attention_atlas.data.image.corpora import ImageCorpus, content_hashes, read_corpus
from attention_atlas.data.image.dataset import (
    ImageDataset,
    mean_and_deviation,
    resize_images,
    split_corpus,
    with_classes,
)
from attention_atlas.data.image.options import ImageAugmentationOptions, ImageOptions, ImageSource
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.options import read_options
from attention_atlas.data.splits import pick
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

    def __init__(self, name: str, **options: Any) -> None:
        chosen = read_options(ImageOptions, {"name": name, **options}, "data.")
        super().__init__(chosen)
        self.source = ImageSource(chosen)
        self.augmentation_options = read_options(
            ImageAugmentationOptions, chosen.augmentation, "augmentation."
        )
        self.mean = torch.zeros(chosen.channels, 1, 1)
        self.deviation = torch.ones(chosen.channels, 1, 1)
        self._colour_order = list(range(chosen.channels))  # of the input, as red, green and blue
        self._learned: dict[str, Any] | None = None

    def load_preprocessor(self, name: str) -> Any:
        """Load the image processor of a pretrained model, which takes colour."""
        from attention_atlas.data.image.pretrained_processor import PretrainedProcessor

        processor = PretrainedProcessor(name)
        self.source = self.source.resized(processor.side, channels=3)._replace(fit=processor.fit)
        return processor

    def load(self) -> dict[str, BatchDataset]:
        """Read and split the images, and measure mean and deviation of the training split.

        Raises:
            InputError: The data is missing or cannot be used.
        """
        self.source = self.source._replace(is_whole=self.tested_classes is not None)
        corpus = read_corpus(self.source)
        if self._learned is not None:
            corpus = with_classes(corpus, self._learned["classes"], self.source)
        self.classes = corpus.classes
        self.augmentation = ImageAugmentation(
            self.augmentation_options, len(corpus.classes), self.source.options.mirror
        )
        source = self.source
        if self.preprocessor is not None and not isinstance(corpus.images, list):
            # In memory they stay small; the processor enlarges each batch.
            source = source.resized(corpus.images.shape[1])
        images: Tensor | list[Path] = (
            corpus.images
            if isinstance(corpus.images, list)
            else resize_images(corpus.images, source)
        )
        splits = self._splits(corpus)
        datasets = {
            split: self._dataset(corpus, images, indices) for split, indices in splits.items()
        }
        if self.preprocessor is None and self._learned is None:
            self.mean, self.deviation = mean_and_deviation(datasets["train"])
        else:
            self._normalise_as_learned()
        return dict(datasets)

    def _splits(self, corpus: ImageCorpus) -> dict[str, list[int]]:
        self.not_read = corpus.not_read
        if self.source.is_whole and corpus.splits is None:
            splits = {"test": list(range(len(corpus.labels)))}
        else:
            splits = split_corpus(corpus, self.source, self.seed, self.split_version)
        if corpus.files is not None:
            hint = None if corpus.groups else describe_likely_groups(corpus.files, splits)
            self.notes = [hint] if hint else []
            if not isinstance(corpus.images, list):
                self.contents = pick(content_hashes(corpus.images), splits)
        return splits

    def _dataset(
        self, corpus: ImageCorpus, images: Tensor | list[Path], indices: list[int]
    ) -> ImageDataset:
        groups = corpus.groups
        return ImageDataset(
            images[indices] if isinstance(images, Tensor) else [images[i] for i in indices],
            [corpus.labels[index] for index in indices],
            [corpus.sample_ids[index] for index in indices],
            self.source,
            None if groups is None else {GROUP: [groups[index] for index in indices]},
        )

    def make_dataset(self, inputs: Sequence[UserInput]) -> BatchDataset:
        """Return image files, decoded batch by batch."""
        paths, names = [Path(each.content) for each in inputs], [each.name for each in inputs]
        self._normalise_as_learned()
        return ImageDataset(paths, label_indexes(inputs, self.classes), names, self.source)

    def dummy_batch(self) -> Batch:
        """Return a black image."""
        side, channels = self.source.options.image_size, self.source.options.channels
        images = torch.zeros(1, channels, side, side, dtype=torch.uint8)
        return ImageDataset(images, [-1], ["dummy"], self.source)[0]

    def _normalise_as_learned(self) -> None:
        """Set mean and deviation to those of the preprocessor or of an earlier run."""
        if self.preprocessor is not None:
            mean, deviation = self.preprocessor.normalised_by
            self.mean, self.deviation = mean.float(), deviation.float()
            self._colour_order = self.preprocessor.colour_order
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
        prepared = {"inputs": inputs, "label": label}
        prepared |= {name: batch[name] for name in ("sample_id", "groups")}
        if training:
            prepared["inputs"], target = self.augmentation.mix(inputs, label)
            if target is not None:
                prepared["target"] = target
        return prepared

    def embedding_options(self, embed_dim: int, options: dict[str, Any]) -> dict[str, Any]:
        """Add the height and width in pixels and the number of channels."""
        chosen = self.source.options
        return {"image_size": chosen.image_size, "channels": chosen.channels, **options}

    def display_inputs(self, batch: Batch) -> DisplayInputs:
        """Return the pixels: `image`, uint8 [B, height, width, channels]."""
        inputs = batch["inputs"].detach().float().cpu()
        pixels = (inputs * self.deviation + self.mean)[:, self._colour_order] * 255
        return {"image": pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()}

    def baseline_features(self, split: str) -> np.ndarray:
        """Return pixels in [0, 1], float32 [samples, channels * height * width]."""
        dataset = self.datasets[split]
        assert isinstance(dataset, ImageDataset)
        pixels = dataset.pixels(list(range(len(dataset))))
        features: np.ndarray = (pixels.flatten(1).float() / 255).numpy()
        return features

    def augmented_features(self) -> np.ndarray | None:
        """Return the pixels of the training split, moved and bent as in training."""
        if not self.augmentation.varies:
            return None
        dataset = self.datasets["train"]
        assert isinstance(dataset, ImageDataset)
        size, count = self.eval_batch_size, len(dataset)
        rows = [
            self.augmentation.vary(dataset.pixels(list(range(start, min(start + size, count)))))
            for start in range(0, count, size)
        ]
        features: np.ndarray = torch.cat(rows).flatten(1).numpy()
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
