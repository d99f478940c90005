"""Reading an `augmentation` config node, before torch is imported."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from attention_atlas.errors import InputError

Options = TypeVar("Options")


def read_augmentation(
    options: type[Options], config: Mapping[str, Any] | None, what: str
) -> Options:
    """The options in a config node.

    Args:
        options: The dataclass that knows them and checks their ranges.
        config: The node; None is no augmentation.
        what: What is augmented, in the plural.

    Raises:
        InputError: The node has a key that the dataclass does not know, or a number out of range.
    """
    known = [option.name for option in fields(options)]  # type: ignore[arg-type]
    for key in config or {}:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"{what} know {', '.join(known)}."
            raise InputError(f"augmentation.{key} is no augmentation of {what}; {hint}")
    return options(**(config or {}))
