"""Pick the weights of one sample that a picture shows, and spread them over its input.

Letters of shapes: K tokens, and the height and width, or mel bands and frames, of the input.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas import AtlasAttributes, Sample
from attention_atlas.errors import InputError, counted

ATTENTION = "attention weight"
OUTSIDE = "outside the input"

HERTZ_TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)
"""Frequencies that label the axis of a spectrogram, as far as it reaches."""


@dataclass(frozen=True)
class View:
    """One weight per token, and a description of their source.

    Attributes:
        weights: [K], in the units of the map.
        description: Such as `readout, mean of 4 heads`.
        null_share: Weight of the null key, on top of the weights; None without a null key.
        signed: Whether weights of this mechanism may be negative.
        query: Token whose row it is; None for the readout and for a mean of rows.
        unit: What the weights are, for the label of a scale.
    """

    weights: npt.NDArray[np.float32]
    description: str
    null_share: float | None = None
    signed: bool = False
    query: int | None = None
    unit: str = ATTENTION

    @property
    def is_attention(self) -> bool:
        """Whether the weights are attention, and not another attribution."""
        return self.unit == ATTENTION

    @property
    def darkest(self) -> float:
        """Weight that has the darkest colour: see `darkest_of`; the largest of an attribution."""
        if self.is_attention:
            return darkest_of(self.weights)
        return float(np.abs(self.weights).max(initial=0.0)) or 1.0

    @property
    def notes(self) -> list[str]:
        """Remarks on weights that do not sum to 1."""
        notes = [] if self.null_share is None else [f"null key: {self.null_share:.2f}"]
        if self.signed and self.is_attention:
            notes.append(f"signed weights, which sum to {self.weights.sum():z.2f}")
        return notes


def darkest_of(weights: npt.NDArray[Any]) -> float:
    """Return the weight that has the darkest colour, for rows [..., K]; zero has the lightest.

    Signed weights have a second half of the scale, down to minus this weight. It is at least twice
    the uniform weight, so that a map without a peak has a medium colour everywhere and is not
    mistaken for attention to everything.
    """
    highest = float(np.abs(weights).max(initial=0.0))
    return max(highest, 2 / max(int(weights.shape[-1]), 1))


def pick(
    sample: Sample, layer: int | None = None, head: int | None = None, query: int | None = None
) -> View:
    """Return the readout row of a sample, or what one layer attends to.

    Args:
        sample: To look at.
        layer: None for the readout, or for the last layer where the readout has no attention;
            else counted from 0, or from the end if negative.
        head: None for the mean of the heads.
        query: Row of the layer's map; None for the mean of the rows, which is the attention that
            each token receives.

    Raises:
        InputError: If there is no such layer, head or query, the sample has no full maps, or a
            weight is NaN or infinite.
    """
    if layer is None and len(sample.readout):
        if query is not None:
            raise InputError("The readout has one query only: give a layer too to choose a query.")
        rows, null_share, source = sample.readout, sample.readout_null_share, "readout"
    else:
        rows, null_share, source = _rows_of_layer(sample, -1 if layer is None else layer, query)
        query = None if query is None else query % sample.length
        if layer is None:
            source = f"no attention in the readout, so {source}"
    heads, which = _choose_heads(len(rows), head)
    weights = rows[heads].astype(np.float32).mean(axis=0)
    _check_finite(sample, weights, source)
    return View(
        weights,
        f"{source}, {which}",
        None if null_share is None else float(null_share[heads].mean()),
        sample.signed,
        query,
    )


def pick_map(
    sample: Sample, layer: int, head: int | None = None
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the map [Q, K] of a layer and a head, or the mean of the heads, with a description.

    Raises:
        InputError: If there is no such layer or head, the sample has no full maps, or a weight is
            NaN or infinite.
    """
    maps, layer = _maps_of_layer(sample, layer)
    heads, which = _choose_heads(len(maps), head)
    weights = maps[heads].astype(np.float32).mean(axis=0)
    source = f"layer {layer}, {which}"
    _check_finite(sample, weights, source)
    return weights, source


def _choose_heads(count: int, head: int | None) -> tuple[slice, str]:
    """Return one head or all, and what they are called."""
    if head is None:
        return slice(None), "its one head" if count == 1 else f"mean of {count} heads"
    if not -count <= head < count:
        raise InputError(f"There is no head {head}: {_choices(count, 'head')}.")
    head %= count
    return slice(head, head + 1), f"head {head}"


def _check_finite(sample: Sample, weights: npt.NDArray[Any], source: str) -> None:
    if not np.isfinite(weights).all():
        raise InputError(f"Sample {sample.sample_id!r} has weights that are not numbers: {source}.")


def _maps_of_layer(sample: Sample, layer: int) -> tuple[npt.NDArray[Any], int]:
    """Return the maps [H, Q, K] of a layer, and the layer counted from 0."""
    if not len(sample.entropy):
        raise InputError("This run has no map of a layer to show: its encoder has no layers.")
    maps = sample.maps
    if not -len(maps) <= layer < len(maps):
        raise InputError(f"There is no layer {layer}: {_choices(len(maps), 'layer')}.")
    return maps[layer], layer % len(maps)


def _rows_of_layer(
    sample: Sample, layer: int, query: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32] | None, str]:
    """Return one row per head [H, K] of a layer, weights of the null key [H], and a description."""
    maps, layer = _maps_of_layer(sample, layer)
    if query is None:
        rows = maps.astype(np.float32).mean(axis=1)
        null_share = None if sample.null_share is None else sample.null_share[layer]
        return rows, null_share, f"layer {layer}, attention received (mean of queries)"
    if not -sample.length <= query < sample.length:
        raise InputError(f"There is no query {query}: {_choices(sample.length, 'queries')}.")
    rows = maps[:, query].astype(np.float32)
    null_share = None if sample.null_share is None else np.maximum(1 - rows.sum(axis=1), 0)
    return rows, null_share, f"layer {layer}, query {query % sample.length}"


def _choices(count: int, noun: str) -> str:
    return f"this sample has {counted(count, noun)}, counted from 0"


def over_image(sample: Sample, weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Spread weights [K] over the pixels [height, width] of an image.

    A pixel has the mean weight of the patches that cover it, and NaN where none does.
    """
    height, width = sample.image.shape[:2]
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    top, left, bottom, right = sample.boxes.T
    return _mean_of_boxes(weights, rows, columns, (top, bottom), (left, right))


def over_spectrogram(
    sample: Sample, weights: npt.NDArray[Any], attributes: AtlasAttributes
) -> npt.NDArray[np.float64]:
    """Spread weights [K] over the bands and frames [mels, frames] of a spectrogram."""
    frequencies = np.asarray(attributes.mel_frequencies)
    step = attributes.frame_seconds or 0.0
    seconds = (np.arange(sample.spectrogram.shape[1]) + 0.5) * step
    start, low, end, high = sample.boxes.T
    return _mean_of_boxes(weights, frequencies, seconds, (low, high), (start, end))


def _mean_of_boxes(
    weights: npt.NDArray[Any],
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    row_range: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    column_range: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> npt.NDArray[np.float64]:
    """Average the weights of the boxes over each point of a grid of rows and columns."""
    in_row = (rows[:, None] >= row_range[0]) & (rows[:, None] < row_range[1])
    in_column = (columns[:, None] >= column_range[0]) & (columns[:, None] < column_range[1])
    rows_in, columns_in = in_row.astype(np.float64), in_column.astype(np.float64)
    count = rows_in @ columns_in.T
    total = (rows_in * weights) @ columns_in.T
    mean = np.full(count.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def resample(values: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float64]:
    """Average a grid into fewer cells, or repeat its cells into more."""
    return _resample_rows(_resample_rows(values, height).T, width).T


def _resample_rows(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    edges = np.arange(count + 1) * len(values) / count
    starts = np.minimum(edges[:-1].astype(int), len(values) - 1)
    stops = np.maximum(edges[1:].astype(int), starts + 1)
    return np.stack([values[a:b].mean(axis=0) for a, b in zip(starts, stops, strict=True)])


def shown_text(sample: Sample) -> list[tuple[str, int | None]]:
    """Cut the part of the text that the tokens cover into (piece, token number or None).

    Pieces without a token are the text between two tokens. Line breaks and other characters that
    cannot be printed become spaces.
    """
    text, pieces, position = sample.text, list[tuple[str, int | None]](), None
    for token, (start, end) in enumerate(sample.boxes.tolist()):
        if end <= start:  # a special token covers no character
            continue
        if position is not None and start > position:
            pieces.append((text[position:start], None))
        # Tokens of one character's bytes have the same span: it is shown once.
        begin = start if position is None else max(start, position)
        if end > begin:
            pieces.append((text[begin:end], token))
        position = end if position is None else max(position, end)
    return [(printable(piece), token) for piece, token in pieces]


def name_of(token: str) -> str:
    """Return the name of a token of `Sample.tokens` that does not depend on its position."""
    return printable(token) or f"({OUTSIDE})"


def printable(text: str) -> str:
    """Return the text with a space for each unprintable character, such as a line break."""
    return "".join(each if each.isprintable() else " " for each in text)
