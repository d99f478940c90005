"""Positions of tokens on their grid, and rotary positions.

Rotary: Su et al. 2021 (arXiv 2104.09864, section 3.2); axial on grids as in Heo et al. 2024
(arXiv 2403.13298, section 3.2).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, ...]
"""Shape of the token grid: (K,) for a line, (rows, columns) for patches."""

BASES = {1: 10_000.0, 2: 100.0}
"""Axes of the grid -> base of the frequencies; sides of grids are short, so theirs are higher."""


def check_grid(grid: Grid, num_tokens: int) -> None:
    """Raise ValueError if the tokens do not fill the grid."""
    if len(grid) not in (1, 2) or math.prod(grid) > num_tokens:
        raise ValueError(
            f"grid is {grid} for {num_tokens} tokens; it must be (K,) or (rows, columns) with a "
            "token for every position."
        )


def token_positions(
    grid: Grid, num_tokens: int, device: torch.device
) -> Float[Tensor, "{num_tokens} axes"]:
    """Return the position of each token, in steps of the grid, row by row.

    Tokens beyond the grid come first (a CLS token); their positions are NaN.
    """
    axes = [torch.arange(size, device=device, dtype=torch.float32) for size in grid]
    on_grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
    surplus = num_tokens - len(on_grid)
    return torch.nn.functional.pad(on_grid, (0, 0, surplus, 0), value=torch.nan)


def rotary_angles(
    grid: Grid, heads: Float[Tensor, "batch heads keys head_width"], width: int
) -> Float[Tensor, "keys {width}//2"]:
    """Return the angle of each pair of `width` numbers of each token, in radians.

    The number of tokens, the precision and the device are those of `heads`. On a grid half of the
    pairs turn with the row and half with the column. A token without a position (a CLS token) does
    not turn.
    """
    axes = len(grid)
    pairs = width // (2 * axes)
    wide = torch.promote_types(heads.dtype, torch.float32)
    exponents = torch.arange(pairs, device=heads.device, dtype=wide) / pairs
    frequencies = BASES[axes] ** -exponents
    positions = token_positions(grid, heads.shape[2], heads.device).nan_to_num(0.0)
    return (positions[:, :, None] * frequencies).flatten(1)


def rotate(
    heads: Float[Tensor, "batch heads keys width"], angles: Float[Tensor, "keys half_width"]
) -> Float[Tensor, "batch heads keys width"]:
    """Turn the pairs (i, i + E/2) of heads by angles."""
    cosine, sine = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    first, second = heads.chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat(turned, dim=-1)
