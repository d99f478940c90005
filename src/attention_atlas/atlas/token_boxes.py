"""Boxes of tokens: the part of the input that a token represents."""

from typing import Any

import numpy as np
import numpy.typing as npt


def stands_in_input(boxes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which tokens [K] represent a part of the input; a CLS token does not.

    Args:
        boxes: [K, 2] or [K, 4], as stored in an atlas: NaN or an empty span for no part of it.
    """
    axes = boxes.shape[1] // 2
    filled: npt.NDArray[np.bool_] = np.all(boxes[:, axes:] > boxes[:, :axes], axis=1)
    return filled


def describe_box(layout: str, first: float, second: float, third: float, fourth: float) -> str:
    """Describe a patch box in pixels, or a time-frequency box in seconds and hertz."""
    if layout == "patch_box":
        return f"rows {first:g}-{third:g}, columns {second:g}-{fourth:g}"
    return f"{first:.2f}-{third:.2f} s, {second:.0f}-{fourth:.0f} Hz"
