"""A recorded pass whose rows are computed from copies of its queries and keys."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from attention_atlas.attention.differential import halves
from attention_atlas.attention.kernels import repeat_heads, widen
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.recorded_call import NO_GRADIENT, Call, exact
from attention_atlas.attention.row_blocks import RowBlocks, Rows, difference_rows
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values


@dataclass(eq=False, repr=False, kw_only=True)
class ScoredCall(Call):
    """Copies of what one forward pass attended with.

    Attributes:
        score: The score of the module, with its current parameters.
        parameters: Parameters of the score in the forward pass, by name, of the heads recorded.
        value: None unless gradients are recorded.
        output_gradient: The gradient by the output of each head, from the last backward pass; None
            before one.
        is_ambiguous: Whether the gradient may be that of another call.
    """

    score: Score
    parameters: dict[str, Tensor]
    query: Queries
    key: Keys
    value: Values | None
    mask: Mask
    weight: Float[Tensor, ""] | None
    output_gradient: Outputs | None = field(default=None, init=False)
    is_ambiguous: bool = field(default=False, init=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q, K."""
        batch, heads, queries, _ = self.query.shape
        return batch, heads, queries, self.key.shape[2]

    @property
    def is_signed(self) -> bool:
        """Whether the map is a difference of two, which may be negative."""
        return self.weight is not None

    @cached_property
    def parts(self) -> tuple[Map, Map]:
        """The two maps of differential attention: `map` is A1 - lambda * A2.

        ValueError if there is one map only.
        """
        if not self.is_signed:
            return super().parts
        first, second = self._blocks()
        return self.assemble(first), self.assemble(second)

    @property
    def gradient(self) -> Map:
        """The gradient of the scalar that was differentiated, by the map.

        dA = dO V', for the output O = A V of each head, from the last backward pass. It is the
        effect of one more unit of a weight, also where a mask hides the key; beyond a window, where
        there is no weight, it is 0. RuntimeError before a backward pass.
        """
        if self.value is None:
            raise RuntimeError("Gradients of maps are recorded by record(..., gradients=True).")
        if self.output_gradient is None:
            raise RuntimeError(NO_GRADIENT)
        if self.is_ambiguous:
            raise RuntimeError(
                "The gradient may be that of another pass: checkpointing repeated one of several "
                "with the same input. Use checkpoint(..., use_reentrant=False)."
            )
        value = repeat_heads(widen(self.value), self.shape[1])
        with exact(value):
            gradient = widen(self.output_gradient) @ value.mT
        if self.window is not None:
            tokens = torch.arange(self.shape[3], device=value.device)
            shown = self.window.shows(self.query_indexes(), tokens)
            gradient = gradient.masked_fill(~shown, 0)
        return gradient

    @property
    def part_gradients(self) -> tuple[Map, Map]:
        """The gradients by the two maps of differential attention: dO V' and -lambda dO V'."""
        if self.weight is None:
            return super().part_gradients
        gradient = self.gradient
        return gradient, -self.weight.to(gradient.dtype) * gradient

    def rows(self) -> Iterable[Rows]:
        """Return the rows of the map, a block at a time."""
        blocks = self._blocks()
        if self.weight is None:
            return blocks[0]
        first, second = blocks
        return difference_rows(first, second, self.weight.to(self.zeros(0).dtype))

    def zeros(self, *size: int) -> Tensor:
        """Return zeros of the dtype and on the device of the map."""
        return widen(self.query.new_zeros(size))

    def _blocks(self) -> list[RowBlocks]:
        """Return the rows of the map, or of the two that differential attention subtracts."""
        query, key = widen(self.query), widen(self.key)
        key = repeat_heads(key, query.shape[1])
        pairs = [(query, key)]
        if self.weight is not None:
            pairs = list(zip(halves(query), halves(key), strict=True))
        mask = self.mask
        if mask.tensor is not None:
            mask = mask._replace(tensor=widen(mask.tensor))
        score = self._frozen_score()
        with exact(query):
            return [RowBlocks(score, *pair, mask, self.window, self.positions) for pair in pairs]

    def _frozen_score(self) -> Score:
        """Return the score as it was in the forward pass, for the heads recorded."""
        if not self.parameters:
            return self.score
        score = copy.deepcopy(self.score)
        for name, parameter in score.named_parameters():
            parameter.requires_grad_(False)
            parameter.data = widen(self.parameters[name])
        return score
