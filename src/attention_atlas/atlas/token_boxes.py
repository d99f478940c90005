"""The part of the input behind a token: whether there is one, and how it is called."""

from typing import Any

import numpy as np
import numpy.typing as npt


def stands_in_input(boxes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell which tokens [K] stand for a part of the input; a CLS token does not.

    Args:
        boxes: [K, 2] or [K, 4], as an atlas keeps them: NaN, or an empty span, for nowhere.
    """
    axes = boxes.shape[1] // 2
    filled: npt.NDArray[np.bool_] = np.all(boxes[:, axes:] > boxes[:, :axes], axis=1)
    return filled


def box_in_words(layout: str, first: float, second: float, third: float, fourth: float) -> str:
    """A patch box in pixels, or a time-frequency box in seconds and hertz."""
    if layout == "patch_box":
        return f"rows {first:g}-{third:g}, columns {second:g}-{fourth:g}"
    return f"{first:.2f}-{third:.2f} s, {second:.0f}-{fourth:.0f} Hz"
