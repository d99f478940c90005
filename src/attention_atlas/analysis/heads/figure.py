"""Draw the statistics of heads: a heat map of layers and heads for each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_atlas.analysis.figures.style import COLOURS, new_figure
from attention_atlas.analysis.heads.statistics import STATISTICS, HeadStatistics
from attention_atlas.errors import InputError

COLUMNS = 3
CELL = 0.42  # inches of a head
LARGEST_PANEL = 5.0  # inches
PAIRS_PANEL = 3.3  # inches at least, if pairs of heads are drawn
MAX_CELLS_WITH_NUMBERS = 64  # of a panel; beyond, numbers would overlap
# These have the full scale, so that two figures can be compared.
FROM_0_TO_1 = ("relative_entropy", "maximum", "sink_score", "sink_rate", "null_share")


Values = npt.NDArray[np.float64]


class _Panel(NamedTuple):
    """A heat map: labels of its rows and columns, its values, and the largest value."""

    title: str
    rows: list[str]
    columns: list[str]
    axes: tuple[str, str]  # words for rows and columns
    values: Values
    highest: float


def heads_figure(
    statistics: HeadStatistics,
    importance: tuple[Values, Values] | None = None,
    pairs: Sequence[tuple[str, str, Values]] = (),
) -> Figure:
    """Return a figure with a heat map of layers x heads for each statistic, with its unit.

    The readout, if it has attention and the statistic, is a separate row below the layers.

    Args:
        statistics: Statistics of an atlas.
        importance: Importance of the heads of the layers [L, H] and of the readout [R], for one
            more panel.
        pairs: Similarities from 0 to 1, for a panel each: its title, whether it is of
            each `head` [L * H, L * H] or `layer` [L, L], and the numbers.

    Raises InputError if there is neither a layer nor a readout with attention.
    """
    panels = []
    for name in STATISTICS:
        means, readouts = statistics.mean.get(name), statistics.readout_mean.get(name)
        if means is not None or readouts is not None:
            panels.append(_panel_of_rows(_title(name), means, readouts, name in FROM_0_TO_1))
    panels = [panel for panel in panels if len(panel.values)]
    if not panels:
        raise InputError("There is no head to draw: the encoder has no layers.")
    if importance is not None:
        layers, readout = importance
        panels.append(_panel_of_rows("importance", layers, readout if len(readout) else None))
    rows = max(len(panel.values) for panel in panels)
    columns = max(panel.values.shape[1] for panel in panels)
    smallest = (PAIRS_PANEL, 0.8 * PAIRS_PANEL) if pairs else (2.4, 1.5)
    width = min(max(columns * CELL + 1.6, smallest[0]), LARGEST_PANEL)
    height = min(max(rows * CELL + 0.9, smallest[1]), LARGEST_PANEL)
    panels += [_panel_of_pairs(*pair, len(statistics.layers)) for pair in pairs]
    across = min(COLUMNS, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(across * width, down * height)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _title(name: str) -> str:
    described = STATISTICS[name]
    return f"{described.title} ({described.unit})" if described.unit else described.title


def _panel_of_rows(
    title: str, layers: Values | None, readout: Values | None, is_fraction: bool = False
) -> _Panel:
    """Return a panel of the layers, and the readout below them; NaN if there is no head."""
    rows = [] if layers is None else list(layers)
    names = [str(layer) for layer in range(len(rows))]
    if readout is not None:
        rows, names = [*rows, readout], [*names, "readout"]
    heads = max(map(len, rows), default=0)
    padded = [np.pad(row, (0, heads - len(row)), constant_values=np.nan) for row in rows]
    values = np.array(padded).reshape(len(rows), heads)
    highest = 1.0 if is_fraction else float(np.nanmax(values, initial=0.0)) or 1.0
    return _Panel(title, names, [str(n) for n in range(heads)], ("layer", "head"), values, highest)


def _panel_of_pairs(title: str, what: str, matrix: Values, layers: int) -> _Panel:
    """Return a panel of pairs of heads, which are called `layer.head`, or of layers."""
    heads = len(matrix) // max(layers, 1)
    indices = range(len(matrix))
    names = [f"{n // heads}.{n % heads}" if what == "head" else str(n) for n in indices]
    return _Panel(title, names, names, (what, what), matrix, 1.0)


def _draw(axes: Axes, panel: _Panel) -> None:
    drawn = axes.imshow(panel.values, cmap=COLOURS, vmin=0, vmax=panel.highest, aspect="auto")
    rows, columns = (_shown(names) for names in (panel.rows, panel.columns))
    axes.set_yticks(rows, [panel.rows[row] for row in rows])
    axes.set_xticks(columns, [panel.columns[column] for column in columns])
    axes.set_ylabel(panel.axes[0], fontsize=8)
    axes.set_xlabel(panel.axes[1], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_title(panel.title, fontsize=9, loc="left")
    if panel.values.size <= MAX_CELLS_WITH_NUMBERS:
        _write_numbers(axes, panel.values, panel.highest)
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.06, pad=0.03)
    bar.ax.tick_params(labelsize=7)


def _shown(names: list[str]) -> list[int]:
    """Return the indices of the labels to show, a dozen at most, and the readout always."""
    numbered = [index for index, name in enumerate(names) if name != "readout"]
    step = max(1, len(names) // 12)
    return [*numbered[::step], *range(len(numbered), len(names))]


def _write_numbers(axes: Axes, rows: Values, highest: float) -> None:
    for (row, column), value in np.ndenumerate(rows):
        if not np.isnan(value):
            ink = "white" if value > 0.55 * highest else "black"
            axes.text(column, row, f"{value:.3g}", color=ink, ha="center", va="center", fontsize=6)
