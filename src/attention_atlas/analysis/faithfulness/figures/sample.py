"""Draw one sample as several attribution methods see it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attention_atlas.analysis.figures.image import draw_image_weights, draw_pixels, label_pixels
from attention_atlas.analysis.figures.panel import shortened
from attention_atlas.analysis.figures.sound import (
    draw_sound_weights,
    draw_spectrogram,
    label_sound,
)
from attention_atlas.analysis.figures.text import (
    LINE_HEIGHT,
    break_lines,
    draw_text,
    letters_per_line,
)
from attention_atlas.analysis.views import View, shown_text
from attention_atlas.atlas import AtlasAttributes, Sample

_TEXT_WIDTH, _TEXT_LINES, _TEXT_SIZE = 7.2, 8, 8.0  # inches, lines and points of a text


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
            zero. Each method has a scale of its own.
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
    figure = draw(attributes, sample, views, headings)
    heading = f"{sample.sample_id}: label {sample.label_name}, predicted {sample.prediction_name}"
    figure.suptitle(
        shortened(heading, int(figure.get_figwidth() * 13)), fontsize=9, x=0.02, ha="left"
    )
    return figure


def _heading(view: View, score: float | None) -> str:
    lines = [view.description]
    lines += ["red: against"] if view.signed else []
    lines += [] if score is None else [f"comprehensiveness {score:.2f}"]
    return "\n".join(lines)


def _draw_texts(
    attributes: AtlasAttributes, sample: Sample, views: dict[str, View], headings: dict[str, str]
) -> Figure:
    """A panel for each method, one below the other."""
    columns = letters_per_line(_TEXT_WIDTH, _TEXT_SIZE)
    lines = min(len(break_lines(shown_text(sample), columns)), _TEXT_LINES)
    panel = lines * LINE_HEIGHT * _TEXT_SIZE + 0.3
    figure = _new_figure(_TEXT_WIDTH, panel * len(views) + 0.4)
    panels: list[Axes] = list(figure.subplots(len(views), 1, squeeze=False)[:, 0])
    for axes, (method, view) in zip(panels, views.items(), strict=True):
        draw_text(axes, sample, view, columns, lines, _TEXT_SIZE)
        axes.set_title(headings[method].replace("\n", ", "), fontsize=8, loc="left")
    return figure


def _draw_images(
    attributes: AtlasAttributes, sample: Sample, views: dict[str, View], headings: dict[str, str]
) -> Figure:
    """The image, and beside it a panel for each method."""
    columns = min(len(views) + 1, 5)
    rows = -(-(len(views) + 1) // columns)
    figure = _new_figure(1.9 * columns, 2.3 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    draw_pixels(panels[0], sample)
    panels[0].set_title("image", fontsize=8)
    for axes, (method, view) in zip(panels[1:], views.items(), strict=False):
        draw_image_weights(axes, sample, view)
        axes.set_title(headings[method], fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number <= len(views))
        label_pixels(axes, rows=number % columns == 0)
    return figure


def _draw_sounds(
    attributes: AtlasAttributes, sample: Sample, views: dict[str, View], headings: dict[str, str]
) -> Figure:
    """The spectrogram, and beside it a panel for each method."""
    columns = min(len(views) + 1, 3)
    rows = -(-(len(views) + 1) // columns)
    figure = _new_figure(3.0 * columns, 2.0 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    draw_spectrogram(panels[0], attributes, sample)
    panels[0].set_title("spectrogram", fontsize=8)
    for axes, (method, view) in zip(panels[1:], views.items(), strict=False):
        draw_sound_weights(axes, attributes, sample, view)
        axes.set_title(headings[method], fontsize=8)
    for number, axes in enumerate(panels):
        axes.set_visible(number <= len(views))
        label_sound(axes, attributes, seconds=number + columns > len(views))
        if number % columns:
            axes.set_ylabel("")
    return figure


def _new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
