"""What can be said about the data config of texts before torch is imported."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from attention_atlas.data.text.corpora import TextSource
from attention_atlas.data.text.sources import find_reader
from attention_atlas.errors import InputError

LEAST = {"batch_size": 1, "vocab_size": 100, "max_length": 1}


def check(config: Mapping[str, Any]) -> None:
    """Check the `data` node of a text task: names, ranges, and that the files can be used.

    Raises:
        InputError: Training could not begin with this config.
    """
    for key, least in LEAST.items():
        if key in config and config[key] < least:
            raise InputError(f"data.{key}={config[key]} is too small; it must be at least {least}.")
    augmentation = config.get("augmentation") or {}
    word_dropout = augmentation.get("word_dropout", 0.0)
    if not 0 <= word_dropout < 1:
        raise InputError(
            f"augmentation.word_dropout={word_dropout} is out of range; it must lie in [0, 1)."
        )
    crop_length = augmentation.get("crop_length")
    if crop_length is not None and crop_length < 1:
        raise InputError(
            f"augmentation.crop_length={crop_length} is too small; it must be at least 1, or null "
            "for no crops."
        )
    path = config.get("tokenizer_path")
    if path is not None and not Path(path).is_file():
        raise InputError(f"data.tokenizer_path={path} does not exist; expected a tokenizer.json.")
    source = source_of(config)
    find_reader(source).check(source)


def source_of(config: Mapping[str, Any]) -> TextSource:
    """The part of the `data` node that tells which texts to read."""
    names = {field.name for field in fields(TextSource)}
    return TextSource(**{key: value for key, value in config.items() if key in names})
