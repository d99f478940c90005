"""Statistics of the maps of one sample, and their moments over samples.

Shapes: L layers, H heads, Q queries, K keys.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.sample import stands_in_input

INPUT_UNITS = {
    "character_span": "characters",
    "patch_box": "pixels",
    "time_frequency_box": "seconds",
}


def token_positions(boxes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the position of each token on the grid of tokens, [K, axes]; NaN outside the input.

    Characters make a line, whose steps are tokens; boxes make a grid of rows and columns.
    """
    filled = stands_in_input(boxes)
    axes = 1 if boxes.shape[1] == 2 else 2
    positions = np.full((len(boxes), axes), np.nan, dtype=np.float32)
    if boxes.shape[1] == 2:
        positions[filled, 0] = np.flatnonzero(filled)
        return positions
    for axis in range(axes):
        _, step = np.unique(boxes[filled, axis], return_inverse=True)
        positions[filled, axis] = step
    return positions


def input_positions(boxes: npt.NDArray[Any], token_layout: str) -> npt.NDArray[np.float32]:
    """Return the centre of each token in the unit of `INPUT_UNITS`, [K, axes]; NaN if it has none.

    For a time-frequency box, the time only, because seconds and hertz do not add up.
    """
    axes = boxes.shape[1] // 2
    edges = boxes.astype(np.float32)
    centres: npt.NDArray[np.float32] = (edges[:, :axes] + edges[:, axes:]) / np.float32(2)
    if token_layout == "time_frequency_box":
        centres = centres[:, :1]
    centres[~stands_in_input(boxes)] = np.nan
    return centres


def distances_between(positions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the Euclidean distance of each pair of tokens, [K, K]; NaN where one is nowhere."""
    steps = positions[:, None] - positions[None]
    distance: npt.NDArray[np.float32] = np.sqrt(np.square(steps).sum(axis=-1))
    return distance


Maps = npt.NDArray[np.float32]
PerHead = npt.NDArray[np.float32]


def as_fractions(weights: npt.NDArray[Any], signed: bool) -> Maps:
    """Return weights [..., K] as float32 that are not negative.

    Signed weights become abs(A) / sum abs(A), as in the statistics of a recording; others stay as
    they are, so that a row with a null key still sums to 1 minus its weight.
    """
    fractions = weights.astype(np.float32)
    if not signed:
        return fractions
    np.abs(fractions, out=fractions)
    total = fractions.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    fractions /= total
    return fractions


def maximum(maps: Maps) -> PerHead:
    """Return the largest weight of a row, mean over the queries: [L, H, Q, K] to [L, H].

    It is the confidence of a head in Voita et al. 2019 (arXiv 1905.09418, section 4).
    """
    return _mean(maps.max(axis=-1, initial=0), axis=-1)


def entropy(maps: Maps) -> PerHead:
    """Return the entropy in nats of a row divided by its sum, [L, H, Q, K] to [L, H].

    Mean over the queries whose row has a sum; NaN if there is none. It lies between 0 and log K.
    """
    of_rows = entropy_of_fractions(maps)
    known = ~np.isnan(of_rows)
    total = np.where(known, of_rows, 0).sum(axis=-1)
    count = known.sum(axis=-1)
    mean: PerHead = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def entropy_of_fractions(rows: Maps) -> Maps:
    """Return the entropy in nats of each row divided by its sum, [..., K] to [...]; NaN for 0 / 0.

    -sum_j p_j log p_j, where p = A / sum A.
    """
    total = rows.sum(axis=-1, keepdims=True)
    fractions = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
    logs = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    of_rows: Maps = np.einsum("...k,...k->...", fractions, -logs)
    of_rows[total[..., 0] <= 0] = np.nan
    return of_rows


def sink_score(maps: Maps) -> PerHead:
    """Return the maximum attention that one key receives: [L, H, Q, K] to [L, H].

    max_k 1/Q sum_i A_ik, over all valid queries i and keys k. Gu et al. 2024 (arXiv 2410.10781,
    section 3) average the column of a key over the queries that may see it; under a causal mask
    these are those behind it, in an encoder they are all. Where they ask for the first key, we
    take the largest, since in an encoder any key may be the sink. It lies between 1/K and 1 where
    rows sum to 1. With a null key of mean weight n it lies between (1 - n)/K and 1 - n.
    """
    received: PerHead = _mean(maps, axis=-2).max(axis=-1, initial=0)
    return received


def distance(maps: Maps, distances: npt.NDArray[np.float32]) -> PerHead:
    """Return the expected distance of a query to the keys it attends to: [L, H, Q, K] to [L, H].

    sum_j A_ij |p_i - p_j| / sum_j A_ij over the keys j with a position, mean over the queries i
    with one (Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7). A query that attends to no
    such key counts as 0. NaN if no token has a position. Maps are not negative; distances [K, K]
    are in any unit, NaN if one of the two has no position.
    """
    placed = ~np.isnan(np.diagonal(distances))
    if not placed.any():
        return np.full(maps.shape[:2], np.nan, dtype=np.float32)
    if not placed.all():
        maps, distances = maps[:, :, placed][..., placed], distances[np.ix_(placed, placed)]
    expected = np.einsum("lhqk,qk->lhq", maps, distances)
    total = maps.sum(axis=-1)
    np.divide(expected, total, out=expected, where=total > 0)
    return _mean(expected, axis=-1)


def _mean(values: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Average; 0 over nothing, as for a sample without tokens."""
    mean: npt.NDArray[np.float32] = values.sum(axis=axis) / max(values.shape[axis], 1)
    return mean


class Moments:
    """Mean and deviation over samples of values of one shape, in one pass (Welford 1962).

    A value that is NaN does not count.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = np.zeros(shape, dtype=np.int64)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Add the values of one sample."""
        known = ~np.isnan(values)
        self.count += known
        step = np.where(known, values - self._mean, 0.0)
        self._mean += step / np.maximum(self.count, 1)
        self._squares += step * np.where(known, values - self._mean, 0.0)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean; NaN where nothing counted."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def deviation(self) -> npt.NDArray[np.float64]:
        """Standard deviation over samples (of the population: divided by their number)."""
        return np.where(self.count > 0, np.sqrt(self._squares / np.maximum(self.count, 1)), np.nan)
