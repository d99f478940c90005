"""What was recorded of one forward pass of one `Attention`, and what can be made of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from attention_atlas.attention.differential import halves
from attention_atlas.attention.heads import share_heads, widen
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.row_blocks import DifferenceBlocks, RowBlocks
from attention_atlas.attention.scores import Score
from attention_atlas.attention.statistics import MapShape, Statistic, build_statistic
from attention_atlas.attention.windows import Grid


@dataclass(frozen=True)
class Copies:
    """The slices of one forward pass that were asked for; B, H and Q count only these.

    Attributes:
        query: [B, H, Q, E].
        key: [B, H, K, E].
        value: [B, H, K, Ev]; None unless gradients are recorded.
        mask: Its tensor is cut to the same slices.
        padding: [B, Q], True where a query is padding; None where none is known to be.
        positions: Where the queries stand among all, counted from 0.
        grid: Shape of the token grid; None where queries and keys are not the same tokens.
        parameters: Those of the score, cut to the heads.
        weight: Lambda of differential attention; None for one map.
    """

    query: Tensor
    key: Tensor
    value: Tensor | None
    mask: Mask
    padding: Tensor | None
    positions: Sequence[int]
    grid: Grid | None
    parameters: dict[str, Tensor]
    weight: Tensor | None


class Call:
    """Maps, their gradients and statistics, made of copies when they are looked at.

    B, H and Q count the samples, heads and queries asked for, in the order asked for.
    """

    def __init__(self, score: Score, copies: Copies) -> None:
        self._score = score
        self._copies = copies
        self._output_gradient: Tensor | None = None
        self.is_watched = False  # whether the gradient by its own output is brought here
        self.is_ambiguous = False  # whether the gradient may be that of another call

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q, K."""
        batch, heads, queries, _ = self._copies.query.shape
        return batch, heads, queries, self._copies.key.shape[2]

    @property
    def is_signed(self) -> bool:
        """Whether the map is a difference of two, which may be negative."""
        return self._copies.weight is not None

    @property
    def has_window(self) -> bool:
        """Whether a query sees the keys near it only."""
        return self._copies.mask.window is not None

    @cached_property
    def map(self) -> Tensor:
        """The map, [B, H, Q, K]: float32, or float64 if the model computed in that."""
        return self._spread(self._rows())

    @cached_property
    def band(self) -> Tensor:
        """The keys in the window of each query, [B, H, Q, W]; see `Window.neighbours`.

        Zero where the window reaches beyond the tokens. ValueError if there is no window.
        """
        window = self._copies.mask.window
        if window is None:
            raise ValueError("Only attention with a window has bands; look at its maps.")
        neighbours = window.neighbours(self._positions())
        band = self._zeros(*self.shape[:3], neighbours.shape[1])
        with torch.no_grad(), torch.autocast(band.device.type, enabled=False):
            for rows in self._rows():
                near = neighbours[rows.rows]
                # Beyond the keys of a block the map is zero.
                inside = (near >= rows.keys.start) & (near < rows.keys.stop)
                places = (near - rows.keys.start).masked_fill(~inside, 0)
                block = rows.of_map()
                weights = block.gather(-1, places.expand(*block.shape[:3], -1))
                band[rows.samples, :, rows.rows] = weights.masked_fill(~inside, 0)
        return band

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """The two maps [B, H, Q, K] of differential attention: `map` is A1 - lambda * A2.

        ValueError if there is one map only.
        """
        if not self.is_signed:
            raise ValueError("Only differential attention has two maps; look at `map`.")
        first, second = self._blocks()
        return self._spread(first), self._spread(second)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the scalar that was differentiated, by the map: [B, H, Q, K].

        dA = dO V', for the output O = A V of each head, by the last backward pass. It is what one
        more unit of a weight would change, also where a mask hides the key; beyond a window, where
        there is no weight, it is 0. RuntimeError if no backward pass came by.
        """
        if self._copies.value is None:
            raise RuntimeError("Gradients of maps are recorded by record(..., gradients=True).")
        if self._output_gradient is None:
            raise RuntimeError(
                "No gradient has come by: run the forward pass with gradients enabled, through "
                "parameters or inputs that require them, and call backward() on the logit or the "
                "loss that the maps are to be judged by."
            )
        if self.is_ambiguous:
            raise RuntimeError(
                "The gradient may be that of another pass: checkpointing repeated one of several "
                "with the same input. Use checkpoint(..., use_reentrant=False)."
            )
        value = share_heads(widen(self._copies.value), self.shape[1])
        with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
            gradient = widen(self._output_gradient) @ value.mT
        window = self._copies.mask.window
        if window is not None:
            tokens = torch.arange(self.shape[3], device=value.device)
            gradient = gradient.masked_fill(~window.shows(self._positions(), tokens), 0)
        return gradient

    @property
    def part_gradients(self) -> tuple[Tensor, Tensor]:
        """The gradients by the two maps of differential attention: dO V' and -lambda dO V'."""
        if self._copies.weight is None:
            raise ValueError("Only differential attention has two maps; look at `gradient`.")
        gradient = self.gradient
        return gradient, -self._copies.weight.to(gradient.dtype) * gradient

    def statistics(self, statistics: Sequence[str | Statistic]) -> list[Tensor]:
        """Compute statistics of all rows in one pass, with no Q x K tensor.

        `call.statistics(["entropy", "received"])` gives the two in this order.
        """
        built = [build_statistic(statistic) for statistic in statistics]
        shape = MapShape(
            self.shape,
            self._zeros(0),
            self._copies.positions,
            self._copies.grid,
            self._copies.padding,
        )
        results = [statistic.start(shape) for statistic in built]
        # Autocast would compute in half precision.
        with torch.no_grad(), torch.autocast(shape.like.device.type, enabled=False):
            for rows in self._rows():
                for statistic, result in zip(built, results, strict=True):
                    statistic.add(result, rows, shape)
        return results

    def is_of(self, query: Tensor, key: Tensor) -> bool:
        """Whether these are the queries and keys that were copied, bit for bit."""
        return torch.equal(self._copies.query, query) and torch.equal(self._copies.key, key)

    def take_output_gradient(self, gradient: Tensor) -> None:
        """Keep the gradient by the heads' outputs, cut to what was asked for."""
        self._output_gradient = gradient

    def _spread(self, blocks: RowBlocks | DifferenceBlocks) -> Tensor:
        spread = self._zeros(*self.shape)
        with torch.no_grad(), torch.autocast(spread.device.type, enabled=False):
            for rows in blocks:
                rows.of_map(out=spread[rows.samples, :, rows.rows, rows.keys])
        return spread

    def _rows(self) -> RowBlocks | DifferenceBlocks:
        blocks = self._blocks()
        if self._copies.weight is None:
            return blocks[0]
        first, second = blocks
        return DifferenceBlocks(first, second, self._copies.weight.to(self._zeros(0).dtype))

    @torch.no_grad()
    def _blocks(self) -> list[RowBlocks]:
        """The rows of the map, or of the two that differential attention subtracts."""
        copies = self._copies
        query, key = widen(copies.query), widen(copies.key)
        key = share_heads(key, query.shape[1])
        pairs = [(query, key)]
        if copies.weight is not None:
            pairs = list(zip(halves(query), halves(key), strict=True))
        mask = copies.mask
        if mask.tensor is not None:
            mask = mask._replace(tensor=widen(mask.tensor))
        score = self._frozen_score()
        with torch.autocast(query.device.type, enabled=False):
            return [RowBlocks(score, *pair, mask, copies.positions) for pair in pairs]

    def _frozen_score(self) -> Score:
        """The score as it was in the forward pass, for the heads asked for."""
        if not self._copies.parameters:
            return self._score
        score = copy.deepcopy(self._score)
        for name, parameter in score.named_parameters():
            parameter.requires_grad_(False)
            parameter.data = widen(self._copies.parameters[name])
        return score

    def _positions(self) -> Tensor:
        positions, device = list(self._copies.positions), self._copies.query.device
        return torch.tensor(positions, dtype=torch.long, device=device)

    def _zeros(self, *size: int) -> Tensor:
        return widen(self._copies.query.new_zeros(size))
