"""Draw how faithful attribution methods are: methods by metrics."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.analysis.faithfulness.metrics import METRICS
from attention_atlas.analysis.faithfulness.result import BASELINE, Faithfulness
from attention_atlas.analysis.figures.style import new_figure


class _Mark(NamedTuple):
    """Marker of a method; shapes distinguish it in print without colours."""

    words: str
    shape: str
    colour: str  # of Okabe and Ito, who chose them for colour-blind readers


_BETTER = _Mark("better than random", "o", "#0072B2")
_SAME = _Mark("no different from random", "D", "#777777")
_WORSE = _Mark("worse than random", "X", "#D55E00")
_PLAIN = _Mark("not judged by random", "o", "#333333")
_RANDOM = _Mark("random (line: its mean)", "|", "#000000")
_WANTED: dict[str, Any] = {"color": "#009E73", "linewidth": 1.0, "linestyle": (0, (4, 3))}
_PANELS_IN_A_ROW = 4


def faithfulness_figure(faithfulness: Faithfulness) -> Figure:
    """Return a figure of all methods by all metrics.

    A panel for each metric has a row for each method: its mean over the samples with the interval
    of 95 %. Shape and colour show whether it differs from random, sample by sample. An arrow above
    points to better values; a similarity has none, since 0 is best. A metric that was measured on
    fewer samples shows their number.
    """
    names = [
        name
        for name in METRICS
        if any(name in metrics for metrics in faithfulness.estimates.values())
    ]
    methods = faithfulness.methods
    rows = -(-len(names) // _PANELS_IN_A_ROW)
    columns = min(len(names), _PANELS_IN_A_ROW)
    height = rows * (0.9 + 0.19 * len(methods)) + 0.6
    figure = new_figure(1.7 + 1.9 * columns, height)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_metric(axes, faithfulness, name, methods)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    titles = [_title(faithfulness, method) for method in methods]
    for first in grid[:, 0]:
        first.set_yticks(range(len(methods)), titles, fontsize=8)
        first.set_ylim(len(methods) - 0.5, -0.5)
    figure.legend(
        handles=[
            Line2D([], [], color=mark.colour, marker=mark.shape, linestyle="", label=mark.words)
            for mark in (_BETTER, _SAME, _WORSE, _PLAIN, _RANDOM)
        ],
        loc="outside lower center",
        ncols=5,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(
        f"Mean of {len(faithfulness.sample_ids)} samples with intervals of 95 %; removed tokens "
        f"are replaced by {faithfulness.removal_description}",
        fontsize=9,
        x=0.02,
        ha="left",
    )
    return figure


def _draw_metric(axes: Axes, faithfulness: Faithfulness, name: str, methods: list[str]) -> None:
    metric = METRICS[name]
    for row, method in enumerate(methods):
        estimate = faithfulness.estimates[method].get(name)
        if estimate is None:
            continue
        mark = _mark(faithfulness, method, name)
        axes.plot([estimate.low, estimate.high], [row, row], color=mark.colour, linewidth=1.2)
        axes.plot(estimate.mean, row, mark.shape, color=mark.colour, markersize=5)
        if method == BASELINE:
            axes.axvline(estimate.mean, color=mark.colour, linewidth=0.7, linestyle=":")
    if name == "randomisation_correlation":
        better = "nearer to 0 is better"
        axes.axvline(0, **_WANTED, zorder=0.5)
        axes.set_xlabel("0: depends on what was learned\n1: does not", fontsize=7.5)
    else:
        better = "better →" if metric.higher_is_better else "← better"
    axes.set_title(f"{metric.title}\n{better}{_fewer(faithfulness, name)}", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _title(faithfulness: Faithfulness, method: str) -> str:
    """Return the title of a method, and its samples where others were measured on more."""
    total = len(faithfulness.sample_ids)
    counts = [
        estimate.num_samples
        for name, estimate in faithfulness.estimates[method].items()
        if METRICS[name].against_random
        and estimate.num_samples < _max_num_samples(faithfulness, name)
    ]
    title = faithfulness.titles.get(method, method)
    return f"{title} ({min(counts)} of {total})" if counts else title


def _fewer(faithfulness: Faithfulness, metric: str) -> str:
    """Return on how many samples a metric was measured where no method has all of them."""
    count, total = _max_num_samples(faithfulness, metric), len(faithfulness.sample_ids)
    return "" if count == total else f"\n{count} of {total} samples"


def _max_num_samples(faithfulness: Faithfulness, metric: str) -> int:
    """Return on how many samples a metric was measured, for the method that has the most."""
    counts = [e[metric].num_samples for e in faithfulness.estimates.values() if metric in e]
    return max(counts, default=0)


def _mark(faithfulness: Faithfulness, method: str, metric: str) -> _Mark:
    if method == BASELINE:
        return _RANDOM
    if not METRICS[metric].against_random:
        return _PLAIN
    better = faithfulness.better_than_random(method, metric)
    return _SAME if better is None else _BETTER if better else _WORSE
