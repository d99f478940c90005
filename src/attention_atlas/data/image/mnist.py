"""The files of the MNIST family (LeCun 1998): where they lie, and how one is read."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_atlas.errors import InputError

MAX_PIXELS = 2**31
"""Maximum size of an idx file: a few compressed bytes could claim any number."""


class MnistFiles(NamedTuple):
    """Files of a data set.

    Attributes:
        title: Name of the data set, as of the class in torchvision that downloads it.
        classes: Names of the classes.
    """

    title: str
    classes: list[str]

    @property
    def folder(self) -> str:
        """Folder in that of the download."""
        return f"{self.title}/raw"


DIGITS = [str(digit) for digit in range(10)]
CLOTHES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
MNIST = {
    "mnist": MnistFiles("MNIST", DIGITS),
    "fashion_mnist": MnistFiles("FashionMNIST", CLOTHES),
}


def find_mnist(name: str, path: Path) -> Path:
    """Find the folder with the files, at `path` or below it.

    Raises:
        InputError: There is none.
    """
    files, sample = MNIST[name], "t10k-images-idx3-ubyte"
    for folder in (path / files.folder, path):
        if (folder / sample).is_file() or (folder / f"{sample}.gz").is_file():
            return folder
    raise InputError(
        f"data.path={path} holds no {files.title}: {files.folder}/{sample} is missing. "
        "Give the folder that torchvision downloads to, or leave data.path=null to download."
    )


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
