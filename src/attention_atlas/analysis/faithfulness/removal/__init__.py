"""Remove tokens from an input: what replaces them in text, images and sound.

Special tokens (CLS) represent no part of the input and are never removed.
"""

from collections.abc import Callable
from typing import Any

from attention_atlas.analysis.faithfulness.removal.base import Removal, removable
from attention_atlas.analysis.faithfulness.removal.boxes import (
    BlurRemoval,
    MeanRemoval,
    SilencedFeatures,
    mean_spectrum,
    silence,
)
from attention_atlas.analysis.faithfulness.removal.text import MaskRemoval, PadRemoval
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError

__all__ = ["REMOVALS", "Removal", "build_removal", "removable"]

REMOVALS: dict[str, dict[str, Callable[[Any], Removal]]] = {
    "text": {"mask": MaskRemoval.of, "pad": PadRemoval.of},
    "image": {"blur": BlurRemoval.of, "mean": MeanRemoval.of},
    "audio": {"mean": mean_spectrum, "silence": silence},
}
"""Removals by modality and name; the first is the default."""


def build_removal(datamodule: AtlasDataModule, name: str | None = None) -> Removal:
    """Return the removal of a name for some data.

    None takes the first of `REMOVALS` for the modality. Raises InputError if it has none of this
    name.
    """
    known = REMOVALS[datamodule.modality]
    if datamodule.modality == "audio" and datamodule.preprocessor is not None:
        known = {"silence": SilencedFeatures.of}
    chosen = next(iter(known)) if name is None else name
    if chosen not in known:
        raise InputError(
            f"removal={chosen} is not possible for {datamodule.modality}: "
            f"take {' or '.join(known)}."
        )
    return known[chosen](datamodule)
