"""Attention in a window: a query attends to the keys near it on the token grid.

On a line: Beltagy et al. 2020 (arXiv 2004.05150).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from attention_atlas.attention.masks import Mask, causal_mask, restrict
from attention_atlas.attention.positions import Grid
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Outputs, Queries, Values

MIN_BLOCK = 64  # queries; smaller blocks do not fill the fused kernel


class Window(NamedTuple):
    """The keys that are at most `radius` steps from a query along each axis of the grid."""

    radius: int
    grid: Grid

    @property
    def reach(self) -> int:
        """Number of tokens before and after a query that its window may span."""
        steps = [math.prod(self.grid[axis + 1 :]) for axis in range(len(self.grid))]
        return self.radius * sum(steps)

    def shows(
        self, queries: Int[Tensor, "*blocks queries"], keys: Int[Tensor, "*blocks keys"]
    ) -> Bool[Tensor, "*blocks queries keys"]:
        """Return which keys are in the window of each query.

        Both are indexes in the sequence; those outside of it are never in a window.
        """
        shown = (keys >= 0) & (keys < math.prod(self.grid))
        shown = shown[..., None, :]
        for size in reversed(self.grid):
            distance = queries[..., :, None] % size - keys[..., None, :] % size
            shown = shown & (distance.abs() <= self.radius)
            queries, keys = queries // size, keys // size
        return shown

    def neighbours(self, queries: Int[Tensor, "queries"]) -> Int[Tensor, "queries neighbours"]:
        """Return the (2 * radius + 1) ** axes keys of each window; -1 beyond the sequence.

        On a line they are the keys from `i - radius` to `i + radius`, on a grid row by row.
        """
        steps = torch.arange(-self.radius, self.radius + 1, device=queries.device)
        offsets = torch.cartesian_prod(*[steps] * len(self.grid)).view(-1, len(self.grid))
        keys = torch.zeros(len(queries), len(offsets), dtype=torch.long, device=queries.device)
        inside = torch.ones_like(keys, dtype=torch.bool)
        strides = list(itertools.accumulate(reversed(self.grid[1:]), int.__mul__, initial=1))[::-1]
        for axis, (size, stride) in enumerate(zip(self.grid, strides, strict=True)):
            position = queries[:, None] // stride % size + offsets[:, axis]
            inside &= (position >= 0) & (position < size)
            keys += position * stride
        return keys.masked_fill(~inside, -1)


def attend_in_window(
    window: Window,
    score: Score,
    query: Queries,
    key: Keys,
    value: Values,
    mask: Mask,
    dropout_p: float = 0.0,
) -> Outputs:
    """Attend by `score.attend` to the keys in the window only.

    Blocks of queries attend to the keys in their reach, O(Q * window). Where that would be all
    keys, the window is one more mask.
    """
    block = max(window.reach, MIN_BLOCK)
    if block + 2 * window.reach >= key.shape[2]:
        return score.attend(query, key, value, _add_window(mask, window, query, key), dropout_p)
    return _attend_in_blocks(score, query, key, value, mask, window, block, dropout_p)


def _add_window(mask: Mask, window: Window, query: Tensor, key: Tensor) -> Mask:
    """Merge the window into the tensor of a mask."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    tokens = torch.arange(num_keys, device=query.device)
    shown = window.shows(tokens[:num_queries], tokens)
    if mask.is_causal:
        shown = shown & causal_mask(num_queries, num_keys, query.device)
    tensor = shown[None, None]
    if mask.tensor is not None:
        tensor = restrict(mask.tensor, tensor)
    return Mask(tensor, null_key=mask.null_key)


def _attend_in_blocks(
    score: Score,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask,
    window: Window,
    block: int,
    dropout_p: float,
) -> Tensor:
    """Attend from blocks of queries to the keys in reach, in one call of the kernel.

    The blocks lie along the batch: queries [B * blocks, H, block, E], keys and values
    [B * blocks, H, block + 2 * reach, E].
    """
    batch, num_queries = query.shape[0], query.shape[2]
    reach, span = window.reach, block + 2 * window.reach
    num_blocks = -(-num_queries // block)
    behind = num_blocks * block - num_queries

    def spans(tokens: Tensor) -> Tensor:
        padded = F.pad(tokens, (0, 0, reach, reach + behind))
        return padded.unfold(2, span, block).permute(0, 2, 1, 4, 3).flatten(0, 1)

    queries = F.pad(query, (0, 0, 0, behind))
    queries = queries.reshape(batch, -1, num_blocks, block, query.shape[3])
    start = block * torch.arange(num_blocks, device=query.device)[:, None]
    rows = start + torch.arange(block, device=query.device)  # [blocks, block]
    keys = start - reach + torch.arange(span, device=query.device)  # [blocks, span]
    shown = window.shows(rows, keys)
    if mask.is_causal:
        shown = shown & (keys[:, None, :] <= rows[:, :, None])
    tensor = shown[None, :, None]  # [B or 1, blocks, H or 1, block, span]
    if mask.tensor is not None:
        tensor = restrict(_mask_blocks(mask.tensor, reach, behind, num_blocks, block), tensor)
    tensor = tensor.expand(batch, -1, -1, -1, -1).flatten(0, 1)
    output = score.attend(
        queries.transpose(1, 2).flatten(0, 1),
        spans(key),
        spans(value),
        Mask(tensor, null_key=mask.null_key),
        dropout_p,
    )
    output = output.reshape(batch, num_blocks, *output.shape[1:]).transpose(1, 2)
    return output.flatten(2, 3)[:, :, :num_queries]


def _mask_blocks(mask: Tensor, reach: int, behind: int, num_blocks: int, block: int) -> Tensor:
    """Cut a mask [B or 1, H or 1, Q or 1, K] into [B or 1, blocks, H or 1, block or 1, span]."""
    padded = F.pad(mask, (reach, reach + behind)).unfold(3, block + 2 * reach, block)
    if mask.shape[2] == 1:
        return padded.permute(0, 3, 1, 2, 4)
    padded = F.pad(padded, (0, 0, 0, 0, 0, behind))
    padded = padded.view(*mask.shape[:2], num_blocks, block, num_blocks, -1)
    # The span of each block for the rows of each block: only the diagonal is of use.
    return padded.diagonal(dim1=2, dim2=4).permute(0, 4, 1, 2, 3)
