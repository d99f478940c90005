"""A map as a figure: queries by keys, with their tokens on the axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attention_atlas.analysis.figures.style import new_figure, scale_of_rows
from attention_atlas.analysis.token_weights import ATTENTION, name_of

MAX_LABELS = 80  # tokens of an axis; of more, positions are numbered
INCHES = 0.22  # of a labelled token
MARGIN = 2.2
LARGEST = 20.0


def attention_map(
    weights: npt.ArrayLike,
    query_tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    *,
    title: str = "",
    signed: bool | None = None,
) -> Figure:
    """Draw a map of attention.

    ```
    figure = attention_map(recording.maps[name][0, 2], tokens)
    figure.savefig("map.png")
    ```

    Args:
        weights: [Q, K], an array or a tensor.
        query_tokens: Q texts; without them positions are numbered.
        key_tokens: K texts; by default those of the queries, if there are as many.
        title: Above the map.
        signed: Whether weights may be negative; by default, whether any is.

    Returns:
        A figure of matplotlib, which a notebook shows; colours end at the largest weight, but not
        below twice the uniform one.

    Raises:
        ValueError: It is not a map, or has another number of tokens.
    """
    values = _as_array(weights)
    num_queries, num_keys = values.shape
    if key_tokens is None and query_tokens is not None and num_keys == num_queries:
        key_tokens = query_tokens
    for name, tokens, count in (
        ("query", query_tokens, num_queries),
        ("key", key_tokens, num_keys),
    ):
        if tokens is not None and len(tokens) != count:
            raise ValueError(
                f"There are {len(tokens)} {name}_tokens; the map {values.shape} needs {count}."
            )
    width, height = _inches(key_tokens, num_keys), _inches(query_tokens, num_queries)
    figure = new_figure(MARGIN + 1 + width, MARGIN + height)
    axes = figure.add_subplot()
    is_signed = bool((values < 0).any()) if signed is None else signed
    drawn = axes.imshow(
        values, aspect="auto", interpolation="nearest", **scale_of_rows(values, is_signed)
    )
    _label(axes.xaxis, key_tokens, num_keys, rotation=90)
    _label(axes.yaxis, query_tokens, num_queries)
    axes.set(xlabel="key", ylabel="query")
    axes.set_title(title, parse_math=False)
    figure.colorbar(drawn, ax=axes, label=ATTENTION, fraction=0.05)
    return figure


def _as_array(weights: Any) -> npt.NDArray[np.float64]:
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().double()
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"The weights have the shape {values.shape}; they must be [Q, K], such as one head of "
            "one sample: maps[sample, head]."
        )
    if not np.isfinite(values).all():
        raise ValueError("The weights hold NaN or infinity, so they are no map.")
    return values


def _inches(tokens: Sequence[str] | None, count: int) -> float:
    is_labelled = tokens is not None and count <= MAX_LABELS
    return min(max(INCHES * count if is_labelled else 4.0, 1.0), LARGEST)


def _label(axis: Axis, tokens: Sequence[str] | None, count: int, rotation: float = 0) -> None:
    if tokens is None or count > MAX_LABELS:
        axis.set_major_locator(MaxNLocator(integer=True))
        return
    names = [name_of(str(token)) for token in tokens]
    axis.set_ticks(range(count), names, fontsize=8, rotation=rotation, parse_math=False)
