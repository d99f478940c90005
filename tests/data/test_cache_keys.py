"""The keys of all caches: each input that shapes the content changes the key."""

import ast
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attention_atlas.data.audio import spoken_words
from attention_atlas.data.image import download, folder
from attention_atlas.data.image.options import ImageOptions, ImageSource
from attention_atlas.data.listing import list_files
from attention_atlas.data.text import module as text_module
from attention_atlas.data.text.module import TextDataModule
from attention_atlas.data.text.tokenizer import EncodedTexts, train_tokenizer
from tests.commands import REPOSITORY

SOURCE = REPOSITORY / "src" / "attention_atlas"
TEXTS = ["good film good film", "bad film bad film"]


class AskedError(Exception):
    """The key that a cache was asked for."""


@pytest.fixture
def key_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], tuple[str, Any]]:
    """A function that returns name and key that a call asks the cache for."""

    def ask(name: str, key: dict[str, Any], make: object) -> Path:
        raise AskedError(name, key)

    for user in (folder, download, spoken_words, text_module):
        monkeypatch.setattr(user, "cached", ask)

    def run(call: Callable[[], object]) -> tuple[str, Any]:
        with pytest.raises(AskedError) as asked:
            call()
        return asked.value.args

    return run


def test_all_users_of_the_cache_are_tested_here() -> None:
    calls = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cached"
    }
    assert calls == {
        "data/audio/spoken_words.py",
        "data/image/download.py",
        "data/image/folder.py",
        "data/text/module.py",
    }


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for kind in ("cat", "dog"):
        (root / kind).mkdir(parents=True)
        for value in (10, 20):
            Image.fromarray(np.full((6, 6), value, np.uint8)).save(root / kind / f"{value}.png")
    return root


class Fit:
    """Stands for the processor of a pretrained model."""

    def __init__(self, **key: Any) -> None:
        self.key = key

    def __call__(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture)


def source(root: Path, fit: Fit | None = None, **options: Any) -> ImageSource:
    values = {"name": "image_folder", "path": str(root), "image_size": 6} | options
    return ImageSource(ImageOptions(**values), fit)


def _repaint(root: Path) -> None:
    """Exchange the content of a file, and leave its size and time as they are."""
    path, other = root / "cat" / "10.png", root / "cat" / "20.png"
    times = path.stat()
    content = other.read_bytes()
    assert len(content) == times.st_size
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (None, {"image_size": 7}),
        (None, {"channels": 3}),
        (None, {"fit": Fit(size=6)}),
        (lambda root: (root / "dog" / "20.png").unlink(), {}),
        (lambda root: (root / "dog" / "20.png").rename(root / "dog" / "05.png"), {}),
        (_repaint, {}),
    ],
)
def test_pictures(key_of, pictures: Path, change, options: dict[str, Any]) -> None:
    def ask(**options: Any) -> tuple[str, Any]:
        images = list_files(pictures, "image").files
        return key_of(lambda: folder.decode_folder(images, source(pictures, **options)))

    before = ask()
    assert ask(max_memory_mib=2000.0, mirror=True, val_fraction=0.3) == before
    for path in pictures.rglob("*.png"):
        os.utime(path, (0, 0))
    assert ask() == before
    if change:
        change(pictures)
    assert ask(**options) != before


def test_pictures_of_two_processors(key_of, pictures: Path) -> None:
    images = list_files(pictures, "image").files
    keys = [
        key_of(lambda fit=fit: folder.decode_folder(images, source(pictures, fit)))
        for fit in (Fit(size=6), Fit(size=6), Fit(size=7))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_version_of_pillow(key_of, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = list_files(pictures, "image").files
    before = key_of(lambda: folder.decode_folder(images, source(pictures)))
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert key_of(lambda: folder.decode_folder(images, source(pictures))) != before


def test_an_image_processor_is_known_by_its_options() -> None:
    transformers = pytest.importorskip("transformers")
    from attention_atlas.data.image.pretrained_processor import ProcessorFit

    size = {"height": 8, "width": 8}
    made = transformers.ViTImageProcessor
    before = ProcessorFit(made(size=size)).key
    assert ProcessorFit(made(size=size)).key == before
    for changed in (
        {"size": {"height": 9, "width": 9}},
        {"size": size, "resample": 0},
        {"size": size, "do_resize": False},
    ):
        assert ProcessorFit(made(**changed)).key != before


def test_downloads(key_of) -> None:
    names = ("mnist", "fashion_mnist", "cifar10", "cifar100")
    keys = [str(key_of(lambda name=name: download.download(name))) for name in names]
    assert len(set(keys)) == len(names)


def test_spoken_words(key_of, monkeypatch: pytest.MonkeyPatch) -> None:
    said = spoken_words.plan(1)[:3]
    before = key_of(lambda: spoken_words.speak(said))
    assert key_of(lambda: spoken_words.speak(list(said))) == before
    changes = {"voice": "ed", "accent": "new_york", "word": "go", "rate": 1, "pitch": 1}
    from dataclasses import replace

    for name, value in changes.items():
        other = [replace(said[0], **{name: value}), *said[1:]]
        assert key_of(lambda other=other: spoken_words.speak(other)) != before, name
    assert key_of(lambda: spoken_words.speak(said[::-1])) != before
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    assert key_of(lambda: spoken_words.speak(said)) != before


def _texts(**options: Any) -> TextDataModule:
    module = TextDataModule("csv", vocab_size=options.pop("vocab_size", 100))
    module.tokenizer = train_tokenizer(TEXTS, 100)
    ids = np.asarray(options.pop("ids", [3, 4, 3]), dtype=np.int32)
    starts = np.asarray(options.pop("starts", [0, 2, 3]))
    module.encoded = EncodedTexts(ids, np.zeros((len(ids), 2), np.int32), starts)
    module.train_indexes = options.pop("train", [0, 1])
    return module


@pytest.mark.parametrize("changed", [{"ids": [3, 4, 4]}, {"starts": [0, 1, 3]}, {"train": [0]}])
def test_vectors_and_pairs_of_tokens(key_of, changed: dict[str, Any]) -> None:
    for learn in (lambda module: module.embedding_vectors(4), lambda module: module.token_pairs(4)):
        before = key_of(lambda learn=learn: learn(_texts()))
        assert key_of(lambda learn=learn: learn(_texts())) == before
        assert key_of(lambda learn=learn: learn(_texts(**changed))) != before


def test_options_of_vectors_and_pairs(key_of, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = key_of(lambda: _texts().embedding_vectors(4))
    pairs = key_of(lambda: _texts().token_pairs(4))
    assert vectors[0] != pairs[0]
    assert key_of(lambda: _texts().embedding_vectors(5)) != vectors
    assert key_of(lambda: _texts().token_pairs(5)) != pairs
    other = _texts()
    other.tokenizer.add_tokens(["another"])
    assert key_of(lambda: other.embedding_vectors(4)) != vectors
    for name in ("numpy", "scipy"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{name}.__version__", "0.0")
            assert key_of(lambda: _texts().embedding_vectors(4)) != vectors
    monkeypatch.setattr(text_module, "version", lambda name: "0.0")
    assert key_of(lambda: _texts().embedding_vectors(4)) != vectors


def test_tokenizers(key_of, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(texts: list[str], size: int = 100) -> tuple[str, Any]:
        return key_of(lambda: _texts(vocab_size=size)._find_tokenizer(texts))

    before = ask(TEXTS)
    assert ask(TEXTS[::-1]) == before
    assert ask(["".join(TEXTS)]) != before
    assert ask(TEXTS, 200) != before
    monkeypatch.setattr("tokenizers.__version__", "0.0")
    assert ask(TEXTS) != before


def test_tokens(key_of, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_tokenizer(TEXTS, 100)

    def ask(tokenizer=tokenizer, texts=TEXTS, unknown: int = 1) -> tuple[str, Any]:
        return key_of(lambda: text_module._encode(tokenizer, texts, unknown))

    before = ask()
    assert ask() == before
    assert ask(texts=TEXTS[::-1]) != before
    assert ask(texts=["good film good filmbad", " film bad film"]) != before
    assert ask(unknown=2) != before
    assert ask(tokenizer=train_tokenizer(["words of another kind"] * 9, 100)) != before
    monkeypatch.setattr("tokenizers.__version__", "0.0")
    assert ask() != before
