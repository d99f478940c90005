"""Data sets by name, read from files in their original layout."""

import gzip
import hashlib
import pickle
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from attention_atlas.data.image.corpora import mnist5k, read_corpus
from attention_atlas.data.image.options import ImageSource
from attention_atlas.errors import InputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_ATLAS_CACHE", str(tmp_path / "cache"))


def test_mnist5k_has_500_distinct_images_of_each_digit() -> None:
    corpus = mnist5k(ImageSource("mnist5k"))
    assert corpus.images.shape == (5000, 28, 28, 1)
    assert corpus.images.max() == 255
    assert Counter(corpus.labels) == dict.fromkeys(range(10), 500)
    assert len(set(corpus.sample_ids)) == 5000
    assert corpus.sample_ids[0].startswith("mnist5k-")


def write_idx(path: Path, values: np.ndarray, compress: bool = False) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    content = header + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if compress:
        path = path.with_name(f"{path.name}.gz")
        content = gzip.compress(content)
    path.write_bytes(content)


def write_mnist(folder: Path, compress: bool = False) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    written = {}
    for prefix, size in (("train", 30), ("t10k", 10)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = (np.arange(size) % 10).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images, compress)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels, compress)
        written[prefix] = images
    return written


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("name", "inner"),
    [("mnist", "MNIST/raw"), ("mnist", ""), ("fashion_mnist", "FashionMNIST/raw")],
)
def test_mnist_files_are_read_raw_or_packed(
    tmp_path: Path, name: str, inner: str, compress: bool
) -> None:
    written = write_mnist(tmp_path / inner, compress)
    corpus = read_corpus(ImageSource(name, tmp_path))
    assert np.array_equal(corpus.images[:30, ..., 0], written["train"])
    assert np.array_equal(corpus.images[30:, ..., 0], written["t10k"])
    assert corpus.labels == [index % 10 for index in range(40)]
    assert corpus.splits == ["train"] * 30 + ["test"] * 10
    assert corpus.sample_ids[30] == f"{name}-test-00000"
    assert len(corpus.classes) == 10


@pytest.mark.parametrize("keep", [0, 3, 40, -100])
def test_a_broken_idx_file_is_named(tmp_path: Path, keep: int) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="train-images-idx3-ubyte is no whole idx file"):
        read_corpus(ImageSource("mnist", tmp_path))


def test_broken_gzip_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte\.gz is no whole idx file"):
        read_corpus(ImageSource("mnist", tmp_path))


def test_a_missing_or_unequal_idx_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(InputError, match="30 train images but 7 labels"):
        read_corpus(ImageSource("mnist", tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\.gz is missing"):
        read_corpus(ImageSource("mnist", tmp_path))


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, np.ndarray]:
    """Small pickles in the original layout, whose checksums torchvision is told to expect."""
    dataset = getattr(datasets, name)
    key = "labels" if name == "CIFAR10" else "fine_labels"
    meta_key = "label_names" if name == "CIFAR10" else "fine_label_names"
    num_classes = 10 if name == "CIFAR10" else 100
    folder = root / dataset.base_folder
    folder.mkdir()
    generator = np.random.default_rng(0)
    written = {}

    def write(file: str, content: dict) -> str:
        (folder / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    for attribute in ("train_list", "test_list"):
        checksums = []
        for file, _ in getattr(dataset, attribute):
            pixels = generator.integers(0, 256, (num_classes, 3 * 32 * 32), dtype=np.uint8)
            content = {"data": pixels, key: list(range(num_classes))}
            checksums.append([file, write(file, content)])
            written[file] = pixels
        monkeypatch.setattr(dataset, attribute, checksums)
    meta = dict(dataset.meta)
    meta["md5"] = write(meta["filename"], {meta_key: [f"kind {i}" for i in range(num_classes)]})
    monkeypatch.setattr(dataset, "meta", meta)
    return written


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_pickles_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    written = write_cifar(tmp_path, monkeypatch, folder)
    corpus = read_corpus(ImageSource(name, tmp_path, image_size=32, channels=3))
    num_classes = len(corpus.classes)
    test_file = "test_batch" if name == "cifar10" else "test"
    expected = written[test_file].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(corpus.images[-num_classes:], expected)
    assert corpus.labels[-num_classes:] == list(range(num_classes))
    assert corpus.splits is not None
    assert Counter(corpus.splits)["test"] == num_classes
    assert corpus.classes[3] == "kind 3"


def test_cifar_pickles_with_another_checksum_are_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="does not hold the original CIFAR10 files"):
        read_corpus(ImageSource("cifar10", tmp_path))


@pytest.mark.parametrize(
    ("name", "address"),
    [("mnist", "mirrors"), ("fashion_mnist", "mirrors"), ("cifar10", "url"), ("cifar100", "url")],
)
def test_no_network_ends_in_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    nowhere = "http://127.0.0.1:9/"  # nobody listens there, so it is refused at once
    dataset = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }[name]
    monkeypatch.setattr(dataset, address, [nowhere] if address == "mirrors" else nowhere)
    with pytest.raises(InputError, match=rf"data={name} could not be downloaded.*data\.path"):
        read_corpus(ImageSource(name))
    assert not list((tmp_path / "cache").glob("*"))


def test_a_folder_without_the_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no MNIST"):
        read_corpus(ImageSource("mnist", tmp_path))
