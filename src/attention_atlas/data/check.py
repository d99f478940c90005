"""Check a `data` config node before torch is imported."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from attention_atlas.errors import InputError

MODALITIES = {
    "attention_atlas.data.text.module.TextDataModule": "text",
    "attention_atlas.data.image.module.ImageDataModule": "image",
    "attention_atlas.data.audio.module.AudioDataModule": "audio",
}
"""The modality of each data module; a config names one of them as its `_target_`."""


def modality_of(config: Mapping[str, Any]) -> str:
    """Return the modality of a `data` node: `text`, `image` or `audio`.

    Raises:
        InputError: The config names no data module of this project.
    """
    target = config.get("_target_")
    if target not in MODALITIES:
        raise InputError(f"data._target_={target} is not one of {', '.join(MODALITIES)}.")
    return MODALITIES[target]


def check_source(config: Mapping[str, Any]) -> None:
    """Check the options of a data set, and the files that it is read from.

    Args:
        config: The `data` node as plain values, with `augmentation`.

    Raises:
        InputError: An option is out of range, or a file is missing or cannot be used.
    """
    import_module(f"attention_atlas.data.{modality_of(config)}.check").check(config)
