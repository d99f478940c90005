"""Draw one sample as several attribution methods see it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.inputs import draw_input, draw_weights, label_input
from attention_atlas.analysis.figures.sample import shortened
from attention_atlas.analysis.figures.style import few_ticks, new_figure
from attention_atlas.analysis.figures.text import (
    LINE_HEIGHT,
    break_lines,
    draw_text,
    letters_per_line,
    pieces_of,
    width_of_lines,
)
from attention_atlas.analysis.token_weights import View
from attention_atlas.atlas import AtlasAttributes, Sample

# Maximum inches and lines of a text, and the size of its letters in points.
_TEXT_WIDTH, _TEXT_LINES, _TEXT_SIZE = 7.2, 8, 8.0
_TITLE_LETTERS = 12  # in an inch
_SCALES = "Each text has its own colours: from 0 (pale) to the weight that is its darkest."


def attributions_figure(
    attributes: AtlasAttributes,
    sample: Sample,
    weights: Mapping[str, npt.NDArray[Any]],
    scores: Mapping[str, float] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """Return a figure of one sample with the attributions of several methods.

    Weights are by method, one number per token [K]; where one is negative the colours part at zero.
    Each method has a scale of its own, which its panel shows. Scores are the comprehensiveness on
    this sample by method; a method without a title has its name.
    """
    views = {
        method: View(
            np.asarray(values, dtype=np.float32),
            (titles or {}).get(method, method.replace("_", " ")),
            signed=bool(np.min(values, initial=0) < 0),
            unit="attribution",
        )
        for method, values in weights.items()
    }
    headings = {
        method: _heading(view, (scores or {}).get(method)) for method, view in views.items()
    }
    title = f"{sample.sample_id}: {sample.verdict}"
    if attributes.token_layout == "character_span":
        figure = _draw_texts(sample, views, headings, title)
    else:
        figure = _draw_pictures(attributes, sample, views, headings)
    letters = int(figure.get_figwidth() * _TITLE_LETTERS)
    figure.suptitle(shortened(title, letters), fontsize=9, x=0.02, ha="left")
    return figure


def _heading(view: View, score: float | None) -> str:
    lines = [view.description]
    lines += ["red: against"] if view.signed else []
    lines += [] if score is None else [f"comprehensiveness {score:.2f}"]
    return "\n".join(lines)


def _draw_texts(
    sample: Sample, views: dict[str, View], headings: dict[str, str], title: str
) -> Figure:
    """Draw a panel for each method, one below the other."""
    heads = {
        method: f"{heading}, darkest: {views[method].darkest:.2g}".replace("\n", ", ")
        for method, heading in headings.items()
    }
    lines = break_lines(pieces_of(sample), letters_per_line(_TEXT_WIDTH, _TEXT_SIZE))
    # Letters of the small print are narrower than those of the title.
    words = max(len(title), 0.75 * max(map(len, heads.values())), 0.7 * len(_SCALES))
    width = max(width_of_lines(lines, _TEXT_SIZE), (words + 2) / _TITLE_LETTERS)
    width = min(width, _TEXT_WIDTH)
    room = min(len(lines), _TEXT_LINES)
    panel = room * LINE_HEIGHT * _TEXT_SIZE + 0.3
    figure = new_figure(width, panel * len(views) + 0.6)
    panels: list[Axes] = list(figure.subplots(len(views), 1, squeeze=False)[:, 0])
    columns = letters_per_line(width, _TEXT_SIZE)
    for axes, (method, view) in zip(panels, views.items(), strict=True):
        draw_text(axes, sample, view, columns, room, _TEXT_SIZE)
        axes.set_title(heads[method], fontsize=8, loc="left")
    figure.supxlabel(_SCALES, fontsize=7.5, color="0.35", x=0.02, ha="left")
    return figure


def _draw_pictures(
    attributes: AtlasAttributes, sample: Sample, views: dict[str, View], headings: dict[str, str]
) -> Figure:
    """Draw the image or spectrogram, and beside it a panel for each method."""
    name, max_columns, width, height = "image", 4, 2.3, 2.4
    if attributes.token_layout == "time_frequency_box":
        name, max_columns, width, height = "spectrogram", 3, 3.0, 2.0
    count = len(views) + 1
    rows = -(-count // max_columns)
    columns = -(-count // rows)  # rows are as equally filled as can be
    figure = new_figure(width * columns, height * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    draw_input(panels[0], attributes, sample)
    panels[0].set_title(name, fontsize=8)
    for axes, (method, view) in zip(panels[1:], views.items(), strict=False):
        _add_bar(axes, draw_weights(axes, attributes, sample, view))
        axes.set_title(headings[method], fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number < count)
        label_input(axes, attributes)
        is_lowest = number + columns >= count
        axes.tick_params(labelbottom=is_lowest)
        if not is_lowest:
            axes.set_xlabel("")
        if number % columns:
            axes.set_ylabel("")
    return figure


def _add_bar(axes: Axes, drawn: AxesImage) -> None:
    """Add the scale of a panel, inside its axes so that it is as high as they are."""
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    ticks = few_ticks(drawn)
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, pad=1, length=2)
