"""Position vectors that are added to tokens."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Positions = Literal["learned", "sinusoidal", "none"]


def sinusoidal(num_positions: int, embed_dim: int) -> Tensor:
    """Return sines and cosines [num_positions, D] (Vaswani 2017, section 3.5)."""
    half = (embed_dim + 1) // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
    angles = torch.arange(num_positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :embed_dim]


def sinusoidal_grid(rows: int, columns: int, embed_dim: int) -> Tensor:
    """Return sinusoidal positions of a grid [rows * columns, D], half of D for each direction."""
    half = embed_dim // 2
    down = sinusoidal(rows, half)[:, None, :].expand(rows, columns, half)
    across = sinusoidal(columns, embed_dim - half)[None].expand(rows, columns, -1)
    return torch.cat([down, across], dim=-1).flatten(0, 1)


def position_table(positions: Positions, fixed: Tensor) -> nn.Parameter:
    """Make the table that is added to the tokens: learned, fixed or zero.

    Args:
        positions: `learned` (from small random values), `sinusoidal`, or `none`, for attention with
            rotary positions or without any.
        fixed: The sinusoidal table [K, D], whose shape a learned one has.

    Returns:
        [K, D], or one row of zeros for all positions.
    """
    if positions == "learned":
        return nn.Parameter(nn.init.trunc_normal_(torch.empty_like(fixed), std=0.02))
    table = fixed if positions == "sinusoidal" else torch.zeros(1, fixed.shape[1])
    return nn.Parameter(table, requires_grad=False)
