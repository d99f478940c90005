"""Draw a sweep: its trials in time, their values over each parameter, and what matters."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.jobs import State
from attention_atlas.analysis.sweeps.scales import scale_parameter, scale_values, shortened
from attention_atlas.analysis.sweeps.sweep import Sweep
from attention_atlas.analysis.sweeps.tables import count_in_words
from attention_atlas.analysis.sweeps.trial import Trial
from attention_atlas.errors import InputError

PANEL = (2.7, 2.3)  # inches
SMALLEST_WIDTH = 4.6
FOOT_HEIGHT = 0.6  # of the heading and the legend
MOST_COLUMNS = 4  # so that letters can be read where the figure is as wide as a page
MOST_PARAMETERS = 6
MOST_BARS = 10
LONGEST_HEADING, LONGEST_LABEL = 60, 28  # letters
# Okabe and Ito's blue and vermilion, which colour-blind readers tell apart; shapes differ too.
DOT: dict[str, Any] = {"color": "#0072B2", "marker": "o", "markersize": 4, "linestyle": ""}
BEST: dict[str, Any] = {"color": "#D55E00", "marker": "s", "markersize": 5.5, "linestyle": ""}
PRUNED: dict[str, Any] = DOT | {"color": "0.45", "markerfacecolor": "none"}
BAR = "#A9D3EE"  # pale, so that names can be read on it
BEST_SO_FAR: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.1}


def sweep_figure(sweep: Sweep) -> Figure:
    """Return a figure of a sweep.

    The first panel has the value of the trials in the order in which they ended, and the best so
    far. One panel for each parameter, of the six that matter most, or are named first, has the
    value over it; one more, where it is known, how much each matters.

    Raises:
        InputError: If no trial has a value.
    """
    if sweep.best is None:
        raise InputError(f"There is nothing to draw: no trial of {sweep.folder} has a value.")
    importance = sweep.importance if isinstance(sweep.importance, Importance) else None
    names = list(importance.shares) if importance else sweep.parameters
    names = names[:MOST_PARAMETERS]
    count = 1 + len(names) + (importance is not None)
    rows = -(-count // MOST_COLUMNS)
    columns = -(-count // rows)
    width = max(columns * PANEL[0], SMALLEST_WIDTH)
    figure = Figure(figsize=(width, rows * PANEL[1] + FOOT_HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    _draw_time(grid[0], sweep)
    for axes, name in zip(grid[1:], names, strict=False):
        _draw_parameter(axes, sweep, name)
    for axes in grid[columns : 1 + len(names) : columns]:
        _name(axes, sweep.metric.title)
    if importance is not None:
        _draw_importance(grid[count - 1], importance)
    for axes in grid[count:]:
        axes.set_visible(False)
    _write_around(figure, sweep)
    return figure


def _draw_time(axes: Axes, sweep: Sweep) -> None:
    trials = [trial for trial in sweep.in_time if trial.value is not None]
    values = [_scaled(sweep, trial) for trial in trials]
    finished = [
        value if trial.state is State.FINISHED else math.nan
        for trial, value in zip(trials, values, strict=True)
    ]
    better = np.fmax if sweep.metric.higher_is_better else np.fmin
    places = range(1, len(trials) + 1)
    so_far = better.accumulate(finished)
    axes.plot(places, so_far, drawstyle="steps-post", **BEST_SO_FAR, zorder=1)
    _draw_dots(axes, sweep, trials, places)
    room = max(0.5, 0.04 * len(trials))
    axes.set_xlim(1 - room, len(trials) + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("trials in the order of time", fontsize=9)
    _name(axes, sweep.metric.title)


def _draw_parameter(axes: Axes, sweep: Sweep, name: str) -> None:
    trials = [trial for trial in sweep.trials if trial.value is not None]
    places = scale_parameter(axes, [trial.parameters[name] for trial in trials])
    _draw_dots(axes, sweep, trials, places)
    axes.set_xlabel(shortened(name, LONGEST_LABEL), fontsize=9, parse_math=False)


def _draw_dots(axes: Axes, sweep: Sweep, trials: Sequence[Trial], places: Sequence[float]) -> None:
    """Draw the values of trials over places; the best above all others."""
    values = [_scaled(sweep, trial) for trial in trials]
    marks = [
        BEST if trial is sweep.best else PRUNED if trial.state is State.PRUNED else DOT
        for trial in trials
    ]
    for layer, kind in enumerate((PRUNED, DOT, BEST), start=2):
        chosen = [place for place, mark in enumerate(marks) if mark is kind]
        across, up = [places[each] for each in chosen], [values[each] for each in chosen]
        axes.plot(across, up, **kind, zorder=layer)
    scale_values(axes, values)
    axes.margins(y=0.08)
    _style(axes)


def _draw_importance(axes: Axes, importance: Importance) -> None:
    names = list(importance.shares)[:MOST_BARS]
    shares = [100 * importance.shares[name] for name in names]
    axes.barh(range(len(names)), shares, color=BAR, height=0.75)
    for place, name in enumerate(names):
        # In the panel: beside it, long names would push the panels above and below together.
        words = shortened(name, LONGEST_LABEL)
        axes.text(0.5, place, words, fontsize=8, va="center", parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(0, max(*shares, 50.0))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(f"importance (%), R² {importance.r2:.2f}", fontsize=9)
    _style(axes)


def _write_around(figure: Figure, sweep: Sweep) -> None:
    """Write what it is of above the panels, and what the marks are below them."""
    name = shortened(sweep.folder.absolute().name, LONGEST_HEADING)
    words = f"{name}: {count_in_words(sweep)}; {sweep.metric.better} is better"
    figure.suptitle(words, fontsize=10, x=0.02, ha="left", parse_math=False)
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
    return (100 if sweep.metric.is_share else 1) * (trial.value or 0.0)


def _name(axes: Axes, title: str) -> None:
    axes.set_ylabel(shortened(title, LONGEST_LABEL), fontsize=9, parse_math=False)


def _style(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
