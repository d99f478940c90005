"""Buffer of the rows that are committed together, as whole chunks of every array."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_atlas.atlas.schema import GROWING_DIMENSIONS, RAGGED_DIMENSIONS, ArraySpec


class RowBuffer:
    """One block of whole chunks for each array but `maps`, from a first row on.

    `sizes` are those along the dimensions that all samples share, `steps` the sizes of a chunk
    along the others; that of `sample` is the capacity.
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
        self._specs = {name: spec for name, spec in specs.items() if name != "maps"}
        lengths = {**sizes, **{name: steps[name] for name in GROWING_DIMENSIONS if name in steps}}
        self.blocks: dict[str, npt.NDArray[Any]] = {}
        for name, spec in self._specs.items():
            shape = [lengths[dimension] for dimension in spec.dimensions]
            self.blocks[name] = np.zeros(shape, object if spec.dtype == "str" else spec.dtype)

    def add(self, columns: Mapping[str, Any], rows: slice) -> None:
        """Copy some samples of a batch; there must be enough free rows."""
        first, last = self.num_rows, self.num_rows + rows.stop - rows.start
        for name, spec in self._specs.items():
            values = columns[name][rows]
            ragged = next((d for d in spec.dimensions if d in RAGGED_DIMENSIONS), None)
            if ragged is None:
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
        self._widen(name, axis, longest)
        region = (rows, *(slice(size) for size in values.shape[1:]))
        if valid.min(initial=longest) == longest:
            self.blocks[name][region] = values
            return
        sizes = (longest if index == axis else 1 for index in range(1, values.ndim))
        mask = (np.arange(longest) < valid[:, None]).reshape(len(valid), *sizes)
        # The padding stays 0.
        np.copyto(self.blocks[name][region], values, where=mask, casting="unsafe")

    def _widen(self, name: str, axis: int, size: int) -> None:
        """Grow a block by whole chunks until this size fits along an axis."""
        block = self.blocks[name]
        step = self._steps[self._specs[name].dimensions[axis]]
        missing = -(-size // step) * step - block.shape[axis]
        if missing > 0:
            widths = [(0, missing if i == axis else 0) for i in range(block.ndim)]
            self.blocks[name] = np.pad(block, widths)

    def finish(self) -> None:
        """Write fill values into the unused rows."""
        for name, block in self.blocks.items():
            block[self.num_rows :] = self._specs[name].fill_value

    @property
    def num_bytes(self) -> int:
        """Bytes of the blocks in memory, without the texts."""
        return sum(block.nbytes for block in self.blocks.values())
