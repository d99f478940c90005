"""One recorded forward pass of attention: its map, gradient and statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_atlas.attention.positions import Grid
from attention_atlas.attention.row_blocks import Rows
from attention_atlas.attention.shapes import Map
from attention_atlas.attention.statistics import MapShape, Statistic, build_statistic
from attention_atlas.attention.windowed import Window

NO_GRADIENT = (
    "No gradient has been recorded: run the forward pass with gradients enabled, through "
    "parameters or inputs that require them, and call backward() on the logit or loss whose "
    "gradient is wanted."
)


@dataclass(eq=False, repr=False, kw_only=True)
class Call(ABC):
    """One forward pass of attention; its map, gradient and statistics on access.

    B, H and Q count the samples, heads and queries recorded, in the order asked for. Fields
    without a description are as in `Pass`, of these samples, heads and queries.

    Attributes:
        positions: Indexes of the queries among all, counted from 0.
        source: What computed the weights, if the model gave them itself; None if rows are computed
            from queries and keys.
        is_watched: Whether a hook on its own output sets the gradient.
    """

    positions: Sequence[int]
    padding: Bool[Tensor, "batch queries"] | None
    grid: Grid | None
    window: Window | None = None
    source: str | None = None
    is_watched: bool = field(default=False, init=False)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, Q, K."""

    @property
    @abstractmethod
    def gradient(self) -> Map:
        """The gradient of the scalar that was differentiated, by the map.

        RuntimeError before a backward pass, or if none was recorded.
        """

    @property
    def is_signed(self) -> bool:
        """Whether the map is a difference of two, which may be negative."""
        return False

    @cached_property
    def map(self) -> Map:
        """The map: float32, or float64 if the model computed in that."""
        return self.assemble(self.rows())

    @cached_property
    def band(self) -> Float[Tensor, "batch heads queries neighbours"]:
        """The weights of the keys in the window of each query, in the order of `neighbours`.

        Zero where the window reaches beyond the tokens. ValueError if there is no window.
        """
        if self.window is None:
            raise ValueError("Only attention with a window has bands; look at its maps.")
        neighbours = self.window.neighbours(self.query_indexes())
        band = self.zeros(*self.shape[:3], neighbours.shape[1])
        with exact(band):
            for rows in self.rows():
                near = neighbours[rows.rows]
                # Beyond the keys of a block the map is zero.
                inside = (near >= rows.keys.start) & (near < rows.keys.stop)
                columns = (near - rows.keys.start).masked_fill(~inside, 0)
                block = rows.of_map()
                weights = block.gather(-1, columns.expand(*block.shape[:3], -1))
                band[rows.samples, :, rows.rows] = weights.masked_fill(~inside, 0)
        return band

    @property
    def parts(self) -> tuple[Map, Map]:
        """The two maps of differential attention: `map` is A1 - lambda * A2.

        ValueError if there is one map only.
        """
        raise ValueError("Only differential attention has two maps; look at `map`.")

    @property
    def part_gradients(self) -> tuple[Map, Map]:
        """The gradients by the two maps of differential attention: dO V' and -lambda dO V'."""
        raise ValueError("Only differential attention has two maps; look at `gradient`.")

    def statistics(self, statistics: Sequence[str | Statistic]) -> list[Float[Tensor, "batch ..."]]:
        """Compute statistics of all rows in one pass, with no Q x K tensor.

        `call.statistics(["entropy", "received"])` returns the two in this order.
        """
        built = [build_statistic(statistic) for statistic in statistics]
        shape = MapShape(self.shape, self.zeros(0), self.positions, self.grid, self.padding)
        results = [statistic.start(shape) for statistic in built]
        with exact(shape.like):
            for rows in self.rows():
                for statistic, result in zip(built, results, strict=True):
                    statistic.add(result, rows, shape)
        return results

    @abstractmethod
    def rows(self) -> Iterable[Rows]:
        """Return the rows of the map, a block at a time."""

    @abstractmethod
    def zeros(self, *size: int) -> Tensor:
        """Return zeros of the dtype and on the device of the map."""

    def assemble(self, blocks: Iterable[Rows]) -> Tensor:
        """Return the map that has these rows."""
        assembled = self.zeros(*self.shape)
        with exact(assembled):
            for rows in blocks:
                rows.of_map(out=assembled[rows.samples, :, rows.rows, rows.keys])
        return assembled

    def query_indexes(self) -> Tensor:
        """Return `positions` as a tensor."""
        return torch.tensor(list(self.positions), dtype=torch.long, device=self.zeros(0).device)


@contextmanager
def exact(like: Tensor) -> Iterator[None]:
    """Compute without gradients, and without autocast, which would take half precision."""
    with torch.no_grad(), torch.autocast(like.device.type, enabled=False):
        yield
