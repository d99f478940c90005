"""Draw a sweep: its trials over time and over each parameter, and the importances."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.figures.style import new_figure
from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.scales import scale_parameter, scale_values, shorten
from attention_atlas.analysis.sweeps.sweep import Sweep
from attention_atlas.analysis.sweeps.tables import format_counts
from attention_atlas.analysis.sweeps.trial import State, Trial
from attention_atlas.errors import InputError

PANEL = (2.7, 2.3)  # inches
MIN_WIDTH = 4.6
FOOT_HEIGHT = 0.6  # of heading and legend
MAX_COLUMNS = 4  # so that the text is legible where the figure is as wide as a page
MAX_PARAMETERS = 6
MAX_BARS = 10
MAX_HEADING, MAX_LABEL = 60, 28  # characters
# Okabe and Ito's blue and vermilion are distinct to colour-blind readers; the shapes differ too.
DOT: dict[str, Any] = {"color": "#0072B2", "marker": "o", "markersize": 4, "linestyle": ""}
BEST: dict[str, Any] = {"color": "#D55E00", "marker": "s", "markersize": 5.5, "linestyle": ""}
PRUNED: dict[str, Any] = DOT | {"color": "0.45", "markerfacecolor": "none"}
BAR = "#A9D3EE"  # pale, so that names can be read on it
BEST_SO_FAR: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.1}


def sweep_figure(sweep: Sweep) -> Figure:
    """Return a figure of a sweep.

    The first panel shows the values of the trials in the order in which they ended, and the best so
    far. Each of the six most important parameters (or else the first six) has a panel with the
    value over it. The last panel shows the importances, where they are known.

    Raises:
        InputError: No trial has a value.
    """
    if sweep.best is None:
        raise InputError(f"There is nothing to draw: no trial of {sweep.folder} has a value.")
    importance = sweep.importance if isinstance(sweep.importance, Importance) else None
    names = list(importance.fractions) if importance else sweep.parameters
    names = names[:MAX_PARAMETERS]
    count = 1 + len(names) + (importance is not None)
    rows = -(-count // MAX_COLUMNS)
    columns = -(-count // rows)
    width = max(columns * PANEL[0], MIN_WIDTH)
    figure = new_figure(width, rows * PANEL[1] + FOOT_HEIGHT)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    _draw_time(grid[0], sweep)
    for axes, name in zip(grid[1:], names, strict=False):
        _draw_parameter(axes, sweep, name)
    for axes in grid[columns : 1 + len(names) : columns]:
        _label_values(axes, sweep.metric.title)
    if importance is not None:
        _draw_importance(grid[count - 1], importance)
    for axes in grid[count:]:
        axes.set_visible(False)
    _add_heading_and_legend(figure, sweep)
    return figure


def _draw_time(axes: Axes, sweep: Sweep) -> None:
    trials = [trial for trial in sweep.in_time if trial.value is not None]
    values = [_scaled(sweep, trial) for trial in trials]
    finished = [
        value if trial.state is State.FINISHED else math.nan
        for trial, value in zip(trials, values, strict=True)
    ]
    better = np.fmax if sweep.metric.higher_is_better else np.fmin
    positions = range(1, len(trials) + 1)
    so_far = better.accumulate(finished)
    axes.plot(positions, so_far, drawstyle="steps-post", **BEST_SO_FAR, zorder=1)
    _draw_dots(axes, sweep, trials, positions)
    margin = max(0.5, 0.04 * len(trials))
    axes.set_xlim(1 - margin, len(trials) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("trials in the order of time", fontsize=9)
    _label_values(axes, sweep.metric.title)


def _draw_parameter(axes: Axes, sweep: Sweep, name: str) -> None:
    trials = [trial for trial in sweep.trials if trial.value is not None]
    positions = scale_parameter(axes, [trial.parameters[name] for trial in trials])
    _draw_dots(axes, sweep, trials, positions)
    axes.set_xlabel(shorten(name, MAX_LABEL), fontsize=9, parse_math=False)


def _draw_dots(
    axes: Axes, sweep: Sweep, trials: Sequence[Trial], positions: Sequence[float]
) -> None:
    """Draw the values of trials over positions, the best trial on top."""
    values = [_scaled(sweep, trial) for trial in trials]
    marks = [
        BEST if trial is sweep.best else PRUNED if trial.state is State.PRUNED else DOT
        for trial in trials
    ]
    for layer, kind in enumerate((PRUNED, DOT, BEST), start=2):
        chosen = [index for index, mark in enumerate(marks) if mark is kind]
        x, y = [positions[each] for each in chosen], [values[each] for each in chosen]
        axes.plot(x, y, **kind, zorder=layer)
    scale_values(axes, values)
    axes.margins(y=0.08)
    _style(axes)


def _draw_importance(axes: Axes, importance: Importance) -> None:
    names = list(importance.fractions)[:MAX_BARS]
    percentages = [100 * importance.fractions[name] for name in names]
    axes.barh(range(len(names)), percentages, color=BAR, height=0.75)
    for row, name in enumerate(names):
        # In the panel: beside it, long names would squeeze the panels above and below.
        label = shorten(name, MAX_LABEL)
        axes.text(0.5, row, label, fontsize=8, va="center", parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(0, max(*percentages, 50.0))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(f"importance (%), R² {importance.r2:.2f}", fontsize=9)
    _style(axes)


def _add_heading_and_legend(figure: Figure, sweep: Sweep) -> None:
    name = shorten(sweep.folder.absolute().name, MAX_HEADING)
    heading = f"{name}: {format_counts(sweep)}; {sweep.metric.better} is better"
    figure.suptitle(heading, fontsize=10, x=0.02, ha="left", parse_math=False)
    marks = [Line2D([], [], **BEST, label="the best")]
    if len(sweep.ranked) > 1:
        marks.append(Line2D([], [], **DOT, label="finished"))
    if any(trial.value is not None for trial in sweep.of_state(State.PRUNED)):
        marks.append(Line2D([], [], **PRUNED, label="pruned"))
    marks.append(Line2D([], [], **BEST_SO_FAR, label="best so far"))
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=len(marks),
        fontsize=8.5,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.4,
    )


def _scaled(sweep: Sweep, trial: Trial) -> float:
    return (100 if sweep.metric.is_fraction else 1) * (trial.value or 0.0)


def _label_values(axes: Axes, title: str) -> None:
    axes.set_ylabel(shorten(title, MAX_LABEL), fontsize=9, parse_math=False)


def _style(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
