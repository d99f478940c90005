"""Check an image data set before torch is imported."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from attention_atlas.data.image.corpora import CORPORA, DOWNLOADS, check_download_folder
from attention_atlas.data.image.folder import check_folder
from attention_atlas.data.image.options import ImageSource, augmentation_options
from attention_atlas.errors import InputError


def image_source(config: Mapping[str, Any]) -> ImageSource:
    """The `ImageSource` in a `data` config node.

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


def check(config: Mapping[str, Any]) -> None:
    """Check a `data` config node of images, the files it names included.

    Raises:
        InputError: An option is out of range, or a file is missing or cannot be used.
    """
    source = image_source(config)
    augmentation_options(config.get("augmentation"))
    if source.name == "image_folder":
        check_folder(source)
    elif source.name in DOWNLOADS:
        check_download_folder(source)
