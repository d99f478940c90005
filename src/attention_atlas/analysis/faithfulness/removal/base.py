"""Base class of removals. Shapes: B batch, K tokens of the layout."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from attention_atlas.encoder import TokenLayout
from attention_atlas.encoder.tokens import Batch


class Removal(ABC):
    """One way to remove tokens from prepared batches.

    Attributes:
        name: Name in a config.
        description: What replaces a removed token.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    @classmethod
    def of(cls, datamodule: Any) -> Self:
        """Return the removal for some data; by default it does not depend on them."""
        return cls()

    @abstractmethod
    def replacement(self, batch: Batch, layout: TokenLayout) -> Tensor:
        """Return `inputs` with everything removed, of the same shape."""

    @abstractmethod
    def covered(self, batch: Batch, removed: Tensor, layout: TokenLayout) -> Tensor:
        """Return the values of `inputs` that removed tokens cover: bool, broadcastable."""

    def remove(
        self,
        batch: Batch,
        removed: Tensor,
        layout: TokenLayout,
        replacement: Tensor | None = None,
    ) -> Batch:
        """Return the batch without some tokens.

        Tokens of `removed` [B, K] that cannot be removed stay. `replacement` is what the
        method of that name returned, so that it is computed once for many copies.
        """
        if replacement is None:
            replacement = self.replacement(batch, layout)
        covered = self.covered(batch, removed & removable(layout).to(removed.device), layout)
        return batch | {"inputs": torch.where(covered, replacement, batch["inputs"])}

    def all(self, batch: Batch, layout: TokenLayout) -> Batch:
        """Return the batch without its removable tokens."""
        return self.remove(batch, removable(layout).to(batch["inputs"].device), layout)


def removable(layout: TokenLayout) -> Tensor:
    """Return which tokens [B, K] represent a part of the input: their box is not empty."""
    half = layout.boxes.shape[-1] // 2
    inside = (layout.boxes[..., half:] > layout.boxes[..., :half]).all(-1)  # False of NaN
    return inside & layout.valid.to(inside.device)


def in_boxes(removed: Tensor, boxes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return which points of a grid lie in the box of a removed token, bool [B, Y, X].

    `boxes` [B, K, 4] are the first row, the first column, the end of rows and the end of columns;
    rows [Y] and columns [X] of the grid have the same units.
    """
    top, left, bottom, right = (side[..., None] for side in boxes.to(removed.device).unbind(-1))
    rows, columns = rows.to(removed.device), columns.to(removed.device)
    in_row = (rows >= top) & (rows < bottom) & removed[..., None]
    in_column = (columns >= left) & (columns < right)
    counts = torch.bmm(in_row.float().transpose(1, 2), in_column.float())
    return counts > 0
