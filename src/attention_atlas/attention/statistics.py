"""Statistics of whole maps, computed without storing a map.

All statistics asked for are computed in one pass over blocks of rows, so that no Q x K tensor is
ever made. Those of a signed map are of its magnitudes, divided by their sum: entropy and distance
are not defined for negative weights.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_atlas.attention.positions import Grid, token_positions
from attention_atlas.attention.row_blocks import Rows


@dataclass(frozen=True)
class MapShape:
    """Properties of the map that a statistic is computed from.

    Attributes:
        size: B, H, Q, K of the rows that are recorded.
        like: A tensor of the dtype and on the device of the results.
        positions: Indexes of the Q queries among the tokens, counted from 0.
        grid: Shape of the token grid; None if queries and keys are not the same tokens.
        padding: True where a query is padding; None if none is known to be.
    """

    size: tuple[int, int, int, int]
    like: Tensor
    positions: Sequence[int]
    grid: Grid | None
    padding: Bool[Tensor, "batch queries"] | None


class Statistic(ABC):
    """A number of each row, or of each key, of a map."""

    name: ClassVar[str]

    @abstractmethod
    def start(self, shape: MapShape) -> Float[Tensor, "batch *results"]:
        """Return the initial tensor of the results, before any row."""

    @abstractmethod
    def add(self, result: Float[Tensor, "batch *results"], rows: Rows, shape: MapShape) -> None:
        """Update the results in place with a block of rows."""


class _PerRow(Statistic):
    """A number per row: [B, H, Q]."""

    def start(self, shape: MapShape) -> Float[Tensor, "batch heads queries"]:
        return shape.like.new_zeros(shape.size[:3])

    def add(
        self, result: Float[Tensor, "batch heads queries"], rows: Rows, shape: MapShape
    ) -> None:
        result[rows.samples, :, rows.rows] = self.per_row(rows, shape)

    @abstractmethod
    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the number of each row."""


class Entropy(_PerRow):
    """-sum_j A_ij log A_ij of each row, in nats: [B, H, Q].

    It is 0 if all weight is on one key, log(K) if the weights are equal, and 0 by convention for a
    fully masked row. The null key is left out of the sum.
    """

    name = "entropy"

    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the entropies, with A = weights / total and log A = logs - log total."""
        total = rows.total.squeeze(-1)
        row_sum = 1 if rows.null is None else rows.weights.sum(-1) / total
        entropy: Tensor = total.log() * row_sum
        peaked: Tensor = torch.linalg.vecdot(rows.weights, rows.logs) / total
        return entropy - peaked


class Maximum(_PerRow):
    """The largest weight of each row: [B, H, Q]."""

    name = "maximum"

    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the largest weights."""
        return rows.weights.amax(-1) / rows.total.squeeze(-1)


class SinkShare(_PerRow):
    """The fraction of each row on some keys, by default the first: [B, H, Q].

    Args:
        keys: Indexes of the keys, from the end if negative.
    """

    name = "sink_share"

    def __init__(self, keys: Sequence[int] = (0,)) -> None:
        self.keys = tuple(keys)

    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the fractions; ValueError if there is no such key."""
        num_keys = shape.size[3]
        weight = torch.zeros_like(rows.total.squeeze(-1))
        for key in self.keys:
            if not -num_keys <= key < num_keys:
                raise ValueError(f"There is no key {key} for sink_share: there are {num_keys}.")
            column = key % num_keys - rows.keys.start
            if 0 <= column < rows.weights.shape[-1]:
                weight += rows.weights[..., column]
        return weight / rows.total.squeeze(-1)


class NullShare(_PerRow):
    """The fraction of each row on the null key, 1 minus the sum of the row: [B, H, Q]."""

    name = "null_share"

    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the fractions; 0 if there is no null key."""
        if rows.null is None:
            return torch.zeros_like(rows.total.squeeze(-1))
        return (rows.null / rows.total).squeeze(-1)


class Distance(_PerRow):
    """The expected distance of a query to the keys that it attends to: [B, H, Q].

    sum_j A_ij |p_i - p_j| / sum_j A_ij, over the keys that have a position; the distance is
    Euclidean on a grid (Dosovitskiy et al. 2021, figure 7). NaN if the query has no position (a CLS
    token, the learned query of a readout), 0 if it attends to no key.

    Args:
        positions: The position of each token, in any unit, NaN for none; by default in
            steps of the module's grid.
    """

    name = "distance"

    def __init__(self, positions: Float[Tensor, "keys axes"] | None = None) -> None:
        self.positions = positions

    def per_row(self, rows: Rows, shape: MapShape) -> Float[Tensor, "samples heads rows"]:
        """Return the distances; ValueError if there is not one position for each key."""
        keys = self._positions(shape)
        if keys is None:
            return torch.full_like(rows.total.squeeze(-1), torch.nan)
        queries = keys[torch.tensor(shape.positions[rows.rows], device=keys.device)]
        keys = keys[rows.keys]
        steps = queries.nan_to_num()[:, None] - keys.nan_to_num()
        distance = steps.square().sum(-1).sqrt()
        on_grid = ~keys.isnan().any(-1)
        if bool(on_grid.all()):
            # 1 minus the weight of the null key would lose precision where that is nearly 1.
            total = rows.total.squeeze(-1) if rows.null is None else rows.weights.sum(-1)
        else:
            total = rows.weights @ on_grid.to(rows.weights.dtype)
            distance *= on_grid
        expected: Tensor = torch.linalg.vecdot(rows.weights, distance)
        expected = expected / total.clamp_min(torch.finfo(total.dtype).tiny)
        return expected.masked_fill(queries.isnan().any(-1), torch.nan)

    def _positions(self, shape: MapShape) -> Tensor | None:
        num_keys = shape.size[3]
        if self.positions is not None:
            if self.positions.dim() != 2 or len(self.positions) != num_keys:
                raise ValueError(
                    f"The positions of distance have the shape {tuple(self.positions.shape)}; "
                    f"they must be [{num_keys}, axes]."
                )
            return self.positions.to(shape.like)
        if shape.grid is None:
            return None
        return token_positions(shape.grid, num_keys, shape.like.device).to(shape.like.dtype)


class Received(Statistic):
    """The attention that each key receives, a column sum over the valid queries: [B, H, K]."""

    name = "received"

    def start(self, shape: MapShape) -> Float[Tensor, "batch heads keys"]:
        """Return zeros."""
        batch, heads, _, keys = shape.size
        return shape.like.new_zeros(batch, heads, keys)

    def add(self, result: Float[Tensor, "batch heads keys"], rows: Rows, shape: MapShape) -> None:
        """Add the sums over these rows."""
        factors = rows.total.reciprocal()
        if shape.padding is not None:
            padding = shape.padding[rows.samples, rows.rows]
            factors = factors.masked_fill(padding[:, None, :, None], 0)
        result[rows.samples, :, rows.keys] += (factors.mT @ rows.weights).squeeze(2)


class Rollout(Statistic):
    """The contribution of each token to the rows of the layer above: [B, K].

    r <- 0.5 r + 0.5 * mean_h A'r (Abnar and Zuidema 2020, arXiv 2005.00928), from the last layer
    to the first; it starts with the row of the readout. `relevance` [B, Q] is the r of the layer
    above. If queries and keys are not the same tokens, no residual connection passes the map, so r
    is mean_h A'r.
    """

    name = "rollout"

    def __init__(self, relevance: Float[Tensor, "batch queries"] | None = None) -> None:
        self.relevance = relevance

    def start(self, shape: MapShape) -> Float[Tensor, "batch keys"]:
        """Return the half of the residual connection."""
        if shape.grid is None:
            return shape.like.new_zeros(shape.size[0], shape.size[3])
        return 0.5 * self._relevance(shape)

    def add(self, result: Float[Tensor, "batch keys"], rows: Rows, shape: MapShape) -> None:
        """Add the contribution through these rows."""
        attended = 1.0 if shape.grid is None else 0.5
        relevance = self._relevance(shape)[rows.samples, None, rows.rows, None]
        factors = attended * relevance / rows.total
        result[rows.samples, rows.keys] += (factors.mT @ rows.weights).squeeze(2).mean(1)

    def _relevance(self, shape: MapShape) -> Tensor:
        """Return the relevance; by default 1 for the first query (readout or CLS token)."""
        if self.relevance is not None:
            return self.relevance.to(shape.like)
        first = shape.like.new_zeros(shape.size[0], shape.size[2])
        first[:, :1] = 1
        return first


STATISTICS: dict[str, Callable[[], Statistic]] = {
    statistic.name: statistic
    for statistic in (Entropy, Received, Maximum, Distance, SinkShare, NullShare, Rollout)
}


def build_statistic(statistic: str | Statistic) -> Statistic:
    """Return the statistic of that name (a key of `STATISTICS`); ValueError if there is none."""
    if isinstance(statistic, Statistic):
        return statistic
    if statistic not in STATISTICS:
        close = difflib.get_close_matches(statistic, STATISTICS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"There is no statistic {statistic!r}; there are {', '.join(STATISTICS)}.{hint}"
        )
    return STATISTICS[statistic]()
