"""Where the tokens of a sample stand: in tokens, and in the units of its input."""

from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.token_boxes import stands_in_input

INPUT_UNITS = {
    "character_span": "characters",
    "patch_box": "pixels",
    "time_frequency_box": "seconds",
}


def token_places(boxes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return where each token stands on the grid of tokens, [K, axes]; NaN for nowhere.

    Characters make a line, whose steps are tokens; boxes make a grid of rows and columns.
    """
    filled = stands_in_input(boxes)
    axes = 1 if boxes.shape[1] == 2 else 2
    places = np.full((len(boxes), axes), np.nan, dtype=np.float32)
    if boxes.shape[1] == 2:
        places[filled, 0] = np.flatnonzero(filled)
        return places
    for axis in range(axes):
        _, step = np.unique(boxes[filled, axis], return_inverse=True)
        places[filled, axis] = step
    return places


def input_places(boxes: npt.NDArray[Any], token_layout: str) -> npt.NDArray[np.float32]:
    """Return the centre of each token in the unit of `INPUT_UNITS`, [K, axes]; NaN for nowhere.

    Of a time-frequency box it is the time alone, because seconds and hertz do not add up.
    """
    axes = boxes.shape[1] // 2
    edges = boxes.astype(np.float32)
    centres: npt.NDArray[np.float32] = (edges[:, :axes] + edges[:, axes:]) / np.float32(2)
    if token_layout == "time_frequency_box":
        centres = centres[:, :1]
    centres[~stands_in_input(boxes)] = np.nan
    return centres


def between(places: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the Euclidean distance of each pair of tokens, [K, K]; NaN where one is nowhere."""
    steps = places[:, None] - places[None]
    distance: npt.NDArray[np.float32] = np.sqrt(np.square(steps).sum(axis=-1))
    return distance
