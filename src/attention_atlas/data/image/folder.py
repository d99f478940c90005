"""A folder of your own images: `<class>/...` or `<split>/<class>/...`."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from attention_atlas.data.cache import cached, digest_of, digest_of_file
from attention_atlas.data.groups import check_file_groups
from attention_atlas.data.image.options import ImageSource
from attention_atlas.data.image.reading import check_header, read_image
from attention_atlas.data.listing import LabelledFile, Listing, list_files


def list_images(source: ImageSource) -> Listing:
    """List the images in `<root>/<class>/...` or `<root>/<split>/<class>/...`; see `list_files`."""
    return list_files(source.folder, "image", min_classes=1 if source.is_whole else 2)


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
    key = {
        "format": 2,
        "pillow": PIL.__version__,
        "image_size": source.options.image_size,
        "channels": source.options.channels,
        "fit": None if source.fit is None else source.fit.key,
        "files": digest_of(digest_of_file(image.path).encode() for image in images),
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
        InputError: As `list_images` and `decode_folder`.
    """
    images = list_images(source).files
    if not source.is_whole:
        check_file_groups(images, source.options.group, source.options.seed)
    if fits_memory(images, source):
        decode_folder(images, source)
    else:
        for image in images:
            check_header(image.path)
