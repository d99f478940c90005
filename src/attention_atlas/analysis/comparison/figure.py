"""Draw a comparison of runs: the mean and interval of each group and quantity."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.comparison.compare_runs import Comparison, Group
from attention_atlas.analysis.comparison.markdown import (
    DEFAULT_METRIC,
    default_quantities,
    is_faithfulness,
)
from attention_atlas.analysis.comparison.metrics import (
    OVER_RANDOM,
    describe_quantity,
    metric_title,
)
from attention_atlas.analysis.figures.style import new_figure
from attention_atlas.errors import InputError

PANEL_WIDTH = 2.0  # inches
CHARACTER_WIDTH = 0.07  # of the label of a group
ROW_HEIGHT = 0.27  # of a group
HEADING_HEIGHT = 0.35  # of a task
AXIS_HEIGHT = 0.85  # of tick labels and the axis label
FOOT_LINE = 0.24  # of the legend
MIN_WIDTH = 5.5
MAX_COLUMNS = 4  # so that the text is legible where the figure is as wide as a page
DEFAULT_METHODS = ("readout", "rollout", "gradient_rollout", "integrated_gradients")
# Okabe and Ito's blue and vermilion are distinct to colour-blind readers; the shapes differ too.
DOT, BEST_DOT = "#0072B2", "#D55E00"
CHANCE: dict[str, Any] = {"color": "0.35", "linewidth": 0.9, "linestyle": (0, (4, 3))}
TICK: dict[str, Any] = {"color": "0.45", "marker": "|", "linestyle": "", "markersize": 5}


def compare_figure(comparison: Comparison, quantities: Sequence[str] | None = None) -> Figure:
    """Return a figure with panels for each task and data, one for each quantity.

    A panel has a row for each group: the mean with its 95 % interval, if it has one, and below it a
    tick for each run. The best group and those that tie with it are squares of another colour.
    Metrics over random have a line at 0, which is chance.

    Args:
        comparison: From `compare_runs`.
        quantities: Names of the panels; by default those of the table but the number of
            parameters, and of attributions those of `DEFAULT_METHODS`.

    Raises:
        InputError: No run has any of the quantities.
    """
    left_out: list[str] = []
    if quantities is None:
        quantities, left_out = _default(comparison)
    names = [name for name in quantities if name in comparison.quantities]
    if not names:
        raise InputError(f"There is nothing to draw: {', '.join(quantities or ['the runs'])}.")
    tasks = comparison.tasks
    rows = -(-len(names) // MAX_COLUMNS)
    columns = -(-len(names) // rows)
    heights = [
        HEADING_HEIGHT + rows * (AXIS_HEIGHT + ROW_HEIGHT * len(comparison.of_task(*task)))
        for task in tasks
    ]
    longest = max(len(group.label) for group in comparison.groups)
    width = max(0.3 + CHARACTER_WIDTH * longest + PANEL_WIDTH * columns, MIN_WIDTH)
    foot = _foot(comparison, names, left_out, int(width / 0.072))
    across = 5 if width > 8.4 else 3 if width > 6.5 else 2
    foot_height = 0.1 + FOOT_LINE * -(-len(foot[0]) // across) + 0.18 * len(foot[1])
    figure = new_figure(width, sum(heights) + foot_height)
    panels = figure.subfigures(
        len(tasks) + 1, 1, height_ratios=[*heights, foot_height], squeeze=False
    )[:, 0]
    for panel, (task, data) in zip(panels, tasks, strict=False):
        panel.suptitle(f"{task}, {data}", fontsize=10, x=0.02, ha="left")
        _draw_task(panel, comparison, (task, data), names, (rows, columns))
    _draw_foot(panels[-1], *foot, across)
    return figure


def _default(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Return the quantities that are drawn by default, and the methods left out."""
    measured = {
        name: name.split(".")[1] if is_faithfulness(name) else ""
        for name in default_quantities(comparison)
        if name != "num_parameters"
    }
    methods = [method for method in measured.values() if method]
    shown = [method for method in DEFAULT_METHODS if method in methods] or methods[:MAX_COLUMNS]
    names = [name for name, method in measured.items() if not method or method in shown]
    return names, [method for method in methods if method not in shown]


def _draw_task(
    panel: FigureBase,
    comparison: Comparison,
    task: tuple[str, str],
    names: list[str],
    shape: tuple[int, int],
) -> None:
    groups = comparison.of_task(*task)
    grid = panel.subplots(*shape, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw(axes, groups, name, comparison.best(*task, name))
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for first in grid[:, 0]:
        first.set_yticks(range(len(groups)), [group.label for group in groups], fontsize=9)
    grid[0, 0].set_ylim(len(groups) - 0.5, -0.5)


def _draw(axes: Axes, groups: list[Group], name: str, best: list[str]) -> None:
    described = describe_quantity(name)
    scale = 100 if described.unit == "%" else 1
    for row, group in enumerate(groups):
        interval = group.intervals.get(name)
        if interval is None:
            continue
        is_best = group.label in best
        colour = BEST_DOT if is_best else DOT
        if interval.low is not None and interval.high is not None:
            axes.plot([scale * interval.low, scale * interval.high], [row, row], color=colour, lw=1)
        marker = "s" if is_best else "o"
        axes.plot([scale * interval.mean], [row], marker=marker, color=colour, markersize=4)
        values = [scale * value for value in group.values(name)]
        if len(values) > 1:
            axes.plot(values, [row + 0.3] * len(values), **TICK)
    if axes.has_data():
        axes.xaxis.set_major_locator(MaxNLocator(3))
        if _is_over_random(name):
            axes.axvline(0, **CHANCE, zorder=0.5)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=9)
        axes.set_xticks([])
    # Wrapped, so that the label stays below its own panel.
    axes.set_xlabel(textwrap.fill(described.heading, 21), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _is_over_random(name: str) -> bool:
    return is_faithfulness(name) and name.rpartition(".")[2] in OVER_RANDOM


def _foot(
    comparison: Comparison, names: list[str], left_out: list[str], width: int
) -> tuple[list[Line2D], list[str]]:
    """Return the handles of the legend, and lines of text on what is not drawn."""
    marks = [Line2D([], [], color=DOT, marker="o", markersize=5, linestyle="", label="mean")]
    if any(comparison.best(*task, name) for task in comparison.tasks for name in names):
        label = "the best, and what ties with it"
        marks.append(Line2D([], [], color=BEST_DOT, marker="s", linestyle="", label=label))
    intervals = [
        g.intervals[name] for g in comparison.groups for name in names if name in g.intervals
    ]
    if any(interval.low is not None for interval in intervals):
        marks.append(Line2D([], [], color=DOT, linewidth=1, label="interval of 95 %"))
    if any(len(group.values(name)) > 1 for group in comparison.groups for name in names):
        marks.append(Line2D([], [], **TICK, label="a single run (seed)"))
    if any(map(_is_over_random, names)):
        marks.append(Line2D([], [], **CHANCE, label="chance: as random"))
    if not left_out:
        return marks, []
    omitted = (
        f"Measured, and not drawn here: {metric_title(DEFAULT_METRIC)} of {', '.join(left_out)}."
    )
    return marks, textwrap.wrap(omitted, width)


def _draw_foot(strip: FigureBase, marks: list[Line2D], lines: list[str], columns: int) -> None:
    strip.legend(
        handles=marks,
        loc="upper center",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.4,
        borderaxespad=0,
    )
    strip.text(0.02, 0.04, "\n".join(lines), fontsize=8.5, color="0.35", va="bottom")
