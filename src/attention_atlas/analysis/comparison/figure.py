"""Draw a comparison of runs: a dot with its interval for each group and quantity."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.comparison.groups import Comparison, Group
from attention_atlas.analysis.comparison.markdown import default_quantities
from attention_atlas.analysis.comparison.quantities import FAITHFULNESS, describe_quantity
from attention_atlas.errors import InputError

PANEL_WIDTH = 2.3  # inches
LABEL_WIDTH = 1.6
ROW_HEIGHT = 0.28  # of a group
HEADING_HEIGHT = 0.95
MOST_COLUMNS = 6
# Okabe and Ito's blue and vermilion, which colour-blind readers tell apart; best and others differ
# in shape too.
DOT, BEST_DOT = "#0072B2", "#D55E00"


def compare_figure(comparison: Comparison, quantities: Sequence[str] | None = None) -> Figure:
    """Return a figure with a row of panels for each task and data, a panel for each quantity.

    A panel has a line for each group: the mean, with its interval of 95 % where it has one, and a
    tick for each of its runs below. The best group and those that tie with it are squares of
    another colour.

    Args:
        comparison: From `compare_runs`.
        quantities: Names of the panels; by default those of the table but the number of
            parameters, six at most.

    Raises:
        InputError: If no run has any of the quantities.
    """
    default = [name for name in default_quantities(comparison) if name != "num_parameters"]
    names = list(quantities or default[:MOST_COLUMNS])
    names = [name for name in names if name in comparison.quantities]
    if not names:
        raise InputError(f"There is nothing to draw: {', '.join(quantities or ['the runs'])}.")
    tasks = comparison.tasks
    heights = [HEADING_HEIGHT + ROW_HEIGHT * len(comparison.of_task(*task)) for task in tasks]
    size = (LABEL_WIDTH + PANEL_WIDTH * len(names), sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subfigures(len(tasks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (task, data) in zip(panels, tasks, strict=True):
        groups = comparison.of_task(task, data)
        panel.suptitle(f"{task}, {data}", fontsize=9, x=0.02, ha="left")
        row = panel.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(row, names, strict=True):
            _draw(axes, groups, name, comparison.best(task, data, name))
        row[0].set_yticks(range(len(groups)), [group.label for group in groups], fontsize=8)
        row[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure


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
            axes.plot(values, [row + 0.25] * len(values), "|", color="0.45", markersize=4)
    unit = f" ({described.unit})" if described.unit else ""
    title = described.title
    if name.startswith(f"{FAITHFULNESS}."):
        title = title.replace(" of ", "\nof ", 1)
    axes.set_xlabel(f"{title}{unit}", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
