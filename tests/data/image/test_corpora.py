"""Data sets by name, read from files in their original layout."""

import gzip
import hashlib
import struct
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from attention_atlas.data.image.cifar import CIFAR
from attention_atlas.data.image.corpora import mnist5k, read_corpus
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.errors import InputError


def image_source(name: str, path: Path | None = None, **options) -> ImageSource:
    located = None if path is None else str(path)
    return ImageSource(ImageOptions(name=name, path=located, **options))


def test_mnist5k_has_500_distinct_images_of_each_digit() -> None:
    corpus = mnist5k(image_source("mnist5k"))
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


def write_mnist(folder: Path, compress: bool = False, num_train: int = 30) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    written = {}
    for prefix, size in (("train", num_train), ("t10k", 10)):
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
    corpus = read_corpus(image_source(name, tmp_path))
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
    with pytest.raises(InputError, match="train-images-idx3-ubyte is not a complete idx file"):
        read_corpus(image_source("mnist", tmp_path))


def test_broken_gzip_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte\.gz is not a complete idx file"):
        read_corpus(image_source("mnist", tmp_path))


def test_a_missing_or_unequal_idx_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(InputError, match="30 train images but 7 labels"):
        read_corpus(image_source("mnist", tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\.gz is missing"):
        read_corpus(image_source("mnist", tmp_path))


def write_cifar(root: Path, name: str) -> dict[str, np.ndarray]:
    """Two images of each class in each file of the original layout."""
    files = CIFAR[name]
    num_classes = 10 if name == "cifar10" else 100
    folder = root / files.folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    written = {}
    for file in (*files.train, files.test):
        pixels = generator.integers(0, 256, (2 * num_classes, 3 * 32 * 32), dtype=np.uint8)
        fine = np.arange(2 * num_classes, dtype=np.uint8) % num_classes
        labels = [fine // 5, fine] if files.num_labels == 2 else [fine]
        np.column_stack([*labels, pixels]).tofile(folder / file)
        written[file] = pixels
    names = "\n".join(f"kind_{number}" for number in range(num_classes))
    (folder / files.names).write_text(f"{names}\n\n", encoding="ascii")  # as the original ends
    return written


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_records_are_read(tmp_path: Path, name: str, inside: bool) -> None:
    written = write_cifar(tmp_path, name)
    files = CIFAR[name]
    path = tmp_path / files.folder if inside else tmp_path
    corpus = read_corpus(image_source(name, path, image_size=32, channels=3))
    count = 2 * len(corpus.classes)
    expected = written[files.test].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(corpus.images[-count:], expected)
    first = written[files.train[0]].reshape(-1, 3, 32, 32)
    assert np.array_equal(corpus.images[0, ..., 1], first[0, 1])
    assert corpus.labels[-count:] == [*range(count // 2), *range(count // 2)]
    assert corpus.splits is not None
    assert Counter(corpus.splits) == {"train": len(files.train) * count, "test": count}
    assert corpus.sample_ids[-1] == f"{name}-test-{count - 1:05d}"
    assert corpus.classes[3] == "kind_3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "data_batch_2.bin").unlink(), "data_batch_2.bin is missing"),
        (lambda folder: (folder / "batches.meta.txt").unlink(), "batches.meta.txt is missing"),
        (
            lambda folder: (folder / "data_batch_1.bin").write_bytes(b"1" * 4000),
            "not complete images",
        ),
        (lambda folder: (folder / "data_batch_1.bin").write_bytes(b""), "not complete images"),
        (lambda folder: (folder / "data_batch_1.bin").write_bytes(b"z" * 3073), "class 122 of 10"),
    ],
)
def test_a_broken_cifar_file_is_named(
    tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    write_cifar(tmp_path, "cifar10")
    change(tmp_path / "cifar-10-batches-bin")
    with pytest.raises(InputError, match=words):
        read_corpus(image_source("cifar10", tmp_path))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files stand where CIFAR is downloaded from."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr("attention_atlas.data.image.download.URL", address)
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_download_of_cifar_is_checked_and_unpacked(
    tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = CIFAR[name]
    write_cifar(tmp_path / "made", name)
    archive = served / files.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / files.folder, files.folder)
    with pytest.raises(InputError, match="could not be downloaded"):  # another checksum
        read_corpus(image_source(name))
    checksum = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(CIFAR, name, replace(files, md5=checksum))
    corpus = read_corpus(image_source(name, image_size=32, channels=3))
    assert len(corpus.images) == (len(files.train) + 1) * 2 * len(corpus.classes)
    (kept,) = (tmp_path / "cache").iterdir()
    assert {entry.name for entry in kept.iterdir()} == {
        files.folder,
        "key.json",
        "digests.json",
    }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_no_network_ends_in_a_one_line_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nowhere = "http://127.0.0.1:9/"  # nobody listens there, so it is refused at once
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr("attention_atlas.data.image.download.URL", nowhere)
    with pytest.raises(InputError, match=rf"data={name} could not be downloaded.*data\.path"):
        read_corpus(image_source(name))
    assert not list((tmp_path / "cache").glob("*"))


def test_a_folder_without_the_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no MNIST"):
        read_corpus(image_source("mnist", tmp_path))
