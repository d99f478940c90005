"""Downloads of images, kept in the cache."""

from pathlib import Path

from torchvision import datasets
from torchvision.datasets.utils import download_url

from attention_atlas.data.archives import unpack_tar
from attention_atlas.data.cache import cached
from attention_atlas.data.image.cifar import CIFAR
from attention_atlas.data.image.mnist import MNIST
from attention_atlas.errors import InputError

URL = "https://www.cs.toronto.edu/~kriz/"
"""Where CIFAR is downloaded from; torchvision knows where the MNIST family is."""


def download(name: str) -> Path:
    """Download a data set, or find it in the cache.

    Returns:
        A folder with the files, which are found there as in one of the user.

    Raises:
        InputError: It cannot be downloaded.
    """

    def make(folder: Path) -> None:
        try:
            if name in CIFAR:
                _download_cifar(name, folder)
            else:
                getattr(datasets, MNIST[name].title)(folder, download=True)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"data={name} could not be downloaded: the network may be unreachable. "
                "Give a folder that has it by data.path=FOLDER."
            ) from error
        for archive in folder.rglob("*.gz"):
            archive.unlink()

    if name in CIFAR:
        return cached(name, {"format": 2, "data": CIFAR[name].archive}, make)
    return cached(name, {"format": 1, "data": MNIST[name].title}, make)


def _download_cifar(name: str, folder: Path) -> None:
    """Download and verify the archive, and unpack its files into an existing folder.

    Raises:
        OSError: The network is unreachable.
        RuntimeError: The checksum does not match.
    """
    files = CIFAR[name]
    download_url(URL + files.archive, folder, files.archive, files.md5)
    unpack_tar(folder / files.archive, folder / "unpacked")
    (folder / "unpacked" / files.folder).rename(folder / files.folder)
    (folder / "unpacked").rmdir()
    (folder / files.archive).unlink()
