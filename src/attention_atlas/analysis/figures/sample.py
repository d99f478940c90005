"""The figure of one sample."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attention_atlas.analysis.figures.panel import (
    COLOUR_BAR_WIDTH,
    HEADING_HEIGHT,
    draw_panel,
    shortened,
    words_of_view,
)
from attention_atlas.analysis.figures.text import (
    LINE_HEIGHT,
    TEXT_SIZE,
    break_lines,
    letters_per_line,
    pieces_of,
    width_of_lines,
)
from attention_atlas.analysis.token_weights import View
from attention_atlas.atlas import AtlasAttributes, Sample

SIZES = {"patch_box": (7.2, 3.6), "time_frequency_box": (7.2, 4.4)}  # inches
SMALLEST_WIDTH, LARGEST_WIDTH = 3.0, 8.0  # of a text, whose size follows from its lines
LETTERS_PER_INCH = 13  # of the title


def sample_figure(attributes: AtlasAttributes, sample: Sample, view: View) -> Figure:
    """Return a figure of one sample with the weights of a view."""
    title = [
        sample.sample_id,
        sample.verdict,
        words_of_view(sample, view),
    ]
    if attributes.token_layout == "character_span":
        width, height = _size_of_text(sample, max(map(len, title)))
    else:
        width, height = SIZES[attributes.token_layout]
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
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
