"""Boxes of tokens of sound, from times of the model's input to times of the file."""

import numpy as np


def boxes_in_file(boxes: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Shift boxes [B, K, 4] to the time of a file, and cut off what lies outside of it.

    Args:
        boxes: Start in seconds, low edge in hertz, end, high edge; NaN for no part of the input.
        clip: [B, 2], start and end of the file in the input, in seconds.

    Returns:
        [B, K, 4]; NaN for a token outside of the file, such as in the silence around it.
    """
    moved = boxes.copy()
    seconds = (clip[:, 1] - clip[:, 0])[:, None, None]
    moved[..., ::2] = np.clip(boxes[..., ::2] - clip[:, :1, None], 0, seconds)
    moved[~(moved[..., 2] > moved[..., 0])] = np.nan
    return moved
