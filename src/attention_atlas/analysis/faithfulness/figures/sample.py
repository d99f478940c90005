"""Draw one sample as several attribution methods see it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.inputs import (
    draw_image_weights,
    draw_pixels,
    draw_sound_weights,
    draw_spectrogram,
    label_pixels,
    label_sound,
)
from attention_atlas.analysis.figures.sample import shortened
from attention_atlas.analysis.figures.style import few_ticks
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

_TEXT_WIDTH, _TEXT_LINES, _TEXT_SIZE = (
    7.2,
    8,
    8.0,
)  # maximum inches and lines of a text, size in points
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

    Args:
        attributes: Of its atlas.
        sample: To draw.
        weights: By method, one number per token [K]; where one is negative the colours part at
            zero. Each method has a scale of its own, which its panel shows.
        scores: By method, the comprehensiveness on this sample.
        titles: By method; a method without one has its name.
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
    draw = {
        "character_span": _draw_texts,
        "patch_box": _draw_images,
        "time_frequency_box": _draw_sounds,
    }[attributes.token_layout]
    title = f"{sample.sample_id}: {sample.verdict}"
    figure = draw(attributes, sample, views, headings, title)
    letters = int(figure.get_figwidth() * _TITLE_LETTERS)
    figure.suptitle(shortened(title, letters), fontsize=9, x=0.02, ha="left")
    return figure


def _heading(view: View, score: float | None) -> str:
    lines = [view.description]
    lines += ["red: against"] if view.signed else []
    lines += [] if score is None else [f"comprehensiveness {score:.2f}"]
    return "\n".join(lines)


def _draw_texts(
    attributes: AtlasAttributes,
    sample: Sample,
    views: dict[str, View],
    headings: dict[str, str],
    title: str,
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
    figure = _new_figure(width, panel * len(views) + 0.6)
    panels: list[Axes] = list(figure.subplots(len(views), 1, squeeze=False)[:, 0])
    columns = letters_per_line(width, _TEXT_SIZE)
    for axes, (method, view) in zip(panels, views.items(), strict=True):
        draw_text(axes, sample, view, columns, room, _TEXT_SIZE)
        axes.set_title(heads[method], fontsize=8, loc="left")
    figure.supxlabel(_SCALES, fontsize=7.5, color="0.35", x=0.02, ha="left")
    return figure


def _draw_images(
    attributes: AtlasAttributes,
    sample: Sample,
    views: dict[str, View],
    headings: dict[str, str],
    title: str,
) -> Figure:
    """Draw the image, and beside it a panel for each method."""
    rows, columns = _grid(len(views) + 1, 4)
    figure = _new_figure(2.3 * columns, 2.4 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    draw_pixels(panels[0], sample)
    panels[0].set_title("image", fontsize=8)
    for axes, (method, view) in zip(panels[1:], views.items(), strict=False):
        _add_bar(axes, draw_image_weights(axes, sample, view))
        axes.set_title(headings[method], fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number <= len(views))
        label_pixels(axes, rows=number % columns == 0)
        _label_lowest(axes, number + columns > len(views))
    return figure


def _draw_sounds(
    attributes: AtlasAttributes,
    sample: Sample,
    views: dict[str, View],
    headings: dict[str, str],
    title: str,
) -> Figure:
    """Draw the spectrogram, and beside it a panel for each method."""
    rows, columns = _grid(len(views) + 1, 3)
    figure = _new_figure(3.0 * columns, 2.0 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    draw_spectrogram(panels[0], attributes, sample)
    panels[0].set_title("spectrogram", fontsize=8)
    for axes, (method, view) in zip(panels[1:], views.items(), strict=False):
        _add_bar(axes, draw_sound_weights(axes, attributes, sample, view))
        axes.set_title(headings[method], fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number <= len(views))
        label_sound(axes, attributes)
        _label_lowest(axes, number + columns > len(views))
        if number % columns:
            axes.set_ylabel("")
    return figure


def _grid(count: int, max_columns: int) -> tuple[int, int]:
    """Return rows and columns of so many panels, rows as equally filled as can be."""
    rows = -(-count // max_columns)
    return rows, -(-count // rows)


def _label_lowest(axes: Axes, is_lowest: bool) -> None:
    """Number and name the horizontal axis of a panel that has nothing below, and no other's."""
    axes.tick_params(labelbottom=is_lowest)
    if not is_lowest:
        axes.set_xlabel("")


def _add_bar(axes: Axes, drawn: AxesImage) -> None:
    """Add the scale of a panel, inside its axes so that it is as high as they are."""
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    ticks = few_ticks(drawn)
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, pad=1, length=2)


def _new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
