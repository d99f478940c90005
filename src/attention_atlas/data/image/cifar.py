"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009).

The Python version consists of pickles, which run code when they are opened, so it is not read. A
file of the binary version is a sequence of records: one or two labels of a byte each, then planes
of 32 x 32 red, green and blue pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_atlas.errors import InputError

SIZE, CHANNELS = 32, 3


@dataclass(frozen=True)
class CifarFiles:
    """Files of a data set.

    Attributes:
        title: Name of the data set.
        archive: Name of the archive that is downloaded.
        md5: Published checksum of the archive.
        folder: Folder in the archive.
        train: Names of the files of the training split.
        test: Name of the file of the test split.
        names: Name of the file with a class name per line.
        num_labels: Labels per record; the last one is the class.
        pickled: Folder of the Python version, which is not read.
    """

    title: str
    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    num_labels: int
    pickled: str


CIFAR = {
    "cifar10": CifarFiles(
        "CIFAR10",
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        1,
        "cifar-10-batches-py",
    ),
    "cifar100": CifarFiles(
        "CIFAR100",
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        "fine_label_names.txt",
        2,
        "cifar-100-python",
    ),
}


def find_cifar(name: str, path: Path) -> Path:
    """Find the folder with the files, at `path` or below it.

    Raises:
        InputError: There is none.
    """
    files = CIFAR[name]
    for folder in (path / files.folder, path):
        if (folder / files.test).is_file():
            return folder
    python = " What is there is the version for Python, which is not opened: pickles run code."
    found = any(
        (folder / "meta").is_file() or (folder / "batches.meta").is_file()
        for folder in (path / files.pickled, path)
    )
    raise InputError(
        f"data.path={path} holds no {files.title}: {files.folder}/{files.test} is missing."
        f"{python if found else ''} Give the folder that {files.archive} was unpacked to, or leave "
        "data.path=null to download."
    )


def read_cifar(
    name: str, folder: Path
) -> tuple[dict[str, tuple[np.ndarray, list[int]]], list[str]]:
    """Read all files.

    Returns:
        By split the images, uint8 [samples, 32, 32, 3], and their class indexes; and the names of
        the classes.

    Raises:
        InputError: A file is missing or damaged.
    """
    files = CIFAR[name]
    try:
        names = (folder / files.names).read_text(encoding="ascii").split()
        parts = {
            "train": [_read_records(folder / file, files, len(names)) for file in files.train],
            "test": [_read_records(folder / files.test, files, len(names))],
        }
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing; download the data set again.") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} does not hold the original {files.title} files ({error}); "
            "download the data set again."
        ) from error
    return {
        split: (
            np.concatenate([images for images, _ in part]),
            [label for _, labels in part for label in labels],
        )
        for split, part in parts.items()
    }, names


def _read_records(path: Path, files: CifarFiles, num_classes: int) -> tuple[np.ndarray, list[int]]:
    pixels = CHANNELS * SIZE * SIZE
    values = np.fromfile(path, np.uint8)
    if not len(values) or len(values) % (files.num_labels + pixels):
        raise ValueError(f"{path.name} has {len(values)} bytes, not complete images")
    records = values.reshape(-1, files.num_labels + pixels)
    labels = records[:, files.num_labels - 1]
    if labels.max() >= num_classes:
        raise ValueError(f"{path.name} has class {labels.max()} of {num_classes}")
    images = records[:, files.num_labels :].reshape(-1, CHANNELS, SIZE, SIZE)
    return images.transpose(0, 2, 3, 1), labels.tolist()
