"""One recorded forward pass of attention: its map, gradient and statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_atlas.attention.differential import halves
from attention_atlas.attention.kernels import repeat_heads, widen
from attention_atlas.attention.masks import Mask
from attention_atlas.attention.positions import Grid
from attention_atlas.attention.row_blocks import RowBlocks, Rows, difference_rows
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values
from attention_atlas.attention.statistics import MapShape, Statistic, build_statistic
from attention_atlas.attention.windowed import Window


@dataclass(eq=False, repr=False)
class Call:
    """Copies of what one forward pass attended with; maps, gradients and statistics on access.

    B, H and Q count the samples, heads and queries recorded, in the order asked for. Fields
    without a description are as in `Pass`, of these samples, heads and queries.

    Attributes:
        score: The score of the module, with its current parameters.
        parameters: Parameters of the score in the forward pass, by name, of the heads recorded.
        value: None unless gradients are recorded.
        positions: Indexes of the queries among all, counted from 0.
        output_gradient: The gradient by the output of each head, from the last backward pass; None
            before one.
        is_watched: Whether a hook on its own output sets `output_gradient`.
        is_ambiguous: Whether the gradient may be that of another call.
    """

    score: Score
    parameters: dict[str, Tensor]
    query: Queries
    key: Keys
    value: Values | None
    mask: Mask
    window: Window | None
    padding: Bool[Tensor, "batch queries"] | None
    positions: Sequence[int]
    grid: Grid | None
    weight: Float[Tensor, ""] | None
    output_gradient: Outputs | None = None
    is_watched: bool = False
    is_ambiguous: bool = False

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
    def map(self) -> Map:
        """The map: float32, or float64 if the model computed in that."""
        return self._assemble(self._rows())

    @cached_property
    def band(self) -> Float[Tensor, "batch heads queries neighbours"]:
        """The weights of the keys in the window of each query, in the order of `neighbours`.

        Zero where the window reaches beyond the tokens. ValueError if there is no window.
        """
        if self.window is None:
            raise ValueError("Only attention with a window has bands; look at its maps.")
        neighbours = self.window.neighbours(self._query_indexes())
        band = self._zeros(*self.shape[:3], neighbours.shape[1])
        with _exact(band):
            for rows in self._rows():
                near = neighbours[rows.rows]
                # Beyond the keys of a block the map is zero.
                inside = (near >= rows.keys.start) & (near < rows.keys.stop)
                columns = (near - rows.keys.start).masked_fill(~inside, 0)
                block = rows.of_map()
                weights = block.gather(-1, columns.expand(*block.shape[:3], -1))
                band[rows.samples, :, rows.rows] = weights.masked_fill(~inside, 0)
        return band

    @cached_property
    def parts(self) -> tuple[Map, Map]:
        """The two maps of differential attention: `map` is A1 - lambda * A2.

        ValueError if there is one map only.
        """
        if not self.is_signed:
            raise ValueError("Only differential attention has two maps; look at `map`.")
        first, second = self._blocks()
        return self._assemble(first), self._assemble(second)

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
            raise RuntimeError(
                "No gradient has been recorded: run the forward pass with gradients enabled, "
                "through parameters or inputs that require them, and call backward() on the logit "
                "or loss whose gradient is wanted."
            )
        if self.is_ambiguous:
            raise RuntimeError(
                "The gradient may be that of another pass: checkpointing repeated one of several "
                "with the same input. Use checkpoint(..., use_reentrant=False)."
            )
        value = repeat_heads(widen(self.value), self.shape[1])
        with _exact(value):
            gradient = widen(self.output_gradient) @ value.mT
        if self.window is not None:
            tokens = torch.arange(self.shape[3], device=value.device)
            shown = self.window.shows(self._query_indexes(), tokens)
            gradient = gradient.masked_fill(~shown, 0)
        return gradient

    @property
    def part_gradients(self) -> tuple[Map, Map]:
        """The gradients by the two maps of differential attention: dO V' and -lambda dO V'."""
        if self.weight is None:
            raise ValueError("Only differential attention has two maps; look at `gradient`.")
        gradient = self.gradient
        return gradient, -self.weight.to(gradient.dtype) * gradient

    def statistics(self, statistics: Sequence[str | Statistic]) -> list[Float[Tensor, "batch ..."]]:
        """Compute statistics of all rows in one pass, with no Q x K tensor.

        `call.statistics(["entropy", "received"])` returns the two in this order.
        """
        built = [build_statistic(statistic) for statistic in statistics]
        shape = MapShape(self.shape, self._zeros(0), self.positions, self.grid, self.padding)
        results = [statistic.start(shape) for statistic in built]
        with _exact(shape.like):
            for rows in self._rows():
                for statistic, result in zip(built, results, strict=True):
                    statistic.add(result, rows, shape)
        return results

    def _assemble(self, blocks: Iterable[Rows]) -> Tensor:
        assembled = self._zeros(*self.shape)
        with _exact(assembled):
            for rows in blocks:
                rows.of_map(out=assembled[rows.samples, :, rows.rows, rows.keys])
        return assembled

    def _rows(self) -> Iterable[Rows]:
        blocks = self._blocks()
        if self.weight is None:
            return blocks[0]
        first, second = blocks
        return difference_rows(first, second, self.weight.to(self._zeros(0).dtype))

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
        with _exact(query):
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

    def _query_indexes(self) -> Tensor:
        return torch.tensor(list(self.positions), dtype=torch.long, device=self.query.device)

    def _zeros(self, *size: int) -> Tensor:
        return widen(self.query.new_zeros(size))


@contextmanager
def _exact(like: Tensor) -> Iterator[None]:
    """Compute without gradients, and without autocast, which would take half precision."""
    with torch.no_grad(), torch.autocast(like.device.type, enabled=False):
        yield
