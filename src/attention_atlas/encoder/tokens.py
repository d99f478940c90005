"""Tokens, and the part of the input that each stands for."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Batch = dict[str, Any]
LayoutKind = Literal["character_span", "patch_box", "time_frequency_box"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch.

    Attributes:
        values: [B, K, D].
        key_padding_mask: [B, K], True where a token is padding; None without padding.
        grid: Arrangement of the last tokens: (K,) in a line, (rows, columns) row by row; None for a
            line of all tokens. Surplus tokens come first and have no position.
    """

    values: Tensor
    key_padding_mask: Tensor | None = None
    grid: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TokenLayout:
    """The part of the input that each token stands for.

    Attributes:
        kind: `character_span`: [start, end) in characters; `patch_box`: top, left, bottom, right in
            pixels; `time_frequency_box`: start in seconds, low edge in hertz, end, high edge.
        boxes: [B, K, 2] or [B, K, 4], float32; NaN for a token without a position (CLS).
        valid: [B, K], True where a token is not padding.
    """

    kind: LayoutKind
    boxes: Tensor
    valid: Tensor


def same_boxes(kind: LayoutKind, boxes: Tensor, batch: Batch) -> TokenLayout:
    """Return a layout with the same boxes [K, 4] for each sample of a batch, without padding."""
    boxes = boxes.float().expand(len(batch["inputs"]), -1, -1)
    return TokenLayout(kind, boxes, torch.ones(boxes.shape[:2], dtype=torch.bool))


def grid_boxes(rows: Tensor, columns: Tensor) -> Tensor:
    """Return top, left, bottom, right of the cells between edges, row by row: [K, 4]."""
    top, left = torch.meshgrid(rows[:-1], columns[:-1], indexing="ij")
    bottom, right = torch.meshgrid(rows[1:], columns[1:], indexing="ij")
    return torch.stack([top, left, bottom, right], dim=-1).flatten(0, 1)


def time_frequency_boxes(seconds: Tensor, hertz: Tensor) -> Tensor:
    """Return start, low, end, high of the cells between edges, band by band: [K, 4]."""
    return grid_boxes(hertz, seconds)[:, [1, 0, 3, 2]]


def padding_mask(lengths: Tensor, num_tokens: int) -> Tensor:
    """Return [B, K], True from each sample's length [B] on."""
    return torch.arange(num_tokens, device=lengths.device) >= lengths[:, None]
