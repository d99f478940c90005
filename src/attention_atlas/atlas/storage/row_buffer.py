"""Buffer of the rows that are committed together, as whole chunks of every array."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.schema import GROWING_DIMENSIONS, RAGGED_DIMENSIONS, ArraySpec

MAX_BUFFERED_BYTES = 32 * 2**20  # unless a single sample has more


def max_rows(specs: Mapping[str, ArraySpec], sizes: Mapping[str, int], rows: int) -> int:
    """Return how many rows of these sizes may be buffered, at most `rows`, at least one."""
    num_bytes = sum(
        math.prod(sizes[name] for name in spec.dimensions[1:]) * np.dtype(spec.dtype).itemsize
        for name, spec in specs.items()
        if name != "maps" and spec.dtype != "str"
    )
    return max(1, min(rows, MAX_BUFFERED_BYTES // max(num_bytes, 1)))


class RowBuffer:
    """One block of whole chunks for each array but `maps`, from a first row on.

    `sizes` are those along the dimensions that all samples share, `steps` the sizes of a chunk
    along the others; that of `sample` is the capacity. Blocks have a row for each sample, or more.
    """

    def __init__(
        self,
        specs: Mapping[str, ArraySpec],
        sizes: Mapping[str, int],
        steps: Mapping[str, int],
        first_row: int,
    ) -> None:
        self.first_row = first_row
        self.num_rows = 0
        self.num_free = steps["sample"]
        self._steps = steps
        self._text_bytes = 0
        self._specs = {name: spec for name, spec in specs.items() if name != "maps"}
        lengths = {**sizes, **{name: steps[name] for name in GROWING_DIMENSIONS if name in steps}}
        num_rows = max_rows(self._specs, lengths, self.num_free)
        self.blocks: dict[str, npt.NDArray[Any]] = {}
        for name, spec in self._specs.items():
            shape = [num_rows, *(lengths[dimension] for dimension in spec.dimensions[1:])]
            self.blocks[name] = np.zeros(shape, object if spec.dtype == "str" else spec.dtype)

    def add(self, columns: Mapping[str, Any], rows: slice) -> None:
        """Copy some samples of a batch; there must be enough free rows."""
        first, last = self.num_rows, self.num_rows + rows.stop - rows.start
        for name, spec in self._specs.items():
            values = columns[name][rows]
            if spec.dtype == "str":
                self._text_bytes += sum(map(sys.getsizeof, values))
            ragged = next((d for d in spec.dimensions if d in RAGGED_DIMENSIONS), None)
            if ragged is None:
                self._grow(name, 0, last)
                self.blocks[name][first:last] = values
                continue
            valid = columns["frames" if ragged == "frame" else "length"][rows]
            self._copy(name, spec.dimensions.index(ragged), slice(first, last), values, valid)
        self.num_rows, self.num_free = last, self.num_free - (last - first)

    def _copy(
        self,
        name: str,
        axis: int,
        rows: slice,
        values: npt.NDArray[Any],
        valid: npt.NDArray[Any],
    ) -> None:
        """Copy the valid part of samples that differ in size along an axis."""
        longest = int(valid.max(initial=0))
        values = values[(*[slice(None)] * axis, slice(longest))]
        step = self._steps[self._specs[name].dimensions[axis]]
        if self.blocks[name].shape[axis] < longest:
            # Before the first sample of a new width there are only rows with samples.
            self.blocks[name] = self.blocks[name][: self.num_rows]
        self._grow(name, axis, -(-longest // step) * step)
        self._grow(name, 0, rows.stop)
        region = (rows, *(slice(size) for size in values.shape[1:]))
        if valid.min(initial=longest) == longest:
            self.blocks[name][region] = values
            return
        sizes = (longest if index == axis else 1 for index in range(1, values.ndim))
        mask = (np.arange(longest) < valid[:, None]).reshape(len(valid), *sizes)
        # The padding stays 0.
        np.copyto(self.blocks[name][region], values, where=mask, casting="unsafe")

    def _grow(self, name: str, axis: int, size: int) -> None:
        """Grow a block until this size fits along an axis, filled with zeros; rows are doubled."""
        block = self.blocks[name]
        missing = size - block.shape[axis]
        if missing > 0:
            if axis == 0:
                missing = max(missing, min(len(block), self.num_free + self.num_rows - len(block)))
            widths = [(0, missing if i == axis else 0) for i in range(block.ndim)]
            self.blocks[name] = np.pad(block, widths)

    @property
    def num_bytes(self) -> int:
        """Bytes of the rows that hold samples, and of their texts."""
        numbers = sum(block[: self.num_rows].nbytes for block in self.blocks.values())
        return numbers + self._text_bytes

    @property
    def is_full(self) -> bool:
        """Whether no row is free, or the limit of bytes is reached."""
        return not self.num_free or self.num_bytes >= MAX_BUFFERED_BYTES
