"""A folder of your own images: `<class>/...` or `<split>/<class>/...`."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np
import PIL

from attention_atlas.data.cache import cached
from attention_atlas.data.file_types import SPLIT_FOLDERS, LabelledFile, utf8_name
from attention_atlas.data.image.options import ImageSource
from attention_atlas.data.image.reading import check_header, read_image
from attention_atlas.errors import InputError


def find_images(root: Path) -> list[LabelledFile]:
    """List the images in `<root>/<class>/...` or `<root>/<split>/<class>/...`.

    Hidden files are skipped; folders below a class belong to it.

    Returns:
        The files, sorted by their path.

    Raises:
        InputError: The folder is missing, has another layout, an empty class, or fewer than two
            classes.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"data.path={root} {what}; give a folder with one folder per class.")
    splits = {
        folder: SPLIT_FOLDERS[folder.name.lower()]
        for folder in _visible(root)
        if folder.name.lower() in SPLIT_FOLDERS and _has_folders(folder)
    }
    if not splits:
        return sorted(_classes(root, root, None), key=lambda image: image.sample_id)
    for entry in _visible(root):
        if entry not in splits:
            raise InputError(
                f"{entry} stands beside the splits; data.path may hold one folder per class, "
                "or the folders train, val and test."
            )
    if "train" not in splits.values():
        raise InputError(f"data.path={root} has no folder named train beside its other splits.")
    images = [image for folder in splits for image in _classes(folder, root, splits[folder])]
    known = {image.label for image in images if image.split == "train"}
    for image in images:
        if image.label not in known:
            raise InputError(f"{image.path} is of class {image.label!r}, which train lacks.")
    return sorted(images, key=lambda image: image.sample_id)


def fits_memory(images: list[LabelledFile], source: ImageSource) -> bool:
    """Whether the decoded images may be held in memory."""
    return len(images) * source.bytes_per_image <= source.options.max_memory_mib * 2**20


def decode_folder(images: list[LabelledFile], source: ImageSource) -> np.ndarray:
    """Decode all images, or read them from the cache.

    Returns:
        uint8 [samples, height, width, channels].

    Raises:
        InputError: A file cannot be decoded.
    """
    digest = blake2b(digest_size=16)
    for image in images:
        status = image.path.stat()
        digest.update(f"{image.sample_id}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    key = {
        "format": 1,
        "pillow": PIL.__version__,
        "image_size": source.options.image_size,
        "channels": source.options.channels,
        "files": digest.hexdigest(),
    }

    def make(folder: Path) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter lock
            pixels = list(pool.map(lambda image: read_image(image.path, source), images))
        np.save(folder / "pixels.npy", np.stack(pixels))

    pixels: np.ndarray = np.load(cached("images", key, make) / "pixels.npy")
    return pixels


def check_folder(source: ImageSource) -> None:
    """Check all files: decode a folder that fits memory, else read the headers.

    Raises:
        InputError: As `find_images` and `decode_folder`.
    """
    images = find_images(source.folder)
    if fits_memory(images, source):
        decode_folder(images, source)
    else:
        for image in images:
            check_header(image.path)


def _classes(folder: Path, root: Path, split: str | None) -> Iterator[LabelledFile]:
    """Iterate over the images of a folder that holds one folder per class."""
    entries = _visible(folder)
    for entry in entries:
        if not entry.is_dir():
            raise InputError(
                f"{entry} stands beside the class folders; move it into one of them or remove it."
            )
    if split in (None, "train") and len(entries) < 2:
        found = f"one class only ({entries[0].name})" if entries else "no class folder"
        raise InputError(f"{folder} holds {found}; it needs two folders or more, one per class.")
    for entry in entries:
        paths = list(_files(entry))
        if not paths:
            raise InputError(f"The class folder {entry} is empty; add images or remove it.")
        for path in paths:
            yield LabelledFile(path, utf8_name(path, root), entry.name, split)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in _visible(folder))
