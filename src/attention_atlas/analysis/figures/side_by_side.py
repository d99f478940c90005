"""Figures side by side: one sample of each run, or one image as several runs attend to it."""

import numpy as np
from matplotlib.figure import Figure, FigureBase

from attention_atlas.analysis.figures.inputs import draw_input, draw_weights
from attention_atlas.analysis.figures.sample import (
    COLOUR_BAR_WIDTH,
    HEADING_HEIGHT,
    describe_view,
    draw_panel,
    shortened,
)
from attention_atlas.analysis.figures.style import few_ticks, new_figure, scale_of_rows
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
PANEL_SIZE = (3.5, 1.9)  # inches of a run


def gallery_figure(chosen: list[tuple[Atlas, Sample]]) -> Figure:
    """Return a figure of one sample of each atlas, side by side, with their readout rows.

    Panels are equally high; a short text has larger letters, so that it fills its panel.
    """
    widths = [WIDTHS[atlas.attributes.token_layout] for atlas, _ in chosen]
    figure = new_figure(sum(widths), HEIGHT)
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


def comparison_figure(
    runs: list[tuple[str, Atlas]], sample_id: str, layer: int = 0, head: int = 0, columns: int = 3
) -> Figure:
    """Return a figure of the same image as several runs attend to it, a panel for each.

    A panel has the readout row over the image, and the map of one head [Q, K] as it is: rows are
    queries, columns are keys. Each picture has its own scale.

    The first panel is the image itself. `runs` are a title and the atlas of each run. Raises
    InputError if an atlas does not hold the sample or its maps, or there is no such head.
    """
    rows = -(-(len(runs) + 1) // columns)
    width, height = PANEL_SIZE
    figure = new_figure(columns * width, rows * height)
    figure.set_layout_engine("constrained", w_pad=0.08)
    panels = figure.subfigures(rows, columns, squeeze=False).flat
    _draw_image(next(panels), runs[0][1], sample_id)
    for panel, (title, atlas) in zip(panels, runs, strict=False):
        _draw_run(panel, atlas, sample_id, layer, head)
        panel.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _draw_run(panel: FigureBase, atlas: Atlas, sample_id: str, layer: int, head: int) -> None:
    sample = atlas.sample(sample_id)
    view = pick(sample)
    left, right = panel.subplots(1, 2)
    heat = draw_weights(left, atlas.attributes, sample, view)
    left.set_xticks([])
    left.set_yticks([])
    note = "red: negative" if view.signed else "".join(view.notes)
    left.set_xlabel(f"{view.description.split(',')[0]}\n{note}", fontsize=7)
    pick(sample, layer, head)  # raises if there is no such layer or head
    matrix = sample.maps[layer, head].astype(np.float32)
    drawn = right.imshow(matrix, interpolation="nearest", **scale_of_rows(matrix, sample.signed))
    right.set_xlabel(f"key (layer {layer}, head {head})", fontsize=7)
    right.set_ylabel("query", fontsize=7)
    right.tick_params(labelsize=6)
    for image, axes in ((heat, left), (drawn, right)):
        bar = panel.colorbar(image, cax=axes.inset_axes((1.04, 0.0, 0.06, 1.0)))
        bar.set_ticks(few_ticks(image))
        bar.ax.tick_params(labelsize=6, pad=1, length=2)


def _draw_image(panel: FigureBase, atlas: Atlas, sample_id: str) -> None:
    """Draw an image by itself, with its label."""
    sample, axes = atlas.sample(sample_id), panel.subplots()
    draw_input(axes, atlas.attributes, sample)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(sample.sample_id, fontsize=7)
    panel.suptitle(f"label {sample.label_name}", fontsize=9, x=0.02, ha="left")
