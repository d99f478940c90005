"""Tokens, and the part of the input that each stands for."""

from dataclasses import dataclass
from typing import Any, Literal

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
