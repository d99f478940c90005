"""Draw images and spectrograms, and the weights of their tokens over them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.style import frame_box, outline, scale_of_view
from attention_atlas.analysis.token_weights import HERTZ_TICKS, View, over_image, over_spectrogram
from attention_atlas.atlas import AtlasAttributes, Sample


def draw_input(
    axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View | None = None
) -> None:
    """Draw an image or a log-mel spectrogram as it is; with a view its query is framed."""
    if attributes.token_layout == "patch_box":
        image = sample.image
        shown = image if image.shape[2] == 3 else image[:, :, 0]
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
    else:
        values = sample.spectrogram.astype(np.float32)
        axes.imshow(values, cmap="gray_r", **_sound_axes(attributes, sample))
    if view is not None:
        _frame_query(axes, attributes, sample, view)


def draw_weights(axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View) -> AxesImage:
    """Draw the weights over an input, with its outlines and its query framed."""
    options = scale_of_view(view)
    if attributes.token_layout == "patch_box":
        heat, values, step = over_image(sample, view.weights), sample.image.mean(axis=2), 0.0
    else:
        heat = over_spectrogram(sample, view.weights, attributes)
        values, step = sample.spectrogram.astype(np.float32), attributes.frame_seconds or 0.0
        options |= _sound_axes(attributes, sample)
    drawn = axes.imshow(heat, interpolation="nearest", **options)
    outline(axes, values, step)
    _frame_query(axes, attributes, sample, view)
    return drawn


def label_input(axes: Axes, attributes: AtlasAttributes) -> None:
    """Label pixels; or mel bands, which are evenly spaced, in hertz, and frames in seconds."""
    across, down = "column (pixels)", "row (pixels)"
    if attributes.token_layout != "patch_box":
        across, down = "time (s)", "frequency (Hz)"
        frequencies = np.asarray(attributes.mel_frequencies)
        ticks = [hertz for hertz in HERTZ_TICKS if frequencies[0] <= hertz <= frequencies[-1]]
        bands = np.interp(ticks, frequencies, np.arange(len(frequencies)))
        axes.set_yticks(bands.tolist(), [str(hertz) for hertz in ticks])
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(down, fontsize=8)
    axes.tick_params(labelsize=7)


def _sound_axes(attributes: AtlasAttributes, sample: Sample) -> dict[str, Any]:
    """Return how the axes show a spectrogram: in seconds, and in bands from low to high."""
    bands, frames = sample.spectrogram.shape
    extent = (0.0, frames * (attributes.frame_seconds or 0.0), -0.5, bands - 0.5)
    return {"extent": extent, "origin": "lower", "aspect": "auto"}


def _frame_query(axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View) -> None:
    if view.query is None or np.isnan(sample.boxes[view.query]).any():
        return
    if attributes.token_layout == "patch_box":
        # Pixel i reaches from i - 0.5 to i + 0.5 of the axes.
        top, left, bottom, right = (sample.boxes[view.query] - 0.5).tolist()
        frame_box(axes, left, right, top, bottom)
        return
    start, low, end, high = sample.boxes[view.query].tolist()
    frequencies = np.asarray(attributes.mel_frequencies)
    covered = np.flatnonzero((frequencies >= low) & (frequencies < high))
    if len(covered):
        frame_box(axes, start, end, covered[0] - 0.5, covered[-1] + 0.5)
