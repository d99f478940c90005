"""Draw an image and the weights of its patches over it, on axes in pixels."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.marks import frame_box, outline
from attention_atlas.analysis.figures.scale import scale_of_view
from attention_atlas.analysis.token_weights import View, over_image
from attention_atlas.atlas import Sample


def draw_pixels(axes: Axes, sample: Sample, view: View | None = None) -> None:
    """Draw an image as it is; with a view its query is framed."""
    image = sample.image
    shown = image if image.shape[2] == 3 else image[:, :, 0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
    if view is not None:
        _frame_query(axes, sample, view)


def draw_image_weights(axes: Axes, sample: Sample, view: View) -> AxesImage:
    """Draw the weights over the pixels of an image, with its outlines and its query framed."""
    heat = over_image(sample, view.weights)
    drawn = axes.imshow(heat, interpolation="nearest", **scale_of_view(view))
    outline(axes, sample.image.mean(axis=2))
    _frame_query(axes, sample, view)
    return drawn


def label_pixels(axes: Axes, rows: bool = True) -> None:
    """Label the axes of an image."""
    axes.set_xlabel("column (pixels)", fontsize=8)
    if rows:
        axes.set_ylabel("row (pixels)", fontsize=8)
    axes.tick_params(labelsize=7)


def _frame_query(axes: Axes, sample: Sample, view: View) -> None:
    if view.query is None or np.isnan(sample.boxes[view.query]).any():
        return
    # Pixel i reaches from i - 0.5 to i + 0.5 of the axes.
    top, left, bottom, right = (sample.boxes[view.query] - 0.5).tolist()
    frame_box(axes, left, right, top, bottom)
