"""Draw images and spectrograms, and the weights of their tokens over them."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from attention_atlas.analysis.figures.style import frame_box, outline, scale_of_view
from attention_atlas.analysis.token_weights import View, over_image, over_spectrogram
from attention_atlas.atlas import AtlasAttributes, Sample


def draw_pixels(axes: Axes, sample: Sample, view: View | None = None) -> None:
    """Draw an image as it is; with a view its query is framed."""
    image = sample.image
    shown = image if image.shape[2] == 3 else image[:, :, 0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
    if view is not None:
        _frame_patch(axes, sample, view)


def draw_image_weights(axes: Axes, sample: Sample, view: View) -> AxesImage:
    """Draw the weights over the pixels of an image, with its outlines and its query framed."""
    heat = over_image(sample, view.weights)
    drawn = axes.imshow(heat, interpolation="nearest", **scale_of_view(view))
    outline(axes, sample.image.mean(axis=2))
    _frame_patch(axes, sample, view)
    return drawn


def label_pixels(axes: Axes, rows: bool = True) -> None:
    """Label the axes of an image."""
    axes.set_xlabel("column (pixels)", fontsize=8)
    if rows:
        axes.set_ylabel("row (pixels)", fontsize=8)
    axes.tick_params(labelsize=7)


def _frame_patch(axes: Axes, sample: Sample, view: View) -> None:
    if view.query is None or np.isnan(sample.boxes[view.query]).any():
        return
    # Pixel i reaches from i - 0.5 to i + 0.5 of the axes.
    top, left, bottom, right = (sample.boxes[view.query] - 0.5).tolist()
    frame_box(axes, left, right, top, bottom)


HERTZ_TICKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)


def draw_spectrogram(
    axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View | None = None
) -> None:
    """Draw a log-mel spectrogram as it is; with a view its query is framed."""
    axes.imshow(
        sample.spectrogram.astype(np.float32),
        cmap="gray_r",
        extent=_extent(attributes, sample),
        origin="lower",
        aspect="auto",
    )
    if view is not None:
        _frame_region(axes, attributes, sample, view)


def draw_sound_weights(
    axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View
) -> AxesImage:
    """Draw the weights over bands and frames, with the sound's outlines and its query framed."""
    drawn = axes.imshow(
        over_spectrogram(sample, view.weights, attributes),
        extent=_extent(attributes, sample),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        **scale_of_view(view),
    )
    outline(axes, sample.spectrogram.astype(np.float32), attributes.frame_seconds or 0.0)
    _frame_region(axes, attributes, sample, view)
    return drawn


def label_sound(axes: Axes, attributes: AtlasAttributes, seconds: bool = True) -> None:
    """Label mel bands, which are evenly spaced on the axis, in hertz, and frames in seconds."""
    frequencies = np.asarray(attributes.mel_frequencies)
    ticks = [hertz for hertz in HERTZ_TICKS if frequencies[0] <= hertz <= frequencies[-1]]
    axes.set_yticks(_bands(ticks, frequencies), [str(hertz) for hertz in ticks])
    axes.set_ylabel("frequency (Hz)", fontsize=8)
    axes.tick_params(labelsize=7)
    if seconds:
        axes.set_xlabel("time (s)", fontsize=8)


def _extent(attributes: AtlasAttributes, sample: Sample) -> tuple[float, float, float, float]:
    bands, frames = sample.spectrogram.shape
    return (0.0, frames * (attributes.frame_seconds or 0.0), -0.5, bands - 0.5)


def _bands(hertz: list[int] | list[float], frequencies: npt.NDArray[np.float64]) -> list[float]:
    """Return where frequencies lie on the axis, whose unit is one band."""
    bands: list[float] = np.interp(hertz, frequencies, np.arange(len(frequencies))).tolist()
    return bands


def _frame_region(axes: Axes, attributes: AtlasAttributes, sample: Sample, view: View) -> None:
    if view.query is None or np.isnan(sample.boxes[view.query]).any():
        return
    start, low, end, high = sample.boxes[view.query].tolist()
    frequencies = np.asarray(attributes.mel_frequencies)
    covered = np.flatnonzero((frequencies >= low) & (frequencies < high))
    if len(covered):
        frame_box(axes, start, end, covered[0] - 0.5, covered[-1] + 0.5)
