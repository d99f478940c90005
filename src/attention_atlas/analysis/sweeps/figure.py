"""Draw a sweep: its trials in time, their values over each parameter, and what matters."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.sweeps.importance import Importance
from attention_atlas.analysis.sweeps.jobs import State, Value
from attention_atlas.analysis.sweeps.sweep import Sweep, Trial
from attention_atlas.analysis.sweeps.tables import shown
from attention_atlas.errors import InputError

PANEL = (2.9, 2.3)  # inches
MOST_COLUMNS = 4  # so that letters can be read where the figure is as wide as a page
MOST_PARAMETERS = 6
MOST_CATEGORIES = 12  # that are named
LONGEST_NAME = 18  # letters of a category, and 30 of a parameter
DECADES = 1.5  # from the least to the largest number, from which on an axis is logarithmic
# Okabe and Ito's blue, vermilion and green, which colour-blind readers tell apart.
DOT: dict[str, Any] = {"color": "#0072B2", "marker": "o", "markersize": 4, "linestyle": ""}
BEST_DOT: dict[str, Any] = {"color": "#D55E00", "marker": "s", "markersize": 5, "linestyle": ""}
PRUNED_DOT: dict[str, Any] = {
    **DOT,
    "color": "0.5",
    "markerfacecolor": "none",
}
BEST_LINE: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.1, "drawstyle": "steps-post"}


def sweep_figure(sweep: Sweep) -> Figure:
    """Return a figure of a sweep.

    The first panel has the value of the trials in the order in which they ended, and the best so
    far. One panel for each parameter, of the six that matter most or are named first, has the
    value over it; one more, where it is known, has how much each matters.

    Raises:
        InputError: If no trial has a value.
    """
    if sweep.best is None:
        raise InputError(f"There is nothing to draw: no trial of {sweep.folder} has a value yet.")
    importance = sweep.importance if isinstance(sweep.importance, Importance) else None
    names = list(importance.shares) if importance else sweep.parameters
    names = names[:MOST_PARAMETERS]
    count = 1 + len(names) + (importance is not None)
    rows = -(-count // MOST_COLUMNS)
    columns = -(-count // rows)
    size = max(columns * PANEL[0], 4.2), rows * PANEL[1] + 0.5
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    _draw_time(grid[0], sweep)
    for axes, name in zip(grid[1:], names, strict=False):
        _draw_parameter(axes, sweep, name)
    if importance is not None:
        _draw_importance(grid[count - 1], importance)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure


def _draw_time(axes: Axes, sweep: Sweep) -> None:
    trials = [trial for trial in sweep.in_time if trial.value is not None]
    values = [_scaled(sweep, trial) for trial in trials]
    for place, (trial, value) in enumerate(zip(trials, values, strict=True), start=1):
        _draw_dot(axes, sweep, trial, place, value)
    finished = [
        value if trial.state is State.FINISHED else math.nan
        for trial, value in zip(trials, values, strict=True)
    ]
    so_far = np.fmax if sweep.metric.higher_is_better else np.fmin
    axes.plot(range(1, len(trials) + 1), so_far.accumulate(finished), **BEST_LINE, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _style(axes, "trials in the order of time", sweep.metric.title)


def _draw_parameter(axes: Axes, sweep: Sweep, name: str) -> None:
    trials = [trial for trial in reversed(sweep.trials) if trial.value is not None]
    options = [trial.parameters[name] for trial in trials]
    numbers = [each for each in options if isinstance(each, int | float)]
    if len(numbers) == len(options):
        places = [float(number) for number in numbers]
        if min(places) > 0 and math.log10(max(places) / min(places)) >= DECADES:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=_all_whole(numbers)))
    else:
        places = _draw_categories(axes, options)
    for trial, place in zip(trials, places, strict=True):
        _draw_dot(axes, sweep, trial, place, _scaled(sweep, trial))
    _style(axes, name, "")


def _draw_categories(axes: Axes, options: Sequence[Value | None]) -> list[float]:
    """Name the categories on an axis, and return where each trial stands, a little apart."""
    words = [shown(option) for option in options]
    known = sorted(set(words))
    jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(words))
    step = -(-len(known) // MOST_CATEGORIES)
    ticks = list(range(0, len(known), step))
    axes.set_xticks(ticks, [_shortened(known[tick], LONGEST_NAME) for tick in ticks])
    axes.set_xlim(-0.5, len(known) - 0.5)
    if sum(len(_shortened(word, LONGEST_NAME)) + 2 for word in known) > 34:
        axes.tick_params(axis="x", rotation=35)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    return [known.index(word) + shift for word, shift in zip(words, jitter, strict=True)]


def _draw_importance(axes: Axes, importance: Importance) -> None:
    names = list(importance.shares)[: 2 * MOST_PARAMETERS]
    shares = [100 * importance.shares[name] for name in names]
    axes.barh(range(len(names)), shares, color=DOT["color"], height=0.6)
    axes.set_yticks(range(len(names)), [_shortened(name, LONGEST_NAME) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _style(axes, "importance (%)", "")


def _draw_dot(axes: Axes, sweep: Sweep, trial: Trial, place: float, value: float) -> None:
    pruned = trial.state is State.PRUNED
    axes.plot(place, value, **(BEST_DOT if trial is sweep.best else PRUNED_DOT if pruned else DOT))


def _scaled(sweep: Sweep, trial: Trial) -> float:
    return (100 if sweep.metric.is_share else 1) * (trial.value or 0.0)


def _all_whole(numbers: Sequence[int | float]) -> bool:
    return all(isinstance(number, int) for number in numbers)


def _shortened(text: str, most: int) -> str:
    """Cut letters out of the middle of a text, whose ends tell most."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[half - most + 1 :]}"


def _style(axes: Axes, below: str, beside: str) -> None:
    axes.set_xlabel(_shortened(below, 2 * LONGEST_NAME), fontsize=9)
    axes.set_ylabel(_shortened(beside, 2 * LONGEST_NAME), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
