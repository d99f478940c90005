"""Readouts: pool tokens to one vector by a learned query, the CLS token, or the mean."""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attention_atlas.attention import Attention
from attention_atlas.encoder.tokens import TokenLayout, Tokens

ReadoutName = Literal["attention", "cls", "mean"]


class Readout(nn.Module):
    """Pools tokens to one vector; may add tokens of its own before the encoder."""

    def extend(self, tokens: Tokens) -> Tokens:
        """Return the tokens for the encoder: by default those of the input."""
        return tokens

    def extend_layout(self, layout: TokenLayout) -> TokenLayout:
        """Return the layout of the tokens for the encoder."""
        return layout

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """Pool tokens: [B, K, D] to [B, D]."""


class AttentionReadout(Readout):
    """Pools the tokens by a learned query through the shared attention module.

    The prediction is read from its single row (multi-head attention pooling, Lee 2019). The query
    has no position among the tokens, so it attends without rotary positions and without a window.
    """

    def __init__(self, embed_dim: int, num_heads: int, attention: dict[str, Any]) -> None:
        super().__init__()
        # The scale of normalised tokens: a query near zero weighs all tokens alike, and its
        # gradient is too small to leave that state.
        self.query = nn.Parameter(torch.randn(1, 1, embed_dim))
        options = {**attention, "rotary": False, "window": None}
        self.attention = Attention(embed_dim, num_heads, **options)

    def forward(self, tokens: Tokens) -> Tensor:
        """Pool tokens: [B, K, D] to [B, D]."""
        query = self.query.expand(len(tokens.values), -1, -1)
        pooled: Tensor = self.attention(
            query, tokens.values, tokens.values, key_padding_mask=tokens.key_padding_mask
        )
        return pooled[:, 0]


class FirstReadout(Readout):
    """The first token, of an encoder with its own CLS token."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Pool tokens: [B, K, D] to [B, D]."""
        return tokens.values[:, 0]


class ClsReadout(FirstReadout):
    """A learned token before the others, read after the last block (Devlin 2019)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, embed_dim), std=0.02))

    def extend(self, tokens: Tokens) -> Tokens:
        """Put the CLS token first; it has no position on the grid."""
        token = self.token.expand(len(tokens.values), -1, -1).to(tokens.values.dtype)
        mask = tokens.key_padding_mask
        if mask is not None:
            mask = nn.functional.pad(mask, (1, 0), value=False)
        return Tokens(torch.cat([token, tokens.values], dim=1), mask, tokens.grid)

    def extend_layout(self, layout: TokenLayout) -> TokenLayout:
        """Add the CLS token, with a box of NaN."""
        boxes = nn.functional.pad(layout.boxes, (0, 0, 1, 0), value=float("nan"))
        valid = nn.functional.pad(layout.valid, (1, 0), value=True)
        return TokenLayout(layout.kind, boxes, valid)


class MeanReadout(Readout):
    """The mean of the valid tokens."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Pool tokens: [B, K, D] to [B, D]."""
        if tokens.key_padding_mask is None:
            return tokens.values.mean(dim=1)
        valid = (~tokens.key_padding_mask).to(tokens.values.dtype)
        total = torch.einsum("bkd,bk->bd", tokens.values, valid)
        return total / valid.sum(dim=1, keepdim=True).clamp(min=1)


def make_readout(
    readout: ReadoutName,
    embed_dim: int,
    num_heads: int,
    attention: dict[str, Any],
    has_cls: bool = False,
) -> Readout:
    """Make a readout by name; `has_cls` tells that the encoder has its own CLS token."""
    if readout == "attention":
        return AttentionReadout(embed_dim, num_heads, attention)
    if readout == "cls" and has_cls:
        return FirstReadout()
    return ClsReadout(embed_dim) if readout == "cls" else MeanReadout()
