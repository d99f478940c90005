"""Draw the statistics of heads: a heat map of layers and heads for each."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attention_atlas.analysis.figures import COLOURS
from attention_atlas.analysis.heads.statistics import STATISTICS, HeadStatistics
from attention_atlas.errors import InputError

COLUMNS = 3
CELL = 0.42  # inches of a head
LARGEST_PANEL = 5.0  # inches
MOST_CELLS_WITH_NUMBERS = 64  # of a panel; beyond, numbers would overlap
# Shares have the whole scale, so that two figures can be laid side by side.
FROM_0_TO_1 = ("relative_entropy", "maximum", "sink_score", "sink_rate", "null_share")


def heads_figure(statistics: HeadStatistics) -> Figure:
    """Return a figure with a heat map of layers x heads for each statistic, with its unit.

    The readout, where it has attention and such a statistic, is a row of its own below the layers.

    Raises:
        InputError: If there is neither a layer nor a readout with attention.
    """
    names = [name for name in STATISTICS if len(_rows(statistics, name))]
    if not names:
        raise InputError("There is no head to draw: the encoder has no layers.")
    rows, columns = max(len(_rows(statistics, name)) for name in names), _heads(statistics)
    width = min(max(columns * CELL + 1.6, 2.4), LARGEST_PANEL)
    height = min(max(rows * CELL + 0.9, 1.5), LARGEST_PANEL)
    across = min(COLUMNS, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(across * width, down * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw(axes, statistics, name)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return figure


def _heads(statistics: HeadStatistics) -> int:
    """Most heads of any layer and the readout."""
    layers = [values.shape[1] for values in statistics.mean.values()]
    readout = [len(values) for values in statistics.readout_mean.values()]
    return max([*layers, *readout], default=0)


def _rows(statistics: HeadStatistics, name: str) -> npt.NDArray[np.float64]:
    """Return the layers, and the readout below them, [L or L + 1, heads]; NaN for no value."""
    heads = _heads(statistics)
    rows = [
        np.pad(row, (0, heads - len(row)), constant_values=np.nan)
        for row in statistics.mean.get(name, np.zeros((0, heads)))
    ]
    if name in statistics.readout_mean:
        readout = statistics.readout_mean[name]
        rows.append(np.pad(readout, (0, heads - len(readout)), constant_values=np.nan))
    return np.array(rows).reshape(len(rows), heads)


def _draw(axes: Axes, statistics: HeadStatistics, name: str) -> None:
    rows, described = _rows(statistics, name), STATISTICS[name]
    highest = 1.0 if name in FROM_0_TO_1 else float(np.nanmax(rows, initial=0.0)) or 1.0
    drawn = axes.imshow(rows, cmap=COLOURS, vmin=0, vmax=highest, aspect="auto")
    layers = len(statistics.layers) if name in statistics.mean else 0
    labels = [str(layer) for layer in range(layers)]
    if len(rows) > len(labels):
        labels.append("readout")
    step = max(1, len(labels) // 12)
    shown = [*range(0, layers, step), *range(layers, len(labels))]
    axes.set_yticks(shown, [labels[row] for row in shown])
    axes.set_xticks(range(0, rows.shape[1], max(1, rows.shape[1] // 12)))
    axes.set_xlabel("head", fontsize=8)
    axes.set_ylabel("layer", fontsize=8)
    axes.tick_params(labelsize=7)
    unit = f" ({described.unit})" if described.unit else ""
    axes.set_title(f"{described.title}{unit}", fontsize=9, loc="left")
    if rows.size <= MOST_CELLS_WITH_NUMBERS:
        _write_numbers(axes, rows, highest)
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.06, pad=0.03)
    bar.ax.tick_params(labelsize=7)


def _write_numbers(axes: Axes, rows: npt.NDArray[np.float64], highest: float) -> None:
    for (row, column), value in np.ndenumerate(rows):
        if not np.isnan(value):
            ink = "white" if value > 0.55 * highest else "black"
            axes.text(column, row, f"{value:.3g}", color=ink, ha="center", va="center", fontsize=6)
