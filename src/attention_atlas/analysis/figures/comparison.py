"""Figure of one image as several runs attend to it."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

from attention_atlas.analysis.figures.inputs import draw_image_weights, draw_pixels
from attention_atlas.analysis.figures.style import few_ticks, scale_of_rows
from attention_atlas.analysis.token_weights import pick
from attention_atlas.atlas import Atlas, Sample

PANEL_SIZE = (3.5, 1.9)  # inches of a run


def comparison_figure(
    runs: list[tuple[str, Atlas]], sample_id: str, layer: int = 0, head: int = 0, columns: int = 3
) -> Figure:
    """Return a figure of the same image as several runs attend to it, a panel for each.

    A panel has the readout row over the image, and the map of one head [Q, K] as it is: rows are
    queries, columns are keys. Each picture has its own scale.

    Args:
        runs: A title and the atlas of each run; all hold the sample, with its maps.
        sample_id: Of the image.
        layer: Of the map.
        head: Of the map.
        columns: Panels in a row; the first panel of all is the image itself.

    Raises:
        InputError: If an atlas does not hold the sample or its maps, or there is no such head.
    """
    rows = -(-(len(runs) + 1) // columns)
    width, height = PANEL_SIZE
    figure = Figure(figsize=(columns * width, rows * height))
    figure.set_layout_engine("constrained", w_pad=0.08)
    FigureCanvasAgg(figure)
    panels = figure.subfigures(rows, columns, squeeze=False).flat
    _draw_input(next(panels), runs[0][1].sample(sample_id))
    for panel, (title, atlas) in zip(panels, runs, strict=False):
        _draw_run(panel, atlas.sample(sample_id), layer, head)
        panel.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _draw_run(panel: FigureBase, sample: Sample, layer: int, head: int) -> None:
    view = pick(sample)
    left, right = panel.subplots(1, 2)
    heat = draw_image_weights(left, sample, view)
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


def _draw_input(panel: FigureBase, sample: Sample) -> None:
    """Draw an image by itself, with its label."""
    axes = panel.subplots()
    draw_pixels(axes, sample)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(sample.sample_id, fontsize=7)
    panel.suptitle(f"label {sample.label_name}", fontsize=9, x=0.02, ha="left")
