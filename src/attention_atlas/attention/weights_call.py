"""A recorded pass of a model that gave its weights itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attention_atlas.attention.kernels import widen
from attention_atlas.attention.recorded_call import NO_GRADIENT, Call
from attention_atlas.attention.row_blocks import ROWS_PER_BLOCK, Rows
from attention_atlas.attention.shapes import Map


@dataclass(eq=False, repr=False, kw_only=True)
class WeightsCall(Call):
    """The weights of one forward pass, as the model computed them.

    A row may sum to less than 1, as beside an attention sink, and what is left counts as the weight
    of a null key.

    Attributes:
        weights: The weights, a copy.
        stores_gradient: Whether gradients are recorded.
        weights_gradient: The gradient by the weights, from the last backward pass.
    """

    weights: Map
    stores_gradient: bool
    weights_gradient: Map | None = field(default=None, init=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q, K."""
        batch, heads, queries, keys = self.weights.shape
        return batch, heads, queries, keys

    @property
    def gradient(self) -> Map:
        """The gradient of the scalar that was differentiated, by the map.

        RuntimeError before a backward pass, or if none was recorded.
        """
        if not self.stores_gradient:
            raise RuntimeError("Gradients of maps are recorded by record(..., gradients=True).")
        if self.weights_gradient is None:
            raise RuntimeError(NO_GRADIENT)
        return widen(self.weights_gradient)

    def rows(self) -> Iterator[Rows]:
        """Yield the rows of the map, a block at a time."""
        samples, _, queries, keys = self.shape
        for start in range(0, queries, ROWS_PER_BLOCK):
            rows = slice(start, min(start + ROWS_PER_BLOCK, queries))
            weights = widen(self.weights[:, :, rows])
            total = torch.ones_like(weights[..., :1])
            # What half precision rounds off is not the weight of a null key.
            tolerance = 10 * torch.finfo(self.weights.dtype).eps
            null = total - weights.sum(-1, keepdim=True)
            null = null.masked_fill(null < tolerance, 0)
            logs = weights.log().clamp_min_(torch.finfo(weights.dtype).min)
            dead = (weights == 0).all(-1, keepdim=True)
            null = null.masked_fill(dead, 0)
            yield Rows(slice(0, samples), rows, slice(0, keys), weights, logs, total, null)

    def zeros(self, *size: int) -> Tensor:
        """Return zeros of the dtype and on the device of the map."""
        return widen(self.weights.new_zeros(size))
