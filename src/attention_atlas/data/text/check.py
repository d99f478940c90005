"""Check the data config of texts before torch is imported."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from attention_atlas.data.text.corpora import TextSource
from attention_atlas.data.text.options import TextAugmentationOptions, TextOptions
from attention_atlas.data.text.sources import find_reader
from attention_atlas.errors import InputError
from attention_atlas.option_schema import check_options


def check(config: Mapping[str, Any]) -> None:
    """Check the `data` node of a text task: names, ranges, and that the files can be used.

    Raises:
        InputError: Training could not begin with this config.
    """
    check_options(TextOptions, config, "data.")
    augmentation = config.get("augmentation") or {}
    check_options(TextAugmentationOptions, augmentation, "augmentation.")
    path = config.get("tokenizer_path")
    if path is not None and not Path(path).is_file():
        raise InputError(f"data.tokenizer_path={path} does not exist; expected a tokenizer.json.")
    source = source_of(config)
    find_reader(source).check(source)


def source_of(config: Mapping[str, Any]) -> TextSource:
    """The part of the `data` node that tells which texts to read."""
    names = {field.name for field in fields(TextSource)}
    return TextSource(**{key: value for key, value in config.items() if key in names})
