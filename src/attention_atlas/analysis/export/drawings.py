"""Drawings of a web page: shaded text, and pictures in SVG with their axes."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from attention_atlas.analysis.colours import (
    LIGHT_TO_DARK,
    colour_of,
    colours_of,
    is_dark,
    palette_of,
)
from attention_atlas.analysis.token_weights import (
    HERTZ_TICKS,
    View,
    darkest_of,
    name_of,
    over_image,
    over_spectrogram,
    resample,
    shown_text,
)
from attention_atlas.atlas import AtlasAttributes, Sample

WIDTHS = {"patch_box": 280, "time_frequency_box": 560}  # pixels of a picture on the page
SOUND_HEIGHT, MAP_WIDTH = 150, 280
MAX_CELLS = 256  # of a map along each axis; a larger one is averaged
MARGIN = (58, 38)  # pixels left of a picture and below it, for its axes
FEW = 3  # tokens that the words for a picture name

Ticks = Sequence[tuple[float, str]]
"""Positions along an axis, from 0 to 1, with their labels."""


def draw_input(attributes: AtlasAttributes, sample: Sample) -> str:
    """Draw the image or the spectrogram as it is."""
    if attributes.token_layout == "patch_box":
        return _axes_in_pixels(sample, np.squeeze(sample.image), f"The image {sample.sample_id}")
    values = sample.spectrogram.astype(np.float64)
    grey = colours_of((values - values.min()) / (np.ptp(values) or 1.0), LIGHT_TO_DARK)
    words = f"Log-mel spectrogram of {sample.sample_id}"
    return _axes_in_hertz(attributes, sample, grey[::-1], words)


def draw_weights(attributes: AtlasAttributes, sample: Sample, view: View) -> str:
    """Draw a sample with the weights of a view."""
    if attributes.token_layout == "character_span":
        return _shaded_text(sample, view)
    words = f"{view.description}; {_describe(sample, view)}"
    if attributes.token_layout == "patch_box":
        return _axes_in_pixels(sample, _heat(over_image(sample, view.weights), view), words)
    heat = over_spectrogram(sample, view.weights, attributes)[::-1]
    return _axes_in_hertz(attributes, sample, _heat(heat, view), words)


def draw_map(sample: Sample, layer: int, head: int) -> str:
    """Draw the map of a head [Q, K]: rows are queries, columns are keys."""
    rows = sample.maps[layer, head].astype(np.float64)
    size = min(len(rows), MAX_CELLS)
    shown = resample(rows, size, size)
    colours = colours_of(shown / darkest_of(rows), palette_of(sample.signed))
    last = str(len(rows) - 1)
    ticks = [(0.0, "0"), (1.0, last)]
    words = f"Map of layer {layer}, head {head}: {len(rows)} queries by {len(rows)} keys"
    return _svg(colours, (MAP_WIDTH, MAP_WIDTH), ticks, ticks, "key", "query", words)


def _shaded_text(sample: Sample, view: View) -> str:
    pieces = []
    for piece, token in shown_text(sample):
        if token is None:
            pieces.append(escape(piece))
            continue
        weight = float(view.weights[token])
        colour = colour_of(weight / view.darkest, palette_of(view.signed))
        ink = "#fff" if is_dark(colour) else "#000"
        pieces.append(
            f'<span style="background: #{bytes(colour).hex()}; color: {ink}" '
            f'title="token {token}: {weight:z.4f}">{escape(piece)}</span>'
        )
    return f'<p class="text">{"".join(pieces)}</p>'


def _describe(sample: Sample, view: View) -> str:
    """Name the tokens with the largest weights, for readers who do not see the picture."""
    tokens = sample.tokens
    largest = np.argsort(-np.abs(view.weights), kind="stable")[:FEW].tolist()
    named = [f"{name_of(tokens[token])} ({view.weights[token]:z.3f})" for token in largest]
    return f"most on {', '.join(named)}"


def _heat(values: npt.NDArray[Any], view: View) -> npt.NDArray[np.uint8]:
    """Return the colours of weights over an input, transparent where no token is."""
    colours = colours_of(values / view.darkest, palette_of(view.signed))
    opaque = np.where(np.isnan(values), 0, 255).astype(np.uint8)
    return np.concatenate([colours, opaque[..., None]], axis=-1)


def _axes_in_pixels(sample: Sample, pixels: npt.NDArray[np.uint8], words: str) -> str:
    height, width = sample.image.shape[:2]
    across = WIDTHS["patch_box"]
    columns, rows = (
        [(part, f"{part * length:g}") for part in (0.0, 0.5, 1.0)] for length in (width, height)
    )
    size = (across, round(across * height / width))
    return _svg(pixels, size, columns, rows, "column (pixels)", "row (pixels)", words)


def _axes_in_hertz(
    attributes: AtlasAttributes, sample: Sample, pixels: npt.NDArray[np.uint8], words: str
) -> str:
    bands, frames = sample.spectrogram.shape
    seconds = frames * (attributes.frame_seconds or 0.0)
    frequencies = np.asarray(attributes.mel_frequencies)
    hertz = [tick for tick in HERTZ_TICKS if frequencies[0] <= tick <= frequencies[-1]]
    positions = (np.interp(hertz, frequencies, np.arange(bands)) + 0.5) / bands
    rows = [(1 - float(at), str(tick)) for at, tick in zip(positions, hertz, strict=True)]
    columns = [(part, f"{part * seconds:.2f}") for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    size = (WIDTHS["time_frequency_box"], SOUND_HEIGHT)
    return _svg(pixels, size, columns, rows, "time (s)", "frequency (Hz)", words)


def _svg(
    pixels: npt.NDArray[np.uint8],
    size: tuple[int, int],
    columns: Ticks,
    rows: Ticks,
    across: str,
    down: str,
    words: str,
) -> str:
    """Draw pixels [height, width] or [height, width, channels] within labelled axes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode()
    (width, height), (left, below) = size, MARGIN
    top, right = 10, 20
    ticks = [
        f'<text x="{left + at * width:.1f}" y="{top + height + 15}" text-anchor="middle">'
        f"{label}</text>"
        for at, label in columns
    ]
    ticks += [
        f'<text x="{left - 6}" y="{top + at * height + 4:.1f}" text-anchor="end">{label}</text>'
        for at, label in rows
    ]
    middle = top + height / 2
    return (
        f'<svg role="img" aria-label="{escape(words)}" width="{left + width + right}" '
        f'height="{top + height + below}" '
        f'viewBox="0 0 {left + width + right} {top + height + below}" font-size="11">'
        f"<title>{escape(words)}</title>"
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" '
        'preserveAspectRatio="none" style="image-rendering: pixelated" '
        f'href="data:image/png;base64,{encoded}"/>'
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>'
        f"{''.join(ticks)}"
        f'<text x="{left + width / 2}" y="{top + height + 32}" text-anchor="middle">{across}</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{down}</text></svg>"
    )
