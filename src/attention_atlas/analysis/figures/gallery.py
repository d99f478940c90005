"""Figure of one sample of each run, side by side."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attention_atlas.analysis.figures.sample import (
    COLOUR_BAR_WIDTH,
    HEADING_HEIGHT,
    describe_view,
    draw_panel,
    shortened,
)
from attention_atlas.analysis.figures.text import (
    TEXT_SIZE,
    break_lines,
    letters_per_line,
    lines_per_panel,
    pieces_of,
)
from attention_atlas.analysis.token_weights import pick
from attention_atlas.atlas import Atlas, Sample

WIDTHS = {"character_span": 3.9, "patch_box": 5.1, "time_frequency_box": 4.1}  # inches
HEIGHT = 2.9
TASK_NAMES = {"nlp": "Text", "vision": "Image", "speech": "Speech"}
LARGEST_TEXT_SIZE = 14.0  # points, of a short text


def gallery_figure(chosen: list[tuple[Atlas, Sample]]) -> Figure:
    """Return a figure of one sample of each atlas, side by side, with their readout rows.

    Panels are equally high; a short text has larger letters, so that it fills its panel.
    """
    widths = [WIDTHS[atlas.attributes.token_layout] for atlas, _ in chosen]
    figure = Figure(figsize=(sum(widths), HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subfigures(1, len(chosen), width_ratios=widths, squeeze=False, wspace=0.03)[0]
    for panel, width, (atlas, sample) in zip(panels, widths, chosen, strict=True):
        view = pick(sample)
        is_text = atlas.attributes.token_layout == "character_span"
        size = _largest_text_size(sample, width) if is_text else TEXT_SIZE
        draw_panel(panel, atlas.attributes, sample, view, (width, HEIGHT), size)
        task = TASK_NAMES.get(atlas.task, atlas.task)
        title = f"{task}: {sample.verdict}"
        panel.suptitle(shortened(title, int(width * 12)), fontsize=10, x=0.02, ha="left")
        words = (sample.sample_id, describe_view(sample, view))
        panel.supxlabel(
            "\n".join(shortened(line, int(width * 18)) for line in words),
            fontsize=6.5,
            color="0.35",
            x=0.02,
            ha="left",
        )
    return figure


def _largest_text_size(sample: Sample, width: float) -> float:
    """Return the largest letters, in points, with which the text of a sample fits a panel."""
    pieces, size = pieces_of(sample), LARGEST_TEXT_SIZE
    while size > TEXT_SIZE:
        lines = break_lines(pieces, letters_per_line(width - COLOUR_BAR_WIDTH, size))
        if len(lines) <= lines_per_panel(HEIGHT - HEADING_HEIGHT, size):
            break
        size -= 0.5
    return size
