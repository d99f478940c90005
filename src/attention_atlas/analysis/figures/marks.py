"""Marks over a picture: the outlines of the input, and the frame of a query."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from attention_atlas.analysis.figures.scale import FRAME


def frame_box(axes: Axes, left: float, right: float, first: float, last: float) -> None:
    """Frame a box from `left` to `right` and from `first` to `last` of the vertical axis."""
    for style in FRAME:
        box = Rectangle((left, first), right - left, last - first, fill=False, zorder=3, **style)
        box.set_gid("query")
        axes.add_patch(box)


def outline(axes: Axes, values: npt.NDArray[Any], seconds_per_column: float = 0.0) -> None:
    """Draw the outlines of what stands out in the input over its map."""
    smooth = uniform_filter(values.astype(np.float64), 3)  # no outlines around single noisy cells
    level = smooth.min() + 0.5 * np.ptp(smooth)
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1], dtype=np.float64)
    if seconds_per_column:
        columns = (columns + 0.5) * seconds_per_column
    if np.ptp(smooth) > 0 and min(values.shape) > 1:
        style: dict[str, Any] = {"colors": "tab:orange", "linewidths": 1, "linestyles": "solid"}
        axes.contour(columns, rows, smooth, [level], **style)
