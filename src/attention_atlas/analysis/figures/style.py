"""Colours of weights with their colour bar, and marks over a picture."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from attention_atlas.analysis.token_weights import View, darkest_of

COLOURS = "YlGnBu"
SIGNED_COLOURS = "RdBu"  # much weight is dark blue in both
FRAME: tuple[dict[str, Any], ...] = (
    {"color": "white", "linewidth": 2.6},
    {"color": "black", "linewidth": 1.1},
)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which no window shows."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def scale_of_view(view: View) -> dict[str, Any]:
    """Return `norm` and `cmap` for the weights of a view."""
    return _scale(view.darkest, view.signed)


def scale_of_rows(rows: npt.NDArray[Any], signed: bool) -> dict[str, Any]:
    """Return `norm` and `cmap` for rows of a map [..., K]."""
    return _scale(darkest_of(rows), signed)


def _scale(darkest: float, signed: bool) -> dict[str, Any]:
    lightest = -darkest if signed else 0.0  # that of signed weights is centred at zero
    colours: Colormap = colormaps[SIGNED_COLOURS if signed else COLOURS]
    return {"norm": Normalize(lightest, darkest), "cmap": colours}


def bar_label(view: View) -> str:
    """Say what a colour bar measures, and why it ends above the largest weight if it does."""
    words = f"{view.unit}{' (red: negative)' if view.signed else ''}"
    is_flat = float(np.abs(view.weights).max(initial=0.0)) < view.darkest and view.is_attention
    return f"{words}\ndarkest: 2 × uniform weight" if is_flat else words


def few_ticks(drawn: AxesImage) -> list[float]:
    """Return zero and the round numbers that are nearest to the ends of a scale, within it."""
    low, high = drawn.get_clim()
    step = 10.0 ** np.floor(np.log10(high))
    top = float(step * np.floor(high / step))
    return [-top, 0.0, top] if low < 0 else [0.0, top]


def frame_box(axes: Axes, left: float, right: float, first: float, last: float) -> None:
    """Frame a box from `left` to `right` and from `first` to `last` of the vertical axis."""
    for style in FRAME:
        box = Rectangle((left, first), right - left, last - first, fill=False, zorder=3, **style)
        box.set_gid("query")
        axes.add_patch(box)


def outline(axes: Axes, values: npt.NDArray[Any], seconds_per_column: float = 0.0) -> None:
    """Draw the outlines of the prominent parts of the input over its map."""
    smooth = uniform_filter(values.astype(np.float64), 3)  # no outlines around single noisy cells
    level = smooth.min() + 0.5 * np.ptp(smooth)
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1], dtype=np.float64)
    if seconds_per_column:
        columns = (columns + 0.5) * seconds_per_column
    if np.ptp(smooth) > 0 and min(values.shape) > 1:
        style: dict[str, Any] = {"colors": "tab:orange", "linewidths": 1, "linestyles": "solid"}
        axes.contour(columns, rows, smooth, [level], **style)
