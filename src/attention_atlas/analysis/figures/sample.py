"""Figure of one sample: its input, its weights, their colour bar, and a title."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.inputs import draw_input, draw_weights, label_input
from attention_atlas.analysis.figures.style import bar_label, new_figure
from attention_atlas.analysis.figures.text import (
    LINE_HEIGHT,
    TEXT_SIZE,
    break_lines,
    draw_text,
    letters_per_line,
    lines_per_panel,
    pieces_of,
    width_of_lines,
)
from attention_atlas.analysis.token_weights import OUTSIDE, View
from attention_atlas.atlas import AtlasAttributes, Sample

MAX_NAMES = 3  # of tokens outside the input, in a title
HEADING_HEIGHT = 0.75  # inches of the title
COLOUR_BAR_WIDTH = 1.0  # inches with its label


def draw_panel(
    panel: FigureBase,
    attributes: AtlasAttributes,
    sample: Sample,
    view: View,
    size: tuple[float, float],
    text_size: float,
) -> None:
    """Draw a sample into a panel of this size in inches; `text_size` in points is of a text."""
    if attributes.token_layout == "character_span":
        columns = letters_per_line(size[0] - COLOUR_BAR_WIDTH, text_size)
        room = lines_per_panel(size[1] - HEADING_HEIGHT, text_size)
        text_axes = panel.subplots()
        drawn: ScalarMappable = draw_text(text_axes, sample, view, columns, room, text_size)
        axes = [text_axes]
    else:
        drawn, axes = _draw_pictures(panel, attributes, sample, view)
    if attributes.token_layout == "patch_box":
        # Images keep their shape, and a bar inside their axes stays as high as they are.
        bar = panel.colorbar(drawn, cax=axes[-1].inset_axes((1.04, 0.0, 0.05, 1.0)))
    else:
        bar = panel.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, aspect=30)
    bar.set_label(bar_label(view), fontsize=8)
    bar.ax.tick_params(labelsize=7)


def describe_view(sample: Sample, view: View) -> str:
    """Describe the weights shown, and the part of them outside the input."""
    tokens, hidden = sample.tokens, dict[str, float]()
    for token in np.flatnonzero(~sample.stands_in_input).tolist():
        where = f"on {tokens[token]}" if tokens[token] else OUTSIDE
        hidden[where] = hidden.get(where, 0.0) + float(view.weights[token])
    if len(hidden) > MAX_NAMES:
        hidden = {OUTSIDE: sum(hidden.values())}
    style = "z.2f" if view.signed else ".0%"
    weights = [f"{weight:{style}} {where}" for where, weight in hidden.items() if weight]
    elsewhere = f" ({', '.join(weights)})" if weights and view.is_attention else ""
    return "; ".join([view.description + elsewhere, *view.notes])


def shortened(line: str, columns: int) -> str:
    """Return the line, cut with an ellipsis if it is too long."""
    return line if len(line) <= columns else line[: columns - 1] + "…"


def _draw_pictures(
    panel: FigureBase, attributes: AtlasAttributes, sample: Sample, view: View
) -> tuple[AxesImage, list[Axes]]:
    """Draw an image and beside it, or a spectrogram and below it, the map with the outlines."""
    is_image = attributes.token_layout == "patch_box"
    pair = panel.subplots(*((1, 2) if is_image else (2, 1)), sharex=True, sharey=True)
    draw_input(pair[0], attributes, sample, view)
    drawn = draw_weights(pair[1], attributes, sample, view)
    for axes in pair:
        label_input(axes, attributes)
    if is_image:
        pair[1].set_ylabel("")
    else:
        pair[0].set_xlabel("")
    return drawn, list(pair)


SIZES = {"patch_box": (7.2, 3.6), "time_frequency_box": (7.2, 4.4)}  # inches
SMALLEST_WIDTH, LARGEST_WIDTH = 3.0, 8.0  # of a text, whose size follows from its lines
LETTERS_PER_INCH = 13  # of the title


def sample_figure(attributes: AtlasAttributes, sample: Sample, view: View) -> Figure:
    """Return a figure of one sample with the weights of a view."""
    title = [sample.sample_id, sample.verdict, describe_view(sample, view)]
    if attributes.token_layout == "character_span":
        width, height = _size_of_text(sample, max(map(len, title)))
    else:
        width, height = SIZES[attributes.token_layout]
    figure = new_figure(width, height)
    draw_panel(figure, attributes, sample, view, (width, height), TEXT_SIZE)
    columns = int(width * LETTERS_PER_INCH)
    figure.suptitle(
        "\n".join(shortened(line, columns) for line in title), fontsize=9, x=0.02, ha="left"
    )
    return figure


def _size_of_text(sample: Sample, letters: int) -> tuple[float, float]:
    """Return the inches that a text needs, below a title of so many letters."""
    lines = break_lines(pieces_of(sample), letters_per_line(LARGEST_WIDTH - COLOUR_BAR_WIDTH))
    needed = max(width_of_lines(lines) + COLOUR_BAR_WIDTH, (letters + 2) / LETTERS_PER_INCH)
    width = min(max(needed, SMALLEST_WIDTH), LARGEST_WIDTH)
    return width, HEADING_HEIGHT + LINE_HEIGHT * TEXT_SIZE * max(len(lines), 5)
