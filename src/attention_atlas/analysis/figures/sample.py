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
)
from attention_atlas.analysis.views import View, shown_text
from attention_atlas.atlas import AtlasAttributes, Sample

# Inches; the height of a text follows from its lines.
SIZES = {"character_span": (8.0, 1.2), "patch_box": (7.2, 3.6), "time_frequency_box": (7.2, 4.4)}


def sample_figure(attributes: AtlasAttributes, sample: Sample, view: View) -> Figure:
    """Return a figure of one sample with the weights of a view."""
    width, height = SIZES[attributes.token_layout]
    if attributes.token_layout == "character_span":
        lines = break_lines(shown_text(sample), letters_per_line(width - COLOUR_BAR_WIDTH))
        height = HEADING_HEIGHT + LINE_HEIGHT * TEXT_SIZE * max(len(lines), 5)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw_panel(figure, attributes, sample, view, (width, height), TEXT_SIZE)
    title = [
        sample.sample_id,
        f"label {sample.label_name}, predicted {sample.prediction_name}",
        words_of_view(sample, view),
    ]
    columns = int(width * 13)
    figure.suptitle(
        "\n".join(shortened(line, columns) for line in title), fontsize=9, x=0.02, ha="left"
    )
    return figure
