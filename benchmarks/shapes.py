"""The shapes that attention is measured at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """B samples of L tokens, H heads of width E.

    Attributes:
        name: How it is shown.
        batch: B.
        heads: H.
        length: L.
        width: E.
        lengths: Tokens of each sample where some are padding; None where no mask is given.
    """

    name: str
    batch: int
    heads: int
    length: int
    width: int
    lengths: tuple[int, ...] | None = None

    @property
    def embed_dim(self) -> int:
        """D, the width of all heads."""
        return self.heads * self.width

    def values(self, device: str) -> Tensor:
        """Normal numbers in the place of tokens, [B, L, D], that take a gradient."""
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(self.batch, self.length, self.embed_dim, generator=generator)
        return values.to(device).requires_grad_()

    def padding(self, device: str) -> Tensor | None:
        """Mask [B, L], True where a token is padding."""
        if self.lengths is None:
            return None
        positions = torch.arange(self.length, device=device)
        return positions >= torch.tensor(self.lengths, device=device)[:, None]


def square(length: int, width: int, batch: int = 8) -> Shape:
    """B samples, 8 heads."""
    name = f"L={length} E={width}" + ("" if batch == 8 else f" B={batch}")
    return Shape(name, batch, 8, length, width)
