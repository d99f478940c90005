"""Images of a split, and what is made of a corpus: splits, sizes, mean and deviation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attention_atlas.data.image.corpora import ImageCorpus, content_hashes
from attention_atlas.data.image.options import ImageSource
from attention_atlas.data.image.reading import read_image
from attention_atlas.data.listing import file_contents
from attention_atlas.data.loader import Batch, BatchDataset
from attention_atlas.data.splits import SPLIT_VERSION, TEST_SEED, divide, stable_hash
from attention_atlas.errors import InputError, counted, first_names

STATISTICS_SAMPLES = 1024
"""Number of files that are decoded to estimate mean and standard deviation."""


class ImageDataset(BatchDataset):
    """Images of one split, in memory or decoded batch by batch.

    `images` are uint8 [samples, channels, height, width], or files, which are decoded to the size
    and channels of `source`.
    """

    def __init__(
        self,
        images: Tensor | list[Path],
        labels: list[int],
        sample_ids: list[str],
        source: ImageSource,
        groups: Mapping[str, list[str]] | None = None,
    ) -> None:
        super().__init__(labels, sample_ids, groups)
        self.images = images
        self.source = source

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return raw images: `image` uint8 [B, channels, height, width]."""
        try:
            images = self.pixels(indices)
        except InputError as error:
            # A worker process would turn it into a RuntimeError with a traceback as its message.
            return {"unreadable": str(error)}
        return self.targets(indices) | {"image": images}

    def pixels(self, indices: list[int]) -> Tensor:
        """Return uint8 [samples, channels, height, width] of some images.

        Raises:
            InputError: A file cannot be decoded.
        """
        if isinstance(self.images, Tensor):
            return self.images[indices]
        decoded = [read_image(self.images[index], self.source) for index in indices]
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()


def split_corpus(
    corpus: ImageCorpus, source: ImageSource, seed: int, version: int = SPLIT_VERSION
) -> dict[str, list[int]]:
    """Divide a corpus into `train`, `val` and `test`.

    Official splits stay; missing ones are drawn from the training samples, stratified by class,
    with equal images, and images of a group, in one split. The embedded `mnist5k` has one test set
    for all seeds.

    Returns:
        The indexes of each split.

    Raises:
        InputError: There are too few samples, or groups, to give each split one.
    """
    fractions = {"val": source.options.val_fraction, "test": source.options.test_fraction}
    given = corpus.splits or ["train"] * len(corpus.labels)
    is_given = {"train", "val", "test"} <= set(given)
    contents = None if is_given else _equal_images(corpus, version)
    test_seed = TEST_SEED if source.name == "mnist5k" and version > 2 else None
    splits = divide(
        given, corpus.sample_ids, corpus.labels, fractions, seed, contents, corpus.groups, test_seed
    )
    for split, part in splits.items():
        if not part:
            raise InputError(
                f"data={source.name} has {counted(len(given), 'image')}, too few for a "
                f"{split} split; add images or folders named train, val and test."
            )
    return splits


def with_classes(corpus: ImageCorpus, classes: list[str], source: ImageSource) -> ImageCorpus:
    """Return the corpus with its labels as indexes into other classes."""
    positions = {name: index for index, name in enumerate(classes)}
    for name in corpus.classes:
        if name not in positions:
            raise InputError(
                f"data={source.name} has the class {name!r}, which the model never saw; "
                f"it knows {first_names(classes)}."
            )
    labels = [positions[corpus.classes[label]] for label in corpus.labels]
    return replace(corpus, labels=labels, classes=classes)


def _equal_images(corpus: ImageCorpus, version: int) -> list[str] | None:
    """Return a key per image, the same for equal pixels in memory and for equal files."""
    if not isinstance(corpus.images, list):
        return content_hashes(corpus.images)
    return None if version == 1 else file_contents(corpus.images)


def resize_images(images: np.ndarray, source: ImageSource) -> Tensor:
    """Resize and convert to uint8 [samples, channels, height, width]."""
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if source.options.channels == 1:
        pixels = functional.rgb_to_grayscale(pixels)
    elif pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    if pixels.shape[-1] != source.options.image_size:
        pixels = functional.resize(pixels, [source.options.image_size] * 2, antialias=True)
    return pixels.contiguous()


def mean_and_deviation(dataset: ImageDataset) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of pixels in [0, 1], each [channels, 1, 1].

    A fixed sample of files is decoded.
    """
    indices = list(range(len(dataset)))
    if not isinstance(dataset.images, Tensor):
        indices.sort(key=lambda index: stable_hash(dataset.sample_ids[index]))
        indices = indices[:STATISTICS_SAMPLES]
    channels = dataset.pixels(indices).transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels]).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    deviation = torch.where(variance > 0, variance.sqrt(), torch.ones(()).double())
    return mean.float()[:, None, None], deviation.float()[:, None, None]
